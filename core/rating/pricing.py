"""The price of one charge for one quantity, exact and not yet rounded.

Order: convert units, take off the charge's free units, price by the model (per group where one is declared), prorate,
take off the percentage, then what is above the maximum, then add what is missing of the minimum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from core.catalog import Charge, Parts, Timing
from core.exact import NOTHING, added, exactly, round_to
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
from core.rational import Fraction

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


#: The service period is billed in one part, so there is nothing earlier.
SINGLE = Earlier()


@dataclass(frozen=True, slots=True)
class Priced:
    """``quantity``: what the model priced in this part, after ``included`` free units; earlier parts before it.

    ``exact`` is the sum of the steps.
    """

    quantity: Fraction
    earlier_quantity: Fraction
    included: Fraction
    steps: tuple[Step, ...]
    exact: Fraction


def price_charge(
    charge: Charge,
    parts: Sequence[Part],
    *,
    factor: Fraction = ONE,
    earlier: Earlier = SINGLE,
    tier_by: Fraction | None = None,
) -> Priced:
    """The price of a charge for the parts of a quantity; ``factor`` is the share of the service period served."""
    priced = [
        _named(_price_group(charge, group, earlier, tier_by), key) for key, group in grouped(charge, parts).items()
    ]
    whole = priced[0] if len(priced) == 1 else _together(priced)
    steps, amount = whole.steps, whole.exact
    if factor != ONE:
        steps = tuple(step.model_copy(update={"factor": factor}) for step in steps)
        amount *= factor
    spend = tuple(_spend(charge, amount, earlier))
    if factor == ONE and not spend:
        return whole
    return replace(whole, steps=(*steps, *spend), exact=amount + amount_of(spend))


def _named(priced: Priced, group: tuple[str, ...]) -> Priced:
    return replace(priced, steps=tuple(step.named(" ".join(group)) for step in priced.steps)) if group else priced


def _together(priced: Sequence[Priced]) -> Priced:
    return Priced(
        quantity=added(one.quantity for one in priced),
        earlier_quantity=added(one.earlier_quantity for one in priced),
        included=added(one.included for one in priced),
        steps=tuple(step for one in priced for step in one.steps),
        exact=added(one.exact for one in priced),
    )


def grouped(charge: Charge, parts: Sequence[Part]) -> dict[tuple[str, ...], Sequence[Part]]:
    """The parts of each combination of values that the charge prices alone; all under ``()`` where it names none."""
    if not charge.group_by:
        return {(): parts}
    groups: dict[tuple[str, ...], list[Part]] = {}
    for part in parts:
        groups.setdefault(tuple(part.dimensions.get(name, "") for name in charge.group_by), []).append(part)
    return dict(groups)


def _price_group(charge: Charge, parts: Sequence[Part], earlier: Earlier, tier_by: Fraction | None) -> Priced:
    now = added([part.quantity for part in parts])
    before, total = _converted(charge.conversion, now, earlier.quantity)
    free = exactly(charge.included)
    billed_before, billed = _above(free, before), _above(free, total)
    measured = Measured(billed, _scaled(parts, now, billed), tier_by)
    steps = (
        price(charge.model, measured) if earlier is SINGLE else tuple(_split(charge, measured, billed_before, earlier))
    )
    quantity = billed - billed_before
    return Priced(quantity, billed_before, total - before - quantity, steps, amount_of(steps))


def _above(free: Fraction, quantity: Fraction) -> Fraction:
    """What is left of a quantity after free units; a negative quantity (a correction) stays as it is."""
    return max(quantity - free, min(quantity, NOTHING)) if free else quantity


def _converted(conversion: Conversion | None, now: Fraction, earlier: Fraction) -> tuple[Fraction, Fraction]:
    """Priced units before this part and with it."""
    if conversion is None:
        return earlier, earlier + now if earlier else now
    before = convert(conversion, earlier)
    if conversion.split == "independent":
        return before, before + convert(conversion, now)
    return before, convert(conversion, earlier + now)


def convert(conversion: Conversion, quantity: Fraction) -> Fraction:
    """Metered units as priced units."""
    factor = exactly(conversion.factor)
    exact = quantity * factor if conversion.operation == "multiply" else quantity / factor
    if conversion.rounding is None:
        return exact
    return round_to(exact, conversion.places, conversion.rounding)


def _scaled(parts: Sequence[Part], measured: Fraction, billed: Fraction) -> tuple[Part, ...]:
    """The parts in proportion to what of the whole is billed."""
    if not measured or measured == billed:
        return tuple(parts)
    share = billed / measured
    return tuple(Part(part.dimensions, part.quantity * share, part.events, part.each) for part in parts)


def _split(charge: Charge, measured: Measured, before: Fraction, earlier: Earlier) -> Iterator[Step]:
    """The steps of this part of the service period."""
    match charge.parts or _usual_parts(charge):
        case Parts.FIRST:
            yield from price(charge.model, measured) if earlier.opens else ()
        case Parts.LAST:
            yield from price(charge.model, measured) if earlier.closes else ()
        case Parts.CUMULATIVE:
            yield from price(charge.model, measured)
            if earlier.amount:
                yield Step(kind=StepKind.EARLIER, what="billed earlier", quantity=ONE, rate=-earlier.amount)
        case Parts.DIFFERENCE:
            yield from price(charge.model, measured)
            if before or not earlier.opens:
                for step in price(charge.model, Measured(before)):
                    less = {"kind": StepKind.EARLIER, "what": f"earlier, {step.what}", "quantity": -step.quantity}
                    yield step.model_copy(update=less)


def _usual_parts(charge: Charge) -> Parts:
    if charge.model.kind != "flat":
        return Parts.DIFFERENCE
    return Parts.FIRST if charge.timing is Timing.ADVANCE else Parts.LAST


def _spend(charge: Charge, amount: Fraction, earlier: Earlier) -> Iterator[Step]:
    """Percentage, then maximum, then minimum, over what all parts of the service period bill together."""
    if charge.discount_percent:
        rate = -exactly(charge.discount_percent) / HUNDRED
        step = Step(kind=StepKind.DISCOUNT, what=f"less {charge.discount_percent} percent", quantity=amount, rate=rate)
        amount += step.amount
        yield step
    if charge.max_spend is not None:
        above = min(max(NOTHING, earlier.amount + amount - exactly(charge.max_spend)), max(NOTHING, amount))
        if above:
            amount -= above
            yield Step(
                kind=StepKind.MAXIMUM, what=f"above the maximum of {charge.max_spend}", quantity=ONE, rate=-above
            )
    if charge.min_spend is not None and earlier.closes:
        missing = exactly(charge.min_spend) - earlier.amount - amount
        if missing > 0:
            yield Step(
                kind=StepKind.MINIMUM, what=f"missing of the minimum of {charge.min_spend}", quantity=ONE, rate=missing
            )
