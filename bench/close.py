# ruff: noqa: S608 (nothing foreign gets into its SQL)
"""A close at scale: ``uv run python bench/close.py [INVOICE_LINES] [FOLDER]``, by default 1,000,000 lines of a month.

Each customer has one invoice of a hundred lines that are earned in the month. Through the stages of a close: what is
due is earned and made into journals, shown, approved, booked, pushed and read back line by line (from a ledger that
answers at once), tied out inside the hub, and packed; the pack is then verified offline. Measured is the CPU time of
all of them, in SQLite with full sync. The floor is what SQLite needs for the bare sums over the same rows.
"""

from __future__ import annotations

import json
import resource
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from time import process_time
from typing import Any, TypeVar

from pydantic import BaseModel

from connectors.netsuite import RESOURCES
from core import pack
from core.close import Verdict
from core.ports import Change, ExternalKey, Outcome, Payload, Receipt
from core.store.codec import dump
from core.ties import Break, TieLine
from flows import close as stages
from flows.context import Hub
from flows.pack import certify
from flows.settings import ClosePolicy, Settings
from flows.tie_out import TieOut

T = TypeVar("T")

ROOT = Path(__file__).resolve().parent.parent
PERIOD, PER_INVOICE = "2026-10", 100
ADDRESS = json.dumps({"line1": "1 Main St", "city": "Denver", "region": "CO", "postal_code": "80202", "country": "US"})
#: The journal lines a minute of a published engine, which this is measured against.
PUBLISHED = 40_000


class Nothing(BaseModel):
    """A system without settings."""


class AnsweringLedger:
    """A general ledger that keeps what it is given and shows it again."""

    system = "netsuite"
    resources = RESOURCES

    def __init__(self) -> None:
        self.held: dict[str, dict[str, Any]] = {}

    def takes_postings(self, _day: object) -> bool:
        return True

    def find(self, _resource: str, key: ExternalKey) -> Receipt | None:
        known = self.held.get(key.value)
        return None if known is None else Receipt(self.system, "journal_entry", key.value, key, False, {})

    def upsert_many(self, resource: str, items: Sequence[tuple[Payload, ExternalKey]]) -> list[Outcome]:
        for payload, key in items:
            shown = {"externalId": key.value, "internalId": key.value, "currency": {"internalId": "1", "name": "USD"}}
            self.held[key.value] = {**json.loads(dump(payload)), **shown}
        return [Receipt(self.system, resource, key.value, key, True, {}) for _, key in items]

    def get(self, _resource: str, vendor_id: str) -> Mapping[str, Any]:
        return self.held[vendor_id]

    def changes(self, _resource: str, _since: str | None) -> Iterator[Change]:
        yield from ()

    def close(self) -> None:
        return


def enter(path: Path, lines: int) -> None:
    """The month as its bill run left it: invoices, rated lines, schedules, and the entries of the invoices."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA synchronous = OFF")
    invoices = lines // PER_INVOICE

    def fill(table: str, count: int, **columns: str) -> None:
        """``columns``: SQL over ``i``, which counts from 0."""
        connection.execute(
            f"WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {count - 1})"
            f" INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(columns.values())} FROM n"
        )

    minor, of = "(1000 + i % 9000)", f"printf('%06d', i / {PER_INVOICE})"
    line = f"'INV-{PERIOD}-A-' || {of} || '-' || (i % {PER_INVOICE} + 1)"
    whole = f"(SELECT sum(amount_minor) FROM invoice_line WHERE parent_id = 'INV-{PERIOD}-A-' || printf('%06d', i))"
    one = "printf('%06d', i)"
    fill(
        "account", invoices, id=f"'A-' || {one}", name=f"'Customer ' || {one}", email="'ap@example.com'",
        currency="'USD'", timezone="'UTC'", billing_address=f"'{ADDRESS}'", sites="'[]'", contacts="'[]'",
        payment_terms_days="30", source_system="''", source_id="''",
    )  # fmt: skip
    connection.execute("PRAGMA foreign_keys = OFF")
    fill(
        "invoice_line", lines, id=line, parent_id=f"'INV-{PERIOD}-A-' || {of}", sequence=f"i % {PER_INVOICE}",
        position=f"i % {PER_INVOICE} + 1", rated_line_id=f"'R-' || {line}", charge_code="'VC-ENDPOINT'",
        product_code="'VC-MONITOR'", description="'Endpoint monitoring'", service_period_start="'2026-10-01'",
        service_period_end="'2026-11-01'", quantity="'1'", amount_minor=minor, tax_minor="0", tax_code="'SW054000'",
        revenue_account="'4010'", defer="1", service_address=f"'{ADDRESS}'",
    )  # fmt: skip
    fill(
        "invoice", invoices, id=f"'INV-{PERIOD}-A-' || {one}", account_id=f"'A-' || {one}", currency="'USD'",
        billing_period_start="'2026-10-01'", billing_period_end="'2026-11-01'", invoice_date="'2026-10-31'",
        due_date="'2026-11-30'", status="'final'", billing_address=f"'{ADDRESS}'", subtotal_minor=whole, tax_minor="0",
        total_minor=whole,
    )  # fmt: skip
    fill(
        "rated_line", lines, id=f"'R-' || {line}", subscription_id="'S'", subscription_charge_id="'SC'",
        order_line_id="'OL'", account_id=f"'A-' || {of}", charge_code="'VC-ENDPOINT'", product_code="'VC-MONITOR'",
        description="'Endpoint monitoring'", service_period_start="'2026-10-01'", service_period_end="'2026-11-01'",
        quantity="'1'", currency="'USD'", amount_minor=minor, derivation="'{}'", billing_period=f"'{PERIOD}'",
    )  # fmt: skip
    fill(
        "recognition", lines, id=f"{line} || '@{PERIOD}'", invoice_line_id=line, month=f"'{PERIOD}'", currency="'USD'",
        amount_minor=minor, revenue_account="'4010'", account_id=f"'A-' || {of}",
    )  # fmt: skip
    for kind, via, debit, credit in (("DOC", "document", "1100", "1190"), ("JE", "journal", "1190", "2400")):
        fill(
            "journal_entry", invoices, id=f"'{kind}-INV-{PERIOD}-A-' || {one}", event="'invoice'", via=f"'{via}'",
            currency="'USD'", posted_on="'2026-10-31'", account_id=f"'A-' || {one}", memo="'Invoice'",
        )  # fmt: skip
        entry = f"'{kind}-INV-{PERIOD}-A-'"
        fill(
            "journal_line", invoices, id=f"{entry} || {one} || '-0'", parent_id=f"{entry} || {one}", sequence="0",
            position="1", ledger_account=f"'{debit}'", debit_minor=whole, memo="'Invoice'", source="'invoice'",
            source_id=f"'INV-{PERIOD}-A-' || {one}",
        )  # fmt: skip
        fill(
            "journal_line", lines, id=f"{entry} || {of} || '-' || (i % {PER_INVOICE} + 1)",
            parent_id=f"{entry} || {of}", sequence=f"i % {PER_INVOICE} + 1", position=f"i % {PER_INVOICE} + 2",
            ledger_account=f"'{credit}'", credit_minor=minor, memo="'Endpoint monitoring'", source="'invoice_line'",
            source_id=line,
        )  # fmt: skip
    fill(
        "sync_record", 1, system="'netsuite'", resource="'ledger_account'", record_id="'2400'", vendor_id="'6'",
        version="'1'", command_key="'k'", mapping_version="'1'", payload_digest="'1'", created="1",
        synced_at="'2026-11-01 00:00:00.000000'", answer="'{}'",
    )  # fmt: skip
    connection.execute(
        "INSERT INTO sync_record SELECT system, resource, '4010', '7', version, command_key, mapping_version,"
        " payload_digest, created, synced_at, answer, payload FROM sync_record"
    )
    connection.commit()
    connection.close()


def floor(path: Path) -> float:
    """CPU seconds of SQLite for the bare sums: journal lines by account, invoice lines, rated lines, schedules."""
    connection = sqlite3.connect(path)
    started = process_time()
    for query in (
        "SELECT ledger_account, sum(debit_minor), sum(credit_minor) FROM journal_line GROUP BY ledger_account",
        "SELECT parent_id, sum(amount_minor) FROM invoice_line GROUP BY parent_id",
        "SELECT account_id, sum(amount_minor) FROM rated_line GROUP BY account_id",
        "SELECT month, sum(amount_minor) FROM recognition GROUP BY month",
    ):
        connection.execute(query).fetchall()
    return process_time() - started


def peak() -> int:
    """The most memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def tie_out(hub: Hub) -> tuple[list[TieLine], list[Break]]:
    """Rated against invoiced, and the ledger against the schedules: the ties that ask no other system."""
    ties = TieOut(hub, PERIOD, "hub")
    ties.billed()
    ties.ledger()
    return ties.lines, ties.breaks


def main(lines: int, folder: Path) -> None:
    settings = Settings(
        database_url=f"sqlite:///{folder / 'close.db'}",
        state_folder=folder,
        price_book=ROOT / "app" / "demo" / "northwind.yaml",
        mappings_folder=ROOT / "mappings",
        systems={name: Nothing() for name in ("salesforce", "avalara", "stripe", "netsuite")},
        close=ClosePolicy(journals="summary"),
    )
    hub = Hub(settings)
    _ = hub.database, hub.mappings, hub.posting, hub.price_book
    enter(folder / "close.db", lines)
    hub._connectors.update(dict.fromkeys(settings.systems, AnsweringLedger()))  # type: ignore[arg-type]
    spent: dict[str, float] = {}
    print(f"before the close: peak {peak():,} MB")

    def timed(name: str, act: Callable[[], T]) -> T:
        started = process_time()
        done = act()
        spent[name] = process_time() - started
        speed = f"{spent[name]:8.1f} cpu s {lines / spent[name]:12,.0f} invoice lines/s"
        print(f"{name:28} {speed}   peak so far {peak():,} MB", flush=True)
        return done

    close = stages.freeze(hub, PERIOD, "bench")
    close = timed("recognise, make journals", lambda: stages.preview(hub, close))
    close = stages.decide(hub, close, Verdict.APPROVE, "bench", "", "bench")
    close = timed("check again, book", lambda: stages.book(hub, close))
    left = timed("push", lambda: stages.push(hub, close))
    close, compared = timed("read back", lambda: stages.verify(hub, close))
    ties, breaks = timed("tie out", lambda: tie_out(hub))
    pack_folder, _ = timed("pack", lambda: certify(hub, close, ties=ties, breaks=breaks, compared=compared))
    flaws = timed("verify the pack offline", lambda: pack.verify(pack_folder))
    least = floor(folder / "close.db")
    wrong = [*left, *(one for one in compared if one.wrong), *breaks, *flaws]
    journal_lines, whole = 2 * lines, sum(spent.values())
    booked = spent["recognise, make journals"] + spent["check again, book"]
    print(
        f"{lines:,} invoice lines, {journal_lines:,} journal lines booked: {whole:.0f} cpu s in all,"
        f" peak {peak():,} MB, {len(wrong)} wrong\n"
        f"journal lines a minute: {60 * journal_lines / whole:,.0f} through every stage"
        f" ({60 * journal_lines / whole / PUBLISHED:.0f}x a published {PUBLISHED:,}),"
        f" {60 * journal_lines / booked:,.0f} recognised and booked ({60 * journal_lines / booked / PUBLISHED:.0f}x)\n"
        f"floor: bare sums {least:.2f} cpu s; tie-out {spent['tie out'] / least:.1f}x, all {whole / least:.0f}x"
    )
    for one in wrong[:5]:
        print(one)
    hub.close()
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    if len(sys.argv) > 2:
        main(size, Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(size, Path(temporary))
