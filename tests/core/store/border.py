"""Commands and events for the tests of the border."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from core.money import Money
from core.orders import OrderProgress
from core.sync import CommandState, InboxEvent, OutboxCommand, SyncRecord

START = datetime(2026, 11, 1, 9, tzinfo=UTC)
LEASE = timedelta(minutes=5)


def after(**delta: Any) -> datetime:
    return START + timedelta(**delta)


def command(record_id: str = "O-1", status: str = "provisioned", system: str = "erp", **changes: Any) -> OutboxCommand:
    """The intent to tell ``system`` the ``status`` of an order: another status is another version."""
    zero = Money.zero("USD")
    noun = OrderProgress(
        id=record_id, status=status, currency="USD", subscription_id="SUB-1", invoiced=zero, credited=zero, paid=zero
    )
    made = OutboxCommand.of(system, "order_progress", "order_progress", noun, START, money=Money.of("1.50", "USD"))
    return made.model_copy(update=changes)


def proof_of(command: OutboxCommand, **changes: Any) -> SyncRecord:
    proof = SyncRecord(
        system=command.system,
        resource=command.resource,
        record_id=command.record_id,
        vendor_id="V-1",
        version=command.version,
        command_key=command.key,
        mapping_version="m1",
        payload_digest="d1",
        created=True,
        synced_at=START,
        answer={"id": "V-1", "lines": [{"amount": "1.50"}], "gone": None},
    )
    return proof.model_copy(update=changes)


def event(event_id: str = "evt_1", **changes: Any) -> InboxEvent:
    made = InboxEvent(
        system="gateway",
        event_id=event_id,
        resource="payment",
        vendor_id="pi_1",
        kind="payment.succeeded",
        occurred_at=START,
        received_at=START,
    )
    return made.model_copy(update=changes)


def states(work: Any) -> dict[str, CommandState]:
    """Command key to state."""
    return {one.key: one.state for one in work.outbox.in_state(*CommandState)}
