"""The audit tells of every crossing of the border what crossed, by whom, and what stood there before and after."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.errors import OutcomeUnknown, Parked, Rejected
from core.store import Database
from flows.deliver import deliver_system
from tests.flows.hubs import account
from tests.flows.test_deliver import Stage


@pytest.fixture
def stage(database_url: str, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(database_url, tmp_path)
    yield stage
    stage.hub.close()


def told(database: Database) -> list[tuple[str, str]]:
    """(act, record id), the oldest first; the chain must be sound."""
    with database.reading() as work:
        assert work.audit.flaw() is None
        return [(row.act, row.record_id) for row in reversed(work.audit.rows())]


def details(database: Database, record_id: str) -> list[dict[str, Any]]:
    with database.reading() as work:
        rows = reversed(work.audit.rows(record_id=record_id))
        return [json.loads(row.detail) for row in rows]


def test_each_end_of_a_try_is_told_with_its_command_and_its_proof(stage: Stage) -> None:
    stage.intend(*(account(n) for n in range(4)))
    stage.stripe.before["A-0001"] = [Rejected("no such country", field="country")]
    stage.stripe.before["A-0002"] = [Parked("closed", waits_for="period:2026-10")]
    stage.stripe.after["A-0003"] = [OutcomeUnknown("no answer")]
    deliver_system(stage.hub, "stripe")
    assert sorted(told(stage.hub.database)) == [
        ("adopted", "A-0003"),
        ("doubted", "A-0003"),
        ("parked", "A-0002"),
        ("rejected", "A-0001"),
        ("written", "A-0000"),
    ]
    (proved,) = details(stage.hub.database, "A-0000")
    with stage.hub.database.reading() as work:
        (row,) = work.audit.rows(record_id="A-0000")
        (proof,) = work.outbox.proofs("stripe", "account", record_id="A-0000")
    assert (row.who, row.system, row.record, row.at) == ("flow deliver", "stripe", "account", proof.synced_at)
    assert proved == {
        "command": proof.command_key,
        "their id": "V-0",
        "created": True,
        "mapping": proof.mapping_version,
        "before": None,
        "after": proof.payload_digest,
    }


def test_a_change_tells_what_stood_there_before(stage: Stage) -> None:
    stage.stripe.blind = False
    stage.intend(account(0, name="Old name"))
    deliver_system(stage.hub, "stripe")
    stage.intend(account(0, name="New name"))
    deliver_system(stage.hub, "stripe")
    first, second = details(stage.hub.database, "A-0000")
    assert second["before"] == first["after"] != second["after"]


def test_a_try_that_is_not_settled_tells_nothing(stage: Stage) -> None:
    """A worker that outlived its lease finds its command taken over."""
    stage.intend(account(0))
    stage.stripe.on_write = lambda: _take_over(stage)
    deliver_system(stage.hub, "stripe")
    acts = told(stage.hub.database)
    assert [act for act, _ in acts] == []


def _take_over(stage: Stage) -> None:
    from flows.deliver import LEASE

    with stage.hub.database.work() as work:
        work.outbox.claim("stripe", 9, stage.time.now + 2 * LEASE, LEASE)
