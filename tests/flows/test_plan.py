"""A plan tells what a delivery would write and writes nothing; applying it does exactly that, or refuses."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlalchemy import create_engine, text

from core.errors import Misconfigured, OutcomeUnknown, RateLimited, Rejected
from core.money import Money
from core.plan import FieldChange, Plan, Verb, differences
from core.sync import CommandState, OutboxCommand
from flows.apply_plan import apply_plan
from flows.deliver import LEASE, deliver_system
from flows.plan_delivery import plan_delivery, told
from tests.flows.hubs import account
from tests.flows.test_deliver import Stage


@pytest.fixture
def stage(database_url: str, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(database_url, tmp_path)
    stage.stripe.blind = False
    yield stage
    stage.hub.close()


def plan(stage: Stage) -> Plan:
    """Made, kept in a file and read again."""
    return Plan.model_validate_json(plan_delivery(stage.hub, "anna").model_dump_json())


def verbs(made: Plan) -> dict[str, str]:
    return {step.record_id: step.verb.value for step in made.steps}


def test_a_plan_tells_what_would_be_created_and_changed_and_writes_nothing(stage: Stage) -> None:
    stage.intend(account(0, name="Old name"))
    deliver_system(stage.hub, "stripe")
    calls = stage.stripe.calls
    stage.intend(account(0, name="New name"), account(1), money=Money.of("12.50", "USD"))
    made = plan(stage)
    changed, created = made.steps
    assert (changed.verb, changed.changes) == (
        Verb.CHANGE,
        (FieldChange(field="name", before="Old name", after="New name"),),
    )
    assert created.verb is Verb.CREATE
    assert FieldChange(field="address.state", before=None, after="TX") in created.changes
    report = told(made)
    assert (report.headline, report.rows[0]["what"]) == (
        "1 to create, 1 to change; $25.00",
        "name: Old name -> New name",
    )
    assert (stage.stripe.calls, stage.states()) == (calls, {"done": 1, "pending": 2})


def test_a_plan_tells_what_is_skipped_and_what_would_fail_and_why(stage: Stage) -> None:
    stage.stripe.before["A-0000"] = [Rejected("no such state")]
    stage.intend(account(0))
    deliver_system(stage.hub, "stripe")
    stage.stripe.whole_call = [RateLimited("slow down", wait_seconds=600)]
    stage.intend(account(1))
    deliver_system(stage.hub, "stripe")
    unreadable = OutboxCommand.of("stripe", "account", "account", account(2), stage.time.now)
    with stage.hub.database.work() as work:
        work.outbox.enqueue([unreadable.model_copy(update={"body": "{}", "record_id": "A-0002"})])
    stage.intend(account(3))
    with stage.hub.database.work() as work:
        work.outbox.claim(
            "stripe",
            9,
            stage.time.now,
            LEASE,
            [one.key for one in work.outbox.of_record("stripe", "account", "A-0003")],
        )
    found = {step.record_id: (step.verb, step.why) for step in plan(stage).steps}
    assert found["A-0000"] == (Verb.BLOCK, "stands on the error desk")
    assert found["A-0001"][0] is Verb.SKIP
    assert "is tried again at 2026-11-01 09:10:00" in found["A-0001"][1]
    assert found["A-0002"][0] is Verb.BLOCK
    assert "made by another version" in found["A-0002"][1]
    assert found["A-0003"] == (Verb.SKIP, "under way")


def test_what_may_have_been_sent_is_planned_as_a_look_up(stage: Stage) -> None:
    stage.stripe.after["A-0000"] = [OutcomeUnknown("no answer")]
    stage.stripe.lookup = [RateLimited("slow down", wait_seconds=1)]
    stage.intend(account(0))
    deliver_system(stage.hub, "stripe")
    stage.time.pass_by(timedelta(minutes=1))
    assert verbs(plan(stage)) == {"A-0000": "look up"}
    assert apply_plan(stage.hub, plan(stage), "anna").counts["done"] == 1
    assert stage.stripe.keys() == ["A-0000"]


def test_applying_does_what_was_planned_and_nothing_that_came_later(stage: Stage) -> None:
    stage.intend(account(0), account(1), money=Money.of("5", "USD"))
    made = plan(stage)
    stage.intend(account(2))
    report = apply_plan(stage.hub, made, "anna")
    assert (report.counts["done"], report.counts["refused"], list(map(str, report.money))) == (2, 0, ["10.00 USD"])
    assert stage.stripe.keys() == ["A-0000", "A-0001"]
    assert stage.states() == {"done": 2, "pending": 1}
    with stage.hub.database.reading() as work:
        assert work.audit.flaw() is None
        acts = [(row.act, row.who) for row in reversed(work.audit.rows())]
    assert acts == [("planned", "anna"), ("written", "anna"), ("written", "anna"), ("plan applied", "anna")]


def test_a_plan_that_is_applied_again_writes_nothing(stage: Stage) -> None:
    stage.intend(account(0))
    made = plan(stage)
    apply_plan(stage.hub, made, "anna")
    calls = stage.stripe.calls
    report = apply_plan(stage.hub, made, "anna")
    assert (report.counts["done"], report.counts["refused"], stage.stripe.calls) == (0, 1, calls)


def test_a_record_that_has_a_newer_intent_since_is_refused(stage: Stage) -> None:
    stage.intend(account(0), account(1))
    made = plan(stage)
    stage.intend(account(0, name="Newer name"))
    report = apply_plan(stage.hub, made, "anna")
    assert {row["record"]: row["done"] for row in report.rows} == {
        "account A-0000": "changed since",
        "account A-0001": "done",
    }
    assert stage.stripe.keys() == ["A-0001"]


def test_a_record_whose_last_written_state_changed_since_is_refused_and_stays_pending(stage: Stage) -> None:
    stage.intend(account(0, name="First"))
    deliver_system(stage.hub, "stripe")
    stage.intend(account(0, name="Second"))
    made = plan(stage)
    engine = create_engine(stage.hub.database.url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE sync_record SET payload = '{}'"))
    engine.dispose()
    report = apply_plan(stage.hub, made, "anna")
    assert (report.counts["refused"], stage.stripe.objects[0]["name"]) == (1, "First")
    assert stage.states() == {"done": 1, "pending": 1}


def test_a_mapping_that_changed_since_is_refused(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.intend(account(0))
    made = plan(stage)
    mapping = stage.hub.mappings.find("stripe", "account", "out", "account")
    monkeypatch.setattr(type(mapping), "version", "another")
    assert apply_plan(stage.hub, made, "anna").counts["refused"] == 1
    assert stage.stripe.objects == []


def test_a_plan_that_somebody_changed_is_no_plan(stage: Stage) -> None:
    stage.intend(account(0), account(1))
    written = plan(stage).model_dump_json()
    with pytest.raises(ValidationError, match="changed after it was made"):
        Plan.model_validate_json(written.replace('"verb":"create"', '"verb":"skip"', 1))


def test_a_plan_of_another_flow_is_not_applied(stage: Stage) -> None:
    with pytest.raises(Misconfigured, match="is of bill"):
        apply_plan(stage.hub, Plan.of("bill", stage.time.now, "anna", ()), "anna")


def test_a_step_that_fails_is_told_and_stops_no_other(stage: Stage) -> None:
    stage.intend(account(0), account(1))
    made = plan(stage)
    stage.stripe.before["A-0000"] = [Rejected("no such state")]
    report = apply_plan(stage.hub, made, "anna")
    assert (report.counts["done"], report.counts["failed"], report.counts["postponed"]) == (1, 1, 0)
    with stage.hub.database.reading() as work:
        assert len(work.outbox.in_state(CommandState.REJECTED)) == 1


def test_differences_are_told_field_by_field_at_any_depth() -> None:
    before = {"name": "a", "lines": [{"amount": "1.00"}], "gone": None, "tags": []}
    after = {"name": "a", "lines": [{"amount": "2.00"}, {"amount": "3"}], "flag": True, "tags": []}
    assert [(one.field, one.before, one.after) for one in differences(before, after)] == [
        ("flag", None, "true"),
        ("gone", "null", None),
        ("lines.0.amount", "1.00", "2.00"),
        ("lines.1.amount", None, "3"),
    ]
