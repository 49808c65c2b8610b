"""Every page in docs/connectors is followed literally, against the sandbox: configurations, commands, programs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import httpx
import pytest

from connectors.registry import SYSTEMS
from core.ports import World
from flows.settings import load
from sandbox import server

pytestmark = pytest.mark.server

PAGES = Path(__file__).parents[2] / "docs" / "connectors"
#: curl that fails where the sandbox refuses, and the Python of this process.
PREAMBLE = 'set -euo pipefail\ncurl() { command curl --fail-with-body -sS "$@"; }\n'
#: Where a page has the sandbox.
HERE = re.compile(r"http://127\.0\.0\.1:(\d{4}|<port>)")


def page_of(system: str) -> Path:
    return PAGES / f"{system}.md"


def blocks(system: str, *languages: str) -> Iterator[str]:
    """The fenced blocks of a page, without prompts; those of ``tieout`` itself need a company, and are not commands."""
    text = page_of(system).read_text(encoding="utf-8")
    for language, block in re.findall(r"^ *```(\w+)\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
        if language in languages and not block.startswith("$ tieout"):
            yield re.sub(r"^\$ ", "", dedent(block), flags=re.MULTILINE)


def test_every_system_has_a_page_that_names_its_settings() -> None:
    for name, system in SYSTEMS.items():
        text = page_of(name).read_text(encoding="utf-8")
        for setting in system.settings_type().model_fields:
            assert f"`{setting}`" in text or f"{setting} =" in text, (name, setting)


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_shell_commands_of_a_page_work_against_the_sandbox(system: str, tmp_path: Path) -> None:
    script = "".join(blocks(system, "sh", "console"))
    if not script:
        pytest.skip(f"skipped: the page of {system} has no commands")
    with server.start([system]) as running:
        url = running.urls[system]
        running.emulators[system].webhooks.url = f"{url}/_sandbox/objects"
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", f"{PREAMBLE}URL={url}\n{HERE.sub(url, script)}"],
            env={**os.environ, "PATH": path, "NO_PROXY": "*"}, cwd=tmp_path, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("system", [one for one in SYSTEMS if any(blocks(one, "python"))])
def test_the_python_of_a_page_works_against_the_sandbox(system: str) -> None:
    with server.start([system]) as running:
        for block in blocks(system, "python"):
            try:
                exec(compile(HERE.sub(running.urls[system], block), str(page_of(system)), "exec"), {})
            except ModuleNotFoundError as lacking:
                pytest.skip(f"skipped: {lacking.name} is not installed; it is of the group judges")


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_configuration_of_a_page_satisfies_the_doctor(system: str, tmp_path: Path) -> None:
    """That for the sandbox is enough by itself; the others of a page, for the vendor, are such as are taken."""
    file = tmp_path / "tieout.toml"
    there = {f"{name.upper()}_PASSWORD": "secret" for name in SYSTEMS}
    configurations = list(blocks(system, "toml"))
    for block in configurations:
        file.write_text(block)
        assert list(load(file, there).systems) == [system]
    (here,) = [one for one in configurations if HERE.search(one)]
    with server.start([system]) as running:
        file.write_text(HERE.sub(running.urls[system], here))
        connector = SYSTEMS[system].connect(load(file, {}).systems[system], World())
        assert [one for one in connector.check() if not one.ok] == []
        connector.close()


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_call_of_the_sandbox_that_a_page_names_is_there(system: str) -> None:
    """Calls in running text, some with their body."""
    text = page_of(system).read_text(encoding="utf-8")
    calls = re.findall(r"`(POST|DELETE) (/_sandbox/[\w/]+)\s*(\{[^`]*\})?`", text)
    with server.start([system]) as running, httpx.Client(base_url=running.urls[system]) as http:
        for method, path, body in calls:
            status = http.request(method, path, content=body or "{}").status_code
            assert status < 300 if body else status not in (404, 405), (method, path, body, status)


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_setting_that_a_page_tells_is_one(system: str) -> None:
    """The names in the first column of the table of settings."""
    known = SYSTEMS[system].settings_type().model_fields
    text = page_of(system).read_text(encoding="utf-8").partition("\n## Settings")[2].partition("\n## ")[0]
    told = [name for row in re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)]
    assert set(told) <= set(known)
