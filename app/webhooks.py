"""The webhook receiver: verifies, stores, and only then acknowledges.

``POST /webhooks/{system}`` answers

===  ====================================================================================================
200  the events are stored, or were before (a duplicate is no error), or are of a kind nobody listens to
400  genuine, but not of the agreed form, or cut off
401  forged, stale, or signed with another secret; no body, as Xero's probe demands (webhooks overview, read 2026-11)
404  no such system is in use
408  the body did not come in time
413  the body is larger than ``LIMIT``
503  nothing is promised: the database, or the configuration of the system, is not in order; send it again
===  ====================================================================================================

``GET /healthz`` tells the counts. Nothing here calls a vendor, so events are taken in while credentials are broken.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import queue
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain, repeat

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from core.audit import Act, Deed, id_digest
from core.errors import Misconfigured, Rejected
from core.ports import Acknowledges, Connector, WebhookEvent, WebhookRequest
from core.store import StoreFailed
from core.sync import InboxEvent
from flows.context import Hub

LOG = logging.getLogger("tieout.webhooks")

#: Largest body (bytes).
LIMIT = 1 << 20
#: Seconds that a request may take, from its head to its answer. Vendors wait longer than this before they come again.
WITHIN = 10.0
#: Most requests in one transaction, and most that may wait for theirs.
GROUP, QUEUE = 256, 2048

#: Seconds without a webhook after which the refusals since then are kept.
IDLE = 2.0

#: How the audit names the receiver.
WHO = "receiver"

#: Told, in the receiver's event loop, that events of a system were stored.
Notify = Callable[[str], None]


def no_notice(_system: str, /) -> None:
    return


class Refused(Exception):
    """The answer to a request that stores nothing. ``reason`` counts it."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


@dataclass(frozen=True, slots=True)
class Waiting:
    """What one request brought, and the promise of its commit."""

    system: str
    events: list[InboxEvent]
    body: bytes
    stored: asyncio.Future[None]

    def rows(self) -> Iterator[tuple[InboxEvent, bytes]]:
        """The events; the body is kept once, with the first of them."""
        return zip(self.events, chain([self.body], repeat(b"")), strict=False)


@dataclass
class GroupCommit:
    """One thread that stores what many requests bring, in as few transactions as they allow."""

    hub: Hub
    notify: Notify
    loop: asyncio.AbstractEventLoop
    _queue: queue.Queue[Waiting | None] = field(default_factory=lambda: queue.Queue(QUEUE))
    _refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    _counting: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, name="inbox-writer", daemon=True)
        self._thread.start()

    async def store(self, system: str, events: list[InboxEvent], body: bytes) -> None:
        """Returns when the events are committed. Refused (503) when they are not."""
        waiting = Waiting(system, events, body, self.loop.create_future())
        try:
            self._queue.put_nowait(waiting)
            await waiting.stored
        except (queue.Full, StoreFailed):
            raise Refused(503, "not stored") from None

    def refuse(self, system: str, reason: str) -> None:
        """Counts a request that stored nothing; ``system`` is empty when nobody knows it."""
        with self._counting:
            self._refused[system, reason] += 1

    def stop(self) -> None:
        """Stores what is waiting, and ends."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._next()) is not None:
            group = [first]
            while len(group) < GROUP and (more := self._at_once()) is not None:
                group.append(more)
            self._commit(group)
        self.keep_counts()

    def _next(self) -> Waiting | None:
        """The next that waits; None at the end. Refusals are kept meanwhile."""
        while True:
            try:
                return self._queue.get(timeout=IDLE)
            except queue.Empty:
                self.keep_counts()

    def keep_counts(self) -> None:
        """Adds the refusals since the last time to those in the database; when it does not answer, the next time."""
        with self._counting:
            counts, self._refused = self._refused, Counter()
        if not counts:
            return
        now = self.hub.now()
        try:
            with self.hub.database.work() as work:
                for (system, reason), number in counts.items():
                    work.inbox.count_refused(system, reason, number, now)
                    told = {"reason": reason, "requests": number}
                    work.audit.tell(Deed(now, WHO, Act.REFUSED, system, detail=told))
        except StoreFailed:
            with self._counting:
                self._refused += counts

    def _at_once(self) -> Waiting | None:
        """What waits already; None when nothing does, or the end."""
        try:
            waiting = self._queue.get_nowait()
        except queue.Empty:
            return None
        if waiting is None:
            self._queue.put(None)
        return waiting

    def _commit(self, group: list[Waiting]) -> None:
        error: StoreFailed | None = None
        try:
            with self.hub.database.work() as work:
                work.inbox.store_many([row for waiting in group for row in waiting.rows()])
                for deed in self._deeds(group):
                    work.audit.tell(deed)
                self.hub.world.faults("inbox.before_commit")
        except StoreFailed as failure:
            error = failure
        self.hub.world.faults("inbox.committed")
        self.loop.call_soon_threadsafe(self._tell, group, error)

    def _deeds(self, group: list[Waiting]) -> Iterator[Deed]:
        """One for each system: how many events it brought, and the digest of their ids."""
        by_system: dict[str, list[str]] = {}
        for waiting in group:
            by_system.setdefault(waiting.system, []).extend(event.event_id for event in waiting.events)
        for system, ids in by_system.items():
            yield Deed(self.hub.now(), WHO, Act.RECEIVED, system, detail={"events": len(ids), "ids": id_digest(ids)})

    def _tell(self, group: list[Waiting], error: StoreFailed | None) -> None:
        for waiting in group:
            if waiting.stored.done():
                continue
            if error is None:
                waiting.stored.set_result(None)
            else:
                waiting.stored.set_exception(error)
        if error is None:
            for system in {waiting.system for waiting in group}:
                self.notify(system)


@dataclass(frozen=True, slots=True)
class Sender:
    """A system that sends events: who verifies them, and how its vendor wants them answered (None: any 200)."""

    connector: Connector
    acknowledge: Callable[[Sequence[WebhookEvent]], tuple[bytes, str]] | None


class Receiver:
    """The handlers, and what they have counted since the start."""

    def __init__(self, hub: Hub, notify: Notify) -> None:
        self._hub, self._notify = hub, notify
        self._senders: dict[str, Sender] = {}
        self.counts: Counter[str] = Counter()

    @asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        for system in self._hub.systems:
            with suppress(Refused):  # it is asked for again when it sends something
                self._sender(system)
        gc.freeze()  # a collection that walks through every loaded module holds answers up for a tenth of a second
        self._writer = GroupCommit(self._hub, self._notify, asyncio.get_running_loop())
        yield
        await run_in_threadpool(self._writer.stop)

    async def receive(self, request: Request) -> Response:
        try:
            answer = await self._answer(request)
        except Refused as refusal:
            self.counts[refusal.reason] += 1
            system = request.path_params["system"]
            self._writer.refuse(system if system in self._hub.systems else "", refusal.reason)
            LOG.info("refused a webhook: %s", refusal.reason)
            # A body that was not read to its end leaves nothing to be read after it.
            headers = {"Connection": "close"} if refusal.status in (408, 413) else None
            if refusal.status == 401:
                return Response(status_code=401)
            return JSONResponse({"error": refusal.reason}, refusal.status, headers)
        self.counts["accepted"] += 1
        return answer

    async def _answer(self, request: Request) -> Response:
        system = request.path_params["system"]
        sender = self._sender(system)
        late = 408, "slow"
        try:
            async with asyncio.timeout(WITHIN):
                body = await _body(request)
                late = 503, "not stored"
                events = self._verified(sender.connector, request, body)
                if events:
                    await self._writer.store(system, [_stored_form(system, event, self._hub) for event in events], body)
        except TimeoutError:
            raise Refused(*late) from None
        if sender.acknowledge is None:
            return JSONResponse({"events": len(events)})
        answer, media_type = sender.acknowledge(events)
        return Response(answer, media_type=media_type)

    async def health(self, _request: Request) -> Response:
        try:
            inbox = await run_in_threadpool(self._inbox_counts)
        except StoreFailed:
            return JSONResponse({"status": "the database does not answer", "requests": self.counts}, 503)
        return JSONResponse({"status": "ok", "requests": self.counts, "inbox": inbox})

    def _inbox_counts(self) -> dict[str, int]:
        with self._hub.database.reading() as work:
            return work.inbox.counts()

    def _sender(self, system: str) -> Sender:
        if system not in self._senders:
            if system not in self._hub.systems:
                raise Refused(404, "unknown system")
            try:
                connector = self._hub.connector(system)
            except Misconfigured:
                raise Refused(503, "misconfigured") from None
            acknowledge = connector.acknowledge if isinstance(connector, Acknowledges) else None
            self._senders[system] = Sender(connector, acknowledge)
        return self._senders[system]

    def _verified(self, connector: Connector, request: Request, body: bytes) -> list[WebhookEvent]:
        headers, query = dict(request.headers.items()), dict(request.query_params.items())
        given = WebhookRequest(body, headers, query, self._hub.now())
        try:
            return connector.events(given)
        except Rejected as error:
            raise (Refused(400, "malformed") if error.code == "malformed" else Refused(401, "forged")) from None
        except Misconfigured:
            raise Refused(503, "misconfigured") from None


async def _body(request: Request) -> bytes:
    """The raw body, read no further than ``LIMIT``, whatever its Content-Length says."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > LIMIT:
                raise Refused(413, "oversized")
    except ClientDisconnect:
        raise Refused(400, "cut off") from None
    return bytes(body)


def _stored_form(system: str, event: WebhookEvent, hub: Hub) -> InboxEvent:
    """What the inbox keeps. Refused (400) when no database could keep it."""
    try:
        kept = InboxEvent(
            system=system,
            event_id=event.event_id,
            resource=event.resource,
            vendor_id=event.vendor_id,
            kind=event.kind,
            version=event.version,
            occurred_at=event.occurred_at,
            received_at=hub.now(),
        )
        text = "".join((event.event_id, event.vendor_id, event.kind, event.version or "")).encode()
    except (ValidationError, UnicodeEncodeError):
        raise Refused(400, "malformed") from None
    if b"\0" in text:
        raise Refused(400, "malformed")
    return kept


def receiver(hub: Hub, notify: Notify = no_notice) -> Starlette:
    """The ASGI application. ``notify(system)`` is called after each commit that holds events of that system."""
    handlers = Receiver(hub, notify)
    return Starlette(
        routes=[
            Route("/webhooks/{system}", handlers.receive, methods=["POST"]),
            Route("/healthz", handlers.health, methods=["GET"]),
        ],
        lifespan=handlers.lifespan,
    )
