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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from functools import cached_property
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


#: Most values that one IN list carries.
CHUNK = 500


def chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    return (values[i : i + CHUNK] for i in range(0, len(values), CHUNK))


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
        for name, kind in self._types.items():
            value = getattr(noun, name)
            if name in self.children:
                continue
            if kind is Money:
                row[f"{name}_minor"] = None if value is None else value.minor
                if f"{name}_currency" in self.row.model_fields:
                    row[f"{name}_currency"] = None if value is None else value.currency
            elif kind is DateSpan:
                row[f"{name}_start"], row[f"{name}_end"] = value.start, value.end
            elif value is None or type(value) in (str, int, bool, date, datetime):
                row[name] = value
            elif isinstance(value, Decimal):
                row[name] = canonical(value)
            elif isinstance(value, Enum):
                row[name] = value.value
            else:
                row[name] = self._adapters[name].dump_json(value).decode()
        return row

    def child_columns(self, noun: N, name: str) -> list[Columns]:
        shape, parent = self.children[name], str(noun.id)  # type: ignore[attr-defined]
        return [
            {**shape.columns(child), "parent_id": parent, "sequence": i} for i, child in enumerate(getattr(noun, name))
        ]

    def noun_of(self, row: Mapping[str, Any], children: Mapping[str, list[Mapping[str, Any]]], currency: str = "") -> N:
        """The checked noun of a row. ``children`` holds the child rows by field name, in order."""
        currency = row.get("currency") or currency
        values: Columns = {}
        for name, kind in self._types.items():
            if name in self.children:
                shape = self.children[name]
                values[name] = tuple(shape.noun_of(child, {}, currency) for child in children.get(name, []))
            elif kind is Money:
                minor = row[f"{name}_minor"]
                values[name] = None if minor is None else Money(minor, row.get(f"{name}_currency") or currency)
            elif kind is DateSpan:
                values[name] = DateSpan(row[f"{name}_start"], row[f"{name}_end"])
            else:
                value = row[name]
                if value is not None and kind is Decimal:
                    value = Decimal(value)
                elif value is not None and isinstance(kind, type) and issubclass(kind, Enum):
                    value = kind(value)
                elif isinstance(value, str) and kind is not str:
                    value = self._adapters[name].validate_json(value)
                values[name] = value
        return self.noun.model_validate(values)


def dump(value: Mapping[str, Any]) -> str:
    """JSON of a vendor's answer, decimals and instants as text."""
    return json.dumps(value, default=str, sort_keys=True)
