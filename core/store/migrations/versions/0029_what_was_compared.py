"""what both sides of a tie said of each record, and where what changed since is found"""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

#: The indexes by which changed records of a resource are found.
FOUND_BY = (
    ("figure", ("system", "resource", "seen_from")),
    ("figure", ("system", "resource", "seen_until")),
    ("outbox", ("resource", "created_at")),
)
KEY = ("system", "tie", "period", "key", "currency")


def upgrade() -> None:
    op.create_table(
        "compared",
        *(sa.Column(name, sa.String(), nullable=False) for name in KEY),
        sa.Column("amount", sa.BigInteger(), nullable=True),
        sa.Column("beside", sa.BigInteger(), nullable=True),
        sa.Column("their_currency", sa.String(), nullable=True),
        sa.Column("their_amount", sa.BigInteger(), nullable=True),
        sa.Column("their_beside", sa.BigInteger(), nullable=True),
        sa.Column("final", sa.BigInteger(), nullable=True),
        sa.Column("not_final", sa.BigInteger(), nullable=False),
        sa.Column("drift", sa.Text(), nullable=True),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(*KEY, name=op.f("pk_compared")),
    )
    for table, columns in FOUND_BY:
        op.create_index(op.f("_".join(("ix", table, *columns))), table, list(columns))


def downgrade() -> None:
    for table, columns in FOUND_BY:
        op.drop_index(op.f("_".join(("ix", table, *columns))), table)
    op.drop_table("compared")
