"""Money that came in: payments as the gateway reports them, and their application to invoices."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Self

from pydantic import model_validator

from core.entities import Document
from core.money import Money, total
from core.noun import CurrencyCode, Id, Instant, Noun
from core.ties import Part, require


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


class Payment(Document):
    """A payment of one invoice. ``id`` is that of its PaymentRequest; ``vendor_id`` the gateway's object.

    ``booked_on``: its day in our ledger and in the ERP: that of ``received_at`` where the customer is, or the first one
    that is open after its month was locked. None until it is booked; payments booked before this was kept have none.
    """

    id: Id
    vendor_id: str
    account_id: Id
    invoice_id: Id
    currency: CurrencyCode
    amount: Money
    status: PaymentStatus
    received_at: Instant
    booked_on: date | None = None
    failure: str | None = None


class PaymentAtErp(Document):
    """What a payment in the ERP pays of an invoice; ``paid_on``: its day."""

    id: Id
    account_id: Id
    invoice_id: Id
    currency: CurrencyCode
    amount: Money
    paid_on: date


class HeldPayment(PaymentAtErp):
    """An invoice paid with money that we hold of a customer: a receipt at the bank, or prepaid credit.

    ``id`` is that of the application or movement that pays it; ``held_as`` and ``held_id`` name what it is taken from.
    """

    held_as: str
    held_id: Id


class AppliedPayment(PaymentAtErp):
    """How much of a payment that stands in the ERP still pays its invoice, since a journal put some of it, or all, back
    on the customer. ``id``: of the payment there; ``amount``: zero or more.
    """

    @property
    def pays(self) -> bool:
        return self.amount.minor > 0


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


class Refund(Document):
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


class ChargebackStatus(StrEnum):
    """How far the customer's bank has come with a payment that its customer denies."""

    INQUIRY = "inquiry"  # it asks, and no money has moved; evidence is awaited
    OPEN = "open"  # it took the money back; evidence is awaited
    UNDER_REVIEW = "under review"
    WON = "won"
    LOST = "lost"
    DROPPED = "dropped"  # an inquiry that took nothing


class Chargeback(Noun):
    """A payment that the customer's bank takes back, as the gateway tells of it. ``id`` is the gateway's.

    ``moved``: what it moved on our balance so far, without fees, by the gateway's id of the movement: below zero taken,
    above zero given back. ``lost``: what of it is booked as bad debt; ``reopened``: what of its invoice is owed again.
    Whose it is (``payment_id``, ``invoice_id``, ``account_id``) is known once its payment is found.
    """

    id: Id
    payment_vendor_id: Id
    payment_id: Id | None = None
    invoice_id: Id | None = None
    account_id: Id | None = None
    currency: CurrencyCode
    amount: Money
    reason: str
    status: ChargebackStatus
    opened_at: Instant
    evidence_due_at: Instant | None = None
    moved: tuple[Part, ...] = ()
    lost: Money | None = None
    reopened: Money | None = None

    @property
    def taken(self) -> Money:
        """What is away from our balance now."""
        return -total((one.amount for one in self.moved), self.currency)

    @property
    def gone(self) -> Money:
        """What will not come back: decided, and not given back. A won one is decided when the first of it is back."""
        back = any(one.amount.minor > 0 for one in self.moved)
        decided = self.status is ChargebackStatus.LOST or (self.status is ChargebackStatus.WON and back)
        return self.taken if decided else Money.zero(self.currency)

    @property
    def awaits_evidence(self) -> bool:
        return self.status in (ChargebackStatus.INQUIRY, ChargebackStatus.OPEN)


class WriteOffState(StrEnum):
    PROPOSED = "proposed"  # waits for a second person
    BOOKED = "booked"
    REFUSED = "refused"


class WriteOff(Document):
    """So much of an invoice that nobody will pay, given up at the rate of the invoice. ``tax``: what of ``amount`` is
    tax, in proportion.

    ``decided_by``: the second person, who approved or refused; None where one was enough.
    """

    id: Id
    invoice_id: Id
    account_id: Id
    currency: CurrencyCode
    amount: Money
    tax: Money
    reason: str
    written_on: date
    proposed_by: str
    decided_by: str | None = None
    state: WriteOffState

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if not 0 <= self.tax.minor <= self.amount.minor or not self.amount:
            raise ValueError(f"write-off {self.id} gives up {self.amount}, of which {self.tax} cannot be tax")
        return self

    @property
    def net(self) -> Money:
        return self.amount - self.tax
