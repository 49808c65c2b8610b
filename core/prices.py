"""The price models as data: what a price book may say about the price of one charge.

Amounts are major units of the book's currency (``0.045`` is four and a half cents), never rounded here; quantities are
in the charge's unit after conversion. How each shape becomes an amount stands in ``core/rating/<kind>.py``.
"""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from core.money import Rounding
from core.noun import Id, Noun, Quantity

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


class PreRated(Noun):
    """The quantity is an amount of money computed upstream; it is charged ``multiplier`` times."""

    kind: Literal["pre_rated"] = "pre_rated"
    multiplier: Quantity = Quantity(1)


class Percentage(Noun):
    """``rate`` percent of each event's amount plus ``fixed_per_event``, kept within a least and a most per event.

    An event is free while fewer than ``free_events`` were and the free amount is not used up; an event that the free
    amount covers in part pays for the rest. Needs the single events only where a limit or a free part is declared.
    """

    kind: Literal["percentage"] = "percentage"
    rate: Quantity
    fixed_per_event: NotNegative = Quantity(0)
    min_per_event: NotNegative | None = None
    max_per_event: NotNegative | None = None
    free_events: Annotated[int, Field(ge=0)] | None = None
    free_amount: NotNegative | None = None


Simple: TypeAlias = Annotated[
    Flat | PerUnit | Graduated | Volume | Stairstep | Package | PreRated, Field(discriminator="kind")
]


class Cell(Noun):
    """One cell of a matrix: the price of usage whose dimensions have all the values of ``when``."""

    when: dict[str, str]
    model: Simple


class Matrix(Noun):
    """Price by dimensions (region, time of day, direction...): usage is priced by the first cell it fits.

    Usage that fits no cell is refused. ``when: {}`` fits all, so it stands last.
    """

    kind: Literal["matrix"] = "matrix"
    cells: Annotated[tuple[Cell, ...], Field(min_length=1)]


class Block(Noun):
    """``size`` units at ``price``; a tier holds ``max_blocks`` of them (None: no limit)."""

    size: Positive
    max_blocks: Annotated[int, Field(gt=0)] | None = None
    price: Quantity


class Blocks(Noun):
    """Blocks per tier and unit, where the dimension ``by`` of the usage names the unit; a started block counts whole.

    ``fill``: tier after tier; ``top``: the tier of the whole quantity prices all of it (the last tier is open).
    """

    kind: Literal["blocks"] = "blocks"
    by: str
    policy: Literal["fill", "top"]
    tiers: Annotated[tuple[dict[str, Block], ...], Field(min_length=1)]


class CapacityStep(Noun):
    """One capacity: the most of each unit it covers (None: no limit) and its price."""

    limits: dict[str, NotNegative | None]
    price: Quantity


class Capacity(Noun):
    """A flat price for the highest step that any unit needs (high water); the dimension ``by`` names the unit."""

    kind: Literal["capacity"] = "capacity"
    by: str
    steps: Annotated[tuple[CapacityStep, ...], Field(min_length=1)]


class Window(Noun):
    """Price and commitment of the hours ``from_hour`` (inclusive) to ``to_hour`` (exclusive) of the local day."""

    from_hour: Annotated[int, Field(ge=0, le=23)] = 0
    to_hour: Annotated[int, Field(ge=1, le=24)] = 24
    unit_amount: Quantity
    commitment: NotNegative = Quantity(0)
    """An amount, or ``commitment_units`` at the window's price."""
    commitment_units: NotNegative = Quantity(0)
    overage_factor: NotNegative = Quantity(1)
    true_up: Literal["charged", "waived"] = "charged"


class Committed(Noun):
    """Each metering window (usage whose dimension ``by`` is its hour) against the commitment of the hour it is in.

    Cost below the commitment is topped up where ``true_up`` is charged; cost above it is multiplied by
    ``overage_factor``. The first window that holds the hour applies.
    """

    kind: Literal["committed"] = "committed"
    by: str = "hour"
    windows: Annotated[tuple[Window, ...], Field(min_length=1)]


class Commitment(Noun):
    """What is missing of ``amount`` after the amounts of the charges ``of`` (empty: all others but ``excluding``).

    ``counts``: whether charges count before the rules of the book (``listed``) or after them (``net``).
    """

    kind: Literal["commitment"] = "commitment"
    amount: NotNegative
    of: tuple[Id, ...] = ()
    excluding: tuple[Id, ...] = ()
    counts: Literal["listed", "net"] = "net"


Model: TypeAlias = Annotated[
    Flat
    | PerUnit
    | Graduated
    | Volume
    | Stairstep
    | Package
    | PreRated
    | Percentage
    | Matrix
    | Blocks
    | Capacity
    | Committed
    | Commitment,
    Field(discriminator="kind"),
]


class Conversion(Noun):
    """Metered units to priced units: times or divided by ``factor``, then rounded to ``places`` where a mode is given.

    ``split``: a period billed in parts converts running totals (``cumulative``) or each part alone (``independent``).
    """

    operation: Literal["multiply", "divide"]
    factor: Positive
    rounding: Rounding | None = None
    places: int = 0
    split: Literal["cumulative", "independent"] = "cumulative"
