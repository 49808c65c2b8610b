"""Databases for the tests: each test that asks for one runs on SQLite and on PostgreSQL, fresh and migrated."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from shutil import copyfile

import pytest
from hypothesis import HealthCheck, settings

from core.store import Database
from tests import postgres

# How long an example takes says something of the machine, not of the product.
settings.register_profile("tieout", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tieout")

#: What takes longest is begun first, so that both workers end together.
LONGEST = ("tests/app/test_demo.py", "tests/app/test_close_without_power.py", "tests/simulation/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: next((places[name] for name in LONGEST if item.nodeid.startswith(name)), len(places)))


@pytest.fixture(scope="session")
def postgres_databases() -> Iterator[postgres.Databases]:
    """One server per test process, started by the first test that needs it."""
    try:
        with postgres.server() as url:
            yield postgres.Databases(url)
    except postgres.NoPostgres as reason:
        pytest.skip(f"skipped: no PostgreSQL: {reason}")


@pytest.fixture(scope="session")
def postgres_template(postgres_databases: postgres.Databases) -> Iterator[str]:
    url = postgres_databases.create()
    _migrate(url)
    yield postgres_databases.name(url)
    postgres_databases.drop(url)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "tieout.db"
    _migrate(f"sqlite:///{path}")
    return path


def _migrate(url: str) -> None:
    database = Database(url)
    database.migrate()
    database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a database without any table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    databases: postgres.Databases = request.getfixturevalue("postgres_databases")
    url = databases.create()
    yield url
    databases.drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a migrated database without any row."""
    if request.param == "sqlite":
        path = tmp_path / "tieout.db"
        copyfile(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    databases: postgres.Databases = request.getfixturevalue("postgres_databases")
    url = databases.create(request.getfixturevalue("postgres_template"))
    yield url
    databases.drop(url)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A migrated database without any row, open."""
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture(scope="session")
def forks() -> multiprocessing.context.ForkServerContext:
    """Child processes that start with the slow imports done; their server ends with this process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["flows.deliver", "flows.close_books", "app.webhooks", "connectors.stripe_gateway", "connectors.netsuite"]
    )
    return context


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many calls of each system and operation were found as published, and which operations nothing describes."""
    for report in terminalreporter.getreports("passed"):
        for name, told in getattr(report, "user_properties", ()):
            if name == "conformance" and report.when == "call":
                system, valid, unpublished = told
                counts = ", ".join(f"{operation} {count}" for operation, count in sorted(valid.items()))
                terminalreporter.write_line(f"{system}: {sum(valid.values())} calls as published: {counts}")
                for operation, count in sorted(unpublished.items()):
                    terminalreporter.write_line(f"{system}: {count} calls of no published operation: {operation}")
