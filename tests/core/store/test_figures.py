"""What other systems show is kept as it was seen, and the database names every record on which two sides differ."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine

from core.breaks import Difference, Facet
from core.ledger import Via
from core.money import Money
from core.store import Database, figures, sides
from core.store.figures import Seen
from core.ties import Figure
from tests.core.store.nouns import (
    ACCOUNT,
    CREDIT_NOTE,
    ENTRIES,
    INVOICE,
    NOON,
    OCTOBER,
    ORDER,
    PAYMENT,
    SUBSCRIPTION,
    usd,
)

OURS = INVOICE.id


def figure(vendor_id: str = "1", **fields: Any) -> Figure:
    common = {"record": "invoice", "key": OURS, "currency": "USD", "amount": INVOICE.total, "state": "Open"}
    return Figure(vendor_id=vendor_id, **{**common, **fields})


def see(database: Database, *seen: Figure | Seen, days: int = 0) -> int:
    """Sees these documents, and nothing else, so many days after noon."""
    at = NOON + timedelta(days=days)
    found = [one if isinstance(one, Seen) else Seen(one) for one in seen]
    with database.work() as work:
        gone = work.figures.digests("erp", "invoice").keys() - {one.figure.vendor_id for one in found}
        work.figures.close("erp", "invoice", sorted(gone), at)
        return work.figures.keep("erp", "invoice", found, at)


def test_what_is_as_before_is_not_written_again_and_what_changed_is_kept_beside_it(database: Database) -> None:
    assert see(database, figure()) == 1
    assert see(database, figure(), days=1) == 0
    assert see(database, figure(amount=usd("1")), days=2) == 1
    with database.reading() as work:
        versions = work.figures.history("erp", "invoice", "1")
    assert [(seen_from - NOON, one.amount) for seen_from, _, one in versions] == [
        (timedelta(0), INVOICE.total),
        (timedelta(days=2), usd("1")),
    ]
    assert [seen_until for _, seen_until, _ in versions] == [NOON + timedelta(days=2), None]


SIDES = {
    "accounts": sides.accounts(),
    "orders": sides.orders(),
    "subscriptions": sides.subscriptions(),
    "invoices": sides.invoices(OCTOBER),
    "subtotals": sides.subtotals(OCTOBER),
    "credit notes": sides.credit_notes(OCTOBER),
    "payments": sides.payments(OCTOBER),
    "payments alone": sides.without_beside(sides.payments(OCTOBER)),
    "refunds": sides.refunds(OCTOBER),
    "refunds one by one": sides.refunds_one_by_one(OCTOBER),
    "disputes": sides.disputes(OCTOBER),
    "taxes": sides.taxes(OCTOBER, ["D9999999"]),
    "returned taxes": sides.returned_taxes(OCTOBER, ["D9999999"]),
    "journals": sides.journals(),
    "told": sides.told(),
    "rated": sides.rated("2026-10"),
    "invoiced": sides.invoiced(OCTOBER),
    "figures": figures.side("erp", "invoice", states=["Open"], besides=["Closed"]),
    "figures together": sides.summed(figures.side("erp", "invoice")),
}


@pytest.mark.parametrize("name", SIDES)
def test_each_side_is_the_same_as_itself_on_every_database(database: Database, name: str) -> None:
    with database.work() as work:
        for noun in (ACCOUNT, ORDER, SUBSCRIPTION, INVOICE, PAYMENT, CREDIT_NOTE):
            work.put(noun)
    see(database, figure())
    side = SIDES[name]
    with database.reading() as work:
        found = work.sides.compare(side, side, None)
        assert (found.differing, found.unknown, found.ours) == ({}, [], found.theirs)
        for known in sides.KNOWN.values():
            assert work.sides.compare(side, side, known).differing == {}
        sums = work.sides.sums(side)
        assert {key: one.amount for key, one in work.sides.of(side, list(sums)).items()} == sums
        assert work.sides.among(side, [*sums, "nobody"]) == set(sums)
    with database.work() as work:
        for keys in (None, list(sums)):
            work.sides.keep(PLACE, side, side, None, keys=keys)
            assert work.sides.kept(PLACE) == work.sides.compare(side, side, None)


#: Where it is kept what a tie said.
PLACE = sides.Place("erp", "a tie", "2026-10")

SAME = figure()
#: What the other system shows of our one invoice; keys that differ, keys that nobody knows, and the sum of theirs.
CASES: list[tuple[Sequence[Figure | Seen], list[str], list[str], Money]] = [
    ([SAME], [], [], INVOICE.total),
    ([], [OURS], [], usd("0")),
    ([figure(amount=usd("1"))], [OURS], [], usd("1")),
    ([SAME, figure("2")], [OURS], [], INVOICE.total + INVOICE.total),
    ([SAME, figure("2", state="Voided")], [], [], INVOICE.total),
    ([SAME, figure("2", key="INV-STRANGE", amount=usd("7"))], [], ["INV-STRANGE"], INVOICE.total + usd("7")),
    ([SAME, figure("2", key="INV-STRANGE", amount=usd("0"))], [], [], INVOICE.total),
    ([Seen(SAME, [Difference(Facet.MEMO, "a", "b")])], [OURS], [], INVOICE.total),
]


@pytest.mark.parametrize(("theirs", "differing", "unknown", "amount"), CASES)
def test_only_what_differs_is_named(
    database: Database, theirs: Sequence[Figure | Seen], differing: list[str], unknown: list[str], amount: Money
) -> None:
    with database.work() as work:
        work.put(INVOICE)
    see(database, *theirs)
    with database.reading() as work:
        found = work.sides.compare(sides.invoices(OCTOBER), figures.side("erp", "invoice"), sides.KNOWN["invoice"])
        drift = [one.drift for seen in work.figures.under("erp", "invoice", differing).values() for one in seen]
    assert (list(found.differing), found.unknown) == (differing, unknown)
    assert found.ours["USD"].amount == INVOICE.total.minor
    assert sum(one.amount for one in found.theirs.values()) == amount.minor
    assert drift == [list(one.drift) if isinstance(one, Seen) else [] for one in theirs if differing]


def test_what_is_kept_says_what_comparing_all_says_when_what_changed_was_compared(database: Database) -> None:
    """One sight after another: whatever changed between them, and what differed before, is compared; nothing else."""
    ours, theirs = sides.invoices(OCTOBER), figures.side("erp", "invoice")
    with database.work() as work:
        work.sides.keep(PLACE, ours, theirs, sides.KNOWN["invoice"])
        assert work.sides.kept(PLACE).both == ({}, {})
        work.put(INVOICE)
        work.sides.keep(PLACE, ours, theirs, sides.KNOWN["invoice"], keys=[OURS, "nobody"])
    for days, (seen, *_) in enumerate([*CASES, *reversed(CASES)]):
        see(database, *seen, days=days)
        with database.work() as work:
            changed = work.figures.changed("erp", "invoice", NOON + timedelta(days=days))
            keys = sorted(changed.union(work.sides.differing(PLACE)))
            work.sides.keep(PLACE, ours, theirs, sides.KNOWN["invoice"], keys=keys)
            assert work.sides.kept(PLACE) == work.sides.compare(ours, theirs, sides.KNOWN["invoice"])
            elsewhere = sides.Place("erp", "a tie", "2026-11")
            assert work.sides.kept(elsewhere).both == ({}, {})


def test_a_document_that_is_not_final_differs_and_does_not_count(database: Database) -> None:
    with database.work() as work:
        work.put(INVOICE)
    see(database, figure(state="Saved"))
    with database.reading() as work:
        found = work.sides.compare(sides.invoices(OCTOBER), figures.side("erp", "invoice"), None, "committed")
    assert (list(found.differing), found.theirs["USD"].final) == ([OURS], 0)


JOURNAL = next(one for one in ENTRIES if one.via is Via.JOURNAL)
#: A side of ours that sums lines, its record, and a line of it: (side, key, table, id of the line, column).
SUMMED = {
    "taxes": (sides.taxes(OCTOBER, [INVOICE.lines[0].tax_code]), OURS, "invoice_line", INVOICE.lines[0].id, "amount"),
    "journals": (
        sides.journals(),
        JOURNAL.id,
        "journal_line",
        next(line.id for line in JOURNAL.lines if line.debit),
        "debit",
    ),
}


@pytest.mark.parametrize("name", SUMMED)
def test_a_line_that_was_changed_in_the_database_behind_our_back_is_found(database: Database, name: str) -> None:
    """A tie sums the lines themselves each time, and trusts no total that was kept."""
    side, key, table, line, column = SUMMED[name]
    with database.work() as work:
        work.put(INVOICE)
        work.add(ENTRIES)
    with database.reading() as work:
        before = work.sides.of(side, [key])[key]
    theirs = figure(key=key, amount=before.amount, beside=before.beside)
    see(database, theirs)
    assert sides_differ(database, side) == []
    engine = create_engine(database.url)
    with engine.begin() as connection:
        on = " ON journal_line" if database.dialect == "postgresql" else ""
        connection.exec_driver_sql(f"DROP TRIGGER journal_line_no_update{on}")
        connection.exec_driver_sql(f"UPDATE {table} SET {column}_minor = {column}_minor + 1 WHERE id = '{line}'")  # noqa: S608
    engine.dispose()
    assert sides_differ(database, side) == [key]


def sides_differ(database: Database, side: sides.Query) -> list[str]:
    with database.reading() as work:
        return list(work.sides.compare(side, figures.side("erp", "invoice"), None).differing)
