"""What delivery makes of each answer, and that a record is written once whatever happens between."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from pydantic import BaseModel

from core.accounts import Account
from core.errors import Misconfigured, OutcomeUnknown, RateLimited, Rejected, TieoutError, Unavailable
from core.money import Money
from core.ports import World
from core.sync import CommandState, OutboxCommand
from flows.context import Hub
from flows.deliver import LEASE, PATIENCE, Delivery, deliver_all, deliver_system
from sandbox import server
from tests.connectors import contract_stripe_gateway
from tests.flows.hubs import ManualTime, account, hub_with, intent
from tests.flows.vendor import Vendor

KEYS = [f"A-{number:04d}" for number in range(5)]


class Crash(BaseException):
    """The process ends here."""


class NoSettings(BaseModel):
    """Settings of a vendor in memory."""


class Stage:
    """A hub with one or more vendors in memory, and time that the test owns."""

    def __init__(self, database_url: str, folder: Path) -> None:
        self.time = ManualTime()
        self.crash_at = ""
        self.vendors = {name: Vendor(name) for name in ("stripe", "netsuite")}
        world = World(clock=self.time.clock, sleep=self.time.sleep, faults=self._fault)
        self.hub: Hub = hub_with(database_url, folder, dict.fromkeys(self.vendors, NoSettings()), world)
        self.hub._connectors.update(self.vendors)
        self.stripe = self.vendors["stripe"]

    def _fault(self, point: str, /) -> None:
        if point == self.crash_at:
            self.crash_at = ""
            raise Crash(point)

    def intend(self, *accounts: Account, system: str = "stripe", money: Money | None = None) -> None:
        with self.hub.database.work() as work:
            for one in accounts:
                command = intent(system, one, self.time.now).model_copy(update={"money": money})
                assert work.outbox.enqueue([command])

    def states(self) -> dict[str, int]:
        with self.hub.database.reading() as work:
            return work.outbox.counts()

    def desk(self) -> list[tuple[str, str]]:
        with self.hub.database.reading() as work:
            return [(entry.id, entry.cause) for entry in work.desk.open()]

    def commands(self) -> list[OutboxCommand]:
        with self.hub.database.reading() as work:
            return work.outbox.in_state(*CommandState)


@pytest.fixture
def stage(database_url: str, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(database_url, tmp_path)
    yield stage
    stage.hub.close()


def accounts(number: int) -> list[Account]:
    return [account(n) for n in range(number)]


def test_every_command_ends_with_its_proof(stage: Stage) -> None:
    stage.intend(*accounts(3), money=Money.of("12.34", "USD"))
    report = deliver_system(stage.hub, "stripe")
    assert (report.counts["created"], report.counts["failed"], list(map(str, report.money))) == (
        3,
        0,
        [str(Money.of("37.02", "USD"))],
    )
    assert stage.stripe.keys() == KEYS[:3]
    with stage.hub.database.reading() as work:
        proofs = work.outbox.proofs("stripe", "account")
        assert [work.outbox.get(proof.command_key).state for proof in proofs] == ["done"] * 3  # type: ignore[union-attr]
    assert [proof.vendor_id for proof in proofs] == ["V-0", "V-1", "V-2"]
    assert proofs[0].answer == {"id": "V-0", "name": "Customer 0"}


@pytest.mark.parametrize("reached", ["before", "after"])
def test_a_lost_reply_leads_to_one_object_whether_or_not_the_vendor_had_the_record(stage: Stage, reached: str) -> None:
    stage.intend(*accounts(3))
    getattr(stage.stripe, reached)["A-0001"] = [OutcomeUnknown("no answer")]
    deliver_system(stage.hub, "stripe")
    assert stage.stripe.keys() == KEYS[:3]
    assert stage.states() == {"done": 3}


@pytest.mark.parametrize("point", ["outbox.claimed", "outbox.before_send", "outbox.sent", "outbox.before_commit"])
def test_a_crash_leads_to_one_object_at_a_vendor_without_any_guard(stage: Stage, point: str) -> None:
    stage.intend(*accounts(3))
    stage.crash_at = point
    with pytest.raises(Crash):
        deliver_system(stage.hub, "stripe")
    stage.time.pass_by(LEASE + timedelta(seconds=1))
    deliver_system(stage.hub, "stripe")
    assert stage.stripe.keys() == KEYS[:3]
    assert stage.states() == {"done": 3}


def test_a_look_up_that_fails_is_repeated_before_anything_is_sent(stage: Stage) -> None:
    stage.intend(account(0))
    stage.stripe.after["A-0000"] = [OutcomeUnknown("no answer")]
    stage.stripe.lookup = [RateLimited("slow down", wait_seconds=90)]
    deliver_system(stage.hub, "stripe")
    assert stage.states() == {"unknown": 1}
    stage.time.pass_by(timedelta(seconds=90))
    deliver_system(stage.hub, "stripe")
    assert (stage.stripe.keys(), stage.states()) == (KEYS[:1], {"done": 1})


def test_a_later_version_is_not_proved_by_the_object_that_an_earlier_one_made(stage: Stage) -> None:
    """The reply to an update is lost before the vendor applied it: what is found there is still the old version."""
    stage.stripe.blind = False
    stage.intend(account(0, name="Old name"))
    deliver_system(stage.hub, "stripe")
    stage.intend(account(0, name="New name"))
    stage.stripe.before["A-0000"] = [OutcomeUnknown("no answer")]
    deliver_system(stage.hub, "stripe")
    assert [one["name"] for one in stage.stripe.objects] == ["New name"]
    assert stage.states() == {"done": 2}


def test_a_rejected_record_stands_on_the_desk_and_stops_no_other(stage: Stage) -> None:
    stage.intend(*accounts(4), money=Money.of("5", "USD"))
    stage.stripe.before["A-0001"] = [Rejected("email is not valid", field="email", value="x", code="bad_email")]
    report = deliver_system(stage.hub, "stripe")
    assert stage.states() == {"done": 3, "rejected": 1}
    (failure,) = report.failures
    assert (failure.id, failure.field, failure.code, failure.money) == (
        "outbox:stripe/account/A-0001",
        "email",
        "bad_email",
        Money.of("5", "USD"),
    )
    stage.intend(account(1, name="Corrected"))
    deliver_system(stage.hub, "stripe")
    assert stage.desk() == []
    assert stage.states() == {"done": 4, "cancelled": 1}


def test_one_bad_item_of_a_bulk_call_fails_alone(stage: Stage) -> None:
    stage.stripe.batch = 10
    stage.intend(*accounts(5))
    stage.stripe.before["A-0003"] = [Rejected("no")]
    deliver_system(stage.hub, "stripe")
    assert (stage.stripe.calls, stage.states()) == (1, {"done": 4, "rejected": 1})


def test_an_intent_that_this_version_cannot_read_stops_no_other(stage: Stage) -> None:
    with stage.hub.database.work() as work:
        work.outbox.enqueue([intent("stripe", account(9)).model_copy(update={"body": '{"was": "another shape"}'})])
    stage.intend(account(0))
    deliver_system(stage.hub, "stripe")
    assert stage.states() == {"done": 1, "rejected": 1}


def test_a_rate_limit_leaves_the_system_alone_for_as_long_as_it_asks(stage: Stage) -> None:
    stage.intend(*accounts(5))
    stage.stripe.before["A-0001"] = [RateLimited("slow down", wait_seconds=600)]
    report = deliver_system(stage.hub, "stripe")
    assert (stage.states(), stage.stripe.calls) == ({"done": 1, "pending": 4}, 2)
    assert (report.counts["postponed"], report.failures) == (4, [])
    deliver_system(stage.hub, "stripe")
    assert stage.states() == {"done": 4, "pending": 1}
    stage.time.pass_by(timedelta(seconds=600))
    deliver_system(stage.hub, "stripe")
    assert (stage.stripe.keys(), stage.states()) == (KEYS, {"done": 5})


def test_a_system_that_is_away_is_asked_once_a_run_and_stands_on_the_desk_when_it_stays_away(stage: Stage) -> None:
    stage.intend(*accounts(5))
    for run in range(1, PATIENCE + 1):
        stage.stripe.whole_call = [Unavailable("connection refused")]
        failures = deliver_system(stage.hub, "stripe").failures
        assert [entry.id for entry in failures] == (["system:stripe"] if run >= PATIENCE else [])
        assert stage.stripe.calls == run
        stage.time.pass_by(timedelta(hours=1))
    deliver_system(stage.hub, "stripe")
    assert (stage.stripe.keys(), stage.states(), stage.desk()) == (KEYS, {"done": 5}, [])


def test_a_misconfigured_system_stands_on_the_desk_once_and_rejects_no_record(stage: Stage) -> None:
    stage.intend(*accounts(5))
    stage.stripe.whole_call = [Misconfigured("credentials are not accepted", system="stripe")]
    report = deliver_system(stage.hub, "stripe")
    assert [entry.cause for entry in report.failures] == ["Misconfigured"]
    assert (stage.desk(), stage.states()) == ([("system:stripe", "Misconfigured")], {"pending": 5})
    stage.time.pass_by(timedelta(hours=1))
    deliver_system(stage.hub, "stripe")
    assert (stage.stripe.keys(), stage.desk()) == (KEYS, [])


def test_a_system_that_refuses_a_record_works_again(stage: Stage) -> None:
    """A no is an answer: the system leaves the desk, and the record takes its place there."""
    stage.intend(account(0))
    stage.stripe.whole_call = [Misconfigured("credentials are not accepted", system="stripe")]
    deliver_system(stage.hub, "stripe")
    stage.time.pass_by(timedelta(hours=1))
    stage.stripe.before["A-0000"] = [Rejected("the card is declined")]
    deliver_system(stage.hub, "stripe")
    assert stage.desk() == [("outbox:stripe/account/A-0000", "Rejected")]


def test_a_system_leaves_the_desk_when_a_run_that_was_answered_before_is_answered_again(stage: Stage) -> None:
    """Another worker put it there meanwhile; the answer of any run tells that it works."""
    stage.intend(account(0))
    delivery = Delivery(stage.hub, "stripe")
    delivery.run()
    stage.intend(account(1))
    stage.stripe.whole_call = [Misconfigured("credentials are not accepted", system="stripe")]
    deliver_system(stage.hub, "stripe")
    assert stage.desk() == [("system:stripe", "Misconfigured")]
    stage.time.pass_by(timedelta(hours=1))
    delivery.run()
    assert (stage.desk(), stage.states()) == ([], {"done": 2})


def test_a_system_whose_connector_cannot_be_made_stops_no_other(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.intend(account(0))
    stage.intend(account(0), system="netsuite")
    connector = stage.hub.connector

    def refuse(system: str) -> object:
        if system == "stripe":
            raise Misconfigured("the secret key is not one", system=system)
        return connector(system)

    monkeypatch.setattr(stage.hub, "connector", refuse)
    report = deliver_all(stage.hub)
    assert [entry.id for entry in report.failures][:1] == ["system:stripe"]
    assert stage.vendors["netsuite"].keys() == KEYS[:1]


def test_an_outcome_that_stays_unknown_comes_to_the_desk_and_is_still_tried(stage: Stage) -> None:
    stage.intend(account(0))
    stage.stripe.before["A-0000"] = [OutcomeUnknown("no answer")] * PATIENCE
    for _ in range(PATIENCE - 1):  # the first run tries twice: an unknown outcome is looked up at once
        deliver_system(stage.hub, "stripe")
        stage.time.pass_by(timedelta(hours=1))
    assert stage.desk() == [("outbox:stripe/account/A-0000", "OutcomeUnknown")]
    deliver_system(stage.hub, "stripe")
    assert (stage.stripe.keys(), stage.states(), stage.desk()) == (KEYS[:1], {"done": 1}, [])


def test_a_record_parks_until_what_it_refers_to_is_there(stage: Stage) -> None:
    """A site's account names the account above it, which was intended later."""
    stage.intend(account(1, parent_id="A-0000"), account(0), system="netsuite")
    report = deliver_all(stage.hub)
    assert report.failures == []
    assert stage.states() == {"done": 2}
    assert [one["key"] for one in stage.vendors["netsuite"].objects] == ["A-0000", "A-0001"]


def test_a_parked_record_waits_without_failing(stage: Stage) -> None:
    stage.intend(account(1, parent_id="A-0000"), system="netsuite")
    report = deliver_all(stage.hub)
    (parked,) = stage.commands()
    assert (parked.state, parked.waits_for) == (CommandState.PARKED, "netsuite:account:A-0000")
    assert (report.failures, report.counts["waiting"]) == ([], 1)


def test_a_worker_that_lost_its_lease_while_it_was_sending_proves_nothing(stage: Stage) -> None:
    stage.stripe.blind = False
    stage.intend(account(0))
    rival = Delivery(stage.hub, "stripe")

    def take_over() -> None:
        stage.stripe.on_write = lambda: None
        stage.time.pass_by(LEASE + timedelta(seconds=1))
        rival.run()

    stage.stripe.on_write = take_over
    zombie = Delivery(stage.hub, "stripe")
    zombie.run()
    assert (len(zombie.done), len(rival.done), zombie.failures) == (0, 1, [])
    assert (stage.stripe.keys(), stage.states()) == (KEYS[:1], {"done": 1})


def test_a_slow_worker_does_not_send_what_another_took_over_in_the_meantime(stage: Stage) -> None:
    """Each call takes a minute and a half, so the end of the batch outlives its leases and goes to another worker."""
    stage.intend(*accounts(5))
    rivals: list[Delivery] = []

    def slowly() -> None:
        stage.time.pass_by(timedelta(seconds=90))
        if len(rivals) < 3:
            rivals.append(Delivery(stage.hub, "stripe"))
            rivals[-1].run()

    stage.stripe.on_write = slowly
    deliver_system(stage.hub, "stripe")
    assert stage.stripe.keys() == KEYS
    assert stage.states() == {"done": 5}
    assert sum(len(rival.done) for rival in rivals) > 0


def test_delivering_again_writes_nothing(stage: Stage) -> None:
    stage.intend(*accounts(3))
    deliver_all(stage.hub)
    before = stage.stripe.calls
    report = deliver_all(stage.hub)
    assert (stage.stripe.calls, report.counts["created"], report.counts["updated"]) == (before, 0, 0)


@pytest.mark.parametrize(
    ("error", "state"),
    [(Rejected("no"), "rejected"), (OutcomeUnknown("no answer"), "unknown"), (Unavailable("away"), "pending")],
)
def test_a_fault_of_a_whole_bulk_call_is_settled_per_record(stage: Stage, error: TieoutError, state: str) -> None:
    stage.stripe.batch = 10
    stage.intend(*accounts(3))
    stage.stripe.whole_call = [error]
    delivery = Delivery(stage.hub, "stripe")
    delivery.connector = stage.stripe
    delivery.batch()
    assert stage.states() == {state: 3}


@pytest.mark.server
@pytest.mark.parametrize(
    ("fault", "slept"),
    [
        ({"kind": "lose_reply", "match": "^POST /v1/customers"}, False),
        ({"kind": "error_after", "match": "^POST /v1/customers", "status": 500}, False),
        ({"kind": "garbage", "match": "^POST /v1/customers"}, False),
        ({"kind": "rate_limit", "match": "^POST /v1/customers", "seconds": 2, "times": 2}, True),
        ({"kind": "reset", "match": "^POST /v1/customers"}, False),
    ],
    ids=lambda fault: fault["kind"] if isinstance(fault, dict) else "",
)
def test_a_real_wire_that_fails_midway_leaves_one_object_per_record(
    fault: dict[str, object], slept: bool, tmp_path: Path
) -> None:
    with server.start(["stripe"]) as running:
        url, time = running.urls["stripe"], ManualTime()
        httpx.post(f"{url}/_sandbox/faults", json={**fault, "skip": 1})
        world = World(clock=time.clock, sleep=time.sleep)
        systems = {"stripe": contract_stripe_gateway.settings(url)}
        hub = hub_with(f"sqlite:///{tmp_path / 'tieout.db'}", tmp_path, systems, world)
        with hub.database.work() as work:
            work.outbox.enqueue(intent("stripe", one) for one in accounts(4))
        report = deliver_all(hub)
        assert report.failures == []
        with hub.database.reading() as work:
            assert work.outbox.counts() == {"done": 4}
        assert httpx.get(f"{url}/_sandbox/objects").json()["customer"] == 4
        assert (2.0 in time.slept) is slept
        hub.close()
