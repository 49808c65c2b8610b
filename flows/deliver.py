"""Deliver: the only flow that writes to a vendor.

A command is leased, mapped, sent, and settled with its proof in the transaction that ends it. Whatever is not certain
is looked up by its key before anything is sent again, so killing the process at any line leaves one object per record.
A record that fails never stops the others; a system that cannot work at all stands on the desk once, not per record.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from prefect import Task, flow
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run

from core.audit import Act, Deed
from core.errors import (
    Contested,
    Misconfigured,
    OutcomeUnknown,
    Parked,
    RateLimited,
    Rejected,
    Retryable,
    TieoutError,
    Unavailable,
)
from core.mapping import Mapping
from core.mapping.merge import Conflict, Merged, merge, without
from core.noun import Noun
from core.payments import HeldPayment, Payment, PaymentAtErp, Refund
from core.plan import step_digest
from core.ports import ExternalKey, Outcome, Payload, Receipt, until, urgent
from core.store import Work
from core.store.codec import dump
from core.sync import CommandState, DeskEntry, Evidence, Lane, OutboxCommand, SyncRecord
from flows import desk
from flows.context import Hub, hub
from flows.plan_delivery import noun_of, plan_delivery, told
from flows.report import Report, conclude, counted, dollars, sum_by_currency

BATCH = 200
#: Longer than one call to a vendor with all its waits: a lease with less than three quarters left is renewed before it.
LEASE = timedelta(minutes=4)
#: Pause before the next try of a retryable command: doubled per attempt, at most an hour.
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=2), timedelta(hours=1)
#: A retryable failure goes to the error desk after so many attempts, and is still tried on.
PATIENCE = 5
#: Most characters that the desk keeps of a payload.
KEPT = 20_000

#: How the audit names who does all this, and what it calls the end of a try.
WHO = "flow deliver"
ACTS = {
    CommandState.UNKNOWN: Act.DOUBTED,
    CommandState.REJECTED: Act.REJECTED,
    CommandState.PARKED: Act.PARKED,
}


@dataclass(frozen=True, slots=True)
class Prepared:
    """A command ready to go: ``payload`` is all that we say of the record, ``merged`` what of it is sent now."""

    command: OutboxCommand
    mapping: Mapping
    payload: Payload
    key: ExternalKey
    merged: Merged


class Delivery:
    """The delivery of one system's outbox, batch by batch."""

    def __init__(self, hub: Hub, system: str, lease: timedelta = LEASE, who: str = WHO) -> None:
        self.hub, self.system, self.lease = hub, system, lease
        self.who = who
        self.planned: dict[str, str] | None = None
        """The keys of a plan's commands and the digest of each; None: whatever is ready is delivered."""
        self.changed: set[str] = set()
        """Keys of a plan whose commands are not as they were planned."""
        self.done: list[tuple[OutboxCommand, Receipt]] = []
        self.failures: list[DeskEntry] = []
        self.postponed = 0
        self.stopped = False
        """Whether the whole system turned out to be out of reach or misconfigured."""
        self.freeing: list[tuple[OutboxCommand, str]] | None = None
        """What is under way that makes an invoice open again here, and the invoice; None until a batch asks."""

    def run(self) -> None:
        """Delivers until nothing of this system is ready, or the system cannot work now."""
        self._connect()
        while not self.stopped and self.batch():
            pass

    def run_planned(self, planned: dict[str, str]) -> None:
        """Tries the commands of these keys once, as far as each still rests on what its ``step_digest`` stands for."""
        self._connect()
        self.planned, keys = planned, list(planned)
        for start in range(0, len(keys), BATCH):
            if self.stopped:
                break
            wanted = keys[start : start + BATCH]
            self.changed |= set(wanted) - {command.key for command in self.batch(wanted)}

    def _connect(self) -> None:
        try:
            self.connector = self.hub.connector(self.system)
        except Misconfigured as error:
            self._stop(error, self.hub.now(), given_up=True)

    def batch(self, only: Sequence[str] | None = None) -> list[OutboxCommand]:
        """Leases and settles one batch (``only``: of these keys), and gives what it leased."""
        self.freeing = None
        self.leased_at = self.hub.now()
        self.leased_until = self.leased_at + self.lease
        with self.hub.database.work() as work:
            most = max([BATCH, *(row.bulk for row in self.connector.resources.values())])
            claimed = work.outbox.claim(self.system, most, self.leased_at, self.lease, only)
        self.hub.world.faults("outbox.claimed")
        by_resource: dict[str, list[Prepared]] = {}
        for command in claimed:
            prepared = self._prepare(command)
            if prepared is not None:
                by_resource.setdefault(command.resource, []).append(prepared)
        for resource, items in by_resource.items():
            known = self.connector.resources.get(resource)
            size = max(known.batch, known.bulk) if known else 1
            for start in range(0, len(items), size):
                self._send(resource, items[start : start + size])
        return claimed

    def _prepare(self, command: OutboxCommand) -> Prepared | None:
        """Maps a command; adopts it when it may have been sent and is found. None when it is settled already.

        What is found proves only that the record is there: where an earlier version was sent too, this one is sent
        again, onto the same object.
        """
        if self.stopped:
            self._release([command])
            return None
        try:
            noun = noun_of(command)
            mapping = self.hub.mappings.find(self.system, command.record, "out", command.resource)
            with self.hub.database.reading() as work:
                self._await_ledger(work, command, noun)
                payload = mapping.out(noun, self.hub.refs(work))
                alone = not work.outbox.sent_before(command)
                as_planned = self._as_planned(work, command, mapping, payload)
                last = _last(work, command) if mapping.owners or mapping.only_create_fields else None
            if not as_planned:
                self._release([command])
                self.changed.add(command.key)
                return None
            key = mapping.key(noun)
            found = self.connector.find(command.resource, key) if command.probe else None
            prepared = Prepared(command, mapping, payload, key, self._merged(mapping, payload, last, found))
        except TieoutError as error:
            self._fail(command, error)
            return None
        if found is None or not alone:
            return prepared
        self._settle([(prepared, found)], Act.ADOPTED)
        return None

    def _await_ledger(self, work: Work, command: OutboxCommand, noun: Noun) -> None:
        """Money goes back when the credit that it pays out stands in the ERP; and it pays an invoice again when what
        paid it before is taken back there. Parked until then."""
        if isinstance(noun, Refund):
            for erp in self.hub.playing("erp"):
                if work.outbox.proof(erp, "credit_note", noun.credit_note_id) is None:
                    why = f"refund {noun.id} waits until {erp} has {noun.credit_note_id}"
                    raise Parked(why, waits_for=f"{erp}:credit_note:{noun.credit_note_id}")
        if command.resource == "payment" and isinstance(noun, Payment | HeldPayment):
            for one, invoice_id in self._freeing(work):
                # Only for what was intended before, so that no two wait for each other.
                if invoice_id == noun.invoice_id and one.created_at < command.created_at:
                    why = f"payment {noun.id} waits until {one.record_id} pays invoice {invoice_id} no more there"
                    raise Parked(why, waits_for=f"{one.system}:{one.resource}:{one.record_id}")

    def _freeing(self, work: Work) -> list[tuple[OutboxCommand, str]]:
        if self.freeing is None:
            found = work.outbox.under_way(self.system, "payment_void", "payment_application")
            nouns = ((one, noun_of(one)) for one in found)
            self.freeing = [(one, noun.invoice_id) for one, noun in nouns if isinstance(noun, PaymentAtErp)]
        return self.freeing

    def _merged(
        self, mapping: Mapping, payload: Payload, last: tuple[SyncRecord, Payload] | None, found: Receipt | None
    ) -> Merged:
        """What of a payload is sent: all of it to make an object, and of one that is there what the file allows."""
        if last is None and found is None:
            return Merged(payload)
        sent = without(payload, sorted(mapping.only_create_fields))
        if last is None or not mapping.owners:
            return Merged(sent)
        proof, said = last
        try:
            theirs = self.connector.get(proof.resource, proof.vendor_id)
        except Rejected:
            return Merged(sent)  # it is gone there: the write itself tells what becomes of that
        return merge(sent, theirs, said, proof.answer, mapping.owners)

    def _as_planned(self, work: Work, command: OutboxCommand, mapping: Mapping, payload: Payload) -> bool:
        if self.planned is None:
            return True
        last = work.outbox.last_payload(command.system, command.resource, command.record_id)
        return self.planned[command.key] == step_digest(
            command.key, command.probe, mapping.version, dump(payload), last
        )

    def _send(self, resource: str, items: Sequence[Prepared]) -> None:
        items = self._held(items)
        if self.stopped:
            self._release([item.command for item in items])
            return
        if not items:
            return
        self.hub.world.faults("outbox.before_send")
        closes = any(item.command.lane is Lane.CLOSE for item in items)
        try:
            with urgent() if closes else nullcontext(), until(self.leased_until):
                outcomes = self.connector.upsert_many(resource, [(item.merged.payload, item.key) for item in items])
        except TieoutError as error:
            outcomes = [error] * len(items)
        self.hub.world.faults("outbox.sent")
        self._settle(list(zip(items, outcomes, strict=True)))

    def _held(self, items: Sequence[Prepared]) -> Sequence[Prepared]:
        """Those whose lease is still ours, and will outlive a call."""
        now = self.hub.now()
        if now - self.leased_at < self.lease / 4:
            return items
        self.leased_until = now + self.lease
        with self.hub.database.work() as work:
            held = work.outbox.renew([item.command for item in items], self.leased_until)
        return [item for item in items if item.command in held]

    def _release(self, commands: Sequence[OutboxCommand]) -> None:
        """Gives leases back unused."""
        with self.hub.database.work() as work:
            for command in commands:
                work.outbox.settle(command, _unsent(command))
        self.postponed += len(commands)

    def _settle(self, settled: Sequence[tuple[Prepared, Outcome]], act: Act = Act.WRITTEN) -> None:
        """Ends commands in one transaction, each by its own outcome; ``act``: how a proof was come by."""
        proved, failed = [], []
        contested: list[DeskEntry] = []
        with self.hub.database.work() as work:
            for item, outcome in settled:
                command = item.command
                if not isinstance(outcome, Receipt):
                    failed.append((command, outcome, item.merged.payload))
                    continue
                said = dump(item.payload)
                proof = self._proof(command, item.mapping, said, outcome)
                before = _last_proof(work, command)
                if work.outbox.prove(command, proof, said):
                    work.desk.resolve(_desk_id(command))
                    work.audit.tell(_proved(command, act, self.who, proof, before, item.merged))
                    contested += self._contest(work, item)
                    proved.append((command, outcome))
                    self.hub.world.faults("outbox.before_commit")
            if any(isinstance(outcome, Receipt | Rejected | Parked) for _, outcome in settled):
                work.desk.resolve(f"system:{self.system}")
        self.hub.world.faults("outbox.settled")
        self.done += proved
        self.failures += contested
        for command, error, payload in failed:
            self._fail(command, error, payload)

    def _contest(self, work: Work, item: Prepared) -> list[DeskEntry]:
        """Puts the fields that both sides changed on the desk; takes off those on which they agree again."""
        command, mask = item.command, self.hub.mask
        for field in item.merged.agreed:
            work.desk.resolve(_contest_id(command, field))
        told = []
        for one in item.merged.conflicts:
            ident = _contest_id(command, one.field)
            error = _contested(command, one)
            entry = desk.entry(error, ident, self.system, command.record, command.record_id, self.hub.now())
            sides = [dump(mask.value(json.loads(dump({one.field: side})))) for side in (one.ours, one.theirs)]
            work.desk.report(entry)
            work.desk.keep_evidence(Evidence(id=ident, ours=sides[0][:KEPT], theirs=sides[1][:KEPT]))
            told.append(entry)
        return told

    def _proof(self, command: OutboxCommand, mapping: Mapping, sent: str, receipt: Receipt) -> SyncRecord:
        return SyncRecord(
            system=self.system,
            resource=command.resource,
            record_id=command.record_id,
            vendor_id=receipt.vendor_id,
            version=command.version,
            command_key=command.key,
            mapping_version=mapping.version,
            payload_digest=hashlib.sha256(sent.encode()).hexdigest()[:16],
            created=receipt.created,
            synced_at=self.hub.now(),
            answer=json.loads(dump(receipt.answer)),
        )

    def _fail(self, command: OutboxCommand, error: TieoutError, payload: Payload | None = None) -> None:
        """Settles a command that was not proved: parked, postponed or rejected; on the desk when it needs a person.

        ``payload``: what was sent, where it came so far.
        """
        now = self.hub.now()
        pause = min(FIRST_PAUSE * 2 ** min(command.attempts - 1, 12), LONGEST_PAUSE)
        given_up = command.attempts >= PATIENCE
        state, due, waits = CommandState.REJECTED, now, None
        match error:
            case Parked():
                state, waits = CommandState.PARKED, error.waits_for
            case OutcomeUnknown():
                state, due = CommandState.UNKNOWN, now + (timedelta(0) if command.attempts <= 1 else pause)
            case RateLimited():
                state, due = _unsent(command), now + max(pause, timedelta(seconds=error.wait_seconds))
            case Retryable() | Misconfigured():
                state, due = _unsent(command), now + pause
        stops = isinstance(error, Misconfigured | RateLimited | Unavailable)
        failure = None
        needs_person = state is CommandState.REJECTED or (isinstance(error, Parked) and error.needs_person)
        if needs_person or (given_up and isinstance(error, Retryable) and not stops):
            ident = _desk_id(command)
            failure = desk.entry(error, ident, self.system, command.record, command.record_id, now, command.money)
        with self.hub.database.work() as work:
            settled = work.outbox.settle(command, state, due_at=due, waits_for=waits)
            if settled and state in ACTS:
                detail = {"cause": type(error).__name__, "waits for": waits}
                work.audit.tell(_deed(command, ACTS[state], self.who, now, detail))
            if settled and failure:
                work.desk.report(failure)
                work.desk.keep_evidence(self._evidence(failure, error, payload))
        if settled and failure:
            self.failures.append(failure)
        elif state is not CommandState.PARKED:
            self.postponed += settled
        if stops:
            self._stop(error, now, given_up=given_up or isinstance(error, Misconfigured))

    def _evidence(self, failure: DeskEntry, error: TieoutError, payload: Payload | None) -> Evidence:
        mask = self.hub.mask
        ours = "" if payload is None else dump(mask.value(json.loads(dump(payload))))
        try:
            theirs = dump(mask.value(json.loads(error.answer, parse_float=str)))
        except ValueError:
            theirs = mask.text(error.answer)
        return Evidence(id=failure.id, ours=ours[:KEPT], theirs=theirs[:KEPT])

    def _stop(self, error: TieoutError, now: datetime, *, given_up: bool) -> None:
        """Leaves the system alone for this run; it stands on the desk when that does not end by itself."""
        if given_up and not self.stopped:
            failure = desk.entry(error, f"system:{self.system}", self.system, "system", self.system, now)
            with self.hub.database.work() as work:
                work.desk.report(failure)
            self.failures.append(failure)
        self.stopped = True


def _last_proof(work: Work, command: OutboxCommand) -> SyncRecord | None:
    """The proof of an earlier version of the record."""
    if command.sequence == 1:
        return None
    return work.outbox.proof(command.system, command.resource, command.record_id)


def _last(work: Work, command: OutboxCommand) -> tuple[SyncRecord, Payload] | None:
    """The last proof of the record, and all that we said then."""
    if command.sequence == 1:
        return None
    proof = work.outbox.proof(command.system, command.resource, command.record_id)
    said = work.outbox.last_payload(command.system, command.resource, command.record_id)
    return None if proof is None or said is None else (proof, json.loads(said))


def _contest_id(command: OutboxCommand, field: str) -> str:
    return f"conflict:{command.system}/{command.resource}/{command.record_id}/{field}"


def _contested(command: OutboxCommand, one: Conflict) -> Contested:
    system = command.system
    stands, other = ("ours", system) if one.owner == "hub" else (f"that of {system}", "ours")
    place = f"the record's source ({system} said {one.theirs!r})" if one.owner == "hub" else f"{system} by hand"
    return Contested(
        f"{one.field} of {command.record} {command.record_id} was changed on both sides: it was {one.was!r}, ours is "
        f"{one.ours!r}, {system} has {one.theirs!r}; by its owner {stands} stands, not {other}",
        system=system,
        record=command.record,
        field=one.field,
        value=str(one.theirs)[:200],
        code=f"owner_{one.owner}",
        cure=f"If the value that stands is right, ignore this with a reason; if not, put the right one in at {place}.",
    )


def _proved(
    command: OutboxCommand, act: Act, who: str, proof: SyncRecord, before: SyncRecord | None, merged: Merged
) -> Deed:
    detail: dict[str, Any] = {
        "their id": proof.vendor_id,
        "created": proof.created,
        "mapping": proof.mapping_version,
        "before": before.payload_digest if before else None,
        "after": proof.payload_digest,
        **({"left as they stand there": list(merged.kept)} if merged.kept else {}),
    }
    return _deed(command, act, who, proof.synced_at, detail)


def _deed(command: OutboxCommand, act: Act, who: str, at: datetime, detail: dict[str, Any]) -> Deed:
    return Deed(at, who, act, command.system, command.record, command.record_id, {"command": command.key, **detail})


def _unsent(command: OutboxCommand) -> CommandState:
    """The state after a try that wrote nothing: an earlier one may have."""
    return CommandState.UNKNOWN if command.probe else CommandState.PENDING


def _desk_id(command: OutboxCommand) -> str:
    return f"outbox:{command.system}/{command.resource}/{command.record_id}"


#: Runs a function once per system, side by side, and gives the results in order.
FanOut = Callable[[Callable[[str], Report], Sequence[str]], list[Report]]


def in_threads(work: Callable[[str], Report], systems: Sequence[str]) -> list[Report]:
    with ThreadPoolExecutor(max_workers=len(systems)) as pool:
        return list(pool.map(work, systems))


def in_tasks(work: Callable[[str], Report], systems: Sequence[str]) -> list[Report]:
    """The same, each system a task that the UI shows."""
    step = Task(work, name="Deliver to one system", cache_policy=NO_CACHE, retries=0, persist_result=False)
    futures = [step.with_options(task_run_name=f"deliver to {system}").submit(system) for system in systems]
    return [future.result() for future in futures]


def deliver_system(hub: Hub, system: str) -> Report:
    """Delivers everything that is ready for one system, and says what was created, what was there, what failed."""
    delivery = Delivery(hub, system)
    delivery.run()
    created = sum(receipt.created for _, receipt in delivery.done)
    money = sum_by_currency(command.money for command, receipt in delivery.done if command.money)
    return Report(
        headline=f"{created} created, {len(delivery.done) - created} updated at {system}",
        counts={
            "created": created,
            "updated": len(delivery.done) - created,
            "postponed": delivery.postponed,
            "failed": len(delivery.failures),
        },
        money=money,
        rows=[
            {
                "system": system,
                "record": command.record,
                "our id": command.record_id,
                "their id": receipt.vendor_id,
                "amount": "" if command.money is None else dollars(command.money),
                "done": "created" if receipt.created else "updated",
            }
            for command, receipt in delivery.done
        ],
        failures=delivery.failures,
    )


def deliver_all(hub: Hub, fan_out: FanOut = in_threads) -> Report:
    """Delivers to every system side by side, again while one system's proof wakes what waits at another."""
    total = Report(headline="")
    _ = hub.mappings, hub.database  # made once, before threads ask for them
    while True:
        reports = fan_out(lambda system: deliver_system(hub, system), hub.systems)
        for report in reports:
            total.rows += report.rows
            total.failures += report.failures
            total.money += report.money
            for name, count in report.counts.items():
                total.counts[name] = total.counts.get(name, 0) + count
        if not any(report.counts["created"] + report.counts["updated"] for report in reports):
            break
    total.money = sum_by_currency(total.money)
    total.counts["waiting"] = _waiting(hub)
    total.headline = f"{counted(total.counts['created'], 'record')} created, {total.counts['updated']} updated"
    return total


def _waiting(hub: Hub) -> int:
    """Commands that are neither done nor on the desk."""
    with hub.database.reading() as work:
        counts = work.outbox.counts()
    waiting = (CommandState.PENDING, CommandState.SENDING, CommandState.UNKNOWN, CommandState.PARKED)
    return sum(counts.get(state, 0) for state in waiting)


@flow(
    name="Deliver to all systems",
    description="Sends every pending command of the outbox to its system and keeps the proof. "
    "The only flow that writes to a vendor. `dry_run` shows what it would write, and writes nothing.",
)
def deliver(dry_run: bool = False) -> State[Any]:
    if dry_run:
        return conclude("Plan of delivery", told(plan_delivery(hub(), WHO)))
    return conclude("Deliver", deliver_all(hub(), in_tasks if flow_run.id else in_threads))
