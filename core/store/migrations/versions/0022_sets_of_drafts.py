"""what the journals of a close move, and drafts as the text that was shown, by the set that they belong to"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

#: Drafts that were booked are of the first set of their close, those that wait of the one after it.
ONE_BOOKED = "(SELECT close_id FROM journal_draft WHERE booked)"
ROUND = f"UPDATE journal_draft SET round = 1 WHERE NOT booked AND close_id IN {ONE_BOOKED}"  # noqa: S608
BOOKED = f"UPDATE close SET round = 1 WHERE id IN {ONE_BOOKED}"  # noqa: S608


def upgrade() -> None:
    zero, none = sa.text("0"), sa.text("'[]'")
    op.add_column("close", sa.Column("journals", sa.BigInteger(), nullable=False, server_default=zero))
    op.add_column("close", sa.Column("moves", sa.Text(), nullable=False, server_default=none))
    op.add_column("close", sa.Column("round", sa.BigInteger(), nullable=False, server_default=zero))
    op.add_column("journal_draft", sa.Column("round", sa.BigInteger(), nullable=False, server_default=zero))
    op.execute(ROUND)
    op.execute(BOOKED)
    with op.batch_alter_table("journal_draft") as batch_op:
        batch_op.alter_column("entry", new_column_name="text")
        batch_op.drop_column("digest")
        batch_op.drop_column("booked")


def downgrade() -> None:
    with op.batch_alter_table("journal_draft") as batch_op:
        batch_op.add_column(sa.Column("booked", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.add_column(sa.Column("digest", sa.String(), nullable=False, server_default=sa.text("''")))
        batch_op.alter_column("text", new_column_name="entry")
    op.execute(
        "UPDATE journal_draft SET booked = true WHERE round < (SELECT round FROM close WHERE close.id = close_id)"
    )
    with op.batch_alter_table("journal_draft") as batch_op:
        batch_op.drop_column("round")
    for name in ("round", "moves", "journals"):
        op.drop_column("close", name)
