"""Three-way merge of a record that both sides may change, field by field.

What we say now is compared with what we said last, what they hold now with what they held then: each side in its own
spelling, so that no difference of spelling is ever taken for a change. A field that one side changed goes as that side
has it. A field that both changed differently goes by its owner, and is a conflict that a person sees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from core.mapping.values import ABSENT
from core.ports import Payload


@dataclass(frozen=True, slots=True)
class Conflict:
    """A field that both sides changed since they agreed last; ``owner`` (hub or them): the side whose value stands."""

    field: str
    was: Any
    ours: Any
    theirs: Any
    owner: str


@dataclass(frozen=True, slots=True)
class Merged:
    """``payload``: what to send. ``kept``: fields left as they stand there. ``agreed``: both sides say the same."""

    payload: Payload
    kept: tuple[str, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    agreed: tuple[str, ...] = ()


def merge(
    ours: Payload, theirs: Payload, ours_before: Payload, theirs_before: Payload, owners: Mapping[str, str]
) -> Merged:
    """What to send of ``ours``. ``owners``: ``hub`` or ``them`` by dotted field; fields without an owner are sent.

    ``theirs``, ``theirs_before``: the record in the vendor's own words, now and after our last write.
    """
    kept, conflicts, agreed = [], [], []
    for field, owner in owners.items():
        mine, was = value_at(ours, field), value_at(ours_before, field)
        held = value_at(theirs, field)
        before = value_at(theirs_before, field)
        we_changed = not same(mine, was)
        they_changed = not same(was if before is ABSENT else before, held)
        if same(mine, held):
            agreed.append(field)
        elif we_changed and they_changed:
            conflicts.append(Conflict(field, was, mine, held, owner))
            if owner == "them":
                kept.append(field)
        elif not we_changed:
            kept.append(field)
    return Merged(without(ours, kept), tuple(kept), tuple(conflicts), tuple(agreed))


def value_at(payload: Any, field: str) -> Any:
    """The value at a dotted field; ABSENT where there is none."""
    for name in field.split("."):
        if not isinstance(payload, Mapping) or name not in payload:
            return ABSENT
        payload = payload[name]
    return payload


def without(payload: Payload, fields: Sequence[str]) -> Payload:
    """The payload without these dotted fields; the same object when there are none."""
    for field in fields:
        payload = _without(payload, field.split("."))
    return payload


def _without(payload: Payload, path: list[str]) -> Payload:
    name, *inner = path
    if name not in payload or (inner and not isinstance(payload[name], Mapping)):
        return payload
    rest = {key: value for key, value in payload.items() if key != name}
    return {**rest, name: _without(payload[name], inner)} if inner else rest


def same(said: Any, held: Any) -> bool:
    """Whether what one side says is what the other holds: numbers by value, no value like null, and of an object only
    the fields that are said."""
    if said in (None, ABSENT) or held in (None, ABSENT):
        return said in (None, ABSENT, "") and held in (None, ABSENT, "")
    if isinstance(said, Mapping):
        return isinstance(held, Mapping) and all(same(value, held.get(name)) for name, value in said.items())
    if isinstance(said, list | tuple):
        alike = isinstance(held, list | tuple) and len(said) == len(held)
        return alike and all(same(one, other) for one, other in zip(said, held, strict=True))
    if isinstance(said, bool) or isinstance(held, bool):
        return said is held
    if isinstance(said, Decimal | int) or isinstance(held, Decimal | int):
        return _number(said) == _number(held)
    return bool(said == held)


def _number(value: Any) -> Decimal | str:
    try:
        return Decimal(value)
    except (InvalidOperation, TypeError, ValueError):
        return str(value)
