"""Whatever somebody changes behind our back is one Break of its own kind, and a clean month has none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from core.breaks import KINDS
from core.ties import Break, TieLine
from flows.tie_out import tie_out_period
from tests.flows.mischief import SEEDS, STACKS, Seed, paid_out, passed, stack
from tests.flows.world import PERIOD, Company

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("breaks")]


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Company]]:
    """Each company after its month. Tests share them: who changes something has it undone."""
    with ExitStack() as running:
        yield {name: running.enter_context(stack(name, tmp_path_factory.mktemp(name))) for name in STACKS}


def test_every_kind_is_brought_about_once() -> None:
    """The table of kinds holds nothing that cannot happen, and the seeds leave nothing out."""
    assert sorted(seed.kind for seed in SEEDS) == sorted(KINDS)


@pytest.mark.parametrize("name", STACKS)
def test_a_clean_month_has_no_break(stacks: dict[str, Company], name: str) -> None:
    lines, breaks = stacks[name].tie_out()
    assert breaks == []
    assert [line.tie for line in lines if line.difference or line.explained or line.why] == []
    with stacks[name].hub.database.reading() as work:
        assert work.find(Break, closed_at=None) == []


@pytest.mark.parametrize("seed", SEEDS, ids=[seed.kind for seed in SEEDS])
def test_what_somebody_did_is_one_break_of_its_kind(stacks: dict[str, Company], seed: Seed) -> None:
    """One cause, one Break, with what the table says of its kind; what follows from it in other ties is explained."""
    world = stacks[seed.stack]
    with world.undone():
        seed.act(world)
        lines, breaks = tie_out_period(world.hub, PERIOD, seed.only)
    assert [(one.kind, one.explained) for one in breaks] == [(seed.echo or seed.kind, None)], breaks
    (found,) = breaks
    kind = KINDS[found.kind]
    told = (found.severity, found.cure, found.repair, found.owner)
    assert told == (kind.severity.value, kind.cure, kind.repair.value, kind.owner)
    assert found.cause.startswith(kind.cause)
    assert {line.tie for line in lines if not line.closes} == {found.tie}
    assert {line.why for line in lines if line.tie != found.tie} <= {"", f"follows from {found.id}"}


def settled_line(world: Company) -> TieLine:
    lines, _ = tie_out_period(world.hub, PERIOD, "stripe")
    (line,) = [one for one in lines if one.tie == "settled net = paid out"]
    return line


def test_what_is_on_its_way_to_the_bank_is_told_until_it_is_late(stacks: dict[str, Company]) -> None:
    """Only where the gateway pays out at all, and only after its time."""
    world = stacks["company"]
    on_its_way = settled_line(world)
    assert (on_its_way.difference, on_its_way.right_name) == (0, f"stripe + {on_its_way.right:,} USD on its way")
    with world.undone():
        paid_out(lambda _: {})(world)
        assert (settled_line(world).difference, settled_line(world).right_name) == (0, "stripe")
    with world.undone():
        paid_out()(world)
        assert settled_line(world).closes
        passed(30)(world)
        _, (late,) = tie_out_period(world.hub, PERIOD, "stripe")
        assert (late.kind, str(late.left.amount), late.right.minor) == ("payout_missing", "69.61", 0)
