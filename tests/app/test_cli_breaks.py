"""``tieout breaks``: an operator finds a break, says what is to be said of it, and mends it."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.operators import OPERATOR_VARIABLE
from core.breaks import KINDS
from sandbox import netsuite
from tests.app.conftest import Tieout
from tests.flows.world import PERIOD, Company

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("company")]

INVOICE = "INV-2026-10-A-0003"


@pytest.fixture(autouse=True)
def ann(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OPERATOR_VARIABLE, "ann")


def the_break(tieout: Tieout) -> dict[str, str]:
    tieout("tie-out", "--period", PERIOD)
    (found,) = tieout("breaks", "list", "--json").json
    return dict(found)


def test_a_break_is_listed_shown_assigned_and_noted(configured: Path, closed: Company, tieout: Tieout) -> None:
    with closed.changed("netsuite", "invoice", INVOICE, memo="By hand"):
        found = the_break(tieout)
        assert (found["kind"], found["severity"], found["record"]) == ("invoice_text", "benign", INVOICE)
        assert tieout("breaks", "list", "--severity", "money", "--json").json == []
        assert tieout("breaks", "assign", found["break"], "bob").code == 0
        assert tieout("breaks", "note", found["break"], "Asked the customer").code == 0
        told = tieout("breaks", "show", found["break"], "--json").json
        assert (told["owner"], told["note"], told["days"]) == ("bob", "Asked the customer", 0)
        assert "By hand there" in told["detail"]
        assert [line.split(" ", 2)[2] for line in told["happened"][:2]] == ["noted by ann", "assigned by ann"]
        tieout("tie-out", "--period", PERIOD)
        again = tieout("breaks", "show", found["break"], "--json").json
        assert (again["owner"], again["note"]) == ("bob", "Asked the customer")
    tieout("tie-out", "--period", PERIOD)
    assert tieout("breaks", "list").out.strip() == "no break stands"


def test_a_reason_holds_until_the_figures_move(configured: Path, closed: Company, tieout: Tieout) -> None:
    with closed.changed("netsuite", "invoice", INVOICE, total="72.01"):
        found = the_break(tieout)
        assert tieout("tie-out", "--period", PERIOD).code == 1
        assert tieout("breaks", "explain", found["break"], "--reason", " ").code == 2
        assert tieout("breaks", "explain", found["break"], "--reason", "Agreed with Carol").code == 0
        assert tieout("tie-out", "--period", PERIOD).code == 0
        (shown,) = tieout("breaks", "list", "--json").json
        assert shown["explained"] == "Agreed with Carol"
        with closed.changed("netsuite", "invoice", INVOICE, total="72.02"):
            assert tieout("tie-out", "--period", PERIOD).code == 1
            assert the_break(tieout)["explained"] == ""
    assert tieout("tie-out", "--period", PERIOD).code == 0


def test_a_break_is_cured_by_our_own_document_as_the_plan_shows_it(
    configured: Path, closed: Company, tieout: Tieout, tmp_path: Path
) -> None:
    """Nothing is sent before the plan is applied; the ERP then holds one invoice, as we have it."""
    held = closed.held("netsuite", "invoice", INVOICE)
    lines = {"item": [{**held["itemList"]["item"][0], "amount": "80.00"}, *held["itemList"]["item"][1:]]}
    books = netsuite.Company(closed.running.emulators["netsuite"].shelf)
    books.write({"@type": "sales:Invoice", "externalId": INVOICE, "itemList": lines})
    found = the_break(tieout)
    assert found["kind"] == "invoice_amount"
    plan = tmp_path / "plan.json"
    said = tieout("breaks", "cure", found["break"], "--out", str(plan))
    assert (said.code, f"invoice {INVOICE}" in said.out) == (0, True)
    assert tieout("tie-out", "--period", PERIOD).code == 1
    assert tieout("apply", str(plan)).code == 0
    assert tieout("tie-out", "--period", PERIOD).code == 0
    assert closed.held("netsuite", "invoice", INVOICE)["total"] == held["total"]
    with closed.hub.database.reading() as work:
        acts = [row.act for row in work.audit.rows(record_id=INVOICE, system="netsuite", limit=3)]
    assert acts[:2] == ["written", "cured"]


def test_what_no_document_of_ours_mends_is_refused_with_what_a_person_does(
    configured: Path, closed: Company, tieout: Tieout
) -> None:
    with closed.doubled("netsuite", "invoice", INVOICE, internalId="90001"):
        found = the_break(tieout)
        said = tieout("breaks", "cure", found["break"])
        assert said.code == 2
        assert KINDS["invoice_twice"].cure in " ".join(said.err.split())
    tieout("tie-out", "--period", PERIOD)


def test_a_break_that_nobody_knows_is_refused(configured: Path, tieout: Tieout) -> None:
    said = tieout("breaks", "show", "b0")
    assert (said.code, "there is no break 'b0'" in said.err) == (2, True)


def test_every_kind_is_told(configured: Path, tieout: Tieout) -> None:
    assert {row["kind"] for row in tieout("breaks", "kinds", "--json").json} == set(KINDS)
