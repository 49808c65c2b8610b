"""what refunds and write-offs are worth in the books"""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

#: Table to where it finds its books: what it was made of, and by which column it names that.
MADE_OF = {"write_off": ("invoice", "invoice_id"), "refund": ("credit_note", "credit_note_id")}


def upgrade() -> None:
    for table, (origin, named) in MADE_OF.items():
        op.add_column(table, sa.Column("exchange", sa.Text(), nullable=True))
        op.add_column(table, sa.Column("entity", sa.String(), nullable=False, server_default=sa.text("'main'")))
        books = f"SELECT entity FROM {origin} WHERE {origin}.id = {table}.{named}"  # noqa: S608 no value in it
        op.execute(f"UPDATE {table} SET entity = coalesce(({books}), 'main')")  # noqa: S608 no value in it
    rate = "SELECT exchange FROM invoice WHERE invoice.id = write_off.invoice_id"
    op.execute(f"UPDATE write_off SET exchange = ({rate})")  # noqa: S608 no value in it


def downgrade() -> None:
    for table in MADE_OF:
        with op.batch_alter_table(table) as batch:
            batch.drop_column("entity")
            batch.drop_column("exchange")
