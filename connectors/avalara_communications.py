"""Avalara for Communications (AFC SaaS Pro) REST v2 (published definition of 2021, guide of 2019, read 2026-11).

The vendor has no call that reads a calculation back and no key that makes a repetition harmless: every CalcTaxes adds
transactions, and those sent twice under one document code are reported twice once it is committed. What holds instead:

- A calculation is never committed as it is made. Nothing of it counts until its document code is committed.
- Every try has a document code of its own (``doc``: our number and something fresh). When an answer is lost, its
  document stays uncommitted for ever and the next try has another code; only a code whose answer is held is committed.
  A code that may have arrived is never used again, not even when a look would show nothing: a late request would add to
  the same document.
- A commit sets a state, so it may be repeated. A document that is locked was committed before.
- ``find`` therefore always says None, which is the truth of what the vendor can tell and lets the caller send again.
- An adjustment is a calculation like any other, and the vendor ties it to no earlier one. Its guide of 2019 wants a
  document code of its own, its guide of today that of what it adjusts: a code may be locked, so it gets its own.

Our number is the vendor's ``invn``; the document code is the vendor id of the receipt, and the key of its commit.

================ ============================== ============================ ===========================================
resource         payload                        key                          answer
================ ============================== ============================ ===========================================
``tax_document`` Invoice, without ``doc``       ``invn``                     the Invoice as sent, items with ``txs``
``tax_credit``   Invoice with adjustments       ``invn`` (of the credit)     the same, with negative taxes
``tax_commit``   ``cmmt: true``, ``opt``        ``doc``                      ``doc``, ``cmmt``, ``ok``
``tax_void``     ``cmmt: false``, ``opt``       ``doc``                      ``doc``, ``cmmt``, ``ok``
================ ============================== ============================ ===========================================

``get`` reads ``pcode`` (by the fields of the vendor's request as a query), ``location`` and ``primary`` (by PCode),
``ts_pair`` (``19:6``) and ``tax_type`` (``162``).

Taxes come in binary doubles and unrounded (``7.826916860000001``). Each item of the answer and each of its taxes get a
field of ours, ``billed``: the taxes of an item are added exactly, the sum is rounded once, half up to the hundredth,
and shared over the taxes by largest remainder. So an item's tax is right to half a cent, and all above it are sums.
Taxes that the vendor marks as not to be billed (the seller's own) are left out.

An item of ``tax_credit`` may state ``billed`` itself: what of its tax is to be given back, below zero. It is not sent.
Where the vendor computes the same but for rounding, its taxes are shared over that figure, so that all parts of a line
give back what the line was billed. Where it computes something else, ``billed`` of the answer says what.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Decimal
from typing import Any, Literal
from urllib.parse import parse_qsl, quote

from pydantic import BaseModel, SecretStr

from connectors.wire import BaseConnector, BasicAuth, Response, Wire, exact_json, parsed
from core.errors import Misconfigured, OutcomeUnknown, Rejected, TieBroken, TieoutError
from core.ports import Connector, ExternalKey, Finding, Guard, Payload, Receipt, Resource, World

SYSTEM = "avalara_communications"

RESOURCES: Mapping[str, Resource] = {
    "tax_document": Resource("/api/v2/afc/CalcTaxes", "doc", "invn", Guard.COMMIT),
    "tax_credit": Resource("/api/v2/afc/CalcTaxes", "doc", "invn", Guard.COMMIT),
    "tax_commit": Resource("/api/v2/afc/Commit", "doc", "doc", Guard.COMMIT),
    "tax_void": Resource("/api/v2/afc/Commit", "doc", "doc", Guard.COMMIT),
    "pcode": Resource("/api/v2/afc/PCode", "PCode", "", Guard.READ_ONLY),
    "location": Resource("/api/v2/afc/location", "PCode", "", Guard.READ_ONLY),
    "primary": Resource("/api/v2/afc/primary", "PCode", "", Guard.READ_ONLY),
    "ts_pair": Resource("/api/v2/afc/tspairs", "", "", Guard.READ_ONLY),
    "tax_type": Resource("/api/v2/afc/taxtype", "TaxType", "", Guard.READ_ONLY),
}

#: What the vendor's messages speak of, as the field of a payload, from the narrowest to the widest.
_BLAMES: Sequence[tuple[str, str]] = (
    (r"PCode not found", "bill.pcd"),
    (r"NPANXX", "bill.npa"),
    (r"FIPS", "bill.fips"),
    (r"^Exemption Error|TaxExemption", "exms"),
    (r"From location", "from"),
    (r"To location", "to"),
    (r"BillTo|County/State/Zip|geocod", "bill"),
    (r"TransactionType|transaction/service|call type", "tran"),
    (r"LineNumber", "ref"),
    (r"Sale is", "sale"),
    (r"AdjustmentMethod", "adjm"),
    (r"DiscountType", "disc"),
    (r"[Dd]ocument ?[Cc]ode", "doc"),
    (r"CustomerType", "cust"),
    (r"^Date ", "date"),
    (r"Items list|LineItems", "itms"),
    (r"ReturnDetail", "dtl"),
    (r"OptionalField", "opt"),
    (r"^Commit ", "cmmt"),
)

#: Messages about the settings of this connector, which every document would meet.
_MISCONFIGURED = re.compile(
    r"Profile ID|CompanyData|BusinessClass|ServiceClass|Facilities|Franchise|Regulated|Exclusion"
)
_LOCKED = "Document code has been locked."
_CENT = Decimal("0.01")
#: How far sums of doubles may lie apart and still be the same sum.
_NOISE = Decimal("0.000001")
#: How far a part of a tax may lie from what is given back of it by rounding alone, exclusive: the tax of the line and
#: what was given back of it before and until now are each rounded once, to half a cent.
_ROUNDED_APART = Decimal("0.015")


class Settings(BaseModel):
    """One AFC client: whose it is, and what kind of company is taxed (``cmpn`` of each request).

    ``sign_in`` ``api_key`` is for accounts that still use the header of 2019. ``business_class``: 0 incumbent local
    carrier, 1 not; ``service_class``: 0 mostly local, 1 mostly long distance.
    """

    base_url: str = "https://communications.avalara.net"
    user: str
    password: SecretStr
    sign_in: Literal["basic", "api_key"] = "basic"
    client_id: int | None = None
    client_profile_id: int | None = None
    business_class: Literal[0, 1] = 1
    service_class: Literal[0, 1] = 1
    facilities: bool = False
    franchise: bool = False
    regulated: bool = False


def connect(settings: Settings, world: World) -> Connector:
    return Communications(settings, world)


class Communications(BaseConnector):
    system = SYSTEM
    resources = RESOURCES

    def __init__(self, settings: Settings, world: World) -> None:
        password = settings.password.get_secret_value()
        headers = {"client_id": settings.client_id, "client_profile_id": settings.client_profile_id}
        named = {name: str(value) for name, value in headers.items() if value is not None}
        by_key = settings.sign_in == "api_key"
        if by_key:
            named["api_key"] = base64.b64encode(f"{settings.user}:{password}".encode()).decode()
        self._profile = settings.client_profile_id
        self._fresh = world.ids
        self._company = {
            "bscl": settings.business_class,
            "svcl": settings.service_class,
            "fclt": settings.facilities,
            "frch": settings.franchise,
            "reg": settings.regulated,
        }
        self._wire = Wire(
            SYSTEM,
            settings.base_url,
            world,
            auth=None if by_key else BasicAuth(settings.user, password),
            headers=named,
            read_error=read_error,
        )

    def get(self, resource: str, vendor_id: str) -> Payload:
        """A place, a transaction/service pair or a tax type. Rejected when the vendor does not know it."""
        self.resource(resource)
        if resource not in _READS:
            raise Misconfigured(f"{SYSTEM} keeps no {resource} that could be read back", system=SYSTEM)
        with _naming(resource, {}):
            found = _READS[resource](self._wire, vendor_id)
            if found is None:
                raise Rejected(f"{SYSTEM} knows no {resource} {vendor_id}", system=SYSTEM, value=vendor_id)
            return found

    def find(self, resource: str, key: ExternalKey) -> Receipt | None:
        """Always None: nothing written can be looked up, and all of it may be sent again."""
        if self.resource(resource).guard is Guard.READ_ONLY:
            raise Misconfigured(f"{SYSTEM} keeps no {resource} of ours", system=SYSTEM)
        return None

    def upsert(self, resource: str, payload: Payload, key: ExternalKey) -> Receipt:
        with _naming(resource, payload):
            match resource:
                case "tax_document" | "tax_credit":
                    return self._calculate(resource, payload, key)
                case "tax_commit" | "tax_void":
                    return self._commit(resource, payload, key)
        return super().upsert(resource, payload, key)

    def _calculate(self, resource: str, payload: Payload, key: ExternalKey) -> Receipt:
        _refuse_what_would_count(resource, payload)
        items = payload.get("itms") or []
        wanted = [item.get("billed") for item in items]
        invoice = {
            **payload,
            "itms": [{name: value for name, value in item.items() if name != "billed"} for item in items],
            "doc": f"{key.value}/{self._fresh()}",
            "invn": key.value,
            "cmmt": False,
            "invm": True,
            "dtl": True,
            "summ": True,
        }
        request = {"cfg": {"retnb": False, "incrf": True}, "cmpn": self._company, "inv": [invoice]}
        answer = _said(self._wire.write("POST", RESOURCES[resource].path, json=request))
        results = answer.get("inv") or []
        if len(results) != 1 or results[0].get("doc") != invoice["doc"]:
            raise OutcomeUnknown(f"{SYSTEM} answered about another document than {invoice['doc']}")
        return Receipt(SYSTEM, resource, invoice["doc"], key, True, _joined(invoice, results[0], wanted))

    def _commit(self, resource: str, payload: Payload, key: ExternalKey) -> Receipt:
        wanted = resource == "tax_commit"
        request = {**payload, "doc": key.value, "cmmt": wanted}
        try:
            answer = _said(self._wire.write("POST", RESOURCES[resource].path, json=request))
        except Rejected as refusal:
            if not (wanted and _LOCKED in str(refusal)):
                raise
            answer = {"ok": True}
        if answer.get("ok") is not True:
            raise OutcomeUnknown(f"{SYSTEM} did not say whether document {key.value} is committed")
        return Receipt(SYSTEM, resource, key.value, key, True, {"doc": key.value, "cmmt": wanted, **answer})

    def check(self) -> list[Finding]:
        """Credentials by serviceinfo; then that the profile of the settings exists."""
        try:
            info = _said(self._wire.read("GET", "/api/v2/afc/serviceinfo"))
            engine = (info.get("Versions") or {}).get("AfcEngineVersion")
            findings = [Finding("credentials", True, f"AFC engine {engine} knows the user")]
            asked = {"ItemType": "Configuration", "RequestedProfileId": str(self._profile or 0)}
            profiles = exact_json(self._wire.read("GET", "/api/v2/profiles/GetProfiles", params=asked))
        except TieoutError as error:
            return [Finding("credentials", False, str(error), error.cure)]
        active = [profile for profile in profiles if profile.get("Active") is not False]
        told = f"profile {self._profile or 0} is " + ("active" if active else "unknown or not active")
        cure = "" if active else "Set client_profile_id to a profile of the AFC portal, or leave it out."
        return [*findings, Finding("profile", bool(active), told, cure)]

    def close(self) -> None:
        self._wire.close()


def in_cents(amounts: Sequence[Decimal], wanted: Decimal | None = None) -> list[Decimal]:
    """Each amount in whole hundredths, so that they add up to ``wanted`` (None: the exact sum rounded once, half up).

    Largest remainder: each is first cut down, and the hundredths that lack then go to those that lost most, the earlier
    one first. The negatives of amounts get the negatives of their shares. Farther from ``wanted`` than rounding alone
    explains, they add up to their own sum.
    """
    exact = sum(amounts, Decimal(0))
    if exact < 0:
        return [-share for share in in_cents([-amount for amount in amounts], None if wanted is None else -wanted)]
    whole = exact.quantize(_CENT, ROUND_HALF_UP)
    if wanted is not None and amounts and abs(exact - wanted) < _ROUNDED_APART:
        whole = wanted
    shares = [amount.quantize(_CENT, ROUND_FLOOR) for amount in amounts]
    lacking = int((whole - sum(shares)) / _CENT)
    by_loss = sorted(range(len(amounts)), key=lambda i: (shares[i] - amounts[i], i))
    for turn in range(abs(lacking)):
        i = by_loss[turn % len(by_loss)] if lacking > 0 else by_loss[-1 - turn % len(by_loss)]
        shares[i] += _CENT.copy_sign(lacking)
    return shares


def _joined(invoice: Mapping[str, Any], result: Mapping[str, Any], wanted: Sequence[Decimal | None]) -> Payload:
    """The invoice as it was sent, each item with the taxes of the answer in cents, where that fits of what is wanted.

    Rejected when an item was refused. OutcomeUnknown when the answer is about other items. TieBroken when the summary
    of the vendor is not the sum of its details.
    """
    results = result.get("itms") or []
    for i, item in enumerate(results):
        _refuse(item.get("err"), f"itms[{i}].")
    _refuse(result.get("err"))
    if [item.get("ref") for item in results] != [item.get("ref") for item in invoice["itms"]]:
        raise OutcomeUnknown(f"{SYSTEM} answered about other items than those of {invoice['doc']}")
    items = [
        {**sent, **_billed([tax for tax in item.get("txs") or [] if tax.get("bill") is not False], due)}
        for sent, item, due in zip(invoice["itms"], results, wanted, strict=True)
    ]
    details = sum((_amount(tax) for item in items for tax in item["txs"]), Decimal(0))
    summed = sum((_amount(tax) for tax in result.get("summ") or [] if tax.get("bill") is not False), Decimal(0))
    if abs(details - summed) > _NOISE:
        raise TieBroken("AFC summary = sum of its details", subject=invoice["doc"], left=summed, right=details)
    return {**invoice, "itms": items}


def _billed(taxes: Sequence[Mapping[str, Any]], wanted: Decimal | None) -> Payload:
    """What an item gets: its taxes, each with its share in cents, and their sum."""
    shares = in_cents([_amount(tax) for tax in taxes], wanted)
    return {
        "billed": sum(shares, Decimal("0.00")),
        "txs": [{**tax, "billed": share} for tax, share in zip(taxes, shares, strict=True)],
    }


def _amount(tax: Mapping[str, Any]) -> Decimal:
    """A tax of the answer. Sums of doubles of this size are exact to nine decimals; what is beyond is noise."""
    return Decimal(tax.get("tax") or 0).quantize(Decimal("1e-9"), ROUND_HALF_UP)


def _refuse_what_would_count(resource: str, payload: Payload) -> None:
    """Rejected for a payload that commits as it calculates, or a credit that is a sale."""
    if payload.get("cmmt"):
        raise Rejected(
            f"{SYSTEM}: a calculation is committed by its own call, never by itself", system=SYSTEM, field="cmmt"
        )
    adjusts = [item.get("adj") is True for item in payload.get("itms") or []]
    if resource == "tax_credit" and not any(adjusts):
        raise Rejected(f"{SYSTEM}: no item of the credit says adj: true", system=SYSTEM, field="itms[0].adj")


def _pcode(wire: Wire, query: str) -> Payload | None:
    """``CountryIso=USA&State=CA&City=Irvine&ZipCode=92614``; the best match unless ``BestMatch=false`` is asked for."""
    asked: dict[str, Any] = {"BestMatch": True, "LimitResults": 10, **dict(parse_qsl(query))}
    asked["LimitResults"] = int(asked["LimitResults"])
    asked["BestMatch"] = str(asked["BestMatch"]).casefold() == "true"
    found = _said(wire.read("POST", RESOURCES["pcode"].path, json=asked))
    return found if found.get("LocationData") else None


def _place(resource: str) -> Callable[[Wire, str], Payload | None]:
    def read(wire: Wire, pcode: str) -> Payload | None:
        found = _said(wire.read("GET", f"{RESOURCES[resource].path}/{quote(pcode, safe='')}"))
        return found if found.get("LocationData") else None

    return read


def _pair(wire: Wire, pair: str) -> Payload | None:
    rows = _listed(wire.read("GET", RESOURCES["ts_pair"].path))
    return next((row for row in rows if f"{row['TransactionType']}:{row['ServiceType']}" == pair), None)


def _tax_type(wire: Wire, number: str) -> Payload | None:
    rows = _listed(wire.read("GET", f"{RESOURCES['tax_type'].path}/{quote(number, safe='')}"))
    return next((row for row in rows if str(row["TaxType"]) == number), None)


_READS: Mapping[str, Callable[[Wire, str], Payload | None]] = {
    "pcode": _pcode,
    "location": _place("location"),
    "primary": _place("primary"),
    "ts_pair": _pair,
    "tax_type": _tax_type,
}


def _said(response: Response) -> dict[str, Any]:
    """The object of an answer. Rejected or Misconfigured for an error the vendor lists in it, whatever the status."""
    body = exact_json(response)
    if not isinstance(body, dict):
        raise OutcomeUnknown(f"{SYSTEM} answered {response.status_code} with a body that is not an object")
    results = body.get("inv") or [{}]
    if not any(item.get("err") for result in results for item in result.get("itms") or []):
        _refuse(body.get("err"))
    return body


def _listed(response: Response) -> list[dict[str, Any]]:
    body = exact_json(response)
    if not isinstance(body, list):
        _refuse(body.get("err"))
        raise OutcomeUnknown(f"{SYSTEM} answered {response.status_code} with a body that is not a list")
    return body


def _refuse(errors: Any, where: str = "") -> None:
    if errors:
        raise _error(errors[0], where)


def _error(error: Mapping[str, Any], where: str = "") -> TieoutError:
    """What one ``{code, msg}`` means. The vendor names no field; the fixed wordings of its messages do."""
    message = str(error.get("msg") or "")
    said = f"{SYSTEM}: {error.get('code')}: {message}"
    if _MISCONFIGURED.search(message):
        return Misconfigured(said, system=SYSTEM)
    field = next((name for pattern, name in _BLAMES if re.search(pattern, message)), None)
    return Rejected(said, system=SYSTEM, field=f"{where}{field}" if field else None, code=str(error.get("code")))


def read_error(response: Response) -> TieoutError | None:
    """What an error status with the vendor's list of errors means; None where the status says it all."""
    if response.status_code in (401, 403, 408, 429) or response.status_code >= 500:
        return None
    try:
        body = parsed(response.content)
    except ValueError:
        return None
    errors = body.get("err") if isinstance(body, dict) else None
    return _error(errors[0]) if errors else None


@contextmanager
def _naming(resource: str, payload: Payload) -> Iterator[None]:
    """Tells a Rejected the record it is about, and the value the payload has in the field it names."""
    try:
        yield
    except Rejected as refusal:
        refusal.record = refusal.record or resource
        if refusal.field and refusal.value is None:
            refusal.value = _value_at(payload, refusal.field)
        raise


def _value_at(payload: Any, path: str) -> str | None:
    """The text of a plain value at ``itms[0].tran``; None when there is none."""
    for part in re.findall(r"\w+", path):
        if isinstance(payload, Mapping):
            payload = payload.get(part)
        elif isinstance(payload, (list, tuple)) and part.isdigit() and int(part) < len(payload):
            payload = payload[int(part)]
        else:
            return None
    return None if payload is None or isinstance(payload, (Mapping, list, tuple)) else str(payload)
