"""what the CRM calls an order"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sales_order", sa.Column("sold_as", sa.String()))


def downgrade() -> None:
    op.drop_column("sales_order", "sold_as")
