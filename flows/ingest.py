"""Ingest: usage files become usage events; what is refused stands on the error desk; nothing is unaccounted for."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from core.accounts import Account
from core.catalog import ChargeKind
from core.errors import TieoutError
from core.period import start_of_day
from core.store import Work
from core.subscriptions import Subscription
from core.sync import DeskEntry
from core.usage import IngestReport, Rejection, Service, ServiceIndex
from flows import desk
from flows.context import Hub, hub
from flows.report import Report, conclude, counted, progress

#: Usage files are taken from here in the state folder, control totals beside them. The name of a file up to its first
#: dot is its source: ``bridge-us.2026-10-01.csv``.
FOLDER = "usage-in"
ENDINGS = (".csv", ".csv.gz", ".ndjson", ".ndjson.gz", ".jsonl", ".parquet")


def services(hub: Hub, work: Work) -> ServiceIndex:
    """Which meters are served where and since when, from the subscriptions.

    A usage charge of a whole account is served at each of its sites, and without a site.
    """
    sites = {account.id: [site.id for site in account.sites] for account in work.find(Account)}
    found = []
    for subscription in work.find(Subscription):
        for line in subscription.charges:
            charge = hub.price_book.charge(line.charge_code)
            if charge.kind is not ChargeKind.USAGE or charge.meter is None or not line.ever_served:
                continue
            places = [line.site_id] if line.site_id else [None, *sites[subscription.account_id]]
            found += [
                Service(
                    account_id=subscription.account_id,
                    site_id=place,
                    meter=hub.price_book.meter(charge.meter).reads,
                    starts_at=start_of_day(line.starts_on, subscription.timezone),
                    ends_at=start_of_day(line.ends_on, subscription.timezone) if line.ends_on else None,
                )
                for place in places
            ]
    return ServiceIndex(services=tuple(found))


def ingest_files(hub: Hub) -> Report:
    """Tries rejected lines again, then ingests every file that is there; one ingested before changes nothing."""
    folder = hub.settings.state_folder / FOLDER
    files = sorted(path for path in folder.glob("*") if path.name.endswith(ENDINGS))
    with hub.database.reading() as work:
        index = services(hub, work)
    report = Report("", counts={"files": len(files), "received": 0, "accepted": 0, "repeated": 0, "rejected": 0})
    refused = [(again, one) for again in hub.usage.retry_rejected(index, hub.now()) for one in again.rejections]
    with progress("Ingest usage files", len(files)) as tell:
        for position, path in enumerate(files, 1):
            refused += _ingest(hub, path, index, report)
            tell(position)
    _put_on_desk(hub, refused, report)
    count = report.counts
    report.headline = (
        f"{counted(count['received'], 'event')} in {counted(len(files), 'file')}: {count['accepted']:,} accepted, "
        f"{count['repeated']:,} repeated, {count['rejected']:,} rejected"
    )
    return report


def _ingest(hub: Hub, path: Path, index: ServiceIndex, report: Report) -> list[tuple[IngestReport, Rejection]]:
    """Ingests one file; gives what was refused of it."""
    now, source = hub.now(), path.name.split(".")[0]
    try:
        result = hub.usage.ingest(path, source, index, now)
    except TieoutError as error:
        _fail(hub, report, desk.entry(error, f"usage:{path.name}", source, "usage_file", path.name, now))
        return []
    for name in ("received", "accepted", "repeated", "rejected"):
        report.counts[name] += getattr(result, name)
    report.rows.append(
        {
            "source": result.source,
            "file": result.file,
            "received": f"{result.received:,}",
            "accepted": f"{result.accepted:,}",
            "repeated": f"{result.repeated:,}",
            "rejected": f"{result.rejected:,}",
        }
    )
    if result.control_difference is not None:
        _fail(hub, report, _missing(result, now))
    return [(result, rejection) for rejection in result.rejections]


def _fail(hub: Hub, report: Report, failure: DeskEntry) -> None:
    report.failures.append(failure)
    with hub.database.work() as work:
        work.desk.report(failure)


def _put_on_desk(hub: Hub, refused: list[tuple[IngestReport, Rejection]], report: Report) -> None:
    """One entry per source and cause, for all lines that stand refused now; those that were cured are resolved."""
    standing: dict[str, list[tuple[IngestReport, Rejection]]] = defaultdict(list)
    for result, rejection in refused:
        standing[f"usage:{result.source}:{rejection.cause}"].append((result, rejection))
    for ident, lines in standing.items():
        _fail(hub, report, _refused(ident, lines, hub.now()))
    with hub.database.work() as work:
        for entry in work.desk.open():
            if entry.record == "usage" and entry.id not in standing:
                work.desk.resolve(entry.id)


def _refused(ident: str, lines: list[tuple[IngestReport, Rejection]], at: datetime) -> DeskEntry:
    result, rejection = lines[0]
    sample = rejection.samples[0]
    events = counted(sum(one.events for _, one in lines), "event")
    return DeskEntry(
        id=ident,
        system=result.source,
        record="usage",
        record_id=result.source,
        cause=rejection.cause,
        message=f"{events} refused, the first on line {sample.line} of {sample.file}",
        cure="Correct the events at their source, or provision the service they name; then `tieout run ingest-usage`.",
        field=rejection.cause,
        value=sample.value,
        first_seen_at=at,
        last_seen_at=at,
    )


def _missing(result: IngestReport, at: datetime) -> DeskEntry:
    difference = result.control_difference
    assert difference is not None
    return DeskEntry(
        id=f"usage:{result.file}:control",
        system=result.source,
        record="usage_file",
        record_id=result.file,
        cause="ControlDifference",
        message=f"the source says it sent {difference.events:+,} events and {difference.quantity:+} more than arrived",
        cure="Ask the source for the missing events, or for a corrected control file.",
        first_seen_at=at,
        last_seen_at=at,
    )


@flow(
    name="Ingest usage",
    description="Reads the usage files that sources delivered. Repeats change nothing; refused events go to the desk.",
)
def ingest() -> State[Any]:
    return conclude("Ingest usage", ingest_files(hub()))
