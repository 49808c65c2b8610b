"""What the receiver leaves behind besides the events: counts of what it refused, and its deeds in the audit."""

from __future__ import annotations

import json
from pathlib import Path

from starlette.testclient import TestClient

from core.audit import id_digest
from core.store import StoreFailed
from tests.app.test_webhooks import Stage


def test_refused_requests_are_counted_in_the_database_and_told(database_url: str, tmp_path: Path) -> None:
    """Whatever systems an attacker makes up, they are one row."""
    stage = Stage(database_url, tmp_path)
    with TestClient(stage.app) as stage.client:
        for _ in range(3):
            assert stage.post(stage.signed(), content=b"{}").status_code == 401
        for name in ("sap", "oracle"):
            assert stage.post(stage.signed(), system=name).status_code == 404
    with stage.hub.database.reading() as work:
        kept = work.inbox.refused()
        told = [(row.system, json.loads(row.detail)) for row in work.audit.rows(act="refused")]
    day = stage.time.now.date()
    assert kept == [("", "unknown system", day, 2), ("stripe", "forged", day, 3)]
    assert sorted(told, key=str) == [
        ("", {"reason": "unknown system", "requests": 2}),
        ("stripe", {"reason": "forged", "requests": 3}),
    ]
    stage.hub.close()


def test_counts_that_could_not_be_kept_are_kept_the_next_time(database_url: str, tmp_path: Path) -> None:
    stage = Stage(database_url, tmp_path)
    with TestClient(stage.app) as stage.client:
        stage.post(stage.signed(), content=b"{}")
        writer = stage.app.router.routes[0].endpoint.__self__._writer  # type: ignore[attr-defined]
        sound, away = stage.hub.database, stage.hub.__dict__
        away["database"] = Away()
        writer.keep_counts()
        away["database"] = sound
    with stage.hub.database.reading() as work:
        assert [number for *_, number in work.inbox.refused()] == [1]
    stage.hub.close()


class Away:
    """A database that does not answer."""

    def work(self) -> None:
        raise StoreFailed


def test_stored_events_are_told_by_number_and_digest_of_their_ids(database_url: str, tmp_path: Path) -> None:
    stage = Stage(database_url, tmp_path)
    with TestClient(stage.app) as stage.client:
        stage.post(stage.signed("evt_1"))
    with stage.hub.database.reading() as work:
        assert work.audit.flaw() is None
        (row,) = work.audit.rows(act="received")
    assert (row.who, row.system) == ("receiver", "stripe")
    assert json.loads(row.detail) == {"events": 1, "ids": id_digest(["evt_1"])}
    stage.hub.close()
