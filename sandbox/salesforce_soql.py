"""A working subset of SOQL: parsed once, run over the kept records of an org (SOQL and SOSL Reference, read 2026-11).

Understood: fields and parent fields (``Product2.ProductCode``), ``FIELDS(ALL|STANDARD|CUSTOM)``, ``COUNT()``, child
subqueries, WHERE with = != < > <= >= LIKE IN NOT IN (lists and semi-joins), AND, OR, NOT, parentheses, ORDER BY with
NULLS FIRST|LAST, LIMIT, OFFSET. Anything else is refused as the vendor refuses a malformed query.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Protocol

from sandbox.salesforce_schema import Field, SObject, find_object, full_id

Record = dict[str, Any]


class Records(Protocol):
    """Where a query finds records."""

    def all(self, kind: str) -> list[Record]: ...

    def get(self, kind: str, ident: str) -> Record | None: ...


class Refused(Exception):
    """A query the vendor would answer with status 400."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


TOKEN = re.compile(
    r"""\s*(?:
      (?P<text>'(?:\\.|[^'\\])*')
    | (?P<datetime>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d))
    | (?P<date>\d{4}-\d\d-\d\d(?![\dT]))
    | (?P<number>[+-]?\d+(?:\.\d+)?)
    | (?P<word>[A-Za-z_][\w.]*)
    | (?P<sign><=|>=|!=|<>|[=<>(),])
    )""",
    re.VERBOSE,
)
ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
KEYWORDS = frozenset(("from", "where", "order", "limit", "offset", "and", "or", "not", "in", "like", "group", "having"))


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Literal:
    """``kind``: text, datetime, date, number, boolean or null."""

    kind: str
    value: Any


Test = Callable[[Record], bool]


@dataclass(slots=True)
class Query:
    """A parsed query; ``fields`` are paths from ``source``, ``children`` subqueries by relationship name."""

    source: SObject
    fields: list[list[str]] = field(default_factory=list)
    children: list[tuple[str, str, Query]] = field(default_factory=list)
    counts: bool = False
    where: Test = lambda _record: True
    ids: frozenset[str] | None = None
    order: list[tuple[list[str], bool, bool]] = field(default_factory=list)
    limit: int | None = None
    offset: int = 0


def instant(text: str) -> datetime:
    """The instant a date-time of the API or of SOQL names."""
    return datetime.fromisoformat(text).astimezone(UTC)


class Parser:
    def __init__(self, soql: str, records: Records) -> None:
        self.records = records
        self.tokens: list[Token] = []
        at = 0
        soql = soql.strip()
        while at < len(soql):
            match = TOKEN.match(soql, at)
            if not match or not match.lastgroup:
                raise Refused("MALFORMED_QUERY", f"unexpected token: '{soql[at:].strip()[:20]}'")
            self.tokens.append(Token(match.lastgroup, match.group(match.lastgroup)))
            at = match.end()
        self.at = 0

    def peek(self, ahead: int = 0) -> Token:
        place = self.at + ahead
        return self.tokens[place] if place < len(self.tokens) else Token("end", "<EOF>")

    def take(self) -> Token:
        token = self.peek()
        self.at += 1
        return token

    def sees(self, *words: str) -> bool:
        """Whether the next tokens are these words or signs."""
        return all(self.peek(i).text.lower() == word and self.peek(i).kind != "text" for i, word in enumerate(words))

    def accepts(self, *words: str) -> bool:
        if not self.sees(*words):
            return False
        self.at += len(words)
        return True

    def one_of(self, usual: str, other: str) -> bool:
        """Whether ``other`` stands here; takes it, or ``usual``, which may as well be left out."""
        return not self.accepts(usual) and self.accepts(other)

    def expect(self, word: str) -> None:
        if not self.accepts(word):
            raise Refused("MALFORMED_QUERY", f"unexpected token: '{self.peek().text}' (expected '{word}')")

    def name(self) -> str:
        token = self.take()
        if token.kind != "word" or token.text.lower() in KEYWORDS:
            raise Refused("MALFORMED_QUERY", f"unexpected token: '{token.text}'")
        return token.text

    def whole(self) -> Query:
        query = self.query(None)
        if self.peek().kind != "end":
            raise Refused("MALFORMED_QUERY", f"unexpected token: '{self.peek().text}'")
        return query

    def query(self, parent: SObject | None) -> Query:
        self.expect("select")
        items: list[Any] = []
        while True:
            items.append(self.item())
            if not self.accepts(","):
                break
        self.expect("from")
        source_name = self.name()
        query = Query(self.source(source_name, parent))
        if self.peek().kind == "word" and self.peek().text.lower() not in KEYWORDS:
            self.take()
        for item in items:
            self.select(query, item)
        if self.accepts("where"):
            query.where, query.ids = self.condition(query.source)
        if self.accepts("order"):
            self.expect("by")
            while True:
                path = self.path(query.source, self.name())
                down = self.one_of("asc", "desc")
                query.order.append((path, down, self.accepts("nulls") and self.one_of("first", "last")))
                if not self.accepts(","):
                    break
        if self.accepts("limit"):
            query.limit = self.count()
        if self.accepts("offset"):
            query.offset = self.count()
        if any(str(item).lower() in ("fields(all)", "fields(custom)") for item in items) and (query.limit or 999) > 200:
            raise Refused("MALFORMED_QUERY", "The SOQL FIELDS function must have a LIMIT of at most 200")
        return query

    def count(self) -> int:
        token = self.take()
        if token.kind != "number" or not token.text.isdigit():
            raise Refused("MALFORMED_QUERY", f"unexpected token: '{token.text}'")
        return int(token.text)

    def source(self, name: str, parent: SObject | None) -> SObject:
        if parent is None:
            found = find_object(name)
        else:
            child = next((c for n, c in parent.children.items() if n.lower() == name.lower()), None)
            found = find_object(child[0]) if child else None
        if found is None:
            raise Refused("INVALID_TYPE", f"sObject type '{name}' is not supported.")
        return found

    def item(self) -> Any:
        """A path as text, or the place where a subquery starts: its FROM is needed before it can be read."""
        if self.accepts("("):
            start, depth = self.at, 1
            while depth:
                token = self.take()
                if token.kind == "end":
                    raise Refused("MALFORMED_QUERY", "unexpected token: '<EOF>'")
                depth += (token.text == "(") - (token.text == ")") if token.kind == "sign" else 0
            return start
        name = self.name()
        if self.accepts("("):
            inside = "" if self.sees(")") else self.name()
            self.expect(")")
            return f"{name}({inside})"
        return name

    def select(self, query: Query, item: Any) -> None:
        if isinstance(item, int):
            back, self.at = self.at, item
            names = [self.tokens[i + 1].text for i in range(item, len(self.tokens) - 1) if self._is(i, "from")]
            child = next(
                ((n, c) for n, c in query.source.children.items() if names and n.lower() == names[0].lower()), None
            )
            if child is None:
                raise Refused(
                    "INVALID_TYPE",
                    f"Didn't understand relationship '{names[0] if names else ''}' in FROM part of query call.",
                )
            query.children.append((child[0], child[1][1], self.query(query.source)))
            self.at = back
            return
        match str(item).lower():
            case "count()":
                query.counts = True
            case "fields(all)":
                query.fields += [[name] for name in query.source.fields]
            case "fields(standard)":
                query.fields += [[name] for name, f in query.source.fields.items() if not f.custom]
            case "fields(custom)":
                query.fields += [[name] for name, f in query.source.fields.items() if f.custom]
            case call if "(" in call:
                raise Refused("MALFORMED_QUERY", f"unexpected token: '{item}'")
            case _:
                path = self.path(query.source, item)
                if path in query.fields:
                    raise Refused("MALFORMED_QUERY", f"duplicate field selected: {item}")
                query.fields.append(path)

    def _is(self, place: int, word: str) -> bool:
        return self.tokens[place].kind == "word" and self.tokens[place].text.lower() == word

    def path(self, source: SObject, dotted: str) -> list[str]:
        """The path with the names as the org spells them. INVALID_FIELD when a part is not known."""
        steps, at = dotted.split("."), source
        if len(steps) > 1 and steps[0].lower() == source.name.lower():
            steps = steps[1:]
        spelled: list[str] = []
        for step in steps[:-1]:
            by = next(
                (f for f in at.fields.values() if f.relationship and f.relationship.lower() == step.lower()), None
            )
            if by is None:
                raise Refused("INVALID_FIELD", f"Didn't understand relationship '{step}' in field path.")
            spelled.append(by.relationship)
            at = find_object(by.to) or at
        last = at.field(steps[-1])
        if last is None:
            raise Refused(
                "INVALID_FIELD",
                f"\n{dotted} FROM {source.name}\n^\nERROR at Row:1:Column:8\nNo such column '{steps[-1]}' on entity"
                f" '{at.name}'. If you are attempting to use a custom field, be sure to append the '__c' after"
                " the custom field name. Please reference your WSDL or the describe call for the appropriate names.",
            )
        return [*spelled, last.name]

    def condition(self, source: SObject) -> tuple[Test, frozenset[str] | None]:
        """A test, and the only ids that can pass it when it begins by naming them."""
        first, ids = self.term(source)
        tests = [first]
        joint = "and" if self.sees("and") else "or" if self.sees("or") else ""
        while joint and self.accepts(joint):
            test, more = self.term(source)
            tests.append(test)
            ids = ids if more is None else more
        if joint == "or":
            return lambda record: any(test(record) for test in tests), None
        return lambda record: all(test(record) for test in tests), ids

    def term(self, source: SObject) -> tuple[Test, frozenset[str] | None]:
        if self.accepts("not"):
            test, _ = self.term(source)
            return lambda record: not test(record), None
        if self.accepts("("):
            inner = self.condition(source)
            self.expect(")")
            return inner
        return self.comparison(source)

    def comparison(self, source: SObject) -> tuple[Test, frozenset[str] | None]:
        path = self.path(source, self.name())
        about = field_at(source, path)
        if about.type == "textarea" and about.length > 255:
            raise Refused("INVALID_QUERY_FILTER_OPERATOR", f"field '{about.name}' can not be filtered in a query call")
        negated = self.accepts("not")
        if self.accepts("in"):
            wanted = self.members(about)
            is_in: Test = lambda record: comparable(about, read(self.records, source, record, path)) in wanted  # noqa: E731
            if negated:
                return lambda record: not is_in(record), None
            return is_in, frozenset(wanted) if path == ["Id"] else None
        if negated:
            raise Refused("MALFORMED_QUERY", f"unexpected token: '{self.peek().text}'")
        if self.accepts("like"):
            pattern = like(str(self.value(about).value))
            return lambda record: bool(pattern.fullmatch(str(read(self.records, source, record, path) or ""))), None
        sign = self.take().text
        if sign not in ("=", "!=", "<>", "<", ">", "<=", ">="):
            raise Refused("MALFORMED_QUERY", f"unexpected token: '{sign}'")
        right = comparable(about, self.value(about).value)
        ids = frozenset([right]) if path == ["Id"] and sign == "=" and right is not None else None
        return lambda record: compare(sign, comparable(about, read(self.records, source, record, path)), right), ids

    def members(self, about: Field) -> set[Any]:
        self.expect("(")
        if self.sees("select"):
            inner = self.query(None)
            if len(inner.fields) != 1 or inner.children:
                raise Refused("MALFORMED_QUERY", "The inner select of a semi-join must name exactly one field")
            found = {
                comparable(about, read(self.records, inner.source, r, inner.fields[0]))
                for r in rows(inner, self.records)
            }
            found.discard(None)
        else:
            found = set()
            while True:
                found.add(comparable(about, self.value(about).value))
                if not self.accepts(","):
                    break
        self.expect(")")
        return found

    def value(self, about: Field) -> Literal:
        """The literal, refused when its kind does not suit the field."""
        token = self.take()
        match token.kind, token.text.lower():
            case "text", _:
                got = Literal("text", re.sub(r"\\(.)", lambda m: ESCAPES.get(m[1], m[1]), token.text[1:-1]))
            case "datetime", _:
                got = Literal("datetime", token.text)
            case "date", _:
                got = Literal("date", token.text)
            case "number", _:
                got = Literal("number", Decimal(token.text))
            case "word", "null":
                return Literal("null", None)
            case "word", "true" | "false" as word:
                got = Literal("boolean", word == "true")
            case _:
                raise Refused("MALFORMED_QUERY", f"unexpected token: '{token.text}'")
        wanted = {
            "datetime": "datetime",
            "date": "date",
            "boolean": "boolean",
            **dict.fromkeys(("currency", "double", "percent", "int"), "number"),
        }.get(about.type, "text")
        if got.kind != wanted:
            quotes = "enclosed in quotes" if wanted == "text" else "of type " + wanted
            raise Refused(
                "INVALID_FIELD",
                f"value of filter criterion for field '{about.name}' must be {quotes}"
                + (" and should not be enclosed in quotes" if got.kind == "text" else ""),
            )
        if about.type in ("id", "reference") and full_id(got.value) is None:
            raise Refused("INVALID_QUERY_FILTER_OPERATOR", f"invalid ID field: {got.value}")
        return got


def field_at(source: SObject, path: list[str]) -> Field:
    """The field at the end of a path that was spelled by the parser."""
    for step in path[:-1]:
        source = next(
            found for f in source.fields.values() if f.relationship == step and (found := find_object(f.to)) is not None
        )
    return source.fields[path[-1]]


def read(records: Records, source: SObject, record: Record, path: list[str]) -> Any:
    """The value at a path, followed through parents; None where a parent is missing."""
    for step in path[:-1]:
        by = next(f for f in source.fields.values() if f.relationship == step)
        parent = records.get(by.to, record.get(by.name) or "")
        if parent is None:
            return None
        source, record = find_object(by.to) or source, parent
    return record.get(path[-1])


def comparable(about: Field, value: Any) -> Any:
    """A value in the form in which the vendor compares it: text without letter case, ids whole, moments as instants."""
    if value is None:
        return None
    match about.type:
        case "id" | "reference":
            return full_id(value)
        case "datetime":
            return instant(value)
        case "date":
            return date.fromisoformat(value)
        case "currency" | "double" | "percent" | "int" | "boolean":
            return value
        case _:
            return str(value).casefold()


def compare(sign: str, left: Any, right: Any) -> bool:
    match sign:
        case "=":
            return bool(left == right)
        case "!=" | "<>":
            return bool(left != right)
    if left is None or right is None:
        return False
    match sign:
        case "<":
            return bool(left < right)
        case ">":
            return bool(left > right)
        case "<=":
            return bool(left <= right)
        case _:
            return bool(left >= right)


def like(pattern: str) -> re.Pattern[str]:
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    wild = {"%": ".*", "_": "."}
    return re.compile(
        "".join(wild.get(part) or re.escape(part.removeprefix("\\")) for part in parts), re.IGNORECASE | re.DOTALL
    )


def rows(query: Query, records: Records) -> list[Record]:
    """The records a query finds, ordered and cut."""
    candidates: Iterator[Record] | list[Record]
    if query.ids is None:
        candidates = records.all(query.source.name)
    else:
        candidates = [r for i in sorted(query.ids) if (r := records.get(query.source.name, i)) is not None]
    found = [record for record in candidates if query.where(record)]
    for path, down, nulls_last in reversed(query.order):
        about = field_at(query.source, path)

        def place(record: Record, path: list[str] = path, about: Field = about) -> Any:
            return comparable(about, read(records, query.source, record, path))

        empty = [record for record in found if place(record) is None]
        filled = sorted((record for record in found if place(record) is not None), key=place, reverse=down)
        found = filled + empty if nulls_last else empty + filled
    stop = None if query.limit is None else query.offset + query.limit
    return found[query.offset : stop]


def shape(query: Query, record: Record, records: Records, version: str) -> Record:
    """One record as a query answers it: the asked fields, parents nested, children as results of their own."""
    answer = attributes(query.source.name, record, version)
    for path in query.fields:
        _put(answer, query.source, record, path, records, version)
    for name, by, inner in query.children:
        found = [r for r in rows(inner, records) if r.get(by) == record["Id"]]
        shaped = [shape(inner, r, records, version) for r in found]
        answer[name] = {"totalSize": len(shaped), "done": True, "records": shaped} if shaped else None
    return answer


def _put(answer: Record, source: SObject, record: Record, path: list[str], records: Records, version: str) -> None:
    if len(path) == 1:
        answer[path[0]] = record.get(path[0])
        return
    by = next(f for f in source.fields.values() if f.relationship == path[0])
    parent = records.get(by.to, record.get(by.name) or "")
    if parent is None:
        answer[path[0]] = None
        return
    nested = answer.setdefault(path[0], attributes(by.to, parent, version))
    _put(nested, find_object(by.to) or source, parent, path[1:], records, version)


def attributes(kind: str, record: Record, version: str) -> Record:
    return {"attributes": {"type": kind, "url": f"/services/data/v{version}/sobjects/{kind}/{record['Id']}"}}
