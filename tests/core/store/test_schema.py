"""The schema that migrations build is the schema that the rows describe, and it keeps the states."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.exc import DatabaseError
from sqlmodel import SQLModel

from core.errors import Misconfigured
from core.store import Database
from core.store import database as stored
from core.sync import COMMAND_TRANSITIONS, INBOX_TRANSITIONS, CommandState, InboxState
from tests.core.store.border import command, event


def test_migrations_build_what_the_rows_describe(database_url: str) -> None:
    engine = create_engine(database_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        differences = [one for one in compare_metadata(context, SQLModel.metadata) if "alembic_version" not in str(one)]
    engine.dispose()
    assert differences == []


def test_the_schema_goes_down_as_it_came_up(database_url: str) -> None:
    from alembic import command as alembic
    from alembic.config import Config

    import core.store

    config = Config()
    config.set_main_option("script_location", str(Path(core.store.__file__).parent / "migrations"))
    engine = create_engine(database_url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        alembic.downgrade(config, "base")
        assert inspect(connection).get_table_names() == ["alembic_version"]
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        alembic.upgrade(config, "head")
        assert "outbox" in inspect(connection).get_table_names()
    engine.dispose()


def test_processes_that_start_together_migrate_once(empty_database_url: str) -> None:
    databases = [Database(empty_database_url) for _ in range(3)]
    with ThreadPoolExecutor(len(databases)) as pool:
        list(pool.map(lambda database: database.migrate(), databases))
    with databases[0].reading() as work:
        assert work.outbox.counts() == {}
    for database in databases:
        database.close()


def test_a_database_of_a_newer_version_is_refused_in_one_sentence(database_url: str) -> None:
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    database = Database(database_url)
    with pytest.raises(Misconfigured, match="newer version of Tieout"):
        database.migrate()
    database.close()


def test_two_migrations_that_follow_the_same_one_are_named(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when two versions of the product were mixed; it is not the database that is newer."""
    folder = tmp_path / "migrations"
    copytree(stored._MIGRATIONS, folder)
    *_, last = sorted((folder / "versions").glob("[0-9]*.py"))
    twin = last.read_text().replace(f'revision = "{last.name[:4]}"', 'revision = "9998"', 1)
    (folder / "versions" / "9998_twin.py").write_text(twin)
    monkeypatch.setattr(stored, "_MIGRATIONS", folder)
    mixed = Database(database_url)
    with pytest.raises(Misconfigured, match=f"its migrations end in {last.name[:4]} and 9998"):
        mixed.migrate()
    mixed.close()


def test_a_database_that_cannot_be_reached_is_named_without_its_password() -> None:
    database = Database("postgresql+psycopg://tieout:s3cret@127.0.0.1:1/none")
    with pytest.raises(Misconfigured) as refused:
        database.migrate()
    assert "127.0.0.1" in str(refused.value)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("table", "states", "allowed"),
    [("inbox", InboxState, INBOX_TRANSITIONS), ("outbox", CommandState, COMMAND_TRANSITIONS)],
)
def test_the_database_itself_keeps_the_states_to_their_graph(
    database: Database, database_url: str, table: str, states: type[StrEnum], allowed: Any
) -> None:
    """Each step is tried by bare SQL, past every repository: exactly those of the transition table succeed."""
    with database.work() as work:
        work.inbox.store(event(), b"")
        work.outbox.enqueue([command()])
    paths = _paths(next(iter(states)), allowed)
    engine = create_engine(database_url)
    for source, target in itertools.permutations(states, 2):
        with engine.connect() as connection:
            for step in paths[source]:
                connection.execute(text(f"UPDATE {table} SET state = '{step}'"))  # noqa: S608
            move = text(f"UPDATE {table} SET state = '{target}'")  # noqa: S608
            if target in allowed[source]:
                assert connection.execute(move).rowcount == 1
            else:
                with pytest.raises(DatabaseError, match="may not"):
                    connection.execute(move)
            connection.rollback()
    engine.dispose()


@pytest.mark.parametrize(("table", "born"), [("inbox", "received"), ("outbox", "pending")])
def test_the_database_itself_refuses_a_row_born_in_another_state(
    database: Database, database_url: str, table: str, born: str
) -> None:
    with database.work() as work:
        work.inbox.store(event(), b"")
        work.outbox.enqueue([command()])
    engine = create_engine(database_url)
    with engine.connect() as connection:
        columns = [one["name"] for one in inspect(connection).get_columns(table) if one["name"] != "state"]
        names = ", ".join(columns)
        copied = text(f"INSERT INTO {table} ({names}, state) SELECT {names}, 'parked' FROM {table}")  # noqa: S608
        with pytest.raises(DatabaseError, match="may not"):
            connection.execute(copied)
    engine.dispose()


def _paths(first: Any, allowed: Any) -> dict[Any, list[Any]]:
    """The steps that lead from the first state to each other one."""
    paths: dict[Any, list[Any]] = {first: []}
    queue = [first]
    while queue:
        here = queue.pop(0)
        for there in allowed[here]:
            if there not in paths:
                paths[there] = [*paths[here], there]
                queue.append(there)
    return paths
