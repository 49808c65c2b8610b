"""The ties from usage to the invoice: what was received, measured, rated, billed, and drawn from credit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from core.accounts import Account
from core.breaks import (
    Difference,
    Facet,
)
from core.errors import TieBroken, TieoutError
from core.invoicing import Adjustment, CarryForward
from core.metering import Cut
from core.money import Money
from core.period import DateSpan
from core.rating import MeteredQuantity, PricedUsage
from core.rational import Fraction
from core.store import sides
from core.subscriptions import Subscription
from core.ties import TieLine
from core.usage import ControlTotals
from core.wallets import CreditGrant, CreditMovement, Movement
from flows.comparing import Comparing, Tie, add
from flows.late import known_since, late_usage, with_late
from flows.measure import contracts, measure, zones
from flows.outside_billing import billed_invoices, bills_outside, measured_usage

_METERED = "usage metered = rated"
#: Where received usage stands.
_STANDS = ("rated", "pending", "repeated", "rejected")


class UsageTies(Comparing):
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
        self._received(
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
        metered: dict[str, Fraction] = defaultdict(Fraction)
        rated: dict[str, Fraction] = defaultdict(Fraction)
        events = rated_events = 0
        for ident, used, lines in self._priced_usage(accounts, subscriptions, rated_months):
            metered[ident] = sum((Fraction(one.quantity) for one in used), Fraction(0))
            rated[ident] = sum((line.measured for line in lines), Fraction(0))
            events += sum(one.events for one in used)
            rated_events += sum(line.events for line in lines)
        for ident in metered:
            if metered[ident] != rated[ident]:
                self._usage_break(_METERED, ident, _exact({ident: metered[ident]}), _exact({ident: rated[ident]}))
        differing = sum(metered[key] != rated[key] for key in metered)
        self._count(_METERED, ("metered", "rated"), "events", (events, rated_events), len(metered))
        units = (_exact(metered), _exact(rated))
        self._count(_METERED, ("metered", "rated"), "units", units, len(metered), differing)

    def _received(self, rated: list[Cut]) -> None:
        """Where everything that was received stands; a day on which something of it is nowhere is a Break."""
        whole = f"usage received = {' + '.join(_STANDS)}"
        try:
            days = self.hub.usage.completeness(rated)
        except TieBroken as error:
            sides = (error.left, error.right)
            here, there = (Decimal(side.events) for side in sides if isinstance(side, ControlTotals))
            self._usage_break(whole, error.subject, here, there, facet=Facet.MISSING)
            self._count(whole, ("received", f"what stands of {error.subject}"), "events", (here, there), 1)
            return
        stands = {name: sum(getattr(day, name).events for day in days) for name in _STANDS}
        told = " + ".join(f"{count:,} {name}" for name, count in stands.items())
        received = sum(day.received.events for day in days)
        self._count(whole, ("received", told), "events", (received, sum(stands.values())), len(days))

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
        keys, tie = ours.keys() | theirs.keys(), "usage metered = usage billed"
        for key in sorted(keys):
            here, there = (side.get(key, Fraction(0)) for side in (ours, theirs))
            if here != there:
                self._usage_break(tie, key, _exact({key: here}), _exact({key: there}), system)
        differing = untold + sum(ours.get(key, 0) != theirs.get(key, 0) for key in keys)
        units = (_exact(ours), _exact(theirs))
        self._count(tie, ("hub", system), "units", units, len(keys), differing, system)

    def _told_usage(self, system: str) -> Iterator[Any]:
        """The usage that another billing system holds."""
        mapping = self.hub.mappings.find(system, "usage_total", "in", "usage")
        for change in self.hub.connector(system).changes("usage", None):
            if change.payload is not None:
                yield mapping.into(change.payload)

    def _priced_usage(
        self,
        accounts: list[Account],
        subscriptions: Mapping[str, list[Subscription]],
        rated_months: Mapping[str, Mapping[str, datetime]],
    ) -> Iterator[tuple[str, list[MeteredQuantity], list[PricedUsage]]]:
        """By account: what its bill is to price of the month, of what is carried into it and of the months that it
        corrects, as it knew them; and the lines that price it, of a corrected month as the correction leaves them.
        """
        newest, current = self.hub.usage.known_at(), self.hub.price_book.version
        known = {one.id: rated_months.get(one.id, {}).get(self.period, newest) for one in accounts}
        lines: dict[str, list[PricedUsage]] = defaultdict(list)
        with self.hub.database.reading() as work:
            for line in work.sums.priced_usage(self.period):
                lines[line.account_id].append(line)
        versions = {ident: found[0].book_version for ident, found in lines.items()}
        late = late_usage(self.hub, self.period, accounts, subscriptions, known)
        for version in {current, *versions.values()}:
            book = self.hub.price_book_of(version)
            rated = [one for one in accounts if versions.get(one.id, current) == version]
            own = measure(self.hub, book, self.billing, rated, subscriptions, known)
            for one in rated:
                used = with_late(book, own.get(one.id, []), late.get(one.id, []), subscriptions[one.id], self.billing)
                priced = {line.line_id: line for line in lines[one.id] if line.corrects is None}
                for before in late.get(one.id, []):
                    corrections = [line for line in lines[one.id] if line.corrects == before.month]
                    if corrections:
                        used += before.now
                        billed = map(PricedUsage.of, before.billed)
                        priced |= {line.line_id: line for line in (*billed, *corrections)}
                usage = [line for line in priced.values() if self._measures(line)]
                if used or usage:
                    yield one.id, used, usage

    def _measures(self, line: PricedUsage) -> bool:
        book = self.hub.price_book_of(line.book_version)
        return book.charge(line.charge_code).meter is not None and bool(line.measured or line.events)

    def _count(
        self,
        tie: str,
        names: tuple[str, str],
        unit: str,
        sides: tuple[Decimal | int, Decimal | int],
        count: int,
        breaks: int | None = None,
        system: str = "hub",
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
                system=system,
            )
        )

    def _usage_break(
        self, name: str, subject: str, here: Decimal, there: Decimal, system: str = "hub", facet: Facet = Facet.AMOUNT
    ) -> None:
        """A difference of quantities, which have no amount yet."""
        tie = Tie(name, "measured", "rated", "usage", system)
        zero = Money.zero(self.currency)
        self._add(tie, subject, (zero, zero), [Difference(facet, f"{here:f}", f"{there:f}")])

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
            add(due, adjustment.account_id, adjustment.amount)
        for movement in drawn:
            if movement.document_id in documents:
                add(due, movement.account_id, -movement.amount)
        for kept in carries:
            if kept.taken_by in documents:
                for line in kept.lines:
                    add(due, kept.account_id, line.amount)
            if kept.id in carried_on:
                for line in kept.lines:
                    add(found, kept.account_id, line.amount)
        due = {key: amount for key, amount in due.items() if amount or key in found}
        self._compare_sums(Tie("rated = invoiced", "rated", "invoices", "rated"), due, found)

    def _billed_outside(self) -> None:
        """The closed invoices of the system that bills, against ours, before tax."""
        theirs: dict[str, Money] = {}
        for vendor_id, billed in billed_invoices(self.hub, self.billing):
            if isinstance(billed, TieoutError):
                theirs[vendor_id] = Money.zero(self.currency)
            else:
                add(theirs, billed.id, billed.total)
        with self.hub.database.reading() as work:
            ours = work.sides.sums(sides.subtotals(self.billing))
        system = self.hub.system("billing")
        self._compare_sums(Tie("invoices = billing system", "hub", system, "billed", system), ours, theirs)

    def credits(self) -> None:
        """Each credit granted, against what was drawn, expired, voided and is left of it, through all months."""
        moved: dict[str, Money] = {}
        for one in self._held(CreditMovement):
            if one.kind.sign:
                add(moved, one.grant_id, one.amount if one.kind.sign < 0 else -one.amount)
        grants = {one.id: one for one in self._held(CreditGrant)}
        given = {ident: one.amount for ident, one in grants.items()}
        kept = {ident: moved.get(ident, Money.zero(one.currency)) + one.left for ident, one in grants.items()}
        if grants and self._wanted("hub"):
            name = "credits granted = drawn + expired + left"
            self._compare_sums(Tie(name, "granted", "used and left", "credit", monthly=False), given, kept)


def _exact(sides: Mapping[str, Fraction]) -> Decimal:
    """A sum of quantities, which have at most six decimals."""
    return Decimal(int(sum(sides.values()) * 10**6)).scaleb(-6)
