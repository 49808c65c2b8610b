"""What is served before it is billed is an asset at the end of its month, and gone when the bill comes."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

from core.close import Close, close_id
from core.revenue_reports import Side
from flows.accrue import contract_assets_due
from flows.post import post
from flows.revenue_report import facts, totals
from tests.scenarios.revenue.seller import CONTRACT, Seller, deal
from tests.scenarios.told import usd

BOOK = {
    "products": [{"code": "ALL", "name": "All", "tax_code": "T", "revenue_account": "4100"}],
    "charges": [
        {
            "code": "QUARTER",
            "product_code": "ALL",
            "name": "Quarter",
            "kind": "recurring",
            "every_months": 3,
            "timing": "arrears",
            "model": {"kind": "flat", "amount": "240"},
            "revenue": {"convention": "month"},
        },
        {
            "code": "PHONE",
            "product_code": "ALL",
            "name": "Phone",
            "kind": "one_time",
            "model": {"kind": "flat", "amount": "0"},
            "revenue": {"standalone_price": "240"},
        },
    ],
}
NOON = datetime(2026, 4, 1, 12, tzinfo=UTC)


def close_of(month: str) -> Close:
    ident = close_id("main", month, 1)
    return Close(
        id=ident, entity="main", period=month, number=1, currency="USD", cut_off=NOON, frozen_at=NOON, started_by="Ada"
    )


def accrued(seller: Seller, month: str) -> None:
    """What a close books of the month, once however often it is asked."""
    with seller.hub.database.work() as work:
        post(seller.hub, work, contract_assets_due(seller.hub, work, close_of(month)))
        assert list(contract_assets_due(seller.hub, work, close_of(month))) == []


def assets(seller: Seller, month: str) -> str:
    """The balance of contract assets at the end of a month, as the ledger and the report of contracts say alike."""
    with seller.hub.database.reading() as work:
        held = work.sums.ledger_balances(last=month).get((CONTRACT, "USD"), usd("0"))
        assert totals(facts(work), month).get((Side.CONTRACT, "USD"), usd("0")) == held
        end = date(2026, int(month[5:]), 28)
        rolled = work.contracts.moved("main", [CONTRACT], end.replace(day=1), end.replace(month=end.month + 1, day=1))
    assert sum(one.net.minor for one in rolled) == held.minor
    assert {one.contract for one in rolled} <= {"SUB-O1"}
    return str(held.amount)


def quarter(seller: Seller) -> list[tuple[str, str | None]]:
    """The contract asset at the end of each month of a quarter, and what the month moves on revenue."""
    found = []
    for month in ("2026-01", "2026-02", "2026-03"):
        seller.bill(month)
        seller.earn(month)
        accrued(seller, month)
        found.append((assets(seller, month), seller.moved(month).get("4100")))
    return found


def test_a_quarter_that_is_billed_when_it_ends_is_earned_month_by_month(tmp_path: Path) -> None:
    """240.00 a quarter: 80.00 served in January and not billed, 160.00 in February, and the bill in March."""
    seller = Seller(tmp_path, BOOK)
    seller.take(
        deal(1, {"start_on": date(2026, 1, 1), "term_months": 6, "lines": [{"charge": "QUARTER", "unit_price": "240"}]})
    )
    assert quarter(seller) == [("80.00", "-80.00"), ("160.00", "-80.00"), ("0.00", "-80.00")]
    seller.close()


def test_a_quarter_that_pays_for_a_phone_is_earned_at_its_share(tmp_path: Path) -> None:
    """A phone worth 240.00 comes free with two quarters of 240.00: 160.00 and 320.00; a month serves 53.33."""
    seller = Seller(tmp_path, BOOK)
    lines = [{"charge": "QUARTER", "unit_price": "240"}, {"charge": "PHONE", "unit_price": "0"}]
    seller.take(deal(1, {"start_on": date(2026, 1, 1), "term_months": 6, "lines": lines}))
    # 160.00 and a third of 160.00; two thirds; the bill brings 160.00 of its 240.00.
    assert quarter(seller) == [("213.34", "-213.34"), ("266.67", "-53.33"), ("80.00", "-53.33")]
    seller.close()
