"""Blocks: per tier and unit so many blocks of a size; a started block counts whole.

``fill`` fills tier after tier; ``top`` finds the tier whose capacity, added to those below, holds the whole quantity
(upper bound inclusive; the last tier is open) and prices all of it there. Quantities are >= 0.
"""

from __future__ import annotations

from collections.abc import Iterator

from core.errors import Rejected
from core.exact import exactly
from core.money import Rounding, round_fraction
from core.prices import Block, Blocks
from core.rating.derivation import Step, plain
from core.rating.measured import Measured
from core.rational import Fraction


def price(model: Blocks, measured: Measured) -> Iterator[Step]:
    for unit, quantity in measured.by(model.by).items():
        tiers = [(number, tier[unit]) for number, tier in enumerate(model.tiers, start=1) if unit in tier]
        if not tiers or quantity < 0:
            raise Rejected(f"no tier prices {plain(quantity)} of {unit}", record="charge", field=model.by, value=unit)
        yield from (_fill if model.policy == "fill" else _top)(unit, quantity, tiers)


def _fill(unit: str, quantity: Fraction, tiers: list[tuple[int, Block]]) -> Iterator[Step]:
    left = quantity
    for number, block in tiers:
        held = left if block.max_blocks is None else min(left, exactly(block.size) * block.max_blocks)
        if held > 0:
            yield _blocks(unit, held, number, block)
        left -= held
    if left > 0:
        raise Rejected(f"no tier covers {plain(left)} of {unit}", record="charge", field=unit, value=plain(left))


def _top(unit: str, quantity: Fraction, tiers: list[tuple[int, Block]]) -> Iterator[Step]:
    capacity = Fraction(0)
    for number, block in tiers:
        capacity += exactly(block.size) * (block.max_blocks or 0)
        if quantity <= capacity or block.max_blocks is None or number == tiers[-1][0]:
            yield _blocks(unit, quantity, number, block)
            return


def _blocks(unit: str, quantity: Fraction, number: int, block: Block) -> Step:
    count = round_fraction(quantity / exactly(block.size), Rounding.CEIL)
    what = f"{unit}, tier {number}, blocks of {block.size}"
    return Step(what=what, unit=unit, quantity=Fraction(count), rate=exactly(block.price))
