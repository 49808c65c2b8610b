"""A bank file is taken in whole and once; what it returns opens what it had paid."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.cash import Application, CashReceipt, Use
from core.errors import Rejected
from core.money import Money
from flows.apply_cash import apply_receipts
from flows.bank import import_bank_file
from flows.context import Hub
from tests.core.test_bank_files import STATEMENT, entry, returns
from tests.flows.test_apply_cash import hub, open_cents

__all__ = ["hub"]

TRANSFERS = """\
value_date,amount,currency,payer,text,reference
2026-11-10,60.00,USD,Acme,INV-1,021000020000001
2026-11-10,25.00,USD,Acme,"INV-10, first part",021000020000002
"""


def written(folder: Path, name: str, content: str) -> Path:
    (folder / name).write_text(content)
    return folder / name


def test_the_same_file_again_brings_nothing(hub: Hub, tmp_path: Path) -> None:
    file = written(tmp_path, "october.bai", STATEMENT)
    first, again = (import_bank_file(hub, file, None, "Ada") for _ in range(2))
    assert first == "october.bai: 2 receipts of 2 new, $13,000.00, 1 other movement passed over"
    assert again.startswith("october.bai: 0 receipts of 2 new")
    with hub.database.reading() as work:
        assert len(work.find(CashReceipt)) == 2


def test_a_return_opens_what_its_entry_had_paid_and_keeps_the_code(hub: Hub, tmp_path: Path) -> None:
    import_bank_file(hub, written(tmp_path, "in.csv", TRANSFERS), None, "Ada")
    apply_receipts(hub)
    assert (open_cents(hub, "INV-1"), open_cents(hub, "INV-10")) == (4000, 2500)
    file = written(tmp_path, "back.ach", returns(entry(6000, "R02"), debit=6000))
    assert import_bank_file(hub, file, None, "Ada") == "back.ach: 0 receipts of 0 new, 1 return of 1 new"
    assert import_bank_file(hub, file, None, "Ada").endswith("0 returns of 1 new")
    assert (open_cents(hub, "INV-1"), open_cents(hub, "INV-10")) == (10000, 2500)
    with hub.database.reading() as work:
        gone = [one for one in work.find(Application) if one.use is not Use.APPLIED]
    assert [(one.use, one.reason, one.amount) for one in gone] == [
        (Use.REVERSED, "ACH return R02", Money.of("60", "USD")),
        (Use.RETURNED, "ACH return R02", Money.of("60", "USD")),
    ]


@pytest.mark.parametrize(
    ("back", "told"),
    [
        (entry(6000, trace="999999999999999"), "0 receipts have it; take the receipt in first"),
        (entry(5999), "is of 60.00 USD"),
    ],
)
def test_a_file_with_one_return_of_nothing_that_came_in_changes_nothing(
    hub: Hub, tmp_path: Path, back: tuple[str, str], told: str
) -> None:
    """The other return of the same file is right, and is not carried out either."""
    import_bank_file(hub, written(tmp_path, "in.csv", TRANSFERS), None, "Ada")
    good, cents = entry(2500, trace="021000020000002"), int(back[0][29:39])
    back = (back[0].replace("RCT-1", "     "), back[1])
    with pytest.raises(Rejected) as caught:
        import_bank_file(hub, written(tmp_path, "back.ach", returns(good, back, debit=2500 + cents)), None, "Ada")
    assert told in str(caught.value)
    with hub.database.reading() as work:
        assert work.find(Application) == []
