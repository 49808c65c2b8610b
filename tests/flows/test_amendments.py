"""Amendments from the CRM: the contract changes, and bills that were made are settled by the next one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from app.demo.crm import SalesPerson
from core.amendments import Amendment
from core.invoicing import Invoice
from core.money import Money, total
from core.orders import Order
from core.rating import RatedLine
from core.subscriptions import Subscription
from flows import bill, collect, deliver, intake, rate, write_back
from flows.tie_out import TieOut
from tests.flows.world import Company

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("company")]

ENDPOINTS, YEAR = "A-0003", "A-0002"


def usd(amount: str) -> Money:
    return Money.of(amount, "USD")


def amend(world: Company, account: str, start: str, *lines: Mapping[str, Any], name: str = "Change") -> str:
    """Sales enters an opportunity that amends the account's first one, with these lines, and wins it."""
    sales = SalesPerson(world.running.urls["salesforce"])
    with world.hub.database.reading() as work:
        first = next(one for one in work.find(Order) if one.account.id == account and one.amends is None)
    holder = world.held("salesforce", "Account", f"Customer {account}")["Id"]
    deal = {
        "attributes": {"type": "Opportunity"},
        "AccountId": holder,
        "Name": f"{account} {name}",
        "StageName": "Negotiation/Review",
        "CloseDate": "2026-11-10",
        "CurrencyIsoCode": "USD",
        "Service_Start__c": start,
        "Amends_Order__c": first.id,
    }
    (ident,) = sales._collection("POST", "composite/sobjects", [deal])
    entries = sales._price_list(world.hub.price_book)
    rows = [
        {
            "attributes": {"type": "OpportunityLineItem"},
            "OpportunityId": ident,
            "PricebookEntryId": entries[one["code"]],
            "Quantity": one.get("quantity", 1),
            "UnitPrice": one.get("price", 0),
            "Site_Code__c": one.get("site"),
            "Change__c": one.get("change"),
            "Amends_Line__c": one.get("amends"),
            "Pause_Until__c": one.get("until"),
        }
        for one in lines
    ]
    sales._collection("POST", "composite/sobjects", rows)
    sales.win(lambda _done, _whole: None)
    intake.take_in(world.hub)
    return ident


def line_of(world: Company, account: str, code: str) -> str:
    """The opportunity line that a charge of the account came from, as it stands now."""
    with world.hub.database.reading() as work:
        charges = [line for one in work.find(Subscription, account_id=account) for line in one.charges]
    return next(one.order_line_id for one in reversed(charges) if one.charge_code == code)


def billed(world: Company, account: str, month: str) -> Invoice:
    """The account's next bill, as far as everything is told."""
    rate.rate_period(world.hub, month)
    bill.draft_invoices(world.hub, month)
    deliver.deliver_all(world.hub)
    bill.finalise_invoices(world.hub)
    collect.request_payments(world.hub)
    deliver.deliver_all(world.hub)
    intake.take_in(world.hub)
    intake.book_settlements(world.hub)
    write_back.tell_crm(world.hub)
    deliver.deliver_all(world.hub)
    with world.hub.database.reading() as work:
        found = work.get(Invoice, f"INV-{month}-{account}")
    assert found
    return found


def shown(invoice: Invoice) -> dict[tuple[str, str], str]:
    return {(line.charge_code, str(line.service_period)): str(line.amount.amount) for line in invoice.lines}


def closes(world: Company, month: str) -> None:
    found = TieOut(world.hub, month)
    found.orders()
    found.billed()
    found.told()
    assert [one for one in found.found if getattr(one, "breaks", 1) or getattr(one, "difference", 0)] == []


def test_an_upgrade_inside_a_month_that_is_not_billed_yet_splits_it(world: Company) -> None:
    """Four endpoints until 15 November, six from the 16th: 4 x 18 x 15/30 = 36.00 and 6 x 18 x 15/30 = 54.00."""
    world.month()
    standing = line_of(world, ENDPOINTS, "VC-ENDPOINT")
    more = {"code": "VC-ENDPOINT", "quantity": 6, "price": 18, "site": "A-0003-S1", "change": "replace"}
    ident = amend(world, ENDPOINTS, "2026-11-16", {**more, "amends": standing})
    assert shown(billed(world, ENDPOINTS, "2026-11")) == {
        ("VC-ENDPOINT", "2026-11-01..2026-11-15"): "36.00",
        ("VC-ENDPOINT", "2026-11-16..2026-11-30"): "54.00",
    }
    closes(world, "2026-11")
    with world.hub.database.reading() as work:
        (amendment,) = work.find(Amendment)
        (subscription,) = work.find(Subscription, account_id=ENDPOINTS)
    assert (amendment.order_id, subscription.version) == (ident, 2)
    assert world.held("salesforce", "Opportunity", f"{ENDPOINTS} Change")["Tieout_Status__c"] == "paid"


def test_a_stop_inside_a_billed_month_comes_off_the_next_bill(world: Company) -> None:
    """Known in November that the endpoints ended on 21 October: 72.00 x 11/31 = 25.55 come off, and nothing follows.

    The bill of November is below zero, so it is carried.
    """
    world.month()
    standing = line_of(world, ENDPOINTS, "VC-ENDPOINT")
    amend(world, ENDPOINTS, "2026-10-21", {"code": "VC-ENDPOINT", "change": "stop", "amends": standing})
    rate.rate_period(world.hub, "2026-11")
    with world.hub.database.reading() as work:
        (line,) = (one for one in work.find(RatedLine, billing_period="2026-11") if one.account_id == ENDPOINTS)
    assert (line.amount, line.corrects, str(line.service_period)) == (
        usd("-25.55"),
        "2026-10",
        "2026-10-01..2026-10-20",
    )
    assert rate.rate_period(world.hub, "2026-11").failures == []


def test_a_downgrade_of_a_year_gives_back_the_days_that_are_not_served(world: Company) -> None:
    """4,800.00 for 365 days: from 16 November on, 320 days of it are taken back, and the endpoints cost 18.00 x 15/30.

    What is taken back is for the days that were not served yet, so it undoes only what is still deferred.
    """
    world.month()
    standing = line_of(world, YEAR, "VC-PLAN")
    amend(
        world,
        YEAR,
        "2026-11-16",
        {"code": "VC-PLAN", "change": "stop", "amends": standing},
        {"code": "VC-ENDPOINT", "quantity": 500, "price": 18, "site": "A-0002-S1"},
    )
    found = shown(billed(world, YEAR, "2026-11"))
    assert found["VC-PLAN", "2026-11-16..2027-09-30"] == "-4195.07"  # 4,800.00 x 319/365
    assert found["VC-ENDPOINT", "2026-11-16..2026-11-30"] == "4500.00"
    closes(world, "2026-11")


def test_a_pause_costs_nothing_and_the_contract_goes_on_after_it(world: Company) -> None:
    """November is not served, December is."""
    world.month()
    standing = line_of(world, ENDPOINTS, "VC-ENDPOINT")
    pause = {"code": "VC-ENDPOINT", "change": "pause", "until": "2026-12-01", "amends": standing}
    amend(world, ENDPOINTS, "2026-11-01", pause)
    rate.rate_period(world.hub, "2026-11")
    bill.draft_invoices(world.hub, "2026-11")
    with world.hub.database.reading() as work:
        assert work.get(Invoice, f"INV-2026-11-{ENDPOINTS}") is None
    assert shown(billed(world, ENDPOINTS, "2026-12")) == {("VC-ENDPOINT", "2026-12-01..2026-12-31"): "72.00"}


def test_an_amendment_of_what_does_not_stand_goes_to_the_desk(world: Company) -> None:
    world.month()
    amend(world, ENDPOINTS, "2026-11-16", {"code": "VC-ENDPOINT", "change": "stop", "amends": "00kNOTTHERE"})
    with world.hub.database.reading() as work:
        (entry,) = work.desk.open()
        assert work.find(Amendment) == []
    assert "what it amends (00kNOTTHERE) does not stand on 2026-11-16" in entry.message


def test_changes_there_and_back_cost_nothing(world: Company) -> None:
    """Up and down again on the same day, twice: November costs what it would have cost."""
    world.month()
    for number, quantity in enumerate((9, 4, 50, 4)):
        standing = line_of(world, ENDPOINTS, "VC-ENDPOINT")
        more = {"code": "VC-ENDPOINT", "price": 18, "site": "A-0003-S1", "change": "replace", "amends": standing}
        amend(world, ENDPOINTS, "2026-11-16", {**more, "quantity": quantity}, name=f"Change {number}")
    lines = billed(world, ENDPOINTS, "2026-11").lines
    assert total((line.amount for line in lines), "USD") == usd("72.00")
    closes(world, "2026-11")
