"""``tieout cash``: a person takes money in, sees what is left, and says what it pays."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from app import cli_cash
from core.cash import CashReceipt
from flows import context
from flows.context import Hub
from tests.flows.test_apply_cash import hub, open_cents

__all__ = ["hub"]

HEAD = "value_date,amount,currency,payer,text\n"


@pytest.fixture(autouse=True)
def _operated(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "hub", lambda: hub)


def said(*words: str) -> str:
    result = CliRunner().invoke(cli_cash.app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_money_is_taken_in_listed_applied_and_taken_back(hub: Hub, tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    file.write_text(HEAD + "2026-11-10,130.00,USD,Someone,thanks\n")
    assert "1 receipt of 1 new" in said("import", str(file))
    with hub.database.reading() as work:
        (receipt,) = work.find(CashReceipt)
    assert "unidentified" in said("list", "--json")
    assert "A-0001" in said("identify", receipt.id, "A-0001")
    assert "30.00 USD is left" in said("apply", receipt.id, "INV-1")
    assert open_cents(hub, "INV-1") == 0
    assert "100.00 USD of INV-1 is open again" in said("unapply", f"APP-{receipt.id}-1", "--reason", "not theirs")
    assert "130.00 USD went back" in said("return", receipt.id, "--reason", "R03")
    assert "all that came in is applied" in said("list")
