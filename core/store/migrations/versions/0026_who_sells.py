"""whose customer an account is, what documents are worth in the books, and jobs that run at a system"""

import sqlalchemy as sa
from alembic import op

from core.store.rows import UtcDateTime

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

#: The legal entity that booked something of an account.
BOOKED = "SELECT min(entity) FROM journal_entry WHERE account_id = {account}"


def upgrade() -> None:
    op.add_column("account", sa.Column("entity", sa.String(), nullable=True))
    op.execute(f"UPDATE account SET entity = ({BOOKED.format(account='account.id')})")  # noqa: S608 no value in it
    for table in ("invoice", "credit_note", "payment"):
        op.add_column(table, sa.Column("entity", sa.String(), nullable=False, server_default=sa.text("'main'")))
        booked = f"coalesce(({BOOKED.format(account=f'{table}.account_id')}), 'main')"
        op.execute(f"UPDATE {table} SET entity = {booked}")  # noqa: S608 no value in it
    for table in ("credit_note", "payment"):
        op.add_column(table, sa.Column("exchange", sa.Text(), nullable=True))
    op.create_table(
        "vendor_job",
        sa.Column("system", sa.String(), nullable=False),
        sa.Column("resource", sa.String(), nullable=False),
        sa.Column("job", sa.String(), nullable=False),
        sa.Column("begun_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("system", "resource", "job", name=op.f("pk_vendor_job")),
    )


def downgrade() -> None:
    op.drop_table("vendor_job")
    for table in ("payment", "credit_note"):
        with op.batch_alter_table(table) as batch:
            batch.drop_column("exchange")
    for table in ("payment", "credit_note", "invoice", "account"):
        with op.batch_alter_table(table) as batch:
            batch.drop_column("entity")
