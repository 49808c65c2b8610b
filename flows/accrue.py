"""Accrue: what was used and not billed by the end of a month is earned in it, and taken back on the first day after."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, groupby
from operator import itemgetter

from core.accounts import Account
from core.close import Close
from core.invoicing import billed
from core.ledger import JournalEntry
from core.money import Money, total
from core.period import DateSpan
from core.posting import unbilled_entries
from core.rating import RatedLine
from core.revenue import schedule
from core.store import Work
from flows.context import Hub

EVENT = "unbilled"


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
        for number in count(1):
            entries = unbilled_entries(books, close.period, account_id, earned, hub.price_book, number)
            if not work.periods.numbers_of([entry.id for entry in entries]):
                break
        yield from entries


def _earned(hub: Hub, line: RatedLine, account: Account, period: str) -> RatedLine:
    policy = hub.price_book.revenue(line.charge_code)
    if not policy.deferred:
        return line
    parts = schedule(billed(line, account, hub.price_book), account.id, policy)
    served = total((part.amount for part in parts if part.month <= period), line.amount.currency)
    return line.model_copy(update={"amount": served or Money.zero(line.amount.currency)})
