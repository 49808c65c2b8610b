"""the day on which a payment is booked; unknown of those that the ERP was told of by the instant they came in"""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("payment", sa.Column("booked_on", sa.Date(), nullable=True))


def downgrade() -> None:
    op.drop_column("payment", "booked_on")
