"""A record that people change at the other system too is merged field by field with what was written last."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from core.accounts import Account
from core.money import Money
from core.noun import Noun
from core.orders import OrderProgress
from core.sync import CommandState, OutboxCommand
from flows.context import Hub
from flows.deliver import deliver_system
from sandbox import server
from sandbox.emulator import Shelf
from sandbox.salesforce_schema import OBJECTS, make_id
from tests.connectors import (
    contract_dynamics,
    contract_hubspot,
    contract_netsuite,
    contract_quickbooks,
    contract_salesforce,
)
from tests.flows.hubs import ROOT, account, hub_with

SETTINGS: Mapping[str, Callable[[str], Any]] = {
    "salesforce": contract_salesforce.settings,
    "dynamics": contract_dynamics.settings,
    "quickbooks": contract_quickbooks.settings,
    "netsuite": contract_netsuite.settings,
    "hubspot": contract_hubspot.settings,
}
#: Where each system keeps customers: kind, and the fields of name and e-mail.
PLACES = {
    "salesforce": ("Account", "Name", "Billing_Email__c"),
    "dynamics": ("account", "name", "emailaddress1"),
    "quickbooks": ("customer", "CompanyName", "PrimaryEmailAddr"),
    "netsuite": ("customer", "companyName", "email"),
    "hubspot": ("companies", "name", "tieout_billing_email"),
}


class Stage:
    """A hub, one system, and a person who works there."""

    def __init__(self, hub: Hub, system: str, url: str, shelf: Shelf) -> None:
        self.hub, self.system, self.url, self.shelf = hub, system, url, shelf
        self.kind, self.name, self.email = PLACES[system]

    def deliver(self, noun: Noun, resource: str = "account", record: str = "account") -> None:
        with self.hub.database.work() as work:
            assert work.outbox.enqueue([OutboxCommand.of(self.system, resource, record, noun, self.hub.now())])
        deliver_system(self.hub, self.system)
        with self.hub.database.reading() as work:
            assert work.outbox.in_state(CommandState.DONE) == work.outbox.in_state(*CommandState), self.desk()

    def held(self) -> dict[str, Any]:
        (found,) = self.shelf.all(self.kind)
        return found

    def edit(self, **fields: Any) -> None:
        """A person changes the customer there."""
        held = self.held()
        ident = next(str(held[name]) for name in ("Id", "internalId", "accountid", "id") if name in held)
        self.shelf.keep(self.kind, ident, {**held, **fields})

    def desk(self) -> list[tuple[str, str]]:
        with self.hub.database.reading() as work:
            return [(entry.id, entry.cause) for entry in work.desk.open()]


def mappings_with(folder: Path, *edits: tuple[str, str, str]) -> Path:
    """The mappings of the product with lines of a file written otherwise."""
    made = folder / "mappings"
    shutil.copytree(ROOT / "mappings", made)
    for file, before, after in edits:
        text = (made / file).read_text()
        assert before in text
        (made / file).write_text(text.replace(before, after, 1))
    return made


@contextmanager
def staged(system: str, folder: Path, *edits: tuple[str, str, str]) -> Iterator[Stage]:
    with server.start([system]) as running:
        systems = {system: SETTINGS[system](running.urls[system])}
        mappings = mappings_with(folder, *edits)
        hub = hub_with(f"sqlite:///{folder / 'hub.db'}", folder, systems, mappings=mappings)
        yield Stage(hub, system, running.urls[system], running.emulators[system].shelf)
        hub.close()


def customer(name: str, email: str = "a@b.example") -> Account:
    return account(1, name=name).model_copy(update={"email": email})


@pytest.mark.parametrize("system", sorted(SETTINGS.keys() - {"hubspot"}))
def test_a_customer_renamed_there_by_a_person_keeps_that_name_when_we_change_something_else(
    system: str, tmp_path: Path
) -> None:
    with staged(system, tmp_path) as stage:
        stage.deliver(customer("Acme"))
        stage.edit(**{stage.name: "Acme Holding"})
        stage.deliver(customer("Acme", "new@b.example"))
        assert stage.held()[stage.name] == "Acme Holding"
        assert "new@b.example" in str(stage.held()[stage.email])
        assert stage.desk() == []

        stage.deliver(customer("Acme", "newer@b.example"))
        assert stage.held()[stage.name] == "Acme Holding"
        stage.deliver(customer("Acme Inc", "newer@b.example"))
        assert (stage.held()[stage.name], stage.desk()) == ("Acme Inc", [])


@pytest.mark.parametrize("system", sorted(SETTINGS.keys() - {"hubspot"}))
def test_a_name_that_both_changed_goes_by_its_owner_and_stands_on_the_desk_until_they_agree(
    system: str, tmp_path: Path
) -> None:
    with staged(system, tmp_path) as stage:
        stage.deliver(customer("Acme"))
        stage.edit(**{stage.name: "ACME"})
        stage.deliver(customer("Acme Inc"))
        assert stage.held()[stage.name] == "Acme Inc"
        ident = f"conflict:{system}/account/A-0001/{stage.name}"
        assert stage.desk() == [(ident, "Contested")]
        with stage.hub.database.reading() as work:
            (entry,), evidence = work.desk.open(), work.desk.evidence(ident)
        assert "it was 'Acme', ours is 'Acme Inc'" in entry.message
        assert "'ACME'" in entry.message
        assert "ignore this with a reason" in entry.cure
        assert evidence is not None
        assert [json.loads(side) for side in (evidence.ours, evidence.theirs)] == [
            {stage.name: "Acme Inc"},
            {stage.name: "ACME"},
        ]

        stage.deliver(customer("Acme Inc", "new@b.example"))
        assert (stage.held()[stage.name], stage.desk()) == ("Acme Inc", [])


def test_a_field_of_theirs_that_both_changed_stays_as_they_have_it(tmp_path: Path) -> None:
    theirs = ("netsuite/account.yaml", "too_long: cut, owner: hub}", "too_long: cut, owner: them}")
    with staged("netsuite", tmp_path, theirs) as stage:
        stage.deliver(customer("Acme"))
        stage.edit(companyName="ACME")
        stage.deliver(customer("Acme Inc"))
        assert stage.held()["companyName"] == "ACME"
        assert stage.desk() == [("conflict:netsuite/account/A-0001/companyName", "Contested")]
        stage.deliver(customer("ACME"))
        assert stage.desk() == []


def test_a_field_of_an_opportunity_that_sales_changed_stays_theirs(tmp_path: Path) -> None:
    """The same for what is told to the CRM: sales renumbered the contract, and the hub goes on to tell the money."""
    theirs = ("salesforce/order_progress.yaml", "max: 80, too_long: fail}", "max: 80, too_long: fail, owner: them}")
    with staged("salesforce", tmp_path, theirs) as stage:
        ident = make_id("006", 7)
        blank = dict.fromkeys(OBJECTS["Opportunity"].fields)
        stamps = {"CurrencyIsoCode": "USD", "SystemModstamp": "2026-10-01T08:00:00.000+0000"}
        won = (
            blank | stamps | {"Id": ident, "Name": "Acme", "IsDeleted": False, "StageName": "Closed Won", "IsWon": True}
        )
        stage.shelf.keep("Opportunity", ident, won | {"CloseDate": "2026-10-01", "OwnerId": "005"})

        def progress(subscription: str, invoiced: str) -> OrderProgress:
            zero = Money.zero("USD")
            money = {"invoiced": Money.of(invoiced, "USD"), "credited": zero, "paid": zero}
            told = {"id": ident, "status": "invoiced", "currency": "USD", "subscription_id": subscription}
            return OrderProgress.model_validate(told | money)

        def held() -> tuple[str, str]:
            record = stage.shelf.get("Opportunity", ident) or {}
            return record["Tieout_Subscription__c"], str(record["Tieout_Invoiced__c"])

        def renumber(subscription: str) -> None:
            record = stage.shelf.get("Opportunity", ident) or {}
            stage.shelf.keep("Opportunity", ident, record | {"Tieout_Subscription__c": subscription})

        def tell(subscription: str, invoiced: str) -> tuple[str, str]:
            stage.deliver(progress(subscription, invoiced), "order_progress", "order_progress")
            return held()

        assert tell("SUB-1", "10.25") == ("SUB-1", "10.25")
        renumber("K-77")
        assert tell("SUB-1", "20.25") == ("K-77", "20.25")
        assert stage.desk() == []
        renumber("K-78")
        assert tell("SUB-2", "30.25") == ("K-78", "30.25")
        assert stage.desk() == [(f"conflict:salesforce/order_progress/{ident}/Tieout_Subscription__c", "Contested")]


def test_a_field_without_an_owner_is_written_over_as_before(tmp_path: Path) -> None:
    with staged(
        "netsuite", tmp_path, ("netsuite/account.yaml", "too_long: cut, owner: hub}", "too_long: cut}")
    ) as stage:
        stage.deliver(customer("Acme"))
        stage.edit(companyName="ACME")
        stage.deliver(customer("Acme", "new@b.example"))
        assert (stage.held()["companyName"], stage.desk()) == ("Acme", [])


def test_what_is_sent_only_when_created_is_not_sent_to_what_is_there(tmp_path: Path) -> None:
    with staged("salesforce", tmp_path) as stage:
        stage.deliver(customer("Acme"))
        assert stage.held()["CurrencyIsoCode"] == "USD"
        stage.edit(CurrencyIsoCode="CAD")
        stage.deliver(customer("Acme Inc"))
        assert (stage.held()["CurrencyIsoCode"], stage.held()["Name"]) == ("CAD", "Acme Inc")
