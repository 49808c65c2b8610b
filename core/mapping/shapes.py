"""What a path leads to: the nouns of the core as shapes, read from their type annotations.

The other system's side has no shape of ours: it is ``ANYTHING``, where each name may be absent.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import AwareDatetime

from core.money import Money
from core.noun import Noun


class Kind(StrEnum):
    """What kind of value it is; the value of a member is how a message names it."""

    TEXT = "text"
    INTEGER = "a whole number"
    BOOLEAN = "true or false"
    DECIMAL = "a quantity"
    DATE = "a date"
    INSTANT = "an instant"
    MONEY = "money"
    ENUM = "one of a few words"
    OBJECT = "an object"
    LIST = "a list"
    ANYTHING = "anything"


_SCALARS = {
    str: Kind.TEXT, int: Kind.INTEGER, bool: Kind.BOOLEAN, Decimal: Kind.DECIMAL,
    date: Kind.DATE, datetime: Kind.INSTANT, AwareDatetime: Kind.INSTANT, Money: Kind.MONEY,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shape:
    """``optional``: the value may be None. ``required``: its object is not valid without it (no default).

    ``of``: the class of an object or enumeration; ``item``: what a list is a list of.
    """

    kind: Kind
    optional: bool = False
    required: bool = True
    of: type | None = None
    item: Shape | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """The members of an enumeration."""
        return tuple(self.of) if self.of is not None and issubclass(self.of, StrEnum) else ()

    def settable(self) -> Mapping[str, Shape]:
        """The fields an object is made of."""
        return _settable(self.of) if self.kind is Kind.OBJECT and self.of else {}

    def readable(self) -> Mapping[str, Shape]:
        """What can be read from an object: its fields and properties; of money, only its currency."""
        if self.kind is Kind.MONEY:
            return {"currency": Shape(Kind.TEXT)}
        if self.of is dict:
            return _NAMED
        return _readable(self.of) if self.kind is Kind.OBJECT and self.of else {}


class _AnyName(dict[str, Shape]):
    """Texts by names that are not known beforehand: any name may be asked for, and may be absent."""

    def __contains__(self, _name: object) -> bool:
        return True

    def __missing__(self, _name: str) -> Shape:
        return Shape(Kind.TEXT, optional=True)


_NAMED = _AnyName()

#: A value of another system, of which only its presence can be asked.
ANYTHING = Shape(Kind.ANYTHING, optional=True)


def shape_of(annotation: Any) -> Shape:
    """The shape of a type annotation of a noun. TypeError for one that no mapping can carry."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return shape_of(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        some = [part for part in get_args(annotation) if part is not type(None)]
        if len(some) == 1:
            inner = shape_of(some[0])
            return Shape(inner.kind, optional=True, of=inner.of, item=inner.item)
    if origin is tuple and len(get_args(annotation)) == 2 and get_args(annotation)[1] is ...:
        return Shape(Kind.LIST, item=shape_of(get_args(annotation)[0]))
    if annotation == dict[str, str]:
        return Shape(Kind.OBJECT, of=dict)
    if annotation in _SCALARS:
        return Shape(_SCALARS[annotation])
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return Shape(Kind.ENUM, of=annotation)
    if isinstance(annotation, type) and (issubclass(annotation, Noun) or is_dataclass(annotation)):
        return Shape(Kind.OBJECT, of=annotation)
    raise TypeError(f"no mapping can carry {annotation}")


@cache
def _settable(of: type) -> Mapping[str, Shape]:
    if of is dict:
        return {}
    if issubclass(of, Noun):
        return {
            name: _with_need(shape_of(field.annotation), required=field.is_required())
            for name, field in of.model_fields.items()
        }
    assert is_dataclass(of)
    hints = get_type_hints(of)
    return {
        field.name: _with_need(
            shape_of(hints[field.name]), required=field.default is MISSING and field.default_factory is MISSING
        )
        for field in fields(of)
    }


def _with_need(shape: Shape, *, required: bool) -> Shape:
    return Shape(shape.kind, shape.optional, required, shape.of, shape.item)


@cache
def _readable(of: type) -> Mapping[str, Shape]:
    found = dict(_settable(of))
    for base in of.__mro__:
        if base in (Noun, *Noun.__mro__):
            break
        for name, value in vars(base).items():
            if isinstance(value, property) and name not in found and not name.startswith("_"):
                found[name] = shape_of(get_type_hints(value.fget)["return"])
    return found
