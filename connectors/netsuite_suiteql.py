"""NetSuite's lists through SuiteQL, in the shape in which SOAP gives the same records.

REST web services, ``POST /services/rest/query/v1/suiteql`` with ``Prefer: transient`` (SuiteTalk REST guide, read
2026-11): at most 1,000 rows an answer and 100,000 a query, every value as text, nulls left out. Pages go by the id of
the last row and not by ``offset``: no limit of a query is met, and what changes meanwhile makes no row come twice or
never.

In which zone NetSuite tells an instant depends on the account and the user. So none is compared with ours: what is
asked for is "so many seconds before SYSDATE", and SYSDATE is asked for beside every stamp.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from connectors.wire import chunks
from core.errors import Rejected
from core.ports import Change, Payload

#: Most rows of one query, whatever its pages are.
MOST_ROWS = 100_000
#: Transactions whose lines are asked for together.
TOGETHER = 500
#: How much further back than asked (seconds) changes are looked for: in spring a zone's clock leaps over an hour.
LEAP = 3600
STAMP = "YYYY-MM-DD HH24:MI:SS"

Row = Mapping[str, Any]
#: Runs a query and gives its rows: the text, and how many rows to skip.
Ask = Callable[[str, int], tuple[Sequence[Row], bool]]


def literal(value: str | int) -> str:
    """A value as a query writes it. Rejected for text with characters that no id, name or date of ours has."""
    if isinstance(value, int):
        return str(value)
    if not re.fullmatch(r"[^\x00-\x1f\\]*", value):
        raise Rejected(f"netsuite: {value!r} cannot stand in a query", system="netsuite", value=value)
    return "'" + value.replace("'", "''") + "'"


# Columns ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Column:
    """One expression of a query, and how its text is read."""

    expression: str
    read: Callable[[str], Any] = str


def _shown(name: str) -> Column:
    """What a person sees for an id: the name of a currency, a status without the kind of its record before it."""
    return Column(f"BUILTIN.DF({name})", lambda text: text.rpartition(" : ")[2])


def _status(alias: str) -> Column:
    shown = _shown(f"{alias}.status")
    return Column(f"CASE WHEN {alias}.voided = 'T' THEN 'Voided' ELSE {shown.expression} END", shown.read)


def _day(name: str) -> Column:
    return Column(f"TO_CHAR({name}, 'YYYY-MM-DD')", date.fromisoformat)


def _stamp(name: str) -> Column:
    return Column(f"TO_CHAR({name}, '{STAMP}')", datetime.fromisoformat)


def _flag(name: str) -> Column:
    return Column(name, lambda text: text == "T")


def _amount(name: str) -> Column:
    return Column(name, Decimal)


def _size(name: str) -> Column:
    """An amount without its sign: SOAP shows credit memos and payments above zero, as people do."""
    return Column(name, lambda text: abs(Decimal(text)))


def _turned(name: str) -> Column:
    return Column(name, lambda text: -Decimal(text))


@dataclass(frozen=True, slots=True)
class Lines:
    """Where the lines of a transaction stand in its record (``path``), their columns, and which lines they are."""

    path: str
    columns: Mapping[str, Column]
    only: str = "tl.mainline = 'F' AND tl.taxline = 'F' AND tl.item IS NOT NULL"
    source: str = "transactionline tl"


@dataclass(frozen=True, slots=True)
class Listing:
    """How the records of a type are listed: paths of the record to columns.

    ``changed``: the column that tells when they changed; ``deleted``: what ``deletedrecord`` may call their type, in
    letters only (empty: what was deleted is not told).
    """

    source: str
    columns: Mapping[str, Column]
    only: str = ""
    changed: str = ""
    lines: Lines | None = None
    deleted: frozenset[str] = frozenset()

    @property
    def ident(self) -> str:
        return self.columns["internalId"].expression


def _transaction(kind: str, deleted: str, lines: Lines | None, **columns: Column) -> Listing:
    shared = {
        "internalId": Column("t.id"),
        "externalId": Column("t.externalid"),
        "tranId": Column("t.tranid"),
        "tranDate": _day("t.trandate"),
        "memo": Column("t.memo"),
        "currency.internalId": Column("t.currency"),
        "currency.name": _shown("t.currency"),
        "exchangeRate": _amount("t.exchangerate"),
    }
    names = frozenset({deleted, kind.lower()})
    return Listing("transaction t", shared | columns, f"t.type = {literal(kind)}", "t.lastmodifieddate", lines, names)


def _items(amount: Column) -> Lines:
    return Lines("itemList.item", {"item.internalId": Column("tl.item"), "amount": amount})


#: A posting is told once for each accounting book; 1 is the primary one.
_POSTED = (
    "transactionline tl JOIN transactionaccountingline tal ON tal.transaction = tl.transaction"
    " AND tal.transactionline = tl.id AND tal.accountingbook = 1"
)

LISTINGS: Mapping[str, Listing] = {
    "Customer": Listing(
        "customer c",
        {
            "internalId": Column("c.id"),
            "externalId": Column("c.externalid"),
            "entityId": Column("c.entityid"),
            "companyName": Column("c.companyname"),
            "email": Column("c.email"),
            "currency.internalId": Column("c.currency"),
            "currency.name": _shown("c.currency"),
            "isInactive": _flag("c.isinactive"),
        },
        changed="c.lastmodifieddate",
        deleted=frozenset({"customer", "custjob"}),
    ),
    "Invoice": _transaction(
        "CustInvc",
        "invoice",
        _items(_turned("tl.foreignamount")),
        **{"total": _size("t.foreigntotal"), "status": _status("t"), "entity.internalId": Column("t.entity")},
    ),
    "CreditMemo": _transaction(
        "CustCred",
        "creditmemo",
        _items(_amount("tl.foreignamount")),
        **{"total": _size("t.foreigntotal"), "status": _status("t"), "entity.internalId": Column("t.entity")},
    ),
    "CustomerPayment": _transaction(
        "CustPymt",
        "customerpayment",
        None,
        **{"payment": _size("t.foreigntotal"), "status": _status("t"), "customer.internalId": Column("t.entity")},
    ),
    "JournalEntry": _transaction(
        "Journal",
        "journalentry",
        Lines(
            "lineList.line",
            {"account.internalId": Column("tal.account"), "amount": _amount("tl.foreignamount")},
            "tl.foreignamount IS NOT NULL",
            _POSTED,
        ),
    ),
    "ServiceSaleItem": Listing(
        "item i",
        {"internalId": Column("i.id"), "externalId": Column("i.externalid"), "itemId": Column("i.itemid")},
        "i.itemtype = 'Service'",
        "i.lastmodifieddate",
    ),
    "Account": Listing(
        "account a",
        {"internalId": Column("a.id"), "externalId": Column("a.externalid"), "acctNumber": Column("a.acctnumber")},
    ),
    "AccountingPeriod": Listing(
        "accountingperiod p",
        {
            "internalId": Column("p.id"),
            "periodName": Column("p.periodname"),
            "startDate": _day("p.startdate"),
            "endDate": _day("p.enddate"),
            "closed": _flag("p.closed"),
            "allLocked": _flag("p.alllocked"),
            "arLocked": _flag("p.arlocked"),
        },
        "p.isquarter = 'F' AND p.isyear = 'F'",
    ),
    "Subsidiary": Listing(
        "subsidiary s",
        {"internalId": Column("s.id"), "name": Column("s.name"), "currency.name": _shown("s.currency")},
    ),
}

#: What every ledger account of ours was posted, by month and subsidiary, in the currency of the subsidiary's books.
BALANCES: Mapping[str, Column] = {
    "account.internalId": Column("a.id"),
    "account.externalId": Column("a.externalid"),
    "period.internalId": Column("p.id"),
    "period.startDate": _day("p.startdate"),
    "subsidiary.internalId": Column("s.id"),
    "currency": _shown("s.currency"),
    "debit": _amount("SUM(tal.debit)"),
    "credit": _amount("SUM(tal.credit)"),
}
_BALANCES_OF = (
    "transactionaccountingline tal JOIN transaction t ON t.id = tal.transaction"
    " JOIN transactionline tl ON tl.transaction = tal.transaction AND tl.id = tal.transactionline"
    " JOIN account a ON a.id = tal.account JOIN accountingperiod p ON p.id = t.postingperiod"
    " JOIN subsidiary s ON s.id = tl.subsidiary"
)
_BALANCES_BY = "a.id, a.externalid, p.id, p.startdate, s.id, s.currency"


# Queries ----------------------------------------------------------------------------------------------------------


def select(columns: Mapping[str, Column], source: str, where: Sequence[str], *rest: str) -> str:
    """The query for some columns, named ``c0``, ``c1``, ... so that no name of ours meets a word of the language."""
    named = ", ".join(f"{one.expression} AS c{n}" for n, one in enumerate(columns.values()))
    conditions = " AND ".join(filter(None, where))
    words = ["SELECT", named, "FROM", source, *(["WHERE", conditions] if conditions else []), *rest]
    return " ".join(words)


def _read(columns: Mapping[str, Column], row: Row) -> dict[str, Any]:
    """The values of a row by path; what is null is not there."""
    return {
        path: one.read(str(value))
        for n, (path, one) in enumerate(columns.items())
        if (value := row.get(f"c{n}")) is not None
    }


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """``{"currency.name": "USD"}`` as ``{"currency": {"name": "USD"}}``."""
    record: dict[str, Any] = {}
    for path, value in values.items():
        place = record
        *above, name = path.split(".")
        for part in above:
            place = place.setdefault(part, {})
        place[name] = value
    return record


@dataclass(frozen=True, slots=True)
class SuiteQL:
    """Lists of one account. ``zone``: that of the company, in which SOAP gives a date as an instant."""

    ask: Ask
    clock: Callable[[], datetime]
    zone: ZoneInfo

    def records(self, path: str, since: datetime | None = None) -> Iterator[Change]:
        """All records of a type, or those that changed (or went) at or after ``since``; with their lines, by id."""
        listing = LISTINGS[path]
        more = {"changed": _stamp(listing.changed), "now": _stamp("SYSDATE")} if listing.changed else {}
        columns = {**listing.columns, **more}
        where = [listing.only]
        if since and listing.changed:
            where.append(f"{listing.changed} >= {self._ago(since)}")
        for part in chunks(self._all(columns, listing.source, where, listing.ident), TOGETHER):
            lines = self._lines(listing.lines, [int(one["internalId"]) for one in part]) if listing.lines else {}
            for values in part:
                at = self._changed_at(values)
                record = _nested({name: self._dated(value) for name, value in values.items()})
                for line in lines.get(values["internalId"], ()):
                    _under(record, listing.lines.path if listing.lines else "").append(line)
                yield Change(record["internalId"], at, record)
        if since and listing.deleted:
            yield from self._gone(listing, since)

    def balances(self, since: str = "") -> Iterator[Payload]:
        """``account``, ``period``, ``subsidiary``, ``month``, ``currency`` and ``amount`` (debits less credits) of each
        ledger account that carries a key of ours, by month from ``since`` (``2026-10``; empty: all) and subsidiary."""
        where = ["tal.posting = 'T'", "tal.accountingbook = 1", "a.externalid IS NOT NULL"]
        if since:
            where.append(f"p.startdate >= TO_DATE({literal(f'{since[:7]}-01')}, 'YYYY-MM-DD')")
        by = f"GROUP BY {_BALANCES_BY} ORDER BY a.id, p.id, s.id"
        for values in self._paged(BALANCES, select(BALANCES, _BALANCES_OF, where, by)):
            nil = Decimal(0)
            amount = values.pop("debit", nil) - values.pop("credit", nil)
            month = f"{values.pop('period.startDate'):%Y-%m}"
            yield _nested({**values, "month": month, "amount": amount})

    # How rows are got

    def _all(
        self, columns: Mapping[str, Column], source: str, where: Sequence[str], ident: str
    ) -> Iterator[dict[str, Any]]:
        """Every row, page after page by the id (the first column) of the last one."""
        more, last = True, 0
        while more:
            beyond = f"{ident} > {literal(last)}"
            rows, more = self.ask(select(columns, source, [*where, beyond], f"ORDER BY {ident}"), 0)
            for row in rows:
                yield _read(columns, row)
            last = int(rows[-1]["c0"]) if rows else last
            more = more and bool(rows)

    def _paged(self, columns: Mapping[str, Column], query: str) -> Iterator[dict[str, Any]]:
        """Every row of a query that has no single id. Rejected beyond what one query may give."""
        more, seen = True, 0
        while more:
            if seen >= MOST_ROWS:
                raise Rejected(f"netsuite gives no more than {MOST_ROWS} rows of one query", system="netsuite")
            rows, more = self.ask(query, seen)
            yield from (_read(columns, row) for row in rows)
            seen += len(rows)
            more = more and bool(rows)

    def _lines(self, lines: Lines, transactions: Sequence[int]) -> dict[str, list[dict[str, Any]]]:
        """Lines by the id of their transaction, in their order."""
        columns = {"key": Column("tl.uniquekey"), "of": Column("tl.transaction"), **lines.columns}
        among = f"tl.transaction IN ({', '.join(map(literal, transactions))})"
        found: dict[str, list[dict[str, Any]]] = {}
        for values in self._all(columns, lines.source, [among, lines.only], "tl.uniquekey"):
            del values["key"]
            of = values.pop("of")
            if "account.internalId" in values:
                amount = values.pop("amount")
                values["debit" if amount > 0 else "credit"] = abs(amount)
            found.setdefault(of, []).append(_nested(values))
        return found

    def _gone(self, listing: Listing, since: datetime) -> Iterator[Change]:
        columns = {
            "internalId": Column("d.recordid"),
            "type": Column("d.type"),
            "changed": _stamp("d.deleteddate"),
            "now": _stamp("SYSDATE"),
        }
        where = [f"d.deleteddate >= {self._ago(since)}"]
        query = select(columns, "deletedrecord d", where, "ORDER BY d.recordid, d.type")
        for values in self._paged(columns, query):
            if re.sub("[^a-z]", "", values["type"].lower()) in listing.deleted:
                yield Change(values["internalId"], self._changed_at(values), None)

    # Time

    def _ago(self, since: datetime) -> str:
        seconds = max(0, int((self.clock() - since).total_seconds())) + LEAP
        return f"SYSDATE - {literal(seconds)}/86400"

    def _changed_at(self, values: dict[str, Any]) -> datetime:
        """By our clock: so long before now as the stamp was before NetSuite's own now."""
        now = self.clock()
        changed, asked = values.pop("changed", None), values.pop("now", None)
        return now - max(timedelta(0), asked - changed) if changed and asked else now

    def _dated(self, value: Any) -> Any:
        """A date as SOAP gives it: an instant of that day where the company is."""
        return datetime.combine(value, time(12), self.zone).isoformat() if isinstance(value, date) else value


def _under(record: dict[str, Any], path: str) -> list[dict[str, Any]]:
    """The list at ``itemList.item`` of a record, made where it is not there."""
    place, _, name = path.partition(".")
    found: list[dict[str, Any]] = record.setdefault(place, {}).setdefault(name, [])
    return found
