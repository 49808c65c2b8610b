"""Journals are cut and summed so that every part balances and every account keeps its amount."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Rejected
from core.journals import Summary, carried, split
from core.ledger import JournalEntry, JournalLine, Via
from core.money import Money, round_money

AMOUNTS = st.lists(st.integers(1, 10**9), min_size=1, max_size=30)


def entry(debits: list[int], credits: list[int], ident: str = "JE-1", event: str = "recognition") -> JournalEntry:
    """A journal of these minor units; the shorter side gets what is missing on one more line."""
    missing = sum(debits) - sum(credits)
    debits, credits = [*debits, *([-missing] if missing < 0 else [])], [*credits, *([missing] if missing > 0 else [])]
    lines = [
        JournalLine(
            id=f"{ident}-{number}",
            position=number,
            ledger_account=f"{(4000 if on_credit else 2400) + number % 3}",
            debit=None if on_credit else Money(minor, "USD"),
            credit=Money(minor, "USD") if on_credit else None,
            source="recognition",
            source_id=f"P-{number}",
        )
        for number, (on_credit, minor) in enumerate([*((False, d) for d in debits), *((True, c) for c in credits)], 1)
    ]
    return JournalEntry(
        id=ident, event=event, via=Via.JOURNAL, currency="USD", posted_on=date(2026, 10, 31), memo="m",
        lines=tuple(lines),
    )  # fmt: skip


def moved(entries: list[JournalEntry]) -> Counter[tuple[str, str]]:
    """By account and source, what the entries move; a divided line keeps its source."""
    sums: Counter[tuple[str, str]] = Counter()
    for one in entries:
        for line in one.lines:
            sums[line.ledger_account, line.source_id] += line.amount.minor
    return sums


@given(AMOUNTS, AMOUNTS, st.integers(2, 12))
def test_the_parts_of_a_journal_fit_balance_and_move_what_the_whole_moves(
    debits: list[int], credits: list[int], most: int
) -> None:
    """A JournalEntry that does not balance cannot be made, so its parts balance by being there."""
    whole = entry(debits, credits)
    parts = list(split(whole, most))
    assert all(len(part.lines) <= most for part in parts)
    assert moved(parts) == moved([whole])
    assert len({part.id for part in parts}) == len(parts)


def test_a_journal_that_fits_stays_as_it_is() -> None:
    whole = entry([10, 20], [30])
    assert split(whole, 3) == (whole,)


def test_pairs_are_not_divided() -> None:
    """A journal of equal pairs, as a recognition is, is cut between them."""
    parts = split(entry([5, 7, 9], [5, 7, 9]), 2)
    assert [[line.amount.minor for line in part.lines] for part in parts] == [[5, -5], [7, -7], [9, -9]]
    assert [part.id for part in parts] == ["JE-1.1", "JE-1.2", "JE-1.3"]


WORTHS = st.lists(st.tuples(st.integers(2, 10**6), st.integers(2, 10**6)), min_size=1, max_size=25)


def valued(debits: list[tuple[int, int]], credits: list[tuple[int, int]]) -> JournalEntry:
    """A journal in euros, of (cents, worth in cents of the books) a side; one more line makes both sides equal."""
    short, worth = (sum(one[n] for one in debits) - sum(one[n] for one in credits) for n in (0, 1))
    debits = [*debits, (max(-short, 0) + 10**8, max(-worth, 0) + 10**8)]
    credits = [*credits, (max(short, 0) + 10**8, max(worth, 0) + 10**8)]
    whole = entry([minor for minor, _ in debits], [minor for minor, _ in credits])
    lines = tuple(
        line.model_copy(
            update={
                "functional": Money(own, "USD"),
                "debit": line.debit and Money(line.debit.minor, "EUR"),
                "credit": line.credit and Money(line.credit.minor, "EUR"),
            }
        )
        for line, (_, own) in zip(whole.lines, [*debits, *credits], strict=True)
    )
    return JournalEntry.model_validate({**dict(whole), "currency": "EUR", "lines": lines})


@given(WORTHS, WORTHS, st.integers(4, 12))
def test_the_parts_of_a_journal_in_another_currency_balance_in_both(
    debits: list[tuple[int, int]], credits: list[tuple[int, int]], most: int
) -> None:
    """Each part is a JournalEntry, which balances in both or cannot be made; a cent that a cut leaves over stays with
    its account. Amounts whose worth no part can balance are refused, and none is lost."""
    whole = valued(debits, credits)
    try:
        parts = split(whole, most)
    except Rejected:
        return
    assert all(len(part.lines) <= most for part in parts)
    assert moved(list(parts)) == moved([whole])

    def worth(entries: Sequence[JournalEntry]) -> Counter[str]:
        sums: Counter[str] = Counter()
        for one in entries:
            for line in one.lines:
                sums[line.source_id] += line.functional_amount.minor
        return sums

    assert worth(parts) == worth([whole])
    assert split(whole, most) == parts


def test_a_journal_of_one_rate_is_always_cut() -> None:
    """Forty invoices at 1.0837, each worth its own cents: a hundred cuts leave no part out of balance."""
    amounts = [
        (1001 + 7 * number, round_money(Decimal(1001 + 7 * number) * Decimal("1.0837"), "JPY").minor)
        for number in range(40)
    ]
    total_minor, total_own = (sum(one[n] for one in amounts) for n in (0, 1))
    half = total_minor // 3
    whole = valued(amounts, [(half, total_own // 3), (total_minor - half, total_own - total_own // 3)])
    parts = split(whole, 4)
    assert len(parts) > 10
    assert moved(list(parts)) == moved([whole])


def for_general_ledger(entries: Iterable[JournalEntry]) -> list[JournalEntry]:
    """The journals as the general ledger gets them: an entry by itself, or the sum of those that one carries."""
    summary = Summary()
    alone = [one for one in entries if not summary.takes(one)]
    return [*alone, *summary.journals()]


def names(event: str, _day: date, _currency: str) -> Iterator[str]:
    yield from (f"{event}-{number}" for number in range(1, 100))


@given(st.lists(AMOUNTS, min_size=1, max_size=8), st.integers(6, 9))
def test_a_summary_moves_what_its_entries_move_and_fits(amounts: list[list[int]], most: int) -> None:
    entries = [entry(some, some, f"JE-{number}") for number, some in enumerate(amounts)]
    marked = list(carried(entries, most, names))
    journals = for_general_ledger(marked)
    assert all(len(one.lines) <= most for one in journals)
    by_account: Counter[tuple[str, bool]] = Counter()
    for sign, many in ((1, entries), (-1, journals)):
        for line in (line for one in many for line in one.lines):
            by_account[line.ledger_account, line.debit is None] += sign * line.amount.minor
    assert not any(by_account.values())
    assert {one.gl_journal for one in marked} == {one.id for one in journals}


def test_events_are_not_summed_together() -> None:
    entries = [entry([5], [5], "A", "recognition"), entry([7], [7], "B", "unbilled")]
    assert [one.id for one in for_general_ledger(carried(entries, 10, names))] == ["recognition-1", "unbilled-1"]


def test_an_entry_with_more_accounts_than_a_journal_has_lines_is_refused() -> None:
    with pytest.raises(Rejected, match="moves 6 accounts, and a journal takes 2 lines"):
        list(carried([entry([1, 2, 3], [1, 2, 3])], 2, names))
