"""The customer: an Account, its Sites (service locations) and Contacts, and how it is taxed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import StringConstraints, field_validator

from core.errors import Rejected
from core.money import Money
from core.noun import CurrencyCode, Id, Instant, Noun
from core.period import DateSpan, Period, local_date, start_of_day, zone

CountryCode = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]


class Address(Noun):
    """A postal address. ``country``: ISO 3166-1 alpha-2; ``region``: state or province code, or empty."""

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
    entity: Id | None = None
    """The legal entity that sells to it: since it was taken in, None before."""

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


class ZoneChange(Noun):
    """An account's time zone became another one. Days from ``effective_on`` (the first of a month) are in ``timezone``.

    The month in which it became known, and every one before, stays as it was begun, so that it can be measured again.
    """

    id: Id
    account_id: Id
    effective_on: date
    before: str
    timezone: str
    recorded_at: Instant


def zone_change(known: Account, timezone: str, now: datetime) -> ZoneChange:
    """The change of an account's zone to another one that became known at ``now``."""
    following = DateSpan.month(f"{local_date(now, known.timezone):%Y-%m}").end
    return ZoneChange(
        id=f"{known.id}@{following}",
        account_id=known.id,
        effective_on=following,
        before=known.timezone,
        timezone=timezone,
        recorded_at=now,
    )


@dataclass(frozen=True, slots=True)
class Zones:
    """The time zones of one account: the one it has now, and its changes in their order."""

    now: str
    changes: tuple[ZoneChange, ...] = ()

    def on(self, day: date) -> str:
        """The zone in which a calendar day lies."""
        before = [one.timezone for one in self.changes if one.effective_on <= day]
        if before:
            return before[-1]
        return self.changes[0].before if self.changes else self.now

    def instants(self, days: DateSpan) -> Period:
        """The days as instants. Each day begins where the day before ended, in that one's zone: no gap, no overlap."""
        start, end = (start_of_day(day, self.on(day - timedelta(days=1))) for day in (days.start, days.end))
        return Period(start, end)


class GroupBy(StrEnum):
    """What gets an invoice of its own."""

    ACCOUNT = "account"
    SITE = "site"
    PRODUCT = "product"
    PURCHASE_ORDER = "purchase_order"


class ByParent(StrEnum):
    """What the account above takes over."""

    NOTHING = "nothing"
    PAYS = "pays"  # the account has its own invoices; the parent's card is charged
    OWNS = "owns"  # its lines stand on the parent's invoice


class ExemptBy(StrEnum):
    """Whose exemption from tax holds for an account whose parent owns its lines."""

    BUYER = "buyer"  # the parent's: it is who buys
    USER = "user"  # its own: it buys, and its parent gets the bill; an invoice apart where the two differ


class CashBy(StrEnum):
    """What money pays that comes in without naming an invoice."""

    AMOUNT = "amount"  # the one invoice with just so much open, else a person says
    OLDEST = "oldest"  # that, else what is due first


class BillingTerms(Noun):
    """How an account is billed and pays. ``id`` is the account's; an account without terms has these defaults.

    ``minimum``: a draft below it is carried to the next month (None: every draft from zero up is issued).
    """

    id: Id
    currency: CurrencyCode
    group_by: GroupBy = GroupBy.ACCOUNT
    by_parent: ByParent = ByParent.NOTHING
    minimum: Money | None = None
    exempt_by: ExemptBy = ExemptBy.BUYER
    cash_by: CashBy = CashBy.AMOUNT


def _above(
    account_id: str, accounts: Mapping[str, Account], terms: Mapping[str, BillingTerms], taken: frozenset[ByParent]
) -> str:
    """The account up to which parents take over. Rejected when there is none above, or one stands above itself."""
    path = [account_id]
    while (own := terms.get(path[-1])) is not None and own.by_parent in taken:
        parent = accounts[path[-1]].parent_id
        if parent is None or parent not in accounts or parent in path:
            why = "has no account above it" if parent is None else f"names {parent} as the account above it"
            raise Rejected(f"account {path[-1]} {why}; its parent cannot take over", record=path[-1], field="parent_id")
        path.append(parent)
    return path[-1]


def owner(account_id: str, accounts: Mapping[str, Account], terms: Mapping[str, BillingTerms]) -> str:
    """The account whose invoice carries an account's lines."""
    return _above(account_id, accounts, terms, frozenset({ByParent.OWNS}))


def payer(account_id: str, accounts: Mapping[str, Account], terms: Mapping[str, BillingTerms]) -> str:
    """The account whose card is charged for an account's invoices."""
    return _above(account_id, accounts, terms, frozenset({ByParent.OWNS, ByParent.PAYS}))
