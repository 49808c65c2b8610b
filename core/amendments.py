"""Changes to a standing contract. A subscription is never edited: an Amendment makes its next version.

A changed charge ends where the change takes effect and a new one starts there, so every day is served by exactly one of
them. What was billed in advance is settled by rating the billed period again and taking the difference
(``core.rating.compare``), never by a second proration formula.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import Field

from core.errors import Rejected
from core.money import Money
from core.noun import Id, Instant, Noun, Quantity
from core.subscriptions import Subscription, SubscriptionCharge


class Stop(Noun):
    """The charge ends on ``effective_on`` (that day is no longer served)."""

    kind: Literal["stop"] = "stop"
    charge_id: Id


class Start(Noun):
    """A new charge; its ``starts_on`` is the day the amendment takes effect, or later."""

    kind: Literal["start"] = "start"
    charge: SubscriptionCharge


class Replace(Noun):
    """An up- or downgrade: the charge goes on with another quantity, price or charge code (None: as before)."""

    kind: Literal["replace"] = "replace"
    charge_id: Id
    quantity: Quantity | None = None
    unit_price: Quantity | None = None
    charge_code: Id | None = None


class Pause(Noun):
    """The charge is not served from ``effective_on`` to ``until`` (exclusive), and goes on after that."""

    kind: Literal["pause"] = "pause"
    charge_id: Id
    until: date


class Amendment(Noun):
    """Changes that take effect together on ``effective_on``; ``recorded_at`` is when we knew of them.

    ``order_id``: the order that asked for them.
    """

    id: Id
    subscription_id: Id
    order_id: Id | None = None
    effective_on: date
    recorded_at: Instant
    changes: Annotated[
        tuple[Annotated[Stop | Start | Replace | Pause, Field(discriminator="kind")], ...], Field(min_length=1)
    ]


def amend(subscription: Subscription, amendment: Amendment) -> Subscription:
    """The next version of the subscription. Rejected when a change names a charge that is not served on that day."""
    version = subscription.version + 1
    charges = {charge.id: charge for charge in subscription.charges}
    for change in amendment.changes:
        if isinstance(change, Start):
            if change.charge.id in charges or change.charge.starts_on < amendment.effective_on:
                raise _refuse(amendment, change.charge.id, "it exists, or it starts before the amendment takes effect")
            charges[change.charge.id] = change.charge
            continue
        old = charges.get(change.charge_id)
        if old is None or not served(old, amendment.effective_on):
            raise _refuse(amendment, change.charge_id, "it is not served on that day")
        del charges[old.id]
        charges |= {one.id: one for one in _changed(old, change, amendment, version)}
    return subscription.model_copy(update={"version": version, "charges": tuple(charges.values())})


def as_known(subscription: Subscription, amendments: Sequence[Amendment], at: datetime | None = None) -> Subscription:
    """The subscription with the amendments that were recorded by ``at`` (inclusive; None: all), in that order."""
    known = [
        one for one in amendments if one.subscription_id == subscription.id and (at is None or one.recorded_at <= at)
    ]
    for amendment in sorted(known, key=lambda one: (one.recorded_at, one.id)):
        subscription = amend(subscription, amendment)
    return subscription


def _changed(
    old: SubscriptionCharge, change: Stop | Replace | Pause, amendment: Amendment, version: int
) -> Iterator[SubscriptionCharge]:
    """What is left of the charge before the day, then what goes on from it."""
    on, more = amendment.effective_on, {"contract_value": Money.zero(old.contract_value.currency)}
    yield old.model_copy(update={"ends_on": on})
    match change:
        case Replace():
            given = {"quantity": change.quantity, "unit_price": change.unit_price, "charge_code": change.charge_code}
            update = {name: value for name, value in given.items() if value is not None}
            yield old.model_copy(update={"id": f"{old.id}~{version}", "starts_on": on, **more, **update})
        case Pause() if old.ends_on is None or change.until < old.ends_on:
            if change.until <= on:
                raise _refuse(amendment, old.id, f"a pause until {change.until} is empty")
            yield old.model_copy(update={"id": f"{old.id}~{version}", "starts_on": change.until, **more})


def served(charge: SubscriptionCharge, on: date) -> bool:
    """Whether a charge stands on a day."""
    return charge.starts_on <= on and (charge.ends_on is None or on < charge.ends_on)


def _refuse(amendment: Amendment, charge_id: str, why: str) -> Rejected:
    return Rejected(
        f"amendment {amendment.id} of {amendment.effective_on}: charge {charge_id}: {why}",
        record=amendment.subscription_id,
        field="charge_id",
        value=charge_id,
    )
