"""Retry: failed records on the error desk are made pending again; nothing else exists to retry a record."""

from __future__ import annotations

from collections.abc import Set
from datetime import datetime
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from core.noun import Instant
from flows import error_desk
from flows.context import Hub, hub
from flows.error_desk import Filters
from flows.report import Report, amounts, conclude, counted, dollars, sum_by_currency


def retry_matching(
    hub: Hub,
    *,
    system: str | None = None,
    record: str | None = None,
    cause: str | None = None,
    cluster: str | None = None,
    since: datetime | None = None,
    chosen: Set[str] | None = None,
    limit: int = 1000,
    dry_run: bool = False,
    who: str = "flow retry-failed",
) -> Report:
    """Retries open desk entries that match every filter, the most money first; ``dry_run`` only says which.

    ``chosen``: ids of entries, None for all; ``since``: those that failed then or later; ``who``: for the audit.
    """
    filters = Filters(system=system, record=record, cause=cause, cluster=cluster, since=since, id=chosen)
    report = Report("")
    with hub.database.work() as work:
        found = filters.found(work, limit)
        for entry in found:
            if dry_run:
                done = "would retry"
            else:
                done = "pending again" if error_desk.retry(hub, work, entry, who) else "cure it at its source"
            report.rows.append(
                {
                    "error": entry.id,
                    "record": f"{entry.record} {entry.record_id}",
                    "cluster": entry.cluster,
                    "money at risk": "" if entry.money is None else dollars(entry.money),
                    "message": entry.message,
                    "done": done,
                }
            )
    report.money = sum_by_currency(entry.money for entry in found if entry.money)
    report.counts = {"matched": len(found), "retried": sum(row["done"] == "pending again" for row in report.rows)}
    report.headline = f"{counted(len(found), 'record')} {'would be retried' if dry_run else 'looked at'}" + (
        f", {amounts(report.money)} at risk" if report.money else ""
    )
    return report


@flow(
    name="Retry failed records",
    description="Makes failed records pending again; the next delivery or intake takes them up. "
    "Empty filters match everything; `cluster` takes one of `tieout errors clusters`; `dry_run` only shows what would "
    "be retried.",
)
def retry_failed(
    system: str | None = None,
    record: str | None = None,
    cause: str | None = None,
    cluster: str | None = None,
    since: Instant | None = None,
    limit: int = 1000,
    dry_run: bool = False,
) -> State[Any]:
    report = retry_matching(
        hub(), system=system, record=record, cause=cause, cluster=cluster, since=since, limit=limit, dry_run=dry_run
    )
    return conclude("Retry failed records", report)
