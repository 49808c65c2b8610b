"""Wallets of money and grants of units: who pays first, what expires, what comes back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from core.calendar import Interval
from core.credits import Fee, Grant, Overage, Recurrence, Usage, Wallet, breakage, burn, pay
from core.rational import Fraction

START = datetime(2026, 10, 1, tzinfo=UTC)
END = datetime(2026, 11, 1, tzinfo=UTC)


def on(day: int) -> datetime:
    return START + timedelta(days=day - 1)


def used(day: int, units: int) -> Usage:
    return Usage(on(day), Fraction(units))


def grant(ident: str, amount: int, **more: object) -> Grant:
    return Grant(ident, Fraction(amount), **({"effective_at": START} | more))  # type: ignore[arg-type]


def test_the_lower_priority_number_pays_first_then_what_expires_first() -> None:
    wallets = [
        Wallet("late", Fraction(10), 1, expires_at=END),
        Wallet("soon", Fraction(10), 1, expires_at=on(20)),
        Wallet("first", Fraction(10), 0),
    ]
    paid = pay([Fee(Fraction(25))], wallets, START)
    assert [wallets[one.wallet].id for one in paid.draws] == ["first", "soon", "late"]
    assert paid.balances == (5, 0, 0)


def test_an_expired_wallet_pays_nothing_and_is_breakage_from_its_instant_on() -> None:
    wallet = Wallet("promo", Fraction(10), expires_at=on(20))
    assert pay([Fee(Fraction(1))], [wallet], on(20)).applied == 0
    assert breakage([wallet], on(19)) == {}
    assert breakage([wallet], on(20)) == {"promo": 10}


def test_a_wallet_pays_only_what_it_is_for() -> None:
    paid = pay(
        [Fee(Fraction(5), "charge", "MIN"), Fee(Fraction(5), "charge", "SMS")],
        [Wallet("w", Fraction(99), codes=("SMS",))],
    )
    assert paid.due == (5, 0)


def test_a_refill_brings_a_grant_back_to_its_amount_and_never_above() -> None:
    weekly = Recurrence(Interval(days=7), START)
    told = burn([grant("g", 100, recurs=weekly)], [used(2, 30), used(9, 10)], START, END)
    assert (told.balances["g"], told.burnt["g"]) == (100, 40)


def test_a_reset_rolls_over_within_its_bounds_and_forgets_overage_unless_told_to_keep_it() -> None:
    rolling = grant("g", 100, max_rollover=Fraction(20), min_rollover=Fraction(5))
    assert burn([rolling], [used(2, 30)], START, END, [on(10)]).balances == {"g": 20}
    assert burn([rolling], [used(2, 130)], START, END, [on(10)]).balances == {"g": 5}
    kept = burn([rolling], [used(2, 103)], START, END, [on(10)], Overage.KEPT)
    assert (kept.balances["g"], kept.overage) == (2, 0)


def test_what_expires_unused_is_breakage_of_the_grant() -> None:
    told = burn([grant("g", 100, ends_at=on(15))], [used(2, 30), used(15, 1)], START, END)
    assert (told.expired["g"], told.balances["g"], told.overage) == (70, 0, 1)


def test_a_refill_and_a_reset_at_the_same_instant_leave_the_grant_full() -> None:
    weekly = Recurrence(Interval(days=7), START)
    assert burn([grant("g", 100, recurs=weekly)], [used(2, 30)], START, on(9), [on(8)]).balances == {"g": 100}


@given(
    st.lists(
        st.tuples(st.integers(0, 200), st.integers(0, 3), st.integers(1, 20), st.integers(1, 31)),
        min_size=1,
        max_size=5,
    ),
    st.lists(st.tuples(st.integers(1, 31), st.integers(0, 90)), max_size=8),
)
def test_units_are_burnt_expired_left_or_overage_and_never_made(grants, usage) -> None:
    """Granted = burnt + expired + left; used = burnt + overage; no balance is ever below zero."""
    given_ = [
        grant(str(n), amount, priority=priority, effective_at=on(first), ends_at=on(first) + timedelta(days=last))
        for n, (amount, priority, first, last) in enumerate(grants)
    ]
    told = burn(given_, [used(day, units) for day, units in usage], START, END)
    assert all(balance >= 0 for balance in told.balances.values())
    burnt = sum(told.burnt.values())
    assert burnt + told.overage == sum(units for _, units in usage)
    assert burnt + sum(told.expired.values()) + sum(told.balances.values()) == sum(one.amount for one in given_)
