"""The demo account, its order and its usage, worked by hand in the tests beside this file."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

from core.accounts import Account, Address, Site
from core.catalog import load_price_book
from core.money import Money, total
from core.orders import Order, OrderLine
from core.rating import MeteredQuantity

BOOK = load_price_book(Path(__file__).parents[3] / "app" / "demo" / "northwind.yaml")
HOME = Address(line1="1 Main St", city="Denver", region="CO", postal_code="80202", country="US")
ACCOUNT = Account(
    id="A-0001",
    name="Acme",
    email="ap@acme.example",
    currency="USD",
    timezone="America/Denver",
    billing_address=HOME,
    sites=(Site(id="A-0001-S1", name="Denver", address=HOME), Site(id="A-0001-S2", name="Boulder", address=HOME)),
)


def line(number: int, code: str, quantity: str, unit_price: str, **more: object) -> OrderLine:
    amount = Money.of(Decimal(quantity) * Decimal(unit_price), "USD")
    given = {"id": f"L{number}", "charge_code": code, "quantity": Decimal(quantity), "unit_price": Decimal(unit_price)}
    return OrderLine.model_validate({**given, "amount": amount, **more})


def order(*lines: OrderLine, term_months: int | None = 12) -> Order:
    return Order(
        id="O1",
        name="Acme 2026",
        account=ACCOUNT,
        currency="USD",
        closed_on=date(2026, 9, 30),
        start_on=date(2026, 10, 1),
        term_months=term_months,
        total=total([one.amount for one in lines], "USD"),
        lines=lines,
        changed_at=datetime(2026, 9, 30, tzinfo=UTC),
    )


def used(meter: str, quantity: str, site_id: str | None = "A-0001-S1", **dimensions: str) -> MeteredQuantity:
    return MeteredQuantity(
        account_id="A-0001",
        site_id=site_id,
        meter=meter,
        dimensions=dimensions,
        quantity=Decimal(quantity),
        events=1,
    )
