"""Stripe, the payment gateway: API version 2026-10-28.endive, through the vendor's SDK (stripe 16) over our wire.

Sources: docs.stripe.com/api (idempotent requests, errors, pagination, search), /webhooks, /currencies, and the
published OpenAPI description; read 2026-11.

**One object per key.** Our key stands in ``metadata[tieout_id]`` of what we create. Before a create the key is looked
up, and the create itself carries an ``Idempotency-Key`` made of it. Three nets, because no single one is whole:

- ``search`` finds the key on objects of any age, but sees a new object only after a minute, an hour on a bad day;
- a plain list is complete at once, so what is younger than ``SEARCH_LAG`` is taken from there (from that of one
  customer or one PaymentIntent, a single page, where the payload names it);
- the Idempotency-Key holds for at least 24 hours and also stops a create that is still being carried out (409).

``find`` has the key alone: it lists the last hour and searches the rest. Refunds cannot be searched; ``find`` walks
their list, newest first, which after a lost reply ends on its first page.

A decline and a 500 are stored under their Idempotency-Key and would be replayed for a day. So a retry of a declined
payment does not create again: it confirms the PaymentIntent that is there, under a key that names the failed charge
before it. A replayed 500 proves that this attempt is over: if it left no object, the next numbered key is used.

Assignments to an object known by its id (a customer's name, the default card) carry no key: they may be repeated.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import Any
from urllib.parse import quote, urlsplit

import stripe
from pydantic import BaseModel, SecretStr, field_validator

from connectors.wire import BaseConnector, Response, Wire, parsed
from core.errors import Misconfigured, OutcomeUnknown, Parked, Rejected, TieoutError, Unavailable
from core.ports import (
    Change,
    ExternalKey,
    Finding,
    Guard,
    Payload,
    Receipt,
    Resource,
    WebhookEvent,
    WebhookRequest,
    World,
)

SYSTEM = "stripe"
API_VERSION = "2026-10-28.endive"
TAG = "tieout_id"
#: How the vendor's cards for tests begin; a live key never sends one (docs.stripe.com/testing, read 2026-11).
TEST_CARDS = "pm_card_"
KEY_FIELD = f"metadata.{TAG}"

#: How late search may be, on a bad day (docs.stripe.com/search: a minute, up to an hour in an outage).
SEARCH_LAG = timedelta(hours=1)
#: Events are listed for 30 days; an older cursor falls back to the whole list.
EVENTS_KEPT = timedelta(days=29)
#: Oldest (and most future) signature that a webhook may carry, in seconds.
TOLERANCE = 300
#: How many stored server errors one create steps over before it gives the outcome up as unknown.
ATTEMPTS = 5

#: Currencies whose unit at Stripe is not the ISO 4217 minor unit that mappings write: amounts would be off by 100.
OFF_ISO = frozenset({"isk", "mga", "ugx"})
#: Thousandths, of which Stripe takes only whole tens.
THREE_DECIMAL = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})

RESOURCES: Mapping[str, Resource] = {
    "account": Resource("customers", "id", KEY_FIELD, Guard.IDEMPOTENCY_KEY),
    "payment_method": Resource("payment_methods", "id", KEY_FIELD, Guard.IDEMPOTENCY_KEY),
    "payment": Resource("payment_intents", "id", KEY_FIELD, Guard.IDEMPOTENCY_KEY, tells_deletions=True),
    "refund": Resource("refunds", "id", KEY_FIELD, Guard.IDEMPOTENCY_KEY),
    "chargeback": Resource("disputes", "id", "id", Guard.READ_ONLY),
    "settlement": Resource("balance_transactions", "id", "id", Guard.READ_ONLY, tells_deletions=True),
    "payout": Resource("payouts", "id", "id", Guard.READ_ONLY),
    "event": Resource("events", "id", "id", Guard.READ_ONLY),
}


@dataclass(frozen=True, slots=True)
class Reading:
    """How records of a resource are read. ``expand``: ids answered as whole objects; ``within``: the payload field that
    narrows a list to few objects; ``searchable``: whether Stripe can search their metadata."""

    expand: tuple[str, ...] = ()
    within: str = ""
    searchable: bool = False


READINGS: Mapping[str, Reading] = {
    "account": Reading(within="email", searchable=True),
    "payment_method": Reading(within="customer"),
    "payment": Reading(expand=("latest_charge.balance_transaction",), within="customer", searchable=True),
    "refund": Reading(expand=("balance_transaction",), within="payment_intent"),
    "chargeback": Reading(),
    "settlement": Reading(expand=("source",)),
    "payout": Reading(),
    "event": Reading(),
}

#: Kinds of events we listen to: which resource changed, and where its id stands in the event's object.
EVENTS: Mapping[str, tuple[str, str]] = {
    "customer.created": ("account", "id"),
    "customer.updated": ("account", "id"),
    "customer.deleted": ("account", "id"),
    "payment_intent.processing": ("payment", "id"),
    "payment_intent.requires_action": ("payment", "id"),
    "payment_intent.succeeded": ("payment", "id"),
    "payment_intent.payment_failed": ("payment", "id"),
    "payment_intent.canceled": ("payment", "id"),
    "charge.refunded": ("payment", "payment_intent"),
    "charge.dispute.created": ("chargeback", "id"),
    "charge.dispute.updated": ("chargeback", "id"),
    "charge.dispute.closed": ("chargeback", "id"),
    "charge.dispute.funds_withdrawn": ("chargeback", "id"),
    "charge.dispute.funds_reinstated": ("chargeback", "id"),
    "refund.created": ("refund", "id"),
    "refund.updated": ("refund", "id"),
    "refund.failed": ("refund", "id"),
}

#: What a settlement may be for. Payouts, transfers and Stripe's own fees move the balance too, but settle no payment.
SETTLED = frozenset({"charge", "refund", "dispute"})
#: A PaymentIntent in these states has collected nothing and may be confirmed again.
UNPAID = frozenset({"requires_payment_method", "requires_confirmation"})
#: Objects in these states will never do what their key was for.
DEAD = frozenset({"canceled", "failed"})


class Settings(BaseModel):
    """``secret_key``: an ``sk_`` or ``rk_`` key; ``webhook_secrets``: ``whsec_`` secrets, two while one is rolled.

    The secrets may come as one text with spaces between them, so that one environment variable can hold them.
    """

    secret_key: SecretStr
    webhook_secrets: tuple[SecretStr, ...] = ()
    base_url: str = "https://api.stripe.com"

    @field_validator("secret_key")
    @classmethod
    def _is_secret_key(cls, key: SecretStr) -> SecretStr:
        if not key.get_secret_value().startswith(("sk_test_", "sk_live_", "rk_test_", "rk_live_")):
            raise ValueError("the key must be a secret or restricted key: sk_test_, sk_live_, rk_test_ or rk_live_")
        return key

    @field_validator("webhook_secrets", mode="before")
    @classmethod
    def _from_one_text(cls, secrets: Any) -> Any:
        text = secrets.get_secret_value() if isinstance(secrets, SecretStr) else secrets
        return text.split() if isinstance(text, str) else secrets

    @field_validator("webhook_secrets")
    @classmethod
    def _are_signing_secrets(cls, secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if not all(secret.get_secret_value().startswith("whsec_") for secret in secrets):
            raise ValueError("a signing secret begins with whsec_")
        return secrets

    @field_validator("base_url")
    @classmethod
    def _is_private(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
            raise ValueError("the address must begin with https:// unless it is on this machine")
        return url.rstrip("/")

    @property
    def live(self) -> bool:
        return "_live_" in self.secret_key.get_secret_value()[:8]


class Spent(OutcomeUnknown):
    """The answer is a server error stored earlier under this Idempotency-Key: that attempt is over."""


def read_error(response: Response) -> TieoutError | None:
    """What Stripe's error object says; None where the status table says all."""
    status = response.status_code
    if status == 409:
        return OutcomeUnknown("stripe: an earlier request under this Idempotency-Key is still being carried out")
    if status >= 500 and response.headers.get("idempotent-replayed") == "true":
        return Spent(f"stripe: the first attempt under this Idempotency-Key ended with a server error ({status})")
    try:
        error = response.json()["error"]
        kind, code, param = error["type"], error.get("code"), error.get("param")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if status in (401, 403, 429) or status >= 500:
        return None
    request = response.headers.get("request-id", "unknown")
    if kind == "card_error":
        code, param = error.get("decline_code") or code, param or "payment_method"
    return Rejected(
        f"stripe: {error.get('message') or kind} (request {request})",
        system=SYSTEM,
        field=param,
        code=code or kind,
    )


class OnWire(stripe.HTTPClient):
    """The SDK's transport on our wire: one client, one status table, no retries of its own.

    A POST under one of our keys is a write. Any other POST is an assignment, so it is repeated like a read, and the
    random key that the SDK gives it is dropped.
    """

    name = "wire"

    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self._wire = wire

    def request(  # type: ignore[override]
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None
    ) -> tuple[str, int, Mapping[str, str]]:
        sent = dict(headers or {})
        ours = sent.get("Idempotency-Key", "").startswith("tieout:")
        if not ours:
            sent.pop("Idempotency-Key", None)
        send = self._wire.write if ours else self._wire.read
        answer = send(method.upper(), url, headers=sent, content=post_data)
        return answer.text, answer.status_code, answer.headers

    def close(self) -> None:
        self._wire.close()


def connect(settings: Settings, world: World) -> StripeGateway:
    return StripeGateway(settings, world)


class StripeGateway(BaseConnector):
    system = SYSTEM
    resources = RESOURCES

    def __init__(self, settings: Settings, world: World) -> None:
        self._settings, self._world = settings, world
        self._wire = Wire(SYSTEM, settings.base_url, world, read_error=read_error)
        stripe.enable_telemetry = False
        self._sdk = stripe.StripeClient(
            settings.secret_key.get_secret_value(),
            stripe_version=API_VERSION,
            base_addresses={"api": settings.base_url},
            max_network_retries=0,
            http_client=OnWire(self._wire),
        )

    # --- reading -----------------------------------------------------------------------------------------------------

    def changes(self, resource: str, since: str | None) -> Iterator[Change]:
        """Newest first, so move a watermark only after the last one. ``since``: an ISO 8601 instant, inclusive.

        Balance transactions and events never change: they are listed by when they were made. What does change is found
        through its events and read fresh; without a cursor, or with one older than events are kept, all are listed.
        A payout comes with ``movements``: the balance transactions that it pays out, and ``arrives_on``: its day at the
        bank, for which Stripe gives midnight UTC.
        """
        path, reading = self.resource(resource).path, READINGS[resource]
        if resource == "payment_method":
            raise Misconfigured("stripe lists payment methods of one customer only", system=SYSTEM)
        kinds = [kind for kind, (of, _) in EVENTS.items() if of == resource]
        start = None if since is None else _instant(since)
        if start and kinds and start > self._world.clock() - EVENTS_KEPT:
            yield from self._changed(resource, kinds, start)
            return
        params: Payload = {"created": {"gte": _unix(start)}} if start and not kinds else {}
        if resource == "event":
            params = {**params, "types": list(EVENTS)}
        for item in self._pages(path, params, reading.expand):
            if resource == "settlement" and (item["source"] or {}).get("object") not in SETTLED:
                continue
            if resource == "payout":
                moved = self._pages("balance_transactions", {"payout": item["id"]})
                arrives_on = _moment(item["arrival_date"]).date().isoformat()
                movements = [one for one in moved if one["type"] != "payout"]
                item = {**item, "movements": movements, "arrives_on": arrives_on}
            yield Change(item["id"], _moment(item["created"]), _sound(resource, item))

    def _changed(self, resource: str, kinds: Sequence[str], start: datetime) -> Iterator[Change]:
        seen: set[str] = set()
        for event in self._pages("events", {"types": kinds, "created": {"gte": _unix(start)}}):
            told = hint(event)
            if told is None or told.vendor_id in seen:
                continue
            seen.add(told.vendor_id)
            try:
                payload: Payload | None = self.get(resource, told.vendor_id)
            except Rejected as error:
                if error.code != "resource_missing":
                    raise
                payload = None
            yield Change(told.vendor_id, told.occurred_at, payload)

    def get(self, resource: str, vendor_id: str) -> Payload:
        try:
            item = self._one(resource, vendor_id)
        except Rejected as error:
            raise _about(error, resource, {"id": vendor_id}) from None
        if item.get("deleted"):
            raise Rejected(
                f"stripe: {resource} {vendor_id} was deleted",
                system=SYSTEM,
                record=resource,
                field="id",
                value=vendor_id,
                code="resource_missing",
            )
        return _sound(resource, item)

    def _one(self, resource: str, vendor_id: str) -> Payload:
        path, expand = self.resource(resource).path, READINGS[resource].expand
        return self._read(f"{path}/{quote(vendor_id, safe='')}", {"expand": list(expand)} if expand else {})

    def find(self, resource: str, key: ExternalKey) -> Receipt | None:
        """A declined payment is there too, in the state ``requires_payment_method``."""
        if self.resource(resource).guard is Guard.READ_ONLY:
            return super().find(resource, key)
        if resource == "payment_method":
            account = self._look_up("account", key, {})
            card = account and account["invoice_settings"]["default_payment_method"]
            item = self.get(resource, card) if card else None
            item = item if item and item["metadata"].get(TAG) == key.value else None
        else:
            item = self._look_up(resource, key, {})
        return self._receipt(resource, item, key, created=False) if item else None

    def _look_up(self, resource: str, key: ExternalKey, payload: Payload) -> Payload | None:
        """The object that carries our key: from the list that is complete at once, then from search."""
        path, reading = self.resource(resource).path, READINGS[resource]
        recent = {"created": {"gte": _unix(self._world.clock() - SEARCH_LAG)}} if reading.searchable else {}
        narrow = {reading.within: payload[reading.within]} if reading.within in payload else recent
        for item in self._pages(path, narrow, reading.expand):
            if item["metadata"].get(TAG) == key.value:
                return item
        if not reading.searchable:
            return None
        text = key.value.replace("\\", "\\\\").replace("'", "\\'")
        for hit in self._pages(f"{path}/search", {"query": f"metadata['{TAG}']:'{text}'"}):
            # Search compares without case and may show an older state, so the object itself decides.
            item = self._one(resource, hit["id"])
            if item.get("metadata", {}).get(TAG) == key.value:
                return item
        return None

    def _pages(self, path: str, params: Payload, expand: Sequence[str] = ()) -> Iterator[Payload]:
        more: Payload = {"expand": [f"data.{name}" for name in expand]} if expand else {}
        while True:
            page = self._read(path, {"limit": 100, **params, **more})
            yield from page["data"]
            if not page["has_more"]:
                return
            if not page["data"]:
                raise Unavailable(f"stripe: a page of {path} promises more but is empty")
            token = page.get("next_page")
            more = {**more, **({"page": token} if token else {"starting_after": page["data"][-1]["id"]})}

    # --- writing -----------------------------------------------------------------------------------------------------

    def upsert(self, resource: str, payload: Payload, key: ExternalKey) -> Receipt:
        """A payment that was declined is confirmed again with the customer's present default card.

        Rejected, with the decline code as ``code``, when the card is declined; also when the key already stands for
        another amount, currency or payer, and when its object is canceled or failed.
        """
        self.resource(resource)
        writers = {
            "account": self._account,
            "payment_method": self._payment_method,
            "payment": self._payment,
            "refund": self._refund,
        }
        if resource not in writers:
            return super().upsert(resource, payload, key)
        tagged = {**payload, "metadata": {**payload.get("metadata", {}), TAG: key.value}}
        try:
            item, created = writers[resource](tagged, key)
        except Rejected as error:
            raise _about(error, resource, tagged) from None
        if item.get("status") in DEAD:
            raise Rejected(
                f"stripe: {resource} {item['id']} is {item['status']}; its key cannot be used again",
                system=SYSTEM,
                record=resource,
                field="status",
                value=item["status"],
                code=item.get("failure_reason") or item["status"],
            )
        return self._receipt(resource, item, key, created=created)

    def _account(self, payload: Payload, key: ExternalKey) -> tuple[Payload, bool]:
        item, created = self._held_or_created("account", payload, key)
        return (item, True) if created else (self._assign(f"customers/{item['id']}", payload), False)

    def _payment_method(self, payload: Payload, key: ExternalKey) -> tuple[Payload, bool]:
        """Attach, tag, make it the customer's default; a step that is already done is left out.

        A test card (``pm_card_visa``) becomes another object when it is attached, so the tag names where it came from.
        With a live key it is never sent: the account waits for a card of its own.
        """
        source, created = _needed(payload, "payment_method"), False
        if self._settings.live and str(source).startswith(TEST_CARDS):
            why = f"{key.value} has no card of its own, and {source} is for tests: put its card into the table"
            raise Parked(f"{SYSTEM}: {why}", waits_for=f"approval:card of {key.value}")
        customer = self.get("account", _needed(payload, "customer"))
        tag = {TAG: key.value, "tieout_source": source}
        cards = self._pages("payment_methods", {"customer": customer["id"]})
        card = next((card for card in cards if card["id"] == source or tag.items() <= card["metadata"].items()), None)
        if card is None:
            path = f"payment_methods/{quote(source, safe='')}/attach"
            card, created = self._once(path, {"customer": customer["id"]}, _name("attach", customer["id"], source))
        if not tag.items() <= card["metadata"].items():
            card = self._assign(f"payment_methods/{card['id']}", {"metadata": tag})
        if customer["invoice_settings"]["default_payment_method"] != card["id"]:
            self._assign(f"customers/{customer['id']}", {"invoice_settings": {"default_payment_method": card["id"]}})
        return card, created

    def _payment(self, payload: Payload, key: ExternalKey) -> tuple[Payload, bool]:
        _fit(payload)
        item = self._look_up("payment", key, payload)
        if item is None:
            item, created = self._create("payment", self._with_card(payload), key)
            if created:
                return item, True
        _same("payment", item, payload, ("amount", "currency", "customer"))
        if item["status"] not in UNPAID:
            return item, False
        card = self._with_card(payload)["payment_method"]
        failed = item["latest_charge"]["id"] if item["latest_charge"] else "none"
        params = {"payment_method": card, "off_session": True, "expand": list(READINGS["payment"].expand)}
        name = _name("confirm", item["id"], failed, card)
        return self._once(f"payment_intents/{item['id']}/confirm", params, name)[0], False

    def _refund(self, payload: Payload, key: ExternalKey) -> tuple[Payload, bool]:
        if "payment_intent" in payload:
            self.get("payment", payload["payment_intent"])
        item, created = self._held_or_created("refund", payload, key)
        if not created:
            _same("refund", item, payload, ("amount", "payment_intent"))
        return item, created

    def _with_card(self, payload: Payload) -> Payload:
        """The payload with the customer's default payment method, which a PaymentIntent does not take by itself."""
        if payload.get("payment_method"):
            return payload
        customer = self.get("account", _needed(payload, "customer"))
        card = customer["invoice_settings"]["default_payment_method"] or customer["default_source"]
        if not card:
            raise Rejected(
                f"stripe: customer {customer['id']} has no default payment method; store one, then retry",
                system=SYSTEM,
                field="payment_method",
                code="payment_method_missing",
            )
        return {**payload, "payment_method": card}

    def _held_or_created(self, resource: str, payload: Payload, key: ExternalKey) -> tuple[Payload, bool]:
        held = self._look_up(resource, key, payload)
        return (held, False) if held else self._create(resource, payload, key)

    def _create(self, resource: str, payload: Payload, key: ExternalKey) -> tuple[Payload, bool]:
        expand = READINGS[resource].expand
        params = {**payload, "expand": list(expand)} if expand else payload
        return self._once(
            self.resource(resource).path,
            params,
            _name(resource, key.value),
            lambda: self._look_up(resource, key, {}),
        )

    def _once(
        self, path: str, params: Payload, name: str, known: Callable[[], Payload | None] = lambda: None
    ) -> tuple[Payload, bool]:
        """POST under our key, and whether this call did it. ``known``: what an earlier attempt may have left."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                item, headers = self._call("post", path, params, idempotency_key=f"{name}:{attempt}")
                return item, headers.get("idempotent-replayed") != "true"
            except Spent:
                if left := known():
                    return left, False
            except Rejected as error:
                if error.code != "idempotency_error" or not (left := known()):
                    raise
                return left, False
        raise OutcomeUnknown(f"stripe: {ATTEMPTS} attempts at {path} ended with a server error")

    def _assign(self, path: str, params: Payload) -> Payload:
        """Set fields of an object known by its id; may be repeated."""
        return self._call("post", path, params)[0]

    def _read(self, path: str, params: Payload) -> Payload:
        return self._call("get", path, params)[0]

    def _call(self, method: str, path: str, params: Payload, **options: str) -> tuple[Payload, Mapping[str, str]]:
        try:
            answer = self._sdk.raw_request(method, f"/v1/{path}", **params, **options)
        except stripe.StripeError:
            unknown = OutcomeUnknown if options else Unavailable
            raise unknown(f"stripe: {method.upper()} /v1/{path} was answered with something that is not JSON") from None
        return parsed(answer.body), answer.headers

    def _receipt(self, resource: str, item: Payload, key: ExternalKey, *, created: bool) -> Receipt:
        return Receipt(SYSTEM, resource, item["id"], ExternalKey(KEY_FIELD, key.value), created, _sound(resource, item))

    # --- webhooks ----------------------------------------------------------------------------------------------------

    def events(self, request: WebhookRequest) -> list[WebhookEvent]:
        """Empty for a genuine event of a kind we do not listen to."""
        self._verify(request)
        try:
            event = parsed(request.body)
            if event["object"] != "event":
                raise _forged("malformed", "the body is not a snapshot event; thin events are not listened to")
            if event["livemode"] is not self._settings.live:
                raise _forged("livemode_mismatch", "of event and key, one is live and the other is for tests")
            told = hint(event)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise _forged("malformed", "the body is not an event of Stripe") from None
        return [told] if told else []

    def _verify(self, request: WebhookRequest) -> None:
        """``Stripe-Signature: t=<unix>,v1=<hex>[,v1=<hex>]`` over the raw body, with any of our secrets."""
        parts = [part.strip().partition("=") for part in request.headers.get("stripe-signature", "").split(",")]
        times = [value for name, _, value in parts if name == "t"]
        marks = [value.encode() for name, _, value in parts if name == "v1"]
        if len(times) != 1 or not marks or not (times[0].isascii() and times[0].isdigit()):
            raise _forged("signature_malformed", "the Stripe-Signature header is absent or malformed")
        signed = times[0].encode() + b"." + request.body
        genuine = False
        for secret in self._settings.webhook_secrets:
            ours = hmac.new(secret.get_secret_value().encode(), signed, sha256).hexdigest().encode()
            for mark in marks:
                genuine |= hmac.compare_digest(ours, mark)
        if not genuine:
            raise _forged("signature_mismatch", "no signature fits any of our secrets")
        if abs(request.received_at.timestamp() - int(times[0])) > TOLERANCE:
            raise _forged("signature_stale", f"the signature is more than {TOLERANCE} seconds from our clock")

    # --- doctor ------------------------------------------------------------------------------------------------------

    def check(self) -> list[Finding]:
        rights = "Give the key the rights that docs/connectors/stripe.md lists."
        query = {"query": f"metadata['{TAG}']:'doctor'", "limit": 1}
        return [
            Finding("mode", True, "live money" if self._settings.live else "test mode"),
            Finding("cards", True, f"test cards ({TEST_CARDS}...) {'park' if self._settings.live else 'are taken'}"),
            *(
                self._probe(f"reads {row.path}", row.path, {"limit": 1}, rights)
                for row in RESOURCES.values()
                if row.path != "payment_methods"
            ),
            self._probe("searches customers", "customers/search", query, "Search is not offered to accounts in India."),
            *self._balance_findings(rights),
            Finding(
                "webhook secrets",
                bool(self._settings.webhook_secrets),
                f"{len(self._settings.webhook_secrets)} configured",
                "Copy the signing secret (whsec_...) of the endpoint into the settings.",
            ),
        ]

    def _probe(self, check: str, path: str, params: Payload, cure: str) -> Finding:
        try:
            self._read(path, params)
        except TieoutError as error:
            return Finding(check, False, str(error), cure)
        return Finding(check, True, "allowed")

    def _balance_findings(self, rights: str) -> list[Finding]:
        """Units of the currencies we are paid out in, and our clock against Stripe's."""
        try:
            balance, headers = self._call("get", "balance", {})
        except TieoutError as error:
            return [Finding("reads balance", False, str(error), rights)]
        held = sorted({part["currency"] for part in (*balance["available"], *balance["pending"])})
        off = sorted(OFF_ISO.intersection(held))
        skew = abs((parsedate_to_datetime(headers["date"]) - self._world.clock()).total_seconds())
        return [
            Finding(
                "currency units",
                not off,
                f"settles in {', '.join(held)}",
                f"Settle in another currency than {', '.join(off)}.",
            ),
            Finding("clock", skew < TOLERANCE, f"{skew:.0f} seconds from Stripe's", "Synchronise the clock (NTP)."),
        ]

    def close(self) -> None:
        self._wire.close()


def hint(event: Payload) -> WebhookEvent | None:
    """What an event tells us to read again; None for a kind we do not listen to, or a charge without a PaymentIntent.

    ``version`` is the second the event was made: events of one object may share it, and may come in any order.
    """
    resource, id_at = EVENTS.get(event["type"], ("", ""))
    vendor_id = event["data"]["object"].get(id_at)
    if not vendor_id:
        return None
    created = _moment(event["created"])
    return WebhookEvent(event["id"], resource, vendor_id, event["type"], created, str(event["created"]))


def _forged(code: str, why: str) -> Rejected:
    return Rejected(f"stripe: webhook refused: {why}", system=SYSTEM, record="event", code=code)


def _about(error: Rejected, resource: str, payload: Payload) -> Rejected:
    """The refusal with our resource and the value that was sent."""
    value: Any = payload
    for part in (error.field or "").replace("]", "").split("["):
        value = value.get(part) if isinstance(value, Mapping) else None
    shown = error.value or (None if value is None else str(value)[:200])
    record = error.record or resource
    where = f"{record}.{error.field} = {shown!r}: " if error.field else f"{record}: "
    text = str(error).removeprefix("stripe: ").removeprefix(where)
    return Rejected(
        f"stripe: {where}{text}", system=SYSTEM, record=record, field=error.field, value=shown, code=error.code
    )


def _needed(payload: Payload, field: str) -> str:
    if not payload.get(field):
        raise Rejected(f"stripe: {field} is missing", system=SYSTEM, field=field, code="parameter_missing")
    return str(payload[field])


def _same(resource: str, item: Payload, payload: Payload, fields: Sequence[str]) -> None:
    """Rejected when the object under our key is not what the payload asks for."""
    for field in fields:
        if field in payload and str(payload[field]) != str(item[field]):
            raise Rejected(
                f"stripe: {resource} {item['id']} already stands under this key with {field} {item[field]}",
                system=SYSTEM,
                field=field,
                code="key_reused",
            )


def _fit(payload: Payload) -> None:
    """Rejected for an amount that Stripe would read in another unit than we write."""
    code, amount = str(payload.get("currency", "")).lower(), payload.get("amount")
    if code in OFF_ISO:
        raise _other_unit("payment", code)
    if code in THREE_DECIMAL and isinstance(amount, int) and amount % 10:
        raise Rejected(
            f"stripe takes amounts in {code} only in steps of 0.010",
            system=SYSTEM,
            field="amount",
            code="amount_step",
        )


def _sound(resource: str, item: Payload) -> Payload:
    """The record itself. Rejected when its amount is in another unit than mappings read."""
    if "amount" in item and item.get("currency") in OFF_ISO:
        raise _other_unit(resource, item["currency"])
    return item


def _other_unit(resource: str, code: str) -> Rejected:
    return Rejected(
        f"stripe writes amounts in {code} in another unit than ISO 4217; they are not carried",
        system=SYSTEM,
        record=resource,
        field="currency",
        value=code,
        code="currency_unit",
    )


def _name(*parts: str) -> str:
    """An Idempotency-Key without its attempt number: a header, so ASCII and at most 255 characters with it."""
    name = ":".join(("tieout", *parts))
    return name if name.isascii() and len(name) <= 240 else f"tieout:{parts[0]}:{sha256(name.encode()).hexdigest()}"


def _unix(instant: datetime) -> int:
    return int(instant.timestamp())


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _instant(cursor: str) -> datetime:
    try:
        instant = datetime.fromisoformat(cursor)
        return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    except ValueError:
        raise Misconfigured(f"stripe: {cursor!r} is not a cursor; it is an ISO 8601 instant", system=SYSTEM) from None
