"""first schema"""

import sqlalchemy as sa
from alembic import op

from core.store.rows import UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "account",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("timezone", sa.String(), nullable=False),
        sa.Column("billing_address", sa.Text(), nullable=False),
        sa.Column("sites", sa.Text(), nullable=False),
        sa.Column("contacts", sa.Text(), nullable=False),
        sa.Column("parent_id", sa.String(), nullable=True),
        sa.Column("payment_terms_days", sa.Integer(), nullable=False),
        sa.Column("tax_exemption", sa.String(), nullable=True),
        sa.Column("source_system", sa.String(), nullable=False),
        sa.Column("source_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account")),
    )
    with op.batch_alter_table("account", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_account_parent_id"), ["parent_id"], unique=False)

    op.create_table(
        "desk",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("system", sa.String(), nullable=False),
        sa.Column("record", sa.String(), nullable=False),
        sa.Column("record_id", sa.String(), nullable=False),
        sa.Column("cause", sa.String(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("cure", sa.Text(), nullable=False),
        sa.Column("code", sa.String(), nullable=True),
        sa.Column("field", sa.String(), nullable=True),
        sa.Column("value", sa.String(), nullable=True),
        sa.Column("currency", sa.String(), nullable=True),
        sa.Column("money_minor", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("first_seen_at", UtcDateTime(), nullable=False),
        sa.Column("last_seen_at", UtcDateTime(), nullable=False),
        sa.Column("note", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_desk")),
    )
    with op.batch_alter_table("desk", schema=None) as batch_op:
        batch_op.create_index("ix_desk_state_system_cause", ["state", "system", "cause"], unique=False)

    op.create_table(
        "inbox",
        sa.Column("system", sa.String(), nullable=False),
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("resource", sa.String(), nullable=False),
        sa.Column("vendor_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=True),
        sa.Column("occurred_at", UtcDateTime(), nullable=False),
        sa.Column("received_at", UtcDateTime(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("system", "event_id", name=op.f("pk_inbox")),
    )
    with op.batch_alter_table("inbox", schema=None) as batch_op:
        batch_op.create_index("ix_inbox_state_system", ["state", "system"], unique=False)

    op.create_table(
        "invoice",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("billing_period_start", sa.Date(), nullable=False),
        sa.Column("billing_period_end", sa.Date(), nullable=False),
        sa.Column("invoice_date", sa.Date(), nullable=False),
        sa.Column("due_date", sa.Date(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("purchase_order", sa.String(), nullable=True),
        sa.Column("tax_exemption", sa.String(), nullable=True),
        sa.Column("billing_address", sa.Text(), nullable=False),
        sa.Column("subtotal_minor", sa.BigInteger(), nullable=False),
        sa.Column("tax_minor", sa.BigInteger(), nullable=False),
        sa.Column("total_minor", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("total_minor = subtotal_minor + tax_minor", name=op.f("ck_invoice_total")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invoice")),
    )
    with op.batch_alter_table("invoice", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_invoice_account_id"), ["account_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_invoice_invoice_date"), ["invoice_date"], unique=False)
        batch_op.create_index(batch_op.f("ix_invoice_status"), ["status"], unique=False)

    op.create_table(
        "journal_entry",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("event", sa.String(), nullable=False),
        sa.Column("via", sa.String(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("posted_on", sa.Date(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=True),
        sa.Column("memo", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_journal_entry")),
    )
    with op.batch_alter_table("journal_entry", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_journal_entry_event"), ["event"], unique=False)
        batch_op.create_index(batch_op.f("ix_journal_entry_posted_on"), ["posted_on"], unique=False)

    op.create_table(
        "outbox",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("system", sa.String(), nullable=False),
        sa.Column("resource", sa.String(), nullable=False),
        sa.Column("record", sa.String(), nullable=False),
        sa.Column("record_id", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("currency", sa.String(), nullable=True),
        sa.Column("money_minor", sa.BigInteger(), nullable=True),
        sa.Column("lane", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("waits_for", sa.String(), nullable=True),
        sa.Column("due_at", UtcDateTime(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("probe", sa.Boolean(), nullable=False),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_outbox")),
        sa.UniqueConstraint(
            "system", "resource", "record_id", "sequence", name=op.f("uq_outbox_system_resource_record_id_sequence")
        ),
    )
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.create_index("ix_outbox_system_state_lane_due_at", ["system", "state", "lane", "due_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_outbox_waits_for"), ["waits_for"], unique=False)

    op.create_table(
        "payment",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("vendor_id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("invoice_id", sa.String(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("received_at", UtcDateTime(), nullable=False),
        sa.Column("failure", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payment")),
    )
    with op.batch_alter_table("payment", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_payment_invoice_id"), ["invoice_id"], unique=False)

    op.create_table(
        "rated_line",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("subscription_id", sa.String(), nullable=False),
        sa.Column("subscription_charge_id", sa.String(), nullable=False),
        sa.Column("order_line_id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("site_id", sa.String(), nullable=True),
        sa.Column("charge_code", sa.String(), nullable=False),
        sa.Column("product_code", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("service_period_start", sa.Date(), nullable=False),
        sa.Column("service_period_end", sa.Date(), nullable=False),
        sa.Column("quantity", sa.String(), nullable=False),
        sa.Column("unit_price", sa.String(), nullable=True),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("derivation", sa.Text(), nullable=False),
        sa.Column("billing_period", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rated_line")),
    )
    with op.batch_alter_table("rated_line", schema=None) as batch_op:
        batch_op.create_index("ix_rated_line_billing_period_account_id", ["billing_period", "account_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_rated_line_order_line_id"), ["order_line_id"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_rated_line_subscription_charge_id"), ["subscription_charge_id"], unique=False
        )

    op.create_table(
        "recognition",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("invoice_line_id", sa.String(), nullable=False),
        sa.Column("month", sa.String(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("revenue_account", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recognition")),
    )
    with op.batch_alter_table("recognition", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_recognition_invoice_line_id"), ["invoice_line_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_recognition_month"), ["month"], unique=False)

    op.create_table(
        "sales_order",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("purchase_order", sa.String(), nullable=True),
        sa.Column("closed_on", sa.Date(), nullable=False),
        sa.Column("start_on", sa.Date(), nullable=False),
        sa.Column("term_months", sa.Integer(), nullable=True),
        sa.Column("total_minor", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sales_order")),
    )
    with op.batch_alter_table("sales_order", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_sales_order_account_id"), ["account_id"], unique=False)

    op.create_table(
        "settlement",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("payment_id", sa.String(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("gross_minor", sa.BigInteger(), nullable=False),
        sa.Column("fee_minor", sa.BigInteger(), nullable=False),
        sa.Column("net_minor", sa.BigInteger(), nullable=False),
        sa.Column("available_on", UtcDateTime(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_settlement")),
    )
    with op.batch_alter_table("settlement", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_settlement_payment_id"), ["payment_id"], unique=False)

    op.create_table(
        "subscription",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("order_id", sa.String(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("timezone", sa.String(), nullable=False),
        sa.Column("starts_on", sa.Date(), nullable=False),
        sa.Column("ends_on", sa.Date(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("purchase_order", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subscription")),
        sa.UniqueConstraint("order_id", name=op.f("uq_subscription_order_id")),
    )
    with op.batch_alter_table("subscription", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_subscription_account_id"), ["account_id"], unique=False)

    op.create_table(
        "sync_record",
        sa.Column("system", sa.String(), nullable=False),
        sa.Column("resource", sa.String(), nullable=False),
        sa.Column("record_id", sa.String(), nullable=False),
        sa.Column("vendor_id", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("command_key", sa.String(), nullable=False),
        sa.Column("mapping_version", sa.String(), nullable=False),
        sa.Column("payload_digest", sa.String(), nullable=False),
        sa.Column("created", sa.Boolean(), nullable=False),
        sa.Column("synced_at", UtcDateTime(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("system", "resource", "record_id", name=op.f("pk_sync_record")),
    )
    with op.batch_alter_table("sync_record", schema=None) as batch_op:
        batch_op.create_index(
            "ix_sync_record_system_resource_vendor_id", ["system", "resource", "vendor_id"], unique=False
        )

    op.create_table(
        "tax_document",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("invoice_id", sa.String(), nullable=False),
        sa.Column("vendor_id", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("document_date", sa.Date(), nullable=False),
        sa.Column("base_minor", sa.BigInteger(), nullable=False),
        sa.Column("tax_minor", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tax_document")),
    )
    with op.batch_alter_table("tax_document", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_tax_document_invoice_id"), ["invoice_id"], unique=False)

    op.create_table(
        "tie_break",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tie", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("left_name", sa.String(), nullable=False),
        sa.Column("right_name", sa.String(), nullable=False),
        sa.Column("left_minor", sa.BigInteger(), nullable=False),
        sa.Column("right_minor", sa.BigInteger(), nullable=False),
        sa.Column("first_seen_at", UtcDateTime(), nullable=False),
        sa.Column("last_seen_at", UtcDateTime(), nullable=False),
        sa.Column("closed_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tie_break")),
    )
    with op.batch_alter_table("tie_break", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_tie_break_tie"), ["tie"], unique=False)

    op.create_table(
        "watermark",
        sa.Column("system", sa.String(), nullable=False),
        sa.Column("resource", sa.String(), nullable=False),
        sa.Column("position", sa.String(), nullable=False),
        sa.Column("moved_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("system", "resource", name=op.f("pk_watermark")),
    )
    op.create_table(
        "invoice_line",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("parent_id", sa.String(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("rated_line_id", sa.String(), nullable=False),
        sa.Column("subscription_charge_id", sa.String(), nullable=False),
        sa.Column("charge_code", sa.String(), nullable=False),
        sa.Column("product_code", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("site_id", sa.String(), nullable=True),
        sa.Column("service_period_start", sa.Date(), nullable=False),
        sa.Column("service_period_end", sa.Date(), nullable=False),
        sa.Column("quantity", sa.String(), nullable=False),
        sa.Column("unit_price", sa.String(), nullable=True),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("tax_minor", sa.BigInteger(), nullable=False),
        sa.Column("tax_code", sa.String(), nullable=False),
        sa.Column("revenue_account", sa.String(), nullable=False),
        sa.Column("defer", sa.Boolean(), nullable=False),
        sa.Column("service_address", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["parent_id"], ["invoice.id"], name=op.f("fk_invoice_line_parent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invoice_line")),
        sa.UniqueConstraint("rated_line_id", name=op.f("uq_invoice_line_rated_line_id")),
    )
    with op.batch_alter_table("invoice_line", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_invoice_line_parent_id"), ["parent_id"], unique=False)

    op.create_table(
        "journal_line",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("parent_id", sa.String(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("ledger_account", sa.String(), nullable=False),
        sa.Column("debit_minor", sa.BigInteger(), nullable=True),
        sa.Column("credit_minor", sa.BigInteger(), nullable=True),
        sa.Column("memo", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("source_id", sa.String(), nullable=False),
        sa.CheckConstraint("(debit_minor IS NULL) <> (credit_minor IS NULL)", name=op.f("ck_journal_line_one_side")),
        sa.CheckConstraint("coalesce(debit_minor, credit_minor) > 0", name=op.f("ck_journal_line_positive")),
        sa.ForeignKeyConstraint(["parent_id"], ["journal_entry.id"], name=op.f("fk_journal_line_parent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_journal_line")),
    )
    with op.batch_alter_table("journal_line", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_journal_line_ledger_account"), ["ledger_account"], unique=False)
        batch_op.create_index(batch_op.f("ix_journal_line_parent_id"), ["parent_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_journal_line_source_id"), ["source_id"], unique=False)

    op.create_table(
        "sales_order_line",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("parent_id", sa.String(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("charge_code", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("site_id", sa.String(), nullable=True),
        sa.Column("quantity", sa.String(), nullable=False),
        sa.Column("unit_price", sa.String(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("start_on", sa.Date(), nullable=True),
        sa.ForeignKeyConstraint(["parent_id"], ["sales_order.id"], name=op.f("fk_sales_order_line_parent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sales_order_line")),
    )
    with op.batch_alter_table("sales_order_line", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_sales_order_line_parent_id"), ["parent_id"], unique=False)

    op.create_table(
        "subscription_charge",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("parent_id", sa.String(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("order_line_id", sa.String(), nullable=False),
        sa.Column("charge_code", sa.String(), nullable=False),
        sa.Column("product_code", sa.String(), nullable=False),
        sa.Column("site_id", sa.String(), nullable=True),
        sa.Column("quantity", sa.String(), nullable=False),
        sa.Column("unit_price", sa.String(), nullable=True),
        sa.Column("starts_on", sa.Date(), nullable=False),
        sa.Column("ends_on", sa.Date(), nullable=True),
        sa.Column("contract_value_minor", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["parent_id"], ["subscription.id"], name=op.f("fk_subscription_charge_parent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subscription_charge")),
    )
    with op.batch_alter_table("subscription_charge", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_subscription_charge_order_line_id"), ["order_line_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_subscription_charge_parent_id"), ["parent_id"], unique=False)

    op.create_table(
        "tax_line",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("parent_id", sa.String(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("invoice_line_id", sa.String(), nullable=False),
        sa.Column("jurisdiction", sa.String(), nullable=False),
        sa.Column("jurisdiction_type", sa.String(), nullable=False),
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("country", sa.String(), nullable=False),
        sa.Column("tax_name", sa.String(), nullable=False),
        sa.Column("rate", sa.String(), nullable=False),
        sa.Column("taxable_minor", sa.BigInteger(), nullable=False),
        sa.Column("tax_minor", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["parent_id"], ["tax_document.id"], name=op.f("fk_tax_line_parent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tax_line")),
    )
    with op.batch_alter_table("tax_line", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_tax_line_invoice_line_id"), ["invoice_line_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_tax_line_parent_id"), ["parent_id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("tax_line", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_tax_line_parent_id"))
        batch_op.drop_index(batch_op.f("ix_tax_line_invoice_line_id"))

    op.drop_table("tax_line")
    with op.batch_alter_table("subscription_charge", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_subscription_charge_parent_id"))
        batch_op.drop_index(batch_op.f("ix_subscription_charge_order_line_id"))

    op.drop_table("subscription_charge")
    with op.batch_alter_table("sales_order_line", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_sales_order_line_parent_id"))

    op.drop_table("sales_order_line")
    with op.batch_alter_table("journal_line", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_journal_line_source_id"))
        batch_op.drop_index(batch_op.f("ix_journal_line_parent_id"))
        batch_op.drop_index(batch_op.f("ix_journal_line_ledger_account"))

    op.drop_table("journal_line")
    with op.batch_alter_table("invoice_line", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_invoice_line_parent_id"))

    op.drop_table("invoice_line")
    op.drop_table("watermark")
    with op.batch_alter_table("tie_break", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_tie_break_tie"))

    op.drop_table("tie_break")
    with op.batch_alter_table("tax_document", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_tax_document_invoice_id"))

    op.drop_table("tax_document")
    with op.batch_alter_table("sync_record", schema=None) as batch_op:
        batch_op.drop_index("ix_sync_record_system_resource_vendor_id")

    op.drop_table("sync_record")
    with op.batch_alter_table("subscription", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_subscription_account_id"))

    op.drop_table("subscription")
    with op.batch_alter_table("settlement", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_settlement_payment_id"))

    op.drop_table("settlement")
    with op.batch_alter_table("sales_order", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_sales_order_account_id"))

    op.drop_table("sales_order")
    with op.batch_alter_table("recognition", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_recognition_month"))
        batch_op.drop_index(batch_op.f("ix_recognition_invoice_line_id"))

    op.drop_table("recognition")
    with op.batch_alter_table("rated_line", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_rated_line_subscription_charge_id"))
        batch_op.drop_index(batch_op.f("ix_rated_line_order_line_id"))
        batch_op.drop_index("ix_rated_line_billing_period_account_id")

    op.drop_table("rated_line")
    with op.batch_alter_table("payment", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_payment_invoice_id"))

    op.drop_table("payment")
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_outbox_waits_for"))
        batch_op.drop_index("ix_outbox_system_state_lane_due_at")

    op.drop_table("outbox")
    with op.batch_alter_table("journal_entry", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_journal_entry_posted_on"))
        batch_op.drop_index(batch_op.f("ix_journal_entry_event"))

    op.drop_table("journal_entry")
    with op.batch_alter_table("invoice", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_invoice_status"))
        batch_op.drop_index(batch_op.f("ix_invoice_invoice_date"))
        batch_op.drop_index(batch_op.f("ix_invoice_account_id"))

    op.drop_table("invoice")
    with op.batch_alter_table("inbox", schema=None) as batch_op:
        batch_op.drop_index("ix_inbox_state_system")

    op.drop_table("inbox")
    with op.batch_alter_table("desk", schema=None) as batch_op:
        batch_op.drop_index("ix_desk_state_system_cause")

    op.drop_table("desk")
    with op.batch_alter_table("account", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_account_parent_id"))

    op.drop_table("account")
