"""Included units that outlive a month: granted by hand or rolled over, and what each source holds month by month.

Sources begin and end with billing months of the account, since usage is metered by month.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Self

from pydantic import Field, model_validator

from core.noun import Id, Noun, Quantity
from core.rational import ExactFraction, Fraction
from core.ties import units_are_accounted


class UnitGrant(Noun):
    """Units given to an account for usage of ``charges``, on top of what its plan includes.

    Usable in the billing months from that of ``effective_on`` to before that of ``expires_on`` (None: for ever); both
    are first days of months. Lower ``priority`` is drawn first, then what expires first.
    """

    id: Id
    account_id: Id
    units: Annotated[Quantity, Field(gt=0)]
    charges: Annotated[tuple[Id, ...], Field(min_length=1)]
    priority: int = 0
    granted_on: date
    effective_on: date
    expires_on: date | None = None
    reason: str

    @model_validator(mode="after")
    def _whole_months(self) -> Self:
        for day in (self.effective_on, self.expires_on):
            if day is not None and day.day != 1:
                raise ValueError(f"{day} is not the first day of a month; units are granted for whole billing months")
        if self.expires_on is not None and self.expires_on <= self.effective_on:
            raise ValueError(f"{self.id} must expire after it is effective")
        return self


class UnitBalance(Noun):
    """What one source of units of an account did in a billing month: opening + granted = drawn + expired + closing.

    ``source``: a grant, or the allowance and the month that granted (``pool@2026-09``). ``last``: the last month in
    which they may be drawn (None: for ever); ``closing`` of that month is nothing.
    """

    id: Id
    account_id: Id
    period: str
    source: Id
    allowance: Id | None = None
    last: str | None = None
    opening: ExactFraction = Fraction(0)
    granted: ExactFraction = Fraction(0)
    drawn: ExactFraction = Fraction(0)
    expired: ExactFraction = Fraction(0)
    closing: ExactFraction = Fraction(0)

    @model_validator(mode="after")
    def _ties(self) -> Self:
        units_are_accounted(self.id, self.opening + self.granted, self.drawn + self.expired + self.closing)
        if min(self.opening, self.granted, self.drawn, self.expired, self.closing) < 0:
            raise ValueError(f"{self.id}: no part of a balance is below zero")
        return self
