"""The error desk of usage, completeness, and what a killed process leaves."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from multiprocessing import get_context
from pathlib import Path

import pytest

from core.metering import Cut, UsageStore
from core.period import DateSpan, Period
from core.usage import Cause, ControlTotals, Service, ServiceIndex
from tests.core.metering.conftest import CUT, OCTOBER, RECORDED, Write, line, served

MINUTES = served("minutes")
BOTH = ServiceIndex(services=(*MINUTES.services, *served("minutes", account="B").services))
LATER = RECORDED + timedelta(days=1)


def totals(events: int, quantity: str) -> ControlTotals:
    return ControlTotals(events=events, quantity=Decimal(quantity))


def test_a_cured_line_is_taken_in_and_leaves_the_desk(store: UsageStore, write: Write) -> None:
    """When its account has become known, a rejected event is accepted with everything it had, recorded at the retry."""
    store.ingest(write("u.csv", line("1", "2.5", account_id="B", region="eu"), line("2")), "bridge", MINUTES, RECORDED)
    (report,) = store.retry_rejected(BOTH, LATER)
    assert (report.received, report.accepted, report.rejected) == (1, 1, 0)
    (found,) = store.events("B", "S", "minutes", OCTOBER)
    assert (found.id, found.quantity, found.dimensions) == ("1", Decimal("2.5"), {"region": "eu"})
    assert found.recorded_at == LATER
    assert store.rejected() == []
    assert store.retry_rejected(BOTH, LATER) == []


def test_a_retry_that_cures_nothing_writes_nothing(store: UsageStore, write: Write, tmp_path: Path) -> None:
    store.ingest(write("u.csv", line("1", account_id="B"), line("2", "x")), "bridge", MINUTES, RECORDED)
    before = sorted((tmp_path / "usage").rglob("*.*"))
    (report,) = store.retry_rejected(MINUTES, LATER)
    assert (report.received, report.rejected) == (2, 2)
    assert sorted((tmp_path / "usage").rglob("*.*")) == before


def test_a_retry_keeps_file_and_line_and_updates_the_cause(store: UsageStore, write: Write) -> None:
    """What is still wrong stays on the desk under its own file and line, with the cause it has now."""
    store.ingest(write("1.csv", line("1", account_id="B", site_id="T")), "bridge", MINUTES, RECORDED)
    store.ingest(write("2.csv", line("ok"), line("2", account_id="C")), "bridge", MINUTES, RECORDED)
    store.retry_rejected(BOTH, LATER)
    assert [(r.file, r.line, r.cause, r.value) for r in store.rejected()] == [
        ("1.csv", 2, Cause.UNKNOWN_SITE, "T"),
        ("2.csv", 3, Cause.UNKNOWN_ACCOUNT, "C"),
    ]


def test_of_two_refused_contents_the_first_recorded_wins_at_the_retry(store: UsageStore, write: Write) -> None:
    store.ingest(write("1.csv", line("1", "1", account_id="B")), "bridge", MINUTES, RECORDED)
    store.ingest(write("2.csv", line("1", "2", account_id="B")), "bridge", MINUTES, RECORDED)
    store.retry_rejected(BOTH, LATER)
    assert [e.quantity for e in store.events("B", "S", "minutes", OCTOBER)] == [Decimal(1)]
    assert [(r.file, r.cause) for r in store.rejected()] == [("2.csv", Cause.CONFLICT)]


def test_a_line_of_wrong_form_leaves_the_desk_when_its_event_came_in_good_form(store: UsageStore, write: Write) -> None:
    """Text that is wrong stays wrong; it is cured by a good line under its id, and then counts as repeated."""
    store.ingest(write("1.csv", line("1", "1,5"), line("2", "x"), line("3", at="?")), "bridge", MINUTES, RECORDED)
    store.ingest(write("2.csv", line("2", "1.5")), "bridge", MINUTES, RECORDED)
    (report,) = store.retry_rejected(MINUTES, LATER)
    assert (report.accepted, report.repeated, report.rejected) == (0, 1, 2)
    assert [r.id for r in store.rejected()] == ["1", "3"]
    assert [e.quantity for e in store.events("A", "S", "minutes", OCTOBER)] == [Decimal("1.5")]


def test_completeness_accounts_for_everything_received_by_source_and_day(store: UsageStore, write: Write) -> None:
    """Received = rated + pending + repeated + rejected, per source and UTC day, before and after a cure."""
    store.ingest(
        write(
            "u.csv",
            line("1", "1.5", "2026-10-05T23:59:59Z"),
            line("1", "1.5", "2026-10-05T23:59:59Z"),
            line("2", "2", "2026-10-06T00:00:00Z"),
            line("3", "4", "2026-10-06T00:00:00Z", account_id="B"),
            line("4", "8", "yesterday"),
            line("5", "x", "2026-10-06T01:00:00Z"),
        ),
        "bridge",
        MINUTES,
        RECORDED,
    )
    none = totals(0, "0")
    fifth = Cut(account_id="A", period=DateSpan.month("2026-10").instants("UTC"))
    first, second, unknown = store.completeness()
    assert (first.day, first.received, first.pending, first.repeated) == (
        datetime(2026, 10, 5, tzinfo=UTC).date(),
        totals(2, "3"),
        totals(1, "1.5"),
        totals(1, "1.5"),
    )
    assert (second.received, second.pending, second.rejected) == (totals(3, "6"), totals(1, "2"), totals(2, "4"))
    assert (unknown.day, unknown.received, unknown.rejected) == (None, totals(1, "8"), totals(1, "8"))
    store.retry_rejected(BOTH, LATER)
    _, second, _ = store.completeness([fifth])
    assert (second.received, second.rated, second.pending) == (totals(3, "6"), totals(1, "2"), totals(1, "4"))
    assert (second.repeated, second.rejected) == (none, totals(1, "0"))


def test_an_event_in_two_rated_cuts_counts_once(store: UsageStore, write: Write) -> None:
    """An account rated twice for a day, e.g. again after a change, has its events rated once."""
    store.ingest(write("u.csv", line("1", "2")), "bridge", MINUTES, RECORDED)
    (day,) = store.completeness([CUT, CUT])
    assert (day.rated, day.pending) == (totals(1, "2"), totals(0, "0"))


def test_usage_after_the_bill_is_pending_and_late(store: UsageStore, write: Write) -> None:
    """An event recorded after its cut was known is not in that bill: pending in completeness, named by late."""
    store.ingest(write("1.csv", line("1", "2")), "bridge", MINUTES, RECORDED)
    billed = CUT.model_copy(update={"known_at": RECORDED})
    assert store.late([billed]) == []
    store.ingest(write("2.csv", line("2", "3")), "bridge", MINUTES, LATER)
    (day,) = store.completeness([billed])
    assert (day.rated, day.pending) == (totals(1, "2"), totals(1, "3"))
    (late,) = store.late([billed])
    assert (late.difference, late.now.quantity, late.period) == (Decimal(3), Decimal(5), OCTOBER)
    with pytest.raises(ValueError, match="known_at"):
        store.late([CUT])


POINTS = ["usage.judged", "usage.events_written", "usage.rejects_written", "usage.committed"]


def _ingest_until(point: str, folder: Path, path: Path) -> None:
    def kill(reached: str) -> None:
        if reached == point:
            os.kill(os.getpid(), signal.SIGKILL)

    UsageStore(folder, faults=kill).ingest(path, "bridge", MINUTES, RECORDED)


def _retry_until(point: str, folder: Path, _path: Path) -> None:
    def kill(reached: str) -> None:
        if reached == point:
            os.kill(os.getpid(), signal.SIGKILL)

    UsageStore(folder, faults=kill).retry_rejected(BOTH, LATER)


def _run(target: object, *arguments: object) -> int | None:
    process = get_context("spawn").Process(target=target, args=arguments)  # type: ignore[arg-type]
    process.start()
    process.join()
    return process.exitcode


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_any_commit_point_leaves_before_or_after(
    store: UsageStore, write: Write, tmp_path: Path, point: str
) -> None:
    """Killed while taking a file in or retrying, and started again: the same usage, the same desk, nothing twice."""
    path = write("u.csv", line("1", "2"), line("2", "3", account_id="B"), line("3", "x"))
    folder = tmp_path / "usage"
    assert _run(_ingest_until, point, folder, path) == -signal.SIGKILL
    accepted = store.ingest(path, "bridge", MINUTES, RECORDED).accepted
    assert accepted == (0 if point == "usage.committed" else 1)
    assert [q.quantity for q in store.aggregate([CUT])] == [Decimal(2)]
    assert [r.id for r in store.rejected()] == ["2", "3"]
    if point != "usage.judged":
        assert _run(_retry_until, point, folder, path) == -signal.SIGKILL
    store.retry_rejected(BOTH, LATER)
    assert [e.quantity for e in store.events("B", "S", "minutes", OCTOBER)] == [Decimal(3)]
    assert [r.id for r in store.rejected()] == ["3"]
    assert sum((day.received for day in store.completeness()), totals(0, "0")) == totals(3, "5")
    batches = {path.stem for path in (folder / "batches").iterdir()}
    assert {path.stem for room in ("events", "rejects") for path in (folder / room).iterdir()} <= batches
    assert list((folder / "scratch").iterdir()) == []


def test_events_are_found_by_account_site_meter_and_instant(store: UsageStore, write: Write) -> None:
    """The period is half-open, the order is by time and then id, and the limit keeps the first."""
    start, end = "2026-10-05T00:00:00Z", "2026-10-06T00:00:00Z"
    lines = [line("b", at=start), line("a", at=start), line("c", at=end), line("d", at="2026-10-05T23:59:59.999999Z")]
    store.ingest(
        write("u.csv", *lines, line("e", meter="hours", at=start)), "bridge", served("minutes", "hours"), RECORDED
    )
    day = Period(datetime(2026, 10, 5, tzinfo=UTC), datetime(2026, 10, 6, tzinfo=UTC))
    assert [e.id for e in store.events("A", "S", "minutes", day)] == ["a", "b", "d"]
    assert [e.id for e in store.events("A", "S", "minutes", day, limit=1)] == ["a"]
    assert store.events("A", "T", "minutes", day) == []


def test_a_service_that_begins_later_does_not_serve_earlier_usage(store: UsageStore, write: Write) -> None:
    """A retry judges with the services it is given now, by the instant of the event."""
    store.ingest(write("u.csv", line("1", at="2026-10-05T00:00:00Z")), "bridge", ServiceIndex(), RECORDED)
    late = Service(account_id="A", site_id="S", meter="minutes", starts_at=datetime(2026, 10, 6, tzinfo=UTC))
    (report,) = store.retry_rejected(ServiceIndex(services=(late,)), LATER)
    assert [r.cause for r in report.rejections] == [Cause.BEFORE_SERVICE]


def test_what_a_killed_process_left_is_removed_by_the_next_batch(
    store: UsageStore, write: Write, tmp_path: Path
) -> None:
    """Event files of a batch that never was do not stay under the number of the next one."""
    folder = tmp_path / "usage"
    assert _run(_ingest_until, "usage.events_written", folder, write("1.csv", line("1"))) == -signal.SIGKILL
    assert len(list((folder / "events").iterdir())) == 1
    store.ingest(write("2.csv", line("2", "x")), "bridge", MINUTES, RECORDED)
    assert list((folder / "events").iterdir()) == []
