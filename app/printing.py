"""How the command line prints: a table for people, or the same rows as JSON."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value instead of a table.")]

#: Columns of numbers.
RIGHT = (
    "left", "right", "difference", "records", "breaks", "money at risk", "attempts", "amount", "debit", "credit",
    "errors", "seq",
)  # fmt: skip


def show(rows: list[dict[str, str]], *, as_json: bool, empty: str, title: str | None = None) -> None:
    """A table for people, or the same rows as JSON. Text of others has its control characters escaped."""
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    if not rows:
        print(empty)
        return
    table = Table(title=title, title_justify="left", header_style="bold")
    for head in rows[0]:
        table.add_column(head.replace("_", " "), justify="right" if head in RIGHT else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(value)) for value in row.values()))
    Console().print(table)


def plain(text: str) -> str:
    """Text that leaves the terminal alone: control characters are escaped, line ends and tabs too."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
