"""Measure: what accounts used in a month, as the price book meters it and as their contracts cut it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from core.accounts import Account, ZoneChange, Zones
from core.catalog import PriceBook
from core.metering import Cut
from core.period import DateSpan
from core.rating import MeteredQuantity, usage_windows
from core.store import Work
from core.subscriptions import Subscription
from flows.context import Hub

Windows = Mapping[tuple[str, str | None], tuple[DateSpan, ...]]


def contracts(work: Work, accounts: Iterable[Account]) -> dict[str, list[Subscription]]:
    """The subscriptions of each account; one without any has an empty list."""
    found: dict[str, list[Subscription]] = {account.id: [] for account in accounts}
    for subscription in work.find(Subscription, account_id=list(found)):
        found[subscription.account_id].append(subscription)
    return found


def zones(work: Work, accounts: Iterable[Account]) -> dict[str, Zones]:
    """The time zones of each account; most never change theirs."""
    changes: dict[str, list[ZoneChange]] = defaultdict(list)
    for change in work.find(ZoneChange):
        changes[change.account_id].append(change)
    return {
        one.id: Zones(one.timezone, tuple(sorted(changes[one.id], key=lambda change: change.effective_on)))
        for one in accounts
    }


def measure(
    hub: Hub,
    book: PriceBook,
    billing: DateSpan,
    accounts: Sequence[Account],
    subscriptions: Mapping[str, Sequence[Subscription]],
    known_at: Mapping[str, datetime | None],
) -> dict[str, list[MeteredQuantity]]:
    """The usage of a billing month by account, each in its own zone; accounts without usage are absent.

    ``known_at``: per account, what was recorded later is left out (None: nothing is). An account whose usage charge
    starts or ends inside the month, or has service periods of its own, is measured once more for each part.
    """
    with hub.database.reading() as work:
        zone_of = zones(work, accounts)
    windows = {one.id: usage_windows(book, subscriptions[one.id], billing) for one in accounts}
    spans = {ident: [billing, *sorted({*_flat(cut)} - {billing}, key=_order)] for ident, cut in windows.items()}
    found: dict[str, list[MeteredQuantity]] = defaultdict(list)
    for turn in range(max(map(len, spans.values()), default=0)):
        cuts = [
            Cut(
                account_id=one.id,
                period=zone_of[one.id].instants(spans[one.id][turn]),
                known_at=known_at[one.id],
                timezone=zone_of[one.id].on(spans[one.id][turn].last_day),
            )
            for one in accounts
            if turn < len(spans[one.id])
        ]
        for quantity in hub.usage.aggregate(cuts, book.meters):
            span, own = spans[quantity.account_id][turn], windows[quantity.account_id]
            parts = parts_of(own, quantity.meter, quantity.site_id, billing)
            if span in parts:
                part = quantity if parts == (billing,) else replace(quantity, service=span)
                found[quantity.account_id].append(part)
    return found


def parts_of(windows: Windows, meter: str, site_id: str | None, billing: DateSpan) -> tuple[DateSpan, ...]:
    """The parts in which usage of a meter and site is measured for a month: the month itself where nothing cuts it."""
    return windows.get((meter, site_id), windows.get((meter, None), (billing,)))


def hull(windows: Windows, billing: DateSpan) -> DateSpan:
    """From the first day that a bill prices to the last."""
    spans = [billing, *_flat(windows)]
    return DateSpan(min(span.start for span in spans), max(span.end for span in spans))


def _flat(cut: Windows) -> Iterable[DateSpan]:
    return (span for parts in cut.values() for span in parts)


def _order(span: DateSpan) -> tuple[str, str]:
    return span.start.isoformat(), span.end.isoformat()
