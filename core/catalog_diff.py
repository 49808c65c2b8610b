"""What two price books say differently, part by part: for the eyes of the person who approves the change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from core.catalog import PriceBook
from core.noun import Noun


class Difference(Noun):
    """One field. ``path`` names parts by their code; None: the side does not have it."""

    path: str
    before: str | None
    after: str | None


def differences(before: PriceBook, after: PriceBook) -> tuple[Difference, ...]:
    """Every field that differs, in the order of the path."""
    old, new = (dict(_leaves((), book.model_dump(mode="json"))) for book in (before, after))
    return tuple(
        Difference(path=".".join(path), before=old.get(path), after=new.get(path))
        for path in sorted({*old, *new})
        if old.get(path) != new.get(path)
    )


def _leaves(path: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _leaves((*path, str(key)), one)
    elif isinstance(value, list):
        for index, one in enumerate(value):
            name = one.get("code", one.get("id", index)) if isinstance(one, dict) else index
            yield from _leaves((*path, str(name)), one)
    elif value is not None:
        yield path, str(value)
