"""What tiered models share: which tier a quantity is in, and what a tier's units cost.

A tier covers the units above the previous ``up_to``. At exactly ``up_to`` the quantity is in the tier that ends there
(``upper_inclusive``, the default) or in the next (``lower_inclusive``). Quantities are >= 0.
"""

from __future__ import annotations

from collections.abc import Iterator

from core.errors import Rejected
from core.exact import exactly
from core.prices import Tier, TierBounds, Tiered
from core.rating.derivation import Step, StepKind, amount_of, plain
from core.rational import Fraction

ONE = Fraction(1)
HUNDRED = Fraction(100)


def lower_bounds(model: Tiered) -> list[Fraction]:
    """Where each tier begins: zero, then the previous ``up_to``."""
    return [Fraction(0), *(exactly(tier.up_to) for tier in model.tiers[:-1] if tier.up_to is not None)]


def refuse_outside(model: Tiered, quantity: Fraction) -> None:
    """Rejected when no tier covers the quantity: below zero, or above a last tier that is not open."""
    last = model.tiers[-1].up_to
    if quantity < 0 or (last is not None and quantity > last):
        raise Rejected(
            f"no tier covers a quantity of {plain(quantity)}", record="charge", field="quantity", value=str(quantity)
        )


def reached(model: Tiered, quantity: Fraction) -> int:
    """The index of the tier a whole quantity is in."""
    refuse_outside(model, quantity)
    for index, tier in enumerate(model.tiers):
        limit = tier.up_to
        inside = limit is None or (
            quantity <= limit if model.bounds is TierBounds.UPPER_INCLUSIVE else quantity < limit
        )
        if inside:
            return index
    return len(model.tiers) - 1


def inside(tier: Tier, number: int, units: Fraction, *, flat: Fraction = ONE) -> Iterator[Step]:
    """Steps of ``units`` at the prices of tier ``number`` (from 1); ``flat`` times its flat amount."""
    steps: list[Step] = []
    if tier.unit_amount or not (tier.rate or tier.flat_amount):
        steps.append(Step(what=f"tier {number}", quantity=units, rate=exactly(tier.unit_amount)))
    if tier.rate:
        steps.append(Step(what=f"tier {number}, percent", quantity=units, rate=exactly(tier.rate) / HUNDRED))
    if tier.flat_amount and flat:
        steps.append(Step(what=f"tier {number}, flat amount", quantity=flat, rate=exactly(tier.flat_amount)))
    yield from steps
    if tier.cap is not None and (cost := amount_of(steps)) > tier.cap:
        yield Step(kind=StepKind.CAP, what=f"tier {number}, cap", quantity=ONE, rate=exactly(tier.cap) - cost)
