"""A custom object of a Salesforce org is served by one mapping file: no table and no line of Python knows it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from core.sync import OutboxCommand
from flows.check_mappings import check_system
from flows.context import Hub
from flows.deliver import deliver_system
from sandbox import server
from tests.connectors import contract_salesforce
from tests.flows.hubs import ROOT, START, account, hub_with

pytestmark = pytest.mark.server

PROFILE = "Customer_Profile__c"
MAPPING = f"""\
system: salesforce
record: account
resource: {PROFILE}
direction: out
api: "Salesforce REST API v64.0, {PROFILE}"
source: "a custom object of this org"
key: {{to: Tieout_Id__c, from: id}}
fields:
  Name: {{path: name, max: 80, too_long: fail}}
  City__c: {{path: billing_address.city, max: 40, too_long: fail}}
  Terms__c: {{path: payment_terms_days}}
examples:
  - name: a customer
    in:
      id: A-0001
      name: Acme
      email: billing@acme.example
      currency: USD
      billing_address: {{line1: 1 Main St, city: Austin, region: TX, postal_code: "78701", country: US}}
    out: {{Name: Acme, City__c: Austin, Terms__c: 30}}
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """An org with the object, and a hub whose only new thing is the file."""
    folder = tmp_path / "mappings"
    shutil.copytree(ROOT / "mappings", folder)
    (folder / "salesforce" / "customer_profile.yaml").write_text(MAPPING)
    with server.start(["salesforce"]) as running:
        url = running.urls["salesforce"]
        fields = [{"object": PROFILE, "field": "City__c"}, {"object": PROFILE, "field": "Terms__c", "type": "number"}]
        httpx.post(f"{url}/_sandbox/schema", json=fields).raise_for_status()
        systems = {"salesforce": contract_salesforce.settings(url)}
        built = hub_with(f"sqlite:///{tmp_path / 'tieout.db'}", tmp_path, systems, mappings=folder)
        built.sandbox = running.emulators["salesforce"]  # type: ignore[attr-defined]
        yield built
        built.close()


def test_a_record_reaches_a_custom_object_once(hub: Hub) -> None:
    """Delivered twice, in two versions, it is one record with the values of the last."""
    for name in ("Harbour Events", "Harbour Events Ltd"):
        command = OutboxCommand.of("salesforce", PROFILE, "account", account(1, name=name), START)
        with hub.database.work() as work:
            work.outbox.enqueue([command])
        deliver_system(hub, "salesforce")
    (held,) = hub.sandbox.shelf.all(PROFILE)  # type: ignore[attr-defined]
    assert (held["Tieout_Id__c"], held["Name"], held["City__c"]) == ("A-0001", "Harbour Events Ltd", "Austin")
    assert int(held["Terms__c"]) == 30
    with hub.database.reading() as work:
        assert work.desk.open() == []


def test_a_custom_object_is_compared_with_its_mapping_like_any_other(hub: Hub) -> None:
    """What the mapping writes and the org has not is a difference, told with file and field."""
    url = hub.settings.systems["salesforce"].base_url  # type: ignore[attr-defined]
    drop = {"object": PROFILE, "field": "City__c", "drop": True}
    assert check_system(hub, "salesforce").rows == []
    httpx.post(f"{url}/_sandbox/schema", json=drop).raise_for_status()
    rows = check_system(hub, "salesforce").rows
    assert [(row["file"], row["field"]) for row in rows] == [("salesforce/customer_profile.yaml", "City__c")]
