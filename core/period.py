"""Periods: half-open intervals of instants, cut in an IANA zone, and proration as an exact Fraction."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dateutil.relativedelta import relativedelta
from pydantic_core import core_schema

from core.rational import Fraction
from core.values import itself_or


@cache
def zone(name: str) -> ZoneInfo:
    """The IANA zone of that name. ValueError when there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r} is not an IANA time zone") from None


def start_of_day(day: date, tz: str) -> datetime:
    """The first instant of a local calendar day, in UTC."""
    return datetime.combine(day, time(), zone(tz)).astimezone(UTC)


def local_date(instant: datetime, tz: str) -> date:
    """The calendar day of an instant in a zone."""
    return instant.astimezone(zone(tz)).date()


@dataclass(frozen=True, slots=True)
class DateSpan:
    """Calendar days from ``start`` (inclusive) to ``end`` (exclusive); never empty."""

    start: date
    end: date

    def __post_init__(self) -> None:
        for name, day in (("start", self.start), ("end", self.end)):
            if not isinstance(day, date) or isinstance(day, datetime):
                raise TypeError(f"{name} must be a date, not {day!r}")
        if self.end <= self.start:
            raise ValueError(f"a span must end after it starts: {self.start} .. {self.end}")

    @classmethod
    def month(cls, name: str) -> DateSpan:
        """The calendar month ``"2026-10"``. ValueError for another form."""
        if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", name):
            raise ValueError(f"{name!r} is not a month; write it like 2026-10")
        first = date.fromisoformat(f"{name}-01")
        return cls(first, first + relativedelta(months=1))

    @property
    def days(self) -> int:
        return (self.end - self.start).days

    @property
    def last_day(self) -> date:
        """The last day that belongs to the span."""
        return self.end - timedelta(days=1)

    def overlap(self, other: DateSpan) -> DateSpan | None:
        start, end = max(self.start, other.start), min(self.end, other.end)
        return DateSpan(start, end) if start < end else None

    def fraction_of(self, whole: DateSpan) -> Fraction:
        """The part of ``whole`` that this span covers, by days; between 0 and 1. Parts of a cut whole sum to 1."""
        part = self.overlap(whole)
        return Fraction(part.days, whole.days) if part else Fraction(0)

    def instants(self, tz: str) -> Period:
        """The same days as instants in a zone."""
        return Period(start_of_day(self.start, tz), start_of_day(self.end, tz))

    def __str__(self) -> str:
        return f"{self.start}..{self.last_day}"

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> core_schema.CoreSchema:
        """JSON form ``{"start": "2026-10-01", "end": "2026-11-01"}``, end exclusive."""

        def parse(value: Any) -> DateSpan:
            if isinstance(value, dict) and value.keys() == {"start", "end"}:
                return cls(
                    *(date.fromisoformat(value[k]) if isinstance(value[k], str) else value[k] for k in ("start", "end"))
                )
            raise ValueError('a span of days is {"start": <date>, "end": <date, exclusive>}')

        return itself_or(cls, parse, lambda span: {"start": span.start.isoformat(), "end": span.end.isoformat()})


@dataclass(frozen=True, slots=True)
class Period:
    """Instants from ``start`` (inclusive) to ``end`` (exclusive), timezone-aware; never empty."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError("a period is made of instants with an offset")
        if self.end <= self.start:
            raise ValueError(f"a period must end after it starts: {self.start} .. {self.end}")

    def __contains__(self, instant: datetime) -> bool:
        return self.start <= instant < self.end
