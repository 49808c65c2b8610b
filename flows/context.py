"""The composition root: the one place where settings become a database, connectors, mappings and the world."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, cached_property

from connectors.registry import SYSTEMS
from core.catalog import PriceBook, load_price_book
from core.errors import Misconfigured
from core.mapping import MappingBook, load_book
from core.metering import UsageStore
from core.ports import Connector, World, crash_at
from core.store import Database, Work
from flows.settings import Settings, load

CRASH_VARIABLE = "TIEOUT_CRASH_AT"

#: What a mapping asks for: (system, resource, our key) to the vendor's id, or None when it is not there yet.
Refs = Callable[[str, str, str], str | None]


@dataclass
class Hub:
    """Everything a flow works with. Connectors are made on first use and live as long as the hub."""

    settings: Settings
    world: World = field(default_factory=World)
    _connectors: dict[str, Connector] = field(default_factory=dict)
    _making: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def database(self) -> Database:
        database = Database(self.settings.database_url)
        database.migrate()
        return database

    @cached_property
    def mappings(self) -> MappingBook:
        return load_book(self.settings.mappings_folder, self.settings.systems)

    @cached_property
    def price_book(self) -> PriceBook:
        return load_price_book(self.settings.price_book)

    @cached_property
    def usage(self) -> UsageStore:
        return UsageStore(self.settings.state_folder / "usage", faults=self.world.faults)

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
                self._connectors[system] = SYSTEMS[system].connect(self.settings.systems[system], self.world)
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


@cache
def hub() -> Hub:
    """The hub of this process, from the configuration that TIEOUT_CONFIG names; tests crash it by TIEOUT_CRASH_AT."""
    return Hub(load(), World(faults=crash_at(os.environ.get(CRASH_VARIABLE, ""))))
