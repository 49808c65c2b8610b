"""What a credit note gives back: never more than the invoice, tax in proportion, the unearned part first."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Rejected, TieBroken
from core.invoicing import CreditNote, Invoice, InvoiceStatus, credit
from core.money import Money, total
from core.period import DateSpan
from core.posting import credit_entries, invoice_entries
from core.revenue import reduction, straight_line, unearned
from tests.books import BILLING_CLEARING, BOOKS
from tests.core.store.nouns import INVOICE
from tests.scenarios.test_scenarios import moved

DAY = date(2026, 11, 20)


def usd(amount: str) -> Money:
    return Money.of(amount, "USD")


def invoice(amount: Money, tax: Money, *, defer: bool = False) -> Invoice:
    """One line over a year from October."""
    year = DateSpan(date(2026, 10, 1), date(2027, 10, 1))
    line = INVOICE.lines[0].model_copy(update={"amount": amount, "tax": tax, "defer": defer, "service_period": year})
    return INVOICE.replace(lines=(line,), subtotal=amount, tax=tax, total=amount + tax)


def credited(of: Invoice, *amounts: Money) -> list[CreditNote]:
    """Credit notes over its one line, one after the other."""
    notes: list[CreditNote] = []
    for number, amount in enumerate(amounts):
        notes.append(credit(of, {1: amount}, notes, f"reason {number}", DAY, {}))
    return notes


@given(st.integers(1, 10**7), st.integers(0, 10**6), st.lists(st.integers(1, 10**6), min_size=1, max_size=8))
def test_parts_and_the_rest_give_back_the_line_and_its_tax_to_the_cent(minor: int, tax: int, parts: list[int]) -> None:
    """However a line is cut into credits, amounts and taxes sum to those of the line, and no part turns round."""
    of = invoice(Money(minor, "USD"), Money(tax, "USD"))
    taken: list[Money] = []
    for part in parts:
        if sum(one.minor for one in taken) + part < minor:
            taken.append(Money(part, "USD"))
    notes = credited(of, *taken)
    notes.append(credit(of, {1: None}, notes, "the rest", DAY, {}))
    assert total((note.subtotal for note in notes), "USD") == of.subtotal
    assert total((note.tax for note in notes), "USD") == of.tax
    assert all(note.tax.minor >= 0 for note in notes)


@given(st.integers(12, 10**7), st.lists(st.integers(1, 10**6), min_size=1, max_size=5))
def test_a_schedule_never_earns_below_nothing_after_credits(minor: int, parts: list[int]) -> None:
    """Credits of a deferred line leave months between zero and what they had; the deferred sum falls by the credit."""
    of = invoice(Money(minor, "USD"), Money(0, "USD"), defer=True)
    schedule = [part for part in straight_line(of.lines[0], "A-1") if part.month >= "2026-11"]
    before, notes = dict(zip((p.month for p in schedule), schedule, strict=True)), []
    for number, part in enumerate(parts):
        left = minor - sum(note.subtotal.minor for note in notes)
        if part > left:
            continue
        owed = unearned(schedule)
        note = credit(of, {1: Money(part, "USD")}, notes, str(number), DAY, owed)
        notes.append(note)
        line = note.lines[0]
        assert line.deferred == min(line.amount, total(owed.values(), "USD"))
        schedule += reduction(line, schedule)
        assert total(unearned(schedule).values(), "USD") == total(owed.values(), "USD") - line.deferred
    for month, part in before.items():
        left = total((one.amount for one in schedule if one.month == month), "USD")
        assert 0 <= left.minor <= part.amount.minor


def test_a_full_credit_turns_the_whole_booking_round() -> None:
    note = credit(INVOICE, {line.position: None for line in INVOICE.lines}, (), "Wrong customer", DAY, {
        line.id: line.amount for line in INVOICE.lines if line.defer
    })  # fmt: skip
    assert note.total == INVOICE.total
    assert moved([*invoice_entries(BOOKS, INVOICE), *credit_entries(BOOKS, note)]) == {}
    assert BILLING_CLEARING not in moved(credit_entries(BOOKS, note))


def test_what_was_earned_comes_out_of_revenue() -> None:
    """Of 100.00 only 30.00 are unearned: 30.00 leave the deferred, 70.00 leave revenue."""
    of = invoice(usd("100.00"), usd("0"), defer=True)
    note = credit(of, {1: None}, (), "Outage", DAY, {of.lines[0].id: usd("30.00")})
    account = of.lines[0].revenue_account
    assert moved(credit_entries(BOOKS, note)) == {"1100": "-100.00", "2400": "30.00", account: "70.00"}


@pytest.mark.parametrize("amount", ["100.01", "-0.01"])
def test_more_than_the_line_or_its_other_side_is_refused(amount: str) -> None:
    with pytest.raises(Rejected, match=r"line 1 has 100\.00 USD left to credit"):
        credited(invoice(usd("100.00"), usd("5.00")), usd(amount))


def test_a_draft_or_an_unknown_line_cannot_be_credited() -> None:
    with pytest.raises(Rejected, match="it is a draft"):
        credit(INVOICE.replace(status=InvoiceStatus.DRAFT), {1: None}, (), "x", DAY, {})
    with pytest.raises(Rejected, match="it has no line 99"):
        credit(INVOICE, {99: None}, (), "x", DAY, {})


def test_no_more_of_a_credit_is_used_than_it_gives() -> None:
    (note,) = credited(invoice(usd("100.00"), usd("5.00")), usd("10.00"))
    assert note.applied_to("INV-1", usd("10.00")).left == usd("0.50")
    with pytest.raises(TieBroken, match="applied"):
        note.applied_to("INV-1", usd("10.51"))
    with pytest.raises(TieBroken, match="applied"):
        note.replace(refunded=usd("0.51")).applied_to("INV-1", usd("10.00"))


def test_a_part_says_what_share_of_its_line_it_is_and_what_is_counted_of_it() -> None:
    """A third of nine lines is three of them; all of it is whole."""
    of = invoice(usd("90.00"), usd("5.00"))
    of = of.replace(lines=(of.lines[0].model_copy(update={"quantity": Decimal(9)}),))
    part, rest = credited(of, usd("30.00"))[0].lines[0], credit(of, {1: None}, (), "all", DAY, {}).lines[0]
    assert (part.share, part.counted, part.counted_share, part.partial) == (Decimal("0.333333333333"), 9, 3, True)
    assert (rest.share, rest.counted_share, rest.partial) == (1, 9, False)


def test_the_tax_of_a_line_free_of_charge_is_given_back_with_all_of_its_invoice() -> None:
    """Lines that are included cost nothing and are taxed by their number: that tax comes back once."""
    free = INVOICE.lines[0].model_copy(update={"amount": usd("0.00"), "tax": usd("6.54")})
    of = INVOICE.replace(lines=(free,), subtotal=usd("0.00"), tax=usd("6.54"), total=usd("6.54"))
    note = credit(of, {1: None}, (), "All of it", DAY, {})
    assert (note.tax, note.lines[0].share) == (usd("6.54"), 1)
    with pytest.raises(Rejected, match="nothing is left"):
        credit(of, {1: None}, (note,), "Again", DAY, {})
