"""Double entry: ledger accounts, journal entries that balance at birth, and how one reaches the general ledger."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from core.entities import EntityId
from core.errors import TieBroken
from core.money import Money
from core.noun import CurrencyCode, Id, Noun
from core.ties import journal_balances


class LedgerAccountKind(StrEnum):
    ASSET = "asset"
    LIABILITY = "liability"
    EQUITY = "equity"
    INCOME = "income"
    EXPENSE = "expense"


class LedgerAccount(Noun):
    """An account of the general ledger. ``code`` is its number in ours and its key in the ERP.

    ``role``: what posting rules call it (``receivables``). ``monetary``: what it holds of other currencies is revalued.
    ``revalued_in``: the account that takes what a journal changes of its worth, as ERPs take no journal for receivables
    as a whole; empty: itself.
    """

    code: Id
    name: str
    kind: LedgerAccountKind
    role: str = ""
    monetary: bool = False
    revalued_in: str = ""


#: The segments that subledgers are told apart by.
DETAILS = ("jurisdiction", "gateway", "revalues")


def detail(segments: Mapping[str, str]) -> str:
    """The one segment of a line that its subledger is told apart by; empty for none."""
    return next((value for name in DETAILS if (value := segments.get(name))), "") if segments else ""


class Dimension(Noun):
    """One segment of a line as a pair, for a general ledger that takes a list of them."""

    name: str
    value: str


class Via(StrEnum):
    """How an entry reaches the general ledger."""

    DOCUMENT = "document"  # the ERP books it itself when it receives the invoice or the payment
    JOURNAL = "journal"  # we push it as a journal entry


class JournalLine(Noun):
    """One side of an entry: exactly one of ``debit`` and ``credit`` is set, and it is > 0.

    ``source`` and ``source_id`` name what it was booked for: ``("invoice_line", id)``, ``("settlement", id)``...
    ``rule``: the posting rules that made it. ``segments``: dimensions of the general ledger (class, department, ...).
    ``functional``: the amount in the currency of the entity's books, on the same side; None where it is the same.
    """

    id: Id
    position: int
    ledger_account: str
    debit: Money | None = None
    credit: Money | None = None
    memo: str = ""
    source: str
    source_id: Id
    rule: str = ""
    segments: dict[str, str] = Field(default_factory=dict)
    functional: Money | None = None

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """The segments that are for the general ledger, by name; those of our own subledgers are left out."""
        return tuple(Dimension(name=n, value=v) for n, v in sorted(self.segments.items()) if n not in DETAILS)

    @property
    def amount(self) -> Money:
        """Above zero a debit, below it a credit."""
        return self.debit if self.debit is not None else -self._credit

    @property
    def functional_amount(self) -> Money:
        """The same in the currency of the entity's books."""
        own = self.functional
        if own is None:
            return self.amount
        return own if self.debit is not None else -own

    @property
    def _credit(self) -> Money:
        assert self.credit is not None
        return self.credit

    @property
    def detail(self) -> str:
        """What tells it from others of its ledger account in a subledger: jurisdiction, gateway, currency revalued."""
        return detail(self.segments)

    @model_validator(mode="after")
    def _one_side(self) -> Self:
        side = self.debit if self.credit is None else self.credit if self.debit is None else None
        if side is None or side.minor <= 0:
            raise TieBroken("a journal line has one positive side", subject=self.id, left=self.debit, right=self.credit)
        if self.functional is not None and self.functional.minor < 0:
            raise TieBroken(
                "a functional amount is on the side of its line", subject=self.id, left=side, right=self.functional
            )
        return self


class JournalEntry(Noun):
    """A balanced booking. ``id`` is its key in the general ledger; ``event`` is the business event it follows from.

    It is never changed: ``reverses`` names the entry that this one takes back. ``entity``: whose books it stands in.
    ``rules_version``: of the posting rules that made it. ``origin``: the month (``"2026-10"``) that it belongs to,
    where that was closed already when it was booked. ``gl_journal``: the journal that carries it in the general ledger,
    summed with others; None: it goes there by itself.
    """

    id: Id
    entity: EntityId = "main"
    event: str
    via: Via
    currency: CurrencyCode
    posted_on: date
    account_id: Id | None = None
    memo: str
    rules_version: str = ""
    reverses: Id | None = None
    origin: str | None = None
    gl_journal: Id | None = None
    lines: tuple[JournalLine, ...]

    @model_validator(mode="after")
    def _ties(self) -> Self:
        journal_balances(
            self.id,
            (line.debit for line in self.lines if line.debit is not None),
            (line.credit for line in self.lines if line.credit is not None),
            self.currency,
        )
        own = next((line.functional.currency for line in self.lines if line.functional is not None), None)
        if own is not None:
            amounts = [line.functional_amount for line in self.lines]
            journal_balances(
                f"{self.id} in {own}",
                (amount for amount in amounts if amount.minor > 0),
                (-amount for amount in amounts if amount.minor < 0),
                own,
            )
        return self

    @property
    def in_books(self) -> JournalEntry:
        """The same in the currency of the entity's books, as the general ledger gets it: its own rates would value each
        line anew. What is worth nothing there is left out."""
        own = next((line.functional.currency for line in self.lines if line.functional is not None), None)
        if own is None:
            return self
        lines = [
            line.model_copy(update={"debit" if line.debit else "credit": line.functional, "functional": None})
            for line in self.lines
            if line.functional
        ]
        return JournalEntry.model_validate({**dict(self), "currency": own, "lines": tuple(lines)})

    def late(self, day: date) -> JournalEntry:
        """The same on the first day that is open, naming the month that it belongs to; itself when that is its day."""
        if day == self.posted_on:
            return self
        return self.model_copy(update={"posted_on": day}).belonging_to(self.posted_on)

    def belonging_to(self, day: date) -> JournalEntry:
        """The same, naming the month of a day that it belongs to where it is posted in a later month."""
        month = f"{day:%Y-%m}"
        late = self.origin is None and month < f"{self.posted_on:%Y-%m}"
        return self.model_copy(update={"origin": month}) if late else self


def reversal(entry: JournalEntry, posted_on: date) -> JournalEntry:
    """The entry that takes another one back: every line on the other side. An entry is reversed once."""
    ident = f"{entry.id}-R"
    lines = tuple(
        line.model_copy(
            update={"id": f"{ident}-{line.position}", "debit": line.credit, "credit": line.debit},
        )
        for line in entry.lines
    )
    return JournalEntry.model_validate(
        {
            **dict(entry),
            "id": ident,
            "event": f"{entry.event} reversed",
            "posted_on": posted_on,
            "memo": f"Reversal of {entry.memo}",
            "reverses": entry.id,
            "origin": None,
            "gl_journal": None,
            "lines": lines,
        }
    )
