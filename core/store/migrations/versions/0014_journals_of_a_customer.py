"""journals are found by their customer"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("ix_journal_entry_account_id"), "journal_entry", ["account_id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_journal_entry_account_id"), "journal_entry")
