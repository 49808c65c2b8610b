"""Gates of a close: what must be complete before a month is closed, told record by record with what cures it.

A gate is a function from a close to its obstacles; it changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from functools import cache

from core.accounts import Account
from core.close import Close, Gate, Obstacle
from core.errors import TieoutError
from core.invoicing import Invoice, InvoiceStatus
from core.metering import Cut
from core.money import total
from core.noun import Noun
from core.payments import Payment
from core.period import DateSpan
from core.ports import KeepsBooks
from core.rating import rate
from core.store import Work
from core.store.codec import chunks
from core.sync import CommandState, InboxState, OutboxCommand
from core.tax import TaxDocument
from core.ties import Break
from flows.bill import by_engine
from flows.context import Hub
from flows.exchange import book_for
from flows.measure import contracts, measure, zones
from flows.outside_billing import bills_outside, measured_usage
from flows.plan_delivery import noun_of
from flows.report import sum_by_currency
from flows.units import held_units

#: What a command may be while it does not hold a close up.
SETTLED = (CommandState.DONE, CommandState.CANCELLED)
#: Fields of a noun that tell the day it belongs to, the first that it has.
DAYS = (
    "posted_on",
    "invoice_date",
    "credit_date",
    "document_date",
    "refunded_on",
    "booked_on",
    "paid_on",
    "written_on",
)


def of_entity(hub: Hub, work: Work, close: Close) -> Callable[[str], bool]:
    """Whether what happens to a customer stands in the books of the entity that closes."""

    @cache
    def own(account_id: str) -> bool:
        return not hub.settings.entities or hub.books(work, account_id).entity.id == close.entity

    return own


def usage_reported(hub: Hub, close: Close) -> Iterator[Obstacle]:
    """Every source that reported in the month before reports in this one, and nothing of it was rejected."""
    span = DateSpan.month(close.period)
    before = DateSpan.month(f"{span.start - timedelta(days=1):%Y-%m}")
    with hub.database.reading() as work:
        zone_of = zones(work, work.find(Account))
        cuts = [Cut(account_id=ident, period=own.instants(span)) for ident, own in zone_of.items()]
    days = hub.usage.completeness(cuts)
    reported = {one.source for one in days if one.day and span.start <= one.day < span.end}
    expected = {one.source for one in days if one.day and before.start <= one.day < before.end}
    for source in sorted((expected | set(hub.settings.usage_sources)) - reported):
        yield Obstacle(
            gate=Gate.USAGE,
            record=source,
            what=f"the source sent no usage of {close.period}",
            cure="let the source send its file (`ingest-usage`), or state that it has none",
        )
    for source in sorted({one.source for one in days if one.rejected.events and _within(one.day, span)}):
        lines = sum(one.rejected.events for one in days if one.source == source and _within(one.day, span))
        yield Obstacle(
            gate=Gate.USAGE,
            record=f"{source}: rejected lines",
            what=f"{lines:,} lines of the month were rejected and are priced nowhere",
            cure="`tieout errors list --record usage`; correct them at the source, or state why they are not billed",
        )


def _within(day: date | None, span: DateSpan) -> bool:
    return day is None or span.start <= day < span.end


def usage_rated(hub: Hub, close: Close) -> Iterator[Obstacle]:
    """Every account to which something falls due in the month has it rated; what bills outside could be told of it."""
    if bills_outside(hub):
        for account, found in measured_usage(hub, close.period):
            if isinstance(found, TieoutError):
                yield Obstacle(gate=Gate.RATED, record=account.id, what=str(found), cure=found.cure)
        return
    span = DateSpan.month(close.period)
    with hub.database.reading() as work:
        rated = work.periods.rated_accounts(close.period)
        own = of_entity(hub, work, close)
        accounts = [one for one in work.find(Account) if one.id not in rated and own(one.id)]
        subscriptions, rates = contracts(work, accounts), hub.rates(work)
        held = held_units(work, list(subscriptions), close.period)
    known = dict.fromkeys(subscriptions, hub.usage.known_at())
    metered = measure(hub, hub.price_book, span, accounts, subscriptions, known)
    for account in accounts:
        try:
            book, used = book_for(rates, hub.price_book, account, span.last_day), metered.get(account.id, [])
            due = rate(book, account, subscriptions[account.id], span, used, held=held.get(account.id, ()))
        except TieoutError as error:
            yield Obstacle(gate=Gate.RATED, record=account.id, what=str(error), cure=error.cure)
            continue
        if due:
            yield Obstacle(
                gate=Gate.RATED,
                record=account.id,
                what=f"{len(due)} lines fall due in {close.period} and none is rated",
                cure=f"run `rate` and `bill` for {close.period}",
                money=total((line.amount for line in due), account.currency),
            )


def desk_is_quiet(hub: Hub, close: Close) -> Iterator[Obstacle]:
    """No more money than the threshold stands on the error desk; a failure without an amount counts always.

    Work with a day of its own, as evidence for a dispute, is none: what it is about is booked.
    """
    limit = hub.settings.close.desk_threshold
    with hub.database.reading() as work:
        entries = [one for one in work.desk.open() if one.due_at is None]
    at_risk = sum_by_currency(entry.money for entry in entries if entry.money)
    above = any(money.currency != close.currency or money.amount > limit for money in at_risk)
    for entry in entries:
        if above or entry.money is None:
            yield Obstacle(gate=Gate.DESK, record=entry.id, what=entry.message, cure=entry.cure, money=entry.money)


def invoices_taxed(hub: Hub, close: Close) -> Iterator[Obstacle]:
    """Every invoice of the month is taxed and final, and each tax engine has committed its part."""
    span = DateSpan.month(close.period)
    with hub.database.reading() as work:
        idents, own = work.periods.invoices_of(span), of_entity(hub, work, close)
        for part in chunks(idents):
            yield from _taxed(hub, work, [one for one in work.find(Invoice, id=list(part)) if own(one.account_id)])


def _taxed(hub: Hub, work: Work, invoices: Sequence[Invoice]) -> Iterator[Obstacle]:
    invoice_of = {one.id: one.invoice_id for one in work.find(TaxDocument, invoice_id=[it.id for it in invoices])}
    committed = {
        (engine, invoice_of[proof.record_id])
        for engine in hub.playing("tax")
        for proof in work.outbox.proofs(engine, "tax_commit", record_id=list(invoice_of))
    }
    for invoice in invoices:
        if invoice.status is not InvoiceStatus.FINAL:
            yield Obstacle(
                gate=Gate.TAX,
                record=invoice.id,
                what="is a draft: the tax engine has not answered",
                cure="run `deliver`, then `finalise`; `tieout errors list --record invoice` tells why it failed",
                money=invoice.subtotal,
            )
            continue
        for engine, part in by_engine(hub, invoice).items():
            if (engine, invoice.id) not in committed:
                yield Obstacle(
                    gate=Gate.TAX,
                    record=f"{invoice.id} at {engine}",
                    what=f"{engine} has not committed its tax",
                    cure="run `deliver`; `tieout errors list --record tax_document` tells why it failed",
                    money=part.tax,
                )


def payments_applied(hub: Hub, close: Close) -> Iterator[Obstacle]:
    """Everything that the gateway told is applied."""
    waiting = [InboxState.RECEIVED, InboxState.APPLYING, InboxState.PARKED, InboxState.REJECTED]
    gateway = hub.system("gateway")
    with hub.database.reading() as work:
        events = work.inbox.find(system=gateway, state=waiting)
    for event in events:
        if event.occurred_at < close.cut_off:
            yield Obstacle(
                gate=Gate.PAYMENTS,
                record=f"{event.resource} {event.vendor_id}",
                what=f"what {gateway} told of it is {event.state.value} and not applied",
                cure="run `intake`; `tieout errors list --system " + gateway + "` tells why it failed",
            )


def payments_settled(hub: Hub, close: Close) -> Iterator[Obstacle]:
    """Every payment that is booked in the month stands on our balance at the gateway."""
    zone = hub.settings.entity(close.entity).timezone
    with hub.database.reading() as work:
        idents = work.periods.unsettled(DateSpan.month(close.period), zone)
        own = of_entity(hub, work, close)
        payments = [one for one in work.find(Payment, id=idents) if own(one.account_id)]
    for payment in payments:
        yield Obstacle(
            gate=Gate.SETTLEMENTS,
            record=payment.id,
            what="was received, and the gateway has not booked it to our balance",
            cure="run `settle`; ask the gateway when the payment is older than its payout delay",
            money=payment.amount,
        )


def outbox_is_empty(hub: Hub, close: Close) -> Iterator[Obstacle]:
    """Every document of the month or of an earlier one is at its system."""
    last = DateSpan.month(close.period).last_day
    with hub.database.reading() as work:
        commands = work.outbox.in_state(*(state for state in CommandState if state not in SETTLED))
        own = of_entity(hub, work, close)
        waiting = [one for one in commands if _is_due(one, last, close.entity, own)]
    for command in waiting:
        yield Obstacle(
            gate=Gate.OUTBOX,
            record=f"{command.system}: {command.record} {command.record_id}",
            what=f"is {command.state.value}" + (f", waits for {command.waits_for}" if command.waits_for else ""),
            cure="run `deliver`; what is refused stands on the desk (`tieout errors list`)",
            money=command.money,
        )


def _is_due(command: OutboxCommand, last: date, entity: str, own: Callable[[str], bool]) -> bool:
    """Whether the record of a command belongs to a month of the entity, or to an earlier one; what tells neither day
    nor customer belongs to every one."""
    try:
        noun: Noun = noun_of(command)
    except TieoutError:
        return True
    day = next((day for name in DAYS if (day := getattr(noun, name, None)) is not None), date.min)
    if (books := getattr(noun, "entity", None)) is not None:
        return day <= last and bool(books == entity)
    account_id = getattr(noun, "account_id", None)
    return day <= last and (account_id is None or own(account_id))


def ties_close(breaks: Iterable[Break]) -> Iterator[Obstacle]:
    """Every system says the same of the month, or why it does not is explained."""
    for one in breaks:
        if one.explained is None:
            yield Obstacle(
                gate=Gate.TIES,
                record=one.id,
                what=f"{one.kind}: {one.left_name} has {one.left}, {one.right_name} has {one.right}; {one.cause}",
                cure=f"{one.cure}; {one.repair}" if one.repair else one.cure,
                money=one.difference,
            )


def books_are_open(hub: Hub, close: Close) -> Iterator[Obstacle]:
    """The month is over, and the general ledger takes postings for it, or the policy names another month."""
    last = DateSpan.month(close.period).last_day
    if hub.now() < close.cut_off:
        yield Obstacle(
            gate=Gate.BOOKS,
            record=close.period,
            what=f"the month ends at {close.cut_off:%F %H:%M} UTC",
            cure="close it after its end",
        )
    erp = hub.system("erp")
    connector = hub.connector(erp)
    parks = hub.settings.close.erp_period_closed == "park"
    if parks and isinstance(connector, KeepsBooks) and not connector.takes_postings(last):
        yield Obstacle(
            gate=Gate.BOOKS,
            record=f"{erp} {close.period}",
            what=f"{erp} takes no postings for {last}",
            cure=f'open the month at {erp}, or set close.erp_period_closed = "next" in tieout.toml',
        )


#: The gates that look at what we hold; the tie-out asks every system as well.
GATES: Mapping[Gate, Callable[[Hub, Close], Iterator[Obstacle]]] = {
    Gate.BOOKS: books_are_open,
    Gate.USAGE: usage_reported,
    Gate.RATED: usage_rated,
    Gate.TAX: invoices_taxed,
    Gate.PAYMENTS: payments_applied,
    Gate.SETTLEMENTS: payments_settled,
    Gate.OUTBOX: outbox_is_empty,
    Gate.DESK: desk_is_quiet,
}
