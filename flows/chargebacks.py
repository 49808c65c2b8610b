"""Chargebacks: payments that customers' banks take back; booked as they move, and worked on until the bank decides.

The money is an asset while nobody has decided. What is lost is bad debt, or owed by the customer again, as
``disputes.lost`` in the configuration says; then it is held: no card is charged for it a second time.
"""

from __future__ import annotations

from datetime import date

from core.audit import Act, Deed
from core.errors import Parked, Rejected
from core.invoicing import Invoice
from core.money import Money, total
from core.payments import Chargeback, ChargebackStatus, Payment
from core.posting import Books, Subject
from core.store import Work
from core.sync import InboxEvent
from flows import desk
from flows.context import Hub
from flows.post import post
from flows.receivables import owe_again_at_erp
from flows.report import dollars

#: How the audit names who books what a bank did.
WHO = "flow intake"


def take_chargeback(hub: Hub, event: InboxEvent, told: Chargeback) -> tuple[dict[str, str], None]:
    """Books what a dispute moved and what was decided of it, once each; the desk asks for evidence as long as it may
    be sent. Parked until its payment is taken in."""
    with hub.database.work() as work:
        payment = next(iter(work.find(Payment, vendor_id=told.payment_vendor_id)), None)
        if payment is None:
            why = f"dispute {told.id} came before its payment {told.payment_vendor_id}"
            raise Parked(why, waits_for=f"payment:{told.payment_vendor_id}")
        known = work.get(Chargeback, told.id)
        now = as_held(hub, told, known, payment)
        on = hub.local_day(work, payment.account_id, max(event.occurred_at, now.opened_at))
        _book(hub, work, hub.books(work, payment.account_id), known, now, on)
        work.put(now)
        if _reopened(now) != (_reopened(known) if known else Money.zero(now.currency)):
            _owe_again(hub, work, payment)
        _ask_for_evidence(hub, work, event.system, now)
        if known is None or known.status is not now.status:
            detail = {"status": now.status.value, "amount": str(now.amount), "invoice": now.invoice_id}
            work.audit.tell(Deed(hub.now(), WHO, Act.DISPUTED, event.system, "chargeback", now.id, detail))
    row = {
        "record": "dispute",
        "their id": now.id,
        "our id": payment.id,
        "who": payment.account_id,
        "amount": dollars(now.amount),
        "done": "unchanged" if known == now else now.status.value,
    }
    return row, None


def as_held(hub: Hub, told: Chargeback, known: Chargeback | None, payment: Payment) -> Chargeback:
    """What the gateway tells, with whose it is and what is lost of it; how a loss was booked first, it stays booked."""
    reopens = hub.settings.disputes.lost == "reopen"
    if known is not None and (known.lost or known.reopened):
        reopens = bool(known.reopened)
    zero, gone = Money.zero(told.currency), told.gone
    return told.model_copy(
        update={
            "payment_id": payment.id,
            "invoice_id": payment.invoice_id,
            "account_id": payment.account_id,
            "lost": zero if reopens else gone,
            "reopened": gone if reopens else zero,
        }
    )


def _book(hub: Hub, work: Work, books: Books, known: Chargeback | None, now: Chargeback, on: date) -> None:
    """Each movement once, by its own id; then what is lost now and was not before."""
    subject = Subject(f"Dispute {now.id} of {now.invoice_id}", "chargeback", now.id, now.account_id)
    for part in now.moved:
        event = "dispute opened" if part.amount.minor < 0 else "dispute won"
        post(hub, work, books.whole(event, f"DSP-{part.name}", on, subject, abs(part.amount)))
    zero = Money.zero(now.currency)
    for event, after, before in (
        ("dispute lost", now.lost, known and known.lost),
        ("dispute reopened", now.reopened, known and known.reopened),
    ):
        if more := (after or zero) - (before or zero):
            post(hub, work, books.whole(event, f"DSL-{now.id}-{len(now.moved)}", on, subject, more))


def _owe_again(hub: Hub, work: Work, payment: Payment) -> None:
    """The ERP's payment stands, and pays of its invoice what is not owed again, of all its disputes."""
    owed = total((_reopened(one) for one in work.find(Chargeback, payment_id=payment.id)), payment.currency)
    paid_on = payment.booked_on or hub.local_day(work, payment.account_id, payment.received_at)
    (invoice,) = work.find(Invoice, id=payment.invoice_id)
    owe_again_at_erp(hub, work, payment.id, invoice, payment.amount, owed, paid_on)


def _ask_for_evidence(hub: Hub, work: Work, system: str, now: Chargeback) -> None:
    ident = f"record:chargeback:{now.id}"
    if not now.awaits_evidence:
        work.desk.resolve(ident)
        return
    did = "asks about" if now.status is ChargebackStatus.INQUIRY else "took back"
    until = f"by {now.evidence_due_at:%Y-%m-%d %H:%M} UTC" if now.evidence_due_at else "soon"
    why = f"the customer's bank {did} {now.amount} of invoice {now.invoice_id} ({now.reason}); evidence is due {until}"
    asked = desk.entry(
        Rejected(why, system=system, record="chargeback", code=now.reason), ident, system, "chargeback", now.id,
        hub.now(), now.amount,
    )  # fmt: skip
    cure = f"Send evidence at {system} {until}, or accept the dispute there; it leaves the desk when that is told."
    work.desk.report(asked.model_copy(update={"cause": "Disputed", "cure": cure, "due_at": now.evidence_due_at}))


def chargebacks(hub: Hub) -> list[dict[str, str]]:
    """Every payment that a bank took back or asks about, those with the nearest day first, the decided last."""
    with hub.database.reading() as work:
        found = work.find(Chargeback)
    return [
        {
            "dispute": one.id,
            "invoice": one.invoice_id or "",
            "account": one.account_id or "",
            "amount": str(one.amount),
            "status": one.status.value,
            "reason": one.reason,
            "evidence due": f"{one.evidence_due_at:%F %H:%M}" if one.awaits_evidence and one.evidence_due_at else "",
            "at the bank": str(one.taken - (one.lost or Money.zero(one.currency)) - _reopened(one)),
            "bad debt": str(one.lost or Money.zero(one.currency)),
            "owed again": str(_reopened(one)),
        }
        for one in sorted(
            found, key=lambda one: (not one.awaits_evidence, one.evidence_due_at or one.opened_at, one.id)
        )
    ]


def _reopened(one: Chargeback) -> Money:
    return one.reopened or Money.zero(one.currency)
