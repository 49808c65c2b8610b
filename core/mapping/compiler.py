"""From a checked grammar to one function: every path, target and modifier is proven before the first record is mapped.

The noun's side is typed by its annotations; on the other system's side every name may be absent. Compilation collects
all problems of a file, each with its route in the file. The functions it makes raise only :class:`Unfit`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from core.mapping import spec as s
from core.mapping import values as v
from core.mapping.absence import act, gone
from core.mapping.converters import convert, shorten
from core.mapping.paths import Path, parse_path, parse_text
from core.mapping.shapes import ANYTHING, Kind, Shape
from core.mapping.site import Scope, Site, Take, is_there, nothing, suggest
from core.mapping.values import ABSENT, Unfit
from core.money import Money, total
from core.noun import Noun
from core.strict_yaml import Route

#: The operator that carries each kind of value.
_CARRIES = {
    Kind.TEXT: "path", Kind.INTEGER: "path", Kind.BOOLEAN: "path", Kind.ENUM: "enum", Kind.MONEY: "money",
    Kind.DECIMAL: "quantity", Kind.DATE: "date", Kind.INSTANT: "instant", Kind.LIST: "each", Kind.OBJECT: "object",
}  # fmt: skip
_COPIED = {Kind.TEXT, Kind.INTEGER, Kind.BOOLEAN}
_WORDS = {Kind.TEXT, Kind.ENUM, Kind.BOOLEAN}
#: What can stand inside a text.
_SPELLED = {Kind.TEXT, Kind.INTEGER, Kind.DECIMAL, Kind.DATE, Kind.MONEY, Kind.ENUM, Kind.ANYTHING}
#: The kinds of a noun's value that an operator reads (direction out), and makes (direction in).
_READS: Mapping[type[s.Operator], set[Kind]] = {
    s.CopyPath: _COPIED | {Kind.ENUM}, s.MoneyOf: {Kind.MONEY}, s.QuantityOf: {Kind.DECIMAL, Kind.INTEGER},
    s.DateOf: {Kind.DATE, Kind.INSTANT}, s.InstantOf: {Kind.INSTANT}, s.EnumOf: _WORDS,
    s.Lookup: {Kind.TEXT, Kind.ENUM}, s.Ref: {Kind.TEXT},
}  # fmt: skip
_MAKES: Mapping[type[s.Operator], set[Kind]] = {
    s.CopyPath: _COPIED, s.MoneyOf: {Kind.MONEY}, s.QuantityOf: {Kind.DECIMAL, Kind.INTEGER}, s.DateOf: {Kind.DATE},
    s.InstantOf: {Kind.INSTANT}, s.EnumOf: _WORDS, s.Lookup: _COPIED | {Kind.ENUM}, s.TextOf: {Kind.TEXT},
    s.Each: {Kind.LIST}, s.SumOf: {Kind.MONEY}, s.Object: {Kind.OBJECT}, s.Const: set(_CARRIES) - {Kind.OBJECT},
    s.Ref: set(), s.ListOf: set(),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Compiled:
    """``fields`` makes all target fields, ``key`` our key of the record. With ``problems``, run neither."""

    fields: Take
    key: Take
    problems: list[tuple[Route, str]]


def compile_spec(spec: s.Spec, noun: Shape, tables: Mapping[str, s.Table]) -> Compiled:
    """The functions of a spec, and every problem found in it."""
    problems: list[tuple[Route, str]] = []
    source, target = (noun, ANYTHING) if spec.direction == "out" else (ANYTHING, noun)
    site = Site(spec, tables, problems, (source,), target, ("fields",))
    key = _key(replace(site, route=("key", "from")), spec.key) if spec.key else nothing
    return Compiled(_fields(site, spec.fields), key, problems)


def _key(site: Site, key: s.Key) -> Take:
    read, shape = site.read(parse_path(key.origin))
    if shape and (shape.kind is not Kind.TEXT or shape.optional):
        return site.problem(f"a key is text that is always there; {key.origin} is not")
    return read


def _fields(site: Site, fields: Mapping[str, s.Operator]) -> Take:
    """Makes the target object as a dict, in the order of the file."""
    wanted = site.target.settable()
    if site.target is not ANYTHING:
        for name in fields.keys() - wanted.keys():
            site.at(name).problem(suggest(name, wanted, "the record has no such field"))
        for name, shape in wanted.items():
            if shape.required and name not in fields:
                site.problem(f"the required field {name} is not mapped")
    takes = tuple(
        (name, _operator(site.at(name, target=wanted.get(name, ANYTHING)), operator))
        for name, operator in fields.items()
        if site.target is ANYTHING or name in wanted
    )

    def take(scope: Scope) -> dict[str, Any]:
        made = {}
        for name, one in takes:
            try:
                value = one(scope)
            except Unfit as unfit:
                unfit.within(name)
                raise
            if value is not ABSENT:
                made[name] = value
        return made

    return take


def _operator(site: Site, op: s.Operator) -> Take:
    target = site.target
    if (op.owner or op.only_create) and (not site.going_out or len(site.frames) > 1 or _in_list(site.route)):
        where = "belongs on the list as a whole" if site.going_out else "is for direction `out`"
        site.at("owner" if op.owner else "only_create").problem(where)
    if target is not ANYTHING:
        if target.required and "skip" in (*op.actions, op.otherwise):
            site.problem("the record is not valid without this field, so it cannot be skipped")
        if target.kind not in _MAKES[type(op)]:
            return site.problem(f"the field is {target.kind}: use `{_CARRIES[target.kind]}:`")
    take = _plain(site, op)
    if op.when is None:
        return take
    holds = _condition(site.at("when"), op.when)
    if isinstance(op.otherwise, s.Operator):
        other = _operator(site.at("otherwise"), op.otherwise)
    else:
        other = act(site, op.otherwise or "fail", "the condition does not hold", op.when.path)
    return lambda scope: take(scope) if holds(scope) else other(scope)


def _in_list(route: Route) -> bool:
    return any(isinstance(part, int) for part in route)


def _plain(site: Site, op: s.Operator) -> Take:
    """An operator without its condition."""
    match op:
        case s.Const():
            return site.at("const").literal(op.const)
        case s.Object():
            return _fields(site.at("object"), op.object)
        case s.ListOf():
            return _list(site, op)
        case s.Each():
            return _each(site, op)
        case s.SumOf():
            return _sum(site, op)
        case s.TextOf():
            return _text(site, op)
        case s.Sourced():
            return _value(site, op)
    raise TypeError(f"{type(op).__name__} is not compiled")


def _list(site: Site, op: s.ListOf) -> Take:
    takes = [(_operator(site.at("list", i), one), isinstance(one, s.Each)) for i, one in enumerate(op.list)]

    def take(scope: Scope) -> list[Any]:
        made: list[Any] = []
        for i, (one, spreads) in enumerate(takes):
            try:
                value = one(scope)
            except Unfit as unfit:
                unfit.within(f"[{i}]")
                raise
            if spreads and isinstance(value, list):
                made += value
            elif value is not ABSENT:
                made.append(value)
        return made

    return take


def _each(site: Site, op: s.Each) -> Take:
    over, inner = _over(site.at("each"), op.each)
    if inner is None:
        return nothing
    if op.empty is not None:
        site.at("empty").problem("is for text; an empty list has no items")
    without = gone(site, op, op.each, may_miss=inner.may_miss)
    make = _fields(site.at("fields", frames=inner.frames, target=site.target.item or ANYTHING), op.fields)
    collect = list if site.going_out else tuple

    def take(scope: Scope) -> Any:
        items = over(scope)
        return without(items, scope) if items is None or items is ABSENT else collect(_made(make, items))

    return take


def _sum(site: Site, op: s.SumOf) -> Take:
    if site.going_out:
        return site.problem("`sum:` is for direction `in`; a noun carries its own totals")
    over, inner = _over(site.at("sum"), op.sum)
    if inner is None:
        return nothing
    amount = _operator(site.at("of", frames=inner.frames, target=replace(site.target, required=False)), op.of)

    def take(scope: Scope) -> Money:
        items = over(scope)
        amounts = [money for money in _made(amount, items if is_there(items) else ()) if money is not ABSENT]
        if not amounts:
            raise Unfit("has nothing to add up, so there is no currency to say it in", source=op.sum)
        if len({money.currency for money in amounts}) > 1:
            raise Unfit("is in several currencies", source=op.sum)
        return total(amounts, amounts[0].currency)

    return take


@dataclass(frozen=True, slots=True)
class _Inner:
    """What an operator over items stands in."""

    frames: tuple[Shape, ...]
    may_miss: bool


def _over(site: Site, path: str) -> tuple[Take, _Inner | None]:
    """The scopes of all items a path leads to, None or ABSENT where its first list is; and what stands in them."""
    parsed = parse_path(path)
    frames, up, may_miss = site.frames, parsed.up, False
    levels = []
    for steps in parsed.levels():
        read, shape = site.at(frames=frames).read(Path(up, steps))
        if shape is None:
            return nothing, None
        item = shape.item or ANYTHING
        if shape.kind not in (Kind.LIST, Kind.ANYTHING) or item.kind not in (Kind.OBJECT, Kind.ANYTHING):
            return site.problem(f"{path} is not a list of objects, it is {shape.kind}"), None
        levels.append(read)
        frames, up, may_miss = (item, *frames), 0, may_miss or shape.optional

    def over(scope: Scope) -> Any:
        value = levels[0](scope)
        return value if value is None or value is ABSENT else _items(value, levels[1:], scope, path)

    return over, _Inner(frames, may_miss)


def _made(make: Take, items: Iterable[Scope]) -> Iterator[Any]:
    for i, item in enumerate(items):
        try:
            yield make(item)
        except Unfit as unfit:
            unfit.within(f"[{i}]")
            raise


def _items(value: Any, levels: Sequence[Take], scope: Scope, path: str) -> Iterator[Scope]:
    """The items of a list, or of the lists further in; a list that is missing further in has no items."""
    if not isinstance(value, (list, tuple)):
        raise Unfit("is no list", value, source=path)
    for item in value:
        if not isinstance(item, (dict, Noun, Mapping)):
            raise Unfit("holds something that has no fields", item, source=path)
        inner = Scope(item, scope.refs, scope)
        if not levels:
            yield inner
        elif is_there(deeper := levels[0](inner)):
            yield from _items(deeper, levels[1:], inner, path)


def _condition(site: Site, when: s.Condition) -> Callable[[Scope], bool]:
    read, shape = site.at("path").read(parse_path(when.path))
    if shape is None:
        return lambda _: False
    if when.stated("present"):
        return lambda scope: is_there(read(scope)) is when.present
    asked: list[Any] = when.one_of or [when.equals]
    for value in asked:
        site.at(target=shape).constant(value)
    words = frozenset(map(v.word, asked))
    return lambda scope: v.word(read(scope)) in words


def _value(site: Site, op: s.Sourced) -> Take:
    """An operator that takes the value at one path."""
    name = next(name for name, kind in s.OPERATORS.items() if kind is type(op))
    path: str = getattr(op, name)
    read, source = site.at(name).read(parse_path(path))
    if source is None:
        return nothing
    if site.going_out and source.kind not in _READS[type(op)]:
        return site.at(name).problem(f"{path} is {source.kind}: use `{_CARRIES[source.kind]}:`")
    if op.empty is not None and source.kind not in (Kind.TEXT, Kind.ANYTHING):
        site.at("empty").problem(f"is for text; {path} is {source.kind}")
    currency = _currency(site, op.currency) if isinstance(op, s.MoneyOf) and op.currency else None
    converted = convert(site, op, source, currency)
    without = gone(site, op, path, may_miss=source.optional, currency=currency)
    empty = {"missing": ABSENT, "null": None}.get(op.empty or "", "")

    def take(scope: Scope) -> Any:
        try:
            value = read(scope)
            if value == "":
                value = empty
            if value is None or value is ABSENT:
                return without(value, scope)
            return converted(value, scope)
        except Unfit as unfit:
            unfit.source = unfit.source or path
            raise

    return take


def _currency(site: Site, said: s.Operator | str) -> Take:
    op = s.CopyPath(path=said, missing="fail") if isinstance(said, str) else said
    return _operator(site.at("currency", target=Shape(Kind.TEXT)), op)


def _text(site: Site, op: s.TextOf) -> Take:
    templates = []
    may_miss = False
    for i, written in enumerate(op.text):
        there = site.at("text", i)
        pieces: list[str | Take] = []
        parsed = parse_text(written)
        for piece in parsed:
            if isinstance(piece, Path):
                read, shape = there.read(piece)
                if shape is None:
                    return nothing
                alone = shape.item if shape.kind is Kind.LIST and len(parsed) == 1 else None
                if (alone or shape).kind not in _SPELLED:
                    return there.problem(f"{written} is {shape.kind}, which has no agreed spelling")
                may_miss |= shape.optional
                pieces.append(read)
            else:
                pieces.append(piece)
        templates.append(pieces)
    written = " ".join(op.text)
    without = gone(site, op, written, may_miss=may_miss)
    join, shortened = op.join, shorten(op)
    empty = {"missing": ABSENT, "null": None}.get(op.empty or "", "")

    def take(scope: Scope) -> Any:
        parts = []
        for pieces in templates:
            part = ""
            for piece in pieces:
                if isinstance(piece, str):
                    part += piece
                    continue
                value = piece(scope)
                if value is None or value is ABSENT:
                    return without(value, scope)
                part += value if type(value) is str else v.spelled(value, join)
            if part:
                parts.append(part)
        text = join.join(parts)
        return shortened(text) if text or empty == "" else without(empty, scope)

    return take
