"""Exact figures: rounding to decimal places, and splitting a whole into parts that sum back to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from itertools import pairwise

from core.money import Exact, Money, Rounding, as_fraction, exponent, round_fraction
from core.rational import Fraction

NOTHING = Fraction(0)


def added(values: Iterable[Fraction]) -> Fraction:
    """The sum of exact figures; zero of none."""
    return sum(values, NOTHING)


def fraction_of(figure: Decimal) -> Fraction:
    """The Fraction of a decimal; by its ratio, since a compiled fraction takes long to ask what a Decimal is."""
    return Fraction(*figure.as_integer_ratio())


@lru_cache(maxsize=65536)
def exactly(figure: Decimal) -> Fraction:
    """The Fraction of a price or another figure that comes again and again."""
    return fraction_of(figure)


def round_to(value: Exact, places: int, mode: Rounding = Rounding.HALF_UP) -> Fraction:
    """``value`` rounded to ``places`` decimals; negative places round to tens, hundreds..."""
    grid = Fraction(10) ** places
    return round_fraction(as_fraction(value) * grid, mode) / grid


def to_decimal(value: Fraction, places: int = 12) -> Decimal:
    """The decimal digits of a figure, without trailing zeros; rounded half even at ``places`` where they do not end."""
    if value.denominator == 1:
        return Decimal(value.numerator)
    digits = round(value * 10**places)
    while places and digits % 10 == 0:
        digits, places = digits // 10, places - 1
    return Decimal(f"{digits}E-{places}")


class Remainder(StrEnum):
    """Who takes what rounding leaves over."""

    LARGEST = "largest_remainder"  # parts rounded down, spare units to the largest fractions, the earlier among equals
    LAST = "last"  # parts rounded, the last takes the rest
    LAST_FLOOR = "last_floor"  # parts rounded down, the last takes the rest
    FIRST = "first"  # parts rounded, the first takes the rest
    CUMULATIVE = "cumulative"  # differences of rounded running totals
    ALONE = "alone"  # each part rounded alone: the only one whose parts may miss the whole
    NONE = "none"  # exact shares, not rounded


def apportion(
    whole: Exact,
    weights: Sequence[Exact],
    places: int,
    remainder: Remainder = Remainder.LARGEST,
    mode: Rounding = Rounding.HALF_UP,
) -> list[Fraction]:
    """``whole`` in proportion to ``weights`` (>= 0, not all zero), on ``places`` decimals; the parts sum to it.

    Only ``ALONE`` may miss the whole. A whole that does not lie on the grid leaves one part off the grid too.
    """
    exact = [as_fraction(weight) for weight in weights]
    if any(weight < 0 for weight in exact) or not any(exact):
        raise ValueError("weights must be >= 0 and not all zero")
    total, scale = as_fraction(whole), sum(exact, NOTHING)
    shares = [total * weight / scale for weight in exact]
    match remainder:
        case Remainder.NONE:
            return shares
        case Remainder.CUMULATIVE:
            running = [round_to(sum(shares[: index + 1], NOTHING), places, mode) for index in range(len(shares))]
            return [running[0], *(after - before for before, after in pairwise(running))]
        case Remainder.LARGEST:
            return _largest(total, shares, places)
    down = Rounding.FLOOR if remainder is Remainder.LAST_FLOOR else mode
    parts = [round_to(share, places, down) for share in shares]
    if remainder is Remainder.ALONE:
        return parts
    taker = 0 if remainder is Remainder.FIRST else len(parts) - 1
    parts[taker] += total - sum(parts, NOTHING)
    return parts


def share_out(whole: Money, exact: Sequence[Fraction]) -> list[Money]:
    """Amounts of money that sum to ``whole``, each within a minor unit of its exact amount (any sign, major units).

    Rounded down, and the spare minor units to the largest fractions, the earlier among equals. ValueError when the sum
    of the exact amounts is not within a minor unit of ``whole``.
    """
    scaled = [amount * 10 ** exponent(whole.currency) for amount in exact]
    minor = [round_fraction(amount, Rounding.FLOOR) for amount in scaled]
    spare = whole.minor - sum(minor)
    if not 0 <= spare <= len(minor):
        raise ValueError(f"{whole} is not the rounded sum of the amounts")
    for index in sorted(range(len(minor)), key=lambda i: (minor[i] - scaled[i], i))[:spare]:
        minor[index] += 1
    return [Money(one, whole.currency) for one in minor]


def _largest(total: Fraction, shares: Sequence[Fraction], places: int) -> list[Fraction]:
    unit = Fraction(1, 10**places)
    parts = [round_to(share, places, Rounding.FLOOR) for share in shares]
    spare = total - sum(parts, NOTHING)
    for index in sorted(range(len(parts)), key=lambda i: (parts[i] - shares[i], i)):
        step = min(spare, unit)
        parts[index] += step
        spare -= step
    return parts
