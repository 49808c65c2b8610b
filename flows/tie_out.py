"""Tie out: read every system back and compare, record by record. A difference is a named, aged Break.

Each tie compares two sides in the database, loads what differs and nothing else, names its kind by the table of
``core.breaks``, and says what explains it: the timing that a rule expects, a person's reason, or an earlier Break.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any, TypeVar

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.runtime import flow_run
from prefect.states import Failed

from core.accounts import Account
from core.breaks import (
    KINDS,
    VOID,
    Cells,
    Difference,
    Facet,
    Moved,
    Side,
    broken,
    differing,
    explained_line,
    follows,
    month_of,
)
from core.errors import MappingError, Rejected, TieoutError
from core.invoicing import Adjustment, CarryForward, Invoice
from core.ledger import JournalEntry
from core.metering import Cut
from core.money import Money, total
from core.noun import Noun
from core.payments import Payment
from core.period import DateSpan
from core.ports import urgent
from core.rating import MeteredQuantity, RatedLine, measured, original
from core.rational import Fraction
from core.store import Work, figures, sides
from core.store.figures import Seen
from core.store.sides import CHARGED, KNOWN, RETURNED, Total
from core.subscriptions import Subscription
from core.sync import CommandState, DeskState
from core.ties import Break, Figure, TieLine
from core.wallets import CreditGrant, CreditMovement, Movement
from flows import breaks
from flows.context import Hub, hub
from flows.figures import GL, Reading, Sighting, see
from flows.late import known_since, late_usage, with_late
from flows.measure import contracts, measure, zones
from flows.outside_billing import billed_invoices, bills_outside, measured_usage
from flows.prepare import chart
from flows.receivables import receivables
from flows.report import SHOWN, Report, conclude, counted, name_run

N = TypeVar("N", bound=Noun)

#: Where received usage stands.
_STANDS = ("rated", "pending", "repeated", "rejected")

#: The event of a document's booking, by what a tie calls its record.
_EVENTS = {"invoice": "invoice", "credit_note": "credit note", "payment": "payment", "erp_refund": "refund"}


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
class TieOut:
    """One tie-out of a billing month: what we hold, what each system shows, and the equalities between them.

    A document of another month that we know is left out; one that nobody here knows is a Break. ``only``: ties of this
    system alone; ``as_of``: as it stood then, from what was seen until then, without asking anybody.
    """

    hub: Hub
    period: str
    only: str | None = None
    as_of: datetime | None = None
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
    def until(self) -> date | None:
        """The last day that counts, inclusive; None: all."""
        return None if self.as_of is None else self.as_of.date()

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
        return any((one.system, one.record, one.resource) == (system, "figure", resource) for one in self.hub.mappings)

    def _see(self, system: str, resource: str) -> Sighting:
        """Sees a resource again, once a tie-out."""
        if (system, resource) not in self.read:
            seen = Sighting() if self.as_of else see(self.hub, system, resource, self.reading)
            self.read[system, resource] = seen
        return self.read[system, resource]

    def _wanted(self, system: str) -> bool:
        return self.only in (None, system)

    # Comparing

    def _compare(
        self,
        tie: Tie,
        left: sides.Query,
        right: sides.Query,
        known: sides.Query | None,
        besides: Collection[str] = (),
    ) -> None:
        """Compares two sides in the database, and judges each record on which they differ, but those ``besides``."""
        with self.hub.database.reading() as work:
            shown = sides.summed(right) if tie.many else right
            compared = work.sides.compare(left, shown, known, tie.final, besides)
            keys = [*compared.differing, *compared.unknown]
            ours = work.sides.of(left, keys)
            theirs: Mapping[str, Sequence[Seen]] = {}
            if tie.resource:
                theirs = work.figures.under(tie.system, tie.resource, keys, self.as_of)
            else:
                theirs = {key: [_seen(tie, key, side)] for key, side in work.sides.of(right, keys).items()}
        if tie.second:
            mine, seen = ({c: Total(t.beside, 0, t.count, t.beside) for c, t in side.items()} for side in compared.both)
            self._total(replace(tie, name=tie.second), mine, seen)
        self._total(tie, compared.ours, compared.theirs)
        for key in keys:
            self._judge(tie, key, ours.get(key), theirs.get(key, ()))

    def _compare_sums(self, tie: Tie, left: Mapping[str, Money], right: Mapping[str, Money]) -> None:
        """Compares two sides that are small enough to be held."""
        self._total(tie, _by_currency(left), _by_currency(right))
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
                )
            )

    def _judge(self, tie: Tie, key: str, ours: Side | None, seen: Sequence[Seen]) -> None:
        """Names what differs of one record, and keeps it as a Break."""
        alive = [one for one in seen if one.figure.state.lower() not in VOID and self._is_of(tie, one.figure)]
        if tie.many and len(alive) > 1:
            alive = [_together(alive)]
        drift = [found for one in alive for found in one.drift]
        found = differing(tie.record, ours, [one.figure for one in alive], drift, tie.final)
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
            seen_beside = total((one.figure.beside or zero for one in alive), left.currency)
            self._explain(tie.second, mine - seen_beside, f"follows from {made.id}")

    def _explain(self, name: str, amount: Money, why: str) -> None:
        """Says on the line of a tie what a part of its difference comes from."""
        if not amount:
            return
        for number, line in enumerate(self.lines):
            if (line.tie, line.unit) == (name, amount.currency):
                told = "; ".join(dict.fromkeys(filter(None, [line.why, why])))
                more = {"explained": line.explained + amount.amount, "why": told}
                self.lines[number] = line.model_copy(update=more)

    def _usage_break(
        self, subject: str, here: Decimal, there: Decimal, system: str = "hub", facet: Facet = Facet.AMOUNT
    ) -> None:
        """A difference of quantities, which have no amount yet."""
        tie = Tie("usage", "measured", "rated", "usage", system)
        zero = Money.zero(self.currency)
        self._add(tie, subject, (zero, zero), [Difference(facet, f"{here:f}", f"{there:f}")])

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

    def _told_usage(self, system: str) -> Iterator[Any]:
        """The usage that another billing system holds."""
        mapping = self.hub.mappings.find(system, "usage_total", "in", "usage")
        for change in self.hub.connector(system).changes("usage", None):
            if change.payload is not None:
                yield mapping.into(change.payload)

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
        if self.as_of is not None or not self._shows(tie.system, tie.resource):
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
        waiting = [one for one in work.outbox.of_record(tie.system, tie.resource, key) if one.state in _UNDER_WAY]
        explained = f"awaits delivery to {tie.system}" if waiting else None
        return [Difference(Facet.UNSENT)], "", explained

    def _in_transit(self, payment_id: str) -> str | None:
        """Why a payment need not be settled yet."""
        days = self.hub.settings.tie_out.settles_within_days
        with self.hub.database.reading() as work:
            payment = work.get(Payment, payment_id)
        if payment is None or self._now() - payment.received_at > timedelta(days=days):
            return None
        return f"in transit: the gateway settles within {counted(days, 'day')}"

    def _now(self) -> datetime:
        return self.as_of or self.hub.now()

    # The chain, in the order money travels

    def _tie_to(self, tie: Tie, left: sides.Query, **narrow: Any) -> None:
        """Compares a side of ours with the documents that a system shows."""
        if self._wanted(tie.system) and self._shows(tie.system, tie.resource):
            self._see(tie.system, tie.resource)
            right = figures.side(tie.system, tie.resource, self.as_of, **narrow)
            self._compare(tie, left, right, KNOWN[tie.record])

    def orders(self) -> None:
        crm = self.hub.system("crm")
        tie = Tie("orders = CRM", "hub", crm, "order", crm, "order", monthly=False)
        self._tie_to(tie, sides.orders(self.as_of))
        if self._wanted("hub"):
            inside = Tie("orders = subscriptions", "orders", "subscriptions", "subscription", monthly=False)
            self._compare(inside, sides.orders(self.as_of), sides.subscriptions(), None)

    def usage(self) -> None:
        """What the month's bills knew of usage, measured now, against what they rated, per account.

        Usage that came after the bill of its month is pending until the next one; it is no difference. Where another
        system bills, against what its closed invoices bill of it.
        """
        if not self._wanted("hub"):
            return
        if bills_outside(self.hub):
            self._usage_outside()
            return
        accounts = self._held(Account)
        with self.hub.database.reading() as work:
            subscriptions, rated_months = contracts(work, accounts), work.sums.rated_months()
            zone_of = zones(work, accounts)
        days = self.hub.usage.completeness(
            [
                Cut(
                    account_id=one.id,
                    period=zone_of[one.id].instants(DateSpan.month(month)),
                    known_at=known_since(rated_months[one.id], month),
                )
                for one in accounts
                for month in rated_months.get(one.id, ())
            ]
        )
        received = sum(day.received.events for day in days)
        stands = {name: sum(getattr(day, name).events for day in days) for name in _STANDS}
        told = " + ".join(f"{count:,} {name}" for name, count in stands.items())
        if received != sum(stands.values()):
            self._usage_break(self.period, Decimal(received), Decimal(sum(stands.values())), facet=Facet.MISSING)
        whole = f"usage received = {' + '.join(_STANDS)}"
        self._count(whole, ("received", told), "events", (received, sum(stands.values())), len(days))
        metered: dict[str, Fraction] = defaultdict(Fraction)
        rated: dict[str, Fraction] = defaultdict(Fraction)
        events = rated_events = 0
        for ident, used, lines in self._priced_usage(accounts, subscriptions, rated_months):
            metered[ident] = sum((Fraction(one.quantity) for one in used), Fraction(0))
            rated[ident] = sum((line.derivation.measured for line in lines), Fraction(0))
            events += sum(one.events for one in used)
            rated_events += sum(line.derivation.events for line in lines)
        for ident in metered:
            if metered[ident] != rated[ident]:
                self._usage_break(ident, _exact({ident: metered[ident]}), _exact({ident: rated[ident]}))
        differing = sum(metered[key] != rated[key] for key in metered)
        self._count("usage metered = rated", ("metered", "rated"), "events", (events, rated_events), len(metered))
        units = (_exact(metered), _exact(rated))
        self._count("usage metered = rated", ("metered", "rated"), "units", units, len(metered), differing)

    def _usage_outside(self) -> None:
        """What was metered of the month now, against the usage on the billing system's closed invoices."""
        ours: dict[str, Fraction] = {}
        untold = 0
        for _, found in measured_usage(self.hub, self.period):
            if isinstance(found, TieoutError):
                untold += 1
            else:
                ours |= {one.id: Fraction(one.quantity) for one in found}
        system = self.hub.system("billing")
        theirs: dict[str, Fraction] = {}
        for one in self._told_usage(system):
            if one.invoice_id is not None and self.billing.start <= one.used_on < self.billing.end:
                theirs[one.id] = theirs.get(one.id, Fraction(0)) + Fraction(one.quantity)
        keys = ours.keys() | theirs.keys()
        for key in sorted(keys):
            here, there = (side.get(key, Fraction(0)) for side in (ours, theirs))
            if here != there:
                self._usage_break(key, _exact({key: here}), _exact({key: there}), system)
        differing = untold + sum(ours.get(key, 0) != theirs.get(key, 0) for key in keys)
        units = (_exact(ours), _exact(theirs))
        self._count("usage metered = usage billed", ("hub", system), "units", units, len(keys), differing)

    def _priced_usage(
        self,
        accounts: list[Account],
        subscriptions: Mapping[str, list[Subscription]],
        rated_months: Mapping[str, Mapping[str, datetime]],
    ) -> Iterator[tuple[str, list[MeteredQuantity], list[RatedLine]]]:
        """By account: what its bill is to price of the month, of what is carried into it and of the months that it
        corrects, as it knew them; and the lines that price it, of a corrected month as the correction leaves them.
        """
        newest, current = self.hub.usage.known_at(), self.hub.price_book.version
        known = {one.id: rated_months.get(one.id, {}).get(self.period, newest) for one in accounts}
        lines: dict[str, list[RatedLine]] = defaultdict(list)
        for line in self._rated:
            lines[line.account_id].append(line)
        versions = {ident: found[0].derivation.book_version for ident, found in lines.items()}
        late = late_usage(self.hub, self.period, accounts, subscriptions, known)
        for version in {current, *versions.values()}:
            book = self.hub.price_book_of(version)
            rated = [one for one in accounts if versions.get(one.id, current) == version]
            own = measure(self.hub, book, self.billing, rated, subscriptions, known)
            for one in rated:
                used = with_late(book, own.get(one.id, []), late.get(one.id, []), subscriptions[one.id], self.billing)
                priced = {line.id: line for line in lines[one.id] if line.corrects is None}
                for before in late.get(one.id, []):
                    corrections = [line for line in lines[one.id] if line.corrects == before.month]
                    if corrections:
                        used += before.now
                        priced |= {original(line): line for line in (*before.billed, *corrections)}
                usage = [line for line in priced.values() if self._measures(line)]
                if used or usage:
                    yield one.id, used, usage

    def _measures(self, line: RatedLine) -> bool:
        book = self.hub.price_book_of(line.derivation.book_version)
        return book.charge(line.charge_code).meter is not None and measured(line) != (0, 0)

    def _count(
        self,
        tie: str,
        names: tuple[str, str],
        unit: str,
        sides: tuple[Decimal | int, Decimal | int],
        count: int,
        breaks: int | None = None,
    ) -> None:
        left, right = map(Decimal, sides)
        if breaks is None:
            breaks = int(left != right)
        self.lines.append(
            TieLine(
                tie=tie,
                left_name=names[0],
                right_name=names[1],
                unit=unit,
                left=left,
                right=right,
                count=count,
                breaks=breaks,
            )
        )

    @cached_property
    def _rated(self) -> list[RatedLine]:
        return self._held(RatedLine, billing_period=self.period)

    def billed(self) -> None:
        """Rated for the month, adjusted and carried in, against what was invoiced and carried on, by account."""
        if not self._wanted("hub"):
            return
        if bills_outside(self.hub):
            self._billed_outside()
            return
        with self.hub.database.reading() as work:
            due, found = work.sides.sums(sides.rated(self.period)), work.sides.sums(sides.invoiced(self.billing))
            carries = work.find(CarryForward)
            carried_on = {one.id for one in carries if one.billing_period == self.billing}
            drawn = [one for one in work.find(CreditMovement) if one.kind is Movement.DRAWN and one.line_id]
            adjusted = [one for one in work.find(Adjustment) if one.taken_by]
            taken_by = {one.taken_by for one in carries if one.taken_by}
            taken_by |= {one.taken_by for one in adjusted if one.taken_by}
            taken_by |= {one.document_id for one in drawn if one.document_id}
            documents = work.sides.among(sides.invoices(self.billing), sorted(taken_by)) | carried_on
            taken = [one for one in adjusted if one.taken_by in documents]
        for adjustment in taken:
            _add(due, adjustment.account_id, adjustment.amount)
        for movement in drawn:
            if movement.document_id in documents:
                _add(due, movement.account_id, -movement.amount)
        for kept in carries:
            if kept.taken_by in documents:
                for line in kept.lines:
                    _add(due, kept.account_id, line.amount)
            if kept.id in carried_on:
                for line in kept.lines:
                    _add(found, kept.account_id, line.amount)
        due = {key: amount for key, amount in due.items() if amount or key in found}
        self._compare_sums(Tie("rated = invoiced", "rated", "invoices", "rated"), due, found)

    def _billed_outside(self) -> None:
        """The closed invoices of the system that bills, against ours, before tax."""
        theirs: dict[str, Money] = {}
        for vendor_id, billed in billed_invoices(self.hub, self.billing):
            if isinstance(billed, TieoutError):
                theirs[vendor_id] = Money.zero(self.currency)
            else:
                _add(theirs, billed.id, billed.total)
        with self.hub.database.reading() as work:
            ours = work.sides.sums(sides.subtotals(self.billing))
        system = self.hub.system("billing")
        self._compare_sums(Tie("invoices = billing system", "hub", system, "billed", system), ours, theirs)

    def credits(self) -> None:
        """Each credit granted, against what was drawn, expired, voided and is left of it, through all months."""
        moved: dict[str, Money] = {}
        for one in self._held(CreditMovement):
            _add(moved, one.grant_id, one.amount if one.kind.sign < 0 else -one.amount)
        grants = {one.id: one for one in self._held(CreditGrant)}
        given = {ident: one.amount for ident, one in grants.items()}
        kept = {ident: moved.get(ident, Money.zero(one.currency)) + one.left for ident, one in grants.items()}
        if grants and self._wanted("hub"):
            name = "credits granted = drawn + expired + left"
            self._compare_sums(Tie(name, "granted", "used and left", "credit", monthly=False), given, kept)

    def taxed(self) -> None:
        """Per engine: what it was asked about, and what it holds as committed, of the lines it takes."""
        for engine, codes in self._codes().items():
            tie = Tie(
                "invoice tax = tax committed",
                "hub",
                engine,
                "tax_document",
                engine,
                "tax_document",
                "committed",
                second="invoices = tax base",
            )
            self._tie_to(tie, sides.taxes(self.billing, codes, self.as_of))

    def _codes(self) -> dict[str, list[str]]:
        """Each tax engine and the tax codes of invoice lines that it takes."""
        with self.hub.database.reading() as work:
            codes = work.sides.tax_codes()
        found: dict[str, list[str]] = {engine: [] for engine in self.hub.playing("tax")}
        for code in codes:
            found[self.hub.tax_engine(code)].append(code)
        return found

    def credited(self) -> None:
        """Credit notes of the month's invoices: the tax they give back per engine, and the ERP's credit memos."""
        for engine, codes in self._codes().items():
            tie = Tie("credited tax = tax returned", "hub", engine, "tax_credit", engine, "tax_credit")
            self._tie_to(tie, sides.returned_taxes(self.billing, codes))
        erp = self.hub.system("erp")
        tie = Tie("credit notes = ERP credit memos", "hub", erp, "credit_note", erp, "credit_note")
        self._tie_to(tie, sides.credit_notes(self.billing, self.as_of))

    def collected(self) -> None:
        """What came in and what is still to come, against the gateway; then what the gateway booked."""
        gateway = self.hub.system("gateway")
        if not self._wanted(gateway):
            return
        paid = sides.payments(self.billing, self.as_of)
        charges = Tie("invoices = payments", "hub", gateway, "charge", gateway, "payment")
        awaited = self._awaited()
        self._see(gateway, "payment")
        seen = figures.side(gateway, "payment", self.as_of)
        self._compare(charges, sides.without_beside(paid), seen, KNOWN["charge"], awaited)
        self._await(charges, awaited)
        settled = Tie("payments = settled gross", "hub", gateway, "settlement", gateway, "settlement")
        self._tie_to(settled, paid, states=CHARGED)
        refunds = Tie(
            "refunds = settled refunds", "hub", gateway, "refund", gateway, "settlement", rare=True, many=True
        )
        self._tie_to(refunds, sides.refunds(self.billing), states=RETURNED)
        disputes = Tie(
            "disputes = settled disputes", "hub", gateway, "dispute", gateway, "settlement", rare=True, many=True
        )
        self._tie_to(disputes, sides.disputes(self.billing), besides=[*CHARGED, *RETURNED])

    def paid_out(self) -> None:
        """What the gateway booked for the month's payments, against what it paid out, and what is on its way."""
        gateway = self.hub.system("gateway")
        if not self._wanted(gateway) or not self._shows(gateway, "payout"):
            return
        self._see(gateway, "payout")
        tie = Tie("settled net = paid out", "hub", gateway, "payout", gateway, "payout", rare=True)
        with self.hub.database.reading() as work:
            payouts = work.figures.all(gateway, "payout", self.as_of)
            settled = work.sides.settled(self.billing)
        for payout in payouts:
            self._check(replace(tie, monthly=False), payout)
        paid = {part.name: part.amount for one in payouts if one.state not in VOID for part in one.parts}
        due = self._now() - timedelta(days=self.hub.settings.tie_out.pays_out_within_days)
        late: dict[str, Money] = {}
        on_its_way: dict[str, Money] = {}
        left: dict[str, Money] = {}
        right: dict[str, Money] = {}
        for ident, available_on, net in settled:
            left[ident] = net
            if ident in paid:
                right[ident] = paid[ident]
            elif payouts and available_on < due:
                _add(late, f"{available_on:%F} {net.currency}", net)
            else:
                right[ident] = net
                _add(on_its_way, net.currency, net)
        told = "".join(f" + {amount} on its way" for amount in on_its_way.values())
        self._total(replace(tie, right=f"{gateway}{told}"), _by_currency(left), _by_currency(right))
        for day, amount in sorted(late.items()):
            self._add(tie, day, (amount, Money.zero(amount.currency)), [Difference(Facet.MISSING)])

    def _check(self, tie: Tie, payout: Figure) -> None:
        """A payout is the sum of what it pays out, and reached the bank."""
        made_of = total((part.amount for part in payout.parts), payout.currency)
        if payout.state in VOID:
            self._add(tie, payout.key, (made_of, Money.zero(made_of.currency)), [Difference(Facet.VOIDED)])
        elif made_of != payout.amount:
            facet = Facet.AMOUNT if payout.parts else Facet.UNKNOWN
            self._add(tie, payout.key, (made_of, payout.amount), [Difference(facet, str(made_of), str(payout.amount))])

    def _awaited(self) -> dict[str, tuple[Invoice, Money]]:
        """What is still to come of the month's invoices, by the key of its request."""
        with self.hub.database.reading() as work:
            unpaid = work.find(Invoice, id=work.sides.unpaid(self.billing, self.as_of))
            found: dict[str, tuple[Invoice, Money]] = {}
            for one in receivables(self.hub, work, [invoice for invoice in unpaid if invoice.total.minor > 0]):
                found |= {ident: (one.invoice, amount) for ident, amount in one.asked.items()}
                if one.free.minor > 0:
                    found[one.next_request] = one.invoice, one.free
        return found

    def _await(self, tie: Tie, awaited: Mapping[str, tuple[Invoice, Money]]) -> None:
        """Adds what is awaited to the line of the payments: it may take until the invoice is due."""
        with self.hub.database.reading() as work:
            seen = work.figures.under(tie.system, tie.resource, list(awaited), self.as_of)
            desk = {
                key: entry
                for key in awaited
                if (entry := work.desk.get(f"outbox:{tie.system}/{tie.resource}/{key}")) is not None
                and entry.state is DeskState.OPEN
            }
        for key, (invoice, amount) in awaited.items():
            came = total((one.figure.amount for one in seen.get(key, ())), amount.currency)
            self._widen(tie, amount, came)
            if came == amount:
                continue
            facet, why, explained = Facet.UNSENT, "", None
            if key in desk:
                facet, why = Facet.STATE, f"It stands on the error desk: {desk[key].message}"
            elif invoice.due_date >= self._now().date():
                explained = f"invoice {invoice.id} is due on {invoice.due_date}"
            self._add(tie, key, (amount, came), [Difference(facet)], explained, why)

    def _widen(self, tie: Tie, left: Money, right: Money) -> None:
        """Adds one record to the line of its currency."""
        for number, line in enumerate(self.lines):
            if (line.tie, line.unit) == (tie.name, left.currency):
                more = {"left": line.left + left.amount, "right": line.right + right.amount, "count": line.count + 1}
                self.lines[number] = line.model_copy(update=more)
                return
        minor = {left.currency: Total(left.minor, 0, 1, left.minor)}
        self._total(tie, minor, {left.currency: Total(right.minor, 0, 1, right.minor)})

    def posted(self) -> None:
        """Our documents and journals against those of the ERP."""
        erp = self.hub.system("erp")

        def tie(name: str, record: str, resource: str, **more: Any) -> Tie:
            return Tie(name, "hub", erp, record, erp, resource, **more)

        customers = tie("customers = ERP customers", "account", "account", monthly=False, rare=True)
        self._tie_to(customers, sides.accounts())
        self._tie_to(tie("invoices = ERP invoices", "invoice", "invoice"), sides.invoices(self.billing, self.as_of))
        paid = sides.without_beside(sides.payments(self.billing, self.as_of))
        self._tie_to(tie("payments = ERP payments", "payment", "payment"), paid)
        refunds = tie("refunds = ERP refunds", "erp_refund", "refund", rare=True)
        self._tie_to(refunds, sides.refunds_one_by_one(self.billing))
        journals = tie("journals = ERP journals", "journal_entry", "journal_entry", monthly=False)
        self._tie_to(journals, sides.journals(self.as_of))

    def ledger(self) -> None:
        """Our balance of each ledger account, from the first booking to the last, against the general ledger's."""
        erp = self.hub.system("erp")
        with self.hub.database.reading() as work:
            books = {one.id: one.currency for one in self.hub.settings.all_entities}
            ours: dict[tuple[str, str, str], int] = defaultdict(int)
            for (account, month, entity), minor in work.sides.monthly().items():
                ours[account, month, books.get(entity, self.currency)] += minor
            owed = work.sums.unbooked()
        if self._wanted(erp):
            self._see(erp, GL)
            self._accounts(erp, ours)
        if not self._wanted("hub"):
            return
        balance: dict[str, Money] = {}
        for (account, _, currency), minor in ours.items():
            if currency == self.currency:
                _add(balance, account, Money(minor, currency))
        zero = Money.zero(self.currency)
        clearing = Tie("billing clearing = 0", "hub", "zero", "clearing", monthly=False)
        code = self.hub.posting.account("billing clearing")
        self._compare_sums(clearing, {code: balance.get(code, zero)}, {code: zero})
        schedule = Tie("deferred revenue = schedules", "ledger", "schedules", "schedule", monthly=False)
        code = self.hub.posting.account("deferred revenue")
        self._compare_sums(schedule, {code: -balance.get(code, zero)}, {code: owed.get(self.currency, zero)})

    def _accounts(self, erp: str, ours: Mapping[tuple[str, str, str], int]) -> None:
        """A line for each ledger account; what no Break of a document explains of it is one Break."""
        with self.hub.database.reading() as work:
            seen = work.figures.all(erp, GL, self.as_of)
        last = None if self.until is None else month_of(self.until.replace(day=1) - timedelta(days=1))
        theirs: dict[tuple[str, str, str], int] = defaultdict(int)
        for figure in seen:
            if last is None or figure.state <= last:
                theirs[figure.key, figure.state, figure.currency] += figure.amount.minor
        ours = {cell: minor for cell, minor in ours.items() if last is None or cell[1] <= last}
        names = {account.code: account.name for account in chart(self.hub.posting, self.hub.price_book)}
        for code, currency in sorted({(code, currency) for code, _, currency in (*ours, *theirs)}):
            left, right = (
                Money(sum(minor for cell, minor in side.items() if (cell[0], cell[2]) == (code, currency)), currency)
                for side in (ours, theirs)
            )
            tie = Tie(_account_tie(code, names), "hub", erp, "gl", erp, GL, monthly=False)
            self._total(tie, _by_currency({code: left}), _by_currency({code: right}))
        moved = Moved(
            {
                (code, month): Money(minor, currency)
                for code, month, currency in sorted({*ours, *theirs})
                if (minor := theirs.get((code, month, currency), 0) - ours.get((code, month, currency), 0))
            }
        )
        raw = dict(moved.cells)
        for one in [one for one in self.breaks if one.system == erp]:
            if KINDS[one.kind].facet in (Facet.CURRENCY, Facet.RATE):
                moved.absorb(one, self._accounts_of(one))
            else:
                moved.explain(one, self._effect(erp, one))
        self._moved(erp, moved, names)
        for code in {code for code, _ in raw}:
            self._follow(_account_tie(code, names), code, moved, raw)

    def _moved(self, erp: str, moved: Moved, names: Mapping[str, str]) -> None:
        """One Break for what a foreign entry moved: accounts that come to nothing together, or else each alone."""
        cells = list(moved.cells.items())
        balanced = len({amount.currency for _, amount in cells}) == 1 and not sum(one.minor for _, one in cells)
        groups = [cells] if balanced else [[cell] for cell in cells]
        for group in filter(None, groups):
            (code, _), amount = group[0]
            told = "; ".join(f"{account} {month} {money}" for (account, month), money in group)
            zero = Money.zero(amount.currency)
            subject = "+".join(dict.fromkeys(account for (account, _), _ in group))
            facet = Facet.ROUNDING if self._is_rounding(group) else Facet.AMOUNT
            shown = total((money for (account, _), money in group if account == code), amount.currency)
            tie = Tie(_account_tie(code, names), "hub", erp, "gl", erp, GL, monthly=False)
            one = self._add(tie, subject[:255], (zero, shown), [Difference(facet, "nothing", told)])
            for account in {account for (account, _), _ in group} - {code}:
                moved.because.setdefault(account, []).append(one.id)

    def _is_rounding(self, group: Sequence[tuple[tuple[str, str], Money]]) -> bool:
        """Whether it is at most half a minor unit for each entry in another currency than the books'."""
        with self.hub.database.reading() as work:
            foreign = work.sides.foreign_entries(self.currency)
        return foreign > 0 and all(2 * abs(money.minor) <= foreign for _, money in group)

    def _follow(self, tie: str, code: str, moved: Moved, raw: Cells) -> None:
        """Says on the line of an account what its difference follows from."""
        for number, line in enumerate(self.lines):
            mine = [money for (account, _), money in raw.items() if account == code and money.currency == line.unit]
            if line.tie == tie and mine and code in moved.because:
                own = sum(
                    (one.difference.amount for one in self.breaks if one.tie == tie and one.currency == line.unit),
                    Decimal(0),
                )
                explained = -(total(mine, line.unit).amount) + own
                why = "follows from " + ", ".join(moved.because[code][:3])
                self.lines[number] = line.model_copy(update={"explained": explained, "why": why})

    def _entries(self, work: Work, one: Break) -> list[JournalEntry]:
        """What we booked for the document of a Break, or the entries that its journal sums."""
        own = work.find(JournalEntry, id=[one.subject, f"DOC-{one.subject}"])
        return own + work.find(JournalEntry, gl_journal=one.subject)

    def _accounts_of(self, one: Break) -> set[str]:
        with self.hub.database.reading() as work:
            return {line.ledger_account for entry in self._entries(work, one) for line in entry.lines}

    def _effect(self, erp: str, one: Break) -> Cells:
        """What a Break of a document moves in the general ledger."""
        _, seen = self._pairs.get(one.id, (None, ()))
        record, facet = KINDS[one.kind].record, KINDS[one.kind].facet
        with self.hub.database.reading() as work:
            entries = self._entries(work, one)
            codes = {proof.vendor_id: proof.record_id for proof in work.outbox.proofs(erp, "ledger_account")}
            pair = work.sides.accounts_of(_EVENTS[record]) if record in _EVENTS else None
        booked = _booked(entries)
        if facet in (Facet.GONE, Facet.VOIDED, Facet.UNSENT, Facet.UNREADABLE):
            return {cell: -amount for cell, amount in booked.items()}
        effect: dict[tuple[str, str], Money] = {}
        for found in seen:
            figure = found.figure
            month = month_of(figure.dated or (entries[0].posted_on if entries else self.billing.last_day))
            if record == "journal_entry" and figure.parts:
                for part in figure.parts:
                    _add(effect, (codes.get(part.name, part.name), month), part.amount)
            elif pair:
                _add(effect, (pair[0], month), figure.amount)
                _add(effect, (pair[1], month), -figure.amount)
        for cell, amount in booked.items():
            _add(effect, cell, -amount)
        return {cell: amount for cell, amount in effect.items() if amount}

    def told(self) -> None:
        crm = self.hub.system("crm")
        name = "CRM shows what is invoiced"
        tie = Tie(name, "hub", crm, "order_progress", crm, "order_progress", monthly=False)
        self._tie_to(tie, sides.told())

    # The whole

    def run(self) -> list[TieLine | Break]:
        """All equalities, in the order money travels; Breaks are stored with the moment they were first seen."""
        for step in STEPS if self.as_of is None else _LOOKING_BACK:
            step(self)
        self._drop_echoes()
        if self.as_of is None:
            self._store()
        self.lines = [self._finished(line) for line in self.lines]
        return self.found

    def _finished(self, line: TieLine) -> TieLine:
        return line if line.unit in ("events", "units") else explained_line(line, self.breaks)

    def _drop_echoes(self) -> None:
        """A Break that follows from an earlier one is no Break of its own: its line says what it follows from."""
        roots: list[Break] = []
        for one in self.breaks:
            root = next((earlier for earlier in roots if follows(one, earlier)), None)
            if root is None:
                roots.append(one)
                continue
            self._explain(one.tie, -one.difference, f"follows from {root.id}")
        self.breaks = roots

    def _store(self) -> None:
        """Keeps the Breaks found, and closes those of this month and these systems that are not there any more."""
        with self.hub.database.work() as work:
            standing = {
                one.id: one
                for one in work.find(Break, closed_at=None)
                if one.period in (None, self.period) and self._wanted(one.system)
            }
            self.breaks = [_aged(one, standing.pop(one.id, None)) for one in self.breaks]
            for one in self.breaks:
                work.put(one)
            for gone in standing.values():
                work.put(gone.model_copy(update={"closed_at": self.hub.now()}))


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
#: Records of which the table knows no void.
_VOIDABLE = {"order_progress": False}
#: What a document that nobody here knows is called where it has a name of its own.
_STRANGE = {"refund": Facet.GIVEN_BACK, "dispute": Facet.DISPUTED}
_UNDER_WAY = (CommandState.PENDING, CommandState.SENDING, CommandState.UNKNOWN, CommandState.PARKED)


def _seen(tie: Tie, key: str, side: Side) -> Seen:
    """A side of ours in the form of what others show."""
    figure = Figure(
        record=tie.record, key=key, vendor_id=key, currency=side.currency, amount=side.amount, beside=side.beside
    )
    return Seen(figure)


def _together(seen: Sequence[Seen]) -> Seen:
    """Several documents under one key as one, of the sum of their amounts."""
    first = seen[0].figure
    return Seen(first.model_copy(update={"amount": total((one.figure.amount for one in seen), first.currency)}))


def _by_currency(side: Mapping[str, Money]) -> dict[str, Total]:
    found: dict[str, Total] = {}
    for money in side.values():
        before = found.get(money.currency, Total())
        amount = before.amount + money.minor
        found[money.currency] = Total(amount, 0, before.count + 1, amount)
    return found


def _add(sums: dict[Any, Money], key: Any, amount: Money) -> None:
    sums[key] = sums[key] + amount if key in sums else amount


def _booked(entries: Sequence[JournalEntry]) -> dict[tuple[str, str], Money]:
    cells: dict[tuple[str, str], Money] = {}
    for entry in entries:
        for line in entry.lines:
            _add(cells, (line.ledger_account, month_of(entry.posted_on)), line.functional_amount)
    return cells


def _account_tie(code: str, names: Mapping[str, str]) -> str:
    return f"GL {code} {names.get(code, '')}".strip()


def _aged(now: Break, before: Break | None) -> Break:
    """A Break with what is known of it from earlier tie-outs: its beginning, and what people said of it.

    A reason holds for the figures it was given for.
    """
    if before is None:
        return now
    same = (before.kind, before.left, before.right, before.detail) == (now.kind, now.left, now.right, now.detail)
    kept: dict[str, Any] = {"first_seen_at": before.first_seen_at, "note": before.note}
    if before.kind == now.kind:
        kept["owner"] = before.owner
    if now.explained is None and same and before.explained_by:
        kept |= {"explained": before.explained, "explained_by": before.explained_by}
    return now.model_copy(update=kept)


def _exact(sides: Mapping[str, Fraction]) -> Decimal:
    """A sum of quantities, which have at most six decimals."""
    return Decimal(int(sum(sides.values()) * 10**6)).scaleb(-6)


#: The chain of equalities.
STEPS: tuple[Callable[[TieOut], None], ...] = (
    TieOut.orders,
    TieOut.usage,
    TieOut.billed,
    TieOut.credits,
    TieOut.taxed,
    TieOut.credited,
    TieOut.collected,
    TieOut.paid_out,
    TieOut.posted,
    TieOut.ledger,
    TieOut.told,
)
#: Those of which both sides can be said for an instant in the past.
_LOOKING_BACK = tuple(step for step in STEPS if step not in (TieOut.usage, TieOut.billed, TieOut.credits, TieOut.told))


def row(line: TieLine) -> dict[str, str]:
    """A tie as the table and ``--json`` show it; every figure with at least two decimals."""
    return {
        "tie": line.tie,
        "left_name": line.left_name,
        "left": _shown(line.left),
        "right_name": line.right_name,
        "right": _shown(line.right),
        "difference": _shown(line.difference),
        "explained": _shown(line.explained),
        "unit": line.unit,
        "records": str(line.count),
        "breaks": str(line.breaks),
        "why": line.why,
    }


def _shown(number: Decimal) -> str:
    exponent = number.normalize().as_tuple().exponent
    places = max(2, -exponent) if isinstance(exponent, int) else 2
    return f"{number:.{places}f}"


def alert(hub: Hub, found: Iterable[Break]) -> None:
    """Tells of Breaks that nothing explains when they are new, and again when they are old: an event each for whoever
    listens in the orchestrator, and a table of all of them in the run."""
    now = hub.now()
    old = timedelta(days=hub.settings.tie_out.old_after_days)
    open_breaks = [one for one in found if one.explained is None]
    if not flow_run.id or not open_breaks:
        return
    for one in open_breaks:
        age = one.age(now)
        state = "old" if age >= old else "new" if not age else ""
        if state:
            emit_event(
                event=f"tieout.break.{state}",
                resource={"prefect.resource.id": f"tieout.break.{one.id}", "prefect.resource.name": one.subject},
                payload={
                    "kind": one.kind,
                    "severity": one.severity,
                    "system": one.system,
                    "subject": one.subject,
                    "left": str(one.left),
                    "right": str(one.right),
                    "owner": one.owner,
                    "days": age.days,
                },
            )
    rows = [breaks.row(one, now) for one in open_breaks[:SHOWN]]
    create_table_artifact(table=rows, key="breaks", description=f"{counted(len(open_breaks), 'break')} stand")


@urgent()
def tie_out_period(
    hub: Hub,
    period: str,
    system: str | None = None,
    as_of: datetime | None = None,
    reading: Reading = Reading.WHOLE,
) -> tuple[list[TieLine], list[Break]]:
    """The ties of a billing month, and every record on which two systems differ, the explained ones too.

    ``system``: only ties with this one, or with ``hub`` those inside ours; ``as_of``: as it stood then.
    """
    tie_out = TieOut(hub, period, system, as_of, reading)
    tie_out.run()
    return tie_out.lines, tie_out.breaks


@flow(
    name="Tie out",
    flow_run_name="tie out {period}",
    description="Reads every system back and compares it with ours, record by record. "
    "Green only when every tie differs by 0.00, or by what is explained.",
)
def tie_out(period: str, system: str | None = None, reading: Reading = Reading.CHANGED) -> State[Any]:
    here = hub()
    lines, found = tie_out_period(here, period, system, reading=reading)
    alert(here, found)
    closes = all(line.closes for line in lines)
    standing = [one for one in found if not one.explained]
    said = "every one differs by 0.00" if closes and not found else counted(len(standing), "break")
    explained = len(found) - len(standing)
    headline = f"{counted(len(lines), 'tie')}, {said}" + (f", {explained} explained" if explained else "")
    state = conclude(f"tie out {period}", Report(headline, rows=[row(line) for line in lines]))
    if closes:
        return state
    worst = "; ".join(f"{one.kind} {one.subject}, {one.left} against {one.right}" for one in standing[:5])
    name_run(f"tie out {period}: {counted(len(standing), 'break')}")
    return Failed(message=f"{headline}. {worst}. See `tieout breaks list`.")
