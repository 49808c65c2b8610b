"""Recognise: what is billed is scheduled by its policy, and what is earned is booked on the last day of the month."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from datetime import date
from itertools import count, groupby
from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State

from core.allocation import Allocation, Bill, allocated, brought, differs, earned_in, standing
from core.audit import Act, Deed
from core.errors import Rejected
from core.invoicing import CreditNote, Invoice
from core.ledger import JournalEntry
from core.money import Money, round_money, total
from core.obligations import ContractMovement, Milestone, MovementKind, Obligation, billed, ended
from core.obligations import reached as satisfied_by_milestone
from core.period import DateSpan
from core.posting import Books, allocation_entries, recognition_entries, recognition_id
from core.posting_rules import ALWAYS
from core.revenue import RecognitionPart, reached, reduction, schedule, spread, taken_back
from core.revenue_policy import Amending, Consideration, Pattern
from core.store import Work
from core.store.codec import pages
from core.subscriptions import Subscription, SubscriptionCharge
from core.sync import Lane
from flows.context import Hub, hub
from flows.post import post
from flows.promise import documents, post_moved, reallocate, serving, unbooked
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
    rates = {line.id: invoice.exchange for invoice in invoices for line in invoice.lines}
    return recognition_entries(books, month, account_id, earned, number, lines, dates, rates)


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

    The invoice is stored already. Rejected when a policy does not tell over what a line is earned.
    """
    moved: list[ContractMovement] = []
    promised: dict[str, Obligation] = {}
    waiting = {line.id for line in invoice.lines}
    for line in invoice.lines:
        charge_id = line.subscription_charge_id or ""
        contract = work.parent_of_child(Subscription, "charges", id=charge_id) if line.amount and charge_id else None
        bought = next((one for one in contract.charges if one.id == charge_id), None) if contract else None
        days = serving(hub, line, bought) if bought else line.service_period
        policy, share, months = hub.price_book.revenue(line.charge_code), line.amount, None
        if contract and bought and (found := _phases(work, bought, promised)):
            obligation, phases = found
            bill = line.amount, days
            share = _brings(hub, work, contract, obligation, phases, bill, waiting)
            moved.append(billed(obligation, line, f"{invoice.invoice_date:%Y-%m}", share))
            work.add(moved[-1:])
            months = earned_in(phases, share, bill, policy.convention)
        if line.defer and share.minor < 0 and contract and bought and policy.pattern is Pattern.STRAIGHT_LINE:
            months = taken_back(months or spread(share, days, policy.convention), _unbooked(work, contract, bought))
        if line.defer and share:
            work.add(schedule(line, invoice.account_id, policy, amount=share, span=days, months=months))
        waiting.discard(line.id)
    post_moved(hub, work, f"ALC-{invoice.id}", invoice.invoice_date, moved, promised)


def _unbooked(work: Work, contract: Subscription, bought: SubscriptionCharge) -> list[RecognitionPart]:
    """What the bills of an order line are still to earn."""
    charges = [one.id for one in contract.charges if one.order_line_id == bought.order_line_id]
    return unbooked(
        work, [ident for one in charges for ident in work.child_ids(Invoice, "lines", subscription_charge_id=one)]
    )


def _phases(
    work: Work, bought: SubscriptionCharge, promised: dict[str, Obligation]
) -> tuple[Obligation, tuple[Allocation, ...]] | None:
    """What is allocated to a charge; None where all of it is as it is billed. ``promised`` takes the obligation."""
    obligation = promised.get(bought.order_line_id) or work.get(Obligation, bought.order_line_id)
    if obligation is None:
        return None
    phases = standing(obligation, work.find(Allocation, obligation_id=obligation.id))
    if not differs(phases) and obligation.pattern is not Pattern.MILESTONE:
        return None
    promised[obligation.id] = obligation
    return obligation, phases


def _brings(
    hub: Hub,
    work: Work,
    contract: Subscription,
    obligation: Obligation,
    phases: Sequence[Allocation],
    bill: Bill,
    waiting: Set[str],
) -> Money:
    """What a bill brings, so that all bills so far have brought their share of what is allocated.

    ``waiting``: the lines that are not told yet, its own among them.
    """
    before = work.find(ContractMovement, obligation_id=obligation.id)
    if any(one.kind is MovementKind.SATISFIED for one in before):
        return Money.zero(obligation.currency)
    told = documents(hub, work, contract, obligation, before, waiting)
    bills = [*(one for document in told for one in document.bills), bill]
    now = round_money(brought(phases, bills), obligation.currency)
    return now - total((one.brings for one in told), obligation.currency)


def schedule_credit(
    hub: Hub, work: Work, note: CreditNote, invoice: Invoice, parts: Mapping[str, Sequence[RecognitionPart]]
) -> None:
    """Takes what a credit note gives back out of the schedules, and its share out of the balance of its contract.

    ``parts``: by invoice line, what its schedule is still to earn. The note is stored already.
    """
    lines = {line.id: line for line in invoice.lines}
    moved: list[ContractMovement] = []
    promised: dict[str, Obligation] = {}
    waiting = {line.id for line in note.lines}
    for line in note.lines:
        work.add(reduction(line, parts.get(line.invoice_line_id, ())))
        billed_line = lines[line.invoice_line_id]
        charge_id = billed_line.subscription_charge_id or ""
        contract = work.parent_of_child(Subscription, "charges", id=charge_id)
        bought = next((one for one in contract.charges if one.id == charge_id), None) if contract else None
        if contract and bought and (found := _phases(work, bought, promised)):
            bill = -line.amount, serving(hub, billed_line, bought)
            share = _brings(hub, work, contract, *found, bill, waiting)
            moved.append(billed(found[0], line, f"{note.credit_date:%Y-%m}", share))
            work.add(moved[-1:])
        waiting.discard(line.id)
    post_moved(hub, work, f"ALC-{note.id}", note.credit_date, moved, promised, note.invoice_date)


def reach_milestone(
    hub: Hub, order_id: str, line_id: str, on: date, who: str, evidence: str
) -> list[tuple[str, Money]]:
    """Records that a milestone was reached on a day, and gives what is earned by it: (line, amount).

    What was billed is earned out of what is deferred, the rest of its price against the contract asset; a price that
    was constrained until now is allocated to all that share it. The same word again changes nothing. Rejected when the
    order has no such line, it waits for no milestone, nothing shows it, or another day was said.
    """
    if not evidence.strip():
        raise Rejected("a milestone needs evidence: what shows that it was reached", record=order_id, field="evidence")
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
        work.add(
            [Milestone(id=line_id, order_id=order_id, reached_on=on, who=who, evidence=evidence, recorded_at=hub.now())]
        )
        told = {"order": order_id, "reached_on": on.isoformat(), "evidence": evidence}
        work.audit.tell(Deed(hub.now(), who, Act.REACHED, record="milestone", record_id=line_id, detail=told))
        contract = work.get(Subscription, promised.contract_id)
        assert contract is not None
        if hub.price_book.revenue(promised.charge_code).consideration is Consideration.CONSTRAINED:
            sharing = work.find(Obligation, priced_with=promised.priced_with)
            reallocate(hub, work, f"milestone:{line_id}", contract, sharing, on, Amending.CATCH_UP)
        bought = [one.id for one in contract.charges if one.order_line_id == line_id]
        lines = [ident for one in bought for ident in work.child_ids(Invoice, "lines", subscription_charge_id=one)]
        parts = reached(work.find(RecognitionPart, invoice_line_id=lines), month, line_id)
        price = allocated(standing(promised, work.find(Allocation, obligation_id=line_id)))
        moved = satisfied_by_milestone(promised, price, work.find(ContractMovement, obligation_id=line_id), month)
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
