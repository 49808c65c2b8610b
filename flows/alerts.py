"""Alerts: what accounts should be told before their bill, and an error desk that grows, is raised once and told where
the configuration says.

Each alert is an event of Prefect (``tieout.alert``), for automations, and a message through the notification block that
``alerts_block`` names. What could not be sent stays untold, and is sent by the next run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from prefect import flow
from prefect.blocks.abstract import NotificationBlock, NotificationError
from prefect.blocks.core import Block
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.runtime import flow_run
from prefect.utilities.asyncutils import run_coro_as_sync

from core.accounts import Account
from core.catalog import counted as counted_by
from core.errors import Misconfigured, TieoutError, Unavailable
from core.period import DateSpan, local_date
from core.prices import Commitment
from core.rating import MeteredQuantity, RatedLine
from core.rating import rate as rate_account
from core.rating.alerts import HUB, Alert, alerts, commitment_alerts, credit_alerts, desk_alerts
from core.rating.sources import Held, sources
from core.rational import Fraction
from core.subscriptions import Subscription
from core.wallets import CreditGrant
from flows.context import Hub, hub
from flows.exchange import book_for
from flows.mail import SmtpMail
from flows.measure import contracts, measure
from flows.report import Report, amounts, conclude, counted
from flows.units import held_units

#: Blocks of our own that a configuration may name beside Prefect's: a block is loaded only when its type is known here.
BLOCKS = (SmtpMail,)

#: How one alert leaves us.
Send = Callable[[Alert], None]


def raise_alerts(hub: Hub, period: str) -> list[Alert]:
    """Finds what is to be told of a month as it stands now, and keeps each alert once; gives the new ones.

    Nothing of the rating is kept. An account that cannot be rated is passed over: the rate flow tells of it.
    """
    billing, now = DateSpan.month(period), hub.now()
    with hub.database.reading() as work:
        accounts, grants = work.find(Account), work.find(CreditGrant)
        subscriptions = contracts(work, accounts)
        held, standing = held_units(work, [one.id for one in accounts], period), work.desk.at_risk()
        earlier: dict[str, list[RatedLine]] = defaultdict(list)
        if any(isinstance(one.model, Commitment) for one in hub.price_book.charges):
            for line in work.find(RatedLine, account_id=list(subscriptions)):
                earlier[line.account_id].append(line)
    metered = measure(hub, hub.price_book, billing, accounts, subscriptions, dict.fromkeys(subscriptions))
    at_risk = amounts(money for _, money in standing if money)
    entries = sum(number for number, _ in standing)
    found = [*credit_alerts(grants), *desk_alerts(entries, at_risk, hub.settings.alerts_desk, now.date())]
    for account in accounts:
        own, used = subscriptions[account.id], metered.get(account.id, [])
        try:
            found += _of_account(hub, account, own, billing, used, held.get(account.id, ()), earlier[account.id])
        except TieoutError:
            continue
    raised = {one.id: one.model_copy(update={"raised_at": now}) for one in found}
    with hub.database.work() as work:
        known = {one.id for one in work.find(Alert, id=list(raised))}
        return work.add([one for ident, one in raised.items() if ident not in known])


def _of_account(
    hub: Hub,
    account: Account,
    subscriptions: list[Subscription],
    billing: DateSpan,
    metered: list[MeteredQuantity],
    held: tuple[Held, ...],
    earlier: list[RatedLine],
) -> Iterator[Alert]:
    with hub.database.reading() as work:
        book = book_for(hub.rates(work), hub.price_book, account, billing.last_day)
    lines = rate_account(book, account, subscriptions, billing, metered, held=held)
    sizes = {one.terms.id: one.units for one in sources(book, account, subscriptions, billing, metered, held)}
    yield from alerts(book, lines, sizes)
    today = min(local_date(hub.now(), account.timezone), billing.last_day)
    before = [one for one in earlier if one.service_period.start < billing.start]

    def met(commitment: Commitment, served: DateSpan) -> Fraction:
        codes = counted_by(commitment, "", book.charges)
        counts = (one for one in (*before, *lines) if one.charge_code in codes and one.service_period.overlap(served))
        return sum((Fraction(one.amount.amount) for one in counts), Fraction(0))

    for subscription in subscriptions:
        yield from commitment_alerts(book, subscription, today, met)


def tell_alerts(hub: Hub, send: Send) -> Report:
    """Sends what nobody was told yet, one by one; what fails stays untold and stops no other."""
    report = Report("")
    with hub.database.reading() as work:
        untold = work.find(Alert, told_at=None)
    failed = 0
    for alert in untold:
        try:
            send(alert)
        except TieoutError:
            failed += 1
            continue
        with hub.database.work() as work:
            work.put(alert.model_copy(update={"told_at": hub.now()}))
        report.rows.append({"account": alert.account_id, "alert": str(alert), "raised": f"{alert.raised_at:%F %T}"})
    report.counts = {"told": len(report.rows), "not_sent": failed}
    report.headline = f"{counted(len(report.rows), 'alert')} told" + (f", {failed} could not be sent" if failed else "")
    return report


def sender(hub: Hub) -> Send:
    """An event of Prefect for each alert, and a message where a block is configured. Misconfigured without it."""
    block: NotificationBlock | None = None
    if hub.settings.alerts_block is not None:
        loaded = Block.load(hub.settings.alerts_block)
        if not isinstance(loaded, NotificationBlock):
            raise Misconfigured(f"alerts_block names {hub.settings.alerts_block}, which sends no notifications")
        block = loaded

    def send(alert: Alert) -> None:
        of_hub = alert.account_id == HUB
        resource = {
            "prefect.resource.id": "tieout.desk" if of_hub else f"tieout.account.{alert.account_id}",
            "prefect.resource.name": "error desk" if of_hub else alert.account_id,
        }
        if flow_run.id:
            emit_event("tieout.alert", resource, payload={"id": alert.id, "text": str(alert)})
        if block is not None:
            try:
                with block.raise_on_failure():
                    sending: Any = block.notify(str(alert), "Error desk" if of_hub else f"Account {alert.account_id}")
                    if isinstance(sending, Coroutine):
                        run_coro_as_sync(sending)
            except NotificationError as error:
                raise Unavailable(f"the notification block refused an alert: {type(error).__name__}") from None

    return send


@flow(
    name="Raise alerts",
    flow_run_name="raise alerts {period}",
    description="Included units, credit and commitments at 50, 80 and 100 percent, and an error desk that grows: each "
    "is told once, as an event `tieout.alert` and through the notification block of the configuration.",
)
def raise_and_tell(period: str) -> State[Any]:
    raise_alerts(hub(), period)
    return conclude(f"alerts {period}", tell_alerts(hub(), sender(hub())))
