"""A mapping is compared with what its vendor says of its fields now; what differs stands on the desk until it fits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.money import Money
from core.sync import DeskEntry, OutboxCommand
from flows.check_mappings import check_all, check_system
from flows.context import Hub
from flows.deliver import deliver_system
from sandbox import server
from tests.connectors import (
    contract_avalara,
    contract_dynamics,
    contract_hubspot,
    contract_netsuite,
    contract_salesforce,
)
from tests.flows.hubs import account, hub_with

SETTINGS = {
    "salesforce": contract_salesforce.settings,
    "dynamics": contract_dynamics.settings,
    "hubspot": contract_hubspot.settings,
    "netsuite": contract_netsuite.settings,
    "avalara": contract_avalara.settings,
}


class Stage:
    """A hub with one system in use, and its administrator."""

    def __init__(self, hub: Hub, system: str, url: str) -> None:
        self.hub, self.system, self.url = hub, system, url

    def change(self, object_: str, field: str, **how: Any) -> None:
        change = {"object": object_, "field": field, **how}
        httpx.post(f"{self.url}/_sandbox/schema", json=change).raise_for_status()

    def undo(self) -> None:
        httpx.delete(f"{self.url}/_sandbox/schema").raise_for_status()

    def found(self) -> list[tuple[str, str, str]]:
        """What a check finds: file, field, difference."""
        rows = check_system(self.hub, self.system).rows
        return [(row["file"], row["field"], row["difference"]) for row in rows]

    def desk(self) -> list[DeskEntry]:
        with self.hub.database.reading() as work:
            return work.desk.open()


@contextmanager
def staged(system: str, database_url: str, folder: Path) -> Iterator[Stage]:
    with server.start([system]) as running:
        hub = hub_with(database_url, folder, {system: SETTINGS[system](running.urls[system])})
        yield Stage(hub, system, running.urls[system])
        hub.close()


@pytest.fixture
def salesforce(database_url: str, tmp_path: Path) -> Iterator[Stage]:
    with staged("salesforce", database_url, tmp_path) as stage:
        yield stage


@pytest.mark.parametrize("system", ["salesforce", "dynamics", "hubspot", "netsuite"])
def test_every_mapping_of_the_product_fits_the_system_as_it_is_set_up(system: str, tmp_path: Path) -> None:
    with staged(system, f"sqlite:///{tmp_path / 'hub.db'}", tmp_path) as stage:
        assert stage.found() == []


#: System; its object, a field and what the administrator does to it; what the check finds.
CHANGES: list[tuple[str, str, str, dict[str, Any], list[tuple[str, str, str]]]] = [
    (
        "salesforce",
        "Account",
        "Tax_Exemption_Code__c",
        {"drop": True},
        [
            ("salesforce/account.yaml", "Tax_Exemption_Code__c", "missing field"),
            ("salesforce/order.yaml", "Account.Tax_Exemption_Code__c", "missing field"),
        ],
    ),
    (
        "salesforce",
        "Account",
        "Billing_Email__c",
        {"length": 40},
        [("salesforce/account.yaml", "Billing_Email__c", "too short")],
    ),
    (
        "salesforce",
        "Opportunity",
        "Tieout_Invoiced__c",
        {"type": "text"},
        [
            ("salesforce/order_progress.yaml", "Tieout_Invoiced__c", "wrong type"),
            ("salesforce/order_progress_figure.yaml", "Tieout_Invoiced__c", "wrong type"),
        ],
    ),
    (
        "salesforce",
        "Opportunity",
        "Tieout_Status__c",
        {"words": ["provisioned", "paid"]},
        [("salesforce/order_progress.yaml", "Tieout_Status__c", "word missing")],
    ),
    (
        "salesforce",
        "Account",
        "Region__c",
        {"type": "text", "required": True},
        [("salesforce/account.yaml", "Region__c", "newly required")],
    ),
    (
        "salesforce",
        "Account",
        "Tax_Exemption_Code__c",
        {"required": True},
        [("salesforce/account.yaml", "Tax_Exemption_Code__c", "newly required")],
    ),
    (
        "salesforce",
        "Account",
        "BillingCity",
        {"locked": True},
        [("salesforce/account.yaml", "BillingCity", "read only")],
    ),
    (
        "salesforce",
        "Account",
        "Tieout_Id__c",
        {"drop": True},
        [("salesforce/account.yaml", "Tieout_Id__c", "missing field")],
    ),
    (
        "dynamics",
        "account",
        "tieout_timezone",
        {"length": 32},
        [("dynamics/account.yaml", "tieout_timezone", "too short")],
    ),
    (
        "dynamics",
        "salesorderdetail",
        "tieout_servicestart",
        {"drop": True},
        [("dynamics/order.yaml", "order_details.tieout_servicestart", "missing field")],
    ),
    (
        "dynamics",
        "invoicedetail",
        "tieout_costcenter",
        {"type": "text", "required": True},
        [("dynamics/invoice.yaml", "invoice_details.tieout_costcenter", "newly required")],
    ),
    (
        "hubspot",
        "companies",
        "tieout_payment_terms_days",
        {"type": "date"},
        [
            ("hubspot/account.yaml", "tieout_payment_terms_days", "wrong type"),
            ("hubspot/order.yaml", "Company.tieout_payment_terms_days", "wrong type"),
        ],
    ),
    (
        "hubspot",
        "deals",
        "tieout_status",
        {"words": ["provisioned", "invoiced"]},
        [("hubspot/order_progress.yaml", "tieout_status", "word missing")],
    ),
    ("hubspot", "companies", "city", {"locked": True}, [("hubspot/account.yaml", "city", "read only")]),
    (
        "netsuite",
        "JournalEntryLine",
        "memo",
        {"drop": True},
        [("netsuite/journal_entry.yaml", "lineList.line.memo", "missing field")],
    ),
    ("netsuite", "Customer", "email", {"type": "number"}, [("netsuite/account.yaml", "email", "wrong type")]),
    (
        "netsuite",
        "Invoice",
        "custbody_region",
        {"required": True},
        [
            (f"netsuite/{file}.yaml", "custbody_region", "newly required")
            for file in ("credit_note", "invoice", "write_off")
        ],
    ),
    (
        "netsuite",
        "JournalEntryLine",
        "custcol_project",
        {"type": "choice", "words": ["Alpha"], "required": True},
        [("netsuite/journal_entry.yaml", "lineList.line.custcol_project", "newly required")],
    ),
]


@pytest.mark.parametrize(
    ("system", "object_", "field", "how", "expected"),
    CHANGES,
    ids=[f"{system} {field} {'-'.join(how)}" for system, _, field, how, _ in CHANGES],
)
def test_a_field_that_an_administrator_changed_is_found_in_every_file_that_uses_it(
    system: str,
    object_: str,
    field: str,
    how: dict[str, Any],
    expected: list[tuple[str, str, str]],
    tmp_path: Path,
) -> None:
    with staged(system, f"sqlite:///{tmp_path / 'hub.db'}", tmp_path) as stage:
        stage.change(object_, field, **how)
        assert stage.found() == expected
        assert [(entry.cause, entry.code) for entry in stage.desk()] == [
            ("SchemaDrift", kind.replace(" ", "_")) for _, _, kind in expected
        ]
        stage.undo()
        assert (stage.found(), stage.desk()) == ([], [])


def test_an_incident_tells_the_flow_the_records_and_the_money_that_it_stops(salesforce: Stage) -> None:
    def intend(number: int) -> None:
        money = Money.of("12.50", "USD")
        one = OutboxCommand.of("salesforce", "account", "account", account(number), salesforce.hub.now(), money=money)
        with salesforce.hub.database.work() as work:
            work.outbox.enqueue([one])

    intend(1)
    assert deliver_system(salesforce.hub, "salesforce").counts["created"] == 1
    intend(2)
    salesforce.change("Account", "Billing_Email__c", drop=True)
    check_system(salesforce.hub, "salesforce")
    (entry,) = [one for one in salesforce.desk() if one.id == "mapping:salesforce/account.yaml/Billing_Email__c"]
    assert entry.message == (
        "salesforce/account.yaml: Billing_Email__c: there is no such field any more; "
        "stops Deliver to all systems: 1 record waiting, $12.50; 1 record sent with it"
    )
    assert (entry.money, entry.record, entry.cause) == (Money.of("12.50", "USD"), "account", "SchemaDrift")
    assert "mapping file" in entry.cure


def test_a_field_without_a_bound_in_the_file_is_held_to_what_was_sent(salesforce: Stage) -> None:
    with salesforce.hub.database.work() as work:
        work.outbox.enqueue([OutboxCommand.of("salesforce", "account", "account", account(1), salesforce.hub.now())])
    deliver_system(salesforce.hub, "salesforce")
    salesforce.change("Account", "BillingPostalCode", length=4)
    assert salesforce.found() == [("salesforce/account.yaml", "BillingPostalCode", "too short")]


def test_a_vendor_without_a_describe_is_said_to_have_none(database_url: str, tmp_path: Path) -> None:
    with staged("avalara", database_url, tmp_path) as stage:
        report = check_system(stage.hub, "avalara")
    assert report.headline == "avalara: no describe at this vendor; its fields are those of its published API version"
    assert report.rows == report.failures == []


def test_a_system_that_does_not_answer_stands_on_the_desk_and_resolves_nothing(salesforce: Stage) -> None:
    salesforce.change("Account", "BillingCity", locked=True)
    salesforce.found()
    fault = {"kind": "error", "match": "/describe", "status": 503, "times": 0}
    httpx.post(f"{salesforce.url}/_sandbox/faults", json=fault).raise_for_status()
    report = check_all(salesforce.hub)
    assert [entry.id for entry in report.failures] == ["system:salesforce"]
    assert "mapping:salesforce/account.yaml/BillingCity" in [entry.id for entry in salesforce.desk()]
