"""docs/mappings.md tells the truth: its examples of live schemas, started files and merges are run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from core.mapping import load_book
from core.mapping.drift import drifts
from core.mapping.merge import merge
from core.mapping.scaffold import Header, draft
from core.ports import DescribedField, FieldKind
from tests.core.mapping.written import file, found_in, out

ROOT = Path(__file__).parents[3]
BLOCKS = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "mappings.md").read_text(), re.DOTALL)


def block(beginning: str) -> dict[str, Any]:
    (found,) = [one for one in BLOCKS if one.startswith(beginning)]
    return yaml.safe_load(found)  # type: ignore[no-any-return]


def described(told: dict[str, Any]) -> dict[str, DescribedField]:
    return {
        name: DescribedField(
            FieldKind(one["kind"]),
            length=one.get("length"),
            words=frozenset(one.get("words", ())),
            required=one.get("required", False),
        )
        for name, one in told.items()
    }


def test_the_differences_of_the_page_are_those_that_a_check_finds() -> None:
    told = block("fields:\n  Name:")
    mapping = out(yaml.safe_dump(told["fields"], sort_keys=False))
    there = {"externalId": DescribedField(FieldKind.TEXT), **described(told["described"])}
    found = {one.field: str(one.kind) for one in drifts(mapping, there)}
    assert found == told["differences"]


def test_the_started_file_of_the_page_is_the_one_that_is_made() -> None:
    told = block("described:")
    header = Header("erp", "account", "thing", "out", "test", "test", "externalId")
    made = draft(header, described(told["described"]), load_book(ROOT / "mappings", ["salesforce"]))
    assert yaml.safe_load(made.text)["fields"] == told["starts"]
    assert list(made.undecided) == told["undecided"]


def test_a_started_file_with_an_undecided_field_names_it_when_it_is_loaded() -> None:
    told = block("described:")
    problems = found_in(file(yaml.safe_dump(told["starts"]), "account", "out"))
    assert [problem.field for problem in problems] == [f"fields.{name}" for name in told["undecided"]]


def test_the_merges_of_the_page_come_out_as_it_says() -> None:
    told = block("said_last:")
    last = {"name": told["said_last"]}
    for case in told["cases"]:
        held = {"name": case["they_hold"]}
        merged = merge({"name": case["we_say"]}, held, last, last, {"name": case["owner"]})
        assert {**held, **merged.payload}["name"] == case["stands"], case
        assert bool(merged.conflicts) == case.get("contested", False), case
