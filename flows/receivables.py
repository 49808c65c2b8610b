"""What is open on invoices: paid, credited, asked for at the gateway, and what is free to be asked for or credited."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import count

from core.errors import Rejected
from core.invoicing import CreditNote, Invoice, InvoiceStatus
from core.money import Money, total
from core.payments import AppliedPayment, HeldPayment, Payment, PaymentStatus
from core.store import Work
from core.sync import COMMAND_TRANSITIONS, CommandState, OutboxCommand
from flows.context import Hub


@dataclass(frozen=True)
class Receivable:
    """One final invoice. ``prepaid``: paid by credit; ``held``: what no card is charged for; ``lost``: given up.

    ``asked``: what the gateway has still to bring, by request.
    """

    invoice: Invoice
    paid: Money
    credited: Money
    prepaid: Money
    held: Money
    lost: Money
    asked: dict[str, Money] = field(default_factory=dict)
    next_request: str = ""

    @property
    def open(self) -> Money:
        return self.invoice.total - self.paid - self.credited - self.prepaid - self.lost

    @property
    def unasked(self) -> Money:
        """What of it nobody was asked for: a credit may lower it."""
        return self.open - total(self.asked.values(), self.invoice.currency)

    @property
    def free(self) -> Money:
        """What of it may be asked for."""
        return max(self.unasked - self.held, Money.zero(self.invoice.currency))


def final_invoice(work: Work, invoice_id: str) -> Invoice:
    """The final invoice of that id. Rejected when there is none."""
    invoice = work.get(Invoice, invoice_id)
    if invoice is None or invoice.status is not InvoiceStatus.FINAL:
        raise Rejected(f"there is no final invoice {invoice_id}", record=invoice_id, field="invoice")
    return invoice


def receivables(hub: Hub, work: Work, invoices: Sequence[Invoice]) -> list[Receivable]:
    """How each invoice stands; the gateway's requests are looked at where something is open."""
    idents = [invoice.id for invoice in invoices]
    known = work.sums
    sums = [found(idents) for found in (known.paid, known.credited, known.prepaid, known.held, known.written_off)]
    found = []
    for invoice in invoices:
        ident, zero = invoice.id, Money.zero(invoice.currency)
        paid, credited, prepaid, held, lost = (amounts.get(ident, zero) for amounts in sums)
        one = Receivable(invoice, paid, credited, prepaid, held, lost)
        found.append(_with_requests(hub, work, one) if one.open.minor > 0 else one)
    return found


def requests(hub: Hub, work: Work, invoice_id: str) -> list[tuple[str, list[OutboxCommand]]]:
    """The payment requests of an invoice with their commands, and at the end the next id, which has none."""
    gateway, found = hub.system("gateway"), []
    for number in count(1):
        ident = f"PAY-{invoice_id}" + (f"-{number}" if number > 1 else "")
        found.append((ident, work.outbox.of_record(gateway, "payment", ident)))
        if not found[-1][1]:
            break
    return found


def _with_requests(hub: Hub, work: Work, one: Receivable) -> Receivable:
    *made, (next_request, _) = requests(hub, work, one.invoice.id)
    brought = {
        payment.id
        for payment in work.find(Payment, invoice_id=one.invoice.id)
        if payment.status is PaymentStatus.SUCCEEDED
    }
    asked = {
        ident: command.money
        for ident, commands in made
        for command in commands
        if ident not in brought and command.state is not CommandState.CANCELLED and command.money is not None
    }
    return replace(one, asked=asked, next_request=next_request)


def withdraw_requests(hub: Hub, work: Work, invoice: Invoice) -> None:
    """Takes back what the gateway was not asked for yet, or has refused; the rest is asked for anew by ``collect``."""
    for _, commands in requests(hub, work, invoice.id):
        withdraw(work, commands)


def withdraw(work: Work, commands: Iterable[OutboxCommand]) -> bool:
    """Takes back the commands that were not sent yet, or were refused. Whether there was any."""
    unsent = [one for one in commands if CommandState.CANCELLED in COMMAND_TRANSITIONS[one.state] and not one.probe]
    for one in unsent:
        work.outbox.cancel(one.key)
        work.desk.resolve(f"outbox:{one.system}/{one.resource}/{one.record_id}")
    return bool(unsent)


def apply_credit(note: CreditNote, one: Receivable) -> CreditNote:
    """The note with as much of what is left of it applied as an invoice takes; itself when that is nothing."""
    amount = min(note.left, one.unasked)
    return note.applied_to(one.invoice.id, amount) if amount.minor > 0 else note


def pay_at_erp(
    hub: Hub, work: Work, ident: str, invoice: Invoice, amount: Money, on: date, held: tuple[str, str]
) -> None:
    """Intends the ERP's payment of an invoice from what we hold. ``ident``: of the act that pays; ``held``: of what."""
    paid = held_payment(hub, work, ident, invoice, amount, on, held)
    work.outbox.enqueue([OutboxCommand.of(hub.system("erp"), "payment", "held_payment", paid, hub.now(), money=amount)])


def owe_again_at_erp(
    hub: Hub, work: Work, ident: str, invoice: Invoice, paid: Money, owed: Money, paid_on: date
) -> None:
    """Intends that ``owed`` in all of the ERP's payment ``ident``, which stands, does not pay its invoice any more:
    what journals put back on the customer is open on the invoice there too. Nothing where the ERP's mappings do not
    tell how; nor in another currency than the books', as the ERP would book anew what the payment realised."""
    erp, books = hub.system("erp"), hub.books(work, invoice.account_id)
    if invoice.currency != books.entity.currency or not hub.mappings.known(erp, "applied_payment", "out"):
        return
    left = AppliedPayment(
        entity=books.entity.id,
        id=ident,
        account_id=invoice.account_id,
        invoice_id=invoice.id,
        currency=invoice.currency,
        amount=max(paid - owed, Money.zero(invoice.currency)),
        paid_on=paid_on,
    )
    work.outbox.enqueue([OutboxCommand.of(erp, "payment_application", "applied_payment", left, hub.now(), money=owed)])


def held_payment(
    hub: Hub, work: Work, ident: str, invoice: Invoice, amount: Money, on: date, held: tuple[str, str]
) -> HeldPayment:
    held_as, held_id = held
    books = hub.books(work, invoice.account_id)
    return HeldPayment(
        entity=books.entity.id,
        exchange=books.exchange(invoice.currency, on),
        id=ident,
        account_id=invoice.account_id,
        invoice_id=invoice.id,
        currency=invoice.currency,
        amount=amount,
        paid_on=on,
        held_as=held_as,
        held_id=held_id,
    )
