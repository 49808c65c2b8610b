"""QuickBooks Online through the Accounting API v3, minor version 75.

Written after Intuit's reference pages, its published XSDs (.NET SDK, 2026-05) and reports of its users (read 2026-11):

- **Our key.** Customers, items, accounts and classes carry it in a field that the company keeps unique. A transaction
  has no field for it but its number, which takes 21 characters. A key that fits IS the number. A longer one (and one
  that begins with ``~``) becomes ``~`` and the first 20 characters of the base32 SHA-256 of the key, 100 bits, and
  stands whole as the first line of ``PrivateNote``. So two keys never share a number by form, the number of a key is
  always the same, and what a look-up by number finds is ours only if the note, where it carries a key of that number,
  carries this one. Above this module numbers are whole: the shortening is undone in every answer.
- **Once.** Every write looks the key up first, and carries a ``requestid`` made of the company and the request, under
  which the vendor repeats its first answer. For name lists users doubt that; their unique names guard them.
- **Updates** send back the whole record as it was read, with our fields on it: entities that know no sparse update
  empty what is not sent. A stale ``SyncToken`` is read again once. What the record says already is not written.
- **References.** QuickBooks knows only its own ids. A reference that has a ``name`` and no ``value`` names our key:
  ``{"AccountRef": {"name": "1190"}}``; its id is looked up, and the record waits when there is none yet.
- **Amounts.** A sales line is refused unless its amount is quantity times unit price, so lines are sent with the amount
  alone. ``TotalAmt`` is computed there; the one in a payload is compared with the lines before anything is sent.
- **Currencies.** A transaction is in the currency of its customer, whose receivables are an account of that currency;
  QuickBooks makes it, without a number, and it counts for the numbered one. Other accounts are in the home currency, in
  which the general ledger is read.
- **Payments** that were taken back are voided (``payment_void``): an amount of zero is left of them, and they count as
  gone. One that stands, and pays less of its invoice now, is told so (``payment_application``) by its lines alone, in a
  full update: amount and day stay, and so does what the general ledger has.
- **Closed books** may be open to applications when no password protects them: the closing date is compared here.
- **Fault codes overlap** (5010 is a stale object or a closed period), and a fault may come in an HTTP 200, so answers
  are read by code AND text, whatever the status.
- ``changes`` asks change data capture, which shows deletions, looks back 30 days and gives at most 1,000 objects;
  beyond either it falls back on a query, which shows none.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from connectors.auth import App, RefreshedSession, TokenFile
from connectors.rounding import Rounding, foretold
from connectors.wire import BulkConnector, Response, Wire, dump_json, exact_json, parsed, retry_after
from core.errors import (
    Misconfigured,
    OutcomeUnknown,
    Parked,
    RateLimited,
    Rejected,
    TieoutError,
    Unavailable,
)
from core.ports import (
    Change,
    ExternalKey,
    Finding,
    Guard,
    Outcome,
    Payload,
    Receipt,
    Resource,
    WebhookEvent,
    WebhookRequest,
    World,
)

SYSTEM = "quickbooks"
Json = dict[str, Any]


def _entity(path: str, key_field: str) -> Resource:
    return Resource(path, "Id", key_field, Guard.IDEMPOTENCY_KEY, batch=10, tells_deletions=True)


RESOURCES: Mapping[str, Resource] = {
    "account": _entity("Customer", "DisplayName"),
    "product": _entity("Item", "Name"),
    "ledger_account": _entity("Account", "AcctNum"),
    "class": _entity("Class", "Name"),
    "invoice": _entity("Invoice", "DocNumber"),
    "credit_note": _entity("CreditMemo", "DocNumber"),
    "payment": _entity("Payment", "PaymentRefNum"),
    "payment_void": _entity("Payment", "PaymentRefNum"),
    "payment_application": _entity("Payment", "PaymentRefNum"),
    "journal_entry": _entity("JournalEntry", "DocNumber"),
    "gl_balance": Resource("reports/GeneralLedger", "account", "account", Guard.READ_ONLY),
}
#: Resources that are only done to a payment.
DONE_TO = frozenset({"payment_void", "payment_application"})
#: A sales line is refused unless its amount is quantity times unit price (page Invoice, read 2026-11).
_SALE = Rounding("Line", "TotalAmt", "Amount", "SalesItemLineDetail.Qty", "SalesItemLineDetail.UnitPrice")
ROUNDING: Mapping[str, Rounding] = {"invoice": _SALE, "credit_note": _SALE}
NAME_LISTS = frozenset({"Customer", "Item", "Account", "Class"})
#: The first resource of an entity is the entity itself.
BY_ENTITY = {row.path.lower(): name for name, row in reversed([*RESOURCES.items()]) if row.guard is not Guard.READ_ONLY}
#: Fields that refer to a record of ours by name, and the resource it is of.
REFERENCES = {
    "ItemRef": "product",
    "AccountRef": "ledger_account",
    "IncomeAccountRef": "ledger_account",
    "DepositToAccountRef": "ledger_account",
    "ARAccountRef": "ledger_account",
    "ClassRef": "class",
    "CustomerRef": "account",
}

#: The type of accounts of which each currency has one.
RECEIVABLES = "Accounts Receivable"
#: Most characters of a document number.
NUMBER = 21
#: Most keys of one look-up; its text must fit a URL.
LOOK_UP = 30
#: Most objects of one answer, and how far change data capture looks back (a day less than the vendor's 30).
CAPTURED, LOOK_BACK = 1000, timedelta(days=29)
#: Seconds to wait when the vendor throttles without saying how long: its limits count by the minute.
THROTTLED_WAIT = 60.0
#: A report that was cut short says so in its last row.
CUT_SHORT = "Unable to display more data"
#: The first and the last day a ledger is asked for.
EVER = date(1970, 1, 1), date(2099, 12, 31)


def document_number(key: str) -> str:
    """The number a document with our key carries: at most 21 characters, always the same, never another key's."""
    if len(key) <= NUMBER and not key.startswith("~"):
        return key
    return "~" + base64.b32encode(hashlib.sha256(key.encode()).digest()).decode()[: NUMBER - 1]


# What the vendor's faults mean --------------------------------------------------------------------------------------


class Meaning(StrEnum):
    CLOSED = "the books of that date are closed"
    THROTTLED = "too many requests; nothing was done"
    UNKNOWN = "it may or may not have been done"
    DUPLICATE = "another record has this name or number"
    STALE = "somebody else changed the record meanwhile; nothing was done"
    ACCESS = "credentials, permissions or subscription are not in order"
    REFUSED = "the record is wrong"


#: First match wins: codes (none: any), a pattern of the text, and the meaning. A code alone misleads: 6210 was a
#: duplicate number in 2017 and is a closed period now, and closed periods were seen as 5010 too.
FAULTS: Sequence[tuple[frozenset[str], str, Meaning]] = (
    (frozenset(), r"period (is |has |was )?(been )?closed|books.{0,20}closed|closing date", Meaning.CLOSED),
    (frozenset(), r"ThrottleExceeded|throttl", Meaning.THROTTLED),
    (frozenset({"600"}), r"", Meaning.UNKNOWN),
    (frozenset(), r"application error has occurred|internal (server )?error|timed out", Meaning.UNKNOWN),
    (frozenset(), r"duplicate (document|doc|name)|name supplied already exists", Meaning.DUPLICATE),
    (frozenset({"6140", "6240"}), r"", Meaning.DUPLICATE),
    (frozenset({"5010"}), r"", Meaning.STALE),
    (frozenset({"100", "110", "120", "130", "140", "150", "3100", "3200", "5020", "6190"}), r"", Meaning.ACCESS),
    (frozenset(), r"AuthenticationFailed|AuthorizationFail", Meaning.ACCESS),
)  # fmt: skip

#: How the vendor's details name the field or the value at fault.
BLAME = (
    re.compile(r"Property Name:(?P<field>[\w.]+) specified"),
    re.compile(r"Required param(eter)? (?P<field>[\w.]+)"),
    re.compile(r"Invalid Enumeration ?: (?P<value>\S+)"),
    re.compile(r"element id (?P<value>\S+) not found"),
    re.compile(r"Supplied value: ?(?P<value>\S+)"),
)


def meaning_of(code: str, text: str) -> Meaning:
    """What a fault means by its code and its text together."""
    for codes, pattern, meaning in FAULTS:
        if (not codes or code in codes) and re.search(pattern, text, re.IGNORECASE):
            return meaning
    return Meaning.REFUSED


class Refusal(Rejected):
    """A fault as it came, before it is known which record it is about."""

    def __init__(self, meaning: Meaning, code: str, text: str, element: str) -> None:
        super().__init__(f"{SYSTEM}: {code}: {text}", system=SYSTEM, field=element or None, code=code)
        self.meaning, self.text = meaning, text
        for pattern in BLAME:
            if found := pattern.search(text):
                parts = found.groupdict()
                self.field = self.field or parts.get("field")
                self.value = parts.get("value")
                break
        if self.field is None and "currency" in text.lower():
            self.field = "CurrencyRef"


def refusal_in(body: Any) -> Refusal | None:
    """The fault in an answer, spelled ``Fault`` or (by the gateway) ``fault``; None when there is none."""
    fault = body.get("Fault") or body.get("fault") if isinstance(body, dict) else None
    if not isinstance(fault, dict):
        return None
    errors = fault.get("Error") or fault.get("error") or [{}]
    error = {str(name).lower(): str(value or "") for name, value in errors[0].items()}
    code, message, detail = (error.get(name, "") for name in ("code", "message", "detail"))
    text = detail if message and message in detail else f"{message}: {detail}".strip(": ")
    meaning = Meaning.UNKNOWN if fault.get("type") == "SystemFault" else meaning_of(code, f"{message} {detail}")
    return Refusal(meaning, code, text or "no reason given", error.get("element", ""))


# ---------------------------------------------------------------------------------------------------------------------


class Settings(BaseModel):
    """One company and the app that may use it.

    ``realm_id``: the company's id; ``refresh_token``: as the consent gave it; the newest ones are kept in
    ``token_file`` (mode 0600, replaced in one step), which must outlive restarts and be shared by all workers.
    ``verifier_token`` is needed to receive webhooks. ``batch``: records per batch call, 10 to 30 (an older page of the
    vendor says 10, the present one 30). ``page``: objects per query answer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    realm_id: str = Field(pattern=r"^\d+$")
    client_id: str
    client_secret: SecretStr
    refresh_token: SecretStr
    token_file: Path = Path(".tieout/quickbooks-tokens.json")
    verifier_token: SecretStr | None = None
    base_url: str = "https://quickbooks.api.intuit.com"
    login_url: str = "https://oauth.platform.intuit.com"
    minor_version: int = Field(75, ge=75)
    batch: int = Field(10, ge=1, le=30)
    page: int = Field(1000, ge=1, le=1000)

    @field_validator("base_url", "login_url")
    @classmethod
    def _safe_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
            raise ValueError("must be an https address (http only on loopback)")
        return url.rstrip("/")


def connect(settings: Settings, world: World) -> QuickBooks:
    return QuickBooks(settings, world)


@dataclass(frozen=True, slots=True)
class Write:
    """One record to be sent: what it says, under which key, what is there already, and the body that says so."""

    payload: Payload
    key: ExternalKey
    known: Json | None
    body: Json

    @property
    def operation(self) -> str:
        return "update" if self.known else "create"


@dataclass(frozen=True, slots=True)
class Books:
    """The closing date (ISO text; empty: none) as it was read on a day."""

    closed_through: str
    read_on: date


class QuickBooks(BulkConnector):
    system = SYSTEM
    resources: Mapping[str, Resource] = RESOURCES

    def __init__(self, settings: Settings, world: World) -> None:
        self.settings, self.world = settings, world
        self.resources = {name: replace(row, batch=settings.batch) for name, row in RESOURCES.items()}
        app = App(
            settings.login_url,
            "/oauth2/v1/tokens/bearer",
            settings.client_id,
            settings.client_secret,
            settings.refresh_token,
        )
        self._session = RefreshedSession(app, TokenFile(SYSTEM, settings.token_file), world)
        headers = {"Accept": "application/json"}
        self._wire = Wire(
            SYSTEM, settings.base_url, world, auth=self._session, headers=headers, read_error=self._read_error
        )
        self._ids: dict[tuple[str, str], str] = {}
        self._books: Books | None = None

    # The verbs

    def find(self, resource: str, key: ExternalKey) -> Receipt | None:
        """None for a ``payment_application``, which may be told again: only its payload says what is to be found."""
        row = self._written(resource)
        if resource == "payment_application":
            return None
        found = self._held(row, [key.value]).get(key.value)
        if found and resource == "payment_void" and not _is_void(row, found):
            return None
        return self._receipt(resource, key, found, created=False) if found else None

    def get(self, resource: str, vendor_id: str) -> Payload:
        row = self._written(resource)
        try:
            answer = self._read(f"{row.path.lower()}/{quote(vendor_id, safe='')}")
        except Rejected as error:
            raise Rejected(
                str(error), system=SYSTEM, record=resource, field="Id", value=vendor_id, code=error.code
            ) from None
        return _whole(row, answer[row.path])

    def upsert_many(self, resource: str, items: Sequence[tuple[Payload, ExternalKey]]) -> list[Outcome]:
        """Records are independent of each other: one batch call carries several, and each has its own outcome."""
        row = self._written(resource)
        if resource in DONE_TO:
            return [self._done(resource, payload, key) for payload, key in items]
        held = self._held(row, [key.value for _, key in items])
        self._learn(payload for payload, _ in items)
        outcomes: dict[int, Outcome] = {}
        ready: list[tuple[int, Write]] = []
        for position, (payload, key) in enumerate(items):
            try:
                step = self._prepared(resource, payload, key, held.get(key.value))
            except (Rejected, Parked) as error:
                outcomes[position] = error
                continue
            if isinstance(step, Write):
                ready.append((position, step))
            else:
                outcomes[position] = step
        for start in range(0, len(ready), row.batch):
            chunk = ready[start : start + row.batch]
            settled = self._sent(resource, [write for _, write in chunk])
            outcomes |= zip((position for position, _ in chunk), settled, strict=True)
        return [outcomes[position] for position in range(len(items))]

    def changes(self, resource: str, since: str | None) -> Iterator[Change]:
        """``since``: an instant as ISO text. A deleted record has no payload; deletions are seen for 29 days.

        For ``gl_balance`` it is a month (``2026-10``): that one and later; each Change is what one of our ledger
        accounts (those with a number) was posted in one month: ``account`` (Id, AcctNum, Name), ``month``, ``amount``
        (debits less credits, in the home currency).
        """
        if self.resource(resource).guard is Guard.READ_ONLY:
            yield from self._balances(since)
            return
        row = self._written(resource)
        if since is None:
            yield from (_change(row, record) for record in self._query(row))
            return
        captured: list[Json] | None = None
        if datetime.fromisoformat(since) > self.world.clock() - LOOK_BACK:
            captured = self._captured(row, since)
            yield from (_change(row, record) for record in captured if record.get("status") == "Deleted")
        if captured is None or len(captured) >= CAPTURED:
            captured = list(self._query(row, [f"MetaData.LastUpdatedTime >= {_quoted(since)}"]))
        yield from (_change(row, record) for record in captured if record.get("status") != "Deleted")

    def events(self, request: WebhookRequest) -> list[WebhookEvent]:
        """The events of our company and our resources, in the old form (``eventNotifications``) or as CloudEvents.

        The signature covers the body alone, so a repeated delivery is told only by its event ids. The old form has
        none: entity, id, operation and time make one.
        """
        if self.settings.verifier_token is None:
            raise Misconfigured(f"{SYSTEM}: set verifier_token to receive webhooks", system=SYSTEM)
        secret = self.settings.verifier_token.get_secret_value().encode()
        mark = base64.b64encode(hmac.new(secret, request.body, hashlib.sha256).digest())
        if not hmac.compare_digest(mark, request.headers.get("intuit-signature", "").encode()):
            raise Rejected(f"{SYSTEM}: a webhook with a wrong signature was refused", system=SYSTEM)
        try:
            body = parsed(request.body)
            events = self._cloud_events(body) if isinstance(body, list) else self._notifications(body)
            return [event for event in events if event.resource]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Rejected(f"{SYSTEM}: a webhook of an unknown form was refused", system=SYSTEM) from None

    def close(self) -> None:
        self._wire.close()
        self._session.close()

    # Writing

    def _written(self, resource: str) -> Resource:
        row = self.resource(resource)
        if row.guard is Guard.READ_ONLY:
            raise Misconfigured(f"{SYSTEM}: {resource} is only read, through changes()", system=SYSTEM)
        return row

    def _prepared(self, resource: str, payload: Payload, key: ExternalKey, known: Json | None) -> Write | Receipt:
        """What must be sent; the Receipt of what is there already when it says the same. Rejected or Parked."""
        row = self._written(resource)
        if payload.get(row.key_field, key.value) != key.value:
            raise self._wrong(resource, row.key_field, payload[row.key_field], f"is not the record's key {key.value}")
        if resource in ROUNDING:
            foretold(SYSTEM, resource, ROUNDING[resource], payload)
        given = {**_unparted(row, self._with_ids(payload)), row.key_field: key.value}
        if known and _says(known, given):
            return self._receipt(resource, key, known, created=False)
        self._in_open_books(payload)
        return Write(payload, key, known, _shortened(row, {**(known or {}), **given}))

    def _done(self, resource: str, payload: Payload, key: ExternalKey) -> Outcome:
        """What is done to the payment that the payload names by id. ``TxnDate``: its day, on which the books must be
        open."""
        try:
            there = self.get("payment", str(payload["Id"]))
            told = self._voided(there, payload) if resource == "payment_void" else self._reapplied(there, payload, key)
            return self._receipt(resource, key, _whole(self.resource(resource), dict(told)), created=False)
        except Refusal as refusal:
            return self._verdict(resource, payload, refusal)
        except TieoutError as error:
            return error

    def _voided(self, there: Payload, payload: Payload) -> Payload:
        row = self.resource("payment_void")
        if _is_void(row, there):
            return there
        self._in_open_books(payload)
        body = {"Id": there["Id"], "SyncToken": there["SyncToken"], "sparse": True}
        return dict(self._write(row.path.lower(), body, operation="update", include="void")[row.path])

    def _reapplied(self, there: Payload, payload: Payload, key: ExternalKey) -> Payload:
        """The payment pays of each document in ``Line`` that amount (zero: nothing); its other lines stay.

        The whole record is sent: what a full update leaves out is emptied, the lines among it (page Payment, read
        2026-11). Rejected when the answer still pays otherwise.
        """
        row, told = self.resource("payment_application"), _paid(payload)
        if _pays(there, told):
            return there
        self._in_open_books(payload)
        others = [line for line in there.get("Line") or () if told.keys().isdisjoint(_paid({"Line": [line]}))]
        lines = [*others, *(line for line in payload["Line"] if line["Amount"])]
        body = {name: value for name, value in there.items() if name not in ("Line", "UnappliedAmt")}
        body |= {row.key_field: key.value, **({"Line": lines} if lines else {})}
        answer = dict(self._write(row.path.lower(), _shortened(row, body))[row.path])
        if not _pays(answer, told):
            raise self._wrong("payment_application", "Line", answer.get("Line"), "does not hold what it was told to")
        return answer

    def _in_open_books(self, payload: Payload) -> None:
        """Parked when the day of a payload lies in closed books."""
        day = str(payload.get("TxnDate") or "")
        if day and self._closed_through(day):
            raise Parked(f"{SYSTEM}: the books of {day} are closed", waits_for=f"period:{day[:7]}")

    def _wrong(self, resource: str, field: str, value: Any, why: str) -> Rejected:
        return Rejected(f"{resource}: {field} {why}", system=SYSTEM, record=resource, field=field, value=str(value))

    def _sent(self, resource: str, writes: Sequence[Write]) -> list[Outcome]:
        """One batch call for several records, a plain one for one. What befalls the call befalls each of them."""
        row = self._written(resource)
        try:
            if len(writes) == 1:
                return [self._settled(resource, writes[0], self._posted(row, writes[0]))]
            items = [
                {"bId": str(number), "operation": write.operation, row.path: write.body}
                for number, write in enumerate(writes)
            ]
            answer = self._write("batch", {"BatchItemRequest": items})
        except Refusal as refusal:
            return [self._verdict(resource, {}, refusal)] * len(writes)
        except TieoutError as error:
            return [error] * len(writes)
        answers = {item.get("bId"): item for item in answer["BatchItemResponse"]}
        return [self._settled(resource, write, answers.get(str(number), {})) for number, write in enumerate(writes)]

    def _posted(self, row: Resource, write: Write) -> Json:
        """The answer to one record's own call, or the fault that was it, as in a batch."""
        try:
            return self._write(row.path.lower(), write.body)
        except Refusal as refusal:
            return {"refusal": refusal}

    def _settled(self, resource: str, write: Write, answer: Json) -> Outcome:
        """The outcome of one record. A stale one is read again and sent once more; a duplicate of ours is adopted."""
        row, key = self._written(resource), write.key
        outcome = self._outcome(resource, write, answer)
        try:
            if isinstance(outcome, Refusal) and outcome.meaning is Meaning.STALE:
                fresh = self._prepared(resource, write.payload, key, self._held(row, [key.value]).get(key.value))
                if isinstance(fresh, Receipt):
                    return fresh
                outcome = self._outcome(resource, fresh, self._posted(row, fresh))
            if isinstance(outcome, Refusal) and outcome.meaning is Meaning.DUPLICATE:
                outcome = self.find(resource, key) or outcome
        except TieoutError as error:
            return error
        return self._verdict(resource, write.payload, outcome) if isinstance(outcome, Refusal) else outcome

    def _outcome(self, resource: str, write: Write, answer: Json) -> Receipt | OutcomeUnknown | Refusal:
        """What an answer says about one record, before anything is made of a fault."""
        row = self._written(resource)
        if row.path in answer:
            return self._receipt(resource, write.key, _whole(row, answer[row.path]), created=write.known is None)
        unanswered = OutcomeUnknown(f"{SYSTEM} answered nothing about {write.key.value}")
        return answer.get("refusal") or refusal_in(answer) or unanswered

    def _verdict(self, resource: str, payload: Payload, refusal: Refusal) -> TieoutError:
        """What a fault means for the record it is about."""
        text = f"{SYSTEM} refused {resource}: {refusal.code}: {refusal.text}"
        match refusal.meaning:
            case Meaning.CLOSED:
                self._books = None
                return Parked(text, waits_for=f"period:{str(payload.get('TxnDate', ''))[:7]}")
            case Meaning.THROTTLED:
                return RateLimited(text, wait_seconds=THROTTLED_WAIT)
            case Meaning.STALE:
                return Unavailable(text)
            case Meaning.UNKNOWN:
                return OutcomeUnknown(text)
            case Meaning.ACCESS:
                return Misconfigured(text, system=SYSTEM)
        field, value = refusal.field, refusal.value
        if field is None and value is not None:
            field = _path_of(payload, value) or _path_of(self._with_ids(payload), value)
        if value is None and field is not None and payload.get(field) is not None:
            value = str(payload[field])
        return Rejected(text, system=SYSTEM, record=resource, field=field, value=value, code=refusal.code)

    def _receipt(self, resource: str, key: ExternalKey, record: Json, *, created: bool) -> Receipt:
        return Receipt(SYSTEM, resource, str(record["Id"]), key, created, record)

    # References and closed books

    def _learn(self, payloads: Iterable[Payload]) -> None:
        """Looks up the ids of all records that payloads name and that are not known yet."""
        wanted: dict[str, set[str]] = defaultdict(set)
        for resource, name in (found for payload in payloads for found in _named(payload)):
            if (resource, name) not in self._ids:
                wanted[resource].add(name)
        for resource, names in wanted.items():
            for name, record in self._held(self.resource(resource), sorted(names)).items():
                self._ids[resource, name] = str(record["Id"])

    def _with_ids(self, value: Any) -> Any:
        """A copy in which every reference has its id. Parked on the first that has none yet."""
        if isinstance(value, list | tuple):
            return [self._with_ids(item) for item in value]
        if not isinstance(value, Mapping):
            return value
        copy = {}
        for field, item in value.items():
            if _is_named(field, item):
                place = REFERENCES[field], str(item["name"])
                if place not in self._ids:
                    raise Parked(
                        f"{SYSTEM} has no {place[0]} {place[1]} yet", waits_for=f"{SYSTEM}:{place[0]}:{place[1]}"
                    )
                copy[field] = {"value": self._ids[place]}
            else:
                copy[field] = self._with_ids(item)
        return copy

    def takes_postings(self, day: date) -> bool:
        """Whether a day lies after the closing date of the company."""
        self._books = None
        return not self._closed_through(day.isoformat())

    def _closed_through(self, day: str) -> bool:
        """Whether the books of ``day`` are closed. A remembered date only lets pass; it is read anew to forbid."""
        if self._books is None or self._books.read_on != self.world.clock().date() or day <= self._books.closed_through:
            self._books = self._read_books()
        return day <= self._books.closed_through

    def _read_books(self) -> Books:
        accounting = self._read("preferences")["Preferences"].get("AccountingInfoPrefs") or {}
        return Books(str(accounting.get("BookCloseDate") or ""), self.world.clock().date())

    # Reading

    def _held(self, row: Resource, keys: Sequence[str]) -> dict[str, Json]:
        """The records that carry these keys, by key; of several with one key the first."""
        held: dict[str, Json] = {}
        asked = {(key if row.path in NAME_LISTS else document_number(key)): key for key in keys}
        numbers = list(asked)
        for start in range(0, len(numbers), LOOK_UP):
            names = ", ".join(map(_quoted, numbers[start : start + LOOK_UP]))
            for record in self._query(row, [f"{row.key_field} in ({names})"]):
                key = str(record[row.key_field])
                held.setdefault(asked.get(key, key), record)
        return held

    def _query(self, row: Resource, conditions: Sequence[str] = ()) -> Iterator[Json]:
        """All records of an entity that meet the conditions, inactive ones too, page after page."""
        where = [*conditions, *(["Active in (true, false)"] if row.path in NAME_LISTS else [])]
        text = " ".join(["select * from", row.path, *(["where", " and ".join(where)] if where else []), "orderby Id"])
        start, size = 1, self.settings.page
        while True:
            page = self._read("query", query=f"{text} startposition {start} maxresults {size}")
            records = page["QueryResponse"].get(row.path, [])
            yield from (_whole(row, record) for record in records)
            if len(records) < size:
                return
            start += size

    def _captured(self, row: Resource, since: str) -> list[Json]:
        answer = self._read("cdc", entities=row.path, changedSince=since)
        pages = [page for response in answer["CDCResponse"] for page in response.get("QueryResponse", ())]
        return [_whole(row, record) for page in pages for record in page.get(row.path, ())]

    def _balances(self, since: str | None) -> Iterator[Change]:
        accounts = self._numbered()
        first = max(EVER[0], date.fromisoformat(f"{since[:7]}-01")) if since else EVER[0]
        sums: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
        currency, columns = self._home()
        for ident, day, amount in self._ledger(first, EVER[1], columns):
            if account := accounts.get(ident):
                sums[str(account["Id"]), day[:7]] += amount
        for (ident, month), amount in sorted(sums.items()):
            about = {name: accounts[ident][name] for name in ("Id", "AcctNum", "Name")}
            told = {"account": about, "month": month, "currency": currency, "amount": amount}
            yield Change(f"{ident}/{month}", self.world.clock(), told)

    def _numbered(self) -> dict[str, Json]:
        """By id, the numbered account that an account counts for: itself, and for receivables without a number, which
        are those of other currencies, the numbered receivables."""
        held = list(self._query(self.resource("ledger_account")))
        numbered = {str(one["Id"]): one for one in held if one.get("AcctNum")}
        whole = next((one for one in numbered.values() if one["AccountType"] == RECEIVABLES), None)
        others = [one for one in held if one["AccountType"] == RECEIVABLES and str(one["Id"]) not in numbered]
        return numbered | {str(one["Id"]): whole for one in others if whole}

    def _home(self) -> tuple[str, tuple[str, str]]:
        """The home currency, and the columns of debit and credit in it; a company with several currencies leaves the
        plain columns empty."""
        prefs = self._currency_prefs()
        several = prefs.get("MultiCurrencyEnabled")
        columns = ("debt_home_amt", "credit_home_amt") if several else ("debt_amt", "credit_amt")
        return str(prefs["HomeCurrency"]["value"]), columns

    def _currency_prefs(self) -> Json:
        return dict(self._read("preferences")["Preferences"]["CurrencyPrefs"])

    def _ledger(self, first: date, last: date, amounts: tuple[str, str]) -> Iterator[tuple[str, str, Decimal]]:
        """Account id, date and amount (debit positive) of all postings of these days, both inclusive.

        A report that is too large is cut short by the vendor; then its days are read in two halves.
        """
        report = self._read(
            "reports/GeneralLedger",
            start_date=first.isoformat(),
            end_date=last.isoformat(),
            accounting_method="Accrual",
            columns=",".join(("tx_date", *amounts)),
        )
        rows = list(_postings(report.get("Rows") or {}, ""))
        if any(CUT_SHORT in cells[0] for _, cells in rows):
            if first == last:
                raise Misconfigured(f"{SYSTEM}: the postings of {first} do not fit one report", system=SYSTEM)
            middle = first + (last - first) // 2
            yield from self._ledger(first, middle, amounts)
            yield from self._ledger(middle + timedelta(days=1), last, amounts)
            return
        at = [_column(report, name) for name in ("tx_date", *amounts)]
        for ident, cells in rows:
            day, debit, credit = (cells[place] if place < len(cells) else "" for place in at)
            if re.fullmatch(r"\d{4}-\d\d-\d\d", day):
                yield ident, day, Decimal(debit or 0) - Decimal(credit or 0)

    # Webhooks

    def _cloud_events(self, body: list[Any]) -> Iterator[WebhookEvent]:
        for event in body:
            if str(event["intuitaccountid"]) == self.settings.realm_id:
                _, entity, operation, *_ = str(event["type"]).split(".")
                resource, ident = BY_ENTITY.get(entity.lower(), ""), str(event["intuitentityid"])
                at = str(event["time"])
                yield WebhookEvent(str(event["id"]), resource, ident, operation, datetime.fromisoformat(at), at)

    def _notifications(self, body: Mapping[str, Any]) -> Iterator[WebhookEvent]:
        for notification in body["eventNotifications"]:
            if str(notification["realmId"]) == self.settings.realm_id:
                for entity in notification["dataChangeEvent"]["entities"]:
                    name, ident, kind, at = (str(entity[one]) for one in ("name", "id", "operation", "lastUpdated"))
                    resource = BY_ENTITY.get(name.lower(), "")
                    event_id = f"{name}/{ident}/{kind}/{at}"
                    yield WebhookEvent(event_id, resource, ident, kind.lower(), datetime.fromisoformat(at), at)

    # The wire

    def _path(self, path: str) -> str:
        return f"/v3/company/{self.settings.realm_id}/{path}"

    def _read(self, path: str, **params: str) -> Json:
        asked = {**params, "minorversion": str(self.settings.minor_version)}
        try:
            return _body(self._wire.read("GET", self._path(path), params=asked))
        except Refusal as refusal:
            error = self._verdict(path, {}, refusal)
        except OutcomeUnknown as garbled:
            error = garbled
        raise Unavailable(str(error)) if isinstance(error, OutcomeUnknown) else error

    def _write(self, path: str, body: Json, **more: str) -> Json:
        """The answer; a fault in it is raised as a Refusal. The request id follows from company and request."""
        asked = dump_json([self.settings.realm_id, path, body])
        params = {
            **more,
            "minorversion": str(self.settings.minor_version),
            "requestid": hashlib.sha256(asked).hexdigest()[:32],
        }
        return _body(self._wire.write("POST", self._path(path), json=body, params=params))

    def _read_error(self, response: Response) -> TieoutError | None:
        """A fault of the vendor under a status of its own; None where the status table says all."""
        if response.status_code in (401, 403) or response.status_code >= 500:
            return None
        if response.status_code == 429:
            wait = retry_after(response.headers, self.world.clock())
            return RateLimited(f"{SYSTEM}: too many requests", wait_seconds=THROTTLED_WAIT if wait is None else wait)
        try:
            return refusal_in(parsed(response.content))
        except ValueError:
            return None

    # What tieout doctor asks

    def check(self) -> list[Finding]:
        probes = (
            ("sign-in", self._check_sign_in, "Grant access again and put the new refresh token into the settings."),
            ("company", self._check_company, "Use the realm id of the company that granted access."),
            ("document numbers", self._check_numbers, "Switch on custom transaction numbers (Sales settings)."),
            ("books", self._check_books, "Nothing to do unless months to be posted are closed."),
            ("receivables", self._check_receivables, "Number the one Accounts Receivable account 1100."),
            ("currencies", self._check_currencies, "Number the account Exchange Gain or Loss 7000."),
            ("general ledger", self._check_ledger, "Let the connecting user see reports."),
        )
        findings: list[Finding] = []
        for name, probe, cure in probes:
            try:
                ok, detail = probe()
            except TieoutError as error:
                ok, detail = False, str(error)
            findings.append(Finding(f"{SYSTEM}: {name}", ok, detail, "" if ok else cure))
        return findings

    def _check_sign_in(self) -> tuple[bool, str]:
        ends = self._session.tokens(ended=None).refresh_expires_at
        if not ends:
            return True, "the vendor does not say how long the refresh token lives"
        left = datetime.fromisoformat(ends) - self.world.clock()
        return left > timedelta(days=7), f"the refresh token lives {left.days} more days"

    def _check_company(self) -> tuple[bool, str]:
        company = self._read(f"companyinfo/{self.settings.realm_id}")["CompanyInfo"]
        return True, str(company.get("CompanyName", ""))

    def _check_numbers(self) -> tuple[bool, str]:
        sales = self._read("preferences")["Preferences"].get("SalesFormsPrefs") or {}
        custom = sales.get("CustomTxnNumbers") is True
        return custom, f"custom transaction numbers are {'on' if custom else 'off'}"

    def _check_books(self) -> tuple[bool, str]:
        through = self._read_books().closed_through
        today = self.world.clock().date().isoformat()
        return through < today, f"closed through {through}" if through else "no closing date is set"

    def _check_receivables(self) -> tuple[bool, str]:
        home, _ = self._home()
        held = self._query(self.resource("ledger_account"), [f"AccountType = {_quoted(RECEIVABLES)}"])
        found = [str(one.get("AcctNum", one["Name"])) for one in held if one["CurrencyRef"]["value"] == home]
        return len(found) <= 1, f"receivables accounts in {home}: {', '.join(found) or 'none yet'}"

    def _check_currencies(self) -> tuple[bool, str]:
        prefs = self._currency_prefs()
        home = prefs["HomeCurrency"]["value"]
        if not prefs.get("MultiCurrencyEnabled"):
            return True, f"{home} alone; switch on Multicurrency before customers in other currencies come"
        held = self._query(self.resource("ledger_account"), ["AccountSubType = 'ExchangeGainOrLoss'"])
        found = [str(one.get("AcctNum", "")) for one in held]
        return all(found), f"several, gains and losses in {home} on {', '.join(found) or 'an account to come'}"

    def _check_ledger(self) -> tuple[bool, str]:
        report = self._read("reports/TrialBalance", start_date=EVER[0].isoformat(), end_date=EVER[1].isoformat())
        at = [_column(report, name) for name in ("debit", "credit")]
        rows = [cells for _, cells in _postings(report.get("Rows") or {}, "")]
        debits, credits = (sum((Decimal(cells[place] or 0) for cells in rows), Decimal(0)) for place in at)
        return debits == credits, f"debits {debits}, credits {credits}"


def _body(response: Response) -> Json:
    """The answer. Its fault is raised as a Refusal, under HTTP 200 too."""
    body: Json = exact_json(response)
    if refusal := refusal_in(body):
        raise refusal
    return body


# Records on the wire and above it -----------------------------------------------------------------------------------


def _unparted(row: Resource, given: Json) -> Json:
    """A colon parts parents from children there, so a name that is no key of ours has a hyphen for it."""
    if "Name" not in given or row.key_field == "Name":
        return given
    return {**given, "Name": str(given["Name"]).replace(":", " -")}


def _shortened(row: Resource, record: Json) -> Json:
    """The record as it is sent: a key that is too long for a document number goes into the note, and its hash out."""
    key = str(record[row.key_field])
    if row.path in NAME_LISTS or document_number(key) == key:
        return record
    note = str(record.get("PrivateNote") or "")
    return {**record, row.key_field: document_number(key), "PrivateNote": f"{key}\n{note}".rstrip("\n")}


def _whole(row: Resource, record: Json) -> Json:
    """The record as it was meant: the inverse of ``_shortened``; a note that somebody rewrote stays as it is."""
    number, note = str(record.get(row.key_field) or ""), str(record.get("PrivateNote") or "")
    note = note if not _is_void(row, record) else re.sub(r"^Voided\W*", "", note)
    if row.path in NAME_LISTS or not number.startswith("~"):
        return record
    key, _, rest = note.replace("\r\n", "\n").partition("\n")
    if document_number(key) != number:
        return record
    whole = {name: value for name, value in record.items() if name != "PrivateNote"}
    return {**whole, row.key_field: key, **({"PrivateNote": rest} if rest else {})}


def _says(held: Any, given: Any) -> bool:
    """Whether what is held says all that is given; what is held may say more, and lines may follow ours."""
    if isinstance(given, Mapping):
        return isinstance(held, Mapping) and all(_says(held.get(name), value) for name, value in given.items())
    if isinstance(given, list | tuple):
        return (
            isinstance(held, list)
            and len(held) >= len(given)
            and all(_says(a, b) for a, b in zip(held, given, strict=False))
        )
    return bool(held == given) and isinstance(held, bool) == isinstance(given, bool)


def _is_void(row: Resource, record: Payload) -> bool:
    """Whether it is a payment that was voided, or one by which a credit meets an invoice: neither moves anything."""
    return row.path == "Payment" and record.get("TotalAmt") == 0


def _paid(payment: Payload) -> dict[tuple[str, str], Decimal]:
    """What each line of a payment pays, by type and id of the document."""
    links = [(line["Amount"], link) for line in payment.get("Line") or () for link in line.get("LinkedTxn") or ()]
    return {(str(link["TxnType"]), str(link["TxnId"])): amount for amount, link in links}


def _pays(payment: Payload, told: Mapping[tuple[str, str], Decimal]) -> bool:
    """Whether a payment pays of these documents exactly that."""
    paid = _paid(payment)
    return all(paid.get(document, 0) == amount for document, amount in told.items())


def _change(row: Resource, record: Json) -> Change:
    changed_at = datetime.fromisoformat(record["MetaData"]["LastUpdatedTime"]).astimezone(UTC)
    gone = record.get("status") == "Deleted" or _is_void(row, record)
    return Change(str(record["Id"]), changed_at, None if gone else record)


def _is_named(field: str, item: Any) -> bool:
    return field in REFERENCES and isinstance(item, Mapping) and "name" in item and "value" not in item


def _named(value: Any) -> Iterator[tuple[str, str]]:
    """Resource and key of every record that is referred to by name."""
    if isinstance(value, Mapping):
        for field, item in value.items():
            if _is_named(field, item):
                yield REFERENCES[field], str(item["name"])
            else:
                yield from _named(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _named(item)


def _path_of(value: Any, wanted: str) -> str | None:
    """Where a value stands in a payload."""
    if isinstance(value, Mapping):
        pairs: Iterable[tuple[str, Any]] = value.items()
    elif isinstance(value, list | tuple):
        pairs = ((str(number), item) for number, item in enumerate(value))
    else:
        return None
    for name, item in pairs:
        if not isinstance(item, Mapping | list | tuple):
            if str(item) == wanted:
                return name
        elif (inner := _path_of(item, wanted)) is not None:
            return f"{name}.{inner}"
    return None


def _quoted(text: str) -> str:
    """A value as the query language wants it."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


# Reports ------------------------------------------------------------------------------------------------------------


def _column(report: Json, name: str) -> int:
    """Where a column of that key stands. Misconfigured when the report has none."""
    for place, column in enumerate(report["Columns"]["Column"]):
        keys = [item.get("Value") for item in column.get("MetaData") or () if item.get("Name") == "ColKey"]
        if name in (*keys, column.get("ColType"), str(column.get("ColTitle", "")).lower()):
            return place
    raise Misconfigured(f"{SYSTEM}: the report has no column {name}", system=SYSTEM)


def _postings(rows: Json, account: str) -> Iterator[tuple[str, list[str]]]:
    """Account id and cells of every data row; in a section the account is that of its header, else of the row."""
    for row in rows.get("Row") or ():
        header = ((row.get("Header") or {}).get("ColData") or [{}])[0]
        if "ColData" in row and row.get("type", "Data") == "Data":
            cells = row["ColData"]
            yield account or str(cells[0].get("id", "")), [str(cell.get("value", "")) for cell in cells]
        yield from _postings(row.get("Rows") or {}, str(header.get("id") or account))
