"""Credits: money in wallets drawn before a charge, and grants of units that usage burns down.

All figures are exact Fractions, in major units of one currency or in units of one meter. Nothing falls below zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum

from core.calendar import Interval, nth
from core.exact import NOTHING
from core.rational import Fraction

#: Later than every expiry.
NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Fee:
    """Something to be paid: its ``kind`` (subscription, charge...) and the ``code`` of its charge or meter."""

    amount: Fraction
    kind: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class Wallet:
    """Prepaid or promotional money. ``kinds`` and ``codes`` limit what it pays (empty: anything).

    Usable from ``effective_at`` (inclusive) to ``expires_at`` (exclusive); None: without limit. What is left at expiry
    is breakage.
    """

    id: str
    balance: Fraction
    priority: int = 50
    kinds: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    effective_at: datetime | None = None
    expires_at: datetime | None = None

    def usable(self, at: datetime | None) -> bool:
        return at is None or (
            (self.effective_at is None or self.effective_at <= at) and (self.expires_at is None or at < self.expires_at)
        )

    def pays(self, fee: Fee) -> bool:
        return (not self.kinds or fee.kind in self.kinds) and (not self.codes or fee.code in self.codes)


@dataclass(frozen=True, slots=True)
class Draw:
    """What one wallet paid of one fee, by their positions."""

    wallet: int
    fee: int
    amount: Fraction


@dataclass(frozen=True, slots=True)
class Paid:
    """The draws in the order they were made, and what is left on each side."""

    draws: tuple[Draw, ...]
    due: tuple[Fraction, ...]
    balances: tuple[Fraction, ...]

    @property
    def applied(self) -> Fraction:
        return sum((one.amount for one in self.draws), NOTHING)

    @property
    def left(self) -> Fraction:
        return sum(self.due, NOTHING)

    def used(self, wallet: int) -> Fraction:
        return sum((one.amount for one in self.draws if one.wallet == wallet), NOTHING)


def pay(fees: Sequence[Fee], wallets: Sequence[Wallet], at: datetime | None = None) -> Paid:
    """Wallet after wallet pays the fees it may, in their order.

    Wallets go by priority (lower first), then earlier expiry, then their order. ``at``: the instant of payment (None:
    validity is not looked at). Fees of zero or less are not paid.
    """
    due, balances = [fee.amount for fee in fees], [wallet.balance for wallet in wallets]
    draws: list[Draw] = []
    for number in sorted(range(len(wallets)), key=lambda i: (wallets[i].priority, wallets[i].expires_at or NEVER, i)):
        wallet = wallets[number]
        for index, fee in enumerate(fees if wallet.usable(at) else ()):
            amount = min(balances[number], due[index])
            if amount > 0 and wallet.pays(fee):
                due[index] -= amount
                balances[number] -= amount
                draws.append(Draw(number, index, amount))
    return Paid(tuple(draws), tuple(due), tuple(balances))


def breakage(wallets: Sequence[Wallet], at: datetime) -> dict[str, Fraction]:
    """What is left in the wallets that have expired by an instant: earned without being used."""
    gone = [one for one in wallets if one.expires_at is not None and one.expires_at <= at and one.balance > 0]
    return {one.id: one.balance for one in gone}


@dataclass(frozen=True, slots=True)
class Recurrence:
    """Refills a grant to its full amount, never above, at ``anchor`` and every interval after it."""

    every: Interval
    anchor: datetime


@dataclass(frozen=True, slots=True)
class Grant:
    """Units that usage burns. Empty before ``effective_at`` and from ``ends_at`` on (expired or voided).

    At a reset its balance becomes min(``max_rollover``, max(``min_rollover``, balance)). ``opening``: its balance
    at the start of the period, where that is known (None: full once effective).
    """

    id: str
    amount: Fraction
    effective_at: datetime
    priority: int = 0
    ends_at: datetime | None = None
    recurs: Recurrence | None = None
    min_rollover: Fraction = NOTHING
    max_rollover: Fraction = NOTHING
    opening: Fraction | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    at: datetime
    quantity: Fraction


class Overage(IntEnum):
    """What a reset does to usage that no grant has covered yet."""

    FORGOTTEN = 0
    KEPT = 1


@dataclass(slots=True)
class Burned:
    """Balances by grant, usage no grant covers, units burnt by grant, and units that expired unused (breakage)."""

    balances: dict[str, Fraction]
    overage: Fraction = NOTHING
    burnt: dict[str, Fraction] = field(default_factory=dict)
    expired: dict[str, Fraction] = field(default_factory=dict)


class _What(IntEnum):
    """What happens at one instant, in this order: boundaries first, so that they belong to the later side."""

    END = 0
    RESET = 1
    START = 2
    REFILL = 3
    USE = 4


def burn(
    grants: Sequence[Grant],
    usage: Sequence[Usage],
    start: datetime,
    end: datetime,
    resets: Sequence[datetime] = (),
    overage: Overage = Overage.FORGOTTEN,
) -> Burned:
    """Burn the usage of [start, end) from the grants: by priority, then earlier end, then earlier start, then order.

    Usage no grant covers is overage; the next grant, refill or roll-over burns it first.
    """
    order = sorted(
        range(len(grants)), key=lambda i: (grants[i].priority, grants[i].ends_at or NEVER, grants[i].effective_at, i)
    )
    state = Burned({grant.id: _opening(grant, start) for grant in grants})
    for at, what, index, units in sorted(_happenings(grants, usage, start, end, resets), key=lambda one: one[:2]):
        match what:
            case _What.USE:
                state.overage += units
            case _What.RESET:
                state.overage *= overage
                for grant in grants:
                    balance = max(grant.min_rollover, state.balances[grant.id])
                    live = grant.effective_at <= at and (grant.ends_at is None or at < grant.ends_at)
                    state.balances[grant.id] = min(grant.max_rollover, balance) if live else state.balances[grant.id]
            case _What.END:
                grant = grants[index]
                state.expired[grant.id] = state.balances[grant.id]
                state.balances[grant.id] = NOTHING
            case _What.START | _What.REFILL:
                state.balances[grants[index].id] = grants[index].amount
        _settle(state, [grants[i] for i in order])
    return state


def _settle(state: Burned, grants: Sequence[Grant]) -> None:
    """Let the grants cover what is open."""
    for grant in grants:
        units = min(state.balances[grant.id], max(NOTHING, state.overage))
        if units:
            state.balances[grant.id] -= units
            state.overage -= units
            state.burnt[grant.id] = state.burnt.get(grant.id, NOTHING) + units


def _opening(grant: Grant, start: datetime) -> Fraction:
    if grant.effective_at > start or (grant.ends_at is not None and grant.ends_at <= start):
        return NOTHING
    return grant.amount if grant.opening is None else grant.opening


def _happenings(
    grants: Sequence[Grant], usage: Sequence[Usage], start: datetime, end: datetime, resets: Sequence[datetime]
) -> Iterator[tuple[datetime, _What, int, Fraction]]:
    """(instant, what, grant, units) of everything inside the period."""
    for index, grant in enumerate(grants):
        if grant.ends_at is not None and start <= grant.ends_at < end:
            yield grant.ends_at, _What.END, index, NOTHING
        last = end if grant.ends_at is None else min(end, grant.ends_at)
        if start < grant.effective_at < last:
            yield grant.effective_at, _What.START, index, NOTHING
        if grant.recurs is not None:
            for at in _refills(grant.recurs, max(start, grant.effective_at), last):
                if at > start or grant.opening is None:
                    yield at, _What.REFILL, index, NOTHING
    for at in resets:
        if start <= at < end:
            yield at, _What.RESET, -1, NOTHING
    for one in usage:
        if start <= one.at < end:
            yield one.at, _What.USE, -1, one.quantity


def _refills(recurs: Recurrence, start: datetime, end: datetime) -> Iterator[datetime]:
    n = 0
    while (at := nth(recurs.anchor, recurs.every, n)) < end:
        if at >= start:
            yield at
        n += 1
