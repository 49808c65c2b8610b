"""Stripe's wire: one object per key whatever is lost, declines, units of currencies, webhooks, and reading back."""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from connectors.stripe_gateway import (
    KEY_FIELD,
    OFF_ISO,
    SEARCH_LAG,
    THREE_DECIMAL,
    TOLERANCE,
    Settings,
    StripeGateway,
    connect,
)
from core.accounts import Account, Address
from core.errors import Misconfigured, OutcomeUnknown, Parked, Rejected, Unavailable
from core.mapping import MappingBook, load_book
from core.money import Money, exponent
from core.noun import Noun
from core.payments import Payment, PaymentRequest, PaymentStatus, Refund, Settlement
from core.ports import ExternalKey, Payload, World
from core.ties import Figure
from sandbox import stripe_gateway as vendor
from sandbox.server import start
from tests.connectors.contract_stripe_gateway import (
    CUSTOMER,
    RECEIVED_AT,
    event,
    key,
    payload,
    prepare,
    settings,
    signed,
)


class Sandbox:
    """The emulator, seen from outside."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.api = httpx.Client(base_url=url, auth=(vendor.SECRET_KEY, ""), timeout=10)

    def post(self, path: str, **data: Any) -> Any:
        answer = self.api.post(path, data=data)
        assert answer.is_success, answer.text
        return answer.json()

    def fault(self, kind: str, match: str, **more: Any) -> None:
        self.api.post("/_sandbox/faults", json={"kind": kind, "match": match, **more})

    def tune(self, **values: int) -> None:
        self.api.post("/_sandbox/stripe", json=values)

    def objects(self, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.api.get(f"/_sandbox/objects/{kind}").json()
        return found

    def card(self, name: str) -> str:
        """Makes a test card the default of the customer."""
        made = self.post(f"/v1/payment_methods/{name}/attach", customer=CUSTOMER)["id"]
        self.post(f"/v1/customers/{CUSTOMER}", **{"invoice_settings[default_payment_method]": made})
        return str(made)


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with start(["stripe"]) as running:
        yield Sandbox(running.urls["stripe"])


@pytest.fixture
def sandbox(server: Sandbox) -> Sandbox:
    server.api.post("/_sandbox/reset")
    prepare(server.url)
    return server


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def gateway(sandbox: Sandbox, waits: list[float]) -> Iterator[StripeGateway]:
    made = connect(settings(sandbox.url), World(sleep=waits.append))
    yield made
    made.close()


def later(sandbox: Sandbox, by: timedelta) -> StripeGateway:
    """The connector as it will be when some time has passed."""
    return connect(settings(sandbox.url), World(clock=lambda: datetime.now(UTC) + by, sleep=lambda _: None))


def tagged(value: str) -> ExternalKey:
    return ExternalKey(KEY_FIELD, value)


ACCOUNT: Payload = {"name": "Acme", "email": "billing@acme.example", "address": {"country": "US"}}


# --- one object per key ----------------------------------------------------------------------------------------------


def test_a_payment_is_collected_from_the_default_card_of_the_customer(gateway: StripeGateway, sandbox: Sandbox) -> None:
    """The answer holds the charge and what it left on the balance."""
    receipt = gateway.upsert("payment", payload(1), key(1))
    assert (receipt.created, receipt.key) == (True, key(1))
    assert receipt.answer["status"] == "succeeded"
    booked = receipt.answer["latest_charge"]["balance_transaction"]
    assert (booked["amount"], booked["fee"], booked["net"]) == (10_001, 320, 9_681)
    assert sandbox.objects("payment_intent")[0]["metadata"]["tieout_id"] == key(1).value


def test_two_invoices_of_one_customer_are_two_payments(gateway: StripeGateway) -> None:
    """Only the key makes two payments one, not the payer."""
    first, second = (gateway.upsert("payment", payload(n), key(n)) for n in (1, 2))
    assert second.created
    assert second.vendor_id != first.vendor_id


def writes(sandbox: Sandbox) -> Mapping[str, tuple[Payload, ExternalKey, str, str]]:
    """Resource to payload, key, the line of the write, and the kind it leaves. A card has the key of its account."""
    sandbox.post(f"/v1/customers/{CUSTOMER}", **{"metadata[tieout_id]": "A-1"})
    return {
        "account": (ACCOUNT, tagged("A-7"), r"POST /v1/customers$", "customer"),
        "payment_method": (
            {"customer": CUSTOMER, "payment_method": "pm_card_visa"},
            tagged("A-1"),
            r"POST /v1/payment_methods/pm_card_visa/attach",
            "payment_method",
        ),
        "payment": (payload(1), key(1), r"POST /v1/payment_intents$", "payment_intent"),
    }


@pytest.mark.parametrize("lost", ["lose_reply", "garbage", "error_after"])
@pytest.mark.parametrize("search_lag", [0, 3600])
@pytest.mark.parametrize("resource", ["account", "payment_method", "payment"])
def test_a_lost_answer_leaves_one_object(
    resource: str, search_lag: int, lost: str, gateway: StripeGateway, sandbox: Sandbox
) -> None:
    """OutcomeUnknown, and the same write again leaves one object, also while search does not see it yet."""
    body, ours, line, kind = writes(sandbox)[resource]
    before = len(sandbox.objects(kind))
    sandbox.tune(search_lag=search_lag)
    sandbox.fault(lost, line, status=500)
    with pytest.raises(OutcomeUnknown):
        gateway.upsert(resource, body, ours)
    again = gateway.upsert(resource, body, ours)
    assert not again.created
    assert len(sandbox.objects(kind)) == before + 1
    found = gateway.find(resource, ours)
    assert found is not None
    assert (found.vendor_id, found.created) == (again.vendor_id, False)
    assert found.answer["metadata"]["tieout_id"] == ours.value


def test_a_refund_whose_answer_is_lost_is_found_and_made_once(gateway: StripeGateway, sandbox: Sandbox) -> None:
    """Refunds cannot be searched, so their list is walked."""
    paid = gateway.upsert("payment", payload(1), key(1))
    body = {"payment_intent": paid.vendor_id, "amount": 500, "reason": "requested_by_customer"}
    sandbox.fault("lose_reply", r"POST /v1/refunds$")
    with pytest.raises(OutcomeUnknown):
        gateway.upsert("refund", body, tagged("REF-1"))
    found = gateway.find("refund", tagged("REF-1"))
    again = gateway.upsert("refund", body, tagged("REF-1"))
    assert found is not None
    assert found.vendor_id == again.vendor_id
    assert len(sandbox.objects("refund")) == 1
    assert again.answer["balance_transaction"]["net"] == -500


def test_search_finds_what_is_too_old_for_the_list(gateway: StripeGateway, sandbox: Sandbox) -> None:
    """A key stays taken after the vendor has forgotten its Idempotency-Key."""
    made = gateway.upsert("account", ACCOUNT, tagged("A-7"))
    old = later(sandbox, 2 * SEARCH_LAG)
    assert old.find("account", tagged("A-7")) == replace(made, created=False)
    renamed = old.upsert("account", {**ACCOUNT, "email": "new@acme.example"}, tagged("A-7"))
    assert (renamed.vendor_id, renamed.answer["email"]) == (made.vendor_id, "new@acme.example")


def test_search_compares_without_case_but_keys_do_not(gateway: StripeGateway, sandbox: Sandbox) -> None:
    """``a-7`` is another account than ``A-7``."""
    gateway.upsert("account", ACCOUNT, tagged("A-7"))
    assert later(sandbox, 2 * SEARCH_LAG).find("account", tagged("a-7")) is None


@pytest.mark.parametrize("value", ["O'Brien \\ Sons", "ü" * 200, "k" * 255])
def test_any_key_can_be_found(value: str, gateway: StripeGateway, sandbox: Sandbox) -> None:
    """Quotes, other alphabets and the longest key of ours."""
    made = gateway.upsert("account", ACCOUNT, tagged(value))
    found = later(sandbox, 2 * SEARCH_LAG).find("account", tagged(value))
    assert found is not None
    assert found.vendor_id == made.vendor_id


def test_a_changed_email_within_the_lag_of_search_makes_no_second_customer(
    gateway: StripeGateway, sandbox: Sandbox
) -> None:
    """The list by the new e-mail is empty and search is late: the Idempotency-Key stands in the way."""
    made = gateway.upsert("account", ACCOUNT, tagged("A-7"))
    sandbox.tune(search_lag=3600)
    again = gateway.upsert("account", {**ACCOUNT, "email": "new@acme.example"}, tagged("A-7"))
    assert (again.vendor_id, again.created) == (made.vendor_id, False)
    assert again.answer["email"] == "new@acme.example"


def test_a_stored_server_error_does_not_block_the_key(gateway: StripeGateway, sandbox: Sandbox) -> None:
    """The vendor replays a 500 for a day; a replay proves that this attempt is over, so the next key is used."""
    sandbox.tune(crashes=1)
    with pytest.raises(OutcomeUnknown):
        gateway.upsert("payment", payload(1), key(1))
    assert gateway.find("payment", key(1)) is None
    assert gateway.upsert("payment", payload(1), key(1)).answer["status"] == "succeeded"
    assert len(sandbox.objects("payment_intent")) == 1


def test_a_create_that_is_still_being_carried_out_is_an_unknown_outcome(
    gateway: StripeGateway, sandbox: Sandbox
) -> None:
    """409 under an Idempotency-Key: another process is in the middle of it."""
    sandbox.fault("error", r"POST /v1/payment_intents$", status=409)
    with pytest.raises(OutcomeUnknown):
        gateway.upsert("payment", payload(1), key(1))


def test_an_assignment_is_repeated_by_itself_and_carries_no_random_key(
    gateway: StripeGateway, sandbox: Sandbox
) -> None:
    """Fields of a known object may be set twice."""
    made = gateway.upsert("account", ACCOUNT, tagged("A-7"))
    sandbox.fault("error_after", rf"POST /v1/customers/{made.vendor_id}$", status=500)
    again = gateway.upsert("account", {**ACCOUNT, "name": "Acme Inc."}, tagged("A-7"))
    assert again.answer["name"] == "Acme Inc."
    keys = {one["request"]["idempotency_key"] for one in sandbox.objects("event") if one["type"] == "customer.updated"}
    assert keys == {None}


def test_the_vendor_is_waited_for_as_long_as_it_asks(
    gateway: StripeGateway, sandbox: Sandbox, waits: list[float]
) -> None:
    """429 with Retry-After."""
    sandbox.fault("rate_limit", r"POST /v1/payment_intents$", seconds=7)
    assert gateway.upsert("payment", payload(1), key(1)).created
    assert waits == [7.0]


# --- what is refused -------------------------------------------------------------------------------------------------


def test_a_decline_is_rejected_with_its_code_and_stays_one_payment(gateway: StripeGateway, sandbox: Sandbox) -> None:
    """A retry confirms the same PaymentIntent with the card the customer has by then; nothing is replayed."""
    sandbox.card("pm_card_chargeCustomerFail")
    for attempts in (1, 2, 3):
        with pytest.raises(Rejected) as refused:
            gateway.upsert("payment", payload(1), key(1))
        assert (refused.value.record, refused.value.field, refused.value.code) == (
            "payment",
            "payment_method",
            "generic_decline",
        )
        assert len(sandbox.objects("charge")) == attempts
    declined = gateway.find("payment", key(1))
    assert declined is not None
    assert declined.answer["status"] == "requires_payment_method"
    sandbox.card("pm_card_visa")
    paid = gateway.upsert("payment", payload(1), key(1))
    assert (paid.vendor_id, paid.answer["status"]) == (declined.vendor_id, "succeeded")
    assert len(sandbox.objects("payment_intent")) == 1


def test_a_lost_answer_to_a_second_try_charges_once(gateway: StripeGateway, sandbox: Sandbox) -> None:
    """The confirmation names the failed charge before it, so its repetition is a replay."""
    sandbox.card("pm_card_chargeCustomerFail")
    with pytest.raises(Rejected):
        gateway.upsert("payment", payload(1), key(1))
    sandbox.card("pm_card_visa")
    sandbox.fault("lose_reply", r"/confirm$")
    with pytest.raises(OutcomeUnknown):
        gateway.upsert("payment", payload(1), key(1))
    assert gateway.upsert("payment", payload(1), key(1)).answer["status"] == "succeeded"
    assert [charge["status"] for charge in sandbox.objects("charge")] == ["failed", "succeeded"]


def test_a_field_that_the_vendor_refuses_is_named_with_its_value(gateway: StripeGateway) -> None:
    """System, record, field, value and the vendor's code."""
    with pytest.raises(Rejected, match=r"account\.address\[country\] = 'Texas'") as refused:
        gateway.upsert("account", {**ACCOUNT, "address": {"country": "Texas"}}, tagged("A-7"))
    assert (refused.value.system, refused.value.field, refused.value.value) == ("stripe", "address[country]", "Texas")


def test_a_key_that_stands_for_another_amount_is_refused(gateway: StripeGateway) -> None:
    """Money under one key never changes."""
    gateway.upsert("payment", payload(1), key(1))
    with pytest.raises(Rejected) as refused:
        gateway.upsert("payment", {**payload(1), "amount": 99}, key(1))
    assert (refused.value.field, refused.value.value, refused.value.code) == ("amount", "99", "key_reused")


def test_a_canceled_payment_is_not_taken_for_a_success(gateway: StripeGateway, sandbox: Sandbox) -> None:
    """Somebody stopped it at the vendor."""
    sandbox.card("pm_card_chargeCustomerFail")
    with pytest.raises(Rejected):
        gateway.upsert("payment", payload(1), key(1))
    sandbox.post(f"/v1/payment_intents/{sandbox.objects('payment_intent')[0]['id']}/cancel")
    with pytest.raises(Rejected) as refused:
        gateway.upsert("payment", payload(1), key(1))
    assert (refused.value.field, refused.value.code) == ("status", "canceled")


def test_a_customer_without_a_card_is_refused_before_anything_is_made(gateway: StripeGateway, sandbox: Sandbox) -> None:
    """A PaymentIntent does not take the default card by itself, so a missing one shows here."""
    bare = sandbox.post("/v1/customers", name="No card")["id"]
    with pytest.raises(Rejected) as refused:
        gateway.upsert("payment", {**payload(1), "customer": bare}, key(1))
    assert (refused.value.field, refused.value.code) == ("payment_method", "payment_method_missing")
    assert not sandbox.objects("payment_intent")


def test_a_wrong_key_stops_the_system_and_is_not_told(sandbox: Sandbox) -> None:
    """No part of the key is in the message."""
    wrong = connect(Settings(secret_key="sk_test_wrongsecret", base_url=sandbox.url), World())  # type: ignore[arg-type]
    with pytest.raises(Misconfigured) as refused:
        wrong.get("account", CUSTOMER)
    assert "wrong" not in str(refused.value)


def test_what_does_not_exist_is_rejected(gateway: StripeGateway) -> None:
    """The id is named."""
    with pytest.raises(Rejected) as refused:
        gateway.get("payment", "pi_none")
    assert (refused.value.field, refused.value.code) == ("intent", "resource_missing")


def test_a_read_that_is_not_json_is_worth_another_try(gateway: StripeGateway, sandbox: Sandbox) -> None:
    """Nothing was written."""
    sandbox.fault("garbage", r"GET /v1/customers/")
    with pytest.raises(Unavailable):
        gateway.get("account", CUSTOMER)


@pytest.mark.parametrize(
    "wrong",
    [{"secret_key": "pk_test_1"}, {"base_url": "http://api.stripe.com"}, {"webhook_secrets": ["env:WEBHOOK_SECRET"]}],
)
def test_settings_refuse_what_cannot_work(wrong: dict[str, Any]) -> None:
    """A publishable key, a secret in the clear on the line, a signing secret that is none."""
    with pytest.raises(ValidationError):
        Settings.model_validate({"secret_key": "sk_test_1", **wrong})


def test_signing_secrets_may_come_as_one_text() -> None:
    """One environment variable holds both while one is rolled."""
    made = Settings.model_validate({"secret_key": "sk_test_1", "webhook_secrets": "whsec_old whsec_new"})
    assert [secret.get_secret_value() for secret in made.webhook_secrets] == ["whsec_old", "whsec_new"]


# --- units -----------------------------------------------------------------------------------------------------------


def test_the_refused_currencies_are_those_whose_unit_is_not_that_of_iso() -> None:
    """The vendor's own list beside ISO 4217: of all others, the vendor's unit is the minor unit."""
    decimals = dict.fromkeys(vendor.TWO_DECIMAL | vendor.WHOLE_HUNDREDS, 2)
    decimals |= dict.fromkeys(vendor.ZERO_DECIMAL, 0) | dict.fromkeys(vendor.THREE_DECIMAL, 3)
    assert {code for code, theirs in decimals.items() if exponent(code.upper()) != theirs} == OFF_ISO
    assert THREE_DECIMAL == vendor.THREE_DECIMAL


@pytest.mark.parametrize(("currency", "amount", "field"), [("isk", 500, "currency"), ("kwd", 5124, "amount")])
def test_an_amount_in_another_unit_is_refused_before_the_wire(
    currency: str, amount: int, field: str, gateway: StripeGateway, sandbox: Sandbox
) -> None:
    """Nothing is sent that the vendor would read a hundredfold, or refuse."""
    sandbox.fault("reset", ".*", times=0)
    with pytest.raises(Rejected) as refused:
        gateway.upsert("payment", {**payload(1), "currency": currency, "amount": amount}, key(1))
    assert refused.value.field == field


def test_a_payment_in_another_unit_is_not_read(gateway: StripeGateway, sandbox: Sandbox) -> None:
    """Made at the vendor by someone else; its amount would be off a hundredfold here."""
    made = sandbox.post("/v1/payment_intents", amount=500, currency="isk")
    with pytest.raises(Rejected) as refused:
        gateway.get("payment", made["id"])
    assert refused.value.code == "currency_unit"


# --- reading back ----------------------------------------------------------------------------------------------------


def test_changes_are_paged_to_the_end(gateway: StripeGateway, sandbox: Sandbox) -> None:
    """More than two pages, each record once."""
    for n in range(205):
        sandbox.post("/v1/customers", name=str(n))
    ids = [change.vendor_id for change in gateway.changes("account", None)]
    assert (len(ids), len(set(ids))) == (206, 206)


def test_a_settlement_carries_the_metadata_of_its_payment(gateway: StripeGateway) -> None:
    """The vendor copies it from the PaymentIntent to the charge; refunds have their own."""
    paid = gateway.upsert("payment", payload(1), key(1))
    back = {"payment_intent": paid.vendor_id, "amount": 500, "metadata": {"payment_id": key(1).value}}
    gateway.upsert("refund", back, tagged("REF-1"))
    refund, charge = (change.payload for change in gateway.changes("settlement", None))
    assert charge is not None
    assert refund is not None
    assert (charge["source"]["metadata"]["tieout_id"], charge["net"]) == (key(1).value, 9_681)
    assert (refund["source"]["metadata"]["payment_id"], refund["net"]) == (key(1).value, -500)


def test_a_payout_comes_with_what_it_pays_out_and_not_its_own_movement(
    gateway: StripeGateway, sandbox: Sandbox
) -> None:
    """What is paid out once is not paid out again."""
    gateway.upsert("payment", payload(1), key(1))
    assert list(gateway.changes("payout", None)) == []
    for _ in range(2):
        sandbox.api.post("/_sandbox/payouts", json={"available_by": 1 << 40}).raise_for_status()
    (payout,) = (change.payload for change in gateway.changes("payout", None))
    assert payout is not None
    (movement,) = payout["movements"]
    assert (payout["amount"], movement["net"], movement["type"]) == (9_681, 9_681, "charge")


def test_a_payment_that_changes_later_is_a_change(gateway: StripeGateway, sandbox: Sandbox) -> None:
    """After a cursor, payments are found by their events and read fresh, each once."""
    made = sandbox.post("/v1/payment_intents", amount=500, currency="usd", payment_method="pm_card_visa")
    method = {"allowed_payment_method_types[]": "card"}
    other = sandbox.post("/v1/payment_intents", amount=700, currency="usd", **method)
    sandbox.post(f"/v1/payment_intents/{made['id']}/confirm", return_url="https://acme.example")
    start = datetime.fromtimestamp(made["created"], UTC).isoformat()
    (change,) = gateway.changes("payment", start)
    assert change.payload is not None
    assert (change.vendor_id, change.payload["status"]) == (made["id"], "succeeded")
    long_ago = (datetime.now(UTC) - timedelta(days=40)).isoformat()
    assert {change.vendor_id for change in gateway.changes("payment", long_ago)} == {made["id"], other["id"]}


def test_a_deleted_customer_is_a_change_without_fields(gateway: StripeGateway, sandbox: Sandbox) -> None:
    """Deleted is told apart from changed."""
    since = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
    sandbox.api.delete(f"/v1/customers/{CUSTOMER}")
    (change,) = gateway.changes("account", since)
    assert (change.vendor_id, change.payload) == (CUSTOMER, None)


def test_a_deleted_customer_carries_no_key(gateway: StripeGateway, sandbox: Sandbox) -> None:
    """Nobody can be charged through it any more."""
    gone = gateway.upsert("account", ACCOUNT, tagged("A-7")).vendor_id
    sandbox.api.delete(f"/v1/customers/{gone}")
    assert gateway.find("account", tagged("A-7")) is None
    with pytest.raises(Rejected) as refused:
        gateway.upsert("payment", {**payload(1), "customer": gone}, key(1))
    assert (refused.value.field, refused.value.code) == ("id", "resource_missing")


def test_events_fill_the_gap_that_lost_webhooks_leave(gateway: StripeGateway) -> None:
    """They can be listed; only kinds we listen to."""
    paid = gateway.upsert("payment", payload(1), key(1))
    told = [change.payload for change in gateway.changes("event", None) if change.payload]
    objects = {one["type"]: one["data"]["object"]["id"] for one in told}
    assert objects["payment_intent.succeeded"] == paid.vendor_id
    assert "charge.succeeded" not in objects


def test_a_cursor_that_is_not_an_instant_stops_the_system(gateway: StripeGateway) -> None:
    """Rather than read everything again."""
    with pytest.raises(Misconfigured):
        list(gateway.changes("payment", "yesterday"))


def test_the_doctor_finds_everything_well_and_names_what_is_not(gateway: StripeGateway, sandbox: Sandbox) -> None:
    """Rights, search, clock, units and secrets."""
    assert [finding for finding in gateway.check() if not finding.ok] == []
    sandbox.fault("error", "GET /v1/refunds", status=403, times=0)
    late = later(sandbox, timedelta(minutes=20))
    assert {finding.check for finding in late.check() if not finding.ok} == {"reads refunds", "clock"}


@pytest.fixture(scope="module")
def book() -> MappingBook:
    return load_book(Path(__file__).parents[2] / "mappings")


def test_the_mappings_carry_an_invoice_from_request_to_settlement(
    book: MappingBook, gateway: StripeGateway, sandbox: Sandbox
) -> None:
    """Account, card, payment, refund and what they leave on the balance, in the nouns of the core."""
    ids: dict[str, str] = {}

    def put(record: str, resource: str, noun: Noun) -> Payload:
        mapping = book.find("stripe", record, "out", resource)
        body = mapping.out(noun, lambda _system, of, ours: ids.get(f"{of}:{ours}"))
        receipt = gateway.upsert(resource, body, mapping.key(noun))
        ids[f"{resource}:{mapping.key(noun).value}"] = receipt.vendor_id
        return receipt.answer

    usd = "USD"
    address = Address(line1="500 Congress Ave", city="Austin", region="TX", postal_code="78701", country="US")
    account = Account(id="A-7", name="Acme", email="billing@acme.example", currency=usd, billing_address=address)
    ask = PaymentRequest(
        id="PAY-1", invoice_id="INV-1", account_id="A-7", currency=usd, amount=Money(123_456, usd), description="INV-1"
    )
    put("account", "account", account)
    put("account", "payment_method", account)
    payment = book.find("stripe", "payment", "in", "payment").into(put("payment_request", "payment", ask))
    assert isinstance(payment, Payment)
    assert (payment.id, payment.invoice_id, payment.account_id) == ("PAY-1", "INV-1", "A-7")
    assert (payment.amount, payment.status, payment.failure) == (ask.amount, PaymentStatus.SUCCEEDED, None)
    back = Refund(
        id="REF-1",
        payment_id="PAY-1",
        credit_note_id="CN-1",
        refunded_on=date(2026, 11, 20),
        payment_vendor_id=payment.vendor_id,
        currency=usd,
        amount=Money(3_456, usd),
        reason="Livestream was interrupted",
    )
    put("refund", "refund", back)
    settled = [
        book.find("stripe", "settlement", "in", "settlement").into(change.payload)
        for change in gateway.changes("settlement", None)
        if change.payload
    ]
    assert [(one.payment_id, one.gross.minor, one.net.minor) for one in settled if isinstance(one, Settlement)] == [
        ("PAY-1", -3_456, -3_456),
        ("PAY-1", 123_456, 119_846),
    ]
    figures = [
        book.find("stripe", "figure", "in", "payment").into(change.payload)
        for change in gateway.changes("payment", None)
        if change.payload
    ]
    assert [(one.key, one.amount) for one in figures if isinstance(one, Figure)] == [("PAY-1", ask.amount)]


# --- webhooks --------------------------------------------------------------------------------------------------------


def test_a_genuine_event_says_what_to_read_again(gateway: StripeGateway) -> None:
    """Its version is when it was made."""
    (told,) = gateway.events(signed(event()))
    assert (told.event_id, told.resource, told.vendor_id, told.kind) == (
        "evt_1",
        "payment",
        "pi_1",
        "payment_intent.succeeded",
    )
    assert (told.occurred_at, told.version) == (datetime(2026, 11, 2, 9, 20, tzinfo=UTC), "1793611200")


def test_what_happens_to_a_charge_is_a_change_of_its_payment(gateway: StripeGateway) -> None:
    """The event's object is a charge."""
    (told,) = gateway.events(signed(event("charge.refunded", id="ch_1", payment_intent="pi_9")))
    assert (told.resource, told.vendor_id) == ("payment", "pi_9")


@pytest.mark.parametrize("what", ["created", "updated", "funds_withdrawn", "funds_reinstated", "closed"])
def test_a_dispute_tells_of_itself(what: str, gateway: StripeGateway) -> None:
    (told,) = gateway.events(signed(event(f"charge.dispute.{what}", id="dp_1", payment_intent="pi_9")))
    assert (told.resource, told.vendor_id) == ("chargeback", "dp_1")


@pytest.mark.parametrize(
    "unheard", [event("invoice.paid", id="in_1"), event("charge.refunded", id="ch_1", payment_intent=None)]
)
def test_a_genuine_event_that_tells_us_nothing_is_no_error(unheard: dict[str, object], gateway: StripeGateway) -> None:
    """Other kinds, and charges made without a PaymentIntent."""
    assert gateway.events(signed(unheard)) == []


def test_each_of_two_secrets_and_signatures_is_tried_while_a_secret_is_rolled(sandbox: Sandbox) -> None:
    """The new secret here first, or there first."""
    both = Settings.model_validate({"secret_key": vendor.SECRET_KEY, "webhook_secrets": ["whsec_old", "whsec_new"]})
    gateway = connect(both, World())
    for secret in ("whsec_old", "whsec_new"):
        assert gateway.events(signed(event(), secret=secret))
    request = signed(event(), secret="whsec_new")
    stamp, mark = request.headers["stripe-signature"].split(",")
    assert gateway.events(replace(request, headers={"stripe-signature": f"{stamp},v1={'0' * 64},v0=1,{mark}"}))


def spoiled() -> Iterator[Any]:
    genuine = signed(event())
    stamp = int(RECEIVED_AT.timestamp())
    yield pytest.param(signed(event(), secret="whsec_theirs"), "signature_mismatch", id="another secret")
    yield pytest.param(replace(genuine, body=genuine.body + b" "), "signature_mismatch", id="another body")
    yield pytest.param(replace(genuine, headers={}), "signature_malformed", id="no header")
    yield pytest.param(
        replace(genuine, headers={"stripe-signature": f"t={stamp}"}), "signature_malformed", id="no signature"
    )
    yield pytest.param(
        replace(genuine, headers={"stripe-signature": "t=x,v1=é"}), "signature_malformed", id="not a time"
    )
    yield pytest.param(
        replace(genuine, headers={"stripe-signature": f"t={stamp},v1=é"}), "signature_mismatch", id="not ASCII"
    )
    late = RECEIVED_AT + timedelta(seconds=TOLERANCE + 1)
    yield pytest.param(replace(genuine, received_at=late), "signature_stale", id="too old")
    early = RECEIVED_AT - timedelta(seconds=TOLERANCE + 1)
    yield pytest.param(replace(genuine, received_at=early), "signature_stale", id="from the future")
    yield pytest.param(signed({**event(), "livemode": True}), "livemode_mismatch", id="live event, test key")
    yield pytest.param(signed({**event(), "object": "v2.core.event"}), "malformed", id="thin event")
    yield pytest.param(signed({"object": "event"}), "malformed", id="no fields")
    body = b"[1]"
    mark = hmac.new(vendor.WEBHOOK_SECRET.encode(), f"{stamp}.".encode() + body, sha256).hexdigest()
    header = {"stripe-signature": f"t={stamp},v1={mark}"}
    yield pytest.param(replace(genuine, body=body, headers=header), "malformed", id="not an object")


@pytest.mark.parametrize(("request_", "code"), list(spoiled()))
def test_a_forged_stale_or_malformed_event_is_rejected(request_: Any, code: str, gateway: StripeGateway) -> None:
    """Every way to spoil a genuine one."""
    with pytest.raises(Rejected) as refused:
        gateway.events(request_)
    assert refused.value.code == code


def test_without_a_secret_no_event_is_believed(sandbox: Sandbox) -> None:
    """An empty list of secrets is not an open door."""
    open_door = connect(Settings.model_validate({"secret_key": vendor.SECRET_KEY}), World())
    with pytest.raises(Rejected):
        open_door.events(signed(event()))


def test_answers_carry_no_float(gateway: StripeGateway) -> None:
    """The SDK reads numbers as float; what we hand on was read by us."""
    gateway.upsert("payment", payload(1), key(1))
    kinds: set[type[Any]] = set()

    def walk(value: Any) -> None:
        kinds.add(type(value))
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            walk(item)

    for resource in ("account", "payment", "settlement", "event"):
        for change in gateway.changes(resource, None):
            walk(change.payload)
    assert float not in kinds


def test_a_live_key_never_sends_a_test_card(sandbox: Sandbox) -> None:
    """The account waits on the desk for a card of its own, and the doctor says so."""
    live = settings(sandbox.url).model_copy(update={"secret_key": SecretStr("sk_live_nothing")})
    connector = connect(live, World(sleep=lambda _seconds: None))
    asked = {"customer": "cus_1", "payment_method": "pm_card_visa"}
    with pytest.raises(Parked, match="A-0001 has no card of its own") as parked:
        connector.upsert("payment_method", asked, ExternalKey("metadata.tieout_id", "A-0001"))
    assert parked.value.needs_person
    assert "test cards (pm_card_...) park" in {finding.detail for finding in connector.check()}
    connector.close()
