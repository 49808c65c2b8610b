"""An eleventh system needs a connector, an emulator, mappings, a page, and one line in the registry; nothing else.

``tests/eleventh`` holds what a vendor would bring, each file where it would lie, and its part of the contract suite.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from shutil import copytree

import pytest

import connectors
import sandbox
import tests.connectors
from connectors.registry import SYSTEMS, System
from flows import deliver
from flows.context import Hub
from sandbox import server
from tests.conformance.capture import contract_suite
from tests.connectors.test_contract import case_of
from tests.flows.hubs import ROOT, account, hub_with, intent

pytestmark = pytest.mark.server

HERE = Path(__file__).parent
#: What DESIGN names, beside the line in the registry.
BROUGHT = ("connectors/toybooks.py", "docs/toybooks.md", "mappings/toybooks/account.yaml", "sandbox/toybooks.py")
TESTS = ("__init__.py", "contract_toybooks.py", "test_eleventh.py")


@pytest.fixture
def eleventh() -> Iterator[str]:
    """The system's files among the others, and its line in the registry."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            SYSTEMS, "toybooks", System("connectors.toybooks", "Toybooks", "erp", domains=("toybooks.example",))
        )  # type: ignore[arg-type]
        for package, folder in ((connectors, "connectors"), (sandbox, "sandbox"), (tests.connectors, "")):
            patch.setattr(package, "__path__", [*package.__path__, str(HERE / folder)])
        yield "toybooks"
    for name in ("connectors.toybooks", "sandbox.toybooks", "tests.connectors.contract_toybooks"):
        sys.modules.pop(name, None)


def hub_of(system: str, url: str, folder: Path) -> Hub:
    copytree(ROOT / "mappings" / "tables", folder / "mappings" / "tables")
    copytree(HERE / "mappings" / system, folder / "mappings" / system)
    hub = hub_with(f"sqlite:///{folder / 'tieout.db'}", folder, {system: case_of(system).settings(url)})
    hub.settings = hub.settings.model_copy(update={"mappings_folder": folder / "mappings"})
    return hub


def test_an_eleventh_system_brings_the_files_that_are_promised_and_no_other() -> None:
    files = {
        str(file.relative_to(HERE)) for file in HERE.rglob("*") if file.is_file() and "__pycache__" not in file.parts
    }
    assert files == {*BROUGHT, *TESTS}


def test_the_contract_suite_finds_an_eleventh_system_through_the_registry(
    eleventh: str, sqlite_template: Path, tmp_path: Path
) -> None:
    calls = contract_suite(eleventh, sqlite_template, tmp_path)
    assert {call.system for call in calls} == {eleventh}
    assert len(calls) > 50


def test_the_contract_suite_fails_for_an_eleventh_system_that_does_not_keep_it(
    eleventh: str, sqlite_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connector = import_module("connectors.toybooks").Toybooks
    monkeypatch.setattr(connector, "find", lambda _self, _resource, _key: None)
    with pytest.raises(AssertionError):
        contract_suite(eleventh, sqlite_template, tmp_path)


def test_flows_deliver_to_an_eleventh_system_by_its_mapping(eleventh: str, tmp_path: Path) -> None:
    with server.start([eleventh]) as running:
        hub = hub_of(eleventh, running.urls[eleventh], tmp_path)
        with hub.database.work() as work:
            work.outbox.enqueue([intent(eleventh, account(number)) for number in (1, 2)])
        report = deliver.deliver_system(hub, eleventh)
        assert (report.counts["created"], report.failures) == (2, [])
        assert [one["name"] for one in running.emulators[eleventh].shelf.all("customer")] == [
            "Customer 1",
            "Customer 2",
        ]
        assert [finding.ok for finding in hub.connector(eleventh).check()] == [True]
        hub.close()
