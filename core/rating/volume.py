"""Volume: the tier of the whole quantity prices all of it, its flat amount once. Quantity >= 0.

``Measured.tier_by`` may choose the tier instead (a pool over sites; the full month of a prorated quantity).
"""

from __future__ import annotations

from collections.abc import Iterator

from core.prices import Volume, WhenEmpty
from core.rating.derivation import Step
from core.rating.measured import Measured
from core.rating.tiers import ONE, inside, reached
from core.rational import Fraction


def price(model: Volume, measured: Measured) -> Iterator[Step]:
    selector = measured.quantity if measured.tier_by is None else measured.tier_by
    index = reached(model, selector)
    free = selector == 0 and model.when_empty is WhenEmpty.NO_CHARGE
    yield from inside(model.tiers[index], index + 1, measured.quantity, flat=Fraction(0) if free else ONE)
