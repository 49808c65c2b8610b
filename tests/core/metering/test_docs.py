"""docs/usage.md does what it says."""

from __future__ import annotations

import re
from pathlib import Path

from core.metering import Aggregation
from core.usage import Cause

PAGE = Path(__file__).parents[3] / "docs" / "usage.md"


def test_the_worked_example_runs(tmp_path: Path) -> None:
    """The file and the code of the page, run as they stand there."""
    text = PAGE.read_text(encoding="utf-8")
    (file,) = re.findall(r"```csv\n(.*?)```", text, re.DOTALL)
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "bridge-us.2026-10-05.csv").write_text(file)
    exec(compile(code, str(PAGE), "exec"), {"folder": tmp_path})


def test_every_cause_and_every_aggregation_is_explained() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [name.value for name in [*Cause, *Aggregation] if f"`{name.value}`" not in text] == []
