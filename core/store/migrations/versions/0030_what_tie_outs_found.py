"""what tie-outs found, and every version of their breaks"""

import sqlalchemy as sa
from alembic import op

from core.store.rows import UtcDateTime

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tie_out",
        sa.Column("period", sa.String(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("system", sa.String(), nullable=False),
        sa.Column("lines", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("period", "at", "system", name=op.f("pk_tie_out")),
    )
    op.create_table(
        "tie_break_version",
        sa.Column("break_id", sa.String(), nullable=False),
        sa.Column("stood_from", UtcDateTime(), nullable=False),
        sa.Column("stood_until", UtcDateTime(), nullable=True),
        sa.Column("period", sa.String(), nullable=True),
        sa.Column("system", sa.String(), nullable=False),
        sa.Column("said", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("break_id", "stood_from", name=op.f("pk_tie_break_version")),
    )
    op.create_index(op.f("ix_tie_break_version_stood_until"), "tie_break_version", ["stood_until"])
    op.drop_column("figure", "first")


def downgrade() -> None:
    op.add_column("figure", sa.Column("first", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.drop_index(op.f("ix_tie_break_version_stood_until"), "tie_break_version")
    op.drop_table("tie_break_version")
    op.drop_table("tie_out")
