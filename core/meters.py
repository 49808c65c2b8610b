"""What a meter makes of events, as data: which ones it reads, how each is rounded, how they become one quantity.

A meter that is not defined is the plain sum of its events. A definition may read the events of another meter under
a name of its own; once one is defined for a meter's events, only definitions read them.
"""

from __future__ import annotations

from datetime import time, timedelta
from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from core.noun import Id, Noun
from core.usage import UsageQuantity


class Aggregation(StrEnum):
    """How the events of one group become one quantity."""

    SUM = "sum"
    SUM_EACH = "sum_each"  # the sum, and every single quantity kept, for prices per transaction
    COUNT = "count"  # events, whatever their quantity
    MAX = "max"  # the largest single quantity
    LATEST = "latest"  # the quantity of the event that occurred last; recorded last, then greatest id, among equals
    UNIQUE_COUNT = "unique_count"  # different values of the dimension ``key``
    PERCENTILE = "percentile"  # nearest rank: the ceil(n * percentile / 100)-th smallest of n quantities
    TIME_WEIGHTED_CHANGES = "time_weighted_changes"  # quantities change a level; its average over the period's seconds
    TIME_WEIGHTED_LEVELS = "time_weighted_levels"  # quantities are the level from then on; its average likewise
    SESSIONS = "sessions"  # runs of events of one ``key`` that are no more than ``gap`` apart, by their start


class Increments(Noun):
    """Rounding of every event away from zero: ``first`` is the least, then whole steps of ``then`` (60/6 seconds:
    1 s is 60, 61 s is 66). A quantity of 0 stays 0; a correction is rounded like what it corrects."""

    first: UsageQuantity = Field(gt=0)
    then: UsageQuantity = Field(gt=0)


class Band(Noun):
    """Local clock time from ``starts`` until before ``ends`` (00:00 as an end: midnight) on ISO weekdays (1 Monday)."""

    name: str
    weekdays: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7)
    starts: time
    ends: time


class TimeBands(Noun):
    """Adds the dimension ``dimension``: the first band that holds the local start of the event, else ``otherwise``."""

    dimension: str
    bands: tuple[Band, ...]
    otherwise: str


class Meter(Noun):
    """``of``: the meter of the events read (default ``name``); ``where``: allowed values per dimension; ``dimensions``:
    what the quantity is split by. ``increments`` round each event before anything else. A time-weighted average is
    rounded half up at six decimals; it and sessions also look at events before the period.
    """

    name: Id
    of: Id | None = None
    aggregation: Aggregation = Aggregation.SUM
    increments: Increments | None = None
    where: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    dimensions: tuple[str, ...] = ()
    bands: TimeBands | None = None
    key: str | None = None
    percentile: int = Field(default=95, ge=1, le=100)
    gap: timedelta | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.aggregation in (Aggregation.UNIQUE_COUNT, Aggregation.SESSIONS) and not self.key:
            raise ValueError(f"meter {self.name}: {self.aggregation} needs key, the dimension to tell apart by")
        if self.aggregation is Aggregation.SESSIONS and (self.gap is None or self.gap <= timedelta()):
            raise ValueError(f"meter {self.name}: sessions need gap > 0")
        if self.bands and self.aggregation in LOOKING_BACK:
            raise ValueError(f"meter {self.name}: {self.aggregation} has no time bands")
        if self.bands and self.bands.dimension in self.dimensions:
            raise ValueError(f"meter {self.name}: {self.bands.dimension} is a dimension and a time band")
        return self

    @property
    def reads(self) -> str:
        return self.of or self.name


#: Quantities of these add up over periods.
ADDITIVE = {Aggregation.SUM, Aggregation.SUM_EACH, Aggregation.COUNT}

#: These need events from before the period.
LOOKING_BACK = {Aggregation.TIME_WEIGHTED_CHANGES, Aggregation.TIME_WEIGHTED_LEVELS, Aggregation.SESSIONS}
