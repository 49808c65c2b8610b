"""What was begun in a month and is final after its lock stands in the first open month, at every system."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from core.cash import CashReceipt
from core.close import PeriodLock
from core.invoicing import Invoice, InvoiceStatus
from core.ledger import JournalEntry
from core.money import Money
from core.payments import Payment, WriteOff
from core.tax import TaxDocument, TaxStatus
from flows import bill, collect, deliver, gates, tie_out
from flows import close as stages
from flows.apply_cash import apply_to, take_receipts
from flows.close_books import Answer, Closing
from flows.context import Hub
from flows.credit import credit_invoice
from flows.settings import WriteOffPolicy
from flows.write_off import approve, write_off
from tests.connectors import contract_netsuite, contract_quickbooks, contract_xero
from tests.flows.test_currencies import european, rates
from tests.flows.world import CUSTOMERS, MONTH, PERIOD, SETTINGS, USAGE, Company, company

pytestmark = pytest.mark.server

#: A-0002 pays 4,800.00 for a year and 100.00 for its minutes; 407.68 of the year is October's.
LATE = "INV-2026-10-A-0002"
OCTOBER, NOVEMBER = date(2026, 10, 31), date(2026, 11, 1)
#: Each general ledger, and how it calls a payment and its day.
LEDGERS = {
    "netsuite": (contract_netsuite.settings, "customerPayment", "tranDate"),
    "quickbooks": (contract_quickbooks.settings, "payment", "TxnDate"),
    "xero": (contract_xero.settings, "payment", "Date"),
}


def steps(world: Company, *left_out: str) -> None:
    for name, step in MONTH:
        if name not in left_out:
            step(world.hub)


def unanswered(world: Company) -> None:
    """The tax engine does not answer about the one invoice."""
    world.plant("avalara", "error", r"POST .*/createoradjust", body=LATE, status=503, times=0)
    steps(world, "recognise")
    world.running.emulators["avalara"].faults.clear()
    world.time.sleep(60)


def answered(world: Company) -> None:
    """The tax engine has answered about every invoice, and nobody has made one final."""
    steps(world, "finalise", "collect", "settle", "recognise")


def closed(world: Company) -> None:
    """October is closed; everything that stands in the way is let pass."""
    close = stages.freeze(world.hub, PERIOD, "olga")
    left = stages.check(world.hub, close).left
    assert ("tax", LATE) in {(one.gate.value, one.record) for one in left}
    for one in left:
        stages.override(world.hub, close, one.gate, one.record, "olga", "in time: no")
    approval = Answer(stages.Verdict.APPROVE, "anna", "", "test")
    assert Closing(world.hub, PERIOD, "olga", lambda _question, _number: approval).run().headline.startswith("closed")


def the_invoice(hub: Hub) -> Invoice:
    with hub.database.reading() as work:
        (found,) = work.find(Invoice, id=LATE)
    return found


@pytest.mark.parametrize("begun", [unanswered, answered])
def test_an_invoice_that_is_final_after_its_month_was_locked_is_the_next_month_s_everywhere(
    world: Company, begun: Callable[[Company], None]
) -> None:
    begun(world)
    before = the_invoice(world.hub)
    assert (before.status, before.invoice_date) == (InvoiceStatus.DRAFT, OCTOBER)
    closed(world)

    bill.finalise_invoices(world.hub)
    drafted = the_invoice(world.hub)
    assert (drafted.status, drafted.invoice_date) == (InvoiceStatus.DRAFT, NOVEMBER)
    assert bill.finalise_invoices(world.hub).counts["final"] == 0
    november = stages.freeze(world.hub, "2026-11", "olga")
    assert LATE in {one.record for one in gates.invoices_taxed(world.hub, november)}

    for _ in range(2):
        deliver.deliver_all(world.hub)
        steps(world)
    final = the_invoice(world.hub)
    assert (final.status, final.invoice_date) == (InvoiceStatus.FINAL, NOVEMBER)
    assert final.due_date - final.invoice_date == before.due_date - before.invoice_date
    told = [(one.service_period, one.amount) for one in final.lines]
    assert (final.billing_period, told) == (
        before.billing_period,
        [(one.service_period, one.amount) for one in before.lines],
    )

    (at_engine,) = [one for one in world.running.emulators["avalara"].shelf.all("transaction") if one["code"] == LATE]
    assert (at_engine["date"][:10], at_engine["status"]) == ("2026-11-01", "Committed")
    (at_erp,) = [one for one in world.running.emulators["netsuite"].shelf.all("invoice") if one["externalId"] == LATE]
    assert (at_erp["tranDate"][:10], at_erp["dueDate"][:10]) == ("2026-11-01", final.due_date.isoformat())
    with world.hub.database.reading() as work:
        (document,) = work.find(TaxDocument, invoice_id=LATE)
        entries = work.find(JournalEntry, account_id="A-0002")
    assert (document.document_date, document.status) == (NOVEMBER, TaxStatus.UNCOMMITTED)
    booked = {(one.posted_on, one.origin) for one in entries if one.event in ("invoice", "recognition")}
    assert booked == {(NOVEMBER, PERIOD)}
    lines, found = world.tie_out()
    assert (found, {line.difference for line in lines}) == ([], {Decimal(0)})


def locked(world: Company) -> None:
    lock = PeriodLock(
        id="main/2026-10/1", entity="main", month=PERIOD, close_id="CLOSE-main-2026-10-1", locked_at=world.hub.now()
    )
    with world.hub.database.work() as work:
        work.add([lock])


def test_a_lock_that_comes_while_an_invoice_is_made_final_is_seen(
    world: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read before the lock is not booked after it."""
    world.month(until="deliver")
    making = bill.finalise

    def meanwhile(*told: Any) -> Invoice:
        locked(world)
        monkeypatch.setattr(bill, "finalise", making)
        return making(*told)

    monkeypatch.setattr(bill, "finalise", meanwhile)
    assert bill.finalise_invoices(world.hub).counts["final"] == 0
    with world.hub.database.reading() as work:
        assert work.find(JournalEntry) == []
    for _ in range(2):
        bill.finalise_invoices(world.hub)
        deliver.deliver_all(world.hub)
    assert the_invoice(world.hub).invoice_date == NOVEMBER


def test_an_invoice_that_is_dated_anew_has_the_rate_of_its_new_day(world: Company, tmp_path: Path) -> None:
    """Without one it stays as it was, and stands on the desk."""
    european(world, "A-0002")
    rates(world, tmp_path, "2026-09-30,EUR,USD,1.1000")
    world.month(until="deliver")
    locked(world)
    (failure, *_) = bill.finalise_invoices(world.hub).failures
    assert (failure.record_id, failure.field) == (LATE, "rate")
    assert the_invoice(world.hub).invoice_date == OCTOBER
    rates(world, tmp_path, "2026-11-01,EUR,USD,1.2000")
    for _ in range(2):
        assert not bill.finalise_invoices(world.hub).failures
        deliver.deliver_all(world.hub)
    final = the_invoice(world.hub)
    assert final.exchange
    assert (final.status, final.exchange.on, str(final.exchange_rate)) == (InvoiceStatus.FINAL, NOVEMBER, "1.2")
    assert world.held("netsuite", "invoice", LATE)["exchangeRate"] == Decimal("1.2")


def test_what_is_credited_or_given_up_of_a_locked_month_is_dated_where_it_is_booked(world: Company) -> None:
    """A write-off that waited for its approval, and a credit note for which somebody named a day of the month."""
    world.month(until="finalise")
    world.hub.settings = world.hub.settings.model_copy(
        update={"write_offs": WriteOffPolicy(second_approval_above=Decimal(1))}
    )
    proposed = write_off(world.hub, LATE, Money.of("10.00", "USD"), "bankrupt", OCTOBER, "Ada")
    locked(world)
    given_up = approve(world.hub, proposed.id, "Grace")
    note = credit_invoice(world.hub, LATE, {1: Money.of("12.00", "USD")}, "Half a day", OCTOBER)
    assert (given_up.written_on, note.credit_date) == (NOVEMBER, NOVEMBER)
    with world.hub.database.reading() as work:
        assert work.get(WriteOff, proposed.id) == given_up
        booked = {
            (one.event, one.posted_on, one.origin)
            for one in work.find(JournalEntry, account_id="A-0002")
            if one.event != "invoice"
        }
    assert booked == {("write-off", NOVEMBER, PERIOD), ("credit note", NOVEMBER, PERIOD)}
    steps(world)
    memos = {one["externalId"]: one for one in world.running.emulators["netsuite"].shelf.all("creditMemo")}
    assert {memos[ident]["tranDate"][:10] for ident in (given_up.id, note.id)} == {"2026-11-01"}
    assert world.breaks() == []


def test_money_that_came_in_a_locked_month_pays_where_it_is_booked(world: Company) -> None:
    """Somebody finds out in November what a receipt of October is for."""
    steps(world, "collect", "settle")
    amount = the_invoice(world.hub).total
    receipt = CashReceipt(
        id="R", entity="main", bank_account="1", currency="USD", amount=amount, left=amount, value_date=OCTOBER
    )
    take_receipts(world.hub, [receipt])
    locked(world)
    made = apply_to(world.hub, "R", LATE, None, "Ada")
    steps(world)
    assert made.applied_on == NOVEMBER
    with world.hub.database.reading() as work:
        booked = {(one.posted_on, one.origin) for one in work.find(JournalEntry, event="cash applied")}
    assert booked == {(NOVEMBER, PERIOD)}
    assert world.held("netsuite", "customerPayment", made.id)["tranDate"][:10] == "2026-11-01"
    assert world.breaks() == []


@pytest.fixture(params=LEDGERS)
def charged(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Company]:
    """Customer A-0002 alone, whose card is charged; the gateway has not told yet."""
    others = {name: make for name, make in SETTINGS.items() if name != "netsuite"}
    with company(tmp_path, {**others, request.param: LEDGERS[request.param][0]}) as entered:
        entered.enter(CUSTOMERS[1])
        entered.bring("bridge.2026-10.csv", USAGE.splitlines()[0] + "\n")
        steps(entered, "collect")
        collect.request_payments(entered.hub)
        deliver.deliver_all(entered.hub)
        yield entered


def received(world: Company, at: datetime) -> None:
    """The gateway received the payment at that instant, and tells it now."""
    world.set("stripe", "charge", f"PAY-{LATE}", created=int(at.timestamp()))
    steps(world)


def day_at_erp(world: Company) -> str:
    erp = world.hub.system("erp")
    _, kind, day = LEDGERS[erp]
    (held,) = world.running.emulators[erp].shelf.all(kind)
    return str(held[day])[:10]


def differences(world: Company) -> tuple[list[str], set[Decimal]]:
    """What the tie-outs of both months find, and by how much their two sides differ."""
    found = [tie_out.tie_out_period(world.hub, period) for period in (PERIOD, "2026-11")]
    return [one.kind for _, breaks in found for one in breaks], {
        line.difference for lines, _ in found for line in lines
    }


def test_a_payment_that_is_told_after_its_month_was_locked_is_the_next_month_s_everywhere(charged: Company) -> None:
    locked(charged)
    received(charged, datetime(2026, 10, 31, 18, tzinfo=UTC))
    with charged.hub.database.reading() as work:
        (payment,) = work.find(Payment)
        entries = work.find(JournalEntry, account_id="A-0002")
    booked = {(one.event, one.posted_on, one.origin) for one in entries if one.event in ("payment", "settlement")}
    assert booked == {("payment", NOVEMBER, PERIOD), ("settlement", NOVEMBER, PERIOD)}
    assert (payment.booked_on, day_at_erp(charged)) == (NOVEMBER, "2026-11-01")
    assert differences(charged) == ([], {Decimal(0)})


def test_a_payment_has_the_day_of_its_customer_at_the_erp_too(charged: Company) -> None:
    """Half past midnight in Austin, and half past ten of the evening before in California."""
    received(charged, datetime(2026, 11, 1, 5, 30, tzinfo=UTC))
    with charged.hub.database.reading() as work:
        (booked,) = work.find(JournalEntry, event="payment")
    assert (booked.posted_on, booked.origin, day_at_erp(charged)) == (NOVEMBER, None, "2026-11-01")
    assert differences(charged) == ([], {Decimal(0)})


def test_a_late_payment_in_another_currency_has_the_rate_of_the_day_on_which_it_is_booked(
    world: Company, tmp_path: Path
) -> None:
    """What settles it leaves gateway clearing at the rate at which the payment came there."""
    european(world, "A-0002")
    rates(world, tmp_path, "2026-09-30,EUR,USD,1.1000", "2026-11-01,EUR,USD,1.2000")
    steps(world, "collect")
    collect.request_payments(world.hub)
    deliver.deliver_all(world.hub)
    locked(world)
    received(world, datetime(2026, 10, 31, 18, tzinfo=UTC))
    with world.hub.database.reading() as work:
        payment = work.get(Payment, f"PAY-{LATE}")
        lines = [line for one in work.find(JournalEntry, account_id="A-0002") for line in one.lines]
    assert payment
    assert (payment.booked_on, str(payment.exchange_rate)) == (NOVEMBER, "1.2")
    clearing = [line for line in lines if line.ledger_account == world.hub.posting.account("gateway clearing")]
    assert (len(clearing), sum(line.functional_amount.minor for line in clearing)) == (2, 0)
