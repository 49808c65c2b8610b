"""What a price model looks at: a quantity, and where a model asks for it, the parts it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from core.period import DateSpan
from core.rational import ExactFraction, Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class MeteredQuantity:
    """Usage of one account, site and meter, already aggregated and cut to the billing period in the account's zone.

    ``dimensions`` splits it (empty: the whole); ``events`` says how many events it was made of; ``each`` are their
    single quantities, which only charges priced per transaction need. ``service`` are the days it was cut to, where a
    charge was served for a part of the billing period only (None: all of it). A month has them by the hundred thousand,
    all at once, so they are no Noun: that takes several times the memory.
    """

    account_id: str
    site_id: str | None = None
    meter: str
    dimensions: dict[str, str]
    quantity: Decimal
    events: int
    each: tuple[Decimal, ...] = ()
    service: DateSpan | None = None

    def __post_init__(self) -> None:
        if type(self.quantity) is not Decimal or not self.quantity.is_finite():
            raise ValueError(f"{self.quantity!r} is not a quantity of {self.meter} of {self.account_id}")


@dataclass(frozen=True, slots=True)
class Part:
    """Usage under one combination of dimension values."""

    dimensions: dict[str, str]
    quantity: ExactFraction
    events: int = 0
    each: tuple[Decimal, ...] = ()


@dataclass(frozen=True, slots=True)
class Measured:
    """``quantity`` to be priced; ``tier_by``: what selects the tier where it differs (a pool, a full month)."""

    quantity: Fraction
    parts: tuple[Part, ...] = ()
    tier_by: Fraction | None = None

    def by(self, dimension: str) -> dict[str, Fraction]:
        """The quantity of each value of a dimension, in order of appearance; parts without it are under ``""``."""
        found: dict[str, Fraction] = {}
        for part in self.parts:
            value = part.dimensions.get(dimension, "")
            found[value] = found.get(value, Fraction(0)) + part.quantity
        return found
