"""The stored border: inbox, outbox with leases, proofs of delivery, cursors.

Every change of state is one UPDATE that names the states it may start from, taken from ``core.sync``; the database
refuses any other. A worker whose lease was taken over changes no row and is told so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any, cast

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    TextClause,
    Update,
    and_,
    bindparam,
    exists,
    func,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from core.errors import TieBroken
from core.store import rows
from core.store.codec import CHUNK, Columns, Shape, chunks
from core.sync import (
    COMMAND_TRANSITIONS,
    INBOX_TRANSITIONS,
    UNDER_WAY,
    CommandState,
    InboxEvent,
    InboxState,
    OutboxCommand,
    SyncRecord,
    Watermark,
)


def table_of(row: Any) -> Table:
    return cast(Table, row.__table__)


INBOX, OUTBOX, SYNC, WATERMARK, REFUSED, TAX_DOCUMENT = map(
    table_of,
    (rows.InboxRow, rows.OutboxRow, rows.SyncRow, rows.WatermarkRow, rows.RefusedRow, rows.TaxDocumentRow),
)


def money_currency(noun: Any) -> str | None:
    return noun.money.currency if noun.money is not None else None


_INBOX = Shape(InboxEvent, rows.InboxRow)
_OUTBOX = Shape(OutboxCommand, rows.OutboxRow, extra={"currency": money_currency})
_SYNC = Shape(SyncRecord, rows.SyncRow)
_WATERMARK = Shape(Watermark, rows.WatermarkRow)


_DIALECTS: dict[str, Any] = {"postgresql": postgresql, "sqlite": sqlite}

#: States in which nobody has a command under way, so that it may be cancelled.
_CANCELLABLE = [state for state, targets in COMMAND_TRANSITIONS.items() if CommandState.CANCELLED in targets]


def _is_instant(position: str) -> bool:
    try:
        datetime.fromisoformat(position)
    except ValueError:
        return False
    return True


# Statements are made once: making one costs more than running it. Names that begin with "of" are bound when it is run.


def _of_record(table: Any) -> ColumnElement[bool]:
    """The rows of one record at one resource; bound by ``_record``."""
    return and_(
        table.c.system == bindparam("of_system"),
        table.c.resource == bindparam("of_resource"),
        table.c.record_id == bindparam("of_record"),
    )


def _record(system: str, resource: str, record_id: str) -> Columns:
    return {"of_system": system, "of_resource": resource, "of_record": record_id}


def _record_of(command: OutboxCommand) -> Columns:
    return _record(command.system, command.resource, command.record_id)


@cache
def _newest() -> Select[Any]:
    """The newest intent of a record."""
    return select(OUTBOX).where(_of_record(OUTBOX)).order_by(OUTBOX.c.sequence.desc()).limit(1).with_for_update()


@cache
def _known() -> Select[Any]:
    """Record, version and state of every intent for these records, the newest last."""
    return (
        select(OUTBOX.c.record_id, OUTBOX.c.version, OUTBOX.c.state)
        .where(OUTBOX.c.system == bindparam("of_system"), OUTBOX.c.resource == bindparam("of_resource"))
        .where(OUTBOX.c.record_id.in_(bindparam("of_records", expanding=True)))
        .order_by(OUTBOX.c.sequence)
    )


@cache
def _expired() -> Update:
    """Leases of a system that ran out: what they held may have been sent."""
    lapsed = OUTBOX.c.state == CommandState.SENDING, OUTBOX.c.lease_until < bindparam("of_now")
    return (
        update(OUTBOX)
        .where(OUTBOX.c.system == bindparam("of_system"), *lapsed)
        .values(state=CommandState.UNKNOWN, probe=True)
    )


@cache
def _leased() -> Update:
    return (
        update(OUTBOX)
        .where(OUTBOX.c.key.in_(bindparam("of_keys", expanding=True)))
        .values(
            state=CommandState.SENDING,
            lease_until=bindparam("of_lease"),
            fence=OUTBOX.c.fence + 1,
            attempts=OUTBOX.c.attempts + 1,
        )
    )


def _urgent_first(query: Select[Any]) -> Select[Any]:
    return query.order_by(OUTBOX.c.lane, OUTBOX.c.created_at, OUTBOX.c.key)


@cache
def _of_keys() -> Select[Any]:
    return _urgent_first(select(OUTBOX).where(OUTBOX.c.key.in_(bindparam("of_keys", expanding=True))))


@cache
def _awaited() -> Select[Any]:
    """What the parked commands of a system wait for."""
    parked = OUTBOX.c.system == bindparam("of_system"), OUTBOX.c.state == CommandState.PARKED
    return select(OUTBOX.c.waits_for).where(*parked).distinct()


@cache
def _settled(columns: tuple[str, ...]) -> Update:
    """Ends a lease by these columns, if it is still the caller's."""
    lease = OUTBOX.c.key == bindparam("of_key"), OUTBOX.c.state == CommandState.SENDING
    values: dict[str, Any] = {name: bindparam(f"of_{name}") for name in columns}
    return update(OUTBOX).where(*lease, OUTBOX.c.fence == bindparam("of_fence")).values(values)


@cache
def _woken() -> Update:
    return (
        update(OUTBOX)
        .where(OUTBOX.c.state == CommandState.PARKED, OUTBOX.c.waits_for == bindparam("of_waited"))
        .values(state=CommandState.PENDING, waits_for=None)
    )


@cache
def _superseded() -> Update:
    """Cancels what nobody has sent of a record and has a newer intent."""
    newer = OUTBOX.alias()
    has_newer = exists().where(_of_record(newer), newer.c.sequence > OUTBOX.c.sequence)
    return (
        update(OUTBOX)
        .where(_of_record(OUTBOX), OUTBOX.c.state.in_(_CANCELLABLE), has_newer)
        .values(state=CommandState.CANCELLED, waits_for=None)
    )


@cache
def _sent_before() -> Select[Any]:
    return select(
        exists().where(_of_record(OUTBOX), OUTBOX.c.sequence < bindparam("of_sequence"), OUTBOX.c.attempts > 0)
    )


@cache
def _proved() -> Select[Any]:
    return select(SYNC).where(_of_record(SYNC))


@cache
def _said() -> Select[Any]:
    return select(SYNC.c.payload).where(_of_record(SYNC))


@cache
def _free() -> Select[Any]:
    """Keys of events that nobody applies, in the order they were received."""
    lapsed = and_(INBOX.c.state == InboxState.APPLYING, INBOX.c.lease_until < bindparam("of_now"))
    return (
        select(INBOX.c.system, INBOX.c.event_id)
        .where(or_(INBOX.c.state == InboxState.RECEIVED, lapsed))
        .order_by(INBOX.c.received_at, INBOX.c.event_id)
        .limit(bindparam("of_most"))
        .with_for_update(skip_locked=True)
    )


@cache
def _ready() -> Select[tuple[str]]:
    """Keys of what is due at a system, the most urgent first: the versions of a record go one after the other."""
    earlier = OUTBOX.alias()
    under_way = exists().where(
        earlier.c.system == OUTBOX.c.system,
        earlier.c.resource == OUTBOX.c.resource,
        earlier.c.record_id == OUTBOX.c.record_id,
        earlier.c.sequence < OUTBOX.c.sequence,
        earlier.c.state.in_([CommandState.SENDING, CommandState.UNKNOWN]),
    )
    ready = select(OUTBOX.c.key).where(
        OUTBOX.c.system == bindparam("of_system"),
        OUTBOX.c.state.in_([CommandState.PENDING, CommandState.UNKNOWN]),
        OUTBOX.c.due_at <= bindparam("of_now"),
        ~under_way,
    )
    return _urgent_first(ready).limit(bindparam("of_most")).with_for_update(of=OUTBOX, skip_locked=True)


@cache
def _stands() -> Select[Any]:
    """The cursor of a resource."""
    return select(WATERMARK.c.position).where(
        WATERMARK.c.system == bindparam("of_system"), WATERMARK.c.resource == bindparam("of_resource")
    )


@cache
def _newest_applied() -> Select[Any]:
    """When the newest applied event of an object occurred."""
    return select(func.max(INBOX.c.occurred_at)).where(
        INBOX.c.system == bindparam("of_system"),
        INBOX.c.resource == bindparam("of_resource"),
        INBOX.c.vendor_id == bindparam("of_vendor"),
        INBOX.c.state == InboxState.APPLIED,
    )


@cache
def _ended() -> Update:
    """Ends the lease of an event, if it is still the caller's."""
    return (
        update(INBOX)
        .where(INBOX.c.system == bindparam("of_system"), INBOX.c.event_id == bindparam("of_event"))
        .where(INBOX.c.state == InboxState.APPLYING, INBOX.c.attempts == bindparam("of_attempts"))
        .values(state=bindparam("of_state"), lease_until=None)
    )


@cache
def _awake() -> Update:
    """Makes parked events ready again."""
    return update(INBOX).where(INBOX.c.state == InboxState.PARKED).values(state=InboxState.RECEIVED)


def _received(event: InboxEvent, body: bytes) -> Columns:
    return {**_INBOX.columns(event), "lease_until": None, "body": body}


class StoredTable:
    """A connection, and the insert that leaves an existing row as it is."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def _insert_new(self, table: Table, values: Columns) -> bool:
        """True when the row is new."""
        statement = _insert_of(table, self._connection.dialect.name, tuple(values))
        return self._connection.execute(statement, values).rowcount == 1

    def _replace(self, table: Table, values: Columns) -> None:
        self._connection.execute(_upsert_of(table, self._connection.dialect.name, tuple(values)), values)


@cache
def _insert_of(table: Table, dialect: str, columns: tuple[str, ...]) -> TextClause:
    """The insert of these columns that leaves an existing row as it is."""
    return _compiled(_DIALECTS[dialect].insert(table).on_conflict_do_nothing(), dialect, columns)


@cache
def _upsert_of(table: Table, dialect: str, columns: tuple[str, ...]) -> TextClause:
    """The insert that puts these columns in the place of those of an existing row."""
    key = [column.name for column in table.primary_key]
    statement = _DIALECTS[dialect].insert(table)
    changed = {name: statement.excluded[name] for name in columns if name not in key}
    return _compiled(statement.on_conflict_do_update(index_elements=key, set_=changed), dialect, columns)


def _compiled(statement: Any, dialect: str, columns: tuple[str, ...]) -> TextClause:
    """An insert of a dialect as text: SQLAlchemy 2.0 would compile it at each execution."""
    made = statement.compile(dialect=_DIALECTS[dialect].dialect(paramstyle="named"), column_keys=columns)
    return text(str(made)).bindparams(*(bindparam(name, type_=one.type) for name, one in made.binds.items()))


class Inbox(StoredTable):
    """Events as they came in; the same event is kept once."""

    def store(self, event: InboxEvent, body: bytes) -> bool:
        """Keeps an event with its raw body. False when it was there already."""
        return self._insert_new(INBOX, _received(event, body))

    def store_many(self, received: Sequence[tuple[InboxEvent, bytes]]) -> None:
        """Keeps many events with their raw bodies, those that are there already as they are."""
        kept = [_received(event, body) for event, body in received]
        if kept:
            self._connection.execute(_insert_of(INBOX, self._connection.dialect.name, tuple(kept[0])), kept)

    def claim(self, limit: int, now: datetime, lease: timedelta) -> list[InboxEvent]:
        """Leases up to ``limit`` events to the caller, in the order they were received.

        Applying an event is repeatable, so one whose lease ran out is simply leased again.
        """
        keys = self._connection.execute(_free(), {"of_now": now, "of_most": limit}).all()
        if not keys:
            return []
        claimed = tuple_(INBOX.c.system, INBOX.c.event_id).in_([tuple(key) for key in keys])
        self._connection.execute(
            update(INBOX)
            .where(claimed)
            .values(state=InboxState.APPLYING, lease_until=now + lease, attempts=INBOX.c.attempts + 1)
        )
        query = select(INBOX).where(claimed).order_by(INBOX.c.received_at, INBOX.c.event_id)
        return [_INBOX.noun_of(cast(Any, row), {}) for row in self._connection.execute(query).mappings()]

    def wake(self) -> int:
        """Makes parked events ready again; gives how many."""
        return self._connection.execute(_awake()).rowcount

    def replay(self, system: str, event_id: str) -> bool:
        """Makes a rejected or applied event ready again. False when it is in another state."""
        again = self._connection.execute(
            update(INBOX)
            .where(INBOX.c.system == system, INBOX.c.event_id == event_id)
            .where(INBOX.c.state.in_([InboxState.REJECTED, InboxState.APPLIED, InboxState.PARKED]))
            .values(state=InboxState.RECEIVED)
        )
        return bool(again.rowcount)

    def retry(self, system: str, resource: str, vendor_id: str) -> bool:
        """Makes the rejected events of an object ready again. False when there are none."""
        again = self._connection.execute(
            update(INBOX)
            .where(INBOX.c.system == system, INBOX.c.resource == resource, INBOX.c.vendor_id == vendor_id)
            .where(INBOX.c.state == InboxState.REJECTED)
            .values(state=InboxState.RECEIVED)
        )
        return bool(again.rowcount)

    def find(
        self,
        *,
        limit: int = 1000,
        since: datetime | None = None,
        until: datetime | None = None,
        **equal: str | Sequence[str] | None,
    ) -> list[InboxEvent]:
        """Events whose columns equal the values (None: any; a list: any of them), the newest first.

        ``since`` (inclusive), ``until`` (exclusive): when they were received.
        """
        query = select(INBOX).order_by(INBOX.c.received_at.desc(), INBOX.c.event_id).limit(limit)
        if since is not None:
            query = query.where(INBOX.c.received_at >= since)
        if until is not None:
            query = query.where(INBOX.c.received_at < until)
        for name, value in equal.items():
            if value is not None:
                column = INBOX.c[name]
                query = query.where(column == value if isinstance(value, str) else column.in_(value))
        return [_INBOX.noun_of(cast(Any, row), {}) for row in self._connection.execute(query).mappings()]

    def objects(self, system: str, resource: str, vendor_ids: Sequence[str]) -> set[str]:
        """Those of these objects of which there is an event."""
        heard = select(INBOX.c.vendor_id).where(INBOX.c.system == system, INBOX.c.resource == resource).distinct()
        return {
            ident
            for part in chunks(vendor_ids)
            for ident in self._connection.execute(heard.where(INBOX.c.vendor_id.in_(part))).scalars()
        }

    def waiting(self, system: str, resource: str) -> int:
        """Events of a resource that are not applied yet, or were refused."""
        open_states = [InboxState.RECEIVED, InboxState.APPLYING, InboxState.PARKED, InboxState.REJECTED]
        where = and_(INBOX.c.system == system, INBOX.c.resource == resource, INBOX.c.state.in_(open_states))
        return int(self._connection.execute(select(func.count()).select_from(INBOX).where(where)).scalar_one())

    def count_refused(self, system: str, reason: str, number: int, at: datetime) -> None:
        """Adds to the requests that were refused on that day (UTC)."""
        dialect = _DIALECTS[self._connection.dialect.name]
        values = {"system": system, "reason": reason, "day": at.astimezone(UTC).date(), "number": number, "last_at": at}
        counted = dialect.insert(REFUSED).values(values)
        self._connection.execute(
            counted.on_conflict_do_update(
                index_elements=["system", "reason", "day"],
                set_={"number": REFUSED.c.number + counted.excluded.number, "last_at": at},
            )
        )

    def refused(self, limit: int = 100) -> list[tuple[str, str, date, int]]:
        """System, reason, day and number of refused requests, the newest day first."""
        columns = REFUSED.c.system, REFUSED.c.reason, REFUSED.c.day, REFUSED.c.number
        query = select(*columns).order_by(REFUSED.c.day.desc(), REFUSED.c.system, REFUSED.c.reason).limit(limit)
        return [(row.system, row.reason, row.day, row.number) for row in self._connection.execute(query)]

    def get(self, system: str, event_id: str) -> InboxEvent | None:
        query = select(INBOX).where(INBOX.c.system == system, INBOX.c.event_id == event_id)
        row = self._connection.execute(query).mappings().first()
        return None if row is None else _INBOX.noun_of(cast(Any, row), {})

    def newest_applied(self, system: str, resource: str, vendor_id: str) -> datetime | None:
        """When the newest applied event of an object occurred, or None."""
        of_object = {"of_system": system, "of_resource": resource, "of_vendor": vendor_id}
        return cast("datetime | None", self._connection.execute(_newest_applied(), of_object).scalar())

    def settle(self, event: InboxEvent, state: InboxState) -> bool:
        """Ends the caller's lease. False when it was taken over: the later holder settles the event.

        TieBroken when ``state`` may not follow.
        """
        if state not in INBOX_TRANSITIONS[InboxState.APPLYING]:
            raise TieBroken("inbox state follows its graph", subject=event.event_id, left=event.state, right=state)
        lease = {"of_system": event.system, "of_event": event.event_id, "of_attempts": event.attempts}
        return bool(self._connection.execute(_ended(), {**lease, "of_state": state}).rowcount)

    def counts(self) -> dict[str, int]:
        """Events per state."""
        query = select(INBOX.c.state, func.count()).group_by(INBOX.c.state)
        return {row.state: row[1] for row in self._connection.execute(query)}


class Outbox(StoredTable):
    """Commands, their leases, and the proof that they were carried out."""

    def enqueue(self, commands: Iterable[OutboxCommand]) -> list[OutboxCommand]:
        """Stores intents and gives back the new ones.

        A record whose newest intent has the same version is not intended again. A newer version cancels the older
        ones of the same record that nobody has sent yet.
        """
        wanted = list(commands)
        known = self._known(wanted)
        stored: list[OutboxCommand] = []
        for one in wanted:
            record = one.system, one.resource, one.record_id
            if record not in known and self._insert(one):
                stored.append(one)
            elif known.pop(record, None) != one.version and (command := self._intend(one)):
                stored.append(command)
        return stored

    def _known(self, wanted: Sequence[OutboxCommand]) -> dict[tuple[str, str, str], str]:
        """The version of the newest intent of each of these records that has one which is not cancelled."""
        places: dict[tuple[str, str], list[str]] = {}
        for one in wanted:
            places.setdefault((one.system, one.resource), []).append(one.record_id)
        known: dict[tuple[str, str, str], str] = {}
        for (system, resource), ids in places.items():
            for part in chunks(ids):
                bound = {"of_system": system, "of_resource": resource, "of_records": part}
                for record_id, version, state in self._connection.execute(_known(), bound):
                    known[system, resource, record_id] = "" if state == CommandState.CANCELLED else version
        return known

    def _intend(self, wanted: OutboxCommand) -> OutboxCommand | None:
        while True:
            row = self._connection.execute(_newest(), _record_of(wanted)).mappings().first()
            last = None if row is None else _OUTBOX.noun_of(cast(Any, row), {})
            if last is not None and last.version == wanted.version and last.state is not CommandState.CANCELLED:
                return None
            command = wanted if last is None else wanted.after(last)
            # False: another worker stored an intent of this record in between; look again.
            if self._insert(command):
                break
        if last is not None:
            self._cancel_superseded(command)
        return command

    def repeat(self, done: OutboxCommand, now: datetime) -> OutboxCommand:
        """Intends once more what was carried out, because its system does not hold it as it was written any more."""
        last = self.of_record(done.system, done.resource, done.record_id)[-1]
        if last.state is not CommandState.DONE:
            return last
        command = done.after(last).model_copy(
            update={"state": CommandState.PENDING, "attempts": 0, "fence": 0, "probe": False}
            | {"waits_for": None, "created_at": now, "due_at": now}
        )
        self._insert(command)
        return command

    def _insert(self, command: OutboxCommand) -> bool:
        """False when this record has an intent of that sequence already."""
        return self._insert_new(OUTBOX, {**_OUTBOX.columns(command), "lease_until": None})

    def _cancel_superseded(self, command: OutboxCommand) -> None:
        """Cancels what nobody has sent of a record and has a newer intent."""
        self._connection.execute(_superseded(), _record_of(command))

    def claim(
        self, system: str, limit: int, now: datetime, lease: timedelta, only: Sequence[str] | None = None
    ) -> list[OutboxCommand]:
        """Leases up to ``limit`` commands of a system (``only``: of these keys) to the caller, the most urgent first.

        A command whose lease ran out may have been sent, so it comes back with ``probe`` set. The versions of one
        record go one after the other: none is leased while an earlier one is under way.
        """
        self._connection.execute(_expired(), {"of_system": system, "of_now": now})
        keys = self._ready(system, limit, now, only)
        if not keys and only is None and self._wake_proved(system):
            keys = self._ready(system, limit, now)
        if not keys:
            return []
        self._connection.execute(_leased(), {"of_keys": keys, "of_lease": now + lease})
        return self._commands(_of_keys(), {"of_keys": keys})

    def _ready(self, system: str, limit: int, now: datetime, only: Sequence[str] | None = None) -> list[str]:
        ready = _ready() if only is None else _ready().where(OUTBOX.c.key.in_(only))
        found = self._connection.execute(ready, {"of_system": system, "of_now": now, "of_most": limit})
        return [row.key for row in found]

    def _wake_proved(self, system: str) -> bool:
        """Wakes what parked in the very moment when its dependency was proved, and so missed the call.

        Not while a newer version of that is under way: that may be what is waited for, and its proof wakes as well.
        """
        awaited = self._connection.execute(_awaited(), {"of_system": system}).scalars()
        records = [key.split(":", 2) for key in awaited if key and key.count(":") >= 2]
        proved = [one for one in records if self.proof(*one) and not self._is_under_way(*one)]
        return sum(self.wake(":".join(one)) for one in proved) > 0

    def _is_under_way(self, system: str, resource: str, record_id: str) -> bool:
        return any(one.state in UNDER_WAY for one in self.of_record(system, resource, record_id))

    def renew(self, commands: Sequence[OutboxCommand], until: datetime) -> list[OutboxCommand]:
        """Prolongs the caller's leases, and gives back the commands it still holds."""
        held = self._connection.execute(
            update(OUTBOX)
            .where(tuple_(OUTBOX.c.key, OUTBOX.c.fence).in_([(command.key, command.fence) for command in commands]))
            .where(OUTBOX.c.state == CommandState.SENDING)
            .values(lease_until=until)
            .returning(OUTBOX.c.key)
        )
        keys = set(held.scalars())
        return [command for command in commands if command.key in keys]

    def settle(
        self,
        command: OutboxCommand,
        state: CommandState,
        *,
        due_at: datetime | None = None,
        waits_for: str | None = None,
    ) -> bool:
        """Ends the caller's lease with a new state. False when it was taken over: the later holder settles the command.

        Once a command may have been sent it keeps ``probe`` until it is proved. One that has a newer intent and
        is not under way any more is cancelled. TieBroken when ``state`` may not follow.
        """
        if state not in COMMAND_TRANSITIONS[CommandState.SENDING]:
            raise TieBroken("outbox state follows its graph", subject=command.key, left=command.state, right=state)
        values: Columns = {"state": state, "waits_for": waits_for, "lease_until": None}
        if due_at is not None:
            values["due_at"] = due_at
        if state is CommandState.UNKNOWN:
            values["probe"] = True
        bound = {f"of_{name}": value for name, value in values.items()}
        lease = {"of_key": command.key, "of_fence": command.fence}
        settled = self._connection.execute(_settled(tuple(values)), bound | lease)
        if settled.rowcount and state in _CANCELLABLE:
            self._cancel_superseded(command)
        return bool(settled.rowcount)

    def prove(self, command: OutboxCommand, proof: SyncRecord, payload: str | None = None) -> bool:
        """Ends a command as done, with its proof, and wakes what waited for it. False when its lease was taken over.

        ``payload``: what was written, as JSON text.
        """
        if not self.settle(command, CommandState.DONE):
            return False
        self._replace(SYNC, {**_SYNC.columns(proof), "payload": payload})
        self.wake(f"{proof.system}:{proof.resource}:{proof.record_id}")
        return True

    def believe(self, proof: SyncRecord) -> None:
        """Keeps a proof with another answer: what its system shows now is what we agreed on."""
        self._replace(SYNC, _SYNC.columns(proof))

    def wake(self, waits_for: str) -> int:
        """Makes parked commands that wait for exactly this pending again."""
        return self._connection.execute(_woken(), {"of_waited": waits_for}).rowcount

    def retry(self, key: str, now: datetime) -> bool:
        """Makes a rejected or parked command pending again. False when it is in another state."""
        retried = self._connection.execute(
            update(OUTBOX)
            .where(OUTBOX.c.key == key, OUTBOX.c.state.in_([CommandState.REJECTED, CommandState.PARKED]))
            .values(state=CommandState.PENDING, waits_for=None, due_at=now)
        )
        return bool(retried.rowcount)

    def cancel(self, key: str) -> bool:
        """Ends a command that nobody may have sent, and wakes what waits for it. False when it is in another state."""
        cancelled = self._connection.execute(
            update(OUTBOX)
            .where(OUTBOX.c.key == key, OUTBOX.c.state.in_(_CANCELLABLE))
            .values(state=CommandState.CANCELLED, waits_for=None)
            .returning(OUTBOX.c.system, OUTBOX.c.resource, OUTBOX.c.record_id)
        ).first()
        if cancelled is not None:
            self.wake(":".join(cancelled))
        return cancelled is not None

    def get(self, key: str) -> OutboxCommand | None:
        return next(iter(self._select(OUTBOX.c.key == key)), None)

    def of_record(self, system: str, resource: str, record_id: str) -> list[OutboxCommand]:
        """Every intent for one record at one resource."""
        where = and_(OUTBOX.c.system == system, OUTBOX.c.resource == resource, OUTBOX.c.record_id == record_id)
        return self._select(where)

    def under_way(self, system: str, *resources: str) -> list[OutboxCommand]:
        """The intents at some resources that are under way."""
        where = OUTBOX.c.system == system, OUTBOX.c.resource.in_(resources), OUTBOX.c.state.in_(UNDER_WAY)
        return self._select(and_(*where))

    def sent_before(self, command: OutboxCommand) -> bool:
        """Whether an earlier version of its record may have been sent."""
        earlier = {**_record_of(command), "of_sequence": command.sequence}
        return command.sequence > 1 and bool(self._connection.execute(_sent_before(), earlier).scalar_one())

    def in_state(self, *states: CommandState, system: str | None = None) -> list[OutboxCommand]:
        where = OUTBOX.c.state.in_(states)
        return self._select(where if system is None else and_(where, OUTBOX.c.system == system))

    def counts(self, system: str | None = None) -> dict[str, int]:
        """Commands per state."""
        query = select(OUTBOX.c.state, func.count()).group_by(OUTBOX.c.state)
        if system is not None:
            query = query.where(OUTBOX.c.system == system)
        return {row.state: row[1] for row in self._connection.execute(query)}

    def proof(self, system: str, resource: str, record_id: str) -> SyncRecord | None:
        """The proof that a system holds a record of ours, or None."""
        row = self._connection.execute(_proved(), _record(system, resource, record_id)).mappings().first()
        return None if row is None else _SYNC.noun_of(cast(Any, row), {})

    def last_payload(self, system: str, resource: str, record_id: str) -> str | None:
        """What was written last of a record, as JSON text."""
        said = self._connection.execute(_said(), _record(system, resource, record_id))
        return cast("str | None", said.scalar())

    def sent(self, system: str, resource: str, since: datetime | None = None) -> Iterator[tuple[SyncRecord, str]]:
        """Proofs of a resource at or after ``since`` (None: all), with what was written, ordered by our id; read as
        they are asked for."""
        query = select(SYNC).where(SYNC.c.system == system, SYNC.c.resource == resource, SYNC.c.payload.is_not(None))
        if since is not None:
            query = query.where(SYNC.c.synced_at >= since)
        query = query.order_by(SYNC.c.record_id).execution_options(yield_per=1000)
        for row in self._connection.execute(query).mappings():
            yield _SYNC.noun_of(cast(Any, row), {}), row["payload"]

    def proofs(self, system: str, resource: str, **equal: Any) -> list[SyncRecord]:
        """Proofs of a resource whose columns equal the values (a list: any of them), ordered by our id."""
        for name, value in equal.items():
            if isinstance(value, list) and len(value) > CHUNK:
                parts = [self.proofs(system, resource, **{**equal, name: part}) for part in chunks(value)]
                return sorted((proof for part in parts for proof in part), key=lambda proof: proof.record_id)
        query = select(SYNC).where(SYNC.c.system == system, SYNC.c.resource == resource)
        for name, value in equal.items():
            query = query.where(SYNC.c[name].in_(value) if isinstance(value, list) else SYNC.c[name] == value)
        found = [_SYNC.noun_of(cast(Any, row), {}) for row in self._connection.execute(query).mappings()]
        return sorted(found, key=lambda proof: proof.record_id)

    def answers_not_kept(self, system: str, resource: str) -> list[SyncRecord]:
        """Proofs of a resource that a tax engine answers with a document, of which no document is kept yet."""
        kept = exists().where(TAX_DOCUMENT.c.vendor_id == SYNC.c.vendor_id)
        query = select(SYNC).where(SYNC.c.system == system, SYNC.c.resource == resource, ~kept)
        found = self._connection.execute(query.order_by(SYNC.c.record_id)).mappings()
        return [_SYNC.noun_of(cast(Any, row), {}) for row in found]

    def proofs_of(self, record_ids: Sequence[str]) -> list[SyncRecord]:
        """Every proof, at any system, of records with these ids."""
        found = [
            _SYNC.noun_of(cast(Any, row), {})
            for part in chunks(record_ids)
            for row in self._connection.execute(select(SYNC).where(SYNC.c.record_id.in_(part))).mappings()
        ]
        return sorted(found, key=lambda proof: (proof.synced_at, proof.system, proof.resource))

    def proofs_of_vendor_id(self, vendor_id: str) -> list[SyncRecord]:
        """Every proof in which a system calls its object by this id."""
        query = select(SYNC).where(SYNC.c.vendor_id == vendor_id).order_by(SYNC.c.system, SYNC.c.resource)
        return [_SYNC.noun_of(cast(Any, row), {}) for row in self._connection.execute(query).mappings()]

    def intended(self, resource: str, since: datetime) -> set[str]:
        """The records of which something was intended from an instant on, at whichever system."""
        query = select(OUTBOX.c.record_id).where(OUTBOX.c.resource == resource, OUTBOX.c.created_at >= since)
        return set(self._connection.execute(query).scalars())

    def watermark(self, system: str, resource: str) -> str | None:
        stands = self._connection.execute(_stands(), {"of_system": system, "of_resource": resource})
        return cast("str | None", stands.scalar())

    def move_watermark(self, mark: Watermark) -> None:
        """Moves a cursor. An instant never moves back: TieBroken; cursors of a vendor's own form have no order."""
        stands = self.watermark(mark.system, mark.resource)
        if stands is not None and _is_instant(stands) and _is_instant(mark.position) and mark.position < stands:
            raise TieBroken("a cursor never moves back", subject=mark.resource, left=stands, right=mark.position)
        self._replace(WATERMARK, _WATERMARK.columns(mark))

    def _select(self, where: Any) -> list[OutboxCommand]:
        return self._commands(_urgent_first(select(OUTBOX).where(where)), {})

    def _commands(self, query: Select[Any], bound: Columns) -> list[OutboxCommand]:
        return [_OUTBOX.noun_of(cast(Any, row), {}) for row in self._connection.execute(query, bound).mappings()]
