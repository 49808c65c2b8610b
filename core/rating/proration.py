"""Proration: the part of a period that was served, as an exact Fraction, under a declared way to count days.

Service and period are half-open unless the count says so. Parts of a cut period sum to 1 for every count except
``fixed_30`` and ``actual_365``, whose denominators are not the length of the period.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import TypeAlias

from core.exact import NOTHING, added
from core.period import DateSpan
from core.rating.tiers import ONE
from core.rational import Fraction

Moment: TypeAlias = date | datetime


class DayCount(StrEnum):
    """How long a span is."""

    CALENDAR_DAYS = "calendar_days"  # calendar days, the end excluded
    INCLUSIVE = "calendar_days_inclusive"  # calendar days, first and last included
    SECONDS = "seconds"  # elapsed seconds; 23 and 25 hour days count as they are, a plain date is midnight UTC
    FIXED_30 = "fixed_30"  # every month has 30 days
    ACTUAL_365 = "actual_365"  # calendar days of the service over 365


class EmptyPeriod(StrEnum):
    """The factor of a period without length."""

    FULL = "full"
    NOTHING = "nothing"


def length(start: Moment, end: Moment, count: DayCount) -> Fraction:
    """How long a span is, in the unit of the count; never below zero."""
    if count is DayCount.SECONDS:
        span = _instant(end) - _instant(start)
        return max(NOTHING, Fraction(span // timedelta(microseconds=1), 10**6))
    first, last = _day(start), _day(end)
    if count is DayCount.FIXED_30:
        months = (last.year - first.year) * 12 + last.month - first.month
        return max(NOTHING, Fraction(months * 30 + min(last.day, 30) - min(first.day, 30)))
    days = (last - first).days + (count is DayCount.INCLUSIVE)
    return Fraction(max(0, days))


def factor(
    service: tuple[Moment, Moment],
    period: tuple[Moment, Moment],
    count: DayCount = DayCount.CALENDAR_DAYS,
    *,
    at_most: Fraction | None = None,
    empty: EmptyPeriod = EmptyPeriod.NOTHING,
) -> Fraction:
    """Length of the service over length of the period, up to ``at_most`` (None: no limit)."""
    whole = Fraction(365) if count is DayCount.ACTUAL_365 else length(*period, count)
    if not whole:
        return ONE if empty is EmptyPeriod.FULL else NOTHING
    part = length(*service, count) / whole
    return part if at_most is None else min(part, at_most)


def seconds_share(service: DateSpan, whole: DateSpan, tz: str) -> Fraction:
    """The share of a service period by elapsed seconds in a zone; shares of a cut period sum to 1."""
    part, all_of_it = service.instants(tz), whole.instants(tz)
    return factor((part.start, part.end), (all_of_it.start, all_of_it.end), DayCount.SECONDS)


@dataclass(frozen=True, slots=True)
class Priced:
    """A price that stops or starts when a contract changes; ``cut``: whether only its part of the period counts."""

    unit_amount: Fraction
    quantity: Fraction = ONE
    discount: Fraction = NOTHING
    cut: bool = True

    def cost(self, share: Fraction) -> Fraction:
        return (self.unit_amount * self.quantity - self.discount) * (share if self.cut else 1)


@dataclass(frozen=True, slots=True)
class Change:
    """What a change costs, exact: what is credited of the old prices and charged of the new."""

    credit: Fraction
    charge: Fraction

    @property
    def net(self) -> Fraction:
        return self.charge - self.credit


def change(stopped: Sequence[Priced], started: Sequence[Priced], share: Fraction) -> Change:
    """Credit and charge of a change that has ``share`` of the period before it."""
    credit, charge = (added(one.cost(share) for one in prices) for prices in (stopped, started))
    return Change(credit, charge)


def capped_credit(wanted: Fraction, original: Fraction, credited: Fraction) -> Fraction:
    """A credit that, with those given before, never exceeds what was charged."""
    return max(NOTHING, min(wanted, original - credited))


def _day(moment: Moment) -> date:
    return moment.date() if isinstance(moment, datetime) else moment


def _instant(moment: Moment) -> datetime:
    return moment if isinstance(moment, datetime) else datetime.combine(moment, time(), UTC)
