"""The emulated QuickBooks Online company, asked as any client would ask the vendor."""

from __future__ import annotations

import base64
import hmac
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as some

from sandbox import server
from sandbox.emulator import read_json
from sandbox.quickbooks import CLIENT_ID, CLIENT_SECRET, REALM, REFRESH_TOKEN
from sandbox.quickbooks_records import converted

BASE = f"/v3/company/{REALM}"
Json = dict[str, Any]


class Client:
    """A bare client of the API, signed in."""

    def __init__(self, url: str) -> None:
        self.url = url
        token = self.renew(REFRESH_TOKEN).json()["access_token"]
        self.http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}", "Accept": "application/json"}
        )

    def renew(self, token: str, secret: str = CLIENT_SECRET) -> httpx.Response:
        form = {"grant_type": "refresh_token", "refresh_token": token}
        return httpx.post(f"{self.url}/oauth2/v1/tokens/bearer", data=form, auth=(CLIENT_ID, secret))

    def save(self, entity: str, fields: Json, **params: str) -> Json:
        answer = self.http.post(f"{BASE}/{entity.lower()}", params=params, json=fields)
        assert answer.status_code == 200, answer.text
        return read_json(answer.content)[entity]  # type: ignore[no-any-return]

    def refused(self, entity: str, fields: Json, **params: str) -> str:
        """The code of the fault."""
        answer = self.http.post(f"{BASE}/{entity.lower()}", params=params, json=fields)
        assert answer.status_code == 400, answer.text
        fault = answer.json()["Fault"]
        assert (fault["type"], set(fault["Error"][0])) == ("ValidationFault", {"Message", "Detail", "code", "element"})
        return str(fault["Error"][0]["code"])

    def query(self, text: str) -> Json:
        return read_json(self.http.get(f"{BASE}/query", params={"query": text}).content)  # type: ignore[no-any-return]

    def ids(self, text: str) -> list[str]:
        [(_, found)] = [item for item in self.query(text)["QueryResponse"].items() if isinstance(item[1], list)] or [
            ("", [])
        ]
        return [one["Id"] for one in found]


@pytest.fixture
def url() -> Iterator[str]:
    with server.start(["quickbooks"]) as running:
        yield running.urls["quickbooks"]


@pytest.fixture
def company(url: str) -> Client:
    """With accounts 1 (income), 2 (bank), 3 (receivables), a customer 4 and an item 5."""
    client = Client(url)
    for name, kind in (("Sales", "Income"), ("Bank", "Bank"), ("Debtors", "Accounts Receivable")):
        client.save("Account", {"Name": name, "AccountType": kind})
    client.save("Customer", {"DisplayName": "Acme"})
    client.save("Item", {"Name": "Minutes", "Type": "Service", "IncomeAccountRef": {"value": "1"}})
    return client


def line(amount: Any = 10, **detail: Any) -> Json:
    return {
        "Amount": amount,
        "DetailType": "SalesItemLineDetail",
        "SalesItemLineDetail": {"ItemRef": {"value": "5"}, **detail},
    }


def sale(*lines: Json, **fields: Any) -> Json:
    return {"CustomerRef": {"value": "4"}, "TxnDate": "2026-10-31", "Line": list(lines) or [line()], **fields}


def entry(debit: Any = 10, credit: Any = 10, account: str = "2", **fields: Any) -> Json:
    def side(kind: str, amount: Any, ident: str) -> Json:
        detail = {"PostingType": kind, "AccountRef": {"value": ident}}
        return {"Amount": amount, "DetailType": "JournalEntryLineDetail", "JournalEntryLineDetail": detail}

    return {"TxnDate": "2026-10-31", "Line": [side("Debit", debit, account), side("Credit", credit, "1")], **fields}


def pay(document: str, amount: Any = 10, **fields: Any) -> Json:
    applied = [{"Amount": amount, "LinkedTxn": [{"TxnId": document, "TxnType": "Invoice"}]}]
    given = {"CustomerRef": {"value": "4"}, "TotalAmt": amount, "TxnDate": "2026-11-01", "Line": applied}
    return {**given, "DepositToAccountRef": {"value": "2"}, **fields}


# Tokens


def test_a_refresh_token_is_good_until_its_successor_is_used(url: str) -> None:
    client = Client(url)
    second = client.renew(REFRESH_TOKEN).json()["refresh_token"]
    third = client.renew(second).json()["refresh_token"]
    assert client.renew(second).status_code == 200
    old = client.renew(REFRESH_TOKEN)
    assert (old.status_code, old.json()["error"]) == (400, "invalid_grant")
    assert client.renew(third).status_code == 400
    assert client.renew(third, secret="wrong").status_code == 401


def test_an_unknown_or_ended_token_is_refused(url: str, company: Client) -> None:
    assert company.http.get(f"{BASE}/preferences").status_code == 200
    httpx.delete(f"{url}/_sandbox/tokens")
    answer = company.http.get(f"{BASE}/preferences")
    assert (answer.status_code, answer.json()["Fault"]["Error"][0]["code"]) == (401, "3200")


def test_another_company_is_forbidden_and_xml_is_not_spoken(company: Client) -> None:
    assert company.http.get("/v3/company/1/preferences").status_code == 403
    assert company.http.get(f"{BASE}/preferences", headers={"Accept": "*/*"}).status_code == 406


# What is refused


@pytest.mark.parametrize(
    ("entity", "fields", "code"),
    [
        ("Invoice", sale(Colour="red"), "2010"),
        ("Invoice", sale({**line(), "Colour": "red"}), "2010"),
        ("Invoice", sale(line("10.00")), "2010"),
        ("Invoice", sale(TxnDate="31.10.2026"), "2010"),
        ("Invoice", sale(DocNumber="x" * 22), "2050"),
        ("Invoice", {"CustomerRef": {"value": "4"}}, "2020"),
        ("Invoice", {"Line": [line()]}, "2020"),
        (
            "Invoice",
            sale({"DetailType": "SalesItemLineDetail", "SalesItemLineDetail": {"ItemRef": {"value": "5"}}}),
            "2020",
        ),
        ("Invoice", sale(CustomerRef={"value": "99"}), "2500"),
        ("Invoice", sale(line(ItemRef={"value": "99"})), "2500"),
        ("Invoice", sale(line(Qty=3, UnitPrice=3)), "6070"),
        ("Invoice", sale(line(10.001)), "6000"),
        ("Invoice", sale(line(-10)), "6000"),
        ("Invoice", sale(line(TaxCodeRef={"value": "7"})), "6100"),
        ("Invoice", sale(CurrencyRef={"value": "EUR"}), "6000"),
        ("Payment", pay("99"), "620"),
        ("Payment", {"CustomerRef": {"value": "4"}}, "2020"),
        ("JournalEntry", entry(10, 11), "6000"),
        ("JournalEntry", entry(-10, -10), "6000"),
        ("JournalEntry", entry(account="3"), "6000"),
        ("JournalEntry", {**entry(), "Line": entry()["Line"][:1]}, "2020"),
        ("Customer", {"DisplayName": "Acme"}, "6240"),
        ("Customer", {"DisplayName": "acme"}, "6240"),
        ("Customer", {"DisplayName": "a:b"}, "2040"),
        ("Customer", {"DisplayName": "B", "PrimaryEmailAddr": {"Address": "nobody"}}, "2210"),
        ("Account", {"Name": "A", "AccountType": "Nonsense"}, "2170"),
        ("Account", {"Name": "A", "AccountType": "Bank", "AcctNum": "12345678"}, "2050"),
        ("Account", {"Name": "A"}, "6010"),
        ("Item", {"Name": "A", "Type": "Service"}, "2020"),
        ("Item", {"Name": "A", "Type": "Service", "IncomeAccountRef": {"value": "3"}}, "6000"),
        ("Class", {}, "2020"),
    ],
)
def test_what_the_vendor_refuses_is_refused_with_its_code(
    company: Client, entity: str, fields: Json, code: str
) -> None:
    assert company.refused(entity, fields) == code


def test_a_reference_to_what_is_inactive_is_not_found(company: Client) -> None:
    company.save("Customer", {"Id": "4", "SyncToken": "0", "sparse": True, "Active": False})
    assert company.refused("Invoice", sale()) == "610"


def test_closed_books_take_nothing_in_and_let_nothing_out(url: str, company: Client) -> None:
    held = company.save("JournalEntry", entry())
    httpx.post(f"{url}/_sandbox/quickbooks", json={"closed_through": "2026-10-31"})
    assert company.refused("JournalEntry", entry()) == "6210"
    moved = {**entry(TxnDate="2026-11-30"), "Id": held["Id"], "SyncToken": "0"}
    assert company.refused("JournalEntry", moved) == "6210"
    assert company.refused("JournalEntry", {"Id": held["Id"], "SyncToken": "0"}, operation="delete") == "6210"
    company.save("JournalEntry", entry(TxnDate="2026-11-01"))
    preferences = company.http.get(f"{BASE}/preferences").json()["Preferences"]
    assert preferences["AccountingInfoPrefs"]["BookCloseDate"] == "2026-10-31"


def test_a_number_may_repeat_unless_the_company_refuses_that(url: str, company: Client) -> None:
    for _ in range(2):
        company.save("Invoice", sale(DocNumber="INV-1"))
    httpx.post(f"{url}/_sandbox/quickbooks", json={"duplicate_numbers": "refused"})
    assert company.refused("Invoice", sale(DocNumber="INV-1")) == "6140"
    company.save("CreditMemo", sale(DocNumber="INV-1"))


# Versions and request ids


def test_an_old_version_is_refused_and_a_full_update_empties_what_is_not_sent(company: Client) -> None:
    company.save("Customer", {"Id": "4", "SyncToken": "0", "sparse": True, "CompanyName": "Acme Inc.", "Notes": "x"})
    assert company.refused("Customer", {"Id": "4", "SyncToken": "0", "DisplayName": "Acme"}) == "5010"
    held = company.save("Customer", {"Id": "4", "SyncToken": "1", "DisplayName": "Acme", "Notes": "y"})
    assert ("CompanyName" in held, held["Notes"], held["SyncToken"]) == (False, "y", "2")


def test_a_request_id_repeats_the_first_answer(company: Client) -> None:
    first = company.save("Invoice", sale(), requestid="r1")
    assert company.save("Invoice", sale(line(99)), requestid="r1") == first
    assert company.save("Invoice", sale(), requestid="r2")["Id"] != first["Id"]
    assert company.refused("Invoice", sale(), requestid="r" * 51) == "2050"
    assert company.refused("Invoice", sale(line(-1)), requestid="r3") == "6000"
    company.save("Invoice", sale(), requestid="r3")


def test_a_batch_carries_out_what_it_can(company: Client) -> None:
    items = [
        {"bId": "a", "operation": "create", "Invoice": sale(DocNumber="B-1")},
        {"bId": "b", "operation": "create", "Invoice": sale(line(-1))},
        {"bId": "c", "operation": "update", "Customer": {"Id": "4", "SyncToken": "7", "DisplayName": "Acme"}},
        {"bId": "d", "Query": "select * from Invoice where DocNumber = 'B-1'"},
    ]
    for _ in range(2):
        answer = company.http.post(f"{BASE}/batch", params={"requestid": "q"}, json={"BatchItemRequest": items}).json()
        first, second, third, fourth = answer["BatchItemResponse"]
        assert first["Invoice"]["DocNumber"] == "B-1"
        assert [one["Fault"]["Error"][0]["code"] for one in (second, third)] == ["6000", "5010"]
        assert len(fourth["QueryResponse"]["Invoice"]) == 1
    many = [{"bId": str(n), "Query": "select * from Class"} for n in range(31)]
    assert (
        company.http.post(f"{BASE}/batch", json={"BatchItemRequest": many}).json()["Fault"]["Error"][0]["code"]
        == "1040"
    )


# Asking


def test_a_query_filters_sorts_and_pages(company: Client) -> None:
    for number in range(5):
        company.save("Customer", {"DisplayName": f"O'Neil {number}", "CompanyName": "x%" if number else "y"})
    assert len(company.ids("select * from Customer")) == 6
    assert company.ids("SELECT * FROM Customer WHERE DisplayName = 'O\\'Neil 3'") == ["9"]
    assert company.ids("select * from Customer where DisplayName in ('acme', 'o\\'neil 0')") == ["4", "6"]
    assert company.ids("select Id from Customer where DisplayName like 'o%' and CompanyName = 'y'") == ["6"]
    assert company.ids("select * from Customer where Id > '7' orderby DisplayName desc maxresults 2") == ["10", "9"]
    assert company.ids("select * from Customer orderby Id startposition 5 maxresults 2") == ["9", "10"]
    assert company.ids("select * from Customer where DisplayName = 'nobody'") == []
    assert company.query("select count(*) from Customer")["QueryResponse"] == {"totalCount": 6}


def test_inactive_names_are_only_given_when_asked_for(company: Client) -> None:
    company.save("Customer", {"Id": "4", "SyncToken": "0", "sparse": True, "Active": False})
    assert company.ids("select * from Customer") == []
    assert company.ids("select * from Customer where Active in (true, false)") == ["4"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("select * from Nothing", "4001"),
        ("select * from Invoice where PrivateNote = 'x'", "4001"),
        ("select * from Invoice where DocNumber = 'x' or DocNumber = 'y'", "4000"),
        ("select * from Invoice where DocNumber = x", "4000"),
        ("select * from Invoice maxresults 1001", "4001"),
        ("select * from Invoice where TotalAmt > 'much'", "4001"),
        ("delete from Invoice", "4000"),
        ("select * from Invoice where DocNumber = 'x", "4000"),
    ],
)
def test_a_query_the_vendor_cannot_read_is_refused(company: Client, text: str, code: str) -> None:
    company.save("Invoice", sale())
    assert company.query(text)["Fault"]["Error"][0]["code"] == code


def test_data_capture_shows_what_changed_and_what_is_gone(company: Client) -> None:
    since = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    first, second = company.save("Invoice", sale()), company.save("Invoice", sale())
    company.save("Invoice", {"Id": first["Id"], "SyncToken": "0"} | sale())
    answer = company.http.post(
        f"{BASE}/invoice", params={"operation": "delete"}, json={"Id": second["Id"], "SyncToken": "0"}
    )
    assert answer.json()["Invoice"]["status"] == "Deleted"
    asked = {"entities": "Invoice,Payment", "changedSince": since}
    invoices, payments = company.http.get(f"{BASE}/cdc", params=asked).json()["CDCResponse"][0]["QueryResponse"]
    assert [(one["Id"], one.get("status")) for one in invoices["Invoice"]] == [("1", None), ("2", "Deleted")]
    assert payments == {}
    long_ago = {"entities": "Invoice", "changedSince": "2020-01-01T00:00:00Z"}
    assert company.http.get(f"{BASE}/cdc", params=long_ago).status_code == 400


# The books


def trial_balance(company: Client) -> dict[str, Decimal]:
    report = company.http.get(f"{BASE}/reports/TrialBalance", params={"end_date": "2026-12-31"}).json()
    rows = [row["ColData"] for row in report["Rows"]["Row"] if "ColData" in row]
    return {cells[0]["id"]: Decimal(cells[1]["value"] or 0) - Decimal(cells[2]["value"] or 0) for cells in rows}


def test_a_sale_is_paid_and_credited_through_receivables(company: Client) -> None:
    document = company.save("Invoice", sale(line(10), line(5.5)))
    assert (document["TotalAmt"], document["Balance"], document["Line"][2]["DetailType"]) == (
        Decimal("15.5"),
        Decimal("15.5"),
        "SubTotalLineDetail",
    )
    assert trial_balance(company) == {"1": Decimal("-15.5"), "3": Decimal("15.5")}
    paid = company.save("Payment", pay(document["Id"], 10))
    assert paid["UnappliedAmt"] == 0
    held = company.http.get(f"{BASE}/invoice/{document['Id']}").json()["Invoice"]
    assert (held["Balance"], held["LinkedTxn"]) == (5.5, [{"TxnId": paid["Id"], "TxnType": "Payment"}])
    assert company.refused("Payment", pay(document["Id"], 6)) == "6000"
    assert company.refused("Invoice", sale(line(9), Id=document["Id"], SyncToken=held["SyncToken"])) == "6000"
    company.save("CreditMemo", sale(line(1)))
    assert trial_balance(company) == {"1": Decimal("-14.5"), "2": Decimal(10), "3": Decimal("4.5")}


def test_deleting_a_payment_opens_its_invoice_again(company: Client) -> None:
    document = company.save("Invoice", sale())
    paid = company.save("Payment", pay(document["Id"]))
    assert company.refused("Invoice", {"Id": document["Id"], "SyncToken": "1"}, operation="delete") == "6000"
    company.http.post(f"{BASE}/payment", params={"operation": "delete"}, json={"Id": paid["Id"], "SyncToken": "0"})
    assert company.http.get(f"{BASE}/invoice/{document['Id']}").json()["Invoice"]["Balance"] == 10
    assert trial_balance(company) == {"1": -10, "3": 10}


def test_a_voided_payment_stays_with_nothing_and_opens_its_invoice_again(company: Client) -> None:
    document = company.save("Invoice", sale())
    paid = company.save("Payment", pay(document["Id"], PrivateNote="by wire"))
    asked = {"operation": "update", "include": "void"}
    assert company.refused("Payment", {"Id": paid["Id"], "SyncToken": "0"}, **asked) == "2020"
    void = company.save("Payment", {"Id": paid["Id"], "SyncToken": "0", "sparse": True}, **asked)
    assert (void["TotalAmt"], void["Line"], void["PrivateNote"]) == (0, [], "Voided - by wire")
    assert company.http.get(f"{BASE}/invoice/{document['Id']}").json()["Invoice"]["Balance"] == 10
    assert trial_balance(company) == {"1": -10, "2": 0, "3": 10}
    answer = company.http.post(f"{BASE}/invoice", params=asked, json={"Id": document["Id"], "SyncToken": "2"})
    assert answer.json()["Fault"]["Error"][0]["code"] == "500"


def test_a_company_without_receivables_makes_its_own(url: str) -> None:
    client = Client(url)
    client.save("Account", {"Name": "Sales", "AccountType": "Income"})
    client.save("Customer", {"DisplayName": "Acme"})
    client.save("Item", {"Name": "Minutes", "IncomeAccountRef": {"value": "1"}})
    given = sale(line(ItemRef={"value": "3"}), CustomerRef={"value": "2"})
    client.save("Invoice", given)
    assert client.ids("select * from Account where Name = 'Accounts Receivable (A/R)'") == ["4"]


# Currencies


def in_euros(rate: str = "1.10", **fields: Any) -> Json:
    return {"CurrencyRef": {"value": "EUR"}, "ExchangeRate": float(rate), **fields}


@pytest.fixture
def abroad(url: str, company: Client) -> Client:
    """The same company with several currencies, and a customer 6 in euros."""
    httpx.post(f"{url}/_sandbox/quickbooks", json={"multicurrency": True}).raise_for_status()
    company.save("Customer", {"DisplayName": "Europa", "CurrencyRef": {"value": "EUR"}})
    return company


def test_another_currency_is_refused_until_several_are_switched_on(url: str, company: Client) -> None:
    assert company.refused("Customer", {"DisplayName": "Europa", "CurrencyRef": {"value": "EUR"}}) == "6000"
    httpx.post(f"{url}/_sandbox/quickbooks", json={"multicurrency": True}).raise_for_status()
    company.save("Customer", {"DisplayName": "Europa", "CurrencyRef": {"value": "EUR"}})
    back = httpx.post(f"{url}/_sandbox/quickbooks", json={"multicurrency": False})
    assert back.json() == {"error": "multicurrency cannot be switched off"}
    prefs = company.http.get(f"{BASE}/preferences").json()["Preferences"]["CurrencyPrefs"]
    assert prefs == {"MultiCurrencyEnabled": True, "HomeCurrency": {"value": "USD"}}


def test_a_payment_at_another_rate_realises_a_gain_in_the_home_currency(abroad: Client) -> None:
    """72.00 euros at 1.05 are owed on receivables of their own, and bring 79.20 dollars at 1.10: 3.60 are won."""
    owed = abroad.save("Invoice", sale(line(72), CustomerRef={"value": "6"}, **in_euros("1.05")))
    assert (owed["HomeTotalAmt"], owed["HomeBalance"]) == (Decimal("75.60"), Decimal("75.60"))
    (receivables,) = abroad.ids("select * from Account where Name = 'Accounts Receivable (A/R) - EUR'")
    assert trial_balance(abroad) == {"1": Decimal("-75.60"), receivables: Decimal("75.60")}
    abroad.save("Payment", pay(owed["Id"], 72, CustomerRef={"value": "6"}, **in_euros("1.10")))
    (gains,) = abroad.ids("select * from Account where AccountSubType = 'ExchangeGainOrLoss'")
    held = {ident: amount for ident, amount in trial_balance(abroad).items() if amount}
    assert held == {"1": Decimal("-75.60"), "2": Decimal("79.20"), gains: Decimal("-3.60")}
    paid = abroad.http.get(f"{BASE}/invoice/{owed['Id']}").json()["Invoice"]
    assert (paid["Balance"], paid["HomeBalance"]) == (0, 0)


def test_the_ledger_shows_the_home_currency_in_columns_of_its_own(abroad: Client) -> None:
    abroad.save("Invoice", sale(line(72), CustomerRef={"value": "6"}, **in_euros("1.05")))
    asked = {"start_date": "2026-10-01", "end_date": "2026-10-31", "columns": "tx_date,debt_amt,debt_home_amt"}
    sections = abroad.http.get(f"{BASE}/reports/GeneralLedger", params=asked).json()["Rows"]["Row"]
    cells = [[cell["value"] for cell in row["Rows"]["Row"][1]["ColData"]] for row in sections]
    assert sorted(cells) == [["2026-10-31", "", ""], ["2026-10-31", "", "75.60"]]


def owed_by(customer: str, account: str, **fields: Any) -> Json:
    given = entry(account=account, **fields)
    given["Line"][0]["JournalEntryLineDetail"]["Entity"] = {"Type": "Customer", "EntityRef": {"value": customer}}
    return given


@pytest.mark.parametrize(
    ("entity", "fields"),
    [
        ("Invoice", sale(CurrencyRef={"value": "EUR"})),
        ("Invoice", sale(CustomerRef={"value": "6"}, CurrencyRef={"value": "USD"})),
        ("Invoice", sale(CustomerRef={"value": "6"}, **in_euros("0"), TotalAmt=1) | {"ExchangeRate": -1}),
        ("JournalEntry", owed_by("6", "3", CurrencyRef={"value": "USD"})),
        ("JournalEntry", owed_by("4", "3", CurrencyRef={"value": "EUR"})),
        ("Customer", {"Id": "6", "SyncToken": "0", "DisplayName": "Europa", "CurrencyRef": {"value": "USD"}}),
    ],
    ids=[
        "customer in dollars",
        "customer in euros",
        "rate",
        "customer of a journal",
        "account of a journal",
        "changed",
    ],
)
def test_a_currency_that_does_not_fit_is_a_business_error(abroad: Client, entity: str, fields: Json) -> None:
    assert abroad.refused(entity, fields) == "6000"


def test_with_several_currencies_a_transaction_names_its_own(abroad: Client) -> None:
    assert abroad.refused("Invoice", sale()) == "2020"


@given(rate=some.integers(1, 10**7), amounts=some.lists(some.integers(1, 10**9), min_size=1, max_size=8))
def test_amounts_converted_one_by_one_come_to_the_total_converted(rate: int, amounts: list[int]) -> None:
    record = {"ExchangeRate": Decimal(rate).scaleb(-6)}
    cents = [Decimal(one).scaleb(-2) for one in amounts]
    assert sum(converted(record, cents)) == converted(record, [sum(cents, Decimal(0))])[0]


def test_the_ledger_has_a_section_an_account_and_begins_where_it_stood(company: Client) -> None:
    company.save("JournalEntry", entry(7, 7, TxnDate="2026-09-30"))
    company.save("JournalEntry", entry(10.25, 10.25))
    params = {"start_date": "2026-10-01", "end_date": "2026-10-31", "columns": "tx_date,debt_amt,credit_amt"}
    report = company.http.get(f"{BASE}/reports/GeneralLedger", params=params).json()
    keys = [column["MetaData"][0]["Value"] for column in report["Columns"]["Column"]]
    assert keys == ["tx_date", "debt_amt", "credit_amt"]
    sales, bank = report["Rows"]["Row"]
    assert bank["Header"]["ColData"][0] == {"value": "Bank", "id": "2"}
    cells = [[cell["value"] for cell in row["ColData"]] for row in bank["Rows"]["Row"]]
    assert cells == [["Beginning Balance", "", "7.00"], ["2026-10-31", "10.25", ""]]
    assert [cell["value"] for cell in sales["Rows"]["Row"][1]["ColData"]] == ["2026-10-31", "", "10.25"]


# Staying and telling


def test_a_restarted_company_goes_on(tmp_path: Path) -> None:
    with server.start(["quickbooks"], tmp_path) as running:
        client = Client(running.urls["quickbooks"])
        client.save("Customer", {"DisplayName": "Acme"})
        headers = dict(client.http.headers)
    with server.start(["quickbooks"], tmp_path) as running:
        again = httpx.Client(base_url=running.urls["quickbooks"], headers=headers)
        text = "select * from Customer where DisplayName = 'Acme'"
        found = again.get(f"{BASE}/query", params={"query": text}).json()["QueryResponse"]["Customer"]
        assert [one["Id"] for one in found] == ["1"]
        assert again.post(f"{BASE}/customer", json={"DisplayName": "Bolt"}).json()["Customer"]["Id"] == "2"


@pytest.mark.parametrize("form", ["cloudevents", "notifications"])
def test_changes_are_told_signed_in_either_form(url: str, company: Client, form: str) -> None:
    received: list[tuple[bytes, str]] = []
    arrived = threading.Event()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((body, self.headers["intuit-signature"]))
            self.send_response(200)
            self.end_headers()
            arrived.set()

        def log_message(self, *_: object) -> None:
            return

    receiver = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    httpx.post(f"{url}/_sandbox/quickbooks", json={"webhook_form": form})
    address = f"http://127.0.0.1:{receiver.server_port}/"
    httpx.post(f"{url}/_sandbox/webhooks", json={"url": address, "secret": "verifier"})
    company.save("Invoice", sale())
    assert arrived.wait(10)
    receiver.shutdown()
    body, mark = received[0]
    assert mark == base64.b64encode(hmac.new(b"verifier", body, sha256).digest()).decode()
    told = json.loads(body)
    if form == "cloudevents":
        assert (told[0]["type"], told[0]["intuitentityid"]) == ("qbo.invoice.created.v1", "1")
    else:
        [entity] = told["eventNotifications"][0]["dataChangeEvent"]["entities"]
        assert (entity["name"], entity["id"], entity["operation"]) == ("Invoice", "1", "Create")


def test_planted_faults_speak_the_vendors_language(url: str, company: Client) -> None:
    for fault, status, code in (
        ({"kind": "rate_limit"}, 429, "3001"),
        ({"kind": "error", "status": 500}, 500, "10000"),
    ):
        httpx.post(f"{url}/_sandbox/faults", json={"match": "/preferences", **fault})
        answer = company.http.get(f"{BASE}/preferences")
        assert (answer.status_code, answer.json()["Fault"]["Error"][0]["code"]) == (status, code)
