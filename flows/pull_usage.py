"""Pull usage: rows of SQL sources that changed since the watermark become usage files, for ingestion to take in.

The bound is inclusive and reaches back a little, so that a row committed late is not missed; what comes twice is a
repeat. The file is on disk before the watermark moves, so a killed run loses nothing.
"""

from __future__ import annotations

import hashlib
import os
from datetime import datetime, timedelta
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from core.errors import TieoutError
from core.metering.pulling import rows_since
from core.sync import Watermark
from flows import desk
from flows.context import Hub, hub
from flows.ingest import FOLDER
from flows.report import Report, conclude, counted
from flows.settings import UsageSource

#: How far behind the watermark a pull begins: longer than a source's longest transaction.
OVERLAP = timedelta(minutes=10)
#: Where a source that was never pulled begins.
BEGINNING = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def pull_sources(hub: Hub) -> Report:
    """Pulls every configured source; one that fails stands on the desk and does not stop the others."""
    report = Report("", counts={"rows": 0, "files": 0})
    for name, source in hub.settings.usage_sources.items():
        try:
            rows, file = _pull(hub, name, source)
        except TieoutError as error:
            failure = desk.entry(error, f"usage:{name}:pull", name, "usage_source", name, hub.now())
            report.failures.append(failure)
            with hub.database.work() as work:
                work.desk.report(failure)
            continue
        with hub.database.work() as work:
            work.desk.resolve(f"usage:{name}:pull")
        report.counts["rows"] += rows
        report.counts["files"] += bool(file)
        if file:
            report.rows.append({"source": name, "rows": f"{rows:,}", "file": file})
    sources = counted(len(hub.settings.usage_sources), "source")
    report.headline = f"{counted(report.counts['rows'], 'row')} of {sources}"
    return report


def _pull(hub: Hub, name: str, source: UsageSource) -> tuple[int, str]:
    """Rows pulled, and the name of the file they are in (empty: none)."""
    with hub.database.reading() as work:
        stands = work.outbox.watermark(f"usage:{name}", "rows")
    since = datetime.fromisoformat(stands) - OVERLAP if stands else BEGINNING
    folder = hub.settings.state_folder / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{name}.{os.getpid()}.part"
    newest, rows, digest = stands or "", 0, hashlib.sha256()
    try:
        with part.open("w", encoding="utf-8") as file:
            for changed_at, line in rows_since(source.url.get_secret_value(), source.query, since, name):
                file.write(f"{line}\n")
                digest.update(line.encode())
                newest, rows = max(newest, changed_at.isoformat(timespec="microseconds")), rows + 1
            file.flush()
            os.fsync(file.fileno())
        if not rows:
            return 0, ""
        path = folder / f"{name}.{digest.hexdigest()[:32]}.ndjson"
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    hub.world.faults("usage.pulled")
    if newest != stands:
        mark = Watermark(system=f"usage:{name}", resource="rows", position=newest, moved_at=hub.now())
        with hub.database.work() as work:
            work.outbox.move_watermark(mark)
    return rows, path.name


@flow(
    name="Pull usage",
    description="Reads the rows of SQL usage sources that changed since the last pull into usage files.",
)
def pull_usage() -> State[Any]:
    return conclude("Pull usage", pull_sources(hub()))
