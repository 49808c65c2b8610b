"""Usage at scale: ``UsageStore`` takes files in, accounts for every line and measures what each account used."""

from core.metering.cuts import Cut
from core.metering.late import LateUsage, carried
from core.metering.store import UsageStore, control_totals
from core.meters import Aggregation, Band, Increments, Meter, TimeBands

__all__ = [
    "Aggregation",
    "Band",
    "Cut",
    "Increments",
    "LateUsage",
    "Meter",
    "TimeBands",
    "UsageStore",
    "carried",
    "control_totals",
]
