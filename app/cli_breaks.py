"""``tieout breaks``: what two systems do not say the same of: why, since when, who cares for it, and what mends it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from app.operators import operator
from app.printing import AsJson, plain, show
from core.breaks import KINDS
from flows.context import hub

app = typer.Typer(help="Breaks: records on which two systems differ, and what to do about them.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(help="The id of a break, like b1a2b3c4d5e.")]
Severity = Annotated[str | None, typer.Option(help="benign, money, tax or period.")]
System = Annotated[str | None, typer.Option(help="Like netsuite; hub: inside ours.")]
Kind = Annotated[str | None, typer.Option(help="One of `tieout breaks kinds`.")]
Period = Annotated[str | None, typer.Option(help="A billing month, like 2026-10.")]
Owner = Annotated[str | None, typer.Option(help="A role, or the person it was assigned to.")]


@app.command("list")
def list_breaks(
    severity: Severity = None,
    system: System = None,
    kind: Kind = None,
    period: Period = None,
    owner: Owner = None,
    as_json: AsJson = False,
) -> None:
    """Breaks that stand: those that nothing explains first, the most money first."""
    from flows import breaks

    found = breaks.standing(hub(), severity=severity, system=system, kind=kind, period=period, owner=owner)
    now = hub().now()
    rows = [breaks.row(one, now) for one in found]
    show(rows, as_json=as_json, empty="no break stands")


@app.command()
def kinds(as_json: AsJson = False) -> None:
    """Every kind of break there is."""
    rows = [
        {
            "kind": one.name,
            "record": one.record,
            "recognised by": one.facet.value,
            "severity": one.severity.value,
            "cause": one.cause,
            "cure": one.cure,
            "repair": one.repair.value,
            "owner": one.owner,
        }
        for one in KINDS.values()
    ]
    show(rows, as_json=as_json, empty="there is none")


@app.command("show")
def show_break(ident: Id, as_json: AsJson = False) -> None:
    """Everything that is known of one break, and what happened to it."""
    from flows import breaks

    one = breaks.find(hub(), ident)
    with hub().database.reading() as work:
        happened = work.audit.rows(record_id=one.subject, system=one.system, limit=10)
    told = one.model_dump(mode="json")
    told["left"], told["right"], told["difference"] = str(one.left), str(one.right), str(one.difference)
    told["days"] = one.age(hub().now()).days
    told["happened"] = [f"{row.at:%F %T} {row.act} by {row.who}" for row in happened]
    if as_json:
        print(json.dumps(told, indent=2))
        return
    for name, value in told.items():
        for line in value if isinstance(value, list) else [value]:
            if line not in (None, ""):
                print(f"{name:15} {plain(str(line))}")


@app.command()
def explain(ident: Id, reason: Annotated[str, typer.Option(help="Why it may stand; it is kept.")]) -> None:
    """Say why a break may stand. It holds as long as its figures stay as they are."""
    from flows import breaks

    breaks.explain(hub(), breaks.find(hub(), ident), operator(), reason)
    print(f"{ident} is explained")


@app.command()
def assign(
    ident: Id, owner: Annotated[str | None, typer.Argument(help="Who; none: the role of its kind.")] = None
) -> None:
    """Say who takes care of a break."""
    from flows import breaks

    breaks.assign(hub(), breaks.find(hub(), ident), operator(), owner)
    print(f"{ident} belongs to {breaks.find(hub(), ident).owner}")


@app.command()
def note(ident: Id, text: Annotated[str, typer.Argument(help="What others should know of it.")]) -> None:
    """Keep a remark on a break, in place of the last one."""
    from flows import breaks

    breaks.note(hub(), breaks.find(hub(), ident), operator(), text)
    print(f"{ident} is noted")


@app.command()
def adopt(ident: Id, reason: Annotated[str, typer.Option(help="Why; it is kept.")]) -> None:
    """Take a changed text or day of a document for what was agreed on: from now on it is compared with that."""
    from flows import breaks

    breaks.adopt(hub(), breaks.find(hub(), ident), operator(), reason)
    print(f"{ident} is adopted; the next tie-out closes it")


@app.command()
def cure(
    ident: Id,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be written, and change nothing.")] = False,
    out: Annotated[Path | None, typer.Option(help="Send nothing; keep the plan here, for `tieout apply`.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make the document that mends a break, and deliver it. The next tie-out closes the break."""
    from flows import breaks, cures
    from flows.plan_delivery import told

    one = breaks.find(hub(), ident)
    if dry_run:
        report, next_step = told(cures.rehearse(hub(), one, operator())), "without --dry-run it is done"
    elif out is not None:
        plan = cures.intend(hub(), one, operator())
        out.write_text(plan.model_dump_json(indent=1), encoding="utf-8")
        report, next_step = told(plan), f"`tieout apply {out}` does exactly this"
    else:
        report, next_step = cures.cure(hub(), one, operator()), "the next tie-out closes it"
    show(report.rows, as_json=as_json, empty="nothing to deliver", title=report.headline)
    if report.failures:
        for failure in report.failures:
            print(f"{failure.system} {failure.record} {failure.record_id}: {failure.message}", file=sys.stderr)
        raise typer.Exit(1)
    if not as_json:
        print(next_step)
