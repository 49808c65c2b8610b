"""Outside billing: another system bills; it is told contracts and usage, and its invoices are taken over.

The billing role is played by the internal core unless a system of that role is in use. Then that system rates and
bills: nothing is rated here, and the price book names what is sold, how it is taxed and where it is booked. Everything
after the draft of an invoice (tax, cash, journals, tie-out) is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from core.accounts import Account
from core.billing import BilledInvoice, BilledState, UsageTotal, catalog, contract_charges, taken_over, usage_totals
from core.errors import Rejected, TieoutError
from core.invoicing import Invoice
from core.noun import Noun
from core.orders import Order
from core.period import DateSpan
from core.store import Work
from core.subscriptions import Subscription, months_on
from core.sync import DeskEntry, OutboxCommand
from flows import desk
from flows.context import Hub
from flows.measure import contracts, measure
from flows.report import Report, counted


def bills_outside(hub: Hub) -> bool:
    """Whether another system than the internal core bills."""
    return bool(hub.playing("billing"))


def drafts_here(hub: Hub) -> None:
    """Rejected where another system makes the drafts: a line that nobody takes would wait for ever."""
    if bills_outside(hub):
        system = hub.system("billing")
        raise Rejected(f"{system} bills; enter the line there, or give it back by a credit note", system=system)


def _intents(hub: Hub, record: str, nouns: Iterable[Noun], now: datetime) -> Iterator[OutboxCommand]:
    """The intents to bring nouns to the billing system: one for each resource that a mapping makes of the record."""
    system = hub.system("billing")
    resources = [one.resource for one in hub.mappings.known(system, record, "out")]
    return (OutboxCommand.of(system, resource, record, noun, now) for noun in nouns for resource in resources)


def tell_catalog(hub: Hub) -> list[OutboxCommand]:
    """The intents to bring what is sold to the billing system; none where the internal core bills."""
    if not bills_outside(hub):
        return []
    return list(_intents(hub, "catalog_charge", catalog(hub.price_book), hub.now()))


def tell_contract(hub: Hub, work: Work, account: Account, subscription: Subscription) -> list[OutboxCommand]:
    """The intents to bring a customer and its contract to the billing system; none where the internal core bills.

    The orders that made and amended the subscription are in ``work``.
    """
    if not bills_outside(hub):
        return []
    lines = {charge.order_line_id for charge in subscription.charges}
    orders = [work.parent_of_child(Order, "lines", id=line) for line in sorted(lines)]
    ordered = {line.id: line for order in orders if order for line in order.lines}
    told: Mapping[str, Iterable[Noun]] = {
        "account": [account],
        "subscription": [subscription],
        "contract_charge": contract_charges(subscription, ordered, hub.price_book),
    }
    now = hub.now()
    return [command for record, nouns in told.items() for command in _intents(hub, record, nouns, now)]


def measured_usage(hub: Hub, period: str) -> Iterator[tuple[Account, list[UsageTotal] | TieoutError]]:
    """What each account used in a month by contract charge and site, or why that cannot be told."""
    billing = DateSpan.month(period)
    with hub.database.reading() as work:
        accounts = work.find(Account)
        subscriptions = contracts(work, accounts)
    metered = measure(hub, hub.price_book, billing, accounts, subscriptions, dict.fromkeys(subscriptions))
    for account in accounts:
        used = metered.get(account.id, [])
        try:
            yield account, usage_totals(hub.price_book, account, subscriptions[account.id], billing, used)
        except TieoutError as error:
            yield account, error


def tell_usage(hub: Hub, period: str) -> Report:
    """Intends to bring the usage of a month to the billing system, where it is new or has changed."""
    report = Report("", counts={"accounts": 0, "lines": 0})
    measured = list(measured_usage(hub, period))
    with hub.database.work() as work:
        for account, found in measured:
            ident = f"record:usage:{account.id}:{period}"
            if isinstance(found, TieoutError):
                report.failures.append(desk.entry(found, ident, "hub", "usage_total", account.id, hub.now()))
                work.desk.report(report.failures[-1])
                continue
            work.desk.resolve(ident)
            fresh = work.outbox.enqueue(_intents(hub, "usage_total", found, hub.now()))
            report.counts["lines"] += len(fresh)
            report.counts["accounts"] += bool(fresh)
            told = {command.record_id for command in fresh}
            report.rows += [_used(account, one) for one in found if one.id in told]
    report.headline = f"{counted(report.counts['lines'], 'usage total')} to tell {hub.system('billing')}"
    return report


def _used(account: Account, one: UsageTotal) -> dict[str, str]:
    return {
        "account": f"{account.id} {account.name}",
        "charge": one.charge_code,
        "site": one.site_id or "",
        "quantity": f"{one.quantity:,f}",
    }


def billed_invoices(hub: Hub, billing: DateSpan) -> Iterator[tuple[str, BilledInvoice | TieoutError]]:
    """The closed invoices of a month as the billing system shows them, by its id, or why one cannot be read.

    It is asked for what changed from a month before on: some are closed in advance.
    """
    system = hub.system("billing")
    mapping = hub.mappings.find(system, "billed_invoice", "in", "invoice")
    since = f"{months_on(billing.start, -1)}T00:00:00+00:00"
    for change in hub.connector(system).changes("invoice", since):
        if change.payload is None:
            continue
        try:
            billed: Any = mapping.into(change.payload)
        except TieoutError as error:
            yield change.vendor_id, error
            continue
        if billed.state is BilledState.CLOSED and billing.start <= billed.last_day < billing.end:
            yield change.vendor_id, billed


def outside_drafts(hub: Hub, billing: DateSpan) -> tuple[list[Invoice], list[DeskEntry]]:
    """The billing system's invoices of a month as drafts of ours, and what of them stands on the desk instead.

    A system that cannot be asked now stands there itself, until it answers.
    """
    system, drafts, failures = hub.system("billing"), [], []
    try:
        found = list(billed_invoices(hub, billing))
    except TieoutError as error:
        away = desk.entry(error, f"system:{system}", system, "system", system, hub.now())
        with hub.database.work() as work:
            work.desk.report(away)
        return [], [away]
    with hub.database.work() as work:
        work.desk.resolve(f"system:{system}")
        accounts = {account.id: account for account in work.find(Account)}
        sold = {charge.id: one.account_id for one in work.find(Subscription) for charge in one.charges}
        for vendor_id, billed in found:
            ident = f"record:billed_invoice:{vendor_id}"
            try:
                drafts.append(_draft(hub, accounts, sold, billed))
                work.desk.resolve(ident)
            except TieoutError as error:
                money = billed.total if isinstance(billed, BilledInvoice) else None
                failures.append(desk.entry(error, ident, system, "billed_invoice", vendor_id, hub.now(), money))
                work.desk.report(failures[-1])
    return drafts, failures


def _draft(
    hub: Hub, accounts: Mapping[str, Account], sold: Mapping[str, str], billed: BilledInvoice | TieoutError
) -> Invoice:
    """The draft of an invoice of an account that we know and of charges that it bought; ``sold``: whose each one is."""
    if isinstance(billed, TieoutError):
        raise billed

    def refused(why: str, field: str, value: str) -> Rejected:
        text = f"invoice {billed.id} is of {value}, {why}"
        return Rejected(text, system=hub.system("billing"), record="billed_invoice", field=field, value=value)

    if billed.account_id not in accounts:
        raise refused("an account that no order brought here", "account_id", billed.account_id)
    for line in billed.lines:
        charge = line.subscription_charge_id
        if charge is not None and sold.get(charge) != billed.account_id:
            raise refused(f"which {billed.account_id} did not buy", "subscription_charge_id", charge)
    return taken_over(billed, accounts[billed.account_id], hub.price_book)
