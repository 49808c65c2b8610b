"""An emulated Dataverse environment with Dynamics 365 Sales: Web API v9.2 (OData 4), Entra sign-in, webhooks.

Written from the Web API pages of the Power Apps documentation, the Sales table reference and the Entra documentation of
the client credentials grant (published docs, read 2026-11). The same loopback address plays both the environment
(``/api/data/v9.2``) and the sign-in service (``/{tenant}/oauth2/v2.0/token``). One registered step posts the execution
context of each new sales order to the receiver of ``/_sandbox/webhooks``: its URL may carry the key as ``?code=``, or
``secret`` travels in the header ``x-webhook-key``.
"""

from __future__ import annotations

import re
import secrets
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, parse_qsl, quote, unquote, urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox import dynamics_query as odata
from sandbox.administration import door
from sandbox.dynamics_records import (
    ACTIONS,
    API,
    STANDING,
    USER_ID,
    Record,
    Refusal,
    Work,
    bad,
    create,
    delete,
    find,
    key_values,
    no_such_row,
    required_row,
    stamp,
    update,
)
from sandbox.dynamics_schema import BY_SET, TABLES, Column, Table, as_changed, table_of_set
from sandbox.emulator import Emulator, Fault, Json, Shelf, read_json, write_json

TENANT_ID = "7d1f6a52-3c1b-4f0e-9a77-0c7a4b1d2e3f"
CLIENT_ID = "0f2b8c7e-5a4d-4e8b-b7c1-9d6e5f4a3b2c"
CLIENT_SECRET = "sandbox-secret"
ORGANIZATION_ID = "5b1c0d2e-7f3a-4c6b-8d9e-1a2b3c4d5e6f"
ORGANIZATION_NAME = "northwind"
BUSINESS_UNIT_ID = "3e2d1c0b-9a8f-4e7d-8c6b-5a4f3e2d1c0b"
WEBHOOK_HEADER = "x-webhook-key"

TOKEN_SECONDS = 3599
MOST_ROWS = 5000
MOST_OPERATIONS = 1000
#: Days for which a delta link is good (organization setting ExpireChangeTrackingInDays).
DELTA_DAYS = 7
#: A webhook body that would be larger loses its parameters and images.
MOST_WEBHOOK_BYTES = 256 * 1024
#: What the registered step listens to: message and table.
STEPS = frozenset({("Create", "salesorder")})


@dataclass
class Answer:
    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        if self.body is None:
            return b""
        return self.body if isinstance(self.body, bytes) else write_json(self.body).encode()


def refused(refusal: Refusal) -> Answer:
    return Answer(refusal.status, refusal.body, JSON_TYPE)


JSON_TYPE = {"Content-Type": "application/json; odata.metadata=minimal"}


@dataclass
class Call:
    """One operation, alone or a part of a batch. ``path`` is below the API's root and not percent-encoded."""

    work: Work
    root: str
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    raw: bytes
    content_ids: dict[str, str]

    def body(self) -> Json:
        try:
            found = read_json(self.raw)
        except ValueError:
            raise bad("0x80048d19", "Error identified in Payload provided by the user: Invalid JSON.") from None
        if not isinstance(found, dict):
            raise bad("0x80048d19", "Error identified in Payload provided by the user: an object is expected.")
        return found

    def prefers(self, name: str) -> str | None:
        """The value of a preference; empty for one without a value, None when it is not there."""
        for one in self.headers.get("prefer", "").split(","):
            key, _, value = one.strip().partition("=")
            if key == name:
                return value.strip('"')
        return None

    @property
    def wants_notes(self) -> bool:
        return bool(self.prefers("odata.include-annotations"))


def _context(call: Call, table: Table, single: bool = False) -> Json:
    names = f"({call.query['$select']})" if "$select" in call.query else ""
    return {"@odata.context": f"{call.root}/$metadata#{table.set}{names}" + ("/$entity" if single else "")}


def _entity(call: Call, table: Table, row: Record, status: int) -> Answer:
    names = odata.selected(table, call.query.get("$select"))
    nested = odata.expands(table, call.query.get("$expand"))
    shown = odata.answer(call.work, table, row, names, nested, call.wants_notes)
    return Answer(status, _context(call, table, single=True) | shown, dict(JSON_TYPE))


def _written(call: Call, table: Table, row: Record, created: bool) -> Answer:
    address = f"{call.root}/{table.set}({row[table.key]})"
    if call.prefers("return") == "representation":
        answer = _entity(call, table, row, 201 if created else 200)
        answer.headers["Preference-Applied"] = "return=representation"
    else:
        answer = Answer(204)
    answer.headers["OData-EntityId"] = address
    if created:
        answer.headers["Location"] = address
    return answer


# -- rows --------------------------------------------------------------------------------------------------------------

OPTIONS = frozenset({"$select", "$filter", "$orderby", "$expand", "$top", "$count", "$skiptoken", "$deltatoken"})


def _list(call: Call, table: Table) -> Answer:
    if unknown := [name for name in call.query if name.startswith("$") and name not in OPTIONS]:
        raise bad("0x80060888", f"The query parameter {unknown[0]} is not supported")
    tracked = call.prefers("odata.track-changes") is not None or "$deltatoken" in call.query
    if tracked and call.query.keys() & {"$filter", "$orderby", "$expand", "$top"}:
        raise bad("0x80060888", "Change tracking supports only the system query option $select.")
    if tracked:
        return _tracked(call, table)
    rows = call.work.all(table.name)
    if "$filter" in call.query:
        test = odata.Filter(table, call.query["$filter"]).parse()
        rows = [row for row in rows if test(call.work, row)]
    if "$orderby" in call.query:
        odata.order_by(table, call.query["$orderby"])(rows)
    counted = {"@odata.count": min(len(rows), MOST_ROWS)} if call.query.get("$count") == "true" else {}
    if "$top" in call.query:
        rows = rows[: int(call.query["$top"])]
    start = _position(call)[0]
    size = _page_size(call)
    names = odata.selected(table, call.query.get("$select"))
    nested = odata.expands(table, call.query.get("$expand"))
    value = [odata.answer(call.work, table, row, names, nested, call.wants_notes) for row in rows[start : start + size]]
    body = _context(call, table) | counted | {"value": value}
    if start + size < len(rows):
        body["@odata.nextLink"] = _link(call, table, {"$skiptoken": f"{start + size}-0"})
    return Answer(200, body, dict(JSON_TYPE))


def _tracked(call: Call, table: Table) -> Answer:
    """All rows, or what changed since a delta link; the last page carries the next delta link."""
    if call.work.shelf.get("_untracked", table.name):
        raise bad("0x80060888", f"Change tracking is not enabled for the entity '{table.name}'.")
    since = _delta_version(call) if "$deltatoken" in call.query else None
    start, upto = _position(call)
    upto = upto or call.work.shelf.next("version")
    names = odata.selected(table, call.query.get("$select"))
    rows = [row for row in call.work.all(table.name) if (since or 0) < row["versionnumber"] <= upto]
    shown = [odata.answer(call.work, table, row, names, (), call.wants_notes) for row in rows]
    if since is not None:
        shown += [
            {"@odata.context": f"{call.root}/$metadata#{table.set}/$deletedEntity", "id": g["id"], "reason": "deleted"}
            for g in call.work.shelf.where("_deleted", table=table.name)
            if since < g["version"] <= upto
        ]
    size = _page_size(call)
    context = _context(call, table)
    if since is not None:
        context["@odata.context"] += "/$delta"
    body = context | {"value": shown[start : start + size]}
    if start + size < len(shown):
        body["@odata.nextLink"] = _link(call, table, {"$skiptoken": f"{start + size}-{upto}"})
    else:
        at = call.work.shelf.now().astimezone(UTC).strftime("%m/%d/%Y %H:%M:%S")
        body["@odata.deltaLink"] = _link(call, table, {"$deltatoken": f"{upto}!{at}"}, "$skiptoken")
    return Answer(200, body, JSON_TYPE | {"Preference-Applied": "odata.track-changes"})


def _delta_version(call: Call) -> int:
    match = re.fullmatch(r"(\d+)!(\d\d/\d\d/\d{4} \d\d:\d\d:\d\d)", call.query["$deltatoken"])
    if not match:
        raise bad("0x80060888", "The delta token is not valid.")
    given = datetime.strptime(match[2], "%m/%d/%Y %H:%M:%S").replace(tzinfo=UTC)
    if call.work.shelf.now() - given > timedelta(days=DELTA_DAYS):
        raise bad(
            "0x80044352",
            "Version stamp associated with the client has expired. Please perform a full sync.",
        )
    return int(match[1])


def _position(call: Call) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)-(\d+)", call.query.get("$skiptoken", "0-0"))
    if not match:
        raise bad("0x80060888", "The skip token is not valid.")
    return int(match[1]), int(match[2])


def _page_size(call: Call) -> int:
    wanted = call.prefers("odata.maxpagesize") or ""
    return min(int(wanted), MOST_ROWS) if wanted.isdigit() and int(wanted) else MOST_ROWS


def _link(call: Call, table: Table, more: Mapping[str, str], *without: str) -> str:
    query = {name: value for name, value in call.query.items() if name not in without}
    query.update(more)
    return f"{call.root}/{table.set}?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())


def _post(call: Call, table: Table) -> Answer:
    return _written(call, table, create(call.work, table, call.body(), call.content_ids), created=True)


def _get(call: Call, table: Table, key: dict[str, Any] | str) -> Answer:
    row = required_row(call.work, table, key)
    if call.headers.get("if-none-match") == f'W/"{row["versionnumber"]}"':
        return Answer(304)
    answer = _entity(call, table, row, 200)
    answer.headers["ETag"] = f'W/"{row["versionnumber"]}"'
    return answer


def _patch(call: Call, table: Table, key: dict[str, Any] | str) -> Answer:
    """Creates or changes the row, as the conditions of the request allow."""
    row = find(call.work, table, key)
    wanted, only_new = call.headers.get("if-match"), call.headers.get("if-none-match") == "*"
    if row is None:
        if wanted:
            raise no_such_row(table, key) if isinstance(key, str) else _missing(table)
        if isinstance(key, str):
            made = create(call.work, table, call.body(), call.content_ids, ident=key)
        else:
            body = call.body()
            if any(body.get(name, value) != value for name, value in key.items()):
                raise bad("0x80060888", "The alternate key in the body is not the one in the address.")
            made = create(call.work, table, body | key, call.content_ids)
        return _written(call, table, made, created=True)
    if only_new:
        raise Refusal(412, "", "A record with matching key values already exists.")
    _check_version(wanted, row)
    changed = update(call.work, table, row[table.key], call.body(), call.content_ids)
    return _written(call, table, changed, created=False)


def _missing(table: Table) -> Refusal:
    return Refusal(404, "0x80060891", f"A record with the specified key values does not exist in {table.name} entity")


def _check_version(wanted: str | None, row: Record) -> None:
    if wanted and wanted not in ("*", f'W/"{row["versionnumber"]}"'):
        message = "The version of the existing record doesn't match the RowVersion property provided."
        raise Refusal(412, "", message)


def _delete(call: Call, table: Table, key: dict[str, Any] | str) -> Answer:
    row = required_row(call.work, table, key)
    _check_version(call.headers.get("if-match"), row)
    delete(call.work, table, row[table.key])
    return Answer(204)


def _related(call: Call, table: Table, key: dict[str, Any] | str, name: str) -> Answer:
    """``set(key)/navigation``: the related row, or a collection of them."""
    row = required_row(call.work, table, key)
    led = table.navigation(name)
    if led is not None:
        column, target = led
        ident = row.get(column.field)
        return Answer(204) if ident is None else _get(call, TABLES[target], str(ident))
    if name not in table.children:
        raise _no_segment(name)
    child, back = table.children[name]
    column = TABLES[child].columns[back]
    only = f"{column.field} eq {row[table.key]}"
    asked = call.query.get("$filter")
    query = {**call.query, "$filter": f"({asked}) and {only}" if asked else only}
    return _list(Call(**{**vars(call), "query": query}), TABLES[child])


ROW_METHODS: Mapping[str, Callable[[Call, Table, dict[str, Any] | str], Answer]] = {
    "GET": _get,
    "PATCH": _patch,
    "DELETE": _delete,
}


# -- actions and metadata ----------------------------------------------------------------------------------------------


def _action(call: Call, name: str) -> Answer:
    act, gives = ACTIONS[name]
    body = call.body()
    row = act(call.work, body)
    if row is None:
        return Answer(204)
    columns = body.get("ColumnSet") or {}
    table = TABLES[gives]
    names = None if columns.get("AllColumns") else odata.selected(table, ",".join(columns.get("Columns") or []))
    shown = odata.answer(call.work, table, row, names, (), call.wants_notes)
    return Answer(200, _context(call, table, single=True) | shown, dict(JSON_TYPE))


def _who_am_i(call: Call) -> Answer:
    body = {
        "@odata.context": f"{call.root}/$metadata#Microsoft.Dynamics.CRM.WhoAmIResponse",
        "BusinessUnitId": BUSINESS_UNIT_ID,
        "UserId": USER_ID,
        "OrganizationId": ORGANIZATION_ID,
    }
    return Answer(200, body, dict(JSON_TYPE))


ATTRIBUTE_TYPES = {
    "text": "String",
    "memo": "Memo",
    "int": "Integer",
    "choice": "Picklist",
    "bigint": "BigInt",
    "decimal": "Decimal",
    "money": "Money",
    "bool": "Boolean",
    "instant": "DateTime",
    "day": "DateTime",
    "guid": "Uniqueidentifier",
    "lookup": "Lookup",
}


PICKLISTS = re.escape("Microsoft.Dynamics.CRM.PicklistAttributeMetadata")


def _attribute(column: Column) -> Json:
    kind = {"statecode": "State", "statuscode": "Status"}.get(column.name, ATTRIBUTE_TYPES[column.kind])
    level = "SystemRequired" if column.required else "ApplicationRequired" if column.demanded else "None"
    about: Json = {
        "@odata.type": f"#Microsoft.Dynamics.CRM.{kind}AttributeMetadata",
        "LogicalName": column.name,
        "AttributeType": kind,
        "RequiredLevel": {"Value": level, "CanBeChanged": level != "SystemRequired"},
        "IsValidForCreate": column.written,
        "IsValidForUpdate": column.written and column.kind != "guid",
        "MetadataId": str(uuid.uuid5(uuid.NAMESPACE_OID, column.name)),
    }
    if column.kind in ("text", "memo"):
        about["MaxLength"] = column.length
    if kind == "DateTime":
        about["Format"] = "DateOnly" if column.kind == "day" else "DateAndTime"
    if kind == "Lookup":
        about["Targets"] = list(column.targets.values())
    return about


def _relations(table: Table) -> tuple[list[Json], list[Json]]:
    """How lookups of a table are called where they lead from, and its collections."""
    up = [
        {
            "ReferencingAttribute": column.name,
            "ReferencingEntityNavigationPropertyName": name,
            "ReferencedEntity": target,
        }
        for column in table.columns.values()
        for name, target in column.targets.items()
    ]
    down = [
        {"ReferencedEntityNavigationPropertyName": name, "ReferencingEntity": child, "ReferencingAttribute": by}
        for name, (child, by) in table.children.items()
    ]
    return up, down


def _definition(call: Call, name: str) -> Answer:
    """What metadata says of one table; ``$select`` narrows its own properties, ``$expand`` adds columns and keys."""
    table = TABLES.get(name)
    if table is None:
        raise Refusal(404, "0x80060888", f"Could not find an entity with name {name}.")
    about: Json = {
        "LogicalName": table.name,
        "EntitySetName": table.set,
        "PrimaryIdAttribute": table.key,
        "ChangeTrackingEnabled": not call.work.shelf.get("_untracked", table.name),
        "IsCustomEntity": table.custom,
    }
    if "$select" in call.query:
        about = {key: value for key, value in about.items() if key in call.query["$select"].split(",")}
    about["@odata.context"] = f"{call.root}/$metadata#EntityDefinitions/$entity"
    expanded = call.query.get("$expand", "")
    if "Attributes" in expanded:
        about["Attributes"] = [_attribute(column) for column in table.columns.values()]
    up, down = _relations(table)
    if "ManyToOneRelationships" in expanded:
        about["ManyToOneRelationships"] = up
    if "OneToManyRelationships" in expanded:
        about["OneToManyRelationships"] = down
    if "Keys" in expanded:
        about["Keys"] = [
            {"LogicalName": key, "KeyAttributes": list(columns), "EntityKeyIndexStatus": "Active"}
            for key, columns in table.keys.items()
        ]
    return Answer(200, about, dict(JSON_TYPE))


def _definitions(call: Call) -> Answer:
    """The one table that ``$filter`` names, as a list; the vendor's own clients begin with it."""
    asked = re.fullmatch(r"LogicalName eq '(\w+)'", call.query.get("$filter", ""))
    if asked is None:
        raise Refusal(400, "0x80060888", "The sandbox lists definitions by LogicalName alone.")
    found = [_definition(call, asked[1]).body] if asked[1] in TABLES else []
    context = {"@odata.context": f"{call.root}/$metadata#EntityDefinitions"}
    return Answer(200, {**context, "value": [_uncontexted(one) for one in found]}, dict(JSON_TYPE))


def _uncontexted(about: Json) -> Json:
    return {name: value for name, value in about.items() if name != "@odata.context"}


def _choices(call: Call, name: str) -> Answer:
    """The choices of a table's choice columns."""
    table = TABLES.get(name)
    if table is None:
        raise Refusal(404, "0x80060888", f"Could not find an entity with name {name}.")
    found = [
        {
            "LogicalName": column.name,
            "MetadataId": str(uuid.uuid5(uuid.NAMESPACE_OID, column.name)),
            "OptionSet": {"Options": [{"Value": value} for value in column.choices]},
        }
        for column in table.columns.values()
        if column.kind == "choice" and column.name not in ("statecode", "statuscode")
    ]
    return Answer(200, {"@odata.context": f"{call.root}/$metadata", "value": found}, dict(JSON_TYPE))


def _service(call: Call) -> Answer:
    sets = [{"name": name, "kind": "EntitySet", "url": name} for name in BY_SET]
    return Answer(200, {"@odata.context": f"{call.root}/$metadata", "value": sets}, dict(JSON_TYPE))


def _no_segment(segment: str) -> Refusal:
    return Refusal(404, "0x8006088a", f"Resource not found for the segment '{segment}'.")


def route(call: Call) -> Answer:
    """Answers one operation. Refusal is the vendor's no."""
    if call.path == "" and call.method == "GET":
        return _service(call)
    if call.path in ("WhoAmI", "WhoAmI()") and call.method == "GET":
        return _who_am_i(call)
    if call.path == "EntityDefinitions":
        return _definitions(call)
    if match := re.fullmatch(r"EntityDefinitions\(LogicalName='(\w+)'\)", call.path):
        return _definition(call, match[1])
    if match := re.fullmatch(rf"EntityDefinitions\(LogicalName='(\w+)'\)/Attributes/{PICKLISTS}", call.path):
        return _choices(call, match[1])
    if call.path in ACTIONS and call.method == "POST":
        return _action(call, call.path)
    match = re.fullmatch(r"(\w+)(?:\((.*)\))?(?:/(\w+))?", call.path)
    table = table_of_set(match[1]) if match else None
    if match is None or table is None:
        raise _no_segment(call.path.partition("(")[0])
    if match[2] is None:
        answer = {"GET": _list, "POST": _post}.get(call.method)
        if answer is None:
            raise Refusal(405, "0x80060888", f"The HTTP method '{call.method}' is not supported here.")
        return answer(call, table)
    key = key_values(table, match[2])
    if match[3]:
        return _related(call, table, key, match[3])
    if call.method not in ROW_METHODS:
        raise Refusal(405, "0x80060888", f"The HTTP method '{call.method}' is not supported here.")
    return ROW_METHODS[call.method](call, table, key)


# -- batches -----------------------------------------------------------------------------------------------------------


@dataclass
class Part:
    """One operation of a batch."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes
    content_id: str = ""


def _headers(lines: list[bytes]) -> dict[str, str]:
    named = (line.decode("latin-1").partition(":") for line in lines if line)
    return {name.strip().lower(): value.strip() for name, _, value in named}


def _boundary(content_type: str) -> bytes:
    match = re.search(r'multipart/mixed\s*;.*?boundary="?([^";\s]+)"?', content_type, re.IGNORECASE)
    if not match:
        raise bad("0x80060888", "A batch needs a content type of multipart/mixed with a boundary.")
    return match[1].encode()


def _parts(body: bytes, boundary: bytes) -> Iterator[tuple[dict[str, str], bytes]]:
    """Headers and content of each part between boundary lines, which end in CR LF as the vendor demands."""
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise bad("0x80060888", "The batch is not closed by its boundary, or its lines do not end in CR LF.")
    for piece in pieces[1:-1]:
        head, split, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        if not split:
            raise bad("0x80060888", "A part of the batch has no content.")
        yield _headers(head.split(b"\r\n")), content


def _part(headers: Mapping[str, str], content: bytes, in_changeset: bool) -> Part:
    if headers.get("content-type", "").partition(";")[0] != "application/http":
        raise bad("0x80060888", "A part of a batch has the content type application/http.")
    if in_changeset and "content-id" not in headers:
        raise bad("0x80060888", "Content-ID header not present in an operation of a change set.")
    head, _, body = content.partition(b"\r\n\r\n")
    line, *rest = head.split(b"\r\n")
    words = line.decode("latin-1").split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise bad("0x80060888", f"'{line.decode('latin-1')}' is not a request line.")
    return Part(words[0].upper(), words[1], _headers(rest), body, headers.get("content-id", ""))


def _batch(
    request_headers: Mapping[str, str], raw: bytes, shelf: Shelf, root: str, done: Callable[[Work], None]
) -> Answer:
    """Runs a batch: operations alone, change sets whole or not at all; stops at a failure unless told to go on."""
    items: list[Part | list[Part]] = []
    for headers, content in _parts(raw, _boundary(request_headers.get("content-type", ""))):
        if headers.get("content-type", "").startswith("multipart/mixed"):
            inner = list(_parts(content, _boundary(headers["content-type"])))
            items.append([_part(own, body, in_changeset=True) for own, body in inner])
        else:
            items.append(_part(headers, content, in_changeset=False))
    if sum(len(item) if isinstance(item, list) else 1 for item in items) > MOST_OPERATIONS:
        raise bad("0x80060888", f"A batch carries at most {MOST_OPERATIONS} operations.")
    goes_on = "odata.continue-on-error" in request_headers.get("prefer", "")
    work = Work(shelf)
    name = f"batchresponse_{uuid.uuid4()}"
    pieces: list[bytes] = []
    status = 200
    for item in items:
        mark = work.mark()
        answers = _run(work, root, item if isinstance(item, list) else [item], isinstance(item, list))
        failed = answers[-1].status >= 400
        if failed:
            work.back_to(mark)
            pieces.append(_written_part(answers[-1]))
            if not goes_on:
                status = answers[-1].status
                break
        elif isinstance(item, list):
            pieces.append(_written_changeset(item, answers))
        else:
            pieces.append(_written_part(answers[0]))
    done(work)
    content = b"".join(b"--" + name.encode() + b"\r\n" + piece for piece in pieces) + f"--{name}--\r\n".encode()
    return Answer(status, content, {"Content-Type": f"multipart/mixed; boundary={name}"})


def _run(work: Work, root: str, parts: list[Part], in_changeset: bool) -> list[Answer]:
    """Answers of operations, up to the first that fails."""
    answers: list[Answer] = []
    content_ids: dict[str, str] = {}
    for part in parts:
        try:
            if in_changeset and part.method == "GET":
                raise bad("0x80060888", "A change set cannot contain a GET.")
            answers.append(route(_call(work, root, part.method, part.url, part.headers, part.body, content_ids)))
        except Refusal as refusal:
            answers.append(refused(refusal))
            break
        if part.content_id:
            content_ids[f"${part.content_id}"] = answers[-1].headers.get("OData-EntityId", "")
    return answers


def _written_part(answer: Answer, content_id: str = "") -> bytes:
    own = f"Content-ID: {content_id}\r\n" if content_id else ""
    headers = {**answer.headers, "OData-Version": "4.0"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    status = f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n"
    head = f"Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n{own}\r\n{status}{lines}\r\n"
    return head.encode() + answer.content + b"\r\n"


def _written_changeset(parts: list[Part], answers: list[Answer]) -> bytes:
    name = f"changesetresponse_{uuid.uuid4()}"
    inner = b"".join(
        b"--" + name.encode() + b"\r\n" + _written_part(answer, part.content_id)
        for part, answer in zip(parts, answers, strict=True)
    )
    head = f"Content-Type: multipart/mixed; boundary={name}\r\n\r\n".encode()
    return head + inner + f"--{name}--\r\n".encode()


def _call(
    work: Work,
    root: str,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    content_ids: dict[str, str],
) -> Call:
    """An operation from its address: absolute, from the root of the host, or relative to the API."""
    parts = urlsplit(url)
    path = unquote(parts.path)
    if path.startswith("$") and path in content_ids:
        path = urlsplit(content_ids[path]).path
    path = path.removeprefix(API).lstrip("/")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    aliases = {name: value for name, value in query.items() if name.startswith("@")}
    for name, value in aliases.items():
        query = {key: re.sub(rf"{re.escape(name)}\b", lambda _m, v=value: v, text) for key, text in query.items()}  # type: ignore[misc]
    return Call(work, root, method, path, query, headers, body, content_ids)


# -- the environment on its socket -------------------------------------------------------------------------------------


def _sign_in_refused(status: int, error: str, code: int, message: str) -> JSONResponse:
    return JSONResponse(
        {
            "error": error,
            "error_description": f"AADSTS{code}: {message}",
            "error_codes": [code],
            "timestamp": "2026-11-25 10:00:00Z",
            "trace_id": str(uuid.uuid4()),
            "correlation_id": str(uuid.uuid4()),
        },
        status,
    )


@dataclass
class Environment:
    """The environment behind the routes: its shelf, and what it sends out."""

    shelf: Shelf
    send: Callable[[str, Json, bytes], None] = lambda _kind, _event, _body: None

    def stand(self) -> None:
        """Every environment has a base currency, a unit and a user, also after a reset."""
        for name, row in STANDING.items():
            table = TABLES[name]
            if self.shelf.get(name, row[table.key]) is None:
                blank: Record = {column.field: None for column in table.columns.values()}
                now = stamp(self.shelf.now())
                own = {"createdon": now, "modifiedon": now, "versionnumber": self.shelf.next("version")}
                self.shelf.keep(name, row[table.key], blank | own | row)

    async def rest(self, request: Request) -> Response:
        if not self._signed_in(request):
            where = f'Bearer authorization_uri="{request.base_url}{TENANT_ID}/oauth2/authorize"'
            return Response(status_code=401, headers={"WWW-Authenticate": where})
        self.stand()
        raw = await request.body()
        root = str(request.base_url).rstrip("/") + API
        url = request.scope["raw_path"].decode() + ("?" + request.url.query if request.url.query else "")
        headers = {name.lower(): value for name, value in request.headers.items()}
        with TABLES.of(self.shelf, as_changed):
            try:
                if url == f"{API}/$batch" and request.method == "POST":
                    answer = _batch(headers, raw, self.shelf, root, self._commit)
                else:
                    work = Work(self.shelf)
                    answer = route(_call(work, root, request.method, url, headers, raw, {}))
                    self._commit(work)
            except Refusal as refusal:
                answer = refused(refusal)
        return Response(answer.content, answer.status, {**answer.headers, "OData-Version": "4.0"})

    def _commit(self, work: Work) -> None:
        work.commit()
        for message, table, ident in work.messages:
            row = work.get(table, ident)
            if (message, table) in STEPS and row is not None:
                context = execution_context(message, TABLES[table], row, self.shelf.now())
                event = {"entity": table, "message": message, "correlation": context["CorrelationId"]}
                self.send(table, event, webhook_body(context))

    def _signed_in(self, request: Request) -> bool:
        token = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        session = self.shelf.get("_token", token) if token else None
        return session is not None and datetime.fromisoformat(session["expires"]) > self.shelf.now()

    async def token(self, request: Request) -> Response:
        """The client credentials grant of Entra."""
        form = {name: values[-1] for name, values in parse_qs((await request.body()).decode()).items()}
        tenant = request.path_params["tenant"]
        scope = f"{str(request.base_url).rstrip('/')}/.default"
        if tenant != TENANT_ID:
            return _sign_in_refused(400, "invalid_request", 90002, f"Tenant '{tenant}' not found.")
        if form.get("grant_type") != "client_credentials":
            return _sign_in_refused(400, "unsupported_grant_type", 70003, "The app requested an unsupported grant.")
        if form.get("client_id") != CLIENT_ID:
            message = f"Application with identifier '{form.get('client_id')}' was not found in the directory."
            return _sign_in_refused(400, "unauthorized_client", 700016, message)
        if form.get("client_secret") != CLIENT_SECRET:
            return _sign_in_refused(401, "invalid_client", 7000215, "Invalid client secret provided.")
        if form.get("scope") != scope:
            return _sign_in_refused(400, "invalid_scope", 70011, "The provided value for scope is not valid.")
        token = secrets.token_urlsafe(64)
        expires = self.shelf.now() + timedelta(seconds=TOKEN_SECONDS)
        self.shelf.keep("_token", token, {"expires": expires.isoformat()})
        return JSONResponse(
            {
                "token_type": "Bearer",
                "expires_in": TOKEN_SECONDS,
                "ext_expires_in": TOKEN_SECONDS,
                "access_token": token,
            }
        )

    async def untracked(self, request: Request) -> Response:
        """Turns change tracking of a table off, as a maker may."""
        self.shelf.keep("_untracked", request.path_params["table"], {"off": True})
        return JSONResponse({})


CONTRACTS = "http://schemas.microsoft.com/xrm/2011/Contracts"


def _attribute_value(table: Table, row: Record, column: Column) -> Any:
    value = row[column.field]
    match column.kind:
        case "lookup":
            kind = row.get(f"@{column.name}") or next(iter(column.targets.values()))
            return {
                "__type": f"EntityReference:{CONTRACTS}",
                "Id": value,
                "KeyAttributes": [],
                "LogicalName": kind,
                "Name": None,
                "RowVersion": None,
            }
        case "money":
            return {"__type": f"Money:{CONTRACTS}", "Value": value}
        case "choice":
            return {"__type": f"OptionSetValue:{CONTRACTS}", "Value": value}
        case "instant" | "day":
            moment = datetime.fromisoformat(value)
            return f"/Date({int(moment.replace(tzinfo=UTC).timestamp()) * 1000})/"
        case _:
            return value


def execution_context(message: str, table: Table, row: Record, now: datetime) -> Json:
    """What a step posts to a webhook: the RemoteExecutionContext of one message, with the row it created."""
    ident = row[table.key]
    attributes = [
        {"key": column.name, "value": _attribute_value(table, row, column)}
        for column in table.columns.values()
        if row.get(column.field) is not None
    ]
    target = {
        "__type": f"Entity:{CONTRACTS}",
        "Attributes": attributes,
        "EntityState": None,
        "FormattedValues": [],
        "Id": ident,
        "KeyAttributes": [],
        "LogicalName": table.name,
        "RelatedEntities": [],
        "RowVersion": str(row["versionnumber"]),
    }
    return {
        "BusinessUnitId": BUSINESS_UNIT_ID,
        "CorrelationId": str(uuid.uuid4()),
        "Depth": 1,
        "InitiatingUserId": USER_ID,
        "InputParameters": [{"key": "Target", "value": target}],
        "IsExecutingOffline": False,
        "IsInTransaction": False,
        "IsOfflinePlayback": False,
        "IsolationMode": 1,
        "MessageName": message,
        "Mode": 1,
        "OperationCreatedOn": f"/Date({int(now.timestamp() * 1000)}+0000)/",
        "OperationId": str(uuid.uuid4()),
        "OrganizationId": ORGANIZATION_ID,
        "OrganizationName": ORGANIZATION_NAME,
        "OutputParameters": [{"key": "id", "value": ident}],
        "OwningExtension": None,
        "ParentContext": None,
        "PostEntityImages": [],
        "PreEntityImages": [],
        "PrimaryEntityId": ident,
        "PrimaryEntityName": table.name,
        "RequestId": None,
        "SecondaryEntityName": "none",
        "SharedVariables": [],
        "Stage": 40,
        "UserId": USER_ID,
    }


def webhook_body(context: Json) -> bytes:
    """The context as it is posted; one that is too large loses its parameters and images."""
    body = write_json(context).encode()
    if len(body) <= MOST_WEBHOOK_BYTES:
        return body
    lost = dict.fromkeys(("InputParameters", "PreEntityImages", "PostEntityImages"))
    return write_json(context | lost).encode()


def sign(event: Json, _body: bytes, secret: str) -> dict[str, str]:
    """Headers of a webhook; there is no signature, only the key that was agreed on."""
    return {
        "x-ms-dynamics-organization": f"{ORGANIZATION_NAME}.crm.dynamics.com",
        "x-ms-dynamics-entity-name": event["entity"],
        "x-ms-dynamics-request-name": event["message"],
        "x-ms-correlation-request-id": event["correlation"],
    } | ({WEBHOOK_HEADER: secret} if secret else {})


#: The three service protection limits, in the order in which a planted fault shows them.
THROTTLES = (
    ("0x80072322", "Number of requests exceeded the limit of 6000 over time window of 300 seconds."),
    (
        "0x80072321",
        "Combined execution time of incoming requests exceeded limit of 1,200,000 milliseconds over time window of 300"
        " seconds. Decrease number of concurrent requests or reduce the duration of requests and try again later.",
    ),
    ("0x80072326", "Number of concurrent requests exceeded the limit of 52."),
)


def fault_answer(fault: Fault) -> Response:
    if fault.kind == "rate_limit":
        code, message = THROTTLES[(fault.fired - 1) % len(THROTTLES)]
        wait = {"Retry-After": format(Decimal(str(fault.seconds)).normalize(), "f")}
        return JSONResponse(Refusal(429, code, message).body, 429, wait)
    return JSONResponse(Refusal(fault.status, "0x80040216", "An unexpected error occurred.").body, fault.status)


def emulator(shelf: Shelf) -> Emulator:
    environment = Environment(shelf)
    routes = [
        Route("/{tenant}/oauth2/v2.0/token", environment.token, methods=["POST"]),
        Route("/_sandbox/untracked/{table}", environment.untracked, methods=["POST"]),
        door(shelf),
        Route(API, environment.rest),
        Route(f"{API}/{{rest:path}}", environment.rest, methods=["GET", "POST", "PATCH", "PUT", "DELETE"]),
    ]
    built = Emulator("dynamics", routes, shelf, sign=sign, fault_answer=fault_answer)
    environment.send = built.webhooks.send
    return built
