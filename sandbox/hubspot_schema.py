"""What records of the emulated HubSpot account look like: properties, deal stages, and kinds of associations.

Written from the CRM, properties and associations v4 references (published docs, read 2026-11) and the list of
association types that HubSpot's own clients carry. The ``tieout_*`` properties are those that set-up creates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from sandbox.administration import FieldChange

#: Object type to its id, its singular name, and the property of its last change.
OBJECTS: Mapping[str, tuple[str, str, str]] = {
    "contacts": ("0-1", "contact", "lastmodifieddate"),
    "companies": ("0-2", "company", "hs_lastmodifieddate"),
    "deals": ("0-3", "deal", "hs_lastmodifieddate"),
    "products": ("0-7", "product", "hs_lastmodifieddate"),
    "line_items": ("0-8", "line_item", "hs_lastmodifieddate"),
    "quotes": ("0-14", "quote", "hs_lastmodifieddate"),
}

#: One property a line: name, type, then ``unique``, ``calculated`` (never written) or ``a|b|c`` (its options).
_OF_EVERY_OBJECT = """
createdate datetime
hs_object_id number calculated
"""
_DECLARED: Mapping[str, str] = {
    "contacts": """
        email string unique
        firstname string
        lastname string
        phone string
        hs_full_name_or_email string calculated
        lastmodifieddate datetime calculated
    """,
    "companies": """
        name string
        domain string
        phone string
        address string
        city string
        state string
        zip string
        country string
        industry enumeration COMPUTER_SOFTWARE|HOSPITALITY|TELECOMMUNICATIONS
        lifecyclestage enumeration lead|opportunity|customer|other
        hs_parent_company_id number calculated
        hs_lastmodifieddate datetime calculated
        tieout_id string unique
        tieout_site_code string unique
        tieout_billing_email string
        tieout_time_zone string
        tieout_tax_exemption string
        tieout_payment_terms_days number
        tieout_region_code string
        tieout_country_code string
    """,
    "deals": """
        dealname string
        pipeline enumeration
        dealstage enumeration
        amount number
        closedate datetime
        deal_currency_code enumeration USD|EUR|GBP|CAD|JPY
        description string
        hs_is_closed bool calculated
        hs_is_closed_won bool calculated
        hs_lastmodifieddate datetime calculated
        tieout_purchase_order string
        tieout_service_start date
        tieout_term_months number
        tieout_status enumeration provisioned|invoiced|paid
        tieout_subscription string
        tieout_invoiced number
        tieout_credited number
        tieout_paid number
        tieout_invoice_numbers string
    """,
    "products": """
        name string
        description string
        price number
        hs_sku string
        hs_lastmodifieddate datetime calculated
        tieout_id string unique
    """,
    "line_items": """
        name string
        description string
        hs_product_id number
        hs_sku string
        quantity number
        price number
        discount number
        hs_discount_percentage number
        amount number calculated
        hs_line_item_currency_code enumeration USD|EUR|GBP|CAD|JPY
        recurringbillingfrequency enumeration monthly|quarterly|annually
        hs_recurring_billing_start_date date
        hs_position_on_quote number
        hs_lastmodifieddate datetime calculated
        tieout_site_code string
    """,
    "quotes": """
        hs_title string
        hs_expiration_date date
        hs_status enumeration DRAFT|APPROVAL_NOT_NEEDED|PENDING_APPROVAL|APPROVED|REJECTED
        hs_currency enumeration USD|EUR|GBP|CAD|JPY
        hs_quote_amount number calculated
        hs_lastmodifieddate datetime calculated
    """,
}
#: Properties without which no object of the type is made.
REQUIRED: Mapping[str, tuple[str, ...]] = {"quotes": ("hs_title", "hs_expiration_date")}

#: Properties that an answer shows when none are asked for.
SHOWN: Mapping[str, tuple[str, ...]] = {
    "contacts": ("createdate", "email", "firstname", "hs_object_id", "lastmodifieddate", "lastname"),
    "companies": ("createdate", "domain", "hs_lastmodifieddate", "hs_object_id", "name"),
    "deals": (
        "amount",
        "closedate",
        "createdate",
        "dealname",
        "dealstage",
        "hs_lastmodifieddate",
        "hs_object_id",
        "pipeline",
    ),
    "products": ("createdate", "description", "hs_lastmodifieddate", "hs_object_id", "name", "price"),
    "line_items": ("amount", "createdate", "hs_lastmodifieddate", "hs_object_id", "hs_product_id", "quantity"),
    "quotes": ("createdate", "hs_expiration_date", "hs_lastmodifieddate", "hs_object_id", "hs_status", "hs_title"),
}

#: Pipeline to its deal stages: id, label, probability.
STAGES: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "default": (
        ("appointmentscheduled", "Appointment Scheduled", "0.2"),
        ("qualifiedtobuy", "Qualified To Buy", "0.4"),
        ("presentationscheduled", "Presentation Scheduled", "0.6"),
        ("decisionmakerboughtin", "Decision Maker Bought-In", "0.8"),
        ("contractsent", "Contract Sent", "0.9"),
        ("closedwon", "Closed Won", "1.0"),
        ("closedlost", "Closed Lost", "0.0"),
    ),
}

#: From and to, then the types of HubSpot between them: the unlabelled one first, then labelled ones.
ASSOCIATIONS: Mapping[tuple[str, str], tuple[tuple[int, str | None], ...]] = {
    ("contacts", "companies"): ((279, None), (1, "Primary")),
    ("companies", "contacts"): ((280, None), (2, "Primary")),
    ("deals", "companies"): ((341, None), (5, "Primary")),
    ("companies", "deals"): ((342, None), (6, "Primary")),
    ("deals", "contacts"): ((3, None),),
    ("contacts", "deals"): ((4, None),),
    ("deals", "line_items"): ((19, None),),
    ("line_items", "deals"): ((20, None),),
    ("deals", "quotes"): ((63, None),),
    ("quotes", "deals"): ((64, None),),
    ("quotes", "line_items"): ((67, None),),
    ("line_items", "quotes"): ((68, None),),
    ("quotes", "contacts"): ((69, None),),
    ("contacts", "quotes"): ((70, None),),
    ("quotes", "companies"): ((71, None),),
    ("companies", "quotes"): ((72, None),),
    ("companies", "companies"): ((450, None), (13, "Child Company"), (14, "Parent Company")),
}
#: A type of association and the one that the other end then shows.
REVERSE: Mapping[int, int] = {279: 280, 1: 2, 341: 342, 5: 6, 3: 4, 19: 20, 63: 64, 67: 68, 69: 70, 71: 72, 450: 450}
REVERSE = {**REVERSE, **{there: here for here, there in REVERSE.items()}, 13: 14, 14: 13}
#: Types of which a record may have one only: its primary company, its parent company.
SINGLE = frozenset({1, 5, 14})


@dataclass(frozen=True, slots=True)
class Property:
    name: str
    type: str
    options: tuple[str, ...] = ()
    unique: bool = False
    calculated: bool = False
    label: str = ""
    group: str = "standard"
    field_type: str = ""

    def describe(self) -> dict[str, Any]:
        """The property as the properties API shows it."""
        usual = {"string": "text", "number": "number", "enumeration": "select", "bool": "booleancheckbox"}
        return {
            "name": self.name,
            "label": self.label or self.name.replace("_", " ").capitalize(),
            "type": self.type,
            "fieldType": self.field_type or usual.get(self.type, "date"),
            "description": "",
            "groupName": self.group,
            "options": [_option(place, word) for place, word in enumerate(self.options)],
            "hasUniqueValue": self.unique,
            "calculated": self.calculated,
            "externalOptions": self.name in ("dealstage", "pipeline"),
            "hubspotDefined": not self.name.startswith("tieout_") and self.group == "standard",
            "hidden": False,
            "archived": False,
            "modificationMetadata": {
                "archivable": self.group != "standard",
                "readOnlyDefinition": self.group == "standard",
                "readOnlyValue": self.calculated,
            },
        }


TYPES: Mapping[str, str] = {"text": "string", "boolean": "bool", "instant": "datetime", "choice": "enumeration"}


def as_changed(before: Property | None, change: FieldChange) -> Property:
    """The property as a super admin changed it. Properties have no length, and are demanded by forms alone."""
    about = before or Property(change.field, "string", group="tieout")
    given = {
        "type": change.type and TYPES.get(change.type, change.type),
        "options": change.words,
        "calculated": change.locked,
    }
    return replace(about, **{name: value for name, value in given.items() if value is not None})


def _option(place: int, word: str) -> dict[str, Any]:
    return {"label": word, "value": word, "displayOrder": place, "hidden": False}


def _declared(text: str) -> Iterator[Property]:
    for line in filter(str.strip, text.splitlines()):
        name, kind, *more = line.split()
        options = tuple(more[0].split("|")) if more and kind == "enumeration" else ()
        yield Property(name, kind, options, unique="unique" in more, calculated="calculated" in more)


PROPERTIES: Mapping[str, Mapping[str, Property]] = {
    kind: {one.name: one for one in _declared(_OF_EVERY_OBJECT + text)} for kind, text in _DECLARED.items()
}


class Invalid(ValueError):
    """A value that the property does not take: message and code as HubSpot words them."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.message, self.code = message, code


def stored(about: Property, value: str) -> str:
    """The form in which a value that was given is kept and answered. Invalid when the property does not take it."""
    match about.type:
        case "number":
            return _number(value)
        case "bool":
            if value not in ("true", "false"):
                raise Invalid(f"{value} was not one of the allowed options: [true, false]", "INVALID_OPTION")
        case "date":
            return _date(value).isoformat()
        case "datetime":
            return stamp(_instant(value))
        case "enumeration" if about.options and value not in about.options:
            raise Invalid(f"{value} was not one of the allowed options: [{', '.join(about.options)}]", "INVALID_OPTION")
    if about.name == "email":
        if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", value):
            raise Invalid(f"Email address {value} is invalid", "INVALID_EMAIL")
        return value.lower()
    if len(value) > 65_536:
        raise Invalid("The value is longer than 65536 characters", "STRING_TOO_LONG")
    return value


def _number(value: str) -> str:
    try:
        number = Decimal(value)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise Invalid(f"{value} was not a valid long.", "INVALID_LONG")
    return format(number, "f")


def _instant(value: str) -> datetime:
    """Milliseconds since 1970, an ISO 8601 moment, or a day (its midnight, UTC)."""
    try:
        if re.fullmatch(r"-?\d+", value):
            return datetime.fromtimestamp(int(value) / 1000, UTC)
        instant = datetime.fromisoformat(value)
    except (ValueError, OverflowError, OSError):
        raise Invalid(f"{value} was not a valid long.", "INVALID_LONG") from None
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def _date(value: str) -> date:
    instant = _instant(value)
    if instant.time().isoformat() != "00:00:00":
        raise Invalid(f"{value} is at {instant.time().isoformat()} UTC, not midnight!", "INVALID_DATE")
    return instant.date()


def stamp(instant: datetime) -> str:
    """``2026-11-02T09:30:00.123Z``."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def milliseconds(instant: datetime) -> int:
    """Whole milliseconds since 1970."""
    return round(instant.timestamp() * 1000)


def comparable(about: Property, value: str) -> Any:
    """What search compares and sorts by. Invalid when a filter's value is not of the property's type."""
    match about.type:
        case "number":
            return Decimal(_number(value))
        case "date" | "datetime":
            return _instant(value)
        case _:
            return value.casefold()
