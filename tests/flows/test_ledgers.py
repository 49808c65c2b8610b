"""The same month with each ledger in the place of NetSuite: the flows are the same, and every tie closes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from core.ledger import JournalEntry, Via
from core.money import Money
from core.payments import Refund
from flows import bill, collect, deliver, rate
from flows.credit import Leftover, credit_invoice
from tests.connectors import contract_quickbooks, contract_xero
from tests.flows.test_credit_notes import settle
from tests.flows.world import CUSTOMERS, SETTINGS, USAGE, Company, company

pytestmark = pytest.mark.server

LEDGERS = {"xero": contract_xero.settings, "quickbooks": contract_quickbooks.settings}
YEAR, EXEMPT = "INV-2026-10-A-0002", "INV-2026-10-A-0003"
LATER = date(2026, 11, 20)


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.xdist_group(f"ledger-{name}")) for name in LEDGERS])
def stack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Company]:
    settings = {name: make for name, make in SETTINGS.items() if name != "netsuite"}
    with company(tmp_path, {**settings, request.param: LEDGERS[request.param]}) as entered:
        entered.enter(*CUSTOMERS)
        entered.bring("bridge.2026-10.csv", USAGE)
        yield entered


def erp_of(stack: Company) -> str:
    return stack.hub.system("erp")


def ties_out(stack: Company) -> None:
    lines, breaks = stack.tie_out()
    assert breaks == []
    assert [line.tie for line in lines if line.difference or line.breaks] == []
    with stack.hub.database.reading() as work:
        assert (work.desk.open(), set(work.outbox.counts())) == ([], {"done"})


def test_a_month_ties_out_with_another_ledger_and_running_it_again_changes_nothing(stack: Company) -> None:
    stack.month()
    ties_out(stack)
    lines, _ = stack.tie_out()
    receivables = next(line for line in lines if line.tie.startswith("GL 1100"))
    assert (receivables.right_name, receivables.left) == (erp_of(stack), receivables.right)
    before = stack.objects()
    stack.month()
    assert stack.objects() == before


def test_a_refund_is_booked_the_way_the_ledger_takes_it(stack: Company) -> None:
    """Xero takes no journal for receivables: there it is a payment of the credit note. QuickBooks takes the journal."""
    stack.month()
    note = credit_invoice(stack.hub, YEAR, {1: Money.of("2400.00", "USD")}, "Half the seats", LATER, Leftover.REFUND)
    settle(stack)
    ties_out(stack)
    with stack.hub.database.reading() as work:
        (refund,) = work.find(Refund)
        booked = {entry.id: entry.via for entry in work.find(JournalEntry, event="refund")}
    assert refund.amount == note.total
    if erp_of(stack) == "xero":
        assert booked == {f"DOC-{refund.id}": Via.DOCUMENT}
        (kept,) = stack.running.emulators["xero"].shelf.all("credit_note")
        assert (kept["Status"], kept["RemainingCredit"]) == ("PAID", 0)
        assert "refunds = ERP refunds" in {line.tie for line in stack.tie_out()[0]}
    else:
        assert booked == {f"JE-{refund.id}": Via.JOURNAL}


def test_a_balance_pays_a_later_invoice_in_any_ledger(stack: Company) -> None:
    stack.month()
    note = credit_invoice(stack.hub, EXEMPT, {1: Money.of("50.00", "USD")}, "Three weeks without line", LATER)
    settle(stack)
    ties_out(stack)
    rate.rate_period(stack.hub, "2026-11")
    bill.draft_invoices(stack.hub, "2026-11")
    deliver.deliver_all(stack.hub)
    bill.finalise_invoices(stack.hub)
    collect.request_payments(stack.hub)
    settle(stack)
    ties_out(stack)
    if erp_of(stack) == "xero":
        (kept,) = stack.running.emulators["xero"].shelf.all("credit_note")
        assert (kept["CreditNoteNumber"], kept["RemainingCredit"]) == (note.id, 0)


def test_a_lost_answer_to_a_refund_is_one_refund(tmp_path: Path) -> None:
    settings = {name: make for name, make in SETTINGS.items() if name != "netsuite"}
    with company(tmp_path, {**settings, "xero": contract_xero.settings}) as stack:
        stack.enter(*CUSTOMERS)
        stack.bring("bridge.2026-10.csv", USAGE)
        stack.month()
        credit_invoice(stack.hub, YEAR, {1: Money.of("2400.00", "USD")}, "Half the seats", LATER, Leftover.REFUND)
        stack.plant("xero", "lose_reply", "^PUT /api.xro/2.0/Payments")
        settle(stack)
        refunds = [
            one
            for one in stack.running.emulators["xero"].shelf.all("payment")
            if one["PaymentType"] == "ARCREDITPAYMENT"
        ]
        assert len(refunds) == 1
        assert stack.breaks() == []
