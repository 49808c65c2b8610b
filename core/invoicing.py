"""Invoices and credit notes: drafted from what is due, taxed by the engine, then final and never changed."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Any, Self

from pydantic import model_validator

from core.accounts import Address
from core.money import Money
from core.noun import CurrencyCode, Id, Noun, Quantity
from core.period import DateSpan
from core.ties import invoice_equals_lines, invoice_total


class InvoiceStatus(StrEnum):
    DRAFT = "draft"
    TAXED = "taxed"
    FINAL = "final"


class InvoiceLine(Noun):
    """One charge for one service period. ``amount`` is before tax; ``unit_price`` is for print, never multiplied again."""

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

    def replace(self, **changes: Any) -> Invoice:
        """A checked copy with some fields changed."""
        return Invoice.model_validate({**dict(self), **changes})
