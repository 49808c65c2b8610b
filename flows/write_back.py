"""Write back: the CRM is told how far each order has come, and what was invoiced, credited and paid on it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from core.invoicing import CreditNote, Invoice, InvoiceStatus
from core.money import Money, allocate
from core.orders import Order, OrderProgress
from core.store import Work
from core.subscriptions import Subscription
from core.sync import OutboxCommand
from flows.context import Hub, hub
from flows.report import Report, amounts, conclude, counted, dollars, sum_by_currency


def order_progress(work: Work, accounts: Collection[str] | None = None) -> list[tuple[Order, OrderProgress]]:
    """How far each order has come. ``accounts``: of these alone, among whom is who pays for them (None: all).

    An invoice may bill several orders of an account: each line belongs to the order of its subscription charge, as what
    is credited of it does; payments are shared over the orders in proportion to what was invoiced on them.
    """
    theirs: dict[str, list[str]] = {} if accounts is None else {"account_id": sorted(accounts)}
    subscriptions = work.find(Subscription, **theirs)
    orders = {order.id: order for order in work.find(Order, **theirs)}
    by_line = {line.id: order.id for order in orders.values() for line in order.lines}
    order_of = {line.id: by_line[line.order_line_id] for one in subscriptions for line in one.charges}
    subscription_of = {one.order_id: one.id for one in subscriptions}
    invoices = work.find(Invoice, status=InvoiceStatus.FINAL.value, **theirs)
    idents = [invoice.id for invoice in invoices]
    paid, credited, prepaid = work.sums.paid(idents), work.sums.credited(idents), work.sums.prepaid(idents)
    lost = work.sums.written_off(idents)
    numbers: dict[str, list[str]] = defaultdict(list)
    billed: dict[str, Money] = {}
    received: dict[str, Money] = {}
    settled: dict[str, Money] = {}
    given_back: dict[str, Money] = {}
    order_of_line = {line.id: order_of.get(line.subscription_charge_id or "") for one in invoices for line in one.lines}
    for note in work.find(CreditNote, invoice_id=idents):
        for credit in note.lines:
            if order_id := order_of_line[credit.invoice_line_id]:
                before = given_back.get(order_id, Money.zero(note.currency))
                given_back[order_id] = before + credit.amount + credit.tax
    for invoice in invoices:
        zero = Money.zero(invoice.currency)
        shares: dict[str, Money] = {}
        for line in invoice.lines:
            if line.subscription_charge_id not in order_of:
                continue
            order_id = order_of[line.subscription_charge_id]
            shares[order_id] = shares.get(order_id, zero) + line.amount + line.tax
        weights = [max(share.minor, 0) for share in shares.values()]
        money = paid.get(invoice.id, zero) + prepaid.get(invoice.id, zero)
        met = money + credited.get(invoice.id, zero) + lost.get(invoice.id, zero)
        parts, ends = ([zero] * len(weights), [zero] * len(weights))
        if any(weights):
            parts, ends = allocate(money, weights), allocate(met, weights)
        for (order_id, share), part, end in zip(shares.items(), parts, ends, strict=True):
            numbers[order_id].append(invoice.id)
            billed[order_id] = billed.get(order_id, zero) + share
            received[order_id] = received.get(order_id, zero) + part
            settled[order_id] = settled.get(order_id, zero) + end
    sums = _Sums(billed, given_back, received, settled)
    return [
        (order, _progress(order, subscription_of[_first(order, orders)], numbers[order.id], sums))
        for order in orders.values()
        if _first(order, orders) in subscription_of
    ]


def _first(order: Order, orders: Mapping[str, Order]) -> str:
    """The order that made the subscription which an order made or amended."""
    while order.amends is not None:
        order = orders[order.amends]
    return order.id


@dataclass(frozen=True, slots=True)
class _Sums:
    """By order; ``settled`` is what nobody waits for any more: paid, credited or given up."""

    invoiced: Mapping[str, Money]
    credited: Mapping[str, Money]
    paid: Mapping[str, Money]
    settled: Mapping[str, Money]


def _progress(order: Order, subscription_id: str, numbers: list[str], sums: _Sums) -> OrderProgress:
    """An order is paid when nothing is open of it; what was credited or given up is not paid, but not open either."""
    zero = Money.zero(order.currency)
    invoiced = sums.invoiced.get(order.id, zero)
    status = "provisioned"
    if order.id in sums.invoiced:
        status = "paid" if sums.settled[order.id] >= invoiced else "invoiced"
    return OrderProgress(
        id=order.id,
        status=status,
        currency=order.currency,
        subscription_id=subscription_id,
        invoice_numbers=tuple(numbers),
        invoiced=invoiced,
        credited=sums.credited.get(order.id, zero),
        paid=sums.paid.get(order.id, zero),
    )


def tell_orders(hub: Hub, work: Work, invoice: Invoice) -> list[OutboxCommand]:
    """The intents to tell the CRM of the orders that an invoice bills, as they stand now."""
    charges = [line.subscription_charge_id for line in invoice.lines if line.subscription_charge_id]
    accounts = {one.account_id for one in work.parents_of(Subscription, "charges", charges)} | {invoice.account_id}
    crm = hub.system("crm")
    return [
        OutboxCommand.of(crm, "order_progress", "order_progress", told, hub.now(), money=told.invoiced)
        for _, told in order_progress(work, accounts)
        if invoice.id in told.invoice_numbers
    ]


def tell_crm(hub: Hub) -> Report:
    """Intends to tell the CRM about each order that has moved on."""
    crm = hub.system("crm")
    report = Report("")
    with hub.database.work() as work:
        for order, told in order_progress(work):
            command = OutboxCommand.of(crm, "order_progress", "order_progress", told, hub.now(), money=told.invoiced)
            if work.outbox.enqueue([command]):
                report.money.append(told.invoiced)
                report.rows.append(
                    {
                        "order": order.id,
                        "name": order.name,
                        "status": told.status,
                        "invoiced": dollars(told.invoiced),
                        "credited": dollars(told.credited),
                        "paid": dollars(told.paid),
                    }
                )
    report.counts = {"told": len(report.rows)}
    report.money = sum_by_currency(report.money)
    report.headline = counted(len(report.rows), "order") + (
        f", {amounts(report.money)} invoiced" if report.money else ""
    )
    return report


@flow(
    name="Write back to the CRM",
    description="Tells the CRM the state of each order, its invoices, and what was invoiced, credited and paid.",
)
def write_back() -> State[Any]:
    return conclude("Write back", tell_crm(hub()))
