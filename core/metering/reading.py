"""Files in: CSV, NDJSON and Parquet become one relation, ``staged``; what cannot be read is kept with its cause.

``staged``: ``row`` (unique), ``file``, ``line``, ``id``, ``account_id``, ``site_id`` (empty: none), ``meter``,
``micro`` (millionths), ``moment`` (naive UTC), ``dimensions`` (JSON object of text, keys sorted, no empty values),
``key`` (64 bits of the id), ``cause`` and ``value`` (when the form is wrong: why, and the text that is).

CSV and NDJSON are read line by line, so that a broken line spoils no other: a value holds no line break. Columns and
keys are ``id, account_id, site_id, meter, quantity, occurred_at``; further CSV or Parquet columns are dimensions, in
NDJSON they stand in the object ``dimensions``. Plain and gzip files are taken.
"""

# ruff: noqa: S608 (SQL is composed here; every name in it is a quoted literal)

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import duckdb

from core.errors import Rejected
from core.metering.engine import fetch, identifier, literal_path, quoted
from core.usage import DECIMALS, LARGEST, MICRO

FIELDS = ("id", "account_id", "site_id", "meter", "quantity", "occurred_at")
OPTIONAL = {"site_id"}

_MACROS = rf"""
create or replace macro micro_of(t) as case when regexp_full_match(t, '[+-]?[0-9]{{1,13}}(\.[0-9]{{0,6}}0*)?')
    and abs(t::decimal(20, 6)) <= {LARGEST} then (t::decimal(20, 6) * {MICRO}::decimal(7, 0))::bigint end;
create or replace macro at_of(t) as case when regexp_full_match(t,
    '\d{{4}}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{{1,9}})?)?(Z|[+-](0\d|1[0-4])(:?[0-5]\d)?)')
    then make_timestamp(epoch_us(try_cast(t as timestamptz))) end;
create or replace macro csv_split(t) as regexp_extract_all(',' || t, ',("(?:[^"]|"")*"|[^,"]*)', 1);
create or replace macro csv_cells(t) as case
    when not contains(t, '"') then string_split(t, ',')
    when array_to_string(csv_split(t), ',') = t then
        [case when starts_with(cell, '"') then replace(cell[2:-2], '""', '"') else cell end for cell in csv_split(t)]
    end;
create or replace macro json_text(j) as case when starts_with(j::varchar, '"') then j ->> '$' end;
create or replace macro json_pairs(j) as list_sort(list_zip(json_keys(j), json_extract(j, '$.*')::varchar[]));
create or replace macro json_dimensions(j) as case
    when j is null or j::varchar in ('{{}}', 'null') then '{{}}'
    when json_type(j) <> 'OBJECT' or len(list_distinct(json_keys(j))) <> len(json_keys(j))
        or len([p for p in json_pairs(j) if not starts_with(p[2], '"') and p[2] <> 'null']) > 0 then null
    else '{{' || array_to_string([to_json(p[1])::varchar || ':' || p[2] for p in json_pairs(j)
        if p[2] <> '""' and p[2] <> 'null'], ',') || '}}' end;
"""

#: What DuckDB raises for a damaged file; it has no class of its own for a broken Parquet footer.
_UNREADABLE = (duckdb.Error, duckdb.InvalidInputException, duckdb.IOException)

_MOMENT = "case when moment >= '1970-01-01'::timestamp and moment < '3000-01-01'::timestamp then moment end"

#: Each line is one value: U+10FFFF is not a character, so no text holds it. (A line that does is read up to it.)
_NO_DELIMITER = "\U0010ffff"


def stage(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Make ``staged`` from a file. Rejected when the file as a whole is not usable (format, header, column types)."""
    try:
        _stage(connection, path)
    except duckdb.Error as error:
        if type(error) not in _UNREADABLE:
            raise
        why = str(error).splitlines()[0].replace(f"{path.absolute().parent}/", "")
        _refuse(path, "file", path.name, f"cannot be read: {why}")


def _stage(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    name = path.name.lower().removesuffix(".gz")
    connection.execute(_MACROS)
    if name.endswith(".parquet"):
        relation = _parquet(connection, path)
    elif name.endswith(".csv"):
        relation = _csv(connection, path)
    elif name.endswith((".ndjson", ".jsonl")):
        relation = _ndjson(connection, path)
    else:
        _refuse(path, "file", path.suffix, "is not a .csv, .ndjson, .jsonl (or .gz of these) or .parquet file")
    connection.execute(f"""
        create temp table read as
        select line, coalesce(id, '') as id,
            coalesce(account_id, '') as account_id, coalesce(site_id, '') as site_id, coalesce(meter, '') as meter,
            micro, {_MOMENT} as moment, coalesce(dimensions, '{{}}') as dimensions,
            md5_number_lower(coalesce(id, '')) as key,
            case when broken or coalesce(id, '') = '' or coalesce(account_id, '') = '' or coalesce(meter, '') = ''
                    or dimensions is null or greatest(len(id), len(account_id), len(site_id), len(meter)) > 255
                    then 'malformed'
                when micro is null then 'bad_quantity'
                when {_MOMENT} is null then 'bad_timestamp' end as cause,
            coalesce(case cause when 'malformed' then text when 'bad_quantity' then quantity
                when 'bad_timestamp' then occurred_at end, '') as value
        from ({relation});
        create temp view staged as select *, line as row, {quoted(path.name)} as file from read""")


def stage_rejected(connection: duckdb.DuckDBPyConnection, files: list[str]) -> None:
    """Make ``staged`` from reject files, and ``causes`` (row, verdict) as they stand.

    What was judged by its content is judged again; a wrong form stays wrong.
    """
    connection.execute(
        "create temp table rejects as select row_number() over () as row, * exclude row "
        "from read_parquet(?, hive_partitioning = false)",
        [files],
    )
    connection.execute("""
        create temp table causes as select row, cause as verdict from rejects;
        create temp table staged as
        select * exclude cause, md5_number_lower(id) as key,
            case when cause in ('malformed', 'bad_quantity', 'bad_timestamp') then cause end as cause from rejects""")


def _refuse(path: Path, field: str, value: str, why: str) -> NoReturn:
    raise Rejected(f"{path.name}: {field} {value!r} {why}", record=path.name, field=field, value=value)


def _lines(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Make ``lines`` (line, text, broken); a line that is not UTF-8 or over 2 MB is broken, blank ones are left out."""
    connection.execute(
        f"""
        create temp table readable as
        select row_number() over () as n, text
        from read_csv(?, columns = {{'text': 'varchar'}}, auto_detect = false, header = false,
            delim = '{_NO_DELIMITER}', quote = '', escape = '', comment = '', strict_mode = false,
            hive_partitioning = false, ignore_errors = true, store_rejects = true, rejects_table = 'unreadable',
            rejects_scan = 'unreadable_files', rejects_limit = 0)""",
        [literal_path(path)],
    )
    connection.execute("""
        create temp table broken as
        select line::bigint as line, min(csv_line) as text, row_number() over (order by line) as n
        from unreadable group by line;
        create temp view lines as
        select n + (select count(*) from broken where broken.line - broken.n < readable.n) as line, text,
            false as broken
        from readable where text is not null
        union all select line, text, true from broken""")


def _csv(connection: duckdb.DuckDBPyConnection, path: Path) -> str:
    _lines(connection, path)
    header = fetch(connection, "select csv_cells(ltrim(text, chr(65279))) from lines where line = 1 and not broken")
    names: list[str] = (header[0][0] if header else None) or []
    _check_columns(path, names)
    cell = {name: f"cells[{position}]" for position, name in enumerate(names, start=1)}
    return f"""
        select line, text, {_columns(cell)}, broken or cells is null or len(cells) <> {len(names)} as broken,
            micro_of({cell["quantity"]}) as micro, at_of({cell["occurred_at"]}) as moment,
            {_dimensions(cell)} as dimensions
        from (select line, text, broken, csv_cells(text) as cells from lines where line > 1)"""


def _ndjson(connection: duckdb.DuckDBPyConnection, path: Path) -> str:
    """Quantities are taken from the text of the line, because a JSON number would pass through a binary float."""
    _lines(connection, path)
    paths = ["id", "account_id", "site_id", "meter", "occurred_at", "dimensions"]
    found = {name: f"found[{position}]" for position, name in enumerate(paths, start=1)}
    texts = ", ".join(f"json_text({found[name]}) as {name}" for name in paths[:-1])
    return rf"""
        select line, text, {texts}, quantity, micro_of(quantity) as micro, at_of(occurred_at) as moment,
            json_dimensions({found["dimensions"]}) as dimensions,
            broken or not valid or len(quantities) <> 1 or coalesce(site_id is null
                and {found["site_id"]}::varchar <> 'null', false) as broken
        from (select *, trim(quantities[1], '"') as quantity,
                case when valid then json_extract(text, {["$." + name for name in paths]}) end as found
            from (select line, broken, text,
                    case when json_valid(text) then json_type(text) = 'OBJECT' else false end as valid,
                    regexp_extract_all(text, '"quantity"\s*:\s*("[^"]*"|[^\s,}}]+)', 1) as quantities from lines))"""


def _parquet(connection: duckdb.DuckDBPyConnection, path: Path) -> str:
    source = f"read_parquet({quoted(literal_path(path))}, file_row_number = true, hive_partitioning = false)"
    types = {name: kind for name, kind, *_ in fetch(connection, f"describe select * from {source}")}
    del types["file_row_number"]
    _check_columns(path, list(types))
    column = {name: identifier(name) for name in types}
    for name, kind in types.items():
        if name not in ("quantity", "occurred_at") and kind != "VARCHAR":
            _refuse(path, name, kind, "must be text")
    return f"""
        select file_row_number + 1 as line, concat_ws(',', {", ".join(column.values())}) as text, {_columns(column)},
            false as broken, {_parquet_quantity(path, types["quantity"])} as micro,
            {_parquet_instant(path, types["occurred_at"])} as moment, {_dimensions(column)} as dimensions
        from {source}"""


def _parquet_quantity(path: Path, kind: str) -> str:
    integers = {f"{sign}{size}INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG", "")} | {"INTEGER"}
    if kind in integers | {"UINTEGER"}:
        return f"case when abs(quantity::hugeint) <= {LARGEST} then quantity::bigint * {MICRO} end"
    if kind.startswith("DECIMAL") and int(kind.rstrip(")").split(",")[1]) <= DECIMALS:
        return (
            f"case when abs(quantity) <= {LARGEST} then (quantity::decimal(20, 6) * {MICRO}::decimal(7, 0))::bigint end"
        )
    if kind.startswith("DECIMAL") or kind == "VARCHAR":
        return "micro_of(quantity::varchar)"
    return _refuse(path, "quantity", kind, "must be DECIMAL, an integer or text; a binary float is not exact")


def _parquet_instant(path: Path, kind: str) -> str:
    if kind == "TIMESTAMP WITH TIME ZONE":
        return "make_timestamp(epoch_us(occurred_at))"
    if kind == "VARCHAR":
        return "at_of(occurred_at)"
    return _refuse(path, "occurred_at", kind, "must be an instant (adjusted to UTC) or text with an offset")


def _check_columns(path: Path, names: list[str]) -> None:
    for name in FIELDS:
        if name not in names and name not in OPTIONAL:
            _refuse(path, "column", name, "is missing")
    for name in names:
        if not name or names.count(name) > 1:
            _refuse(path, "column", name, "has no name" if not name else "stands there twice")


def _columns(source: Mapping[str, str]) -> str:
    return ", ".join(f"{source.get(name, 'null')}::varchar as {name}" for name in FIELDS)


def _dimensions(source: Mapping[str, str]) -> str:
    """The JSON object of all columns that are not fields, as SQL."""
    pairs = [
        f"case when {source[name]} <> '' then to_json({quoted(name)}::varchar)::varchar || ':' "
        f"|| to_json({source[name]})::varchar end"
        for name in sorted(set(source) - set(FIELDS))
    ]
    return f"'{{' || concat_ws(',', {', '.join(pairs)}) || '}}'" if pairs else "'{}'"
