"""Journals that a general ledger takes: no longer than its limit, each balanced, the same ones every time.

In detail a journal that is too long is cut along its pairs of debit and credit, so that no part needs a line of its own
to balance: the debits and credits, in their order, are matched amount by amount, and a line that straddles a cut is
divided. Every account keeps its amount to the minor unit. In summary many entries are carried by one journal, which has
one line per account, side and dimensions; each entry names it, so that every cent can still be walked back.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date

from core.errors import Rejected
from core.ledger import JournalEntry, JournalLine
from core.money import Money
from core.subledgers import Booked

#: The least number of lines that a balanced journal has.
LEAST = 2


def split(entry: JournalEntry, most: int) -> tuple[JournalEntry, ...]:
    """The entry in balanced parts of at most ``most`` lines (>= 2), numbered ``<id>.1``, ``<id>.2``, ...

    An entry that fits is left as it is. One that is also valued in another currency balances there too, part by part;
    Rejected when that cannot be (``most`` below 4, or amounts too small to be divided).
    """
    if most < LEAST:
        raise ValueError(f"a balanced journal has at least {LEAST} lines, not {most}")
    if len(entry.lines) <= most:
        return (entry,)
    parts: list[dict[int, Piece]] = [{}]
    for pair in _matched(entry):
        if len(parts[-1].keys() | pair.keys()) > most:
            parts.append(_held_back(entry, parts[-1], most))
        for index, piece in pair.items():
            parts[-1][index] = parts[-1].get(index, Piece()) + piece
    return tuple(_part(entry, f"{entry.id}.{number}", part) for number, part in enumerate(parts, 1))


@dataclass(frozen=True, slots=True)
class Piece:
    """Some of a line: minor units of its currency, and of that of the books (zero where they are the same)."""

    minor: int = 0
    own: int = 0

    def __add__(self, more: Piece) -> Piece:
        return Piece(self.minor + more.minor, self.own + more.own)

    def __sub__(self, less: Piece) -> Piece:
        return Piece(self.minor - less.minor, self.own - less.own)


def _matched(entry: JournalEntry) -> Iterator[dict[int, Piece]]:
    """By index of line, what one debit and one credit have in common, until both sides are used up.

    A line that is used up takes all of its worth in the books with it, and the other one as much, if it has that.
    """
    whole = [
        (index, Piece(abs(line.amount.minor), 0 if line.functional is None else line.functional.minor))
        for index, line in enumerate(entry.lines)
    ]
    debits, credits = (deque(one for one in whole if bool(entry.lines[one[0]].debit) is side) for side in (True, False))
    while debits and credits:
        (debit, left), (credit, right) = debits[0], credits[0]
        common = min(left.minor, right.minor)
        own = {debit: min(left.own, right.own), credit: min(left.own, right.own)}
        own |= {index: one.own for index, one in (debits[0], credits[0]) if one.minor == common}
        pair = {index: Piece(common, own[index]) for index in (debit, credit)}
        yield pair
        for side in (debits, credits):
            index, held = side.popleft()
            if rest := (held - pair[index]).minor:
                side.appendleft((index, Piece(rest, held.own - pair[index].own)))


def _held_back(entry: JournalEntry, part: dict[int, Piece], most: int) -> dict[int, Piece]:
    """What a part leaves to the next one so that it balances in the currency of the books: one minor unit of a debit
    and one of a credit, which differ in worth by what it is out of balance."""

    def sides(debits: bool) -> list[int]:
        return [index for index in part if bool(entry.lines[index].debit) is debits]

    over = sum(part[index].own for index in sides(True)) - sum(part[index].own for index in sides(False))
    if not over:
        return {}
    held: dict[int, Piece] = {}
    for debits, own in ((True, max(over, 0)), (False, max(-over, 0))):
        index = max(sides(debits), key=lambda index: (part[index].minor, index))
        if part[index].minor < LEAST or part[index].own < own or most < 2 * LEAST:
            raise Rejected(
                f"{entry.id} has {len(entry.lines)} lines in {entry.currency}, and no parts of {most} lines balance in "
                'the currency of the books too; sum the journals: close.journals = "summary" in tieout.toml',
                record=entry.id,
                field="lines",
            )
        held[index] = Piece(1, own)
        part[index] -= held[index]
    return held


def _part(entry: JournalEntry, ident: str, pieces: Mapping[int, Piece]) -> JournalEntry:
    lines = []
    for position, index in enumerate(sorted(pieces), 1):
        line, amount = entry.lines[index], Money(pieces[index].minor, entry.currency)
        worth = line.functional
        lines.append(
            line.model_copy(
                update={
                    "id": f"{ident}-{position}",
                    "position": position,
                    "debit" if line.debit else "credit": amount,
                    "functional": None if worth is None else Money(pieces[index].own, worth.currency),
                }
            )
        )
    return JournalEntry.model_validate({**dict(entry), "id": ident, "lines": tuple(lines)})


#: What makes lines one line of a summary: account, side, dimensions.
Place = tuple[str, bool, tuple[tuple[str, str], ...]]


def _place(line: JournalLine) -> Place:
    dimensions = tuple((one.name, one.value) for one in line.dimensions) if line.segments else ()
    return line.ledger_account, line.debit is None, dimensions


def carried(
    entries: Iterable[JournalEntry], most: int, name: Callable[[str, date, str], Iterator[str]]
) -> Iterator[JournalEntry]:
    """The entries, each with the journal that carries it: those of one event, day and currency together, as long as it
    has at most ``most`` lines.

    ``name(event, day, currency)`` gives ids for such journals, in order. Rejected when one entry alone is too long.
    """
    names: dict[tuple[str, date, str], Iterator[str]] = {}
    filled: dict[tuple[str, date, str], tuple[str, set[Place]]] = {}
    for entry in entries:
        own, group = {_place(line) for line in entry.lines}, (entry.event, entry.posted_on, entry.currency)
        if len(own) > most:
            raise Rejected(f"{entry.id} moves {len(own)} accounts, and a journal takes {most} lines", record=entry.id)
        if group not in names:
            names[group] = name(*group)
        if group not in filled or len(filled[group][1] | own) > most:
            filled[group] = next(names[group]), set()
        ident, places = filled[group]
        places |= own
        yield entry.model_copy(update={"gl_journal": ident})


class Movements:
    """What entries move, added up as they pass, in the form in which the database sums what was booked."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str, str, str, str, str], list[int]] = {}

    def passing(self, entries: Iterable[JournalEntry]) -> Iterator[JournalEntry]:
        for entry in entries:
            self.add(entry)
            yield entry

    def add(self, *entries: JournalEntry) -> None:
        for entry in entries:
            month = f"{entry.posted_on:%Y-%m}"
            for line in entry.lines:
                key = entry.entity, month, line.ledger_account, entry.event, line.detail, entry.currency
                if (sums := self._sums.get(key)) is None:
                    sums = self._sums[key] = [0, 0, 0, 0]
                side, money = (0, line.debit) if line.debit is not None else (1, line.credit)
                assert money is not None  # a line has one side
                sums[side] += money.minor
                sums[side + 2] += (money if line.functional is None else line.functional).minor

    def booked(self) -> tuple[Booked, ...]:
        """In a fixed order."""
        return tuple(
            Booked(entity, month, account, event, detail, Money(debit, currency), Money(credit, currency), *own)
            for (entity, month, account, event, detail, currency), (debit, credit, *own) in sorted(self._sums.items())
        )


def as_booked(entries: Iterable[JournalEntry]) -> tuple[Booked, ...]:
    """What these entries would move."""
    moves = Movements()
    moves.add(*entries)
    return moves.booked()


class Summary:
    """Journals that carry many entries, summed as those pass; none of them is kept."""

    def __init__(self) -> None:
        self._first: dict[str, JournalEntry] = {}
        self._number: Counter[str] = Counter()
        self._sums: dict[str, dict[Place, list[int]]] = {}
        self._own: dict[str, str] = {}

    def takes(self, entry: JournalEntry) -> bool:
        """Adds an entry to the journal that carries it; False when it goes by itself."""
        ident = entry.gl_journal
        if ident is None:
            return False
        if ident not in self._first:
            self._first[ident], self._sums[ident] = entry.model_copy(update={"lines": ()}), {}
        self._number[ident] += 1
        sums = self._sums[ident]
        for line in entry.lines:
            if (held := sums.get(place := _place(line))) is None:
                held = sums[place] = [0, 0]
            held[0] += abs(line.amount.minor)
            if line.functional is not None:
                held[1] += line.functional.minor
                self._own[ident] = line.functional.currency
        return True

    def journals(self) -> Iterator[JournalEntry]:
        """One after the other, in the order of their first entries."""
        for ident, first in self._first.items():
            own = self._own.get(ident)
            lines = [
                JournalLine(
                    id=f"{ident}-{position}",
                    position=position,
                    ledger_account=account,
                    debit=None if on_credit else Money(minor, first.currency),
                    credit=Money(minor, first.currency) if on_credit else None,
                    memo=first.event.capitalize(),
                    source="gl_journal",
                    source_id=ident,
                    segments=dict(dimensions),
                    functional=None if own is None else Money(worth, own),
                )
                for position, ((account, on_credit, dimensions), (minor, worth)) in enumerate(
                    sorted(self._sums[ident].items()), 1
                )
            ]
            memo = f"{first.event.capitalize()}, {self._number[ident]} journals"
            changes = {"id": ident, "account_id": None, "reverses": None, "gl_journal": None, "memo": memo}
            yield JournalEntry.model_validate({**dict(first), **changes, "lines": tuple(lines)})
