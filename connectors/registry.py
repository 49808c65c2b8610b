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
    role: str  # crm, tax, gateway or erp
    tax_codes: str = ""
    """Of a tax engine: the tax codes of products it taxes, as a pattern."""

    def settings_type(self) -> type[BaseModel]:
        return import_module(self.module).Settings  # type: ignore[no-any-return]

    def connect(self, settings: Any, world: World) -> Connector:
        return import_module(self.module).connect(settings, world)  # type: ignore[no-any-return]


SYSTEMS: Mapping[str, System] = {
    "salesforce": System("connectors.salesforce", "Salesforce", "crm"),
    "avalara": System("connectors.avalara", "Avalara AvaTax", "tax", r"[^:]*"),
    "avalara_communications": System("connectors.avalara_communications", "Avalara Communications", "tax", r"\d+:\d+"),
    "stripe": System("connectors.stripe_gateway", "Stripe", "gateway"),
    "netsuite": System("connectors.netsuite", "NetSuite", "erp"),
    "quickbooks": System("connectors.quickbooks", "QuickBooks Online", "erp"),
    "xero": System("connectors.xero", "Xero", "erp"),
    "dynamics": System("connectors.dynamics", "Dynamics 365 Sales", "crm"),
    "hubspot": System("connectors.hubspot", "HubSpot", "crm"),
}
