"""Events are listed and applied again by id, type and time, and refused requests are counted."""

from __future__ import annotations

from datetime import timedelta

import pytest

from core.store import Database
from core.sync import InboxState
from tests.app.conftest import Tieout
from tests.app.test_cli_desk import AT, database
from tests.core.store.border import LEASE, event

__all__ = ["database"]


@pytest.fixture
def stored(database: Database) -> Database:
    """Three events, an hour after each other, of which the first two are applied."""
    with database.work() as work:
        for number in range(3):
            at = AT + timedelta(hours=number)
            kind = "payment.failed" if number == 1 else "payment.succeeded"
            work.inbox.store(event(f"evt_{number}", received_at=at, kind=kind, vendor_id=f"pi_{number}"), b"")
        for held in work.inbox.claim(2, AT, LEASE):
            work.inbox.settle(held, InboxState.APPLIED)
    return database


def states(database: Database) -> dict[str, str]:
    with database.reading() as work:
        return {one.event_id: one.state.value for one in work.inbox.find()}


def test_events_are_listed_by_state_type_and_time(stored: Database, tieout: Tieout) -> None:
    def listed(*filters: str) -> list[str]:
        return [one["event"] for one in tieout("inbox", "list", *filters, "--json").json]

    assert listed() == ["evt_2", "evt_1", "evt_0"]
    assert listed("--state", "applied", "--kind", "payment.succeeded") == ["evt_0"]
    assert listed("--since", "2026-11-01T10:00:00", "--until", "2026-11-01T11:00:00") == ["evt_1"]
    assert listed("--system", "crm") == []


@pytest.mark.parametrize(
    ("chosen", "again"),
    [
        (["evt_0"], {"evt_0"}),
        (["--kind", "payment.failed"], {"evt_1"}),
        (["--since", "2026-11-01T00:00:00"], {"evt_0", "evt_1"}),
        (["--system", "gateway", "--until", "2026-11-01T10:00:00"], {"evt_0"}),
    ],
)
def test_events_are_applied_again_by_id_type_or_time_and_the_audit_tells_why(
    stored: Database, tieout: Tieout, chosen: list[str], again: set[str]
) -> None:
    assert tieout("inbox", "replay", *chosen, "--reason", "a test", "--dry-run").code == 0
    assert states(stored)["evt_0"] == "applied"
    rows = tieout("inbox", "replay", *chosen, "--reason", "lost in a restore", "--json").json
    assert {row["event"] for row in rows if row["done"] == "ready again"} == again
    assert {ident for ident, state in states(stored).items() if state == "received"} == again | {"evt_2"}
    told = tieout("audit", "list", "--act", "replayed", "--json").json
    assert len(told) == len(again)
    assert all(one["who"] == "anna" and "reason: lost in a restore" in one["detail"] for one in told)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--reason", "x"], "say which"),
        (["evt_0", "--reason", " "], "say why"),
        (["evt_0", "evt_9", "--reason", "x"], "no event 'evt_9'"),
    ],
)
def test_a_mistake_replays_nothing(stored: Database, tieout: Tieout, arguments: list[str], sentence: str) -> None:
    before = states(stored)
    said = tieout("inbox", "replay", *arguments)
    assert (said.code, sentence in said.err, states(stored)) == (2, True, before)


def test_refused_requests_are_listed_a_day_system_and_reason(database: Database, tieout: Tieout) -> None:
    with database.work() as work:
        work.inbox.count_refused("stripe", "forged", 3, AT)
        work.inbox.count_refused("stripe", "forged", 2, AT + timedelta(hours=1))
        work.inbox.count_refused("", "unknown system", 1, AT + timedelta(days=1))
    assert [list(one.values()) for one in tieout("inbox", "refused", "--json").json] == [
        ["2026-11-02", "(unknown)", "unknown system", "1"],
        ["2026-11-01", "stripe", "forged", "5"],
    ]
