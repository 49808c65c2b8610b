"""Commitments of several months: what earlier bills charged in the service period that ends now."""

from __future__ import annotations

from collections.abc import Sequence

from core.catalog import PriceBook
from core.money import Money
from core.period import DateSpan
from core.prices import Commitment
from core.rating import RatedLine
from core.store import Database
from core.subscriptions import Subscription, due


def billed_before(
    database: Database, book: PriceBook, subscriptions: Sequence[Subscription], billing: DateSpan
) -> dict[str, Money]:
    """By charge code, what an account was charged before the month in the service period of a commitment due in it."""
    starts = [
        one.service.start
        for subscription in subscriptions
        for line in subscription.charges
        if isinstance((charge := book.charge(line.charge_code)).model, Commitment)
        for one in due(subscription, line, charge, billing)
        if one.service.start < billing.start
    ]
    sums: dict[str, Money] = {}
    if not starts:
        return sums
    with database.reading() as work:
        for rated in work.find(RatedLine, account_id=subscriptions[0].account_id):
            if min(starts) <= rated.service_period.start < billing.start:
                zero = Money.zero(rated.amount.currency)
                sums[rated.charge_code] = sums.get(rated.charge_code, zero) + rated.amount
    return sums
