"""Rules and commitments over the amounts of a bill, in the order in which their figures are known.

They act on rounded amounts: a rule computes one amount of money, rounded once by the book, and shares it over its lines
in proportion to what they cost, by largest remainder. A line is never taken below zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

from core.catalog import PriceBook, acts_on, counted
from core.errors import Rejected
from core.exact import added
from core.money import Money, allocate, round_money, total
from core.prices import Commitment
from core.rating.derivation import Adjustment, plain
from core.rational import Fraction
from core.terms import AmountOff, Condition, Entitlement, MaximumSpend, PercentOff, Rule


@dataclass(slots=True)
class Entry:
    """One line of the bill while rules act on it; ``quantity`` is what was measured, included units too."""

    code: str
    quantity: Fraction
    listed: Money | None
    """None: a commitment whose amount is not known yet."""
    adjustments: tuple[Adjustment, ...] = ()

    def net(self, currency: str) -> Money:
        return total([self.listed or Money.zero(currency), *(one.amount for one in self.adjustments)], currency)


#: The amount of the commitment at an index of the entries, once what it counts is known.
PriceCommitment = Callable[[int, Money], Money]


def apply(book: PriceBook, entries: Sequence[Entry], billed: Mapping[str, Money], price: PriceCommitment) -> None:
    """Let every rule and commitment of the book act on the entries.

    ``billed``: by charge code, what earlier bills of a commitment's service period charged. Rejected when a hard
    entitlement is exceeded.
    """
    currency = book.currency
    for node in book.evaluation:
        if isinstance(node, Rule):
            _act(book, node, entries)
            continue
        own = [index for index, entry in enumerate(entries) if entry.code == node.code]
        if not own or not isinstance(node.model, Commitment):
            continue
        codes = counted(node.model, node.code, book.charges)
        earlier = [amount for code, amount in billed.items() if code in codes]
        now = [
            (entry.listed or Money.zero(currency)) if node.model.counts == "listed" else entry.net(currency)
            for entry in entries
            if entry.code in codes
        ]
        for index in own:
            entries[index].listed = price(index, total([*earlier, *now], currency))


def _act(book: PriceBook, rule: Rule, entries: Sequence[Entry]) -> None:
    facts = [_fact(book, condition, entries) for condition in rule.when]
    if any(fact is None for fact in facts):
        return
    why = "; ".join(fact for fact in facts if fact)
    if isinstance(rule.then, Entitlement):
        used = added(entry.quantity for entry in entries if entry.code in rule.on)
        if rule.then.limit == "hard" and used > rule.then.units:
            raise Rejected(
                f"{rule.id}: {plain(used)} units of {', '.join(rule.on)} are more than the {rule.then.units} allowed",
                record=rule.id,
                field="quantity",
                value=plain(used),
            )
        return
    codes = acts_on(rule, book.charges)
    targets = [entry for entry in entries if entry.code in codes and entry.net(book.currency).minor > 0]
    base = total([entry.net(book.currency) for entry in targets], book.currency)
    off = taken_off(rule.then, base, book)
    if not off:
        return
    weights = [entry.net(book.currency).minor for entry in targets]
    for entry, part in zip(targets, allocate(off, weights), strict=True):
        if part:
            entry.adjustments += (Adjustment(rule=rule.id, what=_what(rule, base, why), amount=-part),)


def taken_off(then: PercentOff | AmountOff | MaximumSpend, base: Money, book: PriceBook) -> Money:
    """What a rule takes off ``base``; between zero and ``base``."""
    match then:
        case PercentOff(percent=percent):
            return round_money(Fraction(base.amount) * Fraction(percent) / 100, base.currency, book.rounding)
        case AmountOff(amount=amount):
            return min(base, round_money(amount, base.currency, book.rounding))
        case MaximumSpend(amount=amount):
            return max(Money.zero(base.currency), base - round_money(amount, base.currency, book.rounding))
        case _:
            assert_never(then)


def _fact(book: PriceBook, condition: Condition, entries: Sequence[Entry]) -> str | None:
    """The words that a condition holds in, or None when it does not hold."""
    on = [entry for entry in entries if entry.code in condition.of]
    if condition.measure == "quantity":
        value = added(entry.quantity for entry in on)
    else:
        value = Fraction(total([entry.net(book.currency) for entry in on], book.currency).amount)
    low, high = condition.at_least, condition.below
    if (low is not None and value < low) or (high is not None and value >= high):
        return None
    reached = [f"at least {low}"] * (low is not None) + [f"below {high}"] * (high is not None)
    return f"{condition.measure} of {', '.join(condition.of)} is {plain(value)}, {' and '.join(reached) or 'as it is'}"


def _what(rule: Rule, base: Money, why: str) -> str:
    match rule.then:
        case PercentOff(percent=percent):
            what = f"{percent} percent off {base}"
        case AmountOff(amount=amount):
            what = f"{amount} off {base}"
        case MaximumSpend(amount=amount):
            what = f"above the maximum of {amount} for {base}"
        case _:
            what = ""
    return f"{what} ({why})" if why else what
