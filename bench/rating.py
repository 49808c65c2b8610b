"""Usage to rated lines against its floor: ``uv run python bench/rating.py [EVENTS] [FOLDER]``, by default 10,000,000.

One month of 20,000 accounts and 5 meters, taken in as Parquet (see bench/metering.py): every event rounded 60/60 and
split by local peak hours, an allowance pooled per account, graduated and peak-dependent prices, each line with its
derivation and passed by the independent checker. The floor is a bare group-by of the same file in the same engine.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
from collections import defaultdict
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from time import process_time

from metering import ACCOUNTS, METERS, MONTH, _cuts, floor_of_measure, ingest, run, write_events

from core.accounts import Account, Address, Site
from core.catalog import PriceBook
from core.metering import Band, Increments, Meter, TimeBands, UsageStore
from core.money import Money, total
from core.rating import MeteredQuantity, rate
from core.subscriptions import Subscription, SubscriptionCharge

PEAK = TimeBands(
    dimension="hours",
    bands=(Band(name="peak", weekdays=(1, 2, 3, 4, 5), starts=time(8), ends=time(18)),),
    otherwise="off_peak",
)
MINUTE = Increments(first=Decimal(60), then=Decimal(60))
NOWHERE = Address(line1="", city="", country="US")


def _book() -> PriceBook:
    tiers = [{"up_to": "100000", "unit_amount": "0.00075"}, {"unit_amount": "0.0005"}]
    graduated = {"kind": "graduated", "tiers": tiers}
    cells = [{"when": {"hours": "peak"}, "model": {"kind": "per_unit", "unit_amount": "0.0008"}}]
    matrix = {"kind": "matrix", "cells": [*cells, {"when": {}, "model": graduated}]}
    charges = [
        {
            "code": f"M{meter}",
            "product_code": "P",
            "name": f"Meter {meter}",
            "kind": "usage",
            "meter": f"meter_{meter}",
            "model": matrix if meter % 2 else graduated,
        }
        for meter in range(METERS)
    ]
    content = {
        "name": "bench",
        "currency": "USD",
        "products": [{"code": "P", "name": "P", "tax_code": "T", "revenue_account": "4000"}],
        "charges": charges,
        "allowances": [{"id": "pool", "units": "36000", "charges": ["M0", "M1"]}],
    }
    return PriceBook.model_validate_json(json.dumps(content))


def _contract(account: str) -> tuple[Account, Subscription]:
    charges = tuple(
        SubscriptionCharge(
            id=f"{account}-M{meter}",
            order_line_id=f"{account}-M{meter}",
            charge_code=f"M{meter}",
            product_code="P",
            quantity=Decimal(1),
            starts_on=date(2026, 1, 1),
            contract_value=Money.zero("USD"),
        )
        for meter in range(METERS)
    )
    customer = Account(
        id=account,
        name=account,
        email="",
        currency="USD",
        billing_address=NOWHERE,
        sites=(Site(id=f"{account}-S0", name="", address=NOWHERE),),
    )
    standing = Subscription(
        id=f"SUB-{account}",
        account_id=account,
        order_id=account,
        currency="USD",
        timezone="UTC",
        starts_on=date(2026, 1, 1),
        charges=charges,
    )
    return customer, standing


def rate_all(folder: Path) -> None:
    """Measure, then rate account by account; nothing but sums is kept, so memory does not grow with lines."""
    started = process_time()
    meters = [Meter(name=f"meter_{meter}", bands=PEAK, increments=MINUTE) for meter in range(METERS)]
    metered: dict[str, list[MeteredQuantity]] = defaultdict(list)
    for quantity in UsageStore(folder / "store").aggregate(_cuts(), meters):
        metered[quantity.account_id].append(quantity)
    gc.freeze()
    measured = process_time()
    book, lines, billed = _book(), 0, Money.zero("USD")
    for number in range(ACCOUNTS):
        customer, standing = _contract(f"A-{number:05d}")
        rated = rate(book, customer, [standing], MONTH, metered.pop(customer.id, []))
        lines += len(rated)
        billed += total((line.amount for line in rated), "USD")
    speed = lines / (process_time() - measured)
    print(f"  measured in {measured - started:.1f} s of cpu; {lines:,} lines, {billed}, {speed:,.0f} a cpu second")


def main(events: int, folder: Path) -> None:
    write_events(folder, events)
    print(f"{events:,} events, {ACCOUNTS:,} accounts, {METERS} meters")
    run(ingest, folder)
    floor = run(floor_of_measure, folder)
    cost = run(rate_all, folder)
    print(f"floor (group by)  cpu {floor.cpu:6.1f}  wall {floor.wall:6.1f}  peak {floor.peak_mb:5} MB")
    print(
        f"metered and rated cpu {cost.cpu:6.1f}  wall {cost.wall:6.1f}  peak {cost.peak_mb:5} MB"
        f"  ratio {cost.cpu / floor.cpu:4.1f}  {events / cost.wall:,.0f} events/s"
    )


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    if len(sys.argv) > 2:
        main(count, Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(count, Path(temporary))
