"""Many seeds, and what they met."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.simulation.invariants import Watch, at_rest
from tests.simulation.run import Run, Violation, simulate

#: One seed in so many is run twice and must end in the same digest.
TWICE = 100
#: Garbage is collected once in so many seeds: what a run leaves is small, and its cycles are many.
COLLECTED = 20


@dataclass
class Tally:
    """What a campaign met: counts by kind of fault and of rare state, and the seeds that broke a promise."""

    runs: int = 0
    steps: int = 0
    repeated: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    sometimes: Counter[str] = field(default_factory=Counter)
    failed: list[tuple[int, str]] = field(default_factory=list)


def once(seed: int) -> Run:
    """One run under watch. Raises Violation."""
    return simulate(seed, Watch(), at_rest)


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


def find(seeds: Iterable[int]) -> tuple[int | None, str]:
    """The first seed that breaks a promise, and which; None when none does. An unforeseen error counts: it is seen."""
    for seed in seeds:
        try:
            once(seed)
        except Violation as violation:
            return seed, str(violation)
        except Exception as error:  # noqa: BLE001 a planted bug may break anything
            return seed, repr(error)
    return None, ""
