"""``tieout demo`` as a user starts it: a process of its own, with everything it needs as its children."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.app.machine import family

ROOT = Path(__file__).parents[2]
SIZE = ["--accounts", "4", "--events", "2000"]

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("demo"), pytest.mark.timeout(600)]


def started(state: Path) -> subprocess.Popen[str]:
    arguments = ["-m", "app.cli", "demo", "--headless", "--json", *SIZE, "--state", str(state)]
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "TIEOUT_"))}
    return subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def demo(state: Path) -> tuple[int, dict[str, Any]]:
    """Exit code and the one JSON object on stdout."""
    running = started(state)
    out, err = running.communicate(timeout=550)
    assert out, err
    answer = json.loads(out)
    assert isinstance(answer, dict)
    return running.returncode, answer


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, dict[str, Any]]]:
    """The demo, and the demo again on the same state."""
    state = tmp_path_factory.mktemp("demo") / "state"
    return [demo(state), demo(state)]


def test_every_tie_of_the_demo_differs_by_nothing(runs: list[tuple[int, dict[str, Any]]]) -> None:
    for code, answer in runs:
        assert (code, answer["closed"]) == (0, True)
        assert {line["difference"] for line in answer["tie_out"]} == {"0.00"}
        assert {line["breaks"] for line in answer["tie_out"]} == {"0"}


def test_the_demo_reaches_every_system(runs: list[tuple[int, dict[str, Any]]]) -> None:
    vendors = runs[0][1]["stages"]["vendors"]
    assert (vendors["salesforce"]["Account"], vendors["netsuite"]["invoice"]) == (4, 4)
    assert (vendors["stripe"]["payment_intent"], vendors["avalara"]["transaction"]) == (4, 4)
    assert runs[0][1]["vendor_objects"]["created"] > 0


def test_the_demo_run_again_changes_nothing(runs: list[tuple[int, dict[str, Any]]]) -> None:
    (_, first), (_, second) = runs
    assert {name: second["vendor_objects"][name] for name in ("created", "changed", "deleted")} == {
        "created": 0,
        "changed": 0,
        "deleted": 0,
    }
    assert (second["money"], second["stages"]["vendors"]) == (first["money"], first["stages"]["vendors"])


@pytest.mark.timeout(1500)
def test_tieout_serve_killed_in_the_middle_and_started_again_ends_in_the_same_tie_out(
    runs: list[tuple[int, dict[str, Any]]], tmp_path: Path
) -> None:
    """It is killed when the first invoice is taxed: the run under way loses its server, and nobody is charged yet."""
    state = tmp_path / "state"
    running = started(state)
    while taxed(state / "tieout.db") == 0:
        assert running.poll() is None, running.communicate()
        time.sleep(0.2)
    (serve,) = (pid for pid, command in family(running.pid).items() if "app.cli serve" in command)
    os.kill(serve, signal.SIGKILL)
    _, err = running.communicate(timeout=300)
    assert (running.returncode, "tieout serve ended" in err) == (2, True), err
    code, answer = demo(state)
    assert (code, answer["tie_out"]) == (0, runs[0][1]["tie_out"])
    assert (answer["money"], answer["stages"]["vendors"]) == (runs[0][1]["money"], runs[0][1]["stages"]["vendors"])


def taxed(database: Path) -> int:
    """How many invoices the tax engine has answered."""
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as tables:
        return int(tables.execute("SELECT count(*) FROM tax_document").fetchone()[0])
    return 0
