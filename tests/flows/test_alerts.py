"""Alerts are raised once and told once, and what could not be sent is sent later."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import ClassVar

import pytest
from prefect.blocks.abstract import NotificationBlock, NotificationError

from core.errors import Misconfigured, Rejected, Unavailable
from core.money import Money
from core.ports import World
from core.rating.alerts import Alert, desk_alerts
from core.rational import Fraction
from flows import desk
from flows.alerts import raise_alerts, sender, tell_alerts
from flows.context import Hub
from flows.credits import grant_credit
from tests.flows.hubs import START, hub_with
from tests.flows.world import PERIOD, Company

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("company")]

ONE = Fraction(1)
MONEY = Money(200, "USD")


def test_an_allowance_that_is_used_up_and_credit_that_runs_low_are_told_once(world: Company) -> None:
    """13,000 of 10,000 minutes are used: 50, 80 and 100 percent. Of 100.00 of credit 72.00 are drawn: 50 percent."""
    world.month(until="rate")
    first = raise_alerts(world.hub, PERIOD)
    assert [(one.account_id, str(one)) for one in first] == [
        ("A-0002", f"allowance plan-minutes: 10,000 of 10,000 used, {part} % passed") for part in (50, 80, 100)
    ]
    assert raise_alerts(world.hub, PERIOD) == []
    grant_credit(world.hub, "A-0003", Money(10000, "USD"), "Goodwill", "ops", date(2026, 10, 1))
    world.month(until="finalise")
    (second,) = raise_alerts(world.hub, PERIOD)
    assert str(second).endswith("72 of 100 used, 50 % passed")
    told: list[Alert] = []
    assert tell_alerts(world.hub, told.append).counts == {"told": 4, "not_sent": 0}
    assert tell_alerts(world.hub, told.append).counts == {"told": 0, "not_sent": 0}
    assert {one.id for one in told} == {one.id for one in (*first, second)}


def test_an_alert_that_could_not_be_sent_stops_no_other_and_is_sent_later(world: Company) -> None:
    world.month(until="rate")
    raise_alerts(world.hub, PERIOD)
    heard: list[str] = []

    def broken(alert: Alert) -> None:
        if alert.id.endswith(":80"):
            raise Unavailable("no answer")
        heard.append(alert.id[-3:])

    assert tell_alerts(world.hub, broken).counts == {"told": 2, "not_sent": 1}
    assert tell_alerts(world.hub, lambda alert: heard.append(alert.id[-3:])).counts == {"told": 1, "not_sent": 0}
    assert sorted(heard) == ["100", ":50", ":80"]


class Bell(NotificationBlock):
    """A notification block as anybody may write one; it does not ring for the account ``deaf``."""

    deaf: str = ""
    rung: ClassVar[list[str]] = []

    async def notify(self, body: str, subject: str | None = None) -> None:
        if self.deaf and self.deaf in str(subject):
            raise NotificationError("no answer")
        self.rung.append(f"{subject}: {body}")


def configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, block: object) -> Hub:
    monkeypatch.setattr("flows.alerts.Block.load", lambda _name: block)
    hub = hub_with(f"sqlite:///{tmp_path / 'tieout.db'}", tmp_path, {})
    hub.settings = hub.settings.model_copy(update={"alerts_block": "bell/ops"})
    alerts = [
        Alert(id=f"{account}:x", account_id=account, subject="x", threshold=ONE, used=ONE, limit=ONE, raised_at=START)
        for account in ("A-0001", "A-0002")
    ]
    with hub.database.work() as work:
        work.add(alerts)
    return hub


def test_an_alert_goes_through_the_block_of_the_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub = configured(monkeypatch, tmp_path, Bell(deaf="A-0001"))
    assert tell_alerts(hub, sender(hub)).counts == {"told": 1, "not_sent": 1}
    assert Bell.rung == ["Account A-0002: x: 1 of 1 used, 100 % passed"]


def test_a_block_that_sends_nothing_stops_the_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub = configured(monkeypatch, tmp_path, object())
    with pytest.raises(Misconfigured, match="bell/ops, which sends no notifications"):
        sender(hub)


def test_an_error_desk_that_grows_is_told_at_its_limit_and_at_each_doubling_once_a_day(tmp_path: Path) -> None:
    """From 20 open entries on; 19 are nobody's alarm, and what is cured is not told of."""
    days = [START]
    hub = hub_with(f"sqlite:///{tmp_path / 'tieout.db'}", tmp_path, {}, World(clock=lambda: days[-1]))

    def standing(number: int) -> list[str]:
        with hub.database.work() as work:
            for entry in work.desk.open():
                work.desk.resolve(entry.id)
            for count in range(number):
                failure = Rejected("the field is empty", system="netsuite", record="account", field="name")
                work.desk.report(desk.entry(failure, f"outbox:x/{count}", "netsuite", "account", "A", days[-1], MONEY))
        return [f"{one.account_id}: {one}" for one in raise_alerts(hub, PERIOD)]

    assert standing(19) == []
    assert standing(20) == ["hub: error desk, $40.00 at risk: 20 of 20 open, 100 % passed"]
    assert standing(39) == []
    assert standing(81) == ["hub: error desk, $162.00 at risk: 81 of 20 open, 400 % passed"]
    assert standing(45) == ["hub: error desk, $90.00 at risk: 45 of 20 open, 200 % passed"]
    days.append(START + timedelta(days=1))
    assert standing(20) == ["hub: error desk, $40.00 at risk: 20 of 20 open, 100 % passed"]
    hub.close()


def test_the_alert_of_the_desk_is_of_no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub = configured(monkeypatch, tmp_path, Bell(deaf="A-0001"))
    with hub.database.work() as work:
        (alert,) = desk_alerts(45, "", 20, date(2026, 11, 26))
        work.add([alert.model_copy(update={"raised_at": START})])
    tell_alerts(hub, sender(hub))
    assert Bell.rung[-1] == "Error desk: error desk: 45 of 20 open, 200 % passed"
