"""Double entry: ledger accounts, journal entries that balance at birth, and how one reaches the general ledger."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Self

from pydantic import model_validator

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

    ``role``: what posting rules call it (``receivables``).
    """

    code: Id
    name: str
    kind: LedgerAccountKind
    role: str = ""


class Via(StrEnum):
    """How an entry reaches the general ledger."""

    DOCUMENT = "document"  # the ERP books it itself when it receives the invoice or the payment
    JOURNAL = "journal"  # we push it as a journal entry


class JournalLine(Noun):
    """One side of an entry: exactly one of ``debit`` and ``credit`` is set, and it is > 0.

    ``source`` and ``source_id`` name what it was booked for: ``("invoice_line", id)``, ``("settlement", id)``...
    """

    id: Id
    position: int
    ledger_account: str
    debit: Money | None = None
    credit: Money | None = None
    memo: str = ""
    source: str
    source_id: Id

    @model_validator(mode="after")
    def _one_side(self) -> Self:
        side = self.debit or self.credit
        if (self.debit is None) == (self.credit is None) or side is None or side.minor <= 0:
            raise TieBroken("a journal line has one positive side", subject=self.id, left=self.debit, right=self.credit)
        return self


class JournalEntry(Noun):
    """A balanced booking. ``id`` is its key in the general ledger; ``event`` is the business event it follows from."""

    id: Id
    event: str
    via: Via
    currency: CurrencyCode
    posted_on: date
    account_id: Id | None = None
    memo: str
    lines: tuple[JournalLine, ...]

    @model_validator(mode="after")
    def _ties(self) -> Self:
        journal_balances(
            self.id,
            (line.debit for line in self.lines if line.debit is not None),
            (line.credit for line in self.lines if line.credit is not None),
            self.currency,
        )
        return self
