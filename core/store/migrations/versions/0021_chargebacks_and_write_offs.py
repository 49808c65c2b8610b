"""payments that banks take back, and invoices that are given up"""

import sqlalchemy as sa
from alembic import op

from core.store.rows import UtcDateTime

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "chargeback",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("payment_vendor_id", sa.String(), nullable=False),
        sa.Column("payment_id", sa.String(), nullable=True),
        sa.Column("invoice_id", sa.String(), nullable=True),
        sa.Column("account_id", sa.String(), nullable=True),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("opened_at", UtcDateTime(), nullable=False),
        sa.Column("evidence_due_at", UtcDateTime(), nullable=True),
        sa.Column("moved", sa.Text(), nullable=False),
        sa.Column("lost_minor", sa.BigInteger(), nullable=True),
        sa.Column("reopened_minor", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chargeback")),
    )
    op.create_index(op.f("ix_chargeback_invoice_id"), "chargeback", ["invoice_id"])
    op.create_table(
        "write_off",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("invoice_id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("tax_minor", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("written_on", sa.Date(), nullable=False),
        sa.Column("proposed_by", sa.String(), nullable=False),
        sa.Column("decided_by", sa.String(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_write_off_positive")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_write_off")),
    )
    op.create_index(op.f("ix_write_off_invoice_id"), "write_off", ["invoice_id"])
    op.add_column("desk", sa.Column("due_at", UtcDateTime(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("desk") as batch:
        batch.drop_column("due_at")
    op.drop_table("write_off")
    op.drop_table("chargeback")
