"""What each business event books: the facts that the posting rules are asked about.

Which accounts a fact moves stands in the posting rules (``posting_rules.yaml``); here stands what there is to book: the
parts of an invoice, a payment, a month earned. The ERP's own modules book receivables: an invoice document debits
receivables against *billing clearing*, a payment document moves receivables to *gateway clearing*. Those entries are
kept here too (``Via.DOCUMENT``), so that our balances are the ERP's. Everything else is pushed (``Via.JOURNAL``);
billing clearing returns to zero per invoice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from core.accounts import Address
from core.entities import LegalEntity
from core.invoicing import CreditNote, CreditNoteLine, Invoice, InvoiceLine
from core.ledger import JournalEntry, Via
from core.payments import Payment, Refund, Settlement
from core.period import DateSpan
from core.posting_rules import Fact, Known, Part, PostingRules
from core.revenue import RecognitionPart


@dataclass(frozen=True, slots=True)
class Books:
    """The rules, and the legal entity in whose books a fact of one of its accounts stands."""

    rules: PostingRules
    entity: LegalEntity

    def book(self, fact: Fact) -> list[JournalEntry]:
        return self.rules.book(fact)


def _sold(line: InvoiceLine | CreditNoteLine) -> Known:
    return {"product": line.product_code, "charge": line.charge_code, **_where(line.service_address)}


def _where(address: Address) -> Known:
    return {"country": address.country, "region": address.region}


def invoice_entries(books: Books, invoice: Invoice) -> list[JournalEntry]:
    """What a final invoice books: the ERP's own receivable, and our journal out of billing clearing."""
    parts = [
        Part(
            "line",
            line.amount,
            line.description,
            "invoice_line",
            line.id,
            {**_sold(line), "deferred": line.defer},
            {"revenue": line.revenue_account},
        )
        for line in invoice.lines
    ]
    parts.append(Part("tax", invoice.tax, "Tax", "tax_document", invoice.id, _where(invoice.billing_address)))
    return books.book(
        Fact(
            "invoice",
            invoice.id,
            books.entity.id,
            invoice.currency,
            invoice.invoice_date,
            invoice.account_id,
            f"Invoice {invoice.id}",
            "invoice",
            invoice.id,
            parts,
        )
    )


def _credited(line: CreditNoteLine) -> Iterator[Part]:
    amounts = {"line": line.amount, "deferred": line.deferred, "earned": line.amount - line.deferred}
    for name, amount in amounts.items():
        about = (line.description, "credit_note_line", line.id)
        yield Part(name, amount, *about, _sold(line), {"revenue": line.revenue_account})


def credit_entries(books: Books, note: CreditNote) -> list[JournalEntry]:
    """What a credit note books: the sides of its invoice turned round; what was not yet earned leaves the deferred."""
    parts = [part for line in note.lines for part in _credited(line)]
    parts.append(Part("tax", note.tax, "Tax", "credit_note", note.id))
    return books.book(
        Fact(
            "credit note",
            note.id,
            books.entity.id,
            note.currency,
            note.credit_date,
            note.account_id,
            f"Credit note {note.id}",
            "credit_note",
            note.id,
            parts,
        )
    )


def _whole(
    books: Books,
    event: str,
    of: Payment | Refund,
    account_id: str,
    posted_on: date,
    memo: str,
    via: Via | None = None,
) -> list[JournalEntry]:
    part = Part("whole", of.amount, memo, event, of.id)
    about = (of.currency, posted_on, account_id, memo, event, of.id)
    return books.book(Fact(event, of.id, books.entity.id, *about, [part], via))


def refund_entries(books: Books, refund: Refund, account_id: str, posted_on: date, via: Via) -> list[JournalEntry]:
    """What giving money back books; the gateway's settlement then empties gateway clearing."""
    return _whole(books, "refund", refund, account_id, posted_on, f"Refund of {refund.payment_id}", via)


def payment_entries(books: Books, payment: Payment, posted_on: date) -> list[JournalEntry]:
    """What a succeeded payment books in the ERP's receivables."""
    return _whole(books, "payment", payment, payment.account_id, posted_on, f"Payment of {payment.invoice_id}")


def settlement_entries(books: Books, settlement: Settlement, account_id: str, posted_on: date) -> list[JournalEntry]:
    """What the gateway booked to our balance: net and fee out of gateway clearing."""
    memo = f"Settlement of {settlement.payment_id}"
    amounts = {"net": settlement.net, "fee": settlement.fee, "gross": settlement.gross}
    parts = [Part(name, amount, memo, "settlement", settlement.id) for name, amount in amounts.items()]
    about = (settlement.currency, posted_on, account_id, memo, "settlement", settlement.id)
    return books.book(Fact("settlement", settlement.id, books.entity.id, *about, parts))


def recognition_id(month: str, account_id: str, number: int = 1) -> str:
    """The key of an account's n-th recognition journal of a month."""
    return f"JE-{_recognition(month, account_id, number)}"


def _recognition(month: str, account_id: str, number: int) -> str:
    return f"REV-{month}-{account_id}" + (f"-{number}" if number > 1 else "")


def recognition_entries(
    books: Books,
    month: str,
    account_id: str,
    earned: Sequence[RecognitionPart],
    number: int = 1,
    lines: Mapping[str, InvoiceLine] | None = None,
) -> list[JournalEntry]:
    """What an account's deferred lines earn in a month, booked on its last day.

    ``lines``: the invoice lines by id, for rules and segments that ask for product and place.
    """
    memo = f"Earned in {month}"
    parts = [
        Part(
            "earned",
            part.amount,
            memo,
            "recognition",
            part.id,
            _sold(lines[part.invoice_line_id]) if lines and part.invoice_line_id in lines else {},
            {"revenue": part.revenue_account},
        )
        for part in earned
    ]
    ident = _recognition(month, account_id, number)
    about = (earned[0].currency, DateSpan.month(month).last_day, account_id, f"Revenue earned in {month}")
    return books.book(Fact("recognition", ident, books.entity.id, *about, "recognition", ident, parts))
