"""Custom fields of the emulated NetSuite: what an administrator made, how it is told, and what it lets in.

Written from the schema of customisation (WSDL 2023.2), the guide's pages on ``getCustomizationId`` and the page Field
Type Descriptions for Custom Fields (read 2026-11). A field is made by ``POST /_sandbox/schema``, its name with the
prefix that goes with the object (``custbody_region`` on ``Invoice``, ``custcol_unit`` on ``InvoiceItem``); as with the
vendor, one box of a field applies it to several records. Its words become a custom list.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sandbox import netsuite_schema as soap
from sandbox.administration import FieldChange

Json = dict[str, Any]

#: A kind of custom field by the prefix of its script id.
KINDS = {
    "custentity": "setup:EntityCustomField",
    "custitem": "setup:ItemCustomField",
    "custbody": "setup:TransactionBodyCustomField",
    "custcol": "setup:TransactionColumnCustomField",
}
#: What can have custom fields: their prefix, and the box that applies one to it.
BOXES = {
    "Customer": ("custentity", "appliesToCustomer"),
    "ServiceSaleItem": ("custitem", "appliesToService"),
    "Invoice": ("custbody", "bodySale"),
    "CreditMemo": ("custbody", "bodySale"),
    "CustomerPayment": ("custbody", "bodyCustomerPayment"),
    "JournalEntry": ("custbody", "bodyJournal"),
    "InvoiceItem": ("custcol", "colSale"),
    "CreditMemoItem": ("custcol", "colSale"),
    "JournalEntryLine": ("custcol", "colJournal"),
}
#: The type of a record's lines, with the list and the element they stand in.
LINES = {
    "Invoice": ("InvoiceItem", "itemList", "item"),
    "CreditMemo": ("CreditMemoItem", "itemList", "item"),
    "JournalEntry": ("JournalEntryLine", "lineList", "line"),
}
#: The field type for a type of the control call, and how its values cross the wire.
TYPES = {
    "text": ("_freeFormText", "core:StringCustomFieldRef"),
    "number": ("_decimalNumber", "core:DoubleCustomFieldRef"),
    "boolean": ("_checkBox", "core:BooleanCustomFieldRef"),
    "date": ("_date", "core:DateCustomFieldRef"),
    "instant": ("_datetime", "core:DateCustomFieldRef"),
    "choice": ("_listRecord", "core:SelectCustomFieldRef"),
}
#: Most characters of free-form text, where the field states no other number.
FREE_FORM = 300

#: Most characters of standard fields: the vendor's template for importing customers; its SuiteCommerce code, which
#: stops a memo of more than 999 and a line's description of more than 4,000.
LENGTHS = {
    "Customer": {"entityId": 80, "companyName": 83, "comments": 4000, "accountNumber": 99},
    "Address": {"attention": 83, "addressee": 83, "addr1": 150, "addr2": 150},
    **{name: {"memo": 999} for name in ("Invoice", "CreditMemo", "CustomerPayment", "JournalEntry")},
    **{name: {"description": 4000} for name in ("InvoiceItem", "CreditMemoItem")},
}


class Refused(Exception):
    """A record is refused: ``code`` of StatusDetailCodeType and a message; the other records go on."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def missing(label: str) -> Refused:
    return Refused("MISSING_REQD_FLD", f"Please enter value(s) for: {label}")


def too_long(field: str, most: int) -> Refused:
    text = f"The field {field} contained more than the maximum number ( {most} ) of characters allowed."
    return Refused("INVALID_FLD_VALUE", text)


@dataclass(frozen=True)
class CustomField:
    ident: str
    script_id: str
    boxes: frozenset[str] = frozenset()
    type: str = "text"
    length: int | None = None
    words: tuple[str, ...] = ()
    mandatory: bool = False
    locked: bool = False

    def record(self) -> Json:
        """The field as the vendor tells it."""
        return {
            "@type": KINDS[self.script_id.partition("_")[0]],
            "internalId": self.ident,
            "fieldType": TYPES[self.type][0],
            "scriptId": self.script_id,
            "label": self.script_id,
            "selectRecordType": {"internalId": f"list{self.ident}"} if self.words else None,
            "storeValue": True,
            "isMandatory": self.mandatory,
            "maxLength": self.length,
            **dict.fromkeys(self.boxes, True),
            "accessLevel": "_view" if self.locked else "_edit",
        }

    def list(self) -> Json:
        """The custom list of its words."""
        values = [{"value": one, "isInactive": False, "valueId": n} for n, one in enumerate(self.words, 1)]
        name = {"name": f"Values of {self.script_id}", "scriptId": f"customlist{self.ident}", "isInactive": False}
        return {
            "@type": "setup:CustomList", "internalId": f"list{self.ident}", **name,
            "customValueList": {"customValue": values},
        }  # fmt: skip

    def takes(self, given: Json) -> Json:
        """A value as it is kept. Refused when the field does not take it."""
        name, value = self.script_id, given["value"]
        if self.locked:
            reason = "1) The field is read-only"
            text = f"You do not have permissions to set a value for element {name} due to one of the following reasons"
            raise Refused("INSUFFICIENT_PERMISSION", f"{text}: {reason}")
        if given["@type"] != TYPES[self.type][1]:
            raise Refused("INVALID_FLD_VALUE", f"Invalid Field Value {value} for the following field: {name}")
        if self.type == "text" and len(value) > (most := self.length or FREE_FORM):
            raise too_long(name, most)
        if self.type == "choice":
            ident = str(value.get("internalId", ""))
            if not ident.isdecimal() or not 1 <= int(ident) <= len(self.words):
                raise Refused("INVALID_KEY_OR_REF", f"Invalid {name} reference key {ident}.")
            given = {**given, "value": {**value, "name": self.words[int(ident) - 1]}}
        return {**given, "internalId": self.ident}


def is_custom(change: FieldChange) -> bool:
    """Whether a change is of a custom field, and not of the endpoint's types."""
    return change.object in BOXES and change.field.startswith(BOXES[change.object][0])


def custom_fields(changes: Sequence[FieldChange]) -> dict[str, CustomField]:
    """The account's custom fields by script id. Of several objects of one field the last says what it is."""
    fields: dict[str, CustomField] = {}
    for change in filter(is_custom, changes):
        about = fields.get(change.field) or CustomField(str(len(fields) + 1), change.field)
        box = {BOXES[change.object][1]}
        fields[change.field] = replace(
            about,
            boxes=about.boxes - box if change.drop else about.boxes | box,
            type="choice" if change.words else change.type or about.type,
            length=change.length or about.length,
            words=change.words or about.words,
            mandatory=about.mandatory if change.required is None else change.required,
            locked=about.locked if change.locked is None else change.locked,
        )
    return {name: one for name, one in fields.items() if one.boxes}


def records(fields: dict[str, CustomField]) -> Iterator[Json]:
    """Every record of customisation, fields and lists."""
    for one in fields.values():
        yield one.record()
        if one.words:
            yield one.list()


def kind_of(record: Json) -> str:
    """Its record type, as a reference names it."""
    name = str(record["@type"]).partition(":")[2]
    return name[0].lower() + name[1:]


def checked(kind: str, given: Json, known: Json, fields: dict[str, CustomField]) -> Json:
    """A record of a type (``Invoice``) with its custom fields as they are kept. Refused when one does not fit."""
    record = _with_custom(kind, given, known, fields)
    if kind in LINES:
        line, listed, element = LINES[kind]
        if lines := (given.get(listed) or {}).get(element):
            told = [_with_custom(line, one, {}, fields) for one in lines]
            record[listed] = {**given[listed], element: told}
    return record


def _with_custom(kind: str, given: Json, known: Json, fields: dict[str, CustomField]) -> Json:
    if kind not in BOXES:
        return given
    box = BOXES[kind][1]
    kept = {one["scriptId"]: one for one in (known.get("customFieldList") or {}).get("customField", [])}
    for name in (given.get("nullFieldList") or {}).get("name", []):
        kept.pop(name, None)
    for one in (given.get("customFieldList") or {}).get("customField", []):
        name = one.get("scriptId", "")
        if name not in fields or box not in fields[name].boxes:
            raise Refused("INVALID_KEY_OR_REF", f"Invalid scriptId reference key {name}.")
        kept[name] = fields[name].takes(one)
    for one in fields.values():
        if one.mandatory and box in one.boxes and one.script_id not in kept:
            raise missing(one.script_id)
    return {**given, "customFieldList": {"customField": list(kept.values())}} if kept else given


def measure(kind: str, value: Json) -> None:
    """Refused when a text of a standard field is longer than the vendor lets it be; ``kind`` is ``prefix:Name``."""
    most = LENGTHS.get(kind.partition(":")[2], {})
    for field in soap.fields_of(kind):
        item = value.get(field.name)
        for one in item if isinstance(item, list) else [item]:
            if isinstance(one, dict) and field.type in soap.TYPES and not soap.TYPES[field.type].abstract:
                measure(field.type, one)
            elif isinstance(one, str) and len(one) > most.get(field.name, len(one)):
                raise too_long(field.name, most[field.name])
