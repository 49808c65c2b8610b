"""Usage pulled from a SQL source: complete, exact, and safe to repeat."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from pydantic import SecretStr

from core.ports import World
from flows.context import Hub
from flows.pull_usage import pull_sources
from flows.settings import Settings, UsageSource

QUERY = """SELECT id, account_id, site_id, meter, quantity, occurred_at, changed_at, region FROM calls
    WHERE changed_at >= strftime('%Y-%m-%d %H:%M:%f', :since) ORDER BY changed_at"""


class Source:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "source.db"
        self.folder = folder
        with sqlite3.connect(self.path) as db:
            db.execute("CREATE TABLE calls (id, account_id, site_id, meter, quantity, occurred_at, changed_at, region)")

    def add(self, ident: str, changed_at: str, quantity: object = "12.345678") -> None:
        row = (ident, "A-1", "A-1-S1", "minutes", quantity, "2026-10-05T10:00:00+00:00", changed_at, "na")
        with sqlite3.connect(self.path) as db:
            db.execute("INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)

    def hub(self, world: World | None = None, query: str = QUERY) -> Hub:
        source = UsageSource(url=SecretStr(f"sqlite:///{self.path}"), query=query)
        settings = Settings(
            database_url=f"sqlite:///{self.folder / 'hub.db'}",
            state_folder=self.folder / "state",
            price_book=self.folder,
            mappings_folder=self.folder,
            usage_sources={"calls": source},
            systems={},
        )
        return Hub(settings, world or World())

    def pulled(self) -> list[list[str]]:
        files = sorted((self.folder / "state" / "usage-in").glob("*.ndjson"), key=lambda path: path.stat().st_mtime_ns)
        return [[json.loads(line)["id"] for line in path.read_text().splitlines()] for path in files]


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path)


def test_rows_become_a_usage_file_exactly(source: Source) -> None:
    source.add("c-1", "2026-10-05 11:00:00.000")
    report = pull_sources(source.hub())
    assert (report.headline, report.failures) == ("1 row of 1 source", [])
    (path,) = (source.folder / "state" / "usage-in").glob("*.ndjson")
    assert path.name.startswith("calls.")
    assert json.loads(path.read_text()) == {
        "id": "c-1",
        "account_id": "A-1",
        "site_id": "A-1-S1",
        "meter": "minutes",
        "quantity": "12.345678",
        "occurred_at": "2026-10-05T10:00:00+00:00",
        "dimensions": {"region": "na"},
    }


def test_a_later_pull_takes_what_changed_since_and_what_was_committed_late(source: Source) -> None:
    source.add("c-1", "2026-10-05 11:00:00.000")
    pull_sources(source.hub())
    source.add("late", "2026-10-05 10:55:00.000")
    source.add("c-2", "2026-10-05 12:00:00.000")
    pull_sources(source.hub())
    assert source.pulled() == [["c-1"], ["late", "c-1", "c-2"]]


def test_a_pull_without_news_moves_nothing(source: Source) -> None:
    source.add("c-1", "2026-10-05 11:00:00.000")
    for _ in range(3):
        pull_sources(source.hub())
    assert source.pulled() == [["c-1"]]


def test_a_run_that_dies_before_the_watermark_moved_loses_nothing(source: Source) -> None:
    class Dead(BaseException):
        pass

    def die(point: str) -> None:
        if point == "usage.pulled":
            raise Dead

    source.add("c-1", "2026-10-05 11:00:00.000")
    with pytest.raises(Dead):
        pull_sources(source.hub(World(faults=die)))
    pull_sources(source.hub())
    assert source.pulled() == [["c-1"]]


@pytest.mark.parametrize(
    ("query", "quantity", "told"),
    [
        ("SELECT id FROM calls WHERE changed_at >= :since", "1", "gives no column account_id"),
        (QUERY, 0.1, "binary float"),
        ("SELECT * FROM nowhere WHERE x = :since", "1", "does not answer"),
    ],
)
def test_a_source_that_cannot_be_used_stands_on_the_desk(
    source: Source, query: str, quantity: object, told: str
) -> None:
    source.add("c-1", "2026-10-05 11:00:00.000", quantity)
    hub = source.hub(query=query)
    report = pull_sources(hub)
    assert told in report.failures[0].message
    with hub.database.reading() as work:
        assert [entry.id for entry in work.desk.open()] == ["usage:calls:pull"]
    assert source.pulled() == []
