"""``tieout revenue``: what is deferred, when it is earned, and milestones that a person states."""

from __future__ import annotations

import csv
import io
from datetime import datetime
from typing import Annotated

import typer

from app.operators import operator
from app.printing import AsJson, show

app = typer.Typer(help="Deferred revenue, contract balances, and milestones.", no_args_is_help=True)

Period = Annotated[str, typer.Option(help="A month, like 2026-10.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV; text that a spreadsheet would run is quoted.")]


@app.command()
def rollforward(period: Period, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Opening, what a month billed, recognised and adjusted, and closing: of every contract."""
    from flows.context import hub
    from flows.revenue_report import roll_forward_rows

    _print(roll_forward_rows(hub(), period), as_json, as_csv, f"nothing was deferred up to {period}")


@app.command()
def waterfall(period: Period, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """What was billed ahead, by month of its invoice and month that earns it; what is to come after the period too."""
    from flows.context import hub
    from flows.revenue_report import waterfall_rows

    _print(waterfall_rows(hub(), period), as_json, as_csv, f"nothing was billed ahead up to {period}")


@app.command()
def milestone(
    order: Annotated[str, typer.Argument(help="The order's id.")],
    line: Annotated[str, typer.Argument(help="The id of its line.")],
    on: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="The day it was reached, like 2026-10-17.")],
    evidence: Annotated[str, typer.Option(help="What shows it: a signed report, a ticket; kept in the audit.")],
    as_json: AsJson = False,
) -> None:
    """State that a milestone was reached: what waits for it is earned in the month of that day."""
    from flows.context import hub
    from flows.recognise import reach_milestone

    earned = reach_milestone(hub(), order, line, on.date(), operator(), evidence)
    rows = [{"of": ident, "amount": str(amount.amount), "currency": amount.currency} for ident, amount in earned]
    show(rows, as_json=as_json, empty="nothing new is earned: it was stated before, or nothing of it is left")


def _print(rows: list[dict[str, str]], as_json: bool, as_csv: bool, empty: str) -> None:
    if not as_csv or not rows:
        show(rows, as_json=as_json, empty=empty)
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _inert(value) for name, value in row.items()} for row in rows)
    print(text.getvalue(), end="")


def _inert(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula; amounts below zero stay numbers."""
    number = cell.lstrip("-").replace(".", "", 1).isdigit()
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") and cell != "-" and not number else cell
