"""Money that came in: payments as the gateway reports them, and their application to invoices."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Self

from pydantic import model_validator

from core.money import Money
from core.noun import CurrencyCode, Id, Instant, Noun
from core.ties import require


class PaymentStatus(StrEnum):
    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class PaymentRequest(Noun):
    """The wish to collect an invoice through the gateway, off session. ``id`` is our key of the charge there.

    ``payer_id``: the account whose card is charged (None: ``account_id``'s own).
    """

    id: Id
    invoice_id: Id
    account_id: Id
    currency: CurrencyCode
    amount: Money
    description: str
    payer_id: Id | None = None


class Payment(Noun):
    """A payment of one invoice. ``id`` is that of its PaymentRequest; ``vendor_id`` the gateway's object."""

    id: Id
    vendor_id: str
    account_id: Id
    invoice_id: Id
    currency: CurrencyCode
    amount: Money
    status: PaymentStatus
    received_at: Instant
    failure: str | None = None


class Settlement(Noun):
    """What the gateway booked to our balance for a payment or refund: gross = net + fee. ``id`` is the gateway's."""

    id: Id
    payment_id: Id
    currency: CurrencyCode
    gross: Money
    fee: Money
    net: Money
    available_on: Instant
    kind: str

    @model_validator(mode="after")
    def _ties(self) -> Self:
        require("settlement gross = net + fee", self.id, self.gross, self.net + self.fee)
        return self


class Refund(Noun):
    """Money given back. ``id`` is our key of it everywhere; ``credit_note_id``: what it pays out."""

    id: Id
    payment_id: Id
    payment_vendor_id: str
    credit_note_id: Id
    refunded_on: date
    currency: CurrencyCode
    amount: Money
    reason: str


class Dispute(Noun):
    """A customer's objection to an invoice: while it is open, ``amount`` of the invoice is not collected."""

    id: Id
    invoice_id: Id
    account_id: Id
    currency: CurrencyCode
    amount: Money
    reason: str
    opened_on: date
    closed_on: date | None = None
