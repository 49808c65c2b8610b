"""A month closes the same on every general ledger: posted, read back line by line, locked, certified."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core import pack
from core.close import Verdict
from flows import close as stages
from flows.close_books import Answer, Closing
from flows.pack import folder_of
from tests.connectors import contract_quickbooks, contract_xero
from tests.flows.world import CUSTOMERS, MONTH, PERIOD, SETTINGS, USAGE, company

pytestmark = pytest.mark.server

OTHERS = {name: make for name, make in SETTINGS.items() if name != "netsuite"}
LEDGERS = {"quickbooks": contract_quickbooks.settings, "xero": contract_xero.settings}


@pytest.mark.parametrize("system", LEDGERS)
@pytest.mark.parametrize(("journals", "number"), [("detail", 3), ("summary", 1)])
def test_a_month_is_closed_on_another_general_ledger(system: str, journals: str, number: int, tmp_path: Path) -> None:
    """In summary one journal carries what three customers earned."""
    make: Callable[[str], Any] = LEDGERS[system]
    with company(tmp_path, {**OTHERS, system: make}) as entered:
        settings = entered.hub.settings
        policy = settings.close.model_copy(update={"journals": journals})
        entered.hub.settings = settings.model_copy(update={"close": policy})
        entered.enter(*CUSTOMERS)
        entered.bring("bridge.2026-10.csv", USAGE)
        for name, step in MONTH:
            if name != "recognise":
                step(entered.hub)
        approve = Answer(Verdict.APPROVE, "anna", "", "test")
        report = Closing(entered.hub, PERIOD, "olga", lambda _question, _number: approve).run()
        assert "$734.20" in report.headline
        assert report.counts == {"closed": 1}
        folder = folder_of(entered.hub, stages.standing(entered.hub, PERIOD))
        assert pack.verify(folder) == []
        assert len({row["journal"] for row in pack.read_table(folder, "read_back.csv")}) == number
        assert entered.tie_out()[1] == []
