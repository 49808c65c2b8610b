"""Included units, shared by those who used them: in proportion, exactly, never more than either side has."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction


def draw(granted: Fraction, used: Sequence[Fraction], places: int) -> list[Fraction]:
    """What each user draws of ``granted`` units (>= 0): all it used where that suffices, else its proportional share.

    Shares lie on a grid of ``10 ** -places`` units, by largest remainder, the earlier user first among equals; they
    sum to min(granted, total used) exactly. Negative usage (a correction) draws nothing.
    """
    wanted = [max(Fraction(0), units) for units in used]
    whole = sum(wanted, Fraction(0))
    if granted >= whole:
        return wanted
    exact = [granted * units / whole for units in wanted]
    grid = 10**places
    floors = [Fraction(share * grid // 1, grid) for share in exact]
    spare = granted - sum(floors, Fraction(0))
    result = list(floors)
    for index in sorted(range(len(exact)), key=lambda i: (floors[i] - exact[i], i)):
        step = min(spare, Fraction(1, grid), wanted[index] - floors[index])
        result[index] += step
        spare -= step
    return result
