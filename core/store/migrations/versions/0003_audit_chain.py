"""audit chain: append only, refused by the database itself"""

from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

from core.store.rows import UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

REFUSE = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the audit is append only: % may not change', TG_TABLE_NAME
USING ERRCODE = 'check_violation'; END $$
"""
#: Trigger, table, moment, and the condition that is refused; empty: every row.
RULES = (
    ("audit_no_update", "audit", "UPDATE", ""),
    ("audit_no_delete", "audit", "DELETE", ""),
    ("audit_tip_only_forward", "audit_tip", "UPDATE", "(NEW.seq <= OLD.seq)"),
    ("audit_tip_no_delete", "audit_tip", "DELETE", ""),
)


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("act", sa.String(), nullable=False),
        sa.Column("system", sa.String(), nullable=False),
        sa.Column("record", sa.String(), nullable=False),
        sa.Column("record_id", sa.String(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("previous", sa.String(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_record_id"), "audit", ["record_id"], unique=False)
    tip = op.create_table(
        "audit_tip",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_tip")),
    )
    op.bulk_insert(tip, [{"id": 1, "seq": 0, "hash": "0" * 64}])
    if _on_postgresql():
        op.execute(REFUSE)
    for statement in _triggers():
        op.execute(statement)


def downgrade() -> None:
    op.drop_table("audit_tip")
    op.drop_table("audit")
    if _on_postgresql():
        op.execute("DROP FUNCTION refuse_change()")


def _on_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _triggers() -> Iterator[str]:
    for name, table, moment, wrong in RULES:
        when = f" WHEN {wrong}" if wrong else ""
        if _on_postgresql():
            yield (
                f"CREATE TRIGGER {name} BEFORE {moment} ON {table} FOR EACH ROW{when} EXECUTE FUNCTION refuse_change()"
            )
        else:
            yield (
                f"CREATE TRIGGER {name} BEFORE {moment} ON {table} FOR EACH ROW{when}"
                f" BEGIN SELECT RAISE(ABORT, 'the audit is append only: {table} may not change'); END"
            )
    if _on_postgresql():
        for table in ("audit", "audit_tip"):
            yield f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} EXECUTE FUNCTION refuse_change()"
    else:  # REPLACE INTO deletes without a trigger
        yield (
            "CREATE TRIGGER audit_no_replace BEFORE INSERT ON audit FOR EACH ROW"
            " WHEN NEW.seq <= (SELECT seq FROM audit_tip)"
            " BEGIN SELECT RAISE(ABORT, 'the audit is append only: audit may not change'); END"
        )
