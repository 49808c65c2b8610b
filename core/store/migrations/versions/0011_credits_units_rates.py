"""credits, units, alerts, amendments, exchange rates"""

from typing import Any

import sqlalchemy as sa
from alembic import op

from core.store.rows import UtcDateTime

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

#: Columns that come to tables that are there: table, column, type.
ADDED = (
    ("sales_order", "amends", sa.String()),
    ("sales_order_line", "change", sa.String()),
    ("sales_order_line", "amends", sa.String()),
    ("sales_order_line", "until", sa.Date()),
    ("invoice", "exchange", sa.Text()),
)


def _minor(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger(), nullable=False)


def _text(*names: str, nullable: bool = False) -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.String(), nullable=nullable) for name in names]


def _days(*names: str, nullable: bool = False) -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.Date(), nullable=nullable) for name in names]


def _table(name: str, *parts: sa.Column[Any] | sa.Constraint | list[sa.Column[Any]]) -> None:
    flat = [one for part in parts for one in (part if isinstance(part, list) else [part])]
    op.create_table(name, *_text("id"), *flat, sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{name}")))


def _index(table: str, *columns: str) -> None:
    with op.batch_alter_table(table, schema=None) as batch_op:
        batch_op.create_index(batch_op.f(f"ix_{table}_{'_'.join(columns)}"), list(columns), unique=False)


def upgrade() -> None:
    for table in dict.fromkeys(table for table, _, _ in ADDED):
        with op.batch_alter_table(table, schema=None) as batch_op:
            for at, column, kind in ADDED:
                if at == table:
                    batch_op.add_column(sa.Column(column, kind, nullable=True))
    with op.batch_alter_table("billing_terms", schema=None) as batch_op:
        batch_op.add_column(sa.Column("exempt_by", sa.String(), nullable=True))
    op.execute("UPDATE billing_terms SET exempt_by = 'buyer'")
    with op.batch_alter_table("billing_terms", schema=None) as batch_op:
        batch_op.alter_column("exempt_by", existing_type=sa.String(), nullable=False)

    _table(
        "credit_grant",
        _text("account_id", "kind", "currency"),
        _minor("amount_minor"),
        _minor("left_minor"),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("charges", sa.Text(), nullable=False),
        _days("granted_on", "effective_on"),
        _days("expires_on", nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        _text("source"),
        sa.CheckConstraint("left_minor >= 0 AND left_minor <= amount_minor", name=op.f("ck_credit_grant_left")),
    )
    _index("credit_grant", "account_id")
    _index("credit_grant", "source")
    _table(
        "credit_movement",
        _text("grant_id", "account_id", "kind", "currency"),
        _minor("amount_minor"),
        _days("moved_on"),
        _text("document_id", "line_id", nullable=True),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_credit_movement_positive")),
    )
    _index("credit_movement", "grant_id")
    _index("credit_movement", "document_id")
    _table(
        "unit_grant",
        _text("account_id", "units"),
        sa.Column("charges", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        _days("granted_on", "effective_on"),
        _days("expires_on", nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
    )
    _index("unit_grant", "account_id")
    _table(
        "unit_balance",
        _text("account_id", "period", "source"),
        _text("allowance", "last", nullable=True),
        _text("opening", "granted", "drawn", "expired", "closing"),
    )
    _index("unit_balance", "account_id", "period")
    _table(
        "alert",
        _text("account_id", "subject", "threshold", "used", "limit"),
        sa.Column("raised_at", UtcDateTime(), nullable=True),
        sa.Column("told_at", UtcDateTime(), nullable=True),
    )
    _index("alert", "account_id")
    _table(
        "amendment",
        _text("subscription_id"),
        _text("order_id", nullable=True),
        _days("effective_on"),
        sa.Column("recorded_at", UtcDateTime(), nullable=False),
        sa.Column("changes", sa.Text(), nullable=False),
    )
    _index("amendment", "subscription_id")
    _table(
        "fx_rate",
        _text("source", "base", "quote"),
        _days("valid_on"),
        _text("rate"),
        sa.Column("recorded_at", UtcDateTime(), nullable=False),
    )
    _index("fx_rate", "valid_on")


def downgrade() -> None:
    for table in (
        "fx_rate", "amendment", "alert", "unit_balance", "unit_grant", "credit_movement", "credit_grant",
    ):  # fmt: skip
        op.drop_table(table)
    with op.batch_alter_table("billing_terms", schema=None) as batch_op:
        batch_op.drop_column("exempt_by")
    for table, column, _ in reversed(ADDED):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.drop_column(column)
