"""Legal entities: who sells, and in whose books an entry stands."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints, field_validator

from core.noun import CurrencyCode, Noun
from core.period import zone

#: Names an entity in journals, closes and locks.
EntityId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,20}$")]


class LegalEntity(Noun):
    """Who sells. ``currency`` is that of its books; ``timezone`` is where its days begin and its months end."""

    id: EntityId = "main"
    name: str = "Northwind Meetings, Inc."
    currency: CurrencyCode = "USD"
    timezone: str = "UTC"

    @field_validator("timezone")
    @classmethod
    def _a_zone(cls, name: str) -> str:
        zone(name)
        return name
