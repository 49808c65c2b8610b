"""simple-salesforce, by itself and not on our wire, drives the emulated org."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import simple_salesforce

from sandbox import server
from sandbox.salesforce import CLIENT_ID, CLIENT_SECRET
from tests.judges.plain import led

pytestmark = pytest.mark.server
HOST = "northwind.my.salesforce.example"


@pytest.fixture
def org() -> Iterator[Any]:
    with server.start(["salesforce"]) as running, led(HOST, running.urls["salesforce"]):
        url = running.urls["salesforce"]
        form = {"grant_type": "client_credentials", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
        token = httpx.post(f"{url}/services/oauth2/token", data=form).json()["access_token"]
        yield simple_salesforce.Salesforce(instance=HOST, session_id=token, version="64.0")


def test_the_client_creates_changes_and_upserts_accounts(org: Any) -> None:
    made = org.Account.create({"Name": "Acme"})
    assert made["success"] is True
    assert org.Account.update(made["id"], {"Name": "Acme Conferencing"}) == 204
    assert org.Account.get(made["id"])["Name"] == "Acme Conferencing"
    codes = [org.Account.upsert("Tieout_Id__c/A-0002", {"Name": "Bolt"}) for _ in range(2)]
    assert codes == [201, 200]


def test_the_client_reads_every_page(org: Any) -> None:
    records = [{"attributes": {"type": "Account"}, "Name": f"Customer {number}"} for number in range(200)]
    for _ in range(2):
        org.restful("composite/sobjects", method="POST", json={"allOrNone": False, "records": records})
    first = org.query("SELECT Id FROM Account", headers={"Sforce-Query-Options": "batchSize=200"})
    assert (first["totalSize"], first["done"], len(first["records"])) == (400, False, 200)
    assert len(list(org.query_all_iter("SELECT Id FROM Account"))) == 400


def test_the_client_meets_the_errors_it_knows(org: Any) -> None:
    with pytest.raises(simple_salesforce.SalesforceMalformedRequest) as refused:
        org.Account.create({"Name": "Acme", "Colour__c": "red"})
    assert refused.value.content[0]["errorCode"] == "INVALID_FIELD"
    with pytest.raises(simple_salesforce.SalesforceResourceNotFound):
        org.Account.get("001Qx000009999AIAA")
    stranger = simple_salesforce.Salesforce(instance=HOST, session_id="wrong", version="64.0")
    with pytest.raises(simple_salesforce.SalesforceExpiredSession):
        stranger.query("SELECT Id FROM Account")
