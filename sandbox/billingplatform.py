"""A BillingPlatform organisation on loopback: REST 2.0, SOAP, and bills made of what it was given.

Written from the vendor's public API reference and articles (bp-api-docs-v3.redocly.app, support.billingplatform.com:
API Introduction, REST Methods, SOAP Methods, Overview, Query Language, Invoices, Rating Methods; read 2026-11).
Entities and queries stand in ``sandbox.billingplatform_schema``, the bills in ``sandbox.billingplatform_billing``. What
no public page says, and the emulator had to decide, is listed in docs/connectors/billingplatform.md.

Beside the vendor's routes: ``POST /_sandbox/close`` with ``{"month": "2026-10"}`` stands in for the job that closes the
invoices of a cycle, and ``DELETE /_sandbox/sessions`` ends all sessions, as their time does.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from lxml import etree
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.billingplatform_billing import Organisation, Refused
from sandbox.billingplatform_schema import FIELDS, NAMESPACE, BadQuery, Query, conditions, select, wsdl
from sandbox.emulator import Emulator, Fault, Json, Shelf, read_json

ORGANISATION = "northwind"
USERNAME = "tieout.api"
PASSWORD = "sandbox-password"
CLIENT_ID = "sandbox-client"
CLIENT_SECRET = "sandbox-client-secret"

_SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
_XSI_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"
#: How the answer to each way of writing is called.
_ANSWERS = {"POST": "createResponse", "PUT": "updateResponse", "PATCH": "upsertResponse"}

Handler = Callable[[Request], Awaitable[Response]]


class Service:
    """The routes of one organisation's API."""

    def __init__(self, shelf: Shelf) -> None:
        self.organisation = Organisation(shelf)
        self.sessions: set[str] = set()
        base = f"/{ORGANISATION}"
        rest = f"{base}/rest/2.0"
        self.routes = [
            Route(f"{base}/auth/1.0/authenticate", self.authenticate, methods=["POST"]),
            Route(f"{rest}/login", self.login, methods=["POST"]),
            Route(f"{rest}/logout", self._known(self.logout), methods=["POST"]),
            Route(f"{rest}/query", self._known(self.query)),
            Route(f"{rest}/{{entity}}", self._known(self.filtered), methods=["GET"]),
            Route(f"{rest}/{{entity}}", self._known(self.written), methods=["POST", "PUT", "PATCH"]),
            Route(f"{rest}/{{entity}}/{{ident}}", self._known(self.one)),
            Route(f"{base}/soap/wsdl", self.wsdl),
            Route(f"{base}/soap", self.soap, methods=["POST"]),
            Route("/_sandbox/close", self.close, methods=["POST"]),
            Route("/_sandbox/sessions", self.end_sessions, methods=["DELETE"]),
        ]

    # Sessions

    def _known(self, handler: Handler) -> Handler:
        async def guard(request: Request) -> Response:
            bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
            if not {request.headers.get("sessionid"), bearer} & self.sessions:
                return _refused(401, "INVALID_SESSION", "The session ID is not valid.")
            return await handler(request)

        return guard

    async def login(self, request: Request) -> Response:
        given = read_json(await request.body())
        if (given.get("username"), given.get("password")) != (USERNAME, PASSWORD):
            return _refused(401, "INVALID_LOGIN", "The user name or password is not valid.")
        session = secrets.token_urlsafe(24)
        self.sessions.add(session)
        return JSONResponse({"loginResponse": [{"SessionID": session, "ErrorCode": "0", "ErrorText": []}]})

    async def authenticate(self, request: Request) -> Response:
        """OAuth 2.0, client credentials: the client is told by Basic authentication."""
        client = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {client}":
            return JSONResponse({"error": "invalid_client"}, 401)
        if request.query_params.get("grant_type") != "client_credentials":
            return JSONResponse({"error": "unsupported_grant_type"}, 400)
        token = secrets.token_urlsafe(24)
        self.sessions.add(token)
        made = {"access_token": token, "refresh_token": secrets.token_urlsafe(24)}
        return JSONResponse({**made, "token_type": "Bearer", "expires_in": 3600})

    async def logout(self, request: Request) -> Response:
        self.sessions.discard(request.headers["sessionid"])
        return JSONResponse({"logoutResponse": [{"ErrorCode": "0", "ErrorText": []}]})

    # Reading

    async def query(self, request: Request) -> Response:
        try:
            asked = select(request.query_params["sql"])
        except KeyError:
            return _refused(400, "MISSING_PARAMETER", "sql is missing")
        except BadQuery as error:
            return _refused(400, "INVALID_QUERY", str(error))
        return self._found("queryResponse", asked)

    async def filtered(self, request: Request) -> Response:
        entity = request.path_params["entity"]
        if entity not in FIELDS:
            return _refused(404, "NOT_FOUND", f"there is no entity {entity}")
        try:
            asked = Query(entity, (), conditions(entity, request.query_params["queryAnsiSql"]))
        except KeyError:
            return _refused(400, "MISSING_PARAMETER", "queryAnsiSql is missing")
        except BadQuery as error:
            return _refused(400, "INVALID_QUERY", str(error))
        return self._found("retrieveResponse", asked)

    def _found(self, name: str, asked: Query) -> Response:
        with self.organisation.lock:
            rows = asked.run(self.organisation.all(asked.entity))
        return JSONResponse({name: rows}) if rows else _refused(404, "NO_ROWS", "No rows matched.")

    async def one(self, request: Request) -> Response:
        entity, ident = request.path_params["entity"], request.path_params["ident"]
        if entity not in FIELDS or self.organisation.held(entity, ident) is None:
            return _refused(404, "NO_ROWS", "No rows matched.")
        quoted = ident.replace("'", "''")
        (row,) = Query(entity, (), conditions(entity, f"Id = '{quoted}'")).run(self.organisation.all(entity))
        return JSONResponse({"retrieveResponse": row})

    # Writing

    async def written(self, request: Request) -> Response:
        entity, body = request.path_params["entity"], read_json(await request.body())
        if entity not in FIELDS:
            return _refused(404, "NOT_FOUND", f"there is no entity {entity}")
        given, key = body.get("brmObjects"), body.get("externalIDFieldName", "")
        if given is None:
            return _refused(400, "MISSING_PARAMETER", "brmObjects is missing")
        if request.method == "PATCH" and not _is_key(entity, key):
            return _refused(400, "INVALID_KEY", f"externalIDFieldName names no external key of {entity}")
        objects = given if isinstance(given, list) else [given]
        return JSONResponse({_ANSWERS[request.method]: self._write(request.method, entity, objects, key)})

    def _write(self, method: str, entity: str, objects: Iterable[Json], key: str) -> list[Json]:
        with self.organisation.lock:
            return [self._row(method, entity, given, key) for given in objects]

    def _row(self, method: str, entity: str, given: Json, key: str) -> Json:
        row: Json = {"Id": "", "ErrorCode": "0", "ErrorText": "", "ErrorElementField": "", "success": True}
        try:
            if entity == "INVOICE":
                raise Refused("NOT_ALLOWED", "invoices are made by billing")
            match method:
                case "PATCH":
                    row["Id"], row["created"] = self.organisation.upsert(entity, given, key)
                case "PUT":
                    known = self.organisation.held(entity, str(given.get("Id", "")))
                    if known is None:
                        raise Refused("INVALID_ID", f"there is no {entity} {given.get('Id')}", "Id")
                    row["Id"], _ = self.organisation.write(entity, given, known)
                case _:
                    row["Id"], row["created"] = self.organisation.write(entity, given)
        except Refused as error:
            row |= {"ErrorCode": error.code, "ErrorText": str(error), "ErrorElementField": error.field}
            row |= {"success": False, "created": False}
        return row

    # SOAP

    async def wsdl(self, request: Request) -> Response:
        address = f"{str(request.base_url).rstrip('/')}/{ORGANISATION}/soap"
        return Response(wsdl(address), media_type="text/xml")

    async def soap(self, request: Request) -> Response:
        parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True)
        try:
            root = etree.fromstring(await request.body(), parser)
        except etree.XMLSyntaxError:
            return _soap_fault("INVALID_XML", "The message is not well formed.")
        session = root.findtext(f".//{{{NAMESPACE}}}SessionHeader/{{{NAMESPACE}}}SessionID")
        if session not in self.sessions:
            return _soap_fault("INVALID_SESSION", "The session ID is not valid.")
        message = root.find(f"{{{_SOAP}}}Body/*")
        operation = "" if message is None else etree.QName(message).localname
        if message is None or operation not in ("create", "upsert"):
            return _soap_fault("INVALID_OPERATION", "The operation is not known.")
        key = message.findtext(f"{{{NAMESPACE}}}externalIDFieldName") or ""
        rows: list[Json] = []
        for element in message.findall(f"{{{NAMESPACE}}}brmObjects"):
            entity = (element.get(_XSI_TYPE) or element.get("type") or "").rpartition(":")[2]
            if entity not in FIELDS or (operation == "upsert" and not _is_key(entity, key)):
                return _soap_fault("INVALID_TYPE", "The type of a brmObject or the external key is not known.")
            rows += self._write("PATCH" if operation == "upsert" else "POST", entity, [_given(element)], key)
        return _soap_answer(operation, rows)

    # Beside the vendor

    async def close(self, request: Request) -> Response:
        month = read_json(await request.body())["month"]
        with self.organisation.lock:
            return JSONResponse({"closed": self.organisation.close(month)})

    async def end_sessions(self, _request: Request) -> Response:
        self.sessions.clear()
        return JSONResponse({})


def _is_key(entity: str, name: str) -> bool:
    field = FIELDS[entity].get(name)
    return field is not None and field.is_key


def _refused(status: int, code: str, text: str) -> Response:
    return JSONResponse({"errors": [{"error_code": code, "error_text": text}]}, status)


def _given(element: Any) -> Json:
    """The fields of a SOAP object; nested objects are references."""
    return {etree.QName(one).localname: _given(one) if len(one) else (one.text or "") for one in element}


def _soap_answer(operation: str, rows: Iterable[Json]) -> Response:
    root = etree.Element(f"{{{_SOAP}}}Envelope", nsmap={"soapenv": _SOAP, "urn": NAMESPACE})
    body = etree.SubElement(root, f"{{{_SOAP}}}Body")
    answer = etree.SubElement(body, f"{{{NAMESPACE}}}{operation}Response")
    for row in rows:
        result = etree.SubElement(answer, "result")
        for name, value in row.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            etree.SubElement(result, name).text = text
    return Response(etree.tostring(root, xml_declaration=True, encoding="utf-8"), media_type="text/xml")


def _soap_fault(code: str, text: str) -> Response:
    root = etree.Element(f"{{{_SOAP}}}Envelope", nsmap={"soapenv": _SOAP})
    fault = etree.SubElement(etree.SubElement(root, f"{{{_SOAP}}}Body"), f"{{{_SOAP}}}Fault")
    etree.SubElement(fault, "faultcode").text = code
    etree.SubElement(fault, "faultstring").text = text
    return Response(etree.tostring(root, xml_declaration=True, encoding="utf-8"), 500, media_type="text/xml")


def _fault_answer(fault: Fault) -> Response:
    """Planted faults: 429 exists and nothing more is published of it; others are a bare page."""
    if fault.kind == "rate_limit":
        return _refused(429, "TOO_MANY_REQUESTS", "Too many requests.")
    return Response("<html><body>error</body></html>", fault.status, media_type="text/html")


def emulator(shelf: Shelf) -> Emulator:
    service = Service(shelf)
    return Emulator("billingplatform", service.routes, shelf, fault_answer=_fault_answer)
