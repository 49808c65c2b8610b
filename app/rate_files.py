"""A contract and its usage as two small files, for pricing from the shell: a YAML plan and a CSV of quantities.

::

    account: A-1                     # any id; price layers name accounts and sites by it
    currency: USD
    timezone: America/Denver         # default UTC
    period: "2026-10"
    sites: [S1, S2]
    charges:
      - {charge: VC-MIN, site: S1}
      - {charge: VC-ENDPOINT, site: S1, quantity: 10, unit_price: 17.50, starts_on: 2026-10-12}

The CSV has the columns ``meter`` and ``quantity``, may have ``site`` and ``events``, and every other column is a
dimension. Rows of the same site, meter and dimensions add up.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints, ValidationError

from core.accounts import Account, Address, Site
from core.catalog import PriceBook, read_yaml
from core.errors import Rejected
from core.money import Money
from core.noun import CurrencyCode, Id, Noun, Quantity
from core.period import DateSpan
from core.rating import MeteredQuantity
from core.rating.compare import Bill
from core.subscriptions import Subscription, SubscriptionCharge

_COLUMNS = {"site", "meter", "quantity", "events"}


class PlannedCharge(Noun):
    charge: Id
    site: Id | None = None
    quantity: Quantity = Quantity(1)
    unit_price: Quantity | None = None
    starts_on: date | None = None
    ends_on: date | None = None


class Plan(Noun):
    """The file of a contract."""

    account: Id
    currency: CurrencyCode = "USD"
    timezone: str = "UTC"
    period: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}$")]
    sites: tuple[Id, ...] = ()
    charges: Annotated[tuple[PlannedCharge, ...], Field(min_length=1)]


def read_bill(plan_file: Path, usage_file: Path | None, book: PriceBook) -> Bill:
    """Everything that pricing needs. Rejected, naming file and field or line, for what cannot be read."""
    try:
        plan = Plan.model_validate_json(json.dumps(read_yaml(plan_file), default=str))
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        field = ".".join(str(step) for step in fault["loc"])
        raise Rejected(f"{plan_file}: {field}: {fault['msg']}", record=str(plan_file), field=field) from None
    period = DateSpan.month(plan.period)
    home = Address(line1="", city="", country="US")
    account = Account(
        id=plan.account,
        name=plan.account,
        email="",
        currency=plan.currency,
        timezone=plan.timezone,
        billing_address=home,
        sites=tuple(Site(id=name, name=name, address=home) for name in plan.sites),
    )
    usage = () if usage_file is None else tuple(_usage(usage_file, plan.account))
    return Bill(account, [_subscription(plan, period, book)], period, usage)


def _subscription(plan: Plan, period: DateSpan, book: PriceBook) -> Subscription:
    known = {charge.code: charge.product_code for charge in book.charges}
    charges = tuple(
        SubscriptionCharge(
            id=f"{number}-{one.charge}",
            order_line_id=str(number),
            charge_code=one.charge,
            product_code=known.get(one.charge, one.charge),
            site_id=one.site,
            quantity=one.quantity,
            unit_price=one.unit_price,
            starts_on=one.starts_on or period.start,
            ends_on=one.ends_on,
            contract_value=Money.zero(plan.currency),
        )
        for number, one in enumerate(plan.charges, start=1)
    )
    return Subscription(
        id=f"SUB-{plan.account}",
        account_id=plan.account,
        order_id="plan",
        currency=plan.currency,
        timezone=plan.timezone,
        starts_on=min(one.starts_on for one in charges),
        charges=charges,
    )


def _usage(path: Path, account_id: str) -> Iterator[MeteredQuantity]:
    found: dict[tuple[str, str, tuple[tuple[str, str], ...]], MeteredQuantity] = {}
    with path.open(encoding="utf-8-sig", newline="") as lines:
        for number, row in enumerate(csv.DictReader(lines), start=2):
            dimensions = {name: value for name, value in row.items() if name and name not in _COLUMNS and value}
            try:
                one = MeteredQuantity(
                    account_id=account_id,
                    site_id=row.get("site") or None,
                    meter=row["meter"],
                    dimensions=dimensions,
                    quantity=Decimal(row["quantity"]),
                    events=int(row.get("events") or 1),
                )
            except (KeyError, TypeError, ValueError, ArithmeticError):
                raise Rejected(
                    f"{path}:{number}: needs a meter and a quantity", record=str(path), field="quantity"
                ) from None
            key = (one.site_id or "", one.meter, tuple(sorted(dimensions.items())))
            before = found.get(key)
            found[key] = one if before is None else _together(before, one)
    yield from found.values()


def _together(one: MeteredQuantity, other: MeteredQuantity) -> MeteredQuantity:
    return replace(one, quantity=one.quantity + other.quantity, events=one.events + other.events)
