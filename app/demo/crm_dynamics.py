"""The salesperson at the sandbox of Dynamics 365: accounts, sites, active quotes; a won quote is a sales order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote

from app.demo.company import Customer, Deal, Line
from app.demo.http import Client, sign_in
from core.catalog import PriceBook
from sandbox.dynamics import CLIENT_ID, CLIENT_SECRET, TENANT_ID
from sandbox.dynamics_records import API, CURRENCY_ID, UNIT_GROUP_ID, UNIT_ID

PRICE_LIST = "Standard"


class SalesPerson:
    def __init__(self, url: str) -> None:
        grant = {"grant_type": "client_credentials", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
        auth = sign_in(f"{url}/{TENANT_ID}/oauth2/v2.0/token", **grant, scope=f"{url}/.default")
        self._call = Client(f"{url}{API}/", auth)

    def _rows(self, path: str) -> list[Any]:
        rows, answer = [], self._call("GET", path)
        while True:
            rows += answer["value"]
            if "@odata.nextLink" not in answer:
                return rows
            answer = self._call("GET", answer["@odata.nextLink"])

    def _make(self, table_set: str, body: dict[str, Any]) -> Any:
        return self._call("POST", table_set, body, Prefer="return=representation")

    def enter(self, customers: Sequence[Customer], book: PriceBook) -> None:
        """Enters products, customers, sites and active quotes, where they are not there yet."""
        prices = self._price_list(book)
        quoted = {row["name"] for row in self._rows("quotes?$select=name")}
        for one in customers:
            account = f"accounts(accountnumber='{one.number}')"
            if not self._is_there(account):
                self._customer(one, account)
            for deal in one.deals:
                if deal.name not in quoted:
                    self._quote(account, deal, prices)

    def _is_there(self, address: str) -> bool:
        try:
            self._call("GET", address)
        except HTTPError as error:
            if error.code == 404:
                return False
            raise
        return True

    def _price_list(self, book: PriceBook) -> str:
        named = quote(f"name eq '{PRICE_LIST}'")
        known = self._rows(f"pricelevels?$select=pricelevelid&$filter={named}")
        currency = {"transactioncurrencyid@odata.bind": f"/transactioncurrencies({CURRENCY_ID})"}
        made = known[0] if known else self._make("pricelevels", {"name": PRICE_LIST, **currency})
        prices = f"/pricelevels({made['pricelevelid']})"
        for charge in book.charges:
            address = f"products(productnumber='{charge.code}')"
            if self._is_there(address):
                continue
            unit = {"defaultuomid@odata.bind": f"/uoms({UNIT_ID})"}
            unit["defaultuomscheduleid@odata.bind"] = f"/uomschedules({UNIT_GROUP_ID})"
            about = {"name": charge.name, "productnumber": charge.code, "quantitydecimal": 2}
            self._make("products", {**about, **unit})
            self._call("PATCH", address, {"statecode": 0, "statuscode": 1})
            bound = {"pricelevelid@odata.bind": prices, "productid@odata.bind": f"/{address}"}
            self._make("productpricelevels", {"amount": 1, **bound, "uomid@odata.bind": f"/uoms({UNIT_ID})"})
        return prices

    def _customer(self, one: Customer, account: str) -> None:
        body = {
            "name": one.name,
            "emailaddress1": one.email,
            "address1_line1": one.place.street,
            "address1_city": one.place.city,
            "address1_stateorprovince": one.place.region or None,
            "address1_postalcode": one.place.postal_code,
            "address1_country": one.place.country,
            "tieout_timezone": one.place.timezone,
            "tieout_paymenttermsdays": one.terms,
            "tieout_taxexemption": one.exemption,
        }
        self._call("PATCH", account, body)
        for site in one.sites:
            there = {
                "tieout_code": site.code,
                "tieout_name": site.name,
                "tieout_AccountId@odata.bind": f"/{account}",
                "tieout_line1": site.place.street,
                "tieout_city": site.place.city,
                "tieout_region": site.place.region or None,
                "tieout_postalcode": site.place.postal_code,
                "tieout_country": site.place.country,
            }
            self._make("tieout_sites", there)

    def _quote(self, account: str, deal: Deal, prices: str) -> None:
        body = {
            "name": deal.name,
            "tieout_servicestart": "2026-10-01",
            "tieout_termmonths": 12,
            "tieout_purchaseorder": deal.purchase_order,
            "customerid_account@odata.bind": f"/{account}",
            "pricelevelid@odata.bind": prices,
            "quote_details": [{"lineitemnumber": number, **_line(line)} for number, line in enumerate(deal.lines, 1)],
        }
        made = self._make("quotes", body)
        self._call("PATCH", f"quotes({made['quoteid']})", {"statecode": 1, "statuscode": 3})

    def win(self, tell: Callable[[int, int], None]) -> int:
        """Wins every active quote and makes it a sales order; gives how many."""
        active = self._rows(f"quotes?$select=quoteid&$filter={quote('statecode eq 1')}")
        for done, row in enumerate(active, 1):
            close = {"subject": "Won", "quoteid@odata.bind": f"/quotes({row['quoteid']})"}
            self._call("POST", "WinQuote", {"QuoteClose": close, "Status": -1})
            wanted = {"QuoteId": row["quoteid"], "ColumnSet": {"Columns": ["salesorderid"]}}
            self._call("POST", "ConvertQuoteToSalesOrder", wanted)
            tell(done, len(active))
        return len(active)


def _line(line: Line) -> dict[str, Any]:
    site = {"tieout_SiteId@odata.bind": f"/tieout_sites(tieout_code='{line.site_code}')"} if line.site_code else {}
    return {
        "quantity": line.quantity,
        "ispriceoverridden": True,
        "priceperunit": line.unit_price,
        "productid@odata.bind": f"/products(productnumber='{line.charge_code}')",
        "uomid@odata.bind": f"/uoms({UNIT_ID})",
        "tieout_servicestart": line.starts,
        **site,
    }
