"""``tieout inbox``: the webhooks that came in, those that were refused, and applying them again."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from app.operators import instant, operator
from app.printing import AsJson, show
from core.audit import Act, Deed
from flows.context import hub

app = typer.Typer(help="The inbox: what came in, what was refused, apply it again.", no_args_is_help=True)

#: Most events that one command changes.
MOST = 100_000

System = Annotated[str | None, typer.Option(help="Like stripe.")]
Resource = Annotated[str | None, typer.Option(help="What changed there, like payment.")]
Kind = Annotated[str | None, typer.Option(help="The vendor's type of event, like payment_intent.succeeded.")]
Since = Annotated[datetime | None, typer.Option(help="Received at that time (UTC) or later.")]
Until = Annotated[datetime | None, typer.Option(help="Received before that time (UTC).")]


@app.command("list")
def list_events(
    system: System = None,
    resource: Resource = None,
    kind: Kind = None,
    state: Annotated[str | None, typer.Option(help="Like received, applied, stale, parked, rejected.")] = None,
    since: Since = None,
    until: Until = None,
    limit: int = 100,
    as_json: AsJson = False,
) -> None:
    """Events as they came in, the newest first."""
    with hub().database.reading() as work:
        found = work.inbox.find(
            limit=limit,
            since=instant(since),
            until=instant(until),
            system=system,
            resource=resource,
            kind=kind,
            state=state,
        )
    rows = [
        {
            "event": one.event_id,
            "system": one.system,
            "about": f"{one.resource} {one.vendor_id}",
            "kind": one.kind,
            "state": one.state.value,
            "occurred at": one.occurred_at.isoformat(timespec="seconds"),
            "received at": one.received_at.isoformat(timespec="seconds"),
            "attempts": str(one.attempts),
        }
        for one in found
    ]
    show(rows, as_json=as_json, empty="no such event")


@app.command()
def refused(limit: int = 100, as_json: AsJson = False) -> None:
    """How many requests were refused, a day, system and reason."""
    with hub().database.reading() as work:
        found = work.inbox.refused(limit)
    rows = [
        {"day": day.isoformat(), "system": system or "(unknown)", "reason": reason, "requests": str(number)}
        for system, reason, day, number in found
    ]
    show(rows, as_json=as_json, empty="no request was refused")


@app.command()
def replay(
    reason: Annotated[str, typer.Option(help="Why; it is kept.")],
    events: Annotated[list[str] | None, typer.Argument(help="Ids of events; none: all that the filters match.")] = None,
    system: System = None,
    resource: Resource = None,
    kind: Kind = None,
    since: Since = None,
    until: Until = None,
    dry_run: bool = False,
    as_json: AsJson = False,
) -> None:
    """Make events that were applied, parked or rejected ready again; the next `intake` reads their records afresh."""
    chosen: dict[str, Any] = {"system": system, "resource": resource, "kind": kind, "event_id": events or None}
    since, until = instant(since), instant(until)
    if not any((*chosen.values(), since, until)):
        raise ValueError("say which: ids of events, or a filter like --since")
    if not reason.strip():
        raise ValueError("say why they are applied again")
    rows, who = [], operator()
    with hub().database.work() as work:
        found = work.inbox.find(limit=MOST, since=since, until=until, **chosen)
        if missing := sorted(set(events or ()) - {one.event_id for one in found}):
            raise ValueError(f"there is no event {missing[0]!r} in the inbox")
        for one in found:
            done = "would be ready again" if dry_run else "left as it is"
            if not dry_run and work.inbox.replay(one.system, one.event_id):
                done = "ready again"
                told = {"event": one.event_id, "before": one.state.value, "reason": reason}
                work.audit.tell(Deed(hub().now(), who, Act.REPLAYED, one.system, one.resource, one.vendor_id, told))
            rows.append({"event": one.event_id, "system": one.system, "was": one.state.value, "done": done})
    show(rows, as_json=as_json, empty="no such event")
