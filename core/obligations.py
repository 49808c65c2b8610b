"""Performance obligations: what an order promises, its price shared among them, and what stands between that and bills.

The fixed price of an order is allocated to its lines by relative standalone selling price, and anew when its contract
changes (``core.allocation``). Where the share of a line is not what is billed for it, each bill moves the difference to
the contract asset, what is earned without a bill is earned against it, and what is left when the contract ends goes
back to revenue: the balance of a contract is always allocated - billed, and zero in the end. Usage is variable
consideration: it belongs to the period it is billed for. What is constrained counts from the day it is reached.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Any

from dateutil.relativedelta import relativedelta

from core.catalog import Charge, ChargeKind, PriceBook, Proration
from core.errors import Rejected
from core.exact import to_decimal
from core.invoicing import CreditNoteLine, InvoiceLine
from core.money import Money, allocate, round_money, total
from core.noun import CurrencyCode, Id, Instant, Noun, Quantity
from core.orders import Change, Order, OrderLine
from core.period import DateSpan
from core.prices import Flat, PerUnit
from core.rational import Fraction
from core.revenue_policy import Consideration, Convention, Pattern
from core.subscriptions import Subscription, SubscriptionCharge, service_periods
from core.ties import allocated_equals_stated


class Obligation(Noun):
    """What one order line promises. ``id`` is the order line's; ``contract_id`` the subscription's; ``priced_with`` the
    order whose price it shares: the first of the contract, or its own where it was added as a contract of its own.

    ``stated``: its fixed price over the term as the order says; ``allocated``: its share of that of the whole order;
    ``standalone``: what it would cost over the term sold alone, major units of the price book's currency. Both are zero
    of usage, and of an order without a term, whose every month is a contract of its own. ``ends_on`` is exclusive.
    """

    id: Id
    order_id: Id
    contract_id: Id
    priced_with: Id
    account_id: Id
    charge_code: Id
    product_code: Id
    currency: CurrencyCode
    pattern: Pattern
    convention: Convention
    stated: Money
    standalone: Quantity
    allocated: Money
    starts_on: date
    ends_on: date | None = None
    revenue_account: str


class MovementKind(StrEnum):
    BILLED = "billed"
    CREDITED = "credited"
    SATISFIED = "satisfied"  # earned without a bill
    ADJUSTED = "adjusted"  # the contract changed, or ended


class ContractMovement(Noun):
    """What one fact did to the balance of a contract: ``allocated`` - ``billed`` goes to its contract asset.

    The other side is revenue, or what is deferred of the line (``deferred``). ``month`` is that of its journal.
    ``source_id``: the line of the invoice or credit note. ``act_id``: the order or milestone that changed what is
    allocated.
    """

    id: Id
    contract_id: Id
    order_id: Id
    obligation_id: Id
    account_id: Id
    kind: MovementKind
    source_id: Id | None = None
    act_id: Id | None = None
    month: str
    currency: CurrencyCode
    billed: Money
    allocated: Money
    deferred: bool = False
    revenue_account: str

    @property
    def moved(self) -> Money:
        """Above zero it adds to the contract asset."""
        return self.allocated - self.billed


class Milestone(Noun):
    """A person's word that a milestone was reached. ``id`` is the order line's; ``evidence`` what shows it."""

    id: Id
    order_id: Id
    reached_on: date
    who: str
    evidence: str
    recorded_at: Instant


@dataclass(frozen=True, slots=True)
class Served:
    """Days that a line serves, what is billed for them, and what they cost alone: major units."""

    span: DateSpan
    stated: Money
    alone: Fraction


def obligations(
    order: Order, subscription: Subscription, book: PriceBook, priced_with: str | None = None
) -> tuple[Obligation, ...]:
    """The promises of an order, and its fixed price allocated to them. Their allocated prices sum to what is stated.

    A price is moved from one line to another only when the price book declares a standalone price of one of them.
    ``priced_with``: the order whose price they share, None: their own.
    """
    charges = {one.order_line_id: one for one in subscription.charges}
    lines = [line for line in order.lines if line.change in (None, Change.REPLACE) and line.id in charges]
    serve = [serves(line, subscription, book) for line in lines]
    stated = [total((one.stated for one in own), order.currency) for own in serve]
    alone = [sum((one.alone for one in own), Fraction(0)) for own in serve]
    price = total(stated, order.currency)
    shared = allocate(price, alone) if declares(lines, book) and any(alone) and price else stated
    allocated_equals_stated(order.id, price, shared)
    return tuple(
        _obligation(order, priced_with or order.id, charges[line.id], subscription, book, price, worth, share)
        for line, price, worth, share in zip(lines, stated, alone, shared, strict=True)
    )


def declares(lines: Iterable[OrderLine | Obligation], book: PriceBook) -> bool:
    """Whether the price book declares a standalone price of one of them."""
    return any(book.revenue(line.charge_code).standalone_price is not None for line in lines)


def _obligation(
    order: Order,
    priced_with: str,
    bought: SubscriptionCharge,
    subscription: Subscription,
    book: PriceBook,
    stated: Money,
    alone: Fraction,
    allocated: Money,
) -> Obligation:
    policy = book.revenue(bought.charge_code)
    assert policy.pattern is not None
    return Obligation(
        id=bought.order_line_id,
        order_id=order.id,
        contract_id=subscription.id,
        priced_with=priced_with,
        account_id=subscription.account_id,
        charge_code=bought.charge_code,
        product_code=bought.product_code,
        currency=order.currency,
        pattern=policy.pattern,
        convention=policy.convention,
        stated=stated,
        standalone=to_decimal(alone),
        allocated=allocated,
        starts_on=bought.starts_on,
        ends_on=_end(bought, book),
        revenue_account=book.product(bought.product_code).revenue_account,
    )


def _end(bought: SubscriptionCharge, book: PriceBook) -> date | None:
    months = book.revenue(bought.charge_code).over_months
    return bought.starts_on + relativedelta(months=months) if months else bought.ends_on


def served(bought: SubscriptionCharge, book: PriceBook) -> DateSpan:
    """What a one-time charge serves that is earned in a straight line: to the end of the term, or as its policy says.

    Rejected when neither tells.
    """
    end = _end(bought, book)
    if end is None or end <= bought.starts_on:
        why = f"charge {bought.charge_code} is earned in a straight line, and its order has no term"
        raise Rejected(f"{why}; declare over_months in its revenue policy", record=bought.id, field="over_months")
    return DateSpan(bought.starts_on, end)


def serves(
    line: OrderLine, contract: Subscription, book: PriceBook, reached_on: date | None = None
) -> tuple[Served, ...]:
    """What an order line serves by its contract as it stands: nothing without a term, or while it is constrained.

    Each period is rounded alone, as it is on its bill. ``reached_on``: the day of its milestone, None: not yet.
    """
    charge, policy = book.charge(line.charge_code), book.revenue(line.charge_code)
    if charge.kind is ChargeKind.USAGE or contract.ends_on is None:
        return ()
    if policy.consideration is Consideration.CONSTRAINED and reached_on is None:
        return ()
    price, unit = Fraction(line.quantity) * Fraction(line.unit_price), _unit_alone(line, charge, book)
    return tuple(
        Served(span, round_money(price * part, line.amount.currency), Fraction(line.quantity) * unit * part)
        for bought in contract.charges
        if bought.order_line_id == line.id and bought.ever_served
        for span, part in _periods(bought, charge, contract, book, reached_on or NEVER)
    )


#: The day of a milestone that is not reached.
NEVER = date(9999, 12, 30)


def _periods(
    bought: SubscriptionCharge, charge: Charge, contract: Subscription, book: PriceBook, reached_on: date
) -> Iterator[tuple[DateSpan, Fraction]]:
    """The service periods of the term, each with the fraction that is served of it."""
    if charge.kind is ChargeKind.ONE_TIME:
        pattern, end = book.revenue(bought.charge_code).pattern, _end(bought, book)
        day = reached_on if pattern is Pattern.MILESTONE else bought.starts_on
        until = end if pattern is Pattern.STRAIGHT_LINE and end is not None else day
        yield DateSpan(day, max(until, day + timedelta(days=1))), Fraction(1)
        return
    assert contract.ends_on is not None
    term = DateSpan(bought.starts_on, bought.ends_on or contract.ends_on)
    for part, whole in service_periods(charge, bought, term, contract.starts_on):
        yield part, Fraction(1) if charge.proration is Proration.NONE else part.fraction_of(whole)


def _unit_alone(line: OrderLine, charge: Charge, book: PriceBook) -> Fraction:
    """What one unit costs alone for a service period."""
    model, declared = charge.model, book.revenue(line.charge_code).standalone_price
    listed = model.amount if isinstance(model, Flat) else model.unit_amount if isinstance(model, PerUnit) else None
    return Fraction(next(price for price in (declared, listed, line.unit_price) if price is not None))


def billed(obligation: Obligation, line: InvoiceLine | CreditNoteLine, month: str, share: Money) -> ContractMovement:
    """What an invoice or credit of a line moves. ``share``: what it brings of what is allocated."""
    credit = isinstance(line, CreditNoteLine)
    return _moved(
        obligation,
        f"{line.id}+",
        MovementKind.CREDITED if credit else MovementKind.BILLED,
        month,
        share,
        billed=-line.amount if credit else line.amount,
        source_id=line.id,
        deferred=isinstance(line, InvoiceLine) and line.defer,
    )


def satisfied(obligation: Obligation, month: str, amount: Money) -> ContractMovement:
    """What is earned in a month without a bill."""
    return _moved(
        obligation, f"{obligation.id}:{MovementKind.SATISFIED}@{month}", MovementKind.SATISFIED, month, amount
    )


def adjusted(
    obligation: Obligation,
    act_id: str,
    month: str,
    amount: Money,
    source_id: str | None = None,
    *,
    deferred: bool = False,
) -> ContractMovement:
    """What an act that changes a contract moves of an obligation: to revenue, or to what is ``deferred`` of a bill."""
    ident = f"{act_id}>{source_id or obligation.id}@{month}" + (":deferred" if deferred else "")
    return _moved(
        obligation,
        ident,
        MovementKind.ADJUSTED,
        month,
        amount,
        source_id=source_id,
        act_id=act_id,
        deferred=deferred,
    )


def reached(
    obligation: Obligation, allocated: Money, before: Sequence[ContractMovement], month: str
) -> tuple[ContractMovement, ...]:
    """What a milestone that is reached earns of what is not billed yet; what was given back is not earned.

    ``allocated``: what of the price of the contract is allocated to it now.
    """
    told = (one.allocated for one in before if one.kind is not MovementKind.CREDITED)
    left = allocated - total(told, obligation.currency)
    return (satisfied(obligation, month, left),) if left.minor > 0 else ()


def ended(
    promised: Sequence[Obligation], movements: Iterable[ContractMovement], month: str
) -> tuple[ContractMovement, ...]:
    """What an ended contract takes to revenue, so that its balance is zero; by what was allocated to each obligation.

    ``movements``: all of the contract. Nothing where it is zero already.
    """
    balance = total((one.moved for one in movements), promised[0].currency)
    if not balance:
        return ()
    weights = [abs(one.allocated.minor) for one in promised]
    parts = allocate(-balance, weights if any(weights) else [1] * len(promised))
    return tuple(
        _moved(one, f"{one.id}:{MovementKind.ADJUSTED}@{month}", MovementKind.ADJUSTED, month, part)
        for one, part in zip(promised, parts, strict=True)
        if part
    )


def _moved(
    obligation: Obligation, ident: str, kind: MovementKind, month: str, allocated: Money, **told: Any
) -> ContractMovement:
    return ContractMovement(
        id=ident,
        contract_id=obligation.contract_id,
        order_id=obligation.order_id,
        obligation_id=obligation.id,
        account_id=obligation.account_id,
        kind=kind,
        month=month,
        currency=obligation.currency,
        allocated=allocated,
        revenue_account=obligation.revenue_account,
        **{"billed": Money.zero(obligation.currency), **told},
    )
