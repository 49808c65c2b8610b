"""The ties of cash: invoices, payments, what the gateway booked for them, what it paid out, and what the bank has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from core.breaks import (
    VOID,
    Difference,
    Facet,
)
from core.cash import Application, CashReceipt, Use, deposits, written
from core.invoicing import Invoice
from core.money import Money, total
from core.store import figures, sides
from core.store.sides import CHARGED, KNOWN, RETURNED, Total
from core.sync import DeskState
from core.ties import Figure
from flows.comparing import Comparing, Tie, add, by_currency
from flows.receivables import receivables


class CashTies(Comparing):
    def collected(self) -> None:
        """What came in and what is still to come, against the gateway; then what the gateway booked."""
        gateway = self.hub.system("gateway")
        if not self._wanted(gateway):
            return
        paid = sides.payments(self.billing)
        charges = Tie("invoices = payments", "hub", gateway, "charge", gateway, "payment")
        awaited = self._awaited()
        self._see(gateway, "payment")
        seen = figures.side(gateway, "payment")
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

    def _awaited(self) -> dict[str, tuple[Invoice, Money]]:
        """What is still to come of the month's invoices, by the key of its request."""
        with self.hub.database.reading() as work:
            unpaid = work.find(Invoice, id=work.sides.unpaid(self.billing))
            found: dict[str, tuple[Invoice, Money]] = {}
            for one in receivables(self.hub, work, [invoice for invoice in unpaid if invoice.total.minor > 0]):
                found |= {ident: (one.invoice, amount) for ident, amount in one.asked.items()}
                if one.free.minor > 0:
                    found[one.next_request] = one.invoice, one.free
        return found

    def _await(self, tie: Tie, awaited: Mapping[str, tuple[Invoice, Money]]) -> None:
        """Adds what is awaited to the line of the payments: it may take until the invoice is due."""
        with self.hub.database.reading() as work:
            seen = work.figures.under(tie.system, tie.resource, list(awaited))
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
            elif invoice.due_date >= self.hub.now().date():
                explained = f"invoice {invoice.id} is due on {invoice.due_date}"
            self._add(tie, key, (amount, came), [Difference(facet)], explained, why)

    def _widen(self, tie: Tie, left: Money, right: Money) -> None:
        """Adds one record to the line of its currency."""
        for number, line in enumerate(self.lines):
            if (line.tie, line.system, line.unit) == (tie.name, tie.system, left.currency):
                more = {"left": line.left + left.amount, "right": line.right + right.amount, "count": line.count + 1}
                self.lines[number] = line.model_copy(update=more)
                return
        minor = {left.currency: Total(left.minor, 0, 1, left.minor)}
        self._total(tie, minor, {left.currency: Total(right.minor, 0, 1, right.minor)})

    def paid_out(self) -> None:
        """What the gateway booked for the month's payments, against what it paid out, and what is on its way."""
        gateway = self.hub.system("gateway")
        if not self._wanted(gateway) or not self._shows(gateway, "payout"):
            return
        self._see(gateway, "payout")
        tie = Tie("settled net = paid out", "hub", gateway, "payout", gateway, "payout", rare=True)
        with self.hub.database.reading() as work:
            payouts = work.figures.all(gateway, "payout")
            settled = work.sides.settled(self.billing)
        for payout in payouts:
            self._check(replace(tie, monthly=False), payout)
        paid = {part.name: part.amount for one in payouts if one.state not in VOID for part in one.parts}
        due = self.hub.now() - timedelta(days=self.hub.settings.tie_out.pays_out_within_days)
        late: dict[str, Money] = {}
        on_its_way: dict[str, Money] = {}
        left: dict[str, Money] = {}
        right: dict[str, Money] = {}
        for ident, available_on, net in settled:
            left[ident] = net
            if ident in paid:
                right[ident] = paid[ident]
            elif payouts and available_on < due:
                add(late, f"{available_on:%F} {net.currency}", net)
            else:
                right[ident] = net
                add(on_its_way, net.currency, net)
        told = "".join(f" + {amount} on its way" for amount in on_its_way.values())
        self._total(replace(tie, right=f"{gateway}{told}"), by_currency(left), by_currency(right))
        for day, amount in sorted(late.items()):
            self._add(tie, day, (amount, Money.zero(amount.currency)), [Difference(Facet.MISSING)])

    def banked(self) -> None:
        """What the gateway paid out, against what came to the bank; from the first day of which a bank file told."""
        gateway = self.hub.system("gateway")
        if not self._wanted(gateway) or not self._shows(gateway, "payout"):
            return
        with self.hub.database.reading() as work:
            receipts = work.find(CashReceipt)
            booked = {one.reason: one.amount for one in work.find(Application, use=Use.PAID_OUT.value)}
            payouts = work.figures.all(gateway, "payout")
        if not receipts:
            return
        first = min(one.value_date for one in receipts)
        meant = [one for one in payouts if one.state not in VOID and one.dated and one.dated >= first]
        loose = deposits([one for one in meant if one.vendor_id not in booked], receipts, gateway)
        came = {ident: one.amount for ident, one in loose.items()} | booked
        due = self.hub.now().date() - timedelta(days=self.hub.settings.tie_out.banks_within_days)
        tie = Tie("paid out = bank deposits", gateway, "bank", "deposit", gateway, rare=True, monthly=False)
        on_its_way: dict[str, Money] = {}
        left = {one.vendor_id: one.amount for one in meant}
        right = {ident: came[ident] for ident in left if ident in came}
        for one in meant:
            if one.vendor_id not in came and one.dated and one.dated >= due:
                right[one.vendor_id] = one.amount
                add(on_its_way, one.currency, one.amount)
        strange = [
            one
            for one in receipts
            if one.account_id is None
            and one.left == one.amount
            and written(gateway, f"{one.payer} {one.text}")
            and one.id not in {known.id for known in loose.values()}
        ]
        told = "".join(f" + {amount} on its way" for amount in on_its_way.values())
        seen = right | {one.id: one.amount for one in strange}
        self._total(replace(tie, right=f"bank{told}"), by_currency(left), by_currency(seen))
        for ident, amount in left.items():
            zero = Money.zero(amount.currency)
            if ident not in right:
                self._add(tie, ident, (amount, zero), [Difference(Facet.MISSING)])
            elif right[ident] != amount:
                differs = Difference(Facet.AMOUNT, str(amount), str(right[ident]))
                self._add(tie, ident, (amount, right[ident]), [differs])
        for receipt in strange:
            self._add(tie, receipt.id, (Money.zero(receipt.currency), receipt.amount), [Difference(Facet.UNKNOWN)])

    def _check(self, tie: Tie, payout: Figure) -> None:
        """A payout is the sum of what it pays out, and reached the bank."""
        made_of = total((part.amount for part in payout.parts), payout.currency)
        if payout.state in VOID:
            self._add(tie, payout.key, (made_of, Money.zero(made_of.currency)), [Difference(Facet.VOIDED)])
        elif made_of != payout.amount:
            facet = Facet.AMOUNT if payout.parts else Facet.UNKNOWN
            self._add(tie, payout.key, (made_of, payout.amount), [Difference(facet, str(made_of), str(payout.amount))])
