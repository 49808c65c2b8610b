"""The grammar of a mapping file: a header, one operator per target field, and worked examples.

An operator is a small mapping with exactly ONE of the keys in ``OPERATORS``, and modifiers beside it. Everything not
named here is refused. What a path may lead to is checked in :mod:`core.mapping.compiler`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, Union

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from core.mapping.paths import EachItem, Path, parse_path, parse_text
from core.mapping.values import InstantFormat
from core.money import Rounding
from core.period import zone

#: What happens when there is no value: take ``default:``, leave the field out, wait, or refuse the record.
Action: TypeAlias = Literal["default", "skip", "park", "fail"]
Scalar: TypeAlias = str | bool | int | Decimal


def _checked_path(text: str) -> str:
    if EachItem in parse_path(text).steps:
        raise ValueError("[] stands only in the path of `each`")
    return text


def _checked_list_path(text: str) -> str:
    parse_path(text)
    return text


def _checked_text(text: str) -> str:
    for part in parse_text(text):
        if isinstance(part, Path) and EachItem in part.steps:
            raise ValueError("[] stands only in the path of `each`")
    return text


def _checked_zone(name: str) -> str:
    zone(name)
    return name


PathText: TypeAlias = Annotated[str, AfterValidator(_checked_path)]
ListPath: TypeAlias = Annotated[str, AfterValidator(_checked_list_path)]
Template: TypeAlias = Annotated[str, AfterValidator(_checked_text)]
ZoneName: TypeAlias = Annotated[str, AfterValidator(_checked_zone)]
Name: TypeAlias = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class Node(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def stated(self, name: str) -> bool:
        """Whether the file itself says it."""
        return name in self.model_fields_set


class Condition(Node):
    """Holds when the value at ``path`` is ``equals``, is one of ``in``, or is present (neither absent nor null)."""

    path: PathText
    equals: Scalar | None = None
    one_of: list[Scalar] = Field(default=[], alias="in", min_length=1)
    present: bool = True

    @model_validator(mode="after")
    def _one_question(self) -> Condition:
        if sum(map(self.stated, ("equals", "one_of", "present"))) != 1:
            raise ValueError("a condition asks one thing: `equals:`, `in:` or `present:`")
        return self


class Operator(Node):
    """Modifiers any operator may carry. ``only_create``: not sent on an update. ``owner``: whose value wins."""

    when: Condition | None = None
    otherwise: Otherwise | None = None
    only_create: bool = False
    owner: Literal["hub", "them"] | None = None
    note: str | None = None

    @property
    def actions(self) -> tuple[Action | None, ...]:
        """What it does in each case that has no value of its own."""
        return ()

    @model_validator(mode="after")
    def _both_ways(self) -> Operator:
        if (self.when is None) != (self.otherwise is None):
            raise ValueError("`when:` and `otherwise:` belong together; `otherwise: skip` leaves the field out")
        return self


class Sourced(Operator):
    """Takes a value that may not be there.

    ``missing``: when it is not. ``null``: when it is there and null (as ``missing`` unless stated). ``empty``: take
    empty text as missing or as null.
    """

    missing: Action | None = None
    null: Action | None = None
    empty: Literal["missing", "null"] | None = None
    default: Any = None

    @property
    def actions(self) -> tuple[Action | None, ...]:
        return (self.missing, self.null)

    @model_validator(mode="after")
    def _default_is_used(self) -> Sourced:
        if self.stated("default") != ("default" in self.actions):
            raise ValueError("`default:` and an action `default` (such as `missing: default`) belong together")
        return self


class Narrow(Node):
    """Text that may be too long for the other side."""

    max: int | None = Field(default=None, ge=1)
    too_long: Literal["cut", "fail"] | None = None

    @model_validator(mode="after")
    def _stated(self) -> Narrow:
        if (self.max is None) != (self.too_long is None):
            raise ValueError("`max:` and `too_long: cut|fail` belong together")
        return self


class Known(Sourced):
    """Takes a word that may not be in its list: ``unknown`` says what happens then (unless stated, the record fails;
    a ``ref`` waits)."""

    unknown: Action | None = None

    @property
    def actions(self) -> tuple[Action | None, ...]:
        return (self.missing, self.null, self.unknown)


class CopyPath(Sourced, Narrow):
    """Copies text, a whole number or true/false as it is."""

    path: PathText


class Const(Operator):
    const: Any


class MoneyOf(Sourced):
    """Money as an amount: major units as a number, or as text, or whole minor units."""

    money: PathText
    currency: Currency | None = None
    unit: Literal["major", "minor"] = "major"
    sign: Literal["negate"] | None = None
    form: Literal["text"] | None = Field(default=None, alias="as")
    round: Annotated[Rounding, Field(strict=False)] | None = None


class QuantityOf(Sourced):
    """An exact number; ``places`` decimals, narrowed only where ``round`` says how."""

    quantity: PathText
    places: int | None = Field(default=None, ge=0, le=18)
    round: Annotated[Rounding, Field(strict=False)] | None = None
    form: Literal["text"] | None = Field(default=None, alias="as")


class DateOf(Sourced):
    """A calendar date. ``noon_instant``: the other side wants a dateTime; it is 12:00 of that day in ``timezone``."""

    date: PathText
    format: Literal["iso", "noon_instant"] = "iso"
    timezone: ZoneName | None = None


class InstantOf(Sourced):
    instant: PathText
    format: InstantFormat = "iso"
    round: Annotated[Rounding, Field(strict=False)] | None = None


class Lookup(Known):
    """A row of a table: ``forward`` finds the right column by the left one, ``backward`` the left one by the right."""

    lookup: PathText
    table: Name
    read: Literal["forward", "backward"] = "forward"


class Ref(Known):
    """The id another system gave to OUR record whose key is the value of the path."""

    ref: PathText
    system: Name | None = None
    resource: str


class EnumOf(Known):
    """A word for a word: ours on the left, theirs on the right (``in``: a list of theirs)."""

    enum: PathText
    values: dict[str, Scalar | list[Scalar]] = Field(min_length=1)


class TextOf(Sourced, Narrow):
    """Literals and paths, joined; a part that comes out empty is not joined."""

    text: list[Template] = Field(min_length=1)
    join: str = ""


class Each(Sourced):
    """A list of objects, one per item. ``each: lines[].details`` runs over the details of all lines."""

    each: ListPath
    fields: Fields


class Object(Operator):
    object: Fields


class ListOf(Operator):
    """A list of things, one after the other; of an ``each``, its items."""

    list: list[AnyOperator]


class SumOf(Operator):
    """The money of all items of a list, added. An item whose money is skipped adds nothing; no money at all fails."""

    sum: ListPath
    of: MoneyOf


OPERATORS: dict[str, type[Operator]] = {
    "path": CopyPath,
    "const": Const,
    "money": MoneyOf,
    "quantity": QuantityOf,
    "date": DateOf,
    "instant": InstantOf,
    "lookup": Lookup,
    "ref": Ref,
    "enum": EnumOf,
    "text": TextOf,
    "each": Each,
    "object": Object,
    "list": ListOf,
    "sum": SumOf,
}


def _tag(value: Any) -> str:
    """The name of the operator a piece of data is, in brackets so that it is never taken for a field."""
    if isinstance(value, Operator):
        return next(f"<{name}>" for name, kind in OPERATORS.items() if kind is type(value))
    if isinstance(value, str):
        return "<word>"
    found = [name for name in OPERATORS if isinstance(value, dict) and name in value]
    return f"<{found[0]}>" if len(found) == 1 else f"<{' and '.join(found) or 'none'}>"


_ONE_OF = tuple(Annotated[kind, Tag(f"<{name}>")] for name, kind in OPERATORS.items())
_Action: TypeAlias = Annotated[Literal["skip", "park", "fail"], Tag("<word>")]
_Path: TypeAlias = Annotated[PathText, Tag("<word>")]

if TYPE_CHECKING:
    AnyOperator: TypeAlias = Operator
    Otherwise: TypeAlias = Operator | Literal["skip", "park", "fail"]
    Currency: TypeAlias = Operator | str
else:
    AnyOperator = Annotated[Union[(*_ONE_OF,)], Discriminator(_tag)]
    Otherwise = Annotated[Union[(*_ONE_OF, _Action)], Discriminator(_tag)]
    Currency = Annotated[Union[(*_ONE_OF, _Path)], Discriminator(_tag)]
Fields: TypeAlias = Annotated[dict[Annotated[str, Field(min_length=1)], AnyOperator], Field(min_length=1)]


class Key(Node):
    """Our key at the other system: ``to`` the field that carries it, ``origin`` the path of it in the noun."""

    to: str
    origin: PathText = Field(alias="from")


class Example(Node):
    """``given`` becomes ``gives``; or the record waits for ``parks``; or ``fails`` names the field that refuses it."""

    name: str
    given: dict[str, Any] = Field(alias="in")
    gives: dict[str, Any] | None = Field(default=None, alias="out")
    parks: str | None = None
    fails: str | None = None
    refs: dict[str, str] = {}
    """Ids known to the example, by ``system:resource:key``."""

    def known(self, system: str, resource: str, key: str) -> str | None:
        return self.refs.get(f"{system}:{resource}:{key}")

    @model_validator(mode="after")
    def _one_end(self) -> Example:
        if sum(end is not None for end in (self.gives, self.parks, self.fails)) != 1:
            raise ValueError("an example ends in one of `out:`, `parks:` or `fails:`")
        return self


class Spec(Node):
    """One mapping file: one record, one system, one direction."""

    system: Name
    record: Name
    resource: str
    direction: Literal["out", "in"]
    api: str
    source: str
    key: Key | None = None
    note: str | None = None
    fields: Fields
    examples: list[Example] = Field(min_length=1)

    @model_validator(mode="after")
    def _key_goes_out(self) -> Spec:
        if (self.direction == "out") != (self.key is not None):
            raise ValueError("direction `out` states `key: {to, from}`, direction `in` does not")
        return self


class Table(Node):
    """Two columns: the left one is always text and unique."""

    name: Name
    source: str | None = None
    note: str | None = None
    values: dict[str, Scalar] = Field(min_length=1)


for _operator in OPERATORS.values():
    _operator.model_rebuild()
Spec.model_rebuild()
