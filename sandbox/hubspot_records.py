"""The records of the emulated HubSpot account, how they are linked, and what a write must keep to.

A write is first drafted, so that a batch is refused whole before anything of it is kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from sandbox.administration import changed, changes
from sandbox.emulator import Json, Shelf
from sandbox.hubspot_schema import (
    ASSOCIATIONS,
    OBJECTS,
    PROPERTIES,
    REQUIRED,
    REVERSE,
    SHOWN,
    SINGLE,
    STAGES,
    Invalid,
    Property,
    as_changed,
    stamp,
    stored,
)

#: Properties of an object type that may be unique.
MOST_UNIQUE = 10
FIRST_ID = 20_000_000_000


class Refusal(Exception):
    """An error answer: HTTP status, and the fields of HubSpot's error body."""

    def __init__(self, status: int, category: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status, self.category, self.message, self.more = status, category, message, more

    def body(self, correlation: str) -> Json:
        """As the answer of a call."""
        told = {"status": "error", "message": self.message, "correlationId": correlation, "category": self.category}
        return told | self.more

    def part(self) -> Json:
        """As one error of a batch that went through in part."""
        empty: Json = {"context": {}, "links": {}, "errors": []}
        return empty | {"status": "error", "category": self.category, "message": self.message} | self.more


def invalid(message: str, **more: Any) -> Refusal:
    return Refusal(400, "VALIDATION_ERROR", message, **more)


def not_found(message: str = "resource not found", **more: Any) -> Refusal:
    return Refusal(404, "OBJECT_NOT_FOUND", message, **more)


def kind_of(name: str) -> str:
    """The object type of a path: ``deals``, ``deal`` or ``0-3``. Refusal when there is none."""
    for kind, (ident, singular, _) in OBJECTS.items():
        if name.lower() in (kind, ident, singular):
            return kind
    raise invalid(f"Unable to infer object type from: {name}")


@dataclass
class Draft:
    """A record as a write would leave it. ``before`` is None for a new one; ``given`` are the values it sets."""

    kind: str
    record: Json
    before: Json | None
    given: Mapping[str, str]
    trace: str | None = None

    @property
    def changed(self) -> dict[str, str]:
        """Written values that are not what they were."""
        old: Mapping[str, str] = self.before["properties"] if self.before else {}
        return {name: value for name, value in self.given.items() if value != old.get(name, "")}


@dataclass
class Records:
    shelf: Shelf
    claimed: dict[str, str] = field(default_factory=dict)
    """Unique values that drafts of this call would take, to the record that takes them."""

    # -- properties

    def properties(self, kind: str) -> dict[str, Property]:
        made = (one for one in self.shelf.all("_properties") if one["object"] == kind)
        own = {one["name"]: Property(**{**one["as"], "options": tuple(one["as"]["options"])}) for one in made}
        wanted = [change for change in changes(self.shelf) if change.object == kind]
        return changed({**PROPERTIES[kind], **own}, wanted, as_changed)

    def make_property(self, kind: str, body: Json) -> Property:
        missing = [name for name in ("name", "label", "type", "fieldType", "groupName") if not body.get(name)]
        if missing:
            raise invalid(f"Invalid input JSON on line 1, column 1. Some required fields were not set: {missing}")
        if body["type"] not in ("string", "number", "date", "datetime", "enumeration", "bool"):
            raise invalid(f"{body['type']} is not a property type")
        known = self.properties(kind)
        if body["name"] in known:
            raise Refusal(409, "OBJECT_ALREADY_EXISTS", f"A property named '{body['name']}' already exists.")
        unique = bool(body.get("hasUniqueValue", False))
        if unique and sum(one.unique for one in known.values()) >= MOST_UNIQUE:
            raise invalid(f"At most {MOST_UNIQUE} properties of an object can have unique values")
        options = [one["value"] for one in body.get("options", [])]
        made = {
            "name": body["name"],
            "type": body["type"],
            "options": options,
            "unique": unique,
            "label": body["label"],
            "group": body["groupName"],
            "field_type": body["fieldType"],
        }
        self.shelf.keep("_properties", f"{kind}:{body['name']}", {"object": kind, "name": body["name"], "as": made})
        return self.properties(kind)[body["name"]]

    # -- reading

    def get(self, kind: str, ident: str) -> Json | None:
        return self.shelf.get(kind, ident)

    def by_unique(self, kind: str, name: str, value: str) -> Json | None:
        about = self.unique(kind, name)
        try:
            found = self.shelf.get("_unique", f"{kind}:{name}:{stored(about, value)}")
        except Invalid:
            return None
        return self.get(kind, found["id"]) if found else None

    def unique(self, kind: str, name: str) -> Property:
        """The property, when its values tell records apart. Refusal otherwise, for ``hs_object_id`` too."""
        about = self.properties(kind).get(name)
        if about is None or not about.unique:
            raise invalid(f"Unable to perform update/upsert by non-unique {OBJECTS[kind][0]} property {name}")
        return about

    def existing(self, kind: str, ident: str, id_property: str | None = None) -> Json:
        found = self.by_unique(kind, id_property, ident) if id_property else self.get(kind, ident)
        if found is None:
            raise not_found()
        return found

    def shown(self, kind: str, record: Json, asked: Iterable[str] = ()) -> Json:
        """A record as answered: properties asked for that exist (null without a value), and some that always come."""
        known = self.properties(kind)
        always = ("createdate", "hs_object_id", OBJECTS[kind][2])
        names = dict.fromkeys([*(asked or SHOWN[kind]), *always])
        properties = {name: record["properties"].get(name) for name in names if name in known}
        return {**record, "properties": properties}

    # -- writing

    def draft(self, kind: str, before: Json | None, given: Any, trace: str | None = None) -> Draft:
        """What a write of these values would leave. Refusal names every value that does not fit."""
        if not isinstance(given, dict):
            raise invalid("Invalid input JSON on line 1, column 1. Some required fields were not set: [properties]")
        values = self._valid(kind, {name: _text(name, value) for name, value in given.items()})
        if kind == "deals" and before is None:
            values = {"pipeline": "default", "deal_currency_code": "USD", **values}
        if before is None:
            lacking = [name for name in REQUIRED.get(kind, ()) if not values.get(name)]
            if lacking:
                message = f"Error creating {OBJECTS[kind][1].upper()}. Some required properties were not set."
                raise invalid(message, context={"properties": lacking})
        now = stamp(self.shelf.now())
        ident = before["id"] if before else str(FIRST_ID + self.shelf.next("object"))
        old: Json = before["properties"] if before else {"hs_object_id": ident, "createdate": now}
        properties = {name: value for name, value in {**old, **values, OBJECTS[kind][2]: now}.items() if value != ""}
        properties |= self._computed(kind, properties)
        record = {
            "id": ident,
            "properties": properties,
            "createdAt": properties["createdate"],
            "updatedAt": now,
            "archived": False,
        }
        drafted = Draft(kind, record, before, values, trace)
        self._claim(drafted)
        return drafted

    def _valid(self, kind: str, given: Mapping[str, str]) -> dict[str, str]:
        known = self.properties(kind)
        faults: list[Json] = []
        values: dict[str, str] = {}
        for name, value in given.items():
            about = known.get(name)
            try:
                if about is None:
                    raise Invalid(f'Property "{name}" does not exist', "PROPERTY_DOESNT_EXIST")
                if about.calculated:
                    raise Invalid(f'"{name}" is a read only property; its value cannot be set.', "READ_ONLY_VALUE")
                if name == "dealstage" and value:
                    _stage(given.get("pipeline") or "default", value)
                values[name] = stored(about, value) if value != "" else ""
            except Invalid as fault:
                faults.append({"isValid": False, "message": fault.message, "error": fault.code, "name": name})
        if faults:
            raise invalid(
                f"Property values were not valid: {json.dumps(faults)}",
                errors=[
                    {"message": one["message"], "code": one["error"], "context": {"propertyName": [one["name"]]}}
                    for one in faults
                ],
            )
        return values

    def _computed(self, kind: str, properties: Mapping[str, str]) -> dict[str, str]:
        match kind:
            case "deals":
                chance = {stage: chance for stage, _, chance in STAGES["default"]}.get(
                    properties.get("dealstage", ""), ""
                )
                return {
                    "hs_is_closed": str(chance in ("1.0", "0.0")).lower(),
                    "hs_is_closed_won": str(chance == "1.0").lower(),
                }
            case "contacts":
                names = " ".join(properties[name] for name in ("firstname", "lastname") if name in properties)
                return {"hs_full_name_or_email": names or properties.get("email", "")}
            case "line_items":
                return self._line(properties)
        return {}

    def _line(self, properties: Mapping[str, str]) -> dict[str, str]:
        """What a line takes from its product when it says nothing itself, and its net price."""
        product = self.get("products", properties["hs_product_id"]) if "hs_product_id" in properties else None
        if "hs_product_id" in properties and product is None:
            raise invalid(f"Product {properties['hs_product_id']} does not exist")
        taken = {
            name: value
            for name, value in (product or {"properties": {}})["properties"].items()
            if name in ("name", "description", "price", "hs_sku") and name not in properties
        }
        line = {**taken, **properties}
        number = {name: Decimal(line.get(name) or 0) for name in ("quantity", "price", "discount")}
        whole = number["quantity"] * (number["price"] - number["discount"])
        off = Decimal(line.get("hs_discount_percentage") or 0) / 100
        return {**taken, "amount": format(whole - whole * off, "f")}

    def _claim(self, drafted: Draft) -> None:
        """Unique values are taken by one record at most, over what is kept and what this call drafts."""
        for name, about in self.properties(drafted.kind).items():
            value = drafted.record["properties"].get(name)
            if not about.unique or value is None:
                continue
            key = f"{drafted.kind}:{name}:{value}"
            holder = self.claimed.get(key) or (self.shelf.get("_unique", key) or {}).get("id")
            if holder not in (None, drafted.record["id"]):
                if name == "email" and drafted.before is None:
                    raise Refusal(409, "CONFLICT", f"Contact already exists. Existing ID: {holder}")
                singular = OBJECTS[drafted.kind][1].upper()
                raise invalid(
                    f"Cannot set PropertyValueCoordinates{{portalId=1, objectTypeId=ObjectTypeId"
                    f"{{legacyObjectType={singular}}}, propertyName={name}, value={value}}} on "
                    f"{drafted.record['id']}. {holder} already has that value.",
                    subCategory="UNIQUE_VALUE_CONFLICT",
                )
            self.claimed[key] = drafted.record["id"]

    def keep(self, drafted: Draft) -> Json:
        old = drafted.before["properties"] if drafted.before else {}
        new, ident = drafted.record["properties"], drafted.record["id"]
        for name, about in self.properties(drafted.kind).items():
            if about.unique and old.get(name) != new.get(name):
                if name in old:
                    self.shelf.drop("_unique", f"{drafted.kind}:{name}:{old[name]}")
                if name in new:
                    self.shelf.keep("_unique", f"{drafted.kind}:{name}:{new[name]}", {"id": ident})
        self.shelf.keep(drafted.kind, ident, drafted.record)
        return drafted.record

    def archive(self, kind: str, record: Json) -> None:
        for here, there in ASSOCIATIONS:
            if here == kind:
                for other in self.links(kind, record["id"], there):
                    self.unlink(kind, record["id"], there, other)
        for name, about in self.properties(kind).items():
            if about.unique and name in record["properties"]:
                self.shelf.drop("_unique", f"{kind}:{name}:{record['properties'][name]}")
        self.shelf.drop(kind, record["id"])
        now = stamp(self.shelf.now())
        self.shelf.keep(f"_archived_{kind}", record["id"], {**record, "archived": True, "archivedAt": now})

    # -- associations

    def links(self, kind: str, ident: str, there: str) -> dict[str, list[int]]:
        """The associated records of an object type, each with the ids of its association types."""
        return dict(self.shelf.get("_associations", f"{kind}:{ident}:{there}") or {})

    def link(self, kind: str, ident: str, there: str, other: str, types: Sequence[int]) -> None:
        for one, name in ((kind, ident), (there, other)):
            if self.get(one, name) is None:
                raise not_found(f"{OBJECTS[one][1].upper()}={name} is not valid")
        known = [number for number, _ in ASSOCIATIONS.get((kind, there), ())]
        unknown = [number for number in types if number not in known]
        if unknown or not known:
            raise invalid(f"No association type {unknown} from {kind} to {there}")
        wanted = {*types} if kind == there else {*types, known[0]}
        reverse = {REVERSE[number] for number in wanted}
        for number in wanted & SINGLE:
            self._only(kind, ident, there, other, number)
        for number in reverse & SINGLE:
            self._only(there, other, kind, ident, number)
        self._set(kind, ident, there, other, wanted)
        self._set(there, other, kind, ident, reverse)
        for child, parent, numbers in ((ident, other, wanted), (other, ident, reverse)):
            if 14 in numbers:
                record = self.existing("companies", child)
                record["properties"]["hs_parent_company_id"] = parent
                self.shelf.keep("companies", child, record)

    def _only(self, kind: str, ident: str, there: str, other: str, number: int) -> None:
        """A primary company gives way to the new one; a second parent company is refused."""
        for held, numbers in self.links(kind, ident, there).items():
            if held != other and number in numbers:
                if number == 14:
                    raise invalid(f"Company {ident} already has a parent company", context={"id": [ident]})
                self._set(kind, ident, there, held, set(numbers) - {number}, replace=True)
                mirrored = set(self.links(there, held, kind).get(ident, ())) - {REVERSE[number]}
                self._set(there, held, kind, ident, mirrored, replace=True)

    def _set(self, kind: str, ident: str, there: str, other: str, numbers: set[int], *, replace: bool = False) -> None:
        held = self.links(kind, ident, there)
        kept = set() if replace else set(held.get(other, ()))
        held[other] = sorted(kept | numbers)
        self.shelf.keep("_associations", f"{kind}:{ident}:{there}", held)

    def unlink(self, kind: str, ident: str, there: str, other: str) -> None:
        for here, name, far, gone in ((kind, ident, there, other), (there, other, kind, ident)):
            held = self.links(here, name, far)
            held.pop(gone, None)
            self.shelf.keep("_associations", f"{here}:{name}:{far}", held)


def _text(name: str, value: Any) -> str:
    """JSON numbers and booleans are taken as their text, null as no value."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case str() | int():
            return str(value)
        case Decimal():
            return format(value, "f")
    raise invalid(
        f"Invalid input JSON on line 1, column 1: Cannot deserialize value of type `java.lang.String` ({name})"
    )


def _stage(pipeline: str, stage: str) -> None:
    valid = [ident for ident, *_ in STAGES.get(pipeline, ())]
    if stage not in valid:
        options = f"pipelineId={pipeline} : [{', '.join(valid)}]"
        raise Invalid(f"{stage} is not a valid pipeline stage ID. Valid options are: {options}", "INVALID_OPTION")
