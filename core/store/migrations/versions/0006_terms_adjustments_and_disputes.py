"""terms adjustments and disputes"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "adjustment",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("site_id", sa.String(), nullable=True),
        sa.Column("subscription_charge_id", sa.String(), nullable=True),
        sa.Column("charge_code", sa.String(), nullable=False),
        sa.Column("product_code", sa.String(), nullable=False),
        sa.Column("service_period_start", sa.Date(), nullable=False),
        sa.Column("service_period_end", sa.Date(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("invoice_id", sa.String(), nullable=True),
        sa.Column("taken_by", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_adjustment")),
    )
    with op.batch_alter_table("adjustment", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_adjustment_account_id"), ["account_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_adjustment_taken_by"), ["taken_by"], unique=False)

    op.create_table(
        "billing_terms",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("group_by", sa.String(), nullable=False),
        sa.Column("by_parent", sa.String(), nullable=False),
        sa.Column("minimum_minor", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_billing_terms")),
    )
    op.create_table(
        "carry_forward",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("billing_period_start", sa.Date(), nullable=False),
        sa.Column("billing_period_end", sa.Date(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("lines", sa.Text(), nullable=False),
        sa.Column("taken_by", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_carry_forward")),
    )
    with op.batch_alter_table("carry_forward", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_carry_forward_account_id"), ["account_id"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_carry_forward_billing_period_start"), ["billing_period_start"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_carry_forward_taken_by"), ["taken_by"], unique=False)

    op.create_table(
        "dispute",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("invoice_id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("opened_on", sa.Date(), nullable=False),
        sa.Column("closed_on", sa.Date(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dispute")),
    )
    with op.batch_alter_table("dispute", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_dispute_invoice_id"), ["invoice_id"], unique=False)

    with op.batch_alter_table("invoice_line", schema=None) as batch_op:
        batch_op.alter_column("subscription_charge_id", existing_type=sa.VARCHAR(), nullable=True)


def downgrade() -> None:
    with op.batch_alter_table("invoice_line", schema=None) as batch_op:
        batch_op.alter_column("subscription_charge_id", existing_type=sa.VARCHAR(), nullable=False)

    with op.batch_alter_table("dispute", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_dispute_invoice_id"))

    op.drop_table("dispute")
    with op.batch_alter_table("carry_forward", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_carry_forward_taken_by"))
        batch_op.drop_index(batch_op.f("ix_carry_forward_billing_period_start"))
        batch_op.drop_index(batch_op.f("ix_carry_forward_account_id"))

    op.drop_table("carry_forward")
    op.drop_table("billing_terms")
    with op.batch_alter_table("adjustment", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_adjustment_taken_by"))
        batch_op.drop_index(batch_op.f("ix_adjustment_account_id"))

    op.drop_table("adjustment")
