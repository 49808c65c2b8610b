"""Roll-forward and waterfall of deferred revenue and contract balances: per contract and month, exact.

All are pure functions over facts. A fact is one amount that came into a contract's deferred revenue or its contract
asset, or left it, in one month.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from core.money import Money, total
from core.subledgers import Roll
from core.ties import require


class Side(StrEnum):
    DEFERRED = "deferred revenue"  # a liability: above zero it is owed
    CONTRACT = "contract balance"  # above zero an asset, below it a liability


class Step(StrEnum):
    """What moves a balance, in the order in which a roll-forward shows it."""

    BILLED = "billed"
    ALLOCATED = "allocated"
    CREDITED = "credited"
    RECOGNISED = "recognised"
    ACCRUED = "accrued"  # served in a period that is billed when it ends, and taken back on the day after the month
    ADJUSTED = "adjusted"


@dataclass(frozen=True, slots=True)
class Fact:
    """``amount``: what it adds to the balance of a contract in a month (``"2026-10"``), below zero off it."""

    contract: str
    side: Side
    step: Step
    month: str
    amount: Money


@dataclass(frozen=True, slots=True)
class RollForward:
    """``opening`` + the steps of a month = ``closing``; TieBroken when they do not."""

    contract: str
    side: Side
    opening: Money
    steps: Mapping[Step, Money]
    closing: Money

    def __post_init__(self) -> None:
        moved = total(self.steps.values(), self.opening.currency)
        require(
            "opening + billed - recognised +/- adjustments = closing", self.contract, self.opening + moved, self.closing
        )


def roll_forward(facts: Iterable[Fact], month: str) -> list[RollForward]:
    """Each contract's balances over a month, by contract, side and currency; without those that are and stay zero."""
    found: dict[tuple[str, Side, str], list[Fact]] = {}
    for fact in facts:
        if fact.month <= month:
            found.setdefault((fact.contract, fact.side, fact.amount.currency), []).append(fact)
    rolls = []
    for (contract, side, currency), own in sorted(found.items()):
        opening = total((one.amount for one in own if one.month < month), currency)
        steps = {
            step: total(amounts, currency)
            for step in Step
            if (amounts := [one.amount for one in own if one.month == month and one.step is step])
        }
        if opening or any(steps.values()):
            rolls.append(RollForward(contract, side, opening, steps, total((one.amount for one in own), currency)))
    return rolls


#: The contract of what no subscription charge stands behind.
NONE = "-"


@dataclass(frozen=True, slots=True)
class Moved:
    """What one event moved of a contract on a ledger account, debits less credits: in a month, or ``before`` it."""

    account: str
    contract: str
    event: str
    before: bool
    net: Money


def rolls_by_contract(entity: str, moved: Iterable[Moved]) -> list[Roll]:
    """The roll-forward of each contract on each ledger account, without those that are and stay zero.

    ``detail`` is the contract.
    """
    found: dict[tuple[str, str, str], list[Moved]] = {}
    for one in moved:
        found.setdefault((one.account, one.contract, one.net.currency), []).append(one)
    rolls = []
    for (account, contract, currency), own in sorted(found.items()):
        opening = total((one.net for one in own if one.before), currency)
        events = sorted({one.event for one in own if not one.before})
        steps = {
            name: total((one.net for one in own if not one.before and one.event == name), currency) for name in events
        }
        if opening or any(steps.values()):
            closing = total((one.net for one in own), currency)
            rolls.append(Roll(entity, account, contract, opening, steps, closing))
    return rolls


@dataclass(frozen=True, slots=True)
class Earning:
    """So much of what was billed in one month is earned in another."""

    billed_in: str
    earned_in: str
    amount: Money


def waterfall(earnings: Iterable[Earning], through: str) -> dict[tuple[str, str], dict[str, Money]]:
    """(month of billing, currency) to month of recognition to amount, of what was billed up to and with a month.

    The rows sum to what was deferred; what lies in months after ``through`` is what stands deferred at its end.
    """
    rows: dict[tuple[str, str], dict[str, Money]] = {}
    for one in earnings:
        if one.billed_in <= through:
            row = rows.setdefault((one.billed_in, one.amount.currency), {})
            row[one.earned_in] = row.get(one.earned_in, Money.zero(one.amount.currency)) + one.amount
    return {
        key: {month: amount for month, amount in sorted(row.items()) if amount} for key, row in sorted(rows.items())
    }
