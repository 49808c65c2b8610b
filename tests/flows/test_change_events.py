"""Orders found by the change events of the CRM: as by asking for stamps, and each once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from connectors.salesforce import Settings
from core.orders import Order
from flows import intake
from tests.connectors import contract_salesforce
from tests.flows.world import CUSTOMERS, SETTINGS, Company, company

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("change events")]


def listening(url: str) -> Settings:
    return contract_salesforce.settings(url).model_copy(update={"change_data_capture": True})


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Company]:
    with company(tmp_path, {**SETTINGS, "salesforce": listening}) as entered:
        url = f"{entered.running.urls['salesforce']}/_sandbox/change_data_capture"
        httpx.post(url, json=["Opportunity"]).raise_for_status()
        yield entered


def taken(stack: Company) -> tuple[set[str], str]:
    """The accounts whose orders are held, and how far the CRM was read."""
    intake.take_in(stack.hub)
    with stack.hub.database.reading() as work:
        place = work.outbox.watermark("salesforce", "order")
        return {order.account.id for order in work.find(Order)}, str(place)


def test_each_intake_goes_on_where_the_events_of_the_last_one_ended(stack: Company) -> None:
    """The first reading goes by stamps; from the second on the watermark is a place in the stream."""
    first, second, third = CUSTOMERS
    stack.enter(first)
    assert taken(stack)[0] == {first.number}
    stack.enter(second)
    held, place = taken(stack)
    assert held == {first.number, second.number}
    assert "@" in place
    stack.enter(third)
    held, later = taken(stack)
    assert held == {first.number, second.number, third.number}
    assert int(later.partition("@")[0]) > int(place.partition("@")[0])
    assert taken(stack) == (held, later)


def test_a_month_by_change_events_ties_out(stack: Company) -> None:
    stack.enter(*CUSTOMERS)
    stack.month()
    assert stack.breaks() == []
