"""The only doors to the world: time, chance, waiting, planted crashes, and the systems on the other side.

Every door is passed in, so that a simulation can own them. ``Connector`` is the whole contract between a flow and a
vendor: five verbs and one bulk form, payloads in the vendor's own field names.
"""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum
from time import sleep as _sleep
from typing import Any, Protocol, TypeAlias, runtime_checkable

from core.errors import RateLimited, TieoutError

#: What crosses a wire, in the vendor's field names. Numbers that are money or quantities are Decimal or text.
Payload = Mapping[str, Any]


class Clock(Protocol):
    """Tells the present instant, timezone-aware UTC."""

    def __call__(self) -> datetime: ...


class Sleep(Protocol):
    """Waits ``seconds`` (>= 0)."""

    def __call__(self, seconds: float, /) -> None: ...


class Ids(Protocol):
    """Gives a fresh identifier for a row that has no natural key; never used as an idempotency key."""

    def __call__(self) -> str: ...


class Faults(Protocol):
    """Called at each named commit point ``"outbox.sent"``; does nothing outside tests."""

    def __call__(self, point: str, /) -> None: ...


def system_clock() -> datetime:
    return datetime.now(UTC)


def random_ids() -> str:
    return uuid.uuid4().hex


def no_faults(_point: str, /) -> None:
    return


def crash_at(spec: str) -> Faults:
    """Ends this process by SIGKILL when it reaches a point for the n-th time: ``"outbox.sent:2"``. Empty: never.

    SIGKILL leaves no chance to clean up, as a power cut would. ValueError for another form.
    """
    if not spec:
        return no_faults
    wanted, _, times = spec.rpartition(":")
    if not (wanted and times.isdecimal()):
        raise ValueError(f"{spec!r} is not a point and how often it is reached; write it like outbox.sent:1")
    left = int(times)

    def fault(point: str, /) -> None:
        nonlocal left
        if point == wanted:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return fault


class BudgetSpent(RateLimited):
    """We hold a call back ourselves, so that the vendor need not refuse it; nothing was sent."""


class Budget(Protocol):
    """The calls that each account at a vendor may make, shared by all processes."""

    def take(self, account: str, /) -> None:
        """Returns when one call may be made. BudgetSpent when that takes too long to wait for."""
        ...

    def heard(self, account: str, left: int, whole: int, window: float, /) -> None:
        """The vendor says that ``left`` of ``whole`` calls are left within ``window`` seconds."""
        ...

    def refused(self, account: str, wait_seconds: float, /) -> None:
        """The vendor refused a call, and asked to wait."""
        ...


class Unlimited:
    """No budget: whoever calls goes on until the vendor refuses."""

    def take(self, _account: str, /) -> None:
        return

    def heard(self, _account: str, _left: int, _whole: int, _window: float, /) -> None:
        return

    def refused(self, _account: str, _wait_seconds: float, /) -> None:
        return


UNLIMITED = Unlimited()

#: Whether what runs now may use what is kept of every budget for the close of a period.
_URGENT: ContextVar[bool] = ContextVar("urgent", default=False)


@contextmanager
def urgent() -> Iterator[None]:
    """Calls inside may use what is kept of every budget for the close of a period."""
    token = _URGENT.set(True)
    try:
        yield
    finally:
        _URGENT.reset(token)


def is_urgent() -> bool:
    return _URGENT.get()


#: When what runs now has lost its right to write; None: never.
_ENDS: ContextVar[datetime | None] = ContextVar("ends", default=None)


@contextmanager
def until(ends: datetime) -> Iterator[None]:
    """No call inside is sent after ``ends``: whoever slept through its lease may have been replaced."""
    token = _ENDS.set(ends)
    try:
        yield
    finally:
        _ENDS.reset(token)


def is_over(now: datetime) -> bool:
    ends = _ENDS.get()
    return ends is not None and now > ends


class Jobs(Protocol):
    """The jobs that systems work off for us, and that are not known to be over: no crash may forget one."""

    def begun(self, system: str, resource: str, job: str, /) -> None:
        """A system took a job on."""
        ...

    def running(self, system: str, resource: str, /) -> Sequence[str]:
        """The jobs with records of a resource, in the order of their beginning."""
        ...

    def over(self, system: str, resource: str, job: str, /) -> None:
        """A job has ended, well or not. Saying it twice is harmless."""
        ...


class JobsInMind:
    """Jobs as long as this process lives."""

    def __init__(self) -> None:
        self._jobs: dict[tuple[str, str], list[str]] = {}

    def begun(self, system: str, resource: str, job: str, /) -> None:
        self._jobs.setdefault((system, resource), []).append(job)

    def running(self, system: str, resource: str, /) -> Sequence[str]:
        return tuple(self._jobs.get((system, resource), ()))

    def over(self, system: str, resource: str, job: str, /) -> None:
        self._jobs[system, resource] = [one for one in self.running(system, resource) if one != job]


@dataclass(frozen=True, slots=True)
class World:
    """Time, chance, waiting, planted faults, the wire, what may be sent over it and what runs there, as one bundle.

    ``transport`` carries every call to a vendor in place of sockets; only ``connectors.wire`` knows its kind.
    """

    clock: Clock = system_clock
    ids: Ids = random_ids
    sleep: Sleep = _sleep
    faults: Faults = no_faults
    transport: Any = None
    budget: Budget = UNLIMITED
    jobs: Jobs = field(default_factory=JobsInMind)


@dataclass(frozen=True, slots=True)
class ExternalKey:
    """Our own key of a record at a system: the vendor field that carries it and its value."""

    field: str
    value: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that a system holds a record: its id there, and its answer in the vendor's field names."""

    system: str
    resource: str
    vendor_id: str
    key: ExternalKey
    created: bool
    answer: Payload = field(default_factory=dict)


#: The outcome of one record of a bulk write, in the order of the request: a Receipt, or the error of that record alone.
Outcome = Receipt | TieoutError


@dataclass(frozen=True, slots=True)
class Change:
    """One changed record of a resource: its id, when the vendor says it changed, and its fields (None: deleted)."""

    vendor_id: str
    changed_at: datetime
    payload: Payload | None


#: Gives the changes of one reading, and returns where the next one goes on.
Changes: TypeAlias = Generator[Change, None, str | None]


class Reading(Iterator[Change]):
    """The changes of one reading, where the vendor has a form of its own for how far it was read.

    ``cursor``: where the next reading goes on, known when this one is over, whether it told a change or none; None: at
    the newest ``changed_at``.
    """

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self.cursor: str | None = None

    def __next__(self) -> Change:
        try:
            return next(self._changes)
        except StopIteration as end:
            self.cursor = end.value or self.cursor
            raise


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """A webhook as it came in: raw bytes, headers with lower-case names, query parameters, and when we received it."""

    body: bytes
    headers: Mapping[str, str]
    query: Mapping[str, str]
    received_at: datetime


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """One verified event: a hint that ``resource`` ``vendor_id`` changed. ``version`` orders events of one object."""

    event_id: str
    resource: str
    vendor_id: str
    kind: str
    occurred_at: datetime
    version: str | None = None


class Guard(StrEnum):
    """How a system keeps a repeated write from making a second object."""

    EXTERNAL_ID = "upsert by an external id of ours"
    IDEMPOTENCY_KEY = "the vendor's idempotency key, and a look-up by our key after its window"
    FIND_THEN_CREATE = "a look-up by our key before each create"
    COMMIT = "nothing written counts until its own document code is committed, which may be repeated"
    READ_ONLY = "never written"


@dataclass(frozen=True, slots=True)
class Resource:
    """One row of a connector's RESOURCES table.

    ``path``: the vendor's name or path; ``id_field`` and ``key_field``: vendor fields of its id and of our key;
    ``guard``: how a duplicate is prevented; ``batch``: most records one ``upsert_many`` call to the vendor may carry;
    ``tells_deletions``: whether ``changes`` since a cursor also tells what is gone, or nothing of it ever goes;
    ``bulk``: most records of one ``upsert_many`` where a larger number than a batch goes another way; 0: it does not;
    ``read_as``: the resource whose mappings read its payload, where a setting says what is read (empty: its own).
    """

    path: str
    id_field: str
    key_field: str
    guard: Guard
    batch: int = 1
    tells_deletions: bool = False
    bulk: int = 0
    read_as: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of ``tieout doctor``: what was checked, whether it is well, and what to do when it is not."""

    check: str
    ok: bool
    detail: str
    cure: str = ""


class Connector(Protocol):
    """A vendor's wire behind five verbs. Raises only errors of ``core.errors``; never repeats a write by itself.

    ``upsert`` is idempotent on ``key``: a second call with the same key leaves one object at the vendor. When the
    answer to a write is lost it raises OutcomeUnknown, and the caller looks the key up with ``find``.
    """

    system: str
    resources: Mapping[str, Resource]

    def changes(self, resource: str, since: str | None) -> Iterator[Change]:
        """All records changed at or after the cursor ``since`` (opaque text; None: all), paged to the end.

        A ``Reading`` where the vendor gives a cursor.
        """
        ...

    def get(self, resource: str, vendor_id: str) -> Payload:
        """The record as it is now. Rejected when there is none."""
        ...

    def find(self, resource: str, key: ExternalKey) -> Receipt | None:
        """The Receipt of the object that carries our key, or None."""
        ...

    def upsert(self, resource: str, payload: Payload, key: ExternalKey) -> Receipt:
        """Create or update the one object that carries our key."""
        ...

    def upsert_many(self, resource: str, items: Sequence[tuple[Payload, ExternalKey]]) -> list[Outcome]:
        """Bulk ``upsert``: one outcome per item, in order. A fault of the whole call is raised."""
        ...

    def events(self, request: WebhookRequest) -> list[WebhookEvent]:
        """Verify and unpack a webhook. Rejected when it is forged, stale or malformed."""
        ...

    def check(self) -> list[Finding]:
        """What ``tieout doctor`` asks: reachable, credentials valid, permissions, custom fields, clock."""
        ...

    def close(self) -> None:
        """Release sockets. Calling it twice is harmless."""
        ...


@runtime_checkable
class Acknowledges(Protocol):
    """A connector whose vendor looks for a certain answer to its webhooks."""

    def acknowledge(self, events: Sequence[WebhookEvent], /) -> tuple[bytes, str]:
        """Body and content type of the answer, once the events are stored."""
        ...


class FieldKind(StrEnum):
    """What a field of another system takes; the value of a member is how a message names it."""

    TEXT = "text"
    NUMBER = "a number"
    BOOLEAN = "true or false"
    DATE = "a date"
    INSTANT = "an instant"
    OBJECT = "an object"
    LIST = "a list"
    ANYTHING = "anything"


@dataclass(frozen=True, slots=True)
class DescribedField:
    """One field of a resource, as its vendor describes it now.

    ``length``: most characters (None: not said). ``words``: the only values it takes (empty: any). ``required``: no
    record is created without it, and neither vendor nor connector fills it. ``fields``: those of an object, or of the
    items of a list (empty: not described). ``spelled``: its values cross the wire as text, whatever its kind.
    """

    kind: FieldKind
    length: int | None = None
    words: frozenset[str] = frozenset()
    required: bool = False
    writable: bool = True
    fields: Mapping[str, DescribedField] = field(default_factory=dict)
    spelled: bool = False


@runtime_checkable
class Describes(Protocol):
    """A connector whose vendor tells, at run time, which fields its records have."""

    def describe(self, resource: str, /) -> Mapping[str, DescribedField]:
        """The fields of a resource by name, asked anew; empty where the vendor does not describe it.

        Rejected when the vendor has no such record any more.
        """
        ...


@runtime_checkable
class KeepsBooks(Protocol):
    """A connector whose system is a general ledger that closes its own months."""

    def takes_postings(self, day: date, /) -> bool:
        """Whether a journal of that day would be taken now; asked anew."""
        ...


#: A Connector is made from its settings and the doors to the world.
ConnectorFactory = Callable[[Any, World], Connector]
