"""``tieout audit``: what happened at the border and what operators did, and the proof that nobody changed it since."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from app.printing import AsJson, plain, show
from core.audit import Tip

app = typer.Typer(help="The audit: list what happened, verify that nobody changed it.", no_args_is_help=True)


@app.command()
def verify(
    anchor: Annotated[str | None, typer.Option(help="A tip that was noted before, like 1042:9f2c...")] = None,
    as_json: AsJson = False,
) -> None:
    """Recompute the whole chain and tell its tip, to be noted elsewhere. Exit 1 at the first row that is not sound."""
    from flows.context import hub

    noted = Tip.of(anchor) if anchor else None
    with hub().database.reading() as work:
        tip, flaw = work.audit.tip(), work.audit.flaw(noted)
    if as_json:
        wrong = None if flaw is None else {"row": flaw.seq, "why": flaw.why}
        print(json.dumps({"rows": tip.seq, "tip": str(tip), "flaw": wrong}, indent=2))
    elif flaw is None:
        print(f"sound: {tip.seq:,} rows, tip {tip}")
    else:
        print(f"BROKEN: row {flaw.seq} {flaw.why}")
    raise typer.Exit(0 if flaw is None else 1)


@app.command("list")
def list_rows(
    record: Annotated[
        str | None, typer.Option(help="The id of a record of ours, or a vendor's id of an event.")
    ] = None,
    system: str | None = None,
    act: Annotated[str | None, typer.Option(help="Like written, rejected, retried, ignored.")] = None,
    who: Annotated[str | None, typer.Option(help="An operator, or a flow like 'flow deliver'.")] = None,
    limit: int = 100,
    as_json: AsJson = False,
) -> None:
    """What happened, the newest first."""
    from flows.context import hub

    with hub().database.reading() as work:
        found = work.audit.rows(limit=limit, record_id=record, system=system, act=act, who=who)
    rows = [
        {
            "seq": str(row.seq),
            "at": row.at.isoformat(timespec="seconds"),
            "who": row.who,
            "act": row.act,
            "system": row.system,
            "record": f"{row.record} {row.record_id}".strip(),
            "detail": _told(row.detail),
        }
        for row in found
    ]
    show(rows, as_json=as_json, empty="nothing of that kind happened")


def _told(detail: str) -> str:
    """The detail in words."""
    return plain(", ".join(f"{name}: {value}" for name, value in json.loads(detail).items() if value is not None))
