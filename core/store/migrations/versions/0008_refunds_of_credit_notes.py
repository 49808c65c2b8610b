"""refunds of credit notes"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("refund", schema=None) as batch_op:
        batch_op.add_column(sa.Column("credit_note_id", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("refunded_on", sa.Date(), nullable=True))
    # A refund is REF-<credit note>, and the second one of a note REF-<credit note>-2.
    op.execute(
        "UPDATE refund SET credit_note_id = coalesce((SELECT max(id) FROM credit_note"
        " WHERE refund.id = 'REF-' || credit_note.id OR refund.id LIKE 'REF-' || credit_note.id || '-%'), id)"
    )
    op.execute(
        "UPDATE refund SET refunded_on = coalesce((SELECT credit_date FROM credit_note"
        " WHERE credit_note.id = refund.credit_note_id), CURRENT_DATE)"
    )
    with op.batch_alter_table("refund", schema=None) as batch_op:
        batch_op.alter_column("credit_note_id", existing_type=sa.String(), nullable=False)
        batch_op.alter_column("refunded_on", existing_type=sa.Date(), nullable=False)


def downgrade() -> None:
    with op.batch_alter_table("refund", schema=None) as batch_op:
        batch_op.drop_column("refunded_on")
        batch_op.drop_column("credit_note_id")
