"""books: legal entities, rules and segments on journals, which never change, and balances that the database keeps"""

from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

KEY = ("entity", "month", "ledger_account", "currency", "event", "detail")
SUMS = ("debit_minor", "credit_minor", "functional_debit_minor", "functional_credit_minor")

REFUSE = """
CREATE FUNCTION refuse_journal_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'a booked journal never changes: reverse it, and book anew (%)', TG_TABLE_NAME
USING ERRCODE = 'check_violation'; END $$
"""
#: Of a line: what it adds to each sum. In the entity's own currency the amount is the functional one.
ADDED = (
    "coalesce({line}.debit_minor, 0)",
    "coalesce({line}.credit_minor, 0)",
    "CASE WHEN {line}.debit_minor IS NULL THEN 0 ELSE coalesce({line}.functional_minor, {line}.debit_minor) END",
    "CASE WHEN {line}.credit_minor IS NULL THEN 0 ELSE coalesce({line}.functional_minor, {line}.credit_minor) END",
)
GROWN = ", ".join(f"{name} = ledger_balance.{name} + excluded.{name}" for name in SUMS)
KEEP_POSTGRESQL = f"""
CREATE FUNCTION keep_ledger_balance() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
INSERT INTO ledger_balance ({", ".join((*KEY, *SUMS))})
SELECT entry.entity, to_char(entry.posted_on, 'YYYY-MM'), line.ledger_account, entry.currency, entry.event, line.detail,
{", ".join(f"sum({added.format(line='line')})" for added in ADDED)}
FROM fresh line JOIN journal_entry entry ON entry.id = line.parent_id
GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6
ON CONFLICT ({", ".join(KEY)}) DO UPDATE SET {GROWN};
RETURN NULL; END $$
"""  # noqa: S608
KEEP_SQLITE = f"""
CREATE TRIGGER journal_line_is_summed AFTER INSERT ON journal_line FOR EACH ROW BEGIN
INSERT INTO ledger_balance ({", ".join((*KEY, *SUMS))})
SELECT entry.entity, substr(entry.posted_on, 1, 7), NEW.ledger_account, entry.currency, entry.event, NEW.detail,
{", ".join(added.format(line="NEW") for added in ADDED)}
FROM journal_entry entry WHERE entry.id = NEW.parent_id
ON CONFLICT ({", ".join(KEY)}) DO UPDATE SET {GROWN}; END
"""  # noqa: S608
#: What was booked before balances were kept.
FILL = f"""
INSERT INTO ledger_balance ({", ".join((*KEY, *SUMS))})
SELECT entry.entity, {{month}}, line.ledger_account, entry.currency, entry.event, line.detail,
{", ".join(f"sum({added.format(line='line')})" for added in ADDED)}
FROM journal_line line JOIN journal_entry entry ON entry.id = line.parent_id GROUP BY 1, 2, 3, 4, 5, 6
"""  # noqa: S608
TABLES = ("journal_entry", "journal_line")


def upgrade() -> None:
    op.add_column("journal_entry", sa.Column("entity", sa.String(), nullable=False, server_default="main"))
    empty = sa.text("''")
    op.add_column("journal_entry", sa.Column("rules_version", sa.String(), nullable=False, server_default=empty))
    op.add_column("journal_entry", sa.Column("reverses", sa.String(), nullable=True))
    op.add_column("journal_entry", sa.Column("origin", sa.String(), nullable=True))
    op.create_index(op.f("ix_journal_entry_reverses"), "journal_entry", ["reverses"], unique=True)
    op.add_column("journal_line", sa.Column("rule", sa.String(), nullable=False, server_default=empty))
    op.add_column("journal_line", sa.Column("segments", sa.String(), nullable=False, server_default="{}"))
    op.add_column("journal_line", sa.Column("functional_minor", sa.BigInteger(), nullable=True))
    op.add_column("journal_line", sa.Column("functional_currency", sa.String(), nullable=True))
    op.add_column("journal_line", sa.Column("detail", sa.String(), nullable=False, server_default=empty))
    op.create_table(
        "ledger_balance",
        *(sa.Column(name, sa.String(), nullable=False) for name in KEY),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in SUMS),
        sa.PrimaryKeyConstraint(*KEY, name=op.f("pk_ledger_balance")),
    )
    month = "to_char(entry.posted_on, 'YYYY-MM')" if _on_postgresql() else "substr(entry.posted_on, 1, 7)"
    op.execute(FILL.format(month=month))
    for statement in _postgresql() if _on_postgresql() else _sqlite():
        op.execute(statement)


def downgrade() -> None:
    for name, table in _triggers():
        op.execute(f"DROP TRIGGER {name}" + (f" ON {table}" if _on_postgresql() else ""))
    if _on_postgresql():
        op.execute("DROP FUNCTION refuse_journal_change()")
        op.execute("DROP FUNCTION keep_ledger_balance()")
    op.drop_table("ledger_balance")
    for name in ("detail", "functional_currency", "functional_minor", "segments", "rule"):
        op.drop_column("journal_line", name)
    op.drop_index(op.f("ix_journal_entry_reverses"), "journal_entry")
    for name in ("origin", "reverses", "rules_version", "entity"):
        op.drop_column("journal_entry", name)


def _on_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _triggers() -> Iterator[tuple[str, str]]:
    """Each trigger and its table."""
    yield "journal_line_is_summed", "journal_line"
    for table in TABLES:
        for rule in ("update", "delete", "truncate" if _on_postgresql() else "replace"):
            yield f"{table}_no_{rule}", table
    for rule in ("is_kept", "no_delete", *(["no_truncate"] if _on_postgresql() else [])):
        yield f"ledger_balance_{rule}", "ledger_balance"


def _postgresql() -> Iterator[str]:
    yield REFUSE
    yield KEEP_POSTGRESQL
    refuse = "EXECUTE FUNCTION refuse_journal_change()"
    for table in TABLES:
        for moment in ("update", "delete"):
            yield f"CREATE TRIGGER {table}_no_{moment} BEFORE {moment} ON {table} FOR EACH ROW {refuse}"
        yield f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} {refuse}"
    yield (
        "CREATE TRIGGER journal_line_is_summed AFTER INSERT ON journal_line REFERENCING NEW TABLE AS fresh"
        " FOR EACH STATEMENT EXECUTE FUNCTION keep_ledger_balance()"
    )
    yield f"CREATE TRIGGER ledger_balance_no_delete BEFORE DELETE ON ledger_balance FOR EACH ROW {refuse}"
    yield f"CREATE TRIGGER ledger_balance_no_truncate BEFORE TRUNCATE ON ledger_balance {refuse}"
    # Only from within the trigger that sums.
    yield (
        "CREATE TRIGGER ledger_balance_is_kept BEFORE INSERT OR UPDATE ON ledger_balance FOR EACH ROW"
        f" WHEN (pg_trigger_depth() = 0) {refuse}"
    )


def _sqlite() -> Iterator[str]:
    refuse = "SELECT RAISE(ABORT, 'a booked journal never changes: reverse it, and book anew')"
    for table in TABLES:
        for moment in ("update", "delete"):
            yield f"CREATE TRIGGER {table}_no_{moment} BEFORE {moment} ON {table} FOR EACH ROW BEGIN {refuse}; END"
        yield (  # REPLACE INTO deletes without a trigger
            f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} FOR EACH ROW"  # noqa: S608
            f" WHEN EXISTS (SELECT 1 FROM {table} WHERE id = NEW.id) BEGIN {refuse}; END"
        )
    yield KEEP_SQLITE
    yield f"CREATE TRIGGER ledger_balance_no_delete BEFORE DELETE ON ledger_balance FOR EACH ROW BEGIN {refuse}; END"
    # A sum of what is only added to never falls.
    fell = " OR ".join(f"NEW.{name} < OLD.{name}" for name in SUMS)
    yield (
        "CREATE TRIGGER ledger_balance_is_kept BEFORE UPDATE ON ledger_balance FOR EACH ROW"
        f" WHEN {fell} BEGIN {refuse}; END"
    )
