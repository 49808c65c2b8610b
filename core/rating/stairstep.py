"""Stairstep: only the flat amount of the tier reached; units inside it are free. Quantity >= 0."""

from __future__ import annotations

from collections.abc import Iterator

from core.exact import exactly
from core.prices import Stairstep, WhenEmpty
from core.rating.derivation import Step
from core.rating.measured import Measured
from core.rating.tiers import ONE, reached
from core.rational import Fraction


def price(model: Stairstep, measured: Measured) -> Iterator[Step]:
    selector = measured.quantity if measured.tier_by is None else measured.tier_by
    index = reached(model, selector)
    free = selector == 0 and model.when_empty is WhenEmpty.NO_CHARGE
    yield Step(
        what=f"tier {index + 1}, flat amount",
        quantity=Fraction(0) if free else ONE,
        rate=exactly(model.tiers[index].flat_amount),
    )
