"""A whole month of orders that were sold as quotes of Salesforce CPQ, with the setting and the mapping as shipped."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from app.demo.crm import SalesPerson
from app.explain import explain_id
from core.orders import Order
from core.subscriptions import Subscription
from flows import intake
from tests.connectors import contract_salesforce
from tests.flows.world import CUSTOMERS, SETTINGS, USAGE, Company, company

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("cpq")]


class QuoteDesk(SalesPerson):
    """Quotes each open deal as sales does with the package, and orders the primary quotes."""

    def quote(self) -> None:
        products = self._ids("SELECT Id, ProductCode FROM Product2", "ProductCode")
        deals = self._ids("SELECT Id, Name FROM Opportunity", "Name")
        accounts = self._ids("SELECT Id, AccountNumber FROM Account", "AccountNumber")
        for one in CUSTOMERS:
            for deal in one.deals:
                quote = {
                    "SBQQ__Account__c": accounts[one.number],
                    "SBQQ__Opportunity2__c": deals[deal.name],
                    "SBQQ__Primary__c": True,
                    "SBQQ__StartDate__c": "2026-10-01",
                    "SBQQ__SubscriptionTerm__c": 12,
                }
                ident = self._call("POST", "sobjects/SBQQ__Quote__c", quote)["id"]
                lines = [
                    {
                        "attributes": {"type": "SBQQ__QuoteLine__c"},
                        "SBQQ__Quote__c": ident,
                        "SBQQ__Product__c": products[line.charge_code],
                        "SBQQ__Quantity__c": line.quantity,
                        "SBQQ__ListPrice__c": line.unit_price,
                        "SBQQ__ChargeType__c": "One-Time" if line.charge_code == "VC-LIVE" else "Recurring",
                        "SBQQ__StartDate__c": line.starts,
                        "Site_Code__c": line.site_code,
                    }
                    for line in deal.lines
                ]
                self._collection("POST", "composite/sobjects", lines)
                self._call("POST", "sobjects/SBQQ__Quote__c", {**quote, "SBQQ__Primary__c": False})
                self._call("PATCH", f"sobjects/SBQQ__Quote__c/{ident}", {"SBQQ__Ordered__c": True})


def _by_quotes(url: str) -> Any:
    return contract_salesforce.settings(url, order_source="cpq_quote")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    folder: Path = tmp_path_factory.mktemp("cpq")
    with company(folder, {**SETTINGS, "salesforce": _by_quotes}) as entered:
        desk = QuoteDesk(entered.running.urls["salesforce"])
        desk.enter(CUSTOMERS, entered.hub.price_book)
        desk.quote()
        desk.win(lambda _done, _whole: None)
        entered.bring("bridge.2026-10.csv", USAGE)
        entered.month()
        yield entered


def test_a_month_ties_out_with_quotes_as_the_source_of_orders(stack: Company) -> None:
    """Primary ordered quotes alone become orders, and nothing differs anywhere."""
    lines, breaks = stack.tie_out()
    assert breaks == []
    assert [line.tie for line in lines if line.difference] == []
    orders = next(line for line in lines if line.tie == "orders = CRM")
    assert (orders.count, orders.left) == (4, orders.right)
    assert orders.left > 0
    with stack.hub.database.reading() as work:
        assert (work.desk.open(), set(work.outbox.counts())) == ([], {"done"})


def test_each_quote_is_told_how_far_it_has_come(stack: Company) -> None:
    """Progress is written onto the ordered quote and not onto its opportunity."""
    shelf = stack.running.emulators["salesforce"].shelf
    assert sorted(str(q["Tieout_Status__c"]) for q in shelf.all("SBQQ__Quote__c")) == ["None"] * 4 + ["paid"] * 4
    assert {deal["Tieout_Status__c"] for deal in shelf.all("Opportunity")} == {None}


def test_the_story_of_a_charge_ends_at_the_quote_line(stack: Company) -> None:
    """Explain names the quote line by its id and the quote it stands on."""
    shelf = stack.running.emulators["salesforce"].shelf
    line = shelf.all("SBQQ__QuoteLine__c")[0]
    node = explain_id(stack.hub, line["Id"])
    assert (node["what"], node["id"]) == ("quote line", line["Id"])
    assert f"on quote {line['SBQQ__Quote__c']}" in node["facts"]


def amended(stack: Company, **lines: dict[str, Any]) -> str:
    """The id of an amendment quote of A-0003 as the package makes it: its one line repeated, ordered."""
    desk = QuoteDesk(stack.running.urls["salesforce"])
    (account,) = desk._ids(
        "SELECT Id, AccountNumber FROM Account WHERE AccountNumber = 'A-0003'", "AccountNumber"
    ).values()
    shelf = stack.running.emulators["salesforce"].shelf
    sold = next(q for q in shelf.all("SBQQ__Quote__c") if q["SBQQ__Account__c"] == account and q["SBQQ__Ordered__c"])
    line = next(one for one in shelf.all("SBQQ__QuoteLine__c") if one["SBQQ__Quote__c"] == sold["Id"])
    quote = {
        "SBQQ__Account__c": account,
        "SBQQ__Opportunity2__c": sold["SBQQ__Opportunity2__c"],
        "SBQQ__Type__c": "Amendment",
        "SBQQ__Primary__c": True,
        "SBQQ__StartDate__c": "2026-11-16",
        "SBQQ__SubscriptionTerm__c": 10,
        **lines.get("quote", {"Amends_Order__c": sold["Id"]}),
    }
    ident = str(desk._call("POST", "sobjects/SBQQ__Quote__c", quote)["id"])
    repeated = {
        "attributes": {"type": "SBQQ__QuoteLine__c"},
        "SBQQ__Quote__c": ident,
        "SBQQ__Product__c": line["SBQQ__Product__c"],
        "SBQQ__Quantity__c": 6,
        "SBQQ__ListPrice__c": 18,
        "SBQQ__ChargeType__c": "Recurring",
        "SBQQ__UpgradedSubscription__c": "a0EQx0000000001IAA",
        "Site_Code__c": line["Site_Code__c"],
        **lines.get("line", {"Change__c": "replace", "Amends_Line__c": line["Id"]}),
    }
    desk._collection("POST", "composite/sobjects", [repeated])
    desk._call("PATCH", f"sobjects/SBQQ__Quote__c/{ident}", {"SBQQ__Ordered__c": True})
    return ident


@pytest.mark.parametrize(("left_out", "field"), [("quote", "amends"), ("line", "lines[0].change")])
def test_an_amendment_quote_that_does_not_say_what_it_amends_stands_on_the_desk(
    stack: Company, left_out: str, field: str
) -> None:
    """Taken in as an order it would sell the contract once more."""
    ident = amended(stack, **{left_out: {}})
    intake.take_in(stack.hub)
    with stack.hub.database.work() as work:
        (entry,) = work.desk.open()
        assert (entry.record_id, entry.field) == (ident, field)
        assert work.get(Order, ident) is None
        work.desk.ignore(entry.id, "made for this test")


def test_a_line_that_upgrades_a_subscription_becomes_an_amendment_of_it(stack: Company) -> None:
    """Four endpoints until 15 November, six from the 16th: the contract has its next version, and no second is made."""
    amended(stack)
    intake.take_in(stack.hub)
    with stack.hub.database.reading() as work:
        assert work.desk.open() == []
        (standing,) = work.find(Subscription, account_id="A-0003")
    assert standing.version == 2
    assert [(one.quantity, str(one.starts_on), str(one.ends_on)) for one in standing.charges] == [
        (Decimal(4), "2026-10-01", "2026-11-16"),
        (Decimal(6), "2026-11-16", "2027-10-01"),
    ]
