"""Credit: give back a part or all of a final invoice, tell every system, and refund it or keep it as a balance.

It is one act: what it changes here and every step that it takes at other systems are stored together, under one row of
the audit that names the steps. Money goes back at the gateway only when the ERP has the credit note.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from enum import StrEnum

from core.audit import Act, Deed
from core.errors import Misconfigured, Rejected, TieoutError
from core.invoicing import CreditNote, CreditNoteLine, Invoice, credit
from core.ledger import Via
from core.money import Money
from core.payments import Chargeback, Payment, PaymentStatus, Refund
from core.ports import Guard, Payload
from core.posting import Books, credit_entries, realised_entries, refund_entries
from core.revenue import RecognitionPart, unearned
from core.store import Work
from core.sync import DeskEntry, OutboxCommand, SyncRecord
from core.tax import TaxDocument
from core.ties import returned_tax_equals_credit
from flows import desk
from flows.context import Hub
from flows.credits import give_back, with_discounts
from flows.post import post
from flows.promise import unbooked
from flows.receivables import apply_credit, receivables, withdraw_requests
from flows.recognise import schedule_credit
from flows.write_back import tell_orders

#: How the audit names who credits, where no person does.
WHO = "flow credit"


class Leftover(StrEnum):
    """What becomes of the part of a credit that its own invoice does not need."""

    BALANCE = "balance"  # lowers later invoices of the account
    REFUND = "refund"  # goes back to the card that paid


def credit_invoice(
    hub: Hub,
    invoice_id: str,
    wanted: Mapping[int, Money | None],
    reason: str,
    credit_date: date,
    leftover: Leftover = Leftover.BALANCE,
    who: str = WHO,
) -> CreditNote:
    """Makes a credit note and stores the intents to tell the tax engine, the ERP, the gateway and the CRM, all in one.

    ``wanted``: amounts before tax by position of the invoice line (None: all that is left of it); empty: all that is
    left of all lines. ``credit_date``: in a locked month, the note is dated on the first day that is open. The same
    wish again changes nothing. Rejected when there is no such invoice, or less is left.
    """
    with hub.database.work() as work:
        invoice = work.get(Invoice, invoice_id)
        if invoice is None:
            raise Rejected(f"there is no invoice {invoice_id}", record=invoice_id, field="invoice")
        asked_for, credit_date = credit_date, hub.open_day(work, invoice.account_id, credit_date)
        before = work.find(CreditNote, invoice_id=invoice.id)
        parts = open_parts(work, invoice, credit_date)
        whole = dict.fromkeys((line.position for line in invoice.lines), None)
        note = credit(
            invoice,
            with_discounts(work, invoice, wanted or whole, before, reason),
            before,
            reason,
            credit_date,
            unearned(part for one in parts.values() for part in one),
        )
        if any(known.id == note.id for known in before):
            return note
        withdraw_requests(hub, work, invoice)
        note = apply_credit(note, *receivables(hub, work, [invoice]))
        note = give_back(hub, work, note, invoice)
        books = hub.books(work, note.account_id)
        refunds = list(_refunds(work, note, books)) if leftover is Leftover.REFUND else []
        for refund in refunds:
            note = note.replace(refunded=note.refunded + refund.amount)
        work.add([note])
        work.add(refunds)
        taxed = work.find(TaxDocument, invoice_id=invoice.id)
        booked = post(hub, work, credit_entries(books, note, taxed), of=asked_for)
        schedule_credit(hub, work, note, invoice, parts)
        for refund in refunds:
            via = _refunds_via(hub)
            booked += post(hub, work, refund_entries(books, refund, note.account_id, refund.refunded_on, via))
            settled = ("receivables", -refund.amount, note.invoice_date, refund.refunded_on, note.account_id)
            booked += post(hub, work, realised_entries(books, refund.id, *settled, via, booked_at=note.exchange))
        told = work.outbox.enqueue([*_told(hub, note), *_paid_back(hub, refunds), *tell_orders(hub, work, invoice)])
        steps = [f"{one.system}/{one.resource}/{one.record_id}" for one in told]
        erp = hub.system("erp")
        steps += [f"{erp}/journal_entry/{one.id}" for one in booked if one.via is Via.JOURNAL]
        detail = {"invoice": invoice.id, "amount": str(note.total), "refunded": str(note.refunded), "steps": steps}
        work.audit.tell(Deed(hub.now(), who, Act.COMPENSATED, "", "credit_note", note.id, {**detail, "reason": reason}))
        hub.world.faults("credit.before_commit")
    return note


def steps_of(work: Work, note_id: str) -> list[dict[str, str]]:
    """How far each step of a credit note has come at its system, in the order they were intended.

    Last the commits at tax engines that commit apart, which are intended when their answers are kept.
    """
    deed = next((row for row in work.audit.rows(record_id=note_id, limit=1000) if row.act == Act.COMPENSATED), None)
    steps = [step.split("/", 2) for step in (json.loads(deed.detail)["steps"] if deed else ())]
    engines = [system for system, resource, _ in steps if resource == "tax_credit"]
    answers = work.find(TaxDocument, invoice_id=note_id)
    steps += [[engine, "tax_commit", answer.id] for engine in engines for answer in answers]
    found = []
    for system, resource, record_id in steps:
        intended = work.outbox.of_record(system, resource, record_id)
        if not intended:
            continue
        newest = intended[-1]
        proof = work.outbox.proof(system, resource, record_id)
        found.append(
            {
                "system": system,
                "step": resource.replace("_", " "),
                "record": record_id,
                "state": newest.state.value,
                "waits for": newest.waits_for or "",
                "their id": proof.vendor_id if proof else "",
                "written": f"{proof.synced_at:%F %T}" if proof else "",
            }
        )
    return found


def open_parts(work: Work, invoice: Invoice, credit_date: date) -> dict[str, list[RecognitionPart]]:
    """By line, what its schedule is to earn from the month of the credit on and no journal has booked."""
    parts: dict[str, list[RecognitionPart]] = defaultdict(list)
    for part in unbooked(work, [line.id for line in invoice.lines]):
        if part.month >= f"{credit_date:%Y-%m}":
            parts[part.invoice_line_id].append(part)
    return parts


def _refunds(work: Work, note: CreditNote, books: Books) -> Iterable[Refund]:
    """What is left of a note, given back over the payments of its invoice, never more than each brought; none of what
    the customer's bank has taken back."""
    payments = work.find(Payment, invoice_id=note.invoice_id, status=PaymentStatus.SUCCEEDED.value)
    taken_back = {one.payment_id for one in work.find(Chargeback, invoice_id=note.invoice_id) if one.taken}
    payments = [one for one in payments if one.id not in taken_back]
    gone, left = work.sums.refunded([payment.id for payment in payments]), note.left
    for number, payment in enumerate(payments, 1):
        amount = min(left, payment.amount - gone.get(payment.id, Money.zero(note.currency)))
        if amount.minor <= 0:
            continue
        left -= amount
        yield Refund(
            entity=books.entity.id,
            exchange=books.exchange(note.currency, note.credit_date),
            id=f"REF-{note.id}" + (f"-{number}" if number > 1 else ""),
            payment_id=payment.id,
            payment_vendor_id=payment.vendor_id,
            credit_note_id=note.id,
            refunded_on=note.credit_date,
            currency=note.currency,
            amount=amount,
            reason=note.reason,
        )


def by_engine(hub: Hub, note: CreditNote) -> dict[str, CreditNote]:
    """What each tax engine is told: the lines whose tax codes it takes."""
    lines: dict[str, list[CreditNoteLine]] = defaultdict(list)
    for line in note.lines:
        lines[hub.tax_engine(line.tax_code)].append(line)
    return {engine: note.part(taken) for engine, taken in lines.items()}


def _told(hub: Hub, note: CreditNote) -> list[OutboxCommand]:
    """The intents for the tax engines and the ERP. MappingError when one of them cannot be told of credits."""
    erp, now = hub.system("erp"), hub.now()
    parts = by_engine(hub, note)
    for system, resource in [*((engine, "tax_credit") for engine in parts), (erp, "credit_note")]:
        hub.mappings.find(system, "credit_note", "out", resource)
    return [
        *(
            OutboxCommand.of(engine, "tax_credit", "credit_note", part, now, money=part.tax)
            for engine, part in parts.items()
        ),
        OutboxCommand.of(erp, "credit_note", "credit_note", note, now, money=note.total),
    ]


def tax_document(hub: Hub, engine: str, answer: Payload) -> TaxDocument:
    """What a tax engine answered, as the document that is kept."""
    document = hub.mappings.find(engine, "tax_document", "in", "tax_document").into(answer)
    assert isinstance(document, TaxDocument)
    return document


def take_returned_taxes(hub: Hub) -> tuple[int, list[DeskEntry]]:
    """Keeps what tax engines that commit apart answered about credit notes, and commits it where they give back the
    tax that the note does; elsewhere it stays uncommitted, and stands on the desk. How many are committed, and those.
    """
    committed, failures = 0, []
    for engine in hub.playing("tax"):
        try:
            known = hub.connector(engine).resources.get("tax_credit")
        except Misconfigured:
            continue  # its delivery says so on the desk
        if known is None or known.guard is not Guard.COMMIT:
            continue
        with hub.database.reading() as work:
            answers = work.outbox.answers_not_kept(engine, "tax_credit")
        for proof in answers:
            failure = _take_returned_tax(hub, engine, proof)
            committed += failure is None
            failures += [failure] if failure else []
    return committed, failures


def _take_returned_tax(hub: Hub, engine: str, proof: SyncRecord) -> DeskEntry | None:
    ident, now = f"answer:{engine}/{proof.resource}/{proof.record_id}", hub.now()
    with hub.database.work() as work:
        note = work.get(CreditNote, proof.record_id)
        assert note is not None
        part = by_engine(hub, note)[engine]
        try:
            document = tax_document(hub, engine, proof.answer)
            work.put(document)
            for line in part.lines:
                returned_tax_equals_credit(line.id, -document.tax_of(line.id), line.tax)
        except TieoutError as error:
            failure = desk.entry(error, ident, engine, "credit_note", note.id, now, part.tax)
            work.desk.report(failure)
            return failure
        work.outbox.enqueue([_commit(engine, document, now)])
        work.desk.resolve(ident)
    return None


def _commit(engine: str, document: TaxDocument, now: datetime) -> OutboxCommand:
    return OutboxCommand.of(engine, "tax_commit", "tax_document", document, now, money=-document.tax)


def _refunds_via(hub: Hub) -> Via:
    """As a document where the ERP has one for it, which its mapping tells; as a journal elsewhere."""
    return Via.DOCUMENT if hub.mappings.known(hub.system("erp"), "refund", "out") else Via.JOURNAL


def _paid_back(hub: Hub, refunds: Iterable[Refund]) -> list[OutboxCommand]:
    """The intents for the gateway, and for an ERP that has a document for a refund."""
    systems = [hub.system("gateway"), *([hub.system("erp")] if _refunds_via(hub) is Via.DOCUMENT else [])]
    return [
        OutboxCommand.of(system, "refund", "refund", refund, hub.now(), money=refund.amount)
        for refund in refunds
        for system in systems
    ]
