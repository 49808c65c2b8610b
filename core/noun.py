"""What all nouns share: frozen, strict, nothing extra, checked when they are born."""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal
from itertools import count
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, StringConstraints

#: An identifier of ours: text, never a number; 1 to 255 characters.
Id = Annotated[str, StringConstraints(min_length=1, max_length=255)]

#: ISO 4217 code.
CurrencyCode = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]

#: An exact quantity or unit price; never a float.
Quantity = Decimal

#: A moment, always with its offset.
Instant = AwareDatetime


class Noun(BaseModel):
    """A value of the business. Strict: text is not a number, a float is not a Decimal, a date is not an instant."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def numbered(ident: str, known: Collection[str]) -> str:
    """``ident-1``, or with the first number under which nothing is known yet."""
    return next(one for number in count(1) if (one := f"{ident}-{number}") not in known)
