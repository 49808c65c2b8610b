"""What must hold for any price book, quantity and bill."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from core.credits import Fee, Wallet, pay
from core.exact import Remainder, apportion
from core.money import Rounding, round_money, total
from core.rating import Earlier, Measured, Part, Position, RatedLine, price, price_charge
from core.rating.allowance import draw
from core.rating.derivation import amount_of
from core.rating.discount import Coupon, Line, Terms, discount
from core.rational import Fraction
from tests.cases.reading import charge
from tests.core.rating.books import book, bought, october, used

PRICES = st.decimals("0", "50", places=3)
UNITS = st.decimals("0", "3000", places=2)


@st.composite
def tiered(draw_: Any, kind: str) -> dict[str, Any]:
    limits = sorted(draw_(st.sets(st.decimals("1", "2000", places=2), max_size=4)))
    prices = [draw_(PRICES) for _ in range(len(limits) + 1)]
    flats = [draw_(PRICES) for _ in prices]
    rows = [
        {"up_to": limit, "unit_amount": unit, "flat_amount": flat}
        for limit, unit, flat in zip([*limits, None], prices, flats, strict=True)
    ]
    return {"kind": kind, "tiers": [{name: _text(value) for name, value in row.items()} for row in rows]}


def _text(value: Decimal | None) -> str | None:
    return None if value is None else str(value)


GRADUATED, VOLUME, STAIRSTEP = tiered("graduated"), tiered("volume"), tiered("stairstep")
PER_UNIT = PRICES.map(lambda price_: {"kind": "per_unit", "unit_amount": str(price_)})
PACKAGE = st.builds(
    lambda size, price_: {"kind": "package", "package_size": str(size), "package_amount": str(price_)},
    st.integers(1, 500),
    PRICES,
)
MODELS = st.one_of(GRADUATED, VOLUME, STAIRSTEP, PER_UNIT, PACKAGE)


def cost(model: dict[str, Any], quantity: Decimal | Fraction) -> Fraction:
    return amount_of(price(charge(model).model, Measured(Fraction(quantity), (Part({}, Fraction(quantity)),))))


@given(st.one_of(GRADUATED, PER_UNIT, PACKAGE), UNITS, UNITS)
def test_more_usage_never_costs_less_where_each_unit_has_its_own_price(model, one, other) -> None:
    low, high = sorted((one, other))
    assert cost(model, low) <= cost(model, high)


@given(GRADUATED, UNITS)
def test_the_quantities_of_the_tiers_are_the_whole_quantity(model, quantity) -> None:
    units = [tier | {"flat_amount": "0", "unit_amount": "1"} for tier in model["tiers"]]
    assert cost({**model, "tiers": units}, quantity) == Fraction(quantity)


@given(st.one_of(GRADUATED, PER_UNIT, PACKAGE), UNITS, UNITS)
def test_a_period_billed_in_two_parts_costs_what_it_costs_at_once(model, first, second) -> None:
    """The first part and the difference of the second are the price of both together."""
    one = charge(model)
    begun = price_charge(one, [Part({}, Fraction(first))], earlier=Earlier(position=Position.FIRST)).exact
    ended = Earlier(quantity=Fraction(first), amount=begun, position=Position.LAST)
    rest = price_charge(one, [Part({}, Fraction(second))], earlier=ended).exact
    assert begun + rest == cost(model, first + second)


@given(st.decimals("0", "10000", places=4), st.lists(UNITS, min_size=1, max_size=8), st.integers(0, 6))
def test_a_pool_is_drawn_exactly_and_by_nobody_beyond_his_usage(pool, usage, places) -> None:
    wanted = [Fraction(one) for one in usage]
    drawn = draw(Fraction(pool), wanted, places)
    assert sum(drawn) == min(Fraction(pool), sum(wanted))
    assert all(0 <= units <= want for units, want in zip(drawn, wanted, strict=True))


@given(
    st.integers(-(10**7), 10**7),
    st.lists(st.integers(0, 10**6), min_size=1, max_size=9).filter(any),
    st.sampled_from([one for one in Remainder if one is not Remainder.ALONE]),
)
def test_parts_sum_back_to_the_whole_whoever_takes_the_remainder(cents, weights, remainder) -> None:
    assert sum(apportion(Fraction(cents, 100), weights, 2, remainder)) == Fraction(cents, 100)


@st.composite
def bills(draw_: Any) -> tuple[Any, list[Any], list[Any], tuple[str, ...]]:
    """A random book with layers, allowances, rules and a commitment, and random usage of three sites."""
    sites = ("S1", "S2", "S3")
    scopes = {}
    charges = []
    for code in ("AAA", "BBB"):
        model = draw_(MODELS)
        allowed = ["site", "account", "pool"] + (["tier_by_pool"] if model["kind"] == "volume" else [])
        scopes[code] = draw_(st.sampled_from(allowed))
        extra = draw_(
            st.fixed_dictionaries(
                {},
                optional={
                    "discount_percent": st.just("12.5"),
                    "included": st.just("10"),
                    "max_spend": st.just("500"),
                    "min_spend": st.just("3"),
                },
            )
        )
        charges.append({"code": code, "model": model, "scope": scopes[code], **extra})
    charges.append(
        {"code": "PLEDGE", "kind": "recurring", "timing": "arrears", "model": {"kind": "commitment", "amount": "700"}}
    )
    layers = [
        {
            "id": "acc",
            "level": "account",
            "of": "A",
            "effective_from": "2026-01-01",
            "charges": {"AAA": {"discount_percent": "5"}},
        },
        {
            "id": "s1",
            "level": "site",
            "of": "S1",
            "effective_from": "2026-01-01",
            "charges": {"AAA": {"included": "4"}},
        },
    ]
    allowances = [
        {
            "id": "pool",
            "units": str(draw_(UNITS)),
            "charges": ["BBB", "AAA"],
            "share": draw_(st.sampled_from(["proportional", "in_order"])),
        }
    ]
    rules = [
        {
            "id": "r1",
            "then": {"kind": "percent_off", "percent": "7.5"},
            "on": ["AAA"],
            "when": [{"measure": "quantity", "of": ["BBB"], "at_least": "100"}],
        },
        {"id": "r2", "then": {"kind": "amount_off", "amount": "9.99"}, "on": ["BBB", "AAA"]},
        {"id": "r3", "then": {"kind": "maximum", "amount": "900"}, "on": ["AAA"]},
    ]
    parts = {
        "layers": layers[: draw_(st.integers(0, 2))],
        "allowances": allowances[: draw_(st.integers(0, 1))],
        "rules": rules[: draw_(st.integers(0, 3))],
    }
    usage = [
        used(code.lower(), str(draw_(UNITS)), site)
        for code in ("AAA", "BBB")
        for site in draw_(st.sets(st.sampled_from(sites)))
    ]
    return (
        book(
            *charges,
            rounding=draw_(st.sampled_from(list(Rounding))),
            rounding_at=draw_(st.sampled_from(["line", "document"])),
            **parts,
        ),
        [bought("AAA"), bought("BBB"), bought("PLEDGE")],
        usage,
        sites,
    )


POSITIVE = st.decimals("0.01", "500", places=2).map(str)
MONEY = PRICES.map(str)
SIMPLE = st.one_of(GRADUATED, VOLUME, STAIRSTEP, PER_UNIT, PACKAGE)
CELLS = st.lists(
    st.fixed_dictionaries(
        {"when": st.dictionaries(st.sampled_from("xy"), st.sampled_from("12"), max_size=2), "model": SIMPLE}
    ),
    max_size=3,
)
BLOCK = st.fixed_dictionaries({"size": POSITIVE, "price": MONEY}, optional={"max_blocks": st.integers(1, 9)})
STEP = st.fixed_dictionaries({"price": MONEY}).map(lambda step: {**step, "limits": {"1": "999999", "2": None}})
LOOKING = st.one_of(
    st.builds(lambda cells, last: {"kind": "matrix", "cells": [*cells, {"when": {}, "model": last}]}, CELLS, SIMPLE),
    st.builds(
        lambda tiers, policy, last: {
            "kind": "blocks",
            "by": "x",
            "policy": policy,
            "tiers": [
                *({"1": one, "2": one} for one in tiers),
                {unit: {"size": "3", "price": last} for unit in ("1", "2", "")},
            ],
        },
        st.lists(BLOCK.filter(lambda block: "max_blocks" in block), max_size=3),
        st.sampled_from(["fill", "top"]),
        MONEY,
    ),
    st.fixed_dictionaries(
        {"kind": st.just("percentage"), "rate": MONEY},
        optional={
            "fixed_per_event": MONEY,
            "min_per_event": st.just("2"),
            "max_per_event": st.just("20"),
            "free_events": st.integers(0, 4),
            "free_amount": POSITIVE,
        },
    ),
    st.builds(
        lambda windows: {"kind": "committed", "by": "x", "windows": windows},
        st.lists(
            st.fixed_dictionaries(
                {"unit_amount": MONEY},
                optional={
                    "commitment": MONEY,
                    "commitment_units": POSITIVE,
                    "overage_factor": POSITIVE,
                    "true_up": st.sampled_from(["charged", "waived"]),
                },
            ),
            min_size=1,
            max_size=2,
        ),
    ),
    st.builds(lambda steps: {"kind": "capacity", "by": "x", "steps": steps}, st.lists(STEP, min_size=1, max_size=3)),
)
PARTS = st.lists(
    st.tuples(
        st.sampled_from(["S1", "S2"]),
        st.sampled_from("12"),
        st.sampled_from("12"),
        st.lists(UNITS, min_size=1, max_size=3),
    ),
    max_size=5,
)


@settings(max_examples=200, deadline=None)
@given(
    LOOKING,
    PARTS,
    st.sampled_from(["site", "account", "pool"]),
    st.sampled_from([[], ["x"], ["x", "y"]]),
    st.fixed_dictionaries(
        {}, optional={"included": st.just("7"), "min_spend": st.just("1"), "discount_percent": st.just("3")}
    ),
)
def test_models_that_look_at_the_parts_of_usage_agree_with_the_second_road(model, parts, scope, groups, more) -> None:
    """Whatever the scope, the groups and the limits, and with an allowance drawn before."""
    if model["kind"] == "percentage":
        more = {name: value for name, value in more.items() if name != "included"}
    one = {"code": "AAA", "model": model, "scope": scope, "group_by": groups, **more}
    pool = [] if model["kind"] == "percentage" else [{"id": "pool", "units": "11", "charges": ["AAA"]}]
    usage = [
        replace(used("aaa", str(sum(each)), site, x=x, y=y), each=tuple(each), events=len(each))
        for site, x, y, each in parts
    ]
    lines = october(book(one, allowances=pool), [bought("AAA")], usage, "S1", "S2")
    assert sum((line.derivation.measured for line in lines), Fraction(0)) == sum(
        Fraction(one_.quantity) for one_ in usage
    )


@settings(max_examples=150, deadline=None)
@given(bills())
def test_any_bill_passes_the_independent_checker_and_survives_json(given_) -> None:
    """rate raises TieBroken where the second road disagrees with the models; equal arguments give equal bytes."""
    prices, charges, usage, sites = given_
    lines = october(prices, charges, usage, *sites)
    assert all(RatedLine.model_validate_json(line.model_dump_json()) == line for line in lines)
    assert [one.model_dump_json() for one in october(prices, charges, usage, *sites)] == [
        one.model_dump_json() for one in lines
    ]
    assert len({line.id for line in lines}) == len(lines)


@settings(max_examples=60, deadline=None)
@given(bills(), st.randoms())
def test_the_order_in_which_usage_arrives_changes_no_total(given_, random) -> None:
    prices, charges, usage, sites = given_
    shuffled = list(usage)
    random.shuffle(shuffled)
    sums = [total([line.amount for line in october(prices, charges, one, *sites)], "USD") for one in (usage, shuffled)]
    assert sums[0] == sums[1]


@given(
    st.lists(st.decimals("0", "90", places=2), min_size=1, max_size=5),
    st.lists(st.decimals("0", "90", places=2), max_size=5),
)
def test_wallets_never_go_below_zero_and_never_pay_more_than_is_due(fees, balances) -> None:
    paid = pay([Fee(Fraction(one)) for one in fees], [Wallet(str(n), Fraction(one)) for n, one in enumerate(balances)])
    assert all(left >= 0 for left in (*paid.balances, *paid.due))
    assert paid.applied == min(sum(map(Fraction, fees)), sum(map(Fraction, balances)))
    assert paid.applied + paid.left == sum(map(Fraction, fees))


@given(
    st.lists(st.decimals("0", "90", places=2), min_size=1, max_size=5),
    st.lists(
        st.one_of(
            st.decimals("0", "90", places=2).map(lambda a: Coupon(amount=Fraction(a))),
            st.decimals("0", "100", places=1).map(lambda p: Coupon(percent=Fraction(p))),
        ),
        max_size=4,
    ),
)
def test_coupons_never_take_a_line_below_zero_and_are_shared_to_the_cent(amounts_, coupons) -> None:
    done = discount([Line(Fraction(one)) for one in amounts_], coupons, Terms(2))
    assert all(net >= 0 for net in done.nets)
    assert sum(done.lines) == done.total
    assert done.net + done.total == sum(map(Fraction, amounts_))


@given(st.fractions(), st.sampled_from(list(Rounding)), st.sampled_from(["USD", "JPY", "BHD"]))
def test_rounding_is_within_one_minor_unit_and_leaves_exact_amounts_alone(value, mode, currency) -> None:
    rounded = round_money(value, currency, mode)
    unit = Fraction(1, {"USD": 100, "JPY": 1, "BHD": 1000}[currency])
    assert abs(Fraction(rounded.amount) - value) < unit
    assert round_money(rounded.amount, currency, mode) == rounded


@given(st.lists(UNITS, min_size=2, max_size=6, unique=True), PER_UNIT)
def test_volume_of_one_open_tier_is_the_per_unit_price(quantities, model) -> None:
    one_tier = {"kind": "volume", "tiers": [{"unit_amount": model["unit_amount"]}]}
    for low, high in pairwise(quantities):
        assert cost(one_tier, low + high) == cost(model, low) + cost(model, high)
