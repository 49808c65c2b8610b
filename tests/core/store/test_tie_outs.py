"""What tie-outs found can be told as of any instant, word for word."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random

import pytest

from core.breaks import Difference, Facet, broken
from core.store import Database
from core.ties import Break, TieLine
from tests.core.store.nouns import NOON, usd

OCTOBER = "2026-10"


def line(system: str, right: str) -> TieLine:
    left, shown = Decimal("72"), Decimal(right)
    return TieLine(
        tie=f"ours = {system}", left_name="hub", right_name=system, unit="USD", left=left, right=shown, count=1,
        system=system,
    )  # fmt: skip


def a_break(ident: str, right: str, at: datetime) -> Break:
    sides = usd("72"), usd(right)
    facet = [Difference(Facet.AMOUNT, "72", right)]
    return broken("ours = erp", ("hub", "erp"), "invoice", ident, sides, facet, at, system="erp", period=OCTOBER)


@pytest.mark.parametrize("seed", range(12))
def test_every_instant_tells_what_stood_then(database: Database, seed: int) -> None:
    """One tie-out after another, some at the same instant, of which the last one counts."""
    rng = Random(seed)
    days, standing = 0, dict[str, Break]()
    history: dict[int, tuple[list[TieLine], list[Break]]] = {}
    for _ in range(8):
        days += rng.randrange(2)
        at = NOON + timedelta(days=days)
        found = {ident: rng.choice([None, "1", "2"]) for ident in ("INV-1", "INV-2", "PAY-1")}
        now = {ident: a_break(ident, right, at) for ident, right in found.items() if right is not None}
        for ident in now.keys() & standing.keys():
            now[ident] = now[ident].model_copy(update={"first_seen_at": standing[ident].first_seen_at})
        gone = [one.model_copy(update={"closed_at": at}) for ident, one in standing.items() if ident not in now]
        standing, lines = now, [line("erp", str(len(now)))]
        with database.work() as work:
            work.tie_outs.keep(OCTOBER, None, lines, at)
            work.tie_outs.follow([*now.values(), *gone], at)
        history[days] = lines, by_id(now.values())
    with database.reading() as work:
        assert work.tie_outs.as_of(NOON + timedelta(days=min(history), seconds=-1), OCTOBER) is None
        assert work.tie_outs.as_of(NOON + timedelta(days=99), "2026-11") is None
        for day, (lines, breaks) in history.items():
            at = NOON + timedelta(days=day)
            told = work.tie_outs.as_of(at + timedelta(hours=1), OCTOBER)
            assert told is not None
            assert (told.at, told.lines, by_id(told.breaks)) == (at, lines, breaks)


def by_id(breaks: Iterable[Break]) -> list[Break]:
    return sorted(breaks, key=lambda one: one.id)


def test_what_was_looked_at_again_of_one_system_replaces_its_lines(database: Database) -> None:
    with database.work() as work:
        work.tie_outs.keep(OCTOBER, "erp", [line("erp", "1")], NOON)
    with database.reading() as work:
        alone = work.tie_outs.as_of(NOON, OCTOBER)
    assert alone is not None
    assert alone.lines == [line("erp", "1")]
    with database.work() as work:
        work.tie_outs.keep(OCTOBER, None, [line("crm", "72"), line("erp", "2")], NOON + timedelta(days=1))
        work.tie_outs.keep(OCTOBER, "erp", [line("erp", "72")], NOON + timedelta(days=2))
        assert work.tie_outs.first(OCTOBER) == NOON
        assert work.tie_outs.first("2026-11") is None
        found = [work.tie_outs.as_of(NOON + timedelta(days=days), OCTOBER) for days in (0, 1, 2)]
        narrow = work.tie_outs.as_of(NOON + timedelta(days=2), OCTOBER, "erp")
    assert [one and [told.right for told in one.lines] for one in found] == [[1], [72, 2], [72, 72]]
    assert narrow is not None
    assert [told.system for told in narrow.lines] == ["erp"]
