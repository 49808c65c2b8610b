"""Late: usage and changes of contract recorded after the bill of their month, and what the next bill does about them.

The price book that rated the month decides on usage (``WhenLate``), so nothing is taken twice when the book changes its
mind. A contract that was amended back into a billed month is always settled by rating that month again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from core.accounts import Account
from core.amendments import Amendment
from core.catalog import PriceBook, WhenLate
from core.currencies import in_currency
from core.fx import Exchange
from core.metering import Cut, LateUsage, carried
from core.metering.late import group_of
from core.money import Money
from core.period import DateSpan
from core.rating import MeteredQuantity, RatedLine, corrections, rate, usage_windows
from core.rating.check import check
from core.rating.sources import Held
from core.rational import Fraction
from core.store import Work
from core.subscriptions import Subscription
from flows.commitments import billed_before
from flows.context import Hub
from flows.measure import hull, measure, parts_of, zones
from flows.units import units_of

#: By account and rated month, what its bill knew.
Known = Mapping[str, Mapping[str, datetime]]


@dataclass(frozen=True)
class Late:
    """One account's earlier month of which something came late: as its bills know it, and as it is known now.

    ``held`` and ``carried_out``: the included units that it had, and those that went on to later months;
    ``exchange``: the rate that it was billed at; ``committed``: what earlier bills charged in a running commitment.
    """

    month: str
    book: PriceBook
    billed: Sequence[RatedLine]
    before: Sequence[MeteredQuantity]
    now: Sequence[MeteredQuantity]
    held: tuple[Held, ...] = ()
    carried_out: Mapping[str, Fraction] = field(default_factory=dict)
    exchange: Exchange | None = None
    committed: Mapping[str, Money] = field(default_factory=dict)

    @property
    def carried(self) -> bool:
        return self.book.late_usage is WhenLate.OPEN_PERIOD

    def differences(self) -> list[LateUsage]:
        """What the bills of the month do not know yet."""
        before = {group_of(one): one for one in self.before}
        period = DateSpan.month(self.month).instants("UTC")
        found = [LateUsage(period=period, before=before.get(group_of(one)), now=one) for one in self.now]
        return [one for one in found if one.before != one.now]

    def corrected(self, account: Account, subscriptions: Sequence[Subscription], bill: str) -> tuple[RatedLine, ...]:
        """The lines that correct the month on the bill of another; where usage is carried on, those of its contract."""
        metered, billing = (self.before if self.carried else self.now), DateSpan.month(self.month)
        book = in_currency(self.book, account.currency, self.exchange)
        again = rate(
            book,
            account,
            subscriptions,
            billing,
            metered,
            billed=self.committed,
            held=self.held,
            carried_out=self.carried_out,
        )
        lines = corrections(self._settled(again), self._settled(self.billed), self.month, bill)
        for line in lines:
            check(line, book)
        return lines

    def _settled(self, lines: Sequence[RatedLine]) -> list[RatedLine]:
        """What a correction settles: usage that is carried on is none of it."""
        return [one for one in lines if not (self.carried and self.book.charge(one.charge_code).meter)]


def late_usage(
    hub: Hub,
    month: str,
    accounts: Sequence[Account],
    subscriptions: Mapping[str, Sequence[Subscription]],
    known_at: Mapping[str, datetime],
) -> dict[str, list[Late]]:
    """What the bill of ``month`` owes to late usage, by account. ``known_at``: what that bill knows, per account.

    Each bill takes up all late usage of every earlier rated month that it knows, so what an earlier month's usage is
    known by is the newest of the bills before this one.
    """
    found: dict[str, list[Late]] = defaultdict(list)
    with hub.database.reading() as work:
        rated = work.sums.rated_months()
        amended = _amended(work, subscriptions)
    known = {account: {at: when for at, when in months.items() if at < month} for account, months in rated.items()}
    for earlier in sorted({at for months in known.values() for at in months}):
        billed = [one for one in accounts if earlier in known.get(one.id, ())]
        for ident, late in _look(hub, earlier, billed, subscriptions, known, known_at, amended):
            found[ident].append(late)
    return dict(found)


def _amended(work: Work, subscriptions: Mapping[str, Sequence[Subscription]]) -> dict[str, datetime]:
    """By account, when the last change of its contract was recorded; absent: never."""
    of = {one.id: account for account, found in subscriptions.items() for one in found if one.version > 1}
    last: dict[str, datetime] = {}
    for one in work.find(Amendment, subscription_id=list(of)):
        account = of[one.subscription_id]
        last[account] = max(one.recorded_at, last.get(account, one.recorded_at))
    return last


def _look(
    hub: Hub,
    earlier: str,
    accounts: Sequence[Account],
    subscriptions: Mapping[str, Sequence[Subscription]],
    known: Known,
    known_at: Mapping[str, datetime],
    amended: Mapping[str, datetime],
) -> Iterator[tuple[str, Late]]:
    billing = DateSpan.month(earlier)
    base = {one.id: known_since(known[one.id], earlier) for one in accounts}
    with hub.database.reading() as work:
        zone_of = zones(work, accounts)
    cuts = [
        Cut(
            account_id=one.id,
            period=zone_of[one.id].instants(days),
            known_at=base[one.id],
            timezone=zone_of[one.id].on(days.last_day),
        )
        for one in accounts
        if base[one.id] < known_at[one.id]
        for days in [hull(usage_windows(hub.price_book, subscriptions[one.id], billing), billing)]
    ]
    touched = hub.usage.late_accounts(cuts, hub.price_book.meters) if cuts else set()
    touched |= {ident for ident, at in amended.items() if ident in base and at > base[ident]}
    late = [one for one in accounts if one.id in touched]
    with hub.database.reading() as work:
        bills = sorted({month for one in late for month in known[one.id] if month > earlier})
        billed = _billed(work, earlier, bills, [one.id for one in late])
        units = {one.id: units_of(work, one.id, earlier) for one in late}
    for version in sorted({lines[0].derivation.book_version for lines in billed.values()}):
        book = hub.price_book_of(version)
        rated = [one for one in late if billed[one.id][0].derivation.book_version == version]
        before = measure(hub, book, billing, rated, subscriptions, base)
        now = measure(hub, book, billing, rated, subscriptions, known_at)
        for one in rated:
            usage = before.get(one.id, []), now.get(one.id, [])
            told = (line.derivation.exchange for line in billed[one.id])
            exchange = next((rate for rate in told if rate is not None), None)
            committed = billed_before(hub.database, book, subscriptions[one.id], billing)
            yield one.id, Late(earlier, book, billed[one.id], *usage, *units[one.id], exchange, committed)


def known_since(rated: Mapping[str, datetime], month: str) -> datetime:
    """What is known of a rated month of an account: by its own bill, and by those of later months."""
    return max(at for later, at in rated.items() if later >= month)


def _billed(work: Work, month: str, bills: Sequence[str], accounts: Sequence[str]) -> dict[str, list[RatedLine]]:
    """The lines of a month, then those that correct it on the later ``bills``, the newest last, by account."""
    found: dict[str, list[RatedLine]] = defaultdict(list)
    for line in work.find(RatedLine, account_id=accounts, billing_period=month):
        if line.corrects is None:
            found[line.account_id].append(line)
    for line in work.find(RatedLine, account_id=accounts, corrects=month, billing_period=bills):
        found[line.account_id].append(line)
    return found


def with_late(
    book: PriceBook,
    metered: Sequence[MeteredQuantity],
    late: Sequence[Late],
    subscriptions: Sequence[Subscription],
    billing: DateSpan,
) -> list[MeteredQuantity]:
    """The usage of a month with what is carried into it; where the month is measured in parts, into the last one."""
    differences = [change for one in late if one.carried for change in one.differences()]
    if not differences:
        return list(metered)
    windows, changes = usage_windows(book, subscriptions, billing), []
    for change in differences:
        parts = parts_of(windows, change.now.meter, change.now.site_id, billing)
        into = replace(change.now, service=None if parts == (billing,) else parts[-1])
        changes.append(change.model_copy(update={"now": into}))
    return carried(metered, changes)
