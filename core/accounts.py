"""The customer: an Account, its Sites (service locations) and Contacts, and how it is taxed."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints, field_validator

from core.noun import CurrencyCode, Id, Noun
from core.period import zone

CountryCode = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]


class Address(Noun):
    """A postal address. ``country``: ISO 3166-1 alpha-2; ``region``: state or province code, empty where there is none."""

    line1: str
    city: str
    region: str = ""
    postal_code: str = ""
    country: CountryCode


class Contact(Noun):
    id: Id
    name: str
    email: str


class Site(Noun):
    """A service location of an account; tax is due where the service is used."""

    id: Id
    name: str
    address: Address


class Account(Noun):
    """A customer. ``id`` is the key we give it in every system; ``parent_id`` names the account above it."""

    id: Id
    name: str
    email: str
    currency: CurrencyCode
    timezone: str = "UTC"
    billing_address: Address
    sites: tuple[Site, ...] = ()
    contacts: tuple[Contact, ...] = ()
    parent_id: Id | None = None
    payment_terms_days: int = 30
    tax_exemption: str | None = None
    """Entity use code under which the account is exempt; None: taxable."""
    source_system: str = ""
    source_id: str = ""

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        zone(name)
        return name

    def site(self, site_id: str) -> Site:
        """The site of that id. KeyError when the account has none such."""
        for site in self.sites:
            if site.id == site_id:
                return site
        raise KeyError(f"account {self.id} has no site {site_id}")
