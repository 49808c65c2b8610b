"""What operators do with failed records: it takes effect, it is checked, and the audit tells who did it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx
from pydantic import SecretStr

from connectors.wire import Wire
from core.errors import RateLimited, Rejected, TieoutError
from core.money import Money
from core.orders import OrderProgress
from core.ports import World
from core.sync import CommandState, DeskEntry, OutboxCommand
from flows import error_desk
from flows.deliver import deliver_system
from flows.retry_failed import retry_matching
from tests.flows.hubs import account
from tests.flows.test_deliver import NoSettings, Stage

FIRST = "outbox:stripe/account/A-0000"


@pytest.fixture
def stage(database_url: str, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(database_url, tmp_path)
    yield stage
    stage.hub.close()


def refused(stage: Stage, number: int = 1, error: TieoutError | None = None) -> None:
    """Accounts that the vendor refused once: it is one failure of many records."""
    for n in range(number):
        stage.stripe.before[f"A-{n:04d}"] = [error or Rejected(f"A-{n:04d}: no such state 'TX'", field="state")]
    stage.intend(*(account(n) for n in range(number)), money=Money.of("10", "USD"))
    deliver_system(stage.hub, "stripe")


def entry(stage: Stage, ident: str = FIRST) -> DeskEntry:
    with stage.hub.database.reading() as work:
        found = work.desk.get(ident)
    assert found is not None
    return found


def edit(stage: Stage, changes: dict[str, str], ident: str = FIRST) -> OutboxCommand:
    with stage.hub.database.work() as work:
        found = work.desk.get(ident)
        assert found is not None
        return error_desk.edit_and_retry(stage.hub, work, found, "anna", changes, "the customer moved")


def acts(stage: Stage, record_id: str = "A-0000") -> list[tuple[str, str, dict[str, Any]]]:
    """(act, who, detail) of a record, the oldest first; the chain must be sound."""
    with stage.hub.database.reading() as work:
        assert work.audit.flaw() is None
        rows = work.audit.rows(record_id=record_id)
    return [(row.act, row.who, json.loads(row.detail)) for row in reversed(rows)]


def test_an_edited_record_goes_out_as_a_new_version_and_leaves_the_desk(stage: Stage) -> None:
    refused(stage)
    command = edit(stage, {"billing_address.region": "CO", "name": "Moved, Inc."})
    deliver_system(stage.hub, "stripe")
    assert stage.stripe.keys() == ["A-0000"]
    assert stage.stripe.objects[0]["name"] == "Moved, Inc."
    assert stage.stripe.objects[0]["address"]["state"] == "CO"
    assert stage.states() == {"cancelled": 1, "done": 1}
    assert stage.desk() == []
    with stage.hub.database.reading() as work:
        proof = work.outbox.proof("stripe", "account", "A-0000")
    assert proof is not None
    assert proof.command_key == command.key
    assert (command.sequence, command.money) == (2, Money.of("10", "USD"))


def test_an_edit_is_told_with_what_stood_there_before_and_why(stage: Stage) -> None:
    refused(stage)
    command = edit(stage, {"billing_address.region": "CO", "name": "4242 4242 4242 4242"})
    act, who, detail = acts(stage)[-1]
    assert (act, who, detail["reason"], detail["command"]) == ("edited", "anna", "the customer moved", command.key)
    assert detail["fields"] == {
        "billing_address.region": {"before": "TX", "after": "CO"},
        "name": {"before": "Customer 0", "after": "•••4242"},
    }


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        ("id", "A-0009", "no free text"),
        ("currency", "EUR", "no free text"),
        ("payment_terms_days", "60", "no free text"),
        ("billing_address", "x", "no free text"),
        ("billing_address.planet", "Earth", "there is no field"),
        ("sites.0.name", "x", "there is no field"),
        ("name.first", "x", "there is no field"),
        ("billing_address.country", "Texas", "billing_address.country"),
        ("name", "Customer 0", "says so already"),
    ],
)
def test_what_ties_or_is_not_there_or_is_refused_by_the_noun_is_not_edited(
    stage: Stage, path: str, value: str, why: str
) -> None:
    refused(stage)
    with pytest.raises(ValueError, match=why):
        edit(stage, {path: value})
    assert stage.states() == {"rejected": 1}
    assert [act for act, *_ in acts(stage)] == ["rejected"]


def test_money_is_never_edited(stage: Stage) -> None:
    zero = Money.zero("USD")
    told = OrderProgress(
        id="O-1", status="paid", currency="USD", subscription_id="S", invoiced=zero, credited=zero, paid=zero
    )
    with stage.hub.database.work() as work:
        work.outbox.enqueue([OutboxCommand.of("stripe", "order_progress", "order_progress", told, stage.time.now)])
    deliver_system(stage.hub, "stripe")
    (ident,) = (one for one, _ in stage.desk() if one.endswith("O-1"))
    with stage.hub.database.reading() as work:
        assert work.outbox.in_state(CommandState.REJECTED, CommandState.PARKED)
    for path in ("paid.amount", "paid.currency", "status", "subscription_id"):
        with pytest.raises(ValueError, match="no free text"):
            edit(stage, {path: "900"}, ident)


def test_a_record_under_way_or_delivered_is_not_edited(stage: Stage) -> None:
    refused(stage)
    assert retry_matching(stage.hub).counts["retried"] == 1
    with pytest.raises(ValueError, match="no command that failed"):
        edit(stage, {"name": "x"})


def test_a_cluster_is_retried_whole_and_nothing_else(stage: Stage) -> None:
    refused(stage, 3)
    cluster = entry(stage).cluster
    stage.stripe.before["A-0009"] = [Rejected("another reason")]
    stage.intend(account(9))
    deliver_system(stage.hub, "stripe")
    assert retry_matching(stage.hub, cluster=cluster, dry_run=True).counts == {"matched": 3, "retried": 0}
    report = retry_matching(stage.hub, cluster=cluster, who="anna")
    assert report.counts == {"matched": 3, "retried": 3}
    assert stage.states() == {"pending": 3, "rejected": 1}
    assert acts(stage)[-1][:2] == ("retried", "anna")


def test_the_limit_of_a_retry_counts_what_matches(stage: Stage) -> None:
    """Entries with more money at risk that do not match take no place of those that do."""
    refused(stage, 2)
    stage.stripe.before["A-0009"] = [Rejected("another reason")]
    stage.intend(account(9))
    stage.time.pass_by(timedelta(hours=1))
    deliver_system(stage.hub, "stripe")
    report = retry_matching(stage.hub, since=stage.time.now, record="account", limit=1)
    assert [row["error"] for row in report.rows] == ["outbox:stripe/account/A-0009"]


def test_ignore_assign_and_note_are_told_with_who_and_why(stage: Stage) -> None:
    refused(stage)
    with stage.hub.database.work() as work:
        one = work.desk.get(FIRST)
        assert one is not None
        with pytest.raises(ValueError, match="say why"):
            error_desk.ignore(stage.hub, work, one, "anna", " ")
        assert error_desk.assign(stage.hub, work, one, "anna", "ben")
        assert error_desk.note(stage.hub, work, one, "ben", "asked the customer")
        assert error_desk.ignore(stage.hub, work, one, "ben", "a test account")
        assert not error_desk.ignore(stage.hub, work, one, "ben", "twice")
    assert [(act, who) for act, who, _ in acts(stage)[1:]] == [
        ("assigned", "anna"),
        ("noted", "ben"),
        ("ignored", "ben"),
    ]
    assert acts(stage)[-1][2] == {"error": FIRST, "reason": "a test account"}
    deliver_system(stage.hub, "stripe")
    assert stage.stripe.objects == []


def test_the_desk_keeps_what_was_sent_and_answered_without_secrets_and_card_numbers(stage: Stage) -> None:
    stage.hub.settings.systems["stripe"] = NoSettingsButASecret()
    error = Rejected("no such state", field="state")
    error.answer = json.dumps({"error": "sk_live_s3cret may not", "card": "4242424242424242", "client_secret": "x"})
    error.trace = "req_1"
    refused(stage, error=error)
    with stage.hub.database.reading() as work:
        kept = work.desk.evidence(FIRST)
    assert kept is not None
    assert json.loads(kept.ours)["name"] == "Customer 0"
    assert json.loads(kept.theirs) == {"error": "••• may not", "card": "•••4242", "client_secret": "•••"}
    assert entry(stage).trace == "req_1"


def test_a_card_number_that_somebody_wrote_into_a_record_is_masked_in_what_was_sent(stage: Stage) -> None:
    """S20: the number goes where it was sent before, and is not kept a second time."""
    stage.stripe.before["A-0000"] = [Rejected("no")]
    stage.intend(account(0, name="pay with 4242 4242 4242 4242"))
    deliver_system(stage.hub, "stripe")
    with stage.hub.database.reading() as work:
        kept = work.desk.evidence(FIRST)
    assert kept is not None
    assert json.loads(kept.ours)["name"] == "pay with •••4242"


class NoSettingsButASecret(NoSettings):
    key: SecretStr = SecretStr("sk_live_s3cret")


@respx.mock
def test_an_error_of_the_wire_carries_the_answer_and_the_name_of_the_request() -> None:
    body = {"error": {"message": "no such customer"}}
    respx.post("https://vendor.example/x").mock(httpx.Response(400, json=body, headers={"Request-Id": "req_9"}))
    wire = Wire("vendor", "https://vendor.example", World(sleep=lambda _seconds: None))
    with pytest.raises(Rejected) as raised:
        wire.write("POST", "/x", json={})
    assert (json.loads(raised.value.answer), raised.value.trace) == (body, "req_9")
    respx.post("https://vendor.example/x").mock(httpx.Response(429, text="x" * 9000, headers={"Retry-After": "99"}))
    with pytest.raises(RateLimited) as slowed:
        wire.write("POST", "/x", json={})
    assert len(slowed.value.answer) == 4000
