"""The command line over a small company whose month is done, and what it prints."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from app import cli
from flows.context import hub
from flows.settings import CONFIG_VARIABLE
from tests.flows.conftest import closed
from tests.flows.world import Company

__all__ = ["closed"]


@dataclass(frozen=True)
class Said:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON value on stdout."""
        return json.loads(self.out)


Tieout = Callable[..., Said]


@pytest.fixture
def tieout(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Tieout]:
    """Runs ``tieout`` in this process, as its entry point does, each time with a hub of its own."""
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.delenv("PREFECT_API_URL", raising=False)

    def run(*arguments: str) -> Said:
        hub.cache_clear()
        monkeypatch.setattr(sys, "argv", ["tieout", *arguments])
        capsys.readouterr()
        code: Any = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    yield run
    hub.cache_clear()


def revealed(value: Any) -> Any:
    """A setting as a file spells it."""
    match value:
        case SecretStr():
            return value.get_secret_value()
        case list() | tuple():
            return [revealed(item) for item in value]
        case bool() | int() | str():
            return value
        case _:
            return str(value)


def table(name: str, settings: BaseModel) -> str:
    """The table of a system in ``tieout.toml``."""
    lines = [f"{key} = {json.dumps(revealed(getattr(settings, key)))}" for key in sorted(settings.model_fields_set)]
    return "\n".join([f"[systems.{name}]", *lines, ""])


@pytest.fixture(scope="module")
def written(closed: Company) -> Path:
    """The configuration of the company as a file."""
    return write_configuration(closed, closed.hub.settings.price_book)


def write_configuration(company: Company, price_book: Path) -> Path:
    """The file that tells the command line of a company, with its price book or another one."""
    settings = company.hub.settings
    top = [
        f"database_url = {json.dumps(settings.database_url)}",
        f"price_book = {json.dumps(str(price_book))}",
        'state_folder = "."',
        "",
    ]
    path = settings.state_folder / "tieout.toml"
    path.write_text("\n".join([*top, *(table(name, one) for name, one in settings.systems.items())]))
    return path


@pytest.fixture
def configured(written: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment of an operator of the company."""
    monkeypatch.setenv(CONFIG_VARIABLE, str(written))
    return written
