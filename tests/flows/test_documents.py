"""How accounts are billed: groups, parents, minimums, corrections, disputes and statements, with four systems."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from core.accounts import BillingTerms, ByParent, ExemptBy, GroupBy
from core.errors import Rejected
from core.invoicing import Adjustment, CarryForward, Invoice
from core.ledger import JournalEntry
from core.money import Money, total
from core.payments import Payment
from core.period import DateSpan
from core.rating.compare import Delta
from core.statement import statement
from flows import bill, collect, deliver, intake, rate, tie_out, write_back
from flows.adjust import adjust_line, book_difference, close_dispute, open_dispute, set_terms
from tests.books import RECEIVABLES
from tests.flows.world import PERIOD, Company

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("company")]

EVENTS, YEAR, EXEMPT = "INV-2026-10-A-0001", "INV-2026-10-A-0002", "INV-2026-10-A-0003"
DAY = date(2026, 11, 20)


def usd(amount: str) -> Money:
    return Money.of(amount, "USD")


def invoices(world: Company) -> dict[str, Invoice]:
    with world.hub.database.reading() as work:
        return {invoice.id: invoice for invoice in work.find(Invoice)}


def under(world: Company, child: str, parent: str) -> None:
    """The CRM shows one account below another."""
    above = world.held("salesforce", "Account", f"Customer {parent}")
    world.set("salesforce", "Account", f"Customer {child}", ParentId=above["Id"])


def november(world: Company) -> None:
    """The next month, rated, billed and collected."""
    rate.rate_period(world.hub, "2026-11")
    bill.draft_invoices(world.hub, "2026-11")
    deliver.deliver_all(world.hub)
    bill.finalise_invoices(world.hub)
    collect.request_payments(world.hub)
    deliver.deliver_all(world.hub)
    intake.take_in(world.hub)
    intake.book_settlements(world.hub)
    write_back.tell_crm(world.hub)
    deliver.deliver_all(world.hub)


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        (GroupBy.SITE, {"A-0001-S1": "1193.02", "A-0001-S2": "87.05"}),
        (GroupBy.PURCHASE_ORDER, {"": "750.00", "PO-1": "530.07"}),
    ],
)
def test_an_account_may_have_an_invoice_per_group(world: Company, by: GroupBy, groups: dict[str, str]) -> None:
    """263.02 + 180.00 + 750.00 at the first site, 12.53 + 74.52 at the second; the event has no order number."""
    world.month(until="rate")
    set_terms(world.hub, BillingTerms(id="A-0001", currency="USD", group_by=by))
    world.month()
    found = {ident: one for ident, one in invoices(world).items() if one.account_id == "A-0001"}
    assert {ident: str(one.subtotal.amount) for ident, one in found.items()} == {
        f"{EVENTS}.{group}" if group else EVENTS: amount for group, amount in groups.items()
    }
    if by is GroupBy.PURCHASE_ORDER:
        assert {one.purchase_order for one in found.values()} == {None, "PO-1"}
    assert world.breaks() == []


def test_a_parent_that_owns_has_the_lines_of_the_account_on_its_invoice(world: Company) -> None:
    """Each line keeps its own site and tax; the account below has no invoice."""
    under(world, "A-0002", "A-0001")
    world.month(until="rate")
    set_terms(world.hub, BillingTerms(id="A-0002", currency="USD", by_parent=ByParent.OWNS))
    world.month()
    found = invoices(world)
    assert sorted(found) == [EVENTS, EXEMPT]
    assert {line.site_id for line in found[EVENTS].lines} >= {"A-0002-S1", "A-0001-S1"}
    assert found[EVENTS].subtotal == usd("6176.07")  # 1,280.07 + 4,800.00 + 96.00
    assert world.breaks() == []
    assert rate.rate_period(world.hub, PERIOD).counts["accounts"] == 0


def test_a_child_that_buys_for_itself_keeps_its_exemption_on_an_invoice_apart(world: Company) -> None:
    """The exempt account's 72.00 stand on an invoice of the parent, untaxed; the parent's own lines are taxed."""
    under(world, "A-0003", "A-0002")
    world.month(until="rate")
    owned = BillingTerms(id="A-0003", currency="USD", by_parent=ByParent.OWNS)
    set_terms(world.hub, owned.model_copy(update={"exempt_by": ExemptBy.USER}))
    world.month()
    found = invoices(world)
    assert sorted(found) == [EVENTS, YEAR, f"{YEAR}.E"]
    assert (found[f"{YEAR}.E"].tax_exemption, found[f"{YEAR}.E"].total) == ("E", usd("72.00"))
    assert (found[YEAR].tax_exemption, found[YEAR].tax > usd("0.00")) == (None, True)
    assert world.breaks() == []


def test_a_child_of_a_taxable_buyer_is_taxed_with_it(world: Company) -> None:
    """Where the parent is who buys, its lines stand on one invoice, whoever uses them."""
    under(world, "A-0003", "A-0002")
    world.month(until="rate")
    set_terms(world.hub, BillingTerms(id="A-0003", currency="USD", by_parent=ByParent.OWNS))
    world.month(until="finalise")
    found = invoices(world)
    assert sorted(found) == [EVENTS, YEAR]
    assert {line.site_id for line in found[YEAR].lines} >= {"A-0003-S1"}
    assert found[YEAR].tax_exemption is None


def test_a_parent_that_pays_is_charged_for_the_invoice_of_the_account(world: Company) -> None:
    under(world, "A-0003", "A-0001")
    world.month(until="rate")
    set_terms(world.hub, BillingTerms(id="A-0003", currency="USD", by_parent=ByParent.PAYS))
    world.month()
    intent = world.held("stripe", "payment_intent", f"PAY-{EXEMPT}")
    assert intent["customer"] == world.held("stripe", "customer", "A-0001")["id"]
    assert (
        world.held("netsuite", "customerPayment", f"PAY-{EXEMPT}")["customer"]
        == (world.held("netsuite", "invoice", EXEMPT)["entity"])
    )
    assert world.breaks() == []


def test_a_parent_that_is_not_there_cannot_take_over(world: Company) -> None:
    world.month(until="rate")
    with pytest.raises(Rejected, match="account A-0003 has no account above it"):
        set_terms(world.hub, BillingTerms(id="A-0003", currency="USD", by_parent=ByParent.PAYS))


def test_an_account_whose_parent_is_gone_stops_no_other(world: Company) -> None:
    """It stands on the desk without an invoice until its terms or its parent are mended."""
    world.month(until="rate")
    with world.hub.database.work() as work:
        work.put(BillingTerms(id="A-0003", currency="USD", by_parent=ByParent.OWNS))
    report = world.month()["bill"]
    assert [(entry.record_id, entry.field) for entry in report.failures] == [("A-0003", "parent_id")]
    assert sorted(invoices(world)) == [EVENTS, YEAR]
    set_terms(world.hub, BillingTerms(id="A-0003", currency="USD"))
    world.month()
    assert sorted(invoices(world)) == [EVENTS, YEAR, EXEMPT]
    with world.hub.database.reading() as work:
        assert work.desk.open() == []


def test_a_draft_below_the_minimum_goes_onto_the_next_invoice(world: Company) -> None:
    """72.00 of October are below 100.00; with the 72.00 of November they are not. Both months tie out.

    November in all: 10 x 18.00 + 7 x 16.50 = 295.50, and 144.00.
    """
    world.month(until="rate")
    set_terms(world.hub, BillingTerms(id="A-0003", currency="USD", minimum=usd("100.00")))
    world.month()
    assert EXEMPT not in invoices(world)
    assert world.breaks() == []
    assert bill.draft_invoices(world.hub, PERIOD).counts == {"drafted": 0, "already_drafted": 3, "carried": 0}
    november(world)
    invoice = invoices(world)["INV-2026-11-A-0003"]
    assert [(str(line.service_period), line.amount) for line in invoice.lines] == [
        ("2026-11-01..2026-11-30", usd("72.00")),
        ("2026-10-01..2026-10-31", usd("72.00")),
    ]
    with world.hub.database.reading() as work:
        (kept,) = work.find(CarryForward)
    assert kept.taken_by == invoice.id
    found = tie_out.TieOut(world.hub, "2026-11")
    found.billed()
    assert {(line.left, line.right) for line in found.found} == {(Decimal("439.50"), Decimal("439.50"))}


def test_a_draft_below_zero_lowers_the_next_invoice(world: Company) -> None:
    """A credit of 100.00 against 72.00 of November: nothing is issued, and December starts at 28.00 below zero."""
    world.month()
    adjust_line(world.hub, EXEMPT, 1, usd("-100.00"), "Counted twice since summer")
    november(world)
    with world.hub.database.reading() as work:
        (kept,) = work.find(CarryForward)
    assert (kept.id, kept.amount) == ("CF-2026-11-A-0003", usd("-28.00"))
    rate.rate_period(world.hub, "2026-12")
    bill.draft_invoices(world.hub, "2026-12")
    assert invoices(world)["INV-2026-12-A-0003"].subtotal == usd("44.00")


def test_a_correction_names_what_it_corrects_and_is_billed_once(world: Company) -> None:
    world.month()
    first = adjust_line(world.hub, EXEMPT, 1, usd("12.34"), "Two endpoints more")
    assert adjust_line(world.hub, EXEMPT, 1, usd("12.34"), "Two endpoints more").id == first.id
    november(world)
    line = next(one for one in invoices(world)["INV-2026-11-A-0003"].lines if one.rated_line_id == first.id)
    assert (line.amount, line.description) == (usd("12.34"), "Two endpoints more (2026-10-01..2026-10-31)")
    again = adjust_line(world.hub, EXEMPT, 1, usd("12.34"), "Two endpoints more")
    assert again.taken_by == "INV-2026-11-A-0003"
    assert world.breaks() == []


def test_a_booked_difference_is_on_the_next_invoice_with_its_own_period(world: Company) -> None:
    world.month()
    with world.hub.database.reading() as work:
        invoice = work.get(Invoice, EXEMPT)
    assert invoice
    line = invoice.lines[0]
    delta = Delta(
        line_id=line.rated_line_id,
        subscription_charge_id=line.subscription_charge_id or "",
        account_id="A-0003",
        site_id=line.site_id,
        product_code=line.product_code,
        charge_code=line.charge_code,
        service_period=line.service_period,
        before=usd("72.00"),
        after=usd("60.00"),
    )
    assert len(book_difference(world.hub, [delta], "Agreed price")) == 1
    assert book_difference(world.hub, [delta], "Agreed price") == []
    november(world)
    assert invoices(world)["INV-2026-11-A-0003"].subtotal == usd("60.00")
    with world.hub.database.reading() as work:
        (adjustment,) = work.find(Adjustment)
    assert adjustment.service_period == DateSpan.month(PERIOD)


def test_a_disputed_amount_is_not_collected_until_it_is_settled(world: Company) -> None:
    world.month(until="finalise")
    whole = invoices(world)[EVENTS].total
    with pytest.raises(Rejected, match="is open to be held"):
        open_dispute(world.hub, EVENTS, whole + usd("0.01"), "Too much", DAY)
    dispute = open_dispute(world.hub, EVENTS, usd("500.00"), "The event broke off", DAY)
    world.month()
    assert world.breaks() == []
    assert paid(world) == [whole - usd("500.00")]
    close_dispute(world.hub, dispute.id, DAY)
    assert ("invoices = payments", f"PAY-{EVENTS}-2", "payment_awaited") in world.breaks()
    world.month()
    assert paid(world) == [whole - usd("500.00"), usd("500.00")]
    assert world.breaks() == []
    with pytest.raises(Rejected, match="there is no open dispute"):
        close_dispute(world.hub, dispute.id, DAY)


def paid(world: Company) -> list[Money]:
    with world.hub.database.reading() as work:
        return [payment.amount for payment in work.find(Payment, invoice_id=EVENTS)]


def test_the_statements_of_all_accounts_sum_to_the_receivables_of_the_ledger(world: Company) -> None:
    """At the end of October all is owed; each statement's closing is the next one's opening."""
    world.month()
    with world.hub.database.reading() as work:
        entries = work.find(JournalEntry)
        october = work.sums.ledger_balances(last="2026-10")[RECEIVABLES, "USD"]
    told = [statement(f"A-000{n}", "USD", entries, DateSpan.month(PERIOD), [RECEIVABLES]) for n in (1, 2, 3)]
    assert total((one.closing for one in told), "USD") == october
    assert [line.document for line in told[0].lines] == [EVENTS]
    after = statement("A-0001", "USD", entries, DateSpan.month("2026-11"), [RECEIVABLES])
    assert after.opening == told[0].closing
