"""A changed mapping is seen on records that were sent already, field by field and in money, before it says anything."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from core.errors import MappingError
from core.money import Money
from core.orders import OrderProgress
from core.ports import Guard, Resource
from core.sync import OutboxCommand
from flows.deliver import deliver_system
from flows.replay_mapping import replay
from tests.flows.hubs import ROOT, START
from tests.flows.test_deliver import NoSettings, Stage
from tests.flows.vendor import Vendor

FILE = ROOT / "mappings" / "salesforce" / "order_progress.yaml"


class Crm(Vendor):
    @property
    def resources(self) -> dict[str, Resource]:
        return {"order_progress": Resource("Opportunity", "Id", "Id", Guard.EXTERNAL_ID)}


@pytest.fixture
def stage(database_url: str, tmp_path: Path) -> Iterator[Stage]:
    """Two orders were told of, the second a day after the first."""
    stage = Stage(database_url, tmp_path)
    stage.hub.settings.systems["salesforce"] = NoSettings()
    stage.hub._connectors["salesforce"] = Crm("salesforce", blind=False)
    for number in (1, 2):
        amount = Money.of(f"{number}00.50", "USD")
        told = OrderProgress(
            id=f"006{number}",
            status="invoiced",
            currency="USD",
            subscription_id=f"SUB-{number}",
            invoiced=amount,
            credited=Money.zero("USD"),
            paid=Money.of("40.00", "USD"),
        )
        with stage.hub.database.work() as work:
            wanted = OutboxCommand.of("salesforce", "order_progress", "order_progress", told, stage.time.now)
            work.outbox.enqueue([wanted.model_copy(update={"money": amount})])
        deliver_system(stage.hub, "salesforce")
        stage.time.pass_by(timedelta(days=1))
    yield stage
    stage.hub.close()


def changed(folder: Path, before: str, after: str) -> Path:
    text = FILE.read_text()
    assert before in text
    file = folder / "changed.yaml"
    file.write_text(text.replace(before, after, 1))
    return file


def test_the_file_in_use_would_say_nothing_otherwise(stage: Stage) -> None:
    report = replay(stage.hub, FILE, START)
    assert report.headline == "0 of 2 records would be said otherwise; no amount in them differs"
    assert report.counts == {"records": 2, "altered": 0, "refused": 0}


def test_what_would_change_is_shown_field_by_field_with_the_money_and_nothing_is_written(
    stage: Stage, tmp_path: Path
) -> None:
    crm = stage.hub.connector("salesforce")
    before = (crm.calls, stage.states(), stage.desk())  # type: ignore[attr-defined]
    file = changed(tmp_path, "Tieout_Invoiced__c: {money: invoiced}", "Tieout_Invoiced__c: {money: paid}")
    report = replay(stage.hub, file, START)
    assert f"\n{report.headline}\n" in (ROOT / "docs" / "mappings.md").read_text()
    assert report.headline.endswith("worth $301.00; amounts in them differ by -$221.00")
    assert report.rows[0] == {
        "record": "order_progress 0061",
        "their id": "V-0",
        "amount": "$100.50",
        "said by": stage.hub.mappings.find("salesforce", "order_progress", "out").version,
        "field": "Tieout_Invoiced__c",
        "before": "100.50",
        "after": "40.00",
        "difference": "-$60.50",
    }
    assert (crm.calls, stage.states(), stage.desk()) == before  # type: ignore[attr-defined]


def test_only_records_sent_since_the_date_are_replayed(stage: Stage, tmp_path: Path) -> None:
    file = changed(tmp_path, "{path: subscription_id, max: 80", "{text: ['S {subscription_id}'], max: 80")
    report = replay(stage.hub, file, START + timedelta(hours=1))
    assert [(row["record"], row["before"], row["after"]) for row in report.rows] == [
        ("order_progress 0062", "SUB-2", "S SUB-2")
    ]
    assert "no amount in them differs" in report.headline


def test_a_record_that_the_changed_file_would_refuse_is_told_with_its_reason(stage: Stage, tmp_path: Path) -> None:
    file = changed(tmp_path, "invoiced: invoiced, paid: paid}", "paid: paid}")
    report = replay(stage.hub, file, START)
    assert report.counts == {"records": 2, "altered": 0, "refused": 2}
    assert "would not be sent: changed.yaml: Tieout_Status__c" in report.rows[0]["after"]


def test_a_file_that_does_not_load_or_takes_in_is_refused(stage: Stage, tmp_path: Path) -> None:
    with pytest.raises(MappingError, match=r"changed\.yaml:.*there is no field invoised"):
        replay(stage.hub, changed(tmp_path, "{money: invoiced}", "{money: invoised}"), START)
    with pytest.raises(MappingError, match="only records that were sent"):
        replay(stage.hub, ROOT / "mappings" / "salesforce" / "order.yaml", START)
