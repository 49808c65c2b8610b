"""What nobody will pay is given up by whom the limit allows; it closes the invoice everywhere, and may be recovered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from core.cash import CashReceipt, Use
from core.errors import Rejected
from core.invoicing import Invoice
from core.money import Money
from core.payments import WriteOff, WriteOffState
from core.sync import DeskState
from flows.apply_cash import apply_receipts, apply_to, return_receipt, take_receipts
from flows.deliver import deliver_all
from flows.receivables import receivables
from flows.settings import WriteOffPolicy
from flows.write_back import tell_crm
from flows.write_off import approve, refuse, write_off, write_offs
from tests.connectors import contract_quickbooks, contract_xero
from tests.flows.world import CUSTOMERS, SETTINGS, USAGE, Company, company

INVOICE = "INV-2026-10-A-0001"
DAY = date(2026, 12, 20)


def usd(amount: str) -> Money:
    return Money.of(amount, "USD")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Company]:
    """One customer, whose taxed invoice is at NetSuite and was not asked for yet."""
    yield from owing(tmp_path, SETTINGS)


def owing(folder: Path, settings: dict[str, Callable[[str], object]]) -> Iterator[Company]:
    with company(folder, settings) as entered:
        entered.enter(CUSTOMERS[0])
        entered.bring("bridge.2026-10.csv", USAGE.splitlines()[0] + "\n")
        entered.month(until="finalise")
        tell_crm(entered.hub)
        deliver_all(entered.hub)
        yield entered


@pytest.mark.parametrize("erp", [contract_quickbooks.settings, contract_xero.settings])
def test_a_write_off_is_a_credit_memo_in_the_other_ledgers_too(tmp_path: Path, erp: Callable[[str], object]) -> None:
    name = "xero" if erp is contract_xero.settings else "quickbooks"
    settings = {one: make for one, make in SETTINGS.items() if one != "netsuite"}
    for world in owing(tmp_path, {**settings, name: erp}):
        made = write_off(world.hub, INVOICE, None, "bankrupt", DAY, "Ada")
        assert not deliver_all(world.hub).failures
        assert world.breaks() == []
        if name == "xero":
            (memo,) = world.running.emulators["xero"].shelf.all("credit_note")
            (invoice,) = world.running.emulators["xero"].shelf.all("invoice")
            assert (memo["CreditNoteNumber"], invoice["AmountDue"]) == (made.id, 0)


def cents(world: Company, *roles: str) -> tuple[int, ...]:
    with world.hub.database.reading() as work:
        held = work.sums.ledger_balances()
    codes = (world.hub.posting.account(role) for role in roles)
    return tuple(held.get((code, "USD"), Money(0, "USD")).minor for code in codes)


def limited(world: Company, limit: str, *approvers: str) -> None:
    policy = WriteOffPolicy(second_approval_above=Decimal(limit), approvers=approvers)
    world.hub.settings = world.hub.settings.model_copy(update={"write_offs": policy})


def total_of(world: Company) -> Money:
    with world.hub.database.reading() as work:
        return work.find(Invoice, id=INVOICE)[0].total


def open_of(world: Company) -> tuple[int, int]:
    with world.hub.database.reading() as work:
        (one,) = receivables(world.hub, work, work.find(Invoice, id=INVOICE))
    return one.open.minor, one.free.minor


def came(ident: str, amount: Money, text: str = "") -> CashReceipt:
    return CashReceipt(
        id=ident, entity="main", bank_account="1", currency="USD", amount=amount, left=amount, value_date=DAY, text=text
    )


def test_a_write_off_is_bad_debt_and_closes_the_invoice_in_every_erp(world: Company) -> None:
    whole = total_of(world)
    made = write_off(world.hub, INVOICE, None, "bankrupt", DAY, "Ada")
    assert (made.amount, made.state) == (whole, WriteOffState.BOOKED)
    assert not deliver_all(world.hub).failures
    assert cents(world, "receivables", "billing clearing", "bad debt") == (0, 0, whole.minor)
    assert open_of(world) == (0, 0)
    assert world.breaks() == []
    memo, invoice = (
        world.held("netsuite", kind, ident) for kind, ident in (("creditMemo", made.id), ("invoice", INVOICE))
    )
    assert [str(one["doc"]) for one in memo["applyList"]["apply"]] == [invoice["internalId"]]


def test_parts_that_are_given_up_hold_the_tax_of_the_invoice_in_proportion(world: Company) -> None:
    whole = total_of(world)
    first = write_off(world.hub, INVOICE, usd("0.01"), "a cent", DAY, "Ada")
    second = write_off(world.hub, INVOICE, None, "the rest", DAY, "Ada")
    with world.hub.database.reading() as work:
        (invoice,) = work.find(Invoice, id=INVOICE)
    assert invoice.tax
    assert (first.amount + second.amount, first.tax + second.tax) == (whole, invoice.tax)


def test_more_than_is_open_and_nothing_without_a_reason_is_given_up(world: Company) -> None:
    for amount, reason, field in ((total_of(world) + usd("0.01"), "x", "amount"), (None, " ", "reason")):
        with pytest.raises(Rejected) as refused:
            write_off(world.hub, INVOICE, amount, reason, DAY, "Ada")
        assert refused.value.field == field


def test_above_the_limit_another_person_approves_and_until_then_nothing_is_booked(world: Company) -> None:
    limited(world, "10.00", "Grace", "Ada")
    write_off(world.hub, INVOICE, usd("6.00"), "small", DAY, "Ada")
    made = write_off(world.hub, INVOICE, usd("5.00"), "small too, but 11.00 in all", DAY, "Ada")
    assert made.state is WriteOffState.PROPOSED
    assert cents(world, "bad debt") == (600,)
    assert open_of(world) == (total_of(world).minor - 600, total_of(world).minor - 1100)
    with world.hub.database.reading() as work:
        asked = work.desk.get(f"record:write_off:{made.id}")
    assert asked is not None
    assert (asked.money, asked.cause) == (usd("5.00"), "Parked")
    for who in ("Ada", "Linus"):
        with pytest.raises(Rejected, match=r"another person|is no approver"):
            approve(world.hub, made.id, who)
    approve(world.hub, made.id, "Grace")
    assert cents(world, "bad debt") == (1100,)
    with world.hub.database.reading() as work:
        entry = work.desk.get(f"record:write_off:{made.id}")
        acts = [(row.who, row.act) for row in work.audit.rows(record_id=made.id, limit=9)]
    assert entry is not None
    assert entry.state is DeskState.RESOLVED
    assert {("Ada", "write-off proposed"), ("Grace", "written off")} <= set(acts)
    with pytest.raises(Rejected, match="waits for approval"):
        approve(world.hub, made.id, "Grace")


def test_what_is_refused_is_open_as_before(world: Company) -> None:
    limited(world, "0")
    made = write_off(world.hub, INVOICE, None, "bankrupt", DAY, "Ada")
    refuse(world.hub, made.id, "they will pay", "Grace")
    assert open_of(world) == (total_of(world).minor,) * 2
    assert [row["state"] for row in write_offs(world.hub)] == ["refused"]


def test_an_invoice_that_was_paid_meanwhile_is_not_given_up(world: Company) -> None:
    limited(world, "0")
    made = write_off(world.hub, INVOICE, None, "bankrupt", DAY, "Ada")
    take_receipts(world.hub, [came("R", usd("1.00"), INVOICE)])
    apply_receipts(world.hub)
    with pytest.raises(Rejected, match="by now"):
        approve(world.hub, made.id, "Grace")
    with world.hub.database.reading() as work:
        assert [one.state for one in work.find(WriteOff)] == [WriteOffState.PROPOSED]


def test_money_that_comes_later_pays_for_the_loss_and_no_more(world: Company) -> None:
    """It is named on the transfer; what is above the loss stays the customer's, and what goes back is a loss again."""
    write_off(world.hub, INVOICE, usd("30.00"), "a quarrel", DAY, "Ada")
    whole = total_of(world)
    take_receipts(world.hub, [came("R1", whole - usd("30.00"), INVOICE)])
    apply_receipts(world.hub)
    take_receipts(world.hub, [came("R2", usd("40.00"), f"late, sorry: {INVOICE}"), came("R3", usd("30.00"), "A-0001")])
    apply_receipts(world.hub)
    assert cents(world, "bad debt", "unapplied cash", "receivables") == (0, -1000 - 3000, 0)
    with world.hub.database.reading() as work:
        left = {one.id: one.left.minor for one in work.find(CashReceipt)}
    assert left == {"R1": 0, "R2": 1000, "R3": 3000}, "what names no invoice pays for no loss"
    with pytest.raises(Rejected, match="can still be recovered"):
        apply_to(world.hub, "R3", INVOICE, None, "Ada")
    back = return_receipt(world.hub, "R2", "R01", DAY, "bank")
    assert back is not None
    assert back.use is Use.RETURNED
    assert cents(world, "bad debt", "unapplied cash") == (3000, -3000)
    made = apply_to(world.hub, "R3", INVOICE, None, "Ada")
    assert (made.use, made.amount) == (Use.RECOVERED, usd("30.00"))
