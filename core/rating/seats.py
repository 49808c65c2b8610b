"""Seats that change inside a period, on graduated tiers: positions are in whole units, prices on prorated ones.

Adding fills the tiers upward, removing empties them from the top. A change that straddles tiers is split, each part
with the change's own ratio of prorated to whole units. Each tier ever reached pays its flat amount once. What ends
below zero bills zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.exact import NOTHING, exactly
from core.prices import Graduated
from core.rating.derivation import Step, StepKind, amount_of
from core.rating.tiers import ONE, lower_bounds, refuse_outside
from core.rational import Fraction


@dataclass(frozen=True, slots=True)
class Seats:
    """A change of ``units`` (negative: removed) that counts for ``prorated`` units in this period."""

    units: Fraction
    prorated: Fraction


def price_changes(model: Graduated, changes: Sequence[Seats]) -> tuple[Step, ...]:
    """The steps of all changes, in their order. Rejected when seats fall below zero or above the last tier."""
    steps = list(_steps(model, changes))
    if (due := amount_of(steps)) < 0:
        steps.append(Step(kind=StepKind.CAP, what="never below zero", quantity=ONE, rate=-due))
    return tuple(steps)


def _steps(model: Graduated, changes: Sequence[Seats]) -> Iterator[Step]:
    position, entered = NOTHING, set()
    bounds = lower_bounds(model)
    for change in changes:
        after = position + change.units
        refuse_outside(model, after)
        low, high = min(position, after), max(position, after)
        ratio = change.prorated / change.units if change.units else NOTHING
        for index, tier in enumerate(model.tiers):
            top = high if tier.up_to is None else min(high, exactly(tier.up_to))
            units = top - max(low, bounds[index])
            if units <= 0:
                continue
            signed = units * abs(ratio) * (1 if change.units > 0 else -1)
            yield Step(what=f"tier {index + 1}, prorated", quantity=signed, rate=exactly(tier.unit_amount))
            if index not in entered and tier.flat_amount:
                yield Step(what=f"tier {index + 1}, flat amount", quantity=ONE, rate=exactly(tier.flat_amount))
            entered.add(index)
        position = after
