"""``tieout serve``: its Prefect server is there before anything reads Prefect's settings, and plans all schedules."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from app.demo.run import served
from app.deployments import PREFECT_YAML
from app.processes import free_port

pytestmark = pytest.mark.server

#: What has a schedule that is on.
SCHEDULED = {
    one["name"]
    for one in yaml.safe_load(PREFECT_YAML.read_text(encoding="utf-8"))["deployments"]
    if any(schedule["active"] for schedule in one.get("schedules", ()))
}
#: Seconds in which the server plans the runs of a new deployment, on a machine with much else to do.
LONGEST = 120


def test_prefect_is_not_imported_before_its_server_is_known() -> None:
    """Imported too early, it would start a second, temporary server of its own on the same database."""
    look = "import sys; import app.cli, app.serve; from flows.context import hub; print('prefect' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"


def test_the_runs_of_every_schedule_are_planned_also_when_it_is_started_again(tmp_path: Path) -> None:
    """Started again, since Prefect pauses what is served when that ends."""
    (tmp_path / "tieout.toml").write_text(
        f'database_url = "sqlite:///{tmp_path / "tieout.db"}"\nstate_folder = "."\nwebhook_port = {free_port()}\n'
    )
    shutil.copy(PREFECT_YAML.parent / "app" / "demo" / "northwind.yaml", tmp_path / "price_book.yaml")
    assert "tie-out" in SCHEDULED
    for _ in range(2):
        with served(tmp_path):
            deadline = time.monotonic() + LONGEST
            while (found := planned(tmp_path / "prefect" / "prefect.db")) != SCHEDULED:
                assert time.monotonic() < deadline, f"planned are the runs of {found or 'nothing'}"
                time.sleep(0.5)
    told = (tmp_path / "logs" / "prefect-server.log").read_text(encoding="utf-8")
    assert [line for line in told.splitlines() if " ERROR " in line or " CRITICAL " in line] == []


def planned(database: Path) -> set[str]:
    """The deployments of which runs are planned."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as tables:
        rows = tables.execute(
            "SELECT DISTINCT deployment.name FROM flow_run JOIN deployment ON deployment.id = deployment_id"
            " WHERE auto_scheduled AND state_type = 'SCHEDULED'"
        )
        return {name for (name,) in rows}
