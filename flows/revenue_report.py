"""Deferred revenue and contract balances as they stand in the database: roll-forward and waterfall."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.invoicing import CreditNote, Invoice, InvoiceStatus
from core.ledger import JournalEntry
from core.money import Money
from core.obligations import ContractMovement, MovementKind
from core.revenue import WAITS, RecognitionPart
from core.revenue_reports import NONE, Earning, Fact, Side, Step, roll_forward, waterfall
from core.store import Work
from core.subscriptions import Subscription
from flows.accrue import ASSET
from flows.context import Hub


@dataclass(frozen=True)
class Lines:
    """By invoice line: its contract, and the month of its invoice."""

    contract: Mapping[str, str]
    month: Mapping[str, str]


def _lines(work: Work, invoices: list[Invoice]) -> Lines:
    contracts = {charge.id: one.id for one in work.find(Subscription) for charge in one.charges}
    return Lines(
        {line.id: contracts.get(line.subscription_charge_id or "", NONE) for one in invoices for line in one.lines},
        {line.id: f"{one.invoice_date:%Y-%m}" for one in invoices for line in one.lines},
    )


def facts(work: Work) -> list[Fact]:
    """What billing, credits, allocation and recognition did to deferred revenue and contract balances, month by month.

    What no journal has booked yet is not there. Deferred closes to the ledger's account of it, in each currency.
    """
    invoices = work.find(Invoice, status=InvoiceStatus.FINAL.value)
    lines, booked = _lines(work, invoices), work.sums.earned_in()
    found = [
        Fact(lines.contract[line.id], Side.DEFERRED, Step.BILLED, lines.month[line.id], line.amount)
        for invoice in invoices
        for line in invoice.lines
        if line.defer and line.amount
    ]
    for note in work.find(CreditNote):
        for credit in note.lines:
            where = lines.contract.get(credit.invoice_line_id, NONE)
            if credit.deferred:
                month = f"{note.credit_date:%Y-%m}"
                found.append(Fact(where, Side.DEFERRED, Step.CREDITED, month, -credit.deferred))
    for part in work.find(RecognitionPart):
        if part.id in booked:
            where = lines.contract.get(part.invoice_line_id, NONE)
            found.append(Fact(where, Side.DEFERRED, Step.RECOGNISED, booked[part.id], -part.amount))
    steps = {
        MovementKind.BILLED: Step.BILLED,
        MovementKind.CREDITED: Step.CREDITED,
        MovementKind.SATISFIED: Step.RECOGNISED,
        MovementKind.ADJUSTED: Step.ADJUSTED,
    }
    for one in work.find(ContractMovement):
        if one.id not in booked:
            continue
        month = booked[one.id]
        found.append(Fact(one.contract_id, Side.CONTRACT, steps[one.kind], month, one.moved))
        if one.deferred:
            found.append(Fact(one.contract_id, Side.DEFERRED, Step.ALLOCATED, month, one.moved))
    return found + _accrued(work)


def _accrued(work: Work) -> list[Fact]:
    """What closes booked of service periods that are billed when they end, and took back."""
    entries = work.find(JournalEntry, event=[ASSET, f"{ASSET} reversed"])
    assets = [
        (f"{entry.posted_on:%Y-%m}", line.source_id, line.amount)
        for entry in entries
        for line in entry.lines
        if (line.debit is None) is (entry.reverses is not None)
    ]
    contracts = work.contracts.of_sources("subscription_charge", sorted({charge for _, charge, _ in assets}))
    return [
        Fact(contracts.get(charge, NONE), Side.CONTRACT, Step.ACCRUED, month, amount)
        for month, charge, amount in assets
    ]


def earnings(work: Work) -> list[Earning]:
    """What was billed ahead, by the month of its invoice and the month that earns it; credits have taken theirs out."""
    lines = _lines(work, work.find(Invoice, status=InvoiceStatus.FINAL.value))
    booked = work.sums.earned_in()
    return [
        Earning(lines.month[part.invoice_line_id], booked.get(part.id, part.month), part.amount)
        for part in work.find(RecognitionPart)
        if part.invoice_line_id in lines.month
    ]


def totals(found: list[Fact], month: str) -> dict[tuple[Side, str], Money]:
    """(side, currency) to the balance of all contracts at the end of a month."""
    sums: dict[tuple[Side, str], Money] = {}
    for fact in found:
        if fact.month <= month:
            key = fact.side, fact.amount.currency
            sums[key] = sums.get(key, Money.zero(fact.amount.currency)) + fact.amount
    return sums


def roll_forward_rows(hub: Hub, period: str) -> list[dict[str, str]]:
    """Each contract's deferred revenue and balance over a month, as a table for people."""
    with hub.database.reading() as work:
        rolls = roll_forward(facts(work), period)
    return [
        {
            "contract": roll.contract,
            "balance": roll.side.value,
            "currency": roll.opening.currency,
            "opening": str(roll.opening.amount),
            **{step.value: str(roll.steps[step].amount) if step in roll.steps else "" for step in Step},
            "closing": str(roll.closing.amount),
        }
        for roll in rolls
    ]


def waterfall_rows(hub: Hub, period: str) -> list[dict[str, str]]:
    """What was billed ahead up to a month, by the month of its invoice and the month that earns it."""
    with hub.database.reading() as work:
        found = waterfall(earnings(work), period)
    return [
        {
            "billed in": billed_in,
            "earned in": "at its milestone" if month == WAITS else month,
            "is": "earned" if month <= period else "to come",
            "amount": str(amount.amount),
            "currency": currency,
        }
        for (billed_in, currency), months in found.items()
        for month, amount in months.items()
    ]
