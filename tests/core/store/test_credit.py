"""Credit in the database: what is left follows the movements, once each, and never falls below nothing."""

from __future__ import annotations

from datetime import date

import pytest

from core.money import Money
from core.store import Database, StoreFailed
from core.wallets import CreditGrant, CreditKind, CreditMovement, drawn, restored
from tests.core.store.nouns import GRANT, usd

DAY = date(2026, 10, 31)
FULL = GRANT.model_copy(update={"left": usd("100")})
PREPAID = FULL.model_copy(update={"id": "CR-9", "kind": CreditKind.PREPAID, "charges": ()})


def left(database: Database, ident: str = FULL.id) -> Money:
    with database.reading() as work:
        found = work.get(CreditGrant, ident)
    assert found
    return found.left


def test_a_movement_changes_what_is_left_once(database: Database) -> None:
    with database.work() as work:
        work.add([FULL])
    movement = drawn(FULL, usd("30"), "INV-1", DAY, "L1")
    for _ in range(2):
        with database.work() as work:
            work.move_credit([movement])
    assert left(database) == usd("70")
    with database.work() as work:
        work.move_credit([restored(FULL, usd("10"), "CN-1", DAY, "L1")])
    assert left(database) == usd("80")


def test_what_would_leave_less_than_nothing_or_more_than_was_granted_is_refused_whole(database: Database) -> None:
    """Both draws were made from the same 100.00; the second one and what came with it are not kept."""
    with database.work() as work:
        work.add([FULL])
        work.move_credit([drawn(FULL, usd("60"), "INV-1", DAY)])
    for wrong in (drawn(FULL, usd("60"), "INV-2", DAY), restored(FULL, usd("61.01"), "CN-2", DAY)):
        with pytest.raises(StoreFailed), database.work() as work:
            work.move_credit([drawn(FULL, usd("1"), "INV-3", DAY), wrong])
    assert left(database) == usd("40")
    with database.reading() as work:
        assert [one.document_id for one in work.find(CreditMovement)] == ["INV-1"]


def test_only_what_prepaid_credit_paid_counts_as_paid(database: Database) -> None:
    with database.work() as work:
        work.add([FULL, PREPAID])
        work.move_credit([drawn(FULL, usd("5"), "INV-1", DAY, "L1"), drawn(PREPAID, usd("30"), "INV-1", DAY)])
        work.move_credit([restored(PREPAID, usd("30"), "CN-1", DAY)])
    with database.reading() as work:
        assert work.sums.prepaid(["INV-1", "CN-1", "INV-2"]) == {"INV-1": usd("30")}
