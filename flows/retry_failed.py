"""Retry: failed records on the error desk are made pending again; nothing else exists to retry a record."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from core.store import Work
from core.sync import DeskEntry
from flows.context import Hub, hub
from flows.report import Report, amounts, conclude, counted, dollars, sum_by_currency


def retry_entry(hub: Hub, work: Work, entry: DeskEntry) -> bool:
    """Makes the record of a desk entry pending again. False when it is not of a kind that can be retried alone.

    The entry stays open until the record succeeds.
    """
    kind, _, ident = entry.id.partition(":")
    match kind, ident.split("/", 2):
        case "outbox", [system, resource, record_id]:
            return any(
                work.outbox.retry(command.key, hub.now())
                for command in work.outbox.of_record(system, resource, record_id)
            )
        case "inbox", [system, resource, vendor_id]:
            return work.inbox.retry(system, resource, vendor_id)
    return False


def retry_matching(
    hub: Hub,
    *,
    system: str | None = None,
    record: str | None = None,
    cause: str | None = None,
    chosen: Set[str] | None = None,
    limit: int = 1000,
    dry_run: bool = False,
) -> Report:
    """Retries open desk entries that match every filter, the most money first; ``dry_run`` only says which.

    ``chosen``: ids of entries, None for all.
    """
    report = Report("")
    with hub.database.work() as work:
        entries = work.desk.open(system=system, cause=cause, limit=limit)
        found = [
            entry for entry in entries if record in (None, entry.record) and (chosen is None or entry.id in chosen)
        ]
        for entry in found:
            done = (
                "would retry"
                if dry_run
                else ("pending again" if retry_entry(hub, work, entry) else "cure it at its source")
            )
            report.rows.append(
                {
                    "error": entry.id,
                    "record": f"{entry.record} {entry.record_id}",
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
    "Empty filters match everything; `dry_run` only shows what would be retried.",
)
def retry_failed(
    system: str | None = None,
    record: str | None = None,
    cause: str | None = None,
    limit: int = 1000,
    dry_run: bool = False,
) -> State[Any]:
    report = retry_matching(hub(), system=system, record=record, cause=cause, limit=limit, dry_run=dry_run)
    return conclude("Retry failed records", report)
