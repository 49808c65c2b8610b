"""Comparing: both sides of a tie are summed by the database, and each record on which they differ is judged."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, TypeVar

from core.breaks import (
    VOID,
    Difference,
    Facet,
    Side,
    broken,
    differing,
)
from core.errors import MappingError, Rejected
from core.money import Money, total
from core.noun import Noun
from core.payments import Payment
from core.period import DateSpan
from core.store import Work, figures, sides
from core.store.figures import Seen
from core.store.sides import CHARGED, KNOWN, RETURNED, Total
from core.sync import UNDER_WAY, DeskState
from core.ties import Break, Figure, TieLine
from flows.context import Hub
from flows.figures import CHANGED, OVERLAP, WHOLE, Reading, Sighting, advance, see, since_last
from flows.report import counted

N = TypeVar("N", bound=Noun)


#: Most records that are compared one by one.
MOST_CHANGED = 5_000


@dataclass(frozen=True, slots=True)
class Tie:
    """One equality: what it is called, whose sides it has, which record it is about, and where theirs is seen.

    ``resource``: empty where both sides are ours. ``final``: the state, in small letters, that theirs must have.
    ``monthly``: whether it belongs to the billing month, or is the same whichever month is looked at.
    """

    name: str
    left: str
    right: str
    record: str
    system: str = "hub"
    resource: str = ""
    final: str = ""
    monthly: bool = True
    second: str = ""
    """What the equality of the amounts beside is called; empty where it is none of its own."""
    rare: bool = False
    """Whether it has no line in a month without any such record."""
    many: bool = False
    """Whether several documents of theirs may be one record of ours: they are added."""


@dataclass
class Comparing:
    """One tie-out of a billing month: what we hold, what each system shows, and the equalities between them.

    A document of another month that we know is left out; one that nobody here knows is a Break. ``only``: ties of this
    system alone.
    """

    hub: Hub
    period: str
    only: str | None = None
    reading: Reading = Reading.WHOLE
    lines: list[TieLine] = field(default_factory=list)
    breaks: list[Break] = field(default_factory=list)
    read: dict[tuple[str, str], Sighting] = field(default_factory=dict)
    _pairs: dict[str, tuple[Side | None, Sequence[Seen]]] = field(default_factory=dict)

    @property
    def found(self) -> list[TieLine | Break]:
        return [*self.lines, *self.breaks]

    @cached_property
    def billing(self) -> DateSpan:
        return DateSpan.month(self.period)

    @cached_property
    def currency(self) -> str:
        return self.hub.settings.legal_entity.currency

    def _held(self, kind: type[N], /, **equal: Any) -> list[N]:
        with self.hub.database.reading() as work:
            return work.find(kind, **equal)

    def _shows(self, system: str, resource: str) -> bool:
        """Whether the figures of a resource can be read from a system."""
        if resource not in self.hub.connector(system).resources:
            return False
        return bool(self.hub.mappings.known(system, "figure", "in", resource))

    def _see(self, system: str, resource: str) -> Sighting:
        """Sees a resource again, once a tie-out."""
        if (system, resource) not in self.read:
            self.read[system, resource] = see(self.hub, system, resource, self.reading)
        return self.read[system, resource]

    def _wanted(self, system: str) -> bool:
        return self.only in (None, system)

    def _tie_to(self, tie: Tie, left: sides.Query, **narrow: Any) -> None:
        """Compares a side of ours with the documents that a system shows."""
        if self._wanted(tie.system) and self._shows(tie.system, tie.resource):
            self._see(tie.system, tie.resource)
            right = figures.side(tie.system, tie.resource, **narrow)
            self._compare(tie, left, right, KNOWN[tie.record])

    def _compare(
        self,
        tie: Tie,
        left: sides.Query,
        right: sides.Query,
        known: sides.Query | None,
        besides: Collection[str] = (),
    ) -> None:
        """Compares two sides in the database, and judges each record on which they differ, but those ``besides``."""
        kept = None
        if known is not None and tie.record in _TOLD_WITH and self.reading is Reading.CHANGED:
            kept = self._keep(tie, left, right, known)
        with self.hub.database.reading() as work:
            if kept is not None:
                compared = work.sides.kept(kept)
            else:
                shown = sides.summed(right) if tie.many else right
                compared = work.sides.compare(left, shown, known, tie.final, besides)
            keys = [*compared.differing, *compared.unknown]
            theirs: Mapping[str, Sequence[Seen]] = {}
            if tie.resource:
                theirs = work.figures.under(tie.system, tie.resource, keys)
            else:
                theirs = {key: [_seen(tie, key, side)] for key, side in work.sides.of(right, keys).items()}
        if tie.second:
            mine, seen = ({c: Total(t.beside, 0, t.count, t.beside) for c, t in side.items()} for side in compared.both)
            self._total(replace(tie, name=tie.second), mine, seen)
        self._total(tie, compared.ours, compared.theirs)
        for key in keys:
            self._judge(tie, key, compared.differing.get(key), theirs.get(key, ()))

    def _keep(self, tie: Tie, left: sides.Query, right: sides.Query, known: sides.Query) -> sides.Place:
        """Compares what changed since the last time, or all when that is due, and keeps what both sides say."""
        place = sides.Place(tie.system, tie.name, self.period if tie.monthly else "")
        now = self.hub.now()
        with self.hub.database.work() as work:
            work.alone(f"compare {place.system} {place.name}")
            keys = self._changed(work, tie, place)
            work.sides.keep(place, left, right, known, tie.final, keys)
            if keys is None:
                advance(work, place.system, f"{WHOLE}{place.name}", now, now)
            advance(work, place.system, f"{CHANGED}{place.name}", now - OVERLAP, now)
        return place

    def _changed(self, work: Work, tie: Tie, place: sides.Place) -> list[str] | None:
        """The records that changed on either side since they were compared, and those that differed then.

        None where all are to be compared: that is due, or so many changed that one pass over all costs less.
        """
        since = since_last(self.hub, work, place.system, place.name)
        if since is None:
            return None
        at = min(datetime.fromisoformat(since), self.read[tie.system, tie.resource].began - OVERLAP)
        seen, meant = (
            work.figures.changed(tie.system, tie.resource, at),
            work.outbox.intended(_TOLD_WITH[tie.record], at),
        )
        keys = seen.union(meant, work.sides.differing(place))
        return sorted(keys) if len(keys) <= MOST_CHANGED else None

    def _compare_sums(self, tie: Tie, left: Mapping[str, Money], right: Mapping[str, Money]) -> None:
        """Compares two sides that are small enough to be held."""
        self._total(tie, by_currency(left), by_currency(right))
        for key in sorted({*left, *right}):
            ours, theirs = left.get(key), right.get(key)
            if ours != theirs:
                seen = [_seen(tie, key, Side(theirs.currency, theirs))] if theirs is not None else []
                self._judge(tie, key, None if ours is None else Side(ours.currency, ours), seen)

    def _total(self, tie: Tie, left: Mapping[str, Total], right: Mapping[str, Total]) -> None:
        """A line for each currency of a tie; of the entity's when there is nothing."""
        for currency in sorted({*left, *right}) or ([] if tie.rare else [self.currency]):
            mine, theirs = left.get(currency, Total()), right.get(currency, Total())
            self.lines.append(
                TieLine(
                    tie=tie.name,
                    left_name=tie.left,
                    right_name=tie.right,
                    unit=currency,
                    left=Money(mine.amount, currency).amount,
                    right=Money(theirs.final, currency).amount,
                    count=max(mine.count, theirs.count),
                    system=tie.system,
                )
            )

    def _judge(self, tie: Tie, key: str, ours: Side | None, seen: Sequence[Seen]) -> None:
        """Names what differs of one record, and keeps it as a Break."""
        alive = [one for one in seen if one.figure.state.lower() not in VOID and self._is_of(tie, one.figure)]
        if tie.many and len(alive) > 1:
            alive = [_together(alive)]
        drift = [found for one in alive for found in one.drift]
        found = differing(tie.record, ours, [one.figure for one in alive], drift, tie.final)
        if not found:  # it was put right while it was looked at
            return
        why = ""
        explained: str | None = None
        match found[0].facet:
            case Facet.MISSING:
                assert ours is not None
                found, why, explained = self._absence(tie, key, ours, seen)
            case Facet.UNKNOWN if tie.record in _STRANGE:
                found = [Difference(_STRANGE[tie.record])]
        left = ours.amount if ours else Money.zero(alive[0].figure.currency)
        right = total((one.figure.amount for one in alive if one.figure.currency == left.currency), left.currency)
        name = tie.name
        if found[0].facet is Facet.BESIDE and ours and ours.beside is not None and alive[0].figure.beside is not None:
            name, left, right = tie.second or tie.name, ours.beside, alive[0].figure.beside
        if found[0].facet is Facet.STATE:
            right = Money.zero(left.currency)
        made = self._add(replace(tie, name=name), key, (left, right), found, explained, why)
        self._pairs[made.id] = ours, alive
        if tie.second and name == tie.name:
            zero = Money.zero(left.currency)
            mine = ours.beside if ours and ours.beside is not None else zero
            besides = [one.figure.beside for one in alive if one.figure.beside is not None]
            seen_beside = total((one for one in besides if one.currency == left.currency), left.currency)
            self._explain(tie.second, tie.system, mine - seen_beside, f"follows from {made.id}")

    def _explain(self, name: str, system: str, amount: Money, why: str) -> None:
        """Says on the line of a tie what a part of its difference comes from."""
        if not amount:
            return
        for number, line in enumerate(self.lines):
            if (line.tie, line.system, line.unit) == (name, system, amount.currency):
                told = "; ".join(dict.fromkeys(filter(None, [line.why, why])))
                more = {"explained": line.explained + amount.amount, "why": told}
                self.lines[number] = line.model_copy(update=more)

    def _add(
        self,
        tie: Tie,
        subject: str,
        sides: tuple[Money, Money],
        differences: Sequence[Difference],
        explained: str | None = None,
        cause: str = "",
    ) -> Break:
        made = broken(
            tie.name,
            (tie.left, tie.right),
            tie.record,
            subject,
            sides,
            differences,
            self.hub.now(),
            system=tie.system,
            period=self.period if tie.monthly else None,
            explained=explained,
            cause=cause,
        )
        self.breaks.append(made)
        return made

    def _is_of(self, tie: Tie, figure: Figure) -> bool:
        """Whether a document seen under a key belongs to this tie: settlements are of payments, refunds or disputes."""
        if tie.resource != "settlement":
            return True
        kind = "refund" if figure.state in RETURNED else "settlement" if figure.state in CHARGED else "dispute"
        return kind == tie.record

    def _absence(
        self, tie: Tie, key: str, ours: Side, seen: Sequence[Seen]
    ) -> tuple[list[Difference], str, str | None]:
        """Why a record of ours does not stand there: how it differs, more of its cause, and what explains it."""
        if tie.record == "settlement":
            if ours.beside is not None:
                return [Difference(Facet.GONE)], "", None
            return [Difference(Facet.MISSING)], "", self._in_transit(key)
        if any(one.figure.state.lower() in VOID for one in seen):
            return [Difference(Facet.VOIDED)], "", None
        if tie.record not in _WRITTEN and tie.record not in _THEIRS:
            return [Difference(Facet.MISSING)], "", None
        vendor_id = key if tie.record in _THEIRS else None
        with self.hub.database.reading() as work:
            if vendor_id is None:
                proof = work.outbox.proof(tie.system, tie.resource, key)
                if proof is None:
                    return self._unsent(work, tie, key)
                vendor_id = proof.vendor_id
        why = self.read[tie.system, tie.resource].unread.get(vendor_id, "")
        return [Difference(self._gone(tie, vendor_id))], why, None

    def _gone(self, tie: Tie, vendor_id: str) -> Facet:
        """Whether what the list does not show is deleted, or stands there void or unreadable."""
        if vendor_id in self.read[tie.system, tie.resource].unread:
            return Facet.UNREADABLE
        if not self._shows(tie.system, tie.resource):
            return Facet.GONE
        mapping = self.hub.reading(tie.system, "figure", tie.resource)
        try:
            figure = mapping.into(self.hub.connector(tie.system).get(tie.resource, vendor_id))
        except Rejected:
            return Facet.GONE
        except MappingError:
            return Facet.UNREADABLE
        assert isinstance(figure, Figure)
        void = figure.state.lower() in VOID and tie.record not in _THEIRS
        return Facet.VOIDED if void and _VOIDABLE.get(tie.record, True) else Facet.GONE

    def _unsent(self, work: Work, tie: Tie, key: str) -> tuple[list[Difference], str, str | None]:
        """What was never proved there: waiting, which a rule explains, or on the desk, which a person must cure."""
        entry = work.desk.get(f"outbox:{tie.system}/{tie.resource}/{key}")
        if entry is not None and entry.state is DeskState.OPEN:
            return [Difference(Facet.UNSENT)], f"It stands on the error desk: {entry.message}", None
        waiting = [one for one in work.outbox.of_record(tie.system, tie.resource, key) if one.state in UNDER_WAY]
        explained = f"awaits delivery to {tie.system}" if waiting else None
        return [Difference(Facet.UNSENT)], "", explained

    def _in_transit(self, payment_id: str) -> str | None:
        """Why a payment need not be settled yet."""
        days = self.hub.settings.tie_out.settles_within_days
        with self.hub.database.reading() as work:
            payment = work.get(Payment, payment_id)
        if payment is None or self.hub.now() - payment.received_at > timedelta(days=days):
            return None
        return f"in transit: the gateway settles within {counted(days, 'day')}"


#: Records that we write there, and records that are theirs from the beginning.
_WRITTEN = frozenset(
    [
        "invoice",
        "credit_note",
        "payment",
        "erp_refund",
        "journal_entry",
        "tax_document",
        "tax_credit",
        "charge",
        "order_progress",
    ]
)
_THEIRS = frozenset(["order"])
#: Records of ours that never come or change without an intent of the same key, and the resource it is of: by that a
#: tie finds what changed.
_TOLD_WITH = {
    "invoice": "invoice",
    "tax_document": "invoice",
    "credit_note": "credit_note",
    "tax_credit": "credit_note",
    "payment": "payment",
    "erp_refund": "refund",
    "journal_entry": "journal_entry",
}
#: Records of which the table knows no void.
_VOIDABLE = {"order_progress": False}
#: What a document that nobody here knows is called where it has a name of its own.
_STRANGE = {"refund": Facet.GIVEN_BACK, "dispute": Facet.DISPUTED}


def _seen(tie: Tie, key: str, side: Side) -> Seen:
    """A side of ours in the form of what others show."""
    figure = Figure(
        record=tie.record, key=key, vendor_id=key, currency=side.currency, amount=side.amount, beside=side.beside
    )
    return Seen(figure)


def _together(seen: Sequence[Seen]) -> Seen:
    """Several documents under one key as one, of the sum of their amounts."""
    first = seen[0].figure
    amount = total((one.figure.amount for one in seen), first.currency)
    beside = [one.figure.beside for one in seen if one.figure.beside is not None]
    whole = total(beside, first.currency) if len(beside) == len(seen) else None
    return Seen(first.model_copy(update={"amount": amount, "beside": whole}))


def by_currency(side: Mapping[str, Money]) -> dict[str, Total]:
    found: dict[str, Total] = {}
    for money in side.values():
        before = found.get(money.currency, Total())
        amount = before.amount + money.minor
        found[money.currency] = Total(amount, 0, before.count + 1, amount)
    return found


def add(sums: dict[Any, Money], key: Any, amount: Money) -> None:
    sums[key] = sums[key] + amount if key in sums else amount
