"""The terms that span charges, as data: included units, price layers, and rules with conditions."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from core.noun import CurrencyCode, Id, Instant, Noun, Quantity
from core.prices import Model, NotNegative, Positive
from core.wallets import BreakagePercent, CreditKind


class AllowanceStep(Noun):
    """``units`` are included once the driver's usage of the period reaches ``at_least``."""

    at_least: NotNegative
    units: NotNegative


class Earned(Noun):
    """One free unit per ``per`` units of the meter ``driver``, whole units only, at most ``cap``."""

    driver: Id
    per: Positive
    cap: NotNegative | None = None


class Rollover(Noun):
    """Units that a month leaves unused may be drawn in the ``months`` after it; at most ``most`` are carried on.

    Of more than ``most`` the ones that would expire first are lost.
    """

    months: Annotated[int, Field(ge=1, le=120)]
    most: NotNegative | None = None


class Allowance(Noun):
    """Included units, pooled over the sites and ``charges`` that draw on it, fresh in each billing month.

    Its size is ``units`` + ``per_site`` x sites of the account, or the last of ``steps`` that the usage of ``driver``
    reaches, or what is ``earned``; times the subscribed quantity of the charge ``granted_by`` where one is named.
    ``charges`` draw in their order; inside a charge its sites draw ``proportional`` to their usage, on a grid of
    ``1e-places`` units by largest remainder, or ``in_order`` of the account. ``weights``: allowance units that one unit
    of a charge takes (1 where it is not named).

    Of several sources of units the lower ``priority`` is drawn first, then what expires first, then the earlier.
    """

    id: Id
    units: NotNegative = Quantity(0)
    per_site: NotNegative = Quantity(0)
    driver: Id | None = None
    steps: tuple[AllowanceStep, ...] = ()
    earned: Earned | None = None
    charges: Annotated[tuple[Id, ...], Field(min_length=1)]
    granted_by: Id | None = None
    share: Literal["proportional", "in_order"] = "proportional"
    weights: dict[Id, Positive] = Field(default_factory=dict)
    places: Annotated[int, Field(ge=0, le=12)] = 6
    priority: int = 0
    rollover: Rollover | None = None


class Credit(Noun):
    """Money that an account is credited with because it bought the charge ``granted_by``.

    ``promotional``: ``amount`` per unit of that charge in force, ``once`` in the life of the account or each ``month``.
    ``prepaid``: what the account paid for that one-time charge, its top-up. ``months``: how long it is usable, from the
    day it is granted (None: for ever). Lower ``priority`` is drawn first; ``charges`` limit what it lowers.
    ``breakage_percent``: how much of prepaid credit is expected never to be used.
    """

    id: Id
    name: str
    kind: CreditKind
    granted_by: Id
    amount: Positive | None = None
    every: Literal["once", "month"] = "once"
    months: Annotated[int, Field(ge=1)] | None = None
    priority: int = 50
    charges: tuple[Id, ...] = ()
    breakage_percent: BreakagePercent = Quantity(0)

    @model_validator(mode="after")
    def _what_it_gives(self) -> Self:
        if (self.kind is CreditKind.PROMOTIONAL) != (self.amount is not None):
            raise ValueError("promotional credit states its amount, and prepaid credit is what was paid for it")
        if self.kind is CreditKind.PREPAID and (self.charges or self.every != "once"):
            raise ValueError("prepaid credit pays whole invoices, and is granted once for each top-up that is paid")
        if self.kind is CreditKind.PROMOTIONAL and self.breakage_percent:
            raise ValueError("promotional credit is not paid for, so nothing is earned when it is not used")
        return self


class Level(StrEnum):
    """Where a price layer applies, the most specific last; an order's own unit price stands above them all."""

    ACCOUNT = "account"  # an account or one above it: the nearest wins
    SITE = "site"  # a site, or a group of sites
    CONTACT = "contact"  # usage whose dimension ``contact`` is this contact
    SUBSCRIPTION = "subscription"


class Override(Noun):
    """The fields of a charge that a layer sets; None: left as it is."""

    model: Model | None = None
    included: NotNegative | None = None
    discount_percent: Annotated[Quantity, Field(ge=0, le=100)] | None = None
    max_spend: NotNegative | None = None
    min_spend: NotNegative | None = None


class Layer(Noun):
    """Prices of ``of`` (an id of the level) for service periods that start from ``effective_from`` to before
    ``effective_to``; ``recorded_at`` is when we agreed on it, so that a bill of the past can be made again."""

    id: Id
    level: Level
    of: Id
    currency: CurrencyCode | None = None
    """Of the prices that it sets; None: the book's."""
    effective_from: date
    effective_to: date | None = None
    recorded_at: Instant | None = None
    charges: dict[Id, Override]


class Condition(Noun):
    """A fact about the bill: the metered quantity (included units too) or the amount of the charges ``of`` together.

    True from ``at_least`` (inclusive) to ``below`` (exclusive). An amount counts after the rules that act on it, and
    for a rule's own charges as the rules before it in the book left them.
    """

    measure: Literal["quantity", "amount"]
    of: Annotated[tuple[Id, ...], Field(min_length=1)]
    at_least: Quantity | None = None
    below: Quantity | None = None


class PercentOff(Noun):
    kind: Literal["percent_off"] = "percent_off"
    percent: Annotated[Quantity, Field(ge=0, le=100)]


class AmountOff(Noun):
    """At most what the charges cost together."""

    kind: Literal["amount_off"] = "amount_off"
    amount: NotNegative


class MaximumSpend(Noun):
    """What the charges cost together above ``amount`` is taken off."""

    kind: Literal["maximum"] = "maximum"
    amount: NotNegative


class Entitlement(Noun):
    """At most ``units`` of the charges together: ``hard`` refuses to rate more, ``soft`` only tells (see alerts)."""

    kind: Literal["entitlement"] = "entitlement"
    units: NotNegative
    limit: Literal["hard", "soft"]


class Rule(Noun):
    """When all conditions hold, ``then`` acts on the charges ``on`` (none: all but commitments), to the cent."""

    id: Id
    when: tuple[Condition, ...] = ()
    on: tuple[Id, ...] = ()
    then: Annotated[PercentOff | AmountOff | MaximumSpend | Entitlement, Field(discriminator="kind")]
