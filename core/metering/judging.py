"""Judge every staged line: accepted, an exact repeat, or rejected with the first cause that applies.

Works on ``staged`` and leaves ``verdicts`` (row, verdict): ``repeated`` or a cause; a row without one is accepted.
The order of the steps is the rule of identity: a line whose form is wrong has none; what is recorded stands before
what is served; within the file the first acceptable line wins, so a corrected line may follow a refused one.
"""

# ruff: noqa: S608 (SQL is composed here; the statements are constants)

from __future__ import annotations

import duckdb

from core.metering.engine import fetch, microseconds, table
from core.usage import ServiceIndex

_CONTENT = "row(account_id, site_id, meter, micro, moment, dimensions)"

_BAD_FORM = """
create temp table verdicts as select row, cause as verdict from staged where cause is not null;
create temp view pending as from staged s where not exists (from verdicts v where v.row = s.row)
"""

_RECORDED = f"""
insert into verdicts
select row, case when {_CONTENT} = content then 'repeated' else 'conflict' end
from pending join (select id, {_CONTENT} as content from read_parquet(?, hive_partitioning = false)
    where key in (select key from recorded_keys)) using (id)
"""

_UNSERVED = """
create temp table doubtful as
select account_id, site_id, meter
from (select account_id, site_id, meter, min(moment) as first, max(moment) as last from pending group by all) p
where not exists (
    from services s
    where s.account_id = p.account_id and s.site_id = p.site_id and s.meter = p.meter
        and s.starts_at <= p.first and p.last < s.ends_at);
create temp table unserved as
select row, account_id, site_id, meter, moment from pending p semi join doubtful using (account_id, site_id, meter)
where not exists (
    from services s
    where s.account_id = p.account_id and s.site_id = p.site_id and s.meter = p.meter
        and s.starts_at <= p.moment and p.moment < s.ends_at);
insert into verdicts
with sites as (select distinct account_id, site_id from services),
    meters as (select account_id, site_id, meter, min(starts_at) as first_start from services group by all)
select row, case
    when account_id not in (select account_id from services) then 'unknown_account'
    when sites.site_id is null then 'unknown_site'
    when meters.meter is null then 'unknown_meter'
    when moment < first_start then 'before_service'
    else 'after_service' end
from unserved left join sites using (account_id, site_id) left join meters using (account_id, site_id, meter)
"""

_WITHIN_FILE = f"""
insert into verdicts
with contested as (select * from pending where key in (select key from pending group by key having count(*) > 1)),
    firsts as (select id, min(row) as first_row, arg_min({_CONTENT}, row) as content from contested group by id)
select row, case when {_CONTENT} = content then 'repeated' else 'conflict' end
from contested join firsts using (id) where row > first_row
"""

_ON_THE_DESK = """
update verdicts set verdict = 'repeated' where row in (
    select row from (
        select row, row_number() over (
            partition by id, account_id, site_id, meter, micro, moment, dimensions, form order by row) as nth
        from (
            select row, id, account_id, site_id, meter, micro, moment, dimensions,
                case when cause is not null then value end as form
            from staged join verdicts using (row) where verdict <> 'repeated' and id <> ''
            union all select -1, id, account_id, site_id, meter, micro, moment, dimensions, form from desk))
    where nth > 1 and row > 0)
"""

_DESK = """
create temp table desk as
select id, account_id, site_id, meter, micro, moment, dimensions,
    case when cause in ('malformed', 'bad_quantity', 'bad_timestamp') then value end as form
from read_parquet(?, hive_partitioning = false) where id in (select id from staged join verdicts using (row))
"""


_CURED = """
update verdicts set verdict = 'repeated' where row in (
    select row from staged where cause is not null and id <> ''
        and id in (select id from read_parquet(?, hive_partitioning = false)
            where key in (select key from staged where cause is not null)))
"""

_NO_DESK = """
create temp table desk (id varchar, account_id varchar, site_id varchar, meter varchar, micro bigint, moment timestamp,
    dimensions varchar, form varchar)
"""


def judge(connection: duckdb.DuckDBPyConnection, services: ServiceIndex, recorded: list[str]) -> None:
    """``recorded``: the files of accepted events of the same source."""
    connection.execute(_BAD_FORM)
    _load(connection, services)
    if recorded:
        connection.execute(
            """create temp table recorded_keys as select distinct key from read_parquet(?, hive_partitioning = false)
            where key in (select key from pending)""",
            [recorded],
        )
        if fetch(connection, "select 1 from recorded_keys limit 1"):
            connection.execute(_RECORDED, [recorded])
    connection.execute(_UNSERVED)
    connection.execute(_WITHIN_FILE)


def spare_the_desk(connection: duckdb.DuckDBPyConnection, desk: list[str]) -> None:
    """A refused line that stands on the desk already (``desk``: reject files), or earlier in the file, is a repeat."""
    if fetch(connection, "select 1 from verdicts where verdict <> 'repeated' limit 1"):
        connection.execute(_DESK if desk else _NO_DESK, [desk] if desk else [])
        connection.execute(_ON_THE_DESK)


def absorb_cured(connection: duckdb.DuckDBPyConnection, recorded: list[str]) -> None:
    """A line of wrong form whose identity has been recorded since was sent again in good form: it is a repeat."""
    if recorded:
        connection.execute(_CURED, [recorded])


def _load(connection: duckdb.DuckDBPyConnection, services: ServiceIndex) -> None:
    rows = [
        (s.account_id, s.site_id or "", s.meter, microseconds(s.starts_at), microseconds(s.ends_at))
        for s in services.services
    ]
    table(connection, "given", "account_id varchar, site_id varchar, meter varchar, starts bigint, ends bigint", rows)
    connection.execute("""
        create temp table services as
        select account_id, site_id, meter, make_timestamp(starts) as starts_at,
            coalesce(make_timestamp(ends), 'infinity'::timestamp) as ends_at from given""")
