"""The stored rate budgets: one row per account at a vendor, changed by one process at a time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from sqlalchemy import select

from core.budget import Bucket
from core.store import rows
from core.store.border import StoredTable, table_of

T = TypeVar("T")

BUDGET = table_of(rows.BudgetRow)


class Budgets(StoredTable):
    def change(
        self, account: str, ceiling: int, now: datetime, step: Callable[[Bucket], tuple[Bucket, T]]
    ) -> tuple[Bucket, T]:
        """Fills the bucket of an account (a full one when it is new), changes it by ``step``, and keeps it."""
        self._insert_new(BUDGET, _row(Bucket.full(account, ceiling, now)))
        stored = select(BUDGET).where(BUDGET.c.account == account).with_for_update()
        bucket = Bucket(**self._connection.execute(stored).mappings().one())
        changed, result = step(bucket.filled(ceiling, now))
        self._replace(BUDGET, _row(changed))
        return changed, result

    def all(self) -> list[Bucket]:
        query = select(BUDGET).order_by(BUDGET.c.account)
        return [Bucket(**row) for row in self._connection.execute(query).mappings()]


def _row(bucket: Bucket) -> dict[str, object]:
    return {name: getattr(bucket, name) for name in Bucket.__dataclass_fields__}
