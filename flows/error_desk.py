"""What operators do with failed records: retry, edit, ignore, assign, note. Each act is told to the audit.

An edit changes the noun of the intent, never the payload: what the noun demands is checked, the mapping goes on to make
the payload, and the proof names a version that says what was sent. What ties (money, quantities, ids, dates) is not
edited here, since our books would then say something else than the system; it is cured at its source.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from core.audit import Act, Deed
from core.mapping.records import RECORDS
from core.noun import Noun
from core.store import Work
from core.sync import CommandState, DeskEntry, OutboxCommand
from flows.context import Hub


@dataclass(frozen=True, slots=True)
class Filters:
    """Which open entries of the desk; None: any. ``id``: one of these; ``since``: failed then or later."""

    system: str | None = None
    record: str | None = None
    cause: str | None = None
    cluster: str | None = None
    owner: str | None = None
    since: datetime | None = None
    id: Set[str] | None = None

    def found(self, work: Work, limit: int) -> list[DeskEntry]:
        """The most money at risk first."""
        return work.desk.open(
            limit=limit,
            system=self.system,
            record=self.record,
            cause=self.cause,
            cluster=self.cluster,
            owner=self.owner,
            since=self.since,
            id=self.id,
        )


def retry(hub: Hub, work: Work, entry: DeskEntry, who: str) -> bool:
    """Makes the record of an entry pending again, or asks anew for an answer. False when its kind cannot be retried.

    The entry stays open until the record succeeds.
    """
    kind, _, ident = entry.id.partition(":")
    match kind, ident.split("/", 2):
        case "outbox", [system, resource, record_id]:
            commands = work.outbox.of_record(system, resource, record_id)
            done = any(work.outbox.retry(command.key, hub.now()) for command in commands)
        case "answer", [system, resource, record_id]:
            asked = work.outbox.of_record(system, resource, record_id)[-1:]
            done = any(work.outbox.repeat(command, hub.now()) for command in asked)
        case "inbox", [system, resource, vendor_id]:
            done = work.inbox.retry(system, resource, vendor_id)
        case _:
            done = False
    if done:
        _tell(hub, work, entry, Act.RETRIED, who)
    return done


def ignore(hub: Hub, work: Work, entry: DeskEntry, who: str, reason: str) -> bool:
    """Ends an entry by decision; its record is not sent. ValueError without a reason."""
    if not reason.strip():
        raise ValueError("say why it may be ignored")
    return work.desk.ignore(entry.id, reason) and _tell(hub, work, entry, Act.IGNORED, who, reason=reason)


def assign(hub: Hub, work: Work, entry: DeskEntry, who: str, owner: str | None) -> bool:
    """Says who takes care of an entry (None: nobody)."""
    before = entry.owner
    return work.desk.assign(entry.id, owner) and _tell(hub, work, entry, Act.ASSIGNED, who, before=before, after=owner)


def note(hub: Hub, work: Work, entry: DeskEntry, who: str, text: str) -> bool:
    """Keeps a remark; the audit keeps those of before."""
    return work.desk.note(entry.id, text) and _tell(hub, work, entry, Act.NOTED, who, note=text)


def edit_and_retry(
    hub: Hub, work: Work, entry: DeskEntry, who: str, changes: Mapping[str, str], reason: str
) -> OutboxCommand:
    """Intends the record of an entry anew with other texts: ``{"billing_address.city": "Denver"}``.

    ``changes``: path in the noun (list items by their position) to the new text. ValueError, naming the path, when the
    entry is no command that failed, when a path is not a text that may be edited, or when the noun refuses it.
    """
    command = _failed_command(work, entry)
    body = json.loads(command.body)
    before = {path: _replace(body, path, value) for path, value in changes.items()}
    kind = RECORDS[command.record]
    try:
        noun: Noun = kind.model_validate_json(json.dumps(body))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    intent = command.system, command.resource, command.record, noun, hub.now()
    wanted = OutboxCommand.of(*intent, money=command.money, lane=command.lane)
    stored = work.outbox.enqueue([wanted])
    if not stored:
        raise ValueError(f"{entry.record} {entry.record_id} says so already; retry it as it is")
    mask = hub.mask
    told = {path: {"before": mask.text(before[path]), "after": mask.text(changes[path])} for path in changes}
    _tell(hub, work, entry, Act.EDITED, who, reason=reason, fields=told, command=stored[0].key, instead_of=command.key)
    return stored[0]


def _failed_command(work: Work, entry: DeskEntry) -> OutboxCommand:
    kind, _, ident = entry.id.partition(":")
    parts = ident.split("/", 2)
    commands = work.outbox.of_record(*parts) if kind == "outbox" and len(parts) == 3 else []
    newest = max(commands, key=lambda one: one.sequence, default=None)
    if newest is None or newest.state not in (CommandState.REJECTED, CommandState.PARKED):
        raise ValueError(f"{entry.id} is no command that failed; only those can be edited, cure it at its source")
    return newest


#: Names of fields whose texts are keys of ours or take part in a tie.
_FIXED = ("id", "code", "currency", "system", "status", "version")


def _replace(body: Any, path: str, value: str) -> str:
    """Puts a text in the place of another one; gives that."""
    *parents, last = path.split(".")
    where = body
    try:
        for part in parents:
            where = where[int(part)] if isinstance(where, list) else where[part]
        held = where[last]
    except (KeyError, IndexError, ValueError, TypeError):
        raise ValueError(f"there is no field {path}") from None
    fixed = any(last == name or last.endswith(f"_{name}") for name in _FIXED)
    if not isinstance(held, str) or fixed or _is_exact(held):
        raise ValueError(f"{path} is no free text; cure it at its source, or our books would say something else")
    where[last] = value
    return held


def _is_exact(text: str) -> bool:
    """Whether a JSON text spells a number, a date or an instant."""
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return text.replace(".", "", 1).lstrip("-").isdecimal()
    return True


def _tell(hub: Hub, work: Work, entry: DeskEntry, act: Act, who: str, **detail: Any) -> bool:
    told = {"error": entry.id, **detail}
    work.audit.tell(Deed(hub.now(), who, act, entry.system, entry.record, entry.record_id, told))
    return True
