"""What an account should be told before its bill: included units running out, soft limits passed, credit running low.

Values for flows to send; nothing is sent here. Each alert has a stable id, so that it is sent once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.catalog import PriceBook
from core.exact import added
from core.noun import Id, Instant, Noun
from core.rating.derivation import plain
from core.rating.lines import RatedLine, drawn
from core.rational import ExactFraction, Fraction
from core.terms import Entitlement

#: Parts of an allowance or pledge whose passing is told.
THRESHOLDS = (Fraction(1, 2), Fraction(4, 5), Fraction(1))


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
        return f"{self.subject}: {plain(self.used)} of {plain(self.limit)} used, {plain(self.threshold * 100)} % passed"


def passed(account_id: str, subject: str, period: str, used: Fraction, limit: Fraction) -> tuple[Alert, ...]:
    """An alert for each threshold that ``used`` has reached; none without a limit."""
    return tuple(
        Alert(
            id=f"{account_id}:{subject}:{period}:{plain(part * 100)}",
            account_id=account_id,
            subject=subject,
            threshold=part,
            used=used,
            limit=limit,
        )
        for part in THRESHOLDS
        if limit > 0 and used >= limit * part
    )


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
