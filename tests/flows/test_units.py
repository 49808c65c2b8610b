"""Units that outlive a month: rolled over, granted, drawn in order, and never twice when usage comes late."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal

import pytest

from core.catalog import PriceBook
from core.invoicing import Invoice
from core.money import Money
from core.rating import RatedLine
from core.rational import Fraction
from core.units import UnitBalance
from flows import bill, deliver, ingest, rate
from flows.units import grant_units
from tests.flows.world import PERIOD, Company

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("company")]

ACCOUNT = "A-0002"


def roll_over(world: Company, months: int = 2, most: str | None = None) -> None:
    """What a month leaves of the 10,000 minutes of the plan may be used later."""
    book = world.hub.price_book.model_dump(mode="json")
    (pool,) = book["allowances"]
    rolling = {**pool, "units": "20000", "rollover": {"months": months, "most": most}}
    told = {**book, "allowances": [rolling]}
    world.hub.__dict__["price_book"] = PriceBook.model_validate_json(json.dumps(told))


def use(world: Company, name: str, quantity: str, at: str) -> None:
    row = f"{name},{ACCOUNT},{ACCOUNT}-S1,plan_minutes,{quantity},{at}"
    world.bring(f"bridge.{name}.csv", f"id,account_id,site_id,meter,quantity,occurred_at\n{row}\n")
    ingest.ingest_files(world.hub)


def balances(world: Company, month: str) -> dict[str, tuple[int, int, int, int, int]]:
    with world.hub.database.reading() as work:
        found = work.find(UnitBalance, account_id=ACCOUNT, period=month)
    return {
        one.source: tuple(int(part) for part in (one.opening, one.granted, one.drawn, one.expired, one.closing))  # type: ignore[misc]
        for one in found
    }


def paid_for(world: Company, month: str) -> Fraction:
    """Minutes of the plan that a bill charges, corrections included."""
    with world.hub.database.reading() as work:
        lines = work.find(RatedLine, account_id=ACCOUNT, billing_period=month, charge_code="VC-PLAN-MIN")
    return sum((Fraction(line.quantity) for line in lines), Fraction(0))


def test_what_a_month_leaves_is_drawn_first_in_the_next_one(world: Company) -> None:
    """13,000 of 20,000 used in October: 7,000 go on. November's 26,500 take those 7,000, and 19,500 of its own."""
    roll_over(world)
    world.month(until="rate")
    assert balances(world, PERIOD) == {"plan-minutes@2026-10": (0, 20000, 13000, 0, 7000)}
    bill.draft_invoices(world.hub, PERIOD)
    use(world, "n1", "26500", "2026-11-05T12:00:00-06:00")
    for _ in range(2):
        rate.rate_period(world.hub, "2026-11")
        assert balances(world, "2026-11") == {
            "plan-minutes@2026-10": (7000, 0, 7000, 0, 0),
            "plan-minutes@2026-11": (0, 20000, 19500, 0, 500),
        }
    assert paid_for(world, "2026-11") == 0


def test_no_more_than_the_cap_goes_on_and_units_end_with_their_last_month(world: Company) -> None:
    """7,000 are left, 5,000 may go on; unused in November, they are gone in December, after one month."""
    roll_over(world, months=1, most="5000")
    world.month(until="rate")
    assert balances(world, PERIOD)["plan-minutes@2026-10"] == (0, 20000, 13000, 2000, 5000)
    bill.draft_invoices(world.hub, PERIOD)
    rate.rate_period(world.hub, "2026-11")
    assert balances(world, "2026-11") == {
        "plan-minutes@2026-10": (5000, 0, 0, 5000, 0),
        "plan-minutes@2026-11": (0, 20000, 0, 15000, 5000),
    }
    rate.rate_period(world.hub, "2026-12")
    assert "plan-minutes@2026-10" not in balances(world, "2026-12")


def test_units_that_went_on_are_not_there_for_usage_that_comes_late(world: Company) -> None:
    """7,000 of October's minutes go on to November. 3,000 that come late of October are paid, at 0.032: 96.00."""
    roll_over(world)
    world.month(until="finalise")
    use(world, "late", "3000", "2026-10-20T12:00:00-05:00")
    rate.rate_period(world.hub, "2026-11")
    assert paid_for(world, "2026-11") == 3000
    assert balances(world, "2026-11")["plan-minutes@2026-10"] == (7000, 0, 0, 0, 7000)


def test_granted_units_are_drawn_by_priority_and_carried_until_they_end(world: Company) -> None:
    """2,000 granted from October on: drawn before the plan's by priority; the second 4,000 wait behind it.

    13,000 used: 2,000 of the first, 10,000 of the plan, 1,000 of the second, so nothing is paid for.
    """
    world.month(until="ingest")
    first, until = date(2026, 10, 1), date(2026, 12, 1)
    charges = ("VC-PLAN-MIN",)
    one = grant_units(world.hub, ACCOUNT, Decimal(2000), charges, "Outage", first, first, until, priority=-1)
    two = grant_units(world.hub, ACCOUNT, Decimal(4000), charges, "Goodwill", first, first, until, priority=5)
    assert grant_units(world.hub, ACCOUNT, Decimal(2000), charges, "Outage", first, first, until, -1).id == one.id
    world.month(until="finalise")
    assert balances(world, PERIOD) == {one.id: (0, 2000, 2000, 0, 0), two.id: (0, 4000, 1000, 0, 3000)}
    with world.hub.database.reading() as work:
        invoice = work.get(Invoice, f"INV-{PERIOD}-{ACCOUNT}")
    assert invoice
    assert invoice.subtotal == Money.of("4800.00", "USD")
    rate.rate_period(world.hub, "2026-11")
    assert balances(world, "2026-11") == {two.id: (3000, 0, 0, 3000, 0)}
    deliver.deliver_all(world.hub)
