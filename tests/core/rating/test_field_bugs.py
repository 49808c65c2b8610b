"""Bugs that billing engines had, each as a test."""

from __future__ import annotations

from datetime import date

import pytest

from core.errors import Rejected
from core.money import Money, Rounding, round_money
from core.period import DateSpan
from core.rating import rate
from core.rating.compare import compare
from core.rational import Fraction
from tests.core.rating.books import account, amounts, book, bought, october, per_unit, subscription, used

SEAT = {"code": "SEAT", "kind": "recurring", "model": per_unit("10")}
MIN = {"code": "MIN", "model": per_unit("0.001")}


def test_a_negative_amount_rounds_like_the_positive_one() -> None:
    """CGRateS rounded -2.3 to -3: a refund is the exact mirror of its charge."""
    for cents in ("2.345", "2.344", "0.005", "-0.005"):
        for mode in (Rounding.HALF_UP, Rounding.HALF_DOWN, Rounding.HALF_EVEN, Rounding.UP, Rounding.DOWN):
            assert round_money(-Fraction(cents), "USD", mode) == -round_money(Fraction(cents), "USD", mode)


def test_a_correction_is_billed_as_the_mirror_of_the_usage_it_takes_back() -> None:
    lines = [october(book(MIN), [bought("MIN")], [used("min", quantity)])[0] for quantity in ("12345", "-12345")]
    assert lines[0].amount == -lines[1].amount


def test_usage_below_a_cent_per_record_is_not_billed_as_zero_for_ever() -> None:
    """10,000 records of a tenth of a cent are ten dollars: rounding is once per line, never per record."""
    assert amounts(october(book(MIN), [bought("MIN")], [used("min", "10000")])) == {("MIN", None): "10.00"}


@pytest.mark.parametrize(("currency", "amount"), [("JPY", "1234"), ("USD", "1234.45"), ("BHD", "1234.445")])
def test_a_currency_has_the_decimals_of_iso_4217(currency, amount) -> None:
    prices = book({"code": "SEAT", "kind": "recurring", "model": per_unit("1234.4454")}, currency=currency)
    one = bought("SEAT", contract_value=Money.zero(currency))
    lines = rate(
        prices, account(currency=currency), [subscription(one, currency=currency)], DateSpan.month("2026-10"), []
    )
    assert str(lines[0].amount.amount) == amount


def test_a_subscription_of_another_currency_is_refused() -> None:
    one = subscription(bought("SEAT"), currency="EUR")
    with pytest.raises(Rejected, match="in EUR; it cannot be rated for A in USD"):
        rate(book(SEAT), account(), [one], DateSpan.month("2026-10"), [])


def test_a_day_is_billed_once_whatever_the_zone_and_the_clock() -> None:
    """Twelve bills of a year in a zone with changes of the clock serve each day of it exactly once."""
    standing = subscription(bought("SEAT", starts_on=date(2026, 1, 17)), timezone="America/New_York")
    days: list[date] = []
    for month in range(1, 13):
        for line in rate(book(SEAT), account(), [standing], DateSpan.month(f"2026-{month:02d}"), []):
            span = line.service_period
            days += [date.fromordinal(n) for n in range(span.start.toordinal(), span.end.toordinal())]
    assert days == [date.fromordinal(n) for n in range(date(2026, 1, 17).toordinal(), date(2027, 1, 1).toordinal())]


def test_rating_a_period_twice_gives_the_same_line_ids() -> None:
    """A second run replaces the first; it cannot bill beside it."""
    bills = [october(book(SEAT, MIN), [bought("SEAT"), bought("MIN")], [used("min", "5")]) for _ in range(2)]
    assert bills[0] == bills[1]


def test_a_quarter_is_prorated_over_its_own_days() -> None:
    """Lago divided by 91 where the quarter has 92 days."""
    prices = book({"code": "SEAT", "kind": "recurring", "model": per_unit("92"), "every_months": 3})
    lines = october(prices, [bought("SEAT", starts_on=date(2026, 10, 2))], [])
    assert amounts(lines) == {("SEAT", None): "91.00"}


def test_discounts_and_rounding_never_turn_a_total_negative() -> None:
    """Lago's prepaid rounding made a total of minus one cent."""
    third = {"code": "MIN", "model": per_unit("0.005")}
    rules = [{"id": "all", "then": {"kind": "percent_off", "percent": "100"}, "on": ["MIN"]}]
    for mode in Rounding:
        lines = october(book(third, rules=rules, rounding=mode), [bought("MIN")], [used("min", "1")])
        assert lines[0].amount.minor == 0


def test_late_usage_of_a_period_long_past_is_a_difference_of_that_period() -> None:
    """Usage older than two periods was dropped elsewhere: here it is a named delta with its original period."""
    august = DateSpan.month("2026-08")
    before = rate(book(MIN), account(), [subscription(bought("MIN"))], august, [used("min", "1000")])
    after = rate(book(MIN), account(), [subscription(bought("MIN"))], august, [used("min", "3000")])
    (delta,) = compare(before, after)
    assert (str(delta.amount), delta.service_period) == ("2.00 USD", august)


def test_a_tier_price_of_zero_in_the_crm_does_not_make_usage_free() -> None:
    """The order's unit price of a usage line is an estimate; the price book rates it."""
    lines = october(book(MIN), [bought("MIN")], [used("min", "100000")])
    assert amounts(lines) == {("MIN", None): "100.00"}


def test_usage_of_an_unknown_charge_names_the_subscription_and_the_code() -> None:
    with pytest.raises(Rejected, match="subscription SUB: price book test has no charge OLD"):
        october(book(MIN), [bought("OLD")], [])
