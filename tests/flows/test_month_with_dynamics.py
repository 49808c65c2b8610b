"""One month from quote to general ledger with Dynamics 365 as the CRM: the same flows, another wire and mappings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from app.demo.company import Customer
from app.explain import explain_id, foretell_id
from core.ledger import JournalEntry
from core.orders import Order
from tests.connectors import contract_dynamics
from tests.flows import world
from tests.sandbox.dynamics_seller import Seller

pytestmark = pytest.mark.server

OTHERS = {name: make for name, make in world.SETTINGS.items() if name != "salesforce"}


def sell(seller: Seller, customer: Customer) -> Iterator[str]:
    """The ids of the sales orders that a customer's won quotes become."""
    place = customer.place
    account = seller.account(
        customer.number,
        name=customer.name,
        emailaddress1=customer.email,
        address1_line1=place.street,
        address1_city=place.city,
        address1_stateorprovince=place.region,
        address1_postalcode=place.postal_code,
        address1_country=place.country,
        tieout_timezone=place.timezone,
        tieout_paymenttermsdays=customer.terms,
        tieout_taxexemption=customer.exemption,
    )
    for site in customer.sites:
        own = {"tieout_line1": site.place.street, "tieout_city": site.place.city, "tieout_region": site.place.region}
        own |= {"tieout_postalcode": site.place.postal_code, "tieout_country": site.place.country}
        seller.site(site.code, account, tieout_name=site.name, **own)
    for deal in customer.deals:
        lines = [_line(seller, line) for line in deal.lines]
        yield seller.sell(*lines, account=account, tieout_purchaseorder=deal.purchase_order, tieout_termmonths=12)


def _line(seller: Seller, line: Any) -> dict[str, Any]:
    site = {"tieout_SiteId@odata.bind": f"/tieout_sites(tieout_code='{line.site_code}')"} if line.site_code else {}
    price, quantity = float(line.unit_price), float(line.quantity)
    return seller.line(line.charge_code, quantity, price, tieout_servicestart=line.starts, **site)


def nodes(story: dict[str, Any], way: str) -> Iterator[dict[str, Any]]:
    yield story
    for one in story.get(way, []):
        yield from nodes(one, way)


def assert_every_amount_leads_to_its_quote(company: world.Company, quotes: Mapping[str, set[str]]) -> None:
    """From each booked line back to lines of quotes (by quote), and from these to each booked line of a charge."""
    quoted = set().union(*quotes.values())
    with company.hub.database.reading() as work:
        booked = [line for entry in work.find(JournalEntry) for line in entry.lines]
    for line in booked:
        ends = [one for one in nodes(explain_id(company.hub, line.id), "came_from") if one["what"] == "quote line"]
        assert ends, line
        assert {one["id"] for one in ends} <= quoted
    charged = {line.id for line in booked if line.source in ("invoice_line", "recognition")}
    told = [foretell_id(company.hub, ident) for ident in quoted]
    assert charged <= {one["id"] for story in told for one in nodes(story, "became")}
    whole = foretell_id(company.hub, next(iter(quotes)))
    assert [one["what"] for one in nodes(whole, "became")][:2] == ["quote", "order"]


def test_a_month_ties_out_with_dynamics_in_the_place_of_salesforce(tmp_path: Path) -> None:
    """Every equality closes, the orders show what was invoiced on them, and running it again changes nothing."""
    with world.company(tmp_path, {"dynamics": contract_dynamics.settings, **OTHERS}) as company:
        seller = Seller(company.running.urls["dynamics"])
        orders = [ident for customer in world.CUSTOMERS for ident in sell(seller, customer)]
        company.bring("usage.csv", world.USAGE)
        reports = company.month()
        assert [report.failures for report in reports.values() if report.failures] == []
        lines, breaks = company.tie_out()
        assert breaks == []
        assert [line.tie for line in lines if line.difference or line.breaks] == []
        with company.hub.database.reading() as work:
            assert sorted(order.id for order in work.find(Order)) == sorted(orders)
        quotes: dict[str, set[str]] = {}
        for row in seller.rows("quotedetails?$select=quotedetailid,_quoteid_value"):
            quotes.setdefault(row["_quoteid_value"], set()).add(row["quotedetailid"])
        assert_every_amount_leads_to_its_quote(company, quotes)
        shown = seller.rows("salesorders?$select=tieout_status,tieout_invoiced&$filter=tieout_invoiced gt 0")
        assert len(shown) == len(orders)
        before = company.objects()
        company.month()
        assert company.objects() == before
        seller.http.close()
