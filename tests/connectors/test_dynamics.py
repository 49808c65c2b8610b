"""What is peculiar to the Dynamics connector, against the emulated environment on a real socket."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from connectors.dynamics import CUSTOM_COLUMNS, DynamicsConnector, Settings, connect, document_id
from core.errors import Misconfigured, OutcomeUnknown, RateLimited, Rejected, Unavailable
from core.invoicing import Invoice
from core.mapping import load_book
from core.orders import Order, OrderProgress
from core.ports import Change, ExternalKey, Reading, Receipt, WebhookRequest, World
from core.ties import Figure
from sandbox.dynamics import ORGANIZATION_ID, execution_context, webhook_body
from sandbox.dynamics_schema import TABLES
from sandbox.server import start
from tests.connectors.contract_dynamics import (
    ORDER_ID,
    RECEIVED_AT,
    WEBHOOK_KEY,
    context,
    key,
    message,
    payload,
    settings,
)
from tests.sandbox.dynamics_seller import Seller

ROOT = Path(__file__).parents[2]
SPECS = Path(os.environ.get("TIEOUT_VENDOR_SPECS", ROOT / "../shared/vendor-specs")) / "dataverse"
BATCH = r"POST /api/data/v9\.2/\$batch"
NUMBER = ExternalKey("invoicenumber", "INV-2026-10-A-0001")


class Recorded(httpx.HTTPTransport):
    """A wire that keeps what crosses it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[httpx.Request, httpx.Response]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        response.read()
        self.calls.append((request, response))
        return response


class Org(Seller):
    """An environment, its salesperson, and a connector to it whose wire is recorded."""

    def __init__(self, running: Any) -> None:
        super().__init__(running.urls["dynamics"])
        self.shelf = running.emulators["dynamics"].shelf
        self.waits: list[float] = []
        self.wire = Recorded()
        self.now = datetime.now(UTC)
        self.connector = self.connect()

    def connect(self, **other: Any) -> DynamicsConnector:
        world = World(sleep=self.waits.append, transport=self.wire, clock=lambda: self.now)
        return connect(settings(self.url, **other), world)

    def lines(self) -> list[str]:
        """What the connector called since the last time it was asked, sign-ins left out."""
        seen = [f"{request.method} {request.url.path}" for request, _ in self.wire.calls if API in request.url.path]
        self.wire.calls.clear()
        return seen

    def sign_ins(self) -> int:
        return sum("oauth2" in request.url.path for request, _ in self.wire.calls)


API = "/api/data/v9.2"


@pytest.fixture
def org() -> Iterator[Org]:
    with start(["dynamics"]) as running:
        built = Org(running)
        yield built
        built.connector.close()
        built.http.close()


def invoice_payload(*prices: str) -> dict[str, Any]:
    lines = [
        {
            "lineitemnumber": number,
            "isproductoverridden": True,
            "productdescription": f"Line {number}",
            "quantity": 1,
            "priceperunit": Decimal(price),
            "tax": Decimal("0.10"),
        }
        for number, price in enumerate(prices, 1)
    ]
    head = {
        "name": "October",
        "duedate": "2026-11-30",
        "customerid_account@odata.bind": "/accounts(accountnumber='A-0001')",
    }
    return {**head, "invoice_details": lines}


# -- orders ------------------------------------------------------------------------------------------------------------


def test_an_order_is_read_whole_in_two_calls(org: Org) -> None:
    """get("order") answers the sales order with its account, contacts, sites and lines, amounts exact."""
    account = org.account()
    other = org.account("A-0002")
    org.make("contacts", firstname="Dana", lastname="Fox", parentcustomerid_account__to=account)
    org.make("contacts", lastname="Gone", parentcustomerid_account__to=account, statecode=1, statuscode=2)
    org.make("contacts", lastname="Other", parentcustomerid_account__to=other)
    site, _ = org.site("A-0001-S1", account), org.site("A-0002-S1", other)
    at_site = {"tieout_SiteId@odata.bind": site}
    ident = org.sell(org.line("VC-MIN", 3, 19.99, **at_site), org.line("VC-LIVE", 1), tieout_termmonths=12)
    org.connector.get("order", ident)
    org.lines()
    order = org.connector.get("order", ident)
    assert org.lines() == [f"GET {API}/salesorders", f"POST {API}/$batch"]
    assert order["salesorder"]["totalamount"] == Decimal("89.97")
    assert order["salesorder"]["tieout_termmonths"] == 12
    assert order["salesorder"]["transactioncurrencyid"]["isocurrencycode"] == "USD"
    assert (order["account"]["accountnumber"], order["account"]["parentaccountid"]) == ("A-0001", None)
    assert [contact["fullname"] for contact in order["contacts"]] == ["Dana Fox"]
    assert [one["tieout_code"] for one in order["tieout_sites"]] == ["A-0001-S1"]
    first, second = order["order_details"]
    assert (first["productid"]["productnumber"], first["extendedamount"]) == ("VC-MIN", Decimal("59.97"))
    assert (first["tieout_SiteId"]["tieout_code"], second["tieout_SiteId"]) == ("A-0001-S1", None)
    assert not any("@" in name for part in (order["salesorder"], order["account"], first) for name in part)


def test_an_order_with_more_lines_than_a_page_is_read_to_its_last_line(org: Org) -> None:
    """Pages of a query inside a batch are followed."""
    ident = org.sell(*[org.line("VC-LIVE", 1)] * 5)
    connector = org.connect(page=2)
    order = connector.get("order", ident)
    assert [line["lineitemnumber"] for line in order["order_details"]] == [1, 2, 3, 4, 5]
    connector.close()


def test_an_order_is_a_sales_order_of_a_quote_that_is_not_canceled(org: Org) -> None:
    """One typed in by hand and a canceled one are not listed, by either way, nor read."""
    kept, dropped = org.sell(org.line("VC-LIVE", 1)), org.sell(org.line("VC-LIVE", 2))
    close = {"OrderClose": {"salesorderid@odata.bind": f"/salesorders({dropped})"}, "Status": 4}
    org.call("POST", "CancelSalesOrder", close, 204)
    typed = org.make("salesorders", name="by hand", customerid_account__to=org.account())["salesorderid"]
    for since in (None, "2020-01-01T00:00:00+00:00"):
        assert [change.vendor_id for change in org.connector.changes("order", since)] == [kept]
    for ident in (dropped, typed, kept[:-1] + "0", "not an id"):
        with pytest.raises(Rejected, match="has no order"):
            org.connector.get("order", ident)


def test_changed_orders_since_a_moment_begin_with_the_one_stamped_at_it(org: Org) -> None:
    ident = org.sell(org.line("VC-LIVE", 1))
    (change,) = org.connector.changes("order", None)
    assert change.payload == org.connector.get("order", ident)
    assert [c.vendor_id for c in org.connector.changes("order", change.changed_at.isoformat())] == [ident]
    assert list(org.connector.changes("order", "2100-01-01T00:00:00+00:00")) == []


def test_what_sales_sells_becomes_an_order_and_its_progress_a_figure(org: Org) -> None:
    """The mapping files, the connector and the environment understand each other, to the cent."""
    book = load_book(ROOT / "mappings")
    site = org.site("A-0001-S1", org.account())
    at_site = {"tieout_SiteId@odata.bind": site, "tieout_servicestart": "2026-10-15"}
    ident = org.sell(org.line("VC-MIN", 1.5, 19.99, **at_site), tieout_purchaseorder="PO-1")
    order = book.find("dynamics", "order", "in", "order").into(org.connector.get("order", ident))
    assert isinstance(order, Order)
    assert (order.id, order.purchase_order, str(order.total)) == (ident, "PO-1", "29.99 USD")
    assert (order.account.billing_address.country, order.lines[0].site_id) == ("US", "A-0001-S1")
    told = OrderProgress(
        id=ident,
        status="invoiced",
        currency="USD",
        subscription_id=f"SUB-{ident}",
        invoice_numbers=("INV-1",),
        invoiced=order.total,
        credited=order.total,
        paid=order.total,
    )
    out = book.find("dynamics", "order_progress", "out", "order_progress")
    org.connector.upsert("order_progress", out.out(told, lambda *_: None), out.key(told))
    for resource, record in (("order_progress", "order_progress"), ("order", "order")):
        (change,) = org.connector.changes(resource, None)
        assert change.payload is not None
        figure = book.find("dynamics", "figure", "in", resource).into(change.payload)
        assert isinstance(figure, Figure)
        assert (figure.record, figure.key, figure.amount) == (record, ident, order.total)


# -- delta links -------------------------------------------------------------------------------------------------------


def read(connector: DynamicsConnector, resource: str, since: str | None) -> tuple[list[Change], str | None]:
    """The changes of a reading, and where the next one goes on."""
    reading = connector.changes(resource, since)
    assert isinstance(reading, Reading)
    return list(reading), reading.cursor


def test_a_delta_link_tells_what_changed_after_it_and_what_was_deleted(org: Org) -> None:
    """The next reading begins at the cursor of the last one."""
    kept, gone = (org.connector.upsert("account", payload(n), key(n)).vendor_id for n in (1, 2))
    _, cursor = read(org.connector, "account", None)
    org.call("PATCH", f"accounts({kept})", {"name": "Renamed"})
    org.call("DELETE", f"accounts({gone})", status=204)
    (changed, deleted), later = read(org.connector, "account", cursor)
    assert (changed.vendor_id, changed.payload and changed.payload["name"]) == (kept, "Renamed")
    assert (deleted.vendor_id, deleted.payload, deleted.changed_at) == (gone, None, org.now)
    assert read(org.connector, "account", later)[0] == []


def test_a_delta_link_leads_through_pages_without_loss(org: Org) -> None:
    connector = org.connect(page=2)
    for n in range(5):
        connector.upsert("account", payload(n), key(n))
    first, cursor = read(connector, "account", None)
    assert len(first) == 5
    for n in range(2, 9):
        connector.upsert("account", {"name": "again"}, key(n))
    again, _ = read(connector, "account", cursor)
    assert len({change.vendor_id for change in again}) == len(again) == 7
    connector.close()


def test_an_expired_delta_link_reads_everything_anew(org: Org) -> None:
    for n in (1, 2):
        org.connector.upsert("account", payload(n), key(n))
    _, cursor = read(org.connector, "account", None)
    assert read(org.connector, "account", cursor)[0] == []
    org.shelf.now = lambda: datetime.now(UTC) + timedelta(days=8)
    org.sign_in()
    again, anew = read(org.connector, "account", cursor)
    assert len(again) == 2
    assert anew != cursor


def test_a_reading_moves_on_when_no_order_is_among_the_news(org: Org) -> None:
    """An order that comes from no quote changes; the next delta link does not tell of it again, and none grows old."""
    _, cursor = read(org.connector, "order", None)
    org.make("salesorders", name="entered by hand", customerid_account__to=org.account("A-0009"))
    news, later = read(org.connector, "order", cursor)
    assert news == []
    assert later != cursor


def test_a_table_whose_changes_are_not_tracked_is_a_misconfiguration_that_the_doctor_names(org: Org) -> None:
    org.http.post("/_sandbox/untracked/account")
    with pytest.raises(Misconfigured, match="tieout doctor"):
        list(org.connector.changes("account", None))
    failed = {finding.check: finding.detail for finding in org.connector.check() if not finding.ok}
    assert failed == {"table account": "changes are not tracked"}


# -- writes ------------------------------------------------------------------------------------------------------------


def test_progress_is_written_onto_the_sales_order_and_only_then_found(org: Org) -> None:
    """order_progress updates by the order's own id, and is not there before we wrote it."""
    ident = org.sell(org.line("VC-LIVE", 2))
    own = ExternalKey("salesorderid", ident)
    assert org.connector.find("order_progress", own) is None
    progress = {"tieout_status": "invoiced", "tieout_invoiced": Decimal("64.95"), "tieout_paid": Decimal(0)}
    first = org.connector.upsert("order_progress", progress, own)
    again = org.connector.upsert("order_progress", progress, own)
    found = org.connector.find("order_progress", own)
    assert found is not None
    assert first.vendor_id == again.vendor_id == found.vendor_id == ident
    assert not first.created
    assert found.answer["tieout_invoiced"] == again.answer["tieout_invoiced"] == Decimal("64.95")
    assert again.answer.keys() == found.answer.keys()
    assert org.count("salesorder") == 1


def test_progress_of_an_unknown_order_is_rejected_and_creates_nothing(org: Org) -> None:
    """If-Match keeps an update from becoming a create."""
    with pytest.raises(Rejected) as caught:
        org.connector.upsert("order_progress", {"tieout_status": "paid"}, ExternalKey("salesorderid", ORDER_ID))
    assert (caught.value.code, org.count("salesorder")) == ("0x80040217", 0)


def test_an_invoice_and_its_lines_are_created_whole_under_an_id_of_our_number(org: Org) -> None:
    org.account()
    made = org.connector.upsert("invoice", invoice_payload("120.05", "36.00"), NUMBER)
    assert (made.created, made.vendor_id) == (True, document_id(NUMBER.value))
    assert made.answer["invoicenumber"] == NUMBER.value
    shown = org.connector.get("invoice", made.vendor_id)
    assert shown["totalamount"] == Decimal("156.25")
    assert [line["extendedamount"] for line in shown["invoice_details"]] == [Decimal("120.15"), Decimal("36.10")]
    found = org.connector.find("invoice", NUMBER)
    assert found is not None
    assert found.answer.keys() == made.answer.keys()


def test_an_invoice_written_twice_is_one_and_keeps_its_lines(org: Org) -> None:
    org.account()
    org.connector.upsert("invoice", invoice_payload("1.00", "2.00"), NUMBER)
    org.lines()
    again = org.connector.upsert("invoice", invoice_payload("1.00", "2.00"), NUMBER)
    assert org.lines() == [f"POST {API}/$batch", f"GET {API}/invoices({again.vendor_id})"]
    assert (again.created, org.count("invoice"), org.count("invoicedetail")) == (False, 1, 2)
    assert again.answer["totalamount"] == Decimal("3.20")


def test_an_invoice_whose_reply_was_lost_is_found_and_not_doubled(org: Org) -> None:
    org.account()
    org.plant(kind="lose_reply", match=BATCH)
    with pytest.raises(OutcomeUnknown):
        org.connector.upsert("invoice", invoice_payload("1.00"), NUMBER)
    assert org.connector.find("invoice", NUMBER) is not None
    assert not org.connector.upsert("invoice", invoice_payload("1.00"), NUMBER).created
    assert (org.count("invoice"), org.count("invoicedetail")) == (1, 1)


def test_a_bad_line_refuses_its_whole_invoice_and_no_other(org: Org) -> None:
    """A change set is all or nothing; the next one goes on."""
    org.account()
    bad = invoice_payload("1.00", "2.00")
    bad["invoice_details"][1]["productdescription"] = "x" * 501
    other = ExternalKey("invoicenumber", "INV-2026-10-A-0002")
    refused, made = org.connector.upsert_many("invoice", [(bad, NUMBER), (invoice_payload("3.00"), other)])
    assert isinstance(refused, Rejected)
    assert (refused.field, refused.code) == ("productdescription", "0x80044331")
    assert isinstance(made, Receipt)
    assert (org.count("invoice"), org.count("invoicedetail")) == (1, 1)


def test_a_changed_header_is_written_with_the_etag_that_was_read(org: Org, monkeypatch: pytest.MonkeyPatch) -> None:
    """An invoice that somebody else changes between our read and our write is read again, and their change stands."""
    org.account()
    made = org.connector.upsert("invoice", invoice_payload("1.00"), NUMBER)
    read, reads = org.connector._read, []

    def read_then_changed(address: str) -> Any:
        found = read(address)
        reads.append(address)
        if len(reads) == 1:
            org.call("PATCH", f"invoices({made.vendor_id})", {"description": "a note of sales"})
        return found

    monkeypatch.setattr(org.connector, "_read", read_then_changed)
    again = org.connector.upsert("invoice", invoice_payload("1.00") | {"duedate": "2026-12-31"}, NUMBER)
    assert len(reads) == 2
    assert (again.answer["duedate"], again.answer["description"]) == ("2026-12-31", "a note of sales")


def test_an_invoice_of_the_hub_reads_back_as_the_same_figure(org: Org) -> None:
    """What Dynamics computes from the lines is our total, whatever the quantities."""
    book = load_book(ROOT / "mappings")
    org.account()
    mapping = book.find("dynamics", "invoice", "out", "invoice")
    invoice = _invoice(("6001.5", "120.05", "9.90"), ("2", "36.00", "0.00"), ("1", "-0.01", "0.00"))
    org.connector.upsert("invoice", mapping.out(invoice, lambda *_: None), mapping.key(invoice))
    (change,) = org.connector.changes("invoice", None)
    assert change.payload is not None
    figure = book.find("dynamics", "figure", "in", "invoice").into(change.payload)
    assert isinstance(figure, Figure)
    assert (figure.key, figure.amount) == (invoice.id, invoice.total)


def _invoice(*lines: tuple[str, str, str]) -> Invoice:
    address = {"line1": "500 Congress Ave", "city": "Austin", "region": "TX", "country": "US"}
    usd = {"currency": "USD"}
    month = {"start": "2026-10-01", "end": "2026-11-01"}
    amounts, taxes = (sum((Decimal(line[n]) for line in lines), Decimal(0)) for n in (1, 2))
    body = {
        "id": NUMBER.value,
        "account_id": "A-0001",
        "currency": "USD",
        "billing_period": month,
        "invoice_date": "2026-10-31",
        "due_date": "2026-11-30",
        "status": "final",
        "billing_address": address,
        "subtotal": {"amount": str(amounts), **usd},
        "tax": {"amount": str(taxes), **usd},
        "total": {"amount": str(amounts + taxes), **usd},
        "lines": [
            {
                "id": f"{NUMBER.value}-{n}",
                "position": n,
                "rated_line_id": f"R-{n}",
                "subscription_charge_id": f"SC-{n}",
                "charge_code": "VC-MIN",
                "product_code": "VC-MIN",
                "description": "Minutes",
                "service_period": month,
                "quantity": quantity,
                "amount": {"amount": amount, **usd},
                "tax": {"amount": tax, **usd},
                "tax_code": "D9999999",
                "revenue_account": "4010",
                "service_address": address,
            }
            for n, (quantity, amount, tax) in enumerate(lines, 1)
        ],
    }
    return Invoice.model_validate_json(json.dumps(body))


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"colour": "red"}, "colour", "0x80048d19"),
        ({"name": "x" * 161}, "name", "0x80044331"),
        ({"name": 7}, "name", "0x80048d19"),
        ({"tieout_paymenttermsdays": 366}, "tieout_paymenttermsdays", "0x8004432f"),
        ({"creditlimit": Decimal("-0.01")}, "creditlimit", "0x80044330"),
        ({"paymenttermscode": 99}, "paymenttermscode", "0x8004431a"),
        ({"favouriteid@odata.bind": "/accounts(accountnumber='A-9')"}, "favouriteid", "0x80048d19"),
        ({"parentaccountid@odata.bind": "/accounts(accountnumber='A-9')"}, None, "0x80060891"),
    ],
)
def test_a_refusal_names_column_value_and_code(org: Org, change: dict[str, Any], field: str | None, code: str) -> None:
    with pytest.raises(Rejected) as caught:
        org.connector.upsert("account", {**payload(1), **change}, key(1))
    error = caught.value
    assert (error.system, error.record, error.field, error.code) == ("dynamics", "account", field, code)
    assert error.value == (str(next(iter(change.values()))) if field else None)
    assert org.count("account") == 0


def test_a_link_to_a_table_that_is_not_there_is_a_misconfiguration(org: Org) -> None:
    """Every record of the mapping would fail."""
    with pytest.raises(Misconfigured, match="0x8006088a"):
        org.connector.upsert("account", {"parentaccountid@odata.bind": "/companies(1)"}, key(1))


@pytest.mark.parametrize("number", ["O'Neil", "A 1", "Ä-1", "a(1),b='c'", "50€"])
def test_a_key_of_any_letters_finds_only_its_own_record(org: Org, number: str) -> None:
    """Values are quoted into the address, never pasted."""
    own = ExternalKey("accountnumber", number)
    org.connector.upsert("account", payload(1), key(1))
    made = org.connector.upsert("account", payload(2), own)
    found = org.connector.find("account", own)
    assert found is not None
    assert (found.vendor_id, found.answer["accountnumber"]) == (made.vendor_id, number)


@pytest.mark.parametrize("number", ["A/1", "A&1", "1%", "a\\b", "A+B", "A#1"])
def test_a_key_that_the_service_cannot_address_is_rejected_by_name(org: Org, number: str) -> None:
    good, refused = org.connector.upsert_many(
        "account", [(payload(1), key(1)), (payload(2), ExternalKey("accountnumber", number))]
    )
    assert isinstance(good, Receipt)
    assert isinstance(refused, Rejected)
    assert (refused.field, refused.value) == ("accountnumber", number)


def test_read_only_resources_and_foreign_keys_are_refused_before_anything_is_sent(org: Org) -> None:
    with pytest.raises(Misconfigured, match="only read"):
        org.connector.upsert("contact", {"lastname": "Fox"}, ExternalKey("contactid", ORDER_ID))
    with pytest.raises(Misconfigured, match="key of account"):
        org.connector.upsert("account", payload(1), ExternalKey("name", "Acme"))
    assert org.lines() == []


# -- limits and sign-in ------------------------------------------------------------------------------------------------


def test_each_of_the_three_limits_is_waited_out_and_a_long_one_is_given_back(org: Org) -> None:
    org.plant(kind="rate_limit", match=BATCH, seconds=7, times=3)
    org.connector.upsert("account", payload(1), key(1))
    codes = {re.search(r"0x\w+", answer.text)[0] for _, answer in org.wire.calls if answer.status_code == 429}  # type: ignore[index]
    assert codes == {"0x80072322", "0x80072321", "0x80072326"}
    assert org.waits == [7.0] * 3
    org.plant(kind="rate_limit", match=BATCH, seconds=300)
    with pytest.raises(RateLimited, match="0x80072322") as limited:
        org.connector.upsert("account", payload(2), key(2))
    assert (limited.value.wait_seconds, len(org.waits)) == (300.0, 3)


def test_a_refused_token_is_renewed_once_and_the_write_goes_through(org: Org) -> None:
    org.connector.upsert("account", payload(1), key(1))
    for token in list(org.shelf._kinds["_token"]):
        org.shelf.drop("_token", token)
    org.wire.calls.clear()
    assert not org.connector.upsert("account", payload(1), key(1)).created
    assert org.sign_ins() == 1
    org.plant(kind="error", status=401, match=r"/api/data", times=0)
    with pytest.raises(Misconfigured):
        org.connector.find("account", key(1))


def test_a_token_is_renewed_before_it_ends(org: Org) -> None:
    org.connector.find("account", key(1))
    org.now += timedelta(minutes=57)
    org.connector.find("account", key(1))
    assert org.sign_ins() == 1
    org.now += timedelta(minutes=2)
    org.connector.find("account", key(1))
    assert org.sign_ins() == 2


def test_threads_that_meet_a_refused_token_share_one_sign_in(org: Org) -> None:
    org.connector.find("account", key(1))
    for token in list(org.shelf._kinds["_token"]):
        org.shelf.drop("_token", token)
    org.wire.calls.clear()
    threads = [threading.Thread(target=org.connector.find, args=("account", key(1))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert org.sign_ins() == 1


def test_a_sign_in_that_fails_never_makes_a_write_unknown(org: Org) -> None:
    """Nothing was sent when the token could not be had: Unavailable, not OutcomeUnknown."""
    org.plant(kind="reset", match="oauth2", times=0)
    with pytest.raises(Unavailable):
        org.connector.upsert("account", payload(1), key(1))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"client_secret": "hunter2"}, "AADSTS7000215"),
        ({"client_id": "nobody"}, "AADSTS700016"),
        ({"tenant_id": "elsewhere"}, "AADSTS90002"),
        ({"tenant_id": "elsewhere/.."}, "sign-in was refused"),
    ],
)
def test_a_refused_sign_in_tells_the_number_and_no_secret(org: Org, wrong: dict[str, str], said: str) -> None:
    connector = org.connect(**wrong)
    with pytest.raises(Misconfigured, match=said) as caught:
        connector.find("account", key(1))
    assert "hunter2" not in str(caught.value)
    connector.close()


def test_plain_http_is_for_loopback_only() -> None:
    for field in ("base_url", "login_url"):
        with pytest.raises(ValidationError, match="https"):
            settings("http://127.0.0.1:1", **{field: "http://org.crm.dynamics.com"})
    kept = settings("https://org.crm.dynamics.com/api")
    assert kept.base_url == "https://org.crm.dynamics.com"
    assert Settings.model_fields["login_url"].default == "https://login.microsoftonline.com"


# -- webhooks ----------------------------------------------------------------------------------------------------------


def test_a_created_sales_order_is_an_event_of_order(org: Org) -> None:
    (event,) = org.connector.events(message())
    assert (event.resource, event.vendor_id, event.kind) == ("order", ORDER_ID, "salesorder Create")
    assert event.event_id == context()["OperationId"]
    assert event.occurred_at == datetime(2026, 11, 2, 9, 29, 58, tzinfo=UTC)


def test_the_key_may_come_in_a_header(org: Org) -> None:
    connector = org.connect(webhook_key_name="X-Tieout-Key")
    sent = WebhookRequest(json.dumps(context()).encode(), {"x-tieout-key": WEBHOOK_KEY}, {}, RECEIVED_AT)
    assert len(connector.events(sent)) == 1
    with pytest.raises(Rejected, match="wrong key"):
        connector.events(message())
    connector.close()


def test_an_order_typed_in_by_hand_makes_no_event_unless_its_parameters_were_lost(org: Org) -> None:
    typed = [{"key": "Target", "value": {"Attributes": [{"key": "name", "value": "x"}]}}]
    assert org.connector.events(message(InputParameters=typed)) == []
    assert len(org.connector.events(message(InputParameters=None))) == 1


def test_a_step_that_runs_at_once_is_known_by_what_it_is_about(org: Org) -> None:
    """Its OperationId is empty; message, table and row under one correlation tell its events apart."""
    at_once = "00000000-0000-0000-0000-000000000000"
    (one,) = org.connector.events(message(OperationId=at_once))
    (two,) = org.connector.events(message(OperationId=at_once, MessageName="Update"))
    assert one.event_id != two.event_id
    assert one.event_id.endswith(ORDER_ID)


@pytest.mark.parametrize(
    "request_",
    [
        message(key="guess"),
        message(key=""),
        message(key="clé"),
        WebhookRequest(message().body, {}, {}, RECEIVED_AT),
        message(OrganizationId=ORDER_ID),
        message(PrimaryEntityName="quoteclose"),
        message(PrimaryEntityId="1"),
        message(OperationCreatedOn="yesterday"),
        message(OperationCreatedOn="/Date(9999999999999999999)/"),
        message(InputParameters=[{"key": "Other", "value": 1}]),
        message(body=b""),
        message(body=b"[]"),
        message(body=b"{"),
        message(body=b"\xff"),
    ],
)
def test_a_forged_or_malformed_webhook_is_rejected(org: Org, request_: WebhookRequest) -> None:
    with pytest.raises(Rejected):
        org.connector.events(request_)


def test_webhooks_without_a_key_are_a_misconfiguration(org: Org) -> None:
    connector = org.connect(webhook_key=None)
    with pytest.raises(Misconfigured, match="webhook_key"):
        connector.events(message())
    connector.close()


def test_what_the_environment_posts_is_what_the_connector_reads(org: Org) -> None:
    ident = org.sell(org.line("VC-LIVE", 1))
    row = org.shelf.get("salesorder", ident)
    posted = webhook_body(execution_context("Create", TABLES["salesorder"], row, org.now))
    (event,) = org.connector.events(message(body=posted))
    assert event.vendor_id == ident
    assert event.occurred_at == org.now.replace(microsecond=org.now.microsecond // 1000 * 1000)


# -- the doctor --------------------------------------------------------------------------------------------------------


def test_the_doctor_names_missing_columns_and_the_wrong_organization(org: Org, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CUSTOM_COLUMNS, "salesorder", ("tieout_status", "tieout_notmade"))
    connector = org.connect(organization_id=ORDER_ID)
    failed = {finding.check: finding.detail for finding in connector.check() if not finding.ok}
    assert failed == {"organization": ORGANIZATION_ID, "table salesorder": "missing columns: tieout_notmade"}
    connector.close()


def test_the_doctor_says_so_when_the_environment_cannot_be_reached() -> None:
    connector = connect(settings("http://127.0.0.1:9"), World(sleep=lambda _seconds: None))
    (finding,) = connector.check()
    assert not finding.ok
    connector.close()
    connector.close()
