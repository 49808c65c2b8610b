"""What stands after an order: a Subscription, its charges, and which of them fall due in a billing period."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import Annotated, Self

from pydantic import Field, model_validator

from core.catalog import Align, Charge, ChargeKind, Timing
from core.money import Money
from core.noun import CurrencyCode, Id, Noun, Quantity
from core.period import DateSpan


class SubscriptionCharge(Noun):
    """One charge of the price book as one customer bought it.

    ``unit_price``: negotiated, instead of the book's (None: the book's price); ``ends_on`` is exclusive (None:
    evergreen), and the day it starts where it was stopped before anything was served. ``contract_value`` is the amount
    of the order line it came from, on the first charge that came from it.
    """

    id: Id
    order_line_id: Id
    charge_code: Id
    product_code: Id
    site_id: Id | None = None
    quantity: Quantity
    unit_price: Quantity | None = None
    starts_on: date
    ends_on: date | None = None
    contract_value: Money

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.ends_on is not None and self.ends_on < self.starts_on:
            raise ValueError(f"{self.id} must not end before it starts")
        return self

    @property
    def ever_served(self) -> bool:
        return self.ends_on is None or self.ends_on > self.starts_on

    def in_force(self, span: DateSpan) -> bool:
        """Whether it is served on any day of the span."""
        return self.ever_served and self.starts_on < span.end and (self.ends_on is None or self.ends_on > span.start)


class Subscription(Noun):
    """A standing contract. ``version`` rises with each Amendment; days are calendar days in ``timezone``."""

    id: Id
    account_id: Id
    order_id: Id
    currency: CurrencyCode
    timezone: str
    starts_on: date
    ends_on: date | None = None
    version: Annotated[int, Field(ge=1)] = 1
    purchase_order: str | None = None
    charges: tuple[SubscriptionCharge, ...]


@dataclass(frozen=True, slots=True)
class Due:
    """A charge that falls due: ``service`` is the part of the service period ``whole`` that the customer was served."""

    subscription: Subscription
    line: SubscriptionCharge
    charge: Charge
    service: DateSpan
    whole: DateSpan


def months_on(day: date, months: int) -> date:
    """So many months later (or earlier); a month that is too short gives its last day."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


def service_periods(
    charge: Charge, line: SubscriptionCharge, around: DateSpan, subscribed_on: date
) -> tuple[tuple[DateSpan, DateSpan], ...]:
    """(part served, whole) of each service period that touches ``around``, in order: no gap, no overlap.

    ``subscribed_on``: when the subscription started, where the charge counts its periods from there.
    """
    match charge.align:
        case Align.CALENDAR:
            anchor = date(2000, 1, charge.billing_day)
        case Align.ANNIVERSARY:
            anchor = line.starts_on
        case Align.SUBSCRIPTION:
            anchor = subscribed_on
    return _served(anchor, charge.every_months, around, line.starts_on, line.ends_on or date.max)


@lru_cache(maxsize=65536)
def _served(
    anchor: date, every: int, around: DateSpan, starts_on: date, ends_on: date
) -> tuple[tuple[DateSpan, DateSpan], ...]:
    contract = DateSpan(starts_on, ends_on)
    cut = ((whole.overlap(contract), whole) for whole in _grid(anchor, every, around))
    return tuple((served, whole) for served, whole in cut if served is not None and served.overlap(around))


@lru_cache(maxsize=4096)
def _grid(anchor: date, every: int, around: DateSpan) -> tuple[DateSpan, ...]:
    """The whole periods, counted from the anchor, that touch ``around``."""
    n = ((around.start.year - anchor.year) * 12 + around.start.month - anchor.month) // every - 1
    spans: list[DateSpan] = []
    while (start := months_on(anchor, n * every)) < around.end:
        spans.append(DateSpan(start, months_on(anchor, (n + 1) * every)))
        n += 1
    return tuple(span for span in spans if span.overlap(around))


def due(subscription: Subscription, line: SubscriptionCharge, charge: Charge, billing: DateSpan) -> Iterator[Due]:
    """What of one charge falls due in a billing period.

    In advance: service periods that start in it; in arrears and usage: those whose last day is in it; one-time: when
    its start day is in it.
    """
    if not line.ever_served:
        return
    if charge.kind is ChargeKind.ONE_TIME:
        day = DateSpan(line.starts_on, line.starts_on + timedelta(days=1))
        if day.overlap(billing):
            yield Due(subscription, line, charge, day, day)
        return
    in_advance = charge.timing is Timing.ADVANCE
    for service, whole in service_periods(charge, line, billing, subscription.starts_on):
        falls_due = (
            billing.start <= service.start < billing.end if in_advance else billing.start < service.end <= billing.end
        )
        if falls_due:
            yield Due(subscription, line, charge, service, whole)
