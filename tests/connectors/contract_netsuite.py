"""NetSuite's part of the contract suite: customers, which need nothing but what new books hold."""

from __future__ import annotations

from collections.abc import Mapping

from connectors.netsuite import BLOCKED_WAIT, Settings
from core.ports import ExternalKey, Payload
from sandbox.netsuite import ACCOUNT, CONSUMER_KEY, CONSUMER_SECRET, TOKEN, TOKEN_SECRET
from tests.connectors.contract import ContractCase


def settings(url: str, **changes: object) -> Settings:
    given = {
        "account": ACCOUNT,
        "consumer_key": CONSUMER_KEY,
        "consumer_secret": CONSUMER_SECRET,
        "token": TOKEN,
        "token_secret": TOKEN_SECRET,
        "base_url": url,
        "page_size": 50,
    }
    return Settings.model_validate({**given, **changes})


def payload(n: int) -> Payload:
    return {
        "entityId": f"A-{n:04d}",
        "companyName": f"Customer {n}",
        "email": f"billing{n}@customer.example",
        "subsidiary": {"internalId": "1"},
        "currency": {"internalId": "1"},
    }


def key(n: int) -> ExternalKey:
    return ExternalKey("externalId", f"A-{n:04d}")


def bad_payload() -> tuple[Payload, str]:
    return {**payload(0), "subsidiary": {"internalId": "99"}}, "subsidiary"


def count(objects: Mapping[str, int]) -> int:
    return objects.get("customer", 0)


CASE = ContractCase(
    system="netsuite",
    settings=settings,
    resource="account",
    payload=payload,
    key=key,
    bad_payload=bad_payload,
    write_line=r"^POST /services/",
    count=count,
    page=51,
    own_wait=BLOCKED_WAIT,
)
