"""HubSpot CRM: objects v3, associations v4, search, webhooks v3 (docs/connectors/hubspot.md).

Vendor facts: CRM API references, usage guidelines, error handling and request validation pages (published docs, read
2026-11). What is peculiar here:

- A create has no guard against repeats, so every write is a batch upsert by a unique property of ours, or a batch
  update by the vendor's own id (``order_progress``). One record that does not fit refuses its whole batch, with 400 or
  409; the batch is then sent in halves.
- All values are text, numbers too; a property without a value is null, and empty text clears it.
- Search lags behind writes by seconds and ends at 10,000 results. It is asked for ids alone, each page from the last id
  of the page before, and only for what changed since a moment; records are then read by id from the store itself.
- The resource ``order`` is ours: a won deal with its company, the sites (child companies), contacts and line items, and
  the quote that says the same.
- A webhook is signed over the URL that HubSpot was given, so that URL is a setting and not taken from the request.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator

from connectors.wire import Auth, BulkConnector, Request, Response, Wire, chunks, exact_json, parsed, retry_after
from core.errors import Misconfigured, OutcomeUnknown, RateLimited, Rejected, Retryable, TieoutError, Unavailable
from core.ports import (
    Change,
    DescribedField,
    ExternalKey,
    FieldKind,
    Finding,
    Guard,
    Outcome,
    Payload,
    Receipt,
    Resource,
    WebhookEvent,
    WebhookRequest,
    World,
)

T = TypeVar("T")
Json = dict[str, Any]

SYSTEM = "hubspot"
ID, OUR_KEY = "hs_object_id", "tieout_id"
#: Where the APIs live; HubSpot is moving them to paths with a date.
OBJECTS, LINKS, PROPERTIES = "/crm/v3/objects", "/crm/v4/associations", "/crm/v3/properties"
PIPELINES, ACCOUNT, TOKEN = "/crm/v3/pipelines/deals", "/account-info/v3/details", "/oauth/v1/token"
#: Most records of a batch and of a page of a list, and most inputs of a batch of associations.
BATCH, LINKS_BATCH = 100, 1000

RESOURCES: Mapping[str, Resource] = {
    "order": Resource("deals", ID, ID, Guard.READ_ONLY, batch=BATCH),
    "order_progress": Resource("deals", ID, ID, Guard.EXTERNAL_ID, batch=BATCH),
    "account": Resource("companies", ID, OUR_KEY, Guard.EXTERNAL_ID, batch=BATCH),
    "product": Resource("products", ID, OUR_KEY, Guard.EXTERNAL_ID, batch=BATCH),
    "site": Resource("companies", ID, "tieout_site_code", Guard.READ_ONLY, batch=BATCH),
    "contact": Resource("contacts", ID, ID, Guard.READ_ONLY, batch=BATCH),
    "line_item": Resource("line_items", ID, ID, Guard.READ_ONLY, batch=BATCH),
    "quote": Resource("quotes", ID, ID, Guard.READ_ONLY, batch=BATCH),
}

#: Properties that set-up creates, and ``check`` looks for. Keys of ours must have unique values.
CUSTOM_PROPERTIES: Mapping[str, tuple[str, ...]] = {
    "companies": (
        OUR_KEY,
        "tieout_site_code",
        "tieout_billing_email",
        "tieout_time_zone",
        "tieout_tax_exemption",
        "tieout_payment_terms_days",
        "tieout_region_code",
        "tieout_country_code",
    ),
    "deals": (
        "tieout_purchase_order",
        "tieout_service_start",
        "tieout_term_months",
        "tieout_status",
        "tieout_subscription",
        "tieout_invoiced",
        "tieout_credited",
        "tieout_paid",
        "tieout_invoice_numbers",
    ),
    "line_items": ("tieout_site_code",),
    "products": (OUR_KEY,),
}

#: The objects that an order is made of, under the names that its payload gives them, and which of them are lists.
OF_ORDERS: Mapping[str, tuple[str, FieldKind]] = {
    "Deal": ("deals", FieldKind.OBJECT),
    "Company": ("companies", FieldKind.OBJECT),
    "ParentCompany": ("companies", FieldKind.OBJECT),
    "Sites": ("companies", FieldKind.LIST),
    "Contacts": ("contacts", FieldKind.LIST),
    "LineItems": ("line_items", FieldKind.LIST),
    "Quote": ("quotes", FieldKind.OBJECT),
}
#: States of a quote that a buyer has seen (quotes API reference), and what its lines say as the deal's own copies do.
PUBLISHED = frozenset({"APPROVED", "APPROVAL_NOT_NEEDED"})
COPIED = ("hs_sku", "name", "quantity", "price", "discount", "hs_discount_percentage", "tieout_site_code")
#: Types of properties (properties API reference, read 2026-11). Every value crosses the wire as text.
TYPES: Mapping[str, FieldKind] = {
    "string": FieldKind.TEXT,
    "phone_number": FieldKind.TEXT,
    "enumeration": FieldKind.TEXT,
    "number": FieldKind.NUMBER,
    "bool": FieldKind.BOOLEAN,
    "date": FieldKind.DATE,
    "datetime": FieldKind.INSTANT,
}

#: Types of associations (category HUBSPOT_DEFINED), seen from a deal or a company.
PRIMARY_COMPANY, CHILD_COMPANY, PARENT_COMPANY = 5, 13, 14

#: Object types of webhooks, by name and by id, to the resource that reads them.
NOTIFIED: Mapping[str, str] = {
    "deal": "order",
    "0-3": "order",
    "company": "account",
    "0-2": "account",
    "product": "product",
    "0-7": "product",
    "contact": "contact",
    "0-1": "contact",
}
#: Happenings that leave a record to be read; of others ``changes`` tells.
READABLE = frozenset({"creation", "propertyChange", "restore"})

#: Seconds to wait at a limit, by its policy, when the vendor does not say; the daily one ends at the account's
#: midnight, whenever that is.
WAITS: Mapping[str, float] = {"SECONDLY": 1.0, "TEN_SECONDLY_ROLLING": 10.0, "DAILY": 1800.0}
#: Seconds to wait for a locked record, and while an account moves between data centres.
LOCKED_WAIT, MOVING_WAIT = 2.0, 60.0
#: How far the search index may be behind: a search begins this much earlier than asked.
SEARCH_LAG = timedelta(minutes=5)
#: Seconds before its end at which an OAuth token is renewed.
RENEW_EARLY = timedelta(seconds=60)
#: How old, or ahead of us, a webhook may be.
WEBHOOK_AGE = timedelta(minutes=5)
#: Encodings that are undone in the URL before it is signed (request validation page).
DECODED: Mapping[str, str] = {f"%{ord(plain):02X}": plain for plain in ":/?@!$'()*,;"}


class Settings(BaseModel):
    """How to reach one HubSpot account: ``access_token`` of a private app, or OAuth by the other three.

    ``portal_id`` (the account), ``client_secret`` (it signs) and ``webhook_url`` (the target URL exactly as HubSpot was
    given it) are needed to receive webhooks. ``won_stages``: ids of deal stages that make a deal an order. ``page``:
    most results a search answers. Plain http is for loopback only.
    """

    base_url: str = "https://api.hubapi.com"
    access_token: SecretStr | None = None
    client_id: str | None = None
    client_secret: SecretStr | None = None
    refresh_token: SecretStr | None = None
    portal_id: int | None = None
    webhook_url: str | None = None
    won_stages: frozenset[str] = Field(default=frozenset({"closedwon"}), min_length=1)
    page: int = Field(default=200, ge=1, le=200)

    @field_validator("base_url")
    @classmethod
    def _safe_address(cls, url: str) -> str:
        parts = urlsplit(url)
        loopback = parts.hostname in ("127.0.0.1", "::1", "localhost")
        if not parts.hostname or parts.scheme not in ("https", "http") or (parts.scheme == "http" and not loopback):
            raise ValueError("base_url must be an https address (http only on loopback)")
        return f"{parts.scheme}://{parts.netloc}"

    @model_validator(mode="after")
    def _one_way_in(self) -> Settings:
        if not self.access_token and not (self.client_id and self.client_secret and self.refresh_token):
            raise ValueError("give access_token, or client_id, client_secret and refresh_token")
        return self


def connect(settings: Settings, world: World) -> HubSpotConnector:
    return HubSpotConnector(settings, world)


class Session(Auth):
    """Puts the token on each call: the private app's, or one of OAuth that is renewed before it ends.

    Single-flight: threads that meet the same old token wait for one renewal. HubSpot gives the same refresh token
    again, so there is nothing new to be kept. Renewing is apart from the call that needs it, so its faults never make a
    write's outcome unknown.
    """

    requires_response_body = True

    def __init__(self, settings: Settings, world: World) -> None:
        self._settings, self._world = settings, world
        self._login = Wire(SYSTEM, settings.base_url, world, read_error=_sign_in_error)
        self._lock = threading.Lock()
        self._token = settings.access_token.get_secret_value() if settings.access_token else None
        self._ends = datetime.max.replace(tzinfo=UTC)

    def auth_flow(self, request: Request) -> Generator[Request, Response, None]:
        token = self.token(ended=None)
        request.headers["Authorization"] = f"Bearer {token}"
        response = yield request
        if response.status_code == 401 and not self._settings.access_token:
            request.headers["Authorization"] = f"Bearer {self.token(ended=token)}"
            yield request

    def token(self, ended: str | None) -> str:
        """The token of now; a new one when there is none, it is about to end, or it is the one that ``ended``."""
        with self._lock:
            if self._token is None or self._token == ended or self._world.clock() >= self._ends - RENEW_EARLY:
                self._token = self._renew()
            return self._token

    def _renew(self) -> str:
        settings = self._settings
        assert settings.client_id
        assert settings.client_secret
        assert settings.refresh_token
        form = {
            "grant_type": "refresh_token",
            "client_id": settings.client_id,
            "client_secret": settings.client_secret.get_secret_value(),
            "refresh_token": settings.refresh_token.get_secret_value(),
        }
        asked_at = self._world.clock()
        answer = exact_json(self._login.read("POST", TOKEN, data=form))
        self._ends = asked_at + timedelta(seconds=int(answer["expires_in"]))
        return str(answer["access_token"])

    def close(self) -> None:
        self._login.close()


def _error_of(response: Response) -> Json:
    """The vendor's error body; empty when it is of another form."""
    try:
        body = parsed(response.content)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _sign_in_error(response: Response) -> TieoutError | None:
    error = _error_of(response)
    if response.status_code >= 500 or response.status_code == 429 or not error:
        return None
    code = error.get("category") or error.get("status")
    return Misconfigured(f"{SYSTEM}: sign-in was refused ({code})", system=SYSTEM)


def _fault(error: Json) -> TieoutError:
    """What the vendor's error about a record means: the whole answer of a call, or one error of a batch."""
    message, category = str(error.get("message", "")), str(error.get("category", ""))
    if "by non-unique" in message:
        return Misconfigured(f"{SYSTEM}: {message}; see tieout doctor", system=SYSTEM)
    detail = _detail(error)
    field = detail.get("name")
    told = str(detail.get("message") or message)
    return Rejected(
        f"{SYSTEM}: {told}", system=SYSTEM, field=field, code=str(detail.get("error") or category or "REFUSED")
    )


def _detail(error: Json) -> Json:
    """Property name, message and code of the first value that was refused; they stand in one of several places."""
    message = str(error.get("message", ""))
    if listed := re.search(r"\[\{.*\}\]", message, re.DOTALL):
        try:
            found: Json = parsed(listed[0])[0]
        except ValueError:
            pass
        else:
            return found
    if taken := re.search(r"propertyName=(\w+), value=.* already has that value", message):
        return {"name": taken[1]}
    for one in (*error.get("errors", ()), error):
        context = one.get("context") or {}
        for place in ("propertyName", "properties"):
            if context.get(place):
                return {"name": str(context[place][0]), "message": one.get("message"), "error": one.get("code")}
    return {}


def _named(fault: TieoutError, resource: str, payload: Payload) -> TieoutError:
    """The same refusal, with the record and the value it is about."""
    if not isinstance(fault, Rejected):
        return fault
    value = payload.get(fault.field) if fault.field else None
    return Rejected(
        str(fault),
        system=SYSTEM,
        record=resource,
        field=fault.field,
        value=None if value is None else str(value),
        code=fault.code,
    )


def _described(about: Json) -> DescribedField:
    offered = [] if about.get("externalOptions") else [one["value"] for one in about["options"] if not one["hidden"]]
    return DescribedField(
        TYPES.get(about["type"], FieldKind.ANYTHING),
        words=frozenset(offered) if about["type"] == "enumeration" else frozenset(),
        writable=not about["modificationMetadata"]["readOnlyValue"],
        spelled=True,
    )


def _text(value: Any) -> str:
    """A value as HubSpot keeps it: everything is text, and empty text clears."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case Decimal():
            return format(value, "f")
        case _:
            return str(value)


@dataclass(frozen=True, slots=True)
class Which:
    """Which records of an object a resource lists, by one property: with a value, without, or with one of some."""

    name: str
    operator: str
    values: tuple[str, ...] = ()

    def holds(self, record: Payload) -> bool:
        value = record.get(self.name)
        if self.operator == "IN":
            return value in self.values
        return bool(value) is (self.operator == "HAS_PROPERTY")

    def filter(self) -> Json:
        return {"propertyName": self.name, "operator": self.operator} | ({"values": self.values} if self.values else {})


class HubSpotConnector(BulkConnector):
    """One HubSpot account. Thread-safe."""

    system = SYSTEM
    resources = RESOURCES

    def __init__(self, settings: Settings, world: World) -> None:
        self._settings, self._world = settings, world
        self._session = Session(settings, world)
        self._wire = Wire(SYSTEM, settings.base_url, world, auth=self._session, read_error=self._read_error)
        self._known: dict[str, dict[str, Json]] = {}
        self._listed: Mapping[str, Which] = {
            "order": Which("dealstage", "IN", tuple(sorted(settings.won_stages))),
            "order_progress": Which("tieout_status", "HAS_PROPERTY"),
            "account": Which("tieout_site_code", "NOT_HAS_PROPERTY"),
            "site": Which("tieout_site_code", "HAS_PROPERTY"),
        }

    def _read_error(self, response: Response) -> TieoutError | None:
        error, status = _error_of(response), response.status_code
        where = f"{SYSTEM}: {error.get('category', status)}"
        wait = retry_after(response.headers, self._world.clock())
        match status:
            case 429:
                policy = str(error.get("policyName", ""))
                usual = WAITS.get(policy, WAITS["TEN_SECONDLY_ROLLING"])
                return RateLimited(f"{where} ({policy})", wait_seconds=usual if wait is None else wait)
            case 423 | 477:
                usual = LOCKED_WAIT if status == 423 else MOVING_WAIT
                return RateLimited(where, wait_seconds=usual if wait is None else wait)
            case 401 | 403 | 404:
                scopes = re.findall(r"[a-z_-]+(?:\.[a-z_-]+){2,}", json.dumps(error.get("errors", [])))
                needs = f"; the token needs one of the scopes {', '.join(scopes)}" if scopes else ""
                return Misconfigured(f"{where}: {response.request.url.path} was refused{needs}", system=SYSTEM)
            case _ if status >= 500 or not error:
                return None
        return _fault(error)

    # -- its schema

    def describe(self, resource: str) -> Mapping[str, DescribedField]:
        """What the properties API lists now; of an order, of each object that it is made of. Nothing is demanded."""
        row = self.resource(resource)
        self._known.clear()
        if resource != "order":
            return self._described(row.path)
        of = {name: DescribedField(kind, fields=self._described(there)) for name, (there, kind) in OF_ORDERS.items()}
        line = DescribedField(FieldKind.OBJECT, fields=of["LineItems"].fields)
        return of | {"LineItems": replace(of["LineItems"], fields={**line.fields, "QuoteLine": line})}

    def _described(self, kind: str) -> dict[str, DescribedField]:
        return {name: _described(about) for name, about in self._properties(kind).items()}

    # -- reading

    def _properties(self, kind: str) -> dict[str, Json]:
        """What the account says of the properties of an object type, asked once."""
        if kind not in self._known:
            answer = exact_json(self._wire.read("GET", f"{PROPERTIES}/{kind}"))
            self._known[kind] = {one["name"]: one for one in answer["results"]}
        return self._known[kind]

    def _read(self, kind: str, keys: Iterable[str], key_field: str = ID) -> dict[str, Json]:
        """Records by a key of theirs, with all their properties; a missing one is left out."""
        found: dict[str, Json] = {}
        if key_field not in self._properties(kind):
            raise Misconfigured(f"{SYSTEM}: {kind} have no property {key_field}; see tieout doctor", system=SYSTEM)
        by = {} if key_field == ID else {"idProperty": key_field}
        for part in chunks(dict.fromkeys(keys), BATCH):
            asked = {
                "properties": list(self._properties(kind)),
                "propertiesWithHistory": [],
                "inputs": [{"id": key} for key in part],
                **by,
            }
            answer = exact_json(self._wire.read("POST", f"{OBJECTS}/{kind}/batch/read", json=asked))
            _only_missing(answer)
            records = [{**one["properties"], ID: one["id"]} for one in answer["results"]]
            found |= {record[key_field]: record for record in records}
        return found

    def _links(self, kind: str, idents: Iterable[str], there: str) -> dict[str, dict[str, set[int]]]:
        """By record: the ids of its associated records, each with the types of the association. All pages."""
        found: dict[str, dict[str, set[int]]] = {ident: {} for ident in idents}
        waiting: list[Json] = [{"id": ident} for ident in found]
        path = f"{LINKS}/{kind}/{there}/batch/read"
        while waiting:
            asked, waiting = waiting[:LINKS_BATCH], waiting[LINKS_BATCH:]
            answer = exact_json(self._wire.read("POST", path, json={"inputs": asked}))
            _only_missing(answer)
            for one in answer["results"]:
                ident = str(one["from"]["id"])
                for link in one["to"]:
                    types = {int(spec["typeId"]) for spec in link["associationTypes"]}
                    found[ident].setdefault(str(link["toObjectId"]), set()).update(types)
                if after := one.get("paging", {}).get("next", {}).get("after"):
                    waiting.append({"id": ident, "after": after})
        return found

    def _orders(self, idents: Iterable[str]) -> dict[str, Payload]:
        """Orders by deal id: at most twelve calls for up to 100 of them; a missing one is left out."""
        deals = self._read("deals", idents)
        lines_of = self._links("deals", deals, "line_items")
        company_of = {deal: _customer(held) for deal, held in self._links("deals", deals, "companies").items()}
        customers = dict.fromkeys(company for company in company_of.values() if company)
        family = self._links("companies", customers, "companies")
        people = self._links("companies", customers, "contacts")
        companies = self._read("companies", [*customers, *(other for held in family.values() for other in held)])
        contacts = self._read("contacts", [other for held in people.values() for other in held])
        lines = self._read("line_items", [line for held in lines_of.values() for line in held])
        sold = {ident: [lines[one] for one in _in_order(lines_of[ident]) if one in lines] for ident in deals}
        quotes = self._quotes(sold)

        def relatives(company: str | None, role: int) -> list[Json]:
            held = family.get(company or "", {})
            return [companies[other] for other in _in_order(held) if role in held[other] and other in companies]

        return {
            ident: {
                "Deal": deal,
                "Company": companies.get(company_of[ident] or ""),
                "ParentCompany": next(iter(relatives(company_of[ident], PARENT_COMPANY)), None),
                "Sites": [one for one in relatives(company_of[ident], CHILD_COMPANY) if one.get("tieout_site_code")],
                "Contacts": [
                    contacts[one] for one in _in_order(people.get(company_of[ident] or "", {})) if one in contacts
                ],
                **quotes[ident],
            }
            for ident, deal in deals.items()
        }

    def _quotes(self, lines_of: Mapping[str, Sequence[Json]]) -> dict[str, Json]:
        """By deal: its lines, each with the line of the quote that it says the same as, and that quote.

        HubSpot says neither which quote a deal was won by, nor which line is a copy of which: a line item belongs to
        one object (line items API guide). So it is the newest published quote that has such a line for each.
        """
        of_deals = self._links("deals", lines_of, "quotes")
        quotes = self._read("quotes", [quote for held in of_deals.values() for quote in held])
        published = [ident for ident, quote in quotes.items() if quote.get("hs_status") in PUBLISHED]
        of_quotes = self._links("quotes", published, "line_items")
        quoted = self._read("line_items", [line for held in of_quotes.values() for line in held])
        found: dict[str, Json] = {}
        for deal, lines in lines_of.items():
            found[deal] = {"LineItems": [{**line, "QuoteLine": None} for line in lines], "Quote": None}
            for ident in _in_order(one for one in of_deals[deal] if one in of_quotes):
                copies = _copies(lines, [quoted[one] for one in _in_order(of_quotes[ident]) if one in quoted])
                if copies:
                    told = [{**line, "QuoteLine": copy} for line, copy in zip(lines, copies, strict=True)]
                    found[deal] = {"LineItems": told, "Quote": quotes[ident]}
        return found

    def changes(self, resource: str, since: str | None) -> Iterator[Change]:
        """Records in the order of their ids. ``since``: an ISO 8601 instant, inclusive; None: all there are.

        ``order``: deals in a won stage; ``order_progress``: those we wrote to; ``account``: companies that are no site.
        All there are come from the list, which is never behind. Changed ones come from search, which is: it is asked
        from some minutes before ``since``, so a record may come again. Deleted ones follow, without payload, for the 90
        days that HubSpot keeps them. Changed line items, sites and contacts do not touch the stamp of a deal.
        """
        kind = self.resource(resource).path
        which = self._listed.get(resource)
        stamp = "lastmodifieddate" if kind == "contacts" else "hs_lastmodifieddate"
        start = _instant(since) - SEARCH_LAG if since else None
        found = self._all(kind, which) if start is None else self._searched(kind, which, stamp, start)
        for part in chunks(found, BATCH):
            payloads = self._orders(part) if resource == "order" else self._read(kind, part)
            for ident, payload in payloads.items():
                record = payload["Deal"] if resource == "order" else payload
                if which is None or which.holds(record):
                    yield Change(ident, _instant(record[stamp]), payload)
        if start:
            yield from self._archived(kind, which, start)

    def _pages(self, kind: str, which: Which | None, archived: str) -> Iterator[Json]:
        """Records of an object type that ``which`` lists, from the list itself."""
        asked = {"limit": str(BATCH), "archived": archived, "properties": which.name if which else ID}
        while True:
            answer = exact_json(self._wire.read("GET", f"{OBJECTS}/{kind}", params=asked))
            yield from (one for one in answer["results"] if which is None or which.holds(one["properties"]))
            if not (after := answer.get("paging", {}).get("next", {}).get("after")):
                return
            asked["after"] = str(after)

    def _all(self, kind: str, which: Which | None) -> Iterator[str]:
        return (one["id"] for one in self._pages(kind, which, "false"))

    def _archived(self, kind: str, which: Which | None, start: datetime) -> Iterator[Change]:
        for one in self._pages(kind, which, "true"):
            gone_at = _instant(one["archivedAt"])
            if gone_at >= start:
                yield Change(one["id"], gone_at, None)

    def _searched(self, kind: str, which: Which | None, stamp: str, start: datetime) -> Iterator[str]:
        """Ids of changed records. Each page begins after the last id of the one before, so no search is a long one."""
        last, size = "0", self._settings.page
        since = str(int(start.timestamp()) * 1000)
        while True:
            filters = [
                {"propertyName": stamp, "operator": "GTE", "value": since},
                {"propertyName": ID, "operator": "GT", "value": last},
                *([which.filter()] if which else []),
            ]
            asked = {"filterGroups": [{"filters": filters}], "sorts": [ID], "properties": [ID], "limit": size}
            answer = exact_json(self._wire.read("POST", f"{OBJECTS}/{kind}/search", json=asked))
            yield from (one["id"] for one in answer["results"])
            if len(answer["results"]) < size:
                return
            last = answer["results"][-1]["id"]

    def get(self, resource: str, vendor_id: str) -> Payload:
        row = self.resource(resource)
        found: Mapping[str, Payload] = (
            self._orders([vendor_id]) if resource == "order" else self._read(row.path, [vendor_id])
        )
        if vendor_id not in found:
            raise _nothing(resource, vendor_id)
        return found[vendor_id]

    def find(self, resource: str, key: ExternalKey) -> Receipt | None:
        row = self._row(resource, key)
        record = self._read(row.path, [key.value], row.key_field).get(key.value)
        if record is None:
            return None
        answer: Payload = self.get("order", record[ID]) if resource == "order" else record
        return Receipt(SYSTEM, resource, record[ID], key, created=False, answer=answer)

    # -- writing

    def _write_batch(self, resource: str, items: Sequence[tuple[Payload, ExternalKey]]) -> list[Outcome]:
        """Writes records and reads them back; in halves when one of them spoils the whole batch."""
        row = self._row(resource, items[0][1])
        if row.guard is Guard.READ_ONLY:
            raise Misconfigured(f"{SYSTEM}: {resource} is only read", system=SYSTEM)
        for _, key in items:
            self._row(resource, key)
        keys = [key.value for _, key in items]
        by, verb = ({}, "update") if row.key_field == ID else ({"idProperty": row.key_field}, "upsert")
        inputs = [
            {
                "id": key,
                **by,
                "objectWriteTraceId": key,
                "properties": {name: _text(value) for name, value in payload.items() if name != row.key_field},
            }
            for key, (payload, _) in zip(keys, items, strict=True)
        ]
        try:
            answer = exact_json(self._wire.write("POST", f"{OBJECTS}/{row.path}/batch/{verb}", json={"inputs": inputs}))
        except Rejected as refusal:
            if len(items) > 1:
                half = len(items) // 2
                return self._write_batch(resource, items[:half]) + self._write_batch(resource, items[half:])
            return [_named(refusal, resource, items[0][0])]
        new = {str(one["id"]): bool(one.get("new", False)) for one in answer["results"]}
        refused = {
            str(key): error
            for error in answer.get("errors", ())
            for place in ("objectWriteTraceId", "ids")
            for key in (error.get("context") or {}).get(place) or ()
        }
        kept = self._read_back(row, keys)
        return [
            self._outcome(resource, item, refused.get(item[1].value), kept.get(item[1].value), new) for item in items
        ]

    def _read_back(self, row: Resource, keys: Sequence[str]) -> Mapping[str, Json]:
        try:
            return self._read(row.path, keys, row.key_field)
        except Retryable:
            return {}

    def _outcome(
        self,
        resource: str,
        item: tuple[Payload, ExternalKey],
        error: Json | None,
        record: Json | None,
        new: Mapping[str, bool],
    ) -> Outcome:
        payload, key = item
        if error is not None:
            return _named(_fault(error), resource, payload)
        if not new:
            return _nothing(resource, key.value)
        if record is None or record[ID] not in new:
            return OutcomeUnknown(f"{SYSTEM} {resource}: sent, and it could not be read back")
        return Receipt(SYSTEM, resource, record[ID], key, created=new[record[ID]], answer=record)

    # -- webhooks

    def events(self, request: WebhookRequest) -> list[WebhookEvent]:
        """The events of one delivery, of this account. Rejected when it is forged, stale or of another form.

        Of a deal, only reaching a won stage is an event. HubSpot does not promise that its event ids are unique, so an
        event is told by what happened, to which record, and when.
        """
        self._verify(request)
        try:
            delivered = parsed(request.body)
            events = [self._event(one) for one in delivered if one["portalId"] == self._settings.portal_id]
        except (ValueError, KeyError, TypeError, OverflowError, OSError):
            raise Rejected(f"{SYSTEM}: a webhook is not a list of events", system=SYSTEM, code="malformed") from None
        return [event for event in events if event is not None]

    def _verify(self, request: WebhookRequest) -> None:
        secret, url = self._settings.client_secret, self._settings.webhook_url
        if secret is None or url is None or self._settings.portal_id is None:
            raise Misconfigured(f"{SYSTEM}: set client_secret, webhook_url and portal_id", system=SYSTEM)
        at = request.headers.get("x-hubspot-request-timestamp", "")
        given = request.headers.get("x-hubspot-signature-v3", "")
        expected = signature(secret.get_secret_value(), url, request.body, at)
        if not hmac.compare_digest(given.encode(), expected.encode()):
            raise Rejected(f"{SYSTEM}: a webhook with a wrong signature was refused", system=SYSTEM)
        sent_at = datetime.fromtimestamp(int(at) / 1000, UTC) if re.fullmatch(r"\d{13}", at) else None
        if sent_at is None or abs(request.received_at - sent_at) > WEBHOOK_AGE:
            raise Rejected(f"{SYSTEM}: a webhook that is not of these minutes was refused", system=SYSTEM)

    def _event(self, told: Json) -> WebhookEvent | None:
        kind = str(told["subscriptionType"])
        noun, _, happened = kind.partition(".")
        resource = NOTIFIED.get(str(told["objectTypeId"]) if noun == "object" else noun)
        if resource is None or happened not in READABLE:
            return None
        name, occurred = told.get("propertyName"), int(told["occurredAt"])
        if resource == "order" and (name != "dealstage" or told.get("propertyValue") not in self._settings.won_stages):
            return None
        ident = str(int(told["objectId"]))
        return WebhookEvent(
            f"{kind}:{ident}:{name or ''}:{occurred}",
            resource,
            ident,
            kind,
            datetime.fromtimestamp(occurred / 1000, UTC),
            version=str(occurred),
        )

    # -- the doctor

    def check(self) -> list[Finding]:
        try:
            answer = self._wire.read("GET", ACCOUNT)
            details = exact_json(answer)
            stages = self._check_stages()
            properties = [self._check_properties(kind) for kind in CUSTOM_PROPERTIES]
        except TieoutError as error:
            return [Finding("reachable, token accepted", ok=False, detail=str(error), cure=error.cure)]
        return [
            Finding("reachable, token accepted", ok=True, detail=self._settings.base_url),
            self._check_account(details),
            _check_calls(answer),
            stages,
            *properties,
        ]

    def _check_account(self, details: Json) -> Finding:
        expected, seen = self._settings.portal_id, details.get("portalId")
        if expected is None or not (self._settings.client_secret and self._settings.webhook_url):
            cure = "set portal_id, client_secret and webhook_url to receive webhooks"
            return Finding("account", ok=False, detail=f"{seen}; webhooks are refused", cure=cure)
        ok = seen == expected
        return Finding("account", ok=ok, detail=str(seen), cure="" if ok else "portal_id is of another account")

    def _check_stages(self) -> Finding:
        answer = exact_json(self._wire.read("GET", PIPELINES))
        stages = [stage for pipeline in answer["results"] for stage in pipeline["stages"]]
        won = {one["id"] for one in stages if Decimal(one.get("metadata", {}).get("probability") or 0) == 1}
        strange, left = self._settings.won_stages - won, won - self._settings.won_stages
        told = [f"no won stage {one}" for one in sorted(strange)] + [f"not listened to: {one}" for one in sorted(left)]
        detail = "; ".join(told) or ", ".join(sorted(won))
        return Finding("won stages", ok=not told, detail=detail, cure="set won_stages to their ids" if told else "")

    def _check_properties(self, kind: str) -> Finding:
        known = self._properties(kind)
        missing = [name for name in CUSTOM_PROPERTIES[kind] if name not in known]
        keys = {row.key_field for row in RESOURCES.values() if row.path == kind and row.key_field != ID}
        loose = [name for name in sorted(keys & known.keys()) if not known[name].get("hasUniqueValue")]
        told = [f"missing: {', '.join(missing)}"] * bool(missing) + [f"not unique: {', '.join(loose)}"] * bool(loose)
        return Finding(
            f"properties of {kind}",
            ok=not told,
            detail="; ".join(told) or "all there",
            cure="create them as docs/connectors/hubspot.md says" if told else "",
        )

    def close(self) -> None:
        self._wire.close()
        self._session.close()


def signature(secret: str, url: str, body: bytes, at: str) -> str:
    """Version 3 of HubSpot's signature: HMAC-SHA256 of method, URL, raw body and time in milliseconds, in base64."""
    for encoded, plain in DECODED.items():
        url = re.sub(encoded, plain, url, flags=re.IGNORECASE)
    text = b"".join((b"POST", url.encode(), body, at.encode()))
    return base64.b64encode(hmac.digest(secret.encode(), text, hashlib.sha256)).decode()


def _only_missing(answer: Json) -> None:
    """Lets errors of a batch pass that say that something is not there. Unavailable for any other."""
    for error in answer.get("errors", ()):
        if error.get("category") != "OBJECT_NOT_FOUND":
            raise Unavailable(f"{SYSTEM}: a batch was read in part ({error.get('category')})")


def _customer(companies: Mapping[str, set[int]]) -> str | None:
    """The primary company of a deal, or the only one."""
    primary = [ident for ident, types in companies.items() if PRIMARY_COMPANY in types]
    candidates = primary or list(companies)
    return candidates[0] if len(candidates) == 1 else None


def _in_order(idents: Iterable[str]) -> list[str]:
    return sorted(idents, key=int)


def _copies(lines: Sequence[Json], quoted: Sequence[Json]) -> list[Json]:
    """For each line of a deal one of a quote that says the same; empty where one has none."""
    left, found = list(quoted), list[Json]()
    for line in lines:
        said = [line.get(name) for name in COPIED]
        copy = next((one for one in left if [one.get(name) for name in COPIED] == said), None)
        if copy is None:
            return []
        left.remove(copy)
        found.append(copy)
    return found


def _nothing(resource: str, ident: str) -> Rejected:
    message = f"{SYSTEM} has no {resource} {ident}"
    return Rejected(message, system=SYSTEM, record=resource, field=ID, value=ident, code="OBJECT_NOT_FOUND")


def _check_calls(response: Response) -> Finding:
    most = int(response.headers.get("x-hubspot-ratelimit-daily", "0"))
    left = int(response.headers.get("x-hubspot-ratelimit-daily-remaining", "0"))
    if not most:
        return Finding("daily calls", ok=True, detail="not told; an app of OAuth has no daily limit")
    ok = left * 10 >= most
    cure = "" if ok else "find what else calls the account, or buy more calls"
    return Finding("daily calls", ok=ok, detail=f"{left} of {most} left", cure=cure)


def _instant(text: str) -> datetime:
    """An instant of ISO 8601 text with an offset."""
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} has no offset")
    return instant.astimezone(UTC)
