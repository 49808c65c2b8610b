"""What polling makes of the changes that a system tells: news, our own write coming back, deletions, cursors."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from core.errors import Rejected
from core.ports import Change, Changes, Payload, Reading
from core.sync import CommandState, InboxEvent, InboxState
from flows.context import Hub
from flows.deliver import deliver_system
from flows.intake import take_in
from tests.flows.hubs import START, hub_with
from tests.flows.test_deliver import NoSettings
from tests.flows.test_same_second import SECOND, Crm, Quiet

LINK = "/api/data/v9.2/salesorders?$deltatoken=919042%2108%2f22%2f2017"


@dataclass
class Telling(Crm):
    """Tells the changes it is given, and remembers from where it was asked."""

    told: list[Change] = field(default_factory=list)
    cursor: str | None = None
    asked: list[str | None] = field(default_factory=list)
    gone: bool = False

    def changes(self, resource: str, since: str | None) -> Iterator[Change]:
        self.asked.append(since)
        return Reading(self._told())

    def _told(self) -> Changes:
        yield from self.told
        return self.cursor

    def get(self, resource: str, vendor_id: str) -> Payload:
        if self.gone:
            raise Rejected(f"salesforce has no order {vendor_id}", system="salesforce", code="NOT_FOUND")
        return super().get(resource, vendor_id)

    @property
    def ident(self) -> str:
        return str(self.order["Opportunity"]["Id"])

    def tell(self, seconds: int, cursor: str | None = None) -> None:
        """The order changed so many seconds later, and says so in itself."""
        at = SECOND + timedelta(seconds=seconds)
        self.order["Opportunity"]["SystemModstamp"] = f"{at:%FT%T}.000+0000"
        self.told, self.cursor = [Change(self.ident, at, deepcopy(self.order))], cursor


@pytest.fixture
def crm() -> Telling:
    return Telling("salesforce")


@pytest.fixture
def hub(database_url: str, tmp_path: Path, crm: Telling) -> Iterator[Hub]:
    """The order was won, taken in, and told back to the CRM as provisioned."""
    made = hub_with(database_url, tmp_path, dict.fromkeys(("salesforce", "stripe", "netsuite"), NoSettings()))
    made._connectors.update({"salesforce": crm, "stripe": Quiet("stripe"), "netsuite": Quiet("netsuite")})
    crm.order = deepcopy(made.mappings.find("salesforce", "order", "in", "order").examples[0].given)
    line = crm.order["LineItems"][1]
    line.update(Product2={"Name": "Livestream", "ProductCode": "VC-LIVE"}, Quantity=1, UnitPrice=750, TotalPrice=750)
    crm.order["LineItems"] = [line]
    crm.order["Opportunity"]["Amount"] = 750
    crm.tell(0)
    take_in(made)
    deliver_system(made, "salesforce")
    yield made
    made.close()


def echoes(hub: Hub) -> int:
    with hub.database.reading() as work:
        return sum('"echo"' in row.detail for row in work.audit.rows(limit=1000))


def intents(hub: Hub) -> int:
    with hub.database.reading() as work:
        return len(work.outbox.in_state(*CommandState))


def desk(hub: Hub) -> list[tuple[str, str]]:
    with hub.database.reading() as work:
        return [(entry.id, entry.message) for entry in work.desk.open()]


def test_our_own_write_that_a_poll_finds_is_recognised_and_brings_nothing(hub: Hub, crm: Telling) -> None:
    before = intents(hub)
    crm.order["Opportunity"]["Tieout_Status__c"] = "provisioned"
    crm.tell(20)
    report = take_in(hub)
    assert (report.counts["applied"], report.counts["unchanged"], echoes(hub)) == (0, 1, 1)
    assert intents(hub) == before


def test_our_own_write_that_a_webhook_tells_is_recognised_and_brings_nothing(hub: Hub, crm: Telling) -> None:
    at = SECOND + timedelta(seconds=20)
    event = InboxEvent(
        system="salesforce",
        event_id="04l1",
        resource="order",
        vendor_id=crm.ident,
        kind="Opportunity",
        occurred_at=at,
        received_at=at,
    )
    with hub.database.work() as work:
        work.inbox.store(event, b"")
    before = intents(hub)
    take_in(hub)
    assert (echoes(hub), intents(hub)) == (1, before)


def test_news_that_comes_with_our_own_write_is_news(hub: Hub, crm: Telling) -> None:
    crm.order["Account"]["Name"] = "Acme Rooms Inc."
    crm.tell(20)
    take_in(hub)
    assert echoes(hub) == 0
    with hub.database.reading() as work:
        names = [command.body for command in work.outbox.in_state(CommandState.PENDING, system="netsuite")]
    assert any("Acme Rooms Inc." in body for body in names)


def test_our_own_write_at_the_erp_that_comes_back_by_a_webhook_is_no_news(hub: Hub) -> None:
    event = InboxEvent(
        system="netsuite",
        event_id="e1",
        resource="account",
        vendor_id="V-0",
        kind="customer",
        occurred_at=START,
        received_at=START,
    )
    with hub.database.work() as work:
        work.inbox.store(event, b"")
    before = intents(hub)
    take_in(hub)
    with hub.database.reading() as work:
        kept = work.inbox.get("netsuite", "e1")
    assert kept is not None
    assert (kept.state, intents(hub)) == (InboxState.STALE, before)


def test_a_poll_goes_on_from_the_cursor_that_the_vendor_gave(hub: Hub, crm: Telling) -> None:
    """Also where it told no change. Links and instants follow each other in either order."""
    crm.asked.clear()
    crm.tell(20, LINK)
    take_in(hub)
    crm.told, crm.cursor = [], f"{LINK}2018"
    take_in(hub)
    take_in(hub)
    assert crm.asked == [SECOND.isoformat(), LINK, f"{LINK}2018"]
    crm.tell(40)
    take_in(hub)
    take_in(hub)
    assert crm.asked[-1] == (SECOND + timedelta(seconds=40)).isoformat()


def test_the_deletion_of_an_order_that_runs_stands_on_the_desk_until_it_is_restored(hub: Hub, crm: Telling) -> None:
    crm.gone = True
    crm.told, crm.cursor = [Change(crm.ident, SECOND + timedelta(seconds=20), None)], LINK
    take_in(hub)
    ((ident, message),) = desk(hub)
    assert ident == f"inbox:salesforce/order/{crm.ident}"
    assert "was deleted there after it was taken in; restore it, or end its subscription" in message
    crm.gone = False
    with hub.database.work() as work:
        assert work.inbox.retry("salesforce", "order", crm.ident)
    take_in(hub)
    assert desk(hub) == []


def test_the_deletion_of_an_order_that_never_ran_is_no_news(hub: Hub, crm: Telling) -> None:
    crm.gone = True
    crm.told = [Change("006Qx0000000099IAA", SECOND + timedelta(seconds=20), None)]
    take_in(hub)
    assert desk(hub) == []
