"""The preview is the invoice."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from core.money import total
from core.orders import activate
from core.period import DateSpan
from core.rating import rate
from core.rating.compare import Bill, compare, what_if
from core.rating.quote import preview
from tests.core.rating.books import OCTOBER, account, october, subscription
from tests.core.rating.northwind import ACCOUNT, BOOK, line, order, used
from tests.core.rating.test_properties import bills

MONTHS = [DateSpan.month(f"2026-{month}") for month in (10, 11, 12)]
SOLD = st.lists(
    st.tuples(st.sampled_from(["VC-ENDPOINT", "VC-LIVE"]), st.integers(1, 99), st.integers(0, 60)),
    min_size=1,
    max_size=5,
)


@given(SOLD, st.integers(0, 40000))
def test_a_quote_preview_gives_the_lines_that_are_billed(sold, minutes) -> None:
    """Month by month, to the byte, whatever was ordered."""
    site = "A-0001-S1"
    lines = [
        line(
            n,
            code,
            str(quantity),
            str(BOOK.charge(code).model.unit_amount),
            start_on=date(2026, 10, 1) + timedelta(days=later),
        )
        for n, (code, quantity, later) in enumerate(sold)
    ]
    quoted = order(*lines, line(99, "VC-MIN", "0", "0", site_id=site))
    usage = {month: [used("conference_minutes", str(minutes))] for month in MONTHS}
    seen = dict(preview(quoted, BOOK, MONTHS, usage))
    standing = activate(quoted, BOOK)
    for month in MONTHS:
        billed = rate(BOOK, ACCOUNT, [standing], month, usage[month])
        assert [one.model_dump_json() for one in seen[month]] == [one.model_dump_json() for one in billed]


@settings(max_examples=40, deadline=None)
@given(bills())
def test_what_if_nothing_changes_is_the_bill(given_: Any) -> None:
    """Dry run and bill run call one function: over random books the difference is nothing."""
    prices, charges, usage, sites = given_
    bill = Bill(account(*sites), [subscription(*charges)], OCTOBER, usage)
    assert compare(bill.rated(prices), october(prices, charges, usage, *sites)) == ()
    assert what_if([bill], prices, prices).deltas == ()


def test_an_order_is_billed_for_what_it_was_sold_for() -> None:
    """The first year of a one-time and an annual line is the order's total."""
    quoted = order(line(1, "VC-LIVE", "2", "700"), line(2, "VC-PLAN", "1", "4500"))
    year = [DateSpan.month(f"{2026 + month // 12}-{month % 12 + 1:02d}") for month in range(9, 21)]
    lines = [one for _, rated in preview(quoted, BOOK, year) for one in rated]
    assert total([one.amount for one in lines], "USD") == quoted.total
