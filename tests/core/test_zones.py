"""An account that moves to another time zone is measured without a gap and without an overlap."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import available_timezones

from dateutil.relativedelta import relativedelta
from hypothesis import given
from hypothesis import strategies as st

from core.accounts import Zones, zone_change
from core.period import DateSpan
from tests.core.rating.books import account

NAMES = st.sampled_from(sorted(available_timezones() - {"localtime"}))


def month_of(start: date) -> DateSpan:
    return DateSpan(start, start + relativedelta(months=1))


@given(st.lists(st.tuples(NAMES, st.integers(0, 11)), min_size=1, max_size=4), NAMES)
def test_each_month_begins_where_the_one_before_ended_whatever_the_zones(moves, first) -> None:
    """Over a year of moves between any two zones of the world."""
    customer, changes = account().model_copy(update={"timezone": first}), {}
    for name, month in sorted(moves, key=lambda move: move[1]):
        change = zone_change(customer, name, datetime(2026, 1 + month, 15, 12, tzinfo=UTC))
        changes[change.id] = change
        customer = customer.model_copy(update={"timezone": name})
    zones = Zones(customer.timezone, tuple(changes.values()))
    months = [zones.instants(month_of(date(2026, 1, 1) + relativedelta(months=n))) for n in range(14)]
    assert [one.end for one in months[:-1]] == [one.start for one in months[1:]]
    assert zones.on(date(2027, 6, 1)) == customer.timezone


def test_a_move_takes_effect_with_the_next_month_of_the_zone_it_leaves() -> None:
    """At 02:00 UTC on 1 November it is still October in Denver: November is the first month in Tokyo."""
    customer = account().model_copy(update={"timezone": "America/Denver"})
    change = zone_change(customer, "Asia/Tokyo", datetime(2026, 11, 1, 2, tzinfo=UTC))
    zones = Zones("Asia/Tokyo", (change,))
    assert (zones.on(date(2026, 10, 31)), zones.on(date(2026, 11, 1))) == ("America/Denver", "Asia/Tokyo")
    october, november = zones.instants(DateSpan.month("2026-10")), zones.instants(DateSpan.month("2026-11"))
    assert october.start == datetime(2026, 10, 1, 6, tzinfo=UTC)
    assert october.end == november.start == datetime(2026, 11, 1, 6, tzinfo=UTC)
    assert november.end == datetime(2026, 11, 30, 15, tzinfo=UTC)
