"""A whole month of a company that keeps BillingPlatform: it bills, and everything around it is the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from app.demo import billing
from app.demo.crm import SalesPerson
from core.errors import Rejected
from core.invoicing import Invoice, InvoiceStatus
from core.money import Money
from core.payments import Payment
from core.rating import RatedLine
from core.wallets import CreditGrant, CreditKind
from flows import adjust, credits, deliver, prepare
from tests.connectors import contract_billingplatform
from tests.flows.test_amendments import amend, line_of
from tests.flows.world import CUSTOMERS, MONTH, PERIOD, SETTINGS, USAGE, Company, company
from tests.sandbox.billing_manager import BillingManager

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("billingplatform")]

#: What the company charges for usage, kept at BillingPlatform alone; the price book says something else.
RATES = {"VC-MIN": "0.05", "VC-MIN-INTL": "0.2", "VC-PLAN-MIN": "0.01"}
#: The steps until BillingPlatform knows the usage of the month, and those after it has closed its cycle.
TOLD = [name for name, _ in MONTH].index("rate") + 1


@dataclass
class Stack:
    company: Company
    manager: BillingManager

    def tell(self) -> None:
        """The month as far as BillingPlatform has to know it."""
        for _, step in MONTH[:TOLD]:
            step(self.company.hub)
        deliver.deliver_all(self.company.hub)

    def close(self) -> None:
        """BillingPlatform closes its cycle, and the month goes on."""
        self.manager.close(PERIOD)
        self.go_on()

    def go_on(self) -> None:
        for _, step in MONTH[TOLD:]:
            step(self.company.hub)

    def invoices(self) -> dict[str, Invoice]:
        with self.company.hub.database.reading() as work:
            return {invoice.account_id: invoice for invoice in work.find(Invoice)}

    def desk(self) -> list[tuple[str, str | None]]:
        with self.company.hub.database.reading() as work:
            return [(entry.record, entry.field) for entry in work.desk.open()]


@contextmanager
def kept(folder: Path, wsdl: str = "") -> Iterator[Stack]:
    """The small company with its deals won, its usage delivered, and its products rated at BillingPlatform."""

    def settings(url: str) -> Any:
        return contract_billingplatform.settings(url, wsdl_url=f"{url}{wsdl}" if wsdl else "")

    with company(folder, {**SETTINGS, "billingplatform": settings}) as entered:
        manager = BillingManager(entered.running.urls["billingplatform"])
        manager.set_up()
        prepare.prepare_erp(entered.hub)
        deliver.deliver_all(entered.hub)
        manager.rate(RATES)
        sales = SalesPerson(entered.running.urls["salesforce"])
        sales.enter(CUSTOMERS, entered.hub.price_book)
        sales.win(lambda _done, _whole: None)
        entered.bring("bridge.2026-10.csv", USAGE)
        yield Stack(entered, manager)
        manager.http.close()


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with kept(tmp_path) as made:
        yield made


@pytest.mark.parametrize("wsdl", ["", "/northwind/soap/wsdl"], ids=["REST", "SOAP"])
def test_a_month_that_billingplatform_bills_ties_out_to_the_cent(tmp_path: Path, wsdl: str) -> None:
    """By hand, before tax.

    A-0001: 6,000.5 x 0.05 = 300.025; 100.25 x 0.2; 10 x 18.00; 7 x 16.50 x 20/31 = 74.516; 750.00. A-0002: the year;
    9,000 and 4,000 x 0.01. A-0003: 4 x 18.00. The rates of usage are BillingPlatform's, the other prices the order's.
    """
    with kept(tmp_path, wsdl) as stack:
        stack.tell()
        stack.close()
        lines, breaks = stack.company.tie_out()
        assert breaks == []
        assert [line.tie for line in lines if line.difference or line.breaks] == []
        with stack.company.hub.database.reading() as work:
            assert (work.desk.open(), set(work.outbox.counts())) == ([], {"done"})
            assert work.find(RatedLine) == []
        assert {
            ident: sorted(str(line.amount.amount) for line in one.lines) for ident, one in stack.invoices().items()
        } == {
            "A-0001": ["180.00", "20.05", "300.03", "74.52", "750.00"],
            "A-0002": ["40.00", "4800.00", "90.00"],
            "A-0003": ["72.00"],
        }
        tied = {line.tie: (line.right_name, line.count) for line in lines}
        assert tied["invoices = billing system"] == ("billingplatform", 3)
        assert tied["usage metered = usage billed"] == ("billingplatform", 4)
        assert tied["invoices = ERP invoices"] == ("netsuite", 3)
        before = stack.company.objects()
        stack.tell()
        stack.close()
        assert stack.company.objects() == before


def test_the_billing_manager_of_the_demo_bills_a_month_that_ties_out_and_once(tmp_path: Path) -> None:
    """Who waits for the hub's contracts and usage, and closes the cycle; a second time there is nothing to close."""
    settings = {**SETTINGS, "billingplatform": contract_billingplatform.settings}
    with company(tmp_path, settings) as entered:
        manager = billing.BillingManager(entered.running.urls["billingplatform"])
        manager.set_up(entered.hub)
        entered.enter(*CUSTOMERS)
        entered.bring("bridge.2026-10.csv", USAGE)
        assert manager.bill(entered.hub, PERIOD) == len(CUSTOMERS)
        entered.month()
        assert entered.breaks() == []
        before = entered.objects()
        manager.set_up(entered.hub)
        assert manager.bill(entered.hub, PERIOD) == 0
        assert entered.objects() == before


def test_each_line_is_taxed_where_it_was_used_and_earned_as_its_charge_says(stack: Stack) -> None:
    """Site, tax code, ledger account and deferral come from the price book and the order, not from BillingPlatform."""
    stack.tell()
    stack.close()
    invoices = stack.invoices()
    shown = {line.charge_code: (line.site_id, line.revenue_account, line.defer) for line in invoices["A-0001"].lines}
    assert shown["VC-MIN"] == ("A-0001-S1", "4000", False)
    assert shown["VC-MIN-INTL"] == ("A-0001-S2", "4000", False)
    assert shown["VC-LIVE"] == ("A-0001-S1", "4020", False)
    plan = next(line for line in invoices["A-0002"].lines if line.charge_code == "VC-PLAN")
    assert (plan.defer, str(plan.service_period)) == (True, "2026-10-01..2027-09-30")
    assert invoices["A-0003"].tax == Money.zero("USD")
    assert {one.status for one in invoices.values()} == {InvoiceStatus.FINAL}


def test_an_amendment_in_the_month_is_told_and_billed_by_days(stack: Stack) -> None:
    """Four endpoints until 15 October, six from the 16th: 4 x 18 x 15/31 = 34.84 and 6 x 18 x 16/31 = 55.74."""
    stack.tell()
    standing = line_of(stack.company, "A-0003", "VC-ENDPOINT")
    more = {"code": "VC-ENDPOINT", "quantity": 6, "price": 18, "site": "A-0003-S1", "change": "replace"}
    amend(stack.company, "A-0003", "2026-10-16", {**more, "amends": standing})
    deliver.deliver_all(stack.company.hub)
    stack.close()
    assert stack.company.breaks() == []
    lines = stack.invoices()["A-0003"].lines
    assert {str(line.service_period): str(line.amount.amount) for line in lines} == {
        "2026-10-01..2026-10-15": "34.84",
        "2026-10-16..2026-10-31": "55.74",
    }


def test_mishaps_on_the_wire_leave_one_record_each(stack: Stack) -> None:
    for kind, match in (
        ("lose_reply", "PATCH .*/ACCOUNT$"),
        ("error_after", "PATCH .*/ACTIVITY"),
        ("reset", "PATCH .*/ACCOUNT_PRODUCT"),
        ("rate_limit", "PATCH .*/CONTRACT"),
        ("garbage", "GET .*/query"),
    ):
        stack.company.plant("billingplatform", kind, match)
    for _ in range(3):
        stack.tell()
        stack.company.time.sleep(60)
    stack.close()
    stack.go_on()
    assert stack.company.breaks() == []
    assert stack.desk() == []
    counts = {entity: len(stack.manager.rows(entity)) for entity in ("ACCOUNT", "CONTRACT", "ACCOUNT_PRODUCT")}
    assert counts == {"ACCOUNT": 3, "CONTRACT": 4, "ACCOUNT_PRODUCT": 8}


def test_usage_that_no_closed_invoice_bills_is_a_difference(stack: Stack) -> None:
    stack.tell()
    stack.go_on()
    assert stack.invoices() == {}
    lines, _ = stack.company.tie_out()
    told = next(line for line in lines if line.tie == "usage metered = usage billed")
    assert (told.breaks, str(told.right)) == (4, "0.000000")


def test_an_invoice_voided_there_after_it_was_taken_over_is_a_break(stack: Stack) -> None:
    stack.tell()
    stack.close()
    ours = stack.invoices()["A-0003"].id
    shelf = stack.company.running.emulators["billingplatform"].shelf
    shelf.keep("INVOICE", ours[3:], {**(shelf.get("INVOICE", ours[3:]) or {}), "VoidFlag": "1"})
    assert stack.company.breaks() == [("invoices = billing system", ours, "billed_missing")]


@pytest.mark.parametrize(
    ("entity", "change", "field"),
    [
        ("INVOICE", {"GrandTotalAmount": "78.00"}, None),  # it carries tax: the total is not the sum of its lines
        ("INVOICE", {"Status": "HALF OPEN"}, "state"),
        ("PRODUCT", {"ExternalKey": "VC-UNHEARD"}, "charge_code"),
        ("ACCOUNT_PRODUCT", {"TieoutKey": "SC-UNHEARD"}, "subscription_charge_id"),
        ("BILLING_PROFILE", {"TieoutKey": "A-0999"}, "account_id"),
    ],
)
def test_an_invoice_that_cannot_be_taken_over_stands_on_the_desk_alone(
    stack: Stack, entity: str, change: dict[str, str], field: str | None
) -> None:
    """The others go on; it is taken over when its cause is gone."""
    stack.tell()
    stack.manager.close(PERIOD)
    shelf = stack.company.running.emulators["billingplatform"].shelf
    profile = stack.manager.rows("BILLING_PROFILE", "TieoutKey = 'A-0003'")[0]["Id"]
    ident = {
        "INVOICE": stack.manager.rows("INVOICE", f"BillingProfileId = '{profile}'")[0]["Id"],
        "PRODUCT": stack.manager.rows("PRODUCT", "ExternalKey = 'VC-PLAN-MIN'")[0]["Id"],
        "ACCOUNT_PRODUCT": stack.manager.rows("ACCOUNT_PRODUCT", "Name = 'VC-PLAN'")[0]["Id"],
        "BILLING_PROFILE": profile,
    }[entity]
    held = shelf.get(entity, ident) or {}
    shelf.keep(entity, ident, {**held, **change})
    stack.go_on()
    assert stack.desk() == [("billed_invoice", field)]
    assert len(stack.invoices()) == 2
    shelf.keep(entity, ident, held)
    stack.go_on()
    assert (stack.desk(), len(stack.invoices())) == ([], 3)


def test_a_billing_system_that_does_not_answer_stands_on_the_desk_until_it_does(stack: Stack) -> None:
    stack.tell()
    stack.manager.close(PERIOD)
    stack.company.plant("billingplatform", "error", "GET .*/query", status=503, times=4)
    stack.go_on()
    assert (stack.desk(), stack.invoices()) == ([("system", None)], {})
    stack.go_on()
    assert (stack.desk(), len(stack.invoices())) == ([], 3)


def test_an_adjustment_is_refused_where_another_system_bills(stack: Stack) -> None:
    stack.tell()
    stack.close()
    invoice = stack.invoices()["A-0003"].id
    with pytest.raises(Rejected, match="billingplatform bills"):
        adjust.adjust_line(stack.company.hub, invoice, 1, Money.of("-5.00", "USD"), "goodwill")


def test_prepaid_credit_pays_an_invoice_of_another_system_and_promotional_credit_is_its_own(stack: Stack) -> None:
    """50.00 that an account holds from before pay a part of its 72.00, the card the rest, and all still ties out."""
    hub = stack.company.hub
    held = usd("50.00")
    terms = {"kind": CreditKind.PREPAID, "currency": "USD", "amount": held, "left": held, "priority": 50, "charges": ()}
    days = dict.fromkeys(("granted_on", "effective_on"), date(2026, 10, 1))
    stack.tell()
    with hub.database.work() as work:
        work.add([CreditGrant(id="CR-1", account_id="A-0003", reason="Prepaid", source="before", **terms, **days)])
    stack.close()
    with hub.database.reading() as work:
        (payment,) = (one for one in work.find(Payment) if one.account_id == "A-0003")
        assert [one.left for one in work.find(CreditGrant)] == [usd("0.00")]
    assert payment.amount == usd("22.00")
    assert stack.company.breaks() == []
    with pytest.raises(Rejected, match="billingplatform bills"):
        credits.top_up(hub, "A-0003", held, date(2026, 10, 31))
    with pytest.raises(Rejected, match="billingplatform bills"):
        credits.grant_credit(hub, "A-0003", held, "goodwill", "Ada", date(2026, 10, 31))


def usd(amount: str) -> Money:
    return Money.of(amount, "USD")
