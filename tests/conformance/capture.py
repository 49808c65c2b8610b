"""What crosses the wire: every request of a connector and every answer of an emulator.

Two sources: the contract suite, run here on one system, and a month of each stack of the demo.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.demo.billing import BillingManager
from app.demo.stacks import STACKS, salesperson
from connectors import wire
from connectors.registry import SYSTEMS
from core.invoicing import Invoice
from core.money import Money
from flows import deliver, intake
from flows.credit import Leftover, credit_invoice
from sandbox import server
from tests.connectors import test_contract
from tests.connectors.test_contract import Stage, case_of
from tests.flows.world import CUSTOMERS, PERIOD, USAGE, company

#: The answer of the fault ``garbage``: it cannot be parsed on purpose.
GARBAGE = b'{"trunc'


@dataclass(frozen=True)
class Call:
    """One exchange of a system. ``response`` is None when the connection broke."""

    system: str
    request: httpx.Request
    response: httpx.Response | None

    @property
    def answered(self) -> bool:
        return self.response is not None and self.response.content != GARBAGE


@contextmanager
def captured() -> Iterator[list[Call]]:
    """All calls that connectors of this process make inside the block, to whichever system."""
    calls: list[Call] = []
    made, sent = wire.Wire.__post_init__, wire._Client.send

    def make(self: wire.Wire) -> None:
        made(self)
        self._client.system = self.system  # type: ignore[attr-defined]

    def send(self: Any, request: httpx.Request, **options: Any) -> httpx.Response:
        try:
            response = sent(self, request, **options)
        except httpx.HTTPError:
            calls.append(Call(self.system, request, None))
            raise
        calls.append(Call(self.system, request, response))
        return response

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire.Wire, "__post_init__", make)
        patch.setattr(wire._Client, "send", send)
        yield calls


def contract_suite(system: str, sqlite_template: Path, folder: Path) -> list[Call]:
    """The calls of every test of the contract suite on one system, and of what else the system is asked."""
    with captured() as calls, server.start([system]) as running:
        for name, test in vars(test_contract).items():
            if not name.startswith("test_"):
                continue
            for number, chosen in enumerate(_choices(test)):
                own = folder / f"{name}-{number}"
                own.mkdir(parents=True)
                stage = Stage(case_of(system), running.urls[system])
                given = {"stage": stage, "sqlite_template": sqlite_template, "tmp_path": own, **chosen}
                try:
                    test(**{name: given[name] for name in inspect.signature(test).parameters})
                except pytest.skip.Exception:
                    continue
                finally:
                    stage.connector.close()
    return calls


def _choices(test: Callable[..., None]) -> Iterator[dict[str, Any]]:
    """What a test is parametrized with."""
    marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
    for values in itertools.product(*(mark.args[1] for mark in marks)):
        yield {mark.args[0]: value for mark, value in zip(marks, values, strict=True)}


def month(stack: str, folder: Path) -> list[Call]:
    """The calls of a month of a stack: deals won, invoices, cash, a refund, the tie-out and the doctor."""
    systems = STACKS[stack]
    settings = {name: _settings(name) for name in systems}
    folder.mkdir(parents=True)
    with captured() as calls, company(folder, settings) as world:
        sales = salesperson(systems[0], world.running.urls[systems[0]])
        sales.enter(CUSTOMERS, world.hub.price_book)
        sales.win(lambda _done, _whole: None)
        world.bring("bridge.2026-10.csv", USAGE)
        if "billingplatform" in systems:
            manager = BillingManager(world.running.urls["billingplatform"])
            manager.set_up(world.hub)
            manager.bill(world.hub, PERIOD)
        world.month()
        with world.hub.database.reading() as work:
            (invoice,) = work.find(Invoice, account_id="A-0002")
        yearly = max(invoice.lines, key=lambda line: line.amount.minor)
        fewer = {yearly.position: Money.of("240.00", "USD")}
        credit_invoice(world.hub, invoice.id, fewer, "Fewer seats", date(2026, 11, 20), Leftover.REFUND)
        for step in (deliver.deliver_all, intake.take_in, intake.book_settlements, deliver.deliver_all):
            step(world.hub)
        assert world.breaks() == []
        with world.hub.database.reading() as work:
            assert len(work.find(Invoice)) == len(CUSTOMERS)
        for name in systems:
            connector = world.hub.connector(name)
            assert [finding for finding in connector.check() if not finding.ok] == []
    return calls


def _settings(system: str) -> Callable[[str], Any]:
    module = SYSTEMS[system].module.removeprefix("connectors.")
    made: Callable[[str], Any] = import_module(f"tests.connectors.contract_{module}").settings
    return made
