# ruff: noqa: S608 (nothing foreign gets into its SQL)
"""Metering against its floor: ``uv run python bench/metering.py [EVENTS] [FOLDER]``, by default 10,000,000.

Writes one month of events of 20,000 accounts and 5 meters as Parquet, takes it in, takes it in a second time, and
measures it: plain sums, and 60/60 rounding split by local peak hours. The floor of taking in is reading
the file, sorting it and writing it again; the floor of measuring is a bare group-by over that file, both in
the same engine and run. Each step is a process of its own, so that its peak memory is its own; imports do not count.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, time
from decimal import Decimal
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter, process_time

import duckdb

from core.metering import Band, Cut, Increments, Meter, TimeBands, UsageStore
from core.period import DateSpan
from core.usage import Service, ServiceIndex

ACCOUNTS, SITES, METERS = 20_000, 1, 5
MONTH = DateSpan.month("2026-10")
RECORDED = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Cost:
    wall: float
    cpu: float
    peak_mb: int


def _floor_session(folder: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"memory_limit": "2GB", "temp_directory": str(folder / "spill")})
    connection.execute("set enable_progress_bar = false")
    return connection


def write_events(folder: Path, events: int) -> None:
    with duckdb.connect() as connection:
        connection.execute(
            f"""copy (select md5(range::varchar) as id,
                printf('A-%05d', account) as account_id,
                printf('A-%05d-S%d', account, hash(range, 2) % {SITES}) as site_id,
                printf('meter_%d', hash(range, 3) % {METERS}) as meter,
                ((hash(range, 4) % 3600000)::decimal(18, 3) * 0.001::decimal(4, 3))::decimal(18, 6) as quantity,
                '2026-10-01T00:00:00Z'::timestamptz + to_seconds((hash(range, 5) % 2678400)::bigint) as occurred_at,
                ['na', 'emea', 'apac'][1 + (hash(range, 6) % 3)::integer] as region
            from (select range, hash(range, 1) % {ACCOUNTS} as account from range({events})))
            to '{folder / "events.parquet"}' (format parquet, compression zstd)"""
        )


def floor_of_ingest(folder: Path) -> None:
    with _floor_session(folder) as connection:
        connection.execute(
            f"""copy (from '{folder / "events.parquet"}' order by account_id, occurred_at)
            to '{folder / "sorted.parquet"}' (format parquet, compression zstd)"""
        )


def ingest(folder: Path) -> None:
    services = ServiceIndex(
        services=tuple(
            Service(
                account_id=f"A-{account:05d}",
                site_id=f"A-{account:05d}-S{site}",
                meter=f"meter_{meter}",
                starts_at=datetime(2026, 1, 1, tzinfo=UTC),
            )
            for account in range(ACCOUNTS)
            for site in range(SITES)
            for meter in range(METERS)
        )
    )
    report = UsageStore(folder / "store").ingest(folder / "events.parquet", "bench", services, RECORDED)
    if report.accepted != report.received:
        raise SystemExit(f"not all accepted: {report}")


def ingest_repeats(folder: Path) -> None:
    """The same events in a file of another digest: every one is compared with what is stored."""
    with duckdb.connect() as connection:
        connection.execute(
            f"""copy (from '{folder / "events.parquet"}' limit 1000000)
            to '{folder / "again.parquet"}' (format parquet, compression zstd)"""
        )
    report = UsageStore(folder / "store").ingest(folder / "again.parquet", "bench", ServiceIndex(), RECORDED)
    if report.repeated != report.received:
        raise SystemExit(f"not all repeated: {report}")


def floor_of_measure(folder: Path) -> None:
    with _floor_session(folder) as connection:
        connection.execute(
            f"""select account_id, site_id, meter, sum(quantity), count(*)
            from read_parquet('{folder / "events.parquet"}') group by all"""
        ).fetchall()


def _cuts() -> list[Cut]:
    zones = ("America/New_York", "Europe/Berlin", "UTC", "Asia/Tokyo")
    return [
        Cut(account_id=f"A-{a:05d}", period=MONTH.instants(zones[a % 4]), timezone=zones[a % 4])
        for a in range(ACCOUNTS)
    ]


def measure_sums(folder: Path) -> None:
    UsageStore(folder / "store").aggregate(_cuts())


def measure_matrix(folder: Path) -> None:
    peak = TimeBands(
        dimension="hours",
        bands=(Band(name="peak", weekdays=(1, 2, 3, 4, 5), starts=time(8), ends=time(18)),),
        otherwise="off_peak",
    )
    meters = [
        Meter(
            name=f"meter_{meter}",
            bands=peak,
            increments=Increments(first=Decimal(60), then=Decimal(60)),
        )
        for meter in range(METERS)
    ]
    UsageStore(folder / "store").aggregate(_cuts(), meters)


def _child(step: Callable[[Path], None], folder: Path, answer: Connection) -> None:
    wall, cpu = perf_counter(), process_time()
    step(folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    answer.send(Cost(perf_counter() - wall, process_time() - cpu, peak))


def run(step: Callable[[Path], None], folder: Path) -> Cost:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(step, folder, there))
    process.start()
    there.close()
    try:
        cost: Cost = here.recv()
    except EOFError:
        raise SystemExit(f"{step.__name__} failed") from None
    process.join()
    return cost


def main(events: int, folder: Path) -> None:
    write_events(folder, events)
    print(
        f"{events:,} events, {ACCOUNTS:,} accounts, {METERS} meters; cpu and wall in seconds, ratio of cpu to the floor"
    )
    for floor, steps in (
        (floor_of_ingest, (ingest, ingest_repeats)),
        (floor_of_measure, (measure_sums, measure_matrix)),
    ):
        least = run(floor, folder)
        print(f"{floor.__name__:18} cpu {least.cpu:6.1f}  wall {least.wall:6.1f}  peak {least.peak_mb:5} MB")
        for step in steps:
            cost = run(step, folder)
            print(
                f"{step.__name__:18} cpu {cost.cpu:6.1f}  wall {cost.wall:6.1f}  peak {cost.peak_mb:5} MB"
                f"  ratio {cost.cpu / least.cpu:4.1f}  {events / cost.wall:,.0f} events/s"
            )


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    if len(sys.argv) > 2:
        main(count, Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(count, Path(temporary))
