"""Contracts in the books: what the ledger holds of each, and when what is billed ahead is earned."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from sqlalchemy import Connection, and_, case, func, or_, select

from core.money import Money
from core.period import DateSpan
from core.revenue_reports import NONE, Earning, Moved
from core.store import rows
from core.store.border import table_of
from core.store.codec import chunks

ENTRY, LINE, PART, MOVEMENT, INVOICE, BILLED, CREDITED, CHARGE = map(
    table_of,
    (
        rows.JournalEntryRow,
        rows.JournalLineRow,
        rows.RecognitionRow,
        rows.ContractMovementRow,
        rows.InvoiceRow,
        rows.InvoiceLineRow,
        rows.CreditNoteLineRow,
        rows.SubscriptionChargeRow,
    ),
)


class Contracts:
    """What the ledger and the schedules say of contracts; ``end`` of days is exclusive."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def moved(self, entity: str, accounts: Sequence[str], start: date, end: date) -> list[Moved]:
        """What was booked on ledger accounts before a day, by contract, event and whether it was before ``start``."""
        credit = and_(LINE.c.source == "credit_note_line", CREDITED.c.id == LINE.c.source_id)
        earned = and_(LINE.c.source == "recognition", PART.c.id == LINE.c.source_id)
        moved = and_(LINE.c.source == "contract_movement", MOVEMENT.c.id == LINE.c.source_id)
        line = func.coalesce(
            PART.c.invoice_line_id,
            CREDITED.c.invoice_line_id,
            case((LINE.c.source == "invoice_line", LINE.c.source_id)),
        )
        charge = func.coalesce(
            BILLED.c.subscription_charge_id, case((LINE.c.source == "subscription_charge", LINE.c.source_id))
        )
        contract = func.coalesce(MOVEMENT.c.contract_id, CHARGE.c.parent_id, NONE)
        before = case((ENTRY.c.posted_on < start, 1), else_=0)
        debits, credits = (func.coalesce(func.sum(column), 0) for column in (LINE.c.debit_minor, LINE.c.credit_minor))
        keys = LINE.c.ledger_account, contract, ENTRY.c.event, before, ENTRY.c.currency
        query = (
            select(*keys, debits - credits)
            .join(ENTRY, ENTRY.c.id == LINE.c.parent_id)
            .outerjoin(PART, earned)
            .outerjoin(CREDITED, credit)
            .outerjoin(MOVEMENT, moved)
            .outerjoin(BILLED, BILLED.c.id == line)
            .outerjoin(CHARGE, CHARGE.c.id == charge)
            .where(LINE.c.ledger_account.in_(accounts), ENTRY.c.entity == entity, ENTRY.c.posted_on < end)
            .group_by(*keys)
        )
        return [
            Moved(account, of, event, bool(earlier), Money(int(minor), currency))
            for account, of, event, earlier, currency, minor in self._connection.execute(query)
        ]

    def of_sources(self, source: str, ids: Sequence[str]) -> dict[str, str]:
        """The contracts of what journal lines name as their source; those without one are absent."""
        query: Any = {
            "contract_movement": select(MOVEMENT.c.id, MOVEMENT.c.contract_id),
            "subscription_charge": select(CHARGE.c.id, CHARGE.c.parent_id),
            "recognition": select(PART.c.id, CHARGE.c.parent_id)
            .join(BILLED, BILLED.c.id == PART.c.invoice_line_id)
            .join(CHARGE, CHARGE.c.id == BILLED.c.subscription_charge_id),
        }.get(source)
        if query is None:
            return {}
        key = query.selected_columns[0]
        return {ident: of for part in chunks(ids) for ident, of in self._connection.execute(query.where(key.in_(part)))}

    def accrued(self, event: str, entity: str, month: DateSpan) -> set[str]:
        """Ids of the sources that an event booked of a month, in it or late."""
        in_it = and_(ENTRY.c.posted_on >= month.start, ENTRY.c.posted_on < month.end)
        query = (
            select(LINE.c.source_id)
            .join(ENTRY, ENTRY.c.id == LINE.c.parent_id)
            .where(ENTRY.c.event == event, ENTRY.c.entity == entity)
            .where(or_(and_(in_it, ENTRY.c.origin.is_(None)), ENTRY.c.origin == f"{month.start:%Y-%m}"))
        )
        return set(self._connection.execute(query).scalars())

    def waterfall(self, entity: str, deferred: Sequence[str], end: date) -> list[Earning]:
        """What final invoices of before a day billed ahead, by the months of billing and of earning.

        It is earned in the month that books it, or that its schedule says where none does yet. ``deferred``: the ledger
        accounts that hold what is billed ahead.
        """
        customers = select(ENTRY.c.account_id).where(ENTRY.c.entity == entity).distinct()
        booked = and_(
            LINE.c.source == "recognition", LINE.c.source_id == PART.c.id, LINE.c.ledger_account.in_(deferred)
        )
        keys = (
            self._month(INVOICE.c.invoice_date),
            func.coalesce(self._month(ENTRY.c.posted_on), PART.c.month),
            PART.c.currency,
        )
        query = (
            select(*keys, func.sum(PART.c.amount_minor))
            .join(BILLED, BILLED.c.id == PART.c.invoice_line_id)
            .join(INVOICE, INVOICE.c.id == BILLED.c.parent_id)
            .outerjoin(LINE, booked)
            .outerjoin(ENTRY, ENTRY.c.id == LINE.c.parent_id)
            .where(INVOICE.c.invoice_date < end, PART.c.account_id.in_(customers))
            .group_by(*keys)
        )
        found = [
            Earning(billed_in, earned_in, Money(int(minor), currency))
            for billed_in, earned_in, currency, minor in self._connection.execute(query)
            if minor
        ]
        return sorted(found, key=lambda one: (one.amount.currency, one.billed_in, one.earned_in))

    def _month(self, day: Any) -> Any:
        if self._connection.dialect.name == "postgresql":
            return func.to_char(day, "YYYY-MM")
        return func.substr(day, 1, 7)
