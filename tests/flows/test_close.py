"""A small company closes a month: what stands in the way, what a person approves, what is posted and read back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime

import httpx
import pytest

from core import pack
from core.accounts import BillingTerms
from core.close import Close, CloseState, Decision, PeriodLock, Verdict
from core.entities import LegalEntity
from core.errors import Rejected
from core.invoicing import Invoice
from core.ledger import JournalEntry, Via, reversal
from core.money import Money
from core.payments import Payment
from core.store import StoreFailed
from core.sync import DeskEntry, OutboxCommand
from flows import bill, gates, recognise
from flows import close as stages
from flows.adjust import set_terms
from flows.close_books import Answer, Closing
from flows.context import Hub
from flows.pack import folder_of
from flows.post import post
from flows.settings import ClosePolicy
from tests.flows.world import MONTH, PERIOD, Company

pytestmark = pytest.mark.server

#: The month without what a close does itself.
BEFORE_CLOSE = [(name, step) for name, step in MONTH if name != "recognise"]


def says(*answers: tuple[str, str, str]) -> Callable[[stages.Question, int], Answer | None]:
    """People who answer in this order: verdict, who, reason; then nobody is there any more."""
    left = [Answer(Verdict(verdict), who, reason, "test") for verdict, who, reason in answers]
    return lambda _question, _number: left.pop(0) if left else None


def run_close(hub: Hub, *answers: tuple[str, str, str]) -> str:
    return Closing(hub, PERIOD, "olga", says(*answers)).run().headline


ANNA = ("approve", "anna", "")


def policy(world: Company, **changes: object) -> None:
    """Another policy from now on."""
    settings = world.hub.settings
    world.hub.settings = settings.model_copy(update={"close": ClosePolicy.model_validate(changes)})


@pytest.fixture
def ready(world: Company) -> Company:
    """The company after its month, before anything of it was earned."""
    for _, step in BEFORE_CLOSE:
        step(world.hub)
    return world


def the_close(hub: Hub) -> Close:
    return stages.standing(hub, PERIOD)


def journals_at_erp(world: Company) -> list[str]:
    return sorted(one["externalId"] for one in world.objects()["netsuite", "journalEntry"])


def test_nothing_is_booked_or_sent_before_a_person_has_approved(ready: Company) -> None:
    before = journals_at_erp(ready)
    assert "waits for approval: 3 journals, $734.20" in run_close(ready.hub)
    with ready.hub.database.reading() as work:
        assert work.find(JournalEntry, event="recognition") == []
    assert journals_at_erp(ready) == before
    assert the_close(ready.hub).state is CloseState.PREVIEWED
    assert pack.verify(folder_of(ready.hub, the_close(ready.hub))) == []


def test_an_approved_close_is_posted_read_back_locked_and_certified(ready: Company) -> None:
    before = journals_at_erp(ready)
    assert "closed and certified: 3 journals, $734.20" in run_close(ready.hub, ANNA)
    assert sorted(set(journals_at_erp(ready)) - set(before)) == [
        f"JE-REV-{PERIOD}-{account}" for account in ("A-0001", "A-0002", "A-0003")
    ]
    assert ready.tie_out()[1] == []
    with ready.hub.database.reading() as work:
        assert work.periods.locked("main") == {PERIOD}
    assert pack.verify(folder_of(ready.hub, the_close(ready.hub))) == []


def test_a_closed_month_closed_again_changes_nothing(ready: Company) -> None:
    run_close(ready.hub, ANNA)
    objects, folder = ready.objects(), folder_of(ready.hub, the_close(ready.hub))
    manifest = pack.manifest_hash(folder)
    assert "closed and certified" in run_close(ready.hub)
    assert (ready.objects(), pack.manifest_hash(folder)) == (objects, manifest)


def test_a_refusal_posts_nothing_and_the_next_run_asks_anew(ready: Company) -> None:
    assert "refused by anna: wrong rate; nothing was posted" in run_close(ready.hub, ("refuse", "anna", "wrong rate"))
    assert the_close(ready.hub).state is CloseState.OPEN
    assert "waits for approval" in run_close(ready.hub)
    assert "certified" in run_close(ready.hub, ("approve", "ben", ""))


def test_a_refusal_without_a_reason_is_asked_for_again(ready: Company) -> None:
    heard: list[str] = []

    def ask(question: stages.Question, number: int) -> Answer | None:
        heard.append(question.complaint)
        return Answer(Verdict.REFUSE, "anna", "" if number == 0 else "too high", "test")

    Closing(ready.hub, PERIOD, "olga", ask).run()
    assert heard == ["", "a refusal needs a reason"]


def test_above_the_limit_two_different_people_approve(ready: Company) -> None:
    policy(ready, second_approval_above="700.00")
    assert "1 of 2 approvals given" in run_close(ready.hub, ANNA, ANNA)
    with ready.hub.database.reading() as work:
        assert [one.who for one in work.find(Decision)] == ["anna"]
    assert "certified" in run_close(ready.hub, ("approve", "ben", ""))


def test_who_approves_a_second_time_is_told_that_another_person_must(ready: Company) -> None:
    policy(ready, second_approval_above="700.00")
    heard: list[str] = []

    def ask(question: stages.Question, number: int) -> Answer | None:
        heard.append(question.complaint)
        return Answer(Verdict.APPROVE, "anna", "", "test") if number < 2 else None

    Closing(ready.hub, PERIOD, "olga", ask).run()
    assert heard == ["", "", "anna approved already; another person must approve as well"]


def test_a_close_that_was_killed_before_its_preview_pack_writes_it(ready: Company) -> None:
    """An approver always has the journals to open, those that are waited for."""
    close = stages.preview(ready.hub, stages.freeze(ready.hub, PERIOD, "olga"))
    assert "waits for approval" in run_close(ready.hub)
    assert pack.verify(folder_of(ready.hub, close)) == []


def test_only_those_who_are_appointed_approve(ready: Company) -> None:
    policy(ready, approvers=["ben"])
    run_close(ready.hub)
    with pytest.raises(Rejected, match="'anna' is no approver of closes"):
        stages.decide(ready.hub, the_close(ready.hub), Verdict.APPROVE, "anna", "", "test")


def test_an_approval_covers_only_the_journals_that_were_shown(ready: Company) -> None:
    """A fact that comes in between the preview and the posting is shown first."""
    run_close(ready.hub)
    stages.decide(ready.hub, the_close(ready.hub), Verdict.APPROVE, "anna", "", "test")
    recognise.recognise_through(ready.hub, PERIOD)
    assert stages.book(ready.hub, the_close(ready.hub)).state is CloseState.OPEN


def test_a_month_in_which_something_fell_due_is_open_again_and_not_locked(
    ready: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fact that comes in between the reading back and the lock is shown first."""
    quiet = ready.hub.world

    def stop(point: str, /) -> None:
        if point == "close.verified":
            raise KeyboardInterrupt

    ready.hub.world = replace(quiet, faults=stop)
    with pytest.raises(KeyboardInterrupt):
        run_close(ready.hub, ANNA)
    ready.hub.world = quiet
    with ready.hub.database.reading() as work:
        (late, *_) = work.find(JournalEntry, event="recognition")
    monkeypatch.setattr(stages, "_due", lambda *_: iter([late]))
    assert stages.lock(ready.hub, the_close(ready.hub)).state is CloseState.OPEN
    with ready.hub.database.reading() as work:
        assert work.find(PeriodLock) == []


def obstacles(world: Company) -> list[tuple[str, str]]:
    """What stands in the way: gate and record."""
    left = stages.check(world.hub, stages.freeze(world.hub, PERIOD, "olga")).left
    return [(one.gate.value, one.record) for one in left]


def month_without(world: Company, *left_out: str) -> None:
    for name, step in BEFORE_CLOSE:
        if name not in left_out:
            step(world.hub)


def test_a_complete_month_has_nothing_in_its_way(ready: Company) -> None:
    assert obstacles(ready) == []


def test_what_was_never_rated_stands_in_the_way(world: Company) -> None:
    month_without(world, "rate", "bill", "finalise", "collect", "settle")
    assert {("rated", "A-0001"), ("rated", "A-0002"), ("rated", "A-0003")} <= set(obstacles(world))


def test_a_draft_that_no_tax_engine_answered_stands_in_the_way(world: Company) -> None:
    month_without(world, "finalise", "collect", "settle")
    assert {("tax", "INV-2026-10-A-0001"), ("tax", "INV-2026-10-A-0002")} <= set(obstacles(world))


def test_tax_that_was_not_committed_stands_in_the_way(world: Company) -> None:
    steps = dict(BEFORE_CLOSE)
    for name in ("prepare", "intake", "ingest", "rate", "credits", "bill", "deliver", "finalise"):
        if name in steps:
            steps[name](world.hub)
    assert ("tax", "INV-2026-10-A-0001 at avalara") in obstacles(world)


def test_a_payment_that_no_settlement_covers_stands_in_the_way(world: Company) -> None:
    """The payment is booked in the month, and the gateway has booked nothing to our balance; also where it was booked
    before its day was kept."""
    month_without(world, "settle")
    with world.hub.database.work() as work:
        (payment, *_) = work.find(Payment)
        work.put(payment.model_copy(update={"booked_on": date(2026, 10, 30)}))
    assert ("settlements", payment.id) in obstacles(world)
    with world.hub.database.work() as work:
        came = {"received_at": datetime(2026, 10, 30, 12, tzinfo=UTC), "booked_on": None}
        work.put(payment.model_copy(update=came))
    assert ("settlements", payment.id) in obstacles(world)


def test_the_gates_of_an_entity_look_at_its_own_customers(world: Company) -> None:
    """What another entity has still to rate, or to deliver, holds up that one's close alone."""
    own = LegalEntity(id="second", name="Second", sells_to={"account": ["A-0002"]})
    world.hub.settings = world.hub.settings.model_copy(update={"entities": (own,)})
    month_without(world, "rate", "credits", "bill", "finalise", "collect", "settle")
    for entity, customers in (("second", ["A-0002"]), ("main", ["A-0001", "A-0003"])):
        close = stages.freeze(world.hub, PERIOD, "olga", entity)
        assert sorted(one.record for one in gates.usage_rated(world.hub, close)) == customers


def test_what_stands_on_the_desk_stands_in_the_way_above_the_threshold(ready: Company) -> None:
    entry = DeskEntry(
        id="record:test:1", system="netsuite", record="invoice", record_id="X-1", cause="Rejected", message="no entity",
        cure="name it", money=Money.of("40.00", "USD"), first_seen_at=ready.hub.now(), last_seen_at=ready.hub.now(),
    )  # fmt: skip
    with ready.hub.database.work() as work:
        work.desk.report(entry)
    assert obstacles(ready) == [("desk", "record:test:1")]
    policy(ready, desk_threshold="40.00")
    assert obstacles(ready) == []


def test_a_document_of_the_month_that_was_not_delivered_stands_in_the_way(world: Company) -> None:
    for _, step in BEFORE_CLOSE[:-1]:
        step(world.hub)
    assert {gate for gate, _ in obstacles(world)} >= {"outbox"}


@pytest.mark.parametrize(("day", "standing"), [(date(2026, 10, 31), ["outbox"]), (date(2026, 11, 1), [])])
def test_a_payment_that_was_not_delivered_stands_in_the_way_of_its_own_month(
    ready: Company, day: date, standing: list[str]
) -> None:
    """Payments come in all the time, also while the month before is closed."""
    with ready.hub.database.work() as work:
        payment = work.find(Payment)[0].model_copy(update={"booked_on": day})
        work.outbox.enqueue([OutboxCommand.of("netsuite", "payment", "payment", payment, ready.hub.now())])
    assert [gate for gate, _ in obstacles(ready)] == standing


def test_a_difference_between_two_systems_stands_in_the_way(ready: Company) -> None:
    with ready.changed("netsuite", "invoice", "INV-2026-10-A-0003", total=1.0):
        found = obstacles(ready)
    assert found
    assert {gate for gate, _ in found} == {"ties"}


def test_a_general_ledger_that_closed_the_month_stands_in_the_way(ready: Company) -> None:
    close_at_erp(ready, "2026-10")
    assert ("books", "netsuite 2026-10") in obstacles(ready)


def close_at_erp(world: Company, month: str) -> None:
    url = f"{world.running.urls['netsuite']}/_sandbox/periods/{month}"
    httpx.post(url, json={"closed": True}).raise_for_status()


def test_by_policy_a_closed_general_ledger_gets_the_journals_in_its_next_open_month(ready: Company) -> None:
    """The journals say which month they belong to."""
    close_at_erp(ready, "2026-10")
    policy(ready, erp_period_closed="next")
    assert "certified" in run_close(ready.hub, ANNA)
    with ready.hub.database.reading() as work:
        posted = {(one.posted_on, one.origin) for one in work.find(JournalEntry, event="recognition")}
    assert posted == {(date(2026, 11, 1), "2026-10")}


def test_an_override_lets_one_record_pass_and_is_printed_in_the_pack(ready: Company) -> None:
    close_at_erp(ready, "2026-09")
    with ready.changed("netsuite", "invoice", "INV-2026-10-A-0003", total=1.0):
        assert "stand" in run_close(ready.hub)
        for one in stages.check(ready.hub, the_close(ready.hub)).left:
            with pytest.raises(Rejected, match="an override needs a reason"):
                stages.override(ready.hub, the_close(ready.hub), one.gate, one.record, "olga", "")
            stages.override(ready.hub, the_close(ready.hub), one.gate, one.record, "olga", "their typing error")
        assert "certified" in run_close(ready.hub, ANNA)
    folder = folder_of(ready.hub, the_close(ready.hub))
    printed = list(pack.read_table(folder, "overrides.csv"))
    assert {(row["gate"], row["who"], row["reason"]) for row in printed} == {("ties", "olga", "their typing error")}
    assert pack.verify(folder) == []
    assert "their typing error" in (folder / "summary.html").read_text()


def test_what_differs_by_the_time_of_the_certificate_is_mended_or_let_pass(ready: Company) -> None:
    """A month that is locked is certified when every system says the same once more."""
    quiet = ready.hub.world

    def edited(point: str, /) -> None:
        if point == "close.locked":
            ready.set("netsuite", "invoice", "INV-2026-10-A-0003", memo="Edited")

    ready.hub.world = replace(quiet, faults=edited)
    told = run_close(ready.hub, ANNA)
    ready.hub.world = quiet
    assert told.startswith("locked and not certified: 1 record stands in the way")
    assert the_close(ready.hub).state is CloseState.CLOSED
    (left,) = stages.tied(ready.hub, the_close(ready.hub)).left
    with pytest.raises(Rejected, match="is passed while it is open"):
        stages.override(ready.hub, the_close(ready.hub), "desk", left.record, "olga", "known")
    stages.override(ready.hub, the_close(ready.hub), "ties", left.record, "olga", "a note by hand")
    assert run_close(ready.hub).startswith("closed and certified")
    assert pack.verify(folder_of(ready.hub, the_close(ready.hub))) == []


def test_what_the_general_ledger_shows_otherwise_is_told_line_by_line(ready: Company) -> None:
    """Somebody changes a journal between the posting and the reading back."""
    ident = f"JE-REV-{PERIOD}-A-0002"
    run_close(ready.hub)
    stages.decide(ready.hub, the_close(ready.hub), Verdict.APPROVE, "anna", "", "test")
    close = stages.book(ready.hub, the_close(ready.hub))
    assert stages.push(ready.hub, close) == []
    lines = ready.held("netsuite", "journalEntry", ident)["lineList"]["line"]
    wrong = [{**line, **{side: 400.0 for side in ("debit", "credit") if line.get(side)}} for line in lines]
    with ready.changed("netsuite", "journalEntry", ident, lineList={"line": wrong}):
        close, compared = stages.verify(ready.hub, close)
    assert close.state is CloseState.POSTED
    assert {(one.account, str(one.theirs)) for one in compared if one.wrong} == {
        ("2400", "400.00 USD"),
        ("4030", "-400.00 USD"),
    }
    assert "certified" in run_close(ready.hub)


def test_what_is_rated_and_not_billed_is_accrued_and_taken_back_on_the_next_day(world: Company) -> None:
    """A-0003 owes 72.00, less than its minimum, so nothing is issued; what it used is earned all the same."""
    world.month(until="intake")
    terms = BillingTerms(id="A-0003", currency="USD", minimum=Money.of("100.00", "USD"))
    set_terms(world.hub, terms)
    month_without(world)
    assert "certified: 4 journals" in run_close(world.hub, ANNA)
    with world.hub.database.reading() as work:
        accrued = {one.id: one for one in work.find(JournalEntry, account_id="A-0003")}
    entry, back = accrued[f"JE-UNB-{PERIOD}-A-0003"], accrued[f"JE-UNB-{PERIOD}-A-0003-R"]
    assert (entry.posted_on, back.posted_on) == (date(2026, 10, 31), date(2026, 11, 1))
    assert [str(line.amount) for line in entry.lines] == ["72.00 USD", "-72.00 USD"]
    assert back.reverses == entry.id


def test_long_journals_go_in_balanced_parts(ready: Company) -> None:
    policy(ready, most_lines=2)
    assert "certified: 4 journals, $734.20" in run_close(ready.hub, ANNA)
    assert [one for one in journals_at_erp(ready) if one.startswith("JE-REV-2026-10-A-0001")] == [
        "JE-REV-2026-10-A-0001.1",
        "JE-REV-2026-10-A-0001.2",
    ]
    assert ready.tie_out()[1] == []


def test_in_summary_one_journal_carries_all_and_each_entry_names_it(ready: Company) -> None:
    policy(ready, journals="summary")
    assert "certified: 1 journal, $734.20" in run_close(ready.hub, ANNA)
    carrier = "JE-main-2026-10-31-recognition-USD-1"
    assert [one for one in journals_at_erp(ready) if "recognition" in one] == [carrier]
    with ready.hub.database.reading() as work:
        assert {one.gl_journal for one in work.find(JournalEntry, event="recognition")} == {carrier}
    assert ready.tie_out()[1] == []
    assert pack.verify(folder_of(ready.hub, the_close(ready.hub))) == []


def test_the_database_refuses_a_journal_of_a_locked_month(ready: Company) -> None:
    run_close(ready.hub, ANNA)
    with ready.hub.database.reading() as work:
        (entry, *_) = work.find(JournalEntry, event="recognition")
    with pytest.raises(StoreFailed, match="is locked"), ready.hub.database.work() as work:
        work.add([entry.model_copy(update={"id": "JE-LATE"})])


def test_a_late_fact_is_booked_on_the_first_open_day_and_names_its_month(ready: Company) -> None:
    run_close(ready.hub, ANNA)
    with ready.hub.database.work() as work:
        (entry, *_) = work.find(JournalEntry, event="recognition")
        late = reversal(entry.model_copy(update={"via": Via.DOCUMENT}), date(2026, 10, 15))
        (booked,) = post(ready.hub, work, [late])
    assert (booked.posted_on, booked.origin) == (date(2026, 11, 1), "2026-10")


def test_a_reopened_month_is_closed_anew_with_what_came_in_meanwhile(ready: Company) -> None:
    run_close(ready.hub, ANNA)
    with pytest.raises(Rejected, match="needs a reason"):
        stages.reopen(ready.hub, the_close(ready.hub), "olga", " ")
    stages.reopen(ready.hub, the_close(ready.hub), "olga", "a late invoice")
    with ready.hub.database.reading() as work:
        assert work.periods.locked("main") == set()
        (lock,) = work.find(PeriodLock)
    assert (lock.reopened_by, lock.reason) == ("olga", "a late invoice")
    assert "certified: 0 journals" in run_close(ready.hub, ANNA)
    assert the_close(ready.hub).number == 2


def test_every_act_of_a_close_is_told_to_the_audit(ready: Company) -> None:
    run_close(ready.hub, ANNA)
    with ready.hub.database.reading() as work:
        told = [(row.act, row.who) for row in work.audit.rows(record_id=the_close(ready.hub).id)][::-1]
    assert told == [
        ("frozen", "olga"),
        ("previewed", "flow close"),
        ("approved", "anna"),
        ("booked", "flow close"),
        ("verified", "flow close"),
        ("locked", "flow close"),
        ("certified", "flow close"),
    ]


def test_an_invoice_that_is_drafted_after_the_lock_is_dated_in_the_first_open_month(world: Company) -> None:
    """An invoice of October that comes late is an invoice of November's books."""
    for name, step in BEFORE_CLOSE:
        step(world.hub)
        if name == "rate":
            break
    lock = PeriodLock(
        id="main/2026-10/1", entity="main", month=PERIOD, close_id="CLOSE-main-2026-10-1", locked_at=world.hub.now()
    )
    with world.hub.database.work() as work:
        work.add([lock])
    bill.draft_invoices(world.hub, PERIOD)
    with world.hub.database.reading() as work:
        assert {one.invoice_date for one in work.find(Invoice)} == {date(2026, 11, 1)}
