"""Collect: final invoices are charged through the gateway, off session, once each."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from core.invoicing import Invoice, InvoiceStatus
from core.payments import PaymentRequest
from core.sync import OutboxCommand
from flows.context import Hub, hub
from flows.report import Report, amounts, conclude, counted, dollars, sum_by_currency


def request_payments(hub: Hub) -> Report:
    """Intends to charge each final invoice that is owed and was not asked for yet."""
    gateway = hub.system("gateway")
    report = Report("")
    with hub.database.work() as work:
        for invoice in work.find(Invoice, status=InvoiceStatus.FINAL.value):
            if invoice.total.minor <= 0:
                continue
            request = PaymentRequest(
                id=f"PAY-{invoice.id}",
                invoice_id=invoice.id,
                account_id=invoice.account_id,
                currency=invoice.currency,
                amount=invoice.total,
                description=f"Invoice {invoice.id}",
            )
            command = OutboxCommand.of(gateway, "payment", "payment_request", request, hub.now(), money=request.amount)
            if work.outbox.enqueue([command]):
                report.money.append(request.amount)
                report.rows.append(
                    {"payment": request.id, "account": invoice.account_id, "amount": dollars(request.amount)}
                )
    report.counts = {"requested": len(report.rows)}
    report.money = sum_by_currency(report.money)
    report.headline = f"{counted(len(report.rows), 'payment')} asked for" + (
        f", {amounts(report.money)}" if report.money else ""
    )
    return report


@flow(name="Collect payments", description="Asks the gateway to charge every final invoice that is owed, once.")
def collect() -> State[Any]:
    return conclude("Collect payments", request_payments(hub()))
