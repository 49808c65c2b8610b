"""The worked cases, run through the core."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.cases.run import main, run

OWN = Path(__file__).parent
SHARED = Path(os.environ.get("TIEOUT_CASES", OWN.parents[2] / "shared" / "cases"))


def test_every_case_of_ours_gives_the_figures_worked_by_hand() -> None:
    passed, failed, declined = run([OWN])
    assert failed == []
    assert declined == []
    assert passed > 0


def test_every_case_of_the_field_passes_and_few_conventions_are_declined() -> None:
    """All published examples give the published figure; under 2 % are declined."""
    if not SHARED.exists():
        pytest.skip("skipped: no rating cases at hand")
    passed, failed, declined = run([SHARED])
    assert failed == []
    assert len(declined) < 0.02 * (passed + len(declined))


def test_the_runner_names_expected_and_got_and_fails_for_a_wrong_figure(tmp_path, capsys) -> None:
    case = {"id": "wrong", "kind": "unit", "plan": {"model": "unit", "unit_amount": "2"}, "usage": {"quantity": "3"}}
    file = tmp_path / "wrong.json"
    file.write_text(json.dumps({"schema": "1", "cases": [{**case, "expected": {"amount": "7"}}]}))
    assert main([str(file)]) == 1
    assert capsys.readouterr().out == "wrong: amount: expected 7, got 6\n0 passed, 1 failed, 0 declined\n"


def test_a_kind_the_core_cannot_express_is_a_failure(tmp_path) -> None:
    file = tmp_path / "unknown.json"
    file.write_text(json.dumps({"schema": "1", "cases": [{"id": "x", "kind": "barter", "expected": {}}]}))
    assert run([file])[1] == ["x: the core does not know the kind barter"]
