"""A salesperson at the emulated environment: everything by the vendor's own API, as any client of it would."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import httpx

from sandbox.dynamics import CLIENT_ID, CLIENT_SECRET, TENANT_ID
from sandbox.dynamics_records import API, CURRENCY_ID, UNIT_GROUP_ID, UNIT_ID

GRANT = {"grant_type": "client_credentials", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}


class Seller:
    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.Client(base_url=url)
        self.prices = ""
        self.sign_in()

    def sign_in(self) -> None:
        form = GRANT | {"scope": f"{self.url}/.default"}
        token = self.http.post(f"/{TENANT_ID}/oauth2/v2.0/token", data=form).json()["access_token"]
        self.http.headers["Authorization"] = f"Bearer {token}"

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        address = path if path.startswith("http") else f"{API}/{path}"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.request(method, address, headers=named, **({} if body is None else {"json": body}))

    def call(self, method: str, path: str, body: Any = None, status: int | None = None, **headers: str) -> Any:
        answer = self.ask(method, path, body, **headers)
        assert answer.status_code == status if status else answer.is_success, answer.text
        return json.loads(answer.text, parse_float=Decimal) if answer.content else None

    def error(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, str]:
        answer = self.ask(method, path, body, **headers)
        return answer.status_code, answer.json()["error"]["code"]

    def make(self, table_set: str, **fields: Any) -> Any:
        """The new row. A field ``x__to="/set(id)"`` binds the lookup x."""
        body = {
            name.removesuffix("__to") + ("@odata.bind" if name.endswith("__to") else ""): value
            for name, value in fields.items()
        }
        return self.call("POST", table_set, body, 201, Prefer="return=representation")

    def rows(self, path: str) -> list[Any]:
        return list(self.call("GET", path, status=200)["value"])

    def count(self, kind: str) -> int:
        return int(self.http.get("/_sandbox/objects").json().get(kind, 0))

    def plant(self, **fault: Any) -> None:
        self.http.post("/_sandbox/faults", json=fault).raise_for_status()

    def product(self, number: str, name: str = "") -> str:
        """The address of an active product with a price of 30.00 on the price list."""
        if not self.prices:
            currency = f"/transactioncurrencies({CURRENCY_ID})"
            made = self.make("pricelevels", name="Standard", transactioncurrencyid__to=currency)
            self.prices = f"/pricelevels({made['pricelevelid']})"
        address = f"products(productnumber='{number}')"
        if self.ask("GET", address).status_code == 200:
            return f"/{address}"
        self.make(
            "products",
            name=name or number,
            productnumber=number,
            quantitydecimal=2,
            defaultuomid__to=f"/uoms({UNIT_ID})",
            defaultuomscheduleid__to=f"/uomschedules({UNIT_GROUP_ID})",
        )
        self.call("PATCH", address, {"statecode": 0, "statuscode": 1})
        self.make(
            "productpricelevels",
            amount=30,
            pricelevelid__to=self.prices,
            productid__to=f"/{address}",
            uomid__to=f"/uoms({UNIT_ID})",
        )
        return f"/{address}"

    def account(self, number: str = "A-0001", **fields: Any) -> str:
        """The address of an account that has everything an order needs."""
        address = f"accounts(accountnumber='{number}')"
        body = {
            "name": "Acme & Söhne",
            "emailaddress1": "billing@acme.example",
            "address1_line1": "500 Congress Ave",
            "address1_city": "Austin",
            "address1_stateorprovince": "TX",
            "address1_postalcode": "78701",
            "address1_country": "United States",
            "tieout_timezone": "America/Chicago",
        }
        self.call("PATCH", address, body | fields)
        return f"/{address}"

    def site(self, code: str, account: str, **fields: Any) -> str:
        """The address of a site of an account."""
        own = {"tieout_name": code, "tieout_line1": "1 Poultry", "tieout_city": "London", "tieout_country": "GB"}
        self.make("tieout_sites", tieout_code=code, tieout_AccountId__to=account, **own | fields)
        return f"/tieout_sites(tieout_code='{code}')"

    def line(self, number: str, quantity: Any, price: Any = None, **fields: Any) -> dict[str, Any]:
        """A quote line; at the list price without a price."""
        own = {} if price is None else {"ispriceoverridden": True, "priceperunit": price}
        links = {"productid@odata.bind": self.product(number), "uomid@odata.bind": f"/uoms({UNIT_ID})"}
        return {"quantity": quantity, **own, **links, **fields}

    def quote(self, *lines: Mapping[str, Any], account: str = "", **fields: Any) -> str:
        """The id of an active quote."""
        numbered = [{"lineitemnumber": number, **line} for number, line in enumerate(lines, 1)]
        ident: str = self.make(
            "quotes",
            name="Rooms",
            tieout_servicestart="2026-10-01",
            customerid_account__to=account or self.account(),
            pricelevelid__to=self.prices or None,
            quote_details=numbered,
            **fields,
        )["quoteid"]
        self.call("PATCH", f"quotes({ident})", {"statecode": 1, "statuscode": 3})
        return ident

    def win(self, quote: str) -> str:
        """The id of the sales order that a won quote becomes."""
        close = {"subject": "Won", "quoteid@odata.bind": f"/quotes({quote})"}
        self.call("POST", "WinQuote", {"QuoteClose": close, "Status": -1}, 204)
        converted = {"QuoteId": quote, "ColumnSet": {"Columns": ["salesorderid"]}}
        return str(self.call("POST", "ConvertQuoteToSalesOrder", converted, 200)["salesorderid"])

    def sell(self, *lines: Mapping[str, Any], account: str = "", **fields: Any) -> str:
        return self.win(self.quote(*lines, account=account, **fields))
