"""A machine that runs ``tieout serve`` beside the sandbox's own process, and whose power may be cut."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.demo.run import Served, sandbox
from app.demo.stacks import STACKS, salesperson
from flows import ingest
from flows.context import Hub
from flows.settings import load
from tests.flows.world import CUSTOMERS, MONTH, USAGE


@contextmanager
def month_before_its_close(folder: Path, stack: str) -> Iterator[Hub]:
    """The sandbox of a stack of the demo, and a hub, after a small company's month of which nothing was earned yet."""
    crm, *_ = STACKS[stack]
    with sandbox(folder, STACKS[stack]) as vendors:
        hub = Hub(load(folder / "tieout.toml"))
        sales = salesperson(crm, vendors[crm])
        sales.enter(CUSTOMERS, hub.price_book)
        sales.win(lambda _done, _whole: None)
        (folder / ingest.FOLDER).mkdir()
        (folder / ingest.FOLDER / "bridge.2026-10.csv").write_text(USAGE)
        for name, step in MONTH:
            if name != "recognise":
                step(hub)
        yield hub
        hub.close()


def cut_power(machine: Served) -> None:
    """Ends ``tieout serve``, its Prefect server and the runs under way at once, by SIGKILL."""
    for pid in family(machine.process.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    machine.process.wait()


def family(pid: int) -> dict[int, str]:
    """A process and all that descend from it, with their command lines."""
    told = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True)
    rows = [line.split(maxsplit=2) for line in told.stdout.splitlines()]
    found = [pid]
    for one in found:
        found += [int(child) for child, parent, _ in rows if int(parent) == one]
    return {int(child): command for child, _, command in rows if int(child) in found}
