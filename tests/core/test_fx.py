"""Exchange rates are dated facts, and a conversion rounds once."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Rejected
from core.fx import OLDEST, FxRate, Rates, RatesError, read_rates
from core.money import Money, total
from core.rational import Fraction

NOW = datetime(2026, 11, 1, tzinfo=UTC)
DAY = date(2026, 10, 30)


def rate(base: str, quote: str, worth: str, on: date = DAY, source: str = "ECB", known: datetime = NOW) -> FxRate:
    ident = f"{source}:{base}/{quote}:{on}"
    return FxRate(id=ident, source=source, base=base, quote=quote, valid_on=on, rate=Decimal(worth), recorded_at=known)


def test_a_conversion_takes_the_newest_rate_on_or_before_its_day() -> None:
    rates = Rates([rate("EUR", "USD", "1.10"), rate("EUR", "USD", "1.20", date(2026, 10, 31))])
    assert rates.exchange("EUR", "USD", DAY).rate == Fraction("1.10")
    assert rates.exchange("EUR", "USD", date(2026, 11, 2)).rate == Fraction("1.20")


def test_a_rate_that_is_too_old_is_none() -> None:
    rates = Rates([rate("EUR", "USD", "1.10")])
    assert rates.exchange("EUR", "USD", DAY + timedelta(days=OLDEST))
    for day in (DAY + timedelta(days=OLDEST + 1), DAY - timedelta(days=1)):
        with pytest.raises(Rejected, match="load it with `tieout rates load`"):
            rates.exchange("EUR", "USD", day)


def test_a_pair_that_nobody_states_is_the_inverse_or_goes_over_a_third_currency() -> None:
    """A euro is 1.25 dollars and 160 yen: a dollar is 4/5 euro, which is 128 yen."""
    rates = Rates([rate("EUR", "USD", "1.25"), rate("EUR", "JPY", "160")])
    assert rates.exchange("USD", "EUR", DAY).rate == Fraction(4, 5)
    over = rates.exchange("USD", "JPY", DAY)
    assert (over.rate, over.rates) == (128, ("ECB:EUR/USD:2026-10-30", "ECB:EUR/JPY:2026-10-30"))


def test_money_is_rounded_once_to_the_minor_units_of_the_other_currency() -> None:
    """12.34 dollars: 1,579.52 yen are 1,580; 4.63985 dinars are 4.640 (3 decimals)."""
    rates = Rates([rate("USD", "JPY", "128"), rate("USD", "BHD", "0.376001")])
    assert rates.exchange("USD", "JPY", DAY).of(Money(1234, "USD")) == Money(1580, "JPY")
    assert rates.exchange("USD", "BHD", DAY).of(Money(1234, "USD")) == Money(4640, "BHD")
    with pytest.raises(ValueError, match="cannot be converted"):
        rates.exchange("USD", "JPY", DAY).of(Money(1, "EUR"))


def test_two_sources_of_a_pair_need_an_order_of_preference() -> None:
    told = [rate("EUR", "USD", "1.10"), rate("EUR", "USD", "1.11", source="bank")]
    with pytest.raises(Rejected, match="told by ECB, bank"):
        Rates(told).exchange("EUR", "USD", DAY)
    assert Rates(told, ("bank", "ECB")).exchange("EUR", "USD", DAY).rate == Fraction("1.11")


def test_what_was_recorded_later_is_not_seen() -> None:
    rates = [rate("EUR", "USD", "1.10"), rate("EUR", "USD", "1.2", date(2026, 10, 31), known=NOW + timedelta(days=9))]
    assert Rates(rates, known_at=NOW).exchange("EUR", "USD", date(2026, 10, 31)).rate == Fraction("1.10")


@given(st.integers(1, 10**10), st.decimals("0.0001", "9999", places=6))
def test_a_rate_that_is_told_in_six_decimals_values_as_the_one_that_hears_it(minor: int, worth: Decimal) -> None:
    """A ledger divides an amount by the rate that it is told, and rounds half up."""
    told = Rates([rate("EUR", "USD", str(worth))]).exchange("EUR", "USD", DAY).as_told(6)
    heard = Decimal(round(1 / told.rate * 10**6)).scaleb(-6)
    money = Money(minor, "EUR")
    assert told.of(money).amount == (money.amount / heard).quantize(Decimal("0.01"), ROUND_HALF_UP)


def test_a_rate_too_small_to_be_told_is_refused() -> None:
    exchange = Rates([rate("BHD", "USD", "9000000")]).exchange("BHD", "USD", DAY)
    assert exchange.as_told(None) == exchange
    with pytest.raises(Rejected, match="one USD is less of BHD than the general ledger can be told in 6 decimals"):
        exchange.as_told(6)


@given(st.lists(st.integers(-(10**12), 10**12), max_size=20), st.decimals("0.000001", "99999", places=6))
def test_converted_parts_sum_to_the_converted_whole(minors: list[int], worth: Decimal) -> None:
    exchange = Rates([rate("USD", "BHD", str(worth))]).exchange("USD", "BHD", DAY)
    parts = [Money(minor, "USD") for minor in minors]
    assert total(exchange.of_all(parts), "BHD") == exchange.of(total(parts, "USD"))


def test_rates_are_read_from_csv_and_yaml_alike(tmp_path: Path) -> None:
    sheet, book = tmp_path / "r.csv", tmp_path / "r.yaml"
    sheet.write_text("valid_on,base,quote,rate\n2026-10-30,EUR,USD,1.0842\n")
    book.write_text("- {valid_on: 2026-10-30, base: EUR, quote: USD, rate: 1.0842}\n")
    assert read_rates(sheet, "ECB", NOW) == read_rates(book, "ECB", NOW) == (rate("EUR", "USD", "1.0842"),)


def test_a_file_of_rates_tells_all_its_mistakes_at_once(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text(
        "valid_on,base,quote,rate\n30.10.2026,EUR,USD,1\n2026-10-30,EUR,EUR,1\n2026-10-30,EUR,XXZ,1\n"
        "2026-10-30,EUR,USD,-1\n2026-10-30,EUR,USD,\n2026-10-30,EUR,JPY,1\n2026-10-30,EUR,JPY,2\n"
    )
    with pytest.raises(RatesError) as told:
        read_rates(path, "ECB", NOW)
    assert [one.split(": ")[0].rpartition(":")[2] for one in told.value.mistakes] == ["2", "3", "4", "5", "6", "8"]
    assert "valid_on" in told.value.mistakes[0]
