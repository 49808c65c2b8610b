"""Price layers: the nearest place wins, field by field, from its date on, as far as we knew."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from core.errors import Rejected, TieBroken
from core.rating import explain
from core.rating.check import check
from core.rating.layers import Choice
from tests.core.rating.books import amounts, book, bought, october, per_unit, used

MIN = {"code": "MIN", "model": per_unit("0.10")}


def layer(ident: str, level: str, of: str, price: str | None = None, since: str = "2026-01-01", **more: Any) -> dict:
    fields = ({"model": per_unit(price)} if price else {}) | more.pop("fields", {})
    return {"id": ident, "level": level, "of": of, "effective_from": since, "charges": {"MIN": fields}, **more}


def minutes(*layers: dict, **more: Any):
    lines = october(
        book(MIN, layers=layers),
        [bought("MIN")],
        [used("min", "100", "S1"), used("min", "100", "S2")],
        "S1",
        "S2",
        **more,
    )
    return lines, {site: amount for (_, site), amount in amounts(lines).items()}


def test_a_site_price_wins_over_the_account_price_and_both_over_the_book() -> None:
    _, by_site = minutes(layer("acc", "account", "A", "0.08"), layer("s1", "site", "S1", "0.05"))
    assert by_site == {"S1": "5.00", "S2": "8.00"}


def test_a_subscription_price_wins_over_every_other() -> None:
    _, by_site = minutes(layer("s1", "site", "S1", "0.05"), layer("sub", "subscription", "SUB", "0.02"))
    assert by_site == {"S1": "2.00", "S2": "2.00"}


def test_the_nearest_group_above_a_site_and_the_nearest_account_above_win() -> None:
    layers = (layer("region", "site", "R", "0.06"), layer("parent", "account", "TOP", "0.07"))
    _, by_site = minutes(*layers, hierarchy={"S1": "R", "A": "MID", "MID": "TOP"})
    assert by_site == {"S1": "6.00", "S2": "7.00"}


def test_the_price_of_a_contact_counts_for_that_contacts_usage_alone() -> None:
    prices = book(MIN, layers=[layer("c", "contact", "anna", "0.01")])
    usage = [used("min", "100", "S1", contact="anna"), used("min", "100", "S1", contact="ben")]
    lines = october(prices, [bought("MIN")], usage, "S1")
    assert {line.id: str(line.amount.amount) for line in lines} == {
        "MIN-all@2026-10-01/S1/anna": "1.00",
        "MIN-all@2026-10-01/S1": "10.00",
    }


def test_a_layer_counts_from_its_first_day_to_before_its_last() -> None:
    """A service period takes the prices in force on its first day."""
    _, by_site = minutes(
        layer("over", "account", "A", "0.01", effective_to="2026-10-01"),
        layer("now", "account", "A", "0.02", since="2026-10-01"),
        layer("later", "account", "A", "0.03", since="2026-10-02"),
    )
    assert by_site["S1"] == "2.00"


def test_each_field_is_resolved_by_itself() -> None:
    lines, by_site = minutes(
        layer("free", "account", "A", fields={"included": "40"}), layer("price", "site", "S1", "0.05")
    )
    assert by_site == {"S1": "3.00", "S2": "6.00"}
    assert [(one.field, one.winner) for one in lines[0].derivation.choices] == [
        ("model", "price"),
        ("included", "free"),
    ]


def test_a_layer_recorded_later_than_we_ask_for_is_not_seen() -> None:
    """What did we know on the 3rd gives the bill of the 3rd, to the byte."""
    known = layer("old", "account", "A", "0.08", recorded_at="2026-10-01T00:00:00Z")
    news = layer("new", "account", "A", "0.04", recorded_at="2026-10-05T00:00:00Z")
    third = datetime(2026, 10, 3, tzinfo=UTC)
    lines, by_site = minutes(known, news, known_at=third)
    assert by_site["S1"] == "8.00"
    assert minutes(known, news)[1]["S1"] == "4.00"
    again, _ = minutes(known, news, known_at=third)
    assert [line.model_dump_json() for line in again] == [line.model_dump_json() for line in lines]


def test_something_that_stands_above_itself_is_refused() -> None:
    with pytest.raises(Rejected, match="R stands above itself"):
        minutes(hierarchy={"S1": "R", "R": "Q", "Q": "R"})


def test_a_tiered_price_is_not_replaced_by_the_unit_price_of_an_order() -> None:
    tiers = {"code": "SEAT", "kind": "recurring", "model": {"kind": "volume", "tiers": [{"unit_amount": "1"}]}}
    with pytest.raises(Rejected, match="a volume price cannot be replaced"):
        october(book(tiers), [bought("SEAT", unit_price=Decimal(2))], [])


def test_explain_names_the_layer_that_won_and_those_that_lost() -> None:
    lines, _ = minutes(layer("acc", "account", "A", "0.08"), layer("s1", "site", "S1", "0.05"))
    assert "model by s1, before acc, template" in explain(lines[0])


def test_the_checker_refuses_a_line_priced_by_a_layer_that_is_not_in_force() -> None:
    prices = book(MIN, layers=[layer("old", "account", "A", "0.08", effective_to="2026-10-01")])
    (line,) = october(prices, [bought("MIN")], [used("min", "100")])
    choice = Choice(field="model", winner="old", losers=("template",))
    forged = line.derivation.model_copy(update={"choices": (choice,)})
    with pytest.raises(TieBroken, match="in force"):
        check(line.model_copy(update={"derivation": forged}), prices)
