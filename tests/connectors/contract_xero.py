"""Xero's part of the contract suite: contacts, which need nothing but what a new organisation holds."""

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

from connectors.xero import Settings
from core.ports import ExternalKey, Payload, WebhookRequest
from sandbox.xero import CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN, TENANT, WEBHOOK_KEY
from tests.connectors.contract import ContractCase

RECEIVED_AT = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)


def settings(url: str, **changes: object) -> Settings:
    given = {
        "tenant_id": TENANT,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "refresh_token": REFRESH_TOKEN,
        "token_file": Path(gettempdir()) / f"tieout-xero-{os.getpid()}-{urlsplit(url).port}.json",
        "webhook_key": WEBHOOK_KEY,
        "base_url": url,
        "login_url": url,
        "page": 20,
    }
    return Settings.model_validate({**given, **changes})


def payload(n: int) -> Payload:
    return {"Name": f"Customer {n}", "EmailAddress": f"billing{n}@customer.example", "DefaultCurrency": "USD"}


def key(n: int) -> ExternalKey:
    return ExternalKey("ContactNumber", f"A-{n:04d}")


def bad_payload() -> tuple[Payload, str]:
    return {**payload(0), "EmailAddress": "nobody"}, "EmailAddress"


def count(objects: Mapping[str, int]) -> int:
    return objects.get("contact", 0)


def signed(body: Any, secret: str = WEBHOOK_KEY) -> WebhookRequest:
    """The body as Xero sends it."""
    raw = json.dumps(body).encode()
    mark = base64.b64encode(hmac.new(secret.encode(), raw, sha256).digest()).decode()
    return WebhookRequest(raw, {"x-xero-signature": mark}, {}, RECEIVED_AT)


def event(**changes: str) -> dict[str, Any]:
    ident = changes.get("resourceId", "717f2bfc-c6d4-41fd-b238-3f2f0c0cf777")
    given = {
        "resourceUrl": f"https://api.xero.com/api.xro/2.0/Contacts/{ident}",
        "resourceId": ident,
        "eventDateUtc": "2026-11-02T09:29:58.902",
        "eventType": "UPDATE",
        "eventCategory": "CONTACT",
        "tenantId": TENANT,
        "tenantType": "ORGANISATION",
    }
    return {**given, **changes}


def envelope(*events: Any) -> dict[str, Any]:
    return {"events": list(events), "firstEventSequence": 1, "lastEventSequence": len(events), "entropy": "S0m3r4Nd0m"}


CASE = ContractCase(
    system="xero",
    settings=settings,
    resource="account",
    payload=payload,
    key=key,
    bad_payload=bad_payload,
    write_line=r"^(PUT|POST) /api.xro/2.0/Contacts",
    count=count,
    page=21,
    webhook=lambda: signed(envelope(event())),
    webhook_only=frozenset({"webhook_key"}),
)
