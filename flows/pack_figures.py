"""The figures of a pack that its page and its PDF share."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from decimal import Decimal

from core.close import CloseState
from core.money import Money
from core.revenue import WAITS
from core.subledgers import BY_CONTRACT, Booked, Roll
from flows.pack_month import Month
from flows.report import amounts, counted, dollars

#: Months to come that the waterfall of what is deferred shows one by one.
SHOWN_MONTHS = 4

#: Colours of a waterfall: a balance, what raises it, what lowers it.
LEVEL, UP, DOWN = "#2f6fb0", "#2e8b6f", "#c0603a"

_WORDS = {
    CloseState.OPEN: "in preparation",
    CloseState.PREVIEWED: "preview, waits for approval",
    CloseState.POSTED: "approved and posted, not yet read back",
    CloseState.VERIFIED: "posted and read back, not yet locked",
    CloseState.CLOSED: "closed and certified",
    CloseState.REOPENED: "reopened",
}


@dataclass(frozen=True)
class Bar:
    """One step of a waterfall, between two balances; ``amount`` is what people read beside it."""

    name: str
    start: Decimal
    end: Decimal
    amount: Decimal
    colour: str


def state_in_words(month: Month) -> str:
    return _WORDS[month.close.state]


def grouped(number: Decimal) -> str:
    """``1,234.50``; with two decimals at least."""
    exponent = number.normalize().as_tuple().exponent
    places = max(2, -exponent) if isinstance(exponent, int) else 2
    return f"{number:,.{places}f}"


def figures(month: Month) -> list[tuple[str, str]]:
    """What stands at the top: each figure with its name."""
    debits: dict[str, Decimal] = {}
    for (_, currency), (debit, _) in month.journals.sides.items():
        debits[currency] = debits.get(currency, Decimal(0)) + debit
    moved = amounts(Money.of(debit, currency) for currency, debit in sorted(debits.items())) or "nothing"
    closings: dict[str, list[str]] = {}
    for name, roll in month.drawn:
        closings.setdefault(name, []).append(dollars(roll.closing))
    return [
        ("Journals of this close", f"{month.journals.number:,}"),
        ("Debits they move", moved),
        ("Receivables, closing", " + ".join(closings.get("receivables", ["none"]))),
        ("Deferred revenue, closing", " + ".join(closings.get("deferred revenue", ["none"]))),
        ("Revenue of the month", amounts(month.revenue) or "none"),
        ("Tie-out", tied(month)),
        ("Gates let pass", str(len(month.overrides))),
        ("Approvals", ", ".join(one.who for one in month.decisions if one.verdict.value == "approve") or "none yet"),
    ]


def tied(month: Month) -> str:
    """What the ties say: ``45 ties; 3 breaks, all explained``."""
    told = counted(len(month.ties), "tie")
    if not month.breaks:
        return f"{told}, all at 0.00" if month.ties else told
    left = sum(one.explained is None for one in month.breaks)
    how = f"{left} explained by nothing" if left else "all explained"
    return f"{told}; {counted(len(month.breaks), 'break')}, {how}"


def by_account(moves: Iterable[Booked]) -> list[tuple[str, str, Decimal, Decimal]]:
    """Ledger account, currency, debits, credits, in the order of the accounts."""
    sums: dict[tuple[str, str], list[Decimal]] = {}
    for one in moves:
        held = sums.setdefault((one.ledger_account, one.debit.currency), [Decimal(0), Decimal(0)])
        held[0] += one.debit.amount
        held[1] += one.credit.amount
    return [(account, currency, debit, credit) for (account, currency), (debit, credit) in sorted(sums.items())]


def waterfall(roll: Roll) -> list[Bar]:
    """Opening, each event, closing. A balance of a liability is drawn as what is owed, above zero."""
    opening, closing = roll.opening.amount, roll.closing.amount
    sign = -1 if closing < 0 or (not closing and opening < 0) else 1
    level = sign * opening
    bars = [Bar("opening", Decimal(0), level, opening, LEVEL)]
    for event, moved in roll.movements.items():
        after = level + sign * moved.amount
        bars.append(Bar(event, level, after, moved.amount, UP if after >= level else DOWN))
        level = after
    return [*bars, Bar("closing", Decimal(0), level, closing, LEVEL)]


def title(name: str, roll: Roll) -> str:
    """``Receivables (1100, USD)``."""
    return f"{name.capitalize()} ({roll.ledger_account}, {roll.closing.currency})"


@dataclass(frozen=True)
class Grid:
    """A table of amounts that the page and the PDF share; ``total`` is its last row, without a name."""

    name: str
    heads: tuple[str, ...]
    rows: list[tuple[str, list[Decimal]]]
    total: list[Decimal]


def contracts(month: Month) -> list[Grid]:
    """The roll-forwards by contract, the largest closing balance first. What is owed to a customer is above zero."""
    grids = []
    for name in BY_CONTRACT:
        for currency in sorted({roll.closing.currency for of, roll in month.by_contract if of == name}):
            own = [roll for of, roll in month.by_contract if (of, roll.closing.currency) == (name, currency)]
            events = sorted({event for roll in own for event in roll.movements})
            rows = []
            for roll in sorted(own, key=lambda roll: (-abs(roll.closing.minor), roll.detail)):
                moved = [roll.movements.get(one, Money.zero(currency)) for one in events]
                told = [roll.opening, *moved, roll.closing]
                owed = name == "deferred revenue"
                rows.append((roll.detail, [(-money if owed else money).amount for money in told]))
            heads = ("contract", "opening", *events, "closing")
            grids.append(Grid(f"{name.capitalize()} by contract, {currency}", heads, rows, _totals(rows)))
    return grids


def to_earn(month: Month) -> list[Grid]:
    """What was billed ahead, a row for each month of billing: earned until the month, in it, and in months to come."""
    grids, period = [], month.close.period
    for currency in sorted({one.amount.currency for one in month.waterfall}):
        own = [one for one in month.waterfall if one.amount.currency == currency]
        later = sorted({one.earned_in for one in own if period < one.earned_in < WAITS})
        shown, beyond = later[:SHOWN_MONTHS], later[SHOWN_MONTHS:]
        columns: list[tuple[str, Container[str]]] = [
            ("before", {one.earned_in for one in own if one.earned_in < period}),
            (period, {period}),
            *((name, {name}) for name in shown),
        ]
        columns += [("later", set(beyond))] if beyond else []
        columns += [("milestone", {WAITS})] if any(one.earned_in == WAITS for one in own) else []
        rows = []
        for billed in sorted({one.billed_in for one in own}):
            mine = [one for one in own if one.billed_in == billed]
            amounts = [_sum(one.amount.amount for one in mine if one.earned_in in names) for _, names in columns]
            rows.append((billed, [*amounts, _sum(one.amount.amount for one in mine if one.earned_in > period)]))
        heads = ("billed in", *(name for name, _ in columns), "to come")
        grids.append(Grid(f"When it is earned, {currency}", heads, rows, _totals(rows)))
    return grids


def _totals(rows: list[tuple[str, list[Decimal]]]) -> list[Decimal]:
    return [_sum(column) for column in zip(*(amounts for _, amounts in rows), strict=True)]


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    return sum(amounts, Decimal(0))
