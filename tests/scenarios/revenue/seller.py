"""A seller of contracts: takes orders, bills month by month, gives back, hears of milestones, and earns what is due.

It does what the flows do, with the same functions, without other systems. Amounts are dollars.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path

import yaml

from core.accounts import Account
from core.allocation import Allocation, allocated, standing
from core.catalog import PriceBook, load_price_book
from core.invoicing import CreditNote, Invoice, credit, draft, finalise
from core.money import Money, total
from core.obligations import Obligation
from core.orders import Order, activate, amendments
from core.period import DateSpan
from core.posting import credit_entries, invoice_entries
from core.rating import RatedLine, rate
from core.rating.corrections import corrections
from core.revenue import unearned
from core.revenue_reports import Side, roll_forward, rolls_by_contract, waterfall
from core.store import Work
from core.subscriptions import Subscription
from flows.context import Hub
from flows.credit import open_parts
from flows.post import post
from flows.promise import promise
from flows.recognise import reach_milestone, recognise_through, schedule_credit, schedule_invoice
from flows.revenue_report import earnings, facts, totals
from tests.connectors import contract_netsuite, contract_stripe_gateway
from tests.flows.hubs import hub_with
from tests.scenarios.told import ADDRESS, Told, answered, order_of, usd

ACCOUNT = Account(
    id="A-1",
    name="Customer",
    email="ap@customer.example",
    currency="USD",
    timezone="America/Denver",
    payment_terms_days=30,
    billing_address=ADDRESS,
)
DEFERRED, CONTRACT, RECEIVABLES, CLEARING = "2400", "1120", "1100", "1190"


def months(first: str, last: str) -> Iterator[str]:
    """Each month from one to the other, both included."""
    while first <= last:
        yield first
        first = f"{DateSpan.month(first).end:%Y-%m}"


def deal(number: int, told: Told) -> Order:
    """What the customer of these stories buys."""
    return order_of(number, told, ACCOUNT)


class Seller:
    """One customer, its contracts, and the books."""

    def __init__(self, folder: Path, book: Told) -> None:
        excerpt = folder / "book.yaml"
        excerpt.write_text(yaml.safe_dump({"name": "Excerpt", "currency": "USD", **book}))
        systems = {
            "stripe": contract_stripe_gateway.settings("http://127.0.0.1:1"),
            "netsuite": contract_netsuite.settings("http://127.0.0.1:1"),
        }
        self.hub: Hub = hub_with(f"sqlite:///{folder / 'tieout.db'}", folder, systems)
        self.hub.settings = self.hub.settings.model_copy(update={"price_book": excerpt})
        self.book: PriceBook = load_price_book(excerpt)
        self.rated: dict[str, list[RatedLine]] = defaultdict(list)
        with self.hub.database.work() as work:
            work.add([ACCOUNT])

    def take(self, order: Order) -> None:
        """A won deal, or one that amends another."""
        with self.hub.database.work() as work:
            if order.amends is None:
                contract = activate(order, self.book)
            else:
                first = order
                while first.amends is not None:
                    first = work.find(Order, id=first.amends)[0]
                (standing_contract,) = work.find(Subscription, order_id=first.id)
                *_, (_, contract) = amendments(order, standing_contract, self.book, order.changed_at)
            work.add([order])
            work.put(contract)
            promise(self.hub, work, order, contract, self.book)

    def bill(self, month: str) -> Invoice | None:
        """The month's invoice: what falls due, and what is known now of months that were billed."""
        with self.hub.database.work() as work:
            contracts = work.find(Subscription)
            for earlier in [one for one in sorted(self.rated) if one < month]:
                again = rate(self.book, ACCOUNT, contracts, DateSpan.month(earlier), [])
                self.rated[earlier] += (found := corrections(again, self.rated[earlier], earlier, month))
                self.rated[month] += found
            due = rate(self.book, ACCOUNT, contracts, DateSpan.month(month), [])
            lines = [*self.rated.pop(month, ()), *due]
            self.rated[month] = [*due]
            billing = DateSpan.month(month)
            drafted = draft(ACCOUNT, lines, self.book, billing, billing.last_day)
            if drafted is None:
                return None
            invoice = finalise(drafted, answered(drafted, drafted.subtotal, {}))
            work.put(invoice)
            post(self.hub, work, invoice_entries(self.hub.books(work, ACCOUNT.id), invoice))
            schedule_invoice(self.hub, work, invoice)
        return invoice

    def give_back(self, invoice: Invoice, given: Mapping[int, Money | None], on: date, why: str) -> CreditNote:
        """``given``: amounts by position of the line, None: all that is left of it."""
        with self.hub.database.work() as work:
            parts = open_parts(work, invoice, on)
            left = unearned(part for one in parts.values() for part in one)
            before = work.find(CreditNote, invoice_id=invoice.id)
            note = credit(invoice, given, before, why, on, left)
            work.add([note])
            post(self.hub, work, credit_entries(self.hub.books(work, note.account_id), note))
            schedule_credit(self.hub, work, note, invoice, parts)
        return note

    def reach(self, line: str, on: date) -> list[tuple[str, Money]]:
        """A person says that a milestone was reached."""
        return reach_milestone(self.hub, f"O{line[1]}", line, on, "Ada", "signed by the customer")

    def earn(self, month: str) -> None:
        recognise_through(self.hub, month)

    def allocated(self) -> dict[str, str]:
        """What is allocated to each order line now."""
        with self.hub.database.reading() as work:
            return {one.id: str(allocated(self.phases(work, one)).amount) for one in work.find(Obligation)}

    def phases(self, work: Work, one: Obligation) -> tuple[Allocation, ...]:
        return standing(one, work.find(Allocation, obligation_id=one.id))

    def moved(self, month: str) -> dict[str, str]:
        """What a month moves on each ledger account, debit above zero; receivables and billing clearing left out."""
        sums: dict[str, Decimal] = defaultdict(Decimal)
        with self.hub.database.reading() as work:
            for one in work.sums.booked(through=month):
                if one.month == month and one.ledger_account not in (RECEIVABLES, CLEARING):
                    sums[one.ledger_account] += one.net.amount
        return {account: str(amount) for account, amount in sorted(sums.items()) if amount}

    def tied(self, month: str) -> tuple[Money, Money]:
        """What is deferred, and the balance of contracts, as ledger, schedules, movements and reports say alike."""
        with self.hub.database.reading() as work:
            zero, ledger = usd("0"), work.sums.ledger_balances()
            deferred, balance = -ledger.get((DEFERRED, "USD"), zero), ledger.get((CONTRACT, "USD"), zero)
            assert deferred == work.sums.unbooked().get("USD", zero)
            assert balance == work.sums.contract_balances().get("USD", zero)
            assert not ledger.get((CLEARING, "USD"))
            found = facts(work)
            sums = totals(found, month)
            assert (sums.get((Side.DEFERRED, "USD"), zero), sums.get((Side.CONTRACT, "USD"), zero)) == (
                deferred,
                balance,
            )
            rolls = roll_forward(found, month)
            assert total([one.closing for one in rolls if one.side is Side.DEFERRED], "USD") == deferred
            rows = waterfall(earnings(work), month).values()
            assert total([money for row in rows for when, money in row.items() if when > month], "USD") == deferred
            span = DateSpan.month(month)
            told = {(one.contract, one.side): one.closing for one in rolls if one.closing}
            moved = work.contracts.moved("main", [DEFERRED, CONTRACT], span.start, span.end)
            held = {
                (one.detail, Side.DEFERRED if one.ledger_account == DEFERRED else Side.CONTRACT): one.closing
                for one in rolls_by_contract("main", moved)
                if one.closing
            }
            assert held == {key: -one if key[1] is Side.DEFERRED else one for key, one in told.items()}
            falls = work.contracts.waterfall("main", [DEFERRED], span.end)
            assert total([one.amount for one in falls if one.earned_in > month], "USD") == deferred
        return deferred, balance

    def close(self) -> None:
        self.hub.close()
