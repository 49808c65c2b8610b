"""Dynamics' part of the contract suite: accounts, upserted by the alternate key over their number."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from connectors.dynamics import Settings
from core.ports import ExternalKey, Payload, WebhookRequest
from sandbox.dynamics import CLIENT_ID, CLIENT_SECRET, ORGANIZATION_ID, TENANT_ID
from tests.connectors.contract import ContractCase

WEBHOOK_KEY = "service-endpoint-key"
RECEIVED_AT = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
ORDER_ID = "6d81597f-0f9f-e711-8122-000d3aa2331c"
QUOTE_ID = "75c2dd85-e89e-e711-8122-000d3aa2331c"


def settings(url: str, **other: Any) -> Settings:
    return Settings.model_validate(
        {
            "base_url": url,
            "login_url": url,
            "tenant_id": TENANT_ID,
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "organization_id": ORGANIZATION_ID,
            "webhook_key": WEBHOOK_KEY,
            "page": 40,
            **other,
        }
    )


def payload(n: int) -> Payload:
    return {
        "name": f"Customer {n}",
        "emailaddress1": f"billing{n}@customer.example",
        "address1_city": "Austin",
        "address1_country": "US",
        "tieout_timezone": "America/Chicago",
        "tieout_paymenttermsdays": 30,
    }


def key(n: int) -> ExternalKey:
    return ExternalKey("accountnumber", f"A-{n:04d}")


def bad_payload() -> tuple[Payload, str]:
    return {**payload(0), "tieout_paymenttermsdays": "soon"}, "tieout_paymenttermsdays"


def count(objects: Mapping[str, int]) -> int:
    return objects.get("account", 0)


def context(**changed: Any) -> dict[str, Any]:
    """The execution context of a created sales order, as the documents show one."""
    quote = {"__type": "EntityReference:http://schemas.microsoft.com/xrm/2011/Contracts", "Id": QUOTE_ID}
    target = {"Attributes": [{"key": "name", "value": "Rooms"}, {"key": "quoteid", "value": quote}], "Id": ORDER_ID}
    return {
        "MessageName": "Create",
        "PrimaryEntityName": "salesorder",
        "PrimaryEntityId": ORDER_ID,
        "OrganizationId": ORGANIZATION_ID,
        "OperationId": "4af10637-4ea2-e711-8122-000d3aa2331c",
        "CorrelationId": "b374239d-4233-41a9-8b17-a86cb4f737b5",
        "OperationCreatedOn": "/Date(1793611798000-0700)/",
        "InputParameters": [{"key": "Target", "value": target}],
        **changed,
    }


def message(key: str = WEBHOOK_KEY, body: bytes | None = None, **changed: Any) -> WebhookRequest:
    """A webhook as the service endpoint posts it, its key in the query."""
    headers = {"content-type": "application/json", "x-ms-dynamics-entity-name": "salesorder"}
    sent = json.dumps(context(**changed)).encode() if body is None else body
    return WebhookRequest(sent, headers, {"code": key}, RECEIVED_AT)


CASE = ContractCase(
    system="dynamics",
    settings=settings,
    resource="account",
    payload=payload,
    key=key,
    bad_payload=bad_payload,
    write_line=r"^POST /api/data/v9\.2/\$batch$",
    count=count,
    page=101,
    webhook=message,
    webhook_only=frozenset({"webhook_key"}),
)
