"""What a credit note is made of: unused time, or a part of a line, with its tax, then refund before credit.

Exact Fractions in major units; ``places`` is where the subtotal and each tax are rounded, apart and half up by default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.exact import NOTHING, round_to
from core.money import Rounding
from core.rational import Fraction


@dataclass(frozen=True, slots=True)
class Credited:
    subtotal: Fraction
    taxes: tuple[Fraction, ...]

    @property
    def tax(self) -> Fraction:
        return sum(self.taxes, NOTHING)

    @property
    def total(self) -> Fraction:
        return self.subtotal + self.tax


def unused_time(
    amount: Fraction,
    unused: Fraction,
    whole: Fraction,
    tax_percents: Sequence[Fraction],
    places: int,
    mode: Rounding = Rounding.HALF_UP,
) -> Credited:
    """The part of ``amount`` for ``unused`` of ``whole`` days, and its taxes."""
    subtotal = round_to(amount * unused / whole, places, mode)
    return Credited(subtotal, tuple(round_to(subtotal * rate / 100, places, mode) for rate in tax_percents))


def part_of_line(
    line_amount: Fraction,
    credited: Fraction,
    taxes: Sequence[Fraction],
    places: int,
    mode: Rounding = Rounding.HALF_UP,
) -> Credited:
    """``credited`` of a line, with each of its taxes in the same proportion."""
    share = credited / line_amount
    return Credited(credited, tuple(round_to(tax * share, places, mode) for tax in taxes))


def items_after_coupon(
    items: Sequence[Fraction],
    credited: Sequence[Fraction],
    coupon: Fraction,
    places: int,
    mode: Rounding = Rounding.HALF_UP,
) -> Credited:
    """Credited items less their share of a coupon that was taken off all ``items`` in proportion."""
    given = sum(credited, NOTHING)
    return Credited(given - round_to(coupon * given / sum(items, NOTHING), places, mode), ())


@dataclass(frozen=True, slots=True)
class Settled:
    """How a credit is given: money back as far as it was paid, the rest as credit on the account."""

    refund: Fraction
    credit: Fraction


def settle(total: Fraction, invoice_total: Fraction, paid: Fraction) -> Settled:
    """Refund what was paid above the part of the invoice that stays; the rest is credit."""
    refund = min(total, max(NOTHING, paid - (invoice_total - total)))
    return Settled(refund, total - refund)
