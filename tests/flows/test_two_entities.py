"""A month with customers in euros, from order to certificate, on every general ledger; in NetSuite with two entities.

Every tie closes at 0.00 in both currencies, and so do the books.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.close import Verdict
from core.entities import LegalEntity
from core.invoicing import Invoice
from core.ledger import JournalEntry
from core.money import Money
from core.payments import Payment
from flows import collect, deliver, intake, write_back
from flows.close_books import Answer, Closing
from tests.connectors import contract_quickbooks, contract_xero
from tests.flows.test_currencies import european, rates
from tests.flows.world import CUSTOMERS, MONTH, PERIOD, SETTINGS, USAGE, Company, company

pytestmark = pytest.mark.server

#: Its books are in euros; it sells to A-0002, who pays in euros. All others are customers of the company in dollars,
#: among them A-0003, who pays in euros too.
EUROPE = LegalEntity(id="eu", name="Northwind Europe", currency="EUR", sells_to={"account": ["A-0002"]})
YEAR, ENDPOINTS = "INV-2026-10-A-0002", "INV-2026-10-A-0003"
LEDGERS = {"quickbooks": contract_quickbooks.settings, "xero": contract_xero.settings}
#: What each of them must be told before it takes other currencies.
SWITCHED: dict[str, Any] = {"quickbooks": {"multicurrency": True}, "xero": {"currencies": ["USD", "EUR"]}}


@pytest.fixture(params=["netsuite", *LEDGERS])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Company]:
    erp = request.param
    others = {name: make for name, make in SETTINGS.items() if name != "netsuite"}
    with company(tmp_path, {**others, erp: {**SETTINGS, **LEDGERS}[erp]}) as entered:
        if erp == "netsuite":
            settings = entered.hub.settings
            entered.hub.settings = settings.model_copy(update={"entities": [EUROPE]})
        else:
            httpx.post(f"{entered.running.urls[erp]}/_sandbox/{erp}", json=SWITCHED[erp]).raise_for_status()
        entered.enter(*CUSTOMERS)
        entered.bring("bridge.2026-10.csv", USAGE)
        for account in ("A-0002", "A-0003") if erp == "netsuite" else ("A-0003",):
            european(entered, account)
        yield entered


def ties_out(world: Company) -> dict[tuple[str, str], Money]:
    """What each ledger account holds by code and currency, the same here and there; only money is awaited."""
    lines, breaks = world.tie_out()
    assert {one.kind for one in breaks} <= {"payment_awaited"}
    assert {line.tie for line in lines if line.difference} <= {"invoices = payments"}
    accounts = [line for line in lines if line.tie.startswith("GL ")]
    return {(line.tie.split()[1], line.unit): Money.of(str(line.right), line.unit) for line in accounts}


def billed(world: Company) -> None:
    """The steps of a month up to the asking for money."""
    for name, step in MONTH:
        if name == "collect":
            break
        step(world.hub)
    write_back.tell_crm(world.hub)
    deliver.deliver_all(world.hub)


def test_a_month_with_a_customer_in_euros_closes_with_what_the_euro_won_and_lost(
    world: Company, tmp_path: Path
) -> None:
    """A-0003 owes 72.00 euros, booked as 75.60 dollars at the 1.05 that was known. At the 1.08 of the month's last day,
    told later, they are worth 77.76; they are paid at 1.10 and bring 79.20."""
    rates(world, tmp_path, "2026-10-01,EUR,USD,1.05", "2026-11-20,EUR,USD,1.10")
    billed(world)
    with world.hub.database.reading() as work:
        invoices = {one.id: one for one in work.find(Invoice)}
        assert work.desk.open() == []
    shown_there(world, invoices)
    rates(world, tmp_path, "2026-10-31,EUR,USD,1.08")
    approve = Answer(Verdict.APPROVE, "anna", "", "test")
    for entity in sorted({one.entity for one in invoices.values()}, reverse=True):
        report = Closing(world.hub, PERIOD, "olga", lambda _question, _number: approve, entity).run()
        assert report.counts == {"closed": 1}, report
    owed = ties_out(world)
    dollars = [one.total for one in invoices.values() if one.currency == "USD"]
    assert owed["1100", "USD"] == sum(dollars, Money.of("75.60", "USD"))
    with world.hub.database.reading() as work:
        (won,) = work.find(JournalEntry, event="fx unrealised")
    assert (won.posted_on, str(won.lines[0].amount)) == (date(2026, 10, 31), "2.16 USD")

    collect.request_payments(world.hub)
    deliver.deliver_all(world.hub)
    intake.take_in(world.hub)
    intake.book_settlements(world.hub)
    deliver.deliver_all(world.hub)
    held = ties_out(world)
    assert world.tie_out()[1] == []
    assert held["7000", "USD"] == Money.of("-3.60", "USD")
    assert held["1100", "USD"] == Money.zero("USD")
    assert held.get(("1100", "EUR"), Money.zero("EUR")) == Money.zero("EUR")
    with world.hub.database.reading() as work:
        (paid,) = work.find(Payment, invoice_id=ENDPOINTS)
        (gain,) = work.find(JournalEntry, event="fx realised")
    assert paid.exchange_rate
    assert (paid.entity, round(paid.exchange_rate, 6), gain.entity) == ("main", Decimal("1.1"), "main")


def shown_there(world: Company, invoices: dict[str, Invoice]) -> None:
    """How the ledger shows the invoices in euros, each with the rate of our books."""
    shelf = world.running.emulators[world.hub.system("erp")].shelf
    match world.hub.system("erp"):
        case "netsuite":
            assert {one.entity for one in invoices.values()} == {"main", "eu"}
            assert (invoices[YEAR].entity, invoices[YEAR].exchange) == ("eu", None)
            kept = world.held("netsuite", "invoice", ENDPOINTS)
            assert (kept["subsidiary"]["internalId"], kept["currency"]["name"], str(kept["exchangeRate"])) == (
                "1", "EUR", "1.05"
            )  # fmt: skip
            assert world.held("netsuite", "invoice", YEAR)["subsidiary"]["internalId"] == "2"
            assert world.held("netsuite", "customer", "A-0002")["subsidiary"]["internalId"] == "2"
        case "quickbooks":
            (kept,) = shelf.where("invoice", DocNumber=ENDPOINTS)
            assert (kept["CurrencyRef"]["value"], str(kept["ExchangeRate"])) == ("EUR", "1.05")
            assert str(kept["HomeTotalAmt"]) == "75.60"
        case "xero":
            (kept,) = shelf.where("invoice", InvoiceNumber=ENDPOINTS)
            assert (kept["CurrencyCode"], str(kept["CurrencyRate"])) == ("EUR", "0.952381")
            assert invoices[ENDPOINTS].inverse_rate == Decimal("0.952381")
