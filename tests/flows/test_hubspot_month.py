"""A whole month with HubSpot as the CRM: the flows are the same, and every tie closes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.demo.company import Customer, Place
from core.catalog import PriceBook
from core.orders import Order
from flows import deliver, intake
from sandbox.hubspot import ACCESS_TOKEN
from tests.connectors import contract_hubspot
from tests.flows.test_month_with_dynamics import assert_every_amount_leads_to_its_quote
from tests.flows.world import CUSTOMERS, SETTINGS, USAGE, Company, company

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("hubspot")]

#: Types of associations, from a new record to its parent.
CUSTOMER_OF_DEAL, DEAL_OF_LINE, PARENT_OF_SITE, COMPANY_OF_CONTACT, DEAL_OF_QUOTE, QUOTE_OF_LINE = 5, 20, 14, 1, 64, 68


class SalesPerson:
    """Enters customers, sites, products, deals and quotes as any client of HubSpot would, and wins the deals.

    ``quotes``: the lines of each quote that won a deal.
    """

    def __init__(self, url: str) -> None:
        self.quotes: dict[str, set[str]] = {}
        self._http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {ACCESS_TOKEN}"})

    def close(self) -> None:
        self._http.close()

    def make(self, kind: str, properties: dict[str, Any], parent: str = "", number: int = 0) -> str:
        types = [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": number}]
        body: dict[str, Any] = {"properties": {name: value for name, value in properties.items() if value is not None}}
        if parent:
            body["associations"] = [{"to": {"id": parent}, "types": types}]
        answer = self._http.post(f"/crm/v3/objects/{kind}", json=body)
        answer.raise_for_status()
        return str(answer.json()["id"])

    def sell(self, customers: Sequence[Customer], book: PriceBook) -> None:
        products = {
            charge.code: self.make("products", {"name": charge.name, "hs_sku": charge.code}) for charge in book.charges
        }
        for one in customers:
            about = {
                "name": one.name,
                "tieout_id": one.number,
                "tieout_billing_email": one.email,
                "tieout_time_zone": one.place.timezone,
                "tieout_payment_terms_days": str(one.terms),
                "tieout_tax_exemption": one.exemption,
            }
            company = self.make("companies", about | _address(one.place))
            self.make("contacts", {"email": one.email}, company, COMPANY_OF_CONTACT)
            for site in one.sites:
                there = {"name": site.name, "tieout_site_code": site.code} | _address(site.place)
                self.make("companies", there, company, PARENT_OF_SITE)
            for deal in one.deals:
                sold = {
                    "dealname": deal.name,
                    "dealstage": "contractsent",
                    "amount": str(sum((line.quantity * line.unit_price for line in deal.lines), Decimal())),
                    "closedate": deal.closes,
                    "tieout_purchase_order": deal.purchase_order,
                    "tieout_service_start": "2026-10-01",
                    "tieout_term_months": "12",
                }
                ident = self.make("deals", sold, company, CUSTOMER_OF_DEAL)
                self.quote(ident, "REJECTED")
                quote = self.quote(ident)
                self.quotes[quote] = set()
                for line in deal.lines:
                    bought = {
                        "hs_product_id": products[line.charge_code],
                        "quantity": str(line.quantity),
                        "price": str(line.unit_price),
                        "tieout_site_code": line.site_code,
                        "hs_recurring_billing_start_date": line.starts,
                    }
                    self.make("line_items", bought, ident, DEAL_OF_LINE)
                    self.quotes[quote].add(self.make("line_items", bought, quote, QUOTE_OF_LINE))
                won = {"properties": {"dealstage": "closedwon"}}
                self._http.patch(f"/crm/v3/objects/deals/{ident}", json=won).raise_for_status()

    def quote(self, deal: str, status: str = "APPROVAL_NOT_NEEDED") -> str:
        about = {"hs_title": "Offer", "hs_expiration_date": "2026-12-31", "hs_status": status}
        return self.make("quotes", about, deal, DEAL_OF_QUOTE)

    def rename(self, deal: str, name: str) -> None:
        body = {"properties": {"dealname": name}}
        self._http.patch(f"/crm/v3/objects/deals/{deal}", json=body).raise_for_status()


def _address(place: Place) -> dict[str, Any]:
    return {
        "address": place.street,
        "city": place.city,
        "zip": place.postal_code,
        "tieout_region_code": place.region or None,
        "tieout_country_code": place.country,
    }


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Company]:
    settings = {"hubspot": contract_hubspot.settings, **SETTINGS}
    del settings["salesforce"]
    with company(tmp_path, settings) as entered:
        sales = SalesPerson(entered.running.urls["hubspot"])
        sales.sell(CUSTOMERS, entered.hub.price_book)
        entered.quotes = sales.quotes  # type: ignore[attr-defined]
        sales.close()
        entered.bring("bridge.2026-10.csv", USAGE)
        yield entered


def test_a_month_ties_out_with_hubspot_as_the_crm(stack: Company) -> None:
    """The same three customers, the same invoices, no difference anywhere, and each deal told how far it has come.

    And every amount leads to a line of the published quote, which HubSpot itself does not link to the deal's own copy.
    """
    stack.month()
    lines, breaks = stack.tie_out()
    assert breaks == []
    assert [line.tie for line in lines if line.difference] == []
    orders = next(line for line in lines if line.tie == "orders = CRM")
    assert (orders.right_name, orders.count, orders.left) == ("hubspot", 4, orders.right)
    assert orders.left > 0
    with stack.hub.database.reading() as work:
        assert (work.desk.open(), set(work.outbox.counts())) == ([], {"done"})
    deals = stack.running.emulators["hubspot"].shelf.all("deals")
    assert [deal["properties"]["tieout_status"] for deal in deals] == ["paid"] * 4
    shown = {deal["properties"]["dealname"]: deal["properties"]["tieout_invoiced"] for deal in deals}
    assert shown["A-0003 conferencing"] == "72.00"
    assert_every_amount_leads_to_its_quote(stack, stack.quotes)  # type: ignore[attr-defined]


def test_a_quote_that_sales_makes_after_the_deal_was_won_changes_nothing(stack: Company) -> None:
    """The contract runs on; its amounts lead to the quote that it was taken in from."""
    stack.month()
    quotes: dict[str, set[str]] = stack.quotes  # type: ignore[attr-defined]
    with stack.hub.database.reading() as work:
        held = work.find(Order)
    sales = SalesPerson(stack.running.urls["hubspot"])
    for order in held:
        again = sales.quote(order.id)
        for line in order.lines:
            shown = stack.running.emulators["hubspot"].shelf.get("line_items", line.id) or {}
            said = {
                name: shown["properties"].get(name)
                for name in ("hs_product_id", "quantity", "price", "tieout_site_code")
            }
            sales.make("line_items", said, again, QUOTE_OF_LINE)
        sales.rename(order.id, f"{order.name}, renewed offer")
    sales.close()
    intake.take_in(stack.hub)
    deliver.deliver_all(stack.hub)
    with stack.hub.database.reading() as work:
        assert (work.desk.open(), work.find(Order)) == ([], held)
    assert stack.breaks() == []
    assert_every_amount_leads_to_its_quote(stack, quotes)


def test_a_lost_reply_and_a_limit_in_the_month_leave_nothing_behind(stack: Company) -> None:
    stack.plant("hubspot", "lose_reply", r"POST /crm/v3/objects/deals/batch/update")
    stack.plant("hubspot", "rate_limit", r"POST /crm/v3/objects/deals/batch/read")
    stack.month()
    assert stack.breaks() == []
    with stack.hub.database.reading() as work:
        assert (work.desk.open(), set(work.outbox.counts())) == ([], {"done"})
