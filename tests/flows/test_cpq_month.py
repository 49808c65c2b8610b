"""A whole month of orders that were sold as quotes of Salesforce CPQ, with the setting and the mapping as shipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.demo.crm import SalesPerson
from app.explain import explain_id
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
