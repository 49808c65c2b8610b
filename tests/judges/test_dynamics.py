"""Microsoft's own Dataverse client drives the emulated environment, so that emulator and connector cannot share one
mistake.

Needs the group judges: ``uv run --group judges pytest tests/judges``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from sandbox import server
from sandbox.dynamics import CLIENT_ID, CLIENT_SECRET, TENANT_ID

vendor = pytest.importorskip("PowerPlatform.Dataverse.client", reason="skipped: no Dataverse client at hand")
credentials = pytest.importorskip("azure.core.credentials")
errors = pytest.importorskip("PowerPlatform.Dataverse.core.errors")
plain = pytest.importorskip("tests.judges.plain")

pytestmark = pytest.mark.server
HOST = "northwind.crm.dynamics.example"


class Credential:
    """A token of the emulated identity platform, as azure-identity gives one; ``token`` in its place, where stated."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.token = ""

    def get_token(self, *_scopes: str, **_options: Any) -> Any:
        form = {"grant_type": "client_credentials", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
        answer = httpx.post(f"{self.url}/{TENANT_ID}/oauth2/v2.0/token", data=form | {"scope": f"{self.url}/.default"})
        granted = answer.raise_for_status().json()
        return credentials.AccessToken(self.token or granted["access_token"], 4_000_000_000)


@pytest.fixture
def credential() -> Iterator[Credential]:
    with server.start(["dynamics"]) as running:
        yield Credential(running.urls["dynamics"])


@pytest.fixture
def client(credential: Credential) -> Iterator[Any]:
    with plain.led(HOST, credential.url) as address:
        yield vendor.DataverseClient(address, credential)


def test_the_vendors_client_creates_changes_and_reads_accounts(client: Any) -> None:
    ident = client.records.create("account", {"name": "Acme", "accountnumber": "A-0001"})
    client.records.update("account", ident, {"name": "Acme Conferencing"})
    held = client.records.retrieve("account", ident, select=["name", "accountnumber"])
    assert (held["name"], held["accountnumber"]) == ("Acme Conferencing", "A-0001")
    assert client.records.retrieve("account", "00000000-0000-0000-0000-000000000001", select=["name"]) is None


def test_the_vendors_client_upserts_by_the_alternate_key(client: Any) -> None:
    for name in ("Acme", "Acme Conferencing"):
        client.records.upsert("account", [{"alternate_key": {"accountnumber": "A-0001"}, "record": {"name": name}}])
    held = client.records.list("account", filter="accountnumber eq 'A-0001'", select=["name"])
    assert [one["name"] for one in held] == ["Acme Conferencing"]


def test_the_vendors_client_follows_the_pages(client: Any) -> None:
    made = [client.records.create("account", {"name": f"Customer {number}"}) for number in range(5)]
    pages = list(client.records.list_pages("account", select=["name"], page_size=2))
    assert [len(page) for page in pages] == [2, 2, 1]
    assert sorted(one["accountid"] for page in pages for one in page) == sorted(made)


def test_the_vendors_client_sends_a_change_set_as_one(client: Any) -> None:
    batch = client.batch.new()
    with batch.changeset() as changes:
        changes.records.create("account", {"name": "Acme"})
        changes.records.create("account", {"name": "Bolt"})
    answer = batch.execute()
    assert [one.status_code for one in answer.responses] == [204, 204]
    assert len(list(client.records.list("account", select=["name"]))) == 2


def test_the_vendors_client_meets_the_errors_it_knows(client: Any, credential: Credential) -> None:
    with pytest.raises(errors.HttpError) as refused:
        client.records.create("account", {"colour": "red"})
    assert refused.value.status_code == 400
    assert refused.value.details["service_error_code"] == "0x80048d19"
    credential.token = "wrong"
    with pytest.raises(errors.HttpError) as refused:
        vendor.DataverseClient(f"https://{HOST}", credential).records.list("account", select=["name"])
    assert refused.value.status_code == 401
