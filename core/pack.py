"""The pack of a close: one folder that shows a month, and proves itself without the database.

=====================  =================================================================================
file                   what it holds
=====================  =================================================================================
close.json             which close this is, and how far it has come
journals.csv           the journals of the close, line by line; journals.jsonl: the same, exactly
ledger.csv             every line that was booked in the month, and those journals
trial_balance.csv      per ledger account: opening, debits, credits, closing
roll_forwards.csv      per subledger: opening, what each event moved, closing
contracts.csv          deferred revenue and contract assets per contract: opening, what each event moved, closing
waterfall.csv          what was billed ahead, by month of billing and month that earns it (9999-12: at a milestone)
aging.csv              per customer: what is open, by how long it is overdue; open_items.csv: invoice by invoice
ties.csv, breaks.csv   the tie-out
gates.csv              what stood in the way, and who let it pass; overrides.csv, approvals.csv
payloads.jsonl         what was sent to the general ledger, exactly
read_back.csv          what the general ledger then showed, line by line, beside ours
audit.jsonl            the rows of the audit chain about this close
summary.html, .pdf     the same for people
manifest.json          the SHA-256 of each file; manifest.sha256: its own
=====================  =================================================================================

Amounts are plain decimals beside their currency. Text that a spreadsheet would take for a formula has ``'`` before it.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import cached_property
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any

from core.audit import AuditRow
from core.close import Digest, Verdict
from core.subledgers import BY_CONTRACT

MANIFEST = "manifest.json"
SEAL = "manifest.sha256"

#: Rows that are written at a time.
PAGE = 250

#: What makes a spreadsheet take text for a formula: how it begins.
FORMULA = frozenset("=+-@\t\r")

Cell = str | int | Decimal | None


@dataclass(frozen=True)
class Table:
    """One CSV of the pack."""

    name: str
    columns: Sequence[str]
    rows: Iterable[Sequence[Cell]]


def _cell(value: Cell) -> str:
    """An amount as it is, text so that no spreadsheet runs it."""
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if value[:1] in FORMULA else value
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def _cells(column: Sequence[Cell]) -> Sequence[Cell]:
    """A column as it is written; most are as they are, and tell one thing again and again."""
    harmless = all(one is None or (type(one) is str and one[:1] not in FORMULA) for one in set(column))
    return column if harmless else list(map(_cell, column))


def write_table(folder: Path, table: Table) -> None:
    with (folder / table.name).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table.columns)
        rows = iter(table.rows)
        while page := list(islice(rows, PAGE)):
            writer.writerows(zip(*map(_cells, zip(*page, strict=True)), strict=True))


def write_lines(folder: Path, name: str, items: Iterable[Mapping[str, Any]]) -> None:
    """One JSON object a line."""
    with (folder / name).open("w", encoding="utf-8") as file:
        for item in items:
            file.write(json.dumps(item, sort_keys=True, default=str) + "\n")


def seal(folder: Path, about: Mapping[str, Any]) -> str:
    """Writes the manifest over every file of the folder; gives its SHA-256, which stands for the whole pack."""
    files = {path.name: _hash(path) for path in sorted(folder.iterdir()) if path.name not in (MANIFEST, SEAL)}
    (folder / MANIFEST).write_text(json.dumps({**about, "files": files}, indent=2, sort_keys=True), encoding="utf-8")
    digest = _hash(folder / MANIFEST)
    (folder / SEAL).write_text(f"{digest}  {MANIFEST}\n", encoding="utf-8")
    return digest


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest_hash(folder: Path) -> str:
    """What stands for the whole pack."""
    return _hash(folder / MANIFEST)


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong with a pack, and in which of its files."""

    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


class Unreadable(ValueError):
    """A file of a pack is not of its form."""


def verify(folder: Path, expected: str | None = None) -> list[Flaw]:
    """Everything that is wrong with a pack, from its own data alone; empty when it is sound.

    ``expected``: the SHA-256 of the manifest as it was noted elsewhere.
    """
    flaws, read = list(_files(folder, expected)), Pack(folder)
    for check in CHECKS:
        try:
            flaws += check(read)
        except FileNotFoundError as error:
            name = Path(str(error.filename)).name
            flaws.append(Flaw(name, "is missing"))
        except Unreadable as error:
            flaws.append(Flaw(*str(error).split(": ", 1)))
    return list(dict.fromkeys(flaws))


def _files(folder: Path, expected: str | None) -> Iterator[Flaw]:
    manifest = folder / MANIFEST
    if not manifest.is_file():
        yield Flaw(MANIFEST, "is missing")
        return
    digest = _hash(manifest)
    sealed = folder / SEAL
    if not sealed.is_file() or sealed.read_text(encoding="utf-8").split()[:1] != [digest]:
        yield Flaw(MANIFEST, f"is not the one that {SEAL} seals")
    if expected is not None and digest != expected:
        yield Flaw(MANIFEST, f"has the hash {digest}, and {expected} was noted")
    try:
        listed = json.loads(manifest.read_text(encoding="utf-8"))["files"]
    except (ValueError, KeyError, TypeError):
        yield Flaw(MANIFEST, "cannot be read")
        return
    present = {path.name for path in folder.iterdir()} - {MANIFEST, SEAL}
    for name in sorted(present - listed.keys()):
        yield Flaw(name, "is not in the manifest")
    for name in sorted(listed.keys() - present):
        yield Flaw(name, "is missing")
    for name in sorted(listed.keys() & present):
        if _hash(folder / name) != listed[name]:
            yield Flaw(name, "was changed after the pack was made")


# Reading back


def _rows(folder: Path, name: str) -> Iterator[list[str]]:
    """The rows of a table, its head first."""
    with (folder / name).open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        heads = next(rows, [])
        yield heads
        for row in rows:
            if len(row) != len(heads):
                raise Unreadable(f"{name}: a row has too few or too many cells")
            yield row


def read_columns(folder: Path, name: str, *columns: str) -> Iterator[tuple[str, ...]]:
    """Those columns of a table, at least two, row by row."""
    rows = _rows(folder, name)
    heads = next(rows)
    try:
        told = itemgetter(*map(heads.index, columns))
    except ValueError:
        raise Unreadable(f"{name}: a column is missing") from None
    yield from map(told, rows)


def read_table(folder: Path, name: str) -> Iterator[dict[str, str]]:
    rows = _rows(folder, name)
    heads = next(rows)
    for row in rows:
        yield dict(zip(heads, row, strict=True))


def _decimal(text: str, column: str, name: str) -> Decimal:
    try:
        return Decimal(text or 0)
    except InvalidOperation:
        raise Unreadable(f"{name}: {column} {text!r} is no amount") from None


def _amount(row: Mapping[str, str], column: str, name: str) -> Decimal:
    if column not in row:
        raise Unreadable(f"{name}: the column {column} is missing")
    return _decimal(row[column], column, name)


def _texts(folder: Path, name: str) -> Iterator[str]:
    with (folder / name).open(encoding="utf-8", newline="\n") as file:
        for line in file:
            yield line.removesuffix("\n")


def read_lines(folder: Path, name: str) -> Iterator[Any]:
    for line in _texts(folder, name):
        try:
            yield json.loads(line)
        except ValueError:
            raise Unreadable(f"{name}: a line is not JSON") from None


def read_close(folder: Path) -> dict[str, Any]:
    try:
        about: dict[str, Any] = json.loads((folder / "close.json").read_text(encoding="utf-8"))
    except ValueError:
        raise Unreadable("close.json: is not JSON") from None
    return about


@dataclass
class Pack:
    """A pack as its checks read it; its two large files are read once."""

    folder: Path

    def table(self, name: str) -> Iterator[dict[str, str]]:
        return read_table(self.folder, name)

    @cached_property
    def about(self) -> dict[str, Any]:
        return read_close(self.folder)

    @cached_property
    def journals(self) -> Journals:
        return Journals.read(self.folder)

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger.read(self.folder)

    @cached_property
    def closings(self) -> dict[tuple[str, str], Decimal]:
        name = "trial_balance.csv"
        return {(row["account"], row["currency"]): _amount(row, "closing", name) for row in self.table(name)}


#: A line of ``journals.jsonl``: the journal stands in it as the text that was approved.
JOURNAL = re.compile(r'\{"round": (?P<round>\d+), "journal": (?P<journal>\{.*\})\}')

ZERO = Decimal(0)

#: By account and side (debits or credits).
Sides = dict[tuple[str, str], Decimal]


@dataclass
class Journals:
    """``journals.jsonl`` beside ``journals.csv``: the digest of each round, what each journal of the general ledger
    moves by account (debits less credits), and where the two files differ."""

    digests: dict[int, Digest] = field(default_factory=dict)
    moved: dict[tuple[str, str], Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    flaws: list[Flaw] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> Journals:
        found = cls()
        rows = read_columns(folder, "journals.csv", "journal", "account", "debit", "credit")
        shown = groupby(rows, itemgetter(0))
        for line in _texts(folder, "journals.jsonl"):
            try:
                ident, sides = found._add(line)
            except (ArithmeticError, KeyError, TypeError, ValueError):
                raise Unreadable("journals.jsonl: a journal is not sound, or does not balance") from None
            name, lines = next(shown, ("none", ()))
            if name != ident:
                found.flaws.append(Flaw("journals.csv", f"has {name} in the place of {ident}"))
                break
            for _, account, debit, credit in lines:
                for side, text in (("debit", debit), ("credit", credit)):
                    if text:
                        amount = _decimal(text, side, "journals.csv")
                        sides[account, side] = sides.get((account, side), ZERO) - amount
            found.flaws += (
                Flaw("journals.csv", f"{ident} {account}: {side} differs by {left} from journals.jsonl")
                for (account, side), left in sides.items()
                if left
            )
        else:
            found.flaws += (Flaw("journals.csv", f"{name} is not in journals.jsonl") for name, _ in shown)
        return found

    def _add(self, text: str) -> tuple[str, Sides]:
        """Its id and what it moves. ValueError when it does not balance, in its currency or in that of the books."""
        told = JOURNAL.fullmatch(text)
        if told is None:
            raise ValueError
        self.digests.setdefault(int(told["round"]), Digest()).add(told["journal"])
        journal = json.loads(told["journal"])
        sides: Sides = {}
        currency, carrier = journal["currency"], str(journal.get("gl_journal") or journal["id"])
        net = own = ZERO
        for line in journal["lines"]:
            side = "debit" if "debit" in line else "credit"
            money = line[side]
            amount, place = Decimal(money["amount"]), (line["ledger_account"], side)
            if money["currency"] != currency or amount <= 0 or (side == "debit" and "credit" in line):
                raise ValueError
            worth = Decimal(line["functional"]["amount"]) if "functional" in line else amount
            sides[place] = sides.get(place, ZERO) + amount
            own += worth if side == "debit" else -worth
        for (account, side), amount in sides.items():
            moved = amount if side == "debit" else -amount
            self.moved[carrier, account] += moved
            net += moved
        if net or own:
            raise ValueError
        return str(journal["id"]), sides


@dataclass
class Ledger:
    """``ledger.csv``: debits and credits by account, currency and event, and the entries that do not balance."""

    sides: dict[tuple[str, str, str], list[Decimal]] = field(default_factory=dict)
    flaws: list[Flaw] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> Ledger:
        found, name = cls(), "ledger.csv"
        columns = ("entry", "currency", "account", "event", "debit", "credit")
        for (entry, currency), lines in groupby(read_columns(folder, name, *columns), itemgetter(0, 1)):
            net = Decimal(0)
            for _, _, account, event, debit, credit in lines:
                if (sides := found.sides.get((account, currency, event))) is None:
                    sides = found.sides[account, currency, event] = [Decimal(0), Decimal(0)]
                if debit:
                    amount = _decimal(debit, "debit", name)
                    sides[0] += amount
                    net += amount
                if credit:
                    amount = _decimal(credit, "credit", name)
                    sides[1] += amount
                    net -= amount
            if net:
                found.flaws.append(Flaw(name, f"{entry} does not balance: {net} {currency}"))
        return found


# What must hold. Each gives its flaws; the file that is named is the one whose figure does not fit the others.


def _journals(read: Pack) -> Iterator[Flaw]:
    """Each journal balances (or it is none), the digests are those that were shown, and the CSV says the same."""
    for number, digest in read.journals.digests.items():
        if digest.value not in read.about.get("digests", []):
            yield Flaw("journals.jsonl", f"is no set of journals that was shown: {digest.value}, round {number}")
    yield from read.journals.flaws


def _ledger(read: Pack) -> Iterator[Flaw]:
    """Every entry of the month balances."""
    yield from read.ledger.flaws


def _trial_balance(read: Pack) -> Iterator[Flaw]:
    """Opening + debits - credits = closing; the debits and credits are those of the ledger; the whole is zero."""
    name = "trial_balance.csv"
    sums: dict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
    for (account, currency, _), (debits, credits) in read.ledger.sides.items():
        sums[account, currency, "debit"] += debits
        sums[account, currency, "credit"] += credits
    whole: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in read.table(name):
        account, currency = row["account"], row["currency"]
        opening, debit, credit, closing = (_amount(row, c, name) for c in ("opening", "debit", "credit", "closing"))
        if opening + debit - credit != closing:
            yield Flaw(name, f"{account} {currency}: {opening} + {debit} - {credit} is not {closing}")
        for side, told in (("debit", debit), ("credit", credit)):
            booked = sums.pop((account, currency, side), Decimal(0))
            if booked != told:
                yield Flaw(name, f"{account} {currency}: {side} {told}, and ledger.csv has {booked}")
        whole[currency, "opening"] += opening
        whole[currency, "closing"] += closing
    for (account, currency, side), left in sums.items():
        if left:
            yield Flaw(name, f"{account} {currency} is missing, and ledger.csv has {side} {left}")
    for (currency, column), left in whole.items():
        if left:
            yield Flaw(name, f"{column} does not sum to zero: {left} {currency}")


def _roll_forwards(read: Pack) -> Iterator[Flaw]:
    """Opening + movements = closing, the movements are the ledger's, and the closing is that of the trial balance."""
    name = "roll_forwards.csv"
    moved: dict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
    for place, (debits, credits) in read.ledger.sides.items():
        moved[place] += debits - credits
    rolls: dict[tuple[str, str, str, str], dict[str, Decimal]] = defaultdict(dict)
    for row in read.table(name):
        where = row["subledger"], row["account"], row["detail"], row["currency"]
        rolls[where][row["step"]] = _amount(row, "amount", name)
    left = dict(read.closings)
    shown = set()
    for (subledger, account, detail, currency), steps in rolls.items():
        told, closing = f"{subledger} {account} {detail}".strip(), steps.pop("closing", None)
        if closing is None or sum(steps.values()) != closing:
            yield Flaw(name, f"{told}: opening and movements are {sum(steps.values())}, closing is {closing}")
        left[account, currency] = left.get((account, currency), Decimal(0)) - (closing or 0)
        shown.add((account, currency))
        for event, step in steps.items():
            if event != "opening":
                moved[account, currency, event] -= step
    for account, currency in sorted(shown):
        if difference := left[account, currency]:
            yield Flaw(name, f"{account} {currency}: closings differ by {difference} from the trial balance")
    for (account, currency, event), difference in moved.items():
        if difference and (account, currency) in shown:
            yield Flaw(name, f"{account} {currency}: {event} differs by {difference} from ledger.csv")


def _contracts(read: Pack) -> Iterator[Flaw]:
    """Opening + movements = closing for each contract, and all contracts are the roll-forward of their subledger."""
    name = "contracts.csv"
    rolls: dict[tuple[str, str, str], dict[str, Decimal]] = defaultdict(dict)
    left: dict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
    for row in read.table(name):
        amount = _amount(row, "amount", name)
        rolls[row["account"], row["contract"], row["currency"]][row["step"]] = amount
        left[row["account"], row["currency"], row["step"]] += amount
    for (account, contract, currency), steps in rolls.items():
        closing = steps.pop("closing", None)
        if closing is None or sum(steps.values()) != closing:
            told = f"{contract} {account} {currency}: opening and movements are {sum(steps.values())}"
            yield Flaw(name, f"{told}, closing is {closing}")
    for row in read.table("roll_forwards.csv"):
        if row["subledger"] in BY_CONTRACT:
            left[row["account"], row["currency"], row["step"]] -= _amount(row, "amount", "roll_forwards.csv")
    for (account, currency, step), difference in left.items():
        if difference:
            yield Flaw(name, f"{account} {currency}: {step} differs by {difference} from roll_forwards.csv")


def _waterfall(read: Pack) -> Iterator[Flaw]:
    """What is to be earned after the month is the deferred revenue, and what it earned is what it recognised."""
    name, month = "waterfall.csv", str(read.about.get("period", ""))
    left: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in read.table(name):
        amount = _amount(row, "amount", name)
        if row["earned_in"] > month:
            left[row["currency"], "closing"] += amount
        if row["earned_in"] == month:
            left[row["currency"], "recognition"] -= amount
    for row in read.table("roll_forwards.csv"):
        if row["subledger"] == "deferred revenue" and row["step"] in ("closing", "recognition"):
            left[row["currency"], row["step"]] += _amount(row, "amount", "roll_forwards.csv")
    for (currency, step), difference in left.items():
        if difference:
            yield Flaw(
                name, f"{step} differs by {difference} {currency} from the deferred revenue of roll_forwards.csv"
            )


def _aging(read: Pack) -> Iterator[Flaw]:
    """The buckets of a customer are their total, all totals are the receivables, and so are the open items."""
    receivables, due = read.about.get("receivables", []), defaultdict[str, Decimal](Decimal)
    for (account, currency), closing in read.closings.items():
        if account in receivables:
            due[currency] += closing
    items, aged = dict(due), dict(due)
    for row in read.table("aging.csv"):
        buckets = [column for column in row if column not in ("customer", "name", "currency", "total")]
        total = _amount(row, "total", "aging.csv")
        if sum(_amount(row, column, "aging.csv") for column in buckets) != total:
            yield Flaw("aging.csv", f"{row['customer']}: the buckets do not sum to {total}")
        aged[row["currency"]] = aged.get(row["currency"], Decimal(0)) - total
    for row in read.table("open_items.csv"):
        items[row["currency"]] = items.get(row["currency"], Decimal(0)) - _amount(row, "open", "open_items.csv")
    for name, left in (("aging.csv", aged), ("open_items.csv", items)):
        for currency, difference in left.items():
            if difference:
                yield Flaw(name, f"differs by {difference} {currency} from the receivables of trial_balance.csv")


def _ties(read: Pack) -> Iterator[Flaw]:
    """Both sides of every tie are equal, except where each Break is explained, or was let pass by a person."""
    passed = {row["record"] for row in read.table("overrides.csv") if row["gate"] == "ties"}
    broken: dict[str, list[bool]] = defaultdict(list)
    for row in read.table("breaks.csv"):
        broken[row["tie"]].append(bool(row["explained"]) or row["id"] in passed)
    for row in read.table("ties.csv"):
        left, right = _amount(row, "left", "ties.csv"), _amount(row, "right", "ties.csv")
        if left - right != _amount(row, "difference", "ties.csv"):
            yield Flaw("ties.csv", f"{row['tie']}: {left} - {right} is not {row['difference']}")
        known = broken.get(row["tie"], [])
        open_ = left - right != _amount(row, "explained", "ties.csv") or row["breaks"] != "0"
        if open_ and not (known and all(known)):
            yield Flaw("ties.csv", f"{row['tie']} does not close: {left} against {right}")


def _read_back(read: Pack) -> Iterator[Flaw]:
    """What was certified was read back: every line of every journal, the same on both sides."""
    shown = list(read.table("read_back.csv"))
    if not shown and read.about.get("state") != "closed":
        return
    sums = defaultdict(Decimal, read.journals.moved)
    for row in shown:
        ours, theirs = _amount(row, "ours", "read_back.csv"), _amount(row, "theirs", "read_back.csv")
        if ours != theirs:
            yield Flaw("read_back.csv", f"{row['journal']} {row['account']}: ours {ours}, theirs {theirs}")
        sums[row["journal"], row["account"]] -= ours
    for (journal, account), left in sums.items():
        if left:
            yield Flaw("read_back.csv", f"{journal} {account} differs by {left} from journals.jsonl")


def _payloads(read: Pack) -> Iterator[Flaw]:
    """What was sent is what the proof of its delivery names."""
    for item in read_lines(read.folder, "payloads.jsonl"):
        told = item.get("digest")
        if told and hashlib.sha256(str(item.get("payload", "")).encode()).hexdigest()[: len(told)] != told:
            yield Flaw("payloads.jsonl", f"{item.get('journal')} is not what was sent")


def _audit(read: Pack) -> Iterator[Flaw]:
    """Each row of the audit carries its own hash; every approval and override that the pack shows was told to it."""
    told = set()
    for item in read_lines(read.folder, "audit.jsonl"):
        try:
            link = AuditRow(**{**item, "at": datetime.fromisoformat(item["at"])})
        except (KeyError, TypeError, ValueError):
            raise Unreadable("audit.jsonl: a row is not of its form") from None
        if link.hash != link.expected_hash():
            yield Flaw("audit.jsonl", f"row {link.seq} was changed after it was written")
        told.add((link.act, link.who))
    approvals = list(read.table("approvals.csv"))
    for row in approvals:
        act = "approved" if row["verdict"] == Verdict.APPROVE.value else "disapproved"
        if (act, row["who"]) not in told:
            yield Flaw("approvals.csv", f"{row['verdict']} by {row['who']} was never told to the audit")
    given = {row["digest"] for row in approvals if row["verdict"] == Verdict.APPROVE.value}
    about = read.about
    if about.get("state") == "closed" and not set(about.get("digests", [])) <= given:
        yield Flaw("approvals.csv", "nobody approved the journals that were posted")
    for row in read.table("overrides.csv"):
        if ("overridden", row["who"]) not in told:
            yield Flaw("overrides.csv", f"{row['record']} let pass by {row['who']} was never told to the audit")


CHECKS: tuple[Callable[[Pack], Iterable[Flaw]], ...] = (
    _journals,
    _ledger,
    _trial_balance,
    _roll_forwards,
    _contracts,
    _waterfall,
    _aging,
    _ties,
    _read_back,
    _payloads,
    _audit,
)
