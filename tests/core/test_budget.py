"""A bucket grants what its rate allows, owes what the vendor asked for, and keeps a part for what is urgent."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from core.budget import CALL, RECOVERY, SLOWEST, THRIFT, Allowance, Bucket
from tests.core.store.border import START, after

CEILING = 10 * CALL


def full() -> Bucket:
    return Bucket.full("erp", CEILING, START)


def at(bucket: Bucket, **delta: float) -> Bucket:
    return bucket.filled(CEILING, after(**delta))


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 300), st.booleans()), max_size=60))
def test_no_more_is_granted_than_the_burst_and_the_rate_allow(steps: list[tuple[int, int, bool]]) -> None:
    bucket, now, granted = full(), START, 0
    for milliseconds, wanted, pressing in steps:
        now += timedelta(milliseconds=milliseconds)
        bucket, number = bucket.filled(CEILING, now).granted(wanted, now, urgent=pressing)
        granted += number
    assert granted * CALL <= CEILING * 10 + CEILING * (now - START) // timedelta(seconds=1)


@given(st.integers(1, 3600), st.integers(SLOWEST, CEILING), st.booleans())
def test_what_a_bucket_says_to_wait_is_enough_and_not_more_than_a_moment_too_much(
    wait: int, rate: int, pressing: bool
) -> None:
    spent = Bucket("erp", rate, 0, START).refused(timedelta(seconds=wait))
    due = START + spent.wait(START, urgent=pressing)
    assert spent.filled(rate, due + timedelta(milliseconds=1)).granted(1, due, urgent=pressing)[1] == 1
    early = due - timedelta(seconds=1)
    assert spent.filled(rate, early).granted(1, early, urgent=pressing)[1] == 0


def test_nothing_is_granted_before_the_time_that_a_refusal_asked_for() -> None:
    refused = full().refused(timedelta(seconds=30))
    assert at(refused, seconds=29).granted(9, after(seconds=29), urgent=True)[1] == 0
    assert at(refused, seconds=31).granted(9, after(seconds=31), urgent=True)[1] > 0


def test_refusals_of_calls_that_were_under_way_together_slow_down_once() -> None:
    once = full().refused(timedelta(seconds=1))
    assert once.rate == CEILING * 7 // 10
    assert once.refused(timedelta(seconds=1)).rate == once.rate
    assert at(once, seconds=3).refused(timedelta(seconds=1)).rate < at(once, seconds=3).rate


def test_a_rate_comes_back_to_its_ceiling_and_never_below_the_slowest() -> None:
    slow = full()
    for second in range(0, 400, 20):
        slow = at(slow, seconds=second).refused(timedelta(0))
        slow = slow.filled(CEILING, after(seconds=second + 1))
    assert SLOWEST <= slow.rate < CEILING
    assert slow.filled(CEILING, after(seconds=400) + RECOVERY).rate == CEILING


def test_a_part_of_the_bucket_is_kept_for_what_is_urgent() -> None:
    bucket, taken = full().granted(1000, START, urgent=False)
    assert taken == 80
    assert bucket.granted(1, START, urgent=False)[1] == 0
    assert bucket.granted(1000, START, urgent=True)[1] == 20


def test_the_last_part_of_a_days_allowance_is_kept_for_what_is_urgent() -> None:
    day = timedelta(days=1)
    low = full().heard(Allowance(left=1000, whole=5000, window=day), START)
    assert low.granted(1, START, urgent=False)[1] == 0
    assert low.granted(1, START, urgent=True)[1] == 1
    assert low.wait(START, urgent=False) == THRIFT
    assert low.heard(Allowance(left=1001, whole=5000, window=day), START).granted(1, START, urgent=False)[1] == 1


def test_a_short_allowance_is_never_granted_beyond_what_is_left() -> None:
    heard = full().heard(Allowance(left=3, whole=100, window=timedelta(seconds=10)), START)
    assert heard.granted(50, START, urgent=True)[1] == 3


def test_a_clock_that_goes_back_fills_nothing() -> None:
    spent, _ = full().granted(1000, START, urgent=True)
    back = spent.filled(CEILING, START - timedelta(hours=1))
    assert (back.level, back.filled_at) == (0, START)
