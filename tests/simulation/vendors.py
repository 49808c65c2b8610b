"""The four vendors in this process: shelves in plain memory, and the wire to them, which fails as the seed says."""

from __future__ import annotations

import asyncio
import copy
import fcntl
import re
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from dataclasses import replace as changed
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any, Protocol
from unittest.mock import patch
from urllib.parse import parse_qs

import duckdb
import httpx

from connectors import netsuite as netsuite_connector
from connectors import salesforce as salesforce_connector
from core.metering import store as usage_store
from core.ports import World
from sandbox import netsuite as netsuite_emulator
from sandbox import netsuite_schema, salesforce
from sandbox.emulator import Emulator, Fault, Json, Shelf, read_json, write_json
from sandbox.server import emulators
from tests.simulation.fibers import Violation, hand_over

SYSTEMS = ("salesforce", "avalara", "stripe", "netsuite")
#: In some worlds customers are told here instead of NetSuite: its refresh tokens change whenever they are used.
OTHER_BOOKS = "quickbooks"
URLS = {name: f"https://{name}.example" for name in SYSTEMS}
START = datetime(2026, 11, 1, 9, tzinfo=UTC)


class MemoryShelf(Shelf):
    """The shelf without its database. ``changes`` counts them by kind; ``version`` leaves sessions and notes out."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.now, self.restored = now, 0
        self._kinds: dict[str, dict[str, str]] = {}
        self._numbers: dict[str, int] = {}
        self.changes: Counter[str] = Counter()
        self.version = 0

    @property
    def revision(self) -> int:
        return self.changes.total()

    def keep(self, kind: str, ident: str, value: Json) -> None:
        self._kinds.setdefault(kind, {})[ident] = write_json(value)
        self._count(kind)

    def all(self, kind: str) -> list[Json]:
        return [read_json(body) for body in self._kinds.get(kind, {}).values()]

    def drop(self, kind: str, ident: str) -> None:
        self._kinds.get(kind, {}).pop(ident, None)
        self._count(kind)

    def _count(self, kind: str) -> None:
        self.changes[kind] += 1
        self.version += not kind.startswith("_")

    def next(self, name: str) -> int:
        self._numbers[name] = self._numbers.get(name, 0) + 1
        return self._numbers[name]

    def counts(self) -> dict[str, int]:
        return {kind: len(items) for kind, items in self._kinds.items() if items}

    def snapshot(self) -> dict[tuple[str, str], str]:
        """Every object of the vendor as text; its sessions and notes are left out."""
        return {
            (kind, ident): body
            for kind, items in self._kinds.items()
            if not kind.startswith("_")
            for ident, body in items.items()
        }

    def clear(self) -> None:
        self._kinds.clear()
        self._numbers.clear()

    def close(self) -> None:
        return


class Shown:
    """A shelf for those who only look: a kind is read once after each change, and who has it leaves it as it is."""

    def __init__(self, shelf: MemoryShelf) -> None:
        self._shelf = shelf
        self._read: dict[str, tuple[int, dict[str, Json]]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shelf, name)

    def all(self, kind: str) -> list[Json]:
        return list(self._of(kind).values())

    def get(self, kind: str, ident: str) -> Json | None:
        return self._of(kind).get(ident)

    def _of(self, kind: str) -> dict[str, Json]:
        version, read = self._read.get(kind, (-1, {}))
        if version != self._shelf.changes[kind]:
            read = {ident: read_json(body) for ident, body in self._shelf._kinds.get(kind, {}).items()}
            self._read[kind] = self._shelf.changes[kind], read
        return read


@cache
def _build(name: str) -> Callable[[Shelf], Emulator]:
    """What builds a vendor's emulator over a shelf."""
    made: Callable[[Shelf], Emulator] = import_module(emulators()[name]).emulator
    return made


@dataclass(frozen=True)
class Posted:
    """A webhook on its way."""

    system: str
    kind: str
    event: Json
    body: bytes
    content_type: str
    due_at: datetime

    @property
    def subject(self) -> str:
        """The opportunity it tells of; empty for others."""
        found = re.search(rb"<sf:Id>(\w+)</sf:Id>", self.body)
        return found[1].decode() if found else ""


class Vendors:
    """All emulators, their shelves, and the webhooks they have sent and nobody has received yet."""

    def __init__(self, now: Callable[[], datetime], systems: Iterable[str] = SYSTEMS) -> None:
        self.now = now
        shelves = {name: MemoryShelf(now) for name in systems}
        self.shelves = {name: Shown(shelf) for name, shelf in shelves.items()}
        self.emulators: dict[str, Emulator] = {name: _build(name)(shelf) for name, shelf in shelves.items()}
        self.post: list[Posted] = []
        self.used: set[str] = set()
        """Refresh tokens that were changed for others."""
        for name in ("salesforce", "stripe"):
            self.emulators[name].webhooks.carry = self._carrier(name)

    def _carrier(self, system: str) -> Callable[[str, Json, bytes, str], None]:
        return lambda kind, event, body, content_type: self.post.append(
            Posted(system, kind, event, body, content_type, self.now())
        )

    def end_sessions(self) -> None:
        for system, kind in SESSIONS.items():
            if system in self.shelves:
                self.shelves[system]._kinds.pop(kind, None)

    @property
    def version(self) -> int:
        return sum(shelf.version for shelf in self.shelves.values())

    def snapshot(self) -> dict[tuple[str, str, str], str]:
        return {(name, *key): body for name, shelf in self.shelves.items() for key, body in shelf.snapshot().items()}


#: One event loop for all runs: an emulator's answer is always ready when its coroutine ends.
_LOOP = asyncio.new_event_loop()


@dataclass
class _Answer:
    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], message["headers"]
        else:
            self.body += message.get("body", b"")


def ask(
    app: Any, method: str, url: str | httpx.URL, headers: Mapping[str, str] | httpx.Headers, body: bytes
) -> _Answer:
    """One request to an ASGI application, without a socket."""
    parts = httpx.URL(url)
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": parts.scheme,
        "path": parts.path,
        "raw_path": parts.raw_path.split(b"?")[0],
        "query_string": parts.query,
        "root_path": "",
        "headers": [(b"host", parts.netloc), *((k.lower().encode(), v.encode()) for k, v in headers.items())],
        "server": (parts.host, 443),
        "client": ("127.0.0.1", 1),
    }
    given = False

    async def receive() -> Any:
        nonlocal given
        if given:
            return {"type": "http.disconnect"}
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    answer = _Answer()
    answering = app(scope, receive, answer.send)
    if isinstance(app, Emulator):
        _at_once(answering)
    else:
        _LOOP.run_until_complete(answering)
    return answer


def _at_once(answering: Coroutine[Any, Any, None]) -> None:
    """Runs a coroutine that never waits."""
    try:
        answering.send(None)
    except StopIteration:
        return
    raise AssertionError("an emulator in this process never waits")


class Watch(Protocol):
    """What the wire asks of the run: where it may be interrupted, and what it has seen."""

    def __call__(self, at: str, /) -> None: ...


#: How often in a thousand calls each fault of the wire happens, when a seed has it.
RATES: Mapping[str, tuple[int, ...]] = {
    "unreachable": (10, 40, 150, 600),
    "reset_before": (10, 40, 150),
    "error_before": (10, 40, 150, 600),
    "rate_limited": (10, 40, 150),
    "reply_lost": (10, 40, 150),
    "error_after": (10, 40, 100),
    "garbage": (10, 40, 100),
    "slow": (20, 60),
    "session_ended": (60, 250),
}
#: Where a system keeps the sessions that it may end.
SESSIONS = {"salesforce": "_session", OTHER_BOOKS: "_token"}
STATUSES = (500, 502, 503)
SLOW_SECONDS = (5, 29, 100, 299, 900)
WAITS = (0, 1, 7, 31, 120)


@dataclass
class Wire(httpx.BaseTransport):
    """The transport of one process. ``watch`` is called before and after each call: there it may be stopped for good.

    ``rates``: fault to chances in a thousand; ``pass_by`` lets time pass; ``tell`` counts what happened.
    """

    vendors: Vendors
    rng: Random
    rates: Mapping[str, int]
    watch: Watch
    pass_by: Callable[[float], None]
    tell: Callable[[str], None]

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        system = request.url.host.partition(".")[0]
        line = f"{system} {request.method} {request.url.path}"
        fault, began = self._fault(), self.vendors.now()
        self.watch(f"before {line}")
        if self._waited(request, began):
            raise httpx.WriteTimeout("simulated", request=request)
        body = request.read()
        if fault:
            self.tell(fault)
        match fault:
            case "unreachable":
                raise httpx.ConnectError("simulated", request=request)
            case "reset_before":
                raise httpx.ReadError("simulated", request=request)
            case "error_before":
                return self._vendors_own(system, request, Fault("error", status=self.rng.choice(STATUSES)))
            case "rate_limited":
                return self._vendors_own(system, request, Fault("rate_limit", seconds=self.rng.choice(WAITS)))
            case "session_ended" if system in SESSIONS:
                self.vendors.shelves[system]._kinds.pop(SESSIONS[system], None)
            case "slow":
                self.pass_by(self.rng.choice(SLOW_SECONDS))
        emulator = self.vendors.emulators[system]
        answer = ask(emulator, request.method, request.url, request.headers, body)
        self.watch(f"after {line}")
        if self._waited(request, began):
            raise httpx.ReadTimeout("simulated", request=request)
        match fault:
            case "reply_lost":
                raise self.rng.choice((httpx.ReadTimeout, httpx.ReadError, httpx.RemoteProtocolError))(
                    "simulated", request=request
                )
            case "error_after":
                return self._vendors_own(system, request, Fault("error_after", status=self.rng.choice(STATUSES)))
            case "garbage":
                return httpx.Response(200, content=b'{"trunc', request=request)
        if system == OTHER_BOOKS:
            self._used_once(body)
        return httpx.Response(answer.status, headers=answer.headers, content=answer.body, request=request)

    def _used_once(self, body: bytes) -> None:
        """Violation for a refresh token whose answer has come back before: who has that answer has the next token."""
        for token in parse_qs(body.decode()).get("refresh_token", ()):
            if token in self.vendors.used:
                raise Violation("a refresh token is used once", "quickbooks")
            self.vendors.used.add(token)

    def _waited(self, request: httpx.Request, began: datetime) -> bool:
        """Whether the client has given up by now; it sleeps with its process, so a frozen process gives up late."""
        return (self.vendors.now() - began).total_seconds() > request.extensions["timeout"]["read"]

    def _fault(self) -> str:
        """What befalls this call; empty for nothing. One throw per call, whatever the rates."""
        throw = self.rng.randrange(1000)
        for fault, rate in self.rates.items():
            if throw < rate:
                return fault
            throw -= rate
        return ""

    def _vendors_own(self, system: str, request: httpx.Request, fault: Fault) -> httpx.Response:
        answer = self.vendors.emulators[system].fault_answer(fault)
        return httpx.Response(
            answer.status_code, headers=answer.raw_headers, content=bytes(answer.body), request=request
        )


# --- what is the same in every run is made once ----------------------------------------------------------------------


_describe = salesforce_connector.SalesforceConnector._fields
_described: dict[str, Any] = {}


def _fields(connector: Any, sobject: str) -> Any:
    """The fields of an object at the CRM, asked for once, of a CRM of its own: the first run takes no other steps."""
    if sobject not in _described:
        at_home = connector._settings.model_copy(update={"base_url": URLS["salesforce"]})
        _described[sobject] = _describe(_undisturbed(type(connector), at_home), sobject)
    return _described[sobject]


def _undisturbed(kind: Any, settings: Any) -> Any:
    """A connector to vendors of its own, on a wire where nothing happens."""
    vendors = Vendors(lambda: START)
    wire = Wire(vendors, Random(0), {}, lambda _at: None, lambda _seconds: None, lambda _fault: None)
    return kind(settings, World(clock=vendors.now, transport=wire))


@cache
def _documents() -> Any:
    return _make_documents()


_make_documents = netsuite_schema.Documents
_load_contract = netsuite_connector.Contract.load.__func__  # type: ignore[attr-defined]
_contracts: dict[str, Any] = {}


def _contract(settings: Any, transport: Any) -> Any:
    """The vendor's WSDL, read once; each connector speaks through its own transport."""
    if settings.base_url not in _contracts:
        vendors = Vendors(lambda: START)

        class Plain:
            def load(self, url: str) -> bytes:
                return ask(vendors.emulators["netsuite"], "GET", url, {}, b"").body

        _contracts[settings.base_url] = _load_contract(netsuite_connector.Contract, settings, Plain())
    known = _contracts[settings.base_url]
    client = copy.copy(known.service._client)
    client.transport = transport
    address = known.service._binding_options["address"]
    return changed(known, service=client.create_service(known.service._binding.name, address))


@cache
def _usage_engine() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={"threads": 1})


@contextmanager
def _usage_session(_spill: Path, _memory: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection of one engine for all; its tables are its own."""
    with _usage_engine().cursor() as connection:
        connection.execute("set timezone = 'UTC'")
        yield connection


async def _in_this_thread(work: Callable[..., Any], *arguments: Any) -> Any:
    return work(*arguments)


def _flock(file: Any, operation: int) -> None:
    """Whoever would wait for a lock lets the others go on: all processes of a run are fibers of this one."""
    while True:
        try:
            _lock(file, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            if operation & fcntl.LOCK_NB or not hand_over("a lock"):
                raise
        else:
            return


_lock = fcntl.flock


@contextmanager
def held_still() -> Iterator[None]:
    """Keeps what vendors describe of themselves over all runs, and takes the emulator's worker threads away."""
    with ExitStack() as until_then:
        for owner, name, other in (
            (netsuite_schema, "Documents", _documents),
            (netsuite_connector.Contract, "load", staticmethod(_contract)),
            (netsuite_emulator, "run_in_threadpool", _in_this_thread),
            (usage_store, "session", _usage_session),
            (fcntl, "flock", _flock),
            (salesforce_connector.SalesforceConnector, "_fields", _fields),
        ):
            until_then.enter_context(patch.object(owner, name, other))
        yield


SALESFORCE_KEYS = {"client_id": salesforce.CLIENT_ID, "client_secret": salesforce.CLIENT_SECRET}
