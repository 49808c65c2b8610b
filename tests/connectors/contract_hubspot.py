"""HubSpot's part of the contract suite: companies, upserted by our unique property."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from connectors.hubspot import OUR_KEY, Settings
from core.ports import ExternalKey, Payload, WebhookRequest
from sandbox.hubspot import ACCESS_TOKEN, APP_ID, CLIENT_SECRET, PORTAL_ID, signed
from tests.connectors.contract import ContractCase

WEBHOOK_URL = "https://hub.example/webhooks/hubspot"
RECEIVED_AT = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
DEAL_ID = "20000000077"


def settings(url: str, **other: Any) -> Settings:
    return Settings.model_validate(
        {
            "base_url": url,
            "access_token": ACCESS_TOKEN,
            "client_secret": CLIENT_SECRET,
            "portal_id": PORTAL_ID,
            "webhook_url": WEBHOOK_URL,
            **other,
        }
    )


def payload(n: int) -> Payload:
    return {
        "name": f"Customer {n}",
        "tieout_billing_email": f"billing{n}@customer.example",
        "address": "500 Congress Ave",
        "city": "Austin",
        "zip": "78701",
        "tieout_region_code": "TX",
        "tieout_country_code": "US",
        "tieout_payment_terms_days": "30",
    }


def key(n: int) -> ExternalKey:
    return ExternalKey(OUR_KEY, f"A-{n:04d}")


def bad_payload() -> tuple[Payload, str]:
    return {**payload(0), "tieout_payment_terms_days": "soon"}, "tieout_payment_terms_days"


def count(objects: Mapping[str, int]) -> int:
    return objects.get("companies", 0)


def event(**changed: Any) -> dict[str, Any]:
    """A deal of this account reached the stage Closed Won."""
    return {
        "eventId": 100,
        "subscriptionId": 3_100_002,
        "portalId": PORTAL_ID,
        "appId": APP_ID,
        "occurredAt": 1_793_611_798_000,
        "subscriptionType": "deal.propertyChange",
        "attemptNumber": 0,
        "objectId": int(DEAL_ID),
        "propertyName": "dealstage",
        "propertyValue": "closedwon",
        "changeSource": "CRM_UI",
        **changed,
    }


def delivery(
    *events: dict[str, Any],
    body: bytes | None = None,
    secret: str = CLIENT_SECRET,
    url: str = WEBHOOK_URL,
    age: timedelta = timedelta(seconds=2),
) -> WebhookRequest:
    """A delivery of these events, signed as HubSpot signs it; one deal won, unless told otherwise."""
    sent = json.dumps(events or [event()]).encode() if body is None else body
    proofs = signed(secret, url, sent, RECEIVED_AT - age)
    headers = {"content-type": "application/json", **{name.lower(): value for name, value in proofs.items()}}
    return WebhookRequest(sent, headers, {}, RECEIVED_AT)


CASE = ContractCase(
    system="hubspot",
    settings=settings,
    resource="account",
    payload=payload,
    key=key,
    bad_payload=bad_payload,
    write_line=r"^POST /crm/v3/objects/companies/batch/upsert$",
    count=count,
    page=101,
    webhook=delivery,
    webhook_only=frozenset({"client_secret"}),
)
