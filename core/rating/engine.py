"""The one pricing function: what one account owes for one billing period, before tax.

due charges -> their usage, site by site -> price layers -> included units -> price and rounding -> rules and
commitments -> the independent checker. Pure: the same arguments give the same lines, to the byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from core.accounts import Account
from core.catalog import ChargeKind, PriceBook, Proration, RoundingAt, Scope
from core.errors import Rejected
from core.exact import NOTHING, added, share_out, to_decimal
from core.money import Money, allocate, round_money, total
from core.period import DateSpan
from core.prices import Commitment
from core.rating import commitment
from core.rating.allowance import allow
from core.rating.check import check_bill
from core.rating.demand import Item, items
from core.rating.derivation import Derivation, Share, amount_of
from core.rating.layers import Place, resolve
from core.rating.lines import RatedLine
from core.rating.measured import MeteredQuantity, Part
from core.rating.pricing import Priced, convert, price_charge
from core.rating.proration import seconds_share
from core.rating.rules import Entry, apply
from core.rating.sources import Held, sources
from core.rating.tiers import ONE
from core.rational import Fraction
from core.subscriptions import Due, Subscription, due
from core.terms import Level

#: The price models that look at the parts of a quantity.
_BY_PARTS = frozenset({"percentage", "matrix", "blocks", "capacity", "committed"})


def rate(
    book: PriceBook,
    account: Account,
    subscriptions: Sequence[Subscription],
    billing_period: DateSpan,
    metered: Sequence[MeteredQuantity],
    *,
    hierarchy: Mapping[str, str] | None = None,
    known_at: datetime | None = None,
    billed: Mapping[str, Money] | None = None,
    held: Sequence[Held] = (),
    carried_out: Mapping[str, Fraction] | None = None,
) -> tuple[RatedLine, ...]:
    """All lines of one account for one billing period; usage charges without usage give lines of zero.

    ``subscriptions`` are all of this account's, ``metered`` all of its usage in the period. ``hierarchy``: id -> id of
    what stands above it, for groups of sites and for accounts above the parent. ``known_at``: price layers recorded
    later are not seen. ``billed``: by charge code, what earlier bills charged in a running commitment. ``held``: units
    of earlier months and grants; ``carried_out``: units that went on to later months, when this one is rated again.

    Rejected when usage meets no charge, or two that would both price it, or a hard entitlement is exceeded; TieBroken
    when a line does not survive the independent checker.
    """
    dues = [one for subscription in subscriptions for one in _dues(book, account, subscription, billing_period)]
    above = {**({account.id: account.parent_id} if account.parent_id else {}), **(hierarchy or {})}
    todo = [
        _layered(book, item, account, above, known_at)
        for item in items(dues, account, metered, book.own_layers, book.meters)
    ]
    sites = [site.id for site in account.sites]
    for one in sources(book, account, subscriptions, billing_period, metered, held, carried_out):
        allow(one.terms, one.units, todo, sites)
    drafts = _drafts(book, todo)
    entries = [
        Entry(item.code, item.measured, None if draft is None else draft.rounded)
        for item, draft in zip(todo, drafts, strict=True)
    ]

    def commit(index: int, counted: Money) -> Money:
        drafts[index] = draft = _missing(book, todo[index], counted)
        return draft.rounded

    apply(book, entries, billed or {}, commit)
    lines = tuple(
        _line(item, draft.model_copy(update={"adjustments": entry.adjustments}) if entry.adjustments else draft)
        for item, draft, entry in zip(todo, drafts, entries, strict=True)
        if draft is not None
    )
    check_bill(lines, book, billed, {one.source: one.opening + one.granted for one in held})
    return lines


def _dues(book: PriceBook, account: Account, subscription: Subscription, billing: DateSpan) -> Iterator[Due]:
    if subscription.account_id != account.id or subscription.currency != book.currency:
        raise Rejected(
            f"subscription {subscription.id} is of account {subscription.account_id} in {subscription.currency}; "
            f"it cannot be rated for {account.id} in {book.currency}",
            record=subscription.id,
        )
    for line in subscription.charges:
        try:
            charge = book.charge(line.charge_code)
        except KeyError:
            raise Rejected(
                f"subscription {subscription.id}: price book {book.name} has no charge {line.charge_code}",
                record=subscription.id,
                field="charge_code",
                value=line.charge_code,
            ) from None
        yield from due(subscription, line, charge, billing)


def _place(item: Item, account: Account, above: Mapping[str, str]) -> Place:
    """Where an item is priced, the most specific place first. What is priced together has no site of its own."""
    place = [(Level.SUBSCRIPTION, item.due.subscription.id)]
    if item.charge.scope is not Scope.POOL:
        place += [(Level.CONTACT, item.contact_id)] if item.contact_id else []
        place += [(Level.SITE, one) for one in _upward(item.site_id, above) if one != account.id]
    return place + [(Level.ACCOUNT, one) for one in _upward(account.id, above)]


def _upward(start: str | None, above: Mapping[str, str]) -> list[str]:
    """The id and everything above it. Rejected when something stands above itself."""
    path: list[str] = []
    while start is not None:
        if start in path:
            raise Rejected(f"{start} stands above itself", record=start, field="parent_id", value=start)
        path.append(start)
        start = above.get(start)
    return path


def _layered(
    book: PriceBook, item: Item, account: Account, above: Mapping[str, str], known_at: datetime | None
) -> Item:
    one = item.due
    if not (book.own_layers or above) and one.line.unit_price is None:
        return item
    place = _place(item, account, above)
    charge, choices = resolve(one.charge, book.own_layers, place, one.service.start, known_at, one.line.unit_price)
    return replace(item, charge=charge, choices=choices)


def _drafts(book: PriceBook, todo: Sequence[Item]) -> list[Derivation | None]:
    """What each item costs before the rules; None for commitments, which wait for the others."""
    drafts: list[Derivation | None] = [None] * len(todo)
    pools: dict[tuple[str, DateSpan], list[int]] = {}
    for index, item in enumerate(todo):
        if item.charge.scope in (Scope.POOL, Scope.TIER_BY_POOL):
            pools.setdefault((item.due.line.id, item.due.service), []).append(index)
        elif item.charge.model.kind != "commitment":
            drafts[index] = _alone(book, item)
    for indexes in pools.values():
        members = [todo[index] for index in indexes]
        pooled = _pooled if members[0].charge.scope is Scope.POOL else _tiered_by_pool
        for index, draft in zip(indexes, pooled(book, members), strict=True):
            drafts[index] = draft
    return _rounded_together(book, drafts) if book.rounding_at is RoundingAt.DOCUMENT else drafts


def _rounded_together(book: PriceBook, drafts: Sequence[Derivation | None]) -> list[Derivation | None]:
    """The sum of the lines rounded once and shared out; pools and commitments keep their own rounding."""
    exact = {index: draft.exact for index, draft in enumerate(drafts) if draft is not None and draft.share is None}
    whole = round_money(added(exact.values()), book.currency, book.rounding)
    parts = dict(zip(exact, share_out(whole, list(exact.values())), strict=True))
    return [
        draft.model_copy(update={"rounded": parts[index], "rounding_at": RoundingAt.DOCUMENT})
        if draft is not None and index in parts
        else draft
        for index, draft in enumerate(drafts)
    ]


def _alone(book: PriceBook, item: Item, tier_by: Fraction | None = None) -> Derivation:
    parts = item.left_parts
    priced = price_charge(item.charge, parts, factor=_factor(item), tier_by=tier_by)
    return _derivation(book, item, priced, parts, tier_by)


def _tiered_by_pool(book: PriceBook, members: Sequence[Item]) -> Iterator[Derivation]:
    """Each site at the price of the tier that all sites reach together."""
    conversion = members[0].charge.conversion
    left = [item.left if conversion is None else convert(conversion, item.left) for item in members]
    pool = max(NOTHING, added(left) - Fraction(members[0].charge.included))
    return (_alone(book, item, pool) for item in members)


def _pooled(book: PriceBook, members: Sequence[Item]) -> Iterator[Derivation]:
    """All sites priced together, once; the rounded amount goes back to them by usage, by largest remainder."""
    first, pool = members[0], added(item.left for item in members)
    parts = tuple(part for item in members for part in item.left_parts)
    whole = _derivation(book, first, price_charge(first.charge, parts, factor=_factor(first)), parts)
    weights = [max(NOTHING, item.left) for item in members]
    amounts = allocate(whole.rounded, weights if any(weights) else [ONE] * len(members))
    for item, amount in zip(members, amounts, strict=True):
        share = Share(units=item.left, pool=pool, amount=whole.rounded)
        own = {"events": _events(item), "measured": item.measured, "draws": item.draws}
        yield whole.model_copy(update={**own, "share": share, "rounded": amount})


def _missing(book: PriceBook, item: Item, counted: Money) -> Derivation:
    """What is missing of a commitment after ``counted``."""
    model = item.charge.model
    assert isinstance(model, Commitment)
    steps = tuple(commitment.price(model, Fraction(counted.amount), _factor(item)))
    return _derivation(book, item, Priced(item.left, NOTHING, NOTHING, steps, amount_of(steps)), ())


def _factor(item: Item) -> Fraction:
    """Only time-based prices shrink with the days served; usage measures itself."""
    one = item.due
    if item.charge.kind is not ChargeKind.RECURRING or item.charge.proration is Proration.NONE:
        return ONE
    if item.charge.proration is Proration.DAY:
        return one.service.fraction_of(one.whole)
    return seconds_share(one.service, one.whole, one.subscription.timezone)


def _events(item: Item) -> int:
    return sum([part.events for part in item.parts])


def _derivation(
    book: PriceBook, item: Item, priced: Priced, parts: tuple[Part, ...], tier_by: Fraction | None = None
) -> Derivation:
    charge, mode, ordered = item.charge, item.charge.rounding or book.rounding, item.due.line.unit_price
    looks_at_parts = charge.group_by or charge.model.kind in _BY_PARTS
    exchange = None if ordered is not None or charge.model.kind == "commitment" else book.exchange_of(item.code)
    if ordered is not None and book.converts(item.code) and (charge.max_spend, charge.min_spend) != (None, None):
        why = f"charge {item.code} bounds what it costs in another currency than the order states its price in"
        raise Rejected(why, record=item.due.subscription.id, field="max_spend")
    exact = priced.exact if exchange is None else priced.exact * exchange.rate
    return Derivation(
        book=book.name,
        book_version=book.version,
        choices=item.choices,
        ordered=ordered,
        events=_events(item),
        measured=item.measured,
        draws=item.draws,
        converted=priced.quantity + priced.included if priced.included else priced.quantity,
        included=priced.included,
        priced=priced.quantity,
        tier_by=tier_by,
        parts=parts if looks_at_parts else (),
        full_period=item.due.whole,
        timezone=item.due.subscription.timezone if charge.proration is Proration.SECOND else None,
        steps=priced.steps,
        exchange=exchange,
        exact=exact,
        rounding=mode,
        rounded=round_money(exact, book.currency, mode),
    )


def _line(item: Item, told: Derivation) -> RatedLine:
    one, amount = item.due, told.rounded
    place = [f"{one.line.id}@{one.service.start}"]
    if item.site_id and item.site_id != one.line.site_id:
        place.append(item.site_id)
    if item.contact_id:
        place.append(item.contact_id)
    single = len(told.steps) == 1 and item.charge.model.kind in ("flat", "per_unit") and told.share is None
    if told.adjustments:
        amount = total([amount, *(change.amount for change in told.adjustments)], amount.currency)
    return RatedLine(
        id="/".join(place),
        subscription_id=one.subscription.id,
        subscription_charge_id=one.line.id,
        order_line_id=one.line.order_line_id,
        account_id=one.subscription.account_id,
        site_id=item.site_id,
        charge_code=item.code,
        product_code=item.charge.product_code,
        description=item.charge.name,
        service_period=one.service,
        quantity=to_decimal(told.priced if told.share is None else told.share.units),
        unit_price=to_decimal(told.steps[0].rate) if single else None,
        amount=amount,
        derivation=told,
    )
