"""One account, one month, through the one pricing function."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from core.errors import Rejected, TieBroken
from core.money import Money
from core.orders import activate
from core.period import DateSpan
from core.rating import RatedLine, explain, rate, usage_windows
from core.rating.check import check
from tests.core.rating.books import account, book, bought, per_unit, subscription
from tests.core.rating.books import used as metered
from tests.core.rating.northwind import ACCOUNT, BOOK, line, order, used

OCTOBER = DateSpan.month("2026-10")
S1, S2 = "A-0001-S1", "A-0001-S2"


def october(*lines, usage=()):
    return rate(BOOK, ACCOUNT, [activate(order(*lines), BOOK)], OCTOBER, usage)


def amounts(lines: tuple[RatedLine, ...]) -> dict[str, str]:
    return {one.id: str(one.amount.amount) for one in lines}


def test_graduated_minutes_fill_tier_after_tier() -> None:
    """30,000.5 minutes: 5,000 x 0.045 + 20,000 x 0.038 + 5,000.5 x 0.029 = 1,130.0145."""
    lines = october(line(1, "VC-MIN", "0", "0", site_id=S1), usage=[used("conference_minutes", "30000.5")])
    assert amounts(lines) == {"SC-L1@2026-10-01": "1130.01"}


def test_a_charge_that_starts_inside_the_month_pays_the_days_it_was_served() -> None:
    """10 endpoints at 17.50 from the 12th: 20 of 31 days."""
    lines = october(line(1, "VC-ENDPOINT", "10", "17.50", site_id=S1, start_on=date(2026, 10, 12)))
    assert amounts(lines) == {"SC-L1@2026-10-12": "112.90"}
    assert lines[0].service_period == DateSpan(date(2026, 10, 12), date(2026, 11, 1))


def test_an_annual_plan_in_advance_is_due_once_for_its_whole_year() -> None:
    subscription = activate(order(line(1, "VC-PLAN", "1", "4800")), BOOK)
    due = [rate(BOOK, ACCOUNT, [subscription], DateSpan.month(f"2026-{month}"), []) for month in (10, 11, 12)]
    assert [amounts(lines) for lines in due] == [{"SC-L1@2026-10-01": "4800.00"}, {}, {}]
    assert due[0][0].service_period == DateSpan(date(2026, 10, 1), date(2027, 10, 1))


def test_included_minutes_are_shared_by_the_sites_that_used_them() -> None:
    """10,000 of 15,000 minutes are included; each site pays for a third of its own, and the shares sum to the pool."""
    lines = october(
        line(1, "VC-PLAN", "1", "4800"),
        line(2, "VC-PLAN-MIN", "0", "0"),
        usage=[used("plan_minutes", "7000", S1), used("plan_minutes", "8000", S2)],
    )
    usage = [one for one in lines if one.charge_code == "VC-PLAN-MIN"]
    assert amounts(tuple(usage)) == {"SC-L2@2026-10-01/A-0001-S1": "74.67", "SC-L2@2026-10-01/A-0001-S2": "85.33"}
    assert sum(draw.units for one in usage for draw in one.derivation.draws) == 10000


def test_a_usage_charge_without_usage_gives_a_line_of_zero() -> None:
    assert amounts(october(line(1, "VC-MIN", "0", "0", site_id=S1))) == {"SC-L1@2026-10-01": "0.00"}


def test_usage_that_no_charge_prices_is_refused_with_its_meter() -> None:
    with pytest.raises(Rejected, match=r"conference_minutes.*no charge that is due prices it"):
        october(line(1, "VC-LIVE", "1", "750"), usage=[used("conference_minutes", "5")])


def test_usage_that_two_subscribed_charges_would_price_is_refused() -> None:
    twice = [line(n, "VC-MIN", "0", "0", site_id=S1) for n in (1, 2)]
    with pytest.raises(Rejected, match="subscribed more than once"):
        october(*twice, usage=[used("conference_minutes", "5")])


def test_a_rated_line_survives_json_and_its_checker() -> None:
    (one,) = october(line(1, "VC-MIN", "0", "0", site_id=S1), usage=[used("conference_minutes", "12345.678")])
    assert RatedLine.model_validate_json(one.model_dump_json()) == one
    check(one, BOOK)


def test_the_checker_refuses_a_line_of_which_any_figure_was_changed() -> None:
    (one,) = october(line(1, "VC-MIN", "0", "0", site_id=S1), usage=[used("conference_minutes", "12345.678")])
    told = one.derivation
    forged = [
        one.model_copy(update={"amount": one.amount + Money(1, "USD")}),
        one.model_copy(update={"derivation": told.model_copy(update={"priced": told.priced + 1})}),
        one.model_copy(update={"derivation": told.model_copy(update={"exact": told.exact + 1})}),
        one.model_copy(update={"derivation": told.model_copy(update={"steps": told.steps[:1]})}),
        one.model_copy(update={"derivation": told.model_copy(update={"book_version": "other"})}),
    ]
    for line_ in forged:
        with pytest.raises(TieBroken):
            check(line_, BOOK)


def test_explain_tells_every_tier_the_sum_and_the_rounding() -> None:
    (one,) = october(line(1, "VC-MIN", "0", "0", site_id=S1), usage=[used("conference_minutes", "30000.5")])
    assert "tier 3: 5,000.5 x 0.029 = 145.0145" in explain(one)
    assert "sum 1,130.0145, rounded once (half_up): 1,130.01 USD" in explain(one)


HALVES = (DateSpan(OCTOBER.start, date(2026, 10, 15)), DateSpan(date(2026, 10, 15), OCTOBER.end))
HUNDRED_FREE_AFTER = {"kind": "graduated", "tiers": [{"up_to": "100", "unit_amount": "1"}, {}]}


def test_a_contract_renewed_inside_a_month_prices_each_day_by_its_own_charge() -> None:
    """Usage is metered part by part; without parts the two charges could not be told apart."""
    old = bought("MIN", id="old", ends_on=date(2026, 10, 15))
    new = bought("MIN", id="new", starts_on=date(2026, 10, 15))
    prices = book({"code": "MIN", "model": HUNDRED_FREE_AFTER})
    assert usage_windows(prices, [subscription(old, new)], OCTOBER) == {("min", None): HALVES}
    cut = [replace(metered("min", "80"), service=half) for half in HALVES]
    lines = rate(prices, account(), [subscription(old, new)], OCTOBER, cut)
    assert amounts(lines) == {"old@2026-10-01": "80.00", "new@2026-10-15": "80.00"}
    with pytest.raises(Rejected, match="subscribed more than once"):
        rate(prices, account(), [subscription(old, new)], OCTOBER, [metered("min", "160")])


def test_only_the_meter_and_site_of_a_change_are_cut() -> None:
    """A highest or a unique count would be another figure in parts, so nothing is cut that need not be."""
    prices = book({"code": "MIN", "model": per_unit("1")}, {"code": "MSG", "model": per_unit("1")})
    standing = [bought("MIN"), bought("MSG", S1), bought("MSG", S2, starts_on=date(2026, 10, 15))]
    assert usage_windows(prices, [subscription(*standing)], OCTOBER) == {
        ("msg", None): (OCTOBER,),
        ("msg", S1): (OCTOBER,),
        ("msg", S2): HALVES,
    }


SEPTEMBER_15 = DateSpan(date(2026, 9, 15), date(2026, 10, 15))


def test_usage_is_metered_by_the_service_periods_of_its_charge() -> None:
    """From the 15th to the 14th: the bill of October prices from 15 September, and leaves the rest of October."""
    prices = book({"code": "MIN", "model": per_unit("1"), "billing_day": 15})
    assert usage_windows(prices, [subscription(bought("MIN"))], OCTOBER) == {("min", None): (SEPTEMBER_15,)}
    cut = [replace(metered("min", "80"), service=SEPTEMBER_15)]
    assert amounts(rate(prices, account(), [subscription(bought("MIN"))], OCTOBER, cut)) == {
        "MIN-all@2026-09-15": "80.00"
    }


def test_usage_of_a_quarter_is_metered_when_the_quarter_ends() -> None:
    prices = book({"code": "MIN", "model": per_unit("1"), "every_months": 3})
    standing = [subscription(bought("MIN"))]
    assert usage_windows(prices, standing, DateSpan.month("2026-11")) == {("min", None): ()}
    quarter = DateSpan(OCTOBER.start, date(2027, 1, 1))
    assert usage_windows(prices, standing, DateSpan.month("2026-12")) == {("min", None): (quarter,)}


def test_days_of_a_month_that_no_charge_serves_are_measured_to_be_refused() -> None:
    """Usage after the end of a contract does not disappear."""
    prices = book({"code": "MIN", "model": per_unit("1"), "billing_day": 15})
    ended = [subscription(bought("MIN", ends_on=date(2026, 10, 20)))]
    after = DateSpan(date(2026, 10, 20), OCTOBER.end)
    middle = DateSpan(date(2026, 10, 15), date(2026, 10, 20))
    assert usage_windows(prices, ended, OCTOBER) == {("min", None): (SEPTEMBER_15, middle, after)}
    with pytest.raises(Rejected, match="no charge that is due prices it"):
        rate(prices, account(), ended, OCTOBER, [replace(metered("min", "1"), service=after)])


def test_two_service_periods_of_one_meter_cut_it_where_either_begins() -> None:
    prices = book(
        {"code": "MIN", "model": per_unit("1"), "billing_day": 15},
        {"code": "ALL", "meter": "min", "model": per_unit("0.10")},
    )
    standing = [subscription(bought("MIN"), bought("ALL"))]
    (windows,) = usage_windows(prices, standing, OCTOBER).values()
    assert windows == (DateSpan(date(2026, 9, 15), OCTOBER.start), *HALVES)
    cut = [replace(metered("min", "10"), service=part) for part in windows]
    assert amounts(rate(prices, account(), standing, OCTOBER, cut)) == {
        "MIN-all@2026-09-15": "20.00",
        "ALL-all@2026-10-01": "2.00",
    }


def test_a_highest_is_never_the_sum_of_two_parts() -> None:
    peak = {"name": "min", "aggregation": "max"}
    prices = book(
        {"code": "MIN", "model": per_unit("1")}, {"code": "ALL", "meter": "min", "model": per_unit("1")}, meters=[peak]
    )
    standing = [subscription(bought("MIN"), bought("ALL", starts_on=date(2026, 10, 15)))]
    cut = [replace(metered("min", "10"), service=half) for half in HALVES]
    with pytest.raises(Rejected, match="in parts, which do not add up"):
        rate(prices, account(), standing, OCTOBER, cut)


def test_a_charge_with_parts_of_its_usage_fills_its_tiers_together() -> None:
    """From the 15th the site has a charge of its own; the account's charge prices what came before it, and the rest."""
    prices = book({"code": "MIN", "scope": "account", "model": HUNDRED_FREE_AFTER})
    standing = subscription(bought("MIN"), bought("MIN", S1, starts_on=date(2026, 10, 15)))
    cut = [replace(metered("min", "80", S1), service=half) for half in HALVES]
    lines = rate(prices, account(S1), [standing], OCTOBER, [*cut, metered("min", "30", S2)])
    assert amounts(lines) == {"MIN-all@2026-10-01": "100.00", f"MIN-{S1}@2026-10-15": "80.00"}


def test_included_units_are_drawn_by_the_usage_of_each_part_of_a_renewed_charge() -> None:
    """100 included, 80 and 80 used: 60 are left, 30 of each half."""
    old = bought("MIN", id="old", ends_on=date(2026, 10, 15))
    new = bought("MIN", id="new", starts_on=date(2026, 10, 15))
    pool = {"id": "pool", "units": "100", "charges": ["MIN"]}
    prices = book({"code": "MIN", "model": per_unit("1")}, allowances=[pool])
    cut = [replace(metered("min", "80"), service=half) for half in HALVES]
    lines = rate(prices, account(), [subscription(old, new)], OCTOBER, cut)
    assert amounts(lines) == {"old@2026-10-01": "30.00", "new@2026-10-15": "30.00"}


def test_the_demo_book_shows_layers_that_win_and_lose_and_rules_that_fire() -> None:
    """Site 1: 40,000 international minutes at the pilot's 0.095, 10 % off for 40 endpoints: 3,420.00.

    200,000 minutes by the frame agreement: 5,000 x 0.041 + 195,000 x 0.031 = 6,250.00, and 5 % off: 5,937.50.
    """
    site = "A-0002-S1"
    customer = account(site).model_copy(update={"id": "A-0002"})
    lines = [bought("VC-MIN", site), bought("VC-MIN-INTL", site), bought("VC-ENDPOINT", site, "40")]
    standing = subscription(*lines).model_copy(update={"account_id": "A-0002"})
    usage = [
        replace(metered(name, quantity, site), account_id="A-0002")
        for name, quantity in (("conference_minutes", "200000"), ("international_minutes", "40000"))
    ]
    found = {one.charge_code: one for one in rate(BOOK, customer, [standing], OCTOBER, usage)}
    told = {code: explain(one) for code, one in found.items()}
    assert str(found["VC-MIN"].amount.amount) == "5937.50"
    assert str(found["VC-MIN-INTL"].amount.amount) == "3420.00"
    assert "model by A-0002-S1 pilot, before A-0002 frame agreement, template" in told["VC-MIN-INTL"]
    assert "quantity of VC-ENDPOINT is 40, at least 40" in told["VC-MIN-INTL"]
    assert "amount of VC-MIN is 6,250, at least 5000" in told["VC-MIN"]
