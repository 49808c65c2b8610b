"""Processes on one database share the calls of each vendor account, and learn from what the vendor says."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpx
import pytest
import respx

from connectors.wire import Wire, allowances
from core.errors import RateLimited
from core.ports import BudgetSpent, World, urgent
from core.store import Database
from flows.rate_budget import CEILING, SLICE, SharedBudget
from tests.flows.hubs import ManualTime

BURST = CEILING // 1000 * 10


class Process:
    """A process with budgets of its own over the shared database."""

    def __init__(self, database: Database, time: ManualTime) -> None:
        self.time = time
        self.budget = SharedBudget(lambda: database, time.clock, time.sleep)

    def calls_at_once(self, most: int = 10_000) -> int:
        """How many calls it may make before it must wait."""
        start = len(self.time.slept)
        for number in range(most):
            try:
                self.budget.take("erp")
            except BudgetSpent:
                return number
            if len(self.time.slept) > start:
                return number
        return most


@pytest.fixture
def time() -> ManualTime:
    return ManualTime()


def test_processes_share_the_calls_of_an_account(database: Database, time: ManualTime) -> None:
    first, second = Process(database, time), Process(database, time)
    assert first.calls_at_once(SLICE) == SLICE
    together = SLICE + second.calls_at_once()
    assert together == BURST * 4 // 5
    assert Process(database, time).budget.take("other") is None


def test_threads_and_processes_side_by_side_take_no_call_twice(database: Database, time: ManualTime) -> None:
    def take(_: int) -> int:
        return Process(database, time).calls_at_once(SLICE)

    with ThreadPoolExecutor(4) as pool:
        taken = sum(pool.map(take, range(8)))
    with database.reading() as work:
        (bucket,) = work.budgets.all()
    assert bucket.level == (BURST - taken) * 1000


def test_a_refusal_of_one_process_holds_the_others_back(database: Database, time: ManualTime) -> None:
    first, second = Process(database, time), Process(database, time)
    first.budget.refused("erp", 20)
    second.budget.take("erp")
    assert 20 <= sum(time.slept) < 25


def test_a_longer_wait_is_given_back_instead_of_slept(database: Database, time: ManualTime) -> None:
    process = Process(database, time)
    process.budget.refused("erp", 600)
    with pytest.raises(BudgetSpent) as spent:
        process.budget.take("erp")
    assert spent.value.wait_seconds >= 600
    assert time.slept == []


def test_what_a_process_did_not_use_is_not_used_later(database: Database, time: ManualTime) -> None:
    process = Process(database, time)
    process.budget.take("erp")
    process.budget.refused("other", 1)
    Process(database, time).budget.refused("erp", 600)
    time.pass_by(timedelta(seconds=3))
    with pytest.raises(BudgetSpent):
        process.budget.take("erp")


def test_the_close_goes_on_when_a_days_allowance_is_nearly_used_up(database: Database, time: ManualTime) -> None:
    process = Process(database, time)
    process.budget.heard("erp", 900, 5000, 86_400)
    with pytest.raises(BudgetSpent):
        process.budget.take("erp")
    with urgent():
        process.budget.take("erp")


@respx.mock
def test_the_wire_takes_each_call_from_the_budget_and_tells_it_what_the_vendor_said(
    database: Database, time: ManualTime
) -> None:
    process = Process(database, time)
    world = World(clock=time.clock, sleep=time.sleep, budget=process.budget)
    wire = Wire("erp", "https://vendor.example", world)
    usage = {"Sforce-Limit-Info": "api-usage=4500/5000"}
    respx.get("https://vendor.example/x").mock(httpx.Response(200, json={}, headers=usage))
    wire.read("GET", "/x")
    with database.reading() as work:
        (bucket,) = work.budgets.all()
    assert bucket.level == (BURST - SLICE) * 1000
    assert bucket.closed_until is not None

    respx.get("https://vendor.example/y").mock(httpx.Response(429, headers={"Retry-After": "120"}))
    with pytest.raises(RateLimited), urgent():
        wire.read("GET", "/y")
    with database.reading() as work:
        (bucket,) = work.budgets.all()
    assert bucket.rate < CEILING
    sent = len(respx.calls)
    with pytest.raises(BudgetSpent), urgent():
        wire.read("GET", "/x")
    assert len(respx.calls) == sent
    with database.reading() as work:
        assert work.budgets.all() == [bucket], "a call that we hold back ourselves is no refusal of the vendor"


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"Sforce-Limit-Info": "api-usage=18/5000; per-app-api-usage=17/250(appName=sample)"}, [(4982, 5000, 86_400)]),
        ({"X-HubSpot-RateLimit-Remaining": "9", "X-HubSpot-RateLimit-Max": "100"}, [(9, 100, 10)]),
        ({"x-ms-ratelimit-burst-remaining-xrm-requests": "5999"}, [(5999, 6000, 300)]),
        ({"X-MinLimit-Remaining": "59", "X-DayLimit-Remaining": "4999"}, [(59, 60, 60), (4999, 5000, 86_400)]),
        ({"Sforce-Limit-Info": "api-usage=6000/5000"}, [(0, 5000, 86_400)]),
        ({"Sforce-Limit-Info": "soon", "X-MinLimit-Remaining": "-1"}, []),
        ({}, []),
    ],
)
def test_what_vendors_say_is_left_is_read_from_their_headers(
    headers: dict[str, str], said: list[tuple[int, int, int]]
) -> None:
    assert list(allowances(httpx.Headers(headers))) == said
