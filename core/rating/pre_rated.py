"""Pre-rated: the quantity is money computed upstream (a carrier's rated records), charged ``multiplier`` times."""

from __future__ import annotations

from collections.abc import Iterator

from core.exact import exactly
from core.prices import PreRated
from core.rating.derivation import Step
from core.rating.measured import Measured


def price(model: PreRated, measured: Measured) -> Iterator[Step]:
    yield Step(what="amount computed upstream", quantity=measured.quantity, rate=exactly(model.multiplier))
