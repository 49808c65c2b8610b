"""Jobs that run at other systems, kept in the database: whoever goes on after a crash waits for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.ports import Clock
from core.store import Database


@dataclass(frozen=True, slots=True)
class KeptJobs:
    """The database is asked for when it is first needed."""

    database: Callable[[], Database]
    clock: Clock

    def begun(self, system: str, resource: str, job: str, /) -> None:
        with self.database().work() as work:
            work.jobs.add(system, resource, job, self.clock())

    def running(self, system: str, resource: str, /) -> Sequence[str]:
        with self.database().reading() as work:
            return work.jobs.of(system, resource)

    def over(self, system: str, resource: str, job: str, /) -> None:
        with self.database().work() as work:
            work.jobs.drop(system, resource, job)
