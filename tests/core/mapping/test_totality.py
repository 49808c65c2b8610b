"""Whatever comes in, a mapping ends in a noun or in an error that names the field; and no float ever goes out."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import MappingError, Parked, TieBroken
from core.mapping import Mapping, load_book
from core.mapping.examples import noun_of
from tests.core.mapping.test_in import PAYMENT, TAX, answer
from tests.core.mapping.written import into

FILES = Path(__file__).parents[3] / "mappings"
TAX_IN, PAYMENT_IN = into(TAX, "tax_document"), into(PAYMENT, "payment")

odd = st.sampled_from(
    [None, "", " ", "\x00", "\ud800", "0", "-1", "1e9", "NaN", "2026-02-30", "USD", True, False, 0, -1, 10**40, 1.5,
     float("nan"), float("inf"), Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal("1e999999"),
     Decimal("-0"), [], {}, [[]], [None], {"": None}, "x" * 100_000, b"bytes", object()]
)  # fmt: skip
scalar = odd | st.text(max_size=20) | st.integers() | st.decimals() | st.floats()
json = st.recursive(scalar, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))


def ends_well(mapping: Mapping, payload: Any) -> None:
    """A noun without a float, or an error of the expected kinds that names file and field in printable text."""
    told = None
    try:
        noun = mapping.into(payload)
    except MappingError as error:
        told = error
    except (Parked, TieBroken):
        return
    if told is None:
        assert not list(floats(noun.model_dump()))
    else:
        assert (told.file, bool(told.field)) == (mapping.file, True)
        str(told).encode()


def floats(value: Any) -> Iterator[float]:
    match value:
        case float():
            yield value
        case dict():
            for item in value.values():
                yield from floats(item)
        case list() | tuple():
            for item in value:
                yield from floats(item)


@given(st.dictionaries(st.sampled_from(list(answer())), json))
def test_no_payload_of_a_tax_engine_breaks_the_mapping(payload: dict[str, Any]) -> None:
    ends_well(TAX_IN, payload)


@given(st.sampled_from(["id", "amount", "paid", "at", "reason"]), json)
def test_one_odd_field_is_refused_or_taken_exactly(name: str, value: Any) -> None:
    ends_well(PAYMENT_IN, {"id": "P", "amount": 1, "paid": True, "at": 0, name: value})


@given(json)
def test_no_payload_of_another_form_breaks_the_mapping(payload: Any) -> None:
    ends_well(TAX_IN, payload)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container of a payload with each of its keys."""
    if isinstance(value, (dict, list)):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places(value[key])


ALL_IN = [mapping for mapping in load_book(FILES) if mapping.direction == "in"]
ALL_OUT = [mapping for mapping in load_book(FILES) if mapping.direction == "out"]


@pytest.mark.parametrize("mapping", ALL_IN, ids=lambda mapping: mapping.file)
@given(st.integers(0, 2**32), odd)
@settings(max_examples=30)
def test_no_damage_to_a_real_answer_passes_unnoticed(mapping: Mapping, seed: int, value: Any) -> None:
    """Each file of the product, its own example with one place damaged or removed."""
    chance = random.Random(seed)
    payload = copy.deepcopy(chance.choice(mapping.examples).given)
    at, key = chance.choice(list(places(payload)))
    if isinstance(at, dict) and chance.random() < 0.3:
        del at[key]
    else:
        at[key] = value
    ends_well(mapping, payload)


@pytest.mark.parametrize("mapping", ALL_OUT, ids=lambda mapping: mapping.file)
def test_no_float_goes_out(mapping: Mapping) -> None:
    """Amounts and quantities of the real files are exact numbers or text."""
    for example in mapping.examples:
        if example.gives is not None:
            made = mapping.out(noun_of(mapping.noun, example.given), example.known)
            assert not list(floats(made))
