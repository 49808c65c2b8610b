"""Sources of included units: drawn in order, carried within their bounds, and held to account by the second road."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.amendments import Amendment, Replace, amend
from core.catalog import PriceBook
from core.errors import TieBroken
from core.period import DateSpan
from core.rating import rate
from core.rating.allowance import granted
from core.rating.check import check_bill
from core.rating.sources import Held, balances, opened, sources
from core.rational import Fraction
from core.units import UnitBalance, UnitGrant
from tests.core.rating.books import OCTOBER, account, book, bought, per_unit, subscription, used

MIN = {"code": "MIN", "meter": "min", "model": per_unit("1")}
PLAN = {"code": "PLAN", "kind": "recurring", "model": per_unit("10")}


def pool(**more: Any) -> PriceBook:
    return book(MIN, PLAN, allowances=[{"id": "pool", "units": "100", "charges": ["MIN"], **more}])


def test_what_expires_first_is_drawn_first_and_priority_goes_before() -> None:
    """250 used: 30 by priority, then what ends this month (100), then 50 of the next months; 70 are paid."""
    held = (
        Held("later", None, ("MIN",), last="2027-01", opening=Fraction(50)),
        Held("first", None, ("MIN",), priority=-1, opening=Fraction(30)),
    )
    lines = rate(pool(), account(), [subscription(bought("MIN"))], OCTOBER, [used("min", "250")], held=held)
    (line,) = lines
    told = [(one.allowance, int(one.taken), int(one.held or 0)) for one in line.derivation.draws]
    assert told == [("first", 30, 30), ("pool", 100, 100), ("later", 50, 50)]
    assert str(line.amount) == "70.00 USD"


def test_the_second_road_refuses_units_that_were_not_held() -> None:
    prices = pool()
    held = (Held("g", None, ("MIN",), opening=Fraction(50)),)
    lines = rate(prices, account(), [subscription(bought("MIN"))], OCTOBER, [used("min", "120")], held=held)
    check_bill(lines, prices, held={"g": Fraction(50)})
    with pytest.raises(TieBroken, match="units held <= units granted"):
        check_bill(lines, prices, held={"g": Fraction(10)})
    (line,) = lines
    more = tuple(one.model_copy(update={"held": one.taken - 1}) for one in line.derivation.draws)
    wrong = line.model_copy(update={"derivation": line.derivation.model_copy(update={"draws": more})})
    with pytest.raises(TieBroken, match="units taken <= units held"):
        check_bill([wrong], prices, held={"g": Fraction(50)})


def test_two_sites_draw_from_what_the_one_before_left() -> None:
    prices = pool(share="in_order")
    lines = rate(
        prices,
        account("S1", "S2"),
        [subscription(bought("MIN"))],
        OCTOBER,
        [used("min", "70", "S1"), used("min", "70", "S2")],
    )
    draws = [(int(one.taken), int(one.held or 0)) for line in lines for one in line.derivation.draws]
    assert draws == [(70, 100), (30, 30)]


MONTHS = [DateSpan.month(name) for name in ("2026-10", "2026-11", "2026-12", "2027-01", "2027-02")]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(0, 300), min_size=5, max_size=5),
    st.integers(1, 3),
    st.none() | st.integers(0, 150),
    st.integers(0, 200),
)
def test_over_months_units_are_drawn_expired_or_left_and_never_made(usage, months, most, granted_units) -> None:
    """Any usage: all that was given is drawn, expired or left, within the cap; the bill is for used less drawn."""
    prices = pool(rollover={"months": months, "most": most})
    grants = (
        [
            UnitGrant(
                id="UG",
                account_id="A",
                units=Decimal(granted_units),
                charges=("MIN",),
                granted_on=date(2026, 11, 5),
                effective_on=date(2026, 11, 1),
                expires_on=date(2027, 2, 1),
                reason="Goodwill",
            )
        ]
        if granted_units
        else []
    )
    customer, contract = account(), [subscription(bought("MIN"))]
    rows: dict[str, UnitBalance] = {}
    everything: list[UnitBalance] = []
    for billing, units in zip(MONTHS, usage, strict=True):
        month = f"{billing.start:%Y-%m}"
        held = opened(rows.values(), grants, month)
        metered = [used("min", str(units))] if units else []
        lines = rate(prices, customer, contract, billing, metered, held=held)
        found = sources(prices, customer, contract, billing, metered, held)
        made = list(balances("A", found, lines, month))
        rows |= {one.source: one for one in made}
        everything += made
        drawn_now = sum((one.drawn for one in made), Fraction(0))
        assert sum(Fraction(line.quantity) for line in lines) == units - drawn_now
        rolled = sum((one.closing for one in made if one.allowance == "pool"), Fraction(0))
        assert most is None or rolled <= most
        assert all(one.last is None or one.last >= month for one in made)
    given_ = sum((one.granted for one in everything), Fraction(0))
    gone = sum((one.drawn + one.expired for one in everything), Fraction(0))
    left = sum((one.closing for one in rows.values()), Fraction(0))
    assert given_ == gone + left


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 9)), max_size=6))
def test_changing_a_plan_back_and_forth_adds_no_included_units(changes) -> None:
    """The month includes what the most of the plan that stood on one day gives, however often it changed."""
    prices = pool(granted_by="PLAN")
    standing, most = subscription(bought("PLAN", quantity="2"), bought("MIN")), 2
    for number, (day, quantity) in enumerate(sorted(changes, key=lambda one: one[0])):
        on = OCTOBER.start + timedelta(days=day)
        live = [one for one in standing.charges if one.charge_code == "PLAN" and one.ends_on is None]
        change = Replace(charge_id=live[0].id, quantity=Decimal(quantity))
        standing = amend(
            standing,
            Amendment(
                id=f"AM{number}",
                subscription_id="SUB",
                effective_on=on,
                recorded_at=datetime(2026, 10, 1, tzinfo=UTC),
                changes=(change,),
            ),
        )
        most = max(most, quantity)
    (allowance,) = prices.allowances
    assert granted(allowance, account(), [standing], OCTOBER, []) <= 100 * most
