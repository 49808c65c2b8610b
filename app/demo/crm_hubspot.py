"""The salesperson at the sandbox of HubSpot: companies, sites as child companies, deals with line items."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any

from app.demo.company import Customer, Deal, Place
from app.demo.http import Client
from core.catalog import PriceBook
from sandbox.hubspot import ACCESS_TOKEN

#: Types of associations, from a new record to its parent.
CUSTOMER_OF_DEAL, DEAL_OF_LINE, PARENT_OF_SITE, COMPANY_OF_CONTACT = 5, 20, 14, 1


class SalesPerson:
    def __init__(self, url: str) -> None:
        self._call = Client(f"{url}/crm/v3/objects/", {"Authorization": f"Bearer {ACCESS_TOKEN}"})

    def _make(self, kind: str, properties: dict[str, Any], parent: str = "", number: int = 0) -> str:
        body: dict[str, Any] = {"properties": {name: value for name, value in properties.items() if value is not None}}
        if parent:
            types = [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": number}]
            body["associations"] = [{"to": {"id": parent}, "types": types}]
        return str(self._call("POST", kind, body)["id"])

    def _all(self, kind: str, *properties: str) -> Iterator[Any]:
        after = ""
        while True:
            page = self._call("GET", f"{kind}?limit=100&properties={','.join(properties)}{after}")
            yield from page["results"]
            if "paging" not in page:
                return
            after = f"&after={page['paging']['next']['after']}"

    def _ids(self, kind: str, name: str) -> dict[str, str]:
        """The named property of each record that has it to its id."""
        return {one["properties"][name]: one["id"] for one in self._all(kind, name) if one["properties"].get(name)}

    def enter(self, customers: Sequence[Customer], book: PriceBook) -> None:
        """Enters products, customers, sites and open deals, where they are not there yet."""
        products = self._ids("products", "hs_sku")
        for charge in book.charges:
            if charge.code not in products:
                products[charge.code] = self._make("products", {"name": charge.name, "hs_sku": charge.code})
        known, deals = self._ids("companies", "tieout_id"), self._ids("deals", "dealname")
        for one in customers:
            company = known.get(one.number) or self._customer(one)
            for deal in one.deals:
                if deal.name not in deals:
                    self._deal(company, deal, products)

    def _customer(self, one: Customer) -> str:
        about = {
            "name": one.name,
            "tieout_id": one.number,
            "tieout_billing_email": one.email,
            "tieout_time_zone": one.place.timezone,
            "tieout_payment_terms_days": str(one.terms),
            "tieout_tax_exemption": one.exemption,
        }
        company = self._make("companies", about | _address(one.place))
        self._make("contacts", {"email": one.email}, company, COMPANY_OF_CONTACT)
        for site in one.sites:
            there = {"name": site.name, "tieout_site_code": site.code} | _address(site.place)
            self._make("companies", there, company, PARENT_OF_SITE)
        return company

    def _deal(self, company: str, deal: Deal, products: dict[str, str]) -> None:
        sold = {
            "dealname": deal.name,
            "dealstage": "contractsent",
            "amount": str(sum((line.quantity * line.unit_price for line in deal.lines), Decimal())),
            "closedate": deal.closes,
            "tieout_purchase_order": deal.purchase_order,
            "tieout_service_start": "2026-10-01",
            "tieout_term_months": "12",
        }
        ident = self._make("deals", sold, company, CUSTOMER_OF_DEAL)
        for line in deal.lines:
            bought = {
                "hs_product_id": products[line.charge_code],
                "quantity": str(line.quantity),
                "price": str(line.unit_price),
                "tieout_site_code": line.site_code,
                "hs_recurring_billing_start_date": line.starts,
            }
            self._make("line_items", bought, ident, DEAL_OF_LINE)

    def win(self, tell: Callable[[int, int], None]) -> int:
        """Moves every open deal to closedwon; gives how many."""
        deals = [one["id"] for one in self._all("deals", "dealstage") if one["properties"]["dealstage"] != "closedwon"]
        for done, ident in enumerate(deals, 1):
            self._call("PATCH", f"deals/{ident}", {"properties": {"dealstage": "closedwon"}})
            tell(done, len(deals))
        return len(deals)


def _address(place: Place) -> dict[str, Any]:
    return {
        "address": place.street,
        "city": place.city,
        "zip": place.postal_code,
        "tieout_region_code": place.region or None,
        "tieout_country_code": place.country,
    }
