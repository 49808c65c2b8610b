"""A webhook is verified, stored, and only then acknowledged; whatever else it is gets its own answer and no row."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from hashlib import sha256
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from sqlalchemy import create_engine, text
from starlette.testclient import TestClient

from app import webhooks
from app.webhooks import LIMIT, receiver
from core.ports import WebhookRequest, World, crash_at
from core.store import Database, StoreFailed
from flows.context import Hub
from sandbox.stripe_gateway import SECRET_KEY, WEBHOOK_SECRET
from tests.connectors import contract_netsuite, contract_salesforce, contract_stripe_gateway
from tests.connectors.contract_salesforce import OPPORTUNITY_ID, message
from tests.connectors.contract_stripe_gateway import event, signed
from tests.flows.hubs import ManualTime, hub_with

#: Nothing listens here: verifying a webhook needs no call to its vendor.
AWAY = "http://127.0.0.1:1"


def make_hub(database_url: str, folder: Path, world: World) -> Hub:
    systems = {
        "stripe": contract_stripe_gateway.settings(AWAY),
        "salesforce": contract_salesforce.settings(AWAY),
        "netsuite": contract_netsuite.settings(AWAY),
    }
    return hub_with(database_url, folder, systems, world)


class Stage:
    """A receiver with a clock of its own, and what it told of stored events."""

    def __init__(self, database_url: str, folder: Path) -> None:
        self.time = ManualTime()
        self.hub = make_hub(database_url, folder, World(clock=self.time.clock))
        self.noticed: list[str] = []
        self.app = receiver(self.hub, self.noticed.append)

    def post(self, request: WebhookRequest, system: str = "stripe", **changes: Any) -> httpx.Response:
        sent = {"content": request.body, "headers": dict(request.headers), "params": dict(request.query), **changes}
        return self.client.post(f"/webhooks/{system}", **sent)

    def signed(self, ident: str = "evt_1", **item: Any) -> WebhookRequest:
        return signed({**event(**item), "id": ident}, at=self.time.now)

    def rows(self) -> list[tuple[str, str, str, bytes]]:
        engine = create_engine(self.hub.settings.database_url)
        with engine.connect() as connection:
            found = connection.execute(text("SELECT system, event_id, vendor_id, body FROM inbox ORDER BY event_id"))
            rows = [(row.system, row.event_id, row.vendor_id, bytes(row.body)) for row in found]
        engine.dispose()
        return rows


@pytest.fixture
def stage(database_url: str, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(database_url, tmp_path)
    with TestClient(stage.app) as stage.client:
        yield stage
    stage.hub.close()


def test_a_genuine_event_is_stored_with_its_raw_body_and_told_on(stage: Stage) -> None:
    request = stage.signed()
    answer = stage.post(request)
    assert (answer.status_code, answer.json()) == (200, {"events": 1})
    assert stage.rows() == [("stripe", "evt_1", "pi_1", request.body)]
    assert stage.noticed == ["stripe"]


def test_a_duplicate_is_acknowledged_and_changes_nothing(stage: Stage) -> None:
    assert [stage.post(stage.signed()).status_code for _ in range(3)] == [200, 200, 200]
    assert len(stage.rows()) == 1


def test_an_event_of_a_kind_nobody_listens_to_is_acknowledged_without_a_row(stage: Stage) -> None:
    answer = stage.post(signed(event("invoice.created"), at=stage.time.now))
    assert (answer.status_code, stage.rows(), stage.noticed) == (200, [], [])


@pytest.mark.parametrize("place", [0, 20, -1])
def test_a_forged_body_is_refused_wherever_it_was_changed(stage: Stage, place: int) -> None:
    request = stage.signed()
    forged = bytearray(request.body)
    forged[place] ^= 1
    answer = stage.post(request, content=bytes(forged))
    assert (answer.status_code, answer.content, stage.rows()) == (401, b"", [])


@pytest.mark.parametrize("late", [timedelta(minutes=6), timedelta(days=365), timedelta(minutes=-6)])
def test_a_replayed_event_is_refused(stage: Stage, late: timedelta) -> None:
    request = stage.signed()
    stage.time.pass_by(late)
    assert (stage.post(request).status_code, stage.rows()) == (401, [])


def test_a_signature_of_one_system_opens_no_other(stage: Stage) -> None:
    assert stage.post(stage.signed(), "salesforce").status_code == 401
    assert stage.post(stage.signed(), "netsuite").status_code == 401
    assert stage.rows() == []


@pytest.mark.parametrize("system", ["avalara", "nobody", "../stripe"])
def test_a_system_that_is_not_in_use_has_no_route(stage: Stage, system: str) -> None:
    assert stage.post(stage.signed(), system).status_code == 404


@pytest.mark.parametrize(
    "wrong",
    [
        b"not json",
        b"[]",
        b'{"object": "event"}',
        b"\xff\xfe",
        json.dumps({**event(), "id": "evt\0"}).encode(),
        b"[" * 100_000,
        json.dumps({**event(), "created": float("nan")}).encode(),
    ],
    ids=["text", "list", "no fields", "not UTF-8", "NUL in the id", "nested", "NaN"],
)
def test_a_genuine_body_of_another_form_is_malformed(stage: Stage, wrong: bytes) -> None:
    request = _signed_bytes(wrong, stage)
    answer = stage.post(request)
    assert (answer.status_code, answer.json(), stage.rows()) == (400, {"error": "malformed"}, [])


def test_an_id_that_no_database_can_keep_is_malformed(stage: Stage) -> None:
    surrogate = json.dumps(event()).replace('"evt_1"', r'"evt_\ud800"').encode()
    too_long = json.dumps({**event(), "id": "e" * 256}).encode()
    assert [stage.post(_signed_bytes(body, stage)).status_code for body in (surrogate, too_long)] == [400, 400]
    assert stage.post(stage.signed()).status_code == 200


def _signed_bytes(body: bytes, stage: Stage) -> WebhookRequest:
    stamp = int(stage.time.now.timestamp())
    mark = hmac.new(WEBHOOK_SECRET.encode(), f"{stamp}.".encode() + body, sha256).hexdigest()
    return WebhookRequest(body, {"stripe-signature": f"t={stamp},v1={mark}"}, {}, stage.time.now)


def test_a_body_of_exactly_the_limit_is_taken_and_one_byte_more_is_not(stage: Stage) -> None:
    padded = json.dumps({**event(), "padding": ""}).encode()
    whole = padded.replace(b'"padding": ""', b'"padding": "' + b"x" * (LIMIT - len(padded)) + b'"')
    assert len(whole) == LIMIT
    assert stage.post(_signed_bytes(whole, stage)).status_code == 200
    answer = stage.post(_signed_bytes(whole + b" ", stage))
    assert (answer.status_code, len(stage.rows())) == (413, 1)


def test_a_salesforce_message_gets_the_answer_that_ends_its_retries(stage: Stage) -> None:
    answer = stage.post(message(), "salesforce")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/xml; charset=utf-8")
    assert "<Ack>true</Ack>" in answer.text.replace("ns:", "")
    assert [(system, vendor_id) for system, _, vendor_id, _ in stage.rows()] == [("salesforce", OPPORTUNITY_ID)]


def test_a_salesforce_message_with_another_token_is_refused(stage: Stage) -> None:
    assert (stage.post(message("guess"), "salesforce").status_code, stage.rows()) == (401, [])


def test_a_salesforce_message_of_another_form_is_told_from_a_forged_one(stage: Stage) -> None:
    answer = stage.post(message(), "salesforce", content=b"<x/>")
    assert (answer.status_code, answer.json(), stage.rows()) == (400, {"error": "malformed"}, [])


def test_a_message_of_many_events_keeps_its_body_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    connector = stage.hub.connector("salesforce")
    (one,) = connector.events(message())
    many = [type(one)(f"evt_{n}", one.resource, one.vendor_id, one.kind, one.occurred_at) for n in range(3)]
    monkeypatch.setattr(connector, "events", lambda _request: many)
    assert stage.post(message(), "salesforce").status_code == 200
    assert [(ident, len(body) > 0) for _, ident, _, body in stage.rows()] == [
        ("evt_0", True),
        ("evt_1", False),
        ("evt_2", False),
    ]


def test_a_system_without_its_webhook_secret_asks_the_sender_to_come_again(database_url: str, tmp_path: Path) -> None:
    settings = contract_salesforce.settings(AWAY, webhook_token=None)
    hub = hub_with(database_url, tmp_path, {"salesforce": settings})
    with TestClient(receiver(hub)) as client:
        answer = client.post("/webhooks/salesforce?token=x", content=message().body)
    assert (answer.status_code, answer.json()) == (503, {"error": "misconfigured"})
    hub.close()


def test_a_database_that_fails_promises_nothing_and_the_next_event_is_stored(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(Database, "work", _failing)
        broken.setattr(Database, "reading", _failing)
        assert stage.post(stage.signed()).status_code == 503
        health = stage.client.get("/healthz")
    assert (health.status_code, health.json()["status"]) == (503, "the database does not answer")
    assert (stage.rows(), stage.noticed) == ([], [])
    assert stage.post(stage.signed()).status_code == 200
    assert len(stage.rows()) == 1


@contextmanager
def _failing(_database: Database) -> Iterator[Any]:
    raise StoreFailed("disk full")
    yield


def test_a_commit_that_takes_too_long_is_not_acknowledged(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    """Whoever holds the database up lets go later; the sender comes again, and the event is there once."""
    monkeypatch.setattr(webhooks, "WITHIN", 0.2)
    engine = create_engine(database_url)
    with engine.connect() as connection:
        lock = "LOCK TABLE inbox" if engine.dialect.name == "postgresql" else "BEGIN IMMEDIATE"
        connection.exec_driver_sql(lock)
        assert stage.post(stage.signed()).status_code == 503
        connection.rollback()
    engine.dispose()
    monkeypatch.undo()
    assert stage.post(stage.signed()).status_code == 200
    assert len(stage.rows()) == 1


def test_health_tells_what_was_taken_and_what_was_refused(stage: Stage) -> None:
    stage.post(stage.signed())
    stage.post(stage.signed("evt_2"), content=b"forged")
    stage.post(stage.signed(), "nobody")
    health = stage.client.get("/healthz")
    assert health.json() == {
        "status": "ok",
        "requests": {"accepted": 1, "forged": 1, "unknown system": 1},
        "inbox": {"received": 1},
    }


def test_a_refusal_shows_no_secret_and_no_trace(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    answers = [
        stage.post(stage.signed(), content=b"canary-body"),
        stage.post(message("canary-token"), "salesforce"),
        stage.post(_signed_bytes(b"canary-json", stage)),
    ]
    told = caplog.text.replace("token=canary-token", "") + "".join(answer.text for answer in answers)
    logged = "".join(record.getMessage() for record in caplog.records if record.name.startswith("tieout"))
    for secret in ("canary", WEBHOOK_SECRET, SECRET_KEY, contract_salesforce.TOKEN):
        assert secret not in logged
        assert secret not in "".join(answer.text for answer in answers)
    assert "Traceback" not in told


# On a real socket


@contextmanager
def serving(app: Any) -> Iterator[str]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
        thread.start()
        while not server.started:
            thread.join(0.01)
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)


@pytest.mark.server
def test_a_burst_of_500_events_in_parallel_is_500_rows(database_url: str, tmp_path: Path) -> None:
    stage = Stage(database_url, tmp_path)

    async def burst(url: str) -> list[int]:
        async with httpx.AsyncClient(base_url=url, timeout=60, limits=httpx.Limits(max_connections=50)) as client:
            requests = [stage.signed(f"evt_{number:03d}") for number in range(500)]
            sent = [client.post("/webhooks/stripe", content=one.body, headers=one.headers) for one in requests]
            return [answer.status_code for answer in await asyncio.gather(*sent)]

    with serving(stage.app) as url:
        assert asyncio.run(burst(url)) == [200] * 500
    assert [ident for _, ident, _, _ in stage.rows()] == [f"evt_{number:03d}" for number in range(500)]
    stage.hub.close()


@pytest.mark.server
def test_an_endless_body_without_a_length_is_cut_off(tmp_path: Path) -> None:
    """64 MB are offered in chunks; the receiver answers and hangs up after little more than its limit."""
    stage = Stage(f"sqlite:///{tmp_path / 'tieout.db'}", tmp_path)
    with serving(stage.app) as url, socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as sender:
        sender.sendall(b"POST /webhooks/stripe HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        sent = 0
        try:
            while sent < 64 << 20:
                sender.sendall(chunk)
                sent += len(chunk)
        except OSError:
            pass
        assert sent < 32 << 20
        assert httpx.get(f"{url}/healthz").json()["requests"] == {"oversized": 1}
    stage.hub.close()


def serve_until_killed(database_url: str, folder: Path, crash: str, port: int, ready: Any) -> None:
    hub = make_hub(database_url, folder, World(faults=crash_at(crash)))
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))
        sock.listen(64)
        ready.set()
        uvicorn.Server(uvicorn.Config(receiver(hub), log_level="warning", lifespan="on")).run(sockets=[sock])


@pytest.mark.server
@pytest.mark.parametrize("point", ["inbox.before_commit:3", "inbox.committed:3"])
def test_a_receiver_that_is_killed_loses_nothing_that_it_acknowledged(
    point: str, database_url: str, tmp_path: Path, forks: ForkServerContext
) -> None:
    """The sender sends everything again after the restart, as vendors do: each event is there once."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    idents = [f"evt_{number:02d}" for number in range(40)]
    acknowledged: set[str] = set()

    def send(ident: str) -> None:
        request = signed({**event(), "id": ident}, at=World().clock())
        try:
            answer = sender.post("/webhooks/stripe", content=request.body, headers=dict(request.headers))
        except httpx.HTTPError:
            return
        if answer.status_code == 200:
            acknowledged.add(ident)

    stage = Stage(database_url, tmp_path)
    sender = httpx.Client(base_url=f"http://127.0.0.1:{port}")
    for crash in (point, ""):
        ready = forks.Event()
        child = forks.Process(target=serve_until_killed, args=(database_url, tmp_path, crash, port, ready))
        child.start()
        assert ready.wait(60)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(send, idents))
        stored = {ident for _, ident, _, _ in stage.rows()}
        assert acknowledged <= stored
        if crash:
            child.join(30)
            assert child.exitcode == -signal.SIGKILL
            assert len(acknowledged) < len(idents)
        else:
            child.terminate()
            child.join(30)
    assert acknowledged == set(idents)
    assert [ident for _, ident, _, _ in stage.rows()] == idents
    sender.close()
    stage.hub.close()
