"""A session paid from prepaid balances: units before money, heavier weight first, whole increments only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.exact import NOTHING, added, round_to
from core.money import Rounding
from core.rating.tiers import ONE
from core.rational import Fraction


@dataclass(frozen=True, slots=True)
class Units:
    """Prepaid units, taken in whole ``increment``s; ``unit_price`` also debits money for each unit."""

    id: str
    amount: Fraction
    increment: Fraction = ONE
    weight: Fraction = NOTHING
    unit_price: Fraction = NOTHING


@dataclass(frozen=True, slots=True)
class Purse:
    """Prepaid money."""

    id: str
    amount: Fraction
    weight: Fraction = NOTHING


@dataclass(frozen=True, slots=True)
class Served:
    balances: dict[str, Fraction]
    served: Fraction
    unserved: Fraction
    money: Fraction


def serve(
    quantity: Fraction,
    units: Sequence[Units],
    purses: Sequence[Purse],
    money_rate: Fraction | None = None,
    money_increment: Fraction = ONE,
) -> Served:
    """Serve as much of ``quantity`` as the balances pay for.

    ``money_rate``: price of one unit paid from money (None: money pays none), in steps of ``money_increment`` units.
    """
    balances = {one.id: one.amount for one in units} | {one.id: one.amount for one in purses}
    purse_order = [one.id for one in sorted(purses, key=lambda one: -one.weight)]
    left, money = quantity, NOTHING

    def take(price: Fraction, increment: Fraction, stock: Fraction | None) -> Fraction:
        """Take whole increments at a price per unit, as far as stock and money go; the units taken."""
        nonlocal left, money
        steps = round_to(left / increment, 0, Rounding.CEIL)
        if stock is not None:
            steps = min(steps, Fraction(stock // increment))
        if price:
            steps = min(steps, Fraction(added(balances[one] for one in purse_order) // (price * increment)))
        taken = max(NOTHING, steps) * increment
        _debit(balances, purse_order, taken * price)
        money += taken * price
        left -= min(left, taken)
        return taken

    for one in sorted(units, key=lambda one: -one.weight):
        balances[one.id] -= take(one.unit_price, one.increment, one.amount)
    if money_rate is not None and purse_order:
        take(money_rate, money_increment, None)
    return Served(balances, quantity - left, left, money)


def _debit(balances: dict[str, Fraction], order: Sequence[str], amount: Fraction) -> None:
    for one in order:
        part = min(balances[one], amount)
        balances[one] -= part
        amount -= part
