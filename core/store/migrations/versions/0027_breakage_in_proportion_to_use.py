"""how much of a prepaid credit is expected never to be used"""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("credit_grant", sa.Column("breakage_percent", sa.String(), nullable=False, server_default="0"))


def downgrade() -> None:
    with op.batch_alter_table("credit_grant") as batch:
        batch.drop_column("breakage_percent")
