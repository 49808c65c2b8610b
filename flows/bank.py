"""Bank: take a bank file in whole: receipts are stored and booked once, and what came back opens what it paid."""

from __future__ import annotations

from pathlib import Path

from core.bank_files import AchReturn, read_bank_file
from core.cash import CashReceipt
from core.errors import Rejected
from flows.apply_cash import return_receipt, take_receipts
from flows.context import Hub
from flows.report import amounts, counted, sum_by_currency


def import_bank_file(hub: Hub, file: Path, entity: str | None, who: str) -> str:
    """Takes a file in, and says what it brought. The same file again brings nothing.

    Rejected, and nothing is changed, when the file is wrong or a return names nothing that came in.
    """
    try:
        content = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Rejected(
            f"{file.name} is no text in UTF-8 (byte {error.start})", record=file.name, field="file"
        ) from None
    owner = hub.settings.entity(entity) if entity else hub.settings.all_entities[-1]
    read = read_bank_file(file.name, content, owner.id)
    returned = [(one, _came_by(hub, file.name, one)) for one in read.returns]
    fresh = take_receipts(hub, read.receipts)
    back = [
        gone
        for one, receipt in returned
        if (gone := return_receipt(hub, receipt.id, f"ACH return {one.code}", hub.now().date(), who))
    ]
    told = [f"{counted(len(fresh), 'receipt')} of {len(read.receipts)} new"]
    if fresh:
        told.append(amounts(sum_by_currency(one.amount for one in fresh)))
    if returned:
        told.append(f"{counted(len(back), 'return')} of {len(returned)} new")
    if read.skipped:
        told.append(f"{counted(read.skipped, 'other movement')} passed over")
    return f"{file.name}: {', '.join(told)}"


def _came_by(hub: Hub, name: str, one: AchReturn) -> CashReceipt:
    """The receipt that an ACH return is of: by the trace number of the entry we sent, or its identification."""
    with hub.database.reading() as work:
        found = work.find(CashReceipt, reference=one.trace) or work.find(CashReceipt, id=one.ident)
    if len(found) != 1 or found[0].amount != one.amount:
        why = f"{name} line {one.line}: {one.code} returns {one.amount} of trace {one.trace}, and "
        why += f"{len(found)} receipts have it" if len(found) != 1 else f"receipt {found[0].id} is of {found[0].amount}"
        why += "; take the receipt in first, or return it by `tieout cash return`; nothing of the file was taken in"
        raise Rejected(why, record=name, field="original entry trace number", value=one.trace)
    return found[0]
