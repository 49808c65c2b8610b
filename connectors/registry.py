"""The systems this hub can speak with: one line each. Vendor SDKs are imported only when a system is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from pydantic import BaseModel

from core.ports import Connector, World


@dataclass(frozen=True, slots=True)
class System:
    """``module`` holds a ``Settings`` (pydantic model, secrets as SecretStr) and a ``connect(settings, world)``."""

    module: str
    title: str
    role: str  # crm, billing, tax, gateway or erp
    tax_codes: str = ""
    """Of a tax engine: the tax codes of products it taxes, as a pattern."""
    rate_places: int | None = None
    """Of a ledger that takes the rate of a document as units of its currency for one of the books': its decimals."""
    domains: tuple[str, ...] = ()
    """Where the vendor lives; credentials go to another host only when the configuration allows it by name."""

    def settings_type(self) -> type[BaseModel]:
        return import_module(self.module).Settings  # type: ignore[no-any-return]

    def connect(self, settings: Any, world: World) -> Connector:
        return import_module(self.module).connect(settings, world)  # type: ignore[no-any-return]


SYSTEMS: Mapping[str, System] = {
    "salesforce": System("connectors.salesforce", "Salesforce", "crm", domains=("salesforce.com",)),
    "avalara": System("connectors.avalara", "Avalara AvaTax", "tax", r"[^:]*", domains=("avatax.com",)),
    "avalara_communications": System(
        "connectors.avalara_communications", "Avalara Communications", "tax", r"\d+:\d+", domains=("avalara.net",)
    ),
    "stripe": System("connectors.stripe_gateway", "Stripe", "gateway", domains=("stripe.com",)),
    "netsuite": System("connectors.netsuite", "NetSuite", "erp", domains=("netsuite.com",)),
    "quickbooks": System("connectors.quickbooks", "QuickBooks Online", "erp", domains=("intuit.com",)),
    "xero": System("connectors.xero", "Xero", "erp", rate_places=6, domains=("xero.com",)),
    "dynamics": System(
        "connectors.dynamics", "Dynamics 365 Sales", "crm", domains=("dynamics.com", "microsoftonline.com")
    ),
    "hubspot": System("connectors.hubspot", "HubSpot", "crm", domains=("hubapi.com",)),
    "billingplatform": System(
        "connectors.billingplatform", "BillingPlatform", "billing", domains=("billingplatform.com",)
    ),
}
