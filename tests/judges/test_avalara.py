"""Avalara's own client drives the emulated AvaTax, so that emulator and connector cannot share one mistake.

Needs the group judges: ``uv run --group judges pytest tests/judges``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sandbox import server
from sandbox.avalara import ACCOUNT_ID, COMPANY_CODE, LICENSE_KEY

vendor = pytest.importorskip("avalara", reason="skipped: no avalara at hand")

pytestmark = pytest.mark.server


@pytest.fixture
def url() -> Iterator[str]:
    with server.start(["avalara"]) as running:
        yield running.urls["avalara"]


def client(url: str, licence: str = LICENSE_KEY) -> Any:
    made = vendor.AvataxClient("tieout", "1", "tests", url)
    return made.add_credentials(str(ACCOUNT_ID), licence)


def sale(code: str, **fields: Any) -> dict[str, Any]:
    """A sale as the vendor's README has it."""
    there = {"line1": "2000 Main Street", "city": "Irvine", "region": "CA", "postalCode": "92614", "country": "US"}
    return {
        "companyCode": COMPANY_CODE,
        "type": "SalesInvoice",
        "code": code,
        "date": "2026-10-31",
        "customerCode": "ABC",
        "currencyCode": "USD",
        "commit": False,
        "addresses": {"singleLocation": there},
        "lines": [{"number": "1", "amount": 100, "taxCode": "P0000000", "quantity": 1}],
        **fields,
    }


def test_the_vendors_client_calculates_commits_and_reads_back(url: str) -> None:
    avatax = client(url)
    assert avatax.ping().json()["authenticated"] is True
    made = avatax.create_or_adjust_transaction({"createTransactionModel": sale("INV-1")})
    assert (made.status_code, made.json()["status"]) == (201, "Saved")
    assert made.json()["totalTax"] > 0
    committed = avatax.commit_transaction(COMPANY_CODE, "INV-1", {"commit": True}).json()
    assert committed["status"] == "Committed"
    assert avatax.get_transaction_by_code(COMPANY_CODE, "INV-1").json()["id"] == made.json()["id"]


def test_the_vendors_client_builds_a_transaction_that_is_taken(url: str) -> None:
    builder = pytest.importorskip("avalara.transaction_builder")
    tax = builder.TransactionBuilder(client(url), COMPANY_CODE, "SalesInvoice", "ABC")
    tax.with_address("SingleLocation", {"line1": "2000 Main Street", "city": "Irvine", "region": "CA",
                                        "postalCode": "92614", "country": "US"})  # fmt: skip
    tax.with_line(100, 1, "P0000000")
    made = tax.create()
    assert made.json()["totalAmount"] == 100


def test_the_vendors_client_pages_by_skip_and_top(url: str) -> None:
    avatax = client(url)
    for number in range(3):
        avatax.create_or_adjust_transaction({"createTransactionModel": sale(f"INV-{number}")})
    pages = [avatax.list_transactions_by_company(COMPANY_CODE, {"$top": 2, "$skip": skip}).json() for skip in (0, 2)]
    assert [len(page["value"]) for page in pages] == [2, 1]
    assert len({one["code"] for page in pages for one in page["value"]}) == 3


def test_the_vendors_client_meets_the_errors_it_knows(url: str) -> None:
    wrong = client(url).create_or_adjust_transaction({"createTransactionModel": sale("INV-1", customerCode="A" * 51)})
    assert (wrong.status_code, "code" in wrong.json()["error"]) == (400, True)
    assert client(url).get_transaction_by_code(COMPANY_CODE, "INV-9").status_code == 404
    stranger = client(url, "wrong")
    assert stranger.list_transactions_by_company(COMPANY_CODE).status_code == 401
