"""The border to an outside billing system: what it is told of contracts and usage, and the invoices it makes of them.

The internal core rates and bills by itself and needs none of this. Where another system does it, the price book is
still what names charges, products, tax codes and ledger accounts; the rates of usage are that system's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Self

from pydantic import model_validator

from core.accounts import Account, Address
from core.catalog import ChargeKind, PriceBook
from core.currencies import in_currency
from core.errors import Rejected
from core.invoicing import Invoice, InvoiceLine, InvoiceStatus
from core.money import Money
from core.noun import CurrencyCode, Id, Noun, Quantity
from core.orders import OrderLine
from core.period import DateSpan
from core.rating import MeteredQuantity
from core.rating.demand import items
from core.subscriptions import Subscription, SubscriptionCharge, due
from core.ties import invoice_equals_lines
from core.usage import MICRO


class CatalogCharge(Noun):
    """A charge of the price book by name: what can be bought, without its price."""

    code: Id
    name: str
    kind: ChargeKind
    every_months: int


class ContractCharge(SubscriptionCharge):
    """A charge of a subscription with whose it is. ``unit_price``: as ordered; None for usage."""

    account_id: Id
    subscription_id: Id
    currency: CurrencyCode

    @property
    def last_day(self) -> date | None:
        """The last day served; None: evergreen."""
        return None if self.ends_on is None else self.ends_on - timedelta(days=1)


class UsageTotal(Noun):
    """What one contract charge used at one site in one billing month. ``used_on``: the last day it counts.

    ``invoice_id``: the closed invoice that bills it, as the billing system calls it; None: none yet.
    """

    id: Id
    account_id: Id
    subscription_charge_id: Id
    charge_code: Id
    site_id: Id | None = None
    used_on: date
    quantity: Quantity
    invoice_id: Id | None = None


class BilledState(StrEnum):
    OPEN = "open"  # is still built
    CLOSED = "closed"
    VOIDED = "voided"


class BilledLine(Noun):
    """One line of an outside invoice, before tax. ``last_day`` is inclusive."""

    id: Id
    subscription_charge_id: Id | None = None
    charge_code: Id
    site_id: Id | None = None
    description: str
    first_day: date
    last_day: date
    quantity: Quantity
    amount: Money


class BilledInvoice(Noun):
    """An invoice as an outside billing system made it: rated, and not taxed. ``last_day`` is inclusive.

    Its total is the sum of its lines; one that carries tax is refused, since the tax engine would tax it again.
    """

    id: Id
    account_id: Id
    currency: CurrencyCode
    state: BilledState
    first_day: date
    last_day: date
    due_date: date
    total: Money
    lines: tuple[BilledLine, ...]

    @model_validator(mode="after")
    def _ties(self) -> Self:
        if self.state is BilledState.CLOSED:
            invoice_equals_lines(self.id, self.total, [line.amount for line in self.lines])
        return self


def catalog(book: PriceBook) -> list[CatalogCharge]:
    return [
        CatalogCharge(code=one.code, name=one.name, kind=one.kind, every_months=one.every_months)
        for one in book.charges
    ]


def contract_charges(
    subscription: Subscription, ordered: Mapping[str, OrderLine], book: PriceBook
) -> list[ContractCharge]:
    """The charges of a subscription, each at the price it was ordered for, whatever any price book lists.

    ``ordered``: the order line of each charge, by its id; an amended subscription has lines of several orders.
    """
    whose = {
        "account_id": subscription.account_id,
        "subscription_id": subscription.id,
        "currency": subscription.currency,
    }
    return [
        ContractCharge.model_validate(
            {**dict(one), "unit_price": _agreed(one, ordered[one.order_line_id], book), **whose}
        )
        for one in subscription.charges
    ]


def _agreed(charge: SubscriptionCharge, line: OrderLine, book: PriceBook) -> Quantity | None:
    if book.charge(charge.charge_code).kind is ChargeKind.USAGE:
        return None
    return line.unit_price if charge.unit_price is None else charge.unit_price


def usage_totals(
    book: PriceBook,
    account: Account,
    subscriptions: Sequence[Subscription],
    billing: DateSpan,
    metered: Sequence[MeteredQuantity],
) -> list[UsageTotal]:
    """The metered usage of an account for a billing month, by the contract charge that takes it and by site.

    Rejected when usage meets no charge, or two that would both take it.
    """
    dues = [
        one
        for subscription in subscriptions
        for line in subscription.charges
        for one in due(subscription, line, book.charge(line.charge_code), billing)
    ]
    return [
        UsageTotal(
            id=f"U-{billing.start:%Y-%m}-{item.due.line.id}"
            + (f"-{item.site_id}" if item.site_id != item.due.line.site_id else ""),
            account_id=account.id,
            subscription_charge_id=item.due.line.id,
            charge_code=item.code,
            site_id=item.site_id,
            used_on=min(item.due.service.last_day, billing.last_day),
            quantity=Decimal(int(item.measured * MICRO)).scaleb(-6),
        )
        for item in items(dues, account, metered, ())
        if item.charge.kind is ChargeKind.USAGE and item.parts
    ]


def taken_over(billed: BilledInvoice, account: Account, book: PriceBook) -> Invoice:
    """The draft of an outside invoice: what the price book and the account add to it, to be taxed and booked.

    Rejected, naming the field, for a currency that the book does not sell in, a charge or site that nobody knows, and a
    total below zero.
    """
    in_currency(book, billed.currency)
    if billed.total.minor < 0:
        raise _refused(billed, "it is below zero; give it back by a credit note", "total", billed.total)
    zero = Money.zero(billed.currency)
    return Invoice(
        id=billed.id,
        account_id=account.id,
        currency=billed.currency,
        billing_period=DateSpan(billed.first_day, billed.last_day + timedelta(days=1)),
        invoice_date=billed.last_day,
        due_date=billed.due_date,
        status=InvoiceStatus.DRAFT,
        tax_exemption=account.tax_exemption,
        billing_address=account.billing_address,
        subtotal=billed.total,
        tax=zero,
        total=billed.total,
        lines=tuple(_lines(billed, account, book)),
    )


def _lines(billed: BilledInvoice, account: Account, book: PriceBook) -> Iterator[InvoiceLine]:
    for position, line in enumerate(billed.lines, 1):
        try:
            charge = book.charge(line.charge_code)
        except KeyError:
            why = f"price book {book.name} has no charge {line.charge_code}"
            raise _refused(billed, why, "charge_code", line.charge_code) from None
        product = book.product(charge.product_code)
        yield InvoiceLine(
            id=f"{billed.id}-{position}",
            position=position,
            rated_line_id=line.id,
            subscription_charge_id=line.subscription_charge_id,
            charge_code=charge.code,
            product_code=product.code,
            description=line.description,
            site_id=line.site_id,
            service_period=DateSpan(line.first_day, line.last_day + timedelta(days=1)),
            quantity=line.quantity,
            amount=line.amount,
            tax=Money.zero(billed.currency),
            tax_code=product.tax_code,
            revenue_account=product.revenue_account,
            defer=book.revenue(charge.code).deferred,
            service_address=_address(billed, line, account),
        )


def _address(billed: BilledInvoice, line: BilledLine, account: Account) -> Address:
    if line.site_id is None:
        return account.billing_address
    try:
        return account.site(line.site_id).address
    except KeyError as error:
        raise _refused(billed, str(error.args[0]), "site_id", line.site_id) from None


def _refused(billed: BilledInvoice, why: str, field: str, value: object) -> Rejected:
    return Rejected(f"invoice {billed.id}: {why}", record=billed.id, field=field, value=str(value))
