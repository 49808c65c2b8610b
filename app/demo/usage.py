"""The usage of Northwind Meetings for one month: what its two conference bridges would send.

``bridge-us`` sends a CSV file a day, ``bridge-eu`` an NDJSON file a week, each with its control totals beside it. The
name of a file up to its first dot is its source. About one event in two hundred is sent twice, as a bridge does that
lost an answer; the control totals count both.
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from random import Random

from core.period import DateSpan, start_of_day
from core.usage import ControlTotals, from_micro

_COLUMNS = ("id", "account_id", "site_id", "meter", "quantity", "occurred_at", "region")
_REGIONS = ("na", "emea", "apac")
_OPENS = timedelta(hours=8)
_OPEN_SECONDS = 10 * 3600
_SENT_TWICE = 200
"""One event in so many."""


@dataclass(frozen=True, slots=True)
class DemoSite:
    """A site whose people join calls from 08:00 to 18:00 of ``timezone``, nine in ten on the first of ``meters``."""

    account_id: str
    site_id: str
    timezone: str
    meters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Sent:
    """One event as a bridge sends it: values in the order of ``_COLUMNS``, and its hundredths of a minute."""

    row: tuple[str, ...]
    hundredths: int


def write_usage(folder: Path, *, sites: Sequence[DemoSite], events: int, seed: int, month: str) -> list[Path]:
    """``events`` different events (>= 0) over the sites, in files ``<source>.<first day>.csv`` or ``.ndjson``.

    The same arguments give the same bytes. Every event lies in the opening hours of a day of the month, local to its
    site. Sites in American zones meet on ``bridge-us``. Returns the usage files, oldest first.
    """
    rng, days = Random(seed), DateSpan.month(month)
    files: dict[tuple[date, str], list[_Sent]] = defaultdict(list)
    for number in range(events):
        site = sites[rng.randrange(len(sites))]
        day = days.start + timedelta(days=rng.randrange(days.days))
        source = "bridge-us" if site.timezone.startswith("America/") else "bridge-eu"
        first = day if source == "bridge-us" else day - timedelta(days=(day.day - 1) % 7)
        sent = _sent(rng, site, day, f"{source}-{number:08d}")
        files[first, source] += [sent, sent] if rng.randrange(_SENT_TWICE) == 0 else [sent]
    folder.mkdir(parents=True, exist_ok=True)
    return [_write(folder, source, first, files[first, source]) for first, source in sorted(files)]


def _sent(rng: Random, site: DemoSite, day: date, event_id: str) -> _Sent:
    started = _opening(site.timezone, day) + timedelta(seconds=rng.randrange(_OPEN_SECONDS))
    minutes = rng.randrange(100, 4500)
    meter = site.meters[0] if rng.randrange(10) else site.meters[-1]
    region = _REGIONS[rng.randrange(len(_REGIONS))]
    quantity = f"{minutes // 100}.{minutes % 100:02d}"
    return _Sent((event_id, site.account_id, site.site_id, meter, quantity, started.isoformat(), region), minutes)


@cache
def _opening(timezone: str, day: date) -> datetime:
    return start_of_day(day, timezone) + _OPENS


def _write(folder: Path, source: str, first: date, sent: Sequence[_Sent]) -> Path:
    write, ending = (_write_csv, "csv") if source == "bridge-us" else (_write_ndjson, "ndjson")
    path = folder / f"{source}.{first}.{ending}"
    write(path, [one.row for one in sent])
    totals = ControlTotals(events=len(sent), quantity=from_micro(sum(one.hundredths for one in sent) * 10_000))
    path.with_name(f"{path.name}.control.json").write_text(totals.model_dump_json())
    return path


def _write_csv(path: Path, rows: Sequence[tuple[str, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(_COLUMNS)
        writer.writerows(rows)


def _write_ndjson(path: Path, rows: Sequence[tuple[str, ...]]) -> None:
    with path.open("w", encoding="utf-8") as handle:
        for *fields, region in rows:
            event = dict(zip(_COLUMNS, fields, strict=False)) | {"dimensions": {"region": region}}
            handle.write(json.dumps(event) + "\n")
