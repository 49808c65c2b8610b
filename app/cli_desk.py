"""``tieout errors``: the error desk: what failed, why, how much is at risk, and what an operator does about it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

import typer

from app.operators import instant, operator
from app.printing import AsJson, plain, show
from core.store import Work
from core.sync import DeskEntry
from flows import error_desk
from flows.context import hub
from flows.error_desk import Filters

app = typer.Typer(help="The error desk: what failed, and what to do about it.", no_args_is_help=True)

#: Most entries that one command changes.
MOST = 100_000

Ids = Annotated[list[str] | None, typer.Argument(help="Ids of entries; none: all that the filters match.")]
Id = Annotated[str, typer.Argument(help="The id of an entry.")]
System = Annotated[str | None, typer.Option(help="Like netsuite.")]
Record = Annotated[str | None, typer.Option(help="Like invoice.")]
Cause = Annotated[str | None, typer.Option(help="Like Rejected or MappingError.")]
Cluster = Annotated[str | None, typer.Option(help="One of `tieout errors clusters`.")]
Owner = Annotated[str | None, typer.Option(help="Who takes care of it.")]
Since = Annotated[datetime | None, typer.Option(help="Failed at that time (UTC) or later.")]
Reason = Annotated[str, typer.Option(help="Why; it is kept.")]


@app.command("list")
def list_entries(
    system: System = None,
    record: Record = None,
    cause: Cause = None,
    cluster: Cluster = None,
    owner: Owner = None,
    since: Since = None,
    limit: int = 100,
    as_json: AsJson = False,
) -> None:
    """Open entries, the most money at risk first."""
    filters = Filters(system, record, cause, cluster, owner, instant(since))
    with hub().database.reading() as work:
        entries = filters.found(work, limit)
    rows = [
        {
            "id": entry.id,
            "record": f"{entry.record} {entry.record_id}",
            "cause": entry.cause,
            "cluster": entry.cluster,
            "money at risk": "" if entry.money is None else str(entry.money),
            "attempts": str(entry.attempts),
            "due": f"{entry.due_at:%F %H:%M}" if entry.due_at else "",
            "owner": entry.owner or "",
            "message": entry.message,
        }
        for entry in entries
    ]
    show(rows, as_json=as_json, empty="the error desk is empty")


@app.command()
def clusters(limit: int = 50, as_json: AsJson = False) -> None:
    """Open entries by their common cause, the most money at risk first."""
    with hub().database.reading() as work:
        found = work.desk.clusters(limit)
    rows = [
        {
            "cluster": one.id,
            "system": one.sample.system,
            "record": one.sample.record,
            "cause": one.sample.cause,
            "field": one.sample.field or "",
            "errors": str(one.errors),
            "money at risk": "" if one.money is None else str(one.money),
            "for example": one.sample.message,
            "what cures it": one.sample.cure,
        }
        for one in found
    ]
    show(rows, as_json=as_json, empty="the error desk is empty")


@app.command("show")
def show_entry(ident: Id, as_json: AsJson = False) -> None:
    """Everything the desk knows of one entry: what was sent and answered, what happened to it, what cures it."""
    with hub().database.reading() as work:
        entry = work.desk.get(ident)
        if entry is None:
            raise ValueError(f"there is no entry {ident!r} on the error desk; `tieout errors list` shows the open ones")
        evidence = work.desk.evidence(ident)
        happened = work.audit.rows(record_id=entry.record_id, system=entry.system, limit=10)
    told: dict[str, Any] = entry.model_dump(mode="json")
    told["cluster"] = entry.cluster
    told["sent"] = evidence.ours if evidence else None
    told["answered"] = evidence.theirs if evidence else None
    told["happened"] = [f"{row.at:%F %T} {row.act} by {row.who}" for row in happened]
    if as_json:
        print(json.dumps(told, indent=2))
        return
    for name, value in told.items():
        for line in value if isinstance(value, list) else [value]:
            if line not in (None, ""):
                print(f"{name:15} {plain(str(line))}")


@app.command()
def retry(
    idents: Ids = None,
    system: System = None,
    record: Record = None,
    cause: Cause = None,
    cluster: Cluster = None,
    since: Since = None,
    dry_run: bool = False,
    as_json: AsJson = False,
) -> None:
    """Make failed records pending again; the next `deliver` or `intake` takes them up."""
    from flows.retry_failed import retry_matching

    chosen = set(idents) if idents else None
    report = retry_matching(
        hub(),
        system=system,
        record=record,
        cause=cause,
        cluster=cluster,
        since=instant(since),
        chosen=chosen,
        limit=MOST,
        dry_run=dry_run,
        who=operator(),
    )
    if chosen and len(report.rows) < len(chosen):
        missing = sorted(chosen - {row["error"] for row in report.rows})
        raise ValueError(f"not open on the error desk: {', '.join(missing)}")
    show(report.rows, as_json=as_json, empty="nothing matches")


@app.command("edit-retry")
def edit_retry(
    ident: Id,
    changes: Annotated[list[str], typer.Option("--set", help="field=text, like billing_address.city=Denver.")],
    reason: Reason,
) -> None:
    """Correct texts of a record that was refused and send it so, as a new version. What ties is cured at its source."""
    if wrong := [one for one in changes if "=" not in one]:
        raise ValueError(f"{wrong[0]!r} is not field=text")
    texts = dict(one.split("=", 1) for one in changes)

    def act(work: Work, entry: DeskEntry) -> str:
        command = error_desk.edit_and_retry(hub(), work, entry, operator(), texts, reason)
        return f"pending as {command.key}; correct its source too, or its next change there brings the old text back"

    _each({ident}, Filters(), act)


@app.command()
def ignore(
    reason: Reason,
    idents: Ids = None,
    system: System = None,
    record: Record = None,
    cause: Cause = None,
    cluster: Cluster = None,
) -> None:
    """Close entries by decision; their records are not sent."""

    def act(work: Work, entry: DeskEntry) -> str:
        error_desk.ignore(hub(), work, entry, operator(), reason)
        return f"ignored: {reason}"

    _each(set(idents or ()), Filters(system, record, cause, cluster), act)


@app.command()
def assign(
    owner: Annotated[str, typer.Option("--to", help="Who takes care of it; '' for nobody.")],
    idents: Ids = None,
    system: System = None,
    record: Record = None,
    cause: Cause = None,
    cluster: Cluster = None,
) -> None:
    """Say who takes care of entries."""

    def act(work: Work, entry: DeskEntry) -> str:
        error_desk.assign(hub(), work, entry, operator(), owner or None)
        return f"assigned to {owner or 'nobody'}"

    _each(set(idents or ()), Filters(system, record, cause, cluster), act)


@app.command()
def note(ident: Id, text: Annotated[str, typer.Argument(help="What is to be known.")]) -> None:
    """Keep a remark on an entry."""

    def act(work: Work, entry: DeskEntry) -> str:
        error_desk.note(hub(), work, entry, operator(), text)
        return "noted"

    _each({ident}, Filters(), act)


def _each(idents: set[str], filters: Filters, act: Callable[[Work, DeskEntry], str]) -> None:
    """Does one thing to entries, all or none of them. ValueError when one is not open, or when nothing is chosen."""
    if not idents and filters == Filters():
        raise ValueError("say which: ids of entries, or a filter like --cluster")
    with hub().database.work() as work:
        if idents:
            filters = Filters(filters.system, filters.record, filters.cause, filters.cluster, id=idents)
        found = filters.found(work, MOST)
        if missing := sorted(idents - {entry.id for entry in found}):
            raise ValueError(f"there is no open entry {missing[0]!r} on the error desk")
        done = [f"{entry.id} {act(work, entry)}" for entry in found]
    print("\n".join(done) if done else "nothing matches")
