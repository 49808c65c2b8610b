"""What stands in a file is what is read."""

from __future__ import annotations

from decimal import Decimal

import pytest
import yaml

from core import strict_yaml
from core.strict_yaml import DEEPEST, LARGEST, YamlProblem, read


@pytest.fixture(params=["CSafeLoader", "SafeLoader"], autouse=True)
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both parsers of PyYAML must agree; which one is there depends on how it was built."""
    monkeypatch.setattr(strict_yaml, "_PARSER", getattr(yaml, request.param))


@pytest.mark.parametrize(
    "text",
    ["no", "yes", "on", "off", "y", "012", "0o17", "0x1F", "12:30:45", "1_000", "1e5", ".5", "5.", ".inf", ".nan", "+1",
     "2026-10-31", "2026-10-31T12:00:00Z", "007.5", "<<", "="],
)  # fmt: skip
def test_a_plain_scalar_of_old_yaml_stays_text(text: str) -> None:
    """Nothing is a number, a date or a truth that does not look like one everywhere."""
    assert read(f"a: {text}".encode()).data == {"a": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("False", False), ("null", None), ("~", None), ("", None), ("12", 12), ("-1", -1), ("0", 0)],
)
def test_a_plain_constant_is_what_it_looks_like(text: str, value: object) -> None:
    found = read(f"a: {text}".encode()).data["a"]
    assert (found, type(found)) == (value, type(value))


def test_a_plain_number_with_a_point_is_exact() -> None:
    """A decimal is never read through a float."""
    found = read(b"a: 12.30").data["a"]
    assert isinstance(found, Decimal)
    assert str(found) == "12.30"


@pytest.mark.parametrize("text", ["'12'", '"12"', "|-\n  12", ">-\n  12"])
def test_quoted_text_stays_text(text: str) -> None:
    assert read(f"a: {text}".encode()).data == {"a": "12"}


def test_keys_are_always_text() -> None:
    assert read(b"{1: a, true: b, no: c, 2026-10-31: d}").data == {"1": "a", "true": "b", "no": "c", "2026-10-31": "d"}


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("a: 1\nb: 2\na: 3", "the key 'a' stands here twice", 3),
        ("1: a\n'1': b", "stands here twice", 2),
        ("a: &x 1", "anchors and aliases", 1),
        ("a: 1\nb: *x", "anchors and aliases|undefined alias", 2),
        ("a: !!float 1", "the tag", 1),
        ("a: !!python/object/apply:os.system [ls]", "the tag", 1),
        ("? [a]\n: 1", "a key must be plain text", 1),
        ("&k a: 1", "a key must be plain text", 1),
        ("a: 1\n---\nb: 2", "one document", 2),
        ("a: }", "not YAML", 1),
        ("a: \x01", "not YAML", 1),
        ("", "empty", 1),
        ("# only words", "empty", 1),
    ],
)
def test_what_surprises_is_refused_with_its_line(text: str, message: str, line: int) -> None:
    with pytest.raises(YamlProblem, match=message) as caught:
        read(text.encode())
    assert caught.value.line == line


def test_the_depth_is_bounded() -> None:
    """A hundred thousand brackets end at the depth limit, not at the stack."""
    assert read(b"[" * DEEPEST + b"]" * DEEPEST)
    with pytest.raises(YamlProblem, match="nested deeper"):
        read(b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1))
    with pytest.raises(YamlProblem):
        read(b"a: " + b"[" * 100_000)


def test_the_size_is_bounded() -> None:
    with pytest.raises(YamlProblem, match="larger"):
        read(b"a: " + b"x" * LARGEST)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(YamlProblem, match="UTF-8"):
        read(b"a: \xff")


def test_each_value_knows_its_line() -> None:
    document = read(b"a: 1\nb:\n  c: 2\n  d:\n    - 3\n    - e: 4\n")
    assert [document.line(route) for route in [("a",), ("b",), ("b", "d"), ("b", "d", 1, "e")]] == [1, 2, 4, 6]


def test_an_unknown_route_has_the_line_of_what_is_around_it() -> None:
    document = read(b"a: 1\nb:\n  c: 2\n")
    assert document.line(("b", "c", "x", 3)) == 3
