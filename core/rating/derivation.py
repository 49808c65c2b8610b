"""How an amount came about: a tape of steps, each quantity x rate x factor, then one rounding.

All figures are exact Fractions (JSON: text, ``"1/3"`` or ``"45"``); the only Money is the rounded result.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from core.catalog import RoundingAt
from core.exact import added
from core.fx import Exchange
from core.money import Money, Rounding
from core.noun import Id, Noun, Quantity
from core.period import DateSpan
from core.rating.layers import Choice
from core.rating.measured import Part
from core.rational import ExactFraction, Fraction


class StepKind(StrEnum):
    """What a step of the tape is."""

    PRICE = "price"  # what the model says, tier by tier
    CAP = "cap"  # what a limit inside the model changes
    EARLIER = "earlier"  # less what earlier parts of the service period measured
    DISCOUNT = "discount"  # less the charge's own percentage
    MAXIMUM = "maximum"  # less what is above the most the charge may cost
    MINIMUM = "minimum"  # what is missing of the least the charge costs


class Step(Noun):
    """One line of the tape; ``factor`` is the part of a full service period that was served (1: all of it)."""

    kind: StepKind = StepKind.PRICE
    what: str
    unit: str = ""
    """What the quantity counts, where one charge counts several units."""
    quantity: ExactFraction
    rate: ExactFraction
    factor: ExactFraction = Fraction(1)

    def named(self, group: str) -> Step:
        """The same, told to be of a group of usage."""
        told = f"{group}: {self.what}"
        return Step(
            kind=self.kind, what=told, unit=self.unit, quantity=self.quantity, rate=self.rate, factor=self.factor
        )

    @property
    def amount(self) -> Fraction:
        full = self.quantity * self.rate
        return full if self.factor == 1 else full * self.factor


def amount_of(steps: Iterable[Step], *kinds: StepKind) -> Fraction:
    """The sum of the steps, of those kinds only where any is named."""
    return added([step.amount for step in steps if not kinds or step.kind in kinds])


class Draw(Noun):
    """Included units that covered usage of this line: ``units`` of its usage, ``taken`` units of the allowance.

    Where several charges price the same usage, the first of them takes, and the others go without for nothing.
    ``held``: what the source held before this line took of it.
    """

    allowance: Id
    units: ExactFraction
    taken: ExactFraction
    held: ExactFraction | None = None


class Adjustment(Noun):
    """What a rule of the price book took off the rounded amount, and which facts made it act."""

    rule: Id
    what: str
    amount: Money


class Share(Noun):
    """This line's share of what several sites were priced together: ``units`` of ``pool`` units, of ``amount``."""

    units: ExactFraction
    pool: ExactFraction
    amount: Money


class Billed(Noun):
    """What earlier bills charged for a line that this one brings up to date; the line's amount is the rest.

    ``withdrawn``: the line is not due any more, so all of it is taken back. ``unserved``: the days that were billed and
    are not served any more, where that is why.
    """

    line_id: Id
    amount: Money
    withdrawn: bool = False
    unserved: DateSpan | None = None


class Derivation(Noun):
    """Everything one amount was made of.

    ``measured`` - ``draws``, converted where the charge says so (``converted``), - ``included`` = ``priced``, the
    quantity the model saw (``tier_by``: what chose the tier instead). ``parts`` are kept where the model looks at
    them. ``full_period`` is the service period before it was cut. ``exact`` is the sum of the steps, at the rate of
    ``exchange`` where there is one; ``rounded`` its one rounding by ``rounding`` (or its ``share`` of a pool, by
    largest remainder); with the ``adjustments``, less what was ``billed`` before, it is the amount of the line.
    """

    book: str
    book_version: str
    choices: tuple[Choice, ...] = ()
    ordered: Quantity | None = None
    """The unit price of the order, where a choice was for it."""
    events: int = 0
    measured: ExactFraction
    draws: tuple[Draw, ...] = ()
    converted: ExactFraction
    included: ExactFraction
    priced: ExactFraction
    tier_by: ExactFraction | None = None
    parts: tuple[Part, ...] = ()
    full_period: DateSpan
    timezone: str | None = None
    """The zone whose seconds count, where the charge is prorated by them."""
    steps: tuple[Step, ...]
    exchange: Exchange | None = None
    exact: ExactFraction
    rounding: Rounding
    rounding_at: RoundingAt = RoundingAt.LINE
    share: Share | None = None
    rounded: Money
    adjustments: tuple[Adjustment, ...] = ()
    billed: Billed | None = None


def plain(value: Fraction, places: int = 6) -> str:
    """A figure for people: its decimal digits where they end, else rounded to ``places`` and marked with ``~``."""
    scaled = value * 10**12
    if scaled.denominator == 1:
        sign, digits = "-" * (value < 0), f"{abs(scaled.numerator):013d}"
        whole, part = digits[:-12], digits[-12:].rstrip("0")
        return f"{sign}{int(whole):,}.{part}" if part else f"{sign}{int(whole):,}"
    return "~" + plain(Fraction(round(value * 10**places), 10**places))
