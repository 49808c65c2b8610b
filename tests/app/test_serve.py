"""``tieout serve`` starts its Prefect server before anything that reads Prefect's settings is imported."""

from __future__ import annotations

import subprocess
import sys


def test_prefect_is_not_imported_before_its_server_is_known() -> None:
    """Imported too early, it would start a second, temporary server of its own on the same database."""
    look = "import sys; import app.cli, app.serve; from flows.context import hub; print('prefect' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"
