"""Prepare the ERP: the chart of accounts and the items that invoices and journals will name."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from core.catalog import PriceBook, Product
from core.ledger import LedgerAccount, LedgerAccountKind
from core.posting import CHART, TAX_PAYABLE
from core.sync import OutboxCommand
from flows.context import Hub, hub
from flows.report import Report, conclude, counted

#: The item under which an ERP invoice carries its tax.
TAX_ITEM = Product(code="TAX", name="Sales tax", tax_code="", revenue_account=TAX_PAYABLE)


def chart(book: PriceBook) -> list[LedgerAccount]:
    """The ledger accounts of the posting rules, and the revenue accounts of the price book."""
    products: dict[str, list[str]] = defaultdict(list)
    for product in book.products:
        products[product.revenue_account].append(product.name)
    revenue = [
        LedgerAccount(code=code, name=f"Revenue: {', '.join(names)}"[:60], kind=LedgerAccountKind.INCOME)
        for code, names in sorted(products.items())
    ]
    return [*CHART, *revenue]


def prepare_erp(hub: Hub) -> Report:
    """Intends to bring the chart of accounts and the products to the ERP, where they are new or changed."""
    erp, now = hub.system("erp"), hub.now()
    accounts = [OutboxCommand.of(erp, "ledger_account", "ledger_account", one, now) for one in chart(hub.price_book)]
    items = [*hub.price_book.products, TAX_ITEM]
    products = [OutboxCommand.of(erp, "product", "product", one, now) for one in items]
    with hub.database.work() as work:
        fresh = work.outbox.enqueue([*accounts, *products])
    rows = [{"record": command.record, "our id": command.record_id} for command in fresh]
    return Report(f"{counted(len(fresh), 'record')} to bring", counts={"enqueued": len(fresh)}, rows=rows)


@flow(
    name="Prepare the ERP",
    description="Brings the chart of accounts and the items of the price book to the ERP, where new or changed.",
)
def prepare() -> State[Any]:
    return conclude("Prepare the ERP", prepare_erp(hub()))
