"""The price book: Product > RatePlan > Charge > Tier."""

from __future__ import annotations

from core.noun import Id, Noun


class Product(Noun):
    """What is sold. ``tax_code`` as the tax engine spells it; ``revenue_account`` a ledger account of ours."""

    code: Id
    name: str
    tax_code: str
    revenue_account: str
