"""Two bills of the same period, line by line: what-if, who-changes, late usage and amendments are all this difference.

Nothing is priced here. A line is known by its id, so a line that only one side has counts whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from core.accounts import Account
from core.catalog import PriceBook
from core.currencies import in_currency
from core.errors import Rejected
from core.fx import Exchange
from core.money import Money, total
from core.noun import Id, Noun
from core.period import DateSpan
from core.rating.engine import rate
from core.rating.lines import RatedLine
from core.rating.measured import MeteredQuantity
from core.rating.sources import Held
from core.subscriptions import Subscription


@dataclass(frozen=True, slots=True)
class Bill:
    """Everything that ``rate`` needs for one account and period, but the price book."""

    account: Account
    subscriptions: Sequence[Subscription]
    period: DateSpan
    metered: Sequence[MeteredQuantity] = ()
    hierarchy: Mapping[str, str] = field(default_factory=dict)
    known_at: datetime | None = None
    held: Sequence[Held] = ()
    exchange: Exchange | None = None

    def rated(self, book: PriceBook) -> tuple[RatedLine, ...]:
        return rate(
            in_currency(book, self.account.currency, self.exchange),
            self.account,
            self.subscriptions,
            self.period,
            self.metered,
            hierarchy=self.hierarchy,
            known_at=self.known_at,
            held=self.held,
        )


class Delta(Noun):
    """A line that would be billed otherwise (None: that side lacks it), with its original service period."""

    line_id: Id
    subscription_charge_id: Id
    account_id: Id
    site_id: Id | None = None
    product_code: Id
    charge_code: Id
    service_period: DateSpan
    before: Money | None
    after: Money | None

    @property
    def amount(self) -> Money:
        """After less before; what an adjustment would book."""
        sides = [one for one in (self.after, -self.before if self.before else None) if one is not None]
        known = self.after or self.before
        assert known is not None
        return total(sides, known.currency)


def compare(before: Iterable[RatedLine], after: Iterable[RatedLine]) -> tuple[Delta, ...]:
    """The lines whose amount differs, in the order of ``before``, then the new ones."""
    old, new = {line.id: line for line in before}, {line.id: line for line in after}
    deltas = (_delta(old.get(ident), new.get(ident)) for ident in {**old, **new})
    return tuple(delta for delta in deltas if delta.before != delta.after)


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The lines that another price book changes; ``left_out`` says by account why one of the books cannot price it."""

    deltas: tuple[Delta, ...]
    left_out: Mapping[str, str]


def what_if(bills: Sequence[Bill], before: PriceBook, after: PriceBook) -> WhatIf:
    """What another price book would change on these bills; nothing is kept."""
    deltas: list[Delta] = []
    left_out: dict[str, str] = {}
    for bill in bills:
        try:
            deltas += compare(bill.rated(before), bill.rated(after))
        except Rejected as refused:
            left_out[bill.account.id] = str(refused)
    return WhatIf(tuple(deltas), left_out)


def summed(deltas: Iterable[Delta], key: Callable[[Delta], str]) -> dict[str, Money]:
    """The differences per account, product or whatever ``key`` names."""
    sums: dict[str, Money] = {}
    for delta in deltas:
        amount = delta.amount
        name = (
            f"{key(delta)} in {amount.currency}"
            if sums.get(key(delta), amount).currency != amount.currency
            else key(delta)
        )
        sums[name] = sums[name] + amount if name in sums else amount
    return sums


def _delta(old: RatedLine | None, new: RatedLine | None) -> Delta:
    line = new or old
    assert line is not None
    return Delta(
        line_id=line.id,
        subscription_charge_id=line.subscription_charge_id,
        account_id=line.account_id,
        site_id=line.site_id,
        product_code=line.product_code,
        charge_code=line.charge_code,
        service_period=line.service_period,
        before=None if old is None else old.amount,
        after=None if new is None else new.amount,
    )
