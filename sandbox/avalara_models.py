"""What AvaTax REST v2 accepts in a body, and how it says no.

Field names, types, lengths, enums and required fields are those of the published definition (SDK 26.9.0, read
2026-11); error codes, numbers and wording are those of its error pages (read 2026-11), which state no HTTP status: the
statuses here, ``target`` and the spelling of ``refersTo`` are an assumption. Names of fields and of enum
values are read without regard to case, as the vendor's own samples (``SingleLocation``, ``docVoided``) rely on;
``"true"`` is taken for a boolean, as its integration guide sends it. A field the model does not have is
refused, which no text of the vendor was found to promise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from starlette.responses import Response

from sandbox.emulator import ExactJSONResponse

#: code: (number, HTTP status, severity, message, description); -0- and so on are the arguments.
ERRORS: Mapping[str, tuple[int, int, str, str, str]] = {
    "EntityNotFoundError": (4, 404, "Error", "-0- not found.", "The -0- with -2- '-1-' was not found."),
    "ValueRequiredError": (5, 400, "Error", "Field -0- is required.", "Please provide a value for field -0-."),
    "StringLengthError": (13, 400, "Error", "Field '-0-' has an invalid length.",
                          "Field '-0-' must be between -1- and -2- characters in length."),
    "InvalidQueryField": (17, 400, "Error", "An invalid field was provided in the query.",
                          "The field named '-0-' could not be found."),
    "InvalidQueryValue": (18, 400, "Error", "An invalid query value was provided.",
                          "The field named '-0-' is type -1- and cannot be compared to '-2-'"),
    "DateFormatError": (26, 400, "Error", "Dates are only recognized in ISO 8601 format.",
                        "The field '-0-' was not recognized as a valid date value.  Valid dates are in the ISO 8601"
                        " format."),
    "AuthenticationException": (30, 401, "Exception", "Authentication failed.",
                                "Unable to authenticate the user or the account."),
    "AuthenticationIncomplete": (34, 401, "Exception", "Authentication Incomplete.",
                                 "You must provide an Authorization header of the type Basic or Bearer to authenticate"
                                 " correctly.  -0-"),
    "ModelRequiredException": (38, 400, "Exception", "A required model was not provided.",
                               "Please verify that your request included a request body in valid JSON format."),
    "JsonFormatError": (47, 400, "Error", "The request body did not contain valid JSON.",
                        "At line -1- position -2-: -0-"),
    "UnhandledException": (50, 500, "Exception", "An invalid exception handler routine has been detected.",
                           "This error has been logged and reported to Avalara system administrators.  No action is"
                           " required."),
    "ModelStateInvalid": (70, 400, "Error", "Invalid JSON object.",
                          "The request body does not represent a valid JSON object.  The value '-1-' is not a valid"
                          " '-0-'."),
    "InvalidCountry": (125, 400, "Error", "The country '-0-' is not a recognized country code.",
                       "Please use the `ListCountries` API to identify a list of ISO 3166 countries and codes."),
    "InvalidCountryRegion": (126, 400, "Error", "Invalid country and region combination.",
                             "The region '-1-' is not a recognized region within country '-0-'."),
    "InvalidEnumValue": (164, 400, "Error", "The field '-0-' has an incorrect value.",
                         "The value '-1-' for the field '-0-' is invalid.  Acceptable values are: -2-."),
    "MalformedFilterException": (182, 400, "Error", "Filter is malformed.", "The filter is invalid: -0-"),
    "CannotAdjustDocumentType": (195, 400, "Error", "Adjusting the document type is not allowed.",
                                 "Document type cannot be changed from -0- to -1-."),
    "TransactionAlreadyCancelled": (198, 400, "Error", "The transaction has already been cancelled.",
                                    "The transaction '-0-' is already in a 'Cancelled' status. There is nothing to be"
                                    " done."),
    "QueryParameterOutOfRange": (199, 400, "Error", "The value -1- for the query parameter '-0-' is out of range.",
                                 "The value of the query parameter '-0-' must be a value ranging from -2- to -3-."),
    "AddressConflictException": (301, 400, "Error",
                                 "You specified both a 'SingleAddress' and a different address type on the element"
                                 " '-0-'.",
                                 "When using SingleAddress mode, you may only provide one address element."),
    "MissingAddress": (304, 400, "Error", "Transactions must have both an origin and destination address.",
                       "The line -0- must have both an origin and destination address.  You must either assign a"
                       " 'SingleLocation' address or both a 'ShipFrom' and a 'ShipTo' address."),
    "DocumentFetchLimit": (308, 400, "Error", "Requested too many transaction documents.",
                           "You have requested -0- transaction documents.  This API supports requests only up to 1000"
                           " transaction documents."),
    "InvalidAddress": (309, 400, "Error", "The address value was incomplete.",
                       "The address value -0- was incomplete. You must provide either a valid postal code, line1 +"
                       " city + region, or line1 + postal code."),
    "MissingLine": (311, 400, "Error", "Transactions must have at least one line.",
                    "The CreateTransactionModel object must have an element called 'lines', with at least one valid"
                    " line record."),
    "DocumentNotCommitted": (313, 400, "Error", "Only committed documents can be locked.",
                             "Document -0- was in status -1- and cannot be locked."),
    "TimeoutRequested": (316, 500, "Error", "You requested a timeout error for this API call.",
                         "You passed the parameter `$include=-0-` to this API."),
    "RefundTypeAndPercentageMismatch": (701, 400, "Error", "Refund type and refund percentage are mismatch.",
                                        "The refund type is -0-, but the refund percentage is -1-."),
    "InvalidDocumentTypeForRefund": (702, 400, "Error", "Invalid document type to process refund",
                                     "The document type is -0-, we can only process refund on SalesInvoice document."),
    "RefundTypeAndLineMismatch": (703, 400, "Error", "Lines for refund do not match with refund type",
                                  "There are -0- lines for refund, and the refund type is -1-. If refund type is full,"
                                  " refund lines should be null."),
    "RefundLinesRequired": (704, 400, "Error", "For Partial refund, refund lines cannot be null",
                            "For refund type -0-, refund lines should be specified"),
    "LineNoOutOfRange": (707, 400, "Error", "The specified line -0- for refund is out of range.",
                         "The Specified line does not exist in original transaction."),
    "RefundPercentageOutOfRange": (708, 400, "Error", "Provide percentage for refund is out of range.",
                                   "Provided percentage is: -0-."),
    "RefundPercentageMissing": (709, 400, "Error", "Refund percentage is required for 'Percentage' refund type.",
                                "For 'Percentage' refund type, you must specify refund percentage value."),
    "CannotModifyLockedTransaction": (1100, 400, "Error", "Modifying a locked document is not allowed.",
                                      "Document -0- is locked. Modification is not allowed."),
    "LineAlreadyExists": (1101, 400, "Error", "The line to be added has already existed.",
                          "Line -0- exists. You can't add an existing line to existing transaction."),
    "TransactionAlreadyExists": (1303, 400, "Error", "A transaction with this code and type already exists.",
                                 "To create a new transaction, please choose a new 'code'.  To adjust the existing"
                                 " transaction, please set allowAdjust to true."),
    "DateMismatch": (1305, 400, "Error", "Mismatch between verify transaction date and the document date.",
                     "The date value in your Verify call [-0-] does not match the transaction's date value [-1-]."),
    "InvalidDocumentStatusForVerify": (1306, 400, "Error",
                                       "Documents cannot be verified when in the status  '-0-'.",
                                       "To verify a transaction, the document must be in 'Saved' or 'Posted' status."),
    "TotalAmountMismatch": (1307, 400, "Error", "Mismatched total amount value.",
                            "The totalAmount value in your Verify call [-0-] does not match the transaction's"
                            " totalAmount value [-1-]."),
    "TotalTaxMismatch": (1308, 400, "Error", "Mismatched total tax value.",
                         "The totalTax value in your Verify call [-0-] does not match the transaction's totalTax value"
                         " [-1-]."),
    "InvalidDocumentStatus": (1314, 400, "Error", "This document status is incorrect for this operation.",
                              "The document -0- has a status of -1-. This operation is not allowed for a document with"
                              " the status of -1-."),
}  # fmt: skip


class Refusal(Exception):
    """The vendor's no: one of ERRORS, its arguments, and the field or object it ``refers_to``."""

    def __init__(self, code: str, *arguments: object, refers_to: str | None = None) -> None:
        super().__init__(code)
        self.code, self.arguments, self.refers_to = code, arguments, refers_to

    def answer(self) -> Response:
        number, status, severity, message, description = ERRORS[self.code]

        def fill(text: str) -> str:
            given = dict(enumerate(map(str, self.arguments)))
            return re.sub(r"-(\d)-", lambda m: given.get(int(m[1]), ""), text)

        detail = {
            "code": self.code,
            "number": number,
            "message": fill(message),
            "description": fill(description),
            "faultCode": "Client",
            "helpLink": f"https://developer.avalara.com/avatax/errors/{self.code}",
            "severity": severity,
        }
        if self.refers_to:
            detail["refersTo"] = self.refers_to
        target = "HttpRequest" if severity == "Exception" else "IncorrectData"
        error = {"code": self.code, "message": fill(message), "target": target, "details": [detail]}
        return ExactJSONResponse({"error": error}, status)


class NotModelled(Exception):
    """A part of the vendor's API that this emulator does not have; refused under a code no vendor has."""


ENUMS: Mapping[str, tuple[str, ...]] = {
    "DocumentType": (
        "SalesOrder", "SalesInvoice", "PurchaseOrder", "PurchaseInvoice", "ReturnOrder", "ReturnInvoice",
        "InventoryTransferOrder", "InventoryTransferInvoice", "ReverseChargeOrder", "ReverseChargeInvoice",
        "CustomsInvoice", "CustomsOrder", "InventoryTransferOutboundInvoice", "InventoryTransferOutboundOrder", "Any",
    ),
    "AdjustmentReason": (
        "NotAdjusted", "SourcingIssue", "ReconciledWithGeneralLedger", "ExemptCertApplied", "PriceAdjusted",
        "ProductReturned", "ProductExchanged", "BadDebt", "Other", "Offline", "Offset",
    ),
    "VoidReasonCode": ("Unspecified", "PostFailed", "DocDeleted", "DocVoided", "AdjustmentCancelled"),
    "RefundType": ("Full", "Partial", "TaxOnly", "Percentage"),
    "TaxOverrideType": (
        "None", "TaxAmount", "Exemption", "TaxDate", "AccruedTaxAmount", "DeriveTaxable", "OutOfHarbor",
        "TaxAmountByTaxType", "VendorChargedTax",
    ),
    "ServiceMode": ("Automatic", "Local", "Remote"),
    "TaxDebugLevel": ("Normal", "Diagnostic"),
    "DeliveryTerms": ("DAP", "DDP", "FOB", "FCA", "FAS", "EXW", "DPU", "CPT", "CIP", "CIF", "CFR"),
    "MarketplaceLiabilityType": ("Marketplace", "Seller"),
    "TextCase": ("Default", "Upper", "Mixed"),
}  # fmt: skip

#: model: its fields as ``name=kind``; ``!`` marks a required one. Kinds: text[:longest], number, integer, boolean,
#: date, enum:E, model:M, list:M, texts, any (taken as it is).
_SPEC = {
    "CreateTransactionModel": """
        code=text:50 lines!=list:LineItemModel type=enum:DocumentType companyCode=text:50 date!=date
        salespersonCode=text:25 customerCode!=text:50 customerUsageType=text:25 entityUseCode=text:25 discount=number
        purchaseOrderNo=text:50 exemptionNo=text:25 addresses=model:AddressesModel parameters=any userDefinedFields=any
        referenceCode=text:1024 reportingLocationCode=text:50 commit=boolean batchCode=text:25
        taxOverride=model:TaxOverrideModel currencyCode=text:3 serviceMode=enum:ServiceMode exchangeRate=number
        exchangeRateEffectiveDate=date exchangeRateCurrencyCode=text posLaneCode=text:50
        businessIdentificationNo=text:25 isSellerImporterOfRecord=boolean description=text:2048 email=text:50
        debugLevel=enum:TaxDebugLevel customerSupplierName=text dataSourceId=integer
        deliveryTerms=enum:DeliveryTerms""",
    "LineItemModel": """
        number=text:50 quantity=number amount!=number addresses=model:AddressesModel taxCode=text:25
        customerUsageType=text:25 entityUseCode=text:25 itemCode=text:50 exemptionCode=text discounted=boolean
        taxIncluded=boolean revenueAccount=text:50 ref1=text:250 ref2=text:250 description=text:2096
        businessIdentificationNo=text:25 taxOverride=model:TaxOverrideModel parameters=any userDefinedFields=any
        hsCode=text:25 merchantSellerId=integer merchantSellerIdentifier=text
        marketplaceLiabilityType=enum:MarketplaceLiabilityType originationDocumentId=text originationSite=text
        category=text summary=text""",
    "CreateOrAdjustTransactionModel": """
        adjustmentReason=enum:AdjustmentReason adjustmentDescription=text
        createTransactionModel!=model:CreateTransactionModel""",
    "AdjustTransactionModel": """
        adjustmentReason!=enum:AdjustmentReason adjustmentDescription=text
        newTransaction!=model:CreateTransactionModel""",
    "AddressesModel": """
        singleLocation=model:AddressLocationInfo shipFrom=model:AddressLocationInfo shipTo=model:AddressLocationInfo
        pointOfOrderOrigin=model:AddressLocationInfo pointOfOrderAcceptance=model:AddressLocationInfo
        goodsPlaceOrServiceRendered=model:AddressLocationInfo import=model:AddressLocationInfo
        billTo=model:AddressLocationInfo""",
    "AddressLocationInfo": """
        locationCode=text line1=text:50 line2=text:100 line3=text:100 city=text:50 region=text country=text
        postalCode=text:11 latitude=number longitude=number""",
    "AddressValidationInfo": """
        line1=text:50 textCase=enum:TextCase line2=text:100 line3=text:100 city=text:50 region=text country=text
        postalCode=text:11 latitude=number longitude=number""",
    "TaxOverrideModel": "type=enum:TaxOverrideType taxAmount=number taxDate=date reason=text taxAmountByTaxTypes=any",
    "CommitTransactionModel": "commit!=boolean",
    "VoidTransactionModel": "code!=enum:VoidReasonCode",
    "LockTransactionModel": "isLocked!=boolean",
    "VerifyTransactionModel": "verifyTransactionDate=date verifyTotalAmount=number verifyTotalTax=number",
    "RefundTransactionModel": """
        refundTransactionCode=text:50 refundDate!=date refundType=enum:RefundType refundPercentage=number
        refundLines=texts referenceCode=text""",
}


def _fields(spec: str) -> dict[str, tuple[str, str, bool]]:
    """lower-case name: (name, kind, required)."""
    pairs = (item.split("=", 1) for item in spec.split())
    return {name.rstrip("!").lower(): (name.rstrip("!"), kind, name.endswith("!")) for name, kind in pairs}


MODELS = {model: _fields(spec) for model, spec in _SPEC.items()}


def parse(model: str, value: Any, path: str = "") -> dict[str, Any]:
    """The body as the vendor understands it: canonical names and enum values, absent where null. Refusal otherwise."""
    if not isinstance(value, dict):
        raise Refusal("ModelStateInvalid", path or model, value, refers_to=path or model)
    fields, result = MODELS[model], {}
    for name, item in value.items():
        where = f"{path}.{name}" if path else name
        if name.lower() not in fields:
            raise Refusal("ModelStateInvalid", where, _short(item), refers_to=where)
        canonical, kind, _ = fields[name.lower()]
        if item is not None:
            result[canonical] = _value(kind, item, f"{path}.{canonical}" if path else canonical)
    for canonical, kind, required in fields.values():
        if required and result.get(canonical) in (None, "", []):
            where = f"{path}.{canonical}" if path else canonical
            if kind == "list:LineItemModel":
                raise Refusal("MissingLine", refers_to=where)
            raise Refusal("ValueRequiredError", where, refers_to=where)
    return result


def _value(kind: str, value: Any, where: str) -> Any:
    name, _, detail = kind.partition(":")
    wrong = Refusal("ModelStateInvalid", where, _short(value), refers_to=where)
    match name, value:
        case "any", _:
            return value
        case "text", str():
            if detail and len(value) > int(detail):
                raise Refusal("StringLengthError", where, 0, detail, refers_to=where)
            return value
        case "number", Decimal() | int() if not isinstance(value, bool):
            return Decimal(value)
        case "integer", int() if not isinstance(value, bool):
            return value
        case "boolean", bool():
            return value
        case "boolean", str() if value.lower() in ("true", "false"):
            return value.lower() == "true"
        case "date", str():
            return _date(value, where)
        case "enum", str():
            return enum_value(detail, value, where)
        case "model", _:
            return parse(detail, value, where)
        case "list", list():
            return [parse(detail, item, f"{where}[{i}]") for i, item in enumerate(value)]
        case "texts", list() if all(isinstance(item, str) for item in value):
            return value
    raise wrong


def enum_value(enum: str, text: str, where: str) -> str:
    """The value of the enum as the vendor spells it, whatever the case it came in."""
    known = {item.lower(): item for item in ENUMS[enum]}
    if text.lower() not in known:
        raise Refusal("InvalidEnumValue", where, text, ", ".join(ENUMS[enum]), refers_to=where)
    return known[text.lower()]


def _date(text: str, where: str) -> str:
    """The calendar day of an ISO 8601 date or instant."""
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).date().isoformat()
    except ValueError:
        raise Refusal("DateFormatError", where, refers_to=where) from None


def _short(value: Any) -> str:
    return str(value)[:80]
