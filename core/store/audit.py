"""The stored audit chain: deeds are sealed as the last thing of the transaction that they tell about.

The row that holds the tip orders writers. It is locked when nothing else is left to do but to commit, so that who holds
it never waits for anybody, and two writers never wait for each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import Any, cast

from sqlalchemy import Connection, Table, bindparam, insert, select, update

from core.audit import AuditRow, Deed, Flaw, Tip, flaw, linked
from core.store import rows

AUDIT = cast(Table, rows.AuditRow.__table__)  # type: ignore[attr-defined]
TIP = cast(Table, rows.AuditTipRow.__table__)  # type: ignore[attr-defined]

_COLUMNS = tuple(column.name for column in AUDIT.columns)
_VALUES = attrgetter(*_COLUMNS)
# Built once: making a statement costs more than running it.
_READ_TIP = select(TIP.c.seq, TIP.c.hash)
_LOCK_TIP = _READ_TIP.with_for_update()
_MOVE_TIP = update(TIP).values(seq=bindparam("to"), hash=bindparam("digest"))
_APPEND = insert(AUDIT)


class Audit:
    """What is told in one unit of work, and the chain as it stands."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._told: list[Deed] = []

    def tell(self, deed: Deed) -> None:
        """Keeps a deed for the end of this unit of work; it is written if, and only if, that commits."""
        self._told.append(deed)

    def seal(self) -> None:
        """Writes what was told behind the tip of the chain."""
        if not self._told:
            return
        tip = Tip(*self._connection.execute(_LOCK_TIP).one())
        links = list(linked(tip, self._told))
        self._connection.execute(_APPEND, [dict(zip(_COLUMNS, _VALUES(link), strict=True)) for link in links])
        self._connection.execute(_MOVE_TIP, {"to": links[-1].seq, "digest": links[-1].hash})
        self._told.clear()

    def tip(self) -> Tip:
        return Tip(*self._connection.execute(_READ_TIP).one())

    def rows(self, *, limit: int = 100, **equal: Any) -> list[AuditRow]:
        """The newest rows whose columns equal the values, the newest first; None: any value."""
        query = select(AUDIT).order_by(AUDIT.c.seq.desc()).limit(limit)
        for name, value in equal.items():
            if value is not None:
                query = query.where(AUDIT.c[name] == value)
        return [AuditRow(*row) for row in self._connection.execute(query)]

    def flaw(self, anchor: Tip | None = None) -> Flaw | None:
        """The first broken row of the whole chain, or None."""
        return flaw(self._all(), self.tip(), anchor)

    def _all(self) -> Iterator[AuditRow]:
        query = select(AUDIT).order_by(AUDIT.c.seq).execution_options(yield_per=1000)
        for row in self._connection.execute(query):
            yield AuditRow(*row)
