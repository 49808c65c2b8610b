"""Sites priced together, with prices that look at the parts of the usage."""

from __future__ import annotations

import pytest

from core.errors import Rejected, TieBroken
from core.rating.check import check_bill
from tests.core.rating.books import amounts, book, bought, october, per_unit, used

PEAK = {
    "kind": "matrix",
    "cells": [
        {"when": {"time": "peak"}, "model": {"kind": "graduated", "tiers": [{"up_to": "100", "unit_amount": "1"}, {}]}},
        {"when": {}, "model": per_unit("0.5")},
    ],
}
USAGE = [
    used("min", "60", "S1", time="peak"),
    used("min", "60", "S2", time="peak"),
    used("min", "20", "S2", time="night"),
    used("min", "20", "S3", time="night"),
]


def test_a_pooled_matrix_is_priced_once_and_shared_by_usage() -> None:
    """120 peak minutes together pass the 100 of the first tier: 100.00 + 40 x 0.5 = 120.00 over 60, 80 and 20."""
    lines = october(book({"code": "MIN", "scope": "pool", "model": PEAK}), [bought("MIN")], USAGE, "S1", "S2", "S3")
    assert amounts(lines) == {("MIN", "S1"): "45.00", ("MIN", "S2"): "60.00", ("MIN", "S3"): "15.00"}


def test_each_site_alone_reaches_its_own_tiers() -> None:
    lines = october(book({"code": "MIN", "model": PEAK}), [bought("MIN")], USAGE, "S1", "S2", "S3")
    assert amounts(lines) == {("MIN", "S1"): "60.00", ("MIN", "S2"): "70.00", ("MIN", "S3"): "10.00"}


def test_one_line_for_the_account_takes_all_sites() -> None:
    lines = october(book({"code": "MIN", "scope": "account", "model": PEAK}), [bought("MIN")], USAGE, "S1", "S2", "S3")
    assert amounts(lines) == {("MIN", None): "120.00"}


def test_the_checker_refuses_a_pool_that_lost_a_share() -> None:
    prices = book({"code": "MIN", "scope": "pool", "model": PEAK})
    lines = october(prices, [bought("MIN")], USAGE, "S1", "S2", "S3")
    with pytest.raises(TieBroken, match="shares = pooled amount"):
        check_bill(lines[:2], prices)


def test_a_part_that_no_cell_prices_is_refused_by_its_dimensions() -> None:
    only = {"kind": "matrix", "cells": PEAK["cells"][:1]}
    with pytest.raises(Rejected, match="no cell prices usage of"):
        october(book({"code": "MIN", "model": only}), [bought("MIN")], USAGE, "S1", "S2", "S3")
