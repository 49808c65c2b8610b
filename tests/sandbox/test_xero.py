"""The emulated Xero organisation answers as Xero does, refusals, limits and webhooks too."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as some

from sandbox import server
from sandbox.xero import CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN, TENANT, WEBHOOK_KEY
from sandbox.xero_schema import Refused, day_of, ms_date, where

API = "/api.xro/2.0"
Json = dict[str, Any]


class Client:
    """A signed-in app."""

    def __init__(self, url: str) -> None:
        self.url = url
        tokens = self.renew(REFRESH_TOKEN).json()
        headers = {"Authorization": f"Bearer {tokens['access_token']}", "xero-tenant-id": TENANT}
        self.http = httpx.Client(base_url=url, headers={**headers, "Accept": "application/json"})

    def renew(self, token: str, secret: str = CLIENT_SECRET) -> httpx.Response:
        form = {"grant_type": "refresh_token", "refresh_token": token}
        return httpx.post(f"{self.url}/connect/token", data=form, auth=(CLIENT_ID, secret))

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.http.get(f"{API}/{path}", headers=headers)

    def send(self, method: str, path: str, body: Json, **headers: str) -> httpx.Response:
        return self.http.request(method, f"{API}/{path}", json=body, headers=headers)

    def put(self, path: str, body: Json) -> Json:
        """One new record."""
        answer = self.send("PUT", path, body)
        assert answer.status_code == 200, answer.text
        return answer.json()[path.partition("?")[0].rpartition("/")[2]][0]  # type: ignore[no-any-return]

    def objects(self) -> dict[str, int]:
        return self.http.get("/_sandbox/objects").json()  # type: ignore[no-any-return]

    def configure(self, **changes: Any) -> None:
        self.http.post("/_sandbox/xero", json=changes).raise_for_status()


@pytest.fixture
def running() -> Iterator[server.Running]:
    with server.start(["xero"]) as running:
        yield running


@pytest.fixture
def client(running: server.Running) -> Client:
    """With accounts 200 (revenue) and 210 (takes payments), a contact Acme and an item VC."""
    made = Client(running.urls["xero"])
    made.put("Accounts", {"Code": "200", "Name": "Sales", "Type": "REVENUE"})
    made.put("Accounts", {"Code": "210", "Name": "Till", "Type": "CURRENT", "EnablePaymentsToAccount": True})
    made.put("Contacts", {"Name": "Acme", "ContactNumber": "A-1"})
    made.put("Items", {"Code": "VC", "SalesDetails": {"AccountCode": "200"}})
    return made


def line(**fields: Any) -> Json:
    return {"Description": "Minutes", "AccountCode": "200", **fields}


def sale(*lines: Json, **fields: Any) -> Json:
    told = {"Type": "ACCREC", "Contact": {"Name": "Acme"}, "Date": "2026-10-31", "DueDate": "2026-11-30"}
    told |= {"Status": "AUTHORISED", "LineAmountTypes": "NoTax"}
    return {**told, "LineItems": list(lines) or [line(Quantity=1, UnitAmount=10)], **fields}


def entry(*amounts: Any, **fields: Any) -> Json:
    lines = [{"LineAmount": one, "AccountCode": code} for one, code in zip(amounts, ("210", "200"), strict=False)]
    return {"Narration": "JE-1", "Date": "2026-10-31", "Status": "POSTED", "JournalLines": lines, **fields}


def sentences(answer: httpx.Response) -> list[str]:
    """What is wrong, in the vendor's words."""
    body = answer.json()
    elements = body.get("Elements") or [one for value in body.values() if isinstance(value, list) for one in value]
    return [fault["Message"] for element in elements for fault in element.get("ValidationErrors", ())]


# Who may call


def test_a_used_refresh_token_stays_good_for_half_an_hour() -> None:
    """By the vendor's clock, which the sandbox may be given."""
    now = [datetime(2026, 11, 1, tzinfo=UTC)]
    with server.start(["xero"]) as running:
        running.emulators["xero"].shelf.now = lambda: now[0]
        client = Client(running.urls["xero"])
        now[0] += timedelta(minutes=29)
        second = client.renew(REFRESH_TOKEN).json()["refresh_token"]
        assert client.get("Organisation").status_code == 200
        now[0] += timedelta(minutes=2)
        old = client.renew(REFRESH_TOKEN)
        assert (old.status_code, old.json()) == (400, {"error": "invalid_grant"})
        assert client.get("Organisation").status_code == 401
        third = client.renew(second).json()["refresh_token"]
        assert third not in (REFRESH_TOKEN, second)


def test_strangers_are_kept_out(client: Client) -> None:
    assert client.renew(REFRESH_TOKEN, secret="wrong").json() == {"error": "invalid_client"}
    assert client.get("Organisation", **{"xero-tenant-id": "another"}).status_code == 403
    assert client.get("Organisation", Accept="*/*").status_code == 406
    httpx.delete(f"{client.url}/_sandbox/tokens")
    assert (client.get("Organisation").status_code, client.get("Organisation").json()["Title"]) == (401, "Unauthorized")


def test_the_consent_shows_its_organisation(client: Client) -> None:
    assert [one["tenantId"] for one in client.http.get("/connections").json()] == [TENANT]


# How often


@pytest.mark.parametrize(("limit", "problem"), [("minute_limit", "minute"), ("day_limit", "day")])
def test_the_last_call_of_a_window_is_followed_by_a_refusal_that_says_how_long(
    client: Client, limit: str, problem: str
) -> None:
    client.configure(**{limit: 2})
    first, second, third = (client.get("Organisation") for _ in range(3))
    header = {"minute": "X-MinLimit-Remaining", "day": "X-DayLimit-Remaining"}[problem]
    assert [one.headers[header] for one in (first, second)] == ["1", "0"]
    assert (third.status_code, third.headers["X-Rate-Limit-Problem"]) == (429, problem)
    assert 0 < int(third.headers["Retry-After"]) <= 86_400
    assert first.headers["X-AppMinLimit-Remaining"] == "99999"


def test_more_calls_at_one_time_than_allowed_are_refused(client: Client) -> None:
    client.configure(latency=1, concurrent_limit=2)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: client.get("Organisation"), range(4)))
    refused = [one for one in answers if one.status_code == 429]
    assert sorted(one.status_code for one in answers) == [200, 200, 429, 429]
    assert {one.headers["X-Rate-Limit-Problem"] for one in refused} == {"concurrent"}
    assert "Retry-After" not in refused[0].headers


# Idempotency


def test_a_key_repeats_the_first_answer_and_refuses_another_request(client: Client) -> None:
    key = {"Idempotency-Key": "k-1"}
    first, again = (client.send("PUT", "ManualJournals", entry(5, -5), **key) for _ in range(2))
    assert first.json() == again.json()
    other = client.send("PUT", "ManualJournals", entry(6, -6), **key)
    assert (other.status_code, sentences(other)) == (
        400,
        ["Idempotency Key: k-1 is used with a different request."],
    )
    assert client.objects()["manual_journal"] == 1
    assert client.send("PUT", "ManualJournals", entry(5, -5), **{"Idempotency-Key": "x" * 129}).status_code == 400


def test_a_refusal_is_repeated_under_its_key_though_its_cause_is_gone(client: Client) -> None:
    client.configure(period_lock="2026-10-31")
    key = {"Idempotency-Key": "k-1"}
    assert client.send("PUT", "ManualJournals", entry(5, -5), **key).status_code == 400
    client.configure(period_lock=None)
    assert client.send("PUT", "ManualJournals", entry(5, -5), **key).status_code == 400
    assert client.send("PUT", "ManualJournals", entry(5, -5), **{"Idempotency-Key": "k-2"}).status_code == 200


# PUT and POST, one and many


def test_put_creates_and_post_overwrites_the_document_of_that_number(client: Client) -> None:
    first = client.put("Invoices", sale(InvoiceNumber="INV-1"))
    again = client.send("PUT", "Invoices", sale(InvoiceNumber="inv-1"))
    assert (again.status_code, sentences(again)) == (400, ["Invoice # must be unique."])
    over = client.send("POST", "Invoices", sale(line(Quantity=2, UnitAmount=10), InvoiceNumber="INV-1"))
    assert [(one["InvoiceID"], one["Total"]) for one in over.json()["Invoices"]] == [(first["InvoiceID"], 20)]


def test_a_bill_may_have_a_number_twice(client: Client) -> None:
    bills = [client.put("Invoices", sale(InvoiceNumber="B-1", Type="ACCPAY")) for _ in range(2)]
    assert len({one["InvoiceID"] for one in bills}) == 2


def test_all_or_none_unless_errors_are_not_summarized(client: Client) -> None:
    both = {"Invoices": [sale(InvoiceNumber="INV-1"), sale(line(Quantity=1, UnitAmount=1, AccountCode="999"))]}
    whole = client.send("PUT", "Invoices", both)
    assert (whole.status_code, whole.json()["ErrorNumber"], "invoice" in client.objects()) == (400, 10, False)
    assert sentences(whole) == ["Account code '999' is not a valid code for this document."]
    each = client.send("PUT", "Invoices?summarizeErrors=false", both)
    assert [one["StatusAttributeString"] for one in each.json()["Invoices"]] == ["OK", "ERROR"]
    assert (each.status_code, each.json()["Invoices"][1]["HasErrors"], client.objects()["invoice"]) == (200, True, 1)
    assert client.get("Journals").json()["Journals"][-1]["SourceType"] == "ACCREC"


def test_what_cannot_be_read_spoils_the_whole_call_and_what_is_unknown_is_passed_over(client: Client) -> None:
    both = {"Invoices": [sale(Colour="red", Total=99), sale(Status="PURPLE")]}
    answer = client.send("PUT", "Invoices?summarizeErrors=false", both)
    assert (answer.status_code, answer.json()["Type"]) == (400, "PostDataInvalidException")
    assert "Path 'Invoices[1].Status'" in answer.json()["Message"]
    assert "Colour" not in client.put("Invoices", sale(Colour="red", Total=99))
    for body in ("[]", "{", '{"Invoices": []}', '{"Invoices": 1}'):
        sent = client.http.put(f"{API}/Invoices", content=body)
        assert (sent.status_code, sent.json()["ErrorNumber"]) == (400, 14)


def test_what_is_not_there_is_not_found(client: Client) -> None:
    assert client.get("Invoices/00000000-0000-0000-0000-000000000000").status_code == 404
    assert client.get("Vendors").status_code == 404
    assert client.get("Contacts/A-1").json()["Contacts"][0]["Name"] == "Acme"


# Rules


@pytest.mark.parametrize(
    ("path", "body", "sentence"),
    [
        ("Contacts", {"ContactNumber": "A-2"}, "The contact name must be specified"),
        ("Contacts", {"Name": "ACME"}, "The contact name ACME is already assigned to another contact."),
        ("Contacts", {"Name": "B", "ContactNumber": "A-1"}, "The contact number A-1 is already assigned"),
        ("Contacts", {"Name": "B", "EmailAddress": "nobody"}, "Email address must be valid."),
        ("Contacts", {"Name": "x" * 256}, "The Name field is limited to 255 characters"),
        ("Accounts", {"Code": "200", "Name": "B", "Type": "REVENUE"}, "Please enter a unique Code."),
        ("Accounts", {"Code": "201", "Name": "sales", "Type": "REVENUE"}, "Please enter a unique Name."),
        ("Items", {"Code": "VC"}, "Price List Item with Code 'VC' already exists"),
        ("Items", {"Code": "VD", "SalesDetails": {"AccountCode": "999"}}, "Account code '999' is not a valid code"),
        ("Invoices", sale(Contact={}), "A Contact must be specified"),
        ("Invoices", sale(DueDate=None), "Due Date cannot be empty"),
        ("Invoices", sale(line(ItemCode="XX", Quantity=1, UnitAmount=1)), "Item code 'XX' is not valid"),
        ("Invoices", sale(line(Quantity=1, UnitAmount=1, AccountCode="1100")), "Account code '1100' is not a valid"),
        ("Invoices", sale(line(Quantity=1, UnitAmount=-1)), "The invoice total must not be negative"),
        ("Invoices", sale(line(Quantity=3, UnitAmount=1, LineAmount=1)), "The line total 1.00 does not match the exp"),
        ("Invoices", sale(CurrencyCode="EUR"), "Organisation is not subscribed to currency EUR"),
        ("Contacts", {"Name": "B", "DefaultCurrency": "EUR"}, "Organisation is not subscribed to currency EUR"),
        ("Invoices", sale(CurrencyRate=-1), "Currency rate must be greater than zero"),
        ("ManualJournals", entry(5, -4), "The total debits (5.00) must equal total credits (4.00)"),
        ("ManualJournals", entry(5, -5, Narration=""), "Narration must be specified"),
        ("ManualJournals", entry(5), "The manual journal must have at least two lines"),
        ("TrackingCategories", {}, "Tracking category Name must be specified"),
    ],
)
def test_what_breaks_a_rule_is_refused_with_a_sentence(client: Client, path: str, body: Json, sentence: str) -> None:
    before = client.objects()
    answer = client.send("PUT", path, body)
    assert (answer.status_code, answer.json()["Type"]) == (400, "ValidationException")
    assert sentences(answer)[0].startswith(sentence)
    assert client.objects() == before


def lines_to(code: str) -> list[Json]:
    return [{"LineAmount": 1, "AccountCode": code}, {"LineAmount": -1, "AccountCode": "200"}]


def test_no_manual_journal_touches_receivables_or_a_bank_account(client: Client) -> None:
    client.configure(currencies=["USD", "EUR"])
    assert client.send("PUT", "ManualJournals", entry(JournalLines=lines_to("7000"))).status_code == 200
    for code in ("1100", "800", "090", "497", "498"):
        answer = client.send("PUT", "ManualJournals", entry(JournalLines=lines_to(code)))
        assert sentences(answer) == [f"Account code '{code}' is not a valid code for this document."]


@pytest.mark.parametrize("lock", ["period_lock", "end_of_year_lock"])
def test_nothing_is_posted_or_changed_in_locked_days(client: Client, lock: str) -> None:
    held = client.put("Invoices", sale())
    client.configure(**{lock: "2026-10-31"})
    shown = client.get("Organisation").json()["Organisations"][0]
    name = {"period_lock": "PeriodLockDate", "end_of_year_lock": "EndOfYearLockDate"}[lock]
    assert shown[name] == "/Date(1793404800000+0000)/"
    bodies = [("PUT", "Invoices", sale()), ("PUT", "ManualJournals", entry(1, -1))]
    for method, path, body in [*bodies, ("POST", f"Invoices/{held['InvoiceID']}", {"Status": "VOIDED"})]:
        assert "lock date, currently set at 31-Oct-2026" in sentences(client.send(method, path, body))[0]
    assert client.send("PUT", "Invoices", sale(Date="2026-11-01")).status_code == 200


@pytest.mark.parametrize(
    ("query", "fields", "unit", "amount"),
    [
        ("", {"Quantity": 1000, "UnitAmount": "0.0123"}, "0.01", "10"),
        ("?unitdp=4", {"Quantity": 1000, "UnitAmount": "0.0123"}, "0.0123", "12.3"),
        ("", {"LineAmount": "10.01"}, "10.01", "10.01"),
        ("?unitdp=4", {"Quantity": 3, "LineAmount": "10"}, "3.3333", "10"),
        ("", {"UnitAmount": 5, "LineAmount": 20}, "5", "20"),
        ("", {"Quantity": "0.5", "UnitAmount": "0.01"}, "0.01", "0.01"),
    ],
)
def test_a_line_is_rounded_as_xero_rounds(client: Client, query: str, fields: Json, unit: str, amount: str) -> None:
    client.send("PUT", f"Invoices{query}", sale(line(**fields), InvoiceNumber="INV-1"))
    answer = client.get(f"Invoices/INV-1{query}").text
    (held,) = json.loads(answer, parse_float=Decimal)["Invoices"][0]["LineItems"]
    assert (Decimal(held["UnitAmount"]), Decimal(held["LineAmount"])) == (Decimal(unit), Decimal(amount))


def test_a_payment_settles_its_invoice_and_its_deletion_opens_it_again(client: Client) -> None:
    ident = client.put("Invoices", sale())["InvoiceID"]

    def pay(amount: int, code: str = "210") -> httpx.Response:
        told = {"Invoice": {"InvoiceID": ident}, "Account": {"Code": code}, "Date": "2026-11-01"}
        return client.send("PUT", "Payments", {**told, "Amount": amount})

    assert sentences(pay(11)) == ["Payment amount exceeds the amount outstanding on this document"]
    assert sentences(pay(1, "200")) == ["The Account must be a bank account, or one that payments are enabled for"]
    paid = [pay(4).json()["Payments"][0], pay(6).json()["Payments"][0]]
    held = client.get(f"Invoices/{ident}").json()["Invoices"][0]
    assert (held["Status"], held["AmountDue"], held["FullyPaidOnDate"]) == ("PAID", 0, "/Date(1793491200000+0000)/")
    assert sentences(pay(1)) == ["Payments can only be made against Authorised documents"]
    edit = client.send("POST", f"Invoices/{ident}", sale())
    assert "has a payment" in sentences(edit)[0]
    client.send("POST", f"Payments/{paid[1]['PaymentID']}", {"Status": "DELETED"})
    held = client.get(f"Invoices/{ident}").json()["Invoices"][0]
    assert (held["Status"], held["AmountDue"], len(held["Payments"])) == ("AUTHORISED", 6, 1)


def posted(client: Client) -> dict[str, Decimal]:
    """What the feed comes to by account, accounts at zero left out."""
    sums: dict[str, Decimal] = {}
    for journal in json.loads(client.get("Journals").text, parse_float=Decimal)["Journals"]:
        for one in journal["JournalLines"]:
            sums[one["AccountCode"]] = sums.get(one["AccountCode"], Decimal(0)) + one["NetAmount"]
    return {code: amount for code, amount in sums.items() if amount}


EUROS = {"CurrencyCode": "EUR", "CurrencyRate": 0.9523809}


def test_a_payment_at_another_rate_realises_a_gain_in_the_base_currency(client: Client) -> None:
    """72.00 euros at 0.952381 a dollar are 75.60 dollars; paid at 0.909091 they bring 79.20, and 3.60 are won."""
    client.configure(currencies=["USD", "EUR"])
    assert client.get("Currencies").json()["Currencies"] == [{"Code": "USD"}, {"Code": "EUR"}]
    owed = client.put("Invoices", sale(line(Quantity=1, UnitAmount=72), **EUROS))
    assert (owed["Total"], owed["CurrencyRate"]) == (72, 0.952381)
    assert posted(client) == {"1100": Decimal("75.60"), "200": Decimal("-75.60")}
    told = {"Invoice": {"InvoiceID": owed["InvoiceID"]}, "Account": {"Code": "210"}, "Amount": 72}
    paid = client.put("Payments", {**told, "Date": "2026-11-01", "CurrencyRate": 0.909091})
    won = {"200": Decimal("-75.60"), "210": Decimal("79.20"), "7000": Decimal("-3.60")}
    assert posted(client) == won
    client.send("POST", f"Payments/{paid['PaymentID']}", {"Status": "DELETED"})
    assert posted(client) == {"1100": Decimal("75.60"), "200": Decimal("-75.60")}


def test_a_credit_note_that_is_allocated_at_another_rate_realises_a_gain(client: Client) -> None:
    client.configure(currencies=["USD", "EUR"])
    owed = client.put("Invoices", sale(line(Quantity=1, UnitAmount=72), **EUROS))
    note = sale(line(Quantity=1, UnitAmount=72), **EUROS, Type="ACCRECCREDIT")
    given = client.put("CreditNotes", {**note, "CurrencyRate": 0.909091})
    told = {"Invoice": {"InvoiceID": owed["InvoiceID"]}, "Amount": 72, "Date": "2026-11-01"}
    answer = client.send("PUT", f"CreditNotes/{given['CreditNoteID']}/Allocations", {"Allocations": [told]})
    assert answer.status_code == 200, answer.text
    assert posted(client) == {"200": Decimal("3.60"), "7000": Decimal("-3.60")}


def test_an_account_in_a_third_currency_takes_no_payment(client: Client) -> None:
    client.configure(currencies=["USD", "EUR", "GBP"])
    bank = {"Type": "BANK", "BankAccountNumber": "1", "Code": "091", "Name": "Pounds", "CurrencyCode": "GBP"}
    assert client.put("Accounts", bank)["CurrencyCode"] == "GBP"
    owed = client.put("Invoices", sale(**EUROS))
    told = {"Invoice": {"InvoiceID": owed["InvoiceID"]}, "Account": {"Code": "091"}, "Amount": 1}
    assert sentences(client.send("PUT", "Payments", told)) == [
        "The account is in another currency than the document and the organisation"
    ]


def test_every_journal_of_the_feed_comes_to_zero_and_none_is_changed(client: Client) -> None:
    client.configure()
    ident = client.put("Invoices", sale())["InvoiceID"]
    before = client.get("Journals").json()["Journals"]
    client.send("POST", f"Invoices/{ident}", sale(line(Quantity=1, UnitAmount=7)))
    client.send("POST", f"Invoices/{ident}", {"Status": "VOIDED"})
    client.put("ManualJournals", entry(5, -5))
    journals = client.get("Journals").json()["Journals"]
    assert [one["JournalNumber"] for one in journals] == [1, 2, 3, 4, 5]
    assert journals[:1] == before
    assert {sum(line["NetAmount"] for line in one["JournalLines"]) for one in journals} == {0}
    assert [one["JournalNumber"] for one in client.get("Journals?offset=3").json()["Journals"]] == [4, 5]


# Reading


def test_pages_have_lines_and_the_whole_has_none(client: Client) -> None:
    for number in range(3):
        client.put("Invoices", sale(InvoiceNumber=f"INV-{number}"))
    first = client.get("Invoices?page=1&pageSize=2&order=InvoiceNumber DESC").json()
    assert first["pagination"] == {"page": 1, "pageSize": 2, "pageCount": 2, "itemCount": 3}
    assert [one["InvoiceNumber"] for one in first["Invoices"]] == ["INV-2", "INV-1"]
    assert "LineItems" in first["Invoices"][0]
    assert all("LineItems" not in one for one in client.get("Invoices").json()["Invoices"])
    assert client.get("Invoices?InvoiceNumbers=inv-1,INV-9").json()["Invoices"][0]["InvoiceNumber"] == "INV-1"
    assert client.get("Invoices?page=1&pageSize=1001").status_code == 400


def test_only_what_changed_since_is_given(client: Client) -> None:
    client.put("Contacts", {"Name": "B"})
    past, future = (datetime.now(UTC) + timedelta(hours=hours) for hours in (-1, 1))
    assert len(client.get("Contacts", **{"If-Modified-Since": past.isoformat()}).json()["Contacts"]) == 2
    later = future.strftime("%a, %d %b %Y %H:%M:%S GMT")
    assert client.get("Contacts", **{"If-Modified-Since": later}).json()["Contacts"] == []
    assert client.get("Contacts", **{"If-Modified-Since": "yesterday"}).status_code == 400


def test_what_is_archived_is_shown_only_when_asked(client: Client) -> None:
    ident = client.put("Contacts", {"Name": "B"})["ContactID"]
    client.send("POST", f"Contacts/{ident}", {"ContactStatus": "ARCHIVED"})
    assert [one["Name"] for one in client.get("Contacts").json()["Contacts"]] == ["Acme"]
    assert len(client.get("Contacts?includeArchived=true").json()["Contacts"]) == 2
    assert sentences(client.send("PUT", "Invoices", sale(Contact={"ContactID": ident})))


RECORD: Json = {
    "Name": "Acme Ltd",
    "Total": Decimal("10.5"),
    "Paid": True,
    "Date": "2026-10-31",
    "Contact": {"ID": "AB"},
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ('Name=="ACME LTD"', True),
        ('Name!="Acme Ltd"', False),
        ('Name.StartsWith("acme") AND Total>10', True),
        ('Name=="x" OR Name=="y" OR Name.Contains("me l")', True),
        ('(Name=="x" OR Total>=10.5) && Paid==true', True),
        ('Name=="x" AND Name=="y" OR Paid==true', True),
        ("Date>=DateTime(2026, 10, 31) AND Date<DateTime(2026,11,1)", True),
        ('Contact.ID==Guid("ab")', True),
        ("Missing==null", True),
        ("Missing>5", False),
    ],
)
def test_a_filter_means_what_it_says(text: str, holds: bool) -> None:
    assert where(text)(RECORD) is holds


@pytest.mark.parametrize("text", ["Name", "Name==", '"a"=="a"', 'Name=="a" AND', '(Name=="a"', "Name~5", 'Name=="a" b'])
def test_a_filter_that_says_nothing_is_refused(text: str, client: Client) -> None:
    with pytest.raises(Refused):
        where(text)
    answer = client.get(f"Contacts?where={text}")
    assert (answer.status_code, answer.json()["Type"]) == (400, "QueryParseException")


@given(some.dates())
def test_a_day_survives_microsofts_form(day: Any) -> None:
    assert day_of(ms_date(day.isoformat())) == day.isoformat()


def test_a_restarted_organisation_goes_on_where_it_was(tmp_path: Path) -> None:
    with server.start(["xero"], tmp_path) as running:
        first = Client(running.urls["xero"]).put("Contacts", {"Name": "Acme", "ContactNumber": "A-1"})
    with server.start(["xero"], tmp_path) as running:
        client = Client(running.urls["xero"])
        assert sentences(client.send("PUT", "Contacts", {"Name": "B", "ContactNumber": "a-1"}))
        assert client.put("Contacts", {"Name": "B"})["ContactID"] != first["ContactID"]


# Webhooks


class Receiver(httpx.AsyncBaseTransport):
    """Stands where the hub would: keeps what comes, and answers by the signature."""

    def __init__(self, body: bytes = b"") -> None:
        self.body, self.seen = body, list[Json]()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        content = await request.aread()
        mark = base64.b64encode(hmac.new(WEBHOOK_KEY.encode(), content, sha256).digest()).decode()
        genuine = hmac.compare_digest(mark, request.headers["x-xero-signature"])
        if genuine:
            self.seen.append(json.loads(content))
        return httpx.Response(200 if genuine else 401, content=self.body)


@pytest.mark.parametrize(("body", "status"), [(b"", "OK"), (b'{"events": 0}', "Intent to receive required")])
def test_only_a_receiver_that_tells_signatures_apart_without_a_body_is_listened_to(
    client: Client, monkeypatch: pytest.MonkeyPatch, body: bytes, status: str
) -> None:
    assert client.http.post("/_sandbox/xero/intent").status_code == 400
    receiver = Receiver(body)
    plain = httpx.AsyncClient
    monkeypatch.setattr("sandbox.xero.httpx.AsyncClient", lambda timeout: plain(transport=receiver, timeout=timeout))
    client.http.post("/_sandbox/webhooks", json={"url": "http://hub.example/webhooks/xero", "secret": WEBHOOK_KEY})
    answer = client.http.post("/_sandbox/xero/intent").json()
    assert (answer["status"], [one["status"] for one in answer["answers"]]) == (status, [200, 401, 200, 401])
    assert [one["events"] for one in receiver.seen] == [[], []]


def test_a_change_is_told_by_category_and_kind(client: Client, running: server.Running) -> None:
    told: list[Json] = []
    running.emulators["xero"].webhooks.carry = lambda _kind, _event, body, _type: told.append(json.loads(body))
    client.put("Contacts", {"Name": "Bell"})
    client.put("Invoices", sale(Contact={"Name": "Bell"}))
    client.send("PUT", "Invoices", sale(Contact={}))
    client.put("CreditNotes", sale(Contact={"Name": "Bell"}, Type="ACCRECCREDIT"))
    events = [body["events"][0] for body in told]
    assert [(one["eventCategory"], one["eventType"]) for one in events] == [
        ("CONTACT", "CREATE"),
        ("CONTACT", "UPDATE"),
        ("INVOICE", "CREATE"),
        ("CREDITNOTE", "CREATE"),
    ]
    assert events[3]["data"] == {"Type": "ACCRECCREDIT", "Status": "AUTHORISED"}
    assert {one["tenantId"] for one in events} == {TENANT}
    numbers = [body["firstEventSequence"] for body in told]
    assert numbers == sorted(set(numbers))
