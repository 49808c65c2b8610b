"""Write back: the CRM is told how far each order has come, and what was invoiced and paid on it."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from core.invoicing import Invoice, InvoiceStatus
from core.money import Money, allocate
from core.orders import Order, OrderProgress
from core.subscriptions import Subscription
from core.sync import OutboxCommand
from flows.context import Hub, hub
from flows.report import Report, amounts, conclude, counted, dollars, sum_by_currency


def progress_of_orders(hub: Hub) -> Report:
    """Intends to tell the CRM about each order that has moved on.

    An invoice may bill several orders of an account: each line belongs to the order of its subscription charge, and
    payments are shared over the orders in proportion to what was invoiced on them.
    """
    crm = hub.system("crm")
    report = Report("")
    with hub.database.work() as work:
        subscriptions = work.find(Subscription)
        order_of = {line.id: sub.order_id for sub in subscriptions for line in sub.charges}
        orders = {order.id: order for order in work.find(Order)}
        invoices = work.find(Invoice, status=InvoiceStatus.FINAL.value)
        paid = work.sums.paid([invoice.id for invoice in invoices])
        numbers: dict[str, list[str]] = defaultdict(list)
        billed: dict[str, Money] = {}
        received: dict[str, Money] = {}
        for invoice in invoices:
            zero = Money.zero(invoice.currency)
            shares: dict[str, Money] = {}
            for line in invoice.lines:
                order_id = order_of[line.subscription_charge_id]
                shares[order_id] = shares.get(order_id, zero) + line.amount + line.tax
            money = paid.get(invoice.id, zero)
            weights = [max(share.minor, 0) for share in shares.values()]
            parts = allocate(money, weights) if any(weights) else [zero] * len(weights)
            for (order_id, share), part in zip(shares.items(), parts, strict=True):
                numbers[order_id].append(invoice.id)
                billed[order_id] = billed.get(order_id, zero) + share
                received[order_id] = received.get(order_id, zero) + part
        for subscription in subscriptions:
            order = orders[subscription.order_id]
            zero = Money.zero(order.currency)
            invoiced, paid_on = billed.get(order.id, zero), received.get(order.id, zero)
            status = "provisioned"
            if order.id in billed:
                status = "paid" if paid_on >= invoiced else "invoiced"
            told = OrderProgress(
                id=order.id,
                status=status,
                currency=order.currency,
                subscription_id=subscription.id,
                invoice_numbers=tuple(numbers[order.id]),
                invoiced=invoiced,
                paid=paid_on,
            )
            command = OutboxCommand.of(crm, "order_progress", "order_progress", told, hub.now(), money=invoiced)
            if work.outbox.enqueue([command]):
                report.money.append(invoiced)
                report.rows.append(
                    {
                        "order": order.id,
                        "name": order.name,
                        "status": status,
                        "invoiced": dollars(invoiced),
                        "paid": dollars(paid_on),
                    }
                )
    report.counts = {"told": len(report.rows)}
    report.money = sum_by_currency(report.money)
    report.headline = f"{counted(len(report.rows), 'order')}" + (
        f", {amounts(report.money)} invoiced" if report.money else ""
    )
    return report


@flow(
    name="Write back to the CRM",
    description="Tells the CRM the state of each order, its invoices, and what was invoiced and paid.",
)
def write_back() -> State[Any]:
    return conclude("Write back", progress_of_orders(hub()))
