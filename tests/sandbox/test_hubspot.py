"""The emulated HubSpot account answers as the vendor's documents say: plain HTTP, its specs, and its own client."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox import hubspot_search
from sandbox.hubspot import ACCESS_TOKEN, APP_ID, CLIENT_ID, CLIENT_SECRET, PORTAL_ID, REFRESH_TOKEN
from sandbox.hubspot_schema import ASSOCIATIONS, OBJECTS, REVERSE
from sandbox.server import Running, start

SPECS = Path(os.environ.get("TIEOUT_VENDOR_SPECS", Path(__file__).parents[2] / "../shared/vendor-specs")) / "hubspot"
published = pytest.mark.skipif(not SPECS.exists(), reason="skipped: no vendor specs at hand")


class Account:
    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {ACCESS_TOKEN}"})

    def call(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        answer = self.http.request(method, path, json=body) if body is not None else self.http.request(method, path)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def make(self, kind: str, **properties: Any) -> str:
        return str(self.call("POST", f"/crm/v3/objects/{kind}", {"properties": properties}, 201)["id"])

    def value(self, kind: str, ident: str, name: str) -> Any:
        return self.call("GET", f"/crm/v3/objects/{kind}/{ident}?properties={name}")["properties"][name]

    def found(self, kind: str, *filters: dict[str, Any], **more: Any) -> list[str]:
        body = {"filterGroups": [{"filters": list(filters)}] if filters else [], **more}
        return [one["id"] for one in self.call("POST", f"/crm/v3/objects/{kind}/search", body)["results"]]

    def link(self, kind: str, ident: str, there: str, other: str, number: int, status: int = 201) -> Any:
        body = [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": number}]
        return self.call("PUT", f"/crm/v4/objects/{kind}/{ident}/associations/{there}/{other}", body, status)

    def types(self, kind: str, ident: str, there: str) -> dict[str, list[int]]:
        answer = self.call("GET", f"/crm/v4/objects/{kind}/{ident}/associations/{there}")
        return {one["toObjectId"]: [spec["typeId"] for spec in one["associationTypes"]] for one in answer["results"]}


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with start(["hubspot"]) as running:
        yield running


@pytest.fixture
def account(running: Running) -> Iterator[Account]:
    httpx.post(f"{running.urls['hubspot']}/_sandbox/reset")
    built = Account(running.urls["hubspot"])
    yield built
    built.http.close()


# -- values


def test_values_are_text_and_an_empty_one_is_null(account: Account) -> None:
    ident = account.make("deals", dealname="Rooms", amount=1299.5, tieout_purchase_order="PO-1")
    assert account.value("deals", ident, "amount") == "1299.5"
    account.call("PATCH", f"/crm/v3/objects/deals/{ident}", {"properties": {"tieout_purchase_order": ""}})
    assert account.value("deals", ident, "tieout_purchase_order") is None


@pytest.mark.parametrize(
    ("kind", "name", "value", "code"),
    [
        ("deals", "colour", "red", "PROPERTY_DOESNT_EXIST"),
        ("deals", "amount", "much", "INVALID_LONG"),
        ("deals", "amount", "NaN", "INVALID_LONG"),
        ("deals", "dealstage", "registered", "INVALID_OPTION"),
        ("deals", "tieout_status", "lost", "INVALID_OPTION"),
        ("deals", "tieout_service_start", "1447459200001", "INVALID_DATE"),
        ("deals", "closedate", "yesterday", "INVALID_LONG"),
        ("deals", "hs_is_closed_won", "true", "READ_ONLY_VALUE"),
        ("contacts", "email", "dsfsafas@", "INVALID_EMAIL"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_in_the_vendors_words(
    account: Account, kind: str, name: str, value: str, code: str
) -> None:
    answer = account.call("POST", f"/crm/v3/objects/{kind}", {"properties": {name: value}}, 400)
    (fault,) = json.loads(answer["message"].removeprefix("Property values were not valid: "))
    assert (fault["name"], fault["error"], fault["isValid"], answer["category"]) == (
        name,
        code,
        False,
        "VALIDATION_ERROR",
    )
    assert answer["errors"][0]["context"] == {"propertyName": [name]}


def test_dates_are_days_and_moments_are_utc(account: Account) -> None:
    ident = account.make("deals", tieout_service_start="1790812800000", closedate="2026-09-21T18:04:05+02:00")
    assert account.value("deals", ident, "tieout_service_start") == "2026-10-01"
    assert account.value("deals", ident, "closedate") == "2026-09-21T16:04:05.000Z"


def test_a_deal_is_won_by_its_stage(account: Account) -> None:
    ident = account.make("deals", dealstage="contractsent")
    assert (account.value("deals", ident, "hs_is_closed_won"), account.value("deals", ident, "pipeline")) == (
        "false",
        "default",
    )
    account.call("PATCH", f"/crm/v3/objects/deals/{ident}", {"properties": {"dealstage": "closedwon"}})
    assert account.value("deals", ident, "hs_is_closed_won") == "true"


def test_a_line_takes_from_its_product_and_counts_its_net_price(account: Account) -> None:
    product = account.make("products", name="Endpoint", price="29.95", hs_sku="ENDPOINT")
    line = account.make("line_items", hs_product_id=product, quantity="10", hs_discount_percentage="10")
    assert account.value("line_items", line, "hs_sku") == "ENDPOINT"
    assert float(account.value("line_items", line, "amount")) == 269.55
    account.call("POST", "/crm/v3/objects/line_items", {"properties": {"hs_product_id": "1"}}, 400)


def test_a_quote_needs_a_title_and_an_end(account: Account) -> None:
    answer = account.call("POST", "/crm/v3/objects/quotes", {"properties": {"hs_title": "Rooms"}}, 400)
    assert answer["message"] == "Error creating QUOTE. Some required properties were not set."
    assert answer["context"] == {"properties": ["hs_expiration_date"]}


def test_an_e_mail_is_of_one_contact(account: Account) -> None:
    ident = account.make("contacts", email="Dana@acme.example")
    answer = account.call("POST", "/crm/v3/objects/contacts", {"properties": {"email": "dana@acme.example"}}, 409)
    assert (answer["category"], answer["message"]) == ("CONFLICT", f"Contact already exists. Existing ID: {ident}")


# -- batches


def batch(name: str, *inputs: tuple[str, dict[str, str]]) -> dict[str, Any]:
    return {"inputs": [{"id": ident, "idProperty": name, "properties": given} for ident, given in inputs]}


def test_upsert_creates_then_updates(account: Account) -> None:
    path = "/crm/v3/objects/companies/batch/upsert"
    first = account.call("POST", path, batch("tieout_id", ("A-1", {"name": "Acme"}), ("A-2", {"name": "Birch"})))
    again = account.call("POST", path, batch("tieout_id", ("A-1", {"name": "Acme Inc."})))
    assert [one["new"] for one in first["results"] + again["results"]] == [True, True, False]
    assert again["results"][0]["id"] == first["results"][0]["id"]
    assert account.value("companies", first["results"][0]["id"], "name") == "Acme Inc."


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (batch("tieout_id", ("A-1", {}), ("A-1", {})), 400, "Duplicate IDs found in batch input: [A-1]"),
        (batch("hs_object_id", ("1", {})), 400, "non-unique 0-2 property hs_object_id"),
        (batch("name", ("Acme", {})), 400, "non-unique 0-2 property name"),
        (batch("tieout_id", ("A-1", {"name": "x"}), ("A-2", {"colour": "red"})), 400, "PROPERTY_DOESNT_EXIST"),
        (batch("tieout_id", ("A-1", {}), ("A-2", {"tieout_site_code": "S"})), 409, "already has that value"),
        (batch("tieout_id", *((f"A-{n}", {}) for n in range(101))), 400, "maximum number of inputs"),
        ({"inputs": [{"id": "A-1", "properties": {}}]}, 400, "idProperty"),
        ({"inputs": "all"}, 400, "inputs"),
    ],
)
def test_one_wrong_input_refuses_a_whole_upsert(account: Account, body: Any, status: int, words: str) -> None:
    account.make("companies", tieout_site_code="S")
    answer = account.call("POST", "/crm/v3/objects/companies/batch/upsert", body, status)
    assert words in answer["message"]
    assert account.call("GET", "/_sandbox/objects")["companies"] == 1


def test_a_batch_create_whose_inputs_have_trace_ids_goes_through_in_part(account: Account) -> None:
    given = [{"name": "Acme"}, {"colour": "red"}]
    traced = {"inputs": [{"properties": one, "objectWriteTraceId": str(n)} for n, one in enumerate(given)]}
    answer = account.call("POST", "/crm/v3/objects/companies/batch/create", traced, 207)
    assert [one["properties"]["name"] for one in answer["results"]] == ["Acme"]
    assert [one["context"] for one in answer["errors"]] == [{"objectWriteTraceId": ["1"]}]
    plain = {"inputs": [{"properties": one} for one in given]}
    account.call("POST", "/crm/v3/objects/companies/batch/create", plain, 400)
    assert account.call("GET", "/_sandbox/objects")["companies"] == 1


def test_batches_say_what_is_missing(account: Account) -> None:
    ident = account.make("deals", dealname="Rooms")
    inputs = [{"id": ident, "properties": {"amount": "5"}}, {"id": "1", "properties": {"amount": "5"}}]
    for verb in ("update", "read"):
        answer = account.call("POST", f"/crm/v3/objects/deals/batch/{verb}", {"inputs": inputs}, 207)
        assert [one["id"] for one in answer["results"]] == [ident]
        assert (answer["numErrors"], answer["errors"][0]["context"]) == (1, {"ids": ["1"]})


def test_an_archived_record_is_listed_apart_and_frees_its_key(account: Account) -> None:
    ident = account.make("companies", tieout_id="A-1")
    account.call("DELETE", f"/crm/v3/objects/companies/{ident}", status=204)
    account.call("GET", f"/crm/v3/objects/companies/{ident}", status=404)
    assert account.call("GET", "/crm/v3/objects/companies")["results"] == []
    (gone,) = account.call("GET", "/crm/v3/objects/companies?archived=true")["results"]
    assert (gone["id"], gone["archived"]) == (ident, True)
    assert account.make("companies", tieout_id="A-1") != ident


def test_a_list_is_paged_to_its_end(account: Account) -> None:
    made = [account.make("products", name=str(n)) for n in range(5)]
    first = account.call("GET", "/crm/v3/objects/products?limit=3")
    rest = account.call("GET", f"/crm/v3/objects/products?limit=3&after={first['paging']['next']['after']}")
    assert [one["id"] for one in first["results"] + rest["results"]] == made
    assert "paging" not in rest
    account.call("GET", "/crm/v3/objects/products?limit=101", status=400)


# -- search


def test_each_operator_finds_what_it_says(account: Account) -> None:
    small = account.make("deals", dealname="Small rooms", amount="9", closedate="2026-01-01")
    large = account.make("deals", dealname="Large hall", amount="100.5", closedate="2026-06-01", dealstage="closedwon")
    bare = account.make("deals", dealname="Nothing")

    def found(name: str, operator: str, **more: Any) -> list[str]:
        return account.found("deals", {"propertyName": name, "operator": operator, **more})

    assert found("amount", "EQ", value="9.0") == [small]
    assert found("amount", "NEQ", value="9") == [large]
    assert found("amount", "GT", value="9") == found("amount", "GTE", value="10") == [large]
    assert found("amount", "LT", value="100") == found("amount", "LTE", value="9") == [small]
    assert found("closedate", "BETWEEN", value="2026-01-01", highValue="2026-05-31") == [small]
    assert found("amount", "HAS_PROPERTY") == [small, large]
    assert found("amount", "NOT_HAS_PROPERTY") == [bare]
    assert found("dealstage", "IN", values=["closedwon", "closedlost"]) == [large]
    assert found("dealstage", "NOT_IN", values=["closedwon"]) == []
    assert found("dealname", "EQ", value="small ROOMS") == [small]
    assert found("dealname", "CONTAINS_TOKEN", value="roo*") == [small]
    assert found("dealname", "NOT_CONTAINS_TOKEN", value="rooms") == [large, bare]
    assert account.found("deals", query="hall") == [large]
    assert account.found("deals", sorts=["-amount"])[:2] == [large, small]


def wide(**more: Any) -> dict[str, Any]:
    return {"filterGroups": [], "limit": 10, **more}


ONE = {"propertyName": "amount", "operator": "HAS_PROPERTY"}


@pytest.mark.parametrize(
    "body",
    [
        wide(limit=201),
        wide(limit=200, after="9900"),
        wide(properties=["x" * 3000]),
        wide(sorts=["amount", "dealname"]),
        wide(sorts=["colour"]),
        wide(filterGroups=[{"filters": [ONE] * 7}]),
        wide(filterGroups=[{"filters": [ONE]}] * 6),
        wide(filterGroups=[{"filters": [ONE] * 5}] * 4),
        wide(filterGroups=[{"filters": [{**ONE, "value": ""}]}]),
        wide(filterGroups=[{"filters": [{**ONE, "operator": "LIKE", "value": "1"}]}]),
        wide(filterGroups=[{"filters": [{**ONE, "operator": "EQ"}]}]),
        wide(filterGroups=[{"filters": [{**ONE, "operator": "IN"}]}]),
        wide(filterGroups=[{"filters": [{**ONE, "operator": "BETWEEN", "value": "1"}]}]),
        wide(filterGroups=[{"filters": [{**ONE, "operator": "GT", "value": "much"}]}]),
        wide(filterGroups=[{"filters": [{**ONE, "propertyName": "colour"}]}]),
        [],
    ],
)
def test_a_search_beyond_its_limits_is_refused(account: Account, body: Any) -> None:
    assert account.call("POST", "/crm/v3/objects/deals/search", body, 400)["category"] == "VALIDATION_ERROR"


def test_a_search_ends_although_more_was_found(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubspot_search, "RESULTS", 4)
    for n in range(6):
        account.make("products", name=str(n))
    path, page = "/crm/v3/objects/products/search", {"limit": 2}
    first = account.call("POST", path, page)
    second = account.call("POST", path, {**page, "after": first["paging"]["next"]["after"]})
    assert (first["total"], second["paging"]["next"]["after"]) == (6, "4")
    account.call("POST", path, {**page, "after": "4"}, 400)


def test_search_is_behind_by_as_much_as_it_was_told(account: Account) -> None:
    ident = account.make("products", name="Endpoint")
    assert account.found("products") == [ident]
    account.call("POST", "/_sandbox/search_lag", {"seconds": 60})
    assert account.found("products") == []
    assert account.call("GET", f"/crm/v3/objects/products/{ident}")["id"] == ident


# -- associations


def test_an_association_is_seen_from_both_ends_with_its_types(account: Account) -> None:
    deal, company = account.make("deals"), account.make("companies")
    account.call("PUT", f"/crm/v4/objects/deals/{deal}/associations/default/companies/{company}")
    assert account.types("deals", deal, "companies") == {company: [341]}
    account.link("deals", deal, "companies", company, 5)
    assert account.types("deals", deal, "companies") == {company: [5, 341]}
    assert account.types("companies", company, "deals") == {deal: [6, 342]}
    account.call("DELETE", f"/crm/v4/objects/companies/{company}/associations/deals/{deal}", status=204)
    assert account.types("deals", deal, "companies") == {}


def test_a_deal_has_one_primary_company_and_a_company_one_parent(account: Account) -> None:
    deal, one, other = account.make("deals"), account.make("companies"), account.make("companies")
    account.link("deals", deal, "companies", one, 5)
    account.link("deals", deal, "companies", other, 5)
    assert account.types("deals", deal, "companies") == {one: [341], other: [5, 341]}
    child = account.make("companies")
    account.link("companies", one, "companies", child, 13)
    assert account.value("companies", child, "hs_parent_company_id") == one
    assert account.types("companies", child, "companies") == {one: [14]}
    account.link("companies", child, "companies", other, 14, status=400)


def test_a_batch_of_associations_says_who_has_none(account: Account) -> None:
    deal, bare, line = account.make("deals"), account.make("deals"), account.make("line_items")
    pair = {"from": {"id": deal}, "to": {"id": line}}
    account.call("POST", "/crm/v4/associations/deals/line_items/batch/associate/default", {"inputs": [pair]})
    answer = account.call(
        "POST", "/crm/v4/associations/deals/line_items/batch/read", {"inputs": [{"id": deal}, {"id": bare}]}, 207
    )
    assert [(one["from"]["id"], one["to"][0]["toObjectId"]) for one in answer["results"]] == [(deal, line)]
    assert answer["errors"][0]["subCategory"] == "crm.associations.NO_ASSOCIATIONS_FOUND"
    assert answer["errors"][0]["message"] == f"No line_item is associated with deal {bare}."


def test_an_association_needs_two_records_and_a_type_between_them(account: Account) -> None:
    deal, company = account.make("deals"), account.make("companies")
    account.link("deals", deal, "companies", "1", 341, status=404)
    account.link("deals", deal, "companies", company, 279, status=400)
    account.call("PUT", f"/crm/v4/objects/deals/{deal}/associations/default/products/{company}", status=400)


def test_an_archived_record_leaves_no_association(account: Account) -> None:
    deal, line = account.make("deals"), account.make("line_items")
    account.link("deals", deal, "line_items", line, 19)
    account.call("DELETE", f"/crm/v3/objects/line_items/{line}", status=204)
    assert account.types("deals", deal, "line_items") == {}


# -- properties, tokens, limits


def test_a_property_can_be_made_and_used(account: Account) -> None:
    told = {
        "name": "floor",
        "label": "Floor",
        "type": "number",
        "fieldType": "number",
        "groupName": "companyinformation",
    }
    account.call("POST", "/crm/v3/properties/companies", told, 201)
    account.call("POST", "/crm/v3/properties/companies", told, 409)
    ident = account.make("companies", floor="3")
    assert account.value("companies", ident, "floor") == "3"
    assert account.call("GET", "/crm/v3/properties/companies/floor")["label"] == "Floor"
    account.call("GET", "/crm/v3/properties/companies/colour", status=404)


def test_an_object_has_at_most_ten_unique_properties(account: Account) -> None:
    told = {"label": "x", "type": "string", "fieldType": "text", "groupName": "g", "hasUniqueValue": True}
    for n in range(9):
        account.call("POST", "/crm/v3/properties/products", {**told, "name": f"key_{n}"}, 201)
    account.call("POST", "/crm/v3/properties/products", {**told, "name": "key_9"}, 400)


def test_a_token_of_oauth_ends_after_half_an_hour(
    account: Account, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
    monkeypatch.setattr(running.emulators["hubspot"].shelf, "now", lambda: now)
    form = {"grant_type": "refresh_token", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    assert account.http.post("/oauth/v1/token", data=form).json()["status"] == "BAD_REFRESH_TOKEN"
    granted = account.http.post("/oauth/v1/token", data={**form, "refresh_token": REFRESH_TOKEN}).json()
    account.http.headers["Authorization"] = f"Bearer {granted['access_token']}"
    assert account.call("GET", f"/oauth/v1/access-tokens/{granted['access_token']}")["hub_id"] == PORTAL_ID
    assert account.call("GET", "/account-info/v3/details")["portalId"] == PORTAL_ID
    now += timedelta(seconds=granted["expires_in"])
    assert account.call("GET", "/account-info/v3/details", status=401)["category"] == "EXPIRED_AUTHENTICATION"


def test_without_a_token_nothing_is_answered(account: Account) -> None:
    answer = httpx.get(f"{account.url}/crm/v3/objects/deals")
    assert (answer.status_code, answer.json()["category"]) == (401, "INVALID_AUTHENTICATION")


@pytest.mark.parametrize(("limit", "policy"), [("burst", "TEN_SECONDLY_ROLLING"), ("daily", "DAILY")])
def test_a_limit_that_is_used_up_is_named(account: Account, limit: str, policy: str) -> None:
    account.call("POST", "/_sandbox/limits", {limit: 2})
    for _ in range(2):
        account.call("GET", "/crm/v3/objects/deals")
    answer = account.call("GET", "/crm/v3/objects/deals", status=429)
    assert (answer["policyName"], answer["errorType"], answer["status"]) == (policy, "RATE_LIMIT", "error")
    account.call("POST", "/_sandbox/limits", {})


def test_searches_have_a_limit_of_their_own_and_tell_nothing_of_the_others(account: Account) -> None:
    account.call("POST", "/_sandbox/limits", {"search": 1})
    first = account.http.post("/crm/v3/objects/deals/search", json={})
    assert "X-HubSpot-RateLimit-Remaining" not in first.headers
    second = account.http.post("/crm/v3/objects/deals/search", json={})
    assert (second.status_code, second.json()["policyName"]) == (429, "SECONDLY")
    assert "X-HubSpot-RateLimit-Remaining" in account.http.get("/crm/v3/objects/deals").headers
    account.call("POST", "/_sandbox/limits", {})


# -- webhooks


def test_the_events_of_one_call_come_in_one_delivery(account: Account, running: Running) -> None:
    posts: list[list[dict[str, Any]]] = []
    running.emulators["hubspot"].webhooks.carry = lambda _kind, _event, body, _type: posts.append(json.loads(body))
    inputs = [{"properties": {"dealname": str(n)}} for n in range(60)]
    made = account.call("POST", "/crm/v3/objects/deals/batch/create", {"inputs": inputs}, 201)["results"]
    won = {"inputs": [{"id": one["id"], "properties": {"dealstage": "closedwon"}} for one in made]}
    account.call("POST", "/crm/v3/objects/deals/batch/update", won)
    account.call("POST", "/crm/v3/objects/deals/batch/update", won)
    account.call("DELETE", f"/crm/v3/objects/deals/{made[0]['id']}", status=204)
    running.emulators["hubspot"].webhooks.carry = None
    assert [(len(post), post[0]["subscriptionType"]) for post in posts] == [
        (60, "deal.creation"),
        (60, "deal.propertyChange"),
        (1, "deal.deletion"),
    ]
    first = posts[1][0]
    assert (first["objectId"], first["propertyName"], first["propertyValue"]) == (
        int(made[0]["id"]),
        "dealstage",
        "closedwon",
    )
    assert (first["portalId"], first["appId"]) == (PORTAL_ID, APP_ID)


def test_what_was_kept_is_there_after_a_restart(tmp_path: Path) -> None:
    with start(["hubspot"], folder=tmp_path) as running:
        ident = Account(running.urls["hubspot"]).make("companies", tieout_id="A-1", name="Acme")
    with start(["hubspot"], folder=tmp_path) as running:
        account = Account(running.urls["hubspot"])
        upserted = account.call(
            "POST", "/crm/v3/objects/companies/batch/upsert", batch("tieout_id", ("A-1", {"city": "Austin"}))
        )
        assert (upserted["results"][0]["id"], upserted["results"][0]["new"]) == (ident, False)
        assert account.make("companies", name="Birch") != ident


# -- the published shapes


@cache
def spec(name: str) -> Any:
    return json.loads((SPECS / f"{name}.sdk-derived.openapi.json").read_text())


@published
def test_association_types_are_the_published_ones() -> None:
    """Those between companies are told by the developer changelog of 2018-09-11 and the v4 guide instead."""
    known = json.loads((SPECS / "association-types.json").read_text())["associationTypeIds"]
    names = {number: name for name, number in known.items()}
    for (here, there), types in ASSOCIATIONS.items():
        near, far = OBJECTS[here][1].upper(), OBJECTS[there][1].upper()
        for number, label in types:
            if here != there:
                assert names[number] in (f"{near}_TO_{far}", f"PRIMARY_{near}_TO_{far}"), (number, label)
            assert REVERSE[REVERSE[number]] == number
