"""What an order would be billed: the quote preview is the bill run's own function on the subscription to be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from core.catalog import PriceBook
from core.orders import Order, activate
from core.period import DateSpan
from core.rating.engine import rate
from core.rating.lines import RatedLine
from core.rating.measured import MeteredQuantity


def preview(
    order: Order,
    book: PriceBook,
    periods: Sequence[DateSpan],
    expected: Mapping[DateSpan, Sequence[MeteredQuantity]] | None = None,
) -> Iterator[tuple[DateSpan, tuple[RatedLine, ...]]]:
    """The lines of each billing period, as they will be billed if usage is what is ``expected``.

    Rejected where activation or rating would refuse the order.
    """
    subscription = activate(order, book)
    for period in periods:
        yield period, rate(book, order.account, [subscription], period, (expected or {}).get(period, ()))
