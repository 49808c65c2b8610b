"""Revenue over months, and a price over the promises of a contract, under a declared method.

Service days are inclusive on both sides here, as contracts state them. Figures are exact; what rounding leaves over
goes by the declared remainder, so that the parts sum to the whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from enum import StrEnum

from dateutil.relativedelta import relativedelta

from core.exact import NOTHING, Remainder, apportion, round_to
from core.rational import Fraction


class Method(StrEnum):
    """What a month weighs."""

    DAYS = "days"  # its days of service
    EQUAL_MONTHS = "equal_months"  # every month touched the same
    PRORATA_TEMPORIS = "monthly_prorata_temporis"  # a full month 1, a partial one its days over the days of that month


def months_of(start: date, end: date) -> list[tuple[str, date, date]]:
    """(``"2026-10"``, first day, last day) of service in each month touched."""
    months, first = [], start
    while first <= end:
        last = min(first + relativedelta(day=31), end)
        months.append((f"{first:%Y-%m}", first, last))
        first = last + timedelta(days=1)
    return months


def weights(start: date, end: date, method: Method, weight_places: int | None = None) -> dict[str, Fraction]:
    """The weight of each month touched; ``weight_places``: rounded half up before use (None: exact)."""
    result: dict[str, Fraction] = {}
    for month, first, last in months_of(start, end):
        days = (last - first).days + 1
        match method:
            case Method.DAYS:
                weight = Fraction(days)
            case Method.EQUAL_MONTHS:
                weight = Fraction(1)
            case Method.PRORATA_TEMPORIS:
                weight = Fraction(days, (first + relativedelta(day=31)).day)
        result[month] = weight if weight_places is None else round_to(weight, weight_places)
    return result


def schedule(
    amount: Fraction,
    start: date,
    end: date,
    places: int,
    method: Method = Method.DAYS,
    remainder: Remainder = Remainder.LARGEST,
    weight_places: int | None = None,
) -> dict[str, Fraction]:
    """What is earned of ``amount`` in each month; the months sum to it."""
    by_month = weights(start, end, method, weight_places)
    return dict(zip(by_month, apportion(amount, list(by_month.values()), places, remainder), strict=True))


def after(months: Mapping[str, Fraction], month: str) -> Fraction:
    """What is earned in the months after one."""
    return sum((amount for name, amount in months.items() if name > month), NOTHING)


def deferred_at(amount: Fraction, start: date, end: date, cutoff: date) -> Fraction:
    """What is not yet earned by days once ``cutoff`` has passed; exact."""
    whole = (end - start).days + 1
    left = min(whole, max(0, (end - cutoff).days))
    return amount * left / whole


def by_standalone_prices(
    price: Fraction, prices: Mapping[str, Fraction], places: int, remainder: Remainder = Remainder.LARGEST
) -> dict[str, Fraction]:
    """The contract price in proportion to standalone selling prices."""
    return dict(zip(prices, apportion(price, list(prices.values()), places, remainder), strict=True))


def with_residual(
    price: Fraction, prices: Mapping[str, Fraction], residual: Sequence[str], places: int
) -> dict[str, Fraction]:
    """Items with an observable price at that price; ``residual`` items share, equally, what the others leave."""
    known = {name: value for name, value in prices.items() if name not in residual}
    left = max(NOTHING, price - sum(known.values(), NOTHING))
    shares = dict(zip(residual, apportion(left, [1] * len(residual), places), strict=True))
    return {name: known.get(name, shares.get(name, NOTHING)) for name in (*prices, *shares)}


def with_bundle(
    price: Fraction, prices: Mapping[str, Fraction], members: Sequence[str], places: int
) -> dict[str, Fraction]:
    """The discount falls on the members of a bundle alone; the others keep their own price."""
    others = {name: value for name, value in prices.items() if name not in members}
    bundle = {name: prices[name] for name in members}
    shared = by_standalone_prices(price - sum(others.values(), NOTHING), bundle, places)
    return {name: others.get(name, shared.get(name, NOTHING)) for name in prices}


def incremental(price: Fraction, prices: Mapping[str, Fraction], order: Sequence[str]) -> dict[str, Fraction]:
    """Item after item at its own price, until the contract price is used up."""
    result: dict[str, Fraction] = {}
    for name in order:
        result[name] = min(prices[name], price)
        price -= result[name]
    return result
