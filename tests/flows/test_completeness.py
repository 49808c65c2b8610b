"""A sync is a success only when everything that the source listed is held here."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from core.ports import Change
from core.store.border import Inbox
from core.sync import InboxEvent
from flows.intake import catch_up
from tests.flows.hubs import START
from tests.flows.test_deliver import NoSettings, Stage
from tests.flows.vendor import Vendor


class Crm(Vendor):
    """Lists three orders, one of them twice."""

    def changes(self, resource: str, since: str | None) -> Iterator[Change]:
        for number in (1, 2, 2, 3):
            yield Change(f"006{number}", START + timedelta(minutes=number), {"Id": f"006{number}"})


@pytest.fixture
def stage(database_url: str, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(database_url, tmp_path)
    del stage.hub.settings.systems["stripe"]
    stage.hub.settings.systems["salesforce"] = NoSettings()
    stage.hub._connectors["salesforce"] = Crm("salesforce")
    yield stage
    stage.hub.close()


def test_the_report_of_a_sync_shows_what_was_listed_beside_what_is_held(stage: Stage) -> None:
    checks: list[dict[str, str]] = []
    assert catch_up(stage.hub, checks) == (3, [])
    (check,) = checks
    assert (check["system"], check["record"]) == ("salesforce", "order")
    assert check["listed there"] == check["held here"]
    assert check["held here"].startswith("3, digest ")


def test_a_listed_record_that_is_not_held_stands_on_the_desk_and_holds_the_cursor(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Inbox.store

    def lossy(inbox: Inbox, event: InboxEvent, body: bytes) -> bool:
        return event.vendor_id == "0062" or store(inbox, event, body)

    monkeypatch.setattr(Inbox, "store", lossy)
    checks: list[dict[str, str]] = []
    _, (failure,) = catch_up(stage.hub, checks)
    assert (failure.id, failure.cause, checks) == ("system:salesforce", "TieBroken", [])
    assert "records listed = records held" in failure.message
    assert "3, digest" in failure.message
    assert "2, digest" in failure.message
    with stage.hub.database.reading() as work:
        assert work.outbox.watermark("salesforce", "order") is None

    monkeypatch.undo()
    assert catch_up(stage.hub, checks)[1] == []
    assert stage.desk() == []
