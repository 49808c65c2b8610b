"""Xero through the Accounting API 2.0, signed in by OAuth 2.0.

Written after Xero's published OpenAPI files (16.1.0, 2026-07), its pages on limits, idempotency and webhooks, and
reports of its users (read 2026-11):

- **Our key.** Contacts carry it as ContactNumber, accounts and items as Code, documents as their number, payments as
  Reference. A manual journal has no field for it: the key IS its Narration, whole and alone, so that a look-up asks for
  equality and one key is never the beginning of another; what the journal says stands in its lines.
- **Once.** Every write looks the key up first. What is new is sent by PUT, which only creates (POST would overwrite a
  document that has the number by chance), and what is there by POST with its id. Each call carries an
  ``Idempotency-Key`` made of the organisation and the whole request: for six minutes Xero repeats its first answer
  under it. It repeats refusals too, so after one the same request gets a new key.
- **Several at once** go with ``summarizeErrors=false``: HTTP 200, and each record has its own ValidationErrors. A 400
  is about the whole call and nothing was saved, so each record then goes alone.
- **Amounts.** A unit amount has 2 decimals, or 4 with ``unitdp=4``, which is always asked; a line has 2. What Xero will
  make of every line is worked out here and compared with our amounts before anything is sent; ``Total``, which Xero
  ignores, is compared with the lines and taken off. A journal must come to zero.
- **Currencies.** A document is in a currency that the organisation is subscribed to, and states its rate (its currency
  for one of the base currency) with 6 decimals; what a payment gains or loses Xero books itself. A manual journal is in
  the base currency: ``CurrencyCode`` in a payload is compared with it and not sent, and is added to what is read.
- **Lock dates.** PeriodLockDate does not bind a user who is an adviser, and the connecting user may be one, so both
  dates are compared here, beside the vendor's own refusal.
- **Errors are text** without codes or fields; ``FAULTS`` reads them. A text about an account or an item that is not
  there parks the record until we have brought it.
- **Payments** cannot be changed there, only deleted (``payment_void``), which posts them back on their own day; one of
  a credit note is a refund.
- **Accounts** that Xero makes itself (``SystemAccount``) are adopted.
- **Voided and deleted** documents count as gone: they are not found, and ``changes`` gives them no payload.
- **Dates** come as ``/Date(1573755038314)/``; in every answer here they are ISO text: instants where the name of the
  field ends in UTC, days elsewhere.
- ``gl_balance`` adds up the Journals feed, which has every posting with its account and day. The trial balance was not
  chosen: it starts income and expense anew each financial year, and names accounts in text alone.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from connectors.auth import App, RefreshedSession, TokenFile
from connectors.rounding import Rounding, exact, foretold
from connectors.wire import (
    LONGEST_WAIT,
    BulkConnector,
    Response,
    Wire,
    chunks,
    dump_json,
    exact_json,
    parsed,
    retry_after,
)
from core.errors import Misconfigured, OutcomeUnknown, Parked, RateLimited, Rejected, TieoutError, Unavailable
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

SYSTEM = "xero"
API = "/api.xro/2.0"
Json = dict[str, Any]


def _entity(path: str, id_field: str, key_field: str) -> Resource:
    return Resource(path, id_field, key_field, Guard.IDEMPOTENCY_KEY, batch=50, tells_deletions=True)


RESOURCES: Mapping[str, Resource] = {
    "account": _entity("Contacts", "ContactID", "ContactNumber"),
    "product": _entity("Items", "ItemID", "Code"),
    "ledger_account": _entity("Accounts", "AccountID", "Code"),
    "tracking_category": _entity("TrackingCategories", "TrackingCategoryID", "Name"),
    "invoice": _entity("Invoices", "InvoiceID", "InvoiceNumber"),
    "credit_note": _entity("CreditNotes", "CreditNoteID", "CreditNoteNumber"),
    "payment": _entity("Payments", "PaymentID", "Reference"),
    "payment_void": _entity("Payments", "PaymentID", "Reference"),
    "refund": _entity("Payments", "PaymentID", "Reference"),
    "journal_entry": _entity("ManualJournals", "ManualJournalID", "Narration"),
    "gl_balance": Resource("Journals", "AccountID", "AccountCode", Guard.READ_ONLY),
}


@dataclass(frozen=True, slots=True)
class Ways:
    """How one collection is spoken with.

    ``only``: the field and the type of those of its documents that are ours; ``alone``: takes one record a call, the
    bare object; ``unitdp``: has unit amounts, and is asked for 4 decimals; ``archived``: shows archived records only
    when asked; ``base``: is in the base currency; ``gone``: is found once it is voided or deleted, and not before.
    """

    paged: bool = False
    only: tuple[str, str] | None = None
    alone: bool = False
    unitdp: bool = False
    archived: bool = False
    base: bool = False
    gone: bool = False

    @property
    def precision(self) -> dict[str, str]:
        return {"unitdp": "4"} if self.unitdp else {}


WAYS: Mapping[str, Ways] = {
    "account": Ways(paged=True, archived=True),
    "product": Ways(unitdp=True),
    "ledger_account": Ways(alone=True),
    "tracking_category": Ways(alone=True, archived=True),
    "invoice": Ways(paged=True, only=("Type", "ACCREC"), unitdp=True),
    "credit_note": Ways(paged=True, only=("Type", "ACCRECCREDIT"), unitdp=True),
    "payment": Ways(paged=True, only=("PaymentType", "ACCRECPAYMENT")),
    "payment_void": Ways(paged=True, only=("PaymentType", "ACCRECPAYMENT"), gone=True),
    "refund": Ways(paged=True, only=("PaymentType", "ARCREDITPAYMENT")),
    "journal_entry": Ways(paged=True, base=True),
}
GONE = frozenset({"DELETED", "VOIDED"})
#: Fields of payloads that are not sent with the record: a sum to compare with, and what follows by a call of its own.
OURS = frozenset({"Total", "Allocations"})
#: Fields that speak of a call, not of the record.
VERDICT = frozenset({"StatusAttributeString", "HasErrors", "HasValidationErrors", "ValidationErrors", "Warnings"})
BY_CATEGORY = {"CONTACT": "account", "INVOICE": "invoice", "CREDITNOTE": "credit_note"}

#: Most keys of one look-up; its text must fit a URL.
LOOK_UP = 25
#: Calls in progress at one time for one organisation.
CONCURRENT = 5
#: The minute limit asks to wait for up to a minute: longer than the wire waits, and not worth giving up for.
MINUTE = 60.0
#: Times a call waits for the next minute.
PATIENCE = 2
#: ``changes`` asks a little further back, for If-Modified-Since has whole seconds.
OVERLAP = timedelta(seconds=1)

CENTS = 2
#: Unit amounts with ``unitdp=4``; a stated line amount must be the product (page Rounding in Xero, read 2026-11).
_SALE = Rounding(
    "LineItems", "Total", "LineAmount", "Quantity", "UnitAmount", quantity_places=4, price_places=4, places=CENTS
)
ROUNDING: Mapping[str, Rounding] = {"invoice": _SALE, "credit_note": _SALE}


# What the vendor's texts mean ---------------------------------------------------------------------------------------


class Meaning(StrEnum):
    LOCKED = "the period of that date is locked"
    DUPLICATE = "another record has this name or number"
    NO_ACCOUNT = "the account is not there, or not for this"
    NO_ITEM = "the item is not there"
    NO_CURRENCY = "the organisation does not use the currency"
    REFUSED = "the record is wrong"


#: First match wins: a pattern of the text (its groups name field and value), and the meaning.
FAULTS: Sequence[tuple[str, Meaning]] = (
    (r"lock date", Meaning.LOCKED),
    (r"Account code '(?P<value>[^']*)' (is not a valid code|has been archived)", Meaning.NO_ACCOUNT),
    (r"Item code '(?P<value>[^']*)' (is not valid|could not be found)", Meaning.NO_ITEM),
    (r"not subscribed to currency (?P<value>\w+)", Meaning.NO_CURRENCY),
    (r"(Invoice|Credit Note) # must be unique", Meaning.DUPLICATE),
    (r"unique (?P<field>Code|Name)\b", Meaning.DUPLICATE),
    (r"contact name .*assigned to another contact", Meaning.DUPLICATE),
    (r"contact number .*assigned to another contact", Meaning.DUPLICATE),
    (r"Code '(?P<value>[^']*)' already exists", Meaning.DUPLICATE),
    (r"Path '[\w\[\]]*?\.?(?P<field>\w+)'", Meaning.REFUSED),
)
#: Words by which a text tells its field.
BLAME: Sequence[tuple[str, str]] = (
    (r"email address", "EmailAddress"),
    (r"contact name", "Name"),
    (r"contact number", "ContactNumber"),
    (r"line total", "LineAmount"),
    (r"payment amount", "Amount"),
    (r"due date", "DueDate"),
    (r"narration", "Narration"),
    (r"\bcontact\b", "Contact"),
    (r"total debits", "JournalLines"),
)
BLAMED_FOR = {Meaning.NO_ACCOUNT: "AccountCode", Meaning.NO_ITEM: "ItemCode", Meaning.NO_CURRENCY: "CurrencyCode"}
#: What a record waits for when its text is about something that is not there.
WAITS_FOR = {Meaning.NO_ACCOUNT: "ledger_account", Meaning.NO_ITEM: "product"}


class Refusal(Rejected):
    """A refusal as it came, before it is known which record it is about."""

    def __init__(self, code: str, texts: Sequence[str]) -> None:
        self.text = "; ".join(texts) or "no reason given"
        super().__init__(f"{SYSTEM}: {code}: {self.text}", system=SYSTEM, code=code)
        self.meaning = Meaning.REFUSED
        for pattern, meaning in FAULTS:
            if found := re.search(pattern, self.text, re.IGNORECASE):
                self.meaning, parts = meaning, found.groupdict()
                self.field, self.value = parts.get("field") or BLAMED_FOR.get(meaning), parts.get("value")
                break
        if self.field is None:
            self.field = next((name for words, name in BLAME if re.search(words, self.text, re.IGNORECASE)), None)


def refusal_in(body: Any) -> Refusal | None:
    """The refusal of a whole call: ErrorNumber, Type, Message, and Elements with their ValidationErrors."""
    if not isinstance(body, dict) or "Type" not in body:
        return None
    texts = [text for element in body.get("Elements") or () for text in _faults_of(element)]
    return Refusal(str(body["Type"]), texts or [str(body.get("Message", ""))])


def _faults_of(element: Json) -> list[str]:
    return [str(fault.get("Message", "")) for fault in element.get("ValidationErrors") or ()]


def _is_refused(element: Json) -> bool:
    flags = element.get("HasErrors") is True or element.get("HasValidationErrors") is True
    return flags or element.get("StatusAttributeString") == "ERROR" or bool(_faults_of(element))


# ---------------------------------------------------------------------------------------------------------------------


class Settings(BaseModel):
    """One organisation and the app that may use it.

    ``tenant_id``: the organisation, as ``GET /connections`` names it; ``refresh_token``: as the consent gave it; the
    newest ones are kept in ``token_file`` (mode 0600, replaced in one step), which must outlive restarts and be shared
    by all workers. ``webhook_key`` is needed to receive webhooks. ``page``: records per answer, up to 1,000.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tenant_id: str = Field(pattern=r"^[0-9a-fA-F-]{36}$")
    client_id: str
    client_secret: SecretStr
    refresh_token: SecretStr
    token_file: Path = Path(".tieout/xero-tokens.json")
    webhook_key: SecretStr | None = None
    base_url: str = "https://api.xero.com"
    login_url: str = "https://identity.xero.com"
    page: int = Field(100, ge=1, le=1000)

    @field_validator("base_url", "login_url")
    @classmethod
    def _safe_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
            raise ValueError("must be an https address (http only on loopback)")
        return url.rstrip("/")


def connect(settings: Settings, world: World) -> Xero:
    return Xero(settings, world)


@dataclass(frozen=True, slots=True)
class Write:
    """One record to be sent: what it says, under which key, what is there already, and the body that says so."""

    payload: Payload
    key: ExternalKey
    known: Json | None
    body: Json


@dataclass(frozen=True, slots=True)
class Locks:
    """The later of both lock dates (ISO text; empty: none) as it was read on a day; it is locked itself."""

    through: str
    read_on: date


class Xero(BulkConnector):
    """One organisation. Thread-safe."""

    system = SYSTEM
    resources: Mapping[str, Resource] = RESOURCES

    def __init__(self, settings: Settings, world: World) -> None:
        self.settings, self.world = settings, world
        app = App(
            settings.login_url, "/connect/token", settings.client_id, settings.client_secret, settings.refresh_token
        )
        self._session = RefreshedSession(app, TokenFile(SYSTEM, settings.token_file), world)
        self._wire = Wire(
            SYSTEM,
            settings.base_url,
            world,
            auth=self._session,
            headers={"Accept": "application/json", "xero-tenant-id": settings.tenant_id},
            read_error=self._read_error,
        )
        self._slots = threading.BoundedSemaphore(CONCURRENT)
        self._refused: Counter[str] = Counter()
        self._locks: Locks | None = None
        self._base_currency = ""
        self._left_today: int | None = None

    # The verbs

    def find(self, resource: str, key: ExternalKey) -> Receipt | None:
        self._written(resource, key)
        found = self._held(resource, [key.value]).get(key.value)
        return self._receipt(resource, key, found, created=False) if found else None

    def get(self, resource: str, vendor_id: str) -> Payload:
        row = self._written(resource)
        try:
            (record,) = self._read(f"{row.path}/{quote(vendor_id, safe='')}", WAYS[resource].precision)[row.path]
        except Rejected as error:
            raise Rejected(
                str(error), system=SYSTEM, record=resource, field=row.id_field, value=vendor_id, code=error.code
            ) from None
        return self._shown(resource, record)

    def changes(self, resource: str, since: str | None) -> Iterator[Change]:
        """``since``: an instant as ISO text. A voided or deleted record has no payload.

        For ``gl_balance`` it is a month (``2026-10``):
        that one and later; each Change is what one of our ledger accounts (those with a code) was posted in one month:
        ``account`` (AccountID, AccountCode, AccountName), ``month``, ``currency`` (that of the organisation) and
        ``amount`` (debits less credits).
        """
        if self.resource(resource).guard is Guard.READ_ONLY:
            yield from self._balances(since)
            return
        row = self._written(resource)
        where = {"where": '{}=="{}"'.format(*only)} if (only := WAYS[resource].only) else {}
        after = {"If-Modified-Since": _since(since)} if since else {}
        for record in self._listed(resource, where, after):
            at = record.get("UpdatedDateUTC")
            changed_at = datetime.fromisoformat(at) if at else self.world.clock()
            told = None if record.get("Status") in GONE else self._shown(resource, record)
            yield Change(str(record[row.id_field]), changed_at, told)

    def events(self, request: WebhookRequest) -> list[WebhookEvent]:
        """The events of our organisation and our resources; none for the probe by which Xero asks whether we listen.

        The signature covers the body alone, so a repeated delivery is told by the event's id, which is made of what the
        event says: organisation, record, kind and time.
        """
        if self.settings.webhook_key is None:
            raise Misconfigured(f"{SYSTEM}: set webhook_key to receive webhooks", system=SYSTEM)
        secret = self.settings.webhook_key.get_secret_value().encode()
        mark = base64.b64encode(hmac.new(secret, request.body, hashlib.sha256).digest())
        if not hmac.compare_digest(mark, request.headers.get("x-xero-signature", "").encode()):
            raise Rejected(f"{SYSTEM}: a webhook with a wrong signature was refused", system=SYSTEM, code="forged")
        try:
            return list(self._events(parsed(request.body)["events"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            text = f"{SYSTEM}: a webhook of an unknown form was refused"
            raise Rejected(text, system=SYSTEM, code="malformed") from None

    def acknowledge(self, _events: Sequence[WebhookEvent], /) -> tuple[bytes, str]:
        """Xero takes an answer with a body for a failure."""
        return b"", "text/plain"

    def close(self) -> None:
        self._wire.close()
        self._session.close()

    # Writing

    def _written(self, resource: str, key: ExternalKey | None = None) -> Resource:
        row = self._row(resource, key) if key else self.resource(resource)
        if row.guard is Guard.READ_ONLY:
            raise Misconfigured(f"{SYSTEM}: {resource} is only read, through changes()", system=SYSTEM)
        if key and not _fits(key.value):
            why = "cannot be looked up: it has a quote, a comma or a backslash"
            raise self._wrong(resource, row.key_field, key.value, why)
        return row

    def _write_batch(self, resource: str, items: Sequence[tuple[Payload, ExternalKey]]) -> list[Outcome]:
        """What is new goes in one call, what is there in another; each record has its own outcome."""
        self._written(resource)
        if resource == "payment_void":
            return [self._voided(payload, key) for payload, key in items]
        outcomes: dict[int, Outcome] = {}
        ready: dict[str, list[tuple[int, Write]]] = {"PUT": [], "POST": []}
        held = self._held(resource, [key.value for _, key in items if _fits(key.value)])
        for position, (payload, key) in enumerate(items):
            try:
                step = self._prepared(resource, payload, key, held.get(key.value))
            except (Rejected, Parked) as error:
                outcomes[position] = error
                continue
            if isinstance(step, Write):
                ready["POST" if step.known else "PUT"].append((position, step))
            else:
                outcomes[position] = step
        for method, writes in ready.items():
            for chunk in chunks(writes, 1 if WAYS[resource].alone else len(writes) or 1):
                settled = self._sent(resource, method, [write for _, write in chunk])
                outcomes |= zip((position for position, _ in chunk), settled, strict=True)
        return [self._allocated(payload, outcomes[position]) for position, (payload, _) in enumerate(items)]

    def _prepared(self, resource: str, payload: Payload, key: ExternalKey, known: Json | None) -> Write | Receipt:
        """What must be sent; the Receipt of what is there already when it says the same. Rejected or Parked."""
        row = self._written(resource, key)
        if payload.get(row.key_field, key.value) != key.value:
            raise self._wrong(resource, row.key_field, payload[row.key_field], f"is not the record's key {key.value}")
        self._predict(resource, payload)
        given = {name: value for name, value in payload.items() if name not in OURS} | {row.key_field: key.value}
        if WAYS[resource].base and (currency := given.pop("CurrencyCode", None)) not in (None, self._base()):
            why = f"is not {self._base()}, the base currency, which manual journals are in"
            raise self._wrong(resource, "CurrencyCode", currency, why)
        if (kind := given.pop("SystemAccount", None)) and (adopted := self._adopted(resource, key, str(kind), known)):
            return adopted
        if known and _says(known, given):
            return self._receipt(resource, key, known, created=False)
        if known and row.path == "Payments":
            raise self._wrong(
                resource, row.key_field, key.value, "is there with another content: delete it there, then retry"
            )
        day = str(payload.get("Date", ""))
        if day and self._locked(day):
            raise Parked(f"{SYSTEM}: the period of {day} is locked", waits_for=f"period:{day[:7]}")
        return Write(payload, key, known, given | ({row.id_field: known[row.id_field]} if known else {}))

    def _adopted(self, resource: str, key: ExternalKey, kind: str, known: Json | None) -> Receipt | None:
        """Xero's own account of a kind; None where it has none, as of currencies before a second one is added."""
        if known and known.get("SystemAccount") == kind:
            return self._receipt(resource, key, known, created=False)
        if any(self._listed(resource, {"where": f'SystemAccount=="{kind}"'}, {})):
            raise self._wrong(resource, "Code", key.value, f"must be the code of the account {kind}: set it in Xero")
        return None

    def _voided(self, payload: Payload, key: ExternalKey) -> Outcome:
        """Deletes the payment that the payload names by id. ``Date``: its day, which must not be locked."""
        path, status = f"{RESOURCES['payment'].path}/{payload['PaymentID']}", payload["Status"]
        try:
            if done := self.find("payment_void", key):
                return done
            if self._locked(day := str(payload["Date"])):
                raise Parked(f"{SYSTEM}: the period of {day} is locked", waits_for=f"period:{day[:7]}")
            (record,) = self._write("POST", path, {"Status": status}, {})[RESOURCES["payment"].path]
            return self._receipt("payment_void", key, record, created=True)
        except Refusal as refusal:
            return self._verdict("payment_void", payload, refusal)
        except TieoutError as error:
            return error

    def takes_postings(self, day: date) -> bool:
        """Whether a day lies after both lock dates of the organisation."""
        self._locks = None
        return not self._locked(day.isoformat())

    def _predict(self, resource: str, payload: Payload) -> None:
        """Rejected unless Xero will come to our amounts."""
        if resource in ROUNDING:
            foretold(SYSTEM, resource, ROUNDING[resource], payload)
        sides = [
            self._exact(resource, f"JournalLines.{number}.LineAmount", line.get("LineAmount", 0))
            for number, line in enumerate(payload.get("JournalLines") or ())
        ]
        if sum(sides):
            raise self._wrong(resource, "JournalLines", sum(sides), "do not come to zero")
        if RESOURCES[resource].path == "Payments":
            self._exact(resource, "Amount", payload.get("Amount", 0))

    def _exact(self, resource: str, field: str, value: Any) -> Decimal:
        amount = exact(value, CENTS)
        if amount is None:
            raise self._wrong(resource, field, value, f"has more than {CENTS} decimals")
        return amount

    def _wrong(self, resource: str, field: str, value: Any, why: str) -> Rejected:
        return Rejected(f"{resource}: {field} {why}", system=SYSTEM, record=resource, field=field, value=str(value))

    def _sent(self, resource: str, method: str, writes: Sequence[Write]) -> list[Outcome]:
        """One call for all. What befalls the call befalls each of them; a refusal of it is settled one by one."""
        try:
            answers = self._put(resource, method, writes)
        except Refusal as refusal:
            if len(writes) > 1:
                return [outcome for write in writes for outcome in self._sent(resource, method, [write])]
            return [self._settled(resource, writes[0], refusal)]
        except TieoutError as error:
            return [error] * len(writes)
        return [self._settled(resource, write, answer) for write, answer in zip(writes, answers, strict=True)]

    def _put(self, resource: str, method: str, writes: Sequence[Write]) -> list[Json]:
        """The answers to the records, in their order. OutcomeUnknown when there is not one for each."""
        row, ways = self._written(resource), WAYS[resource]
        path, body = row.path, {row.path: [write.body for write in writes]}
        params = {} if ways.alone else {"summarizeErrors": "false", **ways.precision}
        if ways.alone:
            (write,) = writes
            if resource == "tracking_category":
                return [self._tracked(write)]
            path = f"{path}/{write.known[row.id_field]}" if write.known else path
            body = body if write.known else write.body
        answers = self._write(method, path, body, params).get(row.path)
        if not isinstance(answers, list) or len(answers) != len(writes):
            raise OutcomeUnknown(f"{SYSTEM} did not answer about each record of {path}")
        if any(map(_is_refused, answers)):
            self._refused[self._digest(method, path, body, params)] += 1
        return answers

    def _tracked(self, write: Write) -> Json:
        """A tracking category with at least the options that are named; each option is a call of its own."""
        path = RESOURCES["tracking_category"].path
        category = write.known or self._write("PUT", path, {"Name": write.key.value}, {})[path][0]
        options = list(category.get("Options") or ())
        for option in write.payload.get("Options") or ():
            if not any(one["Name"] == option["Name"] for one in options):
                where = f"{path}/{category['TrackingCategoryID']}/Options"
                options += self._write("PUT", where, {"Name": option["Name"]}, {})["Options"]
        return {**category, "Options": options}

    def _allocated(self, payload: Payload, outcome: Outcome) -> Outcome:
        """A credit note is done once all that the payload applies to invoices is allocated; what is there stays."""
        wanted = payload.get("Allocations")
        if not wanted or not isinstance(outcome, Receipt):
            return outcome
        there = Counter(map(_allocation, outcome.answer.get("Allocations") or ()))
        missing = []
        for one in wanted:
            if there[_allocation(one)]:
                there[_allocation(one)] -= 1
            else:
                missing.append(one)
        if not missing:
            return outcome
        path = f"{RESOURCES[outcome.resource].path}/{outcome.vendor_id}/Allocations"
        try:
            try:
                self._write("PUT", path, {"Allocations": missing}, {})
            except Refusal as refusal:
                return self._verdict(outcome.resource, payload, refusal)
            return replace(outcome, answer=self.get(outcome.resource, outcome.vendor_id))
        except TieoutError as error:
            return error

    def _settled(self, resource: str, write: Write, answer: Json | Refusal) -> Outcome:
        """The outcome of one record. A duplicate of ours is adopted."""
        row = self._written(resource)
        if isinstance(answer, dict):
            if not _is_refused(answer):
                if answer.get(row.key_field) != write.key.value:
                    return OutcomeUnknown(f"{SYSTEM} answered about another record than {write.key.value}")
                return self._receipt(resource, write.key, answer, created=write.known is None)
            answer = Refusal("ValidationException", _faults_of(answer))
        try:
            if answer.meaning is Meaning.DUPLICATE and (found := self.find(resource, write.key)):
                return found
            return self._verdict(resource, write.payload, answer)
        except TieoutError as error:
            return error

    def _verdict(self, resource: str, payload: Payload, refusal: Refusal) -> TieoutError:
        """What a refusal means for the record it is about."""
        text = f"{SYSTEM} refused {resource}: {refusal.text}"
        if refusal.meaning is Meaning.LOCKED:
            self._locks = None
            return Parked(text, waits_for=f"period:{str(payload.get('Date', ''))[:7]}")
        field, value = refusal.field, refusal.value
        if value and (thing := WAITS_FOR.get(refusal.meaning)) and _fits(value) and not self._held(thing, [value]):
            return Parked(text, waits_for=f"{SYSTEM}:{thing}:{value}")
        if field and value is None and payload.get(field) is not None:
            value = str(payload[field])
        return Rejected(text, system=SYSTEM, record=resource, field=field, value=value, code=refusal.code)

    def _receipt(self, resource: str, key: ExternalKey, record: Json, *, created: bool) -> Receipt:
        answer = {name: value for name, value in record.items() if name not in VERDICT}
        return Receipt(SYSTEM, resource, str(record[RESOURCES[resource].id_field]), key, created, answer)

    def _locked(self, day: str) -> bool:
        """Whether ``day`` is locked. A remembered date only lets pass; it is read anew to forbid."""
        if self._locks is None or self._locks.read_on != self.world.clock().date() or day <= self._locks.through:
            self._locks = self._read_locks()
        return day <= self._locks.through

    def _read_locks(self) -> Locks:
        held = self._organisation()
        dates = (str(held.get(name) or "") for name in ("PeriodLockDate", "EndOfYearLockDate"))
        return Locks(max(dates), self.world.clock().date())

    def _base(self) -> str:
        """The base currency of the organisation, which never changes."""
        self._base_currency = self._base_currency or str(self._organisation()["BaseCurrency"])
        return self._base_currency

    def _organisation(self) -> Json:
        return dict(self._read("Organisation", {})["Organisations"][0])

    # Reading

    def _held(self, resource: str, keys: Sequence[str]) -> dict[str, Json]:
        """The living records of ours that carry these keys, by key; of several with one key the first.

        Xero compares text without regard to case; here only the key itself counts.
        """
        row, only = self.resource(resource), WAYS[resource].only
        wanted, held = set(keys), dict[str, Json]()
        for some in chunks(sorted(wanted), LOOK_UP):
            where = " OR ".join(f'{row.key_field}=="{key}"' for key in some)
            asked = {"InvoiceNumbers": ",".join(some)} if resource == "invoice" else {"where": where}
            for record in self._listed(resource, asked, {}):
                key, counts = record.get(row.key_field), (record.get("Status") in GONE) is WAYS[resource].gone
                if key in wanted and counts and (only is None or record.get(only[0]) == only[1]):
                    held.setdefault(key, record)
        return held

    def _listed(self, resource: str, asked: Mapping[str, str], headers: Mapping[str, str]) -> Iterator[Json]:
        """All records of a collection, page after page, in the order of their ids, which never changes."""
        row, ways = self._written(resource), WAYS[resource]
        params = {**asked, **ways.precision}
        params |= {"includeArchived": "true"} if ways.archived else {}
        params |= {"order": row.id_field} if ways.paged else {}
        page, size = 1, self.settings.page
        while True:
            paging = {"page": str(page), "pageSize": str(size)} if ways.paged else {}
            records = self._read(row.path, params | paging, headers).get(row.path) or []
            yield from records
            if not ways.paged or len(records) < size:
                return
            page += 1

    def _shown(self, resource: str, record: Json) -> Json:
        """What Xero shows; of a payment also its currency, and of a manual journal its currency and ``TotalDebits``,
        since its signed lines come to zero."""
        if RESOURCES[resource].path == "Payments":
            of = record.get("Invoice") or record.get("CreditNote") or {}
            return {"CurrencyCode": of.get("CurrencyCode") or self._base(), **record}
        if not WAYS[resource].base:
            return dict(record)
        amounts = (Decimal(line["LineAmount"]) for line in record.get("JournalLines") or ())
        debits = sum((one for one in amounts if one > 0), Decimal(0))
        return {**record, "TotalDebits": debits, "CurrencyCode": self._base()}

    def _balances(self, since: str | None) -> Iterator[Change]:
        sums: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
        accounts: dict[str, Json] = {}
        for journal in self._journals():
            for line in journal.get("JournalLines") or ():
                code, month = line.get("AccountCode"), str(journal["JournalDate"])[:7]
                if code and month >= (since or "")[:7]:
                    accounts[code] = {name: line.get(name) for name in ("AccountID", "AccountCode", "AccountName")}
                    sums[code, month] += Decimal(line["NetAmount"])
        for (code, month), amount in sorted(sums.items()):
            payload = {"account": accounts[code], "month": month, "currency": self._base(), "amount": amount}
            yield Change(f"{accounts[code]['AccountID']}/{month}", self.world.clock(), payload)

    def _journals(self) -> Iterator[Json]:
        """Every posting of the organisation in the order of its number; at most 100 an answer."""
        offset = 0
        while journals := self._read("Journals", {"offset": str(offset)}).get("Journals"):
            yield from journals
            offset = max(int(journal["JournalNumber"]) for journal in journals)

    # Webhooks

    def _events(self, events: Sequence[Json]) -> Iterator[WebhookEvent]:
        for event in events:
            tenant, ident, kind = str(event["tenantId"]), str(event["resourceId"]), str(event["eventType"])
            category, at = str(event["eventCategory"]), str(event["eventDateUtc"])
            if tenant == self.settings.tenant_id and category in BY_CATEGORY:
                when = datetime.fromisoformat(at)
                when = when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
                event_id = "/".join((tenant, category, ident, kind, at))
                yield WebhookEvent(event_id, BY_CATEGORY[category], ident, kind.lower(), when, at)

    # The wire

    def _read(self, path: str, params: Mapping[str, str], headers: Mapping[str, str] | None = None) -> Json:
        try:
            return self._called(lambda: self._wire.read("GET", f"{API}/{path}", params=params, headers=headers or {}))
        except OutcomeUnknown as garbled:
            raise Unavailable(str(garbled)) from None

    def _write(self, method: str, path: str, body: Json, params: Mapping[str, str]) -> Json:
        """The answer. A refusal of the whole call is raised; after it the same request gets another key."""
        digest = self._digest(method, path, body, params)
        headers = {"Idempotency-Key": f"tieout-{digest}-{self._refused[digest]}"}
        try:
            return self._called(
                lambda: self._wire.write(method, f"{API}/{path}", json=body, params=params, headers=headers)
            )
        except Refusal:
            self._refused[digest] += 1
            raise

    def _digest(self, method: str, path: str, body: Json, params: Mapping[str, str]) -> str:
        return hashlib.sha256(dump_json([self.settings.tenant_id, method, path, params, body])).hexdigest()

    def _called(self, call: Callable[[], Response]) -> Json:
        """The answer's body, dates as ISO text. Waits for the next minute when this one's calls are used up."""
        for _ in range(PATIENCE):
            try:
                return self._answer(call)
            except RateLimited as limited:
                if not LONGEST_WAIT < limited.wait_seconds <= MINUTE:
                    raise
                self.world.sleep(limited.wait_seconds)
        return self._answer(call)

    def _answer(self, call: Callable[[], Response]) -> Json:
        with self._slots:
            response = call()
        left = response.headers.get("x-daylimit-remaining", "")
        self._left_today = int(left) if left.isdecimal() else self._left_today
        body = exact_json(response)
        if not isinstance(body, dict):
            raise OutcomeUnknown(f"{SYSTEM} answered something else than an object")
        return {name: _plain(name, value) for name, value in body.items()}

    def _read_error(self, response: Response) -> TieoutError | None:
        """A refusal of the vendor, or which of its limits was met; None where the status table says all."""
        if response.status_code == 429:
            problem = response.headers.get("x-rate-limit-problem", "some")
            wait = retry_after(response.headers, self.world.clock())
            return RateLimited(f"{SYSTEM}: the {problem} limit is used up", wait_seconds=1.0 if wait is None else wait)
        if response.status_code != 400:
            return None
        try:
            return refusal_in(parsed(response.content))
        except ValueError:
            return None

    # What tieout doctor asks

    def check(self) -> list[Finding]:
        probes = (
            ("sign-in", self._check_sign_in, "Grant access again and put the new refresh token into the settings."),
            (
                "organisation",
                self._check_organisation,
                "Use the tenantId that GET /connections shows.",
            ),
            ("lock dates", self._check_locks, "Nothing to do unless months to be posted are locked."),
            (
                "receivables",
                self._check_receivables,
                "Give Accounts Receivable in Xero the code of ours.",
            ),
            (
                "currencies",
                self._check_currencies,
                "Give Realised Currency Gains in Xero the code of ours.",
            ),
            ("journals", self._check_journals, "Grant the scope accounting.journals.read."),
            ("calls", self._check_calls, "Wait for tomorrow, or give other users of this app fewer calls."),
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
        self._session.tokens(ended=None)
        return True, "a refresh token lives 60 days from its last use"

    def _check_organisation(self) -> tuple[bool, str]:
        shown = exact_json(self._wire.read("GET", "/connections"))
        if not any(one.get("tenantId") == self.settings.tenant_id for one in shown):
            return False, "the consent does not cover this organisation"
        held = self._organisation()
        return True, f"{held.get('Name')}, base currency {held.get('BaseCurrency')}"

    def _check_locks(self) -> tuple[bool, str]:
        through, today = self._read_locks().through, self.world.clock().date().isoformat()
        return through < today, f"locked through {through}" if through else "none is set"

    def _check_receivables(self) -> tuple[bool, str]:
        accounts = self._listed("ledger_account", {"where": 'SystemAccount=="DEBTORS"'}, {})
        codes = [str(one.get("Code") or "none") for one in accounts]
        return codes not in ([], ["none"]), f"the code of Accounts Receivable is {', '.join(codes) or 'none'}"

    def _check_currencies(self) -> tuple[bool, str]:
        used = [str(one["Code"]) for one in self._read("Currencies", {})["Currencies"]]
        accounts = self._listed("ledger_account", {"where": 'SystemAccount=="REALISEDCURRENCYGAIN"'}, {})
        codes = [str(one.get("Code") or "none") for one in accounts]
        told = f"{', '.join(used)}; the code of Realised Currency Gains is {', '.join(codes) or 'none'}"
        return len(used) == 1 or codes not in ([], ["none"]), told

    def _check_journals(self) -> tuple[bool, str]:
        journals = self._read("Journals", {"offset": "0"}).get("Journals") or []
        whole = sum((Decimal(line["NetAmount"]) for one in journals for line in one["JournalLines"]), Decimal(0))
        return whole == 0, f"the first {len(journals)} journals come to {whole}"

    def _check_calls(self) -> tuple[bool, str]:
        left = self._left_today
        return left is None or left >= 500, "Xero does not say" if left is None else f"{left} calls are left today"


# Values on the wire and above it ------------------------------------------------------------------------------------

_MS_DATE = re.compile(r"/Date\((-?\d+)([+-]\d{4})?\)/")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _plain(name: str, value: Any) -> Any:
    """A value with dates as ISO text: days as days, and instants in the fields whose names end in UTC."""
    if isinstance(value, dict):
        return {inner: _plain(inner, item) for inner, item in value.items()}
    if isinstance(value, list):
        return [_plain(name, item) for item in value]
    found = _MS_DATE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return value
    at = _EPOCH + timedelta(milliseconds=int(found[1]))
    return at.isoformat() if name.endswith("UTC") else at.date().isoformat()


def _allocation(given: Mapping[str, Any]) -> tuple[str, Decimal]:
    """What tells an allocation of a credit note: the invoice and the amount."""
    return str(given["Invoice"]["InvoiceID"]), Decimal(given["Amount"])


def _since(instant: str) -> str:
    return (datetime.fromisoformat(instant).astimezone(UTC) - OVERLAP).strftime("%Y-%m-%dT%H:%M:%SZ")


def _fits(key: str) -> bool:
    """Whether a key can stand in a look-up: how Xero escapes quotes is written nowhere, and commas part numbers."""
    return key.isprintable() and not set(key) & set('"\\,')


def _says(held: Any, given: Any) -> bool:
    """Whether what is held says all that is given; records may say more, lines of documents may not."""
    if isinstance(given, Mapping):
        return isinstance(held, Mapping) and all(
            _says(held.get(name), value) or (name, value, held.get(name)) == ("Status", "AUTHORISED", "PAID")
            for name, value in given.items()
        )
    if isinstance(given, list | tuple):
        if not isinstance(held, list):
            return False
        if given and isinstance(given[0], Mapping) and not {"LineAmount", "UnitAmount"} & set(given[0]):
            return all(any(_says(one, item) for one in held) for item in given)
        return len(held) == len(given) and all(_says(one, item) for one, item in zip(held, given, strict=True))
    return bool(held == given) and isinstance(held, bool) == isinstance(given, bool)
