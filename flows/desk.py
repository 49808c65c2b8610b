"""Turns an error of a record into an entry of the error desk."""

from __future__ import annotations

from datetime import datetime

from prefect.runtime import flow_run

from core.errors import MappingError, Rejected, SchemaDrift, TieoutError
from core.money import Money
from core.sync import DeskEntry


def entry(
    error: TieoutError, ident: str, system: str, record: str, record_id: str, at: datetime, money: Money | None = None
) -> DeskEntry:
    """What the desk keeps of ``error``: its cause class, where it is, what is at risk and what cures it."""
    field = value = code = None
    if isinstance(error, Rejected):
        field, value, code = error.field, error.value, error.code
    elif isinstance(error, MappingError):
        field, value = error.field, None if error.value is None else str(error.value)[:200]
        code = error.code if isinstance(error, SchemaDrift) else None
    return DeskEntry(
        id=ident,
        system=system,
        record=record,
        record_id=record_id,
        cause=type(error).__name__,
        message=str(error)[:2000],
        cure=error.cure,
        code=code,
        field=field,
        value=value,
        money=money,
        first_seen_at=at,
        last_seen_at=at,
        run=flow_run.id or None,
        trace=error.trace or None,
    )
