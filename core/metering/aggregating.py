"""From events to one exact quantity per account, site, meter and dimensions: one scan per shape of meter.

Meters that differ only in name and increments are measured in one scan. Sums run over 64-bit millionths into 128
bits. Meter, dimension and file names reach SQL as values or quoted literals only.
"""

# ruff: noqa: S608 (SQL is composed here; every name in it is a quoted literal or a value)

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, time, timedelta
from decimal import Decimal

import duckdb

from core.collecting import without_collecting
from core.metering.cuts import Cut, offsets
from core.metering.engine import fetch, microseconds, quoted, table
from core.meters import Aggregation, Increments, Meter, TimeBands
from core.money import Rounding, round_fraction
from core.rating import MeteredQuantity
from core.rational import Fraction
from core.usage import from_micro, to_micro

#: The quantity of a group in millionths; of a time-weighted one in millionths x microseconds.
_QUANTITY: Mapping[Aggregation, str] = {
    Aggregation.SUM: "sum(micro)",
    Aggregation.SUM_EACH: "sum(micro)",
    Aggregation.COUNT: "count(*) * 1000000",
    Aggregation.MAX: "max(micro)",
    Aggregation.LATEST: "arg_max(micro, row(moment, recorded_at, id))",
    Aggregation.UNIQUE_COUNT: "count(distinct key) * 1000000",
    Aggregation.PERCENTILE: "list_sort(list(micro))[(count(*) * {percentile} + 99) // 100]",
    Aggregation.TIME_WEIGHTED_CHANGES: "sum(micro::hugeint * epoch_us(ends - greatest(moment, starts)))",
    Aggregation.TIME_WEIGHTED_LEVELS: "sum(micro::hugeint * epoch_us(until - greatest(moment, starts)))",
    Aggregation.SESSIONS: "sum(opens::bigint) * 1000000",
}

#: What must be seen of an event's neighbours before the group is summed.
_WINDOW: Mapping[Aggregation, str] = {
    Aggregation.TIME_WEIGHTED_LEVELS: """
        select *, coalesce(lead(moment) over (partition by {group} order by moment, recorded_at, id), ends) as until
        from ({events}) qualify until > starts""",
    Aggregation.SESSIONS: """
        select *, coalesce(moment - lag(moment) over (partition by {group}, key order by moment, id)
            > to_microseconds({gap}), true) as opens
        from ({events}) where key is not null qualify moment >= starts""",
}

_SINCE: Mapping[Aggregation, str] = {
    Aggregation.TIME_WEIGHTED_CHANGES: "true",
    Aggregation.TIME_WEIGHTED_LEVELS: "true",
    Aggregation.SESSIONS: "e.moment >= c.starts - to_microseconds({gap})",
}

_AVERAGED = {Aggregation.TIME_WEIGHTED_CHANGES, Aggregation.TIME_WEIGHTED_LEVELS}

_NO_INCREMENTS = (0, 1)
_MICROSECOND = timedelta(microseconds=1)

#: 0 stays 0; otherwise ``least``, then whole ``step`` beyond it, with the sign of the quantity.
_BILLED = """
sign(e.micro) * (case when e.micro = 0 then 0 else least
    + (greatest(abs(e.micro) - least, 0) + step - 1) // step * step end)
"""


def measure(
    connection: duckdb.DuckDBPyConnection, files: Sequence[str], cuts: Sequence[Cut], meters: Sequence[Meter]
) -> list[MeteredQuantity]:
    """Every group that has events, ordered by account, site, meter and the values of its dimensions.

    ValueError when an account is cut twice, or a meter defined twice.
    """
    if len({cut.account_id for cut in cuts}) < len(cuts):
        raise ValueError("an account has one cut at a time; measure its periods one after the other")
    if len({meter.name for meter in meters}) < len(meters):
        raise ValueError("a meter is defined twice")
    load_cuts(connection, cuts)
    if any(meter.bands for meter in meters):
        _load_local_cuts(connection, cuts)
    defined = ", ".join(quoted(name) for name in sorted({meter.reads for meter in meters}))
    shapes: dict[str, list[Meter]] = {}
    for meter in meters:
        shapes.setdefault(_shape(meter), []).append(meter)
    with without_collecting():
        undefined = f"e.meter not in ({defined})" if defined else "true"
        found = _scan(connection, files, Meter(name="undefined"), "e.meter", undefined)
        for alike in shapes.values():
            rows = [(meter.reads, meter.name, *_increments(meter.increments)) for meter in alike]
            table(connection, "measured", "reads varchar, name varchar, least bigint, step bigint", rows)
            found += _scan(connection, files, alike[0], "m.name", "m.reads = e.meter")
        return sorted(found, key=lambda quantity: (quantity.account_id, quantity.site_id or "", quantity.meter))


def _shape(meter: Meter) -> str:
    return meter.model_copy(update={"name": "", "of": None, "increments": None}).model_dump_json()


def _increments(increments: Increments | None) -> tuple[int, int]:
    return (to_micro(increments.first), to_micro(increments.then)) if increments else _NO_INCREMENTS


def load_cuts(connection: duckdb.DuckDBPyConnection, cuts: Sequence[Cut]) -> None:
    """Make ``cuts`` (account_id, starts, ends, known_at, shift: none)."""
    _cut_table(connection, "cuts", [(cut, cut.period.start, cut.period.end, timedelta()) for cut in cuts])


def _load_local_cuts(connection: duckdb.DuckDBPyConnection, cuts: Sequence[Cut]) -> None:
    """Make ``local_cuts``: the same, cut further where the zone changes its ``shift`` from UTC."""
    parts = {span: offsets(*span) for span in {(cut.period, cut.timezone) for cut in cuts}}
    rows = [(cut, *part) for cut in cuts for part in parts[cut.period, cut.timezone]]
    _cut_table(connection, "local_cuts", rows)


def _cut_table(
    connection: duckdb.DuckDBPyConnection, name: str, rows: Sequence[tuple[Cut, datetime, datetime, timedelta]]
) -> None:
    table(
        connection,
        "given",
        "account_id varchar, s bigint, e bigint, known bigint, shift bigint",
        [
            (cut.account_id, microseconds(start), microseconds(end), microseconds(cut.known_at), shift // _MICROSECOND)
            for cut, start, end, shift in rows
        ],
    )
    connection.execute(f"""
        create or replace temp table {name} as
        select account_id, make_timestamp(s) as starts, make_timestamp(e) as ends, to_microseconds(shift) as shift,
            coalesce(make_timestamp(known), 'infinity'::timestamp) as known_at from given""")


def _scan(
    connection: duckdb.DuckDBPyConnection, files: Sequence[str], shape: Meter, name: str, which: str
) -> list[MeteredQuantity]:
    """One query: ``shape`` tells how, ``name`` what the meter is called, ``which`` the events it reads."""
    how, gap = shape.aggregation, (shape.gap or timedelta()) // _MICROSECOND
    splits = {name: _dimension(name) for name in shape.dimensions}
    if shape.bands:
        splits[shape.bands.dimension] = _band(shape.bands)
    columns = {f"d{position}": split for position, split in enumerate(splits.values())}
    group = ", ".join(["account_id", "site_id", "meter", *columns])
    defined = name != "e.meter"
    conditions = [
        which,
        "e.moment < c.ends",
        "e.recorded_at <= c.known_at",
        _SINCE.get(how, "e.moment >= c.starts").format(gap=gap),
    ]
    conditions += [f"{_dimension(key)} in ({', '.join(map(quoted, values))})" for key, values in shape.where.items()]
    events = f"""
        select e.account_id, e.site_id, {name} as meter, e.id, e.moment, e.recorded_at, c.starts, c.ends,
            {_BILLED if defined else "e.micro"} as micro, {_dimension(shape.key) if shape.key else "null"} as key
            {"".join(f", {split} as {column}" for column, split in columns.items())}
        from read_parquet(?, hive_partitioning = false) e
            join {"local_cuts" if shape.bands else "cuts"} c on c.account_id = e.account_id
            {"join measured m on m.reads = e.meter" if defined else ""}
        where {" and ".join(conditions)}"""
    seen = _WINDOW.get(how, "{events}").format(events=events, group=group, gap=gap)
    each = "list(micro order by moment, id)" if how is Aggregation.SUM_EACH else "null"
    rows = fetch(
        connection,
        f"""select {group}, {_QUANTITY[how].format(percentile=shape.percentile)} as quantity, count(*) as events,
            {each} as each, any_value(epoch_us(ends - starts)) as length from ({seen})
        group by {group} order by {group}""",
        list(files),
    )
    names = list(splits)
    return [
        MeteredQuantity(
            account_id=account_id,
            site_id=site_id or None,
            meter=meter,
            dimensions={key: value for key, value in zip(names, values, strict=True) if value},
            quantity=_average(quantity, length) if how in _AVERAGED else from_micro(int(quantity)),
            events=count,
            each=tuple(map(from_micro, each)) if each else (),
        )
        for account_id, site_id, meter, *values, quantity, count, each, length in rows
    ]


def _average(micro_microseconds: int, length: int) -> Decimal:
    return from_micro(round_fraction(Fraction(int(micro_microseconds), length), Rounding.HALF_UP))


def _dimension(name: str) -> str:
    """The value of a dimension, null when absent; the name travels as a JSON pointer, so any text is one."""
    return f"json_extract_string(e.dimensions, {quoted('/' + name.replace('~', '~0').replace('/', '~1'))})"


def _band(bands: TimeBands) -> str:
    cases = "".join(
        f" when isodow(e.moment + c.shift) in ({', '.join(map(str, band.weekdays))})"
        f" and (e.moment + c.shift)::time >= {quoted(band.starts.isoformat())}::time"
        + (f" and (e.moment + c.shift)::time < {quoted(band.ends.isoformat())}::time" if band.ends != time() else "")
        + f" then {quoted(band.name)}"
        for band in bands.bands
    )
    return f"case{cases} else {quoted(bands.otherwise)} end" if cases else quoted(bands.otherwise)
