"""Invoices and credit notes: drafted from what is due, taxed by the engine, then final and never changed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Self

from pydantic import model_validator

from core.accounts import Account, Address, GroupBy
from core.catalog import PriceBook
from core.entities import MAIN, Document
from core.errors import Rejected
from core.exact import exactly, to_decimal
from core.money import Money, Rounding, round_fraction, total
from core.noun import CurrencyCode, Id, Noun, Quantity
from core.period import DateSpan
from core.rating import RatedLine
from core.rational import Fraction
from core.tax import TaxDocument
from core.ties import (
    credit_equals_lines,
    credit_total,
    credited_within_line,
    invoice_equals_lines,
    invoice_total,
    tax_base_equals_invoice,
    used_within_credit,
)
from core.wallets import CreditMovement


class InvoiceStatus(StrEnum):
    DRAFT = "draft"  # waits for the tax engine
    FINAL = "final"  # numbered, taxed, never changed


class InvoiceLine(Noun):
    """One charge for one service period. ``amount`` is before tax; ``unit_price`` is for print only.

    ``rated_line_id``: the rated line or adjustment that it bills; no two lines bill the same.
    """

    id: Id
    position: int
    rated_line_id: Id
    subscription_charge_id: Id | None = None
    charge_code: Id
    product_code: Id
    description: str
    site_id: Id | None = None
    service_period: DateSpan
    quantity: Quantity
    unit_price: Quantity | None = None
    amount: Money
    tax: Money
    tax_code: str
    """Tax category of the product, as the tax engine spells it in the price book."""
    revenue_account: str
    defer: bool = False
    """True when the amount is earned over ``service_period``; False when it is earned as invoiced."""
    service_address: Address

    @property
    def counted(self) -> Quantity:
        """What a tax per line or minute counts: nothing of a line below zero, which lowers a charge alone."""
        return self.quantity if self.amount.minor >= 0 else Decimal(0)


class Invoice(Document):
    """A claim on an account. ``id`` is also its number and its key in every system."""

    id: Id
    account_id: Id
    currency: CurrencyCode
    billing_period: DateSpan
    invoice_date: date
    due_date: date
    status: InvoiceStatus
    purchase_order: str | None = None
    tax_exemption: str | None = None
    billing_address: Address
    subtotal: Money
    tax: Money
    total: Money
    lines: tuple[InvoiceLine, ...]

    @model_validator(mode="after")
    def _ties(self) -> Self:
        invoice_equals_lines(self.id, self.subtotal, [line.amount for line in self.lines])
        invoice_equals_lines(f"{self.id} tax", self.tax, [line.tax for line in self.lines])
        invoice_total(self.id, self.total, self.subtotal, self.tax)
        return self

    def part(self, lines: Sequence[InvoiceLine]) -> Invoice:
        """The same with these of its lines only: what one tax engine is asked about."""
        subtotal = total((line.amount for line in lines), self.currency)
        tax = total((line.tax for line in lines), self.currency)
        return self.replace(lines=tuple(lines), subtotal=subtotal, tax=tax, total=subtotal + tax)

    def dated(self, day: date) -> Invoice:
        """The same of another day, with as long to pay; what it bills stays. Its rate is still that of its old day."""
        return self.replace(invoice_date=day, due_date=self.due_date + (day - self.invoice_date))

    def replace(self, **changes: Any) -> Invoice:
        """A checked copy with some fields changed."""
        return Invoice.model_validate({**dict(self), **changes})


class Adjustment(Noun):
    """A one-off line for the next draft of an account, before tax: above zero a debit, below it a credit.

    ``service_period``: what it corrects; ``invoice_id``: the invoice it corrects, where there is one. ``taken_by``: the
    draft that bills it, or the carry that holds it.
    """

    id: Id
    account_id: Id
    site_id: Id | None = None
    subscription_charge_id: Id | None = None
    charge_code: Id
    product_code: Id
    service_period: DateSpan
    currency: CurrencyCode
    amount: Money
    reason: str
    invoice_id: Id | None = None
    taken_by: Id | None = None


class CarryForward(Noun):
    """A draft that was not issued: its lines go onto the next draft of the account. ``taken_by``: what took them on."""

    id: Id
    account_id: Id
    billing_period: DateSpan
    currency: CurrencyCode
    amount: Money
    reason: str
    lines: tuple[InvoiceLine, ...]
    taken_by: Id | None = None

    @model_validator(mode="after")
    def _ties(self) -> Self:
        invoice_equals_lines(self.id, self.amount, [line.amount for line in self.lines])
        return self


def billed(line: RatedLine, account: Account, book: PriceBook) -> InvoiceLine:
    """The invoice line of a rated line. Tax is due where its site is, or at the billing address.

    Days that were billed and are not served any more are what a line is for that takes them back: so it undoes what is
    still to be earned, and nothing of what was.
    """
    product, before = book.product(line.product_code), line.derivation.billed
    return InvoiceLine(
        id=line.id,
        position=0,
        rated_line_id=line.id,
        subscription_charge_id=line.subscription_charge_id,
        charge_code=line.charge_code,
        product_code=line.product_code,
        description=line.description,
        site_id=line.site_id,
        service_period=(before and before.unserved) or line.service_period,
        quantity=line.quantity,
        unit_price=line.unit_price,
        amount=line.amount,
        tax=Money.zero(line.amount.currency),
        tax_code=product.tax_code,
        revenue_account=product.revenue_account,
        defer=book.revenue(line.charge_code).deferred,
        service_address=_address(account, line.site_id),
    )


def adjusted(adjustment: Adjustment, account: Account, book: PriceBook) -> InvoiceLine:
    """The invoice line of an adjustment: earned as invoiced, taxed as its product."""
    product = book.product(adjustment.product_code)
    return InvoiceLine(
        id=adjustment.id,
        position=0,
        rated_line_id=adjustment.id,
        subscription_charge_id=adjustment.subscription_charge_id,
        charge_code=adjustment.charge_code,
        product_code=adjustment.product_code,
        description=f"{adjustment.reason} ({adjustment.service_period})",
        site_id=adjustment.site_id,
        service_period=adjustment.service_period,
        quantity=Decimal(1),
        amount=adjustment.amount,
        tax=Money.zero(adjustment.currency),
        tax_code=product.tax_code,
        revenue_account=product.revenue_account,
        service_address=_address(account, adjustment.site_id),
    )


def _address(account: Account, site_id: str | None) -> Address:
    return account.site(site_id).address if site_id else account.billing_address


def worth_a_line(line: RatedLine) -> bool:
    """A line of zero with a quantity stays, since it tells the customer what was included."""
    return bool(line.amount or line.derivation.measured)


def draft(
    account: Account, rated: Sequence[RatedLine], book: PriceBook, billing_period: DateSpan, invoice_date: date
) -> Invoice | None:
    """The draft of what an account owes for a billing period; None when there is nothing to say."""
    lines = [billed(line, account, book) for line in rated if worth_a_line(line)]
    return assemble(account, lines, billing_period, invoice_date) if lines else None


def assemble(
    account: Account,
    lines: Sequence[InvoiceLine],
    billing_period: DateSpan,
    invoice_date: date,
    group: str = "",
    purchase_order: str | None = None,
    exempt: Account | None = None,
) -> Invoice:
    """The draft of these lines, numbered in their order. ``group``: what tells it from the account's others.

    ``exempt``: whose exemption from tax holds (None: the account's own).
    """
    invoice_id = f"INV-{billing_period.start:%Y-%m}-{account.id}" + (f".{_short(group)}" if group else "")
    numbered = tuple(
        line.model_copy(update={"id": f"{invoice_id}-{position}", "position": position})
        for position, line in enumerate(lines, 1)
    )
    subtotal = total((line.amount for line in lines), account.currency)
    return Invoice(
        id=invoice_id,
        account_id=account.id,
        currency=account.currency,
        billing_period=billing_period,
        invoice_date=invoice_date,
        due_date=invoice_date + timedelta(days=account.payment_terms_days),
        status=InvoiceStatus.DRAFT,
        purchase_order=purchase_order,
        entity=account.entity or MAIN,
        tax_exemption=(exempt or account).tax_exemption,
        billing_address=account.billing_address,
        subtotal=subtotal,
        tax=Money.zero(account.currency),
        total=subtotal,
        lines=numbered,
    )


def _short(group: str) -> str:
    """A group in the number of an invoice: itself where it is short and plain, else a digest of it."""
    return group if re.fullmatch(r"[\w-]{1,16}", group) else hashlib.sha256(group.encode()).hexdigest()[:10]


def lowered(drafted: Invoice, discounts: Sequence[tuple[CreditMovement, str]]) -> Invoice:
    """The draft with a line below zero for each promotional credit that it draws, with the reason of its grant.

    Each is taxed, earned and owed like the line that it lowers.
    """
    lines = {line.rated_line_id: line for line in drafted.lines}
    further = tuple(
        lines[movement.line_id or ""].model_copy(
            update={
                "id": f"{drafted.id}-{position}",
                "position": position,
                "rated_line_id": movement.id,
                "description": f"{reason}: {lines[movement.line_id or ''].description}",
                "quantity": Decimal(1),
                "unit_price": None,
                "amount": -movement.amount,
            }
        )
        for position, (movement, reason) in enumerate(discounts, len(drafted.lines) + 1)
    )
    return drafted.part((*drafted.lines, *further))


def group_of(line: InvoiceLine, by: GroupBy, purchase_orders: Mapping[str, str]) -> str:
    """What an invoice line is grouped by. ``purchase_orders``: by subscription charge."""
    match by:
        case GroupBy.SITE:
            return line.site_id or ""
        case GroupBy.PRODUCT:
            return line.product_code
        case GroupBy.PURCHASE_ORDER:
            return purchase_orders.get(line.subscription_charge_id or "", "")
    return ""


def why_carried(subtotal: Money, minimum: Money | None) -> str:
    """Why a draft is not issued but carried to the next month; empty when it is issued."""
    if subtotal.minor < 0:
        return "below zero: it lowers the next invoice"
    if minimum is not None and subtotal < minimum:
        return f"below the minimum of {minimum}"
    return ""


def carry(drafted: Invoice, reason: str) -> CarryForward:
    """A draft kept back, with its lines as they are."""
    return CarryForward(
        id=drafted.id.replace("INV-", "CF-", 1),
        account_id=drafted.account_id,
        billing_period=drafted.billing_period,
        currency=drafted.currency,
        amount=drafted.subtotal,
        reason=reason,
        lines=drafted.lines,
    )


def finalise(invoice: Invoice, *documents: TaxDocument) -> Invoice:
    """The draft with the engines' tax on its lines, final. TieBroken when they taxed another amount."""
    base, tax = (
        total(amounts, invoice.currency)
        for amounts in ([one.base for one in documents], [one.tax for one in documents])
    )
    tax_base_equals_invoice(invoice.id, base, invoice.subtotal)
    lines = tuple(
        line.model_copy(update={"tax": total((one.tax_of(line.id) for one in documents), invoice.currency)})
        for line in invoice.lines
    )
    return invoice.replace(lines=lines, tax=tax, total=invoice.subtotal + tax, status=InvoiceStatus.FINAL)


class CreditNoteLine(Noun):
    """What is given back of one invoice line, before tax, on the side of that line (of a charge: above zero).

    ``deferred``: what of ``amount`` was not yet earned; the rest is taken from revenue. ``tax``: of the tax that the
    engine answered for the line, in proportion. ``share``: what part of the invoice line it is, to twelve decimals;
    ``counted``: what a tax per line or minute counts of the whole of it.
    """

    id: Id
    position: int
    invoice_line_id: Id
    charge_code: Id
    product_code: Id
    description: str
    site_id: Id | None = None
    service_period: DateSpan
    amount: Money
    deferred: Money
    tax: Money
    share: Quantity = Decimal(1)
    counted: Quantity = Decimal(0)
    tax_code: str
    revenue_account: str
    service_address: Address

    @property
    def size(self) -> Money:
        """How much it moves, whichever way."""
        return abs(self.amount)

    @property
    def gives_back(self) -> bool:
        """Whether it gives a charge back, and does not take back what lowered one."""
        return self.amount.minor >= 0

    @property
    def partial(self) -> bool:
        """Whether something of its line is left, or was given back before."""
        return self.share != 1

    @property
    def counted_share(self) -> Quantity:
        """Its share of what is counted, to six decimals."""
        return to_decimal(exactly(self.counted) * exactly(self.share), 6)


class CreditApplication(Noun):
    """What of a credit note lowers what is open on one invoice."""

    id: Id
    invoice_id: Id
    amount: Money


class CreditNote(Document):
    """What is given back of one invoice. ``id`` is its number and its key in every system.

    ``applied`` and ``refunded`` tell where the total went; what is left is a balance of the account for later invoices.
    Its rate is that of the invoice: it takes back what the invoice brought in.
    """

    id: Id
    invoice_id: Id
    account_id: Id
    currency: CurrencyCode
    invoice_date: date
    """Of the invoice: the tax rules of that day hold."""
    credit_date: date
    reason: str
    tax_exemption: str | None = None
    subtotal: Money
    tax: Money
    total: Money
    refunded: Money
    lines: tuple[CreditNoteLine, ...]
    applied: tuple[CreditApplication, ...] = ()

    @model_validator(mode="after")
    def _ties(self) -> Self:
        credit_equals_lines(self.id, self.subtotal, [line.amount for line in self.lines])
        credit_equals_lines(f"{self.id} tax", self.tax, [line.tax for line in self.lines])
        credit_total(self.id, self.total, self.subtotal, self.tax)
        used_within_credit(self.id, self.total - self.left, self.total)
        return self

    @property
    def left(self) -> Money:
        """What is neither applied nor refunded."""
        return self.total - self.refunded - total((one.amount for one in self.applied), self.currency)

    def part(self, lines: Sequence[CreditNoteLine]) -> CreditNote:
        """The same with these of its lines only, and nothing of it used: what one tax engine is told."""
        subtotal = total((line.amount for line in lines), self.currency)
        tax = total((line.tax for line in lines), self.currency)
        zero = Money.zero(self.currency)
        return self.replace(
            lines=tuple(lines), subtotal=subtotal, tax=tax, total=subtotal + tax, refunded=zero, applied=()
        )

    def applied_to(self, invoice_id: str, amount: Money) -> CreditNote:
        """The same with so much more of it applied to an invoice."""
        sums = {one.invoice_id: one.amount for one in self.applied}
        sums[invoice_id] = sums.get(invoice_id, Money.zero(self.currency)) + amount
        applied = tuple(
            CreditApplication(id=f"{self.id}>{invoice}", invoice_id=invoice, amount=money)
            for invoice, money in sums.items()
        )
        return self.replace(applied=applied)

    def replace(self, **changes: Any) -> CreditNote:
        """A checked copy with some fields changed."""
        return CreditNote.model_validate({**dict(self), **changes})


def credit(
    invoice: Invoice,
    wanted: Mapping[int, Money | None],
    before: Sequence[CreditNote],
    reason: str,
    credit_date: date,
    unearned: Mapping[str, Money],
) -> CreditNote:
    """The credit note that gives back ``wanted``: amounts before tax by position of the line, None: all that is left.

    ``before``: the earlier credit notes of the invoice. ``unearned``: by line, what of it is deferred and not yet
    earned; a credit takes that first, and the rest from revenue. The same wish for the same reason is the credit note
    that is there already. Rejected when the invoice is a draft, or a line is not there or has less left.
    """
    if invoice.status is not InvoiceStatus.FINAL:
        raise _refused(invoice, "it is a draft; change what it is made of instead", "status", invoice.status)
    by_position = {line.position: line for line in invoice.lines}
    for position in wanted.keys() - by_position.keys():
        raise _refused(invoice, f"it has no line {position}", "line", position)
    wanted = {
        position: amount
        for position, amount in wanted.items()
        if by_position[position].amount or (amount is None and by_position[position].tax)
    }
    given = {position: amount for position, amount in wanted.items() if amount is not None}
    for note in before:
        lines = {line.invoice_line_id: line for line in note.lines}
        named = {position: lines.get(by_position[position].id) for position in wanted}
        if (
            note.reason == reason
            and len(lines) == len(wanted)
            and all(line and given.get(position, line.amount) == line.amount for position, line in named.items())
        ):
            return note
    ident = f"CN-{invoice.id}-{len(before) + 1}"
    lines_before = [line for note in before for line in note.lines]
    made: list[CreditNoteLine] = []
    for position, line in sorted((position, by_position[position]) for position in wanted):
        earlier = [one for one in lines_before if one.invoice_line_id == line.id]
        gone = total((one.amount for one in earlier), invoice.currency)
        amount = given.get(position, line.amount - gone)
        taxed = _in_proportion(line, gone + amount) - total((one.tax for one in earlier), invoice.currency)
        if not amount and not taxed:
            continue
        if amount.minor * line.amount.minor < 0 or abs(amount) > abs(line.amount - gone):
            why = f"line {position} has {line.amount - gone} left to credit, not {amount}"
            raise _refused(invoice, why, "amount", amount)
        credited_within_line(line.id, gone + amount, line.amount)
        deferred = min(amount, unearned.get(line.id, Money.zero(invoice.currency)), key=abs)
        made.append(_credit_line(f"{ident}-{len(made) + 1}", len(made) + 1, line, amount, deferred, taxed))
    subtotal = total((line.amount for line in made), invoice.currency)
    tax = total((line.tax for line in made), invoice.currency)
    if (subtotal + tax).minor <= 0:
        raise _refused(invoice, "nothing is left of it to credit", "amount", subtotal + tax)
    return CreditNote(
        id=ident,
        invoice_id=invoice.id,
        account_id=invoice.account_id,
        currency=invoice.currency,
        invoice_date=invoice.invoice_date,
        credit_date=credit_date,
        reason=reason,
        tax_exemption=invoice.tax_exemption,
        subtotal=subtotal,
        tax=tax,
        total=subtotal + tax,
        refunded=Money.zero(invoice.currency),
        lines=tuple(made),
        exchange=invoice.exchange,
        entity=invoice.entity,
    )


def _credit_line(
    ident: str, position: int, line: InvoiceLine, amount: Money, deferred: Money, tax: Money
) -> CreditNoteLine:
    return CreditNoteLine(
        id=ident,
        position=position,
        invoice_line_id=line.id,
        charge_code=line.charge_code,
        product_code=line.product_code,
        description=line.description,
        site_id=line.site_id,
        service_period=line.service_period,
        amount=amount,
        deferred=deferred,
        tax=tax,
        share=to_decimal(_share(line, amount)),
        counted=line.counted,
        tax_code=line.tax_code,
        revenue_account=line.revenue_account,
        service_address=line.service_address,
    )


def _share(line: InvoiceLine, amount: Money) -> Fraction:
    """What part of a line an amount is; a line that is free of charge is given back whole."""
    return Fraction(amount.minor, line.amount.minor) if line.amount else Fraction(1)


def _in_proportion(line: InvoiceLine, credited: Money) -> Money:
    """The tax of so much of a line: all of it for the whole line, so that parts never sum to more."""
    share = _share(line, credited)
    return Money(round_fraction(line.tax.minor * share, Rounding.HALF_UP), line.tax.currency)


def _refused(invoice: Invoice, why: str, field: str, value: object) -> Rejected:
    return Rejected(f"invoice {invoice.id}: {why}", record=invoice.id, field=field, value=str(value))
