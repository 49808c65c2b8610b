"""Money at the bank pays what it is for, never more than came or is open; the rest is kept, and all of it is booked."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from core.accounts import BillingTerms, CashBy
from core.cash import Application, CashReceipt, Rule, Use
from core.errors import Rejected
from core.fx import FxRate
from core.invoicing import Invoice, InvoiceStatus
from core.money import Money, total
from core.store.figures import Seen
from core.sync import CommandState
from core.ties import Figure
from flows.apply_cash import apply_receipts, apply_to, identify, return_receipt, take_receipts, unapplied, unapply
from flows.collect import request_payments
from flows.context import Hub
from tests.connectors import contract_netsuite, contract_stripe_gateway
from tests.core.store.nouns import INVOICE, NOON
from tests.flows.hubs import account, hub_with

DAY = date(2026, 11, 10)


def money(cents: int, currency: str = "USD") -> Money:
    return Money(cents, currency)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """Two customers with three invoices: 100.00 and 50.00 of A-0001, 100.00 of A-0002."""
    systems = {
        "stripe": contract_stripe_gateway.settings("http://127.0.0.1:1"),
        "netsuite": contract_netsuite.settings("http://127.0.0.1:1"),
    }
    made = hub_with(f"sqlite:///{tmp_path / 'tieout.db'}", tmp_path, systems)
    with made.database.work() as work:
        work.add([account(1, name="Acme Inc."), account(2, name="Doe Events")])
        work.add([owed("INV-1", 10000), owed("INV-10", 5000), owed("INV-2", 10000, "A-0002")])
    yield made
    made.close()


def owed(ident: str, cents: int, whose: str = "A-0001", currency: str = "USD") -> Invoice:
    """A final invoice of one line without tax."""
    line = INVOICE.lines[0].model_copy(
        update={"id": f"{ident}-1", "rated_line_id": ident, "amount": money(cents, currency), "tax": money(0, currency)}
    )
    amounts = {"subtotal": money(cents, currency), "tax": money(0, currency), "total": money(cents, currency)}
    about = {"id": ident, "account_id": whose, "currency": currency, "status": InvoiceStatus.FINAL}
    return INVOICE.model_copy(update={**about, **amounts, "lines": (line,), "exchange": None})


def came(ident: str, cents: int, text: str = "", payer: str = "", currency: str = "USD") -> CashReceipt:
    amount = money(cents, currency)
    return CashReceipt(
        id=ident,
        entity="main",
        bank_account="026009593/1",
        currency=currency,
        amount=amount,
        left=amount,
        value_date=DAY,
        payer=payer,
        text=text,
    )


def used(hub: Hub) -> list[tuple[str, str, str | None, int]]:
    with hub.database.reading() as work:
        return [(one.receipt_id, one.rule.value, one.invoice_id, one.amount.minor) for one in work.find(Application)]


def open_cents(hub: Hub, ident: str) -> int:
    with hub.database.reading() as work:
        (invoice,) = work.find(Invoice, id=ident)
        return invoice.total.minor - work.sums.paid([ident]).get(ident, Money.zero(invoice.currency)).minor


def balance(hub: Hub, role: str, currency: str = "USD") -> int:
    with hub.database.reading() as work:
        held = work.sums.ledger_balances()
    return held.get((hub.posting.account(role), currency), money(0)).minor


def test_one_receipt_pays_all_the_invoices_it_names_and_the_rest_stays_the_customers(hub: Hub) -> None:
    take_receipts(hub, [came("R", 16000, "pays inv 1 and INV/10")])
    apply_receipts(hub)
    assert used(hub) == [("R", "reference", "INV-1", 10000), ("R", "reference", "INV-10", 5000)]
    assert (balance(hub, "bank"), balance(hub, "receivables"), balance(hub, "unapplied cash")) == (16000, -15000, -1000)
    assert [(row["account"], row["amount"]) for row in unapplied(hub)] == [("A-0001", "$10.00")]


def test_several_receipts_pay_one_invoice_each_in_part(hub: Hub) -> None:
    take_receipts(hub, [came("R1", 4000, "INV-1"), came("R2", 7000, "INV-1")])
    apply_receipts(hub)
    assert used(hub) == [("R1", "reference", "INV-1", 4000), ("R2", "reference", "INV-1", 6000)]
    assert open_cents(hub, "INV-1") == 0


def test_an_amount_that_only_one_invoice_of_the_payer_has_open_pays_that(hub: Hub) -> None:
    take_receipts(hub, [came("R", 10000, payer="ACME INC")])
    apply_receipts(hub)
    assert used(hub) == [("R", "amount", "INV-1", 10000)]


@pytest.mark.parametrize(("terms", "paid"), [(CashBy.AMOUNT, 0), (CashBy.OLDEST, 12000)])
def test_the_oldest_is_paid_first_only_where_the_terms_of_the_payer_say_so(hub: Hub, terms: CashBy, paid: int) -> None:
    with hub.database.work() as work:
        work.put(BillingTerms(id="A-0001", currency="USD", cash_by=terms))
    take_receipts(hub, [came("R", 12000, payer="Acme, Inc.")])
    apply_receipts(hub)
    assert sum(cents for *_, cents in used(hub)) == paid


def test_what_nobody_knows_the_owner_of_is_kept_as_such_until_a_person_says(hub: Hub) -> None:
    """Two invoices of different customers have this amount open, so none is paid; both are suggested."""
    take_receipts(hub, [came("R", 10000, "thanks", "UNKNOWN BANK")])
    apply_receipts(hub)
    assert (balance(hub, "unidentified cash"), used(hub)) == (-10000, [])
    (row,) = unapplied(hub)
    assert "INV-1; INV-2" in row["why"]
    identify(hub, "R", "A-0002", "Ada")
    assert (balance(hub, "unidentified cash"), balance(hub, "unapplied cash")) == (0, -10000)
    with pytest.raises(Rejected, match="is known to be A-0002's"):
        identify(hub, "R", "A-0001", "Ada")
    apply_receipts(hub)
    assert used(hub) == [("R", "amount", "INV-2", 10000)]


def test_who_was_identified_once_is_known_the_next_time(hub: Hub) -> None:
    take_receipts(hub, [came("R", 100, payer="Third Party LLC")])
    identify(hub, "R", "A-0002", "Ada")
    take_receipts(hub, [came("R2", 10000, payer="THIRD PARTY LLC")])
    apply_receipts(hub)
    assert used(hub) == [("R2", "amount", "INV-2", 10000)]


def test_a_payout_of_the_gateway_is_no_customers_money_and_is_booked_once(hub: Hub) -> None:
    """Two payouts of 134.12 are two receipts; a third that says the same is of nobody known."""
    found = [
        Seen(
            Figure(
                record="payout",
                key=ident,
                vendor_id=ident,
                currency="USD",
                amount=money(13412),
                state="paid",
                dated=date(2026, 11, day),
            ),
        )
        for ident, day in (("po_2", 9), ("po_1", 8))
    ]
    with hub.database.work() as work:
        work.figures.keep("stripe", "payout", found, NOON)
    take_receipts(hub, [came(f"R{number}", 13412, "ORIG CO NAME:STRIPE DES:TRANSFER") for number in (1, 2, 3)])
    for _ in range(2):
        apply_receipts(hub)
    with hub.database.reading() as work:
        assert [(one.receipt_id, one.reason) for one in work.find(Application)] == [("R1", "po_1"), ("R2", "po_2")]
    assert (balance(hub, "bank"), balance(hub, "gateway balance")) == (3 * 13412, -2 * 13412)
    assert balance(hub, "unidentified cash") == -13412


def test_a_request_that_the_gateway_has_not_seen_makes_way_for_money_at_the_bank(hub: Hub) -> None:
    request_payments(hub)
    take_receipts(hub, [came("R", 10000, "INV-1")])
    apply_receipts(hub)
    assert open_cents(hub, "INV-1") == 0
    with hub.database.reading() as work:
        (command,) = work.outbox.of_record("stripe", "payment", "PAY-INV-1")
    assert command.state is CommandState.CANCELLED


def test_an_invoice_that_the_gateway_may_be_charging_is_not_paid_twice_and_stops_no_other(hub: Hub) -> None:
    """The one stands on the error desk with its cause; the other is applied."""
    request_payments(hub)
    with hub.database.work() as work:
        work.outbox.claim("stripe", 1, hub.now(), timedelta(minutes=5))
    take_receipts(hub, [came("R1", 10000, "INV-1"), came("R2", 10000, "INV-2"), came("R3", 5000, "INV-10")])
    report = apply_receipts(hub)
    assert (report.counts["applied"], [one.record_id for one in report.failures]) == (2, ["R1"])
    assert "the gateway was asked for 100.00 USD" in report.failures[0].message


def test_the_same_receipt_and_the_same_run_again_change_nothing(hub: Hub) -> None:
    for _ in range(2):
        take_receipts(hub, [came("R", 4000, "INV-1")])
        apply_receipts(hub)
    assert used(hub) == [("R", "reference", "INV-1", 4000)]
    assert balance(hub, "bank") == 4000


def test_an_application_is_taken_back_once_and_everything_is_as_before(hub: Hub) -> None:
    take_receipts(hub, [came("R", 4000, "INV-1")])
    apply_receipts(hub)
    back = unapply(hub, "APP-R-1", "wrong customer", "Ada")
    assert (back.use, back.reverses, open_cents(hub, "INV-1")) == (Use.REVERSED, "APP-R-1", 10000)
    assert (balance(hub, "receivables"), balance(hub, "unapplied cash")) == (0, -4000)
    with pytest.raises(Rejected, match="was taken back before"):
        unapply(hub, "APP-R-1", "again", "Ada")


def test_money_that_the_bank_takes_back_opens_what_it_paid(hub: Hub) -> None:
    take_receipts(hub, [came("R", 12000, "INV-1"), came("X", 700)])
    apply_receipts(hub)
    for ident in ("R", "X"):
        assert return_receipt(hub, ident, "R01 insufficient funds", DAY, "bank") is not None
        assert return_receipt(hub, ident, "R01 insufficient funds", DAY, "bank") is None
    assert open_cents(hub, "INV-1") == 10000
    for role in ("bank", "receivables", "unapplied cash", "unidentified cash"):
        assert balance(hub, role) == 0
    with hub.database.reading() as work:
        assert {one.reason for one in work.find(Application) if one.use is not Use.APPLIED} == {
            "R01 insufficient funds"
        }


def test_a_person_cannot_apply_more_than_is_open_or_left(hub: Hub) -> None:
    take_receipts(hub, [came("R", 12000)])
    with pytest.raises(Rejected, match=r"100.00 USD is open on invoice INV-1; apply less"):
        apply_to(hub, "R", "INV-1", money(11000), "Ada")
    with pytest.raises(Rejected, match=r"120.00 USD is left of receipt R"):
        apply_to(hub, "R", "INV-1", money(12001), "Ada")
    assert apply_to(hub, "R", "INV-1", None, "Ada").amount == money(10000)


def rated(hub: Hub, **rates: str) -> None:
    """What a euro is worth in dollars from a day on."""
    common = {"source": "ECB", "base": "EUR", "quote": "USD", "recorded_at": NOON}
    with hub.database.work() as work:
        for written, rate in rates.items():
            day = date.fromisoformat(written.removeprefix("d").replace("_", "-"))
            work.add([FxRate(id=str(day), valid_on=day, rate=Decimal(rate), **common)])


def realised(hub: Hub) -> int:
    """What was gained, in cents of the books; below zero lost."""
    return -balance(hub, "fx realised", "USD") - balance(hub, "fx realised", "EUR")


def test_a_receipt_at_another_rate_than_its_invoice_books_what_was_gained(hub: Hub) -> None:
    """90.00 EUR were booked at 1.10 = 99.00 and came at 1.20 = 108.00."""
    rated(hub, d2026_10_01="1.10", d2026_11_10="1.20")
    with hub.database.work() as work:
        work.add([owed("INV-E", 9000, currency="EUR")])
    take_receipts(hub, [came("R", 9000, "INV-E", currency="EUR")])
    apply_receipts(hub)
    assert realised(hub) == 900
    unapply(hub, "APP-R-1", "wrong", "Ada")
    assert realised(hub) == 0


def test_unidentified_euros_that_are_identified_pay_many_invoices_with_others_and_realise_each_at_its_day(
    hub: Hub,
) -> None:
    """60.00 and 90.00 EUR at 1.10; 100.00 came at 1.20 for a gain of 10.00, 50.00 at 1.05 for a loss of 2.50."""
    rated(hub, d2026_10_01="1.10", d2026_11_10="1.20", d2026_11_20="1.05")
    with hub.database.work() as work:
        work.add([owed("INV-E1", 6000, currency="EUR"), owed("INV-E2", 9000, currency="EUR")])
    later = came("R2", 5000, "INV-E2, the rest", currency="EUR").model_copy(update={"value_date": date(2026, 11, 20)})
    take_receipts(hub, [came("R1", 10000, "thanks", "UNKNOWN BANK", currency="EUR")])
    apply_receipts(hub)
    assert (balance(hub, "unidentified cash", "EUR"), used(hub)) == (-10000, [])
    identify(hub, "R1", "A-0001", "Ada")
    for invoice in ("INV-E1", "INV-E2"):
        apply_to(hub, "R1", invoice, None, "Ada")
    take_receipts(hub, [later])
    apply_receipts(hub)
    assert [(receipt, invoice, cents) for receipt, _, invoice, cents in used(hub)] == [
        ("R1", "INV-E1", 6000),
        ("R1", "INV-E2", 4000),
        ("R2", "INV-E2", 5000),
    ]
    assert (open_cents(hub, "INV-E1"), open_cents(hub, "INV-E2"), realised(hub)) == (0, 0, 1000 - 250)
    for role in ("unidentified cash", "unapplied cash", "application clearing"):
        assert balance(hub, role, "EUR") == 0
    return_receipt(hub, "R2", "R03", date(2026, 11, 23), "bank")
    assert (open_cents(hub, "INV-E2"), realised(hub)) == (5000, 1000)


def test_no_sequence_of_receipts_applications_reversals_and_returns_makes_money(hub: Hub) -> None:
    """Never applied above received or open; what is left of receipts is the balance of the two liabilities."""
    chance, invoices = random.Random(20261125), ["INV-1", "INV-10", "INV-2"]
    for step in range(60):
        with hub.database.reading() as work:
            receipts, done = work.find(CashReceipt), work.find(Application)
        taken = {one.reverses for one in done}
        live = [one.id for one in done if one.use is Use.APPLIED and one.id not in taken]
        act = chance.choice(["take", "run", "apply", "apply", "unapply", "return"])
        try:
            if act == "take" or not receipts:
                text = chance.choice(["", "INV-1", "INV-10 INV-2", "A-0001"])
                take_receipts(hub, [came(f"R{step}", chance.randint(1, 9000), text)])
            elif act == "run":
                apply_receipts(hub)
            elif act == "apply":
                amount = chance.choice([None, money(chance.randint(1, 6000))])
                apply_to(hub, chance.choice(receipts).id, chance.choice(invoices), amount, "Ada")
            elif act == "unapply" and live:
                unapply(hub, chance.choice(live), "chance", "Ada")
            elif act == "return":
                return_receipt(hub, chance.choice(receipts).id, "R01", DAY, "bank")
        except Rejected:
            pass
        with hub.database.reading() as work:
            receipts = work.find(CashReceipt)
            assert total((one.left for one in receipts), "USD").minor == -balance(hub, "unapplied cash") - balance(
                hub, "unidentified cash"
            )
            for one in receipts:
                own = work.find(Application, receipt_id=one.id)
                assert one.left.minor == one.amount.minor + sum(it.use.sign * it.amount.minor for it in own)
            for invoice in work.find(Invoice):
                assert 0 <= work.sums.paid([invoice.id]).get(invoice.id, money(0)).minor <= invoice.total.minor
            paid = sum(one.minor for one in work.sums.paid(invoices).values())
            assert paid == -balance(hub, "receivables")
            assert balance(hub, "application clearing") == 0
    assert Rule.PERSON in {one.rule for one in done}
