"""Usage at scale: ``UsageStore`` takes files in, accounts for every line and measures what each account used."""

from core.metering.late import LateUsage, carried
from core.metering.meters import Aggregation, Band, Cut, Increments, Meter, TimeBands
from core.metering.store import UsageStore, control_totals

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
