"""How a mapping file names a value, and the functions that walk there."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, TypeAlias

from core.mapping.values import ABSENT, Unfit

_SEGMENT = r"[^.\[\]{}$^\s][^.\[\]{}$^]*(?:\[(?:[0-9]{1,4})?\])*"
_PATH = re.compile(rf"(?:\$\.|(?:\^\.)+)?{_SEGMENT}(?:\.{_SEGMENT})*")
_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class EachItem:
    """The step ``[]``: every item of the list."""


#: A name, the number of an item, or every item.
Step: TypeAlias = str | int | type[EachItem]
#: Takes a scope: an object with ``item``, and ``outer``, the scope around it.
Read: TypeAlias = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Path:
    """``up``: how many ``each`` levels out the path begins (None: at the record itself); ``steps`` from there."""

    up: int | None
    steps: tuple[Step, ...]

    def levels(self) -> list[tuple[Step, ...]]:
        """The steps between each ``[]``: ``lines[].details`` is ``lines``, then ``details``."""
        levels: list[tuple[Step, ...]] = [()]
        for step in self.steps:
            if step is EachItem:
                levels.append(())
            else:
                levels[-1] = (*levels[-1], step)
        return [level for level in levels if level]


def parse_path(text: str) -> Path:
    """``a.b``, ``a[0].b``, ``^.a`` (one ``each`` out), ``$.a`` (from the record). ValueError for another form."""
    if not _PATH.fullmatch(text):
        raise ValueError(f"{text!r} is not a path; write a.b, a[0].b, ^.a (one `each` out) or $.a (from the record)")
    up: int | None = 0
    if text.startswith("$."):
        up, text = None, text[2:]
    while text.startswith("^."):
        up, text = (up or 0) + 1, text[2:]
    steps: list[Step] = []
    for segment in text.split("."):
        name, *indices = segment.split("[")
        steps.append(name)
        steps += [EachItem if index == "]" else int(index[:-1]) for index in indices]
    return Path(up, tuple(steps))


def parse_text(text: str) -> tuple[str | Path, ...]:
    """The literals and paths of ``"Invoice {id}"``; ``{{`` and ``}}`` stand for braces. ValueError for another form."""
    parts: list[str | Path] = []
    end = 0
    for found in _BRACES.finditer(text):
        parts.append(text[end : found.start()])
        end = found.end()
        match found.group():
            case "{{" | "}}" as brace:
                parts.append(brace[0])
            case "{" | "}":
                raise ValueError(f"a brace stands alone in {text!r}; write {{{{ or }}}} for a brace itself")
            case _:
                parts.append(parse_path(found.group(1)))
    parts.append(text[end:])
    return tuple(part for part in parts if part != "")


def spell(route: Sequence[str | int]) -> str:
    """``lines[2].amount``."""
    return ".".join(f"[{part}]" if isinstance(part, int) else part for part in route).replace(".[", "[")


def read_noun(up: int, steps: Sequence[Step], *, straight: bool) -> Read:
    """Reads from a scope what the steps lead to in the noun ``up`` scopes out; an absent name is None.

    ``straight``: attributes alone, none of which is None before the last. Else None on the way is None at the end.
    """
    scope = "outer." * up + "item"
    if straight:
        return attrgetter(".".join((scope, *map(str, steps))))
    item = attrgetter(scope)

    def read(scope: Any) -> Any:
        value = item(scope)
        for step in steps:
            if value is None:
                return None
            if isinstance(step, int):
                value = value[step] if step < len(value) else None
            elif isinstance(value, dict):
                value = value.get(step)
            else:
                value = getattr(value, str(step))
        return value

    return read


def read_data(up: int, steps: Sequence[Step]) -> Read:
    """Reads from a scope what the steps lead to in another system's object ``up`` scopes out.

    Absent or null on the way is absent or null at the end.
    """
    first, *others = steps
    if up == 0 and not others:
        return lambda scope: scope.item.get(first, ABSENT)
    item = attrgetter("outer." * up + "item")

    def read(scope: Any) -> Any:
        value = item(scope).get(first, ABSENT)
        for step in others:
            if value is None or value is ABSENT:
                return value
            if isinstance(step, int):
                if not isinstance(value, list):
                    raise Unfit(f"[{step}] needs a list", value)
                value = value[step] if step < len(value) else ABSENT
            elif isinstance(value, Mapping):
                value = value.get(step, ABSENT)
            else:
                raise Unfit(f"{step} needs an object around it", value)
        return value

    return read
