"""What a system that is away, or behind, does to the records of others: nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from connectors.wire import Wire
from core.errors import Misconfigured, OutcomeUnknown, TieoutError
from core.ports import Change, World, until
from core.sync import CommandState, InboxEvent, InboxState
from flows.context import Hub
from flows.deliver import Delivery, deliver_system
from flows.intake import apply_inbox, book_settlements
from tests.flows.hubs import START, ManualTime, account, hub_with, intent
from tests.flows.test_deliver import NoSettings
from tests.flows.vendor import Vendor


class Source(Vendor):
    """A vendor whose records cannot be read, and whose list of settlements is given."""

    error: TieoutError = Misconfigured("the key is not accepted")
    settlements: tuple[dict[str, Any], ...] = ()

    def get(self, resource: str, vendor_id: str) -> Any:
        raise self.error

    def changes(self, resource: str, since: str | None) -> Iterator[Change]:
        for number, payload in enumerate(self.settlements):
            yield Change(payload["id"], START + timedelta(seconds=number), payload)


@pytest.fixture
def hub(database_url: str, tmp_path: Path) -> Iterator[Hub]:
    time = ManualTime()
    systems = ("salesforce", "stripe", "netsuite")
    made = hub_with(database_url, tmp_path, dict.fromkeys(systems, NoSettings()), World(time.clock, sleep=time.sleep))
    made._connectors.update({name: Source(name) for name in systems})
    yield made
    made.close()


def test_events_of_a_system_whose_credentials_are_broken_wait_and_ask_for_one_person(hub: Hub) -> None:
    """No event is refused for what is wrong with its system: the system stands on the desk, once."""
    with hub.database.work() as work:
        for number in range(3):
            work.inbox.store(
                InboxEvent(
                    system="salesforce",
                    event_id=f"event-{number}",
                    resource="order",
                    vendor_id=f"order-{number}",
                    kind="Opportunity",
                    occurred_at=START,
                    received_at=START,
                ),
                b"",
            )
    apply_inbox(hub)
    with hub.database.reading() as work:
        assert work.inbox.counts() == {InboxState.RECEIVED: 3}
        assert [entry.id for entry in work.desk.open()] == ["system:salesforce"]


def test_a_settlement_before_its_payment_waits_and_holds_the_cursor(hub: Hub) -> None:
    """What it settles is not known yet: it stands on the desk, and the next reading begins no later than it."""
    balance = {"fee": 30, "net": 970, "amount": 1000, "currency": "usd", "available_on": 1793664000, "type": "charge"}
    source = {"id": "ch_1", "object": "charge", "metadata": {"tieout_id": "PAY-INV-1"}}
    hub._connectors["stripe"].settlements = tuple(  # type: ignore[attr-defined]
        {"id": f"txn_{number}", "created": 1793523600, "source": source, **balance} for number in range(2)
    )
    report = book_settlements(hub)
    assert [entry.id for entry in report.failures] == ["record:settlement:txn_0", "record:settlement:txn_1"]
    with hub.database.reading() as work:
        assert work.outbox.watermark("stripe", "settlement") == START.isoformat()


def test_a_later_version_that_is_the_first_to_be_sent_is_looked_up_too(hub: Hub) -> None:
    """The one before it was superseded unsent, so a lost reply of this one may have left the first object."""
    vendor = hub._connectors["stripe"]
    assert isinstance(vendor, Source)
    for name in ("first", "second"):
        with hub.database.work() as work:
            work.outbox.enqueue([intent("stripe", account(0, name=name))])
    vendor.after["A-0000"] = [OutcomeUnknown("no answer")]
    deliver_system(hub, "stripe")
    assert vendor.keys() == ["A-0000"]
    with hub.database.reading() as work:
        assert work.outbox.counts() == {CommandState.CANCELLED: 1, CommandState.DONE: 1}


def test_a_later_version_is_sent_again_where_an_earlier_one_may_have_been(hub: Hub) -> None:
    """What is found may be the earlier version."""
    vendor = hub._connectors["stripe"]
    assert isinstance(vendor, Source)
    vendor.blind = False
    with hub.database.work() as work:
        work.outbox.enqueue([intent("stripe", account(0, name="first"))])
    deliver_system(hub, "stripe")
    with hub.database.work() as work:
        work.outbox.enqueue([intent("stripe", account(0, name="second"))])
        work.outbox.claim("stripe", 10, hub.now(), timedelta(0))
    hub.world.sleep(1)
    Delivery(hub, "stripe").run()
    assert vendor.objects[0]["name"] == "second"


def test_no_call_is_sent_when_the_lease_of_what_it_writes_is_over() -> None:
    """A worker that slept through its lease may have been replaced; its key at the vendor may have been forgotten."""
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, json={})

    time = ManualTime()
    wire = Wire("vendor", "https://vendor.example", World(clock=time.clock, transport=httpx.MockTransport(answer)))
    with until(START):
        wire.write("POST", "/payments")
        time.pass_by(timedelta(seconds=1))
        with pytest.raises(OutcomeUnknown):
            wire.write("POST", "/payments")
    assert len(sent) == 1
