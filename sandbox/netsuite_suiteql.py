"""The part of SuiteQL that the emulator speaks: SELECT with joins, conditions, groups and order over the tables below.

Written from the vendor's guide to SuiteQL and its records catalogue (read 2026-11). The tables are made of what the
books hold and asked by SQLite, whose words differ: a query is taken apart into its tokens, and a word that is neither
of the language nor the name of a table, a column or an alias is refused, as is what SuiteQL does not have (LIMIT,
OFFSET, comments, quoted names, several statements). ``BUILTIN.DF(field)`` is what a person sees for an id.

Every value of an answer is text, as NetSuite gives it, and a null is left out. A date is told by ``TO_CHAR`` alone, in
the company's zone.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

Json = dict[str, Any]

#: Columns by table. A name with ``*`` has a shown form beside it, for BUILTIN.DF; one with ``@`` is a date.
TABLES: Mapping[str, str] = {
    "transaction": "id type externalid tranid @trandate postingperiod* entity* currency* exchangerate foreigntotal"
    " status* voided memo @createddate @lastmodifieddate posting",
    "transactionline": "uniquekey transaction id linesequencenumber mainline taxline item* foreignamount netamount"
    " subsidiary* entity* memo",
    "transactionaccountingline": "transaction transactionline accountingbook account* amount debit credit exchangerate"
    " posting",
    "customer": "id externalid entityid companyname email currency* subsidiary* isinactive @datecreated"
    " @lastmodifieddate",
    "account": "id externalid acctnumber fullname accttype",
    "item": "id externalid itemid itemtype @createddate @lastmodifieddate",
    "accountingperiod": "id periodname @startdate @enddate closed alllocked arlocked aplocked isquarter isyear",
    "subsidiary": "id name currency*",
    "currency": "id name",
    "deletedrecord": "recordid type @deleteddate",
}
WORDS = frozenset(
    re.findall(
        r"\w+",
        """
    select distinct from where and or not in is null between like join left inner outer on as group by having
    order asc desc case when then else end sum count min max abs round nvl coalesce upper lower to_char
    to_date sysdate builtin df
    """,
    )
)
#: Columns whose values are whole numbers, so that they are compared and sorted as such.
NUMBERS = frozenset(
    re.findall(
        r"\w+",
        """
    id uniquekey transaction transactionline linesequencenumber postingperiod entity currency item account
    subsidiary accountingbook recordid
    """,
    )
)
TOKEN = re.compile(r"\s+|('(?:[^']|'')*')|(\d+(?:\.\d+)?)|([A-Za-z_][A-Za-z_0-9]*)|(<>|!=|<=|>=|\|\||[-+*/=<>(),.])")
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 a wall clock, in the company's zone


class Invalid(Exception):
    """A query that SuiteQL does not take."""


def moment(text: str) -> float:
    """A wall clock (ISO text) as days since 1970; its offset is left out."""
    at = datetime.fromisoformat(text).replace(tzinfo=None)
    return (at - EPOCH) / timedelta(days=1)


FORMATS = {"YYYY-MM-DD": "%Y-%m-%d", "YYYY-MM-DD HH24:MI:SS": "%Y-%m-%d %H:%M:%S"}


def _form(text: str) -> str:
    if text not in FORMATS:
        raise Invalid(f"the emulator does not know the date format {text}")
    return FORMATS[text]


def _to_char(day: float | None, form: str) -> str | None:
    if day is None:
        return None
    return (EPOCH + timedelta(seconds=round(day * 86400))).strftime(_form(form))


def _to_date(text: str, form: str) -> float:
    return moment(datetime.strptime(text, _form(form)).isoformat())  # noqa: DTZ007 a wall clock


class _Sum:
    """An exact sum, over text."""

    def __init__(self) -> None:
        self.whole: Decimal | None = None

    def step(self, value: Any) -> None:
        if value is not None:
            self.whole = (self.whole or Decimal(0)) + Decimal(str(value))

    def finalize(self) -> str | None:
        return None if self.whole is None else format(self.whole, "f")


def translated(query: str) -> str:
    """The query in SQLite's words. Invalid when it is not of the language."""
    tokens = list(_tokens(query))
    words = [text for kind, text in tokens if kind == "word"]
    if not words or words[0].lower() != "select":
        raise Invalid("only SELECT is allowed")
    known = {name.strip("@*") for columns in TABLES.values() for name in columns.split()} | TABLES.keys()
    known |= {text.lower() for text in _aliases(tokens)}
    made = []
    for kind, text in tokens:
        if kind != "word":
            made.append("* 1.0 /" if text == "/" else text)  # the language has one kind of number
        elif text.lower() == "sysdate":
            made.append("sysdate()")
        elif text.lower() in WORDS and text.lower() not in TABLES:
            made.append(text)
        elif text.lower() in known:
            made.append(f"[{text.lower()}]")
        else:
            raise Invalid(f"Field '{text}' was not found")
    shown = r"BUILTIN \. DF \( ((?:\[\w+\] \. )?)\[(\w+)\] \)"
    return re.sub(shown, r"\1[\2 shown]", " ".join(made), flags=re.IGNORECASE)


def _tokens(query: str) -> Iterator[tuple[str, str]]:
    place = 0
    while place < len(query):
        found = TOKEN.match(query, place)
        if found is None or found.group().startswith("--") or query.startswith("--", place):
            raise Invalid(f"unexpected character {query[place]!r}")
        place = found.end()
        text, number, word, mark = found.groups()
        if text or number or mark:
            yield "mark", text or number or mark
        elif word:
            yield "word", word


def _aliases(tokens: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Names that the query itself gives: to a table right after its name, to a column after AS."""
    for (_, before), (kind, text) in pairwise(tokens):
        if kind == "word" and text.lower() not in WORDS and (before.lower() in TABLES or before.lower() == "as"):
            yield text


class Tables:
    """The books as tables, made anew when they have changed."""

    def __init__(self) -> None:
        self._db: sqlite3.Connection | None = None
        self._made_at: object = None

    def ask(self, query: str, state: object, rows: Iterable[tuple[str, Json]], now: datetime) -> list[Json]:
        """The whole answer to a query. ``state``: what the books are known by; ``rows``: they, read when it changed."""
        asked = translated(query)
        if self._db is None or self._made_at != state:
            self._db, self._made_at = _filled(rows), state
        wall = moment(now.replace(microsecond=0).isoformat())
        self._db.create_function("sysdate", 0, lambda: wall)
        try:
            found = self._db.execute(asked)
            names = [one[0].lower() for one in found.description]
            return [
                {"links": [], **{name: str(value) for name, value in zip(names, row, strict=True) if value is not None}}
                for row in found
            ]
        except sqlite3.Error as error:
            raise Invalid(str(error)) from None


def _filled(rows: Iterable[tuple[str, Json]]) -> sqlite3.Connection:
    db = sqlite3.connect(":memory:", check_same_thread=False)
    db.create_function("nvl", 2, lambda value, other: other if value is None else value, deterministic=True)
    db.create_function("to_char", 2, _to_char, deterministic=True)
    db.create_function("to_date", 2, _to_date, deterministic=True)
    db.create_aggregate("sum", 1, _Sum)  # type: ignore[arg-type]
    for table, columns in TABLES.items():
        named = []
        for name in columns.split():
            plain = name.strip("@*")
            named.append(f"[{plain}] {'INTEGER' if plain in NUMBERS else 'REAL' if '@' in name else 'TEXT'}")
            named += [f"[{plain} shown] TEXT"] if name.endswith("*") else []
        db.execute(f"CREATE TABLE [{table}] ({', '.join(named)})")
    for table, row in rows:
        values = {name: _kept(value) for name, value in row.items() if value is not None}
        places = ", ".join(f"[{name}]" for name in values)
        marks = ", ".join("?" * len(values))
        db.execute(f"INSERT INTO [{table}] ({places}) VALUES ({marks})", list(values.values()))  # noqa: S608 own names
    for table, column in (("transactionline", "transaction"), ("transactionaccountingline", "transaction")):
        db.execute(f"CREATE INDEX [{table} of] ON [{table}] ([{column}])")
    return db


def _kept(value: Any) -> Any:
    match value:
        case bool():
            return "T" if value else "F"
        case Decimal():
            return format(value, "f")
        case date():
            raise TypeError("a date is kept as days, see moment")
    return value
