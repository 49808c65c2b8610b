"""docs/pricing.md tells the truth: every example in it is run, and the published schema is the book's."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import pytest

from core.catalog import PriceBook, read_yaml
from core.currencies import in_currency
from core.fx import Exchange
from core.prices import Model
from core.rating import MeteredQuantity, explain
from core.rating.engine import rate
from core.rating.sources import Held
from core.rational import Fraction
from tests.core.rating.books import OCTOBER, account, book, bought, subscription, used

DOCS = Path(__file__).parents[3] / "docs"
EXAMPLES = re.findall(r"### (\w+)\n|^```yaml\n(.*?)^```", (DOCS / "pricing.md").read_text(), re.MULTILINE | re.DOTALL)
BLOCKS = [block for _, block in EXAMPLES if block]


def _rate(currency: str, told: dict[str, Any]) -> Exchange | None:
    if "rate" not in told:
        return None
    return Exchange(base="USD", quote=currency, on=OCTOBER.last_day, rate=Fraction(told["rate"]), rates=("docs",))


def _usage(told: dict[str, Any]) -> list[MeteredQuantity]:
    quantities = [
        used(meter, str(quantity), site)
        for site, row in told.get("usage", {}).items()
        for meter, quantity in row.items()
    ]
    cells = [
        used(
            cell["meter"],
            str(cell["quantity"]),
            None,
            **{k: v for k, v in cell.items() if k not in ("meter", "quantity")},
        )
        for cell in told.get("cells", ())
    ]
    events = [
        replace(used(meter, str(sum(amounts))), each=tuple(map(Decimal, amounts)), events=len(amounts))
        for meter, amounts in told.get("events", {}).items()
    ]
    return quantities + cells + events


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("\n")[1].strip()[:40])
def test_an_example_of_the_pricing_page_gives_the_amounts_it_shows(block: str, tmp_path: Path) -> None:
    (tmp_path / "example.yaml").write_text(block)
    told = read_yaml(tmp_path / "example.yaml")
    parts = {name: told[name] for name in ("currencies", "allowances", "layers", "rules") if name in told}
    currency = told.get("sold_in", "USD")
    prices = in_currency(book(*told["charges"], **parts), currency, _rate(currency, told))
    wanted = told.get("bought", [{"charge": charge.code} for charge in prices.charges])
    charges = [
        bought(
            one["charge"], quantity=str(one.get("quantity", 1)), **{k: v for k, v in one.items() if k == "starts_on"}
        )
        for one in wanted
    ]
    held = [
        Held(source, source.split("@")[0], opening=Fraction(units), last="2026-12")
        for source, units in told.get("held", {}).items()
    ]
    customer = account("S1", "S2", "S3", currency=currency)
    contract = subscription(*charges, currency=currency)
    lines = rate(prices, customer, [contract], OCTOBER, _usage(told), held=held)
    got = {f"{line.charge_code} {line.site_id or ''}".strip(): line.amount.amount for line in lines}
    assert got == {name: Decimal(amount) for name, amount in told["lines"].items()}, "\n".join(map(explain, lines))


def test_every_model_of_the_price_book_has_an_example() -> None:
    shown = {name for name, _ in EXAMPLES if name}
    assert shown == {one.model_fields["kind"].default for one in get_args(get_args(Model)[0])}


def test_the_published_schema_is_that_of_the_price_book() -> None:
    """Regenerate it with ``tieout catalog schema > docs/price-book.schema.json``."""
    assert json.loads((DOCS / "price-book.schema.json").read_text()) == PriceBook.model_json_schema()
