"""Compiled fractions leave the interpreter as it was."""

from __future__ import annotations

from pydantic import TypeAdapter

from core.rational import ExactFraction


def test_reading_a_fraction_of_one_digit_leaves_the_bytes_that_the_interpreter_shares() -> None:
    """quicktions 1.24 writes a text of one character over ``b"\\0"``, which every library then sees as another."""
    adapter = TypeAdapter(ExactFraction)
    for digit in "0123456789":
        assert adapter.validate_json(f'"{digit}"') == int(digit)
    assert [bytes([code])[0] for code in range(256)] == list(range(256))
