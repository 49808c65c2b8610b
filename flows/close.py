"""Close: a month is completed, shown, approved by a person, posted, read back, locked and certified.

Where a close stands is told by its row and nothing else, so a run may be killed anywhere and started again: each stage
looks at what is there and does what is left. Its journals are drafts until they are approved; the approval names their
digest, and they are worked out once more in the transaction that books them: what was approved is what is posted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from itertools import chain, count, islice
from typing import Any, TypeVar

from core.audit import Act, Deed
from core.close import (
    Close,
    CloseState,
    Decision,
    Digest,
    Gate,
    JournalDraft,
    Obstacle,
    Override,
    PeriodLock,
    Verdict,
    check_approver,
    close_id,
    decision_id,
    first_of_next,
    needs_second,
    override_id,
    volume,
    written,
)
from core.collecting import without_collecting
from core.entities import LegalEntity
from core.errors import Rejected, TieBroken
from core.journals import Movements, Summary, as_booked, carried, split
from core.ledger import JournalEntry
from core.period import DateSpan, start_of_day
from core.ports import KeepsBooks
from core.store import Work
from core.store.codec import pages
from core.sync import CommandState, Lane, OutboxCommand
from core.ties import Break, TieLine
from flows.accrue import accruals_due, contract_assets_due
from flows.context import Hub
from flows.deliver import LEASE, deliver_system
from flows.gates import GATES, ties_close
from flows.prepare import chart
from flows.read_back import Compared, read_back
from flows.recognise import recognition_due, settle_ended
from flows.revalue import revaluations_due
from flows.tie_out import tie_out_period

T = TypeVar("T")

#: How many months ahead an open one is looked for.
MOST_MONTHS = 12

#: Journals that are held in memory at a time.
PAGE = 50

#: How the audit names what no person did.
WHO = "flow close"


def newest(work: Work, entity: str, period: str) -> Close | None:
    """The close of a month that was begun last, reopened ones too."""
    closes = work.find(Close, entity=entity, period=period)
    return max(closes, key=lambda one: one.number, default=None)


def entity_of(hub: Hub, entity: str) -> LegalEntity:
    """The legal entity of an id; empty: the one that sells to everybody else."""
    return hub.settings.entity(entity) if entity else hub.settings.legal_entity


def standing(hub: Hub, period: str, entity: str = "") -> Close:
    """The close of a month, which somebody began. Rejected when nobody did."""
    with hub.database.reading() as work:
        close = newest(work, entity_of(hub, entity).id, period)
    if close is None:
        raise Rejected(f"nobody began to close {period}; run `tieout close run --period {period}`", field="period")
    return close


def freeze(hub: Hub, period: str, who: str, entity: str = "") -> Close:
    """The close of a month: the one that stands, or a new one with its cut-off in the zone of the entity."""
    own, span = entity_of(hub, entity), DateSpan.month(period)
    with hub.database.work() as work:
        known = newest(work, own.id, period)
        if known is not None and known.state is not CloseState.REOPENED:
            return known
        number = known.number + 1 if known else 1
        close = Close(
            id=close_id(own.id, period, number),
            entity=own.id,
            period=period,
            number=number,
            currency=own.currency,
            cut_off=start_of_day(span.end, own.timezone),
            frozen_at=hub.now(),
            started_by=who,
        )
        work.add([close])
        _tell(hub, work, close, Act.FROZEN, who, {"cut-off": close.cut_off.isoformat()})
    hub.world.faults("close.frozen")
    return close


# Completeness


@dataclass
class Checked:
    """What the gates found: what stands in the way, what a person let pass, and the tie-out."""

    left: list[Obstacle] = field(default_factory=list)
    passed: list[Obstacle] = field(default_factory=list)
    ties: list[TieLine] = field(default_factory=list)
    breaks: list[Break] = field(default_factory=list)


def check(hub: Hub, close: Close) -> Checked:
    """Asks every gate and every system."""
    checked = tied(hub, close)
    sort(hub, close, checked, chain.from_iterable(gate(hub, close) for gate in GATES.values()))
    hub.world.faults("close.checked")
    return checked


def tied(hub: Hub, close: Close) -> Checked:
    """Asks every system, as the last gate does and as the certificate says."""
    lines, breaks = tie_out_period(hub, close.period)
    checked = Checked(ties=lines, breaks=breaks)
    sort(hub, close, checked, ties_close(breaks))
    return checked


def sort(hub: Hub, close: Close, checked: Checked, obstacles: Iterable[Obstacle]) -> None:
    """Adds what stands in the way or was let pass. The overrides of earlier closes of the month do not count."""
    with hub.database.reading() as work:
        overrides = work.find(Override, close_id=close.id)
    for obstacle in obstacles:
        passes = any(one.passes(obstacle) for one in overrides)
        (checked.passed if passes else checked.left).append(obstacle)


def override(hub: Hub, close: Close, gate: str, record: str, who: str, reason: str) -> Override:
    """Lets one record of a gate pass, for a reason; of a locked month, a Break that came before the certificate.

    Rejected for an unknown gate, without a reason, or when the close does not ask that gate any more.
    """
    if gate not in list(Gate):
        raise Rejected(f"there is no gate {gate!r}; there are {', '.join(Gate)}", field="gate", value=gate)
    if not reason.strip():
        raise Rejected("an override needs a reason; it is printed in the pack", field="reason")
    if close.state is not CloseState.OPEN and (close.state is not CloseState.CLOSED or gate != Gate.TIES):
        raise Rejected(f"{close.id} is {close.state.value}; a gate is passed while it is open", field="state")
    given = Override(
        id=override_id(close.id, Gate(gate), record),
        close_id=close.id,
        gate=Gate(gate),
        record=record,
        who=who,
        reason=reason,
        at=hub.now(),
    )
    with hub.database.work() as work:
        work.put(given)
        _tell(hub, work, close, Act.OVERRIDDEN, who, {"gate": gate, "record": record, "reason": reason})
    return given


# Journals


class TakesPostings:
    """Whether the general ledger takes postings for a day: what it said before a unit of work began.

    A call may take long, and everybody else waits for the unit of work; ``knowing`` asks in between.
    """

    def __init__(self, hub: Hub) -> None:
        books = hub.connector(hub.system("erp"))
        asks = hub.settings.close.erp_period_closed == "next" and isinstance(books, KeepsBooks)
        self._ask = books.takes_postings if asks and isinstance(books, KeepsBooks) else None
        self._said: dict[date, bool] = {}

    def __call__(self, day: date) -> bool:
        if self._ask is not None and day not in self._said:
            raise _Unasked(day)
        return self._said.get(day, True)

    def knowing(self, act: Callable[[], T]) -> T:
        """Does ``act``, a unit of work; once more after each day that was not asked for yet."""
        while True:
            try:
                return act()
            except _Unasked as unasked:
                assert self._ask is not None
                self._said[unasked.day] = self._ask(unasked.day)


class _Unasked(Exception):
    def __init__(self, day: date) -> None:
        super().__init__(day)
        self.day = day


def due_journals(hub: Hub, work: Work, close: Close, takes: TakesPostings) -> Iterator[JournalEntry]:
    """What the month has still to book, as the general ledger takes it: earned, accrued, revalued.

    One entry after the other, the same ones in the same order every time; stores nothing. Whoever books them meanwhile
    books each once.
    """
    policy = hub.settings.close
    entries = _in_open_months(work, close, _due(hub, work, close), takes)
    summed = policy.journals == "summary"
    if policy.journals == "auto":
        first = list(islice(entries, policy.most_journals + 1))
        entries, summed = chain(first, entries), len(first) > policy.most_journals
    if summed:
        yield from carried(entries, policy.most_lines, lambda *group: _names(work, close, *group))
        return
    for entry in entries:
        yield from split(entry, policy.most_lines)


def _due(hub: Hub, work: Work, close: Close) -> Iterator[JournalEntry]:
    held, foreign = work.sums.booked(close.entity, close.period), Movements()
    earned = (entry for entries, _ in recognition_due(hub, work, close.period, close.entity) for entry in entries)
    for entry in chain(earned, accruals_due(hub, work, close), contract_assets_due(hub, work, close)):
        if entry.currency != close.currency:
            foreign.add(entry)
        yield entry
    yield from revaluations_due(hub, work, close, [*held, *foreign.booked()])


def _names(work: Work, close: Close, event: str, day: date, currency: str) -> Iterator[str]:
    """Ids for journals that carry others, that none carries yet."""
    for number in count(1):
        ident = f"JE-{close.entity}-{day:%Y-%m-%d}-{event.replace(' ', '-')}-{currency}-{number}"
        if not work.periods.numbers_of([ident]):
            yield ident


def _in_open_months(
    work: Work, close: Close, entries: Iterable[JournalEntry], takes: TakesPostings
) -> Iterator[JournalEntry]:
    """The entries, each on the first day that is open in our books and, by policy, in those of the general ledger."""

    @cache
    def open_day(day: date) -> date:
        day = work.periods.open_day(close.entity, day)
        for _ in range(MOST_MONTHS):
            if takes(day):
                break
            day = work.periods.open_day(close.entity, first_of_next(day))
        return day

    return (entry.late(open_day(entry.posted_on)) for entry in entries)


@without_collecting()
def preview(hub: Hub, close: Close) -> Close:
    """Works the journals out and keeps them as drafts, under the digest that an approval names."""
    takes = TakesPostings(hub)
    close = takes.knowing(lambda: _preview(hub, close, takes))
    hub.world.faults("close.previewed")
    return close


def _preview(hub: Hub, close: Close, takes: TakesPostings) -> Close:
    with hub.database.work() as work:
        if (now := _again(work, close)) != close:
            return now
        settle_ended(work, close.period)
        work.periods.drop_drafts(close)
        moves, shown = Movements(), Digest()
        for page in pages(moves.passing(due_journals(hub, work, close, takes)), PAGE):
            made = [JournalDraft.of(close, entry) for entry in page]
            work.add(made)
            shown.add(*(one.text for one in made))
        about = {"digest": shown.value, "journals": len(shown), "moves": moves.booked()}
        close = close.moved(CloseState.PREVIEWED, **about)
        work.put(close)
        moved = {money.currency: str(money) for money in volume(close.moves).values()}
        _tell(hub, work, close, Act.PREVIEWED, WHO, {"digest": shown.value, "journals": len(shown), "debits": moved})
    return close


def _again(work: Work, close: Close) -> Close:
    """The close as it stands now: another run may have taken it on. Keeps others from doing so until ``work`` ends."""
    work.alone(f"close {close.id}")
    found = work.get(Close, close.id)
    if found is None:
        raise TieBroken("a close that was begun stands", subject=close.id, left=close.state, right=None)
    return found


# Approval


@dataclass(frozen=True)
class Question:
    """What an approver is asked: the journals of ``close``, who approved already, how many must."""

    close: Close
    approvals: Sequence[Decision]
    needed: int
    complaint: str = ""

    @property
    def answered(self) -> bool:
        return len(self.approvals) >= self.needed


def question(hub: Hub, close: Close) -> Question:
    """How far the approval of the drafts has come. A refusal ends all approvals before it."""
    with hub.database.reading() as work:
        return _asked(hub, work, close)


def _asked(hub: Hub, work: Work, close: Close) -> Question:
    decisions = work.find(Decision, close_id=close.id)
    since = _refusals(decisions)
    given = [one for one in decisions if one.id == decision_id(close, since, one.who)]
    two = needs_second(volume(close.moves), close.currency, hub.settings.close.second_approval_above)
    return Question(close, sorted(given, key=lambda one: one.at), 2 if two else 1)


def _refusals(decisions: Sequence[Decision]) -> int:
    return sum(one.verdict is Verdict.REFUSE for one in decisions)


def check_decision(hub: Hub, verdict: Verdict, who: str, reason: str) -> None:
    """Rejected when this person may not decide, or a refusal has no reason."""
    check_approver(who, hub.settings.close.approvers)
    if verdict is Verdict.REFUSE and not reason.strip():
        raise Rejected("a refusal needs a reason", field="reason")


def check_shown(close: Close, shown: Close) -> None:
    """Rejected when other journals wait by now than those that a person was shown."""
    if close.digest != shown.digest:
        why = f"other journals of {close.id} wait by now than those that were shown; read the preview pack once more"
        raise Rejected(why, field="journals", value=shown.digest)


def decide(hub: Hub, close: Close, verdict: Verdict, who: str, reason: str, via: str) -> Close:
    """Keeps what one person says about the drafts; the same person saying the same again changes nothing.

    Rejected when nothing waits for approval, other journals wait by now than those of ``close``, the person may not
    decide, or a refusal has no reason.
    """
    who, shown = who.strip(), close
    with hub.database.work() as work:
        close = _again(work, close)
        if close.state is not CloseState.PREVIEWED or close.digest is None:
            raise Rejected(f"{close.id} is {close.state.value}; nothing waits for approval", field="state")
        check_shown(close, shown)
        decisions = work.find(Decision, close_id=close.id)
        ident = decision_id(close, _refusals(decisions), who)
        if verdict is Verdict.APPROVE and any(one.id == ident for one in decisions):
            return close
        check_decision(hub, verdict, who, reason)
        given = Decision(
            id=ident, close_id=close.id, digest=close.digest, verdict=verdict, who=who, reason=reason.strip(), via=via,
            at=hub.now(),
        )  # fmt: skip
        work.put(given)
        act = Act.APPROVED if verdict is Verdict.APPROVE else Act.DISAPPROVED
        _tell(hub, work, close, act, who, {"digest": close.digest, "reason": given.reason, "via": via})
        if verdict is Verdict.REFUSE:
            close = close.moved(CloseState.OPEN)
            work.put(close)
    hub.world.faults("close.decided")
    return close


def last_refusal(work: Work, close: Close) -> Decision:
    """The newest refusal of a close; there is one."""
    return max(
        (one for one in work.find(Decision, close_id=close.id) if one.verdict is Verdict.REFUSE), key=lambda one: one.at
    )


def overrides_of(work: Work, close: Close) -> list[Override]:
    return work.find(Override, close_id=close.id)


def account_names(hub: Hub) -> dict[str, str]:
    """The names of the ledger accounts, by code."""
    return {account.code: account.name for account in chart(hub.posting, hub.price_book)}


# Posting


@without_collecting()
def book(hub: Hub, close: Close) -> Close:
    """Books the approved drafts and intends them for the general ledger, in one transaction.

    They are worked out once more in it: when a fact came in meanwhile, the close is open again and nothing is booked.
    """
    takes = TakesPostings(hub)
    try:
        close = takes.knowing(lambda: _book(hub, close, takes))
    except _Otherwise:
        return _open_again(hub, close)
    hub.world.faults("close.booked")
    return close


class _Otherwise(Exception):
    """What there is to book is not what was approved, or was not expected any more."""


def _open_again(hub: Hub, close: Close) -> Close:
    """The close back at its beginning, with a fact that came in meanwhile; what was tried was undone."""
    with hub.database.work() as work:
        if (now := _again(work, close)) != close:
            return now
        work.put(opened := close.moved(CloseState.OPEN))
    return opened


def _book(hub: Hub, close: Close, takes: TakesPostings) -> Close:
    found, summary = Digest(), Summary()
    with hub.database.work() as work:
        if (now := _again(work, close)) != close or not _asked(hub, work, close).answered:
            return now
        for page in pages(due_journals(hub, work, close, takes), PAGE):
            found.add(*map(written, page))
            work.add(page)
            _intend(hub, work, [entry for entry in page if not summary.takes(entry)])
        if found.value != close.digest:
            raise _Otherwise
        _intend(hub, work, summary.journals())
        hub.world.faults("close.before_commit")
        close = close.moved(CloseState.POSTED, round=close.round + 1)
        work.put(close)
        _tell(hub, work, close, Act.BOOKED, WHO, {"digest": close.digest, "journals": len(found)})
    return close


def _intend(hub: Hub, work: Work, journals: Iterable[JournalEntry]) -> None:
    erp = hub.system("erp")
    work.outbox.enqueue(
        OutboxCommand.of(erp, "journal_entry", "journal_entry", journal.in_books, hub.now(), lane=Lane.CLOSE)
        for journal in journals
    )


def posted_journals(hub: Hub, close: Close) -> Iterator[list[JournalEntry]]:
    """The journals of a close as they were intended for the general ledger, of all its rounds, in parts."""
    erp = hub.system("erp")
    with hub.database.reading() as work:
        idents = work.periods.journals_of(close.id)
    for part in pages(idents, PAGE):
        with hub.database.reading() as work:
            intents = {ident: work.outbox.of_record(erp, "journal_entry", ident) for ident in part}
        for ident, found in intents.items():
            if not found:
                raise TieBroken("a booked journal is intended for the general ledger", subject=ident, left=1, right=0)
        yield [JournalEntry.model_validate_json(found[-1].body) for found in intents.values()]


def push(hub: Hub, close: Close) -> list[Obstacle]:
    """Delivers to the general ledger; gives the journals of the close that it does not hold."""
    erp = hub.system("erp")
    deliver_system(hub, erp)
    hub.world.faults("close.pushed")
    with hub.database.reading() as work:
        journals = work.periods.journals_of(close.id)
        held = {one.record_id for one in work.outbox.proofs(erp, "journal_entry", record_id=journals)}
        waiting = {
            ident: work.outbox.of_record(erp, "journal_entry", ident)[-1] for ident in journals if ident not in held
        }
    if not waiting:
        return []
    missing = [entry for part in posted_journals(hub, close) for entry in part if entry.id in waiting]
    return [
        Obstacle(
            gate=Gate.OUTBOX,
            record=entry.id,
            what=f"{erp} does not hold it: {_state_of(waiting[entry.id])}",
            cure=_cure_of(waiting[entry.id]),
            money=volume(as_booked([entry])).get(entry.currency),
        )
        for entry in missing
    ]


def _state_of(command: OutboxCommand) -> str:
    return command.state.value + (f", waits for {command.waits_for}" if command.waits_for else "")


def _cure_of(command: OutboxCommand) -> str:
    if command.state is CommandState.SENDING:
        minutes = LEASE.total_seconds() / 60
        return f"another run sends it, or was killed while it did: run the close again in {minutes:.0f} minutes"
    return "`tieout errors list --record journal_entry`; cure it, retry, and run the close again"


def verify(hub: Hub, close: Close) -> tuple[Close, list[Compared]]:
    """Reads every journal back, line by line; the close is verified when nothing differs."""
    compared = compare(hub, close)
    if any(one.wrong for one in compared):
        return close, compared
    hub.world.faults("close.read_back")
    with hub.database.work() as work:
        if (now := _again(work, close)) != close:
            return now, compared
        close = close.moved(CloseState.VERIFIED)
        work.put(close)
        _tell(hub, work, close, Act.VERIFIED, WHO, {"journals": len({one.journal for one in compared})})
    hub.world.faults("close.verified")
    return close, compared


def compare(hub: Hub, close: Close) -> list[Compared]:
    """Every ledger account of every journal of a close, as the general ledger shows it now."""
    return [one for part in posted_journals(hub, close) for one in read_back(hub, part)]


def lock(hub: Hub, close: Close) -> Close:
    """Locks the month, unless a fact that came in meanwhile has something to book: then the close is open again.

    The lock comes first and the last look after it, so that nothing slips in between.
    """
    ident = f"{close.entity}/{close.period}/{close.number}"
    try:
        with hub.database.work() as work:
            if (now := _again(work, close)) != close:
                return now
            locked = close.moved(CloseState.CLOSED)
            held = PeriodLock(id=ident, entity=close.entity, month=close.period, close_id=close.id, locked_at=hub.now())
            work.add([held])
            if any(True for _ in _due(hub, work, close)):
                raise _Otherwise
            work.put(locked)
            _tell(hub, work, locked, Act.LOCKED, WHO, {"month": close.period})
    except _Otherwise:
        return _open_again(hub, close)
    hub.world.faults("close.locked")
    return locked


def reopen(hub: Hub, close: Close, who: str, reason: str) -> Close:
    """Takes the lock of a month away, for a reason; the next run closes it anew. Rejected when it is not locked."""
    if not reason.strip():
        raise Rejected("a reopening needs a reason", field="reason")
    with hub.database.work() as work:
        close = _again(work, close).moved(CloseState.REOPENED)
        work.put(close)
        for held in work.find(PeriodLock, close_id=close.id):
            work.put(held.model_copy(update={"reopened_at": hub.now(), "reopened_by": who, "reason": reason}))
        _tell(hub, work, close, Act.REOPENED, who, {"reason": reason})
    return close


def _tell(hub: Hub, work: Work, close: Close, act: Act, who: str, detail: dict[str, Any]) -> None:
    work.audit.tell(Deed(hub.now(), who, act, record="close", record_id=close.id, detail=detail))
