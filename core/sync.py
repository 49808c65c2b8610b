"""What crosses the border, and how far it has come: inbox, outbox, proofs of delivery, cursors, the error desk.

The allowed transitions stand in two tables here, and the store refuses any other. State of a record is derived from
these rows alone, never from an orchestrator's run.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any

from core.money import Money
from core.noun import Id, Instant, Noun


class InboxState(StrEnum):
    RECEIVED = "received"  # stored and acknowledged, not yet applied
    APPLYING = "applying"  # leased to one worker
    APPLIED = "applied"
    STALE = "stale"  # a newer version of the same object was applied already
    PARKED = "parked"  # what it needs is not there yet
    REJECTED = "rejected"  # stands on the error desk


INBOX_TRANSITIONS: Mapping[InboxState, frozenset[InboxState]] = {
    InboxState.RECEIVED: frozenset({InboxState.APPLYING}),
    InboxState.APPLYING: frozenset(
        {InboxState.APPLIED, InboxState.STALE, InboxState.PARKED, InboxState.REJECTED, InboxState.RECEIVED}
    ),
    InboxState.PARKED: frozenset({InboxState.RECEIVED}),
    InboxState.REJECTED: frozenset({InboxState.RECEIVED}),
    InboxState.APPLIED: frozenset({InboxState.RECEIVED}),  # a replay asked for by an operator
    InboxState.STALE: frozenset(),
}


class InboxEvent(Noun):
    """One webhook event as it came in. ``system`` + ``event_id`` are unique for ever."""

    system: str
    event_id: Id
    resource: str
    vendor_id: Id
    kind: str
    version: str | None = None
    occurred_at: Instant
    received_at: Instant
    state: InboxState = InboxState.RECEIVED
    attempts: int = 0


class CommandState(StrEnum):
    PENDING = "pending"
    SENDING = "sending"  # leased to one worker, which may have sent it
    UNKNOWN = "unknown"  # sent, and no trustworthy answer came: look up before any resend
    DONE = "done"  # proved by a Receipt
    REJECTED = "rejected"  # stands on the error desk
    PARKED = "parked"  # waits for `waits_for`
    CANCELLED = "cancelled"  # superseded by a newer version, or ignored by an operator


COMMAND_TRANSITIONS: Mapping[CommandState, frozenset[CommandState]] = {
    CommandState.PENDING: frozenset({CommandState.SENDING, CommandState.CANCELLED}),
    CommandState.SENDING: frozenset(
        {CommandState.DONE, CommandState.UNKNOWN, CommandState.REJECTED, CommandState.PARKED, CommandState.PENDING}
    ),
    CommandState.UNKNOWN: frozenset({CommandState.SENDING}),
    CommandState.PARKED: frozenset({CommandState.PENDING, CommandState.CANCELLED}),
    CommandState.REJECTED: frozenset({CommandState.PENDING, CommandState.CANCELLED}),
    CommandState.DONE: frozenset(),
    CommandState.CANCELLED: frozenset(),
}

#: States of a command that goes on by itself: it has neither ended nor been left to a person.
UNDER_WAY = frozenset({CommandState.PENDING, CommandState.SENDING, CommandState.UNKNOWN, CommandState.PARKED})


class Lane(IntEnum):
    """Lower goes first."""

    CLOSE = 0
    NORMAL = 5
    BULK = 9


def record_version(noun: Noun) -> str:
    """Twelve hex digits of the content of a noun: the same content is the same version."""
    return hashlib.sha256(noun.model_dump_json().encode()).hexdigest()[:12]


class OutboxCommand(Noun):
    """The intent to bring one record to one system, stored before anything is sent.

    ``key`` is derived from system, resource, record, version and ``sequence`` (1 for the first intent of a record at a
    resource), so the same intent is stored once. ``body`` is the noun as JSON at the moment of the intent. ``fence``
    grows with each lease: a worker that outlived its lease is refused when it settles. ``probe`` tells that the next
    worker must look the record up before it sends.
    """

    key: Id
    system: str
    resource: str
    record: str
    record_id: Id
    version: str
    sequence: int = 1
    body: str
    money: Money | None = None
    lane: Lane = Lane.NORMAL
    state: CommandState = CommandState.PENDING
    waits_for: str | None = None
    due_at: Instant
    attempts: int = 0
    fence: int = 0
    probe: bool = False
    created_at: Instant

    @classmethod
    def of(
        cls,
        system: str,
        resource: str,
        record: str,
        noun: Noun,
        at: datetime,
        *,
        money: Money | None = None,
        lane: Lane = Lane.NORMAL,
    ) -> OutboxCommand:
        """The command that brings ``noun`` (which has an ``id`` or ``code``) to ``resource`` of ``system``."""
        version = record_version(noun)
        record_id = str(getattr(noun, "id", None) or noun.code)  # type: ignore[attr-defined]
        return cls(
            key=_command_key(system, resource, record_id, version, 1),
            system=system,
            resource=resource,
            record=record,
            record_id=record_id,
            version=version,
            body=noun.model_dump_json(),
            money=money,
            lane=lane,
            due_at=at,
            created_at=at,
        )

    def after(self, earlier: OutboxCommand) -> OutboxCommand:
        """The same intent as the next one after ``earlier`` of the same record."""
        sequence = earlier.sequence + 1
        key = _command_key(self.system, self.resource, self.record_id, self.version, sequence)
        return self.model_copy(update={"key": key, "sequence": sequence})


def _command_key(system: str, resource: str, record_id: str, version: str, sequence: int) -> str:
    return f"{system}/{resource}/{record_id}@{version}.{sequence}"


class SyncRecord(Noun):
    """Proof that a system holds a record: which version, written by which command, known there by which id."""

    system: str
    resource: str
    record_id: Id
    vendor_id: Id
    version: str
    command_key: Id
    mapping_version: str
    payload_digest: str
    created: bool
    synced_at: Instant
    answer: dict[str, Any]
    """The vendor's answer in its own field names, decimals as text."""


class Watermark(Noun):
    """How far a stream of changes was read: everything before ``position`` is stored."""

    system: str
    resource: str
    position: str
    moved_at: Instant


class DeskState(StrEnum):
    OPEN = "open"
    RESOLVED = "resolved"
    IGNORED = "ignored"


class DeskEntry(Noun):
    """A failed record on the error desk: what failed, why, how much money is at risk, and what would cure it.

    ``id`` is the failed thing: ``outbox:<system>/<resource>/<record id>``, ``inbox:<system>/<resource>/<vendor id>``,
    ``usage:<file>:<cause>``, ``record:<record>:<id>``, ``mapping:<file>/<field>`` when a field changed under a mapping,
    ``conflict:<system>/<resource>/<record id>/<field>`` when both sides changed it, ``system:<system>`` when all of a
    system waits.
    """

    id: Id
    system: str
    record: str
    record_id: Id
    cause: str
    """The class of the error: Rejected, MappingError, TieBroken, ..."""
    message: str
    cure: str
    code: str | None = None
    field: str | None = None
    value: str | None = None
    money: Money | None = None
    state: DeskState = DeskState.OPEN
    attempts: int = 1
    first_seen_at: Instant
    last_seen_at: Instant
    owner: str | None = None
    """Who takes care of it."""
    note: str | None = None
    run: str | None = None
    """The orchestrator's run that saw it last."""
    trace: str | None = None
    """How the system named the request, to be told to its support."""
    due_at: Instant | None = None
    """Until when it must be done; None: it is a failure, which has no date."""

    @property
    def cluster(self) -> str:
        """The same failure of the same kind of record, whichever record it is, has the same cluster."""
        same = [self.system, self.record, self.cause, self.code or "", self.field or "", pattern(self.message)]
        return f"c{hashlib.sha256(json.dumps(same).encode()).hexdigest()[:10]}"


#: What of a message belongs to one record: what is quoted, and every word with a digit or an @ in it.
_PARTICULAR = re.compile(r"""'[^']*'|"[^"]*"|[^\s,;:()]*[\d@][^\s,;:()]*""")


def pattern(message: str) -> str:
    """A message without what belongs to one record: ``order 0061 of 'Ann'`` becomes ``order * of *``."""
    return _PARTICULAR.sub("*", message)


class Cluster(Noun):
    """Open entries of the desk with one cause, in one currency (None: entries without an amount)."""

    id: str
    sample: DeskEntry
    """The entry with the most money at risk."""
    errors: int
    money: Money | None


class Evidence(Noun):
    """What was sent and what was answered when a record failed last, secrets and card numbers masked."""

    id: Id
    ours: str
    theirs: str
