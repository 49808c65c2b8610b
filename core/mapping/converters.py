"""The operators that take one value: what each makes of it, in either direction."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from operator import attrgetter
from typing import Any

from core.mapping import spec as s
from core.mapping import values as v
from core.mapping.absence import miss
from core.mapping.shapes import Kind, Shape
from core.mapping.site import READ_AS, Convert, Scope, Site, Take, suggest
from core.mapping.values import ABSENT
from core.money import Money


def convert(site: Site, op: s.Sourced, source: Shape, currency: Take | None) -> Convert:
    """What an operator makes of a value of the shape ``source``; ``currency`` where money comes in."""
    match op:
        case s.CopyPath():
            return _copied(site, op, source)
        case s.MoneyOf():
            return _money_out(site, op) if site.going_out else _money_in(site, op, currency)
        case s.QuantityOf():
            return _quantity(site, op)
        case s.DateOf():
            return _date_out(site, op, source) if site.going_out else _date_in(site, op)
        case s.InstantOf(format=form, round=rounding):
            if site.going_out:
                return lambda value, _: v.instant_out(value, form, rounding)
            if rounding is not None:
                site.at("round").problem("an instant of ours keeps every microsecond; `round:` is for direction `out`")
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
    read_as: Callable[[Any], Any] = str if kind is Kind.ENUM else _same if site.going_out else READ_AS[kind]
    if op.max is None:
        return _as_is if read_as is _same else lambda value, _: read_as(value)
    shortened = shorten(op)
    return lambda value, _: shortened(read_as(value))


def shorten(op: s.Narrow) -> Callable[[str], str]:
    """Makes text as long as the other side takes."""
    most, too_long = op.max, op.too_long
    if most is None or too_long is None:
        return _same
    return lambda value: v.shortened(value, most, too_long)


def _money_out(site: Site, op: s.MoneyOf) -> Convert:
    if op.currency is not None:
        site.at("currency").problem("money carries its currency; `currency:` is for direction `in`")
    if op.round is not None:
        site.at("round").problem("money is exact already; `round:` is for direction `in`")
    signed: Callable[[Money], Money] = Money.__neg__ if op.sign else _same
    part: Callable[[Money], Any] = attrgetter("minor" if op.unit == "minor" else "amount")
    if signed is _same and op.form is None:
        return lambda value, _: part(value)
    spelled: Callable[[Any], Any] = str if op.form else _same
    return lambda value, _: spelled(part(signed(value)))


def _money_in(site: Site, op: s.MoneyOf, currency: Take | None) -> Convert:
    if op.form is not None:
        site.at("as").problem("is for direction `out`; numbers and text are both read")
    if currency is None:
        site.problem("say which currency the amount is in: `currency:` a path or {const: USD}")
        return _as_is
    signed: Callable[[Money], Money] = Money.__neg__ if op.sign else _same
    return lambda value, scope: signed(v.money_in(value, currency(scope), op.unit, op.round))


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
        site.problem("a date has no zone, its noon has one: `format: noon_instant` and `timezone:` belong together")
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
        site.at("table").problem(suggest(op.table, site.tables, "there is no such table"))
        return _as_is
    pairs = table.values.items()
    backward = [(right, left) for left, right in pairs]
    return _words(site.at("table"), op, backward if op.read == "backward" else pairs, f"the table {op.table}")


def _enum_out(site: Site, op: s.EnumOf, source: Shape) -> Convert:
    there = site.at("values")
    ours = source.words
    if ours:
        for word in op.values.keys() - set(ours):
            there.at(word).problem(suggest(word, ours, f"{op.enum} is never that"))
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
    missed = miss(site, op, f"is not in {where}", site.awaited(""))

    def find(value: Any, scope: Scope) -> Any:
        found = rows.get(value if type(value) is str else v.word(value), ABSENT)
        return missed(value, scope) if found is ABSENT else found

    return find


def _ref(site: Site, op: s.Ref) -> Convert:
    system, resource = op.system or site.spec.system, op.resource
    missed = miss(site, op, f"is not known to {system} as {resource} yet", f"{system}:{resource}:", silent="park")

    def find(value: Any, scope: Scope) -> Any:
        found = scope.refs(system, resource, value)
        return missed(value, scope) if found is None else found

    return find


def _same(value: Any) -> Any:
    return value


def _as_is(value: Any, _scope: Scope) -> Any:
    return value
