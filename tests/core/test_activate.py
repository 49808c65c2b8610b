"""What activation keeps and what it refuses."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from core.errors import Rejected
from core.money import Money
from core.orders import activate
from tests.core.rating.northwind import BOOK, line, order


def test_an_order_becomes_one_charge_per_line_with_its_term() -> None:
    subscription = activate(order(line(1, "VC-ENDPOINT", "10", "18"), line(2, "VC-LIVE", "1", "750")), BOOK)
    assert (subscription.id, subscription.starts_on, subscription.ends_on) == (
        "SUB-O1",
        date(2026, 10, 1),
        date(2027, 10, 1),
    )
    assert [(one.id, one.charge_code, one.unit_price) for one in subscription.charges] == [
        ("SC-L1", "VC-ENDPOINT", None),
        ("SC-L2", "VC-LIVE", None),
    ]


def test_a_unit_price_that_differs_from_the_list_is_kept() -> None:
    (charge,) = activate(order(line(1, "VC-ENDPOINT", "10", "17.50")), BOOK).charges
    assert charge.unit_price == Decimal("17.50")


def test_the_order_never_sets_the_price_of_usage() -> None:
    """A CRM shows tiered usage at a unit price of 0; it must not become free."""
    (charge,) = activate(order(line(1, "VC-MIN-INTL", "1", "0")), BOOK).charges
    assert charge.unit_price is None


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (line(1, "VC-NONE", "1", "1"), "charge_code"),
        (line(1, "VC-ENDPOINT", "1", "18", site_id="A-0002-S1"), "site_id"),
        (line(1, "VC-ENDPOINT", "1", "18", start_on=date(2027, 10, 1)), "start_on"),
        (line(1, "VC-ENDPOINT", "1", "18", amount=Money.of("17", "USD")), "amount"),
        (line(1, "VC-PLAN", "2", "4800"), "quantity"),
    ],
)
def test_a_line_that_could_not_be_billed_as_ordered_is_refused_by_name(wrong, field) -> None:
    with pytest.raises(Rejected, match="line L1, charge VC-") as refused:
        activate(order(wrong), BOOK)
    assert refused.value.field == field
