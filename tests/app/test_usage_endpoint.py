"""``POST /usage/{source}``: a batch is a file before it is acknowledged, and nothing a source sends disappears."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.usage_endpoint import LIMIT, usage_routes
from flows.context import Hub
from flows.settings import Settings

BATCH = "application/cloudevents-batch+json"
EVENT = {
    "specversion": "1.0",
    "id": "e-1",
    "source": "/bridge",
    "type": "conference_minutes",
    "time": "2026-10-05T10:00:00Z",
    "data": {"account_id": "A-0001", "site_id": "A-0001-S1", "quantity": 12.345678, "dimensions": {"region": "na"}},
}


def hub_with(folder: Path, token: str | None) -> Hub:
    settings = Settings(
        database_url=f"sqlite:///{folder / 'x.db'}",
        state_folder=folder,
        price_book=folder,
        mappings_folder=folder,
        usage_token=None if token is None else SecretStr(token),
        systems={},
    )
    return Hub(settings)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(Starlette(routes=usage_routes(hub_with(tmp_path, "right")))) as client:
        client.headers["Authorization"] = "Bearer right"
        yield client


def post(client: TestClient, body: Any, media_type: str = BATCH) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post("/usage/bridge-us", content=content, headers={"Content-Type": media_type})


def files(folder: Path) -> list[Path]:
    return sorted((folder / "usage-in").glob("*"))


def test_a_batch_is_a_usage_file_with_exact_quantities(client: TestClient, tmp_path: Path) -> None:
    assert post(client, [EVENT]).status_code == 202
    (path,) = files(tmp_path)
    assert path.name.startswith("bridge-us.")
    assert json.loads(path.read_text()) == {
        "id": "e-1",
        "account_id": "A-0001",
        "site_id": "A-0001-S1",
        "meter": "conference_minutes",
        "quantity": "12.345678",
        "occurred_at": "2026-10-05T10:00:00Z",
        "dimensions": {"region": "na"},
    }


def test_the_same_batch_again_is_the_same_file(client: TestClient, tmp_path: Path) -> None:
    assert [post(client, [EVENT]).status_code for _ in range(2)] == [202, 200]
    assert len(files(tmp_path)) == 1


def test_an_event_that_cannot_be_used_stays_a_line_for_ingestion_to_reject(client: TestClient, tmp_path: Path) -> None:
    assert post(client, [EVENT, {"id": "e-2"}, "nonsense"]).json()["events"] == 3
    assert len(files(tmp_path)[0].read_text().splitlines()) == 3


def test_a_wrong_token_writes_nothing(client: TestClient, tmp_path: Path) -> None:
    client.headers["Authorization"] = "Bearer wrong"
    assert (post(client, [EVENT]).status_code, files(tmp_path)) == (401, [])


def test_without_a_configured_token_the_endpoint_is_closed(tmp_path: Path) -> None:
    with TestClient(Starlette(routes=usage_routes(hub_with(tmp_path, None)))) as client:
        client.headers["Authorization"] = "Bearer "
        assert post(client, [EVENT]).status_code == 404


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        (b"{", BATCH, 400),
        (b"[" * 100_000, BATCH, 400),
        ({"id": "x"}, BATCH, 400),
        ([EVENT], "text/plain", 415),
        (b" " * (LIMIT + 1), BATCH, 413),
    ],
    ids=["no JSON", "nested", "no list", "another type", "oversized"],
)
def test_what_is_no_batch_is_refused(
    client: TestClient, tmp_path: Path, body: Any, media_type: str, status: int
) -> None:
    assert (post(client, body, media_type).status_code, files(tmp_path)) == (status, [])


def test_a_source_cannot_leave_the_folder(client: TestClient) -> None:
    answer = client.post("/usage/..%2Fescaped", content=b"[]", headers={"Content-Type": BATCH})
    assert answer.status_code == 404
