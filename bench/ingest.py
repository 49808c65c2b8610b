"""What the webhook receiver costs beside a bare one: ``uv run python -m bench.ingest [--database URL] [--events N]``.

Both verify the same signatures, store the same rows in group commits with full sync, and answer only then. The bare one
is a few lines of ASGI and the driver's own statements, with no checks. They run in turns, each in a process of its own,
under the same senders; the figures are acknowledged events per second and the 99th percentile of the answer time.
Goals: at least 0.6 of the bare receiver's rate, p99 within 2x.
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import json
import multiprocessing
import queue
import socket
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
import uvicorn

from app.webhooks import GROUP, receiver
from connectors import stripe_gateway
from core.store import Database
from flows.context import Hub
from flows.settings import Settings

SECRET = "whsec_bench"
SENDERS, ROUNDS, WARM = 32, 5, 200
COLUMNS = "system, event_id, resource, vendor_id, kind, version, occurred_at, received_at, state, attempts, body"


def requests(run: str, number: int) -> Iterator[bytes]:
    """Signed events as they stand on the wire."""
    stamp = int(time.time())
    for i in range(number):
        item = {"id": f"pi_{i}", "amount": 120_000 + i, "currency": "usd", "status": "succeeded", "padding": "x" * 1200}
        event = {"id": f"evt_{run}_{i}", "object": "event", "type": "payment_intent.succeeded", "created": stamp}
        body = json.dumps({**event, "livemode": False, "data": {"object": item}}).encode()
        mark = hmac.new(SECRET.encode(), f"{stamp}.".encode() + body, sha256).hexdigest()
        head = (
            f"POST /webhooks/stripe HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(body)}\r\n"
            f"Stripe-Signature: t={stamp},v1={mark}\r\nContent-Type: application/json\r\n\r\n"
        )
        yield head.encode() + body


def ours(database_url: str, folder: Path) -> Any:
    settings = stripe_gateway.Settings.model_validate(
        {"secret_key": "sk_test_bench", "webhook_secrets": [SECRET], "base_url": "http://127.0.0.1:1"}
    )
    return receiver(
        Hub(
            Settings(
                database_url=database_url,
                state_folder=folder,
                price_book=folder,
                mappings_folder=folder,
                systems={"stripe": settings},
            )
        )
    )


Row = tuple[Any, ...]


def bare(database_url: str, _folder: Path) -> Any:
    """The same work without a framework, a check or a second system."""
    waiting: queue.SimpleQueue[tuple[Row, asyncio.Future[None]]] = queue.SimpleQueue()
    loops: list[asyncio.AbstractEventLoop] = []

    def write() -> None:
        store = _driver(database_url)
        while True:
            group = [waiting.get()]
            while len(group) < GROUP and not waiting.empty():
                group.append(waiting.get())
            store([row for row, _ in group])
            loops[0].call_soon_threadsafe(lambda done: [one.set_result(None) for _, one in done], group)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if not loops:
            loops.append(asyncio.get_running_loop())
            threading.Thread(target=write, daemon=True).start()
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = dict(scope["headers"])
        stamp, _, mark = headers[b"stripe-signature"].decode()[2:].partition(",v1=")
        ours = hmac.new(SECRET.encode(), f"{stamp}.".encode() + body, sha256).hexdigest()
        status = 401
        if hmac.compare_digest(ours, mark):
            event = json.loads(body)
            at, now = datetime.fromtimestamp(event["created"], UTC), datetime.now(UTC)
            stored = loops[0].create_future()
            vendor_id = event["data"]["object"]["id"]
            row = ("stripe", event["id"], "payment", vendor_id, event["type"], stamp, at, now, "received", 0, body)
            waiting.put((row, stored))
            await stored
            status = 200
        answer = [(b"content-type", b"application/json"), (b"content-length", b"12")]
        await send({"type": "http.response.start", "status": status, "headers": answer})
        await send({"type": "http.response.body", "body": b'{"events":1}'})

    return app


def _driver(database_url: str) -> Callable[[list[Row]], None]:
    """Stores rows by the driver's own means, one transaction a call."""
    if database_url.startswith("sqlite"):
        lite = sqlite3.connect(database_url.removeprefix("sqlite:///"), isolation_level=None)
        lite.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=60000")
        insert = f"INSERT INTO inbox ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING"  # noqa: S608

        def store_lite(rows: list[Row]) -> None:
            lite.execute("BEGIN IMMEDIATE")
            lite.executemany(insert, [(*row[:6], str(row[6])[:19], str(row[7])[:26], *row[8:]) for row in rows])
            lite.execute("COMMIT")

        return store_lite
    postgres = psycopg.connect(database_url.replace("+psycopg", ""))
    insert = f"INSERT INTO inbox ({COLUMNS}) VALUES ({','.join(['%s'] * 11)}) ON CONFLICT DO NOTHING"  # noqa: S608

    def store(rows: list[Row]) -> None:
        with postgres.transaction(), postgres.cursor() as cursor:
            cursor.executemany(insert, rows)

    return store


def serve(make: Callable[[str, Path], Any], database_url: str, folder: Path, port: int) -> None:
    uvicorn.run(make(database_url, folder), port=port, log_level="warning", access_log=False)


@contextmanager
def serving(make: Callable[[str, Path], Any], database_url: str, folder: Path) -> Iterator[int]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    child = multiprocessing.get_context("spawn").Process(target=serve, args=(make, database_url, folder, port))
    child.start()
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.05)
    try:
        yield port
    finally:
        child.kill()
        child.join()


async def send(port: int, wire: list[bytes]) -> tuple[float, float]:
    """Acknowledged events per second and p99 in milliseconds, over SENDERS connections."""
    left, times = iter(wire), []

    async def sender() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for request in left:
            start = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
            assert b" 200 " in head[:15], head
            times.append(time.perf_counter() - start)
        writer.close()

    start = time.perf_counter()
    await asyncio.gather(*(sender() for _ in range(SENDERS)))
    return len(wire) / (time.perf_counter() - start), statistics.quantiles(times, n=100)[98] * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--database", help="SQLAlchemy address; default: a new SQLite file")
    parser.add_argument("--events", type=int, default=5000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = given.database or f"sqlite:///{folder}/bench.db"
        database = Database(url)
        database.migrate()
        figures: dict[str, list[tuple[float, float]]] = {"bare": [], "tieout": []}
        for turn in range(ROUNDS):
            for name, make in (("bare", bare), ("tieout", ours)):
                with serving(make, url, Path(folder)) as port:
                    asyncio.run(send(port, list(requests(f"{name}_warm_{turn}", WARM))))
                    figures[name].append(asyncio.run(send(port, list(requests(f"{name}_{turn}", given.events)))))
        with database.reading() as work:
            stored = sum(work.inbox.counts().values())
        database.close()
    sent = 2 * ROUNDS * (given.events + WARM)
    print(f"{url.partition(':')[0]}, {SENDERS} senders, {stored} of {sent} acknowledged events stored")
    for name, runs in figures.items():
        rate, tail = (statistics.median(values) for values in zip(*runs, strict=True))
        print(f"{name:<8}{rate:>9,.0f} events/s   p99 {tail:6.1f} ms")
    pairs = list(zip(figures["tieout"], figures["bare"], strict=True))
    rate, tail = (statistics.median(ours[i] / bare[i] for ours, bare in pairs) for i in (0, 1))
    print(f"ratio   {rate:9.2f} of the rate, p99 {tail:.2f}x (medians of {ROUNDS} turns)")


if __name__ == "__main__":
    main()
