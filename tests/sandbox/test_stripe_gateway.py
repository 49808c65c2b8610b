"""The Stripe emulator judged by Stripe's own client and published descriptions, not by our connector."""

from __future__ import annotations

import json
import os
import queue
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import stripe

from sandbox import stripe_gateway as vendor
from sandbox.server import Running, start

SPEC = "stripe-2026-10-28.endive.sdk-derived.openapi.json"


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with start(["stripe"]) as sandbox:
        yield sandbox


@pytest.fixture
def url(running: Running) -> str:
    httpx.post(f"{running.urls['stripe']}/_sandbox/reset")
    return running.urls["stripe"]


@pytest.fixture
def client(url: str) -> stripe.StripeClient:
    return sdk(url)


@pytest.fixture
def api(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {vendor.SECRET_KEY}"}) as http:
        yield http


def sdk(url: str, key: str = vendor.SECRET_KEY) -> stripe.StripeClient:
    transport = stripe.HTTPXClient(allow_sync_methods=True)
    return stripe.StripeClient(key, base_addresses={"api": url}, max_network_retries=0, http_client=transport)


def customer_with(client: stripe.StripeClient, card: str) -> tuple[str, str]:
    customer = client.v1.customers.create({"email": "billing@acme.example", "metadata": {"tier": "gold"}})
    method = client.v1.payment_methods.attach(card, {"customer": customer.id})
    return customer.id, method.id


def off_session(customer: str, method: str, **more: Any) -> Any:
    return {
        "amount": 10_000,
        "currency": "usd",
        "customer": customer,
        "payment_method": method,
        "off_session": True,
        "confirm": True,
        "allowed_payment_method_types": ["card"],
        **more,
    }


def paid(client: stripe.StripeClient, **more: Any) -> stripe.PaymentIntent:
    return client.v1.payment_intents.create(off_session(*customer_with(client, "pm_card_visa"), **more))


def test_the_vendors_client_collects_and_expands(client: stripe.StripeClient) -> None:
    """2.9 % and 30 cents stay with the vendor, and the metadata is copied to the charge."""
    intent = paid(client, metadata={"order": "7"}, expand=["latest_charge.balance_transaction"])
    charge: Any = intent.latest_charge
    assert (intent.status, intent.amount_received, charge.metadata["order"]) == ("succeeded", 10_000, "7")
    booked = charge.balance_transaction
    assert (booked.fee, booked.net, booked.source) == (320, 9_680, charge.id)
    balance = client.v1.balance.retrieve()
    parts: list[Any] = [*balance.pending, *balance.available]
    assert [part.amount for part in parts] == [9_680, 0]


@pytest.mark.parametrize(
    ("card", "code", "decline"),
    [
        ("pm_card_chargeCustomerFail", "card_declined", "generic_decline"),
        ("pm_card_authenticationRequired", "authentication_required", "authentication_required"),
    ],
)
def test_a_decline_is_a_card_error_that_carries_the_payment_intent(
    card: str, code: str, decline: str, client: stripe.StripeClient
) -> None:
    """The intent asks for another payment method and keeps the reason."""
    customer, method = customer_with(client, card)
    with pytest.raises(stripe.CardError) as declined:
        client.v1.payment_intents.create(off_session(customer, method))
    error: Any = declined.value.error
    assert (declined.value.http_status, error.code, error.decline_code) == (402, code, decline)
    intent = client.v1.payment_intents.retrieve(error.payment_intent.id)
    assert (intent.status, intent.last_payment_error.code) == ("requires_payment_method", code)  # type: ignore[union-attr]
    good = client.v1.payment_methods.attach("pm_card_visa", {"customer": customer})
    assert client.v1.payment_intents.confirm(intent.id, {"payment_method": good.id}).status == "succeeded"


def test_a_card_that_the_bank_refuses_cannot_be_attached(client: stripe.StripeClient) -> None:
    """It is refused when it is stored, so it never comes to a charge."""
    with pytest.raises(stripe.CardError):
        customer_with(client, "pm_card_chargeDeclined")


def test_the_same_key_replays_and_other_parameters_are_an_error(client: stripe.StripeClient) -> None:
    """Also on another endpoint; a replay says so in a header."""
    first = client.v1.customers.create({"name": "A"}, {"idempotency_key": "k"})
    again = client.v1.customers.create({"name": "A"}, {"idempotency_key": "k"})
    assert again.id == first.id
    assert again.last_response.headers["idempotent-replayed"] == "true"  # type: ignore[union-attr]
    with pytest.raises(stripe.IdempotencyError):
        client.v1.customers.create({"name": "B"}, {"idempotency_key": "k"})
    with pytest.raises(stripe.IdempotencyError):
        client.v1.refunds.create({"payment_intent": "pi_1"}, {"idempotency_key": "k"})


def test_a_decline_and_a_crash_are_replayed_but_a_refused_parameter_is_not(
    client: stripe.StripeClient, api: httpx.Client
) -> None:
    """What began to be carried out is stored, whatever came of it."""
    options: Any = {"idempotency_key": "k"}
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.customers.create({"email": "nobody"}, options)
    api.post("/_sandbox/stripe", json={"crashes": 1})
    for _ in range(2):
        with pytest.raises(stripe.APIError) as crashed:
            client.v1.customers.create({"email": "a@b.example"}, options)
        assert crashed.value.http_status == 500
    assert client.v1.customers.list().data == []


def test_a_key_is_forgotten_after_a_day() -> None:
    """Then the same request makes another object."""
    from starlette.testclient import TestClient

    from sandbox.emulator import Shelf

    now = [1_793_611_200.0]
    headers = {"Authorization": f"Bearer {vendor.SECRET_KEY}", "Idempotency-Key": "k"}
    with TestClient(vendor.emulator(Shelf(), clock=lambda: now[0])) as http:
        ids = []
        for wait in (0, vendor.IDEMPOTENCY_WINDOW - 1, 1):
            now[0] += wait
            ids.append(http.post("/v1/customers", headers=headers).json()["id"])
    assert (ids[0] == ids[1], ids[1] == ids[2]) == (True, False)


def test_a_search_sees_a_new_object_only_after_the_lag(client: stripe.StripeClient, api: httpx.Client) -> None:
    """A list sees it at once."""
    query: Any = {"query": "metadata['tier']:'GOLD' AND email:'billing@acme.example'"}
    customer_with(client, "pm_card_visa")
    assert len(client.v1.customers.search(query).data) == 1
    api.post("/_sandbox/stripe", json={"search_lag": 60})
    assert client.v1.customers.search(query).data == []
    assert len(client.v1.customers.list({"email": "billing@acme.example"}).data) == 1


def test_lists_are_paged_both_ways_newest_first(client: stripe.StripeClient) -> None:
    """Automatic paging walks to the end; ending_before walks back."""
    made = [client.v1.customers.create({"name": str(n)}).id for n in range(25)]
    page = client.v1.customers.list({"limit": 10})
    assert [one.id for one in page.auto_paging_iter()] == made[::-1]
    assert page.has_more
    second = client.v1.customers.list({"limit": 10, "starting_after": page.data[-1].id})
    back = client.v1.customers.list({"limit": 10, "ending_before": second.data[0].id})
    assert [one.id for one in back.data] == [one.id for one in page.data]


@pytest.mark.parametrize(
    ("path", "form", "code", "param"),
    [
        ("customers", {"colour": "red"}, "parameter_unknown", "colour"),
        ("customers", {"address[planet]": "Mars"}, "parameter_unknown", "address[planet]"),
        ("customers", {"email": "nobody"}, "email_invalid", "email"),
        ("payment_intents", {"currency": "usd"}, "parameter_missing", "amount"),
        ("payment_intents", {"amount": "10.00", "currency": "usd"}, "parameter_invalid_integer", "amount"),
        ("payment_intents", {"amount": "", "currency": "usd"}, "parameter_invalid_empty", "amount"),
        ("payment_intents", {"amount": "49", "currency": "usd"}, "amount_too_small", "amount"),
        ("payment_intents", {"amount": "100000000", "currency": "usd"}, "amount_too_large", "amount"),
        ("payment_intents", {"amount": "100", "currency": "xxx"}, None, "currency"),
        ("payment_intents", {"amount": "105", "currency": "ugx"}, None, "amount"),
        ("payment_intents", {"amount": "1001", "currency": "kwd"}, None, "amount"),
        ("payment_intents", {"amount": "100", "currency": "usd", "customer": "cus_0"}, "resource_missing", "customer"),
        ("payment_intents", {"amount": "100", "currency": "usd", "off_session": "true"}, None, "off_session"),
        ("payment_intents", {"amount": "100", "currency": "usd", "confirm": "true"}, None, "return_url"),
        (
            "payment_intents",
            {"amount": "100", "currency": "usd", "confirm": "true", "allowed_payment_method_types[]": "card"},
            "parameter_missing",
            "payment_method",
        ),
        ("refunds", {"payment_intent": "pi_0"}, "resource_missing", "payment_intent"),
        ("refunds", {"payment_intent": "pi_0", "reason": "because"}, None, "reason"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(
    path: str, form: dict[str, str], code: str | None, param: str, api: httpx.Client
) -> None:
    """400 with the vendor's code and parameter."""
    answer = api.post(f"/v1/{path}", data=form)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (400, "invalid_request_error")
    assert (error.get("code"), error["param"]) == (code, param)
    assert answer.headers["request-id"].startswith("req_")


def test_a_card_of_another_customer_cannot_be_charged(client: stripe.StripeClient) -> None:
    """Nor be made a default."""
    _, method = customer_with(client, "pm_card_visa")
    other = client.v1.customers.create().id
    with pytest.raises(stripe.InvalidRequestError, match="does not belong"):
        client.v1.payment_intents.create(off_session(other, method))
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.customers.update(other, {"invoice_settings": {"default_payment_method": method}})


def test_no_more_is_refunded_than_was_collected(client: stripe.StripeClient) -> None:
    """In parts, then nothing is left; the fee is not given back."""
    intent = paid(client)
    client.v1.refunds.create({"payment_intent": intent.id, "amount": 4_000})
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded"):
        client.v1.refunds.create({"payment_intent": intent.id, "amount": 6_001})
    client.v1.refunds.create({"payment_intent": intent.id})
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.refunds.create({"payment_intent": intent.id})
    assert refused.value.code == "charge_already_refunded"
    nets = [booked.net for booked in client.v1.balance_transactions.list().data]
    assert nets == [-6_000, -4_000, 9_680]


def test_a_payment_moves_through_its_states_only(client: stripe.StripeClient) -> None:
    """Authorise, capture a part, and no way back."""
    held = paid(client, capture_method="manual")
    assert (held.status, held.amount_capturable) == ("requires_capture", 10_000)
    done = client.v1.payment_intents.capture(held.id, {"amount_to_capture": 2_500})
    assert (done.status, done.amount_received) == ("succeeded", 2_500)
    for act in (client.v1.payment_intents.cancel, client.v1.payment_intents.confirm, client.v1.payment_intents.capture):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            act(done.id)
        assert refused.value.code == "payment_intent_unexpected_state"


def test_only_the_secret_key_opens_the_account(url: str) -> None:
    """As Bearer or Basic; the wrong one is not repeated in full."""
    with pytest.raises(stripe.AuthenticationError) as refused:
        sdk(url, "sk_test_guessedsecret").v1.balance.retrieve()
    assert "guessedsecret" not in str(refused.value)
    assert httpx.get(f"{url}/v1/balance").status_code == 401
    assert httpx.get(f"{url}/v1/balance", auth=(vendor.SECRET_KEY, "")).status_code == 200


def test_events_are_kept_and_listed_by_kind_and_time(client: stripe.StripeClient) -> None:
    """In the order they happened, newest first."""
    intent = paid(client)
    kinds = [event.type for event in client.v1.events.list().data]
    assert kinds == [
        "payment_intent.succeeded",
        "charge.succeeded",
        "payment_intent.created",
        "payment_method.attached",
        "customer.created",
    ]
    chosen = client.v1.events.list({"types": ["payment_intent.succeeded"], "created": {"gte": intent.created}})
    assert [event.data.object["id"] for event in chosen.data] == [intent.id]
    assert client.v1.events.list({"created": {"gt": intent.created + 60}}).data == []


def test_a_webhook_is_signed_as_the_vendors_client_expects(client: stripe.StripeClient, api: httpx.Client) -> None:
    """Judged by the vendor's own verification."""
    came: queue.Queue[tuple[bytes, str]] = queue.Queue()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.put((self.rfile.read(int(self.headers["content-length"])), self.headers["stripe-signature"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        target = f"http://127.0.0.1:{server.server_port}/"
        api.post("/_sandbox/webhooks", json={"url": target, "secret": "whsec_test"})
        customer = client.v1.customers.create({"name": "Acme"})
        body, signature = came.get(timeout=30)
        api.post("/_sandbox/webhooks", json={"url": "", "secret": ""})
        server.shutdown()
    event = client.construct_event(body, signature, "whsec_test")
    assert (event.type, event.data.object["id"], event.livemode) == ("customer.created", customer.id, False)


def test_a_restarted_emulator_goes_on_where_it_was(tmp_path: Path) -> None:
    """Objects, ids and stored results stay."""
    with start(["stripe"], tmp_path) as first:
        made = sdk(first.urls["stripe"]).v1.customers.create({"name": "A"}, {"idempotency_key": "k"})
    with start(["stripe"], tmp_path) as second:
        client = sdk(second.urls["stripe"])
        assert client.v1.customers.create({"name": "A"}, {"idempotency_key": "k"}).id == made.id
        assert client.v1.customers.create({"name": "B"}).id != made.id


# --- against the published description ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    folder = os.environ.get("TIEOUT_VENDOR_SPECS") or Path(__file__).parents[2] / "../shared/vendor-specs"
    file = Path(folder) / "stripe" / SPEC
    if not file.exists():
        pytest.skip("skipped: no vendor specs at hand")
    found: dict[str, Any] = json.loads(file.read_text())
    return found


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (vendor.CUSTOMER, "CustomerCreateParams"),
        (vendor.INTENT, "PaymentIntentCreateParams"),
        (vendor.INTENT_UPDATE, "PaymentIntentUpdateParams"),
        (vendor.CONFIRM, "PaymentIntentConfirmParams"),
        (vendor.REFUND, "RefundCreateParams"),
    ],
)
def test_no_parameter_is_accepted_that_the_vendor_does_not_know(
    ours: vendor.Spec, theirs: str, spec: dict[str, Any]
) -> None:
    """What is required there is required here."""
    schema = spec["components"]["schemas"][f"params.{theirs}"]
    assert {name.rstrip("!") for name in ours} <= schema["properties"].keys()
    assert {name.rstrip("!") for name in ours if name.endswith("!")} == set(schema.get("required", ()))


def charged(client: stripe.StripeClient, card: str) -> stripe.PaymentIntent:
    return client.v1.payment_intents.create(off_session(*customer_with(client, card)))


def moved(dispute: stripe.Dispute) -> list[tuple[int, int, int, str]]:
    return [(one.amount, one.fee, one.net, one.reporting_category) for one in dispute.balance_transactions]


@pytest.mark.parametrize(
    ("evidence", "status", "back"),
    [("winning_evidence", "won", [(10_000, 0, 10_000, "dispute_reversal")]), ("losing_evidence", "lost", [])],
)
def test_evidence_decides_a_dispute_as_in_test_mode(
    client: stripe.StripeClient, evidence: str, status: str, back: list[Any]
) -> None:
    """The money and a fee leave at once; what is won comes back without the fee."""
    payment = charged(client, "pm_card_createDispute")
    (dispute,) = client.v1.disputes.list({"payment_intent": payment.id})
    assert (dispute.status, dispute.reason, dispute.amount) == ("needs_response", "fraudulent", 10_000)
    taken = [(-10_000, 1500, -11_500, "dispute")]
    assert moved(dispute) == taken
    assert dispute.evidence_details.due_by > dispute.created
    decided = client.v1.disputes.update(dispute.id, {"evidence": {"uncategorized_text": evidence}})
    assert (decided.status, moved(decided)) == (status, taken + back)
    kinds = {event.type for event in client.v1.events.list({"limit": 100})}
    assert {"charge.dispute.created", "charge.dispute.funds_withdrawn", "charge.dispute.closed"} <= kinds
    assert ("charge.dispute.funds_reinstated" in kinds) is bool(back)


def test_an_inquiry_moves_no_money_and_its_charge_can_be_refunded(client: stripe.StripeClient) -> None:
    payment = charged(client, "pm_card_createDisputeInquiry")
    (dispute,) = client.v1.disputes.list({"payment_intent": payment.id})
    assert (dispute.status, moved(dispute)) == ("warning_needs_response", [])
    client.v1.refunds.create({"payment_intent": payment.id})
    assert client.v1.disputes.close(dispute.id).status == "warning_closed"


def test_a_charge_that_the_bank_took_back_is_not_refunded(client: stripe.StripeClient) -> None:
    payment = charged(client, "pm_card_createDisputeProductNotReceived")
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.refunds.create({"payment_intent": payment.id})
    assert refused.value.code == "charge_disputed"


def test_the_bank_gives_back_as_much_as_it_decides(client: stripe.StripeClient, api: httpx.Client) -> None:
    payment = paid(client)
    ident = api.post("/_sandbox/disputes", json={"payment_intent": payment.id, "amount": 900}).json()["id"]
    api.post("/_sandbox/disputes", json={"dispute": ident, "status": "won", "amount": 400}).raise_for_status()
    assert [one[0] for one in moved(client.v1.disputes.retrieve(ident))] == [-900, 400]
