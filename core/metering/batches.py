"""What the store holds: one batch per file taken in, committed by the rename of its manifest.

A batch is ``events/<id>.parquet`` and ``rejects/<id>.parquet`` (each only when it has rows) and then
``batches/<id>.json``. A file without a manifest is what a killed process left: nobody reads it, the next writer
removes it. Manifests are never changed; a retry is a batch of its own that takes over the rejects of others.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from core.errors import Unavailable
from core.metering.engine import sweep
from core.noun import Id, Instant, Noun
from core.usage import ControlTotals, IngestReport


class DayTotals(Noun):
    """What became of the lines of one UTC day of ``occurred_at`` (None: not readable)."""

    day: date | None
    accepted: ControlTotals
    repeated: ControlTotals
    rejected: ControlTotals


class Batch(Noun):
    """The manifest. ``retries`` names the batches whose rejects this one took over; ``first_at`` and ``last_at``
    bound the ``occurred_at`` of its accepted events, both inclusive."""

    id: Id
    report: IngestReport
    retries: tuple[Id, ...] = ()
    days: tuple[DayTotals, ...] = ()
    first_at: Instant | None = None
    last_at: Instant | None = None


class Batches:
    """The batches of one folder, in the order of their commit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, Batch] = {}

    def all(self) -> list[Batch]:
        names = sorted(path.name for path in (self.folder / "batches").glob("*.json"))
        for name in names:
            if name not in self._known:
                self._known[name] = Batch.model_validate_json((self.folder / "batches" / name).read_bytes())
        return [self._known[name] for name in names]

    def next_id(self) -> str:
        """Greater than every id before it; what a killed process may have left under it is removed."""
        batch_id = f"{len(self.all()) + 1:08d}"
        self.events_path(batch_id).unlink(missing_ok=True)
        self.rejects_path(batch_id).unlink(missing_ok=True)
        return batch_id

    def events_path(self, batch_id: str) -> Path:
        return self.folder / "events" / f"{batch_id}.parquet"

    def rejects_path(self, batch_id: str) -> Path:
        return self.folder / "rejects" / f"{batch_id}.parquet"

    def with_open_rejects(self) -> list[Batch]:
        """Batches whose rejects no retry has taken over."""
        batches = self.all()
        taken = {batch_id for batch in batches for batch_id in batch.retries}
        return [batch for batch in batches if batch.report.rejected and batch.id not in taken]

    def commit(self, batch: Batch, made: Path) -> None:
        """Write the manifest; from its rename on the batch exists. ``made`` is where to write it first."""
        temporary = made / "manifest.json"
        temporary.write_text(batch.model_dump_json())
        publish(temporary, self.folder / "batches" / f"{batch.id}.json")

    @contextmanager
    def writer(self) -> Iterator[None]:
        """The one writer of the folder. Unavailable when another one is at work."""
        for room in ("batches", "events", "rejects", "scratch"):
            (self.folder / room).mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Unavailable(f"the usage store {self.folder.name} is being written by another process") from None
            sweep(self.folder / "scratch")
            yield


def publish(made: Path, target: Path) -> None:
    """Move a finished file to its place so that it is there whole, or not at all, whatever is killed when."""
    _sync(made)
    made.replace(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
