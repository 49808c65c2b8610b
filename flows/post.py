"""Post: book entries in our ledger once, in a month that is open, and intend its journals for the general ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date
from itertools import count

from core.errors import TieBroken
from core.ledger import JournalEntry, Via
from core.store import Work
from core.sync import Lane, OutboxCommand
from flows.context import Hub


def post(
    hub: Hub, work: Work, entries: Iterable[JournalEntry], lane: Lane = Lane.NORMAL, of: date | None = None
) -> list[JournalEntry]:
    """Books entries and gives those that were new; a locked month sends one to the first day after it that is open.

    ``of``: the day they belong to, where their document is dated later because the month of that day is locked.
    One that is booked already stays as it is, whichever day and version of the rules it was booked by; TieBroken when
    it moved other amounts.
    """
    wanted = list(entries)
    if not wanted:
        return []
    known = {one.id: one for one in work.find(JournalEntry, id=[one.id for one in wanted])}
    for one in wanted:
        if one.id in known and moved(known[one.id]) != moved(one):
            raise TieBroken("a booked journal never changes", subject=one.id, left=known[one.id], right=one)
    fresh = [one.belonging_to(of or one.posted_on) for one in wanted if one.id not in known]
    fresh = [one.late(work.periods.open_day(one.entity, one.posted_on)) for one in fresh]
    booked = work.add(fresh)
    work.outbox.enqueue(
        OutboxCommand.of(hub.system("erp"), "journal_entry", "journal_entry", one.in_books, hub.now(), lane=lane)
        for one in booked
        if one.via is Via.JOURNAL
    )
    return booked


def first_free(work: Work, made: Callable[[int], list[JournalEntry]]) -> list[JournalEntry]:
    """What is made with the first number (from 1) under which no journal of it is known."""
    for number in count(1):
        entries = made(number)
        if not work.periods.numbers_of([one.id for one in entries]):
            break
    return entries


def moved(entry: JournalEntry) -> list[tuple[str, int]]:
    """What an entry moves: each ledger account and the minor units, debits above zero."""
    return [(line.ledger_account, line.amount.minor) for line in entry.lines]
