"""Money as integer minor units of an ISO 4217 currency, named roundings, and exact allocation.

Exact values (prices times quantities, prorated parts) live as ``Decimal`` or ``Fraction`` until ONE declared rounding
point turns them into ``Money`` through :func:`round_money`. A ``float`` is refused everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from functools import cache
from typing import Any, TypeAlias

from iso4217 import Currency
from pydantic_core import core_schema

from core.rational import Fraction
from core.values import itself_or

Exact: TypeAlias = Decimal | Fraction | int


class Rounding(StrEnum):
    """Named roundings; ties and directions are stated for negative amounts too."""

    HALF_UP = "half_up"  # ties away from zero, also below zero
    HALF_DOWN = "half_down"  # ties toward zero
    HALF_EVEN = "half_even"  # ties to the even neighbour
    UP = "up"  # away from zero
    DOWN = "down"  # toward zero
    CEIL = "ceil"  # toward plus infinity
    FLOOR = "floor"  # toward minus infinity


@cache
def exponent(currency: str) -> int:
    """Decimals of the minor unit by ISO 4217 (USD 2, JPY 0, BHD 3). ValueError for an unknown code."""
    try:
        digits = Currency(currency).exponent
    except ValueError:
        raise ValueError(f"{currency!r} is not an ISO 4217 currency code") from None
    if digits is None:
        raise ValueError(f"{currency!r} has no minor unit, so it cannot carry money")
    return int(digits)


def as_fraction(value: Exact | str) -> Fraction:
    """The exact Fraction of a value. TypeError for a float or a bool."""
    if type(value) is Fraction:
        return value
    if isinstance(value, (float, bool)):
        raise TypeError(
            f"{value!r} is a {type(value).__name__}; money and quantities take Decimal, Fraction, int or text"
        )
    return Fraction(value)


def round_fraction(value: Exact, mode: Rounding) -> int:
    """The integer nearest to ``value`` by ``mode``."""
    exact = as_fraction(value)
    floor, rest = divmod(exact.numerator, exact.denominator)
    if rest == 0:
        return floor
    twice, positive = 2 * rest, exact > 0
    match mode:
        case Rounding.FLOOR:
            up = False
        case Rounding.CEIL:
            up = True
        case Rounding.UP:
            up = positive
        case Rounding.DOWN:
            up = not positive
        case _ if twice != exact.denominator:
            up = twice > exact.denominator
        case Rounding.HALF_UP:
            up = positive
        case Rounding.HALF_DOWN:
            up = not positive
        case Rounding.HALF_EVEN:
            up = floor % 2 == 1
    return floor + up


@dataclass(frozen=True, slots=True)
class Money:
    """An amount of one currency: ``minor`` integer minor units (USD 12.34 is ``Money(1234, "USD")``)."""

    minor: int
    currency: str

    def __post_init__(self) -> None:
        if type(self.minor) is not int:
            raise TypeError(f"minor units must be an int, not {self.minor!r}")
        exponent(self.currency)

    @classmethod
    def zero(cls, currency: str) -> Money:
        return cls(0, currency)

    @classmethod
    def of(cls, amount: Exact | str, currency: str) -> Money:
        """Exact conversion from major units. ValueError when the amount has more decimals than the currency."""
        minor = as_fraction(amount) * 10 ** exponent(currency)
        if minor.denominator != 1:
            raise ValueError(f"{amount} has more decimals than {currency} allows ({exponent(currency)})")
        return cls(minor.numerator, currency)

    @property
    def amount(self) -> Decimal:
        """Major units, with exactly the decimals of the currency."""
        # Through text: Decimal arithmetic would round at the 28 digits of its context.
        return Decimal(f"{self.minor}E-{exponent(self.currency)}")

    def _same(self, other: Money) -> int:
        if not isinstance(other, Money):
            raise TypeError(f"{other!r} is not Money")
        if other.currency != self.currency:
            raise ValueError(f"{self} and {other} are of different currencies")
        return other.minor

    def __add__(self, other: Money) -> Money:
        return Money(self.minor + self._same(other), self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(self.minor - self._same(other), self.currency)

    def __neg__(self) -> Money:
        return Money(-self.minor, self.currency)

    def __abs__(self) -> Money:
        return Money(abs(self.minor), self.currency)

    def __lt__(self, other: Money) -> bool:
        return self.minor < self._same(other)

    def __le__(self, other: Money) -> bool:
        return self.minor <= self._same(other)

    def __gt__(self, other: Money) -> bool:
        return self.minor > self._same(other)

    def __ge__(self, other: Money) -> bool:
        return self.minor >= self._same(other)

    def __bool__(self) -> bool:
        return self.minor != 0

    def __str__(self) -> str:
        return f"{self.amount:,} {self.currency}"

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> core_schema.CoreSchema:
        """JSON form ``{"amount": "12.34", "currency": "USD"}``; Python form is Money itself."""

        def parse(value: Any) -> Money:
            if isinstance(value, dict) and value.keys() == {"amount", "currency"} and isinstance(value["amount"], str):
                return cls.of(Decimal(value["amount"]), value["currency"])
            raise ValueError('money is {"amount": "<text>", "currency": "<ISO 4217>"}')

        return itself_or(cls, parse, lambda one: {"amount": plain(one.minor, one.currency), "currency": one.currency})


def plain(minor: int, currency: str) -> str:
    """Minor units as text in major units, with exactly the decimals of the currency: ``-12.30``."""
    places = exponent(currency)
    if not places:
        return str(minor)
    digits = str(abs(minor)).zfill(places + 1)
    return f"{'-' if minor < 0 else ''}{digits[:-places]}.{digits[-places:]}"


def round_money(exact: Exact, currency: str, mode: Rounding = Rounding.HALF_UP) -> Money:
    """The one way from an exact amount in major units to Money."""
    return Money(round_fraction(as_fraction(exact) * 10 ** exponent(currency), mode), currency)


def total(amounts: Iterable[Money], currency: str) -> Money:
    """Sum in ``currency``; zero of it for no amounts. ValueError when one is of another currency."""
    zero = Money.zero(currency)
    return Money(sum(map(zero._same, amounts)), currency)


def allocate(whole: Money, weights: Sequence[Exact]) -> list[Money]:
    """Split ``whole`` in proportion to ``weights`` (>= 0, not all zero) so that the parts sum to it exactly.

    Largest remainder: each part is rounded toward minus infinity, and the left-over minor units go to the largest
    fractions, the earlier weight first among equals.
    """
    exact = [as_fraction(weight) for weight in weights]
    if any(weight < 0 for weight in exact) or not any(exact):
        raise ValueError("weights must be >= 0 and not all zero")
    scale = sum(exact)
    shares = [whole.minor * weight / scale for weight in exact]
    parts = [share.numerator // share.denominator for share in shares]
    spare = whole.minor - sum(parts)
    by_remainder = sorted(range(len(parts)), key=lambda i: (parts[i] - shares[i], i))
    for i in by_remainder[:spare]:
        parts[i] += 1
    return [Money(part, whole.currency) for part in parts]
