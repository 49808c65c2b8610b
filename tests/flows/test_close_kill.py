"""A close that is killed at any stage and run again posts the same journals, each of them once."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from datetime import timedelta
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest

from core import pack
from core.close import Verdict
from core.ledger import JournalEntry
from core.ports import World, crash_at, system_clock
from flows.close_books import Answer, Closing
from flows.deliver import LEASE
from sandbox.emulator import Shelf
from tests.flows.hubs import hub_with
from tests.flows.test_close_erps import LEDGERS, OTHERS
from tests.flows.world import CUSTOMERS, MONTH, PERIOD, SETTINGS, USAGE, Company, company

pytestmark = pytest.mark.server

STAGES = [
    "close.frozen:1",
    "close.checked:1",
    "close.previewed:1",
    "close.packed:1",  # and while it waits for the approval
    "close.answered:1",
    "close.decided:1",
    "close.before_commit:1",
    "close.booked:1",
    "outbox.claimed:1",
    "outbox.before_send:1",
    "outbox.sent:1",
    "outbox.before_commit:1",
    "outbox.settled:1",
    "close.pushed:1",
    "close.read_back:1",  # read back, and neither said nor locked
    "close.verified:1",
    "close.locked:1",
    "close.packed:2",
    "close.certified:1",
]
JOURNALS = [f"JE-REV-{PERIOD}-A-000{number}" for number in (1, 2, 3)]
#: What each general ledger calls a journal.
KINDS = {"netsuite": "journalEntry", "quickbooks": "journal_entry", "xero": "manual_journal"}
EVERY = {**SETTINGS, **LEDGERS}
#: What a run says that comes before the lease of a killed one has ended.
IN_A_WHILE = "run the close again in 4 minutes"
#: A point that nothing reaches.
NOWHERE = "nowhere:1"


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """The company after its month, before anything of it was earned."""
    with company(tmp_path_factory.mktemp("company")) as entered:
        before_its_close(entered)
        yield entered


def before_its_close(entered: Company) -> None:
    entered.enter(*CUSTOMERS)
    entered.bring("bridge.2026-10.csv", USAGE)
    for name, step in MONTH:
        if name != "recognise":
            step(entered.hub)
    entered.hub.close()


def close_once(database: Path, folder: Path, urls: Mapping[str, str], crash: str) -> None:
    """One close, approved by anna. The one that is not to be killed runs when all leases have ended."""
    ahead = timedelta(0) if crash else LEASE + timedelta(seconds=1)
    world = World(clock=lambda: system_clock() + ahead, faults=crash_at(crash))
    systems = {name: EVERY[name](url) for name, url in urls.items()}
    hub = hub_with(f"sqlite:///{database}", folder, systems, world)
    Closing(hub, PERIOD, "olga", lambda _question, _number: Answer(Verdict.APPROVE, "anna", "", "test")).run()
    hub.close()


@pytest.mark.parametrize("point", STAGES)
def test_killed_at_a_stage_and_run_again_each_journal_is_posted_once(
    point: str, ready: Company, tmp_path: Path, forks: ForkServerContext
) -> None:
    folder = ready.hub.settings.state_folder
    database = tmp_path / "tieout.db"
    shutil.copyfile(folder / "tieout.db", database)
    shutil.rmtree(folder / "closes", ignore_errors=True)
    shelf = ready.running.emulators["netsuite"].shelf
    for held in shelf.all("journalEntry"):
        if held["externalId"] in JOURNALS:
            shelf.drop("journalEntry", str(held["internalId"]))
    child = forks.Process(target=close_once, args=(database, folder, ready.running.urls, point))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    close_once(database, folder, ready.running.urls, "")
    assert sorted(one["externalId"] for one in shelf.all("journalEntry") if one["externalId"] in JOURNALS) == JOURNALS
    hub = hub_with(f"sqlite:///{database}", folder, {})
    with hub.database.reading() as work:
        assert [one.id for one in work.find(JournalEntry, event="recognition")] == JOURNALS
        assert work.periods.locked("main") == {PERIOD}
        told = [row.act for row in work.audit.rows(record_id=f"CLOSE-main-{PERIOD}-1")]
    hub.close()
    assert (told.count("approved"), told.count("booked"), told.count("locked")) == (1, 1, 1)
    assert pack.verify(folder / "closes" / f"CLOSE-main-{PERIOD}-1") == []


@pytest.mark.parametrize("system", KINDS)
def test_killed_when_the_ledger_holds_a_part_of_the_batch_each_journal_is_posted_once(
    system: str, tmp_path: Path, forks: ForkServerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger stored one of three journals of a call; its answer is lost with us, and the others never arrive."""
    with company(tmp_path, {**OTHERS, system: EVERY[system]}) as entered:
        before_its_close(entered)
        shelf, kind, urls = entered.running.emulators[system].shelf, KINDS[system], entered.running.urls
        held = len(shelf.all(kind))
        child = forks.Process(target=close_once, args=(tmp_path / "tieout.db", tmp_path, urls, NOWHERE))
        with monkeypatch.context() as cut:
            cut.setattr(shelf, "keep", storing_one(shelf, kind, child))
            child.start()
            child.join()
        assert (child.exitcode, len(shelf.all(kind))) == (-signal.SIGKILL, held + 1)
        at_once = Closing(entered.hub, PERIOD, "olga").run()
        assert [row["what cures it"].partition(": ")[2] for row in at_once.rows] == [IN_A_WHILE] * len(JOURNALS)
        close_once(tmp_path / "tieout.db", tmp_path, urls, "")
        assert len(shelf.all(kind)) == held + len(JOURNALS)
        assert entered.tie_out()[1] == []


def storing_one(shelf: Shelf, kind: str, child: Any) -> Any:
    """Stores one object of a kind, kills who sent it, and stores no other."""
    keep, left = shelf.keep, [kind]

    def store(of: str, ident: str, value: dict[str, Any]) -> None:
        if of == kind and not left:
            raise ConnectionAbortedError("the batch was cut off here")
        keep(of, ident, value)
        if of == kind:
            left.pop()
            os.kill(child.pid, signal.SIGKILL)

    return store
