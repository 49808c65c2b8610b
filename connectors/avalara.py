"""Avalara AvaTax REST v2 (published definition of SDK 26.9.0, error pages and method pages read 2026-11).

A document of the vendor is one company + type + code, so our code, chosen before the call, is the whole guard against
duplicates: sending it again finds the same document. What the wire has to know beyond that:

- ``createoradjust`` would turn a COMMITTED document into a new uncommitted version. ``tax_document`` therefore looks
  first, adopts a committed document that says the same, and refuses one that says something else: that is corrected by
  ``tax_adjust`` or ``tax_refund``, on purpose and with a reason.
- A refund transaction gives back whole lines or one percentage of them all; an amount of our choice per line is a
  ReturnInvoice of its own (``tax_credit``), created like an invoice.
- A list without a criterion on ``date`` covers the last 30 days only; ``changes`` always names one.
- Characters that a path cannot carry have encodings of their own (``/`` is ``_-ava2f-_``).
- The company code and the document type may be left out of payloads: the company of the settings, and SalesInvoice.
- There are no webhooks for transactions.

Payloads are the vendor's models; where a call needs a path parameter as well it stands in the payload under the name
the vendor gives it (``transactionCode``) and is taken out before sending:

================ ============================== ======================================== ====================
resource         payload                        key                                      find answers when
================ ============================== ======================================== ====================
``tax_document`` CreateTransactionModel         ``code``                                 it exists
``tax_commit``   CommitTransactionModel         ``code`` of the document                 it is committed
``tax_void``     VoidTransactionModel           ``transactionCode`` of the document      it is cancelled
``tax_refund``   RefundTransactionModel and     ``refundTransactionCode``                the refund exists
                 ``transactionCode`` (original)
``tax_credit``   CreateTransactionModel of a   ``code``                                 it exists
                 ReturnInvoice
``tax_adjust``   AdjustTransactionModel         ``referenceCode`` of newTransaction:     a version carries it
                                                names this one adjustment
``address``      (read only)                    none; ``get`` takes the query of         never
                                                ``GET /addresses/resolve``
================ ============================== ======================================== ====================
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from typing import Any
from urllib.parse import parse_qsl, quote

from pydantic import BaseModel, Field, SecretStr

from connectors.wire import BaseConnector, BasicAuth, Response, Wire, exact_json, parsed
from core.errors import Misconfigured, OutcomeUnknown, Rejected, TieoutError, Unavailable
from core.ports import Change, Connector, ExternalKey, Finding, Guard, Payload, Receipt, Resource, World

SYSTEM = "avalara"

_ONE = "/api/v2/companies/{company}/transactions/{code}"

RESOURCES: Mapping[str, Resource] = {
    "tax_document": Resource("/api/v2/transactions/createoradjust", "id", "code", Guard.EXTERNAL_ID),
    "tax_credit": Resource("/api/v2/transactions/createoradjust", "id", "code", Guard.EXTERNAL_ID),
    "tax_commit": Resource(f"{_ONE}/commit", "id", "code", Guard.EXTERNAL_ID),
    "tax_void": Resource(f"{_ONE}/void", "id", "transactionCode", Guard.EXTERNAL_ID),
    "tax_refund": Resource(f"{_ONE}/refund", "id", "refundTransactionCode", Guard.FIND_THEN_CREATE),
    "tax_adjust": Resource(f"{_ONE}/adjust", "id", "referenceCode", Guard.FIND_THEN_CREATE),
    "address": Resource("/api/v2/addresses/resolve", "", "", Guard.READ_ONLY),
}

#: What a document must show for a resource to be there: its type, the statuses that count, and the same as a filter.
#: A superseded version has status Adjusted: nobody's document any more, but the proof that an adjustment was made.
_SHOWS: Mapping[str, tuple[str, frozenset[str], str]] = {
    "tax_document": ("SalesInvoice", frozenset(), "status ne 'Adjusted'"),
    "tax_commit": ("SalesInvoice", frozenset({"Committed"}), "status eq 'Committed'"),
    "tax_void": ("SalesInvoice", frozenset({"Cancelled"}), "status eq 'Cancelled'"),
    "tax_refund": ("ReturnInvoice", frozenset(), "status ne 'Adjusted'"),
    "tax_credit": ("ReturnInvoice", frozenset(), "status ne 'Adjusted'"),
    "tax_adjust": ("SalesInvoice", frozenset(), "adjustmentReason ne 'NotAdjusted'"),
}

#: Refusals that may only say that what we want is so already; the document is read before they count.
_PERHAPS_DONE: Mapping[str, frozenset[str]] = {
    "tax_commit": frozenset({"InvalidDocumentStatus", "TransactionIsCommitted", "CannotModifyLockedTransaction"}),
    "tax_void": frozenset({"TransactionAlreadyCancelled"}),
    "tax_refund": frozenset({"TransactionAlreadyExists", "DuplicateEntry"}),
}

#: Codes that condemn the whole system, whatever the record.
_MISCONFIGURED = frozenset(
    {
        "AccountExpiredException", "AccountInNewStatusException", "AccountInvalidException", "AccountNotProvisioned",
        "AuthenticationException", "AuthenticationIncomplete", "AuthorizationException", "BasicAuthIncorrect",
        "BearerTokenInvalid", "CompanyInvalidException", "InactiveAccount", "InactiveUserError", "NoDefaultCompany",
        "PermissionRequired", "SubscriptionRequired", "UserNoAccess",
    }
)  # fmt: skip

#: Codes of a fault inside the vendor, which may come with any status: a write may have happened.
_FAULTS = frozenset(
    {
        "RemoteServerError", "RequestIncomplete", "ServerConfiguration", "ServerUnreachable", "TimeoutRequested",
        "UnhandledException",
    }
)  # fmt: skip

_NOT_FOUND = "EntityNotFoundError"
_INCLUDE = {"$include": "Lines,Details,Summary,Addresses"}
_PATH_CODES = {"%": "_-ava25-_", "/": "_-ava2f-_", "+": "_-ava2b-_", "?": "_-ava3f-_", "#": "_-ava23-_"}


class Settings(BaseModel):
    """One AvaTax account and company. ``page_size``: documents a page of ``changes`` carries, 1 to 1000."""

    base_url: str = "https://rest.avatax.com"
    account_id: str
    license_key: SecretStr
    company_code: str = "DEFAULT"
    client: str = "Tieout"
    """Name of the application in the X-Avalara-Client header; a certified connector has one from the vendor."""
    machine: str = "hub"
    page_size: int = Field(default=100, ge=1, le=1000)


def connect(settings: Settings, world: World) -> Connector:
    return AvaTax(settings, world)


class AvaTax(BaseConnector):
    system = SYSTEM
    resources = RESOURCES

    def __init__(self, settings: Settings, world: World) -> None:
        self._company, self._page_size = settings.company_code, settings.page_size
        self._wire = Wire(
            SYSTEM,
            settings.base_url,
            world,
            auth=BasicAuth(settings.account_id, settings.license_key.get_secret_value()),
            headers={"X-Avalara-Client": _client_header(settings)},
            read_error=read_error,
        )

    def changes(self, resource: str, since: str | None) -> Iterator[Change]:
        """Documents by id, which never changes, so that a page never shifts. ``since``: the vendor's modifiedDate."""
        kind, _, condition = self._shows(resource)
        changed = f" and modifiedDate ge {_quoted(since)}" if since else ""
        for row in self._list(f"date ge '1900-01-01' and type eq '{kind}' and {condition}{changed}"):
            yield Change(str(row["id"]), _instant(row["modifiedDate"]), row)

    def get(self, resource: str, vendor_id: str) -> Payload:
        """A document by its numeric id, or for ``address`` the resolution of ``line1=...&city=...&region=...``."""
        if resource == "address":
            return self._resolve(vendor_id)
        self._shows(resource)
        with _naming(resource, {"id": vendor_id}):
            path = f"/api/v2/transactions/{quote(vendor_id, safe='')}"
            return _shown(_body(self._wire.read("GET", path, params=_INCLUDE)))

    def find(self, resource: str, key: ExternalKey) -> Receipt | None:
        kind, statuses, condition = self._shows(resource)
        if resource == "tax_adjust":
            same = (
                f"date ge '1900-01-01' and type eq '{kind}' and {condition} and referenceCode eq {_quoted(key.value)}"
            )
            found = next(self._list(same), None)
        else:
            found = self._read(key.value, kind)
        if found is None or (statuses and found["status"] not in statuses):
            return None
        return _receipt(resource, key, found, created=False)

    def upsert(self, resource: str, payload: Payload, key: ExternalKey) -> Receipt:
        try:
            write = _WRITES[resource]
        except KeyError:
            return super().upsert(resource, payload, key)
        with _naming(resource, payload):
            call = write(payload, key, self._company)
            existing = self.find(resource, key) if call.look_first else None
            if existing is not None and _stands(resource, existing.answer, payload):
                return existing
            try:
                answer = _shown(_body(self._wire.write("POST", call.path, json=call.body, params=_INCLUDE)))
            except Rejected as refusal:
                done = self.find(resource, key) if refusal.code in _PERHAPS_DONE.get(resource, ()) else None
                if done is None:
                    raise
                return done
        return _receipt(resource, key, answer, created=existing is None)

    def check(self) -> list[Finding]:
        """Credentials by ping; then that the company exists and is active; then that it has nexus anywhere."""
        findings = []
        for look in (self._check_credentials, self._check_company):
            try:
                found = look()
            except TieoutError as error:
                found = [Finding(look.__name__.removeprefix("_check_"), False, str(error), error.cure)]
            findings += found
            if not all(finding.ok for finding in found):
                break
        return findings

    def _check_credentials(self) -> list[Finding]:
        answer = _body(self._wire.read("GET", "/api/v2/utilities/ping"))
        if answer.get("authenticated"):
            return [Finding("credentials", True, f"AvaTax {answer.get('version')} knows the account")]
        return [
            Finding(
                "credentials",
                False,
                "AvaTax answers, but does not accept the account id and licence key",
                "Copy the account id, and generate a licence key under Settings > License and API keys.",
            )
        ]

    def _check_company(self) -> list[Finding]:
        wanted = {"$filter": f"companyCode eq {_quoted(self._company)}"}
        companies = _body(self._wire.read("GET", "/api/v2/companies", params=wanted))["value"]
        if not companies:
            return [
                Finding(
                    "company",
                    False,
                    f"the account has no company with code {self._company}",
                    "Set company_code to a code under Settings > All companies.",
                )
            ]
        company = companies[0]
        if not company.get("isActive"):
            return [Finding("company", False, f"company {self._company} is not active", "Activate it in AvaTax.")]
        path = f"/api/v2/companies/{company['id']}/nexus"
        nexus = _body(self._wire.read("GET", path, params={"$top": 1}))["@recordsetCount"]
        return [
            Finding("company", True, f"{company['name']} ({self._company}) is active"),
            Finding(
                "nexus",
                nexus > 0,
                f"the company collects tax in {nexus} jurisdictions",
                "" if nexus else "Add where the company collects tax, else every tax is 0.",
            ),
        ]

    def close(self) -> None:
        self._wire.close()

    def _shows(self, resource: str) -> tuple[str, frozenset[str], str]:
        self.resource(resource)
        if resource not in _SHOWS:
            raise Misconfigured(f"{SYSTEM} keeps no {resource} that could be looked up", system=SYSTEM)
        return _SHOWS[resource]

    def _read(self, code: str, kind: str) -> Payload | None:
        path = f"{_ONE}/types/{kind}".format(company=_segment(self._company), code=_segment(code))
        try:
            return _shown(_body(self._wire.read("GET", path, params=_INCLUDE)))
        except Rejected as refusal:
            if refusal.code == _NOT_FOUND:
                return None
            raise

    def _list(self, condition: str) -> Iterator[Payload]:
        path = f"/api/v2/companies/{_segment(self._company)}/transactions"
        params = {**_INCLUDE, "$filter": condition, "$orderBy": "id ASC", "$top": str(self._page_size)}
        page = _body(self._wire.read("GET", path, params=params))
        yield from map(_shown, page["value"])
        while link := page.get("@nextLink"):
            page = _body(self._wire.read("GET", link))
            yield from map(_shown, page["value"])

    def _resolve(self, query: str) -> Payload:
        with _naming("address", dict(parse_qsl(query))):
            answer = _body(self._wire.read("GET", RESOURCES["address"].path, params=dict(parse_qsl(query))))
            for message in answer.get("messages") or []:
                if message.get("severity") == "Error":
                    raise Rejected(
                        f"{SYSTEM}: {message.get('summary')} {message.get('details')}",
                        system=SYSTEM,
                        field=message.get("refersTo"),
                        code="AddressNotResolved",
                    )
        return answer


@dataclass(frozen=True, slots=True)
class _Write:
    """One POST: where, what, and whether the key is looked up before it."""

    path: str
    body: Payload
    look_first: bool


#: Read once: it is looked up in the files of the installed package.
_version = cache(version)


def _client_header(settings: Settings) -> str:
    return f"{settings.client}; {_version('tieout')}; httpx; {_version('httpx')}; {settings.machine}"


def _document(payload: Payload, key: ExternalKey, company: str) -> _Write:
    model = {"type": "SalesInvoice", **payload, "companyCode": _one_company(payload, company), "code": key.value}
    return _Write(RESOURCES["tax_document"].path, {"createTransactionModel": model}, look_first=True)


def _credit(payload: Payload, key: ExternalKey, company: str) -> _Write:
    return _document({**payload, "type": "ReturnInvoice"}, key, company)


def _commit(payload: Payload, key: ExternalKey, company: str) -> _Write:
    return _Write(_path("tax_commit", company, key.value), _without(payload, "code"), look_first=False)


def _void(payload: Payload, key: ExternalKey, company: str) -> _Write:
    return _Write(_path("tax_void", company, key.value), _without(payload, "transactionCode"), look_first=False)


def _refund(payload: Payload, key: ExternalKey, company: str) -> _Write:
    original = _needed(payload, "transactionCode")
    body = {**_without(payload, "transactionCode"), "refundTransactionCode": key.value}
    return _Write(_path("tax_refund", company, original), body, look_first=True)


def _adjust(payload: Payload, key: ExternalKey, company: str) -> _Write:
    new = payload.get("newTransaction") or {}
    code = _needed(new, "code", "newTransaction.code")
    model = {"type": "SalesInvoice", **new, "companyCode": _one_company(new, company), "referenceCode": key.value}
    body = {**_without(payload, "referenceCode"), "newTransaction": model}
    return _Write(_path("tax_adjust", company, code), body, look_first=True)


_WRITES: Mapping[str, Callable[[Payload, ExternalKey, str], _Write]] = {
    "tax_document": _document,
    "tax_credit": _credit,
    "tax_commit": _commit,
    "tax_void": _void,
    "tax_refund": _refund,
    "tax_adjust": _adjust,
}


def _one_company(model: Payload, company: str) -> str:
    """The company of the settings. Rejected when the model names another: its documents would not be found again."""
    named = str(model.get("companyCode") or company)
    if named.casefold() != company.casefold():
        raise Rejected(
            f"{SYSTEM}: this connector serves company {company}", system=SYSTEM, field="companyCode", value=named
        )
    return company


def _path(resource: str, company: str, code: str) -> str:
    return RESOURCES[resource].path.format(company=_segment(company), code=_segment(code))


def _segment(code: str) -> str:
    """A code as a path segment, by the vendor's own encodings first."""
    return quote("".join(_PATH_CODES.get(character, character) for character in code), safe="")


def _without(payload: Payload, name: str) -> dict[str, Any]:
    return {field: value for field, value in payload.items() if field != name}


def _needed(payload: Payload, name: str, field: str | None = None) -> str:
    value = payload.get(name)
    if not value:
        raise Rejected(f"{SYSTEM}: {field or name} is needed to name the document", system=SYSTEM, field=field or name)
    return str(value)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _body(response: Response) -> dict[str, Any]:
    """The JSON object of a good answer. OutcomeUnknown when it is none."""
    body = exact_json(response)
    if not isinstance(body, dict):
        raise OutcomeUnknown(f"{SYSTEM} answered {response.status_code} with a body that is not an object")
    return body


def _shown(document: dict[str, Any]) -> Payload:
    """The document with its day as a day: the vendor writes ``2026-10-31`` here and ``2026-10-31T00:00:00`` there."""
    return {**document, "date": str(document["date"])[:10]}


def _receipt(resource: str, key: ExternalKey, answer: Payload, *, created: bool) -> Receipt:
    return Receipt(SYSTEM, resource, str(answer["id"]), key, created, answer)


def _instant(text: str) -> datetime:
    """The vendor writes UTC, with or without a zone and with up to seven decimals of a second."""
    parsed = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


def _stands(resource: str, document: Payload, payload: Payload) -> bool:
    """Whether what is there is to be left alone. An uncommitted tax document is not: it is replaced."""
    if resource not in ("tax_document", "tax_credit"):
        return True
    final = document["status"] == "Committed" or bool(document.get("locked"))
    if final:
        _require_same(payload, document)
    return final


def _require_same(payload: Payload, document: Payload) -> None:
    """Rejected when a committed document differs from a payload in what was taxed."""
    asked = {
        "date": payload.get("date"),
        "customerCode": payload.get("customerCode"),
        "currencyCode": payload.get("currencyCode", "USD"),
        "lines": {str(line.get("number")): Decimal(line["amount"]) for line in payload["lines"]},
    }
    held = {
        "date": document["date"],
        "customerCode": document.get("customerCode") or document.get("customerVendorCode"),
        "currencyCode": document.get("currencyCode"),
        "lines": {line["lineNumber"]: Decimal(line["lineAmount"]) for line in document["lines"]},
    }
    for field, value in asked.items():
        if value != held[field]:
            raise Rejected(
                f"{SYSTEM}: document {document['code']} is committed with other {field};"
                " correct it with tax_adjust or tax_refund",
                system=SYSTEM,
                field=field,
                value=str(value),
                code="TransactionIsCommitted",
            )


@contextmanager
def _naming(resource: str, payload: Payload) -> Iterator[None]:
    """Tells a Rejected the record it is about, and the value the payload has in the field it names."""
    try:
        yield
    except Rejected as refusal:
        refusal.record = refusal.record or resource
        if refusal.field:
            refusal.field = re.sub(r"^createTransactionModel\.", "", refusal.field)
            if refusal.value is None:
                refusal.value = _value_at(payload, refusal.field)
        raise


def _value_at(payload: Any, path: str) -> str | None:
    """The text of a plain value at ``lines[0].amount``; None when there is none."""
    for part in re.findall(r"\w+", path):
        if isinstance(payload, Mapping):
            payload = payload.get(part)
        elif isinstance(payload, (list, tuple)) and part.isdigit() and int(part) < len(payload):
            payload = payload[int(part)]
        else:
            return None
    return None if payload is None or isinstance(payload, (Mapping, list, tuple)) else str(payload)


def read_error(response: Response) -> TieoutError | None:
    """What an error body means: ``{"error": {code, message, details: [...]}}``, or the same without the outer object.

    None where the status says it all: no such body, a wait (408, 429), or a fault of the service (5xx).
    """
    if response.status_code in (408, 429) or response.status_code >= 500:
        return None
    try:
        body = parsed(response.content)
    except ValueError:
        return None
    error = body.get("error", body) if isinstance(body, dict) else None
    if not isinstance(error, dict) or not isinstance(error.get("code"), str):
        return None
    details = error.get("details") or [{}]
    detail: dict[str, Any] = next((item for item in details if item.get("code") == error["code"]), details[0])
    code = error["code"]
    message, description = (
        str(detail.get("message") or error.get("message") or ""),
        str(detail.get("description") or ""),
    )
    said = f"{SYSTEM}: {code}: {message} {description}".strip()
    if code in _FAULTS:
        writes = response.request.method != "GET"
        return OutcomeUnknown(said) if writes else Unavailable(said)
    unknown_company = code == _NOT_FOUND and message.startswith("Company")
    if code in _MISCONFIGURED or unknown_company or response.status_code in (401, 403):
        return Misconfigured(said, system=SYSTEM)
    field, value = _blamed(detail.get("refersTo"), f"{message} {description}")
    return Rejected(said, system=SYSTEM, field=field, value=value, code=code)


def _blamed(refers_to: str | None, text: str) -> tuple[str | None, str | None]:
    """The field and the value a message speaks of, by the fixed wordings of the vendor's templates."""
    field = refers_to
    for pattern in (r"[Ff]ield '([^']+)'", r"value for field ([\w.\[\]]+)", r"is not a valid '([^']+)'"):
        if not field and (found := re.search(pattern, text)):
            field = found[1].rstrip(".")
    value = re.search(r"[Tt]he value '([^']*)'", text)
    return field, value[1] if value else None
