"""Revalue: what monetary accounts hold of other currencies is worth, at the rate of a month's last day."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from core.close import Close
from core.ledger import JournalEntry
from core.posting import revaluation_entries, rounding_entries
from core.store import Work
from core.subledgers import Booked, positions
from flows.context import Hub
from flows.post import first_free


def revaluations_due(hub: Hub, work: Work, close: Close, booked: Iterable[Booked]) -> list[JournalEntry]:
    """The unrealised gains and losses of the month that no revaluation has booked, with their reversal, and what
    conversions have left over. ``booked``: what the entity's books hold, with the other journals of the close."""
    books = hub.books_of(work, close.entity)
    held = positions(books.rules, booked, close.period, books.entity.currency)
    entries = first_free(work, partial(revaluation_entries, books, close.period, held))
    return [*entries, *rounding_entries(books, close.period, held)]
