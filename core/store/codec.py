"""The one bridge between nouns and rows, driven by the noun's own field types.

======================  ==========================================================
field of the noun       columns of the row
======================  ==========================================================
``Money``               ``<field>_minor``; the currency is ``<field>_currency``, else the row's (or its parent's)
``DateSpan``            ``<field>_start`` and ``<field>_end`` (exclusive)
``Decimal``             canonical text, without exponent
enum                    its value
nested noun, tuple      JSON text; a tuple named in ``Shape.children`` has a table of its own
anything else           as it is
======================  ==========================================================
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from functools import cached_property
from itertools import chain, islice
from operator import attrgetter
from types import UnionType
from typing import Annotated, Any, Generic, TypeVar, Union, get_args, get_origin

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo
from sqlmodel import SQLModel

from core.money import Money
from core.noun import Noun
from core.period import DateSpan

N = TypeVar("N", bound=Noun)
T = TypeVar("T")
Columns = dict[str, Any]
#: Rows column by column, each as long as the others.
ByColumn = dict[str, list[Any]]


#: Types that a database takes as they are.
_AS_THEY_ARE = frozenset([str, int, bool, date, datetime])

#: Most values that one IN list carries.
CHUNK = 500


def chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    return (values[i : i + CHUNK] for i in range(0, len(values), CHUNK))


def pages(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of at most ``size``, each made when it is asked for."""
    rest = iter(items)
    while page := list(islice(rest, size)):
        yield page


def _bare(annotation: Any) -> Any:
    """The type without ``Optional`` and ``Annotated``."""
    if get_origin(annotation) in (Union, UnionType):
        annotation = next(arg for arg in get_args(annotation) if arg is not type(None))
    return get_args(annotation)[0] if hasattr(annotation, "__metadata__") else annotation


def _whole(info: FieldInfo) -> Any:
    """The type of a field with what its annotation says of it."""
    return Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation


def canonical(number: Decimal) -> str:
    """The shortest plain text of an exact number: 5, 0.045, 1200."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


@dataclass(frozen=True)
class Shape(Generic[N]):
    """How one noun lies in one table. ``extra`` computes columns that the noun does not have, for queries."""

    noun: type[N]
    row: type[SQLModel]
    children: Mapping[str, Shape[Any]] = field(default_factory=dict)
    extra: Mapping[str, Callable[[N], Any]] = field(default_factory=dict)

    @cached_property
    def _types(self) -> dict[str, Any]:
        return {name: _bare(info.annotation) for name, info in self.noun.model_fields.items()}

    @cached_property
    def _adapters(self) -> dict[str, TypeAdapter[Any]]:
        return {name: TypeAdapter[Any](_whole(info)) for name, info in self.noun.model_fields.items()}

    def columns(self, noun: N) -> Columns:
        """The row of a noun, without its children."""
        row: Columns = {name: compute(noun) for name, compute in self.extra.items()}
        for name, read, write in self._written:
            value = read(noun)
            row[name] = value if value is None or write is None else write(value)
        return row

    def by_column(self, nouns: Sequence[N]) -> ByColumn:
        """The rows of nouns, without their children, column by column: many are made three times as fast so."""
        found: ByColumn = {name: [compute(noun) for noun in nouns] for name, compute in self.extra.items()}
        for name, read, write in self._written:
            values = list(map(read, nouns))
            found[name] = values if write is None else [None if one is None else write(one) for one in values]
        return found

    @cached_property
    def _written(self) -> list[tuple[str, Callable[[N], Any], Callable[[Any], Any] | None]]:
        """The columns of the fields that lie in the row itself: the field of each, and what makes it of the field's
        value (None: it is the value)."""
        own = [(name, get_origin(kind) or kind) for name, kind in self._types.items() if name not in self.children]
        return [
            (column, attrgetter(name), write)
            for name, kind in own
            for column, write in self._columns_of(name, kind).items()
        ]

    def _columns_of(self, name: str, kind: Any) -> Mapping[str, Callable[[Any], Any] | None]:
        if kind is Money:
            amount = {f"{name}_minor": attrgetter("minor")}
            own = {f"{name}_currency": attrgetter("currency")} if f"{name}_currency" in self.row.model_fields else {}
            return amount | own
        if kind is DateSpan:
            return {f"{name}_start": attrgetter("start"), f"{name}_end": attrgetter("end")}
        if kind in _AS_THEY_ARE:
            return {name: None}
        to_json = self._adapters[name].dump_json

        def write(value: Any) -> Any:
            if type(value) in _AS_THEY_ARE:
                return value
            if isinstance(value, Decimal):
                return canonical(value)
            if isinstance(value, Enum):
                return value.value
            return to_json(value).decode() if value or kind is not dict else "{}"

        return {name: write}

    def children_by_column(self, nouns: Sequence[N], name: str) -> ByColumn:
        """The rows of the children of nouns, column by column, in the order of their parents."""
        children = [getattr(noun, name) for noun in nouns]
        found = self.children[name].by_column(list(chain.from_iterable(children)))
        idents = (str(noun.id) for noun in nouns)  # type: ignore[attr-defined]
        found["parent_id"] = [ident for ident, of in zip(idents, children, strict=True) for _ in of]
        found["sequence"] = [i for of in children for i in range(len(of))]
        return found

    def noun_of(self, row: Mapping[str, Any], children: Mapping[str, list[Mapping[str, Any]]], currency: str = "") -> N:
        """The checked noun of a row. ``children`` holds the child rows by field name, in order."""
        row = dict(row)
        currency = row.get("currency") or currency
        values: Columns = {}
        for name, kind, read in self._read:
            if kind is Money:
                minor = row[f"{name}_minor"]
                values[name] = None if minor is None else Money(minor, row.get(f"{name}_currency") or currency)
            elif kind is DateSpan:
                values[name] = DateSpan(row[f"{name}_start"], row[f"{name}_end"])
            else:
                value = row[name]
                values[name] = value if read is None or value is None else read(value)
        for name, shape in self.children.items():
            values[name] = tuple(shape.noun_of(child, {}, currency) for child in children.get(name, []))
        return self.noun.model_validate(values)

    @cached_property
    def _read(self) -> list[tuple[str, Any, Callable[[Any], Any] | None]]:
        """The fields that lie in the row itself: their types, and what makes a value of their column."""
        own = [(name, kind) for name, kind in self._types.items() if name not in self.children]
        return [(name, kind, self._reader(name, kind)) for name, kind in own]

    def _reader(self, name: str, kind: Any) -> Callable[[Any], Any] | None:
        if kind in _AS_THEY_ARE:
            return None
        if kind is Decimal or (isinstance(kind, type) and issubclass(kind, Enum)):
            return kind
        from_json = self._adapters[name].validate_json
        return lambda value: from_json(value) if isinstance(value, str) else value


def dump(value: Mapping[str, Any]) -> str:
    """JSON of a vendor's answer, decimals and instants as text."""
    return json.dumps(value, default=str, sort_keys=True)
