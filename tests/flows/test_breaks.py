"""Whatever somebody changes behind our back is one Break of its own kind, and a clean month has none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import MetaData, Table, create_engine, select, update

from core.breaks import KINDS, Severity
from core.ties import Break, TieLine
from flows.tie_out import tie_out_period
from sandbox import netsuite
from sandbox.emulator import Json, Shelf
from sandbox.stripe_gateway import Stripe
from tests.flows.world import PERIOD, Company

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("company")]

INVOICE, PAYMENT, EVENT = "INV-2026-10-A-0003", "PAY-INV-2026-10-A-0003", "A-0001 event"
TAXED = "INV-2026-10-A-0002"
JOURNAL = f"JE-{INVOICE}"

Damage = Callable[[Company], AbstractContextManager[None]]


@contextmanager
def at(world: Company, system: str) -> Iterator[Shelf]:
    """Somebody works at a system by hand; afterwards it is as it was."""
    shelf = world.running.emulators[system].shelf
    before = {kind: {ident: shelf.get(kind, ident) for ident in items} for kind, items in shelf._kinds.items()}
    try:
        yield shelf
    finally:
        for kind, items in list(shelf._kinds.items()):
            for ident in set(items) - before.get(kind, {}).keys():
                shelf.drop(kind, ident)
        for kind, items in before.items():
            for ident, item in items.items():
                if shelf.get(kind, ident) != item:
                    assert item is not None
                    shelf.keep(kind, ident, item)


def booked(kind: str, ours: str, change: Callable[[Json], Json]) -> Damage:
    """A bookkeeper changes a document in the ERP, which posts it anew."""

    @contextmanager
    def damage(world: Company) -> Iterator[None]:
        with at(world, "netsuite") as shelf:
            held = world.held("netsuite", kind, ours)
            given = {"@type": netsuite.TYPE_OF[kind], "externalId": ours, **change(held)}
            netsuite.Company(shelf).write(given)
            yield

    return damage


def entered(kind: str, like: str, change: Callable[[Json], Json]) -> Damage:
    """A bookkeeper enters a document in the ERP that is like one of ours, and carries no key of ours."""

    @contextmanager
    def damage(world: Company) -> Iterator[None]:
        with at(world, "netsuite") as shelf:
            held = dict(world.held("netsuite", kind, like))
            for own in ("externalId", "internalId", "tranId", "status", "_applied", "_impact"):
                held.pop(own, None)
            netsuite.Company(shelf).write({**held, "@type": netsuite.TYPE_OF[kind], **change(held)}, adding=True)
            yield

    return damage


def kept(system: str, kind: str, ours: str, **fields: Any) -> Damage:
    """Somebody changes fields of an object."""
    return lambda world: world.changed(system, kind, ours, **fields)


def gone(system: str, kind: str, ours: str) -> Damage:
    return lambda world: world.deleted(system, kind, ours)


def with_amount(amount: str) -> Callable[[Json], Json]:
    """The first line of an invoice has another amount."""

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


def of_another_customer(held: Json) -> Json:
    return {"entity": {"externalId": "A-0002"}, "itemList": held["itemList"]}


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


def stripe_object(shelf: Shelf, kind: str, payment: str) -> Json:
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


@contextmanager
def charged_more(world: Company) -> Iterator[None]:
    """The gateway collected a dollar more than was asked: the charge and its settlement say so."""
    with at(world, "stripe") as shelf:
        for kind, fields in (
            ("payment_intent", ("amount", "amount_received")),
            ("charge", ("amount", "amount_captured")),
            ("balance_transaction", ("amount", "net")),
        ):
            item = stripe_object(shelf, kind, PAYMENT)
            shelf.keep(kind, item["id"], {**item, **{name: item[name] + 100 for name in fields}})
        yield


def charged_again(**metadata: str) -> Damage:
    @contextmanager
    def damage(world: Company) -> Iterator[None]:
        with at(world, "stripe") as shelf:
            intent, charge, movement = (
                stripe_object(shelf, kind, PAYMENT) for kind in ("payment_intent", "charge", "balance_transaction")
            )
            shelf.keep(
                "payment_intent",
                "pi_again",
                {**intent, "id": "pi_again", "latest_charge": "ch_again", "metadata": metadata},
            )
            own = {"payment_id": metadata["tieout_id"]} if metadata else {}
            again = {"id": "ch_again", "payment_intent": "pi_again", "balance_transaction": "txn_again"}
            shelf.keep("charge", "ch_again", {**charge, **again, "metadata": own})
            shelf.keep("balance_transaction", "txn_again", {**movement, "id": "txn_again", "source": "ch_again"})
            yield

    return damage


@contextmanager
def refunded_at_the_gateway(world: Company) -> Iterator[None]:
    with at(world, "stripe") as shelf:
        intent = stripe_object(shelf, "payment_intent", PAYMENT)
        Stripe(shelf, clock=lambda: intent["created"]).create_refund({"payment_intent": intent["id"], "amount": 500})
        yield


@contextmanager
def disputed_at_the_bank(world: Company) -> Iterator[None]:
    """As the gateway books it: the amount and a fee leave the balance, for a dispute of the charge."""
    with at(world, "stripe") as shelf:
        charge = stripe_object(shelf, "charge", PAYMENT)
        dispute = {
            "id": "dp_1",
            "object": "dispute",
            "charge": charge["id"],
            "payment_intent": charge["payment_intent"],
            "amount": 7200,
            "currency": "usd",
            "metadata": {},
        }
        shelf.keep("dispute", "dp_1", dispute)
        movement = stripe_object(shelf, "balance_transaction", PAYMENT)
        taken = {"id": "txn_dp", "type": "adjustment", "amount": -7200, "fee": 1500, "net": -8700, "source": "dp_1"}
        shelf.keep("balance_transaction", "txn_dp", {**movement, **taken})
        yield


def settled(**fields: Any) -> Damage:
    @contextmanager
    def damage(world: Company) -> Iterator[None]:
        with at(world, "stripe") as shelf:
            movement = stripe_object(shelf, "balance_transaction", PAYMENT)
            shelf.keep("balance_transaction", movement["id"], {**movement, **fields})
            yield

    return damage


@contextmanager
def never_settled(world: Company) -> Iterator[None]:
    with at(world, "stripe") as shelf:
        shelf.drop("balance_transaction", stripe_object(shelf, "balance_transaction", PAYMENT)["id"])
        charge = stripe_object(shelf, "charge", PAYMENT)
        shelf.keep("charge", charge["id"], {**charge, "balance_transaction": None})
        yield


def paid_out(change: Callable[[Json], Json] | None = None) -> Damage:
    """The gateway pays out what it owes; ``change``: what is wrong with the payout (None: one payment is left out)."""

    @contextmanager
    def damage(world: Company) -> Iterator[None]:
        with at(world, "stripe") as shelf:
            movement = stripe_object(shelf, "balance_transaction", PAYMENT)
            if change is None:
                shelf.keep("balance_transaction", movement["id"], {**movement, "_payout": "po_lost"})
            (payout,) = Stripe(shelf, clock=lambda: movement["available_on"]).pay_out(movement["available_on"])
            if change is not None:
                shelf.keep("payout", payout["id"], {**payout, **change(payout)})
            yield

    return damage


def taxed(**fields: Any) -> Damage:
    return kept("avalara", "transaction", TAXED, **fields)


@contextmanager
def elsewhere_taxed(world: Company) -> Iterator[None]:
    """The same tax, owed to another city."""
    held = world.held("avalara", "transaction", TAXED)
    lines = [
        {**line, "details": [{**one, "jurisName": f"NEW {one['jurisName']}"} for one in line["details"]]}
        for line in held["lines"]
    ]
    with world.changed("avalara", "transaction", TAXED, lines=lines):
        yield


def one_more(table: str, column: str) -> Damage:
    """Somebody changes our own tables past the product: one cent more in the last row."""

    @contextmanager
    def damage(world: Company) -> Iterator[None]:
        engine = create_engine(world.hub.settings.database_url)
        rows = Table(table, MetaData(), autoload_with=engine)
        latest = rows.c.get("month", rows.c.id).desc()
        last = select(rows.c.id).where(rows.c[column] > 0).order_by(latest).limit(1).scalar_subquery()
        try:
            for cent in (1, -1):
                with engine.begin() as connection:
                    change = update(rows).where(rows.c.id == last).values({column: rows.c[column] + cent})
                    assert connection.execute(change).rowcount == 1
                if cent == 1:
                    yield
        finally:
            engine.dispose()

    return damage


@contextmanager
def emptied_progress(world: Company) -> Iterator[None]:
    with world.changed("salesforce", "Opportunity", EVENT, Tieout_Invoiced__c=None):
        yield


@contextmanager
def cleared_deal(world: Company) -> Iterator[None]:
    """A won deal is deleted: it goes to the bin, with what we had told of it."""
    with at(world, "salesforce") as shelf:
        deal = world.held("salesforce", "Opportunity", EVENT)
        shelf.drop("Opportunity", deal["Id"])
        yield


@contextmanager
def foreign_bill(world: Company) -> Iterator[None]:
    """The ERP books a bill of a supplier onto an account of ours: the summary shows it, no document of ours does."""
    with at(world, "netsuite") as shelf:
        journal = world.held("netsuite", "journalEntry", JOURNAL)
        fees = next(one for one in shelf.all("account") if one.get("externalId") == "6100")["internalId"]
        cash = next(one for one in shelf.all("account") if one.get("externalId") == "1060")["internalId"]
        impact = [*journal["_impact"], [fees, "12.00"], [cash, "-12.00"]]
        shelf.keep("journalEntry", journal["internalId"], {**journal, "_impact": impact})
        yield


def doubled(kind: str, ours_: str) -> Damage:
    return lambda world: world.doubled("netsuite", kind, ours_, internalId="90001")


ERP_INVOICE, ERP_PAYMENT, ERP_JOURNAL = "invoice", "customerPayment", "journalEntry"

#: The kind of Break, and what somebody does to make one.
SEEDS: list[tuple[str, Damage]] = [
    ("order_amount", kept("salesforce", "Opportunity", EVENT, Amount="700.00")),
    ("order_deleted", cleared_deal),
    ("crm_figure_stale", kept("salesforce", "Opportunity", EVENT, Tieout_Invoiced__c="0.00")),
    ("crm_figure_emptied", emptied_progress),
    ("invoice_amount", booked(ERP_INVOICE, INVOICE, with_amount("73.00"))),
    ("invoice_lines", booked(ERP_INVOICE, TAXED, split)),
    ("invoice_period", booked(ERP_INVOICE, INVOICE, lambda _: {"tranDate": "2026-11-02T12:00:00-08:00"})),
    ("invoice_day", booked(ERP_INVOICE, INVOICE, lambda _: {"tranDate": "2026-10-30T12:00:00-07:00"})),
    ("invoice_text", kept("netsuite", ERP_INVOICE, INVOICE, memo="Call before sending")),
    ("invoice_party", kept("netsuite", ERP_INVOICE, INVOICE, entity={"internalId": "999", "name": "Another"})),
    ("invoice_rate", kept("netsuite", ERP_INVOICE, INVOICE, exchangeRate="1.10")),
    ("invoice_currency", kept("netsuite", ERP_INVOICE, INVOICE, currency={"internalId": "2", "name": "EUR"})),
    ("invoice_voided", kept("netsuite", ERP_INVOICE, INVOICE, status="Voided", total="0.00")),
    ("invoice_deleted", gone("netsuite", ERP_INVOICE, INVOICE)),
    ("invoice_twice", doubled(ERP_INVOICE, INVOICE)),
    ("invoice_unknown", entered(ERP_INVOICE, INVOICE, lambda _: {})),
    ("payment_deleted", gone("netsuite", ERP_PAYMENT, PAYMENT)),
    ("payment_amount", kept("netsuite", ERP_PAYMENT, PAYMENT, payment="70.00")),
    ("payment_twice", doubled(ERP_PAYMENT, PAYMENT)),
    ("payment_period", kept("netsuite", ERP_PAYMENT, PAYMENT, tranDate="2026-09-01T00:00:00.000-07:00")),
    ("journal_entry_amount", booked(ERP_JOURNAL, JOURNAL, dearer)),
    ("journal_entry_lines", booked(ERP_JOURNAL, JOURNAL, on_another_account)),
    ("journal_entry_period", booked(ERP_JOURNAL, JOURNAL, lambda _: {"tranDate": "2026-11-02T12:00:00-08:00"})),
    ("journal_entry_text", kept("netsuite", ERP_JOURNAL, JOURNAL, memo="Checked by Ann")),
    ("journal_entry_deleted", gone("netsuite", ERP_JOURNAL, JOURNAL)),
    ("journal_entry_twice", doubled(ERP_JOURNAL, JOURNAL)),
    ("journal_entry_unknown", entered(ERP_JOURNAL, JOURNAL, lambda _: {})),
    ("gl_moved", foreign_bill),
    ("customer_renamed", kept("netsuite", "customer", "A-0003", companyName="Customer three")),
    ("charge_amount", charged_more),
    ("charge_twice", charged_again(tieout_id=PAYMENT)),
    ("charge_unknown", charged_again()),
    ("charge_text", kept("stripe", "payment_intent", PAYMENT, description="By hand")),
    ("charge_gone", gone("stripe", "payment_intent", PAYMENT)),
    ("settlement_amount", settled(amount=7100)),
    ("settlement_fee", settled(fee=300, net=6900)),
    ("settlement_gone", never_settled),
    ("refund_at_gateway", refunded_at_the_gateway),
    ("chargeback", disputed_at_the_bank),
    ("payout_amount", paid_out(lambda payout: {"amount": payout["amount"] - 100})),
    ("payout_failed", paid_out(lambda _: {"status": "failed"})),
    ("tax_uncommitted", taxed(status="Saved")),
    ("tax_voided", taxed(status="Cancelled")),
    ("tax_amount", taxed(totalTax="310.00")),
    ("tax_base", taxed(totalAmount="4890.00")),
    ("tax_period", taxed(date="2026-11-01")),
    ("tax_day", taxed(date="2026-10-30")),
    ("tax_party", taxed(customerCode="A-0001")),
    ("tax_jurisdiction", elsewhere_taxed),
    ("tax_deleted", gone("avalara", "transaction", TAXED)),
    ("rated_invoiced_differently", one_more("rated_line", "amount_minor")),
    ("subscription_value", one_more("subscription_charge", "contract_value_minor")),
    ("deferred_schedule", one_more("recognition", "amount_minor")),
]  # fmt: skip


def test_there_is_a_seed_for_most_kinds_and_for_each_severity() -> None:
    seeded = {kind for kind, _ in SEEDS}
    assert len(seeded) == len(SEEDS) >= 45
    assert {KINDS[kind].severity for kind in seeded} == set(Severity)


@pytest.mark.parametrize(("kind", "damage"), SEEDS, ids=[kind for kind, _ in SEEDS])
def test_what_somebody_did_is_one_break_of_its_kind(closed: Company, kind: str, damage: Damage) -> None:
    """One cause, one Break: what follows from it in other ties is explained by it."""
    with damage(closed):
        lines, breaks = closed.tie_out()
        assert [(one.kind, one.explained) for one in breaks] == [(kind, None)], [one.detail for one in breaks]
        (found,) = breaks
        assert {line.tie for line in lines if not line.closes} == {found.tie}
        assert {line.why for line in lines if line.tie != found.tie} <= {"", f"follows from {found.id}"}


def settled_line(world: Company) -> TieLine:
    lines, _ = tie_out_period(world.hub, PERIOD, "stripe")
    (line,) = [one for one in lines if one.tie == "settled net = paid out"]
    return line


def test_what_is_on_its_way_to_the_bank_is_told_until_it_is_late(closed: Company) -> None:
    """Only where the gateway pays out at all, and only after its time."""
    on_its_way = settled_line(closed)
    assert (on_its_way.difference, on_its_way.right_name) == (0, f"stripe + {on_its_way.right:,} USD on its way")
    with paid_out(lambda _: {})(closed):
        assert (settled_line(closed).difference, settled_line(closed).right_name) == (0, "stripe")
    with paid_out()(closed):
        assert settled_line(closed).closes
        before, closed.time.by = closed.time.by, closed.time.by + timedelta(days=30)
        _, (late,) = tie_out_period(closed.hub, PERIOD, "stripe")
        closed.time.by = before
        assert (late.kind, str(late.left.amount), late.right.minor) == ("payout_missing", "69.61", 0)


def test_after_all_of_it_was_undone_nothing_is_found(closed: Company) -> None:
    lines, breaks = closed.tie_out()
    assert breaks == []
    assert [line.tie for line in lines if line.difference or line.explained or line.why] == []
    with closed.hub.database.reading() as work:
        assert work.find(Break, closed_at=None) == []
