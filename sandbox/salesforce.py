"""A Salesforce org on loopback: OAuth token endpoint, REST API, SOQL, and outbound messages.

Written from the REST API Developer Guide, the SOAP guide's outbound message section and recorded exchanges of
CumulusCI (published docs, read 2026-11). Objects stand in ``sandbox.salesforce_schema``, what a write must keep to in
``sandbox.salesforce_records``, queries in ``sandbox.salesforce_soql``, change events in
``sandbox.salesforce_streaming``. Peculiar to the sandbox:

- One connected app, ``CLIENT_ID`` / ``CLIENT_SECRET``, run as ``USERNAME``. For the JWT bearer flow upload its
  certificate first: ``POST /_sandbox/certificate`` with a PEM public key as body.
- An outbound message goes out when the ``StageName`` of an Opportunity becomes ``Closed Won`` (on create or update), or
  a CPQ quote is ordered, to the URL registered at ``/_sandbox/webhooks``; put the receiver's token into its query.
- ``Retry-After`` on a planted ``rate_limit`` is a courtesy of the sandbox; the vendor sends none.
"""

from __future__ import annotations

import base64
import csv
import io
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import jwt
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox import salesforce_soql as soql
from sandbox.administration import door
from sandbox.emulator import Emulator, ExactJSONResponse, Fault, Json, Shelf, read_json
from sandbox.salesforce_records import (
    STANDARD_PRICEBOOK_ID as STANDARD_PRICEBOOK_ID,
)
from sandbox.salesforce_records import (
    USER_ID,
    Record,
    Refusal,
    SeveralMatch,
    WithDeleted,
    Work,
    bad,
    remove,
    save,
    stamp,
)
from sandbox.salesforce_schema import (
    BY_PREFIX,
    OBJECTS,
    Field,
    SObject,
    as_changed,
    as_new,
    find_object,
    full_id,
    make_id,
)
from sandbox.salesforce_streaming import Bus

CLIENT_ID = "sandbox-client"
CLIENT_SECRET = "sandbox-secret"
USERNAME = "integration@northwind.example"
ORGANIZATION_ID = make_id("00D", 1)
OUTBOUND_ACTION_ID = make_id("04k", 1)
VERSIONS = tuple(f"{number}.0" for number in range(50, 69))
DAILY_REQUESTS = 100_000
AUDIENCES = ("https://login.salesforce.com", "https://test.salesforce.com")

# -- the REST API ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Call:
    """One call of the REST API, whether it came alone or inside a composite."""

    org: Org
    work: Work
    version: str
    method: str
    query: Mapping[str, str]
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)

    def fields_of_body(self) -> Json:
        if not isinstance(self.body, dict):
            raise bad("JSON_PARSER_ERROR", "The HTTP entity body is required, and must be a JSON object")
        return self.body

    def url(self, kind: str, ident: str) -> str:
        return f"/services/data/v{self.version}/sobjects/{kind}/{ident}"


@dataclass(slots=True)
class Answer:
    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


def _kind(name: str) -> SObject:
    found = find_object(name)
    if found is None:
        raise Refusal(404, "NOT_FOUND", "The requested resource does not exist")
    return found


def _existing(call: Call, kind: SObject, ident: str) -> Record:
    whole = full_id(ident)
    record = call.work.any(kind.name, whole) if whole else None
    if record is None:
        raise Refusal(404, "NOT_FOUND", "The requested resource does not exist")
    if record["IsDeleted"]:
        raise Refusal(404, "ENTITY_IS_DELETED", "entity is deleted")
    return record


def _matching(call: Call, kind: SObject, name: str, value: str) -> Record | None:
    """The one record that carries an external id; None when there is none."""
    about = kind.field(name)
    if about is None or not (about.external or about.type in ("id", "email")):
        raise Refusal(404, "NOT_FOUND", f"Provided external ID field does not exist or is not accessible: {name}")
    matches = call.work.by(kind.name, about.name, value)
    if len(matches) > 1:
        raise SeveralMatch([call.url(kind.name, match["Id"]) for match in matches])
    return matches[0] if matches else None


def _whole(call: Call, kind: SObject, record: Record) -> Record:
    wanted = [name for name in call.query.get("fields", "").split(",") if name]
    spelled = []
    for name in wanted:
        about = kind.field(name)
        if about is None:
            raise bad("INVALID_FIELD", f"No such column '{name}' on entity '{kind.name}'.")
        spelled.append(about.name)
    answer = soql.attributes(kind.name, record, call.version)
    return answer | {name: record.get(name) for name in spelled or kind.fields}


def _resources(call: Call) -> Answer:
    names = ("sobjects", "query", "queryAll", "limits", "composite")
    return Answer(200, {name: f"/services/data/v{call.version}/{name}" for name in names})


def _limits(call: Call) -> Answer:
    return Answer(200, {"DailyApiRequests": {"Max": DAILY_REQUESTS, "Remaining": DAILY_REQUESTS - call.org.used}})


def _record_count(call: Call) -> Answer:
    wanted = [name for name in call.query.get("sObjects", "").split(",") if name] or list(OBJECTS)
    counts = [{"count": len(call.work.all(_kind(name).name)), "name": _kind(name).name} for name in wanted]
    return Answer(200, {"sObjects": counts})


def _describe_all(call: Call) -> Answer:
    described = []
    for kind in OBJECTS.values():
        whole = kind.describe(call.version)
        described.append({name: value for name, value in whole.items() if name not in ("fields", "childRelationships")})
    return Answer(200, {"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": described})


def _describe(call: Call, kind: str) -> Answer:
    return Answer(200, _kind(kind).describe(call.version))


def _create(call: Call, kind: str) -> Answer:
    record = save(call.work, _kind(kind), call.fields_of_body(), None)
    location = {"Location": call.url(_kind(kind).name, record["Id"])}
    return Answer(201, {"id": record["Id"], "success": True, "errors": []}, location)


def _read(call: Call, kind: str, ident: str) -> Answer:
    return Answer(200, _whole(call, _kind(kind), _existing(call, _kind(kind), ident)))


def _update(call: Call, kind: str, ident: str) -> Answer:
    save(call.work, _kind(kind), call.fields_of_body(), _existing(call, _kind(kind), ident))
    return Answer(204)


def _delete(call: Call, kind: str, ident: str) -> Answer:
    remove(call.work, _kind(kind), _existing(call, _kind(kind), ident))
    return Answer(204)


def _read_external(call: Call, kind: str, name: str, value: str) -> Answer:
    record = _matching(call, _kind(kind), name, value)
    if record is None:
        raise Refusal(404, "NOT_FOUND", "The requested resource does not exist")
    return Answer(200, _whole(call, _kind(kind), record))


def _upsert_external(call: Call, kind: str, name: str, value: str) -> Answer:
    record, created = _upsert(call, _kind(kind), name, value, call.fields_of_body())
    location = {"Location": call.url(_kind(kind).name, record["Id"])}
    body = {"id": record["Id"], "success": True, "errors": [], "created": created}
    return Answer(201, body, location) if created else Answer(200, body)


def _delete_external(call: Call, kind: str, name: str, value: str) -> Answer:
    record = _matching(call, _kind(kind), name, value)
    if record is None:
        raise Refusal(404, "NOT_FOUND", "The requested resource does not exist")
    remove(call.work, _kind(kind), record)
    return Answer(204)


def _upsert(call: Call, kind: SObject, name: str, value: str, body: Json) -> tuple[Record, bool]:
    before = _matching(call, kind, name, value)
    about = kind.field(name)
    assert about is not None
    if any(given.lower() == about.name.lower() for given in body):
        raise bad("INVALID_FIELD", f"The {about.name} field should not be specified in the sobject data.")
    if before is None and about.type != "id":
        body = {**body, about.name: value}
    return save(call.work, kind, body, before), before is None


def _query(call: Call) -> Answer:
    return _run(call, call.work)


def _query_all(call: Call) -> Answer:
    return _run(call, WithDeleted(call.work))


def _run(call: Call, records: soql.Records) -> Answer:
    if "q" not in call.query:
        raise bad("MALFORMED_QUERY", "A query string has to be specified")
    query = soql.Parser(call.query["q"], records).whole()
    found = soql.rows(query, records)
    if query.counts and not query.fields:
        return Answer(200, {"totalSize": len(found), "done": True, "records": []})
    shaped = [soql.shape(query, record, records, call.version) for record in found]
    asked = re.search(r"batchSize=(\d+)", call.headers.get("sforce-query-options", ""))
    size = min(2000, max(200, int(asked[1]))) if asked else 2000
    if len(shaped) <= size:
        return Answer(200, {"totalSize": len(shaped), "done": True, "records": shaped})
    locator = make_id("01g", call.org.shelf.next("query"))
    call.org.cursors[locator] = (shaped, size)
    return _page(call, locator, 0)


def _more(call: Call, locator: str, start: str) -> Answer:
    if locator not in call.org.cursors:
        raise bad("INVALID_QUERY_LOCATOR", "invalid query locator")
    return _page(call, locator, int(start))


def _page(call: Call, locator: str, start: int) -> Answer:
    shaped, size = call.org.cursors[locator]
    end = start + size
    body: Json = {"totalSize": len(shaped), "done": end >= len(shaped), "records": shaped[start:end]}
    if end < len(shaped):
        body["nextRecordsUrl"] = f"/services/data/v{call.version}/query/{locator}-{end}"
    return Answer(200, body)


# -- collections and composite -----------------------------------------------------------------------------------------


def _records_of_body(call: Call) -> list[Json]:
    records = call.fields_of_body().get("records")
    if not isinstance(records, list) or not records:
        raise bad("JSON_PARSER_ERROR", "records: a list of records is required")
    if len(records) > 200:
        raise bad(
            "EXCEEDED_MAX_SIZE_REQUEST", "record limit reached. cannot submit more than 200 records in this request"
        )
    return records


def _kind_of(record: Json) -> SObject:
    kind = find_object(record.get("attributes", {}).get("type", ""))
    if kind is None:
        raise bad("INVALID_TYPE", "sObject type is missing or not supported")
    return kind


def _each(call: Call, records: list[Json], one: Callable[[Json], Json], all_or_none: Any) -> Answer:
    """One result per record; with allOrNone a failure takes the others back. What cannot be parsed spoils the call."""
    mark = call.work.mark()
    results: list[Json] = []
    for record in records:
        try:
            results.append(one(record))
        except Refusal as refusal:
            if refusal.code == "JSON_PARSER_ERROR":
                call.work.back_to(mark)
                raise
            results.append(refusal.result)
        except SeveralMatch:
            results.append(
                bad("DUPLICATE_EXTERNAL_ID", "Duplicate external id specified: more than one record found").result
            )
    if all_or_none and not all(result["success"] for result in results):
        call.work.back_to(mark)
        rolled_back = bad(
            "ALL_OR_NONE_OPERATION_ROLLED_BACK",
            "Record rolled back because not all records were valid and the request was using AllOrNone header",
        ).result
        results = [rolled_back if result["success"] else result for result in results]
    return Answer(200, results)


def _create_many(call: Call) -> Answer:
    def one(record: Json) -> Json:
        saved = save(call.work, _kind_of(record), record, None)
        return {"id": saved["Id"], "success": True, "errors": []}

    return _each(call, _records_of_body(call), one, call.body.get("allOrNone"))


def _update_many(call: Call) -> Answer:
    def one(record: Json) -> Json:
        kind = _kind_of(record)
        fields = {name: value for name, value in record.items() if name.lower() != "id"}
        ident = next((value for name, value in record.items() if name.lower() == "id"), None)
        if not isinstance(ident, str) or full_id(ident) is None:
            raise bad("MISSING_ARGUMENT", "Id not specified in an update call", "Id")
        before = call.work.get(kind.name, full_id(ident) or "")
        if before is None:
            known = call.work.any(kind.name, full_id(ident) or "")
            code = "ENTITY_IS_DELETED" if known else "INVALID_CROSS_REFERENCE_KEY"
            raise bad(code, "entity is deleted" if known else "invalid cross reference id")
        return {"id": save(call.work, kind, fields, before)["Id"], "success": True, "errors": []}

    return _each(call, _records_of_body(call), one, call.body.get("allOrNone"))


def _upsert_many(call: Call, kind: str, name: str) -> Answer:
    about = _kind(kind).field(name)
    if about is None or not (about.external or about.type in ("id", "email")):
        raise Refusal(404, "NOT_FOUND", f"Provided external ID field does not exist or is not accessible: {name}")
    seen: set[str] = set()

    def one(record: Json) -> Json:
        fields = {n: value for n, value in record.items() if n.lower() != name.lower()}
        value = next((v for n, v in record.items() if n.lower() == name.lower()), None)
        if value is None and about.type != "id":
            raise bad("MISSING_ARGUMENT", f"{about.name} not specified", about.name)
        if value is not None and str(value).casefold() in seen:
            raise bad("DUPLICATE_VALUE", f"Duplicate external id specified: {value}", about.name)
        seen.add(str(value).casefold())
        try:
            saved, created = _upsert(call, _kind(kind), name, value or "", fields)
        except Refusal as refusal:
            if refusal.code == "JSON_PARSER_ERROR":
                raise
            return refusal.result | {"created": False}
        return {"id": saved["Id"], "success": True, "errors": [], "created": created}

    return _each(call, _records_of_body(call), one, call.body.get("allOrNone"))


def _delete_many(call: Call) -> Answer:
    def one(ident: Any) -> Json:
        kind = find_object(BY_PREFIX.get(ident[:3], ""))
        if kind is None:
            raise bad("MALFORMED_ID", f"malformed id {ident}")
        remove(call.work, kind, _existing(call, kind, ident))
        return {"id": full_id(ident), "success": True, "errors": []}

    idents: list[Any] = [ident for ident in call.query.get("ids", "").split(",") if ident]
    return _each(call, idents, one, call.query.get("allOrNone") == "true")


# -- Bulk API 2.0 ------------------------------------------------------------------------------------------------------

#: What is kept of a job beside what is shown of it: what was uploaded, and its results.
NOT_SHOWN = frozenset({"csv", "successfulResults", "failedResults", "unprocessedrecords"})
OPERATIONS = frozenset({"insert", "update", "upsert", "delete", "hardDelete"})
#: Results of a job: its list of them, and the columns before those that were sent.
RESULTS: Mapping[str, tuple[str, ...]] = {
    "successfulResults": ("sf__Id", "sf__Created"),
    "failedResults": ("sf__Id", "sf__Error"),
    "unprocessedrecords": (),
}


def _job(call: Call, ident: str) -> Json:
    job = call.org.shelf.get("_job", full_id(ident) or "")
    if job is None:
        raise Refusal(404, "NOT_FOUND", "The requested resource does not exist")
    return job


def _shown(job: Json) -> Json:
    return {name: value for name, value in job.items() if name not in NOT_SHOWN}


def _open_job(call: Call) -> Answer:
    asked = call.fields_of_body()
    kind = find_object(str(asked.get("object")))
    if kind is None:
        raise bad("INVALIDENTITY", f"Unable to find object: {asked.get('object')}")
    if asked.get("operation") not in OPERATIONS or asked.get("contentType", "CSV") != "CSV":
        raise bad("INVALIDJOB", "operation or contentType is not one of the values that are offered")
    if asked["operation"] == "upsert":
        key = kind.field(str(asked.get("externalIdFieldName")))
        if key is None or not (key.external or key.type == "id"):
            raise bad("INVALIDJOB", f"External ID field not found: {asked.get('externalIdFieldName')}")
    shelf = call.org.shelf
    ident, now = make_id("750", shelf.next("job")), stamp(shelf.now())
    job = {
        **{name: asked[name] for name in ("operation", "externalIdFieldName") if name in asked},
        "id": ident,
        "object": kind.name,
        "createdById": USER_ID,
        "createdDate": now,
        "systemModstamp": now,
        "state": "Open",
        "concurrencyMode": "Parallel",
        "contentType": "CSV",
        "apiVersion": Decimal(call.version),
        "contentUrl": f"services/data/v{call.version}/jobs/ingest/{ident}/batches",
        "lineEnding": asked.get("lineEnding", "LF"),
        "columnDelimiter": asked.get("columnDelimiter", "COMMA"),
        "jobType": "V2Ingest",
    }
    shelf.keep("_job", ident, job)
    return Answer(200, _shown(job))


def _upload(call: Call, ident: str) -> Answer:
    job = _job(call, ident)
    if job["state"] != "Open" or "csv" in job:
        raise bad("INVALIDJOBSTATE", "a job takes one upload, while it is open")
    if not isinstance(call.body, str):
        raise bad("INVALIDBATCH", "the content type of an upload is text/csv")
    call.org.shelf.keep("_job", job["id"], job | {"csv": call.body})
    return Answer(201)


def _set_job_state(call: Call, ident: str) -> Answer:
    job, wanted = _job(call, ident), call.fields_of_body().get("state")
    if wanted not in ("UploadComplete", "Aborted") or job["state"] in ("JobComplete", "Failed", "Aborted"):
        raise bad("INVALIDJOBSTATE", f"a job that is {job['state']} cannot become {wanted}")
    if wanted == "UploadComplete" and "csv" not in job:
        raise bad("INVALIDJOBSTATE", "nothing was uploaded")
    job = job | {"state": wanted}
    call.org.shelf.keep("_job", job["id"], job)
    return Answer(200, _shown(job))


def _look_at_job(call: Call, ident: str) -> Answer:
    """The org works between two looks: first a job is in progress, then it is done."""
    return Answer(200, _shown(_work_on(call, _job(call, ident))))


def _list_jobs(call: Call) -> Answer:
    jobs = [_shown(_work_on(call, job)) for job in call.org.shelf.all("_job")]
    return Answer(200, {"done": True, "records": jobs, "nextRecordsUrl": None})


def _work_on(call: Call, job: Json) -> Json:
    if job["state"] == "UploadComplete":
        job = job | {"state": "InProgress"}
    elif job["state"] == "InProgress":
        job = _processed(call, job)
    call.org.shelf.keep("_job", job["id"], job)
    return job


def _processed(call: Call, job: Json) -> Json:
    rows = list(csv.DictReader(io.StringIO(job["csv"], newline="")))
    kind = OBJECTS[job["object"]]
    unknown = [name for name in (rows[0] if rows else ()) if _column(kind, name) is None]
    if unknown:
        message = f"InvalidBatch : Field name not found : {unknown[0]}"
        return job | {"state": "Failed", "errorMessage": message, "unprocessedrecords": rows}
    done: list[Json] = []
    failed: list[Json] = []
    for row in rows:
        try:
            saved, created = _ingest(call, kind, job, row)
            done.append({"sf__Id": saved["Id"], "sf__Created": str(created).lower(), **row})
        except Refusal as refusal:
            code = "INVALID_TYPE_ON_FIELD_IN_RECORD" if refusal.code == "JSON_PARSER_ERROR" else refusal.code
            failed.append(
                {"sf__Id": "", "sf__Error": f"{code}:{refusal.message}:{', '.join(refusal.fields)} --", **row}
            )
        except SeveralMatch:
            failed.append({"sf__Id": "", "sf__Error": "DUPLICATE_EXTERNAL_ID:more than one record found: --", **row})
    counts = {"numberRecordsProcessed": len(rows), "numberRecordsFailed": len(failed)}
    return job | counts | {"state": "JobComplete", "successfulResults": done, "failedResults": failed}


def _column(kind: SObject, name: str) -> Field | None:
    """The field that a column sets: its own, or the reference whose parent ``Account.Tieout_Id__c`` names."""
    relation, _, _ = name.partition(".")
    return kind.field(name) or next(
        (f for f in kind.fields.values() if "." in name and f.relationship == relation), None
    )


def _ingest(call: Call, kind: SObject, job: Json, row: Mapping[str, str]) -> tuple[Record, bool]:
    """Writes one row: an empty value says nothing, and #N/A empties the field."""
    body: Json = {}
    for name, text in row.items():
        if not text:
            continue
        value: Any = None if text == "#N/A" else text
        about = _column(kind, name)
        if about is not None and about.type == "boolean" and text.lower() in ("true", "false"):
            value = text.lower() == "true"
        relation, dot, key = name.partition(".")
        body[relation if dot else name] = {key: value} if dot else value
    if job["operation"] == "upsert":
        name = job["externalIdFieldName"]
        key = body.pop(name, None)
        if key is None:
            raise bad("MISSING_ARGUMENT", f"{name} not specified", name)
        return _upsert(call, kind, name, key, body)
    if job["operation"] != "update":
        return save(call.work, kind, body, None), True
    ident = full_id(str(body.pop("Id", "")))
    before = call.work.get(kind.name, ident) if ident else None
    if before is None:
        raise bad("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
    return save(call.work, kind, body, before), False


def _job_results(call: Call, ident: str, which: str) -> Answer:
    job = _job(call, ident)
    sent = csv.DictReader(io.StringIO(job.get("csv", ""), newline="")).fieldnames or ()
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [*RESULTS[which], *sent], lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(job.get(which, ()))
    return Answer(200, text.getvalue(), {"Content-Type": "text/csv"})


def _read_many(call: Call, kind: str) -> Answer:
    asked = call.body if call.method == "POST" else {k: v.split(",") for k, v in call.query.items()}
    if not isinstance(asked, dict) or not asked.get("ids") or not asked.get("fields"):
        raise bad("MISSING_ARGUMENT", "ids and fields are required")
    with_fields = Call(call.org, call.work, call.version, "GET", {"fields": ",".join(asked["fields"])}, None)
    records = [call.work.get(_kind(kind).name, full_id(ident) or "") for ident in asked["ids"]]
    return Answer(200, [_whole(with_fields, _kind(kind), record) if record else None for record in records])


REFERENCE = re.compile(r"@\{(\w+)((?:\.\w+|\[\d+\])*)\}")


def _resolve(value: Any, answers: Mapping[str, Any]) -> Any:
    """A part of a subrequest with its ``@{ref.path}`` replaced by what earlier parts answered."""
    if isinstance(value, dict):
        return {name: _resolve(item, answers) for name, item in value.items()}
    if isinstance(value, list):
        return [_resolve(item, answers) for item in value]
    if not isinstance(value, str):
        return value

    def look_up(match: re.Match[str]) -> str:
        at = answers.get(match[1])
        for step in re.findall(r"\w+", match[2]):
            try:
                at = at[int(step)] if isinstance(at, list) else (at or {}).get(step)
            except (IndexError, ValueError, AttributeError):
                at = None
        if at is None or isinstance(at, (dict, list)):
            raise bad(
                "PROCESSING_HALTED", f"Invalid reference specified. No value for {match[0][2:-1]} found in {match[1]}"
            )
        return str(at)

    return REFERENCE.sub(look_up, value)


def _composite(call: Call) -> Answer:
    parts = call.fields_of_body().get("compositeRequest")
    if not isinstance(parts, list) or not 1 <= len(parts) <= 25:
        raise bad("INVALID_INPUT", "a composite request carries 1 to 25 subrequests")
    heavy = sum(1 for part in parts if re.search(r"/(query|queryAll|composite/sobjects)\b", str(part.get("url"))))
    if heavy > 5:
        raise bad("LIMIT_EXCEEDED", "at most 5 subrequests may be queries or sObject collections")
    mark = call.work.mark()
    bodies: dict[str, Any] = {}
    answers: list[Json] = []
    for part in parts:
        if not isinstance(part, dict) or not {"method", "url", "referenceId"} <= part.keys():
            raise bad("INVALID_INPUT", "a subrequest needs method, url and referenceId")
        if part["referenceId"] in bodies:
            raise bad("INVALID_INPUT", f"duplicate referenceId {part['referenceId']}")
        try:
            got = route(
                call.org,
                call.work,
                part["method"],
                _resolve(part["url"], bodies),
                _resolve(part.get("body"), bodies),
                {name.lower(): text for name, text in part.get("httpHeaders", {}).items()},
            )
        except Refusal as refusal:
            got = Answer(refusal.status, refusal.body)
        bodies[part["referenceId"]] = got.body
        answers.append(
            {
                "body": got.body,
                "httpHeaders": got.headers,
                "httpStatusCode": got.status,
                "referenceId": part["referenceId"],
            }
        )
    if call.body.get("allOrNone") and any(answer["httpStatusCode"] >= 300 for answer in answers):
        call.work.back_to(mark)
        halted = bad(
            "PROCESSING_HALTED",
            "The transaction was rolled back since another operation in the same transaction failed.",
        )
        for answer in answers:
            if answer["httpStatusCode"] < 300:
                answer |= {"body": halted.body, "httpStatusCode": 400, "httpHeaders": {}}
    return Answer(200, {"compositeResponse": answers})


#: Method and path below the version to what answers it; groups of the pattern are its arguments.
ROUTES: tuple[tuple[str, str, Callable[..., Answer]], ...] = (
    ("GET", r"", _resources),
    ("GET", r"limits", _limits),
    ("GET", r"limits/recordCount", _record_count),
    ("GET", r"sobjects", _describe_all),
    ("GET", r"sobjects/(\w+)/describe", _describe),
    ("POST", r"jobs/ingest", _open_job),
    ("GET", r"jobs/ingest", _list_jobs),
    ("PATCH", r"jobs/ingest/(\w+)", _set_job_state),
    ("GET", r"jobs/ingest/(\w+)", _look_at_job),
    ("PUT", r"jobs/ingest/(\w+)/batches", _upload),
    ("GET", rf"jobs/ingest/(\w+)/({'|'.join(RESULTS)})", _job_results),
    ("POST", r"sobjects/(\w+)", _create),
    ("GET", r"sobjects/(\w+)/(\w+)", _read),
    ("PATCH", r"sobjects/(\w+)/(\w+)", _update),
    ("DELETE", r"sobjects/(\w+)/(\w+)", _delete),
    ("GET", r"sobjects/(\w+)/(\w+)/([^/]+)", _read_external),
    ("PATCH", r"sobjects/(\w+)/(\w+)/([^/]+)", _upsert_external),
    ("DELETE", r"sobjects/(\w+)/(\w+)/([^/]+)", _delete_external),
    ("GET", r"query", _query),
    ("GET", r"queryAll", _query_all),
    ("GET", r"query(?:All)?/(\w+)-(\d+)", _more),
    ("POST", r"composite", _composite),
    ("POST", r"composite/sobjects", _create_many),
    ("PATCH", r"composite/sobjects", _update_many),
    ("DELETE", r"composite/sobjects", _delete_many),
    ("PATCH", r"composite/sobjects/(\w+)/(\w+)", _upsert_many),
    ("POST", r"composite/sobjects/(\w+)", _read_many),
    ("GET", r"composite/sobjects/(\w+)", _read_many),
)


def route(org: Org, work: Work, method: str, url: str, body: Any, headers: Mapping[str, str]) -> Answer:
    """Answers one call; ``url`` is its path and query, still percent-encoded."""
    parts = urlsplit(url)
    version, _, below = parts.path.removeprefix("/services/data/v").partition("/")
    known = [pattern for pattern in ROUTES if re.fullmatch(pattern[1], below.rstrip("/"))]
    if version not in VERSIONS or not known:
        return Answer(404, Refusal(404, "NOT_FOUND", "The requested resource does not exist").body)
    query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    for wanted, pattern, answer in known:
        match = re.fullmatch(pattern, below.rstrip("/"))
        if wanted == method and match:
            call = Call(org, work, version, method, query, body, headers)
            try:
                return answer(call, *map(unquote, match.groups()))
            except Refusal as refusal:
                return Answer(refusal.status, refusal.body)
            except soql.Refused as refusal:
                return Answer(400, bad(refusal.code, refusal.message).body)
            except SeveralMatch as several:
                return Answer(300, several.urls)
    allowed = ",".join(sorted({pattern[0] for pattern in known}))
    message = f"HTTP Method '{method}' not allowed. Allowed are {allowed}"
    return Answer(405, Refusal(405, "METHOD_NOT_ALLOWED", message).body)


async def _form(request: Request) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs((await request.body()).decode()).items()}


# -- the org on its socket ---------------------------------------------------------------------------------------------


@dataclass
class Org:
    """The org behind the routes: its shelf, open query cursors, and what it sends out."""

    shelf: Shelf
    used: int = 0
    cursors: dict[str, tuple[list[Json], int]] = field(default_factory=dict)
    send: Callable[[str, Json, bytes, str], None] = lambda _kind, _event, _body, _type: None
    bus: Bus = field(init=False)

    def __post_init__(self) -> None:
        self.bus = Bus(self.shelf)

    def stand(self) -> None:
        """Every org has itself, a user and the standard price book, also after a reset."""
        if self.shelf.get("Organization", ORGANIZATION_ID):
            return
        for kind, ident, fields in (
            (
                "Organization",
                ORGANIZATION_ID,
                {"Name": "Northwind Meetings", "IsSandbox": True, "InstanceName": "SBX0"},
            ),
            ("User", USER_ID, {"Name": "Tieout Integration", "Username": USERNAME, "Email": USERNAME}),
            (
                "Pricebook2",
                STANDARD_PRICEBOOK_ID,
                {"Name": "Standard Price Book", "IsActive": True, "IsStandard": True},
            ),
        ):
            blank = dict.fromkeys(OBJECTS[kind].fields)
            dates = dict.fromkeys(("CreatedDate", "LastModifiedDate", "SystemModstamp"), stamp(self.shelf.now()))
            self.shelf.keep(kind, ident, blank | {"Id": ident, "IsDeleted": False} | dates | fields)
            self.shelf.next(kind)

    async def versions(self, _request: Request) -> Response:
        return JSONResponse([{"label": v, "url": f"/services/data/v{v}", "version": v} for v in VERSIONS])

    async def rest(self, request: Request) -> Response:
        token = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if not token or self.shelf.get("_session", token) is None:
            return ExactJSONResponse(
                Refusal(401, "INVALID_SESSION_ID", "Session expired or invalid").body,
                401,
                {"WWW-Authenticate": "Token"},
            )
        self.stand()
        self.used = self.shelf.next("api_requests")
        raw = await request.body()
        body: Any = None
        if request.headers.get("content-type", "").startswith("text/csv"):
            body = raw.decode()
        elif raw:
            try:
                body = read_json(raw)
            except ValueError:
                return ExactJSONResponse(bad("JSON_PARSER_ERROR", "Unexpected character in the body").body, 400)
        work = Work(self.shelf)
        url = request.scope["raw_path"].decode() + ("?" + request.url.query if request.url.query else "")
        with OBJECTS.of(self.shelf, as_changed, as_new):
            answer = route(self, work, request.method, url, body, request.headers)
        if answer.status < 300:
            self.bus.capture(work)
            work.commit()
            self._notify(work)
        headers = answer.headers | {"Sforce-Limit-Info": f"api-usage={self.used}/{DAILY_REQUESTS}"}
        if answer.body is None:
            return Response(status_code=answer.status, headers=headers)
        if isinstance(answer.body, str):
            return Response(answer.body, answer.status, headers)
        return ExactJSONResponse(answer.body, answer.status, headers)

    def _notify(self, work: Work) -> None:
        for kind, ident in dict.fromkeys(work.won):
            record = work.get(kind, ident)
            if record:
                notification = make_id("04l", self.shelf.next("notification"))
                body = outbound_message(notification, kind, record)
                self.send(kind, {"Id": notification}, body, "text/xml; charset=UTF-8")

    async def token(self, request: Request) -> Response:
        form = await _form(request)
        try:
            grant = form.get("grant_type")
            if grant == "client_credentials":
                self._check_client(request, form)
            elif grant == "urn:ietf:params:oauth:grant-type:jwt-bearer":
                self._check_assertion(form.get("assertion", ""), str(request.base_url).rstrip("/"))
            else:
                raise bad("unsupported_grant_type", "grant type not supported")
        except Refusal as refusal:
            return JSONResponse({"error": refusal.code, "error_description": refusal.message}, refusal.status)
        token = f"{ORGANIZATION_ID[:15]}!{secrets.token_urlsafe(48)}"
        self.shelf.keep("_session", token, {"user": USER_ID})
        base = str(request.base_url).rstrip("/")
        return JSONResponse(
            {
                "access_token": token,
                "instance_url": base,
                "id": f"{base}/id/{ORGANIZATION_ID}/{USER_ID}",
                "token_type": "Bearer",
                "issued_at": str(int(self.shelf.now().timestamp() * 1000)),
                "signature": base64.b64encode(secrets.token_bytes(32)).decode(),
                "scope": "api",
            }
        )

    def _check_client(self, request: Request, form: Mapping[str, str]) -> None:
        client, secret = form.get("client_id"), form.get("client_secret")
        basic = request.headers.get("authorization", "").removeprefix("Basic ")
        if client is None and basic:
            client, _, secret = base64.b64decode(basic).decode().partition(":")
        if client != CLIENT_ID:
            raise bad("invalid_client_id", "client identifier invalid")
        if secret != CLIENT_SECRET:
            raise bad("invalid_client", "invalid client credentials")

    def _check_assertion(self, assertion: str, base: str) -> None:
        certificate = self.shelf.get("_certificate", CLIENT_ID)
        if certificate is None:
            raise bad("invalid_client", "the connected app has no certificate")
        try:
            claims = jwt.decode(
                assertion, certificate["pem"], ["RS256"], audience=[*AUDIENCES, base], options={"require": ["exp"]}
            )
        except jwt.InvalidAudienceError:
            raise bad("invalid_grant", "audience is invalid") from None
        except jwt.ExpiredSignatureError:
            raise bad("invalid_grant", "assertion expired") from None
        except jwt.PyJWTError:
            raise bad("invalid_grant", "invalid assertion") from None
        if claims.get("iss") != CLIENT_ID:
            raise bad("invalid_client_id", "client identifier invalid")
        if claims.get("sub") != USERNAME:
            raise bad("invalid_grant", "user hasn't approved this consumer")

    async def certificate(self, request: Request) -> Response:
        self.shelf.keep("_certificate", CLIENT_ID, {"pem": (await request.body()).decode()})
        return JSONResponse({})

    async def revoke(self, request: Request) -> Response:
        self.shelf.drop("_session", (await _form(request)).get("token", ""))
        return Response(status_code=200)


def outbound_message(notification_id: str, kind: str, record: Record) -> bytes:
    """The SOAP request of an outbound message with one notification, in the form of its WSDL."""
    names = ("AccountId", "Amount", "CloseDate", "Name", "StageName", "SystemModstamp")
    values = {name: record[name] for name in names if record.get(name) is not None}
    inside = "".join(f"<sf:{name}>{escape(str(value))}</sf:{name}>" for name, value in values.items())
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" \
xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
 <soapenv:Body>
  <notifications xmlns="http://soap.sforce.com/2005/09/outbound">
   <OrganizationId>{ORGANIZATION_ID}</OrganizationId>
   <ActionId>{OUTBOUND_ACTION_ID}</ActionId>
   <SessionId xsi:nil="true"/>
   <EnterpriseUrl>https://sandbox.example/services/Soap/c/64.0/{ORGANIZATION_ID[:15]}</EnterpriseUrl>
   <PartnerUrl>https://sandbox.example/services/Soap/u/64.0/{ORGANIZATION_ID[:15]}</PartnerUrl>
   <Notification>
    <Id>{notification_id}</Id>
    <sObject xsi:type="sf:{kind}" xmlns:sf="urn:sobject.enterprise.soap.sforce.com">
     <sf:Id>{record["Id"]}</sf:Id>{inside}
    </sObject>
   </Notification>
  </notifications>
 </soapenv:Body>
</soapenv:Envelope>""".encode()


def acknowledged(answer: bytes) -> bool:
    """Whether the receiver's SOAP answer says ``<Ack>true</Ack>``; anything else is sent again."""
    return re.search(rb"<(?:\w+:)?Ack>\s*true\s*</", answer) is not None


FAULTS: Mapping[int, tuple[str, str]] = {
    400: ("UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record"),
    401: ("INVALID_SESSION_ID", "Session expired or invalid"),
    500: ("UNKNOWN_EXCEPTION", "An unexpected error occurred. Please include this ErrorId if you contact support"),
    503: ("SERVER_UNAVAILABLE", "Server unavailable"),
}


def fault_answer(fault: Fault) -> Response:
    if fault.kind == "rate_limit":
        message = "ConcurrentRequests (Concurrent API Requests) Limit exceeded."
        wait = {"Retry-After": format(fault.seconds, "g")}
        return JSONResponse(Refusal(403, "REQUEST_LIMIT_EXCEEDED", message).body, 403, wait)
    code, message = FAULTS.get(fault.status, ("UNKNOWN_EXCEPTION", "planted fault"))
    return JSONResponse(Refusal(fault.status, code, message).body, fault.status)


def emulator(shelf: Shelf) -> Emulator:
    org = Org(shelf)
    routes = [
        Route("/services/oauth2/token", org.token, methods=["POST"]),
        Route("/services/oauth2/revoke", org.revoke, methods=["POST"]),
        Route("/_sandbox/certificate", org.certificate, methods=["POST"]),
        door(shelf),
        *org.bus.routes(),
        Route("/services/data", org.versions),
        Route("/services/data/", org.versions),
        Route("/services/data/{rest:path}", org.rest, methods=["GET", "POST", "PATCH", "PUT", "DELETE"]),
    ]
    built = Emulator("salesforce", routes, shelf, delivered=acknowledged, fault_answer=fault_answer)
    org.send = built.webhooks.send
    return built
