"""From a checked grammar to one function: every path, target and modifier is proven before the first record is mapped.

The noun's side is typed by its annotations. On the other system's side every name may be absent. Compilation collects
all problems of a file, each with its route in the file; the functions it makes raise only :class:`Unfit`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from difflib import get_close_matches
from operator import attrgetter
from typing import Any, TypeAlias

from core.mapping import spec as s
from core.mapping import values as v
from core.mapping.shapes import ANYTHING, Kind, Shape
from core.mapping.spec import parse_path, parse_text
from core.mapping.strict_yaml import Route
from core.mapping.values import ABSENT, Unfit
from core.money import Money
from core.noun import Noun

#: The id that ``system`` gave to our record ``key`` of ``resource``; None when it is not there yet.
Refs: TypeAlias = Callable[[str, str, str], str | None]


@dataclass(slots=True)
class Scope:
    """The object whose fields are read, and the ones around it."""

    item: Any
    refs: Refs
    outer: Scope | None = None


#: The shapes of the objects around a path, innermost first.
Frames: TypeAlias = tuple[Shape, ...]
Take: TypeAlias = Callable[[Scope], Any]
Convert: TypeAlias = Callable[[Any, Scope], Any]

_TEXT = Shape(Kind.TEXT)
_SPELLED = frozenset({Kind.TEXT, Kind.INTEGER, Kind.DECIMAL, Kind.DATE, Kind.MONEY, Kind.ENUM, Kind.ANYTHING})
#: The operator that carries each kind of value.
_OPERATOR_OF = {
    Kind.TEXT: "path", Kind.INTEGER: "path", Kind.BOOLEAN: "path", Kind.ENUM: "enum", Kind.MONEY: "money",
    Kind.DECIMAL: "quantity", Kind.DATE: "date", Kind.INSTANT: "instant", Kind.LIST: "each", Kind.OBJECT: "object",
}  # fmt: skip
#: The kinds of the noun that each operator reads (direction out) or makes (direction in).
_READS: Mapping[type[s.Operator], frozenset[Kind]] = {
    s.CopyPath: frozenset({Kind.TEXT, Kind.INTEGER, Kind.BOOLEAN, Kind.ENUM}),
    s.MoneyOf: frozenset({Kind.MONEY}),
    s.QuantityOf: frozenset({Kind.DECIMAL, Kind.INTEGER}),
    s.DateOf: frozenset({Kind.DATE, Kind.INSTANT}),
    s.InstantOf: frozenset({Kind.INSTANT}),
    s.Lookup: frozenset({Kind.TEXT, Kind.ENUM}),
    s.Ref: frozenset({Kind.TEXT}),
    s.EnumOf: frozenset({Kind.TEXT, Kind.ENUM, Kind.BOOLEAN}),
}
_MAKES: Mapping[type[s.Operator], frozenset[Kind]] = {
    s.CopyPath: frozenset({Kind.TEXT, Kind.INTEGER, Kind.BOOLEAN}),
    s.MoneyOf: frozenset({Kind.MONEY}),
    s.QuantityOf: frozenset({Kind.DECIMAL, Kind.INTEGER}),
    s.DateOf: frozenset({Kind.DATE}),
    s.InstantOf: frozenset({Kind.INSTANT}),
    s.Lookup: frozenset({Kind.TEXT, Kind.INTEGER, Kind.BOOLEAN, Kind.ENUM}),
    s.EnumOf: frozenset({Kind.TEXT, Kind.ENUM, Kind.BOOLEAN}),
    s.TextOf: frozenset({Kind.TEXT}),
    s.Each: frozenset({Kind.LIST}),
    s.Object: frozenset({Kind.OBJECT}),
    s.ListOf: frozenset(),
    s.Ref: frozenset(),
}
_READ_AS: Mapping[Kind, Callable[[object], Any]] = {
    Kind.TEXT: v.text_in,
    Kind.INTEGER: v.integer_in,
    Kind.BOOLEAN: v.boolean_in,
    Kind.DECIMAL: lambda value: v.quantity_in(value, None, None),
    Kind.DATE: v.date_in,
    Kind.INSTANT: lambda value: v.instant_in(value, "iso"),
}


def compile_fields(spec: s.Spec, noun: Shape, tables: Mapping[str, s.Table]) -> tuple[Take, list[tuple[Route, str]]]:
    """The function that makes all target fields of a spec, and every problem found. Problems: do not run it."""
    compiler = _Compiler(spec, tables)
    if spec.direction == "out":
        take = compiler.fields(spec.fields, (noun,), ANYTHING, ("fields",))
        if spec.key:
            compiler.key(spec.key, noun)
    else:
        take = compiler.fields(spec.fields, (ANYTHING,), noun, ("fields",))
    return take, compiler.problems


@dataclass
class _Compiler:
    spec: s.Spec
    tables: Mapping[str, s.Table]
    problems: list[tuple[Route, str]] = field(default_factory=list)

    def problem(self, route: Route, message: str) -> Take:
        self.problems.append((route, message))
        return _nothing

    # -- targets ---------------------------------------------------------------------------------------------------

    def key(self, key: s.Key, noun: Shape) -> None:
        _, shape = self.reader(key.origin, (noun,), ("key", "from"))
        if shape and (shape.kind is not Kind.TEXT or shape.optional):
            self.problem(("key", "from"), f"a key is text that is always there; {key.origin} is not")

    def fields(self, fields: Mapping[str, s.Operator], frames: Frames, target: Shape, route: Route) -> Take:
        """Makes the target object as a dict, in the order of the file."""
        wanted = target.settable()
        if target is not ANYTHING:
            for name in sorted(fields.keys() - wanted.keys()):
                self.problem((*route, name), _unknown(name, wanted, "the record has no such field"))
            for name in (name for name, shape in wanted.items() if shape.required and name not in fields):
                self.problem(route, f"the required field {name} is not mapped")
        takes = tuple(
            (name, self.operator(operator, frames, wanted.get(name, ANYTHING), (*route, name)))
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

    def operator(self, op: s.Operator, frames: Frames, target: Shape, route: Route) -> Take:
        if self.spec.direction == "in" and target is not ANYTHING:
            if target.required and "skip" in (*op.actions, op.otherwise):
                self.problem(route, "the record is not valid without this field, so it cannot be skipped")
            kinds = _MAKES.get(type(op))
            if kinds is not None and target.kind not in kinds:
                return self.problem(
                    route, f"makes no {target.kind}; the field is {target.kind}: use `{_OPERATOR_OF[target.kind]}:`"
                )
        take = self.plain(op, frames, target, route)
        if op.when is None:
            return take
        holds = self.condition(op.when, frames, (*route, "when"))
        if isinstance(op.otherwise, s.Operator):
            other = self.operator(op.otherwise, frames, target, (*route, "otherwise"))
        else:
            other = _action(op.otherwise or "fail", "the condition does not hold", self.waits_for(op.when.path))
        return lambda scope: take(scope) if holds(scope) else other(scope)

    def plain(self, op: s.Operator, frames: Frames, target: Shape, route: Route) -> Take:
        match op:
            case s.Const():
                return self.literal(op.const, target, (*route, "const"))
            case s.Object():
                return self.fields(op.object, frames, target, (*route, "object"))
            case s.ListOf():
                return self.list_of(op, frames, route)
            case s.Each():
                return self.each(op, frames, target, route)
            case s.TextOf():
                return self.text(op, frames, target, route)
            case _:
                return self.value(op, frames, target, route)

    def list_of(self, op: s.ListOf, frames: Frames, route: Route) -> Take:
        takes = [self.operator(one, frames, ANYTHING, (*route, "list", i)) for i, one in enumerate(op.list)]

        def take(scope: Scope) -> list[Any]:
            made = []
            for i, one in enumerate(takes):
                try:
                    value = one(scope)
                except Unfit as unfit:
                    unfit.within(f"[{i}]")
                    raise
                if value is not ABSENT:
                    made.append(value)
            return made

        return take

    def each(self, op: s.Each, frames: Frames, target: Shape, route: Route) -> Take:
        path = parse_path(op.each)
        levels: list[Take] = []
        may_miss = False
        for i, steps in enumerate(_split(path.steps)):
            level, shape = self.steps(path.up if i == 0 else 0, steps, frames, (*route, "each"))
            if shape is None:
                return _nothing
            if shape.kind not in (Kind.LIST, Kind.ANYTHING):
                return self.problem((*route, "each"), f"{op.each} is {shape.kind}, not a list")
            item = shape.item or ANYTHING
            if item.kind not in (Kind.OBJECT, Kind.ANYTHING):
                return self.problem(
                    (*route, "each"), f"the items of {op.each} have no fields; use `text:` with `join:`"
                )
            levels.append(level)
            frames = (item, *frames)
            may_miss |= shape.optional
        gone = self.gone(op, frames, target, may_miss, op.each, route)
        make = self.fields(op.fields, frames, target.item or ANYTHING, (*route, "fields"))
        collect = list if target is ANYTHING else tuple

        def take(scope: Scope) -> Any:
            value = levels[0](scope)
            if value is ABSENT or value is None:
                return gone(value, scope)
            made = []
            for inner in _items(value, levels[1:], scope, op.each):
                try:
                    made.append(make(inner))
                except Unfit as unfit:
                    unfit.within(f"[{len(made)}]")
                    raise
            return collect(made)

        return take

    # -- values ----------------------------------------------------------------------------------------------------

    def value(self, op: s.Operator, frames: Frames, target: Shape, route: Route) -> Take:
        """An operator that takes the value at one path."""
        name = next(name for name, kind in s.OPERATORS.items() if kind is type(op))
        path: str = getattr(op, name)
        read, shape = self.reader(path, frames, (*route, name))
        if shape is None:
            return _nothing
        if self.spec.direction == "out" and shape.kind not in _READS[type(op)]:
            return self.problem(
                (*route, name), f"{path} is {shape.kind}: use `{_OPERATOR_OF[shape.kind]}:`, not `{name}:`"
            )
        convert = self.convert(op, shape, target, frames, route)
        gone = self.gone(op, frames, target, shape.optional, path, route)
        empty = op.empty

        def take(scope: Scope) -> Any:
            value = read(scope)
            if empty is not None and value == "":
                value = ABSENT if empty == "missing" else None
            try:
                if value is ABSENT or value is None:
                    return gone(ABSENT if empty == "missing" else value, scope)
                return convert(value, scope)
            except Unfit as unfit:
                unfit.source = unfit.source or path
                raise

        return take

    def convert(self, op: s.Operator, source: Shape, target: Shape, frames: Frames, route: Route) -> Convert:
        going_out = self.spec.direction == "out"
        match op:
            case s.CopyPath():
                return self.copied(op, source, target, route)
            case s.MoneyOf():
                return self.money_out(op, route) if going_out else self.money_in(op, frames, route)
            case s.QuantityOf():
                return self.quantity(op, target, route)
            case s.DateOf():
                return self.date_out(op, source, route) if going_out else self.date_in(op, route)
            case s.InstantOf(format=form, round=rounding):
                if going_out:
                    return lambda value, _: v.instant_out(value, form, rounding)
                return lambda value, _: v.instant_in(value, form)
            case s.Lookup():
                return self.lookup(op, frames, target, route)
            case s.EnumOf():
                return (
                    self.enum_out(op, source, frames, target, route)
                    if going_out
                    else self.enum_in(op, frames, target, route)
                )
            case s.Ref():
                return self.ref(op, frames, target, route)
        raise TypeError(f"{type(op).__name__} takes no single value")

    def copied(self, op: s.CopyPath, source: Shape, target: Shape, route: Route) -> Convert:
        kind = source.kind if source is not ANYTHING else target.kind
        if op.max is not None and kind is not Kind.TEXT:
            self.problem((*route, "max"), "only text can be too long")
        if source.kind is Kind.ENUM:
            return lambda value, _: value.value
        read_as = _READ_AS[kind] if source is ANYTHING and target is not ANYTHING else _same
        most, too_long = op.max, op.too_long
        if most is not None and too_long is not None:
            return lambda value, _: v.shortened(read_as(value), most, too_long)
        return lambda value, _: read_as(value)

    def money_out(self, op: s.MoneyOf, route: Route) -> Convert:
        if op.currency is not None:
            self.problem((*route, "currency"), "money carries its currency; `currency:` is for direction `in`")
        sign = -1 if op.sign else 1
        if op.unit == "minor":
            return (lambda value, _: str(sign * value.minor)) if op.form else (lambda value, _: sign * value.minor)
        if op.form:
            return lambda value, _: str(sign * value.amount)
        return lambda value, _: sign * value.amount if sign < 0 else value.amount

    def money_in(self, op: s.MoneyOf, frames: Frames, route: Route) -> Convert:
        if op.form is not None:
            self.problem((*route, "as"), "`as:` is for direction `out`; a number and text are both read")
        if op.currency is None:
            self.problem(route, "say which currency the amount is in: `currency:` a path or {const: USD}")
            return _same_value
        currency = self.currency(op, frames, route)
        unit, rounding, negate = op.unit, op.round, op.sign is not None

        def convert(value: Any, scope: Scope) -> Money:
            money = v.money_in(value, currency(scope), unit, rounding)
            return -money if negate else money

        return convert

    def currency(self, op: s.MoneyOf, frames: Frames, route: Route) -> Take:
        said = op.currency
        if isinstance(said, str):
            said = s.CopyPath(path=said, missing="fail")
        if said is None:
            return _nothing
        take = self.operator(said, frames, _TEXT, (*route, "currency"))

        def code(scope: Scope) -> str:
            try:
                return str(take(scope))
            except Unfit as unfit:
                unfit.message = f"the currency {unfit.message}"
                raise

        return code

    def quantity(self, op: s.QuantityOf, target: Shape, route: Route) -> Convert:
        places, rounding = op.places, op.round
        if op.round and op.places is None:
            self.problem((*route, "round"), "`round:` narrows to `places:` decimals; state them")
        if target.kind is Kind.INTEGER:
            if places != 0:
                self.problem(route, "the field is a whole number; state `places: 0`")
            return lambda value, _: int(v.quantity_in(value, 0, rounding))
        if self.spec.direction == "in":
            if op.form is not None:
                self.problem((*route, "as"), "`as:` is for direction `out`; a number and text are both read")
            return lambda value, _: v.quantity_in(value, places, rounding)
        if op.form:
            return lambda value, _: format(v.quantity_in(value, places, rounding), "f")
        return lambda value, _: v.quantity_in(value, places, rounding)

    def date_out(self, op: s.DateOf, source: Shape, route: Route) -> Convert:
        tz = op.timezone
        if tz is None and (source.kind is Kind.INSTANT or op.format == "noon_instant"):
            what = f"{op.date} is an instant" if source.kind is Kind.INSTANT else "noon is another instant in each zone"
            self.problem(route, f"{what}; state `timezone:`")
            return _same_value
        if tz is not None and source.kind is Kind.DATE and op.format == "iso":
            self.problem((*route, "timezone"), "a calendar date has no zone")
            return _same_value
        day: Callable[[Any], Any] = (lambda value: v.day_of(value, tz or "")) if source.kind is Kind.INSTANT else _same
        if op.format == "noon_instant":
            return lambda value, _: v.noon(day(value), tz or "")
        return lambda value, _: day(value).isoformat()

    def date_in(self, op: s.DateOf, route: Route) -> Convert:
        tz = op.timezone
        if tz is None:
            if op.format == "noon_instant":
                self.problem(route, "the day of an instant depends on the zone; state `timezone:`")
            return lambda value, _: v.date_in(value)
        return lambda value, _: v.day_of(v.instant_in(value, "iso"), tz)

    def lookup(self, op: s.Lookup, frames: Frames, target: Shape, route: Route) -> Convert:
        table = self.tables.get(op.table)
        if table is None:
            self.problem((*route, "table"), _unknown(op.table, self.tables, "there is no such table"))
            return _same_value
        pairs: list[tuple[Any, Any]] = list(table.values.items())
        if op.read == "backward":
            pairs = [(right, left) for left, right in pairs]
        return self.words(op, pairs, frames, target, f"a row of the table {op.table}", (*route, "table"), route)

    def enum_out(self, op: s.EnumOf, source: Shape, frames: Frames, target: Shape, route: Route) -> Convert:
        ours = source.words or (("true", "false") if source.kind is Kind.BOOLEAN else ())
        if ours:
            for word in op.values.keys() - set(ours):
                self.problem((*route, "values", word), _unknown(word, ours, f"{op.enum} is never that"))
            left_out = [word for word in ours if word not in op.values]
            if left_out and op.unknown is None:
                self.problem((*route, "values"), f"{', '.join(left_out)} is not mapped; map it or state `unknown:`")
        pairs = []
        for left, right in op.values.items():
            if isinstance(right, list):
                self.problem((*route, "values", left), "only direction `in` takes a list of words for one of ours")
            pairs.append((left == "true" if source.kind is Kind.BOOLEAN else left, right))
        return self.words(op, pairs, frames, target, "a word of `values:`", (*route, "values"), route)

    def enum_in(self, op: s.EnumOf, frames: Frames, target: Shape, route: Route) -> Convert:
        pairs = [
            (theirs, left == "true" if target.kind is Kind.BOOLEAN and left in ("true", "false") else left)
            for left, right in op.values.items()
            for theirs in (right if isinstance(right, list) else [right])
        ]
        return self.words(op, pairs, frames, target, "a word of `values:`", (*route, "values"), route)

    def words(
        self,
        op: s.Known,
        pairs: Sequence[tuple[Any, Any]],
        frames: Frames,
        target: Shape,
        what: str,
        at: Route,
        route: Route,
    ) -> Convert:
        """Finds the second of a pair by the first."""
        rows: dict[object, Any] = {}
        for given, found in pairs:
            if v.word(given) in rows:
                self.problem(at, f"{v.shown(given)} stands for two different words")
            rows[v.word(given)] = self.constant(found, target, at)
        miss = self.unknown(op, frames, target, f"is not {what}", route)

        def convert(value: Any, scope: Scope) -> Any:
            found = rows.get(v.word(value), ABSENT)
            return miss(value, scope) if found is ABSENT else found

        return convert

    def ref(self, op: s.Ref, frames: Frames, target: Shape, route: Route) -> Convert:
        system, resource = op.system or self.spec.system, op.resource
        miss = self.unknown(op, frames, target, f"is not known to {system} as {resource} yet", route)

        def convert(value: Any, scope: Scope) -> Any:
            found = scope.refs(system, resource, value)
            return miss(value, scope) if found is None else found

        return convert

    def text(self, op: s.TextOf, frames: Frames, target: Shape, route: Route) -> Take:
        parts: list[list[str | Take]] = []
        may_miss = False
        for i, template in enumerate(op.text):
            pieces: list[str | Take] = []
            found = parse_text(template)
            for piece in found:
                if isinstance(piece, str):
                    pieces.append(piece)
                    continue
                read, shape = self.steps(piece.up, piece.steps, frames, (*route, "text", i))
                if shape is None:
                    continue
                may_miss |= shape.optional
                listed = shape.kind is Kind.LIST and len(found) == 1 and shape.item and shape.item.kind in _SPELLED
                if not listed and shape.kind not in _SPELLED:
                    self.problem((*route, "text", i), f"{template} holds {shape.kind}, which has no agreed spelling")
                pieces.append(read)
            parts.append(pieces)
        gone = self.gone(op, frames, target, may_miss, ", ".join(op.text), route)
        join, most, too_long = op.join, op.max, op.too_long

        def take(scope: Scope) -> Any:
            spelled = []
            for pieces in parts:
                part = ""
                for piece in pieces:
                    value = piece if isinstance(piece, str) else piece(scope)
                    if value is ABSENT or value is None:
                        return gone(value, scope)
                    part += join.join(map(v.spelled, value)) if type(value) is tuple else v.spelled(value)
                if part:
                    spelled.append(part)
            text = join.join(spelled)
            if text == "" and op.empty is not None:
                return gone(ABSENT if op.empty == "missing" else None, scope)
            return text if most is None or too_long is None else v.shortened(text, most, too_long)

        return take

    # -- when there is no value ------------------------------------------------------------------------------------

    def waits_for(self, path: str) -> str:
        return f"{self.spec.system}:{self.spec.resource}:{path}"

    def gone(self, op: s.Operator, frames: Frames, target: Shape, may_miss: bool, path: str, route: Route) -> Convert:
        """What the operator does when its value is absent or null."""
        if self.spec.direction == "out" and op.null is not None:
            self.problem((*route, "null"), "a noun knows no difference of absent and null; state `missing:` alone")
        if (may_miss or op.empty == "missing") and op.missing is None:
            self.problem(route, f"{path} may be missing; state `missing:` default, skip, park or fail")
        missing = op.missing or "fail"
        absent = self.action(missing, op, frames, target, f"{path} is absent", path, route)
        null = self.action(op.null or missing, op, frames, target, f"{path} is null", path, route)
        return lambda value, scope: null(scope) if value is None else absent(scope)

    def unknown(self, op: s.Known, frames: Frames, target: Shape, why: str, route: Route) -> Convert:
        """What the operator does with a word that is not in its list."""
        action = op.unknown or ("park" if isinstance(op, s.Ref) else "fail")
        if action in ("default", "skip"):
            take = self.action(action, op, frames, target, why, "", route)
            return lambda _value, scope: take(scope)
        if isinstance(op, s.Ref):
            awaited = f"{op.system or self.spec.system}:{op.resource}:"
        else:
            awaited = self.waits_for("")

        def refuse(value: Any, _scope: Scope) -> Any:
            raise Unfit(why, value, waits_for=f"{awaited}{v.spelled(value)}" if action == "park" else "")

        return refuse

    def action(
        self, action: str, op: s.Operator, frames: Frames, target: Shape, why: str, path: str, route: Route
    ) -> Take:
        if action != "default":
            return _action(action, why, self.waits_for(path))
        if isinstance(op, s.MoneyOf) and target.kind is Kind.MONEY and isinstance(op.default, (str, int, Decimal)):
            currency, amount = self.currency(op, frames, route), op.default
            return lambda scope: v.money_in(amount, currency(scope), "major", None)
        return self.literal(op.default, target, (*route, "default"))

    def literal(self, value: Any, target: Shape, route: Route) -> Take:
        """A value written in the file, in the form of the target."""
        made = self.constant(value, target, route)
        if isinstance(made, (dict, list)):
            return lambda _: copy.deepcopy(made)
        return lambda _: made

    def constant(self, value: Any, target: Shape, route: Route) -> Any:
        try:
            return _constant(value, target)
        except (Unfit, ValueError, TypeError, KeyError):
            self.problem(
                route, _unknown(v.spelled(value), target.words, f"{v.shown(value)} does not fit {target.kind}")
            )
            return None

    def condition(self, when: s.Condition, frames: Frames, route: Route) -> Callable[[Scope], bool]:
        read, shape = self.reader(when.path, frames, (*route, "path"))
        if shape is None:
            return lambda _: False
        if when.stated("present"):
            wanted = when.present
            return lambda scope: _is_there(read(scope)) is wanted
        asked: list[Any] = when.one_of or [when.equals]
        for value in asked:
            self.constant(value, shape, route)
        words = frozenset(map(v.word, asked))

        def holds(scope: Scope) -> bool:
            return v.word(read(scope)) in words

        return holds

    # -- paths -----------------------------------------------------------------------------------------------------

    def reader(self, path: str, frames: Frames, route: Route) -> tuple[Take, Shape | None]:
        parsed = parse_path(path)
        return self.steps(parsed.up, parsed.steps, frames, route)

    def steps(self, up: int | None, steps: Sequence[s.Step], frames: Frames, route: Route) -> tuple[Take, Shape | None]:
        """The function that walks a path, and the shape it leads to; None after a problem."""
        if up is not None and up >= len(frames):
            return self.problem(route, f"the path goes {up} `each` out, but there are {len(frames) - 1}"), None
        shape: Shape | None = frames[-1 if up is None else up]
        optional = False
        for step in steps:
            assert shape is not None
            if shape is ANYTHING:
                return _from(up, _walk_data(tuple(steps))), ANYTHING
            shape, message = _next(shape, step)
            if shape is None:
                return self.problem(route, message), None
            optional |= shape.optional or type(step) is int
        assert shape is not None
        return _from(up, _walk_noun(tuple(steps), optional)), replace(shape, optional=optional)


def _next(shape: Shape, step: s.Step) -> tuple[Shape | None, str]:
    """The shape one step further, or what is wrong with the step."""
    if type(step) is int:
        return (
            (shape.item, "") if shape.kind is Kind.LIST else (None, f"[{step}] needs a list, and this is {shape.kind}")
        )
    readable = shape.readable()
    if step in readable:
        return readable[str(step)], ""
    what = "a list; take one with [0], or use `each:`" if shape.kind is Kind.LIST else f"{shape.kind}"
    hint = _unknown(str(step), readable, f"there is no {step} here" if readable else f"this is {what}")
    return None, hint


def _from(up: int | None, walk: Callable[[Any], Any]) -> Take:
    """Walks from the object ``up`` levels out."""
    if up == 0:
        return lambda scope: walk(scope.item)
    if up == 1:
        return lambda scope: walk(scope.outer.item)  # type: ignore[union-attr]

    def take(scope: Scope) -> Any:
        left = up
        while scope.outer is not None and left != 0:
            scope = scope.outer
            left = None if left is None else left - 1
        return walk(scope.item)

    return take


def _walk_noun(steps: tuple[s.Step, ...], optional: bool) -> Callable[[Any], Any]:
    if not optional:
        return attrgetter(".".join(map(str, steps)))

    def walk(value: Any) -> Any:
        for step in steps:
            if value is None:
                return None
            if isinstance(step, int):
                value = value[step] if step < len(value) else None
            else:
                value = getattr(value, str(step))
        return value

    return walk


def _walk_data(steps: tuple[s.Step, ...]) -> Callable[[Any], Any]:
    """Walks another system's data. Absent or null on the way is absent or null at the end."""
    first = steps[0]
    if len(steps) == 1:
        return lambda value: value.get(first, ABSENT)

    def walk(value: Any) -> Any:
        for i, step in enumerate(steps):
            if value is None or value is ABSENT:
                return value
            if isinstance(step, int):
                if not isinstance(value, list):
                    raise Unfit(f"{_spell(steps[:i])} is no list", value)
                value = value[step] if step < len(value) else ABSENT
            elif isinstance(value, Mapping):
                value = value.get(step, ABSENT)
            else:
                raise Unfit(f"{_spell(steps[:i])} has no fields", value)
        return value

    return walk


def _spell(steps: Sequence[s.Step]) -> str:
    return ".".join(f"[{step}]" if isinstance(step, int) else str(step) for step in steps).replace(".[", "[")


def _split(steps: Sequence[s.Step]) -> list[tuple[s.Step, ...]]:
    """The parts of a path between its ``[]``."""
    parts: list[list[s.Step]] = [[]]
    for step in steps:
        if step is s.EachItem:
            parts.append([])
        else:
            parts[-1].append(step)
    return [tuple(part) for part in parts if part]


def _items(value: Any, levels: Sequence[Take], scope: Scope, path: str) -> Iterator[Scope]:
    """The items of a list, or of the lists further in; a list missing further in has no items."""
    if not isinstance(value, (list, tuple)):
        raise Unfit("is no list", value, source=path)
    for item in value:
        inner = Scope(item, scope.refs, scope)
        if not isinstance(item, (Mapping, Noun)):
            raise Unfit("holds something that has no fields", item, source=path)
        if not levels:
            yield inner
        elif _is_there(deeper := levels[0](inner)):
            yield from _items(deeper, levels[1:], inner, path)


def _constant(value: Any, target: Shape) -> Any:
    """A value written in a mapping file, in the form of the target: text for a date, a word for an enumeration."""
    if value is None and target.optional:
        return None
    match target.kind:
        case Kind.ANYTHING:
            return value
        case Kind.ENUM if target.of is not None:
            return target.of(value)
        case Kind.MONEY:
            return Money.of(Decimal(value["amount"]), value["currency"])
        case Kind.LIST if value == []:
            return ()
        case kind if kind in _READ_AS:
            return _READ_AS[kind](value)
    raise Unfit("cannot be written in a mapping file", value)


def _action(action: str, why: str, waits_for: str) -> Take:
    def refuse(_scope: Scope) -> Any:
        raise Unfit(why, waits_for=waits_for if action == "park" else "")

    return _nothing if action == "skip" else refuse


def _unknown(name: str, known: Iterable[str], message: str) -> str:
    near = get_close_matches(name, sorted(known), n=1)
    if near:
        return f"{message}; did you mean {near[0]}?"
    return f"{message}; there is {', '.join(known)}" if known else message


def _is_there(value: object) -> bool:
    return value is not ABSENT and value is not None


def _nothing(_scope: Scope) -> Any:
    return ABSENT


def _same(value: Any) -> Any:
    return value


def _same_value(value: Any, _scope: Scope) -> Any:
    return value
