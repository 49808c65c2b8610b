"""A Salesforce org on loopback: OAuth token endpoint, REST API, SOQL, and outbound messages.

Written from the REST API Developer Guide, the SOAP guide's outbound message section and recorded exchanges of
CumulusCI (published docs, read 2026-11). Objects stand in ``sandbox.salesforce_schema``, queries in
``sandbox.salesforce_soql``. Peculiar to the sandbox:

- One connected app, ``CLIENT_ID`` / ``CLIENT_SECRET``, run as ``USERNAME``. For the JWT bearer flow upload its
  certificate first: ``POST /_sandbox/certificate`` with a PEM public key as body.
- An outbound message of Opportunity goes out when ``StageName`` becomes ``Closed Won`` (on create or update), to the
  URL registered at ``/_sandbox/webhooks``; put the receiver's token into its query.
- ``Retry-After`` on a planted ``rate_limit`` is a courtesy of the sandbox; the vendor sends none.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import jwt
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox import salesforce_soql as soql
from sandbox.emulator import Emulator, ExactJSONResponse, Fault, Json, Shelf, read_json
from sandbox.salesforce_schema import (
    BY_PREFIX,
    COUNTRIES,
    OBJECTS,
    STAGES,
    STATES,
    Field,
    SObject,
    find_object,
    full_id,
    make_id,
)

CLIENT_ID = "sandbox-client"
CLIENT_SECRET = "sandbox-secret"
USERNAME = "integration@northwind.example"
ORGANIZATION_ID = make_id("00D", 1)
USER_ID = make_id("005", 1)
STANDARD_PRICEBOOK_ID = make_id("01s", 1)
OUTBOUND_ACTION_ID = make_id("04k", 1)
VERSIONS = tuple(f"{number}.0" for number in range(50, 69))
DAILY_REQUESTS = 100_000
AUDIENCES = ("https://login.salesforce.com", "https://test.salesforce.com")

Record = dict[str, Any]


class Refusal(Exception):
    """An answer other than success: an HTTP status, the vendor's code and message, and the fields it names."""

    def __init__(self, status: int, code: str, message: str, *fields: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.fields = status, code, message, list(fields)

    @property
    def body(self) -> list[Json]:
        """As single calls answer it."""
        error: Json = {"message": self.message, "errorCode": self.code}
        return [error | ({"fields": self.fields} if self.fields else {})]

    @property
    def result(self) -> Json:
        """As one record of a collection answers it."""
        error = {"statusCode": self.code, "message": self.message, "fields": self.fields}
        return {"success": False, "errors": [error]}


class SeveralMatch(Exception):
    """An external id names more than one record: status 300 with their addresses."""

    def __init__(self, urls: list[str]) -> None:
        super().__init__("several records match")
        self.urls = urls


def stamp() -> str:
    """Now, in whole seconds and the zone form of the API."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000+0000")


class Work:
    """The records as one request sees them: its own writes on top, kept all at once when it succeeds."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.changed: dict[tuple[str, str], Record] = {}
        self.won: list[str] = []
        self._kinds: dict[str, dict[str, Record]] = {}
        self._index: dict[tuple[str, str], dict[Any, list[str]]] = {}

    def kind(self, kind: str) -> dict[str, Record]:
        """Every record of a kind by id, deleted ones too."""
        if kind not in self._kinds:
            own = {ident: record for (k, ident), record in self.changed.items() if k == kind}
            self._kinds[kind] = {record["Id"]: record for record in self.shelf.all(kind)} | own
        return self._kinds[kind]

    def any(self, kind: str, ident: str) -> Record | None:
        """One record by id, also when it is deleted."""
        if kind in self._kinds:
            return self._kinds[kind].get(ident)
        return self.changed.get((kind, ident)) or self.shelf.get(kind, ident)

    def all(self, kind: str) -> list[Record]:
        return [record for record in self.kind(kind).values() if not record["IsDeleted"]]

    def get(self, kind: str, ident: str) -> Record | None:
        record = self.any(kind, ident)
        return None if record is None or record["IsDeleted"] else record

    def by(self, kind: str, name: str, value: Any) -> list[Record]:
        """Records whose field has that value, as SOQL compares it."""
        about = OBJECTS[kind].fields[name]
        if (kind, name) not in self._index:
            index: dict[Any, list[str]] = {}
            self._index[kind, name] = index
            for record in self.kind(kind).values():
                index.setdefault(soql.comparable(about, record.get(name)), []).append(record["Id"])
        idents = self._index[kind, name].get(soql.comparable(about, value), ())
        return [found for ident in idents if (found := self.get(kind, ident)) is not None]

    def put(self, kind: str, record: Record) -> None:
        ident = record["Id"]
        before = self.any(kind, ident)
        for (k, name), index in self._index.items():
            if k == kind:
                about = OBJECTS[kind].fields[name]
                if before is not None:
                    index[soql.comparable(about, before.get(name))].remove(ident)
                index.setdefault(soql.comparable(about, record.get(name)), []).append(ident)
        self.changed[kind, ident] = record
        if kind in self._kinds:
            self._kinds[kind][ident] = record

    def mark(self) -> tuple[dict[tuple[str, str], Record], int]:
        return dict(self.changed), len(self.won)

    def back_to(self, mark: tuple[dict[tuple[str, str], Record], int]) -> None:
        self.changed = dict(mark[0])
        del self.won[mark[1] :]
        self._kinds.clear()
        self._index.clear()

    def commit(self) -> None:
        for (kind, ident), record in self.changed.items():
            self.shelf.keep(kind, ident, record)


@dataclass(frozen=True, slots=True)
class WithDeleted:
    """The records as queryAll sees them."""

    work: Work

    def all(self, kind: str) -> list[Record]:
        return list(self.work.kind(kind).values())

    def get(self, kind: str, ident: str) -> Record | None:
        return self.work.any(kind, ident)


# -- values ------------------------------------------------------------------------------------------------------------


def _parser_error(about: Field, value: Any) -> Refusal:
    kind = {str: "VALUE_STRING", int: "VALUE_NUMBER_INT", Decimal: "VALUE_NUMBER_FLOAT", list: "START_ARRAY"}
    seen = f"VALUE_{str(value).upper()}" if isinstance(value, bool) else kind.get(type(value), "START_OBJECT")
    return Refusal(
        400,
        "JSON_PARSER_ERROR",
        f"Cannot deserialize instance of {about.type} from {seen} value {value} or request may be missing a required"
        " field at [line:1, column:2]",
    )


def as_double(value: Decimal, scale: int, rounding: str) -> Decimal:
    """Rounded to ``scale`` and written as the vendor writes a double: never without a decimal."""
    exact = value.quantize(Decimal(1).scaleb(-scale), rounding=rounding).normalize()
    exponent = exact.as_tuple().exponent
    return exact.quantize(Decimal("0.1")) if isinstance(exponent, int) and exponent >= 0 else exact


def _number(about: Field, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, Decimal, str)):
        raise _parser_error(about, value)
    try:
        exact = Decimal(value)
    except InvalidOperation:
        raise _parser_error(about, value) from None
    if not exact.is_finite() or (about.type == "int" and exact != exact.to_integral_value()):
        raise _parser_error(about, value)
    whole_digits = about.precision - about.scale if about.precision else 9
    if abs(exact) >= Decimal(10) ** whole_digits:
        raise Refusal(
            400,
            "NUMBER_OUTSIDE_VALID_RANGE",
            f"{about.name}: value outside of valid range on numeric field: {value}",
            about.name,
        )
    if about.type == "int":
        return int(exact)
    return as_double(exact, about.scale, ROUND_HALF_EVEN if about.type == "currency" else ROUND_HALF_UP)


def _text(about: Field, value: Any) -> str | None:
    if not isinstance(value, str):
        raise _parser_error(about, value)
    value = value.strip()
    if len(value) > about.length:
        raise Refusal(
            400,
            "STRING_TOO_LONG",
            f"{about.name}: data value too large: {value} (max length={about.length})",
            about.name,
        )
    if about.type == "email" and value and not re.fullmatch(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+", value):
        raise Refusal(400, "INVALID_EMAIL_ADDRESS", f"{about.name}: invalid email address: {value}", about.name)
    if about.picklist and value not in about.picklist:
        raise Refusal(
            400,
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            f"{about.name}: bad value for restricted picklist field: {value}",
            about.name,
        )
    return value or None


def _moment(about: Field, value: Any) -> str:
    try:
        if about.type == "datetime":
            return soql.instant(value).strftime("%Y-%m-%dT%H:%M:%S.000+0000")
        if re.fullmatch(r"\d{4}-\d\d-\d\d", value):
            datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC)
            return str(value)
    except (TypeError, ValueError):
        pass
    raise _parser_error(about, value)


def _reference(about: Field, value: Any, work: Work) -> str:
    ident = full_id(value) if isinstance(value, str) else None
    if ident is None:
        raise Refusal(400, "MALFORMED_ID", f"{about.name}: id value of incorrect type: {value}", about.name)
    if not ident.startswith(OBJECTS[about.to].prefix):
        raise Refusal(
            400, "FIELD_INTEGRITY_EXCEPTION", f"{about.name}: id value of incorrect type: {value}", about.name
        )
    if work.any(about.to, ident) is None:
        raise Refusal(400, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", about.name)
    if work.get(about.to, ident) is None:
        raise Refusal(400, "ENTITY_IS_DELETED", "entity is deleted", about.name)
    return ident


def _value(about: Field, value: Any, work: Work) -> Any:
    if value is None:
        return None
    match about.type:
        case "boolean":
            if not isinstance(value, bool):
                raise _parser_error(about, value)
            return value
        case "currency" | "double" | "percent" | "int":
            return _number(about, value)
        case "date" | "datetime":
            return _moment(about, value)
        case "reference":
            return _reference(about, value, work)
        case _:
            return _text(about, value)


# -- writes ------------------------------------------------------------------------------------------------------------


def _given(work: Work, kind: SObject, body: Json, creating: Mapping[str, Any] | None) -> Record:
    """The fields of a request, spelled and typed as the org keeps them."""
    given: Record = {}
    locked: list[str] = []
    for name, value in body.items():
        if name == "attributes":
            continue
        about = kind.field(name)
        if about is None:
            parent = next((f for f in kind.fields.values() if f.relationship and f.relationship == name), None)
            if parent is None or not isinstance(value, dict):
                raise Refusal(400, "INVALID_FIELD", f"No such column '{name}' on sobject of type {kind.name}")
            about, value = parent, _by_external_id(work, parent, value)
        if about.name == "Id":
            raise Refusal(400, "INVALID_FIELD", "The Id field should not be specified in the sobject data.")
        if not (about.create if creating is None else about.update):
            locked.append(about.name)
            continue
        given[about.name] = _value(about, value, work)
    if locked:
        raise Refusal(
            400,
            "INVALID_FIELD_FOR_INSERT_UPDATE",
            f"Unable to create/update fields: {', '.join(locked)}. Please check the security settings of this field and"
            " verify that it is read/write for your profile or permission set.",
            *locked,
        )
    return given


def _by_external_id(work: Work, about: Field, value: Json) -> str:
    """The id of the parent that ``{"Ext__c": "v"}`` names."""
    (name, wanted), *more = ((n, v) for n, v in value.items() if n != "attributes")
    found = OBJECTS[about.to].field(name)
    if more or found is None or not (found.external or found.type in ("id", "email")):
        raise Refusal(400, "INVALID_FIELD", f"{name} is not an External ID or indexed field for {about.to}")
    matches = work.by(about.to, found.name, wanted)
    if len(matches) != 1:
        raise Refusal(
            400,
            "INVALID_FIELD",
            f"Foreign key external ID: {wanted} not found for field {found.name} in entity {about.to}",
        )
    return str(matches[0]["Id"])


def save(work: Work, kind: SObject, body: Json, before: Record | None) -> Record:
    """Creates (``before`` None) or updates one record: types, rules of the object, uniqueness, system fields."""
    if not kind.writable:
        raise Refusal(400, "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", f"entity type {kind.name} does not support create")
    given = _given(work, kind, body, before)
    if before is None:
        start: Record = {name: f.default for name, f in kind.fields.items()}
        start["IsDeleted"] = False
        if "OwnerId" in kind.fields:
            start["OwnerId"] = USER_ID
        record = start | {name: value for name, value in given.items() if value is not None}
    else:
        record = before | given
    RULES.get(kind.name, _no_rule)(work, record, given, before)
    missing = [n for n, f in kind.fields.items() if f.required and (f.create or f.update) and record.get(n) is None]
    if missing:
        raise Refusal(400, "REQUIRED_FIELD_MISSING", f"Required fields are missing: [{', '.join(missing)}]", *missing)
    for name, about in kind.fields.items():
        if about.unique and record.get(name) is not None:
            for other in work.by(kind.name, name, record[name]):
                if other["Id"] != record.get("Id"):
                    raise Refusal(
                        400,
                        "DUPLICATE_VALUE",
                        f"duplicate value found: {name} duplicates value on record with id: {other['Id'][:15]}",
                        name,
                    )
    now = stamp()
    if before is None:
        record["Id"] = make_id(kind.prefix, work.shelf.next(kind.name))
        record |= {"CreatedDate": now, "CreatedById": USER_ID}
        if "Name" in kind.fields and record.get("Name") is None:
            record["Name"] = record["Id"]
    record |= {"LastModifiedDate": now, "SystemModstamp": now, "LastModifiedById": USER_ID}
    work.put(kind.name, record)
    if kind.name == "OpportunityLineItem":
        roll_up(work, record["OpportunityId"])
    if kind.name == "Opportunity" and record["IsWon"] and not (before or {}).get("IsWon"):
        work.won.append(record["Id"])
    return record


def _no_rule(_work: Work, _record: Record, _given: Record, _before: Record | None) -> None:
    return


def _account_rule(_work: Work, record: Record, given: Record, _before: Record | None) -> None:
    """State and country picklists: codes and names go together, and a state belongs to its country."""
    for prefix in ("Billing", "Shipping"):
        _pair(record, given, f"{prefix}Country", COUNTRIES, "country")
        states = STATES.get(record.get(f"{prefix}CountryCode") or "", {})
        if record.get(f"{prefix}CountryCode") is None and (
            given.get(f"{prefix}StateCode") or given.get(f"{prefix}State")
        ):
            raise Refusal(
                400,
                "FIELD_INTEGRITY_EXCEPTION",
                "A country/territory must be specified before specifying a state value for field",
                f"{prefix}State",
            )
        _pair(record, given, f"{prefix}State", states, "state")


def _pair(record: Record, given: Record, label: str, names: Mapping[str, str], what: str) -> None:
    code = f"{label}Code"
    if code in given:
        record[label] = names.get(given[code] or "")
    elif label in given:
        record[code] = next((c for c, name in names.items() if name == given[label]), None)
    elif record.get(code) not in names and what == "state":
        record[code] = record[label] = None
    for name, other in ((code, label), (label, code)):
        if given.get(name) is not None and record.get(other) is None:
            raise Refusal(
                400,
                "FIELD_INTEGRITY_EXCEPTION",
                f"There's a problem with this {what}, even though it may appear correct. Please select a {what} out of"
                f" the list of valid {'countries' if what == 'country' else 'states'}.: {given[name]}",
                name,
            )


def _contact_rule(_work: Work, record: Record, _given: Record, _before: Record | None) -> None:
    record["Name"] = " ".join(filter(None, (record.get("FirstName"), record.get("LastName")))) or None


def _opportunity_rule(work: Work, record: Record, given: Record, before: Record | None) -> None:
    stage = STAGES.get(record.get("StageName") or "")
    if stage is None:
        return
    probability, record["IsClosed"], record["IsWon"], record["ForecastCategory"] = stage
    if "StageName" in given and given.get("Probability") is None:
        record["Probability"] = as_double(Decimal(probability), 0, ROUND_HALF_UP)
    if before is None or before["StageName"] != record["StageName"]:
        record["LastStageChangeDate"] = stamp()
    record["HasOpportunityLineItem"] = bool(before and before["HasOpportunityLineItem"])
    if before and before["HasOpportunityLineItem"]:
        record["Amount"] = before["Amount"]
        for name in ("Pricebook2Id", "CurrencyIsoCode"):
            if record.get(name) != before.get(name):
                raise Refusal(
                    400,
                    "FIELD_INTEGRITY_EXCEPTION",
                    f"field integrity exception: {name} (cannot be changed while the opportunity has products)",
                    name,
                )
    _expect(record)


def _expect(opportunity: Record) -> None:
    amount, probability = opportunity.get("Amount"), opportunity.get("Probability") or Decimal(0)
    opportunity["ExpectedRevenue"] = (
        None if amount is None else as_double(amount * probability / 100, 2, ROUND_HALF_EVEN)
    )


def _line_rule(work: Work, record: Record, given: Record, before: Record | None) -> None:
    opportunity = work.get("Opportunity", record.get("OpportunityId") or "")
    entry = _entry_of(work, record, opportunity)
    if opportunity is None or entry is None:
        return
    where = "field integrity exception: PricebookEntryId"
    if not entry["IsActive"]:
        raise Refusal(400, "FIELD_INTEGRITY_EXCEPTION", f"{where} (pricebook entry is inactive)", "PricebookEntryId")
    if opportunity.get("Pricebook2Id") not in (None, entry["Pricebook2Id"]):
        raise Refusal(
            400,
            "FIELD_INTEGRITY_EXCEPTION",
            f"{where} (pricebook entry is in a different pricebook than the one assigned to the opportunity)",
            "PricebookEntryId",
        )
    if entry["CurrencyIsoCode"] != opportunity["CurrencyIsoCode"]:
        raise Refusal(
            400,
            "FIELD_INTEGRITY_EXCEPTION",
            f"{where} (The pricebook entry currency code does not match the opportunity currency code)",
            "PricebookEntryId",
        )
    if given.get("UnitPrice") is not None and given.get("TotalPrice") is not None:
        raise Refusal(
            400, "FIELD_INTEGRITY_EXCEPTION", "specify either UnitPrice or TotalPrice, not both", "TotalPrice"
        )
    product = work.get("Product2", entry["Product2Id"]) or {}
    record |= {
        "PricebookEntryId": entry["Id"],
        "Product2Id": entry["Product2Id"],
        "ProductCode": product.get("ProductCode"),
        "Name": f"{opportunity['Name']} {product.get('Name')}",
        "ListPrice": entry["UnitPrice"],
        "CurrencyIsoCode": opportunity["CurrencyIsoCode"],
    }
    quantity = record.get("Quantity")
    if quantity is None:
        return
    if quantity == 0:
        raise Refusal(400, "FIELD_INTEGRITY_EXCEPTION", "Quantity: Quantity must be nonzero", "Quantity")
    kept = 1 - (record.get("Discount") or Decimal(0)) / 100
    if given.get("TotalPrice") is not None:
        record["UnitPrice"] = as_double(record["TotalPrice"] / quantity / (kept or 1), 2, ROUND_HALF_EVEN)
        return
    if record.get("UnitPrice") is None:
        record["UnitPrice"] = entry["UnitPrice"]
    record["TotalPrice"] = as_double(quantity * record["UnitPrice"] * kept, 2, ROUND_HALF_EVEN)


def _entry_of(work: Work, record: Record, opportunity: Record | None) -> Record | None:
    """The price a line is sold at: named, or the one of its product in the price book of the opportunity."""
    if record.get("PricebookEntryId"):
        return work.get("PricebookEntry", record["PricebookEntryId"])
    for entry in work.by("PricebookEntry", "Product2Id", record.get("Product2Id")):
        if opportunity and (entry["Pricebook2Id"], entry["CurrencyIsoCode"]) == (
            opportunity.get("Pricebook2Id"),
            opportunity["CurrencyIsoCode"],
        ):
            return entry
    return None


def roll_up(work: Work, opportunity_id: str) -> None:
    """The amount of an opportunity with products is the sum of its lines."""
    opportunity = work.get("Opportunity", opportunity_id)
    if opportunity is None:
        return
    lines = work.by("OpportunityLineItem", "OpportunityId", opportunity_id)
    total = sum((line["TotalPrice"] for line in lines), Decimal(0))
    changed = opportunity | {
        "Amount": as_double(total, 2, ROUND_HALF_EVEN),
        "HasOpportunityLineItem": bool(lines),
        **dict.fromkeys(("LastModifiedDate", "SystemModstamp"), stamp()),
    }
    if lines and changed.get("Pricebook2Id") is None:
        entry = work.get("PricebookEntry", lines[0]["PricebookEntryId"]) or {}
        changed["Pricebook2Id"] = entry.get("Pricebook2Id")
    _expect(changed)
    work.put("Opportunity", changed)


def _entry_rule(work: Work, record: Record, _given: Record, before: Record | None) -> None:
    product = work.get("Product2", record.get("Product2Id") or "")
    if product is None:
        return
    record |= {"Name": product["Name"], "ProductCode": product.get("ProductCode")}
    if before is not None:
        return
    same = [
        entry
        for entry in work.by("PricebookEntry", "Product2Id", product["Id"])
        if entry["CurrencyIsoCode"] == record["CurrencyIsoCode"]
    ]
    if any(entry["Pricebook2Id"] == record.get("Pricebook2Id") for entry in same):
        raise Refusal(400, "DUPLICATE_VALUE", "This price definition already exists in this price book")
    standard = any(entry["Pricebook2Id"] == STANDARD_PRICEBOOK_ID for entry in same)
    if record.get("Pricebook2Id") not in (None, STANDARD_PRICEBOOK_ID) and not standard:
        raise Refusal(400, "STANDARD_PRICE_NOT_DEFINED", "No standard price defined for this product")


def _pricebook_rule(_work: Work, record: Record, _given: Record, before: Record | None) -> None:
    record["IsStandard"] = bool(before and before["IsStandard"])


RULES: Mapping[str, Callable[[Work, Record, Record, Record | None], None]] = {
    "Account": _account_rule,
    "Contact": _contact_rule,
    "Opportunity": _opportunity_rule,
    "OpportunityLineItem": _line_rule,
    "PricebookEntry": _entry_rule,
    "Pricebook2": _pricebook_rule,
}


def remove(work: Work, kind: SObject, record: Record) -> None:
    """Puts a record, and what hangs below it, into the recycle bin."""
    won = (
        any(o["IsWon"] for o in work.by("Opportunity", "AccountId", record["Id"])) if kind.name == "Account" else False
    )
    sold = kind.name in ("Product2", "Pricebook2", "PricebookEntry") and any(
        work.by(child, by, record["Id"]) for child, by in kind.children.values()
    )
    if won or sold or not kind.writable:
        raise Refusal(
            400,
            "DELETE_FAILED",
            f"Your attempt to delete {record.get('Name')} could not be completed because it is associated with records"
            " that depend on it",
        )
    now = stamp()
    work.put(kind.name, record | {"IsDeleted": True, "LastModifiedDate": now, "SystemModstamp": now})
    for child, by in kind.children.values():
        if (kind.name, child) == ("Account", "Account"):
            continue
        for below in work.by(child, by, record["Id"]):
            remove(work, OBJECTS[child], below)
    if kind.name == "OpportunityLineItem":
        roll_up(work, record["OpportunityId"])


# -- the REST API ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Call:
    """One call of the REST API, whether it came alone or inside a composite."""

    org: Org
    work: Work
    version: str
    method: str
    query: Mapping[str, str]
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)

    def fields_of_body(self) -> Json:
        if not isinstance(self.body, dict):
            raise Refusal(400, "JSON_PARSER_ERROR", "The HTTP entity body is required, and must be a JSON object")
        return self.body

    def url(self, kind: str, ident: str) -> str:
        return f"/services/data/v{self.version}/sobjects/{kind}/{ident}"


@dataclass(slots=True)
class Answer:
    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


def _kind(name: str) -> SObject:
    found = find_object(name)
    if found is None:
        raise Refusal(404, "NOT_FOUND", "The requested resource does not exist")
    return found


def _existing(call: Call, kind: SObject, ident: str) -> Record:
    whole = full_id(ident)
    record = call.work.any(kind.name, whole) if whole else None
    if record is None:
        raise Refusal(404, "NOT_FOUND", "The requested resource does not exist")
    if record["IsDeleted"]:
        raise Refusal(404, "ENTITY_IS_DELETED", "entity is deleted")
    return record


def _matching(call: Call, kind: SObject, name: str, value: str) -> Record | None:
    """The one record that carries an external id; None when there is none."""
    about = kind.field(name)
    if about is None or not (about.external or about.type in ("id", "email")):
        raise Refusal(404, "NOT_FOUND", f"Provided external ID field does not exist or is not accessible: {name}")
    matches = call.work.by(kind.name, about.name, value)
    if len(matches) > 1:
        raise SeveralMatch([call.url(kind.name, match["Id"]) for match in matches])
    return matches[0] if matches else None


def _whole(call: Call, kind: SObject, record: Record) -> Record:
    wanted = [name for name in call.query.get("fields", "").split(",") if name]
    spelled = []
    for name in wanted:
        about = kind.field(name)
        if about is None:
            raise Refusal(400, "INVALID_FIELD", f"No such column '{name}' on entity '{kind.name}'.")
        spelled.append(about.name)
    answer = soql.attributes(kind.name, record, call.version)
    return answer | {name: record.get(name) for name in spelled or kind.fields}


def _resources(call: Call) -> Answer:
    names = ("sobjects", "query", "queryAll", "limits", "composite")
    return Answer(200, {name: f"/services/data/v{call.version}/{name}" for name in names})


def _limits(call: Call) -> Answer:
    return Answer(200, {"DailyApiRequests": {"Max": DAILY_REQUESTS, "Remaining": DAILY_REQUESTS - call.org.used}})


def _record_count(call: Call) -> Answer:
    wanted = [name for name in call.query.get("sObjects", "").split(",") if name] or list(OBJECTS)
    counts = [{"count": len(call.work.all(_kind(name).name)), "name": _kind(name).name} for name in wanted]
    return Answer(200, {"sObjects": counts})


def _describe_all(call: Call) -> Answer:
    described = []
    for kind in OBJECTS.values():
        whole = kind.describe(call.version)
        described.append({name: value for name, value in whole.items() if name not in ("fields", "childRelationships")})
    return Answer(200, {"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": described})


def _describe(call: Call, kind: str) -> Answer:
    return Answer(200, _kind(kind).describe(call.version))


def _create(call: Call, kind: str) -> Answer:
    record = save(call.work, _kind(kind), call.fields_of_body(), None)
    location = {"Location": call.url(_kind(kind).name, record["Id"])}
    return Answer(201, {"id": record["Id"], "success": True, "errors": []}, location)


def _read(call: Call, kind: str, ident: str) -> Answer:
    return Answer(200, _whole(call, _kind(kind), _existing(call, _kind(kind), ident)))


def _update(call: Call, kind: str, ident: str) -> Answer:
    save(call.work, _kind(kind), call.fields_of_body(), _existing(call, _kind(kind), ident))
    return Answer(204)


def _delete(call: Call, kind: str, ident: str) -> Answer:
    remove(call.work, _kind(kind), _existing(call, _kind(kind), ident))
    return Answer(204)


def _read_external(call: Call, kind: str, name: str, value: str) -> Answer:
    record = _matching(call, _kind(kind), name, value)
    if record is None:
        raise Refusal(404, "NOT_FOUND", "The requested resource does not exist")
    return Answer(200, _whole(call, _kind(kind), record))


def _upsert_external(call: Call, kind: str, name: str, value: str) -> Answer:
    record, created = _upsert(call, _kind(kind), name, value, call.fields_of_body())
    location = {"Location": call.url(_kind(kind).name, record["Id"])}
    body = {"id": record["Id"], "success": True, "errors": [], "created": created}
    return Answer(201, body, location) if created else Answer(200, body)


def _delete_external(call: Call, kind: str, name: str, value: str) -> Answer:
    record = _matching(call, _kind(kind), name, value)
    if record is None:
        raise Refusal(404, "NOT_FOUND", "The requested resource does not exist")
    remove(call.work, _kind(kind), record)
    return Answer(204)


def _upsert(call: Call, kind: SObject, name: str, value: str, body: Json) -> tuple[Record, bool]:
    before = _matching(call, kind, name, value)
    about = kind.field(name)
    assert about is not None
    if any(given.lower() == about.name.lower() for given in body):
        raise Refusal(400, "INVALID_FIELD", f"The {about.name} field should not be specified in the sobject data.")
    if before is None and about.type != "id":
        body = {**body, about.name: value}
    return save(call.work, kind, body, before), before is None


def _query(call: Call) -> Answer:
    return _run(call, call.work)


def _query_all(call: Call) -> Answer:
    return _run(call, WithDeleted(call.work))


def _run(call: Call, records: soql.Records) -> Answer:
    if "q" not in call.query:
        raise Refusal(400, "MALFORMED_QUERY", "A query string has to be specified")
    query = soql.Parser(call.query["q"], records).whole()
    found = soql.rows(query, records)
    if query.counts and not query.fields:
        return Answer(200, {"totalSize": len(found), "done": True, "records": []})
    shaped = [soql.shape(query, record, records, call.version) for record in found]
    asked = re.search(r"batchSize=(\d+)", call.headers.get("sforce-query-options", ""))
    size = min(2000, max(200, int(asked[1]))) if asked else 2000
    if len(shaped) <= size:
        return Answer(200, {"totalSize": len(shaped), "done": True, "records": shaped})
    locator = make_id("01g", call.org.shelf.next("query"))
    call.org.cursors[locator] = (shaped, size)
    return _page(call, locator, 0)


def _more(call: Call, locator: str, start: str) -> Answer:
    if locator not in call.org.cursors:
        raise Refusal(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
    return _page(call, locator, int(start))


def _page(call: Call, locator: str, start: int) -> Answer:
    shaped, size = call.org.cursors[locator]
    end = start + size
    body: Json = {"totalSize": len(shaped), "done": end >= len(shaped), "records": shaped[start:end]}
    if end < len(shaped):
        body["nextRecordsUrl"] = f"/services/data/v{call.version}/query/{locator}-{end}"
    return Answer(200, body)


# -- collections and composite -----------------------------------------------------------------------------------------


def _records_of_body(call: Call) -> list[Json]:
    records = call.fields_of_body().get("records")
    if not isinstance(records, list) or not records:
        raise Refusal(400, "JSON_PARSER_ERROR", "records: a list of records is required")
    if len(records) > 200:
        raise Refusal(
            400,
            "EXCEEDED_MAX_SIZE_REQUEST",
            "record limit reached. cannot submit more than 200 records in this request",
        )
    return records


def _kind_of(record: Json) -> SObject:
    kind = find_object(record.get("attributes", {}).get("type", ""))
    if kind is None:
        raise Refusal(400, "INVALID_TYPE", "sObject type is missing or not supported")
    return kind


def _each(call: Call, records: list[Json], one: Callable[[Json], Json], all_or_none: Any) -> Answer:
    """One result per record; with allOrNone a failure takes the others back."""
    mark = call.work.mark()
    results: list[Json] = []
    for record in records:
        try:
            results.append(one(record))
        except Refusal as refusal:
            results.append(refusal.result)
        except SeveralMatch:
            results.append(
                Refusal(
                    400, "DUPLICATE_EXTERNAL_ID", "Duplicate external id specified: more than one record found"
                ).result
            )
    if all_or_none and not all(result["success"] for result in results):
        call.work.back_to(mark)
        rolled_back = Refusal(
            400,
            "ALL_OR_NONE_OPERATION_ROLLED_BACK",
            "Record rolled back because not all records were valid and the request was using AllOrNone header",
        ).result
        results = [rolled_back if result["success"] else result for result in results]
    return Answer(200, results)


def _create_many(call: Call) -> Answer:
    def one(record: Json) -> Json:
        saved = save(call.work, _kind_of(record), record, None)
        return {"id": saved["Id"], "success": True, "errors": []}

    return _each(call, _records_of_body(call), one, call.body.get("allOrNone"))


def _update_many(call: Call) -> Answer:
    def one(record: Json) -> Json:
        kind = _kind_of(record)
        fields = {name: value for name, value in record.items() if name.lower() != "id"}
        ident = next((value for name, value in record.items() if name.lower() == "id"), None)
        if not isinstance(ident, str) or full_id(ident) is None:
            raise Refusal(400, "MISSING_ARGUMENT", "Id not specified in an update call", "Id")
        before = call.work.get(kind.name, full_id(ident) or "")
        if before is None:
            known = call.work.any(kind.name, full_id(ident) or "")
            code = "ENTITY_IS_DELETED" if known else "INVALID_CROSS_REFERENCE_KEY"
            raise Refusal(400, code, "entity is deleted" if known else "invalid cross reference id")
        return {"id": save(call.work, kind, fields, before)["Id"], "success": True, "errors": []}

    return _each(call, _records_of_body(call), one, call.body.get("allOrNone"))


def _upsert_many(call: Call, kind: str, name: str) -> Answer:
    about = _kind(kind).field(name)
    if about is None or not (about.external or about.type in ("id", "email")):
        raise Refusal(404, "NOT_FOUND", f"Provided external ID field does not exist or is not accessible: {name}")
    seen: set[str] = set()

    def one(record: Json) -> Json:
        fields = {n: value for n, value in record.items() if n.lower() != name.lower()}
        value = next((v for n, v in record.items() if n.lower() == name.lower()), None)
        if value is None and about.type != "id":
            raise Refusal(400, "MISSING_ARGUMENT", f"{about.name} not specified", about.name)
        if value is not None and str(value).casefold() in seen:
            raise Refusal(400, "DUPLICATE_VALUE", f"Duplicate external id specified: {value}", about.name)
        seen.add(str(value).casefold())
        try:
            saved, created = _upsert(call, _kind(kind), name, value or "", fields)
        except Refusal as refusal:
            return refusal.result | {"created": False}
        return {"id": saved["Id"], "success": True, "errors": [], "created": created}

    return _each(call, _records_of_body(call), one, call.body.get("allOrNone"))


def _delete_many(call: Call) -> Answer:
    def one(ident: Any) -> Json:
        kind = BY_PREFIX.get(ident[:3])
        if kind is None:
            raise Refusal(400, "MALFORMED_ID", f"malformed id {ident}")
        remove(call.work, kind, _existing(call, kind, ident))
        return {"id": full_id(ident), "success": True, "errors": []}

    idents: list[Any] = [ident for ident in call.query.get("ids", "").split(",") if ident]
    return _each(call, idents, one, call.query.get("allOrNone") == "true")


def _read_many(call: Call, kind: str) -> Answer:
    asked = call.body if call.method == "POST" else {k: v.split(",") for k, v in call.query.items()}
    if not isinstance(asked, dict) or not asked.get("ids") or not asked.get("fields"):
        raise Refusal(400, "MISSING_ARGUMENT", "ids and fields are required")
    with_fields = Call(call.org, call.work, call.version, "GET", {"fields": ",".join(asked["fields"])}, None)
    records = [call.work.get(_kind(kind).name, full_id(ident) or "") for ident in asked["ids"]]
    return Answer(200, [_whole(with_fields, _kind(kind), record) if record else None for record in records])


REFERENCE = re.compile(r"@\{(\w+)((?:\.\w+|\[\d+\])*)\}")


def _resolve(value: Any, answers: Mapping[str, Any]) -> Any:
    """A part of a subrequest with its ``@{ref.path}`` replaced by what earlier parts answered."""
    if isinstance(value, dict):
        return {name: _resolve(item, answers) for name, item in value.items()}
    if isinstance(value, list):
        return [_resolve(item, answers) for item in value]
    if not isinstance(value, str):
        return value

    def look_up(match: re.Match[str]) -> str:
        at = answers.get(match[1])
        for step in re.findall(r"\w+", match[2]):
            try:
                at = at[int(step)] if isinstance(at, list) else (at or {}).get(step)
            except (IndexError, ValueError, AttributeError):
                at = None
        if at is None or isinstance(at, (dict, list)):
            raise Refusal(
                400,
                "PROCESSING_HALTED",
                f"Invalid reference specified. No value for {match[0][2:-1]} found in {match[1]}",
            )
        return str(at)

    return REFERENCE.sub(look_up, value)


def _composite(call: Call) -> Answer:
    parts = call.fields_of_body().get("compositeRequest")
    if not isinstance(parts, list) or not 1 <= len(parts) <= 25:
        raise Refusal(400, "INVALID_INPUT", "a composite request carries 1 to 25 subrequests")
    heavy = sum(1 for part in parts if re.search(r"/(query|queryAll|composite/sobjects)\b", str(part.get("url"))))
    if heavy > 5:
        raise Refusal(400, "LIMIT_EXCEEDED", "at most 5 subrequests may be queries or sObject collections")
    mark = call.work.mark()
    bodies: dict[str, Any] = {}
    answers: list[Json] = []
    for part in parts:
        if not isinstance(part, dict) or not {"method", "url", "referenceId"} <= part.keys():
            raise Refusal(400, "INVALID_INPUT", "a subrequest needs method, url and referenceId")
        if part["referenceId"] in bodies:
            raise Refusal(400, "INVALID_INPUT", f"duplicate referenceId {part['referenceId']}")
        try:
            got = route(
                call.org,
                call.work,
                part["method"],
                _resolve(part["url"], bodies),
                _resolve(part.get("body"), bodies),
                {name.lower(): text for name, text in part.get("httpHeaders", {}).items()},
            )
        except Refusal as refusal:
            got = Answer(refusal.status, refusal.body)
        bodies[part["referenceId"]] = got.body
        answers.append(
            {
                "body": got.body,
                "httpHeaders": got.headers,
                "httpStatusCode": got.status,
                "referenceId": part["referenceId"],
            }
        )
    if call.body.get("allOrNone") and any(answer["httpStatusCode"] >= 300 for answer in answers):
        call.work.back_to(mark)
        halted = Refusal(
            400,
            "PROCESSING_HALTED",
            "The transaction was rolled back since another operation in the same transaction failed.",
        )
        for answer in answers:
            if answer["httpStatusCode"] < 300:
                answer |= {"body": halted.body, "httpStatusCode": 400, "httpHeaders": {}}
    return Answer(200, {"compositeResponse": answers})


#: Method and path below the version to what answers it; groups of the pattern are its arguments.
ROUTES: tuple[tuple[str, str, Callable[..., Answer]], ...] = (
    ("GET", r"", _resources),
    ("GET", r"limits", _limits),
    ("GET", r"limits/recordCount", _record_count),
    ("GET", r"sobjects", _describe_all),
    ("GET", r"sobjects/(\w+)/describe", _describe),
    ("POST", r"sobjects/(\w+)", _create),
    ("GET", r"sobjects/(\w+)/(\w+)", _read),
    ("PATCH", r"sobjects/(\w+)/(\w+)", _update),
    ("DELETE", r"sobjects/(\w+)/(\w+)", _delete),
    ("GET", r"sobjects/(\w+)/(\w+)/([^/]+)", _read_external),
    ("PATCH", r"sobjects/(\w+)/(\w+)/([^/]+)", _upsert_external),
    ("DELETE", r"sobjects/(\w+)/(\w+)/([^/]+)", _delete_external),
    ("GET", r"query", _query),
    ("GET", r"queryAll", _query_all),
    ("GET", r"query(?:All)?/(\w+)-(\d+)", _more),
    ("POST", r"composite", _composite),
    ("POST", r"composite/sobjects", _create_many),
    ("PATCH", r"composite/sobjects", _update_many),
    ("DELETE", r"composite/sobjects", _delete_many),
    ("PATCH", r"composite/sobjects/(\w+)/(\w+)", _upsert_many),
    ("POST", r"composite/sobjects/(\w+)", _read_many),
    ("GET", r"composite/sobjects/(\w+)", _read_many),
)


def route(org: Org, work: Work, method: str, url: str, body: Any, headers: Mapping[str, str]) -> Answer:
    """Answers one call; ``url`` is its path and query, still percent-encoded."""
    parts = urlsplit(url)
    version, _, below = parts.path.removeprefix("/services/data/v").partition("/")
    known = [pattern for pattern in ROUTES if re.fullmatch(pattern[1], below.rstrip("/"))]
    if version not in VERSIONS or not known:
        return Answer(404, Refusal(404, "NOT_FOUND", "The requested resource does not exist").body)
    query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    for wanted, pattern, answer in known:
        match = re.fullmatch(pattern, below.rstrip("/"))
        if wanted == method and match:
            call = Call(org, work, version, method, query, body, headers)
            try:
                return answer(call, *map(unquote, match.groups()))
            except Refusal as refusal:
                return Answer(refusal.status, refusal.body)
            except soql.Refused as refusal:
                return Answer(400, Refusal(400, refusal.code, refusal.message).body)
            except SeveralMatch as several:
                return Answer(300, several.urls)
    allowed = ",".join(sorted({pattern[0] for pattern in known}))
    message = f"HTTP Method '{method}' not allowed. Allowed are {allowed}"
    return Answer(405, Refusal(405, "METHOD_NOT_ALLOWED", message).body)


async def _form(request: Request) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs((await request.body()).decode()).items()}


# -- the org on its socket ---------------------------------------------------------------------------------------------


@dataclass
class Org:
    """The org behind the routes: its shelf, open query cursors, and what it sends out."""

    shelf: Shelf
    used: int = 0
    cursors: dict[str, tuple[list[Json], int]] = field(default_factory=dict)
    send: Callable[[str, Json, bytes, str], None] = lambda _kind, _event, _body, _type: None

    def stand(self) -> None:
        """Every org has itself, a user and the standard price book, also after a reset."""
        if self.shelf.get("Organization", ORGANIZATION_ID):
            return
        for kind, ident, fields in (
            (
                "Organization",
                ORGANIZATION_ID,
                {"Name": "Northwind Meetings", "IsSandbox": True, "InstanceName": "SBX0"},
            ),
            ("User", USER_ID, {"Name": "Tieout Integration", "Username": USERNAME, "Email": USERNAME}),
            (
                "Pricebook2",
                STANDARD_PRICEBOOK_ID,
                {"Name": "Standard Price Book", "IsActive": True, "IsStandard": True},
            ),
        ):
            blank = dict.fromkeys(OBJECTS[kind].fields)
            dates = dict.fromkeys(("CreatedDate", "LastModifiedDate", "SystemModstamp"), stamp())
            self.shelf.keep(kind, ident, blank | {"Id": ident, "IsDeleted": False} | dates | fields)
            self.shelf.next(kind)

    async def versions(self, _request: Request) -> Response:
        return JSONResponse([{"label": v, "url": f"/services/data/v{v}", "version": v} for v in VERSIONS])

    async def rest(self, request: Request) -> Response:
        token = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if not token or self.shelf.get("session", token) is None:
            return ExactJSONResponse(
                Refusal(401, "INVALID_SESSION_ID", "Session expired or invalid").body,
                401,
                {"WWW-Authenticate": "Token"},
            )
        self.stand()
        self.used = self.shelf.next("api_requests")
        raw = await request.body()
        body = None
        if raw:
            try:
                body = read_json(raw)
            except ValueError:
                return ExactJSONResponse(
                    Refusal(400, "JSON_PARSER_ERROR", "Unexpected character in the body").body, 400
                )
        work = Work(self.shelf)
        url = request.scope["raw_path"].decode() + ("?" + request.url.query if request.url.query else "")
        answer = route(self, work, request.method, url, body, request.headers)
        if answer.status < 300:
            work.commit()
            self._notify(work)
        headers = answer.headers | {"Sforce-Limit-Info": f"api-usage={self.used}/{DAILY_REQUESTS}"}
        if answer.status == 204:
            return Response(status_code=204, headers=headers)
        return ExactJSONResponse(answer.body, answer.status, headers)

    def _notify(self, work: Work) -> None:
        for ident in dict.fromkeys(work.won):
            record = work.get("Opportunity", ident)
            if record:
                notification = make_id("04l", self.shelf.next("notification"))
                body = outbound_message(notification, "Opportunity", record)
                self.send("Opportunity", {"Id": notification}, body, "text/xml; charset=UTF-8")

    async def token(self, request: Request) -> Response:
        form = await _form(request)
        try:
            grant = form.get("grant_type")
            if grant == "client_credentials":
                self._check_client(request, form)
            elif grant == "urn:ietf:params:oauth:grant-type:jwt-bearer":
                self._check_assertion(form.get("assertion", ""), str(request.base_url).rstrip("/"))
            else:
                raise Refusal(400, "unsupported_grant_type", "grant type not supported")
        except Refusal as refusal:
            return JSONResponse({"error": refusal.code, "error_description": refusal.message}, refusal.status)
        token = f"{ORGANIZATION_ID[:15]}!{secrets.token_urlsafe(48)}"
        self.shelf.keep("session", token, {"user": USER_ID})
        base = str(request.base_url).rstrip("/")
        return JSONResponse(
            {
                "access_token": token,
                "instance_url": base,
                "id": f"{base}/id/{ORGANIZATION_ID}/{USER_ID}",
                "token_type": "Bearer",
                "issued_at": str(int(datetime.now(UTC).timestamp() * 1000)),
                "signature": base64.b64encode(secrets.token_bytes(32)).decode(),
                "scope": "api",
            }
        )

    def _check_client(self, request: Request, form: Mapping[str, str]) -> None:
        client, secret = form.get("client_id"), form.get("client_secret")
        basic = request.headers.get("authorization", "").removeprefix("Basic ")
        if client is None and basic:
            client, _, secret = base64.b64decode(basic).decode().partition(":")
        if client != CLIENT_ID:
            raise Refusal(400, "invalid_client_id", "client identifier invalid")
        if secret != CLIENT_SECRET:
            raise Refusal(400, "invalid_client", "invalid client credentials")

    def _check_assertion(self, assertion: str, base: str) -> None:
        certificate = self.shelf.get("certificate", CLIENT_ID)
        if certificate is None:
            raise Refusal(400, "invalid_client", "the connected app has no certificate")
        try:
            claims = jwt.decode(
                assertion, certificate["pem"], ["RS256"], audience=[*AUDIENCES, base], options={"require": ["exp"]}
            )
        except jwt.InvalidAudienceError:
            raise Refusal(400, "invalid_grant", "audience is invalid") from None
        except jwt.ExpiredSignatureError:
            raise Refusal(400, "invalid_grant", "assertion expired") from None
        except jwt.PyJWTError:
            raise Refusal(400, "invalid_grant", "invalid assertion") from None
        if claims.get("iss") != CLIENT_ID:
            raise Refusal(400, "invalid_client_id", "client identifier invalid")
        if claims.get("sub") != USERNAME:
            raise Refusal(400, "invalid_grant", "user hasn't approved this consumer")

    async def certificate(self, request: Request) -> Response:
        self.shelf.keep("certificate", CLIENT_ID, {"pem": (await request.body()).decode()})
        return JSONResponse({})

    async def revoke(self, request: Request) -> Response:
        self.shelf.drop("session", (await _form(request)).get("token", ""))
        return Response(status_code=200)


def outbound_message(notification_id: str, kind: str, record: Record) -> bytes:
    """The SOAP request of an outbound message with one notification, in the form of its WSDL."""
    names = ("AccountId", "Amount", "CloseDate", "Name", "StageName", "SystemModstamp")
    values = {name: record[name] for name in names if record.get(name) is not None}
    inside = "".join(f"<sf:{name}>{escape(str(value))}</sf:{name}>" for name, value in values.items())
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" \
xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
 <soapenv:Body>
  <notifications xmlns="http://soap.sforce.com/2005/09/outbound">
   <OrganizationId>{ORGANIZATION_ID}</OrganizationId>
   <ActionId>{OUTBOUND_ACTION_ID}</ActionId>
   <SessionId xsi:nil="true"/>
   <EnterpriseUrl>https://sandbox.example/services/Soap/c/64.0/{ORGANIZATION_ID[:15]}</EnterpriseUrl>
   <PartnerUrl>https://sandbox.example/services/Soap/u/64.0/{ORGANIZATION_ID[:15]}</PartnerUrl>
   <Notification>
    <Id>{notification_id}</Id>
    <sObject xsi:type="sf:{kind}" xmlns:sf="urn:sobject.enterprise.soap.sforce.com">
     <sf:Id>{record["Id"]}</sf:Id>{inside}
    </sObject>
   </Notification>
  </notifications>
 </soapenv:Body>
</soapenv:Envelope>""".encode()


def acknowledged(answer: bytes) -> bool:
    """Whether the receiver's SOAP answer says ``<Ack>true</Ack>``; anything else is sent again."""
    return re.search(rb"<(?:\w+:)?Ack>\s*true\s*</", answer) is not None


FAULTS: Mapping[int, tuple[str, str]] = {
    400: ("UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record"),
    401: ("INVALID_SESSION_ID", "Session expired or invalid"),
    500: ("UNKNOWN_EXCEPTION", "An unexpected error occurred. Please include this ErrorId if you contact support"),
    503: ("SERVER_UNAVAILABLE", "Server unavailable"),
}


def fault_answer(fault: Fault) -> Response:
    if fault.kind == "rate_limit":
        message = "ConcurrentRequests (Concurrent API Requests) Limit exceeded."
        wait = {"Retry-After": format(fault.seconds, "g")}
        return JSONResponse(Refusal(403, "REQUEST_LIMIT_EXCEEDED", message).body, 403, wait)
    code, message = FAULTS.get(fault.status, ("UNKNOWN_EXCEPTION", "planted fault"))
    return JSONResponse(Refusal(fault.status, code, message).body, fault.status)


def emulator(shelf: Shelf) -> Emulator:
    org = Org(shelf)
    routes = [
        Route("/services/oauth2/token", org.token, methods=["POST"]),
        Route("/services/oauth2/revoke", org.revoke, methods=["POST"]),
        Route("/_sandbox/certificate", org.certificate, methods=["POST"]),
        Route("/services/data", org.versions),
        Route("/services/data/", org.versions),
        Route("/services/data/{rest:path}", org.rest, methods=["GET", "POST", "PATCH", "PUT", "DELETE"]),
    ]
    built = Emulator("salesforce", routes, shelf, delivered=acknowledged, fault_answer=fault_answer)
    org.send = built.webhooks.send
    return built
