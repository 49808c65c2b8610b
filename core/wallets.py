"""Credit in money that an account holds: paid ahead or given, drawn before a card is charged, never below zero.

Two kinds, because tax and ledger see them apart. *Promotional* credit is a discount: it stands as lines below zero on
the draft, before tax. *Prepaid* credit is money that we owe: it pays what an invoice comes to with tax. Every change is
a movement, so that granted + restored = drawn + expired + voided + left.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from core.errors import Rejected
from core.exact import NOTHING
from core.money import Money, Rounding, round_fraction, total
from core.noun import CurrencyCode, Id, Noun, Quantity
from core.rational import Fraction
from core.ties import credit_is_accounted, credit_never_below_zero


class CreditKind(StrEnum):
    PREPAID = "prepaid"  # paid for, a liability; pays invoices after tax
    PROMOTIONAL = "promotional"  # given, a discount; lowers lines before tax


#: Percent of prepaid credit that is expected never to be used.
BreakagePercent = Annotated[Quantity, Field(ge=0, lt=100)]


class CreditGrant(Noun):
    """So much credit of one account, and what is left of it.

    Usable by invoices dated from ``effective_on`` (inclusive) to ``expires_on`` (exclusive; None: for ever). Lower
    ``priority`` is drawn first, then what expires first. ``charges`` limit what it lowers (empty: any). ``source``
    names what granted it: a person, a credit of the price book and its account, or the invoice line that was paid.
    ``breakage_percent``: how much of prepaid credit is expected never to be used; it is earned in proportion to use.
    """

    id: Id
    account_id: Id
    kind: CreditKind
    currency: CurrencyCode
    amount: Money
    left: Money
    priority: int = 50
    charges: tuple[Id, ...] = ()
    granted_on: date
    effective_on: date
    expires_on: date | None = None
    breakage_percent: BreakagePercent = Quantity(0)
    reason: str
    source: Id

    @model_validator(mode="after")
    def _sound(self) -> Self:
        credit_never_below_zero(self.id, self.left, self.amount)
        if self.expires_on is not None and self.expires_on <= self.effective_on:
            raise ValueError(f"{self.id} must expire after it is effective")
        if self.kind is CreditKind.PREPAID and self.charges:
            raise ValueError(f"{self.id} is prepaid, so it pays whole invoices, not single charges")
        if self.kind is CreditKind.PROMOTIONAL and self.breakage_percent:
            raise ValueError(f"{self.id} was not paid for, so nothing is earned when it is not used")
        return self

    def usable(self, on: date) -> bool:
        return self.effective_on <= on and (self.expires_on is None or on < self.expires_on)


class Movement(StrEnum):
    """What changed a grant after it was granted."""

    DRAWN = "drawn"
    RESTORED = "restored"  # by a credit note
    EXPIRED = "expired"
    VOIDED = "voided"
    FORETOLD = "foretold"  # earned before it expires, since so much is never used
    RECALLED = "recalled"  # no longer earned ahead: more is used, or it has expired

    @property
    def sign(self) -> int:
        """What it does to what is left: breakage that is earned ahead may still be drawn."""
        return {Movement.RESTORED: 1, Movement.FORETOLD: 0, Movement.RECALLED: 0}.get(self, -1)


class CreditMovement(Noun):
    """One change of a grant; ``amount`` is above zero. ``id`` is made of its cause, so that nothing moves twice.

    ``document_id``: the invoice or credit note; ``line_id``: the rated line that promotional credit lowers.
    """

    id: Id
    grant_id: Id
    account_id: Id
    kind: Movement
    currency: CurrencyCode
    amount: Money
    moved_on: date
    document_id: Id | None = None
    line_id: Id | None = None

    @model_validator(mode="after")
    def _moves(self) -> Self:
        if self.amount.minor <= 0:
            raise ValueError(f"{self.id} moves nothing")
        return self


def check_account(grant: CreditGrant, movements: Iterable[CreditMovement]) -> None:
    """TieBroken unless what is left of a grant is what its movements leave."""
    sums = {kind: Money.zero(grant.currency) for kind in Movement}
    for one in movements:
        sums[one.kind] += one.amount
    credit_is_accounted(
        grant.id,
        grant.amount + sums[Movement.RESTORED],
        sums[Movement.DRAWN] + sums[Movement.EXPIRED] + sums[Movement.VOIDED] + grant.left,
    )


def in_order(grants: Iterable[CreditGrant], kind: CreditKind, currency: str, on: date) -> list[CreditGrant]:
    """What an invoice of a day may draw, in the order in which it is drawn."""
    usable = [one for one in grants if one.kind is kind and one.currency == currency and one.usable(on) and one.left]
    return sorted(usable, key=lambda one: (one.priority, one.expires_on or date.max, one.granted_on, one.id))


def discounts(
    grants: Iterable[CreditGrant], document_id: str, lines: Mapping[str, tuple[str, Money]], on: date
) -> Iterator[CreditMovement]:
    """What promotional credit takes off the lines of a draft: ``lines`` are (charge code, amount) by rated line.

    A line is never taken below zero, and all of them together not below zero where some are below it already.
    """
    if not lines:
        return
    currency = next(iter(lines.values()))[1].currency
    room = total((amount for _, amount in lines.values()), currency)
    due = {ident: amount for ident, (_, amount) in lines.items()}
    for grant in in_order(grants, CreditKind.PROMOTIONAL, currency, on):
        left = grant.left
        for ident, (code, _) in lines.items():
            amount = min(left, due[ident], room)
            if amount.minor <= 0 or (grant.charges and code not in grant.charges):
                continue
            left, room, due[ident] = left - amount, room - amount, due[ident] - amount
            yield drawn(grant, amount, document_id, on, ident)


def payments(grants: Iterable[CreditGrant], document_id: str, due: Money, on: date) -> Iterator[CreditMovement]:
    """What prepaid credit pays of an invoice; at most ``due``."""
    for grant in in_order(grants, CreditKind.PREPAID, due.currency, on):
        amount = min(grant.left, due)
        if amount.minor > 0:
            due -= amount
            yield drawn(grant, amount, document_id, on)


def drawn(grant: CreditGrant, amount: Money, document_id: str, on: date, line_id: str | None = None) -> CreditMovement:
    return _movement(grant, Movement.DRAWN, amount, on, document_id, line_id)


def _movement(
    grant: CreditGrant,
    kind: Movement,
    amount: Money,
    on: date,
    document_id: str | None = None,
    line_id: str | None = None,
) -> CreditMovement:
    cause = ">".join(part for part in (document_id, line_id) if part) or f"{on}"
    return CreditMovement(
        id=f"{grant.id}:{kind}:{cause}",
        grant_id=grant.id,
        account_id=grant.account_id,
        kind=kind,
        currency=grant.currency,
        amount=amount,
        moved_on=on,
        document_id=document_id,
        line_id=line_id,
    )


def expiry(grant: CreditGrant, by: date, earlier: int = 0) -> CreditMovement | None:
    """What is lost of a grant that expired by a day (inclusive), dated on its expiry; None where nothing is.

    ``earlier``: how often it expired before, with credit that was restored since.
    """
    if grant.expires_on is None or grant.expires_on > by or not grant.left:
        return None
    lost = _movement(grant, Movement.EXPIRED, grant.left, grant.expires_on)
    return lost.model_copy(update={"id": f"{lost.id}-{earlier + 1}"}) if earlier else lost


def earned_ahead(
    grant: CreditGrant, movements: Iterable[CreditMovement], newest: CreditMovement
) -> CreditMovement | None:
    """What ``newest``, one of its ``movements``, adds to or takes from the breakage of a grant that is earned ahead.

    Breakage is earned in the proportion in which the rest is used (ASC 606-10-55-48), and never more than is left.
    """
    if not grant.breakage_percent:
        return None
    sums = dict.fromkeys(Movement, 0)
    for one in movements:
        sums[one.kind] += one.amount.minor
    paid = grant.amount.minor - sums[Movement.VOIDED] - sums[Movement.EXPIRED]
    expected = paid * Fraction(grant.breakage_percent) / 100
    used = Fraction(sums[Movement.DRAWN] - sums[Movement.RESTORED])
    share = min(Fraction(1), used / (paid - expected)) if paid > 0 else NOTHING
    due = min(round_fraction(expected * share, Rounding.HALF_UP), grant.left.minor)
    step = due - (sums[Movement.FORETOLD] - sums[Movement.RECALLED])
    if not step:
        return None
    kind = Movement.FORETOLD if step > 0 else Movement.RECALLED
    amount = Money(abs(step), grant.currency)
    return newest.model_copy(update={"id": f"{newest.id}:{kind}", "kind": kind, "amount": amount, "line_id": None})


def restored(grant: CreditGrant, amount: Money, note_id: str, on: date, line_id: str | None = None) -> CreditMovement:
    """What a credit note gives back to a grant."""
    return _movement(grant, Movement.RESTORED, amount, on, note_id, line_id)


def voided(grant: CreditGrant, amount: Money, on: date, note_id: str | None = None) -> CreditMovement:
    """What is taken back of a grant. Rejected when so much is not left."""
    if amount > grant.left or amount.minor <= 0:
        raise Rejected(
            f"credit {grant.id} has {grant.left} left, so {amount} of it cannot be taken back",
            record=grant.id,
            field="amount",
            value=str(amount),
        )
    return _movement(grant, Movement.VOIDED, amount, on, note_id)


def balance(grants: Sequence[CreditGrant], currency: str) -> Money:
    """What is left of all of them in a currency."""
    return total((one.left for one in grants if one.currency == currency), currency)
