"""Months: whether one takes journals, what was booked in it line by line, and what it leaves to be billed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TypeAlias, cast

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, func, or_, select

from core.close import Close, JournalDraft, first_of_next
from core.invoicing import InvoiceStatus
from core.money import Money
from core.payments import PaymentStatus
from core.period import DateSpan, start_of_day
from core.revenue import RecognitionPart
from core.store import rows
from core.store.border import table_of

LOCK, DRAFT, ENTRY, LINE, RATED, INVOICE, BILLED, PART, PAYMENT, SETTLEMENT = map(
    table_of,
    (
        rows.PeriodLockRow,
        rows.JournalDraftRow,
        rows.JournalEntryRow,
        rows.JournalLineRow,
        rows.RatedLineRow,
        rows.InvoiceRow,
        rows.InvoiceLineRow,
        rows.RecognitionRow,
        rows.PaymentRow,
        rows.SettlementRow,
    ),
)


#: One line of the ledger as it is stored, with what its entry says: entry, event, posted on, customer, currency, ledger
#: account, detail, debit and credit in minor units, memo, source and its id.
BookedLine: TypeAlias = tuple[str, str, date, str | None, str, str, str, int | None, int | None, str, str, str]


@dataclass(frozen=True, slots=True)
class OpenSource:
    """What one document moved on a customer's balance; minor units, debits less credits."""

    account_id: str
    currency: str
    source: str
    source_id: str
    net: int


class Periods:
    """Which months of an entity are locked, and what was booked in one; ``end`` of days is exclusive."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def locked(self, entity: str) -> set[str]:
        """The months (``"2026-10"``) that take no journal."""
        query = select(LOCK.c.month).where(LOCK.c.entity == entity, LOCK.c.reopened_at.is_(None))
        return set(self._connection.execute(query).scalars())

    def open_day(self, entity: str, day: date) -> date:
        """The day on which something of ``day`` is posted: itself, or the first day of the next month that is open."""
        locked = self.locked(entity)
        while f"{day:%Y-%m}" in locked:
            day = first_of_next(day)
        return day

    def drop_drafts(self, close: Close) -> None:
        """Forgets the journals of a close that wait to be approved."""
        self._connection.execute(delete(DRAFT).where(DRAFT.c.close_id == close.id, DRAFT.c.round >= close.round))

    def drafts(self, close_id: str, since: int = 0) -> Iterator[JournalDraft]:
        """The journals of a close from a round on, round by round in the order of their ids; never all in memory."""
        query = select(DRAFT.c.id, DRAFT.c.round, DRAFT.c.text)
        query = query.where(DRAFT.c.close_id == close_id, DRAFT.c.round >= since)
        query = query.order_by(DRAFT.c.round, DRAFT.c.id).execution_options(yield_per=50)
        for ident, number, words in self._connection.execute(query):
            yield JournalDraft(id=ident, close_id=close_id, round=number, text=words)

    def journals_of(self, close_id: str) -> list[str]:
        """Ids of the journals by which the general ledger knows what a close has booked."""
        carrier = func.coalesce(ENTRY.c.gl_journal, ENTRY.c.id)
        query = select(carrier).distinct().join(DRAFT, DRAFT.c.id == ENTRY.c.id).where(DRAFT.c.close_id == close_id)
        return sorted(self._connection.execute(query).scalars())

    def unearned(self, period: str) -> Iterator[RecognitionPart]:
        """Parts of recognition schedules up to and with a month that no journal has booked, by month and customer, in
        the order of their ids; never all in memory."""
        booked = exists().where(LINE.c.source_id == PART.c.id, LINE.c.source == "recognition")
        query = (
            select(
                PART.c.id,
                PART.c.invoice_line_id,
                PART.c.month,
                PART.c.currency,
                PART.c.amount_minor,
                PART.c.revenue_account,
                PART.c.account_id,
            )
            .where(PART.c.month <= period, ~booked)
            .order_by(PART.c.month, PART.c.account_id, PART.c.id)
            .execution_options(yield_per=1000)
        )
        for ident, line_id, month, currency, minor, revenue, account_id in self._connection.execute(query):
            yield RecognitionPart(
                id=ident, invoice_line_id=line_id, month=month, currency=currency, amount=Money(minor, currency),
                revenue_account=revenue, account_id=account_id,
            )  # fmt: skip

    def lines(self, entity: str, start: date, end: date) -> Iterator[BookedLine]:
        """Every line that was posted, entry by entry in the order of their ids; never all in memory."""
        query = (
            select(
                ENTRY.c.id,
                ENTRY.c.event,
                ENTRY.c.posted_on,
                ENTRY.c.account_id,
                ENTRY.c.currency,
                LINE.c.ledger_account,
                LINE.c.detail,
                LINE.c.debit_minor,
                LINE.c.credit_minor,
                LINE.c.memo,
                LINE.c.source,
                LINE.c.source_id,
            )
            .join(LINE, LINE.c.parent_id == ENTRY.c.id)
            .where(_posted(entity, start, end))
            .order_by(ENTRY.c.id, LINE.c.sequence)
            .execution_options(yield_per=5000)
        )
        yield from cast("Iterator[BookedLine]", self._connection.execute(query))

    def numbers_of(self, entry_ids: Sequence[str]) -> set[str]:
        """Those of these ids, of entries or of journals that carry some in the general ledger, that are taken."""
        taken = set(self._connection.execute(select(ENTRY.c.id).where(ENTRY.c.id.in_(entry_ids))).scalars())
        carried = select(ENTRY.c.gl_journal).where(ENTRY.c.gl_journal.in_(entry_ids)).distinct()
        return taken | {str(one) for one in self._connection.execute(carried).scalars()}

    def open_sources(self, entity: str, ledger_accounts: Sequence[str], end: date) -> list[OpenSource]:
        """What each document moved on ledger accounts before a day, per customer; those that cancel out are absent."""
        debits, credits = (func.coalesce(func.sum(column), 0) for column in (LINE.c.debit_minor, LINE.c.credit_minor))
        columns = (func.coalesce(ENTRY.c.account_id, ""), ENTRY.c.currency, LINE.c.source, LINE.c.source_id)
        query = (
            select(*columns, debits - credits)
            .join(LINE, LINE.c.parent_id == ENTRY.c.id)
            .where(LINE.c.ledger_account.in_(ledger_accounts), ENTRY.c.entity == entity, ENTRY.c.posted_on < end)
            .group_by(*columns)
            .having(debits != credits)
        )
        found = [
            OpenSource(account, currency, source, source_id, int(minor))
            for account, currency, source, source_id, minor in self._connection.execute(query)
        ]
        return sorted(found, key=lambda one: (one.account_id, one.source, one.source_id))

    def rated_accounts(self, period: str) -> set[str]:
        """The customers of whom something was rated for a month."""
        return set(
            self._connection.execute(
                select(RATED.c.account_id).where(RATED.c.billing_period == period).distinct()
            ).scalars()
        )

    def invoices_of(self, span: DateSpan) -> list[str]:
        """Ids of the invoices that are dated in a month, or bill it; of every state."""
        dated = and_(INVOICE.c.invoice_date >= span.start, INVOICE.c.invoice_date < span.end)
        bills = and_(INVOICE.c.billing_period_start == span.start, INVOICE.c.billing_period_end == span.end)
        return sorted(self._connection.execute(select(INVOICE.c.id).where(or_(dated, bills))).scalars())

    def unsettled(self, span: DateSpan, zone: str) -> list[str]:
        """Ids of the payments that are booked in a month and that no settlement is of; those whose day was not kept
        count where they came in, by the days of a time zone."""
        settled = exists().where(SETTLEMENT.c.payment_id == PAYMENT.c.id)
        booked, came = PAYMENT.c.booked_on, PAYMENT.c.received_at
        start, end = (start_of_day(day, zone) for day in (span.start, span.end))
        query = select(PAYMENT.c.id).where(
            PAYMENT.c.status == PaymentStatus.SUCCEEDED.value,
            or_(and_(booked >= span.start, booked < span.end), and_(booked.is_(None), came >= start, came < end)),
            ~settled,
        )
        return sorted(self._connection.execute(query).scalars())

    def due_dates(self) -> dict[str, date]:
        """When each final invoice is due, by its id."""
        query = select(INVOICE.c.id, INVOICE.c.due_date).where(INVOICE.c.status == InvoiceStatus.FINAL.value)
        return {row.id: row.due_date for row in self._connection.execute(query)}

    def paid_invoices(self) -> dict[str, str]:
        """Which invoice a payment pays, by the id of the payment."""
        query = select(PAYMENT.c.id, PAYMENT.c.invoice_id)
        return {row.id: row.invoice_id for row in self._connection.execute(query)}

    def unbilled(self, period: str, end: date, event: str) -> Iterator[tuple[str, str]]:
        """Customer and id of the lines that were rated up to and with a month, stand on no final invoice of before
        ``end``, and were not booked in the month as ``event``; by customer."""
        billed = exists().where(
            BILLED.c.rated_line_id == RATED.c.id,
            BILLED.c.parent_id == INVOICE.c.id,
            INVOICE.c.status == InvoiceStatus.FINAL.value,
            INVOICE.c.invoice_date < end,
        )
        start = DateSpan.month(period).start
        booked = exists().where(
            LINE.c.source_id == RATED.c.id,
            LINE.c.parent_id == ENTRY.c.id,
            ENTRY.c.event == event,
            ENTRY.c.posted_on >= start,
            ENTRY.c.posted_on < end,
        )
        query = (
            select(RATED.c.account_id, RATED.c.id)
            .where(RATED.c.billing_period <= period, RATED.c.amount_minor != 0, ~billed, ~booked)
            .order_by(RATED.c.account_id, RATED.c.id)
            .execution_options(yield_per=1000)
        )
        for row in self._connection.execute(query):
            yield row.account_id, row.id


def _posted(entity: str, start: date, end: date) -> ColumnElement[bool]:
    return and_(ENTRY.c.entity == entity, ENTRY.c.posted_on >= start, ENTRY.c.posted_on < end)
