"""What events book: by jurisdiction and gateway, in the currency of the entity's books too, and taken back in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.entities import LegalEntity, selling
from core.errors import Misconfigured, Rejected, TieBroken
from core.fx import FxRate, Rates
from core.invoicing import Invoice, credit
from core.ledger import JournalEntry, Via, reversal
from core.money import Money, total
from core.payments import Settlement
from core.period import DateSpan
from core.posting import (
    Books,
    Position,
    Subject,
    contract_asset_entries,
    credit_entries,
    invoice_entries,
    payment_entries,
    realised_entries,
    receipt_entries,
    recognition_entries,
    revaluation_entries,
    rounding_entries,
    settlement_entries,
    unbilled_entries,
)
from core.revenue import straight_line
from core.subledgers import Booked, positions, subledger, trial_balance
from core.tax import TaxDocument, TaxLine, TaxStatus
from tests.books import BOOKS, RULES
from tests.core.rating.northwind import ACCOUNT, BOOK
from tests.core.store.nouns import INVOICE, PAYMENT, RATED

OCTOBER = date(2026, 10, 31)
NOVEMBER = date(2026, 11, 30)


def eur(amount: str) -> Money:
    return Money.of(amount, "EUR")


def usd(amount: str) -> Money:
    return Money.of(amount, "USD")


def rate(on: date, value: str) -> FxRate:
    return FxRate(
        id=f"bank:EUR/USD:{on}",
        source="bank",
        base="EUR",
        quote="USD",
        valid_on=on,
        rate=Decimal(value),
        recorded_at=datetime(2026, 12, 1, tzinfo=UTC),
    )


#: A company that keeps its books in dollars and sells in euros: 1.10 in October, 1.08 in November.
EUROS = replace(BOOKS, rates=Rates([rate(OCTOBER, "1.10"), rate(date(2026, 11, 1), "1.08"), rate(NOVEMBER, "1.08")]))


def in_euros(*amounts: Money, tax: Money, defer: bool = False) -> Invoice:
    """An invoice of October in euros, with a line of each amount and its tax on the first."""
    zero = eur("0")
    lines = tuple(
        INVOICE.lines[0].model_copy(
            update={"id": f"L{n}", "rated_line_id": f"R{n}", "position": n, "amount": amount, "defer": defer}
            | {"tax": tax if n == 1 else zero, "service_period": DateSpan(date(2026, 10, 1), date(2027, 1, 1))}
        )
        for n, amount in enumerate(amounts, 1)
    )
    subtotal = total(amounts, "EUR")
    figures = {"subtotal": subtotal, "tax": tax, "total": subtotal + tax}
    return INVOICE.replace(id="INV-E", currency="EUR", lines=lines, invoice_date=OCTOBER, **figures)


def booked(entries: Sequence[JournalEntry]) -> list[Booked]:
    """What the database would keep of entries."""
    sums: dict[tuple[str, ...], list[int]] = {}
    for entry in entries:
        for line in entry.lines:
            where = (
                entry.entity,
                f"{entry.posted_on:%Y-%m}",
                line.ledger_account,
                entry.currency,
                entry.event,
                line.detail,
            )
            sides = sums.setdefault(where, [0, 0, 0, 0])
            sides[0 if line.debit else 1] += abs(line.amount.minor)
            sides[2 if line.debit else 3] += abs(line.functional_amount.minor)
    return [
        Booked(entity, month, code, event, detail, Money(a, currency), Money(b, currency), c, d)
        for (entity, month, code, currency, event, detail), (a, b, c, d) in sums.items()
    ]


def nets(entries: Sequence[JournalEntry]) -> dict[str, str]:
    """By ledger account, what entries come to in dollars; accounts at zero are left out."""
    sums: dict[str, Money] = {}
    for entry in entries:
        for line in entry.lines:
            sums[line.ledger_account] = sums.get(line.ledger_account, usd("0")) + line.functional_amount
    return {code: str(net.amount) for code, net in sorted(sums.items()) if net}


def document(*taxes: tuple[str, str, Money]) -> TaxDocument:
    """The engine's answer: (invoice line, jurisdiction, tax)."""
    lines = tuple(
        TaxLine(
            id=f"T{n}",
            invoice_line_id=line,
            jurisdiction=jurisdiction,
            jurisdiction_type="county",
            region="CO",
            country="US",
            tax_name="Sales tax",
            rate=Decimal("0.05"),
            taxable=tax,
            tax=tax,
        )
        for n, (line, jurisdiction, tax) in enumerate(taxes)
    )
    sums = total((one.tax for one in lines), "USD")
    return TaxDocument(
        id="T",
        invoice_id=INVOICE.id,
        vendor_id="1",
        status=TaxStatus.UNCOMMITTED,
        currency="USD",
        document_date=OCTOBER,
        base=INVOICE.subtotal,
        tax=sums,
        lines=lines,
    )


def test_tax_is_owed_to_each_jurisdiction_and_goes_back_to_it() -> None:
    """The tax payable of an invoice is told apart by jurisdiction, and its full credit leaves nothing of any."""
    first, second = INVOICE.lines[0], INVOICE.lines[1]
    halves = INVOICE.tax.minor // 3
    answer = document(
        (first.id, "DENVER", Money(halves, "USD")),
        (first.id, "BOULDER", Money(halves, "USD")),
        (second.id, "DENVER", Money(INVOICE.tax.minor - 2 * halves, "USD")),
    )
    of = INVOICE.replace(
        lines=(
            first.model_copy(update={"tax": Money(2 * halves, "USD")}),
            second.model_copy(update={"tax": Money(INVOICE.tax.minor - 2 * halves, "USD")}),
            *(line.model_copy(update={"tax": usd("0")}) for line in INVOICE.lines[2:]),
        )
    )
    entries = invoice_entries(BOOKS, of, [answer])
    owed = {roll.detail: -roll.closing.minor for roll in subledger(RULES, booked(entries), "tax payable", _month(of))}
    assert owed == {"US CO BOULDER": halves, "US CO DENVER": INVOICE.tax.minor - halves}
    note = credit(of, {line.position: None for line in of.lines}, (), "Wrong", of.invoice_date, {})
    back = booked([*entries, *credit_entries(BOOKS, note, [answer])])
    assert {roll.detail: roll.closing.minor for roll in subledger(RULES, back, "tax payable", _month(of))} == {
        "US CO BOULDER": 0,
        "US CO DENVER": 0,
    }


def _month(of: Invoice) -> str:
    return f"{of.invoice_date:%Y-%m}"


def test_cash_is_told_apart_by_gateway() -> None:
    books, at = replace(BOOKS, gateway="cards"), datetime(2026, 10, 31, tzinfo=UTC)
    settled = Settlement(
        id="S", payment_id=PAYMENT.id, currency="USD", gross=usd("10"), fee=usd("1"), net=usd("9"), available_on=at,
        kind="charge",
    )  # fmt: skip
    entries = [*payment_entries(books, PAYMENT, OCTOBER), *settlement_entries(books, settled, "A", OCTOBER)]
    lines = [line for entry in entries for line in entry.lines if line.ledger_account in ("1050", "1060")]
    assert {line.segments["gateway"] for line in lines} == {"cards"}
    assert {line.dimensions for line in lines} == {()}  # ours alone: no general ledger is told


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=6), st.integers(0, 10**7), st.integers(1, 10**6))
def test_a_foreign_invoice_balances_in_both_currencies_to_the_minor_unit(
    minors: list[int], tax: int, millionths: int
) -> None:
    """However odd the rate: each entry balances in the books' currency, what is owed is the total converted once, and
    billing clearing returns to zero there too."""
    at = Rates([rate(OCTOBER, str(Decimal(millionths).scaleb(-5)))])
    of = in_euros(*(Money(minor, "EUR") for minor in minors), tax=Money(tax, "EUR"))
    entries = invoice_entries(replace(BOOKS, rates=at), of)
    receivable = next(line for line in entries[0].lines if line.ledger_account == "1100")
    assert receivable.functional == at.exchange("EUR", "USD", OCTOBER).of(of.total)
    clearing = [line.functional_amount for one in entries for line in one.lines if line.ledger_account == "1190"]
    assert total(clearing, "USD") == usd("0")


def test_amounts_in_the_currency_of_the_books_have_no_second_amount() -> None:
    entries = invoice_entries(EUROS, INVOICE)
    assert {line.functional for entry in entries for line in entry.lines} == {None}


def test_a_day_without_a_rate_books_nothing() -> None:
    with pytest.raises(Rejected, match="no exchange rate of EUR in USD is known for 2026-10-31"):
        invoice_entries(BOOKS, in_euros(eur("1"), tax=eur("0")))


def test_what_a_payment_gains_or_loses_is_realised() -> None:
    """100.00 euros booked at 1.10 are paid at 1.08: 2.00 dollars are lost, and no receivable is left in either."""
    of = in_euros(eur("100"), tax=eur("0"))
    payment = PAYMENT.model_copy(update={"currency": "EUR", "amount": eur("100"), "invoice_id": of.id})
    entries = [*invoice_entries(EUROS, of), *payment_entries(EUROS, payment, date(2026, 11, 5))]
    entries += realised_entries(EUROS, payment.id, "receivables", eur("100"), OCTOBER, date(2026, 11, 5), "A-0001")
    assert nets(entries) == {"1050": "108.00", of.lines[0].revenue_account: "-110.00", "7000": "2.00"}
    assert positions(RULES, booked(entries), "2026-11", "USD") == [Position("1050", eur("100"), usd("108"))]
    trial_balance(booked(entries), "2026-11")


def test_nothing_is_realised_in_the_currency_of_the_books() -> None:
    assert realised_entries(EUROS, "P", "receivables", usd("100"), OCTOBER, NOVEMBER) == []


def test_open_foreign_balances_are_revalued_and_taken_back_on_the_next_day() -> None:
    """100.00 euros of receivables booked at 1.10 are worth 108.00 dollars at the end of November; revenue stays."""
    entries = invoice_entries(EUROS, in_euros(eur("100"), tax=eur("0")))
    held = positions(RULES, booked(entries), "2026-11", "USD")
    revalued, back = revaluation_entries(EUROS, "2026-11", held)
    assert (revalued.posted_on, back.posted_on) == (NOVEMBER, date(2026, 12, 1))
    assert (revalued.currency, back.reverses) == ("USD", revalued.id)
    assert nets([revalued]) == {"1105": "-2.00", "7010": "2.00"}
    after = positions(RULES, booked([*entries, revalued]), "2026-11", "USD")
    assert Position("1100", eur("100"), usd("108")) in after
    assert revaluation_entries(EUROS, "2026-11", after) == []
    assert positions(RULES, booked([*entries, revalued, back]), "2026-12", "USD") == held


def test_what_rounding_leaves_goes_to_its_account_and_more_is_no_rounding() -> None:
    left = [Position("1100", eur("0"), usd("0.02")), Position("2200", eur("5"), usd("5.50"))]
    (entry,) = rounding_entries(EUROS, "2026-10", left)
    assert nets([entry]) == {"1105": "-0.02", "7090": "0.02"}
    with pytest.raises(Misconfigured, match=r"is still worth 2\.00 USD"):
        rounding_entries(EUROS, "2026-10", [Position("1100", eur("0"), usd("2"))])


def test_a_credit_and_what_is_earned_keep_the_rate_of_their_invoice() -> None:
    """In November, at 1.08, a credit takes back and a month earns what October's invoice brought in at 1.10."""
    of = in_euros(eur("90"), tax=eur("0"), defer=True)
    schedule = straight_line(of.lines[0], "A-0001")
    entries = list(invoice_entries(EUROS, of))
    for part in schedule[:2]:
        entries += recognition_entries(EUROS, part.month, "A-0001", [part], invoiced_on={of.lines[0].id: OCTOBER})
    left = schedule[2].amount
    note = credit(of, {1: left}, (), "Left", NOVEMBER, {of.lines[0].id: left})
    entries += credit_entries(EUROS, note)
    assert "2400" not in nets(entries)
    assert {line.functional is not None for entry in entries for line in entry.lines} == {True}


def test_what_is_used_but_not_billed_is_taken_back_on_the_first_day_of_the_next_month() -> None:
    lines = [line for line in RATED if line.amount]
    accrued, back = unbilled_entries(BOOKS, "2026-10", "A-0001", lines, BOOK)
    assert (accrued.posted_on, back.posted_on) == (OCTOBER, date(2026, 11, 1))
    assert nets([accrued])["1110"] == str(total((line.amount for line in lines), "USD").amount)
    assert nets([accrued, back]) == {}
    assert (back.id, back.reverses, back.event) == ("JE-UNB-2026-10-A-0001-R", accrued.id, "unbilled reversed")
    assert unbilled_entries(BOOKS, "2026-10", "A-0001", [], BOOK) == []


def test_what_is_served_before_it_is_billed_is_an_asset_until_the_next_day() -> None:
    lines = [line for line in RATED if line.amount]
    asset, back = contract_asset_entries(BOOKS, "2026-10", "A-0001", lines, BOOK)
    assert nets([asset])["1120"] == str(total((line.amount for line in lines), "USD").amount)
    assert (back.posted_on, nets([asset, back])) == (date(2026, 11, 1), {})


def test_a_receipt_pays_invoices_and_keeps_the_rest_as_the_customers() -> None:
    applied = {"INV-1": usd("70"), "INV-2": usd("30")}
    (entry,) = receipt_entries(BOOKS, "BANK-1", OCTOBER, applied, usd("5"), usd("0"), "A-0001")
    assert nets([entry]) == {"1010": "105.00", "1100": "-100.00", "2310": "-5.00"}
    assert [line.source_id for line in entry.lines] == ["BANK-1", "INV-1", "INV-2", "BANK-1"]


@pytest.mark.parametrize(
    ("events", "left"),
    [
        (["dispute opened", "dispute won"], {}),
        (["dispute opened", "dispute lost"], {"1050": "-9.00", "6200": "9.00"}),
        (["dispute opened", "dispute reopened"], {"1050": "-9.00", "1100": "9.00"}),
        (["write-off"], {"1100": "-9.00", "1190": "9.00"}),
        (["recovery"], {"2310": "9.00", "6200": "-9.00"}),
        (["payout"], {"1010": "9.00", "1060": "-9.00"}),
        (["cash identified", "cash applied"], {"1100": "-9.00", "2320": "9.00"}),
        (["cash applied", "cash returned"], {"1010": "-9.00", "1100": "-9.00", "2310": "18.00"}),
    ],
)
def test_events_with_one_amount(events: list[str], left: dict[str, str]) -> None:
    entries = [
        entry
        for number, event in enumerate(events)
        for entry in BOOKS.whole(event, f"X-{number}", OCTOBER, Subject(event, "dispute", "D-1", "A-1"), usd("9"))
    ]
    assert nets(entries) == left


def test_a_reversal_leaves_nothing_and_names_what_it_takes_back() -> None:
    (entry, *_) = invoice_entries(EUROS, in_euros(eur("33.33"), eur("0.01"), tax=eur("1")))
    back = reversal(entry, NOVEMBER)
    assert nets([entry, back]) == {}
    assert (back.reverses, back.via, back.entity) == (entry.id, Via.DOCUMENT, entry.entity)
    assert {line.id for line in back.lines}.isdisjoint(line.id for line in entry.lines)


def test_a_late_fact_names_the_month_that_it_belongs_to() -> None:
    (entry, *_) = invoice_entries(BOOKS, INVOICE)
    late = entry.late(date(2027, 1, 1)).late(date(2027, 2, 1))
    assert (late.posted_on, late.origin) == (date(2027, 2, 1), f"{INVOICE.invoice_date:%Y-%m}")
    assert entry.late(entry.posted_on) == entry


def test_an_entry_that_does_not_balance_in_the_books_cannot_be() -> None:
    (entry, *_) = invoice_entries(EUROS, in_euros(eur("10"), tax=eur("0")))
    off = entry.lines[0].model_copy(update={"functional": usd("11.01")})
    with pytest.raises(TieBroken, match=r"debits = credits.*in USD"):
        JournalEntry.model_validate({**dict(entry), "lines": (off, *entry.lines[1:])})


def test_the_first_entity_that_takes_an_account_sells_to_it() -> None:
    german = LegalEntity(id="de", currency="EUR", sells_to={"country": ["DE", "AT"], "currency": ["EUR"]})
    dollars = LegalEntity(id="latam", sells_to={"region": ["SP"]})
    rest = LegalEntity()
    abroad = ACCOUNT.billing_address.model_copy(update={"country": "AT"})
    austrian = ACCOUNT.model_copy(update={"billing_address": abroad, "currency": "EUR"})
    assert selling([german, dollars, rest], austrian) is german
    assert selling([german, dollars, rest], austrian.model_copy(update={"currency": "USD"})) is rest
    assert selling([german, rest], ACCOUNT) is rest
    assert selling([german, rest], None) is rest


def test_entries_stand_in_the_books_of_their_entity() -> None:
    books = Books(RULES, LegalEntity(id="de", currency="USD"))
    assert {entry.entity for entry in invoice_entries(books, INVOICE)} == {"de"}
