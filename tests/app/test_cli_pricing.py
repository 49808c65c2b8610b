"""``tieout catalog`` and ``tieout rate``: pricing from the shell, offline."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from app import cli_catalog, cli_rate
from core.catalog import PriceBook
from core.errors import Rejected
from core.fx import Exchange, FxRate, Rates
from core.rational import Fraction
from tests.core.rating.books import account

app = typer.Typer()
app.add_typer(cli_catalog.app, name="catalog")
app.add_typer(cli_rate.app, name="rate")

DEMO = Path(__file__).parents[2] / "app" / "demo" / "northwind.yaml"
PLAN = """\
account: A-1
timezone: America/Denver
period: "2026-10"
sites: [S1, S2]
charges:
  - {charge: VC-MIN, site: S1}
  - {charge: VC-ENDPOINT, site: S1, quantity: 10, unit_price: 17.50, starts_on: 2026-10-12}
"""
BILLED = datetime(2026, 11, 1, tzinfo=UTC)
USAGE = "site,meter,quantity,events\nS1,conference_minutes,30000,100\nS1,conference_minutes,0.5,1\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "plan.yaml").write_text(PLAN)
    (tmp_path / "usage.csv").write_text(USAGE)
    (tmp_path / "dearer.yaml").write_text(DEMO.read_text().replace("0.045", "0.05"))
    return tmp_path


def run(*words: object) -> tuple[int, str]:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_preview_prices_a_plan_and_its_usage_with_the_derivation(files: Path) -> None:
    code, text = run("rate", "preview", files / "plan.yaml", files / "usage.csv")
    assert code == 0
    assert "tier 3: 5,000.5 x 0.029 = 145.0145" in text
    assert "units: 10 x 17.5 x 20/31" in text
    assert text.endswith("Total before tax: 1,242.91 USD\n")


def test_preview_as_data_gives_the_lines_and_their_sum(files: Path) -> None:
    _, text = run("rate", "preview", files / "plan.yaml", files / "usage.csv", "--json")
    told = json.loads(text)
    assert told["total"] == "1242.91"
    assert [line["charge_code"] for line in told["lines"]] == ["VC-ENDPOINT", "VC-MIN"]


def test_a_plan_that_cannot_be_read_is_refused_by_file_and_field(files: Path) -> None:
    (files / "plan.yaml").write_text(PLAN.replace("quantity: 10", "quantity: ten"))
    with pytest.raises(Rejected, match=r"plan.yaml: charges.1.quantity"):
        run("rate", "preview", files / "plan.yaml")
    (files / "usage.csv").write_text("site,meter,quantity\nS1,conference_minutes,many\n")
    (files / "plan.yaml").write_text(PLAN)
    with pytest.raises(Rejected, match=r"usage.csv:2: needs a meter and a quantity"):
        run("rate", "preview", files / "plan.yaml", files / "usage.csv")


def test_who_changes_names_the_account_and_the_amount_an_edit_moves(files: Path) -> None:
    given = ("--with", files / "dearer.yaml", "--plan", files / "plan.yaml", "--usage", files / "usage.csv")
    assert run("rate", "who-changes", *given) == (0, "account A-1: 25.00 USD\n")
    same = ("--with", DEMO, *given[2:])
    assert run("rate", "who-changes", *same) == (0, "no account changes\n")


def test_what_if_tells_the_difference_per_line_account_and_product(files: Path) -> None:
    given = ("--with", files / "dearer.yaml", "--plan", files / "plan.yaml", "--usage", files / "usage.csv")
    _, text = run("rate", "what-if", *given)
    assert "1,130.01 USD" in text
    assert "product VC-CONF: 25.00 USD" in text
    (row,) = json.loads(run("rate", "what-if", *given, "--json")[1])["lines"]
    assert (row["line_id"], row["difference"]) == ("1-VC-MIN@2026-10-01", "25.00")


def test_what_if_says_which_account_the_other_book_cannot_price_and_why(files: Path) -> None:
    """The plan is in dollars, the other book sells in yen alone: the account is named, its amount is in no sum."""
    (files / "yen.yaml").write_text(DEMO.read_text().replace("currency: USD", "currency: JPY", 1))
    given = ("--with", files / "yen.yaml", "--plan", files / "plan.yaml", "--usage", files / "usage.csv")
    _, text = run("rate", "what-if", *given)
    assert "no total changes" in text
    assert "not in it, account A-1: price book" in text
    assert "sells in JPY, not in USD" in text
    told = json.loads(run("rate", "who-changes", *given, "--json")[1])
    assert (told["accounts"], list(told["left_out"])) == ({}, ["A-1"])


def test_a_billed_month_is_compared_at_the_rate_of_its_bill(files: Path) -> None:
    """A rate that was loaded later prices what has no bill yet, and never moves what has one."""
    euros = [{"code": "EUR", "others": "convert"}]
    book = PriceBook.model_validate_json(json.dumps({"name": "b", "currency": "USD", "currencies": euros}))
    day, stated = date(2026, 10, 31), {"base": "USD", "quote": "EUR"}
    billed = Exchange(on=day, rate=Fraction("0.92"), rates=("ECB:30",), **stated)
    later = FxRate(id="ECB:31", source="ECB", valid_on=day, rate=Decimal("0.93"), recorded_at=BILLED, **stated)
    customer = account().model_copy(update={"currency": "EUR"})
    assert cli_rate.rate_of(customer, (book, book), billed, Rates([later]), day) == billed
    looked_up = cli_rate.rate_of(customer, (book, book), None, Rates([later]), day)
    assert looked_up is not None
    assert looked_up.rate == Fraction("0.93")
    assert cli_rate.rate_of(account(), (book, book), None, Rates([]), day) is None


def test_catalog_check_tells_mistakes_with_their_lines_and_fails(files: Path) -> None:
    assert run("catalog", "check", DEMO)[0] == 0
    broken = files / "broken.yaml"
    broken.write_text(DEMO.read_text().replace("product_code: VC-CONF", "product_code: NONE", 1))
    code, text = run("catalog", "check", broken)
    assert code == 1
    assert "charges.0.product_code: there is no product NONE" in text


def test_catalog_diff_tells_each_field_that_differs(files: Path) -> None:
    code, text = run("catalog", "diff", DEMO, files / "dearer.yaml")
    assert (code, text.splitlines()[0]) == (1, "charges.VC-MIN.model.tiers.0.unit_amount: 0.045 -> 0.05")
    assert run("catalog", "diff", DEMO, DEMO)[0] == 0


def test_catalog_show_lists_charges_and_prints_one_in_full() -> None:
    assert "VC-ENDPOINT" in run("catalog", "show", DEMO)[1]
    assert "kind: graduated" in run("catalog", "show", DEMO, "VC-MIN")[1]


def test_stripe_prices_become_charges_in_major_units(files: Path) -> None:
    """2.5 cents per thousand, rounded up; tiers in minor units and decimals of them."""
    prices = [
        {
            "id": "price_1",
            "product": "prod_1",
            "currency": "usd",
            "nickname": "API calls",
            "billing_scheme": "per_unit",
            "unit_amount": None,
            "unit_amount_decimal": "2.5",
            "recurring": {"interval": "month", "interval_count": 3, "usage_type": "metered", "meter": "calls"},
            "transform_quantity": {"divide_by": 1000, "round": "up"},
        },
        {
            "id": "price_2",
            "product": "prod_1",
            "currency": "jpy",
            "billing_scheme": "tiered",
            "tiers_mode": "graduated",
            "tiers": [
                {"up_to": 5, "unit_amount": 7, "flat_amount": 100},
                {"up_to": None, "unit_amount_decimal": "6.5"},
            ],
            "recurring": {"interval": "year", "interval_count": 1, "usage_type": "licensed"},
        },
    ]
    (files / "prices.json").write_text(json.dumps({"data": prices}))
    book = files / "book.yaml"
    book.write_text(
        "name: stripe\ncurrency: USD\nproducts:\n  - {code: prod_1, name: P, tax_code: T, revenue_account: r}\n"
        + run("catalog", "import-stripe", files / "prices.json")[1]
    )
    assert run("catalog", "check", book)[0] == 0
    text = book.read_text()
    for part in ("unit_amount: '0.025'", "factor: '1000'", "rounding: ceil", "every_months: 12", "flat_amount: '100'"):
        assert part in text


def test_a_rate_sheet_becomes_a_matrix(files: Path) -> None:
    (files / "sheet.csv").write_text("region,hour,unit_amount\nUS,peak,0.05\nUS,,0.03\n,,0.10\n")
    text = run("catalog", "import-sheet", files / "sheet.csv", "--code", "R", "--product", "P", "--meter", "m")[1]
    assert "region: US\n        hour: peak" in text
    assert text.count("unit_amount") == 3
    (files / "sheet.csv").write_text("region,unit_amount\nUS,cheap\n")
    with pytest.raises(Rejected, match=r"sheet.csv:2"):
        run("catalog", "import-sheet", files / "sheet.csv", "--code", "R", "--product", "P", "--meter", "m")


def test_the_schema_describes_every_part_of_a_book() -> None:
    told = json.loads(run("catalog", "schema")[1])
    assert {"products", "charges", "layers", "rules", "allowances"} <= told["properties"].keys()
