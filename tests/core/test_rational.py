"""Compiled fractions are those of the standard library, and leave the interpreter as it was."""

from __future__ import annotations

import fractions
import math
import operator
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from core.rational import ExactFraction, Fraction

ADAPTER = TypeAdapter(ExactFraction)
BINARY = (operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, divmod)
COMPARED = (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge)
UNARY = (operator.neg, abs, int, round, math.floor, math.ceil, math.trunc, hash, str, bool)
FIGURES = (
    st.fractions()
    | st.integers().map(fractions.Fraction)
    | st.decimals(allow_nan=False, allow_infinity=False).map(fractions.Fraction)
)


def ours(value: fractions.Fraction) -> Fraction:
    return Fraction(value.numerator, value.denominator)


@settings(max_examples=400)
@given(FIGURES, FIGURES, st.integers(), st.integers(-6, 6), st.integers(-4, 4))
def test_every_operation_gives_what_the_standard_library_gives(a, b, n, places, power) -> None:
    """Between fractions and with whole numbers on either side, and as text and hash."""
    for one in UNARY:
        assert one(ours(a)) == one(a)
    assert round(ours(a), places) == round(a, places)
    for one in COMPARED:
        assert one(ours(a), ours(b)) == one(a, b)
        assert (one(ours(a), n), one(n, ours(a)), one(ours(a), b)) == (one(a, n), one(n, a), one(a, b))
    for one in BINARY:
        for left, right in ((a, b), (a, n), (n, b)):
            if right:
                mine = [ours(x) if isinstance(x, fractions.Fraction) else x for x in (left, right)]
                assert one(*mine) == one(left, right)
    if a:
        assert ours(a) ** power == a**power
    assert sum([ours(a), ours(b)], Fraction(0)) == a + b


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_a_decimal_becomes_the_same_fraction(figure) -> None:
    assert Fraction(figure) == fractions.Fraction(figure)


@given(FIGURES)
def test_a_fraction_survives_json(value) -> None:
    assert ADAPTER.validate_json(ADAPTER.dump_json(ours(value))) == value


def test_a_number_is_no_fraction_in_json() -> None:
    with pytest.raises(ValidationError):
        ADAPTER.validate_json("0.1")
    with pytest.raises(ValidationError):
        ADAPTER.validate_python(Decimal("0.1"))


def test_reading_a_fraction_of_one_digit_leaves_the_bytes_that_the_interpreter_shares() -> None:
    """A compiled library that writes into the interpreter's own objects would change what every other one sees."""
    for digit in "0123456789":
        assert (Fraction(digit), ADAPTER.validate_json(f'"{digit}"')) == (int(digit), int(digit))
    assert [bytes([code])[0] for code in range(256)] == list(range(256))
