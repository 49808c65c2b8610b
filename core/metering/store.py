"""The usage store: files in, exact quantities out, and every line accounted for.

Parquet files and DuckDB over them; quantities are 64-bit millionths and sums 128-bit, so nothing is ever rounded or
wraps. One process writes at a time, any number read. A process killed at any line leaves the store as it was before
or after the call, never between.
"""

# ruff: noqa: S608 (SQL is composed here; every name in it is a quoted literal)

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
from pydantic import ValidationError

from core.errors import Rejected
from core.metering.aggregating import load_cuts, measure
from core.metering.batches import Batch, Batches, publish
from core.metering.cuts import Cut
from core.metering.engine import fetch, instant, literal_path, microseconds, quoted, scratch, session
from core.metering.judging import absorb_cured, judge, spare_the_desk
from core.metering.late import LateUsage, group_of
from core.metering.reading import stage, stage_rejected
from core.metering.reporting import REJECTED, Intake, day_totals, nothing_new, rejected_lines, report_of
from core.meters import LOOKING_BACK, Meter
from core.period import Period
from core.ports import Faults, no_faults
from core.rating import MeteredQuantity
from core.usage import (
    NOTHING,
    Completeness,
    ControlTotals,
    IngestReport,
    RejectedLine,
    ServiceIndex,
    UsageEvent,
    from_micro,
)

#: By how much a batch is recorded later than the one before it, at least.
TICK = timedelta(microseconds=1)

_STANDS = ("received", "rated", "pending", "repeated", "rejected")


class UsageStore:
    """Usage events in one folder. ``memory`` bounds what a call takes before it spills to the folder."""

    def __init__(self, folder: Path, *, memory: str = "2GB", faults: Faults = no_faults) -> None:
        self.folder = folder
        self._memory, self._faults = memory, faults
        self._batches = Batches(folder)

    def ingest(self, path: Path, source: str, services: ServiceIndex, recorded_at: datetime) -> IngestReport:
        """Take in one file of a source: CSV, NDJSON or Parquet (see ``reading``), with its control file if it has one.

        ``recorded_at`` goes on: a batch is recorded later than the one before it, whatever the clock says. Raises
        Rejected when the file as a whole is not usable, Unavailable when another process writes; then nothing has
        changed.
        """
        digest, control = _digest(path), control_totals(path)
        with self._batches.writer():
            for batch in self._batches.all():
                if (batch.report.source, batch.report.digest) == (source, digest):
                    return nothing_new(batch.report, path.name, control, recorded_at)
            with self._session() as (connection, folder):
                stage(connection, path)
                judge(connection, services, self._recorded(source))
                spare_the_desk(connection, self._open_rejects(source))
                self._faults("usage.judged")
                return self._keep(connection, folder, Intake(source, path.name, digest, control), recorded_at)

    def retry_rejected(self, services: ServiceIndex, recorded_at: datetime) -> list[IngestReport]:
        """Judge all rejected lines again, e.g. when an account has become known; one report per source that has any.

        What is accepted now leaves the desk in the same commit; so does a line of wrong form that was sent again in
        good form under its id (it counts as repeated). Where nothing has changed, nothing is written.
        """
        sources = sorted({batch.report.source for batch in self._batches.with_open_rejects()})
        return [self._retry(source, services, recorded_at) for source in sources]

    def _retry(self, source: str, services: ServiceIndex, recorded_at: datetime) -> IngestReport:
        with self._batches.writer(), self._session() as (connection, folder):
            batches = [b for b in self._batches.with_open_rejects() if b.report.source == source]
            stage_rejected(connection, self._open_rejects(source))
            recorded = self._recorded(source)
            judge(connection, services, recorded)
            absorb_cured(connection, recorded)
            intake = Intake(source, "rejected lines", "", retries=tuple(batch.id for batch in batches))
            if not fetch(connection, "select * from causes except select * from verdicts"):
                return report_of(connection, intake, recorded_at, day_totals(connection))
            return self._keep(connection, folder, intake, recorded_at)

    def aggregate(self, cuts: Sequence[Cut], meters: Sequence[Meter] = ()) -> list[MeteredQuantity]:
        """What each account used within its own cut, by meter; groups without events are absent.

        ValueError when an account is cut twice, or a meter defined twice.
        """
        looking_back = any(meter.aggregation in LOOKING_BACK for meter in meters)
        files = self._events_of(cuts, since=None if looking_back else min((c.period.start for c in cuts), default=None))
        if not files:
            return []
        with self._session() as (connection, _):
            return measure(connection, files, cuts, meters)

    def known_at(self) -> datetime:
        """When the last batch was recorded (1970 before the first); whatever comes from now on is recorded later."""
        batches = self._batches.all()
        return batches[-1].report.recorded_at if batches else datetime.fromtimestamp(0, UTC)

    def late_accounts(self, billed: Sequence[Cut], meters: Sequence[Meter] = ()) -> set[str]:
        """The accounts of which something was recorded after ``known_at`` of their cut that its quantities may see."""
        first = min((cut.known_at for cut in billed if cut.known_at), default=None)
        looking_back = any(meter.aggregation in LOOKING_BACK for meter in meters)
        files = self._events_of(billed, None if looking_back else min(cut.period.start for cut in billed), first)
        if not files:
            return set()
        with self._session() as (connection, _):
            load_cuts(connection, billed)
            rows = fetch(
                connection,
                f"""select distinct account_id from read_parquet(?, hive_partitioning = false) e
                join cuts c using (account_id) where e.recorded_at > c.known_at and e.moment < c.ends
                {"" if looking_back else "and e.moment >= c.starts"}""",
                files,
            )
        return {account_id for (account_id,) in rows}

    def late(self, billed: Sequence[Cut], meters: Sequence[Meter] = ()) -> list[LateUsage]:
        """What was recorded after the bills of these cuts (each with its ``known_at``) and changes their quantities.

        ValueError when a cut has no ``known_at``: nothing is late for a period that is not billed.
        """
        if any(cut.known_at is None for cut in billed):
            raise ValueError("a billed cut tells with known_at what its bill knew")
        last = max((batch.report.recorded_at for batch in self._batches.all()), default=None)
        cuts = [cut for cut in billed if last and cut.known_at and cut.known_at < last]
        before = {group_of(quantity): quantity for quantity in self.aggregate(cuts, meters)}
        now = self.aggregate([cut.model_copy(update={"known_at": None}) for cut in cuts], meters)
        periods = {cut.account_id: cut.period for cut in cuts}
        return [
            LateUsage(period=periods[quantity.account_id], before=before.get(group_of(quantity)), now=quantity)
            for quantity in now
            if quantity != before.get(group_of(quantity))
        ]

    def events(
        self, account_id: str, site_id: str | None, meter: str, period: Period, limit: int = 1000
    ) -> list[UsageEvent]:
        """The events themselves, oldest first, at most ``limit``. ``site_id`` None: those that name no site."""
        files = self._events_of([Cut(account_id=account_id, period=period)], since=period.start)
        if not files:
            return []
        with self._session() as (connection, _):
            rows = fetch(
                connection,
                """select source, id, micro, moment, recorded_at, dimensions
                from read_parquet(?, hive_partitioning = false)
                where account_id = ? and site_id = ? and meter = ?
                    and moment >= make_timestamp(?) and moment < make_timestamp(?)
                order by moment, source, id limit ?""",
                files,
                account_id,
                site_id or "",
                meter,
                microseconds(period.start),
                microseconds(period.end),
                limit,
            )
        return [
            UsageEvent(
                source=source,
                id=event_id,
                account_id=account_id,
                site_id=site_id,
                meter=meter,
                quantity=from_micro(micro),
                occurred_at=instant(moment),
                recorded_at=instant(recorded_at),
                dimensions=json.loads(dimensions),
            )
            for source, event_id, micro, moment, recorded_at, dimensions in rows
        ]

    def completeness(self, rated: Sequence[Cut] = ()) -> list[Completeness]:
        """Where everything received stands, by source and UTC day. ``rated``: the cuts whose bills have been made;
        an event recorded after ``known_at`` of its cut is not in that bill, so it is pending."""
        batches = self._batches.all()
        taken = {batch_id for batch in batches for batch_id in batch.retries}
        found: dict[tuple[str, date | None], dict[str, ControlTotals]] = {}
        for batch in batches:
            for day in batch.days:
                totals = found.setdefault((batch.report.source, day.day), dict.fromkeys(_STANDS, NOTHING))
                totals["pending"] += day.accepted
                totals["repeated"] += day.repeated
                if batch.id not in taken:
                    totals["rejected"] += day.rejected
                if not batch.retries:
                    totals["received"] += day.accepted + day.repeated + day.rejected
        for source, rated_day, count, micro in self._rated(rated):
            totals, part = found[source, rated_day], ControlTotals(events=count, quantity=from_micro(int(micro)))
            totals["rated"] += part
            totals["pending"] -= part
        order = sorted(found, key=lambda key: (key[0], key[1] is None, key[1] or date.min))
        return [Completeness(source=key[0], day=key[1], **found[key]) for key in order]

    def _rated(self, cuts: Sequence[Cut]) -> list[tuple[str, date, int, int]]:
        """Accepted events within the cuts by source and day; a later cut of an account counts beside an earlier one."""
        files = self._events_of(cuts, since=min((cut.period.start for cut in cuts), default=None))
        if not files:
            return []
        with self._session() as (connection, _):
            load_cuts(connection, cuts)
            return fetch(
                connection,
                """select source, moment::date, count(*), sum(micro) from read_parquet(?, hive_partitioning = false) e
                where exists (from cuts c where c.account_id = e.account_id
                    and c.starts <= e.moment and e.moment < c.ends and e.recorded_at <= c.known_at) group by all""",
                files,
            )

    def _events_of(
        self, cuts: Sequence[Cut], since: datetime | None, recorded_after: datetime | None = None
    ) -> list[str]:
        """The event files that can hold an event before the last end of the cuts, and not before ``since``."""
        end = max((cut.period.end for cut in cuts), default=None)
        return [
            literal_path(self._batches.events_path(batch.id))
            for batch in self._batches.all()
            if batch.first_at
            and batch.last_at
            and end
            and batch.first_at < end
            and (not since or batch.last_at >= since)
            and (not recorded_after or batch.report.recorded_at > recorded_after)
        ]

    def rejected(self, source: str | None = None, limit: int = 1000) -> list[RejectedLine]:
        """What stands on the error desk now, oldest first, at most ``limit`` lines."""
        lines: list[RejectedLine] = []
        with self._session() as (connection, _):
            for batch in self._batches.with_open_rejects():
                if source in (None, batch.report.source):
                    rejects = f"read_parquet({quoted(literal_path(self._batches.rejects_path(batch.id)))})"
                    lines += rejected_lines(connection, batch.report.source, rejects, limit - len(lines))
        return lines

    def _keep(
        self, connection: duckdb.DuckDBPyConnection, made: Path, intake: Intake, recorded_at: datetime
    ) -> IngestReport:
        """Write the batch: its files first, its manifest last."""
        batches = self._batches.all()
        recorded_at = max([recorded_at, *(batch.report.recorded_at + TICK for batch in batches[-1:])])
        days = day_totals(connection)
        report = report_of(connection, intake, recorded_at, days)
        batch = Batch(id=self._batches.next_id(), report=report, retries=intake.retries, days=days)
        if report.accepted:
            first, last = fetch(connection, "select min(moment), max(moment) from pending")[0]
            batch = batch.model_copy(update={"first_at": instant(first), "last_at": instant(last)})
            _write(connection, _accepted(intake.source, recorded_at), made / "events.parquet")
            publish(made / "events.parquet", self._batches.events_path(batch.id))
        self._faults("usage.events_written")
        if report.rejected:
            _write(connection, REJECTED, made / "rejects.parquet")
            publish(made / "rejects.parquet", self._batches.rejects_path(batch.id))
        self._faults("usage.rejects_written")
        self._batches.commit(batch, made)
        self._faults("usage.committed")
        return report

    def _recorded(self, source: str) -> list[str]:
        batches = [batch for batch in self._batches.all() if batch.report.source == source and batch.report.accepted]
        return [literal_path(self._batches.events_path(batch.id)) for batch in batches]

    def _open_rejects(self, source: str) -> list[str]:
        batches = [batch for batch in self._batches.with_open_rejects() if batch.report.source == source]
        return [literal_path(self._batches.rejects_path(batch.id)) for batch in batches]

    @contextmanager
    def _session(self) -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
        with scratch(self.folder / "scratch") as folder, session(folder, self._memory) as connection:
            yield connection, folder


def control_totals(path: Path) -> ControlTotals | None:
    """What the source says it sent in this file; None when it says nothing. Rejected when that is not readable."""
    side = path.with_name(f"{path.name}.control.json")
    if not side.exists():
        return None
    try:
        return ControlTotals.model_validate_json(side.read_bytes())
    except ValidationError as error:
        problem = error.errors(include_input=False)[0]
        field = ".".join(str(part) for part in problem["loc"])
        raise Rejected(f"{side.name}: {field} {problem['msg']}", record=path.name, field=field) from None


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise Rejected(f"{path.name}: {error.strerror}", record=path.name, field="file") from None


def _write(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    connection.execute(f"copy ({query}) to ? (format parquet, compression zstd)", [str(path)])


def _accepted(source: str, recorded_at: datetime) -> str:
    return f"""
        select {quoted(source)} as source, id, key, account_id, site_id, meter, micro, moment, dimensions,
            make_timestamp({microseconds(recorded_at)}) as recorded_at
        from pending order by account_id, moment"""
