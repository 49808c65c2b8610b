"""How the emulated Salesforce org keeps records: types, rules of each object, uniqueness, and one request's work.

Codes and messages are the vendor's (REST API Developer Guide and Object Reference, read 2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

from sandbox import salesforce_soql as soql
from sandbox.emulator import Json, Shelf
from sandbox.salesforce_schema import COUNTRIES, OBJECTS, STAGES, STATES, Field, SObject, full_id, make_id

USER_ID = make_id("005", 1)
STANDARD_PRICEBOOK_ID = make_id("01s", 1)

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


def bad(code: str, message: str, *fields: str) -> Refusal:
    return Refusal(400, code, message, *fields)


class SeveralMatch(Exception):
    """An external id names more than one record: status 300 with their addresses."""

    def __init__(self, urls: list[str]) -> None:
        super().__init__("several records match")
        self.urls = urls


def stamp(now: datetime) -> str:
    """An instant, in whole seconds and the zone form of the API."""
    return now.strftime("%Y-%m-%dT%H:%M:%S.000+0000")


class Work:
    """The records as one request sees them: its own writes on top, kept all at once when it succeeds."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.changed: dict[tuple[str, str], Record] = {}
        #: What was won, by kind and id: opportunities, and CPQ quotes that were ordered.
        self.won: list[tuple[str, str]] = []
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
    return bad(
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
        raise bad(
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
        raise bad(
            "STRING_TOO_LONG", f"{about.name}: data value too large: {value} (max length={about.length})", about.name
        )
    if about.type == "email" and value and not re.fullmatch(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+", value):
        raise bad("INVALID_EMAIL_ADDRESS", f"{about.name}: invalid email address: {value}", about.name)
    if about.picklist and value not in about.picklist:
        raise bad(
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
        raise bad("MALFORMED_ID", f"{about.name}: id value of incorrect type: {value}", about.name)
    if not ident.startswith(OBJECTS[about.to].prefix):
        raise bad("FIELD_INTEGRITY_EXCEPTION", f"{about.name}: id value of incorrect type: {value}", about.name)
    if work.any(about.to, ident) is None:
        raise bad("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", about.name)
    if work.get(about.to, ident) is None:
        raise bad("ENTITY_IS_DELETED", "entity is deleted", about.name)
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
                raise bad("INVALID_FIELD", f"No such column '{name}' on sobject of type {kind.name}")
            about, value = parent, _by_external_id(work, parent, value)
        if about.name == "Id":
            raise bad("INVALID_FIELD", "The Id field should not be specified in the sobject data.")
        if not (about.create if creating is None else about.update):
            locked.append(about.name)
            continue
        given[about.name] = _value(about, value, work)
    if locked:
        raise bad(
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
        raise bad("INVALID_FIELD", f"{name} is not an External ID or indexed field for {about.to}")
    matches = work.by(about.to, found.name, wanted)
    if len(matches) != 1:
        raise bad(
            "INVALID_FIELD", f"Foreign key external ID: {wanted} not found for field {found.name} in entity {about.to}"
        )
    return str(matches[0]["Id"])


def save(work: Work, kind: SObject, body: Json, before: Record | None) -> Record:
    """Creates (``before`` None) or updates one record: types, rules of the object, uniqueness, system fields."""
    if not kind.writable:
        raise bad("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", f"entity type {kind.name} does not support create")
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
        raise bad("REQUIRED_FIELD_MISSING", f"Required fields are missing: [{', '.join(missing)}]", *missing)
    for name, about in kind.fields.items():
        if about.unique and record.get(name) is not None:
            for other in work.by(kind.name, name, record[name]):
                if other["Id"] != record.get("Id"):
                    raise bad(
                        "DUPLICATE_VALUE",
                        f"duplicate value found: {name} duplicates value on record with id: {other['Id'][:15]}",
                        name,
                    )
    now = stamp(work.shelf.now())
    if before is None:
        record["Id"] = make_id(kind.prefix, work.shelf.next(kind.name))
        record |= {"CreatedDate": now, "CreatedById": USER_ID}
        if "Name" in kind.fields and record.get("Name") is None:
            record["Name"] = NUMBERED.get(kind.name, "{ident}").format(
                ident=record["Id"], n=work.shelf.next(f"Name of {kind.name}")
            )
    record |= {"LastModifiedDate": now, "SystemModstamp": now, "LastModifiedById": USER_ID}
    work.put(kind.name, record)
    if kind.name == "OpportunityLineItem":
        roll_up(work, record["OpportunityId"])
    if kind.name == "SBQQ__QuoteLine__c":
        quote_total(work, record["SBQQ__Quote__c"])
    won = {"Opportunity": "IsWon", "SBQQ__Quote__c": "SBQQ__Ordered__c"}.get(kind.name)
    if won and record[won] and not (before or {}).get(won):
        work.won.append((kind.name, record["Id"]))
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
            raise bad(
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
            raise bad(
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
        record["LastStageChangeDate"] = stamp(work.shelf.now())
    record["HasOpportunityLineItem"] = bool(before and before["HasOpportunityLineItem"])
    if before and before["HasOpportunityLineItem"]:
        record["Amount"] = before["Amount"]
        for name in ("Pricebook2Id", "CurrencyIsoCode"):
            if record.get(name) != before.get(name):
                raise bad(
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
        raise bad("FIELD_INTEGRITY_EXCEPTION", f"{where} (pricebook entry is inactive)", "PricebookEntryId")
    if opportunity.get("Pricebook2Id") not in (None, entry["Pricebook2Id"]):
        raise bad(
            "FIELD_INTEGRITY_EXCEPTION",
            f"{where} (pricebook entry is in a different pricebook than the one assigned to the opportunity)",
            "PricebookEntryId",
        )
    if entry["CurrencyIsoCode"] != opportunity["CurrencyIsoCode"]:
        raise bad(
            "FIELD_INTEGRITY_EXCEPTION",
            f"{where} (The pricebook entry currency code does not match the opportunity currency code)",
            "PricebookEntryId",
        )
    if given.get("UnitPrice") is not None and given.get("TotalPrice") is not None:
        raise bad("FIELD_INTEGRITY_EXCEPTION", "specify either UnitPrice or TotalPrice, not both", "TotalPrice")
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
        raise bad("FIELD_INTEGRITY_EXCEPTION", "Quantity: Quantity must be nonzero", "Quantity")
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
        **dict.fromkeys(("LastModifiedDate", "SystemModstamp"), stamp(work.shelf.now())),
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
        raise bad("DUPLICATE_VALUE", "This price definition already exists in this price book")
    standard = any(entry["Pricebook2Id"] == STANDARD_PRICEBOOK_ID for entry in same)
    if record.get("Pricebook2Id") not in (None, STANDARD_PRICEBOOK_ID) and not standard:
        raise bad("STANDARD_PRICE_NOT_DEFINED", "No standard price defined for this product")


def _pricebook_rule(_work: Work, record: Record, _given: Record, before: Record | None) -> None:
    record["IsStandard"] = bool(before and before["IsStandard"])


def _quote_rule(work: Work, record: Record, _given: Record, before: Record | None) -> None:
    """Of the quotes of an opportunity one is primary: the last that was made so."""
    if before:
        record |= {name: before[name] for name in ("SBQQ__NetAmount__c", "Tieout_Period_Total__c")}
    if record["SBQQ__Primary__c"] and record.get("SBQQ__Opportunity2__c"):
        for other in work.by("SBQQ__Quote__c", "SBQQ__Opportunity2__c", record["SBQQ__Opportunity2__c"]):
            if other["SBQQ__Primary__c"] and other["Id"] != record.get("Id"):
                work.put("SBQQ__Quote__c", other | {"SBQQ__Primary__c": False, **_stamped(work)})


def _quote_line_rule(work: Work, record: Record, given: Record, _before: Record | None) -> None:
    """What the package calculates: a price less its discount, and of what recurs as often as the term has periods."""
    quote = work.get("SBQQ__Quote__c", record.get("SBQQ__Quote__c") or "")
    product = work.get("Product2", record.get("SBQQ__Product__c") or "") or {}
    if quote is None:
        return
    record |= {
        "SBQQ__ProductCode__c": product.get("ProductCode"),
        "SBQQ__ProductName__c": product.get("Name"),
        "CurrencyIsoCode": quote["CurrencyIsoCode"],
    }
    if given.get("SBQQ__ProrateMultiplier__c") is None:
        periods = quote.get("SBQQ__SubscriptionTerm__c") if record.get("SBQQ__ChargeType__c") == "Recurring" else None
        record["SBQQ__ProrateMultiplier__c"] = as_double(Decimal(periods or 1), 4, ROUND_HALF_UP)
    if given.get("SBQQ__UnproratedNetPrice__c") is None:
        kept = 1 - (record.get("SBQQ__Discount__c") or Decimal(0)) / 100
        record["SBQQ__UnproratedNetPrice__c"] = _cents((record.get("SBQQ__ListPrice__c") or Decimal(0)) * kept)
    quantity, unprorated = Decimal(record.get("SBQQ__Quantity__c") or 0), record["SBQQ__UnproratedNetPrice__c"]
    record["SBQQ__NetPrice__c"] = _cents(unprorated * record["SBQQ__ProrateMultiplier__c"])
    record["SBQQ__NetTotal__c"] = _cents(record["SBQQ__NetPrice__c"] * quantity)
    record["Tieout_Period_Amount__c"] = _cents(unprorated * quantity)


def _cents(value: Decimal) -> Decimal:
    return as_double(value, 2, ROUND_HALF_EVEN)


def _stamped(work: Work) -> Record:
    return dict.fromkeys(("LastModifiedDate", "SystemModstamp"), stamp(work.shelf.now()))


def quote_total(work: Work, quote_id: str) -> None:
    """The sums of a quote over its lines."""
    quote = work.get("SBQQ__Quote__c", quote_id)
    if quote is None:
        return
    lines = work.by("SBQQ__QuoteLine__c", "SBQQ__Quote__c", quote_id)
    sums = {
        total: _cents(sum((line[part] for line in lines), Decimal(0)))
        for total, part in (
            ("SBQQ__NetAmount__c", "SBQQ__NetTotal__c"),
            ("Tieout_Period_Total__c", "Tieout_Period_Amount__c"),
        )
    }
    work.put("SBQQ__Quote__c", quote | sums | _stamped(work))


#: Names that the org counts itself.
NUMBERED: Mapping[str, str] = {"SBQQ__Quote__c": "Q-{n:05}", "SBQQ__QuoteLine__c": "QL-{n:07}"}

RULES: Mapping[str, Callable[[Work, Record, Record, Record | None], None]] = {
    "Account": _account_rule,
    "Contact": _contact_rule,
    "Opportunity": _opportunity_rule,
    "OpportunityLineItem": _line_rule,
    "PricebookEntry": _entry_rule,
    "Pricebook2": _pricebook_rule,
    "SBQQ__Quote__c": _quote_rule,
    "SBQQ__QuoteLine__c": _quote_line_rule,
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
        raise bad(
            "DELETE_FAILED",
            f"Your attempt to delete {record.get('Name')} could not be completed because it is associated with records"
            " that depend on it",
        )
    now = stamp(work.shelf.now())
    work.put(kind.name, record | {"IsDeleted": True, "LastModifiedDate": now, "SystemModstamp": now})
    for child, by in kind.children.values():
        if (kind.name, child) == ("Account", "Account"):
            continue
        for below in work.by(child, by, record["Id"]):
            remove(work, OBJECTS[child], below)
    if kind.name == "OpportunityLineItem":
        roll_up(work, record["OpportunityId"])
    if kind.name == "SBQQ__QuoteLine__c":
        quote_total(work, record["SBQQ__Quote__c"])
