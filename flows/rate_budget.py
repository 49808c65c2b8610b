"""The rate budget of each account at a vendor, shared through the database by all processes that call it.

A process takes a slice of calls at a time, so that a call costs no transaction of its own; what it does not use within
``KEPT`` is gone, and the bucket fills again by itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from core.budget import CALL, Allowance, Bucket
from core.ports import BudgetSpent, Clock, Sleep, is_urgent
from core.store import Database

#: Most calls of an account in a second (thousandths); what vendors say and refuse makes them fewer.
CEILING = 100 * CALL
#: Most calls that a process takes at a time, and how long they are good.
SLICE = 25
KEPT = timedelta(seconds=2)
#: A longer wait goes back to the outbox.
LONGEST_WAIT = timedelta(seconds=30)
#: What a vendor says is left is kept so often, unless little is left.
HEARD_EVERY = timedelta(seconds=5)
LITTLE = 4


@dataclass
class _Account:
    """What this process holds of one account's calls."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    left: int = 0
    good_until: datetime | None = None
    heard_at: datetime | None = None


@dataclass
class SharedBudget:
    """The database is asked for when it is first needed."""

    database: Callable[[], Database]
    clock: Clock
    sleep: Sleep
    _accounts: dict[str, _Account] = field(default_factory=dict)

    def take(self, account: str, /) -> None:
        held = self._held(account)
        while (wait := self._try(account, held)) is not None:
            if wait > LONGEST_WAIT:
                raise BudgetSpent(
                    f"{account}: the budget of calls is spent; the next is due in {wait.total_seconds():.0f} s",
                    wait_seconds=wait.total_seconds(),
                )
            self.sleep(max(wait.total_seconds(), 0.01))

    def _try(self, account: str, held: _Account) -> timedelta | None:
        """Takes one call; how long to wait when there is none."""
        with held.lock:
            now = self.clock()
            if not (held.left and held.good_until and now < held.good_until):
                pressing = is_urgent()
                bucket, held.left = self._change(account, now, lambda it: it.granted(SLICE, now, urgent=pressing))
                held.good_until = now + KEPT
                if not held.left:
                    return bucket.wait(now, urgent=pressing)
            held.left -= 1
            return None

    def heard(self, account: str, left: int, whole: int, window: float, /) -> None:
        held, now = self._held(account), self.clock()
        allowance = Allowance(left, whole, timedelta(seconds=window))
        with held.lock:
            recent = held.heard_at is not None and now < held.heard_at + HEARD_EVERY
            if recent and left * LITTLE > whole:
                return
            held.heard_at = now
            self._change(account, now, lambda it: (it.heard(allowance, now), None))

    def refused(self, account: str, wait_seconds: float, /) -> None:
        held, now = self._held(account), self.clock()
        with held.lock:
            held.left = 0
            self._change(account, now, lambda it: (it.refused(timedelta(seconds=min(wait_seconds, 86_400))), None))

    def _held(self, account: str) -> _Account:
        return self._accounts.setdefault(account, _Account())

    def _change(
        self, account: str, now: datetime, step: Callable[[Bucket], tuple[Bucket, int | None]]
    ) -> tuple[Bucket, int]:
        with self.database().work() as work:
            bucket, granted = work.budgets.change(account, CEILING, now, step)
        return bucket, granted or 0
