"""A mapping as a table that a finance clerk can review: one row per target field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from core.mapping import spec as s


@dataclass(frozen=True, slots=True)
class Row:
    """``field``: the target, indented by its depth; ``takes``: where the value comes from; ``rule``: what happens to
    it; ``missing``: what happens when there is none."""

    field: str
    takes: str
    rule: str
    missing: str
    note: str = ""


def rows(spec: s.Spec) -> list[Row]:
    """The whole mapping, in the order of the file."""
    return [*_key(spec), *_rows(spec.fields, 0)]


def _key(spec: s.Spec) -> Iterator[Row]:
    if spec.key:
        yield Row(spec.key.to, spec.key.origin, "our key at the other system", "")


def _rows(fields: Mapping[str, s.Operator], depth: int) -> Iterator[Row]:
    for name, operator in fields.items():
        yield from _row(f"{'  ' * depth}{name}", operator, depth)


def _row(field: str, op: s.Operator, depth: int) -> Iterator[Row]:
    takes, rule = _says(op)
    said = [rule, f"only when {_condition(op.when)}" if op.when else "", _kept(op)]
    yield Row(field, takes, "; ".join(filter(None, said)), _missing(op), op.note or "")
    match op:
        case s.Each(fields=inner) | s.Object(object=inner):
            yield from _rows(inner, depth + 1)
        case s.ListOf(list=items):
            for i, item in enumerate(items):
                yield from _row(f"{'  ' * (depth + 1)}[{i}]", item, depth + 1)
        case _:
            pass
    match op.otherwise:
        case s.Operator() as other:
            yield from _row(f"{'  ' * depth}  otherwise", other, depth + 1)
        case str() as action:
            yield Row(f"{'  ' * depth}  otherwise", "", _ACTIONS[action], "")
        case None:
            pass


_ACTIONS = {
    "skip": "left out",
    "park": "the record waits",
    "fail": "the record is refused",
}


def _says(op: s.Operator) -> tuple[str, str]:
    """What an operator takes, and its rule, in plain words."""
    match op:
        case s.CopyPath():
            return op.path, _joined("as it is", _length(op))
        case s.Const():
            return _value(op.const), "always"
        case s.MoneyOf():
            unit = "whole minor units" if op.unit == "minor" else "amount"
            currency = op.currency if isinstance(op.currency, str) else op.currency and " ".join(_says(op.currency))
            sign = "with the opposite sign" if op.sign else ""
            return op.money, _joined(
                f"{unit}{' as text' if op.form else ''}", sign, currency and f"in {currency}", _rounding(op.round)
            )
        case s.QuantityOf():
            places = "" if op.places is None else f"{op.places} decimals"
            return op.quantity, _joined("number as text" if op.form else "number", places, _rounding(op.round))
        case s.DateOf():
            noon = "as 12:00 of the day" if op.format == "noon_instant" else ""
            return op.date, _joined("calendar date", noon, op.timezone and f"in {op.timezone}")
        case s.InstantOf():
            return op.instant, _joined(f"instant as {op.format}", _rounding(op.round))
        case s.Lookup():
            return op.lookup, _joined(
                f"table {op.table}{', read backward' if op.read == 'backward' else ''}", _miss(op)
            )
        case s.Ref():
            return op.ref, _joined(f"its id as {op.resource} at {op.system or 'the same system'}", _miss(op))
        case s.EnumOf():
            pairs = ", ".join(f"{ours} ↔ {_words(theirs)}" for ours, theirs in op.values.items())
            return op.enum, _joined(pairs, _miss(op))
        case s.TextOf():
            return " | ".join(op.text), _joined("text", op.join and f"joined by {op.join!r}", _length(op))
        case s.Each():
            return op.each, "one object for each item"
        case s.Object():
            return "", "an object of"
        case s.ListOf():
            return "", "a list of"
        case s.SumOf():
            return op.sum, f"the sum over all items of {' '.join(_says(op.of))}"
    raise TypeError(f"{type(op).__name__} has no wording")


def _missing(op: s.Operator) -> str:
    if not isinstance(op, s.Sourced):
        return ""
    said = [] if op.missing is None else [_act(op.missing, op)]
    if op.null is not None:
        said.append(f"null: {_act(op.null, op)}")
    if op.empty is not None:
        said.append(f"empty text counts as {op.empty}")
    return "; ".join(said)


def _miss(op: s.Known) -> str:
    if op.unknown is None:
        return ""
    return f"another word: {_act(op.unknown, op)}"


def _act(action: s.Action, op: s.Sourced) -> str:
    return f"{_value(op.default)} instead" if action == "default" else _ACTIONS[action]


def _kept(op: s.Operator) -> str:
    first = "only when created" if op.only_create else ""
    winner = {"hub": "our value wins", "them": "their value wins", None: ""}[op.owner]
    return _joined(first, winner)


def _condition(when: s.Condition) -> str:
    if when.one_of:
        return f"{when.path} is one of {_words(when.one_of)}"
    if when.stated("present"):
        return f"{when.path} is {'' if when.present else 'not '}present"
    return f"{when.path} is {_value(when.equals)}"


def _length(op: s.Narrow) -> str:
    return "" if op.max is None else f"at most {op.max} characters, longer: {op.too_long}"


def _rounding(rounding: object) -> str:
    return f"rounded {rounding}" if rounding else ""


def _words(value: object) -> str:
    return " or ".join(map(_value, value)) if isinstance(value, list) else _value(value)


def _value(value: object) -> str:
    if value is None:
        return "null"
    return repr(value) if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)


def _joined(*parts: object) -> str:
    return ", ".join(str(part) for part in parts if part)
