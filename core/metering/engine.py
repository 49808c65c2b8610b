"""A DuckDB session of our own making: bounded memory, a private place to spill, no network, no guessed file names."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import duckdb

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A folder that lives as long as its user: it is locked while in use, so that ``sweep`` can tell the dead ones."""
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(mkdtemp(dir=parent))
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        folder.mkdir(exist_ok=True)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def sweep(parent: Path) -> None:
    """Remove what killed processes left in ``parent``."""
    for folder in parent.glob("*"):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(descriptor)


@contextmanager
def session(spill: Path, memory: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A private in-memory database that spills to ``spill`` beyond ``memory`` (DuckDB's form, ``"2GB"``)."""
    connection = duckdb.connect(
        config={
            "memory_limit": memory,
            "temp_directory": str(spill),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
    )
    try:
        connection.execute("set enable_progress_bar = false; set timezone = 'UTC'")
        yield connection
    finally:
        connection.close()


def literal_path(path: Path) -> str:
    """The path as DuckDB takes it without reading ``*``, ``?`` or ``[`` in it as a pattern."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in str(path.absolute()))


def quoted(text: str) -> str:
    """A text literal."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A quoted column name."""
    return '"' + name.replace('"', '""') + '"'


def microseconds(instant: datetime | None) -> int | None:
    """Microseconds since 1970 UTC."""
    return None if instant is None else (instant - _EPOCH) // timedelta(microseconds=1)


def instant(naive: datetime) -> datetime:
    """A timestamp as the files keep it (naive UTC) with its offset."""
    return naive.replace(tzinfo=UTC)


def table(connection: duckdb.DuckDBPyConnection, name: str, columns: str, rows: Sequence[Sequence[Any]]) -> None:
    """A temporary table of these rows; ``columns`` is its declaration, e.g. ``"meter varchar, increment bigint"``."""
    connection.execute(f"create or replace temp table {name} ({columns})")
    if rows:
        values = ", ".join("unnest(?)" for _ in rows[0])
        connection.execute(f"insert into {name} select {values}", [list(column) for column in zip(*rows, strict=True)])


def fetch(connection: duckdb.DuckDBPyConnection, sql: str, *parameters: Any) -> list[Any]:
    """All rows of a query."""
    return connection.execute(sql, parameters).fetchall()
