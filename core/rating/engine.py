"""The one pricing function: what one account owes for one billing period, before tax."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

from core.accounts import Account
from core.catalog import Allowance, Charge, ChargeKind, PriceBook, Proration, Scope
from core.errors import Rejected
from core.money import round_money
from core.period import DateSpan
from core.prices import Flat, Graduated, Model, Package, PerUnit, Stairstep, Volume
from core.rating import flat, graduated, package, per_unit, stairstep, volume
from core.rating.allowance import draw
from core.rating.check import check
from core.rating.derivation import Derivation, Draw, Step
from core.rating.lines import RatedLine
from core.rating.measured import Measured, MeteredQuantity, Part
from core.subscriptions import Due, Subscription, due

#: How each price model becomes steps.
MODELS: Mapping[type, Callable[[Any, Measured], Iterator[Step]]] = {
    Flat: flat.price,
    PerUnit: per_unit.price,
    Graduated: graduated.price,
    Volume: volume.price,
    Stairstep: stairstep.price,
    Package: package.price,
}


def price(model: Model, measured: Measured) -> tuple[Step, ...]:
    """The steps of one model for one quantity. Rejected when the model does not cover the quantity."""
    return tuple(MODELS[type(model)](model, measured))


def rate(
    book: PriceBook,
    account: Account,
    subscriptions: Sequence[Subscription],
    billing_period: DateSpan,
    metered: Sequence[MeteredQuantity],
) -> tuple[RatedLine, ...]:
    """All lines of one account for one billing period; usage charges without usage give lines of zero.

    ``subscriptions`` are all of this account's, ``metered`` all of its usage in the period. Rejected when usage meets
    no charge, or two that would both price it; TieBroken when a line does not survive the independent checker.
    """
    dues = [
        one
        for subscription in subscriptions
        for line in subscription.charges
        for one in due(subscription, line, book.charge(line.charge_code), billing_period)
    ]
    items = [
        Item(one, one.line.site_id, (Part({}, Fraction(one.line.quantity)),))
        for one in dues
        if one.charge.kind is not ChargeKind.USAGE
    ]
    items += _usage([one for one in dues if one.charge.kind is ChargeKind.USAGE], account, metered)
    for allowance in book.allowances:
        items = _allow(allowance, items, subscriptions, billing_period)
    lines = tuple(_line(book, item) for item in items)
    for line in lines:
        check(line, book)
    return lines


@dataclass(frozen=True, slots=True)
class Item:
    """A due charge at one site with the quantities it prices, on its way to a line."""

    due: Due
    site_id: str | None
    parts: tuple[Part, ...]
    draws: tuple[Draw, ...] = ()

    @property
    def measured(self) -> Fraction:
        return sum((part.quantity for part in self.parts), Fraction(0))

    @property
    def left(self) -> Fraction:
        return self.measured - sum((one.units for one in self.draws), Fraction(0))


def _usage(dues: Sequence[Due], account: Account, metered: Sequence[MeteredQuantity]) -> Iterator[Item]:
    found: dict[int, dict[str | None, list[Part]]] = defaultdict(lambda: defaultdict(list))
    for quantity in metered:
        if quantity.account_id != account.id:
            raise _refuse(quantity, f"it belongs to another account than {account.id}")
        for index in _takers(dues, quantity):
            site = quantity.site_id if dues[index].charge.scope is not Scope.ACCOUNT else dues[index].line.site_id
            part = Part(quantity.dimensions, Fraction(quantity.quantity), quantity.events, quantity.each)
            found[index][site].append(part)
    for index, one in enumerate(dues):
        for site, parts in found[index].items() or [(one.line.site_id, [])]:
            yield Item(one, site, tuple(parts))


def _takers(dues: Sequence[Due], quantity: MeteredQuantity) -> list[int]:
    """The due charges that price a metered quantity: of each charge code one, a site's own before the account's."""
    by_code: dict[str, list[int]] = defaultdict(list)
    for index, one in enumerate(dues):
        fits = (
            one.charge.meter == quantity.meter
            and one.line.site_id in (None, quantity.site_id)
            and one.charge.where.items() <= quantity.dimensions.items()
        )
        if fits:
            by_code[one.charge.code].append(index)
    if not by_code:
        raise _refuse(quantity, "no charge that is due prices it")
    takers = []
    for code, hits in by_code.items():
        own = [index for index in hits if dues[index].line.site_id is not None] or hits
        if len(own) > 1:
            raise _refuse(quantity, f"charge {code} is subscribed more than once for it")
        takers += own
    return takers


def _refuse(quantity: MeteredQuantity, why: str) -> Rejected:
    where = f"{quantity.account_id}, site {quantity.site_id or '-'}, meter {quantity.meter}"
    return Rejected(
        f"usage of {where} ({quantity.quantity}): {why}",
        record=quantity.account_id,
        field="meter",
        value=quantity.meter,
    )


def _allow(
    allowance: Allowance, items: list[Item], subscriptions: Sequence[Subscription], billing: DateSpan
) -> list[Item]:
    """The items after an allowance was drawn by those of its charges, pooled."""
    drawing = [index for index, item in enumerate(items) if item.due.charge.code in allowance.charges]
    grants = Decimal(1)
    if allowance.granted_by is not None:
        grants = sum(
            (
                line.quantity
                for subscription in subscriptions
                for line in subscription.charges
                if line.charge_code == allowance.granted_by
                and line.starts_on < billing.end
                and (line.ends_on is None or line.ends_on > billing.start)
            ),
            Decimal(0),
        )
    units = draw(Fraction(allowance.units) * Fraction(grants), [items[i].left for i in drawing], allowance.places)
    result = list(items)
    for index, used in zip(drawing, units, strict=True):
        if used:
            note = Draw(allowance=allowance.id, units=used)
            result[index] = replace(items[index], draws=(*items[index].draws, note))
    return result


def _line(book: PriceBook, item: Item) -> RatedLine:
    one, charge = item.due, item.due.charge
    negotiated = None if one.line.unit_price is None else Fraction(one.line.unit_price)
    factor = one.service.fraction_of(one.whole) if charge.proration is Proration.DAY and _cuts(charge) else Fraction(1)
    steps = tuple(
        step.model_copy(update={"factor": factor})
        for step in price(_agreed(charge.model, one.line.unit_price), Measured(item.left, item.parts))
    )
    exact = sum((step.amount for step in steps), Fraction(0))
    mode = charge.rounding or book.rounding
    amount = round_money(exact, book.currency, mode)
    suffix = f"/{item.site_id}" if item.site_id != one.line.site_id else ""
    return RatedLine(
        id=f"{one.line.id}@{one.service.start}{suffix}",
        subscription_id=one.subscription.id,
        subscription_charge_id=one.line.id,
        order_line_id=one.line.order_line_id,
        account_id=one.subscription.account_id,
        site_id=item.site_id,
        charge_code=charge.code,
        product_code=charge.product_code,
        description=charge.name,
        service_period=one.service,
        quantity=_decimal(item.left),
        unit_price=_decimal(steps[0].rate) if len(steps) == 1 and not isinstance(charge.model, Package) else None,
        amount=amount,
        derivation=Derivation(
            book=book.name,
            book_version=book.version,
            events=sum(part.events for part in item.parts),
            measured=item.measured,
            draws=item.draws,
            priced=item.left,
            negotiated=negotiated,
            full_period=one.whole,
            steps=steps,
            exact=exact,
            rounding=mode,
            rounded=amount,
        ),
    )


def _cuts(charge: Charge) -> bool:
    """Only time-based prices shrink with the time served; usage measures itself."""
    return charge.kind is ChargeKind.RECURRING


def _agreed(model: Model, unit_price: Decimal | None) -> Model:
    match model:
        case Flat() if unit_price is not None:
            return Flat(amount=unit_price)
        case PerUnit() if unit_price is not None:
            return PerUnit(unit_amount=unit_price)
    return model


def _decimal(value: Fraction) -> Decimal:
    """For print: the decimal digits of a figure, to 12 places where they do not end."""
    return Decimal(round(value * 10**12)).scaleb(-12).normalize() + 0
