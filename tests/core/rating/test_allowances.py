"""Included units: how many, who draws them, and that shares sum to the pool."""

from __future__ import annotations

import pytest

from core.rating import drawn
from core.rating.alerts import alerts
from core.rating.allowance import draw
from core.rational import Fraction
from tests.core.rating.books import amounts, book, bought, october, per_unit, used

MIN, MSG = {"code": "MIN", "model": per_unit("1")}, {"code": "MSG", "model": per_unit("1")}
PLAN = {"code": "PLAN", "kind": "recurring", "model": {"kind": "flat", "amount": "50"}}


def test_a_pool_is_shared_in_proportion_and_to_the_last_unit() -> None:
    """100 units over 70, 20 and 30 of usage: a sixth is left to each."""
    prices = book(MIN, allowances=[{"id": "pool", "units": "100", "charges": ["MIN"], "places": 0}])
    usage = [used("min", "70", "S1"), used("min", "20", "S2"), used("min", "30", "S3")]
    lines = october(prices, [bought("MIN")], usage, "S1", "S2", "S3")
    assert amounts(lines) == {("MIN", "S1"): "12.00", ("MIN", "S2"): "3.00", ("MIN", "S3"): "5.00"}
    assert drawn(lines) == {"pool": 100}


def test_a_pool_in_order_serves_the_first_site_first() -> None:
    prices = book(MIN, allowances=[{"id": "pool", "units": "100", "charges": ["MIN"], "share": "in_order"}])
    usage = [used("min", "20", "S2"), used("min", "90", "S1")]
    lines = october(prices, [bought("MIN")], usage, "S1", "S2")
    assert amounts(lines) == {("MIN", "S2"): "10.00", ("MIN", "S1"): "0.00"}


def test_an_allowance_grows_with_what_was_bought_of_the_plan_that_grants_it() -> None:
    allowance = {"id": "pool", "units": "10", "charges": ["MIN"], "granted_by": "PLAN"}
    prices = book(MIN, PLAN, allowances=[allowance])
    usage = [used("min", "25")]
    with_two = october(prices, [bought("MIN"), bought("PLAN", quantity="2")], usage)
    assert amounts(with_two)["MIN", None] == "5.00"
    assert amounts(october(prices, [bought("MIN")], usage)) == {("MIN", None): "25.00"}


def test_free_units_grow_with_consumption_in_whole_units_up_to_a_cap() -> None:
    earned = {"driver": "min", "per": "100", "cap": "3"}
    prices = book(MIN, MSG, allowances=[{"id": "gift", "charges": ["MSG"], "earned": earned}])

    def messages(minutes: str) -> str:
        usage = [used("min", minutes), used("msg", "10")]
        return amounts(october(prices, [bought("MIN"), bought("MSG")], usage))["MSG", None]

    assert [messages(minutes) for minutes in ("99", "100", "299.9", "900")] == ["10.00", "9.00", "8.00", "7.00"]


def test_an_allowance_in_steps_takes_the_last_step_its_driver_reached() -> None:
    steps = [{"at_least": "0", "units": "1"}, {"at_least": "50", "units": "4"}]
    prices = book(MIN, MSG, allowances=[{"id": "gift", "driver": "min", "steps": steps, "charges": ["MSG"]}])

    def messages(minutes: str) -> str:
        usage = [used("min", minutes), used("msg", "10")]
        return amounts(october(prices, [bought("MIN"), bought("MSG")], usage))["MSG", None]

    assert (messages("49"), messages("50")) == ("9.00", "6.00")


def test_one_pool_over_two_products_goes_to_its_charges_in_their_order_by_weight() -> None:
    """40 minutes take 80 of 100 units; 20 of 30 messages take the rest."""
    pool = {"id": "pool", "units": "100", "charges": ["MIN", "MSG"], "weights": {"MIN": "2"}}
    lines = october(
        book(MIN, MSG, allowances=[pool]), [bought("MIN"), bought("MSG")], [used("min", "40"), used("msg", "30")]
    )
    assert amounts(lines) == {("MIN", None): "0.00", ("MSG", None): "10.00"}
    assert drawn(lines) == {"pool": 100}


def test_usage_that_two_charges_price_draws_an_allowance_once() -> None:
    fee = {"code": "FEE", "meter": "min", "model": per_unit("0.5")}
    prices = book(MIN, fee, allowances=[{"id": "pool", "units": "6", "charges": ["MIN", "FEE"]}])
    lines = october(prices, [bought("MIN"), bought("FEE")], [used("min", "10")])
    assert amounts(lines) == {("MIN", None): "4.00", ("FEE", None): "2.00"}
    assert drawn(lines) == {"pool": 6}


def test_a_correction_below_zero_draws_nothing() -> None:
    assert draw(Fraction(10), [Fraction(-5), Fraction(20)], 6) == [0, 10]


@pytest.mark.parametrize(
    ("minutes", "told"), [("49", []), ("50", ["50"]), ("85", ["50", "80"]), ("200", ["50", "80", "100"])]
)
def test_an_account_is_told_once_per_threshold_of_its_allowance(minutes: str, told: list[str]) -> None:
    prices = book(MIN, allowances=[{"id": "pool", "units": "100", "charges": ["MIN"]}])
    lines = october(prices, [bought("MIN")], [used("min", minutes)])
    found = alerts(prices, lines, {"pool": Fraction(100)})
    assert [one.id.rsplit(":", 1)[1] for one in found] == told
