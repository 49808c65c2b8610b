"""The commands about documents say what is missing before they touch anything."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli_documents import app
from core.accounts import Account
from flows.bill import finalise_invoices
from flows.deliver import deliver_all
from flows.settings import CONFIG_VARIABLE
from tests.app.conftest import Said, Tieout, write_configuration
from tests.flows.conftest import world
from tests.flows.test_credits import SOLD_AHEAD
from tests.flows.world import Company

__all__ = ["world"]

PAGE = Path(__file__).parents[2] / "docs" / "documents.md"


def block() -> list[str]:
    """The commands at the head of the page."""
    return re.findall(r"^```\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)[0].splitlines()


@pytest.fixture
def dearer(world: Company, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dearer price book, where invoices are final and not paid, top-ups are sold, and A-0002 is below A-0001."""
    world.month(until="finalise")
    with world.hub.database.work() as work:
        (below,) = work.find(Account, id="A-0002")
        work.put(below.model_copy(update={"parent_id": "A-0001"}))
    book = world.hub.price_book.model_dump(mode="json")
    text = json.dumps(book | {name: [*book[name], *rows] for name, rows in SOLD_AHEAD.items()})
    (tmp_path / "book.yaml").write_text(text)
    (tmp_path / "dearer.yaml").write_text(text.replace('"0.045"', '"0.05"'))
    monkeypatch.setenv(CONFIG_VARIABLE, str(write_configuration(world, tmp_path / "book.yaml")))
    return tmp_path / "dearer.yaml"


@pytest.mark.server
@pytest.mark.xdist_group("company")
def test_the_commands_of_the_documents_page_run_in_its_order(tieout: Tieout, dearer: Path) -> None:
    """Only the price book and the id of the credit are put in; what each command leaves, the next one finds."""
    said: dict[str, Said] = {}
    credit = "none yet"
    lines = block()
    for line in lines:
        words = shlex.split(line.replace("NEW", str(dearer)).replace("CREDIT", credit))
        said[line] = tieout(*words[1:])
        assert said[line].code == 0, f"{line}: {said[line].err}"
        if line.startswith("tieout credits grant"):
            credit = said[line].out.split(":")[0]
    (changed,) = (one for line, one in said.items() if " what-if " in line)
    assert "adjustments booked: Agreed price" in changed.err
    assert "A-0001" in said[lines[-1]].out


@pytest.mark.server
@pytest.mark.xdist_group("company")
def test_an_invoice_that_was_paid_is_taken_back_and_each_step_is_told(
    tieout: Tieout, world: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its money goes back when the ERP has the credit note."""
    world.month()
    monkeypatch.setenv(CONFIG_VARIABLE, str(write_configuration(world, world.hub.settings.price_book)))
    said = tieout("void", "INV-2026-10-A-0003", "--reason", "never ordered")
    assert "72.00 USD goes back to the customer" in said.out
    note = said.out.split(":")[0]
    states = [one["state"] for one in tieout("credit-steps", note, "--json").json]
    assert set(states) == {"pending"}
    for step in (deliver_all, finalise_invoices, deliver_all):
        assert not step(world.hub).failures
    told = tieout("credit-steps", note, "--json").json
    assert {one["state"] for one in told} == {"done"}
    assert {"netsuite", "stripe", "avalara"} <= {one["system"] for one in told}


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
