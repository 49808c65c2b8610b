"""what a rated line knew, and which month it corrects"""

import sqlalchemy as sa
from alembic import op

from core.store.rows import UtcDateTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("rated_line", schema=None) as batch_op:
        batch_op.add_column(sa.Column("known_at", UtcDateTime(), nullable=True))
        batch_op.add_column(sa.Column("corrects", sa.String(), nullable=True))
        batch_op.create_index(batch_op.f("ix_rated_line_corrects"), ["corrects"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("rated_line", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_rated_line_corrects"))
        batch_op.drop_column("corrects")
        batch_op.drop_column("known_at")
