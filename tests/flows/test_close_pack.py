"""A pack verifies offline; whoever changes any file or figure of it is found, and the file is named."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli_close import app
from core import pack
from core.close import Verdict
from core.pack import Table
from flows.close_books import Answer, Closing
from flows.pack_figures import tied
from tests.flows.world import CUSTOMERS, MONTH, PERIOD, USAGE, company

pytestmark = pytest.mark.server

FILES = (
    "aging.csv",
    "approvals.csv",
    "audit.jsonl",
    "breaks.csv",
    "close.json",
    "contracts.csv",
    "gates.csv",
    "journals.csv",
    "journals.jsonl",
    "ledger.csv",
    "open_items.csv",
    "overrides.csv",
    "payloads.jsonl",
    "read_back.csv",
    "roll_forwards.csv",
    "summary.html",
    "summary.pdf",
    "ties.csv",
    "trial_balance.csv",
    "waterfall.csv",
)


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The pack of a closed month."""
    with company(tmp_path_factory.mktemp("company")) as entered:
        entered.enter(*CUSTOMERS)
        entered.bring("bridge.2026-10.csv", USAGE)
        for name, step in MONTH:
            if name != "recognise":
                step(entered.hub)
        approve = Answer(Verdict.APPROVE, "anna", "", "test")
        Closing(entered.hub, PERIOD, "olga", lambda _question, _number: approve).run()
        yield entered.hub.settings.state_folder / "closes" / f"CLOSE-main-{PERIOD}-1"


@pytest.fixture
def copied(certified: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(certified, tmp_path / "pack"))


def reseal(folder: Path) -> None:
    """What somebody does who knows of the manifest."""
    pack.seal(folder, {"close": "forged"})


def change(folder: Path, name: str, row: int, column: str, to: Callable[[str], str]) -> None:
    """Changes one cell of a table."""
    with (folder / name).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    rows[row][column] = to(rows[row][column])
    pack.write_table(folder, Table(name, list(rows[0]), [[_raw(value) for value in one.values()] for one in rows]))


def _raw(text: str) -> str | Decimal:
    """A negative amount is no formula."""
    return Decimal(text) if text.startswith("-") and text[1:2].isdigit() else text


def more(text: str) -> str:
    return str(Decimal(text or 0) + 1)


def test_the_pack_holds_what_it_should_and_is_sound(certified: Path) -> None:
    assert sorted(path.name for path in certified.iterdir()) == sorted([*FILES, pack.MANIFEST, pack.SEAL])
    assert pack.verify(certified) == []


@pytest.mark.parametrize(
    ("reasons", "said"),
    [
        ([], "2 ties, all at 0.00"),
        (["by rule"], "2 ties; 1 break, all explained"),
        (["by rule", None], "2 ties; 2 breaks, 1 explained by nothing"),
    ],
)
def test_the_summary_says_whether_what_differs_is_explained(reasons: list[str | None], said: str) -> None:
    month: Any = SimpleNamespace(ties=[1, 2], breaks=[SimpleNamespace(explained=reason) for reason in reasons])
    assert tied(month) == said


@pytest.mark.parametrize("name", [*FILES, pack.MANIFEST])
def test_a_changed_file_is_named(name: str, copied: Path) -> None:
    """Whichever bit of it is another one."""
    data = bytearray((copied / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copied / name).write_bytes(data)
    assert name in {flaw.file for flaw in pack.verify(copied)}


@pytest.mark.parametrize("name", [*FILES, pack.MANIFEST])
def test_a_missing_file_is_named(name: str, copied: Path) -> None:
    (copied / name).unlink()
    assert pack.Flaw(name, "is missing") in pack.verify(copied)


def test_a_file_that_was_put_in_is_named(copied: Path) -> None:
    (copied / "extra.csv").write_text("a\n")
    assert pack.verify(copied) == [pack.Flaw("extra.csv", "is not in the manifest")]


@pytest.mark.parametrize(
    ("name", "column", "found"),
    [
        ("journals.csv", "debit", "journals.csv"),
        ("ledger.csv", "debit", "ledger.csv"),
        ("trial_balance.csv", "opening", "trial_balance.csv"),
        ("trial_balance.csv", "debit", "trial_balance.csv"),
        ("trial_balance.csv", "credit", "trial_balance.csv"),
        ("trial_balance.csv", "closing", "trial_balance.csv"),
        ("roll_forwards.csv", "amount", "roll_forwards.csv"),
        ("contracts.csv", "amount", "contracts.csv"),
        ("waterfall.csv", "amount", "waterfall.csv"),
        ("aging.csv", "not due", "aging.csv"),
        ("aging.csv", "total", "aging.csv"),
        ("open_items.csv", "open", "open_items.csv"),
        ("ties.csv", "left", "ties.csv"),
        ("ties.csv", "difference", "ties.csv"),
        ("read_back.csv", "ours", "read_back.csv"),
        ("read_back.csv", "theirs", "read_back.csv"),
    ],
)
def test_a_forged_figure_is_found_though_its_pack_was_sealed_anew(
    name: str, column: str, found: str, copied: Path
) -> None:
    """Figures stand in several files, which must say the same."""
    change(copied, name, 0, column, more)
    reseal(copied)
    flaws = pack.verify(copied)
    assert found in {flaw.file for flaw in flaws}
    assert all(flaw.file != pack.MANIFEST for flaw in flaws)


def test_a_forged_approval_is_found_though_its_pack_was_sealed_anew(copied: Path) -> None:
    change(copied, "approvals.csv", 0, "who", lambda _who: "mallory")
    reseal(copied)
    assert "approve by mallory was never told to the audit" in {flaw.what for flaw in pack.verify(copied)}


def test_journals_that_nobody_approved_are_found(copied: Path) -> None:
    lines = [json.loads(line) for line in (copied / "journals.jsonl").read_text().splitlines()]
    lines[0]["journal"]["memo"] = "something else"
    pack.write_lines(copied, "journals.jsonl", lines)
    reseal(copied)
    assert "journals.jsonl" in {flaw.file for flaw in pack.verify(copied)}


def test_a_forged_row_of_the_audit_is_found(copied: Path) -> None:
    lines = [json.loads(line) for line in (copied / "audit.jsonl").read_text().splitlines()]
    lines[2]["who"] = "mallory"
    pack.write_lines(copied, "audit.jsonl", lines)
    reseal(copied)
    assert "audit.jsonl" in {flaw.file for flaw in pack.verify(copied)}


def test_a_payload_that_was_not_sent_is_found(copied: Path) -> None:
    lines = [json.loads(line) for line in (copied / "payloads.jsonl").read_text().splitlines()]
    lines[0]["payload"] = lines[0]["payload"].replace("254", "255").replace("180", "181")
    pack.write_lines(copied, "payloads.jsonl", lines)
    reseal(copied)
    assert "payloads.jsonl" in {flaw.file for flaw in pack.verify(copied)}


def test_a_pack_that_was_made_anew_as_a_whole_is_found_by_the_hash_that_was_noted(copied: Path) -> None:
    noted = pack.manifest_hash(copied)
    assert pack.verify(copied, noted) == []
    reseal(copied)
    assert [flaw.file for flaw in pack.verify(copied, noted)] == [pack.MANIFEST]


def test_the_command_line_verifies_without_a_configuration(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIEOUT_CONFIG", str(copied / "nowhere.toml"))
    assert CliRunner().invoke(app, ["verify", str(copied)]).exit_code == 0
    (copied / "ties.csv").unlink()
    told = CliRunner().invoke(app, ["verify", str(copied)])
    assert (told.exit_code, "BROKEN: ties.csv: is missing" in told.output) == (1, True)


def test_text_that_a_spreadsheet_would_run_is_kept_as_text(tmp_path: Path) -> None:
    pack.write_table(tmp_path, Table("x.csv", ("a", "b"), [["fine", None], ["=1+1", Decimal("-2.00")]]))
    assert (tmp_path / "x.csv").read_text() == "a,b\nfine,\n'=1+1,-2.00\n"
