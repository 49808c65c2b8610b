"""A mapping file to start from, made of what a vendor describes and what a noun of ours holds.

Fields are matched by name and kind. What is demanded and cannot be matched stands in the file by name with what is
known of it, in a form that does not load: nothing is sent before a person has decided it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from core.errors import MappingError
from core.mapping.book import Mapping as MappingFile
from core.mapping.book import MappingBook, read_mapping
from core.mapping.examples import noun_of
from core.mapping.records import RECORDS
from core.mapping.shapes import Kind, Shape
from core.ports import DescribedField, FieldKind


@dataclass(frozen=True, slots=True)
class Header:
    """What the head of the file says. ``key``: their field that carries our key."""

    system: str
    record: str
    resource: str
    direction: str
    api: str
    source: str
    key: str


@dataclass(frozen=True, slots=True)
class Draft:
    """The text of a file, and the fields that a person must decide before it loads."""

    text: str
    undecided: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Line:
    """One field of the file: its operator, or what is known of it where there is none (``operator`` None)."""

    name: str
    operator: Mapping[str, Any] | None
    known: str = ""


#: Words of a field's name that tell it from no other.
NOISE = frozenset({"c", "tieout", "billing", "address", "1"})
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
#: What carries a value of ours, by its kind, to the kinds of field that take it.
_CARRIED: Mapping[Kind, tuple[str, FieldKind]] = {
    Kind.TEXT: ("path", FieldKind.TEXT),
    Kind.INTEGER: ("path", FieldKind.NUMBER),
    Kind.BOOLEAN: ("path", FieldKind.BOOLEAN),
    Kind.DECIMAL: ("quantity", FieldKind.NUMBER),
    Kind.MONEY: ("money", FieldKind.NUMBER),
    Kind.DATE: ("date", FieldKind.DATE),
    Kind.INSTANT: ("instant", FieldKind.INSTANT),
}


def draft(header: Header, there: Mapping[str, DescribedField], book: MappingBook) -> Draft:
    """A file for a record. MappingError when there is no such record, or no example of it to start from."""
    if header.record not in RECORDS:
        raise MappingError(f"there is no record {header.record}", file="new", field="record", value=header.record)
    noun = Shape(Kind.OBJECT, of=RECORDS[header.record])
    lines = list(_outgoing(header, there, noun) if header.direction == "out" else _incoming(there, noun))
    undecided = tuple(line.name for line in lines if line.operator is None)
    given = _example_of(header.record, book)
    example: dict[str, Any]
    if header.direction == "out":
        example = {"name": "replace it by a record of yours", "in": given, "out": {}}
    else:
        example = {"name": "a record that says nothing is refused", "in": {}, "fails": header.record}
    text = _text(header, lines, example)
    if undecided:
        return Draft(text, undecided)
    mapping = read_mapping(text.encode(), book.folder)
    if header.direction == "out":
        example["out"] = mapping.out(noun_of(mapping.noun, given), lambda *_: "their id")
    else:
        example["fails"] = _refusal(mapping)
    return Draft(_text(header, lines, example), ())


def _refusal(mapping: MappingFile) -> str:
    """The field by which a record that says nothing is refused."""
    try:
        mapping.into({})
    except MappingError as error:
        return error.field
    raise MappingError("the record demands nothing", file=mapping.file, field=mapping.record)


def _example_of(record: str, book: MappingBook) -> Mapping[str, Any]:
    """A noun of that record, from an example of any file."""
    for mapping in book:
        for example in mapping.examples:
            noun = example.given if mapping.direction == "out" else example.gives
            if mapping.record == record and noun and not example.fails and not example.parks:
                return noun
    raise MappingError(f"no mapping has an example of {record} to start from", file="new", field="record")


def _outgoing(header: Header, there: Mapping[str, DescribedField], noun: Shape) -> Iterator[_Line]:
    ours = dict(_leaves(noun, ""))
    by_words = {words: path for path in reversed(ours) if (words := _words(path.rpartition(".")[2]))}
    for name, about in there.items():
        if name == header.key or not about.writable:
            continue
        path = by_words.get(_words(name))
        operator = _carry(path, ours[path], about) if path else None
        if operator or about.required:
            yield _Line(name, operator, _known(about))


def _leaves(shape: Shape, at: str) -> Iterator[tuple[str, Shape]]:
    """The plain values of a noun by their paths, those of the objects inside it too."""
    for name, one in shape.settable().items():
        if one.kind is Kind.OBJECT:
            inner = _leaves(one, f"{at}{name}.")
            yield from ((path, replace(leaf, optional=leaf.optional or one.optional)) for path, leaf in inner)
        elif one.kind is not Kind.LIST:
            yield f"{at}{name}", one


def _words(name: str) -> tuple[str, ...]:
    return tuple(word.lower() for word in _WORD.findall(name) if word.lower() not in NOISE)


def _carry(path: str, shape: Shape, about: DescribedField) -> dict[str, Any] | None:
    """The operator that brings a value of ours to a field; None where they do not fit."""
    missing = {"missing": "fail" if about.required else "skip"} if shape.optional else {}
    if shape.kind is Kind.ENUM:
        fits = about.kind is FieldKind.TEXT and (not about.words or set(shape.words) <= about.words)
        return {"enum": path, "values": {word: word for word in shape.words}, **missing} if fits else None
    operator, takes = _CARRIED.get(shape.kind, ("", FieldKind.ANYTHING))
    if about.words or about.kind is not takes:
        return None
    if shape.kind is Kind.TEXT and about.length:
        return {operator: path, "max": about.length, "too_long": "fail", **missing}
    if shape.kind is Kind.INTEGER and about.spelled:
        return {"text": [f"{{{path}}}"], **missing}
    return {operator: path, **({"as": "text"} if about.spelled and operator == "quantity" else {}), **missing}


def _known(about: DescribedField) -> str:
    """What is known of a field that cannot be matched."""
    words = f"one of {', '.join(sorted(about.words))}" if about.words else str(about.kind)
    return f"{words}, at most {about.length} characters" if about.length and not about.words else words


def _incoming(there: Mapping[str, DescribedField], noun: Shape) -> Iterator[_Line]:
    theirs = dict(_described(there, ""))
    by_words = {words: path for path in reversed(theirs) if (words := _words(path.rpartition(".")[2]))}
    currency = by_words.get(("currency",)) or by_words.get(("currency", "iso", "code"))
    for name, shape in noun.settable().items():
        path = by_words.get(_words(name))
        operator = _take(path, theirs[path], shape, currency) if path else None
        if operator or shape.required:
            yield _Line(name, operator, str(shape.kind))


def _described(fields: Mapping[str, DescribedField], at: str) -> Iterator[tuple[str, DescribedField]]:
    for name, about in fields.items():
        if about.kind is FieldKind.OBJECT and about.fields:
            yield from _described(about.fields, f"{at}{name}.")
        elif about.kind is not FieldKind.LIST and re.fullmatch(r"[^.\[\]{}$^\s]+", name):
            yield f"{at}{name}", about


def _take(path: str, about: DescribedField, shape: Shape, currency: str | None) -> dict[str, Any] | None:
    """The operator that makes a value of ours from a field; None where they do not fit."""
    operator, takes = _CARRIED.get(shape.kind, ("", FieldKind.ANYTHING))
    if about.kind is not takes or (shape.kind is Kind.MONEY and currency is None):
        return None
    if shape.kind is Kind.INTEGER and about.spelled:
        return {"quantity": path, "places": 0, "missing": "fail" if shape.required else "skip"}
    more = {"currency": currency} if shape.kind is Kind.MONEY else {}
    return {operator: path, **more, "missing": "fail" if shape.required else "skip"}


# The text -------------------------------------------------------------------------------------------------------------

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_.@/ -]*(?<! )")
_OTHERWISE = frozenset({"true", "false", "null", "yes", "no", "on", "off"})


def _text(header: Header, lines: list[_Line], example: Mapping[str, Any]) -> str:
    key = [f"key: {{to: {header.key}, from: {_own_key(header.record)}}}"] if header.direction == "out" else []
    head = [f"{name}: {_flow(getattr(header, name))}" for name in ("system", "record", "resource", "direction")]
    told = [f"{name}: {json.dumps(getattr(header, name))}" for name in ("api", "source")]
    fields = [f"  {line.name}: {_flow(line.operator or {'undecided': line.known})}" for line in lines]
    parts = [f"    {name}: {_flow(value)}" for name, value in example.items()]
    shown = ["  -" + parts[0][3:], *parts[1:]]
    return "\n".join([*head, *told, *key, "fields:", *fields, "examples:", *shown, ""])


def _own_key(record: str) -> str:
    return "id" if "id" in RECORDS[record].model_fields else "code"


def _flow(value: Any) -> str:
    """A value on one line, as YAML reads it back."""
    match value:
        case Mapping():
            return "{" + ", ".join(f"{_flow(str(name))}: {_flow(item)}" for name, item in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(_flow, value)) + "]"
        case Decimal():
            return format(value, "f")
        case str() if _PLAIN.fullmatch(value) and value.lower() not in _OTHERWISE:
            return value
        case _:
            return json.dumps(value, ensure_ascii=False)
