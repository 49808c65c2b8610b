"""The emulated Dataverse environment answers as the vendor's documents say, asked by plain HTTP."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox.dynamics import (
    CLIENT_ID,
    ORGANIZATION_ID,
    TENANT_ID,
    WEBHOOK_HEADER,
    execution_context,
    webhook_body,
)
from sandbox.dynamics_records import API, CURRENCY_ID, UNIT_ID
from sandbox.dynamics_schema import TABLES
from sandbox.server import Running, start
from tests.sandbox.dynamics_seller import GRANT, Seller

SPECS = Path(os.environ.get("TIEOUT_VENDOR_SPECS", Path(__file__).parents[2] / "../shared/vendor-specs")) / "dataverse"
NOBODY = "00000000-0000-0000-0000-000000000001"


@pytest.fixture
def running() -> Iterator[Running]:
    with start(["dynamics"]) as running:
        yield running


@pytest.fixture
def org(running: Running) -> Iterator[Seller]:
    seller = Seller(running.urls["dynamics"])
    yield seller
    seller.http.close()


def _spec(name: str) -> Any:
    if not SPECS.exists():
        pytest.skip("skipped: no vendor specs at hand")
    return json.loads((SPECS / name).read_text())


# -- the tables --------------------------------------------------------------------------------------------------------

EDM = {
    "text": "String",
    "memo": "String",
    "int": "Int32",
    "choice": "Int32",
    "bigint": "Int64",
    "decimal": "Decimal",
    "money": "Decimal",
    "bool": "Boolean",
    "instant": "DateTimeOffset",
    "day": "DateTimeOffset",
    "guid": "Guid",
    "lookup": "Guid",
}
#: Columns of the Web API reference that the Common Data Model holds elsewhere.
BESIDES = frozenset({"subject", "actualend"})


@pytest.mark.parametrize("name", [n for n in TABLES if n not in ("tieout_site", "uomschedule", "systemuser")])
def test_columns_are_as_published(name: str) -> None:
    """Type, length, range and choices of every standard column agree with the Common Data Model."""
    published = _spec("dataverse-sales-tables.json")["entities"][name]
    table = TABLES[name]
    assert (table.set, table.key) == (published["entitySet"], published["key"])
    for column in table.columns.values():
        if column.name.startswith(("tieout_", "address1_")) or column.name in BESIDES:
            continue
        real = published["properties"][column.field]
        assert EDM[column.kind] == real["edm"], column.name
        assert column.length == real.get("maxLength", 0), column.name
        assert (column.kind == "money") == real.get("money", False), column.name
        if column.low is not None and "min" in real:
            assert (column.low, column.high) == (Decimal(real["min"]), Decimal(real["max"])), column.name
        if column.choices:
            labels = {option[0]: option[1] for option in real["options"]}
            assert labels | dict(column.choices) == labels, column.name
    for state, statuses in table.states.items():
        real = published["properties"]["statuscode"]["options"]
        assert set(statuses) <= {option[0] for option in real if option[2] == state}
    navigation = published["navigation"] | published.get("collections", {})
    for column in table.columns.values():
        for lookup in column.targets if not column.name.startswith("tieout_") else ():
            assert lookup in navigation or lookup.removesuffix("_account").removesuffix("_contact") in navigation


def test_refusals_of_conditions_and_limits_are_the_published_ones(org: Seller) -> None:
    published = _spec("samples.json")["errors"]
    ident = org.make("accounts", name="a")["accountid"]
    seen = {
        "if_match_star_missing": org.ask("PATCH", f"accounts({NOBODY})", {}, If_Match="*"),
        "if_none_match_star_exists": org.ask("PATCH", f"accounts({ident})", {}, If_None_Match="*"),
        "stale_etag": org.ask("PATCH", f"accounts({ident})", {}, If_Match='W/"1"'),
    }
    org.plant(kind="rate_limit", seconds=2, times=2, match="WhoAmI")
    seen["throttle_requests"] = org.ask("GET", "WhoAmI")
    seen["throttle_time"] = org.ask("GET", "WhoAmI")
    for name, answer in seen.items():
        real, ours = published[name], answer.json()["error"]
        assert answer.status_code == real["status"], name
        assert ours["code"] in (real["body"]["error"]["code"], "0x80040217"), name
        start_of = real["body"]["error"]["message"].split("1,200,000")[0]
        assert ours["message"].startswith(start_of), name
    assert seen["throttle_time"].headers["Retry-After"] == "2"


# -- sign-in -----------------------------------------------------------------------------------------------------------


def test_sign_in_is_by_client_credentials_for_this_environment_alone(org: Seller) -> None:
    good = GRANT | {"scope": f"{org.url}/.default"}
    path = f"/{TENANT_ID}/oauth2/v2.0/token"
    answer = org.http.post(path, data=good).json()
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 3599)
    for change, status, error, number in (
        ({"client_secret": "x"}, 401, "invalid_client", 7000215),
        ({"client_id": "x"}, 400, "unauthorized_client", 700016),
        ({"scope": "https://graph.microsoft.com/.default"}, 400, "invalid_scope", 70011),
        ({"grant_type": "password"}, 400, "unsupported_grant_type", 70003),
    ):
        refused = org.http.post(path, data=good | change)
        assert (refused.status_code, refused.json()["error"]) == (status, error)
        assert refused.json()["error_codes"] == [number]
    assert org.http.post(f"/{CLIENT_ID}/oauth2/v2.0/token", data=good).json()["error_codes"] == [90002]


def test_a_token_ends_after_an_hour(running: Running, org: Seller) -> None:
    org.call("GET", "WhoAmI")
    running.emulators["dynamics"].shelf.now = lambda: datetime.now(UTC) + timedelta(hours=1)
    answer = org.ask("GET", "WhoAmI")
    assert (answer.status_code, answer.headers["WWW-Authenticate"].startswith("Bearer ")) == (401, True)


# -- rows --------------------------------------------------------------------------------------------------------------


def test_a_row_is_created_read_changed_and_deleted(org: Seller) -> None:
    answer = org.ask("POST", "accounts", {"name": "a", "creditlimit": 12.345})
    assert (answer.status_code, answer.content) == (204, b"")
    address = answer.headers["OData-EntityId"]
    row = org.call("GET", address, status=200)
    assert (row["name"], row["creditlimit"], row["accountnumber"], row["creditonhold"]) == (
        "a",
        Decimal("12.35"),
        None,
        False,
    )
    assert org.ask("GET", address, If_None_Match=row["@odata.etag"]).status_code == 304
    assert org.ask("GET", address, If_None_Match="null").status_code == 200
    changed = org.call(
        "PATCH", address, {"name": "b"}, 200, If_Match=row["@odata.etag"], Prefer="return=representation"
    )
    assert changed["versionnumber"] > row["versionnumber"]
    assert org.error("DELETE", address, If_Match=row["@odata.etag"]) == (412, "")
    org.call("DELETE", address, status=204)
    assert org.error("GET", address) == (404, "0x80040217")


def test_a_patch_creates_or_changes_by_id_and_by_alternate_key(org: Seller) -> None:
    """201 and 200 tell a create from a change when the row is asked back; letter case makes no other key."""
    ident = "6d81597f-0f9f-e711-8122-000d3aa2331c"
    for address in (f"accounts({ident})", "accounts(accountnumber='O''Neil')"):
        for status in (201, 200):
            assert org.ask("PATCH", address, {"name": "a"}, Prefer="return=representation").status_code == status
    again = org.call("PATCH", "accounts(accountnumber='o''neil')", {"name": "b"}, 200, Prefer="return=representation")
    assert again["accountnumber"] == "O'Neil"
    assert org.count("account") == 2
    twin = org.error("POST", "accounts", {"accountnumber": "O'NEIL"})
    assert twin == (412, "0x80060892")
    assert org.error("GET", "accounts(accountnumber='nobody')") == (404, "0x80060891")
    assert org.error("GET", "accounts(name='a')") == (400, "0x80060888")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"nope": 1}, 400, "0x80048d19"),
        ({"name": 5}, 400, "0x80048d19"),
        ({"name": "x" * 161}, 400, "0x80044331"),
        ({"numberofemployees": "7"}, 400, "0x80048d19"),
        ({"numberofemployees": -1}, 400, "0x8004432f"),
        ({"creditonhold": 1}, 400, "0x80048d19"),
        ({"paymenttermscode": 9}, 400, "0x8004431a"),
        ({"statecode": 1}, 400, "0x80048408"),
        ({"statecode": 1, "statuscode": 1}, 400, "0x80048408"),
        ({"_parentaccountid_value": NOBODY}, 400, "0x80048d19"),
        ({"parentaccountid": NOBODY}, 400, "0x80048d19"),
        ({"parentaccountid@odata.bind": f"/accounts({NOBODY})"}, 404, "0x80040217"),
        ({"parentaccountid@odata.bind": f"/uoms({UNIT_ID})"}, 400, "0x80048d19"),
        ({"parentaccountid@odata.bind": "/things(1)"}, 404, "0x8006088a"),
        ([], 400, "0x80048d19"),
    ],
)
def test_what_a_column_cannot_hold_is_refused(org: Seller, body: Any, status: int, code: str) -> None:
    assert org.error("POST", "accounts", body) == (status, code)
    assert org.count("account") == 0


def test_a_row_that_others_refer_to_is_not_deleted(org: Seller) -> None:
    account = org.account()
    org.site("S", account)
    assert org.error("DELETE", account[1:]) == (400, "0x80040227")


# -- queries -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def three(org: Seller) -> Seller:
    """Accounts Beta (10 employees), alpha (20, child of Beta) and O'Gamma (none)."""
    beta = org.make("accounts", name="Beta", accountnumber="B", numberofemployees=10, creditonhold=True)
    org.make("accounts", name="alpha", numberofemployees=20, parentaccountid__to=f"/accounts({beta['accountid']})")
    org.make("accounts", name="O'Gamma", creditlimit=0.5)
    return org


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("$filter=name eq 'ALPHA'", ["alpha"]),
        ("$filter=name eq 'O''Gamma'", ["O'Gamma"]),
        ("$filter=numberofemployees ne 10&$orderby=name", ["alpha", "O'Gamma"]),
        ("$filter=numberofemployees ge 10 and not (name eq 'beta')", ["alpha"]),
        ("$filter=numberofemployees eq null or creditonhold eq true&$orderby=name desc", ["O'Gamma", "Beta"]),
        ("$filter=creditlimit lt 0.75", ["O'Gamma"]),
        ("$filter=_parentaccountid_value ne null", ["alpha"]),
        ("$filter=parentaccountid/accountnumber eq 'b'", ["alpha"]),
        ("$filter=contains(name,'A') and startswith(name,'al')", ["alpha"]),
        ("$filter=endswith(name,'gamma')", ["O'Gamma"]),
        ("$filter=Microsoft.Dynamics.CRM.In(PropertyName='name',PropertyValues=['Beta','alpha'])", ["Beta", "alpha"]),
        ("$filter=Microsoft.Dynamics.CRM.In(PropertyName=@p,PropertyValues=@v)&@p='name'&@v=[\"beta\"]", ["Beta"]),
        ("$filter=modifiedon ge 2020-01-01T00:00:00Z and createdon lt 2020-01-02T00:00:00%2B01:00", []),
        ("$orderby=numberofemployees,name&$top=2", ["O'Gamma", "Beta"]),
        ("$orderby=numberofemployees desc&$top=1", ["alpha"]),
    ],
)
def test_a_query_finds(three: Seller, query: str, found: list[str]) -> None:
    assert [row["name"] for row in three.rows(f"accounts?{query}")] == found


@pytest.mark.parametrize(
    "query",
    [
        "$filter=nope eq 1",
        "$filter=name eq 5",
        "$filter=numberofemployees eq 'x'",
        "$filter=name",
        "$filter=name eq 'a",
        "$filter=name in ('a')",
        "$filter=(name eq 'a'",
        "$filter=parentaccountid eq null",
        "$filter=Microsoft.Dynamics.CRM.In(PropertyName='name',PropertyValues=[])",
        "$select=nope",
        "$orderby=name sideways",
        "$expand=nope",
        "$expand=parentaccountid($top=1)",
        "$skip=1",
    ],
)
def test_a_query_that_means_nothing_is_refused(three: Seller, query: str) -> None:
    assert three.error("GET", f"accounts?{query}") == (400, "0x80060888")


def test_an_answer_nests_lookups_and_collections(three: Seller) -> None:
    nested = "$select=name&$expand=parentaccountid($select=name;$expand=transactioncurrencyid($select=isocurrencycode))"
    beta, alpha, _ = three.rows(f"accounts?{nested}")
    assert beta["parentaccountid"] is None
    assert alpha["parentaccountid"]["transactioncurrencyid"]["isocurrencycode"] == "USD"
    assert alpha["parentaccountid"].keys() == {"@odata.etag", "name", "accountid", "transactioncurrencyid"}
    children = three.call("GET", "accounts(accountnumber='B')?$expand=account_parent_account($filter=name eq 'alpha')")
    assert [child["name"] for child in children["account_parent_account"]] == ["alpha"]
    assert [row["name"] for row in three.rows("accounts(accountnumber='B')/account_parent_account")] == ["alpha"]
    owner = three.call("GET", f"accounts({alpha['accountid']})/parentaccountid?$select=name", status=200)
    assert owner["name"] == "Beta"


def test_annotations_come_when_they_are_preferred(three: Seller) -> None:
    asked = "accounts(accountnumber='B')?$select=statecode,_transactioncurrencyid_value"
    row = three.call("GET", asked, Prefer='odata.include-annotations="*"')
    assert row["statecode@OData.Community.Display.V1.FormattedValue"] == "Active"
    assert row["_transactioncurrencyid_value@Microsoft.Dynamics.CRM.lookuplogicalname"] == "transactioncurrency"
    assert len(three.call("GET", asked)) == 5


def test_queries_page_to_the_end_and_count(org: Seller) -> None:
    for n in range(5):
        org.make("accounts", name=f"{n}")
    page = org.call("GET", "accounts?$select=name&$count=true", Prefer="odata.maxpagesize=2")
    assert (page["@odata.count"], len(page["value"])) == (5, 2)
    seen = [row["name"] for row in page["value"]]
    while "@odata.nextLink" in page:
        page = org.call("GET", page["@odata.nextLink"], Prefer="odata.maxpagesize=2")
        seen += [row["name"] for row in page["value"]]
    assert seen == ["0", "1", "2", "3", "4"]


def test_unknown_segments_and_methods_are_refused(org: Seller) -> None:
    assert org.error("GET", "Account") == (404, "0x8006088a")
    assert org.error("PUT", f"accounts({NOBODY})", {}) == (405, "0x80060888")
    assert org.error("GET", "EntityDefinitions(LogicalName='nope')") == (404, "0x80060888")


# -- change tracking ---------------------------------------------------------------------------------------------------


def tracked(org: Seller, path: str, size: int = 5000) -> tuple[list[Any], str]:
    """Everything from an address on, and the delta link of its last page."""
    found: list[Any] = []
    while True:
        page = org.call("GET", path, status=200, Prefer=f"odata.track-changes,odata.maxpagesize={size}")
        found += page["value"]
        if "@odata.nextLink" not in page:
            return found, str(page["@odata.deltaLink"])
        assert "@odata.deltaLink" not in page
        path = page["@odata.nextLink"]


def test_a_delta_link_gives_what_changed_and_then_what_was_deleted(org: Seller) -> None:
    one, two = (org.make("accounts", name=name)["accountid"] for name in ("one", "two"))
    first, link = tracked(org, "accounts?$select=name")
    assert [row["name"] for row in first] == ["one", "two"]
    org.call("DELETE", f"accounts({one})", status=204)
    org.call("PATCH", f"accounts({two})", {"name": "TWO"}, 204)
    brief = org.make("accounts", name="brief")["accountid"]
    org.call("DELETE", f"accounts({brief})", status=204)
    changes, link = tracked(org, link, size=1)
    assert [row.get("name", row.get("id")) for row in changes] == ["TWO", one, brief]
    assert changes[1]["reason"] == "deleted"
    assert changes[1]["@odata.context"].endswith("#accounts/$deletedEntity")
    assert tracked(org, link)[0] == []


def test_a_change_between_two_pages_comes_with_the_next_delta_link(org: Seller) -> None:
    for n in range(3):
        org.make("accounts", name=f"{n}")
    first = org.call("GET", "accounts?$select=name", Prefer="odata.track-changes,odata.maxpagesize=2")
    org.make("accounts", name="late")
    rest, link = tracked(org, first["@odata.nextLink"])
    assert [row["name"] for row in rest] == ["2"]
    assert [row["name"] for row in tracked(org, link)[0]] == ["late"]


def test_change_tracking_takes_select_alone_and_its_links_expire(running: Running, org: Seller) -> None:
    for option in ("$filter=name eq 'a'", "$orderby=name", "$expand=parentaccountid", "$top=1"):
        assert org.error("GET", f"accounts?{option}", Prefer="odata.track-changes")[0] == 400
    _, link = tracked(org, "accounts?$select=name")
    running.emulators["dynamics"].shelf.now = lambda: datetime.now(UTC) + timedelta(days=7, seconds=1)
    org.sign_in()
    assert org.error("GET", link) == (400, "0x80044352")


# -- the life of a quote -----------------------------------------------------------------------------------------------


def test_a_document_adds_its_lines_up(org: Seller) -> None:
    """Amounts are rounded to cents; discounts, tax and freight are the server's arithmetic."""
    line = {"manualdiscountamount": 0.05, "tax": 1.1}
    quote = org.make(
        "quotes",
        name="q",
        customerid_account__to=org.account(),
        freightamount=5,
        discountpercentage=10,
        quote_details=[org.line("P", 3, 3.335, **line), org.line("P", 2, 0.5)],
    )["quoteid"]
    row = org.call("GET", f"quotes({quote})?$expand=quote_details($select=baseamount,extendedamount)")
    assert [(one["baseamount"], one["extendedamount"]) for one in row["quote_details"]] == [
        (Decimal("10.02"), Decimal("11.07")),
        (Decimal("1.00"), Decimal("1.00")),
    ]
    assert (row["totallineitemamount"], row["totaltax"]) == (Decimal("10.97"), Decimal("1.10"))
    assert row["totalamount"] == Decimal("10.97") - Decimal("1.10") + 5 + Decimal("1.10")


def test_a_line_takes_its_price_from_the_list_unless_it_is_overridden(org: Seller) -> None:
    org.product("P")
    quote = org.quote(org.line("P", 2), org.line("P", 2, 7))
    lines = org.rows(f"quotedetails?$filter=_quoteid_value eq {quote}&$orderby=lineitemnumber")
    assert [(line["priceperunit"], line["extendedamount"]) for line in lines] == [(30, 60), (7, 14)]
    other = org.make("quotes", name="no list", customerid_account__to=org.account())["quoteid"]
    bare = org.make(
        "quotedetails",
        quoteid__to=f"/quotes({other})",
        quantity=1,
        productid__to="/products(productnumber='P')",
        uomid__to=f"/uoms({UNIT_ID})",
    )
    assert (bare["priceperunit"], bare["pricingerrorcode"]) == (None, 2)


def test_only_a_draft_is_edited_and_only_an_active_quote_is_won(org: Seller) -> None:
    quote = org.make("quotes", name="q", customerid_account__to=org.account())["quoteid"]
    close = {"QuoteClose": {"subject": "w", "quoteid@odata.bind": f"/quotes({quote})"}, "Status": -1}
    assert org.error("POST", "WinQuote", close) == (400, "0x80040265")
    assert org.error("PATCH", f"quotes({quote})", {"statecode": 2, "statuscode": 4}) == (400, "0x80040265")
    org.call("PATCH", f"quotes({quote})", {"statecode": 1, "statuscode": 2}, 204)
    assert org.error("PATCH", f"quotes({quote})", {"name": "x"}) == (400, "0x80040265")
    assert org.error("POST", "quotedetails", org.line("P", 1) | {"quoteid@odata.bind": f"/quotes({quote})"}) == (
        400,
        "0x80040265",
    )
    org.call("POST", "WinQuote", close, 204)
    assert org.call("GET", f"quotes({quote})")["statecode"] == 2
    assert org.count("quoteclose") == 1
    assert org.error("POST", "WinQuote", {"Status": 4}) == (400, "0x80060888")


def test_a_won_quote_becomes_an_order_and_an_invoice_with_the_same_lines(org: Seller) -> None:
    """Columns of like name are carried over, those of ours too; list prices are those agreed on the quote."""
    site = org.site("S", org.account())
    order = org.sell(
        org.line("P", 1.5, 19.99, **{"tieout_SiteId@odata.bind": site}), org.line("P", 1), tieout_termmonths=12
    )
    row = org.call(
        "GET", f"salesorders({order})?$expand=order_details,quoteid($select=statecode),customerid_account($select=name)"
    )
    assert (row["totalamount"], row["tieout_termmonths"], row["ordernumber"][:4]) == (Decimal("59.99"), 12, "ORD-")
    assert (row["quoteid"]["statecode"], row["customerid_account"]["name"]) == (2, "Acme & Söhne")
    assert [line["ispriceoverridden"] for line in row["order_details"]] == [True, False]
    assert row["order_details"][0]["_tieout_siteid_value"]
    assert all(line["_quotedetailid_value"] for line in row["order_details"])
    body = {"SalesOrderId": order, "ColumnSet": {"AllColumns": True}}
    invoice = org.call("POST", "ConvertSalesOrderToInvoice", body, 200)
    assert (invoice["totalamount"], invoice["_salesorderid_value"]) == (row["totalamount"], order)
    assert org.call("GET", f"salesorders({order})")["statecode"] == 4


def test_an_active_quote_is_won_by_its_conversion_and_a_draft_is_not_converted(org: Seller) -> None:
    quote = org.quote(org.line("P", 1))
    org.call("POST", "ConvertQuoteToSalesOrder", {"QuoteId": quote, "ColumnSet": {"AllColumns": True}}, 200)
    assert org.call("GET", f"quotes({quote})")["statecode"] == 2
    draft = org.make("quotes", name="d", customerid_account__to=org.account())["quoteid"]
    assert org.error("POST", "ConvertQuoteToSalesOrder", {"QuoteId": draft}) == (400, "0x80040265")


def test_an_order_is_fulfilled_or_canceled_by_its_action_alone(org: Seller) -> None:
    order = org.sell(org.line("P", 1))
    assert org.error("PATCH", f"salesorders({order})", {"statecode": 3, "statuscode": 100001}) == (400, "0x80040265")
    close = {"OrderClose": {"salesorderid@odata.bind": f"/salesorders({order})"}, "Status": 100001}
    org.call("POST", "FulfillSalesOrder", close, 204)
    assert org.error("POST", "CancelSalesOrder", close) == (400, "0x80040265")


def test_a_document_needs_a_customer_and_a_price_list_of_its_currency(org: Seller) -> None:
    assert org.error("POST", "quotes", {"name": "q"}) == (400, "0x80040203")
    euro = org.make("transactioncurrencies", currencyname="Euro", isocurrencycode="EUR", currencysymbol="€")
    org.product("P")
    body = {
        "customerid_account@odata.bind": org.account(),
        "pricelevelid@odata.bind": org.prices,
        "transactioncurrencyid@odata.bind": f"/transactioncurrencies({euro['transactioncurrencyid']})",
    }
    assert org.error("POST", "quotes", body) == (400, "0x80040265")
    ours = body | {"transactioncurrencyid@odata.bind": f"/transactioncurrencies({CURRENCY_ID})"}
    org.call("POST", "quotes", ours, 204)


# -- batches -----------------------------------------------------------------------------------------------------------


def part(line: str, body: Any = None, content_id: str = "") -> str:
    own = f"Content-ID: {content_id}\r\n" if content_id else ""
    content = "" if body is None else json.dumps(body)
    kind = "Content-Type: application/json\r\n" if body is not None else ""
    head = f"Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n{own}\r\n"
    return f"{head}{line} HTTP/1.1\r\n{kind}\r\n{content}\r\n"


def multipart(name: str, *parts: str) -> str:
    return "".join(f"--{name}\r\n{one}" for one in parts) + f"--{name}--\r\n"


def changeset(*parts: str) -> str:
    return "Content-Type: multipart/mixed; boundary=changeset_1\r\n\r\n" + multipart("changeset_1", *parts)


def send(org: Seller, *parts: str, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    own = {"Content-Type": 'multipart/mixed; boundary="batch_1"'} | named
    return org.http.post(f"{API}/$batch", content=multipart("batch_1", *parts).encode(), headers=own)


GOOD, BAD = part("POST accounts", {"name": "a"}), part("POST accounts", {"nope": 1})
GOES_ON = "odata.continue-on-error"


def test_a_batch_answers_each_operation_and_goes_on_only_if_told(org: Seller) -> None:
    answer = send(org, GOOD, BAD, GOOD, part(f"GET {API}/accounts?$select=name"), Prefer=GOES_ON)
    assert answer.status_code == 200
    assert answer.text.count("HTTP/1.1 204 No Content") == 2
    assert answer.text.count("HTTP/1.1 400 Bad Request") == answer.text.count("HTTP/1.1 200 OK") == 1
    assert org.count("account") == 2
    stopped = send(org, GOOD, BAD, GOOD)
    assert (stopped.status_code, stopped.text.count("HTTP/1.1")) == (400, 2)
    assert org.count("account") == 3


def test_a_change_set_is_whole_or_not_at_all_and_refers_to_its_own_rows(org: Seller) -> None:
    parent = part("POST accounts", {"name": "parent"}, "1")
    child = part("POST contacts", {"lastname": "Fox", "parentcustomerid_account@odata.bind": "$1"}, "2")
    done = send(org, changeset(parent, child))
    assert (done.status_code, done.text.count("HTTP/1.1 204")) == (200, 2)
    assert "changesetresponse_" in done.text
    fox = org.rows("contacts?$expand=parentcustomerid_account($select=name)")[0]
    assert fox["parentcustomerid_account"]["name"] == "parent"
    broken = send(org, changeset(parent, part("POST accounts", {"nope": 1}, "2")), GOOD, Prefer=GOES_ON)
    assert (broken.text.count("HTTP/1.1 400"), broken.text.count("HTTP/1.1 204")) == (1, 1)
    assert (org.count("account"), org.count("contact")) == (2, 1)


def test_a_batch_of_the_wrong_form_is_refused_whole(org: Seller) -> None:
    wrong = {
        "a read in a change set": changeset(part("GET accounts", content_id="1")),
        "no content id": changeset(GOOD),
        "no request line": "Content-Type: application/http\r\n\r\nhello\r\n\r\n",
        "another content type": "Content-Type: text/plain\r\n\r\nGET accounts HTTP/1.1\r\n\r\n",
    }
    for how, one in wrong.items():
        assert send(org, one).status_code == 400, how
    line_feeds = multipart("batch_1", GOOD).replace("\r\n", "\n").encode()
    kind = {"Content-Type": "multipart/mixed; boundary=batch_1"}
    assert org.http.post(f"{API}/$batch", content=line_feeds, headers=kind).status_code == 400
    assert send(org, *[part("GET WhoAmI")] * 1001).status_code == 400
    assert org.count("account") == 0


# -- webhooks and restarts ---------------------------------------------------------------------------------------------


class Receiver(BaseHTTPRequestHandler):
    got: list[tuple[str, dict[str, str], bytes]] = []  # noqa: RUF012 the handler class is the only thing http.server shares
    came = threading.Event()

    def do_POST(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.got.append((self.path, headers, self.rfile.read(int(headers["content-length"]))))
        self.send_response(200)
        self.end_headers()
        self.came.set()

    def log_message(self, *_: Any) -> None:
        return


def test_a_new_sales_order_is_posted_with_its_context_and_the_agreed_key(org: Seller) -> None:
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/hook?code=k"
    org.http.post("/_sandbox/webhooks", json={"url": url, "secret": "shared"})
    order = org.sell(org.line("P", 2, 19.99))
    assert Receiver.came.wait(20)
    server.shutdown()
    server.server_close()
    ((path, headers, body),) = Receiver.got
    context = json.loads(body)
    assert (path, headers[WEBHOOK_HEADER]) == ("/hook?code=k", "shared")
    assert headers["x-ms-dynamics-entity-name"] == "salesorder"
    assert headers["x-ms-dynamics-request-name"] == "Create"
    assert (context["PrimaryEntityId"], context["OrganizationId"]) == (order, ORGANIZATION_ID)
    assert headers["x-ms-correlation-request-id"] == context["CorrelationId"]
    attributes = {one["key"]: one["value"] for one in context["InputParameters"][0]["value"]["Attributes"]}
    assert attributes["totalamount"]["Value"] == 39.98
    assert attributes["quoteid"]["LogicalName"] == "quote"


def test_the_context_has_the_members_of_the_published_one(org: Seller) -> None:
    published = _spec("samples.json")["webhook"]["body_shape"]
    row: dict[str, Any] = {column.field: None for column in TABLES["salesorder"].columns.values()}
    row |= {"salesorderid": NOBODY, "versionnumber": 1}
    context = execution_context("Create", TABLES["salesorder"], row, datetime.now(UTC))
    assert published.keys() <= context.keys()
    target = published["InputParameters"][0]["value"]
    assert target.keys() == context["InputParameters"][0]["value"].keys()


def test_a_context_that_is_too_large_loses_its_parameters() -> None:
    context = {"PrimaryEntityId": NOBODY, "InputParameters": ["x" * 300_000], "PreEntityImages": []}
    assert json.loads(webhook_body(context))["InputParameters"] is None


def test_a_restarted_environment_goes_on_with_its_rows_and_versions(tmp_path: Path) -> None:
    with start(["dynamics"], tmp_path) as before:
        org = Seller(before.urls["dynamics"])
        first = org.make("accounts", name="a", accountnumber="A")
    with start(["dynamics"], tmp_path) as after:
        org.http.base_url = httpx.URL(after.urls["dynamics"])
        assert org.call("GET", "accounts(accountnumber='A')")["accountid"] == first["accountid"]
        second = org.make("accounts", name="b")
    assert second["versionnumber"] > first["versionnumber"]
    assert second["accountid"] != first["accountid"]
    org.http.close()
