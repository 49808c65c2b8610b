"""An estimate of percentage taxes for a preview, under a declared rounding. The tax engine's answer replaces it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from core.exact import NOTHING, Remainder, apportion, round_to
from core.money import Rounding
from core.rational import Fraction


class TaxRounding(StrEnum):
    """Where tax is rounded."""

    LINE = "line"  # the taxes of each line
    COMPONENT = "component"  # each rate over all lines
    TOTAL = "total"  # once, over everything


@dataclass(frozen=True, slots=True)
class TaxableLine:
    """``rates`` are percentages that apply side by side."""

    amount: Fraction
    rates: tuple[Fraction, ...]


@dataclass(frozen=True, slots=True)
class TaxEstimate:
    """``nets``: lines after their share of the discount; ``by_rate``: tax per percentage."""

    nets: tuple[Fraction, ...]
    line_taxes: tuple[Fraction, ...]
    by_rate: dict[Fraction, Fraction]
    tax: Fraction

    @property
    def taxable(self) -> Fraction:
        return sum(self.nets, NOTHING)

    @property
    def total(self) -> Fraction:
        return self.taxable + self.tax


def estimate_tax(
    lines: Sequence[TaxableLine],
    places: int | None,
    level: TaxRounding = TaxRounding.LINE,
    mode: Rounding = Rounding.HALF_UP,
    discount: Fraction = NOTHING,
    remainder: Remainder = Remainder.LARGEST,
) -> TaxEstimate:
    """Tax of the lines after ``discount``, which they share in proportion. ``places``: None rounds nothing."""
    amounts = [line.amount for line in lines]
    shares = apportion(discount, amounts, places or 0, remainder, mode) if discount and any(amounts) else None
    nets = [amount - share for amount, share in zip(amounts, shares or [NOTHING] * len(lines), strict=True)]

    def rounded(value: Fraction, at: TaxRounding) -> Fraction:
        return value if places is None or level is not at else round_to(value, places, mode)

    line_taxes = tuple(
        rounded(sum((net * rate / 100 for rate in line.rates), NOTHING), TaxRounding.LINE)
        for line, net in zip(lines, nets, strict=True)
    )
    by_rate: dict[Fraction, Fraction] = {}
    for line, net in zip(lines, nets, strict=True):
        for rate in line.rates:
            by_rate[rate] = by_rate.get(rate, NOTHING) + rounded(net * rate / 100, TaxRounding.LINE)
    by_rate = {rate: rounded(tax, TaxRounding.COMPONENT) for rate, tax in by_rate.items()}
    parts = by_rate.values() if level is TaxRounding.COMPONENT else line_taxes
    return TaxEstimate(tuple(nets), line_taxes, by_rate, rounded(sum(parts, NOTHING), TaxRounding.TOTAL))
