"""Rate: metered usage and what falls due become rated lines, each with its derivation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from core.accounts import Account
from core.errors import TieoutError
from core.fx import Rates
from core.money import total
from core.period import DateSpan
from core.rating import MeteredQuantity, RatedLine
from core.rating import rate as rate_account
from core.rating.sources import Held, balances, sources
from core.subscriptions import Subscription
from flows import desk
from flows.bill import invoiced_accounts
from flows.commitments import billed_before
from flows.context import Hub, hub
from flows.exchange import book_for
from flows.late import Late, late_usage, with_late
from flows.measure import contracts, measure
from flows.outside_billing import bills_outside, tell_usage
from flows.report import Report, amounts, conclude, counted, dollars, progress, sum_by_currency
from flows.units import held_units


def rate_period(hub: Hub, period: str) -> Report:
    """Rates every account for a month (``"2026-10"``), each in its own zone, with usage that came late of earlier ones.

    An account whose month stands on an invoice or was carried, or was taken into a later bill, is left alone; one that
    fails goes to the error desk. Where another system bills, it is told the month's usage instead.
    """
    billing = DateSpan.month(period)
    if bills_outside(hub):
        return tell_usage(hub, period)
    hub.keep_price_book()
    known = hub.usage.known_at()
    with hub.database.reading() as work:
        accounts = work.find(Account)
        subscriptions = contracts(work, accounts)
        rated = work.sums.rated_months()
        held = held_units(work, [account.id for account in accounts], period)
        rates = hub.rates(work)
        invoiced = invoiced_accounts(work, billing)
        later = sorted({month for months in rated.values() for month in months if month > period})
        billed_later = {month: invoiced_accounts(work, DateSpan.month(month)) for month in later}
    closed = invoiced | {ident for done in billed_later.values() for ident in done if period in rated.get(ident, ())}
    open_accounts = [account for account in accounts if account.id not in closed]
    known_at = dict.fromkeys(subscriptions, known)
    metered = measure(hub, hub.price_book, billing, open_accounts, subscriptions, known_at)
    late = late_usage(hub, period, open_accounts, subscriptions, known_at)
    report = Report("", counts={"accounts": 0, "lines": 0, "already_invoiced": len(closed), "corrections": 0})
    with progress("Rate accounts", len(open_accounts)) as tell:
        for position, account in enumerate(open_accounts, 1):
            usage = Usage(metered.get(account.id, []), late.get(account.id, []), known, held.get(account.id, ()), rates)
            outdated = [month for month in later if account.id not in billed_later[month]]
            _rate(hub, account, subscriptions[account.id], billing, usage, outdated, report)
            tell(position)
    report.money = sum_by_currency(report.money)
    report.headline = f"{counted(report.counts['accounts'], 'account')}, {counted(report.counts['lines'], 'line')}"
    if report.money:
        report.headline += f", {amounts(report.money)}"
    return report


@dataclass(frozen=True)
class Usage:
    """What one account used in the month, what came late of earlier ones, and what was known; the units it held."""

    metered: list[MeteredQuantity]
    late: list[Late]
    known_at: datetime
    held: tuple[Held, ...]
    rates: Rates


def _rate(
    hub: Hub,
    account: Account,
    subscriptions: list[Subscription],
    billing: DateSpan,
    usage: Usage,
    outdated: list[str],
    report: Report,
) -> None:
    period = f"{billing.start:%Y-%m}"
    ident = f"record:rating:{account.id}:{period}"
    try:
        metered = with_late(hub.price_book, usage.metered, usage.late, subscriptions, billing)
        book = book_for(usage.rates, hub.price_book, account, billing.last_day)
        billed = billed_before(hub.database, book, subscriptions, billing)
        lines = rate_account(book, account, subscriptions, billing, metered, held=usage.held, billed=billed)
        found = sources(book, account, subscriptions, billing, metered, usage.held)
        units = list(balances(account.id, found, lines, period))
        corrections = [line for one in usage.late for line in one.corrected(account, subscriptions, period)]
        lines = tuple(line.model_copy(update={"known_at": usage.known_at}) for line in (*lines, *corrections))
        with hub.database.work() as work:
            kept = work.rerate(account.id, period, lines, outdated, units)
            work.desk.resolve(ident)
    except TieoutError as error:
        failure = desk.entry(error, ident, "hub", "rating", account.id, hub.now())
        report.failures.append(failure)
        with hub.database.work() as work:
            work.desk.report(failure)
        return
    if not lines or not kept:
        return
    amount = total((line.amount for line in lines), account.currency)
    report.counts["accounts"] += 1
    report.counts["lines"] += len(lines)
    report.counts["corrections"] += len(corrections)
    report.money.append(amount)
    report.rows.append(
        {
            "account": f"{account.id} {account.name}",
            "lines": str(len(lines)),
            "usage events": f"{_events(lines):,}",
            "amount": dollars(amount),
        }
    )


def _events(lines: tuple[RatedLine, ...]) -> int:
    return sum(line.derivation.events for line in lines)


@flow(
    name="Rate the period",
    flow_run_name="rate {period}",
    description="Meters the usage of a month and prices everything that falls due. Every line keeps its derivation; "
    "`tieout explain <line>` shows it.",
)
def rate(period: str) -> State[Any]:
    return conclude(f"rate {period}", rate_period(hub(), period))
