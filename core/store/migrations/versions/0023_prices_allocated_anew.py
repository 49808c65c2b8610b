"""what each change of a contract allocates to its promises, and what shows that a milestone was reached"""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "allocation",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("act_id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("contract_id", sa.String(), nullable=False),
        sa.Column("obligation_id", sa.String(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("starts_on", sa.Date(), nullable=False),
        sa.Column("stated", sa.String(), nullable=False),
        sa.Column("allocated_minor", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_allocation")),
    )
    for column in ("act_id", "contract_id", "obligation_id"):
        op.create_index(op.f(f"ix_allocation_{column}"), "allocation", [column])
    op.add_column("obligation", sa.Column("priced_with", sa.String(), nullable=True))
    # Until now each order was allocated by itself.
    op.execute("UPDATE obligation SET priced_with = order_id")
    with op.batch_alter_table("obligation") as batch_op:
        batch_op.alter_column("priced_with", nullable=False)
        batch_op.create_index(batch_op.f("ix_obligation_priced_with"), ["priced_with"])
    op.add_column("contract_movement", sa.Column("act_id", sa.String(), nullable=True))
    op.add_column("milestone", sa.Column("evidence", sa.Text(), nullable=False, server_default=sa.text("''")))


def downgrade() -> None:
    op.drop_column("milestone", "evidence")
    op.drop_column("contract_movement", "act_id")
    with op.batch_alter_table("obligation") as batch_op:
        batch_op.drop_index(batch_op.f("ix_obligation_priced_with"))
        batch_op.drop_column("priced_with")
    op.drop_table("allocation")
