"""What Xero's Accounting API 2.0 takes: fields and their forms, error bodies, dates, and the ``where`` language.

After the published OpenAPI file 16.1.0 (2026-07) and the developer pages on requests, responses and errors (read
2026-11). A field that Xero does not know, or only shows, is passed over without a word, as Xero does; a value that
cannot be read as what the field holds spoils the whole request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from sandbox.emulator import Json

DOCUMENT_STATES = "DRAFT|SUBMITTED|DELETED|AUTHORISED|PAID|VOIDED"
LINE_AMOUNT_TYPES = "Exclusive|Inclusive|NoTax"
ACCOUNT_TYPES = (
    "BANK|CURRENT|CURRLIAB|DEPRECIATN|DIRECTCOSTS|EQUITY|EXPENSE|FIXED|INVENTORY|LIABILITY|NONCURRENT|OTHERINCOME|OVERHEADS|"
    "PREPAYMENT|REVENUE|SALES|TERMLIAB|PAYG"
)
_SALE = {
    "Contact": "one:Contact",
    "Date": "date",
    "DueDate": "date",
    "LineAmountTypes": f"enum:{LINE_AMOUNT_TYPES}",
    "LineItems": "many:LineItem",
    "Reference": "text:255",
    "CurrencyCode": "text:3",
    "CurrencyRate": "number",
    "Status": f"enum:{DOCUMENT_STATES}",
}

#: Fields that may be written: ``text:<most characters>``, ``date``, ``number``, ``bool``, ``id``, ``enum:a|b``,
#: ``one:<Object>``, ``many:<Object>``.
OBJECTS: dict[str, dict[str, str]] = {
    "Contact": {
        "ContactID": "id",
        "ContactNumber": "text:50",
        "AccountNumber": "text:50",
        "ContactStatus": "enum:ACTIVE|ARCHIVED|GDPRREQUEST",
        "Name": "text:255",
        "FirstName": "text:255",
        "LastName": "text:255",
        "CompanyNumber": "text:50",
        "EmailAddress": "text:255",
        "TaxNumber": "text:50",
        "DefaultCurrency": "text:3",
        "Addresses": "many:Address",
        "Phones": "many:Phone",
    },
    "Address": {
        "AddressType": "enum:POBOX|STREET",
        **{f"AddressLine{number}": "text:500" for number in (1, 2, 3, 4)},
        "City": "text:255",
        "Region": "text:255",
        "PostalCode": "text:50",
        "Country": "text:50",
        "AttentionTo": "text:255",
    },
    "Phone": {
        "PhoneType": "enum:DEFAULT|DDI|MOBILE|FAX|OFFICE",
        "PhoneNumber": "text:50",
        "PhoneAreaCode": "text:10",
        "PhoneCountryCode": "text:20",
    },
    "Account": {
        "AccountID": "id",
        "Code": "text:10",
        "Name": "text:150",
        "Type": f"enum:{ACCOUNT_TYPES}",
        "Status": "enum:ACTIVE|ARCHIVED|DELETED",
        "Description": "text:4000",
        "BankAccountNumber": "text",
        "CurrencyCode": "text:3",
        "TaxType": "text",
        "EnablePaymentsToAccount": "bool",
    },
    "Item": {
        "ItemID": "id",
        "Code": "text:30",
        "Name": "text:50",
        "IsSold": "bool",
        "IsPurchased": "bool",
        "Description": "text:4000",
        "PurchaseDescription": "text:4000",
        "SalesDetails": "one:Price",
        "PurchaseDetails": "one:Price",
    },
    "Price": {"UnitPrice": "number", "AccountCode": "text", "TaxType": "text"},
    "Invoice": {
        **_SALE,
        "InvoiceID": "id",
        "Type": "enum:ACCREC|ACCPAY",
        "InvoiceNumber": "text:255",
        "Url": "text",
        "SentToContact": "bool",
    },
    "CreditNote": {
        **_SALE,
        "CreditNoteID": "id",
        "Type": "enum:ACCRECCREDIT|ACCPAYCREDIT",
        "CreditNoteNumber": "text:255",
    },
    "LineItem": {
        "LineItemID": "id",
        "Description": "text:4000",
        "Quantity": "number",
        "UnitAmount": "number",
        "LineAmount": "number",
        "ItemCode": "text",
        "AccountCode": "text",
        "TaxType": "text",
        "TaxAmount": "number",
        "Tracking": "many:Tracking",
    },
    "Tracking": {
        "TrackingCategoryID": "id",
        "TrackingOptionID": "id",
        "Name": "text:100",
        "Option": "text:100",
    },
    "Payment": {
        "PaymentID": "id",
        "Invoice": "one:Invoice",
        "CreditNote": "one:CreditNote",
        "Account": "one:Account",
        "Date": "date",
        "Amount": "number",
        "CurrencyRate": "number",
        "Reference": "text:255",
        "IsReconciled": "bool",
        "Status": "enum:AUTHORISED|DELETED",
    },
    "Allocation": {"Invoice": "one:Invoice", "Amount": "number", "Date": "date"},
    "ManualJournal": {
        "ManualJournalID": "id",
        "Narration": "text:4000",
        "JournalLines": "many:ManualJournalLine",
        "Date": "date",
        "LineAmountTypes": f"enum:{LINE_AMOUNT_TYPES}",
        "Status": "enum:DRAFT|POSTED|DELETED|VOIDED|ARCHIVED",
        "Url": "text",
        "ShowOnCashBasisReports": "bool",
    },
    "ManualJournalLine": {
        "LineAmount": "number",
        "AccountCode": "text",
        "AccountID": "id",
        "Description": "text:4000",
        "TaxType": "text",
        "Tracking": "many:Tracking",
    },
    "TrackingCategory": {
        "TrackingCategoryID": "id",
        "Name": "text:100",
        "Status": "enum:ACTIVE|ARCHIVED|DELETED",
    },
    "TrackingOption": {
        "TrackingOptionID": "id",
        "Name": "text:100",
        "Status": "enum:ACTIVE|ARCHIVED|DELETED",
    },
}


class Refused(Exception):
    """An answer that is about the whole request."""

    def __init__(self, status: int, body: Json) -> None:
        super().__init__(body)
        self.status, self.body = status, body


class Invalid(Exception):
    """What is wrong with one record, in Xero's sentences."""

    def __init__(self, *messages: str) -> None:
        super().__init__("; ".join(messages))
        self.messages = messages


def post_data_invalid(what: str) -> Refused:
    return Refused(400, {"ErrorNumber": 14, "Type": "PostDataInvalidException", "Message": what})


def query_invalid(what: str) -> Refused:
    return Refused(400, {"ErrorNumber": 16, "Type": "QueryParseException", "Message": what})


def validation_exception(elements: list[Json]) -> Refused:
    body = {"ErrorNumber": 10, "Type": "ValidationException", "Message": "A validation exception occurred"}
    return Refused(400, {**body, "Elements": elements})


# Reading what is sent -----------------------------------------------------------------------------------------------


def read(kind: str, given: Any, place: str) -> Json:
    """The known fields of an object in the form they are kept: numbers as Decimal, days as ISO text."""
    if not isinstance(given, dict):
        raise _unreadable(given, kind, place)
    fields = OBJECTS[kind]
    return {
        name: _value(fields[name], value, f"{place}.{name}")
        for name, value in given.items()
        if name in fields and value is not None
    }


def _unreadable(value: Any, what: str, place: str) -> Refused:
    return post_data_invalid(
        f"JSON for post data was invalid,Error converting value {value} to type '{what}'. Path '{place}', line 1."
    )


def _value(form: str, value: Any, place: str) -> Any:
    name, _, detail = form.partition(":")
    match name:
        case "one":
            return read(detail, value, place)
        case "many" if isinstance(value, list):
            return [read(detail, one, f"{place}[{number}]") for number, one in enumerate(value)]
        case "text" if isinstance(value, str | int | Decimal):
            return value if isinstance(value, str) else str(value)
        case "enum" if value in detail.split("|"):
            return value
        case "bool" if isinstance(value, bool):
            return value
    try:
        match name:
            case "number" if not isinstance(value, bool):
                return Decimal(value)
            case "id":
                return str(UUID(value))
            case "date":
                return day_of(value)
    except (ValueError, TypeError, AttributeError, InvalidOperation):
        pass
    raise _unreadable(value, name, place)


def too_long(kind: str, record: Json) -> list[str]:
    """A sentence for every text that is longer than its field."""
    found = []
    for name, value in record.items():
        form, _, detail = OBJECTS[kind].get(name, "").partition(":")
        if form == "text" and detail and len(value) > int(detail):
            found.append(f"The {name} field is limited to {detail} characters")
        elif form == "many":
            found += [text for one in value for text in too_long(detail, one)]
    return found


# Dates --------------------------------------------------------------------------------------------------------------

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS_DATE = re.compile(r"/Date\((-?\d+)(?:[+-]\d{4})?\)/")


def day_of(text: str) -> str:
    """The day that a date of a request means: ISO text with or without a time, or Microsoft's form."""
    if found := _MS_DATE.fullmatch(text):
        return (_EPOCH + timedelta(milliseconds=int(found[1]))).date().isoformat()
    return datetime.fromisoformat(text).date().isoformat()


def ms_date(text: str) -> str:
    """A kept day or instant (ISO text) in Microsoft's form."""
    at = datetime.fromisoformat(text)
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return f"/Date({(at - _EPOCH) // timedelta(milliseconds=1)}+0000)/"


DAYS = {"Date", "DueDate", "FullyPaidOnDate", "JournalDate", "PeriodLockDate", "EndOfYearLockDate"}


def shown(value: Any) -> Any:
    """A kept record as Xero answers it: without what begins with ``_``, dates in Microsoft's form."""
    if isinstance(value, list):
        return [shown(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        name: ms_date(item) if name in DAYS or name.endswith("UTC") else shown(item)
        for name, item in value.items()
        if not name.startswith("_")
    }


# The where language -------------------------------------------------------------------------------------------------

Test = Callable[[Json], bool]
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"[^"]*")|(?P<number>-?\d+(?:\.\d+)?)|(?P<call>(?:DateTime|Guid)\s*\([^()]*\))"""
    r"""|(?P<name>[A-Za-z][\w.]*)|(?P<mark>==|!=|>=|<=|>|<|&&|\|\||[()]))"""
)
_MARKS: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    ">": lambda left, right: left is not None and left > right,
    ">=": lambda left, right: left is not None and left >= right,
    "<": lambda left, right: left is not None and left < right,
    "<=": lambda left, right: left is not None and left <= right,
}
_METHODS: dict[str, Callable[[str, str], bool]] = {
    "StartsWith": str.startswith,
    "EndsWith": str.endswith,
    "Contains": str.__contains__,
}


def where(text: str) -> Test:
    """The test that a filter means: comparisons and StartsWith/EndsWith/Contains, joined by AND and OR, in parentheses.

    Text is compared without regard to case. Refused (QueryParseException) for anything else.
    """
    tokens = list(_tokens(text))
    test = _any(tokens, text)
    if tokens:
        raise query_invalid(f"Syntax error near '{tokens[0][1]}' in: {text}")
    return test


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    position, end = 0, len(text.rstrip())
    while position < end:
        found = _TOKEN.match(text, position)
        if found is None:
            raise query_invalid(f"Syntax error at position {position} in: {text}")
        position = found.end()
        yield str(found.lastgroup), found[found.lastgroup or 0]


def _any(tokens: list[tuple[str, str]], text: str) -> Test:
    tests = [_all(tokens, text)]
    while tokens and tokens[0][1].upper() in ("OR", "||"):
        tokens.pop(0)
        tests.append(_all(tokens, text))
    return lambda record: any(test(record) for test in tests)


def _all(tokens: list[tuple[str, str]], text: str) -> Test:
    tests = [_one(tokens, text)]
    while tokens and tokens[0][1].upper() in ("AND", "&&"):
        tokens.pop(0)
        tests.append(_one(tokens, text))
    return lambda record: all(test(record) for test in tests)


def _one(tokens: list[tuple[str, str]], text: str) -> Test:
    kind, name = tokens.pop(0) if tokens else ("", "")
    if name == "(":
        test = _any(tokens, text)
        if not tokens or tokens.pop(0)[1] != ")":
            raise query_invalid(f"')' expected in: {text}")
        return test
    path, _, method = name.rpartition(".")
    if kind == "name" and method in _METHODS and len(tokens) >= 3:
        _, wanted = tokens[1]
        del tokens[:3]
        low = wanted.strip('"').lower()
        return lambda record: _METHODS[method](str(_at(record, path) or "").lower(), low)
    if kind != "name" or len(tokens) < 2 or tokens[0][1] not in _MARKS:
        raise query_invalid(f"Expression expected near '{name}' in: {text}")
    mark, value = _MARKS[tokens.pop(0)[1]], _literal(*tokens.pop(0))
    return lambda record: mark(_low(_at(record, name)), value)


def _literal(kind: str, text: str) -> Any:
    if kind == "number":
        return Decimal(text)
    if kind == "call":
        inner = text[text.index("(") + 1 : -1]
        return (
            inner.strip('"').lower() if text.startswith("Guid") else date(*map(int, inner.split(",")[:3])).isoformat()
        )
    if kind == "text":
        return text.strip('"').lower()
    if text.lower() in ("true", "false", "null"):
        return {"true": True, "false": False, "null": None}[text.lower()]
    raise query_invalid(f"No property or literal '{text}'")


def _low(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _at(record: Any, path: str) -> Any:
    for name in path.split("."):
        record = record.get(name) if isinstance(record, dict) else None
    return record
