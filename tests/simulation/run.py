"""One run: a seeded world, seeded faults, seeded interleaving; then the faults stop and the hub must come to rest.

Everything that happens is drawn from ``Random(seed)``, so a seed is its own reproducer.
"""

from __future__ import annotations

import atexit
import hashlib
import itertools
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache, partial
from pathlib import Path
from random import Random
from sqlite3 import connect
from typing import Any

import psycopg
from sqlalchemy import make_url
from starlette.applications import Starlette
from starlette.routing import Route

from app.demo.company import Customer
from app.webhooks import GroupCommit, Receiver, Waiting, no_notice
from connectors.registry import SYSTEMS
from connectors.stripe_gateway import EVENTS
from core.catalog import PriceBook, load_price_book
from core.errors import Misconfigured, OutcomeUnknown, Parked, RateLimited, Retryable, TieoutError
from core.mapping import MappingBook, load_book
from core.money import Money
from core.ports import Connector, ExternalKey, Outcome, Payload, Receipt, World, is_over
from core.posting_file import load_posting_rules
from core.posting_rules import PostingRules
from core.store import Database
from core.sync import OutboxCommand
from flows import bill, collect, deliver, ingest, intake, prepare, rate, recognise, retry_failed, write_back
from flows.context import Hub
from flows.credit import Leftover, credit_invoice
from flows.settings import ClosePolicy, Settings, WriteOffPolicy
from sandbox import avalara, netsuite, quickbooks, salesforce, stripe_gateway
from tests.simulation import vendors as simulated
from tests.simulation.closing import Finance
from tests.simulation.company import Company, Seller, UsageFile, as_account, as_entered, company
from tests.simulation.fibers import Crash, Fiber, Violation
from tests.simulation.giving_up import Clerks
from tests.simulation.vendors import OTHER_BOOKS, RATES, START, URLS, Posted, Vendors, Wire, ask
from tests.simulation.vendors import SYSTEMS as VENDORS

ROOT = Path(__file__).parents[2]
PERIOD = "2026-10"
TOKEN = "simulated-webhook-token"

KEYS: Mapping[str, Mapping[str, Any]] = {
    "salesforce": {
        "client_id": salesforce.CLIENT_ID,
        "client_secret": salesforce.CLIENT_SECRET,
        "organization_id": salesforce.ORGANIZATION_ID,
        "webhook_token": TOKEN,
    },
    "avalara": {
        "account_id": avalara.ACCOUNT_ID,
        "license_key": avalara.LICENSE_KEY,
        "company_code": avalara.COMPANY_CODE,
    },
    "stripe": {
        "secret_key": stripe_gateway.SECRET_KEY,
        "webhook_secrets": [stripe_gateway.WEBHOOK_SECRET],
    },
    "netsuite": {
        "account": netsuite.ACCOUNT,
        "consumer_key": netsuite.CONSUMER_KEY,
        "consumer_secret": netsuite.CONSUMER_SECRET,
        "token": netsuite.TOKEN,
        "token_secret": netsuite.TOKEN_SECRET,
    },
}
#: Of the other books; how many seconds a session lives there, and in how many of the smallest worlds it takes part.
OTHER_KEYS: Mapping[str, Any] = {
    "realm_id": quickbooks.REALM,
    "client_id": quickbooks.CLIENT_ID,
    "client_secret": quickbooks.CLIENT_SECRET,
    "refresh_token": quickbooks.REFRESH_TOKEN,
    "login_url": f"https://{OTHER_BOOKS}.example",
    "base_url": f"https://{OTHER_BOOKS}.example",
}
LIFETIMES = (90, 150, 3600)
ROTATING = 0.15
SECRETS = ("sandbox-token-secret", "sandbox-consumer-secret", salesforce.CLIENT_SECRET, avalara.LICENSE_KEY, TOKEN)

#: What becomes of invoices in a seed: nothing more, a customer's bank takes payments back, parts are credited, or what
#: nobody pays is given up.
AFTERMATHS = ("nothing", "disputes", "disputes", "credits", "credits", "write-offs", "write-offs")
#: When credit notes are written.
CREDITED_ON = date(2026, 11, 20)
#: A credit note gives back one part in so many of a line.
CREDITED_PARTS = 3
#: Faults of processes, time, webhooks and people, beside those of the wire. A seed has each with a chance of its own.
OTHER_FAULTS = (
    "crash_at_point",
    "kill",
    "clock_jump",
    "clock_skew",
    "webhook_duplicate",
    "webhook_late",
    "webhook_drop",
    "webhook_damaged",
    "period_closed",
    "human_edit",
)
#: Jobs of the month that are done before the faults begin.
HEAD_STARTS = (0, 0, 0, 2, 5, 7, 9, 10, 11, 13, 15, 17, 19)
#: Where the month is closed, it has often come to its end by then.
LATE_STARTS = (26,) * 14
#: How often the close is begun, beside once as every job.
CLOSING = (*("close",) * 12, *("answer",) * 6, *("let pass",) * 2, *("recognise",) * 2, "credit")
#: A close has many steps, so what else may happen between two of them is rarer, and the faults last longer.
RARER, LONGER = 6, 3
#: How many of the paid months are closed.
CLOSED = 0.5
#: How often a close dies at each of its points, in the seeds where it does.
CLOSE_DIES = 0.15
SHORT_STARTS = (0, 0, 0, 1, 2, 3)
#: How far the month goes in a seed, and the jobs it goes without: most worlds are small, so that there are many.
#: ``told``: customers are made known to gateway and ERP, with no CRM.
_NOT_SOLD = frozenset({"ingest", "rate", "bill", "finalise", "collect", "settle", "recognise", "deliver avalara"})
REACH: Mapping[str, frozenset[str]] = {
    "told": _NOT_SOLD | {"write back", "deliver salesforce"},
    "sold": _NOT_SOLD,
    "billed": frozenset({"collect", "settle", "recognise"}),
    "paid": frozenset(),
}
SHARES = (100, 6, 2, 2)
#: What a customer is called; people change their minds, and back.
NAMES = ("Customer {}", "Customer {} Inc", "Customer {} Group")
#: How many steps the faults last.
STEPS = (20, 40, 80, 160, 320)
#: The same in the smallest worlds, of which there are most.
FEW_STEPS = (20, 40, 60, 100, 200)
#: How often a process is stopped before a unit of work.
DATABASE_DOORS = 0.25
#: Kinds of webhooks that the hub listens to.
HEARD = {"Opportunity", *EVENTS}
#: A worker holds what it is writing for so long at least, whatever the time before its call took.
LEAST_LEASE = deliver.LEASE * 3 / 4
#: How points inside a transaction are named: a process may die there, but nobody else can run.
INSIDE_A_TRANSACTION = ".before_commit"
#: After the first round of an operator, and before this one, people still change their minds of a customer's name.
LAST_EDITS = 4
#: In the first rounds of an operator banks go on taking back; in the last of them they decide.
BANKS_ROUNDS = 4
#: Most calls to vendors between two steps: no job of an operator needs so many.
MOST_CALLS = 5000
#: Rounds of an operator after the faults have stopped, and the simulated time they may take.
MOST_ROUNDS, MOST_TIME = 40, timedelta(hours=12)
#: How often an operator retries the whole desk; a card that is declined will not be charged by trying for ever.
OPERATORS_TRIES = 2


@cache
def price_book() -> PriceBook:
    return load_price_book(ROOT / "app" / "demo" / "northwind.yaml")


@cache
def posting_rules() -> PostingRules:
    return load_posting_rules()


@cache
def mappings() -> MappingBook:
    """The mapping files of the systems that take part."""
    with tempfile.TemporaryDirectory() as folder:
        for part in (*URLS, OTHER_BOOKS, "tables"):
            shutil.copytree(ROOT / "mappings" / part, Path(folder, part))
        return load_book(Path(folder))


@cache
def template() -> bytes:
    """A migrated database without a row."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "template.db")
        database = Database(f"sqlite:///{path}")
        database.migrate()
        database.close()
        return path.read_bytes()


@cache
def folder() -> Path:
    """Where the runs of this process lie, one after the other; in memory where the machine offers that."""
    memory = Path("/dev/shm")
    made = Path(tempfile.mkdtemp(prefix="tieout-sim-", dir=memory if memory.is_dir() else None))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


@cache
def database(url: str) -> Database:
    """A database, kept for the next run at its address, with the statements that it has compiled."""
    return Database(url)


def reader(url: str) -> Any:
    """A connection that reads a database on its own, behind the product's back."""
    if url.startswith("sqlite"):
        return connect(url.removeprefix("sqlite:///"), isolation_level=None)
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(address, autocommit=True)


class InlineWriter(GroupCommit):
    """The receiver's writer without its thread: it commits when asked."""

    def __post_init__(self) -> None:
        return

    async def store(self, system: str, events: list[Any], body: bytes) -> None:
        waiting = Waiting(system, events, body, self.loop.create_future())
        self._commit([waiting])
        await waiting.stored


def reach_of(seed: int) -> str:
    """How far the month goes in a seed."""
    return Random(f"{seed}/reach").choices(list(REACH), SHARES)[0]


def worlds_of(seed: int) -> set[str]:
    """What kind of world a seed is: how far its month goes, and what else befalls a paid one."""
    reach = reach_of(seed)
    if reach == "told" and Random(f"{seed}/books").random() < ROTATING:
        return {reach, "rotating"}
    if reach != "paid":
        return {reach}
    closed = Random(f"{seed}/close").random() < CLOSED
    return {"paid", Random(f"{seed}/aftermath").choice(AFTERMATHS), *(["closed"] if closed else [])}


@dataclass
class Crossings:
    """What every process does at the border, seen from outside: which keys are being written, and which are in doubt.

    A key is in doubt from a write whose answer nobody got until somebody looks it up. ``proved`` asks the database.
    """

    now: Callable[[], datetime]
    proved: Callable[[str, str, str], bool]
    least_lease: timedelta
    sometimes: Counter[str]
    holders: dict[str, str] = field(default_factory=dict)
    """Which process leased a command last."""
    under_way: dict[tuple[str, str, str], datetime] = field(default_factory=dict)
    doubt: set[tuple[str, str, str]] = field(default_factory=set)
    not_there: set[tuple[str, str, str]] = field(default_factory=set)
    """Looked up since, and not found."""
    put_off: dict[str, datetime] = field(default_factory=dict)
    """Commands that a system refused for its rate, and until when."""

    def may_begin(self, command: str) -> None:
        """Violation for what its system has put off to a later time; another version of the record may go."""
        if self.now() < self.put_off.pop(command, self.now()) and self.least_lease:
            raise Violation("I15 what a system puts off waits as long as it asks", command)

    def put_off_by(self, outcome: Outcome | None, command: str) -> None:
        if isinstance(outcome, RateLimited):
            self.sometimes["a write was put off"] += 1
            self.put_off[command] = self.now() + timedelta(seconds=outcome.wait_seconds)

    def begin(self, *crossing: str) -> None:
        began = self.under_way.get(crossing)  # type: ignore[arg-type]
        if began is not None and self.now() - began < self.least_lease:
            raise Violation("no two workers write one record", "/".join(crossing))
        if crossing in self.doubt and not self.proved(*crossing):
            raise Violation("what may have been sent is looked up first", "/".join(crossing))
        if crossing in self.not_there:
            self.sometimes["in doubt, looked up, sent again"] += 1
        self.not_there.discard(crossing)  # type: ignore[arg-type]
        self.under_way[crossing] = self.now()  # type: ignore[index]
        self.doubt.add(crossing)  # type: ignore[arg-type]

    def end(self, outcome: Outcome | None, *crossing: str) -> None:
        self.under_way.pop(crossing, None)  # type: ignore[call-overload]
        if isinstance(outcome, Parked) and outcome.waits_for.startswith("period:"):
            self.sometimes["a closed month refused a booking"] += 1
        if outcome is not None and not isinstance(outcome, OutcomeUnknown):
            self.doubt.discard(crossing)  # type: ignore[arg-type]

    def look_up(self, found: Receipt | None, *crossing: str) -> None:
        if crossing in self.doubt:
            self.sometimes[f"in doubt, then {'found' if found else 'not there'}"] += 1
            if found is None:
                self.not_there.add(crossing)  # type: ignore[arg-type]
        self.doubt.discard(crossing)  # type: ignore[arg-type]


class Doors:
    """A database with a door before each unit of work, where the process may be stopped. ``writing``: within one."""

    def __init__(self, database: Database, door: Callable[[], None]) -> None:
        self._database, self._door, self.writing = database, door, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    @contextmanager
    def work(self) -> Iterator[Any]:
        self._door()
        with self._database.work() as work:
            self.writing = True
            try:
                yield work
            finally:
                self.writing = False

    def reading(self) -> Any:
        self._door()
        return self._database.reading()


class Watched:
    """A connector under watch."""

    def __init__(self, connector: Connector, crossings: Crossings, process: Process) -> None:
        self._connector, self._crossings, self._process = connector, crossings, process

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connector, name)

    def find(self, resource: str, key: ExternalKey) -> Receipt | None:
        found = self._connector.find(resource, key)
        self._crossings.look_up(found, self._connector.system, resource, key.value)
        return found

    def upsert_many(self, resource: str, items: Sequence[tuple[Payload, ExternalKey]]) -> list[Outcome]:
        if is_over(self._process.hub.now()):
            self._process.run.sometimes["a worker woke after its lease"] += 1
            return self._connector.upsert_many(resource, items)
        crossings = [(self._connector.system, resource, key.value) for _, key in items]
        outcomes: list[Outcome | None] = [None] * len(items)
        commands = self._process.may_send(crossings)
        for crossing in crossings:
            self._crossings.may_begin(commands.get(crossing, ""))
            self._crossings.begin(*crossing)
        try:
            outcomes = list(self._connector.upsert_many(resource, items))
        except TieoutError as error:
            outcomes = [error] * len(items)
            raise
        finally:
            for crossing, outcome in zip(crossings, outcomes, strict=True):
                self._crossings.end(outcome, *crossing)
                self._crossings.put_off_by(outcome, commands.get(crossing, ""))
        self._process.came_back(crossings)
        return outcomes  # type: ignore[return-value]


@dataclass
class Process:
    """A process of the hub: its own connectors and clock, and at most one job, which it does step by step."""

    name: str
    run: Run
    skew: timedelta = timedelta()
    fiber: Fiber | None = None
    wakes_at: datetime | None = None

    def __post_init__(self) -> None:
        self._chance = self.run.stream(f"{self.name}/database")
        self.wire = Wire(
            vendors=self.run.vendors,
            rng=self.run.stream(self.name),
            rates=self.run.rates,
            watch=self._call_door,
            pass_by=self.run.pass_by,
            tell=self.run.tell,
        )
        self.start_anew()

    def start_anew(self) -> None:
        """What a restart leaves: nothing in memory."""
        world = World(
            clock=lambda: self.run.now + self.skew,
            ids=self.run.ident,
            sleep=self._sleep,
            faults=self._fault,
            transport=self.wire,
        )
        self.hub = Hub(self.run.settings, world)
        self.hub.database = Doors(self.run.database, self._maybe_door)  # type: ignore[assignment]
        self.hub.mappings, self.hub.price_book, self.hub.posting = mappings(), price_book(), posting_rules()
        self.hub.connector = self._connector  # type: ignore[method-assign]
        self.fiber = self.wakes_at = None
        self._held: dict[tuple[str, str, str], str] = {}

    def _connector(self, system: str) -> Connector:
        """A connector under watch; like the hub's own it is made when it is first asked for."""
        made = self.hub._connectors
        if system not in made:
            connector = SYSTEMS[system].connect(self.run.settings.systems[system], self.hub.world)
            made[system] = Watched(connector, self.run.crossings, self)  # type: ignore[assignment]
        return made[system]

    def begin(self, job: str, work: Callable[[Hub], Any]) -> None:
        self.fiber = Fiber(job, partial(work, self.hub))

    def _maybe_door(self) -> None:
        """Most units of work follow at once; some let others go first."""
        if self.fiber is not None and self.fiber.running and self._chance.random() < DATABASE_DOORS:
            self.fiber.hand_over("the database")

    def _call_door(self, at: str) -> None:
        self.run.calls += 1
        if self.run.calls > MOST_CALLS:
            raise Violation("every job comes to its end", f"{self.name} calls without end: {at}")
        if self.hub.database.writing:  # type: ignore[attr-defined]
            raise Violation("no unit of work waits for a vendor", at)
        if at.startswith("before") and is_over(self.hub.now()):
            raise Violation("nothing is sent when the lease is over", at)
        self._door(at)

    def _door(self, at: str) -> None:
        if self.fiber is not None and self.fiber.running:
            self.fiber.hand_over(at)

    def _sleep(self, seconds: float, /) -> None:
        if self.fiber is None or not self.fiber.running:
            self.run.pass_by(seconds)
            return
        self.wakes_at = self.run.now + timedelta(seconds=seconds)
        self.fiber.hand_over("asleep")
        self.wakes_at = None

    def may_send(self, crossings: Sequence[tuple[str, str, str]]) -> Mapping[tuple[str, str, str], str]:
        """The commands of these records. Violation for one whose lease was lost when the worker looked last, which is
        just before it begins to send."""
        if self.fiber is None or not self.fiber.running:
            return {}
        if lost := set(crossings) - self._held.keys():
            raise Violation("what is not leased is not sent", str(sorted(lost)))
        return self._held

    def came_back(self, crossings: Sequence[tuple[str, str, str]]) -> None:
        if self.fiber is not None and self.fiber.running and not set(crossings) <= self._leased().keys():
            self.run.sometimes["a worker came back without its lease"] += 1

    def _leased(self) -> dict[tuple[str, str, str], str]:
        """The records that it has leased, and by which command."""
        rows = self.run.sql.execute("SELECT key, system, resource, record_id FROM outbox WHERE state = 'sending'")
        return {(row[1], row[2], row[3]): row[0] for row in rows if self.run.crossings.holders.get(row[0]) == self.name}

    def _fault(self, point: str, /) -> None:
        if point == "outbox.before_send":
            self._held = self._leased()
        self.run.reached[point] += 1
        if self.run.crashes_here(point):
            self.run.tell("crash_at_point")
            self.run.sometimes[f"crashed at {point}"] += 1
            raise Crash(point)
        if not point.endswith(INSIDE_A_TRANSACTION):
            self._door(point)


@dataclass
class Run:
    """The state of one run. ``faults``: how often each kind happened; ``sometimes``: rare states that were reached."""

    seed: int
    folder: Path
    check: Callable[[Run, str], None]
    """Called after each step with what the step was; raises Violation."""
    database_url: str = ""
    """Of a migrated database without a row; empty: a file of its own."""
    now: datetime = START
    quiet: bool = False
    faults: Counter[str] = field(default_factory=Counter)
    sometimes: Counter[str] = field(default_factory=Counter)
    reached: Counter[str] = field(default_factory=Counter)
    trace: list[str] = field(default_factory=list)
    acknowledged: set[tuple[str, str]] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    """Opportunities of which a webhook was lost for good."""
    closed: bool = False
    calls: int = 0
    """Since the last step."""
    actor: str = ""
    """Which process the last step belonged to."""
    names: dict[str, str] = field(default_factory=dict)
    """The newest name of each account at the CRM."""

    def __post_init__(self) -> None:
        self._ids, self._versions = itertools.count(1), itertools.count(1)
        rng = self.stream("faults")
        self.fault_set = {name for name in (*RATES, *OTHER_FAULTS) if rng.random() < 0.3}
        if rng.random() < 0.05:
            self.fault_set.clear()
        self.reach = reach_of(self.seed)
        self.rates = {name: rng.choice(RATES[name]) for name in RATES if name in self.fault_set}
        self.crash_chance = rng.choice((0.01, 0.05, 0.15)) if "crash_at_point" in self.fault_set else 0.0
        self.nets = {name for name in ("polling", "desk retry") if rng.random() < 0.5}
        self.left_out = REACH[self.reach]
        if self.reach == "told":
            self.nets.discard("polling")
            self.left_out |= {"prepare"} if rng.random() < 0.85 else set()
        self.aftermath = self._aftermath(self.stream("aftermath")) if self.reach == "paid" else "nothing"
        self.clerks = Clerks(self, self.stream("clerks")) if self.aftermath == "write-offs" else None
        self.finance = self._finance(self.stream("close")) if self.reach == "paid" else None
        self.amends = self.reach in ("sold", "billed", "paid") and self.stream("amendments").random() < 0.5
        self._crashes = self.stream("crashes")
        self.company: Company = company(
            self.stream("company"), uses=self.reach in ("billed", "paid"), poor=self.clerks is not None
        )
        self.books = OTHER_BOOKS if "rotating" in worlds_of(self.seed) else "netsuite"
        self.systems = dict.fromkeys((*VENDORS, self.books))
        self.vendors = Vendors(lambda: self.now, self.systems)
        if not self.database_url:
            (self.folder / "tieout.db").write_bytes(template())
        self.settings = Settings(
            database_url=self.database_url or f"sqlite:///{self.folder / 'tieout.db'}",
            state_folder=self.folder,
            price_book=ROOT / "app" / "demo" / "northwind.yaml",
            mappings_folder=ROOT / "mappings",
            systems={name: SYSTEMS[name].settings_type()(**self._keys(name)) for name in self.systems},
            close=self.finance.policy if self.finance else ClosePolicy(),
            write_offs=self.clerks.policy if self.clerks else WriteOffPolicy(),
        )
        self.database = database(self.settings.database_url)
        self.sql = reader(self.settings.database_url)
        skewed = "clock_skew" in self.fault_set
        self.crossings = Crossings(
            lambda: self.now, self._proved, timedelta(0) if skewed else LEAST_LEASE, self.sometimes
        )
        self.processes = [Process(f"worker-{number}", self) for number in (1, 2)]
        self.server = Process("server", self)
        if "clock_skew" in self.fault_set:
            for process in self.processes:
                process.skew = timedelta(seconds=rng.choice((-90, -20, 0, 20, 90)))
        self.seller = Seller(self.vendors.emulators["salesforce"])
        self.to_come = list(self.company.usage)

    # --- what the run gives to its parts ------------------------------------------------------------------------------

    def stream(self, name: str) -> Random:
        """Chance of its own for each part, so that one part's throws do not move another's."""
        return Random(f"{self.seed}/{name}")

    def _aftermath(self, rng: Random) -> str:
        """A dispute that nobody ever tells of stays out: the gateway's books then rightly differ from ours."""
        chosen = rng.choice(AFTERMATHS)
        may_be_lost = "webhook_drop" in self.fault_set and "polling" not in self.nets
        return "nothing" if chosen == "disputes" and may_be_lost else chosen

    def _finance(self, rng: Random) -> Finance | None:
        """Who closes the month; then what is earned is often left to the close."""
        if rng.random() >= CLOSED:
            return None
        self.rates = {name: RATES[name][0] for name in self.rates}
        if rng.random() < 0.4:
            self.fault_set |= {"crash_at_point"}
        if rng.random() < 0.5:
            self.left_out |= {"recognise"}
        return Finance(self, PERIOD, rng)

    def _keys(self, system: str) -> Mapping[str, Any]:
        if system == OTHER_BOOKS:
            return {**OTHER_KEYS, "token_file": self.folder / "tokens.json"}
        return {"base_url": URLS[system], **KEYS[system]}

    def ident(self) -> str:
        return f"{next(self._ids):032x}"

    def _proved(self, *crossing: str) -> bool:
        return crossing in {
            tuple(row) for row in self.sql.execute("SELECT system, resource, record_id FROM sync_record")
        }

    def pass_by(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def tell(self, fault: str) -> None:
        self.faults[fault] += 1

    def crashes_here(self, point: str) -> bool:
        if self.quiet or "crash_at_point" not in self.fault_set:
            return False
        return self._crashes.random() < (CLOSE_DIES if point.startswith("close.") else self.crash_chance)

    def close(self) -> None:
        self.sql.close()
        self.database.close()

    # --- the run ------------------------------------------------------------------------------------------------------

    def simulate(self) -> None:
        """Faults, then rest. Raises Violation."""
        people = self.company.customers
        if self.books == OTHER_BOOKS:
            lives = json.dumps({"lifetime": self.stream("lifetime").choice(LIFETIMES)}).encode()
            url = f"{OTHER_KEYS['base_url']}/_sandbox/quickbooks"
            ask(self.vendors.emulators[OTHER_BOOKS], "POST", url, {}, lives)
        if self.reach == "told":
            self.seller_has_open_deals = False
        else:
            self.seller.enter([as_entered(one, self.company.malformed) for one in people], price_book())
            self.names = {one.number: one.name for one in people}
        rng = self.stream("schedule")
        starts = SHORT_STARTS if self.reach in ("told", "sold") else HEAD_STARTS
        self._begin_well(rng.choice((*starts, *LATE_STARTS) if self.finance else starts), rng)
        for number in range(rng.choice(FEW_STEPS if self.reach == "told" else STEPS) * (LONGER if self.finance else 1)):
            step = self._step(rng)
            self._note(f"{number} {step}")
        self._rest(rng)

    def _begin_well(self, jobs: int, rng: Random) -> None:
        """Does so many jobs of the month before anything fails, so that faults meet every part of it."""
        if not jobs:
            return
        rates = dict(self.rates)
        self.rates.clear()
        self.quiet = True
        self._win_everything()
        if rng.random() < 0.7:
            self._cure()
        self.round(retry=False, jobs=jobs)
        if self.finance and self.billed() and rng.random() < 0.7:
            self.finance.let_pass(self.processes[0].hub)
        self.rates.update(rates)
        self.quiet = False

    def _note(self, step: str) -> None:
        self.calls = 0
        self.trace.append(f"{self.now.isoformat()} {step}")
        self.check(self, step)

    def digest(self) -> str:
        """Of all that happened and all that came of it."""
        text = hashlib.sha256("\n".join(self.trace).encode())
        for key, body in sorted(self.vendors.snapshot().items()):
            text.update(f"{key}{body}".encode())
        for line in self.dump():
            text.update(line.encode())
        return text.hexdigest()[:16]

    # --- one step of the scheduler ------------------------------------------------------------------------------------

    def _step(self, rng: Random) -> str:
        actions: list[tuple[int, Callable[[Random], str]]] = [(2, self._time)]
        for process in self.processes:
            if process.fiber is None:
                actions.append((5, partial(self._begin, process)))
            elif process.wakes_at is None or process.wakes_at <= self.now:
                actions.append((16 * (RARER if self.finance else 1), partial(self._resume, process)))
            if process.fiber is not None and "kill" in self.fault_set:
                actions.append((1, partial(self._kill, process)))
        if any(post.due_at <= self.now for post in self.vendors.post):
            actions.append((5, self._receive))
        actions.append((3, self._people))
        return rng.choices([act for _, act in actions], [weight for weight, _ in actions])[0](rng)

    def _time(self, rng: Random) -> str:
        if "clock_jump" in self.fault_set and rng.random() < 0.2:
            self.tell("clock_jump")
            self.pass_by(rng.choice((300, 3600, 86400)))
        else:
            self.pass_by(rng.choice((0.5, 3, 20, 70)))
        return "time"

    def _begin(self, process: Process, rng: Random) -> str:
        jobs = self.jobs()
        others = [one.fiber.name for one in self.processes if one.fiber is not None and one.fiber.name in jobs]
        name = rng.choice(others if others and rng.random() < 0.4 else [*jobs, *self._pressing(jobs)])
        process.begin(name, jobs[name])
        return f"{process.name} begins {name}"

    def _pressing(self, jobs: Mapping[str, Callable[[Hub], Any]]) -> list[str]:
        """What is done more often than the rest while a month is being closed."""
        closing = self.finance is not None and self.finance.standing is None
        return [one for one in CLOSING if one in jobs] if closing else []

    def _resume(self, process: Process, _rng: Random) -> str:
        fiber = process.fiber
        assert fiber is not None
        self.actor = process.name
        fiber.resume()
        return f"{process.name} {self._after(process, fiber)}"

    def _kill(self, process: Process, _rng: Random) -> str:
        fiber = process.fiber
        assert fiber is not None
        self.tell("kill")
        self.actor = process.name
        fiber.kill()
        return f"{process.name} killed: {self._after(process, fiber)}"

    def _after(self, process: Process, fiber: Fiber) -> str:
        """What became of a job: it goes on, has ended, or took its process with it."""
        if not fiber.ended:
            return f"{fiber.name} at {fiber.at}"
        match fiber.error:
            case None:
                process.fiber = None
            case Retryable() | Misconfigured():
                process.fiber = None
                self.sometimes["a job gave up for now"] += 1
            case Crash():
                process.start_anew()
            case Violation():
                raise fiber.error
            case error:
                raise Violation("no job fails otherwise than by its own errors", f"{fiber.name}: {error!r}") from error
        return f"{fiber.name} ended {type(fiber.error).__name__}"

    def jobs(self) -> Mapping[str, Callable[[Hub], Any]]:
        """What an operator, a schedule or a webhook may start at any time, as often as they like."""
        jobs: dict[str, Callable[[Hub], Any]] = {
            "intake": intake.take_in if "polling" in self.nets else intake.apply_inbox,
            "prepare": prepare.prepare_erp,
            "ingest": ingest.ingest_files,
            "finalise": bill.finalise_invoices,
            "collect": collect.request_payments,
            "settle": intake.book_settlements,
            "recognise": lambda hub: recognise.recognise_through(hub, PERIOD),
            "write back": write_back.tell_crm,
            **{f"deliver {system}": partial(_deliver, system=system) for system in self.systems},
        }
        if "rate" not in self.left_out and self._sold_and_metered():
            jobs["rate"] = lambda hub: rate.rate_period(hub, PERIOD)
            if self._rated():
                jobs["bill"] = lambda hub: bill.draft_invoices(hub, PERIOD)
        if self.aftermath == "credits":
            jobs["credit"] = self._credit
        if self.clerks:
            jobs |= {"give up": self.clerks.give_up, "decide": self.clerks.decide}
        if self.finance and self.billed():
            jobs |= {"close": self.finance.close, "let pass": self.finance.let_pass}
            if self.quiet:
                jobs["close at last"] = self.finance.close_at_last
            if self.finance.standing is not None and not self.quiet:
                jobs["reopen"] = self.finance.reopen
            if self.finance.waits:
                jobs["answer"] = self.finance.answer_late
        if "desk retry" in self.nets:
            jobs["retry"] = lambda hub: retry_failed.retry_matching(hub)
        return {name: work for name, work in jobs.items() if name not in self.left_out}

    def _credit(self, hub: Hub) -> None:
        """An operator credits a part of the first line of every other invoice, and gives back what was overpaid."""
        lines = self.sql.execute(
            "SELECT i.id, l.amount_minor FROM invoice i JOIN invoice_line l ON l.parent_id = i.id"
            " WHERE i.status = 'final' AND l.position = 1 AND i.total_minor > 0 ORDER BY i.id"
        ).fetchall()
        for ident, amount in lines[::2]:
            if amount >= CREDITED_PARTS and ident not in self.ids("SELECT invoice_id FROM credit_note"):
                part = Money(amount // CREDITED_PARTS, "USD")
                credit_invoice(hub, ident, {1: part}, "goodwill", CREDITED_ON, Leftover.REFUND)

    def count(self, query: str) -> int:
        return int(self.sql.execute(query).fetchone()[0])

    def data_version(self) -> int:
        """Another number when something was stored since the last time."""
        return self.count("PRAGMA data_version") if not self.database_url else next(self._versions)

    def dump(self) -> Iterator[str]:
        """All rows, as text."""
        named = "SELECT name FROM sqlite_master WHERE type = 'table'"
        if self.database_url:
            named = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        for table in sorted(self.ids(named)):
            yield from (f"{table} {row}" for row in self.sql.execute(f"SELECT * FROM {table}"))  # noqa: S608

    def ids(self, query: str) -> set[str]:
        return {row[0] for row in self.sql.execute(query)}

    def _sold_and_metered(self) -> bool:
        """Whether all that the month brings is in, as far as it ever comes in."""
        return not self.seller_has_open_deals and not self.orders_to_come() and self._metered()

    def _metered(self) -> bool:
        in_time = [one for one in self.company.usage if not one.late]
        if not in_time or any(one in self.to_come for one in in_time):
            return not in_time
        days = self.processes[0].hub.usage.completeness()
        return sum((day.pending.quantity for day in days), Decimal(0)) >= self.usage_served(in_time)

    def usage_served(self, files: Sequence[UsageFile]) -> Decimal:
        """The quantity of all sound events of accounts that have bought minutes."""
        served = self.ids(
            "SELECT account_id FROM subscription s JOIN subscription_charge c ON c.parent_id = s.id"
            " WHERE c.charge_code = 'VC-MIN'"
        )
        rows = [row for one in files for row in one.fresh if row["account_id"] in served]
        return sum((Decimal(row["quantity"]) for row in rows), Decimal(0))

    def orders_to_come(self) -> set[str]:
        """Won opportunities that the hub is to have and has not yet."""
        won = {one["Id"] for one in self.vendors.shelves["salesforce"].all("Opportunity") if one["IsWon"]}
        return won - self.ids("SELECT id FROM sales_order") - self.never_told() - self.refused()

    def never_told(self) -> set[str]:
        """Opportunities of which no webhook came or will come, when nobody polls."""
        if "polling" in self.nets:
            return set()
        on_the_way = {post.subject for post in self.vendors.post}
        return self.lost - on_the_way - self.ids("SELECT vendor_id FROM inbox")

    def refused(self) -> set[str]:
        """Opportunities that stand on the desk, when nobody retries what stands there."""
        if "desk retry" in self.nets:
            return set()
        return self.ids("SELECT vendor_id FROM inbox WHERE system = 'salesforce' AND state = 'rejected'")

    def _rated(self) -> bool:
        return self.count("SELECT count(*) FROM rated_line") > 0

    seller_has_open_deals = True

    # --- webhooks -----------------------------------------------------------------------------------------------------

    def _receive(self, rng: Random) -> str:
        """One webhook arrives: any that is due, so they overtake each other."""
        due = [post for post in self.vendors.post if post.due_at <= self.now]
        post = rng.choice(due)
        self.vendors.post.remove(post)
        told = f"webhook {post.system} {post.kind}"
        chance = 0.0 if self.quiet else rng.random()
        if "webhook_drop" in self.fault_set and 0 < chance < 0.1:
            self.tell("webhook_drop")
            self.lost |= {post.subject}
            return f"{told} dropped"
        if "webhook_late" in self.fault_set and 0.1 < chance < 0.25:
            self.tell("webhook_late")
            self.vendors.post.append(_later(post, self.now + timedelta(seconds=rng.choice((60, 3600)))))
            return f"{told} late"
        if "webhook_duplicate" in self.fault_set and 0.25 < chance < 0.5:
            self.tell("webhook_duplicate")
            self.vendors.post.append(post)
        damaged = "webhook_damaged" in self.fault_set and chance > 0.8
        if damaged:
            self.tell("webhook_damaged")
        return f"{told} {self._post(post, damaged=damaged)}"

    def _post(self, post: Posted, *, damaged: bool) -> str:
        """Sends it to the receiver; what is not acknowledged comes again later."""
        emulator = self.vendors.emulators[post.system]
        headers = emulator.webhooks.sign(post.event, post.body, stripe_gateway.WEBHOOK_SECRET)
        body = post.body.replace(b"evt_0", b"evt_9", 1) if damaged else post.body
        query = f"?token={'wrong' if damaged else TOKEN}" if post.system == "salesforce" else ""
        url = f"https://hub.example/webhooks/{post.system}{query}"
        try:
            answer = ask(self._receiver(), "POST", url, {"content-type": post.content_type, **headers}, body)
        except Crash:
            self.server.start_anew()
            self.vendors.post.append(_later(post, self.now + timedelta(seconds=5)))
            return "met a crash"
        good = 200 <= answer.status < 300 and emulator.webhooks.delivered(answer.body)
        self.sometimes["a forged webhook was refused"] += damaged and not good
        if damaged and good:
            raise Violation("no forged webhook is taken in", f"{post.system} {post.kind}")
        if not good:
            self.vendors.post.append(_later(post, self.now + timedelta(seconds=5)))
        elif post.kind in HEARD:
            ident = post.system, str(post.event.get("id") or post.event.get("Id"))
            self.sometimes["a webhook that was known came again"] += ident in self.acknowledged
            self.acknowledged.add(ident)
        return str(answer.status)

    def _receiver(self) -> Starlette:
        handlers = Receiver(self.server.hub, no_notice)
        handlers._writer = InlineWriter(self.server.hub, no_notice, simulated._LOOP)
        return Starlette(routes=[Route("/webhooks/{system}", handlers.receive, methods=["POST"])])

    # --- people -------------------------------------------------------------------------------------------------------

    def _people(self, rng: Random) -> str:
        """Somebody outside does something: wins a deal, sends a usage file, edits an account, closes a month."""
        deals = self._open_deals()
        if not deals:
            self.seller_has_open_deals = False
        strangers = [one for one in self.company.customers if one.number not in self.names]
        acts: list[Callable[[], str]] = [lambda: "nobody"] * 2
        if deals:
            acts += [lambda: self._win(rng.choice(deals))] * 5
        if strangers:
            acts += [lambda: self._make_known(rng.choice(strangers), NAMES[0])] * 5
        if any(not one.late for one in self.to_come) or (self.to_come and self._rated()):
            acts.append(self._usage_file)
        if self.aftermath == "disputes":
            acts += [lambda: self._bank(rng)] * 2
        if self.amends and not self.billed():
            acts.append(lambda: self._amend(rng))
        if "human_edit" in self.fault_set and self.names:
            acts.append(lambda: self._edit(rng))
        if "human_edit" in self.fault_set and self.finance:
            acts += [self.finance.move_a_journal] * 2
        if "period_closed" in self.fault_set:
            acts.append(self._turn_period)
        return rng.choice(acts)()

    def _open_deals(self) -> list[str]:
        return [one["Id"] for one in self.vendors.shelves["salesforce"].all("Opportunity") if not one["IsClosed"]]

    def billed(self) -> bool:
        return self.count("SELECT count(*) FROM invoice") > 0

    def _win(self, ident: str) -> str:
        self.seller.win_deal(ident)
        return f"won {ident}"

    def _usage_file(self) -> str:
        file = self.to_come.pop(0)
        file.write(self.folder / ingest.FOLDER)
        return f"usage {file.name}"

    def _edit(self, rng: Random) -> str:
        """Somebody renames a customer at the CRM, and with it a deal: that is what the CRM tells whoever asks."""
        number = rng.choice(sorted(self.names))
        customer = next(one for one in self.company.customers if one.number == number)
        self.tell("human_edit")
        name = rng.choice([name for name in NAMES if name.format(number) != self.names[number]])
        if self.reach == "told":
            return self._make_known(customer, name)
        self.names[number] = name.format(number)
        self.seller.change_account(number, Name=self.names[number])
        self.seller.rename_deals(number, self.names[number])
        return f"edit {number}"

    def _edit_unheard(self, rng: Random) -> str:
        """Somebody renames a customer, and no webhook tells."""
        post = list(self.vendors.post)
        told = self._edit(rng)
        self.vendors.post[:] = post
        return told

    def _amend(self, rng: Random) -> str:
        """A customer wants another number of endpoints for the month's last days, when all that was sold has begun."""
        held = self.ids("SELECT id FROM sales_order")
        lines = [one for one in self.seller.amendable("VC-ENDPOINT") if one["OpportunityId"] in held]
        if not lines:
            return "nobody"
        ident = self.seller.amend(rng.choice(lines), rng.randint(1, 40), f"2026-10-{rng.randint(29, 31):02}")
        self.seller.win_deal(ident)
        return f"won {ident}, which amends"

    def _bank(self, rng: Random) -> str:
        """A customer's bank takes a payment back, or decides of one that it took."""
        stripe = self.vendors.shelves["stripe"]
        open_ones = self._undecided()
        paid = [one for one in stripe.all("charge") if one["status"] == "succeeded" and not one["disputed"]]
        if open_ones and (not paid or rng.random() < 0.5):
            return self._decide(rng.choice(open_ones), rng.choice(("won", "lost")))
        if not paid:
            return "nobody"
        charge = rng.choice(paid)
        amount = rng.choice((charge["amount"], charge["amount"] // 2))
        return self._at_the_bank(payment_intent=charge["payment_intent"], amount=max(amount, 1))

    def _bank_decides(self, rng: Random) -> str:
        return ", ".join(self._decide(one, rng.choice(("won", "lost"))) for one in self._undecided()) or "nobody"

    def _undecided(self) -> list[str]:
        disputes = self.vendors.shelves["stripe"].all("dispute")
        return [one["id"] for one in disputes if one["status"] not in ("won", "lost")]

    def _decide(self, dispute: str, status: str) -> str:
        return self._at_the_bank(dispute=dispute, status=status)

    def _at_the_bank(self, **does: Any) -> str:
        body = json.dumps(does).encode()
        answer = ask(self.vendors.emulators["stripe"], "POST", f"{URLS['stripe']}/_sandbox/disputes", {}, body)
        made = json.loads(answer.body)
        self.sometimes[f"a dispute became {made['status']}"] += 1
        return f"dispute {made['id']} {made['status']}"

    def _make_known(self, customer: Customer, name: str) -> str:
        """Makes a customer, or its new name, known to gateway and ERP, as an order does."""
        self.names[customer.number] = name.format(customer.number)
        account = as_account(customer, self.names[customer.number])
        wanted = [("stripe", "account"), ("stripe", "payment_method"), (self.books, "account")]
        with self.database.work() as work:
            work.put(account)
            work.outbox.enqueue(OutboxCommand.of(*where, "account", account, self.now) for where in wanted)
        return f"known {customer.number}"

    def _turn_period(self) -> str:
        self.tell("period_closed")
        self.closed = not self.closed
        self._set_period()
        return f"October {'closed' if self.closed else 'open'}"

    def _set_period(self) -> None:
        body = b'{"closed": true}' if self.closed else b'{"closed": false}'
        ask(self.vendors.emulators["netsuite"], "POST", f"{URLS['netsuite']}/_sandbox/periods/{PERIOD}", {}, body)

    # --- rest ---------------------------------------------------------------------------------------------------------

    def _rest(self, rng: Random) -> None:
        """The faults stop; people cure what they can; an operator runs everything until nothing moves any more."""
        self.quiet = True
        self.rates.clear()
        for process in self.processes:
            while process.fiber is not None and rng.random() < 0.97:
                if process.wakes_at is not None:
                    self.now = max(self.now, process.wakes_at)
                self._note(self._resume(process, rng))
            if process.fiber is not None:
                self._note(self._kill(process, rng))
            process.skew = timedelta()
            if rng.random() < 0.5:
                process.start_anew()
        self.closed = False
        self._set_period()
        self._win_everything()
        self._cure()
        if self.finance:
            self.finance.move_back()
        within_the_second = {"human_edit", "polling"} <= self.fault_set | self.nets and rng.random() < 0.5
        began = self.now
        for number in range(MOST_ROUNDS):
            if self.aftermath == "disputes" and number < BANKS_ROUNDS:
                self._note(self._bank(rng) if number < BANKS_ROUNDS - 1 else self._bank_decides(rng))
            if "human_edit" in self.fault_set and 0 < number < LAST_EDITS and not within_the_second:
                self._note(self._edit(rng))
            if "session_ended" in self.fault_set and number < LAST_EDITS:
                self.vendors.end_sessions()
            before = self.stands()
            retry = "desk retry" in self.nets and number < OPERATORS_TRIES and self._open_desk() > 0
            self.round(retry)
            if number == 0 and within_the_second:
                self._note(self._edit_unheard(rng))
            self.now = max(self.now + timedelta(seconds=1), self._next_due())
            if self.stands() == before and not (retry or self._still_to_come(number)):
                break
        else:
            raise Violation("the hub comes to rest", f"it still moves after {MOST_ROUNDS} rounds: {self._busy()}")
        if self.now - began > MOST_TIME:
            raise Violation("the hub comes to rest in bounded time", f"it took {self.now - began}")
        self._note("at rest")

    def _win_everything(self) -> None:
        for deal in self._open_deals():
            self.seller.win_deal(deal)
        self.seller_has_open_deals = False
        if self.reach == "told":
            for customer in self.company.customers:
                self._make_known(customer, self.names.get(customer.number, NAMES[0]))

    def _cure(self) -> None:
        for number in sorted(self.company.malformed if self.reach != "told" else ()):
            self.seller.change_account(number, Billing_Email__c=f"billing@{number.lower()}.example")

    def round(self, retry: bool, jobs: int | None = None) -> None:
        """Everything once, in the order of the month (or its first ``jobs``), by one process that nobody disturbs."""
        while self.to_come and (not self.to_come[0].late or self.billed()):
            self._usage_file()
        for post in list(self.vendors.post):
            self.vendors.post.remove(post)
            self._note(f"webhook {post.system} {post.kind} {self._post(post, damaged=False)}")
        hub = self.processes[0].hub
        for name, work in itertools.islice(self.month(retry), jobs):
            try:
                work(hub)
            except (Retryable, Misconfigured) as error:
                raise Violation("nothing fails when all systems are well", f"{name}: {error}") from error
            self._note(f"rest: {name}")

    def month(self, retry: bool) -> Iterator[tuple[str, Callable[[Hub], Any]]]:
        """The jobs in their order; each is asked for when the one before has ended."""
        deliveries = [f"deliver {system}" for system in self.systems]
        names = [*(["retry"] if retry else []), "prepare", "intake", "ingest", "rate", "bill", *deliveries]
        if self.reach in ("billed", "paid"):
            names += ["finalise", "collect", *deliveries]
        if self.reach == "paid":
            names += ["intake", "settle", "recognise", "credit", "give up", "decide", *deliveries, "intake", "settle"]
        if self.reach != "told":
            names += ["write back", *deliveries]
            names += ["close at last", *deliveries] if self.finance else []
        for name in names:
            if (work := self.jobs().get(name)) is not None:
                yield name, work

    def stands(self) -> tuple[object, object]:
        """Everything at the vendors, and what was meant for them: a round that leaves both alone wrote nothing."""
        return self.vendors.snapshot(), self.sql.execute("SELECT key, state FROM outbox ORDER BY key").fetchall()

    def _open_desk(self) -> int:
        return self.count("SELECT count(*) FROM desk WHERE state = 'open'")

    def _still_to_come(self, number: int) -> bool:
        banks = self.aftermath == "disputes" and number < BANKS_ROUNDS - 1
        people = "human_edit" in self.fault_set and number < LAST_EDITS - 1
        return bool(banks or people or self.vendors.post or self._busy() or (self.to_come and self.billed()))

    def _busy(self) -> int:
        """Commands and events that somebody still works on or that wait for their time."""
        return self.count(
            "SELECT (SELECT count(*) FROM outbox WHERE state IN ('pending', 'sending', 'unknown'))"
            " + (SELECT count(*) FROM inbox WHERE state IN ('received', 'applying'))"
        )

    def _next_due(self) -> datetime:
        """When the next waiting command may be tried, or the last lease ends; never more than an hour on."""
        found = self.sql.execute(
            "SELECT max(due_at), max(lease_until) FROM outbox WHERE state IN ('pending', 'sending', 'unknown')"
        ).fetchone()
        inbox = self.sql.execute("SELECT max(lease_until) FROM inbox WHERE state = 'applying'").fetchone()
        instants = [
            one if isinstance(one, datetime) else datetime.fromisoformat(one).replace(tzinfo=UTC)
            for one in (*found, *inbox)
            if one
        ]
        return min(max(instants, default=self.now) + timedelta(seconds=1), self.now + timedelta(hours=1))


def _deliver(hub: Hub, system: str) -> Any:
    return deliver.deliver_system(hub, system)


def _later(post: Posted, at: datetime) -> Posted:
    return Posted(post.system, post.kind, post.event, post.body, post.content_type, at)


def simulate(
    seed: int, check: Callable[[Run, str], None], at_rest: Callable[[Run], None], database_url: str = ""
) -> Run:
    """Runs a seed to its end and gives what was seen. Raises Violation."""
    shutil.rmtree(folder(), ignore_errors=True)
    folder().mkdir()
    with simulated.held_still(), closing(Run(seed, folder(), check, database_url)) as run:
        run.simulate()
        at_rest(run)
        run.trace.append(run.digest())
    return run
