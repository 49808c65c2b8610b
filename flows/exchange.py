"""Exchange: price books in the currency of an account, and the loading of rates from a file."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from core.accounts import Account
from core.catalog import PriceBook
from core.currencies import in_currency, needs_rate
from core.fx import FxRate, Rates, RatesError, read_rates
from flows.context import Hub


def book_for(rates: Rates, book: PriceBook, account: Account, on: date) -> PriceBook:
    """The price book as it sells to an account in its currency, at the rate of a day where it converts.

    Rejected when it does not sell in that currency, or the rate is not known.
    """
    if account.currency == book.currency:
        return book
    rate = rates.exchange(book.currency, account.currency, on) if needs_rate(book, account.currency) else None
    return in_currency(book, account.currency, rate)


def load_rates(hub: Hub, path: Path, source: str) -> tuple[int, int]:
    """Keeps the rates of a file: how many are new, and how many were known.

    RatesError, and nothing is kept, when the file has mistakes, or says otherwise than a rate that was loaded.
    """
    told = read_rates(path, source, hub.now())
    with hub.database.work() as work:
        known = {one.id: one for one in work.find(FxRate, id=[one.id for one in told])}
        changed = [
            f"{path}: rate: {one.id} was loaded as {known[one.id].rate}; load a correction under another source"
            for one in told
            if one.id in known and known[one.id].rate != one.rate
        ]
        if changed:
            raise RatesError(changed)
        work.add([one for one in told if one.id not in known])
    return len(told) - len(known), len(known)
