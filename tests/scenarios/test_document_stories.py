"""Runs the stories in ``documents/``: what customers hold, owe and object to, step by step, through the flows.

A story is one YAML file. ``book`` is an excerpt of a price book; ``accounts`` may say ``currency``, ``parent``,
``place`` (Denver, where nothing is taxed, or Austin) and ``terms``; ``orders`` are won deals. The tax engine is
its emulator; payments are told as the gateway would. Each of ``steps`` is one of:

- ``use``: site, meter and quantity at a time; ``rates``: exchange rates as in their file
- ``bill``: a month, rated, drafted, taxed and final; ``settle_credits``: a month
- ``pay``, ``credit``, ``dispute``, ``adjust``, ``grant``, ``grant_units``, ``top_up``: as the command line does
- ``expect``: of ``invoices`` their lines (charge, amount), ``tax``, ``total``, ``rate``, what is ``open`` and ``asked``
  for; ``none``: invoices that are not there; what is ``left`` of credit and ``units`` by account; ``ledger`` balances,
  debit above zero; amounts that are ``carried``
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from core.accounts import Account, Address, BillingTerms, Site
from core.catalog import PriceBook, read_yaml
from core.currencies import in_currency
from core.invoicing import CarryForward, Invoice
from core.ledger import JournalEntry
from core.money import Money, total
from core.orders import activate
from core.payments import Payment, PaymentStatus
from core.period import DateSpan
from core.ports import World
from core.sync import InboxEvent
from core.units import UnitBalance
from core.wallets import CreditGrant, balance
from flows import adjust, bill, collect, ingest, intake, rate
from flows.context import Hub
from flows.credit import Leftover, credit_invoice
from flows.credits import grant_credit, settle_credits, top_up
from flows.deliver import deliver_system
from flows.exchange import load_rates
from flows.receivables import receivables
from flows.units import grant_units
from sandbox import server
from tests.connectors import contract_avalara, contract_netsuite, contract_salesforce, contract_stripe_gateway
from tests.flows.hubs import ManualTime, hub_with
from tests.scenarios.test_scenarios import moved
from tests.scenarios.told import order_of

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("document stories")]

STORIES = sorted((Path(__file__).parent / "documents").glob("*.yaml"))
PLACES = {
    "Denver": Address(line1="1801 California St", city="Denver", region="CO", postal_code="80202", country="US"),
    "Austin": Address(line1="500 Congress Ave", city="Austin", region="TX", postal_code="78701", country="US"),
}
Told = Mapping[str, Any]


@pytest.fixture
def tax_engine() -> Iterator[str]:
    """An engine of its own for each story, since they give their invoices the same numbers."""
    with server.start(["avalara"]) as running:
        yield running.urls["avalara"]


def day(told: Any) -> date:
    return told if isinstance(told, date) else date.fromisoformat(str(told))


@dataclass
class Story:
    """A story under way."""

    hub: Hub
    folder: Path
    files: int = 0

    def money(self, account: str, amount: str) -> Money:
        with self.hub.database.reading() as work:
            held = work.get(Account, account)
        assert held, account
        return Money.of(amount, held.currency)

    def file(self, ending: str, *rows: str) -> Path:
        self.files += 1
        path = self.folder / f"{self.files}.{ending}"
        path.write_text("\n".join(rows) + "\n")
        return path

    def invoice(self, ident: str) -> Invoice:
        with self.hub.database.reading() as work:
            found = work.get(Invoice, ident)
            known = [one.id for one in work.find(Invoice)]
        assert found, f"{ident} is not among {known}"
        return found

    # -- steps

    def use(self, told: Told) -> None:
        folder = self.hub.settings.state_folder / ingest.FOLDER
        folder.mkdir(exist_ok=True)
        self.files += 1
        row = f"u{self.files},{told['account']},{told['site']},{told['meter']},{told['quantity']},{told['at']}"
        head = "id,account_id,site_id,meter,quantity,occurred_at"
        (folder / f"bridge.{self.files}.csv").write_text(f"{head}\n{row}\n")
        assert ingest.ingest_files(self.hub).failures == []

    def rates(self, told: list[str]) -> None:
        load_rates(self.hub, self.file("csv", "valid_on,base,quote,rate", *told), "ECB")

    def bill(self, month: str) -> None:
        reports = [rate.rate_period(self.hub, month), bill.draft_invoices(self.hub, month)]
        deliver_system(self.hub, "avalara")
        reports.append(bill.finalise_invoices(self.hub))
        assert [entry.message for one in reports for entry in one.failures] == []

    def settle_credits(self, month: str) -> None:
        settle_credits(self.hub, month)

    def pay(self, ident: str) -> None:
        """The gateway brings what it is asked for."""
        collect.request_payments(self.hub)
        invoice = self.invoice(ident)
        with self.hub.database.reading() as work:
            (one,) = receivables(self.hub, work, [invoice])
        for request, amount in one.asked.items():
            self.files += 1
            payment = Payment(
                id=request,
                vendor_id=f"pi_{self.files}",
                account_id=invoice.account_id,
                invoice_id=ident,
                currency=invoice.currency,
                amount=amount,
                status=PaymentStatus.SUCCEEDED,
                received_at=self.hub.now(),
            )
            event = InboxEvent(
                system="stripe",
                event_id=f"evt_{self.files}",
                resource="payment",
                vendor_id=payment.vendor_id,
                kind="told",
                occurred_at=self.hub.now(),
                received_at=self.hub.now(),
            )
            intake.take_payment(self.hub, event, payment)

    def credit(self, told: Told) -> None:
        currency = self.invoice(told["invoice"]).currency
        wanted = {
            int(position): None if amount == "whole" else Money.of(amount, currency)
            for position, amount in told.get("lines", {}).items()
        }
        leftover = Leftover.REFUND if told.get("refund") else Leftover.BALANCE
        credit_invoice(self.hub, told["invoice"], wanted, told["reason"], day(told["on"]), leftover)

    def dispute(self, told: Told) -> None:
        if "close" in told:
            adjust.close_dispute(self.hub, told["close"], day(told["on"]))
            return
        held = Money.of(told["amount"], self.invoice(told["invoice"]).currency)
        adjust.open_dispute(self.hub, told["invoice"], held, told["reason"], day(told["on"]))

    def adjust(self, told: Told) -> None:
        amount = Money.of(told["amount"], self.invoice(told["invoice"]).currency)
        adjust.adjust_line(self.hub, told["invoice"], int(told["line"]), amount, told["reason"])

    def grant(self, told: Told) -> None:
        amount, on = self.money(told["account"], told["amount"]), day(told["on"])
        expires = day(told["expires"]) if "expires" in told else None
        charges = tuple(told.get("charges", ()))
        grant_credit(self.hub, told["account"], amount, told["reason"], "story", on, expires, charges)

    def grant_units(self, told: Told) -> None:
        until = day(told["until"]) if "until" in told else None
        units, first = Decimal(told["units"]), day(told["from"])
        grant_units(self.hub, told["account"], units, tuple(told["charges"]), told["reason"], first, first, until)

    def top_up(self, told: Told) -> None:
        top_up(self.hub, told["account"], self.money(told["account"], told["amount"]), day(told["on"]))

    # -- expectations

    def expect(self, told: Told) -> None:
        for ident, expected in told.get("invoices", {}).items():
            self._expect_invoice(self.invoice(ident), expected)
        with self.hub.database.reading() as work:
            known = {one.id for one in work.find(Invoice)}
            assert known.isdisjoint(told.get("none", ()))
            for account, left in told.get("left", {}).items():
                grants = work.find(CreditGrant, account_id=account)
                assert str(balance(grants, grants[0].currency if grants else "USD").amount) == left, account
            for account, left in told.get("units", {}).items():
                balances = work.find(UnitBalance, account_id=account)
                latest = max((one.period for one in balances), default="")
                assert str(sum(one.closing for one in balances if one.period == latest)) == left, account
            if "ledger" in told:
                booked = moved(work.find(JournalEntry))
                assert {code: booked.get(code, "0.00") for code in told["ledger"]} == told["ledger"]
            if "carried" in told:
                kept = work.find(CarryForward, taken_by=None)
                assert [str(one.amount.amount) for one in kept] == told["carried"]

    def _expect_invoice(self, invoice: Invoice, expected: Told) -> None:
        shown = [[line.charge_code, str(line.amount.amount)] for line in invoice.lines]
        if "lines" in expected:
            assert shown == expected["lines"], invoice.id
        if "tax" in expected:
            assert str(invoice.tax.amount) == expected["tax"], invoice.id
        if "total" in expected:
            assert f"{invoice.total.amount} {invoice.currency}" == f"{expected['total']}", invoice.id
        if "rate" in expected:
            assert invoice.exchange
            assert str(invoice.exchange.rate) == expected["rate"], invoice.id
        if "open" in expected:
            with self.hub.database.reading() as work:
                (one,) = receivables(self.hub, work, [invoice])
            assert str(one.open.amount) == expected["open"], invoice.id
        if "asked" in expected:
            collect.request_payments(self.hub)
            with self.hub.database.reading() as work:
                (one,) = receivables(self.hub, work, [invoice])
            assert str(total(one.asked.values(), invoice.currency).amount) == expected["asked"], invoice.id


def begin(told: Told, folder: Path, tax_url: str) -> Story:
    """The company of a story: its systems are named, and only the tax engine answers."""
    nowhere = "http://127.0.0.1:9"
    systems = {
        "salesforce": contract_salesforce.settings(nowhere),
        "avalara": contract_avalara.settings(tax_url),
        "stripe": contract_stripe_gateway.settings(nowhere),
        "netsuite": contract_netsuite.settings(nowhere),
    }
    time = ManualTime()
    hub = hub_with(f"sqlite:///{folder / 'tieout.db'}", folder, systems, World(clock=time.clock, sleep=time.sleep))
    content = {"name": "story", "currency": "USD", **told["book"]}
    book = PriceBook.model_validate_json(json.dumps(content, default=str))
    hub.__dict__["price_book"] = book
    accounts = {ident: _account(ident, one or {}) for ident, one in told["accounts"].items()}
    with hub.database.work() as work:
        for account in accounts.values():
            work.put(account)
        for number, one in enumerate(told["orders"], 1):
            order = order_of(number, {**one, "start_on": day(one["start_on"])}, accounts[one["account"]])
            work.add([order])
            work.add([activate(order, in_currency(book, order.currency))])
    for ident, one in told["accounts"].items():
        if terms := (one or {}).get("terms"):
            minimum = {"minimum": Money.of(terms["minimum"], accounts[ident].currency)} if "minimum" in terms else {}
            stated = {"id": ident, "currency": accounts[ident].currency, **terms} | minimum
            adjust.set_terms(hub, BillingTerms.model_validate(stated, strict=False))
    return Story(hub, folder)


def _account(ident: str, told: Told) -> Account:
    place = PLACES[told.get("place", "Denver")]
    return Account(
        id=ident,
        name=f"Customer {ident}",
        email="ap@customer.example",
        currency=told.get("currency", "USD"),
        timezone="America/Denver",
        billing_address=place,
        sites=tuple(Site(id=f"{ident}-S{number}", name=f"Site {number}", address=place) for number in (1, 2)),
        parent_id=told.get("parent"),
        tax_exemption=told.get("exemption"),
    )


def run(story: Story, steps: list[dict[str, Any]]) -> None:
    for number, step in enumerate(steps, 1):
        ((what, told),) = step.items()
        act: Callable[[Any], None] = getattr(story, what)
        try:
            act(told)
        except AssertionError as error:
            raise AssertionError(f"step {number}, {what}: {error}") from error


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_documents_of_a_story_are_as_they_were_worked_by_hand(path: Path, tmp_path: Path, tax_engine: str) -> None:
    told = read_yaml(path)
    story = begin(told, tmp_path, tax_engine)
    try:
        run(story, told["steps"])
    finally:
        story.hub.close()


def test_a_wrong_figure_in_a_story_of_documents_is_found(tmp_path: Path, tax_engine: str) -> None:
    """The runner itself is tried: one cent more in a story is an error that names its step."""
    told = read_yaml(Path(__file__).parent / "documents" / "prepaid_wallet.yaml")
    last = next(step for step in reversed(told["steps"]) if "expect" in step)
    last["expect"]["left"] = {"A-1": "0.01"}
    story = begin(told, tmp_path, tax_engine)
    with pytest.raises(AssertionError, match="step"):
        run(story, told["steps"])
    story.hub.close()


def test_every_month_a_story_bills_is_a_month() -> None:
    for path in STORIES:
        for step in read_yaml(path)["steps"]:
            if "bill" in step:
                DateSpan.month(step["bill"])
