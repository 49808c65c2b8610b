"""Entries are booked once, in a month that is open, in the books of the legal entity that sells to the customer."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from core.close import PeriodLock
from core.entities import LegalEntity
from core.errors import Misconfigured, TieBroken
from core.fx import FxRate
from core.ledger import JournalEntry
from core.money import Money
from core.period import DateSpan
from core.posting import Subject, invoice_entries
from core.revenue import straight_line
from core.store import Work
from flows.context import Hub
from flows.post import post
from flows.recognise import recognise_through
from tests.connectors import contract_netsuite, contract_stripe_gateway
from tests.core.store.nouns import INVOICE
from tests.flows.hubs import account, hub_with

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)
GERMAN = LegalEntity(id="de", name="GmbH", currency="EUR", sells_to={"country": ["DE"]})


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    systems = {
        "stripe": contract_stripe_gateway.settings("http://127.0.0.1:1"),
        "netsuite": contract_netsuite.settings("http://127.0.0.1:1"),
    }
    made = hub_with(f"sqlite:///{tmp_path / 'tieout.db'}", tmp_path, systems)
    made.settings = made.settings.model_copy(update={"entities": (GERMAN,)})
    yield made
    made.close()


def recovered(
    hub: Hub, work: Work, ident: str = "W-1", amount: str = "9.00", who: str = "A-0001"
) -> list[JournalEntry]:
    subject = Subject("Paid nevertheless", "invoice", "INV-1", who)
    return hub.books(work, who).whole("recovery", ident, date(2026, 10, 31), subject, Money.of(amount, "USD"))


def test_the_same_fact_is_booked_and_intended_once(hub: Hub) -> None:
    with hub.database.work() as work:
        work.add([account(1)])
        (first,) = post(hub, work, recovered(hub, work))
    with hub.database.work() as work:
        assert post(hub, work, recovered(hub, work)) == []
        assert len(work.outbox.of_record("netsuite", "journal_entry", first.id)) == 1


def test_a_fact_that_moved_something_else_before_is_refused(hub: Hub) -> None:
    with hub.database.work() as work:
        post(hub, work, recovered(hub, work))
    with pytest.raises(TieBroken, match="a booked journal never changes"), hub.database.work() as work:
        post(hub, work, recovered(hub, work, amount="9.01"))


def test_what_belongs_to_a_locked_month_is_booked_in_the_next_open_one_and_says_so(hub: Hub) -> None:
    """The entry is posted on the first day that is open, names its month, and the same fact again is still the same."""
    lock = PeriodLock(id="L", entity="main", month="2026-10", close_id="C", locked_at=NOON)
    with hub.database.work() as work:
        work.add([lock])
        (late,) = post(hub, work, recovered(hub, work))
        assert (late.posted_on, late.origin) == (date(2026, 11, 1), "2026-10")
    with hub.database.work() as work:
        assert post(hub, work, recovered(hub, work)) == []


def test_an_account_stays_with_the_entity_that_booked_of_it_first(hub: Hub) -> None:
    """A German customer is the German company's; one that moves abroad later stays where its books are."""
    abroad = account(2).billing_address.model_copy(update={"country": "DE"})
    german = account(2).model_copy(update={"billing_address": abroad, "currency": "EUR"})
    with hub.database.work() as work:
        work.add([account(1), german])
        assert [hub.books(work, one).entity.id for one in ("A-0001", "A-0002")] == ["main", "de"]
        subject = Subject("Paid nevertheless", "invoice", "INV-1", "A-0002")
        entries = hub.books(work, "A-0002").whole("recovery", "W", date(2026, 10, 31), subject, Money.of("9", "EUR"))
        post(hub, work, entries)
        work.put(german.model_copy(update={"billing_address": account(2).billing_address}))
        assert hub.books(work, "A-0002").entity.id == "de"
        assert {one.entity for one in work.sums.booked("de")} == {"de"}


def test_an_entity_that_is_not_configured_is_told_with_those_that_are(hub: Hub) -> None:
    with hub.database.work() as work, pytest.raises(Misconfigured, match="there is de, main"):
        hub.books_of(work, "fr")


def test_a_copy_of_the_rules_in_use_is_kept(hub: Hub) -> None:
    kept = hub.settings.state_folder / "posting-rules" / f"{hub.posting.version}.yaml"
    assert kept.read_text(encoding="utf-8") == hub.posting.text


def test_what_is_earned_in_another_currency_keeps_the_rate_of_its_invoice(hub: Hub) -> None:
    """A German customer's year, billed in dollars in October at 0.90 euros, is earned at 0.90 in December too."""
    hub.settings = hub.settings.model_copy(update={"legal_entity": LegalEntity(currency="EUR"), "entities": ()})
    line = INVOICE.lines[0].model_copy(
        update={
            "defer": True,
            "tax": Money.zero("USD"),
            "service_period": DateSpan(date(2026, 10, 1), date(2027, 1, 1)),
        }
    )
    figures = {"subtotal": line.amount, "tax": Money.zero("USD"), "total": line.amount}
    invoice = INVOICE.replace(lines=(line,), invoice_date=date(2026, 10, 31), **figures)
    days = {date(2026, 10, 31): "0.90", date(2026, 12, 31): "0.80"}
    rates = [
        FxRate(id=f"{day}", source="bank", base="USD", quote="EUR", valid_on=day, rate=Decimal(rate), recorded_at=NOON)
        for day, rate in days.items()
    ]
    with hub.database.work() as work:
        work.add(rates)
        work.add([account(1).model_copy(update={"id": invoice.account_id})])
        work.add([invoice])
        post(hub, work, invoice_entries(hub.books(work, invoice.account_id), invoice))
        work.add(straight_line(line, invoice.account_id))
    recognise_through(hub, "2026-12")
    with hub.database.reading() as work:
        balance = {}
        for one in work.sums.booked():
            balance[one.ledger_account] = balance.get(one.ledger_account, 0) + one.own
    assert abs(balance["2400"]) <= 3  # a minor unit at most for each month; rounding takes it
