"""The audit chain: who did what to which record, when, and what stood there before and after.

Each row carries the hash of the row before it, so a row that is changed, removed or put in between breaks the chain at
its place. The tip of the chain, kept elsewhere, also betrays a chain that was rewritten as a whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class Act(StrEnum):
    # crossings of the border
    WRITTEN = "written"  # a system holds the record, proved by its answer
    ADOPTED = "adopted"  # found there after an unknown outcome, and taken as written
    DOUBTED = "doubted"  # sent, and no trustworthy answer came
    REJECTED = "rejected"
    PARKED = "parked"
    RECEIVED = "received"  # webhooks stored, in one transaction
    REFUSED = "refused"  # webhooks refused, counted
    APPLIED = "applied"  # an event
    STALE = "stale"  # an event that was older than what had been applied
    # acts of an operator
    RETRIED = "retried"
    EDITED = "edited"
    IGNORED = "ignored"
    ASSIGNED = "assigned"
    NOTED = "noted"
    EXPLAINED = "explained"
    CURED = "cured"  # the document that mends a difference was intended
    CANCELLED = "cancelled"
    REPLAYED = "replayed"
    PLANNED = "planned"
    PLAN_APPLIED = "plan applied"
    # money on our bank accounts
    IDENTIFIED = "identified"
    CASH_APPLIED = "cash applied"
    CASH_REVERSED = "cash reversed"
    CASH_RETURNED = "cash returned"
    # money that does not come, or goes back
    DISPUTED = "disputed"  # a customer's bank took a payment back, gave it back, or decided
    WRITE_OFF_PROPOSED = "write-off proposed"
    WRITTEN_OFF = "written off"
    WRITE_OFF_REFUSED = "write-off refused"
    COMPENSATED = "compensated"  # a document is taken back in every system
    # what contracts promise
    REACHED = "reached"  # a milestone, on a person's word
    # the close of a month
    FROZEN = "frozen"  # the cut-off stands
    OVERRIDDEN = "overridden"  # a gate was passed by decision
    PREVIEWED = "previewed"  # the journals were shown, named by their digest
    APPROVED = "approved"
    DISAPPROVED = "disapproved"
    BOOKED = "booked"  # the approved journals stand in our ledger
    VERIFIED = "verified"  # and in the general ledger, line by line
    LOCKED = "locked"
    CERTIFIED = "certified"  # the pack is whole, named by the hash of its manifest
    REOPENED = "reopened"


@dataclass(frozen=True, slots=True)
class Deed:
    """What is told to the audit. ``who``: ``flow deliver`` or the name of an operator; ``detail``: small, no secret."""

    at: datetime
    who: str
    act: Act
    system: str = ""
    record: str = ""
    record_id: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tip:
    """Where a chain ends: the number of its last row (0: none) and that row's hash."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"

    @classmethod
    def of(cls, text: str) -> Tip:
        """``"1042:9f2c..."``. ValueError for another form."""
        seq, _, digest = text.partition(":")
        if not (seq.isdecimal() and len(digest) == 64):
            raise ValueError(f"{text!r} is not the tip of an audit chain; it looks like 1042:9f2c... (64 hex digits)")
        return cls(int(seq), digest)


GENESIS = Tip(0, "0" * 64)


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One link. ``detail`` is JSON text as it was hashed."""

    seq: int
    at: datetime
    who: str
    act: str
    system: str
    record: str
    record_id: str
    detail: str
    previous: str
    hash: str

    @property
    def tip(self) -> Tip:
        return Tip(self.seq, self.hash)

    def expected_hash(self) -> str:
        return _hash(
            self.seq,
            self.at,
            self.who,
            self.act,
            self.system,
            self.record,
            self.record_id,
            self.detail,
            self.previous,
        )


def linked(tip: Tip, deeds: Iterable[Deed]) -> Iterator[AuditRow]:
    """The rows that go on from ``tip``."""
    seq, previous = tip.seq, tip.hash
    for deed in deeds:
        seq += 1
        detail = json.dumps(deed.detail, sort_keys=True, default=str)
        act = deed.act.value
        told = deed.at, deed.who, act, deed.system, deed.record, deed.record_id, detail
        digest = _hash(seq, *told, previous)
        yield AuditRow(seq, *told, previous, digest)
        previous = digest


def _hash(seq: int, at: datetime, *texts: str) -> str:
    return hashlib.sha256(json.dumps([seq, at.astimezone(UTC).isoformat(), *texts]).encode()).hexdigest()


def id_digest(ids: Iterable[str]) -> str:
    """Sixteen hex digits that stand for a set of ids: two sides that have the same ids have the same digest."""
    return hashlib.sha256("\n".join(sorted(set(ids))).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Flaw:
    """The first place where a chain is broken."""

    seq: int
    why: str


def flaw(rows: Iterable[AuditRow], end: Tip, anchor: Tip | None = None) -> Flaw | None:
    """The first flaw of a whole chain in its order, or None.

    ``end``: where the chain is said to end; ``anchor``: a tip that was noted at an earlier time.
    """
    tip = GENESIS
    for row in rows:
        if row.seq != tip.seq + 1:
            return Flaw(tip.seq + 1, f"is missing; the next row is {row.seq}")
        if row.previous != tip.hash:
            return Flaw(row.seq, "does not follow the row before it")
        if row.hash != row.expected_hash():
            return Flaw(row.seq, "was changed after it was written")
        if anchor is not None and anchor.seq == row.seq and anchor.hash != row.hash:
            return Flaw(row.seq, "is not the row whose hash was noted")
        tip = row.tip
    if tip != end:
        return Flaw(tip.seq + 1, f"is missing; the chain is said to end with row {end.seq}")
    if anchor is not None and anchor.seq > tip.seq:
        return Flaw(tip.seq + 1, f"is missing; row {anchor.seq} was noted as written")
    return None
