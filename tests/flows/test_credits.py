"""Credit in money, from grant to ledger, with four systems: drawn once, never below zero, given back, and lost."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest

from app.explain import explain_id
from core.catalog import PriceBook
from core.errors import Misconfigured, Rejected
from core.invoicing import Invoice
from core.ledger import JournalEntry
from core.money import Money
from core.payments import Payment
from core.store import StoreFailed
from core.wallets import CreditGrant, CreditKind, CreditMovement, drawn
from flows import bill, collect, deliver, intake, rate, write_back
from flows.credit import Leftover, credit_invoice
from flows.credits import grant_credit, settle_credits, top_up, void_credit
from tests.flows.world import PERIOD, Company
from tests.scenarios.test_scenarios import moved

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("company")]

EVENTS, EXEMPT, NOVEMBER = "INV-2026-10-A-0001", "INV-2026-10-A-0003", "INV-2026-11-A-0003"
FIRST, DAY = date(2026, 10, 1), date(2026, 11, 20)

SOLD_AHEAD = {
    "products": [{"code": "CREDIT", "name": "Credit", "tax_code": "SW054000", "revenue_account": "2300"}],
    "charges": [
        {
            "code": "TOP-UP",
            "product_code": "CREDIT",
            "name": "Top-up",
            "kind": "one_time",
            "model": {"kind": "per_unit", "unit_amount": "1"},
        }
    ],
    "credits": [
        {"id": "prepaid", "name": "Prepaid credit", "kind": "prepaid", "granted_by": "TOP-UP", "months": 12},
        {
            "id": "startup",
            "name": "Startup credit",
            "kind": "promotional",
            "granted_by": "VC-PLAN",
            "amount": "100",
            "months": 2,
        },
    ],
}


def usd(amount: str) -> Money:
    return Money.of(amount, "USD")


def sell_credit(world: Company, account: str = "2300") -> None:
    """The price book sells top-ups, and gives whoever buys a plan 100.00 once."""
    book = world.hub.price_book.model_dump(mode="json")
    more = {name: [*book[name], *rows] for name, rows in SOLD_AHEAD.items()}
    more["products"][-1] = {**more["products"][-1], "revenue_account": account}
    world.hub.__dict__["price_book"] = PriceBook.model_validate_json(json.dumps({**book, **more}))


def november(world: Company) -> None:
    rate.rate_period(world.hub, "2026-11")
    settle_credits(world.hub, "2026-11")
    bill.draft_invoices(world.hub, "2026-11")
    settle(world)


def settle(world: Company) -> None:
    deliver.deliver_all(world.hub)
    bill.finalise_invoices(world.hub)
    collect.request_payments(world.hub)
    deliver.deliver_all(world.hub)
    intake.take_in(world.hub)
    intake.book_settlements(world.hub)
    write_back.tell_crm(world.hub)
    deliver.deliver_all(world.hub)


def invoice(world: Company, ident: str) -> Invoice:
    with world.hub.database.reading() as work:
        found = work.get(Invoice, ident)
    assert found
    return found


def grants(world: Company) -> dict[str, CreditGrant]:
    with world.hub.database.reading() as work:
        return {one.id: one for one in work.find(CreditGrant)}


def booked(world: Company, *events: str) -> dict[str, str]:
    with world.hub.database.reading() as work:
        return moved(work.find(JournalEntry, event=list(events)))


def kinds(node: dict[str, Any]) -> set[str]:
    """What a story is made of."""
    return {node["what"]}.union(*map(kinds, node.get("came_from", [])))


def paid(world: Company, ident: str) -> list[Money]:
    with world.hub.database.reading() as work:
        return [one.amount for one in work.find(Payment, invoice_id=ident)]


def test_promotional_credit_lowers_lines_before_tax_and_ties_out(world: Company) -> None:
    """1,280.07 less 80.07 of credit is 1,200.00; the line of 12.53 that is given whole is not taxed in the end."""
    world.month(until="rate")
    grant_credit(world.hub, "A-0001", usd("12.53"), "Calls", "ops", FIRST, charges=("VC-MIN-INTL",), priority=1)
    grant_credit(world.hub, "A-0001", usd("67.54"), "Goodwill", "ops", FIRST, charges=("VC-LIVE",))
    grant_credit(world.hub, "A-0003", usd("100.00"), "Goodwill", "ops", FIRST)
    world.month()
    found = invoice(world, EVENTS)
    assert (found.subtotal, found.lines[-1].description) == (usd("1200.00"), "Goodwill: Livestream event")
    taxes = [line.tax for line in found.lines if line.charge_code == "VC-MIN-INTL"]
    assert (len(taxes), taxes[0].minor > 0, taxes[0] + taxes[1]) == (2, True, usd("0.00"))
    assert invoice(world, EXEMPT).total == usd("0.00")
    assert sorted(str(one.left.amount) for one in grants(world).values()) == ["0.00", "0.00", "28.00"]
    assert world.breaks() == []
    assert bill.draft_invoices(world.hub, PERIOD).counts["drafted"] == 0


def test_a_plan_grants_its_credit_once(world: Company) -> None:
    """100.00 of the plan lower the year; the month after it has nothing to draw, and two months on nothing is left."""
    sell_credit(world)
    world.month(until="rate")
    assert settle_credits(world.hub, PERIOD).counts == {"granted": 1, "expired": 0}
    assert settle_credits(world.hub, PERIOD).counts == {"granted": 0, "expired": 0}
    world.month()
    assert invoice(world, "INV-2026-10-A-0002").subtotal == usd("4796.00")  # 4,800.00 + 96.00 - 100.00
    assert settle_credits(world.hub, "2027-01").counts == {"granted": 0, "expired": 0}
    assert world.breaks() == []


def test_a_top_up_is_owed_until_it_pays_an_invoice_with_its_tax(world: Company) -> None:
    """50.00 paid in October are a liability; they pay 50.00 of the 72.00 of November, and the card the rest."""
    sell_credit(world)
    world.month(until="rate")
    top_up(world.hub, "A-0003", usd("50.00"), FIRST)
    world.month()
    assert invoice(world, EXEMPT).total == usd("122.00")
    assert booked(world, "invoice")["2300"] == "-50.00"
    assert world.breaks() == []
    november(world)
    (grant,) = (one for one in grants(world).values() if one.kind is CreditKind.PREPAID)
    assert (grant.amount, grant.left, grant.expires_on) == (usd("50.00"), usd("0.00"), date(2027, 10, 31))
    assert paid(world, NOVEMBER) == [usd("22.00")]
    assert booked(world, "credit drawn") == {"1100": "-50.00", "2300": "50.00"}
    assert "2300" not in booked(world, "invoice", "credit drawn")
    assert world.breaks() == []
    told = explain_id(world.hub, f"JE-{grant.id}:drawn:{NOVEMBER}")
    assert {"credit movement", "credit", "invoice line"} <= kinds(told)  # back to the line that was paid for it


def test_a_top_up_that_is_not_paid_grants_nothing(world: Company) -> None:
    sell_credit(world)
    world.month(until="rate")
    top_up(world.hub, "A-0003", usd("50.00"), FIRST)
    world.month(until="finalise")
    settle_credits(world.hub, "2026-11")
    assert [one for one in grants(world).values() if one.kind is CreditKind.PREPAID] == []


def test_prepaid_credit_that_expires_is_earned(world: Company) -> None:
    sell_credit(world)
    world.month(until="rate")
    top_up(world.hub, "A-0003", usd("50.00"), FIRST)
    world.month()
    settle_credits(world.hub, "2027-09")
    assert booked(world, "credit expired") == {}
    for month in ("2027-10", "2027-10", "2027-11"):
        settle_credits(world.hub, month)
    assert booked(world, "credit expired") == {"2300": "50.00", "4900": "-50.00"}
    deliver.deliver_all(world.hub)
    assert world.breaks() == []


def test_a_credit_note_gives_each_grant_back_what_it_gave(world: Company) -> None:
    """Half of the event (375.00 of 750.00) takes half of its discount (40.00 of 80.00) with it."""
    world.month(until="rate")
    grant_credit(world.hub, "A-0001", usd("80.00"), "Goodwill", "ops", FIRST, charges=("VC-LIVE",))
    world.month()
    event = next(line for line in invoice(world, EVENTS).lines if line.charge_code == "VC-LIVE")
    note = credit_invoice(world.hub, EVENTS, {event.position: usd("375.00")}, "Broke off", DAY, Leftover.REFUND)
    assert note.subtotal == usd("335.00")
    again = credit_invoice(world.hub, EVENTS, {event.position: usd("375.00")}, "Broke off", DAY, Leftover.REFUND)
    assert again == note
    (grant,) = grants(world).values()
    assert grant.left == usd("40.00")
    rest = credit_invoice(world.hub, EVENTS, {event.position: None}, "All of it", DAY, Leftover.REFUND)
    assert rest.subtotal == usd("335.00")
    (grant,) = grants(world).values()
    assert grant.left == usd("80.00")
    settle(world)
    assert world.breaks() == []


def test_what_prepaid_credit_paid_goes_back_to_it_before_any_card(world: Company) -> None:
    """Of 72.00, credit paid 50.00 and the card 22.00; 60.00 given back are 50.00 of credit and 10.00 on the card."""
    sell_credit(world)
    world.month(until="rate")
    top_up(world.hub, "A-0003", usd("50.00"), FIRST)
    world.month()
    november(world)
    note = credit_invoice(world.hub, NOVEMBER, {1: usd("60.00")}, "Outage", DAY, Leftover.REFUND)
    assert (note.refunded, note.left) == (usd("60.00"), usd("0.00"))
    assert booked(world, "credit restored") == {"1100": "50.00", "2300": "-50.00"}
    (grant,) = (one for one in grants(world).values() if one.kind is CreditKind.PREPAID)
    assert grant.left == usd("50.00")
    settle(world)
    assert world.breaks() == []


def test_a_top_up_is_given_back_only_as_far_as_it_is_not_used(world: Company) -> None:
    sell_credit(world)
    world.month(until="rate")
    top_up(world.hub, "A-0003", usd("100.00"), FIRST)
    world.month()
    november(world)
    line = next(one for one in invoice(world, EXEMPT).lines if one.charge_code == "TOP-UP")
    with pytest.raises(Rejected, match=r"has 28.00 USD left, so 30.00 USD of it cannot be taken back"):
        credit_invoice(world.hub, EXEMPT, {line.position: usd("30.00")}, "Leaves", DAY, Leftover.REFUND)
    credit_invoice(world.hub, EXEMPT, {line.position: usd("28.00")}, "Leaves", DAY, Leftover.REFUND)
    (grant,) = (one for one in grants(world).values() if one.kind is CreditKind.PREPAID)
    assert grant.left == usd("0.00")
    assert booked(world, "invoice", "credit drawn", "credit note").get("2300") is None
    settle(world)
    assert world.breaks() == []


def test_credit_that_is_paid_for_is_not_voided_and_given_credit_is(world: Company) -> None:
    sell_credit(world)
    world.month(until="rate")
    top_up(world.hub, "A-0003", usd("50.00"), FIRST)
    given = grant_credit(world.hub, "A-0003", usd("9.00"), "Goodwill", "ops", date(2027, 1, 1))
    world.month()
    settle_credits(world.hub, "2026-11")
    (prepaid,) = (one for one in grants(world).values() if one.kind is CreditKind.PREPAID)
    with pytest.raises(Rejected, match="credit its top-up"):
        void_credit(world.hub, prepaid.id, DAY)
    assert void_credit(world.hub, given.id, DAY).amount == usd("9.00")
    with pytest.raises(Rejected, match=r"has 0.00 USD left"):
        void_credit(world.hub, given.id, DAY)


def test_the_database_refuses_to_draw_more_than_is_left(world: Company) -> None:
    world.month(until="rate")
    grant = grant_credit(world.hub, "A-0003", usd("9.00"), "Goodwill", "ops", FIRST)
    twice = [drawn(grant, usd("5.00"), f"INV-{number}", FIRST) for number in (1, 2)]
    with world.hub.database.work() as work:
        assert work.move_credit([twice[0]]) == [twice[0]]
        assert work.move_credit([twice[0]]) == []
    with pytest.raises(StoreFailed), world.hub.database.work() as work:
        work.move_credit([twice[1]])
    with world.hub.database.reading() as work:
        assert work.find(CreditMovement) == [twice[0]]
    assert grants(world)[grant.id].left == usd("4.00")


def test_a_top_up_that_would_be_revenue_stops_the_run(world: Company) -> None:
    sell_credit(world, account="4030")
    with pytest.raises(Misconfigured, match="must be 2300, not 4030"):
        settle_credits(world.hub, PERIOD)
