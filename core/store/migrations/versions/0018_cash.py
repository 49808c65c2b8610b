"""money on our bank accounts, and what it pays"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("billing_terms", sa.Column("cash_by", sa.String(), server_default="amount", nullable=False))
    op.create_table(
        "cash_receipt",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("entity", sa.String(), nullable=False),
        sa.Column("bank_account", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=True),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("left_minor", sa.BigInteger(), nullable=False),
        sa.Column("value_date", sa.Date(), nullable=False),
        sa.Column("payer", sa.String(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("reference", sa.String(), nullable=False),
        sa.CheckConstraint("left_minor >= 0 AND left_minor <= amount_minor", name=op.f("ck_cash_receipt_left")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cash_receipt")),
    )
    for column in ("account_id", "value_date", "reference"):
        op.create_index(op.f(f"ix_cash_receipt_{column}"), "cash_receipt", [column])
    op.create_table(
        "cash_application",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("receipt_id", sa.String(), nullable=False),
        sa.Column("use", sa.String(), nullable=False),
        sa.Column("invoice_id", sa.String(), nullable=True),
        sa.Column("reverses", sa.String(), nullable=True),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("applied_on", sa.Date(), nullable=False),
        sa.Column("rule", sa.String(), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_cash_application_positive")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cash_application")),
        sa.UniqueConstraint("reverses", name=op.f("uq_cash_application_reverses")),
    )
    for column in ("receipt_id", "invoice_id"):
        op.create_index(op.f(f"ix_cash_application_{column}"), "cash_application", [column])


def downgrade() -> None:
    op.drop_table("cash_application")
    op.drop_table("cash_receipt")
    with op.batch_alter_table("billing_terms") as batch:
        batch.drop_column("cash_by")
