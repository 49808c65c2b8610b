"""Hubs for the tests of flows: one database, systems at emulators, and a world that the test owns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import BaseModel

from core.accounts import Account, Address
from core.ports import World
from core.sync import OutboxCommand
from flows.context import Hub
from flows.settings import Settings

ROOT = Path(__file__).parents[2]
START = datetime(2026, 11, 1, 9, tzinfo=UTC)


@dataclass
class ManualTime:
    """A clock that moves only when somebody sleeps or the test says so."""

    now: datetime = START
    slept: list[float] = field(default_factory=list)

    def clock(self) -> datetime:
        return self.now

    def sleep(self, seconds: float, /) -> None:
        self.slept.append(seconds)
        self.pass_by(timedelta(seconds=seconds))

    def pass_by(self, span: timedelta) -> None:
        self.now += span


def hub_with(
    database_url: str,
    folder: Path,
    systems: Mapping[str, BaseModel],
    world: World | None = None,
    mappings: Path = ROOT / "mappings",
) -> Hub:
    settings = Settings(
        database_url=database_url,
        state_folder=folder,
        price_book=ROOT / "app" / "demo" / "northwind.yaml",
        mappings_folder=mappings,
        systems=dict(systems),
    )
    return Hub(settings, world or World())


def account(number: int, parent_id: str | None = None, name: str = "") -> Account:
    return Account(
        id=f"A-{number:04d}",
        name=name or f"Customer {number}",
        email=f"billing{number}@customer.example",
        currency="USD",
        billing_address=Address(
            line1="500 Congress Ave", city="Austin", region="TX", postal_code="78701", country="US"
        ),
        parent_id=parent_id,
    )


def intent(system: str, noun: Account, at: datetime = START) -> OutboxCommand:
    return OutboxCommand.of(system, "account", "account", noun, at)
