"""Where money is rounded, and that nothing is lost there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.exact import share_out
from core.money import Rounding, round_money, total
from core.rating import explain
from core.rational import Fraction
from tests.core.rating.books import amounts, book, bought, october, per_unit, used

THIRDS = [{"code": code, "model": per_unit("10.333333")} for code in ("AAA", "BBB", "CCC")]


def bill(rounding_at: str):
    usage = [used(one["code"].lower(), "1") for one in THIRDS]
    return october(book(*THIRDS, rounding_at=rounding_at), [bought(one["code"]) for one in THIRDS], usage)


def test_lines_are_rounded_each_unless_the_book_rounds_the_document() -> None:
    """Three times 10.333333 are 30.99 line by line, and 31.00 together: one line takes the cent, and says so."""
    assert list(amounts(bill("line")).values()) == ["10.33", "10.33", "10.33"]
    together = bill("document")
    assert list(amounts(together).values()) == ["10.34", "10.33", "10.33"]
    assert "sum 10.333333, rounded with all lines of the document (half_up): 10.34 USD" in explain(together[0])


@given(st.lists(st.fractions(-1000, 1000), max_size=9), st.sampled_from(list(Rounding)))
def test_lines_sum_to_their_document_and_stay_within_a_minor_unit(exact, mode) -> None:
    """The residue of rounding nets to zero, also among negative lines."""
    whole = round_money(sum(exact, Fraction(0)), "USD", mode)
    parts = share_out(whole, exact)
    assert total(parts, "USD") == whole
    assert all(abs(Fraction(part.amount) - one) < Fraction(1, 100) for part, one in zip(parts, exact, strict=True))
