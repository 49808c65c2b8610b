"""How what is sold becomes revenue: what an accountant declares in the price book, of a product or of one charge."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from core.noun import Noun
from core.prices import NotNegative


class Pattern(StrEnum):
    """When an obligation is satisfied."""

    STRAIGHT_LINE = "straight_line"  # evenly over the days that it serves
    POINT_IN_TIME = "point_in_time"  # at once: when it is invoiced, or on its day where nothing of it is invoiced
    AS_USED = "as_used"  # with the usage or the months that an invoice bills after them
    MILESTONE = "milestone"  # on the day that a person states (`tieout revenue milestone`)


class Convention(StrEnum):
    """What a month weighs in a straight line."""

    DAY = "day"  # its days of service
    MONTH = "month"  # every month that is touched the same
    PRORATA = "prorata"  # a full month 1, a partial one its days over the days of that month


class Amending(StrEnum):
    """How a changed contract goes on."""

    PROSPECTIVE = "prospective"  # what is left is earned over what is left
    CATCH_UP = "catch_up"  # as if the change had stood from the start: the difference to date at once
    SEPARATE = "separate"  # what is added is a contract of its own, and its price is allocated by itself


class Consideration(StrEnum):
    """When a fixed price counts as part of the price of its contract."""

    FIXED = "fixed"  # from the start
    CONSTRAINED = "constrained"  # from the day of its milestone: before, it may still be lost


class RevenuePolicy(Noun):
    """How a charge is earned, and what it is worth alone.

    ``pattern``: None is the usual one of the charge's kind and timing. ``standalone_price``: what one unit costs for a
    service period when it is sold alone; None: its list price. ``over_months``: what a one-time charge is earned over
    in a straight line; None: from its day to the end of the order's term.
    """

    pattern: Pattern | None = None
    convention: Convention = Convention.DAY
    standalone_price: NotNegative | None = None
    amendment: Amending = Amending.PROSPECTIVE
    over_months: Annotated[int, Field(ge=1, le=600)] | None = None
    consideration: Consideration = Consideration.FIXED

    @model_validator(mode="after")
    def _reached(self) -> Self:
        if self.consideration is Consideration.CONSTRAINED and self.pattern is not Pattern.MILESTONE:
            raise ValueError("what is constrained counts when its milestone is reached; its pattern is milestone")
        return self

    @property
    def deferred(self) -> bool:
        """Whether what is billed waits until it is earned."""
        return self.pattern in (Pattern.STRAIGHT_LINE, Pattern.MILESTONE)
