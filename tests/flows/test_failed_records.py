"""A record that fails stops no other, stands on the desk with its money, and ties out once it is cured and retried."""

from __future__ import annotations

import httpx
import pytest

from core.invoicing import Invoice
from core.money import Money
from core.orders import Order
from core.payments import Payment, PaymentRequest
from core.sync import CommandState, DeskEntry, InboxState, OutboxCommand
from flows.deliver import deliver_all
from flows.intake import take_in
from flows.retry_failed import retry_matching
from sandbox.stripe_gateway import SECRET_KEY
from tests.flows.world import CUSTOMERS, DENVER, USAGE, Company, customer, sold

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("company")]

#: This account's test card is declined when it is charged: mappings/tables/stripe_payment_methods.yaml.
POOR = customer("A-DECLINED", DENVER, sold("VC-ENDPOINT", 2, "18.00", "A-DECLINED-S1"), exemption="E")
PAYMENT = "PAY-INV-2026-10-A-DECLINED"


def usd(amount: str) -> Money:
    return Money.of(amount, "USD")


def on_desk(world: Company) -> dict[str, DeskEntry]:
    with world.hub.database.reading() as work:
        return {entry.id: entry for entry in work.desk.open()}


def retry(world: Company) -> int:
    return retry_matching(world.hub).counts["retried"]


def differing(world: Company) -> set[str]:
    return {line.tie for line in world.tie_out()[0] if line.breaks or line.difference}


def assert_all_is_well(world: Company) -> None:
    assert (differing(world), on_desk(world)) == (set(), {})
    with world.hub.database.reading() as work:
        assert set(work.outbox.counts()) == {"done"}


def test_a_declined_card(world: Company) -> None:
    world.enter(POOR)
    world.month()
    entry = on_desk(world)[f"outbox:stripe/payment/{PAYMENT}"]
    assert (entry.cause, entry.code, entry.money) == ("Rejected", "generic_decline", usd("36.00"))
    assert len(on_desk(world)) == 1
    assert [(one.subject, one.kind, one.left, one.right) for one in world.tie_out()[1]] == [
        (PAYMENT, "payment_failed", usd("36.00"), usd("0.00"))
    ]
    with world.hub.database.reading() as work:
        assert len(work.find(Payment, status="succeeded")) == len(CUSTOMERS)

    with httpx.Client(base_url=world.running.urls["stripe"], auth=(SECRET_KEY, "")) as dashboard:
        poor = world.held("stripe", "customer", "A-DECLINED")["id"]
        card = dashboard.post("/v1/payment_methods/pm_card_visa/attach", data={"customer": poor}).json()["id"]
        dashboard.post(f"/v1/customers/{poor}", data={"invoice_settings[default_payment_method]": card})
    assert retry(world) > 0
    world.month()
    assert_all_is_well(world)
    assert [one["amount_received"] for one in world.objects()["stripe", "payment_intent"]].count(3600) == 1


def test_a_payment_that_fails_after_it_was_taken_on_and_later_succeeds(world: Company) -> None:
    """As a bank debit does: the gateway accepts it and tells days later. One entry stands on the desk meanwhile."""
    world.month(until="collect")
    deliver_all(world.hub)
    debit = "PAY-INV-2026-10-A-0003"
    refusal = {"type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds", "message": "No."}
    failed = {"status": "requires_payment_method", "amount_received": 0, "last_payment_error": refusal}
    with world.changed("stripe", "payment_intent", debit, **failed):
        assert len(take_in(world.hub).failures) == 1
        ((ident, entry),) = on_desk(world).items()
        assert (ident, entry.money) == (f"outbox:stripe/payment/{debit}", usd("72.00"))
    take_in(world.hub)
    world.month()
    assert_all_is_well(world)


def test_a_closed_period_of_the_general_ledger(world: Company) -> None:
    url = world.running.urls["netsuite"]
    httpx.post(f"{url}/_sandbox/periods/2026-10", json={"closed": True}).raise_for_status()
    world.month()
    invoices = {f"outbox:netsuite/invoice/INV-2026-10-A-000{number}" for number in (1, 2, 3)}
    desk = on_desk(world)
    assert invoices <= desk.keys()
    assert {(desk[one].cause, "2026-10" in desk[one].cure) for one in invoices} == {("Parked", True)}
    with world.hub.database.reading() as work:
        at_risk = [entry.money for name, entry in desk.items() if name in invoices]
        assert at_risk == [one.total for one in sorted(work.find(Invoice), key=lambda one: -one.total.minor)]
    assert "invoices = payments" not in differing(world)
    assert "invoices = ERP invoices" in differing(world)

    httpx.post(f"{url}/_sandbox/periods/2026-10", json={"closed": False}).raise_for_status()
    assert retry(world) == len(desk)
    world.month()
    assert_all_is_well(world)


def test_a_product_that_the_price_book_does_not_have(world: Company) -> None:
    """The salesperson corrects the deal; the event on the desk is applied again with the deal as it is then."""
    wrong = customer("A-0009", DENVER, sold("VC-HOLOGRAM", 2, "750.00", "A-0009-S1", "2026-10-20"), exemption="E")
    book = world.hub.price_book
    hologram = book.charge("VC-LIVE").model_copy(update={"code": "VC-HOLOGRAM", "name": "Hologram"})
    world.enter(wrong, book=book.model_copy(update={"charges": (*book.charges, hologram)}))
    shelf = world.running.emulators["salesforce"].shelf
    events, holograms = (world.held("salesforce", "Product2", name)["Id"] for name in ("Livestream event", "Hologram"))
    (line,) = shelf.where("OpportunityLineItem", Product2Id=holograms)
    world.month()
    ((ident, entry),) = on_desk(world).items()
    assert ident.startswith("inbox:salesforce/order/006")
    assert (entry.cause, entry.field, entry.value, entry.money) == (
        "Rejected",
        "charge_code",
        "VC-HOLOGRAM",
        usd("1500.00"),
    )
    assert differing(world) == {"orders = CRM"}
    with world.hub.database.reading() as work:
        assert (len(work.find(Order)), len(work.find(Invoice))) == (4, 3)

    shelf.keep("OpportunityLineItem", line["Id"], {**line, "Product2Id": events})
    assert retry(world) == 1
    world.month()
    assert_all_is_well(world)
    with world.hub.database.reading() as work:
        assert work.get(Invoice, "INV-2026-10-A-0009").subtotal == usd("1500.00")  # type: ignore[union-attr]


def test_a_payment_that_comes_before_its_invoice_waits_for_it(world: Company) -> None:
    """The 72.00 of the exempt customer are charged before anybody billed them."""
    asked = PaymentRequest(
        id="PAY-INV-2026-10-A-0003",
        invoice_id="INV-2026-10-A-0003",
        account_id="A-0003",
        currency="USD",
        amount=usd("72.00"),
        description="Invoice INV-2026-10-A-0003",
    )
    world.month(until="intake")
    with world.hub.database.work() as work:
        command = OutboxCommand.of("stripe", "payment", "payment_request", asked, world.hub.now(), money=asked.amount)
        assert work.outbox.enqueue([command])
    deliver_all(world.hub)
    take_in(world.hub)
    with world.hub.database.reading() as work:
        assert work.inbox.counts()[InboxState.PARKED] == 1
    world.month()
    assert_all_is_well(world)


def test_usage_of_a_site_that_nobody_sold_stands_on_the_desk_and_the_rest_is_billed(world: Company) -> None:
    world.bring("bridge.2026-10.csv", USAGE + "u9,A-0001,A-0001-S9,conference_minutes,5,2026-10-02T09:00:00-06:00\n")
    world.month()
    (entry,) = on_desk(world).values()
    assert (entry.system, entry.cause, entry.value) == (
        "bridge",
        "unknown_site",
        "A-0001-S9",
    )
    assert differing(world) == set()


def test_a_tax_engine_that_is_away_stops_only_what_needs_it(world: Company) -> None:
    world.plant("avalara", "error", r".*/api/v2/", status=503, times=0)
    world.month()
    with world.hub.database.reading() as work:
        drafts = work.find(Invoice, status="draft")
        assert (
            len(work.outbox.in_state(CommandState.PENDING, CommandState.UNKNOWN, system="avalara")) == len(drafts) == 3
        )
        assert set(work.outbox.counts("netsuite")) == {"done"}
    world.running.emulators["avalara"].faults.clear()
    world.time.sleep(60)
    world.month()
    assert_all_is_well(world)


def test_a_crm_that_is_away_stops_no_payment_from_being_taken_in(world: Company) -> None:
    world.month(until="collect")
    deliver_all(world.hub)
    world.plant("salesforce", "error", ".*", status=503, times=0)
    report = take_in(world.hub)
    assert [row["record"] for row in report.rows] == ["payment"] * 3
    assert [(entry.id, entry.cause) for entry in report.failures] == [("system:salesforce", "Unavailable")]
    world.running.emulators["salesforce"].faults.clear()
    world.month()
    assert_all_is_well(world)
