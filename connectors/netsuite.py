"""NetSuite through SuiteTalk SOAP, endpoint 2023_2, and SuiteQL, with token-based authentication (TBA).

Written after the vendor's published WSDL and XSDs 2023.2 and its help pages (read 2026-11). What is peculiar:

- One record is written and read by SOAP, whose contract says what fits. Lists are read by SuiteQL
  (``netsuite_suiteql``): a thousand rows a call, what changed, what was deleted, the general ledger by subsidiary.

- All records are written by ``upsertList`` under an external id of ours, at most 200 a call; repeating a call updates
  the same records. A record that is refused does not stop the others: its failure stands inside an HTTP 200.
- The types of a message come from the WSDL itself, so a payload is checked field by field before it is sent, and a
  newer endpoint is a setting. All money is ``xsd:double`` there; here it is Decimal on both ways.
- A payment that was taken back is deleted (``payment_void``), in a period that is open; SuiteTalk has no void.
- A payment that stands, and pays less of its invoice now, is told so (``payment_application``) by its apply list alone,
  which changes nothing of the general ledger.
- A reply to a write says only the internal id. One ``getList`` after each ``upsertList`` reads the records back, so
  that ``answer`` is what NetSuite holds, its own totals included.
- More than ``async_above`` records go as asynchronous jobs, which NetSuite works off in a queue of its own; each record
  is settled by its own answer there too.
- One pool of concurrent requests per account is shared by all integrations; ``concurrency`` keeps this hub below it.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from base64 import b64encode
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import Any
from zoneinfo import ZoneInfo

import zeep
from lxml import etree
from oauthlib import oauth1
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator
from zeep.helpers import serialize_object
from zeep.xsd.types import builtins

from connectors.netsuite_fields import (
    CUSTOM,
    CUSTOMIZED,
    CustomField,
    CustomFields,
    Describing,
    by_type,
    custom_field,
    enumerations,
    lifted,
)
from connectors.netsuite_suiteql import LISTINGS, Row, SuiteQL
from connectors.rounding import Rounding, Stated, foretold, unsent
from connectors.wire import Auth, BulkConnector, Request, Response, Wire, chunks, exact_json, guarded, parsed, retrying
from core.errors import (
    Misconfigured,
    OutcomeUnknown,
    Parked,
    RateLimited,
    Rejected,
    Retryable,
    TieoutError,
    Unavailable,
)
from core.ports import (
    Change,
    DescribedField,
    ExternalKey,
    Finding,
    Guard,
    Outcome,
    Payload,
    Receipt,
    Resource,
    World,
)

SYSTEM = "netsuite"
XSD = "http://www.w3.org/2001/XMLSchema"
QUERIES = "/services/rest/query/v1/suiteql"

#: Most records of one ``upsertList`` (vendor limit for transactions).
BATCH = 200
#: Most records taken at once, which then go as several jobs.
MANY = 1000
#: Most records deleted at once; each takes three calls.
DELETIONS = 20
#: States of a job that is not over, the seconds between two looks at it (doubled from the first), and those after which
#: it is left to itself.
RUNNING = frozenset({"pending", "processing", "retry"})
FIRST_LOOK, LONGEST_LOOK, JOB_PATIENCE = 1.0, 30.0, 900.0
#: Clock difference (seconds) beyond which the vendor refuses a signature.
CLOCK_WINDOW = 300
#: A call that waited this long (seconds) before its signature was refused stood in the concurrency queue.
QUEUE_WAIT = 45
#: Wait (seconds) after a refusal for concurrency; the vendor names none.
BLOCKED_WAIT = 2.0


def _written(path: str) -> Resource:
    told = bool(LISTINGS[path].deleted)
    return Resource(path, "internalId", "externalId", Guard.EXTERNAL_ID, BATCH, tells_deletions=told, bulk=MANY)


def _done_to(path: str, batch: int) -> Resource:
    """What is only done to a record of another resource."""
    return Resource(path, "internalId", "externalId", Guard.EXTERNAL_ID, batch)


def _read(path: str, key_field: str) -> Resource:
    return Resource(path, "internalId", key_field, Guard.READ_ONLY)


RESOURCES: Mapping[str, Resource] = {
    "account": _written("Customer"),
    "product": _written("ServiceSaleItem"),
    "invoice": _written("Invoice"),
    "payment": _written("CustomerPayment"),
    "payment_void": _done_to("CustomerPayment", DELETIONS),
    "payment_application": _done_to("CustomerPayment", BATCH),
    "credit_note": _written("CreditMemo"),
    "journal_entry": _written("JournalEntry"),
    "ledger_account": _written("Account"),
    "period": _read("AccountingPeriod", "periodName"),
    "subsidiary": _read("Subsidiary", "name"),
    "gl_balance": _read("transactionaccountingline", "account"),
}
#: Resources that are only done to a payment.
DONE_TO = frozenset({"payment_void", "payment_application"})
#: With the custom price level (-1) a stated amount stays, whatever quantity and rate are (SuiteAnswers, read 2026-11).
_SALE = Rounding("itemList.item", "total", "amount", "quantity", "rate", quantity_places=5, stated=Stated.WINS)
ROUNDING: Mapping[str, Rounding] = {"invoice": _SALE, "credit_note": _SALE}


@dataclass(frozen=True, slots=True)
class Kind:
    """What SOAP wants to know of a record type beside its name.

    ``reference``: its name in a RecordRef; ``created`` and ``changed``: the fields that tell when, empty where the
    vendor keeps none.
    """

    reference: str
    created: str = ""
    changed: str = ""


KINDS: Mapping[str, Kind] = {
    "Customer": Kind("customer", "dateCreated", "lastModifiedDate"),
    "ServiceSaleItem": Kind("serviceSaleItem", "createdDate", "lastModifiedDate"),
    "Invoice": Kind("invoice", "createdDate", "lastModifiedDate"),
    "CustomerPayment": Kind("customerPayment", "createdDate", "lastModifiedDate"),
    "CreditMemo": Kind("creditMemo", "createdDate", "lastModifiedDate"),
    "JournalEntry": Kind("journalEntry", "createdDate", "lastModifiedDate"),
    "Account": Kind("account"),
    "AccountingPeriod": Kind("accountingPeriod"),
    "Subsidiary": Kind("subsidiary"),
}

# What the vendor's codes mean -------------------------------------------------------------------------------------


class Meaning(StrEnum):
    UNKNOWN = "it may or may not have been done"
    BLOCKED = "too many requests at once; nothing was done"
    STALE = "somebody else changed the record meanwhile; nothing was done"
    CLOSED = "the accounting period does not take postings"
    ACCESS = "credentials, role or endpoint are not accepted"
    DUPLICATE = "another record has this name or number"
    ABSENT = "there is no such record"
    REFUSED = "the message is too large"


_MEANINGS = {
    Meaning.UNKNOWN: "UNEXPECTED_ERROR UNEXPECTED_FAILURE ACCT_TEMP_UNAVAILABLE SESSION_TIMED_OUT"
    " SSS_CONNECTION_TIME_OUT",
    Meaning.BLOCKED: "WS_REQUEST_BLOCKED WS_CONCUR_SESSION_DISALLWD EXCEEDED_MAX_CONCUR_RQST"
    " CONCURRENCY_LIMIT_EXCEEDED exceededConcurrentRequestLimitFault exceededRequestLimitFault"
    " exceededUsageLimitFault",
    Meaning.STALE: "RCRD_HAS_BEEN_CHANGED",
    Meaning.CLOSED: "CLOSED_TRAN_PRD TRAN_PRD_CLOSED TRAN_PERIOD_CLOSED INVALID_PERIOD UNDEFINED_ACCTNG_PRD"
    " ACCTNG_PRD_REQD",
    Meaning.ACCESS: "INVALID_LOGIN_ATTEMPT INVALID_LOGIN_CREDENTIALS INVALID_LOGIN INVALID_ACCT INVALID_ROLE"
    " INVALID_WS_VERSION UNSUPPORTED_WS_VERSION INSUFFICIENT_PERMISSION WS_PERMISSION_REQD WS_FEATURE_REQD"
    " LOGIN_DISABLED insufficientPermissionFault invalidAccountFault invalidCredentialsFault invalidSessionFault"
    " invalidVersionFault",
    Meaning.DUPLICATE: "DUP_RCRD DUP_TRANS DUPLICATE_KEYS DUP_ENTITY DUP_ITEM DUP_ACCT_NUM DUP_ACCT_NAME",
    Meaning.ABSENT: "RCRD_DSNT_EXIST NONEXISTENT_EXTERNAL_ID INVALID_JOB_ID",
    Meaning.REFUSED: "exceededRecordCountFault exceededRequestSizeFault",
}
#: Codes of a record's status or of a fault (platform.faultTypes.xsd), and names of the elements in a fault's detail.
CODES = {code: meaning for meaning, codes in _MEANINGS.items() for code in codes.split()}

#: How the vendor's messages name the field and the value at fault.
BLAME = (
    re.compile(r"Invalid Field Value (?P<value>.+?) for the following field: (?P<field>[\w.]+)"),
    re.compile(r"enter value\(s\) for: (?P<field>[\w. ]+)"),
    re.compile(r"Invalid (?P<field>\w+) reference key (?P<value>\S+?)\.?(\s|$)"),
    re.compile(r"The field (?P<field>\w+) contained more than the maximum"),
    re.compile(r"to set a value for element (?P<field>\w+)"),
)
CLOSED_TEXT = re.compile(r"period\b.*\b(closed|locked)|(closed|locked)\b.*\bperiod", re.IGNORECASE)

#: Characters that XML 1.0 cannot carry.
UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


class Settings(BaseModel):
    """``account``: the account id as NetSuite shows it (``1234567_SB1``). Addresses follow from it when left empty.

    ``wsdl_url``: address (of the account's own host) or path of a file; ``concurrency``: most calls at once, to be
    kept below what the account grants; ``async_above``: more records than that in one write go as asynchronous jobs;
    ``page_size``: rows of one answer of SuiteQL; ``read_timeout``: seconds, for the vendor's large transactions;
    ``timezone``: the one of Setup > Company > Company Information, in which a date is a day.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    account: str
    consumer_key: SecretStr
    consumer_secret: SecretStr
    token: SecretStr
    token_secret: SecretStr
    version: str = Field("2023_2", pattern=r"^\d{4}_[12]$")
    base_url: str = ""
    wsdl_url: str = ""
    concurrency: int = Field(4, ge=1)
    async_above: int = Field(400, ge=1)
    page_size: int = Field(1000, ge=5, le=1000)
    read_timeout: int = Field(300, ge=1)
    timezone: str = "America/Los_Angeles"

    @model_validator(mode="before")
    @classmethod
    def _addresses(cls, given: Any) -> Any:
        """The account in capitals with an underscore, its host in small letters with a hyphen: both are demanded."""
        if not isinstance(given, dict) or not given.get("account"):
            return given
        account = str(given["account"]).upper().replace("-", "_")
        host = account.lower().replace("_", "-")
        base = str(given.get("base_url") or f"https://{host}.suitetalk.api.netsuite.com").rstrip("/")
        wsdl = given.get("wsdl_url") or f"{base}/wsdl/v{given.get('version', '2023_2')}_0/netsuite.wsdl"
        return {**given, "account": account, "base_url": base, "wsdl_url": wsdl}


def connect(settings: Settings, world: World) -> NetSuite:
    return NetSuite(settings, world)


def signature(settings: Settings, nonce: str, timestamp: int) -> str:
    """The TBA signature: HMAC-SHA256 in base64 (not hexadecimal, python-zeep issue 1374)."""
    parts = (settings.account, settings.consumer_key.get_secret_value(), settings.token.get_secret_value())
    key = f"{settings.consumer_secret.get_secret_value()}&{settings.token_secret.get_secret_value()}"
    text = "&".join((*parts, nonce, str(timestamp)))
    return b64encode(hmac.new(key.encode(), text.encode(), hashlib.sha256).digest()).decode()


# It writes what it signs with to its log of debug level, keys of the account among it.
logging.getLogger("oauthlib").setLevel(logging.INFO)


@dataclass(frozen=True, slots=True)
class Signed(Auth):
    """TBA for REST: OAuth 1.0 (RFC 5849) with HMAC-SHA256, the account as realm, signed afresh for each request."""

    settings: Settings
    world: World

    def auth_flow(self, request: Request) -> Generator[Request, Response, None]:
        given = self.settings
        client = oauth1.Client(
            given.consumer_key.get_secret_value(),
            given.consumer_secret.get_secret_value(),
            given.token.get_secret_value(),
            given.token_secret.get_secret_value(),
            signature_method=oauth1.SIGNATURE_HMAC_SHA256,
            realm=given.account,
            nonce=self.world.ids(),
            timestamp=str(int(self.world.clock().timestamp())),
        )
        _, headers, _ = client.sign(str(request.url), request.method)
        request.headers["Authorization"] = headers["Authorization"]
        yield request


@dataclass(slots=True)
class Transport:
    """What zeep asks of a transport, on the connector's one client: load a document, post an envelope.

    ``loaded``: the documents, in the order in which they were asked for.
    """

    wire: Wire
    read_timeout: int
    loaded: list[bytes] = field(default_factory=list)

    def load(self, url: str) -> bytes:
        local = not url.startswith(("http://", "https://"))
        self.loaded.append(
            Path(url.removeprefix("file://")).read_bytes() if local else self.wire.read("GET", url).content
        )
        return self.loaded[-1]

    def post_xml(self, address: str, envelope: Any, headers: Mapping[str, str]) -> Response:
        """The answer of 200, or of 500 for a SOAP fault; any other status is an error of the wire's table."""
        body = etree.tostring(envelope, xml_declaration=True, encoding="utf-8")
        response = self.wire.client.post(
            address, content=body, headers=dict(headers), timeout=(5, self.read_timeout, 30, 30)
        )
        if response.status_code not in (200, 500):
            action = headers.get("SOAPAction", "").lower()
            raise self.wire.error(response, writes="upsert" in action or "delete" in action)
        return response


class NetSuite(BulkConnector):
    system = SYSTEM
    resources = RESOURCES

    def __init__(self, settings: Settings, world: World) -> None:
        self.settings, self.world = settings, world
        self._wire = Wire(SYSTEM, settings.base_url, world, read_error=_rest_error)
        self._lists = SuiteQL(self._ask, world.clock, ZoneInfo(settings.timezone))
        self._seats = BoundedSemaphore(settings.concurrency)
        self._loading = Lock()
        self._loaded: Contract | None = None
        self._custom: dict[str, CustomFields] = {}

    @property
    def contract(self) -> Contract:
        """The WSDL, read at first use and once. Misconfigured when it cannot be read as one."""
        with self._loading:
            if self._loaded is None:
                self._loaded = Contract.load(self.settings, Transport(self._wire, self.settings.read_timeout))
            return self._loaded

    # The five verbs

    def upsert_many(self, resource: str, items: Sequence[tuple[Payload, ExternalKey]]) -> list[Outcome]:
        if self.resource(resource).guard is Guard.READ_ONLY:
            raise Misconfigured(f"{SYSTEM}: {resource} is only read", system=SYSTEM)
        if resource == "payment_void":
            return [self._voided(payload, key) for payload, key in items]
        outcomes: dict[int, Outcome] = {}
        ready: list[tuple[int, Any]] = []
        for position, (payload, key) in enumerate(items):
            try:
                ready.append((position, self._record(resource, payload, key)))
            except Rejected as error:
                outcomes[position] = error
        self._end_jobs(resource)
        parts = list(chunks(ready, BATCH))
        if len(ready) > self.settings.async_above:
            outcomes |= self._write_jobs(resource, items, parts)
            parts = []
        for part in parts:
            try:
                outcomes |= self._write(resource, items, part)
            except Retryable as error:
                outcomes |= dict.fromkeys([position for position, _ in part], error)
        return [outcomes[position] for position in range(len(items))]

    def find(self, resource: str, key: ExternalKey) -> Receipt | None:
        """None for what is only done to a record, which may be done again: the record says nothing of it."""
        row = self.resource(resource)
        if row.guard is Guard.READ_ONLY:
            raise Misconfigured(f"{SYSTEM}: {resource} carries no key of ours", system=SYSTEM)
        if resource in DONE_TO:
            return None
        self._end_jobs(resource)
        payload = self._fetch(row, {"externalId": key.value})
        return Receipt(SYSTEM, resource, payload["internalId"], key, False, payload) if payload else None

    def get(self, resource: str, vendor_id: str) -> Payload:
        row = self.resource(resource)
        if row.path not in KINDS:
            raise Misconfigured(f"{SYSTEM}: {resource} is read through changes()", system=SYSTEM)
        payload = self._fetch(row, {"internalId": vendor_id})
        if payload is None:
            raise Rejected(
                f"{SYSTEM} has no {resource} {vendor_id}",
                system=SYSTEM,
                record=resource,
                field="internalId",
                value=vendor_id,
                code="RCRD_DSNT_EXIST",
            )
        return payload

    def changes(self, resource: str, since: str | None) -> Iterator[Change]:
        """``since``: an instant as ISO text. Ledger accounts, periods and subsidiaries keep no time of change, so all
        are given. For ``gl_balance`` it is a month (``2026-10``): that one and later; each Change is what one of our
        ledger accounts (those with an external id) was posted in one period of one subsidiary: ``account``,
        ``subsidiary``, ``month``, ``currency`` and ``amount`` (debits less credits, in the currency of its books).
        """
        path = self.resource(resource).path
        if path in LISTINGS:
            yield from self._lists.records(path, datetime.fromisoformat(since) if since else None)
            return
        for row in self._lists.balances(since or ""):
            ident = "/".join(row[name]["internalId"] for name in ("account", "subsidiary", "period"))
            yield Change(ident, self.world.clock(), row)

    def close(self) -> None:
        self._wire.close()

    # Writing

    def _record(self, resource: str, payload: Payload, key: ExternalKey) -> Any:
        """The record to send. Rejected when the payload does not fit the WSDL, or carries another key."""
        given = payload.get("externalId", key.value)
        if given != key.value:
            raise Rejected(
                f"the payload carries external id {given}, the record is {key.value}",
                system=SYSTEM,
                record=resource,
                field="externalId",
                value=str(given),
            )
        path = self.resource(resource).path
        told = {**unsent(ROUNDING, resource, payload), "externalId": key.value}
        if resource == "payment_application":
            told = {"externalId": key.value, "applyList": told["applyList"]}
        record = self.contract.build(resource, path, told, self._custom_fields(path) if _has_custom(told) else {})
        if resource in ROUNDING:
            foretold(SYSTEM, resource, ROUNDING[resource], payload)
        return record

    def _write(
        self, resource: str, items: Sequence[tuple[Payload, ExternalKey]], ready: Sequence[tuple[int, Any]]
    ) -> dict[int, Outcome]:
        """One ``upsertList``. A refusal of the whole call (nothing was written) is traced to its records by halving."""
        try:
            body = self._call("upsertList", writes=True, record=[record for _, record in ready])
        except Rejected as error:
            if len(ready) == 1:
                return {ready[0][0]: error}
            half = len(ready) // 2
            return self._write(resource, items, ready[:half]) | self._write(resource, items, ready[half:])
        return self._settled(resource, items, ready, body.writeResponseList.writeResponse)

    def _write_jobs(
        self,
        resource: str,
        items: Sequence[tuple[Payload, ExternalKey]],
        parts: Sequence[Sequence[tuple[int, Any]]],
    ) -> dict[int, Outcome]:
        """Several ``asyncUpsertList``, all queued before the first is waited for."""
        outcomes: dict[int, Outcome] = {}
        jobs: list[tuple[str, Sequence[tuple[int, Any]]]] = []
        for part in parts:
            try:
                body = self._call("asyncUpsertList", writes=True, record=[record for _, record in part])
                jobs.append((body.asyncStatusResult.jobId, part))
                self.world.jobs.begun(SYSTEM, resource, body.asyncStatusResult.jobId)
                self.world.faults("job.begun")
            except Rejected:
                outcomes |= self._write(resource, items, part)
            except Retryable as error:
                outcomes |= dict.fromkeys([position for position, _ in part], error)
        for job, part in jobs:
            try:
                self._wait(job)
                self.world.jobs.over(SYSTEM, resource, job)
                outcomes |= self._settled(resource, items, part, self._results(job, len(part)))
            except Retryable as lost:
                unknown = OutcomeUnknown(f"{SYSTEM}: the end of job {job} was not seen ({lost})")
                outcomes |= dict.fromkeys([position for position, _ in part], unknown)
        return outcomes

    def _wait(self, job: str) -> None:
        """Returns when the job is over, well or not, or forgotten. Unavailable when that takes too long."""
        pause, waited = FIRST_LOOK, 0.0
        while self._is_running(job):
            if waited >= JOB_PATIENCE:
                raise Unavailable(f"{SYSTEM}: job {job} takes too long")
            self.world.sleep(pause)
            waited, pause = waited + pause, min(2 * pause, LONGEST_LOOK)

    def _is_running(self, job: str) -> bool:
        try:
            return self._call("checkAsyncStatus", jobId=job).asyncStatusResult.status in RUNNING
        except Rejected as error:
            if CODES.get(error.code or "") is not Meaning.ABSENT:
                raise
            return False

    def _results(self, job: str, count: int) -> list[Any]:
        """The answers of a finished job, page after page. OutcomeUnknown when they are not ``count``."""
        answers: list[Any] = []
        for page in range(1, count + 1):
            try:
                result = self._call("getAsyncResult", jobId=job, pageIndex=page).asyncResult
            except TieoutError as error:
                raise OutcomeUnknown(f"{SYSTEM}: the results of job {job} were not read ({error})") from None
            answers += result.writeResponseList.writeResponse
            if len(answers) >= count:
                break
        return answers

    def _end_jobs(self, resource: str) -> None:
        """Waits for jobs that were lost sight of, in this process or by a crash: a record that one of them will make is
        not there yet, and it would put older values over what is written now."""
        for job in self.world.jobs.running(SYSTEM, resource):
            self._wait(job)
            self.world.jobs.over(SYSTEM, resource, job)

    def _settled(
        self,
        resource: str,
        items: Sequence[tuple[Payload, ExternalKey]],
        ready: Sequence[tuple[int, Any]],
        answers: Sequence[Any],
    ) -> dict[int, Outcome]:
        """The outcome of each record by its own answer; what was written is read back."""
        if len(answers) != len(ready):
            raise OutcomeUnknown(f"{SYSTEM} answered {len(answers)} records of {len(ready)}")
        outcomes: dict[int, Outcome] = {}
        for (position, _), answer in zip(ready, answers, strict=True):
            outcomes[position] = self._outcome(resource, *items[position], answer)
        return outcomes | self._read_back(resource, outcomes)

    def _outcome(self, resource: str, payload: Payload, key: ExternalKey, answer: Any) -> Outcome:
        if not answer.status.isSuccess:
            error = self._refusal(resource, answer.status, str(payload.get("tranDate") or ""))
            if isinstance(error, Rejected) and CODES.get(error.code or "") is Meaning.DUPLICATE:
                return self._adopted(resource, key) or error
            return error
        reference = answer.baseRef
        if getattr(reference, "externalId", None) not in (None, key.value):
            return OutcomeUnknown(f"{SYSTEM} answered for {reference.externalId} where {key.value} was asked")
        sent = {**payload, "externalId": key.value, "internalId": reference.internalId}
        return Receipt(SYSTEM, resource, reference.internalId, key, True, sent)

    def _adopted(self, resource: str, key: ExternalKey) -> Outcome | None:
        try:
            return self.find(resource, key)
        except TieoutError as error:
            return error

    def _read_back(self, resource: str, outcomes: Mapping[int, Outcome]) -> dict[int, Outcome]:
        """Fresh Receipts with what NetSuite holds; none when it cannot be read now: the write stands all the same."""
        receipts = {at: item for at, item in outcomes.items() if isinstance(item, Receipt) and item.created}
        if not receipts:
            return {}
        kind = KINDS[self.resource(resource).path]
        references = [self._reference(kind, {"internalId": item.vendor_id}) for item in receipts.values()]
        try:
            answers = self._call("getList", baseRef=references).readResponseList.readResponse
        except TieoutError:
            return {}
        read: dict[int, Outcome] = {}
        for (position, receipt), answer in zip(receipts.items(), answers, strict=False):
            payload = self.contract.plain(answer.record) if answer.status.isSuccess else {}
            if payload.get("internalId") == receipt.vendor_id:
                created = not kind.created or payload.get(kind.created) == payload.get(kind.changed)
                read[position] = replace(receipt, created=created, answer=payload)
        return read

    def _voided(self, payload: Payload, key: ExternalKey) -> Outcome:
        """Deletes the payment that the payload names by internal id, which is given once, and reads that it is gone.

        ``tranDate``: its day, for the period that a refusal waits for. No deletion reason is sent: where the account
        asks for one, NetSuite puts in its own default (help page *delete*, read 2026-11).
        """
        ident = {"internalId": str(payload["internalId"])}
        gone = Receipt(SYSTEM, "payment_void", ident["internalId"], key, False, {**payload, "externalId": key.value})
        try:
            self._end_jobs("payment")
            there = self._fetch(RESOURCES["payment"], ident)
            if there is None:
                return gone
            if there.get("externalId") != key.value:
                why = f"is {there.get('externalId') or 'none of ours'}, and not {key.value}"
                raise Rejected(
                    f"payment_void: the payment {ident['internalId']} {why}",
                    system=SYSTEM,
                    record="payment_void",
                    field="internalId",
                    value=ident["internalId"],
                )
            reference = self._reference(KINDS["CustomerPayment"], ident)
            status = self._call("delete", writes=True, baseRef=reference).writeResponse.status
            if self._fetch(RESOURCES["payment"], ident) is None:
                return gone
            if status.isSuccess:
                return OutcomeUnknown(f"{SYSTEM} told that payment {ident['internalId']} is deleted, and shows it")
            return self._refusal("payment_void", status, str(payload.get("tranDate") or ""))
        except TieoutError as error:
            return error

    # Reading

    def _reference(self, kind: Kind, ident: Payload) -> Any:
        return self.contract.type("RecordRef")(type=kind.reference, **ident)

    def _fetch(self, row: Resource, ident: Payload) -> dict[str, Any] | None:
        """The record of that internal or external id, or None."""
        answer = self._call("get", baseRef=self._reference(KINDS[row.path], ident)).readResponse
        if answer.status.isSuccess:
            return self.contract.plain(answer.record)
        error = self._refusal(row.path, answer.status)
        if isinstance(error, Rejected) and CODES.get(error.code or "") is Meaning.ABSENT:
            return None
        raise error

    def _ask(self, query: str, skip: int) -> tuple[Sequence[Row], bool]:
        """One answer of SuiteQL, and whether there is more."""
        with self._seats:
            answer = exact_json(
                self._wire.read(
                    "POST",
                    QUERIES,
                    json={"q": query},
                    params={"limit": self.settings.page_size, "offset": skip},
                    headers={"Prefer": "transient"},
                    auth=Signed(self.settings, self.world),
                    timeout=(5, self.settings.read_timeout, 30, 30),
                )
            )
        return answer["items"], answer["hasMore"]

    def takes_postings(self, day: date) -> bool:
        """Whether the accounting period of a day is there and open; a period covers days, both bounds inclusive."""
        return any(
            one["startDate"][:10] <= day.isoformat() <= one["endDate"][:10]
            and not any(one.get(flag) for flag in ("closed", "allLocked", "arLocked"))
            for one in self._periods()
        )

    def _periods(self) -> list[Payload]:
        return [one.payload for one in self._lists.records("AccountingPeriod") if one.payload]

    # Calls and their errors

    def _headers(self) -> dict[str, Any]:
        """A fresh signature; a nonce is good for one request."""
        nonce, timestamp = self.world.ids(), int(self.world.clock().timestamp())
        return {
            "tokenPassport": {
                "account": self.settings.account,
                "consumerKey": self.settings.consumer_key.get_secret_value(),
                "token": self.settings.token.get_secret_value(),
                "nonce": nonce,
                "timestamp": timestamp,
                "signature": {
                    "_value_1": signature(self.settings, nonce, timestamp),
                    "algorithm": "HMAC-SHA256",
                },
            }
        }

    def _call(self, operation: str, *, writes: bool = False, **arguments: Any) -> Any:
        """The body of the answer, one ``status`` inside it. Signed afresh at each attempt."""
        contract = self.contract
        return retrying(self.world, lambda: self._once(contract, operation, writes, arguments), SYSTEM)

    def _once(self, contract: Contract, operation: str, writes: bool, arguments: Mapping[str, Any]) -> Any:
        with self._seats:
            started = self.world.clock()
            try:
                with guarded(SYSTEM, writes=writes):
                    return contract.call(operation, arguments, self._headers())
            except zeep.exceptions.Fault as fault:
                waited = (self.world.clock() - started).total_seconds()
                raise _fault_error(fault, operation, writes=writes, waited=waited) from None
            except zeep.exceptions.ValidationError as error:
                raise Rejected(f"{SYSTEM}: {operation} was not sent: {error}", system=SYSTEM) from None
            except zeep.exceptions.Error as error:
                kind = OutcomeUnknown if writes else Unavailable
                raise kind(f"{SYSTEM}: {operation} was answered with no SOAP ({type(error).__name__})") from None

    def _refusal(self, resource: str, status: Any, posted_on: str = "") -> TieoutError:
        """What a record's status means; ``posted_on`` is its date as sent, for the period it waits for."""
        details = [detail for detail in status.statusDetail or () if detail.type != "WARN"]
        code = str(details[0].code or "") if details else ""
        message = str(details[0].message or "") if details else "no reason given"
        text = f"{SYSTEM} refused {resource}: {code}: {message}"
        blamed = next((found.groupdict() for pattern in BLAME if (found := pattern.search(message))), {})
        match CODES.get(code):
            case Meaning.UNKNOWN:
                return OutcomeUnknown(text)
            case Meaning.BLOCKED:
                return RateLimited(text, wait_seconds=BLOCKED_WAIT)
            case Meaning.STALE:
                return Unavailable(text)
            case Meaning.ACCESS if not blamed:
                return Misconfigured(text, system=SYSTEM)
            case meaning if meaning is Meaning.CLOSED or (code == "USER_ERROR" and CLOSED_TEXT.search(message)):
                return Parked(text, waits_for=f"period:{posted_on[:7]}")
        return Rejected(
            text, system=SYSTEM, record=resource, field=blamed.get("field"), value=blamed.get("value"), code=code
        )

    # Its schema

    def describe(self, resource: str) -> Mapping[str, DescribedField]:
        """The types of the endpoint's WSDL and the account's custom fields, both read anew.

        What the connector itself puts together (``gl_balance``) is not described.
        """
        path = self.resource(resource).path
        if path not in KINDS:
            return {}
        transport = Transport(self._wire, self.settings.read_timeout)
        contract = Contract.load(self.settings, transport)
        if path not in contract.types:
            raise Rejected(f"{SYSTEM}: the endpoint has no type {path}", system=SYSTEM, record=resource)
        self._custom.pop(path, None)
        return Describing(enumerations(transport.loaded), self._custom_fields(path)).members(contract.types[path])

    def _custom_fields(self, path: str) -> CustomFields:
        """Those that a record type and its lines have, asked for once until the account is described anew."""
        if path not in self._custom:
            records = [
                one
                for kind in CUSTOMIZED.get(path, ())
                for one in self._customization(kind, self._customization_ids(kind))
            ]
            lists = {one["selectRecordType"]["internalId"] for one in records if one.get("selectRecordType")}
            words = {
                one["internalId"]: frozenset(
                    str(value["valueId"])
                    for value in (one.get("customValueList") or {}).get("customValue", ())
                    if not value.get("isInactive")
                )
                for one in self._customization("customList", sorted(lists))
            }
            self._custom[path] = by_type(custom_field(one, words) for one in records)
        return self._custom[path]

    def _customization_ids(self, kind: str) -> list[str]:
        wanted = self.contract.type("CustomizationType")(getCustomizationType=kind)
        answer = self._call("getCustomizationId", customizationType=wanted, includeInactives=False)
        result = answer.getCustomizationIdResult
        if not result.status.isSuccess:
            raise self._refusal(kind, result.status)
        listed = result.customizationRefList
        return [str(one.internalId) for one in listed.customizationRef] if listed else []

    def _customization(self, kind: str, ids: Sequence[str]) -> list[Payload]:
        """Records of customisation; an id that names none (a standard list among them) is left out."""
        reference = self.contract.type("CustomizationRef")
        return [
            self.contract.plain(answer.record)
            for part in chunks(ids, BATCH)
            for answer in self._call(
                "getList", baseRef=[reference(type=kind, internalId=one) for one in part]
            ).readResponseList.readResponse
            if answer.status.isSuccess
        ]

    # What tieout doctor asks

    def check(self) -> list[Finding]:
        probes = (
            ("WSDL", self._check_contract, "Set wsdl_url to the account's own host or to a file."),
            ("credentials and clock", self._check_clock, "Compare the token's role and this machine's clock."),
            ("account host", self._check_host, "Set base_url to the address that NetSuite names."),
            ("accounting periods", self._check_periods, "Set up accounting periods; grant the permissions of SuiteQL."),
            ("general ledger", self._check_ledger, "Grant the permissions of SuiteQL; see the page on NetSuite."),
        )
        findings: list[Finding] = []
        for name, probe, cure in probes:
            try:
                ok, detail = probe()
            except TieoutError as error:
                ok, detail = False, str(error)
            findings.append(Finding(f"{SYSTEM}: {name}", ok, detail, "" if ok else cure))
        return findings

    def _check_contract(self) -> tuple[bool, str]:
        namespace = self.contract.namespace
        return self.settings.version in namespace, namespace

    def _check_clock(self) -> tuple[bool, str]:
        server = self._call("getServerTime").getServerTimeResult.serverTime
        skew = int(abs((server - self.world.clock()).total_seconds()))
        return skew < CLOCK_WINDOW // 2, f"clocks differ by {skew} s; signatures are good for {CLOCK_WINDOW} s"

    def _check_host(self) -> tuple[bool, str]:
        urls = self._call("getDataCenterUrls", account=self.settings.account).getDataCenterUrlsResult.dataCenterUrls
        return urls.webservicesDomain.rstrip("/") == self.settings.base_url, f"NetSuite names {urls.webservicesDomain}"

    def _check_periods(self) -> tuple[bool, str]:
        periods = self._periods()
        closed = sum(1 for period in periods if period.get("closed"))
        return bool(periods), f"{len(periods)} periods, {closed} of them closed"

    def _check_ledger(self) -> tuple[bool, str]:
        posted = list(self._lists.balances())
        return True, f"{len(posted)} balances of accounts that carry a key of ours"


def _rest_error(response: Response) -> TieoutError | None:
    """What an error of REST says, where the status alone does not; it lists its reasons under ``o:errorDetails``."""
    if response.status_code != 400:
        return None
    try:
        reasons = parsed(response.content)["o:errorDetails"]
        text, code = str(reasons[0]["detail"]), str(reasons[0]["o:errorCode"])
    except (ValueError, KeyError, TypeError, IndexError):
        return None
    return Rejected(f"{SYSTEM} refused a query: {code}: {text}", system=SYSTEM, code=code)


def _fault_error(fault: zeep.exceptions.Fault, operation: str, *, writes: bool, waited: float) -> TieoutError:
    """What a fault of the whole call means; ``waited`` is how long (seconds) its answer took."""
    detail = next(iter(fault.detail), None) if fault.detail is not None else None
    name = etree.QName(detail).localname if detail is not None else ""
    parts = {etree.QName(child).localname: child.text or "" for child in detail} if detail is not None else {}
    code = parts.get("code", "")
    text = f"{SYSTEM}: {operation} was refused: {code or name}: {fault.message}"
    meaning = CODES.get(code) or CODES.get(name)
    if meaning is Meaning.ACCESS and waited > QUEUE_WAIT:
        # Above the concurrency limit a call is queued about a minute, then refused as if its signature were wrong.
        meaning = Meaning.BLOCKED
    match meaning:
        case Meaning.BLOCKED:
            return RateLimited(text, wait_seconds=BLOCKED_WAIT)
        case Meaning.ACCESS:
            return Misconfigured(text, system=SYSTEM)
        case Meaning.REFUSED | Meaning.ABSENT:
            return Rejected(text, system=SYSTEM, code=code or name)
    if "SAX" in (fault.message or ""):
        return Rejected(text, system=SYSTEM, code="SCHEMA")
    return OutcomeUnknown(text) if writes else Unavailable(text)


@dataclass(frozen=True, slots=True)
class Contract:
    """A loaded WSDL: its types by local name, and the service at the account's own address."""

    service: Any
    namespace: str
    types: Mapping[str, Any]

    @classmethod
    def load(cls, settings: Settings, transport: Any) -> Contract:
        strict = zeep.Settings(strict=True, forbid_dtd=True, forbid_entities=True)
        try:
            client: Any = zeep.Client(settings.wsdl_url, transport=transport, settings=strict)  # type: ignore[no-untyped-call]
            binding = next(iter(client.wsdl.bindings))
        except (Rejected, zeep.exceptions.Error, OSError, StopIteration) as error:
            raise Misconfigured(
                f"{SYSTEM}: no WSDL at {settings.wsdl_url} ({type(error).__name__})", system=SYSTEM
            ) from None
        for document in client.wsdl.types.documents.get_by_namespace(XSD, fail_silently=False):
            document.get_type(etree.QName(XSD, "double")).pythonvalue = Decimal
        address = f"{settings.base_url}/services/NetSuitePort_{settings.version}"
        types = {str(kind.name): kind for kind in client.wsdl.types.types if isinstance(kind, zeep.xsd.ComplexType)}
        return cls(client.create_service(binding, address), etree.QName(binding).namespace or "", types)

    def type(self, name: str) -> Any:
        return self.types[name]

    def name(self, value: Any) -> str:
        """The type name of a record."""
        return str(value._xsd_type.name)

    def call(self, operation: str, arguments: Mapping[str, Any], headers: Mapping[str, Any]) -> Any:
        return self.service[operation](**arguments, _soapheaders=dict(headers)).body

    def build(self, resource: str, name: str, payload: Payload, custom: CustomFields) -> Any:
        """The WSDL's own value for a payload. Rejected, with the path of the field, when it does not fit."""
        return _Builder(self.types, resource, custom).value(self.types[name], payload, "")

    def plain(self, value: Any) -> dict[str, Any]:
        """A record as plain data: absent fields left out, instants as ISO text, numbers as Decimal or int."""
        pruned: dict[str, Any] = _pruned(serialize_object(value, dict))  # type: ignore[no-untyped-call]
        return pruned


def _pruned(value: Any) -> Any:
    match value:
        case dict():
            return {name: _pruned(item) for name, item in lifted(value).items() if item is not None}
        case list():
            return [_pruned(item) for item in value]
        case datetime():
            return value.isoformat()
        case _:
            return value


def _has_custom(value: Any) -> bool:
    """Whether a payload carries a custom field, itself or in a line."""
    match value:
        case Mapping():
            return any(CUSTOM.match(str(name)) or _has_custom(item) for name, item in value.items())
        case list() | tuple():
            return any(map(_has_custom, value))
        case _:
            return False


@dataclass(frozen=True, slots=True)
class _Builder:
    """Makes the WSDL's own values; ``types`` by local name."""

    types: Mapping[str, Any]
    resource: str
    custom: CustomFields

    def value(self, kind: Any, value: Any, at: str) -> Any:
        if not isinstance(kind, zeep.xsd.ComplexType):
            why, text = _scalar(kind, value)
            if why:
                raise self._refused(at, value, why)
            return text
        if not isinstance(value, Mapping):
            raise self._refused(at, value, f"must be an object of {kind.name}")
        members = {**dict(kind.elements), **dict(kind.attributes)}
        custom = self.custom.get(str(kind.name), {})
        given: dict[str, Any] = {}
        for name, item in value.items():
            path = f"{at}.{name}" if at else name
            if name not in members and name not in custom:
                raise self._refused(path, item, f"is not a field of {kind.name}")
            if item is None or item == {}:
                continue
            if name in members:
                given[name] = self._member(members[name], item, path)
            else:
                listed = given.setdefault("customFieldList", {"customField": []})
                listed["customField"].append(self._custom(custom[name], item, path))
        return kind(**given)

    def _member(self, member: Any, item: Any, path: str) -> Any:
        if not getattr(member, "accepts_multiple", False):
            return self.value(member.type, item, path)
        if isinstance(item, list | tuple):
            return [self.value(member.type, one, f"{path}.{n}") for n, one in enumerate(item)]
        raise self._refused(path, item, "must be a list")

    def _custom(self, about: CustomField, item: Any, path: str) -> Any:
        kind = self.types[about.reference]
        return kind(scriptId=about.script_id, value=self._member(dict(kind.elements)["value"], item, path))

    def _refused(self, path: str, item: Any, why: str) -> Rejected:
        return Rejected(
            f"{self.resource}: {path} {why}",
            system=SYSTEM,
            record=self.resource,
            field=path,
            value=str(item)[:100],
            code="SCHEMA",
        )


def _scalar(kind: Any, value: Any) -> tuple[str, Any]:
    """Why a value does not fit a simple type (empty: it does), and the value to send."""
    match kind:
        case builtins.Boolean():
            return "" if isinstance(value, bool) else "must be true or false", value
        case builtins.Double():
            number = _decimal(value)
            return ("", format(number, "f")) if number is not None else ("must be an exact number", value)
        case builtins.Integer():
            fits = str(value).removeprefix("-").isdecimal() and not isinstance(value, bool)
            return "" if fits else "must be a whole number", value
        case builtins.DateTime():
            return "" if _has_offset(value) else "must be an instant with an offset", value
        case _ if not isinstance(value, str):
            return "must be text", value
        case _:
            return "has a character that XML cannot carry" if UNWRITABLE.search(value) else "", value


def _decimal(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, Decimal | int | str):
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _has_offset(value: Any) -> bool:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return False
    return isinstance(value, datetime) and value.tzinfo is not None
