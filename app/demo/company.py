"""The customers of Northwind Meetings: who they are, where they meet, and what they bought. The same seed, the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from random import Random

from app.demo.usage import DemoSite

#: City, region, postal code, country, zone, street. Regions only where the CRM keeps them.
PLACES = (
    ("San Francisco", "CA", "94105", "US", "America/Los_Angeles", "415 Mission St"),
    ("New York", "NY", "10001", "US", "America/New_York", "350 5th Ave"),
    ("Austin", "TX", "78701", "US", "America/Chicago", "500 Congress Ave"),
    ("Seattle", "WA", "98101", "US", "America/Los_Angeles", "1201 3rd Ave"),
    ("Chicago", "IL", "60606", "US", "America/Chicago", "233 S Wacker Dr"),
    ("Boston", "MA", "02110", "US", "America/New_York", "100 Summer St"),
    ("Denver", "CO", "80202", "US", "America/Denver", "1801 California St"),
    ("Miami", "FL", "33131", "US", "America/New_York", "200 S Biscayne Blvd"),
    ("Atlanta", "GA", "30303", "US", "America/New_York", "191 Peachtree St NE"),
    ("Portland", "OR", "97204", "US", "America/Los_Angeles", "111 SW 5th Ave"),
    ("Toronto", "ON", "M5J 2J5", "CA", "America/Toronto", "161 Bay St"),
    ("London", "", "EC2R 8EJ", "GB", "Europe/London", "1 Poultry"),
    ("Berlin", "", "10117", "DE", "Europe/Berlin", "Unter den Linden 21"),
    ("Paris", "", "75008", "FR", "Europe/Paris", "12 Rue de la Paix"),
    ("Amsterdam", "", "1017 CE", "NL", "Europe/Amsterdam", "Herengracht 420"),
)
NAMES = ("Alder", "Birch", "Cedar", "Dogwood", "Elm", "Fir", "Ginkgo", "Hazel", "Ironwood", "Juniper", "Kapok", "Larch")
TRADES = ("Legal", "Health", "Robotics", "Foods", "Capital", "Media", "Labs", "Logistics", "Energy", "Schools")
FORMS = ("Inc.", "LLC", "Group", "Partners")


@dataclass(frozen=True)
class Place:
    city: str
    region: str
    postal_code: str
    country: str
    timezone: str
    street: str


@dataclass(frozen=True)
class Site:
    code: str
    name: str
    place: Place


@dataclass(frozen=True)
class Line:
    """One opportunity line: charge code, quantity, unit price, the site it is for, and a start of its own."""

    charge_code: str
    quantity: Decimal
    unit_price: Decimal
    site_code: str | None = None
    starts: str | None = None


@dataclass(frozen=True)
class Deal:
    name: str
    closes: str
    purchase_order: str | None
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Customer:
    number: str
    name: str
    email: str
    place: Place
    terms: int
    exemption: str | None
    sites: tuple[Site, ...]
    deals: tuple[Deal, ...]
    usage: tuple[DemoSite, ...]


def customers(count: int, seed: int) -> list[Customer]:
    """``count`` customers with two to five sites each (60 sites and more for 20), from a seed."""
    rng = Random(seed)
    return [_customer(number, rng) for number in range(1, count + 1)]


def _customer(number: int, rng: Random) -> Customer:
    ident = f"A-{number:04}"
    places = [Place(*PLACES[index]) for index in rng.sample(range(len(PLACES)), 3 + (number % 3 != 0))]
    sites = tuple(
        Site(f"{ident}-S{position}", f"{place.city} office", place) for position, place in enumerate(places, 1)
    )
    plan = number % 3 == 0
    lines = list(_plan(rng) if plan else _metered(sites, rng))
    lines += _endpoints(sites, rng)
    deals = [Deal(f"{ident} conferencing", "2026-09-28", f"PO-{4000 + number}" if number % 2 else None, tuple(lines))]
    if number % 4 == 1:
        day = 3 + number % 25
        event = Line("VC-LIVE", Decimal(rng.randint(1, 3)), Decimal("750.00"), sites[0].code, f"2026-10-{day:02}")
        deals.append(Deal(f"{ident} livestream event", "2026-10-01", None, (event,)))
    meters = ("plan_minutes",) if plan else ("conference_minutes", "international_minutes")
    stem = NAMES[(number - 1) % len(NAMES)]
    return Customer(
        number=ident,
        name=f"{stem} {TRADES[rng.randrange(len(TRADES))]} {FORMS[rng.randrange(len(FORMS))]}",
        email=f"billing@{stem.lower()}{number}.example",
        place=places[0],
        terms=(30, 30, 45, 15)[number % 4],
        exemption="E" if number % 10 == 7 else None,
        sites=sites,
        deals=tuple(deals),
        usage=tuple(DemoSite(ident, site.code, places[0].timezone, meters) for site in sites),
    )


def _plan(rng: Random) -> Iterator[Line]:
    yield Line("VC-PLAN", Decimal(1), Decimal("4800.00"))
    yield Line("VC-PLAN-MIN", Decimal(1), Decimal(rng.randrange(50, 400, 25)).quantize(Decimal("0.01")))


def _metered(sites: tuple[Site, ...], rng: Random) -> Iterator[Line]:
    """Metered lines: what the quote expects of a month, one unit of it."""
    for site in sites:
        yield Line("VC-MIN", Decimal(1), Decimal(rng.randrange(200, 900, 50)).quantize(Decimal("0.01")), site.code)
        yield Line("VC-MIN-INTL", Decimal(1), Decimal(rng.randrange(50, 300, 25)).quantize(Decimal("0.01")), site.code)


def _endpoints(sites: tuple[Site, ...], rng: Random) -> Iterator[Line]:
    """Monitored endpoints: some at a negotiated price, some from a day within the month."""
    for position, site in enumerate(sites):
        price = Decimal("18.00") if rng.random() < 0.7 else Decimal("16.50")
        starts = f"2026-10-{rng.randint(2, 28):02}" if position == 1 else None
        yield Line("VC-ENDPOINT", Decimal(rng.randint(2, 24)), price, site.code, starts)
