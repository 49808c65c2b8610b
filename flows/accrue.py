"""Accrue: what was served and not billed by the end of a month is earned in it, and taken back on the first day after.

What the month's bills leave out is unbilled; what a service period has served that is billed when it ends is an asset
of its contract until then.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import groupby
from operator import itemgetter

from core.accounts import Account
from core.allocation import Allocation, brought, earned_in, standing
from core.catalog import ChargeKind, PriceBook, Timing
from core.close import Close
from core.invoicing import billed
from core.ledger import JournalEntry
from core.money import Money, round_money, total
from core.obligations import Obligation
from core.period import DateSpan
from core.posting import contract_asset_entries, unbilled_entries
from core.rating import RatedLine, rate
from core.revenue import schedule, spread
from core.store import Work
from core.subscriptions import Subscription, SubscriptionCharge, service_periods
from flows.context import Hub
from flows.exchange import book_for
from flows.post import first_free

EVENT, ASSET = "unbilled", "contract asset"


def accruals_due(hub: Hub, work: Work, close: Close) -> Iterator[JournalEntry]:
    """What no final invoice of the month has and no accrual of it has booked, per customer, with its reversal.

    Of a line that is earned over its service period, the part that was served by the end of the month.
    """
    end = DateSpan.month(close.period).end
    for account_id, found in groupby(work.periods.unbilled(close.period, end, EVENT), itemgetter(0)):
        books = hub.books(work, account_id)
        if books.entity.id != close.entity:
            continue
        (account,) = work.find(Account, id=account_id)
        lines = work.find(RatedLine, id=[ident for _, ident in found])
        earned = [line for one in lines if (line := _earned(hub, one, account, close.period)).amount]
        yield from first_free(work, partial(unbilled_entries, books, close.period, account_id, earned, hub.price_book))


def _earned(hub: Hub, line: RatedLine, account: Account, period: str) -> RatedLine:
    policy = hub.price_book.revenue(line.charge_code)
    if not policy.deferred:
        return line
    parts = schedule(billed(line, account, hub.price_book), account.id, policy)
    served = total((part.amount for part in parts if part.month <= period), line.amount.currency)
    return line.model_copy(update={"amount": served or Money.zero(line.amount.currency)})


def contract_assets_due(hub: Hub, work: Work, close: Close) -> Iterator[JournalEntry]:
    """What is served by the end of a month of service periods that are billed when they end, per customer, with its
    reversal; nothing that was booked for the month already."""
    span, book = DateSpan.month(close.period), hub.price_book
    codes = [one.code for one in book.charges if one.kind is ChargeKind.RECURRING and one.timing is Timing.ARREARS]
    charges = [ident for code in codes for ident in work.child_ids(Subscription, "charges", charge_code=code)]
    if not charges:
        return
    booked, rates = work.contracts.accrued(ASSET, close.entity, span), hub.rates(work)
    wanted = set(charges) - booked
    contracts = sorted(work.parents_of(Subscription, "charges", sorted(wanted)), key=lambda one: one.account_id)
    for account_id, own in groupby(contracts, lambda one: one.account_id):
        books = hub.books(work, account_id)
        if books.entity.id != close.entity:
            continue
        (account,) = work.find(Account, id=account_id)
        sold = book_for(rates, book, account, span.last_day)
        lines = [line for one in own for line in _in_progress(work, sold, account, one, wanted, span) if line.amount]
        yield from first_free(work, partial(contract_asset_entries, books, close.period, account_id, lines, book))


def _in_progress(
    work: Work, book: PriceBook, account: Account, contract: Subscription, wanted: set[str], month: DateSpan
) -> Iterator[RatedLine]:
    """What the service periods that a month leaves unfinished will be billed, as the bill run will, with what of it is
    earned by the end of the month: its share of what is allocated to it, by the convention of its policy."""
    for bought in contract.charges:
        if bought.id not in wanted or not bought.in_force(month):
            continue
        alone = contract.model_copy(update={"charges": (bought,)})
        for part, _ in service_periods(book.charge(bought.charge_code), bought, month, contract.starts_on):
            if part.end <= month.end:
                continue
            for line in rate(book, account, [alone], DateSpan.month(f"{part.last_day:%Y-%m}"), []):
                if line.service_period == part:
                    yield line.model_copy(update={"amount": _by_now(work, book, bought, line, month)})


def _by_now(work: Work, book: PriceBook, bought: SubscriptionCharge, line: RatedLine, month: DateSpan) -> Money:
    brings, convention = line.amount, book.revenue(line.charge_code).convention
    bill, months = (line.amount, line.service_period), None
    if (promised := work.get(Obligation, bought.order_line_id)) is not None:
        phases = standing(promised, work.find(Allocation, obligation_id=promised.id))
        brings = round_money(brought(phases, [bill]), line.amount.currency)
        months = earned_in(phases, brings, bill, convention)
    months = months or spread(brings, line.service_period, convention)
    return total((amount for name, amount in months.items() if name <= f"{month.start:%Y-%m}"), brings.currency)
