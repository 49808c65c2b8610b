"""A whole month of a small company, from won deals to the general ledger, against four emulators."""

from __future__ import annotations

from decimal import Decimal

import pytest

from core.invoicing import Invoice
from core.ledger import JournalEntry, Via
from core.money import Money, total
from core.payments import Payment
from core.rating import RatedLine
from core.revenue import RecognitionPart
from flows import rate
from tests.flows.world import PERIOD, Company

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("company")]

INVOICES = ["INV-2026-10-A-0001", "INV-2026-10-A-0002", "INV-2026-10-A-0003"]


def usd(amount: str) -> Money:
    return Money.of(amount, "USD")


def test_every_tie_closes_and_the_desk_is_empty(closed: Company) -> None:
    lines, breaks = closed.tie_out()
    assert breaks == []
    assert [line.tie for line in lines if line.difference] == []
    assert {"orders = CRM", "usage metered = rated", "invoices = payments", "GL 2400 Deferred revenue"} <= {
        line.tie for line in lines
    }
    with closed.hub.database.reading() as work:
        assert (work.desk.open(), set(work.outbox.counts())) == ([], {"done"})


def test_each_invoice_shows_what_the_price_book_says(closed: Company) -> None:
    """By hand, before tax.

    A-0001: 5,000 x 0.045 + 1,000.5 x 0.038 = 263.019; 100.25 x 0.125 = 12.53125; 10 x 18.00; 7 x 16.50 x 20/31 =
    74.516; 750.00. A-0002: the year at 4,800.00; 3,000 minutes above the 10,000 included at 0.032 = 96.00, shared
    9 : 4 = 66.4615 and 29.5385. A-0003: 4 x 18.00.
    """
    with closed.hub.database.reading() as work:
        invoices = work.find(Invoice)
    assert [invoice.id for invoice in invoices] == INVOICES
    assert [[str(line.amount.amount) for line in invoice.lines] for invoice in invoices] == [
        ["263.02", "12.53", "180.00", "74.52", "750.00"],
        ["4800.00", "66.46", "29.54"],
        ["72.00"],
    ]
    assert invoices[2].tax == usd("0")


def test_each_record_is_one_object_at_every_system(closed: Company) -> None:
    objects = closed.objects()
    with closed.hub.database.reading() as work:
        journals = [entry.id for entry in work.find(JournalEntry, via=Via.JOURNAL.value)]
        payments = [payment.id for payment in work.find(Payment)]
    accounts = ["A-0001", "A-0002", "A-0003"]
    assert [one["externalId"] for one in objects["netsuite", "customer"]] == accounts
    assert [one["externalId"] for one in objects["netsuite", "invoice"]] == INVOICES
    assert sorted(one["externalId"] for one in objects["netsuite", "customerPayment"]) == payments
    assert sorted(one["externalId"] for one in objects["netsuite", "journalEntry"]) == journals
    assert [one["metadata"]["tieout_id"] for one in objects["stripe", "customer"]] == accounts
    assert sorted(one["metadata"]["tieout_id"] for one in objects["stripe", "payment_intent"]) == payments
    assert sorted(one["code"] for one in objects["avalara", "transaction"]) == INVOICES
    assert payments == [f"PAY-{invoice}" for invoice in INVOICES]
    assert len(journals) == 3 + 3 + 3  # invoices, settlements, one recognition per account


def test_a_month_run_again_changes_no_object_anywhere(closed: Company) -> None:
    before = closed.objects()
    reports = closed.month()
    assert closed.objects() == before
    moved = {
        name: report.counts[count] for name, report in reports.items() for count in _MOVED if count in report.counts
    }
    assert set(moved.values()) == {0}


_MOVED = ("enqueued", "applied", "accepted", "accounts", "drafted", "created", "updated", "final", "requested", "told")


def test_two_orders_on_one_invoice_share_it_to_the_cent(closed: Company) -> None:
    """The event's line is 750.00 and no tax is due on it in Denver; the other order has the rest."""
    shown = [closed.held("salesforce", "Opportunity", f"A-0001 {name}") for name in ("event", "conferencing")]
    with closed.hub.database.reading() as work:
        invoice = work.get(Invoice, INVOICES[0])
    assert invoice is not None
    for name in ("Tieout_Invoiced__c", "Tieout_Paid__c"):
        assert sum(Decimal(one[name]) for one in shown) == invoice.total.amount
    event = next(line for line in invoice.lines if line.charge_code == "VC-LIVE")
    assert Decimal(shown[0]["Tieout_Invoiced__c"]) == (event.amount + event.tax).amount
    assert {one["Tieout_Status__c"] for one in shown} == {"paid"}


def test_a_year_in_advance_is_earned_by_day_and_what_is_left_stands_deferred(closed: Company) -> None:
    """By day a month of 31 days earns 407.6712, of 30 days 394.5205, February 368.2192.

    Whole cents of these sum to 4,799.98; the two cents left go to the largest remainders: February (0.92 of a cent)
    and, first of the months of 31 days (0.12), October.
    """
    with closed.hub.database.reading() as work:
        parts = [part for part in work.find(RecognitionPart) if part.account_id == "A-0002"]
        deferred = work.sums.unbooked()["USD"]
    earned = {part.month: str(part.amount.amount) for part in parts}
    assert (earned["2026-10"], earned["2026-11"], earned["2026-12"]) == ("407.68", "394.52", "407.67")
    assert (len(earned), earned["2027-02"]) == (12, "368.22")
    assert total([part.amount for part in parts], "USD") == usd("4800.00")
    assert deferred == usd("4392.32")


def test_late_usage_is_told_as_pending_and_waits_for_the_next_bill(world: Company) -> None:
    world.month()
    late = "id,account_id,site_id,meter,quantity,occurred_at\n"
    world.bring("bridge.late.csv", late + "u6,A-0001,A-0001-S1,conference_minutes,60.5,2026-10-30T09:00:00-06:00\n")
    world.month()
    lines, breaks = world.tie_out()
    assert [line.tie for line in lines if line.difference] == []
    (told,) = [line.right_name for line in lines if line.tie.startswith("usage received")]
    assert told == "5 rated + 1 pending + 0 repeated + 0 rejected"
    assert breaks == []
    assert rate.rate_period(world.hub, "2026-11").counts["corrections"] == 1
    with world.hub.database.reading() as work:
        (line,) = work.find(RatedLine, corrects=PERIOD)
    assert (line.amount, line.quantity) == (usd("2.30"), Decimal("60.5"))  # 60.5 x 0.038


#: What goes wrong on the wires, and at which calls.
MISHAPS = [
    ("stripe", "lose_reply", r"POST /v1/payment_intents"),
    ("stripe", "rate_limit", r"POST /v1/customers"),
    ("stripe", "error_after", r"POST /v1/customers"),
    ("avalara", "lose_reply", r"POST .*/transactions/createoradjust"),
    ("avalara", "garbage", r"POST .*/commit"),
    ("avalara", "error", r"GET /api/v2/companies/.*/transactions"),
    ("netsuite", "lose_reply", r"POST /services"),
    ("netsuite", "error_after", r"POST /services"),
    ("netsuite", "reset", r"POST /services"),
    ("salesforce", "lose_reply", r"(POST|PATCH) /services/data/.*composite"),
    ("salesforce", "rate_limit", r"GET /services/data"),
]


def test_a_month_of_mishaps_ends_with_the_same_objects(world: Company, closed: Company) -> None:
    for number, (system, kind, line) in enumerate(MISHAPS):
        world.plant(system, kind, line, skip=number % 3, times=2)
    for _ in range(4):
        world.month()
        world.time.sleep(60)
    assert world.tie_out()[1] == []
    with world.hub.database.reading() as work:
        assert (work.desk.open(), set(work.outbox.counts())) == ([], {"done"})
    kept, wanted = ({key: len(items) for key, items in one.objects().items()} for one in (world, closed))
    assert kept == {**wanted, ("stripe", "event"): kept["stripe", "event"]}
    faults = [fault for emulator in world.running.emulators.values() for fault in emulator.faults]
    assert [fault for fault in faults if fault.fired < 2] == []
