"""Calls and answers against what else vendors publish: JSON schemas, metadata of OData, XSDs of SOAP."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from email.parser import BytesParser
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.etree import ElementTree

import httpx
from jsonschema import Draft202012Validator
from lxml import etree

from tests.conformance.capture import Call
from tests.conformance.openapi import Json, Verdict


class Schema:
    """One file of JSON schemas by name (``$defs``)."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._validators: dict[str, Draft202012Validator] = {}

    @cached_property
    def defs(self) -> Json:
        loaded: Json = json.loads(self.file.read_text(encoding="utf-8"))["$defs"]
        return loaded

    def faults(self, where: str, name: str, value: Any) -> Iterator[str]:
        if name not in self._validators:
            self._validators[name] = Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": self.defs})
        for error in self._validators[name].iter_errors(value):
            yield f"{where}{''.join(f'.{part}' for part in error.absolute_path)}: {error.message[:200]}"


class QuickBooks:
    """The entities of ``Finance.xsd``, as the JSON schema made from it has them."""

    _PATH = re.compile(r"/v3/company/\d+/(reports/)?(\w+)(/\w+)?")
    #: What is read or written under a name of its own, and the definition of its answer.
    _ANSWERS: Mapping[str, tuple[str | None, str]] = {
        "preferences": ("Preferences", "Preferences"),
        "reports": (None, "Report"),
    }

    def __init__(self, folder: Path) -> None:
        self.schema = Schema(folder / "qbo-v3-entities.derived.schema.json")

    @cached_property
    def _entities(self) -> dict[str, str]:
        return {name.lower(): name for name in self.schema.defs}

    def judge(self, call: Call) -> Iterator[Verdict]:
        path, faults = self._PATH.fullmatch(call.request.url.path), list[str]()
        if path is None:
            yield "", []
            return
        reports, place, ident = path.groups()
        query = dict(call.request.url.params)
        if not re.fullmatch(r"\d+", query.get("minorversion", "")):
            faults.append("request: the query lacks minorversion")
        if call.request.method == "POST":
            if not 0 < len(query.get("requestid", "")) <= (36 if place == "batch" else 50):
                faults.append("request: requestid has 1 to 50 characters, 36 with a batch")
            name = "IntuitBatchRequest" if place == "batch" else self._entities.get(place)
            if name is None:
                yield "", []
                return
            faults += self.schema.faults("request", name, json.loads(call.request.content))
        if call.answered and call.response is not None:
            body = json.loads(call.response.content)
            member, name = self._ANSWERS.get("reports" if reports else place, (None, "IntuitResponse"))
            if member and member in body:
                faults += self.schema.faults("answer", name, body[member])
            else:
                name = name if call.response.is_success else "IntuitResponse"
                faults += self.schema.faults("answer", name, body)
        yield f"{call.request.method} {reports or ''}{place}{'/{id}' if ident else ''}", faults


class Salesforce:
    """The shapes of the wire, and the columns of the objects whose description is at hand."""

    _ROOT = r"/services/data/v\d+\.0/"
    #: A call's line, its name, and the definitions of its body and its answer.
    _CALLS = (
        (r"POST /services/oauth2/token", "POST token", "", "TokenResponse"),
        (rf"GET {_ROOT}query(All)?/?(\w+-\d+)?", "GET query", "", "QueryResult"),
        (rf"POST {_ROOT}composite/?", "POST composite", "CompositeRequest", "CompositeResponse"),
        (rf"(PATCH|POST) {_ROOT}composite/sobjects(/\w+/\w+)?/?", "PATCH composite/sobjects",
         "CollectionRequest", "SaveResultList"),
        (rf"POST {_ROOT}jobs/ingest/?", "POST jobs/ingest", "BulkIngestRequest", "BulkJob"),
        (rf"PATCH {_ROOT}jobs/ingest/\w+/?", "PATCH jobs/ingest", "BulkStateChange", "BulkJob"),
        (rf"GET {_ROOT}jobs/ingest/\w+/?", "GET jobs/ingest", "", "BulkJob"),
    )  # fmt: skip

    def __init__(self, folder: Path) -> None:
        self.folder, self.schema = folder, Schema(folder / "rest-shapes.schema.json")

    @cached_property
    def _columns(self) -> dict[str, set[str | None]]:
        """Object to the fields and parents that a real organisation describes."""
        found = {}
        for file in (self.folder / "describe").glob("*.json"):
            described = json.loads(file.read_text(encoding="utf-8"))
            things = [*described["fields"], *described.get("childRelationships", ())]
            names = {thing.get(name) for thing in things for name in ("name", "relationshipName")}
            found[file.name.partition(".")[0]] = names
        return found

    def judge(self, call: Call) -> Iterator[Verdict]:
        response = call.response if call.answered else None
        told = None if response is None else (response.status_code, _json(response.content))
        yield from self._judged(call.request.method, call.request.url.path, _json(call.request.content), told)

    def _judged(self, method: str, path: str, body: Any, told: tuple[int, Any] | None) -> Iterator[Verdict]:
        known = next((one for one in self._CALLS if re.fullmatch(one[0], f"{method} {path}")), None)
        if known is None:
            yield "", []
            return
        _, operation, sent, answered = known
        faults = list(self.schema.faults("request", sent, body)) if sent else []
        if told:
            status, answer = told
            faults += self.schema.faults("answer", "ErrorList" if status >= 400 else answered, answer)
            faults += self._unknown_columns(answer)
        yield operation, faults
        if told and sent == "CompositeRequest" and told[0] < 400:
            for asked, part in zip(body["compositeRequest"], told[1]["compositeResponse"], strict=True):
                inner = part["httpStatusCode"], part["body"]
                yield from self._judged(asked["method"], urlsplit(asked["url"]).path, asked.get("body"), inner)

    def _unknown_columns(self, answer: Any) -> Iterator[str]:
        """Columns that no organisation has: neither described nor one's own."""
        for record in answer.get("records", ()) if isinstance(answer, dict) else ():
            kind = record["attributes"]["type"]
            for name in record.keys() - {"attributes"}:
                if kind in self._columns and name not in self._columns[kind] and not re.search(r"__[cr]$", name):
                    yield f"answer: {kind} has no column {name}"


class Dataverse:
    """Names by the CSDL, bodies by the JSON schema made from it. What begins with ``tieout_`` is this product's own."""

    _ROOT = "/api/data/v9.2/"
    _EDM = "{http://docs.oasis-open.org/odata/ns/edm}"
    #: Words of the query language.
    _WORDS = frozenset(
        {"and", "or", "not", "eq", "ne", "gt", "ge", "lt", "le", "null", "true", "false", "asc", "desc", "In"}
        | {"PropertyName", "PropertyValues"}
    )
    _OPTIONS = frozenset({"$select", "$filter", "$orderby", "$expand", "$skiptoken", "$deltatoken"})
    #: Headers that every call has.
    _HEADERS = (("odata-version", "4.0"), ("odata-maxversion", "4.0"), ("if-none-match", "null"))

    def __init__(self, folder: Path) -> None:
        self.folder, self.schema = folder, Schema(folder / "dataverse-sales.schema.json")

    @cached_property
    def _sets(self) -> dict[str, tuple[str, frozenset[str]]]:
        """Entity set to its type, and the names of that type: columns and navigation."""
        tree = ElementTree.parse(self.folder / "dataverse-sales.csdl.xml")
        of_type = {
            entity.get("Name", ""): frozenset(
                child.get("Name", "")
                for child in entity
                if child.tag in (f"{self._EDM}Property", f"{self._EDM}NavigationProperty")
            )
            for entity in tree.iter(f"{self._EDM}EntityType")
        }
        sets = tree.iter(f"{self._EDM}EntitySet")
        kinds = {one.get("Name", ""): one.get("EntityType", "").rpartition(".")[2] for one in sets}
        return {name: (kind, of_type[kind]) for name, kind in kinds.items()}

    def judge(self, call: Call) -> Iterator[Verdict]:
        request, response = call.request, call.response if call.answered else None
        if not request.url.path.startswith(self._ROOT):
            yield "", []
            return
        lacking = [f"request: the header {n} is not {v}" for n, v in self._HEADERS if request.headers.get(n) != v]
        if request.url.path != f"{self._ROOT}$batch":
            told = None if response is None else (response.status_code, response.content)
            target = request.url.raw_path.decode()
            for operation, faults in self._judged(request.method, target, dict(request.headers), request.content, told):
                yield operation, lacking + faults
            return
        yield "POST $batch", lacking + ([] if response is None else self._whole(response))
        calls = [_request(message) for message in _parts(request.headers["content-type"], request.content)]
        media = "" if response is None else response.headers.get("content-type", "")
        replies: list[Any] = [None] * len(calls)
        if response is not None and media.startswith("multipart/"):
            replies = [_reply(message) for message in _parts(media, response.content)]
            if len(replies) < len(calls):  # a change set that failed has one answer for all
                replies = [replies[0]] * len(calls)
        for one, reply in zip(calls, replies, strict=True):
            yield from self._judged(*one, reply)

    def _whole(self, response: httpx.Response) -> list[str]:
        """What is wrong with the answer to a batch as a whole."""
        return list(self.schema.faults("answer", "error", _json(response.content))) if response.is_error else []

    def _judged(
        self, method: str, target: str, headers: dict[str, str], body: bytes, told: tuple[int, bytes] | None
    ) -> Iterator[Verdict]:
        parts = urlsplit(target)
        path = unquote(parts.path).removeprefix(self._ROOT)
        match = re.fullmatch(r"(\w+)(?:\((?:[0-9a-f-]{36}|(\w+)='[^']*')\))?", path)
        if match is None or match[1] not in self._sets:
            yield "", []
            return
        kind, known = self._sets[match[1]]
        faults = [f"request: {kind} has no key {match[2]}"] if match[2] and match[2] not in known else []
        faults += self._query(kind, known, dict(parse_qsl(parts.query)))
        if method in ("PATCH", "POST"):
            faults += self.schema.faults("request", f"{kind}.write", json.loads(body))
        if told and told[1]:
            answer = json.loads(told[1])
            name = "error" if told[0] >= 400 else f"{kind}.list" if "value" in answer else f"{kind}.read"
            faults += self.schema.faults("answer", name, answer)
        yield f"{method} {match[1]}{path[len(match[1]) :] and '(key)'}", faults

    def _query(self, kind: str, known: frozenset[str], options: dict[str, str]) -> Iterator[str]:
        yield from (f"request: no query option {name}" for name in options.keys() - self._OPTIONS)
        lookups = frozenset(name[1:-6] for name in known if name.startswith("_"))
        inside = re.sub(r"Microsoft\.Dynamics\.CRM\.In\(PropertyName='(\w+)'", r"In(\1", options.get("$filter", ""))
        for names, text in ((known, options.get("$select", "")), (known, options.get("$orderby", "")),
                            (known | lookups, inside)):  # fmt: skip
            plain = re.sub(r"\"[^\"]*\"|'[^']*'|\d{4}-\d\d-\d\dT[\d:.]+Z", "", text)
            for name in re.findall(r"[A-Za-z_]\w*", plain):
                if name not in names | self._WORDS and not name.startswith(("tieout_", "_tieout_")):
                    yield f"request: {kind} has no column {name}"
        everywhere = known.union(*(of for _, of in self._sets.values()))
        for name in re.findall(r"([A-Za-z_]\w*)(?=\(|,|$)", re.sub(r"\$select=[^);]*", "", options.get("$expand", ""))):
            if name not in everywhere and not name.startswith("tieout_"):
                yield f"request: nothing to expand is called {name}"


def _parts(content_type: str, body: bytes) -> Iterator[bytes]:
    """The HTTP messages inside a multipart body, change sets opened."""
    for part in BytesParser().parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body).walk():
        if not part.is_multipart():
            content = part.get_payload(decode=True)
            assert part.get_content_type() == "application/http"
            assert isinstance(content, bytes)
            yield content


def _request(message: bytes) -> tuple[str, str, dict[str, str], bytes]:
    head, _, body = message.partition(b"\r\n\r\n")
    line, *headers = head.decode().split("\r\n")
    method, target, _ = line.split(" ")
    return method, target, {n.lower(): v for n, _, v in (one.partition(": ") for one in headers)}, body


def _reply(message: bytes) -> tuple[int, bytes]:
    head, _, body = message.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body


def _json(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return None


class Soap:
    """Headers, bodies and details of faults, by the XSDs of a WSDL."""

    _SOAP = "{http://schemas.xmlsoap.org/soap/envelope/}"

    def __init__(self, folder: Path, path: str) -> None:
        self.folder, self.path = folder, path

    @cached_property
    def _schema(self) -> Any:
        space = re.compile(rb'targetNamespace="([^"]+)"')
        imports = "".join(
            f'<import namespace="{found[1].decode()}" schemaLocation="{file.as_uri()}"/>'
            for file in sorted(self.folder.rglob("*.xsd"))
            if (found := space.search(file.read_bytes()))
        )
        return etree.XMLSchema(etree.fromstring(f'<schema xmlns="http://www.w3.org/2001/XMLSchema">{imports}</schema>'))

    def judge(self, call: Call) -> Iterator[Verdict]:
        if not re.fullmatch(self.path, call.request.url.path):
            yield "", []
            return
        operation, faults = self._envelope("request", call.request.content)
        if call.answered and call.response is not None:
            faults += self._envelope("answer", call.response.content)[1]
        yield operation, faults

    def _envelope(self, side: str, content: bytes) -> tuple[str, list[str]]:
        try:
            envelope = etree.fromstring(content)
        except etree.XMLSyntaxError as error:
            return "", [f"{side}: is not XML: {error}"]
        body = envelope.find(f"{self._SOAP}Body")
        if body is None or len(body) != 1:
            return "", [f"{side}: is no envelope with one body"]
        inner = f"{self._SOAP}Fault/detail/*" if body[0].tag == f"{self._SOAP}Fault" else "*"
        parts = [*envelope.iterfind(f"{self._SOAP}Header/*"), *body.iterfind(inner)]
        faults = []
        for part in map(deepcopy, parts):
            if not self._schema.validate(part):
                faults += [f"{side} {etree.QName(part).localname}: {one.message}" for one in self._schema.error_log]
        return etree.QName(body[0]).localname, faults
