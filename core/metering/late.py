"""Usage that was recorded after the bill of its period: what changed, and what carrying it into the open period means.

A price book chooses (``WhenLate``): the difference is carried into the open period (``carried``), or the period is
rated again and its bills are corrected (``core.rating.corrections``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from core.meters import ADDITIVE, Aggregation, Meter
from core.noun import Noun
from core.period import Period
from core.rating import MeteredQuantity


class LateUsage(Noun):
    """One group of a billed ``period`` that measures otherwise now: as it was billed (None: not at all), and as it is
    with everything known since."""

    period: Period
    before: MeteredQuantity | None
    now: MeteredQuantity

    @property
    def difference(self) -> Decimal:
        return self.now.quantity - (self.before.quantity if self.before else Decimal(0))


Group = tuple[str, str, str, tuple[tuple[str, str], ...], str]


def group_of(quantity: MeteredQuantity) -> Group:
    """What a quantity is measured for."""
    split = tuple(sorted(quantity.dimensions.items()))
    return quantity.account_id, quantity.site_id or "", quantity.meter, split, str(quantity.service or "")


def carried(
    metered: Sequence[MeteredQuantity], late: Sequence[LateUsage], meters: Sequence[Meter] = ()
) -> list[MeteredQuantity]:
    """The open period's quantities with the late differences added. ValueError for a meter whose quantities do not add
    up over periods (a maximum, an average); its late usage is an adjustment or a new rating."""
    kinds = {meter.name: meter.aggregation for meter in meters}
    found = {group_of(quantity): quantity for quantity in metered}
    for change in late:
        if kinds.get(change.now.meter, Aggregation.SUM) not in ADDITIVE:
            raise ValueError(f"meter {change.now.meter} does not add up over periods, so it cannot be carried forward")
        group = group_of(change.now)
        found[group] = _sum(found.get(group), change)
    return [found[group] for group in sorted(found)]


def _sum(open_quantity: MeteredQuantity | None, change: LateUsage) -> MeteredQuantity:
    now, before = change.now, change.before
    new = Counter(now.each) - Counter(before.each if before else ())
    return replace(
        now,
        quantity=change.difference + (open_quantity.quantity if open_quantity else Decimal(0)),
        events=now.events - (before.events if before else 0) + (open_quantity.events if open_quantity else 0),
        each=(*(open_quantity.each if open_quantity else ()), *sorted(new.elements())),
    )
