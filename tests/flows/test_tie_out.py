"""The tie-out names what somebody changed behind our back, and closes the Break when it is mended."""

from __future__ import annotations

from contextlib import AbstractContextManager
from decimal import Decimal
from typing import Any

import pytest

from core.money import Money
from core.ties import Break
from tests.flows.world import Company

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("company")]

INVOICE, PAYMENT, EVENT = "INV-2026-10-A-0003", "PAY-INV-2026-10-A-0003", "A-0001 event"


def edited_erp_invoice(world: Company) -> AbstractContextManager[None]:
    return world.changed("netsuite", "invoice", INVOICE, total="72.01")


def deleted_erp_invoice(world: Company) -> AbstractContextManager[None]:
    return world.deleted("netsuite", "invoice", INVOICE)


def deleted_erp_payment(world: Company) -> AbstractContextManager[None]:
    return world.deleted("netsuite", "customerPayment", PAYMENT)


def second_charge(world: Company) -> AbstractContextManager[None]:
    return world.doubled("stripe", "payment_intent", PAYMENT, id="pi_copy")


def charge_of_nobody(world: Company) -> AbstractContextManager[None]:
    return world.doubled("stripe", "payment_intent", PAYMENT, id="pi_stray", metadata={})


def uncommitted_tax(world: Company) -> AbstractContextManager[None]:
    return world.changed("avalara", "transaction", "INV-2026-10-A-0002", status="Saved")


def edited_deal(world: Company) -> AbstractContextManager[None]:
    return world.changed("salesforce", "Opportunity", EVENT, Amount="700.00")


def edited_progress(world: Company) -> AbstractContextManager[None]:
    return world.changed("salesforce", "Opportunity", EVENT, Tieout_Invoiced__c="0.00")


def edited_journal(world: Company) -> AbstractContextManager[None]:
    journal = world.held("netsuite", "journalEntry", f"JE-{INVOICE}")
    (first, amount), *others = journal["_impact"]
    moved = [[first, str(Decimal(amount) + 5)], *others]
    return world.changed("netsuite", "journalEntry", f"JE-{INVOICE}", _impact=moved)


#: What somebody does; the ties on which it shows; kind, and our side and theirs of the first of them.
DAMAGES: list[tuple[Any, set[str], str, str, str]] = [
    (edited_erp_invoice, {"invoices = ERP invoices"}, "invoice_amount", "72.00", "72.01"),
    (deleted_erp_invoice, {"invoices = ERP invoices"}, "invoice_deleted", "72.00", "0.00"),
    (deleted_erp_payment, {"payments = ERP payments"}, "payment_deleted", "72.00", "0.00"),
    (second_charge, {"invoices = payments"}, "charge_twice", "72.00", "144.00"),
    (charge_of_nobody, {"invoices = payments"}, "charge_unknown", "0.00", "72.00"),
    (uncommitted_tax, {"invoice tax = tax committed"}, "tax_uncommitted", "318.76", "0.00"),
    (edited_deal, {"orders = CRM"}, "order_amount", "750.00", "700.00"),
    (edited_progress, {"CRM shows what is invoiced"}, "crm_figure_stale", "750.00", "0.00"),
]


@pytest.mark.parametrize(
    ("damage", "ties", "kind", "ours", "theirs"), DAMAGES, ids=lambda one: getattr(one, "__name__", "")
)
def test_what_was_changed_by_hand_is_named_with_both_sides_until_it_is_mended(
    closed: Company, damage: Any, ties: set[str], kind: str, ours: str, theirs: str
) -> None:
    with damage(closed):
        lines, breaks = closed.tie_out()
        found = [one for one in breaks if one.tie in ties]
        assert {line.tie for line in lines if not line.closes} == {one.tie for one in breaks}
        assert [(one.kind, one.left, one.right) for one in found] == [(kind, _usd(ours), _usd(theirs))]
        first_seen = found[0].first_seen_at
        again = [one for one in closed.tie_out()[1] if one.id == found[0].id]
        assert [one.first_seen_at for one in again] == [first_seen]
    assert closed.tie_out()[1] == []
    with closed.hub.database.reading() as work:
        remembered = work.get(Break, found[0].id)
    assert remembered is not None
    assert remembered.closed_at is not None
    assert remembered.first_seen_at == first_seen < remembered.closed_at


def _usd(amount: str) -> Money:
    return Money.of(amount, "USD")


def test_a_break_that_comes_back_is_as_old_as_its_return(closed: Company) -> None:
    with edited_erp_invoice(closed):
        (before,) = closed.tie_out()[1]
    closed.tie_out()
    with edited_erp_invoice(closed):
        (after,) = closed.tie_out()[1]
    closed.tie_out()
    assert after.first_seen_at > before.last_seen_at


def test_a_booking_changed_in_the_general_ledger_shows_on_its_accounts(closed: Company) -> None:
    with edited_journal(closed):
        assert [(one.tie.split()[0], one.kind) for one in closed.tie_out()[1]] == [("GL", "gl_moved")]
    assert closed.tie_out()[1] == []
