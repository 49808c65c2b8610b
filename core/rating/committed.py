"""Committed: each hourly window against its own commitment; missing cost is topped up, cost above it is multiplied.

The dimension ``by`` of the usage is the window's local hour, 0 to 23; windows of the same hour are separate parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from core.errors import Rejected
from core.exact import exactly
from core.prices import Committed, Window
from core.rating.derivation import Step, StepKind
from core.rating.measured import Measured, Part
from core.rating.tiers import ONE
from core.rational import Fraction


@dataclass(frozen=True, slots=True)
class Utilisation:
    """Where the cost of one window went; all in major units, exact."""

    utilized: Fraction
    overage: Fraction
    true_up: Fraction

    @property
    def total(self) -> Fraction:
        return self.utilized + self.overage + self.true_up


def utilisation(model: Committed, part: Part) -> Utilisation:
    """How one window meets its commitment."""
    window = _window(model, part)
    cost = part.quantity * exactly(window.unit_amount)
    pledged = exactly(window.commitment) + exactly(window.commitment_units) * exactly(window.unit_amount)
    within = min(cost, pledged)
    missing = pledged - within if window.true_up == "charged" else Fraction(0)
    return Utilisation(within, (cost - within) * exactly(window.overage_factor), missing)


def _window(model: Committed, part: Part) -> Window:
    hour = int(part.dimensions.get(model.by, "-1"))
    for window in model.windows:
        if window.from_hour <= hour < window.to_hour:
            return window
    raise Rejected(f"no window holds hour {hour}", record="charge", field=model.by, value=str(hour))


def price(model: Committed, measured: Measured) -> Iterator[Step]:
    for number, part in enumerate(measured.parts, start=1):
        window, use = _window(model, part), utilisation(model, part)
        rate = exactly(window.unit_amount)
        yield Step(what=f"window {number}", quantity=part.quantity, rate=rate)
        cost = part.quantity * rate
        if use.overage != cost - use.utilized:
            extra = exactly(window.overage_factor) - 1
            what = f"window {number}, above the commitment"
            yield Step(kind=StepKind.CAP, what=what, quantity=cost - use.utilized, rate=extra)
        if use.true_up:
            what = f"window {number}, missing of the commitment"
            yield Step(kind=StepKind.CAP, what=what, quantity=ONE, rate=use.true_up)
