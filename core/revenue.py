"""Recognition: what was invoiced ahead is earned over its service period, by day."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dateutil.relativedelta import relativedelta

from core.invoicing import CreditNoteLine, InvoiceLine
from core.money import Money, allocate
from core.noun import CurrencyCode, Id, Noun
from core.period import DateSpan
from core.ties import schedule_equals_deferred


class RecognitionPart(Noun):
    """What is earned of one deferred invoice line in one calendar month (``"2026-10"``)."""

    id: Id
    invoice_line_id: Id
    month: str
    currency: CurrencyCode
    amount: Money
    revenue_account: str
    account_id: Id


def straight_line(line: InvoiceLine, account_id: str) -> tuple[RecognitionPart, ...]:
    """The schedule of a deferred line: its amount over the months it serves, in proportion to the days of service.

    Minor units that do not divide go by largest remainder, so the parts sum to the amount exactly.
    """
    months: list[DateSpan] = []
    start = line.service_period.start
    while start < line.service_period.end:
        end = min(start.replace(day=1) + relativedelta(months=1), line.service_period.end)
        months.append(DateSpan(start, end))
        start = end
    amounts = allocate(line.amount, [month.days for month in months])
    schedule_equals_deferred(line.id, line.amount, amounts)
    return tuple(
        RecognitionPart(
            id=f"{line.id}@{month.start:%Y-%m}",
            invoice_line_id=line.id,
            month=f"{month.start:%Y-%m}",
            currency=line.amount.currency,
            amount=amount,
            revenue_account=line.revenue_account,
            account_id=account_id,
        )
        for month, amount in zip(months, amounts, strict=True)
    )


def unearned(parts: Iterable[RecognitionPart]) -> dict[str, Money]:
    """By invoice line, what these parts are still to earn."""
    sums: dict[str, Money] = {}
    for part in parts:
        sums[part.invoice_line_id] = sums.get(part.invoice_line_id, Money.zero(part.currency)) + part.amount
    return sums


def reduction(line: CreditNoteLine, parts: Sequence[RecognitionPart]) -> tuple[RecognitionPart, ...]:
    """The parts that take the deferred amount of a credit out of the schedule, month by month in proportion.

    ``parts``: those of the invoice line that are not earned yet, earlier reductions among them. What they leave of a
    month never changes side.
    """
    if not line.deferred:
        return ()
    months: dict[str, Money] = {}
    for part in sorted(parts, key=lambda part: part.month):
        months[part.month] = months.get(part.month, Money.zero(part.currency)) + part.amount
    amounts = allocate(-line.deferred, [abs(left.minor) for left in months.values()])
    schedule_equals_deferred(line.id, -line.deferred, amounts)
    return tuple(
        RecognitionPart(
            id=f"{line.id}@{month}",
            invoice_line_id=line.invoice_line_id,
            month=month,
            currency=amount.currency,
            amount=amount,
            revenue_account=line.revenue_account,
            account_id=parts[0].account_id,
        )
        for month, amount in zip(months, amounts, strict=True)
        if amount
    )
