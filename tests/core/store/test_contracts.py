"""What the ledger holds of each contract, and when what is billed ahead is earned, on both databases."""

from __future__ import annotations

from datetime import date

from core.invoicing import credit
from core.money import Money, total
from core.obligations import billed, obligations
from core.period import DateSpan
from core.posting import (
    allocation_entries,
    contract_asset_entries,
    credit_entries,
    invoice_entries,
    recognition_entries,
)
from core.revenue import schedule
from core.revenue_reports import rolls_by_contract
from core.store import Database
from tests.books import BOOKS
from tests.core.store.nouns import ACCOUNT, BOOK, INVOICE, ORDER, RATED, SUBSCRIPTION, usd

OCTOBER = DateSpan.month("2026-10")
DEFERRED, CONTRACT = "2400", "1120"
LATER = date(2027, 1, 1)


def test_each_event_is_told_of_its_contract(database: Database) -> None:
    """An invoice, what its allocation moves, a credit, what is earned, and what is served ahead of its bill."""
    lines = tuple(line.model_copy(update={"defer": line.amount.minor > 0}) for line in INVOICE.lines)
    invoice = INVOICE.replace(lines=lines)
    first = next(line for line in lines if line.defer)
    parts = [part for line in lines if line.defer for part in schedule(line, ACCOUNT.id)]
    note = credit(invoice, {first.position: usd("1.00")}, [], "less", OCTOBER.last_day, {first.id: usd("1.00")})
    promised = obligations(ORDER, SUBSCRIPTION, BOOK)[0]
    movement = billed(promised, first, "2026-10", first.amount + usd("5"))
    with database.work() as work:
        work.put(SUBSCRIPTION)
        work.put(invoice)
        work.add([note])
        work.add(parts)
        work.add([promised])
        work.add([movement])
        work.add(invoice_entries(BOOKS, invoice))
        work.add(credit_entries(BOOKS, note))
        work.add(allocation_entries(BOOKS, "ALC-1", OCTOBER.last_day, [movement], {promised.id: promised}))
        work.add(recognition_entries(BOOKS, "2026-10", ACCOUNT.id, [part for part in parts if part.month == "2026-10"]))
        work.add(contract_asset_entries(BOOKS, "2026-10", ACCOUNT.id, [one for one in RATED if one.amount], BOOK))
        moved = work.contracts.moved("main", [DEFERRED, CONTRACT], OCTOBER.start, LATER)
        later = work.contracts.moved("main", [DEFERRED, CONTRACT], LATER, date(2027, 2, 1))
        balances = work.sums.ledger_balances()
        accrued = work.contracts.accrued("contract asset", "main", OCTOBER)
        found = work.contracts.waterfall("main", [DEFERRED], LATER)
        of = work.contracts.of_sources("recognition", [parts[0].id])
    assert {one.contract for one in moved} == {SUBSCRIPTION.id}
    assert of == {parts[0].id: SUBSCRIPTION.id}
    events = {(one.account, one.event) for one in moved}
    assert {event for account, event in events if account == CONTRACT} >= {"allocation", "contract asset"}
    assert {event for account, event in events if account == DEFERRED} >= {"invoice", "credit note", "recognition"}
    for account in (DEFERRED, CONTRACT):
        assert total([one.net for one in moved if one.account == account], "USD") == balances[account, "USD"]
    for roll in rolls_by_contract("main", later):
        assert roll.opening == balances[roll.ledger_account, "USD"]
    assert accrued == {one.subscription_charge_id for one in RATED if one.amount}
    assert total([one.amount for one in found], "USD") == total([part.amount for part in parts], "USD")
    assert {one.billed_in for one in found} == {f"{invoice.invoice_date:%Y-%m}"}
    assert all(one.amount != Money.zero("USD") for one in found)
