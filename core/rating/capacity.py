"""Capacity: the flat price of the highest step that any unit needs; limits are inclusive. Above the last: refused."""

from __future__ import annotations

from collections.abc import Iterator

from core.errors import Rejected
from core.prices import Capacity
from core.rating.derivation import Step, plain
from core.rating.measured import Measured
from core.rational import Fraction


def price(model: Capacity, measured: Measured) -> Iterator[Step]:
    needed = 0
    for unit, quantity in measured.by(model.by).items():
        limits = [step.limits.get(unit) for step in model.steps]
        holds = [n for n, limit in enumerate(limits) if limit is None or quantity <= limit]
        if not holds:
            raise Rejected(f"no capacity holds {plain(quantity)} of {unit}", record="charge", field=unit)
        needed = max(needed, holds[0])
    what = f"capacity {needed + 1}"
    yield Step(what=what, quantity=Fraction(1), rate=Fraction(model.steps[needed].price))
