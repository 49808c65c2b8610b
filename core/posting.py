"""Posting rules: which business event books what, line by line.

The ERP's own modules book receivables: an invoice document debits receivables against *billing clearing*, a payment
document moves receivables to *gateway clearing*. Those entries are kept here too (``Via.DOCUMENT``), so that our
balances are the ERP's. Everything else is pushed (``Via.JOURNAL``); billing clearing returns to zero per invoice.

==============  ==============================================  =============================================
event           debit                                           credit
==============  ==============================================  =============================================
invoice, doc.   receivables                                     billing clearing, per line and for tax
invoice         billing clearing                                revenue or deferred revenue per line; tax payable
payment, doc.   gateway clearing                                receivables
settlement      gateway balance (net), processing fees (fee)    gateway clearing
recognition     deferred revenue                                revenue, per line and month
credit, doc.    billing clearing, per line and for tax          receivables
credit          deferred revenue, then revenue; tax payable     billing clearing
refund          receivables                                     gateway clearing
==============  ==============================================  =============================================

A negative amount is booked on the other side; an amount of zero is not booked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

from core.invoicing import CreditNote, Invoice
from core.ledger import JournalEntry, JournalLine, LedgerAccount, LedgerAccountKind, Via
from core.money import Money
from core.payments import Payment, Refund, Settlement
from core.period import DateSpan
from core.revenue import RecognitionPart

GATEWAY_CLEARING = "1050"
GATEWAY_BALANCE = "1060"
RECEIVABLES = "1100"
BILLING_CLEARING = "1190"
TAX_PAYABLE = "2200"
DEFERRED_REVENUE = "2400"
PROCESSING_FEES = "6100"

#: The ledger accounts that posting rules name; revenue accounts come from the price book.
CHART: tuple[LedgerAccount, ...] = (
    LedgerAccount(code=GATEWAY_CLEARING, name="Gateway clearing", kind=LedgerAccountKind.ASSET),
    LedgerAccount(code=GATEWAY_BALANCE, name="Gateway balance", kind=LedgerAccountKind.ASSET),
    LedgerAccount(code=RECEIVABLES, name="Accounts receivable", kind=LedgerAccountKind.ASSET),
    LedgerAccount(code=BILLING_CLEARING, name="Billing clearing", kind=LedgerAccountKind.ASSET),
    LedgerAccount(code=TAX_PAYABLE, name="Sales tax payable", kind=LedgerAccountKind.LIABILITY),
    LedgerAccount(code=DEFERRED_REVENUE, name="Deferred revenue", kind=LedgerAccountKind.LIABILITY),
    LedgerAccount(code=PROCESSING_FEES, name="Payment processing fees", kind=LedgerAccountKind.EXPENSE),
)

#: One booking before it has a side: ledger account, amount (positive: debit), memo, source, source id.
Booking = tuple[str, Money, str, str, str]


def _entry(
    ident: str,
    event: str,
    via: Via,
    currency: str,
    posted_on: date,
    account: str | None,
    memo: str,
    lines: Iterable[Booking],
) -> JournalEntry | None:
    """The entry of the bookings that are not zero; None when all are."""
    booked = [line for line in lines if line[1]]
    if not booked:
        return None
    return JournalEntry(
        id=ident,
        event=event,
        via=via,
        currency=currency,
        posted_on=posted_on,
        account_id=account,
        memo=memo,
        lines=tuple(
            JournalLine(
                id=f"{ident}-{position}",
                position=position,
                ledger_account=ledger_account,
                debit=amount if amount.minor > 0 else None,
                credit=-amount if amount.minor < 0 else None,
                memo=text,
                source=source,
                source_id=source_id,
            )
            for position, (ledger_account, amount, text, source, source_id) in enumerate(booked, 1)
        ),
    )


def _present(*entries: JournalEntry | None) -> list[JournalEntry]:
    return [entry for entry in entries if entry is not None]


def invoice_entries(invoice: Invoice) -> list[JournalEntry]:
    """What a final invoice books: the ERP's own receivable, and our journal out of billing clearing."""
    whole: Booking = (RECEIVABLES, invoice.total, f"Invoice {invoice.id}", "invoice", invoice.id)
    document: list[Booking] = [whole]
    journal: list[Booking] = [(BILLING_CLEARING, invoice.total, f"Invoice {invoice.id}", "invoice", invoice.id)]
    for line in invoice.lines:
        earned = DEFERRED_REVENUE if line.defer else line.revenue_account
        document.append((BILLING_CLEARING, -line.amount, line.description, "invoice_line", line.id))
        journal.append((earned, -line.amount, line.description, "invoice_line", line.id))
    document.append((BILLING_CLEARING, -invoice.tax, "Tax", "tax_document", invoice.id))
    journal.append((TAX_PAYABLE, -invoice.tax, "Tax", "tax_document", invoice.id))
    common = (invoice.currency, invoice.invoice_date, invoice.account_id, f"Invoice {invoice.id}")
    return _present(
        _entry(f"DOC-{invoice.id}", "invoice", Via.DOCUMENT, *common, document),
        _entry(f"JE-{invoice.id}", "invoice", Via.JOURNAL, *common, journal),
    )


def credit_entries(note: CreditNote) -> list[JournalEntry]:
    """What a credit note books: the sides of its invoice turned round; what was not yet earned leaves the deferred."""
    memo = f"Credit note {note.id}"
    document: list[Booking] = [(RECEIVABLES, -note.total, memo, "credit_note", note.id)]
    journal: list[Booking] = [(BILLING_CLEARING, -note.total, memo, "credit_note", note.id)]
    for line in note.lines:
        document.append((BILLING_CLEARING, line.amount, line.description, "credit_note_line", line.id))
        journal.append((DEFERRED_REVENUE, line.deferred, line.description, "credit_note_line", line.id))
        earned = line.amount - line.deferred
        journal.append((line.revenue_account, earned, line.description, "credit_note_line", line.id))
    document.append((BILLING_CLEARING, note.tax, "Tax", "credit_note", note.id))
    journal.append((TAX_PAYABLE, note.tax, "Tax", "credit_note", note.id))
    common = (note.currency, note.credit_date, note.account_id, memo)
    return _present(
        _entry(f"DOC-{note.id}", "credit note", Via.DOCUMENT, *common, document),
        _entry(f"JE-{note.id}", "credit note", Via.JOURNAL, *common, journal),
    )


def refund_entries(refund: Refund, account_id: str, posted_on: date) -> list[JournalEntry]:
    """What giving money back books; the gateway's settlement then empties gateway clearing."""
    memo = f"Refund of {refund.payment_id}"
    lines: list[Booking] = [
        (RECEIVABLES, refund.amount, memo, "refund", refund.id),
        (GATEWAY_CLEARING, -refund.amount, memo, "refund", refund.id),
    ]
    common = (refund.currency, posted_on, account_id, memo)
    return _present(_entry(f"JE-{refund.id}", "refund", Via.JOURNAL, *common, lines))


def payment_entries(payment: Payment, posted_on: date) -> list[JournalEntry]:
    """What a succeeded payment books in the ERP's receivables."""
    memo = f"Payment of {payment.invoice_id}"
    lines: list[Booking] = [
        (GATEWAY_CLEARING, payment.amount, memo, "payment", payment.id),
        (RECEIVABLES, -payment.amount, memo, "payment", payment.id),
    ]
    common = (payment.currency, posted_on, payment.account_id, memo)
    return _present(_entry(f"DOC-{payment.id}", "payment", Via.DOCUMENT, *common, lines))


def settlement_entries(settlement: Settlement, account_id: str, posted_on: date) -> list[JournalEntry]:
    """What the gateway booked to our balance: net and fee out of gateway clearing."""
    memo = f"Settlement of {settlement.payment_id}"
    lines: list[Booking] = [
        (GATEWAY_BALANCE, settlement.net, memo, "settlement", settlement.id),
        (PROCESSING_FEES, settlement.fee, memo, "settlement", settlement.id),
        (GATEWAY_CLEARING, -settlement.gross, memo, "settlement", settlement.id),
    ]
    common = (settlement.currency, posted_on, account_id, memo)
    return _present(_entry(f"JE-{settlement.id}", "settlement", Via.JOURNAL, *common, lines))


def recognition_id(month: str, account_id: str, number: int = 1) -> str:
    """The key of an account's n-th recognition journal of a month."""
    return f"JE-REV-{month}-{account_id}" + (f"-{number}" if number > 1 else "")


def recognition_entries(
    month: str, account_id: str, parts: Sequence[RecognitionPart], number: int = 1
) -> list[JournalEntry]:
    """What an account's deferred lines earn in a month, booked on its last day."""
    lines: list[Booking] = []
    for part in parts:
        lines.append((DEFERRED_REVENUE, part.amount, f"Earned in {month}", "recognition", part.id))
        lines.append((part.revenue_account, -part.amount, f"Earned in {month}", "recognition", part.id))
    common = (parts[0].currency, DateSpan.month(month).last_day, account_id, f"Revenue earned in {month}")
    return _present(_entry(recognition_id(month, account_id, number), "recognition", Via.JOURNAL, *common, lines))
