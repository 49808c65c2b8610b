"""The commands about documents say what is missing before they touch anything."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from app.cli_documents import app


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "name lines"),
        (["--full", "--line", "1"], "name lines"),
        (["--line", "1", "--line", "2", "--amount", "3.00"], "one --amount for each --line"),
    ],
)
def test_a_credit_note_says_what_it_credits(arguments: list[str], why: str) -> None:
    result = CliRunner().invoke(app, ["credit-note", "INV-1", "--reason", "x", *arguments])
    assert isinstance(result.exception, ValueError)
    assert why in str(result.exception)
