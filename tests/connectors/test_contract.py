"""One contract, every system of the registry, each against its emulator on a real socket.

A system joins by ``CASE`` in ``tests/connectors/contract_<module>.py``; one that has none fails every test here.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from shutil import copyfile
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from connectors.registry import SYSTEMS
from core.errors import Misconfigured, OutcomeUnknown, Rejected, Retryable, Unavailable
from core.ports import Connector, ExternalKey, Outcome, Receipt, WebhookRequest, World
from core.store import Database
from core.sync import InboxEvent
from sandbox import server
from tests.connectors.contract import ContractCase

pytestmark = pytest.mark.server


def case_of(system: str) -> ContractCase:
    module = SYSTEMS[system].module.removeprefix("connectors.")
    case: ContractCase = import_module(f"tests.connectors.contract_{module}").CASE
    assert case.system == system
    return case


@pytest.fixture(scope="module", params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in SYSTEMS])
def emulated(request: pytest.FixtureRequest) -> Iterator[tuple[ContractCase, str]]:
    """A system's case, and the address of its emulator."""
    case = case_of(request.param)
    with server.start([case.system]) as running:
        yield case, running.urls[case.system]


@dataclass
class Stage:
    """A fresh emulator and a connector to it; waiting takes no time and is kept in ``slept``."""

    case: ContractCase
    url: str
    slept: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        httpx.post(f"{self.url}/_sandbox/reset").raise_for_status()
        self.case.prepare(self.url)
        self.settings = self.case.settings(self.url)
        self.connector = self.connect(self.settings)

    def connect(self, settings: Any) -> Connector:
        return SYSTEMS[self.case.system].connect(settings, World(sleep=self.slept.append))

    def plant(self, kind: str, match: str, **more: Any) -> None:
        httpx.post(f"{self.url}/_sandbox/faults", json={"kind": kind, "match": match, **more}).raise_for_status()

    def plant_in_write(self, kind: str, **more: Any) -> None:
        self.plant(kind, self.case.write_line, **more)

    def fired(self) -> int:
        return sum(fault["fired"] for fault in httpx.get(f"{self.url}/_sandbox/faults").json())

    def kept(self) -> int:
        """How many objects of the resource the vendor has."""
        return self.case.count(httpx.get(f"{self.url}/_sandbox/objects").json())

    def upsert(self, number: int = 1) -> Receipt:
        return self.connector.upsert(self.case.resource, self.case.payload(number), self.case.key(number))

    def find(self, number: int = 1) -> Receipt | None:
        return self.connector.find(self.case.resource, self.case.key(number))

    def upsert_many(self, numbers: Sequence[int]) -> list[Outcome]:
        """As a flow does it: never more records a call than the resource takes."""
        items = [(self.case.payload(number), self.case.key(number)) for number in numbers]
        size = self.connector.resources[self.case.resource].batch
        parts = [items[start : start + size] for start in range(0, len(items), size)]
        return [outcome for part in parts for outcome in self.connector.upsert_many(self.case.resource, part)]


@pytest.fixture
def stage(emulated: tuple[ContractCase, str]) -> Iterator[Stage]:
    stage = Stage(*emulated)
    yield stage
    stage.connector.close()


def reads_back(stage: Stage) -> None:
    """Skips for a vendor that cannot tell what was written."""
    if not stage.case.readable:
        pytest.skip(f"skipped: {stage.case.system} has no call that reads back what was written")


def test_a_record_written_twice_is_one_object(stage: Stage) -> None:
    """A vendor may give an adjusted document another id; it is still one."""
    reads_back(stage)
    first, second = stage.upsert(), stage.upsert()
    assert (first.created, first.key) == (True, stage.case.key(1))
    assert (second.created, second.key) == (False, stage.case.key(1))
    found = stage.find()
    assert found is not None
    assert (found.vendor_id, stage.kept()) == (second.vendor_id, 1)


def test_a_record_that_was_written_is_found_by_our_key_and_no_other_is(stage: Stage) -> None:
    reads_back(stage)
    written = stage.upsert()
    found = stage.find()
    assert found is not None
    assert (found.system, found.resource, found.vendor_id) == (written.system, written.resource, written.vendor_id)
    assert found.answer.keys() == written.answer.keys()
    assert stage.find(2) is None


def test_changes_go_on_to_the_last_page(stage: Stage) -> None:
    if stage.case.page is None:
        pytest.skip(f"skipped: {stage.case.system} does not page")
    outcomes = stage.upsert_many(range(1, stage.case.page + 1))
    written = [outcome.vendor_id for outcome in outcomes if isinstance(outcome, Receipt)]
    listed = [change.vendor_id for change in stage.connector.changes(stage.case.resource, None)]
    assert len(written) == stage.case.page
    assert sorted(listed) == sorted(written)


def test_changes_since_a_moment_miss_nothing_that_came_at_it_or_later(stage: Stage) -> None:
    reads_back(stage)
    first = stage.upsert(1)
    (change,) = stage.connector.changes(stage.case.resource, None)
    second = stage.upsert(2)
    later = {one.vendor_id for one in stage.connector.changes(stage.case.resource, change.changed_at.isoformat())}
    assert later == {first.vendor_id, second.vendor_id}


def test_a_lost_reply_is_an_unknown_outcome_that_a_look_up_settles(stage: Stage) -> None:
    reads_back(stage)
    stage.plant_in_write("lose_reply")
    with pytest.raises(OutcomeUnknown):
        stage.upsert()
    found = stage.find()
    assert found is not None
    again = stage.upsert()
    assert (again.created, again.answer.keys(), stage.kept()) == (False, found.answer.keys(), 1)


def test_a_connection_that_is_cut_before_anything_was_done_leads_to_one_object(stage: Stage) -> None:
    stage.plant_in_write("reset")
    with pytest.raises(OutcomeUnknown):
        stage.upsert()
    assert stage.find() is None
    stage.upsert()
    assert stage.kept() == 1


def test_a_rate_limit_is_waited_for_as_long_as_it_asks(stage: Stage) -> None:
    stage.plant_in_write("rate_limit", seconds=7, times=2)
    stage.upsert()
    assert (stage.fired(), stage.kept()) == (2, 1)
    assert stage.slept == [stage.case.own_wait or 7] * 2


@pytest.mark.parametrize("status", [500, 502, 503])
@pytest.mark.parametrize("kind", ["error", "error_after"])
def test_a_server_error_never_leads_to_a_second_object_nor_to_a_false_no(stage: Stage, kind: str, status: int) -> None:
    """``Unavailable`` says that nothing was written, so it may not follow a write that was carried out."""
    reads_back(stage)
    stage.plant_in_write(kind, status=status)
    try:
        stage.upsert()
    except OutcomeUnknown:
        assert (stage.find() is None) is (kind == "error")
    except Unavailable:
        assert kind == "error"
    assert stage.fired() == 1
    stage.upsert()
    assert stage.kept() == 1


def test_an_answer_that_cannot_be_read_is_an_unknown_outcome(stage: Stage) -> None:
    reads_back(stage)
    stage.plant_in_write("garbage")
    with pytest.raises(OutcomeUnknown):
        stage.upsert()
    assert stage.find() is not None
    stage.upsert()
    assert stage.kept() == 1


def test_a_look_up_whose_answer_cannot_be_read_never_says_there_is_none(stage: Stage) -> None:
    reads_back(stage)
    stage.upsert()
    stage.plant("garbage", ".*", times=0)
    with pytest.raises(Retryable):
        stage.find()


def test_a_bad_field_is_rejected_by_name(stage: Stage) -> None:
    payload, name = stage.case.bad_payload()
    with pytest.raises(Rejected) as refused:
        stage.connector.upsert(stage.case.resource, payload, stage.case.key(0))
    error = refused.value
    assert (error.system, error.record, error.field) == (stage.case.system, stage.case.resource, name)
    assert error.code
    assert stage.kept() == 0


def test_one_bad_record_of_many_fails_alone(stage: Stage) -> None:
    bad, name = stage.case.bad_payload()
    items = [(stage.case.payload(number), stage.case.key(number)) for number in (1, 2, 3)]
    items[1] = (bad, stage.case.key(0))
    first, refused, third = stage.connector.upsert_many(stage.case.resource, items)
    assert isinstance(first, Receipt)
    assert isinstance(third, Receipt)
    assert isinstance(refused, Rejected)
    assert (refused.field, stage.kept()) == (name, 2)
    assert [first.key, third.key] == [stage.case.key(1), stage.case.key(3)]


def test_a_record_that_is_not_there_is_rejected(stage: Stage) -> None:
    reads_back(stage)
    known = stage.upsert().vendor_id
    with pytest.raises(Rejected):
        stage.connector.get(stage.case.resource, known[:-1] + ("8" if known[-1] != "8" else "9"))


def test_a_resource_that_the_system_does_not_have_is_misconfigured(stage: Stage) -> None:
    with pytest.raises(Misconfigured, match="no_such_resource"):
        stage.connector.find("no_such_resource", stage.case.key(1))


def _leaves(value: Any) -> Iterator[Any]:
    match value:
        case Mapping():
            for item in value.values():
                yield from _leaves(item)
        case list() | tuple():
            for item in value:
                yield from _leaves(item)
        case _:
            yield value


def test_no_answer_holds_a_float(stage: Stage) -> None:
    reads_back(stage)
    written = stage.upsert()
    found = stage.find()
    assert found is not None
    answers = [written.answer, found.answer, stage.connector.get(stage.case.resource, written.vendor_id)]
    answers += [change.payload for change in stage.connector.changes(stage.case.resource, None) if change.payload]
    assert len(answers) == 4
    assert [leaf for leaf in _leaves(answers) if isinstance(leaf, float)] == []


def call(case: ContractCase, connector: Connector) -> None:
    """Any call that needs credentials."""
    if case.readable:
        connector.find(case.resource, case.key(1))
    else:
        connector.upsert(case.resource, case.payload(1), case.key(1))


def test_wrong_credentials_are_a_misconfiguration_that_tells_no_secret(stage: Stage) -> None:
    secrets = {
        name: value.get_secret_value()
        for name, value in stage.settings
        if isinstance(value, SecretStr) and name not in stage.case.webhook_only
    }
    assert secrets
    for name, secret in secrets.items():
        wrong = f"{secret}-canary"
        connector = stage.connect(stage.settings.model_copy(update={name: SecretStr(wrong)}))
        with pytest.raises(Misconfigured) as refused:
            call(stage.case, connector)
        findings = connector.check()
        told = [*traceback.format_exception(refused.value), *(f"{one.detail} {one.cure}" for one in findings)]
        assert refused.value.system == stage.case.system
        assert [text for text in told if wrong in text or secret in text] == []
        assert [one for one in findings if not one.ok]
        connector.close()


def test_the_doctor_finds_nothing_wrong_with_a_system_that_is_set_up(stage: Stage) -> None:
    findings = stage.connector.check()
    assert findings
    assert [finding for finding in findings if not finding.ok] == []


def test_a_connector_may_be_closed_twice(stage: Stage) -> None:
    stage.upsert()
    stage.connector.close()
    stage.connector.close()


def webhook_of(stage: Stage) -> WebhookRequest:
    if stage.case.webhook is None:
        pytest.skip(f"skipped: {stage.case.system} sends no webhooks")
    return stage.case.webhook()


def test_a_replayed_webhook_is_one_inbox_event(stage: Stage, sqlite_template: Path, tmp_path: Path) -> None:
    request = webhook_of(stage)
    copyfile(sqlite_template, tmp_path / "tieout.db")
    database = Database(f"sqlite:///{tmp_path / 'tieout.db'}")
    for _ in range(2):
        received = [_received(stage.case.system, event) for event in stage.connector.events(request)]
        with database.work() as work:
            work.inbox.store_many([(event, request.body) for event in received])
    with database.reading() as work:
        assert work.inbox.counts() == {"received": len(received)}
    database.close()


def _received(system: str, event: Any) -> InboxEvent:
    return InboxEvent(
        system=system,
        event_id=event.event_id,
        resource=event.resource,
        vendor_id=event.vendor_id,
        kind=event.kind,
        version=event.version,
        occurred_at=event.occurred_at,
        received_at=datetime(2026, 11, 2, 9, 30, tzinfo=UTC),
    )


def test_a_webhook_that_nobody_signed_or_somebody_forged_is_rejected(stage: Stage) -> None:
    request = webhook_of(stage)
    forged = {
        "unsigned": replace(request, headers={}, query={}),
        "with another proof": replace(request, headers=_garbled(request.headers), query=_garbled(request.query)),
    }
    for how, one in forged.items():
        with pytest.raises(Rejected) as refused:
            stage.connector.events(one)
        assert (refused.value.system, refused.value.code != "malformed") == (stage.case.system, True), how


def _garbled(proofs: Mapping[str, str]) -> dict[str, str]:
    return {name: value[:-1] + ("0" if value[-1:] != "0" else "1") for name, value in proofs.items()}


#: What ends a literal in one language or another: SOQL, OData, SuiteQL, XML, a URL, a pattern.
HOSTILE = "A'\"</x>&--%_\\*(1)"


def test_a_key_of_any_characters_finds_its_own_record_or_is_refused(stage: Stage) -> None:
    """No text leaves its literal: it is stored and looked up as it is, or refused before anything is written."""
    case, plain = stage.case, stage.case.key(1)
    stage.upsert(2)
    before = stage.kept()
    hostile = ExternalKey(plain.field, HOSTILE)
    try:
        receipt = stage.connector.upsert(case.resource, _with(case.payload(1), plain.value, HOSTILE), hostile)
    except Rejected:
        assert stage.kept() == before
        return
    if case.readable:
        found = stage.connector.find(case.resource, hostile)
        assert found is not None
        assert found.vendor_id == receipt.vendor_id
        assert stage.connector.find(case.resource, ExternalKey(plain.field, "' OR '1' eq '1")) is None


def _with(value: Any, old: str, new: str) -> Any:
    match value:
        case dict():
            return {name: _with(item, old, new) for name, item in value.items()}
        case list():
            return [_with(item, old, new) for item in value]
        case str():
            return value.replace(old, new)
    return value
