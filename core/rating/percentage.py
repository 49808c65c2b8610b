"""Percentage of each transaction's amount, with a fixed part, a least and a most per transaction, and a free start.

Amounts are in major units, in the order of the events. Without limits and free parts the sum and the number of events
suffice. An event is free while fewer than ``free_events`` came before it and the free amount is not used up; an event
that the free amount covers in part pays for its rest and the fixed part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from core.errors import Rejected
from core.exact import added, exactly
from core.prices import Percentage
from core.rating.derivation import Step, StepKind, plain
from core.rating.measured import Measured
from core.rating.tiers import HUNDRED, ONE
from core.rational import Fraction

NOTHING = Fraction(0)


@dataclass(frozen=True, slots=True)
class Paid:
    """What is left to pay of a sequence of events: the paid part of each paid event, and the free amount used."""

    each: tuple[Fraction, ...]
    free: Fraction

    @property
    def total(self) -> Fraction:
        return added(self.each)


def paid(model: Percentage, amounts: Sequence[Decimal]) -> Paid:
    """The paid part of each event after the free start."""
    left = None if model.free_amount is None else exactly(model.free_amount)
    limited = model.free_events is not None or left is not None
    each: list[Fraction] = []
    free = NOTHING
    for index, amount in enumerate(map(Fraction, amounts)):
        counted = model.free_events is None or index < model.free_events
        if not (limited and counted and left != 0):
            each.append(amount)
            continue
        covered = amount if left is None else min(amount, left)
        free += covered
        left = None if left is None else left - covered
        if covered < amount:
            each.append(amount - covered)
    return Paid(tuple(each), free)


def price(model: Percentage, measured: Measured) -> Iterator[Step]:
    rate, fixed = exactly(model.rate) / HUNDRED, exactly(model.fixed_per_event)
    single = (model.min_per_event, model.max_per_event, model.free_events, model.free_amount)
    events = sum(part.events for part in measured.parts)
    if all(limit is None for limit in single):
        yield Step(what=f"{model.rate} percent", quantity=measured.quantity, rate=rate)
        yield from [Step(what="fixed part per event", quantity=Fraction(events), rate=fixed)] if fixed else []
        return
    amounts = [amount for part in measured.parts for amount in part.each]
    if added(map(Fraction, amounts)) != measured.quantity:
        raise Rejected("a percentage with limits needs the amount of each event", record="charge", field="each")
    due = paid(model, amounts)
    if due.free:
        yield Step(what="free amount", quantity=due.free, rate=NOTHING)
    yield Step(what=f"{model.rate} percent of {len(due.each)} events", quantity=due.total, rate=rate)
    if fixed:
        yield Step(what="fixed part per event", quantity=Fraction(len(due.each)), rate=fixed)
    for amount in due.each:
        fee = amount * rate + fixed
        kept = max(fee, Fraction(model.min_per_event or 0))
        kept = kept if model.max_per_event is None else min(kept, exactly(model.max_per_event))
        if kept != fee:
            what = f"event of {plain(amount)} kept within its limits"
            yield Step(kind=StepKind.CAP, what=what, quantity=ONE, rate=kept - fee)
