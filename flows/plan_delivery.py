"""Plan: what a delivery would write, shown before anything is written."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from core.audit import Act, Deed
from core.errors import Parked, Rejected, TieoutError
from core.mapping.merge import without
from core.mapping.records import RECORDS
from core.noun import Noun
from core.plan import WRITES, Plan, Step, Verb, differences, step_digest
from core.store import Work
from core.store.codec import dump
from core.sync import CommandState, OutboxCommand
from flows.context import Hub
from flows.report import Report, amounts, dollars, sum_by_currency

FLOW = "deliver"
#: What is not settled yet, and what a person must look at.
OPEN = (CommandState.PENDING, CommandState.UNKNOWN, CommandState.SENDING, CommandState.PARKED, CommandState.REJECTED)


def plan_delivery(hub: Hub, who: str, systems: Sequence[str] = ()) -> Plan:
    """What delivering now would write at each system (empty: all in use). Asks no system, changes nothing."""
    with hub.database.reading() as work:
        commands = [one for system in systems or hub.systems for one in work.outbox.in_state(*OPEN, system=system)]
        steps = tuple(step_of(hub, work, command) for command in commands)
    plan = Plan.of(FLOW, hub.now(), who, steps)
    tell(hub, plan, Act.PLANNED, who, Counter(step.verb.value for step in steps))
    return plan


def step_of(hub: Hub, work: Work, command: OutboxCommand) -> Step:
    """What delivering a command now would write."""
    step = Step(
        key=command.key,
        system=command.system,
        resource=command.resource,
        record=command.record,
        record_id=command.record_id,
        verb=Verb.SKIP,
        money=command.money,
    )
    match command.state:
        case CommandState.SENDING:
            return step.model_copy(update={"why": "under way"})
        case CommandState.REJECTED:
            return step.model_copy(update={"verb": Verb.BLOCK, "why": "stands on the error desk"})
        case CommandState.PARKED:
            return step.model_copy(update={"why": f"waits for {command.waits_for}"})
    if command.due_at > hub.now():
        return step.model_copy(update={"why": f"is tried again at {command.due_at:%F %T} UTC"})
    try:
        noun = noun_of(command)
        mapping = hub.mappings.find(command.system, command.record, "out", command.resource)
        payload = dump(mapping.out(noun, hub.refs(work)))
    except Parked as error:
        return step.model_copy(update={"why": f"waits for {error.waits_for}"})
    except TieoutError as error:
        return step.model_copy(update={"verb": Verb.BLOCK, "why": hub.mask.text(str(error))})
    last = work.outbox.last_payload(command.system, command.resource, command.record_id)
    written = work.outbox.proof(command.system, command.resource, command.record_id) is not None
    unsent = sorted(mapping.only_create_fields) if written else []
    shown = [hub.mask.value(without(json.loads(text or "{}"), unsent)) for text in (last, payload)]
    changes = differences(*shown)
    verb = Verb.LOOK_UP if command.probe else Verb.CREATE if not written else Verb.CHANGE if changes else Verb.REPEAT
    digest = step_digest(command.key, command.probe, mapping.version, payload, last)
    return step.model_copy(update={"verb": verb, "changes": changes, "digest": digest})


def noun_of(command: OutboxCommand) -> Noun:
    """The noun of the intent. Rejected when a later version of the product does not read it any more."""
    try:
        return RECORDS[command.record].model_validate_json(command.body)
    except (KeyError, ValidationError):
        raise Rejected(
            f"the stored intent of {command.record} {command.record_id} was made by another version; intend it again",
            system=command.system,
            record=command.record_id,
        ) from None


def told(plan: Plan) -> Report:
    """The plan as people read it."""
    counts = Counter(step.verb.value for step in plan.steps)
    money = sum_by_currency(step.money for step in plan.steps if step.money and step.verb in WRITES)
    numbers = ", ".join(f"{counts[verb]} to {verb.value}" for verb in Verb if counts[verb])
    headline = (numbers or "nothing to deliver") + (f"; {amounts(money)}" if money else "")
    return Report(headline, counts=dict(counts), money=money, rows=[row(step) for step in plan.steps])


def row(step: Step) -> dict[str, str]:
    changes = [f"{one.field}: {one.before} -> {one.after}" for one in step.changes] if step.verb is Verb.CHANGE else []
    return {
        "step": step.verb.value,
        "system": step.system,
        "record": f"{step.record} {step.record_id}",
        "amount": "" if step.money is None else dollars(step.money),
        "what": step.why or "; ".join(changes) or (f"{len(step.changes)} fields" if step.changes else "the same again"),
    }


def tell(hub: Hub, plan: Plan, act: Act, who: str, counts: Mapping[str, int]) -> None:
    with hub.database.work() as work:
        work.audit.tell(Deed(hub.now(), who, act, detail={"plan": plan.digest, "flow": plan.flow, **counts}))
