"""The independent checker: re-evaluates rated lines from their derivations and the price book, and the bill as a whole.

It shares no code with the models: the tape is added up again, and the price of the quantity is computed a second time
by another road (closed forms over all tiers at once instead of a walk). TieBroken names what does not hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from core.catalog import Charge, ChargeKind, PriceBook, Proration, RoundingAt, acts_on, counted
from core.errors import TieBroken
from core.exact import NOTHING, exactly
from core.money import Money, Rounding, exponent
from core.period import start_of_day
from core.prices import (
    Blocks,
    Commitment,
    Committed,
    Flat,
    Graduated,
    Matrix,
    Model,
    Percentage,
    PerUnit,
    Stairstep,
    Tier,
    TierBounds,
    Tiered,
    Volume,
    WhenEmpty,
)
from core.rational import Fraction
from core.terms import AmountOff, MaximumSpend, PercentOff, Rule
from core.ties import require

if TYPE_CHECKING:
    from core.rating.derivation import Derivation
    from core.rating.lines import RatedLine
    from core.rating.measured import Part

_WHOLE = Fraction(1)


def check(line: RatedLine, book: PriceBook) -> None:
    """TieBroken unless the line follows from the book and its own derivation."""
    told, charge = line.derivation, _chosen(line, book)
    committed = charge.model.kind == "commitment"
    require("line was priced by this book", line.id, told.book_version, book.version)
    _check_quantities(line, charge)
    tape = _sum([step.quantity * step.rate * step.factor for step in told.steps])
    if not committed:
        require(
            "steps = price of the quantity",
            line.id,
            tape,
            _spend(charge, _served(line, charge) * _priced(charge, told)),
        )
    ordered = any(one.winner == "order" for one in told.choices)
    exchange = None if ordered or committed else book.exchange_of(charge.code)
    require("converted at the rate of the book", line.id, told.exchange, exchange)
    tape = tape if exchange is None else tape * exchange.rate
    require("exact amount = sum of its steps, converted", line.id, told.exact, tape)
    whole = _rounded(tape, book.currency, told.rounding)
    if told.share is None and (book.rounding_at is RoundingAt.LINE or committed):
        require("listed amount = exact amount rounded", line.id, told.rounded, whole)
    elif told.share is None:
        off = abs(told.rounded.minor - tape * 10 ** exponent(book.currency))
        require("listed amount is within a minor unit of the exact amount", line.id, off < 1, True)
    else:
        require("pooled amount = exact amount rounded", line.id, told.share.amount, whole)
    off = sum([change.amount.minor for change in told.adjustments])
    due, before = told.rounded.minor + off, told.billed
    if before is not None:
        due = (0 if before.withdrawn else due) - before.amount.minor
    require("amount = listed amount + adjustments - billed before", line.id, line.amount.minor, due)


def check_bill(
    lines: Sequence[RatedLine],
    book: PriceBook,
    billed: Mapping[str, Money] | None = None,
    held: Mapping[str, Fraction] | None = None,
) -> None:
    """TieBroken unless each line holds, pools are shared out to the last unit, and rules took off what they say.

    ``held``: by source, the units of earlier months and grants that were there to be drawn.
    """
    for line in lines:
        check(line, book)
    _check_draws(lines, book, held or {})
    _check_pools(lines)
    _check_document(lines, book)
    running = {line.id: line.derivation.rounded.minor for line in lines}
    for node in book.evaluation:
        if isinstance(node, Rule):
            _check_rule(node, lines, running, book)
        elif isinstance(node.model, Commitment):
            codes = counted(node.model, node.code, book.charges)
            listed = node.model.counts == "listed"
            met = sum(
                line.derivation.rounded.minor if listed else running[line.id]
                for line in lines
                if line.charge_code in codes
            )
            met += sum(money.minor for code, money in (billed or {}).items() if code in codes)
            _check_commitment(node, lines, met, book)


def _chosen(line: RatedLine, book: PriceBook) -> Charge:
    """The charge with the fields that the line says its layers set; each must be a layer in force that sets it."""
    charge, told = book.charge(line.charge_code), line.derivation
    if not told.choices:
        return charge
    layers = {layer.id: layer for layer in book.layers}
    values: dict[str, object] = {}
    for choice in told.choices:
        if choice.winner == "order" and told.ordered is not None:
            price = told.ordered
            values["model"] = Flat(amount=price) if isinstance(charge.model, Flat) else PerUnit(unit_amount=price)
            continue
        layer, start = layers.get(choice.winner), line.service_period.start
        if layer is None or start < layer.effective_from or (layer.effective_to and layer.effective_to <= start):
            raise TieBroken("the layer that won is in force", subject=line.id, left=choice.winner, right=str(start))
        values[choice.field] = getattr(layer.charges[charge.code], choice.field)
    return charge.model_copy(update=values)


def _check_quantities(line: RatedLine, charge: Charge) -> None:
    told = line.derivation
    left = told.measured - _sum([one.units for one in told.draws])
    if told.share is not None:
        require("share of the pool = measured - included", line.id, told.share.units, left)
        left = told.share.pool
    groups = [left]
    if charge.group_by:
        groups = [_quantity(parts) for parts in _groups(charge, told).values()]
        require("groups = measured - included", line.id, _sum(groups), left)
    converted = [_convert(charge, units) for units in groups]
    require("converted = measured - included, converted", line.id, told.converted, _sum(converted))
    free = _sum([_free(charge, one) for one in converted])
    require("free units = what the charge includes", line.id, told.included, free)
    require("priced + free = converted", line.id, told.priced + told.included, told.converted)


def _free(charge: Charge, units: Fraction) -> Fraction:
    return min(max(units, NOTHING), exactly(charge.included)) if charge.included else NOTHING


def _sum(values: Iterable[Fraction]) -> Fraction:
    """The sum, of none zero; lists sum faster than generators, and most are short."""
    return sum(values, NOTHING)


def _convert(charge: Charge, units: Fraction) -> Fraction:
    conversion = charge.conversion
    if conversion is None:
        return units
    factor = exactly(conversion.factor)
    units = units * factor if conversion.operation == "multiply" else units / factor
    grid = Fraction(10) ** conversion.places
    return units if conversion.rounding is None else _nearest(units * grid, conversion.rounding) / grid


def _groups(charge: Charge, told: Derivation) -> dict[tuple[str, ...], list[Part]]:
    groups: dict[tuple[str, ...], list[Part]] = {}
    for part in told.parts:
        groups.setdefault(tuple(part.dimensions.get(name, "") for name in charge.group_by), []).append(part)
    return groups


def _served(line: RatedLine, charge: Charge) -> Fraction:
    if charge.kind is not ChargeKind.RECURRING or charge.proration is Proration.NONE:
        return _WHOLE
    served, whole = line.service_period, line.derivation.full_period
    if charge.proration is Proration.SECOND:
        days = (served.start, served.end, whole.start, whole.end)
        start, end, first, last = (start_of_day(day, line.derivation.timezone or "UTC") for day in days)
        return Fraction((end - start) // timedelta(seconds=1), (last - first) // timedelta(seconds=1))
    return Fraction((served.end - served.start).days, (whole.end - whole.start).days)


def _spend(charge: Charge, amount: Fraction) -> Fraction:
    if charge.discount_percent:
        amount -= amount * exactly(charge.discount_percent) / 100
    if charge.max_spend is not None:
        amount = min(amount, exactly(charge.max_spend))
    return amount if charge.min_spend is None else max(amount, exactly(charge.min_spend))


def _priced(charge: Charge, told: Derivation) -> Fraction:
    if not charge.group_by:
        return _cost(charge.model, told.priced, _share(told.parts, told.priced), told.tier_by)
    cost = NOTHING
    for parts in _groups(charge, told).values():
        units = _convert(charge, _quantity(parts))
        units -= _free(charge, units)
        cost += _cost(charge.model, units, _share(parts, units), told.tier_by)
    return cost


def _share(parts: Sequence[Part], units: Fraction) -> Sequence[Part]:
    """The parts in proportion to the units that are priced of them."""
    whole = _quantity(parts)
    if whole == units:
        return parts
    return [replace(part, quantity=part.quantity * units / whole) for part in parts] if whole else parts


def _quantity(parts: Sequence[Part]) -> Fraction:
    return _sum([part.quantity for part in parts])


def _cost(model: Model, quantity: Fraction, parts: Sequence[Part], tier_by: Fraction | None) -> Fraction:
    match model.kind:
        case "flat":
            return exactly(model.amount)
        case "per_unit":
            return quantity * exactly(model.unit_amount)
        case "pre_rated":
            return quantity * exactly(model.multiplier)
        case "package":
            ratio = (quantity - exactly(model.free_units)) / exactly(model.package_size)
            whole = -(-ratio // 1) if model.partial_package == "up" else ratio // 1
            return max(NOTHING, Fraction(whole)) * exactly(model.package_amount)
        case "graduated":
            return _graduated(model, quantity)
        case "volume" | "stairstep":
            return _single_tier(model, quantity, quantity if tier_by is None else tier_by)
        case "percentage":
            return _percentage(model, quantity, parts)
        case "matrix":
            by_cell: dict[int, list[Part]] = {}
            for part in parts:
                by_cell.setdefault(_cell(model, part), []).append(part)
            return _sum([_cost(model.cells[i].model, _quantity(used), used, None) for i, used in by_cell.items()])
        case "blocks":
            return sum((_blocks(model, unit, parts) for unit in {part.dimensions[model.by] for part in parts}), NOTHING)
        case "capacity":
            used_units = {part.dimensions[model.by] for part in parts}
            prices = [
                step.price
                for step in model.steps
                if all(_fits(step.limits.get(unit), _of(model.by, unit, parts)) for unit in used_units)
            ]
            return Fraction(prices[0])
        case "committed":
            return sum((_committed(model, part) for part in parts), NOTHING)
        case "commitment":
            raise AssertionError("a commitment is checked with its bill")


def _limits(model: Tiered, quantity: Fraction) -> list[Fraction]:
    return [quantity + 1 if tier.up_to is None else exactly(tier.up_to) for tier in model.tiers]


def _graduated(model: Graduated, quantity: Fraction) -> Fraction:
    """Difference form: units up to each limit, less those up to the one before."""
    filled = [min(quantity, exactly(tier.up_to)) if tier.up_to is not None else quantity for tier in model.tiers]
    cost = NOTHING
    for index, tier in enumerate(model.tiers):
        units = filled[index] - filled[index - 1] if index else filled[0]
        part = units * _per_unit(tier)
        if units > 0 or (index == 0 and model.when_empty is WhenEmpty.CHARGE_FIRST_TIER):
            part += exactly(tier.flat_amount)
        cost += part if tier.cap is None else min(part, exactly(tier.cap))
    return cost


def _per_unit(tier: Tier) -> Fraction:
    return exactly(tier.unit_amount) + exactly(tier.rate) / 100 if tier.rate else exactly(tier.unit_amount)


def _single_tier(model: Volume | Stairstep, quantity: Fraction, selector: Fraction) -> Fraction:
    upper = model.bounds is TierBounds.UPPER_INCLUSIVE
    passed = [limit for limit in _limits(model, selector) if (selector > limit if upper else selector >= limit)]
    tier = model.tiers[min(len(passed), len(model.tiers) - 1)]
    flat = NOTHING if selector == 0 and model.when_empty is WhenEmpty.NO_CHARGE else exactly(tier.flat_amount)
    if isinstance(model, Stairstep):
        return flat
    part = quantity * _per_unit(tier) + flat
    return part if tier.cap is None else min(part, exactly(tier.cap))


def _percentage(model: Percentage, quantity: Fraction, parts: Sequence[Part]) -> Fraction:
    rate, fixed = exactly(model.rate) / 100, exactly(model.fixed_per_event)
    if (model.min_per_event, model.max_per_event, model.free_events, model.free_amount) == (None,) * 4:
        return quantity * rate + fixed * sum(part.events for part in parts)
    cost, before = NOTHING, NOTHING
    free = model.free_events is not None or model.free_amount is not None
    for index, amount in enumerate(Fraction(one) for part in parts for one in part.each):
        counts = free and (model.free_events is None or index < model.free_events)
        room = amount if model.free_amount is None else max(NOTHING, exactly(model.free_amount) - before)
        covered = min(amount, room) if counts else NOTHING
        before += amount if counts else 0
        if counts and covered == amount and (room > 0 or model.free_amount is None):
            continue
        fee = max((amount - covered) * rate + fixed, Fraction(model.min_per_event or 0))
        cost += fee if model.max_per_event is None else min(fee, exactly(model.max_per_event))
    return cost


def _cell(model: Matrix, part: Part) -> int:
    return [cell.when.items() <= part.dimensions.items() for cell in model.cells].index(True)


def _of(by: str, unit: str, parts: Sequence[Part]) -> Fraction:
    return _quantity([part for part in parts if part.dimensions[by] == unit])


def _fits(limit: Decimal | None, quantity: Fraction) -> bool:
    return limit is None or quantity <= limit


def _blocks(model: Blocks, unit: str, parts: Sequence[Part]) -> Fraction:
    quantity = _of(model.by, unit, parts)
    tiers = [tier[unit] for tier in model.tiers if unit in tier]
    ends, held = [], NOTHING
    for block in tiers:
        held = quantity + held if block.max_blocks is None else held + exactly(block.size) * block.max_blocks
        ends.append(held)
    if model.policy == "top":
        block = tiers[min(sum(quantity > end for end in ends), len(tiers) - 1)]
        return -(-quantity / exactly(block.size) // 1) * exactly(block.price)
    starts = [NOTHING, *ends[:-1]]
    return sum(
        (
            -(-max(NOTHING, min(quantity, end) - start) / exactly(block.size) // 1) * exactly(block.price)
            for block, start, end in zip(tiers, starts, ends, strict=True)
        ),
        NOTHING,
    )


def _committed(model: Committed, part: Part) -> Fraction:
    hour = int(part.dimensions[model.by])
    window = next(one for one in model.windows if one.from_hour <= hour and hour < one.to_hour)
    cost = part.quantity * exactly(window.unit_amount)
    pledge = exactly(window.commitment) + exactly(window.commitment_units) * exactly(window.unit_amount)
    if cost > pledge:
        return pledge + (cost - pledge) * exactly(window.overage_factor)
    return pledge if window.true_up == "charged" else cost


def _check_draws(lines: Sequence[RatedLine], book: PriceBook, held: Mapping[str, Fraction]) -> None:
    """What a source holds falls by what each line takes, never below zero, from what was there to be drawn."""
    draws: dict[str, list[tuple[Fraction, Fraction]]] = {}
    for line in lines:
        for one in line.derivation.draws:
            if one.held is not None and one.taken:
                draws.setdefault(one.allowance, []).append((one.held, one.taken))
    fixed = {
        one.id: exactly(one.units)
        for one in book.allowances
        if not (one.per_site or one.steps or one.earned or one.granted_by)
    }
    for source, found in draws.items():
        found.sort(reverse=True)
        left = found[0][0]
        for before, taken in found:
            require("units held = held before - taken", source, before, left)
            left -= taken
        if left < 0:
            raise TieBroken("units taken <= units held", subject=source, left=found[0][0] - left, right=found[0][0])
        most = held.get(source, fixed.get(source))
        if most is not None and found[0][0] > most:
            raise TieBroken("units held <= units granted", subject=source, left=found[0][0], right=most)


def _check_pools(lines: Sequence[RatedLine]) -> None:
    pools: dict[tuple[str, object], list[RatedLine]] = {}
    for line in lines:
        if line.derivation.share is not None:
            pools.setdefault((line.subscription_charge_id, line.service_period.start), []).append(line)
    for (charge_id, _), members in pools.items():
        shares = [line.derivation.share for line in members if line.derivation.share is not None]
        require(
            "shares = pooled amount",
            charge_id,
            sum(line.derivation.rounded.minor for line in members),
            shares[0].amount.minor,
        )
        require("shares = pooled units", charge_id, sum((one.units for one in shares), NOTHING), shares[0].pool)


def _check_document(lines: Sequence[RatedLine], book: PriceBook) -> None:
    if book.rounding_at is RoundingAt.DOCUMENT:
        commitments = {charge.code for charge in book.charges if isinstance(charge.model, Commitment)}
        own = [
            line.derivation for line in lines if line.derivation.share is None and line.charge_code not in commitments
        ]
        whole = _rounded(sum((one.exact for one in own), NOTHING), book.currency, book.rounding)
        require("sum of lines = exact sum rounded", book.name, sum(one.rounded.minor for one in own), whole.minor)


def _check_rule(rule: Rule, lines: Sequence[RatedLine], running: dict[str, int], book: PriceBook) -> None:
    taken = {
        line.id: sum(one.amount.minor for one in line.derivation.adjustments if one.rule == rule.id) for line in lines
    }
    if any(taken.values()):
        codes = acts_on(rule, book.charges)
        base = sum(max(0, running[line.id]) for line in lines if line.charge_code in codes)
        scale = 10 ** exponent(book.currency)
        match rule.then:
            case PercentOff(percent=percent):
                off = _nearest(base * Fraction(percent) / 100, book.rounding)
            case AmountOff(amount=amount):
                off = min(base, _nearest(Fraction(amount) * scale, book.rounding))
            case MaximumSpend(amount=amount):
                off = base - min(base, _nearest(Fraction(amount) * scale, book.rounding))
            case _:
                off = 0
        require("rule took off what it says", rule.id, -sum(taken.values()), off)
    for line_id, minor in taken.items():
        running[line_id] += minor


def _check_commitment(charge: Charge, lines: Sequence[RatedLine], met: int, book: PriceBook) -> None:
    for line in lines:
        if line.charge_code == charge.code and isinstance(charge.model, Commitment):
            model = _chosen(line, book).model
            pledge = Fraction(model.amount if isinstance(model, Commitment) else 0) * _served(line, charge)
            missing = max(NOTHING, pledge - max(NOTHING, Fraction(met, 10 ** exponent(book.currency))))
            require("commitment = what is missing of it", line.id, line.derivation.exact, missing)


def _nearest(value: Fraction, mode: Rounding) -> int:
    """Rounded by the rule's definition: the nearest whole number, or the neighbour the mode names."""
    below, rest = divmod(value.numerator, value.denominator)
    if not rest:
        return below
    candidates, up = [below, below + 1], value.denominator - rest
    nearest = candidates if rest == up else [below] if rest < up else [below + 1]
    match mode:
        case Rounding.UP:
            return max(candidates, key=abs)
        case Rounding.DOWN:
            return min(candidates, key=abs)
        case Rounding.CEIL:
            return max(candidates)
        case Rounding.FLOOR:
            return min(candidates)
        case Rounding.HALF_UP:
            return max(nearest, key=abs)
        case Rounding.HALF_DOWN:
            return min(nearest, key=abs)
        case Rounding.HALF_EVEN:
            return nearest[0] if len(nearest) == 1 else next(one for one in nearest if one % 2 == 0)


def _rounded(exact: Fraction, currency: str, mode: Rounding) -> Money:
    return Money(_nearest(exact * 10 ** exponent(currency), mode), currency)
