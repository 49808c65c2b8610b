"""docs/connectors/README.md says what every system can do; its tables are those of the connectors, or this fails."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from connectors.registry import SYSTEMS
from connectors.wire import BaseConnector
from core.mapping import load_book
from core.ports import Guard, Resource

ROOT = Path(__file__).parents[2]
README = ROOT / "docs" / "connectors" / "README.md"
ROLES = ("crm", "billing", "tax", "gateway", "erp")
BLANK = "–"


def resources(system: str) -> Mapping[str, Resource]:
    found: Mapping[str, Resource] = import_module(SYSTEMS[system].module).RESOURCES
    return found


@cache
def directions() -> dict[tuple[str, str], set[str]]:
    """By system and resource, the directions of the mappings that use it."""
    found: dict[tuple[str, str], set[str]] = {}
    for one in load_book(ROOT / "mappings"):
        found.setdefault((one.system, one.resource), set()).add(str(one.direction))
    return found


def playing(role: str) -> list[str]:
    return [name for name, system in SYSTEMS.items() if system.role == role]


def rows(role: str) -> list[str]:
    """Every resource that a system of the role has, in the order of their tables."""
    return list(dict.fromkeys(name for system in playing(role) for name in resources(system)))


def cell(system: str, resource: str) -> str:
    """What the system can do with the record: mapped, or else what its connector is ready for."""
    row = resources(system).get(resource)
    if row is None:
        return BLANK
    mapped = directions().get((system, resource), set())
    verbs = [verb for direction, verb in (("out", "write"), ("in", "read")) if direction in mapped]
    return ", ".join(verbs) or ("(read)" if row.guard is Guard.READ_ONLY else "(write)")


def table(role: str) -> str:
    systems = playing(role)
    head = [f"| Record | {' | '.join(SYSTEMS[name].title for name in systems)} |", "|---" * (len(systems) + 1) + "|"]
    return "\n".join(
        [*head, *(f"| `{name}` | {' | '.join(cell(system, name) for system in systems)} |" for name in rows(role))]
    )


def systems_table() -> str:
    lines = [
        "| System | Role | Webhooks | A repeated write makes no second object by | Page |",
        "|---|---|---|---|---|",
    ]
    for name, system in SYSTEMS.items():
        guards = "; ".join(sorted({row.guard.value for row in resources(name).values()} - {Guard.READ_ONLY.value}))
        webhooks, page = "yes" if receives(name) else "no", f"{name}.md"
        lines.append(f"| {system.title} | {system.role} | {webhooks} | {guards} | [{page}]({page}) |")
    return "\n".join(lines)


def receives(system: str) -> bool:
    """Whether the connector takes webhooks."""
    module = import_module(SYSTEMS[system].module)
    (kind,) = {
        one
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, BaseConnector) and one.__module__ == module.__name__
    }
    return kind.events is not BaseConnector.events


def section(name: str) -> str:
    """What stands between the markers of a table."""
    found = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- end -->", README.read_text(encoding="utf-8"), re.S)
    assert found is not None, f"{README.name} has no <!-- {name} --> ... <!-- end -->"
    return found[1]


def test_every_system_of_the_registry_is_listed_with_its_page() -> None:
    """A system without a page cannot be set up."""
    assert section("systems") == systems_table(), f"write between the markers:\n{systems_table()}"
    assert [name for name in SYSTEMS if not (README.parent / f"{name}.md").is_file()] == []


@pytest.mark.parametrize("role", ROLES)
def test_the_table_of_a_role_is_what_its_connectors_and_mappings_can_do(role: str) -> None:
    assert section(role) == table(role), f"write between the markers of {role}:\n{table(role)}"


def blanks(role: str) -> Iterator[tuple[str, str]]:
    for name in rows(role):
        yield from ((name, system) for system in playing(role) if cell(system, name) == BLANK)


@pytest.mark.parametrize("role", ROLES)
def test_each_blank_is_a_stated_decision(role: str) -> None:
    """``- `record` (System, System): why.`` in the section of the role, for each blank and for nothing else."""
    text = README.read_text(encoding="utf-8").split(f"<!-- {role} -->")[1].split("\n## ")[0]
    titles = {system.title: name for name, system in SYSTEMS.items()}
    stated = {
        (record, titles[title])
        for record, listed in re.findall(r"^- `(\w+)` \(([^)]+)\): \S", text, re.M)
        for title in listed.split(", ")
    }
    assert stated == set(blanks(role))
