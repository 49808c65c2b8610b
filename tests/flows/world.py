"""A small company whole: its four systems as emulators, its hub, and one month from quote to general ledger.

Three customers who between them buy everything that is sold: ``A-0001`` meets by the minute in two places, rents
endpoints and held an event (two orders on one invoice), ``A-0002`` has a yearly plan, ``A-0003`` is exempt from tax and
rents four endpoints for 72.00.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from app.demo.company import PLACES, Customer, Deal, Line, Place, Site
from app.demo.crm import SalesPerson
from core.catalog import PriceBook
from core.ports import World, system_clock
from core.ties import Break, TieLine
from flows import bill, collect, credits, deliver, ingest, intake, prepare, rate, recognise, tie_out, write_back
from flows.context import Hub
from flows.report import Report
from sandbox import server
from tests.connectors import contract_avalara, contract_netsuite, contract_salesforce, contract_stripe_gateway
from tests.flows.hubs import hub_with

PERIOD = "2026-10"
SETTINGS = {
    "salesforce": contract_salesforce.settings,
    "avalara": contract_avalara.settings,
    "stripe": contract_stripe_gateway.settings,
    "netsuite": contract_netsuite.settings,
}
AUSTIN, DENVER = Place(*PLACES[2]), Place(*PLACES[6])

USAGE = """\
id,account_id,site_id,meter,quantity,occurred_at
u1,A-0001,A-0001-S1,conference_minutes,4000.5,2026-10-01T09:00:00-06:00
u2,A-0001,A-0001-S1,conference_minutes,2000,2026-10-31T23:59:59-06:00
u3,A-0001,A-0001-S2,international_minutes,100.25,2026-10-15T12:00:00-05:00
u4,A-0002,A-0002-S1,plan_minutes,9000,2026-10-05T12:00:00-05:00
u5,A-0002,A-0002-S2,plan_minutes,4000,2026-10-06T12:00:00-05:00
"""


def customer(number: str, place: Place, *lines: Line, exemption: str | None = None, deals: tuple[Deal, ...] = ()):
    """A customer with two sites and one deal of these lines, besides ``deals``."""
    first = Deal(f"{number} conferencing", "2026-09-28", "PO-1", lines)
    sites = (Site(f"{number}-S1", "Denver office", DENVER), Site(f"{number}-S2", "Austin office", AUSTIN))
    name = f"Customer {number}"
    return Customer(number, name, f"{number}@billing.example", place, 30, exemption, sites, (first, *deals), ())


def sold(code: str, quantity: int, price: str, site: str | None = None, starts: str | None = None) -> Line:
    return Line(code, Decimal(quantity), Decimal(price), site, starts)


CUSTOMERS = (
    customer(
        "A-0001",
        DENVER,
        sold("VC-MIN", 1, "250.00", "A-0001-S1"),
        sold("VC-MIN-INTL", 1, "20.00", "A-0001-S2"),
        sold("VC-ENDPOINT", 10, "18.00", "A-0001-S1"),
        sold("VC-ENDPOINT", 7, "16.50", "A-0001-S2", "2026-10-12"),
        deals=(Deal("A-0001 event", "2026-10-01", None, (sold("VC-LIVE", 1, "750.00", "A-0001-S1", "2026-10-09"),)),),
    ),
    customer("A-0002", AUSTIN, sold("VC-PLAN", 1, "4800.00"), sold("VC-PLAN-MIN", 1, "100.00")),
    customer("A-0003", DENVER, sold("VC-ENDPOINT", 4, "18.00", "A-0003-S1"), exemption="E"),
)

#: The steps of flows/order_to_cash.py, without an orchestrator.
MONTH: tuple[tuple[str, Callable[[Hub], Report]], ...] = (
    ("prepare", prepare.prepare_erp),
    ("intake", intake.take_in),
    ("ingest", ingest.ingest_files),
    ("rate", lambda hub: rate.rate_period(hub, PERIOD)),
    ("credits", lambda hub: credits.settle_credits(hub, PERIOD)),
    ("bill", lambda hub: bill.draft_invoices(hub, PERIOD)),
    ("deliver", deliver.deliver_all),
    ("finalise", bill.finalise_invoices),
    ("collect", collect.request_payments),
    ("deliver", deliver.deliver_all),
    ("intake", intake.take_in),
    ("settle", intake.book_settlements),
    ("recognise", lambda hub: recognise.recognise_through(hub, PERIOD)),
    ("write_back", write_back.tell_crm),
    ("deliver", deliver.deliver_all),
)

#: Every object of every emulator: (system, kind) to the objects in the order they were first kept.
Objects = Mapping[tuple[str, str], list[dict[str, Any]]]


@dataclass
class Ahead:
    """The real clock, and ahead of it by what was slept: the emulators, which look at the real one, accept it."""

    by: timedelta = timedelta(0)

    def clock(self) -> datetime:
        return system_clock() + self.by

    def sleep(self, seconds: float, /) -> None:
        self.by += timedelta(seconds=seconds)


@dataclass
class Company:
    hub: Hub
    running: server.Running
    time: Ahead

    def enter(self, *customers: Customer, book: PriceBook | None = None) -> None:
        """Enters customers and their deals at the CRM, and wins the deals; ``book``: what the CRM lists."""
        sales = SalesPerson(self.running.urls["salesforce"])
        sales.enter(customers, book or self.hub.price_book)
        sales.win(lambda _done, _whole: None)

    def bring(self, name: str, usage: str) -> None:
        """A source delivers a usage file."""
        folder = self.hub.settings.state_folder / ingest.FOLDER
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(usage)

    def month(self, until: str = "") -> dict[str, Report]:
        """Runs the steps of a month (to the first of the name ``until``); the last report of each."""
        reports = {}
        for name, step in MONTH:
            reports[name] = step(self.hub)
            if name == until:
                break
        return reports

    def tie_out(self) -> tuple[list[TieLine], list[Break]]:
        return tie_out.tie_out_period(self.hub, PERIOD)

    def breaks(self) -> list[tuple[str, str, str]]:
        """What the tie-out finds: (tie, subject, kind)."""
        return [(one.tie, one.subject, one.kind) for one in self.tie_out()[1]]

    def objects(self) -> Objects:
        found = {}
        for system, url in self.running.urls.items():
            for kind in httpx.get(f"{url}/_sandbox/objects").json():
                found[system, kind] = httpx.get(f"{url}/_sandbox/objects/{kind}").json()
        return found

    def held(self, system: str, kind: str, ours: str) -> dict[str, Any]:
        """The one object of a kind that carries our id."""
        (found,) = [one for one in self.running.emulators[system].shelf.all(kind) if _our_id(one) == ours]
        return found

    def set(self, system: str, kind: str, ours: str, **fields: Any) -> None:
        """Somebody changes an object of ours at a system by hand."""
        held = self.held(system, kind, ours)
        self.running.emulators[system].shelf.keep(kind, _shelf_id(held), {**held, **fields})

    @contextmanager
    def changed(self, system: str, kind: str, ours: str, **fields: Any) -> Iterator[None]:
        """Somebody changes an object of ours at a system by hand, and changes it back afterwards."""
        held = self.held(system, kind, ours)
        self.set(system, kind, ours, **fields)
        try:
            yield
        finally:
            self.set(system, kind, ours, **held)

    @contextmanager
    def deleted(self, system: str, kind: str, ours: str) -> Iterator[None]:
        """Somebody deletes an object of ours at a system, and enters it again afterwards."""
        held = self.held(system, kind, ours)
        self.running.emulators[system].shelf.drop(kind, _shelf_id(held))
        try:
            yield
        finally:
            self.running.emulators[system].shelf.keep(kind, _shelf_id(held), held)

    @contextmanager
    def doubled(self, system: str, kind: str, ours: str, **fields: Any) -> Iterator[None]:
        """Somebody enters an object of ours a second time at a system, and deletes the copy afterwards."""
        copy = {**self.held(system, kind, ours), **fields}
        self.running.emulators[system].shelf.keep(kind, _shelf_id(copy), copy)
        try:
            yield
        finally:
            self.running.emulators[system].shelf.drop(kind, _shelf_id(copy))

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Whatever happens inside is undone afterwards: at every system, in our tables, in usage and in time."""
        shelves = [emulator.shelf for emulator in self.running.emulators.values()]
        before = [shelf.snapshot() for shelf in shelves]
        usage, ahead = self.hub.settings.state_folder / "usage", self.time.by
        path = self.hub.settings.database_url.removeprefix("sqlite:///")
        with (
            closing(sqlite3.connect(path)) as ours,
            closing(sqlite3.connect(":memory:")) as kept,
            TemporaryDirectory() as folder,
        ):
            ours.backup(kept)
            shutil.copytree(usage, folder, dirs_exist_ok=True)
            try:
                yield
            finally:
                kept.backup(ours)
                shutil.rmtree(usage)
                shutil.copytree(folder, usage)
                self.time.by = ahead
                for shelf, held in zip(shelves, before, strict=True):
                    shelf.restore(held)

    def plant(self, system: str, kind: str, match: str, **more: Any) -> None:
        fault = {"kind": kind, "match": match, **more}
        httpx.post(f"{self.running.urls[system]}/_sandbox/faults", json=fault).raise_for_status()


@contextmanager
def paid_by(
    customer: Customer, folder: Path, settings: Mapping[str, Callable[[str], Any]] = SETTINGS
) -> Iterator[Company]:
    """The company after a month in which this customer alone was billed, and paid by card; nobody talked."""
    with company(folder, settings) as entered:
        entered.enter(customer)
        entered.bring("bridge.2026-10.csv", USAGE.splitlines()[0] + "\n")
        entered.month()
        yield entered


def _our_id(item: Mapping[str, Any]) -> str:
    """What an object of any vendor carries as ours: our key, or the name we gave it."""
    metadata = item.get("metadata") or {}
    return str(item.get("externalId") or item.get("code") or metadata.get("tieout_id") or item.get("Name"))


def _shelf_id(item: Mapping[str, Any]) -> str:
    """The vendor's own id of an object, under which its emulator keeps it."""
    if "code" in item:
        return f"{item['companyId']}/{item['type']}/{item['code']}"
    return str(item.get("internalId") or item.get("Id") or item["id"])


@contextmanager
def company(folder: Path, settings: Mapping[str, Callable[[str], Any]] = SETTINGS) -> Iterator[Company]:
    """Four emulators and a hub on SQLite; nothing is entered yet."""
    with server.start(list(settings)) as running:
        time = Ahead()
        systems = {name: make(running.urls[name]) for name, make in settings.items()}
        hub = hub_with(f"sqlite:///{folder / 'tieout.db'}", folder, systems, World(clock=time.clock, sleep=time.sleep))
        yield Company(hub, running, time)
        hub.close()
