"""Invoices and credit notes: drafted from what is due, taxed by the engine, then final and never changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from enum import StrEnum
from typing import Any, Self

from pydantic import model_validator

from core.accounts import Account, Address
from core.catalog import PriceBook
from core.money import Money, total
from core.noun import CurrencyCode, Id, Noun, Quantity
from core.period import DateSpan
from core.rating import RatedLine
from core.tax import TaxDocument
from core.ties import invoice_equals_lines, invoice_total, tax_base_equals_invoice


class InvoiceStatus(StrEnum):
    DRAFT = "draft"  # waits for the tax engine
    FINAL = "final"  # numbered, taxed, never changed


class InvoiceLine(Noun):
    """One charge for one service period. ``amount`` is before tax; ``unit_price`` is for print only."""

    id: Id
    position: int
    rated_line_id: Id
    subscription_charge_id: Id
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


class Invoice(Noun):
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

    def replace(self, **changes: Any) -> Invoice:
        """A checked copy with some fields changed."""
        return Invoice.model_validate({**dict(self), **changes})


def draft(
    account: Account, rated: Sequence[RatedLine], book: PriceBook, billing_period: DateSpan, invoice_date: date
) -> Invoice | None:
    """The draft of what an account owes for a billing period; None when there is nothing to say.

    Lines without quantity and amount are left out; a line of zero with a quantity stays, since it tells the customer
    what was included. Tax is due where a line's site is, or at the billing address.
    """
    lines = []
    invoice_id = f"INV-{billing_period.start:%Y-%m}-{account.id}"
    for position, line in enumerate((r for r in rated if r.amount or r.derivation.measured), 1):
        product = book.product(line.product_code)
        lines.append(
            InvoiceLine(
                id=f"{invoice_id}-{position}",
                position=position,
                rated_line_id=line.id,
                subscription_charge_id=line.subscription_charge_id,
                charge_code=line.charge_code,
                product_code=line.product_code,
                description=line.description,
                site_id=line.site_id,
                service_period=line.service_period,
                quantity=line.quantity,
                unit_price=line.unit_price,
                amount=line.amount,
                tax=Money.zero(book.currency),
                tax_code=product.tax_code,
                revenue_account=product.revenue_account,
                defer=book.charge(line.charge_code).defer,
                service_address=account.site(line.site_id).address if line.site_id else account.billing_address,
            )
        )
    if not lines:
        return None
    subtotal = total((line.amount for line in lines), book.currency)
    return Invoice(
        id=invoice_id,
        account_id=account.id,
        currency=book.currency,
        billing_period=billing_period,
        invoice_date=invoice_date,
        due_date=invoice_date + timedelta(days=account.payment_terms_days),
        status=InvoiceStatus.DRAFT,
        tax_exemption=account.tax_exemption,
        billing_address=account.billing_address,
        subtotal=subtotal,
        tax=Money.zero(book.currency),
        total=subtotal,
        lines=tuple(lines),
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
