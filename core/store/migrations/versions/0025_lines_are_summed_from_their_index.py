"""the lines of documents are summed from the index by which they are found"""

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

#: The index of the parents alone, and what takes its place: a parent's lines with their amounts.
INDEXES = (
    ("journal_line", ("parent_id", "debit_minor", "credit_minor")),
    ("invoice_line", ("parent_id", "tax_code", "amount_minor", "tax_minor")),
)


def upgrade() -> None:
    for table, columns in INDEXES:
        op.create_index(op.f(f"ix_{table}_sums"), table, list(columns))
        op.drop_index(op.f(f"ix_{table}_parent_id"), table)


def downgrade() -> None:
    for table, _ in INDEXES:
        op.create_index(op.f(f"ix_{table}_parent_id"), table, ["parent_id"])
        op.drop_index(op.f(f"ix_{table}_sums"), table)
