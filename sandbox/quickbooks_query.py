"""The query language of QuickBooks Online, as far as its Data queries page (read 2026-11) describes it.

``select * | count(*) | field, ... from Entity [where f op 'v' [and ...]] [orderby f [asc|desc], ...]
[startposition n] [maxresults m]``: no ``or``, no brackets around conditions, no joins; values stand in single quotes,
in which a backslash escapes a quote. ``%`` is the wildcard of ``like``. Without ``maxresults`` 100 objects are given,
at most 1,000. Of name lists (customers, items, accounts, classes) only active ones are given unless ``Active`` is
asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from sandbox.quickbooks_schema import ALWAYS_FILTERABLE, ENTITIES, FILTERABLE, NAME_LISTS, Refused

USUAL, MOST = 100, 1000

_TOKEN = re.compile(r"\s*(?:'((?:[^'\\]|\\.)*)'|([<>]=?|=|\(|\)|,|\*)|([^\s'<>=(),*]+))", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Condition:
    name: str
    operator: str
    values: tuple[str, ...]


@dataclass(slots=True)
class Query:
    entity: str
    columns: tuple[str, ...] = ("*",)
    counting: bool = False
    conditions: list[Condition] = field(default_factory=list)
    order: list[tuple[str, bool]] = field(default_factory=list)
    start: int = 1
    most: int = USUAL


def _wrong(text: str, detail: str) -> Refused:
    return Refused("4000", "Error parsing query", f"QueryParserError: {detail} in {text}")


def _unknown(name: str, entity: str) -> Refused:
    return Refused(
        "4001", "Invalid query", f"QueryValidationError: Property {name} not found for Entity {entity} or not queryable"
    )


class _Reader:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.tokens: list[tuple[str, bool]] = []
        position = 0
        while text[position:].strip():
            found = _TOKEN.match(text, position)
            if found is None:
                raise _wrong(text, f"Encountered {text[position : position + 10]!r}")
            position = found.end()
            quoted = found[1] is not None
            self.tokens.append((re.sub(r"\\(.)", r"\1", found[1]) if quoted else found[2] or found[3], quoted))

    def peek(self) -> str:
        """The next word in lower case; empty for a quoted value or at the end."""
        word, quoted = self.tokens[self.at] if self.at < len(self.tokens) else ("", False)
        return "" if quoted else word.lower()

    def take(self, *words: str) -> bool:
        if self.peek() in words:
            self.at += 1
            return True
        return False

    def need(self, *words: str) -> None:
        if not self.take(*words):
            raise _wrong(self.text, f"Expected {' or '.join(words)}, encountered {self.peek()!r}")

    def next(self) -> str:
        if self.at >= len(self.tokens):
            raise _wrong(self.text, "Encountered <EOF>")
        self.at += 1
        return self.tokens[self.at - 1][0]

    def value(self) -> str:
        """A quoted value; true and false may stand bare."""
        bare = self.at < len(self.tokens) and not self.tokens[self.at][1]
        value = self.next()
        if bare and value.lower() not in ("true", "false"):
            raise _wrong(self.text, f"Encountered {value!r} where a value in quotes was expected")
        return value

    def number(self) -> int:
        word = self.next()
        if not word.isdecimal():
            raise _wrong(self.text, f"Encountered {word!r} where a number was expected")
        return int(word)


def parse(text: str) -> Query:
    """Refused with code 4000 or 4001 when the vendor would not read or not allow it."""
    reader = _Reader(text)
    reader.need("select")
    columns = []
    while True:
        columns.append(reader.next())
        if columns[-1].lower() == "count":
            for part in "(*)":
                reader.need(part)
        if not reader.take(","):
            break
    reader.need("from")
    entity = next((name for name in (*ENTITIES, "Preferences", "CompanyInfo") if name.lower() == reader.peek()), None)
    if entity is None:
        raise Refused("4001", "Invalid query", f"QueryValidationError: Invalid Entity {reader.peek()}")
    reader.next()
    query = Query(entity, tuple(columns), counting=columns[0].lower() == "count")
    if reader.take("where"):
        query.conditions.append(_condition(reader, entity))
        while reader.take("and"):
            query.conditions.append(_condition(reader, entity))
    if reader.take("orderby") or (reader.take("order") and reader.take("by")):
        query.order.append(_order(reader, entity))
        while reader.take(","):
            query.order.append(_order(reader, entity))
    if reader.take("startposition"):
        query.start = reader.number()
    if reader.take("maxresults"):
        query.most = reader.number()
    if reader.at < len(reader.tokens):
        raise _wrong(text, f"Encountered {reader.next()!r}")
    if not 1 <= query.most <= MOST or query.start < 1:
        raise Refused("4001", "Invalid query", f"QueryValidationError: maxresults must be 1 to {MOST}")
    return query


def _name(reader: _Reader, entity: str) -> str:
    wanted = reader.next()
    known = {*ALWAYS_FILTERABLE, *FILTERABLE.get(entity, ())}
    name = next((one for one in known if one.lower() == wanted.lower()), None)
    if name is None:
        raise _unknown(wanted, entity)
    return name


def _condition(reader: _Reader, entity: str) -> Condition:
    name = _name(reader, entity)
    operator = reader.next().lower()
    if operator == "in":
        reader.need("(")
        values = [reader.value()]
        while reader.take(","):
            values.append(reader.value())
        reader.need(")")
        return Condition(name, operator, tuple(values))
    if operator not in ("=", "<", ">", "<=", ">=", "like"):
        raise _wrong(reader.text, f"Encountered {operator!r}")
    return Condition(name, operator, (reader.value(),))


def _order(reader: _Reader, entity: str) -> tuple[str, bool]:
    name = _name(reader, entity)
    descending = reader.take("desc")
    reader.take("asc")
    return name, descending


def field_of(record: dict[str, Any], name: str) -> Any:
    """What a condition sees of a record: of a reference its id, of an e-mail its address."""
    value: Any = record
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value.get("value", value.get("Address")) if isinstance(value, dict) else value


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}


def _like(held: Any) -> Callable[[str], Any]:
    """How to read a condition's text so that it compares with what is held."""
    if isinstance(held, bool):
        return lambda text: text.lower() == "true"
    if isinstance(held, int | Decimal):
        return Decimal
    if isinstance(held, datetime):
        return datetime.fromisoformat
    return str.lower


def matches(record: dict[str, Any], condition: Condition) -> bool:
    held = field_of(record, condition.name)
    if held is None:
        return False
    if condition.name == "Id":
        held = int(held)
    elif condition.name.startswith("MetaData."):
        held = datetime.fromisoformat(held)
    if condition.operator == "like":
        pattern = ".*".join(map(re.escape, condition.values[0].lower().split("%")))
        return re.fullmatch(pattern, str(held).lower(), re.DOTALL) is not None
    read = _like(held)
    held = held.lower() if isinstance(held, str) else held
    try:
        given = [read(value) for value in condition.values]
    except (ValueError, InvalidOperation):
        raise Refused(
            "4001", "Invalid query", f"QueryValidationError: value for {condition.name} has a wrong form"
        ) from None
    if condition.operator == "in":
        return held in given
    return _COMPARE[condition.operator](held, given[0])


def chosen(query: Query, records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """All records that the query means, in its order, before paging."""
    conditions = list(query.conditions)
    if query.entity in NAME_LISTS and not any(one.name == "Active" for one in conditions):
        conditions.append(Condition("Active", "=", ("true",)))
    found = [record for record in records if all(matches(record, one) for one in conditions)]
    found.sort(key=lambda record: int(record["Id"]))
    for name, descending in reversed(query.order):
        found.sort(key=lambda record: _sortable(field_of(record, name)), reverse=descending)
    return found


def _sortable(value: Any) -> tuple[int, Any]:
    if value is None:
        return 0, ""
    if isinstance(value, str) and value.isdecimal():
        return 1, int(value)
    return (1, value) if isinstance(value, int | Decimal) else (2, str(value).lower())
