"""Figures stay exact at any size."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from core.exact import to_decimal
from core.money import Money, plain
from core.rational import Fraction


@given(st.integers())
def test_money_shows_every_digit_it_has(minor) -> None:
    """Also beyond the 28 digits at which decimal arithmetic rounds."""
    assert Fraction(Money(minor, "USD").amount) * 100 == minor


@given(st.integers(), st.sampled_from(["JPY", "USD", "BHD", "CLF"]))
def test_money_is_written_as_the_number_that_it_is(minor, currency) -> None:
    """With the decimals of its currency, none, two, three or four, also below zero and below one."""
    assert plain(minor, currency) == str(Money(minor, currency).amount)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6))
def test_a_figure_whose_digits_end_is_shown_whole(value) -> None:
    assert to_decimal(Fraction(value)) == value


def test_a_figure_whose_digits_do_not_end_is_shown_to_twelve_places() -> None:
    assert to_decimal(Fraction(2, 3)) == Decimal("0.666666666667")
    assert str(to_decimal(Fraction(30))) == "30"
