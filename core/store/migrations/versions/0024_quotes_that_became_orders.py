"""the quote that an order was made from, and the line of it that each line was"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sales_order", sa.Column("quote_id", sa.String()))
    op.add_column("sales_order_line", sa.Column("quote_line_id", sa.String()))


def downgrade() -> None:
    op.drop_column("sales_order_line", "quote_line_id")
    op.drop_column("sales_order", "quote_id")
