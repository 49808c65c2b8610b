"""Check mappings: what every mapping rests on, beside what its vendor says of its fields now.

Each field that does not fit is an incident on the error desk, with the flow and the records it affects, until it fits
again. Nothing is changed at any system.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from core.errors import Rejected, SchemaDrift, TieoutError
from core.mapping import Mapping as MappingFile
from core.mapping.drift import Drift, DriftKind, Fields, drifts
from core.money import Money
from core.ports import Connector, Describes
from core.store import Work
from core.sync import CommandState, DeskEntry, OutboxCommand
from flows import desk
from flows.context import Hub, hub
from flows.report import Report, amounts, conclude, counted, sum_by_currency

#: The flow that stops when a record cannot be taken in.
SERVES: Mapping[str, str] = {
    "order": "Take in orders and payments",
    "payment": "Take in orders and payments",
    "settlement": "Book gateway settlements",
    "tax_document": "Finalise invoices",
    "figure": "Tie out",
}
DELIVERY = "Deliver to all systems"

#: Commands that still need the mapping.
OPEN = (
    CommandState.PENDING,
    CommandState.UNKNOWN,
    CommandState.SENDING,
    CommandState.PARKED,
    CommandState.REJECTED,
)


@dataclass(frozen=True, slots=True)
class Affected:
    """What a field that does not fit stops: the flow, records sent with it, records that wait, their money."""

    flow: str
    sent: int
    waiting: int
    money: tuple[Money, ...]

    def __str__(self) -> str:
        at_risk = f", {amounts(self.money)}" if self.money else ""
        sent = f"; {counted(self.sent, 'record')} sent with it" if self.sent else ""
        return f"stops {self.flow}: {counted(self.waiting, 'record')} waiting{at_risk}{sent}"


def check_system(hub: Hub, system: str) -> Report:
    """Compares every mapping of a system with what it describes now; incidents that are gone are resolved."""
    connector = hub.connector(system)
    mappings = [one for one in hub.mappings if one.system == system]
    if not isinstance(connector, Describes):
        return Report(f"{system}: no describe at this vendor; its fields are those of its published API version")
    described = {resource: _described(connector, resource) for resource in {one.resource for one in mappings}}
    found: list[tuple[Drift, Affected]] = []
    with hub.database.reading() as work:
        waiting = work.outbox.in_state(*OPEN, system=system)
        for one in mappings:
            kept = work.outbox.sent(system, one.resource) if one.direction == "out" else ()
            sent = [json.loads(payload) for _, payload in kept]
            differ = _drifts(connector, one, described[one.resource], sent)
            found += [(drift, _affected(work, drift, waiting, sent)) for drift in differ]
    entries = [_entry(hub, drift, affected) for drift, affected in found]
    resolved = _settle(hub, system, entries)
    outcome = f"{counted(len(found), 'field')} not as the files say" if found else "all fit"
    return Report(
        f"{system}: {counted(len(mappings), 'mapping')} checked, {outcome}",
        counts={"mappings": len(mappings), "differences": len(found), "resolved": resolved},
        rows=[_row(drift, affected) for drift, affected in found],
        failures=entries,
    )


def _described(connector: Describes, resource: str) -> Fields | None:
    """None: the vendor has no such record any more."""
    try:
        return connector.describe(resource)
    except Rejected:
        return None


def _drifts(connector: Connector, mapping: MappingFile, there: Fields | None, sent: Sequence[Any]) -> list[Drift]:
    if there is not None:
        return drifts(mapping, there, sent)
    named = connector.resources[mapping.resource].path
    return [Drift(mapping, named, DriftKind.MISSING, "there is no such record any more")]


def _affected(work: Work, drift: Drift, waiting: Iterable[OutboxCommand], sent: Sequence[Any]) -> Affected:
    one = drift.mapping
    if one.direction == "in":
        return Affected(SERVES.get(one.record, DELIVERY), 0, work.inbox.waiting(one.system, one.resource), ())
    mine = [command for command in waiting if (command.resource, command.record) == (one.resource, one.record)]
    money = sum_by_currency(command.money for command in mine if command.money)
    carried = sum(_holds(payload, drift.field.split(".")) for payload in sent)
    return Affected(DELIVERY, carried, len(mine), tuple(money))


def _holds(value: Any, path: list[str]) -> bool:
    """Whether a payload says something at a dotted field; a list does when an item of it does."""
    if isinstance(value, list):
        return any(_holds(item, path) for item in value)
    if not path:
        return True
    return isinstance(value, dict) and path[0] in value and _holds(value[path[0]], path[1:])


def _entry(hub: Hub, drift: Drift, affected: Affected) -> DeskEntry:
    one = drift.mapping
    error = SchemaDrift(f"{drift.detail}; {affected}", file=one.file, field=drift.field, code=drift.kind)
    ident = f"mapping:{one.file}/{drift.field}"
    money = max(affected.money, key=lambda money: money.minor, default=None)
    return desk.entry(error, ident, one.system, one.record, f"{one.resource}.{drift.field}", hub.now(), money)


def _settle(hub: Hub, system: str, entries: list[DeskEntry]) -> int:
    """Puts the incidents on the desk and resolves those that are gone; gives how many."""
    now_open = {entry.id for entry in entries}
    with hub.database.work() as work:
        for entry in entries:
            work.desk.report(entry)
        known = work.desk.open(system=system, cause=SchemaDrift.__name__)
        return sum(work.desk.resolve(entry.id) for entry in known if entry.id not in now_open)


def _row(drift: Drift, affected: Affected) -> dict[str, str]:
    return {
        "system": drift.mapping.system,
        "file": drift.mapping.file,
        "field": drift.field,
        "difference": drift.kind.replace("_", " "),
        "what": drift.detail,
        "affects": str(affected),
    }


def check_all(hub: Hub, system: str = "") -> Report:
    """Every system in use (or the one named), each by itself: one that does not answer stands on the desk."""
    total = Report("")
    told: list[str] = []
    for name in [system] if system else hub.systems:
        try:
            report = check_system(hub, name)
        except TieoutError as error:
            failure = desk.entry(error, f"system:{name}", name, "system", name, hub.now())
            with hub.database.work() as work:
                work.desk.report(failure)
            report = Report(f"{name}: could not be asked", failures=[failure])
        told.append(report.headline)
        total.rows += report.rows
        total.failures += report.failures
        total.counts = dict(Counter(total.counts) + Counter(report.counts))
    total.headline = "; ".join(told)
    return total


@flow(
    name="Check mappings",
    description="Compares every mapping with the fields that its system describes now: missing, of another type, too "
    "short, without a value that is sent, newly demanded, read-only. Writes nothing to any system.",
)
def check_mappings(system: str = "") -> State[Any]:
    return conclude("Check mappings", check_all(hub(), system))
