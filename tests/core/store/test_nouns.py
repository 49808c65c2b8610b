"""Stored nouns come back as they were, and those that never change cannot be changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError

from core.errors import TieBroken
from core.invoicing import Invoice
from core.ledger import JournalEntry
from core.noun import Noun
from core.orders import Order
from core.payments import Payment, PaymentStatus
from core.store import BILLING, Database, Work
from core.store.codec import CHUNK, canonical
from core.store.database import SHAPES
from core.ties import Break
from tests.core.store.nouns import BREAK, INVOICE, NOON, NOUNS, ORDER, PAYMENT, RATED, usd


def _kind(nouns: Sequence[Noun]) -> str:
    return type(nouns[0]).__name__


def test_every_stored_kind_of_noun_stands_among_the_examples() -> None:
    assert {type(nouns[0]) for nouns, _ in NOUNS} == set(SHAPES)


@pytest.mark.parametrize(("nouns", "extra"), NOUNS, ids=[_kind(nouns) for nouns, _ in NOUNS])
def test_a_noun_comes_back_as_it_was_stored(
    database: Database, nouns: Sequence[Noun], extra: Mapping[str, Any]
) -> None:
    with database.work() as work:
        assert work.add(nouns, **extra) == list(nouns)
    with database.reading() as work:
        assert work.find(type(nouns[0])) == sorted(nouns, key=lambda noun: noun.id)  # type: ignore[attr-defined]


def test_the_order_of_lines_is_kept(database: Database) -> None:
    turned = ORDER.model_copy(update={"lines": ORDER.lines[::-1]})
    with database.work() as work:
        work.add([turned])
        assert work.get(Order, ORDER.id) == turned


def test_adding_the_same_record_again_changes_nothing(database: Database) -> None:
    with database.work() as work:
        assert work.add([INVOICE, INVOICE]) == [INVOICE]
    with database.work() as work:
        assert work.add([INVOICE]) == []
        assert work.find(Invoice) == [INVOICE]


def test_adding_a_record_that_differs_from_the_stored_one_is_refused_whole(database: Database) -> None:
    changed = INVOICE.model_copy(update={"purchase_order": "PO-2"})
    other = INVOICE.model_copy(update={"id": "INV-2", "lines": ()})
    with database.work() as work:
        work.add([INVOICE])
    with pytest.raises(TieBroken, match="a stored record never changes"), database.work() as work:
        work.add([other, changed])
    with database.reading() as work:
        assert work.find(Invoice) == [INVOICE]


def test_putting_a_record_replaces_it_with_all_its_lines(database: Database) -> None:
    changed = ORDER.model_copy(update={"name": "renamed", "lines": ORDER.lines[1:], "total": usd("4800.00")})
    with database.work() as work:
        work.put(ORDER)
        work.put(changed)
        assert work.find(Order) == [changed]


def test_a_payment_that_succeeds_takes_the_place_of_the_pending_one(database: Database) -> None:
    pending = PAYMENT.model_copy(update={"status": PaymentStatus.PENDING})
    with database.work() as work:
        work.put(pending)
        work.put(PAYMENT)
        assert work.find(Payment) == [PAYMENT]


def test_rating_again_replaces_the_lines_of_that_account_and_month_alone(database: Database) -> None:
    account, kind = RATED[0].account_id, type(RATED[0])
    other = RATED[0].model_copy(update={"id": "other", "account_id": "A-0002"})
    with database.work() as work:
        work.rerate(account, "2026-09", [RATED[0].model_copy(update={"id": "september"})])
        work.rerate("A-0002", "2026-10", [other])
        work.rerate(account, "2026-10", RATED)
        work.rerate(account, "2026-10", RATED[1:])
        kept = [line.id for line in work.find(kind)]
    assert kept == sorted(["september", "other", *(line.id for line in RATED[1:])])


def test_a_month_that_was_billed_while_it_was_rated_keeps_the_lines_of_its_invoice(database: Database) -> None:
    account, kind = RATED[0].account_id, type(RATED[0])
    billed = [RATED[0].model_copy(update={"id": INVOICE.lines[0].rated_line_id})]
    with database.work() as work:
        assert work.rerate(account, "2026-10", billed)
        work.add([INVOICE])
    with database.work() as work:
        assert not work.rerate(account, "2026-10", RATED[1:])
        assert [line.id for line in work.find(kind)] == [INVOICE.lines[0].rated_line_id]


def test_a_month_is_not_rated_again_while_it_is_drafted(database: Database) -> None:
    """The other waits; here it gives up after a moment, so that the test ends."""
    with database.work() as drafting:
        drafting.alone(BILLING)
        if database.dialect == "sqlite":
            return  # the second unit of work would wait for the first before it does anything
        rating = database._engine.connect()
        rating.exec_driver_sql("SET lock_timeout = '50ms'")
        with rating, pytest.raises(OperationalError, match="lock timeout"):
            Work(rating).rerate(RATED[0].account_id, "2026-10", RATED)


def test_more_ids_than_one_statement_takes_are_still_found_in_order(database: Database) -> None:
    breaks = [BREAK.model_copy(update={"id": f"B{number:05d}"}) for number in range(2 * CHUNK + 1)]
    with database.work() as work:
        work.add(breaks)
        assert work.find(Break, id=[one.id for one in reversed(breaks)]) == breaks


def test_a_parent_is_found_by_its_line(database: Database) -> None:
    with database.work() as work:
        work.add([INVOICE])
        assert work.parent_of_child(Invoice, "lines", rated_line_id=INVOICE.lines[1].rated_line_id) == INVOICE
        assert work.parent_of_child(Invoice, "lines", rated_line_id="none") is None


def _store_and_fail(database: Database) -> None:
    with database.work() as work:
        work.add([INVOICE])
        raise RuntimeError("midway")


def test_work_that_fails_leaves_nothing(database: Database) -> None:
    with pytest.raises(RuntimeError, match="midway"):
        _store_and_fail(database)
    with database.reading() as work:
        assert work.find(Invoice) == []


def test_the_database_itself_refuses_a_journal_line_with_two_sides(database: Database) -> None:
    (entry, *_) = next(nouns for nouns, _ in NOUNS if isinstance(nouns[0], JournalEntry))
    both = entry.lines[0].model_copy(update={"debit": usd("1"), "credit": usd("1")})  # type: ignore[attr-defined]
    wrong = entry.model_copy(update={"lines": (both,)})
    with pytest.raises(Exception, match="ck_journal_line_one_side"), database.work() as work:
        work.add([wrong])


def test_an_instant_without_an_offset_is_refused(database: Database) -> None:
    naive = BREAK.model_copy(update={"last_seen_at": datetime(2026, 10, 1)})  # noqa: DTZ001
    with pytest.raises(Exception, match="without an offset"), database.work() as work:
        work.add([naive])


def test_an_instant_comes_back_in_utc_to_the_microsecond(database: Database) -> None:
    with database.work() as work:
        work.add([BREAK])
        found = work.get(Break, BREAK.id)
    assert found is not None
    assert found.first_seen_at.isoformat() == "2026-10-01T18:00:00.123456+00:00"
    assert found.first_seen_at == NOON


def test_a_view_does_not_see_what_is_committed_while_it_is_open(database: Database) -> None:
    with database.reading() as view:
        assert view.find(Break) == []
        with database.work() as work:
            work.add([BREAK])
        assert view.find(Break) == []
    with database.reading() as view:
        assert view.find(Break) == [BREAK]


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_an_exact_number_survives_its_canonical_text(number: Decimal) -> None:
    text = canonical(number)
    assert Decimal(text) == number
    assert "E" not in text
    assert not ("." in text and text.endswith(("0", ".")))
