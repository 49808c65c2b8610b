"""The composition root: the one place where settings become a database, connectors, mappings and the world."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import cache, cached_property
from pathlib import Path

from connectors.registry import SYSTEMS
from core.accounts import Account
from core.catalog import PriceBook, load_price_book
from core.entities import LegalEntity, selling
from core.errors import Misconfigured
from core.fx import FxRate, Rates
from core.mapping import Mapping, MappingBook, load_book
from core.masking import Mask
from core.metering import UsageStore
from core.period import local_date
from core.ports import Connector, World, crash_at
from core.posting import Books
from core.posting_file import load_posting_rules
from core.posting_rules import PostingRules
from core.store import Database, Work
from flows.rate_budget import SharedBudget
from flows.settings import Settings, load, secrets
from flows.vendor_jobs import KeptJobs

CRASH_VARIABLE = "TIEOUT_CRASH_AT"

#: What a mapping asks for: (system, resource, our key) to the vendor's id, or None when it is not there yet.
Refs = Callable[[str, str, str], str | None]


@dataclass
class Hub:
    """Everything a flow works with. Connectors are made on first use and live as long as the hub."""

    settings: Settings
    world: World = field(default_factory=World)
    _connectors: dict[str, Connector] = field(default_factory=dict)
    _price_books: dict[str, PriceBook] = field(default_factory=dict)
    _making: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def database(self) -> Database:
        database = Database(self.settings.database_url)
        database.migrate()
        return database

    @cached_property
    def mappings(self) -> MappingBook:
        return load_book(self.settings.mappings_folder, self.settings.systems)

    def reading(self, system: str, record: str, resource: str) -> Mapping:
        """The mapping that makes a record of what a system gives as ``resource``, whatever it is read from there."""
        row = self.connector(system).resources.get(resource)
        return self.mappings.find(system, record, "in", row.read_as or resource if row else resource)

    @cached_property
    def price_book(self) -> PriceBook:
        return load_price_book(self.settings.price_book)

    @cached_property
    def posting(self) -> PostingRules:
        """Which event books what: the rules that the configuration names, or those that come with the product.

        A copy of each version is kept, so that it can be told what an entry was booked by.
        """
        rules = load_posting_rules(self.settings.posting_rules)
        _keep(self.settings.state_folder / "posting-rules" / f"{rules.version}.yaml", rules.text)
        return rules

    def books(self, work: Work, account_id: str) -> Books:
        """The books in which what happens to an account stands: those of the legal entity that sells to it.

        An account stays with the entity that it was taken in for, or that booked something of it first.
        """
        return self.books_by_account(work, [account_id])[account_id]

    def books_by_account(self, work: Work, account_ids: Sequence[str]) -> dict[str, Books]:
        """The books of several accounts; their rates are read when one is asked for, which most never do."""
        accounts = {one.id: one for one in work.find(Account, id=list(account_ids))}
        rates = Rates(_stored_rates(work), self.settings.fx_sources)
        return {ident: self._books(self._seller(work, ident, accounts.get(ident)), rates) for ident in account_ids}

    def seller(self, work: Work, account: Account) -> LegalEntity:
        """The legal entity that sells to an account which is being taken in."""
        held = work.get(Account, account.id)
        return self._seller(work, account.id, held if held and held.entity else account)

    def _seller(self, work: Work, account_id: str, account: Account | None) -> LegalEntity:
        if account is not None and account.entity is not None:
            return self.settings.entity(account.entity)
        known = work.sums.entity_of(account_id) if self.settings.entities else None
        return self.settings.entity(known) if known else selling(self.settings.all_entities, account)

    def open_day(self, work: Work, account_id: str, day: date) -> date:
        """How a document of an account is dated: that day, or the first one after its month that its books take."""
        return work.periods.open_day(self.books(work, account_id).entity.id, day)

    def local_day(self, work: Work, account_id: str, instant: datetime) -> date:
        """The day of an instant where the customer is; in UTC of one that is not known."""
        account = work.get(Account, account_id)
        return local_date(instant, account.timezone if account else "UTC")

    def books_of(self, work: Work, entity: str) -> Books:
        """The books of a legal entity, by its id."""
        return self._books(self.settings.entity(entity), self.rates(work))

    def rates(self, work: Work) -> Rates:
        """The exchange rates that were loaded, of the sources that the configuration prefers."""
        return Rates(work.find(FxRate), self.settings.fx_sources)

    def _books(self, entity: LegalEntity, rates: Rates) -> Books:
        places = next((SYSTEMS[name].rate_places for name in self.playing("erp")), None)
        return Books(self.posting, entity, rates, next(iter(self.playing("gateway")), ""), places)

    def keep_price_book(self) -> None:
        """Keeps the price book beside the usage, so that what it rated can be rated again when it has changed.

        Misconfigured when a charge that an earlier version rated has other service periods now: days would be billed
        twice, or never.
        """
        kept = self._kept(self.price_book.version)
        if not kept.exists():
            for before in sorted(kept.parent.glob("*.json")):
                self._same_periods(PriceBook.model_validate_json(before.read_bytes()))
        _keep(kept, self.price_book.model_dump_json())

    def _same_periods(self, before: PriceBook) -> None:
        known = {charge.code: charge for charge in before.charges}
        for charge in self.price_book.charges:
            for term in ("every_months", "billing_day", "align", "timing"):
                was, now = getattr(known.get(charge.code, charge), term), getattr(charge, term)
                if was != now:
                    why = f"{term} was {was} when it was billed, and is {now}, which would bill days twice or never"
                    raise Misconfigured(
                        f"{self.settings.price_book}: charge {charge.code}: {why}; keep it, declare a charge of a new "
                        "code, and let amendments end the old one where the new one starts"
                    )

    def price_book_of(self, version: str) -> PriceBook:
        """The price book of a version that rated something. Misconfigured when it was not kept."""
        if version == self.price_book.version:
            return self.price_book
        if version in self._price_books:
            return self._price_books[version]
        if not self._kept(version).exists():
            raise Misconfigured(
                f"price book {version} rated a bill, and is not in {self._kept(version).parent} any more"
            )
        book = PriceBook.model_validate_json(self._kept(version).read_bytes())
        return self._price_books.setdefault(version, book)

    def _kept(self, version: str) -> Path:
        return self.settings.state_folder / "price-books" / f"{version}.json"

    @cached_property
    def usage(self) -> UsageStore:
        return UsageStore(self.settings.state_folder / "usage", faults=self.world.faults)

    @cached_property
    def mask(self) -> Mask:
        """Takes every secret of the configuration out of what others sent."""
        return Mask(tuple(secrets(list(self.settings.systems.values()))))

    @property
    def systems(self) -> list[str]:
        """Names of the systems in use."""
        return list(self.settings.systems)

    def system(self, role: str) -> str:
        """The system in use that plays a role (crm, tax, gateway, erp). Misconfigured when none does."""
        for name in self.settings.systems:
            if SYSTEMS[name].role == role:
                return name
        raise Misconfigured(f"no {role} system is configured; add a [systems.<name>] table to tieout.toml")

    def playing(self, role: str) -> list[str]:
        """The systems in use that play a role."""
        return [name for name in self.settings.systems if SYSTEMS[name].role == role]

    def tax_engine(self, tax_code: str) -> str:
        """The tax engine in use that takes a product's tax code. Misconfigured when none does."""
        for name in self.playing("tax"):
            if re.fullmatch(SYSTEMS[name].tax_codes, tax_code):
                return name
        raise Misconfigured(f"no tax engine in use takes the tax code {tax_code!r}; add its [systems.<name>] table")

    def role(self, system: str) -> str:
        return SYSTEMS[system].role

    def connector(self, system: str) -> Connector:
        """The connector of a system in use."""
        with self._making:
            if system not in self._connectors:
                if system not in self.settings.systems:
                    raise Misconfigured(
                        f"{system} is not configured; add [systems.{system}] to tieout.toml", system=system
                    )
                world = replace(self.world, jobs=KeptJobs(lambda: self.database, self.world.clock))
                self._connectors[system] = SYSTEMS[system].connect(self.settings.systems[system], world)
            return self._connectors[system]

    def refs(self, work: Work) -> Refs:
        """Look-ups of other systems' ids in the proofs of delivery."""

        def ref(system: str, resource: str, record_id: str) -> str | None:
            proof = work.outbox.proof(system, resource, record_id)
            return None if proof is None else proof.vendor_id

        return ref

    def now(self) -> datetime:
        return self.world.clock()

    def close(self) -> None:
        for connector in self._connectors.values():
            connector.close()
        self._connectors.clear()
        if "database" in self.__dict__:
            self.database.close()


def _stored_rates(work: Work) -> Iterator[FxRate]:
    yield from work.find(FxRate)


def _keep(path: Path, text: str) -> None:
    """Writes a file once and whole."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        made = path.with_suffix(".part")
        made.write_text(text, encoding="utf-8")
        made.replace(path)


@cache
def hub() -> Hub:
    """The hub of this process, from the configuration that TIEOUT_CONFIG names; tests crash it by TIEOUT_CRASH_AT.

    It shares the rate budgets of the vendors' accounts with all other processes on its database.
    """
    made = Hub(load(), World(faults=crash_at(os.environ.get(CRASH_VARIABLE, ""))))
    shared = SharedBudget(lambda: made.database, made.world.clock, made.world.sleep)
    made.world = replace(made.world, budget=shared)
    return made
