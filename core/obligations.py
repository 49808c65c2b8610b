"""Performance obligations: what an order promises, its price shared among them, and what stands between that and bills.

The fixed price of an order is allocated to its lines by relative standalone selling price. Where the share of a line is
not what is billed for it, each bill moves the difference to the contract asset, what is earned without a bill is earned
against it, and what is left when the contract ends goes back to revenue: the balance of a contract is always
allocated - billed, and zero in the end. Usage is variable consideration: it belongs to the period it is billed for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from enum import StrEnum

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
from core.revenue import spread
from core.revenue_policy import Convention, Pattern
from core.subscriptions import Subscription, SubscriptionCharge, service_periods
from core.ties import allocated_equals_stated


class Obligation(Noun):
    """What one order line promises. ``id`` is the order line's; ``contract_id`` the subscription's.

    ``stated``: its fixed price over the term as the order says; ``allocated``: its share of that of the whole order;
    ``standalone``: what it would cost over the term sold alone, major units of the price book's currency. Both are zero
    of usage, and of an order without a term, whose every month is a contract of its own. ``ends_on`` is exclusive.
    """

    id: Id
    order_id: Id
    contract_id: Id
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

    @property
    def moves(self) -> bool:
        """Whether bills say something else than what is earned of it, or before it."""
        return self.allocated != self.stated or self.pattern is Pattern.MILESTONE

    def share(self, billed: Money) -> Money:
        """What of the allocated price so much billed brings; all of it when all is billed."""
        if not self.stated:
            return billed
        return round_money(Fraction(billed.amount) * Fraction(self.allocated.minor, self.stated.minor), self.currency)


class MovementKind(StrEnum):
    BILLED = "billed"
    CREDITED = "credited"
    SATISFIED = "satisfied"  # earned without a bill
    ADJUSTED = "adjusted"  # the contract changed, or ended


class ContractMovement(Noun):
    """What one fact did to the balance of a contract: ``allocated`` - ``billed`` goes to its contract asset.

    The other side is revenue, or what is deferred of the line (``deferred``). ``month`` is that of its journal.
    ``source_id``: the line of the invoice or credit note.
    """

    id: Id
    contract_id: Id
    order_id: Id
    obligation_id: Id
    account_id: Id
    kind: MovementKind
    source_id: Id | None = None
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
    """A person's word that a milestone was reached. ``id`` is the order line's."""

    id: Id
    order_id: Id
    reached_on: date
    who: str
    recorded_at: Instant


def obligations(order: Order, subscription: Subscription, book: PriceBook) -> tuple[Obligation, ...]:
    """The promises of an order, and its fixed price allocated to them. Their allocated prices sum to what is stated.

    A price is moved from one line to another only when the price book declares a standalone price of one of them.
    """
    charges = {one.order_line_id: one for one in subscription.charges}
    lines = [line for line in order.lines if line.change in (None, Change.REPLACE) and line.id in charges]
    stated = [_stated(line, charges[line.id], subscription, book) for line in lines]
    alone = [_alone(line, charges[line.id], subscription, book) for line in lines]
    price = total(stated, order.currency)
    declared = any(book.revenue(line.charge_code).standalone_price is not None for line in lines)
    shared = allocate(price, alone) if declared and any(alone) and price else stated
    allocated_equals_stated(order.id, price, shared)
    return tuple(
        _obligation(order, charges[line.id], subscription, book, price, worth, share)
        for line, price, worth, share in zip(lines, stated, alone, shared, strict=True)
    )


def _obligation(
    order: Order,
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


def _periods(bought: SubscriptionCharge, charge: Charge, subscription: Subscription) -> list[Fraction]:
    """The service periods of the term, each as the fraction that is served of it; none without a term."""
    if charge.kind is ChargeKind.USAGE or subscription.ends_on is None or not bought.ever_served:
        return []
    if charge.kind is ChargeKind.ONE_TIME:
        return [Fraction(1)]
    term = DateSpan(bought.starts_on, bought.ends_on or subscription.ends_on)
    return [
        Fraction(1) if charge.proration is Proration.NONE else part.fraction_of(whole)
        for part, whole in service_periods(charge, bought, term, subscription.starts_on)
    ]


def _stated(line: OrderLine, bought: SubscriptionCharge, subscription: Subscription, book: PriceBook) -> Money:
    """The sum of what its service periods are billed; each is rounded alone, as it is on its bill."""
    periods = _periods(bought, book.charge(line.charge_code), subscription)
    price = Fraction(line.quantity) * Fraction(line.unit_price)
    return total((round_money(price * part, line.amount.currency) for part in periods), line.amount.currency)


def _alone(line: OrderLine, bought: SubscriptionCharge, subscription: Subscription, book: PriceBook) -> Fraction:
    charge, declared = book.charge(line.charge_code), book.revenue(line.charge_code).standalone_price
    model = charge.model
    listed = model.amount if isinstance(model, Flat) else model.unit_amount if isinstance(model, PerUnit) else None
    unit = next(price for price in (declared, listed, line.unit_price) if price is not None)
    return Fraction(line.quantity) * Fraction(unit) * sum(_periods(bought, charge, subscription), Fraction(0))


def billed(
    obligation: Obligation,
    before: Sequence[ContractMovement],
    line: InvoiceLine | CreditNoteLine,
    month: str,
) -> ContractMovement:
    """What an invoice or credit of a line moves, so that all bills so far have brought their share of the allocated.

    ``before``: all earlier movements of the obligation.
    """
    credit = isinstance(line, CreditNoteLine)
    amount = -line.amount if credit else line.amount
    told = [one for one in before if one.kind in (MovementKind.BILLED, MovementKind.CREDITED)]
    gone = total((one.billed for one in told), obligation.currency) + amount
    satisfied = any(one.kind is MovementKind.SATISFIED for one in before)
    had = total((one.allocated for one in told), obligation.currency)
    return ContractMovement(
        id=f"{line.id}+",
        contract_id=obligation.contract_id,
        order_id=obligation.order_id,
        obligation_id=obligation.id,
        account_id=obligation.account_id,
        kind=MovementKind.CREDITED if credit else MovementKind.BILLED,
        source_id=line.id,
        month=month,
        currency=obligation.currency,
        billed=amount,
        allocated=Money.zero(obligation.currency) if satisfied else obligation.share(gone) - had,
        deferred=not credit and isinstance(line, InvoiceLine) and line.defer,
        revenue_account=obligation.revenue_account,
    )


def unbilled(obligation: Obligation) -> tuple[ContractMovement, ...]:
    """What is earned of an obligation for which nothing is ever billed: on its day, or over the months that it serves.

    A milestone is earned when it is reached.
    """
    if obligation.stated or not obligation.allocated or obligation.pattern is Pattern.MILESTONE:
        return ()
    months = {f"{obligation.starts_on:%Y-%m}": obligation.allocated}
    if obligation.pattern is not Pattern.POINT_IN_TIME and obligation.ends_on is not None:
        months = spread(obligation.allocated, DateSpan(obligation.starts_on, obligation.ends_on), obligation.convention)
    return tuple(satisfied(obligation, month, amount) for month, amount in months.items())


def satisfied(obligation: Obligation, month: str, amount: Money) -> ContractMovement:
    """What is earned in a month without a bill."""
    return _told(obligation, MovementKind.SATISFIED, month, amount)


def reached(obligation: Obligation, before: Sequence[ContractMovement], month: str) -> tuple[ContractMovement, ...]:
    """What a milestone that is reached earns of what is not billed yet; what was given back is not earned."""
    told = (one.allocated for one in before if one.kind is not MovementKind.CREDITED)
    left = obligation.allocated - total(told, obligation.currency)
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
        _told(one, MovementKind.ADJUSTED, month, part) for one, part in zip(promised, parts, strict=True) if part
    )


def _told(obligation: Obligation, kind: MovementKind, month: str, amount: Money) -> ContractMovement:
    return ContractMovement(
        id=f"{obligation.id}:{kind}@{month}",
        contract_id=obligation.contract_id,
        order_id=obligation.order_id,
        obligation_id=obligation.id,
        account_id=obligation.account_id,
        kind=kind,
        month=month,
        currency=obligation.currency,
        billed=Money.zero(obligation.currency),
        allocated=amount,
        revenue_account=obligation.revenue_account,
    )
