"""Rate: metered usage and what falls due become rated lines, each with its derivation."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from core.accounts import Account
from core.errors import TieoutError
from core.money import total
from core.period import DateSpan
from core.rating import MeteredQuantity, RatedLine
from core.rating import rate as rate_account
from core.subscriptions import Subscription
from flows import desk
from flows.bill import invoiced_accounts
from flows.context import Hub, hub
from flows.measure import contracts, measure
from flows.report import Report, amounts, conclude, counted, dollars, progress, sum_by_currency


def rate_period(hub: Hub, period: str) -> Report:
    """Rates every account for a billing month (``"2026-10"``), each in its own zone.

    An account whose month stands on an invoice or was carried is left alone; one that fails goes to the error desk.
    """
    billing = DateSpan.month(period)
    with hub.database.reading() as work:
        accounts = work.find(Account)
        subscriptions = contracts(work, accounts)
        invoiced = invoiced_accounts(work, billing)
    open_accounts = [account for account in accounts if account.id not in invoiced]
    metered = measure(hub, billing, open_accounts, subscriptions, dict.fromkeys(subscriptions))
    report = Report("", counts={"accounts": 0, "lines": 0, "already_invoiced": len(invoiced)})
    with progress("Rate accounts", len(open_accounts)) as tell:
        for position, account in enumerate(open_accounts, 1):
            _rate(hub, account, subscriptions[account.id], billing, metered.get(account.id, []), report)
            tell(position)
    report.money = sum_by_currency(report.money)
    report.headline = f"{counted(report.counts['accounts'], 'account')}, {counted(report.counts['lines'], 'line')}"
    if report.money:
        report.headline += f", {amounts(report.money)}"
    return report


def _rate(
    hub: Hub,
    account: Account,
    subscriptions: list[Subscription],
    billing: DateSpan,
    metered: list[MeteredQuantity],
    report: Report,
) -> None:
    period = f"{billing.start:%Y-%m}"
    ident = f"record:rating:{account.id}:{period}"
    try:
        lines = rate_account(hub.price_book, account, subscriptions, billing, metered)
        with hub.database.work() as work:
            work.rerate(account.id, period, lines)
            work.desk.resolve(ident)
    except TieoutError as error:
        failure = desk.entry(error, ident, "hub", "rating", account.id, hub.now())
        report.failures.append(failure)
        with hub.database.work() as work:
            work.desk.report(failure)
        return
    if not lines:
        return
    amount = total((line.amount for line in lines), hub.price_book.currency)
    report.counts["accounts"] += 1
    report.counts["lines"] += len(lines)
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
