"""Per unit: quantity x unit amount, fractional and negative quantities included."""

from __future__ import annotations

from collections.abc import Iterator

from core.exact import exactly
from core.prices import PerUnit
from core.rating.derivation import Step
from core.rating.measured import Measured


def price(model: PerUnit, measured: Measured) -> Iterator[Step]:
    yield Step(what="units", quantity=measured.quantity, rate=exactly(model.unit_amount))
