"""Recognise: deferred revenue is earned by day, and booked per account on the last day of the month."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import count
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from core.invoicing import Invoice
from core.ledger import JournalEntry
from core.posting import Books, recognition_entries, recognition_id
from core.posting_rules import ALWAYS
from core.revenue import RecognitionPart
from core.store import Work
from core.sync import Lane
from flows.context import Hub, hub
from flows.post import post
from flows.report import Report, amounts, conclude, counted, dollars, sum_by_currency


def recognition_due(hub: Hub, work: Work, period: str) -> list[tuple[list[JournalEntry], list[RecognitionPart]]]:
    """What the recognition schedules earn up to and with a month and no journal has booked, with the parts it books.

    Nothing is stored. What comes into a month that was booked already goes into a further journal of that month.
    """
    parts: dict[tuple[str, str], list[RecognitionPart]] = defaultdict(list)
    booked = work.sums.booked_parts()
    for part in work.find(RecognitionPart):
        if part.month <= period and part.id not in booked:
            parts[part.month, part.account_id].append(part)
    due = []
    for (month, account_id), earned in sorted(parts.items()):
        journals = count(1)
        while work.get(JournalEntry, recognition_id(month, account_id, number := next(journals))):
            continue
        books = hub.books(work, account_id)
        invoices = _invoices(work, earned) if _asks(books, earned) else []
        lines = {line.id: line for invoice in invoices for line in invoice.lines}
        dates = {line.id: invoice.invoice_date for invoice in invoices for line in invoice.lines}
        due.append((recognition_entries(books, month, account_id, earned, number, lines, dates), earned))
    return due


def _asks(books: Books, earned: Sequence[RecognitionPart]) -> bool:
    """Whether the rules ask what was sold and where, or the rates of the invoices are needed."""
    return bool(books.rules.asked("recognition") - ALWAYS) or earned[0].currency != books.entity.currency


def _invoices(work: Work, earned: Sequence[RecognitionPart]) -> list[Invoice]:
    return work.parents_of(Invoice, "lines", [part.invoice_line_id for part in earned])


def recognise_through(hub: Hub, period: str) -> Report:
    """Books what is due up to and with a month, each part once, and intends it for the general ledger."""
    report = Report("")
    with hub.database.work() as work:
        for entries, earned in recognition_due(hub, work, period):
            post(hub, work, entries, Lane.CLOSE)
            if entries:
                money = sum_by_currency(part.amount for part in earned)
                report.money += money
                report.rows.append(
                    {"journal": entries[0].id, "account": earned[0].account_id, "earned": amounts(money)}
                )
    report.counts = {"journals": len(report.rows)}
    report.money = sum_by_currency(report.money)
    report.headline = f"{counted(len(report.rows), 'journal')}" + (
        f", {', '.join(map(dollars, report.money))} earned" if report.money else ""
    )
    return report


@flow(
    name="Recognise revenue",
    flow_run_name="recognise {period}",
    description="Books what deferred invoice lines earn in the month, straight-line by day, one journal per account.",
)
def recognise(period: str) -> State[Any]:
    return conclude(f"recognise {period}", recognise_through(hub(), period))
