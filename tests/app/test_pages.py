"""The commands of the pages for operators run as they stand there, in their order, on a company that has all of it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from app.operators import OPERATOR_VARIABLE
from flows.settings import CONFIG_VARIABLE
from flows.write_back import tell_crm
from tests.app.conftest import Said, Tieout, write_configuration
from tests.flows.conftest import world
from tests.flows.world import MONTH, PERIOD, Company

__all__ = ["world"]

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("company")]

DOCS = Path(__file__).parents[2] / "docs"
COMMAND = re.compile(r"^(?:\$ )?(tieout [^\n]+)|`(tieout [^`]+)`", re.MULTILINE)
HEAD = "id,account_id,site_id,meter,quantity,occurred_at\n"
INVOICE = "INV-2026-10-A-0001"


def commands(page: str) -> Iterator[str]:
    """Every command of a page in its order, those between backticks too; what only names a command is none."""
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    for line, within in COMMAND.findall(text):
        words = " ".join((line or within).split())
        if words not in NAMES:
            yield words


#: Where a page names a command, without all that it needs.
NAMES = {
    "tieout errors",
    "tieout run",
    "tieout close approve",
    "tieout close verify",
    "tieout breaks cure",
    "tieout cash import",
    "tieout cash identify",
    "tieout apply plan.json",
}


class Reader:
    """An operator who does what a page says."""

    def __init__(self, tieout: Tieout, page: str) -> None:
        self.tieout, self.left = tieout, list(commands(page))

    def does(self, start: str, put: Mapping[str, str] | None = None, *, code: int = 0) -> Said:
        """The next command, which begins so; ``put``: what the page says to what is meant here."""
        line = self.left.pop(0)
        assert line.startswith(f"tieout {start}"), line
        for told, meant in (put or {}).items():
            assert told in line
            line = line.replace(told, meant)
        said = self.tieout(*shlex.split(line, comments=True)[1:])
        assert said.code == code, f"{line}: {said.code}\n{said.out}\n{said.err}"
        return said


Sign = Callable[[str], None]


@pytest.fixture
def sign(world: Company, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sign:
    """Who operates the company from now on, in a folder of their own; at first it is Olga."""
    file = write_configuration(world, world.hub.settings.price_book)
    file.write_text(file.read_text() + '\n[write_offs]\nsecond_approval_above = "500.00"\n')
    monkeypatch.setenv(CONFIG_VARIABLE, str(file))
    monkeypatch.chdir(tmp_path)

    def sign(name: str) -> None:
        monkeypatch.setenv(OPERATOR_VARIABLE, name)

    sign("olga")
    return sign


def before_the_close(world: Company) -> None:
    for name, step in MONTH:
        if name != "recognise":
            step(world.hub)


def test_a_month_is_closed_by_the_page_about_closing(
    world: Company, sign: Sign, tieout: Tieout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line of usage of a site that nobody knows stands in the way, until it is let pass."""
    before_the_close(world)
    world.bring("late.csv", HEAD + "x1,A-0001,S9,conference_minutes,5,2026-10-20T09:00:00Z\n")
    assert tieout("run", "ingest-usage").code == 1
    page = Reader(tieout, "close")
    page.does("close run", code=1)
    first, *others = tieout("close", "check", "--period", PERIOD, "--json").json["rows"]
    assert first["record"] in page.does("close check", code=1).out
    page.does("close override", {"desk": first["gate"], "RECORD": first["record"]})
    for one in others:
        command = ("close", "override", "--period", PERIOD, "--gate", one["gate"], "--record", one["record"])
        assert tieout(*command, "--reason", "the same line").code == 0
    assert "waits for approval: 3 journals" in page.does("close run", code=1).out
    assert "previewed" in page.does("close status").out
    sign("anna")
    page.does("close approve")
    assert "closed and certified: 3 journals" in page.does("close run").out
    folder = Path(page.does("close pack").out.splitlines()[0])
    monkeypatch.chdir(folder.parent)
    page.does("close verify")
    page.does("close reopen")
    assert "certified" in page.does("audit list").out
    assert page.left == []


def test_money_is_applied_and_given_up_by_the_page_about_cash(
    world: Company, sign: Sign, tieout: Tieout, tmp_path: Path
) -> None:
    """Nobody paid yet; 40.00 came of which nothing is told."""
    world.month(until="finalise")
    tell_crm(world.hub)
    assert tieout("run", "deliver").code == 0
    head = "value_date,amount,currency,payer,text\n"
    (tmp_path / "bank.csv").write_text(head + "2026-11-10,40.00,USD,Someone,thanks\n")
    page = Reader(tieout, "cash")
    page.does("cash import", {"FILE": "bank.csv"})
    page.does("cash match")
    page.does("terms", {"ACCOUNT": "A-0002"})
    page.does("cash list")
    (left,) = tieout("cash", "list", "--json").json
    receipt = left["receipt"]
    page.does("cash identify", {"RECEIPT": receipt, "ACCOUNT": "A-0001"})
    page.does("cash apply", {"RECEIPT": receipt, "INVOICE": INVOICE})
    page.does("cash unapply", {"APPLICATION": f"APP-{receipt}-1"})
    page.does("cash return", {"RECEIPT": receipt})
    assert "no bank has taken a payment back" in page.does("dispute list").out
    page.does("errors list")
    assert "is given up" in page.does("write-off").out
    assert f"waits for another person: `tieout write-offs approve WO-{INVOICE}-2`" in page.does("write-off").out
    assert page.does("write-offs list").out.index(f"WO-{INVOICE}-2") < page.tieout("write-offs", "list").out.index("-1")
    sign("grace")
    assert "is open as before" in page.does("write-offs refuse").out
    sign("olga")
    assert "waits for another person" in tieout("write-off", INVOICE, "--reason", "bankrupt after all").out
    sign("grace")
    assert "is given up" in page.does("write-offs approve", {"0001-2": "0001-3"}).out
    assert page.left == []


def test_a_difference_is_found_and_mended_by_the_page_about_the_tie_out(
    world: Company, sign: Sign, tieout: Tieout
) -> None:
    """Somebody changed the amount of an invoice in the ERP, and the memo of another one."""
    world.month()
    world.set("netsuite", "invoice", INVOICE, total="1.00")
    page = Reader(tieout, "tie-out")
    for _ in range(4):
        page.does("tie-out", {"2026-11-02": "2100-01-01"} if "--as-of" in page.left[0] else None, code=1)
    page.does("breaks list")
    (found,) = tieout("breaks", "list", "--severity", "money", "--json").json
    told = {"b1a2b3c4d5e": found["break"]}
    assert INVOICE in page.does("breaks show", told).out
    page.does("breaks assign", told)
    page.does("breaks explain", told)
    page.does("breaks cure", told)
    page.does("breaks cure", told)
    assert tieout("tie-out", "--period", PERIOD).code == 0
    world.set("netsuite", "invoice", "INV-2026-10-A-0003", memo="PO 17")
    tieout("tie-out", "--period", PERIOD)
    (found,) = tieout("breaks", "list", "--json").json
    page.does("breaks adopt", {"b1a2b3c4d5e": found["break"]})
    journal = world.held("netsuite", "journalEntry", f"JE-{INVOICE}")["internalId"]
    page.does("explain", {"netsuite-id/2": f"{journal}/2"})
    (line, *_) = world.running.emulators["salesforce"].shelf.all("OpportunityLineItem")
    page.does("explain", {"00kQx0000000001IAA": line["Id"]})
    assert page.left == []


def test_what_failed_is_taken_care_of_by_the_page_about_operations(world: Company, sign: Sign, tieout: Tieout) -> None:
    """The gateway refuses three customers, of which one is in Austin."""
    world.plant("stripe", "error", "POST /v1/customers", status=400, times=3)
    world.month(until="deliver")
    page = Reader(tieout, "operations")
    page.does("errors clusters")
    (cluster,) = tieout("errors", "clusters", "--json").json
    page.does("errors list", {"c41b7a90e2": cluster["cluster"]})
    first, second, third = (one["id"] for one in tieout("errors", "list", "--json").json)
    page.does("errors show", {"outbox:netsuite/invoice/INV-2026-10-A-0003": first})
    page.does("errors retry", {"ID": first})
    page.does("errors edit-retry", {"ID": second})
    page.does("errors ignore", {"ID": third})
    page.does("errors assign", {"ID": first})
    page.does("errors note", {"ID": first})
    page.does("mappings check", {"<system>": "netsuite"})
    page.does("plan deliver")
    page.does("apply")
    page.does("inbox list")
    page.does("inbox refused")
    page.does("inbox replay")
    assert "netsuite" in page.does("budgets").out
    page.does("audit list", {"INV-2026-10-A-0003": "A-0001"})
    page.does("audit verify")
    tip = tieout("audit", "verify", "--json").json["tip"]
    page.does("audit verify", {"1042:9f2c...": tip})
    assert page.left == []
    assert tieout("run", "deliver").code == 0
    held = {one["metadata"]["tieout_id"]: one for one in world.running.emulators["stripe"].shelf.all("customer")}
    assert (held.keys(), held["A-0002"]["address"]["city"]) == ({"A-0001", "A-0002"}, "Denver")
