"""AvaTax's part of the contract suite: uncommitted sales invoices by their code."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from connectors.avalara import Settings
from core.ports import ExternalKey, Payload
from sandbox.avalara import ACCOUNT_ID, COMPANY_CODE, LICENSE_KEY
from tests.connectors.contract import ContractCase


def settings(url: str) -> Settings:
    """Two documents a page, so that three make two pages."""
    return Settings.model_validate(
        {
            "base_url": url,
            "account_id": ACCOUNT_ID,
            "license_key": LICENSE_KEY,
            "company_code": COMPANY_CODE,
            "page_size": 2,
        }
    )


def payload(n: int) -> Payload:
    """As ``mappings/avalara/invoice.yaml`` makes it."""
    address = {
        "line1": "2000 Main Street",
        "city": "Irvine",
        "region": "CA",
        "postalCode": "92614",
        "country": "US",
    }
    return {
        "type": "SalesInvoice",
        "code": key(n).value,
        "date": "2026-10-31",
        "customerCode": "A-0001",
        "currencyCode": "USD",
        "commit": False,
        "lines": [
            {
                "number": f"{key(n).value}-{position}",
                "itemCode": "VC-MINUTES",
                "taxCode": "P0000000",
                "description": "Video minutes",
                "quantity": Decimal("12.5"),
                "amount": Decimal("90.00") + n,
                "addresses": {"singleLocation": address},
            }
            for position in (1, 2)
        ],
    }


def key(n: int) -> ExternalKey:
    return ExternalKey("code", f"INV-2026-10-{n:04d}")


def bad_payload() -> tuple[Payload, str]:
    return {**payload(0), "customerCode": "A" * 51}, "customerCode"


def count(objects: Mapping[str, int]) -> int:
    return objects.get("transaction", 0) + objects.get("superseded_transaction", 0)


CASE = ContractCase(
    system="avalara",
    settings=settings,
    resource="tax_document",
    payload=payload,
    key=key,
    bad_payload=bad_payload,
    write_line=r"POST /api/v2/transactions/createoradjust",
    count=count,
    page=3,
)
