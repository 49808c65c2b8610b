"""NetSuite's fields: what the types of the WSDL say of them, how long they may be, and the custom ones of an account.

A payload carries a custom field as REST does, under its script id beside the standard ones (``custbody_region``); SOAP
wants it in ``customFieldList``, as one of seven types. Which one, whether it is demanded, how long it may be and what
its list holds tell the records of customisation: ``getCustomizationId`` names them, ``getList`` reads them (SOAP guide,
read 2026-11). The REST metadata catalogue tells neither lengths nor values of lists.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import zeep
from lxml import etree
from zeep.xsd.types import builtins

from core.ports import DescribedField, FieldKind, Payload

XSD = "{http://www.w3.org/2001/XMLSchema}"
#: What the script id of a custom field begins with.
CUSTOM = re.compile(r"cust(entity|item|body|col)")
#: How deep the fields of a type are described; its types refer to each other.
DEPTH = 6

#: The kinds of custom field that a record type, or its lines, can have.
CUSTOMIZED: Mapping[str, tuple[str, ...]] = {
    "Customer": ("entityCustomField",),
    "ServiceSaleItem": ("itemCustomField",),
    "CustomerPayment": ("transactionBodyCustomField",),
    **dict.fromkeys(
        ("Invoice", "CreditMemo", "JournalEntry"), ("transactionBodyCustomField", "transactionColumnCustomField")
    ),
}
#: The boxes of a custom field, and the types that each applies it to.
BOXES: Mapping[str, tuple[str, ...]] = {
    "appliesToCustomer": ("Customer",),
    "appliesToService": ("ServiceSaleItem",),
    "bodySale": ("Invoice", "CreditMemo"),
    "bodyCustomerPayment": ("CustomerPayment",),
    "bodyJournal": ("JournalEntry",),
    "colSale": ("InvoiceItem", "CreditMemoItem"),
    "colJournal": ("JournalEntryLine",),
}

#: How the values of a field type (CustomizationFieldType) cross the wire; the others are text.
REFERENCES: Mapping[str, tuple[str, FieldKind]] = {
    "_checkBox": ("BooleanCustomFieldRef", FieldKind.BOOLEAN),
    "_integerNumber": ("LongCustomFieldRef", FieldKind.NUMBER),
    **dict.fromkeys(("_currency", "_decimalNumber", "_percent"), ("DoubleCustomFieldRef", FieldKind.NUMBER)),
    **dict.fromkeys(("_date", "_datetime", "_timeOfDay"), ("DateCustomFieldRef", FieldKind.INSTANT)),
    **dict.fromkeys(("_listRecord", "_image", "_document"), ("SelectCustomFieldRef", FieldKind.OBJECT)),
    "_multipleSelect": ("MultiSelectCustomFieldRef", FieldKind.LIST),
}
TEXT = ("StringCustomFieldRef", FieldKind.TEXT)
#: Most characters of a custom text that states no other number (help pages Field Type Descriptions for Custom Fields
#: and serverWidget.FieldType, read 2026-11).
TEXTS: Mapping[str, int] = {"_freeFormText": 300, "_textArea": 4000, "_longText": 1_000_000}
#: Most characters of standard fields. NetSuite publishes no list: those of customers and addresses stand in its
#: template for importing customers, 999 of a memo and 4,000 of a line's description in its own SuiteCommerce code
#: (Return Authorization). Of the others nothing was found.
LENGTHS: Mapping[tuple[str, str], int] = {
    ("Customer", "entityId"): 80,
    ("Customer", "companyName"): 83,
    ("Customer", "comments"): 4000,
    ("Customer", "accountNumber"): 99,
    ("Address", "attention"): 83,
    ("Address", "addressee"): 83,
    ("Address", "addr1"): 150,
    ("Address", "addr2"): 150,
    **{(name, "memo"): 999 for name in ("Invoice", "CreditMemo", "CustomerPayment", "JournalEntry")},
    **{(name, "description"): 4000 for name in ("InvoiceItem", "CreditMemoItem")},
}


@dataclass(frozen=True, slots=True)
class CustomField:
    """``reference``: the type that carries its values. ``on``: names of the types that have it."""

    script_id: str
    reference: str
    on: frozenset[str]
    about: DescribedField


#: By the name of a type, its custom fields by script id.
CustomFields = Mapping[str, Mapping[str, CustomField]]


def custom_field(record: Payload, words: Mapping[str, frozenset[str]]) -> CustomField:
    """A record of customisation as one field; ``words``: the ids of the values of custom lists, by the list's id."""
    type_ = str(record["fieldType"])
    reference, kind = REFERENCES.get(type_, TEXT)
    listed = words.get((record.get("selectRecordType") or {}).get("internalId", ""), frozenset())
    ids = {"internalId": DescribedField(FieldKind.TEXT, words=listed)}
    texts = ("externalId", "name", "typeId")
    about = DescribedField(
        kind,
        length=record.get("maxLength") or TEXTS.get(type_),
        required=bool(record.get("isMandatory")),
        writable=record.get("storeValue") is not False and record.get("accessLevel", "_edit") == "_edit",
        fields={**ids, **dict.fromkeys(texts, DescribedField(FieldKind.TEXT))} if "Select" in reference else {},
    )
    on = {name for box, names in BOXES.items() if record.get(box) for name in names}
    return CustomField(str(record["scriptId"]), reference, frozenset(on), about)


def by_type(fields: Iterable[CustomField]) -> CustomFields:
    found: dict[str, dict[str, CustomField]] = {}
    for field in fields:
        for name in field.on:
            found.setdefault(name, {})[field.script_id] = field
    return found


def lifted(value: Mapping[str, Any]) -> dict[str, Any]:
    """A record as read, its custom fields beside the standard ones."""
    plain = dict(value)
    for one in (plain.pop("customFieldList", None) or {}).get("customField", ()):
        plain[one["scriptId"]] = one["value"]
    return plain


def enumerations(documents: Iterable[bytes]) -> dict[str, frozenset[str]]:
    """The values of every enumeration of some XSD documents, by the expanded name of its type."""
    found: dict[str, frozenset[str]] = {}
    for document in documents:
        root = etree.fromstring(document, etree.XMLParser(resolve_entities=False, no_network=True))
        for kind in root.iter(f"{XSD}simpleType"):
            if values := {one.get("value", "") for one in kind.iter(f"{XSD}enumeration")}:
                found[f"{{{kind.getparent().get('targetNamespace')}}}{kind.get('name')}"] = frozenset(values)
    return found


@dataclass(frozen=True, slots=True)
class Describing:
    """Describes types of the WSDL: with the values of its enumerations and the custom fields of the account."""

    words: Mapping[str, frozenset[str]]
    custom: CustomFields

    def members(self, kind: Any, depth: int = DEPTH) -> dict[str, DescribedField]:
        attributes = {name: (one.type, one.required, False) for name, one in kind.attributes}
        elements = {
            name: (one.type, int(getattr(one, "min_occurs", 0)) > 0, one.accepts_multiple)
            for name, one in kind.elements
            if hasattr(one, "type") and name != "customFieldList"
        }
        standard = {
            name: self._field(*about, LENGTHS.get((str(kind.name), name)), depth)
            for name, about in {**elements, **attributes}.items()
        }
        return standard | {name: one.about for name, one in self.custom.get(str(kind.name), {}).items()}

    def _field(self, kind: Any, required: bool, several: bool, length: int | None, depth: int) -> DescribedField:
        if isinstance(kind, zeep.xsd.ComplexType):
            shape = FieldKind.LIST if several else FieldKind.OBJECT
            return DescribedField(shape, required=required, fields=self.members(kind, depth - 1) if depth else {})
        match kind:
            case _ if several:
                known = FieldKind.LIST
            case builtins.Boolean():
                known = FieldKind.BOOLEAN
            case builtins.Double() | builtins.Integer():
                known = FieldKind.NUMBER
            case builtins.DateTime():
                known = FieldKind.INSTANT
            case _:
                known = FieldKind.TEXT
        words = self.words.get(str(kind.qname), frozenset())
        return DescribedField(known, length=length, words=words, required=required)
