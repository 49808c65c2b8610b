"""The QuickBooks Online connector against its emulator, and both against the vendor's published schema."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from shutil import copytree
from typing import Any

import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as some

from connectors.quickbooks import FAULTS, Meaning, QuickBooks, connect, document_number, meaning_of
from core.errors import Misconfigured, OutcomeUnknown, Parked, RateLimited, Rejected, Unavailable
from core.mapping import load_book
from core.ports import ExternalKey, Receipt, World
from flows import deliver
from sandbox import server
from sandbox.quickbooks import REALM
from tests.connectors.contract_quickbooks import cloud_event, key, payload, settings, signed
from tests.flows import world

LONG = "INV-2026-10-A-0001-SECOND-HALF"
Json = dict[str, Any]


class Waits(list[float]):
    """A sleep that only remembers."""

    def __call__(self, seconds: float, /) -> None:
        self.append(seconds)


@pytest.fixture
def running() -> Iterator[server.Running]:
    with server.start(["quickbooks"]) as running:
        yield running


@pytest.fixture
def url(running: server.Running) -> str:
    return running.urls["quickbooks"]


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def quickbooks(url: str, waits: Waits, tmp_path: Path) -> Iterator[QuickBooks]:
    connector = connect(settings(url, token_file=tmp_path / "tokens.json"), World(sleep=waits))
    yield connector
    connector.close()


def put(connector: QuickBooks, resource: str, ident: str, fields: Json) -> Receipt:
    return connector.upsert(resource, fields, ExternalKey(connector.resources[resource].key_field, ident))


@pytest.fixture
def books(quickbooks: QuickBooks) -> QuickBooks:
    """The connector, with a small chart of accounts, a customer (id 5) and two items."""
    kinds = {
        "1050": "Other Current Asset",
        "1100": "Accounts Receivable",
        "1190": "Other Current Asset",
        "4010": "Income",
    }
    for code, kind in kinds.items():
        put(quickbooks, "ledger_account", code, {"Name": f"Account {code}", "AccountType": kind})
    put(quickbooks, "account", "A-0001", dict(payload(1)))
    put(quickbooks, "product", "VC-MIN", {"Type": "Service", "IncomeAccountRef": {"name": "1190"}})
    return quickbooks


def invoice(amount: str = "100.10", **changes: Any) -> Json:
    line = {
        "DetailType": "SalesItemLineDetail",
        "Description": "Minutes",
        "Amount": Decimal(amount),
        "SalesItemLineDetail": {"ItemRef": {"name": "VC-MIN"}, "TaxCodeRef": {"value": "NON"}},
    }
    given = {"CustomerRef": {"value": "5"}, "TxnDate": "2026-10-31", "PrivateNote": "Service of October"}
    return {**given, "TotalAmt": Decimal(amount), "Line": [line], **changes}


def payment(document: str, amount: str = "100.10") -> Json:
    return {
        "CustomerRef": {"value": "5"},
        "TxnDate": "2026-11-01",
        "TotalAmt": Decimal(amount),
        "DepositToAccountRef": {"name": "1050"},
        "Line": [{"Amount": Decimal(amount), "LinkedTxn": [{"TxnId": document, "TxnType": "Invoice"}]}],
    }


def journal(amount: str = "100.10", **changes: Any) -> Json:
    sides = {"Debit": "1190", "Credit": "4010"}
    lines = [
        {
            "DetailType": "JournalEntryLineDetail",
            "Amount": Decimal(amount),
            "JournalEntryLineDetail": {"PostingType": side, "AccountRef": {"name": code}},
        }
        for side, code in sides.items()
    ]
    return {"TxnDate": "2026-10-31", "PrivateNote": "Invoice", "Line": lines, **changes}


def objects(url: str) -> dict[str, int]:
    return httpx.get(f"{url}/_sandbox/objects").json()  # type: ignore[no-any-return]


def kept(url: str, kind: str) -> list[Json]:
    return httpx.get(f"{url}/_sandbox/objects/{kind}").json()  # type: ignore[no-any-return]


def plant(url: str, **fault: Any) -> None:
    httpx.post(f"{url}/_sandbox/faults", json={"match": "^POST /v3/", **fault}).raise_for_status()


def configure(url: str, **changes: Any) -> None:
    httpx.post(f"{url}/_sandbox/quickbooks", json=changes).raise_for_status()


def floats(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [found for item in value.values() for found in floats(item)]
    if isinstance(value, list):
        return [found for item in value for found in floats(item)]
    return [value] if isinstance(value, float) else []


# Our key


@given(some.text(min_size=1, max_size=60))
def test_a_number_fits_is_always_the_same_and_tells_its_form(ident: str) -> None:
    """A key that fits is its own number; every other number begins with ~, so the two forms never meet."""
    number = document_number(ident)
    assert len(number) <= 21
    assert number == document_number(ident)
    assert (number == ident) == (len(ident) <= 21 and not ident.startswith("~"))
    assert number == ident or re.fullmatch(r"~[A-Z2-7]{20}", number)


def test_the_number_of_a_long_key_is_the_base32_of_its_sha256() -> None:
    """Reckoned independently: printf %s PAY-INV-2026-10-A-0001 | openssl dgst -sha256 -binary | base32 | cut -c1-20."""
    assert document_number("INV-2026-10-A-0001") == "INV-2026-10-A-0001"
    assert document_number("PAY-INV-2026-10-A-0001") == "~2QR466S76NK4DEDZAQG4"


def test_a_long_key_is_sent_as_number_and_note_and_comes_back_whole(books: QuickBooks, url: str) -> None:
    receipt = put(books, "invoice", LONG, invoice())
    [sent] = kept(url, "invoice")
    assert sent["DocNumber"] == document_number(LONG)
    assert sent["PrivateNote"] == f"{LONG}\nService of October"
    assert receipt.answer["DocNumber"] == LONG
    assert receipt.answer["PrivateNote"] == "Service of October"
    assert [one.payload["DocNumber"] for one in books.changes("invoice", None) if one.payload] == [LONG]


def test_a_document_is_still_found_when_somebody_rewrote_its_note(books: QuickBooks, url: str) -> None:
    first = put(books, "invoice", LONG, invoice())
    change(books, url, "invoice", first.vendor_id, PrivateNote="see the contract")
    assert put(books, "invoice", LONG, invoice()).vendor_id == first.vendor_id
    assert objects(url)["invoice"] == 1
    assert kept(url, "invoice")[0]["PrivateNote"] == f"{LONG}\nService of October"


def test_a_document_whose_note_carries_another_key_is_not_ours(
    books: QuickBooks, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two keys with one hash (here by force) are told apart by the whole key in the note."""
    monkeypatch.setattr("connectors.quickbooks.document_number", lambda ident: "~SAME")
    first = put(books, "invoice", LONG, invoice())
    assert books.find("invoice", ExternalKey("DocNumber", LONG + "-2")) is None
    assert put(books, "invoice", LONG + "-2", invoice()).vendor_id != first.vendor_id
    assert objects(url)["invoice"] == 2


@pytest.mark.parametrize("ident", ["it's", "back\\slash", 'say "so"', "a%b", "x' or Id > '0"])
def test_any_key_can_be_looked_up(quickbooks: QuickBooks, ident: str) -> None:
    first = put(quickbooks, "class", ident, {})
    put(quickbooks, "class", "another", {})
    found = quickbooks.find("class", ExternalKey("Name", ident))
    assert found is not None
    assert found.vendor_id == first.vendor_id


# Writing once


def change(connector: QuickBooks, url: str, entity: str, ident: str, **fields: Any) -> None:
    """Somebody else changes a record."""
    token = connector._session.tokens(None).access
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
    record = httpx.get(f"{url}/v3/company/{REALM}/{entity}/{ident}", headers=headers).json()
    [(_, held)] = [item for item in record.items() if item[0] != "time"]
    changed = {"Id": ident, "SyncToken": held["SyncToken"], "sparse": True, **fields}
    httpx.post(f"{url}/v3/company/{REALM}/{entity}", headers=headers, json=changed).raise_for_status()


def test_a_second_upsert_leaves_one_record_and_sends_nothing(books: QuickBooks, url: str) -> None:
    """What the record says already is not written again, so closed books do not mind either."""
    first = put(books, "invoice", "INV-1", invoice())
    configure(url, closed_through="2026-10-31")
    second = put(books, "invoice", "INV-1", invoice())
    assert (first.created, second.created, first.vendor_id == second.vendor_id) == (True, False, True)
    assert (kept(url, "invoice")[0]["SyncToken"], objects(url)["invoice"]) == ("0", 1)


def test_a_changed_record_updates_the_same_one_and_keeps_what_others_added(books: QuickBooks, url: str) -> None:
    first = put(books, "account", "A-0001", dict(payload(1)))
    change(books, url, "customer", first.vendor_id, Notes="Likes tea")
    second = put(books, "account", "A-0001", {**payload(1), "CompanyName": "Acme"})
    assert (second.vendor_id, second.created) == (first.vendor_id, False)
    assert (second.answer["CompanyName"], second.answer["Notes"]) == ("Acme", "Likes tea")


@pytest.mark.parametrize("fault", ["lose_reply", "garbage"])
def test_a_lost_reply_is_an_unknown_outcome_and_the_look_up_finds_the_record(
    books: QuickBooks, url: str, fault: str
) -> None:
    plant(url, kind=fault)
    with pytest.raises(OutcomeUnknown):
        put(books, "invoice", LONG, invoice())
    found = books.find("invoice", ExternalKey("DocNumber", LONG))
    assert found is not None
    assert put(books, "invoice", LONG, invoice()).vendor_id == found.vendor_id
    assert (found.answer["TotalAmt"], objects(url)["invoice"]) == (Decimal("100.10"), 1)


def test_the_request_id_guards_where_the_look_up_does_not_see_yet(
    books: QuickBooks, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same record sent again carries the same request id, and QuickBooks repeats its first answer."""
    put(books, "journal_entry", "JE-0", journal())
    monkeypatch.setattr(books, "_held", lambda row, keys: {})
    first = put(books, "journal_entry", "JE-1", journal())
    assert put(books, "journal_entry", "JE-1", journal()).vendor_id == first.vendor_id
    assert put(books, "journal_entry", "JE-2", journal()).vendor_id != first.vendor_id
    assert objects(url)["journal_entry"] == 3


@pytest.mark.parametrize("status", [500, 503])
def test_a_server_error_on_a_write_is_an_unknown_outcome(books: QuickBooks, url: str, status: int) -> None:
    plant(url, kind="error_after", status=status)
    with pytest.raises(OutcomeUnknown):
        put(books, "invoice", "INV-1", invoice())
    assert objects(url)["invoice"] == 1


def test_a_throttled_call_is_sent_again_after_the_wait_it_was_told(books: QuickBooks, url: str, waits: Waits) -> None:
    plant(url, kind="rate_limit", seconds=2, times=2)
    put(books, "invoice", "INV-1", invoice())
    assert (waits, objects(url)["invoice"]) == ([2.0, 2.0], 1)


def test_a_throttle_without_a_wait_goes_back_to_the_outbox_for_a_minute(quickbooks: QuickBooks) -> None:
    quickbooks._session.tokens(None)
    with respx.mock() as vendor:
        vendor.route().respond(429, json={})
        with pytest.raises(RateLimited) as limited:
            quickbooks.find("account", key(1))
    assert limited.value.wait_seconds == 60.0


# Several at once


def test_each_record_of_a_batch_is_settled_by_itself(books: QuickBooks, url: str) -> None:
    configure(url, closed_through="2026-08-31")
    items = {
        "INV-1": invoice(),
        "INV-2": invoice(Colour="red"),
        "INV-3": invoice(CustomerRef={"value": "99"}),
        "INV-4": invoice(TxnDate="2026-08-31"),
        "INV-5": invoice(Line=[{**invoice()["Line"][0], "SalesItemLineDetail": {"ItemRef": {"name": "NEW"}}}]),
        LONG: invoice(),
    }
    keyed = [(one, ExternalKey("DocNumber", name)) for name, one in items.items()]
    first, unknown_field, unknown_customer, closed, waiting, last = books.upsert_many("invoice", keyed)
    assert isinstance(first, Receipt)
    assert isinstance(unknown_field, Rejected)
    assert (unknown_field.record, unknown_field.field, unknown_field.code) == ("invoice", "Colour", "2010")
    assert isinstance(unknown_customer, Rejected)
    assert (unknown_customer.field, unknown_customer.value) == ("CustomerRef.value", "99")
    assert isinstance(closed, Parked)
    assert closed.waits_for == "period:2026-08"
    assert isinstance(waiting, Parked)
    assert waiting.waits_for == "quickbooks:product:NEW"
    assert isinstance(last, Receipt)
    assert (last.created, last.answer["DocNumber"], objects(url)["invoice"]) == (True, LONG, 2)


def test_more_records_than_a_batch_may_carry_are_sent_in_several(quickbooks: QuickBooks, url: str) -> None:
    outcomes = quickbooks.upsert_many("account", [(payload(n), key(n)) for n in range(31)])
    assert [one.key for one in outcomes if isinstance(one, Receipt)] == [key(n) for n in range(31)]
    assert objects(url)["customer"] == 31


def test_a_lost_batch_leaves_its_own_records_unknown_and_no_others(quickbooks: QuickBooks, url: str) -> None:
    plant(url, kind="lose_reply", skip=1)
    outcomes = quickbooks.upsert_many("account", [(payload(n), key(n)) for n in range(25)])
    assert [type(one) for one in outcomes] == [Receipt] * 10 + [OutcomeUnknown] * 10 + [Receipt] * 5
    again = quickbooks.upsert_many("account", [(payload(n), key(n)) for n in range(25)])
    assert all(isinstance(one, Receipt) and not one.created for one in again)
    assert objects(url)["customer"] == 25


def test_a_record_the_batch_says_nothing_about_is_unknown(quickbooks: QuickBooks) -> None:
    quickbooks._session.tokens(None)
    with respx.mock() as vendor:
        vendor.get(path__regex="query").respond(json={"QueryResponse": {}})
        answered = {"BatchItemResponse": [{"bId": "1", "Customer": {"Id": "7", "DisplayName": "A-0002"}}]}
        vendor.post(path__regex="batch").respond(json=answered)
        first, second = quickbooks.upsert_many("account", [(payload(1), key(1)), (payload(2), key(2))])
    assert isinstance(first, OutcomeUnknown)
    assert isinstance(second, Receipt)


# Stale records


@pytest.mark.parametrize("companions", [0, 1])
def test_a_stale_record_is_read_again_and_written_once_more(
    books: QuickBooks, url: str, monkeypatch: pytest.MonkeyPatch, companions: int
) -> None:
    first = put(books, "invoice", "INV-1", invoice())
    looked = books._held

    def changed_meanwhile(*arguments: Any) -> Any:
        found = looked(*arguments)
        monkeypatch.setattr(books, "_held", looked)
        change(books, url, "invoice", first.vendor_id, CustomerMemo={"value": "Thank you"})
        return found

    monkeypatch.setattr(books, "_held", changed_meanwhile)
    items = [(invoice("70.00"), ExternalKey("DocNumber", f"INV-{n + 1}")) for n in range(companions + 1)]
    receipt = books.upsert_many("invoice", items)[0]
    assert isinstance(receipt, Receipt)
    assert (receipt.answer["TotalAmt"], receipt.answer["CustomerMemo"]) == (70, {"value": "Thank you"})


def test_a_record_that_stays_stale_is_left_for_later(
    books: QuickBooks, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(books, "invoice", "INV-1", invoice())
    looked = books._held

    def always_old(*arguments: Any) -> Any:
        return {ident: {**record, "SyncToken": "7"} for ident, record in looked(*arguments).items()}

    monkeypatch.setattr(books, "_held", always_old)
    with pytest.raises(Unavailable):
        put(books, "invoice", "INV-1", invoice("70.00"))
    assert kept(url, "invoice")[0]["TotalAmt"] == 100.1


def test_a_duplicate_is_adopted_when_it_is_ours(books: QuickBooks, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look-up did not see the customer yet; QuickBooks refuses the name, and the second look-up finds it."""
    first = put(books, "account", "A-0002", dict(payload(2)))
    looked, blind = books._held, iter([True])
    monkeypatch.setattr(books, "_held", lambda *given: {} if next(blind, False) else looked(*given))
    receipt = put(books, "account", "A-0002", {**payload(2), "Notes": "x"})
    assert (receipt.vendor_id, receipt.created) == (first.vendor_id, False)


# What faults mean


@pytest.mark.parametrize(
    ("code", "text", "meaning"),
    [
        ("5010", "Stale Object Error : You and root were working on this at the same time.", Meaning.STALE),
        ("5010", "Account Period Closed The account period has closed. {1}", Meaning.CLOSED),
        ("6210", "Account Period Closed, Cannot Update Through Services API", Meaning.CLOSED),
        ("6210", "Duplicate Document Number Error : You must specify a different number.", Meaning.DUPLICATE),
        ("6140", "Duplicate Document Number Error", Meaning.DUPLICATE),
        ("6240", "Duplicate Name Exists Error The name supplied already exists.", Meaning.DUPLICATE),
        ("3001", "message=ThrottleExceeded; errorCode=003001; statusCode=429", Meaning.THROTTLED),
        ("10000", "An application error has occurred while processing your request", Meaning.UNKNOWN),
        ("600", "Duplicate Request ID", Meaning.UNKNOWN),
        ("120", "Authorization Failure", Meaning.ACCESS),
        ("6190", "Subscription period has ended or canceled", Meaning.ACCESS),
        ("610", "Object Not Found : Something you're trying to use has been made inactive.", Meaning.REFUSED),
        ("6000", "A business validation error has occurred", Meaning.REFUSED),
    ],
)
def test_a_fault_is_read_by_its_code_and_its_text(code: str, text: str, meaning: Meaning) -> None:
    assert meaning_of(code, text) is meaning
    assert {row[2] for row in FAULTS} == set(Meaning) - {Meaning.REFUSED}


def test_a_fault_inside_a_good_status_is_a_fault(quickbooks: QuickBooks) -> None:
    quickbooks._session.tokens(None)
    error = {"Message": "Duplicate Name Exists Error", "Detail": "The name supplied already exists.", "code": "6240"}
    with respx.mock() as vendor:
        vendor.get(path__regex="query").respond(json={"QueryResponse": {}})
        vendor.post(path__regex="customer").respond(200, json={"Fault": {"Error": [error], "type": "ValidationFault"}})
        with pytest.raises(Rejected) as refused:
            quickbooks.upsert("account", payload(1), key(1))
    assert (refused.value.code, refused.value.record) == ("6240", "account")


def test_an_answer_without_json_is_not_believed(quickbooks: QuickBooks) -> None:
    quickbooks._session.tokens(None)
    with respx.mock() as vendor:
        vendor.get(path__regex="query").respond(text="<IntuitResponse/>")
        with pytest.raises(Unavailable):
            quickbooks.find("account", key(1))


# Closed books


def test_closed_books_are_read_before_they_are_met(books: QuickBooks, url: str) -> None:
    """Without a password QuickBooks lets applications into closed books, so the date is compared here."""
    configure(url, closed_through="2026-10-31")
    with pytest.raises(Parked) as parked:
        put(books, "journal_entry", "JE-1", journal())
    assert parked.value.waits_for == "period:2026-10"
    put(books, "journal_entry", "JE-2", journal(TxnDate="2026-11-01"))
    configure(url, closed_through="2026-09-30")
    put(books, "journal_entry", "JE-1", journal())
    assert objects(url)["journal_entry"] == 2


def test_books_closed_meanwhile_park_the_record_too(books: QuickBooks, url: str) -> None:
    put(books, "journal_entry", "JE-1", journal())
    configure(url, closed_through="2026-10-31")
    with pytest.raises(Parked) as parked:
        put(books, "journal_entry", "JE-2", journal())
    assert parked.value.waits_for == "period:2026-10"


# Amounts


@pytest.mark.parametrize("amount", ["0.30", "1234567890.12", "100.10", "0.07", "1000000", "0"])
def test_amounts_come_back_as_the_exact_decimal(books: QuickBooks, amount: str) -> None:
    lines = [{**invoice()["Line"][0], "Amount": Decimal(one)} for one in (amount, "0.07")]
    answer = put(books, "invoice", "INV-1", invoice(Line=lines, TotalAmt=Decimal(amount) + Decimal("0.07"))).answer
    assert answer["TotalAmt"] == Decimal(amount) + Decimal("0.07")
    assert floats(answer) == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"TotalAmt": Decimal("100.11")}, "TotalAmt"),
        ({"DocNumber": "INV-2"}, "DocNumber"),
    ],
)
def test_what_cannot_come_out_as_ours_is_not_sent(books: QuickBooks, url: str, changes: Json, field: str) -> None:
    with pytest.raises(Rejected) as refused:
        put(books, "invoice", "INV-1", invoice(**changes))
    assert (refused.value.field, objects(url).get("invoice", 0)) == (field, 0)


def test_a_line_that_is_not_its_quantity_times_its_price_is_not_sent(books: QuickBooks, url: str) -> None:
    """Tiers: 333.333 minutes for 100.10 have no unit price of which QuickBooks would come to 100.10 by itself."""
    line = invoice()["Line"][0]
    detail = {**line["SalesItemLineDetail"], "Qty": Decimal("333.333"), "UnitPrice": Decimal("0.3")}
    with pytest.raises(Rejected) as refused:
        put(books, "invoice", "INV-1", invoice(Line=[{**line, "SalesItemLineDetail": detail}]))
    assert (refused.value.field, objects(url).get("invoice", 0)) == ("Line.0.Amount", 0)


# Reading


def test_changes_are_read_page_by_page_to_the_end(quickbooks: QuickBooks) -> None:
    quickbooks.upsert_many("account", [(payload(n), key(n)) for n in range(45)])
    changes = list(quickbooks.changes("account", None))
    assert [one.payload["DisplayName"] for one in changes if one.payload] == [key(n).value for n in range(45)]


def test_inactive_records_are_seen_and_made_active_again(books: QuickBooks, url: str) -> None:
    first = put(books, "product", "VC-MIN", {"Type": "Service", "IncomeAccountRef": {"name": "1190"}})
    change(books, url, "item", first.vendor_id, Active=False)
    assert [one.vendor_id for one in books.changes("product", None)] == [first.vendor_id]
    again = put(books, "product", "VC-MIN", {"Type": "Service", "IncomeAccountRef": {"name": "1190"}, "Active": True})
    assert (again.vendor_id, again.answer["Active"]) == (first.vendor_id, True)


def test_deleted_records_are_seen_as_deleted(books: QuickBooks, url: str) -> None:
    since = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    first = put(books, "journal_entry", "JE-1", journal())
    second = put(books, "journal_entry", "JE-2", journal())
    headers = {"Authorization": f"Bearer {books._session.tokens(None).access}", "Accept": "application/json"}
    gone = {"Id": first.vendor_id, "SyncToken": "0"}
    path = f"{url}/v3/company/{REALM}/journalentry?operation=delete"
    httpx.post(path, headers=headers, json=gone).raise_for_status()
    changes = list(books.changes("journal_entry", since))
    assert [(one.vendor_id, one.payload is None) for one in changes] == [
        (first.vendor_id, True),
        (second.vendor_id, False),
    ]


@pytest.mark.parametrize("since", ["2026-01-01T00:00:00Z", None])
def test_changes_older_than_data_capture_looks_back_come_from_a_query(
    quickbooks: QuickBooks, url: str, since: str | None
) -> None:
    quickbooks.upsert_many("account", [(payload(n), key(n)) for n in range(25)])
    plant(url, kind="error", match="/cdc", times=0)
    assert len(list(quickbooks.changes("account", since))) == 25


def test_more_changes_than_one_answer_holds_come_from_a_query(
    quickbooks: QuickBooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.quickbooks.CAPTURED", 20)
    monkeypatch.setattr("sandbox.quickbooks.MOST", 20)
    quickbooks.upsert_many("account", [(payload(n), key(n)) for n in range(25)])
    since = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    assert len({one.vendor_id for one in quickbooks.changes("account", since)}) == 25


def test_a_record_that_is_not_there_is_refused_by_get(quickbooks: QuickBooks) -> None:
    with pytest.raises(Rejected) as refused:
        quickbooks.get("invoice", "404")
    assert (refused.value.record, refused.value.field, refused.value.value) == ("invoice", "Id", "404")


def balances(connector: QuickBooks, since: str | None = None) -> dict[tuple[str, str], Decimal]:
    rows = [one.payload for one in connector.changes("gl_balance", since)]
    return {(one["account"]["AcctNum"], one["month"]): one["amount"] for one in rows if one}


def posted(books: QuickBooks) -> None:
    document = put(books, "invoice", LONG, invoice()).vendor_id
    put(books, "payment", "PAY-" + LONG, payment(document))
    put(books, "journal_entry", "JE-" + LONG, journal())


EXPECTED = {
    ("1100", "2026-10"): Decimal("100.10"),
    ("1100", "2026-11"): Decimal("-100.10"),
    ("1050", "2026-11"): Decimal("100.10"),
    ("1190", "2026-10"): Decimal("0.00"),
    ("4010", "2026-10"): Decimal("-100.10"),
}


def test_balances_are_read_by_account_and_month_debits_less_credits(books: QuickBooks) -> None:
    posted(books)
    assert balances(books) == EXPECTED
    assert set(balances(books, "2026-11")) == {("1100", "2026-11"), ("1050", "2026-11")}


def test_a_ledger_too_large_for_one_report_is_read_in_halves(books: QuickBooks, url: str) -> None:
    posted(books)
    configure(url, report_cells=12)
    assert balances(books) == EXPECTED
    configure(url, report_cells=2)
    with pytest.raises(Misconfigured):
        balances(books)


VOID = ExternalKey("PaymentRefNum", "APP-" + LONG)


def test_a_payment_is_voided_once_whatever_gets_lost_and_counts_as_gone(books: QuickBooks, url: str) -> None:
    """Its key is too long for the number, and QuickBooks writes before the note that carries it."""
    document = put(books, "invoice", "INV-1", invoice()).vendor_id
    paid = put(books, "payment", VOID.value, payment(document)).vendor_id
    assert books.find("payment_void", VOID) is None
    plant(url, kind="lose_reply")
    told = {"Id": paid, "TxnDate": "2026-11-01"}
    with pytest.raises(OutcomeUnknown):
        books.upsert("payment_void", told, VOID)
    found = books.find("payment_void", VOID)
    assert found
    assert (found.vendor_id, found.key) == (paid, VOID)
    assert books.upsert("payment_void", told, VOID).vendor_id == paid
    assert [one.payload for one in books.changes("payment", None)] == [None]
    (held,) = kept(url, "payment")
    assert (held["SyncToken"], held["TotalAmt"], held["PrivateNote"]) == ("1", 0, f"Voided - {VOID.value}")
    assert balances(books)["1100", "2026-10"] == Decimal("100.10")


def test_a_payment_of_closed_books_is_not_voided(books: QuickBooks, url: str) -> None:
    document = put(books, "invoice", "INV-1", invoice()).vendor_id
    paid = put(books, "payment", "PAY-1", payment(document)).vendor_id
    configure(url, closed_through="2026-11-30")
    with pytest.raises(Parked) as waits:
        books.upsert("payment_void", {"Id": paid, "TxnDate": "2026-11-01"}, ExternalKey("PaymentRefNum", "PAY-1"))
    assert waits.value.waits_for == "period:2026-11"
    assert kept(url, "payment")[0]["TotalAmt"] == 100.1


PAY_1 = ExternalKey("PaymentRefNum", "PAY-1")


def less(paid: str, document: str, amount: str) -> Json:
    """The payment pays only so much of the document."""
    return {"Id": paid, "TxnDate": "2026-11-01", "Line": payment(document, amount)["Line"]}


@pytest.mark.parametrize(("pays", "left"), [("0.00", "100.10"), ("60.00", "40.10")])
def test_a_payment_that_stands_pays_less_once_whatever_gets_lost_and_the_ledger_stays(
    books: QuickBooks, url: str, pays: str, left: str
) -> None:
    """What it pays of another invoice stays, and so does all that a full update would empty; so does its day."""
    document, other = (put(books, "invoice", f"INV-{n}", invoice()).vendor_id for n in (1, 2))
    whole = payment(document)["Line"] + payment(other, "10.00")["Line"]
    paid = put(books, "payment", VOID.value, {**payment(document, "110.10"), "Line": whole}).vendor_id
    change(books, url, "payment", paid, PrivateNote=f"{VOID.value}\npi_1")
    (before,) = kept(url, "payment")
    ledger, told = balances(books), {**less(paid, document, pays), "TxnDate": "2026-11-02"}
    plant(url, kind="lose_reply")
    with pytest.raises(OutcomeUnknown):
        books.upsert("payment_application", told, VOID)
    assert books.find("payment_application", VOID) is None
    answer = books.upsert("payment_application", told, VOID).answer
    assert (answer["TotalAmt"], answer["UnappliedAmt"]) == (Decimal("110.10"), Decimal(left))
    assert (answer["PaymentRefNum"], answer["PrivateNote"]) == (VOID.value, "pi_1")
    due = [books.get("invoice", ident)["Balance"] for ident in (document, other)]
    assert due == [Decimal(left), Decimal("90.10")]
    (after,) = kept(url, "payment")
    assert (before["SyncToken"], after["SyncToken"], balances(books)) == ("1", "2", ledger)
    moved = {"Line", "UnappliedAmt", "SyncToken", "MetaData", "_applies"}
    assert {name for name in before | after if before.get(name) != after.get(name)} <= moved


def test_a_payment_of_closed_books_keeps_what_it_pays(books: QuickBooks, url: str) -> None:
    """Nothing is sent for closed books. What the payment does not pay already is no matter for them."""
    document = put(books, "invoice", "INV-1", invoice()).vendor_id
    told = less(put(books, "payment", "PAY-1", payment(document)).vendor_id, document, "0.00")
    configure(url, closed_through="2026-11-30")
    assert not books.takes_postings(date(2026, 11, 1))
    plant(url, kind="lose_reply")
    with pytest.raises(Parked) as waits:
        books.upsert("payment_application", told, PAY_1)
    assert (waits.value.waits_for, kept(url, "invoice")[0]["Balance"]) == ("period:2026-11", 0)
    configure(url, closed_through="2026-10-31")
    with pytest.raises(OutcomeUnknown):
        books.upsert("payment_application", told, PAY_1)
    configure(url, closed_through="2026-11-30")
    books.upsert("payment_application", told, PAY_1)
    assert (kept(url, "invoice")[0]["Balance"], kept(url, "payment")[0]["SyncToken"]) == (100.1, "1")


def test_an_application_is_believed_when_the_payment_is_answered_with_it(books: QuickBooks) -> None:
    """QuickBooks may apply an open credit by itself; a payment that is not there, or is voided, cannot pay."""
    document = put(books, "invoice", "INV-1", invoice()).vendor_id
    paid = put(books, "payment", "PAY-1", payment(document)).vendor_id
    shown = {"Payment": books.get("payment", paid)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(books, "_write", lambda *_told: shown)
        with pytest.raises(Rejected) as refused:
            books.upsert("payment_application", less(paid, document, "0.00"), PAY_1)
    assert (refused.value.record, refused.value.field) == ("payment_application", "Line")
    books.upsert("payment_void", {"Id": paid, "TxnDate": "2026-11-01"}, PAY_1)
    assert books.upsert("payment_application", less(paid, document, "0.00"), PAY_1).vendor_id == paid
    for ident in (paid, "404"):
        with pytest.raises(Rejected):
            books.upsert("payment_application", less(ident, document, "60.00"), PAY_1)


def in_euros(books: QuickBooks, url: str) -> Json:
    """What a transaction of the customer in euros (id 8) says, once the company has several currencies."""
    configure(url, multicurrency=True)
    ident = put(books, "account", "A-0008", {**payload(8), "CurrencyRef": {"value": "EUR"}}).vendor_id
    euros = {"CurrencyRef": {"value": "EUR"}, "ExchangeRate": Decimal("1.05")}
    return {"CustomerRef": {"value": ident}, **euros}


def test_receivables_of_another_currency_count_for_ours_in_the_home_currency(books: QuickBooks, url: str) -> None:
    """QuickBooks keeps what is owed in euros on an account of its own, which has no number."""
    given = in_euros(books, url)
    sent = put(books, "invoice", "INV-1", invoice("72.00", **given))
    assert (sent.answer["TotalAmt"], sent.answer["HomeTotalAmt"]) == (Decimal("72.00"), Decimal("75.60"))
    assert balances(books) == {("1100", "2026-10"): Decimal("75.60"), ("1190", "2026-10"): Decimal("-75.60")}
    found = {one.check: one for one in books.check()}
    assert found["quickbooks: receivables"].ok
    assert found["quickbooks: currencies"].ok
    paid = {**payment(sent.vendor_id, "72.00"), **given, "ExchangeRate": Decimal("1.10")}
    put(books, "payment", "PAY-1", paid)
    assert balances(books)["1100", "2026-11"] == Decimal("-75.60")
    found = {one.check: one for one in books.check()}
    assert not found["quickbooks: currencies"].ok
    assert "7000" in found["quickbooks: currencies"].cure


def test_a_currency_that_is_not_the_customers_is_refused_by_its_field(books: QuickBooks, url: str) -> None:
    with pytest.raises(Rejected) as off:
        put(books, "account", "A-0008", {**payload(8), "CurrencyRef": {"value": "EUR"}})
    given = in_euros(books, url) | {"CustomerRef": {"value": "5"}}
    with pytest.raises(Rejected) as other:
        put(books, "invoice", "INV-1", invoice(**given))
    assert (off.value.field, other.value.field) == ("CurrencyRef", "CurrencyRef")


def test_a_credit_note_takes_the_receivable_back(books: QuickBooks) -> None:
    put(books, "credit_note", "CN-1", invoice("40.00"))
    assert balances(books) == {("1100", "2026-10"): Decimal(-40), ("1190", "2026-10"): Decimal(40)}


# Who we are


def counting(running: server.Running) -> list[str]:
    """The refresh tokens that were used, from now on."""
    used: list[str] = []
    emulator = running.emulators["quickbooks"]
    keep = emulator.shelf.keep

    def kept(kind: str, ident: str, value: Json) -> None:
        if kind == "_grant":
            used.append(value["previous"])
        keep(kind, ident, value)

    emulator.shelf.keep = kept  # type: ignore[method-assign]
    return used


def test_the_rotated_token_survives_a_restart(running: server.Running, url: str, tmp_path: Path) -> None:
    """Three processes one after the other: each uses the token that the one before was given, or none at all."""
    used, file = counting(running), tmp_path / "folder" / "tokens.json"
    for _ in range(3):
        httpx.delete(f"{url}/_sandbox/tokens")
        connector = connect(settings(url, token_file=file), World())
        connector.find("account", key(1))
        connector.close()
    assert (len(used), len(set(used))) == (3, 3)
    connect(settings(url, token_file=file), World()).find("account", key(1))
    assert len(used) == 3


def test_the_token_file_is_for_its_owner_alone(quickbooks: QuickBooks, url: str, tmp_path: Path) -> None:
    quickbooks.find("account", key(1))
    file = tmp_path / "tokens.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sorted(one.name for one in tmp_path.iterdir()) == ["tokens.json", "tokens.json.lock"]
    file.chmod(0o644)
    with pytest.raises(Misconfigured, match="chmod 600"):
        connect(settings(url, token_file=file), World()).find("account", key(1))


def test_many_workers_renew_once(running: server.Running, url: str, tmp_path: Path) -> None:
    """Threads and connectors (as other processes would be) that meet the same dead token wait for one renewal."""
    used = counting(running)
    connectors = [connect(settings(url, token_file=tmp_path / "tokens.json"), World()) for _ in range(3)]
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda n: connectors[n % 3].find("account", key(n)), range(12)))
        assert len(used) == 1
        httpx.delete(f"{url}/_sandbox/tokens")
        list(pool.map(lambda n: connectors[n % 3].find("account", key(n)), range(12)))
    assert len(used) == 2


def test_a_token_is_renewed_before_it_ends(running: server.Running, url: str, tmp_path: Path) -> None:
    used, now = counting(running), [datetime.now(UTC)]
    connector = connect(settings(url, token_file=tmp_path / "tokens.json"), World(clock=lambda: now[0]))
    connector.find("account", key(1))
    now[0] += timedelta(minutes=58)
    connector.find("account", key(1))
    assert len(used) == 1
    now[0] += timedelta(minutes=1, seconds=1)
    connector.find("account", key(1))
    assert len(used) == 2


def test_a_lost_answer_to_a_renewal_locks_nobody_out(url: str, waits: Waits, quickbooks: QuickBooks) -> None:
    plant(url, kind="lose_reply", match="tokens/bearer")
    assert quickbooks.find("account", key(1)) is None
    assert len(waits) == 1


def test_a_renewal_that_fails_is_not_an_unknown_write(url: str, quickbooks: QuickBooks) -> None:
    plant(url, kind="error", match="tokens/bearer", status=503, times=0)
    with pytest.raises(Unavailable):
        quickbooks.upsert("account", payload(1), key(1))


def test_a_new_consent_wins_over_what_is_kept(url: str, quickbooks: QuickBooks, tmp_path: Path) -> None:
    quickbooks.find("account", key(1))
    given = settings(url, token_file=tmp_path / "tokens.json", refresh_token="another-consent")
    with pytest.raises(Misconfigured):
        connect(given, World()).find("account", key(1))


@pytest.mark.parametrize("changes", [{"client_secret": "hush-hush"}, {"refresh_token": "hush-hush"}, {"realm_id": "1"}])
def test_wrong_credentials_stop_the_system_and_are_not_named(url: str, tmp_path: Path, changes: Json) -> None:
    connector = connect(settings(url, token_file=tmp_path / "tokens.json", **changes), World())
    with pytest.raises(Misconfigured) as refused:
        connector.find("account", key(1))
    assert "hush" not in str(refused.value)
    assert all("hush" not in one.detail and (one.ok or one.cure) for one in connector.check())


def test_new_credentials_of_the_app_are_proved_at_once_and_keep_the_consent(
    url: str, quickbooks: QuickBooks, tmp_path: Path
) -> None:
    quickbooks.find("account", key(1))
    file = tmp_path / "tokens.json"
    with pytest.raises(Misconfigured):
        connect(settings(url, token_file=file, client_secret="mistyped"), World()).find("account", key(1))
    assert connect(settings(url, token_file=file), World()).find("account", key(1)) is None


def test_no_token_goes_to_another_host_or_over_plain_http() -> None:
    with pytest.raises(ValueError, match="https"):
        settings("http://elsewhere.example")


def test_the_doctor_finds_a_sound_system_sound(books: QuickBooks) -> None:
    posted(books)
    assert [one for one in books.check() if not one.ok] == []


def test_the_doctor_names_what_would_hurt(books: QuickBooks, url: str) -> None:
    put(books, "ledger_account", "1101", {"Name": "Other receivables", "AccountType": "Accounts Receivable"})
    configure(url, custom_numbers=False, closed_through="2099-01-01")
    failed = [one.check for one in books.check() if not one.ok]
    assert failed == ["quickbooks: document numbers", "quickbooks: books", "quickbooks: receivables"]


# Webhooks

NOTIFICATION = {
    "eventNotifications": [
        {
            "realmId": REALM,
            "dataChangeEvent": {
                "entities": [
                    {"name": "Invoice", "id": "1", "operation": "Update", "lastUpdated": "2026-11-02T01:30:00-0800"},
                    {"name": "Vendor", "id": "2", "operation": "Create", "lastUpdated": "2026-11-02T01:30:00-0800"},
                ]
            },
        },
        {"realmId": "1", "dataChangeEvent": {"entities": [{"name": "Invoice"}]}},
    ]
}


def test_both_forms_of_a_webhook_are_unpacked(quickbooks: QuickBooks) -> None:
    """Events of other companies, and of entities that are nobody's resource here, are left out."""
    at = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
    [event] = quickbooks.events(signed(NOTIFICATION))
    assert (event.resource, event.vendor_id, event.kind, event.occurred_at) == ("invoice", "1", "update", at)
    others = [cloud_event(intuitaccountid="1"), cloud_event(type="qbo.vendor.created.v1")]
    [event] = quickbooks.events(signed([cloud_event(), *others]))
    assert (event.event_id, event.resource, event.vendor_id) == ("evt-1", "account", "7")
    assert (event.kind, event.occurred_at) == ("created", at)


def test_a_repeated_notification_has_the_same_id_and_a_new_one_another(quickbooks: QuickBooks) -> None:
    later = json.loads(json.dumps(NOTIFICATION).replace("01:30", "01:31"))
    first, again, other = (quickbooks.events(signed(one))[0].event_id for one in (NOTIFICATION, NOTIFICATION, later))
    assert first == again != other


@pytest.mark.parametrize("body", [{"eventNotifications": [{}]}, [{}], [1], {}, "text", None])
def test_a_webhook_of_another_form_is_refused(quickbooks: QuickBooks, body: Any) -> None:
    with pytest.raises(Rejected):
        quickbooks.events(signed(body))


def test_a_forged_webhook_is_refused(quickbooks: QuickBooks) -> None:
    with pytest.raises(Rejected, match="signature"):
        quickbooks.events(signed([cloud_event()], secret="another"))


def test_what_is_only_read_is_not_written(quickbooks: QuickBooks) -> None:
    for act in (quickbooks.upsert, lambda *given: quickbooks.find(given[0], given[2])):
        with pytest.raises(Misconfigured):
            act("gl_balance", {}, ExternalKey("account", "1"))


# The mappings, and the vendor's published schema


@pytest.fixture
def traffic(running: server.Running) -> list[tuple[str, str, bytes, bytes]]:
    """Method, path with query, request and answer of every call from now on."""
    seen: list[tuple[str, str, bytes, bytes]] = []
    emulator = running.emulators["quickbooks"]
    inner: Callable[..., Any] = emulator._app

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        body, answer = message.get("body", b""), bytearray()

        async def again() -> Any:
            return message

        async def heard(out: Any) -> None:
            answer.extend(out.get("body", b""))
            await send(out)

        await inner(scope, again if scope["type"] == "http" else receive, heard)
        if scope["type"] == "http" and scope["path"].startswith("/v3/"):
            query = scope["query_string"].decode()
            seen.append((scope["method"], f"{scope['path']}?{query}", body, bytes(answer)))

    emulator._app = watched  # type: ignore[assignment]
    return seen


def deliver_examples(connector: QuickBooks, folder: Path) -> Callable[[str], dict[str, str]]:
    """The worked examples of the mapping files go to QuickBooks in the order of business; how to read figures back."""
    root = Path(__file__).parents[2] / "mappings"
    for name in ("quickbooks", "tables"):
        copytree(root / name, folder / name)
    book = load_book(folder)
    known: dict[str, str] = {}

    def deliver(record: str, changes: Json | None = None, example: int = 0) -> None:
        mapping = book.find("quickbooks", record, "out")
        told = {**mapping.examples[example].given, **(changes or {})}
        noun = mapping.noun.model_validate_json(json.dumps(told, default=str))
        sent = mapping.out(noun, lambda system, resource, ident: known.get(f"{system}:{resource}:{ident}"))
        receipt = connector.upsert(mapping.resource, sent, mapping.key(noun))
        assert not connector.upsert(mapping.resource, sent, mapping.key(noun)).created
        known[f"quickbooks:{mapping.resource}:{receipt.key.value}"] = receipt.vendor_id

    chart = {"1050": "asset", "1100": "asset", "1190": "asset", "2200": "liability", "4010": "income"}
    for code, kind in chart.items():
        deliver("ledger_account", {"code": code, "name": f"{kind}: {code}", "kind": kind})
    deliver("product")
    deliver("product", {"code": "TAX", "name": "Sales tax"})
    deliver("account")
    deliver("account", example=1)
    for record in ("invoice", "payment", "journal_entry"):
        deliver(record)

    def figures(resource: str) -> dict[str, str]:
        mapping = book.find("quickbooks", "figure", "in", resource)
        read = [mapping.into(one.payload) for one in connector.changes(resource, None) if one.payload]
        return {figure.key: str(figure.amount) for figure in read}  # type: ignore[attr-defined]

    return figures


def test_what_the_mappings_make_is_taken_once_and_read_back_as_the_same_figures(
    quickbooks: QuickBooks, url: str, tmp_path: Path
) -> None:
    """A second delivery of each record is recognised as said already: no record has been written twice."""
    figures = deliver_examples(quickbooks, tmp_path)
    assert figures("invoice") == {"INV-2026-10-A-0001": "129.90 USD"}
    assert figures("payment") == {"PAY-INV-2026-10-A-0001": "129.90 USD"}
    assert figures("journal_entry") == {"JE-INV-2026-10-A-0001": "129.90 USD"}
    assert {one["SyncToken"] for kind in ("account", "customer", "item", "payment") for one in kept(url, kind)} == {"0"}
    whole = {code: Decimal(0) for code, _ in balances(quickbooks)}
    for (code, _), amount in balances(quickbooks).items():
        whole[code] += amount
    expected = {"1050": "129.90", "1100": "0", "1190": "0", "2200": "-9.90", "4010": "-120"}
    assert whole == {code: Decimal(amount) for code, amount in expected.items()}
    assert set(figures("gl_balance")) == set(whole)


@pytest.mark.server
@pytest.mark.xdist_group("company")
def test_a_whole_month_ties_out_with_quickbooks_as_the_ledger(tmp_path: Path) -> None:
    """No flow knows which ledger it is; replies that are lost on the way change nothing in the books."""
    ledger = {name: make for name, make in world.SETTINGS.items() if name != "netsuite"}
    with world.company(tmp_path, {**ledger, "quickbooks": settings}) as company:
        company.enter(*world.CUSTOMERS)
        company.bring("bridge.2026-10.csv", world.USAGE)
        for line in (r"^POST /v3/\S+/batch", r"^POST /v3/\S+/(invoice|payment|journalentry)"):
            company.plant("quickbooks", "lose_reply", line, skip=1, times=2)
        company.month()
        deliver.deliver_all(company.hub)
        lines, breaks = company.tie_out()
        assert breaks == []
        assert [line.tie for line in lines if line.difference] == []
        with company.hub.database.reading() as work:
            assert (work.desk.open(), set(work.outbox.counts())) == ([], {"done"})
        counts = {kind: len(held) for (system, kind), held in company.objects().items() if system == "quickbooks"}
    expected = {"account": 25, "customer": 3, "invoice": 3, "item": 6, "journal_entry": 9, "payment": 3}
    assert counts == expected
