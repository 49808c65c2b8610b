"""Money of a customer in euros comes, goes back, is refunded and given up, and each ledger says the same."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from connectors.quickbooks import QuickBooks
from core.cash import CashReceipt
from core.invoicing import CreditNote
from core.money import Money
from core.payments import Payment
from flows import bill, collect, deliver, intake, rate, write_back
from flows.apply_cash import apply_receipts, return_receipt, take_receipts
from flows.credit import Leftover, credit_invoice
from flows.write_off import write_off
from tests.flows import test_two_entities
from tests.flows.test_currencies import rates
from tests.flows.test_two_entities import ENDPOINTS, billed, ties_out
from tests.flows.world import Company

pytestmark = test_two_entities.pytestmark
world = test_two_entities.world

PAID, LATER = date(2026, 11, 20), date(2026, 11, 25)


def eur(amount: str) -> Money:
    return Money.of(amount, "EUR")


def transfer(world: Company, ident: str, amount: Money) -> None:
    about = {"entity": "main", "bank_account": "1", "currency": "EUR", "value_date": PAID, "text": ENDPOINTS}
    take_receipts(world.hub, [CashReceipt(id=ident, amount=amount, left=amount, **about)])
    apply_receipts(world.hub)


def told(world: Company) -> dict[tuple[str, str], Money]:
    """All is delivered; what the ledger accounts hold, the same on both sides."""
    write_back.tell_crm(world.hub)
    assert not deliver.deliver_all(world.hub).failures
    return ties_out(world)


def test_a_transfer_in_euros_realises_a_gain_and_what_is_left_is_given_up_at_the_rate_of_the_invoice(
    world: Company, tmp_path: Path
) -> None:
    """Of 72.00 euros owed at 1.05, 30.00 are paid at 1.10 and win 1.50 dollars; 42.00 are lost at 1.05: 44.10."""
    rates(world, tmp_path, "2026-10-01,EUR,USD,1.05", "2026-11-20,EUR,USD,1.10")
    billed(world)
    before = told(world)["1100", "USD"]
    transfer(world, "R1", eur("30.00"))
    after = told(world)
    assert before - after["1100", "USD"] == Money.of("31.50", "USD")
    assert (after["7000", "USD"], after["1010", "USD"]) == (Money.of("-1.50", "USD"), Money.of("33.00", "USD"))
    made = write_off(world.hub, ENDPOINTS, None, "bankrupt", LATER, "Ada")
    held = told(world)
    assert (made.amount, held["6200", "USD"]) == (eur("42.00"), Money.of("44.10", "USD"))
    assert before - held["1100", "USD"] == Money.of("75.60", "USD")


def test_a_transfer_in_euros_that_went_back_is_owed_again_at_the_rate_of_the_invoice(
    world: Company, tmp_path: Path
) -> None:
    rates(world, tmp_path, "2026-10-01,EUR,USD,1.05", "2026-11-20,EUR,USD,1.10")
    billed(world)
    before = told(world)
    transfer(world, "R1", eur("72.00"))
    told(world)
    return_receipt(world.hub, "R1", "R01 insufficient funds", LATER, "bank")
    after = told(world)
    assert after["1100", "USD"] == before["1100", "USD"]
    assert after["7000", "USD"] == Money.zero("USD")


def test_a_refund_in_euros_loses_what_the_payment_won(world: Company, tmp_path: Path) -> None:
    """72.00 euros at 1.05 are paid at 1.10 and win 3.60 dollars; 18.00 of them, given back at 1.10, lose 0.90.

    QuickBooks takes no journal in dollars for a customer in euros: it stands on the desk, and names the field.
    """
    rates(world, tmp_path, "2026-10-01,EUR,USD,1.05", "2026-11-20,EUR,USD,1.10")
    billed(world)
    collected(world)
    held = told(world)
    assert (held["7000", "USD"], held["1100", "USD"]) == (Money.of("-3.60", "USD"), Money.zero("USD"))
    credit_invoice(world.hub, ENDPOINTS, {1: eur("18.00")}, "One line less", LATER, Leftover.REFUND)
    deliver.deliver_all(world.hub)
    collected(world)
    if world.hub.system("erp") == "quickbooks":
        with world.hub.database.reading() as work:
            (entry,) = work.desk.open()
        assert (entry.record, entry.field) == ("journal_entry", "CurrencyRef")
        return
    held = told(world)
    assert held["7000", "USD"] == Money.of("-2.70", "USD")
    assert held["1100", "USD"] + held.get(("1105", "USD"), Money.zero("USD")) == Money.zero("USD")


def collected(world: Company) -> None:
    collect.request_payments(world.hub)
    deliver.deliver_all(world.hub)
    intake.take_in(world.hub)
    intake.book_settlements(world.hub)


def test_a_balance_in_euros_that_pays_a_later_invoice_realises_what_the_euro_moved(
    world: Company, tmp_path: Path
) -> None:
    """18.00 euros that were credited at 1.05 pay for as much of an invoice at 1.10, which is worth 0.90 dollars more.

    QuickBooks links them when somebody does, and books it then.
    """
    rates(world, tmp_path, "2026-10-01,EUR,USD,1.05", "2026-11-20,EUR,USD,1.10")
    billed(world)
    collected(world)
    credit_invoice(world.hub, ENDPOINTS, {1: eur("18.00")}, "One line less", LATER)
    before = told(world)["7000", "USD"]
    rate.rate_period(world.hub, "2026-11")
    bill.draft_invoices(world.hub, "2026-11")
    deliver.deliver_all(world.hub)
    bill.finalise_invoices(world.hub)
    collected(world)
    write_back.tell_crm(world.hub)
    assert not deliver.deliver_all(world.hub).failures
    if world.hub.system("erp") == "quickbooks":
        linked_by_hand(world)
    held = told(world)
    with world.hub.database.reading() as work:
        note, paid = work.find(CreditNote)[0], work.find(Payment, invoice_id="INV-2026-11-A-0003")[0]
    assert (note.left, paid.amount) == (eur("0"), eur("54.00"))
    assert held["7000", "USD"] - before == Money.of("0.90", "USD")
    assert held["1100", "USD"] == Money.zero("USD")


def linked_by_hand(world: Company) -> None:
    """Somebody applies the credit memo to the invoice of November, by a payment of nothing."""
    shelf, company = world.running.emulators["quickbooks"].shelf, world.hub.connector("quickbooks")
    assert isinstance(company, QuickBooks)
    (memo,), (invoice,) = shelf.all("credit_memo"), shelf.where("invoice", DocNumber="INV-2026-11-A-0003")
    links = [
        {"Amount": 18, "LinkedTxn": [{"TxnId": one["Id"], "TxnType": kind}]}
        for one, kind in ((invoice, "Invoice"), (memo, "CreditMemo"))
    ]
    about = {name: invoice[name] for name in ("CustomerRef", "CurrencyRef", "ExchangeRate")}
    company._write("payment", {**about, "TotalAmt": 0, "TxnDate": "2026-11-25", "Line": links})
