"""the close of a month: closes, drafts, decisions, overrides, locks"""

from typing import Any

import sqlalchemy as sa
from alembic import op

from core.store.rows import UtcDateTime

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def _of_close(table: str, *columns: sa.Column[Any]) -> None:
    op.create_table(
        table,
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("close_id", sa.String(), nullable=False),
        *columns,
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
    )
    op.create_index(op.f(f"ix_{table}_close_id"), table, ["close_id"], unique=False)


def upgrade() -> None:
    op.create_table(
        "close",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("entity", sa.String(), nullable=False),
        sa.Column("period", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("cut_off", UtcDateTime(), nullable=False),
        sa.Column("frozen_at", UtcDateTime(), nullable=False),
        sa.Column("started_by", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_close")),
        sa.UniqueConstraint("entity", "period", "number", name=op.f("uq_close_entity_period_number")),
    )
    _of_close(
        "journal_draft",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("entry", sa.Text(), nullable=False),
        sa.Column("booked", sa.Boolean(), nullable=False),
    )
    _of_close(
        "close_decision",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("via", sa.String(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
    )
    _of_close(
        "close_override",
        sa.Column("gate", sa.String(), nullable=False),
        sa.Column("record", sa.String(), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
    )
    op.create_table(
        "period_lock",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("entity", sa.String(), nullable=False),
        sa.Column("month", sa.String(), nullable=False),
        sa.Column("close_id", sa.String(), nullable=False),
        sa.Column("locked_at", UtcDateTime(), nullable=False),
        sa.Column("reopened_at", UtcDateTime(), nullable=True),
        sa.Column("reopened_by", sa.String(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_period_lock")),
    )
    op.create_index(op.f("ix_period_lock_entity_month"), "period_lock", ["entity", "month"], unique=False)


def downgrade() -> None:
    for table in ("period_lock", "close_override", "close_decision", "journal_draft", "close"):
        op.drop_table(table)
