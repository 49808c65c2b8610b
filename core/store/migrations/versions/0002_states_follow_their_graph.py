"""states follow their graph: the database itself refuses any other step"""

from collections.abc import Iterator, Mapping

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

#: Table to its first state and the steps that are allowed, as of this revision.
GRAPHS: Mapping[str, tuple[str, Mapping[str, tuple[str, ...]]]] = {
    "inbox": (
        "received",
        {
            "received": ("applying",),
            "applying": ("applied", "stale", "parked", "rejected", "received"),
            "parked": ("received",),
            "rejected": ("received",),
            "applied": ("received",),
        },
    ),
    "outbox": (
        "pending",
        {
            "pending": ("sending", "cancelled"),
            "sending": ("done", "unknown", "rejected", "parked", "pending"),
            "unknown": ("sending",),
            "parked": ("pending", "cancelled"),
            "rejected": ("pending", "cancelled"),
        },
    ),
}

REFUSE = """
CREATE FUNCTION refuse_state() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '% may not become %', TG_TABLE_NAME, NEW.state USING ERRCODE = 'check_violation'; END $$
"""


def upgrade() -> None:
    postgresql = op.get_bind().dialect.name == "postgresql"
    if postgresql:
        op.execute(REFUSE)
    for table, name, moment, wrong in _rules():
        if postgresql:
            op.execute(
                f"CREATE TRIGGER {name} BEFORE {moment} ON {table} FOR EACH ROW WHEN ({wrong})"
                " EXECUTE FUNCTION refuse_state()"
            )
        else:
            op.execute(
                f"CREATE TRIGGER {name} BEFORE {moment} ON {table} FOR EACH ROW WHEN {wrong}"
                f" BEGIN SELECT RAISE(ABORT, '{table} may not take this state'); END"
            )


def downgrade() -> None:
    postgresql = op.get_bind().dialect.name == "postgresql"
    for table, name, _moment, _wrong in _rules():
        op.execute(f"DROP TRIGGER {name} ON {table}" if postgresql else f"DROP TRIGGER {name}")
    if postgresql:
        op.execute("DROP FUNCTION refuse_state()")


def _rules() -> Iterator[tuple[str, str, str, str]]:
    """(table, trigger, when it fires, condition that is refused)"""
    for table, (first, steps) in GRAPHS.items():
        allowed = " OR ".join(
            f"(OLD.state = '{source}' AND NEW.state IN ({', '.join(map(repr, targets))}))"
            for source, targets in steps.items()
        )
        yield table, f"{table}_first_state", "INSERT", f"(NEW.state <> '{first}')"
        yield table, f"{table}_next_state", "UPDATE", f"(OLD.state <> NEW.state AND NOT ({allowed}))"
