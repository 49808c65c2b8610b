"""``tieout close``: close a month, approve it, look at its pack, reopen it; verify a pack without the database."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.operators import operator
from app.printing import AsJson, show
from core import pack
from core.close import Close, CloseState, Gate, Verdict

if TYPE_CHECKING:
    from flows.report import Report

app = typer.Typer(help="Close a month, approve it, verify its pack.", no_args_is_help=True)

Period = Annotated[str, typer.Option(help="A month, like 2026-10.")]
Entity = Annotated[str, typer.Option(help="Id of a legal entity; default: the one that sells to everybody else.")]
Reason = Annotated[str, typer.Option(help="Why; it is kept and printed in the pack.")]


@app.command()
def run(period: Period, entity: Entity = "", as_json: AsJson = False) -> None:
    """Close a month as far as it goes by itself; run it again after each cure and approval. Exit 1 until closed."""
    from flows.close_books import Closing
    from flows.context import hub

    report = Closing(hub(), period, operator(), entity=entity).run()
    _tell(period, report, as_json=as_json)
    raise typer.Exit(0 if "closed" in report.counts else 1)


def _tell(period: str, report: Report, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"headline": report.headline, **report.counts, "rows": report.rows}, indent=2))
        return
    print(f"{period}: {report.headline}")
    if report.rows:
        show(report.rows, as_json=False, empty="")


@app.command()
def status(period: Period, entity: Entity = "", as_json: AsJson = False) -> None:
    """Every close of a month, how far it has come, and who approved it."""
    from flows import close as stages
    from flows.context import hub

    with hub().database.reading() as work:
        closes = work.find(Close, entity=stages.entity_of(hub(), entity).id, period=period)
        told = {one.id: work.audit.rows(record_id=one.id) for one in closes}
    rows = [
        {
            "close": one.id,
            "state": one.state.value,
            "cut-off": f"{one.cut_off:%F %H:%M} UTC",
            "begun": f"{one.frozen_at:%F %H:%M} UTC by {one.started_by}",
            "journals shown": one.digest or "",
            "last": f"{told[one.id][0].act} by {told[one.id][0].who}" if told[one.id] else "",
        }
        for one in closes
    ]
    show(rows, as_json=as_json, empty=f"nobody began to close {period}")


@app.command()
def check(period: Period, entity: Entity = "", as_json: AsJson = False) -> None:
    """What stands in the way of a close now, with what cures it. Changes nothing. Exit 1 when something does."""
    from flows import close as stages
    from flows.close_books import blocked
    from flows.context import hub

    close = stages.standing(hub(), period, entity)
    checked = stages.check(hub(), close)
    if not checked.left:
        print(f"nothing stands in the way of {period}; {len(checked.passed)} let pass")
        return
    _tell(period, blocked(close, checked.left), as_json=as_json)
    raise typer.Exit(1)


@app.command()
def override(
    period: Period,
    gate: Annotated[str, typer.Option(help=f"One of {', '.join(Gate)}.")],
    record: Annotated[str, typer.Option(help="The record that stands in the way, as `check` names it.")],
    reason: Reason,
    entity: Entity = "",
) -> None:
    """Let a close pass one record of a gate. It is told to the audit and printed in the pack."""
    from flows import close as stages
    from flows.context import hub

    given = stages.override(hub(), stages.standing(hub(), period, entity), gate, record, operator(), reason)
    print(f"{given.gate.value} {given.record}: let pass by {given.who}")


@app.command()
def approve(
    period: Period,
    refuse: Annotated[bool, typer.Option("--refuse", help="Refuse the journals instead; needs a reason.")] = False,
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    journals: Annotated[str, typer.Option(help="The digest of the journals that you have read; no others are.")] = "",
    entity: Entity = "",
) -> None:
    """Approve the journals that a close has shown, or refuse them. A run that waits in the UI goes on."""
    from flows import close as stages
    from flows.close_books import answer_waiting_runs
    from flows.context import hub

    close = stages.standing(hub(), period, entity)
    read = close.model_copy(update={"digest": journals or close.digest})
    verdict = Verdict.REFUSE if refuse else Verdict.APPROVE
    stages.check_decision(hub(), verdict, operator(), reason)
    stages.check_shown(close, read)
    if os.environ.get("PREFECT_API_URL") and answer_waiting_runs(period, entity, verdict, operator(), reason):
        print(f"the run that waits for the approval of {period} goes on with your answer")
        return
    close = stages.decide(hub(), read, verdict, operator(), reason, "command line")
    if close.state is CloseState.OPEN:
        print(f"{period} is refused: {reason}")
        return
    asked = stages.question(hub(), close)
    missing = asked.needed - len(asked.approvals)
    what = "one more person must approve" if missing else f"run `tieout close run --period {period}`"
    print(f"approved by {operator()}; {what}")


@app.command("pack")
def show_pack(period: Period, entity: Entity = "") -> None:
    """Where the newest pack of a month lies, and whether it is sound."""
    from flows import close as stages
    from flows.context import hub
    from flows.pack import folder_of

    folder = folder_of(hub(), stages.standing(hub(), period, entity))
    if not folder.is_dir():
        raise ValueError(f"there is no pack of {period} yet; `tieout close run --period {period}` writes it")
    print(folder)
    _verify(folder, None, as_json=False)


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(metavar="PACK", help="The folder of a pack.")],
    anchor: Annotated[str | None, typer.Option(help="The SHA-256 of its manifest, as it was noted elsewhere.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check a pack from its own data, without the database. Exit 1 when a file or a figure is not what it was."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not the folder of a pack")
    _verify(folder, anchor, as_json=as_json)


def _verify(folder: Path, anchor: str | None, *, as_json: bool) -> None:
    flaws = pack.verify(folder, anchor)
    if as_json:
        print(json.dumps({"pack": str(folder), "flaws": [{"file": o.file, "what": o.what} for o in flaws]}, indent=2))
    elif flaws:
        for flaw in flaws:
            print(f"BROKEN: {flaw}")
    else:
        print(f"sound: manifest {pack.manifest_hash(folder)}")
    raise typer.Exit(1 if flaws else 0)


@app.command()
def reopen(period: Period, reason: Reason, entity: Entity = "") -> None:
    """Unlock a closed month. The next `tieout close run` closes it anew, with what came in meanwhile."""
    from flows import close as stages
    from flows.context import hub

    close = stages.reopen(hub(), stages.standing(hub(), period, entity), operator(), reason)
    print(f"{close.id} is reopened")
