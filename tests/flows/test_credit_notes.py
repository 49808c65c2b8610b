"""Credit notes in a month of four systems: the hub, the tax engine, the gateway and the ledger give back the same."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from app.explain import explain_id
from core.errors import Rejected
from core.invoicing import CreditNote, Invoice
from core.ledger import JournalEntry
from core.money import Money
from core.payments import Payment, Refund
from flows import bill, collect, deliver, intake, rate, recognise, write_back
from flows.credit import Leftover, credit_invoice
from tests.flows.world import PERIOD, Company
from tests.scenarios.test_scenarios import moved

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("company")]

EVENTS, YEAR, EXEMPT = "INV-2026-10-A-0001", "INV-2026-10-A-0002", "INV-2026-10-A-0003"
LATER = date(2026, 11, 20)


def usd(amount: str) -> Money:
    return Money.of(amount, "USD")


def settle(world: Company) -> None:
    """What follows a credit note: deliver, and what the gateway then tells."""
    deliver.deliver_all(world.hub)
    intake.take_in(world.hub)
    intake.book_settlements(world.hub)
    recognise.recognise_through(world.hub, PERIOD)
    write_back.tell_crm(world.hub)
    deliver.deliver_all(world.hub)


def credits(world: Company) -> list[CreditNote]:
    with world.hub.database.reading() as work:
        return work.find(CreditNote)


def test_a_refunded_part_of_a_year_ties_out_everywhere(world: Company) -> None:
    """2,400.00 of the year go back by card; none of it was earned, so revenue stays and the schedule shrinks."""
    world.month()
    note = credit_invoice(world.hub, YEAR, {1: usd("2400.00")}, "Half the seats", LATER, Leftover.REFUND)
    settle(world)
    assert world.breaks() == []
    assert (note.subtotal, note.lines[0].deferred, note.left) == (usd("2400.00"), usd("2400.00"), usd("0"))
    with world.hub.database.reading() as work:
        (refund,) = work.find(Refund)
        assert work.sums.unbooked()["USD"] == usd("1992.32")  # 4,392.32 after October, less the credit
        booked = work.find(JournalEntry, id=[f"JE-{note.id}", f"DOC-{note.id}", f"JE-{refund.id}"])
        cleared = [one for one in work.find(JournalEntry) if any(line.ledger_account == "1050" for line in one.lines)]
    assert moved(booked) == {"1050": "-2558.40", "2200": "158.40", "2400": "2400.00"}
    assert refund.amount == note.total
    assert {one.event for one in cleared if one.posted_on == LATER} == {"refund", "settlement"}
    for day in {one.posted_on for one in cleared}:
        assert moved([one for one in cleared if one.posted_on == day]).get("1050", "0.00") == "0.00", day
    deals = world.running.emulators["salesforce"].shelf.all("Opportunity")
    assert sorted(str(one["Tieout_Credited__c"]) for one in deals) == ["0.0", "0.0", "0.0", "2558.4"]
    story = explain_id(world.hub, f"JE-{note.id}")
    assert {"credit note line", "invoice line", "opportunity line"} <= _kinds(story)
    ties = {line.tie for line in world.tie_out()[0]}
    assert {"credit notes = ERP credit memos", "credited tax = tax returned", "refunds = settled refunds"} <= ties


def _kinds(node: dict[str, Any]) -> set[str]:
    return {node["what"]}.union(*(_kinds(one) for one in node.get("came_from", [])))


def test_a_credit_before_the_charge_lowers_the_charge(world: Company) -> None:
    """Credited while nobody was asked to pay, the invoice collects what is left of it and no more."""
    world.month(until="finalise")
    note = credit_invoice(world.hub, EVENTS, {5: None}, "Event was cancelled", LATER)
    world.month()
    with world.hub.database.reading() as work:
        payment, invoice = work.get(Payment, f"PAY-{EVENTS}"), work.get(Invoice, EVENTS)
    assert payment
    assert invoice
    assert note.subtotal == usd("750.00")
    assert payment.amount == invoice.total - note.total
    assert world.held("netsuite", "invoice", EVENTS)["status"] == "Paid In Full"
    assert world.breaks() == []


def test_a_balance_pays_a_later_invoice_of_its_account(world: Company) -> None:
    """A paid invoice credited without a refund leaves a balance; the account's next invoice takes it first."""
    world.month()
    note = credit_invoice(world.hub, EXEMPT, {1: usd("50.00")}, "Three weeks without line", LATER)
    assert note.left == note.total == usd("50.00")
    settle(world)
    rate.rate_period(world.hub, "2026-11")
    bill.draft_invoices(world.hub, "2026-11")
    deliver.deliver_all(world.hub)
    bill.finalise_invoices(world.hub)
    collect.request_payments(world.hub)
    settle(world)
    later = "INV-2026-11-A-0003"
    with world.hub.database.reading() as work:
        (note,), payment = work.find(CreditNote), work.get(Payment, f"PAY-{later}")
    assert [(one.invoice_id, one.amount) for one in note.applied] == [(later, usd("50.00"))]
    assert payment
    assert payment.amount == usd("22.00")
    assert world.held("netsuite", "creditMemo", note.id)["status"] == "Fully Applied"
    assert world.breaks() == []


def test_a_return_of_nothing_but_its_base_is_missed(world: Company) -> None:
    """The customer is exempt: what is credited has no tax, and the tax engine's document of it counts all the same."""
    world.month()
    note = credit_invoice(world.hub, EXEMPT, {1: usd("50.00")}, "Three weeks without line", LATER)
    settle(world)
    assert (note.tax, world.breaks()) == (usd("0"), [])
    with world.deleted("avalara", "transaction", note.id):
        assert [(tie, subject) for tie, subject, _ in world.breaks()] == [("credited tax = tax returned", note.id)]


def test_the_same_wish_again_is_the_same_credit_note(world: Company) -> None:
    world.month()
    first = credit_invoice(world.hub, EVENTS, {1: usd("10.00")}, "Outage", LATER)
    assert credit_invoice(world.hub, EVENTS, {1: usd("10.00")}, "Outage", LATER).id == first.id
    assert credit_invoice(world.hub, EVENTS, {1: usd("10.00")}, "Another outage", LATER).id != first.id
    settle(world)
    assert len(world.objects()["netsuite", "creditMemo"]) == 2
    assert world.breaks() == []


def test_no_more_than_what_is_left_is_credited(world: Company) -> None:
    world.month()
    credit_invoice(world.hub, EVENTS, {1: usd("263.00")}, "Outage", LATER)
    with pytest.raises(Rejected, match=r"line 1 has 0\.02 USD left to credit, not 0\.03 USD"):
        credit_invoice(world.hub, EVENTS, {1: usd("0.03")}, "More", LATER)
    credit_invoice(world.hub, EVENTS, {}, "All the rest", LATER)
    with world.hub.database.reading() as work:
        invoice = work.get(Invoice, EVENTS)
    assert invoice
    assert sum((note.total for note in credits(world)), usd("0")) == invoice.total
    with pytest.raises(Rejected, match="nothing is left"):
        credit_invoice(world.hub, EVENTS, {}, "Again", LATER)
    settle(world)
    assert world.breaks() == []
