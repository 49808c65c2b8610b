"""No file, however written, does anything but load, or be refused with its problems."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import MappingError, Parked, TieBroken
from core.mapping import inspect_book
from core.mapping.spec import OPERATORS
from tests.core.mapping.written import COUNTRIES, account, book_folder, file

ACCOUNT = [
    "id", "name", "email", "currency", "timezone", "billing_address", "sites", "contacts", "parent_id",
    "payment_terms_days", "tax_exemption", "source_system", "source_id", "line1", "city", "country", "nothing",
]  # fmt: skip
path = st.sampled_from(
    [*ACCOUNT, "$.id", "^.id", "^.^.id", "contacts[0].email", "sites[].address", "billing_address.country",
     "__class__", "id.__class__.__mro__", "sites[0].__init__.__globals__", "a..b", "", "{id}", "().x", "x" * 300]
)  # fmt: skip
literal = st.sampled_from(
    [None, True, 0, 1, -1, "", "USD", "skip", "default", "iso", "UTC", "half_up", "cut", [], {}, "{id"]
)
condition = st.fixed_dictionaries(
    {"path": path}, optional={"equals": literal, "in": st.lists(literal, max_size=2), "present": literal}
)
modifiers: dict[str, st.SearchStrategy[Any]] = {
    "missing": st.sampled_from(["skip", "park", "fail", "default", "never"]),
    "null": st.sampled_from(["skip", "fail"]),
    "empty": st.sampled_from(["missing", "null"]),
    "unknown": st.sampled_from(["skip", "park", "fail", "default"]),
    "default": literal,
    "when": condition,
    "currency": path | st.just({"const": "USD"}),
    "max": st.integers(-1, 5),
    "too_long": st.sampled_from(["cut", "fail"]),
    "places": st.integers(-1, 3),
    "round": st.sampled_from(["half_up", "sideways"]),
    "format": st.sampled_from(["iso", "noon_instant", "epoch_s"]),
    "timezone": st.sampled_from(["UTC", "Mars/Base"]),
    "sign": st.just("negate"),
    "as": st.just("text"),
    "unit": st.sampled_from(["minor", "major"]),
    "join": st.just(", "),
    "only_create": st.booleans(),
    "read": st.sampled_from(["forward", "backward"]),
}


@st.composite
def operators(draw: st.DrawFn, depth: int = 2) -> Any:
    """An operator that is nearly right: of the grammar's own words, seldom in the right order."""
    name = draw(st.sampled_from(list(OPERATORS)))
    inner = operators(depth - 1) if depth else st.fixed_dictionaries({"path": path})
    fields = st.dictionaries(st.sampled_from(ACCOUNT), inner, max_size=3)
    made: dict[str, Any] = {name: draw(path)}
    match name:
        case "const":
            made = {"const": draw(literal)}
        case "text":
            plain = path.filter(lambda one: "__" not in one)  # words of the file itself reach nothing
            made = {"text": draw(st.lists(path.map("{{{}}}".format) | plain, max_size=3))}
        case "each":
            made["fields"] = draw(fields)
        case "object":
            made = {"object": draw(fields)}
        case "list":
            made = {"list": draw(st.lists(inner, max_size=2))}
        case "sum":
            made["of"] = draw(inner)
        case "lookup":
            made["table"] = draw(st.sampled_from(["countries", "nowhere"]))
        case "ref":
            made["resource"] = "customer"
        case "enum":
            made["values"] = draw(st.dictionaries(st.sampled_from(["USD", "US", "true", "x"]), literal, max_size=2))
    for modifier in draw(st.lists(st.sampled_from(list(modifiers)), max_size=2, unique=True)):
        made[modifier] = draw(modifiers[modifier])
    if "when" in made:
        made["otherwise"] = draw(st.sampled_from(["skip", "park", "fail"]) | inner)
    return made


#: What an account cannot be without, so that one odd rule of direction in is tried among sound ones.
SOUND: dict[str, Any] = {
    **{name: {"path": name, "missing": "fail"} for name in ("id", "name", "email")},
    "currency": {"const": "USD"},
    "billing_address": {"object": {name: {"const": "US"} for name in ("line1", "city", "country")}},
}
PAYLOAD = {"id": "A-1", "name": "Acme", "email": "a@b.example", "sites": [], "contacts": [{"email": "c"}]}


class NoAliases(yaml.SafeDumper):
    """Writes a value out each time it stands in the data."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


@given(st.dictionaries(st.sampled_from(ACCOUNT), operators(), min_size=1, max_size=2), st.sampled_from(["out", "in"]))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_file_breaks_the_engine_or_reaches_beyond_the_noun(fields: dict[str, Any], direction: str) -> None:
    """Hostile paths, wrong kinds and senseless modifiers are problems of the file; what loads also runs to its end."""
    fields = fields if direction == "out" else SOUND | fields
    text = file(yaml.dump(fields, Dumper=NoAliases), "account", direction)
    with tempfile.TemporaryDirectory() as name:
        book, problems = inspect_book(book_folder(Path(name), erp_one=text, tables_countries=COUNTRIES))
    assert bool(problems) is not bool(book.mappings)
    assert all(problem.line > 0 and problem.message for problem in problems)
    for mapping in book:
        try:
            made = mapping.out(account(), lambda *_: None) if direction == "out" else mapping.into(PAYLOAD)
        except (MappingError, Parked, TieBroken):
            continue
        assert "__" not in str(made)
