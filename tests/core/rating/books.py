"""A small price book and one account, made from the few parts a test names."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any

from core.accounts import Account, Address, Site
from core.catalog import PriceBook
from core.money import Money
from core.period import DateSpan
from core.rating import MeteredQuantity, RatedLine, rate
from core.subscriptions import Subscription, SubscriptionCharge

OCTOBER = DateSpan.month("2026-10")
HOME = Address(line1="1 Main St", city="Denver", country="US")


def book(*charges: dict[str, Any], **parts: Any) -> PriceBook:
    """A book of usage charges (give ``kind`` for others); each needs ``code`` and ``model``."""
    product = {"code": "P", "name": "P", "tax_code": "T", "revenue_account": "4000"}
    full = [
        {"product_code": "P", "name": one["code"], "kind": "usage"}
        | ({"meter": one["code"].lower()} if one.get("kind", "usage") == "usage" else {})
        | one
        for one in charges
    ]
    content = {"name": "test", "currency": "USD", "products": [product], "charges": full, **parts}
    return PriceBook.model_validate_json(json.dumps(content, default=str))


def per_unit(price: str) -> dict[str, str]:
    return {"kind": "per_unit", "unit_amount": price}


def account(*sites: str, currency: str = "USD", parent: str | None = None) -> Account:
    return Account(
        id="A",
        name="A",
        email="a@a.example",
        currency=currency,
        billing_address=HOME,
        parent_id=parent,
        sites=tuple(Site(id=name, name=name, address=HOME) for name in sites),
    )


def bought(code: str, site: str | None = None, quantity: str = "1", **more: Any) -> SubscriptionCharge:
    given = {
        "id": f"{code}-{site or 'all'}",
        "order_line_id": code,
        "charge_code": code,
        "product_code": "P",
        "site_id": site,
        "quantity": Decimal(quantity),
        "starts_on": date(2026, 1, 1),
        "contract_value": Money.zero("USD"),
    }
    return SubscriptionCharge.model_validate({**given, **more})


def subscription(*charges: SubscriptionCharge, currency: str = "USD", timezone: str = "UTC") -> Subscription:
    return Subscription(
        id="SUB",
        account_id="A",
        order_id="O",
        currency=currency,
        timezone=timezone,
        starts_on=date(2026, 1, 1),
        charges=charges,
    )


def used(meter: str, quantity: str, site: str | None = None, **dimensions: str) -> MeteredQuantity:
    return MeteredQuantity(
        account_id="A", site_id=site, meter=meter, dimensions=dimensions, quantity=Decimal(quantity), events=1
    )


def october(
    prices: PriceBook, charges: list[SubscriptionCharge], usage: list[MeteredQuantity], *sites: str, **more: Any
) -> tuple[RatedLine, ...]:
    return rate(prices, account(*sites), [subscription(*charges)], OCTOBER, usage, **more)


def amounts(lines: tuple[RatedLine, ...]) -> dict[tuple[str, str | None], str]:
    """Amounts by charge and site."""
    return {(line.charge_code, line.site_id): str(line.amount.amount) for line in lines}
