"""Prepare the ERP: the chart of accounts and the items that invoices and journals will name."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from core.catalog import PriceBook, Product
from core.ledger import LedgerAccount, LedgerAccountKind
from core.posting_rules import PostingRules
from core.sync import OutboxCommand
from flows.context import Hub, hub
from flows.outside_billing import tell_catalog
from flows.report import Report, conclude, counted


def tax_item(rules: PostingRules) -> Product:
    """The item under which an ERP invoice carries its tax."""
    return Product(code="TAX", name="Sales tax", tax_code="", revenue_account=rules.account("tax payable"))


def write_off_item(rules: PostingRules) -> Product:
    """The item of the credit memo that closes an invoice which is given up."""
    return Product(code="WRITE-OFF", name="Uncollectable", tax_code="", revenue_account=rules.account("bad debt"))


def chart(rules: PostingRules, book: PriceBook) -> list[LedgerAccount]:
    """The ledger accounts of the posting rules, and the revenue accounts of the price book."""
    products: dict[str, list[str]] = defaultdict(list)
    for product in book.products:
        products[product.revenue_account].append(product.name)
    revenue = [
        LedgerAccount(
            code=code, name=f"Revenue: {', '.join(names)}"[:60], kind=LedgerAccountKind.INCOME, role="revenue"
        )
        for code, names in sorted(products.items())
    ]
    known = {account.code for account in rules.chart}
    return [*rules.chart, *(account for account in revenue if account.code not in known)]


def prepare_erp(hub: Hub) -> Report:
    """Intends to bring the chart of accounts and the products to the ERP, where they are new or changed."""
    erp, now = hub.system("erp"), hub.now()
    accounts = chart(hub.posting, hub.price_book)
    items = [*hub.price_book.products, tax_item(hub.posting), write_off_item(hub.posting)]
    products = [OutboxCommand.of(erp, "product", "product", one, now) for one in items]
    told = [OutboxCommand.of(erp, "ledger_account", "ledger_account", one, now) for one in accounts]
    with hub.database.work() as work:
        fresh = work.outbox.enqueue([*told, *products, *tell_catalog(hub)])
    rows = [{"record": command.record, "our id": command.record_id} for command in fresh]
    return Report(f"{counted(len(fresh), 'record')} to bring", counts={"enqueued": len(fresh)}, rows=rows)


@flow(
    name="Prepare the ERP",
    description="Brings the chart of accounts and the items of the price book to the ERP, where new or changed.",
)
def prepare() -> State[Any]:
    return conclude("Prepare the ERP", prepare_erp(hub()))
