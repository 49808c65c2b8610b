"""A call or session priced second by second: tariff windows of the week, rate groups, whole increments.

Each increment is priced by the window and the group in which it starts, and counted whole. The connect fee is that of
the first window. Times are on the local clock of ``start``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from core.errors import Rejected
from core.exact import NOTHING, round_to
from core.money import Rounding
from core.rational import Fraction


@dataclass(frozen=True, slots=True)
class Group:
    """From ``from_second`` of the session on: ``rate`` per ``per`` seconds, in increments of ``increment`` seconds."""

    from_second: Fraction
    rate: Fraction
    per: Fraction
    increment: Fraction


@dataclass(frozen=True, slots=True)
class Window:
    """Days (1 Monday to 7 Sunday; empty: all) and minutes of the day, from inclusive to exclusive."""

    groups: tuple[Group, ...]
    connect_fee: Fraction = NOTHING
    weekdays: tuple[int, ...] = ()
    from_minute: int = 0
    to_minute: int = 24 * 60

    def holds(self, at: datetime) -> bool:
        minute = at.hour * 60 + at.minute
        return (not self.weekdays or at.isoweekday() in self.weekdays) and self.from_minute <= minute < self.to_minute


@dataclass(frozen=True, slots=True)
class Tariff:
    """``increment_places``: the cost of one increment is rounded half up to so many decimals (None: exact)."""

    windows: tuple[Window, ...]
    increment_places: int | None = None
    max_cost: Fraction | None = None


class Stage(StrEnum):
    """Whether the connect fee is due."""

    OPENED = "opened"
    CONTINUED = "continued"


@dataclass(frozen=True, slots=True)
class Session:
    """``cost`` in major units, not rounded; ``seconds`` billed, in whole increments."""

    cost: Fraction
    seconds: Fraction


def rate_session(tariff: Tariff, start: datetime, seconds: Fraction, stage: Stage = Stage.OPENED) -> Session:
    """The price of a session of ``seconds``. Rejected when no window or group covers one of them."""
    at = NOTHING
    cost = _window(tariff.windows, start).connect_fee if stage is Stage.OPENED else NOTHING
    while at < seconds:
        group = _group(_window(tariff.windows, start + timedelta(microseconds=int(at * 10**6))), at)
        price = group.rate * group.increment / group.per
        cost += price if tariff.increment_places is None else round_to(price, tariff.increment_places)
        at += group.increment
    return Session(cost if tariff.max_cost is None else min(cost, tariff.max_cost), at)


def whole_increments(seconds: Fraction, increment: Fraction) -> Fraction:
    """A duration rounded up to whole increments."""
    return round_to(seconds / increment, 0, Rounding.CEIL) * increment


def _window(windows: Sequence[Window], at: datetime) -> Window:
    for window in windows:
        if window.holds(at):
            return window
    raise Rejected(f"no tariff window holds {at.isoformat()}", record="tariff", field="windows", value=at.isoformat())


def _group(window: Window, second: Fraction) -> Group:
    reached = [group for group in window.groups if group.from_second <= second]
    if not reached:
        raise Rejected(f"no rate group covers second {second}", record="tariff", field="groups", value=str(second))
    return max(reached, key=lambda group: group.from_second)
