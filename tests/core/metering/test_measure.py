"""Every aggregation against its rule, and all of them against plain Python over random events."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from core.metering import Aggregation, Band, Cut, Increments, Meter, TimeBands, UsageStore, carried
from core.metering.cuts import offsets
from core.period import DateSpan, Period
from core.period import zone as zone_of
from core.rating import MeteredQuantity
from core.rational import Fraction
from core.usage import Service, ServiceIndex
from tests.core.metering.conftest import CUT, OCTOBER, RECORDED, Write, event, line, served

ALWAYS = ServiceIndex(
    services=(Service(account_id="A", site_id="S", meter="minutes", starts_at=datetime(2026, 1, 1, tzinfo=UTC)),)
)


def measured(store: UsageStore, meter: Meter, cut: Cut = CUT) -> dict[str, Decimal]:
    """Quantity by the values of its dimensions, joined by a slash."""
    return {"/".join(q.dimensions.values()): q.quantity for q in store.aggregate([cut], [meter])}


@pytest.mark.parametrize(
    ("aggregation", "quantity"),
    [
        (Aggregation.SUM, "110.5"),
        (Aggregation.COUNT, "5"),
        (Aggregation.MAX, "100"),
        (Aggregation.LATEST, "8"),
    ],
)
def test_simple_aggregations(store: UsageStore, write: Write, aggregation: Aggregation, quantity: str) -> None:
    """A negative quantity corrects a sum and counts as one event; latest goes by time, not by order of arrival."""
    store.ingest(
        write(
            "u.csv",
            line("1", "100", "2026-10-01T00:00:00Z"),
            line("2", "8", "2026-10-31T23:59:59.999999Z"),
            line("3", "4", "2026-10-31T23:59:59Z"),
            line("4", "-2", "2026-10-02T00:00:00Z"),
            line("5", "0.5", "2026-10-02T00:00:00Z"),
            line("6", "1000", "2026-11-01T00:00:00Z"),
        ),
        "bridge",
        ALWAYS,
        RECORDED,
    )
    (found,) = store.aggregate([CUT], [Meter(name="minutes", aggregation=aggregation)])
    assert (found.quantity, found.events) == (Decimal(quantity), 5)


def test_sum_each_keeps_every_single_quantity(store: UsageStore, write: Write) -> None:
    lines = [line("1", "5", "2026-10-02T00:00:00Z"), line("2", "3"), line("3", "3")]
    store.ingest(write("u.csv", *lines), "bridge", ALWAYS, RECORDED)
    (found,) = store.aggregate([CUT], [Meter(name="minutes", aggregation=Aggregation.SUM_EACH)])
    assert (found.quantity, found.each) == (Decimal(11), (Decimal(5), Decimal(3), Decimal(3)))


def test_unique_count_counts_values_of_its_key(store: UsageStore, write: Write) -> None:
    """Events without the key are left out; a value counts once per group."""
    devices = [("a", "x"), ("a", "x"), ("a", "y"), ("b", "x"), ("b", None)]
    lines = [
        event(str(n), dimensions={"room": room} | ({"device": device} if device else {}))
        for n, (room, device) in enumerate(devices)
    ]
    store.ingest(write("u.ndjson", *lines), "bridge", ALWAYS, RECORDED)
    meter = Meter(name="minutes", aggregation=Aggregation.UNIQUE_COUNT, key="device", dimensions=("room",))
    assert measured(store, meter) == {"a": 2, "b": 1}


@pytest.mark.parametrize(
    ("samples", "percentile", "rank"), [(20, 95, 19), (21, 95, 20), (1, 95, 1), (100, 95, 95), (3, 50, 2)]
)
def test_percentile_is_the_nearest_rank(
    store: UsageStore, write: Write, samples: int, percentile: int, rank: int
) -> None:
    """The ceil(n x p / 100)-th smallest of n samples, in exact integers: of 20 samples the top one is dropped at 95."""
    lines = [line(str(n), str(n)) for n in range(samples, 0, -1)]
    store.ingest(write("u.csv", *lines), "bridge", ALWAYS, RECORDED)
    meter = Meter(name="minutes", aggregation=Aggregation.PERCENTILE, percentile=percentile)
    assert measured(store, meter) == {"": rank}


def test_a_level_of_changes_is_averaged_over_the_period(store: UsageStore, write: Write) -> None:
    """1000 from before the period, 31 more for the last day of 31: the average is 1001."""
    lines = [line("1", "1000", "2026-08-01T00:00:00Z"), line("2", "31", "2026-10-31T00:00:00Z")]
    store.ingest(write("u.csv", *lines), "bridge", ALWAYS, RECORDED)
    assert measured(store, Meter(name="minutes", aggregation=Aggregation.TIME_WEIGHTED_CHANGES)) == {"": 1001}


def test_a_stated_level_holds_until_the_next(store: UsageStore, write: Write) -> None:
    """10 stated before the period holds for its first 10 days, then 41 for 21: (100 + 861) / 31 = 31."""
    lines = [
        line("1", "999", "2026-08-01T00:00:00Z"),
        line("2", "10", "2026-09-01T00:00:00Z"),
        line("3", "41", "2026-10-11T00:00:00Z"),
        line("4", "7", "2026-11-01T00:00:00Z"),
    ]
    store.ingest(write("u.csv", *lines), "bridge", ALWAYS, RECORDED)
    assert measured(store, Meter(name="minutes", aggregation=Aggregation.TIME_WEIGHTED_LEVELS)) == {"": 31}


def test_sessions_are_runs_of_one_key_and_belong_to_the_period_they_start_in(store: UsageStore, write: Write) -> None:
    """A gap of exactly ``gap`` still joins; a run that began before the period is not counted again."""
    moments = {
        "a": ["2026-09-30T23:50:00", "2026-10-01T00:10:00", "2026-10-01T00:40:00", "2026-10-01T01:10:01"],
        "b": ["2026-10-01T00:45:00", "2026-10-31T23:59:00", "2026-11-01T00:00:00"],
    }
    lines = [
        event(f"{key}{n}", at=f"{at}Z", dimensions={"room": key})
        for key, ats in moments.items()
        for n, at in enumerate(ats)
    ]
    store.ingest(write("u.ndjson", *lines), "bridge", ALWAYS, RECORDED)
    meter = Meter(name="minutes", aggregation=Aggregation.SESSIONS, key="room", gap=timedelta(minutes=30))
    assert measured(store, meter) == {"": 3}
    assert measured(store, meter.model_copy(update={"dimensions": ("room",)})) == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("quantity", "billed"),
    [("0", "0"), ("0.000001", "60"), ("60", "60"), ("60.000001", "66"), ("61", "66"), ("66", "66"), ("-61", "-66")],
)
def test_each_event_is_rounded_in_increments(store: UsageStore, write: Write, quantity: str, billed: str) -> None:
    """60/6: at least 60, then whole sixes, away from zero, so that a correction takes back what was billed."""
    store.ingest(write("u.csv", line("1", quantity), line("2", "60")), "bridge", ALWAYS, RECORDED)
    meter = Meter(name="minutes", increments=Increments(first=Decimal(60), then=Decimal(6)))
    assert measured(store, meter) == {"": Decimal(billed) + 60}


def test_the_largest_event_can_be_rounded(store: UsageStore, write: Write) -> None:
    """Bounds leave room: neither rounding one event nor summing many wraps or fails."""
    lines = [line(str(n), "1000000000000") for n in range(20)]
    store.ingest(write("u.csv", *lines), "bridge", ALWAYS, RECORDED)
    meter = Meter(name="minutes", increments=Increments(first=Decimal(7), then=Decimal(10**12)))
    assert measured(store, meter) == {"": 20 * (7 + 10**12)}


def test_filters_and_definitions_over_the_events_of_another_meter(store: UsageStore, write: Write) -> None:
    """Definitions read events under names of their own; an undefined meter is the plain sum."""
    lines = [line(str(n), "1", region=region) for n, region in enumerate(("eu", "us", "us", ""))]
    store.ingest(write("u.csv", *lines, line("h", "9", meter="hours")), "bridge", served("minutes", "hours"), RECORDED)
    meters = [
        Meter(name="eu_minutes", of="minutes", where={"region": ("eu", "uk")}),
        Meter(name="calls", of="minutes", aggregation=Aggregation.COUNT),
    ]
    found = {quantity.meter: quantity.quantity for quantity in store.aggregate([CUT], meters)}
    assert found == {"calls": 4, "eu_minutes": 1, "hours": 9}


def test_time_bands_follow_the_local_clock_through_a_dst_change(store: UsageStore, write: Write) -> None:
    """08:00 in Berlin is 06:00 UTC before 25 October 2026 and 07:00 UTC after it; the weekend is off peak."""
    meter = Meter(
        name="minutes",
        bands=TimeBands(
            dimension="hours",
            bands=(
                Band(name="peak", weekdays=(1, 2, 3, 4, 5), starts=time(8), ends=time(18)),
                Band(name="night", starts=time(22), ends=time(0)),
            ),
            otherwise="off_peak",
        ),
    )
    moments = {
        "2026-10-23T05:59:59Z": "off_peak",
        "2026-10-23T06:00:00Z": "peak",
        "2026-10-23T15:59:59.999999Z": "peak",
        "2026-10-23T16:00:00Z": "off_peak",
        "2026-10-24T06:00:00Z": "off_peak",
        "2026-10-26T06:59:59Z": "off_peak",
        "2026-10-26T07:00:00Z": "peak",
        "2026-10-26T22:59:59Z": "night",
        "2026-10-26T23:00:00Z": "off_peak",
    }
    lines = [line(f"{n}", "1", at) for n, at in enumerate(moments)]
    store.ingest(write("u.csv", *lines), "bridge", ALWAYS, RECORDED)
    berlin = Cut(account_id="A", period=DateSpan.month("2026-10").instants("Europe/Berlin"), timezone="Europe/Berlin")
    expected = {band: Decimal(list(moments.values()).count(band)) for band in ("night", "off_peak", "peak")}
    assert measured(store, meter, berlin) == expected


@given(
    st.sampled_from(["Europe/Berlin", "America/St_Johns", "Africa/Casablanca", "Australia/Lord_Howe", "UTC"]),
    st.integers(0, 240),
)
def test_offsets_cut_a_period_without_gap_or_overlap(zone: str, months: int) -> None:
    """The parts join to the whole, and the offset holds at both ends of each."""
    period = DateSpan.month(f"{2006 + months // 12}-{months % 12 + 1:02d}").instants(zone)
    parts = offsets(period, zone)
    assert [start for start, _, _ in parts] + [period.end] == [period.start] + [end for _, end, _ in parts]
    for start, end, offset in parts:
        for instant in (start, end - timedelta(seconds=1), start + (end - start) / 2):
            assert instant.astimezone(zone_of(zone)).utcoffset() == offset


def test_each_account_is_cut_by_its_own_instants(store: UsageStore, write: Write) -> None:
    """The same instant belongs to October in one zone and to November in another; no instant to both or to none."""
    services = ServiceIndex(
        services=tuple(
            Service(account_id=a, site_id="S", meter="minutes", starts_at=datetime(2026, 1, 1, tzinfo=UTC))
            for a in "AB"
        )
    )
    at = "2026-11-01T03:30:00Z"
    store.ingest(write("u.csv", line("1", at=at), line("2", at=at, account_id="B")), "bridge", services, RECORDED)

    def month(name: str) -> list[str]:
        spans = {"A": "UTC", "B": "America/New_York"}
        cuts = [Cut(account_id=a, period=DateSpan.month(name).instants(tz)) for a, tz in spans.items()]
        return [quantity.account_id for quantity in store.aggregate(cuts)]

    assert (month("2026-10"), month("2026-11")) == (["B"], ["A"])


def test_what_was_known_then_is_measured_again(store: UsageStore, write: Write) -> None:
    """A cut with known_at leaves out what was recorded later; the bound is inclusive."""
    store.ingest(write("1.csv", line("1")), "bridge", ALWAYS, RECORDED)
    store.ingest(write("2.csv", line("2")), "bridge", ALWAYS, RECORDED + timedelta(days=1))
    then = CUT.model_copy(update={"known_at": RECORDED})
    assert [q.quantity for q in store.aggregate([then])] == [1]
    assert [q.quantity for q in store.aggregate([CUT])] == [2]


def test_late_usage_is_carried_into_the_open_period(store: UsageStore, write: Write) -> None:
    """October's late 3 minutes join November's 10; a meter that does not add up over periods is refused."""
    lines = [line("1", "2"), line("2", "10", "2026-11-05T00:00:00Z")]
    store.ingest(write("1.csv", *lines), "bridge", ALWAYS, RECORDED)
    store.ingest(write("2.csv", line("3", "3")), "bridge", ALWAYS, RECORDED + timedelta(days=1))
    late = store.late([CUT.model_copy(update={"known_at": RECORDED})])
    november = Cut(account_id="A", period=DateSpan.month("2026-11").instants("UTC"))
    (found,) = carried(store.aggregate([november]), late)
    assert (found.quantity, found.events) == (Decimal(13), 2)
    with pytest.raises(ValueError, match="carried"):
        carried([], late, [Meter(name="minutes", aggregation=Aggregation.MAX)])


def test_one_account_has_one_cut(store: UsageStore, write: Write) -> None:
    store.ingest(write("u.csv", line("1")), "bridge", ALWAYS, RECORDED)
    with pytest.raises(ValueError, match="one cut"):
        store.aggregate([CUT, CUT])
    with pytest.raises(ValueError, match="twice"):
        store.aggregate([CUT], [Meter(name="m", of="a"), Meter(name="m", of="b")])


@pytest.mark.parametrize(
    "fields",
    [
        {"aggregation": Aggregation.UNIQUE_COUNT},
        {"aggregation": Aggregation.SESSIONS, "key": "room"},
        {"aggregation": Aggregation.SESSIONS, "gap": timedelta(1)},
        {"percentile": 0},
        {"increments": {"first": Decimal(0), "then": Decimal(1)}},
        {"dimensions": ("hours",), "bands": TimeBands(dimension="hours", bands=(), otherwise="x")},
        {"aggregation": Aggregation.TIME_WEIGHTED_LEVELS, "bands": TimeBands(dimension="h", bands=(), otherwise="x")},
    ],
)
def test_a_meter_that_cannot_be_measured_is_not_defined(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Meter(name="m", **fields)


@dataclass(frozen=True)
class Happened:
    day: int
    micro: int
    room: str
    region: str

    @property
    def at(self) -> datetime:
        return datetime(2026, 9, 20, tzinfo=UTC) + timedelta(hours=7 * self.day)


HAPPENED = st.lists(
    st.builds(
        Happened,
        day=st.integers(0, 160),
        micro=st.one_of(st.integers(-5_000_000, 5_000_000), st.integers(-(10**18), 10**18)),
        room=st.sampled_from(["", "r1", "r2"]),
        region=st.sampled_from(["", "eu", "us"]),
    ),
    min_size=1,
    max_size=25,
)

SECONDS = Fraction(31 * 86400)


def _seconds(start: datetime, end: datetime) -> Fraction:
    return Fraction((end - start) // timedelta(seconds=1))


def _changes(events: Sequence[Happened]) -> Fraction:
    return sum((e.micro * _seconds(max(e.at, OCTOBER.start), OCTOBER.end) for e in events), Fraction(0)) / SECONDS


def _levels(events: Sequence[Happened]) -> Fraction:
    ends = [e.at for e in events[1:]] + [OCTOBER.end]
    spans = [(e.micro, max(e.at, OCTOBER.start), end) for e, end in zip(events, ends, strict=True)]
    return sum((m * _seconds(s, e) for m, s, e in spans if e > s), Fraction(0)) / SECONDS


def _billed(micro: int) -> int:
    size = abs(micro)
    rounded = 0 if size == 0 else 60_000_000 + max(0, math.ceil(Fraction(size - 60_000_000, 6_000_000))) * 6_000_000
    return rounded if micro > 0 else -rounded


PLAIN: dict[Aggregation, Callable[[Sequence[Happened]], int | Fraction]] = {
    Aggregation.SUM: lambda events: sum(e.micro for e in events),
    Aggregation.COUNT: lambda events: len(events) * 10**6,
    Aggregation.MAX: lambda events: max(e.micro for e in events),
    Aggregation.LATEST: lambda events: events[-1].micro,
    Aggregation.PERCENTILE: lambda events: sorted(e.micro for e in events)[
        math.ceil(Fraction(len(events) * 95, 100)) - 1
    ],
    Aggregation.UNIQUE_COUNT: lambda events: len({e.room for e in events if e.room}) * 10**6,
    Aggregation.TIME_WEIGHTED_CHANGES: _changes,
    Aggregation.TIME_WEIGHTED_LEVELS: _levels,
}


def _decimal(micro: int | Fraction) -> Decimal:
    exact = Fraction(micro)
    whole = (abs(exact) + Fraction(1, 2)).__floor__() * (1 if exact >= 0 else -1)
    return Decimal(whole).scaleb(-6) if abs(whole) < 10**27 else Decimal(str(whole)[:-6] + "." + str(whole)[-6:])


@settings(max_examples=12, deadline=None)
@given(HAPPENED)
def test_all_aggregations_agree_with_plain_python(events: list[Happened]) -> None:
    """Whatever the events, every aggregation by region is what its rule says, to the last of six decimals."""
    events = sorted(events, key=lambda e: e.at)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "u.ndjson"
        lines = [
            event(f"{n:03d}", str(_decimal(e.micro)), e.at.isoformat(), dimensions={"room": e.room, "region": e.region})
            for n, e in enumerate(events)
        ]
        path.write_text("\n".join(lines))
        store = UsageStore(Path(folder) / "usage")
        assert store.ingest(path, "bridge", ALWAYS, RECORDED).accepted == len(events)
        for aggregation, rule in PLAIN.items():
            meter = Meter(name="minutes", aggregation=aggregation, dimensions=("region",), key="room")
            carries = aggregation in (Aggregation.TIME_WEIGHTED_CHANGES, Aggregation.TIME_WEIGHTED_LEVELS)
            groups: dict[str, list[Happened]] = defaultdict(list)
            for one in events:
                if one.at < OCTOBER.end and (carries or one.at >= OCTOBER.start):
                    groups[one.region].append(one)
            assert measured(store, meter) == {region: _decimal(rule(group)) for region, group in groups.items()}
        rounded = Meter(name="minutes", increments=Increments(first=Decimal(60), then=Decimal(6)))
        inside = [_billed(e.micro) for e in events if e.at in OCTOBER]
        assert measured(store, rounded) == ({"": _decimal(sum(inside))} if inside else {})


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2)), min_size=1, max_size=30),
    st.integers(1, 4),
    st.randoms(use_true_random=False),
)
def test_how_events_are_cut_into_files_and_repeated_does_not_matter(
    events: list[tuple[int, int]], files: int, rng: Any
) -> None:
    """One file or many, in any order and sent again: the first content of each id counts once, the sums agree."""
    with TemporaryDirectory() as folder:
        store = UsageStore(Path(folder) / "usage")
        rows = [line(f"e{number}", str(quantity)) for number, quantity in events]
        cut = sorted(rng.sample(range(len(rows) + 1), min(files, len(rows) + 1)))
        parts = [rows[a:b] for a, b in zip([0, *cut], [*cut, len(rows)], strict=True)]
        reports = []
        for number, part in enumerate(parts):
            path = Path(folder) / f"{number}.csv"
            path.write_text("\n".join(["id,account_id,site_id,meter,quantity,occurred_at,region", *part]) + "\n")
            reports.append(store.ingest(path, "bridge", ALWAYS, RECORDED))
            store.ingest(path, "bridge", ALWAYS, RECORDED)
        firsts: dict[int, int] = {}
        for number, quantity in events:
            firsts.setdefault(number, quantity)
        (found,) = store.aggregate([CUT])
        assert (found.quantity, found.events) == (sum(firsts.values()), len(firsts))
        assert sum(report.accepted for report in reports) == len(firsts)


def test_period_bounds_are_half_open(store: UsageStore, write: Write) -> None:
    """The first instant belongs to the period, the end does not: two neighbours measure each event once."""
    moments = ["2026-10-15T00:00:00Z", "2026-10-14T23:59:59.999999Z", "2026-10-16T00:00:00Z"]
    store.ingest(write("u.csv", *[line(at, "1", at) for at in moments]), "bridge", ALWAYS, RECORDED)
    days = [Period(datetime(2026, 10, d, tzinfo=UTC), datetime(2026, 10, d + 1, tzinfo=UTC)) for d in (14, 15, 16)]
    found: list[list[MeteredQuantity]] = [store.aggregate([Cut(account_id="A", period=day)]) for day in days]
    assert [[q.events for q in day] for day in found] == [[1], [1], [1]]


def test_half_of_the_sixth_decimal_rounds_away_from_zero() -> None:
    """The helper of these tests rounds as the product says it does."""
    assert (
        _decimal(Fraction(5, 2)) == Decimal("0.000003") == Decimal("0.0000025").quantize(Decimal("1e-6"), ROUND_HALF_UP)
    )
