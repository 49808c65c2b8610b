"""Cures: the documents of ours that mend a Break. They go through the outbox, and each is told to the audit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta

from core.audit import Act, Deed
from core.breaks import KINDS, Kind, Repair
from core.errors import Rejected
from core.ledger import JournalEntry, reversal
from core.payments import Payment, Settlement
from core.plan import Plan
from core.posting import settlement_entries
from core.store import Work
from core.sync import CommandState, OutboxCommand
from core.tax import TaxDocument
from core.ties import Break
from flows.apply_plan import apply_plan
from flows.breaks import RESOURCES
from flows.context import Hub
from flows.credit import tax_document
from flows.plan_delivery import FLOW, step_of
from flows.post import post
from flows.report import Report


def rehearse(hub: Hub, one: Break, who: str) -> Plan:
    """What would be written to mend a Break; nothing is stored. Rejected where no document of ours mends it."""
    try:
        with hub.database.work() as work:
            raise _RehearsedError(_intended(hub, work, one, who))
    except _RehearsedError as rehearsed:
        return rehearsed.plan


def intend(hub: Hub, one: Break, who: str) -> Plan:
    """Stores the intents that mend a Break, and gives what their delivery will write; nothing is sent yet.

    Rejected where no document of ours mends it: the Break's cure says what a person does.
    """
    with hub.database.work() as work:
        plan = _intended(hub, work, one, who)
        keys = [step.key for step in plan.steps]
        detail = {"break": one.id, "kind": one.kind, "repair": one.repair, "commands": keys}
        work.audit.tell(Deed(hub.now(), who, Act.CURED, one.system, "break", one.subject, detail))
    return plan


def cure(hub: Hub, one: Break, who: str) -> Report:
    """Mends a Break: intends its documents, and delivers exactly these."""
    return apply_plan(hub, intend(hub, one, who), who)


class _RehearsedError(Exception):
    """Ends a unit of work, so that nothing of it stays."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan


def _intended(hub: Hub, work: Work, one: Break, who: str) -> Plan:
    repair = REPAIRS.get(KINDS[one.kind].repair)
    commands = repair(hub, work, one) if repair else []
    if not commands:
        raise Rejected(
            f"break {one.id} ({one.kind}) is not mended by a document of ours: {one.cure} Proposed: {one.repair}.",
            system=one.system,
            record=one.subject,
        )
    return Plan.of(FLOW, hub.now(), who, tuple(step_of(hub, work, command) for command in commands))


def _resource(kind: Kind) -> str:
    return RESOURCES.get(kind.record, kind.record)


def _again(
    hub: Hub, work: Work, one: Break, resources: Iterable[str], record_id: str | None = None
) -> list[OutboxCommand]:
    """What was written of the record is intended again, at one resource after the other (``record_id`` None: the
    Break's subject)."""
    found = []
    for number, resource in enumerate(resources):
        known = work.outbox.of_record(one.system, resource, record_id or one.subject)
        if not known:
            continue
        at = hub.now() + timedelta(microseconds=number)
        last = known[-1]
        if last.state in (CommandState.REJECTED, CommandState.PARKED):
            work.outbox.retry(last.key, hub.now())
            found.append(work.outbox.get(last.key) or last)
        else:
            done = [command for command in known if command.state is CommandState.DONE]
            found.append(work.outbox.repeat(done[-1] if done else last, at))
    return found


def _send_again(hub: Hub, work: Work, one: Break) -> list[OutboxCommand]:
    return _again(hub, work, one, [_resource(KINDS[one.kind])])


def _answered(work: Work, one: Break) -> list[TaxDocument]:
    """The document that the engine answered last about the subject; of another engine there may be one beside it."""
    proof = work.outbox.proof(one.system, _resource(KINDS[one.kind]), one.subject)
    return work.find(TaxDocument, vendor_id=proof.vendor_id, invoice_id=one.subject) if proof else []


def _commit_again(hub: Hub, work: Work, one: Break) -> list[OutboxCommand]:
    """The commit of the document that the engine answered last, which is intended now when it never was.

    An engine that commits as it is told (a return) is told again.
    """
    documents = _answered(work, one)
    if not documents:
        return _send_again(hub, work, one)
    found: list[OutboxCommand] = []
    for document in documents:
        commit = OutboxCommand.of(
            one.system, "tax_commit", "tax_document", document, hub.now(), money=abs(document.tax)
        )
        found += _again(hub, work, one, ["tax_commit"], document.id) or work.outbox.enqueue([commit])
    work.desk.resolve(f"answer:{one.system}/{_resource(KINDS[one.kind])}/{one.subject}")  # who commits it has decided
    return found


def _ask_again(hub: Hub, work: Work, one: Break) -> list[OutboxCommand]:
    return _again(hub, work, one, ["tax_document", "tax_commit"])


def _ask_anew(hub: Hub, work: Work, one: Break) -> list[OutboxCommand]:
    """The document is voided first: an engine does not change one that is committed."""
    voids = [void for document in _answered(work, one) for void in _void(hub, work, one, document)]
    return [*voids, *_ask_again(hub, work, one)]


def _void_stranger(hub: Hub, work: Work, one: Break) -> list[OutboxCommand]:
    seen = work.figures.under(one.system, "tax_document", [one.subject]).get(one.subject, [])
    if not seen:
        return []
    answer = hub.connector(one.system).get("tax_document", seen[0].figure.vendor_id)
    return _void(hub, work, one, tax_document(hub, one.system, answer))


def _void(hub: Hub, work: Work, one: Break, document: TaxDocument) -> list[OutboxCommand]:
    at = hub.now() - timedelta(microseconds=1)
    wanted = OutboxCommand.of(one.system, "tax_void", "tax_document", document, at, money=document.tax)
    stored = work.outbox.enqueue([wanted])
    return stored or [work.outbox.repeat(wanted, at)]


def _book_anew(hub: Hub, work: Work, one: Break) -> list[OutboxCommand]:
    """What the gateway booked for a payment is read again; its journal is reversed today, and booked as it is there."""
    gateway = hub.system("gateway")
    mapping = hub.mappings.find(gateway, "settlement", "in", "settlement")
    payment = work.get(Payment, one.subject) or next(iter(work.find(Payment, vendor_id=one.subject)), None)
    found: list[OutboxCommand] = []
    for known in work.find(Settlement, payment_id=payment.id) if payment else []:
        shown = mapping.into(hub.connector(gateway).get("settlement", known.id))
        assert isinstance(shown, Settlement)
        assert payment is not None
        settlement = shown.model_copy(update={"payment_id": payment.id})
        if settlement == known:
            continue
        today = hub.now().date()
        booked = [
            entry for entry in work.find(JournalEntry, event="settlement") if entry.lines[0].source_id == known.id
        ]
        reversed_ids = {entry.reverses for entry in work.find(JournalEntry, event="settlement reversed")}
        standing = [entry for entry in booked if entry.id not in reversed_ids]
        books = hub.books(work, payment.account_id)
        anew = [
            _renamed(entry, f"{entry.id}-{len(booked) + 1}")
            for entry in settlement_entries(books, settlement, payment.account_id, today)
        ]
        entries = post(hub, work, [*(reversal(entry, today) for entry in standing), *anew])
        work.put(settlement)
        for entry in entries:
            found += work.outbox.of_record(hub.system("erp"), "journal_entry", entry.id)
    return found


def _renamed(entry: JournalEntry, ident: str) -> JournalEntry:
    lines = tuple(line.model_copy(update={"id": f"{ident}-{line.position}"}) for line in entry.lines)
    return entry.model_copy(update={"id": ident, "lines": lines})


#: What each repair intends, in the order it is to be carried out; those that are not here are a person's.
REPAIRS: Mapping[Repair, Callable[[Hub, Work, Break], list[OutboxCommand]]] = {
    Repair.SEND_AGAIN: _send_again,
    Repair.WRITE_BACK: _send_again,
    Repair.COMMIT_AGAIN: _commit_again,
    Repair.ASK_AGAIN: _ask_again,
    Repair.ASK_ANEW: _ask_anew,
    Repair.VOID: _void_stranger,
    Repair.BOOK_ANEW: _book_anew,
}
