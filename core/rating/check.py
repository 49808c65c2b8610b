"""The independent checker: re-evaluates a rated line from its derivation and the price book.

It shares no code with the models: the tape is added up again, and the price of the quantity is computed a second time
by another road (a sum over all tiers at once instead of a walk). TieBroken names what does not hold.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from core.catalog import ChargeKind, PriceBook, Proration
from core.money import Money, Rounding, exponent
from core.prices import Flat, Graduated, Model, Package, PerUnit, Stairstep, TierBounds, Tiered, Volume, WhenEmpty
from core.ties import require

if TYPE_CHECKING:
    from core.rating.lines import RatedLine


def check(line: RatedLine, book: PriceBook) -> None:
    """TieBroken unless the line follows from the book and its own derivation."""
    told, charge = line.derivation, book.charge(line.charge_code)
    require("line was priced by this book", line.id, told.book_version, book.version)
    drawn = sum((one.units for one in told.draws), Fraction(0))
    require("measured = included + priced", line.id, told.measured, drawn + told.priced)
    tape = Fraction(0)
    for step in told.steps:
        tape += step.quantity * step.rate * step.factor
    require("exact amount = sum of its steps", line.id, told.exact, tape)
    factor = Fraction(1)
    if charge.kind is ChargeKind.RECURRING and charge.proration is Proration.DAY:
        served = (line.service_period.end - line.service_period.start).days
        factor = Fraction(served, (told.full_period.end - told.full_period.start).days)
    model: Model = charge.model
    if told.negotiated is not None:
        cost = told.negotiated * (1 if isinstance(model, Flat) else told.priced)
    else:
        cost = _cost(model, told.priced)
    require("steps = price of the quantity", line.id, tape, cost * factor)
    require("amount = exact amount rounded", line.id, line.amount, _rounded(tape, book.currency, told.rounding))
    require("derivation = line", line.id, told.rounded, line.amount)


def _cost(model: Model, quantity: Fraction) -> Fraction:
    match model:
        case Flat():
            return Fraction(model.amount)
        case PerUnit():
            return quantity * Fraction(model.unit_amount)
        case Package():
            ratio = (quantity - Fraction(model.free_units)) / Fraction(model.package_size)
            whole = -(-ratio.numerator // ratio.denominator) if model.partial_package == "up" else ratio // 1
            return max(0, whole) * Fraction(model.package_amount)
        case Graduated():
            return _graduated(model, quantity)
        case Volume() | Stairstep():
            return _single_tier(model, quantity)


def _limits(model: Tiered, quantity: Fraction) -> list[Fraction]:
    return [quantity + 1 if tier.up_to is None else Fraction(tier.up_to) for tier in model.tiers]


def _graduated(model: Graduated, quantity: Fraction) -> Fraction:
    """Difference form: units up to each limit, less those up to the one before."""
    limits = _limits(model, quantity)
    filled = [min(quantity, limit) for limit in limits]
    cost = Fraction(0)
    for index, tier in enumerate(model.tiers):
        units = filled[index] - (filled[index - 1] if index else 0)
        entered = units > 0 or (index == 0 and model.when_empty is WhenEmpty.CHARGE_FIRST_TIER)
        part = units * (Fraction(tier.unit_amount) + Fraction(tier.rate) / 100) + entered * Fraction(tier.flat_amount)
        cost += part if tier.cap is None else min(part, Fraction(tier.cap))
    return cost


def _single_tier(model: Volume | Stairstep, quantity: Fraction) -> Fraction:
    passed = [limit for limit in _limits(model, quantity) if (quantity > limit if _upper(model) else quantity >= limit)]
    tier = model.tiers[min(len(passed), len(model.tiers) - 1)]
    flat = 0 if quantity == 0 and model.when_empty is WhenEmpty.NO_CHARGE else Fraction(tier.flat_amount)
    if isinstance(model, Stairstep):
        return Fraction(flat)
    part = quantity * (Fraction(tier.unit_amount) + Fraction(tier.rate) / 100) + flat
    return part if tier.cap is None else min(part, Fraction(tier.cap))


def _upper(model: Tiered) -> bool:
    return model.bounds is TierBounds.UPPER_INCLUSIVE


def _rounded(exact: Fraction, currency: str, mode: Rounding) -> Money:
    """Rounded by the rule's definition: the nearest minor unit, or the one the mode names."""
    scaled = exact * 10 ** exponent(currency)
    below = scaled // 1
    candidates = [below, below + 1] if scaled != below else [below]
    distance = {minor: abs(minor - scaled) for minor in candidates}
    nearest = [minor for minor in candidates if distance[minor] == min(distance.values())]
    match mode:
        case Rounding.UP:
            chosen = max(candidates, key=abs)
        case Rounding.DOWN:
            chosen = min(candidates, key=abs)
        case Rounding.CEIL:
            chosen = max(candidates)
        case Rounding.FLOOR:
            chosen = min(candidates)
        case Rounding.HALF_UP:
            chosen = max(nearest, key=abs)
        case Rounding.HALF_DOWN:
            chosen = min(nearest, key=abs)
        case Rounding.HALF_EVEN:
            chosen = nearest[0] if len(nearest) == 1 else next(minor for minor in nearest if minor % 2 == 0)
    return Money(int(chosen), currency)
