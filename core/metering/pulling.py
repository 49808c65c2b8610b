"""Usage pulled from a SQL source: rows changed since a watermark, as lines of a usage file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from core.errors import Misconfigured, Unavailable

#: Columns a query must give; further ones are dimensions. ``changed_at`` is the watermark's column.
COLUMNS = ("id", "account_id", "site_id", "meter", "quantity", "occurred_at", "changed_at")


def rows_since(url: str, query: str, since: datetime, name: str) -> Iterator[tuple[datetime, str]]:
    """(changed_at, line) of each row, in the order of the query, which takes ``:since`` (an instant, inclusive bound).

    Rows are streamed; a binary float as quantity is refused, since it is not exact. Unavailable when the source does
    not answer, Misconfigured when the query does not give the columns.
    """
    engine = create_engine(url)
    try:
        with engine.connect().execution_options(stream_results=True, yield_per=5000) as connection:
            result = connection.execute(text(query), {"since": since})
            if missing := set(COLUMNS) - {"site_id"} - set(result.keys()):
                raise Misconfigured(f"usage source {name}: the query gives no column {sorted(missing)[0]}", system=name)
            for row in result.mappings():
                yield _instant(row["changed_at"], name, "changed_at"), _line(dict(row), name)
    except SQLAlchemyError as error:
        raise Unavailable(f"usage source {name} does not answer ({type(error).__name__})") from None
    finally:
        engine.dispose()


def _instant(value: Any, name: str, column: str) -> datetime:
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        raise Misconfigured(f"usage source {name}: {column} is not an instant", system=name)
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _line(row: dict[str, Any], name: str) -> str:
    quantity = row["quantity"]
    if isinstance(quantity, float):
        raise Misconfigured(f"usage source {name}: quantity is a binary float; cast it to text or decimal", system=name)
    told = {
        "id": row["id"],
        "account_id": row["account_id"],
        "site_id": row.get("site_id"),
        "meter": row["meter"],
        "quantity": format(quantity, "f") if isinstance(quantity, Decimal) else str(quantity),
        "occurred_at": _instant(row["occurred_at"], name, "occurred_at").isoformat(),
        "dimensions": {key: str(value) for key, value in row.items() if key not in COLUMNS and value is not None},
    }
    return json.dumps(
        {key: value if key == "dimensions" else str(value) for key, value in told.items() if value is not None}
    )
