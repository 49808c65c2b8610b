"""A payment that the customer's bank takes back: booked as its money moves, worked on, decided; all of it ties out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.cash import CashReceipt
from core.invoicing import Invoice
from core.ledger import JournalEntry
from core.money import Money
from core.payments import Chargeback, ChargebackStatus, Payment
from core.sync import DeskState
from flows.apply_cash import apply_receipts, take_receipts
from flows.chargebacks import chargebacks
from flows.collect import request_payments
from flows.deliver import deliver_all
from flows.intake import book_settlements, take_in
from flows.receivables import receivables
from flows.settings import DisputePolicy
from tests.connectors import contract_netsuite, contract_quickbooks
from tests.flows.world import CUSTOMERS, SETTINGS, Company, paid_by

INVOICE = "INV-2026-10-A-0003"
PAYMENT = f"PAY-{INVOICE}"
LATER = date(2026, 12, 3)
LEDGERS = {"netsuite": contract_netsuite.settings, "quickbooks": contract_quickbooks.settings}


@pytest.fixture
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Company]:
    """The company after its month, in which four endpoints were paid by card: 72.00. NetSuite is its ledger, or another
    that a test names."""
    erp = getattr(request, "param", "netsuite")
    others = {name: make for name, make in SETTINGS.items() if name != "netsuite"}
    with paid_by(CUSTOMERS[2], tmp_path, {**others, erp: LEDGERS[erp]}) as entered:
        yield entered


def bank(world: Company, **does: Any) -> dict[str, Any]:
    """The customer's bank opens or decides a dispute; no webhook tells of it."""
    answer = httpx.post(f"{world.running.urls['stripe']}/_sandbox/disputes", json=does)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def disputed(world: Company, **more: Any) -> str:
    with world.hub.database.reading() as work:
        (payment,) = work.find(Payment, id=PAYMENT)
    ident: str = bank(world, payment_intent=payment.vendor_id, **more)["id"]
    return ident


def due(world: Company) -> Decimal:
    """What the ERP says is open of the invoice."""
    erp = world.hub.system("erp")
    (invoice,) = world.running.emulators[erp].shelf.all("invoice")
    return Decimal(str(invoice[{"netsuite": "amountRemaining", "quickbooks": "Balance"}[erp]]))


def told(world: Company) -> None:
    """What the hub does every hour."""
    world.time.sleep(1)
    assert not take_in(world.hub).failures
    assert not book_settlements(world.hub).failures
    assert not deliver_all(world.hub).failures


def cents(world: Company, *roles: str) -> tuple[int, ...]:
    with world.hub.database.reading() as work:
        held = work.sums.ledger_balances()
    codes = (world.hub.posting.account(role) for role in roles)
    return tuple(held.get((code, "USD"), Money(0, "USD")).minor for code in codes)


def asked(world: Company, ident: str) -> Any:
    with world.hub.database.reading() as work:
        return work.desk.get(f"record:chargeback:{ident}")


def standing(world: Company) -> Any:
    with world.hub.database.reading() as work:
        (one,) = receivables(world.hub, work, work.find(Invoice, id=INVOICE))
    return one


SIDES = ("gateway clearing", "disputed payments", "bad debt", "processing fees", "receivables")


def test_a_dispute_that_no_webhook_told_is_found_and_its_money_is_an_asset_until_it_is_decided(world: Company) -> None:
    """72.00 and a fee of 15.00 leave the gateway's balance; the charge had cost 2.39."""
    ident = disputed(world)
    told(world)
    assert cents(world, *SIDES) == (0, 7200, 0, 239 + 1500, 0)
    entry = asked(world, ident)
    (row,) = chargebacks(world.hub)
    assert (entry.state, entry.money, entry.cause) == (DeskState.OPEN, Money.of("72.00", "USD"), "Disputed")
    assert f"{entry.due_at:%F %H:%M}" == row["evidence due"] != ""
    assert INVOICE in entry.message
    assert entry.due_at.strftime("%Y-%m-%d") in entry.cure
    assert (row["status"], row["at the bank"]) == ("open", "72.00 USD")
    assert world.breaks() == []


def test_what_is_told_twice_is_booked_once(world: Company) -> None:
    disputed(world)
    told(world)
    with world.hub.database.reading() as work:
        before = len(work.find(JournalEntry))
    told(world)
    with world.hub.database.work() as work:
        for event in work.inbox.find(system="stripe", resource="chargeback"):
            work.inbox.retry("stripe", "chargeback", event.vendor_id)
    told(world)
    with world.hub.database.reading() as work:
        assert len(work.find(JournalEntry)) == before


def test_a_dispute_that_is_won_gives_everything_back_but_the_fee(world: Company) -> None:
    ident = disputed(world)
    told(world)
    bank(world, dispute=ident, status="under_review")
    told(world)
    assert asked(world, ident).state is DeskState.RESOLVED
    bank(world, dispute=ident, status="won")
    told(world)
    assert cents(world, *SIDES) == (0, 0, 0, 239 + 1500, 0)
    assert world.breaks() == []


@pytest.mark.parametrize(("status", "back", "lost"), [("lost", 0, 7200), ("won", 4000, 3200), ("lost", 700, 6500)])
def test_what_does_not_come_back_is_bad_debt(world: Company, status: str, back: int, lost: int) -> None:
    """Lost whole, won in part, and lost with a part given back."""
    ident = disputed(world)
    told(world)
    bank(world, dispute=ident, status=status, amount=back)
    told(world)
    assert cents(world, *SIDES) == (0, 0, lost, 239 + 1500, 0)
    assert not standing(world).open
    assert world.breaks() == []


@pytest.mark.parametrize("world", LEDGERS, indirect=True)
def test_where_the_policy_says_so_a_lost_payment_is_owed_again_and_no_card_is_charged_for_it(world: Company) -> None:
    world.hub.settings = world.hub.settings.model_copy(update={"disputes": DisputePolicy(lost="reopen")})
    ident = disputed(world)
    told(world)
    bank(world, dispute=ident, status="lost")
    told(world)
    assert cents(world, *SIDES) == (0, 0, 0, 239 + 1500, 7200)
    assert due(world) == Decimal("72.00")
    one = standing(world)
    assert (one.open.minor, one.held.minor, one.free.minor) == (7200, 7200, 0)
    assert not request_payments(world.hub).rows
    world.hub.settings = world.hub.settings.model_copy(update={"disputes": DisputePolicy()})
    bank(world, dispute=ident, status="lost", amount=700)
    told(world)
    assert cents(world, *SIDES) == (0, 0, 0, 239 + 1500, 6500), "what was reopened stays so when the policy changes"
    assert (due(world), world.breaks()) == (Decimal("65.00"), [])
    paid = Money(6500, "USD")
    receipt = CashReceipt(
        id="R1", entity="main", bank_account="1", currency="USD", amount=paid, left=paid, value_date=LATER, text=INVOICE
    )
    take_receipts(world.hub, [receipt])
    apply_receipts(world.hub)
    told(world)
    assert (due(world), standing(world).open.minor, world.breaks()) == (0, 0, [])


def test_an_inquiry_asks_for_evidence_and_moves_nothing_until_it_becomes_a_dispute(world: Company) -> None:
    ident = disputed(world, inquiry=True, amount=500)
    told(world)
    assert "asks about 5.00 USD" in asked(world, ident).message
    assert cents(world, "disputed payments", "processing fees") == (0, 239)
    bank(world, dispute=ident, status="needs_response")
    told(world)
    assert "took back 5.00 USD" in asked(world, ident).message
    assert cents(world, "disputed payments", "processing fees") == (500, 1739)
    bank(world, dispute=ident, status="won")
    told(world)
    with world.hub.database.reading() as work:
        assert [one.status for one in work.find(Chargeback)] == [ChargebackStatus.WON]
    assert world.breaks() == []


def test_another_fee_than_was_booked_is_a_break(world: Company) -> None:
    disputed(world)
    told(world)
    shelf = world.running.emulators["stripe"].shelf
    (moved,) = [one for one in shelf.all("balance_transaction") if one["type"] == "adjustment"]
    shelf.keep("balance_transaction", moved["id"], {**moved, "fee": 2000, "net": -9200})
    assert [kind for _, _, kind in world.breaks()] == ["chargeback_fee"]


def test_a_dispute_of_a_payment_that_nobody_here_knows_waits_for_it(world: Company) -> None:
    """It is told before its payment is."""
    ident = disputed(world)
    with world.hub.database.work() as work:
        (payment,) = work.find(Payment, id=PAYMENT)
        work.put(payment.model_copy(update={"vendor_id": "pi_other"}))
    take_in(world.hub)
    with world.hub.database.work() as work:
        assert not work.find(Chargeback)
        work.put(payment)
    told(world)
    with world.hub.database.reading() as work:
        assert [one.id for one in work.find(Chargeback)] == [ident]
