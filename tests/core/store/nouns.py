"""One of each stored noun, made by the business itself: an order, what follows from it, and its money."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from core.accounts import BillingTerms, ByParent, ExemptBy, GroupBy, ZoneChange
from core.allocation import standing
from core.amendments import Amendment, Pause, Start, Stop
from core.cash import Application, CashReceipt, Rule, Use
from core.close import Close, CloseState, Decision, Gate, JournalDraft, Override, PeriodLock, Verdict, override_id
from core.fx import Exchange, FxRate
from core.invoicing import Adjustment, carry, credit, draft, finalise
from core.money import Money
from core.noun import Noun
from core.obligations import Milestone, billed, obligations
from core.orders import activate
from core.payments import (
    Chargeback,
    ChargebackStatus,
    Dispute,
    Payment,
    PaymentStatus,
    Refund,
    Settlement,
    WriteOff,
    WriteOffState,
)
from core.period import DateSpan
from core.posting import invoice_entries
from core.rating import rate
from core.rating.alerts import Alert
from core.rational import Fraction
from core.revenue import straight_line
from core.tax import TaxDocument, TaxLine, TaxStatus
from core.ties import Break, Part
from core.units import UnitBalance, UnitGrant
from core.wallets import CreditGrant, CreditKind, drawn
from tests.books import BOOKS
from tests.core.rating.northwind import ACCOUNT, BOOK, line, order, used

NOON = datetime(2026, 10, 1, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=-6)))
OCTOBER = DateSpan.month("2026-10")


def usd(amount: str) -> Money:
    return Money.of(amount, "USD")


ORDER = order(
    line(1, "VC-ENDPOINT", "10", "17.50", site_id="A-0001-S1", start_on=date(2026, 10, 12)),
    line(2, "VC-PLAN", "1", "4800", description="Plan “Große” 1\n"),
    line(3, "VC-MIN", "0", "0", site_id="A-0001-S2"),
)
SUBSCRIPTION = activate(ORDER, BOOK)
RATED = rate(BOOK, ACCOUNT, [SUBSCRIPTION], OCTOBER, [used("conference_minutes", "30000.5", "A-0001-S2")])
DRAFT = draft(ACCOUNT, RATED, BOOK, OCTOBER, date(2026, 11, 1))
assert DRAFT is not None
TAX = TaxDocument(
    id=DRAFT.id,
    invoice_id=DRAFT.id,
    vendor_id="123456",
    status=TaxStatus.UNCOMMITTED,
    currency="USD",
    document_date=date(2026, 11, 1),
    base=DRAFT.subtotal,
    tax=usd("8.83"),
    lines=(
        TaxLine(
            id="T1",
            invoice_line_id=DRAFT.lines[0].id,
            jurisdiction="DENVER",
            jurisdiction_type="City",
            region="CO",
            country="US",
            tax_name="CO CITY TAX",
            rate=Decimal("0.0000625"),
            taxable=DRAFT.lines[0].amount,
            tax=usd("8.83"),
        ),
    ),
)
INVOICE = finalise(DRAFT, TAX)
PAYMENT = Payment(
    id=f"PAY-{INVOICE.id}",
    vendor_id="pi_1",
    account_id=ACCOUNT.id,
    invoice_id=INVOICE.id,
    currency="USD",
    amount=INVOICE.total,
    status=PaymentStatus.SUCCEEDED,
    received_at=NOON,
    booked_on=date(2026, 11, 1),
)
CREDIT_NOTE = credit(INVOICE, {1: usd("1.50"), 2: None}, (), "Outage", date(2026, 11, 5), {}).applied_to(
    INVOICE.id, usd("2.25")
)
SECOND_CREDIT_NOTE = credit(INVOICE, {1: None}, (CREDIT_NOTE,), "More", date(2026, 11, 6), {}).replace(
    refunded=usd("1")
)
REFUND = Refund(
    id="REF-1",
    payment_id=PAYMENT.id,
    payment_vendor_id="pi_1",
    credit_note_id=CREDIT_NOTE.id,
    refunded_on=date(2026, 11, 6),
    currency="USD",
    amount=usd("3"),
    reason="Outage",
)
TERMS = BillingTerms(id=ACCOUNT.id, currency="USD", group_by=GroupBy.SITE, minimum=usd("25"))
ADJUSTMENT = Adjustment(
    id="ADJ-1",
    account_id=ACCOUNT.id,
    charge_code="VC-MIN",
    product_code="VC-MIN",
    service_period=OCTOBER,
    currency="USD",
    amount=usd("-1.50"),
    reason="Counted twice",
)
CHARGEBACK = Chargeback(
    id="dp_1",
    payment_vendor_id="pi_1",
    currency="USD",
    amount=usd("9.00"),
    reason="fraudulent",
    status=ChargebackStatus.OPEN,
    opened_at=NOON,
)
WRITE_OFF = WriteOff(
    id=f"WO-{INVOICE.id}-1",
    invoice_id=INVOICE.id,
    account_id=ACCOUNT.id,
    currency="USD",
    amount=usd("9.00"),
    tax=usd("0.70"),
    reason="bankrupt",
    written_on=date(2026, 12, 1),
    proposed_by="Ada",
    state=WriteOffState.PROPOSED,
)
DISPUTE = Dispute(
    id="DIS-1",
    invoice_id=INVOICE.id,
    account_id=ACCOUNT.id,
    currency="USD",
    amount=usd("5"),
    reason="Too much",
    opened_on=date(2026, 11, 5),
)
EXCHANGE = Exchange(base="EUR", quote="USD", on=date(2026, 11, 1), rate=Fraction(12, 11), rates=("ECB:EUR/USD:1",))
MOVED = ZoneChange(
    id="A-0001@2026-11-01",
    account_id=ACCOUNT.id,
    effective_on=date(2026, 11, 1),
    before="UTC",
    timezone="America/Denver",
    recorded_at=NOON,
)
RATE = FxRate(
    id="ECB:EUR/USD:2026-11-01",
    source="ECB",
    base="EUR",
    quote="USD",
    valid_on=date(2026, 11, 1),
    rate=Decimal("1.0842"),
    recorded_at=NOON,
)
GRANT = CreditGrant(
    id="CR-1",
    account_id=ACCOUNT.id,
    kind=CreditKind.PROMOTIONAL,
    currency="USD",
    amount=usd("100"),
    left=usd("70"),
    charges=("VC-MIN",),
    granted_on=date(2026, 10, 1),
    effective_on=date(2026, 10, 1),
    expires_on=date(2027, 1, 1),
    reason="Startup credit",
    source="ops@northwind.example",
)
UNIT_GRANT = UnitGrant(
    id="UG-1",
    account_id=ACCOUNT.id,
    units=Decimal("1000.5"),
    charges=("VC-MIN", "VC-MIN-INTL"),
    granted_on=date(2026, 10, 7),
    effective_on=date(2026, 10, 1),
    reason="Outage",
)
UNIT_BALANCE = UnitBalance(
    id="A-0001:pool@2026-09:2026-10",
    account_id=ACCOUNT.id,
    period="2026-10",
    source="pool@2026-09",
    allowance="pool",
    last="2026-12",
    opening=Fraction(1000, 3),
    drawn=Fraction(1, 3),
    closing=Fraction(333),
)
ALERT = Alert(
    id="A-0001:allowance pool:2026-10:50",
    account_id=ACCOUNT.id,
    subject="allowance pool",
    threshold=Fraction(1, 2),
    used=Fraction(2, 3),
    limit=Fraction(1),
)
AMENDMENT = Amendment(
    id="AM-1",
    subscription_id=SUBSCRIPTION.id,
    effective_on=date(2026, 11, 15),
    recorded_at=NOON,
    changes=(
        Stop(charge_id=SUBSCRIPTION.charges[0].id),
        Start(charge=SUBSCRIPTION.charges[0].model_copy(update={"id": "SC-9", "starts_on": date(2026, 11, 15)})),
        Pause(charge_id=SUBSCRIPTION.charges[1].id, until=date(2026, 12, 1)),
    ),
)
BREAK = Break(
    id="B1",
    tie="hub = CRM",
    kind="amount",
    subject=INVOICE.id,
    currency="USD",
    left_name="hub",
    right_name="CRM",
    left=usd("10"),
    right=usd("-0.01"),
    severity="money",
    system="crm",
    cause="Somebody changed it.",
    cure="Change it back.",
    repair="none",
    owner="sales",
    first_seen_at=NOON,
    last_seen_at=NOON.astimezone(UTC),
)

CLOSE = Close(
    id="CLOSE-main-2026-10-1",
    entity="main",
    period="2026-10",
    number=1,
    currency="USD",
    cut_off=NOON,
    frozen_at=NOON,
    started_by="anna",
)
OVERRIDE = Override(
    id=override_id(CLOSE.id, Gate.DESK, "E-1"),
    close_id=CLOSE.id,
    gate=Gate.DESK,
    record="E-1",
    who="anna",
    reason="paid by hand",
    at=NOON,
)
DECISION = Decision(
    id="D-1",
    close_id=CLOSE.id,
    digest="0123456789abcdef",
    verdict=Verdict.APPROVE,
    who="ben",
    reason="",
    via="Prefect UI",
    at=NOON,
)
LOCK = PeriodLock(id="main/2026-10/1", entity="main", month="2026-10", close_id=CLOSE.id, locked_at=NOON)
ENTRIES = invoice_entries(BOOKS, INVOICE)
PROMISED = obligations(ORDER, SUBSCRIPTION, BOOK)

#: Each kind with the columns that its noun does not have.
RECEIPT = CashReceipt(
    id="RCT-1",
    entity="main",
    bank_account="026009593/1",
    currency="USD",
    amount=usd("130.00"),
    left=usd("10.00"),
    value_date=date(2026, 11, 10),
    payer="ACME INC",
    text="pays INV-1",
    reference="021000020000001",
)
APPLIED = Application(
    id="APP-RCT-1-1",
    receipt_id=RECEIPT.id,
    use=Use.APPLIED,
    invoice_id=INVOICE.id,
    currency="USD",
    amount=usd("120.00"),
    applied_on=date(2026, 11, 10),
    rule=Rule.REFERENCE,
    who="flow apply cash",
)
TAKEN_BACK = APPLIED.model_copy(update={"id": "APP-RCT-1-2", "use": Use.REVERSED, "reverses": APPLIED.id})
NOUNS: Sequence[tuple[Sequence[Noun], Mapping[str, Any]]] = (
    ([ACCOUNT, ACCOUNT.model_copy(update={"id": "A-0002", "sites": (), "tax_exemption": "E"})], {}),
    ([ORDER], {}),
    ([SUBSCRIPTION], {}),
    (RATED, {"billing_period": "2026-10"}),
    ([INVOICE, INVOICE.part(()).model_copy(update={"id": "INV-EUR", "exchange": EXCHANGE})], {}),
    ([TAX], {}),
    ([PAYMENT], {}),
    ([CREDIT_NOTE, SECOND_CREDIT_NOTE], {}),
    ([REFUND], {}),
    ([RECEIPT, RECEIPT.model_copy(update={"id": "RCT-2", "account_id": ACCOUNT.id})], {}),
    ([APPLIED, TAKEN_BACK], {}),
    ([TERMS, BillingTerms(id="A-0002", currency="USD", by_parent=ByParent.OWNS, exempt_by=ExemptBy.USER)], {}),
    ([ADJUSTMENT, ADJUSTMENT.model_copy(update={"id": "ADJ-2", "taken_by": INVOICE.id})], {}),
    ([carry(DRAFT, "below the minimum")], {}),
    ([MOVED], {}),
    ([RATE, RATE.model_copy(update={"id": "ECB:EUR/USD:2", "rate": Decimal("0.0000625")})], {}),
    ([GRANT, GRANT.model_copy(update={"id": "CR-2", "charges": (), "expires_on": None})], {}),
    ([drawn(GRANT, usd("30"), INVOICE.id, date(2026, 11, 1), INVOICE.lines[0].rated_line_id)], {}),
    ([UNIT_GRANT, UNIT_GRANT.model_copy(update={"id": "UG-2", "expires_on": date(2027, 1, 1)})], {}),
    ([UNIT_BALANCE], {}),
    ([ALERT, ALERT.model_copy(update={"id": "other", "raised_at": NOON, "told_at": NOON})], {}),
    ([AMENDMENT], {}),
    (
        [
            CHARGEBACK,
            CHARGEBACK.model_copy(
                update={
                    "id": "dp_2",
                    "payment_id": PAYMENT.id,
                    "invoice_id": INVOICE.id,
                    "account_id": ACCOUNT.id,
                    "status": ChargebackStatus.LOST,
                    "evidence_due_at": NOON,
                    "moved": (Part(name="txn_2", amount=usd("-9.00")),),
                    "lost": usd("9.00"),
                    "reopened": usd("0.00"),
                }
            ),
        ],
        {},
    ),
    ([WRITE_OFF, WRITE_OFF.model_copy(update={"id": "WO-2", "decided_by": "Grace"})], {}),
    ([DISPUTE, DISPUTE.model_copy(update={"id": "DIS-2", "closed_on": date(2026, 11, 6)})], {}),
    (
        [
            Settlement(
                id="txn_1",
                payment_id=PAYMENT.id,
                currency="BHD",
                gross=Money(1234567890123456789, "BHD"),
                fee=Money(-1, "BHD"),
                net=Money(1234567890123456790, "BHD"),
                available_on=NOON,
                kind="charge",
            )
        ],
        {},
    ),
    (invoice_entries(BOOKS, INVOICE), {}),
    (straight_line(next(one for one in INVOICE.lines if one.defer), ACCOUNT.id), {}),
    (PROMISED, {}),
    ([standing(PROMISED[0], ())[0].model_copy(update={"stated": Fraction(100, 3)})], {}),
    ([billed(PROMISED[0], INVOICE.lines[0], "2026-10", PROMISED[0].allocated)], {}),
    (
        [
            Milestone(
                id="L2", order_id="O1", reached_on=date(2026, 11, 6), who="Ada", evidence="signed", recorded_at=NOON
            )
        ],
        {},
    ),
    ([BREAK, BREAK.model_copy(update={"id": "B2", "closed_at": NOON})], {}),
    ([CLOSE, CLOSE.moved(CloseState.PREVIEWED, id="CLOSE-main-2026-10-2", number=2, digest="0123456789abcdef")], {}),
    ([OVERRIDE], {}),
    ([DECISION], {}),
    ([LOCK, LOCK.model_copy(update={"id": "main/2026-10/2", "reopened_at": NOON, "reason": "a late invoice"})], {}),
    ([JournalDraft.of(CLOSE, one) for one in ENTRIES], {}),
)
