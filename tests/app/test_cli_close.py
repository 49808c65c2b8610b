"""A month is closed at the command line, without an orchestrator."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.app.conftest import Tieout
from tests.flows.world import PERIOD

MONTH = ("--period", PERIOD)


@pytest.fixture(autouse=True)
def olga(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIEOUT_OPERATOR", "olga")


def test_nobody_began_a_close_is_said_in_one_sentence(configured: Path, tieout: Tieout) -> None:
    assert "nobody began to close 2026-09" in tieout("close", "status", "--period", "2026-09").out
    said = tieout("close", "approve", "--period", "2026-09")
    assert (said.code, "run `tieout close run --period 2026-09`" in said.err) == (2, True)


def test_a_month_is_run_approved_run_on_verified_and_reopened(
    configured: Path, tieout: Tieout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything of this month was booked before, so the close posts nothing, and is approved all the same."""
    waits = tieout("close", "run", *MONTH)
    assert (waits.code, "waits for approval: 0 journals, nothing" in waits.out) == (1, True)
    monkeypatch.setenv("TIEOUT_OPERATOR", "anna")
    assert "other journals" in tieout("close", "approve", *MONTH, "--journals", "another").err
    assert "approved by anna; run `tieout close run" in tieout("close", "approve", *MONTH).out
    done = tieout("close", "run", *MONTH, "--json")
    assert (done.code, done.json["closed"]) == (0, 1)
    (row,) = tieout("close", "status", *MONTH, "--json").json
    assert (row["state"], row["last"]) == ("closed", "certified by flow close")
    folder, sound = tieout("close", "pack", *MONTH).out.splitlines()
    certificate = {row["certificate"]: row["says"] for row in done.json["rows"]}
    assert sound == f"sound: manifest {certificate['manifest SHA-256']}"
    assert tieout("close", "verify", folder, "--anchor", sound.rpartition(" ")[2]).code == 0
    assert tieout("close", "verify", folder, "--anchor", "0" * 64).code == 1

    again = tieout("close", "approve", *MONTH)
    assert (again.code, "nothing waits for approval" in again.err) == (2, True)
    assert tieout("close", "reopen", *MONTH, "--reason", " ").code == 2
    assert "is reopened" in tieout("close", "reopen", *MONTH, "--reason", "a late invoice").out


def test_an_unknown_gate_is_refused_with_those_there_are(configured: Path, tieout: Tieout) -> None:
    tieout("close", "run", *MONTH)
    said = tieout("close", "override", *MONTH, "--gate", "moon", "--record", "X", "--reason", "because")
    assert (said.code, "there is no gate 'moon'; there are usage, rated, desk" in said.err) == (2, True)
