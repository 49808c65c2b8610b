"""What an account should be told before its bill: included units running out, soft limits passed, credit running low.

Values for flows to send; nothing is sent here. Each alert has a stable id, so that it is raised once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta

from core.catalog import PriceBook, Proration
from core.exact import added
from core.noun import Id, Instant, Noun
from core.period import DateSpan
from core.prices import Commitment
from core.rating.derivation import plain
from core.rating.lines import RatedLine, drawn
from core.rational import ExactFraction, Fraction
from core.subscriptions import Subscription, service_periods
from core.terms import Entitlement
from core.wallets import CreditGrant

#: Parts of an allowance or pledge whose passing is told.
THRESHOLDS = (Fraction(1, 2), Fraction(4, 5), Fraction(1))
#: Whose an alert is that is about no account: the hub's own.
HUB = "hub"


class Alert(Noun):
    """``used`` of ``limit`` has passed ``threshold`` (a fraction of 1). ``told_at``: when people were told."""

    id: Id
    account_id: Id
    subject: str
    threshold: ExactFraction
    used: ExactFraction
    limit: ExactFraction
    raised_at: Instant | None = None
    told_at: Instant | None = None

    def __str__(self) -> str:
        word = "open" if self.account_id == HUB else "used"
        figures = f"{plain(self.used)} of {plain(self.limit)} {word}"
        return f"{self.subject}: {figures}, {plain(self.threshold * 100)} % passed"


def passed(account_id: str, subject: str, period: str, used: Fraction, limit: Fraction) -> tuple[Alert, ...]:
    """An alert for each threshold that ``used`` has reached; none without a limit."""
    reached = (part for part in THRESHOLDS if limit > 0 and used >= limit * part)
    return tuple(_alert(account_id, subject, period, part, used, limit) for part in reached)


def _alert(account_id: str, subject: str, period: str, part: Fraction, used: Fraction, limit: Fraction) -> Alert:
    ident = f"{account_id}:{subject}:{period}:{plain(part * 100)}"
    return Alert(id=ident, account_id=account_id, subject=subject, threshold=part, used=used, limit=limit)


def desk_alerts(open_entries: int, at_risk: str, limit: int, on: date) -> Iterator[Alert]:
    """The error desk at its limit, at twice, four times... of it: each once a day. ``at_risk``: the money, as text."""
    if open_entries < limit:
        return
    level = 1 << (open_entries // limit).bit_length() - 1
    subject = f"error desk, {at_risk} at risk" if at_risk else "error desk"
    figures = Fraction(open_entries), Fraction(limit)
    ident = f"{HUB}:error desk:{on}:{level * 100}"
    yield Alert(id=ident, account_id=HUB, subject=subject, threshold=Fraction(level), used=figures[0], limit=figures[1])


def alerts(book: PriceBook, lines: Sequence[RatedLine], sizes: Mapping[str, Fraction]) -> tuple[Alert, ...]:
    """Alerts of one account's bill so far. ``sizes``: the units of each allowance in this period."""
    if not lines:
        return ()
    account, period = lines[0].account_id, f"{max(line.service_period.start for line in lines):%Y-%m}"
    found: list[Alert] = []
    for allowance, used in drawn(lines).items():
        found += passed(account, f"allowance {allowance}", period, used, sizes.get(allowance, Fraction(0)))
    for rule in book.rules:
        if isinstance(rule.then, Entitlement) and rule.then.limit == "soft":
            used = added(line.derivation.measured for line in lines if line.charge_code in rule.on)
            found += passed(account, f"entitlement {rule.id}", period, used, Fraction(rule.then.units))
    return tuple(found)


def credit_alerts(grants: Iterable[CreditGrant]) -> Iterator[Alert]:
    """Alerts of credit in money that is running low: what is drawn of each grant, in major units."""
    for one in grants:
        granted, left = Fraction(one.amount.amount), Fraction(one.left.amount)
        yield from passed(one.account_id, f"credit {one.id}", one.currency, granted - left, granted)


def commitment_alerts(
    book: PriceBook, subscription: Subscription, on: date, met: Callable[[Commitment, DateSpan], Fraction]
) -> Iterator[Alert]:
    """Alerts of pledges on a day: what was met of each, and those that are behind the time that has passed.

    ``met``: what the charges that a commitment counts came to in its service period so far, in major units.
    """
    for line in subscription.charges:
        charge = book.charge(line.charge_code)
        if not isinstance(charge.model, Commitment):
            continue
        for served, whole in service_periods(
            charge, line, DateSpan(on, on + timedelta(days=1)), subscription.starts_on
        ):
            share = Fraction(1) if charge.proration is Proration.NONE else served.fraction_of(whole)
            pledge, reached = Fraction(charge.model.amount) * share, met(charge.model, served)
            account, period = subscription.account_id, f"{served.start}"
            yield from passed(account, f"commitment {charge.code}", period, reached, pledge)
            gone = Fraction((on - served.start).days, served.days)
            for part in THRESHOLDS[:-1]:
                if part <= gone and reached < pledge * gone:
                    yield _alert(account, f"commitment {charge.code} behind its time", period, part, reached, pledge)
