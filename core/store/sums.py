"""Sums over the stored money, computed by the database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy import JSON, Connection, Table, case, func, select, type_coerce, union_all
from sqlalchemy import cast as cast_to

from core.money import Money
from core.rating import PricedUsage
from core.rational import Fraction
from core.store import rows
from core.store.codec import chunks
from core.subledgers import Booked


def _table(row: Any) -> Table:
    return cast(Table, row.__table__)


ENTRY, LINE, PAYMENT, RECOGNITION = map(
    _table, (rows.JournalEntryRow, rows.JournalLineRow, rows.PaymentRow, rows.RecognitionRow)
)
CREDIT, APPLICATION, REFUND, DISPUTE = map(
    _table, (rows.CreditNoteRow, rows.CreditApplicationRow, rows.RefundRow, rows.DisputeRow)
)
CREDIT_MOVEMENT = _table(rows.CreditMovementRow)
CHARGEBACK, WRITE_OFF = _table(rows.ChargebackRow), _table(rows.WriteOffRow)
CASH = _table(rows.ApplicationRow)
#: What an application does to what is left of its receipt.
_USED = case((CASH.c.use == "reversed", CASH.c.amount_minor), else_=-CASH.c.amount_minor)
RATED = _table(rows.RatedLineRow)
MOVEMENT = _table(rows.ContractMovementRow)
BALANCE = _table(rows.LedgerBalanceRow)

_BOOKED = select(LINE.c.source_id).where(LINE.c.source == "recognition")
_MOVED = select(LINE.c.source_id).where(LINE.c.source == "contract_movement")


def _booked(row: Any) -> Booked:
    entity, month, account, currency, event, detail, debit, credit, own_debit, own_credit = row
    amounts = Money(int(debit), currency), Money(int(credit), currency)
    return Booked(entity, month, account, event, detail, *amounts, int(own_debit), int(own_credit))


class Sums:
    """Totals by key; every answer is exact, in minor units of one currency per key."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def ledger_balances(self, first: str = "", last: str = "9999-12") -> dict[tuple[str, str], Money]:
        """(ledger account, currency) to debit minus credit of what was posted in these months, both inclusive."""
        debit, credit = func.sum(BALANCE.c.debit_minor), func.sum(BALANCE.c.credit_minor)
        query = (
            select(BALANCE.c.ledger_account, BALANCE.c.currency, debit, credit)
            .where(BALANCE.c.month >= first, BALANCE.c.month <= last)
            .group_by(BALANCE.c.ledger_account, BALANCE.c.currency)
        )
        return {
            (account, currency): Money(int(debits) - int(credits), currency)
            for account, currency, debits, credits in self._connection.execute(query)
        }

    def booked(self, entity: str | None = None, through: str | None = None) -> list[Booked]:
        """What was booked, as the database keeps it, in a fixed order. ``entity``: of one alone; ``through``: up to and
        with a month."""
        query = select(BALANCE)
        if entity is not None:
            query = query.where(BALANCE.c.entity == entity)
        if through is not None:
            query = query.where(BALANCE.c.month <= through)
        return sorted(
            (_booked(row) for row in self._connection.execute(query)),
            key=lambda one: (one.entity, one.month, one.ledger_account, one.net.currency, one.event, one.detail),
        )

    def booked_by_entry(self) -> list[Booked]:
        """The same as ``booked``, summed anew from every line."""
        month = (
            func.to_char(ENTRY.c.posted_on, "YYYY-MM")
            if self._connection.dialect.name == "postgresql"
            else func.substr(ENTRY.c.posted_on, 1, 7)
        )
        keys = ENTRY.c.entity, month, LINE.c.ledger_account, ENTRY.c.currency, ENTRY.c.event, LINE.c.detail
        amounts = []
        for column in (LINE.c.debit_minor, LINE.c.credit_minor):
            amounts.append(func.coalesce(func.sum(column), 0))
        for column in (LINE.c.debit_minor, LINE.c.credit_minor):
            own = case((column.is_(None), 0), else_=func.coalesce(LINE.c.functional_minor, column))
            amounts.append(func.coalesce(func.sum(own), 0))
        query = select(*keys, *amounts).join(ENTRY, ENTRY.c.id == LINE.c.parent_id).group_by(*keys)
        return sorted(
            (_booked(row) for row in self._connection.execute(query)),
            key=lambda one: (one.entity, one.month, one.ledger_account, one.net.currency, one.event, one.detail),
        )

    def entity_of(self, account_id: str) -> str | None:
        """The legal entity in whose books something of a customer stands, or None."""
        query = select(ENTRY.c.entity).where(ENTRY.c.account_id == account_id).limit(1)
        return cast("str | None", self._connection.execute(query).scalar())

    def paid(self, invoice_ids: list[str]) -> dict[str, Money]:
        """Invoice id to the sum of its succeeded payments, less what is owed again of them since a customer's bank took
        it back, and of what money at the bank pays of it; invoices without any are absent."""
        paid = [
            select(PAYMENT.c.invoice_id, PAYMENT.c.currency, PAYMENT.c.amount_minor).where(
                PAYMENT.c.status == "succeeded"
            ),
            select(CASH.c.invoice_id, CASH.c.currency, _USED * -1).where(CASH.c.invoice_id.is_not(None)),
            select(CHARGEBACK.c.invoice_id, CHARGEBACK.c.currency, CHARGEBACK.c.reopened_minor * -1).where(
                CHARGEBACK.c.reopened_minor != 0
            ),
        ]
        both = union_all(*paid).subquery("paid")
        query = select(both.c.invoice_id, both.c.currency, func.sum(both.c.amount_minor)).group_by(
            both.c.invoice_id, both.c.currency
        )
        return {
            invoice: Money(int(minor), currency)
            for part in chunks(invoice_ids)
            for invoice, currency, minor in self._connection.execute(query.where(both.c.invoice_id.in_(part)))
        }

    def credited(self, invoice_ids: list[str]) -> dict[str, Money]:
        """Invoice id to what credit notes were applied to it; invoices without any are absent."""
        query = (
            select(APPLICATION.c.invoice_id, CREDIT.c.currency, func.sum(APPLICATION.c.amount_minor))
            .join(CREDIT, CREDIT.c.id == APPLICATION.c.parent_id)
            .group_by(APPLICATION.c.invoice_id, CREDIT.c.currency)
        )
        return {
            invoice: Money(int(minor), currency)
            for part in chunks(invoice_ids)
            for invoice, currency, minor in self._connection.execute(query.where(APPLICATION.c.invoice_id.in_(part)))
        }

    def prepaid(self, invoice_ids: list[str]) -> dict[str, Money]:
        """Invoice id to what prepaid credit paid of it; invoices without any are absent."""
        query = (
            select(CREDIT_MOVEMENT.c.document_id, CREDIT_MOVEMENT.c.currency, func.sum(CREDIT_MOVEMENT.c.amount_minor))
            .where(CREDIT_MOVEMENT.c.kind == "drawn", CREDIT_MOVEMENT.c.line_id.is_(None))
            .group_by(CREDIT_MOVEMENT.c.document_id, CREDIT_MOVEMENT.c.currency)
        )
        return {
            invoice: Money(int(minor), currency)
            for part in chunks(invoice_ids)
            for invoice, currency, minor in self._connection.execute(
                query.where(CREDIT_MOVEMENT.c.document_id.in_(part))
            )
        }

    def written_off(self, invoice_ids: list[str]) -> dict[str, Money]:
        """Invoice id to what of it was given up; invoices of which nothing was are absent."""
        query = (
            select(WRITE_OFF.c.invoice_id, WRITE_OFF.c.currency, func.sum(WRITE_OFF.c.amount_minor))
            .where(WRITE_OFF.c.state == "booked")
            .group_by(WRITE_OFF.c.invoice_id, WRITE_OFF.c.currency)
        )
        return {
            invoice: Money(int(minor), currency)
            for part in chunks(invoice_ids)
            for invoice, currency, minor in self._connection.execute(query.where(WRITE_OFF.c.invoice_id.in_(part)))
        }

    def held(self, invoice_ids: list[str]) -> dict[str, Money]:
        """Invoice id to what of it no card is charged for: what open disputes hold, what a customer's bank took back,
        and what is proposed to be given up; invoices without any are absent."""
        holds = [
            select(DISPUTE.c.invoice_id, DISPUTE.c.currency, DISPUTE.c.amount_minor).where(
                DISPUTE.c.closed_on.is_(None)
            ),
            select(CHARGEBACK.c.invoice_id, CHARGEBACK.c.currency, CHARGEBACK.c.reopened_minor).where(
                CHARGEBACK.c.reopened_minor != 0
            ),
            select(WRITE_OFF.c.invoice_id, WRITE_OFF.c.currency, WRITE_OFF.c.amount_minor).where(
                WRITE_OFF.c.state == "proposed"
            ),
        ]
        all_ = union_all(*holds).subquery("holds")
        query = select(all_.c.invoice_id, all_.c.currency, func.sum(all_.c.amount_minor)).group_by(
            all_.c.invoice_id, all_.c.currency
        )
        return {
            invoice: Money(int(minor), currency)
            for part in chunks(invoice_ids)
            for invoice, currency, minor in self._connection.execute(query.where(all_.c.invoice_id.in_(part)))
        }

    def refunded(self, payment_ids: list[str]) -> dict[str, Money]:
        """Payment id to what was given back of it; payments without a refund are absent."""
        query = select(REFUND.c.payment_id, REFUND.c.currency, func.sum(REFUND.c.amount_minor)).group_by(
            REFUND.c.payment_id, REFUND.c.currency
        )
        return {
            payment: Money(int(minor), currency)
            for part in chunks(payment_ids)
            for payment, currency, minor in self._connection.execute(query.where(REFUND.c.payment_id.in_(part)))
        }

    def rated_months(self) -> dict[str, dict[str, datetime]]:
        """By account and billing month, what was known when it was rated; months whose lines do not tell are absent."""
        query = (
            select(RATED.c.account_id, RATED.c.billing_period, func.max(RATED.c.known_at))
            .where(RATED.c.known_at.is_not(None))
            .group_by(RATED.c.account_id, RATED.c.billing_period)
        )
        found: dict[str, dict[str, datetime]] = {}
        for account, month, known_at in self._connection.execute(query):
            found.setdefault(account, {})[month] = known_at
        return found

    def priced_usage(self, billing_period: str) -> list[PricedUsage]:
        """What the lines rated for a month say of the usage that they price, ordered by the line; of a derivation
        nothing else is loaded."""
        # SQLite reads JSON from text as it is.
        on_postgresql = self._connection.dialect.name == "postgresql"
        said: Any = (cast_to if on_postgresql else type_coerce)(RATED.c.derivation, JSON)
        query = select(
            func.coalesce(said["billed", "line_id"].as_string(), RATED.c.id),
            RATED.c.account_id,
            RATED.c.charge_code,
            said["book_version"].as_string(),
            RATED.c.corrects,
            said["measured"].as_string(),
            said["events"].as_integer(),
            said["billed", "withdrawn"].as_boolean(),
        ).where(RATED.c.billing_period == billing_period)
        found = [
            PricedUsage(ident, account, charge, version, corrects, Fraction(0 if gone else used), 0 if gone else events)
            for ident, account, charge, version, corrects, used, events, gone in self._connection.execute(query)
        ]
        return sorted(found, key=lambda one: one.line_id)

    def unbooked(self) -> dict[str, Money]:
        """Currency to what recognition schedules are to earn and no journal has booked yet."""
        query = (
            select(RECOGNITION.c.currency, func.sum(RECOGNITION.c.amount_minor))
            .where(RECOGNITION.c.id.not_in(_BOOKED))
            .group_by(RECOGNITION.c.currency)
        )
        return {currency: Money(int(minor), currency) for currency, minor in self._connection.execute(query)}

    def booked_parts(self, of: Sequence[str] | None = None) -> set[str]:
        """Ids of the recognition parts that a journal has booked. ``of``: among these alone."""
        if of is None:
            return set(self._connection.execute(_BOOKED).scalars())
        queries = (_BOOKED.where(LINE.c.source_id.in_(part)) for part in chunks(of))
        return {ident for query in queries for ident in self._connection.execute(query).scalars()}

    def booked_movements(self) -> set[str]:
        """Ids of the contract movements that a journal has booked."""
        return set(self._connection.execute(_MOVED).scalars())

    def contract_balances(self) -> dict[str, Money]:
        """Currency to what all booked contract movements left allocated above what was billed."""
        query = (
            select(MOVEMENT.c.currency, func.sum(MOVEMENT.c.allocated_minor - MOVEMENT.c.billed_minor))
            .where(MOVEMENT.c.id.in_(_MOVED))
            .group_by(MOVEMENT.c.currency)
        )
        return {currency: Money(int(minor), currency) for currency, minor in self._connection.execute(query)}

    def earned_in(self) -> dict[str, str]:
        """Recognition part or contract movement to the month whose books it stands in; what is not booked is absent."""
        query = (
            select(LINE.c.source_id, ENTRY.c.posted_on)
            .join(ENTRY, ENTRY.c.id == LINE.c.parent_id)
            .where(LINE.c.source.in_(("recognition", "contract_movement")))
        )
        return {ident: f"{posted_on:%Y-%m}" for ident, posted_on in self._connection.execute(query)}
