"""Somebody who keeps a BillingPlatform organisation: rating methods, rates, and the close of a billing cycle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from sandbox.billingplatform import ORGANISATION, PASSWORD, USERNAME

#: Rating methods as docs/connectors/billingplatform.md has them set up: external key to type, cycle, by days or not.
METHODS = {
    "usage-1": ("Usage", None, "0"),
    "recurring-1": ("Subscription", "MONTHLY", "1"),
    "recurring-12": ("Subscription", "YEARLY", "0"),
    "one_time-1": ("One Time Charge", None, "0"),
}


class BillingManager:
    """Works at the organisation as any API user would."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url)
        login = self.http.post(
            f"/{ORGANISATION}/rest/2.0/login", json={"username": USERNAME, "password": PASSWORD}
        ).json()
        self.http.headers["sessionid"] = login["loginResponse"][0]["SessionID"]

    def set_up(self) -> None:
        """The rating methods that products name."""
        for key, (kind, cycle, prorated) in METHODS.items():
            method = {"RatingMethodName": key, "RatingMethodType": kind, "ProrateSubscription": prorated}
            self.upsert("RATING_METHOD", "ExternalKey", ExternalKey=key, **method, SubscriptionCycle=cycle)

    def rate(self, rates: Mapping[str, str]) -> None:
        """Rates of products by external key."""
        for product, rate in rates.items():
            self.upsert("PRODUCT", "ExternalKey", ExternalKey=product, Rate=rate)

    def upsert(self, entity: str, key_field: str, **fields: Any) -> dict[str, Any]:
        body = {"brmObjects": fields, "externalIDFieldName": key_field}
        answer = self.http.patch(f"/{ORGANISATION}/rest/2.0/{entity}", json=body)
        answer.raise_for_status()
        (row,) = answer.json()["upsertResponse"]
        assert row["success"], row
        return dict(row)

    def rows(self, entity: str, condition: str = "Id > 0") -> list[dict[str, Any]]:
        answer = self.http.get(f"/{ORGANISATION}/rest/2.0/{entity}", params={"queryAnsiSql": condition})
        return list(answer.json().get("retrieveResponse", []))

    def close(self, month: str) -> list[str]:
        """Closes the invoices of a month; their ids."""
        return list(self.http.post("/_sandbox/close", json={"month": month}).json()["closed"])
