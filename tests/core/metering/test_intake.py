"""What becomes of every line of a file."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from core.errors import Rejected, TieBroken, Unavailable
from core.metering import UsageStore
from core.usage import Cause, IngestReport, Service, ServiceIndex
from tests.core.metering.conftest import CUT, HEADER, OCTOBER, RECORDED, Write, event, line, served

MINUTES = served("minutes")


def causes(report: IngestReport) -> dict[str, list[int]]:
    return {r.cause.value: [sample.line for sample in r.samples] for r in report.rejections}


@pytest.mark.parametrize(
    ("bad", "cause", "value"),
    [
        ("no comma at all", Cause.MALFORMED, "no comma at all"),
        (line(""), Cause.MALFORMED, line("")),
        (line("x") + ",one too many", Cause.MALFORMED, line("x") + ",one too many"),
        (line('half "quoted'), Cause.MALFORMED, line('half "quoted')),
        (line("x", account_id=""), Cause.MALFORMED, line("x", account_id="")),
        (line("x", "1.0000001"), Cause.BAD_QUANTITY, "1.0000001"),
        (line("x", "1e3"), Cause.BAD_QUANTITY, "1e3"),
        (line("x", "NaN"), Cause.BAD_QUANTITY, "NaN"),
        (line("x", " 1"), Cause.BAD_QUANTITY, " 1"),
        (line("x", ""), Cause.BAD_QUANTITY, ""),
        (line("x", "1000000000000.000001"), Cause.BAD_QUANTITY, "1000000000000.000001"),
        (line("x", at="2026-10-05T12:00:00"), Cause.BAD_TIMESTAMP, "2026-10-05T12:00:00"),
        (line("x", at="2026-02-30T12:00:00Z"), Cause.BAD_TIMESTAMP, "2026-02-30T12:00:00Z"),
        (line("x", at="2026-10-05"), Cause.BAD_TIMESTAMP, "2026-10-05"),
        (line("x", at="1791000000"), Cause.BAD_TIMESTAMP, "1791000000"),
        (line("x", at="9999-12-31T23:59:59-14:00"), Cause.BAD_TIMESTAMP, "9999-12-31T23:59:59-14:00"),
        (line("x", at="0000-01-01T00:00:00Z"), Cause.BAD_TIMESTAMP, "0000-01-01T00:00:00Z"),
        (line("x", account_id="B"), Cause.UNKNOWN_ACCOUNT, "B"),
        (line("x", site_id="T"), Cause.UNKNOWN_SITE, "T"),
        (line("x", site_id=""), Cause.UNKNOWN_SITE, ""),
        (line("x", meter="hours"), Cause.UNKNOWN_METER, "hours"),
        (line("x", at="2026-09-30T23:59:59.999999Z"), Cause.BEFORE_SERVICE, "2026-09-30T23:59:59.999999Z"),
        (line("good", "2"), Cause.CONFLICT, "good"),
    ],
)
def test_a_bad_line_is_rejected_with_its_cause_line_and_value(
    store: UsageStore, write: Write, bad: str, cause: Cause, value: str
) -> None:
    """A bad line is rejected for its own cause, and the lines around it are accepted."""
    report = store.ingest(write("u.csv", line("good"), bad, line("after")), "bridge", MINUTES, RECORDED)
    assert (report.received, report.accepted, report.repeated, report.rejected) == (3, 2, 0, 1)
    (rejection,) = report.rejections
    (sample,) = rejection.samples
    assert (rejection.cause, sample.line, sample.value, sample.file) == (cause, 3, value, "u.csv")
    assert store.rejected() == [sample]


@pytest.mark.parametrize(
    ("quantity", "exact"),
    [
        ("1", "1"),
        ("+1.50", "1.5"),
        ("-0.000001", "-0.000001"),
        ("1.5000000000", "1.5"),
        ("007", "7"),
        ("1000000000000", "1000000000000"),
        ("999999999999.999999", "999999999999.999999"),
        ("1.", "1"),
    ],
)
def test_quantities_are_taken_exactly(store: UsageStore, write: Write, quantity: str, exact: str) -> None:
    """What is written with at most six decimals is what is stored, in CSV and in NDJSON, as text and as number."""
    store.ingest(write("u.csv", line("csv", quantity)), "bridge", MINUTES, RECORDED)
    number = event("number", "@").replace('"@"', exact)
    store.ingest(write("u.ndjson", event("text", quantity), number), "bridge", MINUTES, RECORDED)
    assert [e.quantity for e in store.events("A", "S", "minutes", OCTOBER)] == [Decimal(exact)] * 3


@pytest.mark.parametrize(
    ("written", "utc"),
    [
        ("2026-10-05T12:00:00Z", datetime(2026, 10, 5, 12, tzinfo=UTC)),
        ("2026-10-05 12:00Z", datetime(2026, 10, 5, 12, tzinfo=UTC)),
        ("2026-10-05T12:00:00+02:00", datetime(2026, 10, 5, 10, tzinfo=UTC)),
        ("2026-10-05T12:00:00.25-0330", datetime(2026, 10, 5, 15, 30, 0, 250000, tzinfo=UTC)),
        ("2026-10-05T12:00:00.123456789+00", datetime(2026, 10, 5, 12, 0, 0, 123456, tzinfo=UTC)),
    ],
)
def test_instants_are_taken_with_their_offset(store: UsageStore, write: Write, written: str, utc: datetime) -> None:
    """The offset decides the instant; digits beyond microseconds are cut."""
    store.ingest(write("u.csv", line("1", at=written)), "bridge", MINUTES, RECORDED)
    assert [e.occurred_at for e in store.events("A", "S", "minutes", OCTOBER)] == [utc]


def test_an_exact_repeat_is_counted_whatever_its_spelling(store: UsageStore, write: Write) -> None:
    """Identity is source and id; the same content in another spelling, format or file is a repeat."""
    first = store.ingest(
        write("1.csv", line("1", "1.5", region="eu"), line("1", "1.500", "2026-10-05T14:00:00+02:00", region="eu")),
        "bridge",
        MINUTES,
        RECORDED,
    )
    second = store.ingest(
        write("2.ndjson", event("1", 1.5, dimensions={"region": "eu", "room": ""})), "bridge", MINUTES, RECORDED
    )
    assert (first.accepted, first.repeated) == (1, 1)
    assert (second.accepted, second.repeated, second.repeated_quantity) == (0, 1, Decimal("1.5"))


def test_the_same_id_of_another_source_is_another_event(store: UsageStore, write: Write) -> None:
    path = write("u.csv", line("1"))
    assert store.ingest(path, "bridge-us", MINUTES, RECORDED).accepted == 1
    assert store.ingest(path, "bridge-eu", MINUTES, RECORDED).accepted == 1


@pytest.mark.parametrize(
    "other",
    [
        line("1", "2"),
        line("1", at="2026-10-05T12:00:00.000001Z"),
        line("1", region="eu"),
        line("1", meter="hours"),
        line("1", account_id="B"),
    ],
)
def test_another_content_under_a_recorded_identity_is_a_conflict(store: UsageStore, write: Write, other: str) -> None:
    """The first recorded wins, in the file and over files; the other is rejected, and usage stays as it was."""
    within = store.ingest(write("1.csv", line("1"), line("1", "3")), "bridge", served("minutes", "hours"), RECORDED)
    after = store.ingest(write("2.csv", other), "bridge", served("minutes", "hours"), RECORDED)
    assert causes(within) == {"conflict": [3]}
    assert causes(after) == {"conflict": [2]}
    assert [q.quantity for q in store.aggregate([CUT])] == [Decimal(1)]


def test_a_corrected_line_may_follow_the_refused_one(store: UsageStore, write: Write) -> None:
    """A refused line records nothing, so its identity is free for a good one in the same file."""
    report = store.ingest(write("u.csv", line("1", account_id="B"), line("1")), "bridge", MINUTES, RECORDED)
    assert (report.accepted, causes(report)) == (1, {"unknown_account": [2]})


def test_the_same_file_again_changes_nothing(store: UsageStore, write: Write, tmp_path: Path) -> None:
    """A file taken in before, under whatever name, is answered with all its lines repeated; not a byte is written."""
    path = write("u.csv", line("1"), line("2", "x"), line("3", account_id="B"))
    store.ingest(path, "bridge", MINUTES, RECORDED)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "usage").rglob("*") if p.is_file() and p.name != "lock"}
    again = store.ingest(path.rename(tmp_path / "renamed.csv"), "bridge", MINUTES, RECORDED + timedelta(days=1))
    assert (again.received, again.accepted, again.repeated, again.rejected) == (3, 0, 3, 0)
    assert before == {p: p.stat().st_mtime_ns for p in before}
    assert [c.received.events for c in store.completeness()] == [3 - 0]


def test_a_refused_line_sent_again_stands_on_the_desk_once(store: UsageStore, write: Write) -> None:
    """A refused line that is on the desk already, or earlier in the file, is a repeat."""
    store.ingest(write("1.csv", line("1", account_id="B"), line("2", "x")), "bridge", MINUTES, RECORDED)
    again = store.ingest(
        write("2.csv", line("1", account_id="B"), line("2", "x"), line("2", "y"), line("2", "y")),
        "bridge",
        MINUTES,
        RECORDED,
    )
    assert (again.repeated, causes(again)) == (3, {"bad_quantity": [4]})
    assert [(r.id, r.value) for r in store.rejected()] == [("1", "B"), ("2", "x"), ("2", "y")]


def test_lines_without_an_id_are_never_taken_for_repeats(store: UsageStore, write: Write) -> None:
    """Two lines without identity may be two events, so both stand on the desk."""
    report = store.ingest(write("u.csv", line(""), line("")), "bridge", MINUTES, RECORDED)
    assert causes(report) == {"malformed": [2, 3]}


def test_service_spans_are_half_open(store: UsageStore, write: Write) -> None:
    """An event at the start is served, one at the end is not, one in a gap between two spans is not."""
    spans = [(1, 5), (10, 20)]
    services = ServiceIndex(
        services=tuple(
            Service(
                account_id="A",
                site_id="S",
                meter="minutes",
                starts_at=datetime(2026, 10, start, tzinfo=UTC),
                ends_at=datetime(2026, 10, end, tzinfo=UTC),
            )
            for start, end in spans
        )
    )
    days = (1, 4, 5, 9, 10, 19, 20)
    lines = [line(str(day), at=f"2026-10-{day:02d}T00:00:00Z") for day in days]
    report = store.ingest(write("u.csv", *lines), "bridge", services, RECORDED)
    assert [e.id for e in store.events("A", "S", "minutes", OCTOBER)] == ["1", "4", "10", "19"]
    assert causes(report) == {"after_service": [4, 5, 8]}
    alone = write("alone.csv", line("alone", at="2026-10-20T00:00:00Z"))
    assert causes(store.ingest(alone, "bridge", services, RECORDED)) == {"after_service": [2]}


def test_a_service_ends_after_it_starts() -> None:
    now = datetime(2026, 10, 1, tzinfo=UTC)
    with pytest.raises(TieBroken):
        Service(account_id="A", meter="m", starts_at=now, ends_at=now)


def test_control_totals_that_differ_are_reported(store: UsageStore, write: Write) -> None:
    """What the source says it sent less what came is in the report; agreement is None."""
    path = write("u.csv", line("1", "2.5"), line("2", "1"))
    control = path.with_name("u.csv.control.json")
    control.write_text('{"events": 3, "quantity": "4.5"}')
    report = store.ingest(path, "bridge", MINUTES, RECORDED)
    assert report.control_difference is not None
    assert (report.control_difference.events, report.control_difference.quantity) == (1, Decimal(1))
    control.write_text('{"events": 2, "quantity": "3.50"}')
    assert store.ingest(path, "bridge", MINUTES, RECORDED).control_difference is None
    assert IngestReport.model_validate_json(report.model_dump_json()) == report


def test_unreadable_control_totals_refuse_the_file(store: UsageStore, write: Write) -> None:
    path = write("u.csv", line("1"))
    path.with_name("u.csv.control.json").write_text('{"events": "many", "quantity": "1"}')
    with pytest.raises(Rejected, match="events"):
        store.ingest(path, "bridge", MINUTES, RECORDED)
    assert store.completeness() == []


NDJSON_FAULTS = [
    '{"id": "1"',
    "[]",
    "1",
    event("1").replace('"1"', "1", 1),
    event("1", dimensions={"region": 1}),
    event("1", dimensions=["region"]),
    event("1", site_id=7),
    '{"id":"1","account_id":"A","meter":"minutes","occurred_at":"2026-10-05T12:00:00Z"}',
    event("1", dimensions={"quantity": "2"}),
    event("1").replace('"minutes"', '{"a": "minutes"}'),
]


@pytest.mark.parametrize("bad", NDJSON_FAULTS)
def test_ndjson_must_be_an_object_of_texts(store: UsageStore, write: Write, bad: str) -> None:
    """Ids and dimensions are text and never numbers; a quantity stands there once."""
    report = store.ingest(write("u.ndjson", event("0"), "", bad, event("2")), "bridge", MINUTES, RECORDED)
    assert (report.received, report.accepted, causes(report)) == (3, 2, {"malformed": [3]})


@pytest.mark.parametrize("number", ["123456789012.123456", "0.1", "5.0000000000000000000001", "1e3", "-0", "12E-1"])
def test_json_numbers_are_read_as_written(store: UsageStore, write: Write, number: str) -> None:
    """No binary float comes between: what has six decimals is exact, what has more or an exponent is refused."""
    report = store.ingest(write("u.ndjson", event("1", "@").replace('"@"', number)), "bridge", MINUTES, RECORDED)
    if "e" in number.lower() or len(number) > 20:
        assert causes(report) == {"bad_quantity": [1]}
    else:
        assert report.accepted_quantity == Decimal(number)


def test_hostile_text_is_only_text(store: UsageStore, write: Write) -> None:
    """Quotes, patterns, SQL and control characters in names and values pass through unchanged."""
    nasty = ["'; drop table x; --", 'say "hi"', "a*b?[c]", "ключ\u2028", "$.x", "/a~b", "{y}", "%s", "\\"]
    meters = served(*nasty)
    lines = [event(text, meter=text, dimensions={text: text}) for text in nasty]
    write("u1x'y.ndjson", event("decoy, which the name read as a pattern would match"))
    report = store.ingest(write("u[1]*'?.ndjson", *lines), "b'*\"", meters, RECORDED)
    assert (report.accepted, report.rejected) == (len(nasty), 0)
    assert [q.meter for q in store.aggregate([CUT])] == sorted(nasty, key=lambda text: text.encode())
    for text in nasty:
        (found,) = store.events("A", "S", text, OCTOBER)
        assert (found.source, found.id, found.dimensions) == ("b'*\"", text, {text: text})


def test_csv_quotes_and_hostile_headers(store: UsageStore, tmp_path: Path) -> None:
    path = tmp_path / "u.csv"
    path.write_text(
        '﻿id,account_id,meter,quantity,occurred_at,"o\'r, ""d"""\n"1,a",A,minutes,"2",2026-10-05T12:00Z,"x,""y"""\n'
    )
    services = served("minutes", site=None)
    assert store.ingest(path, "bridge", services, RECORDED).accepted == 1
    (found,) = store.events("A", None, "minutes", OCTOBER)
    assert (found.id, found.dimensions) == ("1,a", {'o\'r, "d"': 'x,"y"'})


def test_bytes_that_are_not_utf_8_spoil_only_their_line(store: UsageStore, tmp_path: Path) -> None:
    """Line numbers stay right behind unreadable lines."""
    path = tmp_path / "u.csv"
    rows = [HEADER, line("1"), line("\xff"), line("2"), "\xfe", line("3", "x")]
    path.write_bytes("\r\n".join(rows).encode("latin-1"))
    report = store.ingest(path, "bridge", MINUTES, RECORDED)
    assert (report.accepted, causes(report)) == (2, {"malformed": [3, 5], "bad_quantity": [6]})


def test_gzip_is_read_as_what_it_holds(store: UsageStore, tmp_path: Path) -> None:
    path = tmp_path / "u.csv.gz"
    path.write_bytes(gzip.compress(f"{HEADER}\n{line('1')}\n".encode()))
    assert store.ingest(path, "bridge", MINUTES, RECORDED).accepted == 1


def parquet(path: Path, quantity: str, occurred: str = "'2026-10-05T12:00:00Z'::timestamptz") -> Path:
    with duckdb.connect() as connection:
        connection.execute(
            f"""copy (select * from (values ('1', 'A', 'S', 'minutes', {quantity}, {occurred}, 'eu'),
            (null, 'A', 'S', 'minutes', {quantity}, {occurred}, null))
            t(id, account_id, site_id, meter, quantity, occurred_at, "re""gion")) to '{path}' (format parquet)"""  # noqa: S608
        )
    return path


@pytest.mark.parametrize("quantity", ["2::integer", "2.5::decimal(18,6)", "2.5::decimal(38,9)", "'2.5'"])
def test_parquet_quantities_are_exact_types(store: UsageStore, tmp_path: Path, quantity: str) -> None:
    """DECIMAL, integers and text are taken; a row without an id is rejected by its row number."""
    report = store.ingest(parquet(tmp_path / "u.parquet", quantity), "bridge", MINUTES, RECORDED)
    assert (report.accepted, causes(report)) == (1, {"malformed": [2]})
    (found,) = store.events("A", "S", "minutes", OCTOBER)
    assert found.quantity == (2 if "integer" in quantity else Decimal("2.5"))
    assert found.dimensions == {'re"gion': "eu"}


@pytest.mark.parametrize(
    ("quantity", "occurred", "field"),
    [
        ("2.5::double", "'2026-10-05T12:00:00Z'::timestamptz", "quantity"),
        ("2", "'2026-10-05T12:00:00'::timestamp", "occurred_at"),
    ],
)
def test_a_parquet_column_that_cannot_be_exact_refuses_the_file(
    store: UsageStore, tmp_path: Path, quantity: str, occurred: str, field: str
) -> None:
    """A binary float is not a quantity, and a timestamp without a zone is not an instant."""
    with pytest.raises(Rejected) as error:
        store.ingest(parquet(tmp_path / "u.parquet", quantity, occurred), "bridge", MINUTES, RECORDED)
    assert error.value.field == field


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("u.csv", "id,account_id,meter,quantity\n", "occurred_at"),
        ("u.csv", "", "is missing"),
        ("u.csv", HEADER + ",region\n", "stands there twice"),
        ("u.xlsx", "", "is not a"),
    ],
)
def test_a_file_that_is_no_usage_file_is_refused_whole(
    store: UsageStore, tmp_path: Path, name: str, text: str, why: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(Rejected, match=why):
        store.ingest(path, "bridge", MINUTES, RECORDED)


@pytest.mark.parametrize("name", ["u.parquet", "u.csv.gz", "u.ndjson.gz"])
@pytest.mark.parametrize("content", [b"PAR1 not really PAR1", gzip.compress(b"id,account_id\n" * 9999)[:-20]])
def test_a_damaged_file_is_refused_whole(store: UsageStore, tmp_path: Path, name: str, content: bytes) -> None:
    """What cannot be decoded is refused by name, and leaves nothing behind."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(Rejected, match=name):
        store.ingest(path, "bridge", MINUTES, RECORDED)
    assert (store.completeness(), store.rejected()) == ([], [])


def test_no_line_can_break_the_reader(store: UsageStore, tmp_path: Path) -> None:
    """Deep nesting, megabytes in one line, NUL and lone surrogates spoil their own line at most."""
    deep, long = "[" * 99_999 + "]" * 99_999, event("long", dimensions={"x": "y" * 3_000_000})
    lines = [deep, event("1"), long, event("2").replace('"2"', '"\\ud800"'), event("3\x00"), '{"a":' * 9999, event("4")]
    path = tmp_path / "u.ndjson"
    path.write_text("\n".join(lines))
    report = store.ingest(path, "bridge", MINUTES, RECORDED)
    assert (report.accepted, causes(report)) == (3, {"malformed": [1, 3, 4, 6]})


def test_a_missing_file_is_refused_by_name(store: UsageStore, tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=r"gone\.csv"):
        store.ingest(tmp_path / "gone.csv", "bridge", MINUTES, RECORDED)


def test_a_later_batch_is_recorded_later_whatever_the_clock_says(store: UsageStore, write: Write) -> None:
    """So what a bill knew is told by one instant: that of the last batch it saw."""
    store.ingest(write("1.csv", line("1")), "bridge", MINUTES, RECORDED)
    report = store.ingest(write("2.csv", line("2")), "bridge", MINUTES, RECORDED - timedelta(hours=1))
    assert RECORDED < report.recorded_at == store.known_at() < RECORDED + timedelta(seconds=1)


def test_only_one_process_writes(store: UsageStore, write: Write, tmp_path: Path) -> None:
    """A second writer is told to come back; nothing is written meanwhile."""
    path, other = write("1.csv", line("1")), UsageStore(tmp_path / "usage")

    def meanwhile(point: str) -> None:
        if point == "usage.judged":
            with pytest.raises(Unavailable):
                other.ingest(path, "bridge", MINUTES, RECORDED)
            assert other.aggregate([CUT]) == []

    assert UsageStore(tmp_path / "usage", faults=meanwhile).ingest(path, "bridge", MINUTES, RECORDED).accepted == 1


def test_a_report_must_account_for_every_line() -> None:
    """A report that loses a line cannot be built."""
    fields = {"source": "b", "file": "f", "digest": "d", "recorded_at": "2026-11-01T00:00:00Z", "rejected": 0}
    counts = {"received": 2, "accepted": 1, "repeated": 0}
    quantities = {f"{k}_quantity": "0" for k in ("received", "accepted", "repeated", "rejected")}
    with pytest.raises(TieBroken):
        IngestReport.model_validate_json(json.dumps(fields | counts | quantities))
