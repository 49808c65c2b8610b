"""an account's time zones"""

import sqlalchemy as sa
from alembic import op

from core.store.rows import UtcDateTime

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "zone_change",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("effective_on", sa.Date(), nullable=False),
        sa.Column("before", sa.String(), nullable=False),
        sa.Column("timezone", sa.String(), nullable=False),
        sa.Column("recorded_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_zone_change")),
    )
    op.create_index(op.f("ix_zone_change_account_id"), "zone_change", ["account_id"])


def downgrade() -> None:
    op.drop_table("zone_change")
