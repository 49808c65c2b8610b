"""Where included units come from in a billing month: what the plan gives afresh, what rolled over, what was granted.

Sources are drawn one after the other; what each held, gave and left is a :class:`~core.units.UnitBalance`, which the
next month opens with.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from core.accounts import Account
from core.catalog import PriceBook
from core.exact import NOTHING
from core.period import DateSpan
from core.rating.allowance import granted
from core.rating.lines import RatedLine, drawn
from core.rating.measured import MeteredQuantity
from core.rational import Fraction
from core.subscriptions import Subscription, months_on
from core.terms import Allowance
from core.units import UnitBalance, UnitGrant


@dataclass(frozen=True, slots=True)
class Held:
    """Units that an account holds as a month begins: rolled over from ``allowance``, or granted for ``charges``.

    ``opening``: left of earlier months; ``granted``: given with this one. ``last``: the last month of their use.
    """

    source: str
    allowance: str | None = None
    charges: tuple[str, ...] = ()
    priority: int = 0
    last: str | None = None
    opening: Fraction = NOTHING
    granted: Fraction = NOTHING


@dataclass(frozen=True, slots=True)
class Source:
    """One source on its turn: ``terms`` say who draws it and how, under the name that draws carry."""

    terms: Allowance
    held: Held
    units: Fraction


def sources(
    book: PriceBook,
    account: Account,
    subscriptions: Sequence[Subscription],
    billing: DateSpan,
    metered: Sequence[MeteredQuantity],
    held: Sequence[Held] = (),
    carried_out: Mapping[str, Fraction] | None = None,
) -> list[Source]:
    """The sources of a month in the order in which they are drawn.

    ``carried_out``: by the name that draws carry, units that left the month for later ones, when it is rated again.
    """
    gone, month = carried_out or {}, f"{billing.start:%Y-%m}"
    allowances = {one.id: one for one in book.allowances}
    found = []
    for one in book.allowances:
        last = month if one.rollover is None else _later(billing, one.rollover.months)
        fresh = granted(one, account, subscriptions, billing, metered)
        name = f"{one.id}@{month}" if one.rollover else one.id
        found.append((one, Held(name, one.id, priority=one.priority, last=last, granted=fresh)))
    for holding in held:
        terms = allowances.get(holding.allowance or "")
        if terms is None and not holding.charges:
            continue
        own = {"id": holding.source, "rollover": None}
        found.append(
            (terms.model_copy(update=own), holding)
            if terms is not None
            else (Allowance(id=holding.source, charges=holding.charges), holding)
        )
    found.sort(key=lambda pair: (pair[1].priority, pair[1].last or "9999-12"))
    return [
        Source(terms, one, max(NOTHING, one.opening + one.granted - gone.get(terms.id, NOTHING)))
        for terms, one in found
    ]


def balances(account_id: str, found: Sequence[Source], lines: Iterable[RatedLine], month: str) -> Iterator[UnitBalance]:
    """What each source that outlives the month did in it, for units that were there at all.

    ``month`` is the billing month like ``"2026-10"``.
    """
    taken = drawn(lines)
    room: dict[str, Fraction] = {
        one.terms.id: Fraction(one.terms.rollover.most)
        for one in found
        if one.terms.rollover is not None and one.terms.rollover.most is not None
    }
    for one in sorted(found, key=lambda one: one.held.last or "9999-12", reverse=True):
        held = one.held
        whole = held.opening + held.granted
        if not whole or (one.terms.rollover is None and held.source == held.allowance):
            continue
        used = taken.get(one.terms.id, NOTHING)
        closing = whole - used if held.last is None or held.last > month else NOTHING
        if held.allowance in room:
            closing = min(closing, room[held.allowance])
            room[held.allowance] -= closing
        yield UnitBalance(
            id=f"{account_id}:{held.source}:{month}",
            account_id=account_id,
            period=month,
            source=held.source,
            allowance=held.allowance,
            last=held.last,
            opening=held.opening,
            granted=held.granted,
            drawn=used,
            expired=whole - used - closing,
            closing=closing,
        )


def opened(before: Iterable[UnitBalance], grants: Iterable[UnitGrant], month: str) -> tuple[Held, ...]:
    """What an account holds as a month begins. ``before``: its balances of the last month that was rated before."""
    by_id = {one.id: one for one in grants}
    found = []
    for one in before:
        grant = by_id.pop(one.source, None)
        if one.closing and (one.last is None or one.last >= month):
            terms = (grant.charges, grant.priority) if grant else ((), 0)
            found.append(Held(one.source, one.allowance, *terms, last=one.last, opening=one.closing))
    for grant in by_id.values():
        last = None if grant.expires_on is None else f"{months_on(grant.expires_on, -1):%Y-%m}"
        if f"{grant.effective_on:%Y-%m}" <= month <= (last or month):
            units = Fraction(grant.units)
            found.append(Held(grant.id, None, grant.charges, grant.priority, last, granted=units))
    return tuple(found)


def _later(billing: DateSpan, months: int) -> str:
    return f"{months_on(billing.start, months):%Y-%m}"
