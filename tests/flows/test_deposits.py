"""What the gateway paid out is at the bank, to the cent and in time; what is not, or is another amount, is a Break."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from core.cash import CashReceipt
from core.money import Money
from core.ports import World
from core.store.figures import Seen
from core.ties import Break, Figure, TieLine
from flows.apply_cash import apply_receipts, take_receipts
from flows.context import Hub
from flows.tie_out import TieOut
from tests.connectors import contract_netsuite, contract_stripe_gateway
from tests.flows.hubs import ManualTime, hub_with

ARRIVES = date(2026, 11, 10)


@pytest.fixture
def time() -> ManualTime:
    return ManualTime(datetime(2026, 11, 12, 9, tzinfo=UTC))


@pytest.fixture
def hub(tmp_path: Path, time: ManualTime) -> Iterator[Hub]:
    systems = {
        "stripe": contract_stripe_gateway.settings("http://127.0.0.1:1"),
        "netsuite": contract_netsuite.settings("http://127.0.0.1:1"),
    }
    made = hub_with(f"sqlite:///{tmp_path / 'tieout.db'}", tmp_path, systems, World(clock=time.clock))
    yield made
    made.close()


def paid_out(hub: Hub, *payouts: tuple[str, int, date]) -> None:
    """Payouts as the last tie-out saw them: id, cents, and the day they arrive on."""
    common: dict[str, Any] = {"record": "payout", "currency": "USD", "state": "paid"}
    seen = [
        Seen(Figure(key=ident, vendor_id=ident, amount=Money(cents, "USD"), dated=arrives, **common))
        for ident, cents, arrives in payouts
    ]
    with hub.database.work() as work:
        work.figures.keep("stripe", "payout", seen, hub.now())


def shown(hub: Hub, *receipts: tuple[str, int, str], on: date = ARRIVES) -> None:
    """What the bank shows: id, cents, and its text."""
    common: dict[str, Any] = {"entity": "main", "bank_account": "1", "currency": "USD", "value_date": on}
    made = [
        CashReceipt(id=ident, amount=Money(cents, "USD"), left=Money(cents, "USD"), text=text, **common)
        for ident, cents, text in receipts
    ]
    take_receipts(hub, made)


def banked(hub: Hub, *receipts: tuple[str, int, str], on: date = ARRIVES) -> None:
    """The same, and Apply cash has run."""
    shown(hub, *receipts, on=on)
    apply_receipts(hub)


def tie(hub: Hub) -> tuple[list[TieLine], list[Break]]:
    """Payouts against the bank, as the last tie-out saw the gateway."""
    ties = TieOut(hub, "2026-10")
    ties.banked()
    return ties.lines, ties.breaks


def broken(hub: Hub) -> list[tuple[str, str, int, int]]:
    return [(one.kind, one.subject, one.left.minor, one.right.minor) for one in tie(hub)[1]]


def test_payouts_that_reached_the_bank_tie_out(hub: Hub) -> None:
    paid_out(hub, ("po_1", 13412, ARRIVES), ("po_2", 500, ARRIVES))
    banked(hub, ("R1", 13412, "STRIPE TRANSFER"), ("R2", 500, "po_2"))
    (line,), breaks = tie(hub)
    assert (str(line.left), str(line.right), line.count, breaks) == ("139.12", "139.12", 2, [])


def test_a_payout_that_is_due_and_not_at_the_bank_is_missing(hub: Hub, time: ManualTime) -> None:
    """Until the bank has had its days it is on its way."""
    paid_out(hub, ("po_1", 13412, ARRIVES), ("po_2", 500, ARRIVES))
    banked(hub, ("R2", 500, "po_2"))
    (line,), breaks = tie(hub)
    assert (line.right_name, breaks) == ("bank + 134.12 USD on its way", [])
    time.pass_by(timedelta(days=2))
    assert broken(hub) == [("deposit_missing", "po_1", 13412, 0)]


@pytest.mark.parametrize(("text", "day"), [("po_1 less our fee", date(2026, 11, 30)), ("STRIPE", date(2026, 11, 14))])
def test_a_deposit_of_another_amount_is_told_with_both(hub: Hub, text: str, day: date) -> None:
    """It names the payout, or the gateway within five days of it."""
    paid_out(hub, ("po_1", 13412, ARRIVES))
    banked(hub, ("R0", 100, "somebody"))
    banked(hub, ("R1", 13400, text), on=day)
    assert broken(hub) == [("deposit_amount", "po_1", 13412, 13400)]


def test_a_deposit_that_names_the_gateway_and_is_no_payout_is_unknown(hub: Hub) -> None:
    """Six days from the only payout, which has its own."""
    paid_out(hub, ("po_1", 13412, ARRIVES))
    banked(hub, ("R1", 13412, "STRIPE"))
    banked(hub, ("R2", 7700, "Stripe payments"), on=ARRIVES + timedelta(days=6))
    assert broken(hub) == [("deposit_unknown", "R2", 0, 7700)]


def test_an_exact_deposit_goes_to_its_payout_before_a_near_one_is_taken_for_it(hub: Hub) -> None:
    """Apply cash has not run yet: the second payout has its amount at the bank, the first another one."""
    paid_out(hub, ("po_1", 13412, ARRIVES), ("po_2", 500, ARRIVES))
    shown(hub, ("R1", 500, "STRIPE"), ("R2", 13400, "STRIPE"))
    assert broken(hub) == [("deposit_amount", "po_1", 13412, 13400)]


def test_without_any_bank_file_and_before_the_first_one_nothing_is_missing(hub: Hub, time: ManualTime) -> None:
    paid_out(hub, ("po_0", 99, ARRIVES - timedelta(days=1)))
    time.pass_by(timedelta(days=60))
    assert tie(hub) == ([], [])
    banked(hub, ("R", 100, "somebody"))
    assert broken(hub) == []
