"""QuickBooks Online's part of the contract suite: customers, which need nothing but what a new company holds."""

from __future__ import annotations

import base64
import hmac
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from tempfile import gettempdir
from typing import Any
from urllib.parse import urlsplit

from connectors.quickbooks import Settings
from core.ports import ExternalKey, Payload, WebhookRequest
from sandbox.quickbooks import CLIENT_ID, CLIENT_SECRET, REALM, REFRESH_TOKEN, VERIFIER_TOKEN
from tests.connectors.contract import ContractCase

RECEIVED_AT = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)


def settings(url: str, **changes: object) -> Settings:
    given = {
        "realm_id": REALM,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "refresh_token": REFRESH_TOKEN,
        "token_file": Path(gettempdir()) / f"tieout-quickbooks-{os.getpid()}-{urlsplit(url).port}.json",
        "verifier_token": VERIFIER_TOKEN,
        "base_url": url,
        "login_url": url,
        "page": 20,
    }
    return Settings.model_validate({**given, **changes})


def payload(n: int) -> Payload:
    return {
        "CompanyName": f"Customer {n}",
        "PrimaryEmailAddr": {"Address": f"billing{n}@customer.example"},
        "CurrencyRef": {"value": "USD"},
    }


def key(n: int) -> ExternalKey:
    return ExternalKey("DisplayName", f"A-{n:04d}")


def bad_payload() -> tuple[Payload, str]:
    return {**payload(0), "Colour": "red"}, "Colour"


def count(objects: Mapping[str, int]) -> int:
    return objects.get("customer", 0)


def signed(event: Any, secret: str = VERIFIER_TOKEN) -> WebhookRequest:
    """The event as Intuit sends it."""
    body = json.dumps(event).encode()
    mark = base64.b64encode(hmac.new(secret.encode(), body, sha256).digest()).decode()
    return WebhookRequest(body, {"intuit-signature": mark}, {}, RECEIVED_AT)


def cloud_event(**changes: str) -> dict[str, Any]:
    event = {
        "specversion": "1.0",
        "id": "evt-1",
        "source": "intuit.sandbox",
        "type": "qbo.customer.created.v1",
        "time": "2026-11-02T01:30:00-08:00",
        "intuitentityid": "7",
        "intuitaccountid": REALM,
        "data": {},
    }
    return {**event, **changes}


CASE = ContractCase(
    system="quickbooks",
    settings=settings,
    resource="account",
    payload=payload,
    key=key,
    bad_payload=bad_payload,
    write_line=rf"^POST /v3/company/{REALM}/(customer|batch)",
    count=count,
    page=21,
    webhook=lambda: signed([cloud_event()]),
    webhook_only=frozenset({"verifier_token"}),
)
