"""Sums of the stored money are exact and by currency."""

from __future__ import annotations

from datetime import date

from core.ledger import JournalEntry, JournalLine, Via
from core.money import Money
from core.payments import PaymentStatus
from core.posting import recognition_entries
from core.rating import PricedUsage
from core.rating.derivation import Billed
from core.revenue import RecognitionPart
from core.store import Database
from core.store.codec import CHUNK
from tests.books import BOOKS
from tests.core.store.nouns import PAYMENT, RATED, usd

#: More than a 64-bit float holds exactly.
LARGE = 9_007_199_254_740_993


def _entry(ident: str, posted_on: date, amount: Money, debit: str = "1100", credit: str = "4000") -> JournalEntry:
    def line(position: int, account: str, **side: Money) -> JournalLine:
        return JournalLine(
            id=f"{ident}-{position}", position=position, ledger_account=account, source="test", source_id="x", **side
        )

    return JournalEntry(
        id=ident,
        event="invoice",
        via=Via.JOURNAL,
        currency=amount.currency,
        posted_on=posted_on,
        memo="",
        lines=(line(1, debit, debit=amount), line(2, credit, credit=amount)),
    )


def test_what_lines_price_of_usage_is_what_their_derivations_say(database: Database) -> None:
    """Also of a line that a later bill corrects or withdraws."""
    first, *others = RATED
    billed = {"billed": Billed(line_id="before", amount=usd("1"), withdrawn=True)}
    gone = first.model_copy(update={"id": "gone", "derivation": first.derivation.model_copy(update=billed)})
    with database.work() as work:
        work.add([first, *others, gone], billing_period="2026-10")
        found = work.sums.priced_usage("2026-10")
        assert work.sums.priced_usage("2026-11") == []
    assert found == sorted(map(PricedUsage.of, [*RATED, gone]), key=lambda one: one.line_id)
    assert any(one.measured.denominator > 1 for one in found)
    assert [(one.measured, one.events) for one in found if one.line_id == "before"] == [(0, 0)]


def test_ledger_balances_are_debits_minus_credits_of_the_months_asked_for(database: Database) -> None:
    with database.work() as work:
        work.add(
            [
                _entry("before", date(2026, 9, 30), usd("7")),
                _entry("first", date(2026, 10, 1), Money(LARGE, "USD")),
                _entry("back", date(2026, 10, 31), usd("0.01"), debit="4000", credit="1100"),
                _entry("yen", date(2026, 10, 2), Money(5, "JPY")),
                _entry("after", date(2026, 11, 1), usd("7")),
            ]
        )
        balances = work.sums.ledger_balances("2026-10", "2026-10")
    assert balances == {
        ("1100", "USD"): Money(LARGE - 1, "USD"),
        ("4000", "USD"): Money(1 - LARGE, "USD"),
        ("1100", "JPY"): Money(5, "JPY"),
        ("4000", "JPY"): Money(-5, "JPY"),
    }


def test_only_payments_that_succeeded_count_as_paid(database: Database) -> None:
    payments = [
        PAYMENT.model_copy(update={"id": "P1", "invoice_id": "I1", "amount": usd("1.10")}),
        PAYMENT.model_copy(update={"id": "P2", "invoice_id": "I1", "amount": usd("2.20")}),
        PAYMENT.model_copy(update={"id": "P3", "invoice_id": "I1", "status": PaymentStatus.PENDING}),
        PAYMENT.model_copy(update={"id": "P4", "invoice_id": "I2", "status": PaymentStatus.FAILED}),
    ]
    with database.work() as work:
        work.add(payments)
        assert work.sums.paid([f"I{number}" for number in range(2 * CHUNK)]) == {"I1": usd("3.30")}


def test_deferred_is_what_no_journal_has_earned_yet(database: Database) -> None:
    parts = [
        RecognitionPart(
            id=f"L@{month}",
            invoice_line_id="L",
            month=month,
            currency="USD",
            amount=usd("10"),
            revenue_account="4000",
            account_id="A",
        )
        for month in ("2026-09", "2026-10", "2026-11", "2027-01")
    ]
    with database.work() as work:
        work.add(parts)
        assert work.sums.unbooked() == {"USD": usd("40")}
        work.add(recognition_entries(BOOKS, "2026-10", "A", parts[:2]))
        assert work.sums.unbooked() == {"USD": usd("20")}
        assert work.sums.booked_parts() == {"L@2026-09", "L@2026-10"}
