"""What other systems were seen to show: the newest version of each document, and the earlier ones behind it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import ColumnElement, Select, and_, bindparam, func, select, update

from core.breaks import VOID, Difference, Facet
from core.store import rows
from core.store.border import StoredTable, table_of
from core.store.codec import Shape, chunks
from core.ties import Figure

FIGURE = table_of(rows.FigureRow)
_FIGURE = Shape(Figure, rows.FigureRow)


@dataclass(frozen=True, slots=True)
class Seen:
    """A document as it was seen, and in what it differs from what its system answered when we wrote it last."""

    figure: Figure
    drift: Sequence[Difference] = ()

    @property
    def digest(self) -> str:
        """Sixteen hex digits of the figure."""
        return hashlib.sha256(self.figure.model_dump_json().encode()).hexdigest()[:16]


def of(system: str, resource: str) -> ColumnElement[bool]:
    return and_(FIGURE.c.system == system, FIGURE.c.resource == resource)


def standing() -> ColumnElement[bool]:
    """What is seen now."""
    return FIGURE.c.seen_until.is_(None)


def side(
    system: str,
    resource: str,
    states: Iterable[str] | None = None,
    besides: Iterable[str] = (),
) -> Select[Any]:
    """One side of a tie: the documents of a resource that count for something; ``states``: only those in these states,
    ``besides``: none of those in these."""
    where = [of(system, resource), standing(), func.lower(FIGURE.c.state).not_in(VOID)]
    if states is not None:
        where.append(FIGURE.c.state.in_(list(states)))
    if besides:
        where.append(FIGURE.c.state.not_in(list(besides)))
    return select(
        FIGURE.c.key,
        FIGURE.c.currency,
        FIGURE.c.amount_minor.label("amount"),
        FIGURE.c.beside_minor.label("beside"),
        FIGURE.c.state,
        FIGURE.c.drift,
    ).where(*where)


class Figures(StoredTable):
    """Documents of other systems, as they were seen."""

    def keep(self, system: str, resource: str, seen: Sequence[Seen], at: datetime) -> int:
        """Keeps what was seen; gives how many were new, or not as before. Each vendor id comes once."""
        known = self._newest(system, resource, [one.figure.vendor_id for one in seen])
        changed = [one for one in seen if known.get(one.figure.vendor_id) != (one.digest, _written(one.drift))]
        self.close(system, resource, [one.figure.vendor_id for one in changed if one.figure.vendor_id in known], at)
        common = {"system": system, "resource": resource, "seen_from": at, "seen_until": None}
        columns = [
            {
                **_FIGURE.columns(one.figure),
                **common,
                "digest": one.digest,
                "drift": _written(one.drift),
            }
            for one in changed
        ]
        if columns:
            self._connection.execute(FIGURE.insert(), columns)
        return len(changed)

    def digests(self, system: str, resource: str, vendor_ids: Sequence[str] | None = None) -> dict[str, str]:
        """Vendor id to the digest of what is seen now (None: of all); empty where it is not as it was written."""
        newest = self._newest(system, resource, vendor_ids)
        return {ident: "" if drift else digest for ident, (digest, drift) in newest.items()}

    def _newest(
        self, system: str, resource: str, vendor_ids: Sequence[str] | None = None
    ) -> dict[str, tuple[str, str | None]]:
        query = select(FIGURE.c.vendor_id, FIGURE.c.digest, FIGURE.c.drift).where(of(system, resource), standing())
        parts: Iterable[Any] = [query]
        if vendor_ids is not None:
            parts = (query.where(FIGURE.c.vendor_id.in_(part)) for part in chunks(vendor_ids))
        return {ident: (digest, drift) for part in parts for ident, digest, drift in self._connection.execute(part)}

    def close(self, system: str, resource: str, vendor_ids: Sequence[str], at: datetime) -> None:
        """Ends what was seen of documents: they are gone, or are not as before.

        A version that began at the same instant was never seen by anybody, and is dropped.
        """
        same = and_(of(system, resource), standing(), FIGURE.c.vendor_id == bindparam("gone"))
        gone = [{"gone": ident} for ident in vendor_ids]
        if gone:
            self._connection.execute(FIGURE.delete().where(same, FIGURE.c.seen_from >= at), gone)
            self._connection.execute(update(FIGURE).where(same).values(seen_until=at), gone)

    def changed(self, system: str, resource: str, since: datetime) -> set[str]:
        """Our keys of the documents that came, changed or went from an instant on."""
        query = select(FIGURE.c.key).where(of(system, resource))
        moments = FIGURE.c.seen_from, FIGURE.c.seen_until
        return {key for at in moments for key in self._connection.execute(query.where(at >= since)).scalars()}

    def under(self, system: str, resource: str, keys: Sequence[str]) -> Mapping[str, list[Seen]]:
        """Our key to every document that is seen under it, void ones too."""
        found: dict[str, list[Seen]] = {}
        for part in chunks(keys):
            query = select(FIGURE).where(of(system, resource), standing(), FIGURE.c.key.in_(part))
            for row in self._connection.execute(query.order_by(FIGURE.c.vendor_id)).mappings():
                figure = _FIGURE.noun_of(cast(Any, row), {})
                found.setdefault(figure.key, []).append(Seen(figure, _read(row["drift"])))
        return found

    def all(self, system: str, resource: str) -> list[Figure]:
        """Every document of a resource, ordered by key and vendor id; for resources with few."""
        query = select(FIGURE).where(of(system, resource), standing()).order_by(FIGURE.c.key, FIGURE.c.vendor_id)
        return [_FIGURE.noun_of(cast(Any, row), {}) for row in self._connection.execute(query).mappings()]

    def history(self, system: str, resource: str, vendor_id: str) -> list[tuple[datetime, datetime | None, Figure]]:
        """Every version that was seen of a document, the oldest first: from when, until when."""
        query = select(FIGURE).where(of(system, resource), FIGURE.c.vendor_id == vendor_id).order_by(FIGURE.c.seen_from)
        return [
            (row["seen_from"], row["seen_until"], _FIGURE.noun_of(cast(Any, row), {}))
            for row in self._connection.execute(query).mappings()
        ]


def _written(drift: Sequence[Difference]) -> str | None:
    return json.dumps([[one.facet.name, one.was, one.now] for one in drift]) if drift else None


def _read(text: str | None) -> list[Difference]:
    return [Difference(Facet[name], was, now) for name, was, now in json.loads(text or "[]")]
