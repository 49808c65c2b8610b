"""What is told before a bill: limits that are near, pledges that fall behind, credit that runs low."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Rejected
from core.period import DateSpan
from core.rating.alerts import alerts, commitment_alerts, passed
from core.rational import Fraction
from tests.core.rating.books import book, bought, october, per_unit, subscription, used

PLEDGE = {"code": "PLEDGE", "kind": "recurring", "timing": "arrears", "model": {"kind": "commitment", "amount": "100"}}
QUARTER = {**PLEDGE, "every_months": 3}


def limited(limit: str) -> Any:
    rule = {"id": "seats", "on": ["MIN"], "then": {"kind": "entitlement", "units": "100", "limit": limit}}
    return book({"code": "MIN", "meter": "min", "model": per_unit("1")}, rules=[rule])


@given(st.integers(0, 300))
def test_a_hard_limit_refuses_exactly_what_is_above_it(units: int) -> None:
    usage = [used("min", str(units))] if units else []
    if units > 100:
        with pytest.raises(Rejected, match="more than the 100 allowed"):
            october(limited("hard"), [bought("MIN")], usage)
    else:
        assert october(limited("hard"), [bought("MIN")], usage)[0].amount.minor == units * 100


@given(st.integers(0, 300))
def test_a_soft_limit_bills_all_and_tells_each_threshold_once(units: int) -> None:
    lines = october(limited("soft"), [bought("MIN")], [used("min", str(units))] if units else [])
    assert lines[0].amount.minor == units * 100
    told = alerts(limited("soft"), lines, {})
    assert [int(one.threshold * 100) for one in told] == [part for part in (50, 80, 100) if units >= part]
    assert len({one.id for one in told}) == len(told)


def told(charge: dict[str, Any], on: date, met: int) -> list[str]:
    prices = book(charge)
    contract = subscription(bought(charge["code"], starts_on=date(2026, 10, 1)))
    found = commitment_alerts(prices, contract, on, lambda _pledge, _served: Fraction(met))
    return [one.id.removeprefix("A:commitment ") for one in found]


@pytest.mark.parametrize(
    ("on", "met", "expected"),
    [
        (date(2026, 10, 10), 10, []),
        (date(2026, 10, 17), 55, ["PLEDGE:2026-10-01:50"]),
        (date(2026, 10, 17), 40, ["PLEDGE behind its time:2026-10-01:50"]),  # 16 of 31 days: 51.61 should be met
        (
            date(2026, 10, 30),
            60,
            ["PLEDGE:2026-10-01:50", *(f"PLEDGE behind its time:2026-10-01:{n}" for n in (50, 80))],
        ),
        (date(2026, 10, 30), 100, [f"PLEDGE:2026-10-01:{part}" for part in (50, 80, 100)]),
    ],
)
def test_a_pledge_is_told_as_it_is_met_and_when_it_falls_behind(on: date, met: int, expected: list[str]) -> None:
    assert told(PLEDGE, on, met) == expected


def test_a_pledge_of_a_quarter_counts_from_its_start() -> None:
    """On 16 November half of the quarter has passed: 46 of 92 days."""
    assert told(QUARTER, date(2026, 11, 15), 20) == []
    assert told(QUARTER, date(2026, 11, 16), 20) == ["PLEDGE behind its time:2026-10-01:50"]


def test_what_was_met_is_asked_for_the_days_that_are_served() -> None:
    spans: list[DateSpan] = []

    def met(_pledge: Any, served: DateSpan) -> Fraction:
        spans.append(served)
        return Fraction(0)

    late = subscription(bought("PLEDGE", starts_on=date(2026, 10, 16)))
    list(commitment_alerts(book(PLEDGE), late, date(2026, 10, 20), met))
    assert spans == [DateSpan(date(2026, 10, 16), date(2026, 11, 1))]


@given(st.integers(0, 10**6), st.integers(1, 10**6))
def test_thresholds_only_rise_and_none_is_told_without_a_limit(used_, limit) -> None:
    found = [one.threshold for one in passed("A", "x", "2026-10", Fraction(used_), Fraction(limit))]
    assert found == sorted(found)
    assert passed("A", "x", "2026-10", Fraction(used_), Fraction(0)) == ()
