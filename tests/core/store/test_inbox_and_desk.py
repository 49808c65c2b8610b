"""An event is kept once and applied once at a time; a failed record stands on the desk until it is cured."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from core.errors import TieBroken
from core.money import Money
from core.store import Database
from core.store.desk import open_entries
from core.sync import DeskEntry, DeskState, Evidence, InboxState
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


def test_entries_are_found_by_every_filter_and_their_number_is_limited_after_it(database: Database) -> None:
    with database.work() as work:
        for number in range(3):
            money = Money.of(str(100 + number), "USD")
            work.desk.report(_entry(f"outbox:erp/invoice/INV-{number}", money, record_id=f"INV-{number}"))
        work.desk.report(_entry("late", record="payment", cause="MappingError", last_seen_at=after(hours=2)))
        assert work.desk.assign("late", "anna")

        def found(**equal: Any) -> list[str]:
            return [one.id for one in work.desk.open(**equal)]

        cluster = work.desk.open(limit=1)[0].cluster
        assert found(record="payment", limit=1) == ["late"]
        assert (
            found(system="erp", cause="MappingError") == found(owner="anna") == found(since=after(hours=1)) == ["late"]
        )
        assert found(cluster=cluster) == [f"outbox:erp/invoice/INV-{number}" for number in (2, 1, 0)]
        assert found(id={"late", "none"}) == ["late"]
        assert found(owner="ben") == found(id=[]) == []


def test_the_same_failure_of_many_records_is_one_cluster_with_its_money(database: Database) -> None:
    refused = "customer {} of order 0061x0{} has no 'country {}'"
    with database.work() as work:
        for number in range(3):
            message = refused.format(f"A-{number}", number, "XX")
            work.desk.report(_entry(f"usd-{number}", Money.of(str(number + 1), "USD"), message=message))
        work.desk.report(_entry("eur", Money.of("5", "EUR"), message=refused.format("A-9", 9, "YY")))
        work.desk.report(_entry("other field", message=refused.format("A-1", 1, "XX"), field="country"))
        work.desk.report(_entry("no amount", message="another sentence"))
        found = work.desk.clusters()
        assert work.desk.ignore("usd-2", "a test")
        assert {one.errors for one in work.desk.clusters() if one.money} == {1, 2}
    assert [(one.errors, one.money and str(one.money), one.sample.id) for one in found[:2]] == [
        (3, "6.00 USD", "usd-2"),
        (1, "5.00 EUR", "eur"),
    ]
    assert {one.sample.id for one in found[2:]} == {"other field", "no amount"}
    assert found[0].id == found[1].id == found[0].sample.cluster
    assert len({one.id for one in found}) == 3


def test_an_owner_and_a_note_stay_when_the_record_fails_again(database: Database) -> None:
    with database.work() as work:
        work.desk.report(_entry())
        assert work.desk.assign(_entry().id, "anna")
        assert work.desk.note(_entry().id, "asked the customer")
        work.desk.report(_entry())
        (seen,) = work.desk.open()
        assert (seen.owner, seen.note, seen.attempts) == ("anna", "asked the customer", 2)
        assert work.desk.resolve(_entry().id)
        assert not work.desk.assign(_entry().id, "ben")
        assert not work.desk.note(_entry().id, "late")


def test_a_card_number_in_a_failure_is_not_kept(database: Database) -> None:
    with database.work() as work:
        work.desk.report(_entry(message="memo '4242 4242 4242 4242' is too long", value="4242424242424242"))
        (seen,) = work.desk.open()
    assert "4242 4242 4242" not in seen.message
    assert seen.value == "•••4242"


def test_the_newest_evidence_of_an_entry_is_kept(database: Database) -> None:
    with database.work() as work:
        assert work.desk.evidence("x") is None
        for answer in ("first", "second"):
            work.desk.keep_evidence(Evidence(id="x", ours='{"a": 1}', theirs=answer))
        assert work.desk.evidence("x") == Evidence(id="x", ours='{"a": 1}', theirs="second")


@pytest.mark.parametrize("name", ["", "system", "record", "cause", "owner", "cluster"])
def test_a_list_of_one_filter_walks_an_index_in_its_order(database_url: str, name: str) -> None:
    """So the first hundred of a million open entries cost no more than those of a thousand: nothing is sorted."""
    query = open_entries(**({name: "x"} if name else {})).limit(100)
    engine = create_engine(database_url)
    sql = str(query.compile(engine, compile_kwargs={"literal_binds": True}))
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SET enable_seqscan = off"))
            plan = " ".join(connection.execute(text(f"EXPLAIN {sql}")).scalars())
        else:
            plan = " ".join(row[3] for row in connection.execute(text(f"EXPLAIN QUERY PLAN {sql}")))
    engine.dispose()
    assert f"ix_desk_state_{name}{'_' if name else ''}rank_id" in plan
    assert "TEMP B-TREE" not in plan
    assert "Sort" not in plan
