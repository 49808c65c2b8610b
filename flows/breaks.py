"""Breaks: what people do with them, each told to the audit. ``flows.cures`` mends them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from core.audit import Act, Deed
from core.breaks import KINDS, Severity
from core.errors import Rejected
from core.store import Work
from core.store.codec import dump
from core.ties import Break
from flows.context import Hub

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
    return by_weight(one for one in found if all(getattr(one, name) == value for name, value in wanted.items()))


def by_weight(found: Iterable[Break]) -> list[Break]:
    """Those first that nothing explains, and of them the most money."""
    return sorted(found, key=lambda one: (one.explained is not None, -abs(one.difference.minor), one.id))


def row(one: Break, now: datetime) -> dict[str, str]:
    """A Break as the tables show it."""
    return {
        "break": one.id,
        "kind": one.kind,
        "record": one.subject,
        "left": f"{one.left_name} {one.left}",
        "right": f"{one.right_name} {one.right}",
        "days": str(one.age(now).days),
        "owner": one.owner,
        "severity": one.severity,
        "explained": one.explained or "",
        "what": one.detail or one.cause,
        "cure": one.cure,
        "tie": one.tie,
        "system": one.system,
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


def keep(work: Work, changed: Sequence[Break], at: datetime) -> None:
    """Stores Breaks as they are from an instant on; how they were before can still be told."""
    for one in changed:
        work.put(one)
    work.tie_outs.follow(changed, at)


def _change(hub: Hub, one: Break, who: str, act: Act, **values: str | None) -> None:
    with hub.database.work() as work:
        keep(work, [one.model_copy(update=values)], hub.now())
        before = {name: getattr(one, name) for name in values}
        detail = {"break": one.id, "kind": one.kind, "before": before, "after": values}
        work.audit.tell(Deed(hub.now(), who, act, one.system, "break", one.subject, detail))


def adopt(hub: Hub, one: Break, who: str, reason: str) -> None:
    """Takes what a system shows of a document of ours for what we agreed on, where no amount is touched.

    The document is read fresh, and from now on compared with that. Rejected unless the Break is benign and of a
    document that we wrote; ValueError without a reason.
    """
    if not reason.strip():
        raise ValueError("say why it is adopted")
    kind = KINDS[one.kind]
    resource = RESOURCES.get(kind.record, kind.record)
    with hub.database.reading() as work:
        proof = work.outbox.proof(one.system, resource, one.subject)
    if kind.severity is not Severity.BENIGN or proof is None:
        raise Rejected(
            f"break {one.id} ({one.kind}) is nothing to adopt: only text and day of a document of ours are. {one.cure}",
            system=one.system,
            record=one.subject,
        )
    answer = json.loads(dump(hub.connector(one.system).get(resource, proof.vendor_id)))
    with hub.database.work() as work:
        work.outbox.believe(proof.model_copy(update={"answer": answer}))
        detail = {"break": one.id, "kind": one.kind, "reason": reason, "what": one.detail}
        work.audit.tell(Deed(hub.now(), who, Act.ADOPTED, one.system, "break", one.subject, detail))
