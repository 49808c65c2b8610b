"""The database itself keeps what was booked: nothing of it changes, and its balances are the sums of the entries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import date

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DatabaseError

from core.ledger import JournalEntry, JournalLine, Via, reversal
from core.money import Money, total
from core.store import Database
from core.store.database import COPIED
from core.subledgers import Booked, roll_forward, trial_balance

ACCOUNTS = ("1050", "1100", "2200", "4000")
AMOUNTS = st.integers(1, 10**15)


@st.composite
def entries(draw: st.DrawFn) -> list[JournalEntry]:
    """Entries of two legal entities over four months, in the currency of the books and in euros; some are reversed."""
    made: list[JournalEntry] = []
    for number in range(draw(st.integers(1, 6))):
        currency = draw(st.sampled_from(["USD", "EUR"]))
        lines: list[JournalLine] = []
        for minor in draw(st.lists(AMOUNTS, min_size=1, max_size=4)):
            amount = Money(minor, currency)
            own = Money(minor * 11 // 10, "USD") if currency == "EUR" else None
            segments = draw(st.sampled_from([{}, {"gateway": "cards"}, {"jurisdiction": "US CO"}]))
            for side in ("debit", "credit"):
                lines.append(
                    JournalLine(
                        id=f"E{number}-{len(lines) + 1}",
                        position=len(lines) + 1,
                        ledger_account=draw(st.sampled_from(ACCOUNTS)),
                        debit=amount if side == "debit" else None,
                        credit=amount if side == "credit" else None,
                        source="test",
                        source_id="x",
                        segments=segments,
                        functional=own,
                    )
                )
        entry = JournalEntry(
            id=f"E{number}",
            entity=draw(st.sampled_from(["main", "de"])),
            event=draw(st.sampled_from(["invoice", "payment"])),
            via=Via.JOURNAL,
            currency=currency,
            posted_on=date(2026, draw(st.integers(1, 4)), 28),
            memo="",
            lines=tuple(lines),
        )
        made.append(entry)
        if draw(st.booleans()):
            made.append(reversal(entry, date(2026, 5, 1)))
    return made


def simple(ident: str = "E1", minor: int = 5, lines: int = 2) -> JournalEntry:
    amount = Money(minor, "USD")
    return JournalEntry(
        id=ident,
        event="invoice",
        via=Via.JOURNAL,
        currency="USD",
        posted_on=date(2026, 10, 31),
        memo="",
        lines=tuple(
            JournalLine(
                id=f"{ident}-{n}",
                position=n,
                ledger_account="1100" if n % 2 else "4000",
                debit=amount if n % 2 else None,
                credit=None if n % 2 else amount,
                source="test",
                source_id="x",
            )
            for n in range(1, lines + 1)
        ),
    )


def _place(one: Booked) -> tuple[str, str, str]:
    return one.entity, one.ledger_account, one.net.currency


class _Undone(Exception):
    """Ends a unit of work, so that nothing of it is kept."""


@given(entries())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_balance_is_the_sum_of_its_entries(database: Database, booked: list[JournalEntry]) -> None:
    """Whatever is booked and reversed, in whichever currency: the sums that the database keeps are those of the lines,
    each entity balances in each currency at the end of each month, and every roll-forward closes."""
    with suppress(_Undone), database.work() as work:
        work.add(booked)
        kept = work.sums.booked()
        assert kept == work.sums.booked_by_entry()
        lines = [line for entry in booked for line in entry.lines]
        assert sum(one.debit.minor for one in kept) == sum(line.debit.minor for line in lines if line.debit)
        for month in ("2026-01", "2026-03", "2026-05"):
            trial_balance(kept, month)
            for roll in roll_forward(kept, month):
                place = (roll.entity, roll.ledger_account, roll.opening.currency)
                earlier = [one.net for one in kept if one.month < month and _place(one) == place]
                assert roll.opening == total(earlier, roll.opening.currency)
        assert all(sum(one.own for one in kept if one.entity == entity) == 0 for entity in ("main", "de"))
        raise _Undone


def test_what_is_booked_in_one_stream_is_summed_too(database: Database) -> None:
    """PostgreSQL takes many rows as one stream; the sums are the same."""
    with database.work() as work:
        work.add([simple(lines=2 * COPIED)])
        assert work.sums.booked() == work.sums.booked_by_entry()
        assert [one.net.minor for one in work.sums.booked()] == [5 * COPIED, -5 * COPIED]
    with database.reading() as work:
        assert work.get(JournalEntry, "E1") == simple(lines=2 * COPIED)


@pytest.fixture
def raw(database: Database, database_url: str) -> Iterator[object]:
    """A database with one booked entry, open for any statement."""
    with database.work() as work:
        work.add([simple()])
    engine = create_engine(database_url)
    yield engine
    engine.dispose()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE journal_entry SET memo = 'other'",
        "UPDATE journal_entry SET posted_on = '2026-09-30'",
        "DELETE FROM journal_line",
        "UPDATE journal_line SET debit_minor = 6 WHERE debit_minor IS NOT NULL",
        "UPDATE journal_line SET ledger_account = '4999'",
        "DELETE FROM journal_line WHERE position = 1",
        "DELETE FROM ledger_balance",
        "UPDATE ledger_balance SET debit_minor = debit_minor - 1 WHERE debit_minor > 0",
    ],
)
def test_the_database_refuses_to_change_what_is_booked(database: Database, raw: object, statement: str) -> None:
    with pytest.raises(DatabaseError, match="a booked journal never changes"), raw.begin() as connection:  # type: ignore[attr-defined]
        connection.execute(text(statement))
    with database.reading() as work:
        assert work.find(JournalEntry) == [simple()]
        assert work.sums.booked() == work.sums.booked_by_entry()


def test_an_entry_is_reversed_once(database: Database) -> None:
    """A reversal takes every line back, and the database takes no second one of the same entry."""
    entry = simple()
    back = reversal(entry, date(2026, 11, 1))
    again = back.model_copy(update={"id": "E1-R2", "lines": tuple(
        line.model_copy(update={"id": f"R2-{line.position}"}) for line in back.lines
    )})  # fmt: skip
    with database.work() as work:
        work.add([entry, back])
        assert trial_balance(work.sums.booked(), "2026-10") != []
        assert trial_balance(work.sums.booked(), "2026-11") == []
    with pytest.raises(DatabaseError), database.work() as work:
        work.add([again])
