"""A HubSpot account on loopback: CRM objects v3, associations v4, search, properties, OAuth, and webhooks v3.

Written from the CRM API references and usage guidelines (published docs, read 2026-11), answers recorded in public
issues, and the shapes of HubSpot's own clients. Properties, stages and association types stand in
``sandbox.hubspot_schema``, what a write must keep to in ``sandbox.hubspot_records``. Peculiar to the sandbox:

- One account ``PORTAL_ID`` with two ways in: the private app's ``ACCESS_TOKEN``, or OAuth with ``CLIENT_ID``,
  ``CLIENT_SECRET`` and ``REFRESH_TOKEN``.
- Webhooks go to the URL registered at ``/_sandbox/webhooks`` (``secret``: the app's client secret, ``CLIENT_SECRET``
  unless given) for what ``SUBSCRIPTIONS`` lists; the events of one call come in one delivery.
- ``POST /_sandbox/search_lag`` with ``{"seconds": n}``: how far the search index is behind; 0 at first.
- ``POST /_sandbox/limits`` with ``{"burst": n, "daily": n, "search": n}``: calls that are let through per 10 seconds,
  per day and per second; null (at first): all.
- ``Retry-After`` on a planted ``rate_limit`` is a courtesy of the sandbox; the vendor sends none.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.administration import door
from sandbox.emulator import Emulator, ExactJSONResponse, Fault, Json, Shelf, read_json
from sandbox.hubspot_records import Draft, Records, Refusal, invalid, kind_of, not_found
from sandbox.hubspot_schema import ASSOCIATIONS, OBJECTS, STAGES, Property, milliseconds, stamp
from sandbox.hubspot_search import search

PORTAL_ID, APP_ID = 48_151_623, 4_200_042
ACCESS_TOKEN = "pat-na1-sandbox"
CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN = "sandbox-client", "sandbox-secret", "sandbox-refresh"
#: Seconds that an OAuth access token lives.
TOKEN_LIFE = 1800
#: Inputs of a batch, records of a page, associations of a page, inputs of a batch of associations.
BATCH, PAGE, LINKS_PAGE, LINKS_BATCH = 100, 100, 500, 1000
#: What the app is told of: subscription type and property.
SUBSCRIPTIONS: Mapping[tuple[str, str | None], int] = {
    ("deal.creation", None): 3_100_001,
    ("deal.propertyChange", "dealstage"): 3_100_002,
    ("deal.deletion", None): 3_100_003,
    ("company.creation", None): 3_100_004,
    ("company.propertyChange", "tieout_billing_email"): 3_100_005,
}
#: Events of one delivery.
EVENTS = 100


@dataclass(slots=True)
class Call:
    """One call of the API, after sign-in."""

    portal: Portal
    records: Records
    query: Mapping[str, list[str]]
    body: Any
    size: int
    written: list[Draft] = field(default_factory=list)
    archived: list[tuple[str, str]] = field(default_factory=list)

    def listed(self, name: str) -> list[str]:
        """A query parameter that may be repeated, or hold several names with commas."""
        return [one for text in self.query.get(name, ()) for one in text.split(",") if one]

    def one(self, name: str, usual: str = "") -> str:
        return self.query.get(name, [usual])[-1]

    def inputs(self, most: int = BATCH) -> list[Json]:
        inputs = self.body.get("inputs") if isinstance(self.body, dict) else None
        if not isinstance(inputs, list) or not all(isinstance(one, dict) for one in inputs):
            raise invalid("Invalid input JSON on line 1, column 1. Some required fields were not set: [inputs]")
        if len(inputs) > most:
            raise invalid(f"The maximum number of inputs supported in a batch request is {most}, {len(inputs)} given")
        return inputs

    def keep(self, drafted: Draft) -> Json:
        self.written.append(drafted)
        record = self.records.keep(drafted)
        asked = [*drafted.given, *(name for name, one in self.records.properties(drafted.kind).items() if one.unique)]
        answer = self.records.shown(drafted.kind, record, asked)
        return answer | ({"objectWriteTraceId": drafted.trace} if drafted.trace else {})

    def batch(self, results: list[Json], errors: list[Json]) -> tuple[int, Json]:
        now = stamp(self.portal.shelf.now())
        body: Json = {"status": "COMPLETE", "results": results, "startedAt": now, "completedAt": now}
        if errors:
            body |= {"numErrors": len(errors), "errors": errors}
        return (207 if errors else 200), body


Answer = tuple[int, Any]

# -- objects -----------------------------------------------------------------------------------------------------------


def _list(call: Call, kind: str) -> Answer:
    limit = int(call.one("limit", "10"))
    if not 1 <= limit <= PAGE:
        raise invalid(f"limit must be between 1 and {PAGE}")
    archived = call.one("archived") == "true"
    after = int(call.one("after", "0"))
    records = call.portal.shelf.all(f"_archived_{kind}" if archived else kind)
    later = sorted((one for one in records if int(one["id"]) > after), key=lambda one: int(one["id"]))
    page = later[:limit]
    answer: Json = {"results": [_whole(call, kind, one) for one in page]}
    if len(later) > limit:
        answer["paging"] = {"next": {"after": page[-1]["id"]}}
    return 200, answer


def _whole(call: Call, kind: str, record: Json) -> Json:
    shown = call.records.shown(kind, record, call.listed("properties"))
    linked: Json = {}
    for there in map(kind_of, call.listed("associations")):
        word = f"{OBJECTS[kind][1]}_to_{OBJECTS[there][1]}"
        held = call.records.links(kind, record["id"], there)
        if held:
            linked[there] = {"results": [{"id": other, "type": word} for other in held]}
    return shown | ({"associations": linked} if linked else {})


def _create(call: Call, kind: str) -> Answer:
    return 201, _created(call, kind, call.body)


def _created(call: Call, kind: str, told: Any) -> Json:
    if not isinstance(told, dict):
        raise invalid("Invalid input JSON on line 1, column 1. Some required fields were not set: [properties]")
    drafted = call.records.draft(kind, None, told.get("properties"), told.get("objectWriteTraceId"))
    answer = call.keep(drafted)
    for one in told.get("associations") or ():
        types = [spec["associationTypeId"] for spec in one["types"]]
        there = next(
            (far for (near, far), known in ASSOCIATIONS.items() if near == kind and types[0] in dict(known)), ""
        )
        call.records.link(kind, answer["id"], there, str(one["to"]["id"]), types)
    return answer


def _read(call: Call, kind: str, ident: str) -> Answer:
    return 200, _whole(call, kind, call.records.existing(kind, ident, call.one("idProperty") or None))


def _update(call: Call, kind: str, ident: str) -> Answer:
    before = call.records.existing(kind, ident, call.one("idProperty") or None)
    return 200, call.keep(call.records.draft(kind, before, (call.body or {}).get("properties")))


def _archive(call: Call, kind: str, ident: str) -> Answer:
    record = call.records.get(kind, ident)
    if record:
        call.records.archive(kind, record)
        call.archived.append((kind, ident))
    return 204, None


def _read_batch(call: Call, kind: str) -> Answer:
    name = call.body.get("idProperty") if isinstance(call.body, dict) else None
    if name:
        call.records.unique(kind, name)
    wanted = dict.fromkeys(str(one.get("id", "")) for one in call.inputs())
    results, lacking = [], []
    for ident in wanted:
        record = call.records.by_unique(kind, name, ident) if name else call.records.get(kind, ident)
        if record is None:
            lacking.append(ident)
        else:
            results.append(call.records.shown(kind, record, call.body.get("properties") or ()))
    return call.batch(results, [_missing(kind, lacking)] if lacking else [])


def _missing(kind: str, idents: list[str]) -> Json:
    word = OBJECTS[kind][1].upper()
    message = f"Could not get some {word} objects, they may be deleted or not exist. Check that ids are valid."
    return not_found(message, context={"ids": idents}).part()


def _create_batch(call: Call, kind: str) -> Answer:
    """Whole or not at all; one by one when every input has an objectWriteTraceId."""
    inputs = call.inputs()
    traced = all(one.get("objectWriteTraceId") for one in inputs)
    if not traced:
        for one in inputs:
            call.records.draft(kind, None, one.get("properties"))
        call.records.claimed.clear()
    results: list[Json] = []
    errors: list[Json] = []
    for one in inputs:
        try:
            results.append(_created(call, kind, one))
        except Refusal as refusal:
            if not traced:
                raise
            errors.append(refusal.part() | {"context": {"objectWriteTraceId": [one["objectWriteTraceId"]]}})
    status, body = call.batch(results, errors)
    return (201 if status == 200 else status), body


def _distinct(inputs: list[Json]) -> None:
    idents = [str(one.get("id", "")) for one in inputs]
    twice = sorted({ident for ident in idents if idents.count(ident) > 1})
    if twice:
        listed = ", ".join(twice)
        raise invalid(f"Duplicate IDs found in batch input: [{listed}]. IDs must be unique", context={"ids": twice})


def _update_batch(call: Call, kind: str) -> Answer:
    inputs = call.inputs()
    _distinct(inputs)
    drafts, lacking = [], []
    for one in inputs:
        name, ident = one.get("idProperty"), str(one.get("id", ""))
        before = call.records.by_unique(kind, name, ident) if name else call.records.get(kind, ident)
        if before is None:
            lacking.append(ident)
        else:
            drafts.append(call.records.draft(kind, before, one.get("properties"), one.get("objectWriteTraceId")))
    return call.batch([call.keep(drafted) for drafted in drafts], [_missing(kind, lacking)] if lacking else [])


def _upsert_batch(call: Call, kind: str) -> Answer:
    """Whole or not at all: one value that does not fit refuses all, and one that another record has is a 409."""
    inputs = call.inputs()
    _distinct(inputs)
    drafts = []
    for one in inputs:
        name, ident = one.get("idProperty"), str(one.get("id", ""))
        if not name or not ident:
            raise invalid("Invalid input JSON on line 1, column 1. Some required fields were not set: [id, idProperty]")
        call.records.unique(kind, name)
        before = call.records.by_unique(kind, name, ident)
        given = {name: ident, **(one.get("properties") or {})}
        try:
            drafts.append(call.records.draft(kind, before, given, one.get("objectWriteTraceId")))
        except Refusal as refusal:
            if refusal.more.get("subCategory") == "UNIQUE_VALUE_CONFLICT":
                raise Refusal(409, "CONFLICT", refusal.message) from None
            raise
    return call.batch([call.keep(drafted) | {"new": drafted.before is None} for drafted in drafts], [])


def _archive_batch(call: Call, kind: str) -> Answer:
    for one in call.inputs():
        _archive(call, kind, str(one.get("id", "")))
    return 204, None


def _search(call: Call, kind: str) -> Answer:
    return 200, search(call.records, kind, call.body, call.size, call.portal.lag)


# -- properties, pipelines, the account --------------------------------------------------------------------------------


def _properties(call: Call, kind: str) -> Answer:
    return 200, {"results": [one.describe() for one in call.records.properties(kind).values()]}


def _property(call: Call, kind: str, name: str) -> Answer:
    found: Property | None = call.records.properties(kind).get(name)
    if found is None:
        raise not_found(f"property {name} does not exist")
    return 200, found.describe()


def _make_property(call: Call, kind: str) -> Answer:
    return 201, call.records.make_property(kind, call.body or {}).describe()


def _pipelines(call: Call, kind: str) -> Answer:
    if kind != "deals":
        return 200, {"results": []}
    born = "2020-01-01T00:00:00Z"
    dated = {"createdAt": born, "updatedAt": born, "archived": False}
    pipelines = [
        dated
        | {
            "id": name,
            "label": "Sales Pipeline",
            "displayOrder": 0,
            "stages": [
                dated
                | {
                    "id": ident,
                    "label": label,
                    "displayOrder": place,
                    "metadata": {"isClosed": str(chance in ("0.0", "1.0")).lower(), "probability": chance},
                }
                for place, (ident, label, chance) in enumerate(stages)
            ],
        }
        for name, stages in STAGES.items()
    ]
    return 200, {"results": pipelines}


def _details(_call: Call) -> Answer:
    return 200, {
        "portalId": PORTAL_ID,
        "accountType": "DEVELOPER_TEST",
        "timeZone": "US/Eastern",
        "companyCurrency": "USD",
        "additionalCurrencies": ["EUR", "GBP", "CAD", "JPY"],
        "utcOffset": "-05:00",
        "utcOffsetMilliseconds": -18_000_000,
        "uiDomain": "app.hubspot.com",
        "dataHostingLocation": "na1",
    }


# -- associations ------------------------------------------------------------------------------------------------------


def _shown_links(kind: str, there: str, held: Mapping[str, list[int]]) -> list[Json]:
    labels = dict(ASSOCIATIONS.get((kind, there), ()))
    return [
        {
            "toObjectId": other,
            "associationTypes": [
                {"category": "HUBSPOT_DEFINED", "typeId": number}
                | ({"label": label} if (label := labels[number]) else {})
                for number in numbers
            ],
        }
        for other, numbers in held.items()
    ]


def _links_page(call: Call, kind: str, ident: str, there: str, after: str, limit: int) -> tuple[list[Json], Json]:
    shown = _shown_links(kind, there, call.records.links(kind, ident, there))
    start = int(after or 0)
    more: Json = {"paging": {"next": {"after": str(start + limit)}}} if len(shown) > start + limit else {}
    return shown[start : start + limit], more


def _links(call: Call, kind: str, ident: str, there: str) -> Answer:
    there = kind_of(there)
    call.records.existing(kind, ident)
    results, more = _links_page(call, kind, ident, there, call.one("after"), int(call.one("limit", str(LINKS_PAGE))))
    return 200, {"results": results} | more


def _links_batch(call: Call, kind: str, there: str) -> Answer:
    there = kind_of(there)
    results: list[Json] = []
    errors: list[Json] = []
    for one in call.inputs(LINKS_BATCH):
        ident = str(one.get("id", ""))
        page, more = _links_page(call, kind, ident, there, one.get("after", ""), LINKS_PAGE)
        if page:
            results.append({"from": {"id": ident}, "to": page} | more)
            continue
        near, far = OBJECTS[kind][1], OBJECTS[there][1]
        about = {"fromObjectId": [ident], "fromObjectType": [near], "toObjectType": [far]}
        nothing = not_found(f"No {far} is associated with {near} {ident}.", context=about)
        errors.append(nothing.part() | {"subCategory": "crm.associations.NO_ASSOCIATIONS_FOUND"})
    return call.batch(results, errors)


def _link_default(call: Call, kind: str, ident: str, there: str, other: str) -> Answer:
    return call.batch(_linked_default(call, kind, ident, kind_of(there), other), [])


def _linked_default(call: Call, kind: str, ident: str, there: str, other: str) -> list[Json]:
    known = ASSOCIATIONS.get((kind, there))
    if not known:
        raise invalid(f"No associations from {kind} to {there}")
    call.records.link(kind, ident, there, other, [known[0][0]])
    return [
        {
            "from": {"id": near},
            "to": {"id": far},
            "associationSpec": {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": number},
        }
        for near, far, number in (
            (ident, other, known[0][0]),
            (other, ident, ASSOCIATIONS[there, kind][0][0]),
        )
    ]


def _link_labelled(call: Call, kind: str, ident: str, there: str, other: str) -> Answer:
    if not isinstance(call.body, list) or not call.body:
        raise invalid("Invalid input JSON on line 1, column 1: a list of association types is required")
    return 201, _linked(call, kind, ident, kind_of(there), other, call.body)


def _linked(call: Call, kind: str, ident: str, there: str, other: str, types: list[Json]) -> Json:
    numbers = [int(one["associationTypeId"]) for one in types]
    call.records.link(kind, ident, there, other, numbers)
    labels = dict(ASSOCIATIONS[kind, there])
    return {
        "fromObjectTypeId": OBJECTS[kind][0],
        "fromObjectId": ident,
        "toObjectTypeId": OBJECTS[there][0],
        "toObjectId": other,
        "labels": [label for number in numbers if (label := labels.get(number))],
    }


def _unlink(call: Call, kind: str, ident: str, there: str, other: str) -> Answer:
    call.records.unlink(kind, ident, kind_of(there), other)
    return 204, None


def _link_batch(call: Call, kind: str, there: str) -> Answer:
    made = [
        _linked(call, kind, str(one["from"]["id"]), kind_of(there), str(one["to"]["id"]), one["types"])
        for one in call.inputs(2 * LINKS_BATCH)
    ]
    return 201, call.batch(made, [])[1]


def _link_default_batch(call: Call, kind: str, there: str) -> Answer:
    made = [
        pair
        for one in call.inputs(2 * LINKS_BATCH)
        for pair in _linked_default(call, kind, str(one["from"]["id"]), kind_of(there), str(one["to"]["id"]))
    ]
    return call.batch(made, [])


def _unlink_batch(call: Call, kind: str, there: str) -> Answer:
    for one in call.inputs(2 * LINKS_BATCH):
        for other in one["to"]:
            call.records.unlink(kind, str(one["from"]["id"]), kind_of(there), str(other["id"]))
    return 204, None


#: Method and path to what answers it; the first group of the pattern is an object type.
OBJECT, PAIR = r"/crm/v3/objects/(\w[\w-]*)", r"/crm/v4/associations/(\w[\w-]*)/(\w[\w-]*)/batch"
LINKED = r"/crm/v4/objects/(\w[\w-]*)/([^/]+)/associations"
ROUTES: tuple[tuple[str, str, Callable[..., Answer]], ...] = (
    ("GET", OBJECT, _list),
    ("POST", OBJECT, _create),
    ("POST", OBJECT + r"/search", _search),
    ("POST", OBJECT + r"/batch/read", _read_batch),
    ("POST", OBJECT + r"/batch/create", _create_batch),
    ("POST", OBJECT + r"/batch/update", _update_batch),
    ("POST", OBJECT + r"/batch/upsert", _upsert_batch),
    ("POST", OBJECT + r"/batch/archive", _archive_batch),
    ("GET", OBJECT + r"/([^/]+)", _read),
    ("PATCH", OBJECT + r"/([^/]+)", _update),
    ("DELETE", OBJECT + r"/([^/]+)", _archive),
    ("GET", r"/crm/v3/properties/(\w[\w-]*)", _properties),
    ("POST", r"/crm/v3/properties/(\w[\w-]*)", _make_property),
    ("GET", r"/crm/v3/properties/(\w[\w-]*)/(\w+)", _property),
    ("GET", r"/crm/v3/pipelines/(\w[\w-]*)", _pipelines),
    ("GET", r"/account-info/v3/details", _details),
    ("GET", LINKED + r"/(\w[\w-]*)", _links),
    ("PUT", LINKED + r"/default/(\w[\w-]*)/([^/]+)", _link_default),
    ("PUT", LINKED + r"/(\w[\w-]*)/([^/]+)", _link_labelled),
    ("DELETE", LINKED + r"/(\w[\w-]*)/([^/]+)", _unlink),
    ("POST", PAIR + r"/read", _links_batch),
    ("POST", PAIR + r"/create", _link_batch),
    ("POST", PAIR + r"/associate/default", _link_default_batch),
    ("POST", PAIR + r"/archive", _unlink_batch),
)


def _route(call: Call, method: str, path: str) -> Answer:
    known = [row for row in ROUTES if re.fullmatch(row[1], path)]
    for wanted, pattern, answer in known:
        match = re.fullmatch(pattern, path)
        if wanted == method and match:
            first, *others = map(unquote, match.groups()) if match.groups() else ("",)
            return answer(call, kind_of(first), *others) if first else answer(call)
    if known:
        raise Refusal(405, "METHOD_NOT_ALLOWED", f"Method {method} is not allowed here")
    raise not_found("resource not found")


# -- the account on its socket -----------------------------------------------------------------------------------------

#: Per limit: HubSpot's name of it, its span in seconds, and how its message calls it.
POLICIES: Mapping[str, tuple[str, int, str]] = {
    "search": ("SECONDLY", 1, "secondly"),
    "burst": ("TEN_SECONDLY_ROLLING", 10, "ten_secondly_rolling"),
    "daily": ("DAILY", 86_400, "daily"),
}
USUAL_BURST, USUAL_DAILY = 190, 1_000_000


def too_many(limit: str) -> Refusal:
    policy, _, word = POLICIES[limit]
    message = f"You have reached your {word} limit."
    return Refusal(429, "RATE_LIMITS", message, errorType="RATE_LIMIT", policyName=policy)


@dataclass
class Portal:
    """The account behind the routes, and what it sends out."""

    shelf: Shelf
    send: Callable[[str, Json, bytes, str], None] = lambda _kind, _event, _body, _type: None
    calls: dict[str, deque[datetime]] = field(default_factory=dict)

    @property
    def lag(self) -> float:
        return float((self.shelf.get("_settings", "search_lag") or {}).get("seconds", 0))

    async def api(self, request: Request) -> Response:
        raw = await request.body()
        correlation = secrets.token_hex(16)
        path = request.scope["raw_path"].decode().rstrip("/")
        call: Call | None = None
        try:
            self._sign_in(request)
            self._spend(path)
            try:
                body = read_json(raw) if raw else None
            except ValueError:
                raise invalid("Invalid input JSON on line 1, column 1: unexpected character") from None
            query = parse_qs(request.url.query, keep_blank_values=True)
            call = Call(self, Records(self.shelf), query, body, len(raw.decode()))
            try:
                status, answer = _route(call, request.method, path)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise invalid(f"Invalid input JSON on line 1, column 1: {error}") from None
        except Refusal as refusal:
            return ExactJSONResponse(refusal.body(correlation), refusal.status, self._headers(path))
        self._tell(call)
        if status == 204:
            return Response(status_code=204, headers=self._headers(path))
        return ExactJSONResponse(answer, status, self._headers(path))

    def _sign_in(self, request: Request) -> None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if token == ACCESS_TOKEN:
            return
        known = self.shelf.get("_token", token) if token else None
        if known is None:
            message = "Authentication credentials not found. This API supports OAuth 2.0 authentication"
            raise Refusal(401, "INVALID_AUTHENTICATION", message)
        if datetime.fromisoformat(known["ends"]) <= self.shelf.now():
            message = f"The OAuth token used to make this call expired at {known['ends']}"
            raise Refusal(401, "EXPIRED_AUTHENTICATION", message)

    def _spend(self, path: str) -> None:
        """Counts a call against each limit. Refusal (429) names the first that is used up."""
        now = self.shelf.now()
        allowed = self.shelf.get("_settings", "limits") or {}
        for name, (_, span, _word) in POLICIES.items():
            if (name == "search") is not path.endswith("/search") and name != "daily":
                continue
            made = self.calls.setdefault(name, deque())
            while made and made[0] <= now - timedelta(seconds=span):
                made.popleft()
            if allowed.get(name) is not None and len(made) >= allowed[name]:
                raise too_many(name)
            made.append(now)

    def _headers(self, path: str) -> dict[str, str]:
        """What is left of the limits; a search does not say."""
        if path.endswith("/search"):
            return {}
        allowed = self.shelf.get("_settings", "limits") or {}
        daily, burst = allowed.get("daily") or USUAL_DAILY, allowed.get("burst") or USUAL_BURST
        return {
            "X-HubSpot-RateLimit-Daily": str(daily),
            "X-HubSpot-RateLimit-Daily-Remaining": str(max(0, daily - len(self.calls.get("daily", ())))),
            "X-HubSpot-RateLimit-Interval-Milliseconds": "10000",
            "X-HubSpot-RateLimit-Max": str(burst),
            "X-HubSpot-RateLimit-Remaining": str(max(0, burst - len(self.calls.get("burst", ())))),
        }

    def _tell(self, call: Call) -> None:
        """Sends the events of one call, as many to a delivery as one may hold."""
        events = [event for drafted in call.written for event in self._events(drafted)]
        events += [event for kind, ident in call.archived for event in self._event(kind, ident, "deletion", None, None)]
        for start in range(0, len(events), EVENTS):
            batch = events[start : start + EVENTS]
            self.send(batch[0]["subscriptionType"], {"events": batch}, json.dumps(batch).encode(), "application/json")

    def _events(self, drafted: Draft) -> list[Json]:
        ident = drafted.record["id"]
        events = self._event(drafted.kind, ident, "creation", None, None) if drafted.before is None else []
        for name, value in drafted.changed.items():
            events += self._event(drafted.kind, ident, "propertyChange", name, value)
        return events

    def _event(self, kind: str, ident: str, what: str, name: str | None, value: str | None) -> list[Json]:
        told = f"{OBJECTS[kind][1]}.{what}"
        if (told, name) not in SUBSCRIPTIONS:
            return []
        event: Json = {
            "eventId": self.shelf.next("event"),
            "subscriptionId": SUBSCRIPTIONS[told, name],
            "portalId": PORTAL_ID,
            "appId": APP_ID,
            "occurredAt": milliseconds(self.shelf.now()),
            "subscriptionType": told,
            "attemptNumber": 0,
            "objectId": int(ident),
            "changeSource": "INTEGRATION",
            "sourceId": str(APP_ID),
        }
        if name is not None:
            return [event | {"propertyName": name, "propertyValue": value}]
        return [event | {"changeFlag": "NEW" if what == "creation" else "DELETED"}]

    async def token(self, request: Request) -> Response:
        form = {name: values[-1] for name, values in parse_qs((await request.body()).decode()).items()}
        correlation = secrets.token_hex(16)
        try:
            if form.get("grant_type") != "refresh_token":
                raise Refusal(400, "BAD_GRANT_TYPE", "grant_type is not one this sandbox knows")
            if (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
                raise Refusal(400, "BAD_CLIENT_SECRET", "missing or invalid client secret")
            if form.get("refresh_token") != REFRESH_TOKEN:
                raise Refusal(400, "BAD_REFRESH_TOKEN", "missing or invalid refresh token")
        except Refusal as refusal:
            return ExactJSONResponse(refusal.body(correlation) | {"status": refusal.category}, refusal.status)
        token = secrets.token_urlsafe(32)
        ends = self.shelf.now() + timedelta(seconds=TOKEN_LIFE)
        self.shelf.keep("_token", token, {"ends": stamp(ends)})
        return ExactJSONResponse(
            {
                "access_token": token,
                "refresh_token": REFRESH_TOKEN,
                "token_type": "bearer",
                "expires_in": TOKEN_LIFE,
            }
        )

    async def token_info(self, request: Request) -> Response:
        token = request.path_params["token"]
        known = self.shelf.get("_token", token)
        if known is None:
            return ExactJSONResponse(not_found("token does not exist").body(secrets.token_hex(16)), 404)
        left = datetime.fromisoformat(known["ends"]) - self.shelf.now()
        return ExactJSONResponse(
            {
                "token": token,
                "hub_id": PORTAL_ID,
                "hub_domain": "northwind.example",
                "user": "integration@northwind.example",
                "user_id": 1,
                "app_id": APP_ID,
                "scopes": ["oauth", "crm.objects.companies.read"],
                "token_type": "access",
                "expires_in": max(0, int(left.total_seconds())),
            }
        )

    async def setting(self, request: Request) -> Response:
        told = read_json(await request.body())
        self.shelf.keep("_settings", request.url.path.rpartition("/")[2], told)
        self.calls.clear()
        return ExactJSONResponse(told)


# -- webhooks ----------------------------------------------------------------------------------------------------------

#: Encodings that are undone in a URI before it is signed.
DECODED = {
    "%3A": ":",
    "%2F": "/",
    "%3F": "?",
    "%40": "@",
    "%21": "!",
    "%24": "$",
    "%27": "'",
    "%28": "(",
    "%29": ")",
    "%2A": "*",
    "%2C": ",",
    "%3B": ";",
}


def signature(secret: str, uri: str, body: bytes, at: str) -> str:
    """Version 3: HMAC-SHA256 of method, URI, body and time (text of milliseconds), in base64."""
    for encoded, plain in DECODED.items():
        uri = uri.replace(encoded, plain).replace(encoded.lower(), plain)
    text = b"POST" + uri.encode() + body + at.encode()
    return base64.b64encode(hmac.new(secret.encode(), text, hashlib.sha256).digest()).decode()


def signed(secret: str, uri: str, body: bytes, now: datetime) -> dict[str, str]:
    """The headers of a delivery; version 1 still comes along."""
    at = str(milliseconds(now))
    return {
        "X-HubSpot-Signature-v3": signature(secret, uri, body, at),
        "X-HubSpot-Request-Timestamp": at,
        "X-HubSpot-Signature-Version": "v1",
        "X-HubSpot-Signature": hashlib.sha256(secret.encode() + body).hexdigest(),
    }


FAULTS: Mapping[int, tuple[str, str]] = {
    401: ("INVALID_AUTHENTICATION", "Authentication credentials not found."),
    403: ("MISSING_SCOPES", "This app hasn't been granted all required scopes to make this call."),
    409: ("CONFLICT", "The record is being changed by another call"),
    423: ("LOCKED", "The record is locked; try again in 2 seconds"),
    477: ("MIGRATION_IN_PROGRESS", "The account is moving to another data center"),
}


def fault_answer(fault: Fault) -> Response:
    if fault.kind == "rate_limit":
        wait = {"Retry-After": format(fault.seconds, "g")}
        return ExactJSONResponse(too_many("burst").body(secrets.token_hex(16)), 429, wait)
    category, message = FAULTS.get(fault.status, ("INTERNAL_ERROR", "internal error"))
    more: Json = {}
    if fault.status == 403:
        scopes = {"requiredGranularScopes": ["crm.objects.companies.write"]}
        more["errors"] = [{"message": "One or more of the following scopes are required.", "context": scopes}]
    return ExactJSONResponse(Refusal(fault.status, category, message, **more).body(secrets.token_hex(16)), fault.status)


def emulator(shelf: Shelf) -> Emulator:
    portal = Portal(shelf)
    routes = [
        Route("/_sandbox/search_lag", portal.setting, methods=["POST"]),
        Route("/_sandbox/limits", portal.setting, methods=["POST"]),
        door(shelf),
        Route("/oauth/v1/token", portal.token, methods=["POST"]),
        Route("/oauth/v1/access-tokens/{token}", portal.token_info),
        Route("/{rest:path}", portal.api, methods=["GET", "POST", "PATCH", "PUT", "DELETE"]),
    ]

    def sign(_event: Json, body: bytes, secret: str) -> dict[str, str]:
        return signed(secret or CLIENT_SECRET, built.webhooks.url, body, shelf.now())

    built = Emulator("hubspot", routes, shelf, sign=sign, fault_answer=fault_answer)
    portal.send = built.webhooks.send
    return built
