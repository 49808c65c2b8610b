"""Months: whether one takes journals, what was booked in it line by line, and what it leaves to be billed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, func, select, update

from core.close import first_of_next
from core.invoicing import InvoiceStatus
from core.store import rows
from core.store.border import table_of

LOCK, DRAFT, ENTRY, LINE, RATED, INVOICE, BILLED = map(
    table_of,
    (
        rows.PeriodLockRow,
        rows.JournalDraftRow,
        rows.JournalEntryRow,
        rows.JournalLineRow,
        rows.RatedLineRow,
        rows.InvoiceRow,
        rows.InvoiceLineRow,
    ),
)


@dataclass(frozen=True, slots=True)
class BookedLine:
    """One line of the ledger as it is stored, with what its entry says; minor units."""

    entry_id: str
    event: str
    posted_on: date
    account_id: str | None
    currency: str
    ledger_account: str
    detail: str
    debit_minor: int | None
    credit_minor: int | None
    memo: str
    source: str
    source_id: str


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

    def drop_drafts(self, close_id: str) -> None:
        """Forgets the journals of a close that were not booked."""
        self._connection.execute(delete(DRAFT).where(DRAFT.c.close_id == close_id, DRAFT.c.booked.is_(False)))

    def keep_drafts(self, close_id: str) -> None:
        """Says that the waiting journals of a close were booked."""
        waiting = DRAFT.c.close_id == close_id, DRAFT.c.booked.is_(False)
        self._connection.execute(update(DRAFT).where(*waiting).values(booked=True))

    def journals_of(self, close_id: str) -> list[str]:
        """Ids of the journals by which the general ledger knows what a close has booked."""
        carrier = func.coalesce(ENTRY.c.gl_journal, ENTRY.c.id)
        query = select(carrier).distinct().join(DRAFT, DRAFT.c.id == ENTRY.c.id).where(DRAFT.c.close_id == close_id)
        return sorted(self._connection.execute(query).scalars())

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
        for row in self._connection.execute(query):
            yield BookedLine(*tuple(row))

    def sources_of(self, event: str, entity: str, start: date, end: date) -> set[str]:
        """Ids of the sources that an event booked."""
        query = (
            select(LINE.c.source_id)
            .join(ENTRY, ENTRY.c.id == LINE.c.parent_id)
            .where(ENTRY.c.event == event, _posted(entity, start, end))
        )
        return set(self._connection.execute(query).scalars())

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
        )
        found = [
            OpenSource(account, currency, source, source_id, int(minor))
            for account, currency, source, source_id, minor in self._connection.execute(query)
            if minor
        ]
        return sorted(found, key=lambda one: (one.account_id, one.source, one.source_id))

    def unbilled(self, period: str, end: date) -> list[str]:
        """Ids of the lines that were rated up to and with a month and stand on no final invoice of before ``end``."""
        billed = exists().where(
            BILLED.c.rated_line_id == RATED.c.id,
            BILLED.c.parent_id == INVOICE.c.id,
            INVOICE.c.status == InvoiceStatus.FINAL.value,
            INVOICE.c.invoice_date < end,
        )
        query = select(RATED.c.id).where(RATED.c.billing_period <= period, RATED.c.amount_minor != 0, ~billed)
        return sorted(self._connection.execute(query).scalars())


def _posted(entity: str, start: date, end: date) -> ColumnElement[bool]:
    return and_(ENTRY.c.entity == entity, ENTRY.c.posted_on >= start, ENTRY.c.posted_on < end)
