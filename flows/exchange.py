"""Exchange: the rates that the hub knows, and the loading of more from a file."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from core.fx import FxRate, Rates, RatesError, read_rates
from core.store import Work
from flows.context import Hub


def known_rates(hub: Hub, work: Work, known_at: datetime | None = None) -> Rates:
    """The rates that were loaded (by an instant), of the sources that the configuration prefers."""
    return Rates(work.find(FxRate), hub.settings.fx_sources, known_at)


def load_rates(hub: Hub, path: Path, source: str) -> tuple[int, int]:
    """Keeps the rates of a file: how many are new, and how many were known.

    RatesError, and nothing is kept, when the file has mistakes, or says otherwise than a rate that was loaded.
    """
    told = read_rates(path, source, hub.now())
    with hub.database.work() as work:
        known = {one.id: one for one in work.find(FxRate, id=[one.id for one in told])}
        changed = [
            f"{path}: rate: {one.id} was loaded as {known[one.id].rate}; load a correction under another source"
            for one in told
            if one.id in known and known[one.id].rate != one.rate
        ]
        if changed:
            raise RatesError(changed)
        work.add([one for one in told if one.id not in known])
    return len(told) - len(known), len(known)
