"""What is peculiar to the HubSpot connector, against the emulated account on a real socket."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx
import yaml
from pydantic import ValidationError

from connectors.hubspot import (
    CUSTOM_PROPERTIES,
    RESOURCES,
    SEARCH_LAG,
    HubSpotConnector,
    Settings,
    connect,
    signature,
)
from core.errors import Misconfigured, OutcomeUnknown, RateLimited, Rejected, Unavailable
from core.mapping import load_book
from core.ports import ExternalKey, WebhookRequest, World
from sandbox import hubspot as vendor
from sandbox import hubspot_search
from sandbox.hubspot import ACCESS_TOKEN, CLIENT_ID, CLIENT_SECRET, PORTAL_ID, REFRESH_TOKEN
from sandbox.server import Running, start
from tests.connectors.contract_hubspot import DEAL_ID, RECEIVED_AT, WEBHOOK_URL, delivery, event, key, payload, settings

UPSERT = r"POST /crm/v3/objects/companies/batch/upsert$"
OAUTH = {"access_token": None, "client_id": CLIENT_ID, "refresh_token": REFRESH_TOKEN}


class Portal:
    """An emulated account, a connector to it, and the seeding that sales would do by hand."""

    def __init__(self, running: Running) -> None:
        self.emulator = running.emulators["hubspot"]
        self.url = running.urls["hubspot"]
        self.waits: list[float] = []
        self.now = datetime.now(UTC)
        self.world = World(sleep=self.waits.append, clock=lambda: self.now)
        self.connector = connect(settings(self.url), self.world)
        self.http = httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {ACCESS_TOKEN}"})

    def control(self, name: str, told: Any) -> None:
        self.http.post(f"/_sandbox/{name}", json=told).raise_for_status()

    def plant(self, **fault: Any) -> None:
        self.control("faults", fault)

    def count(self, kind: str) -> int:
        return int(self.http.get("/_sandbox/objects").json().get(kind, 0))

    def create(self, kind: str, *links: tuple[str, int], **properties: str) -> str:
        """The id of a new record; ``links``: id of another record and the type of the association."""
        associations = [
            {
                "to": {"id": ident},
                "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": number}],
            }
            for ident, number in links
        ]
        body = {"properties": properties, "associations": associations}
        answer = self.http.post(f"/crm/v3/objects/{kind}", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def sell(self, *lines: Mapping[str, str], stage: str = "closedwon", company_type: int = 5) -> str:
        """The id of a deal of account A-0001 with these lines, each of one endpoint at 30 unless it says otherwise."""
        found = self.connector.find("account", key(1))
        self.company = (found or self.connector.upsert("account", payload(1), key(1))).vendor_id
        if not found:
            self.product = self.create("products", name="Endpoint", price="30", hs_sku="ENDPOINT")
        total = sum((Decimal(one.get("quantity", "1")) * Decimal(one.get("price", "30")) for one in lines), Decimal())
        deal = self.create(
            "deals",
            (self.company, company_type),
            dealname="Rooms",
            dealstage=stage,
            amount=str(total),
            closedate="2026-09-21",
            tieout_service_start="2026-10-01",
            tieout_term_months="12",
        )
        for line in lines:
            self.create("line_items", (deal, 20), **{"quantity": "1", "hs_product_id": self.product, **line})
        return deal


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with start(["hubspot"]) as running:
        yield running


@pytest.fixture
def portal(running: Running) -> Iterator[Portal]:
    httpx.post(f"{running.urls['hubspot']}/_sandbox/reset").raise_for_status()
    built = Portal(running)
    yield built
    built.connector.close()
    built.http.close()


# -- orders


def test_an_order_is_read_whole_and_becomes_an_order_of_ours(portal: Portal) -> None:
    """The won deal with its company, sites, contacts and lines; every amount exact."""
    deal = portal.sell({"quantity": "3", "price": "19.99", "tieout_site_code": "A-0001-S1"}, {})
    place = {"address": "1 Poultry", "city": "London", "zip": "EC2R 8EJ", "tieout_country_code": "GB"}
    portal.create("companies", (portal.company, 14), name="London", tieout_site_code="A-0001-S1", **place)
    portal.create("companies", (portal.company, 14), name="A subsidiary that is no site")
    portal.create("contacts", (portal.company, 1), email="Dana@Acme.example", firstname="Dana", lastname="Fox")
    holding = portal.create("companies", (portal.company, 13), name="Holding", tieout_id="A-0000")
    payload = portal.connector.get("order", deal)
    assert payload["ParentCompany"]["hs_object_id"] == holding
    order = load_book(Path("mappings")).find("hubspot", "order", "in", "order").into(payload)
    assert (order.total.amount, order.term_months, order.account.id) == (Decimal("89.97"), 12, "A-0001")
    assert (order.account.parent_id, order.account.payment_terms_days) == ("A-0000", 30)
    assert [site.id for site in order.account.sites] == ["A-0001-S1"]
    assert [(one.name, one.email) for one in order.account.contacts] == [("Dana Fox", "dana@acme.example")]
    assert [(one.charge_code, one.quantity, one.amount.amount) for one in order.lines] == [
        ("ENDPOINT", Decimal(3), Decimal("59.97")),
        ("ENDPOINT", Decimal(1), Decimal("30.00")),
    ]


@pytest.mark.parametrize(
    ("offers", "won_by"),
    [
        ([("APPROVED", 2), ("APPROVAL_NOT_NEEDED", 2)], 1),
        ([("APPROVAL_NOT_NEEDED", 2), ("DRAFT", 2), ("REJECTED", 2)], 0),
        ([("APPROVAL_NOT_NEEDED", 2), ("APPROVAL_NOT_NEEDED", 1)], 0),
        ([("APPROVAL_NOT_NEEDED", 3)], None),
        ([], None),
    ],
)
def test_a_deal_was_won_by_the_newest_published_quote_whose_lines_say_the_same(
    portal: Portal, offers: list[tuple[str, int]], won_by: int | None
) -> None:
    """``offers``: the state of each quote, and the quantity of its second line. Each line of the deal has its own."""
    deal = portal.sell({}, {"quantity": "2"}, {})
    quotes, lines = [], []
    for status, quantity in offers:
        about = {"hs_title": "Offer", "hs_expiration_date": "2026-12-31", "hs_status": status}
        quotes.append(portal.create("quotes", (deal, 64), **about))
        said = [{"hs_product_id": portal.product, "quantity": one} for one in (str(quantity), "1", "1")]
        lines.append([portal.create("line_items", (quotes[-1], 68), **one) for one in said])
    told = portal.connector.get("order", deal)
    order = load_book(Path("mappings")).find("hubspot", "order", "in", "order").into(told)
    first, second, third = [None] * 3 if won_by is None else lines[won_by]
    assert order.quote_id == (None if won_by is None else quotes[won_by])
    assert [line.quote_line_id for line in order.lines] == [second, first, third]


def test_an_order_takes_at_most_twelve_calls(portal: Portal) -> None:
    deal = portal.sell({}, {})
    quote = portal.create("quotes", (deal, 64), hs_title="Offer", hs_expiration_date="2026-12-31", hs_status="APPROVED")
    portal.create("line_items", (quote, 68), quantity="1", hs_product_id=portal.product)
    portal.connector.get("order", deal)
    before = _calls(portal)
    portal.connector.get("order", deal)
    assert _calls(portal) - before - 1 <= 12


def _calls(portal: Portal) -> int:
    """How many calls the account has counted today, this one with them."""
    told = portal.http.get("/account-info/v3/details").headers
    return int(told["x-hubspot-ratelimit-daily"]) - int(told["x-hubspot-ratelimit-daily-remaining"])


def test_the_only_company_of_a_deal_is_the_customer_and_of_several_the_primary_one(portal: Portal) -> None:
    """A deal with two companies, none of them primary, has no customer, and its mapping refuses it."""
    deal = portal.sell({}, company_type=341)
    assert portal.connector.get("order", deal)["Company"]["tieout_id"] == "A-0001"
    other = portal.create("companies", (deal, 342), name="Partner", tieout_id="A-0002")
    assert portal.connector.get("order", deal)["Company"] is None
    body = [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 5}]
    portal.http.put(f"/crm/v4/objects/deals/{deal}/associations/companies/{other}", json=body).raise_for_status()
    assert portal.connector.get("order", deal)["Company"]["tieout_id"] == "A-0002"


def test_associations_are_read_to_their_last_page(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    deal = portal.sell(*[{}] * 5)
    monkeypatch.setattr(vendor, "LINKS_PAGE", 2)
    assert len(portal.connector.get("order", deal)["LineItems"]) == 5


def test_only_won_deals_are_orders_and_deleted_ones_follow(portal: Portal) -> None:
    portal.sell({}, stage="contractsent")
    won, gone = portal.sell({}), portal.sell({})
    portal.http.delete(f"/crm/v3/objects/deals/{gone}").raise_for_status()
    (all_there_are,) = portal.connector.changes("order", None)
    changed = list(portal.connector.changes("order", all_there_are.changed_at.isoformat()))
    assert all_there_are.payload == portal.connector.get("order", won)
    assert [(one.vendor_id, one.payload is None) for one in changed] == [(won, False), (gone, True)]
    assert list(portal.connector.changes("order", "2100-01-01T00:00:00+00:00")) == []


def test_a_deal_that_was_opened_again_after_it_was_listed_is_no_order(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the index or the list said is held against the record itself."""
    opened, won = portal.sell({}, stage="contractsent"), portal.sell({})
    monkeypatch.setattr(portal.connector, "_searched", lambda *_: iter([opened, won]))
    since = datetime.now(UTC).isoformat()
    assert [one.vendor_id for one in portal.connector.changes("order", since)] == [won]


# -- search and lists


def test_a_search_goes_on_where_the_vendor_ends_it(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    """No search asks for more than one page, so the most results of a search are never reached."""
    monkeypatch.setattr(hubspot_search, "RESULTS", 20)
    portal.connector.upsert_many("account", [(payload(n), key(n)) for n in range(1, 46)])
    connector = connect(settings(portal.url, page=20), portal.world)
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    changes = list(connector.changes("account", since))
    assert len({one.vendor_id for one in changes}) == len(changes) == 45
    connector.close()


def test_an_index_that_is_behind_hides_nothing_from_finding_and_listing_all(portal: Portal) -> None:
    """Records are found by key and listed from the store; only what changed since a moment comes from the index."""
    portal.control("search_lag", {"seconds": 3600})
    written = portal.connector.upsert("account", payload(1), key(1))
    assert portal.connector.find("account", key(1)) == replace(written, created=False)
    assert [one.vendor_id for one in portal.connector.changes("account", None)] == [written.vendor_id]
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    assert list(portal.connector.changes("account", since)) == []


def test_a_search_begins_earlier_than_asked_by_as_much_as_the_index_may_be_behind(portal: Portal) -> None:
    """A record that was changed before the cursor, and indexed after it, comes all the same."""
    written = portal.connector.upsert("account", payload(1), key(1))
    (change,) = portal.connector.changes("account", None)
    later = change.changed_at + SEARCH_LAG
    assert [one.vendor_id for one in portal.connector.changes("account", later.isoformat())] == [written.vendor_id]
    assert list(portal.connector.changes("account", (later + timedelta(seconds=1)).isoformat())) == []


def test_sites_are_no_accounts(portal: Portal) -> None:
    account = portal.connector.upsert("account", payload(1), key(1)).vendor_id
    site = portal.create("companies", (account, 14), name="London", tieout_site_code="A-0001-S1")
    assert [one.vendor_id for one in portal.connector.changes("account", None)] == [account]
    assert [one.vendor_id for one in portal.connector.changes("site", None)] == [site]
    found = portal.connector.find("site", ExternalKey("tieout_site_code", "A-0001-S1"))
    assert found is not None
    assert found.answer["hs_parent_company_id"] == account


# -- writing


def test_progress_is_written_onto_the_deal_and_found_again(portal: Portal) -> None:
    """order_progress updates by the deal's own id: written twice it says the same, and nothing is created."""
    deal = portal.sell({})
    progress = {"tieout_status": "invoiced", "tieout_invoiced": "21.65", "tieout_invoice_numbers": "INV-1"}
    first = portal.connector.upsert("order_progress", progress, ExternalKey("hs_object_id", deal))
    again = portal.connector.upsert(
        "order_progress", {**progress, "tieout_invoice_numbers": ""}, ExternalKey("hs_object_id", deal)
    )
    found = portal.connector.find("order_progress", ExternalKey("hs_object_id", deal))
    assert found is not None
    assert first.vendor_id == again.vendor_id == found.vendor_id == deal
    assert (first.created, portal.count("deals")) == (False, 1)
    assert (found.answer["tieout_invoiced"], found.answer["tieout_invoice_numbers"]) == ("21.65", None)
    assert [one.vendor_id for one in portal.connector.changes("order_progress", None)] == [deal]


def test_progress_of_an_unknown_deal_is_rejected_and_stops_no_other(portal: Portal) -> None:
    deal = portal.sell({})
    items = [({"tieout_status": "paid"}, ExternalKey("hs_object_id", ident)) for ident in (DEAL_ID, deal)]
    refused, written = portal.connector.upsert_many("order_progress", items)
    assert isinstance(refused, Rejected)
    assert (refused.record, refused.code) == ("order_progress", "OBJECT_NOT_FOUND")
    assert getattr(written, "vendor_id", None) == deal


@respx.mock
def test_an_update_that_silently_did_nothing_is_rejected() -> None:
    """An id that is not there may simply be missing from the answer."""
    known = {"results": [{"name": "hs_object_id"}]}
    respx.get("https://api.hubapi.com/crm/v3/properties/deals").respond(json=known)
    respx.post(path__regex="/batch/(update|read)").respond(json={"status": "COMPLETE", "results": []})
    connector = connect(Settings.model_validate({"access_token": "t"}), World(sleep=lambda _seconds: None))
    with pytest.raises(Rejected, match="has no order_progress"):
        connector.upsert("order_progress", {"tieout_status": "paid"}, ExternalKey("hs_object_id", DEAL_ID))
    connector.close()


def test_a_value_that_another_record_has_refuses_its_own_record_alone(portal: Portal) -> None:
    """409 is the answer to a whole batch; in halves, the others go through."""
    account = portal.connector.upsert("account", payload(1), key(1)).vendor_id
    portal.create("companies", (account, 14), name="London", tieout_site_code="A-0001-S1")
    items = [(payload(n), key(n)) for n in range(2, 9)]
    items[4] = ({**payload(6), "tieout_site_code": "A-0001-S1"}, key(6))
    outcomes = portal.connector.upsert_many("account", items)
    failed = [(place, one) for place, one in enumerate(outcomes) if isinstance(one, Exception)]
    assert [place for place, _ in failed] == [4]
    refused = failed[0][1]
    assert isinstance(refused, Rejected)
    assert (refused.record, refused.field, refused.value) == ("account", "tieout_site_code", "A-0001-S1")
    assert (refused.code, portal.count("companies")) == ("CONFLICT", 8)


def test_two_versions_of_a_record_in_one_batch_end_as_one_object_with_the_later(portal: Portal) -> None:
    """HubSpot refuses a batch that names a record twice; in halves it takes one after the other."""
    items = [(payload(1), key(1)), ({**payload(1), "name": "Customer One"}, key(1))]
    first, second = portal.connector.upsert_many("account", items)
    assert getattr(first, "vendor_id", 0) == getattr(second, "vendor_id", 1)
    found = portal.connector.find("account", key(1))
    assert found is not None
    assert (found.answer["name"], portal.count("companies")) == ("Customer One", 1)


def test_a_bulk_write_of_several_calls_answers_in_order(portal: Portal) -> None:
    outcomes = portal.connector.upsert_many("account", [(payload(n), key(n)) for n in range(1, 131)])
    assert [getattr(one, "key", None) for one in outcomes] == [key(n) for n in range(1, 131)]
    assert portal.count("companies") == 130


def test_a_lost_reply_to_a_bulk_write_is_unknown_for_each_of_its_records(portal: Portal) -> None:
    portal.connector.upsert("account", payload(1), key(1))
    portal.plant(kind="lose_reply", match=UPSERT)
    items = [(payload(n), key(n)) for n in range(2, 5)]
    assert all(isinstance(one, OutcomeUnknown) for one in portal.connector.upsert_many("account", items))
    again = portal.connector.upsert_many("account", items)
    assert [getattr(one, "created", None) for one in again] == [False] * 3
    assert portal.count("companies") == 4


def test_a_write_that_cannot_be_read_back_is_unknown(portal: Portal) -> None:
    portal.connector.upsert("account", payload(1), key(1))
    portal.plant(kind="error", status=500, match="companies/batch/read", times=0)
    with pytest.raises(OutcomeUnknown):
        portal.connector.upsert("account", payload(2), key(2))


@respx.mock
def test_errors_of_a_batch_that_went_through_in_part_go_to_their_records() -> None:
    """207: each error names its record by the trace id that we sent along."""
    base = "https://api.hubapi.com"
    names = {"results": [{"name": "hs_object_id"}, {"name": "tieout_id", "hasUniqueValue": True}]}
    record = {"id": "7", "properties": {"tieout_id": "A-0001", "hs_object_id": "7"}, "new": True}
    error = {
        "status": "error",
        "category": "VALIDATION_ERROR",
        "message": 'Property values were not valid: [{"message":"no","error":"INVALID_EMAIL","name":"name"}]',
        "context": {"objectWriteTraceId": ["A-0002"]},
    }
    respx.get(f"{base}/crm/v3/properties/companies").respond(json=names)
    write = respx.post(f"{base}/crm/v3/objects/companies/batch/upsert").respond(
        207, json={"results": [record], "errors": [error]}
    )
    respx.post(f"{base}/crm/v3/objects/companies/batch/read").respond(json={"results": [record]})
    connector = connect(Settings.model_validate({"access_token": "t"}), World(sleep=lambda _seconds: None))
    written, refused = connector.upsert_many("account", [({"name": "a"}, key(1)), ({"name": "b"}, key(2))])
    sent = json.loads(write.calls.last.request.content)["inputs"]
    assert [one["objectWriteTraceId"] for one in sent] == ["A-0001", "A-0002"]
    assert getattr(written, "created", None) is True
    assert isinstance(refused, Rejected)
    assert (refused.field, refused.value, refused.code) == ("name", "b", "INVALID_EMAIL")
    connector.close()


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"colour": "red"}, "colour", "PROPERTY_DOESNT_EXIST"),
        ({"industry": "GARDENING"}, "industry", "INVALID_OPTION"),
        ({"tieout_payment_terms_days": "soon"}, "tieout_payment_terms_days", "INVALID_LONG"),
        ({"hs_parent_company_id": "1"}, "hs_parent_company_id", "READ_ONLY_VALUE"),
    ],
)
def test_a_refusal_names_property_value_and_code(portal: Portal, change: dict[str, str], field: str, code: str) -> None:
    with pytest.raises(Rejected) as caught:
        portal.connector.upsert("account", {**payload(1), **change}, key(1))
    error = caught.value
    assert (error.system, error.record, error.field, error.value) == ("hubspot", "account", field, change[field])
    assert (error.code, portal.count("companies")) == (code, 0)


def test_numbers_of_a_payload_travel_as_exact_text(portal: Portal) -> None:
    deal = portal.sell({})
    amounts = {
        "tieout_invoiced": Decimal("10000000000000.10"),
        "tieout_paid": Decimal("1E+2"),
        "tieout_subscription": None,
    }
    written = portal.connector.upsert("order_progress", amounts, ExternalKey("hs_object_id", deal))
    assert (written.answer["tieout_invoiced"], written.answer["tieout_paid"]) == ("10000000000000.10", "100")
    assert written.answer["tieout_subscription"] is None
    flag = portal.connector.upsert("order_progress", {"tieout_subscription": True}, ExternalKey("hs_object_id", deal))
    assert flag.answer["tieout_subscription"] == "true"


def test_read_only_resources_and_foreign_keys_are_refused_before_anything_is_sent(portal: Portal) -> None:
    with pytest.raises(Misconfigured, match="only read"):
        portal.connector.upsert("contact", {"lastname": "Fox"}, ExternalKey("hs_object_id", DEAL_ID))
    with pytest.raises(Misconfigured, match="key of account"):
        portal.connector.upsert("account", payload(1), ExternalKey("domain", "acme.example"))


# -- tokens and limits


def test_oauth_signs_in_by_its_refresh_token_and_renews_before_the_end(portal: Portal) -> None:
    """A token of 30 minutes is renewed a minute before it ends, by our clock, and not by being refused."""
    connector = connect(settings(portal.url, **OAUTH), portal.world)
    connector.upsert("account", payload(1), key(1))
    first = connector._session.token(ended=None)
    portal.now += timedelta(minutes=28)
    assert connector._session.token(ended=None) == first
    portal.now += timedelta(minutes=1, seconds=1)
    assert connector._session.token(ended=None) != first
    connector.close()


def test_a_token_that_ended_early_is_renewed_once_and_the_write_goes_through(portal: Portal) -> None:
    connector = connect(settings(portal.url, **OAUTH), portal.world)
    connector.upsert("account", payload(1), key(1))
    portal.emulator.shelf.drop("_token", connector._session.token(ended=None))
    assert not connector.upsert("account", payload(1), key(1)).created
    portal.plant(kind="error", status=401, match="/crm/v3/objects", times=0)
    with pytest.raises(Misconfigured, match="INVALID_AUTHENTICATION"):
        connector.upsert("account", payload(1), key(1))
    connector.close()


def test_threads_that_meet_an_ended_token_share_one_renewal(portal: Portal) -> None:
    connector = connect(settings(portal.url, **OAUTH), portal.world)
    connector.upsert("account", payload(1), key(1))
    portal.emulator.shelf.drop("_token", connector._session.token(ended=None))
    threads = [threading.Thread(target=connector.find, args=("account", key(1))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(portal.http.get("/_sandbox/objects/_token").json()) == 1
    connector.close()


@pytest.mark.parametrize("wrong", [{"refresh_token": "canary"}, {"client_secret": "canary"}])
def test_a_sign_in_that_is_refused_is_a_misconfiguration_that_tells_no_secret(
    portal: Portal, wrong: dict[str, str]
) -> None:
    connector = connect(settings(portal.url, **OAUTH | wrong), portal.world)
    with pytest.raises(Misconfigured, match="BAD_") as caught:
        connector.find("account", key(1))
    assert "canary" not in str(caught.value)
    connector.close()


def test_a_sign_in_that_fails_never_makes_a_write_unknown(portal: Portal) -> None:
    connector = connect(settings(portal.url, **OAUTH), portal.world)
    portal.plant(kind="reset", match="/oauth/v1/token", times=0)
    with pytest.raises(Unavailable):
        connector.upsert("account", payload(1), key(1))
    connector.close()


def test_a_missing_scope_is_named(portal: Portal) -> None:
    portal.plant(kind="error", status=403, match=UPSERT, times=0)
    with pytest.raises(Misconfigured, match=r"crm\.objects\.companies\.write"):
        portal.connector.upsert("account", payload(1), key(1))


@pytest.mark.parametrize(("limit", "wait"), [("burst", 10.0), ("search", 1.0)])
def test_a_short_limit_is_waited_for_by_its_policy(portal: Portal, limit: str, wait: float) -> None:
    """HubSpot does not say how long; the policy that is used up does. Waiting does not end it here, so it is raised."""
    portal.connector.upsert("account", payload(1), key(1))
    portal.control("limits", {limit: 0})
    with pytest.raises(RateLimited, match=vendor.POLICIES[limit][0]):
        list(portal.connector.changes("account", portal.now.isoformat() if limit == "search" else None))
    assert portal.waits == [wait] * 3


def test_the_daily_limit_is_given_back_to_the_outbox_at_once(portal: Portal) -> None:
    portal.connector.upsert("account", payload(1), key(1))
    portal.control("limits", {"daily": 0})
    with pytest.raises(RateLimited) as caught:
        portal.connector.upsert("account", payload(2), key(2))
    assert (caught.value.wait_seconds, portal.waits) == (1800.0, [])


@pytest.mark.parametrize(("status", "wait"), [(423, 2.0), (477, 60.0)])
def test_a_locked_record_and_a_moving_account_are_waited_for(portal: Portal, status: int, wait: float) -> None:
    portal.connector.upsert("account", payload(1), key(1))
    portal.plant(kind="error", status=status, match=UPSERT)
    (outcome,) = portal.connector.upsert_many("account", [(payload(2), key(2))])
    if wait > 30:
        assert isinstance(outcome, RateLimited)
        assert outcome.wait_seconds == wait
    else:
        assert (getattr(outcome, "created", None), portal.waits) == (True, [wait])


# -- webhooks


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("1693657560000", "K36dawei4A+QBNolUOqo7s91KQDWQ5MXZ/QufNYuk/Y="),
        ("1700000300000", "RnbPH7+UMKVkbV32P8bz450N4M56aPmcru1+D3kSDtw="),
    ],
)
def test_the_signature_is_that_of_the_vendors_own_clients(at: str, expected: str) -> None:
    """Known answers of the tests of HubSpot's Python and Ruby clients."""
    secret, body = "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy", b"{'example_field':'example_value'}"
    assert signature(secret, "https://www.example.com/webhook_uri", body, at) == expected


def test_some_encodings_of_the_url_are_undone_before_it_is_signed() -> None:
    plain = signature("s", "https://hub.example/a:b?c=(d)", b"[]", "1")
    assert signature("s", "https://hub.example/a%3Ab?c=%28d%29", b"[]", "1") == plain
    assert signature("s", "https://hub.example/a%3ab?c=%28d)", b"[]", "1") == plain
    assert signature("s", "https://hub.example/a:b?c=%20(d)", b"[]", "1") != plain


def test_a_won_deal_is_an_event_and_its_retries_are_the_same_event(portal: Portal) -> None:
    (told,) = portal.connector.events(delivery())
    assert (told.resource, told.vendor_id, told.kind) == ("order", DEAL_ID, "deal.propertyChange")
    assert told.occurred_at == datetime.fromtimestamp(1_793_611_798, UTC)
    again = portal.connector.events(delivery(event(attemptNumber=3, eventId=101)))
    assert [one.event_id for one in again] == [told.event_id]


def test_a_delivery_of_many_events_gives_those_that_matter_here(portal: Portal) -> None:
    """Open stages, other properties, deletions, unknown objects and other accounts' events are nobody's."""
    events = [
        event(propertyValue="contractsent"),
        event(propertyName="amount", propertyValue="1"),
        event(subscriptionType="deal.deletion", propertyName=None),
        event(subscriptionType="ticket.creation"),
        event(portalId=1),
        event(subscriptionType="company.creation", propertyName=None, objectId=5),
        event(subscriptionType="object.propertyChange", objectTypeId="0-3", objectId=6),
    ]
    told = portal.connector.events(delivery(*events))
    assert [(one.resource, one.vendor_id) for one in told] == [("account", "5"), ("order", "6")]


@pytest.mark.parametrize(
    "request_",
    [
        delivery(secret="guess"),
        delivery(url=f"{WEBHOOK_URL}/"),
        delivery(age=timedelta(minutes=5, seconds=1)),
        delivery(age=timedelta(minutes=-5, seconds=-1)),
        replace(delivery(), body=delivery().body + b" "),
        replace(delivery(), headers={}),
        replace(delivery(), headers={**delivery().headers, "x-hubspot-request-timestamp": "1793611798001"}),
    ],
    ids=["secret", "url", "stale", "future", "body", "none", "time"],
)
def test_a_forged_or_stale_delivery_is_rejected(portal: Portal, request_: WebhookRequest) -> None:
    with pytest.raises(Rejected) as caught:
        portal.connector.events(request_)
    assert caught.value.code != "malformed"


@pytest.mark.parametrize(
    "body",
    [b"", b"{}x", b'{"portalId": 1}', b"[1]", b"[{}]", b"[" * 100_000, b'[{"portalId": 48151623, "occurredAt": 1}]'],
    ids=["empty", "text", "object", "number", "nothing", "deep", "half"],
)
def test_a_genuine_delivery_of_another_form_is_malformed(portal: Portal, body: bytes) -> None:
    with pytest.raises(Rejected) as caught:
        portal.connector.events(delivery(body=body))
    assert caught.value.code == "malformed"


def test_an_event_without_an_imaginable_moment_is_malformed(portal: Portal) -> None:
    for moment in (10**30, -(10**30), "soon", None):
        with pytest.raises(Rejected):
            portal.connector.events(delivery(event(occurredAt=moment)))


@pytest.mark.parametrize("missing", ["client_secret", "webhook_url", "portal_id"])
def test_webhooks_need_secret_url_and_account(portal: Portal, missing: str) -> None:
    connector = connect(settings(portal.url, **{missing: None}), portal.world)
    with pytest.raises(Misconfigured, match=missing):
        connector.events(delivery())
    connector.close()


def test_what_the_account_sends_when_a_deal_is_won_is_taken(portal: Portal) -> None:
    """From the emulator's own dispatcher: its body and signature, over the URL that was registered."""
    posts: list[bytes] = []
    portal.control("webhooks", {"url": WEBHOOK_URL})
    portal.emulator.webhooks.carry = lambda _kind, _event, body, _type: posts.append(body)
    deal = portal.sell({})
    portal.emulator.webhooks.carry = None
    told = []
    for body in posts:
        headers = portal.emulator.webhooks.sign({}, body, "")
        named = {name.lower(): value for name, value in headers.items()}
        told += portal.connector.events(WebhookRequest(body, named, {}, datetime.now(UTC)))
    assert [one.vendor_id for one in told if one.resource == "order"] == [deal]


# -- the doctor


def test_the_doctor_finds_an_account_that_is_set_up_well(portal: Portal) -> None:
    findings = portal.connector.check()
    assert [one.check for one in findings if not one.ok] == []
    assert {"account", "daily calls", "won stages", "properties of deals"} <= {one.check for one in findings}


def test_the_doctor_names_missing_properties_stages_and_the_wrong_account(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CUSTOM_PROPERTIES, "deals", ("tieout_status", "not_made_yet"))  # type: ignore[arg-type]
    monkeypatch.setitem(RESOURCES, "strange", replace(RESOURCES["account"], key_field="domain"))  # type: ignore[arg-type]
    wrong = settings(portal.url, portal_id=PORTAL_ID + 1, won_stages=["12345"])
    connector = connect(wrong, portal.world)
    failed = {one.check: one.detail for one in connector.check() if not one.ok}
    assert failed.keys() == {"account", "won stages", "properties of deals", "properties of companies"}
    assert "not_made_yet" in failed["properties of deals"]
    assert "domain" in failed["properties of companies"]
    assert failed["won stages"] == "no won stage 12345; not listened to: closedwon"
    connector.close()


def test_a_key_that_the_account_does_not_have_is_a_misconfiguration(portal: Portal) -> None:
    portal.connector._known["companies"] = {"name": {}, "hs_object_id": {}}
    with pytest.raises(Misconfigured, match="tieout doctor"):
        portal.connector.find("account", key(1))


def test_the_doctor_says_so_when_the_account_cannot_be_reached() -> None:
    connector = connect(settings("http://127.0.0.1:9"), World(sleep=lambda _seconds: None))
    (finding,) = connector.check()
    assert not finding.ok
    connector.close()


@pytest.mark.parametrize("url", ["http://api.hubapi.com", "ftp://127.0.0.1", "api.hubapi.com"])
def test_only_a_loopback_host_may_speak_plain_http(url: str) -> None:
    with pytest.raises(ValidationError, match="https"):
        settings(url)


def test_settings_need_one_way_to_sign_in_and_show_no_secret() -> None:
    with pytest.raises(ValidationError, match="access_token"):
        Settings.model_validate({"client_id": "x", "client_secret": "y"})
    shown = repr(settings("https://api.hubapi.com")) + repr(connect(settings("https://api.hubapi.com"), World())._wire)
    assert ACCESS_TOKEN not in shown
    assert CLIENT_SECRET not in shown


def test_the_mappings_name_only_properties_that_set_up_creates() -> None:
    known = {name for names in CUSTOM_PROPERTIES.values() for name in names}
    for file in Path("mappings/hubspot").glob("*.yaml"):
        named = {word for word in _words(yaml.safe_load(file.read_text())["fields"]) if word.startswith("tieout_")}
        assert named <= known, file.name


def _words(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield str(name)
            yield from _words(value)
    elif isinstance(node, list):
        for value in node:
            yield from _words(value)
    elif isinstance(node, str):
        yield from node.replace("{", ".").replace("}", ".").split(".")


def test_every_resource_can_be_read(portal: Portal) -> None:
    assert isinstance(portal.connector, HubSpotConnector)
    for name in RESOURCES:
        assert list(portal.connector.changes(name, None)) == []
        assert list(portal.connector.changes(name, RECEIVED_AT.isoformat())) == []
