"""The stacks a demo can run on: which systems, how each is configured for its emulator, who sells."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from app.demo.company import Customer
from core.catalog import PriceBook

#: Name to systems, the CRM first.
STACKS: Mapping[str, tuple[str, ...]] = {
    "salesforce": ("salesforce", "avalara", "stripe", "netsuite"),
    "hubspot": ("hubspot", "avalara", "stripe", "quickbooks"),
    "dynamics": ("dynamics", "avalara", "avalara_communications", "stripe", "netsuite"),
    "xero": ("hubspot", "avalara", "stripe", "xero"),
    "billingplatform": ("salesforce", "avalara", "stripe", "netsuite", "billingplatform"),
}

#: Module of the salesperson at each CRM.
SALES: Mapping[str, str] = {
    "salesforce": "app.demo.crm",
    "hubspot": "app.demo.crm_hubspot",
    "dynamics": "app.demo.crm_dynamics",
}


class Sales(Protocol):
    """Someone who works in the CRM."""

    def enter(self, customers: Sequence[Customer], book: PriceBook) -> None:
        """Enters products, customers, sites and open deals, where they are not there yet."""
        ...

    def win(self, tell: Callable[[int, int], None]) -> int:
        """Wins every open deal; gives how many. ``tell`` hears how many are done of how many."""
        ...


def salesperson(system: str, url: str) -> Sales:
    made: Sales = import_module(SALES[system]).SalesPerson(url)
    return made


@dataclass(frozen=True)
class Place:
    """Where a system is, where its webhooks shall go, the demo's folder, and a token agreed for this state."""

    url: str
    webhooks: str
    state: Path
    token: str


@dataclass(frozen=True)
class Profile:
    """``settings``: the system's table in ``tieout.toml``; ``webhooks``: what its sandbox is told, None for nothing."""

    settings: Mapping[str, Any]
    webhooks: Mapping[str, str] | None = None


def profile(system: str, place: Place) -> Profile:
    """How a system is configured for its emulator."""
    profile: Profile = PROFILES[system](place)
    return profile


def token(state: Path) -> str:
    """The webhook token of a demo's folder; made once."""
    file = state / "webhook-token"
    if not file.exists():
        file.touch(0o600)
        file.write_text(secrets.token_urlsafe(24), encoding="utf-8")
    return file.read_text(encoding="utf-8")


def _salesforce(place: Place) -> Profile:
    from sandbox import salesforce as org

    settings = {
        "base_url": place.url,
        "client_id": org.CLIENT_ID,
        "client_secret": org.CLIENT_SECRET,
        "organization_id": org.ORGANIZATION_ID,
        "webhook_token": place.token,
    }
    return Profile(settings, {"url": f"{place.webhooks}?token={place.token}"})


def _hubspot(place: Place) -> Profile:
    from sandbox import hubspot as portal

    settings = {
        "base_url": place.url,
        "access_token": portal.ACCESS_TOKEN,
        "client_secret": portal.CLIENT_SECRET,
        "portal_id": portal.PORTAL_ID,
        "webhook_url": place.webhooks,
    }
    return Profile(settings, {"url": place.webhooks, "secret": portal.CLIENT_SECRET})


def _dynamics(place: Place) -> Profile:
    from sandbox import dynamics as environment

    settings = {
        "base_url": place.url,
        "login_url": place.url,
        "tenant_id": environment.TENANT_ID,
        "client_id": environment.CLIENT_ID,
        "client_secret": environment.CLIENT_SECRET,
        "organization_id": environment.ORGANIZATION_ID,
        "webhook_key": place.token,
    }
    return Profile(settings, {"url": f"{place.webhooks}?code={place.token}"})


def _avalara(place: Place) -> Profile:
    from sandbox import avalara as engine

    settings = {
        "base_url": place.url,
        "account_id": engine.ACCOUNT_ID,
        "license_key": engine.LICENSE_KEY,
        "company_code": engine.COMPANY_CODE,
    }
    return Profile(settings)


def _avalara_communications(place: Place) -> Profile:
    from sandbox import avalara_communications as engine

    settings = {
        "base_url": place.url,
        "user": engine.USER,
        "password": engine.PASSWORD,
        "client_id": engine.CLIENT_ID,
        "client_profile_id": engine.PROFILE_ID,
        "business_class": 0,
        "service_class": 0,
    }
    return Profile(settings)


def _stripe(place: Place) -> Profile:
    from sandbox import stripe_gateway as gateway

    settings = {
        "base_url": place.url,
        "secret_key": gateway.SECRET_KEY,
        "webhook_secrets": [gateway.WEBHOOK_SECRET],
    }
    return Profile(settings, {"url": place.webhooks, "secret": gateway.WEBHOOK_SECRET})


def _netsuite(place: Place) -> Profile:
    from sandbox import netsuite as company

    settings = {
        "base_url": place.url,
        "account": company.ACCOUNT,
        "consumer_key": company.CONSUMER_KEY,
        "consumer_secret": company.CONSUMER_SECRET,
        "token": company.TOKEN,
        "token_secret": company.TOKEN_SECRET,
    }
    return Profile(settings)


def _quickbooks(place: Place) -> Profile:
    from sandbox import quickbooks as company

    settings = {
        "base_url": place.url,
        "login_url": place.url,
        "realm_id": company.REALM,
        "client_id": company.CLIENT_ID,
        "client_secret": company.CLIENT_SECRET,
        "refresh_token": company.REFRESH_TOKEN,
        "verifier_token": company.VERIFIER_TOKEN,
        "token_file": str(place.state / "quickbooks-token.json"),
    }
    return Profile(settings)


def _xero(place: Place) -> Profile:
    from sandbox import xero as organisation

    settings = {
        "base_url": place.url,
        "login_url": place.url,
        "tenant_id": organisation.TENANT,
        "client_id": organisation.CLIENT_ID,
        "client_secret": organisation.CLIENT_SECRET,
        "refresh_token": organisation.REFRESH_TOKEN,
        "webhook_key": organisation.WEBHOOK_KEY,
        "token_file": str(place.state / "xero-tokens.json"),
    }
    return Profile(settings, {"url": place.webhooks, "secret": organisation.WEBHOOK_KEY})


def _billingplatform(place: Place) -> Profile:
    from sandbox import billingplatform as billing

    settings = {
        "base_url": f"{place.url}/{billing.ORGANISATION}",
        "username": billing.USERNAME,
        "password": billing.PASSWORD,
    }
    return Profile(settings)


PROFILES: Mapping[str, Callable[[Place], Profile]] = {
    "salesforce": _salesforce,
    "hubspot": _hubspot,
    "dynamics": _dynamics,
    "avalara": _avalara,
    "avalara_communications": _avalara_communications,
    "stripe": _stripe,
    "netsuite": _netsuite,
    "quickbooks": _quickbooks,
    "xero": _xero,
    "billingplatform": _billingplatform,
}
