"""What the tax engine answered, recorded and never computed here."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Self

from pydantic import model_validator

from core.money import Money
from core.noun import CurrencyCode, Id, Noun, Quantity
from core.ties import tax_equals_lines


class TaxStatus(StrEnum):
    UNCOMMITTED = "uncommitted"
    COMMITTED = "committed"
    VOIDED = "voided"


class TaxLine(Noun):
    """Tax of one invoice line in one jurisdiction. ``rate`` is a fraction of 1 (0.0625 is 6.25 %)."""

    id: Id
    invoice_line_id: Id
    jurisdiction: str
    jurisdiction_type: str
    region: str
    country: str
    tax_name: str
    rate: Quantity
    taxable: Money
    tax: Money


class TaxDocument(Noun):
    """The engine's answer for one invoice, or for one credit note, whose base and tax are below zero.

    ``id`` is our code of the document at the engine, ``invoice_id`` the number of the invoice or credit note.
    """

    id: Id
    invoice_id: Id
    vendor_id: str
    status: TaxStatus
    currency: CurrencyCode
    document_date: date
    base: Money
    """The amount before tax, as the engine totals it."""
    tax: Money
    lines: tuple[TaxLine, ...]

    @model_validator(mode="after")
    def _ties(self) -> Self:
        tax_equals_lines(self.id, self.tax, [line.tax for line in self.lines])
        return self

    def tax_of(self, invoice_line_id: str) -> Money:
        """The tax of one invoice line over all jurisdictions."""
        return sum(
            (line.tax for line in self.lines if line.invoice_line_id == invoice_line_id), Money.zero(self.currency)
        )
