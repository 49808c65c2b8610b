"""What the stories share: won deals as they are told, and the answers of a tax engine. Amounts are dollars."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from core.accounts import Account, Address
from core.invoicing import Invoice
from core.money import Money, total
from core.orders import Change, Order, OrderLine
from core.tax import TaxDocument, TaxLine, TaxStatus

Told = Mapping[str, Any]
ADDRESS = Address(line1="1 Main St", city="Denver", region="CO", postal_code="80202", country="US")


def usd(amount: str | int) -> Money:
    return Money.of(amount, "USD")


def order_of(number: int, told: Told, account: Account) -> Order:
    """Order ``O2`` of lines ``L21``, ``L22``, ...; ``amends``: the number of the order that it amends."""
    lines = tuple(
        OrderLine(
            id=f"L{number}{position}",
            charge_code=line["charge"],
            site_id=line.get("site"),
            quantity=(quantity := Decimal(line.get("quantity", "1"))),
            unit_price=(price := Decimal(line.get("unit_price", "0"))),
            amount=Money.of(quantity * price, account.currency),
            start_on=line.get("start_on"),
            change=Change(line["change"]) if "change" in line else None,
            amends=line.get("amends"),
            until=line.get("until"),
        )
        for position, line in enumerate(told["lines"], 1)
    )
    return Order(
        id=f"O{number}",
        name="Deal",
        account=account,
        currency=account.currency,
        purchase_order=told.get("purchase_order"),
        closed_on=told["start_on"],
        start_on=told["start_on"],
        term_months=told.get("term_months"),
        total=total([line.amount for line in lines], account.currency),
        lines=lines,
        changed_at=datetime(2026, 1, 1, number, tzinfo=UTC),
        amends=f"O{told['amends']}" if "amends" in told else None,
    )


def answered(drafted: Invoice, base: Money, taxes: Mapping[int, Money]) -> TaxDocument:
    """What a tax engine answers about a draft. ``taxes``: by position of the line; the others are not taxed."""
    lines = tuple(
        TaxLine(
            id=f"{line.id}-tax",
            invoice_line_id=line.id,
            jurisdiction="Denver",
            jurisdiction_type="city",
            region="CO",
            country="US",
            tax_name="Sales tax",
            rate=Decimal("0.05"),
            taxable=line.amount,
            tax=taxes.get(line.position, usd("0")),
        )
        for line in drafted.lines
    )
    return TaxDocument(
        id=drafted.id,
        invoice_id=drafted.id,
        vendor_id="1",
        status=TaxStatus.UNCOMMITTED,
        currency="USD",
        document_date=drafted.invoice_date,
        base=base,
        tax=total([line.tax for line in lines], "USD"),
        lines=lines,
    )
