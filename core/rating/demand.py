"""What is to be priced: the charges that fall due, each with the usage it takes, site by site."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from core.accounts import Account
from core.catalog import Charge, ChargeKind, PriceBook, Scope
from core.errors import Rejected
from core.exact import added, exactly, fraction_of
from core.meters import ADDITIVE, Meter
from core.period import DateSpan
from core.rating.derivation import Draw
from core.rating.layers import Choice
from core.rating.measured import MeteredQuantity, Part
from core.rational import Fraction
from core.subscriptions import Due, Subscription, SubscriptionCharge, due, service_periods
from core.terms import Layer, Level


@dataclass(slots=True)
class Item:
    """A due charge at one site (and contact) with the parts it prices, on its way to a line.

    ``charge`` is the charge as the price layers leave it, ``choices`` what they chose. ``measured`` is the quantity of
    the parts, ``left`` what remains of it after the included units drawn (see :meth:`draw`).
    """

    due: Due
    site_id: str | None
    contact_id: str | None
    parts: tuple[Part, ...]
    charge: Charge
    choices: tuple[Choice, ...] = ()
    draws: tuple[Draw, ...] = ()
    code: str = field(init=False)
    measured: Fraction = field(init=False)
    left: Fraction = field(init=False)

    def __post_init__(self) -> None:
        self.code = self.charge.code
        self.left = self.measured = added([part.quantity for part in self.parts])

    def draw(self, note: Draw) -> None:
        """Goes without the included units of ``note``."""
        self.draws += (note,)
        self.left -= note.units

    @property
    def left_parts(self) -> tuple[Part, ...]:
        """The parts, each less its share of the included units."""
        if not self.draws or not self.measured:
            return self.parts
        share = self.left / self.measured
        return tuple(Part(one.dimensions, one.quantity * share, one.events, one.each) for one in self.parts)


def items(
    dues: Sequence[Due],
    account: Account,
    metered: Sequence[MeteredQuantity],
    layers: Sequence[Layer],
    meters: Sequence[Meter] = (),
) -> list[Item]:
    """One item per due charge and site.

    Rejected when usage meets no charge, or two equally near of one code, or when a charge would add up parts of a
    figure that does not add up: a highest, an average, a count of different things.
    """
    whole = {meter.name for meter in meters if meter.aggregation not in ADDITIVE}
    parts_of_whole: set[tuple[int, str | None, tuple[tuple[str, str], ...]]] = set()
    contacts = {layer.of for layer in layers if layer.level is Level.CONTACT}
    usage = [one for one in dues if one.charge.kind is ChargeKind.USAGE]
    by_meter: dict[str | None, list[int]] = defaultdict(list)
    for index, one in enumerate(usage):
        by_meter[one.charge.meter].append(index)
    taken: list[dict[tuple[str | None, str | None], list[Part]]] = [defaultdict(list) for _ in usage]
    for quantity in metered:
        if quantity.account_id != account.id:
            raise _refuse(quantity, f"it belongs to another account than {account.id}")
        contact = quantity.dimensions.get("contact") if contacts else None
        for index in _takers(usage, by_meter[quantity.meter], quantity):
            site = usage[index].line.site_id if usage[index].charge.scope is Scope.ACCOUNT else quantity.site_id
            part = Part(quantity.dimensions, fraction_of(quantity.quantity), quantity.events, quantity.each)
            if quantity.service is not None and quantity.meter in whole:
                same = index, quantity.site_id, tuple(sorted(quantity.dimensions.items()))
                if same in parts_of_whole:
                    why = f"charge {usage[index].charge.code} has it in parts, which do not add up; let the charges of"
                    raise _refuse(quantity, f"{why} the meter start and end on the same days")
                parts_of_whole.add(same)
            taken[index][site, contact if contact in contacts else None].append(part)
    bought = [
        Item(one, one.line.site_id, None, (Part({}, exactly(one.line.quantity)),), one.charge)
        for one in dues
        if one.charge.kind is not ChargeKind.USAGE
    ]
    return bought + [item for one, parts in zip(usage, taken, strict=True) for item in _used(one, parts)]


def usage_windows(
    book: PriceBook, subscriptions: Sequence[Subscription], billing_period: DateSpan
) -> dict[tuple[str, str | None], tuple[DateSpan, ...]]:
    """The days whose usage a bill prices, in parts, by meter and site, where they are not just the billing period.

    They are where a usage charge starts or ends inside the period, and where its service periods are not the calendar's
    months: then days before the period are priced, and those of a service period that is not over wait for its bill.
    Site None stands for the sites that no usage charge of the meter names. Usage of a meter and site with parts is
    metered part by part, each quantity naming its part as ``service``, so that each day is priced by the charge that
    served it. Days that no charge serves are a part too: their usage is refused. Most accounts have no parts at all; an
    unknown charge code makes none, and is refused when it is rated.
    """
    charges = {charge.code: charge for charge in book.charges if charge.meter is not None}
    lines: dict[str, list[_Served]] = defaultdict(list)
    for subscription in subscriptions:
        for line in subscription.charges:
            if (charge := charges.get(line.charge_code)) is not None and charge.meter is not None:
                lines[charge.meter].append(_Served.of(subscription, line, charge, billing_period))
    return {
        (meter, site): _parts([one for one in served if one.site_id in (None, site)], billing_period)
        for meter, served in lines.items()
        if _parts(served, billing_period) != (billing_period,)
        for site in {None, *(one.site_id for one in served)}
    }


@dataclass(frozen=True, slots=True)
class _Served:
    """The service periods of one usage charge that touch a billing period, and which of them fall due in it."""

    site_id: str | None
    periods: tuple[DateSpan, ...]
    due: tuple[DateSpan, ...]

    @classmethod
    def of(cls, subscription: Subscription, line: SubscriptionCharge, charge: Charge, billing: DateSpan) -> _Served:
        return cls(
            line.site_id,
            tuple(served for served, _ in service_periods(charge, line, billing, subscription.starts_on)),
            tuple(one.service for one in due(subscription, line, charge, billing)),
        )


def _parts(served: Sequence[_Served], billing: DateSpan) -> tuple[DateSpan, ...]:
    spans = {span for one in served for span in one.periods}
    edges = {day for day in (billing.start, billing.end) if not any(span.start < day < span.end for span in spans)}
    days = sorted(edges.union(*((span.start, span.end) for span in spans)))
    return tuple(part for part in map(DateSpan, days, days[1:]) if _is_priced(part, served, billing))


def _is_priced(part: DateSpan, served: Sequence[_Served], billing: DateSpan) -> bool:
    """Whether a charge that is due serves these days, or none serves them at all."""
    if any(part.overlap(span) for one in served for span in one.due):
        return True
    return part.overlap(billing) is not None and not any(part.overlap(span) for one in served for span in one.periods)


def _used(one: Due, taken: Mapping[tuple[str | None, str | None], list[Part]]) -> Iterator[Item]:
    for (site, contact), parts in taken.items() or [((one.line.site_id, None), [])]:
        yield Item(one, site, contact, tuple(parts), one.charge)


def _takers(dues: Sequence[Due], candidates: Sequence[int], quantity: MeteredQuantity) -> list[int]:
    """Which candidates price a metered quantity: of each charge code one, a site's own before the account's."""
    fitting = [index for index in candidates if _fits(dues[index], quantity)]
    if not fitting:
        raise _refuse(quantity, "no charge that is due prices it")
    if len(fitting) == 1:
        return fitting
    by_code: dict[str, list[int]] = defaultdict(list)
    for index in fitting:
        by_code[dues[index].charge.code].append(index)
    takers = []
    for code, hits in by_code.items():
        nearest = [index for index in hits if dues[index].line.site_id is not None] or hits
        if len(nearest) > 1:
            raise _refuse(quantity, f"charge {code} is subscribed more than once for it")
        takers += nearest
    return takers


def _fits(one: Due, quantity: MeteredQuantity) -> bool:
    return (
        (one.line.site_id is None or one.line.site_id == quantity.site_id)
        and (not one.charge.where or one.charge.where.items() <= quantity.dimensions.items())
        and (quantity.service is None or quantity.service.overlap(one.service) == quantity.service)
    )


def _refuse(quantity: MeteredQuantity, why: str) -> Rejected:
    where = f"{quantity.account_id}, site {quantity.site_id or '-'}, meter {quantity.meter}"
    return Rejected(
        f"usage of {where} ({quantity.quantity}): {why}",
        record=quantity.account_id,
        field="meter",
        value=quantity.meter,
    )
