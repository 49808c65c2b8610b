"""Breaks: what people do with them, and how they are mended. Each act is told to the audit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from core.audit import Act, Deed
from core.breaks import KINDS, SAFE, Repair
from core.errors import Rejected
from core.plan import Plan
from core.store import Work
from core.sync import CommandState, OutboxCommand
from core.ties import Break
from flows.context import Hub
from flows.plan_delivery import plan_delivery

#: What each record of a tie is called where it is written: the resource of the outbox.
RESOURCES = {"charge": "payment", "erp_refund": "refund", "tax_document": "tax_document"}


def find(hub: Hub, ident: str) -> Break:
    """A Break by its id. ValueError when there is none."""
    with hub.database.reading() as work:
        found = work.get(Break, ident)
    if found is None:
        raise ValueError(f"there is no break {ident!r}; `tieout breaks list` shows those that stand")
    return found


def standing(hub: Hub, **equal: Any) -> list[Break]:
    """The Breaks that are not closed and whose fields equal the values (None: any), the gravest money first."""
    with hub.database.reading() as work:
        found = work.find(Break, closed_at=None)
    wanted = {name: value for name, value in equal.items() if value is not None}
    found = [one for one in found if all(getattr(one, name) == value for name, value in wanted.items())]
    return sorted(found, key=lambda one: (one.explained is not None, -abs(one.difference.minor), one.id))


def row(one: Break, now: datetime) -> dict[str, str]:
    """A Break as the tables show it."""
    return {
        "break": one.id,
        "kind": one.kind,
        "severity": one.severity,
        "system": one.system,
        "record": one.subject,
        "left": f"{one.left_name} {one.left}",
        "right": f"{one.right_name} {one.right}",
        "days": str(one.age(now).days),
        "owner": one.owner,
        "explained": one.explained or "",
        "what": one.detail or one.cause,
        "cure": one.cure,
    }


def assign(hub: Hub, one: Break, who: str, owner: str | None) -> None:
    """Says who takes care of a Break (None: the role of its kind)."""
    _change(hub, one, who, Act.ASSIGNED, owner=owner or KINDS[one.kind].owner)


def note(hub: Hub, one: Break, who: str, text: str) -> None:
    """Keeps a remark on a Break, in place of the last one."""
    _change(hub, one, who, Act.NOTED, note=text)


def explain(hub: Hub, one: Break, who: str, reason: str) -> None:
    """Says why a Break may stand: it is no difference that stops a close any more, as long as its figures stay.

    ValueError without a reason.
    """
    if not reason.strip():
        raise ValueError("say why it may stand")
    _change(hub, one, who, Act.EXPLAINED, explained=reason, explained_by=who)


def _change(hub: Hub, one: Break, who: str, act: Act, **values: str | None) -> None:
    with hub.database.work() as work:
        work.put(one.model_copy(update=values))
        before = {name: getattr(one, name) for name in values}
        detail = {"break": one.id, "kind": one.kind, "before": before, "after": values}
        work.audit.tell(Deed(hub.now(), who, act, one.system, "break", one.subject, detail))


def cure(hub: Hub, one: Break, who: str) -> Plan:
    """Intends the document that mends a Break, and shows what its delivery would write; nothing is sent.

    Rejected where no document of ours mends it: the Break's cure says what a person does.
    """
    with hub.database.work() as work:
        commands = _repairs(work, one)
        if not commands:
            raise Rejected(
                f"break {one.id} ({one.kind}) is not mended by a document of ours: {one.cure} Proposed: {one.repair}.",
                system=one.system,
                record=one.subject,
            )
        intended = [work.outbox.repeat(command, hub.now()) for command in commands]
        detail = {"break": one.id, "kind": one.kind, "repair": one.repair, "commands": [it.key for it in intended]}
        work.audit.tell(Deed(hub.now(), who, Act.CURED, one.system, "break", one.subject, detail))
    return plan_delivery(hub, who, [one.system])


def _repairs(work: Work, one: Break) -> Sequence[OutboxCommand]:
    """The intents that were carried out and are to be carried out again."""
    kind = KINDS[one.kind]
    if kind.repair not in SAFE:
        return []
    resource = RESOURCES.get(kind.record, kind.record)
    if kind.repair is Repair.COMMIT_AGAIN:
        resource = "tax_commit"
    done = [command for command in work.outbox.of_record(one.system, resource, one.subject) if _is_done(command)]
    return done[-1:]


def _is_done(command: OutboxCommand) -> bool:
    return command.state is CommandState.DONE
