"""what a break is, and what other systems were seen to show"""

import sqlalchemy as sa
from alembic import op

from core.store.rows import UtcDateTime

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

#: Filled for breaks of earlier versions by the next tie-out, which names them anew.
_NAMED_LATER = ("severity", "system", "detail", "cause", "cure", "repair", "owner")
_LONG = ("detail", "cause", "cure")


def upgrade() -> None:
    with op.batch_alter_table("tie_break", schema=None) as batch_op:
        for name in _NAMED_LATER:
            kind = sa.Text() if name in _LONG else sa.String()
            batch_op.add_column(sa.Column(name, kind, nullable=False, server_default=""))
        batch_op.add_column(sa.Column("period", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("explained", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("explained_by", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("note", sa.Text(), nullable=True))
        batch_op.create_index(batch_op.f("ix_tie_break_closed_at"), ["closed_at"], unique=False)
    with op.batch_alter_table("tie_break", schema=None) as batch_op:
        for name in _NAMED_LATER:
            batch_op.alter_column(name, existing_type=sa.Text(), existing_nullable=False, server_default=None)
    op.create_table(
        "figure",
        sa.Column("system", sa.String(), nullable=False),
        sa.Column("resource", sa.String(), nullable=False),
        sa.Column("vendor_id", sa.String(), nullable=False),
        sa.Column("seen_from", UtcDateTime(), nullable=False),
        sa.Column("seen_until", UtcDateTime(), nullable=True),
        sa.Column("first", sa.Boolean(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("record", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("beside_minor", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("dated", sa.Date(), nullable=True),
        sa.Column("party", sa.String(), nullable=True),
        sa.Column("memo", sa.Text(), nullable=True),
        sa.Column("rate", sa.String(), nullable=True),
        sa.Column("parts", sa.Text(), nullable=False),
        sa.Column("drift", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("system", "resource", "vendor_id", "seen_from", name=op.f("pk_figure")),
    )
    op.create_index(op.f("ix_figure_system_resource_key"), "figure", ["system", "resource", "key"], unique=False)


def downgrade() -> None:
    op.drop_table("figure")
    with op.batch_alter_table("tie_break", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_tie_break_closed_at"))
        for name in ("note", "explained_by", "explained", "period", *reversed(_NAMED_LATER)):
            batch_op.drop_column(name)
