"""what operators need: clusters and evidence of the desk, last payloads, refused requests, rate budgets"""

import sqlalchemy as sa
from alembic import op

from core.store.rows import UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

#: Indexes of the desk: the columns after ``state``.
LISTS = (
    ("rank", "id"),
    ("system", "rank", "id"),
    ("record", "rank", "id"),
    ("cause", "rank", "id"),
    ("owner", "rank", "id"),
    ("cluster", "rank", "id", "currency"),
)


def upgrade() -> None:
    with op.batch_alter_table("desk") as desk:
        for name in ("owner", "run", "trace", "cluster"):
            desk.add_column(sa.Column(name, sa.String(), nullable=True))
        desk.add_column(sa.Column("rank", sa.BigInteger(), nullable=True))
        desk.drop_index("ix_desk_state_system_cause")
    # An entry of before joins its cluster when it fails again.
    op.execute("UPDATE desk SET cluster = '', rank = -coalesce(money_minor, 0)")
    with op.batch_alter_table("desk") as desk:
        desk.alter_column("cluster", existing_type=sa.String(), nullable=False)
        desk.alter_column("rank", existing_type=sa.BigInteger(), nullable=False)
        for columns in LISTS:
            desk.create_index(f"ix_desk_state_{'_'.join(columns)}", ["state", *columns], unique=False)
    op.create_table(
        "desk_evidence",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("ours", sa.Text(), nullable=False),
        sa.Column("theirs", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_desk_evidence")),
    )
    op.add_column("sync_record", sa.Column("payload", sa.Text(), nullable=True))
    op.create_table(
        "refused_request",
        sa.Column("system", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("last_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("system", "reason", "day", name=op.f("pk_refused_request")),
    )
    op.create_table(
        "rate_budget",
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("rate", sa.BigInteger(), nullable=False),
        sa.Column("level", sa.BigInteger(), nullable=False),
        sa.Column("filled_at", UtcDateTime(), nullable=False),
        sa.Column("closed_until", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("account", name=op.f("pk_rate_budget")),
    )


def downgrade() -> None:
    op.drop_table("rate_budget")
    op.drop_table("refused_request")
    op.drop_column("sync_record", "payload")
    op.drop_table("desk_evidence")
    with op.batch_alter_table("desk") as desk:
        for columns in LISTS:
            desk.drop_index(f"ix_desk_state_{'_'.join(columns)}")
        for name in ("owner", "run", "trace", "cluster", "rank"):
            desk.drop_column(name)
        desk.create_index("ix_desk_state_system_cause", ["state", "system", "cause"], unique=False)
