"""Intake: apply what the systems told us. An event is only a hint; the record is read fresh at its system.

``catch_up`` asks each system's change API from a watermark, so that what no webhook delivered is found too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from core.accounts import Account, ZoneChange, zone_change
from core.amendments import Amendment
from core.audit import Act, Deed, id_digest
from core.currencies import in_currency
from core.errors import Misconfigured, Parked, Rejected, Retryable, TieoutError
from core.invoicing import Invoice
from core.money import Money
from core.orders import Order, OrderProgress, activate, amendments
from core.payments import Chargeback, Payment, PaymentStatus, Refund, Settlement
from core.ports import Change, Reading
from core.posting import payment_entries, realised_entries, settlement_entries
from core.store import Work
from core.store.codec import dump
from core.store.sides import CHARGED, RETURNED
from core.subscriptions import Subscription
from core.sync import DeskEntry, InboxEvent, InboxState, OutboxCommand, Watermark
from core.ties import applied_within_open, listed_are_held
from flows import desk
from flows.chargebacks import as_held, take_chargeback
from flows.context import Hub, hub
from flows.outside_billing import tell_contract
from flows.post import post
from flows.promise import promise
from flows.report import Report, amounts, conclude, counted, dollars, progress, sum_by_currency

BATCH = 200
LEASE = timedelta(minutes=5)

#: How the audit names who applies events, and what it calls the end of one.
WHO = "flow intake"
ACTS = {InboxState.APPLIED: Act.APPLIED, InboxState.STALE: Act.STALE, InboxState.REJECTED: Act.REJECTED}

#: The kind of an event that a poll made of a deletion.
DELETED = "poll deleted"
#: What is told of our own write that comes back.
ECHO: dict[str, str] = {"done": "unchanged"}

#: What an event may be about.
Told = Order | Payment | Chargeback

#: A handler applies the object of an event, and tells the row that an operator sees and what failed nevertheless.
Handler = Callable[[Hub, InboxEvent, Any], tuple[dict[str, str], DeskEntry | None]]


def apply_inbox(hub: Hub) -> Report:
    """Applies every stored event; a failing one goes to the error desk and the others go on."""
    report = Report("", counts={"applied": 0, "unchanged": 0, "postponed": 0})
    _ = hub.mappings, hub.price_book  # a broken one stops the run, and is not each record's fault
    with hub.database.work() as work:
        work.inbox.wake()
    postponed: list[InboxEvent] = []
    while events := _claim(hub):
        with progress("Apply events", len(events)) as tell:
            for position, event in enumerate(events, 1):
                if not _apply(hub, event, report):
                    postponed.append(event)
                if position % 20 == 0:
                    tell(position)
    if postponed:
        with hub.database.work() as work:
            for event in postponed:
                work.inbox.settle(event, InboxState.RECEIVED)
    report.counts["postponed"] = len(postponed)
    report.money = sum_by_currency(report.money)
    orders = sum(row["record"] == "order" for row in report.rows)
    payments = sum(row["record"] == "payment" for row in report.rows)
    told = [counted(number, noun) for number, noun in ((orders, "order"), (payments, "payment")) if number]
    report.headline = " and ".join(told) or "nothing new"
    if report.money:
        report.headline += f", {amounts(report.money)}"
    return report


def take_in(hub: Hub) -> Report:
    """Applies what was received, then what no webhook told."""
    report = apply_inbox(hub)
    found, away = catch_up(hub, report.checks)
    report.failures += away
    if found:
        missed = apply_inbox(hub)
        report.rows += missed.rows
        report.failures += missed.failures
        report.money = sum_by_currency([*report.money, *missed.money])
        report.counts = {name: count + missed.counts[name] for name, count in report.counts.items()}
        report.headline = (
            f"{missed.headline} that no webhook told" if report.headline == "nothing new" else report.headline
        )
    return report


def _claim(hub: Hub) -> list[InboxEvent]:
    with hub.database.work() as work:
        return work.inbox.claim(BATCH, hub.now(), LEASE)


def _apply(hub: Hub, event: InboxEvent, report: Report) -> bool:
    """Applies one event and settles it; False when its system is not to be had now.

    An event that is older than what was applied of the same object brings nothing.
    """
    ident = f"inbox:{event.system}/{event.resource}/{event.vendor_id}"
    handler = HANDLERS.get((hub.role(event.system), event.resource))
    with hub.database.reading() as work:
        newest = work.inbox.newest_applied(event.system, event.resource, event.vendor_id)
    state, failure, money, echo = InboxState.STALE, None, None, False
    if handler is not None and (newest is None or event.occurred_at >= newest):
        try:
            noun = _read(hub, event)
            money = noun.total if isinstance(noun, Order) else noun.amount
            echo = _is_echo(hub, event.system, event.vendor_id, noun)
            row, failure = (ECHO, None) if echo else handler(hub, event, noun)
        except Retryable:
            return False
        except Misconfigured as error:
            _stop(hub, event.system, error, report)
            return False
        except Parked:
            state = InboxState.PARKED
        except TieoutError as error:
            state = InboxState.REJECTED
            failure = desk.entry(error, ident, event.system, event.resource, event.vendor_id, hub.now(), money)
        else:
            state = InboxState.APPLIED
            if row["done"] == "unchanged":
                report.counts["unchanged"] += 1
            else:
                report.counts["applied"] += 1
                report.rows.append(row)
                report.money.append(money)
    with hub.database.work() as work:
        settled = work.inbox.settle(event, state)
        if settled and state in ACTS:
            work.audit.tell(_deed(hub, event, ACTS[state], **({"echo": True} if echo else {})))
        if state in (InboxState.APPLIED, InboxState.STALE):
            work.desk.resolve(ident)
        if state is not InboxState.STALE:
            work.desk.resolve(f"system:{event.system}")
        if failure:
            work.desk.report(failure)
            report.failures.append(failure)
    return True


def _stop(hub: Hub, system: str, error: Misconfigured, report: Report) -> None:
    """Puts a system that cannot work on the desk, once for all its events: they wait until it does."""
    failure = desk.entry(error, f"system:{system}", system, "system", system, hub.now())
    if all(one.id != failure.id for one in report.failures):
        report.failures.append(failure)
    with hub.database.work() as work:
        work.desk.report(failure)


def _deed(hub: Hub, event: InboxEvent, act: Act, **more: Any) -> Deed:
    detail = {"event": event.event_id, "kind": event.kind, **more}
    return Deed(hub.now(), WHO, act, event.system, event.resource, event.vendor_id, detail)


def _read(hub: Hub, event: InboxEvent) -> Told:
    """The object of an event as its system shows it now."""
    try:
        payload = hub.connector(event.system).get(event.resource, event.vendor_id)
    except Rejected as error:
        if event.kind != DELETED:
            raise
        why = "was deleted there after it was taken in; restore it, or end its subscription by an amendment"
        told = f"{event.system} {event.resource} {event.vendor_id} {why}"
        raise Rejected(told, system=event.system, record=event.resource, code=error.code) from None
    noun = hub.reading(event.system, event.resource, event.resource).into(payload)
    assert isinstance(noun, Told)
    return noun


def _is_echo(hub: Hub, system: str, vendor_id: str, noun: Told) -> bool:
    """Whether it is our own write that comes back: we wrote to the object, and nothing that we read of it changed."""
    if not isinstance(noun, Order):
        return False
    written = {one.resource for one in hub.mappings if (one.system, one.direction) == (system, "out")}
    with hub.database.reading() as work:
        ours = any(work.outbox.proofs(system, resource, vendor_id=vendor_id) for resource in written)
        return ours and _is_held(work, noun)


def _is_held(work: Work, order: Order) -> bool:
    """Whether an order and its account are as they were read last, whenever that was."""
    held, account = work.get(Order, order.id), work.get(Account, order.account.id)
    known_then = {} if held is None else {"changed_at": held.changed_at, "account": held.account}
    same = account is not None and account.model_copy(update={"entity": None}) == order.account
    return same and held == order.quoted_as(held).model_copy(update=known_then)


def take_order(hub: Hub, event: InboxEvent, order: Order) -> tuple[dict[str, str], DeskEntry | None]:
    """Provisions a won order: the customer, the order, its subscription, and the intents to tell the other systems.

    One that amends another changes the subscription of that; bills that were made are settled by the next one.
    """
    now = hub.now()
    with hub.database.work() as work:
        known = work.get(Order, order.id)
        order = order.quoted_as(known)
        if known is not None and known.lines != order.lines:
            raise Rejected(
                f"order {order.id} changed after it was activated; a change to a running contract needs an amendment",
                system=event.system,
                record="order",
                field="lines",
            )
        subscription, amended = _contract(hub, work, order, known)
        customer = work.get(Account, order.account.id)
        order = order.model_copy(update={"account": _sold_to(hub, work, order.account)})
        if customer is not None and customer.timezone != order.account.timezone:
            move = zone_change(customer, order.account.timezone, now)
            same = work.get(ZoneChange, move.id)
            work.put(move if same is None else move.model_copy(update={"before": same.before}))
        work.put(order.account)
        if known is None:
            work.add([order])
            work.put(subscription)
            work.add(amended)
            promise(hub, work, order, subscription, in_currency(hub.price_book, order.currency))
        work.outbox.enqueue(
            [
                OutboxCommand.of(hub.system("gateway"), "account", "account", order.account, now),
                OutboxCommand.of(hub.system("gateway"), "payment_method", "account", order.account, now),
                OutboxCommand.of(hub.system("erp"), "account", "account", order.account, now),
                *tell_contract(hub, work, order.account, subscription),
            ]
        )
        if known is None:
            work.outbox.enqueue([_progress(event.system, order, subscription, "provisioned", now)])
    row = {
        "record": "order",
        "their id": order.id,
        "our id": subscription.id,
        "who": order.account.name,
        "amount": dollars(order.total),
        "done": "unchanged" if known else "amended" if order.amends else "provisioned",
    }
    return row, None


def _sold_to(hub: Hub, work: Work, account: Account) -> Account:
    """The customer with the legal entity that sells to it."""
    return account.model_copy(update={"entity": hub.seller(work, account).id})


def _contract(hub: Hub, work: Work, order: Order, known: Order | None) -> tuple[Subscription, list[Amendment]]:
    """The subscription as the order leaves it, and the amendments that an amending order asks for.

    Parked until the order that it amends is there; Rejected when that is another customer's.
    """
    if order.amends is None:
        return activate(order, in_currency(hub.price_book, order.currency)), []
    first = order
    while first.amends is not None:
        amended = work.get(Order, first.amends)
        if amended is None:
            waits = f"order:{first.amends}"
            raise Parked(f"order {order.id} amends {first.amends}, which is not taken in yet", waits_for=waits)
        first = amended
    (subscription,) = work.find(Subscription, order_id=first.id)
    if subscription.account_id != order.account.id:
        why = f"order {order.id} of {order.account.id} amends an order of {subscription.account_id}"
        raise Rejected(why, record=order.id, field="amends", value=order.amends)
    if known is not None:
        return subscription, []
    made = list(amendments(order, subscription, in_currency(hub.price_book, order.currency), hub.now()))
    return made[-1][1], [amendment for amendment, _ in made]


def _progress(system: str, order: Order, subscription: Subscription, status: str, now: Any) -> OutboxCommand:
    zero = Money.zero(order.currency)
    told = OrderProgress(
        id=order.id,
        status=status,
        currency=order.currency,
        subscription_id=subscription.id,
        invoiced=zero,
        credited=zero,
        paid=zero,
    )
    return OutboxCommand.of(system, "order_progress", "order_progress", told, now)


def take_payment(hub: Hub, event: InboxEvent, payment: Payment) -> tuple[dict[str, str], DeskEntry | None]:
    """Records what the gateway says of a payment, applies it to its invoice and books it.

    One that failed stands on the desk in one place with the command that asked for it.
    """
    ident = f"outbox:{event.system}/{event.resource}/{payment.id}"
    now = hub.now()
    with hub.database.work() as work:
        invoice = work.get(Invoice, payment.invoice_id)
        if invoice is None:
            raise Parked(f"payment {payment.id} came before its invoice", waits_for=f"invoice:{payment.invoice_id}")
        zero = Money.zero(invoice.currency)
        met = sum((sums.get(invoice.id, zero) for sums in _met(work, invoice.id)), zero)
        known = work.get(Payment, payment.id)
        if payment.status is PaymentStatus.SUCCEEDED and (known is None or known.status is not PaymentStatus.SUCCEEDED):
            applied_within_open(invoice.id, payment.amount, invoice.total - met)
            books = hub.books(work, payment.account_id)
            received, paid = hub.local_day(work, payment.account_id, payment.received_at), payment.amount
            day = hub.open_day(work, payment.account_id, received)
            booked = {"entity": books.entity.id, "exchange": books.exchange(payment.currency, day), "booked_on": day}
            payment = payment.model_copy(update=booked)
            post(hub, work, payment_entries(books, payment, day), of=received)
            settled = ("receivables", paid, invoice.invoice_date, day, payment.account_id)
            post(hub, work, realised_entries(books, payment.id, *settled, booked_at=invoice.exchange), of=received)
            erp = hub.system("erp")
            work.outbox.enqueue([OutboxCommand.of(erp, "payment", "payment", payment, now, money=payment.amount)])
            work.desk.resolve(ident)
        if known is None or known.status is not PaymentStatus.SUCCEEDED:
            work.put(payment)
    row = {
        "record": "payment",
        "their id": payment.vendor_id,
        "our id": payment.id,
        "who": payment.account_id,
        "amount": dollars(payment.amount),
        "done": "unchanged" if known and known.status is payment.status else payment.status.value,
    }
    if payment.status is not PaymentStatus.FAILED:
        return row, None
    why = f"payment of invoice {payment.invoice_id} failed: {payment.failure or 'no reason given'}"
    refused = Rejected(why, system=event.system, record="payment", field="payment_method", code=payment.failure)
    return row, desk.entry(refused, ident, event.system, "payment_request", payment.id, now, payment.amount)


def _met(work: Work, invoice_id: str) -> tuple[dict[str, Money], ...]:
    known = work.sums
    return tuple(found([invoice_id]) for found in (known.paid, known.credited, known.prepaid, known.written_off))


def _settled_on(hub: Hub, work: Work, settlement: Settlement, payment: Payment) -> date:
    """The day of what moved the money: of the payment, or of its refund; a dispute moves it long after both."""
    refunded_on = _refunded_on(work, settlement) if settlement.kind in RETURNED else None
    if refunded_on is not None:
        return refunded_on
    at = payment.received_at if settlement.kind in CHARGED else settlement.available_on
    return hub.local_day(work, payment.account_id, at)


def _refunded_on(work: Work, settlement: Settlement) -> date | None:
    """The day of our refund that a stored settlement pays out; those of one amount are settled in their order."""
    amount, payment_id = settlement.gross, settlement.payment_id
    days = sorted(one.refunded_on for one in work.find(Refund, payment_id=payment_id) if one.amount == -amount)
    settled = [
        one for one in work.find(Settlement, payment_id=payment_id) if one.kind in RETURNED and one.gross == amount
    ]
    return days[min(len(settled), len(days)) - 1] if days else None


HANDLERS: Mapping[tuple[str, str], Handler] = {
    ("crm", "order"): take_order,
    ("gateway", "payment"): take_payment,
    ("gateway", "chargeback"): take_chargeback,
}


def _order_known(hub: Hub, work: Work, system: str, change: Change) -> bool:
    """One that was never held brings no news by its deletion.

    Vendors tell the second of a change, so two changes in one second are told apart by what the record is then.
    """
    order = work.get(Order, change.vendor_id)
    if order is None or change.payload is None:
        return order is None and change.payload is None
    if order.changed_at != change.changed_at:
        return order.changed_at > change.changed_at
    try:
        now = hub.reading(system, "order", "order").into(change.payload)
    except TieoutError:
        return False
    assert isinstance(now, Order)
    return _is_held(work, now)


def _payment_known(_hub: Hub, work: Work, _system: str, change: Change) -> bool:
    return any(payment.status is PaymentStatus.SUCCEEDED for payment in work.find(Payment, vendor_id=change.vendor_id))


def _chargeback_known(hub: Hub, work: Work, system: str, change: Change) -> bool:
    held = work.get(Chargeback, change.vendor_id)
    if held is None or change.payload is None:
        return held is None and change.payload is None
    told = hub.reading(system, "chargeback", "chargeback").into(change.payload)
    payment = work.get(Payment, held.payment_id or "")
    assert isinstance(told, Chargeback)
    return payment is not None and as_held(hub, told, held, payment) == held


#: Whether what is held already tells of a change.
Known = Callable[[Hub, Work, str, Change], bool]

#: What is polled per role, in this order, and how to tell that a change is no news.
POLLED: Mapping[str, Mapping[str, Known]] = {
    "crm": {"order": _order_known},
    "gateway": {"payment": _payment_known, "chargeback": _chargeback_known},
}


def catch_up(hub: Hub, checks: list[dict[str, str]]) -> tuple[int, list[DeskEntry]]:
    """Stores an event for each change since the watermark that is not known yet.

    Gives how many, and the systems that could not be asked: each stands on the desk until it answers, and stops no
    other. ``checks`` takes what each system listed beside what is held of it.
    """
    found, away = 0, []
    for system in hub.systems:
        if hub.role(system) not in POLLED:
            continue
        ident = f"system:{system}"
        try:
            shown = hub.connector(system).resources
            for resource, known in POLLED[hub.role(system)].items():
                if resource in shown:
                    found += _poll(hub, system, resource, known, checks)
        except TieoutError as error:
            away.append(desk.entry(error, ident, system, "system", system, hub.now()))
            with hub.database.work() as work:
                work.desk.report(away[-1])
        else:
            with hub.database.work() as work:
                work.desk.resolve(ident)
    return found, away


def _poll(hub: Hub, system: str, resource: str, known: Known, checks: list[dict[str, str]]) -> int:
    """Stores the news of one system, sees that nothing of it is missing, then moves its watermark.

    The watermark is the vendor's own cursor where it gives one, which moves without news too; else the newest instant.
    """
    found = 0
    listed: dict[str, bool] = {}
    with hub.database.reading() as work:
        since = work.outbox.watermark(system, resource)
    newest = since
    reading = hub.connector(system).changes(resource, since)
    for change in reading:
        at = change.changed_at.isoformat()
        content = hashlib.sha256(dump(change.payload or {}).encode()).hexdigest()
        event = InboxEvent(
            system=system,
            event_id=f"poll:{change.vendor_id}:{at}:{content[:12]}",
            resource=resource,
            vendor_id=change.vendor_id,
            kind=DELETED if change.payload is None else "poll",
            version=at,
            occurred_at=change.changed_at,
            received_at=hub.now(),
        )
        with hub.database.work() as work:
            listed[change.vendor_id] = known(hub, work, system, change)
            if not listed[change.vendor_id] and work.inbox.store(event, b""):
                work.audit.tell(_deed(hub, event, Act.RECEIVED))
                found += 1
        newest = max(newest or at, at)
    checks.append(_completeness(hub, system, resource, listed))
    cursor = reading.cursor if isinstance(reading, Reading) else None
    _move_watermark(hub, system, resource, since, cursor or newest)
    return found


def _completeness(hub: Hub, system: str, resource: str, listed: Mapping[str, bool]) -> dict[str, str]:
    """What the system listed, and whether it was held before, beside what is held. TieBroken when one is missing."""
    with hub.database.reading() as work:
        heard = work.inbox.objects(system, resource, list(listed))
    held = {ident for ident, known in listed.items() if known or ident in heard}
    theirs, ours = (f"{len(ids)}, digest {id_digest(ids)}" for ids in (listed, held))
    listed_are_held(f"{system} {resource}", theirs, ours)
    return {"system": system, "record": resource, "listed there": theirs, "held here": ours}


def _move_watermark(hub: Hub, system: str, resource: str, since: str | None, newest: str | None) -> None:
    if newest is not None and newest != since:
        mark = Watermark(system=system, resource=resource, position=newest, moved_at=hub.now())
        with hub.database.work() as work:
            work.outbox.move_watermark(mark)


def book_settlements(hub: Hub) -> Report:
    """Reads what the gateway booked to our balance since the watermark, and books it.

    What settles a payment that is not known yet stands on the desk, holds the watermark, and stops nothing else.
    """
    system = hub.system("gateway")
    mapping = hub.mappings.find(system, "settlement", "in", "settlement")
    with hub.database.reading() as work:
        since = work.outbox.watermark(system, "settlement")
    newest, report, waits = since, Report(""), None
    for change in hub.connector(system).changes("settlement", since):
        if change.payload is None:
            continue
        settlement = mapping.into(change.payload)
        assert isinstance(settlement, Settlement)
        at = change.changed_at.isoformat()
        newest = max(newest or at, at)
        with hub.database.work() as work:
            waiting = _book_settlement(hub, work, system, settlement, report)
        if waiting:
            report.failures.append(waiting)
            waits = min(waits or at, at)
    newest = min(newest, waits) if newest and waits else newest
    _move_watermark(hub, system, "settlement", since, newest)
    report.counts = {"settlements": len(report.rows)}
    report.money = sum_by_currency(report.money)
    report.headline = f"{counted(len(report.rows), 'settlement')}" + (
        f", {amounts(report.money)} net" if report.money else ""
    )
    return report


def _book_settlement(hub: Hub, work: Work, system: str, settlement: Settlement, report: Report) -> DeskEntry | None:
    """Books a settlement once. What stands on the desk instead, when its payment is not known yet."""
    ident = f"record:settlement:{settlement.id}"
    payment = work.get(Payment, settlement.payment_id)
    if payment is None and settlement.kind not in (*CHARGED, *RETURNED):
        # what a dispute moved names its payment as the gateway does
        payment = next(iter(work.find(Payment, vendor_id=settlement.payment_id)), None)
        settlement = settlement.model_copy(update={"payment_id": payment.id}) if payment else settlement
    if payment is None:
        early = Parked(
            f"{system} settled {settlement.payment_id}, a payment we do not know; take in payments, then book again",
            waits_for=f"payment:{settlement.payment_id}",
        )
        entry = desk.entry(early, ident, system, "settlement", settlement.id, hub.now(), settlement.net)
        work.desk.report(entry)
        return entry
    work.desk.resolve(ident)
    if work.add([settlement]):
        books, settled = hub.books(work, payment.account_id), _settled_on(hub, work, settlement, payment)
        # at the rate at which gateway clearing took it in, or gave it
        day = (payment.booked_on if settlement.kind in CHARGED else None) or settled
        post(hub, work, settlement_entries(books, settlement, payment.account_id, day), of=settled)
        report.money.append(settlement.net)
        report.rows.append(
            {
                "record": "settlement",
                "their id": settlement.id,
                "our id": payment.id,
                "gross": dollars(settlement.gross),
                "fee": dollars(settlement.fee),
                "net": dollars(settlement.net),
            }
        )
    return None


@flow(
    name="Take in orders and payments",
    description="Applies the webhooks that were received, and asks each system what no webhook told. "
    "Won orders become subscriptions; payments are applied to their invoices.",
)
def intake() -> State[Any]:
    return conclude("Take in", take_in(hub()))


@flow(name="Book gateway settlements", description="Books what the gateway paid into our balance, and its fees.")
def settle() -> State[Any]:
    return conclude("Book settlements", book_settlements(hub()))
