"""A command is leased to one worker, settled once, and never lost."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from core.errors import TieBroken
from core.store import Database
from core.sync import COMMAND_TRANSITIONS, CommandState, Lane, OutboxCommand, Watermark
from tests.core.store.border import LEASE, START, after, command, proof_of, states
from tests.core.store.nouns import TAX


def _claim(database: Database, at=START, limit: int = 100) -> list[OutboxCommand]:
    with database.work() as work:
        return work.outbox.claim("erp", limit, at, LEASE)


def _enqueue(database: Database, *commands: OutboxCommand) -> list[OutboxCommand]:
    with database.work() as work:
        return work.outbox.enqueue(commands)


def test_a_command_comes_back_whole(database: Database) -> None:
    (stored,) = _enqueue(database, command())
    with database.reading() as work:
        assert work.outbox.get(stored.key) == stored


def test_the_same_intent_is_stored_once(database: Database) -> None:
    assert len(_enqueue(database, command(), command())) == 1
    assert _enqueue(database, command()) == []


def test_a_version_that_comes_back_is_a_new_intent(database: Database) -> None:
    """Provisioned, paid, provisioned again: the third equals the first in content, and must still be sent."""
    keys = [_enqueue(database, command(status=status))[0].key for status in ("a", "b", "a")]
    assert len(set(keys)) == 3


def test_the_intent_of_a_cancelled_command_may_be_stored_again(database: Database) -> None:
    (first,) = _enqueue(database, command())
    with database.work() as work:
        assert work.outbox.cancel(first.key)
    (second,) = _enqueue(database, command())
    assert (second.sequence, second.version) == (2, first.version)


@pytest.mark.parametrize("state", [CommandState.PENDING, CommandState.PARKED, CommandState.REJECTED])
def test_a_newer_version_cancels_an_older_one_that_nobody_has_under_way(
    database: Database, state: CommandState
) -> None:
    (old,) = _enqueue(database, command(status="old"))
    if state is not CommandState.PENDING:
        _claim(database)
        with database.work() as work:
            work.outbox.settle(old.model_copy(update={"fence": 1}), state, waits_for="crm:order:O-1")
    (new,) = _enqueue(database, command(status="new"))
    with database.reading() as work:
        assert states(work) == {old.key: CommandState.CANCELLED, new.key: CommandState.PENDING}


def test_a_newer_version_waits_while_the_older_one_is_under_way(database: Database) -> None:
    """Whoever sends last wins at the vendor, so two versions of a record are never under way together."""
    _enqueue(database, command(status="old"))
    (old,) = _claim(database)
    (new,) = _enqueue(database, command(status="new"))
    assert _claim(database) == []
    with database.work() as work:
        assert work.outbox.settle(old, CommandState.UNKNOWN, due_at=after(seconds=30))
    assert _claim(database) == []
    (unknown,) = _claim(database, after(seconds=30))
    assert (unknown.key, unknown.probe) == (old.key, True)
    with database.work() as work:
        assert work.outbox.prove(unknown, proof_of(unknown))
    assert [one.key for one in _claim(database, after(seconds=30))] == [new.key]


@pytest.mark.parametrize("state", [CommandState.PENDING, CommandState.PARKED, CommandState.REJECTED])
def test_an_older_version_that_comes_back_unsent_is_cancelled(database: Database, state: CommandState) -> None:
    _enqueue(database, command(status="old"))
    (old,) = _claim(database)
    (new,) = _enqueue(database, command(status="new"))
    with database.work() as work:
        assert work.outbox.settle(old, state)
        assert not work.outbox.retry(old.key, START)
    with database.reading() as work:
        assert states(work) == {old.key: CommandState.CANCELLED, new.key: CommandState.PENDING}


def test_workers_side_by_side_never_lease_the_same_command(database: Database) -> None:
    _enqueue(database, *(command(f"O-{number}") for number in range(120)))

    def work_off(_worker: int) -> list[str]:
        mine: list[str] = []
        while claimed := _claim(database, limit=7):
            mine += [one.key for one in claimed]
        return mine

    with ThreadPoolExecutor(4) as pool:
        leased = Counter(key for keys in pool.map(work_off, range(4)) for key in keys)
    assert len(leased) == 120
    assert set(leased.values()) == {1}


def test_two_workers_with_the_same_intent_store_it_once(database: Database) -> None:
    """The second finds the row of the first, also when both looked before either had stored."""
    with ThreadPoolExecutor(4) as pool:
        stored = list(pool.map(lambda n: _enqueue(database, command(f"O-{n % 10}")), range(80)))
    assert sum(map(len, stored)) == 10


def test_a_command_whose_lease_ran_out_must_be_looked_up_first(database: Database) -> None:
    _enqueue(database, command())
    (first,) = _claim(database)
    assert (first.probe, first.fence, first.attempts) == (False, 1, 1)
    assert _claim(database, START + LEASE) == []
    (second,) = _claim(database, after(minutes=5, seconds=1))
    assert (second.probe, second.fence, second.attempts) == (True, 2, 2)


def test_a_worker_that_outlived_its_lease_is_refused(database: Database) -> None:
    _enqueue(database, command())
    (zombie,) = _claim(database)
    (holder,) = _claim(database, after(minutes=6))
    with database.work() as work:
        assert not work.outbox.prove(zombie, proof_of(zombie))
        assert not work.outbox.settle(zombie, CommandState.REJECTED)
        assert work.outbox.renew([zombie], after(hours=1)) == []
        assert work.outbox.proof("erp", "order_progress", "O-1") is None
        assert work.outbox.prove(holder, proof_of(holder))
    with database.work() as work:
        assert not work.outbox.settle(holder, CommandState.UNKNOWN)
        assert states(work) == {holder.key: CommandState.DONE}


def test_a_renewed_lease_holds_as_long_as_it_was_renewed_for(database: Database) -> None:
    _enqueue(database, command("O-1"), command("O-2"))
    held = _claim(database)
    with database.work() as work:
        assert work.outbox.renew(held[:1], after(hours=1)) == held[:1]
    assert [one.key for one in _claim(database, after(minutes=59))] == [held[1].key]
    assert [one.key for one in _claim(database, after(minutes=61))] == [held[0].key]


def test_what_may_have_been_sent_is_looked_up_until_it_is_proved(database: Database) -> None:
    """A look-up that is itself told to wait must not lead to a blind resend."""
    _enqueue(database, command())
    (sent,) = _claim(database)
    with database.work() as work:
        work.outbox.settle(sent, CommandState.UNKNOWN, due_at=START)
    (probed,) = _claim(database)
    with database.work() as work:
        work.outbox.settle(probed, CommandState.PENDING, due_at=START)
    (again,) = _claim(database)
    assert again.probe


@pytest.mark.parametrize("state", sorted(set(CommandState) - COMMAND_TRANSITIONS[CommandState.SENDING]))
def test_a_lease_never_ends_in_a_state_that_does_not_follow(database: Database, state: CommandState) -> None:
    _enqueue(database, command())
    (held,) = _claim(database)
    with pytest.raises(TieBroken, match="follows its graph"), database.work() as work:
        work.outbox.settle(held, state)


def test_the_most_urgent_lane_goes_first_and_within_it_the_oldest(database: Database) -> None:
    _enqueue(
        database,
        command("bulk", lane=Lane.BULK, created_at=after(hours=-9)),
        command("young", created_at=after(hours=-1)),
        command("old", created_at=after(hours=-2)),
        command("close", lane=Lane.CLOSE),
    )
    assert [one.record_id for one in _claim(database, limit=2)] == ["close", "old"]
    assert [one.record_id for one in _claim(database)] == ["young", "bulk"]


def test_a_command_waits_for_its_time_and_its_system(database: Database) -> None:
    _enqueue(database, command("later", due_at=after(minutes=1)), command("elsewhere", system="tax"))
    assert _claim(database) == []
    assert [one.record_id for one in _claim(database, after(minutes=1))] == ["later"]


def test_a_parked_command_wakes_when_exactly_its_dependency_is_proved(database: Database) -> None:
    _enqueue(database, command("O-1"), command("waits"), command("waits for another"))
    customer, waits, other = sorted(_claim(database), key=lambda one: one.record_id)
    with database.work() as work:
        work.outbox.settle(waits, CommandState.PARKED, waits_for="erp:order_progress:O-1")
        work.outbox.settle(other, CommandState.PARKED, waits_for="erp:order_progress:O-11")
    assert _claim(database) == []
    with database.work() as work:
        work.outbox.prove(customer, proof_of(customer))
    (woken,) = _claim(database)
    assert (woken.key, woken.waits_for) == (waits.key, None)


def test_a_command_that_parks_just_after_its_dependency_was_proved_still_wakes(database: Database) -> None:
    _enqueue(database, command("O:1"), command("waits"))
    customer, waits = _claim(database)
    with database.work() as work:
        work.outbox.prove(customer, proof_of(customer))
    with database.work() as work:
        work.outbox.settle(waits, CommandState.PARKED, waits_for="erp:order_progress:O:1")
    assert [one.key for one in _claim(database)] == [waits.key]


def test_what_waits_for_a_newer_version_is_not_woken_by_the_proof_of_the_older(database: Database) -> None:
    """It would park again at once, and so on without end."""
    _enqueue(database, command("O-1"))
    (first,) = _claim(database)
    with database.work() as work:
        work.outbox.prove(first, proof_of(first))
    _enqueue(database, command("O-1", "invoiced"), command("waits"))
    second, waits = sorted(_claim(database), key=lambda one: one.record_id)
    with database.work() as work:
        work.outbox.settle(second, CommandState.UNKNOWN, due_at=after(hours=1))
        work.outbox.settle(waits, CommandState.PARKED, waits_for="erp:order_progress:O-1")
    assert _claim(database) == []
    (again,) = _claim(database, after(hours=2))
    assert again.key == second.key
    with database.work() as work:
        work.outbox.prove(again, proof_of(again))
    assert [one.key for one in _claim(database, after(hours=2))] == [waits.key]


def test_what_waits_for_an_intent_that_is_given_up_goes_on(database: Database) -> None:
    _enqueue(database, command("O-1"), command("waits"))
    given_up, waits = sorted(_claim(database), key=lambda one: one.record_id)
    with database.work() as work:
        work.outbox.settle(given_up, CommandState.REJECTED)
        work.outbox.settle(waits, CommandState.PARKED, waits_for="erp:order_progress:O-1")
    assert _claim(database) == []
    with database.work() as work:
        assert work.outbox.cancel(given_up.key)
    assert [one.key for one in _claim(database)] == [waits.key]


def test_a_rejected_command_is_sent_again_only_when_a_person_asks(database: Database) -> None:
    _enqueue(database, command())
    (held,) = _claim(database)
    with database.work() as work:
        work.outbox.settle(held, CommandState.REJECTED)
    assert _claim(database, after(days=9)) == []
    with database.work() as work:
        assert work.outbox.retry(held.key, after(days=9))
        assert not work.outbox.retry(held.key, after(days=9))
    assert len(_claim(database, after(days=9))) == 1


def test_a_command_under_way_cannot_be_cancelled(database: Database) -> None:
    _enqueue(database, command())
    (held,) = _claim(database)
    with database.work() as work:
        assert not work.outbox.cancel(held.key)


def test_a_proof_is_kept_whole_and_the_next_one_takes_its_place(database: Database) -> None:
    _enqueue(database, command(status="a"))
    (first,) = _claim(database)
    with database.work() as work:
        work.outbox.prove(first, proof_of(first))
        assert work.outbox.proof("erp", "order_progress", "O-1") == proof_of(first)
    _enqueue(database, command(status="b"))
    (second,) = _claim(database)
    newer = proof_of(second, created=False)
    with database.work() as work:
        work.outbox.prove(second, newer)
        assert work.outbox.proofs_of(["O-1"]) == [newer]
        assert work.outbox.counts("erp") == {"done": 2}


def test_an_answer_of_a_tax_engine_is_told_until_its_document_is_kept(database: Database) -> None:
    _enqueue(database, command())
    (asked,) = _claim(database)
    proof = proof_of(asked, vendor_id=TAX.vendor_id)
    with database.work() as work:
        work.outbox.prove(asked, proof)
        assert work.outbox.answers_not_kept("erp", "order_progress") == [proof]
        assert work.outbox.answers_not_kept("erp", "tax_credit") == []
        work.add([TAX])
        assert work.outbox.answers_not_kept("erp", "order_progress") == []


def test_a_watermark_never_moves_back(database: Database) -> None:
    def mark(position: str) -> Watermark:
        return Watermark(system="crm", resource="order", position=position, moved_at=START)

    with database.work() as work:
        work.outbox.move_watermark(mark("2026-10-02"))
        work.outbox.move_watermark(mark("2026-10-02"))
        work.outbox.move_watermark(mark("2026-10-03"))
    with pytest.raises(TieBroken, match="never moves back"), database.work() as work:
        work.outbox.move_watermark(mark("2026-10-02"))
    with database.reading() as work:
        assert work.outbox.watermark("crm", "order") == "2026-10-03"
        assert work.outbox.watermark("crm", "account") is None
