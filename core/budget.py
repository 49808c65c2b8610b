"""The calls that one account at a vendor may still make: a bucket that fills by its rate, shared by all processes.

A call takes ``CALL`` out of the level. A refusal of the vendor leaves the bucket in debt for as long as it asked, and
makes the rate slower; without refusals it comes back to the ceiling within ``RECOVERY``. A fifth of the bucket is kept
for what is urgent, as a fifth of the vendor's own allowance of a day is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

#: One call, in the unit of levels and rates (a rate is that many a second).
CALL = 1000
#: How much of its rate a full bucket holds.
BURST = timedelta(seconds=10)
RECOVERY = timedelta(minutes=2)
#: The slowest rate: a call in twenty seconds.
SLOWEST = CALL // 20
#: The urgent part of a bucket and of a long allowance: one of so many.
URGENT_PART = 5
#: An allowance over a longer time than this is not used up by a burst, and is watched for its last part only.
SHORT = timedelta(minutes=10)
#: How long what is not urgent waits when the last part of a long allowance is reached, before it is looked at again.
THRIFT = timedelta(minutes=5)
LONGEST_DEBT = timedelta(hours=1)
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a vendor said is left: ``left`` of ``whole`` calls within ``window``."""

    left: int
    whole: int
    window: timedelta


@dataclass(frozen=True, slots=True)
class Bucket:
    """``rate``: thousandths of a call a second; ``level``: thousandths of a call that may be made, negative in debt;
    ``closed_until``: until then only what is urgent goes."""

    account: str
    rate: int
    level: int
    filled_at: datetime
    closed_until: datetime | None = None

    @classmethod
    def full(cls, account: str, ceiling: int, now: datetime) -> Bucket:
        return cls(account, ceiling, _capacity(ceiling), now)

    def filled(self, ceiling: int, now: datetime) -> Bucket:
        """As it is now. A clock that went back fills nothing; a debt is paid off at the rate at which it was made."""
        since = max(now - self.filled_at, timedelta(0))
        rate = self.rate if self.level < 0 else min(ceiling, self.rate + ceiling * since // RECOVERY)
        level = min(_capacity(rate), self.level + self.rate * since // _SECOND)
        return replace(self, rate=rate, level=level, filled_at=now if since else self.filled_at)

    def granted(self, calls: int, now: datetime, *, urgent: bool) -> tuple[Bucket, int]:
        """Up to so many calls, and the bucket without them."""
        if not urgent and self.closed_until is not None and now < self.closed_until:
            return self, 0
        free = self.level if urgent else self.level - _reserve(self.rate)
        number = max(0, min(calls, free // CALL))
        return replace(self, level=self.level - number * CALL), number

    def wait(self, now: datetime, *, urgent: bool) -> timedelta:
        """How long until one call may be granted."""
        lacking = CALL - self.level + (0 if urgent else _reserve(self.rate))
        until_filled = max(lacking, 0) * _SECOND / self.rate
        closed = self.closed_until - now if self.closed_until and not urgent else timedelta(0)
        return max(until_filled, closed)

    def refused(self, wait: timedelta) -> Bucket:
        """After the vendor refused a call. Refusals of calls that were under way together count once."""
        slower = self.rate if self.level < 0 else max(SLOWEST, self.rate * 7 // 10)
        debt = slower * min(wait, LONGEST_DEBT) // _SECOND
        return replace(self, rate=slower, level=min(self.level, -max(debt, 1)))

    def heard(self, allowance: Allowance, now: datetime) -> Bucket:
        """After the vendor said what is left."""
        if allowance.window <= SHORT:
            return replace(self, level=min(self.level, allowance.left * CALL))
        last_part = allowance.left * URGENT_PART <= allowance.whole
        return replace(self, closed_until=now + THRIFT if last_part else None)


def _capacity(rate: int) -> int:
    return max(rate * BURST // _SECOND, 2 * CALL)


def _reserve(rate: int) -> int:
    """What is kept for the urgent: never so much that nothing else could go."""
    return min(_capacity(rate) // URGENT_PART, _capacity(rate) - CALL)
