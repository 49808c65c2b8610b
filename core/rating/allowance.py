"""Included units: how many there are, who draws them, and the exact shares of those who used them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date

from core.accounts import Account
from core.catalog import Charge
from core.exact import NOTHING, added
from core.period import DateSpan
from core.rating.demand import Item
from core.rating.derivation import Draw
from core.rating.measured import MeteredQuantity
from core.rational import Fraction
from core.subscriptions import Subscription, SubscriptionCharge
from core.terms import Allowance


def size(allowance: Allowance, usage: Mapping[str, Fraction], sites: int, granted: Fraction) -> Fraction:
    """Included units of one period: ``usage`` is metered per meter, ``granted`` how often the allowance was bought."""
    units = Fraction(allowance.units) + Fraction(allowance.per_site) * sites
    for step in allowance.steps:
        if usage.get(allowance.driver or "", NOTHING) >= step.at_least:
            units = Fraction(step.units)
    if allowance.earned is not None:
        earned = Fraction(usage.get(allowance.earned.driver, NOTHING) // Fraction(allowance.earned.per))
        units += earned if allowance.earned.cap is None else min(earned, Fraction(allowance.earned.cap))
    return units * granted


def granted(
    allowance: Allowance,
    account: Account,
    subscriptions: Sequence[Subscription],
    billing: DateSpan,
    metered: Sequence[MeteredQuantity],
) -> Fraction:
    """The units of an allowance in a billing period: its size times how often it was bought.

    Of a contract that changed inside the period the most that stood on one day counts, so that no change adds units.
    """
    bought = Fraction(1)
    if allowance.granted_by is not None:
        lines = [line for subscription in subscriptions for line in subscription.charges]
        served = [line for line in lines if line.charge_code == allowance.granted_by and line.in_force(billing)]
        days = {max(line.starts_on, billing.start) for line in served}
        bought = max((_standing(served, day) for day in days), default=NOTHING)
    usage: dict[str, Fraction] = {}
    for one in metered if allowance.steps or allowance.earned else ():
        usage[one.meter] = usage.get(one.meter, NOTHING) + Fraction(one.quantity)
    return size(allowance, usage, len(account.sites), bought)


def _standing(lines: Sequence[SubscriptionCharge], day: date) -> Fraction:
    """How many of the charges' units stand on a day."""
    standing = (line for line in lines if line.starts_on <= day and (line.ends_on is None or day < line.ends_on))
    return added(Fraction(line.quantity) for line in standing)


def draw(granted: Fraction, used: Sequence[Fraction], places: int) -> list[Fraction]:
    """What each user draws of ``granted`` units (>= 0): all it used where that suffices, else its proportional share.

    Shares lie on a grid of ``10 ** -places`` units, by largest remainder, the earlier user first among equals; they
    sum to min(granted, total used) exactly. Negative usage (a correction) draws nothing.
    """
    wanted = [max(NOTHING, units) for units in used]
    whole = added(wanted)
    if granted >= whole:
        return wanted
    exact = [granted * units / whole for units in wanted]
    grid = 10**places
    shares = [Fraction(share * grid // 1, grid) for share in exact]
    floors = list(shares)
    spare = granted - added(floors)
    for index in sorted(range(len(exact)), key=lambda i: (floors[i] - exact[i], i)):
        step = min(spare, Fraction(1, grid), wanted[index] - floors[index])
        shares[index] += step
        spare -= step
    return shares


def in_order(granted: Fraction, used: Sequence[Fraction]) -> list[Fraction]:
    """The first user draws all it used, the next what is left, and so on."""
    shares: list[Fraction] = []
    for units in used:
        shares.append(min(granted, max(NOTHING, units)))
        granted -= shares[-1]
    return shares


def allow(allowance: Allowance, units: Fraction, items: Sequence[Item], sites: Sequence[str]) -> None:
    """Let the items draw the allowance: charge after charge, inside a charge by its ``share``.

    Charges that price the same usage (meter, filter, site and days) draw once and both go without it.
    """
    drawn: dict[tuple[object, ...], Fraction] = {}
    left = units
    order = {site: index for index, site in enumerate(sites)}
    for code in allowance.charges:
        users: dict[tuple[object, ...], list[Item]] = defaultdict(list)
        for item in items:
            if item.code == code:
                users[_source(item.charge, item)].append(item)
        fresh = sorted((key for key in users if key not in drawn), key=lambda key: order.get(str(key[0]), len(order)))
        weight = Fraction(allowance.weights.get(code, 1))
        used = [users[key][0].left * weight for key in fresh]
        shares = in_order(units, used) if allowance.share == "in_order" else draw(units, used, allowance.places)
        units -= added(shares)
        drawn |= {key: share / weight for key, share in zip(fresh, shares, strict=True)}
        for key, alike in users.items():
            for item in alike if drawn[key] else ():
                taken = drawn[key] * weight if key in fresh and item is alike[0] else NOTHING
                item.draw(Draw(allowance=allowance.id, units=drawn[key], taken=taken, held=left))
                left -= taken


def _source(charge: Charge, item: Item) -> tuple[object, ...]:
    what = charge.meter or item.due.line.id
    return item.site_id, item.contact_id, what, tuple(sorted(charge.where.items())), item.due.service
