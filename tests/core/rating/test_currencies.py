"""One price book in several currencies: stated prices as they are, the others at one dated rate with one rounding."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from core.accounts import Account
from core.catalog import PriceBook
from core.currencies import in_currency
from core.errors import Rejected, TieBroken
from core.fx import Exchange, FxRate, Rates
from core.money import Money
from core.rating import RatedLine, explain, rate
from core.rating.check import check
from core.rational import Fraction
from core.subscriptions import Subscription
from tests.core.rating.books import OCTOBER, account, book, bought, per_unit, subscription, used

CALLS = {"code": "MIN", "meter": "min", "model": per_unit("0.045")}
SEAT = {"code": "SEAT", "kind": "recurring", "model": per_unit("31")}
RATE = Exchange(
    base="USD", quote="EUR", on=date(2026, 10, 31), rate=Fraction("0.92"), rates=("ECB:USD/EUR:2026-10-30",)
)


def sold(*charges: dict[str, Any], currency: str = "EUR", others: str = "convert", **more: Any) -> PriceBook:
    stated = {"SEAT": {"model": per_unit("29")}}
    listed = [{"code": currency, "charges": stated, "others": others}]
    return book(*charges, currencies=listed, **more)


def customer(currency: str = "EUR") -> Account:
    return account().model_copy(update={"currency": currency})


def contract(*charges: Any, currency: str = "EUR") -> Subscription:
    lines = [one.model_copy(update={"contract_value": Money.zero(currency)}) for one in charges]
    return subscription(*lines).model_copy(update={"currency": currency})


def amounts(priced: PriceBook, *charges: Any, usage: Any = (), currency: str = "EUR") -> dict[str, str]:
    lines = rate(priced, customer(currency), [contract(*charges, currency=currency)], OCTOBER, usage)
    return {line.charge_code: str(line.amount) for line in lines}


def test_a_stated_price_is_billed_as_it_is_and_another_at_the_rate_with_one_rounding() -> None:
    """Seats 2 x 29; 333 minutes x 0.045 = 14.985 dollars, x 0.92 = 13.7862 euros. Rounded twice it would be 13.79 too.

    With 3 minutes: 0.135 dollars are 0.1242 euros, so 0.12; rounded first to 0.14 dollars it would be 0.13.
    """
    priced = in_currency(sold(CALLS, SEAT), "EUR", RATE)
    lines = bought("MIN"), bought("SEAT", quantity="2")
    assert amounts(priced, *lines, usage=[used("min", "333")]) == {"MIN": "13.79 EUR", "SEAT": "58.00 EUR"}
    assert amounts(priced, *lines, usage=[used("min", "3")])["MIN"] == "0.12 EUR"


def test_the_derivation_states_the_rate_and_the_checker_holds_it_to_the_book() -> None:
    priced = in_currency(sold(CALLS, SEAT), "EUR", RATE)
    (line,) = rate(priced, customer(), [contract(bought("MIN"))], OCTOBER, [used("min", "100")])
    assert "1 USD is 0.92 EUR on 2026-10-31 (ECB:USD/EUR:2026-10-30)" in explain(line)
    other = in_currency(sold(CALLS, SEAT), "EUR", RATE.model_copy(update={"rate": Fraction("0.93")}))
    with pytest.raises(TieBroken, match="converted at the rate of the book"):
        check(line, other)
    with pytest.raises(TieBroken, match="exact amount"):
        check(line.model_copy(update={"derivation": line.derivation.model_copy(update={"exact": Fraction(5)})}), priced)


@pytest.mark.parametrize(("currency", "worth", "amount"), [("JPY", "151.2", "680 JPY"), ("BHD", "0.376", "1.692 BHD")])
def test_a_line_has_the_minor_units_of_its_currency(currency: str, worth: str, amount: str) -> None:
    """100 minutes are 4.50 dollars: 680.4 yen without decimals, and 1.692 dinars with three."""
    exchange = Exchange(base="USD", quote=currency, on=date(2026, 10, 31), rate=Fraction(worth), rates=("r",))
    priced = in_currency(sold(CALLS, SEAT, currency=currency), currency, exchange)
    assert amounts(priced, bought("MIN"), usage=[used("min", "100")], currency=currency) == {"MIN": amount}


def test_the_price_of_an_order_is_in_the_currency_of_the_order() -> None:
    priced = in_currency(sold(CALLS, {**SEAT, "code": "ROOM"}, SEAT), "EUR", RATE)
    assert amounts(priced, bought("ROOM", quantity="2", unit_price=Decimal("30"))) == {"ROOM": "60.00 EUR"}


def test_amounts_of_rules_and_commitments_are_converted_once() -> None:
    """Two seats at 29 are 58.00; 10 dollars off are 9.20 euros; 100 dollars pledged are 92.00, of which 43.20 miss."""
    pledge = {
        "code": "PLEDGE",
        "kind": "recurring",
        "timing": "arrears",
        "model": {"kind": "commitment", "amount": "100"},
    }
    off = {"id": "off", "on": ["SEAT"], "then": {"kind": "amount_off", "amount": "10"}}
    priced = in_currency(sold(CALLS, SEAT, pledge, rules=[off]), "EUR", RATE)
    told = amounts(priced, bought("SEAT", quantity="2"), bought("PLEDGE"))
    assert told == {"SEAT": "48.80 EUR", "PLEDGE": "43.20 EUR"}


def test_a_book_refuses_what_it_does_not_sell_in_a_currency() -> None:
    with pytest.raises(Rejected, match="sells in USD, EUR, not in GBP"):
        in_currency(sold(CALLS, SEAT), "GBP")
    stated_only = in_currency(sold(CALLS, SEAT, others="refuse"), "EUR")
    with pytest.raises(Rejected, match="in EUR has no charge MIN"):
        amounts(stated_only, bought("MIN"))
    with pytest.raises(Rejected, match="none is known"):
        amounts(in_currency(sold(CALLS, SEAT), "EUR"), bought("MIN"), usage=[used("min", "1")])


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"currencies": [{"code": "USD"}]}, "USD is the currency of the book itself"),
        ({"currencies": [{"code": "EUR", "charges": {"SEAT": {"included": "1"}}}]}, "SEAT states no model in EUR"),
        ({"currencies": [{"code": "EUR", "charges": {"NONE": {"model": per_unit("1")}}}]}, "there is no charge NONE"),
        (
            {
                "currencies": [{"code": "EUR"}],
                "rules": [{"id": "off", "on": ["SEAT"], "then": {"kind": "amount_off", "amount": "1"}}],
            },
            "rule off states an amount in USD",
        ),
        (
            {
                "layers": [
                    {
                        "id": "l",
                        "level": "account",
                        "of": "A",
                        "currency": "EUR",
                        "effective_from": "2026-01-01",
                        "charges": {"SEAT": {"model": per_unit("1")}},
                    }
                ]
            },
            "SEAT states no price in EUR",
        ),
    ],
)
def test_a_book_whose_currencies_contradict_does_not_load(more: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        book(SEAT, **more)


def test_a_layer_counts_in_its_own_currency_alone() -> None:
    """The dollar layer halves the dollar price and leaves the euro price; the euro layer is the other way round."""

    def layer(ident: str, price: str, **more: Any) -> dict[str, Any]:
        charges = {"SEAT": {"model": per_unit(price)}}
        return {"id": ident, "level": "account", "of": "A", "effective_from": "2026-01-01", "charges": charges, **more}

    whole = sold(SEAT, layers=[layer("dollars", "15"), layer("euros", "20", currency="EUR")])
    assert amounts(in_currency(whole, "EUR", RATE), bought("SEAT")) == {"SEAT": "20.00 EUR"}
    assert amounts(whole, bought("SEAT"), currency="USD") == {"SEAT": "15.00 USD"}


def test_a_bill_in_another_currency_can_be_made_again_to_the_byte_after_a_better_rate_is_loaded() -> None:
    """What was known on the 3rd gives the bill of the 3rd, and so does the rate that its lines state."""
    third, fifth = datetime(2026, 11, 3, tzinfo=UTC), datetime(2026, 11, 5, tzinfo=UTC)
    stated = {"source": "ECB", "base": "USD", "quote": "EUR"}
    first = FxRate(id="ECB:30", valid_on=date(2026, 10, 30), rate=Decimal("0.92"), recorded_at=third, **stated)
    better = FxRate(id="ECB:31", valid_on=date(2026, 10, 31), rate=Decimal("0.93"), recorded_at=fifth, **stated)

    def billed(exchange: Exchange | None) -> tuple[str, ...]:
        priced = in_currency(sold(CALLS, SEAT), "EUR", exchange)
        lines = rate(priced, customer(), [contract(bought("MIN"))], OCTOBER, [used("min", "333")])
        return tuple(line.model_dump_json() for line in lines)

    def known(at: datetime) -> Exchange:
        return Rates([first, better], known_at=at).exchange("USD", "EUR", OCTOBER.last_day)

    bill = billed(Rates([first]).exchange("USD", "EUR", OCTOBER.last_day))
    (stands,) = (RatedLine.model_validate_json(line).derivation.exchange for line in bill)
    assert bill == billed(known(third)) == billed(stands)
    assert bill != billed(known(fifth))
