"""What happened at the border and what operators did stays as it was written, and a change of it is found."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DatabaseError

from core.audit import GENESIS, Act, Deed, Tip
from core.store import Database
from tests.core.store.border import START, after

TRIGGERS = ("audit_no_update ON audit", "audit_no_delete ON audit", "audit_tip_only_forward ON audit_tip")


def deed(record_id: str, **changes: Any) -> Deed:
    told = {"at": START, "who": "anna", "act": Act.RETRIED, "system": "erp", "record": "invoice"}
    return Deed(**{**told, "record_id": record_id, "detail": {"why": "cured"}, **changes})


def tell(database: Database, *record_ids: str) -> None:
    with database.work() as work:
        for ident in record_ids:
            work.audit.tell(deed(ident))


def flaw_of(database: Database, anchor: Tip | None = None) -> tuple[int, str] | None:
    with database.reading() as work:
        found = work.audit.flaw(anchor)
    return None if found is None else (found.seq, found.why)


def tamper(database_url: str, *statements: str) -> None:
    """What somebody with all rights does who takes the triggers away first."""
    engine = create_engine(database_url)
    with engine.begin() as connection:
        for trigger in TRIGGERS:
            on_table = trigger if connection.dialect.name == "postgresql" else trigger.split()[0]
            connection.execute(text(f"DROP TRIGGER {on_table}"))
        for statement in statements:
            assert connection.execute(text(statement)).rowcount
    engine.dispose()


def test_each_deed_is_linked_to_the_one_before(database: Database) -> None:
    tell(database, "INV-1", "INV-2")
    tell(database, "INV-3")
    with database.reading() as work:
        newest, *older = work.audit.rows()
        tip = work.audit.tip()
        assert [row.record_id for row in work.audit.rows(record_id="INV-2", system="erp", who=None)] == ["INV-2"]
        assert work.audit.rows(record_id="INV-2", system="crm") == []
    assert [row.seq for row in (newest, *older)] == [3, 2, 1]
    assert (newest.previous, older[-1].previous, newest.tip) == (older[0].hash, GENESIS.hash, tip)
    assert (newest.at, newest.who, newest.act, newest.detail) == (START, "anna", "retried", '{"why": "cured"}')
    assert flaw_of(database) is None


def test_what_is_rolled_back_leaves_no_trace_in_the_audit(database: Database) -> None:
    tell(database, "INV-1")
    with pytest.raises(ZeroDivisionError):  # noqa: PT012, SIM117
        with database.work() as work:
            work.audit.tell(deed("INV-2"))
            work.audit.seal()
            raise ZeroDivisionError
    tell(database, "INV-3")
    with database.reading() as work:
        assert [(row.seq, row.record_id) for row in work.audit.rows()] == [(2, "INV-3"), (1, "INV-1")]
    assert flaw_of(database) is None


def test_writers_side_by_side_make_one_chain(database: Database) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: tell(database, *(f"R-{n}-{i}" for i in range(3))), range(40)))
    with database.reading() as work:
        assert work.audit.tip().seq == 120
    assert flaw_of(database) is None


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET who = 'nobody'",
        "DELETE FROM audit",
        "UPDATE audit_tip SET seq = 0",
        "UPDATE audit_tip SET hash = ''",
        "DELETE FROM audit_tip",
    ],
)
def test_the_database_itself_refuses_to_change_the_audit(database: Database, database_url: str, statement: str) -> None:
    tell(database, "INV-1", "INV-2")
    engine = create_engine(database_url)
    with engine.connect() as connection, pytest.raises(DatabaseError, match="append only"):
        connection.execute(text(statement))
    engine.dispose()


def test_the_database_itself_refuses_to_put_a_row_in_place_of_another(database: Database, database_url: str) -> None:
    tell(database, "INV-1", "INV-2")
    engine = create_engine(database_url)
    way = "TRUNCATE audit" if engine.dialect.name == "postgresql" else "REPLACE INTO audit SELECT * FROM audit"
    with engine.connect() as connection, pytest.raises(DatabaseError, match="append only"):
        connection.execute(text(way))
    engine.dispose()


@pytest.mark.parametrize("column", ["at", "who", "act", "system", "record", "record_id", "detail", "previous", "hash"])
def test_a_change_of_any_column_is_found_at_its_row(database: Database, database_url: str, column: str) -> None:
    tell(database, "INV-1", "INV-2", "INV-3")
    value = "2026-01-01 00:00:00.000000" if column == "at" else "x"
    tamper(database_url, f"UPDATE audit SET {column} = '{value}' WHERE seq = 2")  # noqa: S608
    found = flaw_of(database)
    assert found is not None
    assert found[0] == 2


def test_a_row_that_was_taken_out_is_named(database: Database, database_url: str) -> None:
    tell(database, "INV-1", "INV-2", "INV-3")
    tamper(database_url, "DELETE FROM audit WHERE seq = 2")
    assert flaw_of(database) == (2, "is missing; the next row is 3")


def test_an_end_that_was_cut_off_is_named(database: Database, database_url: str) -> None:
    tell(database, "INV-1", "INV-2", "INV-3")
    tamper(database_url, "DELETE FROM audit WHERE seq = 3")
    assert flaw_of(database) == (3, "is missing; the chain is said to end with row 3")


def test_a_chain_that_was_rewritten_whole_is_betrayed_by_a_tip_noted_before(
    database: Database, database_url: str
) -> None:
    tell(database, "INV-1", "INV-2")
    with database.reading() as work:
        noted = Tip.of(str(work.audit.tip()))
    assert flaw_of(database, noted) is None
    cut = f"UPDATE audit_tip SET seq = 0, hash = '{GENESIS.hash}'"  # noqa: S608
    tamper(database_url, "DELETE FROM audit", cut)
    tell(database, "INV-1")
    assert flaw_of(database) is None
    assert flaw_of(database, noted) == (2, "is missing; row 2 was noted as written")
    with database.work() as work:
        work.audit.tell(deed("INV-2", at=after(seconds=1)))
    assert flaw_of(database, noted) == (2, "is not the row whose hash was noted")
