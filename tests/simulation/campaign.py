"""Many seeds, and what they met."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.simulation import processes
from tests.simulation.fibers import Violation
from tests.simulation.invariants import Watch, at_rest
from tests.simulation.plants import Plant
from tests.simulation.run import Run, simulate, worlds_of

#: One seed in so many is run twice and must end in the same digest.
TWICE = 100
#: Garbage is collected once in so many seeds: what a run leaves is small, and its cycles are many.
COLLECTED = 20


#: Situations that a campaign must have been in, else it proves little; asked of campaigns of so many seeds or more.
ENOUGH = 5000
SITUATIONS = (
    "in doubt, then found",
    "in doubt, then not there",
    "in doubt, looked up, sent again",
    "a lease was taken over",
    "a worker woke after its lease",
    "a worker came back without its lease",
    "a closed month refused a booking",
    "a parked command was woken",
    "a version was superseded",
    "a webhook that was known came again",
    "a forged webhook was refused",
    "an older event was recognised",
    "our own write came back from the CRM",
    "polling found what no webhook told",
    "a job gave up for now",
    "command rejected",
    "a contract was amended",
    "a part of an invoice was credited",
    "a part of a payment was given back",
    "a dispute became won",
    "a dispute became lost",
    "approved journals were booked",
    "a person refuses",
    "a month was locked",
    "a month was opened again",
    "everything ties out",
    "tie-out found what was taken away",
    *(f"crashed at {point}" for point in (*processes.DELIVERING, *processes.RECEIVING)),
)


@dataclass
class Tally:
    """What a campaign met: counts by kind of fault and of rare state, and the seeds that broke a promise."""

    runs: int = 0
    steps: int = 0
    repeated: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    sometimes: Counter[str] = field(default_factory=Counter)
    failed: list[tuple[int, str]] = field(default_factory=list)

    @property
    def missed(self) -> list[str]:
        """Situations that enough seeds should have met and have not."""
        return [one for one in SITUATIONS if not self.sometimes[one]] if self.runs >= ENOUGH else []


def once(seed: int, database_url: str = "") -> Run:
    """One run under watch, on SQLite or on the database of that address. Raises Violation."""
    return simulate(seed, Watch(), at_rest, database_url)


def same_on(database_url: str, seed: int) -> None:
    """Violation when a seed does not take the same steps to the same objects at the vendors on another database."""
    ours, theirs = once(seed), once(seed, database_url)
    for step, (was, now) in enumerate(zip(ours.trace[:-1], theirs.trace[:-1], strict=False)):
        if was != now:
            raise Violation("a seed is the same on each database", f"step {step} was {was!r} and is {now!r}")
    here, there = ours.vendors.snapshot(), theirs.vendors.snapshot()
    if differ := sorted(key for key in {*here, *there} if here.get(key) != there.get(key)):
        raise Violation("a seed comes to the same on each database", str(differ))


def campaign(seeds: Iterable[int], *, stop_at_first: bool = True) -> Tally:
    tally = Tally()
    gc.disable()
    for number, seed in enumerate(seeds):
        if number % COLLECTED == 1:
            gc.collect()
            gc.freeze()
        try:
            run = once(seed)
            if seed % TWICE == 0:
                repeatable(seed, run)
                tally.repeated += 1
        except Violation as violation:
            tally.failed.append((seed, str(violation)))
            if stop_at_first:
                break
            continue
        tally.runs += 1
        tally.steps += len(run.trace)
        tally.faults += run.faults
        tally.sometimes += run.sometimes
    gc.enable()
    return tally


def repeatable(seed: int, run: Run) -> None:
    """Violation when the seed does not do the same again."""
    again = once(seed)
    for step, (was, now) in enumerate(zip(run.trace, again.trace, strict=False)):
        if was != now:
            raise Violation("a seed replays identically", f"step {step} was {was!r} and is {now!r}")


def find(seeds: Iterable[int], plant: Plant) -> tuple[int | None, str, int]:
    """The first seed that shows a planted bug, what it breaks, and how many worlds that could show it were tried.

    None when no seed does. An unforeseen error counts: it is seen.
    """
    tried = 0
    with plant():
        for seed in seeds:
            if plant.world == "killed":
                lived = processes.campaign([seed])
                tried, failed = tried + 1, lived.failed
            elif plant.world not in worlds_of(seed):
                continue
            else:
                tried, failed = tried + 1, broken(seed)
            if failed:
                return seed, failed[0][1], tried
    return None, "", tried


def broken(seed: int) -> list[tuple[int, str]]:
    """What a seed breaks, if anything."""
    try:
        once(seed)
    except Violation as violation:
        return [(seed, str(violation))]
    except Exception as error:  # noqa: BLE001 a planted bug may break anything
        return [(seed, repr(error))]
    return []
