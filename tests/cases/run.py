"""Run worked rating cases through the core: ``uv run python tests/cases/run.py FILE_OR_FOLDER...``.

Prints a line per failing case with expected and got, a line per declined case with the reason, and ends with
``N passed, N failed, N declined``; the exit status is 1 when any failed. A kind the core does not know fails.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from core.rational import Fraction

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from core.errors import TieoutError
from core.exact import round_to
from core.rating.derivation import plain
from tests.cases.kinds import KINDS
from tests.cases.reading import Convention, convention

#: Conventions the core declines, by their name and value, with the reason given in docs/pricing.md.
DECLINED: Mapping[tuple[str, str], str] = {}

#: What a case raises that the core, or its translation, cannot answer: a failure of that case alone.
UNANSWERED = (
    TieoutError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    StopIteration,
    TypeError,
    ValueError,
)


def differences(case: Mapping[str, Any]) -> list[str]:
    """``key: expected X, got Y`` for each expected key the core answers otherwise."""
    kind = KINDS.get(case["kind"])
    if kind is None:
        return [f"the core does not know the kind {case['kind']}"]
    got = kind(case)
    rules = convention(case)
    return [
        f"{key}: expected {_shown(wanted)}, got {_shown(got.get(key, 'nothing'))}"
        for key, wanted in case["expected"].items()
        if not same(wanted, got.get(key), rules)
    ]


def same(wanted: Any, got: Any, rules: Convention) -> bool:
    """Whether the core's figure is the expected one: numbers by value, instants by moment, rows by their names."""
    if isinstance(wanted, dict):
        return isinstance(got, Mapping) and all(same(one, got.get(key), rules) for key, one in wanted.items())
    if isinstance(wanted, list):
        return isinstance(got, Sequence) and _same_rows(wanted, got, rules)
    if isinstance(wanted, bool) or got is None:
        return wanted == got
    if isinstance(got, (date, datetime)):
        return _date(wanted) == got
    figure = _figure(wanted)
    if figure is None or isinstance(got, str):
        return str(wanted) == str(got)
    value = Fraction(got)
    if rules.level == "stated":
        value = round_to(value, rules.places, rules.mode)
    return figure == value


def _same_rows(wanted: list[Any], got: Sequence[Any], rules: Convention) -> bool:
    """Lists in order; rows of a bill by charge and account, where the core may add rows of nothing."""
    if wanted and isinstance(wanted[0], dict) and "charge" in wanted[0]:
        rows = {(row["charge"], row["account"]): row for row in got}
        known = {(row["charge"], row["account"]) for row in wanted}
        extra = [row for key, row in rows.items() if key not in known and (row["quantity"] or row["amount"])]
        return not extra and all(same(row, rows.get((row["charge"], row["account"])), rules) for row in wanted)
    return len(wanted) == len(got) and all(same(one, other, rules) for one, other in zip(wanted, got, strict=True))


def _figure(text: Any) -> Fraction | None:
    try:
        return Fraction(Decimal(text))
    except (InvalidOperation, TypeError, ValueError):
        return None


def _date(text: str) -> date | datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if "T" in text else date.fromisoformat(text)


def _shown(value: Any) -> str:
    if isinstance(value, Fraction):
        return plain(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_shown(one)}" for key, one in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_shown(one) for one in value) + "]"
    return str(value)


def cases(paths: Sequence[Path]) -> Iterator[Mapping[str, Any]]:
    for path in paths:
        for file in sorted(path.rglob("*.json")) if path.is_dir() else [path]:
            yield from json.loads(file.read_text(encoding="utf-8"))["cases"]


def run(paths: Sequence[Path]) -> tuple[int, list[str], list[str]]:
    """How many passed, and a line for each that failed and each that was declined."""
    passed, failed, declined = 0, [], []
    for case in cases(paths):
        reasons = [why for (key, value), why in DECLINED.items() if case.get("convention", {}).get(key) == value]
        if reasons:
            declined.append(f"{case['id']}: declined: {reasons[0]}")
            continue
        try:
            found = differences(case)
        except UNANSWERED as error:
            found = [f"{type(error).__name__}: {error}"]
        if found:
            failed.append(f"{case['id']}: {'; '.join(found)}")
        else:
            passed += 1
    return passed, failed, declined


def main(arguments: Sequence[str]) -> int:
    passed, failed, declined = run([Path(one) for one in arguments])
    for line in (*failed, *declined):
        print(line)
    print(f"{passed} passed, {len(failed)} failed, {len(declined)} declined")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
