"""Recognition: what was invoiced ahead is earned as its policy declares, over its service period or at a milestone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from core.invoicing import CreditNoteLine, InvoiceLine
from core.money import Money, allocate, total
from core.noun import CurrencyCode, Id, Noun
from core.period import DateSpan
from core.rational import Fraction
from core.recognition import Method, weights
from core.revenue_policy import Convention, Pattern, RevenuePolicy
from core.ties import schedule_equals_deferred

#: What most is earned by.
BY_DAY = RevenuePolicy(pattern=Pattern.STRAIGHT_LINE)


class RecognitionPart(Noun):
    """What is earned of one deferred invoice line in one calendar month (``"2026-10"``)."""

    id: Id
    invoice_line_id: Id
    month: str
    currency: CurrencyCode
    amount: Money
    revenue_account: str
    account_id: Id


#: The month of what waits for its milestone.
WAITS = "9999-12"

_WEIGHED = {
    Convention.DAY: Method.DAYS,
    Convention.MONTH: Method.EQUAL_MONTHS,
    Convention.PRORATA: Method.PRORATA_TEMPORIS,
}


def spread(amount: Money, span: DateSpan, convention: Convention = Convention.DAY, since: str = "") -> dict[str, Money]:
    """An amount over the months of a span as the convention weighs them; months before ``since`` are earned in it.

    Minor units that do not divide go by largest remainder, so the months sum to the amount exactly.
    """
    months = weights(span.start, span.last_day, _WEIGHED[convention])
    earned: dict[str, Money] = {}
    for month, part in zip(months, allocate(amount, list(months.values())), strict=True):
        month = max(month, since)
        earned[month] = earned.get(month, Money.zero(amount.currency)) + part
    return earned


def weight(span: DateSpan, convention: Convention) -> Fraction:
    """What the months of a span weigh together."""
    return sum(weights(span.start, span.last_day, _WEIGHED[convention]).values(), Fraction(0))


def schedule(
    line: InvoiceLine,
    account_id: str,
    policy: RevenuePolicy = BY_DAY,
    *,
    amount: Money | None = None,
    span: DateSpan | None = None,
    months: Mapping[str, Money] | None = None,
) -> tuple[RecognitionPart, ...]:
    """When a deferred line is earned. Its parts sum to what was deferred.

    ``amount``: what of it is allocated to what it sells (None: all); ``span``: what it serves (None: its own service
    period); ``months``: when it is earned (None: evenly over what it serves). What waits for a milestone is of the
    month ``WAITS``.
    """
    amount = line.amount if amount is None else amount
    if policy.pattern is Pattern.MILESTONE:
        months = {WAITS: amount}
    elif months is None:
        months = spread(amount, span or line.service_period, policy.convention)
    schedule_equals_deferred(line.id, amount, months.values())
    return tuple(
        RecognitionPart(
            id=f"{line.id}@{month}",
            invoice_line_id=line.id,
            month=month,
            currency=part.currency,
            amount=part,
            revenue_account=line.revenue_account,
            account_id=account_id,
        )
        for month, part in months.items()
    )


def taken_back(months: Mapping[str, Money], parts: Iterable[RecognitionPart]) -> dict[str, Money]:
    """When a line that takes a bill back lowers what it earns: as ``months`` says, but that no cent is left in a month
    of which all is taken back; the first of the months has what that comes to.

    ``parts``: what the bill and its changes are still to earn.
    """
    open_: dict[str, list[Money]] = {}
    for part in parts:
        open_.setdefault(part.month, []).append(part.amount)
    first, *others = sorted(months)
    taken = dict(months)
    for month in others:
        left = total(open_.get(month, ()), taken[month].currency) + taken[month]
        if abs(left.minor) <= len(open_.get(month, ())):
            taken[month], taken[first] = taken[month] - left, taken[first] + left
    return taken


def straight_line(line: InvoiceLine, account_id: str) -> tuple[RecognitionPart, ...]:
    """The schedule of a deferred line by day over its service period."""
    return schedule(line, account_id)


def reached(parts: Sequence[RecognitionPart], month: str, milestone_id: str) -> tuple[RecognitionPart, ...]:
    """What a milestone that is reached moves from waiting into its month. ``parts``: those of invoice lines, all."""
    moved: list[RecognitionPart] = []
    for line_id, waiting in unearned(part for part in parts if part.month == WAITS).items():
        first = next(part for part in parts if part.invoice_line_id == line_id)
        for where, amount in ((WAITS, -waiting), (month, waiting)):
            ident = f"{milestone_id}:{line_id}@{where}"
            moved.append(first.model_copy(update={"id": ident, "month": where, "amount": amount}))
    return tuple(part for part in moved if part.amount)


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
