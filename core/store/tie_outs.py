"""What tie-outs found, kept as it was told: their lines, and every version of the Breaks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import TypeAdapter
from sqlalchemy import bindparam, delete, func, or_, select, update

from core.store import rows
from core.store.border import StoredTable, table_of
from core.store.codec import chunks
from core.ties import Break, TieLine

TIE_OUT, VERSION = map(table_of, (rows.TieOutRow, rows.BreakVersionRow))
_LINES = TypeAdapter(list[TieLine])


@dataclass(frozen=True, slots=True)
class TieOutRecord:
    """What was found of a period, in the order money travels; ``at``: when the newest tie-out of it ended."""

    at: datetime
    lines: list[TieLine]
    breaks: list[Break]


class TieOuts(StoredTable):
    """Tie-outs in the order of time. A line is kept as it was compared; what explains it is told by the Breaks."""

    def keep(self, period: str, system: str | None, lines: Sequence[TieLine], at: datetime) -> None:
        """Keeps the lines of a tie-out; ``system``: those of this one alone."""
        told = {"period": period, "at": at, "system": system or "", "lines": _LINES.dump_json(list(lines)).decode()}
        self._replace(TIE_OUT, told)

    def follow(self, changed: Sequence[Break], at: datetime) -> None:
        """Keeps the versions of Breaks that were found or changed, and ends those of the closed ones.

        When it was last seen makes no version. A version that began at the same instant was never told to anybody, and
        is dropped.
        """
        known = self._newest([one.id for one in changed])
        said = {one.id: None if one.closed_at else one.model_dump_json(exclude={"last_seen_at"}) for one in changed}
        ended = [{"gone": ident} for ident, text in said.items() if ident in known and known[ident] != text]
        if ended:
            open_one = VERSION.c.break_id == bindparam("gone"), VERSION.c.stood_until.is_(None)
            self._connection.execute(delete(VERSION).where(*open_one, VERSION.c.stood_from >= at), ended)
            self._connection.execute(update(VERSION).where(*open_one).values(stood_until=at), ended)
        begun = [
            {
                "break_id": one.id,
                "stood_from": at,
                "stood_until": None,
                "period": one.period,
                "system": one.system,
                "said": said[one.id],
            }
            for one in changed
            if said[one.id] is not None and said[one.id] != known.get(one.id)
        ]
        if begun:
            self._connection.execute(VERSION.insert(), begun)

    def as_of(self, at: datetime, period: str, system: str | None = None) -> TieOutRecord | None:
        """What was known of a period at an instant; None when it had not been tied out by then.

        The newest tie-out of all systems tells, and later ones of one system what they looked at again. ``system``: the
        ties with this one alone.
        """
        of = TIE_OUT.c.period == period, TIE_OUT.c.at <= at
        whole = select(func.max(TIE_OUT.c.at)).where(*of, TIE_OUT.c.system == "").scalar_subquery()
        since = or_(TIE_OUT.c.at >= whole, whole.is_(None))
        query = select(TIE_OUT.c.at, TIE_OUT.c.lines).where(*of, since).order_by(TIE_OUT.c.at, TIE_OUT.c.system)
        ended = self._connection.execute(query).all()
        if not ended:
            return None
        found: dict[tuple[str, str, str], TieLine] = {}
        for row in ended:
            found |= {(line.tie, line.system, line.unit): line for line in _LINES.validate_json(row.lines)}
        newest = ended[-1].at
        told = [line for line in found.values() if system in (None, line.system)]
        place = {(line.tie, line.system): number for number, line in enumerate(told)}
        standing = self._standing(newest, at, period, system)
        standing.sort(key=lambda one: (place.get((one.tie, one.system), len(place)), one.subject))
        return TieOutRecord(newest, told, standing)

    def first(self, period: str) -> datetime | None:
        """When a period was tied out first."""
        return self._connection.execute(select(func.min(TIE_OUT.c.at)).where(TIE_OUT.c.period == period)).scalar()

    def _newest(self, break_ids: Sequence[str]) -> dict[str, str]:
        query = select(VERSION.c.break_id, VERSION.c.said).where(VERSION.c.stood_until.is_(None))
        return {
            ident: said
            for part in chunks(break_ids)
            for ident, said in self._connection.execute(query.where(VERSION.c.break_id.in_(part)))
        }

    def _standing(self, seen_at: datetime, at: datetime, period: str, system: str | None) -> list[Break]:
        query = select(VERSION.c.said).where(
            VERSION.c.stood_from <= at,
            or_(VERSION.c.stood_until.is_(None), VERSION.c.stood_until > at),
            or_(VERSION.c.period.is_(None), VERSION.c.period == period),
        )
        if system is not None:
            query = query.where(VERSION.c.system == system)
        last_seen_at = {"last_seen_at": seen_at.isoformat()}
        told = self._connection.execute(query).scalars()
        return [Break.model_validate_json(json.dumps(json.loads(said) | last_seen_at)) for said in told]
