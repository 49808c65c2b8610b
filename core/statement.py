"""A statement of account: what was open, the documents and payments of a time, and what is open now. Not an invoice."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date
from typing import Self

from pydantic import model_validator

from core.ledger import JournalEntry
from core.money import Money, total
from core.noun import CurrencyCode, Id, Noun
from core.period import DateSpan
from core.ties import require


class StatementLine(Noun):
    """One document: above zero it raises what the customer owes."""

    posted_on: date
    document: Id
    what: str
    amount: Money


class Statement(Noun):
    """``opening`` is owed before the period, ``closing`` after it; below zero it is a balance of the customer."""

    account_id: Id
    period: DateSpan
    currency: CurrencyCode
    opening: Money
    lines: tuple[StatementLine, ...]
    closing: Money

    @model_validator(mode="after")
    def _ties(self) -> Self:
        moved = total((line.amount for line in self.lines), self.currency)
        require("statement closing = opening + lines", self.account_id, self.closing, self.opening + moved)
        return self


def statement(
    account_id: str,
    currency: str,
    entries: Sequence[JournalEntry],
    period: DateSpan,
    receivables: Collection[str],
) -> Statement:
    """The statement of an account from what was booked on its receivables, so that all statements sum to the ledger.

    ``entries``: at least all of the account, from the first on. ``receivables``: the ledger accounts of that role.
    """
    lines = [
        StatementLine(
            posted_on=entry.posted_on,
            document=line.source_id,
            what=entry.event,
            amount=line.debit if line.debit is not None else -(line.credit or Money.zero(currency)),
        )
        for entry in sorted(entries, key=lambda entry: (entry.posted_on, entry.id))
        if entry.account_id == account_id and entry.currency == currency
        for line in entry.lines
        if line.ledger_account in receivables
    ]
    opening = total((line.amount for line in lines if line.posted_on < period.start), currency)
    shown = tuple(line for line in lines if period.start <= line.posted_on < period.end)
    return Statement(
        account_id=account_id,
        period=period,
        currency=currency,
        opening=opening,
        lines=shown,
        closing=opening + total((line.amount for line in shown), currency),
    )
