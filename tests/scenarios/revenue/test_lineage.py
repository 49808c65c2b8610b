"""A figure of contract assets leads to its obligation, its allocation, its policy and its order line, and back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.explain import explain_id, foretell_id
from core.audit import Act
from core.ledger import JournalEntry
from tests.scenarios.revenue.seller import CONTRACT, Seller
from tests.scenarios.revenue.test_revenue_stories import told

STORY = Path(__file__).parent / "bonus_that_may_be_lost.yaml"


@pytest.fixture
def seller(tmp_path: Path) -> Iterator[Seller]:
    """The story of the bonus, told to its end."""
    *_, (seller, _) = told(yaml.safe_load(STORY.read_text()), tmp_path)
    yield seller
    seller.close()


def nodes(node: dict[str, Any], way: str) -> Iterator[dict[str, Any]]:
    yield node
    for one in node.get(way, []):
        yield from nodes(one, way)


def lines_of_assets(seller: Seller) -> list[tuple[str, str]]:
    with seller.hub.database.reading() as work:
        lines = [line for entry in work.find(JournalEntry) for line in entry.lines]
    return [(line.id, line.source) for line in lines if line.ledger_account == CONTRACT]


def test_every_line_of_contract_assets_leads_to_its_obligation_and_order_line(seller: Seller) -> None:
    lines = lines_of_assets(seller)
    assert {source for _, source in lines} == {"contract_movement"}
    for ident, _ in lines:
        found = list(nodes(explain_id(seller.hub, ident), "came_from"))
        assert {"journal line", "contract movement", "obligation", "order line"} <= {one["what"] for one in found}
        policy = next(one["facts"] for one in found if one["what"] == "obligation")
        assert "allocated of the price of O1, where its order states" in policy


def test_what_a_milestone_allocates_anew_names_who_said_it_and_what_shows_it(seller: Seller) -> None:
    """187.50 of the training: allocated by the milestone of the bonus, which Ada stated with her evidence."""
    found = [list(nodes(explain_id(seller.hub, ident), "came_from")) for ident, _ in lines_of_assets(seller)]
    anew = next(own for own in found if any(one["id"].startswith("milestone:L13>L12") for one in own))
    allocation = next(one for one in anew if one["what"] == "allocation")
    assert allocation["facts"] == "187.50 USD of 0.00 USD billed from 2026-01-01 on, act 1 of its contract"
    milestone = next(one for one in anew if one["what"] == "milestone")
    assert milestone["facts"].endswith(": signed by the customer")
    assert "reached on 2026-04-10, said Ada at " in milestone["facts"]


def test_an_order_line_leads_forward_to_every_line_of_contract_assets(seller: Seller) -> None:
    story = list(nodes(foretell_id(seller.hub, "O1"), "became"))
    told_of = {one["id"] for one in story if one["what"] == "journal line"}
    free = [ident for ident, _ in lines_of_assets(seller) if ident.startswith("JE-ALC-2026-")]
    assert free
    assert set(free) <= told_of


def test_a_milestone_is_an_act_of_a_person_in_the_audit(seller: Seller) -> None:
    with seller.hub.database.reading() as work:
        (row,) = work.audit.rows(record_id="L13", act=Act.REACHED.value)
    assert row.who == "Ada"
    assert '"evidence": "signed by the customer"' in row.detail
