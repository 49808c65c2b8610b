"""The commercial act: an Order and its lines, and what activation makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from enum import StrEnum
from typing import Self

from dateutil.relativedelta import relativedelta
from pydantic import model_validator

from core.accounts import Account
from core.amendments import Amendment, Pause, Start, Stop, amend, served
from core.catalog import ChargeKind, PriceBook
from core.errors import Rejected
from core.money import Money, round_money
from core.noun import CurrencyCode, Id, Instant, Noun, Quantity
from core.prices import Flat, PerUnit
from core.rational import Fraction
from core.subscriptions import Subscription, SubscriptionCharge
from core.ties import order_equals_lines, subscription_equals_order


class Change(StrEnum):
    """What a line of an amending order does to the line that it ``amends``; a line that amends none is added."""

    REPLACE = "replace"  # an up- or downgrade: what this line says stands instead
    STOP = "stop"
    PAUSE = "pause"  # not served until ``until``


class OrderLine(Noun):
    """One product ordered for one site (or the whole account).

    ``id`` is the line's id in the CRM; ``charge_code`` names the charge of the price book; ``quantity`` and
    ``unit_price`` are what the quote says, ``amount`` what the CRM computed from them. ``quote_line_id``: the line of
    the quote that it was made from, where the CRM tells.
    """

    id: Id
    charge_code: Id
    description: str = ""
    site_id: Id | None = None
    quantity: Quantity
    unit_price: Quantity
    amount: Money
    start_on: date | None = None
    change: Change | None = None
    amends: Id | None = None
    until: date | None = None
    quote_line_id: Id | None = None


class Order(Noun):
    """A won quote. ``id`` is its id in the CRM; ``account`` is the customer as the CRM described it at that moment.

    ``amends``: the order whose subscription it changes; None: it makes a subscription of its own.
    """

    id: Id
    name: str
    account: Account
    currency: CurrencyCode
    purchase_order: str | None = None
    closed_on: date
    start_on: date
    term_months: int | None = None
    """Whole months from ``start_on``; None: evergreen."""
    total: Money
    lines: tuple[OrderLine, ...]
    changed_at: Instant
    """When the CRM last changed it: the version of the order."""
    amends: Id | None = None
    sold_as: str | None = None
    """What its CRM calls it: opportunity, quote, deal."""
    quote_id: Id | None = None
    """The quote that the CRM made it from, where it is not the quote itself."""

    @model_validator(mode="after")
    def _ties(self) -> Self:
        order_equals_lines(self.id, self.total, [line.amount for line in self.lines])
        return self

    def quoted_as(self, before: Order | None) -> Order:
        """The order with the quote that it was taken in from: a quote that sales makes later changes nothing of it."""
        if before is None:
            return self
        lines_of = {line.id: line.quote_line_id for line in before.lines}
        lines = tuple(
            line.model_copy(update={"quote_line_id": lines_of.get(line.id, line.quote_line_id)}) for line in self.lines
        )
        return self.model_copy(update={"quote_id": before.quote_id, "lines": lines})


class OrderProgress(Noun):
    """What we tell the CRM about an order. ``id`` is the order's; amounts are totals over its invoices, with tax.

    ``credited`` is what credit notes gave back of ``invoiced``.
    """

    id: Id
    status: str
    """provisioned, invoiced or paid"""
    currency: CurrencyCode
    subscription_id: Id
    invoice_numbers: tuple[Id, ...] = ()
    invoiced: Money
    credited: Money
    paid: Money


def activate(order: Order, book: PriceBook) -> Subscription:
    """The subscription an order becomes, losing nothing.

    The order's unit price is kept where it differs from a flat or per-unit list price of a recurring or one-time
    charge; usage is priced by the price book and its layers alone. Rejected, naming the line, for an unknown charge
    or site, another currency, or an amount that is not quantity x unit price (an invoice could not equal it).
    """
    if order.currency != book.currency:
        raise Rejected(
            f"order {order.id} is in {order.currency}, price book {book.name} in {book.currency}",
            record=order.id,
            field="currency",
            value=order.currency,
        )
    ends_on = None if order.term_months is None else order.start_on + relativedelta(months=order.term_months)
    charges = tuple(_bought(order, line, book, ends_on) for line in order.lines)
    subscription_equals_order(order.id, order.total, [charge.contract_value for charge in charges])
    return Subscription(
        id=f"SUB-{order.id}",
        account_id=order.account.id,
        order_id=order.id,
        currency=order.currency,
        timezone=order.account.timezone,
        starts_on=min([order.start_on, *(charge.starts_on for charge in charges)]),
        ends_on=ends_on,
        purchase_order=order.purchase_order,
        charges=charges,
    )


def amendments(
    order: Order, subscription: Subscription, book: PriceBook, recorded_at: datetime
) -> Iterator[tuple[Amendment, Subscription]]:
    """What an amending order changes, day by day, each with the version of the subscription that follows.

    What replaces a charge starts on the day that the old one ends, without a trial. Rejected, naming the line, when it
    amends what does not stand on its day, or says what a quote cannot say.
    """
    if not order.lines:
        raise Rejected(f"order {order.id} amends {order.amends} and has no lines", record=order.id, field="lines")
    days = sorted({line.start_on or order.start_on for line in order.lines})
    started = []
    for number, day in enumerate(days, 1):
        changes = [
            change
            for line in order.lines
            if (line.start_on or order.start_on) == day
            for change in _changes(order, line, subscription, book, day)
        ]
        started += [one.charge.contract_value for one in changes if isinstance(one, Start)]
        amendment = Amendment(
            id=f"AM-{order.id}" + (f"-{number}" if number > 1 else ""),
            subscription_id=subscription.id,
            order_id=order.id,
            effective_on=day,
            recorded_at=recorded_at,
            changes=tuple(changes),
        )
        subscription = amend(subscription, amendment)
        yield amendment, subscription
    subscription_equals_order(order.id, order.total, started)


def _changes(
    order: Order, line: OrderLine, subscription: Subscription, book: PriceBook, day: date
) -> Iterator[Stop | Start | Pause]:
    if line.change is None:
        yield Start(charge=_bought(order, line, book, subscription.ends_on, _known(subscription)))
        return
    standing = [one for one in subscription.charges if one.order_line_id == line.amends and served(one, day)]
    if not standing:
        raise _refused(order, line, f"what it amends ({line.amends}) does not stand on {day}", "amends", line.amends)
    if line.change is not Change.REPLACE and line.amount:
        raise _refused(order, line, f"a {line.change} costs nothing, and it says {line.amount}", "amount", line.amount)
    match line.change:
        case Change.STOP:
            yield Stop(charge_id=standing[0].id)
        case Change.PAUSE:
            if line.until is None or line.until <= day:
                raise _refused(order, line, "a pause says until when, after it starts", "until", line.until)
            yield Pause(charge_id=standing[0].id, until=line.until)
        case Change.REPLACE:
            yield Stop(charge_id=standing[0].id)
            yield Start(charge=_bought(order, line, book, subscription.ends_on, _known(subscription)))


def _known(subscription: Subscription) -> frozenset[str]:
    """Charges that had their trial: none is given twice, however often a contract changes."""
    return frozenset(one.charge_code for one in subscription.charges)


def _refused(order: Order, line: OrderLine, why: str, field: str, value: object) -> Rejected:
    text = f"order {order.id}, line {line.id}, charge {line.charge_code}: {why}"
    return Rejected(text, record=order.id, field=field, value=str(value))


def _bought(
    order: Order, line: OrderLine, book: PriceBook, ends_on: date | None, tried: frozenset[str] = frozenset()
) -> SubscriptionCharge:
    """``tried``: charges whose trial the customer had, or has no right to."""

    def refuse(why: str, field: str, value: object) -> Rejected:
        return _refused(order, line, why, field, value)

    try:
        charge = book.charge(line.charge_code)
    except KeyError:
        raise refuse(f"price book {book.name} has no such charge", "charge_code", line.charge_code) from None
    if line.site_id is not None and line.site_id not in {site.id for site in order.account.sites}:
        raise refuse(f"account {order.account.id} has no site {line.site_id}", "site_id", line.site_id)
    trial = 0 if line.charge_code in tried or line.change is not None else charge.trial_days
    starts_on = (line.start_on or order.start_on) + relativedelta(days=trial)
    if ends_on is not None and starts_on >= ends_on:
        raise refuse(f"it starts on {starts_on}, when the order has ended ({ends_on})", "start_on", starts_on)
    priced = charge.kind is not ChargeKind.USAGE
    if priced and round_money(Fraction(line.quantity) * Fraction(line.unit_price), order.currency) != line.amount:
        raise refuse(f"{line.quantity} x {line.unit_price} is not {line.amount}", "amount", line.amount)
    model = charge.model
    if isinstance(model, Flat) and line.quantity != 1:
        raise refuse("a flat charge is sold once; sell several with a per-unit charge", "quantity", line.quantity)
    listed = model.amount if isinstance(model, Flat) else model.unit_amount if isinstance(model, PerUnit) else None
    negotiated = priced and listed is not None and (book.converts(charge.code) or line.unit_price != listed)
    return SubscriptionCharge(
        id=f"SC-{line.id}",
        order_line_id=line.id,
        charge_code=charge.code,
        product_code=charge.product_code,
        site_id=line.site_id,
        quantity=line.quantity,
        unit_price=line.unit_price if negotiated else None,
        starts_on=starts_on,
        ends_on=ends_on,
        contract_value=line.amount,
    )
