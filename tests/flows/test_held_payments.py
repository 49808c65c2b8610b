"""Money at the bank pays the invoice in the ERP too, whichever it is; what comes back is owed there again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.cash import CashReceipt
from core.close import PeriodLock
from core.invoicing import Invoice
from core.ledger import JournalEntry, Via
from core.money import Money
from core.ports import ExternalKey, Receipt
from flows.apply_cash import apply_receipts, return_receipt, take_receipts
from flows.deliver import deliver_all
from flows.error_desk import retry
from flows.write_back import tell_crm
from tests.connectors import contract_netsuite, contract_quickbooks, contract_xero
from tests.flows.world import CUSTOMERS, SETTINGS, USAGE, Company, company

INVOICE = "INV-2026-10-A-0001"
DAY, BACK = date(2026, 11, 10), date(2026, 12, 3)
#: The field of an invoice that says what is open of it.
OPEN = {"netsuite": "amountRemaining", "quickbooks": "Balance", "xero": "AmountDue"}
#: A request that takes a payment back: its line and what its body says.
TAKES_BACK = {
    "netsuite": ("^POST /services/NetSuitePort", ":delete>"),
    "quickbooks": ("^POST .*/payment.*include=void", ""),
    "xero": ("^POST .*/Payments/", "DELETED"),
}
LEDGERS = {
    "netsuite": contract_netsuite.settings,
    "quickbooks": contract_quickbooks.settings,
    "xero": contract_xero.settings,
}


@pytest.fixture(params=LEDGERS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Company]:
    """One customer, whose invoice is at the ERP and was not asked for yet."""
    others = {name: make for name, make in SETTINGS.items() if name != "netsuite"}
    with company(tmp_path, {**others, request.param: LEDGERS[request.param]}) as entered:
        entered.enter(CUSTOMERS[0])
        entered.bring("bridge.2026-10.csv", USAGE.splitlines()[0] + "\n")
        entered.month(until="finalise")
        told(entered)
        yield entered


def told(world: Company) -> None:
    tell_crm(world.hub)
    assert not deliver_all(world.hub).failures


def owed(world: Company) -> Money:
    with world.hub.database.reading() as work:
        return work.find(Invoice, id=INVOICE)[0].total


def came(world: Company, ident: str, amount: Money, text: str = INVOICE, on: date = DAY) -> None:
    receipt = CashReceipt(
        id=ident, entity="main", bank_account="1", currency="USD", amount=amount, left=amount, value_date=on, text=text
    )
    take_receipts(world.hub, [receipt])
    apply_receipts(world.hub)


def breaks(world: Company) -> list[tuple[str, str]]:
    """What nothing explains; what is due later is explained."""
    return [(one.tie, one.kind) for one in world.tie_out()[1] if not one.explained]


def due(world: Company) -> Any:
    """What the ERP says is open of the invoice."""
    erp = world.hub.system("erp")
    (invoice,) = world.running.emulators[erp].shelf.all("invoice")
    return Decimal(str(invoice[OPEN[erp]]))


def cents(world: Company, *roles: str) -> tuple[int, ...]:
    with world.hub.database.reading() as work:
        held = work.sums.ledger_balances()
    codes = (world.hub.posting.account(role) for role in roles)
    return tuple(held.get((code, "USD"), Money(0, "USD")).minor for code in codes)


def test_a_transfer_in_two_parts_pays_the_invoice_at_the_erp(world: Company) -> None:
    first = Money(10000, "USD")
    came(world, "R1", first)
    told(world)
    assert due(world) == (owed(world) - first).amount
    assert breaks(world) == []
    came(world, "R2", owed(world))
    told(world)
    assert due(world) == 0
    assert cents(world, "receivables", "application clearing", "unapplied cash") == (0, 0, -10000)
    assert breaks(world) == []


def came_back(world: Company) -> list[str]:
    """The transfer goes back to its payer; the records that the ERP did not take."""
    return_receipt(world.hub, "R1", "R01 insufficient funds", BACK, "bank")
    tell_crm(world.hub)
    failures = deliver_all(world.hub).failures
    assert cents(world, "receivables", "application clearing", "bank") == (owed(world).minor, 0, 0)
    return [one.record for one in failures]


def test_money_that_goes_back_is_owed_again_at_the_erp_and_paid_once_more(world: Company) -> None:
    """QuickBooks voids the payment, NetSuite and Xero delete it, all on its own day; whatever answer gets lost."""
    came(world, "R1", owed(world))
    told(world)
    assert due(world) == 0
    erp = world.hub.system("erp")
    line, body = TAKES_BACK[erp]
    world.plant(erp, "lose_reply", line, body=body)
    assert came_back(world) == []
    assert [one.fired for one in world.running.emulators[erp].faults] == [1]
    assert (due(world), breaks(world)) == (owed(world).amount, [])
    with world.hub.database.reading() as work:
        (taken,) = work.find(JournalEntry, event="cash applied reversed", via=Via.DOCUMENT)
        assert taken.posted_on == DAY
        assert work.find(JournalEntry, event="cash applied reversed", posted_on=BACK) == []
    came(world, "R2", owed(world), f"again {INVOICE}")
    told(world)
    assert (due(world), breaks(world)) == (0, [])


def test_money_that_pays_an_invoice_again_waits_until_it_is_open_at_the_erp(world: Company) -> None:
    """What goes back and what comes are told in one go, the first payment before all; nobody has to try again."""
    part = Money(10000, "USD")
    came(world, "R1", owed(world) - part)
    told(world)
    came(world, "R2", part)
    return_receipt(world.hub, "R1", "R01 insufficient funds", BACK, "bank")
    came(world, "R3", owed(world), f"again {INVOICE}")
    told(world)
    assert (due(world), breaks(world)) == (0, [])


def test_money_that_goes_back_before_the_erp_heard_of_it_leaves_nothing_there(world: Company) -> None:
    came(world, "R1", owed(world))
    assert came_back(world) == []
    erp = world.hub.system("erp")
    assert world.running.emulators[erp].shelf.all("payment" if erp != "netsuite" else "customerPayment") == []
    assert (due(world), breaks(world)) == (owed(world).amount, [])


def test_what_is_taken_back_after_its_month_was_closed_leaves_that_month_as_it_was(world: Company) -> None:
    """A journal on the day of the return puts the amount back; Xero takes none for receivables, and says so. At the
    others the payment stands unapplied, so that the invoice is open there."""
    came(world, "R1", owed(world))
    told(world)
    lock_november(world)
    failed = came_back(world)
    if world.hub.system("erp") == "xero":
        assert (due(world), failed) == (0, ["journal_entry"])
    else:
        assert (due(world), failed, breaks(world)) == (owed(world).amount, [], [])


def lock_november(world: Company) -> None:
    with world.hub.database.work() as work:
        work.add([PeriodLock(id="L", entity="main", month="2026-11", close_id="C", locked_at=world.hub.now())])


#: Where a payment can be unapplied: where November is closed there, how it is and how it takes that again, what is sent
#: for it, and the kind and the field that say what is unapplied.
UNAPPLIED = {
    "netsuite": (
        "periods/2026-11",
        ({"closed": True}, {"closed": True, "allowNonGLChanges": True}),
        ("^POST /services/NetSuitePort", "upsertList.*APP-R1-1"),
        ("customerPayment", "unapplied"),
    ),
    "quickbooks": (
        "quickbooks",
        ({"closed_through": "2026-11-30"}, {"closed_through": "2026-10-31"}),
        ("^POST .*/payment", "APP-R1-1"),
        ("payment", "UnappliedAmt"),
    ),
}


@pytest.mark.parametrize("world", UNAPPLIED, indirect=True)
def test_an_invoice_of_a_closed_month_is_open_again_as_soon_as_the_erp_lets_its_payment_be_unapplied(
    world: Company,
) -> None:
    """That changes nothing of the general ledger, which NetSuite's closed period takes where it allows that; QuickBooks
    must open its books. It is done once, although the answer gets lost, and the invoice is paid once more by other
    money."""
    erp = world.hub.system("erp")
    place, (shut, lenient), (line, body), (kind, field) = UNAPPLIED[erp]
    came(world, "R1", owed(world))
    told(world)
    lock_november(world)
    closed = f"{world.running.urls[erp]}/_sandbox/{place}"
    httpx.post(closed, json=shut).raise_for_status()
    assert came_back(world) == ["applied_payment"]
    assert (due(world), breaks(world)) == (0, [])
    httpx.post(closed, json=lenient).raise_for_status()
    with world.hub.database.work() as work:
        (entry,) = work.desk.open()
        assert retry(world.hub, work, entry, "Ada")
    world.plant(erp, "lose_reply", line, body=body)
    told(world)
    assert [one.fired for one in world.running.emulators[erp].faults] == [1]
    assert (due(world), breaks(world)) == (owed(world).amount, [])
    (payment,) = world.running.emulators[erp].shelf.all(kind)
    assert Decimal(str(payment[field])) == owed(world).amount
    came(world, "R2", owed(world), f"again {INVOICE}", BACK)
    world.time.sleep(60)  # by then the lost answer is looked up again
    told(world)
    assert (due(world), breaks(world)) == (0, [])


def test_a_payment_that_somebody_voids_by_hand_is_named_as_that(world: Company) -> None:
    """At NetSuite it is gone; its SuiteTalk shows no void."""
    came(world, "R1", owed(world))
    told(world)
    erp = world.hub.connector(world.hub.system("erp"))
    with world.hub.database.reading() as work:
        (proof,) = work.outbox.proofs(erp.system, "payment")
    payload = {"PaymentID": proof.vendor_id, "Status": "DELETED", "Id": proof.vendor_id, "internalId": proof.vendor_id}
    payload |= {"Date": str(DAY), "TxnDate": str(DAY)}
    key = ExternalKey(erp.resources["payment_void"].key_field, proof.record_id)
    assert isinstance(erp.upsert("payment_void", payload, key), Receipt)
    kind = "payment_deleted" if erp.system == "netsuite" else "payment_voided"
    assert ("payments = ERP payments", kind) in breaks(world)
