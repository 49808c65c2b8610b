"""From a handful of events to one quantity, in memory and exact: for previews, what-if and worked examples.

Usage at scale is aggregated by ``core/metering``; the meanings are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from core.exact import NOTHING, added
from core.rating.tiers import ONE
from core.rational import Fraction

#: Where an event without an instant stands in the order of time.
FIRST = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Event:
    """``at``: None for events known to be inside the period; ``key``: what unique counts count."""

    value: Fraction = ONE
    at: datetime | None = None
    key: str = ""


def within(events: Sequence[Event], start: datetime, end: datetime) -> list[Event]:
    """The events of the half-open period, in their order; those without an instant belong to it."""
    return [one for one in events if one.at is None or start <= one.at < end]


def total(events: Sequence[Event]) -> Fraction:
    return added(one.value for one in events)


def highest(events: Sequence[Event]) -> Fraction:
    """The largest value; zero without events."""
    return max((one.value for one in events), default=NOTHING)


def latest(events: Sequence[Event]) -> Fraction:
    """The value of the last event by time, the later in order among equals; zero without events."""
    timed = sorted(enumerate(events), key=lambda one: (one[1].at or FIRST, one[0]))
    return timed[-1][1].value if timed else NOTHING


def unique(events: Sequence[Event]) -> int:
    return len({one.key for one in events})


def time_weighted(events: Sequence[Event], start: datetime, end: datetime, initial: Fraction = NOTHING) -> Fraction:
    """The running level (``initial`` plus all changes so far), averaged over the seconds of the period."""
    whole = _seconds(start, end)
    changes = added(one.value * _seconds(one.at or start, end) for one in within(events, start, end))
    return initial + changes / whole


def prorated_total(events: Sequence[Event], first: date, last: date, days: int | None = None) -> Fraction:
    """Each event counts for the days from its own to ``last`` (both included); those before ``first`` count whole.

    ``days``: length of the period where it is not ``first`` to ``last``, both included.
    """
    return added(one.value * _days_share(one, first, last, days) for one in _until(events, last))


def prorated_unique(events: Sequence[Event], first: date, last: date, days: int | None = None) -> Fraction:
    """Each key once, from the day it was first seen."""
    seen: dict[str, Event] = {}
    for one in sorted(_until(events, last), key=lambda one: one.at or FIRST):
        seen.setdefault(one.key, one)
    return added(_days_share(one, first, last, days) for one in seen.values())


def _until(events: Sequence[Event], last: date) -> list[Event]:
    return [one for one in events if one.at is None or one.at.date() <= last]


def _days_share(event: Event, first: date, last: date, days: int | None) -> Fraction:
    whole = days or (last - first).days + 1
    if event.at is None or event.at.date() < first:
        return Fraction(1)
    return Fraction((last - event.at.date()).days + 1, whole)


def _seconds(start: datetime, end: datetime) -> Fraction:
    return Fraction((end - start) // timedelta(microseconds=1), 10**6)
