"""Secrets and card numbers are taken out, wherever others put them, and nothing else is."""

from __future__ import annotations

import pytest

from core.masking import MASKED, Mask


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("card 4242424242424242 was declined", f"card {MASKED}4242 was declined"),
        ("5555 5555 5555 4444", f"{MASKED}4444"),
        ("3782-822463-10005", f"{MASKED}0005"),
        ("4242424242424241", "4242424242424241"),
        ("invoice 20261001123456789", "invoice 20261001123456789"),
        ("4242424242424242.50 USD", "4242424242424242.50 USD"),
        ("pi_4242424242424242", "pi_4242424242424242"),
        ("Authorization: Bearer abc.def-123", f"Authorization: Bearer {MASKED}"),
        ("Basic dXNlcjpwdw==, please", f"Basic {MASKED}, please"),
        ("the whole s3cret/word", f"the whole {MASKED}"),
    ],
)
def test_text_keeps_all_but_secrets_and_card_numbers(text: str, shown: str) -> None:
    assert Mask(["s3cret/word", ""]).text(text) == shown


def test_values_are_masked_by_their_name_at_any_depth() -> None:
    given = {
        "client-secret": "x",
        "items": [{"apiKey": "y", "cvc": 123}],
        "token_id": "t",
        "note": None,
        "password": "",
    }
    assert Mask().value(given) == {
        "client-secret": MASKED,
        "items": [{"apiKey": MASKED, "cvc": MASKED}],
        "token_id": "t",
        "note": None,
        "password": "",
    }


def test_a_card_number_that_is_a_number_is_masked_and_money_is_not() -> None:
    assert Mask().value([4242424242424242, 125000, True]) == [f"{MASKED}4242", 125000, True]
