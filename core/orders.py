"""The commercial act: an Order and its lines, and what activation makes of it."""

from __future__ import annotations

from datetime import date
from typing import Self

from pydantic import model_validator

from core.accounts import Account
from core.money import Money
from core.noun import CurrencyCode, Id, Instant, Noun, Quantity
from core.ties import order_equals_lines


class OrderLine(Noun):
    """One product ordered for one site (or the whole account).

    ``id`` is the line's id in the CRM; ``charge_code`` names the charge of the price book; ``quantity`` and
    ``unit_price`` are what the quote says, ``amount`` what the CRM computed from them.
    """

    id: Id
    charge_code: Id
    description: str = ""
    site_id: Id | None = None
    quantity: Quantity
    unit_price: Quantity
    amount: Money
    start_on: date | None = None


class Order(Noun):
    """A won quote. ``id`` is its id in the CRM; ``account`` is the customer as the CRM described it at that moment."""

    id: Id
    name: str
    account: Account
    currency: CurrencyCode
    purchase_order: str | None = None
    closed_on: date
    start_on: date
    term_months: int | None = None
    """Whole months from ``start_on``; None: evergreen."""
    total: Money
    lines: tuple[OrderLine, ...]
    changed_at: Instant
    """When the CRM last changed it: the version of the order."""

    @model_validator(mode="after")
    def _ties(self) -> Self:
        order_equals_lines(self.id, self.total, [line.amount for line in self.lines])
        return self


class OrderProgress(Noun):
    """What we tell the CRM about an order. ``id`` is the order's; amounts are totals over its invoices, with tax."""

    id: Id
    status: str
    """provisioned, invoiced or paid"""
    currency: CurrencyCode
    subscription_id: Id
    invoice_numbers: tuple[Id, ...] = ()
    invoiced: Money
    paid: Money
