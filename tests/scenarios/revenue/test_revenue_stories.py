"""Runs the stories beside this file: what is sold, billed and reached, against what each month earns, worked by hand.

A story is one YAML file. ``book`` is an excerpt of a price book, ``orders`` are won deals (line ``L12`` is the 2nd of
the first order), ``milestones`` says which line was reached when. Of each month: ``credit`` gives back amounts by
position of the month's invoice line; ``books`` is what the month moves on each ledger account, debit above zero,
receivables and billing clearing left out; ``deferred`` and ``balance`` stand at its end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from core.invoicing import Invoice, credit
from core.money import Money, total
from core.obligations import Obligation
from core.posting import credit_entries, invoice_entries
from core.revenue import unearned
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
