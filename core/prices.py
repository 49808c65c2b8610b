"""The price models as data: what a price book may say about the price of one charge.

Amounts are major units of the book's currency (``0.045`` is four and a half cents), never rounded here; quantities are
in the charge's unit after conversion. How each shape becomes an amount stands in ``core/rating/<kind>.py``.
"""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from core.noun import Noun, Quantity

#: A quantity, price or percentage that is >= 0.
NotNegative = Annotated[Quantity, Field(ge=0)]
Positive = Annotated[Quantity, Field(gt=0)]


class TierBounds(StrEnum):
    """Which tier a quantity equal to ``up_to`` belongs to."""

    UPPER_INCLUSIVE = "upper_inclusive"  # to the tier that ends there
    LOWER_INCLUSIVE = "lower_inclusive"  # to the tier that begins there


class WhenEmpty(StrEnum):
    """What a quantity of zero pays of the first tier's flat amount."""

    CHARGE_FIRST_TIER = "charge_first_tier"
    NO_CHARGE = "no_charge"


class Tier(Noun):
    """Units above the previous tier's ``up_to`` up to its own (None: no limit), fractional units included.

    ``unit_amount``: per unit; ``flat_amount``: once, when the tier is reached; ``rate``: percent of the quantity, for
    charges whose quantity is an amount of money; ``cap``: most the tier may cost.
    """

    up_to: Positive | None = None
    unit_amount: Quantity = Quantity(0)
    flat_amount: Quantity = Quantity(0)
    rate: Quantity = Quantity(0)
    cap: NotNegative | None = None


class Tiered(Noun):
    """What all tiered models share. A quantity above the last ``up_to`` is refused when it is rated."""

    tiers: Annotated[tuple[Tier, ...], Field(min_length=1)]
    bounds: TierBounds = TierBounds.UPPER_INCLUSIVE
    when_empty: WhenEmpty = WhenEmpty.CHARGE_FIRST_TIER

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        limits = [tier.up_to for tier in self.tiers]
        if None in limits[:-1]:
            raise ValueError("only the last tier may be without up_to")
        closed = [limit for limit in limits if limit is not None]
        if any(low >= high for low, high in pairwise(closed)):
            raise ValueError("up_to must rise from tier to tier")
        return self


class Flat(Noun):
    """``amount`` once per service period, whatever the quantity."""

    kind: Literal["flat"] = "flat"
    amount: Quantity


class PerUnit(Noun):
    """``unit_amount`` for each unit, fractional units included."""

    kind: Literal["per_unit"] = "per_unit"
    unit_amount: Quantity


class Graduated(Tiered):
    """Each tier prices the units inside it."""

    kind: Literal["graduated"] = "graduated"


class Volume(Tiered):
    """The tier of the whole quantity prices all of it."""

    kind: Literal["volume"] = "volume"


class Stairstep(Tiered):
    """Only the flat amount of the tier reached."""

    kind: Literal["stairstep"] = "stairstep"


class Package(Noun):
    """``package_amount`` per ``package_size`` units above ``free_units``; a started one counts whole or not at all."""

    kind: Literal["package"] = "package"
    package_size: Positive
    package_amount: Quantity
    free_units: NotNegative = Quantity(0)
    partial_package: Literal["up", "down"] = "up"


Model: TypeAlias = Annotated[Flat | PerUnit | Graduated | Volume | Stairstep | Package, Field(discriminator="kind")]
