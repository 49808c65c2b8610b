"""A client that others wrote drives the emulated company, so that emulator and connector cannot share one mistake.

Needs the group judges: ``uv run --group judges pytest tests/judges``.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from sandbox import server
from sandbox.quickbooks import CLIENT_ID, CLIENT_SECRET, REALM, REFRESH_TOKEN
from sandbox.quickbooks_records import ZONE

vendor = pytest.importorskip("quickbooks", reason="skipped: no python-quickbooks at hand")
objects = pytest.importorskip("quickbooks.objects", reason="skipped: no python-quickbooks at hand")


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    with server.start(["quickbooks"]) as running:
        url = running.urls["quickbooks"]
        form = {"grant_type": "refresh_token", "refresh_token": REFRESH_TOKEN}
        tokens = httpx.post(f"{url}/oauth2/v1/tokens/bearer", data=form, auth=(CLIENT_ID, CLIENT_SECRET)).json()
        monkeypatch.setattr(vendor.QuickBooks, "sandbox_api_url_v3", f"{url}/v3")
        signed_in = SimpleNamespace(
            access_token=tokens["access_token"],
            refresh_token=tokens["refresh_token"],
            environment="sandbox",
            client_id=CLIENT_ID,
        )
        yield vendor.QuickBooks(
            auth_client=signed_in, refresh_token=tokens["refresh_token"], company_id=REALM, minorversion=75
        )


def saved(client: Any, kind: str, **fields: Any) -> Any:
    made = getattr(objects, kind)()
    for name, value in fields.items():
        setattr(made, name, value)
    made.save(qb=client)
    return made


@pytest.fixture
def books(client: Any) -> SimpleNamespace:
    sales = saved(client, "Account", Name="Sales", AccountType="Income", AccountSubType=None)
    bank = saved(client, "Account", Name="Bank", AccountType="Bank", AccountSubType=None)
    customer = saved(client, "Customer", DisplayName="Acme")
    item = saved(client, "Item", Name="Minutes", Type="Service", IncomeAccountRef=sales.to_ref())
    line = objects.SalesItemLine()
    line.Amount, line.SalesItemLineDetail = 100.1, objects.SalesItemLineDetail()
    line.SalesItemLineDetail.ItemRef = item.to_ref()
    document = saved(client, "Invoice", CustomerRef=customer.to_ref(), Line=[line])
    return SimpleNamespace(sales=sales, bank=bank, customer=customer, document=document)


def test_a_sale_is_made_paid_and_read_back(client: Any, books: SimpleNamespace) -> None:
    line, link = objects.PaymentLine(), objects.LinkedTxn()
    link.TxnId, link.TxnType = books.document.Id, "Invoice"
    line.Amount, line.LinkedTxn = 100.1, [link]
    saved(client, "Payment", CustomerRef=books.customer.to_ref(), TotalAmt=100.1, Line=[line])
    [held] = objects.Invoice.filter(CustomerRef=books.customer.Id, qb=client)
    assert (held.Id, held.TotalAmt, held.Balance) == (books.document.Id, 100.1, 0)


def test_a_batch_a_journal_a_capture_and_a_report(client: Any, books: SimpleNamespace) -> None:
    from quickbooks.batch import batch_create
    from quickbooks.cdc import change_data_capture

    lines = []
    for side, account in (("Debit", books.bank), ("Credit", books.sales)):
        line = objects.JournalEntryLine()
        line.Amount, line.JournalEntryLineDetail = 5, objects.JournalEntryLineDetail()
        line.JournalEntryLineDetail.PostingType, line.JournalEntryLineDetail.AccountRef = side, account.to_ref()
        lines.append(line)
    saved(client, "JournalEntry", Line=lines)
    others = []
    for name in ("Bolt", "Acme"):
        other = objects.Customer()
        other.DisplayName = name
        others.append(other)
    outcome = batch_create(others, qb=client)
    assert (len(outcome.successes), [fault.Error[0].code for fault in outcome.faults]) == (1, ["6240"])
    since = datetime.now(ZONE) - timedelta(minutes=1)
    captured = change_data_capture([objects.Customer, objects.Invoice], since, qb=client)
    assert (len(captured.Customer._object_list), len(captured.Invoice._object_list)) == (2, 1)
    span = {"start_date": "2026-01-01", "end_date": "2099-12-31", "columns": "tx_date,debt_amt,credit_amt"}
    assert client.get_report("GeneralLedger", span)["Header"]["ReportName"] == "GeneralLedger"


def test_what_is_not_there_is_an_object_not_found(client: Any) -> None:
    with pytest.raises(vendor.exceptions.ObjectNotFoundException):
        objects.Customer.get(999, qb=client)
