"""What a tie-out costs beside the bare sums over the same rows: the database compares, and only what differs is loaded.

    uv run python -m bench.ties [invoice lines]

Invoices of ten lines, their tax and journals, and the ERP's view of each document; a hundred documents there were
changed by hand. Prints rows, CPU seconds and the ratio to the floor; then what the same costs when it is kept what both
sides said, nothing or a hundred documents of each kind having changed since.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import Table, create_engine, func, insert, select

from core.money import Money
from core.period import DateSpan
from core.store import Database, figures, rows, sides
from core.store.border import table_of
from core.store.figures import Seen

SPAN = DateSpan.month("2026-10")
NOON = datetime(2026, 10, 31, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
LINES, CHANGED, PART = 10, 100, 5_000
#: How the keys of a resource begin.
PREFIX = {"invoice": "INV", "journal_entry": "JE", "tax_document": "INV"}


def filler(table: Table) -> dict[str, Any]:
    """A value for each column that must have one and that no tie looks at."""
    zeros = {"INTEGER": 0, "BIGINT": 0, "BOOLEAN": False, "DATE": date(2026, 10, 31)}
    return {
        column.name: zeros.get(str(column.type), NOON if "time" in str(column.type).lower() else "")
        for column in table.columns
        if not column.nullable
    }


def month(lines: int) -> Iterator[tuple[Table, list[dict[str, Any]]]]:
    """The rows of a month, table by table, in parts."""
    invoices = lines // LINES
    line_minor, tax_minor = 1_000, 80
    total = LINES * (line_minor + tax_minor)
    invoice, line, entry, booked, figure = map(
        table_of, (rows.InvoiceRow, rows.InvoiceLineRow, rows.JournalEntryRow, rows.JournalLineRow, rows.FigureRow)
    )

    def row(table: Table, **fields: Any) -> dict[str, Any]:
        return {**fillers[table], **fields}

    fillers = {table: filler(table) for table in (invoice, line, entry, booked, figure)}
    for start in range(0, invoices, PART):
        numbers = range(start, min(start + PART, invoices))
        span = {"billing_period_start": SPAN.start, "billing_period_end": SPAN.end}
        sums = {"subtotal_minor": LINES * line_minor, "tax_minor": LINES * tax_minor, "total_minor": total}
        yield (
            invoice,
            [
                row(invoice, id=f"INV-{n:08}", account_id=f"A-{n:08}", currency="USD", status="final", **span, **sums)
                for n in numbers
            ],
        )
        yield (
            line,
            [
                row(
                    line,
                    id=f"INV-{n:08}-{i}",
                    parent_id=f"INV-{n:08}",
                    rated_line_id=f"R-{n:08}-{i}",
                    amount_minor=line_minor,
                    tax_minor=tax_minor,
                    tax_code="T",
                    sequence=i,
                )
                for n in numbers
                for i in range(LINES)
            ],
        )
        yield entry, [row(entry, id=f"JE-{n:08}", via="journal", event="invoice", currency="USD") for n in numbers]
        yield (
            booked,
            [
                row(
                    booked,
                    id=f"JE-{n:08}-{i}",
                    parent_id=f"JE-{n:08}",
                    ledger_account="1190" if i == 0 else "4010",
                    debit_minor=total if i == 0 else None,
                    credit_minor=None if i == 0 else total // LINES,
                    sequence=i,
                )
                for n in numbers
                for i in range(LINES + 1)
            ],
        )
        for resource_, prefix, amount, beside, state in (
            ("invoice", "INV", total, None, "Open"),
            ("journal_entry", "JE", total, None, ""),
            ("tax_document", "INV", LINES * tax_minor, LINES * line_minor, "Committed"),
        ):
            yield (
                figure,
                [
                    row(
                        figure,
                        system="erp",
                        resource=resource_,
                        vendor_id=f"{n}",
                        seen_from=NOON,
                        key=f"{prefix}-{n:08}",
                        currency="USD",
                        amount_minor=amount - (n < CHANGED),
                        beside_minor=beside,
                        state=state,
                        parts="[]",
                        first=True,
                    )
                    for n in numbers
                ],
            )


#: Ties as the tie-out makes them: ours, the resource there, the final state.
TIES = {
    "invoices = ERP invoices": (sides.invoices(SPAN), "invoice", ""),
    "journals = ERP journals": (sides.journals(), "journal_entry", ""),
    "invoice tax = tax committed": (sides.taxes(SPAN, ["T"]), "tax_document", "committed"),
}


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.process_time()
    found = work()
    return time.process_time() - started, found


def floor(connection: Any) -> None:
    """The bare sums over the rows of both sides."""
    invoice, line, booked, figure = map(
        table_of, (rows.InvoiceRow, rows.InvoiceLineRow, rows.JournalLineRow, rows.FigureRow)
    )
    for query in (
        select(func.count(), func.sum(invoice.c.total_minor)),
        select(func.count(), func.sum(line.c.amount_minor), func.sum(line.c.tax_minor)),
        select(func.count(), func.sum(booked.c.debit_minor), func.sum(booked.c.credit_minor)),
        *(
            select(func.count(), func.sum(figure.c.amount_minor)).where(figures.of("erp", name))
            for name in ("invoice", "journal_entry", "tax_document")
        ),
    ):
        connection.execute(query).all()


def tie(database: Database) -> int:
    """The ties, with everything loaded that differs; gives how many records do."""
    differing = 0
    with database.reading() as work:
        for ours, resource_, final in TIES.values():
            theirs = figures.side("erp", resource_)
            found = work.sides.compare(ours, theirs, sides.KNOWN[resource_], final)
            differing += len(found.differing)
            work.figures.under("erp", resource_, list(found.differing))
    return differing


def brought_up_to_date(database: Database, since: datetime | None) -> int:
    """The ties by what changed since an instant (None: all is compared and kept); gives how many records differ."""
    differing = 0
    with database.work() as work:
        for name, (ours, resource_, final) in TIES.items():
            place = sides.Place("erp", name, "2026-10")
            keys = None
            if since is not None:
                changed = work.figures.changed("erp", resource_, since) | work.outbox.intended(resource_, since)
                keys = sorted(changed.union(work.sides.differing(place)))
            work.sides.keep(place, ours, figures.side("erp", resource_), sides.KNOWN[resource_], final, keys)
            found = work.sides.kept(place)
            differing += len(found.differing)
            work.figures.under("erp", resource_, list(found.differing))
    return differing


def edit(database: Database) -> None:
    """A hundred more documents of each kind are changed at the ERP."""
    with database.work() as work:
        for _, resource_, _ in TIES.values():
            seen = work.figures.under(
                "erp", resource_, [f"{PREFIX[resource_]}-{n:08}" for n in range(CHANGED, 2 * CHANGED)]
            )
            amended = [one.figure.model_copy(update={"amount": Money(1, "USD")}) for (one,) in seen.values()]
            work.figures.keep("erp", resource_, [Seen(one) for one in amended], NOON + HOUR)


def main() -> None:
    lines = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder, 'ties.db')}"
        database = Database(url)
        database.migrate()
        engine = create_engine(url)
        with engine.connect() as connection:
            for (name,) in connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").all():
                connection.exec_driver_sql(f"DROP TRIGGER {name}")
            for table, values in month(lines):
                connection.execute(insert(table), values)
            connection.commit()
            connection.exec_driver_sql("ANALYZE")
            floor(connection)
            bare, _ = timed(lambda: floor(connection))
        tie(database)
        seconds, differing = timed(lambda: tie(database))
        kept, _ = timed(lambda: brought_up_to_date(database, None))
        nothing, same = timed(lambda: brought_up_to_date(database, NOON + HOUR))
        edit(database)
        some, more = timed(lambda: brought_up_to_date(database, NOON + HOUR))
        database.close()
        engine.dispose()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{lines:,} invoice lines, {lines // LINES:,} invoices, journals and tax documents on both sides")
    print(f"bare sums   {bare:8.2f} cpu s")
    print(f"three ties  {seconds:8.2f} cpu s   {differing} records differ   {memory:,} MB")
    print(f"ratio       {seconds / bare:8.1f}")
    print(f"kept        {kept:8.2f} cpu s")
    print(f"  the same  {nothing:8.2f} cpu s   {same} records differ")
    print(f"  edited    {some:8.2f} cpu s   {more} records differ")


if __name__ == "__main__":
    main()
