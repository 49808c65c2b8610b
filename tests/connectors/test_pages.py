"""The commands of every page in docs/connectors are followed literally, against the sandbox."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.registry import SYSTEMS
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
    """The fenced blocks of a page, without prompts."""
    text = page_of(system).read_text(encoding="utf-8")
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        if language in languages:
            yield re.sub(r"^\$ ", "", block, flags=re.MULTILINE)


def test_every_system_has_a_page_that_names_its_settings() -> None:
    """A page names every setting that has no default."""
    for name, system in SYSTEMS.items():
        text = page_of(name).read_text(encoding="utf-8")
        for setting, field in system.settings_type().model_fields.items():
            if field.is_required():
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


@pytest.mark.parametrize(
    "system", [name for name in SYSTEMS if any("import " in one for one in blocks(name, "python"))]
)
def test_the_python_of_a_page_works_against_the_sandbox(system: str) -> None:
    with server.start([system]) as running:
        for block in blocks(system, "python"):
            exec(compile(HERE.sub(running.urls[system], block), str(page_of(system)), "exec"), {})
