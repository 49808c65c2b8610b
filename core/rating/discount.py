"""Coupons on the lines of a bill: one after the other on what is left, never below zero.

A fixed coupon is shared over its lines in proportion to what they still cost; a percentage is rounded once, or on each
line. Lines may lie on any number of decimals; ``places`` is where coupon amounts and shares are rounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from core.exact import NOTHING, Remainder, added, apportion, round_to
from core.money import Rounding
from core.rational import Fraction


class CouponOrder(StrEnum):
    APPLICATION = "application_order"
    PERCENTAGE_FIRST = "percentage_first"


class PercentageRounding(StrEnum):
    """Where a percentage is rounded."""

    COUPON = "coupon"  # once, then shared over the lines
    LINE = "line"  # on each line; the sum may drift from the percentage of the whole


@dataclass(frozen=True, slots=True)
class Coupon:
    """Exactly one of ``amount`` (major units) and ``percent``; ``scope``: the lines of that scope only (None: all)."""

    amount: Fraction | None = None
    percent: Fraction | None = None
    scope: str | None = None


@dataclass(frozen=True, slots=True)
class Line:
    amount: Fraction
    scope: str | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    places: int
    rounding: Rounding = Rounding.HALF_UP
    order: CouponOrder = CouponOrder.APPLICATION
    remainder: Remainder = Remainder.LARGEST
    percentage: PercentageRounding = PercentageRounding.COUPON


@dataclass(frozen=True, slots=True)
class Discounted:
    """``coupons``: what each took off, in the order given; ``lines``: what was taken off each line."""

    coupons: tuple[Fraction, ...]
    lines: tuple[Fraction, ...]
    nets: tuple[Fraction, ...]
    remaining: tuple[Fraction | None, ...]
    """The unused rest of each fixed coupon; None for a percentage."""

    @property
    def total(self) -> Fraction:
        return added(self.coupons)

    @property
    def net(self) -> Fraction:
        return added(self.nets)


def discount(lines: Sequence[Line], coupons: Sequence[Coupon], terms: Terms) -> Discounted:
    """What the coupons take off the lines."""
    left = [line.amount for line in lines]
    taken = [NOTHING] * len(coupons)
    order: Sequence[int] = range(len(coupons))
    if terms.order is CouponOrder.PERCENTAGE_FIRST:
        order = sorted(order, key=lambda i: coupons[i].percent is None)
    for number in order:
        coupon = coupons[number]
        on = [i for i, line in enumerate(lines) if coupon.scope in (None, line.scope) and left[i] > 0]
        if on:
            for i, part in zip(on, _shares(coupon, [left[i] for i in on], terms), strict=True):
                left[i] -= part
                taken[number] += part
    off = tuple(line.amount - rest for line, rest in zip(lines, left, strict=True))
    rest = tuple(None if one.amount is None else one.amount - used for one, used in zip(coupons, taken, strict=True))
    return Discounted(tuple(taken), off, tuple(left), rest)


def _shares(coupon: Coupon, costs: Sequence[Fraction], terms: Terms) -> list[Fraction]:
    whole = added(costs)
    if coupon.percent is not None and terms.percentage is PercentageRounding.LINE:
        return [round_to(cost * coupon.percent / 100, terms.places, terms.rounding) for cost in costs]
    wanted = coupon.amount if coupon.percent is None else whole * coupon.percent / 100
    off = min(whole, round_to(wanted or NOTHING, terms.places, terms.rounding))
    if off == whole:
        return list(costs)
    return apportion(off, costs, terms.places, terms.remainder, terms.rounding)
