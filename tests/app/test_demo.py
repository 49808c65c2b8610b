"""``tieout demo`` as a user starts it: a process of its own, with everything it needs as its children."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SIZE = ["--accounts", "4", "--events", "2000"]

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("demo"), pytest.mark.timeout(600)]


def demo(state: Path) -> tuple[int, dict[str, Any]]:
    """Exit code and the one JSON object on stdout."""
    arguments = ["-m", "app.cli", "demo", "--headless", "--json", *SIZE, "--state", str(state)]
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "TIEOUT_"))}
    ran = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=550, check=False
    )
    assert ran.stdout, ran.stderr
    answer = json.loads(ran.stdout)
    assert isinstance(answer, dict)
    return ran.returncode, answer


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
