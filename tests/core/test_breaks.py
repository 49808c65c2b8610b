"""The table of kinds is closed, and what differs of two sides is one of its rows."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from core.breaks import (
    KINDS,
    TABLE,
    Difference,
    Facet,
    Moved,
    Side,
    broken,
    differing,
    drifted,
    explained_line,
    follows,
    kind_of,
)
from core.money import Money
from core.ties import Break, Figure, Part, TieLine

DOCS = Path(__file__).parents[2] / "docs" / "tie-out.md"
NOW = datetime(2026, 11, 2, 6, tzinfo=UTC)


def usd(amount: str) -> Money:
    return Money.of(amount, "USD")


def figure(**fields: Any) -> Figure:
    common: dict[str, Any] = {"record": "invoice", "key": "INV-1", "vendor_id": "7", "currency": "USD"}
    return Figure(**{**common, "amount": usd("72"), "state": "Open", **fields})


def a_break(tie: str = "invoices = ERP invoices", left: str = "72", right: str = "0", **more: Any) -> Break:
    common: dict[str, Any] = {"system": "netsuite", "period": "2026-10"}
    sides = (usd(left), usd(right))
    return broken(tie, ("hub", "erp"), "invoice", "INV-1", sides, [Difference(Facet.GONE)], NOW, **common | more)


def test_the_document_for_finance_holds_exactly_the_table() -> None:
    rows = [
        tuple(cell.strip().strip("`") for cell in line.strip("|").split("|"))
        for line in DOCS.read_text(encoding="utf-8").splitlines()
        if re.match(r"\| `\w+` \|", line)
    ]
    table = [
        (one.name, one.facet.value, one.severity.value, one.cause, one.cure, one.repair.value, one.owner)
        for one in TABLE
    ]
    assert rows == table


def test_each_record_and_facet_has_one_kind_and_each_kind_one_name() -> None:
    assert len({(one.record, one.facet) for one in TABLE}) == len(TABLE) == len(KINDS) > 25


OURS = Side("USD", usd("72"))
#: What they show, and in what it differs, the gravest first.
DIFFERING: list[tuple[list[Figure], list[Facet]]] = [
    ([], [Facet.MISSING]),
    ([figure(), figure(vendor_id="8")], [Facet.TWICE]),
    ([figure(currency="EUR", amount=Money.of("72", "EUR"))], [Facet.CURRENCY]),
    ([figure(amount=usd("71.99"))], [Facet.AMOUNT]),
    ([figure(amount=usd("0"))], [Facet.VOIDED]),
    ([figure(beside=usd("60"))], [Facet.BESIDE]),
    ([figure(amount=usd("1"), beside=usd("60"), state="Saved")], [Facet.STATE, Facet.AMOUNT, Facet.BESIDE]),
]


@pytest.mark.parametrize(("theirs", "facets"), DIFFERING)
def test_what_differs_is_named_the_gravest_first(theirs: list[Figure], facets: list[Facet]) -> None:
    final = "committed" if Facet.STATE in facets else ""
    ours = replace(OURS, beside=usd("61"))
    assert [one.facet for one in differing("invoice", ours, theirs, [], final)] == facets
    assert differing("invoice", OURS, [figure()], [], "") == []


def test_a_record_that_nobody_holds_here_is_unknown_whatever_it_shows() -> None:
    assert [one.facet for one in differing("invoice", None, [figure()], [], "")] == [Facet.UNKNOWN]


#: What somebody changed of a document, and what that is.
DRIFTS: list[tuple[dict[str, Any], list[Facet]]] = [
    ({}, []),
    ({"dated": date(2026, 10, 1)}, [Facet.DATED]),
    ({"dated": date(2026, 11, 1)}, [Facet.PERIOD]),
    ({"dated": date(2027, 10, 31)}, [Facet.PERIOD]),
    ({"party": "9"}, [Facet.PARTY]),
    ({"rate": Decimal("1.2")}, [Facet.RATE]),
    ({"memo": None}, [Facet.MEMO]),
    ({"parts": (Part(name="b", amount=usd("2")), Part(name="a", amount=usd("70")))}, []),
    ({"parts": (Part(name="a", amount=usd("71")), Part(name="b", amount=usd("1")))}, [Facet.PARTS]),
    ({"parts": ()}, []),
]
WRITTEN = figure(
    dated=date(2026, 10, 31),
    party="5",
    rate=Decimal("1.1"),
    memo="October",
    parts=(Part(name="a", amount=usd("70")), Part(name="b", amount=usd("2")), Part(name="c", amount=usd("0"))),
)


@pytest.mark.parametrize(("change", "facets"), DRIFTS)
def test_what_changed_since_we_wrote_a_document_is_told(change: dict[str, Any], facets: list[Facet]) -> None:
    """The order of its lines and lines of zero are no change; what a system does not show is none either."""
    assert [one.facet for one in drifted(WRITTEN, WRITTEN.model_copy(update=change))] == facets
    assert drifted(figure(), WRITTEN) == []


def test_the_same_thing_off_by_the_same_amount_at_the_same_system_follows_from_the_earlier_break() -> None:
    earlier = a_break(left="72", right="70")
    assert follows(a_break("settled", left="75", right="73"), earlier)
    assert not follows(a_break("settled", left="75", right="72"), earlier)
    assert not follows(a_break("settled", left="75", right="73", system="stripe"), earlier)
    assert not follows(a_break(left="75", right="73"), earlier)
    assert follows(a_break("told", left="10"), a_break())


def test_a_break_explains_of_the_ledger_what_it_moved_and_no_more() -> None:
    cells = {("1100", "2026-10"): usd("-72"), ("1190", "2026-10"): usd("72"), ("6100", "2026-10"): usd("5")}
    moved = Moved(dict(cells))
    one = a_break()
    moved.explain(one, {("1100", "2026-10"): usd("-72"), ("1190", "2026-10"): usd("72")})
    assert moved.cells == {("6100", "2026-10"): usd("5")}
    assert set(moved.because) == {"1100", "1190"}
    moved.explain(one, {("6100", "2026-10"): usd("3")})
    assert moved.cells == {("6100", "2026-10"): usd("5")}
    moved.absorb(one, ["6100"])
    assert moved.cells == {}


def test_a_line_closes_when_all_of_its_difference_is_explained() -> None:
    line = TieLine(
        tie="invoices = ERP invoices", left_name="hub", right_name="erp", unit="USD",
        left=Decimal("72"), right=Decimal("0"), count=1, system="netsuite",
    )  # fmt: skip
    standing, waiting = a_break(), a_break(explained="awaits delivery")
    assert not line.closes
    assert (explained_line(line, [standing]).breaks, explained_line(line, [standing]).closes) == (1, False)
    told = explained_line(line, [waiting])
    assert (told.breaks, told.explained, told.why, told.closes) == (0, Decimal("72"), "awaits delivery", True)
    assert explained_line(line, [a_break(system="xero")]).breaks == 0


def test_a_break_is_as_old_as_since_it_was_seen_first() -> None:
    one = a_break()
    assert one.age(NOW + timedelta(days=3)) == timedelta(days=3)
    assert one.model_copy(update={"closed_at": NOW + timedelta(days=1)}).age(NOW + timedelta(days=9)).days == 1
    assert kind_of("invoice", Facet.GONE).name == one.kind
