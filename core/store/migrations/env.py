"""Alembic's entry: migrates over the connection it is handed."""

from alembic import context
from sqlmodel import SQLModel

from core.store import rows

assert rows.OutboxRow.__tablename__ in SQLModel.metadata.tables

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=SQLModel.metadata, render_as_batch=True, compare_type=True)
with context.begin_transaction():
    context.run_migrations()
