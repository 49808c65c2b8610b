"""The files of the product, and of its documentation: they load, do what they say, and fit their connectors."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from connectors.registry import SYSTEMS
from core.mapping import Mapping, load_book
from core.mapping.book import operators
from core.mapping.spec import Ref
from core.ports import Resource
from tests.core.mapping.written import book_folder

ROOT = Path(__file__).parents[3]
BOOK = load_book(ROOT / "mappings")


def resources(system: str) -> dict[str, Resource]:
    return dict(import_module(SYSTEMS[system].module).RESOURCES)


@pytest.mark.parametrize("mapping", BOOK.mappings, ids=lambda mapping: mapping.file)
class TestEachFile:
    def test_it_does_what_its_examples_say(self, mapping: Mapping) -> None:
        assert mapping.run_examples() == []

    def test_its_resource_and_key_are_those_of_the_connector(self, mapping: Mapping) -> None:
        row = resources(mapping.system)[mapping.resource]
        assert mapping.spec.key is None or mapping.spec.key.to == row.key_field

    def test_the_ids_it_refers_to_are_of_resources_that_exist(self, mapping: Mapping) -> None:
        for name, operator in operators(mapping.spec.fields):
            if isinstance(operator, Ref):
                assert operator.resource in resources(operator.system or mapping.system), name


def test_the_files_of_the_documentation_load_and_do_what_they_say(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "mappings.md").read_text(), re.DOTALL)
    (whole,) = [block for block in blocks if block.startswith("system:")]
    (table,) = [block for block in blocks if block.startswith("name:")]
    book_folder(tmp_path, netsuite_whole=whole)
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "netsuite_currency.yaml").write_text(table)
    (mapping,) = load_book(tmp_path)
    assert mapping.run_examples() == []
