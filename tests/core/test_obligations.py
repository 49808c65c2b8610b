"""A price is allocated whole, a changed contract goes on by its policy, and a schedule earns what it was given."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.allocation import Allocation, Stand, allocated, brought, earned_in, reallocated, standing
from core.errors import Rejected
from core.money import Money, total
from core.obligations import Obligation, Served
from core.period import DateSpan
from core.rational import Fraction
from core.revenue import reduction, schedule, unearned
from core.revenue_policy import Amending, Convention, Pattern, RevenuePolicy
from tests.core.store.nouns import CREDIT_NOTE, INVOICE

YEAR = DateSpan(date(2026, 1, 1), date(2027, 1, 1))
JULY = date(2026, 7, 1)
LINE = INVOICE.lines[0].model_copy(update={"defer": True})


def usd(amount: str) -> Money:
    return Money.of(amount, "USD")


def stand(ident: str, stated: str, alone: int, span: DateSpan = YEAR, allocated_to: str | None = None) -> Stand:
    """An obligation that serves one span of days for a price."""
    one = Obligation(
        id=ident,
        order_id="O1",
        contract_id="SUB-O1",
        priced_with="O1",
        account_id="A-0001",
        charge_code=ident,
        product_code="P",
        currency="USD",
        pattern=Pattern.STRAIGHT_LINE,
        convention=Convention.MONTH,
        stated=usd(stated),
        standalone=Decimal(alone),
        allocated=usd(allocated_to or stated),
        starts_on=span.start,
        ends_on=span.end,
        revenue_account="4100",
    )
    return Stand(one, standing(one, ()), (Served(span, usd(stated), Fraction(alone)),), ident)


def shown(told: tuple[Allocation, ...]) -> list[tuple[str, str, str, str]]:
    return [(one.obligation_id, one.starts_on.isoformat(), str(one.stated), str(one.allocated.amount)) for one in told]


def test_a_month_of_the_convention_weighs_what_it_says() -> None:
    """1,200.00 from 17 January to 16 April.

    By day 15, 28, 31 and 16 of 90, the spare cent to the first of equal remainders; by month a quarter each; pro rata
    15/31, 1, 1 and 16/30 of 3.01720.
    """
    line = LINE.model_copy(
        update={"amount": usd("1200"), "service_period": DateSpan(date(2026, 1, 17), date(2026, 4, 17))}
    )
    found = {
        convention: [str(part.amount.amount) for part in schedule(line, "A", RevenuePolicy(convention=convention))]
        for convention in Convention
    }
    assert found == {
        Convention.DAY: ["200.00", "373.34", "413.33", "213.33"],
        Convention.MONTH: ["300.00", "300.00", "300.00", "300.00"],
        Convention.PRORATA: ["192.44", "397.72", "397.72", "212.12"],
    }


def test_what_was_served_keeps_its_price_and_the_rest_is_shared_anew() -> None:
    """A year for 365.00, worth 730.00 alone; from July a second service for 184.00 that is worth 184.00 alone.

    Kept: 181.00. Left: 184.00 + 184.00 = 368.00, by what is served from July alone, 368 : 184 = 2 : 1.
    """
    told = reallocated(
        "O2",
        [stand("OLD", "365", 730), stand("NEW", "184", 184, DateSpan(JULY, YEAR.end))],
        JULY,
        Amending.PROSPECTIVE,
    )
    assert shown(told) == [
        ("OLD", "2026-01-01", "181", "181.00"),
        ("OLD", "2026-07-01", "184", "245.33"),
        ("NEW", "2026-07-01", "184", "122.67"),
    ]


def test_a_catch_up_shares_the_whole_price_anew() -> None:
    """549.00 in all, by what is ever served alone, 730 : 184: 438.48 and 110.52."""
    stands = [stand("OLD", "365", 730), stand("NEW", "184", 184, DateSpan(JULY, YEAR.end))]
    told = reallocated("O2", stands, JULY, Amending.CATCH_UP)
    assert shown(told) == [
        ("OLD", "2026-01-01", "365", "438.48"),
        ("NEW", "2026-07-01", "184", "110.52"),
    ]


def test_where_nothing_is_left_to_be_served_the_whole_is_shared_anew() -> None:
    """A phone worth 240.00 came free with a year that is stopped in July: nothing after July can carry its price."""
    phone = stand("PHONE", "0", 240, DateSpan(YEAR.start, date(2026, 1, 2)), "137.14")
    year = stand("YEAR", "160", 160, DateSpan(YEAR.start, JULY), "182.86")
    told = reallocated("O2", [phone, year], JULY, Amending.PROSPECTIVE)
    assert [str(one.allocated.amount) for one in told] == ["96.00", "64.00"]


def test_a_price_below_nothing_is_refused() -> None:
    with pytest.raises(Rejected, match=r"what O2 leaves of the contract SUB-O1 costs -5\.00 USD"):
        reallocated("O2", [stand("OLD", "-5", 10)], JULY, Amending.CATCH_UP)


def test_a_bill_over_a_change_is_earned_at_both_rates() -> None:
    """A year billed at 365.00, of which July and after bring 4 / 3: 181.00 and 245.33."""
    told = reallocated(
        "O2",
        [stand("OLD", "365", 730), stand("NEW", "184", 184, DateSpan(JULY, YEAR.end))],
        JULY,
        Amending.PROSPECTIVE,
    )[:2]
    bill = usd("365"), YEAR
    assert brought(told, [bill]) == Fraction(181) + Fraction("245.33")
    months = earned_in(told, usd("426.33"), bill, Convention.MONTH)
    assert months is not None
    assert (str(months["2026-06"].amount), str(months["2026-07"].amount)) == ("30.16", "40.89")
    assert total(months.values(), "USD") == usd("426.33")


@st.composite
def contracts(draw: st.DrawFn) -> list[Stand]:
    found = []
    for number in range(draw(st.integers(1, 5))):
        start = date(2026, draw(st.integers(1, 11)), 1)
        cents = draw(st.integers(0, 10**6))
        span = DateSpan(start, date(2026 + draw(st.integers(0, 1)), 12, draw(st.integers(2, 31))))
        found.append(stand(f"L{number}", f"{cents / Decimal(100)}", draw(st.integers(0, 10**4)), span))
    return found


@given(contracts(), st.lists(st.tuples(st.sampled_from([*Amending]), st.integers(1, 12)), min_size=1, max_size=4))
def test_after_each_act_the_allocated_prices_are_the_price_of_the_contract(
    stands: list[Stand], acts: list[tuple[Amending, int]]
) -> None:
    price = total((one.stated for own in stands for one in own.serves), "USD")
    for number, (policy, month) in enumerate(acts):
        told = reallocated(f"O{number}", stands, date(2026, month, 15), policy)
        by_line = {own.obligation.id: [one for one in told if one.obligation_id == own.obligation.id] for own in stands}
        assert total([allocated(own) for own in by_line.values()], "USD") == price
        assert all(one.allocated.minor >= 0 for one in told)
        for own in stands:
            assert sum((one.stated for one in by_line[own.obligation.id]), Fraction(0)) == own.stated()
        stands = [
            Stand(own.obligation, standing(own.obligation, by_line[own.obligation.id]), own.serves, own.family)
            for own in stands
        ]


@given(st.integers(1, 10**7), st.integers(0, 10), st.sampled_from(Convention))
def test_what_a_credit_leaves_of_a_schedule_is_what_is_left_of_its_line(
    amount: int, tenths: int, convention: Convention
) -> None:
    line = LINE.model_copy(update={"amount": Money(amount, "USD"), "service_period": YEAR})
    parts = schedule(line, "A", RevenuePolicy(convention=convention))
    left = [part for part in parts if part.month >= "2026-07"]
    back = min(Money(amount * tenths // 10, "USD"), unearned(left).get(line.id, usd("0")))
    taken = reduction(CREDIT_NOTE.lines[0].model_copy(update={"amount": back, "deferred": back}), left)
    assert total([part.amount for part in (*parts, *taken)], "USD") == line.amount - back
