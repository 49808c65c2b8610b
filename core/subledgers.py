"""Subledgers: trial balance and roll-forward of what was booked, per legal entity, ledger account and currency.

All are pure functions over the sums that the database keeps (``Booked``): one row per entity, month, ledger account,
currency, event and detail. Amounts are debits less credits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from core.ledger import LedgerAccountKind
from core.money import Money, total
from core.posting import Position
from core.posting_rules import PostingRules
from core.ties import require

#: Subledger to the roles of the accounts that it is made of. Revenue is no subledger: its accounts are products'.
SUBLEDGERS: Mapping[str, tuple[str, ...]] = {
    "receivables": ("receivables", "receivables revalued", "unbilled receivables"),
    "deferred revenue": ("deferred revenue",),
    "contract assets": ("contract assets",),
    "tax payable": ("tax payable",),
    "cash clearing": (
        "gateway clearing",
        "gateway balance",
        "disputed payments",
        "application clearing",
        "billing clearing",
    ),
    "bank": ("bank",),
    "credit and prepaid liability": ("prepaid credit", "unapplied cash", "unidentified cash"),
    "breakage": ("breakage",),
    "fees and bad debt": ("processing fees", "bad debt"),
    "exchange gains and losses": ("fx realised", "fx unrealised"),
    "rounding": ("rounding",),
}

#: Those that are told contract by contract.
BY_CONTRACT = ("deferred revenue", "contract assets")

#: Events that change what other currencies are worth, and move nothing of them.
GAINS = ("fx realised", "fx unrealised", "fx unrealised reversed", "rounding")


@dataclass(frozen=True, slots=True)
class Booked:
    """What one event moved on one ledger account in one month (``"2026-10"``), as the database sums it.

    ``detail``: jurisdiction, gateway, or for a gain the currency whose worth changed. ``own``: the same in the currency
    of the entity's books, minor units.
    """

    entity: str
    month: str
    ledger_account: str
    event: str
    detail: str
    debit: Money
    credit: Money
    own_debit: int
    own_credit: int

    @property
    def net(self) -> Money:
        return self.debit - self.credit

    @property
    def own(self) -> int:
        return self.own_debit - self.own_credit


K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Roll:
    """``opening`` + what each event moved = ``closing``, of one ledger account (and detail) in one currency."""

    entity: str
    ledger_account: str
    detail: str
    opening: Money
    movements: Mapping[str, Money]
    closing: Money

    def __post_init__(self) -> None:
        moved = total(self.movements.values(), self.opening.currency)
        require("closing = opening + movements", self.ledger_account, self.closing, self.opening + moved)


@dataclass(frozen=True, slots=True)
class TrialLine:
    """The balance of one ledger account in one currency, on the side where it stands."""

    entity: str
    ledger_account: str
    debit: Money
    credit: Money


def _summed(booked: Iterable[Booked], key: Callable[[Booked], K]) -> dict[K, Money]:
    sums: dict[K, Money] = {}
    for row in booked:
        name = key(row)
        sums[name] = sums[name] + row.net if name in sums else row.net
    return sums


def trial_balance(booked: Iterable[Booked], through: str) -> list[TrialLine]:
    """Balances at the end of a month, by entity, account and currency. TieBroken unless debits equal credits in each.

    Accounts at zero are left out.
    """
    rows = [row for row in booked if row.month <= through]
    sums = _summed(rows, lambda row: (row.entity, row.ledger_account, row.net.currency))
    for (entity, currency), left in _summed(rows, lambda row: (row.entity, row.net.currency)).items():
        require("debits = credits", f"{entity} {currency} at the end of {through}", left, Money.zero(currency))
    return [
        TrialLine(entity, account, max(net, Money.zero(currency)), max(-net, Money.zero(currency)))
        for (entity, account, currency), net in sorted(sums.items())
        if net
    ]


def roll_forward(
    booked: Iterable[Booked], month: str, accounts: Sequence[str] | None = None, *, details: Sequence[str] = ()
) -> list[Roll]:
    """Opening, movements by event, and closing of a month, by entity, account and currency.

    ``accounts``: those alone; None: all. ``details``: accounts whose details (jurisdiction, gateway) are told apart.
    """
    rows = [row for row in booked if row.month <= month and (accounts is None or row.ledger_account in accounts)]

    def place(row: Booked) -> tuple[str, str, str, str]:
        detail = row.detail if row.ledger_account in details else ""
        return row.entity, row.ledger_account, row.net.currency, detail

    opening = _summed((row for row in rows if row.month < month), place)
    events = _summed((row for row in rows if row.month == month), lambda row: (place(row), row.event))
    moved: dict[tuple[str, str, str, str], dict[str, Money]] = {}
    for (where, event), net in events.items():
        moved.setdefault(where, {})[event] = net
    rolls = []
    for where in sorted({*opening, *moved}):
        entity, account, currency, detail = where
        start, movements = opening.get(where, Money.zero(currency)), dict(sorted(moved.get(where, {}).items()))
        if start or movements:
            rolls.append(Roll(entity, account, detail, start, movements, start + total(movements.values(), currency)))
    return rolls


def subledger(rules: PostingRules, booked: Iterable[Booked], name: str, month: str) -> list[Roll]:
    """The roll-forward of a subledger, tax payable by jurisdiction, cash clearing by gateway. KeyError: none such."""
    accounts = [code for role in SUBLEDGERS[name] for code in rules.accounts(role)]
    told_apart = accounts if name in ("tax payable", "cash clearing") else ()
    return roll_forward(booked, month, accounts, details=told_apart)


def positions(rules: PostingRules, booked: Iterable[Booked], through: str, own: str) -> list[Position]:
    """What each asset and liability of one entity holds of currencies other than ``own`` at the end of a month, and its
    worth there.

    A gain is booked in the entity's own currency, and belongs to the currency and the account whose worth it changed.
    """
    revalues = {booked_in: code for code, booked_in in rules.revalued_in.items()}
    held: dict[tuple[str, str], Money] = {}
    worth: dict[tuple[str, str], int] = {}
    kept = {one.code for one in rules.chart if one.kind not in (LedgerAccountKind.INCOME, LedgerAccountKind.EXPENSE)}
    for row in booked:
        if row.month > through or row.ledger_account not in kept:
            continue
        gain = row.event in GAINS and row.detail
        currency = row.detail if gain else row.net.currency
        if currency == own:
            continue
        where = revalues.get(row.ledger_account, row.ledger_account), currency
        zero = Money.zero(currency)
        held[where] = held.get(where, zero) + (zero if gain else row.net)
        worth[where] = worth.get(where, 0) + row.own
    return [
        Position(account, amount, Money(worth[account, currency], own))
        for (account, currency), amount in sorted(held.items())
        if amount or worth[account, currency]
    ]
