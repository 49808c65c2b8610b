"""Close the books: the flow that an operator runs from the UI. It asks there for approval, and waits as long as needed.

While it waits the run is suspended and nothing runs; the answer makes it go on from where the close stands. The same
stages run without an orchestrator: ``tieout close run``, with the approval given by ``tieout close approve``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from textwrap import shorten
from typing import Any, TypeVar
from uuid import UUID

from prefect import Task, flow, get_client
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import State, StateType
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run
from prefect.states import Failed
from pydantic import Field

from core.close import Close, CloseState, Obstacle, Verdict, volume
from core.errors import Rejected
from core.journals import Movements
from core.pack import read_columns
from core.ports import urgent
from flows import close as stages
from flows.close import Checked, Question
from flows.context import Hub, hub
from flows.pack import certified_pack, certify, folder_of, shows
from flows.pack_figures import by_account, grouped
from flows.read_back import Compared
from flows.report import SHOWN as MOST_ROWS
from flows.report import Report, amounts, conclude, counted, dollars, name_run

T = TypeVar("T")

#: Most accounts that an approver is shown; all of them stand in the preview pack.
SHOWN = 60
#: Most characters of an account's name that the form in the UI has room for.
NAMED = 40

#: The tables of a pack that people read in the UI: what each of them tells, and its columns, what matters first.
READ_IN_THE_UI = {
    "journals.csv": (
        "The journals of the close, line by line",
        ("journal", "posted_on", "account", "debit", "credit", "currency", "customer", "detail", "event", "state"),
    ),
    "trial_balance.csv": (
        "Trial balance of the month, with these journals",
        ("account", "name", "currency", "opening", "debit", "credit", "closing"),
    ),
    "roll_forwards.csv": (
        "How each subledger came from its opening to its closing balance",
        ("subledger", "account", "detail", "currency", "step", "amount"),
    ),
    "ties.csv": (
        "Tie-out: what every two systems say of the month",
        ("tie", "left", "right", "difference", "unit", "records", "breaks", "explained", "why"),
    ),
    "gates.csv": (
        "What stood in the way, and who let it pass",
        ("gate", "record", "amount", "currency", "let_pass_by", "what", "cure"),
    ),
    "read_back.csv": (
        "What the general ledger shows of each journal, beside ours",
        ("journal", "account", "lines", "ours", "theirs", "wrong", "vendor_id"),
    ),
}


@dataclass(frozen=True)
class Answer:
    """What one person says. ``via``: where."""

    verdict: Verdict
    who: str
    reason: str
    via: str


class Approval(RunInput):
    """The form in the UI."""

    decision: Verdict = Field(description="Approve the journals, or refuse them.")
    who: str = Field(description="Your name. It is kept in the audit and printed in the pack.")
    reason: str = Field(default="", description="Why; needed to refuse.")


#: Asks people, the ``n``-th time of this close and set of journals; None: nobody can be asked here.
Ask = Callable[[Question, int], Answer | None]


def nobody(_question: Question, _number: int) -> None:
    """Where no person can be asked: the decision comes by ``tieout close approve``."""
    return


class Closing:
    """One run of a close, from where it stands to where it cannot go on by itself."""

    def __init__(self, hub: Hub, period: str, who: str, ask: Ask = nobody, entity: str = "") -> None:
        self.hub, self.period, self.who, self.ask, self.entity = hub, period, who, ask, entity
        self.checked = Checked()
        self.asked = count()

    def stage(self, name: str, work: Callable[..., T], *about: Any) -> T:
        """One stage, ``work(hub, *about)``; a task of its own where a run is watched."""

        def act() -> T:
            return work(self.hub, *about)

        if not flow_run.id:
            return act()
        task = Task(act, name=name, task_run_name=name, cache_policy=NO_CACHE, retries=0, persist_result=False)
        return task()

    @urgent()
    def run(self) -> Report:
        close = self.stage("Freeze the month", stages.freeze, self.period, self.who, self.entity)
        while True:
            match close.state:
                case CloseState.OPEN:
                    self.checked = self.stage("Check that it is complete", stages.check, close)
                    if self.checked.left:
                        return blocked(close, self.checked.left)
                    close = self.stage("Work out the journals", stages.preview, close)
                    if close.state is CloseState.PREVIEWED:
                        publish(close, self.stage("Write the preview pack", preview_pack, close, self.checked))
                case CloseState.PREVIEWED:
                    if not shows(self.hub, close):
                        self.checked = self.stage("Check that it is complete", stages.check, close)
                        publish(close, self.stage("Write the preview pack", preview_pack, close, self.checked))
                    asked = stages.question(self.hub, close)
                    if asked.answered:
                        close = self.stage("Book the approved journals", stages.book, close)
                        continue
                    ended = self.decided(close, asked)
                    if ended is not None:
                        return ended
                    close = stages.standing(self.hub, self.period, self.entity)
                case CloseState.POSTED:
                    left = self.stage("Push to the general ledger", stages.push, close)
                    if left:
                        return blocked(close, left)
                    close, compared = self.stage("Read every line back", stages.verify, close)
                    if any(one.wrong for one in compared):
                        return differs(close, compared)
                case CloseState.VERIFIED:
                    close = self.stage("Lock the month", stages.lock, close)
                case CloseState.REOPENED:
                    close = self.stage("Freeze the month", stages.freeze, self.period, self.who, self.entity)
                case CloseState.CLOSED:
                    sound = certified_pack(self.hub, close)
                    if sound is None:
                        self.checked = self.stage("Tie out once more", stages.tied, close)
                        if self.checked.left:
                            return blocked(close, self.checked.left)
                        sound = self.stage("Certify", final_pack, close, self.checked)
                    publish(close, sound[0])
                    return certified(self.hub, close, *sound)

    def decided(self, close: Close, question: Question) -> Report | None:
        """What ends the run: a refusal, or that nobody can be asked; None: it goes on from where the close stands.

        What does not hold is asked for again, as long as the journals that were shown wait.
        """
        number, complaint = next(self.asked), ""
        while True:
            answer = self.ask(replace(question, complaint=complaint), number)
            if answer is None:
                return waiting(question)
            who = answer.who.strip()
            if answer.verdict is Verdict.APPROVE and who in {one.who for one in question.approvals}:
                number, complaint = next(self.asked), f"{who} approved already; another person must approve as well"
                continue
            self.hub.world.faults("close.answered")
            try:
                decided = stages.decide(self.hub, close, answer.verdict, answer.who, answer.reason, answer.via)
            except Rejected as error:
                if stages.standing(self.hub, self.period, self.entity) != close:
                    return None
                number, complaint = next(self.asked), str(error)
            else:
                return refused(self.hub, decided) if decided.state is CloseState.OPEN else None


def preview_pack(hub: Hub, close: Close, checked: Checked) -> Path:
    """The folder of the pack that an approver opens."""
    obstacles = [*checked.left, *checked.passed]
    folder, _ = certify(hub, close, ties=checked.ties, breaks=checked.breaks, obstacles=obstacles)
    return folder


def final_pack(hub: Hub, close: Close, checked: Checked) -> tuple[Path, str]:
    """The certified pack: its folder and the hash of its manifest."""
    return certify(hub, close, ties=checked.ties, breaks=checked.breaks, compared=stages.compare(hub, close))


def publish(close: Close, folder: Path) -> None:
    """Shows the tables of a pack among the artifacts of the run; those without a row are left out."""
    if not flow_run.id:
        return
    for name, (what, columns) in READ_IN_THE_UI.items():
        heads = [column.replace("_", " ") for column in columns]
        rows = [dict(zip(heads, row, strict=True)) for row in islice(read_columns(folder, name, *columns), MOST_ROWS)]
        if rows:
            key = f"close-{close.period}-{name.removesuffix('.csv').replace('_', '-')}"
            create_table_artifact(table=rows, key=key, description=what)


# What a run says where it ends. Each row is for people: what, why, what to do.


def blocked(close: Close, left: list[Obstacle]) -> Report:
    """Records stand in the way."""
    rows = [
        {
            "gate": one.gate.value,
            "record": one.record,
            "what": one.what,
            "money": "" if one.money is None else dollars(one.money),
            "what cures it": one.cure,
        }
        for one in left
    ]
    verb = "stands" if len(left) == 1 else "stand"
    undone = "locked and not certified" if close.state is CloseState.CLOSED else "not closed"
    headline = f"{undone}: {counted(len(left), 'record')} {verb} in the way, first {left[0].record}"
    return Report(headline, counts={"in the way": len(left)}, rows=rows)


def waiting(question: Question) -> Report:
    told = f"{counted(question.close.journals, 'journal')}, {_moved(question.close) or 'nothing'}"
    given = f"{len(question.approvals)} of {counted(question.needed, 'approval')} given"
    command = f"tieout close approve --period {question.close.period} --journals {question.close.digest}"
    return Report(
        f"waits for approval: {told}; {given}; `{command}`",
        counts={"approvals missing": question.needed - len(question.approvals)},
        rows=amounts_per_account(question),
    )


def refused(hub: Hub, close: Close) -> Report:
    with hub.database.reading() as work:
        last = stages.last_refusal(work, close)
    return Report(f"refused by {last.who}: {last.reason}; nothing was posted", counts={"refused": 1})


def differs(close: Close, compared: list[Compared]) -> Report:
    rows = [
        {
            "journal": one.journal,
            "their id": one.vendor_id,
            "account": one.account,
            "ours": str(one.ours),
            "theirs": str(one.theirs),
            "what differs": one.wrong,
        }
        for one in compared
        if one.wrong
    ]
    headline = f"posted, and the general ledger shows {counted(len(rows), 'account')} otherwise"
    return Report(headline, counts={"differences": len(rows)}, rows=rows)


def certified(hub: Hub, close: Close, folder: Path, digest: str) -> Report:
    number, sums = 0, Movements()
    for part in stages.posted_journals(hub, close):
        number += len(part)
        sums.add(*part)
    moved = list(volume(sums.booked()).values())
    told = f"{counted(number, 'journal')}" + (f", {amounts(moved)}" if moved else "")
    certificate = {
        "close": f"{close.period} of {stages.entity_of(hub, close.entity).name}, {close.id}",
        "cut-off": f"{close.cut_off:%F %H:%M} UTC",
        "journals": f"{told}; every line read back from {hub.system('erp')}",
        "approved by": ", ".join(
            f"{one.who} ({one.at:%F %H:%M} UTC, {one.via})" for one in stages.question(hub, close).approvals
        ),
        "pack": str(folder),
        "manifest SHA-256": digest,
        "to check it": f"tieout close verify {folder} --anchor {digest}",
    }
    rows = [{"certificate": name, "says": text} for name, text in certificate.items()]
    return Report(f"closed and certified: {told}", counts={"closed": 1}, money=moved, rows=rows)


def amounts_per_account(question: Question) -> list[dict[str, str]]:
    return [
        {"account": code, "currency": currency, "debit": grouped(debit), "credit": grouped(credit)}
        for code, currency, debit, credit in by_account(question.close.moves)
    ]


def _moved(close: Close) -> str:
    return amounts(volume(close.moves).values())


def shown(hub: Hub, question: Question) -> str:
    """What an approver reads, in Markdown: amounts per account, who approved, what was let pass, where the pack is."""
    close = question.close
    names = stages.account_names(hub)

    def side(row: dict[str, str], name: str) -> str:
        own = "" if row["currency"] == close.currency else f" {row['currency']}"
        return "" if row[name] == "0.00" else row[name] + own

    rows = amounts_per_account(question)
    with hub.database.reading() as work:
        passed = stages.overrides_of(work, close)
    lines = [
        *([f"**{question.complaint}**", ""] if question.complaint else []),
        f"Close of **{close.period}** for {stages.entity_of(hub, close.entity).name}: "
        f"{counted(close.journals, 'journal')}, {_moved(close) or 'nothing to post'}.",
        "",
        "| Account | Debit | Credit |",
        "|---|--:|--:|",
        *(
            f"| {row['account']} {shorten(names.get(row['account'], ''), NAMED, placeholder=' …')} "
            f"| {side(row, 'debit')} | {side(row, 'credit')} |"
            for row in rows[:SHOWN]
        ),
        *([f"and {len(rows) - SHOWN} more accounts in the preview pack", ""] if len(rows) > SHOWN else [""]),
        f"Approved so far: {', '.join(one.who for one in question.approvals) or 'by nobody'}; "
        f"{counted(question.needed, 'approval')} needed.",
        "",
        *(f"- let pass: {one.gate.value} {one.record}, by {one.who}: {one.reason}" for one in passed),
        "",
        f"What you approve has the digest `{close.digest}`. The tables of the preview pack are artifacts of this run; "
        f"all of it, with a summary to read, is in `{folder_of(hub, close)}`.",
    ]
    return "\n".join(lines)


# The flow


def answer_waiting_runs(period: str, entity: str, verdict: Verdict, who: str, reason: str) -> int:
    """Lets the runs that wait in the UI for this month go on with an answer given elsewhere; gives how many."""
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[close_books.name])),
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PAUSED]))
            ),
        )
        wanted = {"period": period, "entity": entity}
        waiting = [run for run in runs if {"entity": "", **run.parameters}.items() >= wanted.items()]
        for run in waiting:
            client.resume_flow_run(run.id, run_input={"decision": verdict.value, "who": who, "reason": reason})
    return len(waiting)


def ask_in_the_ui(question: Question, number: int) -> Answer | None:
    """Suspends the run until somebody answers in the UI; the answer of an earlier life of the run comes at once."""
    text = shown(hub(), question)
    close = question.close
    key = f"{close.period}-{close.number}-{close.digest}-{number}"
    if key not in asked_before():
        create_markdown_artifact(text, key=f"close-{close.period}-approval", description="What was shown for approval")
        name_run(f"close {close.period}: waits for approval")
    answer = suspend_flow_run(
        wait_for_input=Approval.with_initial_data(description=text),
        timeout=hub().settings.close.approval_hours * 3600,
        key=key,
    )
    return Answer(answer.decision, answer.who, answer.reason, "Prefect UI")


def asked_before() -> set[str]:
    """The questions that earlier lives of this run asked."""
    with get_client(sync_client=True) as client:
        return client.read_flow_run(UUID(flow_run.id)).empirical_policy.pause_keys or set()


@flow(
    name="Close the books",
    flow_run_name="close {period}",
    description="Closes a month: checks that it is complete, works out its journals, **asks for approval**, posts "
    "them, reads every line back, locks the month and writes the certified pack. Safe to repeat: see `docs/close.md`.",
)
def close_books(period: str, entity: str = "", started_by: str = "Prefect UI") -> State[Any]:
    """``entity``: the id of a legal entity; empty: the one that sells to everybody else."""
    report = Closing(hub(), period, started_by, ask_in_the_ui if flow_run.id else nobody, entity).run()
    state = conclude(f"close {period}", report)
    return state if "closed" in report.counts else Failed(message=report.headline, data=None)
