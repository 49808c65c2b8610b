"""Alerts are raised once and told once, and what could not be sent is sent later."""

from __future__ import annotations

from datetime import date

import pytest

from core.errors import Unavailable
from core.money import Money
from core.rating.alerts import Alert
from flows.alerts import raise_alerts, tell_alerts
from flows.credits import grant_credit
from tests.flows.world import PERIOD, Company

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("company")]


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
