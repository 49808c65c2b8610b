"""The emulated Salesforce org answers as the vendor's documents say, asked by plain HTTP and by the vendor's client."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from simple_salesforce.api import Salesforce

from sandbox.salesforce import (
    CLIENT_ID,
    CLIENT_SECRET,
    ORGANIZATION_ID,
    STANDARD_PRICEBOOK_ID,
    acknowledged,
    outbound_message,
)
from sandbox.salesforce_schema import OBJECTS, full_id, make_id, suffix
from sandbox.server import Running, start

SPECS = Path(os.environ.get("TIEOUT_VENDOR_SPECS", "../shared/vendor-specs")) / "salesforce"
V = "/services/data/v64.0"


class Org:
    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url)
        self.sign_in()

    def sign_in(self) -> None:
        form = {"grant_type": "client_credentials", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
        token = self.http.post("/services/oauth2/token", data=form).json()["access_token"]
        self.http.headers["Authorization"] = f"Bearer {token}"

    def call(self, method: str, path: str, body: Any = None, status: int | None = None, **more: Any) -> Any:
        answer = self.http.request(method, V + path, **({"json": body} if body is not None else {}), **more)
        assert status is None or answer.status_code == status, answer.text
        return json.loads(answer.text, parse_float=Decimal) if answer.content else None

    def make(self, kind: str, **fields: Any) -> str:
        return str(self.call("POST", f"/sobjects/{kind}", fields, 201)["id"])

    def error(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, str]:
        answer = self.http.request(method, V + path, **({"json": body} if body is not None else {}), **more)
        return answer.status_code, answer.json()[0]["errorCode"]

    def rows(self, soql: str) -> list[Any]:
        return list(self.call("GET", f"/query?q={quote(soql)}", status=200)["records"])

    def count(self, kind: str) -> int:
        return int(self.call("GET", f"/limits/recordCount?sObjects={kind}", status=200)["sObjects"][0]["count"])

    def names(self, soql: str) -> list[str]:
        return [row["Name"] for row in self.rows(soql)]

    def sold(self) -> tuple[str, str]:
        """An open opportunity and a price of 30 for it."""
        product = self.make("Product2", Name="Endpoint", ProductCode="ENDPOINT", IsActive=True)
        price = {"Pricebook2Id": STANDARD_PRICEBOOK_ID, "Product2Id": product, "UnitPrice": 30, "IsActive": True}
        entry = self.make("PricebookEntry", **price)
        return self.make("Opportunity", Name="Rooms", StageName="Prospecting", CloseDate="2026-09-21"), entry


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with start(["salesforce"]) as running:
        yield running


@pytest.fixture
def org(running: Running) -> Iterator[Org]:
    url = running.urls["salesforce"]
    httpx.post(f"{url}/_sandbox/reset")
    built = Org(url)
    yield built
    built.http.close()


@pytest.mark.parametrize(
    "whole", ["0019H00000H1RMDQA3", "003P000001avB5GIAU", "0015500001QdQWaAAN", "0035500001H9kZvAAJ"]
)
def test_ids_have_the_vendors_checksum(whole: str) -> None:
    """The suffix of ids recorded from real orgs comes out again, and a wrong one is no id."""
    assert suffix(whole[:15]) == whole[15:]
    assert full_id(whole[:15]) == full_id(whole) == whole
    assert full_id(whole[:15] + "AAA" if whole[15:] != "AAA" else "") is None


def test_ids_sort_in_the_order_they_are_made() -> None:
    made = [make_id("001", n) for n in range(1, 5000)]
    assert made == sorted(set(made))


def test_sign_in_is_refused_in_the_form_of_oauth(org: Org) -> None:
    for form, error in (
        ({"grant_type": "client_credentials", "client_id": "x", "client_secret": "y"}, "invalid_client_id"),
        ({"grant_type": "client_credentials", "client_id": CLIENT_ID, "client_secret": "y"}, "invalid_client"),
        ({"grant_type": "password", "client_id": CLIENT_ID}, "unsupported_grant_type"),
    ):
        answer = org.http.post("/services/oauth2/token", data=form)
        assert (answer.status_code, answer.json()["error"]) == (400, error)


def test_a_call_without_a_session_is_401_and_every_answer_tells_the_usage(org: Org) -> None:
    assert org.http.get(f"{V}/limits").headers["Sforce-Limit-Info"].startswith("api-usage=")
    answer = org.http.get(f"{V}/limits", headers={"Authorization": "Bearer nothing"})
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (401, "INVALID_SESSION_ID")


def test_upsert_by_external_id_creates_then_updates(org: Org) -> None:
    path = "/sobjects/Account/Tieout_Id__c/A%2F1"
    created = org.call("PATCH", path, {"Name": "Acme"}, 201)
    updated = org.call("PATCH", path, {"Name": "Acme 2"}, 200)
    assert (created["id"], created["created"], updated["created"]) == (updated["id"], True, False)
    assert org.call("GET", path, status=200)["Name"] == "Acme 2"
    assert org.error("PATCH", path, {"Name": "x", "Tieout_Id__c": "y"}) == (400, "INVALID_FIELD")
    assert org.error("PATCH", "/sobjects/Account/AccountNumber/1", {"Name": "x"}) == (404, "NOT_FOUND")


def test_an_external_id_of_several_records_is_answered_with_their_addresses(org: Org) -> None:
    idents = [org.make("Contact", LastName=name, Email="same@x.example") for name in ("Fox", "Hare")]
    answer = org.call("PATCH", "/sobjects/Contact/Email/same%40x.example", {"LastName": "Wolf"}, 300)
    assert answer == [f"{V}/sobjects/Contact/{ident}" for ident in idents]


@pytest.mark.parametrize(
    ("kind", "body", "code"),
    [
        ("Account", {}, "REQUIRED_FIELD_MISSING"),
        ("Account", {"Name": "x", "Nope": 1}, "INVALID_FIELD"),
        ("Account", {"Name": "x", "Id": "001Qx0000000001IAA"}, "INVALID_FIELD"),
        ("Account", {"Name": 5}, "JSON_PARSER_ERROR"),
        ("Account", {"Name": "x", "SystemModstamp": "2026-01-01T00:00:00Z"}, "INVALID_FIELD_FOR_INSERT_UPDATE"),
        ("Account", {"Name": "x", "ParentId": "garbage"}, "MALFORMED_ID"),
        ("Account", {"Name": "x", "ParentId": make_id("003", 1)}, "FIELD_INTEGRITY_EXCEPTION"),
        ("Account", {"Name": "x", "ParentId": make_id("001", 99)}, "INVALID_CROSS_REFERENCE_KEY"),
        ("Account", {"Name": "x", "BillingStateCode": "TX"}, "FIELD_INTEGRITY_EXCEPTION"),
        ("Account", {"Name": "x", "BillingCountryCode": "DE", "BillingStateCode": "TX"}, "FIELD_INTEGRITY_EXCEPTION"),
        ("Account", {"Name": "x", "BillingCountryCode": "XX"}, "FIELD_INTEGRITY_EXCEPTION"),
        ("Account", {"Name": "x", "Type": "Friend"}, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"),
        ("Opportunity", {"Name": "x", "StageName": "Prospecting", "CloseDate": "01/02/2026"}, "JSON_PARSER_ERROR"),
        ("Opportunity", {"Name": "x", "StageName": "Prospecting", "CloseDate": "2026-02-30"}, "JSON_PARSER_ERROR"),
        ("Site__c", {"Site_Code__c": "S", "Account__r": {"Tieout_Id__c": "none"}}, "INVALID_FIELD"),
        ("PricebookEntry", {"UnitPrice": 1}, "REQUIRED_FIELD_MISSING"),
        ("User", {"Name": "x"}, "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"),
    ],
)  # fmt: skip
def test_what_the_vendor_would_refuse_is_refused_with_its_code(org: Org, kind: str, body: Any, code: str) -> None:
    assert org.error("POST", f"/sobjects/{kind}", body) == (400, code)
    assert kind == "User" or org.count(kind) == 0


def test_a_unique_external_id_cannot_be_given_twice(org: Org) -> None:
    org.make("Account", Name="a", Tieout_Id__c="A-1")
    assert org.error("POST", "/sobjects/Account", {"Name": "b", "Tieout_Id__c": "a-1"}) == (400, "DUPLICATE_VALUE")


def test_an_opportunity_amount_is_the_sum_of_its_lines_and_cannot_be_overwritten(org: Org) -> None:
    """TotalPrice = Quantity x UnitPrice; Amount follows the lines, and an Amount that is sent is ignored."""
    opportunity, entry = org.sold()
    line = org.make(
        "OpportunityLineItem", OpportunityId=opportunity, PricebookEntryId=entry, Quantity=3, UnitPrice="19.99"
    )
    org.make("OpportunityLineItem", OpportunityId=opportunity, PricebookEntryId=entry, Quantity=2)
    read = org.call("GET", f"/sobjects/Opportunity/{opportunity}")
    assert (read["Amount"], read["HasOpportunityLineItem"]) == (Decimal("119.97"), True)
    org.call("PATCH", f"/sobjects/Opportunity/{opportunity}", {"Amount": 1, "NextStep": "call"}, 204)
    read = org.call("GET", f"/sobjects/Opportunity/{opportunity}?fields=Amount,NextStep")
    assert (read["Amount"], read["NextStep"]) == (Decimal("119.97"), "call")
    org.call("PATCH", f"/sobjects/OpportunityLineItem/{line}", {"Quantity": 1}, 204)
    assert org.call("GET", f"/sobjects/Opportunity/{opportunity}")["Amount"] == Decimal("79.99")
    org.call("DELETE", f"/sobjects/OpportunityLineItem/{line}", status=204)
    assert org.call("GET", f"/sobjects/Opportunity/{opportunity}")["Amount"] == Decimal("60.0")


def test_a_line_keeps_to_the_price_book_currency_and_state_of_its_price(org: Org) -> None:
    opportunity, entry = org.sold()
    own = {"OpportunityId": opportunity, "PricebookEntryId": entry}
    integrity = (400, "FIELD_INTEGRITY_EXCEPTION")
    assert org.error("POST", "/sobjects/OpportunityLineItem", own | {"Quantity": 0}) == integrity
    both = own | {"Quantity": 1, "UnitPrice": 1, "TotalPrice": 1}
    assert org.error("POST", "/sobjects/OpportunityLineItem", both) == integrity
    euro = org.make("Opportunity", Name="e", StageName="Prospecting", CloseDate="2026-01-01", CurrencyIsoCode="EUR")
    other = {**own, "OpportunityId": euro, "Quantity": 1}
    assert org.error("POST", "/sobjects/OpportunityLineItem", other) == integrity
    org.call("PATCH", f"/sobjects/PricebookEntry/{entry}", {"IsActive": False}, 204)
    assert org.error("POST", "/sobjects/OpportunityLineItem", own | {"Quantity": 1}) == integrity


def test_a_custom_price_needs_a_standard_price_first(org: Org) -> None:
    book = org.make("Pricebook2", Name="Partners", IsActive=True)
    product = org.make("Product2", Name="p")
    price = {"Product2Id": product, "UnitPrice": 5}
    assert org.error("POST", "/sobjects/PricebookEntry", price | {"Pricebook2Id": book}) == (
        400,
        "STANDARD_PRICE_NOT_DEFINED",
    )
    org.make("PricebookEntry", **price, Pricebook2Id=STANDARD_PRICEBOOK_ID)
    org.make("PricebookEntry", **price, Pricebook2Id=book)
    assert org.error("POST", "/sobjects/PricebookEntry", price | {"Pricebook2Id": book}) == (400, "DUPLICATE_VALUE")


def test_an_account_with_won_business_cannot_be_deleted_and_others_take_their_children_along(org: Org) -> None:
    account = org.make("Account", Name="a")
    deal = org.make("Opportunity", Name="o", AccountId=account, StageName="Closed Won", CloseDate="2026-01-01")
    org.make("Contact", LastName="c", AccountId=account)
    assert org.error("DELETE", f"/sobjects/Account/{account}") == (400, "DELETE_FAILED")
    org.call("PATCH", f"/sobjects/Opportunity/{deal}", {"StageName": "Closed Lost"}, 204)
    org.call("DELETE", f"/sobjects/Account/{account}", status=204)
    assert org.rows("SELECT Id FROM Contact") == org.rows("SELECT Id FROM Opportunity") == []
    assert org.error("GET", f"/sobjects/Contact/{make_id('003', 1)}") == (404, "ENTITY_IS_DELETED")
    deleted = {"q": "SELECT Id FROM Opportunity WHERE IsDeleted = true"}
    everything = org.call("GET", "/queryAll", params=deleted)
    assert everything["totalSize"] == 1


@pytest.fixture
def three(org: Org) -> Org:
    """Accounts Beta (10 employees), alpha (20, child of Beta) and Gamma (none)."""
    beta = org.make("Account", Name="Beta", NumberOfEmployees=10, AnnualRevenue=5)
    org.make("Account", Name="alpha", NumberOfEmployees=20, ParentId=beta, Phone="O'Neil")
    org.make("Account", Name="Gamma")
    org.make("Contact", LastName="Fox", AccountId=beta)
    return org


@pytest.mark.parametrize(
    ("tail", "names"),
    [
        ("WHERE Name = 'ALPHA'", ["alpha"]),
        ("WHERE Phone = 'O\\'Neil'", ["alpha"]),
        ("WHERE Name != 'alpha' ORDER BY Name", ["Beta", "Gamma"]),
        ("WHERE NumberOfEmployees != 10 ORDER BY Name", ["alpha", "Gamma"]),
        ("WHERE NumberOfEmployees > 10", ["alpha"]),
        ("WHERE NumberOfEmployees <= 10", ["Beta"]),
        ("WHERE NumberOfEmployees = null", ["Gamma"]),
        ("WHERE Name LIKE '%A_ma'", ["Gamma"]),
        ("WHERE Name IN ('beta', 'gamma') ORDER BY Name DESC", ["Gamma", "Beta"]),
        ("WHERE Name NOT IN ('beta', 'gamma')", ["alpha"]),
        ("WHERE NOT Name = 'beta' ORDER BY Name", ["alpha", "Gamma"]),
        ("WHERE (Name = 'beta' OR Name = 'gamma') AND NumberOfEmployees = 10", ["Beta"]),
        ("WHERE Parent.Name = 'Beta'", ["alpha"]),
        ("WHERE Id IN (SELECT AccountId FROM Contact WHERE LastName = 'Fox')", ["Beta"]),
        ("WHERE SystemModstamp >= 2020-01-01T00:00:00Z AND SystemModstamp < 2020-01-02T00:00:00+01:00", []),
        ("ORDER BY NumberOfEmployees NULLS FIRST, Name", ["Gamma", "Beta", "alpha"]),
        ("ORDER BY NumberOfEmployees DESC NULLS LAST", ["alpha", "Beta", "Gamma"]),
        ("ORDER BY Name LIMIT 1 OFFSET 1", ["Beta"]),
    ],
)
def test_soql_finds(three: Org, tail: str, names: list[str]) -> None:
    assert three.names(" ".join(("select Id, name from account", tail))) == names


@pytest.mark.parametrize(
    ("soql", "code"),
    [
        ("SELECT Nope FROM Account", "INVALID_FIELD"),
        ("SELECT Id FROM Nope", "INVALID_TYPE"),
        ("SELECT Id, Id FROM Account", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account WHERE", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account WHERE Name = 'a' OR Name = 'b' AND Name = 'c'", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account WHERE Name = 'a", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account WHERE Name = 5", "INVALID_FIELD"),
        ("SELECT Id FROM Account WHERE SystemModstamp = '2026-01-01T00:00:00Z'", "INVALID_FIELD"),
        ("SELECT Id FROM Account WHERE Id = 'x'", "INVALID_QUERY_FILTER_OPERATOR"),
        ("SELECT Id FROM Account WHERE Description = 'x'", "INVALID_QUERY_FILTER_OPERATOR"),
        ("SELECT Nope.Name FROM Account", "INVALID_FIELD"),
        ("SELECT FIELDS(ALL) FROM Account", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account LIMIT x", "MALFORMED_QUERY"),
        ("DELETE FROM Account", "MALFORMED_QUERY"),
    ],
)
def test_soql_refuses(three: Org, soql: str, code: str) -> None:
    assert three.error("GET", f"/query?q={quote(soql)}") == (400, code)


def test_soql_nests_parents_and_children(three: Org) -> None:
    soql = "SELECT Name, Parent.Name, Parent.Owner.Username, (SELECT LastName FROM Contacts) FROM Account ORDER BY Name"
    alpha, beta, _ = three.rows(soql)
    assert alpha["Parent"]["Name"] == "Beta"
    assert alpha["Parent"]["attributes"]["type"] == "Account"
    assert (alpha["Contacts"], beta["Parent"]) == (None, None)
    assert [contact["LastName"] for contact in beta["Contacts"]["records"]] == ["Fox"]
    assert three.call("GET", "/query", params={"q": "SELECT COUNT() FROM Account"}) == {
        "totalSize": 3,
        "done": True,
        "records": [],
    }


def test_queries_page_to_the_end(org: Org) -> None:
    records = [{"attributes": {"type": "Account"}, "Name": f"{n:03d}"} for n in range(200)]
    for _ in range(2):
        assert all(result["success"] for result in org.call("POST", "/composite/sobjects", {"records": records}))
    headers = {"Sforce-Query-Options": "batchSize=1"}
    page = org.call("GET", "/query", params={"q": "SELECT Name FROM Account"}, headers=headers)
    assert (page["totalSize"], page["done"], len(page["records"])) == (400, False, 200)
    last = org.http.get(page["nextRecordsUrl"]).json()
    assert (last["done"], len(last["records"]), "nextRecordsUrl" in last) == (True, 200, False)
    assert org.error("GET", "/query/01g000000000000AAA-200") == (400, "INVALID_QUERY_LOCATOR")


def test_a_collection_answers_each_record_and_all_or_none_takes_all_back(org: Org) -> None:
    good, bad = ({"attributes": {"type": "Account"}, "Name": name} for name in ("a", None))
    one, two = org.call("POST", "/composite/sobjects", {"records": [good, bad]}, 200)
    assert (one["success"], two["success"], two["errors"][0]["statusCode"]) == (True, False, "REQUIRED_FIELD_MISSING")
    one, two = org.call("POST", "/composite/sobjects", {"allOrNone": True, "records": [good, bad]}, 200)
    assert one["errors"][0]["statusCode"] == "ALL_OR_NONE_OPERATION_ROLLED_BACK"
    assert len(org.rows("SELECT Id FROM Account")) == 1
    unreadable = {"records": [good, {**good, "Payment_Terms_Days__c": "soon"}]}
    assert org.error("POST", "/composite/sobjects", unreadable) == (400, "JSON_PARSER_ERROR")
    assert len(org.rows("SELECT Id FROM Account")) == 1
    assert org.error("POST", "/composite/sobjects", {"records": [good] * 201}) == (400, "EXCEEDED_MAX_SIZE_REQUEST")


def test_a_collection_refuses_an_external_id_given_twice_in_one_call(org: Org) -> None:
    record = {"attributes": {"type": "Account"}, "Name": "a", "Tieout_Id__c": "A-1"}
    one, two = org.call("PATCH", "/composite/sobjects/Account/Tieout_Id__c", {"records": [record, record]}, 200)
    assert (one["created"], two["success"], two["errors"][0]["statusCode"]) == (True, False, "DUPLICATE_VALUE")


def test_a_composite_refers_to_earlier_parts_and_halts_what_leans_on_a_failed_one(org: Org) -> None:
    def parts(name: str | None) -> list[Any]:
        url, contact = f"{V}/sobjects", {"LastName": "x", "AccountId": "@{acc.id}"}
        return [
            {"method": "POST", "url": f"{url}/Account", "referenceId": "acc", "body": {"Name": name}},
            {"method": "POST", "url": f"{url}/Contact", "referenceId": "con", "body": contact},
            {"method": "GET", "url": f"{url}/Account/@{{acc.id}}?fields=Name", "referenceId": "get"},
        ]

    done = org.call("POST", "/composite", {"compositeRequest": parts("a")}, 200)["compositeResponse"]
    assert [part["httpStatusCode"] for part in done] == [201, 201, 200]
    assert done[2]["body"]["Name"] == "a"
    halted = org.call("POST", "/composite", {"compositeRequest": parts(None)}, 200)["compositeResponse"]
    assert [part["body"][0]["errorCode"] for part in halted] == ["REQUIRED_FIELD_MISSING", *["PROCESSING_HALTED"] * 2]
    taken_back = [parts("b")[0], {"method": "GET", "url": f"{V}/sobjects/Nope/x", "referenceId": "r"}]
    org.call("POST", "/composite", {"allOrNone": True, "compositeRequest": taken_back}, 200)
    assert org.names("SELECT Name FROM Account") == ["a"]


def test_a_composite_carries_at_most_five_queries(org: Org) -> None:
    query = {"method": "GET", "url": f"{V}/query?q=SELECT+Id+FROM+Account"}
    six = [{**query, "referenceId": f"r{n}"} for n in range(6)]
    assert org.error("POST", "/composite", {"compositeRequest": six}) == (400, "LIMIT_EXCEEDED")


def test_the_vendors_own_client_speaks_with_the_org(org: Org) -> None:
    """simple-salesforce on requests, its base_url pointed here as docs/connectors/salesforce.md says."""
    url, token = str(org.http.base_url), org.http.headers["Authorization"].removeprefix("Bearer ")
    client = Salesforce(instance_url=url, session_id=token, version="64.0")
    client.base_url = f"{url}{V}/"
    records = [{"attributes": {"type": "Account"}, "Name": f"seed {n}"} for n in range(3)]
    made: Any = client.restful("composite/sobjects", method="POST", json={"allOrNone": True, "records": records})
    found = client.query_all("SELECT Id, Name FROM Account ORDER BY Name")["records"]
    assert [record["Id"] for record in found] == [result["id"] for result in made]


def test_amounts_are_written_as_doubles_and_rounded_to_their_scale(org: Org) -> None:
    """12 in a field without decimals reads 12.0, and a currency field rounds half to even."""
    deal = {"StageName": "Prospecting", "CloseDate": "2026-01-01"}
    ident = org.make("Opportunity", Name="o", **deal, Term_Months__c=12, Amount="0.125", Tieout_Paid__c="1000")
    text = org.http.get(f"{V}/sobjects/Opportunity/{ident}").text
    assert '"Term_Months__c":12.0' in text
    assert '"Amount":0.12,' in text
    assert '"Tieout_Paid__c":1000.0' in text


class Receiver(BaseHTTPRequestHandler):
    """Refuses the first message with ``Ack`` false and takes the second."""

    bodies: list[bytes] = []  # noqa: RUF012 the handler class is the only thing http.server shares
    got = threading.Event()

    def do_POST(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        word = b"true" if len(self.bodies) > 1 else b"false"
        answer = b"<n:notificationsResponse><n:Ack>" + word + b"</n:Ack></n:notificationsResponse>"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(answer)
        if len(self.bodies) > 1:
            self.got.set()

    def log_message(self, *_: Any) -> None:
        return


def test_winning_an_opportunity_sends_one_message_until_it_is_acknowledged(org: Org) -> None:
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    org.http.post("/_sandbox/webhooks", json={"url": f"http://127.0.0.1:{server.server_port}/hook?token=t"})
    ident = org.make("Opportunity", Name="A & B", StageName="Prospecting", CloseDate="2026-01-01")
    org.call("PATCH", f"/sobjects/Opportunity/{ident}", {"StageName": "Closed Won"}, 204)
    org.call("PATCH", f"/sobjects/Opportunity/{ident}", {"NextStep": "send welcome"}, 204)
    assert Receiver.got.wait(20)
    server.shutdown()
    server.server_close()
    first, second = Receiver.bodies
    assert first == second
    assert ident.encode() in first
    assert b"A &amp; B" in first
    assert ORGANIZATION_ID.encode() in first


def test_only_a_true_ack_is_an_acknowledgement() -> None:
    assert acknowledged(b"<notificationsResponse><Ack>true</Ack></notificationsResponse>")
    assert not acknowledged(b"<Ack>false</Ack>")
    assert not acknowledged(b"true")


def test_a_restarted_org_goes_on_with_its_records_and_sessions(tmp_path: Path) -> None:
    with start(["salesforce"], tmp_path) as before:
        org = Org(before.urls["salesforce"])
        first = org.make("Account", Name="a", Tieout_Id__c="A-1")
    with start(["salesforce"], tmp_path) as after:
        org.http.base_url = httpx.URL(after.urls["salesforce"])
        assert org.call("GET", "/sobjects/Account/Tieout_Id__c/A-1")["Id"] == first
        second = org.make("Account", Name="b")
    assert second > first
    org.http.close()


def _spec(name: str) -> Any:
    if not SPECS.exists():
        pytest.skip("skipped: no vendor specs at hand")
    return json.loads((SPECS / name).read_text())


@pytest.mark.parametrize("kind", ["Account", "Contact", "Opportunity"])
def test_standard_fields_are_as_real_orgs_describe_them(kind: str) -> None:
    """Type, length and digits of every standard field here agree with a recorded describe."""
    real = {field["name"]: field for field in _spec(f"describe/{kind}.describe.json")["fields"]}
    for name, field in OBJECTS[kind].fields.items():
        if name in real:
            same = ("type", "length", "precision", "scale", "nillable")
            ours = field.describe()
            assert {key: ours[key] for key in same} == {key: real[name][key] for key in same}, name


def test_the_outbound_message_has_the_form_of_the_published_sample() -> None:
    if not SPECS.exists():
        pytest.skip("skipped: no vendor specs at hand")
    etree = pytest.importorskip("lxml.etree")
    schema = etree.XMLSchema(etree.parse(str(SPECS / "outbound-notifications.xsd")))
    sent = etree.fromstring(outbound_message(make_id("04l", 1), "Opportunity", {"Id": make_id("006", 1)}))
    notifications = sent.find(".//{http://soap.sforce.com/2005/09/outbound}notifications")
    schema.assertValid(etree.fromstring(etree.tostring(notifications)))
    assert notifications.find(".//{*}sObject") is not None
