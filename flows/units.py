"""Units: what accounts hold of included units as a month begins, and grants of more."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal

from core.accounts import Account
from core.errors import Rejected
from core.rating.sources import Held, opened
from core.rational import Fraction
from core.store import Work
from core.units import UnitBalance, UnitGrant
from flows.context import Hub


def held_units(work: Work, accounts: Sequence[str], month: str) -> dict[str, tuple[Held, ...]]:
    """By account, what it holds as a month begins: of the last month rated before, and granted; absent: nothing."""
    before: dict[str, list[UnitBalance]] = defaultdict(list)
    for one in work.find(UnitBalance, account_id=list(accounts)):
        if one.period < month:
            before[one.account_id].append(one)
    grants: dict[str, list[UnitGrant]] = defaultdict(list)
    for grant in work.find(UnitGrant, account_id=list(accounts)):
        grants[grant.account_id].append(grant)
    found = {}
    for ident in {*before, *grants}:
        latest = {one.source: one for one in sorted(before[ident], key=lambda one: one.period)}
        if held := opened(latest.values(), grants[ident], month):
            found[ident] = held
    return found


def units_of(work: Work, account_id: str, month: str) -> tuple[tuple[Held, ...], Mapping[str, Fraction]]:
    """What an account held in a month that was rated, and what went on from it to later months, to rate it again."""
    held, carried_out = [], {}
    grants = {one.id: one for one in work.find(UnitGrant, account_id=account_id)}
    for one in work.find(UnitBalance, account_id=account_id, period=month):
        fresh = one.allowance is not None and one.source == f"{one.allowance}@{month}"
        carried_out[one.allowance if fresh and one.allowance else one.source] = one.closing
        if not fresh:
            grant = grants.get(one.source)
            terms = (grant.charges, grant.priority) if grant else ((), 0)
            held.append(Held(one.source, one.allowance, *terms, one.last, one.opening, one.granted))
    return tuple(held), carried_out


def grant_units(
    hub: Hub,
    account_id: str,
    units: Decimal,
    charges: tuple[str, ...],
    reason: str,
    on: date,
    effective_on: date,
    expires_on: date | None = None,
    priority: int = 0,
) -> UnitGrant:
    """Gives an account units beyond what its plan includes; the same for the same reason is given once.

    Rejected when there is no such account or charge.
    """
    digest = hashlib.sha256(f"{units}|{charges}|{reason}|{effective_on}".encode()).hexdigest()[:10]
    for code in charges:
        if all(one.code != code for one in hub.price_book.charges):
            raise Rejected(f"price book {hub.price_book.name} has no charge {code}", record=account_id, field="charge")
    with hub.database.work() as work:
        if work.get(Account, account_id) is None:
            raise Rejected(f"there is no account {account_id}", record=account_id, field="account")
        grant = UnitGrant(
            id=f"UG-{account_id}-{digest}",
            account_id=account_id,
            units=units,
            charges=charges,
            priority=priority,
            granted_on=on,
            effective_on=effective_on,
            expires_on=expires_on,
            reason=reason,
        )
        known = work.get(UnitGrant, grant.id)
        work.add([] if known else [grant])
    return known or grant
