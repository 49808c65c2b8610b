"""The tables. Money is integer minor units beside a currency; rates and quantities are canonical text; instants UTC.

A row has the columns of its noun: a Money ``total`` is ``total_minor``, a DateSpan ``service_period`` is
``service_period_start`` and ``service_period_end`` (exclusive), a nested noun is JSON text. ``core.store.codec`` is the
only bridge.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, LargeBinary, String, Text, UniqueConstraint, text
from sqlalchemy.types import DateTime, TypeDecorator
from sqlmodel import Field, SQLModel

SQLModel.metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcDateTime(TypeDecorator[datetime]):
    """An instant: refused without an offset, kept in UTC, given back in UTC on every database."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise TypeError(f"an instant without an offset: {value!r}")
        instant = value.astimezone(UTC)
        return instant if dialect.name == "postgresql" else instant.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _minor(*, nullable: bool = False) -> Any:
    return Field(sa_column=Column(BigInteger, nullable=nullable))


def _instant(*, nullable: bool = False, index: bool = False) -> Any:
    return Field(sa_column=Column(UtcDateTime, nullable=nullable, index=index))


def _text(*, nullable: bool = False) -> Any:
    return Field(sa_column=Column(Text, nullable=nullable))


def _added(before: str) -> Any:
    """A text column that rows written before it was added have as ``before``."""
    return Field(sa_column=Column(String, nullable=False, server_default=text(f"'{before}'")))


def _number() -> Any:
    """A count that rows written before it was added have as zero."""
    return Field(sa_column=Column(BigInteger, nullable=False, server_default=text("0")))


class AccountRow(SQLModel, table=True):
    __tablename__ = "account"
    id: str = Field(primary_key=True)
    name: str
    email: str
    currency: str
    timezone: str
    billing_address: str = _text()
    sites: str = _text()
    contacts: str = _text()
    parent_id: str | None = Field(default=None, index=True)
    payment_terms_days: int
    tax_exemption: str | None = None
    source_system: str
    source_id: str
    entity: str | None = None


class BillingTermsRow(SQLModel, table=True):
    __tablename__ = "billing_terms"
    id: str = Field(primary_key=True)
    currency: str
    group_by: str
    by_parent: str
    minimum_minor: int | None = _minor(nullable=True)
    exempt_by: str
    cash_by: str = _added("amount")


class OrderRow(SQLModel, table=True):
    __tablename__ = "sales_order"
    id: str = Field(primary_key=True)
    name: str
    account: str = _text()
    account_id: str = Field(index=True)
    currency: str
    purchase_order: str | None = None
    closed_on: date
    start_on: date
    term_months: int | None = None
    total_minor: int = _minor()
    changed_at: datetime = _instant()
    amends: str | None = None
    sold_as: str | None = None
    quote_id: str | None = None


class OrderLineRow(SQLModel, table=True):
    __tablename__ = "sales_order_line"
    id: str = Field(primary_key=True)
    parent_id: str = Field(index=True, foreign_key="sales_order.id")
    sequence: int
    charge_code: str
    description: str
    site_id: str | None = None
    quantity: str
    unit_price: str
    amount_minor: int = _minor()
    start_on: date | None = None
    change: str | None = None
    amends: str | None = None
    until: date | None = None
    quote_line_id: str | None = None


class SubscriptionRow(SQLModel, table=True):
    __tablename__ = "subscription"
    id: str = Field(primary_key=True)
    account_id: str = Field(index=True)
    order_id: str = Field(unique=True)
    currency: str
    timezone: str
    starts_on: date
    ends_on: date | None = None
    version: int
    purchase_order: str | None = None


class SubscriptionChargeRow(SQLModel, table=True):
    __tablename__ = "subscription_charge"
    id: str = Field(primary_key=True)
    parent_id: str = Field(index=True, foreign_key="subscription.id")
    sequence: int
    order_line_id: str = Field(index=True)
    charge_code: str
    product_code: str
    site_id: str | None = None
    quantity: str
    unit_price: str | None = None
    starts_on: date
    ends_on: date | None = None
    contract_value_minor: int = _minor()


class RatedLineRow(SQLModel, table=True):
    __tablename__ = "rated_line"
    id: str = Field(primary_key=True)
    subscription_id: str
    subscription_charge_id: str = Field(index=True)
    order_line_id: str = Field(index=True)
    account_id: str
    site_id: str | None = None
    charge_code: str
    product_code: str
    description: str
    service_period_start: date
    service_period_end: date
    quantity: str
    unit_price: str | None = None
    currency: str
    amount_minor: int = _minor()
    derivation: str = _text()
    known_at: datetime | None = _instant(nullable=True)
    corrects: str | None = Field(default=None, index=True)
    billing_period: str
    __table_args__ = (Index("ix_rated_line_billing_period_account_id", "billing_period", "account_id"),)


class InvoiceRow(SQLModel, table=True):
    __tablename__ = "invoice"
    id: str = Field(primary_key=True)
    account_id: str = Field(index=True)
    currency: str
    billing_period_start: date
    billing_period_end: date
    invoice_date: date = Field(index=True)
    due_date: date
    status: str = Field(index=True)
    purchase_order: str | None = None
    tax_exemption: str | None = None
    billing_address: str = _text()
    subtotal_minor: int = _minor()
    tax_minor: int = _minor()
    total_minor: int = _minor()
    exchange: str | None = _text(nullable=True)
    entity: str = _added("main")
    __table_args__ = (CheckConstraint("total_minor = subtotal_minor + tax_minor", name="total"),)


class InvoiceLineRow(SQLModel, table=True):
    __tablename__ = "invoice_line"
    id: str = Field(primary_key=True)
    parent_id: str = Field(foreign_key="invoice.id")
    sequence: int
    position: int
    rated_line_id: str = Field(unique=True)
    subscription_charge_id: str | None = None
    charge_code: str
    product_code: str
    description: str
    site_id: str | None = None
    service_period_start: date
    service_period_end: date
    quantity: str
    unit_price: str | None = None
    amount_minor: int = _minor()
    tax_minor: int = _minor()
    tax_code: str
    revenue_account: str
    defer: bool
    service_address: str = _text()
    __table_args__ = (Index("ix_invoice_line_sums", "parent_id", "tax_code", "amount_minor", "tax_minor"),)


class AdjustmentRow(SQLModel, table=True):
    __tablename__ = "adjustment"
    id: str = Field(primary_key=True)
    account_id: str = Field(index=True)
    site_id: str | None = None
    subscription_charge_id: str | None = None
    charge_code: str
    product_code: str
    service_period_start: date
    service_period_end: date
    currency: str
    amount_minor: int = _minor()
    reason: str = _text()
    invoice_id: str | None = None
    taken_by: str | None = Field(default=None, index=True)


class CarryForwardRow(SQLModel, table=True):
    __tablename__ = "carry_forward"
    id: str = Field(primary_key=True)
    account_id: str = Field(index=True)
    billing_period_start: date = Field(index=True)
    billing_period_end: date
    currency: str
    amount_minor: int = _minor()
    reason: str
    lines: str = _text()
    taken_by: str | None = Field(default=None, index=True)


class DisputeRow(SQLModel, table=True):
    __tablename__ = "dispute"
    id: str = Field(primary_key=True)
    invoice_id: str = Field(index=True)
    account_id: str
    currency: str
    amount_minor: int = _minor()
    reason: str = _text()
    opened_on: date
    closed_on: date | None = None


class ChargebackRow(SQLModel, table=True):
    __tablename__ = "chargeback"
    id: str = Field(primary_key=True)
    payment_vendor_id: str
    payment_id: str | None = None
    invoice_id: str | None = Field(default=None, index=True)
    account_id: str | None = None
    currency: str
    amount_minor: int = _minor()
    reason: str = _text()
    status: str
    opened_at: datetime = _instant()
    evidence_due_at: datetime | None = _instant(nullable=True)
    moved: str = _text()
    lost_minor: int | None = _minor(nullable=True)
    reopened_minor: int | None = _minor(nullable=True)


class WriteOffRow(SQLModel, table=True):
    __tablename__ = "write_off"
    id: str = Field(primary_key=True)
    invoice_id: str = Field(index=True)
    account_id: str
    currency: str
    amount_minor: int = _minor()
    tax_minor: int = _minor()
    reason: str = _text()
    written_on: date
    proposed_by: str
    decided_by: str | None = None
    state: str
    exchange: str | None = _text(nullable=True)
    entity: str = _added("main")
    __table_args__ = (CheckConstraint("amount_minor > 0", name="positive"),)


class CreditNoteRow(SQLModel, table=True):
    __tablename__ = "credit_note"
    id: str = Field(primary_key=True)
    invoice_id: str = Field(index=True)
    account_id: str = Field(index=True)
    currency: str
    invoice_date: date
    credit_date: date
    reason: str = _text()
    tax_exemption: str | None = None
    subtotal_minor: int = _minor()
    tax_minor: int = _minor()
    total_minor: int = _minor()
    refunded_minor: int = _minor()
    exchange: str | None = _text(nullable=True)
    entity: str = _added("main")
    __table_args__ = (CheckConstraint("total_minor = subtotal_minor + tax_minor", name="total"),)


class CreditNoteLineRow(SQLModel, table=True):
    __tablename__ = "credit_note_line"
    id: str = Field(primary_key=True)
    parent_id: str = Field(index=True, foreign_key="credit_note.id")
    sequence: int
    position: int
    invoice_line_id: str = Field(index=True)
    charge_code: str
    product_code: str
    description: str
    site_id: str | None = None
    service_period_start: date
    service_period_end: date
    amount_minor: int = _minor()
    deferred_minor: int = _minor()
    tax_minor: int = _minor()
    share: str = _added("1")
    counted: str = _added("0")
    tax_code: str
    revenue_account: str
    service_address: str = _text()


class CreditApplicationRow(SQLModel, table=True):
    __tablename__ = "credit_application"
    id: str = Field(primary_key=True)
    parent_id: str = Field(index=True, foreign_key="credit_note.id")
    sequence: int
    invoice_id: str = Field(index=True)
    amount_minor: int = _minor()


class CreditGrantRow(SQLModel, table=True):
    __tablename__ = "credit_grant"
    id: str = Field(primary_key=True)
    account_id: str = Field(index=True)
    kind: str
    currency: str
    amount_minor: int = _minor()
    left_minor: int = _minor()
    priority: int
    charges: str = _text()
    granted_on: date
    effective_on: date
    expires_on: date | None = None
    breakage_percent: str = _added("0")
    reason: str = _text()
    source: str = Field(index=True)
    __table_args__ = (CheckConstraint("left_minor >= 0 AND left_minor <= amount_minor", name="left"),)


class CreditMovementRow(SQLModel, table=True):
    __tablename__ = "credit_movement"
    id: str = Field(primary_key=True)
    grant_id: str = Field(index=True)
    account_id: str
    kind: str
    currency: str
    amount_minor: int = _minor()
    moved_on: date
    document_id: str | None = Field(default=None, index=True)
    line_id: str | None = None
    __table_args__ = (CheckConstraint("amount_minor > 0", name="positive"),)


class UnitGrantRow(SQLModel, table=True):
    __tablename__ = "unit_grant"
    id: str = Field(primary_key=True)
    account_id: str = Field(index=True)
    units: str
    charges: str = _text()
    priority: int
    granted_on: date
    effective_on: date
    expires_on: date | None = None
    reason: str = _text()


class UnitBalanceRow(SQLModel, table=True):
    __tablename__ = "unit_balance"
    id: str = Field(primary_key=True)
    account_id: str
    period: str
    source: str
    allowance: str | None = None
    last: str | None = None
    opening: str
    granted: str
    drawn: str
    expired: str
    closing: str
    __table_args__ = (Index("ix_unit_balance_account_id_period", "account_id", "period"),)


class AlertRow(SQLModel, table=True):
    __tablename__ = "alert"
    id: str = Field(primary_key=True)
    account_id: str = Field(index=True)
    subject: str
    threshold: str
    used: str
    limit: str
    raised_at: datetime | None = _instant(nullable=True)
    told_at: datetime | None = _instant(nullable=True)


class AmendmentRow(SQLModel, table=True):
    __tablename__ = "amendment"
    id: str = Field(primary_key=True)
    subscription_id: str = Field(index=True)
    order_id: str | None = None
    effective_on: date
    recorded_at: datetime = _instant()
    changes: str = _text()


class ZoneChangeRow(SQLModel, table=True):
    __tablename__ = "zone_change"
    id: str = Field(primary_key=True)
    account_id: str = Field(index=True)
    effective_on: date
    before: str
    timezone: str
    recorded_at: datetime = _instant()


class FxRateRow(SQLModel, table=True):
    __tablename__ = "fx_rate"
    id: str = Field(primary_key=True)
    source: str
    base: str
    quote: str
    valid_on: date = Field(index=True)
    rate: str
    recorded_at: datetime = _instant()


class TaxDocumentRow(SQLModel, table=True):
    __tablename__ = "tax_document"
    id: str = Field(primary_key=True)
    invoice_id: str = Field(index=True)
    vendor_id: str
    status: str
    currency: str
    document_date: date
    base_minor: int = _minor()
    tax_minor: int = _minor()


class TaxLineRow(SQLModel, table=True):
    __tablename__ = "tax_line"
    id: str = Field(primary_key=True)
    parent_id: str = Field(index=True, foreign_key="tax_document.id")
    sequence: int
    invoice_line_id: str = Field(index=True)
    jurisdiction: str
    jurisdiction_type: str
    region: str
    country: str
    tax_name: str
    rate: str
    taxable_minor: int = _minor()
    tax_minor: int = _minor()


class PaymentRow(SQLModel, table=True):
    __tablename__ = "payment"
    id: str = Field(primary_key=True)
    vendor_id: str
    account_id: str
    invoice_id: str = Field(index=True)
    currency: str
    amount_minor: int = _minor()
    status: str
    received_at: datetime = _instant()
    failure: str | None = None
    exchange: str | None = _text(nullable=True)
    entity: str = _added("main")
    booked_on: date | None = None


class CashReceiptRow(SQLModel, table=True):
    __tablename__ = "cash_receipt"
    id: str = Field(primary_key=True)
    entity: str
    bank_account: str
    account_id: str | None = Field(default=None, index=True)
    currency: str
    amount_minor: int = _minor()
    left_minor: int = _minor()
    value_date: date = Field(index=True)
    payer: str
    text: str = _text()
    reference: str = Field(index=True)
    __table_args__ = (CheckConstraint("left_minor >= 0 AND left_minor <= amount_minor", name="left"),)


class ApplicationRow(SQLModel, table=True):
    __tablename__ = "cash_application"
    id: str = Field(primary_key=True)
    receipt_id: str = Field(index=True)
    use: str
    invoice_id: str | None = Field(default=None, index=True)
    reverses: str | None = Field(default=None, unique=True)
    currency: str
    amount_minor: int = _minor()
    applied_on: date
    rule: str
    who: str
    reason: str = _text()
    __table_args__ = (CheckConstraint("amount_minor > 0", name="positive"),)


class SettlementRow(SQLModel, table=True):
    __tablename__ = "settlement"
    id: str = Field(primary_key=True)
    payment_id: str = Field(index=True)
    currency: str
    gross_minor: int = _minor()
    fee_minor: int = _minor()
    net_minor: int = _minor()
    available_on: datetime = _instant()
    kind: str


class RefundRow(SQLModel, table=True):
    __tablename__ = "refund"
    id: str = Field(primary_key=True)
    payment_id: str = Field(index=True)
    payment_vendor_id: str
    credit_note_id: str
    refunded_on: date
    currency: str
    amount_minor: int = _minor()
    reason: str = _text()
    exchange: str | None = _text(nullable=True)
    entity: str = _added("main")


class JournalEntryRow(SQLModel, table=True):
    __tablename__ = "journal_entry"
    id: str = Field(primary_key=True)
    entity: str = _added("main")
    event: str = Field(index=True)
    via: str
    currency: str
    posted_on: date = Field(index=True)
    account_id: str | None = Field(default=None, index=True)
    memo: str
    rules_version: str = _added("")
    reverses: str | None = Field(default=None, unique=True, index=True)
    origin: str | None = None
    gl_journal: str | None = Field(default=None, index=True)


class JournalLineRow(SQLModel, table=True):
    __tablename__ = "journal_line"
    id: str = Field(primary_key=True)
    parent_id: str = Field(foreign_key="journal_entry.id")
    sequence: int
    position: int
    ledger_account: str = Field(index=True)
    debit_minor: int | None = _minor(nullable=True)
    credit_minor: int | None = _minor(nullable=True)
    memo: str
    source: str
    source_id: str = Field(index=True)
    rule: str = _added("")
    segments: str = _added("{}")
    functional_minor: int | None = _minor(nullable=True)
    functional_currency: str | None = None
    detail: str = _added("")
    __table_args__ = (
        Index("ix_journal_line_sums", "parent_id", "debit_minor", "credit_minor"),
        CheckConstraint("(debit_minor IS NULL) <> (credit_minor IS NULL)", name="one_side"),
        CheckConstraint("coalesce(debit_minor, credit_minor) > 0", name="positive"),
    )


class LedgerBalanceRow(SQLModel, table=True):
    """What was booked, summed by the database itself at each insert of a journal line; nothing else writes here."""

    __tablename__ = "ledger_balance"
    entity: str = Field(primary_key=True)
    month: str = Field(primary_key=True)
    ledger_account: str = Field(primary_key=True)
    currency: str = Field(primary_key=True)
    event: str = Field(primary_key=True)
    detail: str = Field(primary_key=True)
    debit_minor: int = _minor()
    credit_minor: int = _minor()
    functional_debit_minor: int = _minor()
    functional_credit_minor: int = _minor()


class RecognitionRow(SQLModel, table=True):
    __tablename__ = "recognition"
    id: str = Field(primary_key=True)
    invoice_line_id: str = Field(index=True)
    month: str = Field(index=True)
    currency: str
    amount_minor: int = _minor()
    revenue_account: str
    account_id: str


class ObligationRow(SQLModel, table=True):
    __tablename__ = "obligation"
    id: str = Field(primary_key=True)
    order_id: str
    contract_id: str = Field(index=True)
    priced_with: str = Field(index=True)
    account_id: str
    charge_code: str
    product_code: str
    currency: str
    pattern: str
    convention: str
    stated_minor: int = _minor()
    standalone: str
    allocated_minor: int = _minor()
    starts_on: date
    ends_on: date | None = None
    revenue_account: str


class AllocationRow(SQLModel, table=True):
    __tablename__ = "allocation"
    id: str = Field(primary_key=True)
    act_id: str = Field(index=True)
    number: int
    contract_id: str = Field(index=True)
    obligation_id: str = Field(index=True)
    currency: str
    starts_on: date
    stated: str
    allocated_minor: int = _minor()


class ContractMovementRow(SQLModel, table=True):
    __tablename__ = "contract_movement"
    id: str = Field(primary_key=True)
    contract_id: str = Field(index=True)
    order_id: str
    obligation_id: str = Field(index=True)
    account_id: str
    kind: str
    source_id: str | None = None
    act_id: str | None = None
    month: str = Field(index=True)
    currency: str
    billed_minor: int = _minor()
    allocated_minor: int = _minor()
    deferred: bool
    revenue_account: str


class MilestoneRow(SQLModel, table=True):
    __tablename__ = "milestone"
    id: str = Field(primary_key=True)
    order_id: str
    reached_on: date
    who: str
    evidence: str = Field(default="", sa_column=Column(Text, nullable=False, server_default=text("''")))
    recorded_at: datetime = _instant()


class InboxRow(SQLModel, table=True):
    __tablename__ = "inbox"
    system: str = Field(primary_key=True)
    event_id: str = Field(primary_key=True)
    resource: str
    vendor_id: str
    kind: str
    version: str | None = None
    occurred_at: datetime = _instant()
    received_at: datetime = _instant()
    state: str
    attempts: int
    lease_until: datetime | None = _instant(nullable=True)
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    __table_args__ = (Index("ix_inbox_state_system", "state", "system"),)


class OutboxRow(SQLModel, table=True):
    __tablename__ = "outbox"
    key: str = Field(primary_key=True)
    system: str
    resource: str
    record: str
    record_id: str
    version: str
    sequence: int
    body: str = _text()
    currency: str | None = None
    money_minor: int | None = _minor(nullable=True)
    lane: int
    state: str
    waits_for: str | None = Field(default=None, index=True)
    due_at: datetime = _instant()
    attempts: int
    fence: int
    probe: bool
    lease_until: datetime | None = _instant(nullable=True)
    created_at: datetime = _instant()
    __table_args__ = (
        Index("ix_outbox_system_state_lane_due_at", "system", "state", "lane", "due_at"),
        Index("ix_outbox_resource_created_at", "resource", "created_at"),
        UniqueConstraint("system", "resource", "record_id", "sequence"),
    )


class SyncRow(SQLModel, table=True):
    __tablename__ = "sync_record"
    system: str = Field(primary_key=True)
    resource: str = Field(primary_key=True)
    record_id: str = Field(primary_key=True)
    vendor_id: str
    version: str
    command_key: str
    mapping_version: str
    payload_digest: str
    created: bool
    synced_at: datetime = _instant()
    answer: str = _text()
    payload: str | None = _text(nullable=True)
    __table_args__ = (Index("ix_sync_record_system_resource_vendor_id", "system", "resource", "vendor_id"),)


class WatermarkRow(SQLModel, table=True):
    __tablename__ = "watermark"
    system: str = Field(primary_key=True)
    resource: str = Field(primary_key=True)
    position: str
    moved_at: datetime = _instant()


class DeskRow(SQLModel, table=True):
    __tablename__ = "desk"
    id: str = Field(primary_key=True)
    system: str
    record: str
    record_id: str
    cause: str
    message: str = _text()
    cure: str = _text()
    code: str | None = None
    field: str | None = None
    value: str | None = None
    currency: str | None = None
    money_minor: int | None = _minor(nullable=True)
    state: str
    attempts: int
    first_seen_at: datetime = _instant()
    last_seen_at: datetime = _instant()
    owner: str | None = None
    note: str | None = None
    run: str | None = None
    trace: str | None = None
    due_at: datetime | None = _instant(nullable=True)
    cluster: str
    rank: int = Field(sa_column=Column(BigInteger, nullable=False))
    # Each list of one filter walks an index in its order; clusters are counted in one alone.
    __table_args__ = (
        Index("ix_desk_state_rank_id", "state", "rank", "id"),
        Index("ix_desk_state_system_rank_id", "state", "system", "rank", "id"),
        Index("ix_desk_state_record_rank_id", "state", "record", "rank", "id"),
        Index("ix_desk_state_cause_rank_id", "state", "cause", "rank", "id"),
        Index("ix_desk_state_owner_rank_id", "state", "owner", "rank", "id"),
        Index("ix_desk_state_cluster_rank_id_currency", "state", "cluster", "rank", "id", "currency"),
    )


class EvidenceRow(SQLModel, table=True):
    """What was sent and what was answered when a record failed last, secrets and card numbers masked."""

    __tablename__ = "desk_evidence"
    id: str = Field(primary_key=True)
    ours: str = _text()
    theirs: str = _text()


class BreakRow(SQLModel, table=True):
    __tablename__ = "tie_break"
    id: str = Field(primary_key=True)
    tie: str = Field(index=True)
    kind: str
    subject: str
    currency: str
    left_name: str
    right_name: str
    left_minor: int = _minor()
    right_minor: int = _minor()
    severity: str
    system: str
    period: str | None = None
    detail: str = _text()
    cause: str = _text()
    cure: str = _text()
    repair: str
    owner: str
    explained: str | None = _text(nullable=True)
    explained_by: str | None = None
    note: str | None = _text(nullable=True)
    first_seen_at: datetime = _instant()
    last_seen_at: datetime = _instant()
    closed_at: datetime | None = _instant(nullable=True, index=True)


class TieOutRow(SQLModel, table=True):
    """What a tie-out found: the lines of its ties, as JSON. ``system``: it looked at this one alone; empty: at all."""

    __tablename__ = "tie_out"
    period: str = Field(primary_key=True)
    at: datetime = Field(sa_column=Column(UtcDateTime, primary_key=True))
    system: str = Field(primary_key=True)
    lines: str = _text()


class BreakVersionRow(SQLModel, table=True):
    """A Break as it stood from ``stood_from`` until ``stood_until`` (None: it still does so), as JSON."""

    __tablename__ = "tie_break_version"
    break_id: str = Field(primary_key=True)
    stood_from: datetime = Field(sa_column=Column(UtcDateTime, primary_key=True))
    stood_until: datetime | None = _instant(nullable=True, index=True)
    period: str | None = None
    system: str
    said: str = _text()


class FigureRow(SQLModel, table=True):
    """A document as another system showed it from ``seen_from`` until ``seen_until`` (None: it still does)."""

    __tablename__ = "figure"
    system: str = Field(primary_key=True)
    resource: str = Field(primary_key=True)
    vendor_id: str = Field(primary_key=True)
    seen_from: datetime = Field(sa_column=Column(UtcDateTime, primary_key=True))
    seen_until: datetime | None = _instant(nullable=True)
    digest: str
    record: str
    key: str
    currency: str
    amount_minor: int = _minor()
    beside_minor: int | None = _minor(nullable=True)
    state: str
    dated: date | None = None
    party: str | None = None
    memo: str | None = _text(nullable=True)
    rate: str | None = None
    parts: str = _text()
    drift: str | None = _text(nullable=True)
    __table_args__ = (
        Index("ix_figure_system_resource_key", "system", "resource", "key"),
        Index("ix_figure_system_resource_seen_from", "system", "resource", "seen_from"),
        Index("ix_figure_system_resource_seen_until", "system", "resource", "seen_until"),
    )


class ComparedRow(SQLModel, table=True):
    """What both sides of a tie said of one record when it was compared last; ``currency`` without an amount: of theirs,
    which nobody here knows. ``period``: empty for a tie that is the same whichever month is looked at."""

    __tablename__ = "compared"
    system: str = Field(primary_key=True)
    tie: str = Field(primary_key=True)
    period: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    currency: str = Field(primary_key=True)
    amount: int | None = _minor(nullable=True)
    beside: int | None = _minor(nullable=True)
    their_currency: str | None = None
    their_amount: int | None = _minor(nullable=True)
    their_beside: int | None = _minor(nullable=True)
    final: int | None = _minor(nullable=True)
    not_final: int = _minor()
    drift: str | None = _text(nullable=True)
    number: int = _minor()


class AuditRow(SQLModel, table=True):
    __tablename__ = "audit"
    seq: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    at: datetime = _instant()
    who: str
    act: str
    system: str
    record: str
    record_id: str = Field(index=True)
    detail: str = _text()
    previous: str
    hash: str


class AuditTipRow(SQLModel, table=True):
    """One row: where the audit chain ends. Who goes on from there holds its lock."""

    __tablename__ = "audit_tip"
    id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    seq: int = Field(sa_column=Column(BigInteger, nullable=False))
    hash: str


class RefusedRow(SQLModel, table=True):
    """How many requests the receiver refused, a day and reason."""

    __tablename__ = "refused_request"
    system: str = Field(primary_key=True)
    reason: str = Field(primary_key=True)
    day: date = Field(primary_key=True)
    number: int = Field(sa_column=Column(BigInteger, nullable=False))
    last_at: datetime = _instant()


class BudgetRow(SQLModel, table=True):
    """The calls that one account at a vendor has left; ``core.budget`` tells the units."""

    __tablename__ = "rate_budget"
    account: str = Field(primary_key=True)
    rate: int = Field(sa_column=Column(BigInteger, nullable=False))
    level: int = Field(sa_column=Column(BigInteger, nullable=False))
    filled_at: datetime = _instant()
    closed_until: datetime | None = _instant(nullable=True)


class VendorJobRow(SQLModel, table=True):
    """A job that a system works off for us, and that is not known to be over."""

    __tablename__ = "vendor_job"
    system: str = Field(primary_key=True)
    resource: str = Field(primary_key=True)
    job: str = Field(primary_key=True)
    begun_at: datetime = _instant()


class CloseRow(SQLModel, table=True):
    __tablename__ = "close"
    id: str = Field(primary_key=True)
    entity: str
    period: str
    number: int
    currency: str
    state: str
    cut_off: datetime = _instant()
    frozen_at: datetime = _instant()
    started_by: str
    digest: str | None = None
    journals: int = _number()
    moves: str = Field(sa_column=Column(Text, nullable=False, server_default=text("'[]'")))
    round: int = _number()
    __table_args__ = (UniqueConstraint("entity", "period", "number"),)


class JournalDraftRow(SQLModel, table=True):
    __tablename__ = "journal_draft"
    id: str = Field(primary_key=True)
    close_id: str = Field(index=True)
    round: int = _number()
    text: str = _text()


class CloseDecisionRow(SQLModel, table=True):
    __tablename__ = "close_decision"
    id: str = Field(primary_key=True)
    close_id: str = Field(index=True)
    digest: str
    verdict: str
    who: str
    reason: str = _text()
    via: str
    at: datetime = _instant()


class CloseOverrideRow(SQLModel, table=True):
    __tablename__ = "close_override"
    id: str = Field(primary_key=True)
    close_id: str = Field(index=True)
    gate: str
    record: str
    who: str
    reason: str = _text()
    at: datetime = _instant()


class PeriodLockRow(SQLModel, table=True):
    __tablename__ = "period_lock"
    id: str = Field(primary_key=True)
    entity: str
    month: str
    close_id: str
    locked_at: datetime = _instant()
    reopened_at: datetime | None = _instant(nullable=True)
    reopened_by: str | None = None
    reason: str | None = _text(nullable=True)
    __table_args__ = (Index("ix_period_lock_entity_month", "entity", "month"),)
