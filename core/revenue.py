"""Recognition: what was invoiced ahead is earned over its service period, by day."""

from __future__ import annotations

from dateutil.relativedelta import relativedelta

from core.invoicing import InvoiceLine
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
