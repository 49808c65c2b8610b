"""Runs the stories beside this file: what was sold and used, against the invoice, journal and earnings worked by hand.

A story is one YAML file. ``book`` is an excerpt of a price book, ``orders`` are won deals, ``usage`` is what sources
send. Each of ``months`` expects of a billing month, amounts in dollars:

- ``lines``: charge, site (``-``: the account), service days, quantity, amount before tax; ``[]``: no invoice
- ``tax``: what the tax engine answers, by position of the line; and the ``subtotal``, ``tax_total``, ``total``
- ``journal``: what the invoice moves on each ledger account, debit above zero; receivables included
- ``earned``: what is earned of what was deferred, by revenue account; ``deferred``: what is left
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.accounts import Account, Site
from core.catalog import PriceBook, load_price_book
from core.invoicing import Invoice, InvoiceStatus, draft, finalise
from core.ledger import JournalEntry
from core.metering import Cut, UsageStore
from core.money import Money, total
from core.orders import activate
from core.period import DateSpan, start_of_day
from core.posting import invoice_entries, recognition_entries
from core.rating import RatedLine, rate
from core.revenue import RecognitionPart, straight_line
from core.subscriptions import Subscription
from core.usage import Service, ServiceIndex
from tests.books import BILLING_CLEARING, BOOKS, DEFERRED_REVENUE
from tests.scenarios.told import ADDRESS, Told, answered, order_of, usd

STORIES = sorted(Path(__file__).parent.glob("*.yaml"))


@dataclass
class Story:
    """A story brought as far as its subscriptions and its usage."""

    told: Told
    book: PriceBook
    account: Account
    subscriptions: list[Subscription]
    usage: UsageStore

    def rated(self, month: str) -> tuple[RatedLine, ...]:
        billing = DateSpan.month(month)
        metered = self.usage.aggregate([Cut(account_id="A-1", period=billing.instants(self.account.timezone))])
        return rate(self.book, self.account, self.subscriptions, billing, metered)

    def invoice(self, month: str, expected: Told) -> Invoice | None:
        """The month's final invoice, with the tax engine's answer as the story gives it."""
        billing = DateSpan.month(month)
        drafted = draft(self.account, self.rated(month), self.book, billing, billing.last_day)
        taxes = {int(position): usd(amount) for position, amount in expected.get("tax", {}).items()}
        return drafted and finalise(drafted, answered(drafted, usd(expected["subtotal"]), taxes))


def begin(path: Path, folder: Path) -> Story:
    told = yaml.safe_load(path.read_text())
    excerpt = folder / "book.yaml"
    excerpt.write_text(yaml.safe_dump({"name": path.stem, "currency": "USD", **told["book"]}))
    book = load_price_book(excerpt)
    customer = {"timezone": "America/Denver", "payment_terms_days": 30, **told.get("account", {})}
    account = Account(
        id="A-1",
        name="Customer",
        email="ap@customer.example",
        currency="USD",
        billing_address=ADDRESS,
        sites=tuple(Site(id=f"S{number}", name=f"Site {number}", address=ADDRESS) for number in range(1, 6)),
        **customer,
    )
    subscriptions = [activate(order_of(number, one, account), book) for number, one in enumerate(told["orders"], 1)]
    usage = UsageStore(folder / "usage")
    if told.get("usage"):
        _ingest(usage, folder / "bridge.csv", told["usage"], _served(subscriptions, book))
    return Story(told, book, account, subscriptions, usage)


def _served(subscriptions: Iterable[Subscription], book: PriceBook) -> ServiceIndex:
    """Which meters are served where; a charge of the account serves all its sites."""
    found = []
    for subscription in subscriptions:
        for line in subscription.charges:
            meter = book.charge(line.charge_code).meter
            for site in [line.site_id] if line.site_id else [None, *(f"S{number}" for number in range(1, 6))]:
                if meter is not None:
                    begins = start_of_day(line.starts_on, subscription.timezone)
                    found.append(Service(account_id="A-1", site_id=site, meter=meter, starts_at=begins))
    return ServiceIndex(services=tuple(found))


def _ingest(usage: UsageStore, path: Path, events: Sequence[Told], services: ServiceIndex) -> None:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "account_id", "site_id", "meter", "quantity", "occurred_at"])
        for number, event in enumerate(events):
            rows.writerow([number, "A-1", event.get("site", ""), event["meter"], event["quantity"], event["at"]])
    report = usage.ingest(path, "bridge", services, datetime(2030, 1, 1, tzinfo=UTC))
    assert (report.accepted, report.rejected) == (len(events), 0)


def moved(entries: Iterable[JournalEntry]) -> dict[str, str]:
    """What entries move on each ledger account, debit above zero; accounts that end at zero are left out."""
    sums: dict[str, Money] = {}
    for entry in entries:
        for line in entry.lines:
            amount = line.debit if line.debit is not None else -(line.credit or usd("0"))
            sums[line.ledger_account] = sums.get(line.ledger_account, usd("0")) + amount
    return {account: str(amount.amount) for account, amount in sorted(sums.items()) if amount}


def shown(invoice: Invoice) -> list[list[str]]:
    return [
        [line.charge_code, line.site_id or "-", str(line.service_period), str(line.quantity), str(line.amount.amount)]
        for line in invoice.lines
    ]


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_a_story_ends_as_it_was_worked_by_hand(path: Path, tmp_path: Path) -> None:
    story = begin(path, tmp_path)
    parts: list[RecognitionPart] = []
    for month, expected in story.told["months"].items():
        invoice = story.invoice(month, expected)
        if not expected["lines"]:
            assert invoice is None, month
        else:
            assert invoice is not None, month
            assert shown(invoice) == expected["lines"], month
            assert_books(invoice, expected)
            deferred = [line for line in invoice.lines if line.defer and line.amount]
            parts += [part for line in deferred for part in straight_line(line, story.account.id)]
        earned = [part for part in parts if part.month == month]
        if "earned" in expected:
            entries = recognition_entries(BOOKS, month, story.account.id, earned) if earned else []
            booked = {account: Decimal(amount) for account, amount in moved(entries).items()}
            released = booked.pop(DEFERRED_REVENUE, Decimal(0))
            assert {account: str(-amount) for account, amount in booked.items()} == expected["earned"], month
            assert released == -sum(booked.values()), month
        if "deferred" in expected:
            left = total([part.amount for part in parts if part.month > month], "USD")
            assert str(left.amount) == expected["deferred"], month


def assert_books(invoice: Invoice, expected: Told) -> None:
    """Figures, dates and bookings of a final invoice; billing clearing always returns to zero."""
    assert invoice.status is InvoiceStatus.FINAL
    assert [str(one.amount) for one in (invoice.subtotal, invoice.tax, invoice.total)] == [
        expected["subtotal"],
        expected.get("tax_total", "0.00"),
        expected["total"],
    ]
    if "due_on" in expected:
        assert invoice.due_date == expected["due_on"]
    if "exemption" in expected:
        assert invoice.tax_exemption == expected["exemption"]
    entries = invoice_entries(BOOKS, invoice)
    assert moved(entries) == expected["journal"]
    assert BILLING_CLEARING not in expected["journal"]
    assert {entry.posted_on for entry in entries} <= {invoice.invoice_date}


def test_a_wrong_figure_in_a_story_is_found(tmp_path: Path) -> None:
    """The runner itself is tried: one cent more in a story is an error."""
    path = tmp_path / "wrong.yaml"
    path.write_text((Path(__file__).parent / "negotiated_price.yaml").read_text().replace('"45.75"', '"45.76"'))
    (tmp_path / "run").mkdir()
    with pytest.raises(AssertionError):
        test_a_story_ends_as_it_was_worked_by_hand(path, tmp_path / "run")


def test_every_day_is_a_date_of_the_calendar() -> None:
    """YAML reads an unquoted day as a date, and every amount is text, so that no float comes in."""

    def leaves(value: Any) -> Iterable[Any]:
        if isinstance(value, Mapping):
            for item in value.values():
                yield from leaves(item)
        elif isinstance(value, list):
            for item in value:
                yield from leaves(item)
        else:
            yield value

    for path in STORIES:
        assert {type(leaf) for leaf in leaves(yaml.safe_load(path.read_text()))} <= {str, int, date}, path
