"""A plan: what a delivery would write, told before anything is written, and bound to what it rests on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

from pydantic import model_validator

from core.money import Money
from core.noun import Id, Instant, Noun


class Verb(StrEnum):
    CREATE = "create"
    CHANGE = "change"
    REPEAT = "repeat"  # the same as was written last
    LOOK_UP = "look up"  # may have been sent: looked for by its key, then taken as written or sent
    SKIP = "skip"  # waits for something or for its time, or is under way
    BLOCK = "block"  # would fail as it is


#: What applying a plan does; the other steps are only told.
WRITES = (Verb.CREATE, Verb.CHANGE, Verb.REPEAT, Verb.LOOK_UP)


class FieldChange(Noun):
    """One field in the system's own words (list items by their position), before and after; None: not there."""

    field: str
    before: str | None
    after: str | None


class Step(Noun):
    """What is planned for one command. ``digest`` stands for everything that was looked at: see ``step_digest``."""

    key: Id
    system: str
    resource: str
    record: str
    record_id: Id
    verb: Verb
    changes: tuple[FieldChange, ...] = ()
    money: Money | None = None
    why: str = ""
    digest: str = ""


class Plan(Noun):
    """Steps in their order. ValueError when ``digest`` is not theirs: somebody changed the plan."""

    flow: str
    made_at: Instant
    made_by: str
    steps: tuple[Step, ...]
    digest: str

    @model_validator(mode="after")
    def _is_as_it_was_made(self) -> Plan:
        if self.digest != _plan_digest(self.flow, self.steps):
            raise ValueError("the plan was changed after it was made; make a new one")
        return self

    @classmethod
    def of(cls, flow: str, made_at: Any, made_by: str, steps: tuple[Step, ...]) -> Plan:
        return cls(flow=flow, made_at=made_at, made_by=made_by, steps=steps, digest=_plan_digest(flow, steps))


def _plan_digest(flow: str, steps: tuple[Step, ...]) -> str:
    told = "\n".join([flow, *(step.model_dump_json() for step in steps)])
    return hashlib.sha256(told.encode()).hexdigest()


def step_digest(key: str, probe: bool, mapping_version: str, payload: str, last: str | None) -> str:
    """Sixteen hex digits of what a step rests on.

    ``key`` of the command names its version; ``probe``: it may have been sent; ``payload``: what would be sent;
    ``last``: what was written last of the record, None when nothing was.
    """
    return hashlib.sha256(json.dumps([key, probe, mapping_version, payload, last]).encode()).hexdigest()[:16]


def differences(before: Any, after: Any) -> tuple[FieldChange, ...]:
    """Field by field what two payloads (as JSON has them) say differently, ordered by field."""
    was, will = dict(_leaves(before, "")), dict(_leaves(after, ""))
    return tuple(
        FieldChange(field=name, before=was.get(name), after=will.get(name))
        for name in sorted(was.keys() | will.keys())
        if was.get(name) != will.get(name)
    )


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    items: Any = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else None
    if not items:
        if path:
            yield path, value if isinstance(value, str) else json.dumps(value)
        return
    for name, item in items:
        yield from _leaves(item, f"{path}.{name}" if path else str(name))
