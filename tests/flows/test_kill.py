"""A delivery that is killed at any named point and started again leaves one object per record at the vendor."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from multiprocessing.context import ForkServerContext
from pathlib import Path

import httpx
import pytest
from pydantic import BaseModel

from core.ports import World, crash_at, system_clock
from core.sync import CommandState
from flows.deliver import LEASE, Delivery
from sandbox import server
from tests.connectors import contract_netsuite, contract_stripe_gateway
from tests.flows.hubs import account, hub_with, intent

pytestmark = pytest.mark.server

#: Settings of a system at its emulator, and the kind under which the emulator keeps customers.
SYSTEMS = {
    "stripe": (contract_stripe_gateway.settings, "customer"),
    "netsuite": (contract_netsuite.settings, "customer"),
}
#: NetSuite with every write of more than one record as a job of its own queue.
QUEUEING = partial(contract_netsuite.settings, async_above=1)
RECORDS = 3
POINTS = [
    "outbox.claimed:1",
    "outbox.before_send:1",
    "outbox.sent:1",
    "outbox.before_commit:1",
    "outbox.settled:1",
]
SECOND_RECORD = ["outbox.before_send:2", "outbox.sent:2", "outbox.before_commit:2", "outbox.settled:3"]


@pytest.fixture(scope="module")
def vendors() -> Iterator[server.Running]:
    with server.start(list(SYSTEMS)) as running:
        yield running


def deliver(database_url: str, folder: Path, system: str, settings: BaseModel, crash: str) -> None:
    """What runs in the child: one delivery; the one that is not to be killed runs when the leases have ended."""
    ahead = timedelta(0) if crash else LEASE + timedelta(seconds=1)
    world = World(clock=lambda: system_clock() + ahead, faults=crash_at(crash))
    hub = hub_with(database_url, folder, {system: settings}, world)
    Delivery(hub, system).run()
    hub.close()


@pytest.mark.parametrize(
    ("system", "point"),
    [*(("stripe", point) for point in [*POINTS, *SECOND_RECORD]), *(("netsuite", point) for point in POINTS)],
)
def test_killed_at_a_named_point_and_started_again_one_object_per_record(
    system: str,
    point: str,
    database_url: str,
    tmp_path: Path,
    vendors: server.Running,
    forks: ForkServerContext,
) -> None:
    make_settings, kind = SYSTEMS[system]
    url = vendors.urls[system]
    httpx.post(f"{url}/_sandbox/reset")
    settings = make_settings(url)
    hub = hub_with(database_url, tmp_path, {system: settings})
    with hub.database.work() as work:
        work.outbox.enqueue(intent(system, account(number)) for number in range(RECORDS))
    ends = []
    for crash in (point, ""):
        child = forks.Process(target=deliver, args=(database_url, tmp_path, system, settings, crash))
        child.start()
        child.join(60)
        ends.append(child.exitcode)
    assert ends == [-signal.SIGKILL, 0]
    with hub.database.reading() as work:
        assert work.outbox.counts() == {CommandState.DONE: RECORDS}
        proofs = work.outbox.proofs(system, "account")
    hub.close()
    assert [proof.record_id for proof in proofs] == [f"A-{number:04d}" for number in range(RECORDS)]
    assert len({proof.vendor_id for proof in proofs}) == RECORDS
    assert httpx.get(f"{url}/_sandbox/objects").json()[kind] == RECORDS


def test_killed_after_a_job_was_begun_the_job_is_waited_for_and_nothing_is_sent_again(
    database_url: str, tmp_path: Path, vendors: server.Running, forks: ForkServerContext
) -> None:
    """Its id outlives the process: the records are found when it is over, as they were first written."""
    url = vendors.urls["netsuite"]
    httpx.post(f"{url}/_sandbox/reset")
    settings = QUEUEING(url)
    hub = hub_with(database_url, tmp_path, {"netsuite": settings})
    with hub.database.work() as work:
        work.outbox.enqueue(intent("netsuite", account(number)) for number in range(RECORDS))
    for crash, left in (("job.begun:1", 1), ("", 0)):
        child = forks.Process(target=deliver, args=(database_url, tmp_path, "netsuite", settings, crash))
        child.start()
        child.join(60)
        assert child.exitcode == (-signal.SIGKILL if crash else 0)
        with hub.database.reading() as work:
            assert len(work.jobs.of("netsuite", "account")) == left
    with hub.database.reading() as work:
        assert work.outbox.counts() == {CommandState.DONE: RECORDS}
    hub.close()
    kept = httpx.get(f"{url}/_sandbox/objects/customer").json()
    assert [one["externalId"] for one in kept] == [f"A-{number:04d}" for number in range(RECORDS)]
    assert [one["lastModifiedDate"] for one in kept] == [one["dateCreated"] for one in kept]
