"""Which credit a contract gives: once in the life of an account, or once a month, however often it changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from core.exact import added
from core.period import DateSpan
from core.rational import Fraction
from core.subscriptions import SubscriptionCharge
from core.terms import Credit
from core.wallets import CreditKind


@dataclass(frozen=True, slots=True)
class Given:
    """A credit that falls due: ``key`` names it for ever; ``units`` of its charge stand on the day ``on``."""

    credit: Credit
    key: str
    on: date
    units: Fraction


def given(
    credits: Iterable[Credit], account_id: str, lines: Sequence[SubscriptionCharge], billing: DateSpan
) -> Iterator[Given]:
    """The promotional credit of an account in a billing month; what is given once comes in every month with one key.

    It counts what stands on the day: that of the first charge that grants it, or for monthly credit the first day of
    the month on which one stands. A change of contract later in the month gives no more.
    """
    for credit in credits:
        standing = [line for line in lines if line.charge_code == credit.granted_by and line.in_force(billing)]
        if credit.kind is not CreditKind.PROMOTIONAL or not standing:
            continue
        first = min(line.starts_on for line in standing)
        on = first if credit.every == "once" else max(billing.start, first)
        month = f"-{on:%Y-%m}" if credit.every == "month" else ""
        units = added(Fraction(line.quantity) for line in standing if line.starts_on <= on)
        yield Given(credit, f"CR-{credit.id}-{account_id}{month}", on, units)
