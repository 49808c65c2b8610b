"""A document is taken back by one act: it reaches every system once and in order, however often it is killed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import httpx
import pytest

from app.explain import explain_id
from core.invoicing import CreditNote
from core.payments import Chargeback, Payment, Refund
from core.ports import Faults, no_faults
from core.sync import CommandState
from core.ties import Part
from flows.credit import Leftover, credit_invoice, steps_of
from flows.deliver import Delivery
from flows.intake import book_settlements, take_in
from tests.core.store.nouns import CHARGEBACK
from tests.flows.world import CUSTOMERS, Company, paid_by

INVOICE = "INV-2026-10-A-0001"
LATER = date(2026, 11, 20)
#: Short, since emulators refuse who is minutes ahead of them.
LEASE = timedelta(seconds=4)


class Killed(BaseException):
    """The process ends here; what it had not committed is gone."""


def kill_at(point: str, times: int) -> Faults:
    left = times

    def fault(reached: str, /) -> None:
        nonlocal left
        left -= reached == point
        if reached == point and left == 0:
            raise Killed(point)

    return fault


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Company]:
    """The company after its month: the invoice is taxed, paid by card and settled."""
    with paid_by(CUSTOMERS[0], tmp_path) as entered:
        yield entered


def void(world: Company, who: str = "Ada") -> CreditNote:
    return credit_invoice(world.hub, INVOICE, {}, "never ordered", LATER, Leftover.REFUND, who)


def deliver(world: Company) -> None:
    """One system after the other, so that a kill ends all; what one proof wakes is delivered in the next round."""
    for _ in range(3):
        for system in world.hub.systems:
            Delivery(world.hub, system, LEASE).run()


def steps(world: Company, note: CreditNote) -> Sequence[dict[str, str]]:
    with world.hub.database.reading() as work:
        return steps_of(work, note.id)


def kept(world: Company) -> list[int]:
    """How many documents of the act each system holds: tax return, credit memo, refund."""
    kinds = (("avalara", "transaction"), ("netsuite", "creditMemo"), ("stripe", "refund"))
    shelves = (world.running.emulators[system].shelf.all(kind) for system, kind in kinds)
    return [sum(one.get("type") in (None, "ReturnInvoice") for one in shelf) for shelf in shelves]


def test_one_act_names_its_steps_and_money_waits_for_the_credit_memo(world: Company) -> None:
    note = void(world)
    assert {one["system"] for one in steps(world, note)} >= {"avalara", "netsuite", "stripe"}
    world.plant("netsuite", "error", "POST .*", times=0, status=503)
    deliver(world)
    told = {(one["system"], one["step"]): (one["state"], one["waits for"]) for one in steps(world, note)}
    assert told["stripe", "refund"] == ("parked", f"netsuite:credit_note:{note.id}")
    assert (
        f"stripe refund is parked, waits for netsuite:credit_note:{note.id}" in explain_id(world.hub, note.id)["facts"]
    )
    with world.hub.database.reading() as work:
        acts = [(row.who, row.act) for row in work.audit.rows(record_id=note.id) if row.who == "Ada"]
    assert acts == [("Ada", "compensated")]
    httpx.delete(f"{world.running.urls['netsuite']}/_sandbox/faults")
    world.time.sleep(60)
    deliver(world)
    assert {one["state"] for one in steps(world, note)} == {"done"}
    assert all(one["their id"] for one in steps(world, note))


@pytest.mark.parametrize(
    "point",
    [
        "outbox.before_send:2",
        "outbox.sent:1",
        "outbox.before_commit:2",
        "outbox.settled:1",
    ],
)
def test_an_act_that_is_killed_after_every_step_is_carried_out_once(world: Company, point: str) -> None:
    """Before it commits there is nothing of it; afterwards each run goes one step further and is killed again."""
    world.hub.world = replace(world.hub.world, faults=kill_at("credit.before_commit", 1))
    with pytest.raises(Killed):
        void(world)
    with world.hub.database.reading() as work:
        assert (work.find(CreditNote), work.find(Refund)) == ([], [])
    world.hub.world = replace(world.hub.world, faults=no_faults)
    assert void(world) == void(world)
    Delivery(world.hub, "salesforce", LEASE).run()  # a change of what is there is written again after each kill
    name, _, times = point.rpartition(":")
    runs = 0
    while runs < 40:
        runs += 1
        world.hub.world = replace(world.hub.world, faults=kill_at(name, int(times)))
        try:
            deliver(world)
            break
        except Killed:
            world.time.sleep(LEASE.total_seconds() + 1)
    assert 1 < runs < 40, "it was killed, and it came to an end"
    world.hub.world = replace(world.hub.world, faults=no_faults)
    take_in(world.hub)
    book_settlements(world.hub)
    deliver(world)
    assert kept(world) == [1, 1, 1]
    assert world.breaks() == []
    with world.hub.database.reading() as work:
        assert set(work.outbox.counts()) == {CommandState.DONE}


def test_what_the_bank_took_back_already_is_not_refunded_again(world: Company) -> None:
    """The credit stays a balance of the customer."""
    with world.hub.database.work() as work:
        (payment,) = work.find(Payment, invoice_id=INVOICE)
        taken = (Part(name="txn_9", amount=-payment.amount),)
        about = {"payment_id": payment.id, "invoice_id": INVOICE, "amount": payment.amount, "moved": taken}
        work.add([Chargeback.model_validate({**dict(CHARGEBACK), **about})])
    note = void(world)
    assert (note.refunded.minor, note.left) == (0, payment.amount)
