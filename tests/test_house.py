"""The house keeps its arrows and the few rules that protect money. Each message names the fix."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("core", "connectors", "flows", "app", "sandbox", "mappings", "bench", "tests")

#: What each room may import of ours.
ARROWS = {
    "core": ("core",),
    "connectors": ("connectors", "core.ports", "core.errors"),
    "flows": ("flows", "connectors", "core"),
    "app": ("app", "flows", "connectors", "core", "sandbox"),
    "sandbox": ("sandbox",),
    "mappings": (),
}
#: Rooms of core that others stand on, from the ground up; every other one is a noun and stands between ties and sync.
FLOORS = {
    "errors": 0,
    "rational": 0,
    "values": 0,
    "ports": 1,
    "money": 1,
    "period": 2,
    "noun": 2,
    "ties": 3,
    "sync": 5,
    "mapping": 5,
    "store": 6,
}
NOUNS = 4

VENDORS = re.compile(
    r"salesforce|stripe|netsuite|suitetalk|avalara|avatax|hubspot|dynamics|quickbooks|xero|billingplatform",
    re.IGNORECASE,
)
SQL = re.compile(r"\s*(SELECT\s.+\sFROM|INSERT\s+INTO|UPDATE\s.+\sSET|DELETE\s+FROM|CREATE\s+(TABLE|INDEX))\b", re.S)
SQL_LIBRARIES = {"sqlalchemy", "sqlmodel", "alembic", "sqlite3", "psycopg", "duckdb", "asyncpg"}
WALL_CLOCKS = {
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "datetime.date.today",
    "time.time",
    "time.time_ns",
    "time.localtime",
    "time.gmtime",
}


@dataclass(frozen=True)
class Source:
    """One file: its path from the root, and its text."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @cached_property
    def room(self) -> str:
        return self.path.split("/")[0]

    @cached_property
    def package(self) -> list[str]:
        return list(Path(self.path).parts[:-1])

    def imports(self) -> Iterator[tuple[int, str]]:
        """(line, dotted name) of everything imported, with ``from a import b`` as ``a.b``."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = self.package[: len(self.package) - node.level + 1] if node.level else []
                module = ".".join([*base, *([node.module] if node.module else [])])
                yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)

    def calls(self) -> Iterator[tuple[int, str]]:
        """(line, dotted name) of every call by name."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield node.lineno, ast.unparse(node.func)

    def is_in(self, *places: str) -> bool:
        return any(self.path == place or self.path.startswith(f"{place}/") for place in places)


Finding = tuple[int, str]
Rule = Callable[[Source], Iterator[Finding]]


def _under(name: str, *places: str) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


def arrows(source: Source) -> Iterator[Finding]:
    """core <- connectors <- flows <- app; sandbox and mappings import nothing of ours."""
    for line, name in source.imports():
        if source.room in ARROWS and _under(name, *ROOMS) and not _under(name, *ARROWS[source.room]):
            may = ", ".join(ARROWS[source.room]) or "nothing of ours"
            yield line, f"{source.room}/ imports {name}; it may import {may}: move the code to the room that may"


def floors_of_core(source: Source) -> Iterator[Finding]:
    """money, period <- ties <- nouns <- sync, mapping <- store."""
    if source.room != "core":
        return
    mine = Path(source.path).with_suffix("").parts[1]
    for line, name in source.imports():
        if not _under(name, "core"):
            continue
        theirs = (*name.split("."), "")[1]
        if theirs != mine and FLOORS.get(theirs, NOUNS) > FLOORS.get(mine, NOUNS):
            yield line, f"core.{mine} stands below core.{theirs}: let core.{theirs} import core.{mine} instead"


def no_float_in_core(source: Source) -> Iterator[Finding]:
    """Money and quantities are exact; only seconds (errors, ports) and the likeness of names (site) are floats."""
    if source.room != "core" or source.is_in("core/errors.py", "core/ports.py", "core/mapping/site.py"):
        return
    fix = "use Decimal, Fraction or integer minor units"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, float):
            yield node.lineno, f"the number {node.value} is a float: {fix}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "float":
            yield node.lineno, f"float(...): {fix}"
        for said in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if isinstance(said, ast.expr) and re.search(r"\bfloat\b", ast.unparse(said)):
                yield said.lineno, f"annotated as float: {fix}"


def no_wall_clock(source: Source) -> Iterator[Finding]:
    """The present comes through the Clock of the World, so that tests and simulations own it."""
    if source.room in ("sandbox", "bench", "tests") or source.is_in("core/ports.py"):
        return
    for line, name in source.calls():
        if name in WALL_CLOCKS:
            yield line, f"{name}() is a wall clock: take the instant as an argument, or call world.clock()"


def one_module_imports_httpx(source: Source) -> Iterator[Finding]:
    """Retries, statuses and secrets of calls have one owner."""
    if source.room in ("sandbox", "bench", "tests") or source.is_in("connectors/wire.py"):
        return
    clients = ["httpx", "requests", "urllib3", "aiohttp"]
    if source.room != "app":  # which asks its own processes and sandbox how they are
        clients += ["urllib.request", "http"]
    for line, name in source.imports():
        if _under(name, *clients):
            yield line, f"imports {name}: call through connectors.wire.Wire"


def one_flow_writes_to_vendors(source: Source) -> Iterator[Finding]:
    """A write without a stored intent may happen twice."""
    if source.room in ("connectors", "bench", "tests", "sandbox") or source.is_in("flows/deliver.py"):
        return
    for line, name in source.calls():
        if re.search(r"\.upsert(_many)?$", name):
            yield line, f"{name}(): enqueue an OutboxCommand; only flows/deliver.py writes to a vendor"


def sql_lives_in_the_store(source: Source) -> Iterator[Finding]:
    """The only SQL stands in core/store, and in core/metering for usage files; a vendor's query language is no SQL."""
    if source.room in ("sandbox", "bench", "tests") or source.is_in("core/store", "core/metering"):
        return
    for line, name in source.imports():
        if name.split(".")[0] in SQL_LIBRARIES:
            yield line, f"imports {name}: add a method to core/store and call it"
    if source.room == "connectors" or source.is_in("app/demo"):
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL.match(node.value):
            yield node.lineno, "an SQL statement: move it into core/store"


def no_error_is_swallowed(source: Source) -> Iterator[Finding]:
    """A handler of every exception hides the failure of a money document."""
    if source.room in ("tests", "bench"):
        return
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = "everything" if node.type is None else ast.unparse(node.type)
        wide = node.type is None or re.search(r"\b(Base)?Exception\b", caught)
        if wide and not any(isinstance(inner, ast.Raise) for inner in ast.walk(node)):
            yield node.lineno, f"catches {caught} and goes on: catch the errors that have an answer, raise the rest"


def core_knows_no_vendor(source: Source) -> Iterator[Finding]:
    """A vendor's name in core is knowledge of a wire or a field in the wrong room."""
    if source.room != "core":
        return
    for node in ast.walk(source.tree):
        for word in _words(node):
            if VENDORS.search(word):
                said = word.strip()[:40]
                yield getattr(node, "lineno", 1), f"{said!r} names a vendor: let a mapping or a connector say it"


def _words(node: ast.AST) -> Iterator[str]:
    for name in ("id", "attr", "arg", "name", "module"):
        if isinstance(word := getattr(node, name, None), str):
            yield word
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def flow_files_shadow_no_package(source: Source) -> Iterator[Finding]:
    """Prefect puts the folder of a flow first on sys.path, where its files would hide packages of the same name."""
    stem = Path(source.path).stem
    if source.room != "flows" or stem == "__init__":
        return
    if stem in sys.stdlib_module_names or PathFinder.find_spec(stem, _elsewhere()) is not None:
        yield 1, f"flows/{stem}.py carries the name of an importable package: give it a business name"


def _elsewhere() -> list[str]:
    return [place for place in sys.path if place and Path(place).resolve() not in (ROOT, ROOT / "flows")]


def rooms_are_no_scripts(source: Source) -> Iterator[Finding]:
    """What is run has an entry point in app/."""
    if source.room not in ("core", "connectors", "flows"):
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Compare) and ast.unparse(node.left) == "__name__":
            yield node.lineno, "is run as a script: add a command to app/cli.py"


def only_the_command_line_prints(source: Source) -> Iterator[Finding]:
    """Prefect stores what a run prints, secrets included."""
    if source.room in ("app", "bench", "tests", "sandbox"):
        return
    for line, name in source.calls():
        if name in ("print", "pprint", "sys.stdout.write"):
            yield line, f"{name}(): put it in the Report, or log it"


def data_is_never_code(source: Source) -> Iterator[Finding]:
    """What comes from outside is read by parsers that cannot run anything."""
    if source.room == "tests":
        return
    for node in ast.walk(source.tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
            for name in {"pickle", "marshal", "shelve", "dill", "cloudpickle"} & {n.split(".")[0] for n in names}:
                yield node.lineno, f"imports {name}: keep it as JSON"
    for line, name in source.calls():
        if name in ("eval", "exec", "yaml.unsafe_load", "yaml.full_load", "os.system"):
            yield line, f"{name}(): data is never code"


def nothing_names_this_machine(source: Source) -> Iterator[Finding]:
    """The repository stands alone on any machine."""
    for number, line in enumerate(source.text.splitlines(), 1):
        if re.search(r"(?<![\w.\-])/(work|root)/\w", line):
            yield number, "names a path of one machine: take it from configuration or the environment"


RULES: tuple[Rule, ...] = (
    arrows,
    floors_of_core,
    no_float_in_core,
    no_wall_clock,
    one_module_imports_httpx,
    one_flow_writes_to_vendors,
    sql_lives_in_the_store,
    no_error_is_swallowed,
    core_knows_no_vendor,
    flow_files_shadow_no_package,
    rooms_are_no_scripts,
    only_the_command_line_prints,
    data_is_never_code,
    nothing_names_this_machine,
)


def house() -> Iterator[Source]:
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            yield Source(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_the_rule(rule: Rule) -> None:
    broken = [f"{source.path}:{line}: {message}" for source in house() for line, message in rule(source)]
    assert not broken, "\n" + "\n".join(broken)


@pytest.mark.parametrize(
    ("rule", "path", "snippet"),
    [
        (arrows, "core/orders.py", "from flows.context import Hub"),
        (arrows, "connectors/wire.py", "from core.money import Money"),
        (arrows, "connectors/wire.py", "import core"),
        (arrows, "flows/bill.py", "from app import cli"),
        (arrows, "sandbox/emulator.py", "from core.ports import World"),
        (arrows, "core/store/rows.py", "from ...flows import bill"),
        (floors_of_core, "core/money.py", "from core.ties import require"),
        (floors_of_core, "core/ties.py", "from core.invoicing import Invoice"),
        (floors_of_core, "core/invoicing.py", "from core.store import Database"),
        (floors_of_core, "core/rating/engine.py", "import core.mapping.book"),
        (floors_of_core, "core/mapping/book.py", "from core.store import Work"),
        (no_float_in_core, "core/money.py", "rate = 0.5"),
        (no_float_in_core, "core/money.py", "def f(x: list[float]) -> None: ..."),
        (no_float_in_core, "core/money.py", "def f(x) -> float | None: ..."),
        (no_float_in_core, "core/money.py", "y = float('1')"),
        (no_wall_clock, "flows/bill.py", "from datetime import datetime\nnow = datetime.now()"),
        (no_wall_clock, "core/period.py", "from datetime import date\nnow = date.today()"),
        (no_wall_clock, "app/cli.py", "import time\nnow = time.time()"),
        (one_module_imports_httpx, "connectors/avalara.py", "import httpx"),
        (one_module_imports_httpx, "flows/bill.py", "from requests import get"),
        (one_module_imports_httpx, "flows/bill.py", "from urllib import request"),
        (one_flow_writes_to_vendors, "flows/bill.py", "hub.connector('tax').upsert('invoice', {}, key)"),
        (one_flow_writes_to_vendors, "app/cli.py", "connector.upsert_many('invoice', [])"),
        (sql_lives_in_the_store, "flows/bill.py", "from sqlalchemy import text"),
        (sql_lives_in_the_store, "flows/bill.py", "query = 'select * from invoice'.upper() or 'SELECT a FROM b'"),
        (sql_lives_in_the_store, "app/cli.py", 'run("DELETE FROM outbox")'),
        (no_error_is_swallowed, "flows/bill.py", "try: x()\nexcept Exception: pass"),
        (no_error_is_swallowed, "flows/bill.py", "try: x()\nexcept: pass"),
        (no_error_is_swallowed, "app/cli.py", "try: x()\nexcept (OSError, BaseException) as e: log(e)"),
        (core_knows_no_vendor, "core/tax.py", "AVATAX_CODE = 1"),
        (core_knows_no_vendor, "core/tax.py", "system = 'stripe'"),
        (core_knows_no_vendor, "core/tax.py", "def to_netsuite(): ..."),
        (flow_files_shadow_no_package, "flows/calendar.py", ""),
        (flow_files_shadow_no_package, "flows/prefect.py", ""),
        (rooms_are_no_scripts, "flows/bill.py", "if __name__ == '__main__': bill()"),
        (only_the_command_line_prints, "flows/bill.py", "print('secret')"),
        (data_is_never_code, "core/store/database.py", "import pickle"),
        (data_is_never_code, "app/cli.py", "import yaml\nyaml.unsafe_load(text)"),
        (data_is_never_code, "core/mapping/book.py", "eval(text)"),
        (nothing_names_this_machine, "bench/x.py", "PATH = '/" + "work/main'"),
    ],
)
def test_a_broken_rule_is_seen(rule: Rule, path: str, snippet: str) -> None:
    assert list(rule(Source(path, snippet)))


@pytest.mark.parametrize(
    ("rule", "path", "snippet"),
    [
        (arrows, "connectors/wire.py", "from core.ports import World\nfrom core import errors"),
        (arrows, "app/cli.py", "from sandbox.server import start"),
        (floors_of_core, "core/invoicing.py", "from core.rating import RatedLine\nfrom core.ties import require"),
        (no_float_in_core, "core/money.py", "if isinstance(x, float): raise TypeError(x)"),
        (no_wall_clock, "sandbox/server.py", "from datetime import datetime\nnow = datetime.now()"),
        (no_error_is_swallowed, "flows/bill.py", "try: x()\nexcept Exception: undo(); raise"),
        (only_the_command_line_prints, "app/cli.py", "print('done')"),
        (flow_files_shadow_no_package, "flows/order_to_cash.py", ""),
        (sql_lives_in_the_store, "flows/bill.py", "text = 'Select the orders from the CRM'"),
    ],
)
def test_what_a_rule_allows_is_left_alone(rule: Rule, path: str, snippet: str) -> None:
    assert not list(rule(Source(path, snippet)))


def test_every_file_that_the_security_page_names_is_there() -> None:
    """A promise without what holds it is none."""
    named = re.findall(
        r"`((?:app|core|connectors|flows|tests|\.ci)/[\w/.]*)`", (ROOT / "SECURITY.md").read_text("utf-8")
    )
    assert len(named) > 20
    assert [path for path in named if not (ROOT / path).exists()] == []
