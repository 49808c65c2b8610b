"""What is peculiar to the Salesforce connector, against the emulated org on a real socket."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import ValidationError

from connectors.salesforce import (
    CUSTOM_FIELDS,
    CUSTOM_FIELDS_OF_QUOTES,
    RESOURCES,
    SalesforceConnector,
    Settings,
    connect,
)
from connectors.wire import SdkSession
from core.errors import Misconfigured, OutcomeUnknown, RateLimited, Rejected, Unavailable
from core.ports import ExternalKey, WebhookRequest, World
from sandbox.salesforce import ORGANIZATION_ID, STANDARD_PRICEBOOK_ID, USERNAME, acknowledged
from sandbox.server import Running, start
from tests.connectors.contract_salesforce import OPPORTUNITY_ID, RECEIVED_AT, key, message, payload, settings

COMPOSITE = r"POST /services/data/v64\.0/composite$"


class Org:
    """An emulated org, a connector to it, and the seeding that sales would do by hand."""

    def __init__(self, running: Running) -> None:
        self.emulator = running.emulators["salesforce"]
        self.url = running.urls["salesforce"]
        self.waits: list[float] = []
        self.world = World(sleep=self.waits.append)
        self.connector = connect(settings(self.url), self.world)
        self.http = httpx.Client(base_url=self.url)

    def plant(self, **fault: Any) -> None:
        self.http.post("/_sandbox/faults", json=fault).raise_for_status()

    def count(self, kind: str) -> int:
        return int(self.http.get("/_sandbox/objects").json().get(kind, 0))

    def create(self, kind: str, *records: Mapping[str, Any]) -> list[str]:
        """Ids of new records, made as the vendor's own clients make them: 200 in a call."""
        token = self.connector._session.token(ended=None)
        answer = self.http.post(
            "/services/data/v64.0/composite/sobjects",
            json={"allOrNone": True, "records": [{"attributes": {"type": kind}, **record} for record in records]},
            headers={"Authorization": f"Bearer {token}"},
        ).json()
        assert all(result["success"] for result in answer), answer
        return [result["id"] for result in answer]

    def sell(self, *lines: Mapping[str, Any], stage: str = "Closed Won") -> str:
        """The id of a won opportunity of account A-0001 with these lines."""
        if not self.connector.find("account", key(1)):
            self.connector.upsert("account", payload(1), key(1))
            (self.product,) = self.create("Product2", {"Name": "Endpoint", "ProductCode": "ENDPOINT", "IsActive": True})
            price = {"Pricebook2Id": STANDARD_PRICEBOOK_ID, "Product2Id": self.product, "UnitPrice": 30}
            (self.entry,) = self.create("PricebookEntry", price | {"IsActive": True})
        opportunity = {"Name": "Rooms", "StageName": stage, "CloseDate": "2026-09-21", "Term_Months__c": 12}
        (ident,) = self.create("Opportunity", opportunity | {"Account": {"Tieout_Id__c": "A-0001"}})
        own = {"OpportunityId": ident, "PricebookEntryId": self.entry}
        if lines:
            self.create("OpportunityLineItem", *(own | dict(line) for line in lines))
        return ident


@pytest.fixture
def org() -> Iterator[Org]:
    with start(["salesforce"]) as running:
        built = Org(running)
        yield built
        built.connector.close()
        built.http.close()


def test_an_order_is_read_whole_in_one_call(org: Org) -> None:
    """get("order") answers the opportunity with its account, contacts, sites and lines, amounts exact."""
    ident = org.sell(
        {"Quantity": 3, "UnitPrice": "19.99", "Site_Code__c": "A-0001-S1"}, {"Quantity": 1, "UnitPrice": 5}
    )
    by_account = {"Account__r": {"Tieout_Id__c": "A-0001"}}
    org.create("Site__c", by_account | {"Site_Code__c": "A-0001-S1", "Name": "Austin HQ"})
    org.create("Contact", {"Account": {"Tieout_Id__c": "A-0001"}, "LastName": "Fox", "FirstName": "Dana"})
    org.connector.get("order", ident)
    before = org.emulator.shelf.next("api_requests")
    order = org.connector.get("order", ident)
    assert org.emulator.shelf.next("api_requests") - before == 2
    assert order["Opportunity"]["Amount"] == Decimal("64.97")
    assert order["Opportunity"]["Term_Months__c"] == 12
    assert type(order["Opportunity"]["Term_Months__c"]) is int
    assert (order["Account"]["AccountNumber"], order["Account"]["Parent"]) == ("A-0001", None)
    assert [contact["Name"] for contact in order["Contacts"]] == ["Dana Fox"]
    assert [site["Site_Code__c"] for site in order["Sites"]] == ["A-0001-S1"]
    first, second = order["LineItems"]
    assert first["Product2"] == {"Name": "Endpoint", "ProductCode": "ENDPOINT"}
    assert (first["TotalPrice"], second["TotalPrice"]) == (Decimal("59.97"), Decimal("5.0"))
    assert not any("attributes" in part for part in (order["Opportunity"], order["Account"], first, first["Product2"]))


def test_an_order_with_more_lines_than_a_page_is_read_to_its_last_line(org: Org) -> None:
    """Pages of a query inside a composite are followed."""
    ident = org.sell(*[{"Quantity": 1, "UnitPrice": 1}] * 200)
    org.create("OpportunityLineItem", {"OpportunityId": ident, "PricebookEntryId": org.entry, "Quantity": 1})
    order = org.connector.get("order", ident)
    assert len(order["LineItems"]) == 201
    assert sum(line["TotalPrice"] for line in order["LineItems"]) == order["Opportunity"]["Amount"] == 230


def test_changed_orders_are_the_won_ones_since_a_closed_start(org: Org) -> None:
    """changes("order") leaves open opportunities out and begins with the record stamped exactly at the cursor."""
    org.sell({"Quantity": 1, "UnitPrice": 1}, stage="Prospecting")
    won = org.sell({"Quantity": 2, "UnitPrice": 10})
    (change,) = org.connector.changes("order", None)
    assert (change.vendor_id, change.payload) == (won, org.connector.get("order", won))
    assert [c.vendor_id for c in org.connector.changes("order", change.changed_at.isoformat())] == [won]
    assert list(org.connector.changes("order", "2100-01-01T00:00:00+00:00")) == []


def test_changed_orders_span_several_batches_without_loss(org: Org) -> None:
    """More won opportunities than one call carries come all, once, in the order of their stamps."""
    org.sell()
    base = {"Name": "Bulk", "StageName": "Closed Won", "CloseDate": "2026-09-21", "Amount": 1}
    for _ in range(2):
        org.create("Opportunity", *[base] * 130)
    changes = list(org.connector.changes("order", None))
    assert len({change.vendor_id for change in changes}) == len(changes) == 261
    assert [change.changed_at for change in changes] == sorted(change.changed_at for change in changes)


def test_a_deleted_record_is_a_change_without_payload(org: Org) -> None:
    """What sales deletes is told, not silently missing."""
    receipt = org.connector.upsert("account", payload(7), key(7))
    org.connector._writes.restful(f"sobjects/Account/{receipt.vendor_id}", method="DELETE")
    (change,) = org.connector.changes("account", None)
    assert (change.vendor_id, change.payload) == (receipt.vendor_id, None)
    assert org.connector.find("account", key(7)) is None
    with pytest.raises(Rejected, match="has no account"):
        org.connector.get("account", receipt.vendor_id)


def test_progress_is_written_onto_the_opportunity_and_found_again(org: Org) -> None:
    """order_progress updates by the opportunity's own id: written twice it says the same, and nothing is created."""
    ident = org.sell({"Quantity": 2, "UnitPrice": 10})
    progress = {"Tieout_Status__c": "invoiced", "Tieout_Invoiced__c": Decimal("21.65"), "Tieout_Paid__c": Decimal(0)}
    first = org.connector.upsert("order_progress", progress, ExternalKey("Id", ident))
    again = org.connector.upsert("order_progress", progress, ExternalKey("Id", ident))
    found = org.connector.find("order_progress", ExternalKey("Id", ident))
    assert found is not None
    assert first.vendor_id == again.vendor_id == found.vendor_id == ident
    assert not first.created
    assert found.answer["Tieout_Invoiced__c"] == again.answer["Tieout_Invoiced__c"] == Decimal("21.65")
    assert again.answer.keys() == found.answer.keys()
    assert org.count("Opportunity") == 1
    assert [c.vendor_id for c in org.connector.changes("order_progress", None)] == [ident]


def test_progress_of_an_unknown_opportunity_is_rejected_and_creates_nothing(org: Org) -> None:
    with pytest.raises(Rejected) as caught:
        org.connector.upsert("order_progress", {"Tieout_Status__c": "paid"}, ExternalKey("Id", OPPORTUNITY_ID))
    assert caught.value.code == "INVALID_CROSS_REFERENCE_KEY"
    assert org.count("Opportunity") == 0


def test_one_bad_record_of_a_bulk_write_never_stops_the_others(org: Org) -> None:
    """upsert_many answers per record, in order, over several calls."""
    items = [(payload(n), key(n)) for n in range(1, 251)]
    items[100] = ({**payload(101), "Payment_Terms_Days__c": "soon"}, key(101))
    outcomes = org.connector.upsert_many("account", items)
    failed = [(place, outcome) for place, outcome in enumerate(outcomes) if isinstance(outcome, Exception)]
    assert [place for place, _ in failed] == [100]
    refused = failed[0][1]
    assert isinstance(refused, Rejected)
    assert (refused.record, refused.field, refused.value) == ("account", "Payment_Terms_Days__c", "soon")
    assert org.count("Account") == 249


def test_a_lost_reply_to_a_bulk_write_is_unknown_for_each_of_its_records(org: Org) -> None:
    """The records of a call without an answer are OutcomeUnknown; writing them again doubles none."""
    org.connector.upsert("account", payload(1), key(1))
    org.plant(kind="lose_reply", match=COMPOSITE)
    items = [(payload(n), key(n)) for n in range(2, 5)]
    assert all(isinstance(outcome, OutcomeUnknown) for outcome in org.connector.upsert_many("account", items))
    assert org.count("Account") == 4
    again = org.connector.upsert_many("account", items)
    assert [getattr(outcome, "created", None) for outcome in again] == [False] * 3
    assert org.count("Account") == 4


def bulk(org: Org, above: int = 3) -> SalesforceConnector:
    """A connector that makes a job of more than ``above`` records."""
    return connect(settings(org.url, bulk_above=above), org.world)


def jobs(org: Org) -> list[dict[str, Any]]:
    return list(org.emulator.shelf.all("_job"))


def test_many_records_go_as_one_job_and_each_has_its_own_outcome(org: Org) -> None:
    """Above the threshold one upsert job writes all; a bad record alone is refused, and what is kept is read back."""
    connector = bulk(org)
    before = connector.upsert("account", payload(1), key(1))
    items = [(payload(n), key(n)) for n in range(1, 251)]
    items[9] = ({**payload(10), "Billing_Email__c": "not an address"}, key(10))
    items[10] = ({**payload(11), "Phone": None, "Name": 'Acme, "the" first\nof two'}, key(11))
    outcomes = connector.upsert_many("account", items)
    assert [job["operation"] for job in jobs(org)] == ["upsert"]
    refused = outcomes.pop(9)
    assert isinstance(refused, Rejected)
    assert (refused.code, refused.field, refused.value) == (
        "INVALID_EMAIL_ADDRESS", "Billing_Email__c", "not an address",
    )  # fmt: skip
    assert [one.created for one in outcomes if not isinstance(one, Exception)] == [False] + [True] * 248
    assert (outcomes[0].vendor_id, org.count("Account")) == (before.vendor_id, 249)  # type: ignore[union-attr]
    assert outcomes[9].answer["Name"] == 'Acme, "the" first\nof two'  # type: ignore[union-attr]
    assert outcomes[9].answer["Phone"] is None  # type: ignore[union-attr]
    assert outcomes[2].answer == connector.get("account", outcomes[2].vendor_id)  # type: ignore[union-attr]
    connector.close()


def test_a_job_updates_by_id_where_that_is_the_key(org: Org) -> None:
    deals = [org.sell({"Quantity": 1, "UnitPrice": n}) for n in range(1, 5)]
    connector = bulk(org)
    told = {"Tieout_Status__c": "paid", "Tieout_Invoiced__c": Decimal("10.50"), "Tieout_Paid__c": Decimal(0)}
    outcomes = connector.upsert_many("order_progress", [(told, ExternalKey("Id", ident)) for ident in deals])
    assert [one.answer["Tieout_Invoiced__c"] for one in outcomes if not isinstance(one, Exception)] == [
        Decimal("10.5")
    ] * 4
    assert [job["operation"] for job in jobs(org)] == ["update"]
    connector.close()


@pytest.mark.parametrize("lost", [r"POST \S+/jobs/ingest$", r"PUT \S+/batches"])
def test_a_job_that_was_never_started_wrote_nothing(org: Org, lost: str) -> None:
    """A lost answer before the upload is complete is no unknown outcome: the records may be sent again."""
    connector = bulk(org)
    connector.upsert("account", payload(1), key(1))
    org.plant(kind="lose_reply", match=lost)
    items = [(payload(n), key(n)) for n in range(1, 6)]
    assert all(isinstance(one, Unavailable) for one in connector.upsert_many("account", items))
    assert org.count("Account") == 1
    assert not any(isinstance(one, Exception) for one in connector.upsert_many("account", items))
    assert org.count("Account") == 5
    connector.close()


def test_a_lost_start_of_a_job_is_looked_up_by_its_id(org: Org) -> None:
    """The answer to the start is lost, the job runs nevertheless, and its own results settle each record."""
    connector = bulk(org)
    org.plant(kind="lose_reply", match=r"PATCH \S+/jobs/ingest/")
    outcomes = connector.upsert_many("account", [(payload(n), key(n)) for n in range(1, 6)])
    assert [one.created for one in outcomes if not isinstance(one, Exception)] == [True] * 5
    assert len(jobs(org)) == 1
    connector.close()


def test_no_write_overtakes_a_job_that_was_lost_sight_of(org: Org) -> None:
    """A job whose end was not seen ends before anything newer is sent, even by another process."""
    connector = bulk(org)
    org.plant(kind="reset", match=r"GET \S+/jobs/ingest/\w+$", times=4)
    items = [({**payload(n), "Phone": "old"}, key(n)) for n in range(1, 6)]
    assert all(isinstance(one, OutcomeUnknown) for one in connector.upsert_many("account", items))
    assert org.count("Account") == 0
    connector.close()
    other = bulk(org)
    newer = other.upsert("account", {**payload(1), "Phone": "new"}, key(1))
    assert (newer.created, jobs(org)[0]["state"], org.count("Account")) == (False, "JobComplete", 5)
    found = other.find("account", key(1))
    assert found is not None
    assert found.answer["Phone"] == "new"
    other.close()


def test_what_a_failed_job_never_came_to_is_written_by_collections(org: Org) -> None:
    """A column that the org does not have fails the job; each record then tells its own outcome."""
    connector = bulk(org)
    items = [(payload(n), key(n)) for n in range(1, 6)]
    items[2] = ({**payload(3), "Colour__c": "red"}, key(3))
    outcomes = connector.upsert_many("account", items)
    assert [job["state"] for job in jobs(org)] == ["Failed"]
    assert [isinstance(one, Rejected) for one in outcomes] == [False, False, True, False, False]
    assert org.count("Account") == 4
    connector.close()


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"Colour__c": "red"}, "Colour__c", "INVALID_FIELD"),
        ({"Name": "x" * 256}, "Name", "STRING_TOO_LONG"),
        ({"Name": None}, "Name", "REQUIRED_FIELD_MISSING"),
        ({"CurrencyIsoCode": "XXX"}, "CurrencyIsoCode", "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"),
        ({"BillingStateCode": "ZZ"}, "BillingStateCode", "FIELD_INTEGRITY_EXCEPTION"),
        ({"Payment_Terms_Days__c": Decimal(10_000)}, "Payment_Terms_Days__c", "NUMBER_OUTSIDE_VALID_RANGE"),
    ],
)
def test_a_refusal_names_field_value_and_code(org: Org, change: dict[str, Any], field: str, code: str) -> None:
    with pytest.raises(Rejected) as caught:
        org.connector.upsert("account", {**payload(1), **change}, key(1))
    error = caught.value
    assert (error.system, error.record, error.field, error.code) == ("salesforce", "account", field, code)
    assert error.value == (None if change[field] is None else str(change[field]))
    assert org.count("Account") == 0


def test_an_ended_session_is_renewed_once_and_the_write_goes_through(org: Org) -> None:
    """401 INVALID_SESSION_ID signs in again and repeats the call; nothing was done before it."""
    org.connector.upsert("account", payload(1), key(1))
    old = org.connector._session.token(ended=None)
    org.http.post("/services/oauth2/revoke", data={"token": old})
    assert not org.connector.upsert("account", payload(1), key(1)).created
    assert org.connector._session.token(ended=None) != old
    org.plant(kind="error", status=401, match="/services/data/v64", times=0)
    with pytest.raises(Misconfigured, match="INVALID_SESSION_ID"):
        org.connector.upsert("account", payload(1), key(1))


def test_threads_that_meet_an_ended_session_share_one_sign_in(org: Org) -> None:
    org.connector.upsert("account", payload(1), key(1))
    org.http.post("/services/oauth2/revoke", data={"token": org.connector._session.token(ended=None)})
    threads = [threading.Thread(target=org.connector.find, args=("account", key(1))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(org.http.get("/_sandbox/objects/_session").json()) == 1


def test_a_sign_in_that_fails_never_makes_a_write_unknown(org: Org) -> None:
    """Nothing was sent when the token could not be had: Unavailable, not OutcomeUnknown."""
    org.plant(kind="reset", match="/services/oauth2/token", times=0)
    with pytest.raises(Unavailable):
        org.connector.upsert("account", payload(1), key(1))


def test_jwt_bearer_signs_in_with_the_private_key_alone(org: Org) -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    org.http.post("/_sandbox/certificate", content=public)
    by_key = settings(org.url, client_secret=None, username=USERNAME, private_key=pem)
    connector = connect(by_key, org.world)
    assert connector.upsert("account", payload(1), key(1)).created
    connector.close()
    stranger = connect(settings(org.url, client_secret=None, username="eve@x.example", private_key=pem), org.world)
    with pytest.raises(Misconfigured, match="sign-in was refused"):
        stranger.find("account", key(1))
    stranger.close()


@respx.mock
def test_a_token_of_another_address_is_never_used() -> None:
    """The session's calls go to base_url alone, so an org that says it lives elsewhere is a misconfiguration."""
    answer = {"access_token": "t", "instance_url": "https://other.my.salesforce.com", "id": "", "token_type": "Bearer"}
    respx.post("https://acme.my.salesforce.com/services/oauth2/token").respond(json=answer)
    connector = connect(settings("https://acme.my.salesforce.com"), World(sleep=lambda _seconds: None))
    with pytest.raises(Misconfigured, match=r"other\.my\.salesforce\.com"):
        connector.find("account", key(1))
    connector.close()


def test_a_wrong_secret_is_a_misconfiguration_that_does_not_tell_it(org: Org) -> None:
    connector = connect(settings(org.url, client_secret="hunter2"), org.world)
    with pytest.raises(Misconfigured) as caught:
        connector.find("account", key(1))
    assert "hunter2" not in str(caught.value)
    connector.close()


def test_a_request_limit_waits_as_long_as_it_says_and_the_daily_one_is_given_back(org: Org) -> None:
    """A short limit is waited out in the call; the daily quota goes back to the outbox at once."""
    org.connector.upsert("account", payload(1), key(1))
    org.plant(kind="rate_limit", match=COMPOSITE, seconds=7)
    org.connector.upsert("account", payload(2), key(2))
    assert org.waits == [7.0]
    org.plant(kind="rate_limit", match=COMPOSITE, seconds=1800)
    with pytest.raises(RateLimited):
        org.connector.upsert("account", payload(3), key(3))
    assert org.waits == [7.0]


def test_a_locked_row_is_tried_again(org: Org) -> None:
    org.connector.upsert("account", payload(1), key(1))
    org.plant(kind="error", status=400, match=COMPOSITE)
    assert org.connector.upsert("account", payload(2), key(2)).created


def test_a_garbled_answer_to_a_write_is_unknown(org: Org) -> None:
    org.connector.upsert("account", payload(1), key(1))
    org.plant(kind="garbage", match=COMPOSITE)
    with pytest.raises(OutcomeUnknown):
        org.connector.upsert("account", payload(2), key(2))
    found = org.connector.find("account", key(2))
    assert found is not None
    assert found.answer == org.connector.upsert("account", payload(2), key(2)).answer


def test_a_link_of_the_sdk_stays_on_the_orgs_own_address() -> None:
    """Only path and query of an SDK's URL are used, so neither https nor another host can get in."""
    asked: list[tuple[str, ...]] = []
    session = SdkSession(lambda *line, **_options: asked.append(line))  # type: ignore[arg-type, return-value]
    session.request("GET", "https://org@evil.example/services/data/v64.0/query/01g-200?a=1")
    assert asked == [("GET", "/services/data/v64.0/query/01g-200?a=1")]


def test_a_key_with_quotes_finds_only_its_record(org: Org) -> None:
    """Values are quoted into SOQL, never pasted."""
    tricky = ExternalKey("Tieout_Id__c", "O'Neil\\' OR Name != '")
    org.connector.upsert("account", payload(1), key(1))
    receipt = org.connector.upsert("account", payload(2), tricky)
    found = org.connector.find("account", tricky)
    assert found is not None
    assert found.vendor_id == receipt.vendor_id


def test_read_only_resources_and_foreign_keys_are_refused_before_anything_is_sent(org: Org) -> None:
    with pytest.raises(Misconfigured, match="only read"):
        org.connector.upsert("contact", {"LastName": "Fox"}, ExternalKey("Id", OPPORTUNITY_ID))
    with pytest.raises(Misconfigured, match="key of account"):
        org.connector.upsert("account", payload(1), ExternalKey("AccountNumber", "A-0001"))


def test_an_outbound_message_becomes_one_event_per_notification(org: Org) -> None:
    (event,) = org.connector.events(message())
    assert (event.resource, event.vendor_id, event.kind) == ("order", OPPORTUNITY_ID, "Opportunity")
    assert event.event_id.startswith("04l")
    assert event.occurred_at == datetime(2026, 11, 2, 9, 29, 58, tzinfo=UTC)
    assert event.version == "2026-11-02T09:29:58.000+0000"


def test_the_acknowledgement_is_what_ends_the_senders_retries(org: Org) -> None:
    body, content_type = org.connector.acknowledge(org.connector.events(message()))
    assert acknowledged(body)
    assert content_type.startswith("text/xml")
    assert not acknowledged(body.replace(b"true", b"false"))


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><x>&b;</x>'


@pytest.mark.parametrize(
    "request_",
    [
        message(token="guess"),
        message(token=""),
        WebhookRequest(message().body, {}, {}, RECEIVED_AT),
        message(body=message().body.replace(ORGANIZATION_ID.encode(), b"00DQx0000000002IAA")),
    ],
    ids=["token", "empty", "none", "org"],
)
def test_a_forged_message_is_rejected_as_such(org: Org, request_: WebhookRequest) -> None:
    with pytest.raises(Rejected) as refused:
        org.connector.events(request_)
    assert refused.value.code != "malformed"


@pytest.mark.parametrize(
    "body",
    [
        message().body.replace(b"<soapenv:Envelope", b"<!DOCTYPE x><soapenv:Envelope", 1),
        BOMB,
        BOMB.decode().encode("utf-16"),
        b"<not xml",
        b"",
        b'<?xml version="1.0" encoding="none"?><x/>',
        b"<x/>",
        message().body.replace(b"sf:Opportunity", b"sf:Case"),
        message().body.replace(b"2026-11-02T09:29:58.000+0000", b"yesterday"),
    ],
    ids=["doctype", "entities", "utf16", "xml", "nothing", "encoding", "other", "object", "stamp"],
)
def test_a_message_with_our_token_and_of_another_form_is_malformed(org: Org, body: bytes) -> None:
    with pytest.raises(Rejected) as refused:
        org.connector.events(message(body=body))
    assert refused.value.code == "malformed"


def test_a_notification_of_a_record_that_is_gone_makes_no_event(org: Org) -> None:
    gone = message().body.replace(f"<sf:Id>{OPPORTUNITY_ID}</sf:Id>".encode(), b"")
    assert org.connector.events(message(body=gone)) == []


def test_the_doctor_finds_an_org_that_is_set_up_well(org: Org) -> None:
    findings = org.connector.check()
    assert [finding.check for finding in findings if not finding.ok] == []
    assert "fields of Opportunity" in {finding.check for finding in findings}


def test_the_doctor_names_missing_fields_versions_and_the_wrong_org(org: Org, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CUSTOM_FIELDS, "Opportunity", ("Purchase_Order__c", "Not_Made_Yet__c"))  # type: ignore[arg-type]
    connector = connect(settings(org.url, organization_id="00D000000000001"), org.world)
    failed = {finding.check: finding.detail for finding in connector.check() if not finding.ok}
    assert failed.keys() == {"organization", "fields of Opportunity"}
    assert "Not_Made_Yet__c" in failed["fields of Opportunity"]
    connector.close()
    old = connect(settings(org.url, api_version="v20.0"), org.world)
    assert [finding.ok for finding in old.check()] == [False]
    old.close()


def test_the_doctor_says_so_when_the_org_cannot_be_reached() -> None:
    connector = connect(settings("http://127.0.0.1:9"), World(sleep=lambda _seconds: None))
    (finding,) = connector.check()
    assert not finding.ok
    connector.close()
    connector.close()


@pytest.mark.parametrize("url", ["http://acme.my.salesforce.com", "ftp://127.0.0.1", "acme.my.salesforce.com"])
def test_only_a_loopback_host_may_speak_plain_http(url: str) -> None:
    with pytest.raises(ValidationError, match="https"):
        settings(url)


def test_settings_need_one_way_to_sign_in_and_show_no_secret() -> None:
    with pytest.raises(ValidationError, match="client_secret"):
        Settings(base_url="https://acme.my.salesforce.com", client_id="x")
    assert "sandbox-secret" not in repr(settings("https://acme.my.salesforce.com"))


def test_the_connector_reads_and_writes_only_custom_fields_that_set_up_creates() -> None:
    """Every custom field a shipped mapping names is one that ``check`` looks for."""
    kept = [*CUSTOM_FIELDS.values(), *CUSTOM_FIELDS_OF_QUOTES.values()]
    known = {name for fields in kept for name in fields}
    for file in Path("mappings/salesforce").glob("*.yaml"):
        named = {
            word
            for word in _words(yaml.safe_load(file.read_text())["fields"])
            if re.fullmatch(r"(?!SBQQ__)\w+__c", word)
        }
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


def test_every_resource_has_a_row_the_connector_can_read(org: Org) -> None:
    assert isinstance(org.connector, SalesforceConnector)
    for name in RESOURCES:
        assert list(org.connector.changes(name, None)) == []
