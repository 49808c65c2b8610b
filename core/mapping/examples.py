"""The examples of a mapping file, run: a file is right when it does what it says of itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from core.errors import MappingError, Parked, TieBroken
from core.mapping.paths import spell
from core.mapping.spec import Example
from core.mapping.values import shown
from core.noun import Noun

if TYPE_CHECKING:
    from core.mapping.book import Mapping


@dataclass(frozen=True, slots=True)
class Failure:
    """Where an example came out otherwise: ``path`` in the result, what the file expects there, what there is."""

    example: str
    path: str
    expected: object
    got: object

    def __str__(self) -> str:
        return f"{self.example}: {self.path}: expected {shown(self.expected)}, got {shown(self.got)}"


def run_examples(mapping: Mapping) -> Iterator[Failure]:
    """Every place where an example comes out otherwise than the file says."""
    for example in mapping.examples:
        yield from _run_example(mapping, example)


def _run_example(mapping: Mapping, example: Example) -> Iterator[Failure]:
    try:
        if mapping.direction == "out":
            got: Any = mapping.out(noun_of(mapping.noun, example.given), example.known)
            expected: Any = example.gives
        else:
            got = mapping.into(example.given).model_dump()
            expected = noun_of(mapping.noun, example.gives).model_dump() if example.gives is not None else None
    except Parked as parked:
        if parked.waits_for != example.parks:
            yield Failure(example.name, "parks", example.parks, parked.waits_for)
    except MappingError as error:
        if error.field != example.fails:
            yield Failure(example.name, error.field, example.fails or "no error", str(error))
    except TieBroken as broken:
        if broken.tie != example.fails:
            yield Failure(example.name, broken.tie, example.fails or "no error", str(broken))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        yield Failure(example.name, spell(first["loc"]), f"a valid {mapping.record}", first["msg"])
    else:
        if example.gives is None:
            yield Failure(example.name, "", example.parks or example.fails, got)
        else:
            yield from _differences(example.name, "", expected, got)


def noun_of(kind: type[Noun], example: object) -> Noun:
    """A noun from its JSON form in an example; numbers may be written plain."""
    return kind.model_validate_json(json.dumps(example, default=_number_as_text))


def _number_as_text(value: object) -> str:
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"{value!r} is no part of an example")


def _differences(example: str, path: str, expected: Any, got: Any) -> Iterator[Failure]:
    match expected, got:
        case dict(), dict():
            for name in (*expected, *(name for name in got if name not in expected)):
                inner = f"{path}.{name}" if path else name
                if name in expected and name in got:
                    yield from _differences(example, inner, expected[name], got[name])
                else:
                    yield Failure(example, inner, expected.get(name, "nothing"), got.get(name, "nothing"))
        case (list(), list()) | (tuple(), tuple()) if len(expected) == len(got):
            for i, pair in enumerate(zip(expected, got, strict=True)):
                yield from _differences(example, f"{path}[{i}]", *pair)
        case _:
            if isinstance(expected, bool) != isinstance(got, bool) or expected != got:
                yield Failure(example, path, expected, got)
