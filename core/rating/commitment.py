"""Commitment: what is missing of a pledged amount after the charges that count; nothing where they reach it.

The pledge shrinks with the part of the service period served; the charges count as they were billed (>= 0 together).
"""

from __future__ import annotations

from collections.abc import Iterator

from core.exact import NOTHING, exactly
from core.prices import Commitment
from core.rating.derivation import Step, StepKind, plain
from core.rating.tiers import ONE
from core.rational import Fraction


def price(model: Commitment, counted: Fraction, factor: Fraction = ONE) -> Iterator[Step]:
    pledge = Step(what="commitment", quantity=ONE, rate=exactly(model.amount), factor=factor)
    met = min(pledge.amount, max(NOTHING, counted))
    yield pledge
    yield Step(kind=StepKind.EARLIER, what=f"met by charges of {plain(counted)}", quantity=ONE, rate=-met)
