"""One value from one side to the other: exact, or :class:`Unfit` saying why not. No float passes either way."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final, Literal

from core.money import Exact, Money, Rounding, exponent, round_fraction, round_money
from core.period import local_date, zone
from core.rational import Fraction

InstantFormat = Literal["iso", "epoch_s", "epoch_ms", "iso_ms"]


class Absent:
    """Nothing was there. Not the same as None, which somebody wrote, nor as empty text."""

    def __repr__(self) -> str:
        return "nothing"


ABSENT: Final = Absent()

#: Powers of ten beyond which a number is a mistake or an attack, not an amount.
_WIDEST = 40
_NUMBER = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_INSTANT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:?[0-9]{2})"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECONDS = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "iso_ms": 1_000}
_LAST_MICROSECOND = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)


class Unfit(Exception):
    """A value does not fit. ``route`` grows from the inside out; ``waits_for`` is set when the record waits instead."""

    def __init__(self, message: str, value: object = None, *, source: str = "", waits_for: str = "") -> None:
        super().__init__(message)
        self.message, self.value, self.source, self.waits_for = message, value, source, waits_for
        self.route: list[str] = []

    def within(self, name: str) -> None:
        self.route.insert(0, name)

    @property
    def field(self) -> str:
        """The target field, such as ``lines[2].amount``."""
        return ".".join(self.route).replace(".[", "[")

    def __str__(self) -> str:
        return f"{self.source}: {self.message}" if self.source else self.message


def shown(value: object) -> str:
    """A value in a message: its kind is plain, control characters are escaped, length is bounded."""
    try:
        text = repr(value)
    except ValueError:
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."


def number(value: object) -> Decimal | int:
    """A number of another system: int, Decimal or plain digits in text."""
    match value:
        case bool() | float():
            raise Unfit(f"a {type(value).__name__} is no exact number", value)
        case int():
            exact: Decimal | int = value
            wide = value.bit_length() > _WIDEST * 4
        case Decimal():
            exact = value
            wide = (
                not value.is_finite() or abs(value.adjusted()) > _WIDEST or len(value.as_tuple().digits) > 2 * _WIDEST
            )
        case str() if _NUMBER.fullmatch(value):
            return Decimal(value)
        case _:
            raise Unfit("expected a number (plain digits, a point for decimals)", value)
    if wide:
        raise Unfit("the number is not finite, or far too large or too fine", value)
    return exact


def money_in(value: object, currency: str, unit: str = "major", rounding: Rounding | None = None) -> Money:
    """Money from a number or text in major units, or in whole minor units; rounded only where ``rounding`` says how."""
    exact: Exact = number(value)
    try:
        if unit == "minor":
            exact = Fraction(exact) / 10 ** exponent(currency)
        return round_money(exact, currency, rounding) if rounding else Money.of(exact, currency)
    except ValueError as error:
        raise Unfit(str(error), value) from None


def quantity_in(value: object, places: int | None = None, rounding: Rounding | None = None) -> Decimal:
    """An exact number, with exactly ``places`` decimals; without ``rounding`` only when nothing is lost."""
    exact = number(value)
    if places is None:
        return Decimal(exact)
    scaled = Fraction(exact) * 10**places
    if rounding is None and scaled.denominator != 1:
        raise Unfit(f"has more than {places} decimals; state `round:` to narrow it", value)
    return Decimal(f"{round_fraction(scaled, rounding or Rounding.HALF_UP)}e-{places}")


def text_in(value: object) -> str:
    if type(value) is str:
        return value
    raise Unfit("expected text (a number is no id; `text:` spells it)", value)


def integer_in(value: object) -> int:
    if type(value) is not int:
        raise Unfit("expected a whole number", value)
    return value


def boolean_in(value: object) -> bool:
    if type(value) is not bool:
        raise Unfit("expected true or false", value)
    return value


def date_in(value: object) -> date:
    """A calendar date from ISO text; a dateTime is refused, for its date depends on a zone."""
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        raise Unfit("expected a date like 2026-10-31", value)
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise Unfit("is not a day of the calendar", value) from None


def instant_in(value: object, form: InstantFormat = "iso") -> datetime:
    """An instant in UTC, from ISO text with an offset or from whole seconds or milliseconds since 1970."""
    if form in ("epoch_s", "epoch_ms"):
        microseconds = integer_in(value) * _MICROSECONDS[form]
        if not 0 <= microseconds <= _LAST_MICROSECOND:
            raise Unfit(f"is not an instant as {form}", value)
        return _EPOCH + timedelta(microseconds=microseconds)
    found = _INSTANT.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise Unfit("expected an instant with its offset, like 2026-10-31T12:00:00Z", value)
    base, fraction, offset = found.groups()
    try:
        return datetime.fromisoformat(f"{base}{(fraction or '')[:7]}{offset}").astimezone(UTC)
    except (ValueError, OverflowError):
        raise Unfit("is not an instant", value) from None


def instant_out(value: datetime, form: InstantFormat, rounding: Rounding | None) -> str | int:
    """ISO text in UTC, milliseconds with a bare offset, or whole seconds or milliseconds since 1970."""
    if form == "iso":
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    step = _MICROSECONDS[form]
    exact = Fraction((value - _EPOCH) // timedelta(microseconds=1), step)
    if rounding is None and exact.denominator != 1:
        raise Unfit(f"is finer than {form} can say; state `round:` to narrow it", value.isoformat())
    whole = round_fraction(exact, rounding or Rounding.FLOOR)
    if form != "iso_ms":
        return whole
    moment = _EPOCH + timedelta(microseconds=whole * step)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "+0000")


def date_out(day: date, tz: str) -> str:
    """ISO text of a date; with a zone, of 12:00 there: the same day in every zone less than 12 hours away."""
    return datetime.combine(day, time(12), zone(tz)).isoformat() if tz else day.isoformat()


def day_of(value: datetime, tz: str) -> date:
    """The calendar day of an instant in a zone."""
    try:
        return local_date(value, tz)
    except OverflowError:
        raise Unfit("has no calendar day in that zone", value.isoformat()) from None


def shortened(value: str, most: int, too_long: str) -> str:
    """``value`` within ``most`` characters: cut, or Unfit."""
    if len(value) <= most:
        return value
    if too_long == "cut":
        return value[:most].rstrip()
    raise Unfit(f"is {len(value)} characters long, {most} are allowed", value)


def word(value: object) -> object:
    """A value to be found among words: 1, true and "1" are three different ones. Anything else is no word."""
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, int)) or (isinstance(value, Decimal) and value.is_finite()):
        return (isinstance(value, bool), value)
    return ABSENT


def spelled(value: Any, join: str = "") -> str:
    """A value inside a text: digits without exponent, dates as ISO, money as amount and currency, lists joined."""
    match value:
        case str():
            return str(value)
        case bool() | float() | datetime():
            raise Unfit(f"a {type(value).__name__} has no agreed spelling inside a text", value)
        case int():
            return str(value)
        case Decimal():
            return format(number(value), "f")
        case Money():
            return f"{value.amount} {value.currency}"
        case date():
            return value.isoformat()
        case tuple():
            return join.join(map(spelled, value))
    raise Unfit("only a single value can stand inside a text", value)
