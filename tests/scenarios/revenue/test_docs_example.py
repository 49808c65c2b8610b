"""The example of docs/revenue.md is true: it is told like any story."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from tests.scenarios.revenue.test_revenue_stories import told

DOCUMENT = Path(__file__).parents[3] / "docs" / "revenue.md"


def test_the_example_of_the_document_earns_what_it_says(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(story:.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    months = [month for _, month in told(yaml.safe_load(example), tmp_path)]
    assert months == [f"2026-{number:02}" for number in range(1, 7)]
