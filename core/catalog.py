"""The price book: Product > RatePlan > Charge > Tier, as one YAML file that a finance clerk can review."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from core.errors import Misconfigured
from core.money import Rounding
from core.noun import CurrencyCode, Id, Noun
from core.prices import Model, NotNegative


class Product(Noun):
    """What is sold. ``tax_code`` as the tax engine spells it; ``revenue_account`` a ledger account of ours."""

    code: Id
    name: str
    tax_code: str
    revenue_account: str


class ChargeKind(StrEnum):
    RECURRING = "recurring"
    USAGE = "usage"
    ONE_TIME = "one_time"


class Timing(StrEnum):
    ADVANCE = "advance"  # due when the service period starts
    ARREARS = "arrears"  # due when the service period has ended


class Align(StrEnum):
    """Where service periods start."""

    CALENDAR = "calendar"  # on the charge's billing day, in the months that ``every_months`` divides
    ANNIVERSARY = "anniversary"  # on the day the charge started; a shorter month clamps, the next returns to the day


class Proration(StrEnum):
    """What a service period that is cut short costs."""

    DAY = "day"  # calendar days served / days of the whole service period
    NONE = "none"  # the full price


class Scope(StrEnum):
    """What is priced together when a charge serves several sites."""

    SITE = "site"  # each site alone
    ACCOUNT = "account"  # all sites together, on one line of the account
    POOL = "pool"  # all sites together, the amount shared by usage with largest remainder
    TIER_BY_POOL = "tier_by_pool"  # the tier by all sites together, each site pays its own units at that price


def _usual_timing(charge: dict[str, Any]) -> Timing:
    return Timing.ADVANCE if charge.get("kind") is ChargeKind.RECURRING else Timing.ARREARS


class Charge(Noun):
    """One price of one product. ``code`` is what an order line names.

    ``timing`` defaults to advance for recurring charges and arrears for usage; ``meter`` and ``where`` (dimension ->
    value) say which usage it prices; ``every_months`` is the length of a service period; ``model`` is its price.
    """

    code: Id
    product_code: Id
    name: str
    kind: ChargeKind
    timing: Timing = Field(default_factory=_usual_timing)
    every_months: Annotated[int, Field(ge=1, le=120)] = 1
    align: Align = Align.CALENDAR
    billing_day: Annotated[int, Field(ge=1, le=31)] = 1
    meter: Id | None = None
    where: dict[str, str] = Field(default_factory=dict)
    model: Model
    scope: Scope = Scope.SITE
    proration: Proration = Proration.DAY
    rounding: Rounding | None = None
    """None: the rounding of the price book."""

    @model_validator(mode="after")
    def _meter_of_kind(self) -> Self:
        if (self.kind is ChargeKind.USAGE) != (self.meter is not None):
            raise ValueError("a usage charge names its meter, and no other charge has one")
        if self.kind is ChargeKind.USAGE and self.timing is Timing.ADVANCE:
            raise ValueError("usage is charged in arrears")
        return self

    @property
    def defer(self) -> bool:
        """Whether revenue is earned by day over the service period instead of when invoiced."""
        return self.kind is ChargeKind.RECURRING and self.timing is Timing.ADVANCE


class RatePlan(Noun):
    """Charges sold together."""

    code: Id
    name: str
    charges: tuple[Id, ...]


class Allowance(Noun):
    """Included units, pooled over the sites and ``charges`` that draw on it, fresh in each service period.

    ``granted_by``: the charge whose subscribed quantity multiplies ``units`` (None: granted once to the account).
    Each site and charge draws in proportion to its usage, on a grid of ``1e-places`` units by largest remainder.
    """

    id: Id
    units: NotNegative
    charges: Annotated[tuple[Id, ...], Field(min_length=1)]
    granted_by: Id | None = None
    places: Annotated[int, Field(ge=0, le=12)] = 6


class PriceBook(Noun):
    """All prices of one seller in one currency. Equal content gives an equal ``version``."""

    name: Id
    currency: CurrencyCode
    rounding: Rounding = Rounding.HALF_UP
    products: tuple[Product, ...] = ()
    charges: tuple[Charge, ...] = ()
    rate_plans: tuple[RatePlan, ...] = ()
    allowances: tuple[Allowance, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if found := [f"{_spell(path)}: {text}" for path, text in _contradictions(self.model_dump())]:
            raise ValueError("; ".join(found))
        return self

    @cached_property
    def version(self) -> str:
        """First 12 hex digits of the SHA-256 of the content."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]

    @cached_property
    def _charges(self) -> dict[str, Charge]:
        return {charge.code: charge for charge in self.charges}

    @cached_property
    def _products(self) -> dict[str, Product]:
        return {product.code: product for product in self.products}

    def charge(self, code: str) -> Charge:
        """The charge of that code. KeyError when there is none."""
        if code not in self._charges:
            raise KeyError(f"price book {self.name} has no charge {code}")
        return self._charges[code]

    def product(self, code: str) -> Product:
        """The product of that code. KeyError when there is none."""
        if code not in self._products:
            raise KeyError(f"price book {self.name} has no product {code}")
        return self._products[code]


_Path = tuple[str | int, ...]

#: Where one part names others: section, field, the section it names, and what a part of that is called.
_REFERENCES = (
    ("charges", "product_code", "products", "product"),
    ("rate_plans", "charges", "charges", "charge"),
    ("allowances", "charges", "charges", "charge"),
    ("allowances", "granted_by", "charges", "charge"),
)


def _contradictions(tree: Mapping[str, Any]) -> Iterator[tuple[_Path, str]]:
    """What is wrong between the parts of a book: where, and in which words. The parts themselves may be broken too."""

    def rows(section: str) -> list[dict[str, Any]]:
        return [row if isinstance(row, dict) else {} for row in tree.get(section) or ()]

    def name(row: dict[str, Any]) -> str:
        return str(row.get("code", row.get("id")))

    for section in ("products", "charges", "rate_plans", "allowances"):
        names = [name(row) for row in rows(section)]
        for index, one in enumerate(names):
            if names.index(one) < index:
                yield (section, index), f"{one} is declared before"
    for section, field, target, noun in _REFERENCES:
        known = {name(row) for row in rows(target)}
        for index, row in enumerate(rows(section)):
            wanted = row.get(field)
            for one in [wanted] if isinstance(wanted, str) else wanted or ():
                if one not in known:
                    yield (section, index, field), f"there is no {noun} {one}"


class PriceBookError(Misconfigured):
    """A price book file has mistakes; ``mistakes`` tells each as ``file:line: field: what is wrong``."""

    cure = "Correct every line named, then run `tieout catalog check`."

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = tuple(mistakes)


class _ExactLoader(yaml.SafeLoader):
    """YAML whose numbers stay exact: ``0.1`` is Decimal("0.1")."""


def _decimal(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Decimal:
    return Decimal(str(loader.construct_scalar(node)).replace("_", ""))


_ExactLoader.add_constructor("tag:yaml.org,2002:float", _decimal)


def load_price_book(path: Path) -> PriceBook:
    """The price book of a YAML or JSON file. PriceBookError with all mistakes of the file at once."""
    text = path.read_text(encoding="utf-8")
    try:
        root = yaml.compose(text, Loader=_ExactLoader)
        tree = yaml.load(text, Loader=_ExactLoader)
    except (yaml.YAMLError, ValueError, ArithmeticError) as error:
        raise PriceBookError([f"{path}: {error}"]) from None
    if not isinstance(tree, dict):
        raise PriceBookError([f"{path}:1: a price book is a mapping of name, currency, products, charges..."])
    found = list(_contradictions(tree))
    try:
        book = PriceBook.model_validate_json(json.dumps(tree, default=str))
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        found += [(fault["loc"], fault["msg"]) for fault in faults if fault["loc"] or not found]
    if found:
        raise PriceBookError([f"{path}:{_line(root, where)}: {_spell(where)}: {what}" for where, what in found])
    return book


def _line(node: yaml.Node | None, path: _Path) -> int:
    """The line (from 1) of the innermost node on a path; names that are not in the file are passed over."""
    line = 1
    for step in path:
        if isinstance(node, yaml.MappingNode):
            hits = [(key, value) for key, value in node.value if key.value == step]
            if not hits:
                continue
            line, node = hits[0][0].start_mark.line + 1, hits[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
    return line


def _spell(path: _Path) -> str:
    return ".".join(str(step) for step in path)
