"""The stored jobs that run at other systems: one row each, until it is known to be over."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, select

from core.store import rows
from core.store.border import StoredTable, table_of

JOB = table_of(rows.VendorJobRow)


class VendorJobs(StoredTable):
    def add(self, system: str, resource: str, job: str, begun_at: datetime) -> None:
        self._insert_new(JOB, {"system": system, "resource": resource, "job": job, "begun_at": begun_at})

    def of(self, system: str, resource: str) -> list[str]:
        """The jobs with records of a resource, in the order of their beginning."""
        query = select(JOB.c.job).where(JOB.c.system == system, JOB.c.resource == resource)
        return list(self._connection.execute(query.order_by(JOB.c.begun_at, JOB.c.job)).scalars())

    def drop(self, system: str, resource: str, job: str) -> None:
        same = JOB.c.system == system, JOB.c.resource == resource, JOB.c.job == job
        self._connection.execute(delete(JOB).where(*same))
