"""Credit in money: what is drawn, given back and lost always accounts for what was granted, and nothing is made."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.amendments import Amendment, Pause, Replace, Stop, amend
from core.errors import Rejected, TieBroken
from core.invoicing import draft, lowered
from core.money import Money, total
from core.period import DateSpan
from core.plan_credits import given as given_by
from core.terms import Credit
from core.wallets import (
    CreditGrant,
    CreditKind,
    CreditMovement,
    Movement,
    check_account,
    discounts,
    earned_ahead,
    expiry,
    payments,
    restored,
    voided,
)
from tests.core.rating.books import OCTOBER, account, bought, october, subscription
from tests.core.rating.test_properties import bills

FIRST, LAST = date(2026, 10, 1), date(2026, 10, 31)


def usd(cents: int) -> Money:
    return Money(cents, "USD")


def grant(ident: str, cents: int, kind: CreditKind = CreditKind.PROMOTIONAL, **more: object) -> CreditGrant:
    given_ = {
        "id": ident,
        "account_id": "A",
        "kind": kind,
        "currency": "USD",
        "amount": usd(cents),
        "left": usd(cents),
        "granted_on": FIRST,
        "effective_on": FIRST,
        "reason": "Goodwill",
        "source": "ops",
    }
    return CreditGrant.model_validate({**given_, **more})


def moved(held: CreditGrant, movement: CreditMovement | None) -> CreditGrant:
    """The grant after a movement, as the store leaves it. ValueError or TieBroken below zero."""
    if movement is None:
        return held
    left = Money(held.left.minor + movement.kind.sign * movement.amount.minor, held.currency)
    return CreditGrant.model_validate({**dict(held), "left": left})


def test_discounts_are_drawn_by_priority_then_expiry_and_leave_no_line_below_zero() -> None:
    lines = {"a": ("MIN", usd(500)), "b": ("SMS", usd(300))}
    held = [
        grant("late", 1000, expires_on=date(2027, 1, 1)),
        grant("soon", 400, expires_on=date(2026, 11, 1)),
        grant("first", 100, priority=1, charges=("SMS",)),
    ]
    made = list(discounts(held, "INV", lines, LAST))
    assert [(one.grant_id, one.line_id, one.amount.minor) for one in made] == [
        ("first", "b", 100),
        ("soon", "a", 400),
        ("late", "a", 100),
        ("late", "b", 200),
    ]


def test_a_correction_below_zero_is_not_paid_out_as_credit() -> None:
    """Lines of 5.00 and -4.00 come to 1.00, so no more than 1.00 is drawn."""
    lines = {"a": ("MIN", usd(500)), "b": ("MIN", usd(-400))}
    (one,) = discounts([grant("g", 1000)], "INV", lines, LAST)
    assert one.amount == usd(100)


def test_credit_counts_from_its_day_to_before_its_expiry() -> None:
    lines = {"a": ("MIN", usd(500))}
    held = [grant("early", 100, expires_on=LAST), grant("later", 100, effective_on=date(2026, 11, 1))]
    assert list(discounts(held, "INV", lines, LAST)) == []
    assert [one.grant_id for one in discounts(held, "INV", lines, date(2026, 10, 30))] == ["early"]


def test_prepaid_credit_pays_no_single_charge() -> None:
    with pytest.raises(ValueError, match="pays whole invoices"):
        grant("g", 100, CreditKind.PREPAID, charges=("MIN",))


def test_a_grant_that_is_not_accounted_for_stops_the_run() -> None:
    held = grant("g", 100).model_copy(update={"left": usd(90)})
    with pytest.raises(TieBroken, match="credit granted"):
        check_account(held, [])
    with pytest.raises(TieBroken, match="credit left"):
        grant("g", 100, left=usd(101))


STEPS = st.lists(
    st.tuples(st.sampled_from(["draw", "pay", "back", "void", "expire"]), st.integers(1, 400)), max_size=25
)


@given(st.integers(1, 1000), st.sampled_from(list(CreditKind)), STEPS)
def test_no_sequence_of_movements_makes_credit_or_leaves_less_than_nothing(cents, kind, steps) -> None:
    """Granted + restored = drawn + expired + voided + left after every step, whatever is tried."""
    held = grant("g", cents, kind, expires_on=date(2027, 1, 1))
    movements: list[CreditMovement] = []
    drawn_, day = 0, FIRST
    for number, (what, amount) in enumerate(steps):
        day += timedelta(days=7)
        made: list[CreditMovement] = []
        match what:
            case "draw":
                made = list(discounts([held], f"INV-{number}", {"a": ("MIN", usd(amount))}, day))
            case "pay":
                made = list(payments([held], f"INV-{number}", usd(amount), day))
            case "back" if min(amount, drawn_):
                made = [restored(held, usd(min(amount, drawn_)), f"CN-{number}", day)]
            case "void":
                try:
                    made = [voided(held, usd(amount), day)]
                except Rejected:
                    assert amount > held.left.minor
            case "expire":
                gone = expiry(held, day, sum(one.kind is Movement.EXPIRED for one in movements))
                made = [gone] if gone else []
        for one in made:
            held = moved(held, one)
            movements.append(one)
            drawn_ += {Movement.DRAWN: 1, Movement.RESTORED: -1}.get(one.kind, 0) * one.amount.minor
        check_account(held, movements)
        assert 0 <= held.left.minor <= cents
    assert len({one.id for one in movements if one.kind is not Movement.VOIDED}) == len(
        [one for one in movements if one.kind is not Movement.VOIDED]
    )


@given(st.integers(1, 1000), st.decimals(0, 99, places=1), STEPS)
def test_breakage_that_is_earned_ahead_is_never_more_than_is_left_or_expected(cents, percent, steps) -> None:
    """What is owed falls by use and by what is earned ahead, never below zero, and ends at zero when it expires."""
    held = grant("g", cents, CreditKind.PREPAID, expires_on=date(2027, 1, 1), breakage_percent=percent)
    movements: list[CreditMovement] = []
    drawn_, ahead, day = 0, 0, FIRST
    for number, (what, amount) in enumerate([*steps, ("expire", 1)]):
        day = date(2027, 1, 1) if what == "expire" else day + timedelta(days=1)
        made: list[CreditMovement] = []
        match what:
            case "draw" | "pay":
                made = list(payments([held], f"INV-{number}", usd(amount), day))
            case "back" if min(amount, drawn_):
                made = [restored(held, usd(min(amount, drawn_)), f"CN-{number}", day)]
            case "void" if amount <= held.left.minor:
                made = [voided(held, usd(amount), day, f"CN-{number}")]
            case "expire":
                gone = expiry(held, day, sum(one.kind is Movement.EXPIRED for one in movements))
                made = [gone] if gone else []
        for one in made:
            held, movements = moved(held, one), [*movements, one]
            drawn_ += {Movement.DRAWN: 1, Movement.RESTORED: -1}.get(one.kind, 0) * one.amount.minor
            step = earned_ahead(held, movements, one)
            if step is not None:
                assert moved(held, step) == held
                movements.append(step)
                ahead += step.amount.minor if step.kind is Movement.FORETOLD else -step.amount.minor
            assert earned_ahead(held, movements, one) is None
            assert 0 <= ahead <= held.left.minor
            assert ahead <= cents * Fraction(percent) / 100 + Fraction(1, 2)
        check_account(held, movements)
    assert (held.left.minor, ahead) == (0, 0)
    assert len({one.id for one in movements}) == len(movements)


@settings(max_examples=60, deadline=None)
@given(bills(), st.lists(st.integers(1, 10**6), max_size=4))
def test_an_invoice_with_credit_is_its_preview_less_what_was_drawn(given_, cents) -> None:
    """Over random books the lines stay as they were, and the sum falls by what the grants lose, to the cent."""
    prices, charges, usage, sites = given_
    customer = account(*sites)
    rated = october(prices, charges, usage, *sites)
    drafted = draft(customer, rated, prices, OCTOBER, LAST)
    if drafted is None:
        return
    lines = {line.rated_line_id: (line.charge_code, line.amount) for line in drafted.lines}
    held = [grant(f"g{number}", amount) for number, amount in enumerate(cents)]
    made = list(discounts(held, drafted.id, lines, LAST))
    invoice = lowered(drafted, [(one, "Goodwill") for one in made])
    taken = total((one.amount for one in made), "USD")
    assert invoice.lines[: len(drafted.lines)] == drafted.lines
    assert invoice.subtotal == drafted.subtotal - taken
    assert invoice.subtotal.minor >= min(0, drafted.subtotal.minor)
    assert taken.minor == max(0, min(drafted.subtotal.minor, sum(cents)))
    assert list(discounts(held, drafted.id, lines, LAST)) == made


CHANGES = st.lists(
    st.tuples(st.integers(0, 90), st.sampled_from(["replace", "pause", "stop"]), st.integers(1, 9)), max_size=8
)
PLAN_CREDITS = [
    Credit(id="once", name="Start", kind=CreditKind.PROMOTIONAL, granted_by="PLAN", amount=Decimal(100)),
    Credit(
        id="monthly", name="Monthly", kind=CreditKind.PROMOTIONAL, granted_by="PLAN", amount=Decimal(10), every="month"
    ),
]


@given(CHANGES)
def test_no_sequence_of_plan_changes_gives_a_credit_twice(changes) -> None:
    """Over four months of changes: one key for what is given once, one for each month, and each with one amount."""
    standing = subscription(bought("PLAN", quantity="2", starts_on=FIRST))
    known: dict[str, list[int]] = {}
    for number, (later, kind, amount) in enumerate(sorted(changes)):
        day = FIRST + timedelta(days=later)
        alive = [one for one in standing.charges if one.starts_on <= day and (one.ends_on is None or day < one.ends_on)]
        for one in alive[:1]:
            change = {
                "replace": Replace(charge_id=one.id, quantity=Decimal(amount)),
                "pause": Pause(charge_id=one.id, until=day + timedelta(days=amount)),
                "stop": Stop(charge_id=one.id),
            }[kind]
            standing = amend(
                standing,
                Amendment(
                    id=f"AM{number}",
                    subscription_id="SUB",
                    effective_on=day,
                    recorded_at=datetime(2026, 10, 1, tzinfo=UTC) + timedelta(days=later),
                    changes=(change,),
                ),
            )
    for month in ("2026-10", "2026-11", "2026-12", "2027-01"):
        for one in given_by(PLAN_CREDITS, "A", standing.charges, DateSpan.month(month)):
            known.setdefault(one.key, []).append(int(one.units))
    assert len([key for key in known if key.startswith("CR-once")]) <= 1
    assert len([key for key in known if key.startswith("CR-monthly")]) <= 4
    assert all(max(units) <= 9 for units in known.values())
