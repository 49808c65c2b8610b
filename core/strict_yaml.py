"""YAML as plain, bounded data: what stands in the file is what is read, and each value knows its line.

Scalars follow the YAML 1.2 core schema, narrowed: a plain ``true``, ``null``, ``12`` or ``12.30`` is a bool, None, an
int or a Decimal; everything else is text, so ``no``, ``012``, ``12:30:45``, ``1_000``, ``1e5`` and ``2026-10-01`` stay
as written. Keys are always text. Refused: a repeated key, anchors and aliases, tags, a second document, a file over
``LARGEST`` bytes, nesting deeper than ``DEEPEST``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import yaml

LARGEST = 1_000_000
DEEPEST = 32

_CONSTANTS = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,30})")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,30})\.[0-9]{1,30}")
_PARSER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Route = tuple[str | int, ...]


class YamlProblem(ValueError):
    """The text is not YAML, or uses a part of it that is refused here. ``line`` counts from 1."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class Document:
    """Plain data (dict, list, str, int, Decimal, bool, None) and the line of each part of it, by its route."""

    data: Any
    lines: dict[Route, int]

    def line(self, route: Route) -> int:
        """The line of the value at ``route``, or of the nearest part around it."""
        while route not in self.lines and route:
            route = route[:-1]
        return self.lines.get(route, 1)


def read(content: bytes) -> Document:
    """The one document in ``content`` (UTF-8). YamlProblem when it is refused."""
    if len(content) > LARGEST:
        raise YamlProblem(f"the file is larger than {LARGEST:,} bytes", 1)
    try:
        text = content.decode()
        return _Reader(yaml.parse(text, Loader=_PARSER)).document()
    except UnicodeDecodeError:
        raise YamlProblem("the file is not UTF-8", 1) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlProblem(f"not YAML: {error.problem or error.context}", mark.line + 1 if mark else 1) from None
    except yaml.YAMLError:
        raise YamlProblem("not YAML: the file holds a character that YAML does not allow", 1) from None


class _Reader:
    """Builds plain data from parse events; nothing is ever constructed by tag."""

    def __init__(self, events: Iterator[yaml.Event]) -> None:
        self.events = (
            event
            for event in events
            if not isinstance(event, (yaml.StreamStartEvent, yaml.StreamEndEvent, yaml.DocumentEndEvent))
        )
        self.lines: dict[Route, int] = {}

    def document(self) -> Document:
        if next(self.events, None) is None:
            raise YamlProblem("the file is empty", 1)
        data = self.value(next(self.events), ())
        for event in self.events:
            raise YamlProblem("one file holds one document", _line(event))
        return Document(data, self.lines)

    def value(self, event: yaml.Event, route: Route) -> Any:
        self.lines[route] = _line(event)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise YamlProblem("anchors and aliases are refused; write the value out", _line(event))
        if (tag := getattr(event, "tag", None)) is not None:
            raise YamlProblem(f"the tag {tag} is refused; quote text, leave numbers plain", _line(event))
        if isinstance(event, yaml.ScalarEvent):
            return event.value if event.style else scalar(event.value)
        if len(route) >= DEEPEST:
            raise YamlProblem(f"nested deeper than {DEEPEST} levels", _line(event))
        return self.mapping(route) if isinstance(event, yaml.MappingStartEvent) else self.sequence(route)

    def mapping(self, route: Route) -> dict[str, Any]:
        data: dict[str, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent) or event.anchor is not None or event.tag is not None:
                raise YamlProblem("a key must be plain text", _line(event))
            if event.value in data:
                raise YamlProblem(f"the key {event.value!r} stands here twice", _line(event))
            data[event.value] = self.value(next(self.events), (*route, event.value))
            self.lines[(*route, event.value)] = _line(event)
        return data

    def sequence(self, route: Route) -> list[Any]:
        data: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            data.append(self.value(event, (*route, len(data))))
        return data


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def scalar(text: str) -> str | int | Decimal | bool | None:
    """What a plain scalar stands for."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return Decimal(text) if _DECIMAL.fullmatch(text) else text
