"""The commands that the page about Avalara Communications gives, over a month that two engines taxed."""

from __future__ import annotations

import re
import shlex
from decimal import Decimal
from pathlib import Path

import pytest

from flows.settings import CONFIG_VARIABLE
from tests.app.conftest import Tieout, write_configuration
from tests.connectors.test_pages import page_of
from tests.flows.test_two_tax_engines import AFC, BOTH, returned, stack
from tests.flows.world import Company

__all__ = ["stack"]

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("two engines")]


def test_the_commands_for_a_credit_note_give_back_its_tax_there_and_commit_it(
    tieout: Tieout, stack: Company, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, str(write_configuration(stack, tmp_path / "prices.yaml")))
    (block,) = re.findall(r"^```console\n(\$ tieout .*?)^```", page_of(AFC).read_text(), re.MULTILINE | re.DOTALL)
    for line in block.splitlines():
        said = tieout(*shlex.split(line, comments=True)[2:])
        assert said.code == 0, f"{line}: {said.out}{said.err}"
    (document,) = returned(stack, f"CN-{BOTH}-1")
    with stack.hub.database.reading() as work:
        committed = {proof.record_id for proof in work.outbox.proofs(AFC, "tax_commit")}
    assert document.base.amount == Decimal("-50.00")
    assert document.id in committed
    assert stack.breaks() == []
