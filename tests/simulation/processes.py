"""Layer 2: real processes, sockets and files. Each seed is a small month whose processes are killed again and again.

The parent has imported and parsed everything, and holds no database and no socket while it forks: a process of the hub
is a fork of it, so that a kill costs a fraction of a second. Time is the system's, ahead by what the parent says and by
every wait of the hub: nobody sleeps. What must hold is asked of the vendors' servers and of the database.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import shutil
import signal
import socket
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, cached_property, partial
from multiprocessing import RawValue
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import httpx
import httpx._transports.default as httpx_default
import uvicorn
from sqlalchemy import event

from app.demo.crm import SalesPerson
from app.webhooks import receiver
from connectors.registry import SYSTEMS
from core import pack
from core.close import Verdict
from core.errors import Misconfigured, Retryable
from core.ports import World, crash_at, system_clock
from core.store import Database, StoreFailed
from core.sync import OutboxCommand
from flows import bill, collect, deliver, ingest, intake, prepare, rate, recognise, retry_failed, write_back
from flows import close as stages
from flows.close_books import Answer, Closing
from flows.context import Hub
from flows.settings import Settings
from flows.tie_out import tie_out_period
from sandbox import stripe_gateway
from tests import postgres
from tests.simulation import invariants, vendors
from tests.simulation.bad_wire import vendors as vendors_between
from tests.simulation.closing import POINTS
from tests.simulation.company import Company, as_account, company
from tests.simulation.fibers import Violation
from tests.simulation.run import KEYS, PERIOD, ROOT, mappings, price_book, reader, template

#: Every named commit point of a delivery, and of taking in a usage file.
DELIVERING = ("outbox.claimed", "outbox.before_send", "outbox.sent", "outbox.before_commit", "outbox.settled")
METERING = ("usage.judged", "usage.events_written", "usage.rejects_written", "usage.committed")
#: A process dies where it comes there for the first time, mostly, or soon after: so a month takes many of them.
TIMES = (1, 1, 1, 1, 1, 1, 2, 3)
RECEIVING = ("inbox.before_commit", "inbox.committed")
#: Where a process may be frozen: others can go on.
FROZEN_AT = ("outbox.claimed", "outbox.before_send", "outbox.sent", "outbox.settled")
#: What happens to a process of the hub, and how often; all but the first three let the month come to its end.
FATES = {
    "killed": 40,
    "killed side by side": 6,
    "receiver killed": 5,
    "killed beside another": 1,
    "frozen beyond its lease": 1,
    "disk full": 1,
}
#: The disk is full for the first process of so many seeds: later there is little left to write.
FULL_AT_FIRST = 0.2
#: Most processes of a seed that meet their fate; there are fewer when nothing is left to do.
LIVES = 40
#: The last process, which nothing befalls: how many rounds it may take, each an hour after the one before.
MOST_ROUNDS = 12
#: Seeds of months that are done before the first fork: with usage and without, by a bad wire and a good one.
WARMING = range(-8, 0)
WELL, UNWELL, FAILED, BROKEN = 0, 3, 4, 1


class Fate:
    """What a process does at named points."""

    def __init__(self, crash: str = "", freeze: str = "") -> None:
        self._crash = crash_at(crash)
        self._freeze, _, times = freeze.partition(":")
        self._left = int(times or 0)

    def __call__(self, point: str, /) -> None:
        self._crash(point)
        if point == self._freeze:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGSTOP)


@dataclass
class Shelf:
    """The objects of a vendor, read from its server."""

    url: str

    def all(self, kind: str) -> list[Any]:
        return json.loads(httpx.get(f"{self.url}/_sandbox/objects/{kind}").content, parse_float=str)

    def get(self, kind: str, ident: str) -> Any:
        return next((one for one in self.all(kind) if str(one.get("id") or one.get("internalId")) == ident), None)


@dataclass
class Month:
    """A month of a small company at real servers. It answers what the invariants ask of a run."""

    seed: int
    urls: Mapping[str, str]
    """Of the vendors."""
    between: Mapping[str, str]
    """Of the servers that misbehave before them."""
    database: Database
    folder: Path
    ahead: Any
    """Seconds by which all clocks are ahead of the system's, shared by all processes."""
    sometimes: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.rng = Random(f"{self.seed}/processes")
        self.paid = self.rng.random() < 0.2
        self.reach = "paid" if self.paid else "told"
        self.nets, self.books = {"polling", "desk retry"}, "netsuite"
        self.company = self._company()
        self.earns = self.rng.random() < 0.5
        """Whether what is earned is booked before the close."""
        self.bad_wire = self.rng.random() < 0.4
        self.ahead.value = 0.0
        self.deaths: Counter[str] = Counter()
        self.told = ""
        self.acknowledged: set[tuple[str, str]] = set()
        self.numbers = itertools.count(1)
        self.idle = False
        """Whether the last process came to its end."""
        self.vendors = self
        self.shelves = {name: Shelf(url) for name, url in self.urls.items()}
        self.settings = self._settings(self.between if self.bad_wire else self.urls)

    def _company(self) -> Company:
        """A small company; one that is billed has usage, and something to earn."""
        drawn = (company(Random(f"{self.seed}/company/{number}"), uses=self.paid) for number in itertools.count())
        return next(one for one in drawn if one.usage or not self.paid)

    def _settings(self, urls: Mapping[str, str]) -> Settings:
        return Settings(
            database_url=self.database.url,
            state_folder=self.folder,
            price_book=ROOT / "app" / "demo" / "northwind.yaml",
            mappings_folder=ROOT / "mappings",
            systems={name: SYSTEMS[name].settings_type()(base_url=urls[name], **KEYS[name]) for name in KEYS},
        )

    # --- what the invariants ask --------------------------------------------------------------------------------------

    @cached_property
    def sql(self) -> Any:
        return reader(self.database.url)

    def ids(self, query: str) -> set[str]:
        return {row[0] for row in self.sql.execute(query).fetchall()}

    def count(self, query: str) -> int:
        return int(self.sql.execute(query).fetchone()[0])

    def close(self) -> None:
        if "sql" in self.__dict__:
            self.__dict__.pop("sql").close()

    # --- its processes ------------------------------------------------------------------------------------------------

    def now(self) -> datetime:
        return system_clock() + timedelta(seconds=self.ahead.value)

    def pass_by(self, seconds: float) -> None:
        self.ahead.value += seconds

    def hub(self, faults: Callable[[str], None] = lambda _point: None) -> Hub:
        """A hub on the database that the parent has warmed and closed."""
        made = Hub(self.settings, World(clock=self.now, sleep=self.pass_by, faults=faults))
        made.mappings, made.price_book, made.database = mappings(), price_book(), self.database
        return made

    def process(self, work: Callable[[Hub], int], faults: Callable[[str], None] = lambda _point: None) -> int:
        """Begins a process of the hub that does ``work`` and ends with what it gives; tells its id."""
        self.close()
        self.database.close()
        child = os.fork()
        if child:
            return child
        try:
            end = work(self.hub(faults))
        except (Retryable, Misconfigured) as error:
            print(repr(error), flush=True)
            end = UNWELL
        except StoreFailed:
            end = FAILED
        except BaseException:  # noqa: BLE001 nothing of the child may reach what follows in the parent
            traceback.print_exc()
            end = BROKEN
        os._exit(end)

    def everything(self, hub: Hub) -> int:
        """The jobs of the month, in their order; what cannot be done now does not keep the next from being done."""
        end = WELL
        for work in self.jobs():
            try:
                work(hub)
            except (Retryable, Misconfigured) as error:
                self.told = repr(error)
                end = UNWELL
        return end

    def jobs(self) -> Iterator[Callable[[Hub], Any]]:
        deliveries: list[Callable[[Hub], Any]] = [
            partial(lambda hub, name: deliver.deliver_system(hub, name), name=name)
            for name in (self.urls if self.paid else ("stripe", "netsuite"))
        ]
        yield retry_failed.retry_matching
        yield prepare.prepare_erp
        yield intake.take_in if self.paid else intake.apply_inbox
        if self.paid:
            yield ingest.ingest_files
            yield lambda hub: rate.rate_period(hub, PERIOD)
            yield lambda hub: bill.draft_invoices(hub, PERIOD)
        yield from deliveries
        if self.paid:
            yield from (bill.finalise_invoices, collect.request_payments, *deliveries, intake.take_in)
            yield intake.book_settlements
            if self.earns:
                yield lambda hub: recognise.recognise_through(hub, PERIOD)
            yield from (write_back.tell_crm, *deliveries)

    def closes_well(self, hub: Hub) -> int:
        """Everything, again and again, until nothing waits any more; then the month ties out."""
        for _ in range(MOST_ROUNDS):
            end = self.everything(hub)
            self.pass_by(3600)
            with hub.database.reading() as work:
                counts = work.outbox.counts()
            if not end and not any(counts.get(state) for state in ("pending", "sending", "unknown")):
                break
        else:
            print(f"it still moves: {counts}; {self.told}", flush=True)
            return UNWELL
        if not self.paid:
            return WELL
        _, breaks = tie_out_period(hub, PERIOD)
        excused = invariants.unpaid(self)
        for one in breaks:
            if not excused and one.tie not in EXPLAINED:
                print(f"{one.tie}: {one.subject} {one.left} {one.right}", flush=True)
                return UNWELL
        return WELL

    # --- what befalls them --------------------------------------------------------------------------------------------

    def enter(self) -> None:
        """What people do before the month is closed: customers, won deals, usage."""
        if self.paid:
            seller = SalesPerson(self.urls["salesforce"])
            seller.enter(self.company.customers, price_book())
            seller.win(lambda _done, _all: None)
        else:
            wanted = [("stripe", "account"), ("stripe", "payment_method"), ("netsuite", "account")]
            hub = self.hub()
            with closing(hub), hub.database.work() as work:
                for customer in self.company.customers:
                    account = as_account(customer, customer.name)
                    work.put(account)
                    work.outbox.enqueue(OutboxCommand.of(*where, "account", account, self.now()) for where in wanted)
        for file in self.company.usage:
            file.write(self.folder / ingest.FOLDER)

    def live(self) -> None:
        """Processes come and go, each with its fate. Raises Violation."""
        self.misbehave(0.1)
        for life in range(LIVES):
            fate = self.rng.choices(list(FATES), list(FATES.values()))[0]
            if life == 0 and self.rng.random() < FULL_AT_FIRST:
                fate = "disk full"
            self.sometimes[fate] += 1
            getattr(self, fate.replace(" ", "_"))()
            self.check()
            if self.idle:
                break
            if self.rng.random() < 0.8:
                self.pass_by(deliver.LEASE.total_seconds() + 1)
        for name, number in self.misbehave(0.0).items():
            self.sometimes[f"wire: {name}"] += number
        self.pass_by(24 * 3600)
        end = os.waitpid(self.process(self.closes_well), 0)[1]
        if end:
            raise Violation("the month ends well", f"it ended with {end}: {self.left()}")

    def close_the_month(self) -> None:
        """A process dies at each point of a close in turn; each goes on from where the last one died."""
        for point in POINTS:
            self.ended(self.process(self.closing, Fate(crash=f"{point}:1")), point)
            self.check()
        end = os.waitpid(self.process(self.closing), 0)[1]
        acts = [row[0] for row in self.sql.execute("SELECT act FROM audit WHERE record = 'close'").fetchall()]
        if end or acts.count("locked") != 1:
            raise Violation("the month is closed once", f"it ended with {end}, locked {acts.count('locked')} times")
        for folder in (self.folder / "closes").glob("CLOSE-*"):
            if flaws := pack.verify(folder):
                raise Violation("the pack of a close proves itself", str(flaws[0]))
        self.sometimes["a month was closed"] += 1

    def closing(self, hub: Hub) -> int:
        """The close, approved by whoever is asked; what stands in its way is let pass."""

        def approves(_question: stages.Question, _number: int) -> Answer:
            return Answer(Verdict.APPROVE, "anna", "", "test")

        for _ in range(2):
            report = Closing(hub, PERIOD, "olga", approves).run()
            close = stages.standing(hub, PERIOD)
            for one in stages.check(hub, close).left if "in the way" in report.counts else ():
                stages.override(hub, close, one.gate, one.record, "olga", "it cannot be cured in time")
        return WELL if "closed" in report.counts else UNWELL

    def misbehave(self, chance: float) -> Counter[str]:
        counts: Counter[str] = Counter()
        if self.bad_wire:
            for url in self.between.values():
                orders = {"seed": self.seed, "chance": chance}
                counts += Counter(httpx.post(f"{url}/_wire", json=orders).json())
        return counts

    def a_point(self, points: Sequence[str] = DELIVERING) -> str:
        usage = self.company.usage and not self.metered and points is DELIVERING
        if usage:
            return f"{METERING[sum(self.deaths[one] for one in METERING) % len(METERING)]}:1"
        point = self.rng.choice(points)
        return f"{point}:{self.rng.choice(TIMES)}" if point in DELIVERING else f"{point}:1"

    @property
    def metered(self) -> bool:
        """Whether usage was taken in."""
        return any((self.folder / "usage" / "batches").glob("*.json"))

    def killed(self) -> None:
        point = self.a_point()
        self.ended(self.process(self.everything, Fate(crash=point)), point)

    def killed_side_by_side(self) -> None:
        """Two workers at once, both of which are killed."""
        points = (self.a_point(), self.a_point())
        both = [self.process(self.everything, Fate(crash=point)) for point in points]
        for child, point in zip(both, points, strict=True):
            self.ended(child, point)

    def killed_beside_another(self) -> None:
        """Two workers at once, one of which is killed."""
        point = self.a_point()
        both = [self.process(self.everything, Fate(crash=crash)) for crash in (point, "")]
        for child, crash in zip(both, (point, ""), strict=True):
            self.ended(child, crash)

    def frozen_beyond_its_lease(self) -> None:
        """A worker stands still while another takes over what it held; then it goes on."""
        point = self.a_point(FROZEN_AT)
        frozen = self.process(self.everything, Fate(freeze=point))
        stopped = os.WIFSTOPPED(os.waitpid(frozen, os.WUNTRACED)[1])
        if not stopped:
            return
        self.sometimes["a worker stood still beyond its lease"] += 1
        self.pass_by(deliver.LEASE.total_seconds() + 60)
        self.ended(self.process(self.everything), "")
        self.check()
        os.kill(frozen, signal.SIGCONT)
        self.ended(frozen, "")

    def receiver_killed(self) -> None:
        """The receiver of webhooks dies between a webhook and its answer: what it answered with yes is stored."""
        point = f"{self.rng.choice(RECEIVING)}:{self.rng.randint(1, 2)}"
        listening = socket.create_server(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/webhooks/stripe"

        def serve(hub: Hub) -> int:
            config = uvicorn.Config(receiver(hub), log_level="error", lifespan="on")
            uvicorn.Server(config).run(sockets=[listening])
            return WELL

        child = self.process(serve, Fate(crash=point))
        listening.close()
        sign = stripe_gateway.signer(lambda: self.now().timestamp())
        with suppress(httpx.TransportError):
            for _ in range(3):
                event = stripe_event(f"evt_{self.seed}_{next(self.numbers)}", int(self.now().timestamp()))
                body = json.dumps(event).encode()
                headers = sign(event, body, stripe_gateway.WEBHOOK_SECRET)
                if httpx.post(url, content=body, headers=headers, timeout=30).is_success:
                    self.acknowledged.add(("stripe", event["id"]))
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        self.ended(child, point)

    def disk_full(self) -> None:
        """The database may grow by a few pages only."""
        if self.database.dialect != "sqlite":
            return
        pages = self.count("PRAGMA page_count") + self.rng.randint(0, 4)

        def work(hub: Hub) -> int:
            @event.listens_for(hub.database._engine, "connect")
            def limited(connection: Any, _record: Any) -> None:
                connection.execute(f"PRAGMA max_page_count={pages}")

            return self.everything(hub)

        status = os.waitpid(self.process(work), 0)[1]
        self.sometimes["the disk was full"] += os.waitstatus_to_exitcode(status) == FAILED

    def ended(self, child: int, crash: str) -> None:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == -signal.SIGKILL:
            self.deaths[crash.partition(":")[0]] += 1
            return
        self.idle = code == WELL
        if code not in (WELL, UNWELL):
            raise Violation("no process fails otherwise than by its own errors", f"{crash} ended with {code}")

    # --- what must hold -----------------------------------------------------------------------------------------------

    def check(self) -> None:
        for holds in ALWAYS:
            holds(self)  # type: ignore[arg-type]

    def at_rest(self) -> None:
        self.check()
        for holds in AT_REST:
            holds(self)  # type: ignore[arg-type]

    def left(self) -> list[Any]:
        query = "SELECT key, state, waits_for FROM outbox WHERE state NOT IN ('done', 'cancelled')"
        return [tuple(row) for row in self.sql.execute(query).fetchall()]


def stripe_event(ident: str, created: int) -> dict[str, Any]:
    """A genuine event that changes nothing."""
    customer = {"id": "cus_1", "object": "customer", "created": created}
    kind = {"id": ident, "object": "event", "type": "customer.updated", "livemode": False}
    return {**kind, "created": created, "data": {"object": customer}}


#: Ties whose differences the tie-out explains itself.
EXPLAINED: Sequence[str] = ()
ALWAYS = (
    invariants.acknowledged_is_stored,
    invariants.one_object_per_record,
    invariants.charged_at_most_once,
    invariants.every_object_was_intended,
    invariants.documents_add_up,
)
AT_REST = (
    invariants.proofs_point_home,
    invariants.books_balance,
    invariants.all_is_delivered,
    invariants.money_travels_whole,
    invariants.ledgers_agree,
)


@dataclass
class Deaths:
    """What a campaign of layer 2 met: kills by named point, and what else befell."""

    seeds: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    sometimes: Counter[str] = field(default_factory=Counter)
    failed: list[tuple[int, str]] = field(default_factory=list)


@contextmanager
def _databases(folder: Path, on_postgres: bool) -> Iterator[tuple[Database, Callable[[], None]]]:
    """A database at one address, and what makes it new: migrated, without a row."""
    if not on_postgres:
        path = folder / "tieout.db"

        def new_file() -> None:
            for one in folder.glob("tieout.db*"):
                one.unlink()
            path.write_bytes(template())

        yield Database(f"sqlite:///{path}"), new_file
        return
    with postgres.server() as url:
        databases = postgres.Databases(url)
        migrated = Database(databases.create())
        migrated.migrate()
        migrated.close()
        database = Database(databases.create())
        name, of = databases.name(database.url), databases.name(migrated.url)

        def new_database() -> None:
            databases.drop(database.url)
            databases._run(f"CREATE DATABASE {name} TEMPLATE {of}")

        yield database, new_database


@contextmanager
def _folder() -> Iterator[Path]:
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="tieout-sim-", dir=memory if memory.is_dir() else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def campaign(seeds: Iterable[int], *, on_postgres: bool = False, stop_at_first: bool = True) -> Deaths:
    """Lives through these seeds on SQLite files or on PostgreSQL."""
    deaths = Deaths()
    ahead = RawValue("d", 0.0)
    with (
        vendors.held_still(),
        patch.object(httpx_default, "create_ssl_context", cache(httpx_default.create_ssl_context)),
        _folder() as folder,
        vendors_between(list(KEYS), ahead) as (urls, between),
        _databases(folder, on_postgres) as (database, new_database),
    ):

        def month(seed: int) -> Month:
            new_database()
            for url in urls.values():
                httpx.post(f"{url}/_sandbox/reset")
            state = folder / str(seed)
            state.mkdir()
            return Month(seed, urls, between, database, state, ahead)

        _warm(month)
        for seed in seeds:
            one = month(seed)
            try:
                with closing(one):
                    one.enter()
                    one.live()
                    if one.paid:
                        one.close_the_month()
                    one.at_rest()
            except Violation as violation:
                deaths.failed.append((seed, str(violation)))
                if stop_at_first:
                    break
            finally:
                shutil.rmtree(one.folder)
                database.close()
                deaths.seeds += 1
                deaths.kills += one.deaths
                deaths.sometimes += one.sometimes
    gc.enable()
    gc.unfreeze()
    return deaths


def _warm(month: Callable[[int], Month]) -> None:
    """Does a month in this process, so that its forks find everything made: statements, mappings, contracts."""
    for seed in WARMING:
        one = month(seed)
        hub = one.hub()
        with closing(one), closing(hub):
            one.enter()
            one.closes_well(hub)
        shutil.rmtree(one.folder)
    vendors._usage_engine().close()
    vendors._usage_engine.cache_clear()
    gc.collect()
    gc.freeze()
    gc.disable()
