"""How many billing cycles a service owes up to a day: in advance by periods that have started, in arrears by dates.

A leading and a trailing cut period count as day fractions. ``places``: each fraction is rounded half up to so many
decimals before it is added (None: exact).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from itertools import pairwise

from core.calendar import Interval, billing_dates, first_billing_date, nth
from core.exact import NOTHING, added, round_to
from core.rating.proration import DayCount, factor
from core.rational import Fraction


class LeadingStart(StrEnum):
    """Where the cut period before the first billing date starts."""

    NOMINAL = "nominal"  # on the billing day (31 January for 28 February)
    SAME_DAY = "same_day"  # on the day of the first billing date (28 January for 28 February)


@dataclass(frozen=True, slots=True)
class Service:
    """A service billed every ``interval`` on ``billing_day`` (1 to 31, clamped); ``ends_on`` is exclusive."""

    starts_on: date
    ends_on: date | None
    interval: Interval
    billing_day: int
    leading: LeadingStart = LeadingStart.NOMINAL

    @property
    def first(self) -> date:
        return first_billing_date(self.starts_on, self.interval, self.billing_day)


def in_advance(
    service: Service, until: date, places: int | None = None, count: DayCount = DayCount.CALENDAR_DAYS
) -> Fraction:
    """Cycles of all periods that start on or before ``until``."""
    first = service.first
    cycles = NOTHING
    if service.starts_on < first and service.starts_on <= until:
        day = service.billing_day if service.leading is LeadingStart.NOMINAL else None
        leading = (nth(first, service.interval, -1, day), first)
        cycles += _part(service, leading, places, count)
    for period in pairwise(billing_dates(first, service.interval, service.billing_day)):
        if period[0] > until or (service.ends_on is not None and period[0] >= service.ends_on):
            return cycles
        cycles += _part(service, period, places, count)
    raise AssertionError("billing dates have no end")


def _part(service: Service, period: tuple[date, date], places: int | None, count: DayCount) -> Fraction:
    served = (max(service.starts_on, period[0]), min(service.ends_on or period[1], period[1]))
    share = factor(served, period, count)
    return share if places is None else round_to(share, places)


@dataclass(frozen=True, slots=True)
class Phase:
    """A price per cycle while a service lasts."""

    amount: Fraction
    service: Service


def owed(
    phases: Sequence[Phase], until: date, places: int | None = None, count: DayCount = DayCount.CALENDAR_DAYS
) -> Fraction:
    """What all phases owe in advance; exact but for the declared rounding of cycles."""
    return added(phase.amount * in_advance(phase.service, until, places, count) for phase in phases)


@dataclass(frozen=True, slots=True)
class Arrears:
    """What is billed in arrears: through which day, and when the next bill is; None while nothing is due."""

    first_billing_date: date
    billed_through: date | None
    next_billing_date: date | None


def in_arrears(service: Service, until: date) -> Arrears:
    """The last billing date on or before ``until``, or the end of the service where that is reached."""
    first = service.first
    through: date | None = None
    upcoming = first
    for billing in billing_dates(first, service.interval, service.billing_day):
        upcoming = billing
        if billing > until or (service.ends_on is not None and billing >= service.ends_on):
            break
        through = billing
    if service.ends_on is not None and service.ends_on <= until:
        return Arrears(first, service.ends_on, None)
    return Arrears(first, through, upcoming)
