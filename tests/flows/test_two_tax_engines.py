"""Two tax engines on one invoice and on its credit notes: each line goes to the one that its tax code names."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from app.demo.run import CALLS_AS_TELECOM, credit_calls
from app.explain import explain_id
from core.close import Close
from core.invoicing import CreditNote, Invoice
from core.ledger import JournalEntry
from core.money import Money
from core.posting import jurisdiction_of
from core.tax import TaxDocument
from flows import bill, cures, deliver, error_desk, gates, intake, recognise, write_back
from flows.credit import Leftover, credit_invoice, steps_of
from sandbox import avalara_communications_tax as engine
from tests.connectors import contract_avalara_communications
from tests.flows.hubs import ROOT
from tests.flows.world import CUSTOMERS, SETTINGS, USAGE, Company, company

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("two engines")]

BOTH = "INV-2026-10-A-0001"
AFC = "avalara_communications"
LATER = date(2026, 11, 20)


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


def test_tax_is_explained_by_the_document_of_the_engine_that_computed_it(stack: Company) -> None:
    """A booked tax by those that found it owed to its jurisdiction, an invoice line by the one that was asked of it."""
    with stack.hub.database.reading() as work:
        entries, invoice = work.find(JournalEntry, id=[f"JE-{BOTH}"]), work.get(Invoice, BOTH)
        documents = work.find(TaxDocument, invoice_id=BOTH)
    assert invoice is not None
    taxes = [line for entry in entries for line in entry.lines if line.source == "tax_document"]
    named = [line for line in taxes if "jurisdiction" in line.segments]
    assert named
    for line in taxes:
        story: dict[str, Any] = explain_id(stack.hub, line.id)
        shown = {one["id"] for one in story["came_from"] if one["what"] == "tax document"}
        owed_to = line.segments.get("jurisdiction")
        owing = {one.id for one in documents if owed_to in {None, *map(jurisdiction_of, one.lines)}}
        assert shown == owing
    assert any(len(explain_id(stack.hub, line.id)["came_from"]) == 1 for line in named)
    for sold in invoice.lines:
        (taxed,) = explain_id(stack.hub, sold.id)["taxed_by"]
        (asked,) = [one for one in documents if any(line.invoice_line_id == sold.id for line in one.lines)]
        assert taxed == {"document": asked.id, "tax": str(sold.tax)}


def settle(stack: Company) -> None:
    """What follows a credit note: told, its tax taken back, that committed, and what the gateway tells."""
    deliver.deliver_all(stack.hub)
    bill.finalise_invoices(stack.hub)
    deliver.deliver_all(stack.hub)
    intake.take_in(stack.hub)
    recognise.recognise_through(stack.hub, "2026-10")
    write_back.tell_crm(stack.hub)
    deliver.deliver_all(stack.hub)


def returned(stack: Company, note_id: str) -> list[TaxDocument]:
    with stack.hub.database.reading() as work:
        return work.find(TaxDocument, invoice_id=note_id)


def reported(stack: Company) -> Decimal:
    """What AFC will report of the invoice and its credit notes: the taxes of their committed transactions."""
    kept = stack.running.emulators[AFC].shelf.all("transaction")
    mine = [one for one in kept if one["committed"] and BOTH in one["invn"]]
    return sum((Decimal(str(tax["tax"])) for one in mine for tax in one.get("txs", [])), Decimal(0))


def test_all_of_an_invoice_gives_back_the_tax_of_both_engines_and_nothing_is_left_to_report(stack: Company) -> None:
    """Each engine is told of its own lines; AFC keeps a document of its own, committed by its own step of the void."""
    note = credit_invoice(stack.hub, BOTH, {}, "Never delivered", LATER, Leftover.REFUND)
    settle(stack)
    (document,) = returned(stack, note.id)
    with stack.hub.database.reading() as work:
        invoice = work.get(Invoice, BOTH)
        committed = {proof.record_id for proof in work.outbox.proofs(AFC, "tax_commit")}
        steps = [(one["system"], one["step"], one["state"]) for one in steps_of(work, note.id)]
    assert {one for one in steps if one[0] in ("avalara", AFC)} == {
        ("avalara", "tax credit", "done"), (AFC, "tax credit", "done"), (AFC, "tax commit", "done")
    }  # fmt: skip
    assert invoice
    assert note.total == invoice.total
    assert {line.invoice_line_id for line in document.lines} < {line.id for line in note.lines}
    assert -document.tax == sum((line.tax for line in note.lines if ":" in line.tax_code), Money.zero("USD"))
    assert document.id in committed
    assert abs(reported(stack)) < Decimal("0.005")
    assert stack.breaks() == []


def test_parts_of_a_line_give_back_its_tax_to_the_cent(stack: Company) -> None:
    """Thirds of a line and what is left: what each part gives back is what AFC takes back of it."""
    with stack.hub.database.reading() as work:
        invoice = work.get(Invoice, BOTH)
    assert invoice
    line = next(line for line in invoice.lines if ":" in line.tax_code)
    part = Money(line.amount.minor // 3, "USD")
    notes = [
        credit_invoice(stack.hub, BOTH, {line.position: amount}, reason, LATER)
        for amount, reason in ((part, "first"), (part, "second"), (None, "the rest"))
    ]
    settle(stack)
    for note in notes:
        (document,) = returned(stack, note.id)
        assert -document.tax == note.tax
        assert -document.base == note.subtotal
    assert sum((note.tax for note in notes), Money.zero("USD")) == line.tax
    assert stack.breaks() == []


def test_an_answer_that_was_lost_is_asked_for_again_and_one_document_is_committed(stack: Company) -> None:
    credit_invoice(stack.hub, BOTH, {}, "Never delivered", LATER)
    stack.plant(AFC, "lose_reply", "POST /api/v2/afc/CalcTaxes")
    stack.plant(AFC, "lose_reply", "POST /api/v2/afc/Commit")
    settle(stack)
    documents = [one for one in stack.running.emulators[AFC].shelf.all("document") if one["doc"].startswith("CN-")]
    assert [one["committed"] for one in documents] == [False, True]
    assert abs(reported(stack)) < Decimal("0.005")
    assert stack.breaks() == []


def disputed(stack: Company, monkeypatch: pytest.MonkeyPatch) -> tuple[CreditNote, TaxDocument]:
    """A rate that changed for days long gone: AFC would take back more than was charged."""
    for row in engine.facts()["taxes"]:
        if row["tid"] == 162:
            monkeypatch.setitem(row, "rate", "0.25")
    note = credit_invoice(stack.hub, BOTH, {}, "Never delivered", LATER)
    settle(stack)
    (document,) = returned(stack, note.id)
    monkeypatch.undo()
    return note, document


def committed(stack: Company) -> set[str]:
    with stack.hub.database.reading() as work:
        return {proof.record_id for proof in work.outbox.proofs(AFC, "tax_commit")}


def test_another_tax_than_the_note_gives_back_stays_uncommitted_until_a_person_commits_it(
    stack: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands on the desk and is a Break; once it is committed as it is, what is left of it is the amount."""
    note, document = disputed(stack, monkeypatch)
    with stack.hub.database.reading() as work:
        (entry,) = work.desk.open()
    assert (entry.id, entry.cause) == (f"answer:{AFC}/tax_credit/{note.id}", "TieBroken")
    assert document.id not in committed(stack)
    (found,) = stack.tie_out()[1]
    assert (found.subject, found.kind) == (note.id, "returned_tax_uncommitted")
    cures.cure(stack.hub, found, "Ada")
    assert document.id in committed(stack)
    with stack.hub.database.reading() as work:
        assert work.desk.open() == []
    assert stack.breaks() == [("credited tax = tax returned", note.id, "returned_tax_amount")]


def test_retrying_a_refused_answer_asks_the_engine_again(stack: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rate is mended there: the second answer is the note's, and the first one's document is never committed."""
    note, refused = disputed(stack, monkeypatch)
    with stack.hub.database.work() as work:
        (entry,) = work.desk.open()
        assert error_desk.retry(stack.hub, work, entry, "Ada")
    settle(stack)
    assert committed(stack) & {one.id for one in returned(stack, note.id)} == {
        one.id for one in returned(stack, note.id) if one.id != refused.id
    }
    with stack.hub.database.reading() as work:
        assert work.desk.open() == []
    assert abs(reported(stack)) < Decimal("0.005")
    assert stack.breaks() == []


def test_a_tax_that_was_changed_at_one_engine_is_asked_for_anew_there_alone(stack: Company) -> None:
    """The document of the other engine on the same invoice is left as it is."""
    stack.set("avalara", "transaction", BOTH, totalTax="1.00")
    lines, breaks = stack.tie_out()
    assert {line.system for line in lines if line.tie.startswith("invoice tax") and not line.closes} == {"avalara"}
    (found,) = [one for one in breaks if one.system == "avalara"]
    assert (found.subject, found.kind) == (BOTH, "tax_amount")
    steps = cures.rehearse(stack.hub, found, "Ada").steps
    assert {(step.system, step.resource, step.record_id) for step in steps} == {
        ("avalara", resource, BOTH) for resource in ("tax_void", "tax_document", "tax_commit")
    }


def test_the_close_sees_the_tax_of_both_engines_committed(stack: Company) -> None:
    """AFC calls its document by a code of its own, and not by the number of the invoice."""
    close = Close.model_construct(period="2026-10")
    assert list(gates.invoices_taxed(stack.hub, close)) == []


def test_the_credit_note_of_the_demo_ties_out_and_is_made_once(stack: Company) -> None:
    """Half of the calls of the first invoice that both engines taxed; the demo may be run again."""
    told = credit_calls(stack.hub)
    assert told.startswith(f"Credit note CN-{BOTH}-1: $")
    settle(stack)
    assert stack.breaks() == []
    tied = {line.tie: line for line in stack.tie_out()[0] if line.right_name == AFC}["credited tax = tax returned"]
    assert (tied.count, tied.difference) == (1, 0)
    assert tied.left > 0
    assert credit_calls(stack.hub) == told
    assert len(stack.objects()["netsuite", "creditMemo"]) == 1
