"""Trial balance of plain bookings, and the gross booking of a discounted invoice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.exact import NOTHING
from core.rational import Fraction


@dataclass(frozen=True, slots=True)
class Booking:
    """One side of an entry; both figures are >= 0."""

    account: str
    debit: Fraction = NOTHING
    credit: Fraction = NOTHING


@dataclass(frozen=True, slots=True)
class TrialBalance:
    """``balances``: debit less credit per account, in order of appearance."""

    balances: dict[str, Fraction]
    debits: Fraction
    credits: Fraction

    @property
    def balanced(self) -> bool:
        return self.debits == self.credits


def trial_balance(bookings: Sequence[Booking]) -> TrialBalance:
    balances: dict[str, Fraction] = {}
    for one in bookings:
        balances[one.account] = balances.get(one.account, NOTHING) + one.debit - one.credit
    debits, credits = (sum(side, NOTHING) for side in zip(*((one.debit, one.credit) for one in bookings), strict=True))
    return TrialBalance(balances, debits, credits)


def gross_invoice(income: Mapping[str, Fraction], discount: Fraction, taxes: Mapping[str, Fraction]) -> list[Booking]:
    """Income and discount booked apart, taxes beside them, and the receivable for what the customer pays."""
    receivable = sum((*income.values(), *taxes.values()), NOTHING) - discount
    bookings = [Booking("receivable", debit=receivable), Booking("discount", debit=discount)]
    bookings += [Booking(account, credit=amount) for account, amount in (*income.items(), *taxes.items())]
    return [one for one in bookings if one.debit or one.credit]
