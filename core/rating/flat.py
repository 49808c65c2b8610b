"""Flat: one amount per service period. No bounds; the quantity is not looked at."""

from __future__ import annotations

from collections.abc import Iterator

from core.exact import exactly
from core.prices import Flat
from core.rating.derivation import Step
from core.rating.measured import Measured
from core.rational import Fraction


def price(model: Flat, _measured: Measured) -> Iterator[Step]:
    yield Step(what="flat amount", quantity=Fraction(1), rate=exactly(model.amount))
