"""Two runs of one close side by side, and people who answer while the journals change: nothing is booked unseen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

import pytest

from core import pack
from core.close import CloseState, Verdict
from core.errors import Rejected, Unavailable
from core.ledger import JournalEntry
from core.store import Database, Work
from flows import close as stages
from flows import recognise
from flows.close_books import Answer, Closing
from flows.pack import folder_of
from tests.flows.test_close import ANNA, BEFORE_CLOSE, policy, run_close, the_close
from tests.flows.world import PERIOD, Company

pytestmark = pytest.mark.server


@pytest.fixture
def ready(world: Company) -> Company:
    """The company after its month; the journals of its close wait for approval."""
    for _, step in BEFORE_CLOSE:
        step(world.hub)
    run_close(world.hub)
    return world


def approve(world: Company, who: str = "anna") -> None:
    stages.decide(world.hub, the_close(world.hub), Verdict.APPROVE, who, "", "test")


def earned(world: Company) -> list[JournalEntry]:
    with world.hub.database.reading() as work:
        return work.find(JournalEntry, event="recognition")


def other_journals(world: Company) -> None:
    """A fact comes in, and another run works the journals out again."""
    recognise.recognise_through(world.hub, PERIOD)
    opened = stages.book(world.hub, the_close(world.hub))
    stages.preview(world.hub, opened)


def test_an_answer_to_journals_that_were_worked_out_again_is_not_taken(ready: Company) -> None:
    """Whoever read the first set has not seen the second."""
    shown = the_close(ready.hub)
    approve(ready)
    other_journals(ready)
    with pytest.raises(Rejected, match="other journals") as refused:
        stages.decide(ready.hub, shown, Verdict.APPROVE, "ben", "", "test")
    assert refused.value.value == shown.digest
    assert not stages.question(ready.hub, the_close(ready.hub)).approvals


def test_a_run_does_not_book_what_another_run_worked_out_meanwhile(ready: Company) -> None:
    """The run that saw an approval books only the set that was approved."""
    seen = the_close(ready.hub)
    approve(ready)
    other_journals(ready)
    found = stages.book(ready.hub, seen)
    assert (found.state, found.digest == seen.digest) == (CloseState.PREVIEWED, False)


def test_a_refusal_counts_though_a_run_has_seen_the_approval(ready: Company) -> None:
    seen = the_close(ready.hub)
    approve(ready)
    stages.decide(ready.hub, seen, Verdict.REFUSE, "ben", "look again", "test")
    again = stages.preview(ready.hub, the_close(ready.hub))
    assert again == seen
    assert stages.book(ready.hub, seen).state is CloseState.PREVIEWED
    assert earned(ready) == []


def test_a_person_whom_another_run_overtook_is_not_asked_again(ready: Company) -> None:
    """While anna thinks, another run books on ben's approval: hers goes on from there, and closes the month."""
    asked = []

    def anna(question: stages.Question, _number: int) -> Answer:
        asked.append(question)
        run_close(ready.hub, ("approve", "ben", ""))
        return Answer(Verdict.APPROVE, "anna", "", "test")

    report = Closing(ready.hub, PERIOD, "olga", anna).run()
    assert len(asked) == 1
    assert "closed" in report.counts
    assert [one.id for one in earned(ready)] == [f"JE-REV-{PERIOD}-A-000{number}" for number in (1, 2, 3)]


@pytest.mark.parametrize("stage", ["preview", "verify", "lock"])
def test_a_stage_that_another_run_has_done_is_left_alone(ready: Company, stage: str) -> None:
    before = {"preview": CloseState.OPEN, "verify": CloseState.POSTED, "lock": CloseState.VERIFIED}[stage]
    known = the_close(ready.hub).model_copy(update={"state": before})
    run_close(ready.hub, ANNA)
    found: Any = getattr(stages, stage)(ready.hub, known)
    closed = found[0] if stage == "verify" else found
    assert closed == the_close(ready.hub)
    assert closed.state is CloseState.CLOSED


def test_no_unit_of_work_waits_for_the_general_ledger(ready: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a day is open is asked before the database is held: a call may take long, and takes calls off a budget
    that lies in the same database."""
    working = []
    plain = Database.work

    @contextmanager
    def watched(database: Database) -> Iterator[Work]:
        with plain(database) as work:
            working.append(work)
            try:
                yield work
            finally:
                working.pop()

    books: Any = ready.hub.connector("netsuite")
    asked = []

    def takes_postings(day: date) -> bool:
        asked.append((day, len(working)))
        return day >= date(2026, 11, 1)

    policy(ready, erp_period_closed="next")
    monkeypatch.setattr(Database, "work", watched)
    monkeypatch.setattr(type(books), "takes_postings", lambda _books, day: takes_postings(day))
    stages.decide(ready.hub, the_close(ready.hub), Verdict.REFUSE, "anna", "another policy", "test")
    assert "closed and certified" in run_close(ready.hub, ANNA)
    assert {(one.posted_on, one.origin) for one in earned(ready)} == {(date(2026, 11, 1), PERIOD)}
    assert {number for _, number in asked} == {0}


def test_a_pack_is_written_by_one_run_at_a_time(ready: Company) -> None:
    """The second says so; what the first writes is whole."""
    close = the_close(ready.hub)
    faults: list[str] = []

    def meanwhile(point: str, /) -> None:
        if point == "close.packed" and not faults:
            faults.append(point)
            with pytest.raises(Unavailable, match="another run writes the pack"):
                Closing(ready.hub, PERIOD, "olga").run()

    (folder_of(ready.hub, close) / "close.json").unlink()
    object.__setattr__(ready.hub.world, "faults", meanwhile)
    run_close(ready.hub)
    assert faults
    assert pack.verify(folder_of(ready.hub, close)) == []
