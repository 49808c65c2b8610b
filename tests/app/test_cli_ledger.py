"""What was booked, and the rules that booked it, on the command line."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from core.posting_file import DEFAULT
from tests.app.conftest import Tieout
from tests.flows.world import PERIOD

Row = dict[str, str]

#: The month in which the invoices were paid.
AFTER = "2026-11"


def test_debits_equal_credits_in_the_trial_balance(configured: Path, tieout: Tieout) -> None:
    said = tieout("ledger", "trial-balance", "--period", PERIOD, "--json")
    rows: list[Row] = said.json
    assert sum(Decimal(row["debit"] or 0) for row in rows) == sum(Decimal(row["credit"] or 0) for row in rows) > 0
    assert {row["name"] for row in rows} >= {"Sales tax payable", "Accounts receivable"}
    assert {row["entity"] for row in rows} == {"main"}


def test_a_roll_forward_ends_where_its_movements_lead(configured: Path, tieout: Tieout) -> None:
    closing = Decimal(0)
    for month, event in ((PERIOD, "invoice"), (AFTER, "payment")):
        rows: list[Row] = tieout("ledger", "show", "receivables", "--period", month, "--json").json
        steps = {row["what"]: Decimal(row["amount"]) for row in rows if row["account"].startswith("1100")}
        assert (set(steps) >= {"opening", event, "closing"}, steps["opening"]) == (True, closing)
        closing = steps.pop("closing")
        assert sum(steps.values()) == closing


def test_tax_payable_is_shown_by_jurisdiction(configured: Path, tieout: Tieout) -> None:
    rows: list[Row] = tieout("ledger", "show", "tax payable", "--period", PERIOD, "--json").json
    details = {row["detail"] for row in rows}
    assert len(details) > 1
    assert all(detail.startswith("US ") for detail in details)


def test_a_subledger_that_is_not_there_is_told_with_those_that_are(configured: Path, tieout: Tieout) -> None:
    said = tieout("ledger", "show", "receivable", "--period", PERIOD)
    assert said.code == 2
    assert "there is no subledger 'receivable'; there is receivables," in said.err


def test_the_kept_balances_are_verified(configured: Path, tieout: Tieout) -> None:
    said = tieout("ledger", "verify")
    assert said.code == 0
    assert "balances are the sums of their entries" in said.out


def test_rules_are_checked_and_tried(configured: Path, tieout: Tieout, tmp_path: Path) -> None:
    said = tieout("ledger", "rules", "check")
    assert (said.code, "examples come out as they say" in said.out) == (0, True)
    rows: list[Row] = tieout("ledger", "rules", "test", "--json").json
    assert {"example": "the gateway pays out", "event": "payout", "way": "journal"}.items() <= next(
        row for row in rows if row["event"] == "payout"
    ).items()
    broken = tmp_path / "rules.yaml"
    shipped = DEFAULT.read_text()
    broken.write_text(shipped.replace("debit: unapplied cash, credit: bad debt", "debit: bad, credit: gone"))
    said = tieout("ledger", "rules", "check", str(broken))
    assert said.code == 2
    assert "rules.yaml:" in said.err
    assert "'bad'" in said.err
    assert "'gone'" in said.err


def test_another_entity_has_books_of_its_own(configured: Path, tieout: Tieout) -> None:
    said = tieout("ledger", "trial-balance", "--period", PERIOD, "--entity", "other")
    assert "nothing was booked" in said.out
