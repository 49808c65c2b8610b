"""Price books from elsewhere: prices of Stripe (its ``price`` objects) and rate sheets (CSV).

Each gives the ``charges`` of a price book as plain data, for a person to read, name and complete; nothing is guessed
that the source does not say.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from core.errors import Rejected
from core.exact import to_decimal
from core.money import as_fraction, exponent

_MONTHS = {"month": 1, "year": 12}


def from_stripe(prices: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One charge per price: per unit, graduated or volume tiers, and ``transform_quantity`` as a conversion.

    Amounts are minor units there (``unit_amount``, or ``unit_amount_decimal`` with more digits) and major units here.
    Rejected for a weekly or daily interval, and for a price the customer chooses. Source: Stripe API reference, the
    Price object, published spec, read 2026-11.
    """
    return [_stripe_charge(price) for price in prices]


def _stripe_charge(price: Mapping[str, Any]) -> dict[str, Any]:
    recurring = price.get("recurring") or {}
    metered = recurring.get("usage_type") == "metered"
    charge: dict[str, Any] = {
        "code": price.get("lookup_key") or price["id"],
        "product_code": price["product"],
        "name": price.get("nickname") or price["id"],
        "kind": "usage" if metered else "recurring" if recurring else "one_time",
        "model": _stripe_model(price),
    }
    if metered:
        charge["meter"] = recurring.get("meter") or price["product"]
    if recurring:
        if recurring["interval"] not in _MONTHS:
            raise _refuse(price, "recurring.interval", recurring["interval"])
        charge["every_months"] = _MONTHS[recurring["interval"]] * int(recurring.get("interval_count", 1))
        charge["align"] = "anniversary"
    if transform := price.get("transform_quantity"):
        rounding = {"up": "ceil", "down": "floor"}[transform["round"]]
        charge["conversion"] = {"operation": "divide", "factor": str(transform["divide_by"]), "rounding": rounding}
    return charge


def _stripe_model(price: Mapping[str, Any]) -> dict[str, Any]:
    places = exponent(str(price["currency"]).upper())
    if price.get("billing_scheme") == "tiered":
        tiers = [
            {
                "up_to": None if tier.get("up_to") is None else str(tier["up_to"]),
                "unit_amount": _major(tier, "unit_amount", places) or "0",
                "flat_amount": _major(tier, "flat_amount", places) or "0",
            }
            for tier in price["tiers"]
        ]
        return {"kind": price["tiers_mode"], "tiers": tiers}
    amount = _major(price, "unit_amount", places)
    if amount is None:
        raise _refuse(price, "unit_amount", "null")
    return {"kind": "per_unit", "unit_amount": amount}


def _major(source: Mapping[str, Any], field: str, places: int) -> str | None:
    """The amount in major units; the decimal form wins where both are there."""
    stated = source.get(f"{field}_decimal")
    stated = source.get(field) if stated is None else stated
    return None if stated is None else f"{to_decimal(as_fraction(Decimal(str(stated))) / 10**places):f}"


def _refuse(price: Mapping[str, Any], field: str, value: str) -> Rejected:
    text = f"price {price['id']}: {field} {value} has no equal in a price book"
    return Rejected(text, record=str(price["id"]), field=field, value=value)


def from_rate_sheet(path: Path, code: str, product_code: str, meter: str) -> dict[str, Any]:
    """One usage charge with a matrix: each row of the CSV is a cell. The column ``unit_amount`` is its price, every
    other column a dimension (an empty value: any). Earlier rows win. Rejected, naming the line, for a bad price."""
    with path.open(encoding="utf-8-sig", newline="") as lines:
        cells = [_cell(path, number, row) for number, row in enumerate(csv.DictReader(lines), start=2)]
    model = {"kind": "matrix", "cells": cells}
    return {
        "code": code,
        "product_code": product_code,
        "name": path.stem,
        "kind": "usage",
        "meter": meter,
        "model": model,
    }


def _cell(path: Path, number: int, row: Mapping[str, str]) -> dict[str, Any]:
    try:
        price = f"{Decimal(row['unit_amount'].strip()):f}"
    except (KeyError, ArithmeticError, AttributeError):
        raise Rejected(
            f"{path}:{number}: unit_amount is not a price",
            record=str(path),
            field="unit_amount",
            value=row.get("unit_amount"),
        ) from None
    when = {name: value for name, value in row.items() if name != "unit_amount" and value}
    return {"when": when, "model": {"kind": "per_unit", "unit_amount": price}}
