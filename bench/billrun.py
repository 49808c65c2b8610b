# ruff: noqa: S608 (nothing foreign gets into its SQL)
"""A bill run against its floor: ``uv run python bench/billrun.py [SUBSCRIPTIONS] [FOLDER]``, by default 100,000.

Each subscription has monitored endpoints and metered minutes. They are rated (checker on), drafted, given a tax
document and stored final with their lines, 500 accounts a transaction, in SQLite with full sync. The floor is a bare
bulk insert of the same rows into a database of the same schema, in the same transactions.
"""

from __future__ import annotations

import resource
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from time import perf_counter, process_time

from core.accounts import Account, Address, Site
from core.catalog import PriceBook, load_price_book
from core.invoicing import Invoice, draft, finalise
from core.money import Money
from core.period import DateSpan
from core.rating import MeteredQuantity, rate
from core.store import Database
from core.subscriptions import Subscription, SubscriptionCharge
from core.tax import TaxDocument, TaxLine, TaxStatus

MONTH = DateSpan.month("2026-10")
BATCH = 500
HOME = Address(line1="1 Main St", city="Denver", region="CO", postal_code="80202", country="US")
DEMO_BOOK = Path(__file__).resolve().parent.parent / "app" / "demo" / "northwind.yaml"


def _customer(number: int) -> tuple[Account, Subscription, list[MeteredQuantity]]:
    ident = f"A-{number:06d}"
    site = f"{ident}-S1"
    charges = tuple(
        SubscriptionCharge(
            id=f"SC-{number}-{code}",
            order_line_id=f"{number}-{code}",
            charge_code=code,
            product_code=product,
            site_id=site,
            quantity=Decimal(1 + number % 40),
            starts_on=date(2026, 1, 1),
            contract_value=Money.zero("USD"),
        )
        for code, product in (("VC-ENDPOINT", "VC-MONITOR"), ("VC-MIN", "VC-CONF"))
    )
    account = Account(
        id=ident,
        name=ident,
        email="ap@example.com",
        currency="USD",
        billing_address=HOME,
        sites=(Site(id=site, name="Denver", address=HOME),),
    )
    standing = Subscription(
        id=f"SUB-{number}",
        account_id=ident,
        order_id=f"O-{number}",
        currency="USD",
        timezone="UTC",
        starts_on=date(2026, 1, 1),
        charges=charges,
    )
    minutes = Decimal(number * 7919 % 40_000_000) / 1000
    used = MeteredQuantity(
        account_id=ident, site_id=site, meter="conference_minutes", dimensions={}, quantity=minutes, events=100
    )
    return account, standing, [used]


def _taxed(invoice: Invoice) -> Invoice:
    """The invoice with a tax document of nothing, as an exempt customer gets it."""
    none = Money.zero(invoice.currency)
    lines = tuple(
        TaxLine(
            id=f"{line.id}-1",
            invoice_line_id=line.id,
            jurisdiction="COLORADO",
            jurisdiction_type="State",
            region="CO",
            country="US",
            tax_name="Sales tax",
            rate=Decimal(0),
            taxable=none,
            tax=none,
        )
        for line in invoice.lines
    )
    document = TaxDocument(
        id=invoice.id,
        invoice_id=invoice.id,
        vendor_id=invoice.id,
        status=TaxStatus.COMMITTED,
        currency=invoice.currency,
        document_date=invoice.invoice_date,
        base=invoice.subtotal,
        tax=none,
        lines=lines,
    )
    return finalise(invoice, document)


def _invoices(book: PriceBook, numbers: range) -> Iterator[Invoice]:
    for number in numbers:
        account, standing, metered = _customer(number)
        invoice = draft(account, rate(book, account, [standing], MONTH, metered), book, MONTH, MONTH.last_day)
        if invoice is not None:
            yield _taxed(invoice)


def bill(folder: Path, subscriptions: int) -> int:
    book, database = load_price_book(DEMO_BOOK), Database(f"sqlite:///{folder / 'bills.db'}")
    database.migrate()
    stored = 0
    for first in range(0, subscriptions, BATCH):
        with database.work() as work:
            stored += len(work.add(_invoices(book, range(first, min(first + BATCH, subscriptions)))))
    database.close()
    return stored


def floor(folder: Path) -> float:
    """CPU seconds to insert the rows of the bill run bare into the same schema."""
    source, target = sqlite3.connect(folder / "bills.db"), sqlite3.connect(folder / "floor.db")
    target.execute("pragma journal_mode = wal")
    target.execute("pragma synchronous = full")
    schema = "select name, sql from sqlite_master where tbl_name like 'invoice%' and sql is not null order by type desc"
    for _, sql in source.execute(schema):
        target.execute(sql)
    tables = [name for name, sql in source.execute(schema) if sql.startswith("CREATE TABLE")]
    rows = {name: source.execute(f'select * from "{name}"').fetchall() for name in tables}
    started = process_time()
    for name, found in rows.items():
        for first in range(0, len(found), BATCH):
            marks = ", ".join("?" * len(found[0]))
            with target:
                target.executemany(f'insert into "{name}" values ({marks})', found[first : first + BATCH])
    spent = process_time() - started
    print(f"floor: {', '.join(f'{len(found):,} {name}' for name, found in rows.items())}, cpu {spent:.1f} s")
    return spent


def main(subscriptions: int, folder: Path) -> None:
    wall, cpu = perf_counter(), process_time()
    invoices = bill(folder, subscriptions)
    wall, cpu = perf_counter() - wall, process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    least = floor(folder)
    print(
        f"bill run: {invoices:,} invoices, cpu {cpu:.1f} s, wall {wall:.1f} s, peak {peak} MB, "
        f"{invoices / cpu:,.0f} invoices a cpu second, ratio {cpu / least:.1f}"
    )


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    if len(sys.argv) > 2:
        main(count, Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(count, Path(temporary))
