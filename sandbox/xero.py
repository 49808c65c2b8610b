"""A Xero organisation on loopback: tokens, connections, the Accounting API 2.0, its limits, idempotency and webhooks.

Written from the published OpenAPI files 16.1.0 (2026-07) and the developer pages on requests, limits, idempotency,
OAuth 2.0 and webhooks (read 2026-11). Fields and the filter language stand in ``sandbox.xero_schema``, the rules of the
books in ``sandbox.xero_books``. Peculiar to the sandbox:

- One app, ``CLIENT_ID`` / ``CLIENT_SECRET``, with consent for one organisation, ``TENANT``; the first refresh token is
  ``REFRESH_TOKEN``. Every use gives a new one; the used one stays good for 30 minutes, so that a lost answer locks
  nobody out.
- ``GET|POST /_sandbox/xero`` shows and changes ``{"period_lock": "2026-09-30" | null, "end_of_year_lock": ...,
  "currencies": ["USD", ...] (those that the organisation is subscribed to), "lifetime": <seconds an access token
  lives>, "minute_limit": n, "day_limit": n, "app_minute_limit": n, "concurrent_limit": n, "latency": <seconds a call
  takes>}``. The limits of a minute and a day are a hundred times Xero's 60 and 5,000 unless set, so that a month of a
  demo does not take an hour; a change of settings starts their windows anew.
- ``DELETE /_sandbox/tokens`` ends all access tokens. ``POST /_sandbox/xero/intent`` sends the registered receiver the
  probe by which Xero asks whether it means to receive, and tells whether its answers would do.
- Accounts Receivable has the code 1100, and Realised Currency Gains, once there is a second currency, 7000 if that is
  free.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.emulator import Emulator, ExactJSONResponse, Fault, Json, Shelf, read_json
from sandbox.xero_books import BASE_CURRENCY, DEFAULTS, KINDS, Books, rounded
from sandbox.xero_schema import (
    Invalid,
    Refused,
    ms_date,
    post_data_invalid,
    query_invalid,
    read,
    shown,
    validation_exception,
    where,
)

CLIENT_ID = "sandbox-client"
CLIENT_SECRET = "sandbox-secret"
REFRESH_TOKEN = "sandbox-refresh-token"
WEBHOOK_KEY = "sandbox-webhook-key"
TENANT = "45e4708e-d862-4111-ab3a-dd8cd03913e1"

#: A used refresh token stays good for so long; an answer is kept under its Idempotency-Key for so long.
GRACE, REMEMBERED = timedelta(minutes=30), timedelta(minutes=6)
IDEMPOTENCY_KEY, PAGE, LARGEST_PAGE = 128, 100, 1000


@dataclass(frozen=True, slots=True)
class Collection:
    """``paged``: has pages; ``archived``: hides archived records unless asked; ``event``: its webhook category."""

    name: str
    paged: bool = False
    archived: str = ""
    event: str = ""
    lines: str = ""


COLLECTIONS = {
    "Contacts": Collection("Contact", paged=True, archived="ContactStatus", event="CONTACT"),
    "Accounts": Collection("Account"),
    "Items": Collection("Item"),
    "Invoices": Collection("Invoice", paged=True, event="INVOICE", lines="LineItems"),
    "CreditNotes": Collection("CreditNote", paged=True, event="CREDITNOTE", lines="LineItems"),
    "Payments": Collection("Payment", paged=True),
    "ManualJournals": Collection("ManualJournal", paged=True, lines="JournalLines"),
    "TrackingCategories": Collection("TrackingCategory", archived="Status"),
}
PATHS = {collection.name: path for path, collection in COLLECTIONS.items()}
#: These take one bare object by PUT, and are changed one by one under their id.
ALONE = {"Accounts", "TrackingCategories"}

Handler = Callable[[Request], Awaitable[Response]]


class Service:
    """The routes of the vendor's API over one :class:`Books`."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.books = Books(shelf, self._changed)
        self.emulator: Emulator | None = None
        self._calls: Counter[tuple[str, int]] = Counter()
        self._running = 0
        api = "/api.xro/2.0"
        self.routes = [
            Route("/connect/token", self.token, methods=["POST"]),
            Route("/connections", self._guarded(self.connections)),
            Route(f"{api}/Organisation", self._guarded(self.organisation)),
            Route(f"{api}/Currencies", self._guarded(self.currencies), methods=["GET"]),
            Route(f"{api}/Journals", self._guarded(self.journals)),
            Route(f"{api}/TrackingCategories/{{ident}}/Options", self._guarded(self.option), methods=["PUT"]),
            Route(f"{api}/CreditNotes/{{ident}}/Allocations", self._guarded(self.allocations), methods=["PUT"]),
            Route(f"{api}/{{path}}", self._guarded(self.listed), methods=["GET"]),
            Route(f"{api}/{{path}}", self._guarded(self.written), methods=["PUT", "POST"]),
            Route(f"{api}/{{path}}/{{ident}}", self._guarded(self.one), methods=["GET"]),
            Route(f"{api}/{{path}}/{{ident}}", self._guarded(self.written), methods=["POST"]),
            Route("/_sandbox/xero", self.settings, methods=["GET", "POST"]),
            Route("/_sandbox/xero/intent", self.intent, methods=["POST"]),
            Route("/_sandbox/tokens", self.end_tokens, methods=["DELETE"]),
        ]

    # Who may call, and how often

    def _guarded(self, handler: Handler) -> Handler:
        async def guard(request: Request) -> Response:
            self.books.open()
            if refusal := self._stranger(request) or self._too_many():
                return refusal
            self._running += 1
            try:
                if latency := self.books.settings["latency"]:
                    await asyncio.sleep(float(latency))
                answer = await self._once(request, handler)
            finally:
                self._running -= 1
            answer.headers.update(self._left())
            return answer

        return guard

    def _stranger(self, request: Request) -> Response | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        held = self.shelf.get("_token", token) if scheme == "Bearer" else None
        if held is None or datetime.fromisoformat(held["until"]) <= self.shelf.now():
            return _problem(401, "Unauthorized", "TokenExpired: token expired")
        if request.url.path != "/connections" and request.headers.get("xero-tenant-id") != TENANT:
            return _problem(403, "Forbidden", "AuthenticationUnsuccessful")
        if "application/json" not in request.headers.get("accept", ""):
            return _problem(406, "Not Acceptable", "Only JSON is spoken in the sandbox")
        return None

    def _windows(self) -> dict[str, tuple[tuple[str, int], float, str]]:
        """Limit to its present window, the seconds until that ends, and the header that tells what is left."""
        now = self.shelf.now().timestamp()
        spans = {"day": 86_400, "minute": 60, "app_minute": 60}
        headers = {
            "day": "X-DayLimit-Remaining",
            "minute": "X-MinLimit-Remaining",
            "app_minute": "X-AppMinLimit-Remaining",
        }
        return {name: ((name, int(now // span)), span - now % span, headers[name]) for name, span in spans.items()}

    def _too_many(self) -> Response | None:
        settings, windows = self.books.settings, self._windows()
        if self._running >= settings["concurrent_limit"]:
            return JSONResponse({}, 429, {"X-Rate-Limit-Problem": "concurrent", **self._left()})
        for name, (window, ends_in, _) in windows.items():
            if self._calls[window] >= settings[f"{name}_limit"]:
                problem = {"X-Rate-Limit-Problem": name.replace("_", ""), "Retry-After": str(int(ends_in) + 1)}
                return JSONResponse({}, 429, {**problem, **self._left()})
        for window, _, _ in windows.values():
            self._calls[window] += 1
        return None

    def _left(self) -> dict[str, str]:
        settings = self.books.settings
        return {
            header: str(max(0, settings[f"{name}_limit"] - self._calls[window]))
            for name, (window, _, header) in self._windows().items()
        }

    async def _once(self, request: Request, handler: Handler) -> Response:
        """The answer; of a write with an Idempotency-Key the first one again, for as long as it is remembered."""
        key = request.headers.get("idempotency-key", "") if request.method in ("PUT", "POST") else ""
        if len(key) > IDEMPOTENCY_KEY:
            return self._answered(
                validation_exception([{"ValidationErrors": [{"Message": "Idempotency Key is too long"}]}])
            )
        line = f"{request.method} {request.url.path}?{request.url.query}\n".encode()
        mark = sha256(line + await request.body()).hexdigest()
        kept = self.shelf.get("_idempotency", key) if key else None
        if kept and datetime.fromisoformat(kept["at"]) > self.shelf.now() - REMEMBERED:
            if kept["request"] != mark:
                text = f"Idempotency Key: {key} is used with a different request."
                return self._answered(validation_exception([{"ValidationErrors": [{"Message": text}]}]))
            return ExactJSONResponse(kept["body"], kept["status"])
        try:
            answer = await handler(request)
        except Refused as refused:
            answer = self._answered(refused)
        if key:
            body = read_json(bytes(answer.body))
            at = self.shelf.now().isoformat()
            self.shelf.keep(
                "_idempotency", key, {"request": mark, "at": at, "status": answer.status_code, "body": body}
            )
        return answer

    @staticmethod
    def _answered(refused: Refused) -> Response:
        return ExactJSONResponse(refused.body, refused.status)

    def _whole(self, path: str, records: list[Json], **more: Any) -> Response:
        envelope = {"Id": secrets.token_hex(16), "Status": "OK", "ProviderName": "Sandbox"}
        now = ms_date(self.shelf.now().isoformat())
        return ExactJSONResponse({**envelope, "DateTimeUTC": now, **more, path: [shown(one) for one in records]})

    # OAuth 2.0, connections, organisation

    async def token(self, request: Request) -> Response:
        app = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        if not hmac.compare_digest(request.headers.get("authorization", "").encode(), f"Basic {app}".encode()):
            return JSONResponse({"error": "invalid_client"}, 400)
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        if form.get("grant_type") != "refresh_token":
            return JSONResponse({"error": "unsupported_grant_type"}, 400)
        given, now = form.get("refresh_token", ""), self.shelf.now()
        grant = self.shelf.get("_grant", given) or ({"used": None} if given == REFRESH_TOKEN else None)
        if grant is None or (grant["used"] and datetime.fromisoformat(grant["used"]) + GRACE < now):
            return JSONResponse({"error": "invalid_grant"}, 400)
        fresh, access = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
        lifetime = int(self.books.settings["lifetime"])
        self.shelf.keep("_grant", given, {"used": grant["used"] or now.isoformat()})
        self.shelf.keep("_grant", fresh, {"used": None})
        until = now + timedelta(seconds=lifetime)
        self.shelf.keep("_token", access, {"id": access, "until": until.isoformat()})
        scope = (
            "offline_access accounting.transactions accounting.contacts accounting.settings accounting.journals.read"
        )
        granted = {"access_token": access, "expires_in": lifetime, "token_type": "Bearer", "refresh_token": fresh}
        return JSONResponse({**granted, "scope": scope})

    async def connections(self, _request: Request) -> Response:
        at = self.shelf.now().replace(tzinfo=None).isoformat()
        held = {"id": "7cb59f93-2964-421d-bb5e-a0f7a4572a44", "tenantId": TENANT, "tenantType": "ORGANISATION"}
        return JSONResponse([{**held, "tenantName": "Northwind Meetings", "createdDateUtc": at, "updatedDateUtc": at}])

    async def organisation(self, _request: Request) -> Response:
        settings = self.books.settings
        locks = {"PeriodLockDate": settings["period_lock"], "EndOfYearLockDate": settings["end_of_year_lock"]}
        held: Json = {
            "OrganisationID": TENANT,
            "Name": "Northwind Meetings",
            "LegalName": "Northwind Meetings, Inc.",
            "Version": "US",
            "OrganisationType": "COMPANY",
            "BaseCurrency": BASE_CURRENCY,
            "CountryCode": "US",
            "OrganisationStatus": "ACTIVE",
            "IsDemoCompany": False,
            "FinancialYearEndDay": 31,
            "FinancialYearEndMonth": 12,
            **{name: day for name, day in locks.items() if day},
        }
        return self._whole("Organisations", [held])

    async def currencies(self, _request: Request) -> Response:
        return self._whole("Currencies", [{"Code": code} for code in self.books.settings["currencies"]])

    async def journals(self, request: Request) -> Response:
        offset = request.query_params.get("offset", "0")
        if not offset.isdecimal():
            raise query_invalid("offset must be a number")
        since = _modified_since(request)
        found = self.books.journals(int(offset))
        return self._whole("Journals", [one for one in found if not since or one["CreatedDateUTC"] >= since])

    # Collections

    def _collection(self, request: Request) -> tuple[str, Collection]:
        path = request.path_params["path"]
        if path not in COLLECTIONS:
            raise Refused(404, {"Type": None, "Title": "NotFound", "Status": 404, "Detail": "No such resource"})
        return path, COLLECTIONS[path]

    async def one(self, request: Request) -> Response:
        path, collection = self._collection(request)
        ident = request.path_params["ident"]
        found = self.books.get(collection.name, ident)
        if found is None:
            found = next(iter(self.books.by_key(collection.name, ident)), None)
        if found is None:
            detail = "The resource you're looking for cannot be found"
            raise Refused(404, {"Type": None, "Title": "NotFound", "Status": 404, "Detail": detail})
        return self._whole(path, [_in_decimals(found, _decimals(request))])

    async def listed(self, request: Request) -> Response:
        """Filtered, ordered, and a page of it; without ``page`` all of it, and documents without their lines."""
        path, collection = self._collection(request)
        asked, _ = request.query_params, _decimals(request)
        records = self.books.all(collection.name)
        if collection.archived and asked.get("includeArchived") != "true":
            records = [one for one in records if one[collection.archived] != "ARCHIVED"]
        if since := _modified_since(request):
            records = [one for one in records if one.get("UpdatedDateUTC", since) >= since]
        if text := asked.get("where"):
            test = where(text)
            records = [one for one in records if test(shown_days(one))]
        for name in ("InvoiceNumbers", "IDs", "Statuses"):
            field = {"InvoiceNumbers": "InvoiceNumber", "IDs": KINDS[collection.name][1], "Statuses": "Status"}[name]
            if wanted := {one.lower() for one in asked.get(name, "").split(",") if one}:
                records = [one for one in records if str(one.get(field, "")).lower() in wanted]
        if order := asked.get("order"):
            field, _, direction = order.partition(" ")
            records.sort(key=lambda one: str(one.get(field, "")), reverse=direction.upper() == "DESC")
        records = [_in_decimals(one, _decimals(request)) for one in records]
        if not collection.paged or "page" not in asked:
            return self._whole(path, [{n: v for n, v in one.items() if n != collection.lines} for one in records])
        page, size = (_number(asked.get(name, default)) for name, default in (("page", "1"), ("pageSize", str(PAGE))))
        if not (page >= 1 and 1 <= size <= LARGEST_PAGE):
            raise query_invalid("page or pageSize is out of range")
        pages = -(-len(records) // size)
        pagination = {"page": page, "pageSize": size, "pageCount": pages, "itemCount": len(records)}
        return self._whole(path, records[(page - 1) * size : page * size], pagination=pagination)

    async def written(self, request: Request) -> Response:
        """PUT creates, POST creates or updates; all or none, or (summarizeErrors=false) each by itself."""
        path, collection = self._collection(request)
        items = self._items(path, await request.body(), bare=path in ALONE and request.method == "PUT")
        if ident := request.path_params.get("ident"):
            if len(items) != 1:
                raise post_data_invalid(f"One of {path} expected")
            items[0][KINDS[collection.name][1]] = ident
        elif path in ALONE and request.method == "POST":
            raise Refused(
                404, {"Type": None, "Title": "NotFound", "Status": 404, "Detail": "Name the record in the path"}
            )
        separately = request.query_params.get("summarizeErrors", "true").lower() == "false" and path not in ALONE
        creates, decimals = request.method == "PUT", _decimals(request)
        answers: list[Json] = []
        wrong: list[Json] = []
        for item in items:
            try:
                saved = self.books.save(collection.name, item, creates=creates, decimals=decimals)
            except Invalid as invalid:
                errors = {"ValidationErrors": [{"Message": text} for text in invalid.messages]}
                wrong.append({**item, **errors})
                answers.append({**item, **errors, "StatusAttributeString": "ERROR", **_flags(collection.name)})
                if separately:
                    self.books.roll_back()
                continue
            answers.append({**_in_decimals(saved, decimals), **({"StatusAttributeString": "OK"} if separately else {})})
            if separately:
                self.books.commit()
        if wrong and not separately:
            self.books.roll_back()
            raise validation_exception([shown(one) for one in wrong])
        self.books.commit()
        return self._whole(path, answers)

    def _items(self, path: str, body: bytes, *, bare: bool) -> list[Json]:
        given = _object(body)
        name = COLLECTIONS[path].name
        listed = given.get(path)
        if listed is None and (bare or path not in given):
            return [read(name, given, name)]
        if not isinstance(listed, list) or not listed:
            raise post_data_invalid(f"JSON for post data was invalid,{path} must be a list. Path '{path}', line 1.")
        return [read(name, one, f"{path}[{number}]") for number, one in enumerate(listed)]

    async def option(self, request: Request) -> Response:
        category = self.books.get("TrackingCategory", request.path_params["ident"])
        if category is None:
            raise Refused(404, {"Type": None, "Title": "NotFound", "Status": 404, "Detail": "No such category"})
        given = read("TrackingOption", _object(await request.body()), "TrackingOption")
        try:
            option = self.books.option(category, given)
        except Invalid as invalid:
            errors = [{"Message": text} for text in invalid.messages]
            raise validation_exception([{**given, "ValidationErrors": errors}]) from None
        self.books.commit()
        return self._whole("Options", [option])

    async def allocations(self, request: Request) -> Response:
        """All of them, or none."""
        ident, given = request.path_params["ident"], _object(await request.body()).get("Allocations")
        if not isinstance(given, list) or not given:
            raise post_data_invalid(
                "JSON for post data was invalid,Allocations must be a list. Path 'Allocations', line 1."
            )
        items = [read("Allocation", one, f"Allocations[{number}]") for number, one in enumerate(given)]
        made = []
        for item in items:
            note = self.books.get("CreditNote", ident)
            try:
                if note is None:
                    raise Invalid("The CreditNote could not be found")
                made.append(self.books.allocate(note, item))
            except Invalid as invalid:
                self.books.roll_back()
                errors = [{"Message": text} for text in invalid.messages]
                raise validation_exception([shown({**item, "ValidationErrors": errors})]) from None
        self.books.commit()
        return self._whole("Allocations", made)

    # Webhooks and the sandbox's own calls

    def _changed(self, name: str, record: Json, kind: str) -> None:
        category = COLLECTIONS[PATHS[name]].event
        if self.emulator is None or not category:
            return
        ident, number = record[KINDS[name][1]], self.shelf.next("event")
        event = {
            "resourceUrl": f"https://api.xero.com/api.xro/2.0/{PATHS[name]}/{ident}",
            "resourceId": ident,
            "eventDateUtc": self.shelf.now().astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds"),
            "eventType": kind,
            "eventCategory": category,
            "tenantId": TENANT,
            "tenantType": "ORGANISATION",
        }
        if category == "CREDITNOTE":
            event["data"] = {"Type": record["Type"], "Status": record["Status"]}
        self.emulator.webhooks.send(name, {}, envelope([event], number))

    async def settings(self, request: Request) -> Response:
        if request.method == "POST":
            changes = read_json(await request.body())
            if unknown := [name for name in changes if name not in DEFAULTS]:
                return JSONResponse({"error": f"{unknown[0]} is not a setting"}, 400)
            self.books.configure(changes)
            self._calls.clear()
        return ExactJSONResponse(self.books.settings)

    async def intent(self, _request: Request) -> Response:
        """Asks the receiver with right and wrong signatures; it means to receive when it tells them apart."""
        webhooks = self.emulator.webhooks if self.emulator else None
        if webhooks is None or not webhooks.url:
            return JSONResponse({"error": "register a receiver at /_sandbox/webhooks first"}, 400)
        answers = []
        async with httpx.AsyncClient(timeout=5) as client:
            for number, wanted in enumerate((200, 401, 200, 401)):
                body = envelope([], 0)
                key = webhooks.secret or WEBHOOK_KEY
                headers = sign({}, body, key if wanted == 200 else f"{key}-{number}")
                answer = await client.post(
                    webhooks.url, content=body, headers={**headers, "Content-Type": "application/json"}
                )
                bare = not answer.content and "set-cookie" not in answer.headers
                answers.append({"wanted": wanted, "status": answer.status_code, "bare": bare})
        well = all(one["status"] == one["wanted"] and one["bare"] for one in answers)
        return JSONResponse({"status": "OK" if well else "Intent to receive required", "answers": answers})

    async def end_tokens(self, _request: Request) -> Response:
        for token in self.shelf.all("_token"):
            self.shelf.drop("_token", token["id"])
        return JSONResponse({})


def shown_days(record: Json) -> Json:
    """A record as filters see it: without what only the sandbox keeps."""
    return {name: value for name, value in record.items() if not name.startswith("_")}


def envelope(events: list[Json], number: int) -> bytes:
    entropy = secrets.token_hex(10).upper()
    body = {"events": events, "firstEventSequence": number, "lastEventSequence": number, "entropy": entropy}
    return json.dumps(body).encode()


def _flags(name: str) -> Json:
    """How an object tells that it was refused, beside its ValidationErrors."""
    if name in ("Invoice", "CreditNote"):
        return {"HasErrors": True}
    return {"HasValidationErrors": True} if name in ("Contact", "Payment") else {}


def _in_decimals(record: Json, decimals: int) -> Json:
    """A record with its unit amounts in as many decimals as were asked for."""
    if "LineItems" not in record:
        return record
    lines = [
        {**line, "UnitAmount": rounded(line["UnitAmount"], decimals)} if "UnitAmount" in line else line
        for line in record["LineItems"]
    ]
    return {**record, "LineItems": lines}


def _decimals(request: Request) -> int:
    given = request.query_params.get("unitdp", "2")
    if given not in ("2", "4"):
        raise query_invalid("unitdp must be 2 or 4")
    return int(given)


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _modified_since(request: Request) -> str:
    """If-Modified-Since as ISO text in UTC; empty when it was not sent."""
    text = request.headers.get("if-modified-since", "")
    if not text:
        return ""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        try:
            at = parsedate_to_datetime(text)
        except ValueError:
            raise query_invalid("If-Modified-Since cannot be read") from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return at.astimezone(UTC).isoformat(timespec="milliseconds")


def _object(body: bytes) -> Json:
    try:
        given = read_json(body)
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise post_data_invalid("JSON for post data was invalid")
    return given


def _problem(status: int, title: str, detail: str) -> Response:
    return JSONResponse({"Type": None, "Title": title, "Status": status, "Detail": detail}, status)


def sign(_event: Mapping[str, Any], body: bytes, secret: str) -> dict[str, str]:
    mark = hmac.new((secret or WEBHOOK_KEY).encode(), body, sha256).digest()
    return {"x-xero-signature": base64.b64encode(mark).decode()}


def fault_answer(fault: Fault) -> Response:
    if fault.kind == "rate_limit":
        headers = {"Retry-After": format(fault.seconds, "g"), "X-Rate-Limit-Problem": "minute"}
        return Response("", 429, headers)
    return _problem(fault.status, "An error occurred in Xero", "Please try again later")


def emulator(shelf: Shelf) -> Emulator:
    service = Service(shelf)
    built = Emulator("xero", service.routes, shelf, sign=sign, fault_answer=fault_answer)
    service.emulator = built
    return built
