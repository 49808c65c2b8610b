"""Salesforce's part of the contract suite: Accounts, upserted by our external id."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from connectors.salesforce import OUR_KEY, Settings
from core.ports import ExternalKey, Payload, WebhookRequest
from sandbox.salesforce import CLIENT_ID, CLIENT_SECRET, ORGANIZATION_ID, outbound_message
from sandbox.salesforce_schema import make_id
from tests.connectors.contract import ContractCase

TOKEN = "outbound-token"
RECEIVED_AT = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
OPPORTUNITY_ID = make_id("006", 1)


def settings(url: str, **other: Any) -> Settings:
    return Settings.model_validate(
        {
            "base_url": url,
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "organization_id": ORGANIZATION_ID,
            "webhook_token": TOKEN,
            "page": 200,
            **other,
        }
    )


def payload(n: int) -> Payload:
    return {
        "Name": f"Customer {n}",
        "AccountNumber": f"A-{n:04d}",
        "CurrencyIsoCode": "USD",
        "Billing_Email__c": f"billing{n}@customer.example",
        "BillingCity": "Austin",
        "BillingStateCode": "TX",
        "BillingCountryCode": "US",
        "Payment_Terms_Days__c": 30,
    }


def key(n: int) -> ExternalKey:
    return ExternalKey(OUR_KEY, f"A-{n:04d}")


def bad_payload() -> tuple[Payload, str]:
    return {**payload(0), "Billing_Email__c": "not an address"}, "Billing_Email__c"


def count(objects: Mapping[str, int]) -> int:
    return objects.get("Account", 0)


def message(token: str = TOKEN, body: bytes | None = None) -> WebhookRequest:
    """An outbound message about one won opportunity, as the org sends it."""
    record = {
        "Id": OPPORTUNITY_ID,
        "Name": "Acme & Sons",
        "StageName": "Closed Won",
        "SystemModstamp": "2026-11-02T09:29:58.000+0000",
    }
    sent = outbound_message(make_id("04l", 1), "Opportunity", record) if body is None else body
    return WebhookRequest(sent, {"content-type": "text/xml; charset=UTF-8"}, {"token": token}, RECEIVED_AT)


CASE = ContractCase(
    system="salesforce",
    settings=settings,
    resource="account",
    payload=payload,
    key=key,
    bad_payload=bad_payload,
    write_line=r"^POST /services/data/v64\.0/composite$",
    count=count,
    page=201,
    webhook=message,
    webhook_only=frozenset({"webhook_token"}),
)
