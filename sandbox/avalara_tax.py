"""The tax engine of the AvaTax emulator: jurisdictions, taxability and arithmetic, from ``avalara_tax.yaml``.

Pure: an address, a tax code and an amount in, details out. Each detail is rounded half up to two decimals by itself and
everything above it is a sum of details, as the vendor's published answers show (integration guide, cases 3.2.2 and
5.2.2: 65.00 at 7.75 % is 5.04, 75.00 at 8.875 % is 6.66).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from pathlib import Path
from typing import Any

import yaml

CENT = Decimal("0.01")
ZERO = Decimal("0.00")

#: jurisType of a detail -> jurisdictionType of a summary.
JURISDICTION_TYPES = {"CNT": "Country", "STA": "State", "CTY": "County", "CIT": "City", "STJ": "Special"}

#: Entity use codes that make a sale exempt (everywhere, which is simpler than the vendor); TAXABLE and others do not.
EXEMPT_USES = frozenset("ABCDEFGHIJKLMNPQR")


@dataclass(frozen=True)
class Place:
    """An address as far as tax cares."""

    country: str
    region: str
    city: str
    postal: str


@dataclass(frozen=True)
class Jurisdiction:
    country: str
    region: str
    kind: str
    code: str
    name: str
    tax_name: str
    tax_type: str
    rate: Decimal


@dataclass(frozen=True)
class Detail:
    """One line in one jurisdiction; ``taxable + exempt + non_taxable`` is the line's amount."""

    jurisdiction: Jurisdiction
    taxable: Decimal
    exempt: Decimal
    non_taxable: Decimal
    calculated: Decimal
    tax: Decimal


@cache
def facts() -> Mapping[str, Any]:
    return yaml.safe_load(Path(__file__).with_name("avalara_tax.yaml").read_text())  # type: ignore[no-any-return]


def cents(amount: Decimal) -> Decimal:
    return amount.quantize(CENT, ROUND_HALF_UP)


@cache
def jurisdictions(place: Place) -> tuple[Jurisdiction, ...]:
    """Every jurisdiction that taxes at this place, from the country down; a state without a tax stands there with 0."""
    country = facts()["countries"].get(place.country)
    if country is None:
        return ()
    region = facts()["regions"].get(place.country, {}).get(place.region)
    found: list[Jurisdiction] = []

    def add(kind: str, code: str, name: str, tax_name: str, rate: str) -> None:
        tax_type = "Sales" if place.country == "US" else "Output"
        found.append(Jurisdiction(place.country, place.region, kind, code, name, tax_name, tax_type, Decimal(rate)))

    if region and "harmonized" in region:
        add("CNT", place.country, country["name"], "CANADA HST/TVH", region["harmonized"])
        return tuple(found)
    if place.country != "US":
        add("CNT", place.country, country["name"], country["tax"], country["rate"])
    if region and (place.country == "US" or region["rate"] != "0"):
        add("STA", place.region, region["name"], region.get("tax", f"{place.region} STATE TAX"), region["rate"])
    for kind, code, name, rate in _local(place):
        add(kind, code, name, f"{place.region} {JURISDICTION_TYPES[kind].upper()} TAX", rate)
    return tuple(found)


def _local(place: Place) -> list[list[str]]:
    if place.country != "US":
        return []
    here = [row for row in facts()["places"] if row["region"] == place.region]
    by_postal = {prefix: row for row in here for prefix in row["postal"] if place.postal.startswith(prefix)}
    if by_postal:
        return by_postal[max(by_postal, key=len)]["taxes"]  # type: ignore[no-any-return]
    named = (row for row in here if place.city.casefold() in {city.casefold() for city in row["cities"]})
    return next(named, {"taxes": []})["taxes"]


def region_of_postal(postal: str) -> str:
    """The US state of a postal code this file knows, or nothing."""
    return next(
        (row["region"] for row in facts()["places"] if any(postal.startswith(prefix) for prefix in row["postal"])), ""
    )


def taxable_share(tax_code: str, place: Place) -> Decimal:
    rules = facts()["taxability"]
    prefix = max((prefix for prefix in rules if tax_code.startswith(prefix)), key=len, default=None)
    if prefix is None:
        return Decimal(1)
    by_state = rules[prefix]
    return Decimal(by_state.get(place.region if place.country == "US" else "*", by_state["*"]))


def details(place: Place, tax_code: str, amount: Decimal, *, exempt: bool) -> list[Detail]:
    """The tax of one line. Amounts are major units with at most two decimals, of either sign."""
    result = []
    for jurisdiction in jurisdictions(place):
        taxed = cents(amount * taxable_share(tax_code, place)) if jurisdiction.rate else ZERO
        taxable = ZERO if exempt else taxed
        calculated = cents(taxable * jurisdiction.rate)
        result.append(Detail(jurisdiction, taxable, taxed if exempt else ZERO, amount - taxed, calculated, calculated))
    return result


def overridden(lines: list[list[Detail]], tax: Decimal) -> list[list[Detail]]:
    """The same details with taxes that sum to ``tax``, spread in proportion to the calculated tax.

    Where nothing was calculated the first detail takes all of it; the largest detail takes what rounding leaves.
    """
    flat = [(i, k) for i, line in enumerate(lines) for k in range(len(line))]
    if not flat:
        return lines
    whole = sum((d.calculated for line in lines for d in line), ZERO)
    weights = [lines[i][k].calculated if whole else Decimal(n == 0) for n, (i, k) in enumerate(flat)]
    parts = [cents(tax * weight / (whole or 1)) for weight in weights]
    heaviest = max(range(len(parts)), key=lambda n: abs(weights[n]))
    parts[heaviest] += tax - sum(parts, ZERO)
    result = [list(line) for line in lines]
    for (i, k), part in zip(flat, parts, strict=True):
        result[i][k] = replace(result[i][k], tax=part)
    return result
