"""The price book as a file: what it refuses, and how it tells."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from core.catalog import PriceBookError, Timing, load_price_book
from core.errors import Misconfigured
from core.prices import Graduated
from tests.core.rating.northwind import BOOK

WRONG = """\
name: broken
currency: dollars
products:
  - {code: P, name: P, tax_code: T, revenue_account: "4000"}
  - {code: P, name: Again, tax_code: T, revenue_account: "4000"}
charges:
  - code: A
    product_code: Q
    name: A
    kind: usage
    model: {kind: graduated, tiers: [{up_to: 10, unit_amount: 0.1}, {up_to: 5}]}
  - code: B
    product_code: P
    name: B
    kind: recurring
    model: {kind: per_unit, unit_amount: 1, colour: red}
allowances:
  - {id: pool, units: 1, charges: [A, NONE]}
rules:
  - id: r
    on: [B]
    when: [{measure: quantity, of: [GONE], at_least: 1}]
    then: {kind: percent_off, percent: 120}
"""


def mistakes(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "book.yaml"
    file.write_text(text)
    with pytest.raises(PriceBookError) as refused:
        load_price_book(file)
    return [one.removeprefix(f"{file}:") for one in refused.value.mistakes]


def test_every_mistake_is_told_at_once_with_its_line(tmp_path) -> None:
    told = mistakes(tmp_path, WRONG)
    assert sorted(int(one.split(":")[0]) for one in told) == [2, 5, 8, 11, 16, 18, 22, 23]
    assert "5: products.1: P is declared before" in told
    assert "8: charges.0.product_code: there is no product Q" in told
    assert "22: rules.0.when.0.of: there is no charge GONE" in told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[1, 2]", "a price book is a mapping"),
        ("name: [", "expected the node content"),
        ("name: x\ncurrency: USD\ncurency: USD\n", "curency: Extra inputs are not permitted"),
        ("name: x\n", "currency: Field required"),
    ],
)
def test_a_file_that_is_no_price_book_is_refused_in_words(tmp_path, text, told) -> None:
    assert told in mistakes(tmp_path, text)[0]


def test_a_price_book_that_is_not_there_is_missed_in_words(tmp_path) -> None:
    with pytest.raises(Misconfigured, match=r"prices\.yaml cannot be read: No such file or directory"):
        load_price_book(tmp_path / "prices.yaml")


def test_numbers_of_the_file_are_exact() -> None:
    model = BOOK.charge("VC-MIN").model
    assert isinstance(model, Graduated)
    assert model.tiers[1].unit_amount == Decimal("0.038")


def test_equal_content_has_an_equal_version_and_any_change_another(tmp_path) -> None:
    text = (Path(__file__).parents[2] / "app" / "demo" / "northwind.yaml").read_text()
    (tmp_path / "same.yaml").write_text(f"# a comment\n{text}")
    (tmp_path / "other.yaml").write_text(text.replace("0.045", "0.046"))
    assert load_price_book(tmp_path / "same.yaml").version == BOOK.version
    assert load_price_book(tmp_path / "other.yaml").version != BOOK.version


def test_timing_follows_from_the_kind_unless_stated() -> None:
    timings = {code: BOOK.charge(code).timing for code in ("VC-ENDPOINT", "VC-MIN", "VC-LIVE")}
    assert timings == {"VC-ENDPOINT": Timing.ADVANCE, "VC-MIN": Timing.ARREARS, "VC-LIVE": Timing.ARREARS}


def test_only_what_is_billed_ahead_is_deferred() -> None:
    assert [one.code for one in BOOK.charges if BOOK.revenue(one.code).deferred] == ["VC-ENDPOINT", "VC-PLAN"]
