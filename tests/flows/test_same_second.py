"""Vendors tell the second of a change: what polling makes of two changes in one second."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from core.accounts import Account
from core.ports import Change, ExternalKey, Payload, Receipt
from flows.context import Hub
from flows.deliver import deliver_system
from flows.intake import take_in
from tests.flows.hubs import hub_with
from tests.flows.test_deliver import NoSettings
from tests.flows.vendor import Vendor

SECOND = datetime(2026, 9, 21, 16, 4, 5, tzinfo=UTC)


@dataclass
class Crm(Vendor):
    """Holds one won order, which changes within one second."""

    order: dict[str, Any] = field(default_factory=dict)
    reads: int = 0

    def rename(self, name: str) -> None:
        self.order["Account"]["Name"] = name

    def changes(self, resource: str, since: str | None) -> Iterator[Change]:
        yield Change(self.order["Opportunity"]["Id"], SECOND, deepcopy(self.order))

    def get(self, resource: str, vendor_id: str) -> Payload:
        self.reads += 1
        return deepcopy(self.order)

    def upsert(self, resource: str, payload: Payload, key: ExternalKey) -> Receipt:
        return Receipt(self.system, resource, key.value, key, created=False)


@pytest.fixture
def crm() -> Crm:
    return Crm("salesforce")


@pytest.fixture
def hub(database_url: str, tmp_path: Path, crm: Crm) -> Iterator[Hub]:
    made = hub_with(database_url, tmp_path, dict.fromkeys(("salesforce", "stripe", "netsuite"), NoSettings()))
    made._connectors.update({"salesforce": crm, "stripe": Quiet("stripe"), "netsuite": Quiet("netsuite")})
    crm.order = deepcopy(made.mappings.find("salesforce", "order", "in", "order").examples[0].given)
    line = crm.order["LineItems"][1]
    line.update(Product2={"Name": "Livestream", "ProductCode": "VC-LIVE"}, Quantity=1, UnitPrice=750, TotalPrice=750)
    crm.order["LineItems"] = [line]
    crm.order["Opportunity"]["Amount"] = 750
    yield made
    made.close()


class Quiet(Vendor):
    """A vendor without news."""

    def changes(self, resource: str, since: str | None) -> Iterator[Change]:
        return iter(())


def name_of_account(hub: Hub) -> str:
    with hub.database.reading() as work:
        (account,) = work.find(Account)
    return account.name


def test_a_change_in_the_second_of_the_one_before_is_taken_in_and_an_unchanged_record_is_not_read_again(
    hub: Hub, crm: Crm
) -> None:
    take_in(hub)
    take_in(hub)
    assert (name_of_account(hub), crm.reads) == ("Acme Conferencing Inc.", 1)
    crm.rename("Acme Rooms Inc.")
    take_in(hub)
    assert (name_of_account(hub), crm.reads) == ("Acme Rooms Inc.", 2)


def test_a_name_that_is_changed_back_is_no_echo_of_our_own_write(hub: Hub, crm: Crm) -> None:
    take_in(hub)
    deliver_system(hub, "salesforce")
    for name in ("Acme Rooms Inc.", "Acme Conferencing Inc."):
        crm.rename(name)
        crm.order["Opportunity"]["SystemModstamp"] = f"2026-09-21T16:04:0{6 + crm.reads}.000+0000"
        take_in(hub)
        assert name_of_account(hub) == name
