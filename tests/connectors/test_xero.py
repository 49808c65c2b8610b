"""The Xero connector against its emulator, and both against the vendor's published OpenAPI file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from shutil import copytree
from typing import Any

import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as some

from connectors.rounding import foretold
from connectors.xero import API, ROUNDING, Meaning, Refusal, Xero, connect
from core.errors import Misconfigured, OutcomeUnknown, Parked, RateLimited, Rejected, TieoutError, Unavailable
from core.mapping import load_book
from core.ports import ExternalKey, Receipt, World
from flows import deliver
from sandbox import server
from sandbox.xero import TENANT
from tests.connectors.contract_xero import envelope, event, key, payload, settings, signed
from tests.flows import world

Json = dict[str, Any]


class Waits(list[float]):
    """A sleep that only remembers."""

    def __call__(self, seconds: float, /) -> None:
        self.append(seconds)


@pytest.fixture
def running() -> Iterator[server.Running]:
    with server.start(["xero"]) as running:
        yield running


@pytest.fixture
def url(running: server.Running) -> str:
    return running.urls["xero"]


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def xero(url: str, waits: Waits, tmp_path: Path) -> Iterator[Xero]:
    connector = connect(settings(url, token_file=tmp_path / "tokens.json"), World(sleep=waits))
    yield connector
    connector.close()


def put(connector: Xero, resource: str, ident: str, fields: Json) -> Receipt:
    return connector.upsert(resource, fields, ExternalKey(connector.resources[resource].key_field, ident))


@pytest.fixture
def books(xero: Xero) -> Xero:
    """The connector, with three accounts, a customer and an item."""
    kinds = {"1050": "CURRENT", "1190": "CURRENT", "4010": "REVENUE"}
    for code, kind in kinds.items():
        fields = {"Name": f"Account {code}", "Type": kind, "EnablePaymentsToAccount": code == "1050"}
        put(xero, "ledger_account", code, fields)
    put(xero, "account", "A-0001", dict(payload(1)))
    put(xero, "product", "VC-MIN", {"Name": "Minutes", "SalesDetails": {"AccountCode": "1190"}})
    return xero


def line(amount: str, **changes: Any) -> Json:
    told = {"Description": "Minutes", "ItemCode": "VC-MIN", "AccountCode": "1190", "TaxType": "NONE"}
    return {**told, "Quantity": 1, "UnitAmount": Decimal(amount), **changes}


def invoice(amount: str = "100.10", **changes: Any) -> Json:
    told: Json = {
        "Type": "ACCREC",
        "Contact": {"ContactNumber": "A-0001"},
        "Date": "2026-10-31",
        "DueDate": "2026-11-30",
    }
    told |= {"Status": "AUTHORISED", "LineAmountTypes": "NoTax", "Total": Decimal(amount), "LineItems": [line(amount)]}
    return {**told, **changes}


def credit(amount: str = "40.00", **changes: Any) -> Json:
    told: Json = {"Type": "ACCRECCREDIT", "Contact": {"ContactNumber": "A-0001"}, "Date": "2026-11-20"}
    told |= {"Status": "AUTHORISED", "LineAmountTypes": "NoTax", "Total": Decimal(amount), "LineItems": [line(amount)]}
    return {**told, **changes}


def payment(document: str, amount: str = "100.10") -> Json:
    told = {"Invoice": {"InvoiceID": document}, "Account": {"Code": "1050"}, "Date": "2026-11-01"}
    return {**told, "Amount": Decimal(amount)}


def journal(amount: str = "100.10", **changes: Any) -> Json:
    sides = {"1190": Decimal(amount), "4010": -Decimal(amount)}
    lines = [{"LineAmount": one, "AccountCode": code, "Description": "Invoice"} for code, one in sides.items()]
    return {"Date": "2026-10-31", "Status": "POSTED", "LineAmountTypes": "NoTax", "JournalLines": lines, **changes}


def objects(url: str) -> dict[str, int]:
    return httpx.get(f"{url}/_sandbox/objects").json()  # type: ignore[no-any-return]


def kept(url: str, kind: str) -> list[Json]:
    return httpx.get(f"{url}/_sandbox/objects/{kind}").json()  # type: ignore[no-any-return]


def plant(url: str, **fault: Any) -> None:
    httpx.post(f"{url}/_sandbox/faults", json={"match": f"^(PUT|POST) {API}/", **fault}).raise_for_status()


def configure(url: str, **changes: Any) -> None:
    httpx.post(f"{url}/_sandbox/xero", json=changes).raise_for_status()


def by_hand(connector: Xero, url: str, method: str, path: str, body: Json) -> Json:
    """Somebody else at work in the same organisation."""
    token = connector._session.tokens(None).access
    headers = {"Authorization": f"Bearer {token}", "xero-tenant-id": TENANT, "Accept": "application/json"}
    answer = httpx.request(method, f"{url}{API}/{path}", headers=headers, json=body)
    assert answer.is_success, answer.text
    return answer.json()  # type: ignore[no-any-return]


# Our key


def test_the_narration_of_a_journal_is_our_key_whole_and_alone(books: Xero, url: str) -> None:
    """A key that begins like another one is another journal."""
    first = put(books, "journal_entry", "JE-1", journal())
    tenth = put(books, "journal_entry", "JE-10", journal())
    assert {one["Narration"] for one in kept(url, "manual_journal")} == {"JE-1", "JE-10"}
    found = books.find("journal_entry", ExternalKey("Narration", "JE-1"))
    assert found is not None
    assert (found.vendor_id, first.vendor_id != tenth.vendor_id) == (first.vendor_id, True)


def test_a_key_counts_in_its_own_case_only(books: Xero) -> None:
    """Xero compares text without regard to case."""
    put(books, "journal_entry", "je-1", journal())
    assert books.find("journal_entry", ExternalKey("Narration", "JE-1")) is None


@pytest.mark.parametrize("ident", ['say "so"', "back\\slash", "one,two", "line\nbreak"])
def test_a_key_that_no_look_up_can_carry_is_refused_by_name(books: Xero, url: str, ident: str) -> None:
    with pytest.raises(Rejected) as refused:
        put(books, "invoice", ident, invoice())
    assert (refused.value.field, refused.value.value) == ("InvoiceNumber", ident)
    with pytest.raises(Rejected):
        books.find("invoice", ExternalKey("InvoiceNumber", ident))
    assert "invoice" not in objects(url)


def test_a_bill_or_a_voided_invoice_with_our_number_is_not_ours(books: Xero, url: str) -> None:
    bill = {**invoice(), "Type": "ACCPAY", "InvoiceNumber": "INV-1"}
    by_hand(books, url, "PUT", "Invoices", {name: str(v) if name == "Total" else v for name, v in _plain(bill).items()})
    assert books.find("invoice", ExternalKey("InvoiceNumber", "INV-1")) is None
    first = put(books, "invoice", "INV-1", invoice())
    by_hand(books, url, "POST", f"Invoices/{first.vendor_id}", {"Status": "VOIDED"})
    assert books.find("invoice", ExternalKey("InvoiceNumber", "INV-1")) is None


def _plain(value: Any) -> Any:
    """The same with amounts as text, for a JSON library that knows no exact numbers."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Decimal) else value


# Writing once


def test_a_second_upsert_leaves_one_record_and_sends_nothing(books: Xero, url: str) -> None:
    """What the record says already is not written again, so locked books and a payment do not mind either."""
    first = put(books, "invoice", "INV-1", invoice())
    put(books, "payment", "PAY-1", payment(first.vendor_id))
    configure(url, period_lock="2026-12-31")
    changed = {kind: [one["UpdatedDateUTC"] for one in kept(url, kind)] for kind in ("invoice", "payment")}
    again = put(books, "invoice", "INV-1", invoice())
    paid = put(books, "payment", "PAY-1", payment(first.vendor_id))
    assert (again.created, again.vendor_id, paid.created) == (False, first.vendor_id, False)
    assert again.answer["Status"] == "PAID"
    assert changed == {kind: [one["UpdatedDateUTC"] for one in kept(url, kind)] for kind in ("invoice", "payment")}


def test_a_changed_record_updates_the_same_one_and_keeps_what_others_added(books: Xero, url: str) -> None:
    first = put(books, "account", "A-0001", dict(payload(1)))
    by_hand(books, url, "POST", f"Contacts/{first.vendor_id}", {"TaxNumber": "12-3456789"})
    second = put(books, "account", "A-0001", {**payload(1), "Name": "Acme"})
    assert (second.vendor_id, second.created) == (first.vendor_id, False)
    assert (second.answer["Name"], second.answer["TaxNumber"]) == ("Acme", "12-3456789")


def test_a_changed_document_has_our_lines_and_no_others(books: Xero, url: str) -> None:
    put(books, "invoice", "INV-1", invoice())
    second = put(books, "invoice", "INV-1", invoice("70.00"))
    assert ([one["LineAmount"] for one in second.answer["LineItems"]], second.answer["Total"]) == ([70], 70)
    put(books, "journal_entry", "JE-1", journal())
    again = put(books, "journal_entry", "JE-1", journal("70.00"))
    assert (again.created, [one["LineAmount"] for one in again.answer["JournalLines"]]) == (False, [70, -70])
    assert (objects(url)["invoice"], objects(url)["manual_journal"]) == (1, 1)


def test_a_document_that_is_new_never_overwrites_one_that_has_its_number(
    books: Xero, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look-up did not see it yet: Xero refuses the number, and the second look-up finds what is there."""
    first = put(books, "invoice", "INV-1", invoice())
    looked, blind = books._held, iter([True])
    monkeypatch.setattr(books, "_held", lambda *given: {} if next(blind, False) else looked(*given))
    receipt = put(books, "invoice", "INV-1", invoice("70.00"))
    assert (receipt.vendor_id, receipt.created, receipt.answer["Total"]) == (first.vendor_id, False, Decimal("100.10"))


@pytest.mark.parametrize("fault", ["lose_reply", "garbage", "error_after"])
def test_a_lost_reply_is_an_unknown_outcome_and_the_look_up_finds_the_record(books: Xero, url: str, fault: str) -> None:
    """Journals and payments have no unique field at Xero, so only the look-up and the key of the request guard them."""
    document = put(books, "invoice", "INV-1", invoice()).vendor_id
    writes = (("journal_entry", "JE-1", journal()), ("payment", "PAY-1", payment(document, "10.00")))
    for resource, ident, fields in writes:
        plant(url, kind=fault)
        with pytest.raises(OutcomeUnknown):
            put(books, resource, ident, fields)
        found = books.find(resource, ExternalKey(books.resources[resource].key_field, ident))
        assert found is not None
        assert put(books, resource, ident, fields).vendor_id == found.vendor_id
    assert (objects(url)["manual_journal"], objects(url)["payment"]) == (1, 1)


def test_the_request_key_guards_where_the_look_up_does_not_see_yet(
    books: Xero, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same request again carries the same key, and Xero repeats its first answer."""
    monkeypatch.setattr(books, "_held", lambda resource, keys: {})
    first = put(books, "journal_entry", "JE-1", journal())
    assert put(books, "journal_entry", "JE-1", journal()).vendor_id == first.vendor_id
    assert put(books, "journal_entry", "JE-2", journal()).vendor_id != first.vendor_id
    assert objects(url)["manual_journal"] == 2


def test_a_refusal_is_not_repeated_once_its_cause_is_gone(books: Xero, url: str) -> None:
    """Xero keeps refusals under the key of the request as well, for six minutes."""
    with pytest.raises(Parked):
        put(books, "product", "VC-LIVE", {"Name": "Live", "SalesDetails": {"AccountCode": "4099"}})
    put(books, "ledger_account", "4099", {"Name": "Events", "Type": "REVENUE"})
    assert put(books, "product", "VC-LIVE", {"Name": "Live", "SalesDetails": {"AccountCode": "4099"}}).created


def test_a_payment_that_says_something_else_is_not_changed_behind_anyones_back(books: Xero, url: str) -> None:
    document = put(books, "invoice", "INV-1", invoice()).vendor_id
    put(books, "payment", "PAY-1", payment(document, "10.00"))
    with pytest.raises(Rejected) as refused:
        put(books, "payment", "PAY-1", payment(document, "11.00"))
    assert (refused.value.field, objects(url)["payment"]) == ("Reference", 1)


# Several at once


def test_each_record_of_a_call_is_settled_by_itself(books: Xero, url: str) -> None:
    configure(url, period_lock="2026-08-31")
    items = {
        "INV-1": invoice(),
        "INV-2": invoice(Contact={"ContactID": "00000000-0000-0000-0000-000000000000"}),
        "INV-3": invoice(Date="2026-08-31"),
        "INV-4": invoice(LineItems=[line("100.10", ItemCode="NEW")]),
        "INV-5": invoice(LineItems=[line("100.10", AccountCode="090")]),
        "INV-6": invoice(DueDate="soon"),
        "INV-7": invoice(),
    }
    keyed = [(one, ExternalKey("InvoiceNumber", name)) for name, one in items.items()]
    first, contact, locked, item, account, date, last = books.upsert_many("invoice", keyed)
    assert isinstance(first, Receipt)
    assert isinstance(contact, Rejected)
    assert (contact.record, contact.field, contact.code) == ("invoice", "Contact", "ValidationException")
    assert isinstance(locked, Parked)
    assert locked.waits_for == "period:2026-08"
    assert isinstance(item, Parked)
    assert item.waits_for == "xero:product:NEW"
    assert isinstance(account, Rejected)
    assert (account.field, account.value) == ("AccountCode", "090")
    assert isinstance(date, Rejected)
    assert (date.field, date.value, date.code) == ("DueDate", "soon", "PostDataInvalidException")
    assert isinstance(last, Receipt)
    assert (last.key.value, objects(url)["invoice"]) == ("INV-7", 2)


def test_new_and_known_records_of_a_call_go_by_their_own_methods(books: Xero, url: str) -> None:
    put(books, "invoice", "INV-2", invoice())
    keyed = [(invoice("70.00"), ExternalKey("InvoiceNumber", f"INV-{n}")) for n in (1, 2, 3)]
    outcomes = books.upsert_many("invoice", keyed)
    assert [one.created for one in outcomes if isinstance(one, Receipt)] == [True, False, True]
    assert [one["Total"] for one in kept(url, "invoice")] == [70, 70, 70]


def test_a_lost_call_leaves_its_own_records_unknown_and_no_others(books: Xero, url: str) -> None:
    put(books, "invoice", "INV-2", invoice())
    plant(url, kind="lose_reply", match=f"^PUT {API}/")
    keyed = [(invoice("70.00"), ExternalKey("InvoiceNumber", f"INV-{n}")) for n in (1, 2, 3)]
    assert [type(one) for one in books.upsert_many("invoice", keyed)] == [OutcomeUnknown, Receipt, OutcomeUnknown]
    again = books.upsert_many("invoice", keyed)
    assert all(isinstance(one, Receipt) and not one.created for one in again)
    assert objects(url)["invoice"] == 3


def test_an_answer_about_other_records_is_an_unknown_outcome(xero: Xero) -> None:
    xero._session.tokens(None)
    with respx.mock() as vendor:
        vendor.get(path__regex="Contacts").respond(json={"Contacts": []})
        vendor.put(path__regex="Contacts").respond(json={"Contacts": [{"ContactID": "1", "ContactNumber": "A-0002"}]})
        with pytest.raises(OutcomeUnknown):
            xero.upsert("account", payload(1), key(1))
        vendor.put(path__regex="Contacts").respond(json={"Contacts": []})
        with pytest.raises(OutcomeUnknown):
            xero.upsert("account", payload(1), key(1))


# Amounts


def test_a_unit_amount_keeps_four_decimals_there_and_back(books: Xero) -> None:
    fields = invoice("13.33", LineItems=[line("0.0123", Quantity=Decimal("1083.5"))])
    receipt = put(books, "invoice", "INV-1", fields)
    assert (receipt.answer["LineItems"][0]["UnitAmount"], receipt.answer["Total"]) == (
        Decimal("0.0123"),
        Decimal("13.33"),
    )
    assert not put(books, "invoice", "INV-1", fields).created


@given(
    some.decimals(0, 10_000, places=6, allow_nan=False),
    some.decimals(0, 100, places=6, allow_nan=False),
)
def test_a_line_is_foretold_as_xero_rounds_it(quantity: Decimal, unit: Decimal) -> None:
    """Quantity and unit amount to 4 decimals, their product to 2, each half up."""
    four, two = Decimal("0.0001"), Decimal("0.01")
    made = (quantity.quantize(four, ROUND_HALF_UP) * unit.quantize(four, ROUND_HALF_UP)).quantize(two, ROUND_HALF_UP)
    told = {"Quantity": quantity, "UnitAmount": unit}
    assert foretold("xero", "invoice", ROUNDING["invoice"], {"LineItems": [{**told, "LineAmount": made}]}) == made
    with pytest.raises(Rejected) as refused:
        foretold("xero", "invoice", ROUNDING["invoice"], {"LineItems": [{**told, "LineAmount": made + two}]})
    assert refused.value.field == "LineItems.0.LineAmount"


@pytest.mark.parametrize(
    ("resource", "fields", "field"),
    [
        ("invoice", invoice(Total=Decimal("100.11")), "Total"),
        (
            "invoice",
            invoice("10.00", LineItems=[line("10.00", LineAmount=Decimal("10.005"))]),
            "LineItems.0.LineAmount",
        ),
        ("invoice", invoice(LineItems=[{"Description": "x", "UnitAmount": 1}]), "LineItems.0.LineAmount"),
        ("credit_note", credit(Total=Decimal("40.01")), "Total"),
        (
            "journal_entry",
            journal(JournalLines=[{"LineAmount": Decimal("0.01"), "AccountCode": "1190"}]),
            "JournalLines",
        ),
        ("payment", payment("x", "10.001"), "Amount"),
    ],
)
def test_an_amount_that_would_not_survive_is_not_sent(
    books: Xero, url: str, resource: str, fields: Json, field: str
) -> None:
    before = objects(url)
    with pytest.raises(Rejected) as refused:
        put(books, resource, "X-1", fields)
    assert (refused.value.record, refused.value.field, objects(url)) == (resource, field, before)


# Lock dates


@pytest.mark.parametrize("lock", ["period_lock", "end_of_year_lock"])
def test_a_document_of_a_locked_day_waits_for_its_month(books: Xero, url: str, lock: str) -> None:
    configure(url, **{lock: "2026-10-31"})
    for resource, fields in (("invoice", invoice()), ("journal_entry", journal()), ("credit_note", credit())):
        day = str(fields["Date"])
        if day > "2026-10-31":
            assert put(books, resource, "X-1", fields).created
            continue
        with pytest.raises(Parked) as parked:
            put(books, resource, "X-1", fields)
        assert (parked.value.waits_for, parked.value.needs_person) == ("period:2026-10", True)
    configure(url, **{lock: None})
    assert put(books, "invoice", "X-1", invoice()).created


def test_a_lock_that_was_set_a_moment_ago_is_read_from_the_refusal(books: Xero, url: str) -> None:
    put(books, "invoice", "INV-1", invoice())
    configure(url, period_lock="2026-10-31")
    with pytest.raises(Parked) as parked:
        put(books, "invoice", "INV-2", invoice())
    assert "currently set at 31-Oct-2026" in str(parked.value)
    assert parked.value.waits_for == "period:2026-10"


# What texts mean


@pytest.mark.parametrize(
    ("text", "meaning", "field"),
    [
        (
            "The document date cannot be before the end of year lock date, currently set at 31-Jul-2013",
            Meaning.LOCKED,
            None,
        ),
        ("The document date cannot be before the period lock date of 30 Jun 2026.", Meaning.LOCKED, None),
        ("Account code '42' is not a valid code for this document.", Meaning.NO_ACCOUNT, "AccountCode"),
        ("Account code '310' has been archived, or deleted.", Meaning.NO_ACCOUNT, "AccountCode"),
        ("Invoice # must be unique.", Meaning.DUPLICATE, None),
        ("Please enter a unique Code.", Meaning.DUPLICATE, "Code"),
        ("The contact name Acme is already assigned to another contact.", Meaning.DUPLICATE, "Name"),
        ("The contact number A-1 is already assigned to another contact.", Meaning.DUPLICATE, "ContactNumber"),
        ("The line total 1.00 does not match the expected line total 100.00", Meaning.REFUSED, "LineAmount"),
        ("Payment amount exceeds the amount outstanding on this document", Meaning.REFUSED, "Amount"),
        ("This document cannot be edited as it has a payment or credit note allocated to it.", Meaning.REFUSED, None),
        ("Error converting value BLUE to type 'X'. Path 'Invoices[0].Status', line 1.", Meaning.REFUSED, "Status"),
    ],
)
def test_a_sentence_of_xero_is_read_for_what_it_means(text: str, meaning: Meaning, field: str | None) -> None:
    refusal = Refusal("ValidationException", [text])
    assert (refusal.meaning, refusal.field) == (meaning, field)


def test_a_currency_that_the_organisation_does_not_use_is_refused_by_field(books: Xero, url: str) -> None:
    with pytest.raises(Rejected) as refused:
        put(books, "invoice", "INV-1", invoice(CurrencyCode="EUR", CurrencyRate=Decimal("0.952381")))
    assert (refused.value.field, refused.value.value) == ("CurrencyCode", "EUR")
    configure(url, currencies=["USD", "EUR"])
    sent = put(books, "invoice", "INV-1", invoice(CurrencyCode="EUR", CurrencyRate=Decimal("0.952381")))
    paid = put(books, "payment", "PAY-1", {**payment(sent.vendor_id), "CurrencyRate": Decimal("0.909091")})
    assert books.get("payment", paid.vendor_id)["CurrencyCode"] == "EUR"


def test_a_manual_journal_is_in_the_currency_of_the_organisation_or_not_sent(books: Xero, url: str) -> None:
    with pytest.raises(Rejected, match="is not USD, the base currency") as refused:
        put(books, "journal_entry", "JE-1", journal(CurrencyCode="EUR"))
    assert (refused.value.field, refused.value.value, "manual_journal" in objects(url)) == (
        "CurrencyCode",
        "EUR",
        False,
    )
    sent = put(books, "journal_entry", "JE-1", journal(CurrencyCode="USD"))
    assert "CurrencyCode" not in kept(url, "manual_journal")[0]
    shown = books.get("journal_entry", sent.vendor_id)
    assert (shown["CurrencyCode"], shown["TotalDebits"]) == ("USD", Decimal("100.10"))
    assert not put(books, "journal_entry", "JE-1", journal(CurrencyCode="USD")).created


def test_a_payment_is_deleted_once_whatever_gets_lost(books: Xero, url: str) -> None:
    document = put(books, "invoice", "INV-1", invoice()).vendor_id
    paid = put(books, "payment", "PAY-1", payment(document)).vendor_id
    reference, told = ExternalKey("Reference", "PAY-1"), {"PaymentID": paid, "Status": "DELETED", "Date": "2026-11-01"}
    assert books.find("payment_void", reference) is None
    plant(url, kind="lose_reply")
    with pytest.raises(OutcomeUnknown):
        books.upsert("payment_void", told, reference)
    found = books.find("payment_void", reference)
    assert found
    assert books.upsert("payment_void", told, reference).vendor_id == found.vendor_id == paid
    assert books.find("payment", reference) is None
    assert (kept(url, "payment")[0]["Status"], kept(url, "invoice")[0]["AmountDue"]) == ("DELETED", 100.1)


def test_a_payment_of_locked_days_is_not_deleted(books: Xero, url: str) -> None:
    document = put(books, "invoice", "INV-1", invoice()).vendor_id
    paid = put(books, "payment", "PAY-1", payment(document)).vendor_id
    configure(url, period_lock="2026-11-30")
    told = {"PaymentID": paid, "Status": "DELETED", "Date": "2026-11-01"}
    with pytest.raises(Parked) as waits:
        books.upsert("payment_void", told, ExternalKey("Reference", "PAY-1"))
    assert (waits.value.waits_for, kept(url, "payment")[0]["Status"]) == ("period:2026-11", "AUTHORISED")


def test_a_name_that_another_customer_has_is_refused_by_field(books: Xero, url: str) -> None:
    with pytest.raises(Rejected) as refused:
        put(books, "account", "A-0002", {"Name": "customer 1"})
    assert (refused.value.field, refused.value.value, objects(url)["contact"]) == ("Name", "customer 1", 1)


# Accounts of its own, tracking, credit notes


def test_receivables_are_adopted_by_their_code_and_never_written(xero: Xero, url: str) -> None:
    fields = {"Name": "Ours", "Type": "CURRENT", "SystemAccount": "DEBTORS"}
    receipt = put(xero, "ledger_account", "1100", fields)
    assert (receipt.created, receipt.answer["Name"]) == (False, "Accounts Receivable")
    with pytest.raises(Rejected) as refused:
        put(xero, "ledger_account", "1101", fields)
    assert (refused.value.field, refused.value.value) == ("Code", "1101")


def test_gains_of_currencies_are_an_account_of_ours_until_xero_has_its_own(xero: Xero, url: str) -> None:
    fields = {"Name": "Gains", "Type": "REVENUE", "SystemAccount": "REALISEDCURRENCYGAIN"}
    assert put(xero, "ledger_account", "7001", fields).created
    configure(url, currencies=["USD", "EUR"])
    assert put(xero, "ledger_account", "7000", fields).answer["Name"] == "Realised Currency Gains"
    with pytest.raises(Rejected, match="must be the code of the account REALISEDCURRENCYGAIN"):
        put(xero, "ledger_account", "7001", {**fields, "Name": "Other gains"})


def test_a_tracking_category_has_the_options_that_are_named_once(xero: Xero, url: str) -> None:
    put(xero, "tracking_category", "Site", {"Options": [{"Name": "Denver"}]})
    both = {"Options": [{"Name": "Denver"}, {"Name": "Austin"}]}
    plant(url, kind="lose_reply", match="/Options")
    with pytest.raises(OutcomeUnknown):
        put(xero, "tracking_category", "Site", both)
    receipt = put(xero, "tracking_category", "Site", both)
    assert [one["Name"] for one in receipt.answer["Options"]] == ["Denver", "Austin"]
    assert [len(one["Options"]) for one in kept(url, "tracking_category")] == [2]


def test_a_line_is_tracked_by_names(books: Xero) -> None:
    put(books, "tracking_category", "Site", {"Options": [{"Name": "Denver"}]})
    tracked = line("100.10", Tracking=[{"Name": "Site", "Option": "Denver"}])
    receipt = put(books, "invoice", "INV-1", invoice(LineItems=[tracked]))
    assert receipt.answer["LineItems"][0]["Tracking"][0]["Option"] == "Denver"
    assert not put(books, "invoice", "INV-1", invoice(LineItems=[tracked])).created


def test_a_credit_note_is_allocated_once_whatever_gets_lost(books: Xero, url: str) -> None:
    """The note may be there and its allocation not: the next try goes on from what is there."""
    documents = [put(books, "invoice", f"INV-{n}", invoice()).vendor_id for n in (1, 2)]

    def applied(*amounts: str) -> Json:
        pairs = zip(documents, amounts, strict=False)
        day = "2026-11-20"
        return credit(
            Allocations=[{"Invoice": {"InvoiceID": to}, "Amount": Decimal(a), "Date": day} for to, a in pairs]
        )

    plant(url, kind="error", match="/Allocations", status=503)
    with pytest.raises(OutcomeUnknown):
        put(books, "credit_note", "CN-1", applied("30.00"))
    plant(url, kind="lose_reply", match="/Allocations")
    with pytest.raises(OutcomeUnknown):
        put(books, "credit_note", "CN-1", applied("30.00"))
    assert put(books, "credit_note", "CN-1", applied("30.00")).answer["RemainingCredit"] == 10
    assert put(books, "credit_note", "CN-1", applied("30.00", "10.00")).answer["Status"] == "PAID"
    assert [one["AmountDue"] for one in kept(url, "invoice")] == [70.1, 90.1]
    assert objects(url)["credit_note"] == 1


def test_an_allocation_that_is_too_large_is_refused_and_the_note_stays(books: Xero, url: str) -> None:
    document = put(books, "invoice", "INV-1", invoice()).vendor_id
    allocation = {"Invoice": {"InvoiceID": document}, "Amount": Decimal("50.00"), "Date": "2026-11-20"}
    with pytest.raises(Rejected):
        put(books, "credit_note", "CN-1", credit(Allocations=[allocation]))
    assert (objects(url)["credit_note"], kept(url, "invoice")[0]["AmountDue"]) == (1, 100.1)


# Limits


def test_the_minute_limit_is_waited_for_and_the_day_limit_goes_back_to_the_outbox(xero: Xero, waits: Waits) -> None:
    xero._session.tokens(None)
    minute = {"X-Rate-Limit-Problem": "minute", "Retry-After": "48"}
    with respx.mock() as vendor:
        vendor.get(path__regex="Contacts").mock(
            side_effect=[httpx.Response(429, headers=minute), httpx.Response(200, json={"Contacts": []})]
        )
        assert xero.find("account", key(1)) is None
    assert waits == [48.0]
    with respx.mock() as vendor:
        day = {"X-Rate-Limit-Problem": "day", "Retry-After": "40000"}
        vendor.get(path__regex="Contacts").respond(429, headers=day)
        with pytest.raises(RateLimited, match="day limit") as limited:
            xero.find("account", key(1))
    assert (limited.value.wait_seconds, waits) == (40_000, [48.0])


def test_a_full_house_is_tried_again_a_second_later(xero: Xero, waits: Waits) -> None:
    """The limit of calls at one time says no wait."""
    xero._session.tokens(None)
    with respx.mock() as vendor:
        full = httpx.Response(429, headers={"X-Rate-Limit-Problem": "concurrent"})
        vendor.get(path__regex="Contacts").mock(side_effect=[full, httpx.Response(200, json={"Contacts": []})])
        assert xero.find("account", key(1)) is None
    assert waits == [1.0]


def test_the_doctor_tells_when_the_calls_of_the_day_run_out(xero: Xero, url: str) -> None:
    assert [one for one in xero.check() if not one.ok] == []
    configure(url, day_limit=100)
    (finding,) = [one for one in xero.check() if not one.ok]
    assert (finding.check, finding.detail) == ("xero: calls", "93 calls are left today")


# Reading


def test_dates_of_microsofts_form_are_days_and_instants(books: Xero) -> None:
    answer = put(books, "invoice", "INV-1", invoice()).answer
    assert (answer["Date"], answer["DueDate"]) == ("2026-10-31", "2026-11-30")
    assert datetime.fromisoformat(answer["UpdatedDateUTC"]).tzinfo is not None


def test_what_is_voided_or_deleted_has_no_payload_any_more(books: Xero, url: str) -> None:
    document = put(books, "invoice", "INV-1", invoice()).vendor_id
    paid = put(books, "payment", "PAY-1", payment(document)).vendor_id
    by_hand(books, url, "POST", f"Payments/{paid}", {"Status": "DELETED"})
    by_hand(books, url, "POST", f"Invoices/{document}", {"Status": "VOIDED"})
    changes = [change for resource in ("invoice", "payment") for change in books.changes(resource, None)]
    assert [(one.vendor_id, one.payload) for one in changes] == [(document, None), (paid, None)]


def test_bills_are_no_invoices_of_ours(books: Xero, url: str) -> None:
    by_hand(books, url, "PUT", "Invoices", _plain({**invoice(), "Type": "ACCPAY"}))
    assert list(books.changes("invoice", None)) == []


def test_the_ledger_is_what_the_journals_come_to_by_account_and_month(books: Xero, url: str) -> None:
    """An invoice that was changed, and one that was voided, are reversed in the feed and not counted twice."""
    put(books, "invoice", "INV-1", invoice())
    first = put(books, "invoice", "INV-1", invoice("70.00"))
    gone = put(books, "invoice", "INV-2", invoice("5.00"))
    by_hand(books, url, "POST", f"Invoices/{gone.vendor_id}", {"Status": "VOIDED"})
    put(books, "payment", "PAY-1", payment(first.vendor_id, "70.00"))
    put(books, "journal_entry", "JE-1", journal("70.00"))
    put(books, "credit_note", "CN-1", credit("20.00"))
    found = {
        (one.payload["account"]["AccountCode"], one.payload["month"]): one.payload["amount"]
        for one in books.changes("gl_balance", None)
        if one.payload and one.payload["amount"]
    }
    assert found == {
        ("1050", "2026-11"): 70,
        ("1100", "2026-10"): 70,
        ("1100", "2026-11"): -90,
        ("1190", "2026-11"): 20,
        ("4010", "2026-10"): -70,
    }
    later = list(books.changes("gl_balance", "2026-11"))
    assert {one.payload["month"] for one in later if one.payload} == {"2026-11"}


def test_the_journals_are_read_to_the_last_one(books: Xero) -> None:
    for n in range(51):
        put(books, "journal_entry", f"JE-{n}", journal("1.00"))
        put(books, "journal_entry", f"JE-{n}", journal("2.00"))
    (clearing, *_) = [one.payload for one in books.changes("gl_balance", None) if one.payload]
    assert (clearing["account"]["AccountCode"], clearing["amount"]) == ("1190", 102)


def test_what_is_only_read_is_not_written(xero: Xero) -> None:
    for act in (xero.upsert, lambda *given: xero.find(given[0], given[2])):
        with pytest.raises(Misconfigured):
            act("gl_balance", {}, ExternalKey("AccountCode", "1"))


# Sign-in


def test_a_new_refresh_token_is_kept_before_it_is_used(url: str, xero: Xero, tmp_path: Path) -> None:
    xero.find("account", key(1))
    first = json.loads((tmp_path / "tokens.json").read_text())
    httpx.delete(f"{url}/_sandbox/tokens")
    xero.find("account", key(1))
    second = json.loads((tmp_path / "tokens.json").read_text())
    assert (first["refresh"] != second["refresh"], first["consent"]) == (True, second["consent"])
    other = connect(settings(url, token_file=tmp_path / "tokens.json"), World())
    assert other._session.tokens(None).refresh == second["refresh"]


def test_a_lost_answer_to_a_renewal_locks_nobody_out(url: str, waits: Waits, xero: Xero) -> None:
    plant(url, kind="lose_reply", match="connect/token")
    assert xero.find("account", key(1)) is None
    assert len(waits) == 1


def test_a_renewal_that_fails_is_not_an_unknown_write(url: str, xero: Xero) -> None:
    plant(url, kind="error", match="connect/token", status=503, times=0)
    with pytest.raises(Unavailable):
        xero.upsert("account", payload(1), key(1))


def test_another_organisation_than_the_consents_stops_the_system(url: str, tmp_path: Path) -> None:
    given = settings(url, token_file=tmp_path / "tokens.json", tenant_id="00000000-0000-0000-0000-000000000000")
    with pytest.raises(Misconfigured):
        connect(given, World()).find("account", key(1))
    failed = [one.check for one in connect(given, World()).check() if not one.ok]
    assert "xero: organisation" in failed


def test_no_token_goes_over_plain_http() -> None:
    with pytest.raises(ValueError, match="https"):
        settings("http://elsewhere.example")


# Webhooks


def test_a_webhook_is_unpacked_and_what_is_nobodys_is_left_out(xero: Xero) -> None:
    others = (event(tenantId="00000000-0000-0000-0000-000000000000"), event(eventCategory="SUBSCRIPTION"))
    spelled = event(eventCategory="INVOICE", eventDateUtc="2026-11-02 09:29:58.902000+00:00")
    first, second = xero.events(signed(envelope(event(), *others, spelled)))
    at = datetime(2026, 11, 2, 9, 29, 58, 902000, tzinfo=UTC)
    assert (first.resource, first.kind, first.occurred_at) == ("account", "update", at)
    assert (second.resource, second.occurred_at) == ("invoice", at)


def test_a_repeated_event_has_the_same_id_and_a_later_one_another(xero: Xero) -> None:
    later = event(eventDateUtc="2026-11-02T09:30:58.902")
    ids = [xero.events(signed(envelope(one)))[0].event_id for one in (event(), event(), later)]
    assert ids[0] == ids[1] != ids[2]


def test_the_intent_to_receive_is_answered_yes_without_a_body_and_no_to_a_forger(xero: Xero) -> None:
    probe = {"events": [], "firstEventSequence": 0, "lastEventSequence": 0, "entropy": "S0m3r4Nd0mt3xt"}
    assert xero.events(signed(probe)) == []
    assert xero.acknowledge([]) == (b"", "text/plain")
    with pytest.raises(Rejected) as refused:
        xero.events(signed(probe, secret="another"))
    assert refused.value.code == "forged"


@pytest.mark.parametrize("body", [{}, {"events": [{}]}, {"events": [1]}, [], "text", None])
def test_a_webhook_of_another_form_is_refused(xero: Xero, body: Any) -> None:
    with pytest.raises(Rejected) as refused:
        xero.events(signed(body))
    assert refused.value.code == "malformed"


# The mappings, and the vendor's published file

Call = tuple[str, str, dict[str, str], bytes, int, bytes]
"""Method, path with query, headers, body; status and body of the answer."""


@pytest.fixture
def traffic(running: server.Running) -> list[Call]:
    """Every call from now on."""
    seen: list[Call] = []
    emulator = running.emulators["xero"]
    inner: Callable[..., Any] = emulator._app

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        body, answer, status = message.get("body", b""), bytearray(), [0]

        async def again() -> Any:
            return message

        async def heard(out: Any) -> None:
            status[0] = out.get("status", status[0])
            answer.extend(out.get("body", b""))
            await send(out)

        await inner(scope, again if scope["type"] == "http" else receive, heard)
        if scope["type"] == "http" and scope["path"].startswith(API):
            headers = {name.decode(): value.decode() for name, value in scope["headers"]}
            line = f"{scope['path']}?{scope['query_string'].decode()}"
            seen.append((scope["method"], line, headers, body, status[0], bytes(answer)))

    emulator._app = watched  # type: ignore[assignment]
    return seen


def deliver_examples(connector: Xero, folder: Path) -> Callable[[str], dict[str, str]]:
    """The worked examples of the mapping files go to Xero in the order of business; how to read figures back."""
    root = Path(__file__).parents[2] / "mappings"
    for name in ("xero", "tables"):
        copytree(root / name, folder / name)
    book = load_book(folder)
    known: dict[str, str] = {}

    def deliver(record: str, changes: Json | None = None, example: int = 0) -> None:
        mapping = book.find("xero", record, "out")
        told = {**mapping.examples[example].given, **(changes or {})}
        noun = mapping.noun.model_validate_json(json.dumps(told, default=str))
        sent = mapping.out(noun, lambda system, resource, ident: known.get(f"{system}:{resource}:{ident}"))
        receipt = connector.upsert(mapping.resource, sent, mapping.key(noun))
        assert not connector.upsert(mapping.resource, sent, mapping.key(noun)).created
        known[f"xero:{mapping.resource}:{receipt.key.value}"] = receipt.vendor_id

    chart = {"1050": "asset", "1100": "asset", "1190": "asset", "2200": "liability", "4010": "income"}
    for code, kind in chart.items():
        deliver("ledger_account", {"code": code, "name": f"{kind}: {code}", "kind": kind})
    deliver("product")
    deliver("product", {"code": "TAX", "name": "Sales tax"})
    deliver("account")
    deliver("account", example=1)
    for record in ("invoice", "journal_entry", "credit_note"):
        deliver(record)
    deliver("payment", {"amount": {"amount": "76.02", "currency": "USD"}})

    def figures(resource: str) -> dict[str, str]:
        mapping = book.find("xero", "figure", "in", resource)
        read = [mapping.into(one.payload) for one in connector.changes(resource, None) if one.payload]
        return {figure.key: str(figure.amount) for figure in read}  # type: ignore[attr-defined]

    return figures


def test_what_the_mappings_make_is_taken_once_and_read_back_as_the_same_figures(
    xero: Xero, url: str, tmp_path: Path, traffic: list[Call]
) -> None:
    """A second delivery of each record is recognised as said already: no record has been written twice."""
    figures = deliver_examples(xero, tmp_path)
    assert figures("invoice") == {"INV-2026-10-A-0001": "129.90 USD"}
    assert figures("payment") == {"PAY-INV-2026-10-A-0001": "76.02 USD"}
    assert figures("credit_note") == {"CN-INV-2026-10-A-0001-1": "53.88 USD"}
    assert figures("journal_entry") == {"JE-INV-2026-10-A-0001": "129.90 USD"}
    balances: dict[str, Decimal] = {}
    for change in xero.changes("gl_balance", None):
        assert change.payload is not None
        code = change.payload["account"]["AccountCode"]
        balances[code] = balances.get(code, Decimal(0)) + change.payload["amount"]
    expected = {"1050": "76.02", "1100": "0", "1190": "53.88", "2200": "-9.90", "4010": "-120"}
    assert balances == {code: Decimal(amount) for code, amount in expected.items()}
    assert [one["Status"] for one in kept(url, "invoice")] == ["PAID"]
    writes = [line.partition("?")[0].removeprefix(f"{API}/") for method, line, *_ in traffic if method != "GET"]
    once = {"Invoices", "CreditNotes", "Payments", "ManualJournals"}
    assert sorted(name for name in writes if name in once) == sorted(once)


@pytest.mark.server
@pytest.mark.xdist_group("company")
def test_a_whole_month_ties_out_with_xero_as_the_ledger(tmp_path: Path) -> None:
    """No flow knows which ledger it is; replies that are lost on the way change nothing in the books."""
    systems: dict[str, Any] = {**world.SETTINGS, "xero": settings}
    del systems["netsuite"]
    with world.company(tmp_path, systems) as company:
        company.enter(*world.CUSTOMERS)
        company.bring("bridge.2026-10.csv", world.USAGE)
        for line in ("Invoices", "Payments", "ManualJournals"):
            company.plant("xero", "lose_reply", rf"^PUT \S+/{line}", times=1)
        company.month()
        deliver.deliver_all(company.hub)
        lines, breaks = company.tie_out()
        assert breaks == []
        assert [line.tie for line in lines if line.difference] == []
        with company.hub.database.reading() as work:
            assert (work.desk.open(), set(work.outbox.counts())) == ([], {"done"})
        counts = {kind: len(held) for (system, kind), held in company.objects().items() if system == "xero"}
    expected = {"account": 30, "contact": 3, "invoice": 3, "item": 6, "manual_journal": 9, "payment": 3}
    assert {kind: counts[kind] for kind in expected} == expected


def test_an_answer_that_is_no_object_is_no_answer(xero: Xero) -> None:
    xero._session.tokens(None)
    with respx.mock() as vendor:
        vendor.route().respond(json=["unexpected"])
        with pytest.raises(TieoutError):
            xero.find("account", key(1))
