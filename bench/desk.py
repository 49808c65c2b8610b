"""What lists of the error desk cost with a million open entries: ``uv run python -m bench.desk [--entries N]``.

The same lists are timed on a desk of a thousandth of the entries; the ratio says how the cost grows.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from core.money import Money
from core.store import Database, Work
from core.store.desk import _DESK, DESK
from core.sync import DeskEntry

AT = datetime(2026, 11, 1, tzinfo=UTC)
CAUSES = ("Rejected", "MappingError", "Parked", "TieBroken")
SYSTEMS = ("crm", "tax", "gateway", "erp")
ROUNDS, PAGE = 7, 10_000

LISTS: dict[str, Callable[[Work], Any]] = {
    "list": lambda work: work.desk.open(limit=100),
    "list --system": lambda work: work.desk.open(limit=100, system="erp"),
    "list --cause": lambda work: work.desk.open(limit=100, cause="TieBroken"),
    "list --cluster": lambda work: work.desk.open(limit=100, cluster=entry(1).cluster),
    "list --owner": lambda work: work.desk.open(limit=100, owner="anna"),
    "show": lambda work: work.desk.get("outbox:erp/invoice/INV-7"),
    "clusters": lambda work: work.desk.clusters(),
}


def entry(number: int) -> DeskEntry:
    return DeskEntry(
        id=f"outbox:{SYSTEMS[number % 4]}/invoice/INV-{number}",
        system=SYSTEMS[number % 4],
        record="invoice",
        record_id=f"INV-{number}",
        cause=CAUSES[number // 4 % 4],
        message=f"invoice INV-{number}: the field is not as it should be",
        cure="Correct the named field at its source, then retry the record.",
        field=f"field {chr(97 + number % 25)}",
        money=Money(number * 7919 % 1_000_000, "USD"),
        owner="anna" if number % 1000 == 0 else None,
        first_seen_at=AT,
        last_seen_at=AT,
    )


def filled(database: Database, entries: int) -> None:
    rows: Iterator[dict[str, Any]] = (_DESK.columns(entry(number)) for number in range(entries))
    while page := list(islice(rows, PAGE)):
        with database.work() as work:
            work._connection.execute(insert(DESK), page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--database", help="SQLAlchemy address of an empty database; default: a new SQLite file")
    given = parser.parse_args()
    figures: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, entries in (("small", given.entries // 1000), ("large", given.entries)):
            url = given.database if given.database and name == "large" else f"sqlite:///{Path(folder) / name}.db"
            database = Database(url)
            database.migrate()
            filled(database, entries)
            figures.append({title: timed(database, look) for title, look in LISTS.items()})
            database.close()
    small, large = figures
    for title in LISTS:
        print(f"{title:<16}{large[title]:>9.2f} ms  {large[title] / small[title]:>8.1f}x a thousandth of the entries")


def timed(database: Database, look: Callable[[Work], Any]) -> float:
    """The median of some rounds, in milliseconds."""
    taken = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        with database.reading() as work:
            look(work)
        taken.append((time.perf_counter() - start) * 1000)
    return statistics.median(taken)


if __name__ == "__main__":
    main()
