"""What is owed in another currency is worth, at the end of a month, what the rate of its last day says."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

from core.close import Close
from core.fx import FxRate
from core.journals import as_booked
from core.ledger import JournalEntry, JournalLine, Via
from core.money import Money
from flows.close import freeze
from flows.revalue import revaluations_due
from tests.flows.hubs import START, hub_with

PERIOD = "2026-10"


def rate(on: date, value: str) -> FxRate:
    return FxRate(
        id=f"ecb:EUR/USD:{on}", source="ecb", base="EUR", quote="USD", valid_on=on, rate=Decimal(value),
        recorded_at=START,
    )  # fmt: skip


def owed(euros: str, dollars: str) -> JournalEntry:
    """An invoice in euros, booked on October 10 at what it was worth then."""
    sides = (("1100", "debit"), ("4010", "credit"))
    lines = tuple(
        JournalLine.model_validate(
            {
                "id": f"DOC-1-{position}", "position": position, "ledger_account": account,
                side: Money.of(euros, "EUR"), "functional": Money.of(dollars, "USD"), "source": "invoice",
                "source_id": "INV-1",
            }
        )
        for position, (account, side) in enumerate(sides, 1)
    )  # fmt: skip
    return JournalEntry(
        id="DOC-1", event="invoice", via=Via.DOCUMENT, currency="EUR", posted_on=date(2026, 10, 10),
        account_id="A-0001", memo="Invoice INV-1", lines=lines,
    )  # fmt: skip


def amounts(entry: JournalEntry) -> dict[str, str]:
    return {line.ledger_account: str(line.amount) for line in entry.lines}


def test_open_euros_are_revalued_once_and_taken_back_on_the_next_day(database_url: str, tmp_path: Path) -> None:
    """100.00 EUR booked at 1.10 are worth 115.00 USD at 1.15: a gain of 5.00."""
    hub = hub_with(database_url, tmp_path, {})
    close: Close = freeze(hub, PERIOD, "olga")
    with hub.database.work() as work:
        work.add([rate(date(2026, 10, 10), "1.10"), rate(date(2026, 10, 30), "1.15")])
        work.add([owed("100.00", "110.00")])
        gain, back = revaluations_due(hub, work, close, work.sums.booked())
        assert (gain.posted_on, back.posted_on) == (date(2026, 10, 31), date(2026, 11, 1))
        assert amounts(gain) == {"1105": "5.00 USD", "7010": "-5.00 USD"}
        assert amounts(back) == {"1105": "-5.00 USD", "7010": "5.00 USD"}
        work.add([gain, back])
        assert revaluations_due(hub, work, close, work.sums.booked()) == []
    hub.close()


def test_what_the_close_itself_would_book_is_revalued_with_it(database_url: str, tmp_path: Path) -> None:
    hub = hub_with(database_url, tmp_path, {})
    close = freeze(hub, PERIOD, "olga")
    with hub.database.work() as work:
        work.add([rate(date(2026, 10, 10), "1.10"), rate(date(2026, 10, 30), "1.00")])
        loss, _ = revaluations_due(hub, work, close, as_booked([owed("50.00", "55.00")]))
    assert amounts(loss) == {"1105": "-5.00 USD", "7010": "5.00 USD"}
    hub.close()
