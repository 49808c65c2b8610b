"""What became of the staged and judged lines, counted: the totals of each day, and the report of the file."""

# ruff: noqa: S608 (every name in its SQL is a quoted literal)

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

import duckdb

from core.metering.batches import DayTotals
from core.metering.engine import fetch, quoted
from core.usage import NOTHING, Cause, ControlTotals, IngestReport, RejectedLine, Rejection, from_micro

#: Lines shown per cause in a report.
SAMPLES = 5

_VALUE = """
case verdict when 'conflict' then id when 'unknown_account' then account_id when 'unknown_site' then site_id
    when 'unknown_meter' then meter when 'before_service' then strftime(moment, '%Y-%m-%dT%H:%M:%S.%fZ')
    when 'after_service' then strftime(moment, '%Y-%m-%dT%H:%M:%S.%fZ') else value end
"""

REJECTED = f"""
select row, file, line, id, account_id, site_id, meter, micro, moment, dimensions, verdict as cause, {_VALUE} as value
from staged join verdicts using (row) where verdict <> 'repeated'
"""


@dataclass(frozen=True, slots=True)
class Intake:
    """What one batch is made of: a file, or the open rejects of a source."""

    source: str
    file: str
    digest: str
    control: ControlTotals | None = None
    retries: tuple[str, ...] = ()


def day_totals(connection: duckdb.DuckDBPyConnection) -> tuple[DayTotals, ...]:
    """Totals per UTC day of what is staged and judged."""
    days: dict[date | None, dict[str, ControlTotals]] = {}
    for day, events, micro, outcome in fetch(
        connection,
        """select moment::date as day, count(*), sum(coalesce(micro, 0)), case when verdict is null then 'accepted'
            when verdict = 'repeated' then 'repeated' else 'rejected' end as outcome
        from staged left join verdicts using (row) group by all order by day nulls last""",
    ):
        days.setdefault(day, {})[outcome] = ControlTotals(events=events, quantity=from_micro(int(micro)))
    return tuple(
        DayTotals(day=day, **{name: found.get(name, NOTHING) for name in ("accepted", "repeated", "rejected")})
        for day, found in days.items()
    )


def report_of(
    connection: duckdb.DuckDBPyConnection, intake: Intake, recorded_at: datetime, days: Sequence[DayTotals]
) -> IngestReport:
    accepted = sum((day.accepted for day in days), NOTHING)
    repeated = sum((day.repeated for day in days), NOTHING)
    rejected = sum((day.rejected for day in days), NOTHING)
    received = accepted + repeated + rejected
    return IngestReport(
        source=intake.source,
        file=intake.file,
        digest=intake.digest,
        recorded_at=recorded_at,
        received=received.events,
        accepted=accepted.events,
        repeated=repeated.events,
        rejected=rejected.events,
        received_quantity=received.quantity,
        accepted_quantity=accepted.quantity,
        repeated_quantity=repeated.quantity,
        rejected_quantity=rejected.quantity,
        rejections=_rejections(connection, intake.source) if rejected.events else (),
        control=intake.control,
    )


def _rejections(connection: duckdb.DuckDBPyConnection, source: str) -> tuple[Rejection, ...]:
    counts = fetch(
        connection,
        f"""select cause, count(*) as events, sum(coalesce(micro, 0)) from ({REJECTED})
        group by cause order by events desc, cause""",
    )
    return tuple(
        Rejection(
            cause=Cause(cause),
            events=events,
            quantity=from_micro(int(micro)),
            samples=rejected_lines(connection, source, f"({REJECTED}) where cause = {quoted(cause)}", SAMPLES),
        )
        for cause, events, micro in counts
    )


def rejected_lines(
    connection: duckdb.DuckDBPyConnection, source: str, relation: str, limit: int
) -> tuple[RejectedLine, ...]:
    """The first lines of a relation of rejects."""
    return tuple(
        RejectedLine(
            source=source, file=file, line=line, cause=Cause(cause), id=event_id, account_id=account_id, value=value
        )
        for file, line, cause, event_id, account_id, value in fetch(
            connection,
            f"select file, line, cause, id, account_id, value[:200] from {relation} order by row limit ?",
            limit,
        )
    )


def nothing_new(before: IngestReport, file: str, control: ControlTotals | None, recorded_at: datetime) -> IngestReport:
    """The answer to a file that was taken in before: all of it is repeated."""
    none = Decimal(0)
    return IngestReport.model_validate(
        dict(before)
        | {
            "file": file,
            "recorded_at": recorded_at,
            "control": control,
            "repeated": before.received,
            "repeated_quantity": before.received_quantity,
            "rejections": (),
        }
        | {"accepted": 0, "rejected": 0, "accepted_quantity": none, "rejected_quantity": none}
    )
