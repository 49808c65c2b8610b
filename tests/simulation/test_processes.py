"""Real processes of the hub, killed at named points: a few months of every run of the suite, on each database."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.simulation.run import ROOT

pytestmark = pytest.mark.server


@pytest.mark.parametrize(
    "options", [["--seeds", "0:6"], ["--seeds", "0:2", "--postgres"]], ids=["sqlite", "postgresql"]
)
def test_whatever_is_killed_the_month_ends_well(options: list[str]) -> None:
    """Kills, frozen workers, full disks and a bad wire leave one object per record, and a month that ties out.

    In a process of its own, since it forks.
    """
    command = [sys.executable, "-m", "tests.simulation", "--layer", "2", *options]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    if "skipped: no PostgreSQL" in ran.stdout:
        pytest.skip(ran.stdout.strip())
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " 0 kills" not in ran.stdout
