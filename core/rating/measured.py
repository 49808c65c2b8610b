"""What a price model looks at: a quantity, and where a model asks for it, the parts it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from core.noun import Id, Noun, Quantity


class MeteredQuantity(Noun):
    """Usage of one account, site and meter, already aggregated and cut to the billing period in the account's zone.

    ``dimensions`` splits it (empty: the whole); ``events`` says how many events it was made of; ``each`` are their
    single quantities, which only charges priced per transaction need.
    """

    account_id: Id
    site_id: Id | None = None
    meter: Id
    dimensions: dict[str, str]
    quantity: Quantity
    events: int
    each: tuple[Quantity, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """Usage under one combination of dimension values."""

    dimensions: Mapping[str, str]
    quantity: Fraction
    events: int = 0
    each: tuple[Decimal, ...] = ()


@dataclass(frozen=True, slots=True)
class Measured:
    """``quantity`` to be priced; ``tier_by``: what selects the tier where it differs (a pool, a full month)."""

    quantity: Fraction
    parts: tuple[Part, ...] = ()
    tier_by: Fraction | None = None
