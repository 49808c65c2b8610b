"""Tie out: read every system back and compare, record by record. A difference is a named, aged Break."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from functools import cached_property
from typing import Any, TypeVar

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Failed

from core.accounts import Account
from core.errors import TieoutError
from core.invoicing import Adjustment, CarryForward, CreditNote, Invoice, InvoiceStatus
from core.ledger import JournalEntry, Via
from core.metering import Cut
from core.money import Money, total
from core.noun import Noun
from core.orders import Order
from core.payments import Payment, PaymentStatus, Refund, Settlement
from core.period import DateSpan
from core.ports import Guard, urgent
from core.rating import MeteredQuantity, RatedLine, measured, original
from core.rational import Fraction
from core.subscriptions import Subscription
from core.tax import TaxDocument, TaxStatus
from core.ties import Break, Figure, TieLine, compare
from core.wallets import CreditGrant, CreditMovement, Movement
from flows import credit
from flows.bill import by_engine
from flows.context import Hub, hub
from flows.late import known_since, late_usage, with_late
from flows.measure import contracts, measure
from flows.outside_billing import billed_invoices, bills_outside, measured_usage
from flows.prepare import chart
from flows.receivables import receivables
from flows.report import Report, conclude, counted, name_run
from flows.write_back import order_progress

N = TypeVar("N", bound=Noun)
Found = TieLine | Break
Sides = Mapping[str, list[Money]]

#: Where received usage stands.
_STANDS = ("rated", "pending", "repeated", "rejected")

#: How a settlement says that it gave money back.
REFUND = "refund"

#: Before the first booking and after the last one.
ALWAYS = (date(1900, 1, 1), date(9999, 1, 1))


@dataclass
class TieOut:
    """One tie-out of a billing month: what we hold, what each system answers, and the equalities between them.

    A document of another month that we know is left out; one that nobody here knows is a Break.
    """

    hub: Hub
    period: str
    found: list[Found] = field(default_factory=list)

    @cached_property
    def billing(self) -> DateSpan:
        return DateSpan.month(self.period)

    def _held(self, kind: type[N], /, **equal: Any) -> list[N]:
        with self.hub.database.reading() as work:
            return work.find(kind, **equal)

    @cached_property
    def invoices(self) -> list[Invoice]:
        return [one for one in self._all_invoices if one.billing_period == self.billing]

    @cached_property
    def _all_invoices(self) -> list[Invoice]:
        return self._held(Invoice, status=InvoiceStatus.FINAL.value)

    @cached_property
    def credit_notes(self) -> list[CreditNote]:
        return self._held(CreditNote, invoice_id=[invoice.id for invoice in self.invoices])

    @cached_property
    def payments(self) -> list[Payment]:
        ours = {invoice.id for invoice in self.invoices}
        return [one for one in self._all_payments if one.invoice_id in ours]

    @cached_property
    def _all_payments(self) -> list[Payment]:
        return self._held(Payment, status=PaymentStatus.SUCCEEDED.value)

    def _read(self, system: str, resource: str, record: str = "figure") -> Iterator[Any]:
        """Every record of a resource as the system shows it now."""
        mapping = self.hub.mappings.find(system, record, "in", resource)
        for change in self.hub.connector(system).changes(resource, None):
            if change.payload is not None:
                yield mapping.into(change.payload)

    def _figures(self, role: str, resource: str, ours: Mapping[str, Money], all_ours: set[str]) -> Sides:
        """Amounts by our key: those of ``ours``, and those that none of ``all_ours`` explains."""
        return self._figures_of(self.hub.system(role), resource, ours, all_ours)

    def _figures_of(self, system: str, resource: str, ours: Mapping[str, Money], all_ours: set[str]) -> Sides:
        sides: dict[str, list[Money]] = defaultdict(list)
        for figure in self._read(system, resource):
            assert isinstance(figure, Figure)
            if figure.key in ours or figure.key not in all_ours:
                sides[figure.key].append(figure.amount)
        return sides

    def _compare(self, tie: str, left_name: str, right_name: str, left: Mapping[str, Money], right: Sides) -> None:
        found = compare(tie, (left_name, right_name), left, right, self.hub.now())
        if not any(isinstance(one, TieLine) for one in found):
            zero = Decimal("0.00")
            unit = self.hub.settings.legal_entity.currency
            empty = TieLine(
                tie=tie, left_name=left_name, right_name=right_name, unit=unit, left=zero, right=zero, count=0
            )
            found = [empty]
        self.found += found

    def orders(self) -> None:
        held = self._held(Order)
        orders = {order.id: order.total for order in held}
        self._compare(
            "orders = CRM", "hub", self.hub.system("crm"), orders, self._figures("crm", "order", orders, set())
        )
        order_of = {line.id: order.id for order in held for line in order.lines}
        values: dict[str, list[Money]] = {
            order.id: [Money.zero(order.currency)] for order in held if order.amends is not None
        }
        for one in self._held(Subscription):
            for line in one.charges:
                ident = order_of.get(line.order_line_id, one.order_id)
                values[ident] = [total([*values.get(ident, ()), line.contract_value], one.currency)]
        self._compare("orders = subscriptions", "orders", "subscriptions", orders, values)

    def usage(self) -> None:
        """What the month's bills knew of usage, measured now, against what they rated, per account.

        Usage that came after the bill of its month is pending until the next one; it is no difference. Where another
        system bills, against what its closed invoices bill of it.
        """
        if bills_outside(self.hub):
            self._usage_outside()
            return
        accounts = self._held(Account)
        with self.hub.database.reading() as work:
            subscriptions, rated_months = contracts(work, accounts), work.sums.rated_months()
        days = self.hub.usage.completeness(
            [
                Cut(
                    account_id=one.id,
                    period=DateSpan.month(month).instants(one.timezone),
                    known_at=known_since(rated_months[one.id], month),
                )
                for one in accounts
                for month in rated_months.get(one.id, ())
            ]
        )
        received = sum(day.received.events for day in days)
        stands = {name: sum(getattr(day, name).events for day in days) for name in _STANDS}
        told = " + ".join(f"{count:,} {name}" for name, count in stands.items())
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
        for one in self._read(system, "usage", "usage_total"):
            if one.invoice_id is not None and self.billing.start <= one.used_on < self.billing.end:
                theirs[one.id] = theirs.get(one.id, Fraction(0)) + Fraction(one.quantity)
        keys = ours.keys() | theirs.keys()
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
        self.found.append(
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
        """Rated for the month, adjusted and carried in, against what was invoiced and carried on, by account.

        Where another system bills, its closed invoices against ours, before tax.
        """
        if bills_outside(self.hub):
            self._billed_outside()
            return
        carries = self._held(CarryForward)
        carried_on = [one for one in carries if one.billing_period == self.billing]
        documents: dict[str, Invoice | CarryForward] = {invoice.id: invoice for invoice in self.invoices}
        documents |= {kept.id: kept for kept in carried_on}
        sources = {line.id: (line.account_id, line.amount) for line in self._rated}
        for adjustment in self._held(Adjustment, taken_by=list(documents)):
            sources[adjustment.id] = (adjustment.account_id, adjustment.amount)
        for movement in self._held(CreditMovement, document_id=list(documents)):
            if movement.line_id is not None and movement.kind is Movement.DRAWN:
                sources[movement.id] = (movement.account_id, -movement.amount)
        for kept in carries:
            if kept.taken_by in documents:
                sources |= {line.rated_line_id: (kept.account_id, line.amount) for line in kept.lines}
        due: dict[str, Money] = {}
        for account_id, amount in sources.values():
            due[account_id] = due.get(account_id, Money.zero(amount.currency)) + amount
        found: dict[str, list[Money]] = {}
        for document in documents.values():
            for line in document.lines:
                account_id, _ = sources.get(line.rated_line_id, (document.account_id, line.amount))
                before = found.get(account_id, [Money.zero(line.amount.currency)])[0]
                found[account_id] = [before + line.amount]
        due = {key: amount for key, amount in due.items() if amount or key in found}
        self._compare("rated = invoiced", "rated", "invoices", due, found)

    def _billed_outside(self) -> None:
        theirs: dict[str, list[Money]] = defaultdict(list)
        for vendor_id, billed in billed_invoices(self.hub, self.billing):
            if isinstance(billed, TieoutError):
                theirs[vendor_id].append(Money.zero(self.hub.settings.legal_entity.currency))
            else:
                theirs[billed.id].append(billed.total)
        ours = {invoice.id: invoice.subtotal for invoice in self.invoices}
        self._compare("invoices = billing system", "hub", self.hub.system("billing"), ours, theirs)

    def credits(self) -> None:
        """Each credit granted, against what was drawn, expired, voided and is left of it, through all months."""
        moved: dict[str, Money] = {}
        for one in self._held(CreditMovement):
            amount = one.amount if one.kind.sign < 0 else -one.amount
            moved[one.grant_id] = moved.get(one.grant_id, Money.zero(one.currency)) + amount
        grants = {one.id: one for one in self._held(CreditGrant)}
        given = {ident: one.amount for ident, one in grants.items()}
        kept = {ident: [moved.get(ident, Money.zero(one.currency)) + one.left] for ident, one in grants.items()}
        if grants:
            self._compare("credits granted = drawn + expired + left", "granted", "used and left", given, kept)

    def taxed(self) -> None:
        """Per engine: what it was asked about, and what it holds as committed, of the lines it takes."""
        known = {invoice.id for invoice in self._all_invoices}
        asked: dict[str, dict[str, Invoice]] = defaultdict(dict)
        for invoice in self.invoices:
            for engine, part in by_engine(self.hub, invoice).items():
                asked[engine][invoice.id] = part
        for engine in self.hub.playing("tax"):
            bases: dict[str, list[Money]] = defaultdict(list)
            taxes: dict[str, list[Money]] = defaultdict(list)
            ours = asked[engine]
            for document in self._documents(engine):
                if document.invoice_id in ours or document.invoice_id not in known:
                    if document.status == "voided":
                        continue
                    bases[document.invoice_id].append(document.base)
                    if document.status == "committed":
                        taxes[document.invoice_id].append(document.tax)
            due = {i.id: total((line.tax for line in i.lines), i.currency) for i in ours.values()}
            self._compare("invoices = tax base", "hub", engine, {i.id: i.subtotal for i in ours.values()}, bases)
            self._compare("invoice tax = tax committed", "hub", engine, due, taxes)

    def _documents(self, engine: str) -> Iterator[TaxDocument]:
        """What an engine shows; of one that shows nothing, the answers we kept and the commits it confirmed."""
        if self.hub.connector(engine).resources["tax_document"].guard is not Guard.COMMIT:
            yield from self._read(engine, "tax_document", "tax_document")
            return
        with self.hub.database.reading() as work:
            kept = work.find(TaxDocument)
            confirmed = {proof.record_id for proof in work.outbox.proofs(engine, "tax_commit")}
            asked = {proof.record_id for proof in work.outbox.proofs(engine, "tax_document")}
        for document in kept:
            if document.invoice_id in asked and document.id in confirmed:
                yield document.model_copy(update={"status": TaxStatus.COMMITTED})

    def credited(self) -> None:
        """Credit notes of the month's invoices: the tax they give back per engine, and the ERP's credit memos."""
        notes = self.credit_notes
        known = {note.id for note in self._held(CreditNote)}
        told: dict[str, dict[str, Money]] = defaultdict(dict)
        for note in notes:
            for engine, part in credit.by_engine(self.hub, note).items():
                told[engine][note.id] = part.tax
        for engine in self.hub.playing("tax"):
            if "tax_credit" in self.hub.connector(engine).resources:
                theirs = self._figures_of(engine, "tax_credit", told[engine], known)
                self._compare("credited tax = tax returned", "hub", engine, told[engine], theirs)
        erp, totals = self.hub.system("erp"), {note.id: note.total for note in notes}
        if any((one.system, one.record, one.resource) == (erp, "figure", "credit_note") for one in self.hub.mappings):
            theirs = self._figures("erp", "credit_note", totals, known)
            self._compare("credit notes = ERP credit memos", "hub", erp, totals, theirs)

    def collected(self) -> None:
        """What came in and what is still to come, against the gateway; then what the gateway booked."""
        gateway = self.hub.system("gateway")
        ours = {payment.id: payment.amount for payment in self.payments}
        known = {payment.id for payment in self._all_payments} | {f"PAY-{one.id}" for one in self._all_invoices}
        with self.hub.database.reading() as work:
            for one in receivables(self.hub, work, [invoice for invoice in self.invoices if invoice.total.minor > 0]):
                ours |= one.asked | ({one.next_request: one.free} if one.free.minor > 0 else {})
        self._compare("invoices = payments", "hub", gateway, ours, self._figures("gateway", "payment", ours, known))
        paid = {payment.id: payment.amount for payment in self.payments}
        known = {payment.id for payment in self._all_payments}
        gross: dict[str, list[Money]] = defaultdict(list)
        returned: dict[str, list[Money]] = defaultdict(list)
        for settlement in self._read(gateway, "settlement", "settlement"):
            assert isinstance(settlement, Settlement)
            if settlement.payment_id in paid or settlement.payment_id not in known:
                if settlement.kind == REFUND:
                    gone = returned.get(settlement.payment_id, [Money.zero(settlement.currency)])[0]
                    returned[settlement.payment_id] = [gone - settlement.gross]
                else:
                    gross[settlement.payment_id].append(settlement.gross)
        self._compare("payments = settled gross", "hub", gateway, paid, gross)
        with self.hub.database.reading() as work:
            refunded = work.sums.refunded(list(paid))
        if refunded or returned:
            self._compare("refunds = settled refunds", "hub", gateway, refunded, returned)

    def posted(self) -> None:
        erp = self.hub.system("erp")
        invoices = {invoice.id: invoice.total for invoice in self.invoices}
        known = {invoice.id for invoice in self._all_invoices}
        self._compare("invoices = ERP invoices", "hub", erp, invoices, self._figures("erp", "invoice", invoices, known))
        payments = {payment.id: payment.amount for payment in self.payments}
        known = {payment.id for payment in self._all_payments}
        self._compare("payments = ERP payments", "hub", erp, payments, self._figures("erp", "payment", payments, known))
        if "refund" in self.hub.connector(erp).resources:
            refunds = {one.id: one.amount for one in self._held(Refund, payment_id=list(payments))}
            known = {one.id for one in self._held(Refund)}
            theirs = self._figures("erp", "refund", refunds, known)
            self._compare("refunds = ERP refunds", "hub", erp, refunds, theirs)
        journals: dict[str, Money] = {}
        for entry in self._held(JournalEntry, via=Via.JOURNAL.value):
            key, debits = entry.gl_journal or entry.id, (line.debit for line in entry.lines if line.debit)
            journals[key] = total([*debits, *([journals[key]] if key in journals else [])], entry.currency)
        theirs = self._figures("erp", "journal_entry", journals, set())
        self._compare("journals = ERP journals", "hub", erp, journals, theirs)

    def ledger(self) -> None:
        """Our balance of each ledger account, from the first booking to the last, against the general ledger's."""
        erp = self.hub.system("erp")
        with self.hub.database.reading() as work:
            balances = work.sums.ledger_balances(*ALWAYS)
            owed = work.sums.unbooked()
        names = {account.code: account.name for account in chart(self.hub.posting, self.hub.price_book)}
        theirs: dict[str, list[Money]] = defaultdict(list)
        for figure in self._read(erp, "gl_balance"):
            theirs[figure.key].append(figure.amount)
        for (code, currency), balance in sorted(balances.items()):
            summed = total(theirs.get(code, ()), currency)
            self._compare(f"GL {code} {names.get(code, '')}".strip(), "hub", erp, {code: balance}, {code: [summed]})
        for code in sorted(theirs.keys() - {code for code, _ in balances}):
            self._compare(f"GL {code} {names.get(code, '')}".strip(), "hub", erp, {}, {code: theirs[code]})
        entity = self.hub.settings.legal_entity.currency
        zero = Money.zero(entity)
        code = self.hub.posting.account("billing clearing")
        self._compare("billing clearing = 0", "hub", "zero", {code: balances.get((code, entity), zero)}, {code: [zero]})
        code = self.hub.posting.account("deferred revenue")
        deferred, schedule = {code: -balances.get((code, entity), zero)}, {code: [owed.get(entity, zero)]}
        self._compare("deferred revenue = schedules", "ledger", "schedules", deferred, schedule)

    def told(self) -> None:
        with self.hub.database.reading() as work:
            invoiced = {told.id: told.invoiced for _, told in order_progress(work)}
        theirs = self._figures("crm", "order_progress", invoiced, set())
        self._compare("CRM shows what is invoiced", "hub", self.hub.system("crm"), invoiced, theirs)

    def run(self) -> list[Found]:
        """All equalities, in the order money travels; Breaks are stored with the moment they were first seen."""
        for step in STEPS:
            step(self)
        with self.hub.database.work() as work:
            standing = {one.id: one for one in work.find(Break, closed_at=None)}
            self.found = [
                _aged(one, standing.pop(one.id, one)) if isinstance(one, Break) else one for one in self.found
            ]
            for found in self.found:
                if isinstance(found, Break):
                    work.put(found)
            for gone in standing.values():
                work.put(gone.model_copy(update={"closed_at": self.hub.now()}))
        return self.found


def _aged(now: Break, before: Break) -> Break:
    """A Break with the moment it was first seen."""
    return now.model_copy(update={"first_seen_at": before.first_seen_at})


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
    TieOut.posted,
    TieOut.ledger,
    TieOut.told,
)


def row(line: TieLine) -> dict[str, str]:
    """A tie as the table and ``--json`` show it; every figure with at least two decimals."""
    return {
        "tie": line.tie,
        "left_name": line.left_name,
        "left": _shown(line.left),
        "right_name": line.right_name,
        "right": _shown(line.right),
        "difference": _shown(line.difference),
        "unit": line.unit,
        "records": str(line.count),
        "breaks": str(line.breaks),
    }


def _shown(number: Decimal) -> str:
    exponent = number.normalize().as_tuple().exponent
    places = max(2, -exponent) if isinstance(exponent, int) else 2
    return f"{number:.{places}f}"


@urgent()
def tie_out_period(hub: Hub, period: str) -> tuple[list[TieLine], list[Break]]:
    """The ties of a billing month, and every record on which two systems differ."""
    found = TieOut(hub, period).run()
    return [one for one in found if isinstance(one, TieLine)], [one for one in found if isinstance(one, Break)]


@flow(
    name="Tie out",
    flow_run_name="tie out {period}",
    description="Reads every system back and compares it with ours, record by record. "
    "Green only when every tie differs by 0.00.",
)
def tie_out(period: str) -> State[Any]:
    lines, breaks = tie_out_period(hub(), period)
    closed = all(not line.breaks and not line.difference for line in lines)
    headline = f"{counted(len(lines), 'tie')}, " + (
        "every one differs by 0.00" if closed else counted(len(breaks), "break")
    )
    state = conclude(f"tie out {period}", Report(headline, rows=[row(line) for line in lines]))
    if closed:
        return state
    worst = "; ".join(f"{one.tie}: {one.subject} {one.kind}, {one.left} against {one.right}" for one in breaks[:5])
    name_run(f"tie out {period}: {counted(len(breaks), 'break')}")
    return Failed(message=f"{headline}. {worst}")
