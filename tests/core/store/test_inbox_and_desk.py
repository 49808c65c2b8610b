"""An event is kept once and applied once at a time; a failed record stands on the desk until it is cured."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import create_engine, text

from core.errors import TieBroken
from core.money import Money
from core.store import Database
from core.sync import DeskEntry, DeskState, InboxState
from tests.core.store.border import LEASE, START, after, event


def _entry(ident: str = "outbox:erp/invoice/INV-1", money: Money | None = None, **changes: object) -> DeskEntry:
    made = DeskEntry(
        id=ident,
        system="erp",
        record="invoice",
        record_id="INV-1",
        cause="Rejected",
        message="field amount: too large",
        cure="Correct the named field",
        money=money,
        first_seen_at=START,
        last_seen_at=START,
    )
    return made.model_copy(update=changes)


def test_an_event_is_kept_once_with_its_body_byte_for_byte(database: Database, database_url: str) -> None:
    body = b"\x00\xff{}\r\n"
    with database.work() as work:
        assert work.inbox.store(event(), body)
    with database.work() as work:
        assert not work.inbox.store(event(kind="other"), b"forged")
        assert work.inbox.get("gateway", "evt_1") == event()
    engine = create_engine(database_url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT body FROM inbox")).scalars().all() == [body]
    engine.dispose()


def test_the_same_event_id_at_two_systems_is_two_events(database: Database) -> None:
    with database.work() as work:
        assert work.inbox.store(event(), b"")
        assert work.inbox.store(event(system="crm"), b"")


def test_events_are_leased_in_the_order_they_came_in_and_to_one_worker(database: Database) -> None:
    with database.work() as work:
        for number in (2, 0, 1):
            work.inbox.store(event(f"evt_{number}", received_at=after(seconds=number)), b"")
        first = work.inbox.claim(2, START, LEASE)
        second = work.inbox.claim(2, START, LEASE)
    assert [one.event_id for one in (*first, *second)] == ["evt_0", "evt_1", "evt_2"]


def test_workers_side_by_side_never_lease_the_same_event(database: Database) -> None:
    with database.work() as work:
        for number in range(60):
            work.inbox.store(event(f"evt_{number}"), b"")

    def work_off(_worker: int) -> list[str]:
        mine: list[str] = []
        while True:
            with database.work() as work:
                claimed = work.inbox.claim(5, START, LEASE)
            if not claimed:
                return mine
            mine += [one.event_id for one in claimed]

    with ThreadPoolExecutor(4) as pool:
        leased = [one for mine in pool.map(work_off, range(4)) for one in mine]
    assert sorted(leased) == sorted({f"evt_{number}" for number in range(60)})


def test_a_worker_that_outlived_its_lease_of_an_event_is_refused(database: Database) -> None:
    with database.work() as work:
        work.inbox.store(event(), b"")
        (zombie,) = work.inbox.claim(9, START, LEASE)
        (holder,) = work.inbox.claim(9, after(minutes=6), LEASE)
        assert not work.inbox.settle(zombie, InboxState.REJECTED)
        assert work.inbox.settle(holder, InboxState.APPLIED)
        assert work.inbox.counts() == {"applied": 1}


def test_an_event_never_settles_in_a_state_that_does_not_follow(database: Database) -> None:
    with database.work() as work:
        work.inbox.store(event(), b"")
        (held,) = work.inbox.claim(9, START, LEASE)
        with pytest.raises(TieBroken, match="follows its graph"):
            work.inbox.settle(held, InboxState.APPLYING)


def test_parked_events_wake_and_applied_ones_are_replayed_only_on_request(database: Database) -> None:
    with database.work() as work:
        for name in ("parked", "applied"):
            work.inbox.store(event(name), b"")
        applied, parked = sorted(work.inbox.claim(9, START, LEASE), key=lambda one: one.event_id)
        work.inbox.settle(parked, InboxState.PARKED)
        work.inbox.settle(applied, InboxState.APPLIED)
        assert work.inbox.wake() == 1
        assert [one.event_id for one in work.inbox.claim(9, START, LEASE)] == ["parked"]
        assert work.inbox.replay("gateway", "applied")
        assert not work.inbox.replay("gateway", "none")
        assert [one.event_id for one in work.inbox.claim(9, START, LEASE)] == ["applied"]


def test_the_newest_applied_event_of_an_object_is_known(database: Database) -> None:
    with database.work() as work:
        for number in range(3):
            work.inbox.store(event(f"evt_{number}", occurred_at=after(days=number)), b"")
        for held in work.inbox.claim(9, START, LEASE):
            work.inbox.settle(held, InboxState.REJECTED if held.event_id == "evt_2" else InboxState.APPLIED)
        assert work.inbox.newest_applied("gateway", "payment", "pi_1") == after(days=1)
        assert work.inbox.newest_applied("gateway", "payment", "pi_2") is None


def test_the_desk_counts_attempts_and_keeps_when_it_saw_the_first(database: Database) -> None:
    with database.work() as work:
        work.desk.report(_entry())
        work.desk.report(_entry(first_seen_at=after(hours=1), last_seen_at=after(hours=1), message="now another"))
        (seen,) = work.desk.open()
    assert (seen.attempts, seen.first_seen_at, seen.last_seen_at) == (2, START, after(hours=1))
    assert seen.message == "now another"


def test_a_failure_after_it_was_resolved_starts_anew(database: Database) -> None:
    with database.work() as work:
        work.desk.report(_entry())
        assert work.desk.resolve(_entry().id)
        assert not work.desk.resolve(_entry().id)
        assert work.desk.open() == []
        work.desk.report(_entry(first_seen_at=after(hours=1)))
        (seen,) = work.desk.open()
    assert (seen.attempts, seen.first_seen_at, seen.state) == (1, after(hours=1), DeskState.OPEN)


def test_an_ignored_failure_keeps_the_reason(database: Database) -> None:
    with database.work() as work:
        work.desk.report(_entry())
        assert work.desk.ignore(_entry().id, "test account")
        kept = work.desk.get(_entry().id)
    assert kept is not None
    assert (kept.state, kept.note) == (DeskState.IGNORED, "test account")


def test_the_most_money_at_risk_stands_first_and_is_summed_by_currency(database: Database) -> None:
    with database.work() as work:
        work.desk.report(_entry("none"))
        work.desk.report(_entry("small", Money.of("1", "USD")))
        work.desk.report(_entry("large", Money.of("90071992547409.93", "USD"), system="tax", cause="MappingError"))
        work.desk.report(_entry("euro", Money.of("2", "EUR")))
        assert [one.id for one in work.desk.open()] == ["large", "euro", "small", "none"]
        assert [one.id for one in work.desk.open(system="tax", cause="MappingError")] == ["large"]
        assert [one.id for one in work.desk.open(limit=1)] == ["large"]
        at_risk = {money and money.currency: (count, money and str(money)) for count, money in work.desk.at_risk()}
    assert at_risk == {
        None: (1, None),
        "USD": (2, str(Money.of("90071992547410.93", "USD"))),
        "EUR": (1, str(Money.of("2", "EUR"))),
    }
