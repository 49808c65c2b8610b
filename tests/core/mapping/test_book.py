"""A folder of mapping files: loaded whole or not at all, found by what they carry, versioned by what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import MappingError
from core.mapping import BrokenBook, Failure, inspect_book, load_book
from tests.core.mapping.written import COUNTRIES, book_folder, file, found_in, into, out

LOOKUP = "a: {lookup: billing_address.country, table: countries}"


def test_every_problem_of_every_file_is_told_with_its_line(tmp_path: Path) -> None:
    folder = book_folder(
        tmp_path,
        erp_a=file("x: {path: nme}\ny: {path: parent_id}", "account", "out"),
        erp_b="system: }",
        crm_c=file("x: {path: id}", "acount", "out"),
        tables_t="name: other\nvalues: {a: b}",
    )
    with pytest.raises(BrokenBook) as caught:
        load_book(folder)
    told = [(problem.file, problem.line, problem.field) for problem in caught.value.problems]
    assert told == [
        ("crm/c.yaml", 1, "system"),
        ("crm/c.yaml", 2, "record"),
        ("erp/a.yaml", 9, "fields.x.path"),
        ("erp/a.yaml", 10, "fields.y"),
        ("erp/b.yaml", 1, ""),
        ("tables/t.yaml", 1, "name"),
    ]
    assert isinstance(caught.value, MappingError)
    assert "erp/a.yaml:9: fields.x.path: there is no field nme; did you mean name?" in str(caught.value)


def test_a_broken_file_does_not_hide_the_others(tmp_path: Path) -> None:
    """An operator who checks a folder sees what loads beside what does not."""
    folder = book_folder(tmp_path, erp_a=file("x: {path: id}", "account", "out"), erp_b="a: &x 1")
    book, problems = inspect_book(folder)
    assert [mapping.file for mapping in book] == ["erp/a.yaml"]
    assert [problem.file for problem in problems] == ["erp/b.yaml"]


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (("direction: out", "direction: both"), "direction"),
        (("resource: thing", ""), "resource"),
        (("api: test", "api: test\ncolour: red"), "colour"),
        (("key: {to: externalId, from: id}\n", ""), "file"),
        (("system: erp", "system: Erp"), "system"),
        (("  - {name: none, in: {}, fails: id}", "  []"), "examples"),
        (("{name: none, in: {}, fails: id}", "{name: none, in: {}}"), "examples[0]"),
        (("{name: none, in: {}, fails: id}", "{name: none, in: {}, fails: id, out: {}}"), "examples[0]"),
    ],
)
def test_the_header_is_checked(header: tuple[str, str], told: str) -> None:
    (problem, *_) = found_in(file("a: {path: id}", "account", "out").replace(*header))
    assert (problem.field or "file") == told


def test_two_files_cannot_carry_the_same(tmp_path: Path) -> None:
    text = file("x: {path: id}", "account", "out")
    with pytest.raises(MappingError, match=r"erp/b.yaml:1: file: carries the same as erp/a.yaml"):
        load_book(book_folder(tmp_path, erp_a=text, erp_b=text))


def test_a_mapping_is_found_by_what_it_carries(tmp_path: Path) -> None:
    text = file("x: {path: id}", "account", "out")
    other = text.replace("resource: thing", "resource: other")
    book = load_book(book_folder(tmp_path, erp_a=text, erp_b=other, crm_c=text.replace("erp", "crm")))
    assert book.find("crm", "account", "out").file == "crm/c.yaml"
    assert book.find("erp", "account", "out", "other").file == "erp/b.yaml"
    with pytest.raises(MappingError, match=r"several mappings carry account out: say which resource \(thing, other\)"):
        book.find("erp", "account", "out")
    with pytest.raises(MappingError, match="no mapping of account in"):
        book.find("erp", "account", "in")
    with pytest.raises(MappingError, match="no mapping of account out for nothing"):
        book.find("erp", "account", "out", "nothing")


def test_the_version_changes_with_the_file_and_with_the_tables_it_uses(tmp_path: Path) -> None:
    """A record synced last year can be shown with the rules of that day."""

    def version(text: str, tables: str) -> str:
        folder = book_folder(
            tmp_path, erp_a=text, tables_countries=tables, tables_unused=f'name: unused\nvalues: {{a: "{tables[-4]}"}}'
        )
        return load_book(folder).find("erp", "account", "out").version

    text = file(LOOKUP, "account", "out")
    first = version(text, COUNTRIES)
    assert first == version(text, COUNTRIES)
    assert len(first) == 12
    assert len({first, version(text + "\n", COUNTRIES), version(text, COUNTRIES.replace("840", "8400"))}) == 3
    plain = file("a: {path: id}", "account", "out")
    assert version(plain, COUNTRIES) == version(plain, COUNTRIES.replace("840", "8400"))


def test_examples_that_come_out_as_said_are_silent() -> None:
    assert out("a: {path: id}").examples[0].fails == "id"


ACCOUNT = "{id: A-1, name: Acme, email: a@b.example, currency: USD, billing_address: {line1: x, city: y, country: US}}"


@pytest.mark.parametrize(
    ("fields", "example", "failures"),
    [
        ("a: {path: id}", f"{{name: e, in: {ACCOUNT}, out: {{a: A-1}}}}", []),
        ("a: {path: id}", f"{{name: e, in: {ACCOUNT}, out: {{a: A-2}}}}", [("a", "A-2", "A-1")]),
        ("a: {path: id}", f"{{name: e, in: {ACCOUNT}, out: {{b: 1}}}}", [("b", 1, "nothing"), ("a", "nothing", "A-1")]),
        ("a: {const: 1}", f"{{name: e, in: {ACCOUNT}, out: {{a: '1'}}}}", [("a", "1", 1)]),
        ("a: {const: 1}", f"{{name: e, in: {ACCOUNT}, out: {{a: true}}}}", [("a", True, 1)]),
        ("a: {const: [1, 2]}", f"{{name: e, in: {ACCOUNT}, out: {{a: [1, 3]}}}}", [("a[1]", 3, 2)]),
        ("a: {const: [1, 2]}", f"{{name: e, in: {ACCOUNT}, out: {{a: [1]}}}}", [("a", [1], [1, 2])]),
        ("a: {path: id}", f"{{name: e, in: {ACCOUNT}, fails: a}}", [("", "a", {"a": "A-1"})]),
        ("a: {path: parent_id, missing: fail}", f"{{name: e, in: {ACCOUNT}, fails: a}}", []),
        ("a: {ref: id, resource: c}", f"{{name: e, in: {ACCOUNT}, parks: 'erp:c:A-1'}}", []),
        ("a: {ref: id, resource: c}", f"{{name: e, in: {ACCOUNT}, out: {{a: 7}}}}", [("parks", None, "erp:c:A-1")]),
        ("a: {ref: id, resource: c}", f"{{name: e, in: {ACCOUNT}, refs: {{'erp:c:A-1': '7'}}, out: {{a: '7'}}}}", []),
        (
            "a: {path: id}",
            "{name: e, in: {id: 5}, out: {}}",
            [("id", "a valid account", "Input should be a valid string")],
        ),
    ],
)
def test_an_example_that_comes_out_otherwise_says_where(
    tmp_path: Path, fields: str, example: str, failures: list[tuple[str, object, object]]
) -> None:
    folder = book_folder(tmp_path, erp_a=file(fields, "account", "out", examples=f"- {example}"))
    found = load_book(folder).find("erp", "account", "out").run_examples()
    assert found == [Failure("e", *failure) for failure in failures]


def test_an_example_that_comes_in_is_compared_with_the_noun_it_names(tmp_path: Path) -> None:
    """Money, dates and quantities are compared by value, fields with a default may be left out."""
    fields = """
    code: {path: id, missing: fail}
    name: {path: name, missing: fail}
    tax_code: {const: P}
    revenue_account: {const: "4000"}
    """
    examples = """
    - {name: right, in: {id: P-1, name: x}, out: {code: P-1, name: x, tax_code: P, revenue_account: "4000"}}
    - {name: wrong, in: {id: P-1, name: x}, out: {code: P-1, name: y, tax_code: P, revenue_account: "4000"}}
    - {name: refused, in: {id: P-1}, fails: name}
    - {name: not refused, in: {id: P-1, name: x}, fails: name}
    """
    folder = book_folder(tmp_path, erp_a=file(fields, "product", "in", examples=examples))
    failures = load_book(folder).find("erp", "product", "in").run_examples()
    assert [(failure.example, failure.path) for failure in failures] == [("wrong", "name"), ("not refused", "")]


def test_an_example_of_a_broken_tie_names_the_tie(tmp_path: Path) -> None:
    fields = """
    id: {path: id, missing: fail}
    payment_id: {const: P}
    currency: {const: USD}
    gross: {money: gross, currency: {const: USD}, missing: fail}
    fee: {money: fee, currency: {const: USD}, missing: fail}
    net: {money: net, currency: {const: USD}, missing: fail}
    available_on: {instant: at, missing: fail}
    kind: {const: payment}
    """
    given = "{id: S, gross: 10, fee: 1, net: 8, at: '2026-10-31T00:00:00Z'}"
    examples = f"""
    - {{name: named, in: {given}, fails: settlement gross = net + fee}}
    - {{name: unforeseen, in: {given}, fails: net}}
    """
    folder = book_folder(tmp_path, erp_a=file(fields, "settlement", "in", examples=examples))
    failures = load_book(folder).find("erp", "settlement", "in").run_examples()
    assert [failure.example for failure in failures] == ["unforeseen"]


def test_a_mapping_knows_what_it_carries() -> None:
    mapping = into("account_id: {path: a, missing: fail}")
    assert (mapping.system, mapping.record, mapping.direction, mapping.resource) == (
        "erp",
        "payment_request",
        "in",
        "thing",
    )
