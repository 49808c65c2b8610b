"""Graduated: each tier prices the units inside it; a tier's flat amount is due once it holds any unit.

No usage pays the first tier's flat amount, or nothing (``when_empty: no_charge``). Quantity >= 0.
"""

from __future__ import annotations

from collections.abc import Iterator

from core.exact import NOTHING, exactly
from core.prices import Graduated, WhenEmpty
from core.rating.derivation import Step
from core.rating.measured import Measured
from core.rating.tiers import ONE, inside, refuse_outside


def price(model: Graduated, measured: Measured) -> Iterator[Step]:
    quantity = measured.quantity
    refuse_outside(model, quantity)
    if quantity == 0:
        flat = ONE if model.when_empty is WhenEmpty.CHARGE_FIRST_TIER else NOTHING
        yield from inside(model.tiers[0], 1, quantity, flat=flat)
    lower = NOTHING
    for number, tier in enumerate(model.tiers, start=1):
        if quantity <= lower:
            break
        upper = quantity if tier.up_to is None else min(quantity, exactly(tier.up_to))
        yield from inside(tier, number, upper - lower)
        lower = upper
