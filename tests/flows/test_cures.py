"""What a document of ours mends is mended: after the cure the month ties out, and the audit says who did it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from core.breaks import KINDS, Severity
from core.errors import Rejected
from core.plan import WRITES
from core.ties import Break
from flows import breaks, cures
from flows.tie_out import tie_out_period
from tests.flows.mischief import INVOICE, SEEDS, STACKS, Seed, copied, kept, stack
from tests.flows.world import PERIOD, Company

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("cures")]

CURED = [seed for seed in SEEDS if KINDS[seed.kind].repair in cures.REPAIRS and not seed.echo]


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Company]]:
    """The companies in which something is cured, each after its month; what a test does to one is undone."""
    with ExitStack() as running:
        names = {seed.stack for seed in CURED}
        yield {
            name: running.enter_context(stack(name, tmp_path_factory.mktemp(name))) for name in STACKS if name in names
        }


def only_break(world: Company, only: str | None = None) -> Break:
    _, (found,) = tie_out_period(world.hub, PERIOD, only)
    return found


@pytest.mark.parametrize("seed", CURED, ids=[seed.kind for seed in CURED])
def test_a_cure_mends_its_break(stacks: dict[str, Company], seed: Seed) -> None:
    """What the rehearsal shows is what is written, it is told to the audit, and the next tie-out is clean."""
    world = stacks[seed.stack]
    with world.undone():
        seed.act(world)
        found = only_break(world, seed.only)
        shown = cures.rehearse(world.hub, found, "ann")
        assert all(step.verb in WRITES for step in shown.steps)
        report = cures.cure(world.hub, found, "ann")
        assert report.failures == []
        assert [row["record"] for row in report.rows] == [f"{step.record} {step.record_id}" for step in shown.steps]
        assert {row["done"] for row in report.rows} == {"done"}
        lines, left = tie_out_period(world.hub, PERIOD, seed.only)
        assert left == []
        assert [line.tie for line in lines if not line.closes] == []
        with world.hub.database.reading() as work:
            assert [(row.act, row.who) for row in work.audit.rows(record="break", limit=1)] == [("cured", "ann")]


def test_a_rehearsal_changes_nothing(stacks: dict[str, Company]) -> None:
    world = stacks["company"]
    with world.undone():
        kept("netsuite", "invoice", INVOICE, memo="Call before sending")(world)
        found = only_break(world)
        with world.hub.database.reading() as work:
            before = work.outbox.counts(), work.audit.tip()
        cures.rehearse(world.hub, found, "ann")
        with world.hub.database.reading() as work:
            assert (work.outbox.counts(), work.audit.tip()) == before


def test_what_no_document_of_ours_mends_is_refused_with_what_a_person_does(stacks: dict[str, Company]) -> None:
    world = stacks["company"]
    with world.undone():
        copied("netsuite", "invoice", INVOICE, "90001", internalId="90001")(world)
        with pytest.raises(Rejected, match="Delete the copy in the ERP"):
            cures.cure(world.hub, only_break(world), "ann")


def test_a_changed_text_is_adopted_with_a_reason_and_is_compared_with_from_then_on(stacks: dict[str, Company]) -> None:
    world = stacks["company"]
    with world.undone():
        kept("netsuite", "invoice", INVOICE, memo="PO 4711")(world)
        with pytest.raises(ValueError, match="say why"):
            breaks.adopt(world.hub, only_break(world), "ann", " ")
        breaks.adopt(world.hub, only_break(world), "ann", "The customer gave us the number late")
        assert tie_out_period(world.hub, PERIOD)[1] == []
        with world.hub.database.reading() as work:
            (row,) = work.audit.rows(record="break", limit=1)
            assert (row.act, row.who, "gave us the number late" in row.detail) == ("adopted", "ann", True)
        kept("netsuite", "invoice", INVOICE, memo="PO 4712")(world)
        assert only_break(world).detail == "the text: PO 4711 here, PO 4712 there"


def test_an_amount_is_never_adopted(stacks: dict[str, Company]) -> None:
    world = stacks["company"]
    with world.undone():
        kept("netsuite", "invoice", INVOICE, total="73.00")(world)
        found = only_break(world)
        assert found.severity == Severity.MONEY
        with pytest.raises(Rejected, match="only text and day"):
            breaks.adopt(world.hub, found, "ann", "It is right there")
