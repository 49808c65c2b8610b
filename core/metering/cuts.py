"""When usage is measured: an account's own instants, and where its zone changes its offset from UTC."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Self

from pydantic import model_validator

from core.noun import Id, Instant, Noun
from core.period import Period, zone


class Cut(Noun):
    """The instants that belong to one account's billing period, in its own zone.

    ``known_at`` leaves out what was recorded later (inclusive bound; None: all), so that a period can be measured again
    as it was known then. ``timezone`` decides which local hours a meter with time bands sees.
    """

    account_id: Id
    period: Period
    known_at: Instant | None = None
    timezone: str = "UTC"

    @model_validator(mode="after")
    def _known_zone(self) -> Self:
        zone(self.timezone)
        return self


def offsets(period: Period, timezone: str) -> list[tuple[datetime, datetime, timedelta]]:
    """The period cut where the zone changes its offset from UTC: (start, end, offset), without gap or overlap."""
    parts: list[tuple[datetime, datetime, timedelta]] = []
    start = period.start
    while start < period.end:
        end = _next_change(start, period.end, timezone)
        parts.append((start, end, _offset(start, timezone)))
        start = end
    return parts


def _next_change(start: datetime, limit: datetime, timezone: str) -> datetime:
    """The first instant after ``start`` with another offset, to the second; ``limit`` when there is none before."""
    offset, last = _offset(start, timezone), start
    while (probe := min(limit, last + timedelta(days=1))) > last:
        if _offset(probe, timezone) == offset:
            last = probe
            continue
        while probe - last > timedelta(seconds=1):
            middle = last + timedelta(seconds=(probe - last) // timedelta(seconds=2))
            last, probe = (middle, probe) if _offset(middle, timezone) == offset else (last, middle)
        return probe
    return limit


def _offset(instant: datetime, timezone: str) -> timedelta:
    return instant.astimezone(zone(timezone)).utcoffset() or timedelta()
