"""Accrue: what was used and not billed by the end of a month is earned in it, and taken back on the first day after."""

from __future__ import annotations

from collections import defaultdict
from itertools import count

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


def accruals_due(hub: Hub, work: Work, close: Close) -> list[JournalEntry]:
    """What no final invoice of the month has and no accrual of it has booked, per customer, with its reversal.

    Of a line that is earned over its service period, the part that was served by the end of the month.
    """
    span = DateSpan.month(close.period)
    booked = work.periods.sources_of(EVENT, close.entity, span.start, span.end)
    found: dict[str, list[RatedLine]] = defaultdict(list)
    for line in work.find(
        RatedLine, id=[one for one in work.periods.unbilled(close.period, span.end) if one not in booked]
    ):
        found[line.account_id].append(line)
    accounts = {one.id: one for one in work.find(Account, id=list(found))}
    due: list[JournalEntry] = []
    for account_id, lines in sorted(found.items()):
        earned = [_earned(hub, line, accounts[account_id], close.period) for line in lines]
        books = hub.books(work, account_id)
        for number in count(1):
            entries = unbilled_entries(
                books, close.period, account_id, [line for line in earned if line.amount], hub.price_book, number
            )
            if not work.periods.numbers_of([entry.id for entry in entries]):
                break
        due += entries
    return due


def _earned(hub: Hub, line: RatedLine, account: Account, period: str) -> RatedLine:
    policy = hub.price_book.revenue(line.charge_code)
    if not policy.deferred:
        return line
    parts = schedule(billed(line, account, hub.price_book), account.id, policy)
    served = total((part.amount for part in parts if part.month <= period), line.amount.currency)
    return line.model_copy(update={"amount": served or Money.zero(line.amount.currency)})
