"""Usage as it arrives: events, what their source says it sent, what is served, and what became of every line.

An event is a fact and is never changed. Its identity is ``source`` + ``id``: the first one recorded wins, an exact
repeat is counted, another content under the same identity is rejected. A correction is an event of its own with a
negative quantity. Nothing received disappears: a line is accepted, an exact repeat, or rejected with its cause.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from core.errors import TieBroken
from core.noun import Id, Instant, Noun
from core.rational import Fraction
from core.ties import require, usage_is_accounted

#: Quantities are counted in millionths: six decimals and no more.
DECIMALS = 6
MICRO = 10**DECIMALS

#: Largest quantity of one event, either sign, inclusive; sums may be larger.
LARGEST = 10**12


def to_micro(quantity: Decimal) -> int:
    """Millionths of a quantity, exactly. ValueError for more than six decimals, or beyond ``LARGEST``."""
    if quantity.is_finite() and abs(quantity) <= LARGEST:
        micro: Fraction = Fraction(quantity) * MICRO
        if micro.denominator == 1:
            return micro.numerator
    raise ValueError(f"{quantity} is not a quantity of at most {DECIMALS} decimals, within ±{LARGEST}")


def from_micro(micro: int) -> Decimal:
    """The quantity of that many millionths, without trailing zeros (``3.5``, ``120``)."""
    whole, rest = divmod(abs(micro), MICRO)
    if not rest:
        return Decimal(whole if micro >= 0 else -whole)
    text = f"{whole}.{rest:06d}".rstrip("0")
    return Decimal(f"-{text}" if micro < 0 else text)


def _fits(quantity: Decimal) -> Decimal:
    to_micro(quantity)
    return quantity


#: At most six decimals, any sign.
UsageQuantity = Annotated[Decimal, AfterValidator(_fits)]


class UsageEvent(Noun):
    """One thing that was used. ``quantity`` in the unit of its meter; negative when it corrects earlier events.

    ``occurred_at`` decides the period it belongs to; ``recorded_at`` is when we accepted it.
    """

    source: Id
    id: Id
    account_id: Id
    site_id: Id | None = None
    meter: Id
    quantity: UsageQuantity
    occurred_at: Instant
    recorded_at: Instant
    dimensions: dict[str, str] = Field(default_factory=dict)


class ControlTotals(Noun):
    """A number of events and the sum of their quantities over all meters, as one side counts them.

    The source's own stand beside its file, in ``<file name>.control.json``:
    ``{"events": 1200, "quantity": "8123.50"}``. A quantity that is not readable counts as 0.
    """

    events: int
    quantity: Decimal

    def __add__(self, other: ControlTotals) -> ControlTotals:
        return ControlTotals(events=self.events + other.events, quantity=self.quantity + other.quantity)

    def __sub__(self, other: ControlTotals) -> ControlTotals:
        return ControlTotals(events=self.events - other.events, quantity=self.quantity - other.quantity)


NOTHING = ControlTotals(events=0, quantity=Decimal(0))


class Cause(StrEnum):
    """Why a line is rejected, in the order in which it is looked at; the first that applies is its cause."""

    MALFORMED = "malformed"  # not a line of its format, or a field missing, empty or not text
    BAD_QUANTITY = "bad_quantity"  # not a plain decimal, more than six decimals, or too large
    BAD_TIMESTAMP = "bad_timestamp"  # not ISO 8601 with an offset
    CONFLICT = "conflict"  # another content was recorded first under the same source and id
    UNKNOWN_ACCOUNT = "unknown_account"
    UNKNOWN_SITE = "unknown_site"
    UNKNOWN_METER = "unknown_meter"  # the site is known, but not served by this meter
    BEFORE_SERVICE = "before_service"
    AFTER_SERVICE = "after_service"  # at or after the end, or between two services


class RejectedLine(Noun):
    """One line on the error desk. ``line`` counts from 1, a CSV header included; in Parquet it is the row.

    ``value`` is the offending value as it was written, cut at 200 characters; ``id`` and ``account_id`` are empty
    where the line does not tell them.
    """

    source: Id
    file: str
    line: int
    cause: Cause
    id: str
    account_id: str
    value: str


class Rejection(Noun):
    """All lines of one file rejected for one cause, and the first few of them."""

    cause: Cause
    events: int
    quantity: Decimal
    samples: tuple[RejectedLine, ...]


class IngestReport(Noun):
    """What became of every line of one file, or of the rejected lines that were tried again.

    ``received = accepted + repeated + rejected`` holds from birth, for events and for quantities. ``digest`` is the
    SHA-256 of the file. A file taken in before is answered with all its lines repeated and nothing changed.
    """

    source: Id
    file: str
    digest: str
    recorded_at: Instant
    received: int
    accepted: int
    repeated: int
    rejected: int
    received_quantity: Decimal
    accepted_quantity: Decimal
    repeated_quantity: Decimal
    rejected_quantity: Decimal
    rejections: tuple[Rejection, ...] = ()
    control: ControlTotals | None = None

    @model_validator(mode="after")
    def _ties(self) -> Self:
        usage_is_accounted(self.source, self.received, self.accepted, self.repeated, self.rejected)
        require(
            "usage quantity received = accepted + repeated + rejected",
            self.file,
            self.received_quantity,
            self.accepted_quantity + self.repeated_quantity + self.rejected_quantity,
        )
        require("rejected = sum of its causes", self.file, self.rejected, sum(r.events for r in self.rejections))
        return self

    @property
    def control_difference(self) -> ControlTotals | None:
        """What the source says it sent less what was received; None when they agree, or the source says nothing."""
        if self.control is None:
            return None
        difference = self.control - ControlTotals(events=self.received, quantity=self.received_quantity)
        return difference if difference.events or difference.quantity else None


class Completeness(Noun):
    """One source, one UTC day of ``occurred_at`` (None: not readable): where everything received stands now.

    ``pending`` is accepted and in no rated period yet, or came too late for the one it belongs to.
    """

    source: Id
    day: date | None
    received: ControlTotals
    rated: ControlTotals
    pending: ControlTotals
    repeated: ControlTotals
    rejected: ControlTotals

    @model_validator(mode="after")
    def _ties(self) -> Self:
        require(
            "usage received = rated + pending + repeated + rejected",
            f"{self.source} {self.day or 'unknown day'}",
            self.received,
            self.rated + self.pending + self.repeated + self.rejected,
        )
        return self


class Service(Noun):
    """``meter`` is served to one site (None: to the account itself) from ``starts_at`` until before ``ends_at``."""

    account_id: Id
    site_id: Id | None = None
    meter: Id
    starts_at: Instant
    ends_at: Instant | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.ends_at is not None and self.ends_at <= self.starts_at:
            raise TieBroken(
                "a service ends after it starts", subject=self.account_id, left=self.starts_at, right=self.ends_at
            )
        return self


class ServiceIndex(Noun):
    """Everything that is served; an event that matches none of it is rejected.

    An event matches on account, site and meter exactly, and on one span that holds its instant. So a meter that an
    account shares over its sites is one Service per site, and one with no site when events may come without.
    """

    services: tuple[Service, ...] = ()
