"""``tieout mappings``: what an operator and a finance clerk see of the mapping files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli_mappings import app
from tests.core.mapping.written import COUNTRIES, book_folder, file

FIELDS = """
name: {path: name, max: 40, too_long: cut, owner: them}
terms: {path: payment_terms_days, only_create: true}
exempt: {path: tax_exemption, missing: default, default: null}
parent: {object: {internalId: {ref: parent_id, resource: customer, missing: skip}}}
country: {lookup: billing_address.country, table: countries, unknown: park}
currency: {enum: currency, values: {USD: "1", EUR: "2"}}
label: {text: ["{id}", "{name}"], join: " ", note: printed on the envelope}
kind: {const: company, when: {path: parent_id, present: true}, otherwise: {const: person}}
tags: {list: [{const: hub}, {path: currency}]}
sites:
  each: sites
  fields: {code: {path: id}, of: {path: $.id}}
"""
EXAMPLE = """
- name: none
  in: {id: A-1, name: Acme, email: a@b.example, currency: USD, billing_address: {line1: x, city: y, country: FR}}
  parks: "erp:thing:FR"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return book_folder(
        tmp_path, erp_account=file(FIELDS, "account", "out", examples=EXAMPLE), tables_countries=COUNTRIES
    )


def run(*words: object) -> tuple[int, str]:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_check_lists_what_loads_and_ends_well(folder: Path) -> None:
    code, text = run("check", "--folder", folder)
    assert code == 0
    assert "erp/account.yaml" in text
    assert "1 mappings load, 0 problems" in text


def test_check_tells_each_problem_with_its_line_and_fails(folder: Path) -> None:
    book_folder(folder, erp_broken=file("x: {path: nme}", "account", "out"))
    code, text = run("check", "--folder", folder)
    assert code == 1
    assert "erp/broken.yaml:9: fields.x.path: there is no field nme; did you mean name?" in text
    code, text = run("check", "--folder", folder, "--json")
    assert code == 1
    data = json.loads(text)
    assert [mapping["file"] for mapping in data["mappings"]] == ["erp/account.yaml"]
    assert data["problems"] == [
        {
            "file": "erp/broken.yaml",
            "line": 9,
            "field": "fields.x.path",
            "message": "there is no field nme; did you mean name?",
        }
    ]


def test_test_runs_the_examples_of_the_files(folder: Path) -> None:
    assert run("test", "--folder", folder) == (0, "1 examples of 1 mappings, 0 differences, 0 load problems\n")
    assert run("test", "--folder", folder, "--system", "crm")[1].startswith("0 examples of 0 mappings")


def test_test_shows_each_difference_and_fails(folder: Path) -> None:
    path = folder / "erp" / "account.yaml"
    path.write_text(path.read_text().replace("erp:thing:FR", "erp:thing:DE"))
    code, text = run("test", "--folder", folder)
    assert code == 1
    assert "erp/account.yaml: none: parks: expected 'erp:thing:DE', got 'erp:thing:FR'" in text
    code, text = run("test", "--folder", folder, "--json")
    assert code == 1
    assert json.loads(text)["failures"][0]["example"] == "none"


def test_show_prints_each_rule_in_words(folder: Path) -> None:
    code, text = run("show", "erp", "account", "--folder", folder, "--json")
    assert code == 0
    (shown,) = json.loads(text)
    rows = {row["field"]: row for row in shown["fields"]}
    assert rows["name"]["rule"] == "as it is, at most 40 characters, longer: cut; their value wins"
    assert rows["terms"]["rule"] == "as it is; only when created"
    assert rows["exempt"]["missing"] == "null instead"
    assert rows["  internalId"] == {
        "field": "  internalId",
        "takes": "parent_id",
        "rule": "its id as customer at the same system",
        "missing": "left out",
        "note": "",
    }
    assert rows["country"]["rule"] == "table countries, another word: the record waits"
    assert rows["currency"]["rule"] == "USD ↔ '1', EUR ↔ '2'"
    assert rows["label"]["note"] == "printed on the envelope"
    assert rows["kind"]["rule"] == "always; only when parent_id is present"
    assert rows["  otherwise"]["takes"] == "'person'"
    assert rows["  [1]"]["takes"] == "currency"
    assert rows["  of"]["takes"] == "$.id"
    assert run("show", "erp", "account", "--folder", folder)[0] == 0


def test_show_of_what_is_not_there_says_what_is(folder: Path) -> None:
    code, text = run("show", "erp", "invoice", "--folder", folder)
    assert code == 1
    assert "no mapping of invoice at erp loads; there is account" in text


def test_every_mapping_of_the_product_can_be_shown() -> None:
    code, text = run("check", "--json")
    assert code == 0
    for mapping in json.loads(text)["mappings"]:
        assert run("show", mapping["file"].split("/")[0], mapping["record"])[0] == 0
