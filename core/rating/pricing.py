"""The price of one charge for one quantity, exact and not yet rounded.

Order: convert units, take off the charge's free units, price by the model (per group where one is declared), prorate,
take off the percentage, then what is above the maximum, then add what is missing of the minimum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Any

from core.catalog import Charge, Parts, Timing
from core.money import round_fraction
from core.prices import (
    Blocks,
    Capacity,
    Committed,
    Conversion,
    Flat,
    Graduated,
    Matrix,
    Model,
    Package,
    Percentage,
    PerUnit,
    PreRated,
    Stairstep,
    Volume,
)
from core.rating import (
    blocks,
    capacity,
    committed,
    flat,
    graduated,
    matrix,
    package,
    per_unit,
    percentage,
    pre_rated,
    stairstep,
    volume,
)
from core.rating.derivation import Step, StepKind, amount_of
from core.rating.measured import Measured, Part
from core.rating.tiers import HUNDRED, ONE

NOTHING = Fraction(0)

#: How each price model becomes steps. A Matrix prices its cells by the others.
MODELS: Mapping[type, Callable[[Any, Measured], Iterator[Step]]] = {
    Flat: flat.price,
    PerUnit: per_unit.price,
    Graduated: graduated.price,
    Volume: volume.price,
    Stairstep: stairstep.price,
    Package: package.price,
    PreRated: pre_rated.price,
    Percentage: percentage.price,
    Blocks: blocks.price,
    Capacity: capacity.price,
    Committed: committed.price,
    Matrix: lambda model, measured: matrix.price(model, measured, price),
}


def price(model: Model, measured: Measured) -> tuple[Step, ...]:
    """The steps of one model for one quantity. Rejected when the model does not cover the quantity."""
    return tuple(MODELS[type(model)](model, measured))


class Position(StrEnum):
    """Where a part stands in a service period that is billed in parts."""

    SINGLE = "single"
    FIRST = "first"
    MID = "mid"
    LAST = "last"


@dataclass(frozen=True, slots=True)
class Earlier:
    """What earlier parts of the same service period measured (metered units) and billed (major units)."""

    quantity: Fraction = NOTHING
    amount: Fraction = NOTHING
    position: Position = Position.SINGLE

    @property
    def opens(self) -> bool:
        return self.position in (Position.SINGLE, Position.FIRST)

    @property
    def closes(self) -> bool:
        return self.position in (Position.SINGLE, Position.LAST)


@dataclass(frozen=True, slots=True)
class Priced:
    """``quantity``: what the model priced in this part, after ``included`` free units; earlier parts before it."""

    quantity: Fraction
    earlier_quantity: Fraction
    included: Fraction
    steps: tuple[Step, ...]

    @property
    def exact(self) -> Fraction:
        return amount_of(self.steps)


def price_charge(
    charge: Charge,
    parts: Iterable[Part],
    *,
    factor: Fraction = ONE,
    earlier: Earlier = Earlier(),
    tier_by: Fraction | None = None,
) -> Priced:
    """The price of a charge for the parts of a quantity; ``factor`` is the share of the service period served."""
    measured = tuple(parts)
    now = sum((part.quantity for part in measured), NOTHING)
    before, total = _converted(charge.conversion, now, earlier.quantity)
    free = Fraction(charge.included)
    billed_before, billed_total = max(before - free, min(before, NOTHING)), max(total - free, min(total, NOTHING))
    steps = tuple(
        step.model_copy(update={"factor": factor})
        for step in _split(
            charge, Measured(billed_total, _scaled(measured, now, billed_total), tier_by), billed_before, earlier
        )
    )
    quantity = billed_total - billed_before
    return Priced(
        quantity, billed_before, total - before - quantity, (*steps, *_spend(charge, amount_of(steps), earlier))
    )


def _converted(conversion: Conversion | None, now: Fraction, earlier: Fraction) -> tuple[Fraction, Fraction]:
    """Priced units before this part and with it."""
    if conversion is None:
        return earlier, earlier + now
    before = convert(conversion, earlier)
    if conversion.split == "independent":
        return before, before + convert(conversion, now)
    return before, convert(conversion, earlier + now)


def convert(conversion: Conversion, quantity: Fraction) -> Fraction:
    """Metered units as priced units."""
    factor = Fraction(conversion.factor)
    exact = quantity * factor if conversion.operation == "multiply" else quantity / factor
    if conversion.rounding is None:
        return exact
    grid = Fraction(10) ** conversion.places
    return round_fraction(exact * grid, conversion.rounding) / grid


def _scaled(parts: tuple[Part, ...], measured: Fraction, billed: Fraction) -> tuple[Part, ...]:
    """The parts in proportion to what of the whole is billed."""
    if not measured or measured == billed:
        return parts
    share = billed / measured
    return tuple(Part(part.dimensions, part.quantity * share, part.events, part.each) for part in parts)


def _split(charge: Charge, measured: Measured, before: Fraction, earlier: Earlier) -> Iterator[Step]:
    """The steps of this part of the service period."""
    match charge.parts or _usual_parts(charge):
        case Parts.FIRST:
            yield from _grouped(charge, measured) if earlier.opens else ()
        case Parts.LAST:
            yield from _grouped(charge, measured) if earlier.closes else ()
        case Parts.DIFFERENCE:
            yield from _grouped(charge, measured)
            if before or not earlier.opens:
                for step in price(charge.model, Measured(before)):
                    less = {"kind": StepKind.EARLIER, "what": f"earlier, {step.what}", "quantity": -step.quantity}
                    yield step.model_copy(update=less)


def _usual_parts(charge: Charge) -> Parts:
    if not isinstance(charge.model, Flat):
        return Parts.DIFFERENCE
    return Parts.FIRST if charge.timing is Timing.ADVANCE else Parts.LAST


def _grouped(charge: Charge, measured: Measured) -> Iterator[Step]:
    """Each combination of the grouping dimensions priced alone."""
    if not charge.group_by:
        yield from price(charge.model, measured)
        return
    groups: dict[tuple[str, ...], list[Part]] = {}
    for part in measured.parts:
        groups.setdefault(tuple(part.dimensions.get(name, "") for name in charge.group_by), []).append(part)
    for key, parts in groups.items():
        quantity = sum((part.quantity for part in parts), NOTHING)
        for step in price(charge.model, Measured(quantity, tuple(parts), measured.tier_by)):
            yield step.model_copy(update={"what": f"{' '.join(key)}: {step.what}"})


def _spend(charge: Charge, amount: Fraction, earlier: Earlier) -> Iterator[Step]:
    """Percentage, then maximum, then minimum, over what all parts of the service period bill together."""
    if charge.discount_percent:
        rate = -Fraction(charge.discount_percent) / HUNDRED
        step = Step(kind=StepKind.DISCOUNT, what=f"less {charge.discount_percent} percent", quantity=amount, rate=rate)
        amount += step.amount
        yield step
    if charge.max_spend is not None:
        above = min(max(NOTHING, earlier.amount + amount - Fraction(charge.max_spend)), max(NOTHING, amount))
        if above:
            amount -= above
            yield Step(
                kind=StepKind.MAXIMUM, what=f"above the maximum of {charge.max_spend}", quantity=ONE, rate=-above
            )
    if charge.min_spend is not None and earlier.closes:
        missing = Fraction(charge.min_spend) - earlier.amount - amount
        if missing > 0:
            yield Step(
                kind=StepKind.MINIMUM, what=f"missing of the minimum of {charge.min_spend}", quantity=ONE, rate=missing
            )
