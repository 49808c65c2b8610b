"""The vendor's own client drives the emulated organisation, so that emulator and connector cannot share one mistake.

Needs the group judges: ``uv run --group judges pytest tests/judges``.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from sandbox import server
from sandbox.xero import CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN, TENANT

vendor = pytest.importorskip("xero_python.accounting", reason="skipped: no xero-python at hand")
clients = pytest.importorskip("xero_python.api_client", reason="skipped: no xero-python at hand")
configurations = pytest.importorskip("xero_python.api_client.configuration")
oauth2 = pytest.importorskip("xero_python.api_client.oauth2")
exceptions = pytest.importorskip("xero_python.exceptions")


@pytest.fixture
def api() -> Iterator[Any]:
    with server.start(["xero"]) as running:
        url = running.urls["xero"]
        form = {"grant_type": "refresh_token", "refresh_token": REFRESH_TOKEN}
        granted = httpx.post(f"{url}/connect/token", data=form, auth=(CLIENT_ID, CLIENT_SECRET)).json()
        token = {**granted, "expires_at": (datetime.now(UTC) + timedelta(minutes=30)).timestamp()}
        configuration = configurations.Configuration(
            oauth2_token=oauth2.OAuth2Token(client_id=CLIENT_ID, client_secret=CLIENT_SECRET)
        )
        configuration.host = url
        client = clients.ApiClient(
            configuration, oauth2_token_getter=lambda: token, oauth2_token_saver=lambda _token: None
        )
        client.set_oauth2_token(token)
        made = vendor.AccountingApi(client)
        made.base_url = f"{url}/api.xro/2.0"
        yield made


def sale(contact: str, **fields: Any) -> Any:
    line = vendor.LineItem(description="Minutes", quantity=3, unit_amount=Decimal("33.3333"), account_code="200")
    told = {
        "type": "ACCREC",
        "contact": vendor.Contact(contact_id=contact),
        "date": date(2026, 10, 31),
        "due_date": date(2026, 11, 30),
        "line_amount_types": vendor.LineAmountTypes.NOTAX,
        "status": "AUTHORISED",
        "line_items": [line],
    }
    return vendor.Invoice(**{**told, **fields})


def test_the_vendors_client_books_a_sale_and_reads_it_back(api: Any) -> None:
    account = vendor.Account(code="200", name="Sales", type=vendor.AccountType.REVENUE)
    till = vendor.Account(code="210", name="Till", type=vendor.AccountType.CURRENT, enable_payments_to_account=True)
    for one in (account, till):
        api.create_account(TENANT, one)
    contacts = vendor.Contacts(contacts=[vendor.Contact(name="Acme", contact_number="A-1")])
    contact = api.create_contacts(TENANT, contacts).contacts[0].contact_id
    invoices = vendor.Invoices(invoices=[sale(contact, invoice_number="INV-1")])
    made = api.create_invoices(TENANT, invoices, unitdp=4, idempotency_key="k-1").invoices[0]
    again = api.create_invoices(TENANT, invoices, unitdp=4, idempotency_key="k-1").invoices[0]
    assert (made.invoice_id, made.total, made.date) == (again.invoice_id, Decimal("100.00"), date(2026, 10, 31))
    payment = vendor.Payment(
        invoice=vendor.Invoice(invoice_id=made.invoice_id),
        account=vendor.Account(code="210"),
        date=date(2026, 11, 1),
        amount=Decimal("100.00"),
        reference="PAY-1",
    )
    api.create_payments(TENANT, vendor.Payments(payments=[payment]))
    held = api.get_invoices(TENANT, page=1, where='Type=="ACCREC"', order="InvoiceNumber ASC").invoices
    assert [(one.status, one.amount_due, one.updated_date_utc.utcoffset()) for one in held] == [
        ("PAID", 0, timedelta(0))
    ]
    since = datetime.now(UTC) + timedelta(hours=1)
    assert api.get_payments(TENANT, if_modified_since=since).payments == []
    lines = [line for one in api.get_journals(TENANT).journals for line in one.journal_lines]
    assert sum(line.net_amount for line in lines) == 0


def test_the_vendors_client_sees_each_record_refused_by_itself(api: Any) -> None:
    api.create_account(TENANT, vendor.Account(code="200", name="Sales", type=vendor.AccountType.REVENUE))
    lines = [vendor.ManualJournalLine(line_amount=Decimal(amount), account_code="200") for amount in (5, -4)]
    journal = vendor.ManualJournal(narration="JE-1", date=date(2026, 10, 31), status="POSTED", journal_lines=lines)
    wrong = vendor.ManualJournals(manual_journals=[journal])
    (refused,) = api.create_manual_journals(TENANT, wrong, summarize_errors=False).manual_journals
    assert [one.message for one in refused.validation_errors] == [
        "The total debits (5.00) must equal total credits (4.00)"
    ]
    with pytest.raises(exceptions.AccountingBadRequestException):
        api.create_manual_journals(TENANT, wrong)
