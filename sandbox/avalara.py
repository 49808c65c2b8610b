"""An emulator of Avalara AvaTax REST v2: transactions with their whole life, addresses, companies, nexus, ping.

Written from the published definition (SDK 26.9.0), the integration guide and the error pages, read 2026-11. A document
is one company + type + code; ``*Order`` types are computed and never kept. Kinds on the shelf: ``transaction`` (the
current version of each document) and ``superseded_transaction`` (what an adjustment, or a new sale under a voided code,
left behind).

Where the published texts leave a choice, the harder one for a client is taken: fields the model does not have are
refused; a commit of anything but Saved or Posted is refused with InvalidDocumentStatus; a refund wants a committed
document; ``$include=ForceTimeout`` does the work first.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from iso4217 import Currency
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox import avalara_tax as engine
from sandbox.avalara_models import NotModelled, Refusal, enum_value, parse
from sandbox.avalara_query import fetch_result, parse_filter
from sandbox.avalara_tax import JURISDICTION_TYPES, ZERO, Detail, Place
from sandbox.emulator import Emulator, ExactJSONResponse, Fault, Json, Shelf, read_json

ACCOUNT_ID = "2000000001"
LICENSE_KEY = "sandbox-licence-key"
COMPANY_ID = 265543
COMPANY_CODE = "DEFAULT"

#: Encodings of characters that a path segment cannot carry (published with GetTransactionByCode).
_PATH_CODES = {"_-ava2f-_": "/", "_-ava2b-_": "+", "_-ava3f-_": "?", "_-ava25-_": "%", "_-ava23-_": "#"}

_COMPANY: Json = {
    "id": COMPANY_ID,
    "accountId": int(ACCOUNT_ID),
    "companyCode": COMPANY_CODE,
    "name": "Northwind Meetings",
    "isDefault": True,
    "isActive": True,
    "hasProfile": True,
    "isReportingEntity": True,
    "defaultCountry": "US",
    "baseCurrencyCode": "USD",
    "roundingLevelId": "Line",
    "isTest": True,
}

#: Header fields that may be filtered on: every plain field of the model but those the vendor's page excludes.
_QUERYABLE = {
    name.lower(): name
    for name in re.findall(
        r"\w+",
        """id code companyId date paymentDate status type batchCode currencyCode customerUsageType entityUseCode
        customerVendorCode customerCode exemptNo reconciled reportingLocationCode purchaseOrderNo referenceCode
        salespersonCode taxOverrideType taxOverrideAmount taxOverrideReason totalAmount totalExempt totalTax
        totalTaxable totalTaxCalculated adjustmentReason adjustmentDescription locked region country version
        softwareVersion exchangeRateEffectiveDate exchangeRate isSellerImporterOfRecord description email
        businessIdentificationNo modifiedDate modifiedUserId taxDate""",
    )
}


@dataclass(frozen=True)
class Call:
    """One authenticated request: ``path`` parameters decoded, ``body`` parsed JSON or None, ``url`` without query."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Any
    url: str

    def model(self, name: str) -> Json:
        if self.body is None:
            raise Refusal("ModelRequiredException")
        return parse(name, self.body)

    @property
    def included(self) -> frozenset[str]:
        text = self.query.get("$include", "")
        return frozenset(part.strip().lower() for part in text.split(",") if part.strip())


class AvaTax:
    """The service over one shelf."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    # ---- transactions: writes

    def create(self, call: Call) -> Json:
        model = call.model("CreateTransactionModel")
        existing = self._existing(model)
        if existing and existing["status"] in ("Committed", "Posted"):
            self._refuse_locked(existing)
            raise Refusal("TransactionAlreadyExists", refers_to="code")
        return self._save(model, existing, "NotAdjusted", "")

    def create_or_adjust(self, call: Call) -> Json:
        wrapped = call.model("CreateOrAdjustTransactionModel")
        model = wrapped["createTransactionModel"]
        existing = self._existing(model)
        if existing:
            self._refuse_locked(existing)
        adjusting = existing and existing["status"] == "Committed"
        reason = wrapped.get("adjustmentReason", "Other") if adjusting else "NotAdjusted"
        return self._save(model, existing, reason, wrapped.get("adjustmentDescription", "") if adjusting else "")

    def adjust(self, call: Call) -> Json:
        wrapped = call.model("AdjustTransactionModel")
        existing = self._current(call)
        self._refuse_locked(existing)
        if existing["status"] == "Cancelled":
            raise Refusal("InvalidDocumentStatus", existing["code"], existing["status"])
        model = {"type": existing["type"], **wrapped["newTransaction"], "code": existing["code"]}
        if model["type"] != existing["type"]:
            raise Refusal("CannotAdjustDocumentType", existing["type"], model["type"], refers_to="newTransaction.type")
        self._company(model)
        return self._save(model, existing, wrapped["adjustmentReason"], wrapped.get("adjustmentDescription", ""))

    def refund(self, call: Call) -> Json:
        wanted = call.model("RefundTransactionModel")
        original = self._current(call)
        if original["type"] != "SalesInvoice":
            raise Refusal("InvalidDocumentTypeForRefund", original["type"])
        if original["status"] != "Committed":
            raise Refusal("InvalidDocumentStatus", original["code"], original["status"])
        model = self._refund_model(original, wanted)
        if self._existing(model):
            raise Refusal("TransactionAlreadyExists", refers_to="refundTransactionCode")
        return self._save(model, None, "NotAdjusted", "")

    def _refund_model(self, original: Json, wanted: Json) -> Json:
        kind, percent = wanted.get("refundType", "Full"), wanted.get("refundPercentage")
        numbers = wanted.get("refundLines")
        request, lines = original["_request"], original["lines"]
        if kind == "Full" and numbers:
            raise Refusal("RefundTypeAndLineMismatch", len(numbers), kind, refers_to="refundLines")
        if kind == "Partial" and not numbers:
            raise Refusal("RefundLinesRequired", kind, refers_to="refundLines")
        if kind == "Percentage" and percent is None:
            raise Refusal("RefundPercentageMissing", refers_to="refundPercentage")
        if percent is not None and not 0 < percent <= 100:
            raise Refusal("RefundPercentageOutOfRange", percent, refers_to="refundPercentage")
        if kind in ("Full", "TaxOnly") and percent not in (None, 100):
            raise Refusal("RefundTypeAndPercentageMismatch", kind, percent, refers_to="refundPercentage")
        known = {line["lineNumber"] for line in lines}
        for number in numbers or []:
            if number not in known:
                raise Refusal("LineNoOutOfRange", number, refers_to="refundLines")
        share = Decimal(percent if percent is not None else 100) / 100
        returned = []
        for asked, line in zip(request["lines"], lines, strict=True):
            if numbers and line["lineNumber"] not in numbers:
                continue
            item = {**asked, "number": line["lineNumber"], "amount": -engine.cents(asked["amount"] * share)}
            item.pop("taxOverride", None)
            if kind == "TaxOnly":
                item["amount"] = ZERO
            if kind == "TaxOnly" or line["tax"] != line["taxCalculated"]:
                item["taxOverride"] = {"type": "TaxAmount", "taxAmount": -engine.cents(line["tax"] * share)}
            returned.append(item)
        kept = {name: value for name, value in request.items() if name not in ("lines", "taxOverride", "commit")}
        return {
            **kept,
            "type": "ReturnInvoice",
            "code": wanted.get("refundTransactionCode") or str(uuid.uuid4()),
            "date": wanted["refundDate"],
            "referenceCode": wanted.get("referenceCode", ""),
            "lines": returned,
            "commit": True,
        }

    def commit(self, call: Call) -> Json:
        wanted = call.model("CommitTransactionModel")
        document = self._current(call)
        if not wanted["commit"]:
            return document
        self._refuse_locked(document)
        return self._move(document, "Committed", ("Saved", "Posted"))

    def uncommit(self, call: Call) -> Json:
        document = self._current(call)
        self._refuse_locked(document)
        return self._move(document, "Saved", ("Committed",))

    def unvoid(self, call: Call) -> Json:
        return self._move(self._current(call), "Saved", ("Cancelled",))

    def lock(self, call: Call) -> Json:
        wanted = call.model("LockTransactionModel")
        document = self._current(call)
        if document["status"] != "Committed":
            raise Refusal("DocumentNotCommitted", document["code"], document["status"])
        document["locked"] = wanted["isLocked"]
        return self._keep(document)

    def verify(self, call: Call) -> Json:
        wanted = call.model("VerifyTransactionModel")
        document = self._current(call)
        if document["status"] not in ("Saved", "Posted"):
            raise Refusal("InvalidDocumentStatusForVerify", document["status"])
        for asked, field, code in (
            ("verifyTransactionDate", "date", "DateMismatch"),
            ("verifyTotalAmount", "totalAmount", "TotalAmountMismatch"),
            ("verifyTotalTax", "totalTax", "TotalTaxMismatch"),
        ):
            if asked in wanted and wanted[asked] != document[field]:
                raise Refusal(code, wanted[asked], document[field], refers_to=asked)
        return self._move(document, "Posted", ("Saved", "Posted"))

    def void(self, call: Call) -> Json:
        """The effect of each reason on each status is a table of the vendor's page "Cancel Transactions"."""
        reason = call.model("VoidTransactionModel")["code"]
        document = self._current(call)
        self._refuse_locked(document)
        status = document["status"]
        match reason:
            case "Unspecified":
                return document
            case "PostFailed":
                return self._move(document, "Saved", ("Posted",))
            case "AdjustmentCancelled":
                return self._take_back_adjustment(document)
            case "DocDeleted" if status != "Committed":
                self.shelf.drop("transaction", _identity(document))
                return {**document, "status": "Cancelled"}
        if status == "Cancelled":
            raise Refusal("TransactionAlreadyCancelled", document["code"])
        return self._move(document, "Cancelled", ("Saved", "Posted", "Committed"))

    def _take_back_adjustment(self, document: Json) -> Json:
        earlier = [
            old
            for old in self.shelf.where("superseded_transaction", code=document["code"], type=document["type"])
            if old["companyId"] == document["companyId"] and old["status"] == "Adjusted"
        ]
        if document["status"] != "Committed" or not earlier:
            raise Refusal("InvalidDocumentStatus", document["code"], document["status"])
        previous = max(earlier, key=lambda old: old["version"])
        self.shelf.drop("superseded_transaction", str(previous["id"]))
        return self._keep({**previous, "status": "Committed"})

    # ---- transactions: reads

    def get_by_code(self, call: Call) -> Json:
        return self._current(call)

    def get_by_id(self, call: Call) -> Json:
        ident = call.path["id"]
        if not ident.isdigit():
            raise Refusal("ModelStateInvalid", "id", ident, refers_to="id")
        found = self.shelf.where("transaction", id=int(ident)) or self.shelf.where(
            "superseded_transaction", id=int(ident)
        )
        if not found:
            raise Refusal("EntityNotFoundError", "Transaction", ident, "id")
        return found[0]

    def list_transactions(self, call: Call) -> Json:
        """Without a criterion on ``date`` only the documents of the last 30 days are looked at, as published."""
        company = self._company({"companyCode": call.path["company"]})
        test, used = parse_filter(call.query.get("$filter", ""), _QUERYABLE)
        since = "" if "date" in used else (self.shelf.now() - timedelta(days=30)).date().isoformat()
        rows = [
            row
            for kind in ("transaction", "superseded_transaction")
            for row in self.shelf.all(kind)
            if row["companyId"] == company["id"] and row["date"] >= since and test(row)
        ]
        answer = fetch_result(rows, call.query, call.url)
        answer["value"] = [_shown(row, call.included) for row in answer["value"]]
        return answer

    # ---- what stands around them

    def resolve_address(self, call: Call) -> Json:
        """US and Canada only. The validated address is the one sent, trimmed, in the asked case."""
        sent = parse("AddressValidationInfo", call.body if call.body is not None else dict(call.query))
        place = _place(sent, "address")
        upper = sent.get("textCase") == "Upper"
        answer: Json = {"address": sent, "validatedAddresses": [], "resolutionQuality": "NotCoded"}
        if place.country not in ("US", "CA"):
            answer["messages"] = [
                {
                    "summary": "Address not validated.",
                    "details": f"Addresses in {place.country} cannot be validated.",
                    "refersTo": "address",
                    "severity": "Error",
                    "source": "Avalara.AvaTax.Services.Address",
                }
            ]
            return answer

        def shaped(text: str) -> str:
            return text.strip().upper() if upper else text.strip()

        valid = {name: shaped(sent.get(name, "")) for name in ("line1", "line2", "line3", "city")}
        valid |= {"addressType": "StreetOrResidentialAddress", "region": place.region, "country": place.country}
        answer["validatedAddresses"] = [{**valid, "postalCode": sent.get("postalCode", "")}]
        answer["resolutionQuality"] = "Intersection" if sent.get("line1") else "ZipCode"
        answer["taxAuthorities"] = [
            {
                "avalaraId": jurisdiction.code,
                "jurisdictionName": jurisdiction.name,
                "jurisdictionType": JURISDICTION_TYPES[jurisdiction.kind],
                "signatureCode": jurisdiction.code,
            }
            for jurisdiction in engine.jurisdictions(place)
        ]
        return answer

    def companies(self, call: Call) -> Json:
        fields = {name.lower(): name for name in _COMPANY}
        test, _ = parse_filter(call.query.get("$filter", ""), fields)
        return fetch_result([row for row in [dict(_COMPANY)] if test(row)], call.query, call.url)

    def nexus(self, call: Call) -> Json:
        """The company of the emulator has declared nexus wherever it knows a tax."""
        if call.path["company_id"] != str(COMPANY_ID):
            raise Refusal("EntityNotFoundError", "Company", call.path["company_id"], "id")
        facts = engine.facts()
        places = [(country, "", "Country", row["name"]) for country, row in facts["countries"].items()]
        places += [
            (country, code, "State", row["name"])
            for country, regions in facts["regions"].items()
            for code, row in regions.items()
        ]
        rows: list[dict[str, Any]] = [
            {
                "id": number,
                "companyId": COMPANY_ID,
                "country": country,
                "region": region,
                "jurisdictionTypeId": kind,
                "jurisCode": region or country,
                "jurisName": name,
                "effectiveDate": "2015-01-01",
                "endDate": "9999-12-31",
                "hasLocalNexus": True,
            }
            for number, (country, region, kind, name) in enumerate(places, 1)
        ]
        test, _ = parse_filter(call.query.get("$filter", ""), {name.lower(): name for name in rows[0]})
        return fetch_result([row for row in rows if test(row)], call.query, call.url)

    # ---- the documents themselves

    def _company(self, model: Json) -> Json:
        code = model.get("companyCode") or COMPANY_CODE
        if code.upper() != COMPANY_CODE:
            raise Refusal("EntityNotFoundError", "Company", code, "companyCode", refers_to="companyCode")
        return _COMPANY

    def _existing(self, model: Json) -> Json | None:
        self._company(model)
        if not model.get("code") or model.get("type", "SalesOrder").endswith("Order"):
            return None
        return self.shelf.get("transaction", f"{COMPANY_ID}/{model['type']}/{model['code'].upper()}")

    def _current(self, call: Call) -> Json:
        """The document a path names; SalesInvoice unless the call says another type."""
        self._company({"companyCode": call.path["company"]})
        code = call.path["code"]
        for encoded, plain in _PATH_CODES.items():
            code = code.replace(encoded, plain)
        asked = call.path.get("type") or call.query.get("documentType") or "SalesInvoice"
        kind = enum_value("DocumentType", asked, "documentType")
        found = self.shelf.get("transaction", f"{COMPANY_ID}/{kind}/{code.upper()}")
        if found is None:
            raise Refusal("EntityNotFoundError", "Transaction", code, "code")
        return found

    def _refuse_locked(self, document: Json) -> None:
        if document["locked"]:
            raise Refusal("CannotModifyLockedTransaction", document["code"])

    def _move(self, document: Json, status: str, allowed: tuple[str, ...]) -> Json:
        if document["status"] not in allowed:
            raise Refusal("InvalidDocumentStatus", document["code"], document["status"])
        document["status"] = status
        return self._keep(document)

    def _keep(self, document: Json) -> Json:
        document["modifiedDate"] = self.shelf.now().replace(tzinfo=None).isoformat(timespec="microseconds")
        self.shelf.keep("transaction", _identity(document), document)
        return document

    def _save(self, model: Json, existing: Json | None, reason: str, description: str) -> Json:
        """Computes a document and keeps it: an uncommitted one is replaced, another one superseded by a new version."""
        temporary = model.get("type", "SalesOrder").endswith("Order")
        version, ident = 1, 0 if temporary else self.shelf.next("transaction")
        document = self._document(model, ident)
        if temporary:
            return {**document, "status": "Temporary", "version": 1}
        if existing and existing["status"] in ("Committed", "Cancelled"):
            version = existing["version"] + 1
            old = existing if existing["status"] == "Cancelled" else {**existing, "status": "Adjusted"}
            self.shelf.keep("superseded_transaction", str(old["id"]), old)
        return self._keep(
            {
                **document,
                "status": "Committed" if model.get("commit") else "Saved",
                "version": version,
                "adjustmentReason": reason,
                "adjustmentDescription": description,
            }
        )

    def _document(self, model: Json, ident: int) -> Json:
        if model.get("discount") or any(line.get("discounted") or line.get("taxIncluded") for line in model["lines"]):
            raise NotModelled("discount, discounted and taxIncluded")
        currency = model.get("currencyCode", "USD").upper()
        try:
            Currency(currency)
        except ValueError:
            raise Refusal("ModelStateInvalid", "currencyCode", currency, refers_to="currencyCode") from None
        numbers = [line.get("number") or str(position) for position, line in enumerate(model["lines"], 1)]
        for number in numbers:
            if numbers.count(number) > 1:
                raise Refusal("LineAlreadyExists", number, refers_to="lines.number")
        places = [_destination(model, line, number) for line, number in zip(model["lines"], numbers, strict=True)]
        details = [
            engine.details(
                place, line.get("taxCode") or "P0000000", engine.cents(line["amount"]), exempt=_exempt(model, line)
            )
            for place, line in zip(places, model["lines"], strict=True)
        ]
        for i, line in enumerate(model["lines"]):
            if (amount := _override(line)) is not None:
                details[i] = engine.overridden([details[i]], amount)[0]
        if (amount := _override(model)) is not None:
            details = engine.overridden(details, amount)
        addresses = {place: number for number, place in enumerate(dict.fromkeys(places), ident * 100 + 1)}
        lines = [
            _line(ident, position, number, model, line, details[position - 1], addresses[places[position - 1]])
            for position, (number, line) in enumerate(zip(numbers, model["lines"], strict=True), 1)
        ]
        override = model.get("taxOverride", {})
        return {
            "id": ident,
            "code": model.get("code") or str(uuid.uuid4()),
            "companyId": COMPANY_ID,
            "date": model["date"],
            "paymentDate": "1900-01-01",
            "type": model.get("type", "SalesOrder"),
            "batchCode": model.get("batchCode", ""),
            "currencyCode": currency,
            "exchangeRateCurrencyCode": currency,
            "customerUsageType": _use_code(model),
            "entityUseCode": _use_code(model),
            "customerVendorCode": model["customerCode"],
            "customerCode": model["customerCode"],
            "exemptNo": model.get("exemptionNo", ""),
            "reconciled": False,
            "reportingLocationCode": model.get("reportingLocationCode", ""),
            "purchaseOrderNo": model.get("purchaseOrderNo", ""),
            "referenceCode": model.get("referenceCode", ""),
            "salespersonCode": model.get("salespersonCode", ""),
            "taxOverrideType": override.get("type", "None"),
            "taxOverrideAmount": override.get("taxAmount", 0),
            "taxOverrideReason": override.get("reason", ""),
            "totalAmount": _sum(line["lineAmount"] for line in lines),
            "totalExempt": _sum(line["exemptAmount"] for line in lines),
            "totalDiscount": ZERO,
            "totalTax": _sum(line["tax"] for line in lines),
            "totalTaxable": _sum(line["taxableAmount"] for line in lines),
            "totalTaxCalculated": _sum(line["taxCalculated"] for line in lines),
            "adjustmentReason": "NotAdjusted",
            "adjustmentDescription": "",
            "locked": False,
            "region": places[0].region,
            "country": places[0].country,
            "softwareVersion": "26.9.0",
            "originAddressId": addresses[places[0]],
            "destinationAddressId": addresses[places[0]],
            "exchangeRateEffectiveDate": model.get("exchangeRateEffectiveDate", model["date"]),
            "exchangeRate": model.get("exchangeRate", 1),
            "isSellerImporterOfRecord": model.get("isSellerImporterOfRecord", False),
            "description": model.get("description", ""),
            "email": model.get("email", ""),
            "businessIdentificationNo": model.get("businessIdentificationNo", ""),
            "modifiedDate": self.shelf.now().replace(tzinfo=None).isoformat(timespec="microseconds"),
            "modifiedUserId": 54057,
            "taxDate": override.get("taxDate", model["date"]),
            "lines": lines,
            "addresses": [
                {
                    "id": number,
                    "transactionId": ident,
                    "boundaryLevel": "Zip5",
                    "city": place.city,
                    "region": place.region,
                    "postalCode": place.postal,
                    "country": place.country,
                }
                for place, number in addresses.items()
            ],
            "summary": _summary(details),
            "_request": model,
        }


def _identity(document: Json) -> str:
    return f"{document['companyId']}/{document['type']}/{document['code'].upper()}"


def _sum(amounts: Any) -> Decimal:
    return sum(amounts, ZERO)


def _tax_code(line: Json) -> str:
    return line.get("taxCode") or "P0000000"


def _use_code(model: Json) -> str:
    return str(model.get("entityUseCode") or model.get("customerUsageType") or "")


def _exempt(model: Json, line: Json) -> bool:
    """A line's own use code goes before the document's; an exemption number exempts the whole document."""
    use = _use_code(line) or _use_code(model)
    number = model.get("exemptionNo") or line.get("exemptionCode")
    return use.upper() != "TAXABLE" and (use.upper() in engine.EXEMPT_USES or bool(number))


def _override(model: Json) -> Decimal | None:
    override = model.get("taxOverride", {})
    match override.get("type", "None"):
        case "None" | "TaxDate":
            return None
        case "TaxAmount" if "taxAmount" in override:
            return engine.cents(override["taxAmount"])
        case "TaxAmount":
            raise Refusal("ValueRequiredError", "taxOverride.taxAmount", refers_to="taxOverride.taxAmount")
        case other:
            raise NotModelled(f"taxOverride of type {other}")


def _destination(model: Json, line: Json, number: str) -> Place:
    """Where the line is taxed: its own addresses, else the document's; the ship-to of a pair."""
    level = f"lines[{number}].addresses" if line.get("addresses") else "addresses"
    addresses = line.get("addresses") or model.get("addresses") or {}
    if "singleLocation" in addresses:
        if len(addresses) > 1:
            raise Refusal("AddressConflictException", level, refers_to=level)
        return _place(addresses["singleLocation"], f"{level}.singleLocation")
    origin = addresses.get("shipFrom") or addresses.get("pointOfOrderAcceptance")
    destination = addresses.get("shipTo") or addresses.get("pointOfOrderOrigin")
    if not origin or not destination:
        raise Refusal("MissingAddress", number, refers_to=level)
    _place(origin, f"{level}.shipFrom")
    return _place(destination, f"{level}.shipTo")


def _place(address: Json, where: str) -> Place:
    facts = engine.facts()
    if address.get("locationCode"):
        raise NotModelled("locationCode")
    country = (address.get("country") or "US").upper()
    if country not in facts["countries"] and not (len(country) == 2 and country.isalpha()):
        raise Refusal("InvalidCountry", country, refers_to=f"{where}.country")
    region, postal = (address.get("region") or "").upper(), (address.get("postalCode") or "").strip()
    regions = facts["regions"].get(country)
    if regions and not postal and not (address.get("line1") and address.get("city") and region):
        raise Refusal("InvalidAddress", where, refers_to=where)
    if country == "US" and not region:
        region = engine.region_of_postal(postal)
    if regions and region not in regions:
        raise Refusal("InvalidCountryRegion", country, region, refers_to=f"{where}.region")
    return Place(country, region, (address.get("city") or "").strip(), postal)


def _line(
    ident: int, position: int, number: str, model: Json, line: Json, details: list[Detail], address: int
) -> Json:  # fmt: skip
    line_id = ident * 10_000 + position
    amount = engine.cents(line["amount"])
    taxable = max((detail.taxable for detail in details), key=abs, default=ZERO)
    return {
        "id": line_id,
        "transactionId": ident,
        "lineNumber": number,
        "customerUsageType": _use_code(line) or _use_code(model),
        "entityUseCode": _use_code(line) or _use_code(model),
        "description": line.get("description", ""),
        "destinationAddressId": address,
        "originAddressId": address,
        "discountAmount": ZERO,
        "exemptAmount": amount - taxable,
        "exemptCertId": 0,
        "exemptNo": model.get("exemptionNo", ""),
        "isItemTaxable": any(detail.non_taxable != amount for detail in details),
        "isSSTP": False,
        "itemCode": line.get("itemCode", ""),
        "lineAmount": amount,
        "quantity": line.get("quantity", 1),
        "ref1": line.get("ref1", ""),
        "ref2": line.get("ref2", ""),
        "reportingDate": model["date"],
        "revAccount": line.get("revenueAccount", ""),
        "sourcing": "Destination",
        "tax": _sum(detail.tax for detail in details),
        "taxableAmount": taxable,
        "taxCalculated": _sum(detail.calculated for detail in details),
        "taxCode": _tax_code(line),
        "taxDate": model.get("taxOverride", {}).get("taxDate", model["date"]),
        "taxIncluded": False,
        "details": [_detail(ident, line_id, line_id * 100 + k, address, detail) for k, detail in enumerate(details, 1)],
    }


def _detail(ident: int, line_id: int, detail_id: int, address: int, detail: Detail) -> Json:
    where = detail.jurisdiction
    return {
        "id": detail_id,
        "transactionLineId": line_id,
        "transactionId": ident,
        "addressId": address,
        "country": where.country,
        "region": where.region,
        "exemptAmount": detail.exempt,
        "inState": True,
        "jurisCode": where.code,
        "jurisName": where.name,
        "jurisType": where.kind,
        "jurisdictionType": JURISDICTION_TYPES[where.kind],
        "nonTaxableAmount": detail.non_taxable,
        "rate": where.rate,
        "sourcing": "Destination",
        "tax": detail.tax,
        "taxableAmount": detail.taxable,
        "taxType": where.tax_type,
        "taxName": where.tax_name,
        "taxAuthorityTypeId": 45,
        "taxCalculated": detail.calculated,
        "taxOverride": ZERO,
        "rateType": "General",
        "rateTypeCode": "G",
        "unitOfBasis": "PerCurrencyUnit",
        "isNonPassThru": False,
        "isFee": False,
        "liabilityType": "Seller",
    }


def _summary(details: list[list[Detail]]) -> list[Json]:
    """One row per jurisdiction over all lines."""
    rows: dict[Any, Json] = {}
    for detail in (detail for line in details for detail in line):
        where = detail.jurisdiction
        row = rows.setdefault(
            where,
            {
                "country": where.country,
                "region": where.region,
                "jurisType": JURISDICTION_TYPES[where.kind],
                "jurisCode": where.code,
                "jurisName": where.name,
                "taxAuthorityType": 45,
                "taxType": where.tax_type,
                "taxName": where.tax_name,
                "rateType": "General",
                "taxable": ZERO,
                "rate": where.rate,
                "tax": ZERO,
                "taxCalculated": ZERO,
                "nonTaxable": ZERO,
                "exemption": ZERO,
            },
        )
        row["taxable"] += detail.taxable
        row["tax"] += detail.tax
        row["taxCalculated"] += detail.calculated
        row["nonTaxable"] += detail.non_taxable
        row["exemption"] += detail.exempt
    return list(rows.values())


def _shown(document: Json, included: frozenset[str]) -> Json:
    """The document with only the nested objects asked for."""
    nested = {"lines", "summary", "addresses", "_request"}
    shown = {name: value for name, value in document.items() if name not in nested}
    if included & {"lines", "details", "linesonly"} or ("summary" in included and "summaryonly" not in included):
        shown["lines"] = [
            line if included & {"details", "summary"} else {k: v for k, v in line.items() if k != "details"}
            for line in document["lines"]
        ]
    if included & {"summary", "summaryonly"}:
        shown["summary"] = document["summary"]
    if "addresses" in included:
        shown["addresses"] = document["addresses"]
    return shown


#: What a write answers when it names no ``$include``: everything.
_EVERYTHING = frozenset({"lines", "details", "summary", "addresses"})


def _ping(authenticated: bool) -> Json:
    answer: Json = {"version": "26.9.0", "authenticated": authenticated, "authenticationType": "None"}
    if authenticated:
        answer |= {
            "authenticationType": "AccountIdLicenseKey",
            "authenticatedUserName": ACCOUNT_ID,
            "authenticatedUserId": 54057,
            "authenticatedAccountId": int(ACCOUNT_ID),
        }
    return answer


def _authenticated(request: Request) -> bool:
    """Whether the Basic header holds account id : licence key. Refusal when there is no such header."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        raise Refusal("AuthenticationIncomplete", "")
    try:
        given = base64.b64decode(value, validate=True)
    except binascii.Error:
        raise Refusal("AuthenticationIncomplete", "") from None
    return hmac.compare_digest(given, f"{ACCOUNT_ID}:{LICENSE_KEY}".encode())


def _endpoint(work: Callable[[Call], Json], status: int) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        try:
            if not _authenticated(request):
                raise Refusal("AuthenticationException")
            call = Call(
                request.path_params,
                dict(request.query_params),
                await _body(request),
                str(request.url.replace(query="")),
            )
            result = work(call)
            if "forcetimeout" in call.included:
                raise Refusal("TimeoutRequested", "ForceTimeout")
            if "_request" in result:
                default = _EVERYTHING if request.method == "POST" else frozenset[str]()
                result = _shown(result, call.included or default)
            return ExactJSONResponse(result, status)
        except Refusal as refusal:
            return refusal.answer()
        except NotModelled as gap:
            said = f"This emulator does not model {gap}."
            return ExactJSONResponse({"error": {"code": "SandboxDoesNotModel", "message": said, "details": []}}, 400)

    return answer


async def _body(request: Request) -> Any:
    raw = await request.body()
    if not raw.strip():
        return None
    try:
        return read_json(raw)
    except json.JSONDecodeError as error:
        raise Refusal("JsonFormatError", error.msg, error.lineno, error.colno) from None
    except UnicodeDecodeError as error:
        raise Refusal("JsonFormatError", error.reason, 1, error.start) from None


async def _answer_ping(request: Request) -> Response:
    try:
        return ExactJSONResponse(_ping(_authenticated(request)))
    except Refusal:
        return ExactJSONResponse(_ping(False))


def _named(answer: Callable[[Request], Any]) -> Callable[[Request], Any]:
    """Names each request, for the vendor's support; its own clients read the name of every answer."""

    async def named(request: Request) -> Response:
        response: Response = await answer(request)
        response.headers["x-correlation-id"] = str(uuid.uuid4())
        return response

    return named


def _fault_answer(fault: Fault) -> Response:
    if fault.kind == "rate_limit":
        # The vendor publishes no body for 429; a gateway in front of the service answers it.
        return ExactJSONResponse(
            {"message": "API rate limit exceeded"}, 429, {"Retry-After": format(fault.seconds, "g")}
        )
    answer = Refusal("UnhandledException").answer()
    answer.status_code = fault.status
    return answer


def emulator(shelf: Shelf) -> Emulator:
    service = AvaTax(shelf)
    documents = "/api/v2/companies/{company}/transactions"
    one = f"{documents}/{{code}}"
    table: list[tuple[str, str, Callable[[Call], Json], int]] = [
        ("POST", "/api/v2/transactions/create", service.create, 201),
        ("POST", "/api/v2/transactions/createoradjust", service.create_or_adjust, 201),
        ("GET", "/api/v2/transactions/{id}", service.get_by_id, 200),
        ("GET", documents, service.list_transactions, 200),
        ("GET", one, service.get_by_code, 200),
        ("GET", f"{one}/types/{{type}}", service.get_by_code, 200),
        ("POST", f"{one}/adjust", service.adjust, 200),
        ("POST", f"{one}/commit", service.commit, 200),
        ("POST", f"{one}/lock", service.lock, 200),
        ("POST", f"{one}/refund", service.refund, 200),
        ("POST", f"{one}/uncommit", service.uncommit, 200),
        ("POST", f"{one}/unvoid", service.unvoid, 200),
        ("POST", f"{one}/verify", service.verify, 200),
        ("POST", f"{one}/void", service.void, 200),
        ("GET", "/api/v2/addresses/resolve", service.resolve_address, 200),
        ("POST", "/api/v2/addresses/resolve", service.resolve_address, 200),
        ("GET", "/api/v2/companies", service.companies, 200),
        ("GET", "/api/v2/companies/{company_id}/nexus", service.nexus, 200),
    ]
    routes = [Route("/api/v2/utilities/ping", _named(_answer_ping))]
    routes += [Route(path, _named(_endpoint(work, status)), methods=[verb]) for verb, path, work, status in table]
    return Emulator("avalara", routes, shelf, fault_answer=_fault_answer)
