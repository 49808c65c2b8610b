"""The close of the month in the simulated world: who runs it, who decides, and what must hold of it.

People read the pack that lies in the folder, and answer for the journals that it shows. What they were shown and what
they said is remembered here, beside the product.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING, Any

from core import pack
from core.close import Close, CloseState, Gate, Verdict
from core.errors import Rejected
from flows import close as stages
from flows.close_books import Answer, Closing
from flows.context import Hub
from flows.report import Report
from flows.settings import ClosePolicy
from tests.simulation.fibers import Violation

if TYPE_CHECKING:
    from tests.simulation.run import Run

OPERATOR = "olga"
APPROVERS = ("anna", "ben")
STRANGER = "mallory"
#: What a person who is asked does, and how often; when all is quiet everybody approves.
SAYS = {"approves": 6, "refuses": 2, "is no approver": 1}
#: How often a person who is asked answers later, when they have read the pack.
LATE = 0.35
#: How often what stands in the way of a close is let pass at once.
PASSES = 0.5
#: A person is asked at most so often between two steps: whoever asks more often asks what nobody waits for.
MOST_QUESTIONS = 20
#: Every named point of a close where a process may die.
POINTS = tuple(
    f"close.{name}"
    for name in (
        "frozen", "checked", "previewed", "packed", "answered", "decided", "before_commit", "booked", "pushed",
        "read_back", "verified", "locked", "certified",
    )
)  # fmt: skip


@dataclass
class Finance:
    """The people of finance in one run."""

    run: Run
    period: str
    rng: Random
    shown: dict[str, dict[str, str]] = field(default_factory=dict)
    """By digest: the texts of the journals that somebody read, by their id."""
    said: set[tuple[str, str]] = field(default_factory=set)
    """Who approved which digest."""
    left: list[str] = field(default_factory=list)
    """What stood in the way last, and nobody let pass."""
    waits: Close | None = None
    """What somebody read, and has not answered yet."""
    moved: dict[str, str] = field(default_factory=dict)
    """Journals that somebody moved to another day at the ERP, and their day."""
    questions: int = 0
    booked: dict[str, str] = field(default_factory=dict)
    """Acts of booking that were judged: the row of the audit and its digest."""
    standing: frozenset[str] | None = None
    """What stood in the month when it was locked; None while it is open."""

    def __post_init__(self) -> None:
        choose = self.rng.choice
        self.policy = ClosePolicy(
            approvers=choose(((), APPROVERS)),
            second_approval_above=choose((None, Decimal(0))),
            journals=choose(("auto", "detail", "summary")),
            most_journals=choose((1, 500)),
            most_lines=choose((4, 1000)),
            erp_period_closed=choose(("park", "next")),
        )

    # --- what they do -------------------------------------------------------------------------------------------------

    def close(self, hub: Hub) -> Report:
        """One run of the close, as far as it comes; what stands in its way is often let pass."""
        report = Closing(hub, self.period, OPERATOR, self.answer).run()
        if "in the way" in report.counts and not self.run.quiet and self.rng.random() < PASSES:
            self.let_pass(hub)
        return report

    def let_pass(self, hub: Hub) -> None:
        """Somebody lets pass what stands in the way, but nothing of which an invoice of the month may still come."""
        close = stages.freeze(hub, self.period, OPERATOR)
        self.left = []
        asked = {CloseState.OPEN: stages.check, CloseState.CLOSED: stages.tied}.get(close.state)
        for one in asked(hub, close).left if asked else ():
            if one.gate in (Gate.RATED, Gate.TAX) or one.record.startswith("inbox:"):
                self.left.append(one.record)
                continue
            with suppress(Rejected):  # the close has gone on meanwhile
                stages.override(hub, stages.standing(hub, self.period), one.gate, one.record, OPERATOR, "in time: no")

    def close_at_last(self, hub: Hub) -> None:
        """Closes, and lets pass what nobody can cure any more."""
        if "in the way" in self.close(hub).counts:
            self.let_pass(hub)
            self.close(hub)

    def reopen(self, hub: Hub) -> None:
        """Somebody takes the lock away again."""
        with suppress(Rejected):  # it is not locked, or somebody else was there before
            stages.reopen(hub, stages.standing(hub, self.period), OPERATOR, "an invoice is missing")
            self.run.sometimes["a month was opened again"] += 1

    def move_a_journal(self) -> str:
        """Somebody at the ERP moves a journal of the close to another day; it is moved back when the faults stop."""
        ours = self._pushed()
        shelf = self.run.vendors.shelves["netsuite"]
        found = [one for one in shelf.all("journalEntry") if one.get("externalId") in ours - self.moved.keys()]
        if not found or self.standing is not None:
            return "nobody"
        one = self.rng.choice(found)
        self.moved[one["externalId"]] = one["tranDate"]
        shelf.keep("journalEntry", one["internalId"], {**one, "tranDate": f"{one['tranDate']}".replace("-31", "-30")})
        self.run.tell("journal moved at the ERP")
        return f"moved {one['externalId']}"

    def move_back(self) -> None:
        shelf = self.run.vendors.shelves["netsuite"]
        for one in shelf.all("journalEntry"):
            if one.get("externalId") in self.moved:
                shelf.keep("journalEntry", one["internalId"], {**one, "tranDate": self.moved[one["externalId"]]})

    def _pushed(self) -> set[str]:
        """The journals by which the general ledger knows what closes have booked."""
        return self.run.ids(
            "SELECT DISTINCT coalesce(e.gl_journal, e.id) FROM journal_entry e JOIN journal_draft d ON d.id = e.id"
        )

    def answer_late(self, hub: Hub) -> None:
        """Somebody answers at the command line what they read some time ago."""
        close, self.waits = self.waits, None
        if close is not None and close.digest is not None:
            given = self._said(close.digest, set())
            with suppress(Rejected):  # they may not, or nothing of it waits any more
                stages.decide(hub, close, given.verdict, given.who, given.reason, "command line")

    def answer(self, asked: stages.Question, _number: int) -> Answer | None:
        """What somebody says who is asked; None: they are not there."""
        self.questions += 1
        if self.questions > MOST_QUESTIONS:
            raise Violation("people are asked what waits for them", asked.complaint)
        digest = asked.close.digest or ""
        if digest not in self.read(asked.close.id):
            self.run.sometimes["the pack shows other journals than are asked about"] += 1
            return None
        if not self.run.quiet and self.rng.random() < LATE:
            self.waits = asked.close
            return None
        return self._said(digest, {one.who for one in asked.approvals})

    def _said(self, digest: str, approved: set[str]) -> Answer:
        says = "approves" if self.run.quiet else self.rng.choices(list(SAYS), list(SAYS.values()))[0]
        self.run.sometimes[f"a person {says}"] += 1
        if says == "refuses":
            return Answer(Verdict.REFUSE, self.rng.choice(APPROVERS), "look again", "simulation")
        others = sorted(set(APPROVERS) - approved) if self.run.quiet else APPROVERS
        who = STRANGER if says == "is no approver" else self.rng.choice(others)
        self.said.add((who, digest))
        return Answer(Verdict.APPROVE, who, "", "simulation")

    def read(self, close_id: str) -> set[str]:
        """Somebody reads the pack of a close: the digests of the sets of journals that it shows, round by round."""
        journals = self.run.folder / "closes" / close_id / "journals.jsonl"
        rounds: dict[str, dict[str, str]] = defaultdict(dict)
        for line in journals.read_text(encoding="utf-8").splitlines() if journals.is_file() else ():
            number, _, text = line.partition(', "journal": ')
            text = text.removesuffix("}")
            rounds[number][json.loads(text)["id"]] = text
        shown = {_digest(texts.values()): texts for texts in (*rounds.values(), {})}
        self.shown |= shown
        return set(shown)


def _digest(texts: Iterable[str]) -> str:
    hashes = sorted(hashlib.sha256(text.encode()).digest()[:16] for text in texts)
    return hashlib.sha256(b"".join(hashes)).hexdigest()[:16]


# --- what must hold after every step ---------------------------------------------------------------------------------


def only_what_was_approved_is_booked(run: Run) -> None:
    """I17: an approval is of journals that this person was shown; what a close books is what enough people approved
    after the last refusal, line by line."""
    finance = run.finance
    if finance is None:
        return
    finance.questions = 0
    decisions = run.sql.execute("SELECT who, digest, verdict, id FROM close_decision").fetchall()
    for who, digest, verdict, ident in decisions:
        if verdict == "approve" and (who, digest) not in finance.said:
            raise Violation("I17 an approval is of what was shown", f"{ident} by {who}")
    for seq, act, detail in run.sql.execute(
        "SELECT seq, act, detail FROM audit WHERE record_id LIKE 'CLOSE-%' ORDER BY seq"
    ).fetchall():
        if act == "booked" and str(seq) not in finance.booked:
            digest = json.loads(detail)["digest"]
            finance.booked[str(seq)] = digest
            _judge(run, finance, seq, digest)


def _judge(run: Run, finance: Finance, seq: int, digest: str) -> None:
    """A set of journals that has just been booked."""
    approved: set[str] = set()
    for act, who, detail in run.sql.execute(
        f"SELECT act, who, detail FROM audit WHERE record_id LIKE 'CLOSE-%' AND seq < {seq} ORDER BY seq"  # noqa: S608
    ).fetchall():
        if act in ("disapproved", "booked"):
            approved.clear()
        if act == "approved" and json.loads(detail)["digest"] == digest:
            approved.add(who)
    wanted = {ident: json.loads(text) for ident, text in finance.shown.get(digest, {}).items()}
    needed = 2 if finance.policy.second_approval_above is not None and wanted else 1
    if len(approved) < needed or (STRANGER in approved and finance.policy.approvers):
        raise Violation("I17 what is booked was approved", f"{digest} by {sorted(approved)}, {needed} are needed")
    for ident, entry in wanted.items():
        of_entry = f"FROM journal_entry e JOIN journal_line l ON l.parent_id = e.id WHERE e.id = '{ident}'"
        query = f"SELECT posted_on, ledger_account, debit_minor, credit_minor {of_entry} ORDER BY position"
        booked = run.sql.execute(query).fetchall()
        if [(str(day), *line) for day, *line in booked] != _lines(entry):
            raise Violation("I17 what is booked is what was approved", f"{ident}: {_lines(entry)} became {booked}")
    run.sometimes["approved journals were booked"] += 1


def _lines(entry: dict[str, Any]) -> list[tuple[str, str, int | None, int | None]]:
    """Day, account, debit and credit of each line of an entry that was shown."""
    return [
        (entry["posted_on"], one["ledger_account"], _cents(one.get("debit")), _cents(one.get("credit")))
        for one in entry["lines"]
    ]


def _cents(money: dict[str, str] | None) -> int | None:
    return None if money is None else int(Decimal(money["amount"]) * 100)


def a_locked_month_is_left_alone(run: Run) -> None:
    """I17: a month is locked when all that is due in it is booked and stands in the general ledger; then nothing is
    booked into it any more, and what belongs to it and comes late names it."""
    finance = run.finance
    if finance is None:
        return
    locks = run.count("SELECT count(*) FROM period_lock WHERE reopened_at IS NULL")
    if locks > 1:
        raise Violation("I17 a month is locked once", str(locks))
    stands = frozenset(run.ids("SELECT id FROM journal_entry WHERE posted_on < '2026-11-01'")) if locks else None
    if finance.standing is None and stands is not None:
        run.sometimes["a month was locked"] += 1
        _nothing_is_due(run)
        _stands_in_the_general_ledger(run, finance)
    elif stands is not None and stands != finance.standing:
        raise Violation("I17 a locked month takes nothing", str(sorted(stands ^ (finance.standing or frozenset()))))
    finance.standing = stands
    late = "SELECT id FROM journal_entry WHERE posted_on >= '2026-11-01' AND id LIKE 'JE-REV-2026-10-%'"
    if nameless := run.ids(f"{late} AND coalesce(origin, '') <> '2026-10'"):
        raise Violation("I17 what comes late names its month", str(sorted(nameless)))


def _nothing_is_due(run: Run) -> None:
    unearned = run.ids(
        "SELECT id FROM recognition p WHERE month <= '2026-10' AND amount_minor <> 0 AND NOT EXISTS"
        " (SELECT 1 FROM journal_line l WHERE l.source_id = p.id AND l.source = 'recognition')"
    )
    if unearned:
        raise Violation("I17 nothing is due when a month is locked", str(sorted(unearned)))


def _stands_in_the_general_ledger(run: Run, finance: Finance) -> None:
    held = {one.get("externalId"): one["tranDate"] for one in run.vendors.shelves["netsuite"].all("journalEntry")}
    for ident in sorted(finance._pushed()):
        if held.get(ident) != finance.moved.get(ident, held.get(ident)) or ident not in held:
            raise Violation("I17 every journal was read back before the lock", f"{ident} on {held.get(ident)}")


# --- at rest ---------------------------------------------------------------------------------------------------------


def the_month_is_closed(run: Run) -> None:
    """I17: the newest close is closed, locked once, and certified by the pack that lies there, which is sound."""
    finance = run.finance
    if finance is None:
        return
    newest = run.sql.execute("SELECT id, state FROM close ORDER BY number DESC").fetchone()
    if newest is None and not run.billed():
        return
    ident, state = newest
    if state == "open" and finance.left:
        run.sometimes["a month could not be closed"] += 1
        return
    if state != "closed":
        raise Violation("I17 every month is closed in the end", f"{ident} is {state}")
    acts = [
        (act, detail)
        for act, detail in run.sql.execute(
            f"SELECT act, detail FROM audit WHERE record_id = '{ident}' ORDER BY seq"  # noqa: S608
        )
    ]
    if (number := sum(act == "locked" for act, _ in acts)) != 1:
        raise Violation("I17 a month is locked once", f"{ident} was locked {number} times")
    manifest = next(json.loads(detail)["manifest"] for act, detail in reversed(acts) if act == "certified")
    if flaws := pack.verify(run.folder / "closes" / ident, manifest):
        raise Violation("I17 the pack proves itself", f"{ident}: {flaws[0]}")
    run.sometimes["a month was closed"] += 1
