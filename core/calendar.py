"""Recurring dates and local days: anchors that return after a short month, whole periods, days of an IANA zone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TypeVar

from dateutil.relativedelta import relativedelta

from core.period import Period, local_date, start_of_day, zone

#: A calendar day or an instant; arithmetic keeps the kind, and the local clock of an aware instant.
Moment = TypeVar("Moment", date, datetime)


_FORM = re.compile(
    r"P(?!$)(?:(?P<years>\d+)Y)?(?:(?P<months>\d+)M)?(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?!$)(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+)S)?)?"
)


@dataclass(frozen=True, slots=True)
class Interval:
    """So many calendar months, days and seconds; > 0."""

    months: int = 0
    days: int = 0
    seconds: int = 0

    @classmethod
    def parse(cls, text: str) -> Interval:
        """An ISO 8601 duration of whole units: ``P1M``, ``P1Y6M``, ``P30D``, ``PT12H``. ValueError otherwise."""
        found = _FORM.fullmatch(text)
        part = {name: int(value or 0) for name, value in found.groupdict().items()} if found else {}
        if not any(part.values()):
            raise ValueError(f"{text!r} is not an interval; write it like P1M, P1Y, P1W, P30D or PT12H")
        return cls(
            months=part["years"] * 12 + part["months"],
            days=part["weeks"] * 7 + part["days"],
            seconds=part["hours"] * 3600 + part["minutes"] * 60 + part["seconds"],
        )

    def times(self, count: int) -> relativedelta:
        return relativedelta(months=self.months * count, days=self.days * count, seconds=self.seconds * count)


def nth(anchor: Moment, interval: Interval, n: int, anchor_day: int | None = None) -> Moment:
    """The anchor and ``n`` intervals on. A short month clamps the day, the next long one returns to it.

    ``anchor_day``: the day to return to where the anchor itself was clamped (28 February of a 31st).
    """
    moved = anchor + interval.times(n)
    if anchor_day is not None and interval.months:
        moved += relativedelta(day=anchor_day)
    return moved


def containing(anchor: Moment, interval: Interval, at: Moment) -> tuple[Moment, Moment]:
    """The half-open period of the recurring anchor that holds ``at``."""
    n = (at.toordinal() - anchor.toordinal()) // max(1, interval.months * 30 + interval.days)
    while nth(anchor, interval, n) > at:
        n -= 1
    while nth(anchor, interval, n + 1) <= at:
        n += 1
    return nth(anchor, interval, n), nth(anchor, interval, n + 1)


def starts(anchor: Moment, interval: Interval, count: int) -> list[Moment]:
    """The first ``count`` starts, the anchor's own first."""
    return [nth(anchor, interval, n) for n in range(count)]


def whole_periods(start: date, end: date, interval: Interval) -> int:
    """How many whole intervals fit from ``start`` to ``end`` (exclusive); >= 0."""
    n = 0
    while nth(start, interval, n + 1) <= end:
        n += 1
    return n


def first_billing_date(start: date, interval: Interval, billing_day: int) -> date:
    """The first of the billing dates from the billing day in the month of ``start`` on that is not before it."""
    nominal = start + relativedelta(day=billing_day)
    n = 0
    while nth(nominal, interval, n, billing_day) < start:
        n += 1
    return nth(nominal, interval, n, billing_day)


def billing_dates(first: date, interval: Interval, billing_day: int) -> Iterator[date]:
    """Billing dates from ``first`` on, without end; a month that is too short bills on its last day."""
    n = 0
    while True:
        yield nth(first, interval, n, billing_day if interval.months else None)
        n += 1


def month_before(at: datetime, tz: str) -> Period:
    """The local calendar month before the one that holds ``at``, as instants."""
    first = local_date(at, tz).replace(day=1)
    return Period(start_of_day(first - relativedelta(months=1), tz), start_of_day(first, tz))


def hours_of_day(day: date, tz: str) -> int:
    """Hours of a local calendar day: 23, 24 or 25 around a change of the clock."""
    return round((start_of_day(day + timedelta(days=1), tz) - start_of_day(day, tz)) / timedelta(hours=1))


def in_zone(instant: datetime, tz: str) -> datetime:
    """The same instant on the local clock of a zone."""
    return instant.astimezone(zone(tz))
