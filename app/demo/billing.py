"""The billing manager of a company that keeps BillingPlatform: rating methods, rates, and the close of a cycle."""

from __future__ import annotations

from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode

from app.demo.http import Client
from flows.context import Hub
from flows.deliver import deliver_all
from flows.ingest import ingest_files
from flows.intake import take_in
from flows.prepare import prepare_erp
from flows.rate import rate_period
from sandbox.billingplatform import ORGANISATION, PASSWORD, USERNAME

#: Rating methods as docs/connectors/billingplatform.md has them set up, by external key.
METHODS = {
    "usage-1": {"RatingMethodType": "Usage", "ProrateSubscription": "0"},
    "recurring-1": {"RatingMethodType": "Subscription", "SubscriptionCycle": "MONTHLY", "ProrateSubscription": "1"},
    "recurring-12": {"RatingMethodType": "Subscription", "SubscriptionCycle": "YEARLY", "ProrateSubscription": "0"},
    "one_time-1": {"RatingMethodType": "One Time Charge", "ProrateSubscription": "0"},
}
#: What usage costs, kept at BillingPlatform alone; the price book says something else.
RATES = {"VC-MIN": "0.05", "VC-MIN-INTL": "0.2", "VC-PLAN-MIN": "0.01"}


class BillingManager:
    """Works at the organisation as any API user would."""

    def __init__(self, url: str) -> None:
        self._control = Client(f"{url}/_sandbox")
        self._api = Client(f"{url}/{ORGANISATION}/rest/2.0")
        login = self._api("POST", "/login", {"username": USERNAME, "password": PASSWORD})
        self._api.headers["sessionid"] = login["loginResponse"][0]["SessionID"]

    def _keep(self, entity: str, **fields: str) -> None:
        """Writes what is not so yet."""
        held = self._held(entity, fields["ExternalKey"])
        if all(held.get(name) == value for name, value in fields.items()):
            return
        answer = self._api("PATCH", f"/{entity}", {"brmObjects": fields, "externalIDFieldName": "ExternalKey"})
        (row,) = answer["upsertResponse"]
        if not row["success"]:
            raise ValueError(f"BillingPlatform refused {entity} {fields['ExternalKey']}: {row}")

    def _held(self, entity: str, key: str) -> dict[str, Any]:
        """The row of an external key; empty where there is none, which is a 404 here."""
        query = urlencode({"queryAnsiSql": f"ExternalKey = '{key}'"})
        try:
            (row,) = self._api("GET", f"/{entity}?{query}")["retrieveResponse"]
        except HTTPError as error:
            if error.code != 404:
                raise
            return {}
        return dict(row)

    def set_up(self, hub: Hub) -> None:
        """The rating methods that products name, the products as the hub brings them, and their rates."""
        for key, method in METHODS.items():
            self._keep("RATING_METHOD", ExternalKey=key, RatingMethodName=key, **method)
        prepare_erp(hub)
        deliver_all(hub)
        for product, rate in RATES.items():
            self._keep("PRODUCT", ExternalKey=product, Rate=rate)

    def bill(self, hub: Hub, period: str) -> int:
        """Waits until the hub has told contracts and measured usage, and closes the cycle; how many invoices."""
        take_in(hub)
        ingest_files(hub)
        rate_period(hub, period)
        deliver_all(hub)
        return len(self._control("POST", "/close", {"month": period})["closed"])
