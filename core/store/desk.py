"""The stored error desk: failed records until somebody or a later success resolves them; fast with a million."""

from __future__ import annotations

from functools import cache
from typing import Any, cast

from sqlalchemy import Select, Update, bindparam, func, select, update

from core.masking import Mask
from core.money import Money
from core.store import rows
from core.store.border import StoredTable, money_currency, table_of
from core.store.codec import Shape
from core.sync import Cluster, DeskEntry, DeskState, Evidence

DESK, EVIDENCE = map(table_of, (rows.DeskRow, rows.EvidenceRow))

_DESK = Shape(
    DeskEntry,
    rows.DeskRow,
    extra={
        "currency": money_currency,
        "cluster": lambda entry: entry.cluster,
        "rank": lambda entry: -entry.money.minor if entry.money is not None else 0,
    },
)
_EVIDENCE = Shape(Evidence, rows.EvidenceRow)
_MASK = Mask()


@cache
def _changed(columns: tuple[str, ...]) -> Update:
    """Puts values into these columns of an open entry."""
    values: dict[str, Any] = {name: bindparam(f"of_{name}") for name in columns}
    return update(DESK).where(DESK.c.id == bindparam("of_id"), DESK.c.state == DeskState.OPEN).values(values)


@cache
def _of_id() -> Select[Any]:
    return select(DESK).where(DESK.c.id == bindparam("of_id"))


def open_entries(**equal: Any) -> Select[Any]:
    """The open entries of the desk whose columns equal the values, the most money at risk first.

    None: any value; a collection: any of them; ``since``: those that failed at or after that instant.
    """
    query = select(DESK).where(DESK.c.state == DeskState.OPEN).order_by(DESK.c.rank, DESK.c.id)
    if (since := equal.pop("since", None)) is not None:
        query = query.where(DESK.c.last_seen_at >= since)
    for name, value in equal.items():
        if value is not None:
            column = DESK.c[name]
            query = query.where(column == value if isinstance(value, str) else column.in_(value))
    return query


class Desk(StoredTable):
    """The error desk: failed records until somebody or a later success resolves them."""

    def report(self, entry: DeskEntry) -> None:
        """Puts a failure on the desk; a repeated one counts its attempts and keeps its owner and its beginning.

        Card numbers and credentials that a system or a person put into it are masked.
        """
        masked = {"message": _MASK.text(entry.message), "value": entry.value and _MASK.text(entry.value)}
        entry = entry.model_copy(update=masked)
        known = self.get(entry.id)
        if known is not None:
            again = known.state is DeskState.OPEN
            attempts = known.attempts + 1 if again else 1
            first = known.first_seen_at if again else entry.first_seen_at
            kept = {"attempts": attempts, "first_seen_at": first, "note": known.note, "owner": known.owner}
            entry = entry.model_copy(update=kept)
        self._replace(DESK, _DESK.columns(entry))

    def keep_evidence(self, evidence: Evidence) -> None:
        """Keeps what was sent and answered, in place of what was kept for that entry."""
        self._replace(EVIDENCE, _EVIDENCE.columns(evidence))

    def evidence(self, ident: str) -> Evidence | None:
        row = self._connection.execute(select(EVIDENCE).where(EVIDENCE.c.id == ident)).mappings().first()
        return None if row is None else _EVIDENCE.noun_of(cast(Any, row), {})

    def resolve(self, ident: str) -> bool:
        """Ends an open entry. False when there is none."""
        return self._change(ident, state=DeskState.RESOLVED)

    def ignore(self, ident: str, reason: str) -> bool:
        """Ends an open entry by decision; the reason is kept."""
        return self._change(ident, state=DeskState.IGNORED, note=reason)

    def assign(self, ident: str, owner: str | None) -> bool:
        """Says who takes care of an open entry (None: nobody)."""
        return self._change(ident, owner=owner)

    def note(self, ident: str, note: str) -> bool:
        """Keeps a remark on an open entry, in place of the last one."""
        return self._change(ident, note=note)

    def _change(self, ident: str, **values: Any) -> bool:
        bound = {"of_id": ident, **{f"of_{name}": value for name, value in values.items()}}
        return bool(self._connection.execute(_changed(tuple(values)), bound).rowcount)

    def get(self, ident: str) -> DeskEntry | None:
        row = self._connection.execute(_of_id(), {"of_id": ident}).mappings().first()
        return None if row is None else _DESK.noun_of(cast(Any, row), {})

    def open(self, *, limit: int = 1000, **equal: Any) -> list[DeskEntry]:
        """Open entries that ``open_entries`` finds, the most money at risk first."""
        return [self._entry(row) for row in self._connection.execute(open_entries(**equal).limit(limit)).mappings()]

    def clusters(self, limit: int = 100) -> list[Cluster]:
        """Open entries by their cause, the most money at risk first, then the most errors."""
        errors, rank = func.count(), func.sum(DESK.c.rank)
        query = (
            select(DESK.c.cluster, DESK.c.currency, errors, rank)
            .where(DESK.c.state == DeskState.OPEN)
            .group_by(DESK.c.cluster, DESK.c.currency)
            .order_by(rank, errors.desc(), DESK.c.cluster, DESK.c.currency)
            .limit(limit)
        )
        return [
            Cluster(id=cluster, sample=self._sample(cluster, currency), errors=number, money=_at_risk(total, currency))
            for cluster, currency, number, total in self._connection.execute(query)
        ]

    def _sample(self, cluster: str, currency: str | None) -> DeskEntry:
        query = open_entries(cluster=cluster).where(DESK.c.currency.is_not_distinct_from(currency)).limit(1)
        return self._entry(self._connection.execute(query).mappings().one())

    def at_risk(self) -> list[tuple[int, Money | None]]:
        """Open entries and the money at risk, per currency (None: entries without an amount)."""
        query = select(DESK.c.currency, func.count(), func.sum(DESK.c.rank)).where(DESK.c.state == DeskState.OPEN)
        return [
            (count, _at_risk(total, currency))
            for currency, count, total in self._connection.execute(query.group_by(DESK.c.currency))
        ]

    def _entry(self, row: Any) -> DeskEntry:
        return _DESK.noun_of(cast(Any, row), {})


def _at_risk(rank: Any, currency: str | None) -> Money | None:
    return None if currency is None else Money(-int(rank), currency)
