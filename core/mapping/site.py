"""Where an operator of a file stands while it is compiled, and what the compiled functions run in."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, TypeAlias

from core.mapping import spec as s
from core.mapping import values as v
from core.mapping.paths import Path, Step, read_data, read_noun
from core.mapping.shapes import ANYTHING, Kind, Shape
from core.mapping.values import ABSENT, Unfit
from core.strict_yaml import Route

#: The id that ``system`` gave to our record ``key`` of ``resource``; None when it is not there yet.
Refs: TypeAlias = Callable[[str, str, str], str | None]


@dataclass(slots=True)
class Scope:
    """The object whose fields are read, the object around it, and the ids known."""

    item: Any
    refs: Refs
    outer: Scope | None = None


#: Makes the value of a target field, or ABSENT to leave it out.
Take: TypeAlias = Callable[[Scope], Any]
#: Makes it from a value that is there.
Convert: TypeAlias = Callable[[Any, Scope], Any]

#: How a plain value of a noun is read from another system's data, or from a file.
READ_AS: Mapping[Kind, Callable[[object], Any]] = {
    Kind.TEXT: v.text_in,
    Kind.INTEGER: v.integer_in,
    Kind.BOOLEAN: v.boolean_in,
    Kind.DECIMAL: v.quantity_in,
    Kind.DATE: v.date_in,
    Kind.INSTANT: v.instant_in,
}


@dataclass(frozen=True, slots=True)
class Site:
    """Where an operator stands: what it can read (``frames``, the innermost object first), what it is to make
    (``target``), and where that is written (``route``)."""

    spec: s.Spec
    tables: Mapping[str, s.Table]
    problems: list[tuple[Route, str]]
    frames: tuple[Shape, ...]
    target: Shape
    route: Route

    @property
    def going_out(self) -> bool:
        return self.spec.direction == "out"

    def at(self, *below: str | int, **changes: Any) -> Site:
        """The same, further in."""
        there = replace(self, **changes)
        return replace(there, route=(*there.route, *below))

    def problem(self, message: str) -> Take:
        self.problems.append((self.route, message))
        return nothing

    def awaited(self, what: str) -> str:
        """What a record that parks here waits for."""
        return f"{self.spec.system}:{self.spec.resource}:{what}"

    def read(self, path: Path) -> tuple[Take, Shape | None]:
        """The function that walks a path, and the shape it leads to; None after a problem."""
        if path.up is not None and path.up >= len(self.frames):
            return self.problem(f"the path goes {path.up} `each` out, but stands in {len(self.frames) - 1}"), None
        up = len(self.frames) - 1 if path.up is None else path.up
        shape, straight, optional = self.frames[up], True, False
        for step in path.steps:
            if shape is ANYTHING:
                return read_data(up, path.steps), ANYTHING
            found = one_step(shape, step)
            if isinstance(found, str):
                return self.problem(found), None
            straight &= not optional and isinstance(step, str) and shape.of is not dict
            shape = found
            optional |= shape.optional or isinstance(step, int)
        return read_noun(up, path.steps, straight=straight), replace(shape, optional=optional)

    def constant(self, value: Any) -> Any:
        """A value written in the file, in the form of the target."""
        try:
            return _constant(value, self.target)
        except (Unfit, ValueError, TypeError, KeyError):
            words = self.target.words
            self.problem(suggest(str(value), words, f"{v.shown(value)} does not fit {self.target.kind}"))
            return None

    def literal(self, value: Any) -> Take:
        """Makes a value written in the file; a list or an object anew for each record."""
        made = self.constant(value)
        if isinstance(made, (dict, list)):
            return lambda _: copy.deepcopy(made)
        return lambda _: made


def one_step(shape: Shape, step: Step) -> Shape | str:
    """The shape one step further, or what is wrong with the step."""
    if isinstance(step, int):
        return shape.item or f"[{step}] needs a list, and this is {shape.kind}"
    readable = shape.readable()
    if step in readable:
        return readable[str(step)]
    if shape.kind is Kind.LIST:
        return f"{step} is a field of one item, and this is a list: take one with [0], or use `each:`"
    return suggest(str(step), readable, f"there is no field {step}")


def _constant(value: Any, target: Shape) -> Any:
    """A value written in a file, in the form of the target: text for a date, a word for an enumeration."""
    if target.kind is Kind.ANYTHING or (value is None and target.optional):
        return value
    if target.kind is Kind.ENUM and target.of is not None:
        return target.of(value)
    if target.kind is Kind.MONEY:
        return v.money_in(value["amount"], value["currency"])
    if target.kind is Kind.LIST and value == []:
        return ()
    return READ_AS[target.kind](value)


def suggest(name: str, known: Iterable[str], message: str) -> str:
    """The message, and the name that was meant; or all there are."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1, cutoff=0.75)
    hint = f"; did you mean {near[0]}?" if near else f"; there is {', '.join(names)}" if names else ""
    return message + hint


def is_there(value: object) -> bool:
    return value is not ABSENT and value is not None


def nothing(_scope: Scope) -> Any:
    """Leaves the field out."""
    return ABSENT
