"""The close of a month of one legal entity: how far it has come, what stands in its way, who decided what.

Its journals are drafts until they are approved: nothing is booked in our ledger, and nothing is intended for the
general ledger, before a person has seen the amounts. What was approved is named by a digest of the drafts, so that an
approval never covers another set of journals than the one that was shown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from enum import StrEnum

from core.errors import Rejected
from core.ledger import JournalEntry
from core.money import Money
from core.noun import CurrencyCode, Id, Instant, Noun
from core.subledgers import Booked


class CloseState(StrEnum):
    OPEN = "open"  # the cut-off stands; gates and journals may be worked out any number of times
    PREVIEWED = "previewed"  # the journals stand and wait for approval
    POSTED = "posted"  # approved, booked in our ledger, intended for the general ledger
    VERIFIED = "verified"  # every line read back from the general ledger
    CLOSED = "closed"  # the month is locked and certified
    REOPENED = "reopened"


CLOSE_TRANSITIONS: Mapping[CloseState, frozenset[CloseState]] = {
    CloseState.OPEN: frozenset({CloseState.PREVIEWED}),
    CloseState.PREVIEWED: frozenset({CloseState.OPEN, CloseState.POSTED}),
    CloseState.POSTED: frozenset({CloseState.VERIFIED}),
    CloseState.VERIFIED: frozenset({CloseState.OPEN, CloseState.CLOSED}),  # open: a fact came in meanwhile
    CloseState.CLOSED: frozenset({CloseState.REOPENED}),
    CloseState.REOPENED: frozenset(),
}


class Close(Noun):
    """One close of a month (``"2026-10"``); ``number`` grows when the month was reopened.

    ``cut_off``: the first instant that does not belong to the month, in the zone of the entity. ``digest``: of the
    journals that were shown last; ``journals`` how many they are, ``moves`` what they move. ``round``: how many sets of
    journals it has booked so far.
    """

    id: Id
    entity: Id
    period: str
    number: int
    currency: CurrencyCode
    state: CloseState = CloseState.OPEN
    cut_off: Instant
    frozen_at: Instant
    started_by: str
    digest: str | None = None
    journals: int = 0
    moves: tuple[Booked, ...] = ()
    round: int = 0

    def moved(self, state: CloseState, **changes: object) -> Close:
        """The close in its next state. Rejected when that may not follow."""
        if state not in CLOSE_TRANSITIONS[self.state]:
            raise Rejected(
                f"close {self.id} is {self.state.value} and cannot become {state.value}", record=self.id, field="state"
            )
        return self.model_copy(update={"state": state, **changes})


def close_id(entity: str, period: str, number: int) -> str:
    return f"CLOSE-{entity}-{period}-{number}"


class Gate(StrEnum):
    """What must be complete before a month is closed."""

    USAGE = "usage"  # every source reported
    RATED = "rated"  # everything that was used is priced
    DESK = "desk"  # failed records are below the threshold
    TAX = "tax"  # every invoice is taxed, and the engine has committed it
    PAYMENTS = "payments"  # what came in is applied
    SETTLEMENTS = "settlements"  # what was paid stands on our balance at the gateway
    OUTBOX = "outbox"  # every document of the month is at its system
    TIES = "ties"  # every system says the same
    BOOKS = "books"  # the general ledger takes postings


class Obstacle(Noun):
    """One record that stands in the way of a close, what is wrong with it, and what cures it."""

    gate: Gate
    record: Id
    what: str
    cure: str
    money: Money | None = None


class Override(Noun):
    """A person lets a close pass one record of a gate; printed in the pack."""

    id: Id
    close_id: Id
    gate: Gate
    record: Id
    who: str
    reason: str
    at: Instant

    def passes(self, obstacle: Obstacle) -> bool:
        return (self.gate, self.record) == (obstacle.gate, obstacle.record)


def override_id(close: str, gate: Gate, record: str) -> str:
    return f"{close}/{gate.value}/{record}"


class Verdict(StrEnum):
    APPROVE = "approve"
    REFUSE = "refuse"


class Decision(Noun):
    """What one person said about the journals with one digest. ``via``: where they said it."""

    id: Id
    close_id: Id
    digest: str
    verdict: Verdict
    who: str
    reason: str
    via: str
    at: Instant


def decision_id(close: Close, refusals: int, who: str) -> str:
    """One person decides once about the journals that a close shows; after a refusal, anew."""
    return f"{close.id}/{refusals}/{close.digest}/{who}"


class JournalDraft(Noun):
    """A journal as a close has shown it, in its ``round``: those of its earlier rounds are booked.

    ``text``: the entry as JSON. What is approved is named by a digest of such texts.
    """

    id: Id
    close_id: Id
    round: int
    text: str

    @classmethod
    def of(cls, close: Close, entry: JournalEntry) -> JournalDraft:
        return cls(id=entry.id, close_id=close.id, round=close.round, text=written(entry))

    @property
    def entry(self) -> JournalEntry:
        return JournalEntry.model_validate_json(self.text)


def written(entry: JournalEntry) -> str:
    """The JSON text of an entry, the same for equal entries; what it does not say is as in every entry."""
    return entry.model_dump_json(exclude_defaults=True)


class PeriodLock(Noun):
    """No journal is booked into a locked month of its entity, until a person reopens it."""

    id: Id
    entity: Id
    month: str
    close_id: Id
    locked_at: Instant
    reopened_at: Instant | None = None
    reopened_by: str | None = None
    reason: str | None = None


class PostedLine(Noun):
    """One line of a journal as a general ledger shows it. ``account``: as it names it; ``net``: debits less credits."""

    account: str
    net: Money


class PostedJournal(Noun):
    """A journal as a general ledger shows it. ``key``: our id of it there."""

    key: Id
    vendor_id: Id
    currency: CurrencyCode
    posted_on: date
    lines: tuple[PostedLine, ...]


class Digest:
    """What stands for exactly these texts of journals, in any order; the texts are not kept."""

    def __init__(self) -> None:
        self._hashes: list[bytes] = []

    def add(self, *texts: str) -> None:
        self._hashes += (hashlib.sha256(text.encode()).digest()[:16] for text in texts)

    def __len__(self) -> int:
        return len(self._hashes)

    @property
    def value(self) -> str:
        """Sixteen hex digits."""
        return hashlib.sha256(b"".join(sorted(self._hashes))).hexdigest()[:16]


def volume(moves: Iterable[Booked]) -> dict[str, Money]:
    """Currency to the sum of the debits: how much money journals move."""
    moved: dict[str, Money] = {}
    for one in moves:
        currency = one.debit.currency
        moved[currency] = moved.get(currency, Money.zero(currency)) + one.debit
    return moved


def needs_second(moved: Mapping[str, Money], currency: str, limit: Decimal | None) -> bool:
    """Whether two people must approve: more than ``limit`` moves, or anything in another currency than the limit's."""
    if limit is None:
        return False
    return any(money.currency != currency or money.amount > limit for money in moved.values() if money)


def check_approver(who: str, approvers: Sequence[str]) -> None:
    """Rejected when this person may not decide: unnamed, or not appointed."""
    if not who.strip():
        raise Rejected("an approval names a person; write who you are", field="who", value=who)
    if approvers and who not in approvers:
        raise Rejected(
            f"{who!r} is no approver of closes; close.approvers in tieout.toml names {', '.join(approvers)}",
            field="who",
            value=who,
        )


def first_of_next(day: date) -> date:
    """The first day of the next month."""
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)
