"""From a checked grammar to one function: every path, target and modifier is proven before the first record is mapped.

The noun's side is typed by its annotations; on the other system's side every name may be absent. Compilation collects
all problems of a file, each with its route in the file. The functions it makes raise only :class:`Unfit`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from difflib import get_close_matches
from operator import attrgetter
from typing import Any, TypeAlias

from core.mapping import spec as s
from core.mapping import values as v
from core.mapping.paths import Path, Step, parse_path, parse_text, read_data, read_noun
from core.mapping.shapes import ANYTHING, Kind, Shape
from core.mapping.strict_yaml import Route
from core.mapping.values import ABSENT, Unfit
from core.money import Money, total
from core.noun import Noun

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

_TEXT = Shape(Kind.TEXT)
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
_READ_AS: Mapping[Kind, Callable[[object], Any]] = {
    Kind.TEXT: v.text_in,
    Kind.INTEGER: v.integer_in,
    Kind.BOOLEAN: v.boolean_in,
    Kind.DECIMAL: v.quantity_in,
    Kind.DATE: v.date_in,
    Kind.INSTANT: v.instant_in,
}


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
    key = _key(replace(site, route=("key", "from")), spec.key) if spec.key else _nothing
    return Compiled(_fields(site, spec.fields), key, problems)


def _key(site: Site, key: s.Key) -> Take:
    read, shape = site.read(parse_path(key.origin))
    if shape and (shape.kind is not Kind.TEXT or shape.optional):
        return site.problem(f"a key is text that is always there; {key.origin} is not")
    return read


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
        return _nothing

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
            found = _next(shape, step)
            if isinstance(found, str):
                return self.problem(found), None
            shape = found
            straight &= not optional and isinstance(step, str)
            optional |= shape.optional or isinstance(step, int)
        return read_noun(up, path.steps, straight=straight), replace(shape, optional=optional)

    def constant(self, value: Any) -> Any:
        """A value written in the file, in the form of the target."""
        try:
            return _constant(value, self.target)
        except (Unfit, ValueError, TypeError, KeyError):
            words = self.target.words
            self.problem(_unknown(str(value), words, f"{v.shown(value)} does not fit {self.target.kind}"))
            return None

    def literal(self, value: Any) -> Take:
        made = self.constant(value)
        if isinstance(made, (dict, list)):
            return lambda _: copy.deepcopy(made)
        return lambda _: made


# -- targets -------------------------------------------------------------------------------------------------------


def _fields(site: Site, fields: Mapping[str, s.Operator]) -> Take:
    """Makes the target object as a dict, in the order of the file."""
    wanted = site.target.settable()
    if site.target is not ANYTHING:
        for name in fields.keys() - wanted.keys():
            site.at(name).problem(_unknown(name, wanted, "the record has no such field"))
        for name, shape in wanted.items():
            if shape.required and name not in fields:
                site.problem(f"the required field {name} is not mapped")
    takes = tuple(
        (name, _operator(site.at(name, target=wanted.get(name, ANYTHING)), operator))
        for name, operator in fields.items()
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
        other = _act(site, op.otherwise or "fail", "the condition does not hold", op.when.path)
    return lambda scope: take(scope) if holds(scope) else other(scope)


def _plain(site: Site, op: s.Operator) -> Take:
    """An operator without its condition."""
    match op:
        case s.Const():
            return site.at("const").literal(op.const)
        case s.Object():
            return _fields(site.at("object"), op.object)
        case s.ListOf():
            return _list(site, op)
        case s.SumOf():
            return _sum(site, op)
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
    gone = _gone(site, op, inner is None or inner.may_miss, op.each)
    if inner is None:
        return _nothing
    make = _fields(site.at("fields", frames=inner.frames, target=site.target.item or ANYTHING), op.fields)
    collect = list if site.going_out else tuple

    def take(scope: Scope) -> Any:
        items = over(scope)
        return gone(items, scope) if items is None or items is ABSENT else collect(_made(make, items))

    return take


def _sum(site: Site, op: s.SumOf) -> Take:
    if site.going_out:
        return site.problem("`sum:` is for direction `in`; a noun carries its own totals")
    over, inner = _over(site.at("sum"), op.sum)
    if inner is None:
        return _nothing
    amount = _operator(site.at("of", frames=inner.frames, target=replace(site.target, required=False)), op.of)

    def take(scope: Scope) -> Money:
        items = over(scope)
        amounts = [money for money in _made(amount, items if _is_there(items) else ()) if money is not ABSENT]
        if not amounts:
            raise Unfit("has nothing to add, so there is no currency to say it in", source=op.sum)
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
            return _nothing, None
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
        elif _is_there(deeper := levels[0](inner)):
            yield from _items(deeper, levels[1:], inner, path)


def _condition(site: Site, when: s.Condition) -> Callable[[Scope], bool]:
    read, shape = site.at("path").read(parse_path(when.path))
    if shape is None:
        return lambda _: False
    if when.stated("present"):
        return lambda scope: _is_there(read(scope)) is when.present
    asked: list[Any] = when.one_of or [when.equals]
    for value in asked:
        site.at(target=shape).constant(value)
    words = frozenset(map(v.word, asked))
    return lambda scope: v.word(read(scope)) in words


# -- values --------------------------------------------------------------------------------------------------------


def _value(site: Site, op: s.Sourced) -> Take:
    """An operator that takes the value at one path."""
    name = next(name for name, kind in s.OPERATORS.items() if kind is type(op))
    path: str = getattr(op, name)
    read, source = site.at(name).read(parse_path(path))
    if source is None:
        return _nothing
    if site.going_out and source.kind not in _READS[type(op)]:
        return site.at(name).problem(f"{path} is {source.kind}: use `{_CARRIES[source.kind]}:`")
    convert = _convert(site, op, source)
    gone = _gone(site, op, source.optional, path)
    empty = {"missing": ABSENT, "null": None}.get(op.empty or "", "")

    def take(scope: Scope) -> Any:
        try:
            value = read(scope)
            if value == "":
                value = empty
            if value is None or value is ABSENT:
                return gone(value, scope)
            return convert(value, scope)
        except Unfit as unfit:
            unfit.source = unfit.source or path
            raise

    return take


def _convert(site: Site, op: s.Sourced, source: Shape) -> Convert:
    match op:
        case s.CopyPath():
            return _copied(site, op, source)
        case s.MoneyOf():
            return _money_out(site, op) if site.going_out else _money_in(site, op)
        case s.QuantityOf():
            return _quantity(site, op)
        case s.DateOf():
            return _date_out(site, op, source) if site.going_out else _date_in(site, op)
        case s.InstantOf(format=form, round=rounding):
            if site.going_out:
                return lambda value, _: v.instant_out(value, form, rounding)
            return lambda value, _: v.instant_in(value, form)
        case s.Lookup():
            return _lookup(site, op)
        case s.EnumOf():
            return _enum_out(site, op, source) if site.going_out else _enum_in(site, op)
        case s.Ref():
            return _ref(site, op)
    raise TypeError(f"{type(op).__name__} takes no single value")


def _copied(site: Site, op: s.CopyPath, source: Shape) -> Convert:
    kind = source.kind if site.going_out else site.target.kind
    if op.max is not None and kind not in (Kind.TEXT, Kind.ENUM):
        site.at("max").problem("only text can be too long")
    read_as: Callable[[Any], Any] = str if kind is Kind.ENUM else _same if site.going_out else _READ_AS[kind]
    shorten = _shorten(op)
    if shorten is _same:
        return _as_is if read_as is _same else lambda value, _: read_as(value)
    return lambda value, _: shorten(read_as(value))


def _shorten(op: s.Narrow) -> Callable[[Any], Any]:
    most, too_long = op.max, op.too_long
    if most is None or too_long is None:
        return _same
    return lambda value: v.shortened(value, most, too_long)


def _money_out(site: Site, op: s.MoneyOf) -> Convert:
    if op.currency is not None:
        site.at("currency").problem("money carries its currency; `currency:` is for direction `in`")
    signed: Callable[[Money], Money] = Money.__neg__ if op.sign else _same
    part: Callable[[Money], Any] = attrgetter("minor" if op.unit == "minor" else "amount")
    if signed is _same and op.form is None:
        return lambda value, _: part(value)
    spelled: Callable[[Any], Any] = str if op.form else _same
    return lambda value, _: spelled(part(signed(value)))


def _money_in(site: Site, op: s.MoneyOf) -> Convert:
    if op.form is not None:
        site.at("as").problem("is for direction `out`; numbers and text are both read")
    if op.currency is None:
        site.problem("say which currency the amount is in: `currency:` a path or {const: USD}")
        return _as_is
    currency = _currency(site, op.currency)
    signed: Callable[[Money], Money] = Money.__neg__ if op.sign else _same
    return lambda value, scope: signed(v.money_in(value, currency(scope), op.unit, op.round))


def _currency(site: Site, said: s.Operator | str) -> Take:
    op = s.CopyPath(path=said, missing="fail") if isinstance(said, str) else said
    return _operator(site.at("currency", target=_TEXT), op)


def _quantity(site: Site, op: s.QuantityOf) -> Convert:
    if op.round and op.places is None:
        site.at("round").problem("narrows to `places:` decimals; state them")
    if op.form and not site.going_out:
        site.at("as").problem("is for direction `out`; numbers and text are both read")
    if site.target.kind is Kind.INTEGER and op.places != 0:
        site.problem("the field is a whole number; state `places: 0`")
    spelled: Callable[[Decimal], Any] = _same
    if site.target.kind is Kind.INTEGER:
        spelled = int
    elif op.form:
        spelled = v.spelled
    return lambda value, _: spelled(v.quantity_in(value, op.places, op.round))


def _date_out(site: Site, op: s.DateOf, source: Shape) -> Convert:
    tz = op.timezone or ""
    noon = op.format == "noon_instant"
    if source.kind is Kind.INSTANT:
        if not tz:
            site.problem(f"{op.date} is an instant; state the `timezone:` that makes it a day")
        return lambda value, _: v.date_out(v.day_of(value, tz), tz if noon else "")
    if noon is not bool(tz):
        site.problem(
            "a calendar date has no zone, its noon has one: `format: noon_instant` and `timezone:` go together"
        )
    return lambda value, _: v.date_out(value, tz)


def _date_in(site: Site, op: s.DateOf) -> Convert:
    tz = op.timezone
    if tz is None:
        if op.format == "noon_instant":
            site.problem("the day of an instant depends on the zone; state `timezone:`")
        return lambda value, _: v.date_in(value)
    return lambda value, _: v.day_of(v.instant_in(value), tz)


def _lookup(site: Site, op: s.Lookup) -> Convert:
    table = site.tables.get(op.table)
    if table is None:
        site.at("table").problem(_unknown(op.table, site.tables, "there is no such table"))
        return _as_is
    pairs = table.values.items()
    backward = [(right, left) for left, right in pairs]
    return _words(site.at("table"), op, backward if op.read == "backward" else pairs, f"the table {op.table}")


def _enum_out(site: Site, op: s.EnumOf, source: Shape) -> Convert:
    there = site.at("values")
    ours = source.words
    if ours:
        for word in op.values.keys() - set(ours):
            there.at(word).problem(_unknown(word, ours, f"{op.enum} is never that"))
        forgotten = [word for word in ours if word not in op.values]
        if forgotten and op.unknown is None:
            there.problem(f"{', '.join(forgotten)} is not mapped; map it or state `unknown:`")
    for left, right in op.values.items():
        if isinstance(right, list):
            there.at(left).problem("only direction `in` takes a list of words for one of ours")
    pairs = [(_ours(left, source), right) for left, right in op.values.items()]
    return _words(there, op, pairs, "`values:`")


def _enum_in(site: Site, op: s.EnumOf) -> Convert:
    pairs = [
        (theirs, _ours(left, site.target))
        for left, right in op.values.items()
        for theirs in (right if isinstance(right, list) else [right])
    ]
    return _words(site.at("values"), op, pairs, "`values:`")


def _ours(word: str, shape: Shape) -> str | bool:
    """Our side of an enumeration, whose words are text in the file."""
    return {"true": True, "false": False}.get(word, word) if shape.kind is Kind.BOOLEAN else word


def _words(site: Site, op: s.Known, pairs: Iterable[tuple[Any, Any]], where: str) -> Convert:
    """Finds the second of a pair by the first."""
    rows: dict[object, Any] = {}
    for given, found in pairs:
        if v.word(given) in rows:
            site.problem(f"{v.shown(given)} stands there for two different words")
        rows[v.word(given)] = site.constant(found)
    miss = _miss(site, op, f"is not in {where}", site.awaited(""))

    def convert(value: Any, scope: Scope) -> Any:
        found = rows.get(value if type(value) is str else v.word(value), ABSENT)
        return miss(value, scope) if found is ABSENT else found

    return convert


def _ref(site: Site, op: s.Ref) -> Convert:
    system, resource = op.system or site.spec.system, op.resource
    miss = _miss(site, op, f"is not known to {system} as {resource} yet", f"{system}:{resource}:", silent="park")

    def convert(value: Any, scope: Scope) -> Any:
        found = scope.refs(system, resource, value)
        return miss(value, scope) if found is None else found

    return convert


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
                    return _nothing
                alone = shape.item if shape.kind is Kind.LIST and len(parsed) == 1 else None
                if (alone or shape).kind not in _SPELLED:
                    return there.problem(f"{written} is {shape.kind}, which has no agreed spelling")
                may_miss |= shape.optional
                pieces.append(read)
            else:
                pieces.append(piece)
        templates.append(pieces)
    gone = _gone(site, op, may_miss, " ".join(op.text))
    join, shorten = op.join, _shorten(op)
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
                    return gone(value, scope)
                part += value if type(value) is str else v.spelled(value, join)
            if part:
                parts.append(part)
        text = join.join(parts)
        return shorten(text) if text or empty == "" else gone(empty, scope)

    return take


# -- when there is no value ----------------------------------------------------------------------------------------


def _gone(site: Site, op: s.Sourced, may_miss: bool, path: str) -> Convert:
    """What the operator does when its value is absent or null."""
    if site.going_out and op.null is not None:
        site.at("null").problem("a noun knows no difference of absent and null; state `missing:` alone")
    if (may_miss or op.empty == "missing") and op.missing is None:
        site.problem(f"{path} may be missing; state `missing:` default, skip, park or fail")
    missing = op.missing or "fail"
    absent = _act(site, missing, "is absent", path, op)
    null = _act(site, op.null or missing, "is null", path, op)
    return lambda value, scope: null(scope) if value is None else absent(scope)


def _miss(site: Site, op: s.Known, why: str, awaited: str, silent: s.Action = "fail") -> Convert:
    """What the operator does with a word that is not in its list."""
    action = op.unknown or silent
    if action in ("default", "skip"):
        take = _act(site, action, why, "", op)
        return lambda _value, scope: take(scope)

    def refuse(value: Any, _scope: Scope) -> Any:
        raise Unfit(why, value, waits_for=f"{awaited}{value}" if action == "park" else "")

    return refuse


def _act(site: Site, action: s.Action, why: str, path: str, op: s.Sourced | None = None) -> Take:
    """Does what an action says."""
    if action == "default" and op is not None:
        return _default(site, op)
    if action == "skip":
        return _nothing
    awaited = site.awaited(path) if action == "park" else ""

    def refuse(_scope: Scope) -> Any:
        raise Unfit(why, source=path, waits_for=awaited)

    return refuse


def _default(site: Site, op: s.Sourced) -> Take:
    """The default, in the form of the target; a bare amount is in the currency of the field."""
    there = site.at("default")
    if isinstance(op, s.MoneyOf) and op.currency and isinstance(op.default, (str, int, Decimal)):
        amount = there.at(target=Shape(Kind.DECIMAL)).constant(op.default)
        currency = _currency(site, op.currency)
        return lambda scope: v.money_in(amount, currency(scope))
    return there.literal(op.default)


# -- small things --------------------------------------------------------------------------------------------------


def _next(shape: Shape, step: Step) -> Shape | str:
    """The shape one step further, or what is wrong with the step."""
    if isinstance(step, int):
        return shape.item or f"[{step}] needs a list, and this is {shape.kind}"
    readable = shape.readable()
    if step in readable:
        return readable[str(step)]
    if shape.kind is Kind.LIST:
        return f"{step} is a field of one item, and this is a list: take one with [0], or use `each:`"
    return _unknown(str(step), readable, f"there is no field {step}")


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
    return _READ_AS[target.kind](value)


def _unknown(name: str, known: Iterable[str], message: str) -> str:
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]}?" if near else f"; there is {', '.join(names)}" if names else ""
    return message + hint


def _is_there(value: object) -> bool:
    return value is not ABSENT and value is not None


def _nothing(_scope: Scope) -> Any:
    return ABSENT


def _same(value: Any) -> Any:
    return value


def _as_is(value: Any, _scope: Scope) -> Any:
    return value
