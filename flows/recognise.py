"""Recognise: what is billed is scheduled by its policy, and what is earned is booked on the last day of the month."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from itertools import count, groupby
from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State

from core.catalog import ChargeKind, PriceBook
from core.errors import Rejected
from core.invoicing import CreditNote, CreditNoteLine, Invoice, InvoiceLine
from core.ledger import JournalEntry
from core.money import Money
from core.obligations import (
    ContractMovement,
    Milestone,
    Obligation,
    billed,
    ended,
    obligations,
    served,
    unbilled,
)
from core.obligations import reached as satisfied_by_milestone
from core.orders import Order
from core.period import DateSpan
from core.posting import Books, allocation_entries, recognition_entries, recognition_id
from core.posting_rules import ALWAYS
from core.revenue import RecognitionPart, reached, reduction, schedule
from core.revenue_policy import Amending, Pattern, RevenuePolicy
from core.store import Work
from core.store.codec import pages
from core.subscriptions import Subscription, SubscriptionCharge, service_periods
from core.sync import Lane
from flows.context import Hub, hub
from flows.post import post
from flows.report import SHOWN, Report, amounts, conclude, counted, dollars, sum_by_currency
from flows.revenue_report import roll_forward_rows

Due = tuple[list[JournalEntry], list[RecognitionPart | ContractMovement]]

#: Customers whose journals are worked out together.
PAGE = 100


def recognition_due(hub: Hub, work: Work, period: str, entity: str | None = None) -> Iterator[Due]:
    """What is earned up to and with a month and no journal has booked: of the schedules, and of obligations that are
    satisfied without a bill; with the parts and movements it books. ``entity``: in the books of one alone.

    Nothing is stored, and never all is in memory. What comes into a month that was booked already goes into a further
    journal of that month.
    """
    groups = groupby(work.periods.unearned(period), lambda part: (part.month, part.account_id))
    for page in pages(((place, list(earned)) for place, earned in groups), PAGE):
        books = hub.books_by_account(work, [account_id for (_, account_id), _ in page])
        taken = work.periods.numbers_of([recognition_id(*place) for place, _ in page])
        for (month, account_id), earned in page:
            if entity in (None, books[account_id].entity.id):
                first = recognition_id(month, account_id) not in taken
                number = 1 if first else _further(work, month, account_id)
                yield _earned(work, books[account_id], month, account_id, earned, number), [*earned]
    yield from _movements_due(hub, work, period, entity)


def _further(work: Work, month: str, account_id: str) -> int:
    """The number of the next journal of a month that has some."""
    return next(
        number for number in count(2) if not work.periods.numbers_of([recognition_id(month, account_id, number)])
    )


def _earned(
    work: Work, books: Books, month: str, account_id: str, earned: Sequence[RecognitionPart], number: int
) -> list[JournalEntry]:
    invoices = _invoices(work, earned) if _asks(books, earned) else []
    lines = {line.id: line for invoice in invoices for line in invoice.lines}
    dates = {line.id: invoice.invoice_date for invoice in invoices for line in invoice.lines}
    return recognition_entries(books, month, account_id, earned, number, lines, dates)


def _movements_due(hub: Hub, work: Work, period: str, entity: str | None) -> Iterator[Due]:
    moved: dict[tuple[str, str, str], list[ContractMovement]] = defaultdict(list)
    booked = work.sums.booked_movements()
    for one in work.find(ContractMovement):
        if one.month <= period and one.moved and one.id not in booked:
            moved[one.month, one.account_id, one.currency].append(one)
    promised = {one.id: one for one in work.find(Obligation)} if moved else {}
    for (month, account_id, currency), movements in sorted(moved.items()):
        books = hub.books(work, account_id)
        if entity not in (None, books.entity.id):
            continue
        for number in count(1):
            ident = f"ALC-{month}-{account_id}-{currency}-{number}"
            if work.get(JournalEntry, f"JE-{ident}") is None:
                break
        day = DateSpan.month(month).last_day
        yield allocation_entries(books, ident, day, movements, promised), [*movements]


def _asks(books: Books, earned: Sequence[RecognitionPart]) -> bool:
    """Whether the rules ask what was sold and where, or the rates of the invoices are needed."""
    return bool(books.rules.asked("recognition") - ALWAYS) or earned[0].currency != books.entity.currency


def _invoices(work: Work, earned: Sequence[RecognitionPart]) -> list[Invoice]:
    return work.parents_of(Invoice, "lines", [part.invoice_line_id for part in earned])


def schedule_invoice(hub: Hub, work: Work, invoice: Invoice) -> None:
    """Schedules what an invoice defers, and moves what it bills above or below the allocated price of what it bills.

    Rejected when a policy does not tell over what a line is earned.
    """
    moved: dict[str, ContractMovement] = {}
    promised: dict[str, Obligation] = {}
    for line in invoice.lines:
        charge_id = line.subscription_charge_id or ""
        contract = work.parent_of_child(Subscription, "charges", id=charge_id) if line.amount and charge_id else None
        bought = next((one for one in contract.charges if one.id == charge_id), None) if contract else None
        share = line.amount
        if bought and (movement := _billed(work, bought.order_line_id, line, invoice.invoice_date, promised)):
            moved[line.id], share = movement, movement.allocated
            work.add([movement])
        if line.defer and share:
            policy = hub.price_book.revenue(line.charge_code)
            span, since = _span(hub, work, line, contract, bought, policy), ""
            if policy.amendment is Amending.CATCH_UP:
                since = f"{invoice.billing_period.start:%Y-%m}"
            work.add(schedule(line, invoice.account_id, policy, amount=share, span=span, since=since))
    _post_moved(hub, work, f"ALC-{invoice.id}", invoice.invoice_date, moved.values(), promised)


def _post_moved(
    hub: Hub,
    work: Work,
    ident: str,
    posted_on: date,
    moved: Iterable[ContractMovement],
    promised: dict[str, Obligation],
    valued_on: date | None = None,
) -> None:
    movements = [one for one in moved if one.moved]
    if movements:
        books = hub.books(work, movements[0].account_id)
        post(hub, work, allocation_entries(books, ident, posted_on, movements, promised, valued_on))


def _billed(
    work: Work, order_line_id: str, line: InvoiceLine | CreditNoteLine, day: date, promised: dict[str, Obligation]
) -> ContractMovement | None:
    """What a bill moves of its contract; None where nothing is allocated otherwise than it is billed."""
    obligation = promised.get(order_line_id) or work.get(Obligation, order_line_id)
    if obligation is None or not obligation.moves:
        return None
    promised[obligation.id] = obligation
    before = work.find(ContractMovement, obligation_id=obligation.id)
    return billed(obligation, before, line, f"{day:%Y-%m}")


def _span(
    hub: Hub,
    work: Work,
    line: InvoiceLine,
    contract: Subscription | None,
    bought: SubscriptionCharge | None,
    policy: RevenuePolicy,
) -> DateSpan | None:
    """What a line is earned over, where that is not its own service period."""
    if contract is None or bought is None or policy.pattern is not Pattern.STRAIGHT_LINE:
        return None
    if hub.price_book.charge(line.charge_code).kind is ChargeKind.ONE_TIME:
        return served(bought, hub.price_book)
    return _changed_span(hub, work, line, contract, bought) if policy.amendment is Amending.CATCH_UP else None


def _changed_span(
    hub: Hub, work: Work, line: InvoiceLine, contract: Subscription, bought: SubscriptionCharge
) -> DateSpan | None:
    """The service period that a replacement cut in two, whole: what stops in it, and what goes on in its place."""
    day = line.service_period.start
    if line.amount.minor < 0:
        taken = work.parent_of_child(Order, "lines", amends=bought.order_line_id)
        replaced = bought.order_line_id if taken else None
    else:
        order = work.parent_of_child(Order, "lines", id=bought.order_line_id) if day == bought.starts_on else None
        replaced = next((one.amends for one in order.lines if one.id == bought.order_line_id), None) if order else None
    for old in contract.charges:
        if old.order_line_id == replaced and old.ends_on == day and old.starts_on < day:
            charge, before = hub.price_book.charge(old.charge_code), DateSpan(day - timedelta(days=1), day)
            for part, _ in service_periods(charge, old, before, contract.starts_on):
                return DateSpan(part.start, line.service_period.end)
    return None


def schedule_credit(
    hub: Hub, work: Work, note: CreditNote, invoice: Invoice, parts: Mapping[str, Sequence[RecognitionPart]]
) -> None:
    """Takes what a credit note gives back out of the schedules, and its share out of the balance of its contract.

    ``parts``: by invoice line, what its schedule is still to earn.
    """
    lines = {line.id: line for line in invoice.lines}
    moved: list[ContractMovement] = []
    promised: dict[str, Obligation] = {}
    for line in note.lines:
        work.add(reduction(line, parts.get(line.invoice_line_id, ())))
        charge_id = lines[line.invoice_line_id].subscription_charge_id or ""
        contract = work.parent_of_child(Subscription, "charges", id=charge_id)
        bought = next((one for one in contract.charges if one.id == charge_id), None) if contract else None
        if bought and (movement := _billed(work, bought.order_line_id, line, note.credit_date, promised)):
            work.add([movement])
            moved.append(movement)
    _post_moved(hub, work, f"ALC-{note.id}", note.credit_date, moved, promised, note.invoice_date)


def promise(hub: Hub, work: Work, order: Order, subscription: Subscription, book: PriceBook) -> None:
    """Keeps what an order promises, with its price allocated, and when what is never billed is earned."""
    promised = obligations(order, subscription, book)
    work.add(promised)
    work.add([one for obligation in promised for one in unbilled(obligation)])


def reach_milestone(hub: Hub, order_id: str, line_id: str, on: date, who: str) -> list[tuple[str, Money]]:
    """Records that a milestone was reached on a day, and gives what is earned by it: (line, amount).

    What was billed is earned out of what is deferred, the rest of its price against the contract asset. The same word
    again changes nothing. Rejected when the order has no such line, it waits for no milestone, or another day was said.
    """
    month = f"{on:%Y-%m}"
    with hub.database.work() as work:
        promised = work.get(Obligation, line_id)
        if promised is None or promised.order_id != order_id:
            raise Rejected(f"order {order_id} promises no line {line_id}", record=order_id, field="line", value=line_id)
        if promised.pattern is not Pattern.MILESTONE:
            why = f"line {line_id} of order {order_id} is earned {promised.pattern}, and waits for no milestone"
            raise Rejected(why, record=order_id, field="line", value=line_id)
        known = work.get(Milestone, line_id)
        if known is not None and known.reached_on != on:
            why = f"line {line_id} of order {order_id} was reached on {known.reached_on}, as {known.who} said"
            raise Rejected(why, record=order_id, field="on", value=on.isoformat())
        if known is not None:
            return []
        work.add([Milestone(id=line_id, order_id=order_id, reached_on=on, who=who, recorded_at=hub.now())])
        contract = work.get(Subscription, promised.contract_id)
        bought = [one.id for one in contract.charges if one.order_line_id == line_id] if contract else []
        lines = [ident for one in bought for ident in work.child_ids(Invoice, "lines", subscription_charge_id=one)]
        parts = reached(work.find(RecognitionPart, invoice_line_id=lines), month, line_id)
        moved = satisfied_by_milestone(promised, work.find(ContractMovement, obligation_id=line_id), month)
        work.add(parts)
        work.add(moved)
    earned = [(part.invoice_line_id, part.amount) for part in parts if part.month == month]
    return earned + [(line_id, one.allocated) for one in moved]


def settle_ended(work: Work, period: str) -> None:
    """Takes what is left on the balance of contracts that ended before a month to revenue in that month."""
    movements: dict[str, list[ContractMovement]] = defaultdict(list)
    for one in work.find(ContractMovement):
        movements[one.contract_id].append(one)
    first = DateSpan.month(period).start
    for contract in work.find(Subscription, id=list(movements)):
        if all(one.ends_on is not None and one.ends_on <= first for one in contract.charges):
            promised = work.find(Obligation, contract_id=contract.id)
            work.add(ended(promised, movements[contract.id], period))


def recognise_through(hub: Hub, period: str) -> Report:
    """Books what is due up to and with a month, each part once, and intends it for the general ledger."""
    report = Report("")
    with hub.database.work() as work:
        settle_ended(work, period)
        for entries, earned in recognition_due(hub, work, period):
            post(hub, work, entries, Lane.CLOSE)
            if entries:
                money = sum_by_currency(
                    one.amount if isinstance(one, RecognitionPart) else one.allocated for one in earned
                )
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
    description="Books what deferred invoice lines earn in the month, as its policy declares, one journal per account.",
)
def recognise(period: str) -> State[Any]:
    report = recognise_through(hub(), period)
    if rows := roll_forward_rows(hub(), period)[:SHOWN]:
        create_table_artifact(table=rows, key=f"roll-forward-{period}", description=f"Deferred revenue over {period}")
    return conclude(f"recognise {period}", report)
