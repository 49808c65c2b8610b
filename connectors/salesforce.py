"""Salesforce Sales Cloud, REST API v64.0, through simple-salesforce on our wire (docs/connectors/salesforce.md).

Vendor facts: REST API Developer Guide, SOQL and SOSL Reference, and the outbound message section of the SOAP guide
(published docs, read 2026-11). What is peculiar here:

- A create by POST has no guard against repeats, so every write is an upsert by an external id field, or an update by
  the vendor's own id (``order_progress``). One composite call writes up to 200 records and reads them back; more than
  ``bulk_above`` at once go as one job of Bulk API 2.0, by the same key, and are read back then.
- Which fields are read is what describe lists for the integration user, so a mapping may use any of them.
- The resource ``order`` is ours: an Opportunity with its Account, Contacts, Sites and LineItems, in vendor names; or,
  where ``order_source`` says so, a quote of the managed package Salesforce CPQ with its lines.
- Numbers of fields without decimals come as ``12.0``; they are handed on as the integers that describe says they are.
- Outbound messages carry no signature: a token in the URL's query and the organization's id prove the sender.
"""

from __future__ import annotations

import hmac
import re
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import jwt
from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator
from simple_salesforce.api import Salesforce
from simple_salesforce.format import format_soql

from connectors.salesforce_bulk import Jobs
from connectors.salesforce_changes import ALL, NEW, Event, Stream
from connectors.wire import (
    Auth,
    BulkConnector,
    Request,
    Response,
    SdkSession,
    Wire,
    chunks,
    exact_json,
    parsed,
    retry_after,
)
from core.errors import Misconfigured, OutcomeUnknown, RateLimited, Rejected, Retryable, TieoutError, Unavailable
from core.ports import (
    Change,
    Changes,
    DescribedField,
    ExternalKey,
    FieldKind,
    Finding,
    Guard,
    Outcome,
    Payload,
    Reading,
    Receipt,
    Resource,
    WebhookEvent,
    WebhookRequest,
    World,
)

Json = dict[str, Any]

SYSTEM = "salesforce"
OUR_KEY = "Tieout_Id__c"
#: Objects of the managed package Salesforce CPQ, whose names begin with its namespace.
QUOTE, QUOTE_LINE = "SBQQ__Quote__c", "SBQQ__QuoteLine__c"

RESOURCES: Mapping[str, Resource] = {
    "order": Resource("Opportunity", "Id", "Id", Guard.READ_ONLY, batch=100),
    "quote": Resource(QUOTE, "Id", "Id", Guard.READ_ONLY, batch=100),
    "order_progress": Resource("Opportunity", "Id", "Id", Guard.EXTERNAL_ID, batch=200, bulk=10_000),
    "account": Resource("Account", "Id", OUR_KEY, Guard.EXTERNAL_ID, batch=200, bulk=10_000),
    "product": Resource("Product2", "Id", OUR_KEY, Guard.EXTERNAL_ID, batch=200, bulk=10_000),
    "contact": Resource("Contact", "Id", "Id", Guard.READ_ONLY),
    "site": Resource("Site__c", "Id", "Site_Code__c", Guard.READ_ONLY),
    "price": Resource("PricebookEntry", "Id", "Id", Guard.READ_ONLY),
}

#: Names by which a mapping may ask for an object of the org that no row stands for, such as ``Meeting_Room__c``. Each
#: carries our key in a field of its own, as set-up says.
OWN_OBJECT = re.compile(r"[A-Za-z]\w*__c")

#: Fields of a parent that are read with a record of the object.
OF_PARENTS: Mapping[str, tuple[str, ...]] = {
    "Account": ("Parent.AccountNumber",),
    "OpportunityLineItem": ("Product2.Name", "Product2.ProductCode"),
    QUOTE: ("SBQQ__Opportunity2__r.Name", "SBQQ__Opportunity2__r.CloseDate", "SBQQ__Opportunity2__r.Purchase_Order__c"),
    QUOTE_LINE: ("SBQQ__Product__r.Name", "SBQQ__Product__r.ProductCode"),
}


@dataclass(frozen=True, slots=True)
class Sold:
    """An object that an order can be read from: its name in the payload and in the org, the field of its account, and
    the same of its lines, with the field that names what they belong to."""

    name: str
    sobject: str
    account: str
    lines: str
    line: str
    of: str

    @property
    def parts(self) -> Mapping[str, tuple[str, FieldKind]]:
        """The objects that its payload is made of, by their names there, and which of them are lists."""
        return {
            self.name: (self.sobject, FieldKind.OBJECT),
            "Account": ("Account", FieldKind.OBJECT),
            "Contacts": ("Contact", FieldKind.LIST),
            "Sites": ("Site__c", FieldKind.LIST),
            self.lines: (self.line, FieldKind.LIST),
        }


#: What is read whole, by resource.
SOLD: Mapping[str, Sold] = {
    "order": Sold("Opportunity", "Opportunity", "AccountId", "LineItems", "OpportunityLineItem", "OpportunityId"),
    "quote": Sold("Quote", QUOTE, "SBQQ__Account__c", "QuoteLines", QUOTE_LINE, "SBQQ__Quote__c"),
}

#: Types of describe that are not text (REST API guide, Field Types, read 2026-11).
TYPES: Mapping[str, FieldKind] = {
    **dict.fromkeys(("double", "currency", "percent", "int", "long"), FieldKind.NUMBER),
    "boolean": FieldKind.BOOLEAN,
    "date": FieldKind.DATE,
    "datetime": FieldKind.INSTANT,
    **dict.fromkeys(("anyType", "complexvalue", "json"), FieldKind.ANYTHING),
}

#: Which records of an object a resource lists; all where nothing stands.
LISTED: Mapping[str, str] = {
    "order": " AND IsWon = true",
    "quote": " AND SBQQ__Primary__c = true AND SBQQ__Ordered__c = true",
    "order_progress": " AND Tieout_Status__c != null",
}

#: What set-up creates in the org, and ``check`` looks for. An external id must also be unique.
CUSTOM_FIELDS: Mapping[str, tuple[str, ...]] = {
    "Account": (
        OUR_KEY,
        "Billing_Email__c",
        "Billing_Time_Zone__c",
        "Tax_Exemption_Code__c",
        "Payment_Terms_Days__c",
    ),
    "Product2": (OUR_KEY,),
    "Site__c": (
        "Account__c",
        "Site_Code__c",
        "Street__c",
        "City__c",
        "State_Code__c",
        "Postal_Code__c",
        "Country_Code__c",
        "Time_Zone__c",
    ),
    "Opportunity": (
        "Purchase_Order__c",
        "Service_Start__c",
        "Term_Months__c",
        "Amends_Order__c",
        "Tieout_Status__c",
        "Tieout_Subscription__c",
        "Tieout_Invoiced__c",
        "Tieout_Credited__c",
        "Tieout_Paid__c",
        "Tieout_Invoice_Numbers__c",
    ),
    "OpportunityLineItem": ("Site_Code__c", "Change__c", "Amends_Line__c", "Pause_Until__c"),
}

#: The same where orders are read from CPQ quotes. The two sums are formulas of our own: see the page of this system.
CUSTOM_FIELDS_OF_QUOTES: Mapping[str, tuple[str, ...]] = {
    QUOTE: (
        "Amends_Order__c",
        "Tieout_Period_Total__c",
        *(name for name in CUSTOM_FIELDS["Opportunity"] if name.startswith("Tieout_")),
    ),
    QUOTE_LINE: (*CUSTOM_FIELDS["OpportunityLineItem"], "Tieout_Period_Amount__c"),
}

#: Objects of outbound messages to the resource that reads them; beside these what orders are read from.
NOTIFIED: Mapping[str, str] = {"Account": "account", "Site__c": "site"}

#: Compound values, which repeat other fields in a form of their own, and file bodies.
NOT_READ = frozenset({"address", "location", "base64"})

#: Seconds to wait when the org refuses calls without saying how long: its daily quota is used up, or anything else.
DAILY_LIMIT_WAIT, OTHER_LIMIT_WAIT = 1800.0, 5.0

#: How far behind the last event a query looks for what events did not tell: stamps are whole seconds, commits are late.
LATE = timedelta(minutes=5)

ACKNOWLEDGEMENT = b"""<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body>\
<notificationsResponse xmlns="http://soap.sforce.com/2005/09/outbound"><Ack>true</Ack></notificationsResponse>\
</soapenv:Body></soapenv:Envelope>"""
OUTBOUND = "{http://soap.sforce.com/2005/09/outbound}"
XSI_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"


class Settings(BaseModel):
    """How to reach one org. Sign-in is by client secret, or by JWT bearer where ``username`` and ``private_key`` are.

    ``base_url``: the org's My Domain address, ``https://<domain>.my.salesforce.com``. Plain http is for loopback only.
    ``audience``: of a JWT; ``https://test.salesforce.com`` for a sandbox org. ``page``: most records a query answers.
    ``bulk_above``: more records than that in one write go as a job of Bulk API 2.0 (the vendor advises 2000).
    ``order_source``: what is taken in as an order: won opportunities, or primary CPQ quotes that are ordered.
    ``change_data_capture``: news come from the org's change events, and from queries where those leave a gap.
    ``organization_id`` (15 or 18 characters) and ``webhook_token`` are needed to receive outbound messages.
    """

    base_url: str
    client_id: str
    client_secret: SecretStr | None = None
    username: str | None = None
    private_key: SecretStr | None = None
    audience: str = "https://login.salesforce.com"
    api_version: str = Field(default="64.0", pattern=r"^\d+\.0$")
    page: int = Field(default=2000, ge=200, le=2000)
    bulk_above: int = Field(default=2000, ge=1)
    order_source: Literal["opportunity", "cpq_quote"] = "opportunity"
    change_data_capture: bool = False
    organization_id: str | None = Field(default=None, pattern=r"^00D[0-9A-Za-z]{12}([0-9A-Za-z]{3})?$")
    webhook_token: SecretStr | None = None

    @field_validator("api_version", mode="before")
    @classmethod
    def _without_v(cls, version: Any) -> Any:
        return version.removeprefix("v") if isinstance(version, str) else version

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
        if not self.client_secret and not (self.username and self.private_key):
            raise ValueError("give client_secret, or username and private_key")
        return self


def connect(settings: Settings, world: World) -> SalesforceConnector:
    return SalesforceConnector(settings, world)


class Session(Auth):
    """Signs in on first use and once more when the org says that the session has ended.

    Single-flight: threads that meet the same dead session wait for one sign-in. Tokens are not kept: these grants give
    no refresh token that could be lost. Signing in is apart from the call that needs it, so its faults never make a
    write's outcome unknown.
    """

    requires_response_body = True

    def __init__(self, settings: Settings, world: World) -> None:
        self._settings, self._world = settings, world
        self._login = Wire(SYSTEM, settings.base_url, world, read_error=_sign_in_error)
        self._lock = threading.Lock()
        self._token: str | None = None
        self.identity = ""

    def auth_flow(self, request: Request) -> Generator[Request, Response, None]:
        token = self.token(ended=None)
        request.headers["Authorization"] = f"Bearer {token}"
        response = yield request
        if response.status_code == 401 and (
            any(e["errorCode"] == "INVALID_SESSION_ID" for e in _errors(response)) or b'"401::' in response.content
        ):
            request.headers["Authorization"] = f"Bearer {self.token(ended=token)}"
            yield request

    def token(self, ended: str | None) -> str:
        """The session's token; a new one when there is none or it is the one that ``ended``."""
        with self._lock:
            if self._token is None or self._token == ended:
                self._token = self._sign_in()
            return self._token

    def _sign_in(self) -> str:
        answer = exact_json(self._login.read("POST", "/services/oauth2/token", data=self._grant()))
        lives_at = urlsplit(str(answer.get("instance_url", "")))
        if lives_at.netloc != urlsplit(self._settings.base_url).netloc:
            raise Misconfigured(
                f"{SYSTEM}: the org lives at {lives_at.netloc}; set base_url to its My Domain address", system=SYSTEM
            )
        self.identity = str(answer.get("id", ""))
        return str(answer["access_token"])

    def _grant(self) -> dict[str, str]:
        settings = self._settings
        if not (settings.username and settings.private_key):
            assert settings.client_secret is not None
            secret = settings.client_secret.get_secret_value()
            return {"grant_type": "client_credentials", "client_id": settings.client_id, "client_secret": secret}
        claims = {
            "iss": settings.client_id,
            "sub": settings.username,
            "aud": settings.audience,
            "exp": self._world.clock() + timedelta(minutes=3),
        }
        try:
            assertion = jwt.encode(claims, settings.private_key.get_secret_value(), "RS256")
        except (ValueError, TypeError, jwt.PyJWTError):
            raise Misconfigured(f"{SYSTEM}: private_key is not an RSA key in PEM form", system=SYSTEM) from None
        return {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}

    def close(self) -> None:
        self._login.close()


def _sign_in_error(response: Response) -> TieoutError | None:
    try:
        answer = parsed(response.content)
        said = f"{answer['error']}: {answer.get('error_description', '')}"
    except (ValueError, KeyError, TypeError):
        return None
    if response.status_code >= 500:
        return None
    return Misconfigured(f"{SYSTEM}: sign-in was refused ({said})", system=SYSTEM)


def _errors(response: Response) -> list[Json]:
    """The vendor's error list; empty when the body is of another form."""
    try:
        body = parsed(response.content)
    except ValueError:
        return []
    return [error for error in body if "errorCode" in error] if isinstance(body, list) else []


def _fault(error: Json, *, record: str = "", payload: Payload | None = None, wait: float | None = None) -> TieoutError:
    """What one error of the vendor means; ``wait`` is what a Retry-After header asked for, in seconds."""
    code = str(error.get("errorCode") or error.get("statusCode"))
    message = str(error.get("message", ""))
    where = f"{SYSTEM} {record}".strip()
    match code:
        case "REQUEST_LIMIT_EXCEEDED":
            usual = DAILY_LIMIT_WAIT if "TotalRequests" in message else OTHER_LIMIT_WAIT
            return RateLimited(f"{where}: {message}", wait_seconds=usual if wait is None else wait)
        case "UNABLE_TO_LOCK_ROW" | "QUERY_TIMEOUT":
            return Unavailable(f"{where}: {code}; nothing was written")
        case "UNKNOWN_EXCEPTION" | "SERVER_UNAVAILABLE":
            return OutcomeUnknown(f"{where}: {code}")
        case "INVALID_SESSION_ID" | "API_DISABLED_FOR_ORG" | "API_CURRENTLY_DISABLED" | "INVALID_TYPE":
            return Misconfigured(f"{where}: {code}: {message}", system=SYSTEM)
        case "NOT_FOUND" if "external ID field" in message:
            return Misconfigured(f"{where}: {message}", system=SYSTEM)
    field = _field_of(error, payload or {})
    value = (payload or {}).get(field) if field else None
    return Rejected(
        f"{where}: {message}",
        system=SYSTEM,
        record=record,
        field=field,
        value=None if value is None else str(value),
        code=code,
    )


def _field_of(error: Json, payload: Payload) -> str | None:
    """The field an error is about: named in its list or its message, or the one that holds the value it quotes."""
    if error.get("fields"):
        return str(error["fields"][0])
    message = str(error.get("message", ""))
    if named := re.search(r"No such column '(\w+)'|duplicate value found: (\w+) ", message):
        return named[1] or named[2]
    if quoted := re.search(r" value (.*) or request may be missing a required field", message):
        holders = [name for name, value in payload.items() if str(value) == quoted[1]]
        return holders[0] if len(holders) == 1 else None
    return None


def _described(about: Json) -> DescribedField:
    offered = [one["value"] for one in about["picklistValues"] if one["active"]] if about["restrictedPicklist"] else []
    return DescribedField(
        TYPES.get(about["type"], FieldKind.TEXT),
        length=about["length"] or None,
        words=frozenset(offered),
        required=about["createable"] and not about["nillable"] and not about["defaultedOnCreate"],
        writable=about["createable"] or about["updateable"],
    )


def _bare(record: Json) -> Json:
    return {name: value for name, value in record.items() if name != "attributes"}


class Rows(dict[str, Resource]):
    """The rows of an org, and one for each custom object under its own name."""

    def __missing__(self, name: str) -> Resource:
        if OWN_OBJECT.fullmatch(name):
            return replace(RESOURCES["account"], path=name)
        raise KeyError(name)


class SalesforceConnector(BulkConnector):
    """One org. Thread-safe."""

    system = SYSTEM

    def __init__(self, settings: Settings, world: World) -> None:
        self._settings, self._world = settings, world
        self.resources = Rows(RESOURCES)
        if settings.order_source == "cpq_quote":
            self.resources["order"] = replace(RESOURCES["quote"], read_as="quote")
            self.resources["order_progress"] = replace(RESOURCES["order_progress"], path=QUOTE)
        self._session = Session(settings, world)
        self._wire = Wire(
            SYSTEM,
            settings.base_url,
            world,
            auth=self._session,
            headers={"Sforce-Query-Options": f"batchSize={settings.page}"},
            read_error=self._read_error,
        )
        self._reads, self._writes = self._client(self._wire.read), self._client(self._wire.write)
        self._described: dict[str, dict[str, Json]] = {}
        self._jobs = Jobs(self._wire, world, self._path(""))
        self._stream = Stream(self._wire, settings.api_version) if settings.change_data_capture else None
        self._idle: set[str] = set()

    def _client(self, send: Callable[..., Response]) -> Salesforce:
        session: Any = SdkSession(send)
        return Salesforce(
            session_id="given by the wire",
            instance_url=self._settings.base_url,
            version=self._settings.api_version,
            session=session,
            object_pairs_hook=None,
        )

    def _read_error(self, response: Response) -> TieoutError | None:
        errors = _errors(response)
        if response.status_code >= 500 or not errors:
            return None
        return _fault(errors[0], wait=retry_after(response.headers, self._world.clock()))

    # -- reading

    def _fields(self, sobject: str) -> dict[str, Json]:
        """The fields of an object that the integration user may read, by name, as describe tells them."""
        if sobject not in self._described:
            described = getattr(self._reads, sobject).describe()["fields"]
            self._described[sobject] = {field["name"]: field for field in described if field["type"] not in NOT_READ}
        return self._described[sobject]

    def _select(self, sobject: str, where: str) -> str:
        """SOQL for every readable field of an object; ``where`` is the query's tail, already quoted."""
        fields = ", ".join([*self._fields(sobject), *OF_PARENTS.get(sobject, ())])
        return str(format_soql("SELECT {:literal} FROM {:literal} WHERE {:literal}", fields, sobject, where))

    def _plain(self, sobject: str, record: Json) -> Json:
        """A record without the vendor's ``attributes``, whole numbers as int where the field has no decimals."""
        fields = self._fields(sobject)
        plain: Json = {}
        for name, value in _bare(record).items():
            whole = fields.get(name, {}).get("type") == "double" and fields[name]["scale"] == 0
            if isinstance(value, Mapping):
                plain[name] = _bare(dict(value))
            else:
                plain[name] = int(value) if whole and isinstance(value, Decimal) else value
        return plain

    def _together(self, client: Salesforce, parts: Sequence[Json]) -> list[Json]:
        """The answers of several calls sent as one, in order; each has ``httpStatusCode`` and ``body``."""
        numbered = [{"referenceId": f"part{place}", **part} for place, part in enumerate(parts)]
        answer: Any = client.restful(
            "composite", method="POST", json={"allOrNone": False, "compositeRequest": numbered}
        )
        return list(answer["compositeResponse"])

    def _path(self, below: str) -> str:
        return f"/services/data/v{self._settings.api_version}/{below}"

    def _query_part(self, soql: str) -> Json:
        return {"method": "GET", "url": self._path(f"query?q={quote(soql)}"), "httpHeaders": self._wire.headers}

    def _found(self, sobject: str, part: Json) -> list[Json]:
        """All records of one query of a composite, its further pages fetched."""
        page = part["body"]
        if part["httpStatusCode"] >= 300:
            raise _fault(page[0], record=sobject)
        records = list(page["records"])
        while not page["done"]:
            page = self._reads.query_more(page["nextRecordsUrl"], identifier_is_url=True)
            records += page["records"]
        return [self._plain(sobject, record) for record in records]

    def _sold(self, resource: str) -> Sold | None:
        return SOLD.get(self.resource(resource).read_as or resource)

    def _orders(self, sold: Sold, ids: Sequence[str]) -> dict[str, Payload]:
        """Orders by id, in one call for up to 100 of them; a missing one is left out."""
        wanted = format_soql("{}", list(ids))
        of_account = f"(SELECT {sold.account} FROM {sold.sobject} WHERE Id IN {wanted})"  # noqa: S608 quoted above
        asked = {
            sold.sobject: f"Id IN {wanted}",
            "Account": f"Id IN {of_account}",
            "Contact": f"AccountId IN {of_account} ORDER BY Id",
            "Site__c": f"Account__c IN {of_account} ORDER BY Site_Code__c",
            sold.line: f"{sold.of} IN {wanted} ORDER BY Id",
        }
        parts = [self._query_part(self._select(sobject, where)) for sobject, where in asked.items()]
        heads, accounts, contacts, sites, lines = (
            self._found(sobject, part) for sobject, part in zip(asked, self._together(self._reads, parts), strict=True)
        )
        account_of = {account["Id"]: account for account in accounts}
        return {
            head["Id"]: {
                sold.name: head,
                "Account": account_of.get(head[sold.account]),
                "Contacts": [c for c in contacts if c["AccountId"] == head[sold.account]],
                "Sites": [s for s in sites if s["Account__c"] == head[sold.account]],
                sold.lines: [line for line in lines if line[sold.of] == head["Id"]],
            }
            for head in heads
        }

    def changes(self, resource: str, since: str | None) -> Iterator[Change]:
        """Records by ``SystemModstamp``, oldest first, from ``since`` (ISO 8601 instant, inclusive); deleted ones too.

        ``order``: Opportunities that are won, or CPQ quotes that are primary and ordered; ``order_progress``: those we
        wrote to. Stamps are whole seconds and a late commit may carry an earlier one, so a caller overlaps its cursor
        by some minutes. Changed sites and contacts do not touch the order's stamp; our own write-back does.

        With ``change_data_capture``, and a ``since``: what the change events after it name, each record once and as it
        is now. The cursor then is the place in the stream. Where there is none yet, where the events after it are not
        kept any more, or where one does not name its records, the query by stamp says what changed.
        """
        return Reading(self._told(resource, since))

    def _told(self, resource: str, since: str | None) -> Changes:
        row = self.resource(resource)
        place = Place.read(since) if since else None
        if place is not None and self._stream is not None:
            return (yield from self._captured(self._stream, resource, row, place))
        overlap = LATE if place and place.replay is not None else timedelta(0)
        newest: datetime | None = None
        for change in self._stamped(resource, row, place.at - overlap if place else datetime(1970, 1, 1, tzinfo=UTC)):
            newest = change.changed_at
            yield change
        return str(Place(newest)) if newest else None

    def _captured(self, stream: Stream, resource: str, row: Resource, place: Place) -> Changes:
        events = None if place.replay is None else stream.after(row.path, place.replay)
        if events is None:
            events, whole = stream.after(row.path, ALL) or [], False
        else:
            whole = all(event.names_all for event in events)
        found = self._named(resource, row, events) if whole else self._stamped(resource, row, place.at - LATE)
        end = Place(events[-1].at, events[-1].replay) if events else None
        for change in found:
            end = end if events else Place(change.changed_at)
            yield change
        return str(end) if end else None

    def _stamped(self, resource: str, row: Resource, start: datetime) -> Iterator[Change]:
        """Records whose stamp is at or after an instant, deleted ones too."""
        stamp = start.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        yield from self._as_now(resource, row, f"SystemModstamp >= {stamp}")

    def _named(self, resource: str, row: Resource, events: Sequence[Event]) -> Iterator[Change]:
        """Each record that events name, as it is now; what was deleted last as such, and in the place of its event."""
        latest: dict[str, Event] = {}
        for event in events:
            for ident in event.records:
                latest.pop(ident, None)
                latest[ident] = event
        waiting = [ident for ident, event in latest.items() if not event.deletes]
        for part in chunks(waiting, max(row.batch, 100)):
            yield from self._as_now(resource, row, format_soql("Id IN {}", list(part)))
        for ident, event in latest.items():
            if event.deletes:
                yield Change(ident, event.at, None)

    def _as_now(self, resource: str, row: Resource, where: str) -> Iterator[Change]:
        """What the resource lists of the records that match, oldest stamp first."""
        tail = where + LISTED.get(row.read_as or resource, "") + " ORDER BY SystemModstamp, Id"
        sold = self._sold(resource)
        if sold is None:
            for record in self._reads.query_all_iter(self._select(row.path, tail), include_deleted=True):
                yield _change(record, self._plain(row.path, record))
            return
        brief = format_soql("SELECT Id, SystemModstamp, IsDeleted FROM {:literal} WHERE {:literal}", row.path, tail)
        waiting: list[Json] = []
        for record in self._reads.query_all_iter(brief, include_deleted=True):
            waiting.append(record)
            if len(waiting) == row.batch:
                yield from self._changed_orders(sold, waiting)
                waiting = []
        yield from self._changed_orders(sold, waiting)

    def _changed_orders(self, sold: Sold, records: Sequence[Json]) -> Iterator[Change]:
        orders = self._orders(sold, [record["Id"] for record in records]) if records else {}
        for record in records:
            order = orders.get(record["Id"])
            yield _change(order[sold.name] if order else {**record, "IsDeleted": True}, order)

    def get(self, resource: str, vendor_id: str) -> Payload:
        row = self.resource(resource)
        if sold := self._sold(resource):
            found: list[Payload] = list(self._orders(sold, [vendor_id]).values())
        else:
            found = list(self._where(row, row.id_field, vendor_id))
        if not found:
            raise Rejected(
                f"{SYSTEM} has no {resource} {vendor_id}",
                system=SYSTEM,
                record=resource,
                field=row.id_field,
                value=vendor_id,
                code="NOT_FOUND",
            )
        return found[0]

    def _where(self, row: Resource, field: str, value: str) -> list[Json]:
        if field not in self._fields(row.path):
            raise Misconfigured(f"{SYSTEM}: {row.path} has no field {field}; see tieout doctor", system=SYSTEM)
        soql = self._select(row.path, format_soql("{:literal} = {}", field, value))
        return [self._plain(row.path, record) for record in self._reads.query_all_iter(soql)]

    def find(self, resource: str, key: ExternalKey) -> Receipt | None:
        row = self._row(resource, key)
        found = self._where(row, row.key_field, key.value)
        if len(found) > 1:
            raise Rejected(
                f"{SYSTEM}: {len(found)} records of {row.path} carry our key; merge them or clear it on all but one",
                system=SYSTEM,
                record=resource,
                field=row.key_field,
                value=key.value,
                code="DUPLICATE_EXTERNAL_ID",
            )
        if not found:
            return None
        answer: Payload = self.get(resource, found[0]["Id"]) if self._sold(resource) else found[0]
        return Receipt(SYSTEM, resource, found[0]["Id"], key, created=False, answer=answer)

    # -- writing

    def upsert_many(self, resource: str, items: Sequence[tuple[Payload, ExternalKey]]) -> list[Outcome]:
        """One composite call per 200 records, or one job for all when they are many and no two have one key."""
        keys = {key.value for _, key in items}
        if len(items) <= self._settings.bulk_above or len(keys) < len(items):
            return super().upsert_many(resource, items)
        try:
            return self._write_job(resource, items)
        except Retryable as fault:
            return [fault] * len(items)

    def _writable(self, resource: str, items: Sequence[tuple[Payload, ExternalKey]]) -> Resource:
        """The row of what may be written now: no job that was lost sight of runs on its records any more.

        Such a job would put older values over what is written meanwhile. It is looked for at the first write of a
        process, and after one that was lost.
        """
        row = self._row(resource, items[0][1])
        if row.guard is Guard.READ_ONLY:
            raise Misconfigured(f"{SYSTEM}: {resource} is only read", system=SYSTEM)
        for _, key in items:
            self._row(resource, key)
        if row.key_field not in self._fields(row.path):
            raise Misconfigured(f"{SYSTEM}: {row.path} has no field {row.key_field}; see tieout doctor", system=SYSTEM)
        if resource not in self._idle:
            for job in self._jobs.unfinished(row.path, row.key_field):
                try:
                    self._jobs.wait(job)
                except OutcomeUnknown:
                    raise Unavailable(f"{SYSTEM}: job {job} still writes {row.path}; nothing new was sent") from None
            self._idle.add(resource)
        return row

    def _write_job(self, resource: str, items: Sequence[tuple[Payload, ExternalKey]]) -> list[Outcome]:
        """Writes records as one job; what the job never came to is written as if there were few."""
        row = self._writable(resource, items)
        self._idle.discard(resource)
        done = self._jobs.run(
            row.path, row.key_field, [{**payload, row.key_field: key.value} for payload, key in items]
        )
        self._idle.add(resource)
        kept = self._kept(row, list(done.written))
        outcomes: dict[str, Outcome] = {}
        for payload, key in items:
            if error := done.refused.get(key.value):
                outcomes[key.value] = _fault(error, record=resource, payload=payload)
            elif written := done.written.get(key.value):
                result = {"success": True, "id": written[0], "created": written[1]}
                outcomes[key.value] = self._outcome(resource, (payload, key), result, kept)
        left = [item for item in items if item[1].value not in outcomes]
        outcomes |= zip([key.value for _, key in left], super().upsert_many(resource, left), strict=True)
        return [outcomes[key.value] for _, key in items]

    def _kept(self, row: Resource, keys: Sequence[str]) -> dict[str, Json]:
        """Records by their id, as they are now, a thousand in a call."""
        kept: dict[str, Json] = {}
        for few in chunks(keys, 5 * row.batch):
            asked = [format_soql("{:literal} IN {}", row.key_field, part) for part in chunks(few, row.batch)]
            parts = [self._query_part(self._select(row.path, where)) for where in asked]
            for part in self._together(self._reads, parts):
                kept |= {record["Id"]: record for record in self._found(row.path, part)}
        return kept

    def _write_batch(self, resource: str, items: Sequence[tuple[Payload, ExternalKey]]) -> list[Outcome]:
        """Writes records and reads them back, in one call; in halves when one of them spoils the whole request."""
        row = self._writable(resource, items)
        keys = [key.value for _, key in items]
        by_key = "" if row.key_field == row.id_field else f"/{row.path}/{row.key_field}"
        records = [{"attributes": {"type": row.path}, **payload, row.key_field: key.value} for payload, key in items]
        written, read = self._together(
            self._writes,
            [
                {
                    "method": "PATCH",
                    "url": self._path(f"composite/sobjects{by_key}"),
                    "body": {"allOrNone": False, "records": records},
                },
                self._query_part(self._select(row.path, format_soql("{:literal} IN {}", row.key_field, keys))),
            ],
        )
        if written["httpStatusCode"] >= 300:
            if len(items) > 1 and written["httpStatusCode"] < 500:
                half = len(items) // 2
                return self._write_batch(resource, items[:half]) + self._write_batch(resource, items[half:])
            return [_fault(written["body"][0], record=resource, payload=items[0][0])] * len(items)
        kept: Mapping[str, Json] = {}
        if read["httpStatusCode"] < 300:
            kept = {record["Id"]: record for record in self._found(row.path, read)}
        return [
            self._outcome(resource, item, result, kept) for item, result in zip(items, written["body"], strict=True)
        ]

    def _outcome(
        self, resource: str, item: tuple[Payload, ExternalKey], result: Json, kept: Mapping[str, Json]
    ) -> Outcome:
        payload, key = item
        if not result["success"]:
            return _fault(result["errors"][0], record=resource, payload=payload)
        if result["id"] not in kept:
            return OutcomeUnknown(f"{SYSTEM} {resource}: written, but it could not be read back")
        created = bool(result.get("created", False))
        return Receipt(SYSTEM, resource, result["id"], key, created=created, answer=kept[result["id"]])

    # -- its schema

    def describe(self, resource: str) -> Mapping[str, DescribedField]:
        """What describe lists for the integration user now; of an order, of each object that it is made of.

        Quotes are described where orders are read from them: an org without the package has none.
        """
        row = self.resource(resource)
        self._described.clear()
        if resource == "quote" and self._settings.order_source != "cpq_quote":
            return {}
        if resource in SOLD:
            return {
                name: DescribedField(kind, fields=self._described_fields(sobject))
                for name, (sobject, kind) in SOLD[resource].parts.items()
            }
        found = self._described_fields(row.path)
        if row.key_field != row.id_field:
            return found
        updated = {name for name, about in self._fields(row.path).items() if about["updateable"]}
        return {name: replace(about, required=False, writable=name in updated) for name, about in found.items()}

    def _described_fields(self, sobject: str) -> dict[str, DescribedField]:
        fields = self._fields(sobject)
        found = {name: _described(about) for name, about in fields.items()}
        for path in OF_PARENTS.get(sobject, ()):
            relation, name = path.split(".")
            parent = next((one["referenceTo"][0] for one in fields.values() if one["relationshipName"] == relation), "")
            if parent and name in self._fields(parent):
                known = found.get(relation, DescribedField(FieldKind.OBJECT)).fields
                held = {**known, name: _described(self._fields(parent)[name])}
                found[relation] = DescribedField(FieldKind.OBJECT, writable=False, fields=held)
        return found

    # -- webhooks

    def events(self, request: WebhookRequest) -> list[WebhookEvent]:
        """The notifications of an outbound message. Rejected when token, organization or form are not as agreed.

        A notification whose record is gone carries no id and makes no event: the deletion comes through ``changes``.
        """
        token, organization = self._settings.webhook_token, self._settings.organization_id
        if token is None or organization is None:
            raise Misconfigured(f"{SYSTEM}: set webhook_token and organization_id to receive messages", system=SYSTEM)
        given = request.query.get("token", "").encode()
        if not hmac.compare_digest(given, token.get_secret_value().encode()):
            raise Rejected(f"{SYSTEM}: an outbound message with a wrong token was refused", system=SYSTEM)
        message = _parse(request.body).find(f".//{OUTBOUND}notifications")
        if message is None:
            raise _malformed("a message is not an outbound message")
        if (message.findtext(f"{OUTBOUND}OrganizationId") or "")[:15] != organization[:15]:
            raise Rejected(f"{SYSTEM}: an outbound message of another organization was refused", system=SYSTEM)
        events = (self._event(item, request.received_at) for item in message.iterfind(f"{OUTBOUND}Notification"))
        return [event for event in events if event is not None]

    def _event(self, notification: ET.Element, received_at: datetime) -> WebhookEvent | None:
        record = notification.find(f"{OUTBOUND}sObject")
        ident = notification.findtext(f"{OUTBOUND}Id")
        if record is None or not ident:
            raise _malformed("an outbound message lacks its notification")
        kind = record.get(XSI_TYPE, "").rpartition(":")[2]
        notified = {**NOTIFIED, self.resources["order"].path: "order"}
        if kind not in notified:
            raise _malformed(f"no resource listens to outbound messages of {kind!r}")
        fields = {child.tag.rpartition("}")[2]: child.text for child in record}
        if not fields.get("Id"):
            return None
        stamp = fields.get("SystemModstamp") or fields.get("LastModifiedDate")
        try:
            occurred_at = _instant(stamp) if stamp else received_at
        except ValueError:
            raise _malformed(f"{stamp!r} in an outbound message is not an instant") from None
        return WebhookEvent(ident, notified[kind], str(fields["Id"]), kind, occurred_at, version=stamp)

    def acknowledge(self, _events: Sequence[WebhookEvent]) -> tuple[bytes, str]:
        """Body and content type of the answer that ends the sender's retries; send it once the events are kept."""
        return ACKNOWLEDGEMENT, "text/xml; charset=utf-8"

    # -- the doctor

    def check(self) -> list[Finding]:
        version = self._settings.api_version
        try:
            offered = exact_json(self._wire.read("GET", "/services/data/"))
            limits = self._reads.limits()["DailyApiRequests"]
            quotes = CUSTOM_FIELDS_OF_QUOTES if self._settings.order_source == "cpq_quote" else {}
            findings = [self._check_fields(*wanted) for wanted in {**CUSTOM_FIELDS, **quotes}.items()]
        except TieoutError as error:
            return [Finding("reachable, sign-in accepted", ok=False, detail=str(error), cure=error.cure)]
        known = [item["version"] for item in offered]
        enough = limits["Remaining"] * 10 >= limits["Max"]
        return [
            Finding("reachable, sign-in accepted", ok=True, detail=self._settings.base_url),
            self._check_organization(),
            Finding(
                "API version",
                ok=version in known,
                detail=f"v{version}; the org offers v{known[0]} to v{known[-1]}",
                cure="" if version in known else "set api_version to one the org offers",
            ),
            Finding(
                "daily API requests",
                ok=enough,
                detail=f"{limits['Remaining']} of {limits['Max']} left",
                cure="" if enough else "find what else calls the org, or buy more calls",
            ),
            *self._check_stream(),
            *findings,
        ]

    def _check_stream(self) -> Iterator[Finding]:
        if self._stream is None:
            return
        sobject = self.resource("order").path
        try:
            self._stream.after(sobject, NEW)
        except TieoutError as error:
            yield Finding("change data capture", ok=False, detail=str(error), cure=error.cure)
        else:
            yield Finding("change data capture", ok=True, detail=f"events of {sobject} can be listened to")

    def _check_organization(self) -> Finding:
        seen = re.search(r"/(00D\w{12})", self._session.identity)
        expected = (self._settings.organization_id or "")[:15]
        if not expected:
            cure = "set organization_id and webhook_token to receive outbound messages"
            return Finding("organization", ok=False, detail="not set, so outbound messages are refused", cure=cure)
        ok = bool(seen and seen[1] == expected)
        return Finding(
            "organization",
            ok=ok,
            detail=seen[1] if seen else "unknown",
            cure="" if ok else "organization_id is of another org",
        )

    def _check_fields(self, sobject: str, wanted: Sequence[str]) -> Finding:
        try:
            fields = self._fields(sobject)
        except (Rejected, Misconfigured):
            fields = {}
        missing = [name for name in wanted if name not in fields]
        keys = [row.key_field for row in RESOURCES.values() if row.path == sobject and row.key_field != row.id_field]
        loose = [
            name for name in keys if name in fields and not (fields[name]["externalId"] and fields[name]["unique"])
        ]
        return Finding(
            f"fields of {sobject}",
            ok=not missing and not loose,
            detail=" ".join(
                [f"missing or hidden: {', '.join(missing)}" if missing else "all there"]
                + [f"not a unique external id: {', '.join(loose)}" for _ in loose[:1]]
            ),
            cure="create them as docs/connectors/salesforce.md says, visible to the user" if missing or loose else "",
        )

    def close(self) -> None:
        self._wire.close()
        self._session.close()


class _NoDoctype(ET.TreeBuilder):
    """Refuses a document type, and with it every entity, before it is read."""

    def doctype(self, _name: str, _pubid: str | None, _system: str | None) -> None:
        raise _malformed("a message with a document type was refused")


def _parse(body: bytes) -> ET.Element:
    try:
        return ET.fromstring(body, ET.XMLParser(target=_NoDoctype()))
    except (ET.ParseError, ValueError, LookupError):
        raise _malformed("a message is not XML") from None


def _malformed(why: str) -> Rejected:
    """The sender knows our token, but says what no outbound message says."""
    return Rejected(f"{SYSTEM}: {why}", system=SYSTEM, code="malformed")


def _instant(text: str) -> datetime:
    """An instant of the vendor's form ``2026-11-22T10:00:00.000+0000`` or any ISO 8601 form with an offset."""
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} has no offset")
    return instant.astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Place:
    """How far changes were read: until when, and up to which event where events tell of them. ``7@2026-10-31T...``"""

    at: datetime
    replay: int | None = None

    @classmethod
    def read(cls, text: str) -> Place:
        replay, _, at = text.rpartition("@")
        return cls(_instant(at), int(replay) if replay else None)

    def __str__(self) -> str:
        return self.at.isoformat() if self.replay is None else f"{self.replay}@{self.at.isoformat()}"


def _change(record: Json, payload: Payload | None) -> Change:
    gone = bool(record["IsDeleted"])
    return Change(record["Id"], _instant(record["SystemModstamp"]), None if gone else payload)
