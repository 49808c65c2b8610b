"""Journals that a general ledger takes: no longer than its limit, each balanced, the same ones every time.

A journal that is too long is cut along its pairs of debit and credit, so that no part needs a line of its own to
balance: the debits and credits, in their order, are matched amount by amount, and a line that straddles a cut is
divided. Every account keeps its amount to the minor unit.
"""

from __future__ import annotations

from collections.abc import Iterator

from core.ledger import JournalEntry
from core.money import Money

#: The least number of lines that a balanced journal has.
LEAST = 2


def split(entry: JournalEntry, most: int) -> tuple[JournalEntry, ...]:
    """The entry in balanced parts of at most ``most`` lines (>= 2), numbered ``<id>.1``, ``<id>.2``, ...

    An entry that fits is left as it is.
    """
    if most < LEAST:
        raise ValueError(f"a balanced journal has at least {LEAST} lines, not {most}")
    if len(entry.lines) <= most:
        return (entry,)
    parts: list[dict[int, int]] = [{}]
    for pair in _matched(entry):
        part = parts[-1]
        if len(part.keys() | {position for position, _ in pair}) > most:
            parts.append(part := {})
        for position, minor in pair:
            part[position] = part.get(position, 0) + minor
    return tuple(_part(entry, f"{entry.id}.{number}", part) for number, part in enumerate(parts, 1))


def _matched(entry: JournalEntry) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Amounts by index of line: what one debit and one credit have in common, until both sides are used up."""
    debits = iter([(index, line.debit.minor) for index, line in enumerate(entry.lines) if line.debit])
    credits = iter([(index, line.credit.minor) for index, line in enumerate(entry.lines) if line.credit])
    debit = credit = (-1, 0)
    while True:
        debit = debit if debit[1] else next(debits, (-1, 0))
        credit = credit if credit[1] else next(credits, (-1, 0))
        common = min(debit[1], credit[1])
        if not common:
            return
        yield (debit[0], common), (credit[0], common)
        debit, credit = (debit[0], debit[1] - common), (credit[0], credit[1] - common)


def _part(entry: JournalEntry, ident: str, minors: dict[int, int]) -> JournalEntry:
    lines = []
    for position, index in enumerate(sorted(minors), 1):
        line, amount = entry.lines[index], Money(minors[index], entry.currency)
        side = {"debit": amount} if line.debit else {"credit": amount}
        lines.append(line.model_copy(update={"id": f"{ident}-{position}", "position": position, **side}))
    return JournalEntry.model_validate({**dict(entry), "id": ident, "lines": tuple(lines)})
