"""Deferred revenue on the command line: its roll-forward closes to the ledger, and cells are safe in a spreadsheet."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from app.cli_revenue import _inert
from tests.app.conftest import Tieout
from tests.flows.world import PERIOD


def test_the_roll_forward_and_the_waterfall_close_to_the_ledger(configured: Path, tieout: Tieout) -> None:
    rolls = tieout("revenue", "rollforward", "--period", PERIOD, "--json").json
    closing = sum(Decimal(row["closing"]) for row in rolls if row["balance"] == "deferred revenue")
    to_come = [
        row for row in tieout("revenue", "waterfall", "--period", PERIOD, "--json").json if row["is"] == "to come"
    ]
    balances = tieout("ledger", "trial-balance", "--period", PERIOD, "--json").json
    (ledger,) = [Decimal(row["credit"]) for row in balances if row["account"] == "2400"]
    assert closing == sum(Decimal(row["amount"]) for row in to_come) == ledger > 0


def test_a_milestone_of_a_line_that_is_not_there_is_refused(configured: Path, tieout: Tieout) -> None:
    said = tieout("revenue", "milestone", "O-none", "L-none", "--on", "2026-10-17", "--evidence", "report 7")
    assert (said.code, "order O-none promises no line L-none" in said.err) == (2, True)


@pytest.mark.parametrize(
    ("cell", "safe"), [("=1+1", "'=1+1"), ("-12.50", "-12.50"), ("-2+3", "'-2+3"), ("SUB-1", "SUB-1")]
)
def test_a_cell_is_no_formula_and_an_amount_stays_a_number(cell: str, safe: str) -> None:
    assert _inert(cell) == safe
