"""The border to an outside billing system: what it is told, and what becomes of its invoices."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from core.accounts import Account, Address, Site
from core.billing import (
    BilledInvoice,
    BilledLine,
    BilledState,
    catalog,
    contract_charges,
    taken_over,
    usage_totals,
)
from core.catalog import load_price_book
from core.errors import Rejected, TieBroken
from core.money import Money
from core.orders import Order, OrderLine, activate
from core.period import DateSpan
from core.rating import MeteredQuantity

BOOK = load_price_book(Path(__file__).parents[2] / "app" / "demo" / "northwind.yaml")
OCTOBER = DateSpan.month("2026-10")
DENVER = Address(line1="1801 California St", city="Denver", region="CO", postal_code="80202", country="US")
AUSTIN = Address(line1="500 Congress Ave", city="Austin", region="TX", postal_code="78701", country="US")
ACCOUNT = Account(
    id="A-1",
    name="Acme",
    email="billing@acme.example",
    currency="USD",
    timezone="America/Denver",
    billing_address=DENVER,
    sites=(Site(id="S1", name="Denver", address=DENVER), Site(id="S2", name="Austin", address=AUSTIN)),
)


def usd(amount: str) -> Money:
    return Money.of(amount, "USD")


def line(ident: str, code: str, quantity: str, price: str, site: str | None = None) -> OrderLine:
    amount = usd(str(Decimal(quantity) * Decimal(price)))
    return OrderLine(
        id=ident,
        charge_code=code,
        site_id=site,
        quantity=Decimal(quantity),
        unit_price=Decimal(price),
        amount=amount,
    )


def order(*lines: OrderLine) -> Order:
    return Order(
        id="O-1",
        name="Acme rooms",
        account=ACCOUNT,
        currency="USD",
        closed_on=date(2026, 9, 28),
        start_on=date(2026, 10, 1),
        term_months=12,
        total=sum((one.amount for one in lines), usd("0")),
        lines=lines,
        changed_at=datetime(2026, 9, 28, tzinfo=UTC),
    )


def used(meter: str, quantity: str, site: str | None) -> MeteredQuantity:
    return MeteredQuantity(
        account_id="A-1", site_id=site, meter=meter, dimensions={}, quantity=Decimal(quantity), events=1
    )


def billed(**changes: Any) -> BilledInvoice:
    one = BilledLine(
        id="X-1",
        subscription_charge_id="SC-1",
        charge_code="VC-ENDPOINT",
        site_id="S2",
        description="Monitored endpoint",
        first_day=date(2026, 10, 1),
        last_day=date(2026, 10, 31),
        quantity=Decimal(10),
        amount=usd("180.00"),
    )
    given: dict[str, Any] = {
        "id": "X",
        "account_id": "A-1",
        "currency": "USD",
        "state": BilledState.CLOSED,
        "first_day": date(2026, 10, 1),
        "last_day": date(2026, 10, 31),
        "due_date": date(2026, 11, 30),
        "total": usd("180.00"),
        "lines": (one,),
    }
    return BilledInvoice(**{**given, **changes})


def test_every_charge_of_the_price_book_is_told_by_name_and_without_a_price() -> None:
    told = {one.code: (one.kind.value, one.every_months) for one in catalog(BOOK)}
    assert (told["VC-PLAN"], told["VC-MIN"], told["VC-LIVE"]) == (("recurring", 12), ("usage", 1), ("one_time", 1))


def test_a_charge_is_told_at_the_price_of_the_order_and_usage_without_one() -> None:
    """Even at the price that the book lists: what another price list says must not change what was sold."""
    sold = order(line("1", "VC-ENDPOINT", "10", "18.00", "S1"), line("2", "VC-MIN", "1", "250.00", "S1"))
    endpoint, minutes = contract_charges(activate(sold, BOOK), {one.id: one for one in sold.lines}, BOOK)
    assert (endpoint.id, endpoint.unit_price, endpoint.last_day) == ("SC-1", Decimal("18.00"), date(2027, 9, 30))
    assert (minutes.unit_price, minutes.account_id, minutes.subscription_id) == (None, "A-1", "SUB-O-1")


def test_usage_is_told_once_by_the_charge_that_takes_it_and_by_site() -> None:
    """A site's own charge takes it before the account's, and one id never stands for two sites."""
    sold = order(
        line("1", "VC-MIN", "1", "250.00", "S1"),
        line("2", "VC-MIN", "1", "250.00"),
        line("3", "VC-PLAN-MIN", "1", "100.00"),
    )
    metered = [
        used("conference_minutes", "10.5", "S1"),
        used("conference_minutes", "2", "S2"),
        used("plan_minutes", "0.000001", None),
    ]
    totals = usage_totals(BOOK, ACCOUNT, [activate(sold, BOOK)], OCTOBER, metered)
    assert [(one.id, one.site_id, one.quantity, one.used_on) for one in totals] == [
        ("U-2026-10-SC-1", "S1", Decimal("10.5"), date(2026, 10, 31)),
        ("U-2026-10-SC-2-S2", "S2", Decimal(2), date(2026, 10, 31)),
        ("U-2026-10-SC-3", None, Decimal("0.000001"), date(2026, 10, 31)),
    ]


def test_usage_that_no_charge_takes_is_refused_by_its_meter() -> None:
    sold = order(line("1", "VC-ENDPOINT", "10", "18.00", "S1"))
    with pytest.raises(Rejected) as refused:
        usage_totals(BOOK, ACCOUNT, [activate(sold, BOOK)], OCTOBER, [used("conference_minutes", "1", "S1")])
    assert (refused.value.field, refused.value.value) == ("meter", "conference_minutes")


def test_an_outside_invoice_becomes_a_draft_that_the_price_book_and_the_account_complete() -> None:
    draft = taken_over(billed(), ACCOUNT, BOOK)
    assert (draft.id, draft.status.value, draft.billing_period, draft.invoice_date) == (
        "X",
        "draft",
        OCTOBER,
        date(2026, 10, 31),
    )
    (one,) = draft.lines
    assert (one.id, one.rated_line_id, one.revenue_account, one.tax_code) == ("X-1", "X-1", "4010", "SW054000")
    assert (one.service_address, one.service_period, one.defer) == (AUSTIN, OCTOBER, True)


def test_an_invoice_whose_total_is_not_the_sum_of_its_lines_is_no_invoice() -> None:
    """Such as one that carries tax, which the tax engine would tax again."""
    with pytest.raises(TieBroken):
        billed(total=usd("194.85"))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"currency": "EUR", "total": Money.zero("EUR"), "lines": ()}, "currency"),
        ({"total": usd("-1.00"), "state": BilledState.OPEN}, "total"),
        ({"lines": (billed().lines[0].model_copy(update={"charge_code": "NO-SUCH"}),)}, "charge_code"),
        ({"lines": (billed().lines[0].model_copy(update={"site_id": "S9"}),)}, "site_id"),
    ],
)
def test_an_invoice_that_cannot_be_completed_is_refused_by_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(Rejected) as refused:
        taken_over(billed(**changes), ACCOUNT, BOOK)
    assert refused.value.field == field
