"""What ``tieout errors`` and ``tieout audit`` print, and what they leave behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from app.operators import OPERATOR_VARIABLE, operator
from core.money import Money
from core.store import Database
from core.sync import DeskEntry, Evidence
from flows.settings import CONFIG_VARIABLE
from tests.app.conftest import Tieout

AT = datetime(2026, 11, 1, 9, tzinfo=UTC)


def entry(number: int, cause: str = "Rejected", message: str = "no such country 'XX'") -> DeskEntry:
    ident = f"INV-{number}"
    return DeskEntry(
        id=f"outbox:netsuite/invoice/{ident}",
        system="netsuite",
        record="invoice",
        record_id=ident,
        cause=cause,
        message=message,
        cure="Correct the named field",
        field="country",
        money=Money.of(str(number), "USD"),
        first_seen_at=AT,
        last_seen_at=AT,
    )


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """The database of a configuration without systems, with three entries on its desk."""
    path = tmp_path / "tieout.toml"
    path.write_text(f'database_url = "sqlite:///{tmp_path}/tieout.db"\n')
    monkeypatch.setenv(CONFIG_VARIABLE, str(path))
    monkeypatch.setenv(OPERATOR_VARIABLE, "anna")
    database = Database(f"sqlite:///{tmp_path}/tieout.db")
    database.migrate()
    with database.work() as work:
        for one in (entry(1), entry(2), entry(3, "MappingError", "\x1b[2Jcleared")):
            work.desk.report(one)
        work.desk.keep_evidence(Evidence(id=entry(1).id, ours='{"country": "XX"}', theirs="no such country"))
    yield database
    database.close()


def test_clusters_are_listed_and_each_can_be_listed_alone(database: Database, tieout: Tieout) -> None:
    found = tieout("errors", "clusters", "--json").json
    assert [(one["errors"], one["money at risk"]) for one in found] == [("2", "3.00 USD"), ("1", "3.00 USD")]
    (listed,) = tieout("errors", "list", "--cluster", found[1]["cluster"], "--json").json
    assert listed["id"] == entry(3).id


def test_an_entry_is_shown_with_what_was_sent_and_answered_and_what_happened(
    database: Database, tieout: Tieout
) -> None:
    assert tieout("errors", "note", entry(1).id, "asked the customer").code == 0
    shown = tieout("errors", "show", entry(1).id, "--json").json
    assert (shown["sent"], shown["answered"], shown["note"]) == (
        '{"country": "XX"}',
        "no such country",
        "asked the customer",
    )
    assert [one.split(" ", 2)[2] for one in shown["happened"]] == ["noted by anna"]


def test_what_a_system_says_does_not_command_the_terminal(database: Database, tieout: Tieout) -> None:
    """S25: escape sequences in a vendor's message are shown, not obeyed."""
    for command in (["list"], ["show", entry(3).id], ["clusters"]):
        said = tieout("errors", *command).out
        assert "\x1b[2J" not in said
        assert "cleared" in said


def test_all_of_a_cluster_is_ignored_with_one_reason_and_each_is_told(database: Database, tieout: Tieout) -> None:
    cluster = entry(1).cluster
    assert tieout("errors", "ignore", "--cluster", cluster, "--reason", "test data").code == 0
    assert [one["id"] for one in tieout("errors", "list", "--json").json] == [entry(3).id]
    told = tieout("audit", "list", "--act", "ignored", "--json").json
    assert [(one["who"], one["record"]) for one in told] == [("anna", "invoice INV-1"), ("anna", "invoice INV-2")]
    assert "reason: test data" in told[0]["detail"]


def test_entries_are_assigned_and_listed_by_owner(database: Database, tieout: Tieout) -> None:
    assert tieout("errors", "assign", entry(1).id, entry(3).id, "--to", "ben").code == 0
    assert len(tieout("errors", "list", "--owner", "ben", "--json").json) == 2


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["ignore", "--reason", "all of it"], "say which"),
        (["ignore", entry(1).id, "--reason", ""], "say why"),
        (["ignore", entry(1).id, "nobody", "--reason", "x"], "no open entry 'nobody'"),
        (["edit-retry", entry(1).id, "--set", "country", "--reason", "x"], "'country' is not field=text"),
        (["edit-retry", entry(1).id, "--set", "country=US", "--reason", "x"], "no command that failed"),
    ],
)
def test_a_mistake_changes_nothing_and_is_one_sentence(
    database: Database, tieout: Tieout, command: list[str], sentence: str
) -> None:
    said = tieout("errors", *command)
    assert (said.code, sentence in said.err) == (2, True), said
    assert len(tieout("errors", "list", "--json").json) == 3
    assert tieout("audit", "list", "--json").json == []


def test_a_sound_audit_tells_its_tip_and_a_changed_row_is_named(database: Database, tieout: Tieout) -> None:
    for remark in ("one", "two"):
        tieout("errors", "note", entry(1).id, remark)
    sound = tieout("audit", "verify", "--json")
    assert (sound.code, sound.json["rows"], sound.json["flaw"]) == (0, 2, None)
    assert tieout("audit", "verify", "--anchor", sound.json["tip"]).code == 0
    assert tieout("audit", "verify", "--anchor", "tip").code == 2
    engine = create_engine(database.url)
    with engine.begin() as connection:
        connection.execute(text("DROP TRIGGER audit_no_update"))
        connection.execute(text("UPDATE audit SET who = 'nobody' WHERE seq = 1"))
    engine.dispose()
    broken = tieout("audit", "verify")
    assert (broken.code, broken.out.strip()) == (1, "BROKEN: row 1 was changed after it was written")
    assert json.loads(tieout("audit", "verify", "--json").out)["flaw"]["row"] == 1


def test_an_operator_is_who_the_environment_names_or_who_is_signed_in() -> None:
    assert operator({OPERATOR_VARIABLE: "anna"}) == "anna"
    assert operator({})
