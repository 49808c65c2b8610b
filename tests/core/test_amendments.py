"""Changes to a contract: the next version, and what it moves on bills that were already made."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.amendments import Amendment, Pause, Replace, Start, Stop, amend, as_known
from core.errors import Rejected
from core.period import DateSpan
from core.rating import rate
from core.rating.compare import compare, summed
from core.rational import Fraction
from tests.core.rating.books import account, book, bought, october, per_unit, subscription

SEAT = {"code": "SEAT", "kind": "recurring", "model": per_unit("31")}
BOOK = book(SEAT)
BEFORE = subscription(bought("SEAT", quantity="10"))


def amendment(*changes: object, on: date = date(2026, 10, 15), recorded: int = 1) -> Amendment:
    return Amendment(
        id=f"AM{recorded}",
        subscription_id="SUB",
        effective_on=on,
        recorded_at=datetime(2026, 10, recorded, tzinfo=UTC),
        changes=changes,
    )


def difference(after, month: str = "2026-10") -> str:
    period = DateSpan.month(month)
    old, new = (rate(BOOK, account(), [one], period, []) for one in (BEFORE, after))
    sums = summed(compare(old, new), lambda delta: delta.account_id)
    return str(sums["A"].amount) if sums else "0.00"


def test_an_upgrade_moves_the_billed_month_by_the_days_that_are_left() -> None:
    """10 to 12 seats on the 15th: 2 x 31.00 x 17/31."""
    after = amend(BEFORE, amendment(Replace(charge_id="SEAT-all", quantity=Decimal(12))))
    assert (after.version, difference(after)) == (2, "34.00")
    assert [(one.id, one.starts_on, one.ends_on) for one in after.charges] == [
        ("SEAT-all", date(2026, 1, 1), date(2026, 10, 15)),
        ("SEAT-all~2", date(2026, 10, 15), None),
    ]


def test_a_stop_credits_the_days_that_are_not_served() -> None:
    after = amend(BEFORE, amendment(Stop(charge_id="SEAT-all")))
    assert (difference(after), difference(after, "2026-11")) == ("-170.00", "-310.00")


def test_a_pause_costs_nothing_while_it_lasts_and_ends_by_itself() -> None:
    after = amend(BEFORE, amendment(Pause(charge_id="SEAT-all", until=date(2026, 11, 1))))
    assert (difference(after), difference(after, "2026-11")) == ("-170.00", "0.00")


def test_a_change_and_its_undoing_on_the_same_day_cost_nothing() -> None:
    up = amend(BEFORE, amendment(Replace(charge_id="SEAT-all", quantity=Decimal(99))))
    down = amend(up, amendment(Replace(charge_id="SEAT-all~2", quantity=Decimal(10)), recorded=2))
    assert difference(down) == "0.00"


CHANGES = st.lists(
    st.tuples(
        st.integers(1, 31), st.sampled_from(["replace", "pause", "stop"]), st.integers(0, 30), st.integers(1, 20)
    ),
    max_size=6,
)


@given(CHANGES)
def test_no_sequence_of_changes_gives_a_day_for_free_or_bills_it_twice(changes) -> None:
    """Re-rated, October costs exactly what its days cost: seats of the day x price / 31, summed."""
    standing, seats = BEFORE, [Fraction(10)] * 32
    for n, (day, kind, seats_now, pause) in enumerate(sorted(changes, key=lambda one: one[0])):
        on = date(2026, 10, day)
        live = [one for one in standing.charges if one.starts_on <= on and (one.ends_on is None or on < one.ends_on)]
        if not live:
            continue
        until = min(32, day + pause)
        change = {
            "replace": Replace(charge_id=live[0].id, quantity=Decimal(seats_now)),
            "pause": Pause(charge_id=live[0].id, until=date(2026, 10, 1) + timedelta(days=until - 1)),
            "stop": Stop(charge_id=live[0].id),
        }[kind]
        standing = amend(standing, amendment(change, on=on, recorded=n + 1))
        seats[day:] = {
            "replace": [Fraction(seats_now)] * (32 - day),
            "pause": [Fraction(0)] * (until - day) + seats[until:],
            "stop": [Fraction(0)] * (32 - day),
        }[kind]
    lines = rate(BOOK, account(), [standing], DateSpan.month("2026-10"), [])
    assert sum(line.derivation.exact for line in lines) == sum(seats[1:])


def test_a_new_charge_starts_on_the_day_or_later() -> None:
    extra = bought("SEAT", "S1", starts_on=date(2026, 10, 15))
    after = amend(BEFORE, amendment(Start(charge=extra)))
    assert difference(after) == "17.00"
    with pytest.raises(Rejected, match="starts before"):
        amend(BEFORE, amendment(Start(charge=bought("SEAT", "S1"))))


def test_a_charge_that_is_not_served_on_the_day_cannot_change() -> None:
    stopped = amend(BEFORE, amendment(Stop(charge_id="SEAT-all")))
    with pytest.raises(Rejected, match="charge SEAT-all: it is not served"):
        amend(stopped, amendment(Stop(charge_id="SEAT-all"), recorded=2))


def test_what_we_knew_on_a_day_leaves_out_amendments_recorded_later() -> None:
    changes = [amendment(Stop(charge_id="SEAT-all"), recorded=5)]
    assert as_known(BEFORE, changes, datetime(2026, 10, 3, tzinfo=UTC)) == BEFORE
    assert as_known(BEFORE, changes).version == 2


def test_a_charge_added_later_keeps_the_anniversary_of_its_subscription() -> None:
    """Co-termed: half a year after the start of an annual contract it pays for the rest of that year."""
    annual = {
        "code": "SEAT",
        "kind": "recurring",
        "model": per_unit("365"),
        "every_months": 12,
        "align": "subscription",
    }
    (line,) = october(book(annual), [bought("SEAT", starts_on=date(2026, 10, 20))], [])
    assert line.service_period == DateSpan(date(2026, 10, 20), date(2027, 1, 1))
    assert str(line.amount.amount) == "73.00"
