"""Price layers: which layer sets which field of a charge, who won and who lost.

Layers are looked at from the most specific place (subscription, contact, site, the groups above it, account, the
accounts above it) to the price book itself. At one place the layer effective later wins, then the one recorded later,
then the later in the book. A layer counts for service periods that start from ``effective_from`` (inclusive) to
``effective_to`` (exclusive).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TypeAlias

from core.catalog import Charge
from core.errors import Rejected
from core.noun import Noun
from core.prices import Flat, Model, PerUnit
from core.terms import Layer, Level, Override

#: Where a charge is priced, the most specific place first.
Place: TypeAlias = Sequence[tuple[Level, str]]

#: The name under which the price book itself takes part in a choice, and that of the order's own unit price.
TEMPLATE, ORDER = "template", "order"

FIELDS = tuple(Override.model_fields)
_ALWAYS = datetime.min.replace(tzinfo=UTC)


class Choice(Noun):
    """One field of the charge, the layer it was taken from, and the layers passed over, the nearest first."""

    field: str
    winner: str
    losers: tuple[str, ...]


def resolve(
    charge: Charge,
    layers: Sequence[Layer],
    place: Place,
    on: date,
    known_at: datetime | None = None,
    ordered: Decimal | None = None,
) -> tuple[Charge, tuple[Choice, ...]]:
    """The charge as it is priced at a place for a service period that starts ``on``, and each choice that was made.

    ``known_at``: layers recorded later are not seen; ``ordered``: the unit price of the order, for a flat or per-unit
    price.
    """
    rank = {where: index for index, where in enumerate(place)}
    near = [
        layer
        for layer in reversed(layers)
        if charge.code in layer.charges
        and (layer.level, layer.of) in rank
        and layer.effective_from <= on
        and (layer.effective_to is None or on < layer.effective_to)
        and (known_at is None or _recorded(layer) <= known_at)
    ]
    if not near and ordered is None:
        return charge, ()
    near.sort(key=lambda layer: (layer.effective_from, _recorded(layer)), reverse=True)
    near.sort(key=lambda layer: rank[layer.level, layer.of])
    values: dict[str, object] = {}
    choices: list[Choice] = []
    for field in FIELDS:
        setting = [layer for layer in near if getattr(layer.charges[charge.code], field) is not None]
        names = [layer.id for layer in setting] + [TEMPLATE]
        if setting:
            values[field] = getattr(setting[0].charges[charge.code], field)
        if field == "model" and ordered is not None:
            values[field], names = agreed(charge.model, ordered), [ORDER, *names]
        if len(names) > 1:
            choices.append(Choice(field=field, winner=names[0], losers=tuple(names[1:])))
    return (charge.model_copy(update=values) if values else charge), tuple(choices)


def agreed(model: Model, unit_price: Decimal) -> Model:
    """A flat or per-unit price with the order's unit price. Rejected for another model, which has no one price."""
    match model:
        case Flat():
            return Flat(amount=unit_price)
        case PerUnit():
            return PerUnit(unit_amount=unit_price)
    raise Rejected(
        f"a {model.kind} price cannot be replaced by a unit price of {unit_price}",
        record="charge",
        field="unit_price",
        value=str(unit_price),
    )


def _recorded(layer: Layer) -> datetime:
    return layer.recorded_at or _ALWAYS
