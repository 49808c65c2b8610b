"""RatedLine: one charge, one service period, one amount, and how it came about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from core.catalog import RoundingAt
from core.money import Money
from core.noun import Id, Instant, Noun, Quantity
from core.period import DateSpan
from core.rating.derivation import Derivation, plain
from core.rational import Fraction


class RatedLine(Noun):
    """``id`` is made of the subscription charge, the start of the service period and, where it differs, the site.

    ``quantity`` is what was priced, after included units; ``unit_price`` is set where one price made the amount, for
    print only. Usage recorded after ``known_at`` was not known to the line. ``corrects`` is the month of an earlier
    bill (``"2026-09"``) that the line brings up to date; its quantity and amount are what came since.
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
    known_at: Instant | None = None
    corrects: str | None = None


def explain(line: RatedLine) -> str:
    """The derivation as a few lines of plain text that a finance clerk can read and recompute."""
    told, where = line.derivation, f" at site {line.site_id}" if line.site_id else ""
    rows = [f"{line.description} ({line.charge_code}){where}, {line.service_period}: {line.amount}"]
    rows += [f"  {row}" for row in _explained(line, told)]
    return "\n".join(rows)


def _explained(line: RatedLine, told: Derivation) -> Iterator[str]:
    for choice in told.choices:
        yield f"{choice.field} by {choice.winner}, before {', '.join(choice.losers)}"
    if told.events or told.draws:
        yield f"measured {plain(told.measured)} in {told.events:,} events"
    left = told.measured
    for draw in told.draws:
        left -= draw.units
        yield f"included by {draw.allowance}: {plain(draw.units)}, left {plain(left)}"
    if told.share is not None:
        left = told.share.pool
        yield f"{plain(told.share.units)} of {plain(left)} units that all sites are priced for together"
    if told.converted != left:
        yield f"converted to {plain(told.converted)} units"
    if told.included:
        yield f"free on each line: {plain(told.included)}, left {plain(told.priced)}"
    if told.tier_by is not None:
        yield f"tier chosen by the {plain(told.tier_by)} units of all sites"
    if told.full_period != line.service_period:
        yield f"served {line.service_period} of {told.full_period}"
    for step in told.steps:
        share = f" x {step.factor}" if step.factor != 1 else ""
        yield f"{step.what}: {plain(step.quantity)} x {plain(step.rate)}{share} = {plain(step.amount)}"
    if told.exchange is not None:
        fx = told.exchange
        yield f"1 {fx.base} is {plain(fx.rate)} {fx.quote} on {fx.on} ({', '.join(fx.rates)})"
    whole = told.rounded if told.share is None else told.share.amount
    once = "rounded once" if told.rounding_at is RoundingAt.LINE else "rounded with all lines of the document"
    yield f"sum {plain(told.exact)}, {once} ({told.rounding}): {whole}"
    if told.share is not None:
        yield f"share of this site, by largest remainder: {told.rounded}"
    for change in told.adjustments:
        yield f"{change.rule}: {change.what}: {change.amount}"
    if told.billed is not None:
        stands = "not due any more, " if told.billed.withdrawn else ""
        yield f"{stands}less billed before as {told.billed.line_id}: {-told.billed.amount}"
    yield f"price book {told.book}, version {told.book_version}"


def drawn(lines: Iterable[RatedLine]) -> dict[str, Fraction]:
    """Allowance units drawn by a bill, per allowance. Usage that several charges price counts once."""
    units: dict[str, Fraction] = {}
    for line in lines:
        for draw in line.derivation.draws:
            units[draw.allowance] = units.get(draw.allowance, Fraction(0)) + draw.taken
    return units
