"""Toybooks' part of the contract suite."""

from __future__ import annotations

from typing import Any

from connectors.registry import SYSTEMS
from core.ports import ExternalKey, Payload
from tests.connectors.contract import ContractCase

USER, PASSWORD = "sandbox", "sandbox-password"


def settings(url: str) -> Any:
    given = {"base_url": url, "user": USER, "password": PASSWORD}
    return SYSTEMS["toybooks"].settings_type().model_validate(given)


def payload(n: int) -> Payload:
    return {"name": f"Customer {n}", "email": f"billing{n}@customer.example"}


def key(n: int) -> ExternalKey:
    return ExternalKey("code", f"A-{n:04d}")


CASE = ContractCase(
    system="toybooks",
    settings=settings,
    resource="account",
    payload=payload,
    key=key,
    bad_payload=lambda: ({**payload(0), "colour": "red"}, "colour"),
    write_line=r"^PUT /customers/",
    count=lambda objects: objects.get("customer", 0),
    page=21,
)
