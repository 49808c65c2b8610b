"""Two tax engines on one invoice: each line goes to the one that its product's tax code names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.demo.run import CALLS_AS_TELECOM
from app.explain import explain_id
from core.invoicing import Invoice
from core.ledger import JournalEntry
from core.tax import TaxDocument
from tests.connectors import contract_avalara_communications
from tests.flows.hubs import ROOT
from tests.flows.world import CUSTOMERS, SETTINGS, USAGE, Company, company

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("two engines")]

BOTH = "INV-2026-10-A-0001"


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Company]:
    book = (ROOT / "app" / "demo" / "northwind.yaml").read_text(encoding="utf-8")
    (tmp_path / "prices.yaml").write_text(book.replace(*CALLS_AS_TELECOM), encoding="utf-8")
    settings = {**SETTINGS, "avalara_communications": contract_avalara_communications.settings}
    with company(tmp_path, settings) as entered:
        entered.hub.settings = entered.hub.settings.model_copy(update={"price_book": tmp_path / "prices.yaml"})
        entered.enter(*CUSTOMERS)
        entered.bring("bridge.2026-10.csv", USAGE)
        entered.month()
        yield entered


def test_both_engines_are_asked_of_one_invoice_and_their_documents_never_share_an_id(stack: Company) -> None:
    """Each is asked of its own lines alone; together they are the invoice, and every tie closes."""
    with stack.hub.database.reading() as work:
        documents, invoice = work.find(TaxDocument), work.get(Invoice, BOTH)
    assert invoice is not None
    asked = [one for one in documents if one.invoice_id == BOTH]
    assert len(asked) == 2
    assert len({one.id for one in documents}) == len(documents)
    assert sum(one.base.minor for one in asked) == invoice.subtotal.minor
    assert sum(one.tax.minor for one in asked) == invoice.tax.minor
    taxed = [{line.invoice_line_id for line in one.lines} for one in asked]
    assert not taxed[0] & taxed[1]
    assert stack.breaks() == []


def test_the_tax_of_a_journal_is_explained_by_the_documents_of_both_engines(stack: Company) -> None:
    with stack.hub.database.reading() as work:
        entries = work.find(JournalEntry, id=[f"JE-{BOTH}"])
        documents = {one.id for one in work.find(TaxDocument, invoice_id=BOTH)}
    lines = [line for entry in entries for line in entry.lines if line.source == "tax_document"]
    assert lines
    for line in lines:
        story: dict[str, Any] = explain_id(stack.hub, line.id)
        shown = [one["id"] for one in story["came_from"] if one["what"] == "tax document"]
        assert len(shown) == 2
        assert set(shown) == documents
