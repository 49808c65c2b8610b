"""Every call to a vendor goes through here: one client, one status table, one owner of retries inside a call.

The only module that imports httpx. What an exception of the transport means for a write was measured on httpx 0.28.1:
ConnectError, ConnectTimeout and PoolTimeout prove that nothing was sent; after any other the vendor may have the
request, so a write is then OutcomeUnknown and is never repeated here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import Any, TypeVar

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt

from core.errors import Misconfigured, OutcomeUnknown, RateLimited, Rejected, Retryable, TieoutError, Unavailable
from core.ports import (
    BudgetSpent,
    Change,
    ExternalKey,
    Finding,
    Outcome,
    Payload,
    Receipt,
    Resource,
    WebhookEvent,
    WebhookRequest,
    World,
    is_over,
)

T = TypeVar("T")

#: Auth of a request, for connectors that must not import httpx themselves.
Auth = httpx.Auth
BasicAuth = httpx.BasicAuth
Request = httpx.Request
Response = httpx.Response

#: Longest wait (seconds) inside a call; a longer one goes back to the outbox, which waits without holding a worker.
LONGEST_WAIT = 30.0
ATTEMPTS = 4
TIMEOUT = httpx.Timeout(connect=5.0, read=30.0, write=30.0, pool=30.0)

#: Largest answer (bytes, unpacked): a small compressed body may unpack to any size, and httpx sets no limit.
LARGEST_ANSWER = 64 << 20
#: Most characters that an error keeps of an answer.
ANSWER_KEPT = 4000
#: Headers by which vendors name a request, to be told to their support (their published references, read 2026-11).
TRACES = (
    "request-id",
    "x-request-id",
    "x-correlation-id",
    "x-hubspot-correlation-id",
    "x-ms-service-request-id",
    "intuit_tid",
    "x-n-operationid",
)


def trace_of(headers: Mapping[str, str]) -> str:
    """How the vendor named the request; empty when it did not."""
    return next((headers[name] for name in TRACES if name in headers), "")


#: Headers that tell what is left of a limit: left, the whole (a header, or the number the vendor publishes), and the
#: seconds of its window (developer documentation of HubSpot, Dataverse, Xero and the IETF draft, read 2026-11).
LIMITS = (
    ("x-hubspot-ratelimit-remaining", "x-hubspot-ratelimit-max", 10),
    ("x-ms-ratelimit-burst-remaining-xrm-requests", 6000, 300),
    ("x-minlimit-remaining", 60, 60),
    ("x-daylimit-remaining", 5000, 86_400),
    ("ratelimit-remaining", "ratelimit-limit", 60),
)
#: Calls of the last 24 hours against their limit: ``api-usage=18/5000`` (Salesforce REST API guide, read 2026-11).
_USAGE = re.compile(r"\bapi-usage=(\d+)/(\d+)")


def allowances(headers: Mapping[str, str]) -> Iterator[tuple[int, int, int]]:
    """What a vendor says is left: calls, of how many, within how many seconds. What cannot be read says nothing."""
    if used := _USAGE.search(headers.get("sforce-limit-info", "")):
        yield max(0, int(used[2]) - int(used[1])), int(used[2]), 86_400
    for name, whole, window in LIMITS:
        left, most = headers.get(name, ""), headers.get(whole, "") if isinstance(whole, str) else str(whole)
        if left.isdecimal() and most.isdecimal():
            yield int(left), int(most), window


def parsed(body: bytes | str) -> Any:
    """JSON with every number that has a decimal point as Decimal.

    ValueError for what is not JSON: NaN, infinite numbers, nesting beyond what can be read.
    """
    try:
        return json.loads(body, parse_float=Decimal, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deep") from None


def exact_json(response: Response) -> Any:
    """The JSON body with exact numbers. OutcomeUnknown when it is not JSON."""
    try:
        return parsed(response.content)
    except ValueError:
        raise OutcomeUnknown(
            f"{response.request.url.host} answered {response.status_code} with a body that is not JSON"
        ) from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def dump_json(value: Any) -> bytes:
    """JSON with Decimal written as an exact number. TypeError for a float."""
    return _encode(value).encode()


def _encode(value: Any) -> str:
    match value:
        case float():
            raise TypeError(f"a float ({value!r}) may not cross a wire; use Decimal")
        case Decimal():
            if not value.is_finite():
                raise ValueError(f"{value} is not a number that JSON can carry")
            return format(value, "f")
        case Mapping():
            return "{" + ",".join(f"{json.dumps(str(key))}:{_encode(item)}" for key, item in value.items()) + "}"
        case list() | tuple():
            return "[" + ",".join(map(_encode, value)) + "]"
        case _:
            return json.dumps(value)


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds that a Retry-After header asks for (seconds or an HTTP date); None when absent or unreadable."""
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(text).astimezone(UTC) - now).total_seconds())
    except (TypeError, ValueError):
        return None


#: A connector's own reading of an error answer: a TieoutError, or None to fall back on the status table below.
ReadError = Callable[[Response], TieoutError | None]


def _no_reading(_response: Response) -> TieoutError | None:
    return None


class _Client(httpx.Client):
    """A client that reads no more of an answer than LARGEST_ANSWER."""

    def send(self, request: Request, **options: Any) -> Response:
        response = super().send(request, **{**options, "stream": True})
        body = bytearray()
        try:
            for part in response.iter_bytes():
                body += part
                if len(body) > LARGEST_ANSWER:
                    raise httpx.DecodingError(f"an answer of more than {LARGEST_ANSWER} bytes", request=request)
        finally:
            response.close()
        headers = [(k, v) for k, v in response.headers.multi_items() if k not in _OF_THE_PACKED]
        return httpx.Response(
            response.status_code, headers=headers, content=bytes(body), request=request, extensions=response.extensions
        )


#: Headers that are true of a body as it crossed the wire only.
_OF_THE_PACKED = ("content-encoding", "content-length", "transfer-encoding")


@dataclass(slots=True)
class Wire:
    """One vendor account's client. Thread-safe; one per connector.

    ``base_url`` is the only origin that ever sees ``auth``: a path that leads elsewhere is refused.
    """

    system: str
    base_url: str
    world: World
    auth: Auth | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    read_error: ReadError = _no_reading
    _client: httpx.Client = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._client = _Client(
            base_url=self.base_url,
            auth=self.auth,
            headers=dict(self.headers),
            timeout=TIMEOUT,
            follow_redirects=False,
            transport=self.world.transport,
            event_hooks={"request": [self._spend, self._in_time], "response": [self._hear]},
        )

    def _in_time(self, _request: Request) -> None:
        if is_over(self.world.clock()):
            raise OutcomeUnknown(f"{self.system}: the lease of what was to be written has ended; it was not sent")

    def _spend(self, _request: Request) -> None:
        self.world.budget.take(self.system)

    def _hear(self, response: Response) -> None:
        for left, whole, window in allowances(response.headers):
            self.world.budget.heard(self.system, left, whole, window)

    @property
    def client(self) -> httpx.Client:
        """The bare client, for vendor SDKs that bring their own request building. Use it inside ``guarded``."""
        return self._client

    def read(self, method: str, path: str, **options: Any) -> Response:
        """A call that changes nothing at the vendor: repeated by itself on Retryable errors."""
        return retrying(self.world, lambda: self._call(method, path, writes=False, **options), self.system)

    def write(self, method: str, path: str, **options: Any) -> Response:
        """A call that may change something: repeated only when it is certain that nothing was written."""
        return retrying(self.world, lambda: self._call(method, path, writes=True, **options), self.system)

    def _call(self, method: str, path: str, *, writes: bool, json: Any = None, **options: Any) -> Response:
        url = httpx.URL(path) if "://" in path else path
        if (
            isinstance(url, httpx.URL)
            and url.scheme
            and (url.scheme, url.netloc)
            != (
                self._client.base_url.scheme,
                self._client.base_url.netloc,
            )
        ):
            raise Misconfigured(
                f"{self.system}: refused to follow a link to another host ({url.host})", system=self.system
            )
        if json is not None:
            options["content"] = dump_json(json)
            options["headers"] = {"Content-Type": "application/json", **(options.get("headers") or {})}
        with guarded(self.system, writes=writes):
            response = self._client.request(method, url, **options)
        if response.is_success:
            return response
        error = self.read_error(response) or self.error(response, writes=writes)
        error.answer, error.trace = response.text[:ANSWER_KEPT], trace_of(response.headers)
        raise error

    def error(self, response: Response, *, writes: bool) -> TieoutError:
        """The status table: what an HTTP status means when the vendor's own code says nothing more."""
        where = f"{self.system}: {response.request.method} {response.request.url.path} answered {response.status_code}"
        match response.status_code:
            case 401 | 403:
                return Misconfigured(f"{where}: credentials or permissions are not accepted", system=self.system)
            case 408 | 429:
                wait = retry_after(response.headers, self.world.clock())
                return RateLimited(where, wait_seconds=1.0 if wait is None else wait)
            case 503 if "retry-after" in response.headers:
                return RateLimited(where, wait_seconds=retry_after(response.headers, self.world.clock()) or 1.0)
            case status if status >= 500:
                return OutcomeUnknown(where) if writes else Unavailable(where)
            case status:
                return Rejected(where, system=self.system, code=str(status))

    def close(self) -> None:
        self._client.close()


@dataclass(frozen=True, slots=True)
class SdkAnswer:
    """An answer as SDKs made for ``requests`` read it. Its numbers are exact; OutcomeUnknown when it is not JSON."""

    response: Response

    @property
    def status_code(self) -> int:
        return self.response.status_code

    @property
    def headers(self) -> Mapping[str, str]:
        return self.response.headers

    def json(self, **_parser_options: Any) -> Any:
        return exact_json(self.response)


@dataclass(frozen=True, slots=True)
class SdkSession:
    """What an SDK made for ``requests`` calls its session, riding on ``Wire.read`` or ``Wire.write``.

    Only path and query of the SDK's URL are used: origin, credentials, retries and errors are the wire's, so an SDK
    that hardwires https speaks with a loopback emulator, and no link in an answer leads anywhere else.
    """

    send: Callable[..., Response]
    proxies: None = None

    def request(self, method: str, url: str, **options: Any) -> SdkAnswer:
        return SdkAnswer(self.send(method, httpx.URL(url).raw_path.decode(), **options))


@contextmanager
def guarded(system: str, *, writes: bool) -> Iterator[None]:
    """Turns exceptions of the transport into ours; SDKs that ride on httpx make their calls inside it."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        raise Unavailable(f"{system} could not be reached ({type(error).__name__}); nothing was sent") from None
    except httpx.HTTPError as error:
        kind = OutcomeUnknown if writes else Unavailable
        raise kind(f"{system}: the connection failed before an answer came ({type(error).__name__})") from None


def retrying(world: World, call: Callable[[], T], system: str = "") -> T:
    """Repeats ``call`` while nothing can have been written: on RateLimited and Unavailable, never on OutcomeUnknown.

    Waits as long as the vendor asks, up to LONGEST_WAIT; a longer wait is raised at once for the outbox to keep. The
    budget of ``system`` learns of each refusal.
    """

    def watched() -> T:
        try:
            return call()
        except BudgetSpent:
            raise
        except RateLimited as error:
            world.budget.refused(system, error.wait_seconds)
            raise

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, RateLimited):
            return error.wait_seconds
        return float(0.2 * 2**state.attempt_number)

    def hopeless(state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        return isinstance(error, RateLimited) and error.wait_seconds > LONGEST_WAIT

    retry = Retrying(
        stop=lambda state: stop_after_attempt(ATTEMPTS)(state) or hopeless(state),
        wait=wait,
        retry=retry_if_exception_type((RateLimited, Unavailable)),
        sleep=world.sleep,
        reraise=True,
    )
    return retry(watched)


class BaseConnector:
    """What connectors have in common: their RESOURCES table, bulk writes one by one, and nothing to receive.

    A connector overrides the verbs its vendor has; ``upsert_many`` only where the vendor has a bulk call.
    """

    system: str
    resources: Mapping[str, Resource]

    def resource(self, name: str) -> Resource:
        """The row of the RESOURCES table. Misconfigured when this system has no such resource."""
        try:
            return self.resources[name]
        except KeyError:
            known = ", ".join(sorted(self.resources))
            raise Misconfigured(f"{self.system} has no resource {name!r}; it has {known}", system=self.system) from None

    def changes(self, resource: str, since: str | None) -> Iterator[Change]:
        raise Misconfigured(f"{self.system} cannot list changes of {resource}", system=self.system)

    def get(self, resource: str, vendor_id: str) -> Payload:
        raise Misconfigured(f"{self.system} cannot read {resource}", system=self.system)

    def find(self, resource: str, key: ExternalKey) -> Receipt | None:
        raise Misconfigured(f"{self.system} cannot look up {resource}", system=self.system)

    def upsert(self, resource: str, payload: Payload, key: ExternalKey) -> Receipt:
        raise Misconfigured(f"{self.system} cannot write {resource}", system=self.system)

    def upsert_many(self, resource: str, items: Sequence[tuple[Payload, ExternalKey]]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for payload, key in items:
            try:
                outcomes.append(self.upsert(resource, payload, key))
            except (Rejected, Retryable) as error:
                outcomes.append(error)
        return outcomes

    def events(self, request: WebhookRequest) -> list[WebhookEvent]:
        raise Rejected(f"{self.system} sends no webhooks that this connector knows", system=self.system)

    def check(self) -> list[Finding]:
        return []

    def close(self) -> None:
        return


class BulkConnector(BaseConnector):
    """A connector whose vendor writes many records in one call: ``_write_batch``, for at most one batch."""

    def upsert(self, resource: str, payload: Payload, key: ExternalKey) -> Receipt:
        (outcome,) = self.upsert_many(resource, [(payload, key)])
        if isinstance(outcome, TieoutError):
            raise outcome
        return outcome

    def upsert_many(self, resource: str, items: Sequence[tuple[Payload, ExternalKey]]) -> list[Outcome]:
        """One call per batch. A Retryable fault of a call is the outcome of each of its items; others are raised."""
        outcomes: list[Outcome] = []
        for chunk in chunks(items, self.resource(resource).batch):
            try:
                outcomes += self._write_batch(resource, chunk)
            except Retryable as fault:
                outcomes += [fault] * len(chunk)
        return outcomes

    def _write_batch(self, resource: str, items: Sequence[tuple[Payload, ExternalKey]]) -> list[Outcome]:
        raise NotImplementedError

    def _row(self, resource: str, key: ExternalKey) -> Resource:
        """The row of the RESOURCES table that this key is for. Misconfigured for another key field."""
        row = self.resource(resource)
        if key.field != row.key_field:
            why = f"{self.system}: the key of {resource} is {row.key_field}, not {key.field}"
            raise Misconfigured(why, system=self.system)
        return row


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of at most ``size``, in order."""
    left = iter(items)
    while part := list(islice(left, size)):
        yield part
