"""Ties as set arithmetic: each side is a query, and the database sums them and names the records that differ.

A side gives ``key``, ``currency``, ``amount`` and ``beside`` in minor units, ``state`` and ``drift``; what a side does
not say is NULL. Nothing is loaded but what differs, so a tie costs little more than the sums of its two sides.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    String,
    Text,
    and_,
    case,
    cast,
    delete,
    exists,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    true,
    union_all,
)

from core.breaks import Side
from core.money import Money
from core.period import DateSpan
from core.store import rows
from core.store.border import table_of
from core.store.codec import chunks

#: The currency of the zero of a customer, who has no amount.
NO_CURRENCY = "USD"

#: One side of a tie.
Query = Select[Any]

ACCOUNT, MOVEMENT = map(table_of, (rows.AccountRow, rows.CreditMovementRow))
ORDER, SUBSCRIPTION, CHARGE = map(table_of, (rows.OrderRow, rows.SubscriptionRow, rows.SubscriptionChargeRow))
ORDER_LINE, BALANCE = map(table_of, (rows.OrderLineRow, rows.LedgerBalanceRow))
INVOICE, LINE, RATED = map(table_of, (rows.InvoiceRow, rows.InvoiceLineRow, rows.RatedLineRow))
NOTE, NOTE_LINE, ADJUSTMENT = map(table_of, (rows.CreditNoteRow, rows.CreditNoteLineRow, rows.AdjustmentRow))
PAYMENT, SETTLEMENT, REFUND = map(table_of, (rows.PaymentRow, rows.SettlementRow, rows.RefundRow))
WRITE_OFF, CASH = map(table_of, (rows.WriteOffRow, rows.ApplicationRow))
BACK, SYNC = CASH.alias("back"), table_of(rows.SyncRow)
ENTRY, BOOKED = map(table_of, (rows.JournalEntryRow, rows.JournalLineRow))
COMPARED = table_of(rows.ComparedRow)

#: What no side says.
_NOTHING: tuple[ColumnElement[Any], ...] = tuple(cast(null(), Text).label(name) for name in ("state", "drift"))


def _first(*columns: Any) -> ColumnElement[Any]:
    """The first of some keys that is there, said to be text: SQLite joins by no index on what has no type."""
    return cast(func.coalesce(*columns), Text)


#: The key of an entry's journal in the general ledger.
JOURNAL = _first(ENTRY.c.gl_journal, ENTRY.c.id)

FINAL = INVOICE.c.status == "final"
CAME_IN = PAYMENT.c.status == "succeeded"


def _side(key: Any, currency: Any, amount: Any, beside: Any = None) -> Select[Any]:
    second = cast(null(), BigInteger) if beside is None else beside
    return select(
        key.label("key"), currency.label("currency"), amount.label("amount"), second.label("beside"), *_NOTHING
    )


def billed_in(span: DateSpan) -> ColumnElement[bool]:
    """Final invoices of a billing month."""
    return and_(FINAL, INVOICE.c.billing_period_start == span.start, INVOICE.c.billing_period_end == span.end)


def accounts() -> Select[Any]:
    """Customers, which have no amount: only what changed of them is a difference."""
    return _side(ACCOUNT.c.id, literal(NO_CURRENCY), literal(0))


def summed(side: Select[Any]) -> Select[Any]:
    """The side with all documents under one key as one."""
    cte = side.cte("several")
    sums = func.sum(cte.c.amount), func.sum(cte.c.beside)
    return _side(cte.c.key, func.min(cte.c.currency), *sums).group_by(cte.c.key)


def without_beside(side: Select[Any]) -> Select[Any]:
    """The side with nothing to say of the second amount."""
    cte = side.cte("said")
    return _side(cte.c.key, cte.c.currency, cte.c.amount)


def orders() -> Select[Any]:
    return _side(ORDER.c.id, ORDER.c.currency, ORDER.c.total_minor)


def subscriptions() -> Select[Any]:
    """By order, what the charges that it made or amended are worth over their term."""
    order = _first(ORDER_LINE.c.parent_id, SUBSCRIPTION.c.order_id)
    return (
        _side(order, SUBSCRIPTION.c.currency, func.sum(CHARGE.c.contract_value_minor))
        .select_from(CHARGE)
        .join(SUBSCRIPTION, SUBSCRIPTION.c.id == CHARGE.c.parent_id)
        .outerjoin(ORDER_LINE, ORDER_LINE.c.id == CHARGE.c.order_line_id)
        .group_by(order, SUBSCRIPTION.c.currency)
    )


def invoices(span: DateSpan) -> Select[Any]:
    return _side(INVOICE.c.id, INVOICE.c.currency, INVOICE.c.total_minor).where(billed_in(span))


def subtotals(span: DateSpan) -> Select[Any]:
    """The month's invoices before tax."""
    return _side(INVOICE.c.id, INVOICE.c.currency, INVOICE.c.subtotal_minor).where(billed_in(span))


def credit_notes(span: DateSpan) -> Select[Any]:
    """Credit notes of the month's invoices, and what was given up of them, for which the ERP has a credit memo too."""
    found = _side(NOTE.c.id, NOTE.c.currency, NOTE.c.total_minor)
    found = found.join(INVOICE, INVOICE.c.id == NOTE.c.invoice_id).where(billed_in(span))
    given_up = _side(WRITE_OFF.c.id, WRITE_OFF.c.currency, WRITE_OFF.c.amount_minor)
    given_up = given_up.join(INVOICE, INVOICE.c.id == WRITE_OFF.c.invoice_id)
    given_up = given_up.where(billed_in(span), WRITE_OFF.c.state == "booked")
    return union_all(found, given_up).subquery("memos").select()


def payments(span: DateSpan) -> Select[Any]:
    """What came in for the month's invoices; beside it what its settlement left, where it is booked."""
    left = func.sum(SETTLEMENT.c.net_minor)
    settled = (
        select(SETTLEMENT.c.payment_id, left.label("net"))
        .where(SETTLEMENT.c.kind.in_(CHARGED))
        .group_by(SETTLEMENT.c.payment_id)
        .subquery()
    )
    return (
        _side(PAYMENT.c.id, PAYMENT.c.currency, PAYMENT.c.amount_minor, settled.c.net)
        .join(INVOICE, INVOICE.c.id == PAYMENT.c.invoice_id)
        .outerjoin(settled, settled.c.payment_id == PAYMENT.c.id)
        .where(CAME_IN, billed_in(span))
    )


def erp_payments(span: DateSpan) -> Select[Any]:
    """All that the ERP has a payment for, of the month's invoices: by card, by money at the bank (what was taken back
    too, unless its payment was voided there or never made), and by prepaid credit."""
    cash = _side(CASH.c.id, CASH.c.currency, CASH.c.amount_minor).join(INVOICE, INVOICE.c.id == CASH.c.invoice_id)
    paid, voided = (
        exists().where(SYNC.c.record_id == CASH.c.id, SYNC.c.resource == name) for name in ("payment", "payment_void")
    )
    taken_back = exists().where(BACK.c.reverses == CASH.c.id)
    cash = cash.where(CASH.c.use == "applied", billed_in(span), or_(~taken_back, and_(paid, ~voided)))
    drawn = _side(MOVEMENT.c.id, MOVEMENT.c.currency, MOVEMENT.c.amount_minor)
    drawn = drawn.join(INVOICE, INVOICE.c.id == MOVEMENT.c.document_id)
    drawn = drawn.where(MOVEMENT.c.kind == "drawn", MOVEMENT.c.line_id.is_(None), billed_in(span))
    return union_all(without_beside(payments(span)), cash, drawn).subquery("erp_payments").select()


#: Kinds of settlements: of a payment that came in, and of money given back. All others are of disputes.
CHARGED, RETURNED = ("charge", "payment"), ("refund", "payment_refund")


def refunds(span: DateSpan) -> Select[Any]:
    """By payment of the month's invoices, what our credit notes gave back."""
    return (
        _side(REFUND.c.payment_id, REFUND.c.currency, -func.sum(REFUND.c.amount_minor))
        .join(PAYMENT, PAYMENT.c.id == REFUND.c.payment_id)
        .join(INVOICE, INVOICE.c.id == PAYMENT.c.invoice_id)
        .where(billed_in(span))
        .group_by(REFUND.c.payment_id, REFUND.c.currency)
    )


def refunds_one_by_one(span: DateSpan) -> Select[Any]:
    return (
        _side(REFUND.c.id, REFUND.c.currency, REFUND.c.amount_minor)
        .join(PAYMENT, PAYMENT.c.id == REFUND.c.payment_id)
        .join(INVOICE, INVOICE.c.id == PAYMENT.c.invoice_id)
        .where(billed_in(span))
    )


def disputes(span: DateSpan) -> Select[Any]:
    """By payment, as the gateway names it, what the books hold of money that a customer's bank took back or returned;
    beside it what that left after its fees."""
    return (
        _side(
            PAYMENT.c.vendor_id,
            SETTLEMENT.c.currency,
            func.sum(SETTLEMENT.c.gross_minor),
            func.sum(SETTLEMENT.c.net_minor),
        )
        .join(PAYMENT, PAYMENT.c.id == SETTLEMENT.c.payment_id)
        .join(INVOICE, INVOICE.c.id == PAYMENT.c.invoice_id)
        .where(billed_in(span), SETTLEMENT.c.kind.not_in([*CHARGED, *RETURNED]))
        .group_by(PAYMENT.c.vendor_id, SETTLEMENT.c.currency)
    )


def taxes(span: DateSpan, codes: Iterable[str]) -> Select[Any]:
    """By invoice, the tax of its lines with one of these tax codes, and their base beside it."""
    return (
        _side(INVOICE.c.id, INVOICE.c.currency, func.sum(LINE.c.tax_minor), func.sum(LINE.c.amount_minor))
        .join(LINE, LINE.c.parent_id == INVOICE.c.id)
        .where(billed_in(span), LINE.c.tax_code.in_(list(codes)))
        .group_by(INVOICE.c.id, INVOICE.c.currency)
    )


def returned_taxes(span: DateSpan, codes: Iterable[str]) -> Select[Any]:
    """By credit note, the tax it gives back on lines with one of these tax codes, and their base beside it."""
    return (
        _side(NOTE.c.id, NOTE.c.currency, func.sum(NOTE_LINE.c.tax_minor), func.sum(NOTE_LINE.c.amount_minor))
        .join(NOTE_LINE, NOTE_LINE.c.parent_id == NOTE.c.id)
        .join(INVOICE, INVOICE.c.id == NOTE.c.invoice_id)
        .where(billed_in(span), NOTE_LINE.c.tax_code.in_(list(codes)))
        .group_by(NOTE.c.id, NOTE.c.currency)
    )


def journals() -> Select[Any]:
    """What we push to the general ledger as journals, by their debits as the books value them; entries summed in one
    journal are that one."""
    worth = case((BOOKED.c.debit_minor.is_not(None), func.coalesce(BOOKED.c.functional_minor, BOOKED.c.debit_minor)))
    of = BOOKED.c.parent_id == ENTRY.c.id
    told = func.sum(worth), func.max(BOOKED.c.functional_currency)
    debits, own = (select(one).where(of).scalar_subquery() for one in told)
    currency = func.coalesce(own, ENTRY.c.currency)
    each = select(ENTRY.c.id, ENTRY.c.gl_journal, currency.label("currency"), debits.label("minor"))
    entry = each.where(ENTRY.c.via == "journal").subquery("each_entry")
    journal = _first(entry.c.gl_journal, entry.c.id)
    return _side(journal, entry.c.currency, func.sum(entry.c.minor)).group_by(journal, entry.c.currency)


def told() -> Select[Any]:
    """By order, what was invoiced on its lines, tax included, and credited beside it."""

    def summed(line: Any) -> Any:
        amount = func.sum(line.c.amount_minor + line.c.tax_minor).label("minor")
        of_order = select(ORDER_LINE.c.parent_id.label("order_id"), amount).group_by(ORDER_LINE.c.parent_id)
        of_order = of_order.join(CHARGE, CHARGE.c.order_line_id == ORDER_LINE.c.id)
        return of_order.join(LINE, LINE.c.subscription_charge_id == CHARGE.c.id)

    invoiced = summed(LINE).join(INVOICE, INVOICE.c.id == LINE.c.parent_id).where(FINAL)
    credited = summed(NOTE_LINE).join(NOTE_LINE, NOTE_LINE.c.invoice_line_id == LINE.c.id)
    billed, returned = invoiced.subquery(), credited.subquery()
    active = exists().where(SUBSCRIPTION.c.order_id == ORDER.c.id)
    return (
        _side(ORDER.c.id, ORDER.c.currency, func.coalesce(billed.c.minor, 0), func.coalesce(returned.c.minor, 0))
        .outerjoin(billed, billed.c.order_id == ORDER.c.id)
        .outerjoin(returned, returned.c.order_id == ORDER.c.id)
        .where(or_(active, ORDER.c.amends.is_not(None)))
    )


def rated(month: str) -> Select[Any]:
    """By account, what was rated for the month."""
    return (
        _side(RATED.c.account_id, RATED.c.currency, func.sum(RATED.c.amount_minor))
        .where(RATED.c.billing_period == month)
        .group_by(RATED.c.account_id, RATED.c.currency)
    )


def invoiced(span: DateSpan) -> Select[Any]:
    """By account whose usage and charges they are, what the lines of the month's invoices sum to."""
    account = _first(RATED.c.account_id, ADJUSTMENT.c.account_id, MOVEMENT.c.account_id, INVOICE.c.account_id)
    return (
        _side(account, INVOICE.c.currency, func.sum(LINE.c.amount_minor))
        .select_from(LINE)
        .join(INVOICE, INVOICE.c.id == LINE.c.parent_id)
        .outerjoin(RATED, RATED.c.id == LINE.c.rated_line_id)
        .outerjoin(ADJUSTMENT, ADJUSTMENT.c.id == LINE.c.rated_line_id)
        .outerjoin(MOVEMENT, MOVEMENT.c.id == LINE.c.rated_line_id)
        .where(billed_in(span))
        .group_by(account, INVOICE.c.currency)
    )


#: All ids of a noun that we ever held, by what a tie calls its record: whoever is none of them is unknown.
KNOWN: Mapping[str, Select[Any]] = {
    "account": select(ACCOUNT.c.id),
    "order": select(ORDER.c.id),
    "subscription": select(ORDER.c.id),
    "invoice": select(INVOICE.c.id).where(FINAL),
    "credit_note": union_all(select(NOTE.c.id), select(WRITE_OFF.c.id)).subquery("known_memos").select(),
    "payment": union_all(
        select(PAYMENT.c.id).where(CAME_IN),
        select(CASH.c.id).where(CASH.c.use == "applied"),
        select(MOVEMENT.c.id).where(MOVEMENT.c.kind == "drawn", MOVEMENT.c.line_id.is_(None)),
    )
    .subquery("known_payments")
    .select(),
    "erp_refund": select(REFUND.c.id),
    "journal_entry": select(JOURNAL.label("id")),
    "tax_document": select(INVOICE.c.id).where(FINAL),
    "tax_credit": select(NOTE.c.id),
    "charge": union_all(
        select(PAYMENT.c.id), select(cast(literal("PAY-", String) + INVOICE.c.id, Text).label("id")).where(FINAL)
    ).subquery().select(),
    "settlement": select(PAYMENT.c.id),
    "refund": select(PAYMENT.c.id),
    "dispute": select(PAYMENT.c.vendor_id)
    .join(SETTLEMENT, SETTLEMENT.c.payment_id == PAYMENT.c.id)
    .where(SETTLEMENT.c.kind.not_in([*CHARGED, *RETURNED])),
    "order_progress": select(ORDER.c.id),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Total:
    """A side of one currency in minor units. ``final``: of what is in its final state."""

    amount: int = 0
    beside: int = 0
    count: int = 0
    final: int = 0

    def __add__(self, more: Total) -> Total:
        return Total(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(more), strict=True)))


@dataclass(frozen=True, slots=True)
class Compared:
    """Two sides by currency, what we hold of the records on which they are not the same, and whom nobody knows."""

    ours: Mapping[str, Total]
    theirs: Mapping[str, Total]
    differing: Mapping[str, Side]
    unknown: Sequence[str]

    @property
    def both(self) -> tuple[Mapping[str, Total], Mapping[str, Total]]:
        return self.ours, self.theirs


def _sum(column: Any) -> ColumnElement[Any]:
    return func.coalesce(func.sum(column), 0)


#: How each database lists rows in one value.
_LISTED: Mapping[str, Callable[..., Any]] = {
    "sqlite": lambda *columns: func.json_group_array(func.json_array(*columns)),
    "postgresql": lambda *columns: func.json_agg(func.json_build_array(*columns)),
}


def _side_of(currency: str, amount: Any, beside: Any) -> Side:
    return Side(currency, Money(int(amount), currency), None if beside is None else Money(int(beside), currency))


def _among(side: Query, keys: Sequence[str]) -> Query:
    """What a side says of the records with these keys."""
    whole = side.subquery("whole")
    return select(whole).where(whole.c.key.in_(keys))


def _both(ours: Query, theirs: Query, final: str) -> Query:
    """By record of ours, what both sides say of it."""
    our, their = ours.subquery("ours"), theirs.subquery("theirs")
    is_final = func.lower(their.c.state) == final if final else true()
    return (
        select(
            our.c.key,
            our.c.currency,
            func.min(our.c.amount).label("amount"),
            func.min(our.c.beside).label("beside"),
            func.min(their.c.currency).label("their_currency"),
            func.sum(their.c.amount).label("their_amount"),
            func.sum(their.c.beside).label("their_beside"),
            func.sum(case((is_final, their.c.amount), else_=0)).label("final"),
            func.sum(case((or_(their.c.key.is_(None), is_final), 0), else_=1)).label("not_final"),
            func.max(their.c.drift).label("drift"),
            func.count(their.c.key).label("number"),
        )
        .select_from(our.outerjoin(their, their.c.key == our.c.key))
        .group_by(our.c.key, our.c.currency)
    )


def _strange(ours: Query, theirs: Query, known: Query | None, final: str) -> Query:
    """The same of what is none of ours, and counts for something.

    ``known``: all keys that are ours, those of other months too; None: those of ``ours``.
    """
    their = theirs.subquery("theirs")
    is_final = func.lower(their.c.state) == final if final else true()
    amount, beside = func.sum(their.c.amount), func.sum(their.c.beside)
    nothing, currency = cast(null(), BigInteger), func.min(their.c.currency)
    return (
        select(
            their.c.key,
            currency.label("currency"),
            nothing.label("amount"),
            nothing.label("beside"),
            currency.label("their_currency"),
            amount.label("their_amount"),
            beside.label("their_beside"),
            func.sum(case((is_final, their.c.amount), else_=0)).label("final"),
            literal(0).label("not_final"),
            cast(null(), Text).label("drift"),
            func.count().label("number"),
        )
        .where(their.c.key.not_in(select(ours.subquery("ours").c.key) if known is None else known))
        .group_by(their.c.key)
        .having(or_(amount != 0, func.coalesce(beside, 0) != 0))
    )


def _differs(both: Any) -> ColumnElement[bool]:
    """Whether the sides say otherwise of a record of ours."""
    return or_(
        and_(both.c.number == 0, or_(both.c.amount != 0, func.coalesce(both.c.beside, 0) != 0)),
        both.c.number > 1,
        both.c.their_amount != both.c.amount,
        both.c.their_currency != both.c.currency,
        both.c.their_beside != both.c.beside,
        both.c.not_final > 0,
        both.c.drift.is_not(None),
    )


@dataclass(frozen=True, slots=True)
class Place:
    """Where it is kept what a tie said: of which system, how it is called, of which month (empty: of all)."""

    system: str
    tie: str
    period: str

    @property
    def rows(self) -> ColumnElement[bool]:
        return and_(COMPARED.c.system == self.system, COMPARED.c.tie == self.tie, COMPARED.c.period == self.period)

    @property
    def name(self) -> str:
        return f"{self.tie}/{self.period}"


class Sides:
    """Compares sides in the database."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def compare(
        self,
        ours: Select[Any],
        theirs: Select[Any],
        known: Select[Any] | None,
        final: str = "",
        besides: Collection[str] = (),
    ) -> Compared:
        """What differs by key, and what of theirs belongs to no record of ours.

        ``known``: ids of which none is strange, all of ours among them (None: ours alone), and ``besides`` them these;
        ``final``: the state, in small letters, that theirs must have (empty: any).
        """
        return self._compared(_both(ours, theirs, final), _strange(ours, theirs, known, final), besides)

    def keep(
        self,
        place: Place,
        ours: Select[Any],
        theirs: Select[Any],
        known: Select[Any] | None,
        final: str = "",
        keys: Sequence[str] | None = None,
    ) -> None:
        """Keeps what both sides say, of the records with these keys (None: of all); the arguments of ``compare``."""
        for part in [None] if keys is None else chunks(keys):
            mine, seen, gone = ours, theirs, place.rows
            if part is not None:
                mine, seen, gone = _among(ours, part), _among(theirs, part), and_(gone, COMPARED.c.key.in_(part))
            self._connection.execute(delete(COMPARED).where(gone))
            for said in (_both(mine, seen, final), _strange(mine, seen, known, final)):
                row = said.subquery("said")
                told = select(literal(place.system), literal(place.tie), literal(place.period), *row.c)
                names = ["system", "tie", "period", *row.c.keys()]
                self._connection.execute(insert(COMPARED).from_select(names, told))

    def kept(self, place: Place) -> Compared:
        """What was kept."""
        is_ours = COMPARED.c.amount.is_not(None)
        both, strange = (select(COMPARED).where(place.rows, one) for one in (is_ours, ~is_ours))
        return self._compared(both, strange)

    def differing(self, place: Place) -> list[str]:
        """The keys of the records on which the sides were kept as not the same."""
        query = select(COMPARED.c.key).where(place.rows, or_(COMPARED.c.amount.is_(None), _differs(COMPARED)))
        return list(self._connection.execute(query).scalars())

    def _compared(self, ours: Query, strange: Query, besides: Collection[str] = ()) -> Compared:
        """The sums of what both sides say, and what differs; the queries have the columns of what is kept."""
        both, other = ours.subquery("both_sides"), strange.subquery("strange")
        same = both.c.their_currency == both.c.currency
        listed = _LISTED[self._connection.dialect.name](both.c.key, both.c.amount, both.c.beside)
        sums = select(
            both.c.currency,
            *(_sum(one) for one in (both.c.amount, both.c.beside)),
            func.count(),
            *(_sum(case((same, one), else_=0)) for one in (both.c.their_amount, both.c.their_beside, both.c.final)),
            _sum(case((both.c.number > 0, 1), else_=0)),
            listed.filter(_differs(both)),
        ).group_by(both.c.currency)
        mine: dict[str, Total] = {}
        seen: dict[str, Total] = {}
        differing: dict[str, Side] = {}
        for currency, *found, told in self._connection.execute(sums):
            amount, beside, count, their_amount, their_beside, their_final, their_count = map(int, found)
            mine[currency] = Total(amount, beside, count, amount)
            seen[currency] = Total(their_amount, their_beside, their_count, their_final)
            for key, *minors in json.loads(told) if isinstance(told, str) else told or ():
                differing[key] = _side_of(currency, *minors)
        unknown = []
        about = other.c.key, other.c.currency, other.c.their_amount, other.c.their_beside, other.c.number, other.c.final
        for row in self._connection.execute(select(*about)):
            key, currency, *found = tuple(row)
            if key not in besides:
                unknown.append(key)
                seen[currency] = seen.get(currency, Total()) + Total(*(int(one or 0) for one in found))
        return Compared(mine, seen, dict(sorted(differing.items())), sorted(unknown))

    def _read(self, query: Select[Any]) -> dict[str, Side]:
        found = {}
        for row in self._connection.execute(query):
            found[row.key] = _side_of(row.currency, row.amount, row.beside)
        return dict(sorted(found.items()))

    def of(self, side: Select[Any], keys: Sequence[str]) -> dict[str, Side]:
        """What a side says of the records with these keys."""
        cte = side.cte("side")
        found: dict[str, Side] = {}
        for part in chunks(keys):
            found |= self._read(select(cte).where(cte.c.key.in_(part)))
        return found

    def among(self, side: Select[Any], keys: Sequence[str]) -> set[str]:
        """Which of these keys a side has."""
        cte = side.cte("side")
        return {
            key
            for part in chunks(keys)
            for key in self._connection.execute(select(cte.c.key).where(cte.c.key.in_(part))).scalars()
        }

    def foreign_entries(self, currency: str) -> int:
        """How many entries are in another currency."""
        query = select(func.count()).select_from(ENTRY).where(ENTRY.c.currency != currency)
        return int(self._connection.execute(query).scalar() or 0)

    def tax_codes(self) -> list[str]:
        """Every tax code that stands on an invoice."""
        return sorted(self._connection.execute(select(LINE.c.tax_code).distinct()).scalars())

    def newest_month(self) -> str:
        """The newest billing month of a final invoice, like ``2026-10``; empty when there is none."""
        newest = self._connection.execute(select(func.max(INVOICE.c.billing_period_start)).where(FINAL)).scalar()
        return f"{newest:%Y-%m}" if newest else ""

    def unpaid(self, span: DateSpan) -> list[str]:
        """The month's invoices of which something may still be open: paid by less than their total."""
        paid = (
            select(PAYMENT.c.invoice_id, func.sum(PAYMENT.c.amount_minor).label("minor"))
            .where(CAME_IN)
            .group_by(PAYMENT.c.invoice_id)
            .subquery()
        )
        query = (
            select(INVOICE.c.id)
            .outerjoin(paid, paid.c.invoice_id == INVOICE.c.id)
            .where(billed_in(span), INVOICE.c.total_minor > func.coalesce(paid.c.minor, 0))
        )
        return sorted(self._connection.execute(query).scalars())

    def settled(self, span: DateSpan) -> list[tuple[str, datetime, Money]]:
        """What the gateway booked for the month's payments: the id there, when it is available, and what it left."""
        query = (
            select(SETTLEMENT.c.id, SETTLEMENT.c.available_on, SETTLEMENT.c.currency, SETTLEMENT.c.net_minor)
            .join(PAYMENT, PAYMENT.c.id == SETTLEMENT.c.payment_id)
            .join(INVOICE, INVOICE.c.id == PAYMENT.c.invoice_id)
            .where(billed_in(span))
        )
        return [
            (ident, available_on, Money(int(minor), currency))
            for ident, available_on, currency, minor in self._connection.execute(query)
        ]

    def monthly(self) -> dict[tuple[str, str, str], int]:
        """(ledger account, month, legal entity) to debits less credits in the currency of the entity's books, in minor
        units, as the database keeps them."""
        net = func.sum(BALANCE.c.functional_debit_minor) - func.sum(BALANCE.c.functional_credit_minor)
        cell = BALANCE.c.ledger_account, BALANCE.c.month, BALANCE.c.entity
        return {
            (account, month, entity): int(minor)
            for account, month, entity, minor in self._connection.execute(select(*cell, net).group_by(*cell))
        }

    def held(self, ledger_account: str) -> dict[str, Money]:
        """Currency to debits less credits of a ledger account, in the currencies of its entries; what only revalues or
        rounds another currency is none of its own."""
        net = func.sum(BALANCE.c.debit_minor) - func.sum(BALANCE.c.credit_minor)
        query = (
            select(BALANCE.c.currency, net)
            .where(BALANCE.c.ledger_account == ledger_account, BALANCE.c.event.not_in(("fx unrealised", "rounding")))
            .group_by(BALANCE.c.currency)
        )
        return {currency: Money(int(minor), currency) for currency, minor in self._connection.execute(query)}

    def sums(self, side: Select[Any]) -> dict[str, Money]:
        """What a side says by key; for sides with few keys."""
        cte = side.cte("side")
        query = select(cte.c.key, cte.c.currency, cte.c.amount)
        return {key: Money(int(amount), currency) for key, currency, amount in self._connection.execute(query)}

    def accounts_of(self, event: str) -> tuple[str, str] | None:
        """The two ledger accounts that a document of this event is booked on, debit and credit; None when none was."""
        query = (
            select(BOOKED.c.ledger_account)
            .join(ENTRY, ENTRY.c.id == BOOKED.c.parent_id)
            .where(ENTRY.c.event == event, ENTRY.c.via == "document")
            .limit(1)
        )
        debit = self._connection.execute(query.where(BOOKED.c.debit_minor.is_not(None))).scalar()
        credit = self._connection.execute(query.where(BOOKED.c.credit_minor.is_not(None))).scalar()
        return (debit, credit) if debit and credit else None
