"""Every figure of the general ledger leads back to what was sold, and metered ones to what was used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from app.explain import explain_id, foretell_id, tree
from core.invoicing import Invoice
from core.ledger import JournalEntry
from core.money import Money
from core.orders import Order
from tests.flows.world import Company

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("company")]

METERED = {"VC-MIN": ["u1", "u2"], "VC-MIN-INTL": ["u3"]}


def nodes(story: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield story
    for one in story.get("came_from", []):
        yield from nodes(one)


def test_every_journal_line_ends_at_opportunity_lines_and_metered_ones_at_usage(closed: Company) -> None:
    with closed.hub.database.reading() as work:
        lines = [line for entry in work.find(JournalEntry) for line in entry.lines]
    assert {line.source for line in lines} == {
        "invoice",
        "invoice_line",
        "tax_document",
        "payment",
        "settlement",
        "recognition",
    }
    for line in lines:
        found = list(nodes(explain_id(closed.hub, line.id)))
        ends = {one["what"] for one in found if not one.get("came_from")}
        assert "opportunity line" in ends, line
        assert ends <= {"opportunity line", "usage"}, line
        priced = [one for one in found if one["what"] == "rated line"]
        for one in priced:
            metered = any(part["what"] == "usage" for part in one["came_from"])
            sold = next(part["facts"] for part in one["came_from"] if part["what"] == "opportunity line")
            assert metered is sold.startswith(("VC-MIN", "VC-PLAN-MIN")), one["facts"]


def test_a_metered_invoice_line_shows_its_events_its_derivation_and_its_opportunity_line(closed: Company) -> None:
    with closed.hub.database.reading() as work:
        invoice = work.get(Invoice, "INV-2026-10-A-0001")
    assert invoice is not None
    for line in invoice.lines:
        found = list(nodes(explain_id(closed.hub, line.id)))
        events = [event["id"] for one in found for event in one.get("events", [])]
        assert events == METERED.get(line.charge_code, [])
        rated = next(one for one in found if one["what"] == "rated line")
        assert any(f"{line.amount.amount}" in text for text in rated["derivation"]), rated["derivation"]
        sold = next(one for one in found if one["what"] == "opportunity line")
        assert closed.running.emulators["salesforce"].shelf.get("OpportunityLineItem", sold["id"]) is not None


def test_every_document_is_explained_by_our_id_and_by_each_vendors(closed: Company) -> None:
    ours = "INV-2026-10-A-0003"
    story = explain_id(closed.hub, ours)
    assert {one["system"] for one in story["held_by"]} == {"avalara", "netsuite"}
    netsuite = next(one["id"] for one in story["held_by"] if one["system"] == "netsuite")
    assert closed.held("netsuite", "invoice", ours)["internalId"] == netsuite
    payment = explain_id(closed.hub, f"PAY-{ours}")
    stripe = next(one["id"] for one in payment["held_by"] if one["system"] == "stripe")
    assert explain_id(closed.hub, stripe)["id"] == f"PAY-{ours}"


def test_a_story_is_shown_as_a_tree_with_every_node(closed: Company) -> None:
    def labels(branch: Any) -> Iterator[str]:
        yield str(branch.label)
        for one in branch.children:
            yield from labels(one)

    story = explain_id(closed.hub, "JE-REV-2026-10-A-0002-1")
    shown = "\n".join(labels(tree(story)))
    assert all(one["id"] in shown for one in nodes(story))
    assert str(Money.of("407.68", "USD")) in shown


def test_an_id_that_nobody_knows_is_refused(closed: Company) -> None:
    with pytest.raises(ValueError, match="nothing here has the id 'x'"):
        explain_id(closed.hub, "x")


def outcomes(story: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield story
    for one in story.get("became", []):
        yield from outcomes(one)


def test_every_journal_line_of_what_was_sold_is_found_from_its_opportunity_lines(closed: Company) -> None:
    """Forward and back lead the same way; what concerns a whole invoice (tax, cash) is found from the invoice."""
    with closed.hub.database.reading() as work:
        orders = [line.id for order in work.find(Order) for line in order.lines]
        entries = [line for entry in work.find(JournalEntry) for line in entry.lines]
        invoices = [invoice.id for invoice in work.find(Invoice)]
    found = {one["id"] for ident in orders for one in outcomes(foretell_id(closed.hub, ident))}
    assert {line.id for line in entries if line.source in ("invoice_line", "recognition")} <= found
    found |= {one["id"] for ident in invoices for one in outcomes(foretell_id(closed.hub, ident))}
    assert {line.id for line in entries} <= found


def test_a_line_that_a_vendor_shows_is_explained_by_the_vendors_own_numbers(closed: Company) -> None:
    """NetSuite numbers the lines of a journal from 1."""
    journal = closed.held("netsuite", "journalEntry", "JE-INV-2026-10-A-0003")
    story = explain_id(closed.hub, f"{journal['internalId']}/2")
    assert story["id"] == "JE-INV-2026-10-A-0003-2"
    assert story["rule"]["version"]
    (held,) = story["held_by"]
    assert (held["system"], held["id"]) == ("netsuite", journal["internalId"])


def test_a_rated_line_names_the_price_book_that_priced_it(closed: Company) -> None:
    story = explain_id(closed.hub, "INV-2026-10-A-0003-1")
    (rated,) = [one for one in nodes(story) if one["what"] == "rated line"]
    assert rated["price"]["version"] == closed.hub.price_book.version
