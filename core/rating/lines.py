"""RatedLine: one charge, one service period, one amount, and how it came about."""

from __future__ import annotations

from core.money import Money
from core.noun import Id, Noun, Quantity
from core.period import DateSpan
from core.rating.derivation import Derivation, StepKind, plain


class RatedLine(Noun):
    """``id`` is made of the subscription charge, the start of the service period and, where it differs, the site.

    ``quantity`` is what was priced, after included units; ``unit_price`` is set where one price made the amount, for
    print only.
    """

    id: Id
    subscription_id: Id
    subscription_charge_id: Id
    order_line_id: Id
    account_id: Id
    site_id: Id | None = None
    charge_code: Id
    product_code: Id
    description: str
    service_period: DateSpan
    quantity: Quantity
    unit_price: Quantity | None = None
    amount: Money
    derivation: Derivation


def explain(line: RatedLine) -> str:
    """The derivation as a few lines of plain text that a finance clerk can read and recompute."""
    told, where = line.derivation, f" at site {line.site_id}" if line.site_id else ""
    rows = [f"{line.description} ({line.charge_code}){where}, {line.service_period}: {line.amount}"]
    if told.events or told.draws:
        rows.append(f"  measured {plain(told.measured)} in {told.events:,} events")
    rows += [f"  included by {draw.allowance}: {plain(draw.units)}" for draw in told.draws]
    if told.draws:
        rows.append(f"  left to price: {plain(told.priced)}")
    if told.negotiated is not None:
        rows.append(f"  unit price {plain(told.negotiated)} as ordered, instead of the price book's")
    if told.full_period != line.service_period:
        rows.append(f"  served {line.service_period} of {told.full_period}")
    for step in told.steps:
        share = f" x {step.factor}" if step.factor != 1 else ""
        sign = "less " if step.kind is StepKind.LIMIT else ""
        rows.append(f"  {sign}{step.what}: {plain(step.quantity)} x {plain(step.rate)}{share} = {plain(step.amount)}")
    rows.append(f"  sum {plain(told.exact)}, rounded once ({told.rounding}): {told.rounded}")
    rows.append(f"  price book {told.book}, version {told.book_version}")
    return "\n".join(rows)
