"""A salesperson at the sandbox CRM: enters customers and deals through the vendor's own API, and wins the deals."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from app.demo.company import Customer, Deal
from app.demo.http import Client, sign_in
from core.catalog import PriceBook
from sandbox.salesforce import CLIENT_ID, CLIENT_SECRET

VERSION = "v64.0"
#: Most records of one collection call.
BATCH = 200


class SalesPerson:
    """Speaks the CRM's REST API as any client of it would."""

    def __init__(self, url: str) -> None:
        token = f"{url}/services/oauth2/token"
        auth = sign_in(token, grant_type="client_credentials", client_id=CLIENT_ID, client_secret=CLIENT_SECRET)
        self._call = Client(f"{url}/services/data/{VERSION}/", auth)

    def _collection(self, method: str, path: str, records: Sequence[dict[str, Any]]) -> list[str]:
        """Ids of the records, in order. ValueError with the CRM's words when it refuses one."""
        ids = []
        for start in range(0, len(records), BATCH):
            body = {"allOrNone": True, "records": records[start : start + BATCH]}
            for result in self._call(method, path, body):
                if not result["success"]:
                    raise ValueError(f"the CRM refused a record: {result['errors'][0]['message']}")
                ids.append(result["id"])
        return ids

    def _ids(self, query: str, field: str) -> dict[str, str]:
        """The named field of each record to its id."""
        found: dict[str, str] = {}
        answer = self._call("GET", f"query?q={urllib.parse.quote(query)}")
        while True:
            found |= {record[field]: record["Id"] for record in answer["records"]}
            if answer["done"]:
                return found
            answer = self._call("GET", answer["nextRecordsUrl"].split(f"{VERSION}/", 1)[1])

    def enter(self, customers: Sequence[Customer], book: PriceBook) -> None:
        """Enters products, customers, sites and open deals, where they are not there yet."""
        entries = self._price_list(book)
        known = self._ids("SELECT Id, AccountNumber FROM Account", "AccountNumber")
        fresh = [one for one in customers if one.number not in known]
        made = self._collection("POST", "composite/sobjects", [_account(one) for one in fresh])
        known |= {one.number: ident for one, ident in zip(fresh, made, strict=True)}
        sites = self._ids("SELECT Id, Site_Code__c FROM Site__c", "Site_Code__c")
        self._collection(
            "POST",
            "composite/sobjects",
            [_site(known[c.number], s) for c in customers for s in c.sites if s.code not in sites],
        )
        self._collection("POST", "composite/sobjects", [_contact(known[c.number], c) for c in fresh])
        deals = self._ids("SELECT Id, Name FROM Opportunity", "Name")
        open_deals = [(c, d) for c in customers for d in c.deals if d.name not in deals]
        made = self._collection("POST", "composite/sobjects", [_deal(known[c.number], d) for c, d in open_deals])
        lines = [
            _line(ident, entries, line) for ident, (_, d) in zip(made, open_deals, strict=True) for line in d.lines
        ]
        self._collection("POST", "composite/sobjects", lines)

    def _price_list(self, book: PriceBook) -> dict[str, str]:
        """Charge code to its id on the standard price list."""
        known = self._ids("SELECT Id, ProductCode FROM Product2", "ProductCode")
        fresh = [charge for charge in book.charges if charge.code not in known]
        products = [
            {
                "attributes": {"type": "Product2"},
                "Name": charge.name,
                "ProductCode": charge.code,
                "IsActive": True,
                "Tieout_Id__c": charge.code,
            }
            for charge in fresh
        ]
        ids = self._collection("POST", "composite/sobjects", products)
        standard = next(iter(self._ids("SELECT Id, Name FROM Pricebook2 WHERE IsStandard = true", "Name").values()))
        listed = [
            {
                "attributes": {"type": "PricebookEntry"},
                "Pricebook2Id": standard,
                "Product2Id": ident,
                "UnitPrice": Decimal("1.00"),
                "IsActive": True,
            }
            for ident in ids
        ]
        self._collection("POST", "composite/sobjects", listed)
        return self._ids("SELECT Id, ProductCode FROM PricebookEntry", "ProductCode")

    def win(self, tell: Callable[[int, int], None]) -> int:
        """Sets every open deal to Closed Won; gives how many. ``tell`` hears how many are done of how many."""
        open_deals = self._ids("SELECT Id, Name FROM Opportunity WHERE IsClosed = false ORDER BY Name", "Name")
        for done, ident in enumerate(open_deals.values(), 1):
            self._call("PATCH", f"sobjects/Opportunity/{ident}", {"StageName": "Closed Won"})
            tell(done, len(open_deals))
        return len(open_deals)


def _account(customer: Customer) -> dict[str, Any]:
    place = customer.place
    state = {"BillingStateCode": place.region} if place.region else {}
    return {
        "attributes": {"type": "Account"},
        "Name": customer.name,
        "AccountNumber": customer.number,
        "Type": "Customer - Direct",
        "BillingStreet": place.street,
        "BillingCity": place.city,
        "BillingPostalCode": place.postal_code,
        "BillingCountryCode": place.country,
        "CurrencyIsoCode": "USD",
        "Tieout_Id__c": customer.number,
        "Billing_Email__c": customer.email,
        "Billing_Time_Zone__c": place.timezone,
        "Tax_Exemption_Code__c": customer.exemption,
        "Payment_Terms_Days__c": customer.terms,
        **state,
    }


def _site(account: str, site: Any) -> dict[str, Any]:
    return {
        "attributes": {"type": "Site__c"},
        "Name": site.name,
        "Account__c": account,
        "Site_Code__c": site.code,
        "Street__c": site.place.street,
        "City__c": site.place.city,
        "State_Code__c": site.place.region or None,
        "Postal_Code__c": site.place.postal_code,
        "Country_Code__c": site.place.country,
        "Time_Zone__c": site.place.timezone,
    }


def _contact(account: str, customer: Customer) -> dict[str, Any]:
    return {
        "attributes": {"type": "Contact"},
        "AccountId": account,
        "FirstName": "Accounts",
        "LastName": "Payable",
        "Email": customer.email,
    }


def _deal(account: str, deal: Deal) -> dict[str, Any]:
    return {
        "attributes": {"type": "Opportunity"},
        "AccountId": account,
        "Name": deal.name,
        "StageName": "Negotiation/Review",
        "CloseDate": deal.closes,
        "CurrencyIsoCode": "USD",
        "Purchase_Order__c": deal.purchase_order,
        "Service_Start__c": "2026-10-01",
        "Term_Months__c": 12,
    }


def _line(deal: str, entries: dict[str, str], line: Any) -> dict[str, Any]:
    return {
        "attributes": {"type": "OpportunityLineItem"},
        "OpportunityId": deal,
        "PricebookEntryId": entries[line.charge_code],
        "Quantity": line.quantity,
        "UnitPrice": line.unit_price,
        "Site_Code__c": line.site_code,
        "ServiceDate": line.starts,
    }
