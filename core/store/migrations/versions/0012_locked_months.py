"""locked months take no journal, refused by the database itself; and the journal that carries an entry in the GL"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

#: Writers of a month hold its lock together, who locks the month holds it alone: none slips in behind the last look.
POSTGRESQL = (
    """
CREATE FUNCTION month_is_open() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
PERFORM pg_advisory_xact_lock_shared(7130428, hashtext(NEW.entity || to_char(NEW.posted_on, 'YYYY-MM')));
IF EXISTS (SELECT 1 FROM period_lock WHERE entity = NEW.entity AND month = to_char(NEW.posted_on, 'YYYY-MM')
AND reopened_at IS NULL) THEN
RAISE EXCEPTION 'the month of % is locked', NEW.posted_on USING ERRCODE = 'check_violation';
END IF; RETURN NEW; END $$
""",
    """
CREATE FUNCTION month_gets_locked() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
PERFORM pg_advisory_xact_lock(7130428, hashtext(NEW.entity || NEW.month));
RETURN NEW; END $$
""",
    """
CREATE FUNCTION refuse_lock_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'a lock is reopened, never deleted' USING ERRCODE = 'check_violation'; END $$
""",
    "CREATE TRIGGER journal_entry_month_is_open BEFORE INSERT ON journal_entry"
    " FOR EACH ROW EXECUTE FUNCTION month_is_open()",
    "CREATE TRIGGER period_lock_waits BEFORE INSERT ON period_lock FOR EACH ROW EXECUTE FUNCTION month_gets_locked()",
    "CREATE TRIGGER period_lock_no_delete BEFORE DELETE ON period_lock FOR EACH ROW EXECUTE FUNCTION"
    " refuse_lock_change()",
)
SQLITE = (
    """
CREATE TRIGGER journal_entry_month_is_open BEFORE INSERT ON journal_entry FOR EACH ROW
WHEN EXISTS (SELECT 1 FROM period_lock WHERE entity = NEW.entity AND month = substr(NEW.posted_on, 1, 7)
AND reopened_at IS NULL) BEGIN SELECT RAISE(ABORT, 'the month is locked'); END
""",
    "CREATE TRIGGER period_lock_no_delete BEFORE DELETE ON period_lock FOR EACH ROW"
    " BEGIN SELECT RAISE(ABORT, 'a lock is reopened, never deleted'); END",
)


def upgrade() -> None:
    op.add_column("journal_entry", sa.Column("gl_journal", sa.String(), nullable=True))
    op.create_index(op.f("ix_journal_entry_gl_journal"), "journal_entry", ["gl_journal"], unique=False)
    for statement in POSTGRESQL if _on_postgresql() else SQLITE:
        op.execute(statement)


def downgrade() -> None:
    for name, table in (("journal_entry_month_is_open", "journal_entry"), ("period_lock_no_delete", "period_lock")):
        op.execute(f"DROP TRIGGER {name}" + (f" ON {table}" if _on_postgresql() else ""))
    if _on_postgresql():
        op.execute("DROP TRIGGER period_lock_waits ON period_lock")
        for function in ("month_is_open", "month_gets_locked", "refuse_lock_change"):
            op.execute(f"DROP FUNCTION {function}()")
    op.drop_index(op.f("ix_journal_entry_gl_journal"), "journal_entry")
    op.drop_column("journal_entry", "gl_journal")


def _on_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"
