"""An order's price is allocated whole, a changed contract goes on by its policy, and every balance ends at zero."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from core.money import Money, allocate, total
from core.obligations import ContractMovement, Obligation, billed, ended, unbilled
from core.period import DateSpan
from core.revenue import reduction, schedule, unearned
from core.revenue_policy import Convention, Pattern, RevenuePolicy
from core.revenue_reports import Fact, Side, Step, roll_forward
from tests.core.store.nouns import CREDIT_NOTE, INVOICE

YEAR = DateSpan(date(2026, 1, 1), date(2027, 1, 1))
LINE = INVOICE.lines[0].model_copy(update={"defer": True})


def usd(amount: str) -> Money:
    return Money.of(amount, "USD")


def promised(ident: str, stated: Money, allocated: Money, pattern: Pattern = Pattern.STRAIGHT_LINE) -> Obligation:
    return Obligation(
        id=ident,
        order_id="O1",
        contract_id="SUB-O1",
        account_id="A-0001",
        charge_code=ident,
        product_code="P",
        currency="USD",
        pattern=pattern,
        convention=Convention.DAY,
        stated=stated,
        standalone=Decimal(1),
        allocated=allocated,
        starts_on=YEAR.start,
        ends_on=YEAR.end,
        revenue_account="4100",
    )


def test_a_month_of_the_convention_weighs_what_it_says() -> None:
    """1,200.00 from 17 January to 16 April.

    By day 15, 28, 31 and 16 of 90, the spare cent to the first of equal remainders; by month a quarter each; pro rata
    15/31, 1, 1 and 16/30 of 3.01720.
    """
    line = LINE.model_copy(
        update={"amount": usd("1200"), "service_period": DateSpan(date(2026, 1, 17), date(2026, 4, 17))}
    )
    shown = {
        convention: [str(part.amount.amount) for part in schedule(line, "A", RevenuePolicy(convention=convention))]
        for convention in Convention
    }
    assert shown == {
        Convention.DAY: ["200.00", "373.34", "413.33", "213.33"],
        Convention.MONTH: ["300.00", "300.00", "300.00", "300.00"],
        Convention.PRORATA: ["192.44", "397.72", "397.72", "212.12"],
    }


def test_a_changed_contract_catches_up_or_goes_on_as_its_policy_says() -> None:
    """1,200.00 a year, earned by month, costs 300.00 more from July. Prospective: 50.00 more in each of the six months
    left. Catch-up: 25.00 a month for all twelve, of which July earns its own and the 150.00 of the six before it."""
    rest = DateSpan(date(2026, 7, 1), YEAR.end)
    line = LINE.model_copy(update={"amount": usd("300"), "service_period": rest})
    by_month = RevenuePolicy(convention=Convention.MONTH)
    prospective = schedule(line, "A", by_month)
    catch_up = schedule(line, "A", by_month, span=YEAR, since="2026-07")
    assert [str(part.amount.amount) for part in prospective] == ["50.00"] * 6
    assert [str(part.amount.amount) for part in catch_up] == ["175.00", *["25.00"] * 5]
    assert total([part.amount for part in catch_up], "USD") == line.amount


@given(
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.lists(st.tuples(st.integers(1, 10**5), st.integers(0, 10), st.integers(0, 11)), max_size=12),
)
def test_whatever_is_billed_and_given_back_rolls_forward_and_ends_at_zero(
    phone: int, service: int, bills: list[tuple[int, int, int]]
) -> None:
    """A phone for nothing and a service: bills of any amount, a part of each given back later, and an early end."""
    price = Money(sum(amount for amount, _, _ in bills) or 1, "USD")
    shares = allocate(price, [phone, service + 1])
    device = promised("PHONE", usd("0"), shares[0], Pattern.POINT_IN_TIME)
    seat = promised("SEAT", price, shares[1])
    movements: list[ContractMovement] = list(unbilled(device))
    own: list[ContractMovement] = []
    for number, (amount, tenths, month) in enumerate(bills, 1):
        line = LINE.model_copy(update={"id": f"I{number}", "amount": Money(amount, "USD")})
        own.append(billed(seat, own, line, f"2026-{month + 1:02}"))
        back = CREDIT_NOTE.lines[0].model_copy(
            update={"id": f"C{number}", "amount": Money(amount * tenths // 10, "USD")}
        )
        own.append(billed(seat, own, back, f"2026-{month + 1:02}"))
    movements += own
    assert total([one.allocated for one in own], "USD") == seat.share(total([one.billed for one in own], "USD"))
    movements += ended([device, seat], movements, "2027-01")
    facts = [Fact("SUB-O1", Side.CONTRACT, Step.BILLED, one.month, one.moved) for one in movements]
    closing = usd("0")
    for month in [*(f"2026-{number:02}" for number in range(1, 13)), "2027-01"]:
        for roll in roll_forward(facts, month):
            assert roll.opening == closing
            closing = roll.closing
    assert closing == usd("0")


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
