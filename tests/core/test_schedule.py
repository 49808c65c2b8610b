"""Which service periods fall due when, and what a cut one costs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import available_timezones

from hypothesis import given
from hypothesis import strategies as st

from core.catalog import Align, Charge, PriceBook
from core.orders import activate
from core.period import DateSpan, start_of_day, zone
from core.rating.proration import DayCount, factor, seconds_share
from core.rational import Fraction
from core.subscriptions import service_periods
from tests.cases.reading import charge
from tests.core.rating.books import amounts, book, bought, october, per_unit
from tests.core.rating.northwind import BOOK, line, order

MONTHS = st.sampled_from([1, 2, 3, 6, 12])
DAYS = st.dates(date(2019, 1, 1), date(2033, 12, 31))
ZONES = st.sampled_from(
    ["UTC", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns", "Asia/Gaza"]
)


def seat(**fields: object) -> Charge:
    return charge(per_unit("1"), kind="recurring", meter=None, **fields)


@given(MONTHS, st.integers(1, 31), st.sampled_from(list(Align)), DAYS, st.integers(1, 900))
def test_service_periods_leave_no_gap_and_no_overlap(every, billing_day, align, start, days) -> None:
    """Whatever the anchor, each served day lies in exactly one service period, and parts never leave their whole."""
    one = seat(every_months=every, billing_day=billing_day, align=align)
    span = DateSpan(start, date.fromordinal(start.toordinal() + days))
    line = bought("SEAT", starts_on=span.start, ends_on=span.end)
    found = list(service_periods(one, line, span, date(2018, 8, 31)))
    assert [found[0][0].start, found[-1][0].end] == [span.start, span.end]
    assert all(before[0].end == after[0].start for before, after in pairwise(found))
    assert all(part.overlap(whole) == part for part, whole in found)


@given(DAYS, st.integers(2, 800), st.data(), ZONES)
def test_the_parts_of_a_cut_period_sum_to_exactly_one(start, days, data, tz) -> None:
    """By days and by seconds, over every change of the clock."""
    whole = DateSpan(start, date.fromordinal(start.toordinal() + days))
    at = date.fromordinal(start.toordinal() + data.draw(st.integers(1, days - 1)))
    first, second = DateSpan(start, at), DateSpan(at, whole.end)
    assert first.fraction_of(whole) + second.fraction_of(whole) == 1
    assert seconds_share(first, whole, tz) + seconds_share(second, whole, tz) == 1


def _changes_of_the_clock() -> Iterator[tuple[str, date]]:
    """Every local day from 2000 to 2040 on which a zone of IANA changes its offset; zones that are alike once."""
    start, weeks = datetime(2000, 1, 1, tzinfo=UTC), range(41 * 53)
    seen: set[tuple[object, ...]] = set()
    for name in sorted(available_timezones()):
        at = [(start + timedelta(weeks=week)).astimezone(zone(name)) for week in weeks]
        offsets = tuple(one.utcoffset() for one in at)
        if offsets in seen:
            continue
        seen.add(offsets)
        for before, after in pairwise(at):
            if before.utcoffset() != after.utcoffset():
                days = [(before + timedelta(days=day)).date() for day in range(9)]
                lengths = [start_of_day(end, name) - start_of_day(first, name) for first, end in pairwise(days)]
                yield name, next(day for day, one in zip(days, lengths, strict=False) if one != timedelta(days=1))


def test_the_parts_sum_to_one_around_every_change_of_the_clock_from_2000_to_2040() -> None:
    """The month of each change, in every zone of IANA, cut on the day of the change and on the day after."""
    changes = list(_changes_of_the_clock())
    assert {"Pacific/Apia", "Africa/Casablanca"} <= {tz for tz, _ in changes}
    assert len(changes) > 5_000
    for tz, day in changes:
        whole = DateSpan.month(f"{day:%Y-%m}")
        for cut in (day, day + timedelta(days=1)):
            if whole.start < cut < whole.end:
                parts = DateSpan(whole.start, cut), DateSpan(cut, whole.end)
                assert sum(seconds_share(part, whole, tz) for part in parts) == 1, (tz, cut)


@given(st.integers(1, 31), DAYS)
def test_a_month_end_anchor_returns_to_its_day_after_a_short_month(billing_day, start) -> None:
    one = seat(billing_day=billing_day)
    line = bought("SEAT", starts_on=start)
    around = DateSpan(start, date.fromordinal(start.toordinal() + 500))
    for _, whole in service_periods(one, line, around, start):
        last = DateSpan.month(f"{whole.start:%Y-%m}").last_day.day
        assert whole.start.day == min(billing_day, last)


def test_a_period_cut_by_seconds_counts_the_long_day_of_the_clock_change() -> None:
    """25 October 2026 has 25 hours in Berlin: 16 days from the 16th are 385 of 745 hours."""
    october_days = DateSpan.month("2026-10")
    share = seconds_share(DateSpan(date(2026, 10, 16), october_days.end), october_days, "Europe/Berlin")
    assert share == Fraction(385, 745)
    assert DateSpan(date(2026, 10, 16), october_days.end).fraction_of(october_days) == Fraction(16, 31)


def test_a_charge_prorated_by_seconds_is_checked_by_seconds() -> None:
    prices = book({"code": "SEAT", "kind": "recurring", "proration": "second", "model": per_unit("745")})
    lines = october(prices, [bought("SEAT", starts_on=date(2026, 10, 16))], [])
    assert amounts(lines) == {("SEAT", None): "384.52"}
    assert lines[0].derivation.timezone == "UTC"


def test_leap_day_counts_in_its_own_february_only() -> None:
    leap, plain = (factor((date(y, 2, 15), date(y, 3, 1)), (date(y, 2, 1), date(y, 3, 1))) for y in (2028, 2027))
    assert (leap, plain) == (Fraction(15, 29), Fraction(14, 28))


def test_fixed_thirty_gives_every_month_the_same_length() -> None:
    shares = [
        factor((date(2026, m, 1), date(2026, m, 16)), (date(2026, m, 1), date(2026, m + 1, 1)), DayCount.FIXED_30)
        for m in (1, 2, 4)
    ]
    assert shares == [Fraction(1, 2)] * 3


def test_a_trial_moves_the_start_of_its_charge() -> None:
    endpoint = BOOK.charge("VC-ENDPOINT").model_copy(update={"trial_days": 14})
    trial = PriceBook(name="trial", currency="USD", products=BOOK.products, charges=(endpoint,))
    (charge_,) = activate(order(line(1, "VC-ENDPOINT", "1", "18")), trial).charges
    assert charge_.starts_on == date(2026, 10, 15)
