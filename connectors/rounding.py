"""How a vendor comes to the amounts of a document, so that its total is known before anything is sent.

A connector states it as data beside its RESOURCES. What follows from a payload by the vendor's arithmetic must be what
the payload says it is: a difference is refused here, with both figures, instead of standing in the vendor's books.
Halves are rounded away from zero everywhere; where a vendor does not publish it, its connector says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from functools import reduce
from typing import Any

from core.errors import Rejected
from core.ports import Payload


class Stated(StrEnum):
    """What a stated amount of a line is beside its quantity and price."""

    PRODUCT = "it must be their product"
    WINS = "it counts, whatever they are"


@dataclass(frozen=True, slots=True)
class Rounding:
    """How a document comes to its total: per line quantity times price, each to its places, to ``places``; their sum.

    ``lines`` is a path to the lines of a payload; ``amount``, ``quantity``, ``price`` and ``added`` (what is added to a
    line, such as its tax) are paths in a line; ``total``: where a payload tells our total, which vendors compute and
    which is never sent. No places: all are kept.
    """

    lines: str
    total: str
    amount: str = ""
    quantity: str = ""
    price: str = ""
    added: Sequence[str] = ()
    quantity_places: int | None = None
    price_places: int | None = None
    places: int = 2
    stated: Stated = Stated.PRODUCT


def foretold(system: str, resource: str, rounding: Rounding, payload: Payload) -> Decimal:
    """What the vendor will come to. Rejected, naming the field and both figures, where the payload says otherwise."""
    lines = at(payload, rounding.lines) or ()
    whole = sum(
        (_line(system, resource, rounding, f"{rounding.lines}.{n}", line) for n, line in enumerate(lines)), Decimal(0)
    )
    if rounding.total in payload and whole != Decimal(payload[rounding.total]):
        raise _differs(
            system, resource, rounding.total, payload[rounding.total], f"the sum of the lines there, {whole}"
        )
    return whole


def unsent(rounding: Mapping[str, Rounding], resource: str, payload: Payload) -> Payload:
    """The payload without our total, which is for comparing alone."""
    ours = rounding[resource].total if resource in rounding else ""
    return {name: value for name, value in payload.items() if name != ours} if ours else payload


def _line(system: str, resource: str, rounding: Rounding, place: str, line: Payload) -> Decimal:
    stated = at(line, rounding.amount) if rounding.amount else None
    quantity, price = (at(line, name) if name else None for name in (rounding.quantity, rounding.price))
    added = sum((Decimal(at(line, name) or 0) for name in rounding.added), Decimal(0))
    if stated is not None and exact(stated, rounding.places) is None:
        raise _differs(system, resource, f"{place}.{rounding.amount}", stated, f"exact in {rounding.places} decimals")
    if quantity is None or price is None:
        if stated is None:
            why = f"{resource}: {place} has neither an amount nor quantity and price"
            raise Rejected(why, system=system, record=resource, field=f"{place}.{rounding.amount or rounding.price}")
        return Decimal(stated) + added
    made = rounded(rounded(quantity, rounding.quantity_places) * rounded(price, rounding.price_places), rounding.places)
    if stated is None or rounding.stated is Stated.WINS:
        return (made if stated is None else Decimal(stated)) + added
    if made != Decimal(stated):
        what = f"what quantity times price comes to there, {made}"
        raise _differs(system, resource, f"{place}.{rounding.amount}", stated, what)
    return made + added


def rounded(value: Any, places: int | None) -> Decimal:
    number = Decimal(value)
    return number if places is None else number.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)


def exact(value: Any, places: int) -> Decimal | None:
    """The number, or None when it has more decimals than ``places``."""
    number = Decimal(value)
    return number if number == rounded(number, places) else None


def at(value: Any, path: str) -> Any:
    """What stands at a path of names; None where nothing does."""
    return reduce(lambda inner, name: inner.get(name) if isinstance(inner, Mapping) else None, path.split("."), value)


def _differs(system: str, resource: str, field: str, ours: Any, theirs: str) -> Rejected:
    text = f"{resource}: {field} is {ours}, and not {theirs}; nothing was sent"
    return Rejected(text, system=system, record=resource, field=field, value=str(ours))
