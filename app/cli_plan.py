"""``tieout plan`` and ``tieout apply``: see what would be written, then write exactly that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from app.operators import operator
from app.printing import AsJson, show
from core.plan import Plan

app = typer.Typer()

#: Largest file of a plan that is read (bytes).
LIMIT = 256 << 20


@app.command()
def plan(
    flow: Annotated[str, typer.Argument(help="What is planned: deliver.")],
    system: Annotated[list[str] | None, typer.Option(help="Which systems; default: all in use.")] = None,
    out: Annotated[Path | None, typer.Option(help="Keep the plan here, for `tieout apply`.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a flow would write, field by field, and write nothing."""
    from flows.context import hub
    from flows.plan_delivery import FLOW, plan_delivery, told

    if flow != FLOW:
        raise ValueError(f"there is no plan of {flow!r}; there is one of {FLOW}, through which every write goes")
    if unknown := set(system or ()) - set(hub().systems):
        raise ValueError(f"not in use: {', '.join(sorted(unknown))}")
    made = plan_delivery(hub(), operator(), system or ())
    if out is not None:
        out.write_text(made.model_dump_json(indent=1), encoding="utf-8")
    if as_json:
        print(made.model_dump_json(indent=2))
        return
    report = told(made)
    show(report.rows, as_json=False, empty="nothing to deliver")
    print(report.headline + (f"\nkept in {out}; `tieout apply {out}` does exactly this" if out else ""))


@app.command()
def apply(
    plan_file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="What `tieout plan --out` wrote.")],
    as_json: AsJson = False,
) -> None:
    """Do exactly what a plan says. What changed since is refused; exit 1 when anything was not done."""
    from flows.apply_plan import apply_plan
    from flows.context import hub

    report = apply_plan(hub(), _read(plan_file), operator())
    if as_json:
        print(json.dumps({**report.data(), "rows": report.rows}, indent=2))
    else:
        show(report.rows, as_json=False, empty="the plan writes nothing")
        print(report.verdict)
    raise typer.Exit(0 if report.counts["done"] == report.counts["planned"] else 1)


def _read(file: Path) -> Plan:
    if file.stat().st_size > LIMIT:
        raise ValueError(f"{file} is larger than any plan")
    try:
        return Plan.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise ValueError(f"{file} is no plan that can be applied: {first['msg']}") from None
