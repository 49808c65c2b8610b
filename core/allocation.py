"""The price of a contract over its promises, as it was agreed and as each change left it.

A change is accounted for as its policy declares. *Prospective*: what was served before its day keeps its price; what is
left of the price of the contract, with what the change adds or takes, is allocated to what is left to be served, by
relative standalone price. *Catch-up*: the whole price is allocated anew to all that the contract ever serves, and what
replaces a service and what it replaced are one promise, earned evenly over both. What is agreed anew sums to the price
of the contract, each time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise

from core.errors import Rejected
from core.money import Money, allocate, round_money, total
from core.noun import CurrencyCode, Id, Noun
from core.obligations import Obligation, Served
from core.period import DateSpan
from core.rational import ExactFraction, Fraction
from core.revenue import spread, weight
from core.revenue_policy import Amending, Convention, Pattern
from core.ties import allocated_equals_stated

#: Before everything, and after it.
EVER = DateSpan(date.min, date.max)


class Allocation(Noun):
    """What one act allocated to an obligation for what it serves from a day on, to the next such day of the same act.

    ``act_id``: the order, or the milestone that added to the price. ``number``: of the act in its contract, 0 the
    first; the newest stands. ``stated``: what is billed for it, major units; by days where a service period is cut.
    """

    id: Id
    act_id: Id
    number: int
    contract_id: Id
    obligation_id: Id
    currency: CurrencyCode
    starts_on: date
    stated: ExactFraction
    allocated: Money

    @property
    def rate(self) -> Fraction:
        """What of the price each unit of its bills brings."""
        return Fraction(self.allocated.amount) / self.stated if self.stated else Fraction(1)


def standing(obligation: Obligation, told: Iterable[Allocation]) -> tuple[Allocation, ...]:
    """What is allocated to an obligation now, by day. ``told``: what acts after its own allocated to it."""
    found = sorted(told, key=lambda one: (-one.number, one.starts_on))
    if found:
        return tuple(one for one in found if one.number == found[0].number)
    first = Allocation(
        id=obligation.id,
        act_id=obligation.order_id,
        number=0,
        contract_id=obligation.contract_id,
        obligation_id=obligation.id,
        currency=obligation.currency,
        starts_on=obligation.starts_on,
        stated=Fraction(obligation.stated.amount),
        allocated=obligation.allocated,
    )
    return (first,)


def allocated(phases: Iterable[Allocation]) -> Money:
    """What is allocated to an obligation in all."""
    first, *others = phases
    return total((one.allocated for one in (first, *others)), first.currency)


def differs(phases: Iterable[Allocation]) -> bool:
    """Whether bills say something else than what is allocated."""
    return any(Fraction(one.allocated.amount) != one.stated for one in phases)


def spans(phases: Sequence[Allocation]) -> list[tuple[Allocation, DateSpan]]:
    """Each with the days that are its own: from its day to that of the next; the first from ever, the last for ever."""
    days = [EVER.start, *(one.starts_on for one in phases[1:]), EVER.end]
    return [(one, DateSpan(*edges)) for one, edges in zip(phases, pairwise(days), strict=True)]


#: An amount that is billed (or given back, below zero), and the days that it is for.
Bill = tuple[Money, DateSpan]


def brought(phases: Sequence[Allocation], bills: Iterable[Bill]) -> Fraction:
    """What bills bring of what is allocated, major units, exact; all of it when all is billed."""
    told = list(bills)
    parts = (
        Fraction(amount.amount) * days.fraction_of(served) * one.rate
        for one, days in spans(phases)
        for amount, served in told
    )
    return sum(parts, Fraction(0))


def earned_in(
    phases: Sequence[Allocation], brings: Money, bill: Bill, convention: Convention
) -> dict[str, Money] | None:
    """When a bill that serves days of several allocations is earned; None where it serves those of one alone.

    ``brings``: what it brings of them together.
    """
    _, served = bill
    own = [(one.rate, part) for one, days in spans(phases) if (part := days.overlap(served))]
    if len(own) == 1:
        return None
    weights = [abs(rate * part.days) for rate, part in own]
    parts = allocate(brings, weights if any(weights) else [1] * len(own))
    return _summed(spread(money, part, convention) for money, (_, part) in zip(parts, own, strict=True))


def _summed(months: Iterable[Mapping[str, Money]]) -> dict[str, Money]:
    sums: dict[str, Money] = {}
    for one in months:
        for month, amount in one.items():
            sums[month] = sums[month] + amount if month in sums else amount
    return {month: amount for month, amount in sums.items() if amount}


def by_month(phases: Sequence[Allocation], obligation: Obligation, serves: Sequence[Served]) -> dict[str, Money]:
    """When what is never billed is earned: on its day, or over the months that it serves. Months without are absent."""
    if obligation.pattern is Pattern.POINT_IN_TIME or obligation.ends_on is None:
        return {f"{obligation.starts_on:%Y-%m}": allocated(phases)}
    start = min((one.span.start for one in serves), default=obligation.starts_on)
    term = DateSpan(start, max((one.span.end for one in serves), default=obligation.ends_on))
    own = [(one, days.overlap(term) or DateSpan(start, start + timedelta(days=1))) for one, days in spans(phases)]
    return _summed(spread(one.allocated, days, obligation.convention) for one, days in own)


@dataclass(frozen=True, slots=True)
class Stand:
    """An obligation when its contract changes: what is allocated to it, and what it serves by the changed contract.

    ``alone`` of ``serves`` tells the proportion in which prices are allocated. ``family``: what replaces each other has
    the same.
    """

    obligation: Obligation
    phases: tuple[Allocation, ...]
    serves: tuple[Served, ...]
    family: str

    def stated(self, days: DateSpan = EVER) -> Fraction:
        return _over(days, [(one.span, Fraction(one.stated.amount)) for one in self.serves])

    def alone(self, days: DateSpan = EVER) -> Fraction:
        return _over(days, [(one.span, one.alone) for one in self.serves])


def _over(days: DateSpan, amounts: Iterable[tuple[DateSpan, Fraction]]) -> Fraction:
    return sum((amount * days.fraction_of(span) for span, amount in amounts), Fraction(0))


def reallocated(act_id: str, stands: Sequence[Stand], on: date, policy: Amending) -> tuple[Allocation, ...]:
    """What an act that takes effect on a day makes of the price of a contract; its parts sum to that price.

    Prospective where its policy says so, and something is left to be served and to be paid for it; else all anew.
    Rejected when the price comes to less than nothing.
    """
    currency = stands[0].obligation.currency
    price = total((one.stated for stand in stands for one in stand.serves), currency)
    if price.minor < 0:
        why = f"what {act_id} leaves of the contract {stands[0].obligation.contract_id} costs {price}"
        raise Rejected(why, record=act_id, field="amount", value=str(price))
    number = max(stand.phases[0].number for stand in stands) + 1
    found = None if policy is Amending.CATCH_UP else _prospective(stands, price, on)
    made = [
        Allocation(
            id=f"{act_id}>{stand.obligation.id}@{day}",
            act_id=act_id,
            number=number,
            contract_id=stand.obligation.contract_id,
            obligation_id=stand.obligation.id,
            currency=currency,
            starts_on=day,
            stated=stated,
            allocated=amount,
        )
        for stand, own in zip(stands, found or _whole(stands, price), strict=True)
        for day, stated, amount in own
    ]
    allocated_equals_stated(act_id, price, [one.allocated for one in made])
    return tuple(made)


_Own = list[tuple[date, Fraction, Money]]


def _whole(stands: Sequence[Stand], price: Money) -> list[_Own]:
    """The whole price by standalone prices, and within what replaces each other by how much of it each serves."""
    families = list(dict.fromkeys(stand.family for stand in stands))
    members = [[stand for stand in stands if stand.family == name] for name in families]
    alone = [sum((stand.alone() for stand in own), Fraction(0)) for own in members]
    prices = allocate(price, alone if any(alone) else [1] * len(alone))
    parts: dict[str, Money] = {}
    for own, amount in zip(members, prices, strict=True):
        served = [
            sum((weight(one.span, stand.obligation.convention) for one in stand.serves), Fraction(0)) for stand in own
        ]
        shared = allocate(amount, served if any(served) else [1] * len(own))
        parts |= {stand.obligation.id: part for stand, part in zip(own, shared, strict=True)}
    return [[(stand.obligation.starts_on, stand.stated(), parts[stand.obligation.id])] for stand in stands]


def _prospective(stands: Sequence[Stand], price: Money, on: date) -> list[_Own] | None:
    """What was served before the day as it was, the rest of the price over what is served after it.

    None where nothing is left to be served, or less than nothing to be paid for it.
    """
    kept = [_kept(stand, on) for stand in stands]
    rest = DateSpan(on, EVER.end)
    left = price - total((amount for own in kept for _, _, amount in own), price.currency)
    weights = [stand.alone(rest) for stand in stands]
    if left.minor < 0 or not any(weights):
        return None
    shared = allocate(left, weights)
    for own, stand, served, amount in zip(kept, stands, weights, shared, strict=True):
        if served or stand.stated(rest):
            own.append((max(on, stand.obligation.starts_on), stand.stated(rest), amount))
        elif not own:
            own.append((stand.obligation.starts_on, Fraction(0), Money.zero(price.currency)))
    return kept


def _kept(stand: Stand, on: date) -> _Own:
    """What of each earlier allocation was served before a day, at its rate."""
    own: _Own = []
    for one, days in spans(stand.phases):
        before = days.overlap(DateSpan(EVER.start, on))
        if before is None:
            continue
        stated = stand.stated(before)
        part = stated / one.stated if one.stated else _part(stand, before, days)
        amount = round_money(Fraction(one.allocated.amount) * part, one.currency)
        if stated or amount:
            own.append((one.starts_on, stated, amount))
    return own


def _part(stand: Stand, before: DateSpan, days: DateSpan) -> Fraction:
    """How much of what is never billed was served before a day."""
    whole = stand.alone(days)
    return stand.alone(before) / whole if whole else Fraction(0)
