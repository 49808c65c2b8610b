"""Runs the stories beside this file: what is sold, billed and reached, against what each month earns, worked by hand.

A story is one YAML file. ``book`` is an excerpt of a price book, ``orders`` are won deals (line ``L12`` is the 2nd of
the first order), ``milestones`` says which line was reached when. Of each month: ``credit`` gives back amounts by
position of the month's invoice line; ``books`` is what the month moves on each ledger account, debit above zero,
receivables and billing clearing left out; ``deferred`` and ``balance`` stand at its end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from core.invoicing import Invoice, credit
from core.money import Money, total
from core.obligations import Obligation
from core.orders import Change, Order, amendments
from core.period import DateSpan
from core.posting import credit_entries, invoice_entries
from core.revenue import RecognitionPart, unearned
from core.revenue_reports import Side, roll_forward, waterfall
from core.store import Work
from flows.context import Hub
from flows.credit import _open_parts
from flows.post import post
from flows.recognise import promise, reach_milestone, recognise_through, schedule_credit, schedule_invoice
from flows.revenue_report import earnings, facts, totals
from tests.connectors import contract_netsuite, contract_stripe_gateway
from tests.flows.hubs import hub_with
from tests.scenarios.test_scenarios import Story, _order, begin, usd

STORIES = sorted(Path(__file__).parent.glob("*.yaml"))


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    systems = {
        "stripe": contract_stripe_gateway.settings("http://127.0.0.1:1"),
        "netsuite": contract_netsuite.settings("http://127.0.0.1:1"),
    }
    made = hub_with(f"sqlite:///{tmp_path / 'tieout.db'}", tmp_path, systems)
    yield made
    made.close()


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_each_month_earns_what_was_worked_by_hand(path: Path, hub: Hub, tmp_path: Path) -> None:
    story = begin(path, tmp_path)
    hub.settings = hub.settings.model_copy(update={"price_book": tmp_path / "book.yaml"})
    with hub.database.work() as work:
        work.add([story.account])
        for number, (told, contract) in enumerate(zip(story.told["orders"], story.subscriptions, strict=True), 1):
            order = _order(number, told, story.account)
            work.add([order])
            work.put(contract)
            promise(hub, work, order, contract, story.book)
        promised = {one.id: str(one.allocated.amount) for one in work.find(Obligation)}
    assert promised == story.told.get("allocated", promised)
    milestones = story.told.get("milestones", {})
    for month, expected in story.told["months"].items():
        _bill(hub, story, month, {int(at): usd(amount) for at, amount in expected.get("credit", {}).items()})
        for line, on in milestones.items():
            if f"{on:%Y-%m}" == month:
                reach_milestone(hub, f"O{line[1]}", line, on, "Ada")
                assert reach_milestone(hub, f"O{line[1]}", line, on, "Ada") == []
        recognise_through(hub, month)
        with hub.database.reading() as work:
            assert _moved(work, month) == expected["books"], month
            deferred, balance = _tied(work, month)
        assert str(deferred.amount) == expected.get("deferred", "0.00"), month
        assert str(balance.amount) == expected.get("balance", "0.00"), month


def _bill(hub: Hub, story: Story, month: str, given: dict[int, Money]) -> None:
    rated = story.rated(month)
    subtotal = str(total([line.amount for line in rated], "USD").amount)
    invoice = story.invoice(month, {"subtotal": subtotal})
    if invoice is None:
        return
    with hub.database.work() as work:
        work.put(invoice)
        post(hub, work, invoice_entries(hub.books(work, invoice.account_id), invoice))
        schedule_invoice(hub, work, invoice)
    if given:
        _credit(hub, invoice, given)


def _credit(hub: Hub, invoice: Invoice, given: dict[int, Money]) -> None:
    with hub.database.work() as work:
        parts = _open_parts(work, invoice, invoice.invoice_date)
        left = unearned(part for one in parts.values() for part in one)
        note = credit(invoice, given, [], "Given back", invoice.invoice_date, left)
        work.add([note])
        post(hub, work, credit_entries(hub.books(work, note.account_id), note))
        schedule_credit(hub, work, note, invoice, parts)


def _moved(work: Work, month: str) -> dict[str, str]:
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for one in work.sums.booked(through=month):
        if one.month == month and one.ledger_account not in ("1100", "1190"):
            sums[one.ledger_account] += one.net.amount
    return {account: str(amount) for account, amount in sorted(sums.items()) if amount}


def _tied(work: Work, month: str) -> tuple[Money, Money]:
    """What is deferred, and the balance of contracts, as ledger, schedules, movements and roll-forward say alike."""
    zero, ledger = usd("0"), work.sums.ledger_balances()
    deferred, balance = -ledger.get(("2400", "USD"), zero), ledger.get(("1120", "USD"), zero)
    assert deferred == work.sums.unbooked().get("USD", zero)
    assert balance == work.sums.contract_balances().get("USD", zero)
    found = facts(work)
    sums = totals(found, month)
    assert (sums.get((Side.DEFERRED, "USD"), zero), sums.get((Side.CONTRACT, "USD"), zero)) == (deferred, balance)
    rolls = roll_forward(found, month)
    assert total([one.closing for one in rolls if one.side is Side.DEFERRED], "USD") == deferred
    to_come = [
        amount for row in waterfall(earnings(work), month).values() for when, amount in row.items() if when > month
    ]
    assert total(to_come, "USD") == deferred
    return deferred, balance


def test_a_story_says_what_its_order_allocates_and_ends_at_zero() -> None:
    """What stands on the balance of a contract at the end of its story is nothing."""
    for path in STORIES:
        *_, last = yaml.safe_load(path.read_text())["months"].values()
        assert last.get("balance", "0.00") == "0.00", path


def test_a_replacement_catches_up_over_the_period_that_it_cuts(hub: Hub, tmp_path: Path) -> None:
    """A year at 1,200.00 costs 300.00 more from July: 600.00 back and 900.00 billed, both earned as from January."""
    told = tmp_path / "catch_up.yaml"
    charge = {"code": "YEAR", "product_code": "ALL", "name": "Year", "kind": "recurring", "every_months": 12}
    policy = {"convention": "month", "amendment": "catch_up"}
    book = {
        "products": [{"code": "ALL", "name": "All", "tax_code": "T", "revenue_account": "4100"}],
        "charges": [{**charge, "model": {"kind": "flat", "amount": "1200"}, "revenue": policy}],
    }
    first = {"start_on": date(2026, 1, 1), "term_months": 12, "lines": [{"charge": "YEAR", "unit_price": "1200"}]}
    told.write_text(yaml.safe_dump({"book": book, "orders": [first]}))
    story = begin(told, tmp_path)
    hub.settings = hub.settings.model_copy(update={"price_book": tmp_path / "book.yaml"})
    order = _order(1, first, story.account)
    change = {
        "id": "L21",
        "change": Change.REPLACE,
        "amends": "L11",
        "unit_price": Decimal(1800),
        "amount": usd("1800"),
    }
    line = order.lines[0].model_copy(update=change)
    amending = Order.model_validate(
        {
            **dict(order),
            "id": "O2",
            "amends": "O1",
            "start_on": date(2026, 7, 1),
            "total": usd("1800"),
            "lines": (line,),
        }
    )
    *_, (_, contract) = amendments(amending, story.subscriptions[0], story.book, order.changed_at)
    year = story.invoice("2026-01", {"subtotal": "1200.00"})
    assert year is not None
    rest = DateSpan(date(2026, 7, 1), date(2027, 1, 1))
    lines = tuple(
        year.lines[0].model_copy(
            update={
                "id": f"I2-{charge}",
                "rated_line_id": f"R2-{charge}",
                "subscription_charge_id": charge,
                "service_period": rest,
                "amount": usd(amount),
            }
        )
        for charge, amount in (("SC-L11", "-600"), ("SC-L21", "900"))
    )
    july = DateSpan.month("2026-07")
    bill = year.part(lines).replace(id="I2", billing_period=july, invoice_date=july.last_day)
    with hub.database.work() as work:
        work.add([story.account])
        work.add([order])
        work.add([amending])
        work.put(contract)
        for invoice in (year, bill):
            work.put(invoice)
            schedule_invoice(hub, work, invoice)
        earned: dict[str, Decimal] = defaultdict(Decimal)
        for part in work.find(RecognitionPart):
            earned[part.month] += part.amount.amount
    assert [str(earned[f"2026-{month:02}"]) for month in range(1, 13)] == ["100.00"] * 6 + ["275.00"] + ["125.00"] * 5
