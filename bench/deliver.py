"""What a delivered record costs beside a bare crash-safe loop: ``uv run python -m bench.deliver [--records N]``.

Both write the same bodies, one request each, to the same server in another process, and keep what the server answered.
The bare loop posts by httpx and commits (key, vendor id) per record with full sync. Ours goes the whole way: intent,
lease, mapping, wire, proof, audit. The figures are CPU time of the client's process, taken in turns. Goal: 3x, aim
1.8x. The share of the audit is the time spent in sealing its rows.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import socket
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from connectors.wire import BaseConnector, Wire, exact_json
from core.accounts import Account, Address
from core.ports import ExternalKey, Guard, Payload, Receipt, Resource, World
from core.store.audit import Audit
from core.sync import OutboxCommand
from flows.context import Hub
from flows.deliver import Delivery
from flows.settings import Settings

ROOT = Path(__file__).parents[1]
SYSTEM = "stripe"
ROUNDS, PAGE = 3, 200


async def vendor(scope: Any, receive: Any, send: Any) -> None:
    """Keeps nothing and answers every write with an id."""
    if scope["type"] != "http":
        return
    more = True
    while more:
        more = (await receive()).get("more_body", False)
    key = scope["path"].rpartition("/")[2]
    body = json.dumps({"id": f"V-{key}", "object": "account"}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def serve(port: int) -> None:
    uvicorn.run(vendor, port=port, log_level="warning", access_log=False, lifespan="off")


@contextmanager
def serving() -> Iterator[str]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    child = multiprocessing.get_context("spawn").Process(target=serve, args=(port,))
    child.start()
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        child.kill()
        child.join()


class Vendor(BaseConnector):
    """The smallest connector: an upsert under our key."""

    system = SYSTEM
    resources: Mapping[str, Resource] = {"account": Resource("accounts", "id", "key", Guard.EXTERNAL_ID)}

    def __init__(self, url: str) -> None:
        self._wire = Wire(SYSTEM, url, World())

    def upsert(self, resource: str, payload: Payload, key: ExternalKey) -> Receipt:
        answer = exact_json(self._wire.write("POST", f"/accounts/{key.value}", json=payload))
        return Receipt(SYSTEM, resource, answer["id"], key, True, answer)


@contextmanager
def timed(kind: type, name: str, spent: list[float]) -> Iterator[None]:
    """Adds the CPU seconds of each call of a method to ``spent``."""
    method = getattr(kind, name)

    def timing(*given: Any) -> Any:
        start = time.process_time()
        try:
            return method(*given)
        finally:
            spent.append(time.process_time() - start)

    setattr(kind, name, timing)
    try:
        yield
    finally:
        setattr(kind, name, method)


def no_refs(_system: str, _resource: str, _key: str) -> str | None:
    return None


def accounts(run: int, number: int) -> list[Account]:
    home = Address(line1="500 Congress Ave", city="Austin", region="TX", postal_code="78701", country="US")
    return [
        Account(
            id=f"A-{run}-{i}",
            name=f"Customer {i}",
            email=f"billing{i}@customer.example",
            currency="USD",
            billing_address=home,
            source_id=f"001{i:015d}",
        )
        for i in range(number)
    ]


def tieout(hub: Hub, nouns: list[Account]) -> None:
    for start in range(0, len(nouns), PAGE):
        with hub.database.work() as work:
            now = datetime.now(UTC)
            work.outbox.enqueue(
                OutboxCommand.of(SYSTEM, "account", "account", noun, now) for noun in nouns[start : start + PAGE]
            )
        delivery = Delivery(hub, SYSTEM)
        delivery.run()
        assert (len(delivery.done), delivery.failures) == (len(nouns[start : start + PAGE]), [])


def bare(url: str, folder: Path, bodies: list[tuple[str, bytes]]) -> None:
    database = sqlite3.connect(folder / "bare.db", isolation_level=None)
    database.executescript(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
        "CREATE TABLE IF NOT EXISTS done (key TEXT PRIMARY KEY, vendor_id TEXT, body BLOB)"
    )
    with httpx.Client(base_url=url) as client:
        for key, body in bodies:
            answer = client.post(f"/accounts/{key}", content=body, headers={"Content-Type": "application/json"})
            answer.raise_for_status()
            database.execute("INSERT INTO done VALUES (?, ?, ?)", (key, answer.json()["id"], body))
    database.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--database", help="SQLAlchemy address; default: a new SQLite file")
    parser.add_argument("--records", type=int, default=1000)
    given = parser.parse_args()
    figures: dict[str, list[float]] = {"bare": [], "tieout": []}
    sealing: list[float] = []
    with tempfile.TemporaryDirectory() as name, serving() as url:
        folder = Path(name)
        settings = Settings(
            database_url=given.database or f"sqlite:///{folder}/bench.db",
            state_folder=folder,
            price_book=folder,
            mappings_folder=ROOT / "mappings",
            systems={SYSTEM: Settings.model_construct()},
        )
        hub = Hub(settings)
        hub._connectors[SYSTEM] = Vendor(url)
        mapping = hub.mappings.find(SYSTEM, "account", "out", "account")
        tieout(hub, accounts(-1, PAGE))
        for turn in range(ROUNDS):
            nouns = accounts(turn, given.records)
            bodies = [(noun.id, json.dumps(mapping.out(noun, no_refs)).encode()) for noun in nouns]
            sides = {"bare": partial(bare, url, folder, bodies), "tieout": partial(tieout, hub, nouns)}
            for side, run in sides.items():
                start = time.process_time()
                run()
                figures[side].append((time.process_time() - start) / given.records * 1e6)
        with timed(Audit, "seal", sealing):
            start = time.process_time()
            tieout(hub, accounts(ROUNDS, given.records))
            whole = time.process_time() - start
        hub.close()
    for side, runs in figures.items():
        print(f"{side:<8}{statistics.median(runs):>8,.0f} us of CPU a record")
    ratio = statistics.median(ours / other for ours, other in zip(figures["tieout"], figures["bare"], strict=True))
    print(f"ratio   {ratio:8.2f}x (median of {ROUNDS} turns of {given.records} records)")
    print(f"audit   {sum(sealing) / whole:8.1%} of ours")


if __name__ == "__main__":
    main()
