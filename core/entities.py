"""Legal entities: who sells, and in whose books an entry stands."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Context, Decimal
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator

from core.accounts import Account
from core.fx import Exchange
from core.noun import CurrencyCode, Noun, Quantity
from core.period import zone
from core.rational import Fraction

#: Names an entity in journals, closes and locks.
EntityId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,20}$")]


#: The entity that is there where no other is named.
MAIN: EntityId = "main"


class LegalEntity(Noun):
    """Who sells. ``currency`` is that of its books; ``timezone`` is where its days begin and its months end."""

    id: EntityId = MAIN
    name: str = "Northwind Meetings, Inc."
    currency: CurrencyCode = "USD"
    timezone: str = "UTC"
    sells_to: dict[Literal["account", "country", "region", "currency", "source_system"], list[str]] = Field(
        default_factory=dict
    )
    """Which accounts are its own: each one named must hold one of the values. Empty: all that no other entity takes."""

    def takes(self, account: Account) -> bool:
        address = account.billing_address
        known = {
            "account": account.id,
            "country": address.country,
            "region": address.region,
            "currency": account.currency,
            "source_system": account.source_system,
        }
        return all(known[name] in values for name, values in self.sells_to.items())

    @field_validator("timezone")
    @classmethod
    def _a_zone(cls, name: str) -> str:
        zone(name)
        return name


class Document(Noun):
    """An invoice, credit note, payment, refund or write-off. It stands in the books of ``entity``; ``exchange`` is what
    one unit of its currency is worth there on its day (None: the same currency)."""

    exchange: Exchange | None = None
    entity: EntityId = MAIN

    @property
    def exchange_rate(self) -> Quantity | None:
        """What one unit of its currency is worth in that of the books, in the 15 digits that other systems take."""
        return None if self.exchange is None else _digits(self.exchange.rate)

    @property
    def valued(self) -> str:
        """In words: in whose books it stands, and at which rate, where it needs one."""
        rate = self.exchange
        return f"books of {self.entity}" + (f", 1 {rate.base} = {self.exchange_rate} {rate.quote}" if rate else "")

    @property
    def inverse_rate(self) -> Quantity | None:
        """What one unit of the books' currency is in its own."""
        return None if self.exchange is None else _digits(1 / self.exchange.rate)


def _digits(rate: Fraction) -> Quantity:
    return Context(prec=15).divide(Decimal(rate.numerator), Decimal(rate.denominator))


def selling(entities: Sequence[LegalEntity], account: Account | None) -> LegalEntity:
    """The first entity that takes an account; the last one sells to everybody else, and to an account not known."""
    *own, rest = entities
    return next((one for one in own if account is not None and one.takes(account)), rest)
