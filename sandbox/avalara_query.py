"""AvaTax list queries: ``$filter``, ``$orderBy``, ``$top``, ``$skip`` and the answer's ``@nextLink``.

Operators: eq, ne, gt, ge, lt, le, between, in, contains, startsWith, endsWith, is null, joined by and / or, with
parentheses. Their names are the vendor's; its page "Filtering in REST" was not at hand, so quoting, precedence and case
are an assumption.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlencode

from sandbox.avalara_models import Refusal

Row = Mapping[str, Any]
Test = Callable[[Row], bool]

_TOKEN = re.compile(r"\s*(?:'((?:[^']|'')*)'|([(),])|([^\s(),']+))")
_TIMELIKE = re.compile(r"\d{4}-\d{2}-\d{2}([T ].*)?$")


class _Filter:
    def __init__(self, text: str, fields: Mapping[str, str]) -> None:
        self.text, self.fields, self.used = text, fields, set[str]()
        self.tokens: list[tuple[str, bool]] = []  # (text, quoted)
        at = 0
        while at < len(text.rstrip()):
            found = _TOKEN.match(text, at)
            if not found:
                raise Refusal("MalformedFilterException", text)
            quoted = found[1] is not None
            self.tokens.append((found[1].replace("''", "'"), True) if quoted else (found[2] or found[3], False))
            at = found.end()

    def take(self) -> tuple[str, bool]:
        if not self.tokens:
            raise Refusal("MalformedFilterException", self.text)
        return self.tokens.pop(0)

    def word(self, *words: str) -> bool:
        """Take the next token if it is one of these words."""
        if self.tokens and not self.tokens[0][1] and self.tokens[0][0].lower() in words:
            self.tokens.pop(0)
            return True
        return False

    def need(self, word: str) -> None:
        if not self.word(word):
            raise Refusal("MalformedFilterException", self.text)

    def whole(self) -> Test:
        test = self.either()
        if self.tokens:
            raise Refusal("MalformedFilterException", self.text)
        return test

    def either(self) -> Test:
        tests = [self.both()]
        while self.word("or"):
            tests.append(self.both())
        return lambda row: any(test(row) for test in tests)

    def both(self) -> Test:
        tests = [self.one()]
        while self.word("and"):
            tests.append(self.one())
        return lambda row: all(test(row) for test in tests)

    def one(self) -> Test:
        if self.word("("):
            inner = self.either()
            self.need(")")
            return inner
        name, _ = self.take()
        field = self.fields.get(name.lower())
        if field is None:
            raise Refusal("InvalidQueryField", name)
        self.used.add(field)
        operator = self.take()[0].lower()
        if operator == "is":
            wanted = not self.word("not")
            self.need("null")
            return lambda row: (row.get(field) is None) is wanted
        if operator == "in":
            self.need("(")
            values = [self.take()[0]]
            while self.word(","):
                values.append(self.take()[0])
            self.need(")")
            return lambda row: any(_compare(field, row, value) == 0 for value in values)
        if operator == "between":
            low = self.take()[0]
            self.need("and")
            high = self.take()[0]
            return lambda row: _compare(field, row, low) >= 0 and _compare(field, row, high) <= 0
        value = self.take()[0]
        tests: Mapping[str, Test] = {
            "eq": lambda row: _compare(field, row, value) == 0,
            "ne": lambda row: _compare(field, row, value) != 0,
            "gt": lambda row: _compare(field, row, value) > 0,
            "ge": lambda row: _compare(field, row, value) >= 0,
            "lt": lambda row: _compare(field, row, value) < 0,
            "le": lambda row: _compare(field, row, value) <= 0,
            "contains": lambda row: value.lower() in str(row.get(field) or "").lower(),
            "startswith": lambda row: str(row.get(field) or "").lower().startswith(value.lower()),
            "endswith": lambda row: str(row.get(field) or "").lower().endswith(value.lower()),
        }
        if operator not in tests:
            raise Refusal("MalformedFilterException", self.text)
        return tests[operator]


def _compare(field: str, row: Row, text: str) -> int:
    """-1, 0 or 1 as the row's value is below, equal to or above the text, by the type of the value."""
    have: Any = row.get(field)
    want: Any = text
    try:
        if isinstance(have, bool):
            have, want = str(have).lower(), text.lower()
        elif isinstance(have, (int, Decimal)):
            have, want = Decimal(have), Decimal(text)
        elif isinstance(have, str) and _TIMELIKE.match(have):
            have, want = _instant(have), _instant(text)
        else:
            have, want = str(have or "").lower(), text.lower()
    except (ValueError, InvalidOperation):
        raise Refusal("InvalidQueryValue", field, type(row[field]).__name__, text) from None
    return int(have > want) - int(have < want)


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "")).replace(tzinfo=None)


def parse_filter(text: str, fields: Mapping[str, str]) -> tuple[Test, set[str]]:
    """The test of a ``$filter`` and the fields it names. ``fields``: lower-case name to name of what may be queried."""
    if not text.strip():
        return (lambda _row: True), set()
    parser = _Filter(text, fields)
    return parser.whole(), parser.used


def fetch_result(
    rows: list[dict[str, Any]], query: Mapping[str, str], url: str, default_order: str = "id"
) -> dict[str, Any]:
    """One page: ``{"@recordsetCount", "value", "@nextLink"?}``; ``url`` is the list's own address."""
    top, skip = (_whole_number(query, name) for name in ("$top", "$skip"))
    if top > 1000:
        raise Refusal("DocumentFetchLimit", top)
    for clause in reversed((query.get("$orderBy") or query.get("$orderby") or default_order).split(",")):
        name, _, direction = clause.strip().partition(" ")
        if rows and name not in rows[0]:
            raise Refusal("InvalidQueryField", name)
        rows = sorted(rows, key=lambda row: row[name], reverse=direction.strip().upper() == "DESC")
    size = top or 1000
    page = rows[skip : skip + size]
    answer: dict[str, Any] = {"@recordsetCount": len(rows), "value": page}
    if skip + size < len(rows):
        answer["@nextLink"] = f"{url}?{urlencode({**query, '$top': size, '$skip': skip + size})}"
    return answer


def _whole_number(query: Mapping[str, str], name: str) -> int:
    text = query.get(name) or "0"
    if not text.isdigit():
        raise Refusal("QueryParameterOutOfRange", name, text, 0, 1000)
    return int(text)
