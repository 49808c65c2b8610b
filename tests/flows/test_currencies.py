"""A customer whose currency is not that of the books: rates are loaded once, the invoice states its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.catalog import PriceBook
from core.fx import FxRate, RatesError
from core.invoicing import Invoice
from core.money import Money
from core.rational import Fraction
from core.wallets import CreditGrant
from flows import bill, deliver, intake, rate
from flows.credits import settle_credits
from flows.exchange import load_rates
from tests.flows.world import PERIOD, Company

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("company")]

INVOICE = "INV-2026-10-A-0003"


def european(world: Company, account: str = "A-0003", **more: object) -> None:
    """A customer in euros, and a price book that sells in euros too, at the rate of the day."""
    world.set("salesforce", "Account", f"Customer {account}", CurrencyIsoCode="EUR")
    shelf = world.running.emulators["salesforce"].shelf
    deal = world.held("salesforce", "Opportunity", f"{account} conferencing")
    world.set("salesforce", "Opportunity", f"{account} conferencing", CurrencyIsoCode="EUR")
    for line in shelf.all("OpportunityLineItem"):
        if line["OpportunityId"] == deal["Id"]:
            shelf.keep("OpportunityLineItem", line["Id"], {**line, "CurrencyIsoCode": "EUR"})
    book = world.hub.price_book.model_dump(mode="json")
    told = {**book, "currencies": [{"code": "EUR", "others": "convert"}], **more}
    world.hub.__dict__["price_book"] = PriceBook.model_validate_json(json.dumps(told))


def rates(world: Company, folder: Path, *rows: str) -> None:
    path = folder / "rates.csv"
    path.write_text("\n".join(["valid_on,base,quote,rate", *rows]) + "\n")
    load_rates(world.hub, path, "ECB")


def test_an_invoice_in_another_currency_states_its_rate_and_needs_one(world: Company, tmp_path: Path) -> None:
    """Four endpoints at the 18.00 of the order are 72.00 euros. Without a rate the account stands on the desk alone."""
    european(world)
    report = world.month(until="rate")["rate"]
    assert [(one.record_id, one.field) for one in report.failures] == [("A-0003", "rate")]
    rates(world, tmp_path, "2026-10-30,EUR,USD,1.0842")
    world.month(until="finalise")
    with world.hub.database.reading() as work:
        found = work.get(Invoice, INVOICE)
    assert found
    assert found.exchange
    assert (found.total, found.exchange.rate) == (Money(7200, "EUR"), Fraction("1.0842"))
    assert found.exchange.rates == ("ECB:EUR/USD:2026-10-30",)


def test_credit_of_a_plan_is_granted_in_the_currency_of_the_account(world: Company, tmp_path: Path) -> None:
    """10 dollars for each of 4 endpoints are 40 dollars, which are 36.89 euros at 1.0842."""
    credit = {"id": "c", "name": "Start", "kind": "promotional", "granted_by": "VC-ENDPOINT", "amount": "10"}
    european(world, credits=[credit])
    rates(world, tmp_path, "2026-10-01,EUR,USD,1.0842", "2026-10-30,EUR,USD,1.0842")
    world.month(until="rate")
    settle_credits(world.hub, PERIOD)
    with world.hub.database.reading() as work:
        (grant,) = work.find(CreditGrant, account_id="A-0003")
    assert grant.amount == Money(3689, "EUR")


def test_rates_are_loaded_whole_or_not_at_all_and_never_change(world: Company, tmp_path: Path) -> None:
    rates(world, tmp_path, "2026-10-30,EUR,USD,1.0842")
    rates(world, tmp_path, "2026-10-30,EUR,USD,1.0842", "2026-10-30,GBP,USD,1.2961")
    with pytest.raises(RatesError, match=r"ECB:EUR/USD:2026-10-30 was loaded as 1.0842"):
        rates(world, tmp_path, "2026-10-30,EUR,USD,1.0900", "2026-10-29,GBP,USD,1.3")
    with world.hub.database.reading() as work:
        assert [one.id for one in work.find(FxRate)] == ["ECB:EUR/USD:2026-10-30", "ECB:GBP/USD:2026-10-30"]


def test_no_usage_of_a_month_changes_its_rate(world: Company, tmp_path: Path) -> None:
    """A month that is rated again takes the same rate, since a newer one is of another day."""
    european(world)
    rates(world, tmp_path, "2026-10-30,EUR,USD,1.0842")
    world.month(until="rate")
    rates(world, tmp_path, "2026-11-02,EUR,USD,1.2000")
    rate.rate_period(world.hub, PERIOD)
    bill.draft_invoices(world.hub, PERIOD)
    deliver.deliver_all(world.hub)
    intake.take_in(world.hub)
    bill.finalise_invoices(world.hub)
    with world.hub.database.reading() as work:
        found = work.get(Invoice, INVOICE)
    assert found
    assert found.exchange
    assert found.exchange.rate == Fraction("1.0842")
