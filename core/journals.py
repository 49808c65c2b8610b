"""Journals that a general ledger takes: no longer than its limit, each balanced, the same ones every time.

In detail a journal that is too long is cut along its pairs of debit and credit, so that no part needs a line of its own
to balance: the debits and credits, in their order, are matched amount by amount, and a line that straddles a cut is
divided. Every account keeps its amount to the minor unit. In summary many entries are carried by one journal, which has
one line per account, side and dimensions; each entry names it, so that every cent can still be walked back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date

from core.errors import Rejected
from core.ledger import JournalEntry, JournalLine
from core.money import Money
from core.subledgers import Booked

#: The least number of lines that a balanced journal has.
LEAST = 2


def split(entry: JournalEntry, most: int) -> tuple[JournalEntry, ...]:
    """The entry in balanced parts of at most ``most`` lines (>= 2), numbered ``<id>.1``, ``<id>.2``, ...

    An entry that fits is left as it is. Rejected when it is also valued in another currency: its parts would not
    balance there to the minor unit.
    """
    if most < LEAST:
        raise ValueError(f"a balanced journal has at least {LEAST} lines, not {most}")
    if len(entry.lines) <= most:
        return (entry,)
    if any(line.functional is not None for line in entry.lines):
        raise Rejected(
            f"{entry.id} has {len(entry.lines)} lines in {entry.currency}, and a journal takes {most}; "
            'sum the journals: close.journals = "summary" in tieout.toml',
            record=entry.id,
            field="lines",
        )
    parts: list[dict[int, int]] = [{}]
    for pair in _matched(entry):
        part = parts[-1]
        if len(part.keys() | {index for index, _ in pair}) > most:
            parts.append(part := {})
        for index, minor in pair:
            part[index] = part.get(index, 0) + minor
    return tuple(_part(entry, f"{entry.id}.{number}", part) for number, part in enumerate(parts, 1))


def _matched(entry: JournalEntry) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Minor units by index of line: what one debit and one credit have in common, until both sides are used up."""
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


def _part(entry: JournalEntry, ident: str, minors: Mapping[int, int]) -> JournalEntry:
    lines = []
    for position, index in enumerate(sorted(minors), 1):
        line, amount = entry.lines[index], Money(minors[index], entry.currency)
        side = {"debit": amount} if line.debit else {"credit": amount}
        lines.append(line.model_copy(update={"id": f"{ident}-{position}", "position": position, **side}))
    return JournalEntry.model_validate({**dict(entry), "id": ident, "lines": tuple(lines)})


#: What makes lines one line of a summary: account, side, dimensions.
Place = tuple[str, bool, tuple[tuple[str, str], ...]]


def _place(line: JournalLine) -> Place:
    dimensions = tuple((one.name, one.value) for one in line.dimensions)
    return line.ledger_account, line.debit is None, dimensions


def carried(
    entries: Sequence[JournalEntry], most: int, name: Callable[[str, date, str], Iterator[str]]
) -> list[JournalEntry]:
    """The entries, each with the journal that carries it: those of one event, day and currency together, as long as it
    has at most ``most`` lines.

    ``name(event, day, currency)`` gives ids for such journals, in order. Rejected when one entry alone is too long.
    """
    groups: dict[tuple[str, date, str], list[JournalEntry]] = defaultdict(list)
    for entry in sorted(entries, key=lambda entry: entry.id):
        groups[entry.event, entry.posted_on, entry.currency].append(entry)
    found = []
    for group, members in groups.items():
        names = name(*group)
        ident, places = next(names), set[Place]()
        for entry in members:
            own = {_place(line) for line in entry.lines}
            if len(own) > most:
                raise Rejected(
                    f"{entry.id} moves {len(own)} accounts, and a journal takes {most} lines", record=entry.id
                )
            if len(places | own) > most:
                ident, places = next(names), set()
            places |= own
            found.append(entry.model_copy(update={"gl_journal": ident}))
    return found


def as_booked(entries: Iterable[JournalEntry]) -> list[Booked]:
    """What these entries would move, in the form in which the database sums what was booked."""
    return [
        Booked(
            entry.entity,
            f"{entry.posted_on:%Y-%m}",
            line.ledger_account,
            entry.event,
            line.detail,
            line.debit or Money.zero(entry.currency),
            line.credit or Money.zero(entry.currency),
            max(line.functional_amount.minor, 0),
            max(-line.functional_amount.minor, 0),
        )
        for entry in entries
        for line in entry.lines
    ]


def for_general_ledger(entries: Iterable[JournalEntry]) -> list[JournalEntry]:
    """The journals as the general ledger gets them: an entry by itself, or the sum of those that one carries."""
    alone: list[JournalEntry] = []
    together: dict[str, list[JournalEntry]] = defaultdict(list)
    for entry in entries:
        if entry.gl_journal is None:
            alone.append(entry)
        else:
            together[entry.gl_journal].append(entry)
    return [*alone, *(_summed(ident, members) for ident, members in together.items())]


def _summed(ident: str, entries: Sequence[JournalEntry]) -> JournalEntry:
    sums: dict[Place, tuple[Money, Money | None]] = {}
    for line in (line for entry in entries for line in entry.lines):
        amount, own = line.debit or line.credit, line.functional
        assert amount is not None
        if held := sums.get(_place(line)):
            amount, own = amount + held[0], own + held[1] if own and held[1] else own or held[1]
        sums[_place(line)] = amount, own
    first = entries[0]
    lines = [
        JournalLine(
            id=f"{ident}-{position}",
            position=position,
            ledger_account=account,
            debit=None if on_credit else amount,
            credit=amount if on_credit else None,
            memo=first.event.capitalize(),
            source="gl_journal",
            source_id=ident,
            segments=dict(dimensions),
            functional=own,
        )
        for position, ((account, on_credit, dimensions), (amount, own)) in enumerate(sorted(sums.items()), 1)
    ]
    changes = {"id": ident, "account_id": None, "reverses": None, "gl_journal": None, "lines": tuple(lines)}
    memo = f"{first.event.capitalize()}, {len(entries)} journals"
    return JournalEntry.model_validate({**dict(first), **changes, "memo": memo})
