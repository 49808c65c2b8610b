"""The pack of a close: one folder that shows a month, and proves itself without the database.

=====================  =================================================================================
file                   what it holds
=====================  =================================================================================
close.json             which close this is, and how far it has come
journals.csv           the journals of the close, line by line; journals.jsonl: the same, exactly
ledger.csv             every line that was booked in the month, and those journals
trial_balance.csv      per ledger account: opening, debits, credits, closing
roll_forwards.csv      per subledger: opening, what each event moved, closing
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
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from core.audit import AuditRow
from core.close import Verdict, digest_of
from core.errors import TieBroken
from core.journals import for_general_ledger
from core.ledger import JournalEntry

MANIFEST = "manifest.json"
SEAL = "manifest.sha256"

#: What makes a spreadsheet take text for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")

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
        return f"'{value}" if value.startswith(FORMULA) else value
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def write_table(folder: Path, table: Table) -> None:
    with (folder / table.name).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table.columns)
        writer.writerows([_cell(value) for value in row] for row in table.rows)


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
    flaws = list(_files(folder, expected))
    for check in CHECKS:
        try:
            flaws += check(folder)
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


def read_table(folder: Path, name: str) -> Iterator[dict[str, str]]:
    with (folder / name).open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if None in row or None in row.values():
                raise Unreadable(f"{name}: a row has too few or too many cells")
            yield row


def _amount(row: Mapping[str, str], column: str, name: str) -> Decimal:
    try:
        return Decimal(row[column] or 0)
    except (InvalidOperation, KeyError):
        raise Unreadable(f"{name}: {column} {row.get(column)!r} is no amount") from None


def read_lines(folder: Path, name: str) -> Iterator[Any]:
    with (folder / name).open(encoding="utf-8") as file:
        for line in file:
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


def read_journals(folder: Path) -> list[JournalEntry]:
    try:
        return [
            JournalEntry.model_validate_json(json.dumps(item["journal"]))
            for item in read_lines(folder, "journals.jsonl")
        ]
    except (KeyError, TypeError, ValidationError, TieBroken):
        raise Unreadable("journals.jsonl: a journal is not sound, or does not balance") from None


# What must hold. Each gives its flaws; the file that is named is the one whose figure does not fit the others.


def _journals(folder: Path) -> Iterator[Flaw]:
    """Each journal balances (or it is none), the digest is the approved one, and the CSV says the same."""
    shown: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for item in read_lines(folder, "journals.jsonl"):
        shown[str(item.get("digest"))].append(item.get("journal", {}))
    if not shown.keys() <= set(read_close(folder).get("digests", [])):
        yield Flaw("journals.jsonl", "has journals under a digest that close.json does not name")
    for digest, journals in shown.items():
        if digest_of(journals) != digest:
            yield Flaw("journals.jsonl", f"is not the set of journals that {digest} stands for")
    sides: dict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
    for entry in read_journals(folder):
        for line in entry.lines:
            sides[entry.id, line.ledger_account, "debit"] += line.debit.amount if line.debit else 0
            sides[entry.id, line.ledger_account, "credit"] += line.credit.amount if line.credit else 0
    for row in read_table(folder, "journals.csv"):
        for side in ("debit", "credit"):
            sides[row["journal"], row["account"], side] -= _amount(row, side, "journals.csv")
    for (journal, account, side), left in sides.items():
        if left:
            yield Flaw("journals.csv", f"{journal} {account}: {side} differs by {left} from journals.jsonl")


def _ledger(folder: Path) -> Iterator[Flaw]:
    """Every entry of the month balances."""
    sums: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in read_table(folder, "ledger.csv"):
        sums[row["entry"], row["currency"]] += _amount(row, "debit", "ledger.csv") - _amount(
            row, "credit", "ledger.csv"
        )
    for (entry, currency), left in sums.items():
        if left:
            yield Flaw("ledger.csv", f"{entry} does not balance: {left} {currency}")


def _trial_balance(folder: Path) -> Iterator[Flaw]:
    """Opening + debits - credits = closing; the debits and credits are those of the ledger; the whole is zero."""
    name = "trial_balance.csv"
    sums: dict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
    for row in read_table(folder, "ledger.csv"):
        for side in ("debit", "credit"):
            sums[row["account"], row["currency"], side] += _amount(row, side, "ledger.csv")
    whole: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in read_table(folder, name):
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


def _closings(folder: Path) -> dict[tuple[str, str], Decimal]:
    name = "trial_balance.csv"
    return {(row["account"], row["currency"]): _amount(row, "closing", name) for row in read_table(folder, name)}


def _roll_forwards(folder: Path) -> Iterator[Flaw]:
    """Opening + movements = closing, the movements are the ledger's, and the closing is that of the trial balance."""
    name = "roll_forwards.csv"
    moved: dict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
    for row in read_table(folder, "ledger.csv"):
        net = _amount(row, "debit", "ledger.csv") - _amount(row, "credit", "ledger.csv")
        moved[row["account"], row["currency"], row["event"]] += net
    rolls: dict[tuple[str, str, str, str], dict[str, Decimal]] = defaultdict(dict)
    for row in read_table(folder, name):
        where = row["subledger"], row["account"], row["detail"], row["currency"]
        rolls[where][row["step"]] = _amount(row, "amount", name)
    left = _closings(folder)
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


def _aging(folder: Path) -> Iterator[Flaw]:
    """The buckets of a customer are their total, all totals are the receivables, and so are the open items."""
    receivables, due = read_close(folder).get("receivables", []), defaultdict[str, Decimal](Decimal)
    for (account, currency), closing in _closings(folder).items():
        if account in receivables:
            due[currency] += closing
    items, aged = dict(due), dict(due)
    for row in read_table(folder, "aging.csv"):
        buckets = [column for column in row if column not in ("customer", "name", "currency", "total")]
        total = _amount(row, "total", "aging.csv")
        if sum(_amount(row, column, "aging.csv") for column in buckets) != total:
            yield Flaw("aging.csv", f"{row['customer']}: the buckets do not sum to {total}")
        aged[row["currency"]] = aged.get(row["currency"], Decimal(0)) - total
    for row in read_table(folder, "open_items.csv"):
        items[row["currency"]] = items.get(row["currency"], Decimal(0)) - _amount(row, "open", "open_items.csv")
    for name, left in (("aging.csv", aged), ("open_items.csv", items)):
        for currency, difference in left.items():
            if difference:
                yield Flaw(name, f"differs by {difference} {currency} from the receivables of trial_balance.csv")


def _ties(folder: Path) -> Iterator[Flaw]:
    """Both sides of every tie are equal, except where each Break is explained, or was let pass by a person."""
    passed = {row["record"] for row in read_table(folder, "overrides.csv") if row["gate"] == "ties"}
    broken: dict[str, list[bool]] = defaultdict(list)
    for row in read_table(folder, "breaks.csv"):
        broken[row["tie"]].append(bool(row["explained"]) or row["id"] in passed)
    for row in read_table(folder, "ties.csv"):
        left, right = _amount(row, "left", "ties.csv"), _amount(row, "right", "ties.csv")
        if left - right != _amount(row, "difference", "ties.csv"):
            yield Flaw("ties.csv", f"{row['tie']}: {left} - {right} is not {row['difference']}")
        known = broken.get(row["tie"], [])
        open_ = left - right != _amount(row, "explained", "ties.csv") or row["breaks"] != "0"
        if open_ and not (known and all(known)):
            yield Flaw("ties.csv", f"{row['tie']} does not close: {left} against {right}")


def _read_back(folder: Path) -> Iterator[Flaw]:
    """What was certified was read back: every line of every journal, the same on both sides."""
    shown = list(read_table(folder, "read_back.csv"))
    if not shown and read_close(folder).get("state") != "closed":
        return
    sums: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for entry in for_general_ledger(read_journals(folder)):
        for line in entry.lines:
            amount = line.debit.amount if line.debit else -(line.credit.amount if line.credit else Decimal(0))
            sums[entry.id, line.ledger_account] += amount
    for row in shown:
        ours, theirs = _amount(row, "ours", "read_back.csv"), _amount(row, "theirs", "read_back.csv")
        if ours != theirs:
            yield Flaw("read_back.csv", f"{row['journal']} {row['account']}: ours {ours}, theirs {theirs}")
        sums[row["journal"], row["account"]] -= ours
    for (journal, account), left in sums.items():
        if left:
            yield Flaw("read_back.csv", f"{journal} {account} differs by {left} from journals.jsonl")


def _payloads(folder: Path) -> Iterator[Flaw]:
    """What was sent is what the proof of its delivery names."""
    for item in read_lines(folder, "payloads.jsonl"):
        told = item.get("digest")
        if told and hashlib.sha256(str(item.get("payload", "")).encode()).hexdigest()[: len(told)] != told:
            yield Flaw("payloads.jsonl", f"{item.get('journal')} is not what was sent")


def _audit(folder: Path) -> Iterator[Flaw]:
    """Each row of the audit carries its own hash; every approval and override that the pack shows was told to it."""
    told = set()
    for item in read_lines(folder, "audit.jsonl"):
        try:
            link = AuditRow(**{**item, "at": datetime.fromisoformat(item["at"])})
        except (KeyError, TypeError, ValueError):
            raise Unreadable("audit.jsonl: a row is not of its form") from None
        if link.hash != link.expected_hash():
            yield Flaw("audit.jsonl", f"row {link.seq} was changed after it was written")
        told.add((link.act, link.who))
    approvals = list(read_table(folder, "approvals.csv"))
    for row in approvals:
        act = "approved" if row["verdict"] == Verdict.APPROVE.value else "disapproved"
        if (act, row["who"]) not in told:
            yield Flaw("approvals.csv", f"{row['verdict']} by {row['who']} was never told to the audit")
    given = {row["digest"] for row in approvals if row["verdict"] == Verdict.APPROVE.value}
    about = read_close(folder)
    if about.get("state") == "closed" and not set(about.get("digests", [])) <= given:
        yield Flaw("approvals.csv", "nobody approved the journals that were posted")
    for row in read_table(folder, "overrides.csv"):
        if ("overridden", row["who"]) not in told:
            yield Flaw("overrides.csv", f"{row['record']} let pass by {row['who']} was never told to the audit")


CHECKS: tuple[Callable[[Path], Iterable[Flaw]], ...] = (
    _journals,
    _ledger,
    _trial_balance,
    _roll_forwards,
    _aging,
    _ties,
    _read_back,
    _payloads,
    _audit,
)
