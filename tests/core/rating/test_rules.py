"""Conditions over other products: which fire, in which order, and what they may never do."""

from __future__ import annotations

from datetime import date

import pytest
from pydantic import ValidationError

from core.errors import Rejected, TieBroken
from core.money import Money
from core.rating import explain
from core.rating.check import check_bill
from tests.core.rating.books import amounts, book, bought, october, per_unit, used

MIN, MSG = {"code": "MIN", "model": per_unit("1")}, {"code": "MSG", "model": per_unit("1")}


def rule(ident: str, then: dict, on: list[str], *when: dict) -> dict:
    return {"id": ident, "then": then, "on": on, "when": list(when)}


def off(percent: str) -> dict:
    return {"kind": "percent_off", "percent": percent}


def reaches(measure: str, of: str, at_least: str) -> dict:
    return {"measure": measure, "of": [of], "at_least": at_least}


def bill(rules: list[dict], minutes: str = "100", messages: str = "50", *more: dict):
    charges = [MIN, MSG, *more]
    prices = book(*charges, rules=rules)
    lines = october(prices, [bought(one["code"]) for one in charges], [used("min", minutes), used("msg", messages)])
    return prices, lines


def test_a_threshold_on_one_product_discounts_another() -> None:
    rules = [rule("bonus", off("10"), ["MSG"], reaches("quantity", "MIN", "100"))]
    assert amounts(bill(rules, "100")[1])["MSG", None] == "45.00"
    assert amounts(bill(rules, "99.99")[1])["MSG", None] == "50.00"


def test_the_explanation_says_which_condition_fired_with_which_value() -> None:
    _, lines = bill([rule("bonus", off("10"), ["MSG"], reaches("quantity", "MIN", "100"))], "120")
    assert "bonus: 10 percent off 50.00 USD (quantity of MIN is 120, at least 100): -5.00 USD" in explain(lines[1])


def test_a_rule_reads_amounts_after_the_rules_that_act_on_them_wherever_they_stand() -> None:
    """MIN is 100 less 20 %, which is below 90, so MSG keeps its price although its rule stands first."""
    rules = [
        rule("second", off("50"), ["MSG"], reaches("amount", "MIN", "90")),
        rule("first", off("20"), ["MIN"]),
    ]
    assert amounts(bill(rules)[1]) == {("MIN", None): "80.00", ("MSG", None): "50.00"}


def test_rules_that_wait_for_each_other_are_refused_when_the_book_loads() -> None:
    rules = [
        rule("a", off("1"), ["MIN"], reaches("amount", "MSG", "1")),
        rule("b", off("1"), ["MSG"], reaches("amount", "MIN", "1")),
    ]
    with pytest.raises(ValidationError, match="rules wait for each other"):
        book(MIN, MSG, rules=rules)


def test_a_fixed_amount_is_shared_to_the_cent_and_never_takes_more_than_there_is() -> None:
    ten = rule("ten", {"kind": "amount_off", "amount": "10"}, [])
    assert amounts(bill([ten], "20", "10")[1]) == {("MIN", None): "13.33", ("MSG", None): "6.67"}
    assert amounts(bill([ten], "2", "1")[1]) == {("MIN", None): "0.00", ("MSG", None): "0.00"}


def test_a_maximum_over_several_charges_takes_off_what_is_above_it() -> None:
    most = rule("most", {"kind": "maximum", "amount": "90"}, ["MIN", "MSG"])
    assert amounts(bill([most])[1]) == {("MIN", None): "60.00", ("MSG", None): "30.00"}


def test_a_hard_entitlement_refuses_usage_above_it_and_a_soft_one_does_not() -> None:
    def limited(limit: str):
        return bill([rule("cap", {"kind": "entitlement", "units": "99", "limit": limit}, ["MIN"])])

    assert amounts(limited("soft")[1])["MIN", None] == "100.00"
    with pytest.raises(Rejected, match="100 units of MIN are more than the 99 allowed"):
        limited("hard")


def commitment(amount: str, counts: str = "net") -> dict:
    model = {"kind": "commitment", "amount": amount, "counts": counts}
    return {"code": "PLEDGE", "kind": "recurring", "timing": "arrears", "model": model}


def test_a_commitment_bills_what_is_missing_after_discounts_or_as_listed() -> None:
    discount = [rule("ten", off("10"), ["MIN"])]
    assert amounts(bill(discount, "100", "50", commitment("200"))[1])["PLEDGE", None] == "60.00"
    assert amounts(bill(discount, "100", "50", commitment("200", "listed"))[1])["PLEDGE", None] == "50.00"
    assert amounts(bill(discount, "400", "50", commitment("200"))[1])["PLEDGE", None] == "0.00"


def test_what_earlier_bills_of_the_term_charged_counts_toward_a_commitment() -> None:
    prices = book(MIN, {**commitment("1200"), "every_months": 12})
    charges = [bought("MIN"), bought("PLEDGE", ends_on=date(2026, 11, 1))]
    lines = october(prices, charges, [used("min", "100")], billed={"MIN": Money.of(300, "USD")})
    # 304 of 365 days of the pledge, less 400 billed.
    assert amounts(lines)["PLEDGE", None] == "599.45"


def test_the_checker_refuses_a_bill_whose_rule_took_off_something_else() -> None:
    prices, lines = bill([rule("bonus", off("10"), ["MSG"])])
    told = lines[1].derivation
    less = told.adjustments[0].model_copy(update={"amount": told.adjustments[0].amount + told.adjustments[0].amount})
    forged = lines[1].model_copy(
        update={
            "derivation": told.model_copy(update={"adjustments": (less,)}),
            "amount": lines[1].amount + told.adjustments[0].amount,
        }
    )
    with pytest.raises(TieBroken, match="rule took off what it says"):
        check_bill([lines[0], forged], prices)
