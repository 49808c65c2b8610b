"""Figures: what other systems show of our documents, seen again, and kept with what changed behind our back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from core.breaks import drifted
from core.errors import MappingError, Rejected
from core.mapping import Mapping
from core.money import Money
from core.ports import Guard
from core.store import Work
from core.store.figures import Seen
from core.sync import SyncRecord, Watermark
from core.tax import TaxDocument, TaxStatus
from core.ties import Figure, Part
from flows.context import Hub

#: Documents that one unit of work keeps.
BATCH = 500
#: How far a cursor reaches back behind what was seen last: stamps are coarse, and late commits carry early ones.
OVERLAP = timedelta(minutes=5)


class Reading(StrEnum):
    WHOLE = "whole"  # everything there is, so that what is gone is noticed
    CHANGED = "changed"  # what changed since the last reading, where the system tells of all changes


@dataclass
class Sighting:
    """One reading of one resource, from when on. ``unread``: vendor id to why its document is no figure."""

    began: datetime
    seen: int = 0
    changed: int = 0
    reading: Reading = Reading.WHOLE
    unread: dict[str, str] = field(default_factory=dict)


def see(hub: Hub, system: str, resource: str, wanted: Reading = Reading.WHOLE) -> Sighting:
    """Sees a resource again. What a system does not show at all is taken from the answers it gave when we wrote."""
    if hub.connector(system).resources[resource].guard is Guard.COMMIT:
        return _remember(hub, system, resource)
    since = _cursor(hub, system, resource) if wanted is Reading.CHANGED else None
    began, newest, present = hub.now(), since, set[str]()
    read = Sighting(began, reading=Reading.CHANGED if since else Reading.WHOLE)
    mapping = hub.reading(system, "figure", resource)
    batch: dict[str, Figure] = {}
    gone: list[str] = []
    for change in hub.connector(system).changes(resource, since):
        newest = max(filter(None, [newest, change.changed_at.isoformat()]))
        if change.payload is None:
            gone.append(change.vendor_id)
            batch.pop(change.vendor_id, None)
            continue
        try:
            figure = mapping.into(change.payload)
        except (MappingError, Rejected) as error:
            read.unread[change.vendor_id] = str(error)
            continue
        assert isinstance(figure, Figure)
        ident = f"{figure.vendor_id}/{figure.state}" if resource == GL else figure.vendor_id
        batch[ident] = figure.model_copy(update={"vendor_id": ident})
        present.add(ident)
        if len(batch) >= BATCH:
            read.changed += _keep(hub, system, resource, mapping, list(batch.values()), began)
            batch = {}
    read.changed += _keep(hub, system, resource, mapping, list(batch.values()), began)
    read.seen = len(present)
    with hub.database.work() as work:
        if read.reading is Reading.WHOLE:
            gone += work.figures.digests(system, resource).keys() - present
        work.figures.close(system, resource, gone, began)
        if read.reading is Reading.WHOLE:
            advance(work, system, f"{WHOLE}{resource}", began, began)
        if newest and not read.unread:
            advance(work, system, f"{CHANGED}{resource}", datetime.fromisoformat(newest) - OVERLAP, began)
    return read


#: The resource whose figures are one ledger account in one month.
GL = "gl_balance"

#: How the cursors are called: of what was read or compared as it changed, and when all was last.
CHANGED, WHOLE = "tie-out/", "tie-out-whole/"


def advance(work: Work, system: str, name: str, position: datetime, at: datetime) -> None:
    """Moves a cursor, never back: clocks may differ."""
    stands, new = work.outbox.watermark(system, name), position.isoformat()
    if stands is None or new > stands:
        work.outbox.move_watermark(Watermark(system=system, resource=name, position=new, moved_at=at))


def _cursor(hub: Hub, system: str, resource: str) -> str | None:
    """Where to go on reading; None when all must be read: it is due, or the system does not tell what is gone."""
    if not hub.connector(system).resources[resource].tells_deletions:
        return None
    with hub.database.reading() as work:
        return since_last(hub, work, system, resource)


def since_last(hub: Hub, work: Work, system: str, name: str) -> str | None:
    """Where to go on with what is cut by a cursor of this name; None when all of it is due again."""
    whole, since = (work.outbox.watermark(system, f"{cursor}{name}") for cursor in (WHOLE, CHANGED))
    due = timedelta(hours=hub.settings.tie_out.whole_after_hours)
    return None if whole is None or hub.now() - datetime.fromisoformat(whole) >= due else since


def _keep(hub: Hub, system: str, resource: str, mapping: Mapping, figures: Sequence[Figure], at: datetime) -> int:
    if not figures:
        return 0
    with hub.database.work() as work:
        known = work.figures.digests(system, resource, [one.vendor_id for one in figures])
        fresh = [one for one in figures if known.get(one.vendor_id) != Seen(one).digest]
        before = {} if resource == GL else _as_written(work, system, resource, mapping, fresh)
        seen = [Seen(one, drifted(before[one.vendor_id], one) if one.vendor_id in before else ()) for one in fresh]
        return work.figures.keep(system, resource, seen, at)


def _as_written(
    work: Work, system: str, resource: str, mapping: Mapping, figures: Sequence[Figure]
) -> dict[str, Figure]:
    """By vendor id, what the system answered when we wrote its document last."""
    found = {}
    for proof in work.outbox.proofs(system, resource, record_id=[one.key for one in figures]):
        figure = answered(mapping, proof)
        if figure is not None:
            found[figure.vendor_id] = figure
    return found


def answered(mapping: Mapping, proof: SyncRecord) -> Figure | None:
    """The document as the system answered it; None when the answer was too short to say."""
    try:
        figure = mapping.into(proof.answer)
    except (MappingError, Rejected):
        return None
    assert isinstance(figure, Figure)
    return figure


def _remember(hub: Hub, system: str, resource: str) -> Sighting:
    """Of a system that shows nothing: the answers we kept, final where it confirmed the commit."""
    with hub.database.reading() as work:
        kept = work.find(TaxDocument)
        confirmed = {proof.record_id for proof in work.outbox.proofs(system, "tax_commit")}
        answered = {proof.vendor_id for proof in work.outbox.proofs(system, resource)}
    figures = [
        _figure(one, resource, TaxStatus.COMMITTED if one.id in confirmed else one.status)
        for one in kept
        if one.vendor_id in answered  # of another engine or resource there may be documents of other codes
    ]
    at = hub.now()
    with hub.database.work() as work:
        gone = work.figures.digests(system, resource).keys() - {one.vendor_id for one in figures}
        work.figures.close(system, resource, list(gone), at)
        changed = work.figures.keep(system, resource, [Seen(one) for one in figures], at)
    return Sighting(at, seen=len(figures), changed=changed)


def _figure(document: TaxDocument, resource: str, status: TaxStatus) -> Figure:
    """``resource``: that of what gives tax back shows it above zero, as our credit notes do."""
    places: dict[str, Money] = defaultdict(lambda: Money.zero(document.currency))
    for line in document.lines:
        places[line.jurisdiction] += line.tax
    returns = resource == "tax_credit"

    def shown(amount: Money) -> Money:
        return -amount if returns else amount

    return Figure(
        record="credit_note" if returns else resource,
        key=document.invoice_id,
        vendor_id=document.vendor_id,
        currency=document.currency,
        amount=shown(document.tax),
        beside=shown(document.base),
        state=status.value,
        dated=document.document_date,
        parts=tuple(Part(name=place, amount=shown(tax)) for place, tax in sorted(places.items())),
    )
