"""what part of its line a credit gives back, and what a tax per line or minute counts of it"""

from decimal import Decimal

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("credit_note_line") as batch_op:
        batch_op.add_column(sa.Column("share", sa.String(), nullable=False, server_default=sa.text("'1'")))
        batch_op.add_column(sa.Column("counted", sa.String(), nullable=False, server_default=sa.text("'0'")))
    given = sa.text(
        "SELECT one.id, one.amount_minor, line.amount_minor, line.quantity FROM credit_note_line AS one"
        " JOIN invoice_line AS line ON line.id = one.invoice_line_id WHERE line.amount_minor > 0"
    )
    kept = sa.text("UPDATE credit_note_line SET share = :share, counted = :counted WHERE id = :id")
    for ident, part, whole, quantity in op.get_bind().execute(given).all():
        share = (Decimal(part) / Decimal(whole)).quantize(Decimal("1e-12")).normalize()
        op.get_bind().execute(kept, {"id": ident, "share": f"{share:f}", "counted": quantity})


def downgrade() -> None:
    with op.batch_alter_table("credit_note_line") as batch_op:
        batch_op.drop_column("counted")
        batch_op.drop_column("share")
