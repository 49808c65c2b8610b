"""An emulator of Avalara for Communications (AFC SaaS Pro) REST v2: CalcTaxes, Commit, PCodes, look-ups, profiles.

Written from the published definition of 2021 and the REST v2 guide of 2019, read 2026-11. There is no call that reads a
calculated transaction back, and none that tells one calculation from its repetition: what is sent twice under one
document code is there twice. Kinds on the shelf: ``transaction`` (one per line item, with its taxes) and ``document``
(one per document code, with whether it is committed).

Errors come as the vendor sends them: inside an answer of status 200, at the request, the invoice or the item. Paths are
matched without regard to case.

Where the published texts leave a choice, the harder one for a client is taken: a field that the model does not have, or
a value of the wrong type, is refused with status 400 (the code of it is this emulator's own); an invoice with a failed
item leaves nothing; what was committed in an earlier month is locked, as the texts say of the month's close; the
default profile returns taxes that are not to be billed, unless the request says otherwise.
"""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox import avalara_communications_tax as engine
from sandbox.avalara_communications_tax import Item, LocationError, Place
from sandbox.emulator import Emulator, ExactJSONResponse, Json, Shelf, read_json

USER = "sandbox-user"
PASSWORD = "sandbox-password"
CLIENT_ID = 1234
PROFILE_ID = 0
UNKNOWN_FIELD, DOES_NOT_MODEL = -9001, -9002

#: The models: name and type of each field; ``[X]`` a list of X. The published schema marks none as required.
MODELS: Mapping[str, Mapping[str, str]] = {
    name: dict(field.split(":") for field in fields.split())
    for name, fields in {
        "CalcTaxesRequest": "cfg:RequestConfig cmpn:CompanyData inv:[Invoice] ovr:[TaxOverride]"
        " sovr:[SafeHarborOverride]",
        "RequestConfig": "retnb:bool retext:bool incrf:bool",
        "CompanyData": "bscl:int svcl:int fclt:bool frch:bool reg:bool excl:[Exclusion] idnt:text",
        "Exclusion": "ctry:text st:text excl:bool",
        "Invoice": "doc:text cmmt:bool bill:Location cust:int lfln:bool date:moment exms:[TaxExemption] itms:[LineItem]"
        " invm:bool dtl:bool summ:bool opt:[KeyValuePair] acct:text custref:text invn:text bcyc:text bpd:BillingPeriod"
        " ccycd:text",
        "LineItem": "ref:text from:Location to:Location chg:number line:int loc:int min:number sale:int plsp:number"
        " incl:bool pror:number proadj:int tran:int serv:int dbt:bool adj:bool adjm:int disc:int opt:[KeyValuePair]"
        " prop:int bill:Location cust:int lfln:bool date:moment qty:int glref:text",
        "Location": "cnty:text ctry:text int:bool geo:bool pcd:int npa:int fips:text addr:text city:text st:text"
        " zip:text",
        "TaxExemption": "frc:bool loc:Location tpe:int lvl:int cat:int dom:int scp:int exnb:bool",
        "TaxOverride": "loc:Location scp:int tid:int lvl:int lvlExm:bool brkt:[TaxBracket]",
        "TaxBracket": "rate:number max:number",
        "SafeHarborOverride": "sh:int old:number new:number",
        "KeyValuePair": "key:text val:text",
        "BillingPeriod": "month:int year:int",
        "CommitRequest": "doc:text cmmt:bool opt:[KeyValuePair]",
        "PCodeLookupRequest": "CountryIso:text State:text County:text City:text ZipCode:text BestMatch:bool"
        " LimitResults:int NpaNxx:text Fips:text",
        "GeocodeRequest": "ref:text cass:bool lat:number long:number addr:text city:text st:text zip:text",
    }.items()
}

_REPORTED = ("acct", "custref", "invn", "bcyc", "ccycd")


class Refusal(Exception):
    """An error as the vendor lists it, and the HTTP status it comes with."""

    def __init__(self, message: str, code: int = -2000, status: int = 200) -> None:
        super().__init__(message)
        self.listed = [{"code": code, "msg": message}]
        self.status = status


def parse(model: str, value: Any, path: str = "") -> Any:
    """The value without its nulls, checked against its model to the last field."""
    if model.startswith("["):
        if not isinstance(value, list):
            raise Refusal(f"{path} is not a list", UNKNOWN_FIELD, 400)
        return [parse(model[1:-1], item, f"{path}[{i}]") for i, item in enumerate(value)]
    if model in MODELS:
        if not isinstance(value, dict):
            raise Refusal(f"{path or 'The body'} is not an object", UNKNOWN_FIELD, 400)
        return {
            name: parse(_type_of(model, name, path), item, f"{path}.{name}".lstrip("."))
            for name, item in value.items()
            if item is not None
        }
    if not _FITS[model](value):
        raise Refusal(f"{path} is not of type {model}", UNKNOWN_FIELD, 400)
    return value


def _type_of(model: str, name: str, path: str) -> str:
    try:
        return MODELS[model][name]
    except KeyError:
        raise Refusal(f"{path}.{name} is not a field of {model}".lstrip("."), UNKNOWN_FIELD, 400) from None


def _is_moment(value: Any) -> bool:
    try:
        return isinstance(value, str) and "T" in value and bool(datetime.fromisoformat(value))
    except ValueError:
        return False


_FITS: Mapping[str, Callable[[Any], bool]] = {
    "text": lambda value: isinstance(value, str),
    "bool": lambda value: isinstance(value, bool),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, (int, Decimal)) and not isinstance(value, bool),
    "moment": _is_moment,
}


class Communications:
    """The service over one shelf."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    # ---- transactions

    def calc_taxes(self, body: Any) -> Json:
        request = parse("CalcTaxesRequest", _body(body))
        _check_request(request)
        return {"inv": [self._invoice(request, invoice) for invoice in request["inv"]]}

    def _invoice(self, request: Json, invoice: Json) -> Json:
        left: dict[Any, float] = {}
        items: list[Json] = []
        for item in invoice["itms"]:
            answer = {"ref": item["ref"]} if "ref" in item else {}
            try:
                taxes = _taxes_of(request, invoice, item, left if invoice.get("invm") else {})
            except Refusal as refusal:
                items.append({**answer, "err": refusal.listed})
            else:
                items.append({**answer, **({"txs": taxes} if taxes else {})})
        answer = {"doc": invoice["doc"]} if "doc" in invoice else {}
        if request.get("cfg", {}).get("incrf"):
            answer["incrf"] = {name: invoice[name] for name in _REPORTED if name in invoice}
        if any("err" in item for item in items):
            return {**answer, "itms": items, "err": [{"code": -16, "msg": "One or more LineItems failed."}]}
        for sent, item in zip(invoice["itms"], items, strict=True):
            self._keep(invoice, sent, item)
        if invoice.get("dtl"):
            answer["itms"] = items
        if invoice.get("summ"):
            answer["summ"] = engine.summary([item.get("txs", []) for item in items])
        return answer

    def _keep(self, invoice: Json, sent: Json, item: Json) -> None:
        ident = str(self.shelf.next("transaction"))
        committed = invoice.get("cmmt", False)
        self.shelf.keep(
            "transaction",
            ident,
            {
                "id": ident,
                "doc": invoice.get("doc", ""),
                "invn": invoice.get("invn", ""),
                "committed": committed,
                "adjustment": sent.get("adj", False),
                "chg": sent.get("chg", 0),
                **item,
            },
        )
        if doc := invoice.get("doc"):
            kept = self.shelf.get("document", doc) or {"doc": doc, "committed": False, "committed_at": None}
            kept["transactions"] = [*kept.get("transactions", []), ident]
            if committed:
                kept |= {"committed": True, "committed_at": self._now()}
            self.shelf.keep("document", doc, kept)

    def commit(self, body: Any) -> Json:
        """Sets whether the transactions of a document count. A document of a closed month can only stay committed."""
        request = parse("CommitRequest", _body(body))
        doc = request.get("doc", "")
        _check_options(request.get("opt", []))
        if not doc or len(doc) > 150:
            raise Refusal("DocumentCode is invalid.")
        if "cmmt" not in request:
            raise Refusal("Commit cannot be null.")
        document = self.shelf.get("document", doc)
        if document is None:
            raise Refusal("No transactions found for document code.")
        at = document["committed_at"]
        if document["committed"] and at and at[:7] < self._now()[:7]:
            raise Refusal("Document code has been locked.")
        document["committed"] = request["cmmt"]
        document["committed_at"] = self._now() if request["cmmt"] else None
        for ident in document["transactions"]:
            transaction = self.shelf.get("transaction", ident)
            assert transaction is not None
            self.shelf.keep("transaction", ident, {**transaction, "committed": request["cmmt"]})
        self.shelf.keep("document", doc, document)
        return {"ok": True}

    def _now(self) -> str:
        return self.shelf.now().isoformat()

    # ---- places

    def pcode(self, body: Any) -> Json:
        request = parse("PCodeLookupRequest", _body(body))
        best, limit = request.get("BestMatch", False), request.get("LimitResults", 10)
        exact = [row for place, row in engine.places() if _matches(request, place, row)]
        rows = [answer for row in exact for answer in _location_rows(row)]
        applied = "Exact"
        if not rows and best:
            applied = "Best"
            rows = _best_rows(request)
        rows = rows[:limit]
        return {
            "LocationData": rows or None,
            "MatchCount": len(rows),
            "InputMatchType": "Best" if best else "Exact",
            "MatchTypeApplied": applied,
            "ResultsLimit": limit,
        }

    def location(self, rest: str) -> Json:
        return self._by_pcode(rest, also=True)

    def primary(self, rest: str) -> Json:
        return self._by_pcode(rest, also=False)

    def _by_pcode(self, text: str, *, also: bool) -> Json:
        place = engine.by_pcode(int(text)) if text.isdigit() else None
        if place is None:
            raise Refusal("PCode not found.", -12)
        row = next((row for known, row in engine.places() if known == place), None)
        rows = _location_rows(row) if row else [_location_row(place, place.city)]
        rows = rows if also else rows[-1:]
        exact = {"InputMatchType": "Exact", "MatchTypeApplied": "Exact"}
        return {"LocationData": rows, "MatchCount": len(rows), **exact, "ResultsLimit": len(rows)}

    def geocode(self, body: Any) -> list[Json]:
        if not isinstance(body, list) or not body:
            raise Refusal("geocodeRequests cannot be null or empty.", -1000, 400)
        return [_geocoded(request) for request in parse("[GeocodeRequest]", body)]

    # ---- look-ups

    def service_info(self) -> Json:
        return {
            "ServerTime": self._now(),
            "Versions": {"AfcEngineVersion": "9.22.2606.1", "BuildVersion": "2.0.0.0"},
        }

    def pairs(self) -> list[Json]:
        words = engine.facts()["transactions"]
        return [
            {
                "TransactionType": transaction,
                "ServiceType": service,
                "MarketType": 1,
                "InterfaceType": 1,
                "InputType": 9,
                "IsBundle": False,
                "TransactionDescription": words[transaction],
                "ServiceDescription": word,
                "TSPairDescription": f"{words[transaction]}/{word}",
            }
            for pair, word in engine.facts()["pairs"].items()
            for transaction, service in [map(int, pair.split(":"))]
        ]

    def tax_type(self, rest: str) -> list[Json]:
        if rest != "*" and not rest.isdigit():
            raise Refusal(f"Tax type {rest} not a valid numeric tax type.", -1000)
        rows = {row["tid"]: row for row in engine.facts()["taxes"] if rest in ("*", str(row["tid"]))}
        if not rows:
            raise Refusal(f"Tax type {rest} not found.", -1000)
        return [
            {
                "TaxType": tid,
                "CategoryType": row["cid"],
                "TaxDescription": row["name"],
                "CategoryDescription": engine.facts()["categories"][row["cid"]],
            }
            for tid, row in sorted(rows.items())
        ]

    def profiles(self, query: Mapping[str, str]) -> list[Json]:
        wanted = query.get("requestedprofileid")
        if wanted not in (None, str(PROFILE_ID)):
            return []
        return [
            {
                "ProfileConfigId": 1,
                "ProfileIds": [PROFILE_ID],
                "ClientId": CLIENT_ID,
                "Active": True,
                "ItemType": "Configuration",
                "Settings": {"ReturnNonBillable": True},
            }
        ]


def _body(body: Any) -> Any:
    if not body:
        raise Refusal("Request body cannot be empty.")
    return body


def _check_request(request: Json) -> None:
    """The vendor's checks of company and invoices, in the order and wording of its list of errors."""
    company = request.get("cmpn")
    if company is None:
        raise Refusal("CompanyData is null.")
    if not request.get("inv"):
        raise Refusal("Invoice cannot be null or empty.")
    for field, word in (("bscl", "BusinessClass"), ("svcl", "ServiceClass")):
        if field not in company:
            raise Refusal(f"{word} is required.")
        if company[field] not in (0, 1):
            raise Refusal(f"{word} is invalid.")
    for field, word in (("fclt", "Facilities"), ("frch", "Franchise"), ("reg", "Regulated")):
        if field not in company:
            raise Refusal(f"{word} is required.")
    if len(request["inv"]) > 1000:
        raise Refusal(f"Total Invoices {len(request['inv'])} cannot exceed 1000")
    for unmodelled in ("ovr", "sovr"):
        if request.get(unmodelled):
            raise Refusal(f"The sandbox does not model {unmodelled}", DOES_NOT_MODEL, 400)
    for invoice in request["inv"]:
        _check_invoice(invoice)
    items = sum(len(invoice["itms"]) for invoice in request["inv"])
    if items > 10_000:
        raise Refusal(f"Total LineItems {items} cannot exceed 10000")


def _check_invoice(invoice: Json) -> None:
    if invoice.get("cmmt") and not invoice.get("doc"):
        raise Refusal("DocumentCode is required in order to commit transactions.")
    if len(invoice.get("doc", "")) > 150:
        raise Refusal("DocumentCode cannot exceed 150 characters.")
    if "bill" not in invoice:
        raise Refusal("BillTo is required.", -1008)
    if "cust" not in invoice:
        raise Refusal("CustomerType is required.")
    if invoice["cust"] not in range(4):
        raise Refusal("CustomerType is invalid.")
    if "date" not in invoice:
        raise Refusal("Date is required.")
    if not invoice.get("itms"):
        raise Refusal("Items list is empty.")
    if not invoice.get("dtl", True) and not invoice.get("summ"):
        raise Refusal("ReturnDetail and/or ReturnSummary must be set to true.")
    invoice.setdefault("dtl", True)
    _place(invoice["bill"], "BillTo")
    for exemption in invoice.get("exms", []):
        _check_exemption(exemption)
    _check_options(invoice.get("opt", []))


def _check_exemption(exemption: Json) -> None:
    shown = json.dumps(exemption, separators=(",", ":"), default=str)

    def refuse(problem: str) -> Refusal:
        return Refusal(f"Exemption Error - {shown} - {problem}")

    if not exemption.get("loc"):
        raise refuse("Bad data in exemption: Location is required.")
    typed = exemption.get("tpe") is not None and ("lvl" in exemption or "dom" in exemption)
    if not typed and "cat" not in exemption:
        raise refuse("Bad data in exemption: Tax Type value and one of (Tax Level, Domain) or Category are required.")
    if exemption.get("cat", 0) not in range(14):
        raise refuse("Bad data in exemption: Category value must be in the range 0 to 13.")
    if exemption.get("dom", 0) not in range(5):
        raise refuse("Bad data in exemption: Domain value is not a valid numeric tax level.")
    if exemption.get("scp", 0) not in range(0, 1921, 128):
        raise refuse(
            "Bad data in exemption: Scope value does not represent a supported numeric tax category scope combination."
        )
    if exemption["loc"].keys() & {"pcd", "fips", "npa", "zip", "city"}:
        try:
            engine.locate(exemption["loc"])
        except LocationError as error:
            raise refuse(error.message) from None
    elif not exemption["loc"].get("st") and not engine.is_abroad(exemption["loc"]):
        raise refuse("Insufficient information provided to determine taxing jurisdiction.")


def _check_options(options: list[Json]) -> None:
    keys = [option.get("key", "") for option in options]
    if len(options) > 10:
        raise Refusal("Number of OptionalField elements in LineItem cannot exceed 10.")
    if len(set(keys)) < len(keys):
        raise Refusal("Key in OptionalFields must be unique.")
    if not all(key.isdigit() for key in keys):
        raise Refusal("OptionalField keys must be numeric.")
    if not all(1 <= int(key) <= 10 for key in keys):
        raise Refusal("Key in OptionalFields must have a numeric value between 1 and 10.")
    if any(len(option.get("val", "")) > 150 for option in options):
        raise Refusal("OptionalField values cannot exceed 150 characters.")


def _place(location: Json, role: str) -> Place:
    try:
        return engine.locate(location)
    except LocationError as error:
        told = f"Invalid {role} location: {error.message}" if error.code == -2000 else error.message
        raise Refusal(told, error.code) from None


def _taxes_of(request: Json, invoice: Json, item: Json, left: dict[Any, float]) -> list[Json]:
    """The taxes of one item that the request wants to see. Refusal for what the vendor refuses in an item."""
    if len(item.get("ref", "")) > 150:
        raise Refusal("LineNumber cannot exceed 150 characters.")
    if "sale" not in item:
        raise Refusal("Sale is required.")
    if "tran" not in item or "serv" not in item:
        raise Refusal("A valid TransactionType and/or ServiceType are required.")
    pair = f"{item['tran']}:{item['serv']}"
    if pair not in engine.facts()["pairs"]:
        raise Refusal("Invalid transaction/service pair.", -28)
    if item.get("adjm", 0) not in range(3):
        raise Refusal("AdjustmentMethod is invalid.")
    if item.get("disc", 0) not in range(6):
        raise Refusal("DiscountType is invalid.")
    _check_options(item.get("opt", []))
    for unmodelled in ("incl", "plsp", "prop"):
        if item.get(unmodelled):
            raise Refusal(f"The sandbox does not model {unmodelled}", DOES_NOT_MODEL)
    if not 0 <= item.get("pror", 1) <= 1 or item.get("proadj", 0) not in range(3):
        raise Refusal("The sandbox does not model this pror or proadj", DOES_NOT_MODEL)
    if "pror" in item and item.get("qty", 1) > 1:
        raise Refusal("The sandbox does not model pror with a quantity", DOES_NOT_MODEL)
    if item.get("adj") and any(item.get(measure, 0) < 0 for measure in ("chg", "line", "min")):
        raise Refusal("The sandbox does not model an adjustment below zero", DOES_NOT_MODEL)
    for role, field in (("From", "from"), ("To", "to")):
        if field in item:
            _place(item[field], role)
    place = _place(item.get("bill") or invoice["bill"], "BillTo")
    sign = -1 if item.get("adj") else 1
    asked = Item(
        pair,
        sign * float(item.get("chg", 0)),
        sign * item.get("line", 0),
        sign * float(item.get("min", 0)),
        (item.get("date") or invoice["date"])[:10],
        float(item.get("pror", 1)),
        bool(item.get("adj")) and item.get("proadj") == 1,
    )
    if item["sale"] == 0 or item.get("disc") == 5:
        asked = Item("", 0.0, 0, 0.0, asked.day)
    config, excluded = request.get("cfg", {}), _excluded(request["cmpn"], place)
    shown = [
        tax
        for tax in engine.taxes(asked, place, invoice.get("exms", []), left)
        if (tax["bill"] or config.get("retnb", True)) and not (excluded and tax["lvl"] > 0)
    ]
    if config.get("retext"):
        extra = {"trans": item["tran"], "svc": item["serv"], "chg": item.get("chg", 0)}
        return [{**tax, "taxpcd": tax["pcd"], "usexm": False, "notax": False, **extra} for tax in shown]
    return shown


def _excluded(company: Json, place: Place) -> bool:
    """Whether the company collects nothing for this state and what lies in it."""
    return any(
        row.get("excl") and row.get("ctry") == place.country and row.get("st") in (None, place.state)
        for row in company.get("excl", [])
    )


def _matches(request: Json, place: Place, row: Json) -> bool:
    asked = {
        "CountryIso": (place.country,),
        "State": (place.state,),
        "County": (place.county,),
        "City": (place.city, *row.get("also", ())),
        "NpaNxx": tuple(map(str, row["npa"])),
        "Fips": (row["fips"],),
    }
    for name, known in asked.items():
        wanted = request.get(name, "").upper().replace("SAINT ", "ST ")
        if wanted and wanted not in known:
            return False
    postal = request.get("ZipCode", "")
    return not postal or postal.startswith(tuple(row["zips"]))


def _best_rows(request: Json) -> list[Json]:
    """The narrowest place that holds what was asked, when nothing fits exactly."""
    country = request.get("CountryIso", "USA").upper()
    if country != "USA":
        return [_location_row(engine.whole_country(country), "")] if country in engine.facts()["countries"] else []
    state = request.get("State", "").upper()
    return [_location_row(engine.whole_state(state), "")] if state in engine.STATES else []


def _location_rows(row: Json) -> list[Json]:
    """Alternate names first, the primary one last, as the published answer has them."""
    place = next(place for place, known in engine.places() if known is row)
    return [
        *({"IsAlternate": True, **_location_row(place, name)} for name in row.get("also", ())),
        _location_row(place, place.city),
    ]


def _location_row(place: Place, locality: str) -> Json:
    return {
        "CountryIso": place.country,
        "State": place.state,
        "County": place.county,
        "Locality": locality,
        "PCode": place.pcd,
    }


def _geocoded(request: Json) -> Json:
    ref = {"ref": request["ref"]} if "ref" in request else {}
    if "lat" in request or "long" in request:
        return {**ref, "err": "Unable to geocode lat/long."}
    if not request.get("addr"):
        return {**ref, "err": "StreetAddress must be provided for address geocoding."}
    if not request.get("zip") and not (request.get("city") and request.get("st")):
        return {**ref, "err": "City and State and/or Postalcode must be provided for address geocoding."}
    try:
        place = engine.by_address(request)
    except LocationError:
        return {**ref, "err": "Unable to geocode address."}
    return {
        **ref,
        "cnty": place.county,
        "inc": place.incorporated,
        "jur": place.city or place.state,
        "pcd": place.pcd,
        "scr": 1,
    }


def emulator(shelf: Shelf) -> Emulator:
    service = Communications(shelf)
    calls: Mapping[tuple[str, str], Callable[[Any], Any]] = {
        ("POST", "/afc/calctaxes"): service.calc_taxes,
        ("POST", "/afc/commit"): service.commit,
        ("POST", "/afc/pcode"): service.pcode,
        ("POST", "/geo/geocode"): service.geocode,
        ("GET", "/afc/serviceinfo"): lambda _: service.service_info(),
        ("GET", "/afc/tspairs"): lambda _: service.pairs(),
        ("GET", "/profiles/getprofiles"): service.profiles,
    }
    by_number: Mapping[str, Callable[[str], Any]] = {
        "/afc/taxtype/": service.tax_type,
        "/afc/location/": service.location,
        "/afc/primary/": service.primary,
    }

    async def answer(request: Request) -> Response:
        path = request.path_params["path"].lower()
        if (request.method, path) == ("GET", "/healthcheck"):
            return Response("Healthy")
        if not _knows(request.headers):
            return Response("Unauthorized", 401, {"WWW-Authenticate": "Basic"})
        start, _, rest = path.rpartition("/")
        given: Any = {name.lower(): value for name, value in request.query_params.items()}
        try:
            if request.headers.get("client_profile_id", "0") != str(PROFILE_ID):
                raise Refusal("Profile ID not found.")
            if request.method == "GET" and f"{start}/" in by_number:
                return ExactJSONResponse(by_number[f"{start}/"](rest))
            call = calls.get((request.method, path))
            if call is None:
                return Response("Not Found", 404)
            return ExactJSONResponse(call(_read(await request.body()) if request.method == "POST" else given))
        except Refusal as refusal:
            return ExactJSONResponse({"err": refusal.listed}, refusal.status)

    routes = [Route("/api/v2{path:path}", answer, methods=["GET", "POST"])]
    return Emulator("avalara_communications", routes, shelf)


def _read(body: bytes) -> Any:
    """What cannot be parsed is nothing to the vendor."""
    try:
        return read_json(body)
    except ValueError:
        return None


def _knows(headers: Mapping[str, str]) -> bool:
    """The user and password, as Basic credentials or in the ``api_key`` header of 2019; and the client."""
    given = headers.get("api_key") or headers.get("authorization", "").removeprefix("Basic ")
    expected = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    return hmac.compare_digest(given.encode(), expected.encode()) and headers.get("client_id", str(CLIENT_ID)) == str(
        CLIENT_ID
    )
