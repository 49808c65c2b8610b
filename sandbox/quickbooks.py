"""A QuickBooks Online company on loopback: tokens, entities, query, batch, change data capture, reports, webhooks.

Written from the Accounting API's reference, its pages on queries, batches, change data capture, errors, webhooks and
OAuth 2.0, and the published v3 XSDs (read 2026-11). Fields stand in ``sandbox.quickbooks_schema``, the rules of the
books in ``sandbox.quickbooks_records``, the query language in ``sandbox.quickbooks_query``. Peculiar to the sandbox:

- One app, ``CLIENT_ID`` / ``CLIENT_SECRET``, that was allowed to use one company, ``REALM``; the first refresh token is
  ``REFRESH_TOKEN``. Every use gives a new refresh token; the one before stays good until the new one is used, so that a
  lost answer locks nobody out; any older one is ``invalid_grant``.
- ``GET|POST /_sandbox/quickbooks`` shows and changes ``{"closed_through": "2026-09-30" | null, "duplicate_numbers":
  "allowed" | "refused", "custom_numbers": bool, "multicurrency": bool (once on, it stays on), "webhook_form":
  "cloudevents" | "notifications", "report_cells": n, "lifetime": <seconds an access token lives>}``;
  ``DELETE /_sandbox/tokens`` ends all access tokens.
- Only JSON is spoken: a request that does not accept ``application/json`` gets 406, where the vendor would send XML.
- Assumed, for want of a published word: refused requests are not kept under their ``requestid``; ``Retry-After`` on a
  planted ``rate_limit`` is a courtesy; change data capture refuses instants older than 30 days.
"""

from __future__ import annotations

import base64
import hmac
import json
import secrets
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.emulator import Emulator, ExactJSONResponse, Fault, Json, Shelf, read_json
from sandbox.quickbooks_query import MOST, parse
from sandbox.quickbooks_records import DEFAULTS, HOME, ZONE, Company, shown
from sandbox.quickbooks_schema import ENTITIES, Refused, check, required, unsupported

CLIENT_ID = "sandbox-client"
CLIENT_SECRET = "sandbox-secret"
REALM = "4620816365001"
REFRESH_TOKEN = "sandbox-refresh-token"
VERIFIER_TOKEN = "sandbox-verifier-token"

BATCH = 30
REQUEST_ID, BATCH_REQUEST_ID, BATCH_ID = 50, 36, 10
LOOK_BACK = timedelta(days=30)
PATHS = {entity.lower(): entity for entity in ENTITIES}
CUT_SHORT = "Unable to display more data. Please reduce the date range."

Handler = Callable[[Request], Awaitable[Response]]


class Service:
    """The routes of the vendor's API over one :class:`Company`."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.company = Company(shelf, self._changed)
        base = f"/v3/company/{REALM}"
        self.routes = [
            Route("/oauth2/v1/tokens/bearer", self._answering(self.token), methods=["POST"]),
            Route(f"{base}/query", self._guarded(self.query), methods=["GET", "POST"]),
            Route(f"{base}/batch", self._guarded(self.batch), methods=["POST"]),
            Route(f"{base}/cdc", self._guarded(self.cdc)),
            Route(f"{base}/preferences", self._guarded(self.preferences)),
            Route(f"{base}/companyinfo/{{ident}}", self._guarded(self.company_info)),
            Route(f"{base}/reports/GeneralLedger", self._guarded(self.general_ledger)),
            Route(f"{base}/reports/TrialBalance", self._guarded(self.trial_balance)),
            Route(f"{base}/{{entity}}", self._guarded(self.save), methods=["POST"]),
            Route(f"{base}/{{entity}}/{{ident}}", self._guarded(self.read)),
            Route("/v3/company/{realm}/{rest:path}", self._guarded(self.elsewhere), methods=["GET", "POST"]),
            Route("/_sandbox/quickbooks", self.settings, methods=["GET", "POST"]),
            Route("/_sandbox/tokens", self.end_tokens, methods=["DELETE"]),
        ]
        self.emulator: Emulator | None = None

    # Answers

    def _answering(self, handler: Handler) -> Handler:
        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except Refused as refused:
                return ExactJSONResponse({"Fault": refused.fault(), "time": self._time()}, refused.status)

        return answer

    def _guarded(self, handler: Handler) -> Handler:
        async def guard(request: Request) -> Response:
            scheme, _, token = request.headers.get("authorization", "").partition(" ")
            held = self.shelf.get("_token", token) if scheme == "Bearer" else None
            if held is None or datetime.fromisoformat(held["until"]) <= self.company.now():
                raise Refused(
                    "3200",
                    "message=AuthenticationFailed; errorCode=003200; statusCode=401",
                    "Token expired or unknown",
                    kind="AUTHENTICATION",
                    status=401,
                )
            if "application/json" not in request.headers.get("accept", ""):
                return JSONResponse({"error": "the sandbox speaks JSON only; send Accept: application/json"}, 406)
            return await handler(request)

        return self._answering(guard)

    def _time(self) -> str:
        return self.company.now().astimezone(ZONE).isoformat(timespec="milliseconds")

    def _whole(self, body: Json) -> Response:
        return ExactJSONResponse({**body, "time": self._time()})

    # OAuth 2.0

    async def token(self, request: Request) -> Response:
        app = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        if not hmac.compare_digest(request.headers.get("authorization", "").encode(), f"Basic {app}".encode()):
            return JSONResponse({"error": "invalid_client"}, 401)
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        if form.get("grant_type") != "refresh_token":
            return JSONResponse({"error": "unsupported_grant_type"}, 400)
        grant = self.shelf.get("_grant", "1") or {"current": REFRESH_TOKEN, "previous": REFRESH_TOKEN}
        given = form.get("refresh_token")
        if given not in (grant["current"], grant["previous"]):
            return JSONResponse(
                {"error": "invalid_grant", "error_description": "Incorrect or invalid refresh token"}, 400
            )
        fresh, access = f"RT1-{secrets.token_hex(16)}", f"AT1-{secrets.token_hex(16)}"
        lifetime = self.company.settings["lifetime"]
        self.shelf.keep("_grant", "1", {"current": fresh, "previous": given})
        until = self.company.now() + timedelta(seconds=lifetime)
        self.shelf.keep("_token", access, {"id": access, "until": until.isoformat()})
        return JSONResponse(
            {
                "token_type": "bearer",
                "access_token": access,
                "expires_in": lifetime,
                "refresh_token": fresh,
                "x_refresh_token_expires_in": 8_640_000,
            }
        )

    # Entities

    def _replayed(self, key: str, carry_out: Callable[[], Json]) -> Json:
        """What was answered under this request id, or what carrying it out answers now."""
        if key and (kept := self.shelf.get("_request", key)):
            return kept
        answer = carry_out()
        if key:
            self.shelf.keep("_request", key, answer)
        return answer

    def _request_id(self, request: Request, most: int) -> str:
        given = request.query_params.get("requestid", "")
        if len(given) > most:
            raise Refused("2050", "String length is either shorter or longer than supported", f"requestid: Max:{most}")
        return given

    def _entity(self, request: Request) -> str:
        entity = PATHS.get(request.path_params["entity"])
        if entity is None:
            what = f"Operation {request.path_params['entity']} is not supported."
            raise Refused("500", "Unsupported Operation", what)
        return entity

    async def save(self, request: Request) -> Response:
        entity, given = self._entity(request), _object(await request.body())
        operation = request.query_params.get("operation", "")
        if operation not in ("", "update", "delete"):
            raise Refused("500", "Unsupported Operation", f"Operation {operation} is not supported.")
        carry_out = self.company.delete if operation == "delete" else self.company.save
        if operation == "update" and request.query_params.get("include") == "void":
            carry_out = self.company.void
        key = self._request_id(request, REQUEST_ID)
        return self._whole(self._replayed(key, lambda: {entity: carry_out(entity, given)}))

    async def read(self, request: Request) -> Response:
        entity = self._entity(request)
        record = self.company.get(entity, request.path_params["ident"])
        if record is None:
            detail = f"Object Not Found : The {entity} with id {request.path_params['ident']} is not there."
            raise Refused("610", "Object Not Found", detail)
        return self._whole({entity: shown(record)})

    async def query(self, request: Request) -> Response:
        text = request.query_params.get("query") or (await request.body()).decode()
        return self._whole({"QueryResponse": self._asked(text)})

    def _asked(self, text: str) -> Json:
        query = parse(text)
        if query.entity in ("Preferences", "CompanyInfo"):
            return {query.entity: [self._preferences() if query.entity == "Preferences" else self._company_info()]}
        found = self.company.select(query)
        if query.counting:
            return {"totalCount": len(found)}
        page = found[query.start - 1 : query.start - 1 + query.most]
        if not page:
            return {}
        if query.columns != ("*",):
            wanted = {"Id", "sparse", *(name.partition(".")[0] for name in query.columns)}
            page = [
                {name: value for name, value in record.items() if name in wanted} | {"sparse": True} for record in page
            ]
        return {query.entity: page, "startPosition": query.start, "maxResults": len(page)}

    async def batch(self, request: Request) -> Response:
        given = _object(await request.body())
        items = given.get("BatchItemRequest")
        if not isinstance(items, list) or not items:
            raise required("BatchItemRequest")
        if len(items) > BATCH:
            detail = f"Batch size exceeds allowed limit of {BATCH}"
            raise Refused("1040", "Batch size exceeds allowed limit", detail)
        request_id = self._request_id(request, BATCH_REQUEST_ID)
        return self._whole({"BatchItemResponse": [self._batched(item, request_id) for item in items]})

    def _batched(self, item: Json, request_id: str) -> Json:
        name = str(item.get("bId", ""))
        try:
            if not name or (request_id and len(name) > BATCH_ID):
                raise required("bId")
            key = f"{request_id}/{name}" if request_id else ""
            answer = self._replayed(key, lambda: self._carried_out(item))
        except Refused as refused:
            answer = {"Fault": refused.fault()}
        return {**answer, "bId": name}

    def _carried_out(self, item: Json) -> Json:
        if "Query" in item:
            return {"QueryResponse": self._asked(item["Query"])}
        entity = next((name for name in item if name in ENTITIES), None)
        if entity is None:
            raise unsupported(next((name for name in item if name not in ("bId", "operation")), "BatchItemRequest"))
        match item.get("operation"):
            case "create" if item[entity].get("Id"):
                raise unsupported("Id")
            case "create":
                return {entity: self.company.save(entity, item[entity])}
            case "update":
                if not item[entity].get("Id"):
                    raise required("Id")
                return {entity: self.company.save(entity, item[entity])}
            case "delete":
                return {entity: self.company.delete(entity, item[entity])}
            case other:
                raise Refused("500", "Unsupported Operation", f"Operation {other} is not supported.")

    async def cdc(self, request: Request) -> Response:
        names = [name for name in request.query_params.get("entities", "").split(",") if name]
        if not names:
            raise required("entities")
        try:
            since = datetime.fromisoformat(request.query_params.get("changedSince", ""))
        except ValueError:
            raise required("changedSince") from None
        since = since if since.tzinfo else since.replace(tzinfo=ZONE)
        if since < self.company.now() - LOOK_BACK:
            raise Refused(
                "4001", "Invalid query", "changedSince must be within the last 30 days", element="changedSince"
            )
        answers: list[Json] = []
        for name in names:
            entity = PATHS.get(name.lower())
            if entity is None:
                raise Refused("4001", "Invalid query", f"QueryValidationError: Invalid Entity {name}")
            found = self.company.changes(entity, since)[:MOST]
            page = {entity: found, "startPosition": 1, "maxResults": len(found)}
            answers.append(page if found else {})
        return self._whole({"CDCResponse": [{"QueryResponse": answers}]})

    # The company

    def _preferences(self) -> Json:
        settings = self.company.settings
        accounting = {"UseAccountNumbers": True, "ClassTrackingPerTxnLine": True}
        if settings["closed_through"]:
            accounting["BookCloseDate"] = settings["closed_through"]
        return {
            "Id": "1",
            "SyncToken": "0",
            "domain": "QBO",
            "sparse": False,
            "AccountingInfoPrefs": accounting,
            "SalesFormsPrefs": {"CustomTxnNumbers": settings["custom_numbers"]},
            "CurrencyPrefs": {
                "MultiCurrencyEnabled": settings["multicurrency"],
                "HomeCurrency": {"value": HOME["value"]},
            },
        }

    def _company_info(self) -> Json:
        return {
            "Id": "1",
            "SyncToken": "0",
            "domain": "QBO",
            "sparse": False,
            "CompanyName": "Northwind Meetings",
            "Country": "US",
            "CompanyStartDate": "2025-01-01",
            "FiscalYearStartMonth": "January",
        }

    async def preferences(self, _request: Request) -> Response:
        return self._whole({"Preferences": self._preferences()})

    async def company_info(self, _request: Request) -> Response:
        return self._whole({"CompanyInfo": self._company_info()})

    async def elsewhere(self, request: Request) -> Response:
        if request.path_params["realm"] != REALM:
            text = "message=ApplicationAuthorizationFailed; errorCode=003100; statusCode=403"
            raise Refused("3100", text, "This app may not use that company", kind="AuthorizationFault", status=403)
        raise Refused("500", "Unsupported Operation", f"{request.path_params['rest']} is not supported.")

    # Reports

    def _span(self, request: Request) -> tuple[str, str]:
        today = self.company.now().astimezone(ZONE).date()
        first = request.query_params.get("start_date", today.replace(day=1).isoformat())
        last = request.query_params.get("end_date", today.isoformat())
        check({"start_date": "date", "end_date": "date"}, {"start_date": first, "end_date": last}, "")
        if first > last:
            raise Refused(
                "2010", "Request has invalid or unsupported property", "Property Name:start_date is after end_date"
            )
        return first, last

    def _report(
        self, name: str, first: str, last: str, columns: list[tuple[str, str, str]], rows: list[Json]
    ) -> Response:
        described = [
            {"ColTitle": title, "ColType": kind, "MetaData": [{"Name": "ColKey", "Value": key}]}
            for key, title, kind in columns
        ]
        return ExactJSONResponse(
            {
                "Header": {
                    "Time": self._time(),
                    "ReportName": name,
                    "ReportBasis": "Accrual",
                    "StartPeriod": first,
                    "EndPeriod": last,
                    "Currency": HOME["value"],
                    "Option": [{"Name": "NoReportData", "Value": "false" if rows else "true"}],
                },
                "Columns": {"Column": described},
                "Rows": {"Row": rows} if rows else {},
            }
        )

    async def general_ledger(self, request: Request) -> Response:
        """A section for each account that was touched: what it began with, then one row a posting."""
        first, last = self._span(request)
        asked = request.query_params.get("columns", "tx_date,txn_type,doc_num,subt_nat_amount,rbal_nat_amount").split(
            ","
        )
        if unknown := [name for name in asked if name not in LEDGER_COLUMNS]:
            raise unsupported(f"columns {unknown[0]}")
        empty = self._not_shown()
        before: dict[str, Decimal] = defaultdict(Decimal)
        within: dict[str, list[tuple[Json, Decimal]]] = defaultdict(list)
        for account, record, amount in self.company.postings("0000-01-01", last):
            if record["TxnDate"] < first:
                before[account] += amount
            elif amount:
                within[account].append((record, amount))
        rows, cells = [], 0
        for account in sorted({*before, *within}, key=int):
            held = self.company.get("Account", account)
            assert held is not None
            sign = 1 if held["Classification"] in ("Asset", "Expense") else -1
            balance = before[account]
            lines = [_data(["Beginning Balance", *[""] * (len(asked) - 2), format(sign * balance, "f")][: len(asked)])]
            for record, amount in sorted(within[account], key=lambda row: (row[0]["TxnDate"], int(row[0]["Id"]))):
                cells += len(asked)
                if cells > self.company.settings["report_cells"]:
                    break
                balance += amount
                cell = {name: LEDGER_COLUMNS[name][2] for name in asked}
                lines.append(
                    _data(["" if name in empty else cell[name](record, amount, sign, balance) for name in asked])
                )
            title = f"{held.get('AcctNum', '')} {held['Name']}".strip()
            whole = sum((amount for _, amount in within[account]), Decimal(0))
            rows.append(
                {
                    "Header": {"ColData": [{"value": title, "id": account}, *[{"value": ""}] * (len(asked) - 1)]},
                    "Rows": {"Row": lines},
                    "Summary": {"ColData": [{"value": f"Total for {title}"}, {"value": format(sign * whole, "f")}]},
                    "type": "Section",
                }
            )
        if cells > self.company.settings["report_cells"]:
            rows.append(_data([CUT_SHORT, *[""] * (len(asked) - 1)]))
        columns = [(name, *LEDGER_COLUMNS[name][:2]) for name in asked]
        return self._report("GeneralLedger", first, last, columns, rows)

    def _not_shown(self) -> set[str]:
        """Money columns of the ledger that stay empty: with several currencies those of one, and the reverse."""
        several = self.company.settings["multicurrency"]
        return {
            name for name, (_, kind, _) in LEDGER_COLUMNS.items() if kind == "Money" and ("_home_" in name) != several
        }

    async def trial_balance(self, request: Request) -> Response:
        """Balances at the end of the span, on the side where they stand."""
        first, last = self._span(request)
        sums: dict[str, Decimal] = defaultdict(Decimal)
        for account, _, amount in self.company.postings("0000-01-01", last):
            sums[account] += amount
        rows: list[Json] = []
        for account, amount in sorted(sums.items(), key=lambda row: int(row[0])):
            held = self.company.get("Account", account)
            assert held is not None
            title = f"{held.get('AcctNum', '')} {held['Name']}".strip()
            sides = [format(amount, "f") if amount > 0 else "", format(-amount, "f") if amount < 0 else ""]
            rows.append({"ColData": [{"value": title, "id": account}, *({"value": side} for side in sides)]})
        debits = format(sum((amount for amount in sums.values() if amount > 0), Decimal(0)), "f")
        credits = format(-sum((amount for amount in sums.values() if amount < 0), Decimal(0)), "f")
        if rows:
            total = {"ColData": [{"value": "TOTAL"}, {"value": debits}, {"value": credits}]}
            rows.append({"Summary": total, "type": "Section", "group": "GrandTotal"})
        columns = [("account", "", "Account"), ("debit", "Debit", "Money"), ("credit", "Credit", "Money")]
        return self._report("TrialBalance", first, last, columns, rows)

    # Webhooks and the sandbox's own calls

    def _changed(self, entity: str, ident: str, operation: str, time: str) -> None:
        if self.emulator is None:
            return
        if self.company.settings["webhook_form"] == "notifications":
            changed = {"name": entity, "id": ident, "operation": operation, "lastUpdated": time}
            event: Any = {"eventNotifications": [{"realmId": REALM, "dataChangeEvent": {"entities": [changed]}}]}
        else:
            event = [
                {
                    "specversion": "1.0",
                    "id": f"evt-{self.shelf.next('event')}",
                    "source": "intuit.sandbox",
                    "type": f"qbo.{entity.lower()}.{operation.lower()}d.v1",
                    "datacontenttype": "application/json",
                    "time": time,
                    "intuitentityid": ident,
                    "intuitaccountid": REALM,
                    "data": {},
                }
            ]
        self.emulator.webhooks.send(entity, {}, json.dumps(event).encode())

    async def settings(self, request: Request) -> Response:
        if request.method == "POST":
            changes = read_json(await request.body())
            if unknown := [name for name in changes if name not in DEFAULTS]:
                return JSONResponse({"error": f"{unknown[0]} is not a setting"}, 400)
            if self.company.settings["multicurrency"] and not changes.get("multicurrency", True):
                return JSONResponse({"error": "multicurrency cannot be switched off"}, 400)
            self.company.configure(changes)
        return ExactJSONResponse(self.company.settings)

    async def end_tokens(self, _request: Request) -> Response:
        for token in self.shelf.all("_token"):
            self.shelf.drop("_token", token["id"])
        return JSONResponse({})


def _data(values: list[str]) -> Json:
    return {"ColData": [{"value": value} for value in values], "type": "Data"}


def _side(amount: Decimal) -> str:
    return format(amount, "f") if amount > 0 else ""


#: Columns of the general ledger: title, type, and the cell of (transaction, amount, natural sign, running balance).
LEDGER_COLUMNS: dict[str, tuple[str, str, Callable[[Json, Decimal, int, Decimal], str]]] = {
    "tx_date": ("Date", "Date", lambda record, _amount, _sign, _balance: str(record["TxnDate"])),
    "txn_type": ("Transaction Type", "String", lambda record, _amount, _sign, _balance: str(record["_entity"])),
    "doc_num": ("Num", "String", lambda record, _amount, _sign, _balance: str(record.get("DocNumber", ""))),
    "memo": ("Memo/Description", "String", lambda record, _amount, _sign, _balance: str(record.get("PrivateNote", ""))),
    "debt_amt": ("Debit", "Money", lambda _record, amount, _sign, _balance: _side(amount)),
    "credit_amt": ("Credit", "Money", lambda _record, amount, _sign, _balance: _side(-amount)),
    "subt_nat_amount": ("Amount", "Money", lambda _record, amount, sign, _balance: format(sign * amount, "f")),
    "rbal_nat_amount": ("Balance", "Money", lambda _record, _amount, sign, balance: format(sign * balance, "f")),
}
LEDGER_COLUMNS |= {
    "debt_home_amt": LEDGER_COLUMNS["debt_amt"],
    "credit_home_amt": LEDGER_COLUMNS["credit_amt"],
    "subt_nat_home_amount": LEDGER_COLUMNS["subt_nat_amount"],
    "rbal_nat_home_amount": LEDGER_COLUMNS["rbal_nat_amount"],
}


def _object(body: bytes) -> Json:
    try:
        given = read_json(body)
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise unsupported("failed to parse json object; a property")
    return given


def sign(_event: Json, body: bytes, secret: str) -> dict[str, str]:
    mark = hmac.new((secret or VERIFIER_TOKEN).encode(), body, sha256).digest()
    return {"intuit-signature": base64.b64encode(mark).decode()}


def fault_answer(fault: Fault) -> Response:
    if fault.kind == "rate_limit":
        text = "message=ThrottleExceeded; errorCode=003001; statusCode=429"
        body = {"Fault": {"Error": [{"Message": text, "Detail": "", "code": "3001"}], "type": "THROTTLED"}}
        return JSONResponse(body, 429, {"Retry-After": format(fault.seconds, "g")})
    error = {"Message": "An application error has occurred", "Detail": "An internal error", "code": "10000"}
    return JSONResponse({"Fault": {"Error": [error], "type": "SystemFault"}}, fault.status)


def emulator(shelf: Shelf) -> Emulator:
    service = Service(shelf)
    built = Emulator("quickbooks", service.routes, shelf, sign=sign, fault_answer=fault_answer)
    service.emulator = built
    return built
