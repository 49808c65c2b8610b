"""A custom field of a NetSuite account is served by lines of a mapping file: no line of Python knows it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.sync import OutboxCommand
from flows.check_mappings import check_system
from flows.context import Hub
from flows.deliver import deliver_system
from sandbox import server
from tests.connectors import contract_netsuite
from tests.flows.hubs import ROOT, START, account, hub_with

pytestmark = pytest.mark.server

#: What an administrator made on customers, and what the mapping sends there.
FIELDS: list[dict[str, Any]] = [
    {"field": "custentity_zone", "length": 40},
    {"field": "custentity_terms", "type": "number"},
    {"field": "custentity_segment", "words": ["Wholesale", "Retail"]},
    {"field": "custentity_hub", "type": "boolean", "required": True},
]
FILE = "netsuite/account.yaml"
MAPPING = """\
system: netsuite
record: account
resource: account
direction: out
api: "SuiteTalk SOAP 2023_2, Customer, upsertList"
source: "the custom fields of this account"
key: {to: externalId, from: id}
fields:
  entityId: {path: id, max: 80, too_long: fail}
  companyName: {path: name, max: 83, too_long: cut}
  subsidiary: {object: {internalId: {const: "1"}}}
  currency: {object: {internalId: {const: "1"}}}
  custentity_zone: {path: timezone, max: 40, too_long: fail}
  custentity_terms: {path: payment_terms_days}
  custentity_segment: {object: {internalId: {const: "2"}}}
  custentity_hub: {const: true}
examples:
  - name: a customer
    in:
      id: A-0001
      name: Acme
      email: billing@acme.example
      currency: USD
      billing_address: {line1: 1 Main St, city: Austin, region: TX, postal_code: "78701", country: US}
    out:
      entityId: A-0001
      companyName: Acme
      subsidiary: {internalId: "1"}
      currency: {internalId: "1"}
      custentity_zone: UTC
      custentity_terms: 30
      custentity_segment: {internalId: "2"}
      custentity_hub: true
"""


@contextmanager
def account_with(mapping: str, folder: Path) -> Iterator[Hub]:
    """An account with the fields, and a hub whose only new thing is the mapping."""
    shutil.copytree(ROOT / "mappings", folder / "mappings")
    (folder / "mappings" / FILE).write_text(mapping)
    with server.start(["netsuite"]) as running:
        url = running.urls["netsuite"]
        change(url, *FIELDS)
        systems = {"netsuite": contract_netsuite.settings(url)}
        built = hub_with(f"sqlite:///{folder / 'tieout.db'}", folder, systems, mappings=folder / "mappings")
        yield built
        built.close()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with account_with(MAPPING, tmp_path) as built:
        yield built


def change(url: str, *changes: dict[str, Any]) -> None:
    told = [{"object": "Customer", **one} for one in changes]
    httpx.post(f"{url}/_sandbox/schema", json=told).raise_for_status()


def address(hub: Hub) -> str:
    return hub.settings.systems["netsuite"].base_url  # type: ignore[attr-defined,no-any-return]


def found(hub: Hub) -> list[tuple[str, str, str]]:
    return [(row["file"], row["field"], row["difference"]) for row in check_system(hub, "netsuite").rows]


def deliver(hub: Hub, name: str = "Harbour Events") -> None:
    with hub.database.work() as work:
        work.outbox.enqueue([OutboxCommand.of("netsuite", "account", "account", account(1, name=name), START)])
    deliver_system(hub, "netsuite")


def test_a_custom_field_is_written_as_its_own_type_and_read_back(hub: Hub) -> None:
    """A list takes the id of a value; the record that is read back has the fields beside the standard ones."""
    deliver(hub)
    deliver(hub, "Harbour Events Ltd")
    (read,) = [one.payload for one in hub.connector("netsuite").changes("account", None) if one.payload]
    held = hub.connector("netsuite").get("account", read["internalId"])
    assert held["companyName"] == "Harbour Events Ltd"
    assert {name: held[name] for name in held if name.startswith("cust")} == {
        "custentity_zone": "UTC",
        "custentity_terms": Decimal(30),
        "custentity_segment": {"internalId": "2", "name": "Retail"},
        "custentity_hub": True,
    }


def test_a_mapping_that_fits_the_account_is_told_to_fit(hub: Hub) -> None:
    assert found(hub) == []


@pytest.mark.parametrize(
    ("changed", "field", "difference"),
    [
        ({"field": "custentity_zone", "drop": True}, "custentity_zone", "missing field"),
        ({"field": "custentity_zone", "length": 2}, "custentity_zone", "too short"),
        ({"field": "custentity_zone", "type": "number"}, "custentity_zone", "wrong type"),
        ({"field": "custentity_terms", "type": "text"}, "custentity_terms", "wrong type"),
        ({"field": "custentity_segment", "words": ["Wholesale"]}, "custentity_segment.internalId", "word missing"),
        ({"field": "custentity_terms", "locked": True}, "custentity_terms", "read only"),
        ({"field": "custentity_new", "required": True}, "custentity_new", "newly required"),
    ],
    ids=lambda one: "-".join(map(str, one.values())) if isinstance(one, dict) else None,
)
def test_a_custom_field_that_an_administrator_changed_is_found_before_a_record_fails(
    hub: Hub, changed: dict[str, Any], field: str, difference: str
) -> None:
    """And a record that is sent all the same is refused for that field."""
    change(address(hub), changed)
    assert found(hub) == [(FILE, field, difference)]
    deliver(hub)
    with hub.database.reading() as work:
        (entry,) = [one for one in work.desk.open() if one.cause == "Rejected"]
    assert "custentity_" in entry.message


def test_a_standard_text_is_held_to_the_length_that_netsuite_publishes(tmp_path: Path) -> None:
    with account_with(MAPPING.replace("max: 83", "max: 100"), tmp_path) as hub:
        assert found(hub) == [(FILE, "companyName", "too short")]


def test_a_word_that_no_enumeration_of_the_endpoint_has_is_found(tmp_path: Path) -> None:
    address = "{object: {country: {const: _wonderland}}}"
    address = f"{{object: {{addressbook: {{list: [{{object: {{addressbookAddress: {address}}}}}]}}}}}}"
    told = "addressbookList: {addressbook: [{addressbookAddress: {country: _wonderland}}]}"
    mapping = MAPPING.replace("  custentity_zone: {", f"  addressbookList: {address}\n  custentity_zone: {{", 1)
    mapping = mapping.replace("      custentity_zone: UTC", f"      {told}\n      custentity_zone: UTC")
    with account_with(mapping, tmp_path) as hub:
        assert found(hub) == [(FILE, "addressbookList.addressbook.addressbookAddress.country", "word missing")]
