"""Bank files are read whole or refused whole, and every total in them is that of their records."""

from __future__ import annotations

from datetime import date

import pytest
from bai2 import bai2

from core.bank_files import read_bank_file
from core.errors import Rejected
from core.money import Money

STATEMENT = """\
01,021000021,TIEOUT,261110,0700,1,,,2/
02,TIEOUT,021000021,1,261109,,USD,2/
03,123456789,,010,500000,,,100,1300000,2/
88,V,261109,,400,2500,1,/
16,165,1000000,V,261110,,REF1,INV-1,ORIG CO NAME:ACME INC
88,pays INV-1, thank you
16,195,300000,,REF2,,WIRE FROM DOE EVENTS/
16,475,2500,,REF3,,CHECK PAID/
49,3105000,7/
98,3105000,1,9/
99,3105000,1,11/
"""


def ach(*records: str) -> str:
    return "\n".join(one.ljust(94) for one in records)


def entry(cents: int, code: str = "R01", trace: str = "021000020000001") -> tuple[str, str]:
    first = f"626{'12100035':8}8{'987654321':17}{cents:010}{'RCT-1':15}{'ACME INC':22}  1{'121000350000001':15}"
    return first, f"799{code}{trace}{'':6}{'02100002':8}{'':44}{'121000350000001':15}"


def returns(*entries: tuple[str, str], debit: int, count: int | None = None) -> str:
    number = 2 * len(entries) if count is None else count
    hashed = len(entries) * 12100035
    return ach(
        "101 021000021 1234567892611100700A094101BANK                   TIEOUT",
        "5200TIEOUT" + " " * 30 + "1234567890CCDRETURNS",
        *(record for one in entries for record in one),
        f"8200{number:06}{hashed:010}{debit:012}{0:012}1234567890",
        f"9000001000001{number:08}{hashed:010}{debit:012}{0:012}",
        "9" * 94,
    )


def test_a_statement_gives_the_credits_with_their_day_text_and_reference() -> None:
    """A value date stands before the day of the statement; what was paid out is passed over."""
    read = read_bank_file("s.bai", STATEMENT, "main")
    first, second = read.receipts
    assert (first.amount, first.value_date, first.reference) == (Money.of("10000", "USD"), date(2026, 11, 10), "REF1")
    assert first.text == "INV-1 ORIG CO NAME:ACME INC pays INV-1, thank you"
    assert (second.amount, second.value_date, second.bank_account) == (
        Money.of("3000", "USD"),
        date(2026, 11, 9),
        "123456789",
    )
    assert read.skipped == 1


def test_a_statement_reads_as_another_reader_of_the_format_reads_it() -> None:
    (group,) = bai2.parse_from_string(STATEMENT).children
    theirs = [(one.amount, one.bank_reference) for it in group.children for one in it.children if one.amount != 2500]
    assert [(one.amount.minor, one.reference) for one in read_bank_file("s", STATEMENT, "main").receipts] == theirs


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("49,3105000,7", "49,3105001,7", "line 9: control total of the account is '3105001'; its records make 3105000"),
        ("49,3105000,7", "49,3105000,6", "line 9: number of records of the account is '6'"),
        ("98,3105000,1,9", "98,3105000,2,9", "line 10: number of accounts is '2'"),
        ("99,3105000,1,11", "99,3105000,1,12", "line 11: number of records of the file is '12'"),
        ("16,195,300000", "16,195,30OOO0", "line 7: amount is '30OOO0'; a whole number"),
        ("V,261110", "V,261310", "line 5: value date is '261310'"),
        ("16,475,2500,,", "16,475,2500,Q,", None),
        ("99,3105000,1,11/\n", "", "the file ends before its total"),
        ("02,TIEOUT,021000021,1,261109,,USD,2/\n", "", "line 2: record code is '03'"),
    ],
)
def test_a_statement_that_does_not_add_up_is_refused_with_line_and_field(old: str, new: str, told: str | None) -> None:
    """A movement that brings nothing is not read further than its amount."""
    assert old in STATEMENT
    if told is None:
        assert read_bank_file("s.bai", STATEMENT.replace(old, new), "main").skipped == 1
        return
    with pytest.raises(Rejected) as caught:
        read_bank_file("s.bai", STATEMENT.replace(old, new), "main")
    assert told in str(caught.value)


def test_the_same_line_in_two_files_is_the_same_receipt_and_twice_in_one_file_is_two() -> None:
    head = "value_date,amount,currency,payer\n"
    line = "2026-11-10,12.50,USD,Acme\n"
    once, twice = (read_bank_file("f.csv", head + line * times, "main").receipts for times in (1, 2))
    assert twice[0] == once[0]
    assert twice[1].id != twice[0].id


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("2026-11-10,12.505,USD", "line 2: amount is '12.505'; it must be above zero, with at most 2 decimals"),
        ("2026-11-10,-1,USD", "line 2: amount is '-1'"),
        ("2026-11-10,NaN,USD", "line 2: amount is 'NaN'"),
        ("10.11.2026,1,USD", "line 2: value_date is '10.11.2026'"),
        ("2026-11-10,1,EURO", "line 2: currency is 'EURO'"),
        ("2026-11-10,1", "line 2: row is '2026-11-10,1'; it has 2 cells and the header 3"),
    ],
)
def test_a_wrong_cell_is_refused_with_line_and_column(row: str, told: str) -> None:
    with pytest.raises(Rejected) as caught:
        read_bank_file("f.csv", f"value_date,amount,currency\n{row}\n", "main")
    assert told in str(caught.value)


def test_ach_returns_tell_the_entry_that_came_back_and_why() -> None:
    read = read_bank_file("r.ach", returns(entry(12000), entry(700, "R02", "021000020000002"), debit=12700), "main")
    assert [(one.trace, one.ident, one.amount.minor, one.code) for one in read.returns] == [
        ("021000020000001", "RCT-1", 12000, "R01"),
        ("021000020000002", "RCT-1", 700, "R02"),
    ]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (returns(entry(12000), debit=12001), "line 5: total debit of the batch is '12001'; its records make 12000"),
        (returns(entry(12000), debit=12000, count=3), "line 5: entry/addenda count of the batch is '3'"),
        (returns(entry(12000, "X01"), debit=12000), "line 4: return reason code is 'X01'"),
        (returns(entry(12000), debit=12000).rsplit("\n", 2)[0], "the file ends before its control record"),
    ],
)
def test_ach_returns_that_do_not_add_up_are_refused(content: str, told: str) -> None:
    with pytest.raises(Rejected) as caught:
        read_bank_file("r.ach", content, "main")
    assert told in str(caught.value)
