"""Sums over the stored money, computed by the database."""

from __future__ import annotations

from datetime import date
from typing import Any, cast

from sqlalchemy import Connection, Table, func, select

from core.money import Money
from core.store import rows
from core.store.codec import chunks


def _table(row: Any) -> Table:
    return cast(Table, row.__table__)


ENTRY, LINE, INVOICE, PAYMENT, RECOGNITION = map(
    _table, (rows.JournalEntryRow, rows.JournalLineRow, rows.InvoiceRow, rows.PaymentRow, rows.RecognitionRow)
)


class Sums:
    """Totals by key; every answer is exact, in minor units of one currency per key."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def ledger_balances(self, start: date, end: date) -> dict[tuple[str, str], Money]:
        """(ledger account, currency) to debit minus credit of entries posted from ``start`` to before ``end``."""
        debit, credit = func.coalesce(func.sum(LINE.c.debit_minor), 0), func.coalesce(func.sum(LINE.c.credit_minor), 0)
        query = (
            select(LINE.c.ledger_account, ENTRY.c.currency, debit, credit)
            .join(ENTRY, ENTRY.c.id == LINE.c.parent_id)
            .where(ENTRY.c.posted_on >= start, ENTRY.c.posted_on < end)
            .group_by(LINE.c.ledger_account, ENTRY.c.currency)
        )
        return {
            (account, currency): Money(int(debits) - int(credits), currency)
            for account, currency, debits, credits in self._connection.execute(query)
        }

    def paid(self, invoice_ids: list[str]) -> dict[str, Money]:
        """Invoice id to the sum of its succeeded payments; invoices without one are absent."""
        query = (
            select(PAYMENT.c.invoice_id, PAYMENT.c.currency, func.sum(PAYMENT.c.amount_minor))
            .where(PAYMENT.c.status == "succeeded")
            .group_by(PAYMENT.c.invoice_id, PAYMENT.c.currency)
        )
        return {
            invoice: Money(int(minor), currency)
            for part in chunks(invoice_ids)
            for invoice, currency, minor in self._connection.execute(query.where(PAYMENT.c.invoice_id.in_(part)))
        }

    def deferred_after(self, month: str) -> dict[str, Money]:
        """Currency to what is still to be earned after the end of ``month`` by the recognition schedules."""
        query = (
            select(RECOGNITION.c.currency, func.sum(RECOGNITION.c.amount_minor))
            .where(RECOGNITION.c.month > month)
            .group_by(RECOGNITION.c.currency)
        )
        return {currency: Money(int(minor), currency) for currency, minor in self._connection.execute(query)}
