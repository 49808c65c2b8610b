"""The tax engine of the AFC emulator: places, pairs and taxes, from ``avalara_communications.yaml``.

Pure: a location and a line item in, taxes out. Amounts are computed in binary doubles and never rounded, on purpose:
the published answers of the vendor show exactly that (``35.099999999999994``, ``7.826916860000001``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]

STATES = re.findall(
    r"\w+",
    """AK AL AR AZ CA CO CT DC DE FL GA HI IA ID IL IN KS KY LA MA MD ME MI MN MO MS MT NC ND NE NH NJ NM NV NY OH OK OR
    PA PR RI SC SD TN TX UT VA VT WA WI WV WY""",
)

#: The part of a charge that is interstate, and so taxed by the federation, by the safe harbor of the guide's examples.
INTERSTATE = {"interstate": 0.649, "wireless": 0.371}

#: Bits of an exemption's scope, by tax level; a scope of 0 or none means all of them.
SCOPES = {0: 128, 1: 256, 2: 512, 3: 1024, 4: 1024}


class LocationError(Exception):
    """A location that no jurisdiction can be found for: the vendor's code and message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@dataclass(frozen=True)
class Place:
    """Where an item is taxed: PCodes from the state down, and whether it lies within city limits."""

    country: str
    state: str
    county: str
    city: str
    pcd: int
    county_pcd: int
    state_pcd: int
    incorporated: bool

    @property
    def areas(self) -> frozenset[object]:
        return frozenset({self.country, self.state, self.pcd})


@dataclass(frozen=True)
class Item:
    """What is taxed: ``charge`` in currency, ``lines`` and ``minutes`` counted, all negative in an adjustment.

    ``part``: of a fixed tax and of one per line, where its authority takes a part; the others are due whole, or left
    out of an adjustment that says so.
    """

    pair: str
    charge: float
    lines: int
    minutes: float
    day: str
    part: float = 1.0
    without_whole: bool = False


@cache
def facts() -> Mapping[str, Any]:
    return yaml.safe_load(Path(__file__).with_name("avalara_communications.yaml").read_text())  # type: ignore[no-any-return]


@cache
def places() -> tuple[tuple[Place, Json], ...]:
    """Every place the file names, with its row."""
    return tuple(
        (
            Place(
                "USA", row["st"], row["county"], row["city"], row["pcd"], row["county_pcd"], state_pcd(row["st"]),
                not row.get("unincorporated", False),
            ),
            row,
        )
        for row in facts()["places"]
    )  # fmt: skip


def state_pcd(state: str) -> int:
    return int(facts()["states"].get(state, 9_100_000 + STATES.index(state)))


def whole_state(state: str) -> Place:
    return Place("USA", state, "", "", state_pcd(state), 0, state_pcd(state), True)


def whole_country(code: str) -> Place:
    pcd = facts()["countries"][code]["pcd"]
    return Place(code, "", "", "", pcd, 0, pcd, True)


def is_abroad(location: Json) -> bool:
    """Whether the country alone tells the jurisdiction."""
    country = (location.get("ctry") or "USA").upper()
    return country != "USA" and country in facts()["countries"]


def by_pcode(pcd: int) -> Place | None:
    candidates = [
        *(place for place, _ in places()),
        *map(whole_state, STATES),
        *map(whole_country, facts()["countries"]),
    ]
    return next((place for place in candidates if place.pcd == pcd), None)


def locate(location: Json) -> Place:
    """The place of a location: by PCode, FIPS code or NPA-NXX, else by address; geocoded when it asks for that."""
    if location.get("pcd") is not None:
        found = _known(by_pcode(location["pcd"]), -12, "PCode not found.")
    elif location.get("fips"):
        found = _known(_by("fips", location["fips"]), -24, "FIPS not found.")
    elif location.get("npa") is not None:
        found = _known(_by("npa", location["npa"]), -14, "NPANXX not found.")
    else:
        found = by_address(location)
    if location.get("geo"):
        if not location.get("addr"):
            raise LocationError(-16, "StreetAddress must be provided for address geocoding.")
        return found
    by_number = location.keys() & {"pcd", "fips", "npa"}
    return replace(found, incorporated=found.incorporated and bool(location.get("int", bool(by_number))))


def by_address(location: Json) -> Place:
    country = (location.get("ctry") or "USA").upper()
    state, city, postal = ((location.get(name) or "").strip().upper() for name in ("st", "city", "zip"))
    if is_abroad(location):
        return whole_country(country)
    if country != "USA":
        raise LocationError(-16, "County/State/Zip not found.")
    if not postal and not (state and city):
        raise LocationError(-2000, "Insufficient information provided to determine taxing jurisdiction.")
    near = next((place for place, row in places() if postal.startswith(tuple(row["zips"]))), None) if postal else None
    if near and state in ("", near.state):
        return near
    if near or state not in STATES:
        raise LocationError(-16, "County/State/Zip not found.")
    named = (place for place, _ in places() if not postal and (place.state, place.city) == (state, city))
    return next(named, whole_state(state))


def _by(field: str, value: Any) -> Place | None:
    return next((place for place, row in places() if value == row[field] or value in _listed(row[field])), None)


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _known(place: Place | None, code: int, message: str) -> Place:
    if place is None:
        raise LocationError(code, message)
    return place


def taxes(item: Item, place: Place, exemptions: Iterable[Json], left: dict[Any, float]) -> Iterator[Json]:
    """The taxes of an item. ``left`` holds what of each untaxed amount is still to be used, and is used up here."""
    by_type: dict[int, float] = {}
    exempting = list(exemptions)
    for row in facts()["taxes"]:
        if not _applies(row, item, place) or (item.without_whole and item.part < 1 and row.get("whole")):
            continue
        tax = _tax(row, item, place, sum(by_type.get(kind, 0.0) for kind in row.get("on_tax", ())), left)
        if any(exempts(exemption, tax, place) for exemption in exempting):
            tax |= {"tm": 0, "exm": item.charge if row.get("calc", 1) == 1 else 0, "tax": 0}
        by_type[tax["tid"]] = by_type.get(tax["tid"], 0.0) + tax["tax"]
        yield tax


def _applies(row: Json, item: Item, place: Place) -> bool:
    return (
        item.pair in row["pairs"]
        and not place.areas.isdisjoint(row["in"])
        and row.get("from", "") <= item.day < row.get("until", "9999")
        and (row["lvl"] != 3 or place.incorporated)
    )


def _tax(row: Json, item: Item, place: Place, taxed_too: float, left: dict[Any, float]) -> Json:
    rate, calc = float(row["rate"]), row.get("calc", 1)
    measure = 0.0
    if calc == 1:
        measure = _share(item.charge, row.get("share", "all")) + taxed_too
        if row.get("free"):
            key = (row["tid"], row["lvl"])
            free = min(left.setdefault(key, float(row["free"])), max(measure, 0.0))
            left[key] -= free
            measure -= free
    amount = {1: measure, 2: 1 if item.charge >= 0 else -1, 3: item.minutes, 4: item.lines}[calc]
    if calc in (2, 4) and not row.get("whole"):
        amount *= item.part
    shows = {"place": place.pcd, "county": place.county_pcd, "country": place.state_pcd}
    level = {0: 0, 1: place.state_pcd, 2: place.pcd, 3: place.pcd, 4: place.pcd}
    return {
        "bill": row.get("bill", True),
        "cmpl": True,
        "tm": measure if item.charge >= 0 else -measure,
        "calc": calc,
        "cat": facts()["categories"][row["cid"]],
        "cid": row["cid"],
        "name": row["name"],
        "exm": item.charge - (measure - taxed_too) if calc == 1 else 0,
        "lns": item.lines if calc == 4 else 0,
        "min": item.minutes if calc == 3 else 0,
        "pcd": shows.get(row.get("shows", ""), level[row["lvl"]]),
        "rate": rate,
        "sur": row.get("sur", False),
        "tax": amount * rate,
        "lvl": row["lvl"],
        "tid": row["tid"],
    }


def _share(charge: float, share: str) -> float:
    match share:
        case "all":
            return charge
        case "intrastate":
            return charge - charge * INTERSTATE["interstate"]
        case "local":
            return charge - charge * INTERSTATE["wireless"]
        case _:
            return charge * INTERSTATE[share]


def exempts(exemption: Json, tax: Json, place: Place) -> bool:
    """Whether an exemption covers a tax here: by its type or category (0: any), its level and scope, and its place."""
    named, asked = ("tpe", "tid") if "tpe" in exemption else ("cat", "cid")
    if exemption[named] not in (0, tax[asked]):
        return False
    if exemption.get("lvl") is not None and exemption["lvl"] != tax["lvl"]:
        return False
    if exemption.get("scp") and not exemption["scp"] & SCOPES[tax["lvl"]]:
        return False
    if not tax["bill"] and not exemption.get("exnb"):
        return False
    holds_in = locate(exemption["loc"]) if exemption["loc"].keys() & {"pcd", "fips", "npa", "zip", "city"} else None
    match exemption.get("dom", 1):
        case 0:
            return True
        case 1:
            state = holds_in.state if holds_in else (exemption["loc"].get("st") or "").upper()
            country = holds_in.country if holds_in else (exemption["loc"].get("ctry") or "USA").upper()
            return (country, state) == (place.country, place.state)
        case 2:
            return holds_in is not None and holds_in.county_pcd == place.county_pcd
        case _:
            return holds_in is not None and holds_in.pcd in (0, place.pcd)


def summary(lines: Iterable[Sequence[Json]]) -> list[Json]:
    """One row per tax and jurisdiction over all items of an invoice."""
    rows: dict[Any, Json] = {}
    for tax in (tax for line in lines for tax in line):
        key = tuple(tax[name] for name in ("tid", "lvl", "pcd", "rate", "name", "bill"))
        kept = {name: tax[name] for name in ("calc", "cat", "cid", "name", "pcd", "rate", "sur", "lvl", "tid")}
        row = rows.setdefault(key, {"max": 2147483647, "min": 0, "tchg": 0, **kept, "exm": 0, "lns": 0, "tax": 0})
        row["tchg"] += tax["tm"] if tax["tax"] >= 0 else -tax["tm"]
        for name in ("exm", "lns", "tax"):
            row[name] += tax[name]
    return list(rows.values())
