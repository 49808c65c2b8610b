"""Every equality of the product, one named function each.

Raised at the birth of a value, checked as properties in tests, reported by flows. A tie never rounds, never tolerates.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from core.errors import TieBroken
from core.money import Money, total
from core.noun import CurrencyCode, Id, Instant, Noun, Quantity


class Part(Noun):
    """A piece of a document: of a journal by its ledger account, of a tax by its place, of an invoice by its item."""

    name: str = ""
    amount: Money


class Figure(Noun):
    """One document as another system shows it, read back for comparison; None or empty: the system does not show it.

    ``record`` is our noun (``"invoice"``), ``key`` our key of it there, ``state`` the system's own word for its state.
    ``beside`` is a second amount: the base of a tax, what a settlement leaves after its fee. ``party`` is whose it is,
    in the system's own ids; ``rate`` what one unit of its currency is worth in that of the books.
    """

    record: str
    key: Id
    vendor_id: Id
    currency: CurrencyCode
    amount: Money
    state: str = ""
    beside: Money | None = None
    dated: date | None = None
    party: str | None = None
    memo: str | None = None
    rate: Quantity | None = None
    parts: tuple[Part, ...] = ()


class TieLine(Noun):
    """One equality of a period, totalled: ``left`` and ``right`` must be the same over ``count`` records.

    ``unit`` is a currency code, or what is counted (``events``, ``minutes``); ``breaks`` how many records differ and
    nothing explains it; ``explained`` how much of the difference ``why`` explains: the timing of a rule, the reason of
    a person, or the Break that it follows from. ``system``: whose documents are compared with ours; ``hub``: both sides
    are ours.
    """

    tie: str
    left_name: str
    right_name: str
    unit: str
    left: Quantity
    right: Quantity
    count: int
    breaks: int = 0
    explained: Quantity = Decimal(0)
    why: str = ""
    system: str = "hub"

    @property
    def difference(self) -> Quantity:
        return self.left - self.right

    @property
    def closes(self) -> bool:
        """Whether nothing of it is left without an explanation."""
        return not self.breaks and self.difference == self.explained


class Break(Noun):
    """One record on which two systems do not say the same; a missing side counts as zero.

    ``kind`` is a row of the table in ``core.breaks``, and ``severity`` (``benign``, ``money``, ``tax``, ``period``),
    ``cause``, ``cure``, ``repair`` and ``owner`` (a role, or the person it was assigned to) are that row's. ``detail``
    says what differs besides the amounts. ``period`` is the billing month it belongs to, None where it belongs to none.
    ``explained``: why it may stand, by rule or in the words of a person (``explained_by``); None: nobody knows yet.
    """

    id: Id
    tie: str
    kind: str
    subject: Id
    currency: CurrencyCode
    left_name: str
    right_name: str
    left: Money
    right: Money
    severity: str
    system: str
    period: str | None = None
    detail: str = ""
    cause: str
    cure: str
    repair: str
    owner: str
    explained: str | None = None
    explained_by: str | None = None
    note: str | None = None
    first_seen_at: Instant
    last_seen_at: Instant
    closed_at: Instant | None = None

    @property
    def difference(self) -> Money:
        """Theirs less ours."""
        return self.right - self.left

    def age(self, now: datetime) -> timedelta:
        return (self.closed_at or now) - self.first_seen_at


def require(tie: str, subject: str, left: object, right: object) -> None:
    """TieBroken unless ``left == right``."""
    if left != right:
        raise TieBroken(tie, subject=subject, left=left, right=right)


def order_equals_lines(order_id: str, order_total: Money, lines: Iterable[Money]) -> None:
    """The total of an order is the sum of its lines."""
    require("order = sum of its lines", order_id, order_total, total(lines, order_total.currency))


def listed_are_held(source: str, listed: str, held: str) -> None:
    """Every record that a source listed is held: count and digest of the ids are the same."""
    require("records listed = records held", source, listed, held)


def subscription_equals_order(order_id: str, order_total: Money, contract_values: Iterable[Money]) -> None:
    """Activation loses nothing: the contract values of the subscription's charges sum to the order."""
    require("subscription = order", order_id, total(contract_values, order_total.currency), order_total)


def invoice_equals_lines(invoice_id: str, subtotal: Money, lines: Iterable[Money]) -> None:
    """The subtotal of an invoice is the sum of its lines, before tax."""
    require("invoice subtotal = sum of its lines", invoice_id, subtotal, total(lines, subtotal.currency))


def invoice_total(invoice_id: str, whole: Money, subtotal: Money, tax: Money) -> None:
    """The total of an invoice is its subtotal and its tax."""
    require("invoice total = subtotal + tax", invoice_id, whole, subtotal + tax)


def tax_equals_lines(document_id: str, tax: Money, lines: Iterable[Money]) -> None:
    """The tax of a document, as the engine totals it, is the sum of its tax lines."""
    require("tax document = sum of its lines", document_id, tax, total(lines, tax.currency))


def tax_base_equals_invoice(document_id: str, base: Money, subtotal: Money) -> None:
    """The engine was asked about exactly the amount that is invoiced."""
    require("tax document base = invoice subtotal", document_id, base, subtotal)


def applied_within_open(invoice_id: str, applied: Money, open_amount: Money) -> None:
    """Never more is applied to an invoice than is open on it."""
    if applied > open_amount:
        raise TieBroken("applied <= open amount", subject=invoice_id, left=applied, right=open_amount)


def journal_balances(entry_id: str, debits: Iterable[Money], credits: Iterable[Money], currency: str) -> None:
    """Debits equal credits, per entry and currency."""
    require("debits = credits", entry_id, total(debits, currency), total(credits, currency))


def schedule_equals_deferred(line_id: str, amount: Money, parts: Iterable[Money]) -> None:
    """What a recognition schedule spreads is exactly what was deferred."""
    require("recognition schedule = deferred amount", line_id, total(parts, amount.currency), amount)


def allocated_equals_stated(order_id: str, stated: Money, allocated: Iterable[Money]) -> None:
    """The fixed price of an order is allocated to its obligations whole."""
    require("allocated prices = stated price of the order", order_id, total(allocated, stated.currency), stated)


def credit_equals_lines(note_id: str, subtotal: Money, lines: Iterable[Money]) -> None:
    """The subtotal of a credit note is the sum of its lines, before tax."""
    require("credit note subtotal = sum of its lines", note_id, subtotal, total(lines, subtotal.currency))


def credit_total(note_id: str, whole: Money, subtotal: Money, tax: Money) -> None:
    """The total of a credit note is its subtotal and its tax."""
    require("credit note total = subtotal + tax", note_id, whole, subtotal + tax)


def credited_within_line(line_id: str, credited: Money, whole: Money) -> None:
    """Over all credit notes a line gives back something between nothing and the whole of it, on its own side."""
    if not min(0, whole.minor) <= credited.minor <= max(0, whole.minor):
        raise TieBroken("credited <= invoice line", subject=line_id, left=credited, right=whole)


def returned_tax_equals_credit(line_id: str, returned: Money, credited: Money) -> None:
    """The tax engine takes back what the credit note gives back of a line."""
    require("tax returned = tax credited", line_id, returned, credited)


def used_within_credit(note_id: str, used: Money, whole: Money) -> None:
    """Never more of a credit note is applied and refunded than it gives."""
    if used > whole:
        raise TieBroken("applied + refunded <= credit note", subject=note_id, left=used, right=whole)


def usage_is_accounted(source: str, received: int, accepted: int, repeated: int, rejected: int) -> None:
    """Every usage event received is accepted, an exact repeat, or rejected; nothing disappears."""
    require("usage received = accepted + repeated + rejected", source, received, accepted + repeated + rejected)


def credit_never_below_zero(grant_id: str, left: Money, granted: Money) -> None:
    """What is left of a credit lies between nothing and all of it."""
    if not 0 <= left.minor <= granted.minor:
        raise TieBroken("0 <= credit left <= credit granted", subject=grant_id, left=left, right=granted)


def left_within_receipt(receipt_id: str, left: Money, received: Money) -> None:
    """What is left of money that came in is between nothing and all of it: never more is applied than was received."""
    if not 0 <= left.minor <= received.minor:
        raise TieBroken("0 <= left of a receipt <= received", subject=receipt_id, left=left, right=received)


def credit_is_accounted(grant_id: str, given: Money, gone_and_left: Money) -> None:
    """Granted and restored is drawn, expired, voided or left; nothing of a credit disappears."""
    require("credit granted + restored = drawn + expired + voided + left", grant_id, given, gone_and_left)


def units_are_accounted(balance_id: str, given: Fraction, gone_and_left: Fraction) -> None:
    """Included units that were there or granted are drawn, expired or carried on."""
    require("units opening + granted = drawn + expired + closing", balance_id, given, gone_and_left)
