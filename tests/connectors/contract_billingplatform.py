"""BillingPlatform's part of the contract suite: accounts, which need nothing but what a new organisation holds."""

from __future__ import annotations

from collections.abc import Mapping

from connectors.billingplatform import Settings
from core.ports import ExternalKey, Payload
from sandbox.billingplatform import ORGANISATION, PASSWORD, USERNAME
from tests.connectors.contract import ContractCase

#: Seconds to wait at a refusal for too many calls; the vendor names none.
REFUSED_WAIT = 1.0


def settings(url: str, **changes: object) -> Settings:
    given = {"base_url": f"{url}/{ORGANISATION}", "username": USERNAME, "password": PASSWORD, "page": 20}
    return Settings.model_validate({**given, **changes})


def payload(n: int) -> Payload:
    return {"Name": f"Customer {n}", "Status": "ACTIVE", "AccountTypeId": "1"}


def key(n: int) -> ExternalKey:
    return ExternalKey("TieoutKey", f"A-{n:04d}")


def bad_payload() -> tuple[Payload, str]:
    return {**payload(0), "Status": "SLEEPING"}, "Status"


def count(objects: Mapping[str, int]) -> int:
    return objects.get("ACCOUNT", 0)


CASE = ContractCase(
    system="billingplatform",
    settings=settings,
    resource="account",
    payload=payload,
    key=key,
    bad_payload=bad_payload,
    write_line=r"^PATCH /northwind/rest/2.0/ACCOUNT",
    count=count,
    page=21,
    own_wait=REFUSED_WAIT,
)
