"""The figures of a pack that its page and its PDF share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from core.close import CloseState
from core.money import Money
from core.subledgers import Booked, Roll
from flows.pack_month import Month
from flows.report import amounts

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
        closings.setdefault(name, []).append(f"{grouped(roll.closing.amount)} {roll.closing.currency}")
    breaks = len(month.breaks)
    return [
        ("Journals of this close", f"{month.journals.number:,}"),
        ("Debits they move", moved),
        ("Receivables, closing", " + ".join(closings.get("receivables", ["none"]))),
        ("Deferred revenue, closing", " + ".join(closings.get("deferred revenue", ["none"]))),
        ("Revenue of the month", amounts(month.revenue) or "none"),
        ("Ties", f"{len(month.ties)}, {'all at 0.00' if month.ties and not breaks else f'{breaks} breaks'}"),
        ("Gates let pass", str(len(month.overrides))),
        ("Approvals", ", ".join(one.who for one in month.decisions if one.verdict.value == "approve") or "none yet"),
    ]


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
