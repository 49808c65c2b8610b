"""A close under ``tieout serve`` on a machine that loses its power at every stage: one approval, each journal once."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from prefect import get_client
from prefect.client.schemas.objects import State
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings

from app.demo.run import served
from app.processes import told
from core import pack
from core.close import Verdict
from flows import close as stages
from flows.close_books import answer_waiting_runs
from flows.context import CRASH_VARIABLE
from flows.pack import folder_of
from tests.app.machine import cut_power, month_before_its_close
from tests.flows.test_close_kill import JOURNALS, NOWHERE
from tests.flows.world import PERIOD

pytestmark = [pytest.mark.server, pytest.mark.timeout(1500)]

#: Where the run of a life of the machine is killed, in the order in which one close comes by.
BEFORE_APPROVAL = ["close.frozen:1", "close.checked:1", "close.packed:1"]
AFTER_APPROVAL = ["close.before_commit:1", "outbox.sent:1", "close.read_back:1", "close.locked:1", "close.certified:1"]
#: Seconds that a run may take, on a machine with much else to do.
LONGEST = 240


def test_a_machine_that_loses_its_power_at_every_stage_posts_each_journal_once_for_one_approval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is killed, then server and worker with it; once nothing but the waiting for approval goes down."""

    def life(what: Callable[[], UUID], end: str, point: str = NOWHERE) -> None:
        """One life of the machine, in which a run ends so, or waits."""
        monkeypatch.setenv(CRASH_VARIABLE, point)
        with served(tmp_path) as machine, temporary_settings({PREFECT_API_URL: machine.prefect_api}):
            state = ended(what())
            cut_power(machine)
        assert state.name == end, f"{point}: {state.name}: {state.message}"
        expire_leases(tmp_path / "tieout.db")

    with month_before_its_close(tmp_path, "salesforce") as hub:
        for point in BEFORE_APPROVAL:
            life(begin, "Crashed", point)
        life(begin, "Suspended")
        life(go_on, "Crashed", "close.decided:1")
        for point in AFTER_APPROVAL:
            life(begin, "Crashed", point)
        life(begin, "Completed")

        close = stages.standing(hub, PERIOD)
        with hub.database.reading() as work:
            acts = [row.act for row in work.audit.rows(record_id=close.id)]
        assert {act: acts.count(act) for act in ("approved", "booked", "locked")} == dict.fromkeys(
            ("approved", "booked", "locked"), 1
        )
        assert earned_in_the_ledger(tmp_path) == JOURNALS
        assert pack.verify(folder_of(hub, close)) == []


def begin() -> UUID:
    """Starts a close, as soon as its deployment is there."""
    deadline = time.monotonic() + LONGEST
    while True:
        try:
            run = run_deployment("Close the books/close", parameters={"period": PERIOD}, timeout=0)
        except ObjectNotFound:
            assert time.monotonic() < deadline
            time.sleep(0.5)
        else:
            return UUID(str(run.id))


def go_on() -> UUID:
    """Approves what waits since an earlier life."""
    with get_client(sync_client=True) as client:
        (waiting,) = [run for run in client.read_flow_runs() if run.state and run.state.is_paused()]
    assert answer_waiting_runs(PERIOD, "", Verdict.APPROVE, "anna", "") == 1
    return waiting.id


def ended(run: UUID) -> State[Any]:
    """The state in which a run ends, or waits."""
    deadline = time.monotonic() + LONGEST
    with get_client(sync_client=True) as client:
        while True:
            state = client.read_flow_run(run).state
            if state and (state.is_final() or state.is_paused()):
                return state
            assert time.monotonic() < deadline, state
            time.sleep(0.5)


def expire_leases(database: Path) -> None:
    """The minutes pass after which others may take over what a dead worker held."""
    with closing(sqlite3.connect(database)) as tables, tables:
        tables.execute("UPDATE outbox SET lease_until = '2026-01-01' WHERE lease_until IS NOT NULL")


def earned_in_the_ledger(folder: Path) -> list[str]:
    vendors = told(folder / "sandbox.json") or {}
    held = httpx.get(f"{vendors['netsuite']}/_sandbox/objects/journalEntry").json()
    return sorted(one["externalId"] for one in held if one["externalId"].startswith("JE-REV-"))
