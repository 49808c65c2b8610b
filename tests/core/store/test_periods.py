"""A locked month takes no journal of its entity, whoever tries; what is late finds the first day that is open."""

from __future__ import annotations

from datetime import date

import pytest

from core.close import PeriodLock
from core.ledger import JournalEntry
from core.store import Database, StoreFailed
from tests.core.store.nouns import ENTRIES, LOCK, NOON

ENTRY: JournalEntry = ENTRIES[0].model_copy(update={"posted_on": date(2026, 10, 31)})


def lock(database: Database, *locks: PeriodLock) -> None:
    with database.work() as work:
        work.add(locks)


def test_the_database_refuses_a_journal_of_a_locked_month(database: Database) -> None:
    lock(database, LOCK)
    with pytest.raises(StoreFailed, match="locked"), database.work() as work:
        work.add([ENTRY])


def test_another_entity_and_another_month_are_open(database: Database) -> None:
    lock(database, LOCK.model_copy(update={"entity": "other"}), LOCK.model_copy(update={"id": "2", "month": "2026-09"}))
    with database.work() as work:
        assert work.add([ENTRY]) == [ENTRY]


def test_a_reopened_month_takes_journals_again(database: Database) -> None:
    lock(database, LOCK)
    with database.work() as work:
        work.put(LOCK.model_copy(update={"reopened_at": NOON, "reopened_by": "olga", "reason": "a late invoice"}))
        assert work.add([ENTRY]) == [ENTRY]


def test_what_is_late_is_posted_on_the_first_day_of_the_next_open_month(database: Database) -> None:
    lock(database, LOCK, LOCK.model_copy(update={"id": "2", "month": "2026-11"}))
    with database.reading() as work:
        assert work.periods.open_day("main", date(2026, 10, 15)) == date(2026, 12, 1)
        assert work.periods.open_day("main", date(2026, 12, 24)) == date(2026, 12, 24)
        assert work.periods.open_day("other", date(2026, 10, 15)) == date(2026, 10, 15)
