"""What every emulator stands on: kept objects, planted faults, webhooks out, and a small control API.

An emulator is a Starlette application with routes of the vendor's API. Around it sit a shelf of JSON objects kept in
SQLite, a list of planted faults, and a dispatcher that sends webhooks. Control calls live under ``/_sandbox``:

- ``GET /_sandbox/objects[/{kind}]``: counts of the kept objects by kind, or the objects of one kind
- ``GET|POST|DELETE /_sandbox/faults``: see :class:`Fault`; POST takes one fault or a list
- ``GET|POST /_sandbox/webhooks``: where webhooks go: ``{"url": ..., "secret": ...}`` (secret: as the vendor means it)
- ``POST /_sandbox/reset``: forget every object, fault and webhook not yet delivered
"""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

Json = dict[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


_DECODER = json.JSONDecoder(parse_float=Decimal)


def read_json(text: bytes | str) -> Any:
    """JSON with every number that has a decimal point as Decimal."""
    return _DECODER.decode(text if isinstance(text, str) else text.decode(json.detect_encoding(text)))


def _marked(value: Any) -> Any:
    """What JSON has no form for: a Decimal as marked text, which ``write_json`` takes the quotes and the mark from."""
    match value:
        case Decimal():
            return f"\0{value:f}"
        case Mapping():
            return dict(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


_ENCODER = json.JSONEncoder(default=_marked, separators=(",", ":"))
_NUMBER = re.compile(r'"\\u0000([-0-9.]+)"')


def write_json(value: Any) -> str:
    """JSON with a Decimal written as a number of exactly its digits."""
    return _NUMBER.sub(r"\1", _ENCODER.encode(value))


class ExactJSONResponse(JSONResponse):
    def render(self, content: Any) -> bytes:
        return write_json(content).encode()


def _now() -> datetime:
    return datetime.now(UTC)


class Shelf:
    """JSON objects by kind and id, in the order they were first kept; survives a restart when ``path`` is a file.

    Objects handed out are copies; nothing changes until ``keep``. Safe to use from several threads. ``now`` is the
    vendor's clock.
    """

    def __init__(self, path: Path | None = None, now: Callable[[], datetime] = _now) -> None:
        self.now, self.restored = now, 0
        self._db = sqlite3.connect(str(path) if path else ":memory:", check_same_thread=False, isolation_level=None)
        self._lock = threading.RLock()
        with self._lock:
            self._db.executescript(
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
                "CREATE TABLE IF NOT EXISTS object"
                " (kind TEXT, id TEXT, seq INTEGER, body TEXT, PRIMARY KEY (kind, id));"
                "CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, value INTEGER);"
            )
            self._kinds: dict[str, dict[str, str]] = {}
            for kind, ident, body in self._db.execute("SELECT kind, id, body FROM object ORDER BY kind, seq"):
                self._kinds.setdefault(kind, {})[ident] = body

    def keep(self, kind: str, ident: str, value: Json) -> None:
        """Insert or replace one object."""
        body = write_json(value)
        with self._lock:
            self._db.execute(
                "INSERT INTO object VALUES (?, ?, (SELECT coalesce(max(seq), 0) + 1 FROM object), ?)"
                " ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body",
                (kind, ident, body),
            )
            self._kinds.setdefault(kind, {})[ident] = body

    def get(self, kind: str, ident: str) -> Json | None:
        body = self._kinds.get(kind, {}).get(ident)
        return None if body is None else read_json(body)

    def all(self, kind: str) -> list[Json]:
        with self._lock:
            bodies = list(self._kinds.get(kind, {}).values())
        return [read_json(body) for body in bodies]

    def where(self, kind: str, **equal: Any) -> list[Json]:
        """Objects whose named top-level fields equal the given values."""
        return [item for item in self.all(kind) if all(item.get(name) == value for name, value in equal.items())]

    def drop(self, kind: str, ident: str) -> None:
        with self._lock:
            self._db.execute("DELETE FROM object WHERE kind = ? AND id = ?", (kind, ident))
            self._kinds.get(kind, {}).pop(ident, None)

    def next(self, name: str) -> int:
        """1, 2, 3, ... per name; never repeats, also over restarts."""
        with self._lock:
            row = self._db.execute(
                "INSERT INTO counter VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value",
                (name,),
            ).fetchone()
            return int(row[0])

    @property
    def revision(self) -> int:
        """Grows with every change."""
        return self._db.total_changes

    def counts(self) -> dict[str, int]:
        with self._lock:
            return {kind: len(items) for kind, items in sorted(self._kinds.items()) if items}

    def snapshot(self) -> Mapping[str, Mapping[str, str]]:
        """Everything that is held, for ``restore``."""
        with self._lock:
            return {kind: dict(items) for kind, items in self._kinds.items()}

    def restore(self, held: Mapping[str, Mapping[str, str]]) -> None:
        """Makes it hold exactly that again; counters go on, and ``restored`` tells whoever keeps an index."""
        rows = [(kind, ident, body) for kind, items in held.items() for ident, body in items.items()]
        with self._lock:
            self._db.execute("DELETE FROM object")
            self._db.executemany(
                "INSERT INTO object VALUES (?, ?, ?, ?)",
                [(kind, ident, number, body) for number, (kind, ident, body) in enumerate(rows, 1)],
            )
            self._kinds = {kind: dict(items) for kind, items in held.items()}
            self.restored += 1

    def clear(self) -> None:
        with self._lock:
            self._db.executescript("DELETE FROM object; DELETE FROM counter;")
            self._kinds.clear()

    def close(self) -> None:
        with self._lock:
            self._db.close()


@dataclass
class Fault:
    """A planted misbehaviour, for requests whose ``"METHOD /path"`` (and body, when given) match the patterns.

    ``kind``:
      ``rate_limit``  the vendor's 429 (or its own form) with Retry-After ``seconds``
      ``error``       the vendor's answer with ``status``, before anything is done
      ``error_after`` the same, after the request was carried out
      ``latency``     wait ``seconds``, then carry on
      ``reset``       cut the connection before anything is done
      ``lose_reply``  carry the request out, then cut the connection without an answer
      ``garbage``     carry the request out, then answer 200 with a body that cannot be parsed
      ``webhook_duplicate``, ``webhook_late``, ``webhook_drop``, ``webhook_reorder``  ``match`` is the event's kind
    It lets ``skip`` matching requests pass, then fires ``times`` times (0: for ever).
    """

    kind: str
    match: str = ".*"
    body: str = ""
    status: int = 503
    seconds: float = 1.0
    skip: int = 0
    times: int = 1
    fired: int = 0

    def takes(self, line: str, body: str) -> bool:
        if self.times and self.fired >= self.times:
            return False
        if not re.search(self.match, line) or (self.body and not re.search(self.body, body)):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.fired += 1
        return True


FaultAnswer = Callable[[Fault], Response]


def plain_fault_answer(fault: Fault) -> Response:
    if fault.kind == "rate_limit":
        return Response("too many requests", 429, {"Retry-After": format(fault.seconds, "g")})
    return Response("planted fault", fault.status)


@dataclass
class Webhooks:
    """Sends events to one receiver, at least once and in no promised order, with a growing pause between tries."""

    sign: Callable[[Json, bytes, str], dict[str, str]]
    """Headers for (event, body, secret): the vendor's way to prove who sent it."""
    faults: list[Fault]
    delivered: Callable[[bytes], bool] = lambda _body: True
    """Whether the receiver's answer (status 2xx) also says yes in its body, where the vendor looks there."""
    url: str = ""
    secret: str = ""
    carry: Callable[[str, Json, bytes, str], None] | None = None
    """Takes (kind, event, body, content type) in place of the sockets, for whoever owns time and the wire."""
    sent: Counter[str] = field(default_factory=Counter)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _loop: asyncio.AbstractEventLoop | None = None
    _held: list[tuple[Json, bytes, str]] = field(default_factory=list)

    def send(self, kind: str, event: Json, body: bytes, content_type: str = "application/json") -> None:
        """Queue one event. Callable from any thread; does nothing while no receiver is registered."""
        if self.carry:
            self.carry(kind, event, body, content_type)
        elif self.url and self._loop:
            self._loop.call_soon_threadsafe(self._start, kind, event, body, content_type)

    def _start(self, kind: str, event: Json, body: bytes, content_type: str) -> None:
        planted = {f.kind: f for f in self.faults if f.kind.startswith("webhook_") and f.takes(kind, "")}
        if "webhook_drop" in planted:
            return
        if "webhook_reorder" in planted:
            self._held.append((event, body, content_type))
            return
        batch = [(event, body, content_type), *self._held]
        self._held.clear()
        pause = planted["webhook_late"].seconds if "webhook_late" in planted else 0.0
        for item in batch * (2 if "webhook_duplicate" in planted else 1):
            task = asyncio.get_running_loop().create_task(self._deliver(kind, *item, pause))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _deliver(self, kind: str, event: Json, body: bytes, content_type: str, pause: float) -> None:
        async with httpx.AsyncClient(timeout=10) as client:
            for wait in (pause, 0.5, 2, 5, 15, 60, 300):
                await asyncio.sleep(wait)
                try:
                    headers = {"Content-Type": content_type, **self.sign(event, body, self.secret)}
                    answer = await client.post(self.url, content=body, headers=headers)
                except httpx.HTTPError:
                    continue
                if answer.is_success and self.delivered(answer.content):
                    self.sent[kind] += 1
                    return

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()


class Emulator:
    """One vendor: its routes, its shelf, its faults, its webhooks, as an ASGI application.

    ``fault_answer`` gives the vendor's own body for ``rate_limit``, ``error`` and ``error_after``.
    """

    def __init__(
        self,
        name: str,
        routes: Sequence[BaseRoute],
        shelf: Shelf,
        *,
        sign: Callable[[Json, bytes, str], dict[str, str]] = lambda _event, _body, _secret: {},
        delivered: Callable[[bytes], bool] = lambda _body: True,
        fault_answer: FaultAnswer = plain_fault_answer,
    ) -> None:
        self.name, self.shelf, self.fault_answer = name, shelf, fault_answer
        self.faults: list[Fault] = []
        self.webhooks = Webhooks(sign, self.faults, delivered)
        kept = shelf.get("_sandbox", "webhooks") or {}
        self.webhooks.url, self.webhooks.secret = kept.get("url", ""), kept.get("secret", "")
        control = [
            Route("/_sandbox/objects", self._objects),
            Route("/_sandbox/objects/{kind:path}", self._objects),
            Route("/_sandbox/faults", self._faults, methods=["GET", "POST", "DELETE"]),
            Route("/_sandbox/webhooks", self._webhooks, methods=["GET", "POST"]),
            Route("/_sandbox/reset", self._reset, methods=["POST"]),
        ]

        @asynccontextmanager
        async def lifespan(_app: Starlette) -> Any:
            self.webhooks._loop = asyncio.get_running_loop()
            yield
            self.webhooks.stop()

        self._app = Starlette(routes=[*control, *routes], lifespan=lifespan)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/_sandbox"):
            return await self._app(scope, receive, send)
        body, receive = await _buffered(receive)
        line = f"{scope['method']} {scope['path']}" + (
            f"?{scope['query_string'].decode()}" if scope["query_string"] else ""
        )
        fault = next(
            (
                f
                for f in self.faults
                if not f.kind.startswith("webhook_") and f.takes(line, body.decode(errors="replace"))
            ),
            None,
        )
        match fault.kind if fault else "":
            case "latency":
                assert fault is not None
                await asyncio.sleep(fault.seconds)
            case "reset":
                return _cut(send)
            case "rate_limit" | "error":
                assert fault is not None
                return await self.fault_answer(fault)(scope, receive, send)
            case "lose_reply" | "error_after" | "garbage" as kind:
                assert fault is not None
                await self._app(scope, receive, _nowhere)
                if kind == "lose_reply":
                    return _cut(send)
                answer = self.fault_answer(fault) if kind == "error_after" else Response(b'{"trunc', 200)
                return await answer(scope, receive, send)
        return await self._app(scope, receive, send)

    async def _objects(self, request: Request) -> Response:
        kind = request.path_params.get("kind")
        return ExactJSONResponse(
            self.shelf.all(kind) if kind else {k: n for k, n in self.shelf.counts().items() if not k.startswith("_")}
        )

    async def _faults(self, request: Request) -> Response:
        if request.method == "DELETE":
            self.faults.clear()
        elif request.method == "POST":
            wanted = read_json(await request.body())
            try:
                self.faults.extend(
                    Fault(**{**item, "seconds": float(item.get("seconds", 1))})
                    for item in (wanted if isinstance(wanted, list) else [wanted])
                )
            except TypeError as error:
                return JSONResponse({"error": str(error)}, 400)
        return JSONResponse([asdict(fault) for fault in self.faults])

    async def _webhooks(self, request: Request) -> Response:
        if request.method == "POST":
            wanted = read_json(await request.body())
            self.webhooks.url, self.webhooks.secret = wanted["url"], wanted.get("secret", "")
            self.shelf.keep("_sandbox", "webhooks", {"url": self.webhooks.url, "secret": self.webhooks.secret})
        return JSONResponse({"url": self.webhooks.url, "sent": dict(self.webhooks.sent)})

    async def _reset(self, _request: Request) -> Response:
        self.webhooks.stop()
        self.faults.clear()
        self.shelf.clear()
        return JSONResponse({})


async def _buffered(receive: Receive) -> tuple[bytes, Receive]:
    """The whole body, and a receive that gives it again."""
    chunks: list[bytes] = []
    more = True
    while more:
        message = await receive()
        chunks.append(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"".join(chunks)
    given = False

    async def again() -> MutableMapping[str, Any]:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return body, again


async def _nowhere(_message: MutableMapping[str, Any]) -> None:
    return


def _cut(send: Send) -> None:
    """Close the socket under uvicorn without an answer; its response cycle owns ``send``."""
    cycle = getattr(send, "__self__", None)
    transport = getattr(cycle, "transport", None)
    if transport is None:
        raise ConnectionResetError("planted fault: connection cut")
    cycle.disconnected = True  # type: ignore[union-attr]
    transport.abort()
