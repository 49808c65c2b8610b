"""Collect: what is open on final invoices is met by the account's credit, and charged through the gateway, once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from core.accounts import Account, BillingTerms, payer
from core.invoicing import CreditNote, Invoice, InvoiceStatus
from core.money import Money
from core.payments import PaymentRequest
from core.posting import realised_entries
from core.store import Work
from core.sync import OutboxCommand
from flows.context import Hub, hub
from flows.post import post
from flows.receivables import Receivable, apply_credit, receivables
from flows.report import Report, amounts, conclude, counted, dollars, sum_by_currency


def request_payments(hub: Hub) -> Report:
    """Applies what accounts have to their credit, oldest first, and intends to charge what is open and not asked for.

    What is kept as a balance of an account lowers any of its invoices.
    """
    gateway = hub.system("gateway")
    report = Report("")
    with hub.database.work() as work:
        invoices = [one for one in work.find(Invoice, status=InvoiceStatus.FINAL.value) if one.total.minor > 0]
        accounts = {account.id: account for account in work.find(Account)}
        terms = {one.id: one for one in work.find(BillingTerms)}
        credits = [note for note in work.find(CreditNote) if note.left.minor > 0]
        for one in receivables(hub, work, invoices):
            if one.unasked.minor <= 0:
                continue
            credits = _apply(hub, work, credits, one)
            (one,) = receivables(hub, work, [one.invoice])
            if one.free.minor <= 0:
                continue
            invoice = one.invoice
            pays = payer(invoice.account_id, accounts, terms)
            request = PaymentRequest(
                id=one.next_request,
                invoice_id=invoice.id,
                account_id=invoice.account_id,
                currency=invoice.currency,
                amount=one.free,
                description=f"Invoice {invoice.id}",
                payer_id=None if pays == invoice.account_id else pays,
            )
            command = OutboxCommand.of(gateway, "payment", "payment_request", request, hub.now(), money=request.amount)
            if work.outbox.enqueue([command]):
                report.money.append(request.amount)
                report.rows.append(
                    {"payment": request.id, "account": invoice.account_id, "amount": dollars(request.amount)}
                )
    report.counts = {"requested": len(report.rows)}
    report.money = sum_by_currency(report.money)
    report.headline = f"{counted(len(report.rows), 'payment')} asked for" + (
        f", {amounts(report.money)}" if report.money else ""
    )
    return report


def _apply(hub: Hub, work: Work, credits: list[CreditNote], one: Receivable) -> list[CreditNote]:
    """Applies the credits of the invoice's account, oldest first, and tells the ERP; gives what is then left of all."""
    left = []
    for note in sorted(credits, key=lambda note: (note.credit_date, note.id)):
        if note.account_id == one.invoice.account_id and note.currency == one.invoice.currency:
            used = apply_credit(note, one)
            if used is not note:
                work.put(used)
                work.outbox.enqueue(
                    [
                        OutboxCommand.of(
                            hub.system("erp"), "credit_note", "credit_note", used, hub.now(), money=used.total
                        )
                    ]
                )
                amount = note.left - used.left
                _realise(hub, work, note, one.invoice, amount)
                one = replace(one, credited=one.credited + amount)
                note = used
        left.append(note)
    return [note for note in left if note.left.minor > 0]


def _realise(hub: Hub, work: Work, note: CreditNote, invoice: Invoice, amount: Money) -> None:
    """Books what a credit gained or lost by paying an invoice of another rate, as the ERP does when it is applied."""
    books, ident = hub.books(work, note.account_id), f"{note.id}>{invoice.id}"
    about = (ident, "receivables", amount, invoice.invoice_date, note.credit_date, note.account_id)
    gained = realised_entries(books, *about, booked_at=invoice.exchange, settled_at=note.exchange)
    post(hub, work, gained)


@flow(name="Collect payments", description="Asks the gateway to charge every final invoice that is owed, once.")
def collect() -> State[Any]:
    return conclude("Collect payments", request_payments(hub()))
