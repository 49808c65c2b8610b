"""Order to cash: the whole business process on one screen. Start reading here.

Each step is a flow of its own, reads what it needs from our tables and may be repeated at any time. A step that ends
with failed records does not stop the next one: the failed records stand on the error desk, and the run ends red.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from core.invoicing import Invoice
from core.period import DateSpan
from flows.bill import bill, finalise_drafts
from flows.collect import collect
from flows.context import Hub, hub
from flows.credits import credits
from flows.deliver import deliver
from flows.ingest import ingest
from flows.intake import intake, settle
from flows.prepare import prepare
from flows.rate import rate
from flows.recognise import recognise
from flows.report import amounts, counted, name_run, sum_by_currency
from flows.tie_out import tie_out
from flows.write_back import write_back


class Earning(StrEnum):
    """When deferred revenue is booked."""

    NOW = "now"
    AT_CLOSE = "at close"


@flow(
    name="Order to cash",
    flow_run_name="order to cash {period}",
    description="Takes in won orders, rates and bills a month (`2026-10`), taxes, collects, books, tells the CRM, "
    "and proves that all systems say the same. Repeating it changes nothing.",
)
def order_to_cash(period: str, earning: Earning = Earning.NOW) -> State[Any]:
    """``earning``: whether deferred revenue is booked at once, or by the close, once a person has approved it."""
    steps: list[Callable[[], State[Any]]] = [
        lambda: prepare(return_state=True),
        lambda: intake(return_state=True),
        lambda: ingest(return_state=True),
        lambda: rate(period, return_state=True),
        lambda: credits(period, return_state=True),
        lambda: bill(period, return_state=True),
        lambda: deliver(return_state=True),  # customers, items; the tax engine's answer
        lambda: finalise_drafts(return_state=True),
        lambda: collect(return_state=True),
        lambda: deliver(return_state=True),  # invoices and journals to the ERP, tax committed, cards charged
        lambda: intake(return_state=True),  # what the gateway says of the charges
        lambda: settle(return_state=True),
        *([lambda: recognise(period, return_state=True)] if earning is Earning.NOW else []),
        lambda: write_back(return_state=True),
        lambda: deliver(return_state=True),  # payments and journals to the ERP, progress to the CRM
        lambda: tie_out(period, return_state=True),
    ]
    states = [step() for step in steps]
    failed = [str(state.message) for state in states if not state.is_completed()]
    told = f"{month_in_words(hub(), period)}; {states[-1].message}"
    if flow_run.id:
        name_run(f"order to cash {period}: {told}")
    return Failed(message=" | ".join([told, *failed])) if failed else Completed(message=told)


def month_in_words(hub: Hub, period: str) -> str:
    """What was billed for a month: ``20 invoices, $48,210.33``."""
    with hub.database.reading() as work:
        invoices = work.find(Invoice, billing_period_start=DateSpan.month(period).start)
    whole = amounts(sum_by_currency(invoice.total for invoice in invoices))
    return counted(len(invoices), "invoice") + (f", {whole}" if whole else "")
