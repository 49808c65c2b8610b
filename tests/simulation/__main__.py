"""``uv run python -m tests.simulation --seeds A:B [--plant NAME | --plants]``: see docs/reliability.md."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence

from tests.postgres import NoPostgres
from tests.simulation import processes
from tests.simulation.campaign import Tally, campaign, find
from tests.simulation.plants import PLANTS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", default="0:100", help="first:end, the end is not run")
    parser.add_argument("--layer", type=int, default=1, choices=(1, 2))
    parser.add_argument("--postgres", action="store_true", help="layer 2 on PostgreSQL instead of SQLite files")
    parser.add_argument("--plant", choices=sorted(PLANTS), action="append", help="take this guard away")
    parser.add_argument(
        "--plants", action="store_true", help="take each guard away in turn and tell how soon it is missed"
    )
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first seed that fails")
    options = parser.parse_args()
    first, end = map(int, options.seeds.split(":"))
    seeds = range(first, end)
    if options.layer == 2:
        return _kills(seeds, options)
    if options.plants or options.plant:
        return _plants(seeds, options.plant or list(PLANTS))
    began = time.process_time()
    tally = campaign(seeds, stop_at_first=not options.keep_going)
    _show(tally, time.process_time() - began)
    return 1 if tally.failed or tally.missed else 0


def _plants(seeds: range, names: Sequence[str]) -> int:
    missed = 0
    for name in names:
        seed, violation, tried = find(seeds, PLANTS[name])
        missed += seed is None
        told = "NOT FOUND" if seed is None else f"seed {seed}: {violation}"
        print(f"{name:58} {PLANTS[name].world:6} {tried:4}  {told[:150]}", flush=True)
    print(f"{len(names) - missed} of {len(names)} planted bugs found within seeds {seeds.start} to {seeds.stop - 1}")
    return 1 if missed else 0


def _kills(seeds: range, options: argparse.Namespace) -> int:
    began = time.monotonic()
    try:
        deaths = processes.campaign(seeds, on_postgres=options.postgres, stop_at_first=not options.keep_going)
    except NoPostgres as reason:
        print(f"skipped: no PostgreSQL: {reason}")
        return 1
    kills = sum(deaths.kills.values())
    print(f"{deaths.seeds} months, {kills} kills, {kills / (time.monotonic() - began):.1f} kills a second")
    _table("killed at", deaths.kills)
    _table("reached", deaths.sometimes)
    for seed, violation in deaths.failed:
        print(f"FAILED seed {seed}: {violation}")
        again = f"--layer 2 --seeds {seed}:{seed + 1}" + (" --postgres" if options.postgres else "")
        print(f"  again: uv run python -m tests.simulation {again}")
    return 1 if deaths.failed else 0


def _show(tally: Tally, seconds: float) -> None:
    print(f"{tally.runs} runs, {tally.steps:,} steps, {tally.runs / seconds:.1f} runs a core-second")
    print(f"{tally.repeated} of them twice, with the same digest")
    _table("faults", tally.faults)
    _table("reached", tally.sometimes)
    for situation in tally.missed:
        print(f"NEVER REACHED: {situation}")
    for seed, violation in tally.failed:
        print(f"FAILED seed {seed}: {violation}\n  again: uv run python -m tests.simulation --seeds {seed}:{seed + 1}")


def _table(title: str, counts: Counter[str]) -> None:
    print(f"{title}:")
    for name, number in sorted(counts.items()):
        print(f"  {number:>9,}  {name}")


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    sys.exit(main())
