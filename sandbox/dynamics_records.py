"""How the emulated Dataverse environment keeps rows: values, alternate keys, states, prices, and one request's work.

Codes and messages are the vendor's where its documents name them (Web API error pages and the table of service error
codes, read 2026-11). Rules of Dynamics 365 Sales that the documents state without a code answer ``0x80040265``, the
code of a business rule that stopped a request. Amounts are rounded half up to two places, the default pricing
precision; which way the vendor rounds a half is not published.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from sandbox.dynamics_schema import LINES, PARENTS, TABLES, Column, Table, table_of_set
from sandbox.emulator import Json, Shelf

Record = dict[str, Any]

GUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
API = "/api/data/v9.2"
#: Digits of an amount (the organization's pricing precision).
CENTS = Decimal("0.01")
NOTHING = Decimal(0)


class Refusal(Exception):
    """An answer other than success: an HTTP status, the vendor's code and message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message

    @property
    def body(self) -> Json:
        return {"error": {"code": self.code, "message": self.message}}


def bad(code: str, message: str) -> Refusal:
    return Refusal(400, code, message)


def forbidden(message: str) -> Refusal:
    """A rule of the application said no."""
    return bad("0x80040265", message)


def payload_error(table: Table, message: str) -> Refusal:
    return bad(
        "0x80048d19",
        f"Error identified in Payload provided by the user for Entity :'{table.set}', For more information on this"
        " error please follow this help link https://go.microsoft.com/fwlink/?linkid=2195293  ---->  InnerException :"
        f" Microsoft.OData.ODataException: {message}",
    )


def no_such_row(table: Table, ident: str) -> Refusal:
    return Refusal(404, "0x80040217", f"{table.name} With Id = {ident} Does Not Exist")


def make_guid(count: int) -> str:
    """The ``count``-th id the environment gives; as with the vendor's, ids tell nothing of their table."""
    return f"{count:08x}-2c1e-f111-8341-6045bd0a7e52"


CURRENCY_ID, UNIT_GROUP_ID, UNIT_ID, USER_ID = (make_guid(number) for number in range(1, 5))
#: Rows that every environment has, by table: the base currency, the default unit, the application user.
STANDING: Mapping[str, Record] = {
    "transactioncurrency": {
        "transactioncurrencyid": CURRENCY_ID,
        "currencyname": "US Dollar",
        "isocurrencycode": "USD",
        "currencysymbol": "$",
        "currencyprecision": 2,
        "exchangerate": Decimal(1),
        "statecode": 0,
        "statuscode": 1,
    },
    "uomschedule": {"uomscheduleid": UNIT_GROUP_ID, "name": "Default Unit", "baseuomname": "Primary Unit"},
    "uom": {
        "uomid": UNIT_ID,
        "name": "Primary Unit",
        "quantity": Decimal(1),
        "_uomscheduleid_value": UNIT_GROUP_ID,
        "isschedulebaseuom": True,
    },
    "systemuser": {"systemuserid": USER_ID, "fullname": "# Tieout", "internalemailaddress": "tieout@northwind.example"},
}


def stamp(now: datetime) -> str:
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def comparable(value: Any) -> Any:
    """As the environment compares: text without letter case."""
    return value.casefold() if isinstance(value, str) else value


class Work:
    """The rows as one request sees them: its own writes on top, kept all at once when it succeeds."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.changed: dict[tuple[str, str], Record | None] = {}
        self.messages: list[tuple[str, str, str]] = []
        """(message, table, id) of what happened, for the steps that listen."""
        self._kinds: dict[str, dict[str, Record]] = {}
        self._index: dict[tuple[str, str], dict[Any, list[str]]] = {}

    def kind(self, table: str) -> dict[str, Record]:
        if table not in self._kinds:
            key = TABLES[table].key
            rows = {row[key]: row for row in self.shelf.all(table)}
            for (kind, ident), row in self.changed.items():
                if kind == table:
                    if row is None:
                        rows.pop(ident, None)
                    else:
                        rows[ident] = row
            self._kinds[table] = rows
        return self._kinds[table]

    def all(self, table: str) -> list[Record]:
        return list(self.kind(table).values())

    def get(self, table: str, ident: str) -> Record | None:
        if table in self._kinds:
            return self._kinds[table].get(ident)
        if (table, ident) in self.changed:
            return self.changed[table, ident]
        return self.shelf.get(table, ident)

    def by(self, table: str, field: str, value: Any) -> list[Record]:
        """Rows whose field has that value."""
        rows = self.kind(table)
        if (table, field) not in self._index:
            index: dict[Any, list[str]] = {}
            for ident, row in rows.items():
                index.setdefault(comparable(row.get(field)), []).append(ident)
            self._index[table, field] = index
        return [rows[ident] for ident in self._index[table, field].get(comparable(value), ())]

    def put(self, table: Table, row: Record) -> None:
        """Keeps a row under a new version."""
        ident = row[table.key]
        row["versionnumber"] = self.shelf.next("version")
        row["modifiedon"] = stamp(self.shelf.now())
        self._replace(table.name, ident, row)

    def drop(self, table: Table, ident: str) -> None:
        self._replace(table.name, ident, None)
        gone = {"table": table.name, "id": ident, "version": self.shelf.next("version")}
        self.changed["_deleted", f"{table.name}:{ident}"] = gone

    def _replace(self, table: str, ident: str, row: Record | None) -> None:
        before = self.get(table, ident)
        for (kind, field), index in self._index.items():
            if kind == table:
                if before is not None:
                    index[comparable(before.get(field))].remove(ident)
                if row is not None:
                    index.setdefault(comparable(row.get(field)), []).append(ident)
        self.changed[table, ident] = row
        if table in self._kinds:
            if row is None:
                self._kinds[table].pop(ident, None)
            else:
                self._kinds[table][ident] = row

    def mark(self) -> tuple[dict[tuple[str, str], Record | None], int]:
        return dict(self.changed), len(self.messages)

    def back_to(self, mark: tuple[dict[tuple[str, str], Record | None], int]) -> None:
        self.changed = dict(mark[0])
        del self.messages[mark[1] :]
        self._kinds.clear()
        self._index.clear()

    def commit(self) -> None:
        for (table, ident), row in self.changed.items():
            if row is None:
                self.shelf.drop(table, ident)
            else:
                self.shelf.keep(table, ident, row)


# -- references --------------------------------------------------------------------------------------------------------


def key_values(table: Table, inside: str) -> dict[str, Any] | str:
    """What stands between the brackets of an address: a GUID, or an alternate key's fields and values."""
    if GUID.fullmatch(inside):
        return inside.lower()
    found: dict[str, Any] = {}
    rest = inside
    while rest:
        match = re.match(r"\s*(\w+)=(?:'((?:[^']|'')*)'|([^,']+))\s*(?:,|$)", rest)
        if not match:
            raise bad("0x80060888", f"Bad Request - Error in query syntax: '{inside}'.")
        if match[3] is None:
            value: Any = match[2].replace("''", "'")
        else:
            value = int(match[3]) if re.fullmatch(r"-?\d+", match[3]) else match[3].lower()
        found[match[1]] = value
        rest = rest[match.end() :]
    if found.keys() == {table.key}:
        return str(found[table.key])
    fields = {tuple(_field(table, name) for name in names) for names in table.keys.values()}
    if tuple(sorted(found)) not in {tuple(sorted(names)) for names in fields}:
        raise bad("0x80060888", f"The key property '{next(iter(found), '')}' is not a key of '{table.name}'.")
    return found


def _field(table: Table, column: str) -> str:
    return table.columns[column].field


def by_key(work: Work, table: Table, key: Mapping[str, Any]) -> Record | None:
    (field, value), *others = key.items()
    for row in work.by(table.name, field, value):
        if all(comparable(row.get(name)) == comparable(wanted) for name, wanted in others):
            return row
    return None


def find(work: Work, table: Table, key: dict[str, Any] | str) -> Record | None:
    return work.get(table.name, key) if isinstance(key, str) else by_key(work, table, key)


def required_row(work: Work, table: Table, key: dict[str, Any] | str) -> Record:
    row = find(work, table, key)
    if row is not None:
        return row
    if isinstance(key, str):
        raise no_such_row(table, key)
    raise Refusal(404, "0x80060891", f"A record with the specified key values does not exist in {table.name} entity")


def resolve(work: Work, target: str, reference: Any, content_ids: Mapping[str, str]) -> str:
    """The id behind an ``@odata.bind`` value that must lead to ``target``."""
    if not isinstance(reference, str):
        raise bad("0x80060888", "The value of an odata.bind property must be a URI.")
    reference = content_ids.get(reference, reference)
    match = re.fullmatch(r"(?:https?://[^/]+)?(?:/api/data/v9\.\d)?/?(\w+)\((.*)\)", reference)
    table = table_of_set(match[1]) if match else None
    if match is None or table is None:
        raise Refusal(404, "0x8006088a", f"Resource not found for the segment '{reference}'.")
    if table.name != target:
        raise bad("0x80048d19", f"A link to '{table.name}' was given where '{target}' is expected.")
    return str(required_row(work, table, key_values(table, match[2]))[table.key])


# -- values ------------------------------------------------------------------------------------------------------------

EDM = {
    "text": "Edm.String",
    "memo": "Edm.String",
    "int": "Edm.Int32",
    "choice": "Edm.Int32",
    "bigint": "Edm.Int64",
    "decimal": "Edm.Decimal",
    "money": "Edm.Decimal",
    "bool": "Edm.Boolean",
    "instant": "Edm.DateTimeOffset",
    "day": "Edm.Date",
    "guid": "Edm.Guid",
    "lookup": "Edm.Guid",
}


def value_of(table: Table, column: Column, value: Any) -> Any:
    """A value as the environment keeps it. Refusal when the column cannot hold it."""
    if value is None:
        return None
    wrong = payload_error(table, f"Cannot convert the literal '{value}' to the expected type '{EDM[column.kind]}'.")
    match column.kind:
        case "text" | "memo":
            if not isinstance(value, str):
                raise wrong
            if len(value) > column.length:
                raise bad(
                    "0x80044331",
                    f"A validation error occurred.  The length of the '{column.name}' attribute of the '{table.name}'"
                    f" entity exceeded the maximum allowed length of '{column.length}'.",
                )
            return value or None
        case "bool":
            if not isinstance(value, bool):
                raise wrong
            return value
        case "int" | "choice":
            if isinstance(value, bool) or not isinstance(value, int):
                raise wrong
            if column.kind == "choice" and value not in column.choices:
                accepted = ",".join(map(str, column.choices))
                raise bad(
                    "0x8004431a",
                    f"A validation error occurred. The value {value} of '{column.name}' on record of type"
                    f" '{table.name}' is outside the valid range. Accepted Values: {accepted}",
                )
            return _in_range(table, column, value, "0x8004432f")
        case "decimal" | "money":
            if isinstance(value, bool) or not isinstance(value, int | Decimal):
                raise wrong
            exact = Decimal(value).quantize(Decimal(1).scaleb(-column.places), rounding=ROUND_HALF_UP)
            return _in_range(table, column, exact, "0x80044330")
        case "day":
            try:
                return date.fromisoformat(value).isoformat() if re.fullmatch(r"\d{4}-\d\d-\d\d", value) else _no(wrong)
            except (TypeError, ValueError):
                raise wrong from None
        case "instant":
            try:
                moment = datetime.fromisoformat(value)
            except (TypeError, ValueError):
                raise wrong from None
            return stamp(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
        case _:
            if not isinstance(value, str) or not GUID.fullmatch(value):
                raise wrong
            return value.lower()


def _no(refusal: Refusal) -> Any:
    raise refusal


def _in_range(table: Table, column: Column, value: Any, code: str) -> Any:
    if (column.low is not None and value < column.low) or (column.high is not None and value > column.high):
        raise bad(
            code,
            f"A validation error occurred.  The value of '{column.name}' on record of type '{table.name}'"
            " is outside the valid range.",
        )
    return value


# -- writes ------------------------------------------------------------------------------------------------------------


def _given(work: Work, table: Table, body: Any, content_ids: Mapping[str, str]) -> tuple[Record, dict[str, list[Json]]]:
    """The fields of a request as rows keep them, and the children to be made with it."""
    if not isinstance(body, dict):
        raise payload_error(table, "A node of type 'StartObject' was expected when reading a resource.")
    given: Record = {}
    children: dict[str, list[Json]] = {}
    for name, value in body.items():
        bare, _, annotation = name.partition("@")
        if annotation == "odata.bind":
            led = table.navigation(bare)
            if led is None:
                raise payload_error(
                    table,
                    f"An undeclared property '{bare}' which only has property annotations in the payload but no"
                    " property value was found in the payload.",
                )
            column, target = led
            given[column.field] = None if value is None else resolve(work, target, value, content_ids)
            given[f"@{column.name}"] = None if value is None else target
        elif annotation:
            continue
        elif bare in table.children and isinstance(value, list):
            children[bare] = value
        elif bare.startswith("_") and table.by_field(bare):
            raise payload_error(
                table,
                f"CRM do not support direct update of Entity Reference properties, Use Navigation properties instead:"
                f" '{bare}'.",
            )
        else:
            found = table.columns.get(bare)
            if found is None or found.kind == "lookup":
                raise payload_error(
                    table,
                    f"The property '{bare}' does not exist on type 'Microsoft.Dynamics.CRM.{table.name}'. Make sure to"
                    " only use property names that are defined by the type or mark the type as open type.",
                )
            kept = value_of(table, found, value)
            if found.written:
                given[bare] = kept
    return given, children


def create(
    work: Work, table: Table, body: Any, content_ids: Mapping[str, str] | None = None, ident: str | None = None
) -> Record:
    """Makes a row, and the children that the request nests in it."""
    given, children = _given(work, table, body, content_ids or {})
    ident = ident or given.get(table.key) or make_guid(work.shelf.next("guid") + 100)
    if work.get(table.name, ident) is not None:
        raise Refusal(412, "0x80040237", "A record with matching key values already exists.")
    row: Record = {column.field: column.default for column in table.columns.values()}
    if table.states:
        state = next(iter(table.states))
        row |= {"statecode": state, "statuscode": table.states[state][0]}
    row |= {table.key: ident, "createdon": stamp(work.shelf.now())}
    row |= {"_createdby_value": USER_ID, "_modifiedby_value": USER_ID}
    asked = {name: given.pop(name) for name in ("statecode", "statuscode") if name in given}
    row |= given | {table.key: ident}
    _complete(work, table, row)
    _keep(work, table, row, None)
    work.messages.append(("Create", table.name, ident))
    for name, bodies in children.items():
        child, back = table.children[name]
        for one in bodies:
            if not isinstance(one, dict):
                raise payload_error(TABLES[child], "A node of type 'StartObject' was expected.")
            _create_child(work, TABLES[child], one, back, table, ident, content_ids or {})
    return update(work, table, ident, asked) if asked else required_row(work, table, ident)


def _create_child(
    work: Work, child: Table, body: Json, back: str, parent: Table, ident: str, content_ids: Mapping[str, str]
) -> None:
    navigation = next(nav for nav, target in child.columns[back].targets.items() if target == parent.name)
    create(work, child, body | {f"{navigation}@odata.bind": f"/{parent.set}({ident})"}, content_ids)


def update(work: Work, table: Table, ident: str, body: Any, content_ids: Mapping[str, str] | None = None) -> Record:
    """Changes the fields that the request names."""
    before = required_row(work, table, ident)
    given, children = _given(work, table, body, content_ids or {})
    if children:
        raise bad("0x80060888", "Deep insert is not supported with the update of a row.")
    if given.pop(table.key, ident) != ident:
        raise bad("0x80060888", "The key in the body is not the one in the address.")
    if table.name == "quote" and before["statecode"] != 0 and given.keys() - {"statecode", "statuscode"}:
        raise forbidden("You cannot edit this quote, because it is not a draft. Revise it first.")
    row = before | given
    if "statecode" in given or "statuscode" in given:
        _change_state(table, row, before, given)
    _keep(work, table, row, before)
    work.messages.append(("Update", table.name, ident))
    return required_row(work, table, ident)


def delete(work: Work, table: Table, ident: str) -> None:
    """Removes a row and its lines. Refusal while another row refers to it."""
    row = required_row(work, table, ident)
    line = LINES.get(table.name)
    for other in TABLES.values():
        for column in other.columns.values():
            refers = table.name in column.targets.values() and column.written and (other.name, column.name) != line
            if refers and work.by(other.name, column.field, ident):
                raise bad(
                    "0x80040227",
                    f"The {table.name} cannot be deleted because it is associated with another record.",
                )
    if line:
        for child in list(work.by(line[0], f"_{line[1]}_value", ident)):
            work.drop(TABLES[line[0]], child[TABLES[line[0]].key])
    parent = PARENTS.get(table.name)
    work.drop(table, ident)
    work.messages.append(("Delete", table.name, ident))
    if parent:
        _total(work, TABLES[parent], str(row[f"_{parent}id_value"]))


#: States that a plain update may set, where actions are meant to set the others.
BY_UPDATE: Mapping[str, frozenset[int]] = {"quote": frozenset({0, 1}), "salesorder": frozenset({0, 1})}


def _change_state(table: Table, row: Record, before: Record, given: Record) -> None:
    invalid = bad(
        "0x80048408",
        f"{row['statuscode']} is not a valid status code for state code {row['statecode']} on {table.name} with Id"
        f" {row[table.key]}.",
    )
    if not table.states or row["statuscode"] not in table.states.get(row["statecode"], ()):
        raise invalid
    if "statuscode" not in given:
        raise invalid
    allowed = BY_UPDATE.get(table.name)
    if allowed and row["statecode"] != before["statecode"] and not {row["statecode"], before["statecode"]} <= allowed:
        raise forbidden(f"The state of a {table.name} cannot be set from {before['statecode']} to {row['statecode']}.")


def set_state(work: Work, table: Table, row: Record, state: int, status: int) -> None:
    """What an action does: no rule of plain updates applies."""
    if status == -1:
        status = table.states[state][0]
    if status not in table.states[state]:
        raise bad("0x80048408", f"{status} is not a valid status code for state code {state} on {table.name}.")
    work.put(table, row | {"statecode": state, "statuscode": status})
    work.messages.append(("Update", table.name, row[table.key]))


NUMBERS: Mapping[str, tuple[str, str]] = {
    "quote": ("quotenumber", "QUO"),
    "salesorder": ("ordernumber", "ORD"),
    "invoice": ("invoicenumber", "INV"),
}


def _complete(work: Work, table: Table, row: Record) -> None:
    """What the server fills in on create."""
    if table.name in NUMBERS:
        field, prefix = NUMBERS[table.name]
        if row.get(field) is None:
            count = work.shelf.next(field)
            row[field] = f"{prefix}-{count + 999:05}-{count * 7919 % 46656:04X}"
    if "transactioncurrencyid" in table.columns and row.get("_transactioncurrencyid_value") is None:
        parent = PARENTS.get(table.name)
        above = work.get(parent, row.get(f"_{parent}id_value") or "") if parent else None
        listed = work.get("pricelevel", row.get("_pricelevelid_value") or "")
        source = above or listed or {}
        row["_transactioncurrencyid_value"] = source.get("_transactioncurrencyid_value", CURRENCY_ID)
    if table.name == "productpricelevel":
        product = work.get("product", row.get("_productid_value") or "")
        row["productnumber"] = product["productnumber"] if product else None


def _keep(work: Work, table: Table, row: Record, before: Record | None) -> None:
    """Checks a whole row and keeps it; a document's amounts follow its lines."""
    missing = [c.name for c in table.columns.values() if c.required and row.get(c.field) is None]
    if missing:
        raise bad("0x80040203", f"The required attribute '{missing[0]}' of the '{table.name}' entity is missing.")
    if table.name == "contact":
        row["fullname"] = " ".join(filter(None, (row["firstname"], row["lastname"]))) or None
    RULES.get(table.name, _no_rule)(work, table, row)
    for name, columns in table.keys.items():
        fields = {c: row.get(_field(table, c)) for c in columns}
        if None not in fields.values():
            twin = by_key(work, table, {_field(table, c): value for c, value in fields.items()})
            if twin is not None and twin[table.key] != row[table.key]:
                raise Refusal(
                    412,
                    "0x80060892",
                    f"Entity Key {name} violated. A record with the same value for {', '.join(columns)} already exists."
                    " A duplicate record cannot be created. Select one or more unique values and try again.",
                )
    work.put(table, row)
    if table.name in LINES and before is not None:
        _total(work, table, row[table.key])
    parent = PARENTS.get(table.name)
    if parent:
        _total(work, TABLES[parent], row[f"_{parent}id_value"])


Rule = Callable[[Work, Table, Record], None]


def _no_rule(_work: Work, _table: Table, _row: Record) -> None:
    return


def _document_rule(work: Work, table: Table, row: Record) -> None:
    """A price list of another currency cannot price a document."""
    listed = work.get("pricelevel", row["_pricelevelid_value"] or "")
    if listed and listed["_transactioncurrencyid_value"] != row["_transactioncurrencyid_value"]:
        raise forbidden(f"The currency of the {table.name} does not match the currency of the price list.")


def _line_rule(work: Work, table: Table, row: Record) -> None:
    """A line has a product in stock of the price list, or is written in by hand; the server computes its amounts."""
    parent = PARENTS[table.name]
    document = required_row(work, TABLES[parent], row[f"_{parent}id_value"])
    if document["statecode"] != 0:
        raise forbidden(f"Lines can only be changed while the {parent} is open for editing.")
    if row["isproductoverridden"]:
        if row["_productid_value"] or not row["productdescription"]:
            raise forbidden("A write-in product has a description and no existing product.")
        row["productname"] = row["productdescription"]
    else:
        _price_from_list(work, document, row)
    if row["priceperunit"] is None:
        row["pricingerrorcode"] = row["pricingerrorcode"] or 5
        row |= {"baseamount": None, "extendedamount": None}
        return
    base = (row["quantity"] * row["priceperunit"]).quantize(CENTS, rounding=ROUND_HALF_UP)
    row["baseamount"] = base
    row["extendedamount"] = base - (row["manualdiscountamount"] or NOTHING) + (row["tax"] or NOTHING)


def _price_from_list(work: Work, document: Record, row: Record) -> None:
    product = work.get("product", row["_productid_value"] or "")
    if product is None or row["_uomid_value"] is None:
        raise forbidden("You must select a product and a unit, or write the product in.")
    if product["statecode"] != 0:
        raise forbidden(f"The product {product['productnumber']} is not active. Publish it first.")
    row["productname"] = product["name"]
    if row["ispriceoverridden"]:
        return
    prices = [
        price["amount"]
        for price in work.by("productpricelevel", "_productid_value", row["_productid_value"])
        if price["_pricelevelid_value"] == document["_pricelevelid_value"]
        and price["_uomid_value"] == row["_uomid_value"]
    ]
    row["priceperunit"] = prices[0] if prices else None
    row["pricingerrorcode"] = 0 if prices else (2 if document["_pricelevelid_value"] is None else 11)


def _total(work: Work, table: Table, ident: str) -> None:
    """Adds a document's lines up."""
    document = work.get(table.name, ident)
    if document is None:
        return
    lines = work.by(LINES[table.name][0], f"_{LINES[table.name][1]}_value", ident)

    def added(name: str) -> Decimal:
        return sum((line[name] or NOTHING for line in lines), NOTHING).quantize(CENTS)

    gross, own = added("baseamount"), added("manualdiscountamount")
    net = gross - own
    share = (net * (document["discountpercentage"] or NOTHING) / 100).quantize(CENTS, rounding=ROUND_HALF_UP)
    off = share + (document["discountamount"] or NOTHING)
    work.put(
        table,
        document
        | {
            "totallineitemamount": net,
            "totallineitemdiscountamount": own,
            "totaldiscountamount": off + own,
            "totalamountlessfreight": net - off,
            "totaltax": added("tax"),
            "totalamount": net - off + (document["freightamount"] or NOTHING) + added("tax"),
            "pricingerrorcode": 1 if any(line["pricingerrorcode"] for line in lines) else 0,
        },
    )


RULES: Mapping[str, Rule] = {
    **dict.fromkeys(LINES, _document_rule),
    **dict.fromkeys(PARENTS, _line_rule),
}


# -- actions -----------------------------------------------------------------------------------------------------------


def _closing(work: Work, body: Any, name: str, navigation: str, table: Table) -> Record:
    """The document that the closing activity in a request names; the activity is kept."""
    close = body.get(name) if isinstance(body, dict) else None
    if not isinstance(close, dict) or f"{navigation}@odata.bind" not in close:
        raise bad("0x80060888", f"Required parameter '{name}' with '{navigation}@odata.bind' is missing.")
    ident = resolve(work, table.name, close[f"{navigation}@odata.bind"], {})
    if table.name == "quote":
        row = create(work, TABLES["quoteclose"], close)
        set_state(work, TABLES["quoteclose"], row, 1, -1)
    return required_row(work, table, ident)


def _status(body: Json) -> int:
    status = body.get("Status", -1)
    if isinstance(status, bool) or not isinstance(status, int):
        raise bad("0x80060888", "The parameter 'Status' is not an Edm.Int32.")
    return status


def win_quote(work: Work, body: Json) -> None:
    """An active quote becomes won."""
    quote = _closing(work, body, "QuoteClose", "quoteid", TABLES["quote"])
    if quote["statecode"] != 1:
        raise forbidden("The quote cannot be won, because it is not active.")
    set_state(work, TABLES["quote"], quote | {"closedon": stamp(work.shelf.now())}, 2, _status(body))


def close_quote(work: Work, body: Json) -> None:
    """An active quote is lost or withdrawn."""
    quote = _closing(work, body, "QuoteClose", "quoteid", TABLES["quote"])
    if quote["statecode"] != 1:
        raise forbidden("The quote cannot be closed, because it is not active.")
    set_state(work, TABLES["quote"], quote | {"closedon": stamp(work.shelf.now())}, 3, _status(body))


def cancel_order(work: Work, body: Json) -> None:
    order = _closing(work, body, "OrderClose", "salesorderid", TABLES["salesorder"])
    if order["statecode"] not in (0, 1):
        raise forbidden("The order cannot be canceled, because it is not active.")
    set_state(work, TABLES["salesorder"], order, 2, _status(body))


def fulfill_order(work: Work, body: Json) -> None:
    order = _closing(work, body, "OrderClose", "salesorderid", TABLES["salesorder"])
    if order["statecode"] not in (0, 1):
        raise forbidden("The order cannot be fulfilled, because it is not active.")
    set_state(work, TABLES["salesorder"], order, 3, _status(body))


def _converted(work: Work, source: Record, of: str, to: str, back: Mapping[str, str]) -> Record:
    """A document of ``to`` with the columns of like name of ``source`` (set-up maps custom ones so), lines included.

    ``back``: fields of the new document and of its lines that name what they came from.
    """
    from_line, to_line = TABLES[LINES[of][0]], TABLES[LINES[to][0]]
    document = create(work, TABLES[to], _copied(TABLES[of], TABLES[to], source))
    ident = document[TABLES[to].key]
    work.put(TABLES[to], document | {back["document"]: source[TABLES[of].key]})
    for line in work.by(from_line.name, f"_{of}id_value", source[TABLES[of].key]):
        body = _copied(from_line, to_line, line) | {"priceperunit": line["priceperunit"], "ispriceoverridden": True}
        made = create(work, to_line, body | {f"{to}id@odata.bind": f"/{TABLES[to].set}({ident})"})
        kept = {"ispriceoverridden": line["ispriceoverridden"], back["line"]: line[from_line.key]}
        work.put(to_line, made | kept)
    return required_row(work, TABLES[to], ident)


NOT_COPIED = frozenset({"statecode", "statuscode", "quotenumber", "ordernumber", "invoicenumber"})


def _copied(source: Table, target: Table, row: Record) -> Json:
    body: Json = {}
    for column in target.columns.values():
        twin = source.columns.get(column.name)
        if twin is None or not column.written or column.kind == "guid" or column.name in NOT_COPIED:
            continue
        value = row.get(twin.field)
        if value is None:
            continue
        if column.kind != "lookup":
            body[column.name] = value
            continue
        kind = row.get(f"@{column.name}") or next(iter(column.targets.values()))
        navigation = next(nav for nav, to in column.targets.items() if to == kind)
        body[f"{navigation}@odata.bind"] = f"/{TABLES[kind].set}({value})"
    return body


def convert_quote(work: Work, body: Json) -> Record:
    """A sales order with the lines of an active or won quote; an active quote is won by it."""
    quote = required_row(work, TABLES["quote"], str(body.get("QuoteId", "")).lower())
    if quote["statecode"] not in (1, 2):
        raise forbidden("The quote cannot be converted to an order, because it is neither active nor won.")
    if quote["statecode"] == 1:
        set_state(work, TABLES["quote"], quote, 2, int(body.get("QuoteCloseStatus", -1)))
    back = {"document": "_quoteid_value", "line": "_quotedetailid_value"}
    return _converted(work, quote, "quote", "salesorder", back)


def convert_order(work: Work, body: Json) -> Record:
    """An invoice with the lines of a sales order."""
    order = required_row(work, TABLES["salesorder"], str(body.get("SalesOrderId", "")).lower())
    if order["statecode"] == 2:
        raise forbidden("A canceled order cannot be invoiced.")
    back = {"document": "_salesorderid_value", "line": "_salesorderdetailid_value"}
    invoice = _converted(work, order, "salesorder", "invoice", back)
    set_state(work, TABLES["salesorder"], required_row(work, TABLES["salesorder"], order["salesorderid"]), 4, -1)
    return invoice


#: Unbound actions; those that give a row return it, with its table.
ACTIONS: Mapping[str, tuple[Callable[[Work, Json], Record | None], str]] = {
    "WinQuote": (win_quote, ""),
    "CloseQuote": (close_quote, ""),
    "ConvertQuoteToSalesOrder": (convert_quote, "salesorder"),
    "ConvertSalesOrderToInvoice": (convert_order, "invoice"),
    "CancelSalesOrder": (cancel_order, ""),
    "FulfillSalesOrder": (fulfill_order, ""),
}


def visible(table: Table, row: Record, names: Sequence[str] | None = None) -> Json:
    """A row as it is answered: every column, or the named ones and the key, and its ETag."""
    fields = [column.field for column in table.columns.values()]
    if names is not None:
        fields = [*(name for name in names if name != table.key), table.key]
    return {"@odata.etag": f'W/"{row["versionnumber"]}"'} | {name: row.get(name) for name in fields}
