"""HubSpot's own client drives the emulated portal, so that emulator and connector cannot share one mistake.

Needs the group judges: ``uv run --group judges pytest tests/judges``.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from sandbox import server
from sandbox.hubspot import ACCESS_TOKEN

vendor = pytest.importorskip("hubspot", reason="skipped: no hubspot-api-client at hand")
associations = pytest.importorskip("hubspot.crm.associations.v4")
companies = pytest.importorskip("hubspot.crm.companies")
deals = pytest.importorskip("hubspot.crm.deals")

pytestmark = pytest.mark.server


@pytest.fixture
def portal() -> Iterator[Any]:
    """``crm`` of a client with a token, each of its APIs at the emulator."""
    with server.start(["hubspot"]) as running:

        def crm(token: str) -> SimpleNamespace:
            whole = vendor.HubSpot(access_token=token).crm
            apis = {
                "batch": whole.companies.batch_api,
                "search": whole.companies.search_api,
                "companies": whole.companies.basic_api,
                "deals": whole.deals.basic_api,
                "links": whole.associations.v4.basic_api,
                "properties": whole.properties.core_api,
            }
            for api in apis.values():
                api.api_client.configuration.host = running.urls["hubspot"]
            return SimpleNamespace(**apis)

        yield crm


def named(name: str) -> Any:
    return companies.SimplePublicObjectInputForCreate(properties={"name": name, "tieout_id": name})


def test_the_vendors_client_upserts_by_our_key_searches_and_links(portal: Any) -> None:
    crm = portal(ACCESS_TOKEN)
    acme = companies.SimplePublicObjectBatchInputUpsert(id="A-1", id_property="tieout_id", properties={"name": "Acme"})
    many = companies.BatchInputSimplePublicObjectBatchInputUpsert(inputs=[acme])
    first, again = (crm.batch.upsert(many).results[0] for _ in range(2))
    assert (first.new, again.new, first.id) == (True, False, again.id)
    ours = {"propertyName": "tieout_id", "operator": "EQ", "value": "A-1"}
    search = companies.PublicObjectSearchRequest(filter_groups=[{"filters": [ours]}], properties=["name"], limit=10)
    assert [one.properties["name"] for one in crm.search.do_search(search).results] == ["Acme"]
    made = crm.deals.create(deals.SimplePublicObjectInputForCreate(properties={"dealname": "Rooms"}))
    primary = associations.AssociationSpec(association_category="HUBSPOT_DEFINED", association_type_id=5)
    crm.links.create("deals", made.id, "companies", first.id, [primary])
    linked = crm.links.get_page("deals", made.id, "companies").results
    assert [(one.to_object_id, [t.type_id for t in one.association_types]) for one in linked] == [(first.id, [5, 341])]
    assert "tieout_id" in {one.name for one in crm.properties.get_all("companies").results}


def test_the_vendors_client_reads_every_page(portal: Any) -> None:
    crm = portal(ACCESS_TOKEN)
    made = [crm.companies.create(named(f"A-{number}")).id for number in range(5)]
    seen, after = [], None
    while True:
        page = crm.companies.get_page(limit=2, after=after, properties=["name"])
        seen += [one.id for one in page.results]
        if page.paging is None:
            break
        after = page.paging.next.after
    assert seen == made
    assert crm.companies.get_by_id(made[0], properties=["name"]).properties["name"] == "A-0"


def test_the_vendors_client_meets_the_errors_it_knows(portal: Any) -> None:
    crm = portal(ACCESS_TOKEN)
    wrong = companies.SimplePublicObjectInputForCreate(properties={"colour": "red"})
    with pytest.raises(companies.ApiException, match="PROPERTY_DOESNT_EXIST") as refused:
        crm.companies.create(wrong)
    assert refused.value.status == 400
    for call, status in (
        (lambda: crm.companies.get_by_id("999"), 404),
        (lambda: portal("x").companies.get_page(), 401),
    ):
        with pytest.raises(companies.ApiException) as refused:
            call()
        assert refused.value.status == status
