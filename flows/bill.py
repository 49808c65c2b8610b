"""Bill: rated lines become draft invoices, the tax engine is asked, and its answer makes them final."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from core.accounts import Account
from core.errors import TieoutError
from core.invoicing import Invoice, InvoiceLine, InvoiceStatus, draft, finalise
from core.period import DateSpan
from core.ports import Payload
from core.posting import invoice_entries
from core.rating import RatedLine
from core.revenue import straight_line
from core.sync import OutboxCommand
from core.tax import TaxDocument
from flows import desk
from flows.context import Hub, hub
from flows.report import Report, amounts, conclude, counted, dollars, sum_by_currency


def draft_invoices(hub: Hub, period: str) -> Report:
    """Drafts one invoice per account from the rated lines of a month, and intends to ask the tax engine."""
    billing = DateSpan.month(period)
    report = Report("")
    with hub.database.work() as work:
        lines: dict[str, list[RatedLine]] = defaultdict(list)
        for line in work.find(RatedLine, billing_period=period):
            lines[line.account_id].append(line)
        known = {invoice.account_id for invoice in work.find(Invoice, billing_period_start=billing.start)}
        for account in work.find(Account, id=[ident for ident in lines if ident not in known]):
            invoice = draft(account, lines[account.id], hub.price_book, billing, billing.last_day)
            if invoice is None:
                continue
            work.add([invoice])
            work.outbox.enqueue(
                [
                    OutboxCommand.of(engine, "tax_document", "invoice", part, hub.now(), money=part.subtotal)
                    for engine, part in by_engine(hub, invoice).items()
                ]
            )
            report.money.append(invoice.subtotal)
            report.rows.append(
                {
                    "invoice": invoice.id,
                    "account": account.name,
                    "lines": str(len(invoice.lines)),
                    "before tax": dollars(invoice.subtotal),
                }
            )
    report.counts = {"drafted": len(report.rows), "already_drafted": len(known)}
    report.money = sum_by_currency(report.money)
    report.headline = f"{counted(len(report.rows), 'account')}" + (f", {amounts(report.money)}" if report.money else "")
    return report


def by_engine(hub: Hub, invoice: Invoice) -> dict[str, Invoice]:
    """What each tax engine is asked about: the lines whose tax codes it takes."""
    lines: dict[str, list[InvoiceLine]] = defaultdict(list)
    for line in invoice.lines:
        lines[hub.tax_engine(line.tax_code)].append(line)
    return {engine: invoice.part(taken) for engine, taken in lines.items()}


def finalise_invoices(hub: Hub) -> Report:
    """Takes the tax engine's answers and makes the drafts final: booked, scheduled, ready for the other systems."""
    erp = hub.system("erp")
    report = Report("")
    with hub.database.reading() as work:
        drafts = work.find(Invoice, status=InvoiceStatus.DRAFT.value)
        asked = {invoice.id: list(by_engine(hub, invoice)) for invoice in drafts}
        answers = {
            (proof.system, proof.record_id): proof.answer
            for engine in {engine for engines in asked.values() for engine in engines}
            for proof in work.outbox.proofs(engine, "tax_document", record_id=list(asked))
        }
    for invoice in drafts:
        engines = asked[invoice.id]
        if any((engine, invoice.id) not in answers for engine in engines):
            continue
        ident = f"record:invoice:{invoice.id}"
        now = hub.now()
        try:
            documents = {engine: _document(hub, engine, answers[engine, invoice.id]) for engine in engines}
            final = finalise(invoice, *documents.values())
            with hub.database.work() as work:
                work.put(final)
                for document in documents.values():
                    work.put(document)
                entries = work.add(invoice_entries(final))
                for line in final.lines:
                    if line.defer and line.amount:
                        work.add(straight_line(line, final.account_id))
                journals = [entry for entry in entries if entry.via.value == "journal"]
                work.outbox.enqueue(
                    [
                        *(
                            OutboxCommand.of(engine, "tax_commit", "tax_document", document, now, money=document.tax)
                            for engine, document in documents.items()
                        ),
                        OutboxCommand.of(erp, "invoice", "invoice", final, now, money=final.total),
                        *(OutboxCommand.of(erp, "journal_entry", "journal_entry", entry, now) for entry in journals),
                    ]
                )
                work.desk.resolve(ident)
        except TieoutError as error:
            failure = desk.entry(error, ident, engines[0], "invoice", invoice.id, now, invoice.subtotal)
            report.failures.append(failure)
            with hub.database.work() as work:
                work.desk.report(failure)
            continue
        report.money.append(final.total)
        report.rows.append(
            {
                "invoice": final.id,
                "tax document": ", ".join(document.vendor_id for document in documents.values()),
                "before tax": dollars(final.subtotal),
                "tax": dollars(final.tax),
                "total": dollars(final.total),
                "due": final.due_date.isoformat(),
            }
        )
    report.counts = {
        "final": len(report.rows),
        "waiting_for_tax": len(drafts) - len(report.rows) - len(report.failures),
    }
    report.money = sum_by_currency(report.money)
    report.headline = f"{counted(len(report.rows), 'invoice')} final" + (
        f", {amounts(report.money)} with tax" if report.money else ""
    )
    return report


def _document(hub: Hub, engine: str, answer: Payload) -> TaxDocument:
    document = hub.mappings.find(engine, "tax_document", "in", "tax_document").into(answer)
    assert isinstance(document, TaxDocument)
    return document


@flow(
    name="Bill the period",
    flow_run_name="bill {period}",
    description="Drafts one invoice per account from what was rated for the month, and asks the tax engine about it.",
)
def bill(period: str) -> State[Any]:
    return conclude(f"bill {period}", draft_invoices(hub(), period))


@flow(
    name="Finalise invoices",
    description="Puts the tax engine's answer on each draft and makes it final: booked, and never changed again.",
)
def finalise_drafts() -> State[Any]:
    return conclude("Finalise invoices", finalise_invoices(hub()))
