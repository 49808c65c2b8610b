"""One value from one side to the other: exact, or Unfit."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.mapping.values import (
    Unfit,
    date_in,
    date_out,
    day_of,
    instant_in,
    instant_out,
    money_in,
    number,
    quantity_in,
    shortened,
    shown,
    spelled,
    word,
)
from core.money import Money, Rounding


@pytest.mark.parametrize(
    ("value", "minor"), [("12.34", 1234), (12, 1200), (Decimal("-0.5"), -50), ("7", 700), (Decimal("12.3400"), 1234)]
)
def test_money_is_read_from_numbers_and_plain_text(value: object, minor: int) -> None:
    assert money_in(value, "USD") == Money(minor, "USD")


@pytest.mark.parametrize(
    "value",
    [12.34, True, "1,234.50", "1e3", " 1", "", "$5", "+5", "٣", None, [], Decimal("NaN"), Decimal("Infinity"),
     Decimal("1e999999999"), Decimal("1e-999999999"), 10**400, "9" * 41],
)  # fmt: skip
def test_what_is_no_exact_bounded_number_is_refused(value: object) -> None:
    """No float, no spelling of a number that another reader could take otherwise, nothing that eats the memory."""
    with pytest.raises(Unfit):
        number(value)


@pytest.mark.parametrize(("currency", "minor"), [("USD", Money(1234, "USD")), ("JPY", Money(1234, "JPY"))])
def test_minor_units_are_those_of_the_currency(currency: str, minor: Money) -> None:
    assert money_in(1234, currency, "minor") == minor


def test_a_part_of_a_minor_unit_is_refused_unless_rounded() -> None:
    with pytest.raises(Unfit, match="more decimals"):
        money_in("0.005", "USD")
    assert money_in("0.005", "USD", rounding=Rounding.HALF_UP) == Money(1, "USD")


@pytest.mark.parametrize("currency", ["usd", "XXX", "EURO", ""])
def test_money_needs_a_currency_that_exists(currency: str) -> None:
    with pytest.raises(Unfit):
        money_in("1", currency)


def test_a_quantity_is_narrowed_only_where_nothing_is_lost_or_the_rounding_is_said() -> None:
    assert str(quantity_in(Decimal("2.50"), 1)) == "2.5"
    assert str(quantity_in("2", 2)) == "2.00"
    with pytest.raises(Unfit, match="more than 1 decimals"):
        quantity_in("2.55", 1)
    assert quantity_in("2.55", 1, Rounding.HALF_UP) == Decimal("2.6")
    assert quantity_in("-2.55", 1, Rounding.DOWN) == Decimal("-2.5")


@pytest.mark.parametrize(
    "value", ["2026-10-31T00:00:00Z", "2026-02-30", "20261031", "2026-W01-1", "31.10.2026", 20261031]
)
def test_a_date_is_iso_text_and_nothing_else(value: object) -> None:
    with pytest.raises(Unfit):
        date_in(value)


@pytest.mark.parametrize(
    "text",
    [
        "2026-10-31T12:00:00Z",
        "2026-10-31T08:00:00-04:00",
        "2026-10-31T12:00:00.000+0000",
        "2026-10-31T12:00:00.000000Z",
    ],
)
def test_one_instant_has_many_spellings(text: str) -> None:
    assert instant_in(text) == datetime(2026, 10, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "value", ["2026-10-31T12:00:00", "2026-10-31", "2026-10-31 12:00:00Z", "2026-13-01T00:00:00Z", 5]
)
def test_an_instant_without_offset_is_refused(value: object) -> None:
    with pytest.raises(Unfit):
        instant_in(value)


@pytest.mark.parametrize(("form", "value"), [("epoch_s", 1793448000), ("epoch_ms", 1793448000000)])
def test_an_instant_may_be_counted_from_1970(form: Any, value: int) -> None:
    assert instant_in(value, form) == datetime(2026, 10, 31, 12, tzinfo=UTC)
    assert instant_out(datetime(2026, 10, 31, 12, tzinfo=UTC), form, None) == value


@pytest.mark.parametrize("value", [True, "1793448000", Decimal("1.5"), -1, 10**30])
def test_a_count_of_seconds_is_a_whole_number_of_our_time(value: object) -> None:
    with pytest.raises(Unfit):
        instant_in(value, "epoch_s")


def test_an_instant_is_narrowed_only_where_the_rounding_is_said() -> None:
    fine = datetime(2026, 10, 31, 12, 0, 0, 999_999, tzinfo=UTC)
    with pytest.raises(Unfit, match="finer"):
        instant_out(fine, "epoch_s", None)
    assert instant_out(fine, "epoch_s", Rounding.FLOOR) == 1793448000
    assert instant_out(fine, "iso_ms", Rounding.FLOOR) == "2026-10-31T12:00:00.999+0000"


def test_an_instant_goes_out_in_utc() -> None:
    east = datetime(2026, 10, 31, 14, tzinfo=timezone(timedelta(hours=2)))
    assert instant_out(east, "iso", None) == "2026-10-31T12:00:00Z"


def test_noon_of_a_day_is_that_day_in_its_zone() -> None:
    assert date_out(date(2026, 10, 31), "America/Los_Angeles") == "2026-10-31T12:00:00-07:00"
    assert date_out(date(2026, 11, 2), "America/Los_Angeles") == "2026-11-02T12:00:00-08:00"


def test_the_day_of_an_instant_depends_on_the_zone() -> None:
    late = datetime(2026, 11, 1, 3, tzinfo=UTC)
    assert day_of(late, "America/Los_Angeles") == date(2026, 10, 31)
    assert day_of(late, "Asia/Tokyo") == date(2026, 11, 1)


def test_text_is_cut_at_its_length_without_a_trailing_blank() -> None:
    assert shortened("abc def", 4, "cut") == "abc"
    with pytest.raises(Unfit, match="7 characters"):
        shortened("abc def", 4, "fail")


def test_a_number_inside_a_text_has_no_exponent() -> None:
    assert spelled(Decimal("1E+3")) == "1000"
    assert spelled(Money(123400, "USD")) == "1234.00 USD"


@pytest.mark.parametrize("value", [True, 1.5, datetime(2026, 1, 1, tzinfo=UTC), {}, [], None])
def test_what_has_no_agreed_spelling_stays_out_of_texts(value: object) -> None:
    with pytest.raises(Unfit):
        spelled(value)


def test_one_true_and_the_text_1_are_three_words() -> None:
    assert len({word(1), word(True), word("1")}) == 3
    assert word(Decimal("1.0")) == word(1)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text() | st.decimals() | st.binary(), st.lists))
def test_a_value_in_a_message_is_short_and_printable(value: object) -> None:
    """A poisoned value (control characters, lone surrogates, a megabyte) cannot break the log that shows it."""
    text = shown(value)
    assert len(text) <= 80
    assert text.isprintable()
    text.encode()


@given(st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**15), max_value=10**15))
def test_money_that_goes_out_comes_back_the_same(amount: Decimal) -> None:
    money = money_in(amount, "USD")
    assert money_in(str(money.amount), "USD") == money
    assert money_in(money.minor, "USD", "minor") == money


@given(st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_an_instant_that_goes_out_comes_back_the_same(instant: datetime) -> None:
    assert instant_in(instant_out(instant, "iso", None)) == instant
