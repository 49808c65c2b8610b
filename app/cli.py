"""``tieout``: the command line. Every error a user can cause is one clear sentence and a non-zero exit."""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from app import (
    cli_audit,
    cli_breaks,
    cli_cash,
    cli_catalog,
    cli_close,
    cli_credits,
    cli_desk,
    cli_documents,
    cli_inbox,
    cli_ledger,
    cli_mappings,
    cli_plan,
    cli_rate,
    cli_rates,
    cli_revenue,
)
from app.operators import instant
from app.printing import AsJson, show
from core.errors import TieoutError

app = typer.Typer(
    help="Quote to cash, tied out to the cent.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(cli_mappings.app, name="mappings")
app.add_typer(cli_catalog.app, name="catalog")
app.add_typer(cli_rate.app, name="rate")
app.add_typer(cli_credits.app, name="credits")
app.add_typer(cli_cash.app, name="cash")
app.add_typer(cli_rates.app, name="rates")
app.add_typer(cli_documents.app)
app.add_typer(cli_audit.app, name="audit")
app.add_typer(cli_inbox.app, name="inbox")
app.add_typer(cli_plan.app)
app.add_typer(cli_desk.app, name="errors")
app.add_typer(cli_breaks.app, name="breaks")
app.add_typer(cli_close.app, name="close")
app.add_typer(cli_ledger.app, name="ledger")
app.add_typer(cli_revenue.app, name="revenue")

Period = Annotated[str, typer.Option(help="A month, like 2026-10.")]
Hidden = Annotated[bool, typer.Option(hidden=True)]
ReadyFile = Annotated[Path | None, typer.Option(hidden=True)]


def main() -> None:
    """Entry point: turns our errors into one sentence on stderr and exit code 2."""
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    try:
        app()
    except TieoutError as error:
        Console(stderr=True).print(f"[red]error:[/] {error}\n[dim]{error.cure}[/]", highlight=False, soft_wrap=True)
        sys.exit(2)
    except ValueError as error:
        Console(stderr=True).print(f"[red]error:[/] {error}", highlight=False, soft_wrap=True)
        sys.exit(2)


@app.command()
def demo(
    headless: Annotated[bool, typer.Option(help="Do not stay up; exit 0 only if every tie closes.")] = False,
    stack: Annotated[str, typer.Option(help="salesforce, hubspot, dynamics, xero or billingplatform.")] = "salesforce",
    seed: Annotated[int, typer.Option(help="Another seed is another company.")] = 7,
    accounts: Annotated[int, typer.Option(min=1, max=500)] = 20,
    events: Annotated[int, typer.Option(min=0, max=5_000_000)] = 200_000,
    state: Annotated[Path | None, typer.Option(help="Where everything is kept; default: .tieout/<stack>.")] = None,
    close: Annotated[bool, typer.Option("--close", help="End with the close of the month.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run the whole business on this machine: CRM quote to GL journal, and the tie-out."""
    from app.demo.run import Ends, run_demo

    folder = state or Path(".tieout", "demo" if stack == "salesforce" else stack)
    code = run_demo(
        folder,
        stack=stack,
        seed=seed,
        accounts=accounts,
        events=events,
        headless=headless,
        as_json=as_json,
        ends=Ends.CLOSE if close else Ends.TIE_OUT,
    )
    raise typer.Exit(code)


@app.command()
def serve(
    prefect_port: Annotated[int | None, typer.Option(help="Port of the Prefect server; default: a free one.")] = None,
    ready_file: ReadyFile = None,
    with_parent: Hidden = False,
) -> None:
    """Run the hub on this machine: Prefect server (unless PREFECT_API_URL names one), receiver, deployments."""
    from app.serve import serve as run

    run(ready_file, prefect_port, with_parent=with_parent)


@app.command()
def sandbox(
    systems: Annotated[list[str] | None, typer.Argument(help="Which vendors; default: all of them.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Keep the objects here; default: in memory.")] = None,
    port: Annotated[int, typer.Option(help="First port; each vendor takes the next. 0: free ones.")] = 9100,
    ready_file: ReadyFile = None,
    with_parent: Hidden = False,
) -> None:
    """Run the vendor emulators alone, so that curl or a vendor's own SDK can be pointed at them."""
    from app.processes import end_with_parent, tell
    from sandbox.server import emulators, start

    known = emulators()
    if unknown := set(systems or ()) - known.keys():
        raise ValueError(f"there is no emulator of {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    if with_parent:
        end_with_parent()
    ports = {name: port + offset if port else 0 for offset, name in enumerate(known)}
    with start(systems, folder=folder, ports=ports) as running:
        tell(ready_file, running.urls)
        for name, url in running.urls.items():
            print(f"{name:12} {url}", flush=True)
        print("Ctrl-C stops it; docs/connectors/<system>.md tells the credentials", flush=True)
        running.wait()


@app.command()
def run(
    flow: Annotated[str, typer.Argument(help="A deployment of prefect.yaml, like rate or tie-out.")],
    period: Annotated[str | None, typer.Option(help="A month, where the flow takes one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run one flow here and now; under the Prefect server that PREFECT_API_URL names when it is set."""
    from app.run import run_flow

    raise typer.Exit(run_flow(flow, period, as_json=as_json))


@app.command("tie-out")
def tie_out(
    period: Period,
    system: Annotated[str | None, typer.Option(help="Only ties with this system; hub: those inside ours.")] = None,
    as_of: Annotated[datetime | None, typer.Option(help="What was found by then (UTC); no system is asked.")] = None,
    changed: Annotated[bool, typer.Option("--changed", help="Only what changed since the last tie-out.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read every system back and compare. Exit 1 when anything differs that nothing explains."""
    from flows.context import hub
    from flows.figures import Reading
    from flows.tie_out import row, tie_out_as_of, tie_out_period

    title, told = f"Tie-out {period}", {}
    if at := instant(as_of):
        found = tie_out_as_of(hub(), at, period, system)
        lines, breaks = found.lines, found.breaks
        title, told = f"{title}, as of {found.at:%F %T} UTC", {"as_of": found.at.isoformat()}
    else:
        lines, breaks = tie_out_period(hub(), period, system, Reading.CHANGED if changed else Reading.WHOLE)
    if as_json:
        rows = {"tie_out": [row(line) for line in lines], "breaks": [one.model_dump(mode="json") for one in breaks]}
        print(json.dumps(told | rows, indent=2))
    else:
        show([row(line) for line in lines], as_json=False, empty="nothing to compare", title=title)
        for one in breaks:
            said = f"{one.left} against {one.right}, since {one.first_seen_at:%F}"
            print(f"{one.id} {one.kind}: {one.tie}: {one.subject}: {said}", one.explained or "")
    raise typer.Exit(0 if all(line.closes for line in lines) else 1)


@app.command()
def explain(
    ident: Annotated[
        str, typer.Argument(help="A journal line, journal, invoice, line, order, ... ours or a vendor's id.")
    ],
    forward: Annotated[bool, typer.Option("--forward", help="What became of it, to the general ledger.")] = False,
    as_json: AsJson = False,
) -> None:
    """Walk from any record back to the quote line and the usage events, or forward, with each system's ids."""
    from app.explain import explain_id, foretell_id, tree
    from flows.context import hub

    story = (foretell_id if forward else explain_id)(hub(), ident)
    if as_json:
        print(json.dumps(story, indent=2, default=str))
    else:
        Console().print(tree(story))


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Check configuration, database, mappings, price book and every system; say how to mend what is wrong."""
    from app.doctor import examine

    findings = examine()
    rows = [
        {"check": one.check, "": "ok" if one.ok else "WRONG", "detail": one.detail, "what to do": one.cure}
        for one in findings
    ]
    if as_json:
        print(
            json.dumps([{"check": o.check, "ok": o.ok, "detail": o.detail, "cure": o.cure} for o in findings], indent=2)
        )
    else:
        show(rows, as_json=False, empty="nothing to check")
    raise typer.Exit(0 if all(one.ok for one in findings) else 1)


@app.command()
def budgets(as_json: AsJson = False) -> None:
    """How many calls a second each system is given now, and what holds it back."""
    from core.budget import CALL
    from flows.context import hub

    now = hub().now()
    with hub().database.reading() as work:
        found = work.budgets.all()
    rows = [
        {
            "system": one.account,
            "calls a second": f"{one.rate / CALL:g}",
            "held back": "by a refusal" if one.level < 0 else "",
            "only the close until": f"{one.closed_until:%F %T} UTC"
            if one.closed_until and one.closed_until > now
            else "",
        }
        for one in found
    ]
    show(rows, as_json=as_json, empty="no system was called yet")


if __name__ == "__main__":
    main()
