"""How an amount came about: a tape of steps, each quantity x rate x factor, then one rounding.

All figures are exact Fractions (JSON: text, ``"1/3"`` or ``"45"``); the only Money is the rounded result.
"""

from __future__ import annotations

from enum import StrEnum
from fractions import Fraction

from core.money import Money, Rounding
from core.noun import Id, Noun
from core.period import DateSpan


class StepKind(StrEnum):
    PRICE = "price"  # what the model says, tier by tier
    LIMIT = "limit"  # what a cap takes off


class Step(Noun):
    """One line of the tape; ``factor`` is the part of a full service period that was served (1: all of it)."""

    kind: StepKind = StepKind.PRICE
    what: str
    quantity: Fraction
    rate: Fraction
    factor: Fraction = Fraction(1)

    @property
    def amount(self) -> Fraction:
        return self.quantity * self.rate * self.factor


class Draw(Noun):
    """Included units that covered usage of this line."""

    allowance: Id
    units: Fraction


class Derivation(Noun):
    """Everything one amount was made of.

    ``measured`` - ``draws`` = ``priced``, the quantity the model saw; ``full_period`` is the service period before it
    was cut; ``exact`` is the sum of the steps and ``rounded`` its one rounding by ``rounding``.
    """

    book: str
    book_version: str
    events: int = 0
    measured: Fraction
    draws: tuple[Draw, ...] = ()
    priced: Fraction
    negotiated: Fraction | None = None
    """The unit price of the order, where it replaced the price book's."""
    full_period: DateSpan
    steps: tuple[Step, ...]
    exact: Fraction
    rounding: Rounding
    rounded: Money


def plain(value: Fraction, places: int = 6) -> str:
    """A figure for people: its decimal digits where they end, else rounded to ``places`` and marked with ``~``."""
    scaled = value * 10**12
    if scaled.denominator == 1:
        sign, digits = "-" * (value < 0), f"{abs(scaled.numerator):013d}"
        whole, part = digits[:-12], digits[-12:].rstrip("0")
        return f"{sign}{int(whole):,}.{part}" if part else f"{sign}{int(whole):,}"
    return "~" + plain(Fraction(round(value * 10**places), 10**places))
