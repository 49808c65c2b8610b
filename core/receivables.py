"""Open items: how old they are, which of them a payment settles, and what follows when they stay open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from core.exact import NOTHING
from core.rational import Fraction


@dataclass(frozen=True, slots=True)
class OpenItem:
    aged_from: date
    outstanding: Fraction


def aged(items: Sequence[OpenItem], as_of: date, bounds: Sequence[int]) -> dict[str, Fraction]:
    """Outstanding amounts by age in days, bounds inclusive: ``0-30``, ``31-60``, ... ``121-above``.

    An item that is not due yet counts as age zero.
    """
    lows = [0, *(bound + 1 for bound in bounds)]
    names = [f"{low}-{high}" for low, high in zip(lows, bounds, strict=False)] + [f"{lows[-1]}-above"]
    buckets = dict.fromkeys(names, NOTHING)
    for item in items:
        age = max(0, (as_of - item.aged_from).days)
        buckets[names[sum(age > bound for bound in bounds)]] += item.outstanding
    return buckets


def settled_in_order(terms: Sequence[Fraction], paid: Fraction) -> list[Fraction]:
    """What stays open of each payment term after ``paid`` (payments and credits) settled them in order."""
    outstanding = []
    for amount in terms:
        part = min(amount, paid)
        outstanding.append(amount - part)
        paid -= part
    return outstanding


def interest(outstanding: Fraction, annual_percent: Fraction, days: Fraction, year_days: Fraction) -> Fraction:
    """Simple interest for late payment; exact."""
    return outstanding * annual_percent / 100 * days / year_days


@dataclass(frozen=True, slots=True)
class Claim:
    """What is asked of a late payer."""

    outstanding: Fraction
    interest: Fraction
    fee: Fraction

    @property
    def total(self) -> Fraction:
        return self.outstanding + self.interest + self.fee


@dataclass(frozen=True, slots=True)
class DunningLevel:
    level: int
    after_days: int


def next_level(levels: Sequence[DunningLevel], days_overdue: int, last_level: int) -> int:
    """The level of this run: the next above ``last_level`` that is reached, one level per run; else it stays."""
    for one in sorted(levels, key=lambda one: one.level):
        if one.level > last_level:
            return one.level if days_overdue >= one.after_days else last_level
    return last_level


def retry_dates(failed_on: date, waits: Sequence[int], relative_to: str) -> list[date]:
    """When a failed payment is tried again: days after the ``previous`` attempt, or after the ``first`` failure."""
    dates, previous = [], failed_on
    for days in waits:
        previous = (previous if relative_to == "previous" else failed_on) + timedelta(days=days)
        dates.append(previous)
    return dates
