"""AFC's part of the contract suite: uncommitted calculations, which the vendor has no call to read back."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from connectors.avalara_communications import Settings
from core.ports import ExternalKey, Payload
from sandbox.avalara_communications import CLIENT_ID, PASSWORD, PROFILE_ID, USER
from tests.connectors.contract import ContractCase


def settings(url: str) -> Settings:
    return Settings.model_validate(
        {
            "base_url": url,
            "user": USER,
            "password": PASSWORD,
            "client_id": CLIENT_ID,
            "client_profile_id": PROFILE_ID,
            "business_class": 0,
            "service_class": 0,
        }
    )


def payload(n: int) -> Payload:
    """As ``mappings/avalara_communications/invoice.yaml`` makes it: an access charge and ten lines in San Francisco."""
    place = {"ctry": "USA", "geo": True, "st": "CA", "city": "San Francisco", "addr": "1 Market Street", "zip": "94105"}
    return {
        "acct": "A-0001",
        "ccycd": "USD",
        "date": "2026-10-31T12:00:00+00:00",
        "cust": 1,
        "lfln": False,
        "bill": place,
        "itms": [
            {
                "ref": f"{key(n).value}-{position}",
                "chg": charge,
                "line": lines,
                "min": 0,
                "sale": 1,
                "tran": 19,
                "serv": service,
                "glref": "4000",
                "bill": place,
            }
            for position, service, charge, lines in ((1, 6, Decimal("99.00") + n, 0), (2, 21, Decimal("50.00"), 10))
        ],
    }


def key(n: int) -> ExternalKey:
    return ExternalKey("invn", f"INV-2026-10-{n:04d}")


def bad_payload() -> tuple[Payload, str]:
    return {**payload(0), "cust": 9}, "cust"


def count(objects: Mapping[str, int]) -> int:
    return objects.get("document", 0)


CASE = ContractCase(
    system="avalara_communications",
    settings=settings,
    resource="tax_document",
    payload=payload,
    key=key,
    bad_payload=bad_payload,
    write_line=r"POST /api/v2/afc/CalcTaxes",
    count=count,
    readable=False,
)
