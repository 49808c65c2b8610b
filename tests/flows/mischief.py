"""What people do behind our back, kind by kind: the table of every Break there is, and how one is brought about."""

# ruff: noqa: S608 (statements of the tests' own, with nothing of anybody else in them)

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from core.cash import CashReceipt
from core.ledger import JournalEntry, JournalLine, Via
from core.money import Money
from core.orders import Order
from core.subscriptions import Subscription
from flows import deliver, intake, write_back
from flows.apply_cash import take_receipts
from flows.credit import Leftover, credit_invoice
from flows.credits import grant_credit
from flows.exchange import load_rates
from flows.ingest import services
from flows.post import post
from sandbox import netsuite
from sandbox.emulator import Json, Shelf
from sandbox.stripe_gateway import Stripe
from sandbox.xero_books import Books
from tests.connectors import contract_billingplatform, contract_xero
from tests.flows.test_currencies import european
from tests.flows.world import CUSTOMERS, DENVER, PERIOD, SETTINGS, USAGE, Company, company, customer, sold
from tests.sandbox.billing_manager import BillingManager

INVOICE, PAYMENT, EVENT = "INV-2026-10-A-0003", "PAY-INV-2026-10-A-0003", "A-0001 event"
TAXED, JOURNAL = "INV-2026-10-A-0002", "JE-INV-2026-10-A-0003"
NOTE, REFUND, REFUNDED = f"CN-{TAXED}-1", f"REF-CN-{TAXED}-1", f"PAY-{TAXED}"
LATER = date(2026, 11, 20)

#: Somebody comes after the month.
NEWCOMER = customer(
    "A-0004",
    DENVER,
    sold("VC-ENDPOINT", 2, "18.00", "A-0004-S1"),
    sold("VC-MIN", 1, "0.00", "A-0004-S1"),
    exemption="E",
)
POOR = customer("A-DECLINED", DENVER, sold("VC-ENDPOINT", 2, "18.00", "A-DECLINED-S1"), exemption="E")

Act = Callable[[Company], None]


@dataclass(frozen=True)
class Seed:
    """A kind of Break, and what is done to bring one about; ``stack``: in which company; ``echo``: the kind of the
    Break that it is always the echo of; ``only``: the system whose ties are asked (None: all)."""

    kind: str
    act: Act
    stack: str = "company"
    echo: str = ""
    only: str | None = None


# Companies --------------------------------------------------------------------------------------------------------


def settle(world: Company) -> None:
    deliver.deliver_all(world.hub)
    intake.take_in(world.hub)
    intake.book_settlements(world.hub)
    write_back.tell_crm(world.hub)
    deliver.deliver_all(world.hub)


def _month(world: Company) -> None:
    """A month, and after it half of the year given back to the card, and some credit granted."""
    world.enter(*CUSTOMERS)
    world.bring("bridge.2026-10.csv", USAGE)
    world.month()
    credit_invoice(world.hub, TAXED, {1: usd("2400.00")}, "Half the seats", LATER, Leftover.REFUND)
    grant_credit(world.hub, "A-0003", usd("5.00"), "Sorry for the noise", "ann", LATER)
    settle(world)


def _in_euros(world: Company) -> None:
    world.enter(*CUSTOMERS)
    world.bring("bridge.2026-10.csv", USAGE)
    european(world)
    rates = world.hub.settings.state_folder / "rates.csv"
    days = [f"{day:%F},EUR,USD,1.10" for day in (date(2026, 10, 1), date(2026, 10, 30), LATER)]
    rates.write_text("\n".join(["valid_on,base,quote,rate", *days]) + "\n")
    load_rates(world.hub, rates, "ECB")
    world.month()


def _billed_outside(world: Company) -> None:
    manager = BillingManager(world.running.urls["billingplatform"])
    manager.set_up()
    world.month(until="prepare")
    deliver.deliver_all(world.hub)
    manager.rate({"VC-MIN": "0.05", "VC-MIN-INTL": "0.2", "VC-PLAN-MIN": "0.01"})
    world.enter(*CUSTOMERS)
    world.bring("bridge.2026-10.csv", USAGE)
    world.month(until="rate")
    deliver.deliver_all(world.hub)
    manager.close(PERIOD)
    world.month()
    manager.http.close()


_OTHERS = {name: make for name, make in SETTINGS.items() if name != "netsuite"}
#: By name, the systems of a company and what happened to it: a month that ties out.
STACKS: dict[str, tuple[dict[str, Any], Act]] = {
    "company": (dict(SETTINGS), _month),
    "xero": ({**_OTHERS, "xero": contract_xero.settings}, _month),
    "euros": (dict(SETTINGS), _in_euros),
    "billingplatform": ({**SETTINGS, "billingplatform": contract_billingplatform.settings}, _billed_outside),
}


@contextmanager
def stack(name: str, folder: Path) -> Iterator[Company]:
    settings, happened = STACKS[name]
    with company(folder, settings) as entered:
        happened(entered)
        yield entered


def usd(amount: str) -> Money:
    return Money.of(amount, "USD")


def cent(account: str, place: int) -> JournalLine:
    """A line of five dollars, debit at the first place and credit at the second."""
    side = {"debit" if place == 1 else "credit": usd("5.00")}
    return JournalLine.model_validate(
        {"id": f"JE-STRAY-{place}", "position": place, "ledger_account": account, "memo": "Stray", "source": "invoice"}
        | {"source_id": INVOICE, **side}
    )


# What is done, to any object --------------------------------------------------------------------------------------


def shelf_of(world: Company, system: str) -> Shelf:
    return world.running.emulators[system].shelf


def the(world: Company, system: str, kind: str, **equal: Any) -> tuple[str, Json]:
    """The one object of a kind with these fields, and the id it is kept under."""
    shelf = shelf_of(world, system)
    (found,) = [
        (ident, item)
        for ident in shelf._kinds[kind]
        if (item := shelf.get(kind, ident)) is not None and equal.items() <= item.items()
    ]
    return found


def kept(system: str, kind: str, ours: str, **fields: Any) -> Act:
    """Somebody changes fields of an object."""
    return lambda world: world.set(system, kind, ours, **fields)


def gone(system: str, kind: str, ours: str) -> Act:
    """Somebody deletes an object; an ERP opens again what it was applied to."""

    def act(world: Company) -> None:
        ident, _ = the(world, system, kind, **world.held(system, kind, ours))
        if system == "netsuite" and kind != "invoice":
            netsuite.Company(shelf_of(world, system)).delete(kind, ident)
        else:
            shelf_of(world, system).drop(kind, ident)

    return act


def copied(system: str, kind: str, ours: str, ident: str, **fields: Any) -> Act:
    """Somebody enters an object again, under another id of the vendor's; ``fields``: what the copy has of its own."""

    def act(world: Company) -> None:
        shelf_of(world, system).keep(kind, ident, {**world.held(system, kind, ours), **fields})

    return act


def sql(*statements: str) -> Act:
    """Somebody changes our own tables past the product."""

    def act(world: Company) -> None:
        with closing(sqlite3.connect(world.hub.settings.database_url.removeprefix("sqlite:///"))) as connection:
            for statement in statements:
                assert connection.execute(statement).rowcount >= 1, statement
            connection.commit()

    return act


def both(*acts: Act) -> Act:
    def act(world: Company) -> None:
        for one in acts:
            one(world)

    return act


def refused(system: str, resource: str, ours: str) -> Act:
    """The system never took a record: its intent was refused."""
    where = f"system = '{system}' AND resource = '{resource}' AND record_id = '{ours}'"

    def act(world: Company) -> None:
        with closing(sqlite3.connect(world.hub.settings.database_url.removeprefix("sqlite:///"))) as connection:
            for statement in (
                f"CREATE TEMP TABLE kept AS SELECT * FROM outbox WHERE {where} ORDER BY sequence DESC LIMIT 1",
                "UPDATE kept SET state = 'pending'",
                f"DELETE FROM outbox WHERE {where}",
                f"DELETE FROM sync_record WHERE {where}",
                "INSERT INTO outbox SELECT * FROM kept",
                f"UPDATE outbox SET state = 'sending' WHERE {where}",
                f"UPDATE outbox SET state = 'rejected' WHERE {where}",
            ):  # fmt: skip
                connection.execute(statement)
            connection.commit()

    return act


def undelivered(system: str, resource: str, kind: str, ours: str) -> Act:
    """A record never came to its system."""
    return both(gone(system, kind, ours), refused(system, resource, ours))


def passed(days: int) -> Act:
    def act(world: Company) -> None:
        world.time.by += timedelta(days=days)

    return act


# At the CRM -------------------------------------------------------------------------------------------------------


def another_deal(**fields: Any) -> Act:
    """A deal like ours that is in nobody's books."""

    def act(world: Company) -> None:
        held = world.held("salesforce", "Opportunity", EVENT)
        untold = {"Tieout_Status__c": None, "Tieout_Invoiced__c": None, "Tieout_Paid__c": None}
        ident = _other(held["Id"])
        shelf_of(world, "salesforce").keep(
            "Opportunity", ident, {**held, **untold, "Id": ident, "Name": "New", **fields}
        )

    return act


def _other(ident: str) -> str:
    """An id of the vendor's form that is none of theirs."""
    return f"{ident[:8]}9999{ident[12:]}"


def never_activated(world: Company) -> None:
    """An order was taken in, and no subscription was made of it."""
    another_deal()(world)
    with world.hub.database.work() as work:
        order = next(one for one in work.find(Order) if one.name == EVENT)
        lines = tuple(line.model_copy(update={"id": _other(line.id)}) for line in order.lines)
        work.add([order.model_copy(update={"id": _other(order.id), "lines": lines})])


def subscribed_by_nobody(world: Company) -> None:
    with world.hub.database.work() as work:
        (held,) = work.find(Subscription, account_id="A-0003")
        own = {"id": "S-STRAY", "order_id": "STRAY"}
        charges = tuple(
            one.model_copy(update={"id": f"{one.id}-STRAY", "order_line_id": "STRAY"}) for one in held.charges
        )
        work.add([held.model_copy(update={**own, "charges": charges})])


def emptied_progress(world: Company) -> None:
    with world.hub.database.reading() as work:
        order = next(one.id for one in work.find(Order) if one.name == EVENT)
    untold = {"Tieout_Status__c": None, "Tieout_Invoiced__c": None, "Tieout_Paid__c": None}
    both(refused("salesforce", "order_progress", order), kept("salesforce", "Opportunity", EVENT, **untold))(world)


# Usage, rating and billing ----------------------------------------------------------------------------------------


def lost_batch(world: Company) -> None:
    """What was received first is lost, and what was made of its rejected line is not."""
    world.bring("late.csv", "id,account_id,site_id,meter,quantity,occurred_at\n" + _LATE)
    world.month(until="ingest")
    (lost,) = [one for one in world.hub.usage._batches.all() if one.report.rejected]
    world.enter(NEWCOMER)
    world.month(until="ingest")
    world.hub.usage.retry_rejected(*_services(world))
    (world.hub.usage.folder / "batches" / f"{lost.id}.json").unlink()


_LATE = "v1,A-0004,A-0004-S1,conference_minutes,5,2026-11-02T09:00:00-06:00\n"


def _services(world: Company) -> Any:
    with world.hub.database.reading() as work:
        return services(world.hub, work), world.hub.now()


def newcomer(until: str) -> Act:
    """A new customer's month, as far as a step of it."""

    def act(world: Company) -> None:
        world.enter(NEWCOMER)
        world.month(until=until)
        deliver.deliver_all(world.hub)

    return act


# At the tax engine ------------------------------------------------------------------------------------------------


def taxed(**fields: Any) -> Act:
    return kept("avalara", "transaction", TAXED, **fields)


def returned(**fields: Any) -> Act:
    return kept("avalara", "transaction", NOTE, **fields)


def by_hand(like: str) -> Act:
    """Somebody enters a document at the tax engine that is like one of ours."""

    def act(world: Company) -> None:
        held = {**world.held("avalara", "transaction", like), "id": 99001, "code": "BY-HAND"}
        shelf_of(world, "avalara").keep("transaction", f"{held['companyId']}/{held['type']}/BY-HAND", held)

    return act


def elsewhere_taxed(world: Company) -> None:
    """The same tax, owed to another city."""
    held = world.held("avalara", "transaction", TAXED)
    lines = [
        {**line, "details": [{**one, "jurisName": f"NEW {one['jurisName']}"} for one in line["details"]]}
        for line in held["lines"]
    ]
    world.set("avalara", "transaction", TAXED, lines=lines)


# At the gateway ---------------------------------------------------------------------------------------------------


def stripe_object(shelf: Shelf, kind: str, payment: str = PAYMENT) -> Json:
    """The object of a payment of ours: its intent, its charge, or what it moved on the balance."""
    (intent,) = [one for one in shelf.all("payment_intent") if one["metadata"].get("tieout_id") == payment]
    if kind == "payment_intent":
        return intent
    charge = shelf.get("charge", intent["latest_charge"])
    assert charge is not None
    if kind == "charge":
        return charge
    movement = shelf.get("balance_transaction", charge["balance_transaction"])
    assert movement is not None
    return movement


def charged(**change: Callable[[Any], Any]) -> Act:
    """The payment is other than it was asked, and so are its charge and its settlement."""

    def act(world: Company) -> None:
        shelf = shelf_of(world, "stripe")
        for kind in ("payment_intent", "charge", "balance_transaction"):
            item = stripe_object(shelf, kind)
            changed = {name: make(item[name]) for name, make in change.items() if name in item}
            shelf.keep(kind, item["id"], {**item, **changed})

    return act


def more(amount: int) -> int:
    return amount + 100


def intended(**fields: Any) -> Act:
    return kept("stripe", "payment_intent", PAYMENT, **fields)


def charged_again(**metadata: str) -> Act:
    def act(world: Company) -> None:
        shelf = shelf_of(world, "stripe")
        intent, charge, movement = (
            stripe_object(shelf, kind) for kind in ("payment_intent", "charge", "balance_transaction")
        )
        again = {"id": "pi_again", "latest_charge": "ch_again", "metadata": metadata}
        shelf.keep("payment_intent", "pi_again", {**intent, **again})
        own = {"payment_id": metadata["tieout_id"]} if metadata else {}
        again = {"id": "ch_again", "payment_intent": "pi_again", "balance_transaction": "txn_again"}
        shelf.keep("charge", "ch_again", {**charge, **again, "metadata": own})
        shelf.keep("balance_transaction", "txn_again", {**movement, "id": "txn_again", "source": "ch_again"})

    return act


def settled(**fields: Any) -> Act:
    """What the gateway booked of a payment is changed; a copy where an id is given."""

    def act(world: Company) -> None:
        shelf = shelf_of(world, "stripe")
        movement = {**stripe_object(shelf, "balance_transaction"), **fields}
        shelf.keep("balance_transaction", movement["id"], movement)

    return act


def settled_for_nobody(world: Company) -> None:
    shelf = shelf_of(world, "stripe")
    charge = {**stripe_object(shelf, "charge"), "id": "ch_stray", "payment_intent": None, "metadata": {}}
    shelf.keep("charge", "ch_stray", charge)
    settled(id="txn_stray", source="ch_stray")(world)


def never_settled(payment: str) -> Act:
    def act(world: Company) -> None:
        shelf = shelf_of(world, "stripe")
        shelf.drop("balance_transaction", stripe_object(shelf, "balance_transaction", payment)["id"])
        charge = stripe_object(shelf, "charge", payment)
        shelf.keep("charge", charge["id"], {**charge, "balance_transaction": None})

    return act


def taken_in(world: Company) -> None:
    intake.take_in(world.hub)


def given_back(**fields: Any) -> Act:
    """What the gateway booked of our refund is changed; without fields, it is gone."""

    def act(world: Company) -> None:
        shelf = shelf_of(world, "stripe")
        (movement,) = [one for one in shelf.all("balance_transaction") if one["type"] == "refund"]
        shelf.drop("balance_transaction", movement["id"])
        if fields:
            shelf.keep("balance_transaction", movement["id"], {**movement, **fields})

    return act


def refunded_at_the_gateway(world: Company) -> None:
    shelf = shelf_of(world, "stripe")
    intent = stripe_object(shelf, "payment_intent")
    Stripe(shelf, clock=lambda: intent["created"]).create_refund({"payment_intent": intent["id"], "amount": 500})


def disputed(amount: int = 7200, fee: int = 1500) -> Act:
    """As the gateway books it: the amount and a fee leave the balance, for a dispute of the charge."""

    def act(world: Company) -> None:
        shelf = shelf_of(world, "stripe")
        charge, movement = (stripe_object(shelf, kind) for kind in ("charge", "balance_transaction"))
        dispute = {"id": "dp_1", "object": "dispute", "charge": charge["id"], "amount": amount, "currency": "usd"}
        shelf.keep("dispute", "dp_1", {**dispute, "payment_intent": charge["payment_intent"], "metadata": {}})
        taken = {"id": "txn_dp", "type": "adjustment", "amount": -amount, "fee": fee, "net": -amount - fee}
        taken["created"] = int(world.time.clock().timestamp())
        shelf.keep("balance_transaction", "txn_dp", {**movement, **taken, "source": "dp_1"})

    return act


def no_dispute(world: Company) -> None:
    shelf_of(world, "stripe").drop("balance_transaction", "txn_dp")


def paid_out(change: Callable[[Json], Json] | None = None) -> Act:
    """The gateway pays out what it owes; ``change``: what is wrong with the payout (None: one payment is left out)."""

    def act(world: Company) -> None:
        shelf = shelf_of(world, "stripe")
        movement = stripe_object(shelf, "balance_transaction")
        if change is None:
            shelf.keep("balance_transaction", movement["id"], {**movement, "_payout": "po_lost"})
        by = max(one["available_on"] for one in shelf.all("balance_transaction"))
        (payout,) = Stripe(shelf, clock=lambda: by).pay_out(by)
        if change is not None:
            changed = {**payout, **change(payout)}
            shelf.keep("payout", changed["id"], changed)

    return act


def at_the_bank(amount: str, text: str = "") -> Act:
    """The bank shows a deposit; without a text, one that names the only payout."""

    def act(world: Company) -> None:
        told = text or f"{shelf_of(world, 'stripe').all('payout')[0]['id']} less our fee"
        common = {"entity": "main", "bank_account": "1", "currency": "USD", "text": told}
        day = world.time.clock().date()
        receipt = CashReceipt(id="R-1", amount=usd(amount), left=usd(amount), value_date=day, **common)
        take_receipts(world.hub, [receipt])
        deliver.deliver_all(world.hub)

    return act


# In the ERP -------------------------------------------------------------------------------------------------------


def booked(kind: str, ours: str, change: Callable[[Json], Json]) -> Act:
    """A bookkeeper changes a document in the ERP, which posts it anew."""

    def act(world: Company) -> None:
        held = world.held("netsuite", kind, ours)
        given = {"@type": netsuite.TYPE_OF[kind], "externalId": ours, **change(held)}
        netsuite.Company(shelf_of(world, "netsuite")).write(given)

    return act


def entered(kind: str, like: str, change: Callable[[Json], Json] = dict) -> Act:
    """A bookkeeper enters a document in the ERP that is like one of ours, and carries no key of ours."""

    def act(world: Company) -> None:
        held = dict(world.held("netsuite", kind, like))
        for own in ("externalId", "internalId", "tranId", "status", "_applied", "_impact"):
            held.pop(own, None)
        given = {**held, "@type": netsuite.TYPE_OF[kind], **change(held)}
        netsuite.Company(shelf_of(world, "netsuite")).write(given, adding=True)

    return act


def with_amount(amount: str) -> Callable[[Json], Json]:
    """The first line has another amount."""

    def change(held: Json) -> Json:
        first, *others = held["itemList"]["item"]
        return {"itemList": {"item": [{**first, "amount": amount}, *others]}}

    return change


def split(held: Json) -> Json:
    """The first line becomes two that come to the same."""
    first, *others = held["itemList"]["item"]
    amount = Decimal(first["amount"])
    halves = [{**first, "amount": str(amount - 1)}, {**first, "amount": "1.00"}]
    return {"itemList": {"item": [*halves, *others]}}


def on_another_account(held: Json) -> Json:
    """The first line of a journal is booked on processing fees."""
    first, *others = held["lineList"]["line"]
    return {"lineList": {"line": [{**first, "account": {"externalId": "6100"}}, *others]}}


def dearer(held: Json) -> Json:
    """Both lines of a journal have a dollar more."""
    lines = [
        {**line, **{side: str(Decimal(line[side]) + 1) for side in ("debit", "credit") if line.get(side)}}
        for line in held["lineList"]["line"]
    ]
    return {"lineList": {"line": lines}}


def in_another_month(held: Json) -> Json:
    month = "12" if held["tranDate"][5:7] == "10" else "10"
    return {"tranDate": f"{held['tranDate'][:5]}{month}{held['tranDate'][7:]}"}


def on_another_day(held: Json) -> Json:
    day = "06" if held["tranDate"][8:10] == "05" else "05"
    return {"tranDate": f"{held['tranDate'][:8]}{day}{held['tranDate'][10:]}"}


def unapplied(held: Json) -> Json:
    return {"applyList": {}}


def of_another_customer(kind: str, ours: str) -> Act:
    def act(world: Company) -> None:
        ident, _ = the(world, "netsuite", "customer", externalId="A-0001")
        whose = {"internalId": ident, "name": "Another"}
        field = "customer" if kind == "customerPayment" else "entity"
        world.set("netsuite", kind, ours, **{field: whose})

    return act


def foreign_bill(world: Company) -> None:
    """The ERP books a bill of a supplier onto an account of ours: the summary shows it, no document of ours does."""
    shelf = shelf_of(world, "netsuite")
    journal = world.held("netsuite", "journalEntry", JOURNAL)
    fees, cash = (the(world, "netsuite", "account", externalId=code)[0] for code in ("6100", "1060"))
    impact = [*journal["_impact"], [fees, "12.00"], [cash, "-12.00"]]
    shelf.keep("journalEntry", journal["internalId"], {**journal, "_impact": impact})


def rounded_by_itself(world: Company) -> None:
    """The ledger made another cent of an invoice in euros."""
    held = world.held("netsuite", "invoice", INVOICE)
    (first, amount), (second, less), *others = held["_impact"]
    impact = [[first, str(Decimal(amount) + Decimal("0.01"))], [second, str(Decimal(less) - Decimal("0.01"))], *others]
    world.set("netsuite", "invoice", INVOICE, _impact=impact)


def cleared_by_hand(world: Company) -> None:
    """A journal of ours leaves something on billing clearing, and everybody has it."""
    with world.hub.database.work() as work:
        codes = [world.hub.posting.account(role) for role in ("billing clearing", "processing fees")]
        (like,) = work.find(JournalEntry, id=JOURNAL)
        lines = tuple(cent(code, place) for place, code in enumerate(codes, 1))
        own = {"id": "JE-STRAY", "event": "stray", "lines": lines, "via": Via.JOURNAL, "memo": "Stray"}
        post(world.hub, work, [like.model_copy(update=own)])
    deliver.deliver_all(world.hub)


# The table --------------------------------------------------------------------------------------------------------

_ERP: dict[str, tuple[str, str]] = {
    "invoice": ("invoice", INVOICE),
    "credit_note": ("creditMemo", NOTE),
    "payment": ("customerPayment", PAYMENT),
    "journal_entry": ("journalEntry", JOURNAL),
}


def _document(record: str, **own: Act) -> Iterator[Seed]:
    """What is done to any document in the ERP. ``own``: what is done otherwise to this one."""
    kind, ours = _ERP[record]
    acts: dict[str, Act] = {
        "not_delivered": undelivered("netsuite", record, kind, ours),
        "unreadable": kept("netsuite", kind, ours, currency=None),
        "deleted": gone("netsuite", kind, ours),
        "voided": kept("netsuite", kind, ours, status="Voided", total="0.00", payment="0.00"),
        "unknown": entered(kind, ours),
        "twice": copied("netsuite", kind, ours, "90001", internalId="90001"),
        "currency": kept("netsuite", kind, ours, currency={"internalId": "2", "name": "EUR"}),
        "amount": kept("netsuite", kind, ours, payment="70.00", total="70.00"),
        "period": booked(kind, ours, in_another_month),
        "party": of_another_customer(kind, ours),
        "rate": kept("netsuite", kind, ours, exchangeRate="1.10"),
        "day": booked(kind, ours, on_another_day),
        "text": kept("netsuite", kind, ours, memo="Call before sending"),
    }
    return (Seed(f"{record}_{what}", act) for what, act in {**acts, **own}.items() if act is not _never)


def _never(_world: Company) -> None:
    """No system lets that happen to this kind of document."""


def at_xero(change: Callable[[Json], Json]) -> Act:
    """The payment of our credit note is changed."""

    def act(world: Company) -> None:
        ident, held = the(world, "xero", "payment", Reference=REFUND)
        shelf_of(world, "xero").keep("payment", ident, {**held, **change(held)})

    return act


def books_of(world: Company) -> Books:
    """Xero's own books, hours later: it does not remember requests any more."""
    shelf = shelf_of(world, "xero")
    for key in list(shelf.snapshot().get("_idempotency", ())):
        shelf.drop("_idempotency", key)
    return Books(shelf, lambda *_: None)


def taken_back_at_xero(world: Company) -> None:
    """Somebody deletes the payment of our credit note, as Xero does that: it stands there without effect."""
    _, held = the(world, "xero", "payment", Reference=REFUND)
    books_of(world)._deleted_payment({"Status": "DELETED"}, held)


def gone_at_xero(world: Company) -> None:
    ident, _ = the(world, "xero", "payment", Reference=REFUND)
    taken_back_at_xero(world)
    shelf_of(world, "xero").drop("payment", ident)


def copied_at_xero(**fields: Any) -> Act:
    def act(world: Company) -> None:
        _, held = the(world, "xero", "payment", Reference=REFUND)
        own = "00000000-0000-4000-8000-000000000001"
        shelf_of(world, "xero").keep("payment", own, {**held, "PaymentID": own, **fields})

    return act


def voided_journal(world: Company) -> None:
    _, held = the(world, "xero", "manual_journal", Narration=JOURNAL)
    books_of(world).manual_journal({"Status": "VOIDED"}, held, 2)


_CHEAPER = {
    "INVOICE": {"GrandTotalAmount": "70.00"},
    "ACTIVITY": {"RatedAmount": "70.00", "StandardCostUnrounded": "70.0"},
}


def billed(change: Callable[[str, Json], Json]) -> Act:
    """The closed invoice of A-0003 is changed at the system that bills; a copy where another id is given."""

    def act(world: Company) -> None:
        shelf = shelf_of(world, "billingplatform")
        (profile,) = shelf.where("BILLING_PROFILE", TieoutKey="A-0003")
        (invoice,) = shelf.where("INVOICE", BillingProfileId=profile["Id"])
        for kind, held in [
            ("INVOICE", invoice),
            *(("ACTIVITY", one) for one in shelf.where("ACTIVITY", InvoiceId=invoice["Id"])),
        ]:
            changed = {**held, **change(kind, held)}
            shelf.keep(kind, str(changed["Id"]), changed)

    return act


def billed_in_euros(world: Company) -> None:
    ident, held = the(world, "billingplatform", "BILLING_PROFILE", TieoutKey="A-0003")
    shelf_of(world, "billingplatform").keep("BILLING_PROFILE", ident, {**held, "CurrencyCode": "EUR"})


SEEDS: tuple[Seed, ...] = (
    Seed("order_amount", kept("salesforce", "Opportunity", EVENT, Amount="700.00")),
    Seed("order_currency", kept("salesforce", "Opportunity", EVENT, CurrencyIsoCode="EUR")),
    Seed("order_deleted", gone("salesforce", "Opportunity", EVENT)),
    Seed("order_unreadable", kept("salesforce", "Opportunity", EVENT, Amount=None)),
    Seed("order_unknown", another_deal()),
    Seed(
        "subscription_value",
        sql(
            "UPDATE subscription_charge SET contract_value_minor = contract_value_minor + 1 WHERE id ="
            " (SELECT max(id) FROM subscription_charge)"
        ),
    ),
    Seed("subscription_missing", never_activated),
    Seed("subscription_unknown", subscribed_by_nobody),
    Seed("subscription_currency", sql("UPDATE subscription SET currency = 'EUR' WHERE account_id = 'A-0003'")),
    Seed("usage_unaccounted", lost_batch),
    Seed(
        "usage_rated_differently",
        sql(
            """UPDATE rated_line SET derivation = replace(derivation, '"measured":"12001/2"', '"measured":"12003/2"')"""
            " WHERE charge_code = 'VC-MIN'"
        ),
    ),
    Seed(
        "rated_invoiced_differently",
        sql("UPDATE rated_line SET amount_minor = amount_minor + 1 WHERE account_id = 'A-0003'"),
    ),
    Seed("rated_not_invoiced", newcomer("rate")),
    Seed("invoiced_not_rated", sql("DELETE FROM rated_line WHERE account_id = 'A-0003'")),
    Seed("billed_differently", billed(lambda kind, _: _CHEAPER[kind]), "billingplatform"),
    Seed("billed_missing", billed(lambda kind, _: {"VoidFlag": "1"} if kind == "INVOICE" else {}), "billingplatform"),
    Seed("billed_unknown", billed(lambda kind, _: {"Id": "99001"} if kind == "INVOICE" else {}), "billingplatform"),
    Seed("billed_currency", billed_in_euros, "billingplatform"),
    Seed("credit_unaccounted", sql("UPDATE credit_grant SET left_minor = left_minor - 1")),
    Seed("tax_not_asked", undelivered("avalara", "tax_document", "transaction", TAXED)),
    Seed("tax_deleted", gone("avalara", "transaction", TAXED)),
    Seed("tax_voided", taxed(status="Cancelled")),
    Seed("tax_unreadable", taxed(totalTax=None)),
    Seed("tax_unknown", by_hand(TAXED)),
    Seed("tax_currency", taxed(currencyCode="EUR")),
    Seed("tax_uncommitted", taxed(status="Saved")),
    Seed("tax_amount", taxed(totalTax="310.00")),
    Seed("tax_base", taxed(totalAmount="4890.00")),
    Seed("tax_period", taxed(date="2026-11-01")),
    Seed("tax_party", taxed(customerCode="A-0001")),
    Seed("tax_jurisdiction", elsewhere_taxed),
    Seed("tax_day", taxed(date="2026-10-30")),
    Seed("returned_tax_missing", undelivered("avalara", "tax_credit", "transaction", NOTE)),
    Seed("returned_tax_deleted", gone("avalara", "transaction", NOTE)),
    Seed("returned_tax_unknown", by_hand(NOTE)),
    Seed("returned_tax_voided", returned(status="Cancelled")),
    Seed("returned_tax_uncommitted", returned(status="Saved")),
    Seed("returned_tax_amount", returned(totalTax="-10.00")),
    Seed("returned_tax_currency", returned(currencyCode="EUR")),
    Seed("returned_tax_unreadable", returned(totalTax=None)),
    Seed("returned_tax_period", returned(date="2026-12-01")),
    Seed("returned_tax_day", returned(date="2026-11-21")),
    Seed("returned_tax_party", returned(customerCode="A-0001")),
    Seed("payment_awaited", both(newcomer("finalise"), passed(60)), only="stripe"),
    Seed("payment_failed", lambda world: (world.enter(POOR), world.month(), None)[-1]),
    Seed("charge_gone", gone("stripe", "payment_intent", PAYMENT)),
    Seed("charge_reversed", intended(status="canceled")),
    Seed("charge_unreadable", intended(amount_received=None)),
    Seed("charge_amount", charged(amount=more, amount_received=more, amount_captured=more, net=more)),
    Seed("charge_currency", charged(currency=lambda _: "eur")),
    Seed("charge_twice", charged_again(tieout_id=PAYMENT)),
    Seed("charge_unknown", charged_again()),
    Seed("charge_text", intended(description="By hand")),
    Seed("charge_party", intended(customer="cus_another")),
    Seed(
        "settlement_missing",
        both(newcomer("collect"), taken_in, never_settled("PAY-INV-2026-10-A-0004"), passed(30)),
        only="stripe",
    ),
    Seed("settlement_gone", never_settled(PAYMENT)),
    Seed("settlement_amount", settled(amount=7100)),
    Seed("settlement_fee", settled(fee=300, net=6900)),
    Seed("settlement_currency", settled(currency="eur")),
    Seed("settlement_twice", settled(id="txn_again")),
    Seed("settlement_unknown", settled_for_nobody),
    Seed("refund_at_gateway", refunded_at_the_gateway),
    Seed("refund_amount", given_back(amount=-1000, net=-1000)),
    Seed("refund_missing", given_back()),
    Seed("refund_currency", given_back(currency="eur")),
    Seed("chargeback", disputed()),
    Seed("chargeback_amount", both(disputed(), settle, disputed(7100))),
    Seed("chargeback_fee", both(disputed(), settle, disputed(fee=2000))),
    Seed("chargeback_missing", both(disputed(), settle, no_dispute)),
    Seed("payout_missing", both(paid_out(), passed(30)), only="stripe"),
    Seed("payout_failed", paid_out(lambda _: {"status": "failed"})),
    Seed("payout_amount", paid_out(lambda payout: {"amount": payout["amount"] - 100})),
    Seed("payout_unknown", paid_out(lambda _: {"id": "po_by_hand"})),
    Seed("deposit_missing", both(paid_out(lambda _: {}), at_the_bank("1.00", "Somebody"), passed(30)), only="stripe"),
    Seed("deposit_amount", both(paid_out(lambda _: {}), at_the_bank("70.00"))),
    Seed("deposit_unknown", at_the_bank("77.00", "Stripe payments")),
    *_document(
        "invoice", amount=booked("invoice", INVOICE, with_amount("73.00")), lines=booked("invoice", TAXED, split)
    ),
    *_document(
        "credit_note",
        amount=booked("creditMemo", NOTE, with_amount("2300.00")),
        lines=booked("creditMemo", NOTE, split),
    ),
    *_document("payment", unknown=entered("customerPayment", PAYMENT, unapplied)),
    Seed("erp_refund_not_delivered", both(gone_at_xero, refused("xero", "refund", REFUND)), "xero"),
    Seed("erp_refund_unreadable", at_xero(lambda _: {"Amount": None}), "xero"),
    Seed("erp_refund_deleted", gone_at_xero, "xero"),
    Seed("erp_refund_voided", taken_back_at_xero, "xero"),
    Seed("erp_refund_unknown", copied_at_xero(Reference=""), "xero"),
    Seed("erp_refund_twice", copied_at_xero(), "xero"),
    Seed(
        "erp_refund_currency",
        at_xero(lambda held: {"CreditNote": {**held["CreditNote"], "CurrencyCode": "EUR"}}),
        "xero",
    ),
    Seed("erp_refund_amount", at_xero(lambda _: {"Amount": "1.00"}), "xero"),
    *_document(
        "journal_entry",
        voided=_never,
        party=_never,
        amount=booked("journalEntry", JOURNAL, dearer),
        lines=booked("journalEntry", JOURNAL, on_another_account),
    ),
    Seed("journal_entry_voided", voided_journal, "xero"),
    Seed("gl_moved", foreign_bill),
    Seed("gl_rounding", rounded_by_itself, "euros"),
    Seed("clearing_open", cleared_by_hand),
    Seed(
        "deferred_schedule",
        sql(
            "UPDATE recognition SET amount_minor = amount_minor + 1 WHERE id ="
            " (SELECT id FROM recognition ORDER BY month DESC, id DESC LIMIT 1)"
        ),
    ),
    Seed("crm_figure_stale", kept("salesforce", "Opportunity", EVENT, Tieout_Invoiced__c="0.00")),
    Seed("crm_figure_credited", kept("salesforce", "Opportunity", EVENT, Tieout_Credited__c="1.00")),
    Seed("crm_figure_emptied", kept("salesforce", "Opportunity", EVENT, Tieout_Invoiced__c=None)),
    Seed("crm_figure_missing", gone("salesforce", "Opportunity", EVENT), echo="order_deleted"),
    Seed("crm_not_told", emptied_progress),
    Seed("crm_figure_currency", kept("salesforce", "Opportunity", EVENT, CurrencyIsoCode="EUR"), echo="order_currency"),
    Seed(
        "crm_figure_unknown",
        another_deal(
            StageName="Prospecting", IsWon=False, IsClosed=False, Tieout_Status__c="paid", Tieout_Invoiced__c="750.00"
        ),
    ),
    Seed("customer_renamed", kept("netsuite", "customer", "A-0003", companyName="Customer three")),
)
