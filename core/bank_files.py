"""Bank files: BAI2 statements and lockboxes, ACH returns (NACHA), and a CSV for what comes otherwise.

A file is read whole or refused whole: its control totals and counts must be those of its records, and a mistake names
file, line and field. Sources: *Cash Management Balance Reporting Specifications Version 2* (BAI, 2005), and the record
formats and return entries of the Nacha Operating Rules.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import NoReturn

from core.cash import CashReceipt
from core.errors import Rejected
from core.money import Money, exponent


@dataclass(frozen=True, slots=True)
class AchReturn:
    """An ACH entry that came back. ``trace``: of the entry that we sent; ``code``: why, like ``R01``."""

    line: int
    trace: str
    ident: str
    amount: Money
    code: str


@dataclass(slots=True)
class BankFile:
    """What a file tells. ``skipped``: movements that bring no money, as debits."""

    receipts: list[CashReceipt] = field(default_factory=list)
    returns: list[AchReturn] = field(default_factory=list)
    skipped: int = 0


def read_bank_file(name: str, content: str, entity: str) -> BankFile:
    """The money that a file tells of. ``name``: for messages; ``entity``: the legal entity whose accounts it is about.

    Rejected when it is none of the three formats, or something in it is wrong.
    """
    rows = [(number, text.rstrip()) for number, text in enumerate(content.splitlines(), 1) if text.strip()]
    if not rows:
        raise Rejected(f"{name} is empty", record=name, field="file")
    lines = _Lines(name, rows)
    first = rows[0][1]
    if first.startswith("01,"):
        return _Bai2(lines, entity).read()
    if first.startswith("101") and "," not in first:
        return _ach_returns(lines)
    return _csv(lines, entity)


@dataclass(frozen=True, slots=True)
class _Lines:
    name: str
    rows: list[tuple[int, str]]

    def refuse(self, line: int, what: str, value: str, why: str) -> NoReturn:
        raise Rejected(
            f"{self.name} line {line}: {what} is {value!r}; {why}; nothing of the file was taken in",
            record=self.name,
            field=what,
            value=value,
        )

    def number(self, line: int, what: str, value: str) -> int:
        if not re.fullmatch(r"[+-]?\d+", value):
            self.refuse(line, what, value, "a whole number belongs there")
        return int(value)

    def same(self, line: int, what: str, told: int, found: int) -> None:
        if told != found:
            self.refuse(line, what, str(told), f"its records make {found}")


def _receipt(
    entity: str, seen: Counter[str], bank_account: str, value_date: date, amount: Money, *told: str
) -> CashReceipt:
    """``told``: payer, text and reference. Its id is what the bank told, and which of the same it is in the file."""
    content = "|".join([entity, bank_account, value_date.isoformat(), str(amount), *told])
    seen[content] += 1
    digest = hashlib.sha256(f"{content}|{seen[content]}".encode()).hexdigest()[:12]
    payer, text, reference = told
    return CashReceipt(
        id=f"RCT-{digest}",
        entity=entity,
        bank_account=bank_account,
        currency=amount.currency,
        amount=amount,
        left=amount,
        value_date=value_date,
        payer=payer,
        text=text,
        reference=reference,
    )


#: How many fields follow a funds type; ``D`` says it itself.
_AVAILABILITY = {"": 0, "0": 0, "1": 0, "2": 0, "Z": 0, "S": 3, "V": 2}

#: Type codes of single movements that bring money; from 400 on they take it.
_CREDITS = range(101, 400)


class _Bai2:
    """One file: 01 of 02 of 03 of 16, each level ended by its total (49, 98, 99); 88 continues the record before."""

    def __init__(self, lines: _Lines, entity: str) -> None:
        self._lines, self._entity = lines, entity
        self._found, self._seen = BankFile(), Counter[str]()
        self._account, self._currency, self._group_currency = "", "USD", "USD"
        self._as_of = date.min
        self._sums = {"49": 0, "98": 0, "99": 0}
        self._counts = {"49": 0, "98": 0, "99": 0}
        self._inner = {"98": 0, "99": 0}
        self._open: list[str] = []
        self._size = 0

    def read(self) -> BankFile:
        last = 0
        for line, code, fields, records in self._records():
            for level in self._counts:
                self._counts[level] += records
            last, self._size = line, records
            self._take(line, code, fields)
        if self._open:
            self._lines.refuse(last, "record", self._open[-1], "the file ends before its total")
        return self._found

    def _records(self) -> Iterator[tuple[int, str, list[str], int]]:
        """Line of its start, code, fields, and how many physical records it is."""
        held: list[tuple[int, str]] = []
        for line, text in [*self._lines.rows, (0, "")]:
            if text[:2] == "88" and held:
                held.append((line, text))
                continue
            if held:
                yield held[0][0], held[0][1][:2], self._joined([one for _, one in held]), len(held)
            held = [(line, text)]

    @staticmethod
    def _joined(texts: Sequence[str]) -> list[str]:
        """The fields of a record over its lines. Text that ends without a slash goes on in the next line."""
        whole = ""
        for text in texts:
            part = text[3:]
            whole += part[:-1] + "," if part.endswith("/") else part + " "
        return [one.strip() for one in whole[:-1].split(",")]

    def _take(self, line: int, code: str, fields: list[str]) -> None:
        parents = {"01": [], "02": ["01"], "03": ["01", "02"], "16": ["01", "02", "03"]}
        ends = {"49": ["01", "02", "03"], "98": ["01", "02"], "99": ["01"]}
        if {**parents, **ends}.get(code) != self._open:
            self._lines.refuse(line, "record code", code, f"it cannot stand below {', '.join(self._open) or 'nothing'}")
        if code in ends:
            self._end(line, code, fields)
            self._open.pop()
            return
        if code == "16":
            self._movement(line, fields)
            return
        self._open.append(code)
        if code == "02":
            self._as_of = self._date(line, "as-of date", self._at(line, fields, 3, "as-of date"))
            self._group_currency = self._at(line, fields, 5, "currency", "") or "USD"
            self._start("98")
        elif code == "03":
            self._account = self._at(line, fields, 0, "account number")
            self._currency = self._at(line, fields, 1, "currency", "") or self._group_currency
            self._start("49")
            self._summaries(line, fields[2:])

    def _start(self, level: str) -> None:
        self._sums[level], self._counts[level] = 0, self._size
        if level in self._inner:
            self._inner[level] = 0

    def _at(self, line: int, fields: Sequence[str], place: int, what: str, otherwise: str | None = None) -> str:
        if place < len(fields) and fields[place]:
            return fields[place]
        if otherwise is None:
            self._lines.refuse(line, what, "", "it is required")
        return otherwise

    def _date(self, line: int, what: str, value: str) -> date:
        try:
            return date.fromisoformat(f"20{value[:2]}-{value[2:4]}-{value[4:]}")
        except ValueError:
            self._lines.refuse(line, what, value, "a date YYMMDD belongs there")

    def _available(self, line: int, fields: list[str]) -> int:
        """How many fields the funds type at the start of ``fields`` takes with it, itself included."""
        kind = fields[0] if fields else ""
        if kind == "D":
            return 2 + 2 * self._lines.number(
                line, "number of distributions", self._at(line, fields, 1, "distributions")
            )
        if kind not in _AVAILABILITY:
            self._lines.refuse(line, "funds type", kind, "it is 0, 1, 2, V, S, D, Z or nothing")
        return 1 + _AVAILABILITY[kind]

    def _summaries(self, line: int, fields: list[str]) -> None:
        while len(fields) > 1:
            if fields[1]:
                self._sums["49"] += self._lines.number(line, "summary amount", fields[1])
            fields = fields[3:]
            fields = fields[self._available(line, fields) :]

    def _movement(self, line: int, fields: list[str]) -> None:
        code = self._lines.number(line, "type code", self._at(line, fields, 0, "type code"))
        minor = self._lines.number(line, "amount", self._at(line, fields, 1, "amount", "0"))
        self._sums["49"] += minor
        if code not in _CREDITS or minor <= 0:
            self._found.skipped += 1
            return
        taken = self._available(line, fields[2:])
        value_date = self._as_of
        if fields[2:3] == ["V"] and fields[3:4] not in ([], [""]):
            value_date = self._date(line, "value date", fields[3])
        bank, customer, *text = [*fields[2 + taken :], "", ""][: max(2, len(fields) - 2 - taken)]
        told = ("", ", ".join(text).strip(" ,"), bank or customer)
        words = f"{customer} {told[1]}".strip() if bank else told[1]
        amount = Money(minor, self._currency)
        self._found.receipts.append(
            _receipt(self._entity, self._seen, self._account, value_date, amount, told[0], words, told[2])
        )

    def _end(self, line: int, code: str, fields: list[str]) -> None:
        """The total of a level: of amounts, of what it is made of, and of records with its own first and last."""
        names = {"49": "account", "98": "group", "99": "file"}
        told = [self._lines.number(line, f"{names[code]} total", self._at(line, fields, 0, "control total"))]
        for place in range(1, 2 if code == "49" else 3):
            told.append(self._lines.number(line, "count", self._at(line, fields, place, "count")))
        self._lines.same(line, f"control total of the {names[code]}", told[0], self._sums[code])
        if code != "49":
            inner = "accounts" if code == "98" else "groups"
            self._lines.same(line, f"number of {inner}", told[1], self._inner[code])
        self._lines.same(line, f"number of records of the {names[code]}", told[-1], self._counts[code])
        outer = {"49": "98", "98": "99"}.get(code)
        if outer:
            self._sums[outer] += told[0]
            self._inner[outer] += 1


#: Where the fields of an ACH record stand, from 0.
_TRACE, _AMOUNT, _IDENT, _BANK = slice(79, 94), slice(29, 39), slice(39, 54), slice(3, 11)


@dataclass(slots=True)
class _Totals:
    """Of a batch or a file: entries with their addenda, the sum of their banks, debits and credits in cents."""

    count: int = 0
    hash: int = 0
    debit: int = 0
    credit: int = 0

    def add(self, more: _Totals) -> None:
        self.count += more.count
        self.hash += more.hash
        self.debit += more.debit
        self.credit += more.credit

    def check(self, lines: _Lines, line: int, name: str, text: str, at: tuple[int, int, int, int, int]) -> None:
        found = (self.count, self.hash % 10**10, self.debit, self.credit)
        names = ("entry/addenda count", "entry hash", "total debit", "total credit")
        for what, begin, end, value in zip(names, at, at[1:], found, strict=False):
            lines.same(line, f"{what} of the {name}", lines.number(line, what, text[begin:end]), value)


def _ach_returns(lines: _Lines) -> BankFile:
    """The entries of a file that came back (addenda 99); notifications of change (98) are counted and passed over."""
    found, batch, whole, batches = BankFile(), _Totals(), _Totals(), 0
    entry: str | None = None
    ended = False
    for line, text in lines.rows:
        if ended and set(text) == {"9"}:
            continue
        if len(text) > 94 or (len(text) < 94 and text[0] not in "1589"):
            lines.refuse(line, "length", str(len(text)), "a record has 94 characters")
        text = text.ljust(94)
        kind = text[0]
        if kind == "5":
            batch, batches = _Totals(), batches + 1
        elif kind == "6":
            entry, cents = text, lines.number(line, "amount", text[_AMOUNT])
            credit = text[2] in "01234"
            batch.add(
                _Totals(1, lines.number(line, "bank", text[_BANK]), 0 if credit else cents, cents if credit else 0)
            )
        elif kind == "7":
            if entry is None:
                lines.refuse(line, "record type", kind, "an addenda record follows its entry")
            batch.count += 1
            if text[1:3] == "99":
                if not re.fullmatch(r"R\d\d", text[3:6]):
                    lines.refuse(line, "return reason code", text[3:6], "a code like R01 belongs there")
                amount = Money(int(entry[_AMOUNT]), "USD")
                found.returns.append(AchReturn(line, text[6:21].strip(), entry[_IDENT].strip(), amount, text[3:6]))
            else:
                found.skipped += 1
        elif kind == "8":
            batch.check(lines, line, "batch", text, (4, 10, 20, 32, 44))
            whole.add(batch)
        elif kind == "9":
            lines.same(line, "batch count", lines.number(line, "batch count", text[1:7]), batches)
            whole.check(lines, line, "file", text, (13, 21, 31, 43, 55))
            ended = True
        elif kind != "1":
            lines.refuse(line, "record type", kind, "it is 1, 5, 6, 7, 8 or 9")
    if not ended:
        lines.refuse(lines.rows[-1][0], "record type", lines.rows[-1][1][0], "the file ends before its control record")
    return found


_NEEDED, _MAY = ("value_date", "amount", "currency"), ("payer", "text", "reference", "bank_account")


def _csv(lines: _Lines, entity: str) -> BankFile:
    """Columns ``value_date`` (ISO), ``amount`` (above zero, plain decimal) and ``currency``; ``payer``, ``text``,
    ``reference`` and ``bank_account`` may stand there too."""
    head = next(csv.reader([lines.rows[0][1]]))
    for column in _NEEDED:
        if column not in head:
            known = ", ".join((*_NEEDED, *_MAY))
            lines.refuse(1, "header", lines.rows[0][1], f"{column} is missing; it is BAI2, NACHA or a CSV of {known}")
    for column in head:
        if column not in (*_NEEDED, *_MAY):
            lines.refuse(1, "header", column, f"known columns are {', '.join((*_NEEDED, *_MAY))}")
    found, seen = BankFile(), Counter[str]()
    for line, text in lines.rows[1:]:
        cells = next(csv.reader([text]))
        if len(cells) != len(head):
            lines.refuse(line, "row", text, f"it has {len(cells)} cells and the header {len(head)}")
        row = dict(zip(head, (cell.strip() for cell in cells), strict=True))
        try:
            value_date = date.fromisoformat(row["value_date"])
        except ValueError:
            lines.refuse(line, "value_date", row["value_date"], "a date like 2026-11-05 belongs there")
        amount = _amount(lines, line, row["amount"], row["currency"])
        told = (row.get("payer", ""), row.get("text", ""), row.get("reference", ""))
        found.receipts.append(_receipt(entity, seen, row.get("bank_account", ""), value_date, amount, *told))
    return found


def _amount(lines: _Lines, line: int, value: str, currency: str) -> Money:
    try:
        places = exponent(currency)
    except ValueError:
        lines.refuse(line, "currency", currency, "an ISO 4217 code belongs there")
    try:
        exact = Decimal(value)
    except InvalidOperation:
        lines.refuse(line, "amount", value, "a plain decimal like 1234.56 belongs there")
    minor = exact.scaleb(places)
    if not exact.is_finite() or minor != int(minor) or minor <= 0:
        lines.refuse(line, "amount", value, f"it must be above zero, with at most {places} decimals")
    return Money(int(minor), currency)
