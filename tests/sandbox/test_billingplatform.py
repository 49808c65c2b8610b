"""The emulated BillingPlatform organisation keeps the rules that its vendor publishes, and bills what it was given."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest
from lxml import etree

from sandbox import server
from sandbox.billingplatform import ORGANISATION, PASSWORD, USERNAME
from sandbox.billingplatform_schema import NAMESPACE
from tests.sandbox.billing_manager import BillingManager

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("billingplatform")]

REST = f"/{ORGANISATION}/rest/2.0"


@pytest.fixture(scope="module")
def running() -> Iterator[str]:
    with server.start(["billingplatform"]) as started:
        yield started.urls["billingplatform"]


@pytest.fixture
def manager(running: str) -> Iterator[BillingManager]:
    httpx.post(f"{running}/_sandbox/reset").raise_for_status()
    made = BillingManager(running)
    made.set_up()
    yield made
    made.http.close()


def account(manager: BillingManager, key: str = "A-1", terms: str = "30") -> str:
    """An account with a billing profile; its id."""
    made = manager.upsert("ACCOUNT", "TieoutKey", TieoutKey=key, Name=f"Customer {key}", AccountTypeId="1")
    profile = {"BillTo": key, "Address1": "1 Main St", "BillingCycle": "MONTHLY", "BillingMethod": "MAIL"}
    manager.upsert(
        "BILLING_PROFILE", "TieoutKey", TieoutKey=key, AccountId=made["Id"], PaymentTermDays=terms, **profile
    )
    return str(made["Id"])


def bought(manager: BillingManager, owner: str, method: str, rate: str | None = None, **more: str) -> str:
    """An account product of a product with that rating method and rate; its id."""
    product = {"Name": method, "RatingMethodObj": {"ExternalKey": method}, "Rate": rate}
    sold = manager.upsert("PRODUCT", "ExternalKey", ExternalKey=f"P-{method}-{rate}", **product)
    line = {"AccountId": owner, "ProductId": sold["Id"], "Quantity": "1", "StartDate": "2026-10-01", **more}
    return str(manager.upsert("ACCOUNT_PRODUCT", "TieoutKey", TieoutKey=f"SC-{method}", **line)["Id"])


def activity(manager: BillingManager, line: str, quantity: str, day: str = "2026-10-31", key: str = "U-1") -> Any:
    (held,) = manager.rows("ACCOUNT_PRODUCT", f"Id = '{line}'")
    given = {"AccountId": held["AccountId"], "ProductId": held["ProductId"], "AccountProductId": line}
    body = {"brmObjects": {"TieoutKey": key, "ActivityDate": day, "Quantity": quantity, **given}}
    answer = manager.http.patch(f"{REST}/ACTIVITY", json={**body, "externalIDFieldName": "TieoutKey"})
    return answer.json()["upsertResponse"][0]


def test_nothing_is_answered_without_a_session(running: str) -> None:
    login = {"username": USERNAME, "password": f"{PASSWORD}!"}
    assert httpx.post(f"{running}{REST}/login", json=login).status_code == 401
    assert httpx.get(f"{running}{REST}/ACCOUNT", params={"queryAnsiSql": "Id > 0"}).status_code == 401


def test_a_session_ends_at_logout(manager: BillingManager) -> None:
    assert manager.http.post(f"{REST}/logout").json()["logoutResponse"][0]["ErrorCode"] == "0"
    assert manager.http.get(f"{REST}/ACCOUNT", params={"queryAnsiSql": "Id > 0"}).status_code == 401


def test_each_record_of_a_call_has_its_own_outcome_inside_a_200(manager: BillingManager) -> None:
    good = {"Name": "One", "AccountTypeId": "1", "TieoutKey": "A-1"}
    objects = [good, {**good, "TieoutKey": "A-2", "Status": "ASLEEP"}, {**good, "TieoutKey": "A-3", "Nose": "red"}]
    objects += [{"TieoutKey": "A-4", "AccountTypeId": "1"}, {**good, "TieoutKey": "A-5", "ParentAccountId": "1"}]
    body = {"brmObjects": objects, "externalIDFieldName": "TieoutKey"}
    answer = manager.http.patch(f"{REST}/ACCOUNT", json=body)
    rows = answer.json()["upsertResponse"]
    assert answer.status_code == 200
    assert [(row["ErrorCode"], row["ErrorElementField"], row["success"]) for row in rows] == [
        ("0", "", True),
        ("INVALID_VALUE", "Status", False),
        ("INVALID_FIELD", "Nose", False),
        ("REQUIRED_FIELD", "Name", False),
        ("INVALID_REFERENCE", "ParentAccountId", False),
    ]


def test_upsert_tells_whether_it_created_and_needs_an_external_key(manager: BillingManager) -> None:
    good = {"Name": "One", "AccountTypeId": "1", "TieoutKey": "A-1"}
    first, second = manager.upsert("ACCOUNT", "TieoutKey", **good), manager.upsert("ACCOUNT", "TieoutKey", **good)
    assert (first["created"], second["created"], first["Id"]) == (True, False, second["Id"])
    body = {"brmObjects": good, "externalIDFieldName": "Name"}
    assert manager.http.patch(f"{REST}/ACCOUNT", json=body).status_code == 400
    doubled = manager.http.post(f"{REST}/ACCOUNT", json={"brmObjects": good}).json()["createResponse"][0]
    assert (doubled["ErrorCode"], doubled["ErrorElementField"]) == ("DUPLICATE_KEY", "TieoutKey")


def test_a_reference_may_name_an_external_key_of_what_it_refers_to(manager: BillingManager) -> None:
    owner = account(manager)
    contract = {"ContractNumber": "C-1", "StartDate": "2026-10-01", "AccountObj": {"TieoutKey": "A-1"}}
    manager.upsert("CONTRACT", "ContractNumber", **contract)
    assert manager.rows("CONTRACT")[0]["AccountId"] == owner


def test_no_row_and_no_entity_are_both_404(manager: BillingManager) -> None:
    for path, condition in (("ACCOUNT", "Id = 99"), ("ACOUNT", "Id > 0")):
        assert manager.http.get(f"{REST}/{path}", params={"queryAnsiSql": condition}).status_code == 404


def test_a_query_pages_through_one_entity(manager: BillingManager) -> None:
    for number in range(1, 6):
        manager.upsert("ACCOUNT", "TieoutKey", TieoutKey=f"A-{number}", Name=f"O'Hara {number}", AccountTypeId="1")

    def names(rest: str) -> list[str]:
        sql = " ".join(("select name, id from account", rest))
        answer = manager.http.get(f"{REST}/query", params={"sql": sql})
        return [row["Name"][-1] for row in answer.json().get("queryResponse", [])]

    assert names("order by id offset 2 rows fetch next 2 rows only") == ["3", "4"]
    assert names("where name = 'O''Hara 2' and parentaccountid is null") == ["2"]
    assert names("where tieoutkey in ('A-1', 'A-5') and status is not null") == []
    assert names("where tieoutkey in ('A-1', 'A-5') order by tieoutkey") == ["1", "5"]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM ACCOUNT",
        "SELECT Nose FROM ACCOUNT",
        "SELECT Id FROM ACOUNT",
        "SELECT Id FROM ACCOUNT WHERE Name LIKE 'a%'",
        "SELECT Id FROM ACCOUNT WHERE Id > 1 OR Id < 9",
        "SELECT Id FROM ACCOUNT OFFSET 0 ROWS FETCH NEXT 10001 ROWS ONLY",
    ],
)
def test_a_query_that_is_not_understood_is_refused(manager: BillingManager, sql: str) -> None:
    assert manager.http.get(f"{REST}/query", params={"sql": sql}).status_code == 400


def test_usage_is_rated_when_it_arrives_and_stands_on_the_current_invoice(manager: BillingManager) -> None:
    line = bought(manager, account(manager, terms="45"), "usage-1", "0.05")
    assert activity(manager, line, "100.5")["success"]
    (invoice,) = manager.rows("INVOICE")
    (held,) = manager.rows("ACTIVITY")
    assert (held["RatedAmount"], held["StandardCostUnrounded"], held["InvoiceId"]) == ("5.03", "5.025", invoice["Id"])
    assert (invoice["Status"], invoice["BillingCycleEndDate"], invoice["DueDate"]) == (
        "CURRENT",
        "2026-10-31",
        "2026-12-15",
    )


def test_the_price_of_the_account_goes_before_the_rate_of_the_product(manager: BillingManager) -> None:
    line = bought(manager, account(manager), "usage-1", "0.045", RateOverride="1")
    activity(manager, line, "3")
    assert manager.rows("ACTIVITY")[0]["RatedAmount"] == "3.00"


def test_usage_without_a_rate_is_an_error_on_no_invoice(manager: BillingManager) -> None:
    activity(manager, bought(manager, account(manager), "usage-1"), "3")
    (held,) = manager.rows("ACTIVITY")
    assert (held["ProcessStatus"], held["InvoiceId"], manager.rows("INVOICE")) == ("ERROR", None, [])


def test_the_close_of_a_cycle_charges_what_recurs_once_and_totals_each_invoice(manager: BillingManager) -> None:
    """12.00 from the 12th of October: 12 x 20/31 = 7.7419; 100 a year, once; 5 once; 2 of usage. November: 12.00."""
    owner = account(manager)
    bought(manager, owner, "recurring-1", RateOverride="12", StartDate="2026-10-12")
    bought(manager, owner, "recurring-12", RateOverride="100")
    bought(manager, owner, "one_time-1", RateOverride="5", StartDate="2026-10-09")
    activity(manager, bought(manager, owner, "usage-1", "1"), "2")
    (closed,) = manager.close("2026-10")
    assert manager.close("2026-10") == []
    (invoice,) = manager.rows("INVOICE")
    assert (invoice["Id"], invoice["Status"], invoice["GrandTotalAmount"]) == (closed, "CLOSED", "114.74")
    spans = {one["SubscriptionFromDate"]: one["SubscriptionToDate"] for one in manager.rows("ACTIVITY")}
    assert (spans["2026-10-12"], spans["2026-10-01"]) == ("2026-10-31", "2027-09-30")
    manager.close("2026-11")
    assert [one["GrandTotalAmount"] for one in manager.rows("INVOICE")] == ["114.74", "12.00"]
    lines = [Decimal(one["RatedAmount"]) for one in manager.rows("ACTIVITY")]
    assert sum(lines) == Decimal("126.74")


def test_what_is_on_a_closed_invoice_does_not_change(manager: BillingManager) -> None:
    line = bought(manager, account(manager), "usage-1", "1")
    activity(manager, line, "2")
    manager.close("2026-10")
    assert activity(manager, line, "3")["ErrorCode"] == "INVOICE_CLOSED"
    assert activity(manager, line, "3", key="U-2")["ErrorCode"] == "INVOICE_CLOSED"
    assert activity(manager, line, "3", "2026-11-30", "U-3")["success"]


def test_invoices_are_made_by_billing_alone(manager: BillingManager) -> None:
    answer = manager.http.post(f"{REST}/INVOICE", json={"brmObjects": {"Status": "CLOSED"}}).json()
    assert answer["createResponse"][0]["ErrorCode"] == "NOT_ALLOWED"


def soap(manager: BillingManager, session: str, body: str) -> httpx.Response:
    envelope = f"""<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:urn="{NAMESPACE}">
        <soapenv:Header><urn:SessionHeader><urn:SessionID>{session}</urn:SessionID></urn:SessionHeader></soapenv:Header>
        <soapenv:Body>{body}</soapenv:Body></soapenv:Envelope>"""
    return manager.http.post(f"/{ORGANISATION}/soap", content=envelope, headers={"Content-Type": "text/xml"})


def test_the_published_form_of_a_soap_create_is_understood(manager: BillingManager) -> None:
    """As the vendor's article has it: the entity in an attribute, its fields without a namespace."""
    body = """<urn:create><urn:brmObjects type="ACCOUNT"><Name>New</Name><Status>ACTIVE</Status>
        <AccountTypeId>1</AccountTypeId></urn:brmObjects></urn:create>"""
    answer = soap(manager, manager.http.headers["sessionid"], body)
    (row,) = etree.fromstring(answer.content).iter("result")
    assert (row.findtext("ErrorCode"), row.findtext("created")) == ("0", "true")
    assert manager.rows("ACCOUNT")[0]["Name"] == "New"


def test_a_soap_call_without_a_session_is_a_fault(manager: BillingManager) -> None:
    answer = soap(manager, "nobody", "<urn:create/>")
    assert (answer.status_code, b"INVALID_SESSION" in answer.content) == (500, True)
