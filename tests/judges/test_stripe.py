"""Stripe's own client, by itself and not on our wire, drives the emulated gateway."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import stripe

from sandbox import server
from sandbox.stripe_gateway import SECRET_KEY

pytestmark = pytest.mark.server


@pytest.fixture
def url() -> Iterator[str]:
    with server.start(["stripe"]) as running:
        yield running.urls["stripe"]


def client(url: str, key: str = SECRET_KEY) -> stripe.StripeClient:
    return stripe.StripeClient(key, base_addresses={"api": url}, max_network_retries=0)


def test_the_vendors_client_charges_refunds_and_reads_back(url: str) -> None:
    api = client(url)
    customer = api.v1.customers.create({"name": "Acme", "metadata": {"tieout_id": "A-0001"}})
    card = api.v1.payment_methods.attach("pm_card_visa", {"customer": customer.id})
    asked = {
        "amount": 12_990, "currency": "usd", "customer": customer.id, "payment_method": card.id, "confirm": True,
        "off_session": True, "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
    }  # fmt: skip
    first, again = (api.v1.payment_intents.create(asked, {"idempotency_key": "PAY-1"}) for _ in range(2))
    assert (first.id, first.status, first.amount_received) == (again.id, "succeeded", 12_990)
    refund = api.v1.refunds.create({"payment_intent": first.id, "amount": 1_000})
    assert (refund.status, api.v1.refunds.retrieve(refund.id).amount) == ("succeeded", 1_000)
    assert {one.type for one in api.v1.balance_transactions.list().data} == {"charge", "refund"}


def test_the_vendors_client_reads_every_page(url: str) -> None:
    api = client(url)
    made = {api.v1.customers.create({"name": f"Customer {number}"}).id for number in range(5)}
    assert {one.id for one in api.v1.customers.list({"limit": 2}).auto_paging_iter()} == made


def test_the_vendors_client_meets_the_errors_it_knows(url: str) -> None:
    api = client(url)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.v1.payment_intents.create({"amount": 100, "currency": "usd", "colour": "red"})  # type: ignore[typeddict-unknown-key]
    assert (refused.value.code, refused.value.param) == ("parameter_unknown", "colour")
    customer = api.v1.customers.create({})
    card = api.v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": customer.id})
    asked = {"amount": 100, "currency": "usd", "customer": customer.id, "payment_method": card.id}
    here = {"confirm": True, "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"}}
    with pytest.raises(stripe.CardError):
        api.v1.payment_intents.create({**asked, **here, "off_session": True})
    with pytest.raises(stripe.AuthenticationError):
        client(url, "sk_test_wrong").v1.customers.list()
