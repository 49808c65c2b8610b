"""Dynamics 365 Sales, Dataverse Web API v9.2 (OData 4) over plain HTTP (docs/connectors/dynamics.md).

Vendor facts: the Web API pages of the Power Apps documentation (change tracking, conditional operations, batches,
service protection limits, webhooks) and the Sales table reference (published docs, read 2026-11). What is peculiar:

- An order is a sales order that came from a quote. Winning a quote says nothing yet: its lines are agreed in the sales
  order that ``ConvertQuoteToSalesOrder`` makes, and so is the id under which the order is known.
- Every write is one operation of a ``$batch``, with an outcome of its own. An account is an upsert by the alternate key
  over ``accountnumber``. An invoice and its lines are one change set of creates under ids made from our number, each
  with ``If-None-Match: *``; one that is there is only brought up to date, with the ETag that was read.
- ``changes`` without a cursor, or with a delta link, rides on change tracking, which tells deletions too and gives the
  next delta link with its last change. A delta link older than seven days is refused: everything is read anew.
- Webhooks carry no signature, only the key agreed on, and may have lost their parameters: an event is a hint.
"""

from __future__ import annotations

import hmac
import re
import threading
import uuid
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, Field, SecretStr, field_validator

from connectors.odata_batch import Operation, batch_answers, batch_body
from connectors.rounding import Rounding, foretold, unsent
from connectors.wire import (
    Auth,
    BulkConnector,
    Request,
    Response,
    Wire,
    chunks,
    exact_json,
    parsed,
    retry_after,
    retrying,
)
from core.errors import Misconfigured, RateLimited, Rejected, Retryable, TieoutError, Unavailable
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

T = TypeVar("T")
Json = dict[str, Any]

SYSTEM = "dynamics"

RESOURCES: Mapping[str, Resource] = {
    "order": Resource("salesorders", "salesorderid", "salesorderid", Guard.READ_ONLY, batch=50),
    "order_progress": Resource("salesorders", "salesorderid", "salesorderid", Guard.EXTERNAL_ID, batch=100),
    "account": Resource("accounts", "accountid", "accountnumber", Guard.EXTERNAL_ID, batch=100),
    "invoice": Resource("invoices", "invoiceid", "invoicenumber", Guard.EXTERNAL_ID, batch=20),
    "contact": Resource("contacts", "contactid", "contactid", Guard.READ_ONLY, batch=100),
    "site": Resource("tieout_sites", "tieout_siteid", "tieout_code", Guard.READ_ONLY, batch=100),
    "product": Resource("products", "productid", "productnumber", Guard.READ_ONLY, batch=100),
    "price_list": Resource("pricelevels", "pricelevelid", "pricelevelid", Guard.READ_ONLY, batch=100),
    "price": Resource("productpricelevels", "productpricelevelid", "productpricelevelid", Guard.READ_ONLY, batch=100),
    "opportunity": Resource("opportunities", "opportunityid", "opportunityid", Guard.READ_ONLY, batch=100),
    "quote": Resource("quotes", "quoteid", "quoteid", Guard.READ_ONLY, batch=100),
}
#: Parts of an invoice's payload that are no columns to be written.
OURS = frozenset({"invoice_details", "totalamount"})
#: A line is quantity times price in the pricing precision of the organisation, 2 decimals unless it was changed, and
#: its tax is added to that (reference of invoicedetail, read 2026-11); which way a half is rounded is not published.
ROUNDING: Mapping[str, Rounding] = {
    "invoice": Rounding(
        "invoice_details", "totalamount", quantity="quantity", price="priceperunit", added=["tax"],
        quantity_places=5, price_places=2,
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class View:
    """What a resource shows of its table: which rows, and what is nested in them."""

    only: str = ""
    nested: str = ""


CURRENCY = "transactioncurrencyid($select=isocurrencycode)"
#: Rows and nested rows of a resource; all rows and nothing nested where nothing stands.
VIEWS: Mapping[str, View] = {
    "order": View(
        "_quoteid_value ne null and statecode ne 2",
        f"customerid_account($expand=parentaccountid($select=accountnumber),{CURRENCY}),{CURRENCY},"
        "quoteid($select=quoteid)",
    ),
    "order_progress": View("tieout_status ne null", CURRENCY),
    "account": View(nested=f"parentaccountid($select=accountnumber),{CURRENCY}"),
    "invoice": View(nested=f"{CURRENCY},invoice_details"),
    "quote": View(nested=f"{CURRENCY},quote_details"),
    "price_list": View(nested=CURRENCY),
}

#: Entity set to its table, where the table is not its singular.
TABLES: Mapping[str, str] = {"opportunities": "opportunity"}
#: The tables that an order is made of, under the names that its payload gives them, and which of them are lists.
OF_ORDERS: Mapping[str, tuple[str, FieldKind]] = {
    "salesorder": ("salesorder", FieldKind.OBJECT),
    "account": ("account", FieldKind.OBJECT),
    "order_details": ("salesorderdetail", FieldKind.LIST),
    "contacts": ("contact", FieldKind.LIST),
    "tieout_sites": ("tieout_site", FieldKind.LIST),
}
#: Lines that a document is written with.
WRITTEN_LINES: Mapping[str, str] = {"invoice_details": "invoicedetail"}
#: Column types without a property of their own in a row, and those that the platform fills (AttributeTypeCode, 2026-11)
LOOKUPS = frozenset({"Lookup", "Customer", "Owner"})
FILLED = frozenset({"State", "Status", "Owner", "Uniqueidentifier"})
TYPES: Mapping[str, FieldKind] = {
    **dict.fromkeys(("String", "Memo", "EntityName", "Uniqueidentifier"), FieldKind.TEXT),
    **dict.fromkeys(("Integer", "BigInt", "Decimal", "Double", "Money"), FieldKind.NUMBER),
    **dict.fromkeys(("Picklist", "State", "Status"), FieldKind.NUMBER),
    "Boolean": FieldKind.BOOLEAN,
    "DateTime": FieldKind.INSTANT,
}

#: What set-up creates, and ``check`` looks for: columns by table.
CUSTOM_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "account": ("tieout_timezone", "tieout_taxexemption", "tieout_paymenttermsdays"),
    "tieout_site": (
        "tieout_name",
        "tieout_code",
        "tieout_accountid",
        "tieout_line1",
        "tieout_city",
        "tieout_region",
        "tieout_postalcode",
        "tieout_country",
    ),
    "quote": ("tieout_purchaseorder", "tieout_servicestart", "tieout_termmonths"),
    "quotedetail": ("tieout_siteid", "tieout_servicestart"),
    "salesorder": (
        "tieout_purchaseorder",
        "tieout_servicestart",
        "tieout_termmonths",
        "tieout_status",
        "tieout_subscription",
        "tieout_invoiced",
        "tieout_credited",
        "tieout_paid",
        "tieout_invoicenumbers",
    ),
    "salesorderdetail": ("tieout_siteid", "tieout_servicestart"),
}
#: Columns over which a table has an alternate key of their own.
ALTERNATE_KEYS: Mapping[str, str] = {"account": "accountnumber", "tieout_site": "tieout_code"}
#: Tables whose changes are read.
TRACKED = frozenset({"account", "salesorder"})

#: Tables of webhooks to the resource that reads them.
NOTIFIED: Mapping[str, str] = {"salesorder": "order", "account": "account"}

#: What the service answers when a row is not there, when one is there already, and when a delta link is too old.
NOT_THERE = frozenset({"0x80040217", "0x80060891", "404"})
THERE_ALREADY = frozenset({"0x80040237", "412"})
DELTA_EXPIRED = "0x80044352"
#: Wrong addresses: a table, or a column that a query names.
WRONG_ADDRESS = frozenset({"0x8006088a"})

GUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
#: Characters with which the service cannot address a row by an alternate key.
UNADDRESSABLE = re.compile(r"[/<>*%&:\\?+#]")
#: Ids of documents that we create are made from our key under this name.
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:tieout:dynamics")
NOBODY = "00000000-0000-0000-0000-000000000000"
#: Characters that stay as they are in the query of an address.
PLAIN = "(),'/:;=$@"
#: Seconds to wait when the service refuses a call without saying how long.
USUAL_WAIT = 5.0
#: How long before its end a token is no longer used.
MARGIN = timedelta(minutes=2)
SET_UP = "set it up as docs/connectors/dynamics.md says, and let the app's role read it"
WRITING = {"Prefer": "return=representation"}


class Settings(BaseModel):
    """How to reach one environment.

    ``base_url``: ``https://<org>.<region>.dynamics.com``. Plain http, here and in ``login_url``, is for loopback only.
    ``page``: most rows a query answers. ``organization_id`` and ``webhook_key`` are needed to receive webhooks; the key
    comes as a query parameter or as a header of the name ``webhook_key_name``.
    """

    base_url: str
    tenant_id: str
    client_id: str
    client_secret: SecretStr
    login_url: str = "https://login.microsoftonline.com"
    api_version: str = Field(default="9.2", pattern=r"^9\.\d$")
    page: int = Field(default=1000, ge=1, le=5000)
    organization_id: str | None = Field(default=None, pattern=f"^{GUID.pattern}$")
    webhook_key: SecretStr | None = None
    webhook_key_name: str = "code"

    @field_validator("base_url", "login_url")
    @classmethod
    def _safe_address(cls, url: str) -> str:
        parts = urlsplit(url)
        loopback = parts.hostname in ("127.0.0.1", "::1", "localhost")
        if not parts.hostname or parts.scheme not in ("https", "http") or (parts.scheme == "http" and not loopback):
            raise ValueError("it must be an https address (http only on loopback)")
        return f"{parts.scheme}://{parts.netloc}"


def connect(settings: Settings, world: World) -> DynamicsConnector:
    return DynamicsConnector(settings, world)


class Session(Auth):
    """Signs in with the app's secret, again before the token ends, and once more when the service refuses it.

    Single-flight: threads that meet the same dead token wait for one sign-in. Signing in is apart from the call that
    needs it, so its faults never make a write's outcome unknown.
    """

    def __init__(self, settings: Settings, world: World) -> None:
        self._settings, self._world = settings, world
        self._login = Wire(SYSTEM, settings.login_url, world, read_error=_sign_in_error)
        self._lock = threading.Lock()
        self._token = ""
        self._good_until = datetime.min.replace(tzinfo=UTC)

    def auth_flow(self, request: Request) -> Generator[Request, Response, None]:
        token = self.token(refused=None)
        request.headers["Authorization"] = f"Bearer {token}"
        response = yield request
        if response.status_code == 401:
            request.headers["Authorization"] = f"Bearer {self.token(refused=token)}"
            yield request

    def token(self, refused: str | None) -> str:
        """The token in use; a new one when it is about to end or is the one that was ``refused``."""
        with self._lock:
            if self._token == refused or self._world.clock() >= self._good_until:
                self._sign_in()
            return self._token

    def _sign_in(self) -> None:
        grant = {
            "grant_type": "client_credentials",
            "client_id": self._settings.client_id,
            "client_secret": self._settings.client_secret.get_secret_value(),
            "scope": f"{self._settings.base_url}/.default",
        }
        began = self._world.clock()
        path = f"/{quote(self._settings.tenant_id, safe='')}/oauth2/v2.0/token"
        answer = exact_json(self._login.read("POST", path, data=grant))
        self._token = str(answer["access_token"])
        self._good_until = began + timedelta(seconds=int(answer.get("expires_in", 0))) - MARGIN

    def close(self) -> None:
        self._login.close()


def _sign_in_error(response: Response) -> TieoutError | None:
    """A refusal of Entra: its error and AADSTS number; the text beside them may name ids of the tenant."""
    if response.status_code >= 500 or response.status_code == 429:
        return None
    try:
        answer = parsed(response.content)
        said = f"{answer['error']}, AADSTS{(answer.get('error_codes') or ['?'])[0]}"
    except (ValueError, KeyError, TypeError, AttributeError):
        said = str(response.status_code)
    return Misconfigured(f"{SYSTEM}: sign-in was refused ({said})", system=SYSTEM)


# -- errors ------------------------------------------------------------------------------------------------------------


def _said(response: Response) -> tuple[str, str]:
    """Code and message of an error answer; the status stands in for a code that is empty."""
    try:
        error = parsed(response.content)["error"]
        return str(error.get("code") or response.status_code), str(error["message"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return str(response.status_code), ""


#: How messages name the column they are about.
NAMES_COLUMN = re.compile(
    r"The length of the '(\w+)' attribute|[Vv]alue of '(\w+)' on record|value \S+ of '(\w+)' on record"
    r"|[Tt]he property '(\w+)' does not exist|undeclared property '(\w+)'|same value for (\w+)"
    r"|required attribute '(\w+)'|Navigation properties instead: '(\w+)'"
)
QUOTED_VALUE = re.compile(r"[Cc]annot convert the literal '(.*)' to the expected type")


def _column_of(message: str, payload: Payload) -> str | None:
    """The column an error is about: named, or the one that holds the value it quotes."""
    if named := NAMES_COLUMN.search(message):
        return next(name for name in named.groups() if name)
    if quoted := QUOTED_VALUE.search(message):
        holders = [name for name, value in payload.items() if str(value) == quoted[1]]
        return holders[0] if len(holders) == 1 else None
    return None


def _fault(response: Response, now: datetime, record: str = "", payload: Payload | None = None) -> TieoutError | None:
    """What an error answer means; None leaves it to the status table of the wire."""
    code, message = _said(response)
    where = f"{SYSTEM} {record}".strip()
    if response.status_code == 429:
        wait = retry_after(response.headers, now)
        return RateLimited(f"{where}: {message} ({code})", wait_seconds=USUAL_WAIT if wait is None else wait)
    if response.status_code >= 500 or not message:
        return None
    if response.status_code in (401, 403) or code in WRONG_ADDRESS or "Could not find a property" in message:
        return Misconfigured(f"{where}: {message} ({code})", system=SYSTEM)
    given = payload or {}
    column = _column_of(message, given)
    value = given.get(column, given.get(f"{column}@odata.bind")) if column else None
    return Rejected(
        f"{where}: {message}",
        system=SYSTEM,
        record=record,
        field=column,
        value=None if value is None else str(value),
        code=code,
    )


def _described_column(about: Json, offered: frozenset[str] = frozenset()) -> DescribedField:
    """One column. Of a lookup to several tables none is demanded: any of its navigations may be given."""
    kind = TYPES.get(about["AttributeType"], FieldKind.ANYTHING)
    demanded = about["RequiredLevel"]["Value"] in ("ApplicationRequired", "SystemRequired")
    several = about["AttributeType"] == "Customer" or len(about.get("Targets") or ()) > 1
    return DescribedField(
        FieldKind.DATE if about.get("Format") == "DateOnly" else kind,
        length=about.get("MaxLength"),
        words=offered,
        required=demanded and about["IsValidForCreate"] and about["AttributeType"] not in FILLED and not several,
        writable=about["IsValidForCreate"] or about["IsValidForUpdate"],
    )


def _bare(row: Json) -> Json:
    """A row without the annotations of the protocol, nested rows too."""
    return {name: _inner(value) for name, value in row.items() if "@" not in name}


def _inner(value: Any) -> Any:
    if isinstance(value, dict):
        return _bare(value)
    return [_inner(item) for item in value] if isinstance(value, list) else value


def document_id(key: str) -> str:
    """The id under which we create the document of our number."""
    return str(uuid.uuid5(NAMESPACE, key))


def _among(column: str, idents: Sequence[str]) -> str:
    values = ",".join(f'"{ident}"' for ident in idents)
    return f"Microsoft.Dynamics.CRM.In(PropertyName='{column}',PropertyValues=[{values}])"


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} has no offset")
    return instant.astimezone(UTC)


class DynamicsConnector(BulkConnector):
    """One environment. Thread-safe.

    The answer of a Receipt is the row alone; ``get`` and ``changes`` give it with what its resource nests.
    """

    system = SYSTEM
    resources = RESOURCES

    def __init__(self, settings: Settings, world: World) -> None:
        self._settings, self._world = settings, world
        self._root = f"/api/data/v{settings.api_version}"
        self._session = Session(settings, world)
        self._wire = Wire(
            SYSTEM,
            settings.base_url,
            world,
            auth=self._session,
            headers={
                "Accept": "application/json",
                "OData-Version": "4.0",
                "OData-MaxVersion": "4.0",
                "If-None-Match": "null",
            },
            read_error=lambda response: _fault(response, world.clock()),
        )

    # -- reading

    def _path(self, below: str, **options: str) -> str:
        """An address with OData options, percent-encoded; empty ones are left out."""
        given = [f"${name}={quote(value, safe=PLAIN)}" for name, value in options.items() if value]
        return f"{self._root}/{below}" + ("?" + "&".join(given) if given else "")

    @property
    def _paging(self) -> str:
        return f"odata.maxpagesize={self._settings.page}"

    def _pages(self, path: str, *preferences: str) -> Iterator[Json]:
        """The pages of a query, to the last."""
        prefer = {"Prefer": ",".join([self._paging, *preferences])}
        while path:
            page: Json = exact_json(self._wire.read("GET", path, headers=prefer))
            yield page
            path = page.get("@odata.nextLink", "")

    def _batch(self, items: Sequence[Sequence[Operation]], *, writes: bool) -> list[list[Response]]:
        content_type, body = batch_body(items, self._world.ids())
        headers = {"Content-Type": content_type, "Prefer": "odata.continue-on-error", "Accept": "multipart/mixed"}
        send = self._wire.write if writes else self._wire.read
        answer = send("POST", f"{self._root}/$batch", content=body, headers=headers)
        return batch_answers(SYSTEM, items, answer.headers.get("content-type", ""), answer.content)

    def _together(self, paths: Sequence[str]) -> list[list[Json]]:
        """The rows of several queries, asked in one call."""
        prefer = {"Prefer": self._paging}
        answers = self._batch([[Operation("GET", path, prefer)] for path in paths], writes=False)
        found = []
        for (answer,) in answers:
            if not answer.is_success:
                raise _fault(answer, self._world.clock()) or self._wire.error(answer, writes=False)
            page: Json = exact_json(answer)
            rows = list(page["value"])
            for more in self._pages(page.get("@odata.nextLink", "")):
                rows += more["value"]
            found.append(rows)
        return found

    def _rows(self, resource: str, idents: Sequence[str]) -> dict[str, Payload]:
        """Records by their ids, as the resource shows them; ids that it does not show are left out."""
        row, view = self.resource(resource), VIEWS.get(resource, View())
        only = " and ".join(filter(None, [_among(row.id_field, idents), view.only]))
        path = self._path(row.path, filter=only, expand=view.nested)
        rows = [item for page in self._pages(path) for item in page["value"]]
        if resource == "order":
            return self._orders(rows)
        return {item[row.id_field]: _bare(item) for item in rows}

    def _orders(self, rows: Sequence[Json]) -> dict[str, Payload]:
        """Orders with their lines, and the contacts and sites of their accounts, asked in one more call."""
        if not rows:
            return {}
        accounts = sorted({row["_customerid_value"] for row in rows if row.get("customerid_account")}) or [NOBODY]
        lines, contacts, sites = self._together(
            [
                self._path(
                    "salesorderdetails",
                    filter=_among("salesorderid", [row["salesorderid"] for row in rows]),
                    expand="productid($select=name,productnumber),tieout_SiteId($select=tieout_code),"
                    "QuoteDetailId($select=quotedetailid)",
                    orderby="lineitemnumber,salesorderdetailid",
                ),
                self._path(
                    "contacts",
                    filter=f"{_among('parentcustomerid', accounts)} and statecode eq 0",
                    orderby="createdon,contactid",
                ),
                self._path(
                    "tieout_sites",
                    filter=f"{_among('tieout_accountid', accounts)} and statecode eq 0",
                    orderby="tieout_code",
                ),
            ]
        )
        orders: dict[str, Payload] = {}
        for row in rows:
            ident, customer = row["salesorderid"], row["_customerid_value"]
            order = _bare(row)
            orders[ident] = {
                "salesorder": order,
                "account": order.pop("customerid_account", None),
                "order_details": [_bare(one) for one in lines if one["_salesorderid_value"] == ident],
                "contacts": [_bare(one) for one in contacts if one["_parentcustomerid_value"] == customer],
                "tieout_sites": [_bare(one) for one in sites if one["_tieout_accountid_value"] == customer],
            }
        return orders

    def changes(self, resource: str, since: str | None) -> Iterator[Change]:
        """Records changed since a cursor, or all; the cursor of the reading is the delta link to go on from.

        ``since``: an ISO 8601 instant (inclusive, by ``modifiedon``, oldest first; deletions are not told), or the
        cursor of an earlier reading (a delta link: what changed after it, then what was deleted, with the time of
        reading). One that has expired reads everything anew, as None does; deletions in between are then not told.
        """
        return Reading(self._told(resource, since))

    def _told(self, resource: str, since: str | None) -> Changes:
        row = self.resource(resource)
        if since is not None and "$deltatoken=" not in since:
            yield from self._since(resource, _instant(since))
            return None
        brief = self._path(row.path, select=f"{row.id_field},modifiedon")
        try:
            return (yield from self._tracked(resource, since or brief))
        except Rejected as refused:
            if refused.code != DELTA_EXPIRED:
                text = f"{SYSTEM}: changes of {row.path} cannot be read: {refused} See tieout doctor."
                raise Misconfigured(text, system=SYSTEM) from None
            return (yield from self._tracked(resource, brief))

    def _since(self, resource: str, start: datetime) -> Iterator[Change]:
        row, view = self.resource(resource), VIEWS.get(resource, View())
        moment = start.isoformat(timespec="seconds").replace("+00:00", "Z")
        path = self._path(
            row.path,
            select=f"{row.id_field},modifiedon",
            filter=" and ".join(filter(None, [f"modifiedon ge {moment}", view.only])),
            orderby=f"modifiedon,{row.id_field}",
        )
        for page in self._pages(path):
            yield from self._changed(resource, {item[row.id_field]: item["modifiedon"] for item in page["value"]})

    def _changed(self, resource: str, stamps: Mapping[str, str]) -> Iterator[Change]:
        """Changes of the records that the resource shows, in the order of ``stamps`` (id to ``modifiedon``)."""
        for idents in chunks(list(stamps), self.resource(resource).batch):
            rows = self._rows(resource, idents)
            for ident in idents:
                if ident in rows:
                    yield Change(ident, _instant(stamps[ident]), rows[ident])

    def _tracked(self, resource: str, path: str) -> Changes:
        """What change tracking tells from an address on; pages are read to the end before the first change is given."""
        row = self.resource(resource)
        stamps: dict[str, str] = {}
        gone: list[str] = []
        link = ""
        for page in self._pages(path, "odata.track-changes"):
            for item in page["value"]:
                if "reason" in item:
                    gone.append(item["id"])
                else:
                    stamps[item[row.id_field]] = item["modifiedon"]
            link = page.get("@odata.deltaLink", "")
        read_at = self._world.clock()
        yield from self._changed(resource, stamps)
        yield from (Change(ident, read_at, None) for ident in gone)
        parts = urlsplit(link)
        return f"{parts.path}?{parts.query}" if link else None

    def get(self, resource: str, vendor_id: str) -> Payload:
        row = self.resource(resource)
        found = self._rows(resource, [vendor_id]) if GUID.fullmatch(vendor_id) else {}
        if not found:
            raise Rejected(
                f"{SYSTEM} has no {resource} {vendor_id}",
                system=SYSTEM,
                record=resource,
                field=row.id_field,
                value=vendor_id,
                code="404",
            )
        (record,) = found.values()
        return record

    def find(self, resource: str, key: ExternalKey) -> Receipt | None:
        """The record under our key. An order to which no progress was ever written is none of ``order_progress``."""
        row = self._row(resource, key)
        answer = self._read(self._address(resource, key))
        if answer is None or (resource == "order_progress" and answer["tieout_status"] is None):
            return None
        return Receipt(SYSTEM, resource, answer[row.id_field], key, created=False, answer=_bare(answer))

    def _read(self, address: str) -> Json | None:
        try:
            found: Json = exact_json(self._wire.read("GET", address))
        except Rejected as refused:
            if refused.code in NOT_THERE:
                return None
            raise
        return found

    def _address(self, resource: str, key: ExternalKey) -> str:
        """The address of the record under our key. Rejected when the service has no address for such a key."""
        row = self.resource(resource)
        by_id = row.key_field == row.id_field
        if (by_id and not GUID.fullmatch(key.value)) or (not by_id and UNADDRESSABLE.search(key.value)):
            raise Rejected(
                f"{SYSTEM} cannot address a {resource} by {key.value!r}",
                system=SYSTEM,
                record=resource,
                field=row.key_field,
                value=key.value,
                code="key",
            )
        if by_id:
            return self._path(f"{row.path}({key.value})")
        if resource == "invoice":
            return self._path(f"{row.path}({document_id(key.value)})")
        text = quote(key.value.replace("'", "''"), safe="'")
        return self._path(f"{row.path}({row.key_field}='{text}')")

    # -- writing

    def _write_batch(self, resource: str, items: Sequence[tuple[Payload, ExternalKey]]) -> list[Outcome]:
        row = self._row(resource, items[0][1])
        if row.guard is Guard.READ_ONLY:
            raise Misconfigured(f"{SYSTEM}: {resource} is only read", system=SYSTEM)
        outcomes: dict[int, Outcome] = {}
        asked: dict[int, Sequence[Operation]] = {}
        for place, (payload, key) in enumerate(items):
            try:
                asked[place] = self._operations(resource, payload, key)
            except Rejected as refused:
                outcomes[place] = refused
        answers = self._batch(list(asked.values()), writes=True) if asked else []
        for place, answer in zip(asked, answers, strict=True):
            outcomes[place] = self._outcome(resource, *items[place], answer)
        return [outcomes[place] for place in range(len(items))]

    def _operations(self, resource: str, payload: Payload, key: ExternalKey) -> Sequence[Operation]:
        """The operations that write one record: several are a change set."""
        row, address = self._row(resource, key), self._address(resource, key)
        if resource in ROUNDING:
            foretold(SYSTEM, resource, ROUNDING[resource], payload)
        body = {name: value for name, value in unsent(ROUNDING, resource, payload).items() if name != row.key_field}
        if resource == "order_progress":
            return [Operation("PATCH", address, WRITING | {"If-Match": "*"}, body)]
        if resource != "invoice":
            return [Operation("PATCH", address, WRITING, body)]
        new = WRITING | {"If-None-Match": "*"}
        lines = body.pop("invoice_details", [])
        head = Operation("PATCH", address, new, body | {row.key_field: key.value})
        return [head, *(self._line(key.value, number, line, new) for number, line in enumerate(lines, 1))]

    def _line(self, invoice: str, number: int, line: Payload, headers: Mapping[str, str]) -> Operation:
        address = self._path(f"invoicedetails({document_id(f'{invoice}/{number}')})")
        return Operation(
            "PATCH", address, headers, {**line, "invoiceid@odata.bind": f"/invoices({document_id(invoice)})"}
        )

    def _outcome(self, resource: str, payload: Payload, key: ExternalKey, answers: Sequence[Response]) -> Outcome:
        failed = next((answer for answer in answers if not answer.is_success), None)
        if failed is None:
            return self._receipt(resource, key, answers[0])
        fault = _fault(failed, self._world.clock(), resource, payload) or self._wire.error(failed, writes=True)
        if resource == "invoice" and isinstance(fault, Rejected) and fault.code in THERE_ALREADY:
            try:
                return retrying(self._world, lambda: self._brought_up_to_date(payload, key))
            except (Rejected, Retryable) as error:
                return error
        return fault

    def _receipt(self, resource: str, key: ExternalKey, answer: Response) -> Receipt:
        body: Json = exact_json(answer)
        ident = body[self.resource(resource).id_field]
        return Receipt(SYSTEM, resource, ident, key, created=answer.status_code == 201, answer=_bare(body))

    def _brought_up_to_date(self, payload: Payload, key: ExternalKey) -> Receipt:
        """An invoice that is there: columns of its header that differ are written, its lines never.

        Unavailable when somebody else changed it between the read and the write.
        """
        address = self._address("invoice", key)
        kept = self._read(address)
        if kept is None:
            raise Unavailable(f"{SYSTEM} invoice: it was there, and then it was not; nothing was written")
        differing = {
            name: value
            for name, value in payload.items()
            if "@" not in name and name not in OURS and kept.get(name) != value
        }
        if not differing:
            return Receipt(SYSTEM, "invoice", kept["invoiceid"], key, created=False, answer=_bare(kept))
        operation = Operation("PATCH", address, WRITING | {"If-Match": kept["@odata.etag"]}, differing)
        ((answer,),) = self._batch([[operation]], writes=True)
        if answer.status_code == 412:
            raise Unavailable(f"{SYSTEM} invoice: somebody else changed it meanwhile; nothing was written")
        if not answer.is_success:
            now = self._world.clock()
            raise _fault(answer, now, "invoice", differing) or self._wire.error(answer, writes=True)
        return self._receipt("invoice", key, answer)

    # -- webhooks

    def events(self, request: WebhookRequest) -> list[WebhookEvent]:
        """The event of an execution context. Rejected when key, organization or form are not as agreed.

        A sales order that is created without a quote is typed in by hand and makes no event.
        """
        key, organization = self._settings.webhook_key, self._settings.organization_id
        if key is None or organization is None:
            raise Misconfigured(f"{SYSTEM}: set webhook_key and organization_id to receive webhooks", system=SYSTEM)
        name = self._settings.webhook_key_name
        given = request.query.get(name) or request.headers.get(name.lower()) or ""
        if not hmac.compare_digest(given.encode(), key.get_secret_value().encode()):
            raise Rejected(f"{SYSTEM}: a webhook with a wrong key was refused", system=SYSTEM)
        try:
            context = parsed(request.body)
            table, ident = str(context["PrimaryEntityName"]), str(context["PrimaryEntityId"]).lower()
            message, sent_by = str(context["MessageName"]), str(context["OrganizationId"])
            occurred_at = _context_instant(str(context["OperationCreatedOn"]))
            event_id = _event_id(context)
            by_hand = message == "Create" and table == "salesorder" and _lacks_quote(context)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            raise Rejected(f"{SYSTEM}: a webhook is not an execution context", system=SYSTEM) from None
        if sent_by.lower() != organization.lower():
            raise Rejected(f"{SYSTEM}: a webhook of another organization was refused", system=SYSTEM)
        if table not in NOTIFIED or not GUID.fullmatch(ident):
            raise Rejected(f"{SYSTEM}: no resource listens to webhooks of {table!r}", system=SYSTEM)
        if by_hand:
            return []
        return [WebhookEvent(event_id, NOTIFIED[table], ident, f"{table} {message}", occurred_at)]

    # -- its schema

    def describe(self, resource: str) -> Mapping[str, DescribedField]:
        """What the environment's metadata says now; of an order, of each table that it is made of.

        A lookup is written as ``<navigation>@odata.bind``, and read as an object under its navigation name.
        """
        row = self.resource(resource)
        if resource == "order":
            return {
                name: DescribedField(kind, fields=self._described(table)) for name, (table, kind) in OF_ORDERS.items()
            }
        found = self._described(TABLES.get(row.path, row.path.removesuffix("s")))
        for name, table in WRITTEN_LINES.items():
            if name in found:
                lines = self._described(table)
                parent = f"{row.id_field}@odata.bind"
                lines[parent] = replace(lines[parent], required=False)  # the change set says it
                found[name] = DescribedField(FieldKind.LIST, fields=lines)
        for name in OURS & found.keys():
            found[name] = replace(found[name], writable=True)  # taken out before anything is sent
        only_updated = row.key_field == row.id_field
        return {name: replace(about, required=False) for name, about in found.items()} if only_updated else found

    def _described(self, table: str) -> dict[str, DescribedField]:
        of_table = f"EntityDefinitions(LogicalName='{table}')"
        whole = self._path(of_table, expand="Attributes,ManyToOneRelationships,OneToManyRelationships")
        lists = self._path(
            f"{of_table}/Attributes/Microsoft.Dynamics.CRM.PicklistAttributeMetadata",
            select="LogicalName",
            expand="OptionSet($select=Options)",
        )
        definition = exact_json(self._wire.read("GET", whole))
        offered = {
            one["LogicalName"]: frozenset(str(option["Value"]) for option in one["OptionSet"]["Options"])
            for one in exact_json(self._wire.read("GET", lists))["value"]
        }
        columns = {one["LogicalName"]: one for one in definition["Attributes"]}
        found = {
            name: _described_column(one, offered.get(name, frozenset()))
            for name, one in columns.items()
            if one["AttributeType"] not in LOOKUPS
        }
        for relation in definition["ManyToOneRelationships"]:
            column, name = relation["ReferencingAttribute"], relation["ReferencingEntityNavigationPropertyName"]
            if column in columns:
                found[f"_{column}_value"] = DescribedField(FieldKind.TEXT, writable=False)
                found[name] = DescribedField(FieldKind.OBJECT)
                found[f"{name}@odata.bind"] = replace(_described_column(columns[column]), kind=FieldKind.TEXT)
        for relation in definition["OneToManyRelationships"]:
            found[relation["ReferencedEntityNavigationPropertyName"]] = DescribedField(FieldKind.LIST)
        return found

    # -- the doctor

    def check(self) -> list[Finding]:
        reachable = "reachable, sign-in accepted"
        try:
            who = exact_json(self._wire.read("GET", self._path("WhoAmI")))
            findings = [self._check_table(table) for table in CUSTOM_COLUMNS]
        except TieoutError as error:
            return [Finding(reachable, ok=False, detail=str(error), cure=error.cure)]
        return [
            Finding(reachable, ok=True, detail=self._settings.base_url),
            self._check_organization(str(who["OrganizationId"])),
            *findings,
        ]

    def _check_organization(self, seen: str) -> Finding:
        expected = self._settings.organization_id
        if expected is None or self._settings.webhook_key is None:
            cure = f"set organization_id (it is {seen}) and webhook_key to receive webhooks"
            return Finding("organization", ok=False, detail="not set, so webhooks are refused", cure=cure)
        ok = seen.lower() == expected.lower()
        return Finding("organization", ok=ok, detail=seen, cure="" if ok else "organization_id is of another one")

    def _check_table(self, table: str) -> Finding:
        path = self._path(
            f"EntityDefinitions(LogicalName='{table}')",
            select="LogicalName,ChangeTrackingEnabled",
            expand="Attributes($select=LogicalName),Keys($select=KeyAttributes,EntityKeyIndexStatus)",
        )
        try:
            found = exact_json(self._wire.read("GET", path))
        except Rejected as refused:
            return Finding(f"table {table}", ok=False, detail=str(refused), cure=SET_UP)
        has = {one["LogicalName"] for one in found["Attributes"]}
        missing = [name for name in CUSTOM_COLUMNS[table] if name not in has]
        keys = {tuple(one["KeyAttributes"]) for one in found["Keys"] if one["EntityKeyIndexStatus"] == "Active"}
        problems = [f"missing columns: {', '.join(missing)}"] if missing else []
        if table in ALTERNATE_KEYS and (ALTERNATE_KEYS[table],) not in keys:
            problems.append(f"no active alternate key over {ALTERNATE_KEYS[table]}")
        if table in TRACKED and not found["ChangeTrackingEnabled"]:
            problems.append("changes are not tracked")
        detail = "; ".join(problems) or "all there"
        return Finding(f"table {table}", ok=not problems, detail=detail, cure=SET_UP if problems else "")

    def close(self) -> None:
        self._wire.close()
        self._session.close()


def _context_instant(text: str) -> datetime:
    """``/Date(1506409448000-0700)/``: milliseconds of UTC; the offset only tells where the server stood."""
    match = re.fullmatch(r"/Date\((-?\d+)(?:[+-]\d{4})?\)/", text)
    if match:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(match[1]))
    return _instant(text)


def _event_id(context: Json) -> str:
    """The system job that posts it, which its repeat shares; for a step that runs at once, what it is about."""
    job = str(context["OperationId"])
    if job != NOBODY:
        return job
    names = ("CorrelationId", "MessageName", "PrimaryEntityName", "PrimaryEntityId")
    return ":".join(str(context[name]) for name in names)


def _lacks_quote(context: Json) -> bool:
    """Whether the created row is told and names no quote; a large one is not told."""
    parameters = context.get("InputParameters")
    if not parameters:
        return False
    target = {one["key"]: one["value"] for one in parameters}["Target"]
    return {one["key"]: one["value"] for one in target["Attributes"]}.get("quoteid") is None
