"""Promise: what an order promises, its price over its promises, and what each change of its contract makes of both.

What a change moves is the difference between what all bills so far bring by the new allocation and what they were told
to bring, so that it does not matter which came first, the bill or the change.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace
from datetime import date

from core.allocation import (
    EVER,
    Allocation,
    Bill,
    Stand,
    allocated,
    brought,
    by_month,
    differs,
    reallocated,
    standing,
)
from core.catalog import ChargeKind, PriceBook
from core.invoicing import CreditNote, Invoice, InvoiceLine, InvoiceStatus
from core.money import Money, round_money, total
from core.obligations import (
    ContractMovement,
    Milestone,
    MovementKind,
    Obligation,
    Served,
    adjusted,
    declares,
    obligations,
    satisfied,
    served,
    serves,
)
from core.orders import Change, Order, OrderLine
from core.period import DateSpan
from core.posting import allocation_entries
from core.rational import Fraction
from core.revenue import WAITS, RecognitionPart, spread
from core.revenue_policy import Amending, Pattern
from core.store import Work
from core.subscriptions import Subscription, SubscriptionCharge
from flows.context import Hub
from flows.post import post


def promise(hub: Hub, work: Work, order: Order, contract: Subscription, book: PriceBook) -> None:
    """Keeps what an order promises, with its price allocated, and when what is never billed is earned.

    One that amends another changes how the price of that contract is allocated. ``contract``: as the order leaves it.
    """
    lines: dict[str, list[OrderLine]] = defaultdict(list)
    known = {one.id: one for one in work.find(Obligation, contract_id=contract.id)} if order.amends else {}
    for line in order.lines:
        lines[_priced_with(order, line, contract, known, book)].append(line)
    for priced_with, own in lines.items():
        part = order.model_copy(update={"lines": tuple(own)})
        made = obligations(part, contract, book, priced_with)
        if priced_with == order.id:
            work.add(made)
            for one in made:
                work.add(_unbilled(one, standing(one, ()), ()))
            continue
        policies = {book.revenue(line.charge_code).amendment for line in own}
        policy = Amending.CATCH_UP if Amending.CATCH_UP in policies else Amending.PROSPECTIVE
        on = min(line.start_on or order.start_on for line in own)
        before = [one for one in known.values() if one.priced_with == priced_with]
        reallocate(hub, work, order.id, contract, before, on, policy, made)


def _priced_with(
    order: Order, line: OrderLine, contract: Subscription, known: dict[str, Obligation], book: PriceBook
) -> str:
    """The order with whose price that of a line is allocated."""
    if order.amends is None:
        return order.id
    if line.change is None and book.revenue(line.charge_code).amendment is Amending.SEPARATE:
        return order.id
    amended = known.get(line.amends or "")
    return amended.priced_with if amended else contract.order_id


def reallocate(
    hub: Hub,
    work: Work,
    act_id: str,
    contract: Subscription,
    before: Sequence[Obligation],
    on: date,
    policy: Amending,
    made: Sequence[Obligation] = (),
) -> None:
    """Allocates the price of a contract anew when something changes it on a day, and moves what that changes.

    ``before``: the obligations that share the price; ``made``: those that the act adds to them. Nothing is moved where
    every obligation keeps the price that its order states.
    """
    stands = _stands(work, contract, [*before, *made], hub.price_book)
    policies = policy is Amending.CATCH_UP or declares([*before, *made], hub.price_book)
    if not stands or not (policies or any(differs(one.phases) for one in stands)):
        work.add(made)
        return
    told = reallocated(act_id, stands, on, policy)
    phases: dict[str, list[Allocation]] = defaultdict(list)
    for one in told:
        phases[one.obligation_id].append(one)
    work.add([one.model_copy(update={"allocated": _of(phases.get(one.id), one.allocated)}) for one in made])
    if not differs(told) and not any(differs(one.phases) for one in stands):
        return
    work.add(told)
    for stand in stands:
        _move(hub, work, act_id, contract, stand, tuple(phases[stand.obligation.id]), on)


def _of(phases: Sequence[Allocation] | None, otherwise: Money) -> Money:
    return allocated(phases) if phases else otherwise


def _stands(work: Work, contract: Subscription, promised: Sequence[Obligation], book: PriceBook) -> list[Stand]:
    """What shares a price, as its contract stands now; what has neither a price nor a part of one is left out.

    What something costs alone is what it cost when it was sold; where no standalone price is declared, what is billed.
    """
    orders = {one.id: one for one in work.find(Order, id=[one.order_id for one in promised])}
    lines = {line.id: line for order in orders.values() for line in order.lines}
    acts: dict[str, list[Allocation]] = defaultdict(list)
    for told in work.find(Allocation, contract_id=contract.id):
        acts[told.obligation_id].append(told)
    days = {one.id: one.reached_on for one in work.find(Milestone, id=[one.id for one in promised])}
    shared = declares(promised, book)
    found = []
    for one in promised:
        if (line := lines.get(one.id)) is None:
            continue
        now = serves(line, contract, book, days.get(one.id))
        if not shared:
            now = tuple(replace(part, alone=Fraction(part.stated.amount)) for part in now)
        elif sold := sum(
            (part.alone for part in serves(line, _as_sold(one, contract), book, one.starts_on)), Fraction(0)
        ):
            worth = Fraction(one.standalone) or sold
            now = tuple(replace(part, alone=part.alone * worth / sold) for part in now)
        phases = standing(one, acts[one.id])
        if now or allocated(phases):
            found.append(Stand(one, phases, now, _family(one.id, lines, book)))
    return found


def _as_sold(obligation: Obligation, contract: Subscription) -> Subscription:
    """The contract with what an obligation promised, as if nothing had changed since."""
    charge = next(one for one in contract.charges if one.order_line_id == obligation.id)
    whole = charge.model_copy(update={"starts_on": obligation.starts_on, "ends_on": contract.ends_on})
    return contract.model_copy(update={"charges": (whole,)})


def _family(line_id: str, lines: dict[str, OrderLine], book: PriceBook) -> str:
    """The first of the lines that replaced each other as one promise that goes on."""
    line = lines[line_id]
    if line.change is not Change.REPLACE or line.amends not in lines:
        return line_id
    if book.revenue(line.charge_code).amendment is not Amending.CATCH_UP:
        return line_id
    return _family(line.amends, lines, book)


# What a change moves


@dataclass(frozen=True, slots=True)
class Document:
    """A line of an invoice, what it and its credits are for, and the months that earn it.

    ``brings``: what the line and its credits were told to bring so far.
    """

    line: InvoiceLine
    invoice_date: date
    bills: tuple[Bill, ...]
    brings: Money


def documents(
    hub: Hub,
    work: Work,
    contract: Subscription,
    obligation: Obligation,
    moved: Iterable[ContractMovement],
    waiting: Set[str] = frozenset(),
) -> list[Document]:
    """What was billed of an obligation and given back of it. ``moved``: all its movements; ``waiting``: lines of an
    invoice or credit note that are left out."""
    told = {one.source_id: one.allocated for one in moved if one.source_id and not one.act_id}
    more: dict[str | None, Money] = {}
    for one in moved:
        if one.act_id:
            more[one.source_id] = more.get(one.source_id, Money.zero(obligation.currency)) + one.allocated
    bought = {one.id: one for one in contract.charges if one.order_line_id == obligation.id}
    lines = [ident for one in bought for ident in work.child_ids(Invoice, "lines", subscription_charge_id=one)]
    invoices = [one for one in work.parents_of(Invoice, "lines", lines) if one.status is InvoiceStatus.FINAL]
    given = [line for note in work.find(CreditNote, invoice_id=[one.id for one in invoices]) for line in note.lines]
    found = []
    for invoice in invoices:
        for line in invoice.lines:
            if line.id in waiting or not line.amount or line.subscription_charge_id not in bought:
                continue
            days = serving(hub, line, bought[line.subscription_charge_id])
            amounts = {line.id: line.amount}
            amounts |= {
                one.id: -one.amount for one in given if one.invoice_line_id == line.id and one.id not in waiting
            }
            brings = total((told.get(ident, amount) for ident, amount in amounts.items()), obligation.currency)
            brings += more.get(line.id, Money.zero(obligation.currency))
            bills = tuple((amount, days) for amount in amounts.values())
            found.append(Document(line, invoice.invoice_date, bills, brings))
    return found


def serving(hub: Hub, line: InvoiceLine, bought: SubscriptionCharge) -> DateSpan:
    """The days that a line of an invoice is earned over. Rejected when its policy does not tell."""
    straight = hub.price_book.revenue(line.charge_code).pattern is Pattern.STRAIGHT_LINE
    if straight and hub.price_book.charge(line.charge_code).kind is ChargeKind.ONE_TIME:
        return served(bought, hub.price_book)
    return line.service_period


def _move(
    hub: Hub,
    work: Work,
    act_id: str,
    contract: Subscription,
    stand: Stand,
    phases: tuple[Allocation, ...],
    on: date,
) -> None:
    """Moves what an act changes of an obligation, from its day on."""
    obligation, month = stand.obligation, f"{on:%Y-%m}"
    moved = work.find(ContractMovement, obligation_id=obligation.id)
    milestone = obligation.pattern is Pattern.MILESTONE
    if milestone and any(one.kind is MovementKind.SATISFIED for one in moved):
        more = allocated(phases) - allocated(stand.phases)
        work.add([adjusted(obligation, act_id, month, more)] if more else [])
        return
    found = documents(hub, work, contract, obligation, moved)
    if not found:
        by = None if obligation.order_id == act_id else act_id
        work.add(_unbilled(obligation, phases, stand.serves, moved, by, month))
        return
    changed = DateSpan(on, EVER.end) if len(phases) > 1 or phases[0].starts_on >= on else EVER
    now = round_money(brought(phases, (bill for one in found for bill in one.bills)), obligation.currency)
    more = now - total((one.brings for one in found), obligation.currency)
    exact = [brought(phases, one.bills) - brought(stand.phases, one.bills) for one in found]
    amounts = [round_money(one, obligation.currency) for one in exact]
    largest = max(range(len(found)), key=lambda at: abs(exact[at]))
    amounts[largest] += more - total(amounts, obligation.currency)
    open_: dict[str, Money] = {}
    for part in unbooked(work, [one.line.id for one in found]):
        open_[part.month] = open_.get(part.month, Money.zero(part.currency)) + part.amount
    for number, (one, amount) in enumerate(zip(found, amounts, strict=True), 1):
        if amount:
            _move_bill(hub, work, act_id, number, obligation, one, amount, on, changed, open_)


def unbooked(work: Work, line_ids: Sequence[str]) -> list[RecognitionPart]:
    """What the schedules of invoice lines are to earn and no journal has booked."""
    parts = work.find(RecognitionPart, invoice_line_id=line_ids)
    booked = work.sums.booked_parts([part.id for part in parts])
    return [part for part in parts if part.id not in booked]


def _move_bill(
    hub: Hub,
    work: Work,
    act_id: str,
    number: int,
    obligation: Obligation,
    one: Document,
    amount: Money,
    on: date,
    changed: DateSpan,
    open_: dict[str, Money],
) -> None:
    """Moves what an act changes of a bill: out of what it is still to earn, or into it, and the rest at once.

    ``open_``: what all bills of the obligation are still to earn, by month; no month is left below zero.
    """
    posted = max(on, one.invoice_date)
    month, months = f"{posted:%Y-%m}", dict[str, Money]()
    days = one.bills[0][1].overlap(changed)
    if obligation.pattern is Pattern.MILESTONE:
        months = {WAITS: amount} if one.line.defer and work.get(Milestone, obligation.id) is None else {}
    elif one.line.defer and days is not None:
        months = spread(amount, days, obligation.convention, month)
    zero = Money.zero(obligation.currency)
    for name, part in months.items():
        left = max(open_.get(name, zero), zero)
        months[name] = max(part, -left)
        open_[name] = open_.get(name, zero) + months[name]
    deferred = total(months.values(), obligation.currency)
    parts = [
        RecognitionPart(
            id=f"{act_id}>{one.line.id}@{name}",
            invoice_line_id=one.line.id,
            month=name,
            currency=part.currency,
            amount=part,
            revenue_account=one.line.revenue_account,
            account_id=obligation.account_id,
        )
        for name, part in months.items()
        if part
    ]
    work.add(parts)
    if amount - deferred:
        work.add([adjusted(obligation, act_id, month, amount - deferred, one.line.id)])
    if deferred:
        movement = adjusted(obligation, act_id, month, deferred, one.line.id, deferred=True)
        work.add([movement])
        ident, promised = f"ALC-{act_id}-{obligation.id}-{number}", {obligation.id: obligation}
        post_moved(hub, work, ident, posted, [movement], promised, one.invoice_date)


def _unbilled(
    obligation: Obligation,
    phases: Sequence[Allocation],
    serve: Sequence[Served],
    moved: Sequence[ContractMovement] = (),
    act_id: str | None = None,
    month: str = "",
) -> list[ContractMovement]:
    """What is earned of an obligation for which nothing is ever billed, less what is told already.

    What an act changes of months before its own is earned in that. A milestone is earned when it is reached.
    """
    if obligation.stated or obligation.pattern is Pattern.MILESTONE or not (moved or allocated(phases)):
        return []
    zero, months = Money.zero(obligation.currency), dict[str, Money]()
    told = [(one.month, -one.allocated) for one in moved if one.kind is MovementKind.SATISFIED or one.act_id]
    for name, amount in (*by_month(phases, obligation, serve).items(), *told):
        months[max(name, month)] = months.get(max(name, month), zero) + amount
    return [
        adjusted(obligation, act_id, name, amount) if act_id else satisfied(obligation, name, amount)
        for name, amount in sorted(months.items())
        if amount
    ]


def post_moved(
    hub: Hub,
    work: Work,
    ident: str,
    posted_on: date,
    moved: Iterable[ContractMovement],
    promised: dict[str, Obligation],
    valued_on: date | None = None,
) -> None:
    """Books contract movements, those that move anything."""
    movements = [one for one in moved if one.moved]
    if movements:
        books = hub.books(work, movements[0].account_id)
        post(hub, work, allocation_entries(books, ident, posted_on, movements, promised, valued_on))
