"""Stripe's part of the contract suite: PaymentIntents of one customer who has a card on file."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256

import httpx

from connectors.stripe_gateway import KEY_FIELD, Settings
from core.ports import ExternalKey, Payload, WebhookRequest
from sandbox.stripe_gateway import SECRET_KEY, WEBHOOK_SECRET
from tests.connectors.contract import ContractCase

#: The first customer that an empty sandbox makes.
CUSTOMER = f"cus_{1:024d}"
RECEIVED_AT = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)


def settings(url: str) -> Settings:
    return Settings.model_validate({"secret_key": SECRET_KEY, "webhook_secrets": [WEBHOOK_SECRET], "base_url": url})


def prepare(url: str) -> None:
    """A customer with a default card."""
    with httpx.Client(base_url=url, auth=(SECRET_KEY, "")) as stripe:
        stripe.post("/v1/customers", data={"name": "Acme Conferencing"})
        card = stripe.post("/v1/payment_methods/pm_card_visa/attach", data={"customer": CUSTOMER}).json()
        stripe.post(f"/v1/customers/{CUSTOMER}", data={"invoice_settings[default_payment_method]": card["id"]})


def payload(n: int) -> Payload:
    return {
        "amount": 10_000 + n,
        "currency": "usd",
        "customer": CUSTOMER,
        "description": f"Invoice INV-2026-10-{n:04d}",
        "off_session": True,
        "confirm": True,
        "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
        "metadata": {"invoice_id": f"INV-2026-10-{n:04d}", "account_id": "A-0001"},
    }


def key(n: int) -> ExternalKey:
    return ExternalKey(KEY_FIELD, f"PAY-INV-2026-10-{n:04d}")


def bad_payload() -> tuple[Payload, str]:
    return {**payload(0), "amount": "100.00"}, "amount"


def count(objects: Mapping[str, int]) -> int:
    return objects.get("payment_intent", 0)


def signed(event: Mapping[str, object], at: datetime = RECEIVED_AT, secret: str = WEBHOOK_SECRET) -> WebhookRequest:
    """The event as Stripe sends it."""
    body, stamp = json.dumps(event).encode(), int(at.timestamp())
    mark = hmac.new(secret.encode(), f"{stamp}.".encode() + body, sha256).hexdigest()
    return WebhookRequest(body, {"stripe-signature": f"t={stamp},v1={mark}"}, {}, at)


def event(kind: str = "payment_intent.succeeded", **item: object) -> dict[str, object]:
    return {
        "id": "evt_1",
        "object": "event",
        "type": kind,
        "created": 1_793_611_200,
        "livemode": False,
        "data": {"object": {"id": "pi_1", **item}},
    }


CASE = ContractCase(
    system="stripe",
    settings=settings,
    resource="payment",
    payload=payload,
    key=key,
    bad_payload=bad_payload,
    write_line=r"^POST /v1/payment_intents$",
    count=count,
    prepare=prepare,
    page=101,
    webhook=lambda: signed(event()),
)
