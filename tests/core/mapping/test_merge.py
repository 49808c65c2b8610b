"""A three-way merge sends what we changed, leaves what they changed, and tells what both did."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from core.mapping.merge import Conflict, merge, same, without
from core.mapping.values import ABSENT

OWNED = {"name": "hub"}


def merged(ours: Any, theirs: Any, ours_before: Any, theirs_before: Any, owner: str = "hub") -> Any:
    sides = ({"name": one, "terms": 30} for one in (ours, theirs, ours_before, theirs_before))
    return merge(*sides, owners={"name": owner})


def test_a_field_that_we_alone_changed_is_sent() -> None:
    found = merged("New", "Old", "Old", "Old")
    assert (found.payload, found.kept, found.conflicts) == ({"name": "New", "terms": 30}, (), ())


@pytest.mark.parametrize("owner", ["hub", "them"])
def test_a_field_that_they_alone_changed_is_left_as_they_have_it(owner: str) -> None:
    found = merged("Old", "Theirs", "Old", "Old", owner)
    assert (found.payload, found.kept, found.conflicts) == ({"terms": 30}, ("name",), ())


def test_a_field_once_left_to_them_stays_theirs_until_we_change_it() -> None:
    """After the merge they hold their value and we ours: nobody changed anything since."""
    assert merged("Old", "Theirs", "Old", "Theirs").kept == ("name",)
    assert merged("New", "Theirs", "Old", "Theirs").payload["name"] == "New"


@pytest.mark.parametrize(("owner", "sent"), [("hub", {"name": "New", "terms": 30}), ("them", {"terms": 30})])
def test_a_field_that_both_changed_goes_by_its_owner_and_is_told(owner: str, sent: dict[str, Any]) -> None:
    found = merged("New", "Theirs", "Old", "Old", owner)
    assert (found.payload, found.conflicts) == (sent, (Conflict("name", "Old", "New", "Theirs", owner),))


def test_a_field_that_both_changed_alike_is_no_conflict() -> None:
    found = merged("New", "New", "Old", "Old")
    assert (found.payload["name"], found.conflicts, found.agreed) == ("New", (), ("name",))


def test_a_field_without_an_owner_is_always_sent() -> None:
    assert merge({"a": 1}, {"a": 9}, {"a": 1}, {"a": 1}, {}).payload == {"a": 1}


def test_an_answer_that_did_not_show_the_field_is_taken_as_what_was_sent() -> None:
    assert merge({"name": "New"}, {"name": "Old"}, {"name": "Old"}, {}, OWNED).payload == {"name": "New"}
    assert merge({"name": "Old"}, {"name": "Theirs"}, {"name": "Old"}, {}, OWNED).kept == ("name",)


@pytest.mark.parametrize(
    ("said", "held", "alike"),
    [
        (Decimal("12.30"), "12.3", True),
        (12, Decimal("12.0"), True),
        ("12.30", "12.3", False),
        (True, 1, False),
        (None, ABSENT, True),
        ("", None, True),
        ("", "x", False),
        (0, None, False),
        ({"internalId": "1"}, {"internalId": "1", "name": "USD"}, True),
        ({"internalId": "1", "name": "USD"}, {"internalId": "1"}, False),
        ([1, 2], [1, 2], True),
        ([1], [1, 2], False),
    ],
)
def test_two_spellings_of_one_value_are_the_same(said: Any, held: Any, alike: bool) -> None:
    assert same(said, held) is alike


def test_fields_inside_objects_are_left_out_by_their_dotted_names() -> None:
    payload = {"a": {"b": 1, "c": 2}, "d": 3}
    assert without(payload, ["a.b", "d", "x.y", "d.e"]) == {"a": {"c": 2}}
    assert payload == {"a": {"b": 1, "c": 2}, "d": 3}
