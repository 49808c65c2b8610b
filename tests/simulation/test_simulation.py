"""The whole hub against its vendors on one virtual clock: what the seeds of every run of the suite must show."""

from __future__ import annotations

import pytest

from tests import postgres
from tests.simulation.campaign import campaign, find, once, repeatable, same_on
from tests.simulation.plants import PLANTS, planted

#: Seeds of every run of the suite: about a minute and a half on two cores that do nothing else.
SEEDS, PARTS = 960, 8
#: Planted bugs that a few seeds find; `python -m tests.simulation --plants` looks for all of them.
SOON_FOUND = (
    "an unknown outcome is sent again without a look-up",
    "the same intent is stored again",
    "done is kept without its proof",
    "a webhook is acknowledged without being stored",
    "the tie-out compares ours with ours",
)


@pytest.mark.parametrize("part", range(PARTS))
def test_no_seed_breaks_a_promise(part: int) -> None:
    """Whatever fails, crashes and interleaves, every invariant holds after each step and once all has come to rest."""
    tally = campaign(range(part, SEEDS, PARTS))
    assert not tally.failed


def test_a_seed_replays_identically() -> None:
    """A seed is its own reproducer: the same steps, the same rows, the same objects at the vendors."""
    repeatable(7, once(7))


@pytest.mark.parametrize("seed", [*range(6), 14, 16, 26, 30, 46, 109, 174, 532])
def test_a_seed_comes_to_the_same_on_postgresql(
    seed: int, postgres_databases: postgres.Databases, postgres_template: str
) -> None:
    """The same steps lead to the same objects at every vendor, whichever database keeps the hub's state."""
    same_on(postgres_databases.create(postgres_template), seed)


@pytest.mark.parametrize("name", SOON_FOUND)
def test_a_guard_that_is_taken_away_is_missed(name: str) -> None:
    """The tests are tested: a planted bug is found."""
    seed, _, _ = find(range(200), PLANTS[name])
    assert seed is not None


def test_every_planted_bug_still_fits_the_code() -> None:
    """A plant names words of the product; when they go, the plant says so."""
    for plant in PLANTS.values():
        with plant():
            pass
    with pytest.raises(LookupError), planted(("flows.deliver:Delivery._prepare", "words that are not there", "")):
        pass
