"""Stripe's payment side on loopback: customers, cards, payments, refunds, disputes, the balance, payouts and events.

Written from Stripe's published OpenAPI description (``2026-10-28.endive``), its API reference and its testing page
(docs.stripe.com/api, /testing, /currencies, /webhooks; read 2026-11). Parameters outside the tables below answer
``parameter_unknown``, as Stripe does for parameters that it does not know.

Beside the common ``/_sandbox`` calls, ``POST /_sandbox/stripe`` takes
``{"search_lag": <seconds before a new object can be searched>, "crashes": <how many next POSTs break with a 500 that is
stored under their Idempotency-Key>}``. ``POST /_sandbox/disputes`` plays the customer's bank: it disputes
(``{"payment_intent": "pi_...", "amount": 500, "reason": "general", "inquiry": true}``, all but the first may be left
out), or decides (``{"dispute": "dp_...", "status": "won", "amount": <what of it comes back>}``). The secret of
``/_sandbox/webhooks`` signs events (several, for a rotation, with spaces between them).
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.emulator import Emulator, ExactJSONResponse, Fault, Json, Shelf, read_json, write_json

SECRET_KEY = "sk_test_tieoutsandbox"
WEBHOOK_SECRET = "whsec_tieoutsandbox"
API_VERSION = "2026-10-28.endive"

DAY = 86_400
#: How long a result stays stored under its Idempotency-Key, and how long events are listed (seconds).
IDEMPOTENCY_WINDOW, EVENT_RETENTION = DAY, 30 * DAY
SETTLES_AFTER = 2 * DAY


def codes(words: str) -> frozenset[str]:
    return frozenset(words.split())


#: docs.stripe.com/currencies: amounts are whole units, thousandths, or hundredths (all others).
ZERO_DECIMAL = codes("bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf")
THREE_DECIMAL = codes("bhd jod kwd omr tnd")
#: Without decimals in the world, written in hundredths at Stripe: amounts must be whole hundreds.
WHOLE_HUNDREDS = frozenset({"isk", "ugx"})
TWO_DECIMAL = codes(
    "aed afn all amd aoa ars aud awg azn bam bbd bdt bmd bnd bob brl bsd bwp byn bzd cad cdf chf cny cop crc cve "
    "czk dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gtq gyd hkd hnl htg huf idr ils inr jmd kes kgs khr kyd kzt "
    "lak lbp lkr lrd lsl mad mdl mkd mmk mnt mop mur mvr mwk mxn myr mzn nad ngn nio nok npr nzd pab pen pgk php pkr "
    "pln qar ron rsd rub sar sbd scr sek sgd shp sle sos srd szl thb tjs top try ttd twd tzs uah usd uyu uzs wst "
    "xcd xcg yer zar zmw"
)
CURRENCIES = ZERO_DECIMAL | THREE_DECIMAL | WHOLE_HUNDREDS | TWO_DECIMAL
SMALLEST = {"usd": 50, "eur": 50, "gbp": 30, "cad": 50, "aud": 50, "jpy": 50, "chf": 50, "sek": 300, "mxn": 1000}
LARGEST = 99_999_999

#: Test payment methods (docs.stripe.com/testing): name to brand and last four digits.
CARDS = {
    "visa": ("visa", "4242"),
    "visa_debit": ("visa", "5556"),
    "mastercard": ("mastercard", "4444"),
    "amex": ("amex", "8431"),
    "chargeDeclined": ("visa", "0002"),
    "visa_chargeDeclined": ("visa", "0002"),
    "chargeDeclinedInsufficientFunds": ("visa", "9995"),
    "visa_chargeDeclinedInsufficientFunds": ("visa", "9995"),
    "chargeDeclinedLostCard": ("visa", "9987"),
    "chargeDeclinedStolenCard": ("visa", "9979"),
    "chargeDeclinedExpiredCard": ("visa", "0069"),
    "chargeDeclinedIncorrectCvc": ("visa", "0127"),
    "chargeDeclinedProcessingError": ("visa", "0119"),
    "chargeCustomerFail": ("visa", "0341"),
    "authenticationRequired": ("visa", "3184"),
    "createDispute": ("visa", "0259"),
    "createDisputeProductNotReceived": ("visa", "2685"),
    "createDisputeInquiry": ("visa", "1976"),
}
#: Last four digits of cards whose bank disputes the charge at once: why, and whether it only asks.
DISPUTED = {"0259": ("fraudulent", False), "2685": ("product_not_received", False), "1976": ("fraudulent", True)}
#: What a dispute costs, in the smallest unit, and how long its evidence may take (seconds).
DISPUTE_FEE, EVIDENCE_WITHIN = 1500, 9 * DAY
#: Texts that decide a dispute in test mode (docs.stripe.com/testing, Evidence).
VERDICTS = {"winning_evidence": "won", "losing_evidence": "lost"}
EVIDENCE = codes(
    "access_activity_log billing_address cancellation_policy cancellation_policy_disclosure cancellation_rebuttal "
    "customer_communication customer_email_address customer_name customer_purchase_ip customer_signature "
    "duplicate_charge_documentation duplicate_charge_explanation duplicate_charge_id product_description receipt "
    "refund_policy refund_policy_disclosure refund_refusal_explanation service_date service_documentation "
    "shipping_address shipping_carrier shipping_date shipping_documentation shipping_tracking_number "
    "uncategorized_file uncategorized_text"
)
#: Last four digits to error code, decline code and message of a charge.
DECLINES = {
    "0002": ("card_declined", "generic_decline", "Your card was declined."),
    "9995": ("card_declined", "insufficient_funds", "Your card has insufficient funds."),
    "9987": ("card_declined", "lost_card", "Your card was declined."),
    "9979": ("card_declined", "stolen_card", "Your card was declined."),
    "0069": ("expired_card", None, "Your card has expired."),
    "0127": ("incorrect_cvc", None, "Your card's security code is incorrect."),
    "0119": ("processing_error", None, "An error occurred while processing your card. Try again in a little bit."),
    "0341": ("card_declined", "generic_decline", "Your card was declined."),
    "3184": (
        "authentication_required",
        "authentication_required",
        "Your card was declined. This transaction requires authentication.",
    ),
}
#: These can be attached to a customer although a later charge fails.
ATTACHABLE = frozenset({"0341", "3184"})

#: What a charge repeats of its card.
CARD_DETAILS = ("brand", "last4", "country", "funding", "exp_month", "exp_year", "fingerprint")

KINDS = {
    "cus": "customer",
    "pm": "payment_method",
    "pi": "payment_intent",
    "ch": "charge",
    "txn": "balance_transaction",
    "re": "refund",
    "dp": "dispute",
    "po": "payout",
    "evt": "event",
}


class Refused(Exception):
    """An error answer of Stripe: ``status`` and the fields of its ``error`` object."""

    def __init__(self, status: int, kind: str, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.status = status
        self.error: Json = {"message": message, "type": kind, **{k: v for k, v in fields.items() if v is not None}}
        if code := fields.get("code"):
            self.error["doc_url"] = f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}"


def invalid(message: str, param: str | None = None, code: str | None = None, status: int = 400, **more: Any) -> Refused:
    return Refused(status, "invalid_request_error", message, code=code, param=param, **more)


# --- parameters: form encoding with brackets, and their types -------------------------------------------------------


def decode(pairs: list[tuple[str, str]]) -> Json:
    """``a[b]=1&c[]=2&d[0]=3`` as nested dicts; lists stay dicts by position until they are typed."""
    tree: Json = {}
    for name, value in pairs:
        head, *rest = re.findall(r"[^\[\]]+|(?<=\[)(?=\])", name) or [name]
        node, key = tree, head
        for part in rest:
            node = node.setdefault(key, {})
            if not isinstance(node, dict):
                raise invalid(f"Invalid object: {name}", param=head)
            key = part or str(len(node))
        node[key] = value
    return tree


Parse = Callable[[Any, str], Any]
Spec = dict[str, Any]


def text(value: Any, name: str) -> str | None:
    if not isinstance(value, str):
        raise invalid("Invalid string: must be a string", name)
    return value or None


def integer(value: Any, name: str) -> int:
    if value == "":
        raise invalid(
            f"You passed an empty string for '{name}'. We assume empty values are an attempt to unset a parameter; "
            f"however '{name}' cannot be unset.",
            name,
            "parameter_invalid_empty",
        )
    if not isinstance(value, str) or not re.fullmatch(r"-?\d+", value):
        raise invalid(f"Invalid integer: {value}", name, "parameter_invalid_integer")
    return int(value)


def boolean(value: Any, name: str) -> bool:
    if value not in ("true", "false"):
        raise invalid(f"Invalid boolean: {value}", name)
    return bool(value == "true")


def email(value: Any, name: str) -> str | None:
    if value and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", str(value)):
        raise invalid(f"Invalid email address: {value}", name, "email_invalid")
    return text(value, name)


def country(value: Any, name: str) -> str | None:
    if value and not re.fullmatch(r"[A-Z]{2}", str(value)):
        raise invalid(f"Country '{value}' is unknown. Try using a 2-character alphanumeric country code instead.", name)
    return text(value, name)


def currency(value: Any, name: str) -> str:
    code = str(value).lower()
    if code not in CURRENCIES:
        raise invalid(
            f"Invalid currency: {code}. Stripe currently supports these currencies: {', '.join(sorted(CURRENCIES))}",
            name,
        )
    return code


def one_of(*words: str) -> Parse:
    def parse(value: Any, name: str) -> str:
        if value not in words:
            raise invalid(f"Invalid {name}: must be one of {', '.join(words)}", name)
        return str(value)

    return parse


def texts(value: Any, name: str) -> list[str]:
    if not isinstance(value, dict):
        raise invalid("Invalid array", name)
    return [str(item) for item in value.values()]


def metadata(value: Any, name: str) -> Json:
    if value == "":
        return {"": ""}
    if not isinstance(value, dict):
        raise invalid("Invalid hash", name)
    for key, item in value.items():
        if len(key) > 40 or len(str(item)) > 500:
            raise invalid(f"Metadata keys have at most 40, values at most 500 characters: {key}", f"{name}[{key}]")
    if len(value) > 50:
        raise invalid("You can have at most 50 metadata keys", name)
    return value


def moment(value: Any, name: str) -> Json:
    """``created=1`` or ``created[gte]=1``."""
    if isinstance(value, dict):
        return shape(value, dict.fromkeys(("gt", "gte", "lt", "lte"), integer), name)
    return {"gte": integer(value, name), "lte": integer(value, name)}


def shape(given: Json, spec: Spec, prefix: str = "") -> Json:
    """The parameters by ``spec``. Refused for one that is unknown, missing (names with ``!``) or of a wrong type."""
    known = {name.rstrip("!"): parse for name, parse in spec.items()}
    full = (lambda name: f"{prefix}[{name}]") if prefix else (lambda name: name)
    if unknown := [full(name) for name in given if name not in known]:
        plural = "s" if len(unknown) > 1 else ""
        raise invalid(f"Received unknown parameter{plural}: {', '.join(unknown)}", unknown[0], "parameter_unknown")
    for name in spec:
        if name.endswith("!") and name[:-1] not in given:
            raise invalid(f"Missing required param: {full(name[:-1])}.", full(name[:-1]), "parameter_missing")
    typed: Json = {}
    for name, value in given.items():
        parse = known[name]
        if isinstance(parse, dict):
            if not isinstance(value, dict):
                raise invalid("Invalid object", full(name))
            typed[name] = shape(value, parse, full(name))
        else:
            typed[name] = parse(value, full(name))
    return typed


ADDRESS: Spec = {"line1": text, "line2": text, "city": text, "state": text, "postal_code": text, "country": country}
EXPAND: Spec = {"expand": texts}
PAGE: Spec = {"limit": integer, "starting_after": text, "ending_before": text, **EXPAND}
SEARCH: Spec = {"query!": text, "limit": integer, "page": text, **EXPAND}
CUSTOMER: Spec = {
    "name": text,
    "email": email,
    "description": text,
    "phone": text,
    "address": ADDRESS,
    "shipping": {"name!": text, "phone": text, "address!": ADDRESS},
    "invoice_settings": {"default_payment_method": text, "footer": text},
    "invoice_prefix": text,
    "preferred_locales": texts,
    "tax_exempt": one_of("none", "exempt", "reverse"),
    "metadata": metadata,
    **EXPAND,
}
BILLING: Spec = {"name": text, "email": email, "phone": text, "address": ADDRESS}
METHOD_TYPES = one_of("card")
CONFIRM: Spec = {
    "payment_method": text,
    "off_session": boolean,
    "return_url": text,
    "error_on_requires_action": boolean,
    "receipt_email": email,
    "setup_future_usage": one_of("off_session", "on_session"),
    "capture_method": one_of("automatic", "automatic_async", "manual"),
    **EXPAND,
}
INTENT_UPDATE: Spec = {
    "amount": integer,
    "currency": currency,
    "customer": text,
    "description": text,
    "payment_method": text,
    "allowed_payment_method_types": texts,
    "receipt_email": email,
    "setup_future_usage": one_of("off_session", "on_session"),
    "statement_descriptor": text,
    "statement_descriptor_suffix": text,
    "transfer_group": text,
    "metadata": metadata,
    **EXPAND,
}
INTENT: Spec = {
    **INTENT_UPDATE,
    **CONFIRM,
    "amount!": integer,
    "currency!": currency,
    "confirm": boolean,
    "confirmation_method": one_of("automatic", "manual"),
    "automatic_payment_methods": {"enabled!": boolean, "allow_redirects": one_of("always", "never")},
}
del INTENT["amount"], INTENT["currency"]
REFUND: Spec = {
    "payment_intent": text,
    "charge": text,
    "amount": integer,
    "reason": one_of("duplicate", "fraudulent", "requested_by_customer"),
    "metadata": metadata,
    **EXPAND,
}


@dataclass
class Stripe:
    """The account behind the API. ``clock`` gives Unix seconds."""

    shelf: Shelf
    clock: Callable[[], float]
    send: Callable[[str, Json, bytes], None] = lambda _kind, _event, _body: None
    request_id: str = ""
    idempotency_key: str | None = None
    _outgoing: list[Json] = field(default_factory=list)

    def now(self) -> int:
        return int(self.clock())

    def tuning(self) -> Json:
        return {"search_lag": 0, "crashes": 0, **(self.shelf.get("_sandbox", "stripe") or {})}

    # --- objects -----------------------------------------------------------------------------------------------------

    def new(self, prefix: str, **fields: Any) -> Json:
        kind = KINDS[prefix]
        made: Json = {
            "id": f"{prefix}_{self.shelf.next(kind):024d}",
            "object": kind,
            "created": self.now(),
            "livemode": False,
            **fields,
        }
        if kind == "refund" or kind == "balance_transaction":
            del made["livemode"]
        return self.keep(made)

    def keep(self, item: Json) -> Json:
        self.shelf.keep(item["object"], item["id"], item)
        return item

    def held(self, kind: str, ident: str | None, param: str, status: int = 400) -> Json:
        """The object of that id. Refused (400 for a parameter, 404 for the URL) when there is none."""
        item = self.shelf.get(kind, ident or "")
        if item is None:
            name = {"payment_method": "PaymentMethod"}.get(kind, kind)
            raise invalid(f"No such {name}: '{ident}'", param, "resource_missing", status)
        return item

    def show(self, item: Json) -> Json:
        if item["object"] == "balance_transaction":
            item["status"] = "available" if item["available_on"] <= self.now() else "pending"
            item.pop("_payout", None)
        if "_moved" in item:
            moved = item.pop("_moved")
            item["balance_transactions"] = [self.show(self.held("balance_transaction", one, "id")) for one in moved]
        return item

    def expand(self, item: Json, paths: list[str]) -> Json:
        for path in paths:
            parts = path.split(".")
            if len(parts) > 4:
                raise invalid(f"You cannot expand more than 4 levels of a property: {path}", "expand")
            self._expand(item, parts, path)
        return item

    def _expand(self, node: Any, parts: list[str], path: str) -> None:
        if node is None:
            return
        if isinstance(node, list):
            for item in node:
                self._expand(item, parts, path)
            return
        head, *rest = parts
        if head not in node:
            raise invalid(f"This property cannot be expanded ({path}).", "expand")
        value = node[head]
        kind = KINDS.get(value.partition("_")[0]) if isinstance(value, str) else None
        if kind:
            node[head] = self.show(self.held(kind, value, "expand"))
        elif isinstance(value, str):
            raise invalid(f"This property cannot be expanded ({path}).", "expand")
        if rest:
            self._expand(node[head], rest, path)

    def emit(self, kind: str, item: Json) -> None:
        self._outgoing.append({"type": kind, "data": {"object": item}})

    def flush(self) -> None:
        """Keep and send the events of the request that has just ended."""
        outgoing, self._outgoing = self._outgoing, []
        for part in outgoing:
            event = self.new(
                "evt",
                api_version=API_VERSION,
                pending_webhooks=1,
                request={"id": self.request_id, "idempotency_key": self.idempotency_key},
                **part,
            )
            self.send(part["type"], event, write_json(event).encode())

    # --- lists and search --------------------------------------------------------------------------------------------

    def listed(self, kind: str, url: str, params: Json, wanted: Callable[[Json], bool] = lambda _item: True) -> Json:
        """A page, newest first."""
        limit = self._limit(params)
        created = params.get("created", {})
        items = [
            item
            for item in reversed(self.shelf.all(kind))
            if wanted(item)
            and item["created"] > created.get("gt", -1)
            and item["created"] >= created.get("gte", 0)
            and item["created"] < created.get("lt", 1 << 62)
            and item["created"] <= created.get("lte", 1 << 62)
        ]
        before, after = params.get("ending_before"), params.get("starting_after")
        if after or before:
            param = "starting_after" if after else "ending_before"
            cursor = self.held(kind, after or before, param)["id"]
            place = next((i for i, item in enumerate(items) if item["id"] == cursor), -1)
            items = items[place + 1 :] if after else items[:place]
        chosen = items[-limit:] if before else items[:limit]
        return {
            "object": "list",
            "data": [self.show(item) for item in chosen],
            "has_more": len(items) > limit,
            "url": url,
        }

    def _limit(self, params: Json) -> int:
        limit = params.get("limit", 10)
        if not 1 <= limit <= 100:
            raise invalid(f"Invalid integer: {limit} (must be between 1 and 100)", "limit", "parameter_invalid_integer")
        return int(limit)

    def searched(self, kind: str, url: str, params: Json) -> Json:
        wanted = parse_query(params["query"] or "")
        visible = self.now() - self.tuning()["search_lag"]
        items = [
            item
            for item in reversed(self.shelf.all(kind))
            if item["created"] <= visible and not item.get("deleted") and wanted(item)
        ]
        limit, start = self._limit(params), int(params.get("page") or 0)
        more = len(items) > start + limit
        return {
            "object": "search_result",
            "data": [self.show(item) for item in items[start : start + limit]],
            "has_more": more,
            "next_page": str(start + limit) if more else None,
            "url": url,
        }

    # --- customers and payment methods -------------------------------------------------------------------------------

    def create_customer(self, params: Json) -> Json:
        blank: Json = {
            **dict.fromkeys(("name", "email", "description", "phone", "address", "shipping", "currency")),
            "balance": 0,
            "delinquent": False,
            "default_source": None,
            "discount": None,
            "test_clock": None,
            "invoice_prefix": f"{self.shelf.next('invoice_prefix'):08X}",
            "invoice_settings": {"custom_fields": None, "default_payment_method": None, "footer": None},
            "metadata": {},
            "preferred_locales": [],
            "tax_exempt": "none",
        }
        customer = self.new("cus", **blank)
        self._apply(customer, params)
        self.emit("customer.created", self.keep(customer))
        return customer

    def update_customer(self, params: Json, id: str) -> Json:
        customer = self._customer(id)
        if customer.get("deleted"):
            raise invalid(f"No such customer: '{id}'", "id", "resource_missing", 404)
        self._apply(customer, params)
        self.emit("customer.updated", self.keep(customer))
        return customer

    def _customer(self, id: str) -> Json:
        return self.held("customer", id, "id", 404)

    def get_customer(self, _params: Json, id: str) -> Json:
        customer = self._customer(id)
        return {"id": id, "object": "customer", "deleted": True} if customer.get("deleted") else customer

    def delete_customer(self, _params: Json, id: str) -> Json:
        customer = self.update_customer({}, id)
        self._outgoing.clear()
        self.emit("customer.deleted", dict(customer))
        self.keep({**customer, "deleted": True})
        return {"id": id, "object": "customer", "deleted": True}

    def _apply(self, item: Json, params: Json) -> None:
        """Set what is given; hashes are merged key by key, and an empty metadata value drops its key."""
        if method := params.get("invoice_settings", {}).get("default_payment_method"):
            attached = self.held("payment_method", method, "invoice_settings[default_payment_method]")
            if attached["customer"] != item["id"]:
                raise invalid(
                    f"The customer does not have a payment method with the ID {method}. The payment method must be "
                    "attached to the customer.",
                    "invoice_settings[default_payment_method]",
                    "resource_missing",
                )
        for name, value in params.items():
            if name == "metadata":
                merged = {} if value == {"": ""} else {**item["metadata"], **value}
                item["metadata"] = {key: kept for key, kept in merged.items() if kept != ""}
            elif isinstance(value, dict):
                base = dict.fromkeys(ADDRESS) if name == "address" else {}
                item[name] = {**base, **(item.get(name) or {}), **value}
            else:
                item[name] = value

    def list_customers(self, params: Json) -> Json:
        address = params.get("email")
        return self.listed(
            "customer",
            "/v1/customers",
            params,
            lambda item: not item.get("deleted") and (address is None or item["email"] == address),
        )

    def new_method(self, card: str) -> Json:
        brand, last4 = CARDS[card]
        return self.new(
            "pm",
            type="card",
            customer=None,
            allow_redisplay="unspecified",
            billing_details={"address": dict.fromkeys(ADDRESS), "email": None, "name": None, "phone": None},
            card={
                "brand": brand,
                "display_brand": brand,
                "last4": last4,
                "country": "US",
                "funding": "credit",
                "exp_month": 12,
                "exp_year": 2034,
                "fingerprint": f"sandbox{last4}",
                "generated_from": None,
                "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
                "networks": {"available": [brand], "preferred": None},
                "regulated_status": "unregulated",
                "three_d_secure_usage": {"supported": True},
                "wallet": None,
            },
            metadata={},
        )

    def method(self, ident: str | None, param: str, status: int = 400) -> Json:
        """A kept payment method, or a fresh one for the id of a test card (``pm_card_visa``)."""
        card = (ident or "").removeprefix("pm_card_")
        return self.new_method(card) if card in CARDS else self.held("payment_method", ident, param, status)

    def create_method(self, params: Json) -> Json:
        token = params["card"]["token"]
        card = (token or "").removeprefix("tok_")
        if card not in CARDS:
            raise invalid(f"No such token: '{token}'", "card[token]", "resource_missing")
        method = self.new_method(card)
        self._apply(method, {k: v for k, v in params.items() if k in ("billing_details", "metadata")})
        return self.keep(method)

    def update_method(self, params: Json, id: str) -> Json:
        method = self.held("payment_method", id, "payment_method", 404)
        self._apply(method, params)
        return self.keep(method)

    def attach_method(self, params: Json, id: str) -> Json:
        customer = self.held("customer", params["customer"], "customer")
        method = self.method(id, "payment_method", 404)
        if method["customer"]:
            raise invalid(
                "The payment method you provided has already been attached to a customer.",
                code="payment_method_unexpected_state",
            )
        last4 = method["card"]["last4"]
        if last4 in DECLINES and last4 not in ATTACHABLE:
            self.shelf.drop("payment_method", method["id"])
            code, decline, message = DECLINES[last4]
            raise Refused(402, "card_error", message, code=code, decline_code=decline, param="")
        method["customer"] = customer["id"]
        self.emit("payment_method.attached", self.keep(method))
        return method

    def detach_method(self, _params: Json, id: str) -> Json:
        method = self.held("payment_method", id, "payment_method", 404)
        if not method["customer"]:
            raise invalid("The payment method you provided is not attached to a customer so detachment is impossible.")
        customer = self.held("customer", method["customer"], "customer")
        if customer["invoice_settings"]["default_payment_method"] == id:
            customer["invoice_settings"]["default_payment_method"] = None
            self.keep(customer)
        method["customer"] = None
        self.emit("payment_method.detached", self.keep(method))
        return method

    def list_methods(self, params: Json, id: str | None = None) -> Json:
        customer = self._customer(id)["id"] if id else params.get("customer")
        url = f"/v1/customers/{id}/payment_methods" if id else "/v1/payment_methods"
        return self.listed("payment_method", url, params, lambda item: bool(customer) and item["customer"] == customer)

    # --- payment intents ----------------------------------------------------------------------------------------------

    def create_intent(self, params: Json) -> Json:
        self._check_amount(params["amount"], params["currency"])
        confirm = params.get("confirm", False)
        for only in ("off_session", "error_on_requires_action", "return_url"):
            if params.get(only) and not confirm:
                raise invalid(f"You can only pass in {only} when also passing in `confirm=true`.", only)
        if params.get("customer"):
            self.held("customer", params["customer"], "customer")
        allowed = params.get("allowed_payment_method_types")
        for kind in allowed or ():
            METHOD_TYPES(kind, "allowed_payment_method_types")
        automatic = None if allowed else {"enabled": True, **params.get("automatic_payment_methods", {})}
        if confirm:
            self._check_return(automatic, params)
        method = params.get("payment_method") and self._method_of(params["payment_method"], params.get("customer"))
        if confirm and not method:
            raise self._method_missing()
        intent = self.new(
            "pi",
            amount=params["amount"],
            amount_capturable=0,
            amount_details={"tip": {}},
            amount_received=0,
            automatic_payment_methods=automatic,
            canceled_at=None,
            cancellation_reason=None,
            capture_method=params.get("capture_method", "automatic_async"),
            confirmation_method=params.get("confirmation_method", "automatic"),
            currency=params["currency"],
            customer=params.get("customer"),
            description=params.get("description"),
            last_payment_error=None,
            latest_charge=None,
            metadata=params.get("metadata", {}),
            next_action=None,
            payment_method=method["id"] if method else None,
            payment_method_options={},
            payment_method_types=allowed or ["card"],
            processing=None,
            receipt_email=params.get("receipt_email"),
            review=None,
            setup_future_usage=params.get("setup_future_usage"),
            shipping=None,
            statement_descriptor=params.get("statement_descriptor"),
            statement_descriptor_suffix=params.get("statement_descriptor_suffix"),
            status="requires_confirmation" if method else "requires_payment_method",
            transfer_group=params.get("transfer_group"),
        )
        intent["client_secret"] = f"{intent['id']}_secret_sandbox"
        self.emit("payment_intent.created", dict(self.keep(intent)))
        return self._charge(intent, params) if confirm else intent

    def _check_amount(self, amount: int, code: str) -> None:
        if amount < 1:
            raise invalid("This value must be greater than or equal to 1.", "amount", "parameter_invalid_integer")
        if amount < SMALLEST.get(code, 1):
            raise invalid(f"Amount must be at least {SMALLEST[code]} {code}", "amount", "amount_too_small")
        if amount > LARGEST:
            raise invalid("Amount must be no more than $999,999.99", "amount", "amount_too_large")
        if (code in THREE_DECIMAL and amount % 10) or (code in WHOLE_HUNDREDS and amount % 100):
            step = 10 if code in THREE_DECIMAL else 100
            raise invalid(f"Amounts in {code} must be evenly divisible by {step}", "amount")

    def _check_return(self, automatic: Json | None, params: Json) -> None:
        redirects = automatic is not None and automatic.get("allow_redirects", "always") == "always"
        if redirects and not params.get("return_url"):
            raise invalid(
                "This PaymentIntent is configured to accept payment methods enabled in your Dashboard. Because some of "
                "these payment methods might redirect your customer off of your page, you must provide a `return_url`. "
                "If you don't want to accept redirect-based payment methods and don't want to provide a `return_url`, "
                "set `automatic_payment_methods[enabled]` to `true` and `automatic_payment_methods[allow_redirects]` "
                "to `never` when creating PaymentIntents.",
                "return_url",
            )

    def _method_missing(self) -> Refused:
        return invalid(
            "You cannot confirm this PaymentIntent because it's missing a payment method.",
            "payment_method",
            "parameter_missing",
        )

    def _method_of(self, ident: str, customer: str | None) -> Json:
        method = self.method(ident, "payment_method")
        if method["customer"] and method["customer"] != customer:
            raise invalid(
                f"The PaymentMethod {ident} does not belong to the Customer {customer or '(none)'}. Please use this "
                "PaymentMethod with the Customer that it belongs to instead.",
                "payment_method",
            )
        return method

    def _charge(self, intent: Json, params: Json) -> Json:
        """One attempt on the intent's payment method: a charge, and what it makes of the intent."""
        method = self.held("payment_method", intent["payment_method"], "payment_method")
        last4 = method["card"]["last4"]
        code, decline, message = DECLINES.get(last4, (None, None, None))
        manual = intent["capture_method"] == "manual"
        charge = self.new(
            "ch",
            amount=intent["amount"],
            amount_captured=0,
            amount_refunded=0,
            balance_transaction=None,
            billing_details=method["billing_details"],
            captured=False,
            currency=intent["currency"],
            customer=intent["customer"],
            description=intent["description"],
            disputed=False,
            failure_balance_transaction=None,
            failure_code=code,
            failure_message=message,
            fraud_details={},
            metadata=dict(intent["metadata"]),
            outcome={
                "network_status": "declined_by_network" if code else "approved_by_network",
                "reason": decline or code,
                "risk_level": "normal",
                "seller_message": message or "Payment complete.",
                "type": "issuer_declined" if code else "authorized",
            },
            paid=not code,
            payment_intent=intent["id"],
            payment_method=method["id"],
            payment_method_details={"type": "card", "card": {k: method["card"][k] for k in CARD_DETAILS}},
            receipt_email=intent["receipt_email"],
            refunded=False,
            shipping=None,
            status="failed" if code else "succeeded",
            transfer_group=intent["transfer_group"],
        )
        intent["latest_charge"] = charge["id"]
        if code:
            problem: Json = {
                "charge": charge["id"],
                "code": code,
                "message": message,
                "type": "card_error",
                "doc_url": f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}",
                "payment_method": method,
                **({"decline_code": decline} if decline else {}),
            }
            intent |= {"status": "requires_payment_method", "payment_method": None, "last_payment_error": problem}
            self.keep(intent)
            self.emit("charge.failed", charge)
            self.emit("payment_intent.payment_failed", intent)
            more = {k: v for k, v in problem.items() if k not in ("type", "message")}
            raise Refused(402, "card_error", message or "", payment_intent=intent, **more)
        intent["last_payment_error"] = None
        if manual:
            intent |= {"status": "requires_capture", "amount_capturable": intent["amount"]}
            self.emit("charge.succeeded", charge)
            self.emit("payment_intent.amount_capturable_updated", self.keep(intent))
            return intent
        return self._collect(intent, charge, intent["amount"], "charge.succeeded")

    def _collect(self, intent: Json, charge: Json, amount: int, event: str) -> Json:
        booked = self._book(charge, amount, fee_of(amount, charge["currency"]), "charge")
        charge |= {"captured": True, "amount_captured": amount, "balance_transaction": booked["id"]}
        intent |= {"status": "succeeded", "amount_received": amount, "amount_capturable": 0}
        self.emit(event, self.keep(charge))
        self.emit("payment_intent.succeeded", self.keep(intent))
        last4 = charge["payment_method_details"]["card"]["last4"]
        if last4 in DISPUTED:
            reason, inquiry = DISPUTED[last4]
            self.open_dispute(charge["id"], amount, reason, "warning_needs_response" if inquiry else "needs_response")
        return intent

    def _book(self, source: Json, amount: int, fee: int, kind: str) -> Json:
        return self.new(
            "txn",
            amount=amount,
            available_on=(self.now() + SETTLES_AFTER) // DAY * DAY,
            balance_type="payments",
            currency=source["currency"],
            description=source.get("description"),
            exchange_rate=None,
            fee=fee,
            fee_details=[
                {
                    "amount": fee,
                    "application": None,
                    "currency": source["currency"],
                    "description": "Stripe processing fees",
                    "type": "stripe_fee",
                }
            ]
            if fee
            else [],
            net=amount - fee,
            reporting_category=kind,
            source=source["id"],
            status="pending",
            type=kind,
        )

    def _intent(self, id: str, *allowed: str, act: str) -> Json:
        intent = self.held("payment_intent", id, "intent", 404)
        if allowed and intent["status"] not in allowed:
            raise invalid(
                f"You cannot {act} this PaymentIntent because it has a status of {intent['status']}. Only a "
                f"PaymentIntent with one of the following statuses may be used: {', '.join(allowed)}.",
                code="payment_intent_unexpected_state",
                payment_intent=intent,
            )
        return intent

    def confirm_intent(self, params: Json, id: str) -> Json:
        intent = self._intent(id, "requires_payment_method", "requires_confirmation", act="confirm")
        if params.get("payment_method"):
            intent["payment_method"] = self._method_of(params["payment_method"], intent["customer"])["id"]
        if not intent["payment_method"]:
            raise self._method_missing()
        self._check_return(intent["automatic_payment_methods"], params)
        for name in ("capture_method", "receipt_email", "setup_future_usage"):
            intent[name] = params.get(name, intent[name])
        return self._charge(intent, params)

    def update_intent(self, params: Json, id: str) -> Json:
        intent = self._intent(id, act="update")
        money = {"amount", "currency", "customer", "payment_method"} & params.keys()
        if money and not intent["status"].startswith("requires_"):
            raise invalid(
                f"This PaymentIntent's {min(money)} could not be updated: it has a status of {intent['status']}.",
                min(money),
                "payment_intent_unexpected_state",
            )
        wanted = {**intent, **params}
        self._check_amount(wanted["amount"], wanted["currency"])
        if params.get("customer"):
            self.held("customer", params["customer"], "customer")
        if params.get("payment_method"):
            self._method_of(params["payment_method"], wanted["customer"])
            if intent["status"] == "requires_payment_method":
                intent["status"] = "requires_confirmation"
        self._apply(intent, params)
        return self.keep(intent)

    def capture_intent(self, params: Json, id: str) -> Json:
        intent = self._intent(id, "requires_capture", act="capture")
        amount: int = {"amount_to_capture": intent["amount"], **params}["amount_to_capture"]
        if not 1 <= amount <= intent["amount_capturable"]:
            raise invalid("The amount to capture is out of bounds.", "amount_to_capture", "amount_too_large")
        self._apply(intent, {"metadata": params.get("metadata", {})})
        charge = self.held("charge", intent["latest_charge"], "intent")
        return self._collect(intent, charge, amount, "charge.captured")

    def cancel_intent(self, params: Json, id: str) -> Json:
        intent = self._intent(
            id, "requires_payment_method", "requires_capture", "requires_confirmation", "requires_action", act="cancel"
        )
        intent |= {
            "status": "canceled",
            "canceled_at": self.now(),
            "amount_capturable": 0,
            "cancellation_reason": params.get("cancellation_reason"),
        }
        self.emit("payment_intent.canceled", self.keep(intent))
        return intent

    # --- refunds and the balance --------------------------------------------------------------------------------------

    def create_refund(self, params: Json) -> Json:
        named = [name for name in ("payment_intent", "charge") if params.get(name)]
        if not named:
            raise invalid("One of the following params should be provided for this request: payment_intent or charge.")
        if len(named) == 2:
            raise invalid("You may only specify one of these parameters: charge, payment_intent.", "charge")
        if named == ["payment_intent"]:
            intent = self.held("payment_intent", params["payment_intent"], "payment_intent")
            if intent["status"] != "succeeded":
                raise invalid(
                    f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.",
                    "payment_intent",
                )
            charge = self.held("charge", intent["latest_charge"], "payment_intent")
        else:
            charge = self.held("charge", params["charge"], "charge")
        left = charge["amount_captured"] - charge["amount_refunded"]
        if not left:
            raise invalid(f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded")
        if charge["disputed"] and any(
            item["charge"] == charge["id"] and item["status"] != "won" and item.get("_moved")
            for item in self.shelf.all("dispute")
        ):
            raise invalid(
                f"Charge {charge['id']} has been charged back; cannot issue a refund.", code="charge_disputed"
            )
        amount = params.get("amount", left)
        if amount < 1:
            raise invalid("This value must be greater than or equal to 1.", "amount", "parameter_invalid_integer")
        if amount > left:
            raise invalid(f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})", "amount")
        refund = self.new(
            "re",
            amount=amount,
            balance_transaction=None,
            charge=charge["id"],
            currency=charge["currency"],
            destination_details={"card": {"type": "refund"}, "type": "card"},
            metadata=params.get("metadata", {}),
            payment_intent=charge["payment_intent"],
            reason=params.get("reason"),
            receipt_number=None,
            status="succeeded",
        )
        refund["balance_transaction"] = self._book(refund, -amount, 0, "refund")["id"]
        charge["amount_refunded"] += amount
        charge["refunded"] = charge["amount_refunded"] == charge["amount_captured"]
        self.keep(charge)
        self.emit("refund.created", self.keep(refund))
        self.emit("charge.refunded", charge)
        return refund

    # --- disputes -----------------------------------------------------------------------------------------------------

    def open_dispute(self, charge_id: str, amount: int, reason: str, status: str = "needs_response") -> Json:
        """The customer's bank disputes a charge; unless it only asks, the money and a fee leave the balance."""
        charge = self.held("charge", charge_id, "charge")
        self.keep({**charge, "disputed": True})
        dispute = self.new(
            "dp",
            amount=amount,
            charge=charge["id"],
            currency=charge["currency"],
            enhanced_eligibility_types=[],
            evidence=dict.fromkeys(sorted(EVIDENCE)) | {"enhanced_evidence": {}},
            evidence_details={
                "due_by": (self.now() + EVIDENCE_WITHIN) // DAY * DAY - 1,
                "enhanced_eligibility": {},
                "has_evidence": False,
                "past_due": False,
                "submission_count": 0,
            },
            is_charge_refundable=status.startswith("warning"),
            metadata={},
            payment_intent=charge["payment_intent"],
            payment_method_details={
                "type": "card",
                "card": {
                    "brand": charge["payment_method_details"]["card"]["brand"],
                    "case_type": "inquiry" if status.startswith("warning") else "chargeback",
                    "network": "visa",
                    "network_reason_code": "10.4",
                },
            },
            reason=reason,
            status=status,
            _moved=[],
        )
        self._tell("created", dispute)
        return dispute if status.startswith("warning") else self._move(dispute, -amount)

    def _move(self, dispute: Json, amount: int) -> Json:
        """Takes the money, or gives back what of it is given back; the fee stays (docs.stripe.com/disputes)."""
        kind = "dispute" if amount < 0 else "dispute_reversal"
        moved = self._book(dispute, amount, DISPUTE_FEE if amount < 0 else 0, "adjustment")
        about = "Chargeback withdrawal for" if amount < 0 else "Chargeback reversal for"
        fees = [{**one, "description": "Dispute fee"} for one in moved["fee_details"]]
        told = {"description": f"{about} {dispute['charge']}", "reporting_category": kind, "fee_details": fees}
        self.keep({**moved, **told})
        dispute["_moved"].append(moved["id"])
        self.keep(dispute)
        self._tell("funds_withdrawn" if amount < 0 else "funds_reinstated", dispute)
        return dispute

    def _tell(self, what: str, dispute: Json) -> None:
        self.keep(dispute)
        self.emit(f"charge.dispute.{what}", self.show({**dispute}))

    def decide_dispute(self, id: str, status: str, amount: int | None = None) -> Json:
        """The bank's decision. ``amount``: what comes back; default: all of a dispute that is won."""
        dispute = self.held("dispute", id, "dispute", 404)
        if status == "needs_response" and dispute["status"].startswith("warning"):
            dispute["status"] = status
            self._tell("updated", dispute)
            return self._move(dispute, -dispute["amount"])
        dispute["status"] = status
        self._tell("closed", dispute)
        back = (dispute["amount"] if status == "won" else 0) if amount is None else amount
        return self._move(dispute, back) if back else dispute

    def answer_dispute(self, params: Json, id: str) -> Json:
        """Evidence, which goes to the bank unless ``submit`` is false."""
        dispute = self.held("dispute", id, "dispute", 404)
        evidence = params.get("evidence", {})
        if evidence and "needs_response" not in dispute["status"]:
            raise invalid(f"This dispute is already {dispute['status']}", "evidence")
        dispute["evidence"] |= evidence
        self._apply(dispute, {"metadata": params.get("metadata", {})})
        dispute["evidence_details"]["has_evidence"] = any(dispute["evidence"][name] for name in EVIDENCE)
        if evidence and params.get("submit", True):
            dispute["evidence_details"]["submission_count"] += 1
            dispute["status"] = dispute["status"].replace("needs_response", "under_review")
        self._tell("updated", dispute)
        verdict = VERDICTS.get(evidence.get("uncategorized_text", ""))
        return self.show(self.decide_dispute(id, verdict) if verdict else dispute)

    def accept_dispute(self, _params: Json, id: str) -> Json:
        dispute = self.held("dispute", id, "dispute", 404)
        return self.show(
            self.decide_dispute(id, "warning_closed" if dispute["status"].startswith("warning") else "lost")
        )

    def pay_out(self, available_by: int) -> list[Json]:
        """An automatic payout of each currency: all that is available by an instant and was not paid out yet.

        What a payout is made of is listed by ``payout`` among the balance transactions, its own movement too.
        """
        due: dict[str, list[Json]] = {}
        for item in self.shelf.all("balance_transaction"):
            if item["available_on"] <= available_by and not item.get("_payout") and item["type"] != "payout":
                due.setdefault(item["currency"], []).append(item)
        made = []
        for code, items in due.items():
            amount = sum(item["net"] for item in items)
            payout = self.new(
                "po",
                amount=amount,
                arrival_date=(self.now() + 2 * DAY) // DAY * DAY,
                automatic=True,
                balance_transaction=None,
                currency=code,
                description="STRIPE PAYOUT",
                destination="ba_000000000000000000000001",
                failure_balance_transaction=None,
                failure_code=None,
                failure_message=None,
                metadata={},
                method="standard",
                reconciliation_status="completed",
                source_type="card",
                statement_descriptor=None,
                status="paid",
                type="bank_account",
            )
            moved = self._book(payout, -amount, 0, "payout")
            for item in (*items, moved):
                self.keep({**item, "_payout": payout["id"]})
            made.append(self.keep({**payout, "balance_transaction": moved["id"]}))
        return made

    def update_refund(self, params: Json, id: str) -> Json:
        refund = self.held("refund", id, "id", 404)
        self._apply(refund, params)
        self.emit("refund.updated", self.keep(refund))
        return refund

    def balance(self, _params: Json) -> Json:
        sums: dict[str, dict[str, int]] = {"available": {}, "pending": {}}
        for item in map(self.show, self.shelf.all("balance_transaction")):
            part = sums[item["status"]]
            part[item["currency"]] = part.get(item["currency"], 0) + item["net"]
        seen = sorted(sums["available"].keys() | sums["pending"].keys()) or ["usd"]
        return {
            "object": "balance",
            "livemode": False,
            **{
                name: [
                    {"amount": part.get(c, 0), "currency": c, "source_types": {"card": part.get(c, 0)}} for c in seen
                ]
                for name, part in sums.items()
            },
        }

    def list_events(self, params: Json) -> Json:
        kinds = set(params.get("types", ())) | ({params["type"]} if params.get("type") else set())
        patterns = [re.compile(re.escape(kind).replace(r"\*", ".*")) for kind in kinds]
        oldest = self.now() - EVENT_RETENTION
        return self.listed(
            "event",
            "/v1/events",
            params,
            lambda e: e["created"] >= oldest and (not patterns or any(p.fullmatch(e["type"]) for p in patterns)),
        )


def fee_of(amount: int, code: str) -> int:
    """2.9 % and 30 hundredths (or 30 whole units where there are none), rounded half up."""
    return (amount * 29 + 500) // 1000 + (300 if code in THREE_DECIMAL else 30)


CLAUSE = re.compile(
    r"\s*(?:metadata\[(?P<quote>['\"])(?P<key>.*?)(?P=quote)\]|(?P<field>[a-z_]+))\s*(?P<op>:|>=|<=|>|<)\s*"
    r"(?:'(?P<single>(?:[^'\\]|\\.)*)'|\"(?P<double>(?:[^\"\\]|\\.)*)\"|(?P<number>\d+))\s*(?:AND\b)?",
    re.IGNORECASE,
)
COMPARE: dict[str, Callable[[int, int], bool]] = {
    ":": lambda a, b: a == b,
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
}
SEARCHABLE = frozenset({"amount", "created", "currency", "customer", "email", "name", "phone", "status"})


def parse_query(query: str) -> Callable[[Json], bool]:
    """A search query of clauses joined by AND (docs.stripe.com/search); text compares without regard to case."""
    tests: list[Callable[[Json], bool]] = []
    place = 0
    while place < len(query):
        clause = CLAUSE.match(query, place)
        if not clause or (clause["field"] and clause["field"] not in SEARCHABLE):
            raise invalid("We were unable to parse your search query.", "query")
        place = clause.end()
        tests.append(_test(clause))
    if not tests:
        raise invalid("We were unable to parse your search query.", "query")
    return lambda item: all(test(item) for test in tests)


def _test(clause: re.Match[str]) -> Callable[[Json], bool]:
    key, name, compare = clause["key"], clause["field"], COMPARE[clause["op"]]
    quoted = clause["single"] if clause["single"] is not None else clause["double"]

    def value(item: Json) -> Any:
        return item.get("metadata", {}).get(key) if key is not None else item.get(name)

    if quoted is None:
        wanted = int(clause["number"])
        return lambda item: isinstance(found := value(item), int) and compare(found, wanted)
    word = re.sub(r"\\(.)", r"\1", quoted).lower()
    return lambda item: str(value(item) or "").lower() == word


# --- the API ---------------------------------------------------------------------------------------------------------

Operation = Callable[..., Json]


def operations(stripe: Stripe) -> Iterator[tuple[str, str, Spec, Operation]]:
    """Method, path, parameters and what is done."""

    def readers(kind: str, path: str, param: str, filters: Spec, **named: str) -> Iterator[Any]:
        def page(params: Json) -> Json:
            equal = {name: params[name] for name in named if name in params}
            return stripe.listed(
                kind, f"/v1/{path}", params, lambda item: all(item.get(named[n]) == v for n, v in equal.items())
            )

        yield "GET", f"/v1/{path}", {**PAGE, **filters}, page
        yield "GET", f"/v1/{path}/{{id}}", EXPAND, lambda _params, id: stripe.show(stripe.held(kind, id, param, 404))

    def search(kind: str, path: str) -> Any:
        url = f"/v1/{path}/search"
        return "GET", url, SEARCH, lambda params: stripe.searched(kind, url, params)

    yield search("customer", "customers")
    yield "POST", "/v1/customers", CUSTOMER, stripe.create_customer
    yield "GET", "/v1/customers", {**PAGE, "created": moment, "email": text}, stripe.list_customers
    yield "GET", "/v1/customers/{id}", EXPAND, stripe.get_customer
    yield "POST", "/v1/customers/{id}", CUSTOMER, stripe.update_customer
    yield "DELETE", "/v1/customers/{id}", {}, stripe.delete_customer
    yield "GET", "/v1/customers/{id}/payment_methods", {**PAGE, "type": METHOD_TYPES}, stripe.list_methods

    yield (
        "POST",
        "/v1/payment_methods",
        {"type!": METHOD_TYPES, "card!": {"token!": text}, "billing_details": BILLING, "metadata": metadata, **EXPAND},
        stripe.create_method,
    )
    yield "GET", "/v1/payment_methods", {**PAGE, "type": METHOD_TYPES, "customer": text}, stripe.list_methods
    yield "GET", "/v1/payment_methods/{id}", EXPAND, lambda _params, id: stripe.method(id, "payment_method", 404)
    yield (
        "POST",
        "/v1/payment_methods/{id}",
        {"billing_details": BILLING, "metadata": metadata, **EXPAND},
        stripe.update_method,
    )
    yield "POST", "/v1/payment_methods/{id}/attach", {"customer!": text, **EXPAND}, stripe.attach_method
    yield "POST", "/v1/payment_methods/{id}/detach", EXPAND, stripe.detach_method

    yield search("payment_intent", "payment_intents")
    yield "POST", "/v1/payment_intents", INTENT, stripe.create_intent
    yield "POST", "/v1/payment_intents/{id}", INTENT_UPDATE, stripe.update_intent
    yield "POST", "/v1/payment_intents/{id}/confirm", CONFIRM, stripe.confirm_intent
    yield (
        "POST",
        "/v1/payment_intents/{id}/capture",
        {"amount_to_capture": integer, "metadata": metadata, **EXPAND},
        stripe.capture_intent,
    )
    yield (
        "POST",
        "/v1/payment_intents/{id}/cancel",
        {
            "cancellation_reason": one_of("duplicate", "fraudulent", "requested_by_customer", "abandoned"),
            **EXPAND,
        },
        stripe.cancel_intent,
    )
    created: Spec = {"created": moment}
    yield from readers(
        "payment_intent", "payment_intents", "intent", {**created, "customer": text}, customer="customer"
    )
    yield search("charge", "charges")
    by_intent: Spec = {"payment_intent": text}
    yield from readers(
        "charge",
        "charges",
        "id",
        {**created, **by_intent, "customer": text},
        customer="customer",
        payment_intent="payment_intent",
    )
    yield "POST", "/v1/refunds", REFUND, stripe.create_refund
    yield "POST", "/v1/refunds/{id}", {"metadata": metadata, **EXPAND}, stripe.update_refund
    yield from readers(
        "refund",
        "refunds",
        "id",
        {**created, **by_intent, "charge": text},
        payment_intent="payment_intent",
        charge="charge",
    )
    yield from readers(
        "dispute",
        "disputes",
        "dispute",
        {**created, **by_intent, "charge": text},
        payment_intent="payment_intent",
        charge="charge",
    )
    yield (
        "POST",
        "/v1/disputes/{id}",
        {"evidence": dict.fromkeys(sorted(EVIDENCE), text), "metadata": metadata, "submit": boolean, **EXPAND},
        stripe.answer_dispute,
    )
    yield "POST", "/v1/disputes/{id}/close", EXPAND, stripe.accept_dispute
    words: Spec = {"type": text, "source": text, "currency": currency, "payout": text}
    yield from readers(
        "balance_transaction",
        "balance_transactions",
        "id",
        {**created, **words},
        type="type",
        source="source",
        currency="currency",
        payout="_payout",
    )
    yield from readers("payout", "payouts", "payout", {**created, "status": text}, status="status")
    yield "GET", "/v1/balance", EXPAND, stripe.balance
    yield "GET", "/v1/events", {**PAGE, **created, "type": text, "types": texts}, stripe.list_events
    yield "GET", "/v1/events/{id}", EXPAND, lambda _params, id: stripe.held("event", id, "id", 404)


def authenticate(request: Request) -> None:
    """The secret key as Bearer token, or as the user name of Basic."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            given = base64.b64decode(given).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            given = ""
    if not given:
        raise invalid(
            "You did not provide an API key. You need to provide your API key in the Authorization header, using "
            "Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
            status=401,
        )
    if not hmac.compare_digest(given.strip().encode(), SECRET_KEY.encode()):
        raise invalid(f"Invalid API Key provided: {given[:8]}{'*' * 8}", status=401)


def answer(error: Refused) -> tuple[int, Json]:
    return error.status, {"error": error.error}


def serve(stripe: Stripe, method: str, spec: Spec, act: Operation) -> Callable[[Request], Any]:
    """Around each operation: key, version, form, Idempotency-Key, expansion, events, and Stripe's headers."""

    def once(request: Request, given: Json, key: str | None) -> tuple[int, Json, dict[str, str]]:
        if not key:
            return *run(request, given), {}
        path, kept = request.url.path, stripe.shelf.get("_idempotency_key", key)
        if kept and stripe.now() - kept["created"] < IDEMPOTENCY_WINDOW:
            if kept["path"] != path:
                what = f"for the same endpoint they were first used for ('{kept['path']}')"
            elif kept["params"] != given:
                what = "with the same parameters they were first used with"
            else:
                return (
                    kept["status"],
                    kept["body"],
                    {"Idempotent-Replayed": "true", "Original-Request": kept["request"]},
                )
            raise Refused(
                400,
                "idempotency_error",
                f"Keys for idempotent requests can only be used {what}. Try using a key other than '{key}' if you "
                "meant to execute a different request.",
            )
        status, body = run(request, given)
        if status not in (400, 404):
            result = {"created": stripe.now(), "path": path, "params": given, "status": status, "body": body}
            stripe.shelf.keep("_idempotency_key", key, {**result, "request": stripe.request_id})
        return status, body, {}

    def run(request: Request, given: Json) -> tuple[int, Json]:
        try:
            params = shape(given, spec)
            tuning = stripe.tuning()
            if method == "POST" and tuning["crashes"] > 0:
                stripe.shelf.keep("_sandbox", "stripe", {**tuning, "crashes": tuning["crashes"] - 1})
                raise Refused(500, "api_error", "An unknown error occurred")
            body = act(params, **request.path_params)
            return 200, stripe.expand(read_json(write_json(body)), params.get("expand", []))
        except Refused as error:
            return answer(error)

    async def endpoint(request: Request) -> Response:
        stripe.request_id = f"req_{stripe.shelf.next('request'):014d}"
        stripe.idempotency_key = key = request.headers.get("idempotency-key") if method == "POST" else None
        version = request.headers.get("stripe-version", API_VERSION)
        more: dict[str, str] = {}
        try:
            authenticate(request)
            if not re.fullmatch(r"\d{4}-\d\d-\d\d(\.[a-z]+)?", version):
                raise invalid(f"Invalid Stripe API version: {version}")
            if key and len(key) > 255:
                raise Refused(400, "idempotency_error", "Idempotency keys can be at most 255 characters long.")
            form = (await request.body()).decode() if method == "POST" else request.url.query
            status, body, more = once(request, decode(parse_qsl(form, keep_blank_values=True)), key)
        except Refused as error:
            status, body = answer(error)
        stripe.flush()
        headers = {"Request-Id": stripe.request_id, "Stripe-Version": version, **more}
        if key:
            headers["Idempotency-Key"] = key
        return ExactJSONResponse(body, status, headers)

    return endpoint


async def unknown_url(request: Request) -> Response:
    error = invalid(
        f"Unrecognized request URL ({request.method}: {request.url.path}). Please see https://stripe.com/docs.",
        status=404,
    )
    return JSONResponse({"error": error.error}, 404)


def fault_answer(fault: Fault) -> Response:
    if fault.kind == "rate_limit":
        error = invalid("Request rate limit exceeded.", code="rate_limit", status=429)
        limited = {"Retry-After": format(fault.seconds, "g"), "Stripe-Rate-Limited-Reason": "global-rate"}
        return JSONResponse({"error": error.error}, 429, limited)
    if fault.status == 409:
        error = invalid(
            "There is currently another in-progress request using this Idempotency-Key.", code="idempotency_key_in_use"
        )
        return JSONResponse({"error": error.error}, 409, {"Stripe-Should-Retry": "true"})
    return JSONResponse({"error": {"type": "api_error", "message": "Sorry, something went wrong."}}, fault.status)


def signer(clock: Callable[[], float]) -> Callable[[Json, bytes, str], dict[str, str]]:
    """``t=<unix>,v1=<HMAC-SHA256 of "t.body">``, one v1 per secret."""

    def sign(_event: Json, body: bytes, secrets: str) -> dict[str, str]:
        at = int(clock())
        signed = f"{at}.".encode() + body
        marks = [
            hmac.new(secret.encode(), signed, sha256).hexdigest() for secret in (secrets or WEBHOOK_SECRET).split()
        ]
        return {"Stripe-Signature": ",".join([f"t={at}", *(f"v1={mark}" for mark in marks)])}

    return sign


def emulator(shelf: Shelf, clock: Callable[[], float] | None = None) -> Emulator:
    clock = clock or (lambda: shelf.now().timestamp())
    stripe = Stripe(shelf, clock)

    async def tune(request: Request) -> Response:
        if request.method == "POST":
            shelf.keep("_sandbox", "stripe", {**stripe.tuning(), **read_json(await request.body())})
        return JSONResponse(stripe.tuning())

    async def pay_out(request: Request) -> Response:
        body = await request.body()
        given = read_json(body) if body else {}
        return JSONResponse(stripe.pay_out(int(given.get("available_by", stripe.now()))))

    async def dispute(request: Request) -> Response:
        given = read_json(await request.body())
        if "dispute" in given:
            made = stripe.decide_dispute(given["dispute"], given["status"], given.get("amount"))
        else:
            charge = stripe.held(
                "charge", stripe.held("payment_intent", given["payment_intent"], "id")["latest_charge"], "id"
            )
            status = "warning_needs_response" if given.get("inquiry") else "needs_response"
            amount = given.get("amount", charge["amount_captured"])
            made = stripe.open_dispute(charge["id"], amount, given.get("reason", "fraudulent"), status)
        stripe.flush()
        return JSONResponse(stripe.show(made))

    routes = [
        Route("/_sandbox/disputes", dispute, methods=["POST"]),
        Route("/_sandbox/payouts", pay_out, methods=["POST"]),
        Route("/_sandbox/stripe", tune, methods=["GET", "POST"]),
        *(Route(path, serve(stripe, m, spec, act), methods=[m]) for m, path, spec, act in operations(stripe)),
        Route("/{path:path}", unknown_url, methods=["GET", "POST", "DELETE"]),
    ]
    made = Emulator("stripe", routes, shelf, sign=signer(clock), fault_answer=fault_answer)
    stripe.send = made.webhooks.send
    return made
