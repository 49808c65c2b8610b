"""OData query options as the Dataverse Web API takes them: $filter, $select, $orderby, $expand.

Of OData 4 it takes what the vendor's "Query data" pages list (read 2026-11): comparisons, ``and or not``, ``contains``,
``startswith``, ``endswith``, and the query function ``Microsoft.Dynamics.CRM.In``; no arithmetic, no ``in``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from sandbox.dynamics_records import Record, Refusal, Work, bad, comparable, stamp, visible
from sandbox.dynamics_schema import TABLES, Column, Table
from sandbox.emulator import Json

Test = Callable[[Work, Record], bool]

TOKEN = re.compile(
    r"\s*(?:(?P<in>Microsoft\.Dynamics\.CRM\.In\(\s*PropertyName\s*=\s*'(?P<name>\w+)'\s*,\s*PropertyValues\s*=\s*"
    r"\[(?P<values>[^\]]*)\]\s*\))"
    r"|(?P<text>'(?:[^']|'')*')"
    r"|(?P<instant>\d{4}-\d\d-\d\d(?:T[0-9:.]+(?:Z|[+-]\d\d:\d\d))?)"
    r"|(?P<guid>[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12})"
    r"|(?P<number>-?\d+(?:\.\d+)?)"
    r"|(?P<word>\w[\w/.]*)"
    r"|(?P<sign>[(),]))"
)
ORDER = ("gt", "ge", "lt", "le")


def wrong_property(table: Table, name: str) -> Refusal:
    return bad("0x80060888", f"Could not find a property named '{name}' on type 'Microsoft.Dynamics.CRM.{table.name}'.")


def column_of(table: Table, name: str) -> Column:
    column = table.by_field(name)
    if column is None:
        raise wrong_property(table, name)
    return column


@dataclass
class Filter:
    """A parser of one ``$filter``; ``parse`` gives a test of a row."""

    table: Table
    source: str
    _tokens: list[tuple[str, str]] = field(default_factory=list)

    def parse(self) -> Test:
        at = 0
        while at < len(self.source.rstrip()):
            match = TOKEN.match(self.source, at)
            if not match or match.end() == at:
                raise self._syntax(at)
            kind = next(name for name in ("in", "text", "instant", "guid", "number", "word", "sign") if match[name])
            value = f"{match['name']}:{match['values']}" if kind == "in" else match[kind]
            self._tokens.append((kind, value))
            at = match.end()
        test = self._any()
        if self._tokens:
            raise self._syntax(len(self.source))
        return test

    def _syntax(self, at: int) -> Refusal:
        return bad("0x80060888", f"Syntax error at position {at} in '{self.source}'.")

    def _next(self, *kinds: str) -> str:
        if not self._tokens or (kinds and self._tokens[0][0] not in kinds):
            raise self._syntax(len(self.source))
        return self._tokens.pop(0)[1]

    def _take(self, word: str) -> bool:
        if self._tokens and self._tokens[0][1] == word:
            self._tokens.pop(0)
            return True
        return False

    def _any(self) -> Test:
        tests = [self._all()]
        while self._take("or"):
            tests.append(self._all())
        return tests[0] if len(tests) == 1 else lambda work, row: any(test(work, row) for test in tests)

    def _all(self) -> Test:
        tests = [self._one()]
        while self._take("and"):
            tests.append(self._one())
        return tests[0] if len(tests) == 1 else lambda work, row: all(test(work, row) for test in tests)

    def _one(self) -> Test:
        if self._take("not"):
            test = self._one()
            return lambda work, row: not test(work, row)
        if self._take("("):
            inner = self._any()
            if not self._take(")"):
                raise self._syntax(len(self.source))
            return inner
        kind, word = self._tokens[0] if self._tokens else ("", "")
        self._next("word", "in")
        if kind == "in":
            return self._membership(word)
        if word in ("contains", "startswith", "endswith"):
            return self._text_test(word)
        return self._comparison(word)

    def _membership(self, found: str) -> Test:
        name, _, inside = found.partition(":")
        column = self.table.columns.get(name)
        if column is None:
            raise wrong_property(self.table, name)
        try:
            wanted = set(json.loads(f"[{inside.replace(chr(39), chr(34))}]"))
        except ValueError:
            raise bad("0x80060888", "Invalid JSON in the property values of a query function.") from None
        if not wanted or not all(isinstance(value, str) for value in wanted):
            raise bad("0x80060888", "A query function needs property values in text form.")
        texts = {value.casefold() for value in wanted}
        return lambda _work, row: row.get(column.field) is not None and str(row[column.field]).casefold() in texts

    def _text_test(self, function: str) -> Test:
        if not self._take("("):
            raise self._syntax(len(self.source))
        value = self._value(self._next("word"))
        if not self._take(","):
            raise self._syntax(len(self.source))
        wanted = self._next("text")[1:-1].replace("''", "'").casefold()
        if not self._take(")"):
            raise self._syntax(len(self.source))
        tests: Mapping[str, Callable[[str], bool]] = {
            "contains": lambda text: wanted in text,
            "startswith": lambda text: text.startswith(wanted),
            "endswith": lambda text: text.endswith(wanted),
        }
        return lambda work, row: tests[function](str(value(work, row) or "").casefold())

    def _value(self, path: str) -> Callable[[Work, Record], Any]:
        """What a path of at most one lookup leads to."""
        first, _, rest = path.partition("/")
        if not rest:
            name = column_of(self.table, first).field
            return lambda _work, row: row.get(name)
        led = self.table.navigation(first)
        if led is None:
            raise wrong_property(self.table, first)
        link, target = led
        column = column_of(TABLES[target], rest)

        def follow(work: Work, row: Record) -> Any:
            parent = work.get(target, row.get(link.field) or "")
            return parent.get(column.field) if parent else None

        return follow

    def _comparison(self, path: str) -> Test:
        value = self._value(path)
        operator = self._next("word")
        kind, literal = self._tokens[0] if self._tokens else ("", "")
        self._next("word", "text", "instant", "guid", "number")
        table, _, name = path.rpartition("/")
        led = self.table.navigation(table) if table else None
        column = column_of(TABLES[led[1]] if led else self.table, name)
        wanted = self._literal(column, kind, literal)
        if operator == "eq":
            return lambda work, row: comparable(value(work, row)) == wanted
        if operator == "ne":
            return lambda work, row: comparable(value(work, row)) != wanted
        if operator not in ORDER or wanted is None:
            raise self._syntax(len(self.source))
        tests: Mapping[str, Callable[[Any], bool]] = {
            "gt": lambda found: found > wanted,
            "ge": lambda found: found >= wanted,
            "lt": lambda found: found < wanted,
            "le": lambda found: found <= wanted,
        }

        def ordered(work: Work, row: Record) -> bool:
            found = comparable(value(work, row))
            return found is not None and tests[operator](found)

        return ordered

    def _literal(self, column: Column, kind: str, literal: str) -> Any:
        """The wanted value in the form rows keep it."""
        if (kind, literal) == ("word", "null"):
            return None
        if (kind, literal) in (("word", "true"), ("word", "false")) and column.kind == "bool":
            return literal == "true"
        fits = {
            "text": ("text", "memo"),
            "instant": ("instant", "day"),
            "guid": ("guid", "lookup"),
            "number": ("int", "choice", "bigint", "decimal", "money"),
        }
        if column.kind not in fits.get(kind, ()):
            raise bad(
                "0x80060888",
                f"A binary operator with incompatible types was detected. '{column.field}' cannot be compared with"
                f" {literal}.",
            )
        match kind:
            case "text":
                return literal[1:-1].replace("''", "'").casefold()
            case "number":
                return Decimal(literal)
            case "instant" if "T" in literal:
                return stamp(datetime.fromisoformat(literal)).casefold()
            case _:
                return literal.casefold()


def split(source: str, by: str) -> Iterator[str]:
    """Parts of a list, at the separators that stand in no brackets."""
    depth, start = 0, 0
    for at, letter in enumerate(source):
        depth += (letter == "(") - (letter == ")")
        if letter == by and depth == 0:
            yield source[start:at].strip()
            start = at + 1
    if source[start:].strip():
        yield source[start:].strip()


def order_by(table: Table, source: str) -> Callable[[list[Record]], None]:
    """Sorts rows in place; nulls come first, as in the vendor's database."""
    keys: list[tuple[str, bool]] = []
    for part in split(source, ","):
        name, _, direction = part.partition(" ")
        if direction.strip() not in ("", "asc", "desc"):
            raise bad("0x80060888", f"Syntax error in $orderby '{source}'.")
        keys.append((column_of(table, name).field, direction.strip() == "desc"))

    def sort(rows: list[Record]) -> None:
        for name, backward in reversed(keys):
            rows.sort(key=lambda row, of=name: (row[of] is not None, comparable(row[of])), reverse=backward)  # type: ignore[misc]

    return sort


def selected(table: Table, source: str | None) -> list[str] | None:
    if source is None:
        return None
    return [column_of(table, name).field for name in split(source, ",")]


@dataclass(frozen=True)
class Expand:
    """What an answer nests: related rows under ``name``, with their own columns and nested rows."""

    name: str
    table: Table
    link: Column | None
    """The lookup that leads to the related row; None: they lead here by ``back``."""
    back: str
    names: Sequence[str] | None
    inside: Sequence[Expand]
    keeps: Test | None


def expands(table: Table, source: str | None) -> list[Expand]:
    return [_expand(table, part) for part in split(source or "", ",")]


def _expand(table: Table, part: str) -> Expand:
    match = re.fullmatch(r"(\w+)(?:\((.*)\))?", part)
    if not match:
        raise bad("0x80060888", f"Syntax error in $expand '{part}'.")
    name, options = match[1], dict(_option(one) for one in split(match[2] or "", ";"))
    if unknown := options.keys() - {"$select", "$expand", "$filter"}:
        raise bad("0x80060888", f"The option {sorted(unknown)[0]} is not supported in $expand.")
    led = table.navigation(name)
    if led is None and name not in table.children:
        raise wrong_property(table, name)
    target, back = (led[1], "") if led else table.children[name]
    other = TABLES[target]
    return Expand(
        name,
        other,
        led[0] if led else None,
        other.columns[back].field if back else "",
        selected(other, options.get("$select")),
        expands(other, options.get("$expand")),
        Filter(other, options["$filter"]).parse() if "$filter" in options else None,
    )


def _option(one: str) -> tuple[str, str]:
    name, _, value = one.partition("=")
    return name, value


def answer(
    work: Work, table: Table, row: Record, names: Sequence[str] | None, nested: Sequence[Expand], notes: bool = False
) -> Json:
    """A row as it is answered, with what is nested in it; ``notes`` adds the vendor's annotations of values."""
    shown = visible(table, row, names)
    if notes:
        shown = _annotated(table, row, shown)
    for expand in nested:
        if expand.link is not None:
            kind = row.get(f"@{expand.link.name}")
            parent = None
            if kind in (None, expand.table.name):
                parent = work.get(expand.table.name, row.get(expand.link.field) or "")
            shown[expand.name] = (
                answer(work, expand.table, parent, expand.names, expand.inside, notes) if parent else None
            )
            continue
        children = work.by(expand.table.name, expand.back, row[table.key])
        shown[expand.name] = [
            answer(work, expand.table, child, expand.names, expand.inside, notes)
            for child in children
            if expand.keeps is None or expand.keeps(work, child)
        ]
    return shown


def _annotated(table: Table, row: Record, shown: Json) -> Json:
    notes: Json = {}
    for name, value in shown.items():
        column = table.by_field(name)
        if column is None or value is None:
            continue
        if column.kind == "choice":
            notes[f"{name}@OData.Community.Display.V1.FormattedValue"] = column.choices[value]
        if column.kind == "lookup":
            kind = row.get(f"@{column.name}") or next(iter(column.targets.values()))
            notes[f"{name}@Microsoft.Dynamics.CRM.lookuplogicalname"] = kind
    return shown | notes
